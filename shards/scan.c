// Walking through the keys of a shard a few at a time; see mf_map_scan for the order, and why a
// cursor means the same on every replica.
//
// What one call does is bounded: by the number of keys asked for, by buckets, for tables that
// have become too large, and by the bytes of the answer.
#include "base/glob.h"
#include "shards/shard_internal.h"

#define SCAN_KEYS_MAX 10000u
#define SCAN_BUCKETS_MIN 64u
#define SCAN_ANSWER_BYTES_MAX (1u << 20)

struct scan {
    const struct mf_shard *shard;
    const struct mf_glob *glob;
    uint64_t now_us;
    bool local;
    bool again;
    uint32_t count;
    struct mf_buf *out;
};

static void visit(void *arg, struct mf_entry *entry)
{
    struct scan *scan = arg;
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
    uint64_t at = command->number;
    size_t visited = 0;
    for (uint32_t buckets = wanted + SCAN_BUCKETS_MIN; buckets > 0; buckets--) {
        visited += mf_map_scan(shard->keys, &at, visit, &scan);
        if (at == 0 || visited >= wanted || keys.len > SCAN_ANSWER_BYTES_MAX || scan.again)
            break;
    }
    size_t answer = mf_result_list_begin(out, 2);
    mf_result_int(out, (int64_t)at);
    size_t list = mf_result_list_begin(out, scan.count);
    mf_buf_put(out, keys.data, keys.len);
    mf_result_list_end(out, list);
    mf_result_list_end(out, answer);
    mf_buf_free(&keys);
    mf_glob_free(glob);
    return scan.again ? MF_AGAIN : MF_OK;
}
