// Segments made of files that are needed no more: what those held never comes back, and a torn or a
// turned bit is judged as in any other.
#include <sched.h>

#include "base/log.h"
#include "tests/unit/wal_helper.h"

#define SEGMENT 8192u
#define PAYLOAD 1300u // three sectors with promise and mark: five batches to a segment
#define SECTOR 512u

// A log whose covered files go while it is written.
struct log {
    struct folder folder;
    struct mf_wal_ledger *ledger;
    struct sink sink;
    struct mf_wal *wal;
    uint64_t slot; // the last
};

static struct log begin(void)
{
    struct log log = {.folder = make_folder(), .ledger = mf_wal_ledger_new(1)};
    return log;
}

static void open_log(struct log *log)
{
    sink_init(&log->sink);
    struct mf_wal_config config = config_of(log->folder.path, 0, SEGMENT, &log->sink);
    config.ledger = log->ledger;
    log->wal = open_wal(&config);
}

static void close_log(struct log *log)
{
    mf_wal_close(log->wal);
    assert_int_equal(log->sink.failures, 0);
    sink_free(&log->sink);
}

static void end(struct log *log)
{
    mf_wal_ledger_free(log->ledger);
    remove_folder(log->folder.path);
}

// One entry, with a promise and a mark before it, so that nothing but a checkpoint is missing for
// the files before it to go. `covered` of the entries have one.
static void append(struct log *log, uint64_t covered)
{
    const struct mf_wal_record promise = {.type = MF_WAL_PROMISE, .ballot = 1};
    const struct mf_wal_record mark = {.type = MF_WAL_MARK};
    mf_wal_put(log->wal, &promise);
    mf_wal_put(log->wal, &mark);
    log->slot++;
    assert_true(sink_wait(&log->sink, put_accept(log->wal, 0, log->slot, PAYLOAD)));
    if (covered > 0)
        mf_wal_ledger_cover(log->ledger, 0, covered);
    mf_wal_tidy(log->wal);
    uint32_t stream;
    uint64_t sequence;
    while (mf_wal_ledger_next(log->ledger, 0, false, &stream, &sequence))
        sched_yield();
}

// The newest file that holds a batch, and its scan.
static struct mf_wal_scan newest(const struct log *log, char path[2 * PATH_BYTES])
{
    struct mf_wal_folder folder = {.disk = &mf_wal_disk_real, .path = log->folder.path};
    struct mf_wal_listing listing;
    assert_int_equal(mf_wal_folder_list(&folder, &listing), MF_OK);
    struct mf_wal_scan scan = {0};
    for (size_t i = listing.count; i > 0 && scan.batches == 0; i--) {
        char name[MF_WAL_NAME_BYTES];
        struct recovered ignored = {0};
        mf_wal_file_name(listing.files[i - 1], name);
        snprintf(path, 2 * PATH_BYTES, "%s", in_folder(log->folder.path, name));
        struct mf_buf content = read_file(path);
        assert_int_equal(mf_wal_scan(mf_buf_view(&content), &scan, collect, &ignored), MF_OK);
        free(ignored.slots);
        mf_buf_free(&content);
    }
    free(listing.files);
    return scan;
}

// Appends until a recycled segment has `batches` batches, and no other after it.
static void fill_recycled(struct log *log, uint64_t batches, char path[2 * PATH_BYTES])
{
    struct mf_wal_scan scan;
    do {
        assert_true(log->slot < 200);
        append(log, log->slot);
        scan = newest(log, path);
    } while (!scan.id.recycled || scan.batches < batches);
    assert_int_equal(scan.batches, batches);
    assert_int_equal(scan.end, MF_WAL_CLEAN);
}

static enum mf_err collect_accepts(void *arg, const struct mf_wal_record *record)
{
    return record->type == MF_WAL_ACCEPT ? collect(arg, record) : MF_OK;
}

static enum mf_err recover_accepts(const struct log *log, struct recovered *got)
{
    *got = (struct recovered){0};
    return mf_wal_recover(log->folder.path, &got->recovery, NULL, collect_accepts, got);
}

// Asserts that a recovery gives all entries to `last`, from one on whose checkpoint may be missing.
static void assert_gives(const struct log *log, uint64_t last)
{
    struct recovered got;
    if (recover_accepts(log, &got) != MF_OK)
        fail_msg("%s", got.recovery.message);
    assert_true(got.count > 0);
    for (size_t i = 0; i < got.count; i++)
        assert_int_equal(got.slots[i], got.slots[0] + i);
    assert_int_equal(got.slots[got.count - 1], last);
    free(got.slots);
}

static bool all_zero(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] != 0)
            return false;
    }
    return true;
}

static void what_a_recycled_file_held_never_comes_back(void **state)
{
    (void)state;
    struct log log = begin();
    for (int life = 0; life < 3; life++) {
        char path[2 * PATH_BYTES];
        open_log(&log);
        for (uint64_t batches = 1; batches <= 3; batches++) {
            fill_recycled(&log, batches, path);
            struct mf_buf content = read_file(path);
            size_t at = SECTOR + (size_t)batches * 3 * SECTOR;
            assert_int_equal(content.len, SEGMENT);
            assert_true(all_zero(content.data + at, SECTOR));
            // It is there, to the byte, and whole: only the file's identity tells it from ours.
            assert_false(all_zero(content.data + at + SECTOR, 2 * SECTOR));
            mf_buf_free(&content);
            assert_gives(&log, log.slot);
        }
        close_log(&log);
        assert_gives(&log, log.slot);
        // A start learns from the files what is where.
        mf_wal_ledger_free(log.ledger);
        log.ledger = mf_wal_ledger_new(1);
        struct recovered got = {0};
        assert_int_equal(
            mf_wal_recover(log.folder.path, &got.recovery, log.ledger, collect_accepts, &got),
            MF_OK);
        free(got.slots);
    }
    end(&log);
}

// Each subset of the sectors of the last write may be missing, and then the older file's are there.
static void a_torn_write_to_a_recycled_file_drops_that_batch_and_no_other(void **state)
{
    (void)state;
    for (uint64_t batches = 1; batches <= 3; batches++) {
        struct log log = begin();
        char path[2 * PATH_BYTES];
        open_log(&log);
        // What was there before the batch: of the first one, after the file was made.
        fill_recycled(&log, batches, path);
        struct mf_buf before = read_file(path);
        append(&log, 0);
        struct mf_buf after = read_file(path);
        close_log(&log);
        size_t from = SECTOR + (size_t)batches * 3 * SECTOR;
        for (unsigned kept = 0; kept < 16; kept++) {
            struct mf_buf torn = {0};
            mf_buf_put(&torn, before.data, before.len);
            for (size_t i = 0; i < 4; i++) {
                if ((kept >> i & 1) != 0)
                    memcpy(torn.data + from + i * SECTOR, after.data + from + i * SECTOR, SECTOR);
            }
            write_file(path, mf_buf_view(&torn));
            mf_buf_free(&torn);
            assert_gives(&log, (kept & 7) == 7 ? log.slot : log.slot - 1);
        }
        mf_buf_free(&before);
        mf_buf_free(&after);
        end(&log);
    }
}

static void each_bit_of_a_recycled_file_is_judged_as_of_any_other(void **state)
{
    (void)state;
    struct log log = begin();
    char path[2 * PATH_BYTES];
    open_log(&log);
    fill_recycled(&log, 3, path);
    close_log(&log);
    struct mf_buf content = read_file(path);
    const size_t last = SECTOR + 2 * 3 * SECTOR;
    const size_t behind = last + 3 * SECTOR;
    for (size_t bit = 0; bit < 8 * SEGMENT; bit++) {
        size_t at = bit / 8;
        content.data[at] ^= (uint8_t)(1u << bit % 8);
        write_file(path, mf_buf_view(&content));
        content.data[at] ^= (uint8_t)(1u << bit % 8);
        struct recovered got;
        enum mf_err err = recover_accepts(&log, &got);
        assert_int_equal(err, at < last ? MF_CORRUPT : MF_OK);
        if (err == MF_OK) {
            assert_int_equal(got.slots[got.count - 1], at < behind ? log.slot - 1 : log.slot);
            assert_int_equal(got.recovery.torn, at < behind + SECTOR);
        } else {
            assert_non_null(strstr(got.recovery.message, path));
        }
        free(got.slots);
    }
    mf_buf_free(&content);
    end(&log);
}

static size_t count_temporary(const struct log *log)
{
    size_t temporary = 0;
    DIR *dir = opendir(log->folder.path);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        temporary += strstr(entry->d_name, ".tmp") != NULL;
    closedir(dir);
    return temporary;
}

static void no_more_than_two_files_are_kept_and_none_after_the_end(void **state)
{
    (void)state;
    struct log log = begin();
    open_log(&log);
    for (int i = 0; i < 40; i++)
        append(&log, 0);
    append(&log, log.slot);
    assert_in_range(count_temporary(&log), 1, 3); // two kept, and perhaps the next one under way
    close_log(&log);
    assert_int_equal(count_temporary(&log), 0);
    end(&log);
}

static void no_file_is_kept_while_the_disk_runs_low(void **state)
{
    (void)state;
    struct log log = begin();
    open_log(&log);
    for (int i = 0; i < 40; i++)
        append(&log, 0);
    mf_wal_ledger_low(log.ledger, true);
    append(&log, log.slot);
    assert_in_range(count_temporary(&log), 0, 1); // the next segment under way
    mf_wal_ledger_low(log.ledger, false);
    for (int i = 0; i < 10; i++)
        append(&log, log.slot);
    assert_in_range(count_temporary(&log), 1, 3);
    close_log(&log);
    end(&log);
}

int main(void)
{
    setenv("TMPDIR", "/dev/shm", 0); // nothing here needs a disk
    mf_log_set_level(MF_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_recycled_file_held_never_comes_back),
        cmocka_unit_test(a_torn_write_to_a_recycled_file_drops_that_batch_and_no_other),
        cmocka_unit_test(each_bit_of_a_recycled_file_is_judged_as_of_any_other),
        cmocka_unit_test(no_more_than_two_files_are_kept_and_none_after_the_end),
        cmocka_unit_test(no_file_is_kept_while_the_disk_runs_low),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
