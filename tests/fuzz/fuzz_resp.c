// Any bytes as a stream of requests of the Redis protocol.
//
// The first byte chooses how the stream is cut into arrivals, and whether the client has said who
// it is; however it is cut, the parser must find the same requests. Their words must lie in the
// input, and what was an array must come out again when it is written as one. What becomes a
// command must hold what it promises: keys and values within their limits, and a binary form that
// can be read.
//
// Half of the mutations know the form: they put in, change, repeat and take out whole requests and
// words of them, named after the table of commands, with options and numbers that mean something
// there, and payloads whose checksum is right.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc64.h"
#include "base/glob.h"
#include "base/rand.h"
#include "rpc/resp_command.h"

#define KEY_BYTES_MAX 32
#define VALUE_BYTES_MAX 64
#define REQUEST_BYTES_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);

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

// A look at what is next sees nothing that the parser does not find there.
static void check_peek(struct mf_bytes rest, const struct mf_resp_request *request, size_t length)
{
    struct mf_bytes second;
    uint32_t words;
    size_t peeked = mf_resp_peek(rest, &second, &words);
    must(peeked == 0 || (peeked == length && request->word_count == words &&
                         mf_bytes_equal(second, request->words[1])));
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
    struct mf_resp_ask ask = {.key_bytes_max = KEY_BYTES_MAX,
                              .value_bytes_max = VALUE_BYTES_MAX,
                              .request_bytes_max = REQUEST_BYTES_MAX};
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
        must(err != MF_AGAIN || mf_resp_peek(rest, &(struct mf_bytes){0}, &(uint32_t){0}) == 0);
        if (err != MF_OK)
            break;
        must(length == length_in_steps && length >= 1 && length <= rest.len);
        must(whole.word_count == pieces.word_count);
        for (uint32_t i = 0; i < whole.word_count; i++)
            must(mf_bytes_equal(whole.words[i], pieces.words[i]));
        check_peek(rest, &whole, length);
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

// Mutations that know the form.

#define REQUESTS_MAX 64u

static const char *const known_words[] = {"k",
                                          "{t}a",
                                          "",
                                          "0",
                                          "1",
                                          "-1",
                                          "10",
                                          "1.5",
                                          "x",
                                          "nx",
                                          "xx",
                                          "get",
                                          "keepttl",
                                          "ex",
                                          "px",
                                          "exat",
                                          "pxat",
                                          "ifeq",
                                          "ifne",
                                          "gt",
                                          "lt",
                                          "persist",
                                          "match",
                                          "count",
                                          "type",
                                          "string",
                                          "replace",
                                          "absttl",
                                          "idletime",
                                          "freq",
                                          "db",
                                          "sync",
                                          "async",
                                          "len",
                                          "idx",
                                          "samples",
                                          "*",
                                          "a*[b-c]",
                                          "on",
                                          "off",
                                          "bcast",
                                          "prefix",
                                          "setname",
                                          "auth",
                                          "filterby",
                                          "aclcat",
                                          "pattern",
                                          "-9223372036854775808",
                                          "id",
                                          "skipme",
                                          "yes",
                                          "no",
                                          "4294967296",
                                          "1e400",
                                          "9223372036854775807"};

// A dumped value with the right checksum around what may be nonsense.
static void put_payload(struct mf_buf *out, struct mf_rand *rand)
{
    size_t begin = out->len;
    mf_buf_u8(out, mf_rand_below(rand, 8) == 0 ? (uint8_t)mf_rand_next(rand) : 0);
    for (uint64_t len = mf_rand_below(rand, 24); len > 0; len--)
        mf_buf_u8(out, (uint8_t)(mf_rand_below(rand, 3) == 0 ? 0xc0 + mf_rand_below(rand, 4)
                                                             : mf_rand_below(rand, 40)));
    mf_buf_u16(out, (uint16_t)mf_rand_below(rand, 14));
    mf_buf_u64(out, mf_crc64(0, mf_bytes_of(out->data + begin, out->len - begin)));
}

static void put_word(struct mf_buf *out, struct mf_rand *rand)
{
    struct mf_buf word = {0};
    uint64_t dice = mf_rand_below(rand, 20);
    if (dice == 0) {
        put_payload(&word, rand);
    } else if (dice < 3) {
        for (uint64_t len = mf_rand_below(rand, 80); len > 0; len--)
            mf_buf_u8(&word, (uint8_t)mf_rand_next(rand));
    } else {
        size_t count = sizeof(known_words) / sizeof(known_words[0]);
        const char *text = known_words[mf_rand_below(rand, count)];
        mf_buf_put(&word, text, strlen(text));
    }
    mf_resp_bulk(out, mf_buf_view(&word));
    mf_buf_free(&word);
}

// Any command of the table, with about as many words as it takes.
static void put_request(struct mf_buf *out, struct mf_rand *rand)
{
    size_t row_count;
    const struct mf_resp_row *row = mf_resp_rows(&row_count);
    row += mf_rand_below(rand, row_count);
    const char *bar = strchr(row->name, '|');
    uint32_t least = (uint32_t)abs(row->arity);
    uint32_t words = least + (uint32_t)mf_rand_below(rand, row->arity < 0 ? 6 : 2);
    words -= words > 1 && mf_rand_below(rand, 8) == 0;
    words = words < 1u + (bar != NULL) ? 1u + (bar != NULL) : words;
    mf_resp_array(out, words);
    size_t name_len = bar != NULL ? (size_t)(bar - row->name) : strlen(row->name);
    mf_resp_bulk(out, mf_bytes_of(row->name, name_len));
    if (bar != NULL)
        mf_resp_bulk(out, mf_bytes_str(bar + 1));
    for (uint32_t i = 1 + (bar != NULL); i < words; i++)
        put_word(out, rand);
}

// The same with one word changed, added or left out.
static void put_changed(struct mf_buf *out, const struct mf_resp_request *request,
                        struct mf_rand *rand)
{
    uint32_t at = (uint32_t)mf_rand_below(rand, request->word_count);
    uint64_t how = mf_rand_below(rand, 3);
    uint32_t count = request->word_count + (how == 1) - (how == 2);
    mf_resp_array(out, count);
    for (uint32_t i = 0; i < request->word_count; i++) {
        if (i == at && how < 2)
            put_word(out, rand);
        if (i != at || how == 1)
            mf_resp_bulk(out, request->words[i]);
    }
}

// Goes through the requests and does something to one of them; what is no request stays as it is.
static void rewrite(struct mf_bytes rest, struct mf_buf *out, struct mf_rand *rand)
{
    static const struct mf_resp_limits wide = {.request_bytes_max = REQUEST_BYTES_MAX};
    uint64_t chosen = mf_rand_below(rand, REQUESTS_MAX) % (mf_rand_below(rand, 8) + 1);
    struct mf_resp_request request = {0};
    size_t len = 0;
    for (uint64_t n = 0; rest.len > 0 && mf_resp_parse(&request, rest, &wide, &len) == MF_OK; n++) {
        uint64_t how = n == chosen ? mf_rand_below(rand, 4) : 4;
        if (how == 0)
            put_request(out, rand); // before it
        if (how == 1 && request.word_count > 0)
            put_changed(out, &request, rand);
        else if (how != 2) // else it goes
            mf_buf_put(out, rest.data, len);
        if (how == 3)
            mf_buf_put(out, rest.data, len); // twice
        mf_resp_reset(&request);
        rest = mf_bytes_of(rest.data + len, rest.len - len);
    }
    mf_resp_free(&request);
    mf_buf_put(out, rest.data, rest.len);
    if (out->len == 0 || mf_rand_below(rand, 8) == 0)
        put_request(out, rand);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    struct mf_rand rand = {seed};
    struct mf_buf out = {0};
    if (size < 2 || mf_rand_below(&rand, 2) == 0)
        return LLVMFuzzerMutate(data, size, size_max);
    rewrite(mf_bytes_of(data + 1, size - 1), &out, &rand);
    if (out.len + 1 <= size_max) {
        memcpy(data + 1, out.data, out.len);
        size = out.len + 1;
    }
    mf_buf_free(&out);
    return size;
}
