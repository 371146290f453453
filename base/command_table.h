// The table of commands: one row for each, which is all that protocols, the router, the command
// line and the binary form have to know about a command before it is carried out.
//
// MessagePack-RPC parses by it: the parameters in their order, the options that may follow. Another
// protocol has names and an order of words of its own, and rows of its own for them, which name the
// op that they come to; keys, options, contradictions and the rest it takes from here. What an op
// does is written once, in shards/: apply.c for what writes, read.c for what reads.
//
// Constant data; any thread.
#ifndef MF_BASE_COMMAND_TABLE_H
#define MF_BASE_COMMAND_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/command.h"

// Positional parameters. All keys of a command are in its first one, or in the body of a txn.
enum mf_param {
    MF_PARAM_NONE,
    MF_PARAM_KEY,    // one key
    MF_PARAM_KEYS,   // a list of keys
    MF_PARAM_BOTH,   // two keys of one shard
    MF_PARAM_PAIRS,  // a list of [key, value]
    MF_PARAM_VALUE,  // of the key before it
    MF_PARAM_TTL,    // milliseconds; 0 and less: over at once
    MF_PARAM_DELTA,  // 64 signed bits
    MF_PARAM_CURSOR, // 64 unsigned bits
    MF_PARAM_TXN,    // conditions and methods: base/txn.h
};
#define MF_PARAMS_MAX 2u

enum mf_option {
    MF_OPTION_READ,
    MF_OPTION_META,
    MF_OPTION_TTL,
    MF_OPTION_EXPIRE_AT,
    MF_OPTION_NX,
    MF_OPTION_XX,
    MF_OPTION_GT,
    MF_OPTION_LT,
    MF_OPTION_IF_VERSION,
    MF_OPTION_KEEP_TTL,
    MF_OPTION_PERSIST,
    MF_OPTION_GET,
    MF_OPTION_MATCH,
    MF_OPTION_COUNT,
    MF_OPTION_ID,
    MF_OPTIONS
};
// As a set: MF_OPTION_BIT(TTL) | MF_OPTION_BIT(ID).
#define MF_OPTION_BIT(option) (1u << (MF_OPTION_##option))

enum mf_trait {
    MF_WRITES = 1u << 0,     // goes through the log
    MF_IN_TXN = 1u << 1,     // may stand in the branches of a txn
    MF_LISTS = 1u << 2,      // answers a list, an element for each key; else parts add up
    MF_EVERYWHERE = 1u << 3, // is for every shard
    MF_HIDDEN = 1u << 4,     // not asked for by name: the nodes' own, or another row's second form
    MF_GROWS = 1u << 8,      // may take memory: refused where there is none left
    // In the binary form, beside what the parameters say.
    MF_HAS_LIMIT = 1u << 5,
    MF_HAS_NUMBER = 1u << 6,
    MF_HAS_BODY = 1u << 7,
    MF_HAS_LAST = 1u << 9,
};

// What the parameters come to in the binary form; the first three as numbers.
enum mf_keys { MF_KEYS_NONE, MF_KEYS_ONE, MF_KEYS_TWO, MF_KEYS_MANY };

struct mf_command_row {
    const char *name; // NULL: there is no such op
    enum mf_param params[MF_PARAMS_MAX + 1];
    enum mf_keys keys; // MANY: it is split where they are of several shards
    bool values;       // each key has one
    uint32_t traits;
    uint32_t options;
};

// NULL for a number that is no op.
const struct mf_command_row *mf_command_row(unsigned op);
// The op that users ask for by this name, or MF_OP_NONE.
enum mf_opcode mf_command_find(struct mf_bytes name);
// How many positional parameters it has.
uint32_t mf_command_arity(const struct mf_command_row *row);
bool mf_command_takes(const struct mf_command_row *row, enum mf_param param);

// "key", "value", ...: for messages.
const char *mf_param_name(enum mf_param param);
const char *mf_option_name(enum mf_option option);
// Two of these options that contradict each other; false when no two do.
bool mf_options_clash(uint32_t given, enum mf_option *one, enum mf_option *other);

#endif
