// The body of a txn: conditions, and the commands of two branches.
//
// A body is three parts, one after the other: `if`, `then`, `else`. Each is u32 count, u32 length,
// and that many conditions or commands. A condition is u8 subject, u8 relation, u32 length, key,
// then u64 for a version, u8 for existence, u32 length and bytes for a value. Commands have the
// form of command.h, without an id, and only those that the table of commands allows here.
//
// mf_command_decode has looked at every byte of a body before anybody else sees it, so whoever
// walks a decoded command's body meets no fault.
#ifndef MF_BASE_TXN_H
#define MF_BASE_TXN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/command.h"
#include "base/err.h"

enum mf_subject {
    MF_SUBJECT_VERSION = 1, // of the key; 0 when it is absent
    MF_SUBJECT_VALUE = 2,
    MF_SUBJECT_EXISTS = 3, // with EQUAL and UNEQUAL only
};
enum mf_relation {
    MF_EQUAL = 1,
    MF_UNEQUAL = 2,
    MF_LESS = 3,
    MF_GREATER = 4,
};

struct mf_condition {
    enum mf_subject subject;
    enum mf_relation relation;
    struct mf_bytes key;
    uint64_t number;       // VERSION: what it is compared with; EXISTS: 0 or 1
    struct mf_bytes value; // VALUE
};

// What is known of a key when a condition asks.
struct mf_key_facts {
    bool exists;
    uint64_t version;
    struct mf_bytes value;
};
bool mf_condition_holds(const struct mf_condition *condition, const struct mf_key_facts *facts);

enum mf_txn_part { MF_TXN_IF, MF_TXN_THEN, MF_TXN_ELSE, MF_TXN_PARTS };

// Writing: the three parts in their order; each begins, gets its conditions (mf_condition_encode)
// or commands (mf_command_encode), and ends with what begin returned and their number.
MF_MUST_USE size_t mf_txn_part_begin(struct mf_buf *body);
void mf_txn_part_end(struct mf_buf *body, size_t part, uint32_t count);
void mf_condition_encode(const struct mf_condition *condition, struct mf_buf *body);

// Reading one part.
struct mf_txn_reader {
    struct mf_reader in;
    uint32_t left; // conditions or commands still to come
    struct mf_item *items;
    uint32_t items_cap;
};
// MF_CORRUPT when the body has no such part. Close it in either case.
MF_MUST_USE enum mf_err mf_txn_open(struct mf_txn_reader *reader, struct mf_bytes body,
                                    enum mf_txn_part part);
// MF_OK, MF_NOT_FOUND at the end, MF_CORRUPT. Views point into the body; a command's items live
// until the next call.
MF_MUST_USE enum mf_err mf_txn_next_condition(struct mf_txn_reader *reader,
                                              struct mf_condition *condition);
MF_MUST_USE enum mf_err mf_txn_next_command(struct mf_txn_reader *reader,
                                            struct mf_command *command);
void mf_txn_close(struct mf_txn_reader *reader);

// True for a body that a txn may have: whole, of commands that are allowed in it, and none of them
// a write if `reads`.
bool mf_txn_valid(struct mf_bytes body, bool reads);
// Does a command of the two branches write?
bool mf_txn_writes(struct mf_bytes body);
// Calls visit for every key, conditions' first, until it returns false. False when it did.
bool mf_txn_each_key(struct mf_bytes body, bool (*visit)(void *arg, struct mf_bytes key),
                     void *arg);
// Does a command of the two branches give or ask for a Unix time?
bool mf_txn_has_times(struct mf_bytes body);
// Appends the body with each Unix time in it as the time from `unix_us` on. False, and nothing
// appended, when there is none in it.
bool mf_txn_settle_times(struct mf_bytes body, int64_t unix_us, struct mf_buf *out);

#endif
