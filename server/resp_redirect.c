// The Redis Cluster port: whose a request is, and how a client is told.
//
// A request is for one slot. The leader of the slot's shard answers it, and any other node says
// where that leader is: nothing is passed on (mf_request_start_here). What is said:
//
//     MOVED slot host:port   another node leads
//     TRYAGAIN               this node leads, and is handing the shard over
//     CLUSTERDOWN            nobody is known to lead, or the leader has no such port, or this node
//                            is stopping
//
// Each of them says that nothing has happened, so that a client may send the request again. What
// may have happened is told as on the other port, by an error that no client takes for one of
// these.
#include <stdlib.h>
#include <string.h>

#include "base/slots.h"
#include "server/resp_internal.h"

void mf_resp_start(struct mf_resp_session *session, const struct mf_command *command,
                   mf_request_done *done, void *arg)
{
    (session->cluster ? mf_request_start_here : mf_request_start)(session->client.reactor, command,
                                                                  done, arg);
}

// Slots.

int32_t mf_resp_same_slot(int32_t one, int32_t other)
{
    if (one == MF_RESP_NO_SLOT || one == other)
        return other;
    return other == MF_RESP_NO_SLOT ? one : MF_RESP_MANY_SLOTS;
}

// A key that is too long is not looked at: the request is refused for it.
int32_t mf_resp_find_slot(const struct mf_resp_ask *ask)
{
    const struct mf_resp_row *row = ask->row;
    int32_t slot = MF_RESP_NO_SLOT;
    if (row->first_key == 0)
        return slot;
    uint32_t last = row->last_key < 0 ? ask->count - 1 : (uint32_t)row->last_key;
    for (uint32_t i = (uint32_t)row->first_key; i <= last && i < ask->count;
         i += (uint32_t)row->key_step) {
        if (ask->words[i].len <= ask->key_bytes_max)
            slot = mf_resp_same_slot(slot, mf_slot_of(ask->words[i]));
        if (slot == MF_RESP_MANY_SLOTS)
            break;
    }
    return slot;
}

static uint16_t leader_of(const struct mf_resp_session *session, int32_t slot)
{
    const struct mf_node *node = session->client.reactor->node;
    return mf_node_leader(node, mf_shard_of_slot((uint16_t)slot, node->config.shards));
}

bool mf_resp_is_elsewhere(const struct mf_resp_session *session, int32_t slot)
{
    if (!session->cluster || slot < 0)
        return session->cluster && slot == MF_RESP_MANY_SLOTS;
    uint16_t leader = leader_of(session, slot);
    return leader != 0 && leader != session->client.reactor->node->config.id;
}

// Places.

// "host:port" or "[host]:port", as nodes tell them; false for anything else.
static bool split(const char *text, struct mf_resp_place *place)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text)
        return false;
    bool brackets = text[0] == '[' && colon[-1] == ']';
    size_t len = (size_t)(colon - text) - (brackets ? 2 : 0);
    if (len == 0 || len >= sizeof(place->host))
        return false;
    memcpy(place->host, text + brackets, len);
    place->host[len] = '\0';
    place->port = (uint16_t)strtoul(colon + 1, NULL, 10);
    return true;
}

// It stands for all interfaces, and means nothing to others.
static bool is_wildcard(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static void take_host(struct mf_resp_place *place, const char *text)
{
    struct mf_resp_place other;
    if (!is_wildcard(place->host) || !split(text, &other) || is_wildcard(other.host))
        return;
    // An IPv4 client of an IPv6 socket.
    const char *mapped = strncmp(other.host, "::ffff:", 7) == 0 ? other.host + 7 : other.host;
    memcpy(place->host, mapped, strlen(mapped) + 1);
}

bool mf_resp_find_place(const struct mf_resp_session *session, uint16_t id,
                        struct mf_resp_place *place)
{
    struct mf_node *node = session->client.reactor->node;
    int at = mf_node_member(node, id);
    if (at < 0)
        return false;
    struct mf_member *member = &node->members[at];
    bool self = id == node->config.id;
    char text[sizeof(member->addresses.resp_cluster)];
    char peer[sizeof(member->peer)];
    pthread_mutex_lock(&node->mutex);
    memcpy(text, self ? node->addresses.resp_cluster : member->addresses.resp_cluster,
           sizeof(text));
    memcpy(peer, member->peer, sizeof(peer));
    pthread_mutex_unlock(&node->mutex);
    if (!split(text, place))
        return false;
    struct mf_resp_place bus = {.port = 0};
    place->bus =
        split(self && node->bound_peer[0] != '\0' ? node->bound_peer : peer, &bus) ? bus.port : 0;
    // By what is most likely to lead there.
    if (!self)
        take_host(place, peer);
    take_host(place, session->local);
    return !is_wildcard(place->host);
}

// Telling.

// leader: of the slot; 0: nobody.
static void tell_moved(const struct mf_resp_session *session, struct mf_buf *out, int32_t slot,
                       uint16_t leader)
{
    struct mf_resp_place place;
    if (slot == MF_RESP_MANY_SLOTS)
        mf_resp_error(out, MF_RESP_CROSSSLOT);
    else if (slot == MF_RESP_NO_SLOT || leader == session->client.reactor->node->config.id)
        mf_resp_error(out, "TRYAGAIN The shard is changing hands");
    else if (leader == 0 || !mf_resp_find_place(session, leader, &place))
        mf_resp_error(out, "CLUSTERDOWN Hash slot not served");
    else
        mf_resp_errorf(out, "MOVED %d %s:%u", slot, place.host, place.port);
}

bool mf_resp_tell_elsewhere(const struct mf_resp_session *session, struct mf_buf *out, int32_t slot,
                            const struct mf_result *error)
{
    bool moved = session->cluster && error->err == MF_NOT_LEADER;
    bool stopping = session->cluster && error->err == MF_SHUTTING_DOWN;
    if (moved)
        tell_moved(session, out, slot, (uint16_t)error->integer);
    else if (stopping)
        mf_resp_error(out, "CLUSTERDOWN The node is stopping");
    return moved || stopping;
}

void mf_resp_reply_elsewhere(struct mf_resp_session *session, int32_t slot)
{
    tell_moved(session, mf_resp_reply_begin(session), slot,
               slot >= 0 ? leader_of(session, slot) : 0);
    mf_resp_reply_end(session);
}
