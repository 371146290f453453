// Moving copies to their places; see placer.h.
#include "server/placer.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/copies.h"
#include "server/links.h"
#include "server/roster.h"
#include "server/router.h"

#define LOAD(value) atomic_load_explicit(&(value), memory_order_relaxed)

// How often all shards are looked at, and how many groups of a reactor are on their way at once.
#define LOOK_US UINT64_C(100000)
#define TELL_AGAIN_US UINT64_C(300000)
#define MOVING_MAX 4u

struct mf_placer {
    struct mf_reactor *reactor;
    uint64_t look_us;
    uint32_t moving; // as of the last look
};

struct mf_placer *mf_placer_new(struct mf_reactor *reactor)
{
    struct mf_placer *placer = mf_calloc(1, sizeof(*placer));
    placer->reactor = reactor;
    return placer;
}

void mf_placer_free(struct mf_placer *placer)
{
    free(placer);
}

void mf_placer_wake(struct mf_reactor *reactor)
{
    if (reactor->placer != NULL)
        reactor->placer->look_us = 0;
}

static bool leads(const struct mf_owned_shard *shard)
{
    return shard->replica != NULL && mf_paxos_role(mf_replica_paxos(shard->replica)) == MF_LEADER;
}

static bool names(const struct mf_members *members, uint16_t node)
{
    bool named = mf_members_voter_node(members, node) >= 0;
    for (uint8_t i = 0; i < members->learner_count; i++)
        named = named || members->learners[i].node == node;
    return named;
}

// Whose copies there are: those at their places first, in the roster's order.
static void set_copies(struct mf_owned_shard *shard, const struct mf_members *members)
{
    shard->places.shown_roster = 0;
    const struct mf_roster *roster = shard->reactor->roster;
    const uint16_t *places = mf_roster_places(roster, shard->id);
    uint16_t ids[MF_COPIES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < roster->copies; i++) {
        if (names(members, places[i]))
            ids[count++] = places[i];
    }
    for (uint32_t i = 0; i < (uint32_t)members->voter_count + members->learner_count; i++) {
        bool voter = i < members->voter_count;
        uint16_t id =
            voter ? members->voters[i].node : members->learners[i - members->voter_count].node;
        bool again = mf_roster_has_place(roster, shard->id, id) ||
                     (!voter && mf_members_voter_node(members, id) >= 0);
        if (!again && count < MF_COPIES_MAX)
            ids[count++] = id;
    }
    mf_node_set_copies(shard->reactor->node, shard->id, ids, count);
}

void mf_placer_publish(struct mf_owned_shard *shard)
{
    const struct mf_members *members = mf_replica_members(shard->replica);
    struct mf_places *places = &shard->places;
    uint64_t roster = shard->reactor->roster->version;
    if (members->slot < places->slot)
        return; // we are behind, and somebody who is not has told us
    if (members->slot == places->shown_slot && roster == places->shown_roster)
        return;
    places->slot = members->slot;
    set_copies(shard, members);
    places->shown_slot = members->slot;
    places->shown_roster = roster;
}

// Telling.

// False when it did not go out.
static bool tell(struct mf_owned_shard *shard, uint16_t node)
{
    const struct mf_members *members = mf_paxos_members(mf_replica_paxos(shard->replica));
    struct mf_buf content = {0};
    mf_buf_u64(&content, members->slot);
    mf_buf_u64(&content, members->round);
    mf_buf_u64(&content, mf_paxos_ballot(mf_replica_paxos(shard->replica)));
    mf_members_encode(members, &content);
    bool sent = mf_links_send_item(shard->reactor->links, node, MF_PEER_PLACES, shard->id,
                                   mf_buf_view(&content), false);
    mf_buf_free(&content);
    return sent;
}

static bool may_tell(const struct mf_owned_shard *shard)
{
    return leads(shard) && mf_paxos_settled(mf_replica_paxos(shard->replica));
}

// A learner may have been told while it gave up an older copy, and then made none: it is told again
// until it is none any more.
static void tell_learners(struct mf_owned_shard *shard, uint64_t now_us)
{
    const struct mf_members *members = mf_paxos_members(mf_replica_paxos(shard->replica));
    if (members->learner_count == 0 || now_us < shard->places.told_us + TELL_AGAIN_US)
        return;
    shard->places.told_us = now_us;
    for (uint8_t i = 0; i < members->learner_count; i++)
        (void)tell(shard, members->learners[i].node);
}

static void tell_all(struct mf_owned_shard *shard, uint64_t now_us)
{
    const struct mf_node *node = shard->reactor->node;
    const struct mf_paxos *paxos = mf_replica_paxos(shard->replica);
    struct mf_places *places = &shard->places;
    uint64_t slot = mf_paxos_members(paxos)->slot;
    if (places->told_slot == slot && places->told_ballot == mf_paxos_ballot(paxos)) {
        tell_learners(shard, now_us);
        return;
    }
    places->told_us = now_us;
    places->told_slot = slot;
    places->told_ballot = mf_paxos_ballot(paxos);
    for (uint32_t i = 0; i < mf_node_member_count(node); i++) {
        if (i == node->self || mf_member_gone(&node->members[i]))
            continue;
        if (!tell(shard, node->members[i].id) && mf_links_reaches(shard->reactor->links, i))
            places->told_ballot = 0; // the link is full: all are told again
    }
}

// What is sent while a link is down is lost with it, and told again when there is a new one.
void mf_placer_link_up(struct mf_reactor *reactor, uint16_t node)
{
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        if (may_tell(&reactor->shards[i]))
            (void)tell(&reactor->shards[i], node);
    }
}

// Hearing.

struct word {
    struct mf_task task;
    uint32_t shard;
    uint32_t member;
    uint64_t incarnation;
    mf_ballot_t ballot; // of the leader that says so
    struct mf_members members;
};

static void make_copy(struct mf_owned_shard *shard, const struct mf_members *members)
{
    struct mf_node *node = shard->reactor->node;
    struct mf_acceptor self = {node->config.id, atomic_load(&node->memory)};
    bool formed = atomic_load_explicit(&node->formed, memory_order_acquire);
    if (!formed || shard->state != NULL || shard->places.busy)
        return;
    // A voter whose copy is gone has had no vote since it went: copies.h. Any other has.
    bool votes = mf_members_voter(members, self) >= 0;
    if (mf_members_learner(members, self) >= 0 || (votes && shard->left.gone)) {
        mf_copies_make(shard, members);
    } else if (votes && !shard->places.warned) {
        shard->places.warned = true;
        mf_log(MF_ERROR,
               "shard=%u: this node has a vote, and no copy: restart it, so that it finds out why",
               shard->id);
    }
}

static void hear(struct mf_reactor *reactor, struct mf_task *task)
{
    struct word *word = (struct word *)task;
    struct mf_owned_shard *shard = mf_reactor_shard(reactor, word->shard);
    const struct mf_members *members = &word->members;
    // Asked again: while it was on its way from reactor to reactor, its process may have ended.
    if (members->slot >= shard->places.slot &&
        mf_links_is_current(reactor->node, word->member, word->incarnation)) {
        shard->places.slot = members->slot;
        mf_router_led_by(shard, reactor->node->members[word->member].id, word->incarnation,
                         word->ballot);
        bool named = names(members, reactor->node->config.id);
        set_copies(shard, members);
        if (shard->replica == NULL) {
            make_copy(shard, members);
        } else {
            shard->places.retiring = !named;
            shard->places.retire_slot = members->slot;
            shard->places.retire_ballot = word->ballot;
            mf_placer_wake(reactor);
        }
    }
    free(word);
}

enum mf_err mf_placer_heard(struct mf_reactor *reactor, uint32_t member, uint64_t incarnation,
                            const struct mf_peer_item *item)
{
    struct mf_reader r = mf_reader_of(item->bytes);
    uint64_t slot = mf_read_u64(&r);
    uint64_t round = mf_read_u64(&r);
    mf_ballot_t ballot = mf_read_u64(&r);
    struct mf_members members;
    struct mf_bytes entry = mf_read_bytes(&r, mf_reader_left(&r));
    if (r.failed || mf_members_decode(entry, slot, &members) != MF_OK)
        return MF_CORRUPT;
    members.round = round;
    struct word *word = mf_calloc(1, sizeof(*word));
    word->task.run = hear;
    word->shard = item->shard;
    word->member = member;
    word->incarnation = incarnation;
    word->ballot = ballot;
    word->members = members;
    mf_reactor_send(reactor, mf_reactor_of_shard(reactor->node, item->shard), &word->task);
    return MF_OK;
}

// Moving.

bool mf_placer_evicts(const struct mf_owned_shard *shard)
{
    const struct mf_reactor *reactor = shard->reactor;
    return !mf_roster_has_place(reactor->roster, shard->id, reactor->node->config.id);
}

static bool in_place(const struct mf_owned_shard *shard, const struct mf_members *members)
{
    const struct mf_roster *roster = shard->reactor->roster;
    bool all = members->voter_count == roster->copies;
    for (uint8_t i = 0; i < members->voter_count; i++)
        all = all && mf_roster_has_place(roster, shard->id, members->voters[i].node);
    for (uint8_t i = 0; i < members->learner_count; i++)
        all = all && mf_roster_has_place(roster, shard->id, members->learners[i].node);
    return all;
}

static void insert(struct mf_members *members, struct mf_acceptor voter)
{
    uint8_t at = members->voter_count++;
    for (; at > 0 && members->voters[at - 1].node > voter.node; at--)
        members->voters[at] = members->voters[at - 1];
    members->voters[at] = voter;
}

// The configuration to ask for: one voter at each place, and us, who lead. False while a node that
// is to come is not there.
static bool goal_of(const struct mf_owned_shard *shard, struct mf_members *goal)
{
    const struct mf_node *node = shard->reactor->node;
    const struct mf_roster *roster = shard->reactor->roster;
    const struct mf_members *now = mf_paxos_members(mf_replica_paxos(shard->replica));
    const uint16_t *places = mf_roster_places(roster, shard->id);
    *goal = (struct mf_members){0};
    for (uint32_t i = 0; i < roster->copies; i++) {
        int voter = mf_members_voter_node(now, places[i]);
        if (voter >= 0) {
            insert(goal, now->voters[voter]);
            continue;
        }
        int member = mf_node_member(node, places[i]);
        uint64_t memory = member >= 0 ? atomic_load(&node->members[member].memory) : 0;
        if (memory == 0 || !LOAD(node->members[member].up))
            return false;
        insert(goal, (struct mf_acceptor){places[i], memory});
    }
    int self = mf_members_voter_node(now, node->config.id);
    if (self >= 0 && mf_placer_evicts(shard) && goal->voter_count < MF_VOTERS_MAX)
        insert(goal, now->voters[self]);
    return true;
}

// True while the group is on its way, by a step that is possible.
static bool move(struct mf_placer *placer, struct mf_owned_shard *shard)
{
    const struct mf_paxos *paxos = mf_replica_paxos(shard->replica);
    struct mf_members goal;
    if (shard->move.heir != 0 || mf_paxos_transferring(paxos))
        return shard->places.moving;
    if (in_place(shard, mf_paxos_members(paxos)) || !goal_of(shard, &goal))
        return false;
    if (!shard->places.moving && placer->moving >= MOVING_MAX)
        return false;
    struct mf_replica_env env = mf_reactor_env(placer->reactor);
    const char *why = NULL;
    enum mf_err err = mf_replica_reconfigure(shard->replica, &env, &goal, &why);
    (void)err; // what is in the way now may not be at the next look
    mf_reactor_touch(shard);
    return true;
}

static bool may_retire(const struct mf_owned_shard *shard)
{
    return shard->replica != NULL &&
           mf_copies_may_go(&shard->places, mf_replica_paxos(shard->replica));
}

static void look(struct mf_placer *placer, uint64_t now_us)
{
    struct mf_reactor *reactor = placer->reactor;
    placer->moving = 0;
    for (uint32_t i = 0; i < reactor->shard_count; i++)
        placer->moving += leads(&reactor->shards[i]) && reactor->shards[i].places.moving;
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        struct mf_owned_shard *shard = &reactor->shards[i];
        if (may_retire(shard) && mf_copies_give_up(shard))
            shard->places.retiring = false;
        if (!leads(shard)) {
            shard->places.moving = false;
            continue;
        }
        if (may_tell(shard))
            tell_all(shard, now_us);
        bool before = shard->places.moving;
        shard->places.moving = move(placer, shard);
        placer->moving += !before && shard->places.moving;
    }
}

void mf_placer_tick(struct mf_reactor *reactor)
{
    struct mf_placer *placer = reactor->placer;
    uint64_t now_us = mf_reactor_now_us(reactor);
    if (now_us < placer->look_us || atomic_load(&reactor->node->closing))
        return;
    placer->look_us = now_us + LOOK_US;
    look(placer, now_us);
}

bool mf_placer_is_free(struct mf_node *node, uint16_t id)
{
    int member = mf_node_member(node, id);
    bool self = id == node->config.id;
    uint32_t held = self ? LOAD(node->held) : member >= 0 ? LOAD(node->members[member].held) : 0;
    bool up = self || (member >= 0 && LOAD(node->members[member].up));
    if (up && held > 0)
        return false;
    for (uint32_t s = 0; s < node->config.shards; s++) {
        uint16_t ids[MF_COPIES_MAX];
        uint32_t count = mf_node_copies(node, s, ids);
        if (count == 0)
            return false; // not known here
        for (uint32_t i = 0; i < count; i++) {
            if (ids[i] == id)
                return false;
        }
    }
    return true;
}

uint32_t mf_placer_misplaced(const struct mf_reactor *reactor)
{
    const struct mf_roster *roster = reactor->roster;
    uint32_t misplaced = 0;
    for (uint32_t s = 0; s < roster->shards; s++) {
        uint16_t ids[MF_COPIES_MAX];
        uint32_t count = mf_node_copies(reactor->node, s, ids);
        bool all = count == roster->copies;
        for (uint32_t i = 0; i < count; i++)
            all = all && mf_roster_has_place(roster, s, ids[i]);
        misplaced += !all;
    }
    return misplaced;
}
