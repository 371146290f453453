// Files that a snapshot's writer has not finished: whoever looks for what was left behind knows
// them from those that are being written.
#include "snapshot_fixture.h"

#include "snapshot/calls.h"
#include "snapshot/unfinished.h"

static const struct mf_snapshot_info about = {.cluster = "c", .shard_count = 1};

static struct {
    char path[300]; // of the file aside
    enum mf_err removed;
    int sweeps; // to come
} sweep;

static int open_and_sweep(const char *path, int flags, mode_t mode)
{
    int fd = open(path, flags, mode);
    if ((flags & O_CREAT) != 0 && sweep.sweeps > 0) {
        sweep.sweeps--;
        assert_int_equal(mf_unfinished_remove(path, true), MF_OK); // between making and lock
    }
    return fd;
}

static int sweep_and_rename(const char *from, const char *to)
{
    sweep.removed = mf_unfinished_remove(from, false);
    assert_int_equal(mf_unfinished_look(from), MF_BUSY);
    return rename(from, to);
}

static const struct mf_snapshot_calls sweeping = {.open = open_and_sweep,
                                                  .write = write,
                                                  .fsync = fsync,
                                                  .close = close,
                                                  .rename = sweep_and_rename,
                                                  .unlink = unlink};

static struct mf_snapshot_writer *begin(void **state)
{
    struct mf_snapshot_writer *writer;
    char message[512];
    const char *path = path_in(state, "s");
    snprintf(sweep.path, sizeof(sweep.path), "%s.tmp-%ld", path, (long)getpid());
    if (mf_snapshot_create_with(&sweeping, path, &about, &writer, message, sizeof(message)) !=
        MF_OK)
        fail_msg("%s", message);
    return writer;
}

static void a_file_that_is_written_is_not_removed_before_it_has_its_name(void **state)
{
    char message[512];
    struct mf_snapshot_writer *writer = begin(state);
    assert_int_equal(mf_unfinished_remove(sweep.path, true), MF_BUSY);
    struct mf_snapshot_writer *other;
    assert_int_equal(
        mf_snapshot_create(path_in(state, "s"), &about, &other, message, sizeof(message)),
        MF_IO); // as of a process with the same number elsewhere
    assert_non_null(strstr(message, "busy"));
    assert_int_equal(mf_unfinished_remove(sweep.path, true), MF_BUSY);
    assert_int_equal(mf_snapshot_commit(writer, NULL, message, sizeof(message)), MF_OK);
    assert_int_not_equal(sweep.removed, MF_OK); // it is whole by then
    assert_int_equal(files_in(*state), 1);
}

static void a_file_that_is_taken_for_a_leftover_at_once_is_made_again(void **state)
{
    char message[512];
    sweep.sweeps = 2;
    struct mf_snapshot_writer *writer = begin(state);
    assert_int_equal(sweep.sweeps, 0);
    assert_int_equal(mf_unfinished_remove(sweep.path, true), MF_BUSY);
    assert_int_equal(mf_snapshot_commit(writer, NULL, message, sizeof(message)), MF_OK);
    assert_int_equal(access(path_in(state, "s"), F_OK), 0);
}

static void only_the_beginning_of_a_snapshot_without_a_writer_is_removed(void **state)
{
    struct mf_snapshot_writer *writer = begin(state);
    size_t size;
    uint8_t *bytes = read_whole(sweep.path, &size);
    char message[512];
    assert_int_equal(mf_snapshot_commit(writer, NULL, message, sizeof(message)), MF_OK);
    const char *left = path_in(state, "left");
    write_whole(left, bytes, size);
    assert_int_equal(mf_unfinished_remove(left, false), MF_OK);
    assert_int_equal(mf_unfinished_remove(left, false), MF_NOT_FOUND);
    write_whole(left, bytes, 5);
    assert_int_equal(mf_unfinished_remove(left, false), MF_BAD_REQUEST);
    assert_int_equal(mf_unfinished_remove(left, true), MF_OK);
    write_whole(left, "five.", 5);
    assert_int_equal(mf_unfinished_remove(left, true), MF_BAD_REQUEST);
    assert_int_equal(mf_unfinished_remove(path_in(state, "s"), true), MF_BAD_REQUEST); // whole
    assert_int_equal(symlink(path_in(state, "s"), path_in(state, "link")), 0);
    assert_int_equal(mf_unfinished_remove(path_in(state, "link"), true), MF_BAD_REQUEST);
    assert_int_equal(mf_unfinished_remove(*state, true), MF_BAD_REQUEST);
    free(bytes);
}

static void a_name_says_whether_a_file_may_be_one(void **state)
{
    (void)state;
    const struct {
        const char *name;
        int len;
    } cases[] = {
        {"s.tmp-1", 1},
        {"s.mfs.tmp-4194304", 5},
        {"a.tmp-1.tmp-22", 7},
        {"s.tmp-", 0},
        {".tmp-1", 0},
        {"s.tmp-1x", 0},
        {"s", 0},
        {"", 0},
        {"12345", 0},
        {"s-tmp-1", 0},
        {"s.tmp1", 0},
        {"tmp-1", 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (mf_unfinished_name(cases[i].name) != cases[i].len)
            fail_msg("%s", cases[i].name);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_that_is_written_is_not_removed_before_it_has_its_name),
        TEST(a_file_that_is_taken_for_a_leftover_at_once_is_made_again),
        TEST(only_the_beginning_of_a_snapshot_without_a_writer_is_removed),
        cmocka_unit_test(a_name_says_whether_a_file_may_be_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
