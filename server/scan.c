// Scans; see scan.h. One part after the other: what the next one begins with is in the answer of
// the one before.
#include "server/scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "shards/map.h"

// Shards that one call looks into: many of them can be empty.
#define SCAN_SHARDS_MAX 64u

struct scan {
    struct mf_reactor *reactor;
    mf_request_done *done;
    void *arg;
    struct mf_command command;
    struct mf_buf glob; // what the command's body points to
    bool here;
    uint32_t shard;
    uint32_t shards_left;
    uint32_t count;
    struct mf_buf keys; // encoded results, one after the other
};

static void end(struct scan *scan, const struct mf_result *result)
{
    scan->done(scan->arg, result);
    mf_buf_free(&scan->keys);
    mf_buf_free(&scan->glob);
    free(scan);
}

static void end_well(struct scan *scan, uint64_t cursor)
{
    struct mf_buf out = {0};
    mf_result_int(&out, (int64_t)cursor);
    size_t list = mf_result_list_begin(&out, scan->count);
    mf_buf_put(&out, scan->keys.data, scan->keys.len);
    mf_result_list_end(&out, list);
    struct mf_result result = {.kind = MF_RESULT_LIST, .count = 2, .value = mf_buf_view(&out)};
    end(scan, &result);
    mf_buf_free(&out);
}

// Adds the keys of one shard's answer; false when it is none.
static bool take_keys(struct scan *scan, const struct mf_result *answer, uint64_t *at)
{
    struct mf_reader reader = mf_reader_of(answer->value);
    struct mf_result place;
    struct mf_result keys;
    if (answer->kind != MF_RESULT_LIST || answer->count != 2 ||
        mf_result_decode(&reader, &place) != MF_OK || mf_result_decode(&reader, &keys) != MF_OK ||
        place.kind != MF_RESULT_INT || place.integer < 0 ||
        place.integer >> MF_MAP_SCAN_BITS != 0 || keys.kind != MF_RESULT_LIST)
        return false;
    *at = (uint64_t)place.integer;
    scan->count += keys.count;
    mf_buf_put(&scan->keys, keys.value.data, keys.value.len);
    return true;
}

// Of what this node does not lead nothing is told, if that is wished for. False: there is no more.
static bool find_shard(struct scan *scan)
{
    const struct mf_node *node = scan->reactor->node;
    while (scan->shard < node->config.shards && scan->here && !mf_node_leads(node, scan->shard)) {
        scan->shard++;
        scan->command.number = 0;
    }
    return scan->shard < node->config.shards;
}

static void ask(struct scan *scan);

static void take_part(void *arg, const struct mf_result *answer)
{
    struct scan *scan = arg;
    uint64_t at = 0;
    bool gone = scan->here && answer->kind == MF_RESULT_ERROR && answer->err == MF_NOT_LEADER &&
                !mf_node_leads(scan->reactor->node, scan->shard);
    if (answer->kind == MF_RESULT_ERROR && !gone) {
        end(scan, answer);
        return;
    }
    if (!gone && !take_keys(scan, answer, &at)) {
        struct mf_result broken = {.kind = MF_RESULT_ERROR, .err = MF_INTERNAL};
        end(scan, &broken);
        return;
    }
    if (at == 0) {
        scan->shard++;
        scan->command.number = 0;
    }
    if (!find_shard(scan))
        end_well(scan, 0);
    else if (at != 0 || scan->count >= scan->command.limit || --scan->shards_left == 0)
        end_well(scan, (uint64_t)scan->shard << MF_MAP_SCAN_BITS | at);
    else
        ask(scan);
}

static void ask(struct scan *scan)
{
    (scan->here ? mf_request_start_on_here : mf_request_start_on)(scan->reactor, scan->shard,
                                                                  &scan->command, take_part, scan);
}

void mf_scan_start(struct mf_reactor *reactor, bool here, const struct mf_command *command,
                   mf_request_done *done, void *arg)
{
    uint64_t shard = command->number >> MF_MAP_SCAN_BITS;
    if (shard >= reactor->node->config.shards) {
        char message[96];
        snprintf(message, sizeof(message),
                 "scan: the cursor is %" PRIu64 ", expected 0 or one that a scan has returned",
                 command->number);
        struct mf_result refused = {
            .kind = MF_RESULT_ERROR, .err = MF_BAD_REQUEST, .value = mf_bytes_str(message)};
        done(arg, &refused);
        return;
    }
    struct scan *scan = mf_calloc(1, sizeof(*scan));
    scan->reactor = reactor;
    scan->done = done;
    scan->arg = arg;
    scan->here = here;
    scan->shard = (uint32_t)shard;
    scan->shards_left = SCAN_SHARDS_MAX;
    scan->command = *command;
    scan->command.number &= (UINT64_C(1) << MF_MAP_SCAN_BITS) - 1;
    mf_buf_put(&scan->glob, command->body.data, command->body.len);
    scan->command.body = mf_buf_view(&scan->glob);
    if (find_shard(scan))
        ask(scan);
    else
        end_well(scan, 0);
}
