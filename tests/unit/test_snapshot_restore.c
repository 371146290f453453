// A snapshot becomes the first state of a new cluster: keys in their new shards, deadlines in Unix
// time, the same bytes on every node, and nothing at all when something is wrong.
#include "base/hash.h"
#include "snapshot_fixture.h"

#include "snapshot/genesis.h"

static void deadlines_become_unix_time_by_the_clocks_of_their_own_cut(void **state)
{
    (void)state;
    const uint64_t none = MF_NO_DEADLINE;
    const struct {
        uint64_t deadline;
        uint64_t log_time;
        uint64_t wall;
        uint64_t absolute;
    } cases[] = {
        {none, 0, 0, none},
        {none, 500, 1700, none},
        {500, 500, 1700, 1700},
        {501, 500, 1700, 1701},
        {499, 500, 1700, 1699},
        {0, 500, 1700, 1200},
        {0, 1700, 1700, 1},
        {0, 1699, 1700, 1},
        {0, 5000, 1700, 1},
        {5, 5000, 0, 1},
        {5, 5, 0, 1},
        {none - 1, 0, 0, none - 1},
        {none - 1, 0, 1, none - 1},
        {none - 1, 100, 100, none - 1},
        {none - 1, 101, 100, none - 2},
        {none - 1, 0, none, none - 1},
        {1, 0, none, none - 1},
        {0, 0, none, none - 1},
        {0, none, none, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t absolute =
            mf_snapshot_absolute_deadline(cases[i].deadline, cases[i].log_time, cases[i].wall);
        if (absolute != cases[i].absolute)
            fail_msg("case %zu: %llu", i, (unsigned long long)absolute);
    }
}

// Re-shards `path` into the folder `to`.
static enum mf_err restore(const char *path, const char *to, uint32_t shard_count, char *message,
                           size_t message_size)
{
    struct mf_snapshot_reader *source = open_sound(path);
    struct mf_snapshot_totals totals;
    uint64_t ids_left_out;
    enum mf_err err =
        mf_snapshot_write_genesis(source,
                                  &(struct mf_snapshot_genesis){.data_dir = to,
                                                                .cluster = "new",
                                                                .shard_count = shard_count,
                                                                .ttl = MF_SNAPSHOT_ABSOLUTE},
                                  &totals, &ids_left_out, message, message_size);
    if (err == MF_OK) {
        struct mf_snapshot_summary summary;
        mf_snapshot_summary(source, &summary);
        assert_int_equal(totals.keys, summary.keys);
        assert_int_equal(ids_left_out, summary.ids);
    }
    mf_snapshot_close(source);
    return err;
}

// The new cluster's content as a model: every key of the old one, its deadline moved.
static struct model expected_of(const struct model *from, uint32_t shard_count)
{
    struct model model = model_new(shard_count);
    uint64_t base = 0;
    uint64_t version = 0;
    uint64_t seed = 0;
    for (uint32_t i = 0; i < from->shard_count; i++) {
        if (from->metas[i].hash_seed != 0)
            seed = mf_hash_mix(seed, from->metas[i].hash_seed);
        base = from->walls[i] > base ? from->walls[i] : base;
        version = from->metas[i].version > version ? from->metas[i].version : version;
    }
    // A source is read section by section.
    for (uint32_t shard = 0; shard < from->shard_count; shard++) {
        for (size_t i = 0; i < from->count; i++) {
            if (from->records[i].is_id || from->shard_of[i] != shard)
                continue;
            struct mf_record record = from->records[i];
            record.deadline_us = mf_snapshot_absolute_deadline(
                record.deadline_us, from->metas[shard].log_time_us, from->walls[shard]);
            model_add(&model, &record, 0);
            model.records[model.count - 1].version = record.version;
        }
    }
    for (uint32_t i = 0; i < shard_count; i++) {
        uint64_t keys = model.metas[i].keys;
        model.metas[i] = (struct mf_shard_meta){.log_time_us = base,
                                                .version = version,
                                                .hash_seed = mf_hash_mix(seed, i),
                                                .keys = keys};
        model.walls[i] = base;
    }
    return model;
}

static void every_key_moves_to_its_new_shard_with_its_deadline(void **state)
{
    const uint32_t counts[][2] = {{1, 1}, {1, 7}, {7, 1}, {16, 64}, {64, 3}, {5, MF_SLOT_COUNT}};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct model model = model_new(counts[i][0]);
        model_fill(&model, 1000, 300, i + 1);
        const char *path = path_in(state, "old.mfs");
        char to[32];
        snprintf(to, sizeof(to), "node-%zu", i);
        char message[512];
        model_write(&model, path);
        assert_int_equal(restore(path, path_in(state, to), counts[i][1], message, sizeof(message)),
                         MF_OK);

        struct model expected = expected_of(&model, counts[i][1]);
        strcat(to, "/genesis.mfs");
        struct mf_snapshot_reader *reader = open_sound(path_in(state, to));
        struct mf_snapshot_summary summary;
        mf_snapshot_summary(reader, &summary);
        assert_string_equal(summary.cluster, "new");
        assert_int_equal(summary.shard_count, counts[i][1]);
        assert_int_equal(summary.shards, counts[i][1]);
        assert_int_equal(summary.created_us, 1700000000123456);
        assert_int_equal(summary.ids, 0);
        for (uint32_t n = 0; n < summary.shards; n++)
            assert_section_is(reader, n, &expected);
        mf_snapshot_close(reader);
        model_free(&expected);
        model_free(&model);
    }
}

static enum mf_err find_deadline(void *arg, const struct mf_record *record)
{
    uint64_t *deadlines = arg;
    deadlines[record->key.data[0] - '0'] = record->deadline_us;
    return MF_OK;
}

static void deadlines_are_kept_counted_on_or_dropped(void **state)
{
    struct model model = model_new(1);
    const uint64_t log_time_us = model.metas[0].log_time_us;
    const uint64_t wall_us = model.walls[0];
    const struct {
        uint64_t deadline_us;
        uint64_t expected[3]; // absolute, remaining, none
    } cases[] = {
        {MF_NO_DEADLINE, {MF_NO_DEADLINE, MF_NO_DEADLINE, MF_NO_DEADLINE}},
        {log_time_us + 7, {wall_us + 7, 8, MF_NO_DEADLINE}},
        {log_time_us, {wall_us, 1, 1}},
        {log_time_us - 7, {wall_us - 7, 1, 1}},
        {MF_NO_DEADLINE - 1, {MF_NO_DEADLINE - 1, MF_NO_DEADLINE - log_time_us, MF_NO_DEADLINE}},
    };
    const size_t count = sizeof(cases) / sizeof(cases[0]);
    for (size_t i = 0; i < count; i++) {
        char key[2] = {(char)('0' + i), '\0'};
        struct mf_record record = {.key = mf_bytes_str(key), .deadline_us = cases[i].deadline_us};
        model_add(&model, &record, 0);
    }
    const char *path = path_in(state, "old.mfs");
    const char *to = path_in(state, "new.mfs");
    model_write(&model, path);
    struct mf_snapshot_reader *source = open_sound(path);
    for (int ttl = MF_SNAPSHOT_ABSOLUTE; ttl <= MF_SNAPSHOT_NO_TTL; ttl++) {
        struct mf_snapshot_plan plan;
        struct mf_snapshot_totals totals;
        char message[512];
        assert_int_equal(mf_snapshot_make_plan(source, NULL, 1, (enum mf_snapshot_ttl)ttl, &plan,
                                               message, sizeof(message)),
                         MF_OK);
        assert_int_equal(
            mf_snapshot_reshard(source, NULL, &plan, to, "new", &totals, message, sizeof(message)),
            MF_OK);
        mf_snapshot_free_plan(&plan);
        struct mf_snapshot_reader *reader = open_sound(to);
        bool remaining = ttl == MF_SNAPSHOT_REMAINING;
        assert_int_equal(mf_snapshot_section(reader, 0)->wall_us, remaining ? 0 : wall_us);
        assert_int_equal(mf_snapshot_section(reader, 0)->meta.log_time_us, remaining ? 1 : wall_us);
        uint64_t deadlines[8] = {0};
        assert_int_equal(
            mf_snapshot_read(reader, 0, find_deadline, deadlines, message, sizeof(message)), MF_OK);
        for (size_t i = 0; i < count; i++) {
            if (deadlines[i] != cases[i].expected[ttl])
                fail_msg("case %zu, way %d: %llu", i, ttl, (unsigned long long)deadlines[i]);
        }
        mf_snapshot_close(reader);
    }
    mf_snapshot_close(source);
    model_free(&model);
}

static void two_nodes_make_the_same_bytes_of_one_file(void **state)
{
    struct model model = model_new(6);
    model_fill(&model, 3000, 2000, 21);
    const char *path = path_in(state, "old.mfs");
    char message[512];
    model_write(&model, path);
    size_t sizes[2];
    uint8_t *bytes[2];
    for (int i = 0; i < 2; i++) {
        const char *to = path_in(state, i == 0 ? "first" : "second/deep/er");
        assert_int_equal(restore(path, to, 64, message, sizeof(message)), MF_OK);
        const char *genesis =
            path_in(state, i == 0 ? "first/genesis.mfs" : "second/deep/er/genesis.mfs");
        bytes[i] = read_whole(genesis, &sizes[i]);
    }
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(bytes[0], bytes[1], sizes[0]);
    free(bytes[0]);
    free(bytes[1]);
    model_free(&model);
}

static void count_bytes(void *arg, uint64_t bytes)
{
    *(uint64_t *)arg += bytes;
}

// Returns what the progress came to.
static uint64_t reshard(const char *from, const char *to, uint32_t shard_count,
                        enum mf_snapshot_ttl ttl, unsigned threads)
{
    struct mf_snapshot_reader *source = open_sound(from);
    struct mf_snapshot_plan plan;
    struct mf_snapshot_totals totals;
    char message[512];
    uint64_t bytes = 0;
    struct mf_snapshot_reading reading = {
        .threads = threads, .progress = count_bytes, .arg = &bytes};
    assert_int_equal(
        mf_snapshot_make_plan(source, &reading, shard_count, ttl, &plan, message, sizeof(message)),
        MF_OK);
    assert_int_equal(
        mf_snapshot_reshard(source, &reading, &plan, to, "new", &totals, message, sizeof(message)),
        MF_OK);
    mf_snapshot_free_plan(&plan);
    mf_snapshot_close(source);
    return bytes;
}

static void any_number_of_threads_makes_the_same_bytes(void **state)
{
    struct model model = model_new(6);
    model_fill(&model, 3000, 2000, 21);
    const char *from = path_in(state, "old.mfs");
    const char *to = path_in(state, "new.mfs");
    model_write(&model, from);
    struct mf_snapshot_reader *source = open_sound(from);
    uint64_t stored = 0;
    for (uint32_t i = 0; i < 6; i++) {
        assert_true(mf_snapshot_section(source, i)->blocks > 1);
        stored += mf_snapshot_section(source, i)->stored_bytes;
    }
    mf_snapshot_close(source);
    size_t first_size = 0;
    uint8_t *first = NULL;
    for (unsigned threads = 1; threads <= 16; threads *= 2) {
        size_t size;
        assert_int_equal(reshard(from, to, 64, MF_SNAPSHOT_ABSOLUTE, threads), 2 * stored);
        uint8_t *bytes = read_whole(to, &size);
        if (first == NULL) {
            first = bytes;
            first_size = size;
            continue;
        }
        assert_int_equal(size, first_size);
        assert_memory_equal(bytes, first, size);
        free(bytes);
    }
    free(first);
    model_free(&model);
}

// What is to begin with remaining deadlines has no wall time, and is not of 1970.
static void remaining_deadlines_that_have_not_begun_stay_remaining(void **state)
{
    struct model model = model_new(1);
    const uint64_t log_time_us = model.metas[0].log_time_us;
    const uint64_t deadlines[] = {MF_NO_DEADLINE, log_time_us + 7, log_time_us};
    const uint64_t expected[] = {MF_NO_DEADLINE, 8, 1};
    const uint64_t without[] = {MF_NO_DEADLINE, MF_NO_DEADLINE, 1};
    for (size_t i = 0; i < 3; i++) {
        char key[] = {(char)('0' + i), '\0'};
        struct mf_record record = {.key = mf_bytes_str(key), .deadline_us = deadlines[i]};
        model_add(&model, &record, 0);
    }
    const char *old = path_in(state, "old.mfs");
    const char *first = path_in(state, "first.mfs");
    const char *second = path_in(state, "second.mfs");
    model_write(&model, old);
    (void)reshard(old, first, 1, MF_SNAPSHOT_REMAINING, 1);
    for (int ttl = MF_SNAPSHOT_ABSOLUTE; ttl <= MF_SNAPSHOT_NO_TTL; ttl++) {
        (void)reshard(first, second, 1, (enum mf_snapshot_ttl)ttl, 1);
        struct mf_snapshot_reader *reader = open_sound(second);
        char message[512];
        uint64_t found[3] = {0};
        assert_int_equal(mf_snapshot_section(reader, 0)->wall_us, 0);
        assert_int_equal(mf_snapshot_wall_us(mf_snapshot_section(reader, 0), 123), 123);
        assert_int_equal(mf_snapshot_section(reader, 0)->meta.log_time_us, 1);
        assert_int_equal(
            mf_snapshot_read(reader, 0, find_deadline, found, message, sizeof(message)), MF_OK);
        assert_memory_equal(found, ttl == MF_SNAPSHOT_NO_TTL ? without : expected, sizeof(found));
        mf_snapshot_close(reader);
    }
    model_free(&model);
}

static void what_an_ended_restore_has_left_is_removed_by_the_next_one_and_nothing_else(void **state)
{
    static const char *const left[] = {"genesis.mfs.tmp-1", "genesis.mfs.new",
                                       "genesis.mfs.new.tmp-4711"};
    static const char *const others[] = {"genesis.mfs.tmp-", "genesis.mfs.tmp-12a",
                                         "genesis.mfs.old", "genesis.mfs.replaced-1700000000",
                                         "other.tmp-1"};
    const char *path = path_in(state, "old.mfs");
    char message[512];
    char name[64];
    commit(create(path, 1));
    assert_int_equal(mkdir(path_in(state, "node"), 0700), 0);
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "node/%s", left[i]);
        write_whole(path_in(state, name), "old", 3);
    }
    for (size_t i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "node/%s", others[i]);
        write_whole(path_in(state, name), "old", 3);
    }
    assert_int_equal(restore(path, path_in(state, "node"), 2, message, sizeof(message)), MF_OK);
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "node/%s", left[i]);
        assert_int_equal(access(path_in(state, name), F_OK), -1);
    }
    for (size_t i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "node/%s", others[i]);
        assert_int_equal(access(path_in(state, name), F_OK), 0);
    }
}

static void a_snapshot_without_sections_becomes_an_empty_cluster_of_its_creation_time(void **state)
{
    const char *path = path_in(state, "old.mfs");
    char message[512];
    commit(create(path, 9));
    assert_int_equal(restore(path, path_in(state, "node"), 2, message, sizeof(message)), MF_OK);
    struct mf_snapshot_reader *reader = open_sound(path_in(state, "node/genesis.mfs"));
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(mf_snapshot_section(reader, i)->wall_us, 1700000000123456);
        assert_int_equal(mf_snapshot_section(reader, i)->meta.log_time_us, 1700000000123456);
    }
    mf_snapshot_close(reader);
}

static void a_folder_that_has_data_is_refused_and_left_alone(void **state)
{
    struct model model = model_new(2);
    model_fill(&model, 10, 10, 22);
    const char *path = path_in(state, "old.mfs");
    model_write(&model, path);
    const char *data[] = {"genesis.mfs", "node.meta", "wal/0-1.wal", "wal/.hidden"};
    for (size_t i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
        char node[32];
        char file[64];
        char message[512];
        snprintf(node, sizeof(node), "node-%zu", i);
        snprintf(file, sizeof(file), "%s/%s", node, data[i]);
        assert_int_equal(mkdir(path_in(state, node), 0700), 0);
        if (strncmp(data[i], "wal/", 4) == 0) {
            char wal[64];
            snprintf(wal, sizeof(wal), "%s/wal", node);
            assert_int_equal(mkdir(path_in(state, wal), 0700), 0);
        }
        write_whole(path_in(state, file), "old", 3);
        assert_int_equal(restore(path, path_in(state, node), 3, message, sizeof(message)),
                         MF_BAD_REQUEST);
        assert_non_null(strstr(message, data[i]));
        size_t size;
        free(read_whole(path_in(state, file), &size));
        assert_int_equal(size, 3);
        assert_true(files_in(path_in(state, node)) == 1);
    }
    model_free(&model);
}

static void an_empty_folder_for_the_log_is_no_data(void **state)
{
    struct model model = model_new(2);
    model_fill(&model, 10, 10, 23);
    const char *path = path_in(state, "old.mfs");
    char message[512];
    model_write(&model, path);
    assert_int_equal(mkdir(path_in(state, "node"), 0700), 0);
    assert_int_equal(mkdir(path_in(state, "node/wal"), 0700), 0);
    assert_int_equal(restore(path, path_in(state, "node"), 3, message, sizeof(message)), MF_OK);
    model_free(&model);
}

static void of_a_damaged_file_nothing_is_restored(void **state)
{
    struct model model = model_new(2);
    model_fill(&model, 200, 100, 24);
    const char *path = path_in(state, "old.mfs");
    char message[512];
    model_write(&model, path);
    size_t size;
    uint8_t *bytes = read_whole(path, &size);
    bytes[size / 2] ^= 1;
    write_whole(path, bytes, size);
    free(bytes);
    assert_int_equal(restore(path, path_in(state, "node"), 3, message, sizeof(message)),
                     MF_CORRUPT);
    assert_int_equal(files_in(*state), 1);
    model_free(&model);
}

static void a_folder_that_cannot_be_made_is_named(void **state)
{
    const char *path = path_in(state, "old.mfs");
    char message[512];
    commit(create(path, 1));
    assert_int_equal(restore(path, path_in(state, "old.mfs/node"), 1, message, sizeof(message)),
                     MF_IO);
    assert_non_null(strstr(message, "old.mfs"));
    assert_int_equal(restore(path, "", 1, message, sizeof(message)), MF_IO);
}

static void a_source_that_changes_between_the_readings_leaves_no_genesis(void **state)
{
    struct model model = model_new(1);
    model_fill(&model, 100, 100, 25);
    const char *path = path_in(state, "old.mfs");
    const char *to = path_in(state, "new.mfs");
    char message[512];
    model_write(&model, path);
    struct mf_snapshot_reader *source = open_sound(path);
    struct mf_snapshot_plan plan;
    struct mf_snapshot_totals totals;
    assert_int_equal(mf_snapshot_make_plan(source, NULL, 4, MF_SNAPSHOT_ABSOLUTE, &plan, message,
                                           sizeof(message)),
                     MF_OK);
    plan.keys[2] += 1;
    assert_int_equal(
        mf_snapshot_reshard(source, NULL, &plan, to, "new", &totals, message, sizeof(message)),
        MF_CORRUPT);
    assert_non_null(strstr(message, "shard 2"));
    assert_int_equal(files_in(*state), 1);
    plan.keys[2] -= 1;
    assert_int_equal(truncate(path, 100), 0);
    assert_int_equal(
        mf_snapshot_reshard(source, NULL, &plan, to, "new", &totals, message, sizeof(message)),
        MF_CORRUPT);
    assert_int_equal(files_in(*state), 1);
    mf_snapshot_free_plan(&plan);
    mf_snapshot_close(source);
    model_free(&model);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(deadlines_become_unix_time_by_the_clocks_of_their_own_cut),
        TEST(every_key_moves_to_its_new_shard_with_its_deadline),
        TEST(deadlines_are_kept_counted_on_or_dropped),
        TEST(two_nodes_make_the_same_bytes_of_one_file),
        TEST(any_number_of_threads_makes_the_same_bytes),
        TEST(remaining_deadlines_that_have_not_begun_stay_remaining),
        TEST(what_an_ended_restore_has_left_is_removed_by_the_next_one_and_nothing_else),
        TEST(a_snapshot_without_sections_becomes_an_empty_cluster_of_its_creation_time),
        TEST(a_folder_that_has_data_is_refused_and_left_alone),
        TEST(an_empty_folder_for_the_log_is_no_data),
        TEST(of_a_damaged_file_nothing_is_restored),
        TEST(a_folder_that_cannot_be_made_is_named),
        TEST(a_source_that_changes_between_the_readings_leaves_no_genesis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
