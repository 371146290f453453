// The expiry heap: a 4-ary min-heap of nodes that live inside their owners.
//
// Each node knows its position, so a changed or dropped TTL moves or removes its node at once and
// the heap never holds the dead. Order is (deadline, version): every replica pops the same nodes in
// the same order. One thread only.
//
// A store holds millions of nodes, so a node is no struct of aligned fields but packed bytes at the
// start of its owner, as wide as its numbers need:
//
//     u8 bits | version, 5 or 8 bytes | deadline, 6 or 8 bytes | position, 4 bytes
//
// Two of the bits tell the widths; the other six, and what follows the node, are the owner's.
#ifndef MF_TTL_HEAP_H
#define MF_TTL_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MF_HEAP_WIDE_VERSION 0x01u
#define MF_HEAP_WIDE_DEADLINE 0x02u

// An owner without a deadline has only bits and version.
struct mf_heap_node {
    uint8_t bits;
    uint8_t packed[];
};

// The width bits that a node with these numbers has.
uint8_t mf_heap_node_bits(uint64_t deadline_us, uint64_t version);
// Bytes from the node's start to the end of its version, and of all of it; constant for constant
// bits.
#define MF_HEAP_NODE_VERSION_BYTES(bits) (((bits)&MF_HEAP_WIDE_VERSION) != 0 ? 9u : 6u)
#define MF_HEAP_NODE_BYTES(bits)                                                                   \
    (MF_HEAP_NODE_VERSION_BYTES(bits) + (((bits)&MF_HEAP_WIDE_DEADLINE) != 0 ? 8u : 6u) + 4u)
// Writes what follows the bits, which are set: the version alone, or all of a node that is nowhere.
void mf_heap_node_set_version(struct mf_heap_node *node, uint64_t version);
void mf_heap_node_set(struct mf_heap_node *node, uint64_t deadline_us, uint64_t version);

// These do not read the position, so another thread may call them on a node that it can reach.
uint64_t mf_heap_node_version(const struct mf_heap_node *node);
uint64_t mf_heap_node_deadline(const struct mf_heap_node *node); // log time

// The order: by deadline, then version.
bool mf_heap_node_before(const struct mf_heap_node *a, const struct mf_heap_node *b);

// An array in chunks of nodes, found through tables of which each has twice as many as the one
// before: growth copies nothing and, but for the allocator, does no more in a larger heap.
#define MF_HEAP_TABLES 24u
struct mf_heap {
    struct mf_heap_node ***tables[MF_HEAP_TABLES];
    uint32_t chunk_count;
    uint32_t count;
};

void mf_heap_init(struct mf_heap *heap);
// Leaves an empty heap. The nodes are the owners' and are not touched.
void mf_heap_free(struct mf_heap *heap);
// The same in steps, for a heap that nobody uses any more: frees at most so many chunks, of which
// each had room for 128 nodes; true while there are more.
bool mf_heap_free_some(struct mf_heap *heap, uint32_t chunks);
// Bytes of the heap itself, without its nodes.
size_t mf_heap_bytes(const struct mf_heap *heap);

// Adds a node that is nowhere; version is unique within the heap. O(log4 n).
void mf_heap_push(struct mf_heap *heap, struct mf_heap_node *node);
// Takes a node out; nothing happens when it is nowhere.
void mf_heap_remove(struct mf_heap *heap, struct mf_heap_node *node);
// Puts `fresh`, which is nowhere, in place of `old`, which is in the heap; their numbers may
// differ.
void mf_heap_replace(struct mf_heap *heap, struct mf_heap_node *old, struct mf_heap_node *fresh);
// The earliest node, or NULL.
struct mf_heap_node *mf_heap_top(const struct mf_heap *heap);
// Takes out the earliest node; NULL when empty.
struct mf_heap_node *mf_heap_pop(struct mf_heap *heap);
// The first nodes in order, those with deadline <= until_us, without taking them out; returns how
// many, at most `max`, for which `nodes` has room. O(max log max), max at most MF_HEAP_FIRST_MAX.
#define MF_HEAP_FIRST_MAX 256u
uint32_t mf_heap_first(const struct mf_heap *heap, uint64_t until_us, struct mf_heap_node **nodes,
                       uint32_t max);
// Takes out the first `count` nodes of what mf_heap_first has just returned, all at once: the gaps
// at the top close from below, each over a few levels, where one pop after the other would go
// through all levels for each.
void mf_heap_remove_first(struct mf_heap *heap, struct mf_heap_node *const *nodes, uint32_t count);
// Calls visit for every node with deadline <= now_us, in no order. O(number visited).
void mf_heap_visit_due(const struct mf_heap *heap, uint64_t now_us,
                       void (*visit)(void *arg, const struct mf_heap_node *node), void *arg);
// Checks order and positions of every node; for tests. O(n).
bool mf_heap_valid(const struct mf_heap *heap);

#endif
