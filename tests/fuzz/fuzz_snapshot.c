// Any bytes as a snapshot file: once as they are, and once with checksums that hold, so that the
// fuzzer gets behind them. A file that verifies must be whole to the salvage too, and can be loaded
// or is refused; nothing else is asked but to survive.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/slots.h"
#include "shards/shard.h"
#include "snapshot/reader.h"
#include "snapshot/reshard.h"
#include "snapshot/writer.h"
#include "tests/unit/snapshot_reseal.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int fd;
static char path[64];
static uint8_t sample[4096];
static size_t sample_size;

// Two shards of three, one with keys and ids.
static void write_sample(const char *to)
{
    struct mf_snapshot_info info = {.cluster = "demo", .shard_count = 3, .created_us = 1};
    struct mf_snapshot_writer *writer;
    char message[256];
    enum mf_err err = mf_snapshot_create(to, &info, &writer, message, sizeof(message));
    assert(err == MF_OK);
    const char *keys[] = {"a", "bb", "ccc", "dddd"};
    struct mf_bytes value = mf_bytes_str("value, value, value, value, value, value, value, value");
    for (uint32_t shard = 0; shard < 2; shard++) {
        struct mf_shard_meta meta = {.version = 9, .log_time_us = 100, .ids = shard};
        for (size_t i = 0; i < 4; i++)
            meta.keys += mf_shard_of_key(mf_bytes_str(keys[i]), 3) == shard;
        err = mf_snapshot_begin_shard(writer, shard, &meta, 1000);
        for (size_t i = 0; i < 4 && err == MF_OK; i++) {
            struct mf_record record = {
                .key = mf_bytes_str(keys[i]), .value = value, .version = i + 1, .deadline_us = 500};
            if (mf_shard_of_key(record.key, 3) == shard)
                err = mf_snapshot_put(writer, shard, &record);
        }
        struct mf_record id = {.is_id = true, .key = value, .version = 1, .deadline_us = 500};
        if (shard == 1 && err == MF_OK)
            err = mf_snapshot_put(writer, shard, &id);
        if (err == MF_OK)
            err = mf_snapshot_end_shard(writer, shard);
        assert(err == MF_OK);
    }
    err = mf_snapshot_commit(writer, NULL, message, sizeof(message));
    assert(err == MF_OK);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    char name[] = "/tmp/mayfly-fuzz-XXXXXX";
    int made = mkstemp(name);
    assert(made >= 0);
    close(made);
    write_sample(name);
    FILE *file = fopen(name, "rb");
    assert(file != NULL);
    sample_size = fread(sample, 1, sizeof(sample), file);
    fclose(file);
    unlink(name);
    fd = memfd_create("snapshot", 0);
    assert(fd >= 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return 0;
}

// Starts from a sound file, which no mutation of nothing would find.
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    (void)seed;
    if (size < MF_SNAPSHOT_HEADER_BYTES + MF_SNAPSHOT_TRAILER_BYTES && sample_size <= size_max) {
        memcpy(data, sample, sample_size);
        size = sample_size;
    }
    return LLVMFuzzerMutate(data, size, size_max);
}

static void load_all(struct mf_snapshot_reader *reader, uint32_t sections)
{
    char message[256];
    for (uint32_t i = 0; i < sections; i++) {
        struct mf_shard *shard = mf_shard_new(mf_snapshot_section(reader, i)->shard, 7);
        if (mf_snapshot_load(reader, i, shard, message, sizeof(message)) == MF_OK)
            assert(mf_shard_valid(shard));
        mf_shard_free(shard);
    }
}

static bool verify_all(uint64_t *records)
{
    char message[256];
    struct mf_snapshot_reader *reader;
    if (mf_snapshot_open(path, &reader, message, sizeof(message)) != MF_OK)
        return false;
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    *records = summary.keys + summary.ids;
    bool sound = mf_snapshot_verify(reader, message, sizeof(message)) == MF_OK;
    struct mf_snapshot_plan plan;
    enum mf_err err = mf_snapshot_make_plan(reader, NULL, 5, MF_SNAPSHOT_ABSOLUTE, &plan, message,
                                            sizeof(message));
    assert((err == MF_OK) == sound);
    if (sound)
        mf_snapshot_free_plan(&plan);
    // A shard is not small: a hostile file may well have a thousand, but one run need not.
    load_all(reader, summary.shards < 4 ? summary.shards : 4);
    mf_snapshot_close(reader);
    return sound;
}

static void try_file(const uint8_t *data, size_t size)
{
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    uint64_t records;
    bool sound = verify_all(&records);
    struct mf_snapshot_salvage whole;
    char message[256];
    enum mf_err err = mf_snapshot_salvage(path, &whole, NULL, NULL, message, sizeof(message));
    assert(err == MF_OK || err == MF_CORRUPT);
    if (sound) {
        assert(err == MF_OK && whole.header_whole && whole.index_whole);
        assert(whole.bad_ranges == 0 && whole.records == records);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_file(data, size);
    uint8_t *copy = mf_alloc(size);
    if (size > 0)
        memcpy(copy, data, size);
    reseal(copy, size);
    try_file(copy, size);
    free(copy);
    return 0;
}
