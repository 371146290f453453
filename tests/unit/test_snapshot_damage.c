// Damaged and forged snapshot files: no byte can change unnoticed, and no length is believed. What
// can still be read of them is in test_snapshot_salvage.c.
#include "snapshot_sample.h"

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

// All that counts records agrees, but the block holds one more than they say, or one less.
static void a_block_that_its_records_do_not_fill_is_found(void **state)
{
    const uint64_t changes[] = {UINT64_MAX, 1};
    for (size_t i = 0; i < 2; i++) {
        struct sample sample = sample_new(state);
        struct forgery records = {BLOCK_AND_INDEX, 0, BLOCK_RECORDS, 4, changes[i], ""};
        struct forgery keys = {SECTION, 0, SECTION_KEYS, 8, changes[i], ""};
        forge(&sample, sample.bytes, &records);
        forge(&sample, sample.bytes, &keys);
        char message[512];
        assert_int_equal(verify_bytes(&sample, sample.bytes, sample.size, message, sizeof(message)),
                         MF_CORRUPT);
        assert_non_null(strstr(message, "records that do not fill it"));
        sample_free(&sample);
    }
}

// A footer that is sound in itself, but leaves the last blocks out.
static void a_block_that_is_not_in_the_index_is_found(void **state)
{
    struct sample sample = sample_new(state);
    uint64_t records;
    size_t blocks = count_blocks(&sample, sample.size, &records);
    for (size_t kept = 0; kept < blocks; kept++) {
        struct mf_buf file = {0};
        mf_buf_put(&file, sample.bytes, sample.parts.index);
        struct mf_snapshot_footer footer = {.sections = 3, .blocks = kept};
        footer.header_checksum = get_le(sample.bytes + sample.parts.header_bytes - 8, 8);
        file.len = sample.parts.footer;
        mf_snapshot_put_footer_start(&file, &footer);
        for (uint32_t i = 0; i < 3; i++) {
            struct mf_snapshot_section section = {.shard = i};
            section.meta.version = 1000;
            for (size_t n = 0; n < kept; n++) {
                const uint8_t *entry = sample.bytes + entry_at(&sample, n);
                bool ids = entry[BLOCK_KIND] == MF_SNAPSHOT_IDS;
                if (get_le(entry + BLOCK_SHARD, 4) == i)
                    *(ids ? &section.meta.ids : &section.meta.keys) +=
                        get_le(entry + BLOCK_RECORDS, 4);
            }
            mf_snapshot_put_section(&file, &section);
        }
        mf_buf_put(&file, sample.bytes + sample.parts.index, kept * MF_SNAPSHOT_BLOCK_HEADER_BYTES);
        mf_snapshot_put_checksum(&file, sample.parts.footer);
        mf_snapshot_put_trailer(&file, sample.parts.footer, file.len - sample.parts.footer);
        char message[512];
        assert_int_equal(verify_bytes(&sample, file.data, file.len, message, sizeof(message)),
                         MF_CORRUPT);
        assert_non_null(strstr(message, "does not cover the file"));
        mf_buf_free(&file);
    }
    sample_free(&sample);
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
        {SECTION, 0, SECTION_MEMBERS, 4, 1, "length that its counts give"},
        {SECTION, 0, SECTION_MEMBERS, 4, 48, "length that its counts give"},
        {SECTION, 0, SECTION_MEMBERS, 4, MF_SNAPSHOT_MEMBERS_MAX + 1, "longer than any may be"},
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(any_changed_byte_is_found),
        TEST(a_file_cut_at_any_length_is_found),
        TEST(bytes_after_the_end_are_found),
        TEST(a_file_that_shrinks_while_it_is_open_is_found),
        TEST(a_block_that_its_records_do_not_fill_is_found),
        TEST(a_block_that_is_not_in_the_index_is_found),
        TEST(a_lie_behind_sound_checksums_is_found),
        TEST(a_trailer_that_names_a_footer_elsewhere_is_found),
        TEST(a_sparse_file_with_a_vast_footer_is_refused_before_it_is_read),
        TEST(parts_of_another_file_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
