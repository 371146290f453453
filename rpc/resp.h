// The Redis protocol, the server's side: bytes to the words of one request, and replies to bytes.
//
// A request is an array of bulk strings or, for people and simple tools, a line of words (an inline
// command). The parser is bounded and works in place: the words are views into the input, except
// for those of a line, which may have quotes and escapes to be undone. A request that comes in
// pieces is gone on with where the last piece ended, however many pieces and words it has.
//
// Replies are written in either version of the protocol, which the client chooses with HELLO: RESP2
// has no maps, sets, doubles or booleans, and two nulls. Each writer says what RESP2 gets instead.
//
// Nothing is shared between threads. docs/redis.md has what is said on the wire.
#ifndef MF_RPC_RESP_H
#define MF_RPC_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

// A line, inline command or header, may be so long without its end.
#define MF_RESP_LINE_BYTES_MAX (64u * 1024)
// The words of one request; each costs 16 bytes of memory and at least 6 on the wire.
#define MF_RESP_WORDS_MAX (1024u * 1024)
// What a client may send that has not said who it is: words, and bytes of each.
#define MF_RESP_STRANGER_WORDS_MAX 10u
#define MF_RESP_STRANGER_BYTES_MAX 16384u

struct mf_resp_limits {
    size_t request_bytes_max;
    bool stranger; // the client has yet to say who it is
};

// Where a word is in the request.
struct mf_resp_span {
    size_t at;
    size_t len;
};

// One request, whole or on its way. All zero is the start; mf_resp_free gives its memory back.
struct mf_resp_request {
    struct mf_bytes *words; // of a whole one; word_count of them, none for an empty line
    uint32_t word_count;
    bool is_line;
    char message[96]; // of MF_BAD_REQUEST and MF_TOO_LARGE: what to tell the client, without "-ERR"
    // The parser's own.
    bool headed;       // the number of words is known ...
    bool whole;        // ... and all of them have been found
    uint32_t wanted;   // words still to come
    size_t at;         // everything before has been looked at
    size_t searched;   // after `at`: there is no end of a line before
    size_t word_bytes; // of the word that is coming, if its length is known
    bool word_sized;
    struct mf_resp_span *spans; // what has come of the words
    uint32_t cap;
    struct mf_buf text; // words of a line
};

// Looks for one request at the start of the input, which begins with what it began with at the last
// call. MF_OK: it is whole and *size bytes long; the words live as long as the input, and until the
// request is reset. MF_AGAIN: more bytes are needed. MF_BAD_REQUEST, MF_TOO_LARGE: the stream
// cannot be trusted any further; close it after request->message.
MF_MUST_USE enum mf_err mf_resp_parse(struct mf_resp_request *request, struct mf_bytes input,
                                      const struct mf_resp_limits *limits, size_t *size);
#define MF_RESP_PEEK_WORDS 5u
// The size of the request at the start of the input if it is whole and plainly written and has two
// words or a few more, of which the second is mostly a key; otherwise 0.
size_t mf_resp_peek(struct mf_bytes input, struct mf_bytes *second, uint32_t *words);
// Ready for the next one; keeps memory that is worth keeping.
void mf_resp_reset(struct mf_resp_request *request);
void mf_resp_free(struct mf_resp_request *request);

// A whole word as a number, as Redis has it: `0` or `-?[1-9][0-9]*` within 64 signed bits.
bool mf_resp_integer(struct mf_bytes word, int64_t *out);
// Is the word this one, whatever the case of its letters? lower: in lower case.
bool mf_resp_is(struct mf_bytes word, const char *lower);

// Replies are appended to out. version: 2 or 3.

void mf_resp_status(struct mf_buf *out, const char *text);
// text: "ERR what is wrong"; line ends in it become blanks.
void mf_resp_error(struct mf_buf *out, const char *text);
void mf_resp_errorf(struct mf_buf *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void mf_resp_int(struct mf_buf *out, int64_t value);
void mf_resp_bulk(struct mf_buf *out, struct mf_bytes bytes);
void mf_resp_bulk_str(struct mf_buf *out, const char *text);
// A number as a bulk string, as SCAN's cursor is.
void mf_resp_bulk_uint(struct mf_buf *out, uint64_t value);
// Text to be shown as it is; RESP2: a bulk string.
void mf_resp_verbatim(struct mf_buf *out, unsigned version, struct mf_bytes text);
// RESP2: the null bulk string.
void mf_resp_null(struct mf_buf *out, unsigned version);
// RESP2: the null array.
void mf_resp_null_array(struct mf_buf *out, unsigned version);
// The caller appends `count` replies.
void mf_resp_array(struct mf_buf *out, uint32_t count);
// `pairs` times a key and a value; RESP2: an array of both.
void mf_resp_map(struct mf_buf *out, unsigned version, uint32_t pairs);
// RESP2: an array.
void mf_resp_set(struct mf_buf *out, unsigned version, uint32_t count);
// What comes without having been asked for; RESP2: an array.
void mf_resp_push(struct mf_buf *out, unsigned version, uint32_t count);

#endif
