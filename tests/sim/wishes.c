// Drawing operations and writing them down as commands; see wishes.h.
#include "wishes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/result.h"
#include "world.h"

#define MS UINT64_C(1000)

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

static void wish_set(struct sim *sim, struct sim_op *op)
{
    struct mf_rand *rand = &sim->clients.rand;
    op->opcode = MF_OP_SET;
    draw_keys(sim, op, 1);
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
    static const uint32_t conditions[] = {MF_NX, MF_XX, MF_GT, MF_LT};
    struct mf_rand *rand = &sim->clients.rand;
    op->opcode = MF_OP_EXPIRE;
    op->expiry = MF_EXPIRY_IN;
    draw_keys(sim, op, 1);
    op->expire_us = sim_chance(rand, 50) ? 0 : (int64_t)draw_ttl_us(sim);
    if (sim_chance(rand, sim->plan.condition_permille))
        op->flags |= conditions[mf_rand_below(rand, 4)];
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
    switch ((enum sim_wish)draw_wish(sim)) {
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
    if (!touches_pair(op) || (!writes && op->opcode != MF_OP_MGET && op->opcode != MF_OP_HAS))
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
    return op->has_id || op->opcode == MF_OP_SET || op->opcode == MF_OP_MSET || plain_del;
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
    uint32_t limit = sim->plan.value_bytes_max;
    size_t len = (size_t)snprintf(out, SIM_VALUE_MAX, "v%u.%u:", op->number, place);
    size_t full = len + (op->number * 7919u + place * 31u) % limit;
    memset(out + len, 'x', full - len);
    *value = mf_bytes_of(out, full);
}

void sim_op_command(const struct sim *sim, const struct sim_op *op, struct sim_command *out)
{
    struct mf_command *command = &out->command;
    *command = (struct mf_command){.op = op->opcode,
                                   .flags = op->flags,
                                   .expiry = op->expiry,
                                   .expire_us = op->expire_us,
                                   .if_version = op->if_version,
                                   .items = out->items,
                                   .item_count = op->key_count};
    for (uint32_t i = 0; i < op->key_count; i++) {
        int len = snprintf(out->keys[i], sizeof(out->keys[i]), "k%u", op->keys[i]);
        out->items[i] = (struct mf_item){.key = mf_bytes_of(out->keys[i], (size_t)len)};
        if (op->opcode == MF_OP_SET || op->opcode == MF_OP_MSET)
            put_value(sim, op, i, out->values[i], &out->items[i].value);
    }
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

uint32_t sim_op_number_of(const struct mf_command *command)
{
    if (command->id.len > 0)
        return number_after(command->id, "id");
    if (command->item_count == 0)
        return 0;
    if (command->op == MF_OP_SET || command->op == MF_OP_MSET)
        return number_after(command->items[0].value, "v");
    if (command->op == MF_OP_DEL)
        return number_after(command->items[command->item_count - 1].key, "n");
    return 0;
}

uint64_t sim_value_of(const struct sim_op *op, uint32_t place)
{
    return (uint64_t)op->number * SIM_OP_KEYS_MAX + place;
}

uint64_t sim_value_parse(struct mf_bytes bytes)
{
    uint32_t number = number_after(bytes, "v");
    const uint8_t *dot = memchr(bytes.data, '.', bytes.len);
    if (number == 0 || dot == NULL || dot + 1 == bytes.data + bytes.len)
        return 0;
    return (uint64_t)number * SIM_OP_KEYS_MAX + (uint64_t)(dot[1] - '0');
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
                 {MF_READ_LOCAL, " local"}};
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
