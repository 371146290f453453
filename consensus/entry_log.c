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

void mf_entry_log_init(struct mf_entry_log *log, uint64_t first)
{
    *log = (struct mf_entry_log){.first = first};
}

static struct mf_log_entry *place(const struct mf_entry_log *log, uint64_t slot)
{
    return &log->entries[slot % log->cap];
}

void mf_entry_log_free(struct mf_entry_log *log)
{
    for (uint64_t i = 0; i < log->count; i++)
        mf_payload_unref(place(log, log->first + i)->payload);
    free(log->entries);
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
    struct mf_log_entry *entry = place(log, slot);
    return entry->ballot != 0 ? entry : NULL;
}

static void grow(struct mf_entry_log *log, uint64_t wanted)
{
    uint64_t cap = log->cap < 16 ? 16 : log->cap;
    while (cap < wanted)
        cap *= 2;
    if (cap == log->cap)
        return;
    struct mf_log_entry *entries = mf_calloc(cap, sizeof(*entries));
    for (uint64_t i = 0; i < log->count; i++)
        entries[(log->first + i) % cap] = *place(log, log->first + i);
    free(log->entries);
    log->entries = entries;
    log->cap = cap;
}

struct mf_log_entry *mf_entry_log_put(struct mf_entry_log *log, uint64_t slot, mf_ballot_t ballot,
                                      uint64_t log_time_us, struct mf_payload *payload)
{
    assert(slot >= log->first && ballot != 0);
    uint64_t wanted = slot - log->first + 1;
    if (wanted > log->count) {
        grow(log, wanted);
        for (uint64_t i = log->count; i < wanted; i++)
            *place(log, log->first + i) = (struct mf_log_entry){0};
        log->count = wanted;
    }
    struct mf_log_entry *entry = place(log, slot);
    struct mf_payload *fresh = mf_payload_ref(payload); // before unref: they may be the same
    log->bytes -= mf_payload_bytes(entry->payload).len;
    mf_payload_unref(entry->payload);
    log->bytes += mf_payload_bytes(fresh).len;
    *entry = (struct mf_log_entry){.ballot = ballot, .log_time_us = log_time_us, .payload = fresh};
    return entry;
}

void mf_entry_log_cut(struct mf_entry_log *log, uint64_t first)
{
    while (log->first < first && log->count > 0) {
        struct mf_log_entry *entry = place(log, log->first);
        log->bytes -= mf_payload_bytes(entry->payload).len;
        mf_payload_unref(entry->payload);
        *entry = (struct mf_log_entry){0};
        log->first++;
        log->count--;
    }
    if (log->first < first)
        log->first = first;
}
