// The write-ahead log on a disk that fails: every call in turn, for once and for good; that is full
// at any call and has room again after any number; short and interrupted writes; a sync that takes
// as long as the test wants.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/unit/wal_helper.h"

#define SEGMENT 4096u
#define THREE_SECTORS 1400u // an ACCEPT with this payload; two to a segment

enum call { OPEN, CREATE, PWRITE, FDATASYNC, FSYNC, CLOSE, RENAME, UNLINK, MKDIR, CALLS };

// The disk below the log, shared by its threads and the test; under its mutex.
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned made[CALLS];
    enum call failing;
    unsigned fail_at; // the how manieth call of that kind fails; 0: none
    unsigned fail_count;
    int error;
    bool partly;      // a write that fails has done half of its work
    size_t write_max; // 0: all
    bool interrupts;  // every second write is interrupted
    bool gate_closed; // syncs of files wait
    unsigned waiting;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void disk_reset(void)
{
    pthread_mutex_lock(&disk.lock);
    memset(disk.made, 0, sizeof disk.made);
    disk.fail_at = 0;
    disk.fail_count = 0;
    disk.partly = false;
    disk.write_max = 0;
    disk.interrupts = false;
    disk.gate_closed = false;
    disk.waiting = 0;
    pthread_mutex_unlock(&disk.lock);
}

// From the `at`th call of this kind on, `count` calls fail.
static void disk_fail(enum call call, unsigned at, unsigned count, int error)
{
    pthread_mutex_lock(&disk.lock);
    disk.failing = call;
    disk.fail_at = disk.made[call] + at;
    disk.fail_count = count;
    disk.error = error;
    pthread_mutex_unlock(&disk.lock);
}

static unsigned disk_made(enum call call)
{
    pthread_mutex_lock(&disk.lock);
    unsigned made = disk.made[call];
    pthread_mutex_unlock(&disk.lock);
    return made;
}

// Counts the call; false, with errno, when it is one that fails.
static bool goes_well(enum call call)
{
    pthread_mutex_lock(&disk.lock);
    unsigned number = ++disk.made[call];
    bool fails = disk.fail_at != 0 && call == disk.failing && number >= disk.fail_at &&
                 number - disk.fail_at < disk.fail_count;
    int error = disk.error;
    pthread_mutex_unlock(&disk.lock);
    if (fails)
        errno = error;
    return !fails;
}

static int fake_open(const char *path, int flags, mode_t mode)
{
    return goes_well((flags & O_CREAT) != 0 ? CREATE : OPEN) ? open(path, flags, mode) : -1;
}

static ssize_t fake_pwrite(int fd, const void *data, size_t len, off_t offset)
{
    if (!goes_well(PWRITE)) {
        int error = errno;
        if (disk.partly)
            assert_true(pwrite(fd, data, len / 2, offset) >= 0);
        errno = error;
        return -1;
    }
    pthread_mutex_lock(&disk.lock);
    size_t most = disk.write_max;
    bool interrupted = disk.interrupts && disk.made[PWRITE] % 2 == 0;
    pthread_mutex_unlock(&disk.lock);
    if (interrupted) {
        errno = EINTR;
        return -1;
    }
    return pwrite(fd, data, most != 0 && len > most ? most : len, offset);
}

// The kernel's cache is as good as a disk here: no power is lost in these tests.
static int fake_fdatasync(int fd)
{
    (void)fd;
    pthread_mutex_lock(&disk.lock);
    disk.waiting++;
    pthread_cond_broadcast(&disk.changed);
    while (disk.gate_closed)
        pthread_cond_wait(&disk.changed, &disk.lock);
    disk.waiting--;
    pthread_mutex_unlock(&disk.lock);
    return goes_well(FDATASYNC) ? 0 : -1;
}

static int fake_fsync(int fd)
{
    (void)fd;
    return goes_well(FSYNC) ? 0 : -1;
}

static int fake_close(int fd)
{
    close(fd);
    return goes_well(CLOSE) ? 0 : -1;
}

static int fake_rename(const char *from, const char *to)
{
    return goes_well(RENAME) ? rename(from, to) : -1;
}

static int fake_unlink(const char *path)
{
    return goes_well(UNLINK) ? unlink(path) : -1;
}

static int fake_mkdir(const char *path, mode_t mode)
{
    return goes_well(MKDIR) ? mkdir(path, mode) : -1;
}

static const struct mf_wal_disk fake_disk = {
    .open = fake_open,
    .pwrite = fake_pwrite,
    .fdatasync = fake_fdatasync,
    .fsync = fake_fsync,
    .close = fake_close,
    .rename = fake_rename,
    .unlink = fake_unlink,
    .mkdir = fake_mkdir,
};

static struct mf_wal *open_on_fake(const struct mf_wal_config *config)
{
    struct mf_wal *wal;
    char message[512] = "";
    if (mf_wal_open_on(&fake_disk, config, &wal, message, sizeof message) != MF_OK)
        fail_msg("%s", message);
    return wal;
}

static bool any_temporary(const char *folder)
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    bool found = false;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL)
        found |= strstr(entry->d_name, ".tmp") != NULL;
    closedir(dir);
    return found;
}

// Asserts that the folder holds at least the first `durable` of the `submitted` slots, in order.
static void assert_holds(const char *folder, uint64_t durable, uint64_t submitted)
{
    struct recovered got;
    if (recover(folder, &got) != MF_OK)
        fail_msg("%s", got.recovery.message);
    assert_in_range(got.count, durable, submitted);
    for (size_t i = 0; i < got.count; i++)
        assert_int_equal(got.slots[i], i + 1);
    free(got.slots);
}

// One life of a log with a fault put in before it opens. Returns whether the fault's turn came, and
// in *told whether somebody was told.
static bool live_with_fault(const char *path, enum call call, unsigned at, unsigned count,
                            bool *told)
{
    struct sink sink;
    sink_init(&sink);
    disk_reset();
    disk_fail(call, at, count, EIO);
    struct mf_wal_config config = config_of(path, 0, SEGMENT, &sink);
    struct mf_wal *wal;
    char message[512] = "";
    uint64_t submitted = 0;
    enum mf_err err = mf_wal_open_on(&fake_disk, &config, &wal, message, sizeof message);
    if (err == MF_OK) {
        bool passes = count == 1; // a disk that stays as it is may block the log for good
        while (submitted < 8 &&
               (passes ? sink_wait(&sink, submitted) : sink_wait_or_blocked(&sink, submitted)))
            put_accept(wal, 0, ++submitted, THREE_SECTORS);
        // The disk may be well again. A log that has ended stays ended.
        for (int i = 0; i < 2; i++) {
            submitted++;
            assert_int_equal(put_accept(wal, 0, submitted, THREE_SECTORS), submitted);
        }
        if (passes)
            sink_wait(&sink, submitted);
        mf_wal_close(wal);
        assert_in_range(sink.failures, 0, 1);
        assert_int_equal(sink.durable == submitted,
                         sink.failures == 0 && sink.block == MF_WAL_FLOWS);
        snprintf(message, sizeof message, "%s", sink.message);
    } else {
        assert_int_equal(err, MF_IO);
        assert_null(wal);
    }
    *told = err != MF_OK || sink.failures > 0 || sink.blocks > 0;
    assert_int_equal(*told, strstr(message, "Input/output error") != NULL);
    assert_false(sink.out_of_order);
    assert_false(sink.durable_after_failure);
    assert_true(call == UNLINK || !exists(path) || !any_temporary(path));
    if (exists(path))
        assert_holds(path, sink.durable, submitted);
    bool came = disk_made(call) >= at;
    assert_true(came || !*told);
    sink_free(&sink);
    return came;
}

static void
whichever_call_fails_what_was_durable_is_there_and_the_failure_is_told_once(void **state)
{
    (void)state;
    const unsigned counts[] = {1, UINT32_MAX};
    for (size_t i = 0; i < 2 * CALLS; i++) {
        enum call call = (enum call)(i / 2);
        bool came = true;
        unsigned failures = 0;
        for (unsigned at = 1; came; at++) {
            struct folder folder = make_folder();
            char path[2 * PATH_BYTES];
            bool told;
            snprintf(path, sizeof path, "%s", in_folder(folder.path, "wal"));
            came = live_with_fault(path, call, at, counts[i % 2], &told);
            failures += told;
            if (exists(path))
                remove_folder(path);
            remove_folder(folder.path);
        }
        // Nothing depends on a close. Names are removed only after another failure.
        assert_int_equal(failures > 0, call != CLOSE && call != UNLINK);
    }
}

static void short_and_interrupted_writes_are_completed(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    struct sink sink;
    sink_init(&sink);
    disk_reset();
    disk.write_max = 100;
    disk.interrupts = true;
    struct mf_wal_config config = config_of(folder.path, 0, SEGMENT, &sink);
    struct mf_wal *wal = open_on_fake(&config);
    for (uint64_t slot = 1; slot <= 9; slot++)
        assert_true(sink_wait(&sink, put_accept(wal, 0, slot, THREE_SECTORS)));
    mf_wal_close(wal);
    assert_recovers(folder.path, 9);
    sink_free(&sink);
    remove_folder(folder.path);
}

static void nothing_is_durable_before_its_sync_and_one_sync_covers_all_that_gathered(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    struct sink sink;
    sink_init(&sink);
    disk_reset();
    struct mf_wal_config config = config_of(folder.path, 0, 1u << 20, &sink);
    struct mf_wal *wal = open_on_fake(&config);
    pthread_mutex_lock(&disk.lock);
    disk.gate_closed = true;
    pthread_mutex_unlock(&disk.lock);

    assert_int_equal(mf_wal_stalled_us(wal, UINT64_MAX), 0);
    uint64_t before_us = mf_mono_us();
    put_accept(wal, 0, 1, 100);
    pthread_mutex_lock(&disk.lock);
    while (disk.waiting == 0)
        pthread_cond_wait(&disk.changed, &disk.lock);
    pthread_mutex_unlock(&disk.lock);
    uint64_t begun_us = mf_mono_us();
    for (uint64_t slot = 2; slot <= 50; slot++)
        put_accept(wal, 0, slot, 100);
    assert_int_equal(mf_wal_pending_bytes(wal), 50 * (33 + 100));
    // Nothing has moved since the first, whatever came after it.
    assert_in_range(mf_wal_stalled_us(wal, begun_us + 1000000), 1000000,
                    1000000 + begun_us - before_us);
    assert_int_equal(mf_wal_stalled_us(wal, before_us), 0);
    pthread_mutex_lock(&sink.lock);
    assert_int_equal(sink.reports, 0);
    pthread_mutex_unlock(&sink.lock);

    pthread_mutex_lock(&disk.lock);
    disk.gate_closed = false;
    pthread_cond_broadcast(&disk.changed);
    pthread_mutex_unlock(&disk.lock);
    assert_true(sink_wait(&sink, 50));
    assert_int_equal(mf_wal_pending_bytes(wal), 0);
    assert_int_equal(mf_wal_stalled_us(wal, UINT64_MAX), 0);
    struct mf_wal_stats stats;
    mf_wal_stats(wal, &stats);
    assert_int_equal(stats.syncs, 2);
    assert_int_equal(stats.bytes, 512 + 6656);
    assert_true(stats.sync_us_max <= stats.sync_us_total);
    mf_wal_close(wal);
    assert_int_equal(sink.reports, 2);
    assert_recovers(folder.path, 50);
    sink_free(&sink);
    remove_folder(folder.path);
}

static void a_failed_sync_is_not_tried_again(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    struct sink sink;
    sink_init(&sink);
    disk_reset();
    struct mf_wal_config config = config_of(folder.path, 0, 1u << 20, &sink);
    struct mf_wal *wal = open_on_fake(&config);
    assert_true(sink_wait(&sink, put_accept(wal, 0, 1, 10)));
    disk_fail(FDATASYNC, 1, 1, EIO);
    assert_false(sink_wait(&sink, put_accept(wal, 0, 2, 10)));
    unsigned syncs = disk_made(FDATASYNC);
    unsigned writes = disk_made(PWRITE);
    assert_int_equal(put_accept(wal, 0, 3, 10), 3);
    assert_int_equal(mf_wal_pending_bytes(wal), 2 * (33 + 10));
    mf_wal_close(wal);
    assert_int_equal(disk_made(FDATASYNC), syncs);
    assert_int_equal(disk_made(PWRITE), writes);
    assert_int_equal(sink.durable, 1);
    assert_int_equal(sink.failures, 1);
    char expected[2 * PATH_BYTES];
    snprintf(expected, sizeof expected, "cannot sync %s/0000-00000001.wal: Input/output error",
             folder.path);
    assert_string_equal(sink.message, expected);
    sink_free(&sink);
    remove_folder(folder.path);
}

static void a_full_disk_that_has_room_when_a_segment_is_needed_stops_nothing(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    struct sink sink;
    sink_init(&sink);
    disk_reset();
    struct mf_wal_config config = config_of(folder.path, 0, SEGMENT, &sink);
    struct mf_wal *wal = open_on_fake(&config);
    disk_fail(CREATE, 1, 1, ENOSPC);
    for (uint64_t slot = 1; slot <= 5; slot++)
        assert_true(sink_wait(&sink, put_accept(wal, 0, slot, THREE_SECTORS)));
    mf_wal_close(wal);
    assert_recovers(folder.path, 5);
    sink_free(&sink);
    remove_folder(folder.path);
}

static void a_log_begins_where_there_is_hardly_room(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    struct sink sink;
    sink_init(&sink);
    disk_reset();
    disk_fail(PWRITE, 1, 1, ENOSPC); // a whole segment does not fit
    struct mf_wal_config config = config_of(folder.path, 0, SEGMENT, &sink);
    struct mf_wal *wal = open_on_fake(&config);
    for (uint64_t slot = 1; slot <= 5; slot++)
        assert_true(sink_wait(&sink, put_accept(wal, 0, slot, THREE_SECTORS)));
    mf_wal_close(wal);
    assert_int_equal(sink.blocks, 0);
    assert_recovers(folder.path, 5);
    assert_false(any_temporary(folder.path));
    sink_free(&sink);
    remove_folder(folder.path);
}

// The tries that come while nothing changes.
static void wait_for_tries(enum call call, unsigned tries)
{
    while (disk_made(call) < tries)
        sched_yield();
}

static void a_disk_that_stays_full_blocks_the_log_which_can_be_closed(void **state)
{
    (void)state;
    const enum call calls[] = {CREATE, PWRITE};
    for (size_t i = 0; i < 2; i++) {
        struct folder folder = make_folder();
        struct sink sink;
        sink_init(&sink);
        disk_reset();
        struct mf_wal_config config = config_of(folder.path, 0, SEGMENT, &sink);
        struct mf_wal *wal = open_on_fake(&config);
        disk_fail(calls[i], calls[i] == CREATE ? 1 : 3, UINT32_MAX, ENOSPC);
        assert_true(sink_wait(&sink, put_accept(wal, 0, 1, THREE_SECTORS)));
        // With the second, writes fail too, be it the batch's or the preparer's.
        bool second = sink_wait_or_blocked(&sink, put_accept(wal, 0, 2, THREE_SECTORS));
        assert_true(second || calls[i] == PWRITE);
        assert_false(sink_wait_or_blocked(&sink, put_accept(wal, 0, 3, THREE_SECTORS)));
        assert_int_equal(mf_wal_blocked(wal), MF_WAL_FULL);
        uint64_t pending = mf_wal_pending_bytes(wal);
        assert_true(pending > 0);
        // Tries are not without a pause, each longer than the one before.
        uint64_t since_us = mf_mono_us();
        unsigned tries = disk_made(calls[i]);
        wait_for_tries(calls[i], tries + 6);
        assert_true(mf_mono_us() - since_us >= (1 + 2 + 4) * config.retry_us);
        assert_int_equal(mf_wal_pending_bytes(wal), pending);
        mf_wal_close(wal);
        assert_int_equal(sink.failures, 0);
        assert_int_equal(sink.blocks, 1);
        assert_non_null(strstr(sink.message, "No space left on device; free some space ("));
        assert_non_null(strstr(sink.message, " KiB free of "));
        assert_holds(folder.path, sink.durable, 3);
        assert_false(any_temporary(folder.path));
        sink_free(&sink);
        remove_folder(folder.path);
    }
}

// One life of a log whose disk is full from the `at`th call of a kind on, until it has been for
// `count` tries more. Returns whether that call was made.
static bool live_through_full_disk(enum call call, unsigned at, unsigned count, bool partly)
{
    struct folder folder = make_folder();
    struct sink sink;
    sink_init(&sink);
    disk_reset();
    struct mf_wal_config config = config_of(folder.path, 0, SEGMENT, &sink);
    struct mf_wal *wal = open_on_fake(&config);
    disk_fail(call, at, UINT32_MAX, ENOSPC);
    disk.partly = partly;
    uint64_t submitted = 0;
    bool blocked = false;
    while (submitted < 8) {
        // One larger than a segment, and some that gather behind it.
        size_t len = submitted % 4 == 2 ? 2 * SEGMENT : THREE_SECTORS;
        put_accept(wal, 0, ++submitted, len);
        put_accept(wal, 0, ++submitted, THREE_SECTORS);
        if (sink_wait_or_blocked(&sink, submitted))
            continue;
        blocked = true;
        assert_int_equal(sink.failures, 0);
        assert_int_equal(mf_wal_blocked(wal), MF_WAL_FULL);
        // What a process leaves that is killed now.
        assert_holds(folder.path, sink.durable, submitted);
        wait_for_tries(call, disk_made(call) + count);
        disk_fail(call, 1, 0, 0);
        assert_true(sink_wait(&sink, submitted));
    }
    assert_int_equal(mf_wal_blocked(wal), MF_WAL_FLOWS);
    assert_int_equal(mf_wal_pending_bytes(wal), 0);
    mf_wal_close(wal);
    assert_int_equal(sink.block, MF_WAL_FLOWS);
    assert_int_equal(sink.blocks, blocked);
    assert_int_equal(sink.failures, 0);
    assert_false(sink.out_of_order);
    assert_recovers(folder.path, submitted);
    assert_false(any_temporary(folder.path));
    sink_free(&sink);
    remove_folder(folder.path);
    return blocked;
}

static void a_full_disk_that_has_room_again_loses_nothing_and_keeps_the_order(void **state)
{
    (void)state;
    const enum call calls[] = {CREATE, PWRITE, PWRITE, RENAME};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        for (unsigned count = 0; count <= 3; count++) {
            unsigned at = 1;
            while (live_through_full_disk(calls[i], at, count, i == 2))
                at++;
            assert_true(at > 2);
        }
    }
}

static void a_sync_that_failed_while_preparing_is_final(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    struct sink sink;
    sink_init(&sink);
    disk_reset();
    struct mf_wal_config config = config_of(folder.path, 0, SEGMENT, &sink);
    struct mf_wal *wal = open_on_fake(&config);
    disk_fail(FSYNC, 1, 1, EIO);
    for (uint64_t slot = 1; slot <= 2; slot++)
        assert_true(sink_wait(&sink, put_accept(wal, 0, slot, THREE_SECTORS)));
    assert_false(sink_wait(&sink, put_accept(wal, 0, 3, THREE_SECTORS)));
    mf_wal_close(wal);
    assert_int_equal(sink.failures, 1);
    assert_non_null(strstr(sink.message, "cannot sync"));
    assert_holds(folder.path, 2, 2);
    sink_free(&sink);
    remove_folder(folder.path);
}

static void a_new_folder_is_made_durable_in_its_parent(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    struct sink sink;
    sink_init(&sink);
    disk_reset();
    disk_fail(FSYNC, 1, 1, EIO);
    char path[2 * PATH_BYTES];
    snprintf(path, sizeof path, "%s", in_folder(folder.path, "wal"));
    struct mf_wal_config config = config_of(path, 0, SEGMENT, &sink);
    struct mf_wal *wal;
    char message[512];
    assert_int_equal(mf_wal_open_on(&fake_disk, &config, &wal, message, sizeof message), MF_IO);
    char expected[2 * PATH_BYTES];
    snprintf(expected, sizeof expected, "cannot sync %s: Input/output error", folder.path);
    assert_string_equal(message, expected);
    sink_free(&sink);
    remove_folder(path);
    remove_folder(folder.path);
}

static void without_sync_records_are_written_and_nothing_is_synced(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    struct sink sink;
    sink_init(&sink);
    disk_reset();
    struct mf_wal_config config = config_of(folder.path, 0, SEGMENT, &sink);
    config.sync = false;
    for (uint64_t first = 1; first <= 8; first += 7) {
        sink.durable = 0;
        struct mf_wal *wal = open_on_fake(&config);
        for (uint64_t slot = first; slot < first + 7; slot++)
            assert_true(sink_wait(&sink, put_accept(wal, 0, slot, THREE_SECTORS)));
        struct mf_wal_stats stats;
        mf_wal_stats(wal, &stats);
        assert_int_equal(stats.syncs, 0);
        mf_wal_close(wal);
    }
    assert_int_equal(disk_made(FDATASYNC), 0);
    assert_int_equal(disk_made(FSYNC), 0);
    assert_recovers(folder.path, 14);
    sink_free(&sink);
    remove_folder(folder.path);
}

static void a_file_that_cannot_be_read_fails_the_recovery_with_its_name(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    struct sink sink;
    sink_init(&sink);
    disk_reset();
    struct mf_wal_config config = config_of(folder.path, 0, SEGMENT, &sink);
    struct mf_wal *wal = open_on_fake(&config);
    assert_true(sink_wait(&sink, put_accept(wal, 0, 1, 10)));
    mf_wal_close(wal);

    // What cannot be forced to disk may not count as read.
    const enum call calls[] = {OPEN, FDATASYNC};
    for (size_t i = 0; i < 2; i++) {
        struct recovered got = {0};
        disk_fail(calls[i], 1, 1, EIO);
        assert_int_equal(
            mf_wal_recover_on(&fake_disk, folder.path, &got.recovery, NULL, collect, &got), MF_IO);
        assert_int_equal(got.count, 0);
        assert_non_null(strstr(got.recovery.message, "0000-00000001.wal: Input/output error"));
    }
    assert_int_equal(mkdir(in_folder(folder.path, "0001-00000001.wal"), 0700), 0);
    struct recovered got;
    assert_int_equal(recover(folder.path, &got), MF_IO);
    assert_non_null(strstr(got.recovery.message, "cannot read"));
    free(got.slots);
    assert_int_equal(rmdir(in_folder(folder.path, "0001-00000001.wal")), 0);
    sink_free(&sink);
    remove_folder(folder.path);
}

int main(void)
{
    mf_log_set_level(MF_ERROR); // the warnings are expected
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            whichever_call_fails_what_was_durable_is_there_and_the_failure_is_told_once),
        cmocka_unit_test(short_and_interrupted_writes_are_completed),
        cmocka_unit_test(nothing_is_durable_before_its_sync_and_one_sync_covers_all_that_gathered),
        cmocka_unit_test(a_failed_sync_is_not_tried_again),
        cmocka_unit_test(a_log_begins_where_there_is_hardly_room),
        cmocka_unit_test(a_full_disk_that_has_room_when_a_segment_is_needed_stops_nothing),
        cmocka_unit_test(a_disk_that_stays_full_blocks_the_log_which_can_be_closed),
        cmocka_unit_test(a_full_disk_that_has_room_again_loses_nothing_and_keeps_the_order),
        cmocka_unit_test(a_sync_that_failed_while_preparing_is_final),
        cmocka_unit_test(a_new_folder_is_made_durable_in_its_parent),
        cmocka_unit_test(without_sync_records_are_written_and_nothing_is_synced),
        cmocka_unit_test(a_file_that_cannot_be_read_fails_the_recovery_with_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
