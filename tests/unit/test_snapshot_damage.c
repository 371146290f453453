// Damaged and forged snapshot files: no byte can change unnoticed, no length is believed, and what
// is whole can still be read.
#include "snapshot_fixture.h"

#include "snapshot/format.h"
#include "snapshot_reseal.h"

// A small file in memory, with the model it holds: three shards of four, several blocks.
struct sample {
    struct model model;
    uint8_t *bytes;
    size_t size;
    struct parts parts;
    const char *path; // of the copy that a test tampers with
};

// Shard 3 is left out, so that a shard without a section is there to be named.
static void write_sample(struct model *model, const char *path)
{
    struct mf_snapshot_writer *writer = create(path, 4);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(mf_snapshot_begin_shard(writer, i, &model->metas[i], model->walls[i]),
                         MF_OK);
    for (size_t i = 0; i < model->count; i++)
        assert_int_equal(mf_snapshot_put(writer, model->shard_of[i], &model->records[i]), MF_OK);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(mf_snapshot_end_shard(writer, i), MF_OK);
    commit(writer);
}

static void add_keys(struct model *model, int count)
{
    for (int i = 0, added = 0; added < count; i++) {
        char key[32];
        snprintf(key, sizeof(key), "key:%d", i);
        if (mf_shard_of_key(mf_bytes_str(key), 4) == 3)
            continue;
        struct mf_record record = {.key = mf_bytes_str(key),
                                   .value = mf_bytes_str("a value that is a value, is a value"),
                                   .deadline_us = i % 3 == 0 ? MF_NO_DEADLINE : 1000000};
        model_add(model, &record, 0);
        added += 1;
    }
}

static struct sample sample_new(void **state)
{
    struct sample sample = {.model = model_new(4), .path = path_in(state, "sample.mfs")};
    add_keys(&sample.model, 12);
    struct mf_record id = {.is_id = true,
                           .key = mf_bytes_str("retry-1"),
                           .value = mf_bytes_str("\x05"),
                           .deadline_us = 600000000};
    model_add(&sample.model, &id, 1);
    write_sample(&sample.model, sample.path);
    sample.bytes = read_whole(sample.path, &sample.size);
    assert_true(find_parts(sample.bytes, sample.size, &sample.parts));
    return sample;
}

static void sample_free(struct sample *sample)
{
    model_free(&sample->model);
    free(sample->bytes);
}

static enum mf_err verify_bytes(const struct sample *sample, const uint8_t *bytes, size_t size,
                                char *message, size_t message_size)
{
    write_whole(sample->path, bytes, size);
    return verify(sample->path, message, message_size);
}

static void any_changed_byte_is_found(void **state)
{
    struct sample sample = sample_new(state);
    const uint8_t masks[] = {0x01, 0x80, 0xff};
    for (size_t i = 0; i < sample.size; i++) {
        for (size_t m = 0; m < sizeof(masks); m++) {
            char message[512];
            sample.bytes[i] ^= masks[m];
            if (verify_bytes(&sample, sample.bytes, sample.size, message, sizeof(message)) !=
                MF_CORRUPT)
                fail_msg("byte %zu of %zu, mask %02x: %s", i, sample.size, masks[m], message);
            assert_non_null(strstr(message, sample.path));
            assert_null(strchr(message, '\n'));
            sample.bytes[i] ^= masks[m];
        }
    }
    sample_free(&sample);
}

static void a_file_cut_at_any_length_is_found(void **state)
{
    struct sample sample = sample_new(state);
    for (size_t size = 0; size < sample.size; size++) {
        char message[512];
        assert_int_equal(verify_bytes(&sample, sample.bytes, size, message, sizeof(message)),
                         MF_CORRUPT);
    }
    sample_free(&sample);
}

static void bytes_after_the_end_are_found(void **state)
{
    struct sample sample = sample_new(state);
    uint8_t *longer = mf_calloc(1, 2 * sample.size);
    memcpy(longer, sample.bytes, sample.size);
    // A second copy ends in a sound trailer, of a footer elsewhere.
    for (int copy = 0; copy < 2; copy++) {
        for (size_t extra = 1; extra <= sample.size; extra++) {
            char message[512];
            assert_int_equal(
                verify_bytes(&sample, longer, sample.size + extra, message, sizeof(message)),
                MF_CORRUPT);
        }
        memcpy(longer + sample.size, sample.bytes, sample.size);
    }
    free(longer);
    sample_free(&sample);
}

static void a_file_that_shrinks_while_it_is_open_is_found(void **state)
{
    struct sample sample = sample_new(state);
    struct mf_snapshot_reader *reader = open_sound(sample.path);
    assert_int_equal(truncate(sample.path, (off_t)sample.parts.header_bytes + 10), 0);
    char message[512] = "";
    assert_int_equal(mf_snapshot_verify(reader, message, sizeof(message)), MF_CORRUPT);
    assert_non_null(strstr(message, "shorter"));
    mf_snapshot_close(reader);
    sample_free(&sample);
}

// A change to one field, with all checksums made to hold again.
enum part { HEADER, BLOCK, INDEX, BLOCK_AND_INDEX, FOOTER, SECTION, TRAILER };

struct forgery {
    enum part part;
    size_t nth; // of the blocks or sections
    size_t field;
    size_t bytes;
    uint64_t add; // to the field's value
    const char *why;
};

static size_t entry_at(const struct sample *sample, size_t nth)
{
    return sample->parts.index + nth * MF_SNAPSHOT_BLOCK_HEADER_BYTES;
}

static void forge(const struct sample *sample, uint8_t *bytes, const struct forgery *forgery)
{
    const struct parts *parts = &sample->parts;
    size_t at[2] = {0, 0};
    switch (forgery->part) {
    case HEADER:
        break;
    case BLOCK:
        at[0] = find_nth_block(bytes, parts, forgery->nth);
        break;
    case INDEX:
        at[0] = entry_at(sample, forgery->nth);
        break;
    case BLOCK_AND_INDEX:
        at[0] = find_nth_block(bytes, parts, forgery->nth);
        at[1] = entry_at(sample, forgery->nth);
        break;
    case FOOTER:
        at[0] = parts->footer;
        break;
    case SECTION:
        at[0] = parts->sections + forgery->nth * MF_SNAPSHOT_SECTION_BYTES;
        break;
    case TRAILER:
        at[0] = parts->trailer;
        break;
    }
    for (size_t i = 0; i < 2 && (i == 0 || at[i] > 0); i++) {
        uint8_t *field = bytes + at[i] + forgery->field;
        set_le(field, get_le(field, forgery->bytes) + forgery->add, forgery->bytes);
    }
    reseal(bytes, sample->size);
}

static void a_lie_behind_sound_checksums_is_found(void **state)
{
    static const uint64_t minus_1 = UINT64_MAX;
    const struct forgery forgeries[] = {
        {HEADER, 0, HEADER_VERSION, 4, 1, "version that is unknown"},
        {HEADER, 0, HEADER_FLAGS, 4, 1, "flags"},
        {HEADER, 0, HEADER_SHARD_COUNT, 4, MF_SLOT_COUNT, "number of shards"},
        {HEADER, 0, HEADER_SHARD_COUNT, 4, (uint64_t)-4, "number of shards"},
        {HEADER, 0, HEADER_SHARD_COUNT, 4, (uint64_t)-2, "more sections"},
        {HEADER, 0, HEADER_SHARD_COUNT, 4, 1000, "key of another shard"},
        {HEADER, 0, HEADER_NAME, 1, (uint64_t) - 'd', "cluster name"},
        {BLOCK_AND_INDEX, 0, BLOCK_KIND, 1, 6, "no sound block header"},
        {BLOCK_AND_INDEX, 0, BLOCK_KIND, 1, 1, "counts"},
        {BLOCK_AND_INDEX, 0, BLOCK_CODEC, 1, 2, "no sound block header"},
        {BLOCK_AND_INDEX, 0, BLOCK_CODEC, 1, minus_1, "no sound block header"},
        {BLOCK_AND_INDEX, 0, BLOCK_FLAGS, 2, 1, "no sound block header"},
        {BLOCK_AND_INDEX, 0, BLOCK_SHARD, 4, 1, "counts"},
        {BLOCK_AND_INDEX, 0, BLOCK_SHARD, 4, 3, "without a section"},
        {BLOCK_AND_INDEX, 0, BLOCK_SHARD, 4, 400, "without a section"},
        {BLOCK_AND_INDEX, 0, BLOCK_RECORDS, 4, 1, "counts"},
        {BLOCK_AND_INDEX, 0, BLOCK_RECORDS, 4, 1u << 30, "no sound block header"},
        {BLOCK_AND_INDEX, 0, BLOCK_RAW_BYTES, 4, 1, "cannot be decompressed"},
        {BLOCK_AND_INDEX, 0, BLOCK_RAW_BYTES, 4, minus_1, "cannot be decompressed"},
        {BLOCK_AND_INDEX, 0, BLOCK_RAW_BYTES, 4, 255u * 1024, "no sound block header"},
        {BLOCK_AND_INDEX, 0, BLOCK_RAW_BYTES, 4, 1u << 30, "no sound block header"},
        {BLOCK, 0, BLOCK_RAW_BYTES, 4, 1, "not the one that the index has"},
        {INDEX, 0, BLOCK_RAW_BYTES, 4, 1, "not the one that the index has"},
        {INDEX, 0, BLOCK_STORED_BYTES, 4, 1, "overlap"},
        {INDEX, 0, BLOCK_STORED_BYTES, 4, minus_1, "overlap"},
        {INDEX, 0, BLOCK_OFFSET, 8, 1, "overlap"},
        {INDEX, 0, BLOCK_OFFSET, 8, 1ull << 62, "overlap"},
        {BLOCK, 0, BLOCK_OFFSET, 8, 1, "not the one that the index has"},
        {FOOTER, 0, FOOTER_SECTIONS, 4, 1, "length that its counts give"},
        {FOOTER, 0, FOOTER_SECTIONS, 4, minus_1, "length that its counts give"},
        {FOOTER, 0, FOOTER_SECTIONS, 4, 1u << 31, "length that its counts give"},
        {FOOTER, 0, FOOTER_BLOCKS, 8, 1, "length that its counts give"},
        {FOOTER, 0, FOOTER_BLOCKS, 8, 1ull << 60, "length that its counts give"},
        {SECTION, 1, SECTION_SHARD, 4, minus_1, "repeated"},
        {SECTION, 1, SECTION_SHARD, 4, 1, "repeated"},
        {SECTION, 2, SECTION_SHARD, 4, 2, "does not have"},
        {SECTION, 2, SECTION_SHARD, 4, 1, "without a section"},
        {SECTION, 0, SECTION_FLAGS, 4, 1, "flags"},
        {SECTION, 0, SECTION_KEYS, 8, 1, "counts"},
        {SECTION, 1, SECTION_IDS, 8, minus_1, "counts"},
        {SECTION, 0, SECTION_VERSION, 8, minus_1, "version above"},
        {TRAILER, 0, TRAILER_FOOTER_OFFSET, 8, minus_1, "does not begin as a footer"},
    };
    struct sample sample = sample_new(state);
    uint8_t *bytes = mf_alloc(sample.size);
    // Unchanged, the resealed file is the file.
    memcpy(bytes, sample.bytes, sample.size);
    reseal(bytes, sample.size);
    assert_memory_equal(bytes, sample.bytes, sample.size);
    for (size_t i = 0; i < sizeof(forgeries) / sizeof(forgeries[0]); i++) {
        memcpy(bytes, sample.bytes, sample.size);
        forge(&sample, bytes, &forgeries[i]);
        char message[512];
        assert_int_equal(verify_bytes(&sample, bytes, sample.size, message, sizeof(message)),
                         MF_CORRUPT);
        if (strstr(message, forgeries[i].why) == NULL)
            fail_msg("forgery %zu: %s, not %s", i, message, forgeries[i].why);
    }
    free(bytes);
    sample_free(&sample);
}

static void a_trailer_that_names_a_footer_elsewhere_is_found(void **state)
{
    struct sample sample = sample_new(state);
    uint8_t *trailer = sample.bytes + sample.parts.trailer;
    const struct {
        uint64_t offset;
        uint64_t bytes;
    } cases[] = {
        {sample.parts.footer, sample.parts.footer_bytes - 1},
        {sample.parts.footer - 1, sample.parts.footer_bytes},
        {0, sample.parts.trailer},
        {UINT64_MAX - 10, 10 + sample.size},
        {sample.parts.trailer, 0},
        {sample.parts.footer, UINT64_MAX},
        {0, MF_SNAPSHOT_FOOTER_BYTES_MAX + 1ull},
        {sample.parts.header_bytes - 1, sample.parts.trailer - sample.parts.header_bytes + 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        set_le(trailer + TRAILER_FOOTER_OFFSET, cases[i].offset, 8);
        set_le(trailer + TRAILER_FOOTER_BYTES, cases[i].bytes, 8);
        seal_part(trailer, MF_SNAPSHOT_TRAILER_BYTES - 8);
        char message[512];
        assert_int_equal(verify_bytes(&sample, sample.bytes, sample.size, message, sizeof(message)),
                         MF_CORRUPT);
    }
    sample_free(&sample);
}

// A vast file of zeros that only claims to be a snapshot costs neither memory nor time.
static void a_sparse_file_with_a_vast_footer_is_refused_before_it_is_read(void **state)
{
    struct sample sample = sample_new(state);
    uint64_t vast = 1ull << 40;
    int fd = open(sample.path, O_WRONLY);
    assert_true(fd >= 0);
    struct mf_buf trailer = {0};
    mf_snapshot_put_trailer(&trailer, sample.parts.header_bytes,
                            vast - sample.parts.header_bytes - MF_SNAPSHOT_TRAILER_BYTES);
    assert_int_equal(pwrite(fd, trailer.data, trailer.len, (off_t)(vast - trailer.len)),
                     trailer.len);
    close(fd);
    mf_buf_free(&trailer);
    char message[512];
    assert_int_equal(verify(sample.path, message, sizeof(message)), MF_CORRUPT);
    assert_non_null(strstr(message, "larger than any may be"));
    sample_free(&sample);
}

static void parts_of_another_file_do_not_fit(void **state)
{
    struct sample sample = sample_new(state);
    // The same content, cut one microsecond later: all parts sound, of equal length and in place.
    uint8_t *other = mf_alloc(sample.size);
    memcpy(other, sample.bytes, sample.size);
    other[HEADER_CREATED] ^= 1;
    seal_part(other, sample.parts.header_bytes - 8);
    char message[512];
    assert_int_equal(verify_bytes(&sample, other, sample.size, message, sizeof(message)),
                     MF_CORRUPT);
    assert_non_null(strstr(message, "another header"));

    // A block of a file that differs in one stored byte, put in with its own sound checksums.
    memcpy(other, sample.bytes, sample.size);
    uint8_t *block = other + find_nth_block(other, &sample.parts, 0);
    size_t stored = (size_t)get_le(block + BLOCK_STORED_BYTES, 4);
    block[MF_SNAPSHOT_BLOCK_HEADER_BYTES + stored - 1] ^= 1;
    struct mf_bytes content = mf_bytes_of(block + MF_SNAPSHOT_BLOCK_HEADER_BYTES, stored);
    set_le(block + BLOCK_CONTENT_CHECKSUM, mf_hash64(content, 0), 8);
    seal_part(block, BLOCK_CHECKSUM);
    assert_int_equal(verify_bytes(&sample, other, sample.size, message, sizeof(message)),
                     MF_CORRUPT);
    assert_non_null(strstr(message, "not the one that the index has"));
    free(other);
    sample_free(&sample);
}

// Checks every record that a salvage hands out against the model.
struct rescued {
    const struct model *model;
    uint64_t records;
};

static void take_rescued(void *arg, uint32_t shard, const struct mf_record *record)
{
    struct rescued *rescued = arg;
    const struct model *model = rescued->model;
    size_t i = 0;
    while (i < model->count &&
           (model->shard_of[i] != shard || !mf_bytes_equal(model->records[i].key, record->key)))
        i += 1;
    assert_true(i < model->count);
    assert_record_equal(record, &model->records[i]);
    rescued->records += 1;
}

static enum mf_err salvage(const struct sample *sample, const uint8_t *bytes, size_t size,
                           struct mf_snapshot_salvage *found)
{
    struct rescued rescued = {.model = &sample->model};
    char message[512];
    write_whole(sample->path, bytes, size);
    enum mf_err err =
        mf_snapshot_salvage(sample->path, found, take_rescued, &rescued, message, sizeof(message));
    assert_int_equal(rescued.records, found->records);
    return err;
}

static size_t count_blocks(const struct sample *sample, size_t end, uint64_t *records)
{
    size_t count = 0;
    *records = 0;
    for (size_t n = 0; find_nth_block(sample->bytes, &sample->parts, n) != 0; n++) {
        const uint8_t *block = sample->bytes + find_nth_block(sample->bytes, &sample->parts, n);
        size_t stored = (size_t)get_le(block + BLOCK_STORED_BYTES, 4);
        if (block + MF_SNAPSHOT_BLOCK_HEADER_BYTES + stored > sample->bytes + end)
            break;
        *records += get_le(block + BLOCK_RECORDS, 4);
        count += 1;
    }
    return count;
}

static void salvage_of_a_sound_file_finds_all_and_nothing_bad(void **state)
{
    struct sample sample = sample_new(state);
    struct mf_snapshot_salvage found;
    assert_int_equal(salvage(&sample, sample.bytes, sample.size, &found), MF_OK);
    uint64_t records;
    assert_int_equal(found.blocks_whole, count_blocks(&sample, sample.size, &records));
    assert_int_equal(found.records, records);
    assert_int_equal(found.records, sample.model.count);
    assert_int_equal(found.bad_ranges, 0);
    assert_true(found.header_whole && found.index_whole);
    sample_free(&sample);
}

static void salvage_of_a_cut_file_gives_every_block_before_the_cut(void **state)
{
    struct sample sample = sample_new(state);
    for (size_t size = sample.parts.header_bytes; size < sample.size; size++) {
        struct mf_snapshot_salvage found;
        assert_int_equal(salvage(&sample, sample.bytes, size, &found), MF_OK);
        uint64_t records;
        assert_int_equal(found.blocks_whole, count_blocks(&sample, size, &records));
        assert_int_equal(found.records, records);
        assert_true(found.header_whole && !found.index_whole);
        assert_true(found.bad_ranges <= 1);
        if (found.bad_ranges == 1)
            assert_int_equal(found.first_bad_end, size);
    }
    sample_free(&sample);
}

static void salvage_loses_only_the_block_with_the_changed_byte_and_says_where(void **state)
{
    struct sample sample = sample_new(state);
    uint64_t records;
    size_t blocks = count_blocks(&sample, sample.size, &records);
    for (size_t i = 0; i < sample.size; i++) {
        struct mf_snapshot_salvage found;
        sample.bytes[i] ^= 0x10;
        assert_int_equal(salvage(&sample, sample.bytes, sample.size, &found), MF_OK);
        sample.bytes[i] ^= 0x10;
        bool in_blocks = i >= sample.parts.header_bytes && i < sample.parts.footer;
        assert_int_equal(found.blocks_whole, blocks - in_blocks);
        assert_int_equal(found.bad_ranges, 1);
        assert_true(found.first_bad_begin <= i && i < found.first_bad_end);
        assert_int_equal(found.header_whole, i >= sample.parts.header_bytes);
        assert_int_equal(found.index_whole, i < sample.parts.footer);
    }
    sample_free(&sample);
}

static void salvage_finds_blocks_again_behind_a_long_gap(void **state)
{
    // Enough noise in one block that its header is searched for over several steps.
    struct sample sample = {.model = model_new(4), .path = path_in(state, "gap.mfs")};
    struct mf_rand rand = {17};
    uint64_t *noise = mf_alloc(200000);
    for (size_t i = 0; i < 25000; i++)
        noise[i] = mf_rand_next(&rand);
    for (int i = 0; i < 3; i++) {
        struct mf_record id = {.is_id = true, .key = mf_bytes_of(&i, sizeof(i))};
        id.value = mf_bytes_of(noise, 200000);
        model_add(&sample.model, &id, 0);
    }
    free(noise);
    write_sample(&sample.model, sample.path);
    sample.bytes = read_whole(sample.path, &sample.size);
    assert_true(find_parts(sample.bytes, sample.size, &sample.parts));
    size_t second = find_nth_block(sample.bytes, &sample.parts, 1);
    size_t third = find_nth_block(sample.bytes, &sample.parts, 2);
    assert_true(third > second);
    struct mf_snapshot_salvage found;
    memset(sample.bytes, 0, second + 10);
    assert_int_equal(salvage(&sample, sample.bytes, sample.size, &found), MF_OK);
    assert_int_equal(found.blocks_whole, 1);
    assert_int_equal(found.bad_ranges, 1);
    assert_int_equal(found.first_bad_begin, 0);
    assert_int_equal(found.first_bad_end, third);
    sample_free(&sample);
}

static void salvage_of_something_else_says_so(void **state)
{
    struct sample sample = sample_new(state);
    struct mf_snapshot_salvage found;
    uint8_t *other = mf_calloc(1, 100000);
    for (size_t size = 0; size <= 100000; size += 50000) {
        assert_int_equal(salvage(&sample, other, size, &found), MF_CORRUPT);
        assert_int_equal(found.blocks_whole, 0);
    }
    free(other);
    sample_free(&sample);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(any_changed_byte_is_found),
        TEST(a_file_cut_at_any_length_is_found),
        TEST(bytes_after_the_end_are_found),
        TEST(a_file_that_shrinks_while_it_is_open_is_found),
        TEST(a_lie_behind_sound_checksums_is_found),
        TEST(a_trailer_that_names_a_footer_elsewhere_is_found),
        TEST(a_sparse_file_with_a_vast_footer_is_refused_before_it_is_read),
        TEST(parts_of_another_file_do_not_fit),
        TEST(salvage_of_a_sound_file_finds_all_and_nothing_bad),
        TEST(salvage_of_a_cut_file_gives_every_block_before_the_cut),
        TEST(salvage_loses_only_the_block_with_the_changed_byte_and_says_where),
        TEST(salvage_finds_blocks_again_behind_a_long_gap),
        TEST(salvage_of_something_else_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
