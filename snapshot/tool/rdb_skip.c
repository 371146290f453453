// Steps over the values of Redis that are no strings; see rdb_part.h.
//
// Most are one string, which holds a packed form of the value, or a number of strings. Each element
// takes a byte at least, so no number makes this run on past the end of the file.
#include "snapshot/tool/rdb_part.h"

enum {
    TYPE_LIST = 1,
    TYPE_SET = 2,
    TYPE_ZSET = 3,
    TYPE_HASH = 4,
    TYPE_ZSET_2 = 5,
    TYPE_MODULE_2 = 7,
    TYPE_HASH_ZIPMAP = 9,
    TYPE_LIST_ZIPLIST = 10,
    TYPE_SET_INTSET = 11,
    TYPE_ZSET_ZIPLIST = 12,
    TYPE_HASH_ZIPLIST = 13,
    TYPE_LIST_QUICKLIST = 14,
    TYPE_STREAM = 15,
    TYPE_HASH_LISTPACK = 16,
    TYPE_ZSET_LISTPACK = 17,
    TYPE_LIST_QUICKLIST_2 = 18,
    TYPE_STREAM_2 = 19,
    TYPE_SET_LISTPACK = 20,
    TYPE_STREAM_3 = 21,
    TYPES
};

enum { STREAM_ID_BYTES = 16, TIME_BYTES = 8, DOUBLE_BYTES = 8, FLOAT_BYTES = 4 };

bool rdb_kind_of(uint8_t type, enum rdb_kind *kind)
{
    static const enum rdb_kind kinds[TYPES] = {
        [TYPE_LIST] = RDB_LIST,          [TYPE_SET] = RDB_SET,
        [TYPE_ZSET] = RDB_ZSET,          [TYPE_HASH] = RDB_HASH,
        [TYPE_ZSET_2] = RDB_ZSET,        [TYPE_MODULE_2] = RDB_MODULE,
        [TYPE_HASH_ZIPMAP] = RDB_HASH,   [TYPE_LIST_ZIPLIST] = RDB_LIST,
        [TYPE_SET_INTSET] = RDB_SET,     [TYPE_ZSET_ZIPLIST] = RDB_ZSET,
        [TYPE_HASH_ZIPLIST] = RDB_HASH,  [TYPE_LIST_QUICKLIST] = RDB_LIST,
        [TYPE_STREAM] = RDB_STREAM,      [TYPE_HASH_LISTPACK] = RDB_HASH,
        [TYPE_ZSET_LISTPACK] = RDB_ZSET, [TYPE_LIST_QUICKLIST_2] = RDB_LIST,
        [TYPE_STREAM_2] = RDB_STREAM,    [TYPE_SET_LISTPACK] = RDB_SET,
        [TYPE_STREAM_3] = RDB_STREAM,
    };
    if (type >= TYPES || kinds[type] == RDB_STRING)
        return false;
    *kind = kinds[type];
    return true;
}

// A score as text: its length, or one of three lengths that stand for what no digits can say.
static bool skip_score(struct rdb *rdb)
{
    uint8_t length;
    if (!rdb_take_byte(rdb, &length))
        return false;
    return length >= 253 || rdb_skip(rdb, length);
}

static bool skip_lengths(struct rdb *rdb, int count)
{
    uint64_t ignored;
    bool fine = true;
    for (int i = 0; i < count && fine; i++)
        fine = rdb_take_length(rdb, &ignored);
    return fine;
}

// `strings` of them for each element.
static bool skip_strings(struct rdb *rdb, int strings)
{
    uint64_t count;
    bool fine = rdb_take_length(rdb, &count);
    for (uint64_t i = 0; fine && i < count; i++) {
        for (int n = 0; fine && n < strings; n++)
            fine = rdb_skip_string(rdb);
    }
    return fine;
}

static bool skip_sorted_set(struct rdb *rdb, bool binary_scores)
{
    uint64_t count;
    bool fine = rdb_take_length(rdb, &count);
    for (uint64_t i = 0; fine && i < count; i++)
        fine =
            rdb_skip_string(rdb) && (binary_scores ? rdb_skip(rdb, DOUBLE_BYTES) : skip_score(rdb));
    return fine;
}

static bool skip_quicklist(struct rdb *rdb)
{
    uint64_t count;
    bool fine = rdb_take_length(rdb, &count);
    for (uint64_t i = 0; fine && i < count; i++)
        fine = skip_lengths(rdb, 1) && rdb_skip_string(rdb);
    return fine;
}

static bool skip_consumers(struct rdb *rdb, uint8_t type)
{
    uint64_t count;
    bool fine = rdb_take_length(rdb, &count);
    for (uint64_t i = 0; fine && i < count; i++) {
        uint64_t pending = 0;
        fine = rdb_skip_string(rdb) && rdb_skip(rdb, TIME_BYTES) &&
               (type < TYPE_STREAM_3 || rdb_skip(rdb, TIME_BYTES)) &&
               rdb_take_length(rdb, &pending);
        for (uint64_t n = 0; fine && n < pending; n++)
            fine = rdb_skip(rdb, STREAM_ID_BYTES);
    }
    return fine;
}

static bool skip_group(struct rdb *rdb, uint8_t type)
{
    uint64_t pending;
    // Name, last id, and from version 2 on how many entries it has read.
    bool fine = rdb_skip_string(rdb) && skip_lengths(rdb, type >= TYPE_STREAM_2 ? 3 : 2) &&
                rdb_take_length(rdb, &pending);
    for (uint64_t i = 0; fine && i < pending; i++)
        fine = rdb_skip(rdb, STREAM_ID_BYTES + TIME_BYTES) && skip_lengths(rdb, 1);
    return fine && skip_consumers(rdb, type);
}

static bool skip_stream(struct rdb *rdb, uint8_t type)
{
    // Listpacks; length and last id; from version 2 on the first id, the largest one deleted, and
    // how many there ever were; groups.
    uint64_t groups;
    bool fine = skip_strings(rdb, 2) && skip_lengths(rdb, type >= TYPE_STREAM_2 ? 8 : 3) &&
                rdb_take_length(rdb, &groups);
    for (uint64_t i = 0; fine && i < groups; i++)
        fine = skip_group(rdb, type);
    return fine;
}

bool rdb_skip_module(struct rdb *rdb)
{
    enum { END, SIGNED, UNSIGNED, FLOAT, DOUBLE, STRING };
    for (;;) {
        uint64_t part;
        bool fine = rdb_take_length(rdb, &part);
        if (fine && part == END)
            return true;
        if (fine && (part == SIGNED || part == UNSIGNED))
            fine = skip_lengths(rdb, 1);
        else if (fine && (part == FLOAT || part == DOUBLE))
            fine = rdb_skip(rdb, part == FLOAT ? FLOAT_BYTES : DOUBLE_BYTES);
        else if (fine && part == STRING)
            fine = rdb_skip_string(rdb);
        else if (fine)
            fine = rdb_fail(rdb, "a module's value with a part of an unknown kind");
        if (!fine)
            return false;
    }
}

bool rdb_skip_value(struct rdb *rdb, uint8_t type)
{
    switch (type) {
    case TYPE_LIST:
    case TYPE_SET:
    case TYPE_LIST_QUICKLIST:
        return skip_strings(rdb, 1);
    case TYPE_HASH:
        return skip_strings(rdb, 2);
    case TYPE_ZSET:
    case TYPE_ZSET_2:
        return skip_sorted_set(rdb, type == TYPE_ZSET_2);
    case TYPE_LIST_QUICKLIST_2:
        return skip_quicklist(rdb);
    case TYPE_MODULE_2:
        return skip_lengths(rdb, 1) && rdb_skip_module(rdb);
    case TYPE_STREAM:
    case TYPE_STREAM_2:
    case TYPE_STREAM_3:
        return skip_stream(rdb, type);
    default:
        return rdb_skip_string(rdb);
    }
}
