// Forming a cluster, and noticing that it has come apart; see forming.h.
#include "server/forming.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rand.h"
#include "consensus/members.h"
#include "server/data_dir.h"
#include "server/links.h"
#include "server/recovery.h"
#include "server/roster.h"

// How long the node waits for others before it says so, and then between two lines.
#define WAITING_US UINT64_C(5000000)
#define LOST_US UINT64_C(60000000)
#define LOST_CHECK_US UINT64_C(1000000)
// A node that was away, or is new, knows an old configuration, and of voters of that one who have
// lost their memory and were admitted again since: for a moment, until it is told of a later one.
#define LOST_STANDS_US UINT64_C(20000000)

_Static_assert(MF_NODES_MAX <= MF_FORMATION_OTHERS_MAX + 1, "a place for every other node");

struct mf_forming {
    struct mf_formation formation;
    uint64_t questions[MF_MEMBERS_MAX]; // of the other members, as last heard
    uint64_t answered[MF_MEMBERS_MAX];  // those of them that our last words answered
    uint64_t say_us;                    // while not formed, all is said again then
    uint64_t waiting_us;                // when to say for whom we wait
    uint64_t lost_us;                   // when to speak of lost memories again
};

struct mf_forming *mf_forming_new(struct mf_node *node)
{
    struct mf_forming *forming = mf_calloc(1, sizeof(*forming));
    uint64_t question;
    mf_entropy(&question, sizeof(question));
    mf_formation_init(&forming->formation, node->state, mf_node_member_count(node) - 1, question);
    forming->waiting_us = node->started_us + WAITING_US;
    atomic_store_explicit(&node->formed, node->state == MF_FORMATION_FORMED, memory_order_release);
    return forming;
}

void mf_forming_free(struct mf_forming *forming)
{
    free(forming);
}

// The formation counts the others, without us.
static uint32_t other_of(const struct mf_node *node, uint32_t member)
{
    return member < node->self ? member : member - 1;
}

static void say(struct mf_reactor *reactor, uint32_t member)
{
    const struct mf_node *node = reactor->node;
    struct mf_forming *forming = node->forming;
    struct mf_peer_state state = {.state = (uint8_t)node->state,
                                  .memory = atomic_load(&node->memory),
                                  .question = forming->formation.question,
                                  .answer = forming->questions[member]};
    mf_links_send_state(reactor->links, member, &state);
    forming->answered[member] = state.answer;
}

static void say_to_all(struct mf_reactor *reactor)
{
    const struct mf_node *node = reactor->node;
    for (uint32_t i = 0; i < mf_node_member_count(node); i++) {
        if (i != node->self && !mf_member_gone(&node->members[i]))
            say(reactor, i);
    }
}

static void formed_here(struct mf_reactor *reactor, struct mf_task *task)
{
    free(task);
    mf_recover_formed(reactor);
    mf_links_introduce(reactor->links);
}

static void formed(struct mf_reactor *reactor)
{
    struct mf_node *node = reactor->node;
    atomic_store_explicit(&node->formed, true, memory_order_release);
    for (uint32_t i = 0; i < node->reactor_count; i++) {
        struct mf_task *task = mf_calloc(1, sizeof(*task));
        task->run = formed_here;
        mf_reactor_send(reactor, (uint16_t)i, task);
    }
}

static void enter(struct mf_reactor *reactor, enum mf_formation_state state, uint64_t memory)
{
    struct mf_node *node = reactor->node;
    char message[1024];
    if (mf_data_dir_enter(node, state, memory, message, sizeof(message)) != MF_OK) {
        mf_log(MF_ERROR, "%s; the node stops", message);
        atomic_store(&node->failed, true);
        kill(getpid(), SIGTERM);
        return;
    }
    mf_formation_enter(&node->forming->formation, state);
    say_to_all(reactor);
    if (state == MF_FORMATION_FORMED)
        formed(reactor);
}

static void learn(struct mf_reactor *reactor)
{
    uint64_t memory;
    do
        mf_entropy(&memory, sizeof(memory));
    while (memory <= MF_FIRST_MEMORY);
    if (reactor->node->joins)
        mf_log(MF_INFO, "this node is let into the cluster, as the acceptor %016" PRIx64, memory);
    else
        mf_log(
            MF_WARN,
            "the cluster is formed, and this node's folder %s is empty: it may have forgotten what "
            "it promised. It goes on as a new member, %016" PRIx64
            ": it learns from the others and votes again when they admit it",
            reactor->node->config.data_dir, memory);
    enter(reactor, MF_FORMATION_FORMED, memory);
}

static void step(struct mf_reactor *reactor)
{
    struct mf_node *node = reactor->node;
    while (!atomic_load(&node->failed)) {
        switch (mf_formation_step(&node->forming->formation)) {
        case MF_FORMATION_WAIT:
            return;
        case MF_FORMATION_ASK:
            say_to_all(reactor);
            break;
        case MF_FORMATION_BE_READY:
            enter(reactor, MF_FORMATION_READY, MF_FIRST_MEMORY);
            break;
        case MF_FORMATION_BE_FORMED:
            enter(reactor, MF_FORMATION_FORMED, MF_FIRST_MEMORY);
            if (node->state == MF_FORMATION_FORMED)
                mf_log(MF_INFO, "the cluster is formed");
            break;
        case MF_FORMATION_LEARN:
            learn(reactor);
            break;
        }
    }
}

static void forget_first_here(struct mf_reactor *reactor, struct mf_task *task)
{
    free(task);
    mf_recover_forget_first(reactor);
}

// A folder that is empty has nothing of what the others' groups began with.
void mf_forming_admitted(struct mf_reactor *reactor)
{
    struct mf_node *node = reactor->node;
    for (uint32_t i = 0; i < node->reactor_count && node->state == MF_FORMATION_FRESH; i++) {
        struct mf_task *task = mf_calloc(1, sizeof(*task));
        task->run = forget_first_here;
        mf_reactor_send(reactor, (uint16_t)i, task);
    }
    mf_formation_there_is(&node->forming->formation);
    step(reactor);
}

struct word {
    struct mf_task task;
    uint32_t member;
    uint64_t incarnation;
    struct mf_peer_state state;
};

static bool waits_to_be_added(const struct mf_node *node)
{
    return node->joins && node->roster->version == 1;
}

// Whether it says something of the formation. Who is let in later goes by the roster that tells of
// it, and so does whoever is told of a formed cluster that has another roster already.
static bool counts(const struct mf_node *node, uint32_t member, enum mf_formation_state state)
{
    bool first = other_of(node, member) < node->forming->formation.other_count;
    bool changed = state == MF_FORMATION_FORMED &&
                   atomic_load(&node->members[member].roster) > node->roster->version;
    return first && !waits_to_be_added(node) && !changed && node->state != MF_FORMATION_FORMED;
}

static void hear(struct mf_reactor *reactor, struct mf_task *task)
{
    struct word *word = (struct word *)task;
    const struct mf_node *node = reactor->node;
    struct mf_forming *forming = node->forming;
    enum mf_formation_state state = (enum mf_formation_state)word->state.state;
    if (!mf_links_is_current(node, word->member, word->incarnation)) {
        free(word);
        return;
    }
    mf_links_learn_memory(reactor, word->member, word->incarnation, word->state.memory);
    forming->questions[word->member] = word->state.question;
    if (counts(node, word->member, state))
        mf_formation_heard(&forming->formation, other_of(node, word->member), word->incarnation,
                           state, word->state.answer);
    step(reactor);
    // Who is not formed waits for an answer; it gets one for each question, and when it insists.
    bool new_question = forming->answered[word->member] != word->state.question;
    bool insists = node->state == MF_FORMATION_FORMED && state != MF_FORMATION_FORMED;
    if (new_question || insists)
        say(reactor, word->member);
    free(word);
}

enum mf_err mf_forming_heard(struct mf_reactor *reactor, uint32_t member, uint64_t incarnation,
                             struct mf_bytes item)
{
    struct mf_peer_state state;
    if (mf_peer_get_state(item, &state) != MF_OK || state.state < MF_FORMATION_FRESH ||
        state.state > MF_FORMATION_FORMED || incarnation == 0 ||
        (state.memory == 0) != (state.state == MF_FORMATION_FRESH))
        return MF_CORRUPT;
    struct word *word = mf_calloc(1, sizeof(*word));
    word->task.run = hear;
    word->member = member;
    word->incarnation = incarnation;
    word->state = state;
    mf_reactor_send(reactor, 0, &word->task);
    return MF_OK;
}

void mf_forming_link_up(struct mf_reactor *reactor, uint32_t member)
{
    say(reactor, member);
}

static void tell_awaited(const struct mf_node *node)
{
    if (node->joins) {
        mf_log(
            MF_WARN,
            "waiting to be let into the cluster: mayfly add-node %u %s, with an address at which "
            "its nodes reach this one",
            node->config.id, node->bound_peer);
        return;
    }
    char names[512] = "";
    size_t len = 0;
    for (uint32_t i = 0; i <= node->forming->formation.other_count && len < sizeof(names); i++) {
        const struct mf_member *member = &node->members[i];
        if (i == node->self || !mf_formation_awaits(&node->forming->formation, other_of(node, i)))
            continue;
        int more = snprintf(names + len, sizeof(names) - len, "%snode %u at %s",
                            len > 0 ? ", " : "", member->id, member->peer);
        len += more > 0 ? (size_t)more : 0;
    }
    mf_log(MF_WARN, "waiting for %s to form the cluster: all of cluster.nodes must be there once",
           names);
}

// True when so many voters are known to have lost their memory that no quorum is left of them.
static bool majority_lost(const struct mf_node *node, const struct mf_members *members)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < members->voter_count; i++) {
        int member = mf_node_member(node, members->voters[i].node);
        uint64_t memory = member < 0 ? 0
                          : (uint32_t)member == node->self
                              ? atomic_load(&node->memory)
                              : atomic_load(&node->members[member].memory);
        left += memory == 0 || memory == members->voters[i].incarnation;
    }
    return left < mf_members_quorum(members);
}

// That stands, and nobody tells the replica of anything new.
static bool stays_lost(struct mf_owned_shard *shard, uint64_t now_us)
{
    struct mf_lost *lost = &shard->lost;
    uint64_t chosen = mf_paxos_chosen(mf_replica_paxos(shard->replica));
    if (!majority_lost(shard->reactor->node, mf_replica_members(shard->replica)))
        *lost = (struct mf_lost){0};
    else if (lost->since_us == 0 || lost->chosen != chosen)
        *lost = (struct mf_lost){.since_us = now_us, .chosen = chosen};
    return lost->since_us != 0 && now_us >= lost->since_us + LOST_STANDS_US;
}

static void count_lost(struct mf_reactor *reactor, uint64_t now_us)
{
    if (now_us < reactor->lost_check_us)
        return;
    reactor->lost_check_us = now_us + LOST_CHECK_US;
    uint32_t lost = 0;
    uint32_t first = 0;
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        struct mf_owned_shard *shard = &reactor->shards[i];
        if (shard->replica != NULL && stays_lost(shard, now_us) && lost++ == 0)
            first = shard->id;
    }
    atomic_store_explicit(&reactor->lost_group, first, memory_order_relaxed);
    atomic_store_explicit(&reactor->lost_groups, lost, memory_order_relaxed);
}

static void tell_lost(struct mf_node *node, uint64_t now_us)
{
    uint32_t lost = 0;
    uint32_t first = UINT32_MAX;
    for (uint32_t i = 0; i < node->reactor_count; i++) {
        const struct mf_reactor *reactor = node->reactors[i];
        uint32_t here = atomic_load_explicit(&reactor->lost_groups, memory_order_relaxed);
        uint32_t group = atomic_load_explicit(&reactor->lost_group, memory_order_relaxed);
        lost += here;
        first = here > 0 && group < first ? group : first;
    }
    if (lost == 0 || now_us < node->forming->lost_us)
        return;
    node->forming->lost_us = now_us + LOST_US;
    mf_log(MF_ERROR,
           "shard %u (and %u others): a majority of its replicas has lost its memory, and cannot "
           "tell what was acknowledged. Nothing is served. Stop all nodes and restore a snapshot "
           "on each: mayfly-snapshot restore FILE --data-dir DIR --config FILE "
           "--force-new-cluster",
           first, lost - 1);
}

void mf_forming_tick(struct mf_reactor *reactor)
{
    struct mf_node *node = reactor->node;
    struct mf_forming *forming = node->forming;
    uint64_t now_us = mf_reactor_now_us(reactor);
    if (atomic_load_explicit(&node->formed, memory_order_acquire))
        count_lost(reactor, now_us);
    if (reactor->index != 0)
        return;
    if (node->state == MF_FORMATION_FORMED) {
        tell_lost(node, now_us);
        return;
    }
    step(reactor);
    if (now_us >= forming->say_us) {
        forming->say_us = now_us + (uint64_t)node->config.heartbeat_ms * 1000;
        say_to_all(reactor);
    }
    if (now_us >= forming->waiting_us && node->state != MF_FORMATION_FORMED) {
        forming->waiting_us = now_us + WAITING_US;
        tell_awaited(node);
    }
}
