// Callers of libmayfly that keep books while somebody else kills the nodes, and a watcher who
// checks them: what was acknowledged is what is there, and every change was told once and in its
// order.
//
//     client_books ENDPOINTS [TIMEOUT_MS [CALLS_A_SECOND]]
//
// Counts on counters, each of which has one writer, until standard input ends; as fast as it can,
// or at a rate, of which blocking and pipelined callers have one half each. Blocking callers expect
// each answer to be one more than the last; pipelined ones have many requests in flight. A watcher
// of all counters expects the values 1, 2, 3 … of each. Prints `watching` when it has begun, and at
// the end one line of JSON; every error that reached a caller is a line on standard error.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/hist.h"
#include "mayfly/client.h"

#define BLOCKING 4
#define PIPELINED 2
#define KEYS_EACH 16 // of a pipelined caller
#define IN_FLIGHT 32
#define COUNTERS (BLOCKING + PIPELINED * KEYS_EACH)
#define WATCH_PATIENCE_S 60

static const char *endpoints;
static uint32_t timeout_ms = 5000;
// Between the threads: relaxed, they order nothing.
static atomic_bool stop;
static atomic_bool begun;
static atomic_bool callers_done;
static atomic_ullong errors;
static atomic_ullong wrong;
static atomic_ullong changes;
static atomic_ullong lost;
static atomic_ullong disorder;
// Each counter's writer, until callers_done (release, read with acquire), then the watcher.
static uint64_t acknowledged[COUNTERS];

struct caller {
    pthread_t thread;
    int first;
    struct mayfly_client *client;
    struct mf_hist latency_us;
    uint64_t interval_us; // from one call to the next; 0: as fast as it can
    uint64_t next_us;
    struct slot {
        struct caller *caller;
        int counter;
        bool busy;
        uint64_t since_us;
    } slots[IN_FLIGHT];
};

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

// How long until the caller's next call is due. After a hold-up it does not make up for what it has
// missed.
static uint64_t time_to_next_us(struct caller *caller)
{
    uint64_t now = now_us();
    if (now >= caller->next_us + 100 * caller->interval_us)
        caller->next_us = now;
    return now < caller->next_us ? caller->next_us - now : 0;
}

static void complain(const char *what, enum mayfly_err err, const char *message)
{
    atomic_fetch_add(&errors, 1);
    fprintf(stderr, "%s: %s: %s\n", what, mayfly_err_name(err), message);
}

static struct mayfly_client *new_client(void)
{
    struct mayfly_client_options options = {.endpoints = endpoints, .timeout_ms = timeout_ms};
    char why[256];
    struct mayfly_client *client = mayfly_client_new(&options, why, sizeof why);
    if (client == NULL) {
        fprintf(stderr, "%s\n", why);
        exit(1);
    }
    return client;
}

static struct mayfly_bytes counter_key(char *name, size_t size, int counter)
{
    snprintf(name, size, "counter:%d", counter);
    return mayfly_str(name);
}

static void *block(void *arg)
{
    struct caller *caller = arg;
    char name[24];
    struct mayfly_bytes key = counter_key(name, sizeof name, caller->first);
    while (!atomic_load(&stop)) {
        int64_t value = 0;
        (void)usleep((useconds_t)time_to_next_us(caller));
        caller->next_us += caller->interval_us;
        uint64_t since_us = now_us();
        enum mayfly_err err = mayfly_incr(caller->client, key, 1, NULL, &value);
        mf_hist_add(&caller->latency_us, now_us() - since_us);
        if (err != MAYFLY_OK) {
            complain("incr", err, mayfly_client_error(caller->client));
            continue;
        }
        // After an error the outcome of one call is not known.
        if ((uint64_t)value != ++acknowledged[caller->first]) {
            atomic_fetch_add(&wrong, 1);
            fprintf(stderr, "%s is %lld after %llu calls\n", name, (long long)value,
                    (unsigned long long)acknowledged[caller->first]);
            acknowledged[caller->first] = (uint64_t)value;
        }
    }
    return NULL;
}

static void on_reply(void *cookie, const struct mayfly_reply *reply)
{
    struct slot *slot = cookie;
    mf_hist_add(&slot->caller->latency_us, now_us() - slot->since_us);
    if (reply->err != MAYFLY_OK)
        complain("pipelined incr", reply->err, reply->message);
    else
        acknowledged[slot->counter]++;
    slot->busy = false;
}

static void submit(struct slot *slot)
{
    char name[24];
    struct mayfly_bytes key = counter_key(name, sizeof name, slot->counter);
    struct mayfly_request request = {
        .method = MAYFLY_METHOD_INCR, .keys = &key, .count = 1, .delta = 1};
    slot->busy = true;
    slot->since_us = now_us();
    enum mayfly_err err = mayfly_submit(slot->caller->client, &request, on_reply, slot);
    if (err != MAYFLY_OK)
        complain("submit", err, mayfly_client_error(slot->caller->client));
}

static void *pipeline(void *arg)
{
    struct caller *caller = arg;
    for (int i = 0; i < IN_FLIGHT; i++)
        caller->slots[i] = (struct slot){caller, caller->first + i % KEYS_EACH, false, 0};
    while (!atomic_load(&stop)) {
        bool full = true;
        for (int i = 0; i < IN_FLIGHT; i++) {
            if (!caller->slots[i].busy && time_to_next_us(caller) == 0) {
                caller->next_us += caller->interval_us;
                submit(&caller->slots[i]);
            }
            full = full && caller->slots[i].busy;
        }
        (void)mayfly_poll(caller->client,
                          full ? 100 : (int)((time_to_next_us(caller) + 999) / 1000));
    }
    mayfly_drain(caller->client);
    return NULL;
}

// What the watcher saw last of each counter.
struct seen {
    struct mayfly_client *client;
    uint64_t values[COUNTERS];
    bool unsure[COUNTERS]; // some changes were lost: the next one is taken as it is
};

static void on_news(void *cookie, const struct mayfly_news *news);

static void watch(struct seen *seen)
{
    struct mayfly_watch_want want = {.key = mayfly_str("counter:"), .by_prefix = true};
    uint64_t number;
    enum mayfly_err err = mayfly_watch(seen->client, &want, on_news, seen, &number);
    if (err != MAYFLY_OK)
        complain("watch", err, mayfly_client_error(seen->client));
}

static void take_change(struct seen *seen, const struct mayfly_news *news)
{
    char text[48] = "";
    unsigned counter = COUNTERS;
    unsigned long long value = 0;
    if (news->key.len + news->value.len < sizeof text - 1)
        snprintf(text, sizeof text, "%.*s=%.*s", (int)news->key.len, (const char *)news->key.data,
                 (int)news->value.len, (const char *)news->value.data);
    if (sscanf(text, "counter:%u=%llu", &counter, &value) != 2 || counter >= COUNTERS ||
        (value != seen->values[counter] + 1 && !seen->unsure[counter])) {
        atomic_fetch_add(&disorder, 1);
        fprintf(stderr, "after %llu came %s\n",
                counter < COUNTERS ? (unsigned long long)seen->values[counter] : 0, text);
    }
    if (counter < COUNTERS) {
        seen->values[counter] = value;
        seen->unsure[counter] = false;
    }
    atomic_fetch_add(&changes, 1);
}

static void on_news(void *cookie, const struct mayfly_news *news)
{
    struct seen *seen = cookie;
    if (news->state == MAYFLY_WATCH_EVENT) {
        take_change(seen, news);
    } else if (news->state == MAYFLY_WATCH_BEGUN) {
        atomic_store(&begun, true);
    } else if (news->err != MAYFLY_ERR_CANCELLED) {
        fprintf(stderr, "the watch ended: %s: %s\n", mayfly_err_name(news->err), news->message);
        atomic_fetch_add(&lost, 1);
        memset(seen->unsure, true, sizeof seen->unsure);
        watch(seen);
    }
}

static bool has_seen_all(const struct seen *seen)
{
    return atomic_load_explicit(&callers_done, memory_order_acquire) &&
           memcmp(seen->values, acknowledged, sizeof acknowledged) == 0;
}

static void *look(void *arg)
{
    struct seen *seen = arg;
    uint64_t until_us = UINT64_MAX;
    watch(seen);
    while (!has_seen_all(seen) && now_us() < until_us) {
        (void)mayfly_poll(seen->client, 100);
        if (until_us == UINT64_MAX && atomic_load(&callers_done))
            until_us = now_us() + WATCH_PATIENCE_S * UINT64_C(1000000);
    }
    return NULL;
}

static void compare_counters(void)
{
    struct mayfly_client *client = new_client();
    for (int i = 0; i < COUNTERS; i++) {
        char name[24];
        struct mayfly_entry entry = {0};
        char text[24] = "";
        enum mayfly_err err = mayfly_get(client, counter_key(name, sizeof name, i), NULL, &entry);
        if (err != MAYFLY_OK)
            complain("get", err, mayfly_client_error(client));
        else if (entry.found && entry.value.len < sizeof text)
            memcpy(text, entry.value.data, entry.value.len);
        if (strtoull(text, NULL, 10) != acknowledged[i]) {
            atomic_fetch_add(&wrong, 1);
            fprintf(stderr, "%s is %s, and %llu were acknowledged\n", name, text,
                    (unsigned long long)acknowledged[i]);
        }
    }
    mayfly_client_free(client);
}

static void start(pthread_t *thread, void *(*run)(void *), void *arg)
{
    if (pthread_create(thread, NULL, run, arg) != 0) {
        perror("pthread_create");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    static struct caller callers[BLOCKING + PIPELINED];
    static struct seen seen;
    static struct mf_hist all;
    pthread_t watcher;
    char byte;
    if (argc < 2 || argc > 4) {
        fprintf(stderr, "usage: client_books ENDPOINTS [TIMEOUT_MS [CALLS_A_SECOND]]\n");
        return 2;
    }
    endpoints = argv[1];
    if (argc > 2)
        timeout_ms = (uint32_t)strtoul(argv[2], NULL, 10);
    uint64_t rate = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    seen.client = new_client();
    start(&watcher, look, &seen);
    while (!atomic_load(&begun))
        (void)usleep(1000);
    printf("watching\n");
    (void)fflush(stdout);
    for (int i = 0; i < BLOCKING + PIPELINED; i++) {
        callers[i].client = new_client();
        callers[i].first = i < BLOCKING ? i : BLOCKING + (i - BLOCKING) * KEYS_EACH;
        if (rate > 0)
            callers[i].interval_us =
                UINT64_C(2000000) * (i < BLOCKING ? BLOCKING : PIPELINED) / rate;
        start(&callers[i].thread, i < BLOCKING ? block : pipeline, &callers[i]);
    }
    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
    atomic_store(&stop, true);
    for (int i = 0; i < BLOCKING + PIPELINED; i++) {
        (void)pthread_join(callers[i].thread, NULL);
        mayfly_client_free(callers[i].client);
        mf_hist_merge(&all, &callers[i].latency_us);
    }
    atomic_store_explicit(&callers_done, true, memory_order_release);
    (void)pthread_join(watcher, NULL);
    bool complete = has_seen_all(&seen);
    mayfly_client_free(seen.client);
    compare_counters();
    printf("{\"calls\": %llu, \"errors\": %llu, \"wrong\": %llu, \"p50_ms\": %.3f, "
           "\"p99_ms\": %.3f, \"p999_ms\": %.3f, \"max_ms\": %.3f, \"changes\": %llu, "
           "\"lost\": %llu, \"disorder\": %llu, \"complete\": %s}\n",
           (unsigned long long)all.count, atomic_load(&errors), atomic_load(&wrong),
           (double)mf_hist_percentile(&all, 50) / 1000, (double)mf_hist_percentile(&all, 99) / 1000,
           (double)mf_hist_percentile(&all, 99.9) / 1000, (double)all.max / 1000,
           atomic_load(&changes), atomic_load(&lost), atomic_load(&disorder),
           complete ? "true" : "false");
    return 0;
}
