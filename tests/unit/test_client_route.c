// Which way the calls of libmayfly go: to leaders when they are known and there, and by the first
// connection whenever they are not. Two nodes: 1, which the client is given, and 2, which it learns
// of from the cluster's map. 'b' is in slot 3300, of shard 0; 'a' in slot 15495, of shard 1.
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_node.h"
#include "mayfly/client.h"
#include "rpc/client_internal.h"
#include "rpc/client_route.h"

#define CALLS 40

// A clock that only tests move.
static atomic_uint_fast64_t now_us = 1000000;

static uint64_t standing_clock(void)
{
    return atomic_load(&now_us);
}

// One that every look at it moves, too, by a millisecond.
static uint64_t passing_clock(void)
{
    return atomic_fetch_add(&now_us, 1000);
}

struct scene;

struct side {
    struct scene *scene;
    struct fake_node *node;
    int requests;
    int closes;   // so many requests are answered by a closed connection
    int refusals; // so many by an error
    const char *refusal;
    char last[64]; // method and parameters of the last request
};

struct scene {
    struct side sides[2];
    struct mayfly_client *client;
    const char *second; // the address of node 2 in the map; NULL: it is no member
    int leaders[2];     // of shards 0 and 1
    int maps;           // that were asked for
    int broken_maps;    // so many of them are none
};

static void answer_map(struct scene *scene, const struct fake_request *request, struct mf_buf *out)
{
    int members = scene->second != NULL ? 2 : 1;
    scene->maps++;
    if (scene->broken_maps > 0) {
        scene->broken_maps--;
        fake_reply(out, request->msgid);
        fake_str(out, "no map");
        return;
    }
    fake_reply(out, request->msgid);
    fake_map(out, 3);
    fake_str(out, "name");
    fake_str(out, "fake");
    // Before the nodes: nothing says which comes first.
    fake_str(out, "shards");
    fake_array(out, 2);
    for (int i = 0; i < 2; i++) {
        fake_map(out, 4);
        fake_str(out, "id");
        fake_int(out, i);
        fake_str(out, "slots");
        fake_array(out, 1);
        fake_array(out, 2);
        fake_int(out, i * 8192);
        fake_int(out, i * 8192 + 8191);
        fake_str(out, "leader");
        fake_int(out, scene->leaders[i]);
        fake_str(out, "first");
        fake_nil(out);
    }
    fake_str(out, "nodes");
    fake_array(out, (uint32_t)members);
    for (int i = 0; i < members; i++) {
        fake_map(out, 3);
        fake_str(out, "id");
        fake_int(out, i + 1);
        fake_str(out, "rpc");
        fake_str(out, i == 0 ? fake_node_endpoint(scene->sides[0].node) : scene->second);
        fake_str(out, "alive");
        fake_bool(out, true);
    }
}

static enum fake_then play(void *arg, const struct fake_request *request, struct mf_buf *out)
{
    struct side *side = arg;
    if (strcmp(request->method, "cluster") == 0) {
        answer_map(side->scene, request, out);
        return FAKE_GO_ON;
    }
    side->requests++;
    snprintf(side->last, sizeof side->last, "%.8s %.40s", request->method, request->params);
    if (side->closes > 0) {
        side->closes--;
        return FAKE_CLOSE;
    }
    if (side->refusals > 0) {
        side->refusals--;
        fake_error(out, request->msgid, side->refusal, "for a test");
        return FAKE_GO_ON;
    }
    fake_reply(out, request->msgid);
    if (strcmp(request->method, "mget") == 0) {
        fake_array(out, 2);
        fake_nil(out);
        fake_nil(out);
    } else if (strcmp(request->method, "get") == 0) {
        fake_nil(out);
    } else if (strcmp(request->method, "txn") == 0) {
        fake_map(out, 2);
        fake_str(out, "ok");
        fake_bool(out, true);
        fake_str(out, "results");
        fake_array(out, 0);
    } else {
        fake_int(out, 7);
    }
    return FAKE_GO_ON;
}

static void set_up(struct scene *scene, enum mayfly_route route, uint32_t connections,
                   int second_id)
{
    *scene = (struct scene){.leaders = {1, 2}};
    for (int i = 0; i < 2; i++) {
        scene->sides[i].scene = scene;
        // A stranger, who has another id, is of another cluster.
        struct fake_options options = {.raw_map = true,
                                       .shards = i == 0 || second_id == 2 ? 2 : 5,
                                       .node = i == 0 ? 1 : second_id};
        scene->sides[i].node = fake_node_start(play, &scene->sides[i], options);
    }
    scene->second = fake_node_endpoint(scene->sides[1].node);
    struct mayfly_client_options options = {
        .endpoints = fake_node_endpoint(scene->sides[0].node),
        .timeout_ms = 60000,
        .connect_timeout_ms = 3600 * 1000, // by a clock that runs ahead of the nodes
        .silence_ms = 600 * 1000,
        .route = route,
        .connections = connections,
    };
    scene->client = mayfly_client_new(&options, NULL, 0);
    assert_non_null(scene->client);
}

// Ends everything; each node must have had so many connections.
static void tear_down(struct scene *scene, int first, int second)
{
    mayfly_client_free(scene->client);
    assert_int_equal(fake_node_stop(scene->sides[0].node), first);
    assert_int_equal(fake_node_stop(scene->sides[1].node), second);
}

static int requests_of(struct scene *scene, int side)
{
    fake_lock();
    int requests = scene->sides[side].requests;
    fake_unlock();
    return requests;
}

static void incr(struct scene *scene, const char *key)
{
    assert_int_equal(mayfly_incr(scene->client, mayfly_str(key), 1, NULL, NULL), MAYFLY_OK);
}

// Calls until the second node has had one; a client that never goes there hangs the test.
static void run_until_routed(struct scene *scene)
{
    int before = requests_of(scene, 1);
    while (requests_of(scene, 1) == before)
        incr(scene, "a");
}

static void calls_go_to_the_leaders_once_they_are_known(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene, MAYFLY_ROUTE_LEADERS, 0, 2);
    run_until_routed(&scene);
    int before[2] = {requests_of(&scene, 0), requests_of(&scene, 1)};
    for (int i = 0; i < CALLS; i++) {
        incr(&scene, "a");
        incr(&scene, "b");
    }
    assert_int_equal(requests_of(&scene, 0), before[0] + CALLS);
    assert_int_equal(requests_of(&scene, 1), before[1] + CALLS);
    assert_int_equal(scene.maps, 1);
    // The first connection is the one to the first leader.
    tear_down(&scene, 1, 1);
}

static void a_client_of_a_few_calls_asks_for_no_map(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene, MAYFLY_ROUTE_LEADERS, 0, 2);
    for (int i = 0; i < 10; i++)
        incr(&scene, "a");
    assert_int_equal(scene.maps, 0);
    tear_down(&scene, 1, 0);
}

static void without_routes_all_calls_go_one_way(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene, MAYFLY_ROUTE_NONE, 0, 2);
    for (int i = 0; i < CALLS; i++)
        incr(&scene, "a");
    assert_int_equal(scene.maps, 0);
    tear_down(&scene, 1, 0);
}

static void a_pool_has_so_many_connections_to_each_leader(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene, MAYFLY_ROUTE_LEADERS, 3, 2);
    run_until_routed(&scene);
    for (int i = 0; i < CALLS; i++) {
        incr(&scene, "a");
        incr(&scene, "b");
    }
    assert_int_equal(scene.client->link_count, 2 + 2 + 3);
    tear_down(&scene, 3, 3);
}

static void what_has_no_leader_of_its_own_stays_on_the_first_connection(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene, MAYFLY_ROUTE_LEADERS, 0, 2);
    run_until_routed(&scene);
    int before = requests_of(&scene, 1);
    struct mayfly_bytes both[] = {mayfly_str("a"), mayfly_str("b")};
    struct mayfly_bytes one[] = {mayfly_str("a"), mayfly_str("a{a}")};
    struct mayfly_options local = {.flags = MAYFLY_FLAG_LOCAL};
    struct mayfly_entry entries[2];
    const struct mayfly_value *value;
    uint64_t keys;
    assert_int_equal(mayfly_size(scene.client, &keys), MAYFLY_OK);
    assert_int_equal(mayfly_get(scene.client, both[0], &local, entries), MAYFLY_OK);
    assert_int_equal(mayfly_mget(scene.client, both, 2, NULL, entries), MAYFLY_OK);
    assert_int_equal(mayfly_cluster(scene.client, &value), MAYFLY_OK);
    assert_int_equal(requests_of(&scene, 1), before);
    assert_int_equal(mayfly_mget(scene.client, one, 2, NULL, entries), MAYFLY_OK);
    assert_int_equal(requests_of(&scene, 1), before + 1);
    // A txn goes where its first key goes.
    struct mayfly_request get = {.method = MAYFLY_METHOD_GET, .keys = one, .count = 1};
    struct mayfly_condition there = {
        .key = one[0], .subject = MAYFLY_SUBJECT_EXISTS, .exists = true};
    struct mayfly_txn txns[] = {
        {.then = &get, .then_count = 1},
        {.conditions = &there, .condition_count = 1, .then = &get, .then_count = 1},
    };
    for (size_t i = 0; i < 2; i++) {
        bool ok;
        assert_int_equal(mayfly_txn(scene.client, &txns[i], NULL, &ok, &value), MAYFLY_OK);
        assert_int_equal(requests_of(&scene, 1), before + 2 + (int)i);
    }
    tear_down(&scene, 1, 1);
}

static void a_leader_that_dies_is_gone_around(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene, MAYFLY_ROUTE_LEADERS, 0, 2);
    run_until_routed(&scene);
    fake_lock();
    scene.sides[1].closes = 1;
    int before = scene.sides[0].requests;
    fake_unlock();
    incr(&scene, "a");
    assert_int_equal(requests_of(&scene, 0), before + 1);
    // And taken again when it is back.
    run_until_routed(&scene);
    tear_down(&scene, 1, 2);
}

static void a_leader_that_refuses_is_gone_around(void **state)
{
    (void)state;
    static const char *const codes[] = {"NO_QUORUM", "BUSY", "TIMEOUT", "SHUTTING_DOWN"};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct scene scene;
        set_up(&scene, MAYFLY_ROUTE_LEADERS, 0, 2);
        run_until_routed(&scene);
        fake_lock();
        scene.sides[1].refusal = codes[i];
        scene.sides[1].refusals = 1;
        int before = scene.sides[0].requests;
        fake_unlock();
        incr(&scene, "a");
        assert_int_equal(requests_of(&scene, 0), before + 1);
        mayfly_client_free(scene.client);
        fake_node_stop(scene.sides[0].node);
        fake_node_stop(scene.sides[1].node);
    }
}

static void a_leader_that_cannot_be_reached_is_no_harm(void **state)
{
    (void)state;
    struct fake_port port = fake_port_taken();
    char name[32];
    // A name is not looked up for this, even if it would lead there.
    const char *const addresses[] = {port.endpoint, "::::", "", "h", name};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        struct scene scene;
        set_up(&scene, MAYFLY_ROUTE_LEADERS, 0, 2);
        snprintf(name, sizeof name, "localhost%s", strchr(scene.second, ':'));
        scene.second = addresses[i];
        for (int call = 0; call < CALLS; call++)
            incr(&scene, "a");
        assert_int_equal(requests_of(&scene, 0), CALLS);
        assert_int_equal(scene.maps, 1);
        tear_down(&scene, 1, 0);
    }
    fake_port_free(&port);
}

static void whoever_else_answers_at_a_leaders_address_gets_no_calls(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene, MAYFLY_ROUTE_LEADERS, 0, 3);
    const struct mf_link *link = NULL;
    for (int i = 0; i < CALLS || link == NULL || link->endpoints[0].why[0] == '\0'; i++) {
        incr(&scene, "a");
        link = scene.client->link_count > 2 ? scene.client->links[2] : NULL;
    }
    assert_int_equal(requests_of(&scene, 1), 0);
    assert_string_equal(link->endpoints[0].why, "another node answers at its address");
    // Not even when there is nobody else.
    fake_node_stop(scene.sides[0].node);
    while (mayfly_client_endpoint(scene.client)[0] != '\0')
        (void)mayfly_poll(scene.client, 0);
    mayfly_client_set_timeout(scene.client, 200);
    uint64_t keys;
    assert_int_equal(mayfly_size(scene.client, &keys), MAYFLY_ERR_UNREACHABLE);
    assert_non_null(strstr(mayfly_client_error(scene.client), "another node answers"));
    assert_int_equal(requests_of(&scene, 1), 0);
    mayfly_client_free(scene.client);
    fake_node_stop(scene.sides[1].node);
}

static void a_map_that_is_none_is_no_harm(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene, MAYFLY_ROUTE_LEADERS, 0, 2);
    scene.client->clock_us = standing_clock;
    scene.broken_maps = 1;
    for (int i = 0; i < CALLS; i++)
        incr(&scene, "a");
    assert_int_equal(requests_of(&scene, 0), CALLS);
    assert_int_equal(scene.maps, 1);
    // It is asked for again, in a few minutes.
    atomic_fetch_add(&now_us, 300 * 1000000);
    run_until_routed(&scene);
    assert_int_equal(scene.maps, 2);
    tear_down(&scene, 1, 1);
}

static void leaders_that_move_are_followed_and_members_that_go_are_left(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene, MAYFLY_ROUTE_LEADERS, 0, 2);
    scene.client->clock_us = standing_clock; // however long the second node takes to be there
    run_until_routed(&scene);
    fake_lock();
    scene.leaders[0] = 2;
    scene.leaders[1] = 1;
    fake_unlock();
    // Not asked for again so soon,
    atomic_fetch_add(&now_us, 14 * 1000000);
    for (int i = 0; i < CALLS; i++)
        incr(&scene, "a");
    assert_int_equal(scene.maps, 1);
    atomic_fetch_add(&now_us, 16 * 1000000);
    int before = requests_of(&scene, 1);
    while (requests_of(&scene, 1) == before)
        incr(&scene, "b");
    assert_int_equal(scene.maps, 2);
    // unless there is trouble, and then within a second.
    scene.client->clock_us = passing_clock; // what was refused rests for a moment
    fake_lock();
    scene.second = NULL;
    scene.sides[1].refusal = "NO_QUORUM";
    scene.sides[1].refusals = 1;
    fake_unlock();
    uint64_t trouble_us = passing_clock();
    while (scene.client->links[2] != NULL) {
        uint64_t keys;
        atomic_fetch_add(&now_us, 100000);
        incr(&scene, "b");
        // By the first connection: the answer to what was asked there before has come, however long
        // that node's thread has stood still.
        assert_int_equal(mayfly_size(scene.client, &keys), MAYFLY_OK);
    }
    assert_true(passing_clock() - trouble_us < 10 * 1000000);
    assert_int_equal(scene.maps, 3);
    before = requests_of(&scene, 0);
    for (int i = 0; i < CALLS; i++)
        incr(&scene, "b");
    assert_int_equal(requests_of(&scene, 0), before + CALLS);
    tear_down(&scene, 1, 1);
}

// A value of which only the first part fits into the sockets while nobody reads.
static uint8_t large[24 << 20];

static void count_fine(void *cookie, const struct mayfly_reply *reply)
{
    assert_int_equal(reply->err, MAYFLY_OK);
    ++*(int *)cookie;
}

static void submit_large(struct scene *scene, const char *key, mayfly_done *done, int *count)
{
    struct mayfly_bytes bytes = mayfly_str(key);
    struct mayfly_bytes value = {large, sizeof large};
    struct mayfly_request request = {
        .method = MAYFLY_METHOD_APPEND, .keys = &bytes, .values = &value, .count = 1};
    assert_int_equal(mayfly_submit(scene->client, &request, done, count), MAYFLY_OK);
}

static void submit_incr(struct scene *scene, const char *key, mayfly_done *done, int *count)
{
    struct mayfly_bytes bytes = mayfly_str(key);
    struct mayfly_request request = {
        .method = MAYFLY_METHOD_INCR, .keys = &bytes, .count = 1, .delta = 1};
    assert_int_equal(mayfly_submit(scene->client, &request, done, count), MAYFLY_OK);
}

// Until a large request is half out on this connection. The nodes must be at rest: see fake_lock.
static void poll_until_half_written(struct scene *scene, const struct mf_link *link)
{
    while (!link->full || link->sent_of_head == 0)
        (void)mayfly_poll(scene->client, 0);
}

// What was on its way by another connection may not come between two halves of a request.
static void calls_of_a_lost_connection_wait_behind_a_request_that_is_half_written(void **state)
{
    (void)state;
    struct scene scene;
    int done = 0;
    set_up(&scene, MAYFLY_ROUTE_LEADERS, 0, 2);
    run_until_routed(&scene);
    struct mf_link *first = scene.client->links[0];
    struct mf_link *second = scene.client->links[2];
    fake_lock();
    submit_incr(&scene, "b", count_fine, &done);
    submit_large(&scene, "b", count_fine, &done);
    submit_incr(&scene, "a", count_fine, &done);
    submit_incr(&scene, "a", count_fine, &done);
    while (second->sent.head == NULL || second->queue.head != NULL)
        (void)mayfly_poll(scene.client, 0);
    poll_until_half_written(&scene, first);
    struct mf_call *half = first->queue.head;
    mf_link_lose(second, "for a test");
    bool is_first = first->queue.head == half;
    fake_unlock();
    assert_true(is_first);
    mayfly_drain(scene.client);
    assert_int_equal(done, 4);
    tear_down(&scene, 1, 1);
}

static void count_any(void *cookie, const struct mayfly_reply *reply)
{
    (void)reply;
    ++*(int *)cookie;
}

// As if the node had sent it.
static void hear(struct mf_link *link, const void *bytes, size_t len)
{
    mf_buf_put(&link->in, bytes, len);
    mf_replies_take(link);
}

// Who is refused for good ends all calls: also one of which a leader has a part, whose connection
// could take no other after it.
static void a_refused_greeting_leaves_no_connection_amid_a_request(void **state)
{
    (void)state;
    static const char refused[] = "\x94\x01\xce\xff\xff\xff\xfe\x93\xacUNAUTHORIZED\xa0\x80\xc0";
    struct scene scene;
    int done = 0;
    set_up(&scene, MAYFLY_ROUTE_LEADERS, 0, 2);
    run_until_routed(&scene);
    struct mf_link *first = scene.client->links[0];
    struct mf_link *second = scene.client->links[2];
    fake_lock();
    submit_incr(&scene, "a", count_any, &done);
    submit_large(&scene, "a", count_any, &done);
    poll_until_half_written(&scene, second);
    mf_link_lose(first, "for a test");
    first->state = MF_LINK_GREETING;
    hear(first, refused, sizeof refused - 1);
    size_t rest = second->sent_of_head;
    fake_unlock();
    assert_int_equal(done, 2);
    assert_int_equal(rest, 0);
    incr(&scene, "a");
    mayfly_client_free(scene.client);
    fake_node_stop(scene.sides[0].node);
    fake_node_stop(scene.sides[1].node);
}

// An answer to what has not been asked yet.
static void a_map_that_comes_before_it_is_asked_for_is_none(void **state)
{
    (void)state;
    static const char early[] = "\x94\x01\xce\xff\xff\xff\xfd\xc0\x80";
    struct scene scene;
    int done = 0;
    set_up(&scene, MAYFLY_ROUTE_LEADERS, 0, 2);
    scene.client->clock_us = passing_clock;
    for (int i = 0; i < 14; i++)
        incr(&scene, "b");
    struct mf_link *first = scene.client->links[0];
    fake_lock();
    submit_incr(&scene, "b", count_fine, &done);
    submit_large(&scene, "b", count_fine, &done);
    poll_until_half_written(&scene, first);
    assert_true(first->queue.tail->own);
    for (int i = 0; i < 3; i++) {
        hear(first, early, sizeof early - 1);
        mf_route_trouble(scene.client);
        atomic_fetch_add(&now_us, 3 * 1000000);
        (void)mayfly_poll(scene.client, 0);
    }
    size_t queued = 0;
    for (const struct mf_call *call = first->queue.head; call != NULL && queued < 9;
         call = call->next)
        queued++;
    fake_unlock();
    assert_int_equal(queued, 2);
    mayfly_drain(scene.client);
    assert_int_equal(done, 2);
    tear_down(&scene, 1, 0);
}

// The one node that was given is gone. Those that were learned of take its place.
static void a_member_that_was_only_learned_of_takes_the_place_of_one_that_is_gone(void **state)
{
    (void)state;
    struct scene scene;
    set_up(&scene, MAYFLY_ROUTE_LEADERS, 0, 2);
    run_until_routed(&scene);
    assert_int_equal(fake_node_stop(scene.sides[0].node), 1);
    uint64_t keys;
    assert_int_equal(mayfly_size(scene.client, &keys), MAYFLY_OK);
    assert_string_equal(mayfly_client_endpoint(scene.client), scene.second);
    incr(&scene, "b");
    mayfly_client_free(scene.client);
    fake_node_stop(scene.sides[1].node);
}

static void endpoints_are_learned_beside_those_that_were_given(void **state)
{
    (void)state;
    struct mayfly_client_options options = {.endpoints = "127.0.0.1:1,127.0.0.1:2"};
    struct mayfly_client *client = mayfly_client_new(&options, NULL, 0);
    struct mf_link *link = client->links[0];
    const char *const first[] = {"127.0.0.1:2", "127.0.0.1:3", "nonsense:", "127.0.0.1:4",
                                 "127.0.0.1:3"};
    const char *const second[] = {"127.0.0.1:5"};
    char text[256];
    mf_endpoints_learn(link, first, 5);
    mf_endpoints_describe(link, text, sizeof text);
    assert_string_equal(text, "127.0.0.1:1 (not tried), 127.0.0.1:2 (not tried), "
                              "127.0.0.1:3 (not tried), 127.0.0.1:4 (not tried)");
    // The one in use stays.
    link->at = 3;
    mf_endpoints_learn(link, second, 1);
    assert_string_equal(link->endpoints[link->at].name, "127.0.0.1:4");
    assert_int_equal(link->endpoint_count, 4);
    assert_string_equal(link->endpoints[3].name, "127.0.0.1:5");
    link->at = 1;
    mf_endpoints_learn(link, second, 0);
    assert_int_equal(link->endpoint_count, 2);
    mayfly_client_free(client);
}

static bool parses(const void *bytes, size_t len, struct mf_route_map *map)
{
    struct mf_msgpack_in in = {mf_reader_of(mf_bytes_of(bytes, len))};
    *map = (struct mf_route_map){0};
    return mf_route_parse(&in, map);
}

static void maps_are_read_with_bounds(void **state)
{
    (void)state;
    static struct mf_route_map map;
    // {shards: [{slots: [[FIRST, LAST]], leader: 7}], nodes: [{id: 7, rpc: "h:1"}]}
    static const uint8_t good[] = "\x82\xa6shards\x91\x82\xa5slots\x91\x92\x02\x03\xa6leader\x07"
                                  "\xa5nodes\x91\x82\xa2id\x07\xa3rpc\xa3h:1";
    const size_t size = sizeof good - 1;
    assert_true(parses(good, size, &map));
    assert_int_equal(map.node_count, 1);
    assert_string_equal(map.nodes[0].address, "h:1");
    assert_int_equal(map.leaders[1], 0);
    assert_int_equal(map.leaders[2], 1);
    assert_int_equal(map.leaders[3], 1);
    assert_int_equal(map.leaders[4], 0);
    for (size_t len = 0; len < size; len++)
        assert_false(parses(good, len, &map));
    // Any one byte that is another: nothing is read or written that is not there.
    for (size_t at = 0; at < size; at++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            uint8_t bytes[sizeof good];
            memcpy(bytes, good, size);
            bytes[at] = (uint8_t)byte;
            (void)parses(bytes, size, &map);
        }
    }
    // A second node of the same id, and addresses that would not fit into a line of text.
    static const uint8_t twice[] =
        "\x82\xa5nodes\x92\x82\xa2id\x07\xa3rpc\xa3h:1\x82\xa2id\x07\xa3rpc"
        "\xa3g:1\xa6shards\x90";
    assert_true(parses(twice, sizeof twice - 1, &map));
    assert_int_equal(map.node_count, 1);
    assert_string_equal(map.nodes[0].address, "h:1");
    for (uint8_t byte = 0; byte <= ' '; byte++) {
        uint8_t bytes[] = "\x82\xa5nodes\x91\x82\xa2id\x07\xa3rpc\xa3h:1\xa6shards\x90";
        bytes[18] = byte < ' ' ? byte : 0x7f; // the h
        assert_true(parses(bytes, sizeof bytes - 1, &map));
        assert_int_equal(map.node_count, 0);
    }
    // A slot range that is none, and the same slots a hundred times.
    static const uint8_t turned[] = "\x81\xa6shards\x91\x81\xa5slots\x91\x92\x03\x02";
    assert_false(parses(turned, sizeof turned - 1, &map));
    static const uint8_t beyond[] = "\x81\xa6shards\x91\x81\xa5slots\x91\x92\x03\xcd\x40\x00";
    assert_false(parses(beyond, sizeof beyond - 1, &map));
    struct mf_buf many = {0};
    mf_buf_put(&many, "\x81\xa6shards\x91\x81\xa5slots\xdc\x00\x64", 19);
    for (int i = 0; i < 100; i++)
        mf_buf_put(&many, "\x92\x00\xcd\x3f\xff", 5);
    assert_false(parses(many.data, many.len, &map));
    mf_buf_free(&many);
}

static void options_of_routes_are_checked(void **state)
{
    (void)state;
    struct mayfly_client_options options = {.connections = MAYFLY_CONNECTIONS_MAX + 1};
    char why[128];
    assert_null(mayfly_client_new(&options, why, sizeof why));
    assert_string_equal(why, "connections is 17, expected at most 16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_go_to_the_leaders_once_they_are_known),
        cmocka_unit_test(a_client_of_a_few_calls_asks_for_no_map),
        cmocka_unit_test(without_routes_all_calls_go_one_way),
        cmocka_unit_test(a_pool_has_so_many_connections_to_each_leader),
        cmocka_unit_test(what_has_no_leader_of_its_own_stays_on_the_first_connection),
        cmocka_unit_test(a_leader_that_dies_is_gone_around),
        cmocka_unit_test(a_leader_that_refuses_is_gone_around),
        cmocka_unit_test(a_leader_that_cannot_be_reached_is_no_harm),
        cmocka_unit_test(whoever_else_answers_at_a_leaders_address_gets_no_calls),
        cmocka_unit_test(a_map_that_is_none_is_no_harm),
        cmocka_unit_test(leaders_that_move_are_followed_and_members_that_go_are_left),
        cmocka_unit_test(calls_of_a_lost_connection_wait_behind_a_request_that_is_half_written),
        cmocka_unit_test(a_refused_greeting_leaves_no_connection_amid_a_request),
        cmocka_unit_test(a_map_that_comes_before_it_is_asked_for_is_none),
        cmocka_unit_test(a_member_that_was_only_learned_of_takes_the_place_of_one_that_is_gone),
        cmocka_unit_test(endpoints_are_learned_beside_those_that_were_given),
        cmocka_unit_test(maps_are_read_with_bounds),
        cmocka_unit_test(options_of_routes_are_checked),
    };
    return cmocka_run_group_tests_name("client_route", tests, NULL, NULL);
}
