// MessagePack-RPC for mayfly-bench, by libmayfly: what users of the library get, with its routing,
// its ids of writes and its second attempts.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bench/load/worker.h"
#include "mayfly/client.h"

#define COUNTER_TTL_MS 3600000
#define EVENTS_MAX 64

struct rpc {
    int events; // epoll descriptor
    uint8_t *value;
};

static bool rpc_begin(struct load_run *run)
{
    (void)run;
    return true;
}

static void rpc_end(struct load_run *run)
{
    (void)run;
}

static bool open_client(struct load_worker *worker, struct load_client *client)
{
    const struct load_plan *plan = worker->run->plan;
    const struct rpc *rpc = worker->own;
    const struct mayfly_client_options options = {
        .endpoints = plan->endpoints,
        .user = plan->user,
        .password = plan->password,
        .name = "mayfly-bench",
        .timeout_ms = plan->timeout_ms,
        .window = worker->client_calls,
        .route = plan->direct ? MAYFLY_ROUTE_LEADERS : MAYFLY_ROUTE_NONE,
    };
    char message[256];
    client->own = mayfly_client_new(&options, message, sizeof(message));
    if (client->own == NULL) {
        fprintf(stderr, "mayfly-bench: %s\n", message);
        return false;
    }
    if (mayfly_client_connect(client->own) != MAYFLY_OK) {
        fprintf(stderr, "mayfly-bench: %s\n", mayfly_client_error(client->own));
        return false;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(rpc->events, EPOLL_CTL_ADD, mayfly_client_fd(client->own), &event) == 0)
        return true;
    fprintf(stderr, "mayfly-bench: epoll_ctl: %s\n", strerror(errno));
    return false;
}

static bool rpc_open(struct load_worker *worker)
{
    struct rpc *rpc = mf_calloc(1, sizeof(*rpc));
    worker->own = rpc;
    rpc->value = mf_alloc(worker->run->plan->value_bytes);
    rpc->events = epoll_create1(EPOLL_CLOEXEC);
    if (rpc->events < 0) {
        fprintf(stderr, "mayfly-bench: epoll_create1: %s\n", strerror(errno));
        return false;
    }
    bool fine = true;
    for (uint32_t i = 0; fine && i < worker->client_count; i++)
        fine = open_client(worker, &worker->clients[i]);
    return fine;
}

static void rpc_close(struct load_worker *worker)
{
    struct rpc *rpc = worker->own;
    for (uint32_t i = 0; i < worker->client_count; i++)
        mayfly_client_free(worker->clients[i].own);
    if (rpc->events >= 0)
        close(rpc->events);
    free(rpc->value);
    free(rpc);
}

// Answers.

static struct load_answer bytes_or_nil(const struct mayfly_value *value)
{
    if (value->type == MAYFLY_TYPE_NIL)
        return (struct load_answer){.type = LOAD_NIL};
    if (value->type == MAYFLY_TYPE_BYTES)
        return (struct load_answer){
            .type = LOAD_BYTES, .data = value->bytes.data, .len = value->bytes.len};
    return (struct load_answer){.type = LOAD_STRANGE};
}

static struct load_answer txn_answer(const struct mayfly_value *value)
{
    const struct load_answer strange = {.type = LOAD_STRANGE};
    const struct mayfly_value *ok = mayfly_value_at(value, "ok");
    const struct mayfly_value *results = mayfly_value_at(value, "results");
    if (ok == NULL || ok->type != MAYFLY_TYPE_BOOL || results == NULL ||
        results->type != MAYFLY_TYPE_ARRAY || results->count != (ok->boolean ? 2 : 0))
        return strange;
    if (!ok->boolean)
        return (struct load_answer){.type = LOAD_NIL};
    struct load_answer answer = bytes_or_nil(&results->items[1]);
    return answer.type == LOAD_BYTES ? answer : strange;
}

static struct load_answer answer_of(const struct load_call *call, const struct mayfly_value *value)
{
    switch (call->kind) {
    case LOAD_GET:
        return bytes_or_nil(value);
    case LOAD_SET:
        return (struct load_answer){
            .type = mayfly_value_at(value, "version") != NULL ? LOAD_DONE : LOAD_STRANGE};
    case LOAD_TXN:
        return txn_answer(value);
    default:
        if (value->type != MAYFLY_TYPE_INT || value->integer < 0)
            return (struct load_answer){.type = LOAD_STRANGE};
        return (struct load_answer){.type = LOAD_INTEGER, .integer = (uint64_t)value->integer};
    }
}

static void on_answer(void *cookie, const struct mayfly_reply *reply)
{
    struct load_call *call = cookie;
    struct load_answer answer;
    char text[LOAD_ERROR_BYTES];
    call->client->worker->now_us = mf_mono_us();
    call->attempts = reply->attempts > 0 ? reply->attempts : 1;
    if (reply->err == MAYFLY_OK) {
        answer = answer_of(call, reply->value);
    } else {
        snprintf(text, sizeof(text), "%s: %s", mayfly_err_name(reply->err), reply->message);
        answer = (struct load_answer){.type = LOAD_FAILED, .data = text, .len = strlen(text)};
    }
    load_call_answered(call, &answer);
}

// Requests.

static struct mayfly_bytes value_of(const struct load_call *call)
{
    const struct load_worker *worker = call->client->worker;
    const struct rpc *rpc = worker->own;
    load_call_value(call, rpc->value);
    return (struct mayfly_bytes){rpc->value, worker->run->plan->value_bytes};
}

static struct mayfly_options set_options(const struct load_plan *plan)
{
    return (struct mayfly_options){.flags = plan->ttl_ms > 0 ? MAYFLY_FLAG_TTL : 0,
                                   .ttl_ms = plan->ttl_ms};
}

// "If the key is there, write it anew and read it": a condition and two methods in one shard.
static enum mayfly_err submit_txn(struct load_call *call, struct mayfly_bytes key)
{
    struct mayfly_bytes value = value_of(call);
    const struct mayfly_request then[] = {
        {.method = MAYFLY_METHOD_SET,
         .keys = &key,
         .values = &value,
         .count = 1,
         .options = set_options(call->client->worker->run->plan)},
        {.method = MAYFLY_METHOD_GET, .keys = &key, .count = 1},
    };
    const struct mayfly_condition condition = {
        .key = key, .subject = MAYFLY_SUBJECT_EXISTS, .relation = MAYFLY_EQUAL, .exists = true};
    const struct mayfly_txn txn = {
        .conditions = &condition, .condition_count = 1, .then = then, .then_count = 2};
    const struct mayfly_request request = {.method = MAYFLY_METHOD_TXN, .txn = &txn};
    return mayfly_submit(call->client->own, &request, on_answer, call);
}

static enum mayfly_err submit_kind(struct load_call *call)
{
    const struct load_plan *plan = call->client->worker->run->plan;
    char text[LOAD_KEY_BYTES];
    struct mayfly_bytes key = {text, load_call_key(call, text)};
    struct mayfly_bytes value;
    struct mayfly_request request = {.keys = &key, .count = 1};
    switch (call->kind) {
    case LOAD_GET:
        request.method = MAYFLY_METHOD_GET;
        request.options.flags = plan->local && !call->counter ? MAYFLY_FLAG_LOCAL : 0;
        break;
    case LOAD_SET:
        request.method = MAYFLY_METHOD_SET;
        value = value_of(call);
        request.values = &value;
        request.options = set_options(plan);
        break;
    case LOAD_INCR:
        request.method = MAYFLY_METHOD_INCR;
        request.delta = 1;
        request.options =
            (struct mayfly_options){.flags = MAYFLY_FLAG_TTL, .ttl_ms = COUNTER_TTL_MS};
        break;
    case LOAD_DEL:
        request.method = MAYFLY_METHOD_DEL;
        break;
    default:
        return submit_txn(call, key);
    }
    return mayfly_submit(call->client->own, &request, on_answer, call);
}

static bool rpc_submit(struct load_call *call, char *why, size_t size)
{
    enum mayfly_err err = submit_kind(call);
    if (err != MAYFLY_OK)
        snprintf(why, size, "%s: %s", mayfly_err_name(err), mayfly_client_error(call->client->own));
    return err == MAYFLY_OK;
}

// What has come, or comes within this time, is taken, and what the answers begin is sent at once.
static void rpc_turn(struct load_worker *worker, uint64_t wait_us)
{
    const struct rpc *rpc = worker->own;
    struct epoll_event events[EVENTS_MAX];
    struct timespec wait = {.tv_nsec = (long)wait_us * 1000};
    int count = epoll_pwait2(rpc->events, events, EVENTS_MAX, &wait, NULL);
    for (int i = 0; i < count; i++) {
        const struct load_client *client = events[i].data.ptr;
        (void)mayfly_poll(client->own, 0);
    }
}

const struct load_protocol load_rpc = {
    .name = "rpc",
    .endpoints = "127.0.0.1:7001",
    .kinds = (1u << LOAD_KINDS) - 1,
    .pipeline_max = 4096,
    .has_passwords = true,
    .has_ttl = true,
    .begin = rpc_begin,
    .end = rpc_end,
    .open = rpc_open,
    .close = rpc_close,
    .submit = rpc_submit,
    .turn = rpc_turn,
};
