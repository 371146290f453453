// CLUSTER and its subcommands, on the Redis Cluster port: how clients learn who leads which slots.
//
// Redis knows masters with replicas. Here every node leads some shards and has copies of others,
// and a client that was told of both would keep the first role that it hears of. So each node is a
// master without replicas, for the slots that it leads as far as this node knows; a slot without a
// leader is left out, and so is one whose leader has no such port. An id is the node's number, in
// 40 hexadecimal digits.
//
// Some clients ask once and never again for what was left out. So who asks while leaders are being
// found waits for them, as other requests do, though not for as long.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/slots.h"
#include "server/resp_internal.h"
#include "server/roster.h"

#define ID_BYTES 41
// A failover takes one or two leases.
#define WAIT_LEASES 4u

// Slots in a row with one leader.
struct range {
    uint16_t first;
    uint16_t last;
    uint16_t node;
};

struct leader {
    uint16_t id;
    struct mf_resp_place place;
    uint32_t ranges;
    uint32_t slots;
};

// What is told, as it is known now.
struct map {
    struct range *ranges; // ascending
    uint32_t range_count;
    uint32_t slots; // in them
    struct leader
        leaders[MF_MEMBERS_MAX]; // ascending by id; and this node, whether it leads or not
    uint32_t count;
    unsigned version; // in which it is told
};

static void format_id(uint16_t node, char out[ID_BYTES])
{
    snprintf(out, ID_BYTES, "%040x", node);
}

static struct leader *find_leader(struct map *map, uint16_t id)
{
    for (uint32_t i = 0; i < map->count; i++) {
        if (map->leaders[i].id == id)
            return &map->leaders[i];
    }
    return NULL;
}

// All nodes that a client can go to, as if each led something.
static void find_nodes(const struct mf_resp_session *session, struct map *map)
{
    const struct mf_roster *roster = session->client.reactor->roster;
    for (uint32_t i = 0; i < roster->count && map->count < MF_MEMBERS_MAX; i++) {
        struct leader *leader = &map->leaders[map->count];
        *leader = (struct leader){.id = roster->nodes[i].id};
        map->count += mf_resp_find_place(session, leader->id, &leader->place);
    }
}

static void find_ranges(const struct mf_node *node, struct map *map)
{
    uint32_t shards = node->config.shards;
    struct range *range = NULL;
    map->ranges = mf_calloc(shards, sizeof(*map->ranges));
    for (uint32_t i = 0; i < shards; i++) {
        struct leader *leader = find_leader(map, mf_node_leader(node, i));
        uint16_t first;
        uint16_t last;
        mf_shard_slots(i, shards, &first, &last);
        if (leader == NULL) {
            range = NULL;
            continue;
        }
        if (range == NULL || range->node != leader->id) {
            range = &map->ranges[map->range_count++];
            *range = (struct range){.first = first, .node = leader->id};
            leader->ranges++;
        }
        range->last = last;
        leader->slots += last - first + 1u;
        map->slots += last - first + 1u;
    }
}

static struct map *new_map(const struct mf_resp_session *session)
{
    const struct mf_node *node = session->client.reactor->node;
    struct map *map = mf_calloc(1, sizeof(*map));
    find_nodes(session, map);
    find_ranges(node, map);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < map->count; i++) {
        if (map->leaders[i].slots > 0 || map->leaders[i].id == node->config.id)
            map->leaders[kept++] = map->leaders[i];
    }
    map->count = kept;
    return map;
}

static void free_map(struct map *map)
{
    free(map->ranges);
    free(map);
}

static uint32_t count_masters(const struct map *map)
{
    uint32_t masters = 0;
    for (uint32_t i = 0; i < map->count; i++)
        masters += map->leaders[i].slots > 0;
    return masters;
}

// The forms.

static void put_line(struct mf_buf *out, const char *name, uint64_t value)
{
    char line[96];
    int len = snprintf(line, sizeof(line), "%s:%" PRIu64 "\r\n", name, value);
    mf_buf_put(out, line, (size_t)len);
}

static void tell_info(const struct mf_resp_session *session, struct mf_buf *out,
                      const struct map *map)
{
    struct mf_buf text = {0};
    const char *state =
        map->slots == MF_SLOT_COUNT ? "cluster_state:ok\r\n" : "cluster_state:fail\r\n";
    uint64_t epoch = session->client.reactor->roster->version;
    mf_buf_put(&text, state, strlen(state));
    put_line(&text, "cluster_slots_assigned", map->slots);
    put_line(&text, "cluster_slots_ok", map->slots);
    put_line(&text, "cluster_slots_pfail", 0);
    put_line(&text, "cluster_slots_fail", 0);
    put_line(&text, "cluster_known_nodes", map->count);
    put_line(&text, "cluster_size", count_masters(map));
    put_line(&text, "cluster_current_epoch", epoch);
    put_line(&text, "cluster_my_epoch", epoch);
    put_line(&text, "cluster_stats_messages_sent", 0);
    put_line(&text, "cluster_stats_messages_received", 0);
    put_line(&text, "total_cluster_links_buffer_limit_exceeded", 0);
    mf_resp_verbatim(out, map->version, mf_buf_view(&text));
    mf_buf_free(&text);
}

// When it was last heard of, in Unix milliseconds.
static uint64_t heard_ms(const struct mf_member *member)
{
    uint64_t heard_us = atomic_load_explicit(&member->heard_us, memory_order_relaxed);
    uint64_t age_us = mf_mono_us() - heard_us;
    return heard_us == 0 ? 0 : (mf_wall_us() - age_us) / 1000;
}

static void put_node(const struct mf_resp_session *session, struct mf_buf *text,
                     const struct map *map, const struct leader *leader)
{
    const struct mf_node *node = session->client.reactor->node;
    // It may have left the cluster a moment ago.
    const struct mf_member *member = &node->members[mf_node_member_ever(node, leader->id)];
    bool self = leader->id == node->config.id;
    bool up = self || atomic_load_explicit(&member->up, memory_order_relaxed);
    char id[ID_BYTES];
    char line[512];
    format_id(leader->id, id);
    int len = snprintf(line, sizeof(line), "%s %s:%u@%u %s - 0 %" PRIu64 " %" PRIu64 " %s", id,
                       leader->place.host, leader->place.port, leader->place.bus,
                       self ? "myself,master" : "master", self ? 0 : heard_ms(member),
                       session->client.reactor->roster->version, up ? "connected" : "disconnected");
    mf_buf_put(text, line, (size_t)len);
    for (uint32_t i = 0; i < map->range_count; i++) {
        const struct range *range = &map->ranges[i];
        if (range->node != leader->id)
            continue;
        len = range->first == range->last
                  ? snprintf(line, sizeof(line), " %u", range->first)
                  : snprintf(line, sizeof(line), " %u-%u", range->first, range->last);
        mf_buf_put(text, line, (size_t)len);
    }
    mf_buf_put(text, "\n", 1);
}

static void tell_nodes(const struct mf_resp_session *session, struct mf_buf *out,
                       const struct map *map)
{
    struct mf_buf text = {0};
    for (uint32_t i = 0; i < map->count; i++)
        put_node(session, &text, map, &map->leaders[i]);
    mf_resp_verbatim(out, map->version, mf_buf_view(&text));
    mf_buf_free(&text);
}

static void tell_slots(struct mf_buf *out, struct map *map)
{
    mf_resp_array(out, map->range_count);
    for (uint32_t i = 0; i < map->range_count; i++) {
        const struct leader *leader = find_leader(map, map->ranges[i].node);
        char id[ID_BYTES];
        format_id(leader->id, id);
        mf_resp_array(out, 3);
        mf_resp_int(out, map->ranges[i].first);
        mf_resp_int(out, map->ranges[i].last);
        mf_resp_array(out, 4);
        mf_resp_bulk_str(out, leader->place.host);
        mf_resp_int(out, leader->place.port);
        mf_resp_bulk_str(out, id);
        mf_resp_map(out, map->version, 0);
    }
}

static void tell_shard(struct mf_buf *out, const struct map *map, const struct leader *leader)
{
    char id[ID_BYTES];
    format_id(leader->id, id);
    mf_resp_map(out, map->version, 2);
    mf_resp_bulk_str(out, "slots");
    mf_resp_array(out, leader->ranges * 2);
    for (uint32_t i = 0; i < map->range_count; i++) {
        if (map->ranges[i].node != leader->id)
            continue;
        mf_resp_int(out, map->ranges[i].first);
        mf_resp_int(out, map->ranges[i].last);
    }
    mf_resp_bulk_str(out, "nodes");
    mf_resp_array(out, 1);
    mf_resp_map(out, map->version, 7);
    mf_resp_bulk_str(out, "id");
    mf_resp_bulk_str(out, id);
    mf_resp_bulk_str(out, "port");
    mf_resp_int(out, leader->place.port);
    mf_resp_bulk_str(out, "ip");
    mf_resp_bulk_str(out, leader->place.host);
    mf_resp_bulk_str(out, "endpoint");
    mf_resp_bulk_str(out, leader->place.host);
    mf_resp_bulk_str(out, "role");
    mf_resp_bulk_str(out, "master");
    mf_resp_bulk_str(out, "replication-offset");
    mf_resp_int(out, 0);
    mf_resp_bulk_str(out, "health");
    mf_resp_bulk_str(out, "online");
}

static void tell_shards(struct mf_buf *out, const struct map *map)
{
    mf_resp_array(out, count_masters(map));
    for (uint32_t i = 0; i < map->count; i++) {
        if (map->leaders[i].slots > 0)
            tell_shard(out, map, &map->leaders[i]);
    }
}

// The subcommands.

static bool done_error(struct mf_resp_session *session, const char *text)
{
    mf_resp_reply_error(session, text);
    return true;
}

static bool count_failure_reports(struct mf_resp_session *session)
{
    struct mf_bytes word = mf_resp_word(session, 2);
    struct map *map = new_map(session);
    bool known = false;
    for (uint32_t i = 0; i < map->count; i++) {
        char id[ID_BYTES];
        format_id(map->leaders[i].id, id);
        known = known || mf_bytes_equal(word, mf_bytes_str(id));
    }
    free_map(map);
    struct mf_buf *out = mf_resp_reply_begin(session);
    if (known)
        mf_resp_int(out, 0);
    else
        mf_resp_errorf(out, "ERR Unknown node %.*s", mf_resp_text_len(word),
                       (const char *)word.data);
    mf_resp_reply_end(session);
    return true;
}

// Of a slot that another node leads there are none here, as Redis has it.
static bool keys_in_slot(struct mf_resp_session *session, bool count)
{
    int64_t slot;
    int64_t most = INT64_MAX;
    if (!mf_resp_integer(mf_resp_word(session, 2), &slot) ||
        (!count && !mf_resp_integer(mf_resp_word(session, 3), &most)))
        return done_error(session, MF_RESP_NOT_INTEGER);
    if (slot < 0 || slot >= MF_SLOT_COUNT || most < 0)
        return done_error(session,
                          count ? "ERR Invalid slot" : "ERR Invalid slot or number of keys");
    if (mf_resp_is_elsewhere(session, (int32_t)slot) || most == 0) {
        struct mf_buf *out = mf_resp_reply_begin(session);
        if (count)
            mf_resp_int(out, 0);
        else
            mf_resp_array(out, 0);
        mf_resp_reply_end(session);
        return true;
    }
    if (!count && most == INT64_MAX)
        most--; // that many there never are
    return mf_resp_keys_in_slot(session, (uint16_t)slot, most);
}

static const char *sub_of(const struct mf_resp_row *row)
{
    return row->name + strlen("cluster|");
}

static void put_map(struct mf_resp_session *session, struct mf_buf *out, unsigned version,
                    const char *sub)
{
    struct map *map = new_map(session);
    map->version = version;
    if (strcmp(sub, "info") == 0)
        tell_info(session, out, map);
    else if (strcmp(sub, "nodes") == 0)
        tell_nodes(session, out, map);
    else if (strcmp(sub, "slots") == 0)
        tell_slots(out, map);
    else
        tell_shards(out, map);
    free_map(map);
}

static bool has_all_leaders(const struct mf_node *node)
{
    for (uint32_t i = 0; i < node->config.shards; i++) {
        if (mf_node_leader(node, i) == 0)
            return false;
    }
    return true;
}

static void wait_for_leaders(struct mf_resp_session *session)
{
    struct mf_resp_door *door = session->client.reactor->resp;
    const struct mf_node *node = session->client.reactor->node;
    uint64_t wait_us = WAIT_LEASES * mf_node_lease_us(node);
    uint64_t most_us = (uint64_t)node->config.request_timeout_ms * 1000;
    session->map_call = mf_resp_call_begin(session, MF_RESP_FORM_PLAIN, (struct mf_resp_touch){0});
    session->map_until_us = session->asked_us + (wait_us < most_us ? wait_us : most_us);
    session->map_next = door->map_waits;
    door->map_waits = session;
}

// False when another such request of the session waits.
static bool tell_map(struct mf_resp_session *session, const char *sub)
{
    if (session->map_call != NULL && session->capture == NULL)
        return false;
    if (strcmp(sub, "info") != 0 && session->capture == NULL &&
        !has_all_leaders(session->client.reactor->node)) {
        wait_for_leaders(session);
        return true;
    }
    put_map(session, mf_resp_reply_begin(session), session->version, sub);
    mf_resp_reply_end(session);
    return true;
}

bool mf_resp_cluster_walks(const struct mf_resp_row *row)
{
    return strcmp(sub_of(row), "countkeysinslot") == 0 || strcmp(sub_of(row), "getkeysinslot") == 0;
}

bool mf_resp_cluster(struct mf_resp_session *session)
{
    const char *sub = sub_of(session->ask.row);
    if (!session->cluster)
        return done_error(session, MF_RESP_NO_CLUSTER);
    if (mf_resp_cluster_walks(session->ask.row))
        return keys_in_slot(session, sub[0] == 'c');
    if (strcmp(sub, "count-failure-reports") == 0)
        return count_failure_reports(session);
    if (strcmp(sub, "help") != 0 && strcmp(sub, "myid") != 0 && strcmp(sub, "keyslot") != 0)
        return tell_map(session, sub);
    struct mf_buf *out = mf_resp_reply_begin(session);
    char id[ID_BYTES];
    format_id(session->client.reactor->node->config.id, id);
    if (strcmp(sub, "help") == 0)
        mf_resp_help_answer(out, session->ask.row);
    else if (strcmp(sub, "myid") == 0)
        mf_resp_bulk_str(out, id);
    else
        mf_resp_int(out, mf_slot_of(mf_resp_word(session, 2)));
    mf_resp_reply_end(session);
    return true;
}

void mf_resp_door_tick(struct mf_reactor *reactor)
{
    struct mf_resp_session **at = &reactor->resp->map_waits;
    mf_resp_tracking_tick(reactor);
    if (*at == NULL)
        return;
    bool all = has_all_leaders(reactor->node);
    uint64_t now_us = mf_reactor_now_us(reactor);
    while (*at != NULL) {
        struct mf_resp_session *session = *at;
        struct mf_resp_call *call = session->map_call;
        if (!all && now_us < session->map_until_us) {
            at = &session->map_next;
            continue;
        }
        *at = session->map_next;
        session->map_call = NULL;
        put_map(session, mf_resp_call_reply(call), call->telling.version,
                sub_of(call->telling.row));
        mf_resp_call_end(call);
    }
}

void mf_resp_map_no_more(struct mf_resp_session *session)
{
    struct mf_resp_session **at = &session->client.reactor->resp->map_waits;
    struct mf_resp_call *call = session->map_call;
    if (call == NULL)
        return;
    while (*at != session)
        at = &(*at)->map_next;
    *at = session->map_next;
    session->map_call = NULL;
    (void)mf_resp_call_reply(call); // there is none any more
    mf_resp_call_end(call);
}
