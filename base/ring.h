// A bounded queue of pointers between threads: many producers, one consumer (ck_ring's MPSC).
//
// The push is lock-free; a full ring refuses. Whoever pushes into an empty ring wakes the consumer
// by its own means (ev_async). The push releases, the pop acquires: what the producer wrote before
// the push is seen by the consumer after the pop.
#ifndef MF_BASE_RING_H
#define MF_BASE_RING_H

#include <stdbool.h>
#include <stddef.h>

struct mf_ring;

// capacity: a power of two, at least 4; the ring holds capacity - 1 pointers.
struct mf_ring *mf_ring_new(size_t capacity);
void mf_ring_free(struct mf_ring *ring);

// Any thread. False when the ring is full.
bool mf_ring_push(struct mf_ring *ring, void *item);

// The consumer's thread only. NULL when the ring is empty.
void *mf_ring_pop(struct mf_ring *ring);

#endif
