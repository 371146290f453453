// Walking, writing, sending and loading; see snapshots.h.
#include "snapshots.h"

#include <stdlib.h>
#include <string.h>

#include "world.h"

#define WRITE_US_MAX UINT64_C(100000)
// A receiver waits this long for the next chunk before it takes another snapshot instead.
#define SILENT_US UINT64_C(1000000)
// One chunk is on its way at a time. More of them than this, over the slowest network, would take
// longer than a group has after the storm.
#define CHUNKS_MAX 64u

static void drop(struct sim_snapshot *snapshot)
{
    mf_buf_free(&snapshot->records);
    *snapshot = (struct sim_snapshot){0};
}

static void copy_head(struct sim_snapshot *to, const struct sim_snapshot *from)
{
    drop(to);
    *to = *from;
    to->records = (struct mf_buf){0};
}

static void put_record(void *arg, const struct mf_record *record)
{
    struct mf_buf *out = arg;
    mf_buf_u8(out, record->is_id);
    mf_buf_blob(out, record->key);
    mf_buf_blob(out, record->value);
    mf_buf_u64(out, record->version);
    mf_buf_u64(out, record->deadline_us);
}

static struct mf_shard *load(struct sim_node *node, uint32_t group,
                             const struct sim_snapshot *snapshot)
{
    struct mf_shard *shard = mf_shard_new(group, mf_rand_next(&node->rand));
    struct mf_reader reader = mf_reader_of(mf_buf_view(&snapshot->records));
    enum mf_err err = MF_OK;
    mf_shard_load_begin(shard);
    while (err == MF_OK && mf_reader_left(&reader) > 0) {
        struct mf_record record;
        record.is_id = mf_read_u8(&reader) != 0;
        record.key = mf_read_blob(&reader);
        record.value = mf_read_blob(&reader);
        record.version = mf_read_u64(&reader);
        record.deadline_us = mf_read_u64(&reader);
        err = mf_shard_load(shard, &record);
    }
    if (err == MF_OK)
        err = mf_shard_load_end(shard, &snapshot->meta);
    if (err != MF_OK || mf_shard_state_hash(shard) != snapshot->state_hash ||
        !mf_shard_valid(shard))
        sim_fail(node->sim, "a snapshot brings back the state that it was made of",
                 "node %u, group %u, slot %llu: %s", (unsigned)node->id, group,
                 (unsigned long long)snapshot->meta.applied,
                 err != MF_OK ? mf_err_name(err) : "another state");
    return shard;
}

struct mf_shard *sim_snapshots_load(struct sim_node *node, uint32_t group,
                                    struct mf_members *members)
{
    const struct sim_snapshot *kept = &node->snapshots[group].kept;
    if (kept->meta.applied == 0)
        return mf_shard_new(group, mf_rand_next(&node->rand));
    *members = kept->members;
    return load(node, group, kept);
}

void sim_snapshots_crash(struct sim_node *node)
{
    for (uint32_t group = 0; group < SIM_GROUPS_MAX; group++) {
        drop(&node->snapshots[group].writing);
        drop(&node->snapshots[group].incoming);
    }
}

void sim_snapshots_wipe(struct sim_node *node)
{
    for (uint32_t group = 0; group < SIM_GROUPS_MAX; group++)
        drop(&node->snapshots[group].kept);
}

void sim_snapshots_drop(struct sim_node *node, uint32_t group)
{
    drop(&node->snapshots[group].kept);
    drop(&node->snapshots[group].incoming);
}

static void start_writing(struct sim_node *node, uint32_t group, bool installs)
{
    struct sim_snapshots *at = &node->snapshots[group];
    at->installs = installs;
    sim_schedule(node->sim, node->sim->now_us + sim_between(&node->disk.rand, 1, WRITE_US_MAX),
                 SIM_WRITTEN, node->index, group, NULL);
}

void sim_snapshots_make(struct sim_node *node, uint32_t group)
{
    struct sim_snapshots *at = &node->snapshots[group];
    struct mf_replica *replica = node->replicas[group];
    struct mf_shard *shard = mf_replica_shard(replica);
    struct sim_snapshot made = {.members = *mf_replica_members(replica),
                                .state_hash = mf_shard_state_hash(shard),
                                .identity = mf_rand_next(&node->rand)};
    if (at->writing.meta.applied != 0 ||
        mf_shard_walk_begin(shard, &made.meta, put_record, &made.records) != MF_OK)
        return;
    while (mf_shard_walk_step(shard, 16))
        continue;
    mf_shard_walk_end(shard);
    if (made.meta.applied <= at->kept.meta.applied) {
        drop(&made);
        return;
    }
    at->writing = made;
    start_writing(node, group, false);
}

static void install(struct sim_node *node, uint32_t group, const struct sim_snapshot *snapshot)
{
    struct mf_replica_env env = sim_node_env(node);
    struct mf_shard *shard = load(node, group, snapshot);
    bool taken = mf_replica_install(node->replicas[group], &env, shard, &snapshot->members);
    sim_trace(node->sim, node->id, "group %u %s the snapshot of slot %llu", group,
              taken ? "installs" : "has no use for", (unsigned long long)snapshot->meta.applied);
    node->sim->stats.installs += taken;
    node->left[group].gone = false; // as durable as the snapshot
    if (taken)
        sim_checks_installed(node, group);
    else
        mf_shard_free(shard);
    sim_node_touch(node);
}

void sim_snapshots_written(struct sim_node *node, uint32_t group)
{
    struct sim_snapshots *at = &node->snapshots[group];
    struct sim_snapshot written = at->writing;
    at->writing = (struct sim_snapshot){0};
    uint64_t floor = mf_paxos_floor(mf_replica_paxos(node->replicas[group]));
    bool fits = !at->installs || written.meta.applied >= floor;
    if (!fits || written.meta.applied <= at->kept.meta.applied) {
        // What came while we led was kept, but not installed: as in the server, it may be now.
        if (fits && at->installs)
            install(node, group, &written);
        drop(&written);
        return;
    }
    drop(&at->kept);
    at->kept = written;
    node->sim->stats.snapshots++;
    sim_disk_cover(node, group, written.meta.applied);
    if (at->installs) {
        install(node, group, &at->kept);
        return;
    }
    uint64_t tail = mf_rand_below(&node->disk.rand, node->sim->plan.tail_max + 1);
    if (written.meta.applied <= tail)
        return;
    uint64_t first = written.meta.applied + 1 - tail;
    sim_trace(node->sim, node->id, "group %u cuts its log below slot %llu", group,
              (unsigned long long)first);
    mf_replica_compact(node->replicas[group], first);
}

// One chunk from `offset` on, with the head of what it belongs to.
static void send_chunk(struct sim_node *node, uint32_t group, uint16_t to, uint64_t offset)
{
    const struct sim_snapshot *kept = &node->snapshots[group].kept;
    struct mf_bytes all = mf_buf_view(&kept->records);
    if (kept->meta.applied == 0 || offset > all.len)
        return;
    size_t chunk = all.len / CHUNKS_MAX + 1;
    chunk = chunk > node->sim->plan.chunk_bytes ? chunk : node->sim->plan.chunk_bytes;
    size_t len = all.len - offset;
    len = len < chunk ? len : chunk;
    struct sim_snapshot head = *kept;
    head.records = (struct mf_buf){0};
    struct mf_buf message = {0};
    mf_buf_put(&message, &head, sizeof(head));
    mf_buf_u64(&message, offset);
    mf_buf_u8(&message, offset + len == all.len);
    mf_buf_blob(&message, mf_bytes_of(all.data + offset, len));
    sim_network_send(node->sim, node->index, to, SIM_CHUNK_FRAME, group, message);
}

void sim_snapshots_wanted(void *ctx, uint32_t group, struct mf_acceptor to)
{
    struct sim_node *node = ctx;
    sim_trace(node->sim, node->id, "group %u sends node %u its snapshot of slot %llu", group,
              (unsigned)to.node, (unsigned long long)node->snapshots[group].kept.meta.applied);
    node->snapshots[group].sent[to.node - 1] = 0;
    const struct mf_paxos *paxos = mf_replica_paxos(node->replicas[group]);
    if (node->snapshots[group].kept.meta.applied < mf_paxos_members(paxos)->slot)
        sim_snapshots_make(node, group); // it has to be as new, and is asked for again
    send_chunk(node, group, (uint16_t)(to.node - 1), 0);
}

static void take_chunk(struct sim_node *node, const struct sim_frame *frame)
{
    struct sim_snapshots *at = &node->snapshots[frame->group];
    struct mf_reader reader = mf_reader_of(mf_buf_view(&frame->message));
    struct sim_snapshot head;
    memcpy(&head, mf_read_bytes(&reader, sizeof(head)).data, sizeof(head));
    uint64_t offset = mf_read_u64(&reader);
    bool last = mf_read_u8(&reader) != 0;
    struct mf_bytes chunk = mf_read_blob(&reader);
    // Of two senders of the same state the second must not make the first begin anew, again and
    // again; but the first may have gone away in the middle.
    bool moving = node->sim->now_us < at->incoming_us + SILENT_US;
    bool newer = head.meta.applied > at->incoming.meta.applied;
    if ((head.identity != at->incoming.identity && !newer && moving) ||
        at->writing.meta.applied != 0)
        return;
    if (offset == 0 && head.identity != at->incoming.identity)
        copy_head(&at->incoming, &head);
    if (head.identity != at->incoming.identity)
        return;
    // What was taken before is passed over: the sender began anew.
    if (offset == at->incoming.records.len) {
        mf_buf_put(&at->incoming.records, chunk.data, chunk.len);
        at->incoming_us = node->sim->now_us;
        if (last) {
            at->writing = at->incoming;
            at->incoming = (struct sim_snapshot){0};
            start_writing(node, frame->group, true);
            return;
        }
    }
    struct mf_buf taken = {0};
    mf_buf_u64(&taken, head.identity);
    mf_buf_u64(&taken, at->incoming.records.len);
    sim_network_send(node->sim, node->index, frame->from, SIM_TAKEN_FRAME, frame->group, taken);
}

void sim_snapshots_frame(struct sim_node *node, const struct sim_frame *frame)
{
    if (frame->kind == SIM_CHUNK_FRAME) {
        take_chunk(node, frame);
        return;
    }
    struct mf_reader reader = mf_reader_of(mf_buf_view(&frame->message));
    uint64_t identity = mf_read_u64(&reader);
    uint64_t offset = mf_read_u64(&reader);
    struct sim_snapshots *at = &node->snapshots[frame->group];
    // Each step once, or every doubled frame would double all that follow.
    if (identity != at->kept.identity || offset <= at->sent[frame->from])
        return;
    at->sent[frame->from] = offset;
    send_chunk(node, frame->group, frame->from, offset);
}
