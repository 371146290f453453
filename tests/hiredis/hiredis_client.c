// A client as others write them with hiredis: blocking calls, a pipeline, a transaction, and the
// same server over libev, with a subscription beside. Says what it has seen, a line each; anything
// unexpected is told on stderr and ends it with 1.
//
//     hiredis_client PORT
#include <hiredis/adapters/libev.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIPELINE 10000
#define ASYNC_CALLS 1000

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "hiredis_client: %s: %s\n", what, why != NULL ? why : "unexpected");
    exit(1);
}

// Blocking.

static redisReply *reply_of(redisContext *context, void *reply, int type, const char *what)
{
    redisReply *answer = reply;
    if (answer == NULL)
        fail(what, context->errstr);
    if (answer->type != type)
        fail(what, answer->str);
    return answer;
}

static void call_sync(redisContext *context)
{
    const char bytes[] = "a\0b\r\n";
    redisReply *reply =
        reply_of(context, redisCommand(context, "SET h:bytes %b EX 100", bytes, 5UL),
                 REDIS_REPLY_STATUS, "SET");
    freeReplyObject(reply);
    reply =
        reply_of(context, redisCommand(context, "GET %s", "h:bytes"), REDIS_REPLY_STRING, "GET");
    if (reply->len != 5 || memcmp(reply->str, bytes, 5) != 0)
        fail("GET", "other bytes than were set");
    freeReplyObject(reply);
    reply = reply_of(context, redisCommand(context, "GET h:none"), REDIS_REPLY_NIL, "GET of none");
    freeReplyObject(reply);
    reply = reply_of(context, redisCommand(context, "LPUSH h:list v"), REDIS_REPLY_ERROR, "LPUSH");
    printf("refused: %.19s\n", reply->str);
    freeReplyObject(reply);
}

static void call_pipeline(redisContext *context)
{
    for (int i = 0; i < PIPELINE; i++)
        redisAppendCommand(context, "INCRBY h:sum %d", i);
    long long sum = 0;
    for (int i = 0; i < PIPELINE; i++) {
        void *reply = NULL;
        if (redisGetReply(context, &reply) != REDIS_OK)
            fail("a pipeline", context->errstr);
        sum = reply_of(context, reply, REDIS_REPLY_INTEGER, "INCRBY")->integer;
        freeReplyObject(reply);
    }
    printf("pipeline: %lld\n", sum);
}

static void call_transaction(redisContext *context)
{
    static const char *const words[] = {"WATCH {h}a", "MULTI", "SET {h}a 1", "INCR {h}a"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        freeReplyObject(
            reply_of(context, redisCommand(context, words[i]), REDIS_REPLY_STATUS, words[i]));
    redisReply *reply = reply_of(context, redisCommand(context, "EXEC"), REDIS_REPLY_ARRAY, "EXEC");
    if (reply->elements != 2)
        fail("EXEC", "not two replies");
    printf("transaction: %s %lld\n", reply->element[0]->str, reply->element[1]->integer);
    freeReplyObject(reply);
}

// On an event loop.

struct state {
    struct ev_loop *loop;
    redisAsyncContext *calls;
    redisAsyncContext *listener;
    long long last;
    int answered;
    int heard;
};

static void end_if_done(struct state *state)
{
    if (state->answered < ASYNC_CALLS || state->heard < ASYNC_CALLS)
        return;
    redisAsyncDisconnect(state->calls);
    redisAsyncDisconnect(state->listener);
}

static void on_answer(redisAsyncContext *context, void *answer, void *arg)
{
    struct state *state = arg;
    redisReply *reply = answer;
    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER)
        fail("INCR", reply != NULL ? reply->str : context->errstr);
    state->last = reply->integer;
    state->answered++;
    end_if_done(state);
}

// The first is the confirmation: only what is asked for after it is surely heard.
static void on_message(redisAsyncContext *context, void *answer, void *arg)
{
    struct state *state = arg;
    redisReply *reply = answer;
    if (reply == NULL)
        return; // the connection has ended
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3)
        fail("a message", context->errstr);
    if (strcmp(reply->element[0]->str, "subscribe") == 0) {
        for (int i = 0; i < ASYNC_CALLS; i++)
            redisAsyncCommand(state->calls, on_answer, state, "INCR h:count");
        return;
    }
    if (strcmp(reply->element[2]->str, "set") != 0)
        fail("a message", reply->element[2]->str);
    state->heard++;
    end_if_done(state);
}

static redisAsyncContext *connect_async(struct state *state, int port)
{
    redisAsyncContext *context = redisAsyncConnect("127.0.0.1", port);
    if (context == NULL || context->err != 0)
        fail("connecting", context != NULL ? context->errstr : NULL);
    redisLibevAttach(state->loop, context);
    return context;
}

static void call_async(int port)
{
    struct state state = {.loop = ev_loop_new(EVFLAG_AUTO)};
    state.calls = connect_async(&state, port);
    state.listener = connect_async(&state, port);
    redisAsyncCommand(state.listener, on_message, &state, "SUBSCRIBE __keyspace@0__:h:count");
    ev_run(state.loop, 0);
    ev_loop_destroy(state.loop);
    printf("async: %d answered, the last %lld, %d heard\n", state.answered, state.last,
           state.heard);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        fail("usage", "hiredis_client PORT");
    int port = atoi(argv[1]);
    redisContext *context = redisConnect("127.0.0.1", port);
    if (context == NULL || context->err != 0)
        fail("connecting", context != NULL ? context->errstr : NULL);
    call_sync(context);
    call_pipeline(context);
    call_transaction(context);
    redisFree(context);
    call_async(port);
    return 0;
}
