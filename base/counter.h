// A number that one thread counts and any may read: without the locked instruction that several
// writers would need. All relaxed: each reading stands for itself.
#ifndef MF_BASE_COUNTER_H
#define MF_BASE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

static inline uint64_t mf_counter_read(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}
// By its one writer.
static inline void mf_counter_set(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}
static inline void mf_counter_add(_Atomic uint64_t *counter, uint64_t value)
{
    mf_counter_set(counter, mf_counter_read(counter) + value);
}
static inline void mf_counter_max(_Atomic uint64_t *counter, uint64_t value)
{
    if (value > mf_counter_read(counter))
        mf_counter_set(counter, value);
}

#endif
