// Which keys are asked for most: a sketch of one reactor's clients, cheap enough to be always on.
//
// About one operation in MF_HOTKEYS_STRIDE is looked at, at distances drawn at random, so that
// clients which send the same again and again in step with it do not show a wrong picture. What is
// looked at goes into a table of fixed size by the Space-Saving rule (Metwally, Agrawal, El Abbadi:
// Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005): a key that has no
// entry takes that of the least frequent, with its count, and notes that count as what it may be
// wrong by. Every key with more than one part in MF_HOTKEYS_ENTRIES of all operations is there, and
// count minus error is never too high.
//
// It speaks of now: an operation counts half after MF_HOTKEYS_HALF_US. Instead of every count
// shrinking, what is added grows, and all is scaled down before it would be too large.
//
// Nothing is allocated after the beginning, and there is no lock. One thread only.
#ifndef MF_SERVER_HOTKEYS_H
#define MF_SERVER_HOTKEYS_H

#include <stdint.h>

#include "base/command.h"
#include "base/rand.h"

#define MF_HOTKEYS_ENTRIES 128u
#define MF_HOTKEYS_STRIDE 64u
#define MF_HOTKEYS_HALF_US UINT64_C(10000000)
// Of a longer key the first bytes are kept; its hash is that of all of it.
#define MF_HOTKEYS_KEY_BYTES 256u

struct mf_hotkeys_entry {
    double error; // of its count so much may be others'
    uint16_t key_len;
    uint8_t key[MF_HOTKEYS_KEY_BYTES];
};

struct mf_hotkeys {
    uint32_t left; // operations up to and with the next that is looked at
    double weight; // of one operation now
    double total;  // of all that were looked at
    uint64_t tick_us;
    uint64_t seed;
    struct mf_rand rand;
    uint64_t hashes[MF_HOTKEYS_ENTRIES]; // of the entries: looked through together
    double counts[MF_HOTKEYS_ENTRIES];   // operations, each by its weight; 0: a free entry
    struct mf_hotkeys_entry entries[MF_HOTKEYS_ENTRIES];
};

// Sketches with the same hash seed can be merged.
void mf_hotkeys_init(struct mf_hotkeys *hot, uint64_t hash_seed, uint64_t random, uint64_t now_us);
// Lets time pass; several times a second.
void mf_hotkeys_tick(struct mf_hotkeys *hot, uint64_t now_us);

// What mf_hotkeys_note does when it is time to look: of these operations, one or more.
void mf_hotkeys_look(struct mf_hotkeys *hot, const struct mf_command *command, uint32_t count);
// A client asks for this: an operation for each of its keys, one for a txn.
static inline void mf_hotkeys_note(struct mf_hotkeys *hot, const struct mf_command *command)
{
    uint32_t count = command->item_count;
    if (count == 0 && (command->op == MF_OP_TXN || command->op == MF_OP_TXN_READ))
        count = 1;
    if (count < hot->left)
        hot->left -= count;
    else
        mf_hotkeys_look(hot, command, count);
}

// A key and how many operations on it count now, as far as that is sure.
struct mf_hot_key {
    uint64_t hash;
    double operations;
    uint16_t len;
    uint8_t bytes[MF_HOTKEYS_KEY_BYTES];
};

// What several sketches say together.
struct mf_hot_sum {
    struct mf_hot_key *keys;
    uint32_t count;
    double total; // operations that count now, of all keys
};
void mf_hot_sum_add(struct mf_hot_sum *sum, const struct mf_hotkeys *hot);
// One entry for each key, the most frequent first.
void mf_hot_sum_sort(struct mf_hot_sum *sum);
void mf_hot_sum_free(struct mf_hot_sum *sum);
// Operations a second that keep as many counting, when all has gone on for so long.
double mf_hot_rate(double operations, uint64_t age_us);

#endif
