// Files of Redis, part by part; see rdb.h.
//
// After nine bytes of magic and version comes a row of parts, each begun by a byte: a type, which a
// key and its value follow, or an opcode. An expiry is a part of its own, before the key that it is
// for. The last part is the checksum of everything before.
#include "snapshot/tool/rdb.h"

#include <inttypes.h>
#include <stdio.h>

#include "snapshot/tool/rdb_part.h"

enum { HEADER_BYTES = 9, NAME_BYTES_MAX = 64, TYPE_STRING = 0 };

enum opcode {
    OPCODE_FUNCTION = 245,
    OPCODE_MODULE_AUX = 247,
    OPCODE_IDLE = 248,
    OPCODE_FREQ = 249,
    OPCODE_AUX = 250,
    OPCODE_RESIZE_DB = 251,
    OPCODE_EXPIRE_MS = 252,
    OPCODE_EXPIRE_S = 253,
    OPCODE_SELECT_DB = 254,
    OPCODE_END = 255
};

void rdb_start(struct rdb *rdb, struct input *input)
{
    memset(rdb, 0, sizeof(*rdb));
    rdb->input = input;
}

void rdb_free(struct rdb *rdb)
{
    for (size_t kind = 0; kind < RDB_KINDS; kind++) {
        for (size_t i = 0; i < RDB_NAMES; i++)
            mf_buf_free(&rdb->others[kind].names[i]);
    }
    mf_buf_free(&rdb->key);
    mf_buf_free(&rdb->value);
    mf_buf_free(&rdb->packed);
}

const char *rdb_kind_name(enum rdb_kind kind)
{
    static const char *const names[RDB_KINDS] = {
        [RDB_STRING] = "string", [RDB_LIST] = "list", [RDB_SET] = "set",
        [RDB_ZSET] = "zset",     [RDB_HASH] = "hash", [RDB_STREAM] = "stream",
        [RDB_MODULE] = "module",
    };
    return names[kind];
}

static bool take_header(struct rdb *rdb)
{
    const uint8_t *at = rdb_take(rdb, HEADER_BYTES);
    if (at == NULL)
        return false;
    if (memcmp(at, "REDIS", 5) != 0)
        return rdb_fail(rdb, "this is no RDB file");
    for (size_t i = 5; i < HEADER_BYTES; i++) {
        if (at[i] < '0' || at[i] > '9')
            return rdb_fail(rdb, "this is no RDB file");
        rdb->version = rdb->version * 10 + (uint32_t)(at[i] - '0');
    }
    if (rdb->version >= 1 && rdb->version <= RDB_VERSION_MAX)
        return true;
    snprintf(rdb->why, sizeof(rdb->why), "%.120s: RDB version %" PRIu32 ": expected 1 to %u",
             rdb->input->path, rdb->version, RDB_VERSION_MAX);
    return false;
}

// Of what Redis says about the file itself, only the time is of use.
static bool take_aux(struct rdb *rdb)
{
    if (!rdb_take_string(rdb, &rdb->key) || !rdb_take_string(rdb, &rdb->value))
        return false;
    if (!mf_bytes_equal(mf_buf_view(&rdb->key), mf_bytes_str("ctime")))
        return true;
    uint64_t seconds = 0;
    for (size_t i = 0; i < rdb->value.len && i < 12; i++) {
        if (rdb->value.data[i] < '0' || rdb->value.data[i] > '9')
            return true;
        seconds = seconds * 10 + (uint64_t)(rdb->value.data[i] - '0');
    }
    rdb->created_s = seconds;
    return true;
}

// A time before 1970 is past as well.
static bool take_expiry(struct rdb *rdb, size_t bytes, struct entry *entry)
{
    const uint8_t *at = rdb_take(rdb, bytes);
    if (at == NULL)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    bool negative = (at[bytes - 1] & 0x80) != 0;
    uint64_t ms = bytes == 4 ? value * 1000 : value;
    ms = ms < ENTRY_EXPIRE_AT_MAX ? ms : ENTRY_EXPIRE_AT_MAX;
    entry->expires = true;
    entry->expire_at_ms = negative ? 0 : ms;
    return true;
}

// Module id, then when it was written, as a kind and a number, then the module's own.
static bool skip_module_aux(struct rdb *rdb)
{
    uint64_t ignored;
    // Each call takes the next one. NOLINTNEXTLINE(misc-redundant-expression)
    return rdb_take_length(rdb, &ignored) && rdb_take_length(rdb, &ignored) &&
           rdb_take_length(rdb, &ignored) && rdb_skip_module(rdb);
}

static enum rdb_got take_end(struct rdb *rdb)
{
    uint64_t computed = rdb->crc;
    if (rdb->version >= 5) {
        const uint8_t *at = rdb_take(rdb, 8);
        if (at == NULL)
            return RDB_FAILED;
        struct mf_reader r = mf_reader_of(mf_bytes_of(at, 8));
        uint64_t written = mf_read_u64(&r);
        // 0 is what Redis writes when it was told to make no checksums.
        if (written != 0 && written != computed) {
            rdb_fail(rdb, "the checksum does not match: the file is damaged");
            return RDB_FAILED;
        }
    }
    if (input_fill(rdb->input, 1)) {
        rdb_fail(rdb, "something follows the end");
        return RDB_FAILED;
    }
    if (rdb->input->failed) {
        rdb_fail(rdb, "");
        return RDB_FAILED;
    }
    return RDB_END;
}

static bool take_part(struct rdb *rdb, uint8_t opcode, struct entry *entry)
{
    uint64_t ignored;
    switch (opcode) {
    case OPCODE_FUNCTION:
        rdb->functions += 1;
        return rdb_skip_string(rdb);
    case OPCODE_MODULE_AUX:
        return skip_module_aux(rdb);
    case OPCODE_IDLE:
        return rdb_take_length(rdb, &ignored);
    case OPCODE_FREQ:
        return rdb_skip(rdb, 1);
    case OPCODE_AUX:
        return take_aux(rdb);
    case OPCODE_RESIZE_DB:
        // Each call takes the next one. NOLINTNEXTLINE(misc-redundant-expression)
        return rdb_take_length(rdb, &ignored) && rdb_take_length(rdb, &ignored);
    case OPCODE_EXPIRE_MS:
        return take_expiry(rdb, 8, entry);
    case OPCODE_EXPIRE_S:
        return take_expiry(rdb, 4, entry);
    case OPCODE_SELECT_DB:
        return rdb_take_length(rdb, &rdb->database);
    default:
        return rdb_fail(rdb, "a part of an unknown kind");
    }
}

static bool skip_other(struct rdb *rdb, uint8_t type, enum rdb_kind kind)
{
    struct rdb_others *others = &rdb->others[kind];
    if (!rdb_take_string(rdb, &rdb->key))
        return false;
    if (others->count < RDB_NAMES)
        mf_buf_put(&others->names[others->count], rdb->key.data,
                   rdb->key.len < NAME_BYTES_MAX ? rdb->key.len : NAME_BYTES_MAX);
    others->count += 1;
    return rdb_skip_value(rdb, type);
}

static bool take_entry(struct rdb *rdb, struct entry *entry)
{
    if (!rdb_take_string(rdb, &rdb->key) || !rdb_take_string(rdb, &rdb->value))
        return false;
    entry->key = mf_buf_view(&rdb->key);
    entry->value = mf_buf_view(&rdb->value);
    if (rdb->databases == 0 || rdb->database != rdb->database_last)
        rdb->databases += 1;
    rdb->database_last = rdb->database;
    return true;
}

enum rdb_got rdb_next(struct rdb *rdb, struct entry *entry)
{
    *entry = (struct entry){.expires = false};
    if (rdb->version == 0 && !take_header(rdb))
        return RDB_FAILED;
    for (;;) {
        uint8_t type;
        enum rdb_kind kind;
        if (!rdb_take_byte(rdb, &type))
            return RDB_FAILED;
        if (type == OPCODE_END)
            return take_end(rdb);
        if (type == TYPE_STRING) {
            if (!take_entry(rdb, entry))
                return RDB_FAILED;
            if (entry->key.len > 0)
                return RDB_ENTRY;
            rdb->empty_keys += 1;
            *entry = (struct entry){.expires = false};
        } else if (rdb_kind_of(type, &kind)) {
            if (!skip_other(rdb, type, kind))
                return RDB_FAILED;
            *entry = (struct entry){.expires = false};
        } else if (!take_part(rdb, type, entry)) {
            return RDB_FAILED;
        }
    }
}
