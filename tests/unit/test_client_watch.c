// Watches of libmayfly: what is asked of a node, what is told, and how it goes on when a node dies,
// lets go of the watch, or does not keep its promises. The nodes play a script: each line of it
// answers one `watch`, whichever node that comes to.
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "fake_node.h"
#include "mayfly/client.h"
#include "rpc/client_internal.h"

#define LINES_MAX 16

// What the nodes answer, line by line, and what they were asked.
//
//     id N                     the answer to `watch`
//     error CODE               an error in its place
//     progress SHARD VERSION   set KEY VERSION VALUE   del KEY VERSION   expire KEY VERSION
//     lost                     flood FROM COUNT VERSION    (that many deletions of one version)
//     close   unknown
struct script {
    const char *const *lines;
    int watches;
    char asked[LINES_MAX][256];
    char ended[256]; // the parameters of all `unwatch`
    int connections;
    int pings;
    uint64_t id; // of the last `watch`
};

static void event_head(struct mf_buf *out, uint64_t id, const char *name)
{
    fake_array(out, 3);
    fake_int(out, 2);
    fake_str(out, "event");
    fake_array(out, 5);
    fake_int(out, (int64_t)id);
    fake_str(out, name);
}

static void event(struct mf_buf *out, uint64_t id, const char *name, const char *key,
                  int64_t version, const char *value)
{
    event_head(out, id, name);
    fake_bin(out, key, strlen(key));
    fake_int(out, version);
    if (value != NULL)
        fake_bin(out, value, strlen(value));
    else
        fake_nil(out);
}

static void flood(struct mf_buf *out, uint64_t id, int from, int count, int64_t version)
{
    for (int i = from; i < from + count; i++) {
        char key[24];
        snprintf(key, sizeof key, "k%d", i);
        event(out, id, "del", key, version, NULL);
    }
}

static enum fake_then say(struct script *script, const struct fake_request *request, char *line,
                          struct mf_buf *out)
{
    char *at = line;
    char *word;
    while ((word = strtok_r(at, " ", &at)) != NULL) {
        if (strcmp(word, "id") == 0) {
            script->id = strtoull(strtok_r(at, " ", &at), NULL, 10);
            fake_reply(out, request->msgid);
            fake_int(out, (int64_t)script->id);
        } else if (strcmp(word, "error") == 0) {
            fake_error(out, request->msgid, strtok_r(at, " ", &at), "for a test");
        } else if (strcmp(word, "progress") == 0) {
            event_head(out, script->id, "progress");
            fake_nil(out);
            fake_int(out, 0);
            fake_map(out, 1);
            fake_int(out, atoi(strtok_r(at, " ", &at)));
            fake_int(out, atoi(strtok_r(at, " ", &at)));
        } else if (strcmp(word, "flood") == 0) {
            int from = atoi(strtok_r(at, " ", &at));
            int count = atoi(strtok_r(at, " ", &at));
            flood(out, script->id, from, count, atoi(strtok_r(at, " ", &at)));
        } else if (strcmp(word, "lost") == 0) {
            event_head(out, script->id, "lost");
            fake_nil(out);
            fake_int(out, 0);
            fake_nil(out);
        } else if (strcmp(word, "unknown") == 0) {
            event(out, script->id, "renamed", "k", 9, NULL);
        } else if (strcmp(word, "close") == 0) {
            return FAKE_CLOSE;
        } else {
            char *key = strtok_r(at, " ", &at);
            int64_t version = atoll(strtok_r(at, " ", &at));
            char *value = strcmp(word, "set") == 0 ? strtok_r(at, " ", &at) : NULL;
            event(out, script->id, word, key, version, value);
        }
    }
    return FAKE_GO_ON;
}

static enum fake_then play(void *arg, const struct fake_request *request, struct mf_buf *out)
{
    struct script *script = arg;
    char line[512] = "";
    if (strcmp(request->method, "unwatch") == 0) {
        size_t used = strlen(script->ended);
        assert_true(request->notification);
        snprintf(script->ended + used, sizeof script->ended - used, "%s", request->params);
        return FAKE_GO_ON;
    }
    if (strcmp(request->method, "watch") != 0) {
        fake_reply(out, request->msgid);
        fake_int(out, 7);
        return FAKE_GO_ON;
    }
    if (script->watches == LINES_MAX)
        abort();
    snprintf(script->asked[script->watches], sizeof script->asked[0], "%.255s", request->params);
    const char *const *text = script->lines;
    for (int i = 0; i < script->watches && text[0] != NULL; i++)
        text++;
    snprintf(line, sizeof line, "%s", text[0] != NULL ? text[0] : "error INTERNAL");
    script->watches++;
    return say(script, request, line, out);
}

// What was told, as a line of text.
struct told {
    struct mayfly_client *client;
    char text[2048];
    int changes;
    int ended;
    uint64_t unwatch_at; // a version: ends the watch from its callback
};

static void add(struct told *told, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct told *told, const char *format, ...)
{
    size_t used = strlen(told->text);
    va_list args;
    va_start(args, format);
    vsnprintf(told->text + used, sizeof told->text - used, format, args);
    va_end(args);
}

static void take_news(void *cookie, const struct mayfly_news *news)
{
    static const char *const names[] = {
        [MAYFLY_CHANGE_SET] = "set",
        [MAYFLY_CHANGE_DEL] = "del",
        [MAYFLY_CHANGE_EXPIRE] = "expire",
        [MAYFLY_CHANGE_EVICT] = "evict",
    };
    struct told *told = cookie;
    if (news->state == MAYFLY_WATCH_BEGUN) {
        add(told, "begun; ");
    } else if (news->state == MAYFLY_WATCH_ENDED) {
        told->ended++;
        add(told, "ended %s; ", mayfly_err_name(news->err));
        assert_true(news->err == MAYFLY_ERR_CANCELLED || news->message[0] != '\0');
    } else {
        told->changes++;
        assert_int_equal(news->err, MAYFLY_OK);
        add(told, "%s %.*s %llu%s%.*s; ", names[news->change], (int)news->key.len,
            (const char *)news->key.data, (unsigned long long)news->version,
            news->value.len > 0 ? " " : "", (int)news->value.len, (const char *)news->value.data);
        if (news->version == told->unwatch_at)
            assert_true(mayfly_unwatch(told->client, news->watch));
    }
}

// A script, two nodes that play it, and a client of both.
struct scene {
    struct script script;
    struct fake_node *nodes[2];
    struct mayfly_client *client;
    struct told told;
    uint64_t watch;
};

// The nodes may be of clusters with another number of shards each.
static void set_up_two(struct scene *scene, const char *const *lines, int first, int second)
{
    char endpoints[80];
    *scene = (struct scene){.script.lines = lines};
    for (int i = 0; i < 2; i++)
        scene->nodes[i] = fake_node_start(play, &scene->script,
                                          (struct fake_options){.shards = i == 0 ? first : second});
    snprintf(endpoints, sizeof endpoints, "%s,%s", fake_node_endpoint(scene->nodes[0]),
             fake_node_endpoint(scene->nodes[1]));
    struct mayfly_client_options options = {
        .endpoints = endpoints, .timeout_ms = 60000, .silence_ms = 60000};
    scene->client = mayfly_client_new(&options, NULL, 0);
    assert_non_null(scene->client);
    scene->told.client = scene->client;
}

static void set_up(struct scene *scene, const char *const *lines, int shards)
{
    set_up_two(scene, lines, shards, shards);
}

static void tear_down(struct scene *scene)
{
    mayfly_client_free(scene->client);
    fake_node_stop(scene->nodes[0]);
    fake_node_stop(scene->nodes[1]);
}

static void watch(struct scene *scene, struct mayfly_watch_want want)
{
    assert_int_equal(mayfly_watch(scene->client, &want, take_news, &scene->told, &scene->watch),
                     MAYFLY_OK);
}

// Lets the client work until what was told ends so. A watch that tells less hangs the test.
static void run_until(struct scene *scene, const char *last)
{
    size_t len = strlen(last);
    for (;;) {
        size_t used = strlen(scene->told.text);
        if (used >= len && strcmp(scene->told.text + used - len, last) == 0)
            return;
        (void)mayfly_poll(scene->client, -1);
    }
}

#define KEY(name) ((struct mayfly_watch_want){.key = mayfly_str(name)})
#define PREFIX(name) ((struct mayfly_watch_want){.key = mayfly_str(name), .by_prefix = true})
#define SCRIPT(...) ((const char *const[]){__VA_ARGS__, NULL})

static void what_is_wanted_is_asked_for(void **state)
{
    (void)state;
    static const struct mayfly_shard_version from[] = {{0, 7}, {2, UINT64_MAX}};
    const struct {
        struct mayfly_watch_want want;
        const char *asked;
    } cases[] = {
        {KEY("k"), "[{\"key\": 'k', \"progress\": true}]"},
        {PREFIX(""), "[{\"prefix\": '', \"progress\": true}]"},
        {{.key = mayfly_str("p"), .by_prefix = true, .changes = MAYFLY_CHANGE_DEL},
         "[{\"prefix\": 'p', \"progress\": true, \"events\": [\"del\"]}]"},
        {{.key = mayfly_str("p"),
          .by_prefix = true,
          .changes = MAYFLY_CHANGE_EXPIRE | MAYFLY_CHANGE_EVICT},
         "[{\"prefix\": 'p', \"progress\": true, \"events\": [\"expire\", \"evict\"]}]"},
        // 'foo' is in slot 12182, which is of shard 2 of 3.
        {{.key = mayfly_str("foo"), .has_from = true, .from_version = 5},
         "[{\"key\": 'foo', \"progress\": true, \"from_version\": {2: 5}}]"},
        {{.key = mayfly_str("foo"), .has_from = true},
         "[{\"key\": 'foo', \"progress\": true, \"from_version\": {2: 1}}]"},
        {{.key = mayfly_str("{foo}x"), .by_prefix = true, .has_from = true, .from_version = 5},
         "[{\"prefix\": '{foo}x', \"progress\": true, \"from_version\": {2: 5}}]"},
        {{.key = mayfly_str("p"),
          .by_prefix = true,
          .has_from = true,
          .from = from,
          .from_count = 2},
         "[{\"prefix\": 'p', \"progress\": true, "
         "\"from_version\": {0: 7, 2: 18446744073709551615}}]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scene scene;
        set_up(&scene, SCRIPT("error BAD_REQUEST"), 3);
        watch(&scene, cases[i].want);
        run_until(&scene, "ended BAD_REQUEST; ");
        assert_string_equal(scene.script.asked[0], cases[i].asked);
        assert_false(mayfly_unwatch(scene.client, scene.watch));
        tear_down(&scene);
    }
}

static void wants_that_mean_nothing_are_refused_here(void **state)
{
    (void)state;
    static const struct mayfly_shard_version from[] = {{0, 7}};
    const struct mayfly_watch_want wants[] = {
        {.key = {NULL, 0}},
        {.key = mayfly_str("k"), .changes = 1 << 4},
        {.key = mayfly_str("k"), .from_version = 1},
        {.key = mayfly_str("k"), .from = from, .from_count = 1},
        {.key = mayfly_str("k"),
         .has_from = true,
         .from_version = 1,
         .from = from,
         .from_count = 1},
        {.key = mayfly_str("p"), .by_prefix = true, .has_from = true, .from_version = 1},
        {.key = mayfly_str("p{t"), .by_prefix = true, .has_from = true, .from_version = 1},
    };
    struct scene scene;
    set_up(&scene, SCRIPT("id 1"), 1);
    for (size_t i = 0; i < sizeof wants / sizeof wants[0]; i++) {
        uint64_t number;
        assert_int_equal(mayfly_watch(scene.client, &wants[i], take_news, NULL, &number),
                         MAYFLY_ERR_BAD_REQUEST);
        assert_true(mayfly_client_error(scene.client)[0] != '\0');
    }
    assert_false(mayfly_unwatch(scene.client, 0));
    assert_false(mayfly_unwatch(scene.client, 1));
    // Nothing is watched, so nothing is waited for.
    assert_int_equal(mayfly_poll(scene.client, -1), 0);
    tear_down(&scene);
}

// Of two shards each has something to tell; 'b' is in the first, 'a' in the second.
static void a_watch_has_begun_when_all_older_changes_have_been_told(void **state)
{
    (void)state;
    static const struct mayfly_shard_version from[] = {{0, 1}, {1, 1}};
    struct scene scene;
    set_up(&scene, SCRIPT("id 5 set b 1 v progress 0 1 progress 0 2 set a 4 w progress 1 4"), 2);
    struct mayfly_watch_want want = PREFIX("");
    want.has_from = true;
    want.from = from;
    want.from_count = 2;
    watch(&scene, want);
    run_until(&scene, "begun; ");
    assert_string_equal(scene.told.text, "set b 1 v; set a 4 w; begun; ");
    tear_down(&scene);
}

// Versions of one cluster mean nothing in another.
static void a_watch_does_not_go_on_in_a_cluster_of_other_shards(void **state)
{
    (void)state;
    static const struct mayfly_watch_want wants[] = {{.key = {"b", 1}},
                                                     {.key = {"", 0}, .by_prefix = true}};
    for (size_t i = 0; i < 2; i++) {
        struct scene scene;
        set_up_two(&scene, SCRIPT("id 5 progress 0 9 close", "id 6 progress 0 9"), 1, 2);
        watch(&scene, wants[i]);
        run_until(&scene, "ended LOST; ");
        assert_string_equal(scene.told.text, "begun; ended LOST; ");
        tear_down(&scene);
    }
}

static void changes_are_told_as_they_come(void **state)
{
    (void)state;
    struct scene scene;
    set_up(
        &scene,
        SCRIPT("id 5 set k 3 v progress 0 3 del k 4 set k 5 w expire k 6 progress 0 6 evict k 7"),
        1);
    watch(&scene, KEY("k"));
    run_until(&scene, "evict k 7; ");
    assert_string_equal(scene.told.text,
                        "set k 3 v; begun; del k 4; set k 5 w; expire k 6; evict k 7; ");
    // Requests go another way meanwhile.
    uint64_t keys;
    assert_int_equal(mayfly_size(scene.client, &keys), MAYFLY_OK);
    tear_down(&scene);
    assert_string_equal(scene.told.text + strlen(scene.told.text) - 17, "ended CANCELLED; ");
}

static void a_watch_of_many_shards_has_begun_when_each_was_named(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene, SCRIPT("id 5 progress 0 3 progress 1 9 progress 1 9 del foo 4 progress 2 7"), 3);
    watch(&scene, PREFIX(""));
    run_until(&scene, "begun; ");
    assert_string_equal(scene.told.text, "del foo 4; begun; ");
    tear_down(&scene);
}

static void it_goes_on_where_it_was_on_another_node(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene,
           SCRIPT("id 5 progress 0 3 set k 4 v set l 6 w close",
                  // Of the last version some keys may have been told: they come again.
                  "id 9 set l 6 w set m 6 x progress 0 6 close",
                  // Everything up to the version has: it goes on behind it.
                  "id 5 set k 8 y close",
                  "id 1 set k 8 y progress 0 8 close", //
                  "id 2 progress 0 20 del k 21"),
           1);
    watch(&scene, PREFIX(""));
    run_until(&scene, "del k 21; ");
    assert_string_equal(scene.told.text,
                        "begun; set k 4 v; set l 6 w; set m 6 x; set k 8 y; del k 21; ");
    assert_int_equal(scene.script.watches, 5);
    const char *const from[] = {"{0: 6}", "{0: 7}", "{0: 8}", "{0: 9}"};
    for (size_t i = 0; i < 4; i++)
        assert_non_null(strstr(scene.script.asked[i + 1], from[i]));
    tear_down(&scene);
}

static void a_flush_that_was_cut_off_is_told_to_its_end_and_once(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene,
           SCRIPT("id 5 progress 0 3 flood 0 5000 4 close", "id 6 flood 2000 6000 4 close",
                  "id 6 flood 0 8000 4 progress 0 4 set k 5 v"),
           1);
    watch(&scene, PREFIX(""));
    while (scene.told.changes < 8001) {
        scene.told.text[0] = '\0'; // too many to be written down
        (void)mayfly_poll(scene.client, -1);
    }
    run_until(&scene, "set k 5 v; ");
    assert_int_equal(scene.told.changes, 8001);
    assert_non_null(strstr(scene.script.asked[1], "{0: 4}"));
    tear_down(&scene);
}

static void a_connection_lost_before_the_beginning_is_no_gap(void **state)
{
    (void)state;
    struct scene scene;
    // Of the shard of 'foo' (2 of 3) a change was told: it goes on there. The others begin anew.
    set_up(&scene,
           SCRIPT("id 5 close", "id 5 set foo 4 v close",
                  "id 5 set foo 4 v set foo 5 w progress 0 7 progress 1 8 progress 2 5"),
           3);
    watch(&scene, PREFIX(""));
    run_until(&scene, "begun; ");
    assert_string_equal(scene.told.text, "set foo 4 v; set foo 5 w; begun; ");
    assert_null(strstr(scene.script.asked[1], "from_version"));
    assert_non_null(strstr(scene.script.asked[2], "{2: 4}"));
    tear_down(&scene);
}

static void a_node_that_lets_go_is_asked_again(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene, SCRIPT("id 5 progress 0 3 set k 4 v lost", "id 6 set k 4 v set k 5 w"), 1);
    watch(&scene, KEY("k"));
    run_until(&scene, "set k 5 w; ");
    assert_string_equal(scene.told.text, "begun; set k 4 v; set k 5 w; ");
    assert_non_null(strstr(scene.script.asked[1], "{0: 4}"));
    mayfly_client_free(scene.client);
    assert_int_equal(fake_node_stop(scene.nodes[0]), 1); // on the same connection
    assert_int_equal(fake_node_stop(scene.nodes[1]), 0);
}

static void what_no_node_remembers_is_lost(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene,
           SCRIPT("id 5 progress 0 3 set k 4 v close", "error COMPACTED",
                  "id 3 set k 4 v set k 5 w "
                  "close",
                  "error COMPACTED", "error COMPACTED"),
           1);
    watch(&scene, KEY("k"));
    run_until(&scene, "ended LOST; ");
    assert_string_equal(scene.told.text, "begun; set k 4 v; set k 5 w; ended LOST; ");
    // For who asked for old changes it has a name of its own.
    scene.told.text[0] = '\0';
    scene.script.watches = 3;
    struct mayfly_watch_want want = KEY("k");
    want.has_from = true;
    watch(&scene, want);
    run_until(&scene, "ended COMPACTED; ");
    tear_down(&scene);
}

static void a_node_that_refuses_for_now_is_left_for_another(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene,
           SCRIPT("error NO_QUORUM", "error BUSY", "error SHUTTING_DOWN", "error TIMEOUT",
                  "id 1 progress 0 1 set k 2 v"),
           1);
    watch(&scene, KEY("k"));
    run_until(&scene, "set k 2 v; ");
    assert_string_equal(scene.told.text, "begun; set k 2 v; ");
    tear_down(&scene);
}

static void a_node_that_breaks_its_promise_ends_the_watch(void **state)
{
    (void)state;
    const char *const lines[] = {
        "id 5 progress 0 3 set k 2 v",           // older than what has all been told
        "id 5 progress 0 3 set k 3 v",           // as old
        "id 5 progress 0 3 set k 5 v set k 4 w", // not in the order of versions
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct scene scene;
        set_up(&scene, SCRIPT(lines[i]), 1);
        watch(&scene, KEY("k"));
        run_until(&scene, "ended PROTOCOL; ");
        assert_int_equal(scene.told.ended, 1);
        // The node has heard so before it is asked for another.
        watch(&scene, KEY("n"));
        run_until(&scene, "ended INTERNAL; ");
        tear_down(&scene);
        assert_string_equal(scene.script.ended, "[5]");
    }
}

static void an_event_of_unknown_form_costs_the_connection(void **state)
{
    (void)state;
    const char *const lines[] = {"id 5 progress 0 3 unknown", "id 5 progress 1 3",
                                 "error PROGRESS"};
    for (size_t i = 0; i < 2; i++) {
        struct scene scene;
        set_up(&scene, SCRIPT(lines[i], "id 5 progress 0 3 set k 9 v"), 1);
        watch(&scene, KEY("k"));
        run_until(&scene, "set k 9 v; ");
        assert_int_equal(scene.script.watches, 2);
        tear_down(&scene);
    }
}

static void unwatch_ends_it_here_at_once_and_then_at_the_node(void **state)
{
    (void)state;
    struct scene scene;
    uint64_t keys;
    set_up(&scene,
           SCRIPT("id 5 progress 0 3 set k 4 v set k 5 w set k 6 x", "id 6 progress 0 6 set l 7 v"),
           1);
    scene.told.unwatch_at = 5;
    watch(&scene, KEY("k"));
    run_until(&scene, "set k 5 w; ");
    scene.told.unwatch_at = 0;
    // One that the node has not answered yet, and one that it has not even heard of.
    watch(&scene, KEY("m"));
    assert_true(mayfly_unwatch(scene.client, scene.watch));
    assert_false(mayfly_unwatch(scene.client, scene.watch));
    watch(&scene, KEY("l"));
    run_until(&scene, "set l 7 v; ");
    assert_string_equal(scene.told.text, "begun; set k 4 v; set k 5 w; begun; set l 7 v; ");
    assert_true(mayfly_unwatch(scene.client, scene.watch));
    // The last one ends too, and is then known to have been sent in order before the next.
    watch(&scene, KEY("n"));
    run_until(&scene, "ended INTERNAL; ");
    assert_int_equal(mayfly_size(scene.client, &keys), MAYFLY_OK);
    tear_down(&scene);
    assert_string_equal(scene.script.ended, "[5][6]");
}

static void a_watch_dropped_while_it_is_asked_for_is_ended_when_it_is_answered(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene, SCRIPT("id 8 progress 0 1 set k 2 v", "id 9 progress 0 2 set l 3 v"), 1);
    watch(&scene, KEY("k"));
    while (scene.client->watch_link->state != MF_LINK_READY)
        (void)mayfly_poll(scene.client, 0);
    // It is written, and not answered as long as this is held.
    fake_lock();
    (void)mayfly_poll(scene.client, 0);
    assert_true(mayfly_unwatch(scene.client, scene.watch));
    assert_false(mayfly_unwatch(scene.client, scene.watch));
    fake_unlock();
    watch(&scene, KEY("l"));
    run_until(&scene, "set l 3 v; ");
    assert_string_equal(scene.told.text, "begun; set l 3 v; ");
    watch(&scene, KEY("n"));
    run_until(&scene, "ended INTERNAL; ");
    tear_down(&scene);
    assert_string_equal(scene.script.ended, "[8]");
}

// Watches until that ends; true when no node could be asked in time.
static bool is_unreachable_for(struct scene *scene, uint32_t timeout_ms)
{
    assert_true(timeout_ms < 60000);
    scene->told = (struct told){.client = scene->client};
    mayfly_client_set_timeout(scene->client, timeout_ms);
    watch(scene, KEY("k"));
    while (scene->told.ended == 0)
        (void)mayfly_poll(scene->client, -1);
    return strcmp(scene->told.text, "ended UNREACHABLE; ") == 0;
}

static void a_watch_that_cannot_begin_ends_at_its_deadline(void **state)
{
    (void)state;
    struct fake_port port = fake_port_taken();
    struct mayfly_client_options options = {.endpoints = port.endpoint, .timeout_ms = 20};
    struct scene scene = {.client = mayfly_client_new(&options, NULL, 0)};
    watch(&scene, KEY("k"));
    run_until(&scene, "ended UNREACHABLE; ");
    assert_int_equal(mayfly_poll(scene.client, -1), 0);
    mayfly_client_free(scene.client);
    fake_port_free(&port);
    // A node that never answers, and one that never says that it has begun.
    const char *const lines[] = {"", "id 4 set k 1 v"};
    for (size_t i = 0; i < 2; i++) {
        set_up(&scene, SCRIPT(lines[i]), 1);
        uint32_t timeout_ms = 50;
        // Either thread may stand still until it is too late to ask at all.
        while (is_unreachable_for(&scene, timeout_ms))
            timeout_ms *= 2;
        run_until(&scene, "ended TIMEOUT; ");
        tear_down(&scene);
    }
}

static void many_watches_are_told_apart(void **state)
{
    (void)state;
    struct scene scene;
    struct told told[3] = {{0}};
    uint64_t numbers[3];
    // All live in one bucket of the table of ids.
    set_up(&scene,
           SCRIPT("id 1 progress 0 1", "id 257 progress 0 1", "id 513 progress 0 1 set c 2 v"), 1);
    for (int i = 0; i < 3; i++) {
        struct mayfly_watch_want want = PREFIX("");
        assert_int_equal(mayfly_watch(scene.client, &want, take_news, &told[i], &numbers[i]),
                         MAYFLY_OK);
    }
    while (told[2].changes == 0)
        (void)mayfly_poll(scene.client, -1);
    assert_string_equal(told[0].text, "begun; ");
    assert_string_equal(told[1].text, "begun; ");
    assert_string_equal(told[2].text, "begun; set c 2 v; ");
    assert_true(mayfly_unwatch(scene.client, numbers[1]));
    tear_down(&scene);
    assert_string_equal(told[0].text, "begun; ended CANCELLED; ");
    assert_string_equal(told[1].text, "begun; ");
    assert_string_equal(told[2].text, "begun; set c 2 v; ended CANCELLED; ");
}

static void there_is_an_end_to_how_many_there_may_be(void **state)
{
    (void)state;
    struct fake_port port = fake_port_taken();
    struct mayfly_client_options options = {.endpoints = port.endpoint};
    struct scene scene = {.client = mayfly_client_new(&options, NULL, 0)};
    struct mayfly_watch_want want = KEY("k");
    for (int i = 0; i < MAYFLY_WATCHES_MAX; i++)
        watch(&scene, want);
    uint64_t number;
    assert_int_equal(mayfly_watch(scene.client, &want, take_news, &scene.told, &number),
                     MAYFLY_ERR_WINDOW_FULL);
    assert_true(mayfly_unwatch(scene.client, scene.watch));
    watch(&scene, want);
    mayfly_client_free(scene.client);
    assert_int_equal(scene.told.ended, MAYFLY_WATCHES_MAX);
    fake_port_free(&port);
}

static void an_event_that_cannot_be_held_ends_the_watch(void **state)
{
    (void)state;
    struct script script = {
        .lines = SCRIPT("id 5 progress 0 3 set k 4 small set k 5 "
                        "a-value-of-a-hundred-bytes-and-more-is-larger-than-what-this-client-takes-"
                        "from-anybody-in-one-message")};
    struct fake_node *node = fake_node_start(play, &script, (struct fake_options){0});
    struct mayfly_client_options options = {.endpoints = fake_node_endpoint(node),
                                            .reply_bytes_max = 100};
    struct scene scene = {.client = mayfly_client_new(&options, NULL, 0)};
    watch(&scene, KEY("k"));
    run_until(&scene, "ended TOO_LARGE; ");
    assert_string_equal(scene.told.text, "begun; set k 4 small; ended TOO_LARGE; ");
    mayfly_client_free(scene.client);
    fake_node_stop(node);
}

// A clock that only tests move.
static atomic_uint_fast64_t now_us = 1000000;

static uint64_t stopped_clock(void)
{
    return atomic_load(&now_us);
}

static enum fake_then be_silent(void *arg, const struct fake_request *request, struct mf_buf *out)
{
    struct script *script = arg;
    if (strcmp(request->method, "ping") == 0)
        script->pings++;
    else
        return play(arg, request, out);
    return FAKE_GO_ON;
}

// Polls a client for whom this time goes by, in turns of 20 ms.
static void pass(struct mayfly_client *client, int turns)
{
    for (int i = 0; i < turns; i++) {
        (void)mayfly_poll(client, 0);
        atomic_fetch_add(&now_us, 20000);
    }
}

static int pings_of(const struct script *script)
{
    fake_lock();
    int pings = script->pings;
    fake_unlock();
    return pings;
}

static void a_silent_node_is_asked_and_then_left_though_nothing_is_due_from_it(void **state)
{
    (void)state;
    struct script script = {.lines =
                                SCRIPT("id 5 progress 0 3 set k 4 v", "id 9 set k 4 v set k 5 w")};
    struct fake_node *a =
        fake_node_start(be_silent, &script, (struct fake_options){.raw_ping = true});
    struct fake_node *b = fake_node_start(play, &script, (struct fake_options){0});
    char endpoints[80];
    snprintf(endpoints, sizeof endpoints, "%s,%s", fake_node_endpoint(a), fake_node_endpoint(b));
    struct mayfly_client_options options = {.endpoints = endpoints, .silence_ms = 500};
    struct scene scene = {.client = mayfly_client_new(&options, NULL, 0)};
    scene.client->clock_us = stopped_clock;
    watch(&scene, KEY("k"));
    run_until(&scene, "set k 4 v; ");
    // Two seconds of silence, and another one without an answer; the caller polls all the time.
    pass(scene.client, 90);
    assert_int_equal(pings_of(&script), 0);
    while (!scene.client->watch_link->asked)
        pass(scene.client, 1);
    while (pings_of(&script) == 0) // the time stands still until the node has heard it
        (void)mayfly_poll(scene.client, 0);
    fake_lock();
    assert_int_equal(script.watches, 1);
    fake_unlock();
    pass(scene.client, 90);
    run_until(&scene, "set k 5 w; ");
    mayfly_client_free(scene.client);
    fake_node_stop(a);
    fake_node_stop(b);
    assert_int_equal(script.pings, 1);
    assert_non_null(strstr(script.asked[1], "{0: 4}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wanted_is_asked_for),
        cmocka_unit_test(wants_that_mean_nothing_are_refused_here),
        cmocka_unit_test(a_watch_has_begun_when_all_older_changes_have_been_told),
        cmocka_unit_test(a_watch_does_not_go_on_in_a_cluster_of_other_shards),
        cmocka_unit_test(changes_are_told_as_they_come),
        cmocka_unit_test(a_watch_of_many_shards_has_begun_when_each_was_named),
        cmocka_unit_test(it_goes_on_where_it_was_on_another_node),
        cmocka_unit_test(a_flush_that_was_cut_off_is_told_to_its_end_and_once),
        cmocka_unit_test(a_connection_lost_before_the_beginning_is_no_gap),
        cmocka_unit_test(a_node_that_lets_go_is_asked_again),
        cmocka_unit_test(what_no_node_remembers_is_lost),
        cmocka_unit_test(a_node_that_refuses_for_now_is_left_for_another),
        cmocka_unit_test(a_node_that_breaks_its_promise_ends_the_watch),
        cmocka_unit_test(an_event_of_unknown_form_costs_the_connection),
        cmocka_unit_test(an_event_that_cannot_be_held_ends_the_watch),
        cmocka_unit_test(unwatch_ends_it_here_at_once_and_then_at_the_node),
        cmocka_unit_test(a_watch_dropped_while_it_is_asked_for_is_ended_when_it_is_answered),
        cmocka_unit_test(a_watch_that_cannot_begin_ends_at_its_deadline),
        cmocka_unit_test(many_watches_are_told_apart),
        cmocka_unit_test(there_is_an_end_to_how_many_there_may_be),
        cmocka_unit_test(a_silent_node_is_asked_and_then_left_though_nothing_is_due_from_it),
    };
    return cmocka_run_group_tests_name("client_watch", tests, NULL, NULL);
}
