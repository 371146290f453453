// The bytes of the write-ahead log: what a scan gives back, and how it judges what is not whole.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/rand.h"
#include "consensus/wal_format.h"
#include "tests/unit/wal_records.h"

#define IDENTITY 0x1122334455667788u
#define BATCH_HEADER_BYTES 40u
#define ACCEPT_BYTES 33u // an ACCEPT without its payload

// Slots of the ACCEPT records that a scan gave, in order.
struct seen {
    uint64_t slots[256];
    size_t count;
    size_t payload_bytes;
    size_t refuse_after; // SIZE_MAX: never
};

static enum mf_err see(void *arg, const struct mf_wal_record *record)
{
    struct seen *seen = arg;
    if (seen->count == seen->refuse_after)
        return MF_OUT_OF_MEMORY;
    if (seen->count < 256)
        seen->slots[seen->count] = record->slot;
    seen->count++;
    seen->payload_bytes += record->payload.len;
    return MF_OK;
}

static struct mf_wal_scan scan_into(struct mf_bytes file, struct seen *seen)
{
    struct mf_wal_scan scan;
    *seen = (struct seen){.refuse_after = SIZE_MAX};
    assert_int_equal(mf_wal_scan(file, &scan, see, seen), MF_OK);
    return scan;
}

static void put_file_header(struct mf_buf *file, uint64_t identity)
{
    struct mf_wal_file_id id = {.sequence = 1, .stream = 2, .identity = identity};
    mf_wal_put_header(file, &id);
}

// One batch of one ACCEPT whose slot is the batch's number.
static void put_batch(struct mf_buf *file, uint64_t identity, uint64_t number,
                      struct mf_bytes payload)
{
    struct mf_wal_batch batch;
    mf_wal_batch_begin(&batch, file);
    struct mf_wal_record record = {
        .type = MF_WAL_ACCEPT, .group = 7, .ballot = 9, .slot = number, .payload = payload};
    mf_wal_batch_put(&batch, file, &record);
    mf_wal_batch_end(&batch, file, identity, number);
}

// A payload of pseudo-random bytes that makes a batch of exactly `sectors` sectors.
static struct mf_bytes noise(size_t sectors, uint64_t seed)
{
    static uint8_t bytes[64 * MF_WAL_ALIGN];
    struct mf_rand rand = {.state = seed};
    size_t len = sectors * MF_WAL_ALIGN - BATCH_HEADER_BYTES - ACCEPT_BYTES;
    assert_true(len <= sizeof bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(mf_rand_next(&rand) | 1); // a lost sector is never what was there
    return mf_bytes_of(bytes, len);
}

// Header, batch 1 (1 sector), batch 2 (5 sectors), batch 3 (4 sectors).
#define SECOND_AT (2 * MF_WAL_ALIGN)
#define THIRD_AT (7 * MF_WAL_ALIGN)
#define END_AT (11 * MF_WAL_ALIGN)
static void put_three_batches(struct mf_buf *file)
{
    put_file_header(file, IDENTITY);
    put_batch(file, IDENTITY, 1, mf_bytes_str("first"));
    put_batch(file, IDENTITY, 2, noise(5, 2));
    put_batch(file, IDENTITY, 3, noise(4, 3));
    assert_int_equal(file->len, END_AT);
}

static void put_zeros(struct mf_buf *file, size_t len)
{
    memset(mf_buf_reserve(file, len), 0, len);
    file->len += len;
}

static uint64_t get_le(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

// The layout of docs/wal-format.md, read without the code that wrote it.
static void the_bytes_are_where_the_document_says(void **state)
{
    (void)state;
    struct mf_buf file = {0};
    struct mf_wal_file_id id = {
        .sequence = 5, .stream = 3, .identity = IDENTITY, .previous_batches = 77};
    mf_wal_put_header(&file, &id);
    put_batch(&file, IDENTITY, 1, mf_bytes_str("abc"));
    const uint8_t *h = file.data;
    assert_memory_equal(h, "MFWAL\r\n\x1a", 8);
    assert_int_equal(get_le(h + 8, 4), 3);
    assert_int_equal(get_le(h + 12, 4), 3);
    assert_int_equal(get_le(h + 16, 8), 5);
    assert_int_equal(get_le(h + 24, 8), IDENTITY);
    assert_int_equal(get_le(h + 32, 8), mf_hash64(mf_bytes_of(h, 32), IDENTITY));
    assert_int_equal(get_le(h + 40, 8), 77);
    assert_int_equal(get_le(h + 48, 8), mf_hash64(mf_bytes_of(h + 40, 8), IDENTITY));
    assert_int_equal(get_le(h + 56, 8), 0);
    assert_int_equal(get_le(h + 64, 8), mf_hash64(mf_bytes_of(h + 56, 8), IDENTITY));
    struct mf_buf recycled = {0};
    id.recycled = true;
    mf_wal_put_header(&recycled, &id);
    assert_int_equal(get_le(recycled.data + 56, 8), 1);
    mf_buf_free(&recycled);

    const uint8_t *b = file.data + 512;
    assert_int_equal(file.len, 1024);
    assert_memory_equal(b, "MFBH", 4);
    assert_int_equal(get_le(b + 4, 4), 1);
    assert_int_equal(get_le(b + 8, 8), 1);
    assert_int_equal(get_le(b + 16, 8), ACCEPT_BYTES + 3);
    assert_int_equal(get_le(b + 24, 8), mf_hash64(mf_bytes_of(b + 40, 472), IDENTITY));
    assert_int_equal(get_le(b + 32, 8), mf_hash64(mf_bytes_of(b, 32), IDENTITY));
    assert_int_equal(b[40], MF_WAL_ACCEPT);
    assert_int_equal(get_le(b + 41, 4), 7);
    assert_int_equal(get_le(b + 45, 8), 9);
    assert_int_equal(get_le(b + 53, 8), 1);
    assert_int_equal(get_le(b + 69, 4), 3);
    assert_memory_equal(b + 73, "abc", 3);
    for (size_t i = 76; i < 512; i++)
        assert_int_equal(b[i], 0);
    mf_buf_free(&file);
}

static void every_kind_of_record_comes_back_as_it_was_put(void **state)
{
    (void)state;
    const struct mf_wal_record records[] = {
        {.type = MF_WAL_PROMISE, .group = 1, .ballot = UINT64_MAX},
        {.type = MF_WAL_ACCEPT, .group = UINT32_MAX, .ballot = 2, .slot = 3, .log_time_us = 4},
        {.type = MF_WAL_MARK, .group = 5, .slot = 6, .log_time_us = 7, .wall_us = UINT64_MAX},
        {.type = MF_WAL_ACCEPT,
         .group = 8,
         .ballot = 9,
         .slot = UINT64_MAX,
         .log_time_us = 1,
         .payload = noise(3, 1)},
    };
    struct mf_buf file = {0};
    put_file_header(&file, IDENTITY);
    struct mf_wal_batch batch;
    mf_wal_batch_begin(&batch, &file);
    for (size_t i = 0; i < 3; i++)
        mf_wal_batch_put(&batch, &file, &records[i]);
    mf_wal_batch_end(&batch, &file, IDENTITY, 1);
    mf_wal_batch_begin(&batch, &file);
    mf_wal_batch_put(&batch, &file, &records[3]);
    mf_wal_batch_end(&batch, &file, IDENTITY, 2);

    const struct mf_wal_record *next = records;
    struct mf_wal_scan scan;
    assert_int_equal(mf_wal_scan(mf_buf_view(&file), &scan, compare_wal_record, &next), MF_OK);
    assert_ptr_equal(next, records + 4);
    assert_int_equal(scan.end, MF_WAL_CLEAN);
    assert_int_equal(scan.batches, 2);
    assert_int_equal(scan.valid_bytes, file.len);
    mf_buf_free(&file);
}

static void a_header_comes_back_and_a_changed_byte_is_noticed(void **state)
{
    (void)state;
    const struct mf_wal_file_id ids[] = {
        {.sequence = 1, .stream = 0, .identity = 0},
        {.sequence = UINT64_MAX,
         .stream = UINT32_MAX,
         .identity = UINT64_MAX,
         .previous_batches = UINT64_MAX},
        {.sequence = 2, .stream = 1, .identity = IDENTITY, .prepared = true},
        {.sequence = 2, .stream = 1, .identity = IDENTITY, .recycled = true},
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        struct mf_buf file = {0};
        struct mf_wal_file_id id;
        mf_wal_put_header(&file, &ids[i]);
        assert_int_equal(file.len, MF_WAL_ALIGN);
        assert_int_equal(mf_wal_get_header(mf_buf_view(&file), &id), MF_OK);
        assert_int_equal(id.sequence, ids[i].sequence);
        assert_int_equal(id.stream, ids[i].stream);
        assert_int_equal(id.identity, ids[i].identity);
        assert_int_equal(id.prepared, ids[i].prepared);
        assert_int_equal(id.recycled, ids[i].recycled);
        assert_int_equal(id.previous_batches, ids[i].previous_batches);
        for (size_t len = 0; len < MF_WAL_ALIGN; len++)
            assert_int_equal(mf_wal_get_header(mf_bytes_of(file.data, len), &id), MF_CORRUPT);
        for (size_t at = 0; at < MF_WAL_ALIGN; at++) {
            bool in_link = at >= 40 && at < 56;
            file.data[at] ^= 0x10;
            assert_int_equal(mf_wal_get_header(mf_buf_view(&file), &id),
                             in_link ? MF_OK : MF_CORRUPT);
            assert_true(!in_link || id.prepared);
            file.data[at] ^= 0x10;
        }
        mf_buf_free(&file);
    }
}

static void a_header_of_another_version_is_refused(void **state)
{
    (void)state;
    struct mf_buf file = {0};
    put_file_header(&file, IDENTITY);
    file.data[8] = MF_WAL_VERSION + 1;
    uint64_t checksum = mf_hash64(mf_bytes_of(file.data, 32), IDENTITY);
    for (size_t i = 0; i < 8; i++)
        file.data[32 + i] = (uint8_t)(checksum >> (8 * i));
    struct seen seen = {0};
    struct mf_wal_scan scan;
    assert_int_equal(mf_wal_scan(mf_buf_view(&file), &scan, see, &seen), MF_OTHER_VERSION);
    mf_buf_free(&file);
}

static void zeros_or_nothing_after_the_last_batch_is_a_clean_end(void **state)
{
    (void)state;
    struct mf_buf file = {0};
    struct seen seen;
    put_file_header(&file, IDENTITY);
    assert_int_equal(scan_into(mf_buf_view(&file), &seen).end, MF_WAL_CLEAN);
    put_batch(&file, IDENTITY, 1, noise(2, 1));
    for (size_t zeros = 0; zeros < 3 * MF_WAL_ALIGN; zeros += 100) {
        size_t len = file.len;
        put_zeros(&file, zeros);
        struct mf_wal_scan scan = scan_into(mf_buf_view(&file), &seen);
        assert_int_equal(scan.end, MF_WAL_CLEAN);
        assert_int_equal(scan.batches, 1);
        assert_int_equal(scan.valid_bytes, len);
        file.len = len;
    }
    mf_buf_free(&file);
}

static void a_file_cut_anywhere_gives_its_whole_batches_and_is_never_damaged(void **state)
{
    (void)state;
    const size_t ends[] = {MF_WAL_ALIGN, SECOND_AT, THIRD_AT, END_AT};
    struct mf_buf file = {0};
    put_three_batches(&file);
    for (size_t len = MF_WAL_ALIGN; len <= END_AT; len++) {
        // A copy of exactly this length, so that a read past it is caught by the sanitizer.
        uint8_t *cut = malloc(len);
        memcpy(cut, file.data, len);
        struct seen seen;
        struct mf_wal_scan scan = scan_into(mf_bytes_of(cut, len), &seen);
        size_t whole = 0;
        while (whole < 3 && ends[whole + 1] <= len)
            whole++;
        assert_int_equal(scan.batches, whole);
        assert_int_equal(seen.count, whole);
        assert_int_equal(scan.valid_bytes, ends[whole]);
        assert_int_equal(scan.end, len == ends[whole] ? MF_WAL_CLEAN : MF_WAL_TORN);
        assert_int_equal(scan.damaged_offset, len == ends[whole] ? 0 : ends[whole]);
        free(cut);
    }
    mf_buf_free(&file);
}

// Zeroes the sectors of `lost`, one bit each, from `offset` on.
static void lose_sectors(struct mf_buf *file, size_t offset, unsigned lost)
{
    for (size_t sector = 0; lost >> sector != 0; sector++) {
        if ((lost >> sector & 1) != 0)
            memset(file->data + offset + sector * MF_WAL_ALIGN, 0, MF_WAL_ALIGN);
    }
}

static void the_last_batch_without_any_of_its_sectors_is_torn(void **state)
{
    (void)state;
    for (unsigned lost = 1; lost < 16; lost++) {
        struct mf_buf file = {0};
        struct seen seen;
        put_three_batches(&file);
        put_zeros(&file, 8 * MF_WAL_ALIGN);
        lose_sectors(&file, THIRD_AT, lost);
        struct mf_wal_scan scan = scan_into(mf_buf_view(&file), &seen);
        assert_int_equal(scan.batches, 2);
        assert_int_equal(seen.count, 2);
        assert_int_equal(scan.end, lost == 15 ? MF_WAL_CLEAN : MF_WAL_TORN);
        assert_int_equal(scan.damaged_offset, lost == 15 ? 0 : THIRD_AT);
        mf_buf_free(&file);
    }
}

static void an_earlier_batch_without_any_of_its_sectors_is_damage(void **state)
{
    (void)state;
    for (unsigned lost = 1; lost < 32; lost++) {
        struct mf_buf file = {0};
        struct seen seen;
        put_three_batches(&file);
        put_zeros(&file, 8 * MF_WAL_ALIGN);
        lose_sectors(&file, SECOND_AT, lost);
        struct mf_wal_scan scan = scan_into(mf_buf_view(&file), &seen);
        assert_int_equal(scan.batches, 1);
        assert_int_equal(seen.count, 1);
        assert_int_equal(scan.end, MF_WAL_DAMAGED);
        assert_int_equal(scan.damaged_offset, SECOND_AT);
        mf_buf_free(&file);
    }
}

// The second batch was on disk when the third was begun, so its loss is no torn tail.
static void a_bad_batch_is_damage_even_if_only_the_next_ones_header_got_to_disk(void **state)
{
    (void)state;
    for (unsigned lost = 0; lost < 16; lost++) {
        struct mf_buf file = {0};
        struct seen seen;
        put_three_batches(&file);
        lose_sectors(&file, SECOND_AT, 4);
        lose_sectors(&file, THIRD_AT, lost);
        bool header_lost = (lost & 1) != 0;
        struct mf_wal_scan scan = scan_into(mf_buf_view(&file), &seen);
        assert_int_equal(scan.end, header_lost ? MF_WAL_TORN : MF_WAL_DAMAGED);
        mf_buf_free(&file);
    }
}

static void a_missing_batch_is_damage(void **state)
{
    (void)state;
    struct mf_buf file = {0};
    struct seen seen;
    put_file_header(&file, IDENTITY);
    put_batch(&file, IDENTITY, 1, mf_bytes_str("one"));
    put_batch(&file, IDENTITY, 3, mf_bytes_str("three"));
    struct mf_wal_scan scan = scan_into(mf_buf_view(&file), &seen);
    assert_int_equal(scan.batches, 1);
    assert_int_equal(seen.count, 1);
    assert_int_equal(scan.end, MF_WAL_DAMAGED);
    mf_buf_free(&file);
}

static void no_flipped_bit_gives_a_record_that_was_not_put(void **state)
{
    (void)state;
    struct mf_buf file = {0};
    put_three_batches(&file);
    for (size_t at = MF_WAL_ALIGN; at < END_AT; at++) {
        uint8_t flip = (uint8_t)(1u << at % 8);
        file.data[at] ^= flip;
        struct seen seen;
        struct mf_wal_scan scan = scan_into(mf_buf_view(&file), &seen);
        size_t whole = at < SECOND_AT ? 0 : at < THIRD_AT ? 1 : 2;
        assert_int_equal(scan.batches, whole);
        assert_int_equal(seen.count, whole);
        assert_int_equal(scan.end, whole == 2 ? MF_WAL_TORN : MF_WAL_DAMAGED);
        file.data[at] ^= flip;
    }
    mf_buf_free(&file);
}

static void batches_of_an_older_file_in_the_same_space_are_not_taken(void **state)
{
    (void)state;
    struct mf_buf old = {0};
    put_three_batches(&old);
    struct mf_buf file = {0};
    put_file_header(&file, IDENTITY + 1);
    put_batch(&file, IDENTITY + 1, 1, mf_bytes_str("new"));
    mf_buf_put(&file, old.data + SECOND_AT, old.len - SECOND_AT);
    struct seen seen;
    struct mf_wal_scan scan = scan_into(mf_buf_view(&file), &seen);
    assert_int_equal(scan.batches, 1);
    assert_int_equal(seen.count, 1);
    assert_int_equal(scan.end, MF_WAL_TORN);
    mf_buf_free(&old);
    mf_buf_free(&file);
}

// A client's value that holds whole batches, placed so that they begin on sector boundaries. It can
// be a copy of what this very file holds already, but it cannot know the identity of the file and
// so cannot make a later batch.
static void a_value_that_looks_like_batches_does_not_turn_a_torn_tail_into_damage(void **state)
{
    (void)state;
    const uint64_t identities[] = {IDENTITY, IDENTITY + 1};
    for (size_t i = 0; i < 2; i++) {
        struct mf_buf inner = {0};
        put_zeros(&inner, MF_WAL_ALIGN - BATCH_HEADER_BYTES - ACCEPT_BYTES);
        size_t shift = inner.len;
        struct mf_buf batches = {0};
        put_batch(&batches, identities[i], 1, mf_bytes_str("one"));
        put_batch(&batches, identities[i], i == 0 ? 2 : 99, noise(2, 5));
        mf_buf_put(&inner, batches.data, batches.len);
        assert_int_equal((BATCH_HEADER_BYTES + ACCEPT_BYTES + shift) % MF_WAL_ALIGN, 0);

        struct mf_buf file = {0};
        struct seen seen;
        put_file_header(&file, IDENTITY);
        put_batch(&file, IDENTITY, 1, mf_bytes_str("one"));
        put_batch(&file, IDENTITY, 2, noise(2, 5));
        size_t third_at = file.len;
        put_batch(&file, IDENTITY, 3, mf_buf_view(&inner));
        assert_int_equal(scan_into(mf_buf_view(&file), &seen).end, MF_WAL_CLEAN);
        assert_int_equal(seen.count, 3);
        lose_sectors(&file, third_at, 1);
        struct mf_wal_scan scan = scan_into(mf_buf_view(&file), &seen);
        assert_int_equal(scan.end, MF_WAL_TORN);
        assert_int_equal(seen.count, 2);
        mf_buf_free(&inner);
        mf_buf_free(&batches);
        mf_buf_free(&file);
    }
}

// Puts raw bytes as the payload of a batch that is whole by its checksums.
static void put_raw_batch(struct mf_buf *file, uint64_t number, uint32_t records,
                          struct mf_bytes payload)
{
    struct mf_wal_batch batch;
    mf_wal_batch_begin(&batch, file);
    mf_buf_put(file, payload.data, payload.len);
    batch.records = records;
    mf_wal_batch_end(&batch, file, IDENTITY, number);
}

static void a_whole_batch_that_cannot_be_read_gives_no_record_and_is_damage(void **state)
{
    (void)state;
    static const uint8_t promise[13] = {MF_WAL_PROMISE};
    static const uint8_t two_promises[26] = {MF_WAL_PROMISE, [13] = MF_WAL_PROMISE};
    static const uint8_t unknown[13] = {99};
    static const uint8_t accept[33] = {MF_WAL_ACCEPT, [29] = 0xff, 0xff, 0xff, 0xff};
    const struct {
        uint32_t records;
        struct mf_bytes payload;
    } cases[] = {
        {1, mf_bytes_of(unknown, sizeof unknown)},
        {1, mf_bytes_of(accept, sizeof accept)},
        {1, mf_bytes_of(promise, sizeof promise - 1)},
        {1, mf_bytes_of(two_promises, sizeof two_promises)},
        {3, mf_bytes_of(two_promises, sizeof two_promises)},
        {UINT32_MAX, mf_bytes_of(two_promises, sizeof two_promises)},
        {0, mf_bytes_of(promise, sizeof promise)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mf_buf file = {0};
        struct seen seen;
        put_file_header(&file, IDENTITY);
        put_raw_batch(&file, 1, cases[i].records, cases[i].payload);
        struct mf_wal_scan scan = scan_into(mf_buf_view(&file), &seen);
        assert_int_equal(scan.end, MF_WAL_DAMAGED);
        assert_int_equal(scan.batches, 0);
        assert_int_equal(seen.count, 0);
        mf_buf_free(&file);
    }
}

// Every sector is the header of a batch that claims the rest of the file. Would each claim be
// checked, this test would not end today.
static void a_hostile_file_is_scanned_in_one_pass(void **state)
{
    (void)state;
    const size_t sectors = 64 * 1024 * 1024 / MF_WAL_ALIGN;
    struct mf_buf file = {0};
    put_file_header(&file, IDENTITY);
    put_batch(&file, IDENTITY, 1, mf_bytes_str("one"));
    for (size_t i = 2; i < sectors; i++) {
        size_t at = file.len;
        put_batch(&file, IDENTITY, i == 2 ? 2 : 1, mf_bytes_str("x"));
        uint64_t claim = (sectors - i) * MF_WAL_ALIGN - BATCH_HEADER_BYTES;
        for (size_t byte = 0; byte < 8; byte++)
            file.data[at + 16 + byte] = (uint8_t)(claim >> (8 * byte));
        uint64_t checksum = mf_hash64(mf_bytes_of(file.data + at, 32), IDENTITY);
        for (size_t byte = 0; byte < 8; byte++)
            file.data[at + 32 + byte] = (uint8_t)(checksum >> (8 * byte));
    }
    struct seen seen;
    struct mf_wal_scan scan = scan_into(mf_buf_view(&file), &seen);
    assert_int_equal(scan.end, MF_WAL_TORN);
    assert_int_equal(scan.batches, 1);
    mf_buf_free(&file);
}

static void a_length_near_the_end_of_the_number_range_is_refused(void **state)
{
    (void)state;
    const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX - 39, UINT64_MAX - 40, UINT64_MAX - 551,
                                INT64_MAX,  512 - 40 + 1,    512 - 40 + 512};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct mf_buf file = {0};
        struct seen seen;
        put_file_header(&file, IDENTITY);
        put_batch(&file, IDENTITY, 1, mf_bytes_str("x"));
        uint8_t *header = file.data + MF_WAL_ALIGN;
        for (size_t byte = 0; byte < 8; byte++)
            header[16 + byte] = (uint8_t)(lengths[i] >> (8 * byte));
        uint64_t checksum = mf_hash64(mf_bytes_of(header, 32), IDENTITY);
        for (size_t byte = 0; byte < 8; byte++)
            header[32 + byte] = (uint8_t)(checksum >> (8 * byte));
        struct mf_wal_scan scan = scan_into(mf_buf_view(&file), &seen);
        assert_int_equal(scan.end, MF_WAL_TORN);
        assert_int_equal(seen.count, 0);
        mf_buf_free(&file);
    }
}

static void an_error_of_the_consumer_ends_the_scan(void **state)
{
    (void)state;
    struct mf_buf file = {0};
    put_three_batches(&file);
    struct seen seen = {.refuse_after = 1};
    struct mf_wal_scan scan;
    assert_int_equal(mf_wal_scan(mf_buf_view(&file), &scan, see, &seen), MF_OUT_OF_MEMORY);
    assert_int_equal(seen.count, 1);
    mf_buf_free(&file);
}

static void bytes_that_are_no_log_are_refused(void **state)
{
    (void)state;
    struct mf_wal_scan scan;
    struct seen seen = {0};
    static const uint8_t zeros[4096];
    assert_int_equal(mf_wal_scan(mf_bytes_of(NULL, 0), &scan, see, &seen), MF_CORRUPT);
    assert_int_equal(mf_wal_scan(mf_bytes_of(zeros, sizeof zeros), &scan, see, &seen), MF_CORRUPT);
    assert_int_equal(mf_wal_scan(noise(8, 1), &scan, see, &seen), MF_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_where_the_document_says),
        cmocka_unit_test(every_kind_of_record_comes_back_as_it_was_put),
        cmocka_unit_test(a_header_comes_back_and_a_changed_byte_is_noticed),
        cmocka_unit_test(a_header_of_another_version_is_refused),
        cmocka_unit_test(zeros_or_nothing_after_the_last_batch_is_a_clean_end),
        cmocka_unit_test(a_file_cut_anywhere_gives_its_whole_batches_and_is_never_damaged),
        cmocka_unit_test(the_last_batch_without_any_of_its_sectors_is_torn),
        cmocka_unit_test(an_earlier_batch_without_any_of_its_sectors_is_damage),
        cmocka_unit_test(a_bad_batch_is_damage_even_if_only_the_next_ones_header_got_to_disk),
        cmocka_unit_test(a_missing_batch_is_damage),
        cmocka_unit_test(no_flipped_bit_gives_a_record_that_was_not_put),
        cmocka_unit_test(batches_of_an_older_file_in_the_same_space_are_not_taken),
        cmocka_unit_test(a_value_that_looks_like_batches_does_not_turn_a_torn_tail_into_damage),
        cmocka_unit_test(a_whole_batch_that_cannot_be_read_gives_no_record_and_is_damage),
        cmocka_unit_test(a_hostile_file_is_scanned_in_one_pass),
        cmocka_unit_test(a_length_near_the_end_of_the_number_range_is_refused),
        cmocka_unit_test(an_error_of_the_consumer_ends_the_scan),
        cmocka_unit_test(bytes_that_are_no_log_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
