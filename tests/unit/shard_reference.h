// What a shard should do, said again in the plainest way: two arrays and loops over them.
//
// Written from the description of the commands and not from shards/: no map, no heap, no entry, no
// parity, and a txn that fails puts back a copy of everything. Keys are numbers; their names are
// made from them.
#ifndef MF_TESTS_SHARD_REFERENCE_H
#define MF_TESTS_SHARD_REFERENCE_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/command.h"
#include "base/extended.h"
#include "base/result.h"
#include "base/txn.h"

#define REF_KEYS 250u
#define REF_IDS 60u
#define REF_NEVER UINT64_MAX
#define REF_VALUE_MAX 6000u

struct ref_slot {
    bool there;
    uint64_t version;
    uint64_t deadline_us;
    struct mf_buf bytes; // a key's value, an id's result
};

struct ref {
    struct ref_slot keys[REF_KEYS];
    struct ref_slot ids[REF_IDS];
    uint64_t now_us;
    uint64_t version;
};

// The name of key or id `n`: short ones, and some long ones.
static inline struct mf_bytes ref_name(size_t n, char *text)
{
    int len = sprintf(text, n % 16 == 3 ? "%zu-%0300d" : "%zu-%d", n, 0);
    return mf_bytes_of(text, (size_t)len);
}
#define REF_NAME_MAX 340u

static inline size_t ref_number(struct mf_bytes name)
{
    return strtoul((const char *)name.data, NULL, 10);
}

// The bytes of value `value`, in a buffer of REF_VALUE_MAX: 0 to 60 of them, seldom many.
static inline struct mf_bytes ref_value(uint64_t value, uint8_t *bytes)
{
    // Some are integers.
    if (value % 8 == 5)
        return mf_bytes_of(bytes, (size_t)sprintf((char *)bytes, "%d", (int)(value % 2000) - 1000));
    if (value % 128 == 14)
        return mf_bytes_of(bytes, (size_t)sprintf((char *)bytes, "9223372036854775%03d",
                                                  (int)(value % 300) + 600));
    size_t len = value % 61;
    if (value % 64 == 11)
        len = 300;
    if (value % 256 == 12)
        len = 4000 + value % 2000;
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(value * 7 + i);
    if (len >= sizeof(value))
        memcpy(bytes, &value, sizeof(value));
    return mf_bytes_of(bytes, len);
}

static inline bool ref_dead(const struct ref_slot *slot, uint64_t now_us)
{
    return slot->deadline_us != REF_NEVER && slot->deadline_us <= now_us;
}

// Takes a dead key out, which is a change, and says whether there is a live one.
static inline bool ref_alive(struct ref *ref, struct ref_slot *slot)
{
    if (slot->there && ref_dead(slot, ref->now_us)) {
        slot->there = false;
        ref->version++;
    }
    return slot->there;
}

static inline uint64_t ref_deadline(const struct ref *ref, int64_t ttl_us)
{
    if (ttl_us <= 0)
        return ref->now_us;
    uint64_t sum_us = ref->now_us + (uint64_t)ttl_us;
    return sum_us < ref->now_us || sum_us == REF_NEVER ? REF_NEVER - 1 : sum_us;
}

static inline void ref_put(struct ref *ref, struct ref_slot *slot, struct mf_bytes value,
                           uint64_t deadline_us)
{
    slot->there = true;
    mf_buf_clear(&slot->bytes, SIZE_MAX);
    mf_buf_put(&slot->bytes, value.data, value.len);
    slot->version = ++ref->version;
    slot->deadline_us = deadline_us;
}

static inline uint64_t ref_wanted(const struct ref *ref, const struct mf_command *c,
                                  const struct ref_slot *slot, bool alive)
{
    if (c->expiry == MF_EXPIRY_IN)
        return ref_deadline(ref, c->expire_us);
    return (c->flags & MF_KEEP_TTL) != 0 && alive ? slot->deadline_us : REF_NEVER;
}

// As MF_IF_EQUAL and MF_IF_OTHER want it.
static inline bool ref_value_fits(const struct mf_command *c, const struct ref_slot *slot,
                                  bool alive)
{
    bool equal = alive && mf_bytes_equal(mf_buf_view(&slot->bytes), c->body);
    if ((c->flags & MF_IF_EQUAL) != 0)
        return equal;
    return (c->flags & MF_IF_OTHER) == 0 || !equal;
}

static inline void ref_set(struct ref *ref, const struct mf_command *c, struct mf_buf *out)
{
    struct ref_slot *slot = &ref->keys[ref_number(c->items[0].key)];
    bool alive = ref_alive(ref, slot);
    bool written = true;
    if ((c->flags & MF_NX) != 0 && alive)
        written = false;
    if ((c->flags & MF_XX) != 0 && !alive)
        written = false;
    if ((c->flags & MF_IF_VERSION) != 0 && c->if_version != (alive ? slot->version : 0))
        written = false;
    if (!ref_value_fits(c, slot, alive))
        written = false;
    struct mf_result result = {.kind = MF_RESULT_WRITTEN};
    result.with_old = (c->flags & MF_WITH_OLD) != 0;
    result.has_old = result.with_old && alive;
    if (result.has_old)
        result.value = mf_buf_view(&slot->bytes);
    result.version = written ? ref->version + 1 : 0;
    mf_result_encode(&result, out);
    if (written)
        ref_put(ref, slot, c->items[0].value, ref_wanted(ref, c, slot, alive));
}

static inline void ref_del(struct ref *ref, const struct mf_command *c, struct mf_buf *out)
{
    int64_t count = 0;
    for (uint32_t i = 0; i < c->item_count; i++) {
        struct ref_slot *slot = &ref->keys[ref_number(c->items[i].key)];
        if (!ref_alive(ref, slot))
            continue;
        if ((c->flags & MF_IF_VERSION) != 0 && c->if_version != slot->version)
            continue;
        if (!ref_value_fits(c, slot, true))
            continue;
        slot->there = false;
        ref->version++;
        count++;
    }
    mf_result_int(out, count);
}

static inline void ref_expire(struct ref *ref, const struct mf_command *c, struct mf_buf *out)
{
    struct ref_slot *slot = &ref->keys[ref_number(c->items[0].key)];
    bool holds = ref_alive(ref, slot);
    // REF_NEVER is the largest number, so it compares as no end at all.
    uint64_t wanted_us = ref_deadline(ref, c->expire_us);
    if ((c->flags & MF_NX) != 0)
        holds = holds && slot->deadline_us == REF_NEVER;
    if ((c->flags & MF_XX) != 0)
        holds = holds && slot->deadline_us != REF_NEVER;
    if ((c->flags & MF_GT) != 0)
        holds = holds && wanted_us > slot->deadline_us;
    if ((c->flags & MF_LT) != 0)
        holds = holds && wanted_us < slot->deadline_us;
    if (holds && c->expire_us <= 0) {
        slot->there = false;
        ref->version++;
    } else if (holds && wanted_us != slot->deadline_us) {
        slot->deadline_us = wanted_us;
        slot->version = ++ref->version;
    }
    mf_result_bool(out, holds);
}

static inline void ref_persist(struct ref *ref, const struct mf_command *c, struct mf_buf *out)
{
    struct ref_slot *slot = &ref->keys[ref_number(c->items[0].key)];
    bool had = ref_alive(ref, slot) && slot->deadline_us != REF_NEVER;
    if (had) {
        slot->deadline_us = REF_NEVER;
        slot->version = ++ref->version;
    }
    mf_result_bool(out, had);
}

static inline void ref_flush(struct ref *ref, struct mf_buf *out)
{
    int64_t alive = 0;
    bool any = false;
    for (size_t i = 0; i < REF_KEYS; i++) {
        any = any || ref->keys[i].there;
        alive += ref->keys[i].there && !ref_dead(&ref->keys[i], ref->now_us);
        ref->keys[i].there = false;
    }
    ref->version += any;
    mf_result_int(out, alive);
}

// The earlier of two slots by deadline, then version; NULL is later than all.
static inline struct ref_slot *ref_earlier(struct ref_slot *a, struct ref_slot *b)
{
    if (a == NULL || b == NULL)
        return a == NULL ? b : a;
    if (a->deadline_us != b->deadline_us)
        return a->deadline_us < b->deadline_us ? a : b;
    return a->version < b->version ? a : b;
}

static inline struct ref_slot *ref_first_due(struct ref *ref)
{
    struct ref_slot *first = NULL;
    for (size_t i = 0; i < REF_KEYS; i++) {
        if (ref->keys[i].there && ref_dead(&ref->keys[i], ref->now_us))
            first = ref_earlier(first, &ref->keys[i]);
    }
    for (size_t i = 0; i < REF_IDS; i++) {
        if (ref->ids[i].there && ref_dead(&ref->ids[i], ref->now_us))
            first = ref_earlier(first, &ref->ids[i]);
    }
    return first;
}

static inline void ref_expire_due(struct ref *ref, uint32_t limit, struct mf_buf *out)
{
    int64_t popped = 0;
    for (; popped < limit; popped++) {
        struct ref_slot *first = ref_first_due(ref);
        if (first == NULL)
            break;
        bool is_key = first >= ref->keys && first < ref->keys + REF_KEYS;
        ref->version += is_key;
        first->there = false;
    }
    mf_result_int(out, popped);
}

// Reads: dead is dead at `now_us`. Sets *again where a death is newer than the last entry.
static inline const struct ref_slot *ref_look(const struct ref *ref, struct mf_bytes name,
                                              uint64_t now_us, bool *again)
{
    const struct ref_slot *slot = &ref->keys[ref_number(name)];
    if (!slot->there)
        return NULL;
    if (ref_dead(slot, now_us) && !ref_dead(slot, ref->now_us))
        *again = true;
    return ref_dead(slot, now_us) ? NULL : slot;
}

static inline int64_t ref_ttl(const struct ref_slot *slot, uint64_t now_us)
{
    if (slot->deadline_us == REF_NEVER)
        return -1;
    uint64_t left_us = slot->deadline_us - now_us;
    return (int64_t)(left_us / 1000 + (left_us % 1000 > 0 ? 1 : 0));
}

// Byte by byte: those that the range names. An end before the value is its first byte.
static inline void ref_getrange(const struct mf_command *c, const struct ref_slot *slot,
                                struct mf_buf *out)
{
    struct mf_buf part = {0};
    int64_t len = slot != NULL ? (int64_t)slot->bytes.len : 0;
    int64_t from = (int64_t)c->number;
    int64_t to = c->last;
    bool crossed = from < 0 && to < 0 && from > to;
    from = from < -len ? 0 : from < 0 ? from + len : from;
    to = to < -len ? 0 : to < 0 ? to + len : to;
    for (int64_t at = 0; at < len && !crossed; at++) {
        if (at >= from && at <= to)
            mf_buf_u8(&part, slot->bytes.data[at]);
    }
    mf_result_bytes(out, mf_buf_view(&part));
    mf_buf_free(&part);
}

static inline void ref_read_one(const struct mf_command *c, const struct ref_slot *slot,
                                uint64_t now_us, struct mf_buf *out)
{
    struct mf_result result = {.kind = MF_RESULT_NIL};
    if (c->op == MF_OP_TTL) {
        mf_result_int(out, slot == NULL ? -2 : ref_ttl(slot, now_us));
        return;
    }
    if (c->op == MF_OP_HAS) {
        mf_result_bool(out, slot != NULL);
        return;
    }
    if (c->op == MF_OP_DEADLINE) {
        // As long after the moment that the command names as the deadline is after now.
        bool mortal = slot != NULL && slot->deadline_us != REF_NEVER;
        int64_t ms = slot == NULL ? -2 : -1;
        uint64_t before_us = (uint64_t)-c->expire_us; // a txn's may be 0
        if (mortal) {
            uint64_t us = slot->deadline_us - now_us;
            us = us < INT64_MAX - before_us ? us + before_us : INT64_MAX;
            ms = (int64_t)((us + 500) / 1000);
        }
        mf_result_int(out, ms);
        return;
    }
    if (c->op == MF_OP_STRLEN) {
        mf_result_int(out, slot != NULL ? (int64_t)slot->bytes.len : 0);
        return;
    }
    if (c->op == MF_OP_GETRANGE) {
        ref_getrange(c, slot, out);
        return;
    }
    if (slot != NULL) {
        result.kind = MF_RESULT_BYTES;
        result.value = mf_buf_view(&slot->bytes);
    }
    if (slot != NULL && c->op == MF_OP_GET && (c->flags & MF_WITH_META) != 0) {
        result.kind = MF_RESULT_META;
        result.version = slot->version;
        result.ttl_ms = ref_ttl(slot, now_us);
    }
    mf_result_encode(&result, out);
}

static inline int64_t ref_size(const struct ref *ref, uint64_t now_us, bool *again)
{
    int64_t count = 0;
    for (size_t i = 0; i < REF_KEYS; i++) {
        char text[REF_NAME_MAX];
        count += ref_look(ref, ref_name(i, text), now_us, again) != NULL;
    }
    return count;
}

// True: answered. False: a death has to be logged first.
static inline bool ref_read(const struct ref *ref, const struct mf_command *c, uint64_t now_us,
                            struct mf_buf *out)
{
    struct mf_buf elements = {0};
    bool again = false;
    if (c->op == MF_OP_SIZE) {
        mf_result_int(&elements, ref_size(ref, now_us, &again));
    } else {
        for (uint32_t i = 0; i < c->item_count; i++) {
            const struct ref_slot *slot = ref_look(ref, c->items[i].key, now_us, &again);
            ref_read_one(c, slot, now_us, &elements);
        }
    }
    if (c->op == MF_OP_MGET || c->op == MF_OP_HAS) {
        struct mf_result list = {.kind = MF_RESULT_LIST, .count = c->item_count};
        list.value = mf_buf_view(&elements);
        mf_result_encode(&list, out);
    } else {
        mf_buf_put(out, elements.data, elements.len);
    }
    mf_buf_free(&elements);
    return !again || (c->flags & MF_READ_LOCAL) != 0;
}

static inline void ref_evict(struct ref *ref, const struct mf_command *c, struct mf_buf *out)
{
    int64_t count = 0;
    for (uint32_t i = 0; i < c->item_count; i++) {
        struct ref_slot *slot = &ref->keys[ref_number(c->items[i].key)];
        uint64_t version;
        memcpy(&version, c->items[i].value.data, sizeof(version));
        if (!ref_alive(ref, slot) || slot->version != version)
            continue;
        slot->there = false;
        ref->version++;
        count++;
    }
    mf_result_int(out, count);
}

static inline bool ref_is_error(const struct mf_buf *out, size_t at, enum mf_err err)
{
    struct mf_reader r = mf_reader_of(mf_bytes_of(out->data + at, out->len - at));
    struct mf_result result;
    bool read = mf_result_decode(&r, &result) == MF_OK;
    return read && result.kind == MF_RESULT_ERROR && (err == MF_OK || result.err == err);
}

// An integer is what prints as it was.
static inline bool ref_integer(const struct mf_buf *bytes, int64_t *out)
{
    char text[32] = "";
    char again[32];
    if (bytes->len >= sizeof(text) || memchr(bytes->data, 0, bytes->len) != NULL)
        return false;
    memcpy(text, bytes->data, bytes->len);
    errno = 0;
    *out = strtoll(text, NULL, 10);
    sprintf(again, "%lld", (long long)*out);
    return errno == 0 && strcmp(text, again) == 0;
}

static inline void ref_incr(struct ref *ref, const struct mf_command *c, struct mf_buf *out)
{
    struct ref_slot *slot = &ref->keys[ref_number(c->items[0].key)];
    bool alive = ref_alive(ref, slot);
    int64_t value = 0;
    if (alive && !ref_integer(&slot->bytes, &value)) {
        mf_result_error(out, MF_NOT_INTEGER, NULL);
        return;
    }
    int64_t delta = (int64_t)c->number;
    if (value > 0 ? delta > INT64_MAX - value : delta < INT64_MIN - value) {
        mf_result_error(out, MF_OVERFLOW, NULL);
        return;
    }
    int64_t sum = value + delta;
    char text[32];
    int len = sprintf(text, "%lld", (long long)sum);
    if ((uint32_t)len > c->limit) {
        mf_result_error(out, MF_TOO_LARGE, "the value would be over limits.max_value");
        return;
    }
    uint64_t deadline_us = alive ? slot->deadline_us : ref_wanted(ref, c, slot, false);
    ref_put(ref, slot, mf_bytes_of(text, (size_t)len), deadline_us);
    mf_result_int(out, sum);
}

static inline void ref_append(struct ref *ref, const struct mf_command *c, struct mf_buf *out)
{
    struct ref_slot *slot = &ref->keys[ref_number(c->items[0].key)];
    bool alive = ref_alive(ref, slot);
    struct mf_buf sum = {0};
    if (alive)
        mf_buf_put(&sum, slot->bytes.data, slot->bytes.len);
    mf_buf_put(&sum, c->items[0].value.data, c->items[0].value.len);
    if (sum.len > c->limit) {
        mf_result_error(out, MF_TOO_LARGE, "the value would be over limits.max_value");
    } else {
        ref_put(ref, slot, mf_buf_view(&sum), alive ? slot->deadline_us : REF_NEVER);
        mf_result_int(out, (int64_t)sum.len);
    }
    mf_buf_free(&sum);
}

// How numbers are read, added and printed is not this file's subject (test_extended.c).
static inline void ref_incrfloat(struct ref *ref, const struct mf_command *c, struct mf_buf *out)
{
    struct ref_slot *slot = &ref->keys[ref_number(c->items[0].key)];
    bool alive = ref_alive(ref, slot);
    struct mf_extended a = {0};
    struct mf_extended b;
    char text[MF_EXTENDED_CHARS_MAX];
    if ((alive && !mf_extended_read(mf_buf_view(&slot->bytes), &a)) ||
        !mf_extended_read(c->items[0].value, &b)) {
        mf_result_error(out, MF_NOT_FLOAT, NULL);
        return;
    }
    if (!mf_extended_add(&a, &b, &a)) {
        mf_result_error(out, MF_OVERFLOW, "increment would produce NaN or Infinity");
        return;
    }
    struct mf_bytes sum = mf_bytes_of(text, mf_extended_print(&a, text));
    if (sum.len > c->limit) {
        mf_result_error(out, MF_TOO_LARGE, "the value would be over limits.max_value");
        return;
    }
    ref_put(ref, slot, sum, alive ? slot->deadline_us : REF_NEVER);
    mf_result_bytes(out, sum);
}

static inline void ref_setrange(struct ref *ref, const struct mf_command *c, struct mf_buf *out)
{
    struct ref_slot *slot = &ref->keys[ref_number(c->items[0].key)];
    bool alive = ref_alive(ref, slot);
    struct mf_bytes piece = c->items[0].value;
    struct mf_buf sum = {0};
    if (alive)
        mf_buf_put(&sum, slot->bytes.data, slot->bytes.len);
    if (piece.len > 0 && c->number + piece.len > c->limit) {
        mf_result_error(out, MF_TOO_LARGE, "the value would be over limits.max_value");
    } else {
        while (piece.len > 0 && sum.len < c->number + piece.len)
            mf_buf_u8(&sum, 0);
        for (size_t i = 0; i < piece.len; i++)
            sum.data[c->number + i] = piece.data[i];
        if (piece.len > 0)
            ref_put(ref, slot, mf_buf_view(&sum), alive ? slot->deadline_us : REF_NEVER);
        mf_result_int(out, (int64_t)sum.len);
    }
    mf_buf_free(&sum);
}

static inline void ref_setbit(struct ref *ref, const struct mf_command *c, struct mf_buf *out)
{
    struct ref_slot *slot = &ref->keys[ref_number(c->items[0].key)];
    bool alive = ref_alive(ref, slot);
    uint64_t bit = c->number >> 1;
    struct mf_buf fresh = {0};
    if (bit / 8 >= c->limit) {
        mf_result_error(out, MF_TOO_LARGE, "the value would be over limits.max_value");
        return;
    }
    if (alive)
        mf_buf_put(&fresh, slot->bytes.data, slot->bytes.len);
    while (fresh.len <= bit / 8)
        mf_buf_u8(&fresh, 0);
    uint8_t *byte = &fresh.data[bit / 8];
    int before = *byte >> (7 - bit % 8) & 1;
    if ((c->number & 1) != (uint64_t)before)
        *byte = (uint8_t)(*byte ^ 1u << (7 - bit % 8));
    if (!alive || !mf_bytes_equal(mf_buf_view(&slot->bytes), mf_buf_view(&fresh)))
        ref_put(ref, slot, mf_buf_view(&fresh), alive ? slot->deadline_us : REF_NEVER);
    mf_result_int(out, before);
    mf_buf_free(&fresh);
}

static inline void ref_copy_key(struct ref *ref, const struct mf_command *c, struct mf_buf *out)
{
    struct ref_slot *from = &ref->keys[ref_number(c->items[0].key)];
    struct ref_slot *to = &ref->keys[ref_number(c->items[1].key)];
    bool rename = c->op == MF_OP_RENAME;
    if (!rename && from == to) {
        mf_result_error(out, MF_BAD_REQUEST, "source and destination objects are the same");
        return;
    }
    bool alive = ref_alive(ref, from);
    if (rename && !alive) {
        mf_result_error(out, MF_NOT_FOUND, "no such key");
        return;
    }
    bool taken = ref_alive(ref, to) && (c->flags & MF_NX) != 0;
    mf_result_bool(out, alive && !taken);
    if (!alive || taken || from == to)
        return;
    if (rename) {
        from->there = false;
        ref->version++;
    }
    ref_put(ref, to, mf_buf_view(&from->bytes), from->deadline_us);
}

static inline void ref_get_and_change(struct ref *ref, const struct mf_command *c,
                                      struct mf_buf *out)
{
    struct ref_slot *slot = &ref->keys[ref_number(c->items[0].key)];
    if (!ref_alive(ref, slot)) {
        mf_result_nil(out);
        return;
    }
    mf_result_bytes(out, mf_buf_view(&slot->bytes));
    bool goes = c->op == MF_OP_GETDEL || (c->expiry == MF_EXPIRY_IN && c->expire_us <= 0);
    uint64_t deadline_us = slot->deadline_us;
    if ((c->flags & MF_NO_TTL) != 0)
        deadline_us = REF_NEVER;
    if (c->expiry == MF_EXPIRY_IN)
        deadline_us = ref_deadline(ref, c->expire_us);
    if (goes)
        slot->there = false;
    if (goes || deadline_us != slot->deadline_us)
        slot->version = ++ref->version;
    slot->deadline_us = deadline_us;
}

static inline void ref_write(struct ref *ref, const struct mf_command *c, struct mf_buf *out);

static inline bool ref_conditions(struct ref *ref, struct mf_bytes body)
{
    struct mf_txn_reader reader;
    struct mf_condition condition;
    bool hold = mf_txn_open(&reader, body, MF_TXN_IF) == MF_OK;
    while (hold && mf_txn_next_condition(&reader, &condition) == MF_OK) {
        struct ref_slot *slot = &ref->keys[ref_number(condition.key)];
        struct mf_key_facts facts = {0};
        if (ref_alive(ref, slot))
            facts = (struct mf_key_facts){true, slot->version, mf_buf_view(&slot->bytes)};
        hold = mf_condition_holds(&condition, &facts);
    }
    mf_txn_close(&reader);
    return hold;
}

static inline struct mf_buf ref_copy_bytes(const struct mf_buf *bytes)
{
    struct mf_buf copy = {0};
    mf_buf_put(&copy, bytes->data, bytes->len);
    return copy;
}

static inline struct ref *ref_copy(const struct ref *ref)
{
    struct ref *copy = mf_alloc(sizeof(*copy));
    *copy = *ref;
    for (size_t i = 0; i < REF_KEYS; i++)
        copy->keys[i].bytes = ref_copy_bytes(&ref->keys[i].bytes);
    for (size_t i = 0; i < REF_IDS; i++)
        copy->ids[i].bytes = ref_copy_bytes(&ref->ids[i].bytes);
    return copy;
}

static inline void ref_free(struct ref *ref)
{
    for (size_t i = 0; i < REF_KEYS; i++)
        mf_buf_free(&ref->keys[i].bytes);
    for (size_t i = 0; i < REF_IDS; i++)
        mf_buf_free(&ref->ids[i].bytes);
}

static inline void ref_txn(struct ref *ref, const struct mf_command *c, struct mf_buf *out)
{
    struct ref *before = ref_copy(ref);
    struct mf_buf results = {0};
    struct mf_txn_reader reader;
    struct mf_command inner;
    uint32_t count = 0;
    bool ok = ref_conditions(ref, c->body);
    bool failed = mf_txn_open(&reader, c->body, ok ? MF_TXN_THEN : MF_TXN_ELSE) != MF_OK;
    while (!failed && mf_txn_next_command(&reader, &inner) == MF_OK) {
        size_t at = results.len;
        ref_write(ref, &inner, &results);
        failed = ref_is_error(&results, at, MF_OK) && (c->flags & MF_GO_ON) == 0;
        if (failed)
            mf_buf_put(out, results.data + at, results.len - at);
        count++;
    }
    mf_txn_close(&reader);
    if (failed) {
        struct ref *after = mf_alloc(sizeof(*after));
        *after = *ref;
        *ref = *before;
        *before = *after;
        free(after);
    } else {
        struct mf_result result = {
            .kind = MF_RESULT_TXN, .integer = ok, .count = count, .value = mf_buf_view(&results)};
        mf_result_encode(&result, out);
    }
    ref_free(before);
    free(before);
    mf_buf_free(&results);
}

// Looks no further than the first that lives, so a dead one behind it stays.
static inline bool ref_any_alive(struct ref *ref, const struct mf_command *c)
{
    for (uint32_t i = 0; i < c->item_count; i++) {
        if (ref_alive(ref, &ref->keys[ref_number(c->items[i].key)]))
            return true;
    }
    return false;
}

static inline void ref_write(struct ref *ref, const struct mf_command *c, struct mf_buf *out)
{
    switch (c->op) {
    case MF_OP_SET:
        ref_set(ref, c, out);
        break;
    case MF_OP_MSET:
        if ((c->flags & MF_NX) != 0 && ref_any_alive(ref, c)) {
            mf_result_int(out, 0);
            break;
        }
        for (uint32_t i = 0; i < c->item_count; i++) {
            struct ref_slot *slot = &ref->keys[ref_number(c->items[i].key)];
            ref_alive(ref, slot);
            ref_put(ref, slot, c->items[i].value, ref_wanted(ref, c, slot, false));
        }
        mf_result_int(out, (c->flags & MF_NX) != 0 ? 1 : c->item_count);
        break;
    case MF_OP_DEL:
        ref_del(ref, c, out);
        break;
    case MF_OP_EXPIRE:
        ref_expire(ref, c, out);
        break;
    case MF_OP_PERSIST:
        ref_persist(ref, c, out);
        break;
    case MF_OP_FLUSH:
        ref_flush(ref, out);
        break;
    case MF_OP_EVICT:
        ref_evict(ref, c, out);
        break;
    case MF_OP_EXPIRE_DUE:
        ref_expire_due(ref, c->limit, out);
        break;
    case MF_OP_INCR:
        ref_incr(ref, c, out);
        break;
    case MF_OP_APPEND:
        ref_append(ref, c, out);
        break;
    case MF_OP_INCRFLOAT:
        ref_incrfloat(ref, c, out);
        break;
    case MF_OP_SETRANGE:
        ref_setrange(ref, c, out);
        break;
    case MF_OP_SETBIT:
        ref_setbit(ref, c, out);
        break;
    case MF_OP_RENAME:
    case MF_OP_COPY:
        ref_copy_key(ref, c, out);
        break;
    case MF_OP_GETDEL:
    case MF_OP_GETEX:
        ref_get_and_change(ref, c, out);
        break;
    case MF_OP_TXN:
        ref_txn(ref, c, out);
        break;
    default:
        ref_read(ref, c, ref->now_us, out);
        break;
    }
}

// One command of an entry at ref->now_us. Appends its result.
static inline void ref_apply(struct ref *ref, const struct mf_command *c, struct mf_buf *out)
{
    if (c->id.len == 0 || !mf_op_is_write(c->op)) {
        ref_write(ref, c, out);
        return;
    }
    struct ref_slot *slot = &ref->ids[ref_number(c->id)];
    if (slot->there && !ref_dead(slot, ref->now_us)) {
        mf_buf_put(out, slot->bytes.data, slot->bytes.len);
        return;
    }
    slot->there = false;
    size_t before = out->len;
    ref_write(ref, c, out);
    if (ref_is_error(out, before, MF_TOO_LARGE) || ref_is_error(out, before, MF_BAD_REQUEST))
        return;
    slot->there = true;
    slot->version = ++ref->version;
    slot->deadline_us = ref_deadline(ref, 600 * INT64_C(1000000));
    mf_buf_clear(&slot->bytes, SIZE_MAX);
    mf_buf_put(&slot->bytes, out->data + before, out->len - before);
}

#endif
