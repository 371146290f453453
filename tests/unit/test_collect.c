// Entries become a snapshot file: each in its shard with its deadline, the last of a key that
// repeats, and nothing at all when it is given up.
#include "snapshot_fixture.h"

#include "snapshot/tool/collect.h"

#define CUT_US UINT64_C(1700000000000000)

static void put(struct collect *collect, unsigned number, const char *value, uint64_t expire_at_ms)
{
    char key[32];
    snprintf(key, sizeof(key), "key-%u", number);
    struct entry entry = {.key = mf_bytes_str(key),
                          .value = mf_bytes_str(value),
                          .expires = expire_at_ms != UINT64_MAX,
                          .expire_at_ms = expire_at_ms};
    if (collect_put(collect, &entry) != MF_OK)
        fail_msg("%s", collect->why);
}

struct found {
    unsigned keys;
    unsigned late; // of them, with the later value
    unsigned dead;
};

static enum mf_err look(void *arg, const struct mf_record *record)
{
    struct found *found = arg;
    found->keys += 1;
    found->late += mf_bytes_equal(record->value, mf_bytes_str("late"));
    found->dead += record->deadline_us <= CUT_US;
    if (record->deadline_us != MF_NO_DEADLINE && record->deadline_us > CUT_US)
        assert_int_equal(record->deadline_us, (CUT_US / 1000 + 5) * 1000);
    return MF_OK;
}

static struct found look_into(const char *path)
{
    char message[512];
    assert_int_equal(verify(path, message, sizeof(message)), MF_OK);
    struct mf_snapshot_reader *reader = open_sound(path);
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    assert_int_equal(summary.shards, COLLECT_SHARDS);
    struct found found = {0};
    for (uint32_t i = 0; i < summary.shards; i++) {
        const struct mf_snapshot_shard *section = mf_snapshot_section(reader, i);
        assert_int_equal(section->wall_us, CUT_US);
        assert_int_equal(section->meta.log_time_us, CUT_US);
        assert_true(section->meta.version >= section->meta.keys);
        assert_int_equal(mf_snapshot_read(reader, i, look, &found, message, sizeof(message)),
                         MF_OK);
        // It can be loaded: no key is there twice.
        struct mf_shard *shard = mf_shard_new(section->shard, 7);
        assert_int_equal(mf_snapshot_load(reader, i, shard, message, sizeof(message)), MF_OK);
        mf_shard_free(shard);
    }
    mf_snapshot_close(reader);
    return found;
}

static void every_entry_is_in_the_file_with_its_deadline(void **state)
{
    const char *path = path_in(state, "out.mfs");
    struct collect collect;
    struct mf_snapshot_totals totals;
    assert_int_equal(collect_start(&collect, path, CUT_US), MF_OK);
    for (unsigned i = 0; i < 3000; i++)
        put(&collect, i, "late", i % 3 == 0 ? UINT64_MAX : i % 3 == 1 ? CUT_US / 1000 + 5 : i);
    assert_int_equal(collect_commit(&collect, &totals), MF_OK);
    assert_int_equal(collect.repeated, 0);
    assert_int_equal(totals.keys, 3000);
    struct found found = look_into(path);
    assert_int_equal(found.keys, 3000);
    assert_int_equal(found.dead, 1000);
    assert_int_equal(files_in(*state), 1);
}

static void of_a_key_that_repeats_the_last_entry_counts(void **state)
{
    const char *path = path_in(state, "out.mfs");
    struct collect collect;
    struct mf_snapshot_totals totals;
    assert_int_equal(collect_start(&collect, path, CUT_US), MF_OK);
    for (unsigned i = 0; i < 2000; i++)
        put(&collect, i, "early", UINT64_MAX);
    for (unsigned i = 0; i < 1000; i++)
        put(&collect, i, "early", UINT64_MAX);
    for (unsigned i = 0; i < 500; i++)
        put(&collect, i, "late", UINT64_MAX);
    assert_int_equal(collect_commit(&collect, &totals), MF_OK);
    assert_int_equal(collect.repeated, 1500);
    assert_int_equal(totals.keys, 2000);
    struct found found = look_into(path);
    assert_int_equal(found.keys, 2000);
    assert_int_equal(found.late, 500);
    assert_int_equal(files_in(*state), 1);
}

static void what_is_given_up_leaves_nothing(void **state)
{
    struct collect collect;
    assert_int_equal(collect_start(&collect, path_in(state, "out.mfs"), CUT_US), MF_OK);
    put(&collect, 1, "v", 5);
    collect_abort(&collect);
    assert_int_equal(files_in(*state), 0);
    assert_int_equal(collect_start(&collect, path_in(state, "absent/out.mfs"), CUT_US), MF_IO);
    assert_non_null(strstr(collect.why, "absent"));
    collect_abort(&collect);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_entry_is_in_the_file_with_its_deadline, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(of_a_key_that_repeats_the_last_entry_counts, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(what_is_given_up_leaves_nothing, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
