// The table of commands; see command_table.h.
#include "base/command_table.h"

#include <stddef.h>
#include <string.h>

#define BIT(option) MF_OPTION_BIT(option)
#define SET_OPTIONS                                                                                \
    (BIT(TTL) | BIT(EXPIRE_AT) | BIT(NX) | BIT(XX) | BIT(IF_VERSION) | BIT(KEEP_TTL) | BIT(GET) |  \
     BIT(ID))
#define EXPIRE_OPTIONS (BIT(NX) | BIT(XX) | BIT(GT) | BIT(LT) | BIT(ID))
#define GETEX_OPTIONS (BIT(TTL) | BIT(PERSIST) | BIT(ID))

#define KEY {MF_PARAM_KEY}, MF_KEYS_ONE, false
#define KEYS {MF_PARAM_KEYS}, MF_KEYS_MANY, false
#define BOTH {MF_PARAM_BOTH}, MF_KEYS_TWO, false
#define PAIRS {MF_PARAM_PAIRS}, MF_KEYS_MANY, true
#define KEY_VALUE {MF_PARAM_KEY, MF_PARAM_VALUE}, MF_KEYS_ONE, true
#define KEY_TTL {MF_PARAM_KEY, MF_PARAM_TTL}, MF_KEYS_ONE, false
#define KEY_DELTA {MF_PARAM_KEY, MF_PARAM_DELTA}, MF_KEYS_ONE, false
#define CURSOR {MF_PARAM_CURSOR}, MF_KEYS_NONE, false
#define TXN {MF_PARAM_TXN}, MF_KEYS_NONE, false
#define NONE {MF_PARAM_NONE}, MF_KEYS_NONE, false

#define W MF_WRITES
#define T MF_IN_TXN
#define G MF_GROWS

static const struct mf_command_row rows[] = {
    [MF_OP_GET] = {"get", KEY, T, BIT(READ) | BIT(META)},
    [MF_OP_MGET] = {"mget", KEYS, T | MF_LISTS, BIT(READ)},
    [MF_OP_HAS] = {"has", KEYS, T | MF_LISTS, 0},
    [MF_OP_TTL] = {"ttl", KEY, T, 0},
    [MF_OP_SIZE] = {"size", NONE, MF_EVERYWHERE, 0},
    [MF_OP_INDEX] = {"index", NONE, MF_HIDDEN, 0},
    [MF_OP_SCAN] = {"scan", CURSOR, MF_HAS_LIMIT | MF_HAS_NUMBER | MF_HAS_BODY,
                    BIT(MATCH) | BIT(COUNT)},
    [MF_OP_TXN_READ] = {"txn", TXN, MF_HIDDEN | MF_HAS_LIMIT | MF_HAS_BODY, 0},
    [MF_OP_STRLEN] = {"strlen", KEY, T | MF_HIDDEN, 0},
    [MF_OP_GETRANGE] = {"getrange", KEY, T | MF_HIDDEN | MF_HAS_NUMBER | MF_HAS_LAST, 0},
    [MF_OP_DEADLINE] = {"deadline", KEY, T | MF_HIDDEN, 0},
    [MF_OP_OBJECT] = {"object", KEY, T | MF_HIDDEN, 0},
    [MF_OP_SET] = {"set", KEY_VALUE, W | T | G, SET_OPTIONS},
    [MF_OP_MSET] = {"mset", PAIRS, W | T | G, BIT(TTL) | BIT(ID)},
    [MF_OP_DEL] = {"del", KEYS, W | T, BIT(IF_VERSION) | BIT(ID)},
    [MF_OP_EXPIRE] = {"expire", KEY_TTL, W | T, EXPIRE_OPTIONS},
    [MF_OP_PERSIST] = {"persist", KEY, W | T, BIT(ID)},
    [MF_OP_FLUSH] = {"flush", NONE, W | MF_EVERYWHERE, BIT(ID)},
    [MF_OP_ROSTER] = {"roster", KEY_VALUE, W | MF_HIDDEN, 0},
    [MF_OP_INCR] = {"incr", KEY_DELTA, W | T | G | MF_HAS_LIMIT | MF_HAS_NUMBER,
                    BIT(TTL) | BIT(ID)},
    [MF_OP_APPEND] = {"append", KEY_VALUE, W | T | G | MF_HAS_LIMIT, BIT(ID)},
    [MF_OP_GETDEL] = {"getdel", KEY, W | T, BIT(ID)},
    [MF_OP_GETEX] = {"getex", KEY, W | T, GETEX_OPTIONS},
    [MF_OP_TXN] = {"txn", TXN, W | G | MF_HAS_LIMIT | MF_HAS_BODY, BIT(ID)},
    [MF_OP_SETRANGE] = {"setrange", KEY_VALUE, W | T | G | MF_HIDDEN | MF_HAS_LIMIT | MF_HAS_NUMBER,
                        0},
    [MF_OP_RENAME] = {"rename", BOTH, W | T | G | MF_HIDDEN, 0},
    [MF_OP_COPY] = {"copy", BOTH, W | T | G | MF_HIDDEN, 0},
    [MF_OP_INCRFLOAT] = {"incrfloat", KEY_VALUE, W | T | G | MF_HIDDEN | MF_HAS_LIMIT, 0},
    [MF_OP_SETBIT] = {"setbit", KEY, W | T | G | MF_HIDDEN | MF_HAS_LIMIT | MF_HAS_NUMBER, 0},
    [MF_OP_TRANSFER] = {"transfer", NONE, MF_HIDDEN | MF_HAS_LIMIT, 0},
    [MF_OP_DRAIN] = {"drain_node", NONE, MF_HIDDEN | MF_HAS_LIMIT, 0},
    [MF_OP_EXPIRE_DUE] = {"expire_due", NONE, W | MF_HIDDEN | MF_HAS_LIMIT, 0},
    [MF_OP_EVICT] = {"evict", PAIRS, W | MF_HIDDEN, 0},
    [MF_OP_SEED] = {"seed", NONE, W | MF_HIDDEN | MF_HAS_NUMBER, 0},
};

static const char *const params[] = {
    [MF_PARAM_KEY] = "key",
    [MF_PARAM_KEYS] = "keys",
    [MF_PARAM_BOTH] = "two keys",
    [MF_PARAM_PAIRS] = "pairs",
    [MF_PARAM_VALUE] = "value",
    [MF_PARAM_TTL] = "ttl",
    [MF_PARAM_DELTA] = "delta",
    [MF_PARAM_CURSOR] = "cursor",
    [MF_PARAM_TXN] = "conditions and methods",
};

static const char *const options[MF_OPTIONS] = {
    [MF_OPTION_READ] = "read",
    [MF_OPTION_META] = "meta",
    [MF_OPTION_TTL] = "ttl",
    [MF_OPTION_EXPIRE_AT] = "expire_at",
    [MF_OPTION_NX] = "nx",
    [MF_OPTION_XX] = "xx",
    [MF_OPTION_GT] = "gt",
    [MF_OPTION_LT] = "lt",
    [MF_OPTION_IF_VERSION] = "if_version",
    [MF_OPTION_KEEP_TTL] = "keep_ttl",
    [MF_OPTION_PERSIST] = "persist",
    [MF_OPTION_GET] = "get",
    [MF_OPTION_MATCH] = "match",
    [MF_OPTION_COUNT] = "count",
    [MF_OPTION_ID] = "id",
};

// No two of one row go together.
static const uint32_t exclusions[] = {
    BIT(TTL) | BIT(EXPIRE_AT) | BIT(KEEP_TTL) | BIT(PERSIST),
    BIT(NX) | BIT(XX),
    BIT(NX) | BIT(GT),
    BIT(NX) | BIT(LT),
    BIT(GT) | BIT(LT),
};

const struct mf_command_row *mf_command_row(unsigned op)
{
    if (op >= sizeof(rows) / sizeof(rows[0]) || rows[op].name == NULL)
        return NULL;
    return &rows[op];
}

// Those that users ask for, by their first letter: where its list begins, who comes next, and how
// long the names are.
static uint8_t first_of_letter[256];
static uint8_t next_of_op[sizeof(rows) / sizeof(rows[0])];
static uint8_t length_of_op[sizeof(rows) / sizeof(rows[0])];

// Before main: constant to all threads.
__attribute__((constructor)) static void list_by_letter(void)
{
    _Static_assert(sizeof(rows) / sizeof(rows[0]) <= UINT8_MAX, "an op fits a byte");
    for (unsigned op = sizeof(rows) / sizeof(rows[0]); op-- > 1;) {
        if (rows[op].name == NULL || (rows[op].traits & MF_HIDDEN) != 0)
            continue;
        uint8_t *first = &first_of_letter[(uint8_t)rows[op].name[0]];
        next_of_op[op] = *first;
        *first = (uint8_t)op;
        length_of_op[op] = (uint8_t)strlen(rows[op].name);
    }
}

enum mf_opcode mf_command_find(struct mf_bytes name)
{
    unsigned op = name.len > 0 ? first_of_letter[name.data[0]] : MF_OP_NONE;
    while (op != MF_OP_NONE &&
           (name.len != length_of_op[op] || memcmp(name.data, rows[op].name, name.len) != 0))
        op = next_of_op[op];
    return (enum mf_opcode)op;
}

uint32_t mf_command_arity(const struct mf_command_row *row)
{
    uint32_t count = 0;
    while (row->params[count] != MF_PARAM_NONE)
        count++;
    return count;
}

bool mf_command_takes(const struct mf_command_row *row, enum mf_param param)
{
    for (uint32_t i = 0; row->params[i] != MF_PARAM_NONE; i++) {
        if (row->params[i] == param)
            return true;
    }
    return false;
}

const char *mf_param_name(enum mf_param param)
{
    return params[param];
}

const char *mf_option_name(enum mf_option option)
{
    return options[option];
}

bool mf_options_clash(uint32_t given, enum mf_option *one, enum mf_option *other)
{
    for (size_t i = 0; i < sizeof(exclusions) / sizeof(exclusions[0]); i++) {
        uint32_t both = given & exclusions[i];
        if ((both & (both - 1)) == 0)
            continue;
        *one = (enum mf_option)__builtin_ctz(both);
        *other = (enum mf_option)__builtin_ctz(both & (both - 1));
        return true;
    }
    return false;
}
