// From the history of operations to one history for each key; see history.h and linear.h.
//
// What is not known is left open, except where the log tells: an operation without an answer whose
// entry is in the log did happen, and one whose entry would be known there and is not, did not.
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/result.h"
#include "linear.h"
#include "wishes.h"
#include "world.h"

#define STEPS_MAX 300000u
#define STORY_MAX 1400u

struct key_history {
    struct linear_op *ops;
    size_t count;
    bool unclear; // an id outlived its memory on this key: its effects may be two
};

static bool touches(const struct sim_op *op, uint32_t key, uint32_t *place)
{
    for (*place = 0; *place < op->key_count; ++*place) {
        if (op->keys[*place] == key)
            return true;
    }
    return op->opcode == MF_OP_FLUSH;
}

// What it is to the key at a place.
static enum linear_kind kind_of(const struct sim_op *op, uint32_t place)
{
    switch (op->opcode) {
    case MF_OP_TXN:
        if (op->txn == SIM_TXN_MOVE && place == 0)
            return LINEAR_DEL;
        return op->txn == SIM_TXN_BOTH && place == 1 ? LINEAR_INCR : LINEAR_SET;
    case MF_OP_INCR:
    case MF_OP_INCRFLOAT:
        return LINEAR_INCR;
    case MF_OP_APPEND:
        return LINEAR_APPEND;
    case MF_OP_GETEX:
        return LINEAR_GETEX;
    case MF_OP_SET:
    case MF_OP_MSET:
        return LINEAR_SET;
    case MF_OP_DEL:
    case MF_OP_GETDEL:
    case MF_OP_FLUSH:
        return LINEAR_DEL;
    case MF_OP_EXPIRE:
        return LINEAR_EXPIRE;
    case MF_OP_PERSIST:
        return LINEAR_PERSIST;
    default:
        return LINEAR_READ;
    }
}

static uint32_t conditions_of(const struct sim_op *op)
{
    static const struct {
        uint32_t flag;
        uint32_t condition;
    } table[] = {{MF_NX, LINEAR_NX},
                 {MF_XX, LINEAR_XX},
                 {MF_GT, LINEAR_GT},
                 {MF_LT, LINEAR_LT},
                 {MF_IF_VERSION, LINEAR_IF_VERSION},
                 {MF_KEEP_TTL, LINEAR_KEEP_TTL},
                 {MF_NO_TTL, LINEAR_NO_TTL}};
    uint32_t conditions = 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if ((op->flags & table[i].flag) != 0)
            conditions |= table[i].condition;
    }
    if (op->opcode == MF_OP_EXPIRE && op->expire_us <= 0)
        conditions |= LINEAR_DELETES;
    bool one_fails_all =
        op->opcode == MF_OP_TXN && op->txn == SIM_TXN_BOTH && (op->flags & MF_GO_ON) == 0;
    bool all_new = op->opcode == MF_OP_MSET && (op->flags & MF_NX) != 0 && op->key_count > 1;
    if (one_fails_all || all_new)
        conditions |= LINEAR_ELSEWHERE;
    return conditions;
}

// When the TTL that it gives may and must have ended, in true time.
static void set_death_window(const struct sim *sim, const struct sim_op *op, struct linear_op *out)
{
    uint64_t by_us =
        op->times_chosen > 0 && op->chosen_us < op->return_us ? op->chosen_us : op->return_us;
    out->gives_ttl = true;
    out->dies_until_us = LINEAR_NEVER;
    uint32_t stretch = sim_clocks_stretch(sim, op->group, op->call_us, by_us);
    if (stretch == 0)
        return;
    uint64_t slack_us = sim_clocks_slack_us(sim, op->group, stretch, sim->now_us - SIM_START_US);
    uint64_t early_us;
    uint64_t late_us;
    if (op->expiry == MF_EXPIRY_IN) {
        early_us = op->call_us + (uint64_t)op->expire_us;
        late_us = by_us != LINEAR_NEVER ? by_us + (uint64_t)op->expire_us : by_us;
    } else if (sim->plan.wall_jump_us == 0) {
        early_us = (uint64_t)op->expire_us - (sim_node_wall_us(&sim->nodes[0]) - sim->now_us);
        // Turned into a TTL when proposed, which counts from when it is chosen.
        late_us = by_us != LINEAR_NEVER ? early_us + (by_us - op->call_us) : by_us;
    } else {
        return; // by a wall clock that was set at will
    }
    out->dies_from_us = early_us > slack_us ? early_us - slack_us : 0;
    if (by_us != LINEAR_NEVER)
        out->dies_until_us = late_us + slack_us;
}

static struct mf_result decode(const struct sim *sim, const struct sim_op *op,
                               struct mf_bytes encoded)
{
    struct mf_reader reader = mf_reader_of(encoded);
    struct mf_result result;
    if (mf_result_decode(&reader, &result) != MF_OK)
        sim_fail(sim, "an answer can be read", "op %u", op->number);
    return result;
}

// The place's element of a list.
static struct mf_result element(const struct sim *sim, const struct sim_op *op,
                                const struct mf_result *list, uint32_t place)
{
    struct mf_reader reader = mf_reader_of(list->value);
    struct mf_result result = {.kind = MF_RESULT_NIL};
    for (uint32_t i = 0; i <= place; i++) {
        if ((list->kind != MF_RESULT_LIST && list->kind != MF_RESULT_TXN) ||
            mf_result_decode(&reader, &result) != MF_OK)
            sim_fail(sim, "an answer can be read", "op %u", op->number);
    }
    return result;
}

// Who read a value, and where.
struct reading {
    const struct sim *sim;
    const struct sim_op *op;
    uint32_t key;
};

static void fail_reading(const struct reading *at)
{
    char text[SIM_TEXT_MAX];
    sim_fail(at->sim, "what is read was written", "%s got a value that nobody wrote there",
             sim_op_text(at->op, text, sizeof(text)));
}

// Does the operation write the value of its item `place` to this key?
static bool writes_to(const struct sim_op *op, uint64_t place, uint32_t key)
{
    if (op->opcode == MF_OP_TXN && op->txn == SIM_TXN_PATCH)
        return place < 2 && op->keys[0] == key;
    if (op->opcode == MF_OP_TXN && op->txn == SIM_TXN_MOVE)
        return place == 0 && op->keys[1] == key;
    if (op->opcode == MF_OP_TXN && op->txn == SIM_TXN_COPY)
        return place == 0 && (op->keys[0] == key || op->keys[1] == key);
    return place < op->key_count && op->keys[place] == key;
}

static uint64_t written_value(const struct sim_op *op, uint32_t place)
{
    bool txn = op->opcode == MF_OP_TXN;
    if (txn && op->txn == SIM_TXN_PATCH)
        return linear_appended(sim_value_of(op, 0), sim_value_of(op, 1));
    bool first = txn && (op->txn == SIM_TXN_MOVE || op->txn == SIM_TXN_COPY);
    return sim_value_of(op, first ? 0 : place);
}

// A value that was read must have been written, to this key, by a command sent before.
static void check_writer(void *arg, uint64_t value)
{
    const struct reading *at = arg;
    const struct sim_clients *clients = &at->sim->clients;
    uint64_t number = value / SIM_OP_KEYS_MAX;
    uint64_t place = value % SIM_OP_KEYS_MAX;
    const struct sim_op *writer =
        number == 0 || number > clients->count ? NULL : clients->ops[number - 1];
    if (writer == NULL || writer->group != at->op->group || !writes_to(writer, place, at->key) ||
        writer->call_us > at->op->return_us)
        fail_reading(at);
}

static uint64_t seen_value(const struct sim *sim, const struct sim_op *op, uint32_t key,
                           struct mf_bytes bytes)
{
    struct reading at = {sim, op, key};
    uint64_t value = sim_value_parse(bytes, check_writer, &at);
    if (value == 0)
        fail_reading(&at);
    return value;
}

static void tell_present(struct linear_op *out, bool present)
{
    out->hit = present ? LINEAR_YES : LINEAR_NO;
}

static void tell_ttl(struct linear_op *out, int64_t ttl_ms)
{
    out->ttl = ttl_ms < 0 ? LINEAR_TTL_NONE : LINEAR_TTL_LEFT;
    out->ttl_left_us = ttl_ms < 0 ? 0 : (uint64_t)ttl_ms * 1000;
}

static void tell_read(const struct sim *sim, const struct sim_op *op, uint32_t key, uint32_t place,
                      struct linear_op *out)
{
    struct mf_result result = decode(sim, op, mf_buf_view(&op->answer));
    if (op->opcode == MF_OP_MGET || op->opcode == MF_OP_HAS || op->opcode == MF_OP_TXN_READ)
        result = element(sim, op, &result, place);
    switch (result.kind) {
    case MF_RESULT_BOOL:
        tell_present(out, result.integer != 0);
        break;
    case MF_RESULT_INT: // ttl
        tell_present(out, result.integer != -2);
        if (result.integer != -2)
            tell_ttl(out, result.integer);
        break;
    case MF_RESULT_META:
        tell_ttl(out, result.ttl_ms);
        out->version = result.version;
        tell_present(out, true);
        out->tells_value = true;
        out->seen_value = seen_value(sim, op, key, result.value);
        break;
    case MF_RESULT_BYTES:
        tell_present(out, true);
        out->tells_value = true;
        out->seen_value = seen_value(sim, op, key, result.value);
        break;
    default:
        tell_present(out, false);
        break;
    }
}

static void tell_old(const struct sim *sim, const struct sim_op *op, uint32_t key,
                     const struct mf_result *result, struct linear_op *out)
{
    tell_present(out, result->kind == MF_RESULT_BYTES);
    out->tells_value = true;
    if (result->kind == MF_RESULT_BYTES)
        out->seen_value = seen_value(sim, op, key, result->value);
}

// The sum of an incrfloat of whole numbers is one.
static void tell_incrfloat(const struct sim *sim, const struct sim_op *op, uint32_t key,
                           const struct mf_result *result, struct linear_op *out)
{
    tell_present(out, result->kind == MF_RESULT_BYTES);
    if (result->kind == MF_RESULT_BYTES)
        out->value_after = seen_value(sim, op, key, result->value);
}

static void tell_incr(const struct mf_result *result, struct linear_op *out)
{
    tell_present(out, result->kind == MF_RESULT_INT);
    if (result->kind == MF_RESULT_INT)
        out->value_after = linear_integer(result->integer);
}

static void tell_txn(const struct sim *sim, const struct sim_op *op, uint32_t key, uint32_t place,
                     const struct mf_result *result, struct linear_op *out)
{
    if (result->kind == MF_RESULT_ERROR) {
        tell_present(out, false);
        return;
    }
    if (op->txn == SIM_TXN_MOVE || op->txn == SIM_TXN_COPY || op->txn == SIM_TXN_PATCH) {
        if (kind_of(op, place) == LINEAR_SET)
            tell_present(out, true);
        return;
    }
    struct mf_result step = element(sim, op, result, place);
    if (place == 1) {
        tell_incr(&step, out);
    } else if (result->integer != 0) {
        tell_present(out, true);
        out->version = step.version;
    } else {
        tell_old(sim, op, key, &step, out);
        tell_present(out, false);
    }
}

static void tell_write(const struct sim *sim, const struct sim_op *op, uint32_t key, uint32_t place,
                       struct linear_op *out)
{
    struct mf_result result = decode(sim, op, mf_buf_view(&op->answer));
    switch (op->opcode) {
    case MF_OP_INCR:
        tell_incr(&result, out);
        break;
    case MF_OP_INCRFLOAT:
        tell_incrfloat(sim, op, key, &result, out);
        break;
    case MF_OP_APPEND:
        tell_present(out, result.kind == MF_RESULT_INT);
        break;
    case MF_OP_GETDEL:
    case MF_OP_GETEX:
        tell_old(sim, op, key, &result, out);
        break;
    case MF_OP_TXN:
        tell_txn(sim, op, key, place, &result, out);
        break;
    case MF_OP_SET:
        tell_present(out, result.kind == MF_RESULT_WRITTEN && result.version != 0);
        out->version = result.version;
        out->tells_value = result.with_old;
        if (result.has_old)
            out->seen_value = seen_value(sim, op, key, result.value);
        break;
    case MF_OP_MSET:
        tell_present(out, (op->flags & MF_NX) == 0 || result.integer != 0);
        break;
    case MF_OP_DEL: // a count: it tells of each key only when it is none or all
        if (result.integer == 0 || result.integer == op->key_count)
            tell_present(out, result.integer != 0);
        break;
    case MF_OP_EXPIRE:
    case MF_OP_PERSIST:
        tell_present(out, result.integer != 0);
        break;
    default:
        break;
    }
}

static void add(const struct sim *sim, struct key_history *history, const struct sim_op *op,
                uint32_t key, uint32_t place)
{
    bool writes = sim_op_writes(op);
    bool happened = op->outcome == SIM_DONE || op->times_chosen > 0;
    if (!writes && op->outcome != SIM_DONE)
        return;
    if (op->outcome == SIM_REFUSED || (!happened && op->named))
        return;
    struct linear_op *out = &history->ops[history->count++];
    *out = (struct linear_op){.call_us = op->call_us,
                              .return_us = op->return_us,
                              .maybe = !happened,
                              .kind = kind_of(op, place),
                              .conditions = conditions_of(op),
                              .if_version = op->if_version,
                              .delta = op->delta,
                              .number = op->number};
    out->stretch = sim_clocks_stretch(sim, op->group, op->call_us, op->return_us);
    if (writes) {
        out->value = written_value(op, place);
        if (op->expiry != MF_EXPIRY_NONE && (out->conditions & LINEAR_DELETES) == 0) {
            set_death_window(sim, op, out);
        }
    }
    if (op->outcome != SIM_DONE)
        return;
    if (writes)
        tell_write(sim, op, key, place, out);
    else
        tell_read(sim, op, key, place, out);
}

// What led up to the operation that nothing explains, for people.
static void tell_story(const struct sim *sim, const struct key_history *history, size_t stuck,
                       char *out, size_t size)
{
    char text[SIM_TEXT_MAX];
    size_t first = stuck > 8 ? stuck - 8 : 0;
    out[0] = '\0';
    for (size_t i = first; i < history->count && i <= stuck + 4; i++) {
        const struct linear_op *at = &history->ops[i];
        const struct sim_op *op = sim->clients.ops[at->number - 1];
        size_t used = strlen(out);
        char until[32] = "without an answer";
        if (at->return_us != LINEAR_NEVER)
            snprintf(until, sizeof(until), "to %.6f", (double)(at->return_us - SIM_START_US) / 1e6);
        snprintf(out + used, size - used, "\n    %.6f %s: %s: %s, value %llu, ttl %llu us",
                 (double)(at->call_us - SIM_START_US) / 1e6, until,
                 sim_op_text(op, text, sizeof(text)),
                 at->hit == LINEAR_UNTOLD ? "?"
                 : at->hit == LINEAR_YES  ? "yes"
                                          : "no",
                 (unsigned long long)(at->tells_value ? at->seen_value / SIM_OP_KEYS_MAX : 0),
                 (unsigned long long)at->ttl_left_us);
    }
}

static void check_key(struct sim *sim, const struct key_history *history, uint32_t group,
                      uint32_t key)
{
    struct linear_result result = linear_check(history->ops, history->count, STEPS_MAX);
    if (result.verdict == LINEAR_UNDECIDED)
        sim->stats.undecided++;
    if (result.verdict != LINEAR_BROKEN)
        return;
    char story[STORY_MAX];
    tell_story(sim, history, result.stuck, story, sizeof(story));
    sim_fail(sim, "every key's history is linearizable, TTLs included",
             "group %u, key k%u: no order explains op %u:%s", group, key,
             history->ops[result.stuck].number, story);
}

// The writer of what a read of several keys found under one of them; 0: nothing was there.
static uint64_t writer_seen(const struct sim *sim, const struct sim_op *op, uint32_t key)
{
    uint32_t place;
    struct linear_op told = {0};
    touches(op, key, &place);
    tell_read(sim, op, key, place, &told);
    if (told.hit != LINEAR_YES)
        return 0;
    return told.tells_value ? told.seen_value / SIM_OP_KEYS_MAX : UINT64_MAX;
}

// A command on several keys of a group is one step: what is always written together is never read
// apart, by local reads either.
static void check_pairs(const struct sim *sim)
{
    char text[SIM_TEXT_MAX];
    for (uint32_t i = 0; i < sim->clients.count; i++) {
        const struct sim_op *op = sim->clients.ops[i];
        bool reads_several =
            op->opcode == MF_OP_MGET || op->opcode == MF_OP_HAS || op->opcode == MF_OP_TXN_READ;
        uint32_t place;
        if (op->outcome != SIM_DONE || !reads_several || !touches(op, 0, &place) ||
            !touches(op, 1, &place))
            continue;
        uint64_t first = writer_seen(sim, op, 0);
        uint64_t second = writer_seen(sim, op, 1);
        if (first != second)
            sim_fail(sim, "what is always written together is never read apart",
                     "%s found k0 of op %llu and k1 of op %llu (0: absent)",
                     sim_op_text(op, text, sizeof(text)), (unsigned long long)first,
                     (unsigned long long)second);
    }
}

void sim_history_check(struct sim *sim)
{
    if (sim->plan.pairs)
        check_pairs(sim);
    struct key_history history = {.ops = mf_calloc(sim->clients.count, sizeof(*history.ops))};
    for (uint32_t group = 0; group < sim->plan.group_count; group++) {
        for (uint32_t key = 0; key < sim->plan.key_count; key++) {
            history.count = 0;
            history.unclear = false;
            for (uint32_t i = 0; i < sim->clients.count; i++) {
                const struct sim_op *op = sim->clients.ops[i];
                uint32_t place;
                bool local = (op->flags & MF_READ_LOCAL) != 0;
                if (op->group != group || local || !touches(op, key, &place))
                    continue;
                history.unclear = history.unclear || op->id_forgotten;
                add(sim, &history, op, key, place);
            }
            if (!history.unclear)
                check_key(sim, &history, group, key);
        }
    }
    free(history.ops);
}
