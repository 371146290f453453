// A thread of mayfly-bench; see worker.h.
//
// Without a rate every client keeps `pipeline` requests under way: each answer begins the next, and
// a latency counts from the submission. With a rate a request is due at its time whether there is
// room for it or not, and its latency counts from then: a slow server cannot make its own figures
// look better by being asked less (coordinated omission).
//
// A set writes the key's number at the head of the value, so a get knows what it must return. An
// incr counts on keys of this run alone, whose sum is known at the end.
#include "bench/load/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"

#define HEAD_BYTES 16 // of a value: the key's number
#define FILL_IN_FLIGHT 256u
#define COUNTER_TTL_MS 3600000
#define EVENTS_MAX 64
#define LONGEST_WAIT_US 100000u

struct load_call {
    struct load_client *client;
    struct load_call *next; // while it is free
    enum load_kind kind;
    uint64_t key;
    uint64_t due_us;
};

struct load_client {
    struct load_worker *worker;
    struct mayfly_client *client;
    struct load_call *free_calls;
};

struct mayfly_bytes load_key(char *out, uint64_t number)
{
    int len = snprintf(out, LOAD_KEY_BYTES, "bench:%" PRIu64, number);
    return (struct mayfly_bytes){out, (size_t)len};
}

struct mayfly_bytes load_counter_key(const struct load_run *run, char *out, uint64_t number)
{
    int len = snprintf(out, LOAD_KEY_BYTES, "bench-count:%016" PRIx64 ":%" PRIu64, run->number,
                       number % LOAD_COUNTERS);
    return (struct mayfly_bytes){out, (size_t)len};
}

// Life cycle.

static bool open_client(struct load_worker *worker, struct load_client *client)
{
    const struct load_plan *plan = worker->run->plan;
    const struct mayfly_client_options options = {
        .endpoints = plan->endpoints,
        .user = plan->user,
        .password = plan->password,
        .name = "mayfly-bench",
        .timeout_ms = plan->timeout_ms,
        .window = plan->pipeline > FILL_IN_FLIGHT ? plan->pipeline : FILL_IN_FLIGHT,
        .route = plan->direct ? MAYFLY_ROUTE_LEADERS : MAYFLY_ROUTE_NONE,
    };
    char message[256];
    client->worker = worker;
    client->client = mayfly_client_new(&options, message, sizeof(message));
    if (client->client == NULL) {
        fprintf(stderr, "mayfly-bench: %s\n", message);
        return false;
    }
    if (mayfly_client_connect(client->client) != MAYFLY_OK) {
        fprintf(stderr, "mayfly-bench: %s\n", mayfly_client_error(client->client));
        return false;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(worker->events, EPOLL_CTL_ADD, mayfly_client_fd(client->client), &event) == 0)
        return true;
    fprintf(stderr, "mayfly-bench: epoll_ctl: %s\n", strerror(errno));
    return false;
}

bool load_worker_open(struct load_worker *worker, const struct load_run *run, uint32_t index)
{
    const struct load_plan *plan = run->plan;
    uint32_t count = plan->clients / plan->threads + (index < plan->clients % plan->threads);
    *worker = (struct load_worker){.run = run, .index = index, .client_count = count};
    mf_entropy(&worker->rand.state, sizeof(worker->rand.state));
    worker->interval_us = plan->rate > 0 ? 1e6 * plan->threads / (double)plan->rate : 0;
    worker->value = mf_alloc(plan->value_bytes);
    memset(worker->value, 'v', plan->value_bytes);
    worker->clients = mf_calloc(count, sizeof(*worker->clients));
    worker->calls = mf_calloc((size_t)count * plan->pipeline, sizeof(*worker->calls));
    worker->events = epoll_create1(EPOLL_CLOEXEC);
    if (worker->events < 0) {
        fprintf(stderr, "mayfly-bench: epoll_create1: %s\n", strerror(errno));
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct load_client *client = &worker->clients[i];
        if (!open_client(worker, client))
            return false;
        for (uint32_t k = 0; k < plan->pipeline; k++) {
            struct load_call *call = &worker->calls[(size_t)i * plan->pipeline + k];
            *call = (struct load_call){.client = client, .next = client->free_calls};
            client->free_calls = call;
        }
    }
    return true;
}

void load_worker_free(struct load_worker *worker)
{
    for (uint32_t i = 0; i < worker->client_count; i++)
        mayfly_client_free(worker->clients[i].client);
    if (worker->events >= 0)
        close(worker->events);
    free(worker->clients);
    free(worker->calls);
    free(worker->value);
}

struct mayfly_client *load_worker_client(struct load_worker *worker)
{
    return worker->clients[0].client;
}

// Requests.

static struct mayfly_bytes value_of(struct load_worker *worker, uint64_t key)
{
    char head[HEAD_BYTES + 1];
    snprintf(head, sizeof(head), "%0*" PRIx64, HEAD_BYTES, key);
    memcpy(worker->value, head, HEAD_BYTES);
    return (struct mayfly_bytes){worker->value, worker->run->plan->value_bytes};
}

static struct mayfly_options set_options(const struct load_plan *plan)
{
    return (struct mayfly_options){.flags = plan->ttl_ms > 0 ? MAYFLY_FLAG_TTL : 0,
                                   .ttl_ms = plan->ttl_ms};
}

// "If the key is there, write it anew and read it": a condition and two methods in one shard.
static enum mayfly_err submit_txn(struct load_call *call, mayfly_done *done)
{
    struct load_worker *worker = call->client->worker;
    char text[LOAD_KEY_BYTES];
    struct mayfly_bytes key = load_key(text, call->key);
    struct mayfly_bytes value = value_of(worker, call->key);
    const struct mayfly_request then[] = {
        {.method = MAYFLY_METHOD_SET,
         .keys = &key,
         .values = &value,
         .count = 1,
         .options = set_options(worker->run->plan)},
        {.method = MAYFLY_METHOD_GET, .keys = &key, .count = 1},
    };
    const struct mayfly_condition condition = {
        .key = key, .subject = MAYFLY_SUBJECT_EXISTS, .relation = MAYFLY_EQUAL, .exists = true};
    const struct mayfly_txn txn = {
        .conditions = &condition, .condition_count = 1, .then = then, .then_count = 2};
    const struct mayfly_request request = {.method = MAYFLY_METHOD_TXN, .txn = &txn};
    return mayfly_submit(call->client->client, &request, done, call);
}

static enum mayfly_err submit(struct load_call *call, mayfly_done *done)
{
    struct load_worker *worker = call->client->worker;
    const struct load_plan *plan = worker->run->plan;
    char text[LOAD_KEY_BYTES];
    struct mayfly_bytes key = load_key(text, call->key);
    struct mayfly_bytes value;
    struct mayfly_request request = {.keys = &key, .count = 1};
    switch (call->kind) {
    case LOAD_GET:
        request.method = MAYFLY_METHOD_GET;
        request.options.flags = plan->local ? MAYFLY_FLAG_LOCAL : 0;
        break;
    case LOAD_SET:
        request.method = MAYFLY_METHOD_SET;
        value = value_of(worker, call->key);
        request.values = &value;
        request.options = set_options(plan);
        break;
    case LOAD_INCR:
        request.method = MAYFLY_METHOD_INCR;
        key = load_counter_key(worker->run, text, call->key);
        request.delta = 1;
        request.options =
            (struct mayfly_options){.flags = MAYFLY_FLAG_TTL, .ttl_ms = COUNTER_TTL_MS};
        break;
    case LOAD_DEL:
        request.method = MAYFLY_METHOD_DEL;
        break;
    default:
        return submit_txn(call, done);
    }
    return mayfly_submit(call->client->client, &request, done, call);
}

// Answers.

// Nil is right, too: deleted, dead, or never set.
static bool is_value_of(const struct load_worker *worker, uint64_t key,
                        const struct mayfly_value *value)
{
    char head[HEAD_BYTES + 1];
    snprintf(head, sizeof(head), "%0*" PRIx64, HEAD_BYTES, key);
    return value->type == MAYFLY_TYPE_NIL || (value->type == MAYFLY_TYPE_BYTES &&
                                              value->bytes.len == worker->run->plan->value_bytes &&
                                              memcmp(value->bytes.data, head, HEAD_BYTES) == 0);
}

static bool txn_is_right(const struct load_worker *worker, uint64_t key,
                         const struct mayfly_value *value)
{
    const struct mayfly_value *ok = mayfly_value_at(value, "ok");
    const struct mayfly_value *results = mayfly_value_at(value, "results");
    if (ok == NULL || ok->type != MAYFLY_TYPE_BOOL || results == NULL ||
        results->type != MAYFLY_TYPE_ARRAY)
        return false;
    if (!ok->boolean)
        return results->count == 0;
    return results->count == 2 && results->items[1].type == MAYFLY_TYPE_BYTES &&
           is_value_of(worker, key, &results->items[1]);
}

static bool is_right(const struct load_worker *worker, const struct load_call *call,
                     const struct mayfly_value *value)
{
    switch (call->kind) {
    case LOAD_GET:
        return is_value_of(worker, call->key, value);
    case LOAD_SET:
        return mayfly_value_at(value, "version") != NULL;
    case LOAD_INCR:
        return value->type == MAYFLY_TYPE_INT && value->integer > 0;
    case LOAD_DEL:
        return value->type == MAYFLY_TYPE_INT && value->integer >= 0 && value->integer <= 1;
    default:
        return txn_is_right(worker, call->key, value);
    }
}

static void note_error(struct load_worker *worker, const struct load_call *call,
                       enum mayfly_err err, const char *message)
{
    struct load_figures *figures = &worker->figures;
    figures->errors[call->kind]++;
    figures->unsure = figures->unsure || call->kind == LOAD_INCR;
    atomic_fetch_add_explicit(&worker->failed, 1, memory_order_relaxed);
    if (figures->first_error[0] == '\0')
        snprintf(figures->first_error, sizeof(figures->first_error), "%s: %s: %.200s",
                 load_kind_name(call->kind), mayfly_err_name(err), message);
}

static void give_back(struct load_call *call)
{
    call->next = call->client->free_calls;
    call->client->free_calls = call;
}

static void begin(struct load_call *call, uint64_t due_us);

static void on_answer(void *cookie, const struct mayfly_reply *reply)
{
    struct load_call *call = cookie;
    struct load_worker *worker = call->client->worker;
    const struct load_run *run = worker->run;
    struct load_figures *figures = &worker->figures;
    uint64_t now_us = mf_mono_us();
    worker->under_way--;
    atomic_fetch_add_explicit(&worker->answered, 1, memory_order_relaxed);
    figures->resent += reply->attempts > 1 ? reply->attempts - 1 : 0;
    if (reply->err != MAYFLY_OK) {
        note_error(worker, call, reply->err, reply->message);
    } else {
        figures->wrong += !is_right(worker, call, reply->value);
        figures->added += call->kind == LOAD_INCR;
        if (call->due_us >= run->measure_us && call->due_us < run->end_us)
            mf_hist_add(&figures->took_us[call->kind], now_us - call->due_us);
    }
    if (run->plan->rate == 0 && now_us < run->end_us)
        begin(call, now_us);
    else
        give_back(call);
}

static enum load_kind choose_kind(struct load_worker *worker)
{
    const uint32_t *mix = worker->run->plan->mix;
    uint64_t sum = 0;
    for (unsigned i = 0; i < LOAD_KINDS; i++)
        sum += mix[i];
    uint64_t at = mf_rand_below(&worker->rand, sum);
    unsigned kind = 0;
    while (at >= mix[kind])
        at -= mix[kind++];
    return (enum load_kind)kind;
}

static void begin(struct load_call *call, uint64_t due_us)
{
    struct load_worker *worker = call->client->worker;
    call->kind = choose_kind(worker);
    call->key = load_keys_next(&worker->run->keys, &worker->rand);
    call->due_us = due_us;
    enum mayfly_err err = submit(call, on_answer);
    if (err == MAYFLY_OK) {
        worker->under_way++;
        return;
    }
    note_error(worker, call, err, mayfly_client_error(call->client->client));
    give_back(call);
}

// The run.

// A call of some client that has room; NULL when all are busy.
static struct load_call *take_call(struct load_worker *worker)
{
    for (uint32_t i = 0; i < worker->client_count; i++) {
        struct load_client *client = &worker->clients[worker->turn];
        worker->turn = (worker->turn + 1) % worker->client_count;
        struct load_call *call = client->free_calls;
        if (call != NULL) {
            client->free_calls = call->next;
            return call;
        }
    }
    return NULL;
}

// With a rate: when the next request is due. The workers' times lie between each other.
static uint64_t next_due_us(const struct load_worker *worker)
{
    const struct load_run *run = worker->run;
    double share = (double)worker->index / run->plan->threads;
    return run->begin_us + (uint64_t)(((double)worker->begun + share) * worker->interval_us);
}

static void begin_due(struct load_worker *worker, uint64_t now_us)
{
    uint64_t due_us;
    while ((due_us = next_due_us(worker)) <= now_us && due_us < worker->run->end_us) {
        struct load_call *call = take_call(worker);
        if (call == NULL)
            return; // an answer makes room
        worker->begun++;
        begin(call, due_us);
    }
}

// What has come, or comes within this time, is taken, and what the answers begin is sent at once.
static void take_answers(struct load_worker *worker, uint64_t wait_us)
{
    struct epoll_event events[EVENTS_MAX];
    if (wait_us > LONGEST_WAIT_US)
        wait_us = LONGEST_WAIT_US;
    struct timespec wait = {.tv_nsec = (long)wait_us * 1000};
    int count = epoll_pwait2(worker->events, events, EVENTS_MAX, &wait, NULL);
    for (int i = 0; i < count; i++) {
        struct load_client *client = events[i].data.ptr;
        if (mayfly_poll(client->client, 0) > 0)
            (void)mayfly_poll(client->client, 0);
    }
}

void *load_worker_run(void *arg)
{
    struct load_worker *worker = arg;
    const struct load_run *run = worker->run;
    bool paced = run->plan->rate > 0;
    struct load_call *call;
    while (!paced && (call = take_call(worker)) != NULL)
        begin(call, mf_mono_us());
    for (;;) {
        uint64_t now_us = mf_mono_us();
        if (paced)
            begin_due(worker, now_us);
        if (now_us >= run->end_us && worker->under_way == 0)
            break;
        uint64_t wait_us = LONGEST_WAIT_US;
        uint64_t next_us = paced ? next_due_us(worker) : run->end_us;
        // What is due already waits for room.
        if (next_us > now_us && next_us - now_us < wait_us)
            wait_us = next_us - now_us;
        take_answers(worker, wait_us);
    }
    while (paced && next_due_us(worker) < run->end_us) {
        worker->begun++;
        worker->figures.skipped++;
    }
    return NULL;
}

// Filling.

static void on_filled(void *cookie, const struct mayfly_reply *reply)
{
    struct load_worker *worker = cookie;
    char *first = worker->figures.first_error;
    if (reply->err != MAYFLY_OK && first[0] == '\0')
        snprintf(first, sizeof(worker->figures.first_error), "%s: %.200s",
                 mayfly_err_name(reply->err), reply->message);
}

bool load_worker_fill(struct load_worker *worker)
{
    const struct load_plan *plan = worker->run->plan;
    struct mayfly_client *client = worker->clients[0].client;
    char *first = worker->figures.first_error;
    for (uint64_t i = worker->index; i < plan->keys && first[0] == '\0'; i += plan->threads) {
        char text[LOAD_KEY_BYTES];
        struct mayfly_bytes key = load_key(text, i);
        struct mayfly_bytes value = value_of(worker, i);
        const struct mayfly_request request = {.method = MAYFLY_METHOD_SET,
                                               .keys = &key,
                                               .values = &value,
                                               .count = 1,
                                               .options = set_options(plan)};
        enum mayfly_err err;
        while ((err = mayfly_submit(client, &request, on_filled, worker)) == MAYFLY_ERR_WINDOW_FULL)
            (void)mayfly_poll(client, -1);
        if (err != MAYFLY_OK)
            snprintf(first, sizeof(worker->figures.first_error), "%s", mayfly_client_error(client));
    }
    mayfly_drain(client);
    if (first[0] != '\0')
        fprintf(stderr, "mayfly-bench: setting the keys: %s\n", first);
    return first[0] == '\0';
}
