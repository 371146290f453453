// Parsed requests as text, so that a test can say in one line what it expects.
#ifndef MF_TESTS_UNIT_MSGPACK_SHOW_H
#define MF_TESTS_UNIT_MSGPACK_SHOW_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "rpc/msgpack_rpc.h"

static void add(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add(char *out, size_t size, const char *format, ...)
{
    size_t len = strlen(out);
    va_list args;
    va_start(args, format);
    vsnprintf(out + len, size - len, format, args);
    va_end(args);
}

static void add_named(char *out, size_t size, const char *name, struct mf_bytes bytes)
{
    if (bytes.len > 0)
        add(out, size, " %s=%.*s", name, (int)bytes.len, (const char *)bytes.data);
}

static void show_command(const struct mf_command *command, char *out, size_t size)
{
    static const char *const flags[] = {"nx",       "xx",   "gt",         "lt",   "keep_ttl",
                                        "with_old", "meta", "if_version", "local"};
    add(out, size, "%s", mf_op_name(command->op));
    for (uint32_t i = 0; i < command->item_count; i++) {
        const struct mf_item *item = &command->items[i];
        add(out, size, " %.*s", (int)item->key.len, (const char *)item->key.data);
        if (command->op == MF_OP_SET || command->op == MF_OP_MSET)
            add(out, size, "=%.*s", (int)item->value.len,
                item->value.len > 0 ? (const char *)item->value.data : "");
    }
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
        if ((command->flags & (1u << i)) != 0)
            add(out, size, " %s", flags[i]);
    }
    if ((command->flags & MF_IF_VERSION) != 0)
        add(out, size, ":%" PRIu64, command->if_version);
    if (command->expiry != MF_EXPIRY_NONE)
        add(out, size, " %s:%" PRId64 "us", command->expiry == MF_EXPIRY_IN ? "in" : "at",
            command->expire_us);
    add_named(out, size, "id", command->id);
}

static void show_watch(const struct mf_rpc_watch *watch, char *out, size_t size)
{
    add(out, size, " %s %.*s events=%" PRIx32, watch->by_prefix ? "prefix" : "key",
        (int)watch->pattern.len, (const char *)watch->pattern.data, watch->events);
    if (watch->has_from)
        add(out, size, " from=%" PRIu64, watch->from_version);
    for (uint32_t i = 0; i < watch->from_count; i++)
        add(out, size, " from[%" PRIu32 "]=%" PRIu64, watch->froms[i].shard,
            watch->froms[i].version);
}

static void show(const struct mf_rpc_request *request, char *out, size_t size)
{
    static const char *const methods[] = {[MF_METHOD_PING] = "ping",
                                          [MF_METHOD_HELLO] = "hello",
                                          [MF_METHOD_CLUSTER] = "cluster",
                                          [MF_METHOD_STATS] = "stats",
                                          [MF_METHOD_SNAPSHOT] = "snapshot",
                                          [MF_METHOD_SNAPSHOT_READ] = "snapshot_read",
                                          [MF_METHOD_SNAPSHOT_REMOVE] = "snapshot_remove",
                                          [MF_METHOD_TRANSFER] = "transfer",
                                          [MF_METHOD_DRAIN_NODE] = "drain_node",
                                          [MF_METHOD_ADD_NODE] = "add_node",
                                          [MF_METHOD_REMOVE_NODE] = "remove_node",
                                          [MF_METHOD_WATCH] = "watch",
                                          [MF_METHOD_UNWATCH] = "unwatch"};
    out[0] = '\0';
    if (request->err != MF_OK) {
        add(out, size, "%s%s: %s", request->fatal ? "fatal " : "", mf_err_name(request->err),
            request->message);
        return;
    }
    if (request->method == MF_METHOD_COMMAND)
        show_command(&request->command, out, size);
    else
        add(out, size, "%s", methods[request->method]);
    add_named(out, size, "user", request->hello_user);
    add_named(out, size, "password", request->hello_password);
    add_named(out, size, "name", request->name);
    if (request->method == MF_METHOD_SNAPSHOT_READ)
        add(out, size, " offset=%" PRIu64, request->offset);
    if (request->method == MF_METHOD_TRANSFER)
        add(out, size, " shard=%" PRIu32, request->shard);
    if (request->method == MF_METHOD_UNWATCH)
        add(out, size, " id=%" PRIu64, request->watch_id);
    if (request->method == MF_METHOD_WATCH)
        show_watch(&request->watch, out, size);
    else if (request->method >= MF_METHOD_TRANSFER && request->method != MF_METHOD_UNWATCH)
        add(out, size, " node=%" PRIu32 "%s", request->node,
            (request->command.flags & MF_UNDO) != 0 ? " undo" : "");
}

#endif
