// Walking through the keys of a shard a few at a time; see map_scan.c for the order, and why a
// cursor means the same on every replica.
//
// What one call does is bounded by the number of keys asked for and by the bytes of the answer.
#include "base/glob.h"
#include "shards/shard_internal.h"

#define SCAN_KEYS_MAX 10000u
#define SCAN_STEP_KEYS 16u
#define UNUSED_BITS (64u - MF_MAP_SCAN_BITS)
#define SCAN_ANSWER_BYTES_MAX (1u << 20)

struct scan {
    const struct mf_shard *shard;
    const struct mf_glob *glob;
    uint64_t now_us;
    bool local;
    bool again;
    uint32_t visited;
    uint32_t count;
    struct mf_buf *out;
};

static void visit(void *arg, struct mf_entry *entry)
{
    struct scan *scan = arg;
    scan->visited++;
    struct mf_bytes key = mf_entry_key(entry);
    if (mf_entry_dead(entry, scan->now_us)) {
        // Also one that would not match: whether it does is not worth knowing.
        if (!scan->local && !mf_entry_dead(entry, scan->shard->log_time_us))
            scan->again = true;
        return;
    }
    if (!mf_glob_matches(scan->glob, key))
        return;
    mf_result_bytes(scan->out, key);
    scan->count++;
}

enum mf_err mf_shard_scan(const struct mf_shard *shard, const struct mf_command *command,
                          uint64_t now_us, struct mf_buf *out)
{
    struct mf_glob *glob = mf_glob_new(command->body);
    struct mf_buf keys = {0};
    struct scan scan = {.shard = shard,
                        .glob = glob,
                        .now_us = now_us,
                        .local = (command->flags & MF_READ_LOCAL) != 0,
                        .out = &keys};
    uint32_t wanted = command->limit < SCAN_KEYS_MAX ? command->limit : SCAN_KEYS_MAX;
    uint64_t position = command->number << UNUSED_BITS;
    uint32_t visited_before;
    do {
        // In small steps, for the answer's sake.
        visited_before = scan.visited;
        uint32_t left = wanted - scan.visited;
        position = mf_map_scan(shard->keys, position, left < SCAN_STEP_KEYS ? left : SCAN_STEP_KEYS,
                               visit, &scan);
    } while (position != 0 && scan.visited < wanted && scan.visited > visited_before &&
             keys.len <= SCAN_ANSWER_BYTES_MAX && !scan.again);
    size_t answer = mf_result_list_begin(out, 2);
    mf_result_int(out, (int64_t)(position >> UNUSED_BITS));
    size_t list = mf_result_list_begin(out, scan.count);
    mf_buf_put(out, keys.data, keys.len);
    mf_result_list_end(out, list);
    mf_result_list_end(out, answer);
    mf_buf_free(&keys);
    mf_glob_free(glob);
    return scan.again ? MF_AGAIN : MF_OK;
}
