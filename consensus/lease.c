// Node-pair leases; see lease.h.
//
// The grantor's side is one word, so that its changes have one order that all threads agree on:
//
//     until, ms (38 bits) | out (1) | withdrawals (25)
//
// A grant and a withdrawal that meet are decided by it: the withdrawal sees the grant and fails, or
// the grant comes after it and has the next token. Nothing else is published through the word, so
// every access to it is relaxed. What a group says to another node because a withdrawal succeeded
// follows from the value that its own thread has read.
//
// The holder's side is two words under a sequence lock (base/seqlock.h). A writer that meets
// another one gives up: an answer that is not noted only makes the lease a little shorter.
#include "consensus/lease.h"

#include "base/seqlock.h"

#define COUNT_BITS 25u
#define COUNT_MAX ((UINT64_C(1) << COUNT_BITS) - 1)
#define OUT_BIT (UINT64_C(1) << COUNT_BITS)
#define UNTIL_SHIFT (COUNT_BITS + 1)
#define UNTIL_MS_MAX (UINT64_MAX >> UNTIL_SHIFT)
// A reader that meets writers this often reports nothing.
#define READ_TRIES 4

static uint64_t until_ms(uint64_t granted)
{
    return granted >> UNTIL_SHIFT;
}

static uint64_t count_of(uint64_t granted)
{
    return granted & COUNT_MAX;
}

static uint64_t token_of(const struct mf_lease *lease, uint64_t granted)
{
    return count_of(granted) == COUNT_MAX ? 0 : lease->token_base + count_of(granted);
}

static uint64_t ms_rounded_up(uint64_t us)
{
    uint64_t ms = us / 1000 + (us % 1000 != 0);
    return ms < UNTIL_MS_MAX ? ms : UNTIL_MS_MAX;
}

static bool runs(uint64_t granted, uint64_t now_us)
{
    // The last moment that fits is the end of counting, not of the lease.
    return now_us < until_ms(granted) * 1000 || until_ms(granted) == UNTIL_MS_MAX;
}

static uint64_t load_granted(const struct mf_lease *lease)
{
    // Relaxed: see the top of this file; pairs with exchange.
    return atomic_load_explicit(&lease->granted, memory_order_relaxed);
}

static bool exchange(struct mf_lease *lease, uint64_t *seen, uint64_t wanted)
{
    // Relaxed: see the top of this file; pairs with itself and load_granted.
    return atomic_compare_exchange_weak_explicit(&lease->granted, seen, wanted,
                                                 memory_order_relaxed, memory_order_relaxed);
}

void mf_lease_init(struct mf_lease *lease, uint64_t token_base, uint64_t bound_until_us)
{
    // No token is 0 or wraps around.
    lease->token_base = token_base >> 1 | 1;
    atomic_init(&lease->granted, ms_rounded_up(bound_until_us) << UNTIL_SHIFT);
    atomic_init(&lease->held_version, 0);
    atomic_init(&lease->held_until_us, 0);
    atomic_init(&lease->held_token, 0);
}

uint64_t mf_lease_grant(struct mf_lease *lease, uint64_t now_us, uint64_t lease_us)
{
    uint64_t fresh_ms = ms_rounded_up(now_us + lease_us);
    uint64_t seen = load_granted(lease);
    for (;;) {
        uint64_t token = token_of(lease, seen);
        if (token == 0 || fresh_ms <= until_ms(seen))
            return token;
        uint64_t rest = seen & (OUT_BIT | COUNT_MAX);
        if (exchange(lease, &seen, fresh_ms << UNTIL_SHIFT | rest))
            return token;
    }
}

uint64_t mf_lease_token(struct mf_lease *lease)
{
    uint64_t seen = load_granted(lease);
    while (token_of(lease, seen) != 0 && (seen & OUT_BIT) == 0) {
        if (exchange(lease, &seen, seen | OUT_BIT))
            break;
    }
    return token_of(lease, seen);
}

bool mf_lease_bound(const struct mf_lease *lease, uint64_t now_us)
{
    return runs(load_granted(lease), now_us);
}

bool mf_lease_withdraw(struct mf_lease *lease, uint64_t now_us)
{
    uint64_t seen = load_granted(lease);
    for (;;) {
        if (runs(seen, now_us))
            return false;
        bool apart = until_ms(seen) == 0 && (seen & OUT_BIT) == 0;
        if (apart || count_of(seen) == COUNT_MAX)
            return true; // nobody relies on the token, or there are none any more
        if (exchange(lease, &seen, count_of(seen) + 1))
            return true;
    }
}

void mf_lease_held(struct mf_lease *lease, uint64_t token, uint64_t sent_us, uint64_t lease_us)
{
    uint64_t until_us = sent_us + lease_us - lease_us / MF_LEASE_DRIFT;
    if (!mf_seq_write_begin(&lease->held_version))
        return;
    // Relaxed: the writer before us is acquired with the lock.
    if (until_us > atomic_load_explicit(&lease->held_until_us, memory_order_relaxed)) {
        // Release, pairs with the acquires in read_held and mf_lease_held_token.
        atomic_store_explicit(&lease->held_until_us, until_us, memory_order_release);
        atomic_store_explicit(&lease->held_token, token, memory_order_release);
    }
    mf_seq_write_end(&lease->held_version);
}

// The end of what the newest token grants.
static bool read_held(const struct mf_lease *lease, uint64_t *token, uint64_t *until_us)
{
    uint32_t version = mf_seq_read_begin(&lease->held_version);
    // Acquire, pairs with the releases in mf_lease_held.
    *until_us = atomic_load_explicit(&lease->held_until_us, memory_order_acquire);
    *token = atomic_load_explicit(&lease->held_token, memory_order_acquire);
    return mf_seq_valid(&lease->held_version, version);
}

uint64_t mf_lease_held_until(const struct mf_lease *lease, uint64_t token)
{
    uint64_t held_token;
    uint64_t until_us;
    for (unsigned i = 0; i < READ_TRIES; i++) {
        if (read_held(lease, &held_token, &until_us))
            return token != 0 && token == held_token ? until_us : 0;
    }
    return 0;
}

uint64_t mf_lease_held_token(const struct mf_lease *lease)
{
    // Acquire, pairs with the release in mf_lease_held. One word needs no lock.
    return atomic_load_explicit(&lease->held_token, memory_order_acquire);
}
