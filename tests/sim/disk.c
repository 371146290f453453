// Batches, syncs, crashes and recovery; see disk.h.
#include "disk.h"

#include <stdlib.h>
#include <string.h>

#include "world.h"

#define SECTOR MF_WAL_ALIGN
// Handing a batch to the operating system.
#define WRITE_US_MAX 100u
#define SLOW_SYNC_US_MAX 300000u
// A write that found no room is tried again after up to this long.
#define RETRY_US_MAX 100000u
#define PENDING_RECORDS_MAX 40u
// A node's disk has one stream.
#define STREAM 1u

void sim_disk_init(struct sim_disk *disk, uint64_t seed)
{
    *disk = (struct sim_disk){.rand = {.state = seed}};
}

static void clear_batch(struct sim_batch *batch)
{
    for (uint32_t i = 0; i < batch->record_count; i++)
        free((void *)(uintptr_t)batch->records[i].payload.data); // a copy of ours
    batch->record_count = 0;
    batch->hand_over_count = 0;
}

static void free_batch(struct sim_batch *batch)
{
    clear_batch(batch);
    free(batch->records);
    free(batch->hand_overs);
}

void sim_disk_free(struct sim_disk *disk)
{
    free_batch(&disk->gathering);
    free_batch(&disk->syncing);
    mf_buf_free(&disk->sync_bytes);
    for (uint32_t i = 0; i < disk->file_count; i++)
        mf_buf_free(&disk->files[i].bytes);
    free(disk->files);
    mf_wal_ledger_free(disk->ledger);
}

static struct sim_file *current(struct sim_disk *disk)
{
    return &disk->files[disk->file_count - 1];
}

static void start_file(struct sim_disk *disk)
{
    if (disk->file_count == disk->file_cap) {
        disk->file_cap = disk->file_cap == 0 ? 4 : disk->file_cap * 2;
        disk->files = mf_realloc(disk->files, disk->file_cap * sizeof(*disk->files));
    }
    uint64_t previous = disk->file_count > 0 ? current(disk)->batches : 0;
    struct sim_file *file = &disk->files[disk->file_count++];
    *file = (struct sim_file){.id = {.sequence = ++disk->sequence,
                                     .stream = STREAM,
                                     .identity = mf_rand_next(&disk->rand),
                                     .previous_batches = previous}};
    mf_wal_put_header(&file->bytes, &file->id);
    mf_wal_ledger_file(disk->ledger, STREAM, file->id.sequence, file->bytes.len);
}

struct recovery {
    struct sim_node *node;
    void (*record)(struct sim_node *node, const struct mf_wal_record *record);
};

static enum mf_err pass_record(void *arg, const struct mf_wal_record *record)
{
    const struct recovery *recovery = arg;
    mf_wal_ledger_note(recovery->node->disk.ledger, STREAM, record, false);
    recovery->record(recovery->node, record);
    return MF_OK;
}

void sim_disk_recover(struct sim_node *node,
                      void (*record)(struct sim_node *node, const struct mf_wal_record *record))
{
    struct sim_disk *disk = &node->disk;
    struct recovery recovery = {.node = node, .record = record};
    disk->ledger = mf_wal_ledger_new(node->sim->plan.group_count);
    for (uint32_t i = 0; i < disk->file_count; i++) {
        struct sim_file *file = &disk->files[i];
        struct mf_wal_scan scan;
        mf_wal_ledger_file(disk->ledger, STREAM, file->id.sequence, file->bytes.len);
        enum mf_err err = mf_wal_scan(mf_buf_view(&file->bytes), &scan, pass_record, &recovery);
        if (err != MF_OK || scan.end == MF_WAL_DAMAGED)
            sim_fail(node->sim, "a crash leaves a clean log or a torn tail, never damage",
                     "node %u, file %llu: %s at byte %zu of %zu", (unsigned)node->id,
                     (unsigned long long)file->id.sequence,
                     err != MF_OK ? "its header is bad" : "it is damaged", scan.damaged_offset,
                     file->bytes.len);
        bool same = scan.id.identity == file->id.identity &&
                    scan.id.sequence == file->id.sequence &&
                    scan.id.previous_batches == file->id.previous_batches;
        if (scan.batches < file->batches || !same)
            sim_fail(node->sim, "what was synced is found again",
                     "node %u, file %llu: %llu batches were durable, %llu are found",
                     (unsigned)node->id, (unsigned long long)file->id.sequence,
                     (unsigned long long)file->batches, (unsigned long long)scan.batches);
        file->batches = scan.batches;
        if (scan.end == MF_WAL_TORN && i + 1 == disk->file_count) {
            node->sim->stats.torn++;
            sim_trace(node->sim, node->id, "finds a torn tail behind batch %llu",
                      (unsigned long long)scan.batches);
        }
    }
    start_file(disk);
    mf_wal_ledger_open(disk->ledger, STREAM);
}

void sim_disk_write(struct sim_node *node, const struct mf_wal_record *records, uint32_t count,
                    uint32_t group, uint64_t seq)
{
    struct sim_batch *batch = &node->disk.gathering;
    while (batch->record_count + count > batch->record_cap) {
        batch->record_cap = batch->record_cap < 8 ? 8 : batch->record_cap * 2;
        batch->records = mf_realloc(batch->records, batch->record_cap * sizeof(*batch->records));
    }
    for (uint32_t i = 0; i < count; i++) {
        struct mf_wal_record *copy = &batch->records[batch->record_count++];
        *copy = records[i];
        copy->payload.data = NULL;
        if (copy->payload.len > 0) {
            uint8_t *data = mf_alloc(copy->payload.len);
            memcpy(data, records[i].payload.data, copy->payload.len);
            copy->payload.data = data;
        }
    }
    if (seq == 0)
        return;
    if (batch->hand_over_count == batch->hand_over_cap) {
        batch->hand_over_cap = batch->hand_over_cap < 8 ? 8 : batch->hand_over_cap * 2;
        batch->hand_overs =
            mf_realloc(batch->hand_overs, batch->hand_over_cap * sizeof(*batch->hand_overs));
    }
    batch->hand_overs[batch->hand_over_count++] =
        (struct sim_hand_over){.group = group, .seq = seq};
}

static uint64_t draw_sync_us(struct sim_node *node)
{
    const struct sim_plan *plan = &node->sim->plan;
    struct mf_rand *rand = &node->disk.rand;
    if (plan->durability != SIM_FSYNC)
        return sim_between(rand, 1, WRITE_US_MAX);
    uint64_t sync_us = plan->sync_us_min + mf_rand_below(rand, plan->sync_us_spread);
    if (node->disk.slow_until_us > node->sim->now_us)
        sync_us += mf_rand_below(rand, SLOW_SYNC_US_MAX);
    if (sim_chance(rand, plan->stall_permille)) {
        sync_us += mf_rand_below(rand, plan->stall_us_max);
        sim_trace(node->sim, node->id, "has a slow disk: this sync takes %llu ms",
                  (unsigned long long)(sync_us / 1000));
    }
    return sync_us;
}

static void begin_sync(struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    uint64_t sync_us = draw_sync_us(node);
    uint64_t took_us = node->sim->now_us - disk->begun_us + sync_us;
    if (took_us > disk->sync_us_max)
        disk->sync_us_max = took_us;
    sim_schedule(node->sim, node->sim->now_us + sync_us, SIM_SYNCED, node->index, 0, NULL);
}

void sim_disk_kick(struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    if (disk->busy || disk->gathering.record_count == 0)
        return;
    struct sim_batch empty = disk->syncing;
    disk->syncing = disk->gathering;
    disk->gathering = empty;
    disk->sync_bytes.len = 0;
    struct mf_wal_batch batch;
    mf_wal_batch_begin(&batch, &disk->sync_bytes);
    for (uint32_t i = 0; i < disk->syncing.record_count; i++)
        mf_wal_batch_put(&batch, &disk->sync_bytes, &disk->syncing.records[i]);
    const struct sim_file *file = current(disk);
    mf_wal_batch_end(&batch, &disk->sync_bytes, file->id.identity, file->batches + 1);
    disk->busy = true;
    disk->begun_us = node->sim->now_us;
    if (disk->full_until_us > node->sim->now_us)
        sim_schedule(node->sim, node->sim->now_us + sim_between(&disk->rand, 1, WRITE_US_MAX),
                     SIM_TRIED, node->index, 0, NULL);
    else
        begin_sync(node);
}

void sim_disk_tried(struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    bool full = disk->full_until_us > node->sim->now_us;
    if (full != disk->blocked)
        sim_trace(node->sim, node->id,
                  full ? "finds its disk full, and steps down" : "finds room on its disk again");
    disk->blocked = full;
    if (!full) {
        begin_sync(node);
        return;
    }
    node->sim->stats.full_writes++;
    uint64_t again_us = node->sim->now_us + sim_between(&disk->rand, 1000, RETRY_US_MAX);
    sim_schedule(node->sim, again_us, SIM_TRIED, node->index, 0, NULL);
}

bool sim_disk_sheds(const struct sim_disk *disk)
{
    return disk->gathering.record_count > PENDING_RECORDS_MAX;
}

void sim_disk_synced(struct sim_node *node,
                     void (*durable_record)(struct sim_node *node,
                                            const struct mf_wal_record *record),
                     void (*durable)(struct sim_node *node, const struct sim_hand_over *hand_over))
{
    struct sim_disk *disk = &node->disk;
    struct sim_file *file = current(disk);
    file->last_at = file->bytes.len;
    mf_buf_put(&file->bytes, disk->sync_bytes.data, disk->sync_bytes.len);
    file->batches++;
    disk->busy = false;
    mf_wal_ledger_file(disk->ledger, STREAM, file->id.sequence, file->bytes.len);
    for (uint32_t i = 0; i < disk->syncing.record_count; i++) {
        mf_wal_ledger_note(disk->ledger, STREAM, &disk->syncing.records[i], true);
        durable_record(node, &disk->syncing.records[i]);
    }
    for (uint32_t i = 0; i < disk->syncing.hand_over_count; i++)
        durable(node, &disk->syncing.hand_overs[i]);
    clear_batch(&disk->syncing);
    if (sim_chance(&disk->rand, node->sim->plan.rotate_permille))
        start_file(disk);
}

void sim_disk_cover(struct sim_node *node, uint32_t group, uint64_t slot)
{
    if (slot > 0)
        mf_wal_ledger_cover(node->disk.ledger, group, slot);
}

void sim_disk_uncover(struct sim_node *node, uint32_t group)
{
    mf_wal_ledger_uncover(node->disk.ledger, group);
}

static void remove_oldest(struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    sim_trace(node->sim, node->id, "removes file %llu of its log",
              (unsigned long long)disk->files[0].id.sequence);
    node->sim->stats.removed_files++;
    mf_buf_free(&disk->files[0].bytes);
    disk->file_count--;
    memmove(disk->files, disk->files + 1, disk->file_count * sizeof(*disk->files));
    disk->rotten = sim_disk_is_damaged(node); // unless that was in the file
}

void sim_disk_sweep(struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    uint32_t stream;
    uint64_t sequence;
    while (mf_wal_ledger_next(disk->ledger, STREAM, true, &stream, &sequence)) {
        if (sequence != disk->files[0].id.sequence)
            sim_fail(node->sim, "the oldest file of a log goes first", "node %u",
                     (unsigned)node->id);
        remove_oldest(node);
        mf_wal_ledger_removed(disk->ledger, stream, sequence);
    }
    for (uint32_t group = 0; group < node->sim->plan.group_count; group++) {
        if (mf_wal_ledger_restate_count(disk->ledger) == 0)
            break;
        struct mf_replica_env env = sim_node_env(node);
        if (mf_wal_ledger_restate(disk->ledger, group))
            mf_replica_restate(node->replicas[group], &env);
    }
}

// What stood in a sector before, or what a dying disk made of it.
static void spoil_sector(struct sim_node *node, uint8_t *sector)
{
    struct sim_disk *disk = &node->disk;
    const struct sim_file *old = &disk->files[mf_rand_below(&disk->rand, disk->file_count)];
    switch (mf_rand_below(&disk->rand, 3)) {
    case 0:
        memset(sector, 0, SECTOR);
        break;
    case 1:
        for (size_t i = 0; i < SECTOR; i++)
            sector[i] = (uint8_t)mf_rand_next(&disk->rand);
        break;
    default:
        if (old == current(disk)) {
            memset(sector, 0, SECTOR);
            break;
        }
        uint64_t from = mf_rand_below(&disk->rand, old->bytes.len / SECTOR);
        memcpy(sector, old->bytes.data + from * SECTOR, SECTOR);
        break;
    }
}

static void put_zero_sectors(struct mf_buf *bytes, uint64_t count)
{
    memset(mf_buf_reserve(bytes, count * SECTOR), 0, count * SECTOR);
    bytes->len += count * SECTOR;
}

void sim_disk_crash(struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    struct mf_buf *bytes = &current(disk)->bytes;
    // Of the batch under way nothing, everything, or some sectors have landed.
    uint64_t fate = mf_rand_below(&disk->rand, 4);
    if (disk->busy) {
        struct sim_stats *stats = &node->sim->stats;
        (*(fate == 0 ? &stats->cut_lost : fate == 1 ? &stats->cut_whole : &stats->cut_torn))++;
    }
    if (disk->busy && fate > 0) {
        uint32_t landed_permille = (uint32_t)sim_between(&disk->rand, 50, 950);
        for (size_t at = 0; at < disk->sync_bytes.len; at += SECTOR) {
            if (fate > 1 && !sim_chance(&disk->rand, landed_permille))
                spoil_sector(node, disk->sync_bytes.data + at);
        }
        mf_buf_put(bytes, disk->sync_bytes.data, disk->sync_bytes.len);
        if (fate == 3 && !node->sim->plan.preallocated)
            bytes->len -= SECTOR * mf_rand_below(&disk->rand, disk->sync_bytes.len / SECTOR + 1);
    }
    if (node->sim->plan.preallocated)
        put_zero_sectors(bytes, mf_rand_below(&disk->rand, 8));
    disk->busy = false;
    disk->blocked = false;
    clear_batch(&disk->syncing);
    clear_batch(&disk->gathering);
    mf_wal_ledger_free(disk->ledger);
    disk->ledger = NULL;
}

void sim_disk_rot(struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    if (disk->file_count == 0)
        return;
    uint32_t index = (uint32_t)mf_rand_below(&disk->rand, disk->file_count);
    struct sim_file *file = &disk->files[index];
    // A tear in the last batch of all is no damage, for it may never have been acknowledged.
    size_t limit = index + 1 < disk->file_count ? file->bytes.len : file->last_at;
    if (limit == 0)
        return;
    size_t at = mf_rand_below(&disk->rand, limit);
    file->bytes.data[at] ^= (uint8_t)(1u << mf_rand_below(&disk->rand, 8));
    disk->rotten = true;
    sim_trace(node->sim, node->id, "has a bit flipped in file %llu at byte %zu",
              (unsigned long long)file->id.sequence, at);
}

static enum mf_err pass_over(void *arg, const struct mf_wal_record *record)
{
    (void)arg;
    (void)record;
    return MF_OK;
}

bool sim_disk_is_damaged(const struct sim_node *node)
{
    const struct sim_disk *disk = &node->disk;
    for (uint32_t i = 0; disk->rotten && i < disk->file_count; i++) {
        struct mf_wal_scan scan;
        enum mf_err err = mf_wal_scan(mf_buf_view(&disk->files[i].bytes), &scan, pass_over, NULL);
        bool last = i + 1 == disk->file_count;
        if (err != MF_OK || scan.end == MF_WAL_DAMAGED || scan.id.prepared ||
            (!last && scan.batches < disk->files[i + 1].id.previous_batches))
            return true;
    }
    return false;
}

void sim_disk_wipe(struct sim_disk *disk)
{
    for (uint32_t i = 0; i < disk->file_count; i++)
        mf_buf_free(&disk->files[i].bytes);
    disk->file_count = 0;
    disk->rotten = false;
}
