// Each bit of a small log turns over, one at a time: what recovery makes of it is what
// docs/wal-format.md says, and a record is never another one.
#include <fcntl.h>

#include "tests/unit/wal_helper.h"

#define SEGMENT 2560u // a header and four batches of one sector
#define FILES 3u
#define PER_FILE 3u // the fourth sector of a file stays zero
#define RECORDS (FILES * PER_FILE)

// Nothing has to be durable here.
static int no_sync(int fd)
{
    (void)fd;
    return 0;
}

struct log {
    struct folder folder;
    char paths[FILES][2 * PATH_BYTES];
    struct mf_wal_disk disk;
};

// Three files with three batches each, of one record: every opening begins a file.
static struct log make_log(void)
{
    struct log log = {.folder = make_folder(), .disk = mf_wal_disk_real};
    log.disk.fdatasync = no_sync;
    uint64_t slot = 0;
    for (uint32_t i = 0; i < FILES; i++) {
        struct sink sink;
        sink_init(&sink);
        struct mf_wal_config config = config_of(log.folder.path, 0, SEGMENT, &sink);
        struct mf_wal *wal = open_wal(&config);
        for (uint32_t n = 0; n < PER_FILE; n++)
            assert_true(sink_wait(&sink, put_accept(wal, 0, ++slot, 100)));
        mf_wal_close(wal);
        sink_free(&sink);
    }
    // What was made ahead and never used goes: it is not what is looked at here.
    for (uint32_t i = 0; i <= FILES; i++) {
        char name[MF_WAL_NAME_BYTES];
        mf_wal_file_name((struct mf_wal_file){.sequence = i + 1}, name);
        if (i < FILES)
            snprintf(log.paths[i], sizeof log.paths[i], "%s", in_folder(log.folder.path, name));
        else
            unlink(in_folder(log.folder.path, name));
    }
    assert_int_equal(each_name(log.folder.path, false), FILES);
    assert_recovers(log.folder.path, RECORDS);
    return log;
}

static void flip(const char *path, size_t bit)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, (off_t)(bit / 8)), 1);
    byte ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
    close(fd);
}

enum outcome {
    REFUSED,   // as damage, with the file's name
    ALL_THERE, // every record, and nothing is said
    ALL_TORN,  // every record, and that a write was not finished
    LAST_TORN, // all but the last, and that
};

// What the page says of a bit at this place, by file and sector.
static enum outcome expected(uint32_t file, size_t at)
{
    bool last = file == FILES - 1;
    if (at < MF_WAL_ALIGN)
        return REFUSED; // the header, and its link: a file with so many batches must have one
    size_t batch = at / MF_WAL_ALIGN;
    if (batch < PER_FILE)
        return REFUSED; // a later one follows it
    if (batch == PER_FILE)
        return last ? LAST_TORN : REFUSED; // by the link of the next file
    return last ? ALL_TORN : ALL_THERE;    // where nothing had been written
}

static void check(const struct log *log, uint32_t file, size_t bit)
{
    struct recovered got = {0};
    enum mf_err err =
        mf_wal_recover_on(&log->disk, log->folder.path, &got.recovery, NULL, collect, &got);
    enum outcome outcome = expected(file, bit / 8);
    char where[64];
    snprintf(where, sizeof where, "file %u, byte %zu, bit %zu", file + 1, bit / 8, bit % 8);
    if (err != (outcome == REFUSED ? MF_CORRUPT : MF_OK))
        fail_msg("%s: %s %s", where, mf_err_name(err), got.recovery.message);
    if (outcome == REFUSED && strstr(got.recovery.message, log->folder.path) == NULL)
        fail_msg("%s: \"%s\" does not name it", where, got.recovery.message);
    if (outcome != REFUSED) {
        if (got.count != (outcome == LAST_TORN ? RECORDS - 1 : RECORDS))
            fail_msg("%s: %zu records", where, got.count);
        assert_int_equal(got.recovery.torn, outcome != ALL_THERE);
    }
    // What was given before a refusal is thrown away. It is what was put, too: collect checks that.
    for (size_t i = 0; i < got.count && outcome != REFUSED; i++)
        assert_int_equal(got.slots[i], i + 1);
    free(got.slots);
}

static void each_bit_of_a_log_is_judged_as_the_document_says(void **state)
{
    (void)state;
    struct log log = make_log();
    for (uint32_t file = 0; file < FILES; file++) {
        for (size_t bit = 0; bit < 8 * SEGMENT; bit++) {
            flip(log.paths[file], bit);
            check(&log, file, bit);
            flip(log.paths[file], bit);
        }
    }
    assert_recovers(log.folder.path, RECORDS);
    remove_folder(log.folder.path);
}

// After the next start the last batch has a link that counts it.
static void a_flip_in_what_was_the_last_batch_is_damage_after_the_next_start(void **state)
{
    (void)state;
    struct log log = make_log();
    struct sink sink;
    sink_init(&sink);
    struct mf_wal_config config = config_of(log.folder.path, 0, SEGMENT, &sink);
    mf_wal_close(open_wal(&config));
    for (size_t bit = 0; bit < 8 * MF_WAL_ALIGN; bit++) {
        flip(log.paths[FILES - 1], 8 * PER_FILE * MF_WAL_ALIGN + bit);
        assert_refused(log.folder.path, "batches and held");
        flip(log.paths[FILES - 1], 8 * PER_FILE * MF_WAL_ALIGN + bit);
    }
    sink_free(&sink);
    remove_folder(log.folder.path);
}

int main(void)
{
    setenv("TMPDIR", "/dev/shm", 0); // thousands of recoveries, none of which needs a disk
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_bit_of_a_log_is_judged_as_the_document_says),
        cmocka_unit_test(a_flip_in_what_was_the_last_batch_is_damage_after_the_next_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
