// Random histories on two replicas and on a plain reference; all must agree at every entry.
//
// The replicas differ in what must not matter: hash seed, reads, walks, reclamation, and now and
// then one of them is replaced by a new one, loaded from a walk of the other. A walk must bring
// every record of its cut exactly once, as it was at the cut, whatever happens meanwhile.
//
// `test_shard_model STEPS` runs more seeds, `test_shard_model STEPS SEED` that many steps of one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/rand.h"
#include "shard_reference.h"
#include "shards/batch.h"
#include "shards/shard.h"

#define COMMANDS_MAX 6u
#define ITEMS_MAX 4u
#define STEPS_PER_SEED 10000u

static uint64_t steps_total = 200000;
static uint64_t only_seed;
static uint64_t steps_per_seed = STEPS_PER_SEED;

// A snapshot walk, checked against a copy of the reference from its beginning.
struct cut {
    bool running;
    struct ref *copy;
    struct mf_shard_meta meta;
    uint64_t seen;
    struct mf_shard *loading; // a new replica that the records go to, or NULL
    const char *wrong;        // what was, first
};

struct model {
    struct mf_rand rand;
    uint64_t seed;
    uint64_t steps;
    uint64_t index;
    struct mf_shard *replicas[2];
    struct ref *ref;
    struct cut cut; // of replica 0
    // The entry that is being built.
    struct mf_buf batch;
    struct mf_command commands[COMMANDS_MAX];
    uint32_t command_count;
    struct mf_buf expected[COMMANDS_MAX];
    // What a command's views point to.
    struct mf_item items[COMMANDS_MAX][ITEMS_MAX];
    char names[COMMANDS_MAX][ITEMS_MAX + 1][REF_NAME_MAX];
    uint8_t bytes[COMMANDS_MAX][ITEMS_MAX][REF_VALUE_MAX];
    struct mf_buf bodies[COMMANDS_MAX];   // of txns
    struct mf_buf compared[COMMANDS_MAX]; // of conditions on a value
};

static uint64_t below(struct model *m, uint64_t bound)
{
    return mf_rand_below(&m->rand, bound);
}

static void check(const struct model *m, bool good, const char *what)
{
    if (!good)
        fail_msg("%s: test_shard_model %llu %llu, after %llu steps", what,
                 (unsigned long long)steps_per_seed, (unsigned long long)m->seed,
                 (unsigned long long)m->steps);
}

static int64_t random_ttl(struct model *m)
{
    switch (below(m, 12)) {
    case 0:
        return 0;
    case 1:
        return -(int64_t)below(m, 1000);
    case 2:
        return MF_TTL_MS_MAX * 1000;
    case 3:
        return INT64_MAX;
    case 4:
        return INT64_MIN;
    case 5:
    case 6:
        return (int64_t)below(m, 100000000);
    default:
        return (int64_t)below(m, 2000);
    }
}

// Versions that conditions ask for: often the key's own.
static uint64_t random_version(struct model *m, const struct mf_command *c)
{
    const struct ref_slot *slot = &m->ref->keys[ref_number(c->items[0].key)];
    return below(m, 3) == 0 ? below(m, m->ref->version + 2) : slot->there ? slot->version : 0;
}

static void add_items(struct model *m, uint32_t n, struct mf_command *c, uint32_t count)
{
    // Few keys for a while, then many: the table grows, shrinks and is hit again.
    uint64_t range = m->steps / 3000 % 2 == 1 ? 20 : REF_KEYS;
    c->items = m->items[n];
    c->item_count = count;
    for (uint32_t i = 0; i < count; i++) {
        c->items[i].key = ref_name(below(m, range), m->names[n][i]);
        c->items[i].value = mf_bytes_of(NULL, 0);
        if (c->op == MF_OP_SET || c->op == MF_OP_MSET || c->op == MF_OP_APPEND ||
            c->op == MF_OP_SETRANGE || c->op == MF_OP_INCRFLOAT)
            c->items[i].value = ref_value(below(m, 100000), m->bytes[n][i]);
    }
}

// A condition on the value: often that it is what it is.
static void random_comparison(struct model *m, uint32_t n, struct mf_command *c)
{
    const struct ref_slot *slot = &m->ref->keys[ref_number(c->items[0].key)];
    c->flags |= below(m, 2) == 0 ? MF_IF_EQUAL : MF_IF_OTHER;
    struct mf_bytes value = below(m, 3) > 0 ? mf_buf_view(&slot->bytes) : mf_bytes_str("other");
    mf_buf_clear(&m->compared[n], SIZE_MAX);
    mf_buf_put(&m->compared[n], value.data, value.len);
    c->body = mf_buf_view(&m->compared[n]);
}

static void random_set(struct model *m, uint32_t n, struct mf_command *c)
{
    static const uint32_t flags[] = {0, 0, 0, MF_NX, MF_XX, MF_WITH_OLD, MF_WITH_OLD | MF_NX};
    c->op = MF_OP_SET;
    c->flags = flags[below(m, 7)];
    add_items(m, n, c, 1);
    uint64_t dice = below(m, 4);
    if (dice == 0) {
        c->flags |= MF_KEEP_TTL;
    } else if (dice < 3) {
        c->expiry = MF_EXPIRY_IN;
        c->expire_us = random_ttl(m);
    }
    if (below(m, 5) == 0) {
        c->flags |= MF_IF_VERSION;
        c->if_version = random_version(m, c);
    } else if (below(m, 5) == 0) {
        random_comparison(m, n, c);
    }
}

static void random_mset(struct model *m, uint32_t n, struct mf_command *c)
{
    c->op = MF_OP_MSET;
    c->flags = below(m, 3) == 0 ? MF_NX : 0;
    add_items(m, n, c, (uint32_t)below(m, ITEMS_MAX + 1));
    if (below(m, 2) == 0) {
        c->expiry = MF_EXPIRY_IN;
        c->expire_us = random_ttl(m);
    }
}

static void random_del(struct model *m, uint32_t n, struct mf_command *c)
{
    c->op = MF_OP_DEL;
    add_items(m, n, c, (uint32_t)below(m, ITEMS_MAX + 1));
    if (c->item_count == 1 && below(m, 2) == 0) {
        c->flags |= MF_IF_VERSION;
        c->if_version = random_version(m, c);
    } else if (c->item_count == 1 && below(m, 2) == 0) {
        random_comparison(m, n, c);
    }
}

// What a leader would have chosen: most of it as it still is.
static void random_evict(struct model *m, uint32_t n, struct mf_command *c)
{
    c->op = MF_OP_EVICT;
    add_items(m, n, c, (uint32_t)below(m, ITEMS_MAX + 1));
    for (uint32_t i = 0; i < c->item_count; i++) {
        const struct ref_slot *slot = &m->ref->keys[ref_number(c->items[i].key)];
        uint64_t version = below(m, 4) == 0 ? below(m, m->ref->version + 2) : slot->version;
        memcpy(m->bytes[n][i], &version, sizeof(version));
        c->items[i].value = mf_bytes_of(m->bytes[n][i], sizeof(version));
    }
}

static void random_expire(struct model *m, uint32_t n, struct mf_command *c)
{
    static const uint32_t flags[] = {0,     0,     MF_NX,         MF_XX,
                                     MF_GT, MF_LT, MF_XX | MF_GT, MF_XX | MF_LT};
    c->op = MF_OP_EXPIRE;
    c->flags = flags[below(m, 8)];
    c->expiry = MF_EXPIRY_IN;
    c->expire_us = random_ttl(m);
    add_items(m, n, c, 1);
}

static void random_read(struct model *m, uint32_t n, struct mf_command *c)
{
    static const enum mf_opcode reads[] = {MF_OP_GET,      MF_OP_MGET,    MF_OP_HAS,
                                           MF_OP_TTL,      MF_OP_SIZE,    MF_OP_STRLEN,
                                           MF_OP_GETRANGE, MF_OP_DEADLINE};
    c->op = reads[below(m, 8)];
    if (c->op == MF_OP_DEADLINE) {
        c->expiry = MF_EXPIRY_IN;
        c->expire_us = -(int64_t)below(m, 5000000);
    }
    if (c->op == MF_OP_GETRANGE) {
        c->number = below(m, 160) - 80;
        c->last = (int64_t)below(m, 160) - 80;
    }
    if (c->op == MF_OP_GET && below(m, 2) == 0)
        c->flags |= MF_WITH_META;
    if (c->op == MF_OP_MGET || c->op == MF_OP_HAS)
        add_items(m, n, c, (uint32_t)below(m, ITEMS_MAX + 1));
    else if (c->op != MF_OP_SIZE)
        add_items(m, n, c, 1);
}

static void random_value_command(struct model *m, uint32_t n, struct mf_command *c)
{
    static const enum mf_opcode ops[] = {
        MF_OP_INCR,     MF_OP_INCR,   MF_OP_APPEND, MF_OP_GETDEL,    MF_OP_GETEX,
        MF_OP_SETRANGE, MF_OP_RENAME, MF_OP_COPY,   MF_OP_INCRFLOAT, MF_OP_SETBIT};
    c->op = ops[below(m, 10)];
    bool both = c->op == MF_OP_RENAME || c->op == MF_OP_COPY;
    add_items(m, n, c, both ? 2 : 1);
    if (both)
        c->flags = below(m, 3) == 0 ? MF_NX : 0;
    bool may_expire = c->op == MF_OP_INCR || c->op == MF_OP_GETEX;
    if (may_expire && below(m, 2) == 0) {
        c->expiry = MF_EXPIRY_IN;
        c->expire_us = random_ttl(m);
    } else if (c->op == MF_OP_GETEX && below(m, 2) == 0) {
        c->flags = MF_NO_TTL;
    }
    if (c->op == MF_OP_INCR) {
        c->number = below(m, 30) == 0 ? mf_rand_next(&m->rand) : below(m, 2000) - 1000;
        c->limit = below(m, 20) == 0 ? 2 : 100;
    } else if (c->op == MF_OP_APPEND) {
        c->limit = below(m, 3) == 0 ? 40 : REF_VALUE_MAX;
    } else if (c->op == MF_OP_INCRFLOAT) {
        static const char *const deltas[] = {"0.1", "-0.25", "1e3", "5", "x"};
        if (below(m, 4) > 0)
            c->items[0].value = mf_bytes_str(deltas[below(m, 5)]);
        c->limit = below(m, 20) == 0 ? 4 : 100;
    } else if (c->op == MF_OP_SETBIT) {
        c->number = below(m, 40) == 0 ? mf_rand_next(&m->rand) >> below(m, 64) : below(m, 1000);
        c->limit = below(m, 3) == 0 ? 40 : REF_VALUE_MAX;
    } else if (c->op == MF_OP_SETRANGE) {
        c->number = below(m, 40) == 0 ? mf_rand_next(&m->rand) >> below(m, 64) : below(m, 80);
        c->limit = below(m, 3) == 0 ? 40 : REF_VALUE_MAX;
    }
}

// What may stand in a txn.
static void random_inner(struct model *m, uint32_t n, struct mf_command *c)
{
    *c = (struct mf_command){0};
    uint64_t dice = below(m, 10);
    if (dice < 4) {
        random_value_command(m, n, c);
    } else if (dice < 6) {
        random_set(m, n, c);
    } else if (dice == 6) {
        random_mset(m, n, c);
    } else if (dice == 7) {
        random_del(m, n, c);
    } else if (dice == 8) {
        random_expire(m, n, c);
    } else {
        do
            random_read(m, n, c);
        while (c->op == MF_OP_SIZE);
    }
}

static void random_condition(struct model *m, uint32_t n, struct mf_condition *condition)
{
    struct mf_command c = {.op = MF_OP_SET};
    add_items(m, n, &c, 1);
    *condition = (struct mf_condition){.subject = (enum mf_subject)(1 + below(m, 3)),
                                       .relation = (enum mf_relation)(1 + below(m, 2)),
                                       .key = c.items[0].key};
    if (condition->subject == MF_SUBJECT_EXISTS)
        condition->number = below(m, 2);
    else if (condition->subject == MF_SUBJECT_VERSION)
        condition->number = random_version(m, &c);
    else
        condition->value = c.items[0].value;
    if (condition->subject != MF_SUBJECT_EXISTS && below(m, 2) == 0)
        condition->relation = below(m, 2) == 0 ? MF_LESS : MF_GREATER;
}

static void random_txn(struct model *m, uint32_t n, struct mf_command *c)
{
    struct mf_buf *body = &m->bodies[n];
    mf_buf_clear(body, SIZE_MAX);
    uint32_t count = (uint32_t)below(m, 3);
    size_t part = mf_txn_part_begin(body);
    for (uint32_t i = 0; i < count; i++) {
        struct mf_condition condition;
        random_condition(m, n, &condition);
        mf_condition_encode(&condition, body);
    }
    mf_txn_part_end(body, part, count);
    for (int branch = 0; branch < 2; branch++) {
        count = (uint32_t)below(m, 5);
        part = mf_txn_part_begin(body);
        for (uint32_t i = 0; i < count; i++) {
            struct mf_command inner;
            random_inner(m, n, &inner);
            mf_command_encode(&inner, body);
        }
        mf_txn_part_end(body, part, count);
    }
    *c = (struct mf_command){.op = MF_OP_TXN, .limit = 1u << 20, .body = mf_buf_view(body)};
    if (below(m, 2) == 0)
        c->flags = MF_GO_ON;
}

static void random_command(struct model *m, uint32_t n)
{
    struct mf_command *c = &m->commands[n];
    *c = (struct mf_command){0};
    uint64_t dice = below(m, 1000);
    // Most of what would be set is deleted for a while.
    bool drain = m->steps / 1000 % 3 == 2;
    if (below(m, 5) == 0) {
        if (below(m, 3) == 0)
            random_txn(m, n, c);
        else
            random_value_command(m, n, c);
    } else if (dice < (drain ? 50 : 400)) {
        random_set(m, n, c);
    } else if (dice < (drain ? 60 : 480)) {
        random_mset(m, n, c);
    } else if (dice < 620) {
        random_del(m, n, c);
    } else if (dice < 760) {
        random_expire(m, n, c);
    } else if (dice < 820) {
        c->op = MF_OP_PERSIST;
        add_items(m, n, c, 1);
    } else if (dice < 870) {
        c->op = MF_OP_EXPIRE_DUE;
        c->limit = (uint32_t)below(m, 8);
    } else if (dice < 900) {
        random_evict(m, n, c);
    } else if (dice < 996) {
        random_read(m, n, c);
    } else {
        c->op = MF_OP_FLUSH;
    }
    bool own = c->op == MF_OP_EXPIRE_DUE || c->op == MF_OP_EVICT;
    if (mf_op_is_write(c->op) && !own && below(m, 4) == 0)
        c->id = ref_name(below(m, REF_IDS / 16) * 16 + below(m, 3), m->names[n][ITEMS_MAX]);
}

static void check_done(void *arg, uint32_t n, struct mf_bytes result)
{
    struct model *m = arg;
    check(m, n < m->command_count && mf_bytes_equal(result, mf_buf_view(&m->expected[n])),
          "a result differs from the reference's");
}

// Time mostly creeps, and sometimes jumps far enough for ids to go.
static uint64_t time_passes(struct model *m)
{
    switch (below(m, 40)) {
    case 0:
        return below(m, 200000000);
    case 1:
    case 2:
        return below(m, 20000);
    case 3:
    case 4:
    case 5:
        return 0;
    default:
        return below(m, 100);
    }
}

static void apply_entry(struct model *m)
{
    m->command_count = (uint32_t)below(m, COMMANDS_MAX + 1);
    uint64_t passes_us = time_passes(m);
    if (passes_us < UINT64_MAX - 1 - m->ref->now_us)
        m->ref->now_us += passes_us;
    mf_buf_clear(&m->batch, SIZE_MAX);
    mf_batch_begin(&m->batch, m->steps);
    for (uint32_t n = 0; n < m->command_count; n++) {
        random_command(m, n);
        mf_batch_add(&m->batch, &m->commands[n]);
        mf_buf_clear(&m->expected[n], SIZE_MAX);
        ref_apply(m->ref, &m->commands[n], &m->expected[n]);
    }
    m->index++;
    for (int i = 0; i < 2; i++) {
        enum mf_err err = mf_shard_apply(m->replicas[i], m->index, m->ref->now_us,
                                         mf_buf_view(&m->batch), check_done, m);
        check(m, err == MF_OK, "an entry was refused");
    }
    m->steps += m->command_count;
}

static void read_somewhere(struct model *m, struct mf_shard *shard)
{
    struct mf_command c = {0};
    struct mf_buf expected = {0};
    struct mf_buf got = {0};
    random_read(m, 0, &c);
    if (below(m, 4) == 0)
        c.flags |= MF_READ_LOCAL;
    uint64_t ahead_us = below(m, 3) == 0 ? 0 : below(m, 1000);
    uint64_t room_us = UINT64_MAX - 1 - m->ref->now_us;
    uint64_t now_us = m->ref->now_us + (ahead_us < room_us ? ahead_us : room_us);
    bool answered = ref_read(m->ref, &c, now_us, &expected);
    mf_buf_u8(&got, 0x55); // what was there stays
    enum mf_err err = mf_shard_read(shard, &c, now_us, &got);
    check(m, err == (answered ? MF_OK : MF_AGAIN),
          "a read waits, or does not, unlike the reference");
    check(m, answered || got.len == 1, "a read that must wait left something behind");
    struct mf_bytes answer = mf_bytes_of(got.data + 1, got.len - 1);
    check(m, !answered || mf_bytes_equal(answer, mf_buf_view(&expected)),
          "a read differs from the reference's");
    mf_buf_free(&got);
    mf_buf_free(&expected);
}

static void take_record(void *arg, const struct mf_record *record)
{
    struct cut *cut = arg;
    size_t n = ref_number(record->key);
    struct ref_slot *slot = record->is_id ? &cut->copy->ids[n] : &cut->copy->keys[n];
    if (!slot->there) {
        cut->wrong = "a walk brought a record twice, or one that is not of its cut";
        return;
    }
    if (!mf_bytes_equal(record->value, mf_buf_view(&slot->bytes)) ||
        record->version != slot->version || record->deadline_us != slot->deadline_us)
        cut->wrong = "a walk brought a record that is not as it was at the cut";
    slot->there = false;
    cut->seen++;
    if (cut->loading != NULL && mf_shard_load(cut->loading, record) != MF_OK)
        cut->wrong = "a record of a walk could not be loaded";
}

static void begin_walk(struct model *m)
{
    struct cut *cut = &m->cut;
    *cut = (struct cut){.running = true, .copy = ref_copy(m->ref)};
    if (below(m, 2) == 0) {
        cut->loading = mf_shard_new(1, mf_rand_next(&m->rand));
        mf_shard_load_begin(cut->loading);
    }
    enum mf_err err = mf_shard_walk_begin(m->replicas[0], &cut->meta, take_record, cut);
    check(m, err == MF_OK, "a walk could not begin");
}

static void forget_cut(struct cut *cut)
{
    ref_free(cut->copy);
    free(cut->copy);
    cut->running = false;
}

static void end_walk(struct model *m)
{
    struct cut *cut = &m->cut;
    check(m, cut->wrong == NULL, cut->wrong);
    check(m, cut->seen == cut->meta.keys + cut->meta.ids, "a walk missed records of its cut");
    if (cut->loading != NULL) {
        enum mf_err err = mf_shard_load_end(cut->loading, &cut->meta);
        check(m, err == MF_OK && mf_shard_valid(cut->loading), "a walk could not be loaded");
        // Loaded before the next entry it is the other replica's equal and takes its place.
        if (cut->meta.applied == m->index) {
            mf_shard_free(m->replicas[1]);
            m->replicas[1] = cut->loading;
        } else {
            mf_shard_free(cut->loading);
        }
    }
    forget_cut(cut);
}

static void abandon_walk(struct model *m)
{
    mf_shard_walk_end(m->replicas[0]);
    mf_shard_free(m->cut.loading);
    forget_cut(&m->cut);
}

static void walk_a_little(struct model *m)
{
    if (!m->cut.running) {
        if (below(m, 20) != 0)
            return;
        begin_walk(m);
        if (below(m, 2) == 0)
            return;
        while (mf_shard_walk_step(m->replicas[0], below(m, 50)))
            continue;
        end_walk(m);
        return;
    }
    check(m, m->cut.wrong == NULL, m->cut.wrong);
    if (below(m, 200) == 0)
        abandon_walk(m);
    else if (!mf_shard_walk_step(m->replicas[0], below(m, 30) == 0 ? SIZE_MAX : below(m, 20)))
        end_walk(m);
}

static void compare_replicas(struct model *m)
{
    struct mf_shard_meta a;
    struct mf_shard_meta b;
    mf_shard_meta(m->replicas[0], &a);
    mf_shard_meta(m->replicas[1], &b);
    check(m, mf_shard_state_hash(m->replicas[0]) == mf_shard_state_hash(m->replicas[1]),
          "the replicas' states differ");
    check(m, a.rolling_hash == b.rolling_hash, "the replicas' rolling hashes differ");
    check(m, a.version == m->ref->version && a.log_time_us == m->ref->now_us,
          "version or log time differ from the reference's");
    uint64_t first_us = REF_NEVER;
    uint64_t keys = 0;
    for (size_t i = 0; i < REF_KEYS + REF_IDS; i++) {
        const struct ref_slot *slot = i < REF_KEYS ? &m->ref->keys[i] : &m->ref->ids[i - REF_KEYS];
        keys += i < REF_KEYS && slot->there;
        if (slot->there && slot->deadline_us < first_us)
            first_us = slot->deadline_us;
    }
    check(m, mf_shard_next_deadline(m->replicas[0]) == first_us, "the next deadline differs");
    check(m, mf_shard_keys(m->replicas[1]) == keys, "the number of keys differs");
}

static void run_seed(uint64_t seed)
{
    struct model *m = mf_calloc(1, sizeof(*m));
    m->seed = seed;
    m->rand.state = seed;
    m->ref = mf_calloc(1, sizeof(*m->ref));
    // Some groups are old enough for their deadlines to reach the end of time.
    m->ref->now_us = seed % 5 == 4 ? UINT64_MAX - 100000000000 : 1;
    m->replicas[0] = mf_shard_new(1, mf_rand_next(&m->rand));
    m->replicas[1] = mf_shard_new(1, mf_rand_next(&m->rand));
    while (m->steps < steps_per_seed) {
        apply_entry(m);
        compare_replicas(m);
        for (uint64_t reads = below(m, 3); reads > 0; reads--)
            read_somewhere(m, m->replicas[below(m, 2)]);
        walk_a_little(m);
        if (below(m, 4) == 0)
            mf_shard_reclaim(m->replicas[0]);
        if (below(m, 30) == 0)
            check(m, mf_shard_valid(m->replicas[0]) && mf_shard_valid(m->replicas[1]),
                  "a replica is not valid");
    }
    if (m->cut.running)
        abandon_walk(m);
    mf_shard_free(m->replicas[0]);
    mf_shard_free(m->replicas[1]);
    ref_free(m->ref);
    free(m->ref);
    mf_buf_free(&m->batch);
    for (size_t n = 0; n < COMMANDS_MAX; n++) {
        mf_buf_free(&m->expected[n]);
        mf_buf_free(&m->bodies[n]);
        mf_buf_free(&m->compared[n]);
    }
    free(m);
}

static void replicas_and_reference_agree_on_any_history(void **state)
{
    (void)state;
    if (only_seed != 0) {
        steps_per_seed = steps_total;
        run_seed(only_seed);
        return;
    }
    for (uint64_t seed = 1; seed <= steps_total / STEPS_PER_SEED; seed++)
        run_seed(seed);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        steps_total = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        only_seed = strtoull(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_and_reference_agree_on_any_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
