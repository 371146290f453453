// A 4-ary heap (Johnson 1975) over packed nodes; see heap.h.
//
// Four children share half a cache line of pointers, and the tree is half as deep as a binary one.
// What costs time is reading the nodes, each in a cache line of its own somewhere in memory: the
// children of a step are prefetched together so that their misses overlap.
#include "ttl/heap.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define ARITY 4u
#define CHUNK_BITS 7u
#define CHUNK_NODES (1u << CHUNK_BITS)
#define NOWHERE UINT32_MAX
#define POSITION_BYTES 4u

#define NARROW_VERSION_MAX ((UINT64_C(1) << 40) - 1)
#define NARROW_DEADLINE_MAX ((UINT64_C(1) << 48) - 1)

uint8_t mf_heap_node_bits(uint64_t deadline_us, uint64_t version)
{
    unsigned bits = version > NARROW_VERSION_MAX ? MF_HEAP_WIDE_VERSION : 0;
    bits |= deadline_us > NARROW_DEADLINE_MAX ? MF_HEAP_WIDE_DEADLINE : 0;
    return (uint8_t)bits;
}

// The owner may flip bits of its own while other threads read the widths.
static uint8_t bits_of(const struct mf_heap_node *node)
{
    return __atomic_load_n(&node->bits, __ATOMIC_RELAXED);
}

void mf_heap_node_set_version(struct mf_heap_node *node, uint64_t version)
{
    uint8_t *at = node->packed;
    if ((bits_of(node) & MF_HEAP_WIDE_VERSION) != 0) {
        memcpy(at, &version, 8);
        return;
    }
    assert(version <= NARROW_VERSION_MAX);
    uint32_t low = (uint32_t)version;
    memcpy(at, &low, 4);
    at[4] = (uint8_t)(version >> 32);
}

uint64_t mf_heap_node_version(const struct mf_heap_node *node)
{
    const uint8_t *at = node->packed;
    uint64_t version;
    uint32_t low;
    if ((bits_of(node) & MF_HEAP_WIDE_VERSION) != 0) {
        memcpy(&version, at, 8);
        return version;
    }
    memcpy(&low, at, 4);
    return low | (uint64_t)at[4] << 32;
}

static void set_deadline(struct mf_heap_node *node, uint64_t deadline_us)
{
    uint8_t bits = bits_of(node);
    uint8_t *at = (uint8_t *)node + MF_HEAP_NODE_VERSION_BYTES(bits);
    if ((bits & MF_HEAP_WIDE_DEADLINE) != 0) {
        memcpy(at, &deadline_us, 8);
        return;
    }
    assert(deadline_us <= NARROW_DEADLINE_MAX);
    uint32_t low = (uint32_t)deadline_us;
    uint16_t high = (uint16_t)(deadline_us >> 32);
    memcpy(at, &low, 4);
    memcpy(at + 4, &high, 2);
}

uint64_t mf_heap_node_deadline(const struct mf_heap_node *node)
{
    uint8_t bits = bits_of(node);
    const uint8_t *at = (const uint8_t *)node + MF_HEAP_NODE_VERSION_BYTES(bits);
    uint64_t deadline_us;
    uint32_t low;
    uint16_t high;
    if ((bits & MF_HEAP_WIDE_DEADLINE) != 0) {
        memcpy(&deadline_us, at, 8);
        return deadline_us;
    }
    memcpy(&low, at, 4);
    memcpy(&high, at + 4, 2);
    return low | (uint64_t)high << 32;
}

static void set_position(struct mf_heap_node *node, uint32_t position)
{
    memcpy((uint8_t *)node + MF_HEAP_NODE_BYTES(bits_of(node)) - POSITION_BYTES, &position, 4);
}

static uint32_t position_of(const struct mf_heap_node *node)
{
    uint32_t position;
    memcpy(&position, (const uint8_t *)node + MF_HEAP_NODE_BYTES(bits_of(node)) - POSITION_BYTES,
           4);
    return position;
}

void mf_heap_node_set(struct mf_heap_node *node, uint64_t deadline_us, uint64_t version)
{
    mf_heap_node_set_version(node, version);
    set_deadline(node, deadline_us);
    set_position(node, NOWHERE);
}

void mf_heap_init(struct mf_heap *heap)
{
    *heap = (struct mf_heap){0};
}

// The table of a chunk, and its place there.
static uint32_t table_of(uint32_t chunk, uint32_t *place)
{
    uint32_t table = 31u - (uint32_t)__builtin_clz(chunk + 1);
    *place = chunk + 1 - (1u << table);
    return table;
}

static struct mf_heap_node ***chunk_place(const struct mf_heap *heap, uint32_t chunk)
{
    uint32_t place;
    uint32_t table = table_of(chunk, &place);
    return &heap->tables[table][place];
}

void mf_heap_free(struct mf_heap *heap)
{
    for (uint32_t i = 0; i < heap->chunk_count; i++)
        free(*chunk_place(heap, i));
    for (uint32_t i = 0; i < MF_HEAP_TABLES; i++)
        free(heap->tables[i]);
    mf_heap_init(heap);
}

size_t mf_heap_bytes(const struct mf_heap *heap)
{
    size_t bytes = (size_t)heap->chunk_count * CHUNK_NODES * sizeof(struct mf_heap_node *);
    for (uint32_t i = 0; i < MF_HEAP_TABLES && heap->tables[i] != NULL; i++)
        bytes += sizeof(*heap->tables[i]) << i;
    return bytes;
}

static struct mf_heap_node **slot_of(const struct mf_heap *heap, uint32_t i)
{
    return *chunk_place(heap, i >> CHUNK_BITS) + (i & (CHUNK_NODES - 1));
}

static struct mf_heap_node *node_at(const struct mf_heap *heap, uint32_t i)
{
    return *slot_of(heap, i);
}

static void place(struct mf_heap *heap, uint32_t i, struct mf_heap_node *node)
{
    *slot_of(heap, i) = node;
    set_position(node, i);
}

bool mf_heap_node_before(const struct mf_heap_node *a, const struct mf_heap_node *b)
{
    uint64_t a_us = mf_heap_node_deadline(a);
    uint64_t b_us = mf_heap_node_deadline(b);
    if (a_us != b_us)
        return a_us < b_us;
    return mf_heap_node_version(a) < mf_heap_node_version(b);
}

// Moves the hole at i up until node may stand in it, and puts it there.
static void sift_up(struct mf_heap *heap, uint32_t i, struct mf_heap_node *node)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / ARITY;
        struct mf_heap_node *above = node_at(heap, parent);
        if (!mf_heap_node_before(node, above))
            break;
        place(heap, i, above);
        i = parent;
    }
    place(heap, i, node);
}

// The earliest child of i, or heap->count when it has none.
static uint32_t first_child(const struct mf_heap *heap, uint32_t i)
{
    uint64_t from = (uint64_t)i * ARITY + 1;
    if (from >= heap->count)
        return heap->count;
    uint32_t begin = (uint32_t)from;
    uint32_t end = heap->count - begin > ARITY ? begin + ARITY : heap->count;
    for (uint32_t child = begin; child < end; child++)
        __builtin_prefetch(node_at(heap, child));
    uint32_t best = begin;
    for (uint32_t child = begin + 1; child < end; child++) {
        if (mf_heap_node_before(node_at(heap, child), node_at(heap, best)))
            best = child;
    }
    return best;
}

static void sift_down(struct mf_heap *heap, uint32_t i, struct mf_heap_node *node)
{
    for (;;) {
        uint32_t child = first_child(heap, i);
        if (child == heap->count || !mf_heap_node_before(node_at(heap, child), node))
            break;
        place(heap, i, node_at(heap, child));
        i = child;
    }
    place(heap, i, node);
}

// Puts node where the hole at i is, or above or below it as the order wants.
static void settle(struct mf_heap *heap, uint32_t i, struct mf_heap_node *node)
{
    if (i > 0 && mf_heap_node_before(node, node_at(heap, (i - 1) / ARITY)))
        sift_up(heap, i, node);
    else
        sift_down(heap, i, node);
}

static void add_chunk(struct mf_heap *heap)
{
    uint32_t place;
    uint32_t table = table_of(heap->chunk_count, &place);
    assert(table < MF_HEAP_TABLES);
    if (heap->tables[table] == NULL)
        heap->tables[table] = mf_alloc(sizeof(*heap->tables[table]) << table);
    heap->tables[table][place] = mf_alloc(CHUNK_NODES * sizeof(struct mf_heap_node *));
    heap->chunk_count++;
}

static void drop_chunk(struct mf_heap *heap)
{
    uint32_t place;
    uint32_t table = table_of(--heap->chunk_count, &place);
    free(heap->tables[table][place]);
    // A table goes once the one before it is not full any more: that is one to spare, too.
    if (place == 0 && table + 1 < MF_HEAP_TABLES) {
        free(heap->tables[table + 1]);
        heap->tables[table + 1] = NULL;
    }
}

// Gives chunks back, but for one to spare: a heap that grows and shrinks by one stays quiet.
static void drop_chunks(struct mf_heap *heap)
{
    uint32_t used = (heap->count + CHUNK_NODES - 1) >> CHUNK_BITS;
    while (heap->chunk_count > used + 1)
        drop_chunk(heap);
}

bool mf_heap_free_some(struct mf_heap *heap, uint32_t chunks)
{
    for (; chunks > 0 && heap->chunk_count > 0; chunks--)
        drop_chunk(heap);
    if (heap->chunk_count > 0)
        return true;
    mf_heap_free(heap);
    return false;
}

void mf_heap_push(struct mf_heap *heap, struct mf_heap_node *node)
{
    assert(position_of(node) == NOWHERE && heap->count < NOWHERE - CHUNK_NODES);
    if (heap->count >> CHUNK_BITS == heap->chunk_count)
        add_chunk(heap);
    sift_up(heap, heap->count++, node);
}

void mf_heap_remove(struct mf_heap *heap, struct mf_heap_node *node)
{
    uint32_t i = position_of(node);
    if (i == NOWHERE)
        return;
    assert(i < heap->count && node_at(heap, i) == node);
    struct mf_heap_node *last = node_at(heap, --heap->count);
    if (last != node)
        settle(heap, i, last);
    set_position(node, NOWHERE);
    drop_chunks(heap);
}

// A deadline that was put off, as by a TTL that slides, can only sink, and most nodes are leaves:
// then no other node is looked at.
void mf_heap_replace(struct mf_heap *heap, struct mf_heap_node *old, struct mf_heap_node *fresh)
{
    uint32_t i = position_of(old);
    assert(i < heap->count && node_at(heap, i) == old && position_of(fresh) == NOWHERE);
    set_position(old, NOWHERE);
    if (mf_heap_node_before(fresh, old))
        sift_up(heap, i, fresh);
    else
        sift_down(heap, i, fresh);
}

struct mf_heap_node *mf_heap_top(const struct mf_heap *heap)
{
    return heap->count > 0 ? node_at(heap, 0) : NULL;
}

struct mf_heap_node *mf_heap_pop(struct mf_heap *heap)
{
    struct mf_heap_node *top = mf_heap_top(heap);
    if (top != NULL)
        mf_heap_remove(heap, top);
    return top;
}

// The frontier is what may come next: a binary heap of candidates, in which one that is taken gives
// way to its children in the heap. It gains at most three for each node that is found. Candidates
// hold a copy of what they are compared by, which costs a read of each node, and no more.
#define FRONTIER_MAX (MF_HEAP_FIRST_MAX * (ARITY - 1) + 1)
struct candidate {
    uint64_t deadline_us;
    uint64_t version;
    uint32_t position;
};
struct frontier {
    uint32_t count;
    struct candidate candidates[FRONTIER_MAX];
};

static bool candidate_before(const struct candidate *a, const struct candidate *b)
{
    if (a->deadline_us != b->deadline_us)
        return a->deadline_us < b->deadline_us;
    return a->version < b->version;
}

static void frontier_add(struct frontier *frontier, const struct candidate *fresh)
{
    assert(frontier->count < FRONTIER_MAX);
    struct candidate *candidates = frontier->candidates;
    uint32_t i = frontier->count++;
    for (; i > 0 && candidate_before(fresh, &candidates[(i - 1) / 2]); i = (i - 1) / 2)
        candidates[i] = candidates[(i - 1) / 2];
    candidates[i] = *fresh;
}

static uint32_t frontier_take(struct frontier *frontier)
{
    struct candidate *candidates = frontier->candidates;
    uint32_t taken = candidates[0].position;
    const struct candidate *last = &candidates[--frontier->count];
    uint32_t i = 0;
    for (uint32_t child = 1; child < frontier->count; child = 2 * i + 1) {
        if (child + 1 < frontier->count &&
            candidate_before(&candidates[child + 1], &candidates[child]))
            child++;
        if (!candidate_before(&candidates[child], last))
            break;
        candidates[i] = candidates[child];
        i = child;
    }
    candidates[i] = *last;
    return taken;
}

// The nodes in positions from..end-1, those that are there and due.
static void frontier_add_due(struct frontier *frontier, const struct mf_heap *heap,
                             uint64_t until_us, uint64_t from, uint64_t end)
{
    if (end > heap->count)
        end = heap->count;
    for (uint64_t i = from; i < end; i++)
        __builtin_prefetch(node_at(heap, (uint32_t)i));
    for (uint64_t i = from; i < end; i++) {
        const struct mf_heap_node *node = node_at(heap, (uint32_t)i);
        struct candidate fresh = {mf_heap_node_deadline(node), mf_heap_node_version(node),
                                  (uint32_t)i};
        if (fresh.deadline_us <= until_us)
            frontier_add(frontier, &fresh);
    }
}

uint32_t mf_heap_first(const struct mf_heap *heap, uint64_t until_us, struct mf_heap_node **nodes,
                       uint32_t max)
{
    assert(max <= MF_HEAP_FIRST_MAX);
    struct frontier frontier;
    frontier.count = 0;
    uint32_t found = 0;
    frontier_add_due(&frontier, heap, until_us, 0, 1);
    while (found < max && frontier.count > 0) {
        uint64_t position = frontier_take(&frontier);
        nodes[found++] = node_at(heap, (uint32_t)position);
        uint64_t child = position * ARITY + 1;
        frontier_add_due(&frontier, heap, until_us, child, child + ARITY);
    }
    return found;
}

// Closes the gaps at i and below, where the nodes are that have no position any more, with nodes
// from the end. A gap's parent is a gap, so what is filled in can only sink, and it sinks into what
// is in order already.
static void close_gaps(struct mf_heap *heap, uint64_t i)
{
    if (i >= heap->count || position_of(node_at(heap, (uint32_t)i)) != NOWHERE)
        return;
    for (uint64_t child = i * ARITY + 1; child <= i * ARITY + ARITY; child++)
        close_gaps(heap, child);
    while (i < heap->count) {
        struct mf_heap_node *last = node_at(heap, --heap->count);
        if (position_of(last) == NOWHERE)
            continue;
        sift_down(heap, (uint32_t)i, last);
        break;
    }
}

void mf_heap_remove_first(struct mf_heap *heap, struct mf_heap_node *const *nodes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        assert(node_at(heap, position_of(nodes[i])) == nodes[i]);
        set_position(nodes[i], NOWHERE);
    }
    close_gaps(heap, 0);
    drop_chunks(heap);
}

static void visit_due_below(const struct mf_heap *heap, uint64_t i, uint64_t now_us,
                            void (*visit)(void *arg, const struct mf_heap_node *node), void *arg)
{
    if (i >= heap->count || mf_heap_node_deadline(node_at(heap, (uint32_t)i)) > now_us)
        return;
    visit(arg, node_at(heap, (uint32_t)i));
    for (uint64_t child = i * ARITY + 1; child <= i * ARITY + ARITY; child++)
        visit_due_below(heap, child, now_us, visit, arg);
}

void mf_heap_visit_due(const struct mf_heap *heap, uint64_t now_us,
                       void (*visit)(void *arg, const struct mf_heap_node *node), void *arg)
{
    visit_due_below(heap, 0, now_us, visit, arg);
}

bool mf_heap_valid(const struct mf_heap *heap)
{
    if (heap->count > (uint64_t)heap->chunk_count << CHUNK_BITS)
        return false;
    for (uint32_t i = 0; i < heap->count; i++) {
        if (position_of(node_at(heap, i)) != i)
            return false;
        if (i > 0 && !mf_heap_node_before(node_at(heap, (i - 1) / ARITY), node_at(heap, i)))
            return false;
    }
    return true;
}
