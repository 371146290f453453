// Any bytes as a stream of requests of the Redis protocol.
//
// The first byte chooses how the stream is cut into arrivals, and whether the client has said who
// it is; however it is cut, the parser must find the same requests. Their words must lie in the
// input, and what was an array must come out again when it is written as one. What becomes a
// command must hold what it promises: keys and values within their limits, and a binary form that
// can be read.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/glob.h"
#include "rpc/resp_command.h"

#define KEY_BYTES_MAX 32
#define VALUE_BYTES_MAX 64
#define REQUEST_BYTES_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Not assert: it must hold in every build.
static void must(bool holds)
{
    if (!holds)
        abort();
}

static struct mf_resp_limits limits = {.request_bytes_max = REQUEST_BYTES_MAX};

// Parses the request at the start of `rest` with `step` more bytes at a time, each time elsewhere.
static enum mf_err parse_in_steps(struct mf_resp_request *request, struct mf_bytes rest,
                                  size_t step, size_t *size)
{
    enum mf_err err = MF_AGAIN;
    for (size_t len = step; len < rest.len && err == MF_AGAIN; len += step) {
        uint8_t *copy = malloc(len);
        must(copy != NULL);
        memcpy(copy, rest.data, len);
        err = mf_resp_parse(request, mf_bytes_of(copy, len), &limits, size);
        free(copy);
    }
    // The words are looked at: they have to be in memory that is still there.
    return err == MF_AGAIN || err == MF_OK ? mf_resp_parse(request, rest, &limits, size) : err;
}

static void check_words(const struct mf_resp_request *request, struct mf_bytes message)
{
    struct mf_buf again = {0};
    size_t total = 0;
    for (uint32_t i = 0; i < request->word_count; i++)
        total += request->words[i].len;
    must(total <= message.len);
    mf_resp_array(&again, request->word_count);
    for (uint32_t i = 0; i < request->word_count; i++)
        mf_resp_bulk(&again, request->words[i]);
    if (request->word_count > 0 && again.len <= REQUEST_BYTES_MAX) {
        struct mf_resp_limits known = {.request_bytes_max = REQUEST_BYTES_MAX};
        struct mf_resp_request same = {0};
        size_t size = 0;
        must(mf_resp_parse(&same, mf_buf_view(&again), &known, &size) == MF_OK);
        must(size == again.len && same.word_count == request->word_count);
        for (uint32_t i = 0; i < same.word_count; i++)
            must(mf_bytes_equal(same.words[i], request->words[i]));
        mf_resp_free(&same);
    }
    mf_buf_free(&again);
}

static void check_command(const struct mf_command *command)
{
    struct mf_buf encoded = {0};
    struct mf_item *items = NULL;
    uint32_t items_cap = 0;
    struct mf_command decoded;
    for (uint32_t i = 0; i < command->item_count; i++) {
        must(command->items[i].key.len >= 1 && command->items[i].key.len <= KEY_BYTES_MAX);
        must(command->items[i].value.len <= VALUE_BYTES_MAX);
    }
    must(command->op != MF_OP_SCAN ||
         (command->limit >= 1 && command->body.len <= MF_GLOB_BYTES_MAX));
    mf_command_encode(command, &encoded);
    must(encoded.len == mf_command_size(command));
    struct mf_reader reader = mf_reader_of(mf_buf_view(&encoded));
    must(mf_command_decode(&reader, &decoded, &items, &items_cap) == MF_OK);
    must(mf_reader_left(&reader) == 0 && decoded.op == command->op);
    free(items);
    mf_buf_free(&encoded);
}

static void check_error(const struct mf_resp_ask *ask)
{
    struct mf_buf reply = {0};
    must(ask->error.len > 0 && ask->error.data[ask->error.len - 1] == '\0');
    mf_resp_error(&reply, (const char *)ask->error.data);
    must(memchr(reply.data, '\n', reply.len) == reply.data + reply.len - 1);
    mf_buf_free(&reply);
}

static void understand(struct mf_resp_ask *ask, const struct mf_resp_request *request)
{
    ask->words = request->words;
    ask->count = request->word_count;
    if (!mf_resp_ask_find(ask)) {
        check_error(ask);
    } else if (ask->row->own == MF_RESP_DATA) {
        if (mf_resp_ask_take(ask))
            check_command(&ask->command);
        else
            check_error(ask);
    } else if (ask->row->own == MF_RESP_COMMAND) {
        struct mf_buf reply = {0};
        mf_resp_command_answer(&reply, 2 + ask->count % 2, ask->row, ask->words, ask->count);
        must(reply.len > 2 && memcmp(reply.data + reply.len - 2, "\r\n", 2) == 0);
        mf_buf_free(&reply);
    }
}

static void check_refusal(const struct mf_resp_request *request)
{
    struct mf_buf reply = {0};
    must(memchr(request->message, '\0', sizeof(request->message)) != NULL);
    must(request->message[0] != '\0');
    mf_resp_error(&reply, request->message);
    must(memchr(reply.data, '\n', reply.len) == reply.data + reply.len - 1);
    mf_buf_free(&reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    limits.stranger = (data[0] & 0x80) != 0;
    struct mf_resp_request whole = {0};
    struct mf_resp_request pieces = {0};
    struct mf_resp_ask ask = {.key_bytes_max = KEY_BYTES_MAX, .value_bytes_max = VALUE_BYTES_MAX};
    struct mf_bytes rest = mf_bytes_of(data + 1, size - 1);
    while (rest.len > 0) {
        size_t length = 0;
        size_t length_in_steps = 0;
        enum mf_err err = mf_resp_parse(&whole, rest, &limits, &length);
        must(parse_in_steps(&pieces, rest, data[0] % 16u + 1, &length_in_steps) == err);
        if (err != MF_OK && err != MF_AGAIN) {
            must(strcmp(whole.message, pieces.message) == 0);
            check_refusal(&whole);
        }
        if (err != MF_OK)
            break;
        must(length == length_in_steps && length >= 1 && length <= rest.len);
        must(whole.word_count == pieces.word_count);
        for (uint32_t i = 0; i < whole.word_count; i++)
            must(mf_bytes_equal(whole.words[i], pieces.words[i]));
        check_words(&whole, mf_bytes_of(rest.data, length));
        if (whole.word_count > 0)
            understand(&ask, &whole);
        mf_resp_reset(&whole);
        mf_resp_reset(&pieces);
        rest = mf_bytes_of(rest.data + length, rest.len - length);
    }
    mf_resp_ask_free(&ask);
    mf_resp_free(&whole);
    mf_resp_free(&pieces);
    return 0;
}
