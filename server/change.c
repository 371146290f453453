// Carrying out what operators wish of the roster; see change.h.
#include "server/change.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "rpc/msgpack_rpc.h"
#include "server/membership.h"
#include "server/placer.h"
#include "server/roster.h"

#define LOAD(value) atomic_load_explicit(&(value), memory_order_relaxed)

// A change that makes no progress is watched for so long; one whose node cannot be reached, for
// limits.request_timeout.
#define IDLE_US UINT64_C(120000000)
// All that are up hear of a newer roster within this.
#define KNOWN_US UINT64_C(1000000)
#define LOOK_US UINT64_C(50000)
#define MESSAGE_BYTES 400

struct change {
    struct change *next;
    struct mf_reactor *reactor;
    mf_admin_done *done;
    void *arg;
    bool add;
    uint16_t id;
    char peer[MF_ROSTER_PEER_BYTES];
    bool proposing;
    bool taken; // the wish is in the roster, or was
    uint64_t begun_us;
    uint64_t gone_us;     // a node to be removed: since when it is seen to be dropped
    uint64_t progress_us; // when `left` was last another
    uint32_t left;        // shards that are not as wished
};

struct mf_changes {
    struct change *first;
    uint64_t look_us;
};

struct mf_changes *mf_changes_new(struct mf_reactor *reactor)
{
    (void)reactor;
    return mf_calloc(1, sizeof(struct mf_changes));
}

static void unlink_change(struct change *change)
{
    struct change **at = &change->reactor->changes->first;
    while (*at != change)
        at = &(*at)->next;
    *at = change->next;
}

static void end(struct change *change, enum mf_err err, const char *message)
{
    struct mf_buf out = {0};
    mf_pack_bool(&out, true);
    unlink_change(change);
    change->done(change->arg, err, message, mf_buf_view(&out));
    mf_buf_free(&out);
    free(change);
}

__attribute__((format(printf, 3, 4))) static void refuse(struct change *change, enum mf_err err,
                                                         const char *format, ...)
{
    char message[MESSAGE_BYTES];
    size_t len = (size_t)snprintf(message, sizeof(message),
                                  "%s: ", change->add ? "add_node" : "remove_node");
    va_list args;
    va_start(args, format);
    vsnprintf(message + len, sizeof(message) - len, format, args);
    va_end(args);
    end(change, err, message);
}

void mf_changes_free(struct mf_changes *changes)
{
    if (changes == NULL)
        return;
    while (changes->first != NULL)
        // What ends leaves the list first. NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
        end(changes->first, MF_SHUTTING_DOWN, NULL);
    free(changes);
}

static bool is_up(const struct mf_node *node, uint16_t id)
{
    int member = mf_node_member(node, id);
    return member >= 0 && ((uint32_t)member == node->self || LOAD(node->members[member].up));
}

static bool majority_up(const struct mf_node *node, const uint16_t *ids, uint32_t count,
                        uint16_t *down)
{
    uint32_t up = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool here = is_up(node, ids[i]);
        up += here;
        *down = here ? *down : ids[i];
    }
    return up > count / 2;
}

// Why the shards cannot be brought to where `next` wishes them, or would not live there.
static bool strands(struct change *change, const struct mf_roster *next)
{
    const struct mf_node *node = change->reactor->node;
    for (uint32_t s = 0; s < next->shards; s++) {
        uint16_t ids[MF_COPIES_MAX];
        uint16_t down = 0;
        uint32_t count = mf_node_copies(node, s, ids);
        if (count > 0 && !majority_up(node, ids, count, &down)) {
            refuse(change, MF_NO_QUORUM,
                   "shard %u has no majority of its copies now: node %u is down", s, down);
            return true;
        }
        if (!majority_up(node, mf_roster_places(next, s), next->copies, &down)) {
            refuse(change, MF_NO_QUORUM,
                   "shard %u would be left without a majority: node %u is down", s, down);
            return true;
        }
    }
    return false;
}

static void on_proposed(void *arg, enum mf_err err, bool taken)
{
    struct change *change = arg;
    change->proposing = false;
    change->taken = change->taken || taken;
    if (err == MF_TIMEOUT)
        refuse(change, MF_TIMEOUT, "it is not known whether the cluster has taken the change");
    else if (err != MF_OK)
        refuse(change, err, "shard 0, whose log has the nodes of the cluster, took nothing: %s",
               mf_err_text(err));
}

static void propose(struct change *change, struct mf_roster *next)
{
    change->proposing = true;
    mf_membership_propose(change->reactor, next, on_proposed, change);
    mf_roster_unref(next);
}

static uint64_t random_number(struct change *change)
{
    return mf_rand_next(&change->reactor->rand);
}

static uint32_t staying(const struct mf_roster *roster)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < roster->count; i++)
        count += !roster->nodes[i].leaving;
    return count;
}

// The wish is not in the roster yet.
static void begin_add(struct change *change)
{
    const struct mf_roster *roster = change->reactor->roster;
    for (uint32_t i = 0; i < roster->count; i++) {
        if (strcmp(roster->nodes[i].peer, change->peer) == 0) {
            refuse(change, MF_BAD_REQUEST, "%s is the address of node %u", change->peer,
                   roster->nodes[i].id);
            return;
        }
    }
    if (roster->count == MF_NODES_MAX)
        refuse(change, MF_BAD_REQUEST, "the cluster has %d nodes, and can have no more",
               MF_NODES_MAX);
    else
        propose(change, mf_roster_add(roster, change->id, change->peer, random_number(change)));
}

static void begin_remove(struct change *change)
{
    const struct mf_roster *roster = change->reactor->roster;
    uint32_t left = staying(roster) - 1;
    if (left < roster->copies) {
        refuse(change, MF_BAD_REQUEST,
               "%u nodes would be left, and each shard has %u copies: add a node first", left,
               roster->copies);
        return;
    }
    struct mf_roster *next = mf_roster_leave(roster, change->id, random_number(change));
    if (strands(change, next))
        mf_roster_unref(next);
    else
        propose(change, next);
}

// All that are up have the roster that we have.
static bool known_to_all(const struct mf_reactor *reactor)
{
    const struct mf_node *node = reactor->node;
    for (uint32_t i = 0; i < reactor->roster->count; i++) {
        int member = mf_node_member(node, reactor->roster->nodes[i].id);
        if (member < 0)
            return false;
        if ((uint32_t)member != node->self && LOAD(node->members[member].up) &&
            LOAD(node->members[member].roster) < reactor->roster->version)
            return false;
    }
    return true;
}

// Everybody has made the copies that it is to have, and given up the others. What a node that is
// down has is not waited for.
static bool nothing_over(const struct mf_reactor *reactor)
{
    const struct mf_node *node = reactor->node;
    const struct mf_roster *roster = reactor->roster;
    uint64_t held = LOAD(node->held);
    for (uint32_t i = 0; i < roster->count; i++) {
        int member = mf_node_member(node, roster->nodes[i].id);
        if (member < 0 || !is_up(node, roster->nodes[i].id))
            return true;
        held += (uint32_t)member == node->self ? 0 : LOAD(node->members[member].held);
    }
    return held == (uint64_t)roster->shards * roster->copies;
}

static uint32_t copies_on(const struct mf_node *node, uint16_t id)
{
    uint32_t shards = 0;
    for (uint32_t s = 0; s < node->config.shards; s++) {
        uint16_t ids[MF_COPIES_MAX];
        uint32_t count = mf_node_copies(node, s, ids);
        for (uint32_t i = 0; i < count; i++)
            shards += ids[i] == id;
    }
    return shards;
}

static void give_up(struct change *change, bool reachable)
{
    if (change->add && !reachable)
        refuse(change, MF_TIMEOUT,
               "node %u is a member now, but it cannot be reached at %s: start it there, or remove "
               "it again",
               change->id, change->peer);
    else if (change->add)
        refuse(
            change, MF_TIMEOUT,
            "node %u is a member now, but %u shards are not at their places, and nothing goes on",
            change->id, change->left);
    else
        refuse(change, MF_TIMEOUT,
               "node %u is leaving, but %u shards have a copy there, and "
               "nothing goes on",
               change->id, change->left);
}

static void watch(struct change *change, uint64_t now_us)
{
    const struct mf_reactor *reactor = change->reactor;
    const struct mf_node *node = reactor->node;
    bool reachable = is_up(node, change->id);
    uint32_t left = change->add ? mf_placer_misplaced(reactor) : copies_on(node, change->id);
    if (change->add && left == 0 && reachable && known_to_all(reactor) && nothing_over(reactor)) {
        end(change, MF_OK, NULL);
        return;
    }
    if (left != change->left)
        change->progress_us = now_us;
    change->left = left;
    uint64_t patience_us = (uint64_t)node->config.request_timeout_ms * 1000;
    if ((reachable || !change->add) && patience_us < IDLE_US)
        patience_us = IDLE_US;
    if (now_us >= change->progress_us + patience_us)
        give_up(change, reachable);
}

// Dropped: done when all others know. Who has been dropped itself hears of them for a moment more.
static void watch_end(struct change *change, uint64_t now_us)
{
    if (change->gone_us == 0)
        change->gone_us = now_us;
    if (known_to_all(change->reactor) || now_us >= change->gone_us + KNOWN_US)
        end(change, MF_OK, NULL);
}

// One that another change was ahead of is begun again, with that one's outcome.
static void step(struct change *change, uint64_t now_us)
{
    const struct mf_reactor *reactor = change->reactor;
    const struct mf_roster *roster = reactor->roster;
    int at = mf_roster_find(roster, change->id);
    bool leaving = at >= 0 && roster->nodes[at].leaving;
    if (change->proposing)
        return;
    if (atomic_load_explicit(&reactor->node->closing, memory_order_relaxed)) {
        end(change, MF_SHUTTING_DOWN, NULL);
    } else if (change->add && at >= 0 && strcmp(roster->nodes[at].peer, change->peer) != 0) {
        refuse(change, MF_BAD_REQUEST, "node %u is a member, at %s", change->id,
               roster->nodes[at].peer);
    } else if (change->add && leaving) {
        refuse(change, MF_BAD_REQUEST, "node %u is leaving the cluster", change->id);
    } else if (change->add ? at >= 0 : leaving) {
        change->taken = true;
        watch(change, now_us);
    } else if (!change->add && at < 0 && change->taken) {
        watch_end(change, now_us);
    } else if (!change->add && at < 0) {
        refuse(change, MF_BAD_REQUEST, "there is no node %u in the cluster", change->id);
    } else if (!change->taken) {
        if (change->add)
            begin_add(change);
        else
            begin_remove(change);
    } else if (now_us >= change->begun_us + IDLE_US) {
        refuse(change, MF_TIMEOUT, "the cluster has taken the change, but this node is not told");
    }
}

void mf_changes_tick(struct mf_reactor *reactor)
{
    struct mf_changes *changes = reactor->changes;
    uint64_t now_us = mf_reactor_now_us(reactor);
    if (changes->first == NULL || now_us < changes->look_us)
        return;
    changes->look_us = now_us + LOOK_US;
    struct change *next;
    for (struct change *change = changes->first; change != NULL; change = next) {
        next = change->next;
        step(change, now_us);
    }
}

static struct change *new_change(struct mf_reactor *reactor, bool add, uint16_t id,
                                 mf_admin_done *done, void *arg)
{
    struct change *change = mf_calloc(1, sizeof(*change));
    change->reactor = reactor;
    change->add = add;
    change->id = id;
    change->done = done;
    change->arg = arg;
    change->begun_us = change->progress_us = mf_reactor_now_us(reactor);
    change->next = reactor->changes->first;
    reactor->changes->first = change;
    return change;
}

void mf_change_add(struct mf_reactor *reactor, uint32_t id, struct mf_bytes address,
                   mf_admin_done *done, void *arg)
{
    struct change *change = new_change(reactor, true, (uint16_t)id, done, arg);
    bool fits = address.len < sizeof(change->peer);
    if (fits)
        memcpy(change->peer, address.data, address.len);
    if (id == 0 || id > UINT16_MAX)
        refuse(change, MF_BAD_REQUEST, "the node is %u, expected 1 to 65535", id);
    else if (!fits || !mf_config_is_peer(change->peer, address.len))
        refuse(change, MF_BAD_REQUEST,
               "the address is no HOST:PORT with a port from 1 to 65535, in at most %d bytes",
               MF_ROSTER_PEER_BYTES - 1);
    else
        step(change, mf_reactor_now_us(reactor));
}

void mf_change_remove(struct mf_reactor *reactor, uint32_t id, mf_admin_done *done, void *arg)
{
    struct change *change = new_change(reactor, false, (uint16_t)id, done, arg);
    if (id == 0 || id > UINT16_MAX)
        refuse(change, MF_BAD_REQUEST, "there is no node %u in the cluster", id);
    else
        step(change, mf_reactor_now_us(reactor));
}
