// What a process had sent and another reactor of ours hands on when the next process is known: its
// words count no more.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <stdlib.h>

#include "consensus/paxos_msg.h"
#include "rpc/peer_frame.h"
#include "server/forming.h"
#include "server/links_internal.h"

#define OLD_PROCESS 7
#define NEW_PROCESS 8
#define OLD_MEMORY 70
#define NEW_MEMORY 80

// Node 1 with one reactor and one shard, whose other voter is on node 2.
struct fixture {
    struct mf_node node;
    struct mf_reactor reactor;
    struct mf_reactor *reactors[1];
    struct mf_links links;
    struct mf_owned_shard shard;
    struct mf_task *first;
    struct mf_task *last;
};

static void on_persist(void *ctx, uint32_t group, const struct mf_wal_record *records,
                       uint32_t count, uint64_t seq)
{
    (void)ctx, (void)group, (void)records, (void)count, (void)seq;
}

static void on_send(void *ctx, uint32_t group, const struct mf_paxos_msg *msg)
{
    (void)ctx, (void)group, (void)msg;
}

static uint64_t on_node_mono(void *ctx, uint16_t node, uint64_t now_us)
{
    (void)ctx, (void)node, (void)now_us;
    return 0;
}

static bool on_bound(void *ctx, uint16_t node, uint64_t now_us)
{
    (void)ctx, (void)node, (void)now_us;
    return false;
}

static bool on_withdraw(void *ctx, uint16_t node, uint64_t now_us)
{
    (void)ctx, (void)node, (void)now_us;
    return true;
}

static uint64_t on_support(void *ctx, uint16_t node)
{
    (void)ctx, (void)node;
    return 0;
}

static const struct mf_replica_ops ops = {.persist = on_persist,
                                          .send = on_send,
                                          .node_mono_us = on_node_mono,
                                          .bound = on_bound,
                                          .withdraw = on_withdraw,
                                          .support = on_support};

static int open_node(void **state)
{
    struct fixture *f = mf_calloc(1, sizeof(*f));
    f->node.config.id = 1;
    f->node.config.shards = 1;
    f->node.state = MF_FORMATION_FORMED;
    f->node.member_count = 2;
    f->node.members[0].id = 1;
    f->node.members[1].id = 2;
    f->node.members[1].incarnation = OLD_PROCESS;
    f->node.members[1].memory = OLD_MEMORY;
    f->node.reactors = f->reactors;
    f->node.reactor_count = 1;
    f->reactors[0] = &f->reactor;
    f->reactor.node = &f->node;
    f->reactor.links = &f->links;
    f->reactor.shards = &f->shard;
    f->reactor.shard_count = 1;
    f->reactor.out_first = &f->first;
    f->reactor.out_last = &f->last;
    f->links.reactor = &f->reactor;
    const struct mf_replica_config config = {
        .paxos = {.self = 1,
                  .incarnation = 1,
                  .members = {.voter_count = 2, .voters = {{1, 1}, {2, OLD_MEMORY}}},
                  .election_us = 1000000,
                  .window_entries = 1,
                  .window_bytes = 1}};
    f->shard.reactor = &f->reactor;
    f->shard.replica = mf_replica_new(&config, mf_shard_new(0, 1), &ops, f, 1);
    f->node.forming = mf_forming_new(&f->node);
    *state = f;
    return 0;
}

static int close_node(void **state)
{
    struct fixture *f = *state;
    mf_forming_free(f->node.forming);
    mf_replica_free(f->shard.replica);
    free(f);
    return 0;
}

static uint16_t leader(const struct fixture *f)
{
    return mf_paxos_leader(mf_replica_paxos(f->shard.replica));
}

// What lies in the way from one reactor to the other arrives.
static void arrive(struct fixture *f)
{
    while (f->first != NULL) {
        struct mf_task *task = f->first;
        f->first = task->next;
        task->run(&f->reactor, task);
    }
    f->last = NULL;
}

static void send_chosen(struct fixture *f)
{
    const struct mf_paxos_msg msg = {
        .type = MF_PAXOS_CHOSEN, .incarnation = OLD_MEMORY, .ballot = mf_ballot_make(3, 2)};
    struct mf_buf bytes = {0};
    mf_paxos_msg_encode(&msg, &bytes);
    const struct mf_peer_item item = {.kind = MF_PEER_PAXOS, .bytes = mf_buf_view(&bytes)};
    assert_int_equal(mf_links_take_paxos(&f->reactor, 1, OLD_PROCESS, &item, 1), MF_OK);
    mf_buf_free(&bytes);
}

// The new process runs another memory, as its greeting says.
static void greet(struct fixture *f)
{
    f->node.members[1].incarnation = NEW_PROCESS;
    f->node.members[1].memory = NEW_MEMORY;
    struct mf_replica_env env = {.now_us = 2};
    mf_replica_suspect(f->shard.replica, &env, 2);
    mf_replica_peer_up(f->shard.replica, &env, (struct mf_acceptor){2, NEW_MEMORY});
}

static void message_of_a_process_that_was_replaced_meanwhile_says_nothing(void **state)
{
    struct fixture *f = *state;
    send_chosen(f);
    arrive(f);
    assert_int_equal(leader(f), 2);
    assert_int_equal(mf_paxos_present_on(mf_replica_paxos(f->shard.replica), 2), OLD_MEMORY);
    send_chosen(f);
    greet(f);
    assert_int_equal(leader(f), 0);
    arrive(f);
    assert_int_equal(leader(f), 0);
    assert_int_equal(mf_paxos_present_on(mf_replica_paxos(f->shard.replica), 2), NEW_MEMORY);
}

static void word_of_a_process_that_was_replaced_meanwhile_names_no_memory(void **state)
{
    struct fixture *f = *state;
    const struct mf_peer_state word = {
        .state = MF_FORMATION_FORMED, .memory = OLD_MEMORY, .question = 5};
    struct mf_buf bytes = {0};
    mf_peer_put_state(&bytes, &word);
    assert_int_equal(mf_forming_heard(&f->reactor, 1, OLD_PROCESS, mf_buf_view(&bytes)), MF_OK);
    mf_buf_free(&bytes);
    greet(f);
    arrive(f);
    assert_int_equal(f->node.members[1].memory, NEW_MEMORY);
}

// A process over two links: it greets on both before it knows its memory, and says it on the first.
static void greeting_from_before_a_memory_was_known_takes_none_away(void **state)
{
    struct fixture *f = *state;
    struct mf_member *member = &f->node.members[1];
    pthread_mutex_init(&f->node.mutex, NULL);
    mf_links_learn_memory(&f->reactor, 1, OLD_PROCESS, OLD_MEMORY);
    member->incarnation = NEW_PROCESS;
    mf_links_learn_memory(&f->reactor, 1, NEW_PROCESS, 0);
    assert_int_equal(member->memory, 0);
    mf_links_learn_memory(&f->reactor, 1, NEW_PROCESS, NEW_MEMORY);
    assert_int_equal(member->memory, NEW_MEMORY);
    mf_links_learn_memory(&f->reactor, 1, NEW_PROCESS, 0);
    assert_int_equal(member->memory, NEW_MEMORY);
    mf_links_learn_memory(&f->reactor, 1, OLD_PROCESS, OLD_MEMORY);
    assert_int_equal(member->memory, NEW_MEMORY);
    arrive(f);
    pthread_mutex_destroy(&f->node.mutex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            message_of_a_process_that_was_replaced_meanwhile_says_nothing, open_node, close_node),
        cmocka_unit_test_setup_teardown(
            word_of_a_process_that_was_replaced_meanwhile_names_no_memory, open_node, close_node),
        cmocka_unit_test_setup_teardown(greeting_from_before_a_memory_was_known_takes_none_away,
                                        open_node, close_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
