// Packed entries; see entry.h for the layout.
#include "shards/entry.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// The bits beside the two of the heap.
#define BIT_TTL 0x04u        // deadline and position are there
#define BIT_ID 0x08u         // a remembered id
#define BIT_PARITY 0x10u     // see walk.c
#define BIT_WIDE_KEY 0x20u   // the key's length takes 4 bytes
#define BIT_WIDE_VALUE 0x40u // the value's length takes 4 bytes
#define BIT_APART 0x80u      // a pointer to a block stands for the value's length and the value

#define NARROW_LEN_MAX 255u

// A large value. The owner's thread takes references, and whoever writes a snapshot gives some
// back: with release, and who sees none left acquires, so that nobody reads what has been freed.
struct block {
    _Atomic uint32_t refs;
    size_t len;
    uint8_t bytes[];
};

// Where the parts of an entry are, by its bits. A table, because every look-up asks: entries with
// and without a TTL come in any order, and a branch that guesses wrong would wait for memory.
struct layout {
    uint8_t key_len_at;
    uint8_t value_len_at;
    uint8_t key_at;
};

#define KEY_LEN_AT(bits)                                                                           \
    (((bits)&BIT_TTL) != 0 ? MF_HEAP_NODE_BYTES(bits) : MF_HEAP_NODE_VERSION_BYTES(bits))
#define VALUE_LEN_AT(bits) (KEY_LEN_AT(bits) + (((bits)&BIT_WIDE_KEY) != 0 ? 4 : 1))
#define VALUE_LEN_BYTES(bits)                                                                      \
    (((bits)&BIT_APART) != 0 ? sizeof(struct block *) : ((bits)&BIT_WIDE_VALUE) != 0 ? 4 : 1)
#define ROW(bits)                                                                                  \
    {                                                                                              \
        KEY_LEN_AT(bits), VALUE_LEN_AT(bits), VALUE_LEN_AT(bits) + VALUE_LEN_BYTES(bits)           \
    }
#define ROWS_4(bits) ROW(bits), ROW((bits) + 1), ROW((bits) + 2), ROW((bits) + 3)
#define ROWS_16(bits) ROWS_4(bits), ROWS_4((bits) + 4), ROWS_4((bits) + 8), ROWS_4((bits) + 12)
#define ROWS_64(bits)                                                                              \
    ROWS_16(bits), ROWS_16((bits) + 16), ROWS_16((bits) + 32), ROWS_16((bits) + 48)
static const struct layout layouts[256] = {ROWS_64(0), ROWS_64(64), ROWS_64(128), ROWS_64(192)};

static struct layout layout_of(uint8_t bits)
{
    return layouts[bits];
}

static struct mf_heap_node *head_of(struct mf_entry *entry)
{
    return (struct mf_heap_node *)entry;
}

static const struct mf_heap_node *const_head_of(const struct mf_entry *entry)
{
    return (const struct mf_heap_node *)entry;
}

static uint8_t bits_of(const struct mf_entry *entry)
{
    return __atomic_load_n(&const_head_of(entry)->bits, __ATOMIC_RELAXED);
}

static const uint8_t *bytes_of(const struct mf_entry *entry)
{
    return (const uint8_t *)entry;
}

static size_t get_len(const uint8_t *at, bool wide)
{
    if (!wide)
        return *at;
    uint32_t len;
    memcpy(&len, at, 4);
    return len;
}

static void put_len(uint8_t *at, bool wide, size_t len)
{
    uint32_t narrowed = (uint32_t)len;
    if (wide)
        memcpy(at, &narrowed, 4);
    else
        *at = (uint8_t)len;
}

static struct block *block_of(const struct mf_entry *entry, const struct layout *at)
{
    struct block *block;
    memcpy(&block, bytes_of(entry) + at->value_len_at, sizeof(struct block *));
    return block;
}

static uint8_t choose_bits(const struct mf_record *record, size_t value_len, bool parity)
{
    bool ttl = record->deadline_us != MF_NO_DEADLINE;
    unsigned bits = mf_heap_node_bits(ttl ? record->deadline_us : 0, record->version);
    bits |= ttl ? BIT_TTL : 0;
    bits |= record->is_id ? BIT_ID : 0;
    bits |= parity ? BIT_PARITY : 0;
    bits |= record->key.len > NARROW_LEN_MAX ? BIT_WIDE_KEY : 0;
    if (value_len > MF_ENTRY_APART_BYTES)
        bits |= BIT_APART;
    else if (value_len > NARROW_LEN_MAX)
        bits |= BIT_WIDE_VALUE;
    return (uint8_t)bits;
}

// An entry that lacks only its value.
static struct mf_entry *new_without_value(const struct mf_record *record, size_t value_len,
                                          uint8_t bits, const struct layout *at)
{
    assert(record->key.len <= UINT32_MAX);
    size_t inline_len = (bits & BIT_APART) != 0 ? 0 : value_len;
    struct mf_entry *entry = mf_alloc(at->key_at + record->key.len + inline_len);
    uint8_t *bytes = (uint8_t *)entry;
    head_of(entry)->bits = bits;
    if ((bits & BIT_TTL) != 0)
        mf_heap_node_set(head_of(entry), record->deadline_us, record->version);
    else
        mf_heap_node_set_version(head_of(entry), record->version);
    put_len(bytes + at->key_len_at, (bits & BIT_WIDE_KEY) != 0, record->key.len);
    if (record->key.len > 0)
        memcpy(bytes + at->key_at, record->key.data, record->key.len);
    return entry;
}

static void point_at_block(struct mf_entry *entry, const struct layout *at, struct block *block)
{
    atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
    memcpy((uint8_t *)entry + at->value_len_at, &block, sizeof(struct block *));
}

static void release(struct block *block)
{
    if (atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel) == 1)
        free(block);
}

static void copy_patched(uint8_t *to, struct mf_bytes value, size_t at, struct mf_bytes patch)
{
    if (value.len > 0)
        memcpy(to, value.data, value.len);
    if (patch.len == 0)
        return;
    if (at > value.len)
        memset(to + value.len, 0, at - value.len);
    memcpy(to + at, patch.data, patch.len);
}

struct mf_entry *mf_entry_patched(const struct mf_record *record, size_t at, struct mf_bytes patch,
                                  bool parity)
{
    size_t len = record->value.len;
    if (patch.len > 0 && at + patch.len > len)
        len = at + patch.len;
    uint8_t bits = choose_bits(record, len, parity);
    struct layout layout = layout_of(bits);
    struct mf_entry *entry = new_without_value(record, len, bits, &layout);
    if ((bits & BIT_APART) != 0) {
        struct block *block = mf_alloc(sizeof(*block) + len);
        atomic_init(&block->refs, 0);
        block->len = len;
        copy_patched(block->bytes, record->value, at, patch);
        point_at_block(entry, &layout, block);
        return entry;
    }
    uint8_t *bytes = (uint8_t *)entry;
    put_len(bytes + layout.value_len_at, (bits & BIT_WIDE_VALUE) != 0, len);
    copy_patched(bytes + layout.key_at + record->key.len, record->value, at, patch);
    return entry;
}

struct mf_entry *mf_entry_new(const struct mf_record *record, bool parity)
{
    return mf_entry_patched(record, 0, mf_bytes_of(NULL, 0), parity);
}

struct mf_entry *mf_entry_renamed(const struct mf_entry *entry, struct mf_bytes key,
                                  uint64_t version, uint64_t deadline_us, bool parity)
{
    struct mf_record record = mf_entry_record(entry);
    record.key = key;
    record.version = version;
    record.deadline_us = deadline_us;
    if ((bits_of(entry) & BIT_APART) == 0)
        return mf_entry_new(&record, parity);
    struct layout old_at = layout_of(bits_of(entry));
    uint8_t bits = choose_bits(&record, record.value.len, parity);
    struct layout at = layout_of(bits);
    struct mf_entry *fresh = new_without_value(&record, record.value.len, bits, &at);
    point_at_block(fresh, &at, block_of(entry, &old_at));
    return fresh;
}

struct mf_entry *mf_entry_retimed(const struct mf_entry *entry, uint64_t version,
                                  uint64_t deadline_us, bool parity)
{
    return mf_entry_renamed(entry, mf_entry_key(entry), version, deadline_us, parity);
}

void mf_entry_free(struct mf_entry *entry)
{
    if ((bits_of(entry) & BIT_APART) != 0) {
        struct layout at = layout_of(bits_of(entry));
        release(block_of(entry, &at));
    }
    free(entry);
}

static struct block *block_of_value(struct mf_bytes value)
{
    return (struct block *)(void *)((uintptr_t)value.data - offsetof(struct block, bytes));
}

bool mf_entry_keep_value(struct mf_bytes value)
{
    if (value.len <= MF_ENTRY_APART_BYTES)
        return false;
    atomic_fetch_add_explicit(&block_of_value(value)->refs, 1, memory_order_relaxed);
    return true;
}

void mf_entry_release_value(struct mf_bytes value)
{
    release(block_of_value(value));
}

struct mf_bytes mf_entry_key(const struct mf_entry *entry)
{
    uint8_t bits = bits_of(entry);
    struct layout at = layout_of(bits);
    size_t len = get_len(bytes_of(entry) + at.key_len_at, (bits & BIT_WIDE_KEY) != 0);
    return mf_bytes_of(bytes_of(entry) + at.key_at, len);
}

struct mf_bytes mf_entry_value(const struct mf_entry *entry)
{
    uint8_t bits = bits_of(entry);
    struct layout at = layout_of(bits);
    if ((bits & BIT_APART) != 0) {
        const struct block *block = block_of(entry, &at);
        return mf_bytes_of(block->bytes, block->len);
    }
    size_t key_len = get_len(bytes_of(entry) + at.key_len_at, (bits & BIT_WIDE_KEY) != 0);
    size_t len = get_len(bytes_of(entry) + at.value_len_at, (bits & BIT_WIDE_VALUE) != 0);
    return mf_bytes_of(bytes_of(entry) + at.key_at + key_len, len);
}

uint64_t mf_entry_version(const struct mf_entry *entry)
{
    return mf_heap_node_version(const_head_of(entry));
}

uint64_t mf_entry_deadline(const struct mf_entry *entry)
{
    bool ttl = (bits_of(entry) & BIT_TTL) != 0;
    return ttl ? mf_heap_node_deadline(const_head_of(entry)) : MF_NO_DEADLINE;
}

bool mf_entry_is_id(const struct mf_entry *entry)
{
    return (bits_of(entry) & BIT_ID) != 0;
}

struct mf_record mf_entry_record(const struct mf_entry *entry)
{
    return (struct mf_record){
        .is_id = mf_entry_is_id(entry),
        .key = mf_entry_key(entry),
        .value = mf_entry_value(entry),
        .version = mf_entry_version(entry),
        .deadline_us = mf_entry_deadline(entry),
    };
}

bool mf_entry_parity(const struct mf_entry *entry)
{
    return (bits_of(entry) & BIT_PARITY) != 0;
}

void mf_entry_set_parity(struct mf_entry *entry, bool parity)
{
    unsigned bits = bits_of(entry) & ~BIT_PARITY;
    uint8_t changed = (uint8_t)(bits | (parity ? BIT_PARITY : 0));
    __atomic_store_n(&head_of(entry)->bits, changed, __ATOMIC_RELAXED);
}

struct mf_heap_node *mf_entry_node(struct mf_entry *entry)
{
    return (bits_of(entry) & BIT_TTL) != 0 ? head_of(entry) : NULL;
}

struct mf_entry *mf_entry_of_node(struct mf_heap_node *node)
{
    return (struct mf_entry *)node;
}

size_t mf_entry_bytes(const struct mf_entry *entry)
{
    uint8_t bits = bits_of(entry);
    struct layout at = layout_of(bits);
    const uint8_t *start = bytes_of(entry);
    size_t bytes = at.key_at + get_len(start + at.key_len_at, (bits & BIT_WIDE_KEY) != 0);
    if ((bits & BIT_APART) != 0)
        return mf_alloc_bytes(bytes) +
               mf_alloc_bytes(sizeof(struct block) + block_of(entry, &at)->len);
    return mf_alloc_bytes(bytes + get_len(start + at.value_len_at, (bits & BIT_WIDE_VALUE) != 0));
}
