// What comes in on the connection of a client: bytes into messages, messages to the calls that they
// answer, and what an answer says about the node itself.
//
// Nothing is decoded before its size, depth and claims have been checked. Whatever is no answer of
// the protocol ends the connection, and the client goes on with the next endpoint.
#include "rpc/client_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

// A node that has refused for so long, and carried out nothing, is left for another.
#define REFUSALS_BORNE_US 1000000u
#define READ_BYTES ((size_t)64 << 10)
#define READS_PER_TURN 16
#define INPUT_KEPT_BYTES ((size_t)1 << 20)

static void take_greeting(struct mayfly_client *client, enum mayfly_err err, const char *text)
{
    struct mf_link *link = &client->link;
    if (link->state != MF_LINK_GREETING)
        return;
    if (err == MAYFLY_OK) {
        link->state = MF_LINK_READY;
        link->heard_us = client->clock_us();
        link->served_us = link->heard_us;
        link->endpoints[link->at].why[0] = '\0';
        return;
    }
    mf_link_lose(client, text);
    if (mf_err_is_retried(err))
        return;
    client->greeting_err = err;
    mf_calls_fail_all(client, err, text);
}

// `[code, message, details]` as an error and a line of text.
static enum mayfly_err read_error(const struct mayfly_value *error, char *text, size_t size)
{
    const struct mayfly_value *items = error->type == MAYFLY_TYPE_ARRAY ? error->items : NULL;
    if (items == NULL || error->count < 2 || items[0].type != MAYFLY_TYPE_STRING ||
        items[1].type != MAYFLY_TYPE_STRING) {
        snprintf(text, size, "the node sent an error of unknown form");
        return MAYFLY_ERR_PROTOCOL;
    }
    struct mf_bytes code = mf_bytes_of(items[0].bytes.data, items[0].bytes.len);
    struct mf_bytes words = mf_bytes_of(items[1].bytes.data, items[1].bytes.len);
    enum mayfly_err err = mf_err_of_name(code);
    size_t used = 0;
    if (err == MAYFLY_ERR_INTERNAL && !mf_bytes_equal(code, mf_bytes_str("INTERNAL"))) {
        mf_printable(text, size / 2, code);
        used = strlen(text);
        used += (size_t)snprintf(text + used, size - used, ": ");
    }
    mf_printable(text + used, size - used, words);
    return err;
}

// Whether a node that refuses is to be left: one that stops, and one that cannot carry out
// anything.
static bool leaves_after(const struct mayfly_client *client, enum mayfly_err err)
{
    const struct mf_link *link = &client->link;
    if (link->state != MF_LINK_READY || err == MAYFLY_ERR_BUSY)
        return false;
    return err == MAYFLY_ERR_SHUTTING_DOWN ||
           client->clock_us() - link->served_us > REFUSALS_BORNE_US;
}

static void answer(struct mayfly_client *client, uint32_t msgid, enum mayfly_err err,
                   const char *text, const struct mayfly_value *value)
{
    if (msgid == MF_HELLO_MSGID) {
        take_greeting(client, err, text);
    } else if (msgid != MF_PING_MSGID) {
        if (mf_calls_answer(client, msgid, err, text, value) && leaves_after(client, err))
            mf_link_lose(client, text);
    }
}

// Reads `[1, msgid,`; false when it is something else. Notifications are none of our business,
// but no fault either.
static bool read_frame(struct mf_msgpack_in *in, uint32_t *msgid, bool *notification)
{
    struct mf_msgpack_token token;
    *notification = false;
    if (mf_msgpack_next(in, &token) != MF_OK || token.type != MF_MP_ARRAY)
        return false;
    uint32_t count = token.count;
    if (mf_msgpack_next(in, &token) != MF_OK || token.type != MF_MP_UINT)
        return false;
    *notification = count == 3 && token.uinteger == 2;
    if (*notification)
        return true;
    if (count != 4 || token.uinteger != 1)
        return false;
    if (mf_msgpack_next(in, &token) != MF_OK || token.type != MF_MP_UINT ||
        token.uinteger > UINT32_MAX)
        return false;
    *msgid = (uint32_t)token.uinteger;
    return true;
}

static void take_message(struct mayfly_client *client, struct mf_bytes message)
{
    struct mf_msgpack_in in = {mf_reader_of(message)};
    const struct mayfly_value *value = NULL;
    char text[MF_CLIENT_TEXT_MAX / 2] = "";
    uint32_t msgid;
    bool notification;
    if (!read_frame(&in, &msgid, &notification)) {
        mf_link_lose(client, "it does not speak MessagePack-RPC");
        return;
    }
    if (notification)
        return;
    enum mayfly_err err = mf_value_build(&client->space, &in, &value);
    if (err == MAYFLY_OK && value->type != MAYFLY_TYPE_NIL)
        err = read_error(value, text, sizeof text);
    else if (err == MAYFLY_OK)
        err = mf_value_build(&client->space, &in, &value);
    if (err != MAYFLY_OK && text[0] == '\0')
        snprintf(text, sizeof text, "%s", mayfly_err_text(err));
    answer(client, msgid, err, text, err == MAYFLY_OK ? value : NULL);
}

// A reply that cannot be held: its call fails, since it would be as large the next time; the rest
// of it is not worth reading, so the connection goes too.
static void drop_reply(struct mayfly_client *client, struct mf_bytes start, enum mayfly_err err)
{
    struct mf_msgpack_in in = {mf_reader_of(start)};
    uint32_t msgid;
    bool notification;
    char text[MF_CLIENT_TEXT_MAX / 2];
    snprintf(text, sizeof text, "the reply is larger than %zu bytes", client->reply_bytes_max);
    if (err == MAYFLY_ERR_OUT_OF_MEMORY)
        snprintf(text, sizeof text, "no memory for the reply, %zu bytes so far", start.len);
    if (read_frame(&in, &msgid, &notification) && !notification)
        answer(client, msgid, err, text, NULL);
    if (client->link.state != MF_LINK_DOWN)
        mf_link_lose(client, text);
}

void mf_replies_take(struct mayfly_client *client)
{
    struct mf_link *link = &client->link;
    while (!client->paused && link->in_at < link->in.len) {
        struct mf_bytes rest = mf_bytes_of(link->in.data + link->in_at, link->in.len - link->in_at);
        size_t size;
        enum mf_err err = mf_msgpack_scan(&link->scan, rest, client->reply_bytes_max, &size);
        if (err == MF_AGAIN)
            return;
        if (err == MF_OK) {
            link->in_at += size;
            take_message(client, mf_bytes_of(rest.data, size));
        } else if (err == MF_TOO_LARGE) {
            drop_reply(client, rest, MAYFLY_ERR_TOO_LARGE);
        } else {
            mf_link_lose(client, "it does not speak MessagePack");
        }
    }
}

// Moves what is unused to the front and makes room for another read.
static bool make_room(struct mf_link *link)
{
    mf_buf_consume(&link->in, link->in_at);
    link->in_at = 0;
    if (link->in.len == 0 && link->in.cap > INPUT_KEPT_BYTES)
        mf_buf_free(&link->in);
    if (link->in.cap - link->in.len >= READ_BYTES)
        return true;
    size_t cap = link->in.cap < READ_BYTES ? READ_BYTES * 2 : link->in.cap * 2;
    uint8_t *data = realloc(link->in.data, cap);
    if (data == NULL)
        return false;
    link->in.data = data;
    link->in.cap = cap;
    return true;
}

void mf_replies_read(struct mayfly_client *client)
{
    struct mf_link *link = &client->link;
    for (int reads = 0; reads < READS_PER_TURN && link->fd >= 0 && !client->paused; reads++) {
        if (!make_room(link)) {
            drop_reply(client, mf_buf_view(&link->in), MAYFLY_ERR_OUT_OF_MEMORY);
            return;
        }
        size_t room = link->in.cap - link->in.len;
        ssize_t got = recv(link->fd, link->in.data + link->in.len, room, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            mf_link_lose(client, got == 0 ? "it closed the connection" : strerror(errno));
            return;
        }
        link->in.len += (size_t)got;
        link->heard_us = client->clock_us();
        link->asked = false;
        mf_replies_take(client);
        if ((size_t)got < room)
            return;
    }
}

bool mf_replies_hold(struct mayfly_client *client)
{
    struct mf_link *link = &client->link;
    size_t rest = link->in.len - link->in_at;
    struct mf_buf next = client->held;
    if (next.data == NULL || next.cap < rest || next.cap > INPUT_KEPT_BYTES) {
        free(next.data);
        client->held = (struct mf_buf){0};
        next = (struct mf_buf){.data = malloc(rest + READ_BYTES), .cap = rest + READ_BYTES};
        if (next.data == NULL)
            return false;
    }
    next.len = 0;
    mf_buf_put(&next, link->in.data + link->in_at, rest);
    client->held = link->in;
    link->in = next;
    link->in_at = 0;
    client->paused = true;
    return true;
}
