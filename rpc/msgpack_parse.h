// What the files that parse MessagePack-RPC share: the state of one parse, how it is refused, and
// how single values are read. Private to rpc/.
#ifndef MF_RPC_MSGPACK_PARSE_H
#define MF_RPC_MSGPACK_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "rpc/msgpack_rpc.h"
#include "rpc/msgpack_scan.h"

enum option {
    OPTION_READ,
    OPTION_META,
    OPTION_TTL,
    OPTION_EXPIRE_AT,
    OPTION_NX,
    OPTION_XX,
    OPTION_GT,
    OPTION_LT,
    OPTION_IF_VERSION,
    OPTION_KEEP_TTL,
    OPTION_GET,
    OPTION_ID,
    OPTION_CLIENT,
    OPTION_USER,
    OPTION_PASSWORD,
    OPTION_SESSION,
    OPTION_UNDO,
    OPTION_COUNT
};

// As a set: BIT(TTL) | BIT(ID).
#define BIT(option) (1u << (OPTION_##option))

struct parser {
    struct mf_msgpack_in in;
    const struct mf_rpc_limits *limits;
    struct mf_rpc_request *request;
    const struct method *method;
    uint32_t given; // options given and not false, as bits
};

// One row a method. `parameters` names the positional ones for messages; `take` reads them.
struct method {
    const char *name;
    enum mf_method kind;
    enum mf_opcode op;
    uint32_t arity;
    const char *parameters;
    bool (*take)(struct parser *p);
    uint32_t options;
};

// Refuses the request; always false, so that parsers can return it.
bool mf_parse_refuse(struct parser *p, enum mf_err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// For what is not a request at all: the stream cannot be trusted any further.
bool mf_parse_refuse_stream(struct parser *p, const char *what);
// "METHOD: WHAT is GOT, expected EXPECTED".
bool mf_parse_refuse_value(struct parser *p, const char *what, const struct mf_msgpack_token *got,
                           const char *expected);

// Text for a message out of bytes from outside: printable, and cut when long.
struct quoted {
    char text[44];
};
struct quoted mf_parse_quote(struct mf_bytes bytes);

// The next token; false (and the stream refused) when the message ends first.
bool mf_parse_next(struct parser *p, struct mf_msgpack_token *token);
// A string or a binary: Mayfly takes both wherever bytes or text are meant.
bool mf_parse_is_bytes(const struct mf_msgpack_token *token);
// An integer of any width; one that does not fit is INT64_MAX, above every bound there is.
bool mf_parse_to_integer(const struct mf_msgpack_token *token, int64_t *out);

// Reads the map of options at the end of params and checks it as a whole. The positional
// parameters have been read.
bool mf_parse_options(struct parser *p);

#endif
