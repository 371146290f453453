// Any bytes as a stream of requests of the Redis protocol.
//
// The first byte chooses how the stream is cut into arrivals, and whether the client has said who
// it is; however it is cut, the parser must find the same requests. Their words must lie in the
// input, and what was an array must come out again when it is written as one.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/resp.h"

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
        mf_resp_reset(&whole);
        mf_resp_reset(&pieces);
        rest = mf_bytes_of(rest.data + length, rest.len - length);
    }
    mf_resp_free(&whole);
    mf_resp_free(&pieces);
    return 0;
}
