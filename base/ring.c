// ck_ring with its buffer; see ring.h.
#include "base/ring.h"

#include <assert.h>
#include <ck_ring.h>
#include <stdlib.h>

#include "base/bytes.h"

#ifdef MF_TSAN
// ck_ring synchronises with inline assembly, which ThreadSanitizer cannot see: here it is told what
// ring.h promises, and to look away from the ring's own slots and counters.
#include <sanitizer/tsan_interface.h>

void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);

static void look_away(void)
{
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}

static void look_again(void)
{
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}

#define ANNOTATE_ACQUIRE(ring) __tsan_acquire(ring)
#define ANNOTATE_RELEASE(ring) __tsan_release(ring)
#else
static void look_away(void)
{
}

static void look_again(void)
{
}

#define ANNOTATE_ACQUIRE(ring) (void)(ring)
#define ANNOTATE_RELEASE(ring) (void)(ring)
#endif

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
    ANNOTATE_RELEASE(ring);
    look_away();
    bool pushed = ck_ring_enqueue_mpsc(&ring->ring, ring->slots, item);
    look_again();
    return pushed;
}

void *mf_ring_pop(struct mf_ring *ring)
{
    void *item = NULL;
    look_away();
    bool popped = ck_ring_dequeue_mpsc(&ring->ring, ring->slots, &item);
    look_again();
    if (!popped)
        return NULL;
    ANNOTATE_ACQUIRE(ring);
    return item;
}
