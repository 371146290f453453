// One bucket of the map, and the chain of buckets that takes its overflow.
//
// A bucket is a cache line: a word and seven slots. The low seven bytes of the word are the tags of
// the slots, its top byte has a bit for each slot that holds an entry. A slot holds an entry's
// address, which takes 48 bits, and above it the entry's age (see mf_map_track_use); the last one
// may instead hold the address of the next bucket of the chain plus one (both are even). Every
// bucket but the last of a chain is full, and one that was appended holds at least two entries: a
// chain of one bucket takes 7 entries, of two 13, of three 19.
//
// Readers run through a chain at any time. They load the word, then the last slot, once, and the
// slots whose tag fits. An entry that moves is put at its new place first; then the map's
// count of moves is raised; then it is taken from its old place. Hence a reader that has missed a
// moved entry finds the count changed: it saw the old place emptied, which was released after the
// count, and it looked there before the new place was filled, which came before the count. Each
// store that the order depends on is a release, each load of a reader an acquire. Readers change
// nothing but ages, each by a compare-and-swap that fails when the slot has changed at all; the
// writer may overwrite an age that it has not seen.
#ifndef MF_SHARDS_MAP_BUCKET_H
#define MF_SHARDS_MAP_BUCKET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shards/entry.h"

#define MF_BUCKET_SLOTS 7u

struct mf_bucket {
    _Atomic uint64_t word;
    _Atomic uintptr_t slots[MF_BUCKET_SLOTS];
};

// What the functions that change a chain do beside it.
struct mf_chain_owner {
    _Atomic uint64_t moves;
    size_t bucket_bytes; // of appended buckets
    // Gives an appended bucket that is out of the chain back, once no reader can hold it.
    void (*retire)(struct mf_chain_owner *owner, struct mf_bucket *bucket);
};

struct mf_bucket_place {
    struct mf_bucket *bucket; // NULL: nowhere
    unsigned slot;
};

// `count` empty buckets.
struct mf_bucket *mf_buckets_new(size_t count);

// Bit i is set when slot i holds an entry.
static inline unsigned mf_bucket_used(uint64_t word)
{
    return (unsigned)(word >> 56);
}

// Bit i is set when slot i holds an entry of this tag. The byte comparison is the carry-free one
// (Lamport, "Multiple byte processing with full-word instructions", 1975); the multiplication
// gathers one bit a byte.
static inline unsigned mf_bucket_match(uint64_t word, uint8_t tag)
{
    const uint64_t low7 = UINT64_C(0x007f7f7f7f7f7f7f);
    uint64_t differ = word ^ tag * UINT64_C(0x0001010101010101);
    uint64_t equal = ~(((differ & low7) + low7) | differ | low7) & UINT64_C(0x0080808080808080);
    unsigned gathered = (unsigned)((equal >> 7) * UINT64_C(0x0102040810204080) >> 56);
    return gathered & mf_bucket_used(word);
}

static inline bool mf_slot_is_link(uintptr_t slot)
{
    return (slot & 1) != 0;
}

static inline struct mf_bucket *mf_slot_bucket(uintptr_t slot)
{
    return (struct mf_bucket *)(slot - 1);
}

#define MF_SLOT_ADDRESS_BITS 48u

static inline struct mf_entry *mf_slot_entry(uintptr_t slot)
{
    return (struct mf_entry *)(slot & ((UINT64_C(1) << MF_SLOT_ADDRESS_BITS) - 1));
}

static inline uint16_t mf_slot_age(uintptr_t slot)
{
    return (uint16_t)(slot >> MF_SLOT_ADDRESS_BITS);
}

static inline uintptr_t mf_slot_of(const struct mf_entry *entry, uint16_t age)
{
    return (uintptr_t)entry | (uintptr_t)age << MF_SLOT_ADDRESS_BITS;
}

// Any thread that holds the entry. Gives the entry at a place another age, unless the place has
// changed since `slot` was loaded from it. Relaxed: nothing is ordered by an age, and what a reader
// finds through the slot was released by the store that this one stands on.
static inline void mf_slot_touch(_Atomic uintptr_t *place, uintptr_t slot, uint16_t age)
{
    if (mf_slot_age(slot) != age)
        atomic_compare_exchange_strong_explicit(place, &slot, mf_slot_of(mf_slot_entry(slot), age),
                                                memory_order_relaxed, memory_order_relaxed);
}

// Writer. The entry at a slot that is used, with and without its age, and the next bucket of the
// chain or NULL.
uintptr_t mf_bucket_slot(const struct mf_bucket *bucket, unsigned slot);
struct mf_entry *mf_bucket_entry(const struct mf_bucket *bucket, unsigned slot);
struct mf_bucket *mf_bucket_next(const struct mf_bucket *bucket);
uint8_t mf_bucket_tag(const struct mf_bucket *bucket, unsigned slot);
// Writer. The place of this very entry.
struct mf_bucket_place mf_chain_locate(struct mf_bucket *head, const struct mf_entry *entry,
                                       uint8_t tag);
// Writer. Puts an entry, made into a slot by mf_slot_of, into the chain.
void mf_chain_insert(struct mf_chain_owner *owner, struct mf_bucket *head, uintptr_t slot,
                     uint8_t tag);
// Writer. Puts another entry of the same key into a place.
void mf_chain_replace(struct mf_bucket_place place, uintptr_t slot);
// Writer. Takes the slots out of one bucket of the chain (bit i for slot i). Afterwards, or after
// several of these, mf_chain_compact restores what the chain promises.
void mf_chain_erase(struct mf_bucket *bucket, unsigned slots);
void mf_chain_compact(struct mf_chain_owner *owner, struct mf_bucket *head);
// Writer. Empties the chain; its entries are elsewhere by now.
void mf_chain_empty(struct mf_chain_owner *owner, struct mf_bucket *head);
// Checks what the chain promises.
bool mf_chain_valid(const struct mf_bucket *head);

#endif
