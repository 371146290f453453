// ck_ring with its buffer; see ring.h.
#include "base/ring.h"

#include <assert.h>
#include <ck_ring.h>
#include <stdlib.h>

#include "base/bytes.h"

struct mf_ring {
    ck_ring_t ring;
    ck_ring_buffer_t *slots;
};

struct mf_ring *mf_ring_new(size_t capacity)
{
    assert(capacity >= 4 && (capacity & (capacity - 1)) == 0);
    struct mf_ring *ring = NULL;
    int failed = posix_memalign((void **)&ring, CK_MD_CACHELINE, sizeof(*ring));
    assert(failed == 0);
    (void)failed;
    ck_ring_init(&ring->ring, (unsigned)capacity);
    ring->slots = mf_calloc(capacity, sizeof(*ring->slots));
    return ring;
}

void mf_ring_free(struct mf_ring *ring)
{
    if (ring == NULL)
        return;
    free(ring->slots);
    free(ring);
}

bool mf_ring_push(struct mf_ring *ring, void *item)
{
    assert(item != NULL);
    return ck_ring_enqueue_mpsc(&ring->ring, ring->slots, item);
}

void *mf_ring_pop(struct mf_ring *ring)
{
    void *item = NULL;
    return ck_ring_dequeue_mpsc(&ring->ring, ring->slots, &item) ? item : NULL;
}
