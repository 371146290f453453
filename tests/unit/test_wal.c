// The write-ahead log in its folder: restarts, roll-overs, what recovery refuses. Failing disks are
// in test_wal_disk.c, crashes in test_wal_crash.c.
#include "base/hash.h"
#include "tests/unit/wal_helper.h"
#include "tests/unit/wal_records.h"

#define SEGMENT 8192u
// An ACCEPT with this payload fills three sectors of 512 bytes with its batch: five to a segment.
#define THREE_SECTORS 1400u
#define FIRST "0000-00000001.wal"
#define SECOND "0000-00000002.wal"
#define THIRD "0000-00000003.wal"

// Appends the slots from..to, each durable before the next, and closes.
static void append(const char *folder, uint32_t stream, uint64_t from, uint64_t to)
{
    struct sink sink;
    sink_init(&sink);
    struct mf_wal_config config = config_of(folder, stream, SEGMENT, &sink);
    struct mf_wal *wal = open_wal(&config);
    for (uint64_t slot = from; slot <= to; slot++)
        assert_true(sink_wait(&sink, put_accept(wal, 0, slot, THREE_SECTORS)));
    mf_wal_close(wal);
    assert_int_equal(sink.failures, 0);
    assert_false(sink.out_of_order);
    sink_free(&sink);
}

static struct mf_wal_scan scan_file(const char *path)
{
    struct mf_buf content = read_file(path);
    struct mf_wal_scan scan;
    struct recovered ignored = {0};
    assert_int_equal(mf_wal_scan(mf_buf_view(&content), &scan, collect, &ignored), MF_OK);
    free(ignored.slots);
    mf_buf_free(&content);
    return scan;
}

static void overwrite(const char *path, size_t offset, const void *data, size_t len)
{
    struct mf_buf content = read_file(path);
    assert_true(offset + len <= content.len);
    memcpy(content.data + offset, data, len);
    write_file(path, mf_buf_view(&content));
    mf_buf_free(&content);
}

// Makes the file's last batch a torn one: its first sector is there, the rest is lost.
static void tear_last_batch(const char *path)
{
    static const uint8_t zeros[1024];
    overwrite(path, scan_file(path).valid_bytes - sizeof zeros, zeros, sizeof zeros);
    assert_int_equal(scan_file(path).end, MF_WAL_TORN);
}

static void what_was_submitted_comes_back_in_order(void **state)
{
    (void)state;
    const struct mf_wal_record records[] = {
        {.type = MF_WAL_PROMISE, .group = 1, .ballot = 2},
        {.type = MF_WAL_ACCEPT,
         .group = 1,
         .ballot = 2,
         .slot = 3,
         .log_time_us = 4,
         .payload = mf_bytes_str("value")},
        {.type = MF_WAL_MARK, .group = 5, .slot = 6, .log_time_us = 7, .wall_us = 8},
        {.type = MF_WAL_ACCEPT, .group = 9, .ballot = 10, .slot = 11},
    };
    struct folder folder = make_folder();
    struct sink sink;
    sink_init(&sink);
    struct mf_wal_config config = config_of(folder.path, 0, SEGMENT, &sink);
    struct mf_wal *wal = open_wal(&config);
    assert_int_equal(mf_wal_submit(wal), 0);
    for (size_t i = 0; i < 3; i++)
        mf_wal_put(wal, &records[i]);
    assert_int_equal(mf_wal_submit(wal), 1);
    assert_int_equal(mf_wal_submit(wal), 0);
    mf_wal_put(wal, &records[3]);
    assert_int_equal(mf_wal_submit(wal), 2);
    assert_true(sink_wait(&sink, 2));
    mf_wal_put(wal, &records[3]); // never submitted
    mf_wal_close(wal);

    const struct mf_wal_record *next = records;
    struct mf_wal_recovery recovery;
    assert_int_equal(mf_wal_recover(folder.path, &recovery, NULL, compare_wal_record, &next),
                     MF_OK);
    assert_ptr_equal(next, records + 4);
    assert_int_equal(recovery.files, 1);
    assert_int_equal(recovery.records, 4);
    assert_int_equal(recovery.torn, 0);
    assert_string_equal(recovery.message, "");
    sink_free(&sink);
    remove_folder(folder.path);
}

static void closing_writes_all_that_was_submitted(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    struct sink sink;
    sink_init(&sink);
    struct mf_wal_config config = config_of(folder.path, 0, SEGMENT, &sink);
    struct mf_wal *wal = open_wal(&config);
    for (uint64_t slot = 1; slot <= 200; slot++)
        put_accept(wal, 0, slot, 300);
    mf_wal_close(wal);
    assert_int_equal(sink.durable, 200);
    assert_false(sink.out_of_order);
    assert_recovers(folder.path, 200);
    sink_free(&sink);
    remove_folder(folder.path);
}

static void a_full_segment_is_followed_by_the_next(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    append(folder.path, 0, 1, 5 * 4 + 1);
    assert_recovers(folder.path, 21);
    for (uint64_t sequence = 1; sequence <= 5; sequence++) {
        char name[MF_WAL_NAME_BYTES];
        mf_wal_file_name((struct mf_wal_file){.stream = 0, .sequence = sequence}, name);
        struct stat status;
        assert_int_equal(stat(in_folder(folder.path, name), &status), 0);
        assert_int_equal(status.st_size, SEGMENT);
        struct mf_wal_scan scan = scan_file(in_folder(folder.path, name));
        assert_int_equal(scan.batches, sequence < 5 ? 5 : 1);
        assert_int_equal(scan.id.previous_batches, sequence > 1 ? 5 : 0);
        assert_false(scan.id.prepared);
    }
    remove_folder(folder.path);
}

static void a_batch_larger_than_a_segment_gets_a_larger_file(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    struct sink sink;
    sink_init(&sink);
    struct mf_wal_config config = config_of(folder.path, 0, SEGMENT, &sink);
    struct mf_wal *wal = open_wal(&config);
    assert_true(sink_wait(&sink, put_accept(wal, 0, 1, 10)));
    assert_true(sink_wait(&sink, put_accept(wal, 0, 2, 10 * SEGMENT)));
    assert_true(sink_wait(&sink, put_accept(wal, 0, 3, 10)));
    mf_wal_close(wal);
    assert_recovers(folder.path, 3);
    assert_int_equal(scan_file(in_folder(folder.path, SECOND)).batches, 1);
    assert_int_equal(scan_file(in_folder(folder.path, THIRD)).batches, 1);
    struct stat status;
    assert_int_equal(stat(in_folder(folder.path, SECOND), &status), 0);
    assert_true(status.st_size > 10 * SEGMENT);
    sink_free(&sink);
    remove_folder(folder.path);
}

static void a_segment_may_be_too_small_for_any_batch(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    struct sink sink;
    sink_init(&sink);
    struct mf_wal_config config = config_of(folder.path, 0, 0, &sink);
    struct mf_wal *wal = open_wal(&config);
    for (uint64_t slot = 1; slot <= 3; slot++)
        assert_true(sink_wait(&sink, put_accept(wal, 0, slot, 10)));
    mf_wal_close(wal);
    assert_recovers(folder.path, 3);
    assert_int_equal(scan_file(in_folder(folder.path, THIRD)).batches, 1);
    sink_free(&sink);
    remove_folder(folder.path);
}

static void a_restart_goes_on_in_a_new_file(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    append(folder.path, 0, 1, 2);
    struct mf_buf before = read_file(in_folder(folder.path, FIRST));
    append(folder.path, 0, 3, 3);
    struct mf_buf after = read_file(in_folder(folder.path, FIRST));
    assert_true(mf_bytes_equal(mf_buf_view(&before), mf_buf_view(&after)));
    assert_int_equal(scan_file(in_folder(folder.path, SECOND)).id.previous_batches, 2);
    assert_recovers(folder.path, 3);
    mf_buf_free(&before);
    mf_buf_free(&after);
    remove_folder(folder.path);
}

static void restarts_without_a_write_leave_no_more_than_one_empty_file(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    append(folder.path, 0, 1, 0);
    append(folder.path, 0, 1, 0);
    assert_int_equal(each_name(folder.path, false), 1);
    append(folder.path, 0, 1, 1);
    for (int i = 0; i < 3; i++)
        append(folder.path, 0, 1, 0);
    assert_int_equal(each_name(folder.path, false), 2);
    assert_recovers(folder.path, 1);
    append(folder.path, 0, 2, 2);
    assert_int_equal(each_name(folder.path, false), 2);
    assert_recovers(folder.path, 2);
    remove_folder(folder.path);
}

static void a_torn_tail_is_dropped_and_the_stream_goes_on(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    struct recovered got;
    append(folder.path, 0, 1, 4);
    tear_last_batch(in_folder(folder.path, FIRST));
    assert_int_equal(recover(folder.path, &got), MF_OK);
    assert_int_equal(got.count, 3);
    assert_int_equal(got.recovery.torn, 1);
    free(got.slots);

    append(folder.path, 0, 4, 6);
    assert_int_equal(scan_file(in_folder(folder.path, SECOND)).id.previous_batches, 3);
    assert_recovers(folder.path, 6);
    // The second restart ends torn too, and again the first batch of a file.
    tear_last_batch(in_folder(folder.path, SECOND));
    append(folder.path, 0, 6, 6);
    tear_last_batch(in_folder(folder.path, THIRD));
    append(folder.path, 0, 6, 7);
    assert_recovers(folder.path, 7);
    remove_folder(folder.path);
}

static void a_batch_lost_from_a_files_end_is_noticed_once_the_next_file_was_begun(void **state)
{
    (void)state;
    for (int restart = 0; restart < 2; restart++) {
        struct folder folder = make_folder();
        if (restart != 0) {
            append(folder.path, 0, 1, 2);
            append(folder.path, 0, 1, 0); // opened, and nothing written
        } else {
            append(folder.path, 0, 1, 6); // rolled over after five
        }
        tear_last_batch(in_folder(folder.path, FIRST));
        assert_refused(folder.path, "batches and held");

        struct sink sink;
        sink_init(&sink);
        struct mf_wal_config config = config_of(folder.path, 0, SEGMENT, &sink);
        struct mf_wal *wal;
        char message[512];
        assert_int_equal(mf_wal_open(&config, &wal, message, sizeof message), MF_CORRUPT);
        assert_null(wal);
        assert_non_null(strstr(message, "batches and held"));
        sink_free(&sink);
        remove_folder(folder.path);
    }
}

static void damage_in_the_middle_is_refused_with_file_and_offset(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    append(folder.path, 0, 1, 8);
    overwrite(in_folder(folder.path, FIRST), 512 + 3 * 512 + 700, "rot", 3);
    assert_refused(folder.path, FIRST ": batch 2 at offset 2048 is damaged");
    remove_folder(folder.path);
}

static void a_log_of_another_version_is_not_damage(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    append(folder.path, 0, 1, 3);
    struct mf_buf header = {0};
    struct mf_wal_file_id id = {.sequence = 1, .identity = 9};
    mf_wal_put_header(&header, &id);
    header.data[8] = MF_WAL_VERSION + 1;
    uint64_t checksum = mf_hash64(mf_bytes_of(header.data, 32), id.identity);
    for (size_t i = 0; i < 8; i++)
        header.data[32 + i] = (uint8_t)(checksum >> (8 * i));
    overwrite(in_folder(folder.path, FIRST), 0, header.data, header.len);
    mf_buf_free(&header);
    struct recovered got;
    assert_int_equal(recover(folder.path, &got), MF_OTHER_VERSION);
    assert_int_equal(got.count, 0);
    assert_non_null(strstr(got.recovery.message, FIRST " is not of format version"));
    remove_folder(folder.path);
}

static void a_missing_file_is_refused_by_name_unless_it_is_the_lowest(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    append(folder.path, 0, 1, 15);
    assert_recovers(folder.path, 15);
    assert_int_equal(unlink(in_folder(folder.path, FIRST)), 0);
    struct recovered got;
    assert_int_equal(recover(folder.path, &got), MF_OK);
    assert_int_equal(got.count, 10);
    assert_int_equal(got.slots[0], 6);
    free(got.slots);
    append(folder.path, 0, 16, 16);
    assert_int_equal(unlink(in_folder(folder.path, THIRD)), 0);
    assert_refused(folder.path, THIRD " is missing");
    remove_folder(folder.path);
}

static void a_file_under_anothers_name_is_refused(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    append(folder.path, 0, 1, 8);
    char from[2 * PATH_BYTES];
    snprintf(from, sizeof from, "%s", in_folder(folder.path, SECOND));
    assert_int_equal(rename(from, in_folder(folder.path, FIRST)), 0);
    assert_refused(folder.path, "holds file 2 of stream 0");
    assert_int_equal(rename(in_folder(folder.path, FIRST), from), 0);
    remove_folder(folder.path);
}

static void a_file_without_a_valid_header_is_refused(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    append(folder.path, 0, 1, 1);
    overwrite(in_folder(folder.path, FIRST), 20, "x", 1);
    assert_refused(folder.path, "the header is damaged");
    write_file(in_folder(folder.path, FIRST), mf_bytes_str(""));
    assert_refused(folder.path, "the header is damaged");
    remove_folder(folder.path);
}

// Writes a file of stream 0 with this header and `batches` batches of one record.
static void craft(const char *folder, struct mf_wal_file_id id, uint64_t batches, uint64_t slot)
{
    struct mf_buf file = {0};
    struct mf_buf payload = {0};
    mf_wal_put_header(&file, &id);
    for (uint64_t number = 1; number <= batches; number++, slot++) {
        struct mf_wal_batch batch;
        mf_wal_batch_begin(&batch, &file);
        struct mf_wal_record record = {.type = MF_WAL_ACCEPT,
                                       .slot = slot,
                                       .payload = payload_of(slot, THREE_SECTORS, &payload)};
        mf_wal_batch_put(&batch, &file, &record);
        mf_wal_batch_end(&batch, &file, id.identity, number);
    }
    char name[MF_WAL_NAME_BYTES];
    mf_wal_file_name((struct mf_wal_file){.stream = id.stream, .sequence = id.sequence}, name);
    write_file(in_folder(folder, name), mf_buf_view(&file));
    mf_buf_free(&payload);
    mf_buf_free(&file);
}

// All that a power loss can leave of a roll-over, and what it cannot.
static void a_segment_made_ahead_may_be_empty_or_begun_without_its_link(void **state)
{
    (void)state;
    const struct {
        uint64_t before;       // whole batches of the file before
        bool before_torn;      // and a torn one
        bool prepared;         // the link did not get to disk
        uint64_t link;         // else it says so many
        uint64_t batches;      // of the second file
        bool torn;             // its last is torn
        const char *complaint; // NULL: fine
    } cases[] = {
        {2, false, true, 0, 0, false, NULL},
        {2, true, true, 0, 0, false, NULL}, // not begun, so the file before was still in use
        {2, false, true, 0, 1, false, NULL},
        {2, false, true, 0, 1, true, NULL},
        {2, true, true, 0, 1, false, "is damaged after batch 2"},
        {2, true, true, 0, 1, true, "is damaged after batch 2"},
        {2, false, true, 0, 2, false, "lost its link"},
        {2, false, false, 2, 0, false, NULL},
        {2, true, false, 2, 3, true, NULL},
        {2, true, false, 3, 0, false, "holds 2 batches and held 3"},
        {2, false, false, 1, 1, false, "holds 2 batches and held 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct folder folder = make_folder();
        craft(folder.path, (struct mf_wal_file_id){.sequence = 1, .identity = 11},
              cases[i].before + cases[i].before_torn, 1);
        if (cases[i].before_torn)
            tear_last_batch(in_folder(folder.path, FIRST));
        craft(folder.path,
              (struct mf_wal_file_id){.sequence = 2,
                                      .identity = 12,
                                      .prepared = cases[i].prepared,
                                      .previous_batches = cases[i].link},
              cases[i].batches, cases[i].before + 1);
        if (cases[i].torn)
            tear_last_batch(in_folder(folder.path, SECOND));
        uint64_t records = cases[i].before + cases[i].batches - cases[i].torn;
        if (cases[i].complaint != NULL) {
            assert_refused(folder.path, cases[i].complaint);
        } else {
            assert_recovers(folder.path, records);
            append(folder.path, 0, records + 1, records + 2);
            assert_recovers(folder.path, records + 2);
        }
        remove_folder(folder.path);
    }
}

static void streams_are_read_whatever_the_number_of_threads_was(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    append(folder.path, 0, 1, 2);
    append(folder.path, 2, 7, 9);
    append(folder.path, 1, 3, 6);
    append(folder.path, 0, 10, 12); // only one thread now
    struct recovered got;
    assert_int_equal(recover(folder.path, &got), MF_OK);
    const uint64_t order[] = {1, 2, 10, 11, 12, 3, 4, 5, 6, 7, 8, 9};
    assert_int_equal(got.count, 12);
    assert_memory_equal(got.slots, order, sizeof order);
    free(got.slots);
    // Damage in a stream that nobody writes any more counts as any other.
    assert_int_equal(scan_file(in_folder(folder.path, "0002-00000001.wal")).batches, 3);
    overwrite(in_folder(folder.path, "0002-00000001.wal"), 600, "rot", 3);
    assert_refused(folder.path, "0002-00000001.wal: batch 1 at offset 512");
    remove_folder(folder.path);
}

// What several threads found. Under its lock.
struct together {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t begun; // streams
    uint32_t wanted;
    uint64_t last[4]; // by stream: the last slot
    uint32_t records;
    uint32_t progresses;
    bool held; // the reading waits until it is asked how far it is
    uint64_t bytes;
    uint64_t of_bytes;
};

// A stream's first record is kept until the other streams have theirs too.
static enum mf_err meet(void *arg, const struct mf_wal_record *record)
{
    struct together *all = arg;
    pthread_mutex_lock(&all->lock);
    uint64_t *last = &all->last[record->slot / 100];
    assert_true(record->slot > *last);
    if (*last == 0)
        all->begun++;
    *last = record->slot;
    all->records++;
    pthread_cond_broadcast(&all->changed);
    while (all->begun < all->wanted || (all->held && all->progresses < 2))
        pthread_cond_wait(&all->changed, &all->lock);
    pthread_mutex_unlock(&all->lock);
    return MF_OK;
}

static void count_progress(void *arg, uint64_t bytes, uint64_t of_bytes)
{
    struct together *all = arg;
    pthread_mutex_lock(&all->lock);
    all->progresses++;
    all->bytes = bytes;
    all->of_bytes = of_bytes;
    pthread_cond_broadcast(&all->changed);
    pthread_mutex_unlock(&all->lock);
}

static void streams_are_read_at_the_same_time_each_in_its_order(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    for (uint32_t stream = 0; stream < 3; stream++)
        append(folder.path, stream, 100 * stream + 1, 100 * stream + 12);
    struct together all = {
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .wanted = 3};
    struct mf_wal_ledger *ledger = mf_wal_ledger_new(1);
    struct mf_wal_reading reading = {.ledger = ledger, .threads = 3, .record = meet, .arg = &all};
    struct mf_wal_recovery recovery;
    assert_int_equal(mf_wal_recover_streams(folder.path, &reading, &recovery), MF_OK);
    assert_int_equal(all.records, 36);
    assert_int_equal(recovery.records, 36);
    assert_int_equal(recovery.files, 9);
    mf_wal_ledger_free(ledger);

    // One thread is enough for all of them, and tells how far it is.
    all = (struct together){
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .held = true};
    reading = (struct mf_wal_reading){
        .record = meet, .progress = count_progress, .progress_ms = 1, .arg = &all};
    assert_int_equal(mf_wal_recover_streams(folder.path, &reading, &recovery), MF_OK);
    assert_int_equal(all.records, 36);
    assert_true(all.progresses >= 2);
    assert_int_equal(all.of_bytes, 9 * SEGMENT);
    assert_true(all.bytes < all.of_bytes);

    // Of two damaged streams the lowest is named.
    overwrite(in_folder(folder.path, "0001-00000001.wal"), 600, "rot", 3);
    overwrite(in_folder(folder.path, "0002-00000001.wal"), 600, "rot", 3);
    all = (struct together){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    reading.progress = NULL;
    for (reading.threads = 0; reading.threads < 4; reading.threads++) {
        memset(all.last, 0, sizeof all.last);
        assert_int_equal(mf_wal_recover_streams(folder.path, &reading, &recovery), MF_CORRUPT);
        assert_non_null(strstr(recovery.message, "0001-00000001.wal: batch 1 at offset 512"));
    }
    remove_folder(folder.path);
}

static void an_absent_folder_is_empty_and_open_creates_it(void **state)
{
    (void)state;
    struct folder parent = make_folder();
    char path[2 * PATH_BYTES];
    snprintf(path, sizeof path, "%s", in_folder(parent.path, "wal"));
    assert_recovers(path, 0);
    assert_false(exists(path));
    append(path, 0, 1, 1);
    assert_recovers(path, 1);
    remove_folder(path);
    remove_folder(parent.path);
}

static void a_folder_that_cannot_be_made_is_an_error_with_a_message(void **state)
{
    (void)state;
    struct sink sink;
    sink_init(&sink);
    struct mf_wal_config config = config_of("/nonexistent/mayfly/wal", 0, SEGMENT, &sink);
    struct mf_wal *wal;
    char message[512];
    assert_int_equal(mf_wal_open(&config, &wal, message, sizeof message), MF_IO);
    assert_null(wal);
    mf_wal_close(wal);
    assert_string_equal(message,
                        "cannot create /nonexistent/mayfly/wal: No such file or directory");
    sink_free(&sink);
}

static void leftover_temporaries_of_the_stream_are_removed_and_nothing_else(void **state)
{
    (void)state;
    const char *const stays[] = {"0001-00000002.wal.tmp", "notes.txt", "0000-1.wal",
                                 "0000-00000002.wal.bak", " 000-00000002.wal"};
    struct folder folder = make_folder();
    write_file(in_folder(folder.path, "0000-00000009.wal.tmp"), mf_bytes_str("half"));
    for (size_t i = 0; i < sizeof stays / sizeof *stays; i++)
        write_file(in_folder(folder.path, stays[i]), mf_bytes_str("other"));
    append(folder.path, 0, 1, 1);
    assert_false(exists(in_folder(folder.path, "0000-00000009.wal.tmp")));
    for (size_t i = 0; i < sizeof stays / sizeof *stays; i++)
        assert_true(exists(in_folder(folder.path, stays[i])));
    assert_recovers(folder.path, 1);
    remove_folder(folder.path);
}

static enum mf_err refuse(void *arg, const struct mf_wal_record *record)
{
    (void)arg;
    return record->slot == 2 ? MF_OUT_OF_MEMORY : MF_OK;
}

static void an_error_of_the_consumer_ends_the_recovery(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    append(folder.path, 0, 1, 3);
    struct mf_wal_recovery recovery;
    assert_int_equal(mf_wal_recover(folder.path, &recovery, NULL, refuse, NULL), MF_OUT_OF_MEMORY);
    assert_non_null(strstr(recovery.message, "a record was refused"));
    remove_folder(folder.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_submitted_comes_back_in_order),
        cmocka_unit_test(closing_writes_all_that_was_submitted),
        cmocka_unit_test(a_full_segment_is_followed_by_the_next),
        cmocka_unit_test(a_batch_larger_than_a_segment_gets_a_larger_file),
        cmocka_unit_test(a_segment_may_be_too_small_for_any_batch),
        cmocka_unit_test(a_restart_goes_on_in_a_new_file),
        cmocka_unit_test(restarts_without_a_write_leave_no_more_than_one_empty_file),
        cmocka_unit_test(a_torn_tail_is_dropped_and_the_stream_goes_on),
        cmocka_unit_test(a_batch_lost_from_a_files_end_is_noticed_once_the_next_file_was_begun),
        cmocka_unit_test(damage_in_the_middle_is_refused_with_file_and_offset),
        cmocka_unit_test(a_log_of_another_version_is_not_damage),
        cmocka_unit_test(a_missing_file_is_refused_by_name_unless_it_is_the_lowest),
        cmocka_unit_test(a_file_under_anothers_name_is_refused),
        cmocka_unit_test(a_file_without_a_valid_header_is_refused),
        cmocka_unit_test(a_segment_made_ahead_may_be_empty_or_begun_without_its_link),
        cmocka_unit_test(streams_are_read_whatever_the_number_of_threads_was),
        cmocka_unit_test(streams_are_read_at_the_same_time_each_in_its_order),
        cmocka_unit_test(an_absent_folder_is_empty_and_open_creates_it),
        cmocka_unit_test(a_folder_that_cannot_be_made_is_an_error_with_a_message),
        cmocka_unit_test(leftover_temporaries_of_the_stream_are_removed_and_nothing_else),
        cmocka_unit_test(an_error_of_the_consumer_ends_the_recovery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
