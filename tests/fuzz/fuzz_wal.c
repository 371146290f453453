// Fuzzes the scan of a write-ahead log file. The first byte of the input chooses how deep the rest
// of it gets: as a whole file, as the payload of a batch with right checksums, or as the recipe for
// a file and for the harm done to it. In the last case what the scan must give is known.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "consensus/wal_format.h"

#define IDENTITY 0x1122334455667788u
#define BATCHES_MAX 16u
#define RECORDS_MAX 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The file that was built and what of it was given back.
struct model {
    struct mf_wal_record records[RECORDS_MAX];
    size_t put;
    size_t given;
    size_t batch_end[BATCHES_MAX + 1];     // offsets; [0] is the end of the header
    size_t batch_records[BATCHES_MAX + 1]; // records up to there
    size_t batches;
};

// Reads every byte of the record, for the sanitizers.
static enum mf_err touch(void *arg, const struct mf_wal_record *record)
{
    uint64_t *sum = arg;
    *sum += record->group + record->ballot + record->slot + record->log_time_us + record->wall_us;
    for (size_t i = 0; i < record->payload.len; i++)
        *sum += record->payload.data[i];
    return MF_OK;
}

static void check_ends(const struct mf_wal_scan *scan, size_t len)
{
    assert(scan->valid_bytes >= MF_WAL_ALIGN && scan->valid_bytes <= len);
    assert(scan->valid_bytes % MF_WAL_ALIGN == 0);
    assert(scan->damaged_offset == (scan->end == MF_WAL_CLEAN ? 0 : scan->valid_bytes));
}

static void scan_bytes(struct mf_bytes file)
{
    struct mf_wal_scan scan;
    uint64_t sum = 0;
    if (mf_wal_scan(file, &scan, touch, &sum) == MF_OK)
        check_ends(&scan, file.len);
}

static void scan_payload(struct mf_reader *input)
{
    struct mf_buf file = {0};
    struct mf_wal_file_id id = {.sequence = 1, .identity = IDENTITY};
    struct mf_wal_batch batch;
    mf_wal_put_header(&file, &id);
    mf_wal_batch_begin(&batch, &file);
    batch.records = mf_read_u16(input);
    struct mf_bytes payload = mf_read_bytes(input, mf_reader_left(input));
    mf_buf_put(&file, payload.data, payload.len);
    mf_wal_batch_end(&batch, &file, IDENTITY, 1);

    struct mf_wal_scan scan;
    uint64_t sum = 0;
    enum mf_err err = mf_wal_scan(mf_buf_view(&file), &scan, touch, &sum);
    assert(err == MF_OK);
    // Its checksums are right, so it is read or is damage, never a torn tail.
    assert(scan.end == (scan.batches == 1 ? MF_WAL_CLEAN : MF_WAL_DAMAGED));
    mf_buf_free(&file);
}

static struct mf_wal_record make_record(struct mf_reader *input)
{
    struct mf_wal_record record = {.type = MF_WAL_PROMISE + mf_read_u8(input) % 3};
    record.group = mf_read_u8(input);
    if (record.type != MF_WAL_MARK)
        record.ballot = mf_read_u8(input);
    if (record.type != MF_WAL_PROMISE)
        record.slot = mf_read_u8(input);
    if (record.type == MF_WAL_ACCEPT) {
        size_t len = mf_read_u16(input) % 2048;
        size_t left = mf_reader_left(input);
        record.payload = mf_read_bytes(input, len < left ? len : left);
    }
    return record;
}

static void build(struct mf_reader *input, struct mf_buf *file, struct model *model)
{
    struct mf_wal_file_id id = {.sequence = 1, .identity = IDENTITY};
    mf_wal_put_header(file, &id);
    model->batch_end[0] = file->len;
    size_t batches = mf_read_u8(input) % (BATCHES_MAX + 1);
    while (model->batches < batches) {
        struct mf_wal_batch batch;
        mf_wal_batch_begin(&batch, file);
        for (size_t i = mf_read_u8(input) % 4; i > 0 && model->put < RECORDS_MAX; i--) {
            struct mf_wal_record *record = &model->records[model->put++];
            *record = make_record(input);
            mf_wal_batch_put(&batch, file, record);
        }
        mf_wal_batch_end(&batch, file, IDENTITY, ++model->batches);
        model->batch_end[model->batches] = file->len;
        model->batch_records[model->batches] = model->put;
    }
}

// Changes bytes behind the header and cuts the end off. Returns the first offset that is not as it
// was, or the length of the file as built.
static size_t harm(struct mf_reader *input, struct mf_buf *file)
{
    size_t whole = file->len;
    size_t first = whole;
    while (mf_reader_left(input) >= 4) {
        size_t at = mf_read_u16(input) * 4u + MF_WAL_ALIGN;
        uint8_t kind = mf_read_u8(input);
        uint8_t value = mf_read_u8(input);
        if (at >= file->len)
            continue;
        if (kind % 8 == 0) {
            file->len = at;
        } else if (kind % 2 == 0) {
            at -= at % MF_WAL_ALIGN;
            size_t left = file->len - at;
            memset(file->data + at, 0, left < MF_WAL_ALIGN ? left : MF_WAL_ALIGN);
        } else {
            file->data[at] ^= value;
        }
        if (at < first)
            first = at;
    }
    return first;
}

static enum mf_err compare(void *arg, const struct mf_wal_record *got)
{
    struct model *model = arg;
    assert(model->given < model->put);
    const struct mf_wal_record *want = &model->records[model->given++];
    assert(got->type == want->type && got->group == want->group && got->ballot == want->ballot &&
           got->slot == want->slot && got->log_time_us == 0 && got->wall_us == 0 &&
           mf_bytes_equal(got->payload, want->payload));
    return MF_OK;
}

static void scan_recipe(struct mf_reader *input)
{
    struct mf_buf file = {0};
    struct model model = {0};
    build(input, &file, &model);
    size_t whole = file.len;
    size_t first = harm(input, &file);

    struct mf_wal_scan scan;
    enum mf_err err = mf_wal_scan(mf_buf_view(&file), &scan, compare, &model);
    assert(err == MF_OK && scan.batches <= model.batches);
    check_ends(&scan, file.len);
    assert(model.given == model.batch_records[scan.batches]);
    assert(scan.valid_bytes == model.batch_end[scan.batches]);
    // Batches in front of the harm are given, all of them when there is none.
    assert(scan.batches == model.batches || model.batch_end[scan.batches + 1] > first);
    assert(first < whole || scan.end == MF_WAL_CLEAN);
    // One batch, the last: never more than torn.
    if (model.batches > 0 && first >= model.batch_end[model.batches - 1])
        assert(scan.end != MF_WAL_DAMAGED);
    mf_buf_free(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct mf_reader input = mf_reader_of(mf_bytes_of(data + 1, size - 1));
    switch (data[0] % 3) {
    case 0:
        scan_bytes(mf_bytes_of(data + 1, size - 1));
        break;
    case 1:
        scan_payload(&input);
        break;
    default:
        scan_recipe(&input);
    }
    return 0;
}
