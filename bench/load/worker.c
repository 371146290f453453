// A thread of mayfly-bench; see worker.h.
//
// Without a rate every client keeps `pipeline` requests under way: each answer begins the next, and
// a latency counts from the submission. With a rate a request is due at its time whether there is
// room for it or not, and its latency counts from then: a slow server cannot make its own figures
// look better by being asked less (coordinated omission).
//
// The keys are set before, and the counters read after, by the same loop and the same clients.
#include "bench/load/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/bytes.h"
#include "base/clock.h"

// Of a thread, while it sets the keys, but for one request of each client: what is under way is
// answered within the timeout even where the servers store a megabyte a second.
#define FILL_UNDER_WAY 256u
#define FILL_BYTES_UNDER_WAY ((size_t)1 << 20)
#define LONGEST_WAIT_US 100000u
#define NEAR_DRAWS 1000u

static bool begin_next(struct load_call *call, uint64_t due_us);

// Life cycle.

static uint32_t calls_of_client(const struct load_plan *plan, uint32_t clients)
{
    size_t filling = FILL_BYTES_UNDER_WAY / plan->value_bytes;
    if (filling > FILL_UNDER_WAY)
        filling = FILL_UNDER_WAY;
    uint32_t count = ((uint32_t)filling + clients - 1) / clients;
    if (count > plan->protocol->pipeline_max)
        count = plan->protocol->pipeline_max;
    return count > plan->pipeline ? count : plan->pipeline;
}

bool load_worker_open(struct load_worker *worker, const struct load_run *run, uint32_t index)
{
    const struct load_plan *plan = run->plan;
    uint32_t count = plan->clients / plan->threads + (index < plan->clients % plan->threads);
    *worker = (struct load_worker){.run = run, .index = index, .client_count = count};
    mf_entropy(&worker->rand.state, sizeof(worker->rand.state));
    worker->stamp = (uint32_t)mf_rand_next(&worker->rand);
    worker->interval_us = plan->rate > 0 ? 1e6 * plan->threads / (double)plan->rate : 0;
    worker->client_calls = calls_of_client(plan, count);
    worker->clients = mf_calloc(count, sizeof(*worker->clients));
    worker->calls = mf_calloc((size_t)count * worker->client_calls, sizeof(*worker->calls));
    for (uint32_t i = 0; i < count; i++) {
        struct load_client *client = &worker->clients[i];
        *client = (struct load_client){.worker = worker, .index = i * plan->threads + index};
        for (uint32_t k = 0; k < worker->client_calls; k++) {
            struct load_call *call = &worker->calls[(size_t)i * worker->client_calls + k];
            *call = (struct load_call){.client = client, .next = client->free_calls};
            client->free_calls = call;
        }
    }
    return plan->protocol->open(worker);
}

void load_worker_free(struct load_worker *worker)
{
    worker->run->plan->protocol->close(worker);
    mf_buf_free(&worker->scratch);
    free(worker->clients);
    free(worker->calls);
}

// For protocols.

size_t load_call_key(const struct load_call *call, char *out)
{
    return call->counter ? load_counter_key(out, call->client->worker->run->number, call->key)
                         : load_key(out, call->key);
}

void load_call_value(const struct load_call *call, uint8_t *out)
{
    struct load_worker *worker = call->client->worker;
    load_value_make(out, worker->run->plan->value_bytes, call->key, worker->stamp++);
}

// Answers.

static bool value_is_right(struct load_worker *worker, const struct load_call *call,
                           const struct load_answer *answer)
{
    const struct load_plan *plan = worker->run->plan;
    if (answer->len != plan->value_bytes)
        return false;
    if (++worker->unchecked < plan->check_every)
        return true;
    worker->unchecked = 0;
    worker->figures.checked++;
    return load_value_is_right(answer->data, answer->len, call->key);
}

// Nil is right for a get, too: deleted, dead, or never set.
static bool is_right(struct load_worker *worker, const struct load_call *call,
                     const struct load_answer *answer)
{
    switch (call->kind) {
    case LOAD_GET:
    case LOAD_TXN:
        return answer->type == LOAD_NIL ||
               (answer->type == LOAD_BYTES && value_is_right(worker, call, answer));
    case LOAD_SET:
        return answer->type == LOAD_DONE;
    case LOAD_INCR:
        return answer->type == LOAD_INTEGER && answer->integer > 0;
    default:
        return answer->type == LOAD_INTEGER && answer->integer <= 1;
    }
}

static bool count_counter(struct load_worker *worker, const struct load_answer *answer)
{
    uint64_t number = 0;
    bool fine = answer->type == LOAD_NIL ||
                (answer->type == LOAD_BYTES && load_number(answer->data, answer->len, &number));
    worker->figures.counted += number;
    return fine;
}

static void note_failure(struct load_worker *worker, const struct load_call *call, const char *text,
                         size_t len)
{
    struct load_figures *figures = &worker->figures;
    figures->failed[call->kind]++;
    figures->unsure = figures->unsure || call->kind == LOAD_INCR;
    worker->gave_up = true;
    load_errors_add(&figures->errors, load_kind_name(call->kind), text, len);
    atomic_store_explicit(&worker->failed,
                          atomic_load_explicit(&worker->failed, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static void note_answer(struct load_worker *worker, const struct load_call *call,
                        const struct load_answer *answer)
{
    const struct load_run *run = worker->run;
    struct load_figures *figures = &worker->figures;
    figures->resent += call->attempts - 1;
    if (answer->type == LOAD_FAILED) {
        note_failure(worker, call, answer->data, answer->len);
        return;
    }
    if (run->phase == LOAD_COUNT)
        figures->wrong += !count_counter(worker, answer);
    else
        figures->wrong += !is_right(worker, call, answer);
    if (run->phase != LOAD_MEASURE)
        return;
    figures->added += call->kind == LOAD_INCR;
    if (call->due_us >= run->measure_us && call->due_us < run->end_us)
        mf_hist_add(&figures->took_us[call->kind],
                    worker->now_us > call->due_us ? worker->now_us - call->due_us : 0);
}

static void give_back(struct load_call *call)
{
    struct load_client *client = call->client;
    call->next = client->free_calls;
    client->free_calls = call;
    client->under_way--;
    client->worker->under_way--;
}

void load_call_answered(struct load_call *call, const struct load_answer *answer)
{
    struct load_worker *worker = call->client->worker;
    atomic_store_explicit(&worker->answered,
                          atomic_load_explicit(&worker->answered, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    note_answer(worker, call, answer);
    bool paced = worker->interval_us > 0 && worker->run->phase == LOAD_MEASURE;
    if (paced || !begin_next(call, worker->now_us))
        give_back(call);
}

// Requests.

static enum load_kind choose_kind(struct load_worker *worker)
{
    const uint32_t *mix = worker->run->plan->mix;
    uint64_t at = mf_rand_below(&worker->rand, worker->run->mix_sum);
    unsigned kind = 0;
    while (at >= mix[kind])
        at -= mix[kind++];
    return (enum load_kind)kind;
}

// With --one-node a key of the client's own node, unless so many others are drawn that it can have
// hardly any.
static void choose_key(struct load_call *call)
{
    struct load_worker *worker = call->client->worker;
    const struct load_run *run = worker->run;
    unsigned draws = run->plan->one_node ? NEAR_DRAWS : 1;
    do
        call->key = load_keys_next(&run->keys, &worker->rand);
    while (--draws > 0 && !run->plan->protocol->is_near(call));
}

// What the phase asks next; false when it asks no more.
static bool choose(struct load_call *call, uint64_t due_us)
{
    struct load_worker *worker = call->client->worker;
    const struct load_run *run = worker->run;
    if (run->phase == LOAD_MEASURE) {
        call->kind = choose_kind(worker);
        call->counter = call->kind == LOAD_INCR;
        choose_key(call);
        return due_us < run->end_us;
    }
    bool filling = run->phase == LOAD_FILL;
    call->kind = filling ? LOAD_SET : run->phase == LOAD_COUNT ? LOAD_GET : LOAD_DEL;
    call->counter = !filling;
    call->key = worker->next;
    worker->next += run->plan->threads;
    return call->key < (filling ? run->plan->keys : LOAD_COUNTERS) && !worker->gave_up;
}

// Sends the next request by a call that has none; false when there is none to send.
static bool begin_next(struct load_call *call, uint64_t due_us)
{
    char why[LOAD_ERROR_BYTES];
    if (!choose(call, due_us))
        return false;
    call->due_us = due_us;
    call->attempts = 1;
    if (call->client->worker->run->plan->protocol->submit(call, why, sizeof(why)))
        return true;
    note_failure(call->client->worker, call, why, strlen(why));
    return false;
}

// A call of some client that has room; NULL when all are busy.
static struct load_call *take_call(struct load_worker *worker)
{
    uint32_t room =
        worker->run->phase == LOAD_MEASURE ? worker->run->plan->pipeline : worker->client_calls;
    for (uint32_t i = 0; i < worker->client_count; i++) {
        struct load_client *client = &worker->clients[worker->turn];
        worker->turn = worker->turn + 1 < worker->client_count ? worker->turn + 1 : 0;
        struct load_call *call = client->free_calls;
        if (call != NULL && client->under_way < room) {
            client->free_calls = call->next;
            client->under_way++;
            worker->under_way++;
            return call;
        }
    }
    return NULL;
}

// The run.

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
        if (!begin_next(call, due_us))
            give_back(call);
    }
}

static void begin_all(struct load_worker *worker)
{
    struct load_call *call;
    while ((call = take_call(worker)) != NULL) {
        if (!begin_next(call, worker->now_us)) {
            give_back(call);
            return;
        }
    }
}

void *load_worker_run(void *arg)
{
    struct load_worker *worker = arg;
    const struct load_run *run = worker->run;
    const struct load_protocol *protocol = run->plan->protocol;
    bool timed = run->phase == LOAD_MEASURE;
    bool paced = timed && run->plan->rate > 0;
    if (paced) // or a sleep is 50 microseconds longer than it says
        (void)prctl(PR_SET_TIMERSLACK, 1UL);
    worker->next = worker->index;
    worker->gave_up = false;
    worker->now_us = mf_mono_us();
    if (!paced)
        begin_all(worker);
    for (;;) {
        uint64_t now_us = worker->now_us = mf_mono_us();
        if (paced)
            begin_due(worker, now_us);
        if (worker->under_way == 0 && (!timed || now_us >= run->end_us))
            break;
        uint64_t wait_us = LONGEST_WAIT_US;
        uint64_t next_us = paced ? next_due_us(worker) : timed ? run->end_us : 0;
        // What is due already waits for room.
        if (next_us > now_us && next_us - now_us < wait_us)
            wait_us = next_us - now_us;
        protocol->turn(worker, wait_us);
    }
    while (paced && next_due_us(worker) < run->end_us) {
        worker->begun++;
        worker->figures.skipped++;
    }
    return NULL;
}
