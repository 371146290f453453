// What the files that parse MessagePack-RPC share: the state of one parse, how it is refused, and
// how single values are read. Private to rpc/.
#ifndef MF_RPC_MSGPACK_PARSE_H
#define MF_RPC_MSGPACK_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/command_table.h"
#include "rpc/msgpack_rpc.h"
#include "rpc/msgpack_scan.h"

// The options of commands are in base/command_table.h; these are of the other methods.
enum option {
    OPTION_CLIENT = MF_OPTIONS,
    OPTION_USER,
    OPTION_PASSWORD,
    OPTION_SESSION,
    OPTION_UNDO,
    OPTION_KEY,
    OPTION_PREFIX,
    OPTION_EVENTS,
    OPTION_FROM_VERSION,
    OPTION_PROGRESS,
    OPTION_COUNT
};

// As a set: BIT(CLIENT) | BIT(USER).
#define BIT(option) (1u << (OPTION_##option))

struct parser {
    struct mf_msgpack_in in;
    const struct mf_rpc_limits *limits;
    struct mf_rpc_request *request;
    // Of the method, or of the one inside a txn, that is being read.
    const char *name;
    struct mf_command *command;
    uint32_t options; // that it takes, as bits
    uint32_t given;   // options given and not false, as bits
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

// Reads `count` params of a command by its row in the table: the positional ones and, if there is
// one more, the map of options. p->command has the op, and is all zero else.
bool mf_parse_command(struct parser *p, uint32_t count);
// "METHOD: N parameters, expected ..."
bool mf_parse_refuse_count(struct parser *p, uint32_t count, uint32_t arity, const char *names);
// Reads the map of options at the end of params and checks it as a whole. The positional
// parameters have been read.
bool mf_parse_options(struct parser *p);
// Is there such a method, command or not? And the refusal where there is none.
bool mf_parse_known(struct mf_bytes name);
bool mf_parse_refuse_method(struct parser *p, struct mf_bytes name);
// The parameter of a txn: its conditions and methods, into the body of p->command.
bool mf_parse_txn(struct parser *p);
// msgpack_watch.c: the options of watch, what holds of them together, and their memory.
bool mf_parse_option_key(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value);
bool mf_parse_option_prefix(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value);
bool mf_parse_option_events(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value);
bool mf_parse_option_from_version(struct parser *p, uint32_t flag,
                                  const struct mf_msgpack_token *value);
bool mf_parse_option_progress(struct parser *p, uint32_t flag,
                              const struct mf_msgpack_token *value);
bool mf_parse_check_watch(struct parser *p);
void mf_parse_clear_watch(struct mf_rpc_watch *watch);
void mf_parse_free_watch(struct mf_rpc_watch *watch);
// A key or a value within the limits.
bool mf_parse_key(struct parser *p, struct mf_bytes *out);
bool mf_parse_value(struct parser *p, struct mf_bytes *out);

#endif
