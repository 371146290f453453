// A living shard into a snapshot file and back: the cut is one log position, whatever is applied
// while it is taken, and a shard loaded from it goes on as its replicas do.
#include "snapshot_fixture.h"

#include "shards/batch.h"
#include "shards/shard.h"

// Sets with and without TTL and id, and deletes, on few keys so that they meet again.
static void put_command(struct mf_buf *batch, struct mf_rand *rand)
{
    char key[32];
    char value[200];
    uint64_t dice = mf_rand_next(rand);
    snprintf(key, sizeof(key), "key:%llu", (unsigned long long)(dice % 700));
    memset(value, (int)(dice % 26) + 'a', sizeof(value));
    struct mf_command command = {.op = dice % 5 == 0 ? MF_OP_DEL : MF_OP_SET};
    command.one.key = mf_bytes_str(key);
    command.items = &command.one;
    command.item_count = 1;
    if (command.op == MF_OP_SET) {
        command.one.value = mf_bytes_of(value, (size_t)(dice / 1000 % sizeof(value)));
        command.expiry = dice % 3 == 0 ? MF_EXPIRY_IN : MF_EXPIRY_NONE;
        command.expire_us = dice % 3 == 0 ? (int64_t)(1 + dice / 7 % 100000) : 0;
    }
    if (dice % 11 == 0)
        command.id = mf_bytes_of(&dice, sizeof(dice));
    mf_batch_add(batch, &command);
}

// Applies the log entry `index`, the same to every shard that it is given to.
static void apply(struct mf_shard *shard, uint64_t index)
{
    struct mf_rand rand = {index};
    struct mf_buf batch = {0};
    mf_batch_begin(&batch, index);
    const struct mf_command seed = {.op = MF_OP_SEED, .number = 4711};
    if (index == 5)
        mf_batch_add(&batch, &seed);
    for (int i = 0; i < 5; i++)
        put_command(&batch, &rand);
    assert_int_equal(mf_shard_apply(shard, index, index * 100, mf_buf_view(&batch), NULL, NULL),
                     MF_OK);
    mf_buf_free(&batch);
}

static void apply_range(struct mf_shard *shard, uint64_t first, uint64_t last)
{
    for (uint64_t index = first; index <= last; index++)
        apply(shard, index);
}

static void put_in_file(void *writer, const struct mf_record *record)
{
    assert_int_equal(mf_snapshot_put(writer, 0, record), MF_OK);
}

static void a_cut_taken_under_writes_loads_as_the_shard_was_and_goes_on_alike(void **state)
{
    const char *path = path_in(state, "cut.mfs");
    struct mf_shard *living = mf_shard_new(0, 1);
    struct mf_shard *at_cut = mf_shard_new(0, 2);
    struct mf_shard *loaded = mf_shard_new(0, 3);
    apply_range(living, 1, 600);
    apply_range(at_cut, 1, 600);

    struct mf_snapshot_writer *writer = create(path, 1);
    struct mf_shard_meta meta;
    assert_int_equal(mf_shard_walk_begin(living, &meta, put_in_file, writer), MF_OK);
    assert_true(meta.keys > 100 && meta.ids > 100 && meta.hash_seed == 4711);
    assert_int_equal(mf_snapshot_begin_shard(writer, 0, &meta, 1700000000000000), MF_OK);
    uint64_t index = 600;
    do
        apply(living, ++index);
    while (mf_shard_walk_step(living, 7));
    assert_true(index > 620);
    assert_int_equal(mf_snapshot_end_shard(writer, 0), MF_OK);
    commit(writer);

    struct mf_snapshot_reader *reader = open_sound(path);
    char message[512];
    assert_int_equal(mf_snapshot_load(reader, 0, loaded, message, sizeof(message)), MF_OK);
    mf_snapshot_close(reader);
    assert_true(mf_shard_valid(loaded));
    assert_int_equal(mf_shard_state_hash(loaded), mf_shard_state_hash(at_cut));
    assert_int_equal(mf_shard_rolling_hash(loaded), mf_shard_rolling_hash(at_cut));
    struct mf_shard_meta again;
    mf_shard_meta(loaded, &again);
    assert_memory_equal(&again, &meta, sizeof(meta));

    apply_range(loaded, 601, index);
    assert_int_equal(mf_shard_state_hash(loaded), mf_shard_state_hash(living));
    mf_shard_free(living);
    mf_shard_free(at_cut);
    mf_shard_free(loaded);
}

static void a_section_that_makes_no_sound_shard_is_refused(void **state)
{
    const char *path = path_in(state, "twice.mfs");
    struct mf_shard_meta meta = {.applied = 9, .log_time_us = 9, .version = 9, .keys = 2};
    struct mf_record record = {
        .key = mf_bytes_str("twice"), .version = 3, .deadline_us = MF_NO_DEADLINE};
    struct mf_snapshot_writer *writer = create(path, 1);
    assert_int_equal(mf_snapshot_begin_shard(writer, 0, &meta, 0), MF_OK);
    assert_int_equal(mf_snapshot_put(writer, 0, &record), MF_OK);
    assert_int_equal(mf_snapshot_put(writer, 0, &record), MF_OK);
    assert_int_equal(mf_snapshot_end_shard(writer, 0), MF_OK);
    commit(writer);
    struct mf_snapshot_reader *reader = open_sound(path);
    struct mf_shard *shard = mf_shard_new(0, 1);
    char message[512] = "";
    assert_int_equal(mf_snapshot_load(reader, 0, shard, message, sizeof(message)), MF_CORRUPT);
    assert_non_null(strstr(message, "record 1 "));
    mf_shard_free(shard);
    mf_snapshot_close(reader);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(a_cut_taken_under_writes_loads_as_the_shard_was_and_goes_on_alike),
        TEST(a_section_that_makes_no_sound_shard_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
