// Writing a snapshot and reading it back, and what the writer does when it is misled or the disk
// fails. Damage to files is in test_snapshot_damage.c, restoring in test_snapshot_restore.c.
#include "snapshot_fixture.h"

#include <errno.h>
#include <pthread.h>

#include "snapshot/calls.h"
#include "snapshot/format.h"

static void records_of_many_interleaved_shards_come_back_as_they_were(void **state)
{
    const char *path = path_in(state, "many.mfs");
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct model model = model_new(1 + (uint32_t)seed * 3);
        model_fill(&model, 2000, 4000, seed);
        struct mf_snapshot_totals totals = model_write(&model, path);
        struct mf_snapshot_reader *reader = open_sound(path);
        struct mf_snapshot_summary summary;
        mf_snapshot_summary(reader, &summary);
        assert_int_equal(summary.version, MF_SNAPSHOT_VERSION);
        assert_string_equal(summary.cluster, "demo");
        assert_int_equal(summary.shard_count, model.shard_count);
        assert_int_equal(summary.shards, model.shard_count);
        assert_int_equal(summary.created_us, 1700000000123456);
        assert_int_equal(summary.keys + summary.ids, model.count);
        assert_int_equal(summary.keys, totals.keys);
        assert_int_equal(summary.ids, totals.ids);
        assert_int_equal(summary.file_bytes, totals.bytes);
        assert_int_equal(summary.identity, totals.identity);
        for (uint32_t i = 0; i < summary.shards; i++) {
            assert_int_equal(mf_snapshot_section(reader, i)->shard, i);
            assert_section_is(reader, i, &model);
        }
        mf_snapshot_close(reader);
        model_free(&model);
    }
}

static void a_snapshot_without_shards_and_shards_without_records_are_sound(void **state)
{
    const char *path = path_in(state, "empty.mfs");
    char message[512];
    assert_int_equal(commit(create(path, 7)).shards, 0);
    assert_int_equal(verify(path, message, sizeof(message)), MF_OK);

    struct mf_snapshot_writer *writer = create(path, 7);
    struct mf_shard_meta meta = {.applied = 3, .log_time_us = 4, .version = 5};
    assert_int_equal(mf_snapshot_begin_shard(writer, 6, &meta, 8), MF_OK);
    assert_int_equal(mf_snapshot_end_shard(writer, 6), MF_OK);
    commit(writer);
    struct mf_snapshot_reader *reader = open_sound(path);
    assert_int_equal(mf_snapshot_section(reader, 0)->shard, 6);
    assert_memory_equal(&mf_snapshot_section(reader, 0)->meta, &meta, sizeof(meta));
    assert_int_equal(mf_snapshot_section(reader, 0)->wall_us, 8);
    mf_snapshot_close(reader);
}

static void what_a_section_carries_of_its_configuration_comes_back(void **state)
{
    const char *path = path_in(state, "members");
    uint8_t most[MF_SNAPSHOT_MEMBERS_MAX];
    for (size_t i = 0; i < sizeof(most); i++)
        most[i] = (uint8_t)(i * 7);
    const struct mf_bytes members[3] = {mf_bytes_str("three"), {0}, {most, sizeof(most)}};
    struct mf_snapshot_info info = {.cluster = "c", .shard_count = 8};
    struct mf_snapshot_writer *writer;
    char message[256];
    assert_int_equal(mf_snapshot_create(path, &info, &writer, message, sizeof(message)), MF_OK);
    struct mf_shard_meta meta = {.applied = 5};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(mf_snapshot_begin_shard(writer, 2 * i, &meta, 1), MF_OK);
        mf_snapshot_set_members(writer, 2 * i, members[i]);
        assert_int_equal(mf_snapshot_end_shard(writer, 2 * i), MF_OK);
    }
    assert_int_equal(mf_snapshot_commit(writer, NULL, message, sizeof(message)), MF_OK);

    struct mf_snapshot_reader *reader;
    assert_int_equal(mf_snapshot_open(path, &reader, message, sizeof(message)), MF_OK);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(mf_bytes_equal(mf_snapshot_section(reader, i)->members, members[i]));
    mf_snapshot_close(reader);
}

static void a_record_larger_than_a_block_makes_a_block_of_its_own(void **state)
{
    const char *path = path_in(state, "large.mfs");
    struct model model = model_new(1);
    size_t large = 3 * MF_SNAPSHOT_BLOCK_BYTES;
    uint8_t *value = mf_calloc(1, large);
    for (int i = 0; i < 3; i++) {
        char key[2] = {(char)('a' + i), '\0'};
        struct mf_record record = {.key = mf_bytes_str(key),
                                   .value = mf_bytes_of(value, i == 1 ? large : 10)};
        model_add(&model, &record, 0);
    }
    free(value);
    model_write(&model, path);
    struct mf_snapshot_reader *reader = open_sound(path);
    assert_int_equal(mf_snapshot_section(reader, 0)->blocks, 3);
    assert_section_is(reader, 0, &model);
    mf_snapshot_close(reader);
    model_free(&model);
}

// 1 MiB in values of 1 KiB, all noise or all alike.
static struct mf_snapshot_shard section_of_values(const char *path, bool noise)
{
    struct model model = model_new(1);
    struct mf_rand rand = {7};
    for (int i = 0; i < 1024; i++) {
        char key[16];
        uint64_t value[128];
        snprintf(key, sizeof(key), "%d", i);
        for (size_t n = 0; n < 128; n++)
            value[n] = noise ? mf_rand_next(&rand) : 0;
        struct mf_record record = {.key = mf_bytes_str(key),
                                   .value = mf_bytes_of(value, sizeof(value))};
        model_add(&model, &record, 0);
    }
    model_write(&model, path);
    struct mf_snapshot_reader *reader = open_sound(path);
    struct mf_snapshot_shard section = *mf_snapshot_section(reader, 0);
    assert_section_is(reader, 0, &model);
    mf_snapshot_close(reader);
    model_free(&model);
    return section;
}

static void blocks_shrink_where_that_helps_and_never_grow(void **state)
{
    struct mf_snapshot_shard alike = section_of_values(path_in(state, "alike.mfs"), false);
    assert_true(alike.stored_bytes < alike.raw_bytes / 20);
    struct mf_snapshot_shard noise = section_of_values(path_in(state, "noise.mfs"), true);
    assert_true(noise.stored_bytes <=
                noise.raw_bytes + noise.blocks * MF_SNAPSHOT_BLOCK_HEADER_BYTES);
    assert_true(noise.blocks >= 4 && noise.blocks <= 6);
}

static void equal_content_gives_equal_bytes_and_other_content_another_identity(void **state)
{
    struct model model = model_new(3);
    model_fill(&model, 500, 500, 9);
    uint64_t identity = model_write(&model, path_in(state, "a.mfs")).identity;
    assert_int_equal(model_write(&model, path_in(state, "b.mfs")).identity, identity);
    size_t size_a;
    size_t size_b;
    uint8_t *a = read_whole(path_in(state, "a.mfs"), &size_a);
    uint8_t *b = read_whole(path_in(state, "b.mfs"), &size_b);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(a, b, size_a);
    free(a);
    free(b);
    model.records[250].deadline_us -= 1;
    assert_int_not_equal(model_write(&model, path_in(state, "c.mfs")).identity, identity);
    model.records[250].deadline_us += 1;
    model.walls[2] += 1;
    assert_int_not_equal(model_write(&model, path_in(state, "d.mfs")).identity, identity);
    model_free(&model);
}

static void blocks_become_smaller_when_very_many_shards_are_open(void **state)
{
    const char *path = path_in(state, "small-blocks.mfs");
    struct model model = model_new(MF_SLOT_COUNT);
    static const uint8_t value[1000];
    for (int i = 0; i < 40; i++) {
        struct mf_record record = {.is_id = true, .key = mf_bytes_of(&i, sizeof(i))};
        record.value = mf_bytes_of(value, sizeof(value));
        model_add(&model, &record, 0);
    }
    model_write(&model, path);
    struct mf_snapshot_reader *reader = open_sound(path);
    assert_true(mf_snapshot_section(reader, 0)->blocks >= 3);
    assert_section_is(reader, 0, &model);
    mf_snapshot_close(reader);
    model_free(&model);
}

struct parallel {
    struct mf_snapshot_reader *reader;
    const struct model *model;
    uint32_t first;
};

static void *read_every_other_section(void *arg)
{
    struct parallel *parallel = arg;
    for (uint32_t i = parallel->first; i < parallel->model->shard_count; i += 2)
        assert_section_is(parallel->reader, i, parallel->model);
    return NULL;
}

static void several_threads_read_one_reader_at_once(void **state)
{
    const char *path = path_in(state, "parallel.mfs");
    struct model model = model_new(8);
    model_fill(&model, 4000, 1000, 11);
    model_write(&model, path);
    struct mf_snapshot_reader *reader = open_sound(path);
    struct parallel parallel[4];
    pthread_t threads[4];
    for (uint32_t i = 0; i < 4; i++) {
        // Two threads on each half: also the same section at the same time.
        parallel[i] = (struct parallel){reader, &model, i % 2};
        assert_int_equal(pthread_create(&threads[i], NULL, read_every_other_section, &parallel[i]),
                         0);
    }
    for (uint32_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    mf_snapshot_close(reader);
    model_free(&model);
}

static enum mf_err refuse_the_third(void *arg, const struct mf_record *record)
{
    (void)record;
    int *calls = arg;
    *calls += 1;
    return *calls == 3 ? MF_TIMEOUT : MF_OK;
}

static void an_error_from_the_visitor_ends_the_reading(void **state)
{
    const char *path = path_in(state, "visited.mfs");
    struct model model = model_new(1);
    model_fill(&model, 50, 20, 12);
    model_write(&model, path);
    struct mf_snapshot_reader *reader = open_sound(path);
    int calls = 0;
    char message[512] = "";
    assert_int_equal(
        mf_snapshot_read(reader, 0, refuse_the_third, &calls, message, sizeof(message)),
        MF_TIMEOUT);
    assert_int_equal(calls, 3);
    assert_non_null(strstr(message, "record 2 "));
    mf_snapshot_close(reader);
    model_free(&model);
}

static void what_is_no_regular_file_is_refused_and_does_not_block(void **state)
{
    const char *pipe = path_in(state, "pipe");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    const char *paths[] = {pipe, *state, "/dev/zero", path_in(state, "absent"), ""};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        char message[512];
        assert_int_equal(verify(paths[i], message, sizeof(message)), MF_IO);
        assert_int_equal(strncmp(message, "reading ", 8), 0);
    }
}

static void the_writer_refuses_records_that_a_reader_would_refuse(void **state)
{
    static const uint8_t bytes[MF_ID_MAX + 1];
    struct mf_bytes key = mf_bytes_str("here");
    uint32_t home = mf_shard_of_key(key, 4);
    const struct {
        const char *why;
        uint32_t shard;
        struct mf_record record;
    } cases[] = {
        {"is a key of another shard", (home + 1) % 4, {.key = key, .version = 1}},
        {"is an empty key", home, {.key = mf_bytes_of(NULL, 0), .version = 1}},
        {"is an empty id", home, {.is_id = true, .version = 1}},
        {"is an id that is too long",
         home,
         {.is_id = true, .key = mf_bytes_of(bytes, sizeof(bytes))}},
        {"has a version above its shard's counter", home, {.key = key, .version = 11}},
        {"has no version", home, {.key = key}},
        {"is larger than any record may be",
         home,
         {.key = key, .value = mf_bytes_of(bytes, MF_SNAPSHOT_BLOCK_BYTES_MAX), .version = 1}},
        {"is larger than any record may be",
         home,
         {.key = mf_bytes_of(bytes, MF_SNAPSHOT_BLOCK_BYTES_MAX), .version = 1}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_snapshot_writer *writer = create(path_in(state, "refused.mfs"), 4);
        struct mf_shard_meta meta = {.version = 10, .keys = 1};
        char message[512];
        assert_int_equal(mf_snapshot_begin_shard(writer, cases[i].shard, &meta, 0), MF_OK);
        assert_int_equal(mf_snapshot_put(writer, cases[i].shard, &cases[i].record), MF_CORRUPT);
        assert_non_null(strstr(mf_snapshot_why(writer), cases[i].why));
        assert_int_equal(mf_snapshot_end_shard(writer, cases[i].shard), MF_CORRUPT);
        assert_int_equal(mf_snapshot_commit(writer, NULL, message, sizeof(message)), MF_CORRUPT);
        assert_non_null(strstr(message, cases[i].why));
        assert_int_equal(files_in(*state), 0);
    }
}

static void a_shard_with_other_counts_than_announced_is_never_committed(void **state)
{
    const struct mf_shard_meta metas[] = {{.version = 9, .keys = 2},
                                          {.version = 9},
                                          {.version = 9, .keys = 1, .ids = 1},
                                          {.version = 9, .ids = 1}};
    for (size_t i = 0; i < sizeof(metas) / sizeof(metas[0]); i++) {
        struct mf_snapshot_writer *writer = create(path_in(state, "counts.mfs"), 1);
        struct mf_record record = {.key = mf_bytes_str("k"), .version = 1};
        char message[512];
        assert_int_equal(mf_snapshot_begin_shard(writer, 0, &metas[i], 0), MF_OK);
        assert_int_equal(mf_snapshot_put(writer, 0, &record), MF_OK);
        assert_int_equal(mf_snapshot_end_shard(writer, 0), MF_CORRUPT);
        assert_int_equal(mf_snapshot_commit(writer, NULL, message, sizeof(message)), MF_CORRUPT);
        assert_non_null(strstr(message, "shard 0"));
        assert_int_equal(files_in(*state), 0);
    }
}

static void an_aborted_writer_leaves_nothing_but_the_old_file(void **state)
{
    const char *path = path_in(state, "kept.mfs");
    write_whole(path, "old", 3);
    mf_snapshot_abort(create(path, 1));
    size_t size;
    uint8_t *bytes = read_whole(path, &size);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "old", 3);
    free(bytes);
    assert_int_equal(files_in(*state), 1);
}

static void a_left_over_temporary_is_replaced_and_never_written_through(void **state)
{
    const char *path = path_in(state, "fresh.mfs");
    const char *victim = path_in(state, "victim");
    char temporary[300];
    snprintf(temporary, sizeof(temporary), "%s.tmp-%ld", path, (long)getpid());
    write_whole(victim, "untouched", 9);
    assert_int_equal(symlink(victim, temporary), 0);
    commit(create(path, 1));
    size_t size;
    free(read_whole(victim, &size));
    assert_int_equal(size, 9);
    assert_int_equal(files_in(*state), 2);
}

static void a_path_without_a_folder_is_one_in_the_current_folder(void **state)
{
    char before[4096];
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(*state), 0);
    commit(create("here.mfs", 1));
    assert_int_equal(chdir(before), 0);
    assert_int_equal(files_in(*state), 1);
}

// A disk that fails at the n-th call, n = fail_at; before that it writes at most 100 bytes a time.
enum call { CALL_NONE, CALL_OPEN, CALL_WRITE, CALL_FSYNC, CALL_CLOSE, CALL_RENAME, CALL_UNLINK };

static struct {
    int fail_at;
    int with;
    int calls;
    enum call failed;
    bool renamed;
    bool renamed_before_failure;
    char order[64]; // of the calls, a letter each; writes that follow each other are one
} disk;

static bool fails(enum call call)
{
    size_t len = strlen(disk.order);
    char letter = "-owfcru"[call];
    if (len + 1 < sizeof(disk.order) && (letter != 'w' || disk.order[len - 1] != 'w'))
        disk.order[len] = letter;
    disk.calls += 1;
    if (disk.calls != disk.fail_at)
        return false;
    disk.failed = call;
    disk.renamed_before_failure = disk.renamed;
    errno = disk.with;
    return true;
}

static int failing_open(const char *path, int flags, mode_t mode)
{
    return fails(CALL_OPEN) ? -1 : open(path, flags, mode);
}

static ssize_t failing_write(int fd, const void *data, size_t len)
{
    return fails(CALL_WRITE) ? -1 : write(fd, data, len < 100 ? len : 100);
}

static int failing_fsync(int fd)
{
    return fails(CALL_FSYNC) ? -1 : fsync(fd);
}

// As the kernel does it: the descriptor is gone whatever close returns.
static int failing_close(int fd)
{
    int closed = close(fd);
    return fails(CALL_CLOSE) ? -1 : closed;
}

static int failing_rename(const char *from, const char *to)
{
    if (fails(CALL_RENAME))
        return -1;
    disk.renamed = true;
    return rename(from, to);
}

static int failing_unlink(const char *path)
{
    return fails(CALL_UNLINK) ? -1 : unlink(path);
}

static const struct mf_snapshot_calls failing = {.open = failing_open,
                                                 .write = failing_write,
                                                 .fsync = failing_fsync,
                                                 .close = failing_close,
                                                 .rename = failing_rename,
                                                 .unlink = failing_unlink};

static enum mf_err write_on_failing_disk(const char *path, const struct model *model, char *message,
                                         size_t message_size)
{
    struct mf_snapshot_info info = {.cluster = "demo", .shard_count = 1};
    struct mf_snapshot_writer *writer = NULL;
    enum mf_err err =
        mf_snapshot_create_with(&failing, path, &info, &writer, message, message_size);
    if (err != MF_OK)
        return err;
    // The first failure is told by every later call, the last one included.
    err = mf_snapshot_begin_shard(writer, 0, &model->metas[0], 0);
    for (size_t i = 0; i < model->count; i++) {
        enum mf_err put = mf_snapshot_put(writer, 0, &model->records[i]);
        assert_true(err == MF_OK || put == err);
        err = put;
    }
    enum mf_err end = mf_snapshot_end_shard(writer, 0);
    assert_true(err == MF_OK || end == err);
    enum mf_err committed = mf_snapshot_commit(writer, NULL, message, message_size);
    assert_true(end == MF_OK || committed == end);
    return committed;
}

static void whatever_call_fails_the_old_file_stays_and_nothing_is_left_over(void **state)
{
    const char *path = path_in(state, "disk.mfs");
    struct model model = model_new(1);
    model_fill(&model, 30, 60, 13);
    bool seen[CALL_UNLINK + 1] = {false};
    int errors[] = {ENOSPC, EIO};
    for (size_t e = 0; e < 2; e++) {
        for (int n = 1; disk.fail_at == 0 || disk.failed != CALL_NONE || n == 1; n++) {
            write_whole(path, "old", 3);
            memset(&disk, 0, sizeof(disk));
            disk.fail_at = n;
            disk.with = errors[e];
            char message[512] = "";
            enum mf_err err = write_on_failing_disk(path, &model, message, sizeof(message));
            seen[disk.failed] = true;
            assert_int_equal(files_in(*state), 1);
            size_t size;
            uint8_t *bytes = read_whole(path, &size);
            bool is_old = size == 3 && memcmp(bytes, "old", 3) == 0;
            free(bytes);
            assert_int_equal(is_old, !disk.renamed);
            if (disk.renamed)
                assert_int_equal(verify(path, message, sizeof(message)), MF_OK);
            // Once the new name stands, only its durability can still fail; what is closed or
            // removed afterwards has nothing to lose.
            bool harmless = disk.failed == CALL_NONE ||
                            (disk.renamed_before_failure && disk.failed == CALL_CLOSE);
            assert_int_equal(err, harmless ? MF_OK : MF_IO);
            if (err != MF_OK && !disk.renamed)
                assert_non_null(strstr(message, strerror(errors[e])));
        }
    }
    for (enum call call = CALL_NONE; call <= CALL_UNLINK; call++)
        assert_true(seen[call]);
    model_free(&model);
}

// The bytes are synced before they get the name, and the name before anyone is told. The folder is
// opened first and synced last, so the two syncs are those of the file and of the folder.
static void bytes_are_synced_before_the_rename_and_the_folder_after_it(void **state)
{
    struct model model = model_new(1);
    model_fill(&model, 30, 60, 13);
    char message[512] = "";
    memset(&disk, 0, sizeof(disk));
    assert_int_equal(
        write_on_failing_disk(path_in(state, "order.mfs"), &model, message, sizeof(message)),
        MF_OK);
    // Open the folder, unlink an old temporary, open, write, sync, close, rename, sync, close.
    assert_string_equal(disk.order, "ouowfcrfc");
    model_free(&model);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(records_of_many_interleaved_shards_come_back_as_they_were),
        TEST(a_snapshot_without_shards_and_shards_without_records_are_sound),
        TEST(what_a_section_carries_of_its_configuration_comes_back),
        TEST(a_record_larger_than_a_block_makes_a_block_of_its_own),
        TEST(blocks_shrink_where_that_helps_and_never_grow),
        TEST(equal_content_gives_equal_bytes_and_other_content_another_identity),
        TEST(blocks_become_smaller_when_very_many_shards_are_open),
        TEST(several_threads_read_one_reader_at_once),
        TEST(an_error_from_the_visitor_ends_the_reading),
        TEST(what_is_no_regular_file_is_refused_and_does_not_block),
        TEST(the_writer_refuses_records_that_a_reader_would_refuse),
        TEST(a_shard_with_other_counts_than_announced_is_never_committed),
        TEST(an_aborted_writer_leaves_nothing_but_the_old_file),
        TEST(a_left_over_temporary_is_replaced_and_never_written_through),
        TEST(a_path_without_a_folder_is_one_in_the_current_folder),
        TEST(whatever_call_fails_the_old_file_stays_and_nothing_is_left_over),
        TEST(bytes_are_synced_before_the_rename_and_the_folder_after_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
