// Outgoing links, frames and liveness; incoming ones are in links_in.c.
#include "server/links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/forming.h"
#include "server/links_internal.h"
#include "server/placer.h"
#include "server/router.h"
#include "server/streams.h"
#include "server/watch_peers.h"
#include "server/watch_relay.h"
#include "ttl/log_clock.h"

// With this much unsent to a peer, Paxos messages to it are dropped: it is not reading, and what
// it misses is sent again when it does.
#define UNSENT_BYTES_MAX (64u << 20)
#define RECONNECT_US UINT64_C(100000)
// A link on which nothing is acknowledged for so many leases is made anew. Long enough for a
// process that is stopped or a machine that is busy, whose kernel has room for what comes
// meanwhile.
#define PATIENCE_LEASES 10u
#define PATIENCE_US_MIN UINT64_C(1000000)
// Links with a node that has left the cluster stay for so long, for its last answers.
#define PART_US UINT64_C(1000000)

struct mf_links *mf_links_new(struct mf_reactor *reactor)
{
    struct mf_links *links = mf_calloc(1, sizeof(*links));
    links->reactor = reactor;
    for (uint32_t i = 0; i < MF_MEMBERS_MAX; i++)
        links->out[i] = (struct mf_link){.links = links, .member = i};
    return links;
}

void mf_links_free(struct mf_links *links)
{
    if (links == NULL)
        return;
    for (uint32_t i = 0; i < MF_MEMBERS_MAX; i++) {
        mf_buf_free(&links->out[i].frame);
        mf_links_drop_bulk_replies(&links->out[i]);
        mf_buf_free(&links->out[i].waiting);
    }
    free(links);
}

void mf_links_hello(const struct mf_node *node, uint16_t to, uint16_t reactor,
                    struct mf_peer_hello *hello)
{
    *hello = (struct mf_peer_hello){.node = node->config.id,
                                    .to = to,
                                    .reactor = reactor,
                                    .incarnation = node->incarnation,
                                    .memory = atomic_load(&node->memory),
                                    .shards = node->config.shards,
                                    .replicas = node->replica_count,
                                    .lease_ms = node->config.lease_ms,
                                    .roster = atomic_load(&node->roster_version),
                                    .identity = atomic_load(&node->identity),
                                    .genesis = node->genesis,
                                    .members = mf_bytes_str(node->members_text),
                                    .cluster = mf_bytes_str(node->config.name),
                                    .peer = mf_bytes_str(node->bound_peer),
                                    .rpc = mf_bytes_str(node->addresses.rpc),
                                    .resp = mf_bytes_str(node->addresses.resp),
                                    .resp_cluster = mf_bytes_str(node->addresses.resp_cluster),
                                    .http = mf_bytes_str(node->addresses.http)};
}

size_t mf_links_frame_bytes_max(const struct mf_node *node)
{
    return 2 * (size_t)node->config.request_bytes_max + (64u << 20);
}

static void each_replica(struct mf_reactor *reactor, uint32_t member,
                         void (*call)(struct mf_replica *replica, const struct mf_replica_env *env,
                                      const struct mf_member *member))
{
    struct mf_replica_env env = mf_reactor_env(reactor);
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        struct mf_owned_shard *shard = &reactor->shards[i];
        if (shard->replica == NULL)
            continue;
        env.random = mf_rand_next(&reactor->rand);
        call(shard->replica, &env, &reactor->node->members[member]);
        mf_reactor_touch(shard);
    }
}

static void peer_up(struct mf_replica *replica, const struct mf_replica_env *env,
                    const struct mf_member *member)
{
    struct mf_acceptor acceptor = {member->id, atomic_load(&member->memory)};
    mf_replica_peer_up(replica, env, acceptor);
}

static void suspect(struct mf_replica *replica, const struct mf_replica_env *env,
                    const struct mf_member *member)
{
    mf_replica_suspect(replica, env, member->id);
}

// A link to the member is new, or its acceptor or its lease to us is another one.
static void tell_up(struct mf_reactor *reactor, uint32_t member)
{
    each_replica(reactor, member, peer_up);
}

struct mf_buf *mf_links_open_frame(struct mf_link *link)
{
    if (link->frame.len == 0)
        mf_peer_frame_begin(&link->frame);
    return &link->frame;
}

// What was on its way to the member may be lost, and what it has sent.
static void lose_watches(struct mf_reactor *reactor, uint32_t member)
{
    mf_watch_relay_lost(reactor->watch_relay, member);
    mf_watch_peers_lost(reactor->watch_peers, member);
}

// The listener's welcome: the peer has proved itself, and frames may flow.
static enum mf_err on_welcome(struct mf_link *link, struct mf_bytes body)
{
    struct mf_node *node = link->links->reactor->node;
    struct mf_peer_hello hello;
    uint8_t their_nonce[MF_PEER_NONCE_BYTES];
    enum mf_err err =
        mf_peer_get_hello(body, &hello, MF_PEER_LISTENER, mf_bytes_str(node->config.secret),
                          link->nonce, their_nonce);
    struct mf_member *member = &node->members[link->member];
    if (err != MF_OK || hello.node != member->id || hello.incarnation == 0)
        return err != MF_OK ? err : MF_CORRUPT;
    atomic_store_explicit(&member->roster, hello.roster, memory_order_relaxed);
    mf_links_learn_addresses(node, member, &hello);
    link->state = LINK_READY;
    link->incarnation = hello.incarnation;
    mf_links_send_kept_replies(link);
    mf_links_learn_memory(link->links->reactor, link->member, hello.incarnation, hello.memory);
    tell_up(link->links->reactor, link->member);
    if (link->links->reactor->index == 0)
        mf_forming_link_up(link->links->reactor, link->member);
    mf_router_node_reachable(link->links->reactor, hello.node);
    mf_streams_link_up(link->links->reactor->streams, hello.node);
    mf_placer_link_up(link->links->reactor, hello.node);
    return MF_OK;
}

static enum mf_err on_challenge(struct mf_link *link, struct mf_bytes body)
{
    struct mf_reactor *reactor = link->links->reactor;
    uint8_t their_nonce[MF_PEER_NONCE_BYTES];
    enum mf_err err = mf_peer_get_challenge(body, their_nonce);
    if (err != MF_OK)
        return err;
    struct mf_peer_hello hello;
    mf_links_hello(reactor->node, reactor->node->members[link->member].id, reactor->index, &hello);
    mf_entropy(link->nonce, sizeof(link->nonce));
    mf_peer_put_hello(mf_conn_output(link->conn), &hello, MF_PEER_CALLER,
                      mf_bytes_str(reactor->node->config.secret), their_nonce, link->nonce);
    mf_conn_wrote(link->conn);
    link->state = LINK_GREETED;
    return MF_OK;
}

static enum mf_err on_data(void *arg, struct mf_conn *conn, struct mf_bytes input, size_t *used)
{
    (void)conn;
    struct mf_link *link = arg;
    if (link->state == LINK_READY)
        return MF_CORRUPT; // the listener has nothing more to say on this link
    struct mf_bytes body;
    enum mf_err err = mf_peer_hello_split(input, used, &body);
    if (err == MF_AGAIN) {
        *used = 0;
        return MF_OK;
    }
    if (err != MF_OK)
        return err;
    return link->state == LINK_CONNECTING ? on_challenge(link, body) : on_welcome(link, body);
}

static void on_closed(void *arg, struct mf_conn *conn, const char *reason)
{
    (void)conn;
    struct mf_link *link = arg;
    struct mf_reactor *reactor = link->links->reactor;
    const struct mf_member *member = &reactor->node->members[link->member];
    if (link->state == LINK_READY) {
        mf_log(MF_INFO, "link to node %u at %s closed: %s", member->id, member->peer, reason);
        mf_router_link_lost(reactor, member->id);
        lose_watches(reactor, link->member);
    } else {
        mf_log(MF_DEBUG, "no link to node %u at %s: %s", member->id, member->peer, reason);
    }
    link->state = LINK_IDLE;
    link->conn = NULL;
    link->retry_us = mf_reactor_now_us(reactor) + RECONNECT_US;
    mf_buf_clear(&link->frame, 0);
    mf_links_drop_bulk_replies(link);
}

static const struct mf_conn_ops out_ops = {.data = on_data, .closed = on_closed};

static void start_connecting(struct mf_link *link, uint64_t now_us)
{
    struct mf_reactor *reactor = link->links->reactor;
    struct mf_conn_limits limits = {.input_max_bytes = MF_PEER_HELLO_BYTES_MAX + 4,
                                    .output_pause_bytes = SIZE_MAX,
                                    .output_max_bytes = SIZE_MAX};
    link->retry_us = now_us + RECONNECT_US;
    pthread_mutex_lock(&reactor->node->mutex);
    struct mf_address address = reactor->node->members[link->member].address;
    pthread_mutex_unlock(&reactor->node->mutex);
    int fd = address.host[0] != '\0' ? mf_connect_start(&address) : -1;
    if (fd < 0)
        return;
    link->conn = mf_conn_new(reactor->peer_pool, fd, true, &limits, &out_ops, link);
    uint64_t patience_us = PATIENCE_LEASES * mf_node_lease_us(reactor->node);
    mf_conn_patience(link->conn, patience_us > PATIENCE_US_MIN ? patience_us : PATIENCE_US_MIN);
    link->state = LINK_CONNECTING;
    link->give_up_us = now_us + mf_node_lease_us(reactor->node) * 4;
}

static void close_frame(struct mf_link *link)
{
    if (link->frame.len == 0)
        return;
    struct mf_peer_head head = mf_links_head(link, mf_mono_us());
    mf_peer_frame_end(&link->frame, &head);
    mf_buf_put(mf_conn_output(link->conn), link->frame.data, link->frame.len);
    mf_conn_wrote(link->conn);
    mf_buf_clear(&link->frame, 1u << 20);
}

void mf_links_flush(struct mf_links *links)
{
    for (uint32_t i = 0; i < mf_node_member_count(links->reactor->node); i++) {
        if (links->out[i].state == LINK_READY) {
            mf_links_send_bulk_replies(&links->out[i]);
            close_frame(&links->out[i]);
        }
        links->out[i].bulk = false;
    }
}

void mf_links_answer(struct mf_links *links, uint32_t member, uint64_t incarnation)
{
    struct mf_link *link = &links->out[member];
    if (link->state == LINK_READY && link->incarnation == incarnation)
        mf_links_open_frame(link);
}

size_t mf_links_unsent_bytes(const struct mf_link *link)
{
    return mf_conn_unsent_bytes(link->conn) + link->frame.len;
}

static struct mf_link *ready_link(struct mf_links *links, uint16_t node)
{
    int member = mf_node_member(links->reactor->node, node);
    struct mf_link *link = member >= 0 ? &links->out[member] : NULL;
    return link != NULL && link->state == LINK_READY ? link : NULL;
}

void mf_links_end_item(struct mf_link *link, size_t begun)
{
    mf_peer_item_end(&link->frame, begun);
    if (link->frame.len > MF_LINKS_FRAME_BYTES)
        close_frame(link);
}

void mf_links_send_state(struct mf_links *links, uint32_t member, const struct mf_peer_state *state)
{
    struct mf_link *link = &links->out[member];
    if (link->state != LINK_READY)
        return;
    size_t begun = mf_peer_item_begin(mf_links_open_frame(link), MF_PEER_STATE, 0);
    mf_peer_put_state(&link->frame, state);
    mf_links_end_item(link, begun);
}

void mf_links_send_paxos(struct mf_links *links, uint32_t shard, const struct mf_paxos_msg *msg)
{
    struct mf_link *link = ready_link(links, msg->to);
    if (link == NULL || mf_conn_unsent_bytes(link->conn) > UNSENT_BYTES_MAX)
        return;
    struct mf_buf *frame = mf_links_open_frame(link);
    size_t begun = mf_peer_item_begin(frame, MF_PEER_PAXOS, shard);
    mf_paxos_msg_encode(msg, frame);
    mf_links_end_item(link, begun);
}

uint64_t mf_links_send_forward(struct mf_links *links, uint16_t node, const struct mf_op *op,
                               uint64_t id)
{
    struct mf_link *link = ready_link(links, node);
    if (link == NULL || mf_conn_unsent_bytes(link->conn) > UNSENT_BYTES_MAX)
        return 0;
    uint64_t now_us = mf_reactor_now_us(links->reactor);
    uint64_t left_ms = op->deadline_us > now_us ? (op->deadline_us - now_us) / 1000 : 0;
    struct mf_buf *frame = mf_links_open_frame(link);
    size_t begun = mf_peer_item_begin(frame, MF_PEER_FORWARD, op->shard);
    mf_buf_u64(frame, id);
    mf_buf_u32(frame, left_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)left_ms);
    mf_buf_put(frame, op->command.data, op->command.len);
    mf_links_end_item(link, begun);
    return link->incarnation;
}

static bool has_bulk_room(const struct mf_link *link)
{
    return !link->bulk && mf_links_unsent_bytes(link) < MF_LINKS_BULK_UNSENT_BYTES_MAX;
}

bool mf_links_bulk_room(struct mf_links *links, uint16_t node)
{
    const struct mf_link *link = ready_link(links, node);
    return link != NULL && has_bulk_room(link);
}

bool mf_links_reaches(const struct mf_links *links, uint32_t member)
{
    return links->out[member].state == LINK_READY;
}

bool mf_links_has_room(const struct mf_links *links, uint32_t member, uint64_t incarnation,
                       size_t unsent_bytes_max)
{
    const struct mf_link *link = &links->out[member];
    return link->state == LINK_READY && (incarnation == 0 || link->incarnation == incarnation) &&
           mf_links_unsent_bytes(link) < unsent_bytes_max;
}

bool mf_links_send_item(struct mf_links *links, uint16_t node, enum mf_peer_item_kind kind,
                        uint32_t shard, struct mf_bytes content, bool bulk)
{
    struct mf_link *link = ready_link(links, node);
    if (link == NULL || mf_conn_unsent_bytes(link->conn) > UNSENT_BYTES_MAX ||
        (bulk && !has_bulk_room(link)))
        return false;
    link->bulk = link->bulk || bulk;
    struct mf_buf *frame = mf_links_open_frame(link);
    size_t begun = mf_peer_item_begin(frame, kind, shard);
    mf_buf_put(frame, content.data, content.len);
    mf_links_end_item(link, begun);
    return true;
}

uint64_t mf_links_node_mono_us(struct mf_links *links, uint16_t node_id, uint64_t now_us)
{
    struct mf_node *node = links->reactor->node;
    int member = mf_node_member(node, node_id);
    if (member < 0)
        return 0;
    // A new process has a clock of its own: not before every replica here knows of it.
    uint64_t incarnation =
        atomic_load_explicit(&node->members[member].incarnation, memory_order_acquire);
    uint64_t offset =
        atomic_load_explicit(&node->members[member].clock_offset_us, memory_order_relaxed);
    if (incarnation == 0 || incarnation != links->incarnations[member] || offset == 0)
        return 0;
    // Ours may have run faster than its clock since the last frame, which can be long ago when it
    // was we who stood still.
    uint64_t heard_us = atomic_load_explicit(&node->members[member].heard_us, memory_order_relaxed);
    uint64_t passed_us = now_us > heard_us ? now_us - heard_us : 0;
    return now_us + offset - passed_us / MF_CLOCK_DRIFT;
}

struct notice {
    struct mf_task task;
    uint32_t member;
    uint64_t incarnation; // 0: silent
};

static void suspect_here(struct mf_reactor *reactor, struct mf_task *task)
{
    struct notice *notice = (struct notice *)task;
    struct mf_link *link = &reactor->links->out[notice->member];
    uint16_t id = reactor->node->members[notice->member].id;
    if (notice->incarnation != 0)
        reactor->links->incarnations[notice->member] = notice->incarnation;
    each_replica(reactor, notice->member, suspect);
    mf_router_node_lost(reactor, id, notice->incarnation);
    lose_watches(reactor, notice->member);
    // A link that leads to the new process already may carry answers to it, and stays.
    bool fresh = link->state == LINK_READY && link->incarnation == notice->incarnation;
    if (fresh)
        tell_up(reactor, notice->member);
    else if (link->conn != NULL && notice->incarnation != 0)
        mf_conn_close(link->conn, "the peer has restarted");
    free(notice);
}

void mf_links_suspect_everywhere(struct mf_reactor *reactor, uint32_t member, uint64_t incarnation)
{
    for (uint32_t i = 0; i < reactor->node->reactor_count; i++) {
        struct notice *notice = mf_calloc(1, sizeof(*notice));
        notice->task.run = suspect_here;
        notice->member = member;
        notice->incarnation = incarnation;
        mf_reactor_send(reactor, (uint16_t)i, &notice->task);
    }
}

static void up_here(struct mf_reactor *reactor, struct mf_task *task)
{
    struct notice *notice = (struct notice *)task;
    if (reactor->links->out[notice->member].state == LINK_READY)
        tell_up(reactor, notice->member);
    mf_router_node_up(reactor, reactor->node->members[notice->member].id,
                      reactor->links->incarnations[notice->member]);
    free(notice);
}

void mf_links_up_everywhere(struct mf_reactor *reactor, uint32_t member)
{
    for (uint32_t i = 0; i < reactor->node->reactor_count; i++) {
        struct notice *notice = mf_calloc(1, sizeof(*notice));
        notice->task.run = up_here;
        notice->member = member;
        mf_reactor_send(reactor, (uint16_t)i, &notice->task);
    }
}

void mf_links_learn_memory(struct mf_reactor *reactor, uint32_t member, uint64_t incarnation,
                           uint64_t memory)
{
    struct mf_node *node = reactor->node;
    struct mf_member *from = &node->members[member];
    pthread_mutex_lock(&node->mutex);
    bool later = from->memory_of == incarnation && memory == 0;
    bool changed = false;
    if (!later && mf_links_is_current(node, member, incarnation)) {
        from->memory_of = incarnation;
        changed = atomic_exchange(&from->memory, memory) != memory;
    }
    pthread_mutex_unlock(&node->mutex);
    if (changed)
        mf_links_up_everywhere(reactor, member);
}

void mf_links_introduce_to(struct mf_links *links, struct mf_owned_shard *shard)
{
    struct mf_replica_env env = mf_reactor_env(links->reactor);
    for (uint32_t i = 0; i < mf_node_member_count(links->reactor->node); i++) {
        if (links->out[i].state == LINK_READY)
            peer_up(shard->replica, &env, &links->reactor->node->members[i]);
    }
}

void mf_links_introduce(struct mf_links *links)
{
    for (uint32_t i = 0; i < mf_node_member_count(links->reactor->node); i++) {
        if (links->out[i].state == LINK_READY)
            tell_up(links->reactor, i);
    }
}

// True when there is to be no link to the member, which has left the cluster. One that stands goes
// on for a while, so that it hears of that.
static bool part_from(struct mf_link *link, uint64_t now_us)
{
    const struct mf_member *member = &link->links->reactor->node->members[link->member];
    if (!mf_member_gone(member) || (link->state == LINK_READY && !mf_links_parted(member, now_us)))
        return false;
    if (link->conn != NULL)
        mf_conn_close(link->conn, "the node has left the cluster");
    return true;
}

bool mf_links_parted(const struct mf_member *member, uint64_t now_us)
{
    uint64_t gone_us = atomic_load_explicit(&member->gone_us, memory_order_relaxed);
    return gone_us != 0 && now_us > gone_us + PART_US;
}

void mf_links_tick(struct mf_links *links)
{
    struct mf_node *node = links->reactor->node;
    uint64_t now_us = mf_reactor_now_us(links->reactor);
    uint64_t heartbeat_us = (uint64_t)node->config.heartbeat_ms * 1000;
    for (uint32_t i = 0; i < mf_node_member_count(node); i++) {
        struct mf_link *link = &links->out[i];
        if (i == node->self || part_from(link, now_us))
            continue;
        if (link->state == LINK_IDLE && now_us >= link->retry_us)
            start_connecting(link, now_us);
        else if (link->state != LINK_IDLE && link->state != LINK_READY &&
                 now_us >= link->give_up_us)
            mf_conn_close(link->conn, "no answer to the greeting");
        else if (link->state == LINK_READY && links->reactor->index == 0 &&
                 now_us >= link->asked_us + heartbeat_us / 2)
            mf_links_open_frame(link);
    }
    mf_links_drop_silent(links, now_us);
    if (links->reactor->index == 0) {
        mf_links_watch_disk(links, now_us);
        mf_links_judge(links, now_us);
    }
}
