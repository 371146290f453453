// Any bytes as what a node sends to libmayfly.
//
// The client is put at one end of a pair of sockets, as if it had connected, and the input is what
// the node answers: in some runs as the result of a blocking call of each form, wrapped rightly so
// that the checks of results are reached; in others as it is, in arrivals of a size that the input
// chooses; as what comes of a watch; and as the cluster's map. Nothing that the client returns may
// point at memory that is not there, so all of it is read. Time passes with every look at the
// clock: no run waits for a deadline.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/client_internal.h"
#include "rpc/client_route.h"

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

static void connect_link(struct mf_link *link, int fd)
{
    link->transport.fd = fd;
    link->heard_us = now_us;
    link->state = MF_LINK_READY;
    must(mf_loop_add(link) == MAYFLY_OK);
    link->client->loop.turned_us = now_us;
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
    connect_link(client->links[0], ends[0]);
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
    must(client->links[0]->queue.head->msgid == FIRST_MSGID);
    (void)mayfly_poll(client, 0);
    for (size_t at = 0; at < input.len && client->links[0]->state == MF_LINK_READY; at += step) {
        size_t left = input.len - at;
        send_all(node, mf_bytes_of(input.data + at, left < step ? left : step));
        (void)mayfly_poll(client, 0);
    }
    mayfly_client_free(client);
    must(done == KEYS);
    close(node);
}

static void read_news(void *cookie, const struct mayfly_news *news)
{
    *(bool *)cookie = *(bool *)cookie || news->state == MAYFLY_WATCH_ENDED;
    must(news->message != NULL);
    read_bytes(mayfly_str(news->message));
    read_bytes(news->key);
    read_bytes(news->value);
}

// A watch whose beginning is answered with id 0, and then the input.
static void tell_of_a_watch(struct mf_bytes input, unsigned kind)
{
    static const uint8_t begun[] = {0x94, 1, 0xce, 0xff, 0xff, 0, 0, 0xc0, 0};
    struct mf_hello_facts facts = {.shards = kind % 3 + 1};
    struct mayfly_watch_want want = {.key = mayfly_str(kind % 2 > 0 ? "" : "a"),
                                     .by_prefix = kind % 2 > 0};
    bool ended = false;
    uint64_t number;
    int first;
    int ends[2];
    struct mayfly_client *client = connected_client(&first);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    must(mayfly_watch(client, &want, read_news, &ended, &number) == MAYFLY_OK);
    connect_link(client->watch_link, ends[0]);
    must(mf_client_watches_greeted(client, &facts));
    (void)mayfly_poll(client, 0);
    send_all(ends[1], mf_bytes_of(begun, sizeof begun));
    send_all(ends[1], input);
    for (int i = 0; i < 3; i++)
        (void)mayfly_poll(client, 0);
    mayfly_client_free(client);
    must(ended);
    close(first);
    close(ends[1]);
}

static void read_map(struct mf_bytes input)
{
    static struct mf_route_map map;
    struct mf_msgpack_in in = {mf_reader_of(input)};
    map = (struct mf_route_map){0};
    if (mf_route_parse(&in, &map)) {
        for (size_t i = 0; i < MF_SLOT_COUNT; i++)
            must(map.leaders[i] <= map.node_count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > INPUT_BYTES_MAX)
        return 0;
    struct mf_bytes input = mf_bytes_of(data + 1, size - 1);
    if (data[0] < 100)
        answer_a_call(input, data[0]);
    else if (data[0] < 170)
        answer_at_will(input, (size_t)(data[0] - 99) * 8);
    else if (data[0] < 250)
        tell_of_a_watch(input, data[0]);
    else
        read_map(input);
    return 0;
}
