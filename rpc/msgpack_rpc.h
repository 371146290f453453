// MessagePack-RPC, the server's side: one whole message in, one parsed request out; and replies.
//
// Parsing allocates nothing but the item array of multi-key commands and copies nothing: views
// point into the message. docs/protocol.md lists methods, options and errors.
#ifndef MF_RPC_MSGPACK_RPC_H
#define MF_RPC_MSGPACK_RPC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/command.h"
#include "base/err.h"
#include "base/event.h"
#include "base/result.h"

enum mf_method {
    MF_METHOD_PING,
    MF_METHOD_HELLO,
    MF_METHOD_COMMAND, // a row of base/command_table.h: see `command`
    MF_METHOD_CLUSTER,
    MF_METHOD_STATS,
    MF_METHOD_HOTKEYS, // how many: limit of `command`, 0 if it was not said
    MF_METHOD_SNAPSHOT,
    MF_METHOD_SNAPSHOT_READ,
    MF_METHOD_SNAPSHOT_REMOVE,
    MF_METHOD_TRANSFER,
    MF_METHOD_DRAIN_NODE,
    MF_METHOD_ADD_NODE,
    MF_METHOD_REMOVE_NODE,
    MF_METHOD_WATCH,
    MF_METHOD_UNWATCH,
};

struct mf_rpc_limits {
    size_t key_bytes_max;
    size_t value_bytes_max;
    size_t answer_bytes_max; // of the results of a txn
};

// What `watch` wants. Whether a number may stand for all shards is not known here.
struct mf_rpc_watch {
    uint32_t patterns; // how many were given: one, if it is accepted
    bool by_prefix;
    struct mf_bytes pattern;
    uint32_t events; // a set, see base/event.h
    bool has_from;   // from_version as a number ...
    uint64_t from_version;
    struct mf_shard_version *froms; // ... or as a map; freed by mf_rpc_request_free
    uint32_t from_count;
    uint32_t froms_cap;
    bool progress;
};

struct mf_rpc_request {
    bool notification;
    bool has_msgid;
    uint32_t msgid;
    enum mf_method method;
    struct mf_command command; // COMMAND, its flags also DRAIN_NODE, its limit HOTKEYS; items point
                               // to `items` or command.one
    struct mf_item *items;     // grown as needed, freed by mf_rpc_request_free
    uint32_t items_cap;
    struct mf_buf txn;          // the body of a txn, freed by mf_rpc_request_free
    struct mf_bytes hello_user; // HELLO; empty when absent
    struct mf_bytes hello_password;
    struct mf_bytes name; // SNAPSHOT and those like it; ADD_NODE: the address
    uint64_t offset;      // SNAPSHOT_READ
    uint64_t watch_id;    // UNWATCH
    struct mf_rpc_watch watch;
    uint32_t shard;    // TRANSFER
    uint32_t node;     // TRANSFER, DRAIN_NODE, ADD_NODE, REMOVE_NODE
    enum mf_err err;   // why it is refused (MF_OK: it is not)
    char message[160]; // and in words
    bool fatal;        // not a request: answer if has_msgid, then close
};

// Parses one whole object (as mf_msgpack_scan delimits it). Never fails: what is wrong is in
// request->err. The struct may be reused for the next message.
void mf_rpc_parse(struct mf_bytes message, const struct mf_rpc_limits *limits,
                  struct mf_rpc_request *request);
// The size of the message at the start of the input if it is whole, plainly written and a `get` of
// a key, which is *key, with nothing else, or a `set` or `incr`; otherwise 0.
size_t mf_rpc_peek(struct mf_bytes input, struct mf_bytes *key, bool *write);
void mf_rpc_request_free(struct mf_rpc_request *request);

// Notifications of a watch are appended to out.
void mf_rpc_event(struct mf_buf *out, uint64_t id, const struct mf_event *event);
void mf_rpc_progress(struct mf_buf *out, uint64_t id, const struct mf_shard_version *versions,
                     uint32_t count);
void mf_rpc_lost(struct mf_buf *out, uint64_t id);

// Replies are appended to out.
void mf_rpc_reply_error(struct mf_buf *out, uint32_t msgid, enum mf_err err, const char *message);
// The reply to a data command; an ERROR result becomes the error.
void mf_rpc_reply_result(struct mf_buf *out, uint32_t msgid, const struct mf_result *result);
// Opens `[1, msgid, nil, ` for a reply that the caller packs itself with the functions below.
void mf_rpc_reply_begin(struct mf_buf *out, uint32_t msgid);
void mf_pack_nil(struct mf_buf *out);
void mf_pack_bool(struct mf_buf *out, bool value);
void mf_pack_int(struct mf_buf *out, int64_t value);
void mf_pack_uint(struct mf_buf *out, uint64_t value);
void mf_pack_double(struct mf_buf *out, double value);
void mf_pack_str(struct mf_buf *out, const char *text);
void mf_pack_bin(struct mf_buf *out, struct mf_bytes bytes);
void mf_pack_array(struct mf_buf *out, uint32_t count);
void mf_pack_map(struct mf_buf *out, uint32_t pairs);

#endif
