// Requests of the Redis protocol; see resp.h. The limits that Redis has are Redis's, and so are the
// words in which it refuses what breaks them.
//
// What has been looked at is not looked at again: `at` and `searched` say how far that is. Words
// are kept as places in the request, because the input may have moved when the next piece comes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/resp.h"

// What a request keeps for the next one.
#define KEEP_WORDS 64u
#define KEEP_TEXT_BYTES 1024u
// No header is longer than its sign and 20 digits: what follows them cannot be a number.
#define NUMBER_CHARS_MAX 20u
#define PLAIN_DIGITS_MAX 9u

bool mf_resp_integer(struct mf_bytes word, int64_t *out)
{
    bool negative = word.len > 0 && word.data[0] == '-';
    size_t at = negative ? 1 : 0;
    if (word.len == at || word.len > NUMBER_CHARS_MAX)
        return false;
    if (word.data[at] == '0') {
        *out = 0;
        return word.len == 1;
    }
    int64_t value = 0; // gathered below zero, where there is one more
    for (; at < word.len; at++) {
        unsigned digit = (unsigned)word.data[at] - '0';
        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, (int64_t)digit, &value))
            return false;
    }
    if (negative) {
        *out = value;
        return true;
    }
    return !__builtin_sub_overflow(0, value, out);
}

bool mf_resp_is(struct mf_bytes word, const char *lower)
{
    for (size_t i = 0; i < word.len; i++) {
        uint8_t c = word.data[i];
        if (c >= 'A' && c <= 'Z')
            c = (uint8_t)(c + ('a' - 'A'));
        if (c == '\0' || (uint8_t)lower[i] != c)
            return false;
    }
    return lower[word.len] == '\0';
}

static enum mf_err refuse(struct mf_resp_request *request, enum mf_err err, const char *what)
{
    snprintf(request->message, sizeof(request->message), "Protocol error: %s", what);
    return err;
}

static void grow(struct mf_resp_request *request)
{
    uint32_t cap = request->cap == 0 ? 8 : request->cap * 2;
    request->spans = mf_realloc(request->spans, cap * sizeof(*request->spans));
    request->words = mf_realloc(request->words, cap * sizeof(*request->words));
    request->cap = cap;
}

static void add_span(struct mf_resp_request *request, size_t at, size_t len)
{
    if (request->word_count == request->cap)
        grow(request);
    request->spans[request->word_count++] = (struct mf_resp_span){at, len};
}

// Finds the next `mark` from `at` on: *line is what comes before it. MF_AGAIN when there is none
// yet, MF_TOO_LARGE when there should have been.
static enum mf_err find_line(struct mf_resp_request *request, struct mf_bytes input, char mark,
                             struct mf_bytes *line)
{
    const uint8_t *start = input.data + request->at;
    size_t len = input.len - request->at;
    const uint8_t *end = NULL;
    if (len > request->searched)
        end = memchr(start + request->searched, mark, len - request->searched);
    if (end == NULL) {
        request->searched = len;
        return len > MF_RESP_LINE_BYTES_MAX ? MF_TOO_LARGE : MF_AGAIN;
    }
    *line = mf_bytes_of(start, (size_t)(end - start));
    return MF_OK;
}

// "*3\r\n", "$5\r\n": the line behind its first byte as a number, once the byte behind the CR is
// there too, whatever that is.
static enum mf_err take_header(struct mf_resp_request *request, struct mf_bytes input,
                               struct mf_bytes *line)
{
    enum mf_err err = find_line(request, input, '\r', line);
    if (err != MF_OK)
        return err;
    if (request->at + line->len + 2 > input.len) {
        request->searched = line->len;
        return MF_AGAIN;
    }
    request->at += line->len + 2;
    request->searched = 0;
    return MF_OK;
}

// The same for what nearly every header is: the mark, a number of few digits, the CR and another
// byte, all there. Returns its size, or 0: then take_header says what it is.
static inline size_t plain_header(struct mf_bytes input, size_t at, uint8_t mark, size_t *number)
{
    const uint8_t *start = input.data + at;
    size_t left = input.len - at;
    if (left < 4 || start[0] != mark)
        return 0;
    size_t most = left - 2 < PLAIN_DIGITS_MAX ? left - 2 : PLAIN_DIGITS_MAX;
    size_t value = 0;
    size_t i = 1;
    for (; i <= most && start[i] >= '0' && start[i] <= '9'; i++)
        value = value * 10 + (start[i] - '0');
    bool padded = start[1] == '0' && i > 2; // which is no number
    if (i == 1 || i >= left - 1 || start[i] != '\r' || padded)
        return 0;
    *number = value;
    return i + 2;
}

static bool number_behind_mark(struct mf_bytes line, int64_t *out)
{
    return mf_resp_integer(mf_bytes_of(line.data + 1, line.len - 1), out);
}

static enum mf_err take_count(struct mf_resp_request *request, struct mf_bytes input,
                              const struct mf_resp_limits *limits)
{
    size_t plain;
    size_t size = plain_header(input, request->at, '*', &plain);
    if (size > 0 && plain <= MF_RESP_STRANGER_WORDS_MAX) {
        request->at += size;
        request->searched = 0;
        request->wanted = (uint32_t)plain;
        request->headed = true;
        return MF_OK;
    }
    struct mf_bytes line;
    int64_t count;
    enum mf_err err = take_header(request, input, &line);
    if (err == MF_TOO_LARGE)
        return refuse(request, MF_BAD_REQUEST, "too big mbulk count string");
    if (err != MF_OK)
        return err;
    if (!number_behind_mark(line, &count) || count > (int64_t)MF_RESP_WORDS_MAX)
        return refuse(request, MF_BAD_REQUEST, "invalid multibulk length");
    if (limits->stranger && count > (int64_t)MF_RESP_STRANGER_WORDS_MAX)
        return refuse(request, MF_BAD_REQUEST, "unauthenticated multibulk length");
    request->wanted = count > 0 ? (uint32_t)count : 0;
    request->headed = true;
    return MF_OK;
}

static bool take_plain_length(struct mf_resp_request *request, struct mf_bytes input,
                              const struct mf_resp_limits *limits)
{
    size_t length;
    size_t size = plain_header(input, request->at, '$', &length);
    if (size == 0 || limits->stranger ||
        request->at + size + length + 2 > limits->request_bytes_max)
        return false;
    request->at += size;
    request->searched = 0;
    request->word_bytes = length;
    request->word_sized = true;
    return true;
}

static enum mf_err take_length(struct mf_resp_request *request, struct mf_bytes input,
                               const struct mf_resp_limits *limits)
{
    struct mf_bytes line;
    int64_t length;
    enum mf_err err = take_header(request, input, &line);
    if (err == MF_TOO_LARGE)
        return refuse(request, MF_BAD_REQUEST, "too big bulk count string");
    if (err != MF_OK)
        return err;
    if (line.len == 0 || line.data[0] != '$') {
        char got = line.len > 0 ? (char)line.data[0] : '\r';
        snprintf(request->message, sizeof(request->message),
                 "Protocol error: expected '$', got '%c'", got);
        return MF_BAD_REQUEST;
    }
    if (!number_behind_mark(line, &length) || length < 0 ||
        (uint64_t)length > limits->request_bytes_max)
        return refuse(request, MF_BAD_REQUEST, "invalid bulk length");
    if (limits->stranger && length > (int64_t)MF_RESP_STRANGER_BYTES_MAX)
        return refuse(request, MF_BAD_REQUEST, "unauthenticated bulk length");
    if (request->at + (size_t)length + 2 > limits->request_bytes_max)
        return refuse(request, MF_TOO_LARGE, "the request is over limits.max_request");
    request->word_bytes = (size_t)length;
    request->word_sized = true;
    return MF_OK;
}

static enum mf_err take_words(struct mf_resp_request *request, struct mf_bytes input,
                              const struct mf_resp_limits *limits)
{
    while (request->wanted > 0) {
        if (!request->word_sized && !take_plain_length(request, input, limits)) {
            enum mf_err err = take_length(request, input, limits);
            if (err != MF_OK)
                return err;
        }
        // The two bytes behind a word are not looked at: Redis does not either.
        if (input.len - request->at < request->word_bytes + 2)
            return MF_AGAIN;
        add_span(request, request->at, request->word_bytes);
        request->at += request->word_bytes + 2;
        request->word_sized = false;
        request->wanted--;
    }
    return MF_OK;
}

// Lines.

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// What `\x` stands for between double quotes.
static uint8_t escaped(uint8_t c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

// Reads what stands between quotes; at is behind the first. False: they do not end, or something
// follows at once. *at: behind the last.
static bool take_quoted(struct mf_buf *text, struct mf_bytes line, size_t *at, uint8_t quote)
{
    size_t i = *at;
    for (; i < line.len && line.data[i] != quote; i++) {
        uint8_t c = line.data[i];
        bool more = c == '\\' && i + 1 < line.len;
        if (quote == '"' && more && line.data[i + 1] == 'x' && i + 3 < line.len &&
            hex_digit(line.data[i + 2]) >= 0 && hex_digit(line.data[i + 3]) >= 0) {
            c = (uint8_t)(hex_digit(line.data[i + 2]) * 16 + hex_digit(line.data[i + 3]));
            i += 3;
        } else if (quote == '"' && more) {
            c = escaped(line.data[++i]);
        } else if (quote == '\'' && more && line.data[i + 1] == '\'') {
            c = line.data[++i];
        }
        mf_buf_u8(text, c);
    }
    *at = i + 1;
    return i < line.len && (i + 1 == line.len || is_blank(line.data[i + 1]));
}

static bool take_word(struct mf_resp_request *request, struct mf_bytes line, size_t *at)
{
    struct mf_buf *text = &request->text;
    size_t before = text->len;
    while (*at < line.len && !is_blank(line.data[*at])) {
        uint8_t c = line.data[(*at)++];
        if (c != '"' && c != '\'')
            mf_buf_u8(text, c);
        else if (!take_quoted(text, line, at, c))
            return false;
        else
            break;
    }
    add_span(request, before, text->len - before);
    return true;
}

static enum mf_err take_line(struct mf_resp_request *request, struct mf_bytes input)
{
    struct mf_bytes line;
    enum mf_err err = find_line(request, input, '\n', &line);
    if (err == MF_TOO_LARGE)
        return refuse(request, MF_BAD_REQUEST, "too big inline request");
    if (err != MF_OK)
        return err;
    request->at += line.len + 1;
    const uint8_t *nul = line.len > 0 ? memchr(line.data, '\0', line.len) : NULL;
    if (nul != NULL)
        line.len = (size_t)(nul - line.data); // a line is text, and ends there
    for (size_t at = 0;;) {
        while (at < line.len && is_blank(line.data[at]))
            at++;
        if (at == line.len)
            return MF_OK;
        if (!take_word(request, line, &at))
            return refuse(request, MF_BAD_REQUEST, "unbalanced quotes in request");
    }
}

static void show_words(struct mf_resp_request *request, const uint8_t *base)
{
    for (uint32_t i = 0; i < request->word_count; i++)
        request->words[i] = mf_bytes_of(base + request->spans[i].at, request->spans[i].len);
}

enum mf_err mf_resp_parse(struct mf_resp_request *request, struct mf_bytes input,
                          const struct mf_resp_limits *limits, size_t *size)
{
    enum mf_err err = MF_OK;
    if (input.len == 0)
        return MF_AGAIN;
    request->is_line = input.data[0] != '*';
    if (!request->whole && request->is_line) {
        err = take_line(request, input);
    } else if (!request->whole) {
        if (!request->headed)
            err = take_count(request, input, limits);
        if (err == MF_OK)
            err = take_words(request, input, limits);
    }
    if (err != MF_OK)
        return err;
    request->whole = true;
    *size = request->at;
    // A line may have nothing but empty words.
    const uint8_t *text = request->text.data != NULL ? request->text.data : input.data;
    show_words(request, request->is_line ? text : input.data);
    return MF_OK;
}

size_t mf_resp_peek(struct mf_bytes input, struct mf_bytes *second, uint32_t *words)
{
    size_t at = 4;
    const uint8_t *data = input.data;
    if (input.len < at || data[0] != '*' || data[1] < '2' || data[1] > '0' + MF_RESP_PEEK_WORDS ||
        data[2] != '\r' || data[3] != '\n')
        return 0;
    *words = data[1] - (uint32_t)'0';
    for (uint32_t i = 0; i < *words; i++) {
        size_t len;
        size_t header = plain_header(input, at, '$', &len);
        if (header == 0 || input.len - at - header < len + 2)
            return 0;
        if (i == 1)
            *second = mf_bytes_of(data + at + header, len);
        at += header + len + 2;
    }
    return at;
}

void mf_resp_reset(struct mf_resp_request *request)
{
    if (request->cap > KEEP_WORDS) {
        free(request->words);
        free(request->spans);
        request->words = NULL;
        request->spans = NULL;
        request->cap = 0;
    }
    mf_buf_clear(&request->text, KEEP_TEXT_BYTES);
    request->word_count = 0;
    request->headed = false;
    request->whole = false;
    request->word_sized = false;
    request->wanted = 0;
    request->at = 0;
    request->searched = 0;
    request->message[0] = '\0';
}

void mf_resp_free(struct mf_resp_request *request)
{
    free(request->words);
    free(request->spans);
    mf_buf_free(&request->text);
    *request = (struct mf_resp_request){0};
}
