// The parameter of a txn in MessagePack-RPC: a map of `if`, `then` and `else`, into the body that
// base/txn.h describes. The methods inside are read by the very code that reads them alone, but
// with less allowed.
#include <inttypes.h>
#include <string.h>

#include "base/txn.h"
#include "rpc/msgpack_parse.h"

// What a txn holds, in conditions and methods of either branch.
#define PARTS_MAX (1u << 20)

// Where each part stands in the message: a map has no order, a body has one.
struct places {
    struct mf_reader at[MF_TXN_PARTS];
    bool given[MF_TXN_PARTS];
};

static const char *const part_names[MF_TXN_PARTS] = {"if", "then", "else"};

static bool find_parts(struct parser *p, struct places *places)
{
    struct mf_msgpack_token map;
    struct mf_msgpack_token name;
    if (!mf_parse_next(p, &map))
        return false;
    if (map.type != MF_MP_MAP)
        return mf_parse_refuse_value(p, "the first parameter", &map, "a map of if, then and else");
    for (uint32_t i = 0; i < map.count; i++) {
        if (!mf_parse_next(p, &name))
            return false;
        unsigned part = 0;
        while (part < MF_TXN_PARTS && !(name.type == MF_MP_STR &&
                                        mf_bytes_equal(name.bytes, mf_bytes_str(part_names[part]))))
            part++;
        if (part == MF_TXN_PARTS || places->given[part])
            return mf_parse_refuse(
                p, MF_BAD_REQUEST,
                "txn: \"%s\" in the map, expected if, then and else, each at most once",
                name.type == MF_MP_STR ? mf_parse_quote(name.bytes).text : "no string");
        places->given[part] = true;
        places->at[part] = p->in.reader;
        if (mf_msgpack_pass(&p->in) != MF_OK)
            return mf_parse_refuse_stream(p, "the message ends too early");
    }
    if (!places->given[MF_TXN_IF] || !places->given[MF_TXN_THEN])
        return mf_parse_refuse(p, MF_BAD_REQUEST, "txn: no %s in the map, expected if and then",
                               part_names[places->given[MF_TXN_IF] ? MF_TXN_THEN : MF_TXN_IF]);
    return true;
}

// One of a few words, numbered from 1; 0 and a refusal for another.
static unsigned take_word(struct parser *p, const char *what, const char *expected,
                          const char *const *words, unsigned count)
{
    struct mf_msgpack_token token;
    if (!mf_parse_next(p, &token))
        return 0;
    for (unsigned i = 1; i <= count && mf_parse_is_bytes(&token); i++) {
        if (mf_bytes_equal(token.bytes, mf_bytes_str(words[i - 1])))
            return i;
    }
    mf_parse_refuse_value(p, what, &token, expected);
    return 0;
}

static bool take_operand(struct parser *p, struct mf_condition *condition)
{
    struct mf_msgpack_token token;
    if (condition->subject == MF_SUBJECT_VALUE)
        return mf_parse_value(p, &condition->value);
    if (!mf_parse_next(p, &token))
        return false;
    if (condition->subject == MF_SUBJECT_VERSION) {
        condition->number = token.uinteger;
        return token.type == MF_MP_UINT ||
               mf_parse_refuse_value(p, "a version", &token, "an unsigned integer of 64 bits");
    }
    condition->number = token.integer != 0;
    return token.type == MF_MP_BOOL ||
           mf_parse_refuse_value(p, "what exists is compared with", &token, "a boolean");
}

static bool take_condition(struct parser *p)
{
    static const char *const subjects[] = {"version", "value", "exists"};
    static const char *const relations[] = {"=", "!=", "<", ">"};
    struct mf_msgpack_token array;
    struct mf_condition condition = {0};
    if (!mf_parse_next(p, &array))
        return false;
    if (array.type != MF_MP_ARRAY || array.count != 4)
        return mf_parse_refuse_value(p, "a condition", &array, "[key, what, comparison, operand]");
    if (!mf_parse_key(p, &condition.key))
        return false;
    unsigned subject = take_word(p, "what a condition looks at",
                                 "\"version\", \"value\" or \"exists\"", subjects, 3);
    if (subject == 0)
        return false;
    condition.subject = (enum mf_subject)subject;
    bool exists = condition.subject == MF_SUBJECT_EXISTS;
    unsigned relation = take_word(p, exists ? "the comparison of exists" : "a comparison",
                                  exists ? "\"=\" or \"!=\"" : "\"=\", \"!=\", \"<\" or \">\"",
                                  relations, exists ? 2 : 4);
    if (relation == 0)
        return false;
    condition.relation = (enum mf_relation)relation;
    if (!take_operand(p, &condition))
        return false;
    mf_condition_encode(&condition, &p->request->txn);
    return true;
}

static bool refuse_inside(struct parser *p, struct mf_bytes name)
{
    if (!mf_parse_known(name))
        return mf_parse_refuse_method(p, name);
    return mf_parse_refuse(p, MF_BAD_REQUEST,
                           "txn: method %s inside, expected one that reads or writes keys",
                           mf_parse_quote(name).text);
}

// One method of a branch: `[name, param...]`.
static bool take_method(struct parser *p)
{
    struct mf_msgpack_token array;
    struct mf_msgpack_token name;
    if (!mf_parse_next(p, &array))
        return false;
    if (array.type != MF_MP_ARRAY || array.count == 0)
        return mf_parse_refuse_value(p, "a method", &array, "an array of its name and parameters");
    if (!mf_parse_next(p, &name))
        return false;
    if (name.type != MF_MP_STR)
        return mf_parse_refuse_value(p, "a method's name", &name, "a string");
    struct mf_command command = {.op = mf_command_find(name.bytes)};
    if (command.op == MF_OP_NONE || (mf_command_row(command.op)->traits & MF_IN_TXN) == 0)
        return refuse_inside(p, name.bytes);
    p->command = &command;
    bool accepted = mf_parse_command(p, array.count - 1);
    // All of a txn is read at once, where nothing is older than the newest.
    command.flags &= ~(uint32_t)MF_READ_LOCAL;
    if (accepted)
        mf_command_encode(&command, &p->request->txn);
    p->command = &p->request->command;
    return accepted;
}

static bool take_part(struct parser *p, const struct places *places, enum mf_txn_part which)
{
    struct mf_msgpack_token array = {.count = 0};
    size_t part = mf_txn_part_begin(&p->request->txn);
    p->name = "txn";
    if (places->given[which]) {
        p->in.reader = places->at[which];
        if (!mf_parse_next(p, &array))
            return false;
        if (array.type != MF_MP_ARRAY)
            return mf_parse_refuse_value(p, part_names[which], &array, "an array");
        if (array.count > PARTS_MAX)
            return mf_parse_refuse(p, MF_TOO_LARGE,
                                   "txn: %s has %" PRIu32 " elements, at most %u are allowed",
                                   part_names[which], array.count, PARTS_MAX);
    }
    for (uint32_t i = 0; i < array.count; i++) {
        if (which == MF_TXN_IF ? !take_condition(p) : !take_method(p))
            return false;
    }
    mf_txn_part_end(&p->request->txn, part, array.count);
    return true;
}

bool mf_parse_txn(struct parser *p)
{
    struct places places = {0};
    if (!find_parts(p, &places))
        return false;
    struct mf_reader behind = p->in.reader;
    for (enum mf_txn_part part = MF_TXN_IF; part < MF_TXN_PARTS; part++) {
        if (!take_part(p, &places, part))
            return false;
    }
    p->name = "txn";
    p->options = mf_command_row(p->command->op)->options;
    p->given = 0;
    p->in.reader = behind;
    p->command->body = mf_buf_view(&p->request->txn);
    return true;
}
