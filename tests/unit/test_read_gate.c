// Reads through the gate: only under a lease that still runs and a gate that is as it was when the
// value has been read, and only in a shard that stays.
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "server/read_gate.h"
#include "tests/unit/shard_fixture.h"

#define NOW_US UINT64_C(5000000)
#define READERS 3
#define READS_MIN 1000u

// What a read asks for, as the test wants it; a hook between reading the value and looking again.
struct world {
    uint64_t now_us;
    uint64_t until_us[4]; // by node
    uint64_t token[4];    // that they are held with
    unsigned looks;       // at the clock
    void (*on_second_look)(struct world *world);
    struct mf_read_gate *gates;
};

static uint64_t held_until(void *ctx, uint16_t node, uint64_t token)
{
    const struct world *world = ctx;
    return world->token[node] == token ? world->until_us[node] : 0;
}

static uint64_t mono_us(void *ctx)
{
    struct world *world = ctx;
    if (++world->looks == 2 && world->on_second_look != NULL)
        world->on_second_look(world);
    return world->now_us;
}

struct scene {
    struct fixture *f;
    struct mf_read_gate *gates;
    struct mf_read_gate_reader *reader;
    struct mf_read_gate_state state;
    struct world world;
    struct mf_buf out;
};

// Node 1 leads a shard of the voters 1, 2 and 3, all of which support it; its log time is now the
// fixture's.
static struct scene scene_new(void)
{
    struct scene s = {.f = fixture_new(),
                      .gates = mf_read_gates_new(1),
                      .reader = mf_read_gate_reader_new(1),
                      .world = {.now_us = NOW_US}};
    apply(s.f, set("key", "value"));
    apply(s.f, set_for("mortal", "value", 1000));
    s.state = (struct mf_read_gate_state){.ballot = 7,
                                          .log_offset_us = (int64_t)s.f->now_us - (int64_t)NOW_US,
                                          .shard = s.f->shard,
                                          .voter_count = 3};
    for (uint16_t node = 1; node <= 3; node++) {
        s.state.voters[node - 1] = (struct mf_read_gate_voter){node, 10u * node};
        s.world.token[node] = 10u * node;
        s.world.until_us[node] = NOW_US + 1;
    }
    s.world.gates = s.gates;
    mf_read_gate_publish(s.gates, &s.state);
    return s;
}

static void scene_free(struct scene *s)
{
    mf_buf_free(&s->out);
    mf_read_gate_reader_free(s->reader);
    mf_read_gates_free(s->gates);
    fixture_free(s->f);
}

static enum mf_err read_command(struct scene *s, struct mf_command command)
{
    command.items = command.item_count == 1 ? &command.one : NULL;
    const struct mf_read_gate_env env = {held_until, mono_us, &s->world};
    s->world.looks = 0;
    mf_buf_clear(&s->out, SIZE_MAX);
    enum mf_err err = mf_read_gate_read(s->gates, 0, s->reader, &env, &command, &s->out);
    assert_true(err == MF_OK || (err == MF_AGAIN && s->out.len == 0));
    return err;
}

static enum mf_err read_key(struct scene *s)
{
    enum mf_err err = read_command(s, one(MF_OP_GET, "key"));
    if (err == MF_OK)
        assert_true(mf_bytes_equal(decode_result(&s->out).value, mf_bytes_str("value")));
    return err;
}

static void a_leader_with_a_lease_lets_anybody_read(void **state)
{
    (void)state;
    struct scene s = scene_new();
    assert_true(mf_read_gate_open(s.gates));
    assert_int_equal(read_key(&s), MF_OK);
    assert_int_equal(read_command(&s, one(MF_OP_TTL, "mortal")), MF_OK);
    assert_int_equal(decode_result(&s.out).integer, 1);
    // Nobody here knows the wall clock at that log time.
    assert_int_equal(read_command(&s, one(MF_OP_DEADLINE, "mortal")), MF_AGAIN);
    mf_read_gate_publish(s.gates, &(struct mf_read_gate_state){0});
    assert_false(mf_read_gate_open(s.gates));
    assert_int_equal(read_key(&s), MF_AGAIN);
    scene_free(&s);
}

static void a_majority_makes_the_lease_and_less_does_not(void **state)
{
    (void)state;
    struct scene s = scene_new();
    for (unsigned held = 0; held < 8; held++) {
        for (uint16_t node = 1; node <= 3; node++)
            s.world.until_us[node] = (held >> (node - 1) & 1) != 0 ? NOW_US + 1 : NOW_US;
        bool majority = __builtin_popcount(held) >= 2;
        assert_int_equal(read_key(&s), majority ? MF_OK : MF_AGAIN);
    }
    // A grant whose token the voter's answer did not bring is none.
    for (uint16_t node = 1; node <= 3; node++)
        s.world.until_us[node] = NOW_US + 1;
    s.world.token[2] = s.world.token[3] = 99;
    assert_int_equal(read_key(&s), MF_AGAIN);
    // Nor is one from a voter that has not answered, whatever is held from it.
    s.world.token[2] = s.world.token[3] = 0;
    s.state.voters[1].token = s.state.voters[2].token = 0;
    mf_read_gate_publish(s.gates, &s.state);
    assert_int_equal(read_key(&s), MF_AGAIN);
    scene_free(&s);
}

static void lease_runs_out(struct world *world)
{
    world->now_us++;
}

static void gate_closes(struct world *world)
{
    mf_read_gate_publish(world->gates, &(struct mf_read_gate_state){0});
}

static void what_ends_while_the_value_is_read_makes_it_worthless(void **state)
{
    (void)state;
    struct scene s = scene_new();
    s.world.on_second_look = lease_runs_out;
    assert_int_equal(read_key(&s), MF_AGAIN);
    s.world.now_us = NOW_US;
    s.world.on_second_look = gate_closes;
    assert_int_equal(read_key(&s), MF_AGAIN);
    s.world.on_second_look = NULL;
    mf_read_gate_publish(s.gates, &s.state);
    assert_int_equal(read_key(&s), MF_OK);
    scene_free(&s);
}

static void what_the_owner_has_to_decide_is_left_to_it(void **state)
{
    (void)state;
    struct scene s = scene_new();
    assert_int_equal(read_command(&s, (struct mf_command){.op = MF_OP_SIZE}), MF_AGAIN);
    assert_int_equal(read_command(&s, with_flags(one(MF_OP_GET, "key"), MF_READ_LOCAL)), MF_AGAIN);
    assert_int_equal(read_command(&s, one(MF_OP_GET, "mortal")), MF_OK);
    // It is dead by the clock, and no entry has said so.
    s.world.now_us += 1000;
    for (uint16_t node = 1; node <= 3; node++)
        s.world.until_us[node] = s.world.now_us + 1;
    assert_int_equal(read_command(&s, one(MF_OP_GET, "mortal")), MF_AGAIN);
    assert_int_equal(read_key(&s), MF_OK);
    scene_free(&s);
}

static void a_gate_that_leads_to_another_shard_is_followed(void **state)
{
    (void)state;
    struct scene s = scene_new();
    assert_int_equal(read_key(&s), MF_OK);
    mf_read_gate_retire(s.gates, &s.reader, 1);
    assert_int_equal(read_key(&s), MF_AGAIN);
    fixture_free(s.f);
    s.f = fixture_new();
    apply(s.f, set("key", "value"));
    s.state.shard = s.f->shard;
    mf_read_gate_publish(s.gates, &s.state);
    assert_int_equal(read_key(&s), MF_OK);
    scene_free(&s);
}

// The owner applies entries, and now and then takes the shard away and puts another one there.
struct race {
    struct mf_read_gate *gates;
    struct mf_read_gate_reader *readers[READERS];
    atomic_bool stop;
    _Atomic unsigned done;
    _Atomic unsigned broken;
};

struct racer {
    struct race *race;
    size_t number;
};

static uint64_t held_for_good(void *ctx, uint16_t node, uint64_t token)
{
    (void)ctx;
    (void)node;
    (void)token;
    return UINT64_MAX;
}

static uint64_t no_time(void *ctx)
{
    (void)ctx;
    return NOW_US;
}

static void *read_all_the_time(void *arg)
{
    const struct racer *racer = arg;
    struct race *race = racer->race;
    const struct mf_read_gate_env env = {held_for_good, no_time, NULL};
    struct mf_item item = {.key = mf_bytes_str("key")};
    struct mf_command command = {.op = MF_OP_GET, .items = &item, .item_count = 1};
    struct mf_buf out = {0};
    unsigned answered = 0;
    while (!atomic_load(&race->stop)) {
        mf_buf_clear(&out, SIZE_MAX);
        if (mf_read_gate_read(race->gates, 0, race->readers[racer->number], &env, &command, &out) !=
            MF_OK)
            continue;
        struct mf_reader at = mf_reader_of(mf_buf_view(&out));
        struct mf_result result;
        if (mf_result_decode(&at, &result) != MF_OK ||
            !mf_bytes_equal(result.value, mf_bytes_str("value")))
            atomic_fetch_add(&race->broken, 1);
        if (++answered == READS_MIN)
            atomic_fetch_add(&race->done, 1);
    }
    mf_buf_free(&out);
    return NULL;
}

static void no_reader_is_in_a_shard_that_is_taken_away(void **state)
{
    (void)state;
    struct race race = {.gates = mf_read_gates_new(1)};
    struct racer racers[READERS];
    pthread_t threads[READERS];
    for (size_t i = 0; i < READERS; i++) {
        race.readers[i] = mf_read_gate_reader_new(1);
        racers[i] = (struct racer){&race, i};
        assert_int_equal(pthread_create(&threads[i], NULL, read_all_the_time, &racers[i]), 0);
    }
    for (unsigned round = 0; round < 100 || atomic_load(&race.done) < READERS; round++) {
        struct fixture *f = fixture_new();
        apply(f, set("key", "value"));
        struct mf_read_gate_state open = {.ballot = 1, .shard = f->shard, .voter_count = 1};
        open.voters[0] = (struct mf_read_gate_voter){1, 1};
        mf_read_gate_publish(race.gates, &open);
        for (unsigned i = 0; i < 50; i++) {
            apply(f, set("key", "value"));
            mf_shard_reclaim(f->shard);
        }
        sched_yield(); // let them in
        mf_read_gate_retire(race.gates, race.readers, READERS);
        fixture_free(f);
    }
    atomic_store(&race.stop, true);
    for (size_t i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        mf_read_gate_reader_free(race.readers[i]);
    }
    assert_int_equal(atomic_load(&race.broken), 0);
    mf_read_gates_free(race.gates);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_with_a_lease_lets_anybody_read),
        cmocka_unit_test(a_majority_makes_the_lease_and_less_does_not),
        cmocka_unit_test(what_ends_while_the_value_is_read_makes_it_worthless),
        cmocka_unit_test(what_the_owner_has_to_decide_is_left_to_it),
        cmocka_unit_test(a_gate_that_leads_to_another_shard_is_followed),
        cmocka_unit_test(no_reader_is_in_a_shard_that_is_taken_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
