// The expiry heap: a 4-ary min-heap of nodes that live inside their owners.
//
// Each node knows its position, so a changed or dropped TTL moves or removes its node at once and
// the heap never holds the dead. Order is (deadline, version): every replica pops the same nodes in
// the same order. One thread only.
#ifndef MF_TTL_HEAP_H
#define MF_TTL_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MF_HEAP_NOWHERE UINT32_MAX

// Embedded in the owner. `position` is the heap's; set it to MF_HEAP_NOWHERE before the first push.
struct mf_heap_node {
    uint64_t deadline_us; // log time
    uint64_t version;     // tie-break; unique within one heap
    uint32_t position;
};

struct mf_heap {
    struct mf_heap_node **nodes;
    uint32_t count;
    uint32_t cap;
};

void mf_heap_init(struct mf_heap *heap);
// The nodes are the owners' and are not touched.
void mf_heap_free(struct mf_heap *heap);

// Adds a node that is nowhere. O(log4 n).
void mf_heap_push(struct mf_heap *heap, struct mf_heap_node *node);
// Takes a node out; nothing happens when it is nowhere.
void mf_heap_remove(struct mf_heap *heap, struct mf_heap_node *node);
// Restores order after deadline_us or version of a node in the heap were changed in place.
void mf_heap_update(struct mf_heap *heap, struct mf_heap_node *node);
// The node's memory moved (same deadline and version): repoints the heap to it. O(1).
void mf_heap_moved(struct mf_heap *heap, struct mf_heap_node *node);
// The earliest node, or NULL.
struct mf_heap_node *mf_heap_top(const struct mf_heap *heap);
// Takes out the earliest node; NULL when empty.
struct mf_heap_node *mf_heap_pop(struct mf_heap *heap);
// Checks order and positions of every node; for tests. O(n).
bool mf_heap_valid(const struct mf_heap *heap);

#endif
