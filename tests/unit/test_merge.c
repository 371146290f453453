// Several files of one cluster become one: each shard once, of the highest log index.
#include "snapshot_fixture.h"

#include "snapshot/tool/merge.h"

// A file with the shards from `first` to `last` of four, at this log index, one key in each.
static struct mf_snapshot_reader *file_of(void **state, const char *name, uint32_t first,
                                          uint32_t last, uint64_t applied, const char *value)
{
    const char *path = path_in(state, name);
    struct mf_snapshot_writer *writer = create(path, 4);
    for (uint32_t shard = first; shard <= last; shard++) {
        struct mf_shard_meta meta = {.applied = applied,
                                     .log_time_us = 100 + shard,
                                     .version = applied,
                                     .rolling_hash = applied * 7,
                                     .keys = 1,
                                     .ids = 1,
                                     .hash_seed = shard};
        char key[32];
        unsigned number = 0;
        do
            snprintf(key, sizeof(key), "key-%u", number++);
        while (mf_shard_of_key(mf_bytes_str(key), 4) != shard);
        struct mf_record record = {.key = mf_bytes_str(key),
                                   .value = mf_bytes_str(value),
                                   .version = applied,
                                   .deadline_us = 500};
        struct mf_record id = {.is_id = true,
                               .key = mf_bytes_str("retry"),
                               .value = mf_bytes_str(value),
                               .version = 1,
                               .deadline_us = 600};
        assert_int_equal(mf_snapshot_begin_shard(writer, shard, &meta, 1000 + shard), MF_OK);
        assert_int_equal(mf_snapshot_put(writer, shard, &record), MF_OK);
        assert_int_equal(mf_snapshot_put(writer, shard, &id), MF_OK);
        assert_int_equal(mf_snapshot_end_shard(writer, shard), MF_OK);
    }
    commit(writer);
    return open_sound(path);
}

static enum mf_err check_value(void *arg, const struct mf_record *record)
{
    const char *expected = arg;
    assert_true(mf_bytes_equal(record->value, mf_bytes_str(expected)));
    assert_int_equal(record->deadline_us, record->is_id ? 600 : 500);
    return MF_OK;
}

static void each_shard_is_there_once_at_its_newest(void **state)
{
    struct mf_snapshot_reader *readers[3] = {
        file_of(state, "a", 0, 1, 10, "a"),
        file_of(state, "b", 1, 3, 11, "b"),
        file_of(state, "c", 0, 2, 9, "c"),
    };
    struct mf_snapshot_totals totals;
    char message[512];
    const char *path = path_in(state, "merged");
    assert_int_equal(merge_files(readers, 3, path, &totals, message, sizeof(message)), MF_OK);
    assert_int_equal(totals.shards, 4);
    assert_int_equal(totals.keys, 4);
    assert_int_equal(verify(path, message, sizeof(message)), MF_OK);
    struct mf_snapshot_reader *merged = open_sound(path);
    char values[4][2] = {"a", "b", "b", "b"};
    for (uint32_t i = 0; i < 4; i++) {
        const struct mf_snapshot_shard *section = mf_snapshot_section(merged, i);
        uint64_t applied = i == 0 ? 10 : 11;
        assert_int_equal(section->shard, i);
        assert_int_equal(section->meta.applied, applied);
        assert_int_equal(section->meta.rolling_hash, applied * 7);
        assert_int_equal(section->meta.log_time_us, 100 + i);
        assert_int_equal(section->meta.hash_seed, i);
        assert_int_equal(section->wall_us, 1000 + i);
        assert_int_equal(
            mf_snapshot_read(merged, i, check_value, values[i], message, sizeof(message)), MF_OK);
    }
    mf_snapshot_close(merged);
    for (size_t i = 0; i < 3; i++)
        mf_snapshot_close(readers[i]);
}

static void files_of_different_clusters_are_refused(void **state)
{
    commit(create(path_in(state, "other"), 5));
    struct mf_snapshot_reader *readers[2] = {file_of(state, "a", 0, 3, 1, "a"),
                                             open_sound(path_in(state, "other"))};
    struct mf_snapshot_totals totals;
    char message[512];
    assert_int_equal(
        merge_files(readers, 2, path_in(state, "merged"), &totals, message, sizeof(message)),
        MF_CORRUPT);
    assert_non_null(strstr(message, "different clusters"));
    assert_int_equal(files_in(*state), 2);
    for (size_t i = 0; i < 2; i++)
        mf_snapshot_close(readers[i]);
}

static void of_a_damaged_file_nothing_is_made(void **state)
{
    mf_snapshot_close(file_of(state, "a", 0, 3, 1, "a"));
    const char *path = path_in(state, "a");
    size_t size;
    uint8_t *bytes = read_whole(path, &size);
    bytes[100] ^= 1;
    write_whole(path, bytes, size);
    free(bytes);
    struct mf_snapshot_reader *reader = open_sound(path);
    struct mf_snapshot_totals totals;
    char message[512];
    assert_int_equal(
        merge_files(&reader, 1, path_in(state, "merged"), &totals, message, sizeof(message)),
        MF_CORRUPT);
    assert_int_equal(files_in(*state), 1);
    mf_snapshot_close(reader);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(each_shard_is_there_once_at_its_newest),
        TEST(files_of_different_clusters_are_refused),
        TEST(of_a_damaged_file_nothing_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
