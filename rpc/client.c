// Making and freeing a client, and the pipelined interface; see mayfly/client.h.
//
// The clock is CLOCK_BOOTTIME: a machine that sleeps between a write and its retry must count the
// sleep, because the cluster goes on forgetting ids meanwhile.
#include "rpc/client_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TIMEOUT_MS 10000u
#define CONNECT_TIMEOUT_MS 2000u
#define SILENCE_MS 500u
#define WINDOW 1024u
#define WINDOW_BYTES ((size_t)64 << 20)
#define REPLY_BYTES_MAX ((size_t)128 << 20)
#define NAME "libmayfly"
#define LONG_WAIT_US UINT64_C(3600000000)

static const struct {
    const char *name;
    const char *text;
} errors[] = {
    [MAYFLY_OK] = {"OK", "success"},
    [MAYFLY_ERR_BAD_REQUEST] = {"BAD_REQUEST", "the request is not well formed"},
    [MAYFLY_ERR_UNKNOWN_METHOD] = {"UNKNOWN_METHOD", "the node does not know the method"},
    [MAYFLY_ERR_NOT_INTEGER] = {"NOT_INTEGER", "the value is not a 64-bit signed integer"},
    [MAYFLY_ERR_OVERFLOW] = {"OVERFLOW", "the result would not fit 64 signed bits"},
    [MAYFLY_ERR_TOO_LARGE] = {"TOO_LARGE", "a key, value, request or reply is over its limit"},
    [MAYFLY_ERR_CROSS_SHARD] = {"CROSS_SHARD", "the keys are not all in one shard"},
    [MAYFLY_ERR_UNAUTHORIZED] = {"UNAUTHORIZED", "a valid user and password are required"},
    [MAYFLY_ERR_NO_QUORUM] = {"NO_QUORUM",
                              "no majority of the shard's replicas answers; nothing happened"},
    [MAYFLY_ERR_TIMEOUT] = {"TIMEOUT", "no answer in time; the outcome is unknown"},
    [MAYFLY_ERR_BUSY] = {"BUSY", "the node is overloaded; nothing happened"},
    [MAYFLY_ERR_OUT_OF_MEMORY] = {"OUT_OF_MEMORY", "the memory limit is reached"},
    [MAYFLY_ERR_SHUTTING_DOWN] = {"SHUTTING_DOWN", "the node is stopping"},
    [MAYFLY_ERR_COMPACTED] = {"COMPACTED", "the version asked for is no longer kept"},
    [MAYFLY_ERR_INTERNAL] = {"INTERNAL", "the node had an internal error"},
    [MAYFLY_ERR_UNREACHABLE] = {"UNREACHABLE", "no endpoint took the request; nothing happened"},
    [MAYFLY_ERR_PROTOCOL] = {"PROTOCOL", "the answer is not what the method returns"},
    [MAYFLY_ERR_WINDOW_FULL] = {"WINDOW_FULL", "too many requests are in flight"},
    [MAYFLY_ERR_CANCELLED] = {"CANCELLED", "the client was freed before the answer came"},
    [MAYFLY_ERR_IO] = {"IO", "a file could not be read or written"},
    [MAYFLY_ERR_CORRUPT] = {"CORRUPT", "the file is damaged, or no snapshot"},
    [MAYFLY_ERR_FORKED] = {"FORKED", "the store belongs to the parent process"},
    [MAYFLY_ERR_LOST] = {"LOST", "the watch could not go on without a gap"},
};

#define ERROR_COUNT (sizeof errors / sizeof errors[0])

const char *mayfly_err_name(enum mayfly_err err)
{
    return (unsigned)err < ERROR_COUNT ? errors[err].name : "INTERNAL";
}

const char *mayfly_err_text(enum mayfly_err err)
{
    return (unsigned)err < ERROR_COUNT ? errors[err].text : errors[MAYFLY_ERR_INTERNAL].text;
}

enum mayfly_err mf_err_of_name(struct mf_bytes name)
{
    for (unsigned i = MAYFLY_ERR_BAD_REQUEST; i <= MAYFLY_ERR_INTERNAL; i++) {
        if (mf_bytes_equal(name, mf_bytes_str(errors[i].name)))
            return (enum mayfly_err)i;
    }
    return MAYFLY_ERR_INTERNAL;
}

bool mf_err_is_retried(enum mayfly_err err)
{
    return err == MAYFLY_ERR_NO_QUORUM || err == MAYFLY_ERR_BUSY || err == MAYFLY_ERR_TIMEOUT ||
           err == MAYFLY_ERR_SHUTTING_DOWN;
}

enum mayfly_err mf_client_refuse(struct mayfly_client *client, enum mayfly_err err,
                                 const char *format, ...)
{
    char words[MF_CLIENT_TEXT_MAX - 32];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    snprintf(client->error_text, sizeof client->error_text, "%s: %s", mayfly_err_name(err), words);
    return err;
}

static uint64_t boot_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static char *copy_text(const char *text, bool *failed)
{
    char *copy = text != NULL ? strdup(text) : NULL;
    *failed = *failed || (text != NULL && copy == NULL);
    return copy;
}

// False when memory is out.
static bool take_options(struct mayfly_client *client, const struct mayfly_client_options *given)
{
    bool failed = false;
    client->user = copy_text(given->user, &failed);
    client->password = copy_text(given->password, &failed);
    client->name = copy_text(given->name != NULL ? given->name : NAME, &failed);
    client->timeout_ms = given->timeout_ms > 0 ? given->timeout_ms : TIMEOUT_MS;
    client->connect_timeout_ms =
        given->connect_timeout_ms > 0 ? given->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    client->silence_ms = given->silence_ms > 0 ? given->silence_ms : SILENCE_MS;
    client->window = given->window > 0 ? given->window : WINDOW;
    client->window_bytes = given->window_bytes > 0 ? given->window_bytes : WINDOW_BYTES;
    client->reply_bytes_max = given->reply_bytes_max > 0 ? given->reply_bytes_max : REPLY_BYTES_MAX;
    return !failed;
}

static uint32_t connections_of(const struct mayfly_client_options *given)
{
    return given->connections > 0 ? given->connections : 1;
}

struct mayfly_client *mayfly_client_new(const struct mayfly_client_options *options, char *message,
                                        size_t message_size)
{
    static const struct mayfly_client_options defaults;
    const struct mayfly_client_options *given = options != NULL ? options : &defaults;
    char why[MF_CLIENT_TEXT_MAX] = "out of memory";
    struct mayfly_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        goto fail;
    client->clock_us = boot_us;
    client->loop = (struct mf_loop){.epoll_fd = -1, .timer_fd = -1, .bell_fd = -1};
    mf_entropy(client->id_prefix, sizeof client->id_prefix);
    mf_entropy(&client->jitter, sizeof client->jitter);
    if (!take_options(client, given))
        goto fail;
    if (client->window > MAYFLY_WINDOW_MAX) {
        snprintf(why, sizeof why, "window is %u, expected at most %d", client->window,
                 MAYFLY_WINDOW_MAX);
        client->window = 0;
        goto fail;
    }
    if (given->connections > MAYFLY_CONNECTIONS_MAX) {
        snprintf(why, sizeof why, "connections is %u, expected at most %d", given->connections,
                 MAYFLY_CONNECTIONS_MAX);
        goto fail;
    }
    const char *endpoints = given->endpoints != NULL ? given->endpoints : MAYFLY_ENDPOINTS_DEFAULT;
    if (mf_loop_init(client) != MAYFLY_OK) {
        snprintf(why, sizeof why, "no descriptor to wait on: %s", strerror(errno));
        goto fail;
    }
    client->endpoints = strdup(endpoints);
    if (client->endpoints == NULL)
        goto fail;
    client->links[0] = mf_link_new(client, endpoints, why, sizeof why);
    if (client->links[0] == NULL)
        goto fail;
    client->link_count = MF_LINKS_RESERVED;
    if (mf_calls_init(client) == MAYFLY_OK &&
        (given->route == MAYFLY_ROUTE_NONE || mf_route_init(client, connections_of(given))))
        return client;
    snprintf(why, sizeof why, "out of memory");
fail:
    if (message != NULL && message_size > 0)
        snprintf(message, message_size, "%s", why);
    mayfly_client_free(client);
    return NULL;
}

void mayfly_client_free(struct mayfly_client *client)
{
    if (client == NULL)
        return;
    mf_calls_free(client);
    mf_client_watches_free(client);
    for (size_t i = 0; i < client->link_count; i++)
        mf_link_free(client->links[i]);
    mf_route_free(client);
    mf_loop_free(client);
    mf_value_space_free(&client->space);
    free(client->held.data);
    free(client->endpoints);
    free(client->user);
    if (client->password != NULL)
        explicit_bzero(client->password, strlen(client->password));
    free(client->password);
    free(client->name);
    free(client);
}

enum mayfly_err mayfly_client_connect(struct mayfly_client *client)
{
    struct mf_link *link = client->links[0];
    if (client->in_callback)
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST, "called from a callback");
    if (link->state != MF_LINK_READY) {
        link->failures = 0;
        link->reopen_us = 0;
    }
    uint32_t rounds = link->rounds;
    client->greeting_err = MAYFLY_OK;
    client->wanted = true;
    while (link->state != MF_LINK_READY && link->rounds == rounds &&
           client->greeting_err == MAYFLY_OK)
        (void)mf_loop_turn(client, LONG_WAIT_US);
    client->wanted = false;
    if (link->state == MF_LINK_READY)
        return MAYFLY_OK;
    char tried[MF_CLIENT_TEXT_MAX - 64];
    mf_endpoints_describe(link, tried, sizeof tried);
    if (client->greeting_err != MAYFLY_OK)
        return mf_client_refuse(client, client->greeting_err, "tried %s", tried);
    return mf_client_refuse(client, MAYFLY_ERR_UNREACHABLE, "no endpoint answers; tried %s", tried);
}

void mayfly_client_set_timeout(struct mayfly_client *client, uint32_t timeout_ms)
{
    client->timeout_ms = timeout_ms > 0 ? timeout_ms : TIMEOUT_MS;
}

const char *mayfly_client_error(const struct mayfly_client *client)
{
    return client->error_text;
}

const char *mayfly_client_endpoint(const struct mayfly_client *client)
{
    const struct mf_link *link = client->links[0];
    return link->state == MF_LINK_READY ? link->endpoints[link->at].name : "";
}

const char *mayfly_version(void)
{
    return MF_VERSION;
}

enum mayfly_err mayfly_submit(struct mayfly_client *client, const struct mayfly_request *request,
                              mayfly_done *done, void *cookie)
{
    return mf_calls_add(client, request, done, cookie);
}

size_t mayfly_pending(const struct mayfly_client *client)
{
    return mf_calls_pending(client);
}

static bool is_idle(const struct mayfly_client *client)
{
    return mf_calls_pending(client) == 0 && !mf_client_watches_wanted(client);
}

size_t mayfly_poll(struct mayfly_client *client, int timeout_ms)
{
    if (client->in_callback)
        return 0;
    size_t before = client->completed;
    uint64_t now_us = client->clock_us();
    uint64_t until_us = timeout_ms < 0 ? UINT64_MAX : now_us + (uint64_t)timeout_ms * 1000;
    bool uninterrupted = true;
    do {
        uint64_t left_us = until_us > now_us && !is_idle(client) ? until_us - now_us : 0;
        uninterrupted = mf_loop_turn(client, left_us < LONG_WAIT_US ? left_us : LONG_WAIT_US);
        now_us = client->clock_us();
    } while (uninterrupted && client->completed == before && now_us < until_us && !is_idle(client));
    return client->completed - before;
}

void mayfly_drain(struct mayfly_client *client)
{
    while (mf_calls_pending(client) > 0 && !client->in_callback)
        (void)mayfly_poll(client, -1);
}
