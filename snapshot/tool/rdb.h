// Reads the files that Redis writes with SAVE and BGSAVE, up to version 11: the strings, with the
// time at which they expire. What else is in them is stepped over and counted.
//
// Believes no length: a string is copied as its bytes arrive, one that is packed is given room only
// for what its packed bytes can become, and no more than RDB_STRING_BYTES_MAX. One thread.
#ifndef MF_SNAPSHOT_TOOL_RDB_H
#define MF_SNAPSHOT_TOOL_RDB_H

#include "snapshot/tool/entry.h"
#include "snapshot/tool/input.h"

#define RDB_VERSION_MAX 11u
// As Redis has it, unless it was told otherwise.
#define RDB_STRING_BYTES_MAX (512u * 1024u * 1024u)

enum rdb_kind { RDB_STRING, RDB_LIST, RDB_SET, RDB_ZSET, RDB_HASH, RDB_STREAM, RDB_MODULE };
enum { RDB_KINDS = RDB_MODULE + 1, RDB_NAMES = 3 };

// The keys of a kind that were stepped over.
struct rdb_others {
    uint64_t count;
    struct mf_buf names[RDB_NAMES]; // of the first of them, cut to 64 bytes
};

struct rdb {
    struct input *input;
    uint64_t crc; // of all that was taken
    uint32_t version;
    uint64_t created_s; // Unix time, 0 = not said; known before the first key
    uint64_t database;
    uint64_t databases; // that have strings
    uint64_t database_last;
    uint64_t empty_keys; // strings whose key is empty, which no node takes
    uint64_t functions;
    struct rdb_others others[RDB_KINDS];
    struct mf_buf key;
    struct mf_buf value;
    struct mf_buf packed;
    char why[256];
};

enum rdb_got { RDB_ENTRY, RDB_END, RDB_FAILED };

// The input stands at the beginning, and outlives the reader. Reads nothing.
void rdb_start(struct rdb *rdb, struct input *input);
void rdb_free(struct rdb *rdb);
// The next string, its views valid until the next call. END: the file was whole, and nothing
// follows it. FAILED: rdb->why says what is wrong, and where.
enum rdb_got rdb_next(struct rdb *rdb, struct entry *entry);
// "list", "hash": for people.
const char *rdb_kind_name(enum rdb_kind kind);

#endif
