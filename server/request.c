// Splitting commands by shard and joining their results; see request.h.
#include "server/request.h"

#include <assert.h>
#include <stdlib.h>

#include "base/command_table.h"
#include "base/slots.h"
#include "base/txn.h"
#include "server/router.h"
#include "server/scan.h"

// An op and its buffers.
#define PART_BYTES 512u
// Requests that are kept for the next ones.
#define SPARE_MAX 1024u
// What the buffer for answers at once keeps.
#define ANSWER_KEEP_BYTES (64u * 1024)

// One shard's part: the items order[first .. first + count - 1] of the command.
struct part {
    struct mf_op *op; // with its outcome, once it is back
    uint32_t first;
    uint32_t count;
};

struct mf_request {
    struct mf_request *next; // where it is kept for the next one
    mf_request_done *done;
    void *arg;
    enum mf_opcode op;
    bool write;
    bool here; // nothing is passed on
    uint32_t items;
    uint32_t waiting; // parts that are out
    uint32_t part_count;
    size_t list_bytes; // of the parts of a list that are back
    struct part *parts;
    uint32_t *order; // item numbers, grouped by shard; NULL when all are in one part
    // Most commands are for one shard: theirs is here.
    struct part one;
    struct mf_op op_of_one;
};

// What another node sent as a result and is none.
static const struct mf_result broken_result = {.kind = MF_RESULT_ERROR, .err = MF_INTERNAL};

static void free_spare(struct mf_request *request)
{
    mf_buf_free(&request->op_of_one.command);
    mf_buf_free(&request->op_of_one.result);
    free(request);
}

void mf_request_free_spare(struct mf_reactor *reactor)
{
    struct mf_request *request;
    while ((request = reactor->spare_requests) != NULL) {
        reactor->spare_requests = request->next;
        free_spare(request);
    }
}

static bool is_list(enum mf_opcode op)
{
    return (mf_command_row(op)->traits & MF_LISTS) != 0;
}

static bool by_items(enum mf_opcode op)
{
    return mf_command_row(op)->keys == MF_KEYS_MANY;
}

static bool is_everywhere(enum mf_opcode op)
{
    return (mf_command_row(op)->traits & MF_EVERYWHERE) != 0;
}

size_t mf_request_weight(const struct mf_reactor *reactor, const struct mf_command *command)
{
    uint32_t shards = reactor->node->config.shards;
    uint32_t parts = is_everywhere(command->op) ? shards : 1;
    if (by_items(command->op))
        parts = command->item_count < shards ? command->item_count : shards;
    return parts > 1 ? (size_t)parts * PART_BYTES : 0;
}

static void free_request(struct mf_reactor *reactor, struct mf_request *request)
{
    if (request->parts == &request->one) {
        mf_op_empty(&request->op_of_one);
    } else {
        for (uint32_t i = 0; i < request->part_count; i++)
            mf_op_free(request->parts[i].op);
        free(request->parts);
        free(request->order);
    }
    if (reactor->spare_request_count == SPARE_MAX) {
        free_spare(request);
        return;
    }
    request->next = reactor->spare_requests;
    reactor->spare_requests = request;
    reactor->spare_request_count++;
}

// A part that failed decides for all. One that may have had an effect makes the whole unknown, and
// so does one that surely had none when another part of a write went through; but that memory is
// full is said, and does not claim that nothing was written.
static enum mf_err worst(const struct mf_request *request)
{
    enum mf_err err = MF_OK;
    uint32_t fine = 0;
    for (uint32_t i = 0; i < request->part_count; i++) {
        enum mf_err status = request->parts[i].op->status;
        if (status == MF_OK)
            fine++;
        else if (err == MF_OK || status == MF_TIMEOUT)
            err = status;
    }
    bool partly = err != MF_OK && err != MF_OUT_OF_MEMORY && request->write && fine > 0;
    return partly ? MF_TIMEOUT : err;
}

static void join_sum(const struct mf_request *request, struct mf_result *joined)
{
    *joined = (struct mf_result){.kind = MF_RESULT_INT};
    for (uint32_t i = 0; i < request->part_count; i++) {
        struct mf_reader reader = mf_reader_of(mf_buf_view(&request->parts[i].op->result));
        struct mf_result result;
        if (mf_result_decode(&reader, &result) != MF_OK)
            result = broken_result;
        if (result.kind == MF_RESULT_ERROR) {
            *joined = result;
            return;
        }
        // Another kind: the id stands for another command in this shard, which did nothing now.
        if (result.kind == MF_RESULT_INT)
            joined->integer += result.integer;
    }
}

// Notes where each element of a part's list stands, in the client's order. False, with the error
// in *list, if the part has no such list: it may refuse, and another node may send anything.
static bool place_elements(const struct mf_request *request, const struct part *part,
                           struct mf_bytes *elements, struct mf_result *list)
{
    struct mf_reader reader = mf_reader_of(mf_buf_view(&part->op->result));
    bool fine = mf_result_decode(&reader, list) == MF_OK;
    if (fine && list->kind == MF_RESULT_ERROR)
        return false;
    fine = fine && list->kind == MF_RESULT_LIST && list->count == part->count;
    struct mf_reader at = mf_reader_of(fine ? list->value : mf_bytes_of(NULL, 0));
    for (uint32_t k = 0; k < part->count && fine; k++) {
        const uint8_t *start = at.at;
        struct mf_result element;
        fine = mf_result_decode(&at, &element) == MF_OK;
        elements[request->order[part->first + k]] = mf_bytes_of(start, (size_t)(at.at - start));
    }
    if (!fine)
        *list = broken_result;
    return fine;
}

// Puts each part's elements where the client asked for them.
static void join_list(const struct mf_request *request, struct mf_result *joined,
                      struct mf_buf *out)
{
    struct mf_bytes *elements = mf_calloc(request->items, sizeof(*elements));
    for (uint32_t i = 0; i < request->part_count; i++) {
        if (!place_elements(request, &request->parts[i], elements, joined)) {
            free(elements);
            return;
        }
    }
    for (uint32_t i = 0; i < request->items; i++)
        mf_buf_put(out, elements[i].data, elements[i].len);
    free(elements);
    *joined = (struct mf_result){
        .kind = MF_RESULT_LIST, .count = request->items, .value = mf_buf_view(out)};
}

// Where our own disk may be the reason it is told.
static struct mf_result error_of(const struct mf_reactor *reactor, const struct mf_request *request)
{
    enum mf_err err = worst(request);
    struct mf_result result = {.kind = MF_RESULT_ERROR, .err = err};
    for (uint32_t i = 0; i < request->part_count && err == MF_NOT_LEADER; i++) {
        const struct mf_op *op = request->parts[i].op;
        if (op->status == MF_NOT_LEADER && op->leader != 0)
            result.integer = op->leader;
    }
    if (err == MF_NO_QUORUM && mf_node_blocked(reactor->node))
        result.value =
            mf_bytes_str("no majority of the shard's replicas takes writes: the disk of the node "
                         "that was asked is full or fails; nothing happened");
    return result;
}

static void finish(struct mf_reactor *reactor, struct mf_request *request)
{
    struct mf_result joined = error_of(reactor, request);
    struct mf_buf scratch = {0};
    if (joined.err == MF_OK && request->part_count == 1) {
        struct mf_reader reader = mf_reader_of(mf_buf_view(&request->parts[0].op->result));
        if (mf_result_decode(&reader, &joined) != MF_OK)
            joined = (struct mf_result){.kind = MF_RESULT_ERROR, .err = MF_INTERNAL};
    } else if (joined.err == MF_OK && is_list(request->op)) {
        join_list(request, &joined, &scratch);
    } else if (joined.err == MF_OK) {
        join_sum(request, &joined);
    }
    reactor->in_flight--;
    request->done(request->arg, &joined);
    mf_buf_free(&scratch);
    free_request(reactor, request);
}

// Parts that are not too large may be so together, and a connection is closed when more than this
// and a little waits to be sent on it: what would make the answer too large is dropped as it comes.
static void limit_list(const struct mf_reactor *reactor, struct mf_request *request,
                       struct mf_op *op)
{
    request->list_bytes += op->result.len;
    if (op->status != MF_OK || request->list_bytes <= mf_node_answer_bytes_max(reactor->node))
        return;
    op->status = MF_TOO_LARGE;
    mf_buf_free(&op->result);
}

void mf_request_op_done(struct mf_reactor *reactor, struct mf_op *op)
{
    struct mf_request *request = op->owner;
    assert(request->waiting > 0);
    if (is_list(request->op))
        limit_list(reactor, request, op);
    if (--request->waiting == 0)
        finish(reactor, request);
}

struct placed {
    uint32_t shard;
    uint32_t item;
};

static int compare_placed(const void *left, const void *right)
{
    const struct placed *a = left;
    const struct placed *b = right;
    if (a->shard != b->shard)
        return a->shard < b->shard ? -1 : 1;
    return (a->item > b->item) - (a->item < b->item);
}

static void add_part(struct mf_request *request, uint32_t shard, const struct mf_command *command,
                     uint32_t first, uint32_t count)
{
    struct part *part = &request->parts[request->part_count++];
    *part = (struct part){.op = mf_op_new(shard, command), .first = first, .count = count};
}

static uint32_t shard_of_first(const struct mf_reactor *reactor, const struct mf_command *command)
{
    uint32_t shards = reactor->node->config.shards;
    if (command->slot_and_1 != 0)
        return mf_shard_of_slot((uint16_t)(command->slot_and_1 - 1), shards);
    return mf_shard_of_key(command->items[0].key, shards);
}

static void make_only_part(struct mf_request *request, uint32_t shard,
                           const struct mf_command *command, uint32_t count)
{
    mf_op_make(&request->op_of_one, shard, command);
    request->one = (struct part){.op = &request->op_of_one, .count = count};
    request->parts = &request->one;
    request->part_count = 1;
}

static void split_by_items(const struct mf_reactor *reactor, struct mf_request *request,
                           const struct mf_command *command)
{
    uint32_t count = command->item_count;
    struct placed *placed = mf_calloc(count, sizeof(*placed));
    for (uint32_t i = 0; i < count; i++)
        placed[i] = (struct placed){
            mf_shard_of_key(command->items[i].key, reactor->node->config.shards), i};
    qsort(placed, count, sizeof(*placed), compare_placed);
    request->order = mf_calloc(count, sizeof(*request->order));
    request->parts = mf_calloc(count, sizeof(*request->parts));
    struct mf_item *items = mf_calloc(count, sizeof(*items));
    for (uint32_t first = 0; first < count;) {
        uint32_t end = first;
        while (end < count && placed[end].shard == placed[first].shard) {
            request->order[end] = placed[end].item;
            items[end] = command->items[placed[end].item];
            end++;
        }
        struct mf_command part = *command;
        part.items = &items[first];
        part.item_count = end - first;
        add_part(request, placed[first].shard, &part, first, end - first);
        first = end;
    }
    free(items);
    free(placed);
}

// The shard of all keys.
struct one_shard {
    uint32_t shards;
    uint32_t shard;
    bool known;
};

static bool same_shard(void *arg, struct mf_bytes key)
{
    struct one_shard *one = arg;
    uint32_t shard = mf_shard_of_key(key, one->shards);
    bool same = !one->known || one->shard == shard;
    one->shard = shard;
    one->known = true;
    return same;
}

// It is one step, so all its keys must be in one shard.
static bool is_whole(const struct mf_command *command)
{
    if (command->op == MF_OP_MSET)
        return (command->flags & MF_NX) != 0;
    return mf_command_row(command->op)->keys == MF_KEYS_TWO;
}

// A txn without any key is for whichever shard.
static bool find_one_shard(const struct mf_reactor *reactor, const struct mf_command *command,
                           uint32_t *shard)
{
    struct one_shard one = {.shards = reactor->node->config.shards};
    bool same = true;
    for (uint32_t i = 0; i < command->item_count && same; i++)
        same = same_shard(&one, command->items[i].key);
    if (command->op == MF_OP_TXN || command->op == MF_OP_TXN_READ)
        same = mf_txn_each_key(command->body, same_shard, &one);
    *shard = one.shard;
    return same;
}

static void split(const struct mf_reactor *reactor, struct mf_request *request,
                  const struct mf_command *command)
{
    if (by_items(command->op)) {
        split_by_items(reactor, request, command);
        return;
    }
    bool everywhere = is_everywhere(command->op);
    uint32_t shards = reactor->node->config.shards;
    if (!everywhere) {
        make_only_part(request, shard_of_first(reactor, command), command, 1);
        return;
    }
    request->parts = mf_calloc(shards, sizeof(*request->parts));
    for (uint32_t i = 0; i < shards; i++) {
        if (!request->here || mf_node_leads(reactor->node, i))
            add_part(request, i, command, 0, 0);
    }
}

static struct mf_request *new_request(struct mf_reactor *reactor, const struct mf_command *command,
                                      bool here, mf_request_done *done, void *arg)
{
    struct mf_request *request = reactor->spare_requests;
    if (request != NULL) {
        reactor->spare_requests = request->next;
        reactor->spare_request_count--;
    } else {
        request = mf_calloc(1, sizeof(*request));
    }
    request->here = here;
    request->done = done;
    request->arg = arg;
    request->op = command->op;
    request->write = mf_op_is_write(command->op);
    request->items = command->item_count;
    request->part_count = 0;
    request->list_bytes = 0;
    request->parts = NULL;
    request->order = NULL;
    return request;
}

static void submit(struct mf_reactor *reactor, struct mf_request *request)
{
    reactor->in_flight++;
    // The last answer may come while we submit, and then the request is another one's.
    uint32_t count = request->part_count;
    struct part *parts = request->parts;
    request->waiting = count + 1;
    uint64_t deadline_us =
        mf_reactor_now_us(reactor) + (uint64_t)reactor->node->config.request_timeout_ms * 1000;
    for (uint32_t i = 0; i < count; i++) {
        struct mf_op *op = parts[i].op;
        op->home = reactor->index;
        op->here = request->here;
        op->owner = request;
        op->deadline_us = deadline_us;
        mf_router_submit(reactor, op);
    }
    if (--request->waiting == 0)
        finish(reactor, request);
}

static void start_on(struct mf_reactor *reactor, uint32_t shard, bool here,
                     const struct mf_command *command, mf_request_done *done, void *arg)
{
    struct mf_request *request = new_request(reactor, command, here, done, arg);
    make_only_part(request, shard, command, 0);
    submit(reactor, request);
}

static void start_whole(struct mf_reactor *reactor, bool here, const struct mf_command *command,
                        mf_request_done *done, void *arg)
{
    uint32_t shard;
    if (find_one_shard(reactor, command, &shard)) {
        start_on(reactor, shard, here, command, done, arg);
        return;
    }
    struct mf_result refused = {.kind = MF_RESULT_ERROR, .err = MF_CROSS_SHARD};
    done(arg, &refused);
}

// It needs no op, nor any other memory of its own.
bool mf_request_answer(struct mf_reactor *reactor, const struct mf_command *command,
                       mf_request_done *done, void *arg)
{
    if (command->item_count != 1)
        return false;
    // `done` may ask for more before it returns.
    struct mf_buf own = {0};
    bool nested = reactor->answering;
    struct mf_buf *answer = nested ? &own : &reactor->answer;
    reactor->answering = true;
    uint32_t shard = shard_of_first(reactor, command);
    bool answered = (mf_op_is_write(command->op) ? mf_router_write
                                                 : mf_router_read)(reactor, shard, command, answer);
    if (answered) {
        struct mf_reader reader = mf_reader_of(mf_buf_view(answer));
        struct mf_result result;
        if (mf_result_decode(&reader, &result) != MF_OK)
            result = broken_result;
        done(arg, &result);
    }
    reactor->answering = nested;
    mf_buf_clear(answer, nested ? 0 : ANSWER_KEEP_BYTES);
    return answered;
}

static void start(struct mf_reactor *reactor, bool here, const struct mf_command *command,
                  mf_request_done *done, void *arg)
{
    if (mf_request_answer(reactor, command, done, arg))
        return;
    if (by_items(command->op) && command->item_count == 0) {
        struct mf_result nothing = {.kind = is_list(command->op) ? MF_RESULT_LIST : MF_RESULT_INT};
        done(arg, &nothing);
        return;
    }
    if (command->op == MF_OP_SCAN) {
        mf_scan_start(reactor, here, command, done, arg);
        return;
    }
    if (command->op == MF_OP_TXN || command->op == MF_OP_TXN_READ || is_whole(command)) {
        start_whole(reactor, here, command, done, arg);
        return;
    }
    struct mf_request *request = new_request(reactor, command, here, done, arg);
    split(reactor, request, command);
    submit(reactor, request);
}

void mf_request_start(struct mf_reactor *reactor, const struct mf_command *command,
                      mf_request_done *done, void *arg)
{
    start(reactor, false, command, done, arg);
}

void mf_request_start_on(struct mf_reactor *reactor, uint32_t shard,
                         const struct mf_command *command, mf_request_done *done, void *arg)
{
    start_on(reactor, shard, false, command, done, arg);
}

void mf_request_start_here(struct mf_reactor *reactor, const struct mf_command *command,
                           mf_request_done *done, void *arg)
{
    start(reactor, true, command, done, arg);
}

void mf_request_start_on_here(struct mf_reactor *reactor, uint32_t shard,
                              const struct mf_command *command, mf_request_done *done, void *arg)
{
    start_on(reactor, shard, true, command, done, arg);
}
