// The parts that files of Redis are made of: numbers, lengths, strings; and stepping over values
// that are no strings. For rdb.c.
//
// Each returns false when the file ends or holds something else, with rdb->why set.
#ifndef MF_SNAPSHOT_TOOL_RDB_PART_H
#define MF_SNAPSHOT_TOOL_RDB_PART_H

#include "snapshot/tool/rdb.h"

// The next `count` bytes, at most 32, valid until the next call; NULL when they are not there.
const uint8_t *rdb_take(struct rdb *rdb, size_t count);
bool rdb_take_byte(struct rdb *rdb, uint8_t *byte);
bool rdb_take_length(struct rdb *rdb, uint64_t *length);
// Sets *out to the string.
bool rdb_take_string(struct rdb *rdb, struct mf_buf *out);
bool rdb_skip(struct rdb *rdb, uint64_t count);
bool rdb_skip_string(struct rdb *rdb);

// A byte that is no string's, and what follows the key then.
bool rdb_kind_of(uint8_t type, enum rdb_kind *kind);
bool rdb_skip_value(struct rdb *rdb, uint8_t type);
// A module's own bytes, up to their end.
bool rdb_skip_module(struct rdb *rdb);

bool rdb_fail(struct rdb *rdb, const char *fault);

#endif
