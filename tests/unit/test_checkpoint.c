// The files of checkpoints: what is taken over, what is refused, what a start finds; and how much
// of a log stays below one.
#include "snapshot_fixture.h"

#include "consensus/paxos.h"
#include "server/checkpoint.h"
#include "server/checkpoint_room.h"

#define SHARDS 4u
#define SHARD 2u

struct fixture {
    struct mf_node *node;
    char received[MF_CHECKPOINT_PATH_BYTES];
    char path[MF_CHECKPOINT_PATH_BYTES];
    char message[512];
};

static void begin(struct fixture *fixture, void **state)
{
    *fixture = (struct fixture){.node = mf_calloc(1, sizeof(struct mf_node))};
    struct mf_node *node = fixture->node;
    snprintf(node->config.data_dir, sizeof(node->config.data_dir), "%s", (const char *)*state);
    snprintf(node->config.name, sizeof(node->config.name), "c");
    node->config.shards = SHARDS;
    node->config.durability = MF_DURABILITY_FSYNC;
    node->member_count = 1;
    node->replica_count = 1;
    node->checkpointer = mf_checkpointer_new(node);
    if (mf_checkpoint_prepare(node, fixture->message, sizeof(fixture->message)) != MF_OK)
        fail_msg("%s", fixture->message);
    snprintf(fixture->received, sizeof(fixture->received), "%s/received", (const char *)*state);
    mf_checkpoint_path(node, SHARD, fixture->path, sizeof(fixture->path));
}

static void end(struct fixture *fixture)
{
    mf_checkpointer_free(fixture->node->checkpointer);
    free(fixture->node);
}

static const struct mf_members members = {
    .slot = 3,
    .voter_count = 2,
    .learner_count = 1,
    .voters = {{.node = 1, .incarnation = 11}, {.node = 5, .incarnation = 55}},
    .learners = {{.node = 9, .incarnation = 99}},
};

// A file as another node would send it: one key, at this slot.
static void write_received(const struct fixture *fixture, const char *cluster, uint32_t shard,
                           uint64_t slot)
{
    struct mf_snapshot_info info = {.cluster = cluster, .shard_count = SHARDS};
    struct mf_shard_meta meta = {
        .applied = slot, .log_time_us = slot * 10, .version = 1, .keys = 1};
    struct mf_snapshot_writer *writer;
    char message[512];
    assert_int_equal(
        mf_snapshot_create(fixture->received, &info, &writer, message, sizeof(message)), MF_OK);
    assert_int_equal(mf_snapshot_begin_shard(writer, shard, &meta, 77), MF_OK);
    struct mf_buf carried = {0};
    mf_buf_u64(&carried, members.slot);
    mf_buf_u64(&carried, members.round);
    mf_members_encode(&members, &carried);
    mf_buf_u64(&carried, 6);
    mf_buf_put(&carried, "a roster", 8);
    mf_snapshot_set_members(writer, shard, mf_buf_view(&carried));
    mf_buf_free(&carried);
    char key[16];
    struct mf_record record = {.version = 1, .deadline_us = MF_NO_DEADLINE};
    for (int i = 0; record.key.len == 0 || mf_shard_of_key(record.key, SHARDS) != shard; i++) {
        snprintf(key, sizeof(key), "key%d", i);
        record.key = mf_bytes_str(key);
    }
    record.value = mf_bytes_str("value");
    assert_int_equal(mf_snapshot_put(writer, shard, &record), MF_OK);
    assert_int_equal(mf_snapshot_end_shard(writer, shard), MF_OK);
    assert_int_equal(mf_snapshot_commit(writer, NULL, message, sizeof(message)), MF_OK);
}

static enum mf_err adopt(struct fixture *fixture, struct mf_checkpoint_info *info)
{
    return mf_checkpoint_adopt(fixture->node, SHARD, fixture->received, info, fixture->message,
                               sizeof(fixture->message));
}

static void what_was_received_takes_its_place_and_is_what_a_start_finds(void **state)
{
    struct fixture fixture;
    begin(&fixture, state);
    struct mf_checkpoint_info info;
    assert_false(mf_checkpoint_info(fixture.node, SHARD, &info));
    write_received(&fixture, "c", SHARD, 40);
    assert_int_equal(adopt(&fixture, &info), MF_OK);
    assert_int_not_equal(access(fixture.received, F_OK), 0);
    assert_true(mf_checkpoint_info(fixture.node, SHARD, &info));
    assert_int_equal(info.slot, 40);
    assert_false(mf_checkpoint_info(fixture.node, SHARD + 1, &info));

    struct mf_shard *shard;
    struct mf_members found;
    assert_int_equal(mf_checkpoint_load(fixture.node, SHARD, &shard, &found, &info, fixture.message,
                                        sizeof(fixture.message)),
                     MF_OK);
    struct mf_shard_meta meta;
    mf_shard_meta(shard, &meta);
    assert_int_equal(meta.applied, 40);
    assert_int_equal(info.slot, 40);
    assert_int_equal(info.log_time_us, 400);
    assert_int_equal(info.wall_us, 77);
    assert_int_equal(found.slot, members.slot);
    assert_int_equal(found.voter_count, 2);
    assert_int_equal(found.voters[1].incarnation, 55);
    assert_int_equal(found.learners[0].node, 9);
    assert_int_equal(mf_shard_roster_version(shard), 6);
    assert_true(mf_bytes_equal(mf_shard_roster(shard), mf_bytes_str("a roster")));
    mf_shard_free(shard);
    assert_int_equal(mf_checkpoint_load(fixture.node, SHARD + 1, &shard, &found, &info,
                                        fixture.message, sizeof(fixture.message)),
                     MF_OK);
    assert_null(shard);
    end(&fixture);
}

static void an_older_one_never_replaces_a_newer_one(void **state)
{
    struct fixture fixture;
    begin(&fixture, state);
    struct mf_checkpoint_info info;
    write_received(&fixture, "c", SHARD, 40);
    assert_int_equal(adopt(&fixture, &info), MF_OK);
    for (uint64_t slot = 39; slot <= 40; slot++) {
        write_received(&fixture, "c", SHARD, slot);
        assert_int_equal(adopt(&fixture, &info), MF_AGAIN);
        assert_true(mf_checkpoint_info(fixture.node, SHARD, &info));
        assert_int_equal(info.slot, 40);
    }
    write_received(&fixture, "c", SHARD, 41);
    assert_int_equal(adopt(&fixture, &info), MF_OK);
    end(&fixture);
}

static void what_is_damaged_or_of_another_shard_is_refused(void **state)
{
    struct fixture fixture;
    begin(&fixture, state);
    struct mf_checkpoint_info info;
    write_received(&fixture, "other", SHARD, 40);
    assert_int_equal(adopt(&fixture, &info), MF_CORRUPT);
    assert_non_null(strstr(fixture.message, "another cluster"));
    write_received(&fixture, "c", SHARD + 1, 40);
    assert_int_equal(adopt(&fixture, &info), MF_CORRUPT);
    assert_non_null(strstr(fixture.message, "that shard"));
    write_received(&fixture, "c", SHARD, 40);
    size_t size;
    uint8_t *bytes = read_whole(fixture.received, &size);
    for (size_t at = 0; at < size; at++) {
        bytes[at] ^= 1;
        write_whole(fixture.received, bytes, size);
        bytes[at] ^= 1;
        assert_int_equal(adopt(&fixture, &info), MF_CORRUPT);
        assert_non_null(strstr(fixture.message, fixture.received));
    }
    assert_int_not_equal(access(fixture.path, F_OK), 0);
    assert_false(mf_checkpoint_info(fixture.node, SHARD, &info));

    // The same in its place, at a start: of a damaged file nothing is taken.
    for (size_t bit = 0; bit < 8 * size; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        write_whole(fixture.path, bytes, size);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct mf_shard *shard;
        struct mf_members found;
        assert_int_equal(mf_checkpoint_load(fixture.node, SHARD, &shard, &found, &info,
                                            fixture.message, sizeof(fixture.message)),
                         MF_CORRUPT);
        assert_null(shard);
        assert_non_null(strstr(fixture.message, fixture.path));
    }
    free(bytes);
    end(&fixture);
}

static void a_start_removes_what_was_not_finished_and_without_a_log_everything(void **state)
{
    struct fixture fixture;
    begin(&fixture, state);
    char unfinished[MF_CHECKPOINT_PATH_BYTES + 16];
    snprintf(unfinished, sizeof(unfinished), "%s.tmp-12", fixture.path);
    write_whole(unfinished, "half", 4);
    write_whole(fixture.path, "whole", 5);
    assert_int_equal(mf_checkpoint_prepare(fixture.node, fixture.message, sizeof(fixture.message)),
                     MF_OK);
    assert_int_not_equal(access(unfinished, F_OK), 0);
    assert_int_equal(access(fixture.path, F_OK), 0);
    fixture.node->config.durability = MF_DURABILITY_NONE;
    assert_int_equal(mf_checkpoint_prepare(fixture.node, fixture.message, sizeof(fixture.message)),
                     MF_OK);
    assert_int_not_equal(access(fixture.path, F_OK), 0);
    end(&fixture);
}

// A log of `count` entries of so many bytes, all chosen.
static struct mf_paxos *log_of(uint64_t count, size_t bytes)
{
    struct mf_paxos_config config = {.self = 1, .incarnation = 1};
    config.members = (struct mf_members){.voter_count = 1, .voters = {{1, 1}}};
    struct mf_paxos *paxos = mf_paxos_new(&config, 1, 0);
    uint8_t *payload = mf_calloc(1, bytes);
    for (uint64_t slot = 1; slot <= count; slot++)
        mf_paxos_restore_accept(paxos, slot, mf_ballot_make(1, 1), slot, MF_ENTRY_COMMANDS,
                                mf_bytes_of(payload, bytes));
    free(payload);
    mf_paxos_restore_chosen(paxos, count);
    mf_paxos_restore_done(paxos);
    return paxos;
}

static void a_tail_is_bounded_by_entries_and_by_bytes(void **state)
{
    (void)state;
    const struct {
        uint64_t entries;
        size_t bytes;
        uint64_t slot;
        uint64_t first;
    } cases[] = {
        {2000, 10, 2000, 2000 - 1023}, // 1024 entries
        {2000, 10, 1500, 1500 - 1023}, // what is above the checkpoint stays anyway
        {500, 10, 400, 1},             // all there is
        {100, 1 << 20, 90, 87},        // 4 MiB
        {10, 5 << 20, 9, 10},          // not even one
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_paxos *paxos = log_of(cases[i].entries, cases[i].bytes);
        assert_int_equal(mf_checkpoint_tail(paxos, cases[i].slot), cases[i].first);
        mf_paxos_free(paxos);
    }
}

static void a_checkpoint_is_worth_it_after_a_fixed_growth_or_half_of_the_shard(void **state)
{
    (void)state;
    assert_int_equal(mf_checkpoint_growth_max(1000, 0), 1000);
    assert_int_equal(mf_checkpoint_growth_max(1000, 2000), 1000);
    assert_int_equal(mf_checkpoint_growth_max(1000, 5000), 2500);
}

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static void a_disk_that_runs_low_is_worth_a_checkpoint_where_that_makes_room(void **state)
{
    (void)state;
    // One stream unless said otherwise, segments of 16 MiB: two of them are to be free.
    const struct {
        const char *what;
        struct mf_checkpoint_room room;
        enum mf_room judged;
    } cases[] = {
        {"a large disk", {100 * GIB, 10 * GIB, 1, 16 * MIB, GIB, GIB}, MF_ROOM_ENOUGH},
        {"room for two segments", {32 * MIB, 100 * MIB, 1, 16 * MIB, 0, 0}, MF_ROOM_ENOUGH},
        {"a byte less", {32 * MIB - 1, 100 * MIB, 1, 16 * MIB, 0, 0}, MF_ROOM_CUT},
        {"a full disk", {0, 100 * MIB, 1, 16 * MIB, 0, 0}, MF_ROOM_CUT},
        {"only the file in use", {0, 16 * MIB, 1, 16 * MIB, 0, 0}, MF_ROOM_LOW},
        {"and part of another", {0, 32 * MIB - 1, 1, 16 * MIB, 0, 0}, MF_ROOM_LOW},
        {"and another", {0, 32 * MIB, 1, 16 * MIB, 0, 0}, MF_ROOM_CUT},
        {"less log than files in use", {0, 16 * MIB, 4, 16 * MIB, 0, 0}, MF_ROOM_LOW},
        {"two for each of four", {128 * MIB - 1, 80 * MIB, 4, 16 * MIB, 0, 0}, MF_ROOM_CUT},
        {"four have enough", {128 * MIB, 80 * MIB, 4, 16 * MIB, 0, 0}, MF_ROOM_ENOUGH},
        // 32 MiB, 512 MiB for the largest, 128 MiB that the log grows by until it is worth it.
        {"large shards", {672 * MIB, GIB, 1, 16 * MIB, GIB, 512 * MIB}, MF_ROOM_ENOUGH},
        {"large shards, low", {671 * MIB, GIB, 1, 16 * MIB, GIB, 512 * MIB}, MF_ROOM_CUT},
        {"not worth it yet", {600 * MIB, 143 * MIB, 1, 16 * MIB, GIB, 512 * MIB}, MF_ROOM_LOW},
        {"worth it", {600 * MIB, 144 * MIB, 1, 16 * MIB, GIB, 512 * MIB}, MF_ROOM_CUT},
        {"others fill it", {0, 80 * MIB, 1, 16 * MIB, 100 * GIB, GIB}, MF_ROOM_LOW},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (mf_checkpoint_room_judge(&cases[i].room) != cases[i].judged)
            fail_msg("%s", cases[i].what);
    }
}

static void a_checkpoint_takes_no_more_than_its_shard_or_the_last_one_and_the_log(void **state)
{
    (void)state;
    assert_int_equal(mf_checkpoint_room_file(1000, 0, 10), 1000); // none is there
    assert_int_equal(mf_checkpoint_room_file(1000, 200, 300), 500);
    assert_int_equal(mf_checkpoint_room_file(1000, 200, 3000), 1000);
    assert_int_equal(mf_checkpoint_room_file(0, 200, 300), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_received_takes_its_place_and_is_what_a_start_finds),
        TEST(an_older_one_never_replaces_a_newer_one),
        TEST(what_is_damaged_or_of_another_shard_is_refused),
        TEST(a_start_removes_what_was_not_finished_and_without_a_log_everything),
        cmocka_unit_test(a_tail_is_bounded_by_entries_and_by_bytes),
        cmocka_unit_test(a_checkpoint_is_worth_it_after_a_fixed_growth_or_half_of_the_shard),
        cmocka_unit_test(a_disk_that_runs_low_is_worth_a_checkpoint_where_that_makes_room),
        cmocka_unit_test(a_checkpoint_takes_no_more_than_its_shard_or_the_last_one_and_the_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
