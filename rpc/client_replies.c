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

#include "base/hash.h"
#include "base/slots.h"

// A node that has refused for so long, and carried out nothing, is left for another.
#define REFUSALS_BORNE_US 1000000u
#define READ_BYTES ((size_t)64 << 10)
#define READS_PER_TURN 16
#define INPUT_KEPT_BYTES ((size_t)1 << 20)

static uint32_t read_number(const struct mayfly_value *hello, const char *name, int64_t max)
{
    const struct mayfly_value *value = mayfly_value_at(hello, name);
    bool fits = value != NULL && value->type == MAYFLY_TYPE_INT && value->integer >= 1 &&
                value->integer <= max;
    return fits ? (uint32_t)value->integer : 0;
}

static struct mf_hello_facts read_facts(const struct mayfly_value *hello)
{
    const struct mayfly_value *name = mayfly_value_at(hello, "cluster");
    struct mf_hello_facts facts = {.node = read_number(hello, "node", UINT16_MAX),
                                   .shards = read_number(hello, "shards", MF_SLOT_COUNT)};
    if (name != NULL && name->type == MAYFLY_TYPE_STRING)
        facts.cluster_hash = mf_hash64(mf_bytes_of(name->bytes.data, name->bytes.len), 0);
    return facts;
}

static void begin_serving(struct mf_link *link, const struct mayfly_value *hello)
{
    struct mayfly_client *client = link->client;
    struct mf_hello_facts facts = read_facts(hello);
    if (!mf_route_greeted(link, &facts)) {
        mf_link_lose(link, "another node answers at its address");
        return;
    }
    if (link == client->watch_link && !mf_client_watches_greeted(client, &facts)) {
        mf_link_lose(link, "its greeting does not tell the number of shards");
        return;
    }
    link->state = MF_LINK_READY;
    link->heard_us = client->clock_us();
    link->served_us = link->heard_us;
    link->endpoints[link->at].why[0] = '\0';
}

// Of the caller's, all there are.
static void fail_calls(struct mayfly_client *client, enum mayfly_err err, const char *text)
{
    for (size_t i = 0; i < client->link_count; i++) {
        if (client->links[i] != NULL)
            mf_link_check_head(client->links[i], UINT64_MAX);
    }
    mf_calls_fail_all(client, err, text);
}

static void take_greeting(struct mf_link *link, enum mayfly_err err, const char *text,
                          const struct mayfly_value *value)
{
    struct mayfly_client *client = link->client;
    if (link->state != MF_LINK_GREETING)
        return;
    if (err == MAYFLY_OK) {
        begin_serving(link, value);
        return;
    }
    mf_link_lose(link, text);
    if (mf_err_is_retried(err) || link->node != 0)
        return;
    client->greeting_err = err;
    if (link == client->watch_link)
        mf_client_watches_end_all(client, err, text);
    else
        fail_calls(client, err, text);
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
static bool leaves_after(const struct mf_link *link, enum mayfly_err err)
{
    if (link->state != MF_LINK_READY || err == MAYFLY_ERR_BUSY)
        return false;
    return err == MAYFLY_ERR_SHUTTING_DOWN ||
           link->client->clock_us() - link->served_us > REFUSALS_BORNE_US;
}

static void answer(struct mf_link *link, uint32_t msgid, enum mayfly_err err, const char *text,
                   const struct mayfly_value *value)
{
    if (msgid == MF_HELLO_MSGID) {
        take_greeting(link, err, text, value);
    } else if (msgid < MF_OWN_MSGIDS) {
        if (mf_calls_answer(link, msgid, err, text, value) && leaves_after(link, err))
            mf_link_lose(link, text);
    } else if (msgid == MF_MAP_MSGID) {
        mf_route_answer(link->client, err, NULL, 0);
    } else if (link == link->client->watch_link && msgid != MF_PING_MSGID) {
        mf_client_watches_answer(link->client, msgid, err, text, value);
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

static void take_message(struct mf_link *link, struct mf_bytes message)
{
    struct mayfly_client *client = link->client;
    struct mf_msgpack_in in = {mf_reader_of(message)};
    const struct mayfly_value *value = NULL;
    char text[MF_CLIENT_TEXT_MAX / 2] = "";
    uint32_t msgid;
    bool notification;
    if (!read_frame(&in, &msgid, &notification)) {
        mf_link_lose(link, "it does not speak MessagePack-RPC");
        return;
    }
    if (notification) {
        if (link == client->watch_link && !mf_client_watches_news(client, &in))
            mf_link_lose(link, "it sends events of unknown form");
        return;
    }
    enum mayfly_err err = mf_value_build(&client->space, &in, &value);
    if (err == MAYFLY_OK && value->type != MAYFLY_TYPE_NIL)
        err = read_error(value, text, sizeof text);
    else if (err == MAYFLY_OK && msgid == MF_MAP_MSGID && link == client->links[0]) {
        mf_route_answer(client, MAYFLY_OK, &in, message.len);
        return;
    } else if (err == MAYFLY_OK)
        err = mf_value_build(&client->space, &in, &value);
    if (err != MAYFLY_OK && text[0] == '\0')
        snprintf(text, sizeof text, "%s", mayfly_err_text(err));
    answer(link, msgid, err, text, err == MAYFLY_OK ? value : NULL);
}

// A reply that cannot be held: its call fails, since it would be as large the next time; the rest
// of it is not worth reading, so the connection goes too. An event that cannot be held ends the
// watches: any of them may be the one that it is for.
static void drop_reply(struct mf_link *link, struct mf_bytes start, enum mayfly_err err)
{
    struct mf_msgpack_in in = {mf_reader_of(start)};
    uint32_t msgid;
    bool notification;
    char text[MF_CLIENT_TEXT_MAX / 2];
    snprintf(text, sizeof text, "the reply is larger than %zu bytes",
             link->client->reply_bytes_max);
    if (err == MAYFLY_ERR_OUT_OF_MEMORY)
        snprintf(text, sizeof text, "no memory for the reply, %zu bytes so far", start.len);
    bool readable = read_frame(&in, &msgid, &notification);
    if (readable && !notification)
        answer(link, msgid, err, text, NULL);
    else if (readable && link == link->client->watch_link)
        mf_client_watches_end_all(link->client, err, text);
    if (link->state != MF_LINK_DOWN)
        mf_link_lose(link, text);
}

void mf_replies_take(struct mf_link *link)
{
    struct mayfly_client *client = link->client;
    client->reading = link;
    while (!client->paused && link->in_at < link->in.len) {
        struct mf_bytes rest = mf_bytes_of(link->in.data + link->in_at, link->in.len - link->in_at);
        size_t size;
        enum mf_err err = mf_msgpack_scan(&link->scan, rest, client->reply_bytes_max, &size);
        if (err == MF_AGAIN)
            return;
        if (err == MF_OK) {
            link->in_at += size;
            take_message(link, mf_bytes_of(rest.data, size));
        } else if (err == MF_TOO_LARGE) {
            drop_reply(link, rest, MAYFLY_ERR_TOO_LARGE);
        } else {
            mf_link_lose(link, "it does not speak MessagePack");
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

void mf_replies_read(struct mf_link *link)
{
    struct mayfly_client *client = link->client;
    for (int reads = 0; reads < READS_PER_TURN && link->state != MF_LINK_DOWN && !client->paused;
         reads++) {
        if (!make_room(link)) {
            drop_reply(link, mf_buf_view(&link->in), MAYFLY_ERR_OUT_OF_MEMORY);
            return;
        }
        size_t room = link->in.cap - link->in.len;
        ssize_t got =
            link->transport.kind->read(&link->transport, link->in.data + link->in.len, room);
        if (got == -EAGAIN)
            return;
        if (got <= 0) {
            mf_link_lose(link, got == 0 ? "it closed the connection" : strerror((int)-got));
            return;
        }
        link->in.len += (size_t)got;
        link->heard_us = client->clock_us();
        link->asked = false;
        mf_replies_take(link);
        if ((size_t)got < room)
            return;
    }
}

bool mf_replies_hold(struct mayfly_client *client)
{
    struct mf_link *link = client->reading;
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
