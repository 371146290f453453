// The write-ahead log across crashes. A process that is killed with SIGKILL leaves what it wrote to
// the kernel; a machine that loses power leaves what was synced and any part of what was not. The
// second is played by a disk that remembers which sectors and names were synced.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/rand.h"
#include "tests/unit/wal_helper.h"

#define SEGMENT 4096u
#define SECTOR 512u
#define NAMES_MAX 512
#define FDS_MAX 64

// One file as the log sees it and as the disk has it.
struct inode {
    struct mf_buf seen;
    struct mf_buf synced;
};

struct name {
    char text[MF_WAL_NAME_BYTES];
    struct inode *inode; // NULL: no such name
};

// The real folder holds what the kernel would show; this holds what a crash would leave. A crash is
// a moment: from `crash_at` on, calls go through to the real folder and leave no trace here. Shared
// by the log's threads and the test; under its mutex.
static struct {
    pthread_mutex_t lock;
    struct name seen[NAMES_MAX];
    struct name synced[NAMES_MAX];
    struct inode *open[FDS_MAX]; // by file descriptor
    struct inode *inodes[4096];  // all of them, for the end
    size_t inode_count;
    uint64_t recycled; // files that were made of others
    uint64_t calls;
    uint64_t crash_at;
    bool crashed;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const char *base_name(const char *path)
{
    return strrchr(path, '/') + 1;
}

static struct name *find_name(struct name *names, const char *text)
{
    struct name *empty = NULL;
    for (size_t i = 0; i < NAMES_MAX; i++) {
        if (strcmp(names[i].text, text) == 0)
            return &names[i];
        if (names[i].text[0] == '\0' && empty == NULL)
            empty = &names[i];
    }
    assert_non_null(empty);
    snprintf(empty->text, sizeof empty->text, "%s", text);
    return empty;
}

static struct inode *new_inode(void)
{
    struct inode *inode = mf_calloc(1, sizeof *inode);
    assert_true(disk.inode_count < sizeof disk.inodes / sizeof *disk.inodes);
    disk.inodes[disk.inode_count++] = inode;
    return inode;
}

static void copy_buf(struct mf_buf *to, const struct mf_buf *from)
{
    to->len = 0;
    mf_buf_put(to, from->data, from->len);
}

// Takes the lock and counts the call. True when it leaves a trace.
static bool begin_call(void)
{
    pthread_mutex_lock(&disk.lock);
    if (++disk.calls == disk.crash_at)
        disk.crashed = true;
    return !disk.crashed;
}

static void end_call(void)
{
    pthread_mutex_unlock(&disk.lock);
}

static int crash_open(const char *path, int flags, mode_t mode)
{
    bool traced = begin_call();
    int fd = open(path, flags, mode);
    assert_true(fd < FDS_MAX);
    if (fd >= 0) {
        disk.open[fd] = NULL; // a folder, or a file that is made after the crash
        if (traced && (flags & O_DIRECTORY) == 0) {
            struct name *name = find_name(disk.seen, base_name(path));
            if ((flags & O_CREAT) != 0)
                name->inode = new_inode();
            else
                disk.recycled += strstr(path, ".tmp") != NULL;
            disk.open[fd] = name->inode;
        }
    }
    end_call();
    return fd;
}

static ssize_t crash_pwrite(int fd, const void *data, size_t len, off_t offset)
{
    bool traced = begin_call();
    if (traced && disk.open[fd] != NULL) {
        struct mf_buf *seen = &disk.open[fd]->seen;
        size_t end = (size_t)offset + len;
        if (end > seen->len) {
            memset(mf_buf_reserve(seen, end - seen->len), 0, end - seen->len);
            seen->len = end;
        }
        memcpy(seen->data + offset, data, len);
    }
    ssize_t result = pwrite(fd, data, len, offset);
    end_call();
    return result;
}

static int crash_sync(int fd)
{
    bool traced = begin_call();
    if (traced && disk.open[fd] != NULL)
        copy_buf(&disk.open[fd]->synced, &disk.open[fd]->seen);
    else if (traced)
        memcpy(disk.synced, disk.seen, sizeof disk.synced);
    end_call();
    return 0;
}

static int crash_close(int fd)
{
    begin_call();
    int result = close(fd);
    end_call();
    return result;
}

static int crash_rename(const char *from, const char *to)
{
    if (begin_call()) {
        find_name(disk.seen, base_name(to))->inode = find_name(disk.seen, base_name(from))->inode;
        find_name(disk.seen, base_name(from))->inode = NULL;
    }
    int result = rename(from, to);
    end_call();
    return result;
}

static int crash_unlink(const char *path)
{
    if (begin_call())
        find_name(disk.seen, base_name(path))->inode = NULL;
    int result = unlink(path);
    end_call();
    return result;
}

static int crash_mkdir(const char *path, mode_t mode)
{
    begin_call();
    int result = mkdir(path, mode);
    end_call();
    return result;
}

static const struct mf_wal_disk crash_disk = {
    .open = crash_open,
    .pwrite = crash_pwrite,
    .fdatasync = crash_sync,
    .fsync = crash_sync,
    .close = crash_close,
    .rename = crash_rename,
    .unlink = crash_unlink,
    .mkdir = crash_mkdir,
};

// What power loss leaves of a file: each sector as synced or as last seen, by `kept_percent`, and
// now and then torn in between.
static void lose_power_on(struct inode *inode, struct mf_rand *rand, uint64_t kept_percent)
{
    struct mf_buf *seen = &inode->seen;
    struct mf_buf *synced = &inode->synced;
    size_t len = seen->len;
    if (len > synced->len) {
        if (mf_rand_below(rand, 100) >= kept_percent)
            len = synced->len;
        memset(mf_buf_reserve(synced, len - synced->len), 0, len - synced->len);
        synced->len = len;
    }
    for (size_t at = 0; at < len; at += SECTOR) {
        size_t bytes = len - at < SECTOR ? len - at : SECTOR;
        if (mf_rand_below(rand, 100) >= kept_percent)
            continue;
        if (mf_rand_below(rand, 8) == 0)
            bytes = mf_rand_below(rand, bytes);
        memcpy(synced->data + at, seen->data + at, bytes);
    }
    copy_buf(seen, synced);
}

// Empties the real folder and fills it with what the crash left. After a loss of power all of it is
// on the disk; after a mere end of the process the kernel still holds what was not synced.
static void crash(const char *folder, struct mf_rand *rand, bool power_lost)
{
    disk.crashed = true;
    if (power_lost) {
        const uint64_t percents[] = {0, 10, 50, 90, 100};
        uint64_t kept_percent = percents[mf_rand_below(rand, 5)];
        for (size_t i = 0; i < NAMES_MAX; i++) {
            struct name *seen = &disk.seen[i];
            if (seen->text[0] == '\0')
                continue;
            struct name *synced = find_name(disk.synced, seen->text);
            if (mf_rand_below(rand, 100) < kept_percent)
                synced->inode = seen->inode;
        }
        memcpy(disk.seen, disk.synced, sizeof disk.seen);
        for (size_t i = 0; i < disk.inode_count; i++)
            lose_power_on(disk.inodes[i], rand, kept_percent);
    }
    each_name(folder, true);
    for (size_t i = 0; i < NAMES_MAX; i++) {
        if (disk.seen[i].inode != NULL)
            write_file(in_folder(folder, disk.seen[i].text),
                       mf_buf_view(&disk.seen[i].inode->seen));
    }
}

static void forget_disk(void)
{
    for (size_t i = 0; i < disk.inode_count; i++) {
        mf_buf_free(&disk.inodes[i]->seen);
        mf_buf_free(&disk.inodes[i]->synced);
        free(disk.inodes[i]);
    }
    memset(disk.seen, 0, sizeof disk.seen);
    memset(disk.synced, 0, sizeof disk.synced);
    disk.inode_count = 0;
}

// Reports count only before the crash: after it nobody was there to hear them.
static void on_durable_before_crash(void *arg, uint64_t sequence)
{
    pthread_mutex_lock(&disk.lock);
    bool heard = !disk.crashed;
    pthread_mutex_unlock(&disk.lock);
    if (heard)
        on_durable(arg, sequence);
}

// The slots that must come back, and those that may behind them.
struct promise {
    uint64_t must;
    uint64_t may;
    uint64_t covered; // by a checkpoint, as far as the log was told: these may be missing
};

static enum mf_err collect_accepts(void *arg, const struct mf_wal_record *record)
{
    return record->type == MF_WAL_ACCEPT ? collect(arg, record) : MF_OK;
}

// Recovers, and holds the log to the promise. What a recovery gave is acted upon, so from then on
// it must come back every time.
static void recover_after_crash(const char *folder, struct mf_wal_ledger *ledger,
                                struct promise *promise)
{
    struct recovered got = {0};
    enum mf_err err =
        mf_wal_recover_on(&crash_disk, folder, &got.recovery, ledger, collect_accepts, &got);
    if (err != MF_OK)
        fail_msg("%s", got.recovery.message);
    uint64_t first = got.count > 0 ? got.slots[0] : promise->covered + 1;
    uint64_t last = first + got.count - 1;
    assert_in_range(first, 1, promise->covered + 1);
    assert_in_range(last, promise->must, promise->may);
    for (size_t i = 0; i < got.count; i++)
        assert_int_equal(got.slots[i], first + i);
    promise->may = last;
    if (!disk.crashed)
        promise->must = last;
    free(got.slots);
}

// One entry, with all that lets the files before it go once a checkpoint covers them.
static void append_and_cover(struct mf_wal *wal, struct mf_wal_ledger *ledger, struct sink *sink,
                             uint64_t first, uint64_t slot, size_t len, struct promise *promise)
{
    const struct mf_wal_record vow = {.type = MF_WAL_PROMISE, .ballot = 1};
    const struct mf_wal_record mark = {.type = MF_WAL_MARK};
    mf_wal_put(wal, &vow);
    mf_wal_put(wal, &mark);
    put_accept(wal, 0, slot, len);
    while (mf_wal_pending_bytes(wal) > SEGMENT)
        sched_yield();
    pthread_mutex_lock(&sink->lock);
    uint64_t durable = sink->durable;
    pthread_mutex_unlock(&sink->lock);
    if (durable > 0)
        promise->covered = first + durable;
    mf_wal_ledger_cover(ledger, 0, promise->covered);
    mf_wal_tidy(wal);
}

// One life: recover, check the promise, go on appending until the crash has come. With a ledger,
// files that are covered go meanwhile, and others are made of them.
static void live_and_crash(const char *folder, struct mf_rand *rand, struct mf_wal_ledger *ledger,
                           struct promise *promise)
{
    disk.calls = 0;
    disk.crash_at = 1 + mf_rand_below(rand, ledger != NULL ? 600 : 80);
    disk.crashed = false;
    recover_after_crash(folder, ledger, promise);
    struct sink sink;
    sink_init(&sink);
    struct mf_wal_config config = config_of(folder, 0, SEGMENT, &sink);
    config.ledger = ledger;
    config.durable = on_durable_before_crash;
    struct mf_wal *wal;
    char message[512];
    if (mf_wal_open_on(&crash_disk, &config, &wal, message, sizeof message) != MF_OK)
        fail_msg("%s", message);
    uint64_t first = promise->may;
    bool crashed = false;
    for (uint64_t i = 1; i <= (ledger != NULL ? 200 : 40) && !crashed; i++) {
        promise->may = first + i;
        size_t len = mf_rand_below(rand, 3000);
        if (ledger != NULL)
            append_and_cover(wal, ledger, &sink, first, first + i, len, promise);
        else
            put_accept(wal, 0, first + i, len);
        pthread_mutex_lock(&disk.lock);
        crashed = disk.crashed;
        pthread_mutex_unlock(&disk.lock);
    }
    mf_wal_close(wal);
    assert_int_equal(sink.failures, 0);
    if (sink.durable > 0)
        promise->must = first + sink.durable;
    sink_free(&sink);
}

static void
what_was_durable_survives_any_loss_of_power_and_nothing_is_taken_for_damage(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct mf_rand rand = {.state = seed};
        struct folder folder = make_folder();
        struct promise promise = {0};
        for (int life = 0; life < 6; life++) {
            live_and_crash(folder.path, &rand, NULL, &promise);
            crash(folder.path, &rand, mf_rand_below(&rand, 3) != 0);
        }
        forget_disk();
        remove_folder(folder.path);
    }
}

static void files_that_are_made_of_others_survive_it_too(void **state)
{
    (void)state;
    disk.recycled = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct mf_rand rand = {.state = seed};
        struct folder folder = make_folder();
        struct promise promise = {0};
        for (int life = 0; life < 6; life++) {
            struct mf_wal_ledger *ledger = mf_wal_ledger_new(1);
            mf_wal_ledger_cover(ledger, 0, promise.covered);
            live_and_crash(folder.path, &rand, ledger, &promise);
            mf_wal_ledger_free(ledger);
            crash(folder.path, &rand, mf_rand_below(&rand, 3) != 0);
        }
        forget_disk();
        remove_folder(folder.path);
    }
    assert_true(disk.recycled > 100);
}

// The child's callback: tells the parent by a pipe, which a killed process leaves intact.
static void report(void *arg, uint64_t sequence)
{
    const int *pipe_end = arg;
    if (write(*pipe_end, &sequence, sizeof sequence) != sizeof sequence)
        _exit(1);
}

static void give_up(void *arg, const char *message)
{
    (void)arg;
    (void)message;
    _exit(1);
}

// Appends without end; the parent kills it.
static void append_until_killed(const char *folder, uint64_t from, int pipe_end)
{
    struct mf_wal_config config = {.folder = folder,
                                   .segment_bytes = 4 * SEGMENT,
                                   .sync = true,
                                   .durable = report,
                                   .failed = give_up,
                                   .arg = &pipe_end};
    struct mf_wal *wal;
    char message[512];
    if (mf_wal_open(&config, &wal, message, sizeof message) != MF_OK)
        _exit(1);
    for (uint64_t slot = from;; slot++) {
        put_accept(wal, 0, slot, slot * 37 % 3000);
        while (mf_wal_pending_bytes(wal) > 16384)
            sched_yield();
    }
}

static void what_a_killed_process_reported_is_there(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    struct mf_rand rand = {.state = 1};
    uint64_t before = 0;
    for (int round = 0; round < 20; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            append_until_killed(folder.path, before + 1, ends[1]);
        close(ends[1]);
        // The kill falls wherever the child is when so many reports have come.
        uint64_t reported = 0;
        uint64_t sequence;
        for (uint64_t left = 1 + mf_rand_below(&rand, 16); left > 0; left--) {
            assert_int_equal(read(ends[0], &sequence, sizeof sequence), sizeof sequence);
            reported = sequence;
        }
        kill(child, SIGKILL);
        while (read(ends[0], &sequence, sizeof sequence) == sizeof sequence)
            reported = sequence;
        close(ends[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));

        struct recovered got;
        if (recover(folder.path, &got) != MF_OK)
            fail_msg("%s", got.recovery.message);
        assert_true(got.count >= before + reported);
        for (size_t i = 0; i < got.count; i++)
            assert_int_equal(got.slots[i], i + 1);
        before = got.count;
        free(got.slots);
    }
    remove_folder(folder.path);
}

int main(void)
{
    setenv("TMPDIR", "/dev/shm", 0); // the disk that counts is the one above
    mf_log_set_level(MF_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            what_was_durable_survives_any_loss_of_power_and_nothing_is_taken_for_damage),
        cmocka_unit_test(files_that_are_made_of_others_survive_it_too),
        cmocka_unit_test(what_a_killed_process_reported_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
