// What can be read of a damaged snapshot file: every block that is whole, and a report of where it
// is not.
#include "snapshot_sample.h"

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
        TEST(salvage_of_a_sound_file_finds_all_and_nothing_bad),
        TEST(salvage_of_a_cut_file_gives_every_block_before_the_cut),
        TEST(salvage_loses_only_the_block_with_the_changed_byte_and_says_where),
        TEST(salvage_finds_blocks_again_behind_a_long_gap),
        TEST(salvage_of_something_else_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
