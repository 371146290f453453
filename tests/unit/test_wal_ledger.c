// Which files of the log may go: the ledger's rules one by one, and the removal across crashes of
// its own, by a disk that ends at every call in turn.
#include <errno.h>
#include <fcntl.h>

#include "base/log.h"
#include "tests/unit/wal_helper.h"

#define SEGMENT 4096u
#define GROUPS 4u

// The ledger's rules.

static void note(struct mf_wal_ledger *ledger, uint32_t stream, enum mf_wal_type type,
                 uint32_t group, uint64_t slot, bool fresh)
{
    struct mf_wal_record record = {.type = type, .group = group, .slot = slot};
    mf_wal_ledger_note(ledger, stream, &record, fresh);
}

// What would be removed next of this stream; 0: nothing.
static uint64_t next_of(struct mf_wal_ledger *ledger, uint32_t stream)
{
    uint32_t of = 0;
    uint64_t sequence = 0;
    bool found = mf_wal_ledger_next(ledger, stream, false, &of, &sequence);
    assert_true(!found || of == stream);
    return found ? sequence : 0;
}

// Stream 0: file 3 with an entry of group 1 in slot 10, and file 4 being written.
static struct mf_wal_ledger *two_files(void)
{
    struct mf_wal_ledger *ledger = mf_wal_ledger_new(GROUPS);
    mf_wal_ledger_open(ledger, 0);
    mf_wal_ledger_file(ledger, 0, 3, SEGMENT);
    note(ledger, 0, MF_WAL_ACCEPT, 1, 9, true);
    note(ledger, 0, MF_WAL_ACCEPT, 1, 10, true);
    note(ledger, 0, MF_WAL_ACCEPT, 1, 8, true);
    mf_wal_ledger_file(ledger, 0, 4, SEGMENT);
    return ledger;
}

static void restate(struct mf_wal_ledger *ledger, uint32_t stream, uint32_t group)
{
    note(ledger, stream, MF_WAL_PROMISE, group, 0, true);
    note(ledger, stream, MF_WAL_MARK, group, 0, true);
}

static void a_file_stays_until_its_highest_slot_is_covered(void **state)
{
    (void)state;
    struct mf_wal_ledger *ledger = two_files();
    restate(ledger, 0, 1);
    uint32_t group = 0;
    assert_int_equal(next_of(ledger, 0), 0);
    assert_true(mf_wal_ledger_pinned_by(ledger, &group));
    assert_int_equal(group, 1);
    mf_wal_ledger_cover(ledger, 1, 9);
    assert_int_equal(next_of(ledger, 0), 0);
    mf_wal_ledger_cover(ledger, 1, 10);
    assert_false(mf_wal_ledger_pinned_by(ledger, &group));
    assert_int_equal(next_of(ledger, 0), 3);
    assert_int_equal(mf_wal_ledger_bytes(ledger), 2 * SEGMENT);
    mf_wal_ledger_removed(ledger, 0, 3);
    assert_int_equal(mf_wal_ledger_bytes(ledger), SEGMENT);
    assert_int_equal(next_of(ledger, 0), 0); // the one being written
    mf_wal_ledger_free(ledger);
}

static void a_group_that_begins_anew_needs_its_entries_again(void **state)
{
    (void)state;
    struct mf_wal_ledger *ledger = two_files();
    restate(ledger, 0, 1);
    mf_wal_ledger_cover(ledger, 1, UINT64_MAX);
    mf_wal_ledger_uncover(ledger, 1);
    assert_int_equal(next_of(ledger, 0), 0);
    mf_wal_ledger_cover(ledger, 1, 10);
    assert_int_equal(next_of(ledger, 0), 3);
    mf_wal_ledger_free(ledger);
}

static void a_file_stays_until_promise_and_mark_are_behind_it(void **state)
{
    (void)state;
    struct mf_wal_ledger *ledger = two_files();
    mf_wal_ledger_cover(ledger, 1, 10);
    assert_int_equal(next_of(ledger, 0), 0);
    assert_int_equal(mf_wal_ledger_restate_count(ledger), 1);
    assert_false(mf_wal_ledger_restate(ledger, 0));
    assert_true(mf_wal_ledger_restate(ledger, 1));
    assert_int_equal(mf_wal_ledger_restate_count(ledger), 0);
    note(ledger, 0, MF_WAL_PROMISE, 1, 0, true);
    assert_int_equal(next_of(ledger, 0), 0);
    note(ledger, 0, MF_WAL_MARK, 1, 0, true);
    assert_int_equal(next_of(ledger, 0), 3);
    mf_wal_ledger_free(ledger);
}

static void a_promise_in_the_file_itself_does_not_let_it_go(void **state)
{
    (void)state;
    struct mf_wal_ledger *ledger = mf_wal_ledger_new(GROUPS);
    mf_wal_ledger_open(ledger, 0);
    mf_wal_ledger_file(ledger, 0, 3, SEGMENT);
    restate(ledger, 0, 1);
    mf_wal_ledger_file(ledger, 0, 4, SEGMENT);
    assert_int_equal(next_of(ledger, 0), 0);
    assert_int_equal(mf_wal_ledger_restate_count(ledger), 1);
    restate(ledger, 0, 1);
    assert_int_equal(next_of(ledger, 0), 3);
    mf_wal_ledger_free(ledger);
}

// So that on a disk that is full a checkpoint is enough for older files to go.
static void with_a_new_file_all_that_were_written_are_wanted_again(void **state)
{
    (void)state;
    struct mf_wal_ledger *ledger = two_files();
    assert_int_equal(mf_wal_ledger_restate_count(ledger), 0); // nothing that could be
    restate(ledger, 0, 1);
    mf_wal_ledger_file(ledger, 1, 1, SEGMENT);
    restate(ledger, 1, 2); // another stream's
    mf_wal_ledger_file(ledger, 0, 5, SEGMENT);
    assert_int_equal(mf_wal_ledger_restate_count(ledger), 1);
    assert_true(mf_wal_ledger_restate(ledger, 1));
    mf_wal_ledger_file(ledger, 0, 5, SEGMENT + 1); // it has grown, and is no new one
    assert_int_equal(mf_wal_ledger_restate_count(ledger), 0);
    mf_wal_ledger_free(ledger);
}

// With another number of threads group 1 has moved from stream 1 to stream 0.
static void files_of_a_former_stream_go_when_this_run_has_written_again(void **state)
{
    (void)state;
    struct mf_wal_ledger *ledger = mf_wal_ledger_new(GROUPS);
    mf_wal_ledger_file(ledger, 1, 7, SEGMENT);
    note(ledger, 1, MF_WAL_ACCEPT, 1, 5, false);
    mf_wal_ledger_file(ledger, 1, 8, SEGMENT);
    note(ledger, 1, MF_WAL_PROMISE, 1, 0, false);
    note(ledger, 1, MF_WAL_MARK, 1, 0, false);
    mf_wal_ledger_file(ledger, 0, 2, SEGMENT);
    mf_wal_ledger_open(ledger, 0);
    mf_wal_ledger_cover(ledger, 1, 5);
    uint32_t stream = 9;
    uint64_t sequence = 0;
    // What a former run wrote may be older than a promise in any other stream.
    assert_false(mf_wal_ledger_next(ledger, 0, true, &stream, &sequence));
    restate(ledger, 0, 1);
    assert_false(mf_wal_ledger_next(ledger, 0, false, &stream, &sequence));
    for (uint64_t expected = 7; expected <= 8; expected++) {
        assert_true(mf_wal_ledger_next(ledger, 0, true, &stream, &sequence));
        assert_int_equal(stream, 1);
        assert_int_equal(sequence, expected);
        mf_wal_ledger_removed(ledger, stream, sequence);
    }
    assert_false(mf_wal_ledger_next(ledger, 0, true, &stream, &sequence));
    mf_wal_ledger_free(ledger);
}

// Removal by the log, on a disk that ends.

// From the `end_at`th call on nothing changes the folder any more, as after a crash: calls report
// success, or the log would stop early.
static struct {
    pthread_mutex_t lock;
    uint64_t calls;
    uint64_t end_at;
    char pending[PATH_BYTES]; // a file whose removal is not synced; empty: none
    struct mf_buf content;    // what it held
    bool two_pending;
    uint64_t removed;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool alive(void)
{
    pthread_mutex_lock(&disk.lock);
    bool lives = ++disk.calls < disk.end_at;
    pthread_mutex_unlock(&disk.lock);
    return lives;
}

static int end_open(const char *path, int flags, mode_t mode)
{
    if (!alive())
        return open("/dev/null", O_WRONLY);
    return open(path, flags, mode);
}

static ssize_t end_pwrite(int fd, const void *data, size_t len, off_t offset)
{
    return alive() ? pwrite(fd, data, len, offset) : (ssize_t)len;
}

static int end_fdatasync(int fd)
{
    (void)fd;
    (void)alive();
    return 0;
}

static int end_fsync(int fd)
{
    (void)fd;
    if (alive())
        disk.pending[0] = '\0';
    return 0;
}

static int end_close(int fd)
{
    (void)alive();
    return close(fd);
}

// A removal is kept back until the folder is synced; the next one must not come before that. A file
// that is kept for a later segment loses its name in the same way.
static void note_removal(const char *path)
{
    if (strstr(path, ".tmp") != NULL)
        return;
    disk.two_pending |= disk.pending[0] != '\0';
    snprintf(disk.pending, sizeof disk.pending, "%s", path);
    mf_buf_free(&disk.content);
    disk.content = read_file(path);
    disk.removed++;
}

static int end_rename(const char *from, const char *to)
{
    if (!alive())
        return 0;
    note_removal(from);
    return rename(from, to);
}

static int end_unlink(const char *path)
{
    if (!alive())
        return 0;
    note_removal(path);
    return unlink(path);
}

static int end_mkdir(const char *path, mode_t mode)
{
    return alive() ? mkdir(path, mode) : 0;
}

static const struct mf_wal_disk ending_disk = {
    .open = end_open,
    .pwrite = end_pwrite,
    .fdatasync = end_fdatasync,
    .fsync = end_fsync,
    .close = end_close,
    .rename = end_rename,
    .unlink = end_unlink,
    .mkdir = end_mkdir,
};

// What a recovery found of group 0.
struct found {
    uint64_t promise;
    uint64_t mark;
    bool slots[64];
};

static enum mf_err find(void *arg, const struct mf_wal_record *record)
{
    struct found *found = arg;
    if (record->type == MF_WAL_PROMISE && record->ballot > found->promise)
        found->promise = record->ballot;
    else if (record->type == MF_WAL_MARK && record->slot > found->mark)
        found->mark = record->slot;
    else if (record->type == MF_WAL_ACCEPT)
        found->slots[record->slot] = true;
    return MF_OK;
}

static void put_and_wait(struct mf_wal *wal, struct sink *sink, const struct mf_wal_record *record)
{
    mf_wal_put(wal, record);
    assert_true(sink_wait(sink, mf_wal_submit(wal)));
}

#define SLOTS 12u
#define COVERED 10u

static const struct mf_wal_record promise = {.type = MF_WAL_PROMISE, .ballot = 77};
static const struct mf_wal_record mark = {.type = MF_WAL_MARK, .slot = 11, .wall_us = 1};

// Writes promise, mark and SLOTS entries, two to a file; covers some; writes promise and mark again
// and removes what may go, until the disk ends at the `end_at`th call of this last part.
static void fill_and_drop(const char *folder, uint32_t stream, uint64_t end_at)
{
    disk.calls = 0;
    disk.end_at = UINT64_MAX;
    disk.pending[0] = '\0';
    disk.two_pending = false;
    disk.removed = 0;
    struct mf_wal_ledger *ledger = mf_wal_ledger_new(1);
    struct mf_wal_recovery recovery;
    struct found found = {0};
    assert_int_equal(mf_wal_recover_on(&ending_disk, folder, &recovery, ledger, find, &found),
                     MF_OK);
    struct sink sink;
    sink_init(&sink);
    struct mf_wal_config config = config_of(folder, stream, SEGMENT, &sink);
    config.ledger = ledger;
    config.orphans = true;
    struct mf_wal *wal;
    char message[512];
    if (mf_wal_open_on(&ending_disk, &config, &wal, message, sizeof message) != MF_OK)
        fail_msg("%s", message);
    if (recovery.records == 0) {
        put_and_wait(wal, &sink, &promise);
        put_and_wait(wal, &sink, &mark);
        for (uint64_t slot = 1; slot <= SLOTS; slot++)
            assert_true(sink_wait(&sink, put_accept(wal, 0, slot, 1400)));
    }
    pthread_mutex_lock(&disk.lock);
    disk.calls = 0;
    disk.end_at = end_at;
    pthread_mutex_unlock(&disk.lock);
    mf_wal_ledger_cover(ledger, 0, COVERED);
    // As a reactor does it at each sweep, until nothing is left to do.
    uint32_t of;
    uint64_t sequence;
    while (mf_wal_ledger_next(ledger, stream, true, &of, &sequence) ||
           mf_wal_ledger_restate_count(ledger) > 0) {
        if (mf_wal_ledger_restate(ledger, 0)) {
            put_and_wait(wal, &sink, &promise);
            put_and_wait(wal, &sink, &mark);
        }
        mf_wal_tidy(wal);
        sched_yield();
    }
    mf_wal_close(wal);
    assert_int_equal(sink.failures, 0);
    assert_false(disk.two_pending);
    sink_free(&sink);
    mf_wal_ledger_free(ledger);
}

static void assert_needed_is_there(const char *folder)
{
    struct found found = {0};
    struct mf_wal_recovery recovery;
    if (mf_wal_recover(folder, &recovery, NULL, find, &found) != MF_OK)
        fail_msg("%s", recovery.message);
    assert_int_equal(found.promise, promise.ballot);
    assert_int_equal(found.mark, mark.slot);
    for (uint64_t slot = COVERED + 1; slot <= SLOTS; slot++)
        assert_true(found.slots[slot]);
}

// The crash may bring the file back whose removal was not synced: the oldest, so no hole is left.
static void bring_back(void)
{
    if (disk.pending[0] != '\0')
        write_file(disk.pending, mf_buf_view(&disk.content));
}

static void a_crash_at_any_call_of_a_removal_loses_nothing_that_is_needed(void **state)
{
    (void)state;
    uint64_t all = UINT64_MAX;
    uint64_t most = 0;
    for (uint64_t end_at = 1; end_at <= all; end_at++) {
        struct folder folder = make_folder();
        fill_and_drop(folder.path, 0, end_at);
        most = disk.removed > most ? disk.removed : most;
        if (disk.calls < end_at) {
            all = end_at; // nothing was left to end
            struct found found = {0};
            struct mf_wal_recovery recovery;
            assert_int_equal(mf_wal_recover(folder.path, &recovery, NULL, find, &found), MF_OK);
            for (uint64_t slot = 1; slot < COVERED; slot++)
                assert_false(found.slots[slot]);
        }
        assert_needed_is_there(folder.path);
        bring_back();
        assert_needed_is_there(folder.path);
        // The next run removes the rest.
        fill_and_drop(folder.path, 0, UINT64_MAX);
        assert_needed_is_there(folder.path);
        remove_folder(folder.path);
    }
    mf_buf_free(&disk.content);
    assert_true(most >= COVERED / 2);
}

static void files_of_a_former_thread_are_removed_by_the_one_that_is_left(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    fill_and_drop(folder.path, 1, 1);
    size_t before = each_name(folder.path, false);
    fill_and_drop(folder.path, 0, UINT64_MAX);
    assert_needed_is_there(folder.path);
    assert_true(disk.removed >= COVERED / 2);
    assert_true(each_name(folder.path, false) < before);
    remove_folder(folder.path);
}

int main(void)
{
    mf_log_set_level(MF_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_stays_until_its_highest_slot_is_covered),
        cmocka_unit_test(a_group_that_begins_anew_needs_its_entries_again),
        cmocka_unit_test(a_file_stays_until_promise_and_mark_are_behind_it),
        cmocka_unit_test(a_promise_in_the_file_itself_does_not_let_it_go),
        cmocka_unit_test(with_a_new_file_all_that_were_written_are_wanted_again),
        cmocka_unit_test(files_of_a_former_stream_go_when_this_run_has_written_again),
        cmocka_unit_test(a_crash_at_any_call_of_a_removal_loses_nothing_that_is_needed),
        cmocka_unit_test(files_of_a_former_thread_are_removed_by_the_one_that_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
