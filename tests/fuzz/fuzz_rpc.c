// Any bytes as a stream of MessagePack-RPC messages.
//
// The first byte chooses how the stream is cut into arrivals; however it is cut, the scan must find
// the same messages. Each is parsed, and what the parser accepts must hold what it promises: keys
// and values within their limits, and a command that survives its binary form. Whole input is also
// parsed without a scan, for the cursor's own bounds.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/glob.h"
#include "base/txn.h"
#include "rpc/msgpack_rpc.h"
#include "rpc/msgpack_scan.h"

#define REQUEST_BYTES_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct mf_rpc_limits limits = {
    .key_bytes_max = 32, .value_bytes_max = 64, .answer_bytes_max = 1000};

// Not assert: it must hold in every build.
static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool fits(void *arg, struct mf_bytes key)
{
    (void)arg;
    return key.len >= 1 && key.len <= limits.key_bytes_max;
}

// What is in a txn can be walked through, and is no larger than what stands alone.
static void check_body(const struct mf_command *command)
{
    if (command->op == MF_OP_SCAN) {
        must(command->body.len <= MF_GLOB_BYTES_MAX && command->limit >= 1);
        return;
    }
    if (command->op != MF_OP_TXN && command->op != MF_OP_TXN_READ)
        return;
    struct mf_buf settled = {0};
    must(mf_txn_valid(command->body, command->op == MF_OP_TXN_READ));
    must(mf_txn_each_key(command->body, fits, NULL));
    if (mf_txn_settle_times(command->body, 1000000, &settled))
        must(mf_txn_valid(mf_buf_view(&settled), false));
    mf_buf_free(&settled);
}

static void check_items(const struct mf_command *command)
{
    check_body(command);
    for (uint32_t i = 0; i < command->item_count; i++) {
        must(command->items[i].key.len >= 1 && command->items[i].key.len <= limits.key_bytes_max);
        must(command->items[i].value.len <= limits.value_bytes_max);
    }
}

static void check_binary_form(const struct mf_command *command)
{
    struct mf_buf first = {0};
    struct mf_buf second = {0};
    struct mf_item *items = NULL;
    uint32_t items_cap = 0;
    struct mf_command decoded;
    mf_command_encode(command, &first);
    struct mf_reader reader = mf_reader_of(mf_buf_view(&first));
    must(mf_command_decode(&reader, &decoded, &items, &items_cap) == MF_OK);
    mf_command_encode(&decoded, &second);
    must(mf_bytes_equal(mf_buf_view(&first), mf_buf_view(&second)));
    free(items);
    mf_buf_free(&first);
    mf_buf_free(&second);
}

static void parse(struct mf_bytes message, struct mf_rpc_request *request)
{
    mf_rpc_parse(message, &limits, request);
    must(memchr(request->message, '\0', sizeof(request->message)) != NULL);
    must((request->err == MF_OK) == (request->message[0] == '\0'));
    must(!request->fatal || request->err != MF_OK);
    must(!request->notification || !request->has_msgid);
    if (request->err != MF_OK) {
        struct mf_buf reply = {0};
        struct mf_msgpack_scan scan = {0};
        size_t size = 0;
        mf_rpc_reply_error(&reply, request->msgid, request->err, request->message);
        must(mf_msgpack_scan(&scan, mf_buf_view(&reply), SIZE_MAX, &size) == MF_OK);
        must(size == reply.len);
        mf_buf_free(&reply);
    } else if (request->method == MF_METHOD_COMMAND) {
        check_items(&request->command);
        check_binary_form(&request->command);
    }
}

// A look at what is next sees nothing that the parser does not find there.
static void check_peek(struct mf_bytes rest, const struct mf_rpc_request *request, size_t length)
{
    struct mf_bytes key;
    bool write;
    size_t peeked = mf_rpc_peek(rest, &key, &write);
    must(peeked == 0 || peeked == length);
    must(peeked == 0 || request->err != MF_OK ||
         (request->method == MF_METHOD_COMMAND && request->command.item_count == 1 &&
          mf_op_is_write(request->command.op) == write &&
          mf_bytes_equal(key, request->command.items[0].key)));
}

// Scans the message at the start of `rest` with `step` more bytes at a time.
static enum mf_err scan_in_steps(struct mf_bytes rest, size_t step, size_t *size)
{
    struct mf_msgpack_scan scan = {0};
    for (size_t len = step; len < rest.len; len += step) {
        enum mf_err err =
            mf_msgpack_scan(&scan, mf_bytes_of(rest.data, len), REQUEST_BYTES_MAX, size);
        if (err != MF_AGAIN)
            return err;
    }
    return mf_msgpack_scan(&scan, rest, REQUEST_BYTES_MAX, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct mf_rpc_request request = {0};
    struct mf_bytes rest = mf_bytes_of(data + 1, size - 1);
    parse(rest, &request);
    while (rest.len > 0) {
        struct mf_msgpack_scan whole = {0};
        size_t length = 0;
        size_t length_in_steps = 0;
        enum mf_err err = mf_msgpack_scan(&whole, rest, REQUEST_BYTES_MAX, &length);
        must(scan_in_steps(rest, data[0] % 16u + 1, &length_in_steps) == err);
        if (err != MF_OK) {
            must(mf_rpc_peek(rest, &(struct mf_bytes){0}, &(bool){false}) == 0);
            break;
        }
        must(length == length_in_steps && length >= 1 && length <= rest.len);
        struct mf_msgpack_in in = {.reader = mf_reader_of(mf_bytes_of(rest.data, length))};
        must(mf_msgpack_pass(&in) == MF_OK && mf_reader_left(&in.reader) == 0);
        parse(mf_bytes_of(rest.data, length), &request);
        check_peek(rest, &request, length);
        rest = mf_bytes_of(rest.data + length, rest.len - length);
    }
    mf_rpc_request_free(&request);
    return 0;
}
