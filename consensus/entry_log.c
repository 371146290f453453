// The in-memory log: a growing ring of entries; see entry_log.h.
#include "consensus/entry_log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct mf_payload *mf_payload_new(enum mf_entry_kind kind, struct mf_bytes bytes)
{
    struct mf_payload *payload = mf_alloc(sizeof(*payload) + bytes.len);
    payload->references = 1;
    payload->kind = kind;
    payload->len = bytes.len;
    if (bytes.len > 0)
        memcpy(payload->data, bytes.data, bytes.len);
    return payload;
}

struct mf_payload *mf_payload_ref(struct mf_payload *payload)
{
    if (payload != NULL)
        payload->references++;
    return payload;
}

void mf_payload_unref(struct mf_payload *payload)
{
    if (payload != NULL && --payload->references == 0)
        free(payload);
}

struct mf_bytes mf_payload_bytes(const struct mf_payload *payload)
{
    return payload == NULL ? mf_bytes_of(NULL, 0) : mf_bytes_of(payload->data, payload->len);
}

// The ring.

static struct mf_log_block **block_at(const struct mf_log_ring *ring, uint64_t number)
{
    return &ring->blocks[number & (ring->cap - 1)];
}

static struct mf_log_entry *place(const struct mf_log_ring *ring, uint64_t slot)
{
    struct mf_log_block *block = *block_at(ring, slot / MF_LOG_BLOCK_SLOTS);
    return &block->entries[slot % MF_LOG_BLOCK_SLOTS];
}

static void make_room(struct mf_log_ring *ring, uint64_t blocks)
{
    if (blocks <= ring->cap)
        return;
    uint64_t cap = ring->cap == 0 ? 1 : ring->cap;
    while (cap < blocks)
        cap *= 2;
    struct mf_log_ring grown = *ring;
    grown.blocks = mf_calloc(cap, sizeof(struct mf_log_block *));
    grown.cap = cap;
    if (ring->from < ring->end) {
        uint64_t last = (ring->end - 1) / MF_LOG_BLOCK_SLOTS;
        for (uint64_t i = ring->from / MF_LOG_BLOCK_SLOTS; i <= last; i++)
            *block_at(&grown, i) = *block_at(ring, i);
    }
    free(ring->blocks);
    *ring = grown;
}

// Makes empty places up to `end`.
static void extend(struct mf_log_ring *ring, uint64_t end)
{
    make_room(ring, (end - 1) / MF_LOG_BLOCK_SLOTS - ring->from / MF_LOG_BLOCK_SLOTS + 1);
    // The block in which the places end now is there, if there is any place.
    uint64_t number = ring->end / MF_LOG_BLOCK_SLOTS;
    if (ring->from < ring->end && ring->end % MF_LOG_BLOCK_SLOTS != 0)
        number++;
    for (; number <= (end - 1) / MF_LOG_BLOCK_SLOTS; number++)
        *block_at(ring, number) = mf_calloc(1, sizeof(struct mf_log_block));
    ring->end = end;
}

// Frees what the first slots up to `until`, and not more than `slots`, took, and subtracts from
// `bytes`. Returns how many slots that were.
static uint64_t shed(struct mf_log_ring *ring, uint64_t until, uint64_t slots, uint64_t *bytes)
{
    uint64_t from = ring->from;
    if (until - from > slots)
        until = from + slots;
    while (ring->from < until) {
        struct mf_log_entry *entry = place(ring, ring->from);
        *bytes -= entry->bytes;
        mf_payload_unref(entry->payload);
        *entry = (struct mf_log_entry){0};
        ring->from++;
        if (ring->from % MF_LOG_BLOCK_SLOTS == 0 || ring->from == ring->end)
            free(*block_at(ring, (ring->from - 1) / MF_LOG_BLOCK_SLOTS));
    }
    return ring->from - from;
}

static void free_ring(struct mf_log_ring *ring, uint64_t *bytes)
{
    (void)shed(ring, ring->end, UINT64_MAX, bytes);
    free(ring->blocks);
    *ring = (struct mf_log_ring){0};
}

// The log.

void mf_entry_log_init(struct mf_entry_log *log, uint64_t first)
{
    *log = (struct mf_entry_log){.first = first, .ring = {.from = first, .end = first}};
}

void mf_entry_log_free(struct mf_entry_log *log)
{
    free_ring(&log->ring, &log->bytes);
    free_ring(&log->left, &log->bytes);
    *log = (struct mf_entry_log){0};
}

uint64_t mf_entry_log_last(const struct mf_entry_log *log)
{
    return log->first + log->count - 1;
}

struct mf_log_entry *mf_entry_log_get(const struct mf_entry_log *log, uint64_t slot)
{
    if (slot < log->first || slot - log->first >= log->count)
        return NULL;
    struct mf_log_entry *entry = place(&log->ring, slot);
    return entry->ballot != 0 ? entry : NULL;
}

struct mf_log_entry *mf_entry_log_put(struct mf_entry_log *log, uint64_t slot, mf_ballot_t ballot,
                                      uint64_t log_time_us, struct mf_payload *payload)
{
    assert(slot >= log->first && ballot != 0);
    uint64_t wanted = slot - log->first + 1;
    if (wanted > log->count) {
        extend(&log->ring, slot + 1);
        log->count = wanted;
    }
    struct mf_log_entry *entry = place(&log->ring, slot);
    struct mf_payload *fresh = mf_payload_ref(payload); // before unref: they may be the same
    log->bytes -= entry->bytes;
    mf_payload_unref(entry->payload);
    size_t bytes = mf_payload_bytes(fresh).len;
    assert(bytes <= UINT32_MAX);
    *entry = (struct mf_log_entry){
        .ballot = ballot, .log_time_us = log_time_us, .payload = fresh, .bytes = (uint32_t)bytes};
    log->bytes += bytes;
    return entry;
}

void mf_entry_log_cut(struct mf_entry_log *log, uint64_t first)
{
    if (first <= log->first)
        return;
    uint64_t end = log->first + log->count;
    log->count = first < end ? end - first : 0;
    log->first = first;
    if (first < end)
        return;
    // The ring cannot go on from there: it would have places for all slots in between.
    free_ring(&log->left, &log->bytes);
    log->left = log->ring;
    log->ring = (struct mf_log_ring){.from = first, .end = first};
}

void mf_entry_log_pass(struct mf_entry_log *log)
{
    if (log->count > 0)
        mf_entry_log_cut(log, log->first + log->count);
    log->first++;
    log->ring.from = log->first;
    log->ring.end = log->first;
}

void mf_entry_log_reclaim(struct mf_entry_log *log, uint64_t slots)
{
    if (log->left.blocks != NULL) {
        slots -= shed(&log->left, log->left.end, slots, &log->bytes);
        if (log->left.from == log->left.end)
            free_ring(&log->left, &log->bytes);
    }
    (void)shed(&log->ring, log->first, slots, &log->bytes);
}

bool mf_entry_log_litter(const struct mf_entry_log *log)
{
    return log->left.from < log->left.end || log->ring.from < log->first;
}
