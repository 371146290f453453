// NOLOOP of CLIENT TRACKING: which changes a connection has made itself.
//
// A write of one value is answered with the version that it gave the key, and each change of a key
// has a version of its own. So the rule: a change is left untold only where a write of this
// connection was answered with that very version of that key. The word of a change may come before
// the answer: while a write of the key is under way it is held, and told when the last of them has
// ended without having been it. What there is no room for is told: too many words are harmless.
#ifndef MF_SERVER_RESP_TRACK_OWN_H
#define MF_SERVER_RESP_TRACK_OWN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define MF_RESP_OWN_WRITES_MAX 64u // under way
#define MF_RESP_OWN_MADE_MAX 64u   // answered, and perhaps still to come as a change
#define MF_RESP_OWN_HELD_BYTES_MAX 65536u

struct mf_resp_own_changes {
    struct {
        bool used;
        bool crossed; // another one of the same key was under way with it
        uint64_t key; // hashes
    } writes[MF_RESP_OWN_WRITES_MAX];
    struct {
        uint64_t key;
        uint64_t version;
    } made[MF_RESP_OWN_MADE_MAX];
    uint32_t next_made;
    struct mf_buf held; // u64 hash, u64 version, blob key
};

void mf_resp_own_free(struct mf_resp_own_changes *own);
// A write of the key, told by its hash, begins. Its number, which is not 0; or 0, it is one too
// many.
uint32_t mf_resp_own_begin(struct mf_resp_own_changes *own, uint64_t hash);
// It has ended with the version that it made, or with 0. Tells what was held for its sake.
void mf_resp_own_end(struct mf_resp_own_changes *own, uint32_t write, uint64_t version,
                     void (*tell)(void *arg, struct mf_bytes key), void *arg);
// The key has changed. True: it is not to be told now.
bool mf_resp_own_changed(struct mf_resp_own_changes *own, uint64_t hash, uint64_t version,
                         struct mf_bytes key);

#endif
