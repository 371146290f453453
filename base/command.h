// What may be asked of the store, and how it is written into log entries and peer frames.
//
// Protocols parse bytes into one struct mf_command; shards apply it. The struct owns nothing: keys,
// values and ids are views into the buffer that was parsed. The binary form made by
// mf_command_encode is part of the WAL's content: docs/wal-format.md describes it, and it changes
// only by adding.
#ifndef MF_BASE_COMMAND_H
#define MF_BASE_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

enum mf_opcode {
    MF_OP_NONE = 0,
    // Reads.
    MF_OP_GET = 1,   // one key
    MF_OP_MGET = 2,  // keys
    MF_OP_HAS = 3,   // keys
    MF_OP_TTL = 4,   // one key
    MF_OP_SIZE = 5,  // no key; one shard's live keys
    MF_OP_INDEX = 6, // no key; the log index applied: a barrier for what reads other replicas
    // Some of one shard's keys, from `number` on (0: the start) about `limit` of them, those that
    // `body`, a glob, matches: a list of the number to go on with (0: that was all), and the keys.
    MF_OP_SCAN = 7,
    MF_OP_TXN_READ = 8, // a TXN that only reads
    MF_OP_STRLEN = 9,   // one key; 0 where there is none
    // One key; its value's bytes from `number` to `last`, both signed and counted from the end
    // where they are negative. Empty where there is none.
    MF_OP_GETRANGE = 10,
    // One key: Unix milliseconds of its deadline; -1 without a TTL, -2 where there is no key. Its
    // expiry, NONE as asked, is turned into IN with the moment of Unix time 0 (mf_command_settle).
    MF_OP_DEADLINE = 11,
    // One key: a list of three integers about its entry, or nil: the bytes that it takes with its
    // share of the table and the heap; the length of its value; 1 if the value is an integer.
    MF_OP_OBJECT = 12,
    // Writes.
    MF_OP_SET = 32, // one key and value
    // Keys and values, atomic within the shard. With MF_NX, where one of the keys is there none is
    // written: 1 or 0, and all keys are in one shard.
    MF_OP_MSET = 33,
    MF_OP_DEL = 34,     // keys
    MF_OP_EXPIRE = 35,  // one key; expiry kind IN, expire_us <= 0 deletes
    MF_OP_PERSIST = 36, // one key
    MF_OP_FLUSH = 37,   // no key; one shard
    // The cluster's nodes (server/roster.h), which shard 0 keeps beside its keys: the value takes
    // the place of the roster whose version is `if_version`, and no other. Its key means nothing.
    MF_OP_ROSTER = 38,
    MF_OP_INCR = 40,   // one key; adds `number`, a signed one. Expiry: of a key that it makes
    MF_OP_APPEND = 41, // one key and value
    MF_OP_GETDEL = 42, // one key
    MF_OP_GETEX = 43,  // one key; expiry or MF_NO_TTL, or neither: it only reads, but has an id
    MF_OP_TXN = 44,    // `body` (txn.h), whose keys are all in one shard
    // One key and value: the bytes from `number` on become the value given, zeros before it where
    // the old one is too short. An empty value changes nothing. Answers the new length.
    MF_OP_SETRANGE = 45,
    // Two keys of one shard: the second becomes what the first is, TTL included, and with RENAME
    // the first goes. With MF_NX only where there is no second. RENAME of an absent key is
    // MF_NOT_FOUND, COPY of one false; RENAME of a key to itself changes nothing.
    MF_OP_RENAME = 46,
    MF_OP_COPY = 47,
    // One key and value: adds the number that the value is (base/extended.h) to the one that is
    // there, 0 where there is none, and answers the sum's text. The TTL stays.
    MF_OP_INCRFLOAT = 48,
    // One key: bit `number` / 2 of the value, counted from the highest of its first byte, becomes
    // `number` % 2; zeros before it where the value is too short. Answers what it was.
    MF_OP_SETBIT = 49,
    // Asked of a node about leadership; never in a log. `limit` is a node's id.
    MF_OP_TRANSFER = 64, // that node is to lead the shard
    MF_OP_DRAIN = 65,    // that node is to lead nothing
    // Proposed by the leader itself.
    MF_OP_EXPIRE_DUE = 96, // pops at most `limit` keys whose deadline <= the entry's log time
    MF_OP_EVICT = 97,      // keys, each with its version (8 bytes) for a value: drops those
    MF_OP_SEED = 98,       // the group's hash seed is `number`, if it has none yet
};

enum mf_command_flag {
    MF_NX = 1u << 0,         // expire: only if it has no TTL; others: only if absent
    MF_XX = 1u << 1,         // set: only if present; expire: only if it has a TTL
    MF_GT = 1u << 2,         // expire: only if later than now set
    MF_LT = 1u << 3,         // expire: only if earlier
    MF_KEEP_TTL = 1u << 4,   // set: the key's TTL stays
    MF_WITH_OLD = 1u << 5,   // set: answer with the old value
    MF_WITH_META = 1u << 6,  // get: answer with version and TTL
    MF_IF_VERSION = 1u << 7, // set, del: `if_version` must be the key's version (0: absent)
    MF_READ_LOCAL = 1u << 8, // reads: this replica's state, however old
    MF_UNDO = 1u << 9,       // drain: it may lead again
    MF_NO_TTL = 1u << 10,    // getex: the TTL goes
    MF_GO_ON = 1u << 11,     // txn: what fails has its error among the results, the rest goes on
    MF_META_ONLY = 1u << 12, // get, beside WITH_META: the value is left out
    MF_IF_EQUAL = 1u << 13,  // set, del of one key: its value must be `body`; that of no key is not
    MF_IF_OTHER = 1u << 14,  // set, del of one key: its value must not be `body`
};

// How expire_us is meant.
enum mf_expiry {
    MF_EXPIRY_NONE = 0,
    MF_EXPIRY_IN = 1, // relative to the entry's log time
    MF_EXPIRY_AT = 2, // Unix time; the leader turns it into IN once, see mf_command_settle
};

#define MF_ID_MAX 64
// 2^53 - 1 milliseconds, the longest TTL; in microseconds it fits 63 bits.
#define MF_TTL_MS_MAX INT64_C(9007199254740991)

struct mf_item {
    struct mf_bytes key;
    struct mf_bytes value; // set, mset, append only
};

// Which fields share a word is chosen: two that are asked for in one breath, when they have just
// been written, would be read as one, and wait for both to be in memory.
struct mf_command {
    enum mf_opcode op;
    uint32_t item_count;
    struct mf_item *items; // item_count of them; &one for commands of one key
    uint32_t flags;
    // What the log needs to come to the same result on every replica, whatever limits its node has:
    // INCR, INCRFLOAT, APPEND, SETRANGE, SETBIT: the longest value allowed; TXN, TXN_READ: the
    // bytes that its results may take. Of SCAN, EXPIRE_DUE: how many; of TRANSFER, DRAIN: a node.
    uint32_t limit;
    enum mf_expiry expiry;
    int64_t expire_us;
    uint64_t if_version;
    uint64_t number;      // INCR, GETRANGE, SETRANGE, SETBIT, SCAN, SEED
    int64_t last;         // GETRANGE
    struct mf_bytes body; // TXN, TXN_READ, SCAN; with MF_IF_EQUAL, MF_IF_OTHER
    struct mf_bytes id;   // empty = none
    struct mf_item one;
    // Beside the binary form: the slot of its only key, plus 1, if somebody has looked it up.
    uint32_t slot_and_1;
};

// Unix times become times from now, when it is `unix_us`, once, by the clock of the leader that
// carries the command out: from there on only log time counts. What a command asks for in Unix time
// and what it is answered in Unix time so go through the same difference between two clocks. Of a
// txn, mf_txn_settle_times does the same. False when there is none.
bool mf_command_settle(struct mf_command *command, int64_t unix_us);

bool mf_op_is_write(enum mf_opcode op);
// A write that may need more memory than it gives back, its id apart.
bool mf_op_grows(enum mf_opcode op);
// "get", "set", ...; "?" for an unknown one.
const char *mf_op_name(enum mf_opcode op);

// Appends the binary form to out.
void mf_command_encode(const struct mf_command *command, struct mf_buf *out);

// The size that mf_command_encode would append, in bytes.
size_t mf_command_size(const struct mf_command *command);

// Reads one command. Views point into the reader's input. Items beyond one are put into *items,
// an array that this function grows with realloc and the caller frees (start with NULL and 0;
// reuse it for the next call). MF_CORRUPT for anything mf_command_encode would not have written,
// and for what no replica could apply.
MF_MUST_USE enum mf_err mf_command_decode(struct mf_reader *r, struct mf_command *command,
                                          struct mf_item **items, uint32_t *items_cap);

#endif
