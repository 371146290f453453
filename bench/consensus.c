// What a committed command costs a group of three: messages, round trips and syncs, counted.
//
// Three cores in one process, no network and no disk. A turn is what a node does between two looks
// at its sockets: everything that has arrived is handled, then one frame goes to each peer and one
// sync covers all records. A command is committed when the leader calls its slot chosen. Messages
// between two nodes in one turn share a frame, so both are counted.
//
// What a turn may cost is known, and exceeding it ends this with status 1: one round trip, one sync
// at each node, one frame each way to each follower.
#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consensus/paxos.h"

#define NODES 3
#define MAIL_MAX 4096
#define TURNS 1000

struct mail {
    struct mf_paxos_msg msgs[MAIL_MAX];
    uint32_t count;
};

struct group {
    struct mf_paxos *cores[NODES + 1]; // by node id, from 1
    struct mail mail;
    uint64_t durable[NODES + 1]; // handed over in this turn; 0 = nothing
    uint64_t now_us;
    uint64_t messages;
    uint64_t frames;
    uint64_t syncs;
};

static struct mf_paxos_env env_of(const struct group *group)
{
    return (struct mf_paxos_env){.now_us = group->now_us};
}

static void open_group(struct group *group)
{
    *group = (struct group){.now_us = 1};
    for (uint16_t node = 1; node <= NODES; node++) {
        struct mf_paxos_config config = {
            .self = node,
            .incarnation = 1,
            .members = {.voter_count = NODES, .voters = {{1, 1}, {2, 1}, {3, 1}}},
            .election_us = 1000000,
            .first_election_us = 1000000,
            .resend_us = 1000000,
            .chosen_delay_us = 1000000,
            .window_entries = 1024,
            .window_bytes = 1 << 20,
            .learn_bytes = 1 << 20};
        group->cores[node] = mf_paxos_new(&config, 1, group->now_us);
    }
}

static void close_group(struct group *group)
{
    for (uint16_t node = 1; node <= NODES; node++)
        mf_paxos_free(group->cores[node]);
}

// A node's turn ends: its records go to disk, its messages into one frame for each peer.
static void end_turn(struct group *group, uint16_t node, struct mail *out)
{
    struct mf_paxos *core = group->cores[node];
    uint32_t before = out->count;
    if (!mf_paxos_has_update(core))
        return;
    const struct mf_paxos_update *update = mf_paxos_update_take(core);
    for (uint32_t i = 0; i < update->msg_count; i++) {
        struct mf_buf bytes = {0};
        mf_paxos_msg_encode(&update->msgs[i], &bytes);
        struct mf_reader reader = mf_reader_of(mf_buf_view(&bytes));
        assert(out->count < MAIL_MAX);
        struct mf_paxos_msg *copy = &out->msgs[out->count++];
        enum mf_err err = mf_paxos_msg_decode(&reader, copy);
        assert(err == MF_OK);
        (void)err;
        copy->from = node;
        copy->to = update->msgs[i].to;
        mf_buf_free(&bytes);
    }
    group->durable[node] = update->persist_seq;
    group->syncs += update->persist_seq != 0;
    mf_paxos_update_done(core);
    group->messages += out->count - before;
    bool sent[NODES + 1] = {false};
    for (uint32_t i = before; i < out->count; i++) {
        group->frames += !sent[out->msgs[i].to];
        sent[out->msgs[i].to] = true;
    }
}

// One round: what is in the mail arrives, every node has a turn, and then the disks are done.
static void round_of(struct group *group)
{
    struct mail in = group->mail;
    group->mail.count = 0;
    struct mf_paxos_env env = env_of(group);
    for (uint32_t i = 0; i < in.count; i++) {
        mf_paxos_receive(group->cores[in.msgs[i].to], &env, &in.msgs[i]);
        mf_paxos_msg_free(&in.msgs[i]);
    }
    for (uint16_t node = 1; node <= NODES; node++)
        end_turn(group, node, &group->mail);
    for (uint16_t node = 1; node <= NODES; node++) {
        if (group->durable[node] != 0)
            mf_paxos_persisted(group->cores[node], &env, group->durable[node]);
        group->durable[node] = 0;
        end_turn(group, node, &group->mail); // answers that waited for the disk
    }
}

static void settle(struct group *group)
{
    do
        round_of(group);
    while (group->mail.count > 0);
}

static void elect(struct group *group)
{
    struct mf_paxos_env env = env_of(group);
    mf_paxos_campaign(group->cores[1], &env);
    settle(group);
    assert(mf_paxos_role(group->cores[1]) == MF_LEADER);
}

// `entries` log entries proposed in one turn; returns the rounds until all are committed.
static uint64_t commit(struct group *group, uint32_t entries)
{
    struct mf_paxos *leader = group->cores[1];
    struct mf_paxos_env env = env_of(group);
    uint64_t slot = 0;
    for (uint32_t i = 0; i < entries; i++) {
        uint64_t log_us = mf_paxos_last_log_time(leader) + 1;
        enum mf_err err = mf_paxos_propose(leader, &env, log_us, mf_bytes_str("command"), &slot);
        assert(err == MF_OK);
        (void)err;
    }
    uint64_t rounds = 0;
    for (; mf_paxos_chosen(leader) < slot; rounds++)
        round_of(group);
    return rounds;
}

// False when a turn has cost more or less than it must.
static bool costs(const struct group *group, uint64_t rounds, uint32_t entries)
{
    // Rounds: proposed and sent; accepted and answered; counted.
    return rounds == 3 * TURNS && group->syncs == NODES * TURNS &&
           group->frames == 2 * (NODES - 1) * TURNS &&
           group->messages == 2ull * (NODES - 1) * TURNS * entries;
}

static bool measure(const char *name, uint32_t commands, uint32_t entries)
{
    static struct group group;
    open_group(&group);
    elect(&group);
    commit(&group, 1);
    settle(&group);
    group.messages = group.frames = group.syncs = 0;
    uint64_t rounds = 0;
    for (int i = 0; i < TURNS; i++)
        rounds += commit(&group, entries);
    double total = (double)TURNS * commands;
    printf("%-34s %8.3f %8.3f %8.3f %14.3f %12.1f\n", name, (double)group.messages / total,
           (double)group.frames / total, (double)group.syncs / total,
           (double)group.syncs / TURNS / NODES, (double)(rounds - TURNS) / TURNS / 2);
    bool right = costs(&group, rounds, entries);
    if (!right)
        printf("%s: expected, in %d turns, %d syncs, %d frames, %u messages\n", name, TURNS,
               NODES * TURNS, 2 * (NODES - 1) * TURNS, 2 * (NODES - 1) * TURNS * entries);
    settle(&group);
    close_group(&group);
    return right;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        fprintf(stderr, "usage: %s\nbench_consensus: %s: takes no arguments\n", argv[0], argv[1]);
        return 2;
    }
    printf("3 voters; a committed command costs           per command          per turn\n");
    printf("%-34s %8s %8s %8s %14s %12s\n", "", "messages", "frames", "syncs", "syncs per node",
           "round trips");
    bool right = measure("1 command a turn", 1, 1);
    right = measure("64 commands a turn, one entry", 64, 1) && right;
    right = measure("64 commands a turn, 64 entries", 64, 64) && right;
    return right ? 0 : 1;
}
