// Drawing operations and writing them down as commands; see wishes.h.
#include "wishes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/result.h"
#include "base/txn.h"
#include "linear.h"
#include "world.h"

#define MS UINT64_C(1000)
// Of values and answers: more than any run makes.
#define LIMIT (1u << 30)

static uint32_t draw_wish(struct sim *sim)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < SIM_WISHES; i++)
        total += sim->plan.wishes[i];
    uint64_t at = mf_rand_below(&sim->clients.rand, total);
    for (uint32_t i = 0; i < SIM_WISHES; i++) {
        if (at < sim->plan.wishes[i])
            return i;
        at -= sim->plan.wishes[i];
    }
    return SIM_WISH_GET;
}

static uint64_t draw_ttl_us(struct sim *sim)
{
    struct mf_rand *rand = &sim->clients.rand;
    if (sim_chance(rand, 50))
        return sim_between(rand, 1, 10) * 60 * 1000 * MS;
    return sim_between(rand, 1, sim->plan.ttl_ms_max) * MS;
}

static void draw_expiry(struct sim *sim, struct sim_op *op)
{
    struct mf_rand *rand = &sim->clients.rand;
    op->expiry = MF_EXPIRY_IN;
    op->expire_us = (int64_t)draw_ttl_us(sim);
    if (sim_chance(rand, sim->plan.expire_at_permille)) {
        op->expiry = MF_EXPIRY_AT;
        op->expire_us += (int64_t)sim_node_wall_us(&sim->nodes[0]);
    }
}

static void draw_keys(struct sim *sim, struct sim_op *op, uint32_t count_max)
{
    struct mf_rand *rand = &sim->clients.rand;
    uint32_t limit = count_max < sim->plan.key_count ? count_max : sim->plan.key_count;
    op->key_count = (uint32_t)sim_between(rand, 1, limit);
    uint32_t first = (uint32_t)mf_rand_below(rand, sim->plan.key_count);
    for (uint32_t i = 0; i < op->key_count; i++)
        op->keys[i] = (first + i) % sim->plan.key_count;
}

static void draw_if_version(struct sim *sim, struct sim_op *op)
{
    op->flags |= MF_IF_VERSION;
    op->if_version = sim->clients.version_seen[op->group][op->keys[0]];
    if (sim_chance(&sim->clients.rand, 200))
        op->if_version = 0;
}

// One key in most runs is for counting: sets leave it alone, mostly.
static uint32_t counter_of(const struct sim *sim)
{
    return sim->plan.key_count - 1;
}

static void leave_counter_alone(struct sim *sim, struct sim_op *op)
{
    if (op->keys[0] == counter_of(sim) && sim_chance(&sim->clients.rand, 800))
        op->keys[0] = 0;
}

static void wish_set(struct sim *sim, struct sim_op *op)
{
    struct mf_rand *rand = &sim->clients.rand;
    op->opcode = MF_OP_SET;
    draw_keys(sim, op, 1);
    leave_counter_alone(sim, op);
    if (sim_chance(rand, sim->plan.ttl_permille))
        draw_expiry(sim, op);
    else if (sim_chance(rand, 200))
        op->flags |= MF_KEEP_TTL;
    if (sim_chance(rand, 200))
        op->flags |= MF_WITH_OLD;
    if (!sim_chance(rand, sim->plan.condition_permille))
        return;
    switch (mf_rand_below(rand, 3)) {
    case 0:
        op->flags |= MF_NX;
        break;
    case 1:
        op->flags |= MF_XX;
        break;
    default:
        draw_if_version(sim, op);
        break;
    }
}

static void wish_expire(struct sim *sim, struct sim_op *op)
{
    static const uint32_t conditions[] = {MF_NX, MF_XX, MF_GT, MF_LT, MF_XX | MF_GT, MF_XX | MF_LT};
    struct mf_rand *rand = &sim->clients.rand;
    op->opcode = MF_OP_EXPIRE;
    op->expiry = MF_EXPIRY_IN;
    draw_keys(sim, op, 1);
    if (!sim_chance(rand, 50))
        draw_expiry(sim, op);
    if (sim_chance(rand, sim->plan.condition_permille))
        op->flags |= conditions[mf_rand_below(rand, 6)];
}

static void wish_incr(struct sim *sim, struct sim_op *op)
{
    struct mf_rand *rand = &sim->clients.rand;
    op->opcode = MF_OP_INCR;
    draw_keys(sim, op, 1);
    if (sim_chance(rand, 800))
        op->keys[0] = counter_of(sim);
    op->delta = (int64_t)sim_between(rand, 1, 20) - 10;
    if (sim_chance(rand, 300))
        op->opcode = MF_OP_INCRFLOAT;
    else if (sim_chance(rand, sim->plan.ttl_permille))
        draw_expiry(sim, op);
}

static void wish_getex(struct sim *sim, struct sim_op *op)
{
    op->opcode = MF_OP_GETEX;
    draw_keys(sim, op, 1);
    if (sim_chance(&sim->clients.rand, 300))
        op->flags |= MF_NO_TTL;
    else
        draw_expiry(sim, op);
}

static void wish_txn(struct sim *sim, struct sim_op *op)
{
    struct mf_rand *rand = &sim->clients.rand;
    op->opcode = MF_OP_TXN;
    op->txn = (enum sim_txn)mf_rand_below(rand, 6);
    bool both = op->txn == SIM_TXN_BOTH || op->txn == SIM_TXN_MOVE || op->txn == SIM_TXN_COPY;
    if (both && sim->plan.key_count == 1)
        op->txn = SIM_TXN_SWAP;
    draw_keys(sim, op, op->txn == SIM_TXN_LOOK ? SIM_OP_KEYS_MAX : 1);
    if (op->txn == SIM_TXN_LOOK) {
        op->opcode = MF_OP_TXN_READ;
    } else if (op->txn == SIM_TXN_SWAP) {
        draw_if_version(sim, op);
    } else {
        bool counts = op->txn == SIM_TXN_BOTH;
        op->key_count = op->txn == SIM_TXN_PATCH ? 1 : 2;
        op->keys[0] = (uint32_t)mf_rand_below(rand, counter_of(sim) + (both ? 0 : 1));
        op->keys[1] = sim_chance(rand, counts ? 700 : 100)
                          ? counter_of(sim)
                          : (op->keys[0] + 1) % sim->plan.key_count;
        op->delta = 1;
        if (counts && sim_chance(rand, 500))
            op->flags |= MF_GO_ON;
        if (!counts && sim_chance(rand, sim->plan.ttl_permille)) {
            // Not a Unix time, which may be past: what is dead at once is not there to be renamed.
            op->expiry = MF_EXPIRY_IN;
            op->expire_us = (int64_t)draw_ttl_us(sim);
        }
    }
}

static void wish_read(struct sim *sim, struct sim_op *op, enum mf_opcode opcode, uint32_t keys_max)
{
    op->opcode = opcode;
    draw_keys(sim, op, keys_max);
    if (sim_chance(&sim->clients.rand, sim->plan.local_permille))
        op->flags |= MF_READ_LOCAL;
}

static void draw_op(struct sim *sim, struct sim_op *op)
{
    enum sim_wish wish = (enum sim_wish)draw_wish(sim);
    switch (wish) {
    case SIM_WISH_GET_META:
        wish_read(sim, op, MF_OP_GET, 1);
        op->flags |= MF_WITH_META;
        break;
    case SIM_WISH_MGET:
        wish_read(sim, op, MF_OP_MGET, SIM_OP_KEYS_MAX);
        break;
    case SIM_WISH_HAS:
        wish_read(sim, op, MF_OP_HAS, SIM_OP_KEYS_MAX);
        break;
    case SIM_WISH_TTL:
        wish_read(sim, op, MF_OP_TTL, 1);
        break;
    case SIM_WISH_SIZE:
        op->opcode = MF_OP_SIZE;
        break;
    case SIM_WISH_SET:
        wish_set(sim, op);
        break;
    case SIM_WISH_MSET:
        op->opcode = MF_OP_MSET;
        draw_keys(sim, op, SIM_OP_KEYS_MAX);
        if (sim_chance(&sim->clients.rand, sim->plan.ttl_permille))
            draw_expiry(sim, op);
        if (sim_chance(&sim->clients.rand, sim->plan.condition_permille))
            op->flags |= MF_NX;
        break;
    case SIM_WISH_DEL:
        op->opcode = MF_OP_DEL;
        draw_keys(sim, op, SIM_OP_KEYS_MAX);
        if (op->key_count == 1 && sim_chance(&sim->clients.rand, sim->plan.condition_permille))
            draw_if_version(sim, op);
        break;
    case SIM_WISH_EXPIRE:
        wish_expire(sim, op);
        break;
    case SIM_WISH_PERSIST:
        op->opcode = MF_OP_PERSIST;
        draw_keys(sim, op, 1);
        break;
    case SIM_WISH_FLUSH:
        op->opcode = MF_OP_FLUSH;
        break;
    case SIM_WISH_INCR:
        wish_incr(sim, op);
        break;
    case SIM_WISH_APPEND:
    case SIM_WISH_GETDEL:
        op->opcode = wish == SIM_WISH_APPEND ? MF_OP_APPEND : MF_OP_GETDEL;
        draw_keys(sim, op, 1);
        break;
    case SIM_WISH_GETEX:
        wish_getex(sim, op);
        break;
    case SIM_WISH_TXN:
        wish_txn(sim, op);
        break;
    case SIM_WISH_GET:
    case SIM_WISHES:
        wish_read(sim, op, MF_OP_GET, 1);
        break;
    }
}

static bool touches_pair(const struct sim_op *op)
{
    for (uint32_t i = 0; i < op->key_count; i++) {
        if (op->keys[i] < 2)
            return true;
    }
    return false;
}

// Whoever writes one key of the pair writes both.
static void pair_up(struct sim_op *op)
{
    bool writes = sim_op_writes(op);
    bool reads_several =
        op->opcode == MF_OP_MGET || op->opcode == MF_OP_HAS || op->opcode == MF_OP_TXN_READ;
    if (!touches_pair(op) || (!writes && !reads_several))
        return;
    op->key_count = 2;
    op->keys[0] = 0;
    op->keys[1] = 1;
    if (!writes)
        return;
    op->flags = 0;
    if (op->opcode != MF_OP_DEL)
        op->opcode = MF_OP_MSET;
    if (op->expire_us <= 0)
        op->expiry = MF_EXPIRY_NONE;
}

// Can its command be told from every other in the log? See sim_op_number_of.
static bool is_named(const struct sim_op *op)
{
    bool plain_del = op->opcode == MF_OP_DEL && (op->flags & MF_IF_VERSION) == 0;
    bool brings_value = op->opcode == MF_OP_SET || op->opcode == MF_OP_MSET ||
                        op->opcode == MF_OP_APPEND || op->opcode == MF_OP_TXN;
    return op->has_id || brings_value || plain_del;
}

void sim_wish(struct sim *sim, struct sim_op *op)
{
    op->group = (uint32_t)mf_rand_below(&sim->clients.rand, sim->plan.group_count);
    draw_op(sim, op);
    if (sim->plan.pairs)
        pair_up(op);
    op->has_id = sim_op_writes(op) && sim_chance(&sim->clients.rand, sim->plan.id_permille);
    op->named = is_named(op);
}

void sim_wish_probe(struct sim *sim, struct sim_op *op, const struct sim_op *aim)
{
    static const enum mf_opcode looks[] = {MF_OP_GET, MF_OP_TTL, MF_OP_HAS, MF_OP_GET};
    op->group = aim->group;
    op->opcode = looks[mf_rand_below(&sim->clients.rand, 4)];
    if (op->opcode == MF_OP_GET && sim_chance(&sim->clients.rand, 300))
        op->flags |= MF_WITH_META;
    op->key_count = 1;
    op->keys[0] = aim->keys[mf_rand_below(&sim->clients.rand, aim->key_count)];
}

void sim_wish_final_write(struct sim *sim, struct sim_op *op, uint32_t group)
{
    op->group = group;
    op->opcode = MF_OP_SET;
    op->has_id = true;
    op->named = true;
    draw_keys(sim, op, 1);
    if (sim->plan.pairs)
        pair_up(op);
}

void sim_wish_final_read(struct sim *sim, struct sim_op *op, uint32_t group, uint32_t key)
{
    (void)sim;
    op->group = group;
    op->opcode = MF_OP_GET;
    op->key_count = 1;
    op->keys[0] = key;
}

void sim_wish_learn(struct sim *sim, const struct sim_op *op)
{
    struct mf_reader reader = mf_reader_of(mf_buf_view(&op->answer));
    struct mf_result result;
    if (mf_result_decode(&reader, &result) != MF_OK)
        sim_fail(sim, "an answer can be read", "op %u", op->number);
    if ((result.kind == MF_RESULT_WRITTEN || result.kind == MF_RESULT_META) && result.version != 0)
        sim->clients.version_seen[op->group][op->keys[0]] = result.version;
}

// A TTL that is due while the storm lasts is looked at just before, just after, and later.
void sim_wish_follow_up(struct sim *sim, const struct sim_op *op)
{
    struct mf_rand *rand = &sim->clients.rand;
    if (!sim->stormy)
        return;
    if (op->has_id && sim_chance(rand, sim->plan.echo_permille))
        sim_schedule(sim, sim->now_us + sim_between(rand, 1, 3000) * MS, SIM_ECHO, 0, op->number,
                     NULL);
    bool gives_ttl = op->key_count > 0 && op->expiry == MF_EXPIRY_IN && op->expire_us > 0;
    if (!gives_ttl || !sim_chance(rand, sim->plan.probe_permille))
        return;
    uint64_t due_us = op->call_us + (uint64_t)op->expire_us;
    uint64_t looks[] = {due_us - mf_rand_below(rand, 20 * MS),
                        due_us + mf_rand_below(rand, 30 * MS),
                        due_us + mf_rand_below(rand, 1500 * MS)};
    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
        if (looks[i] > sim->now_us)
            sim_schedule(sim, looks[i], SIM_PROBE, 0, op->number, NULL);
    }
}

static void put_value(const struct sim *sim, const struct sim_op *op, uint32_t place, char *out,
                      struct mf_bytes *value)
{
    // Pieces that pile up stay small.
    uint32_t limit = op->opcode == MF_OP_APPEND ? 1 : sim->plan.value_bytes_max;
    size_t len = (size_t)snprintf(out, SIM_VALUE_MAX, "v%u.%u:", op->number, place);
    size_t full = len + (op->number * 7919u + place * 31u) % limit;
    memset(out + len, 'x', full - len);
    *value = mf_bytes_of(out, full);
}

static void add_inner(struct mf_buf *body, const struct sim_op *op, enum mf_opcode opcode,
                      struct mf_item *items)
{
    bool both = opcode == MF_OP_RENAME || opcode == MF_OP_COPY;
    struct mf_command inner = {.op = opcode,
                               .number = (uint64_t)op->delta,
                               .limit = LIMIT,
                               .items = items,
                               .item_count = both ? 2 : 1};
    if (opcode == MF_OP_SET) {
        inner.expiry = op->expiry;
        inner.expire_us = op->expire_us;
    }
    mf_command_encode(&inner, body);
}

// The commands of `then`; returns how many.
static uint32_t put_then(const struct sim *sim, const struct sim_op *op, struct sim_command *out)
{
    struct mf_buf *body = &out->body;
    if (op->txn == SIM_TXN_LOOK) {
        for (uint32_t i = 0; i < op->key_count; i++)
            add_inner(body, op, MF_OP_GET, &out->items[i]);
        return op->key_count;
    }
    add_inner(body, op, MF_OP_SET, &out->items[0]);
    if (op->txn == SIM_TXN_SWAP)
        return 1;
    if (op->txn == SIM_TXN_PATCH) {
        struct mf_item piece = out->items[0];
        struct sim_op patch = *op;
        patch.delta = (int64_t)piece.value.len; // from where on
        put_value(sim, op, 1, out->values[1], &piece.value);
        add_inner(body, &patch, MF_OP_SETRANGE, &piece);
    } else if (op->txn == SIM_TXN_BOTH) {
        add_inner(body, op, MF_OP_INCR, &out->items[1]);
    } else {
        add_inner(body, op, op->txn == SIM_TXN_MOVE ? MF_OP_RENAME : MF_OP_COPY, out->items);
    }
    return 2;
}

// The items become those of the commands inside.
static void put_txn(const struct sim *sim, const struct sim_op *op, struct sim_command *out)
{
    struct mf_buf *body = &out->body;
    bool swap = op->txn == SIM_TXN_SWAP;
    size_t part = mf_txn_part_begin(body);
    struct mf_condition condition = {.subject = MF_SUBJECT_VERSION,
                                     .relation = MF_EQUAL,
                                     .key = out->items[0].key,
                                     .number = op->if_version};
    if (swap)
        mf_condition_encode(&condition, body);
    mf_txn_part_end(body, part, swap ? 1 : 0);
    part = mf_txn_part_begin(body);
    uint32_t count = put_then(sim, op, out);
    mf_txn_part_end(body, part, count);
    part = mf_txn_part_begin(body);
    if (swap)
        add_inner(body, op, MF_OP_GET, &out->items[0]);
    mf_txn_part_end(body, part, swap ? 1 : 0);
    out->command.item_count = 0;
    out->command.flags = op->flags & MF_GO_ON;
    out->command.expiry = MF_EXPIRY_NONE;
    out->command.body = mf_buf_view(body);
}

void sim_op_command(const struct sim *sim, const struct sim_op *op, struct sim_command *out)
{
    struct mf_command *command = &out->command;
    out->body = (struct mf_buf){0};
    *command = (struct mf_command){.op = op->opcode,
                                   .flags = op->flags,
                                   .number = (uint64_t)op->delta,
                                   .limit = LIMIT,
                                   .expiry = op->expiry,
                                   .expire_us = op->expire_us,
                                   .if_version = op->if_version,
                                   .items = out->items,
                                   .item_count = op->key_count};
    for (uint32_t i = 0; i < op->key_count; i++) {
        int len = snprintf(out->keys[i], sizeof(out->keys[i]), "k%u", op->keys[i]);
        out->items[i] = (struct mf_item){.key = mf_bytes_of(out->keys[i], (size_t)len)};
        if (op->opcode == MF_OP_SET || op->opcode == MF_OP_MSET || op->opcode == MF_OP_APPEND ||
            op->opcode == MF_OP_TXN)
            put_value(sim, op, i, out->values[i], &out->items[i].value);
        if (op->opcode == MF_OP_INCRFLOAT) {
            len = snprintf(out->values[i], SIM_VALUE_MAX, "%" PRId64 ".0", op->delta);
            out->items[i].value = mf_bytes_of(out->values[i], (size_t)len);
        }
    }
    if (op->opcode == MF_OP_TXN || op->opcode == MF_OP_TXN_READ)
        put_txn(sim, op, out);
    if (op->has_id) {
        int len = snprintf(out->id, sizeof(out->id), "id%u", op->number);
        command->id = mf_bytes_of(out->id, (size_t)len);
    } else if (op->opcode == MF_OP_DEL && op->named) {
        uint32_t i = command->item_count++;
        int len = snprintf(out->keys[i], sizeof(out->keys[i]), "n%u", op->number);
        out->items[i] = (struct mf_item){.key = mf_bytes_of(out->keys[i], (size_t)len)};
    }
}

static uint32_t number_after(struct mf_bytes bytes, const char *prefix)
{
    size_t skip = strlen(prefix);
    if (bytes.len <= skip || memcmp(bytes.data, prefix, skip) != 0)
        return 0;
    uint32_t number = 0;
    for (size_t i = skip; i < bytes.len && bytes.data[i] >= '0' && bytes.data[i] <= '9'; i++)
        number = number * 10 + (uint32_t)(bytes.data[i] - '0');
    return number;
}

// The first command of `then` names its writer.
static uint32_t number_of_txn(const struct mf_command *txn)
{
    struct mf_txn_reader reader;
    struct mf_command inner;
    uint32_t number = 0;
    if (mf_txn_open(&reader, txn->body, MF_TXN_THEN) == MF_OK &&
        mf_txn_next_command(&reader, &inner) == MF_OK)
        number = sim_op_number_of(&inner);
    mf_txn_close(&reader);
    return number;
}

uint32_t sim_op_number_of(const struct mf_command *command)
{
    if (command->id.len > 0)
        return number_after(command->id, "id");
    if (command->op == MF_OP_TXN)
        return number_of_txn(command);
    if (command->item_count == 0)
        return 0;
    if (command->op == MF_OP_SET || command->op == MF_OP_MSET || command->op == MF_OP_APPEND)
        return number_after(command->items[0].value, "v");
    if (command->op == MF_OP_DEL)
        return number_after(command->items[command->item_count - 1].key, "n");
    return 0;
}

uint64_t sim_value_of(const struct sim_op *op, uint32_t place)
{
    return (uint64_t)op->number * SIM_OP_KEYS_MAX + place;
}

// One value that a client has written, from the front; 0 when there is none.
static uint64_t take_piece(struct mf_bytes *bytes)
{
    uint32_t number = number_after(*bytes, "v");
    const uint8_t *dot = bytes->len > 0 ? memchr(bytes->data, '.', bytes->len) : NULL;
    if (number == 0 || dot == NULL || dot + 1 == bytes->data + bytes->len)
        return 0;
    const uint8_t *end = memchr(bytes->data + 1, 'v', bytes->len - 1);
    size_t len = end != NULL ? (size_t)(end - bytes->data) : bytes->len;
    *bytes = mf_bytes_of(bytes->data + len, bytes->len - len);
    return (uint64_t)number * SIM_OP_KEYS_MAX + (uint64_t)(dot[1] - '0');
}

static uint64_t take_integer(struct mf_bytes *bytes)
{
    char text[24] = "";
    size_t len = 0;
    while (len < bytes->len && len < sizeof(text) - 1 && bytes->data[len] != 'v') {
        text[len] = (char)bytes->data[len];
        len++;
    }
    *bytes = mf_bytes_of(bytes->data + len, bytes->len - len);
    return linear_integer(strtoll(text, NULL, 10));
}

uint64_t sim_value_parse(struct mf_bytes bytes, void (*writer)(void *arg, uint64_t value),
                         void *arg)
{
    bool integer = bytes.len > 0 && bytes.data[0] != 'v';
    uint64_t value = integer ? take_integer(&bytes) : 0;
    while (bytes.len > 0) {
        uint64_t piece = take_piece(&bytes);
        if (piece == 0)
            return 0;
        writer(arg, piece);
        value = value == 0 ? piece : linear_appended(value, piece);
    }
    return value;
}

static void append(char *out, size_t size, const char *text)
{
    size_t used = strlen(out);
    snprintf(out + used, size - used, "%s", text);
}

static void append_conditions(const struct sim_op *op, char *out, size_t size)
{
    static const struct {
        uint32_t flag;
        const char *text;
    } names[] = {{MF_NX, " nx"},
                 {MF_XX, " xx"},
                 {MF_GT, " gt"},
                 {MF_LT, " lt"},
                 {MF_KEEP_TTL, " keep-ttl"},
                 {MF_WITH_OLD, " get-old"},
                 {MF_WITH_META, " meta"},
                 {MF_READ_LOCAL, " local"},
                 {MF_NO_TTL, " no-ttl"},
                 {MF_GO_ON, " go-on"}};
    char text[64];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if ((op->flags & names[i].flag) != 0)
            append(out, size, names[i].text);
    }
    if ((op->flags & MF_IF_VERSION) != 0) {
        snprintf(text, sizeof(text), " if-version %" PRIu64, op->if_version);
        append(out, size, text);
    }
    if (op->expiry != MF_EXPIRY_NONE) {
        snprintf(text, sizeof(text), " %s %" PRId64 " us",
                 op->expiry == MF_EXPIRY_AT ? "expire-at" : "ttl", op->expire_us);
        append(out, size, text);
    }
}

const char *sim_op_text(const struct sim_op *op, char *out, size_t size)
{
    char text[64];
    snprintf(out, size, "op %u: %s group %u", op->number, mf_op_name(op->opcode), op->group);
    for (uint32_t i = 0; i < op->key_count; i++) {
        snprintf(text, sizeof(text), " k%u", op->keys[i]);
        append(out, size, text);
    }
    append_conditions(op, out, size);
    if (op->has_id)
        append(out, size, ", with an id");
    return out;
}
