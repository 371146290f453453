// A sequence lock: a few atomic words that are read as one, by readers that never make a writer
// wait (Lameter, "Effective Synchronization on Linux/NUMA Systems" (2005); without fences, as Boehm
// shows it in "Can Seqlocks Get Along with Programming Language Memory Models?" (2012)).
//
// The words are atomics of their own. A writer stores them with release between begin and end, a
// reader loads them with acquire between begin and valid. Why it holds: a reader that has loaded a
// word of a writer has thereby also seen that this writer made the version odd, so its second look
// at the version finds another one than its first.
//
// Threads: readers anywhere. Writers anywhere too, but one at a time: begin refuses the second, who
// does without. The zero version is a lock that nobody has written under.
#ifndef MF_BASE_SEQLOCK_H
#define MF_BASE_SEQLOCK_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

// False while another writer is at it.
static inline bool mf_seq_write_begin(_Atomic uint32_t *version)
{
    // Relaxed: only a number is wanted, which the exchange below checks.
    uint32_t even = atomic_load_explicit(version, memory_order_relaxed);
    // Acquire, pairs with the release in mf_seq_write_end: this writer finds the words as the last
    // one left them. The odd version goes before the words because those are stored with release.
    return (even & 1) == 0 &&
           atomic_compare_exchange_strong_explicit(version, &even, even + 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

// The same for words that only one thread ever writes.
static inline void mf_seq_own_write_begin(_Atomic uint32_t *version)
{
    // Relaxed, both: nobody else changes it, and the words are stored with release.
    uint32_t even = atomic_load_explicit(version, memory_order_relaxed);
    assert((even & 1) == 0);
    atomic_store_explicit(version, even + 1, memory_order_relaxed);
}

static inline void mf_seq_write_end(_Atomic uint32_t *version)
{
    // Relaxed: nobody else changes an odd one.
    uint32_t odd = atomic_load_explicit(version, memory_order_relaxed);
    // Release, pairs with the acquire in mf_seq_read_begin: who starts from here sees the words.
    atomic_store_explicit(version, odd + 1, memory_order_release);
}

// The version to give to mf_seq_valid. An odd one is never valid.
static inline uint32_t mf_seq_read_begin(const _Atomic uint32_t *version)
{
    // Acquire, pairs with the release in mf_seq_write_end.
    return atomic_load_explicit(version, memory_order_acquire);
}

// True when nothing was written since `begun`: what was loaded in between belongs together.
static inline bool mf_seq_valid(const _Atomic uint32_t *version, uint32_t begun)
{
    // Relaxed: the loads before it were acquires, so it cannot come before them.
    return (begun & 1) == 0 && atomic_load_explicit(version, memory_order_relaxed) == begun;
}

#endif
