// The leases on the links: two nodes exchange the heads of frames by hand, without a socket.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "server/links_internal.h"

#define LEASE_US UINT64_C(500000)
#define HELD_US (LEASE_US - LEASE_US / MF_LEASE_DRIFT)
#define HALF_BEAT_US UINT64_C(25000)
#define START_US UINT64_C(1000000000)

// One process of a node with one reactor, as far as leases are concerned.
struct process {
    struct mf_node node;
    struct mf_reactor reactor;
    struct mf_reactor *reactors[1];
    struct mf_task *first;
    struct mf_task *last;
    struct mf_links links;
};

// Node `id` of the nodes 1 and 2; its link to the other one leads to `peer_incarnation`.
static struct process *start(uint16_t id, uint64_t incarnation, uint64_t peer_incarnation)
{
    struct process *process = mf_calloc(1, sizeof(*process));
    struct mf_node *node = &process->node;
    node->config.id = id;
    node->config.lease_ms = 500;
    node->longest_lease_ms = 500;
    node->config.heartbeat_ms = 50;
    node->started_us = START_US;
    node->fresh = true;
    node->incarnation = incarnation;
    node->member_count = 2;
    node->self = id - 1u;
    node->members[0].id = 1;
    node->members[1].id = 2;
    node->reactors = process->reactors;
    node->reactor_count = 1;
    process->reactors[0] = &process->reactor;
    process->reactor.node = node;
    process->reactor.links = &process->links;
    process->reactor.out_first = &process->first;
    process->reactor.out_last = &process->last;
    process->links.reactor = &process->reactor;
    struct mf_link *link = &process->links.out[2 - id];
    link->links = &process->links;
    link->member = 2u - id;
    link->state = LINK_READY;
    link->incarnation = peer_incarnation;
    mf_node_begin_leases(node);
    return process;
}

static struct mf_link *link_of(struct process *process)
{
    return &process->links.out[2 - process->node.config.id];
}

// How many reactors were told since the last call that they should ask again.
static unsigned told(struct process *process)
{
    unsigned count = 0;
    while (process->first != NULL) {
        struct mf_task *task = process->first;
        process->first = task->next;
        free(task);
        count++;
    }
    process->last = NULL;
    return count;
}

static void stop(struct process *process)
{
    told(process);
    mf_buf_free(&link_of(process)->frame);
    free(process);
}

// The process has just heard the other.
static void hears(struct process *process, uint64_t now_us)
{
    atomic_store(&process->node.members[link_of(process)->member].heard_us, now_us);
}

static bool asks_at(struct process *process, uint64_t now_us)
{
    hears(process, now_us);
    return mf_links_head(link_of(process), now_us).asks;
}

// A frame from one to the other, sent and taken at these times of their clocks.
static struct mf_peer_head pass(struct process *from, uint64_t sent_us, struct process *to,
                                uint64_t taken_us)
{
    hears(from, sent_us);
    struct mf_peer_head head = mf_links_head(link_of(from), sent_us);
    mf_links_take_head(&to->links, from->node.self, from->node.incarnation,
                       mf_node_lease_us(&from->node), &head, taken_us);
    return head;
}

static uint64_t held_until(struct process *holder, struct process *grantor)
{
    uint16_t holder_id = holder->node.config.id;
    return mf_links_held_until(&holder->links, grantor->node.config.id,
                               mf_links_support(&grantor->links, holder_id));
}

static void a_node_that_led_and_never_asked_is_suspected_when_it_falls_silent(void **state)
{
    (void)state;
    struct process *one = start(1, 11, 22);
    hears(one, START_US); // an ACCEPT, say, and then it is killed
    unsigned suspected = 0;
    for (uint64_t now_us = START_US; now_us < START_US + 4 * LEASE_US; now_us += HALF_BEAT_US) {
        mf_links_judge(&one->links, now_us);
        unsigned count = told(one);
        assert_true(count == 0 || now_us >= START_US + LEASE_US);
        suspected += count;
    }
    assert_int_equal(suspected, 1);
    stop(one);
}

static void an_answer_brings_a_lease_that_begins_when_it_was_asked_for(void **state)
{
    (void)state;
    struct process *one = start(1, 11, 22);
    struct process *two = start(2, 22, 11);
    // Their clocks have nothing in common.
    assert_true(pass(one, START_US, two, 77000).asks);
    assert_true(mf_links_bound(&two->links, 1, 77000 + LEASE_US - 1));
    assert_false(mf_links_withdraw(&two->links, 1, 77000 + LEASE_US - 1));
    assert_int_equal(held_until(one, two), 0);
    struct mf_peer_head answer = pass(two, 78000, one, START_US + 3000);
    assert_int_equal(answer.echo_us, START_US);
    assert_int_equal(held_until(one, two), START_US + HELD_US);
    // An answer that is said again is worth no more.
    pass(two, 90000, one, START_US + 15000);
    assert_int_equal(held_until(one, two), START_US + HELD_US);
    stop(one);
    stop(two);
}

// While a change goes from node to node: what is relied on is never longer than what was granted.
static void of_two_lengths_the_shorter_counts(void **state)
{
    (void)state;
    struct process *one = start(1, 11, 22);
    struct process *two = start(2, 22, 11);
    one->node.config.lease_ms = 5000;
    pass(one, START_US, two, 77000);
    pass(two, 78000, one, START_US + 3000);
    assert_int_equal(held_until(one, two), START_US + HELD_US);
    assert_true(mf_links_withdraw(&two->links, 1, 77000 + LEASE_US + 1000));
    // The other way round it is the holder that does not ask for more.
    pass(two, 900000, one, START_US + 900000);
    pass(one, START_US + 901000, two, 901000);
    assert_int_equal(held_until(two, one), 900000 + HELD_US);
    stop(one);
    stop(two);
}

static void a_start_waits_for_the_longest_lease_that_was_ever_granted(void **state)
{
    (void)state;
    struct process *one = start(1, 11, 22);
    one->node.fresh = false;
    one->node.longest_lease_ms = 5000; // of the run before; this one's are of 500
    mf_node_begin_leases(&one->node);
    assert_false(mf_links_withdraw(&one->links, 2, START_US + 10 * LEASE_US - 1));
    assert_true(mf_links_withdraw(&one->links, 2, START_US + 10 * LEASE_US + 1000));
    stop(one);
}

// A process whose ticks are always late, for the length of its leases, looks all the same.
static void late_ticks_put_off_no_suspicion_for_ever(void **state)
{
    (void)state;
    struct process *one = start(1, 11, 22);
    one->node.config.lease_ms = 40;
    hears(one, START_US);
    unsigned suspected = 0;
    for (uint64_t now_us = START_US; now_us <= START_US + 100000; now_us += 20000) {
        mf_links_judge(&one->links, now_us);
        suspected += told(one);
    }
    assert_int_equal(suspected, 1);
    stop(one);
}

static void a_frame_that_asks_is_answered_at_once_over_the_link_to_that_process(void **state)
{
    (void)state;
    struct process *one = start(1, 11, 22);
    struct process *two = start(2, 22, 11);
    pass(one, START_US, two, 77000);
    assert_true(link_of(two)->frame.len > 0);
    // Our link leads to the process before it.
    mf_buf_clear(&link_of(two)->frame, 0);
    link_of(two)->incarnation = 10;
    pass(one, START_US + HALF_BEAT_US, two, 77000 + HALF_BEAT_US);
    assert_int_equal(link_of(two)->frame.len, 0);
    // A frame that does not ask is not answered: two nodes would talk without end.
    link_of(two)->incarnation = 11;
    assert_false(pass(one, START_US + HALF_BEAT_US + 1, two, 77001 + HALF_BEAT_US).asks);
    assert_int_equal(link_of(two)->frame.len, 0);
    stop(one);
    stop(two);
}

static void a_clock_never_comes_back_to_another_process(void **state)
{
    (void)state;
    struct process *one = start(1, 11, 22);
    struct process *two = start(2, 22, 11);
    pass(one, START_US, two, 77000);
    link_of(two)->incarnation = 12; // it has restarted, and we are connected to the new one
    struct mf_peer_head head = mf_links_head(link_of(two), 78000);
    assert_int_equal(head.echo_us, 0);
    assert_int_equal(head.token, 0);
    // The new one's clock may be far behind the old one's, and counts at once.
    one->node.incarnation = 12;
    link_of(one)->asked_us = 0;
    pass(one, 500000, two, 79000);
    assert_int_equal(mf_links_head(link_of(two), 80000).echo_us, 500000);
    stop(one);
    stop(two);
}

static void an_echo_keeps_its_token_when_the_next_grant_has_another(void **state)
{
    (void)state;
    struct process *one = start(1, 11, 22);
    struct process *two = start(2, 22, 11);
    pass(one, START_US, two, 77000);
    uint64_t token = mf_links_head(link_of(two), 78000).token;
    assert_true(mf_links_withdraw(&two->links, 1, 77000 + 2 * LEASE_US));
    assert_int_not_equal(mf_links_support(&two->links, 1), token);
    struct mf_peer_head late = pass(two, 77000 + 2 * LEASE_US, one, START_US + 2 * LEASE_US);
    assert_int_equal(late.token, token);
    assert_int_equal(held_until(one, two), 0);
    // A frame that was delayed on another link does not turn it back.
    struct mf_peer_head old = {.mono_us = START_US - 1, .asks = true};
    mf_links_take_head(&two->links, 0, 11, LEASE_US, &old, 77000 + 2 * LEASE_US);
    assert_int_equal(mf_links_head(link_of(two), 80000 + 2 * LEASE_US).echo_us, START_US);
    stop(one);
    stop(two);
}

static void every_reactor_is_told_when_a_token_is_new_and_only_then(void **state)
{
    (void)state;
    struct process *one = start(1, 11, 22);
    struct process *two = start(2, 22, 11);
    pass(one, START_US, two, 77000);
    pass(two, 77000, one, START_US + 1);
    assert_int_equal(told(one), 1);
    pass(one, START_US + HALF_BEAT_US, two, 77000 + HALF_BEAT_US);
    pass(two, 77000 + HALF_BEAT_US, one, START_US + HALF_BEAT_US + 1);
    assert_int_equal(told(one), 0);
    assert_true(mf_links_withdraw(&two->links, 1, 77000 + 3 * LEASE_US));
    pass(one, START_US + 3 * LEASE_US, two, 77000 + 3 * LEASE_US);
    pass(two, 77000 + 3 * LEASE_US, one, START_US + 3 * LEASE_US + 1);
    assert_int_equal(told(one), 1);
    stop(one);
    stop(two);
}

static void an_echo_of_a_moment_that_has_not_come_yet_is_worth_nothing(void **state)
{
    (void)state;
    struct process *one = start(1, 11, 22);
    struct mf_peer_head head = {.mono_us = 1, .echo_us = START_US + 1, .token = 5};
    mf_links_take_head(&one->links, 1, 22, LEASE_US, &head, START_US);
    assert_int_equal(mf_links_held_until(&one->links, 2, 5), 0);
    head.echo_us = START_US;
    mf_links_take_head(&one->links, 1, 22, LEASE_US, &head, START_US);
    assert_int_equal(mf_links_held_until(&one->links, 2, 5), START_US + HELD_US);
    stop(one);
}

static void the_lease_is_asked_for_in_the_rhythm_of_heartbeats_by_one_reactor(void **state)
{
    (void)state;
    struct process *one = start(1, 11, 22);
    assert_true(asks_at(one, START_US));
    assert_false(asks_at(one, START_US + 1));
    assert_false(asks_at(one, START_US + HALF_BEAT_US - 1));
    assert_true(asks_at(one, START_US + HALF_BEAT_US));
    one->reactor.index = 1;
    assert_false(asks_at(one, START_US + 9 * HALF_BEAT_US));
    stop(one);
}

static void a_node_asks_to_the_end_but_not_while_its_disk_stands_still(void **state)
{
    (void)state;
    struct process *one = start(1, 11, 22);
    one->node.disk_stalled = true;
    assert_false(asks_at(one, START_US));
    assert_true(mf_links_head(link_of(one), START_US).declines);
    one->node.disk_stalled = false;
    assert_true(asks_at(one, START_US + HALF_BEAT_US));
    assert_false(mf_links_head(link_of(one), START_US + HALF_BEAT_US).declines);
    atomic_store(&one->node.stopping, true);
    assert_true(asks_at(one, START_US + 2 * HALF_BEAT_US));
    assert_true(mf_links_head(link_of(one), START_US + 2 * HALF_BEAT_US).declines);
    stop(one);
}

static void a_node_does_not_ask_whom_it_does_not_hear(void **state)
{
    (void)state;
    struct process *one = start(1, 11, 22);
    assert_false(mf_links_head(link_of(one), START_US).asks);
    hears(one, START_US + HALF_BEAT_US);
    assert_true(mf_links_head(link_of(one), START_US + HALF_BEAT_US).asks);
    assert_false(mf_links_head(link_of(one), START_US + HALF_BEAT_US + LEASE_US).asks);
    stop(one);
}

static void a_process_on_a_used_folder_is_bound_to_everybody_for_one_lease(void **state)
{
    (void)state;
    struct process *one = start(1, 11, 22);
    assert_false(mf_links_bound(&one->links, 2, START_US));
    one->node.fresh = false;
    mf_node_begin_leases(&one->node);
    const uint16_t others[] = {2, 99}; // 99 is no member, and may have been one
    for (size_t i = 0; i < 2; i++) {
        assert_true(mf_links_bound(&one->links, others[i], START_US + LEASE_US - 1));
        assert_false(mf_links_withdraw(&one->links, others[i], START_US + LEASE_US - 1));
        assert_false(mf_links_bound(&one->links, others[i], START_US + LEASE_US));
        assert_true(mf_links_withdraw(&one->links, others[i], START_US + LEASE_US));
    }
    assert_false(mf_links_bound(&one->links, 1, START_US));
    assert_true(mf_links_withdraw(&one->links, 1, START_US));
    uint64_t self = mf_links_support(&one->links, 1);
    assert_true(mf_links_held_until(&one->links, 1, self) == UINT64_MAX);
    assert_int_equal(mf_links_held_until(&one->links, 1, 0), 0);
    assert_int_equal(mf_links_support(&one->links, 99), 0);
    stop(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_that_led_and_never_asked_is_suspected_when_it_falls_silent),
        cmocka_unit_test(an_answer_brings_a_lease_that_begins_when_it_was_asked_for),
        cmocka_unit_test(of_two_lengths_the_shorter_counts),
        cmocka_unit_test(a_start_waits_for_the_longest_lease_that_was_ever_granted),
        cmocka_unit_test(late_ticks_put_off_no_suspicion_for_ever),
        cmocka_unit_test(a_frame_that_asks_is_answered_at_once_over_the_link_to_that_process),
        cmocka_unit_test(a_clock_never_comes_back_to_another_process),
        cmocka_unit_test(an_echo_keeps_its_token_when_the_next_grant_has_another),
        cmocka_unit_test(every_reactor_is_told_when_a_token_is_new_and_only_then),
        cmocka_unit_test(an_echo_of_a_moment_that_has_not_come_yet_is_worth_nothing),
        cmocka_unit_test(the_lease_is_asked_for_in_the_rhythm_of_heartbeats_by_one_reactor),
        cmocka_unit_test(a_node_asks_to_the_end_but_not_while_its_disk_stands_still),
        cmocka_unit_test(a_node_does_not_ask_whom_it_does_not_hear),
        cmocka_unit_test(a_process_on_a_used_folder_is_bound_to_everybody_for_one_lease),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
