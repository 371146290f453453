// Any bytes as what a node sends to libmayfly.
//
// The client is put at one end of a pair of sockets, as if it had connected, and the input is what
// the node answers: in one half of the runs as the result of a blocking call of each form, wrapped
// rightly so that the checks of results are reached; in the other as it is, in arrivals of a size
// that the input chooses. Nothing that the client returns may point at memory that is not there, so
// all of it is read. Time passes with every look at the clock: no run waits for a deadline.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/client_internal.h"

#define KEYS 3
#define INPUT_BYTES_MAX 4096
#define FIRST_MSGID UINT32_C(0x00010000) // generation 1 of slot 0

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t now_us;
static volatile uint64_t sum; // keeps the reading of results from being left out

static uint64_t passing_clock(void)
{
    return now_us += 400;
}

// Not assert: it must hold in every build.
static void must(bool holds)
{
    if (!holds)
        abort();
}

static void read_bytes(struct mayfly_bytes bytes)
{
    const uint8_t *data = bytes.data;
    for (size_t i = 0; i < bytes.len; i++)
        sum += data[i];
}

static void read_value(const struct mayfly_value *value)
{
    bool map = value->type == MAYFLY_TYPE_MAP;
    if (value->type == MAYFLY_TYPE_STRING || value->type == MAYFLY_TYPE_BYTES)
        read_bytes(value->bytes);
    for (size_t i = 0; (map || value->type == MAYFLY_TYPE_ARRAY) && i < value->count; i++) {
        read_value(&value->items[map ? 2 * i : i]);
        if (map)
            read_value(&value->items[2 * i + 1]);
    }
}

static void read_reply(void *cookie, const struct mayfly_reply *reply)
{
    ++*(size_t *)cookie;
    must(reply->message != NULL && reply->value != NULL);
    read_bytes(mayfly_str(reply->message));
    read_value(reply->value);
}

static struct mayfly_client *connected_client(int *node)
{
    // A closed port: a connection that was lost is not made again.
    struct mayfly_client_options options = {.endpoints = "127.0.0.1:1",
                                            .timeout_ms = 5,
                                            .window = KEYS,
                                            .reply_bytes_max = INPUT_BYTES_MAX};
    int ends[2];
    struct mayfly_client *client = mayfly_client_new(&options, NULL, 0);
    must(client != NULL && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    client->clock_us = passing_clock;
    client->link.fd = ends[0];
    client->link.state = MF_LINK_READY;
    client->link.turned_us = now_us;
    *node = ends[1];
    return client;
}

static void send_all(int node, struct mf_bytes bytes)
{
    must(write(node, bytes.data, bytes.len) == (ssize_t)bytes.len);
}

static void call_method(struct mayfly_client *client, unsigned method)
{
    struct mayfly_bytes keys[KEYS] = {mayfly_str("a"), mayfly_str("b"), mayfly_str("c")};
    struct mayfly_options meta = {.flags = MAYFLY_FLAG_META};
    struct mayfly_entry entries[KEYS] = {0};
    struct mayfly_written written = {0};
    const struct mayfly_value *value = NULL;
    bool flags[KEYS];
    uint64_t count;
    int64_t ttl_ms;
    enum mayfly_err err;
    switch (method % 9) {
    case 0:
        err = mayfly_get(client, keys[0], NULL, entries);
        break;
    case 1:
        err = mayfly_get(client, keys[0], &meta, entries);
        break;
    case 2:
        err = mayfly_mget(client, keys, KEYS, NULL, entries);
        break;
    case 3:
        err = mayfly_set(client, keys[0], keys[1], NULL, &written);
        break;
    case 4:
        err = mayfly_has(client, keys, KEYS, flags);
        break;
    case 5:
        err = mayfly_del(client, keys, KEYS, NULL, &count);
        break;
    case 6:
        err = mayfly_ttl(client, keys[0], &ttl_ms);
        break;
    case 7:
        err = mayfly_persist(client, keys[0], NULL, flags);
        break;
    default:
        err = mayfly_cluster(client, &value);
    }
    for (size_t i = 0; i < KEYS && err == MAYFLY_OK; i++)
        read_bytes(entries[i].value);
    read_bytes(written.old);
    if (err == MAYFLY_OK && value != NULL)
        read_value(value);
    must(err == MAYFLY_OK || mayfly_client_error(client)[0] != '\0');
}

static void answer_a_call(struct mf_bytes input, unsigned method)
{
    static const uint8_t head[] = {0x94, 1, 0xce, 0, 1, 0, 0};
    int node;
    struct mayfly_client *client = connected_client(&node);
    send_all(node, mf_bytes_of(head, sizeof head));
    send_all(node, input);
    (void)shutdown(node, SHUT_WR);
    call_method(client, method);
    mayfly_client_free(client);
    close(node);
}

static void answer_at_will(struct mf_bytes input, size_t step)
{
    int node;
    struct mayfly_client *client = connected_client(&node);
    struct mayfly_request size = {.method = MAYFLY_METHOD_SIZE};
    size_t done = 0;
    for (unsigned i = 0; i < KEYS; i++)
        must(mayfly_submit(client, &size, read_reply, &done) == MAYFLY_OK);
    must(client->queue.head->msgid == FIRST_MSGID);
    (void)mayfly_poll(client, 0);
    for (size_t at = 0; at < input.len && client->link.state == MF_LINK_READY; at += step) {
        size_t left = input.len - at;
        send_all(node, mf_bytes_of(input.data + at, left < step ? left : step));
        (void)mayfly_poll(client, 0);
    }
    mayfly_client_free(client);
    must(done == KEYS);
    close(node);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > INPUT_BYTES_MAX)
        return 0;
    struct mf_bytes input = mf_bytes_of(data + 1, size - 1);
    if (data[0] < 128)
        answer_a_call(input, data[0]);
    else
        answer_at_will(input, (size_t)(data[0] - 127) * 4);
    return 0;
}
