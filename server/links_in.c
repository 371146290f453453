// Incoming links: the listener's side of the greeting, and frames on their way to their shards.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/disk.h"
#include "server/forming.h"
#include "server/links_internal.h"
#include "server/membership.h"
#include "server/placer.h"
#include "server/resp_session.h"
#include "server/router.h"
#include "server/streams.h"
#include "server/watch_peers.h"
#include "server/watch_relay.h"

#define GREETING_BYTES_MAX (MF_PEER_HELLO_BYTES_MAX + 4)
// A caller that has not proved itself within this time is dropped.
#define GREETING_US UINT64_C(5000000)
#define COMPLAIN_US UINT64_C(10000000)

struct mf_in_link {
    struct mf_links *links;
    struct mf_conn *conn;
    struct mf_in_link *next; // among those that have not greeted
    uint64_t greet_by_us;
    bool ready;
    uint32_t member;
    uint64_t incarnation;
    uint64_t grants_us; // how long what it grants lasts
    uint8_t nonce[MF_PEER_NONCE_BYTES];
};

static void complain(struct mf_links *links, const struct mf_conn *conn, const char *what)
{
    uint64_t now_us = mf_reactor_now_us(links->reactor);
    if (links->complained_us != 0 && now_us < links->complained_us + COMPLAIN_US) {
        links->not_told++;
        return;
    }
    char others[48] = "";
    if (links->not_told > 0)
        snprintf(others, sizeof(others), " (and %u others before it)", links->not_told);
    links->complained_us = now_us;
    links->not_told = 0;
    mf_log(MF_WARN, "peer connection from %s refused: %s%s", mf_conn_peer_name(conn), what, others);
}

static void forget_greeting(struct mf_in_link *in)
{
    struct mf_in_link **at = &in->links->greeting;
    while (*at != NULL && *at != in)
        at = &(*at)->next;
    if (*at == NULL)
        return;
    *at = in->next;
    in->links->greeting_count--;
}

// The newest is the first of the list.
static void drop_oldest(struct mf_links *links)
{
    struct mf_in_link *oldest = links->greeting;
    while (oldest->next != NULL)
        oldest = oldest->next;
    forget_greeting(oldest);
    mf_conn_close(oldest->conn, "others came before it had greeted");
}

static const char *misfit(const struct mf_node *node, const struct mf_peer_hello *hello)
{
    if (!mf_bytes_equal(hello->cluster, mf_bytes_str(node->config.name)))
        return "it is of another cluster (cluster.name differs)";
    if (hello->to != node->config.id)
        return "it looks for a node with another id (check cluster.nodes)";
    if (hello->node == node->config.id)
        return "it has our own node id";
    if (mf_node_member(node, hello->node) < 0)
        return "it is no member of the cluster (mayfly add-node lets it in)";
    if (hello->shards != node->config.shards)
        return "cluster.shards differs";
    // From its second version on the roster says the rest.
    uint64_t roster = atomic_load_explicit(&node->roster_version, memory_order_acquire);
    if (roster > 1 && hello->roster > 1)
        return hello->identity != atomic_load(&node->identity) ? "it is of another cluster" : NULL;
    if (roster > 1 || hello->roster > 1)
        return NULL;
    if (hello->replicas != node->replica_count)
        return "cluster.replicas differs";
    if (!mf_bytes_equal(hello->members, mf_bytes_str(node->members_text)))
        return "cluster.nodes differs";
    if (hello->genesis != node->genesis)
        return "it began with another snapshot (restore the same one on every node)";
    return NULL;
}

static void copy_text(char *out, size_t size, struct mf_bytes text)
{
    snprintf(out, size, "%.*s", (int)text.len, (const char *)text.data);
}

void mf_links_learn_addresses(struct mf_node *node, struct mf_member *member,
                              const struct mf_peer_hello *hello)
{
    pthread_mutex_lock(&node->mutex);
    copy_text(member->addresses.rpc, sizeof(member->addresses.rpc), hello->rpc);
    copy_text(member->addresses.resp, sizeof(member->addresses.resp), hello->resp);
    copy_text(member->addresses.resp_cluster, sizeof(member->addresses.resp_cluster),
              hello->resp_cluster);
    copy_text(member->addresses.http, sizeof(member->addresses.http), hello->http);
    pthread_mutex_unlock(&node->mutex);
}

static enum mf_err on_hello(struct mf_in_link *in, struct mf_conn *conn, struct mf_bytes body)
{
    struct mf_reactor *reactor = in->links->reactor;
    struct mf_node *node = reactor->node;
    struct mf_peer_hello hello;
    uint8_t their_nonce[MF_PEER_NONCE_BYTES];
    enum mf_err err = mf_peer_get_hello(body, &hello, MF_PEER_CALLER,
                                        mf_bytes_str(node->config.secret), in->nonce, their_nonce);
    const char *why = err == MF_UNAUTHORIZED ? "it does not know the cluster secret"
                      : err != MF_OK         ? "it does not speak the peer protocol"
                                             : misfit(node, &hello);
    if (why != NULL) {
        complain(in->links, conn, why);
        return err != MF_OK ? err : MF_UNAUTHORIZED;
    }
    in->member = (uint32_t)mf_node_member(node, hello.node);
    in->incarnation = hello.incarnation;
    in->grants_us = (uint64_t)hello.lease_ms * 1000;
    struct mf_member *member = &node->members[in->member];
    atomic_store_explicit(&member->roster, hello.roster, memory_order_relaxed);
    mf_links_learn_addresses(node, member, &hello);
    // Whoever sees a new process first tells all reactors. Its clock is unknown until a frame
    // comes.
    if (atomic_load(&member->incarnation) != hello.incarnation) {
        atomic_store(&member->clock_offset_us, 0);
        if (atomic_exchange(&member->incarnation, hello.incarnation) != hello.incarnation)
            mf_links_suspect_everywhere(reactor, in->member, hello.incarnation);
    }
    mf_links_learn_memory(reactor, in->member, hello.incarnation, hello.memory);
    struct mf_peer_hello welcome;
    mf_links_hello(node, hello.node, reactor->index, &welcome);
    mf_peer_put_hello(mf_conn_output(conn), &welcome, MF_PEER_LISTENER,
                      mf_bytes_str(node->config.secret), their_nonce, in->nonce);
    mf_conn_wrote(conn);
    in->ready = true;
    forget_greeting(in);
    return MF_OK;
}

struct paxos_task {
    struct mf_task task;
    uint32_t member;
    uint64_t incarnation;
    uint32_t shard;
    uint64_t mono_us;
    struct mf_paxos_msg msg;
};

// There is no copy of the shard here, and there was one that led: who has promised it something is
// kept from helping others while our node renews its lease, which it does for the other shards. No
// copy to come acts under that ballot, and a process before us no more once its leases are over.
static void release_without_copy(struct mf_reactor *reactor, uint32_t shard,
                                 const struct mf_paxos_msg *question)
{
    const struct mf_node *node = reactor->node;
    // On an empty folder, too: who has lost it may run elsewhere still.
    uint64_t from_us = node->started_us + (uint64_t)node->longest_lease_ms * 1000;
    if (question->type != MF_PAXOS_ASK_RELEASE ||
        mf_ballot_node(question->ballot) != node->config.id || mf_reactor_now_us(reactor) < from_us)
        return;
    const struct mf_paxos_msg release = {.type = MF_PAXOS_RELEASE,
                                         .from = node->config.id,
                                         .incarnation = node->memory,
                                         .to = question->from,
                                         .ballot = question->ballot,
                                         .read_seq = question->read_seq};
    mf_links_send_paxos(reactor->links, shard, &release);
}

static void receive_paxos(struct mf_reactor *reactor, struct mf_task *task)
{
    struct paxos_task *paxos = (struct paxos_task *)task;
    struct mf_owned_shard *shard = mf_reactor_shard(reactor, paxos->shard);
    // Asked again: while this was on its way from reactor to reactor, our replicas may have been
    // told of the next process. Who runs on a node, and by which clock, does not go back.
    bool counts = mf_links_is_current(reactor->node, paxos->member, paxos->incarnation) &&
                  !mf_disk_sheds(reactor, &paxos->msg);
    if (counts && shard->replica != NULL) {
        struct mf_replica_env env = mf_reactor_env(reactor);
        mf_replica_receive(shard->replica, &env, &paxos->msg, paxos->mono_us);
        mf_reactor_touch(shard);
    } else if (counts && shard->state == NULL) {
        release_without_copy(reactor, paxos->shard, &paxos->msg);
    }
    mf_paxos_msg_free(&paxos->msg);
    free(paxos);
}

enum mf_err mf_links_take_paxos(struct mf_reactor *reactor, uint32_t member, uint64_t incarnation,
                                const struct mf_peer_item *item, uint64_t mono_us)
{
    struct mf_reader reader = mf_reader_of(item->bytes);
    struct mf_paxos_msg msg;
    if (mf_paxos_msg_decode(&reader, &msg) != MF_OK)
        return MF_CORRUPT;
    msg.from = reactor->node->members[member].id;
    msg.to = reactor->node->config.id;
    struct paxos_task *paxos = mf_calloc(1, sizeof(*paxos));
    paxos->task.run = receive_paxos;
    paxos->member = member;
    paxos->incarnation = incarnation;
    paxos->shard = item->shard;
    paxos->mono_us = mono_us;
    paxos->msg = msg;
    mf_reactor_send(reactor, mf_reactor_of_shard(reactor->node, item->shard), &paxos->task);
    return MF_OK;
}

static enum mf_err take_item(struct mf_in_link *in, const struct mf_peer_item *item,
                             uint64_t mono_us)
{
    struct mf_reactor *reactor = in->links->reactor;
    uint16_t from = reactor->node->members[in->member].id;
    if (item->shard >= reactor->node->config.shards)
        return MF_CORRUPT;
    struct mf_reader reader = mf_reader_of(item->bytes);
    switch (item->kind) {
    case MF_PEER_PAXOS:
        return mf_links_take_paxos(reactor, in->member, in->incarnation, item, mono_us);
    case MF_PEER_FORWARD: {
        uint64_t id = mf_read_u64(&reader);
        uint32_t left_ms = mf_read_u32(&reader);
        struct mf_bytes command = mf_read_bytes(&reader, mf_reader_left(&reader));
        return reader.failed ? MF_CORRUPT
                             : mf_router_forwarded(reactor, from, in->incarnation, item->shard, id,
                                                   left_ms, command);
    }
    case MF_PEER_ROSTER:
        return mf_membership_heard(reactor, item->bytes);
    case MF_PEER_PLACES:
        return mf_placer_heard(reactor, in->member, in->incarnation, item);
    case MF_PEER_STATE:
        return mf_forming_heard(reactor, in->member, in->incarnation, item->bytes);
    case MF_PEER_REPLY: {
        uint64_t id = mf_read_u64(&reader);
        uint16_t status = mf_read_u16(&reader);
        uint16_t leader = mf_read_u16(&reader);
        struct mf_bytes result = mf_read_bytes(&reader, mf_reader_left(&reader));
        return reader.failed || status >= MF_ERR_COUNT
                   ? MF_CORRUPT
                   : mf_router_replied(reactor, id, (enum mf_err)status, leader, result);
    }
    case MF_PEER_SNAPSHOT_OFFER:
    case MF_PEER_SNAPSHOT_CHUNK:
    case MF_PEER_SNAPSHOT_ACK:
        return mf_streams_take(reactor, from, item);
    case MF_PEER_WATCH_ORDER:
    case MF_PEER_WATCH_ALIVE:
        return mf_watch_peers_take(reactor, in->member, in->incarnation, item);
    case MF_PEER_WATCH_NEWS:
    case MF_PEER_WATCH_GONE:
        return mf_watch_relay_take(reactor, in->member, in->incarnation, item);
    case MF_PEER_PUBLISH:
        return mf_resp_take_published(reactor, item->bytes);
    }
    return MF_CORRUPT;
}

static enum mf_err on_frame(struct mf_in_link *in, struct mf_bytes body)
{
    struct mf_member *member = &in->links->reactor->node->members[in->member];
    if (!mf_links_is_current(in->links->reactor->node, in->member, in->incarnation))
        return MF_CORRUPT; // left over from a process that has been replaced
    struct mf_peer_reader frame;
    enum mf_err err = mf_peer_body_open(&frame, body);
    if (err != MF_OK)
        return err;
    uint64_t now_us = mf_mono_us();
    if (mf_links_parted(member, now_us))
        return MF_UNAUTHORIZED;
    uint64_t mono_us = frame.head.mono_us;
    atomic_store_explicit(&member->clock_offset_us, mono_us - now_us, memory_order_relaxed);
    atomic_store_explicit(&member->heard_us, now_us, memory_order_relaxed);
    mf_links_take_head(in->links, in->member, in->incarnation, in->grants_us, &frame.head, now_us);
    struct mf_peer_item item;
    while ((err = mf_peer_item_next(&frame, &item)) == MF_OK) {
        err = take_item(in, &item, mono_us);
        if (err != MF_OK)
            return err;
    }
    return err == MF_NOT_FOUND ? MF_OK : err;
}

static enum mf_err on_data(void *arg, struct mf_conn *conn, struct mf_bytes input, size_t *used)
{
    struct mf_in_link *in = arg;
    size_t frame_max = mf_links_frame_bytes_max(in->links->reactor->node);
    *used = 0;
    while (*used < input.len) {
        struct mf_bytes rest = mf_bytes_of(input.data + *used, input.len - *used);
        struct mf_bytes body;
        size_t size = 0;
        enum mf_err err = in->ready ? mf_peer_frame_split(rest, frame_max, &size, &body)
                                    : mf_peer_hello_split(rest, &size, &body);
        if (err == MF_AGAIN)
            return MF_OK;
        if (err == MF_OK)
            err = in->ready ? on_frame(in, body) : on_hello(in, conn, body);
        else
            complain(in->links, conn, "what it sent is no peer message");
        if (err != MF_OK)
            return err;
        *used += size;
    }
    return MF_OK;
}

void mf_links_drop_silent(struct mf_links *links, uint64_t now_us)
{
    for (struct mf_in_link *in = links->greeting; in != NULL; in = in->next) {
        if (now_us >= in->greet_by_us)
            mf_conn_close(in->conn, "it did not greet in time");
    }
}

static void on_closed(void *arg, struct mf_conn *conn, const char *reason)
{
    struct mf_in_link *in = arg;
    forget_greeting(in);
    if (in->ready)
        mf_log(MF_DEBUG, "link from node %u (%s) closed: %s",
               in->links->reactor->node->members[in->member].id, mf_conn_peer_name(conn), reason);
    free(in);
}

static const struct mf_conn_ops in_ops = {.data = on_data, .closed = on_closed};

void mf_links_accepted(struct mf_links *links, int fd)
{
    // Until the greeting is done mf_peer_hello_split bounds what is read.
    size_t frame_max = mf_links_frame_bytes_max(links->reactor->node);
    struct mf_conn_limits limits = {.input_max_bytes = frame_max + 16,
                                    .output_pause_bytes = GREETING_BYTES_MAX,
                                    .output_max_bytes = 4 * GREETING_BYTES_MAX};
    struct mf_in_link *in = mf_calloc(1, sizeof(*in));
    in->links = links;
    mf_entropy(in->nonce, sizeof(in->nonce));
    struct mf_conn *conn = mf_conn_new(links->reactor->peer_pool, fd, false, &limits, &in_ops, in);
    in->conn = conn;
    in->greet_by_us = mf_reactor_now_us(links->reactor) + GREETING_US;
    if (links->greeting_count == MF_LINKS_GREETING_MAX)
        drop_oldest(links);
    in->next = links->greeting;
    links->greeting = in;
    links->greeting_count++;
    mf_peer_put_challenge(mf_conn_output(conn), in->nonce);
    mf_conn_wrote(conn);
}
