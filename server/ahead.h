// Requests that have come together are looked at before their turn: where their keys are is brought
// into the cache for many at once. What costs most of a small request is waiting for memory.
//
// Nothing depends on it: a key that is not there by then, or is no key, has cost a little time.
// Everything runs on the reactor's thread.
#ifndef MF_SERVER_AHEAD_H
#define MF_SERVER_AHEAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "server/reactor.h"

#define MF_AHEAD_KEYS 16u

// Now and then: whether there is more than the cache holds anyhow (reactor->looks_ahead), and
// whether writes have their turn when they come (reactor->writes_ahead). Else they have it
// together, and their keys are brought then (shards/apply.c).
void mf_ahead_tick(struct mf_reactor *reactor);
// The size of the request at the start of the input, if it is one whose key is worth it; else 0.
typedef size_t mf_ahead_peek(struct mf_bytes input, struct mf_bytes *key, bool *write);
// Brings the keys of the first requests of the input into the cache, up to one that `peek` refuses;
// returns of how many, MF_AHEAD_KEYS at most.
uint32_t mf_ahead_look(struct mf_reactor *reactor, struct mf_bytes input, mf_ahead_peek *peek);

#endif
