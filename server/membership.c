// Keeping the newest roster, and handing it on; see membership.h.
#include "server/membership.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/log.h"
#include "server/file.h"
#include "server/forming.h"
#include "server/links.h"
#include "server/placer.h"
#include "server/request.h"
#include "server/worker.h"

#define LOAD(value) atomic_load_explicit(&(value), memory_order_relaxed)

#define PATH_BYTES 4400
#define MAGIC UINT64_C(0x31525453524c594d) // "MYLRSTR1", little-endian
#define FILE_HEAD_BYTES 16u                // magic, checksum of the rest
// How often a member that has an older roster is sent ours, and the leavers are looked at.
#define SEND_US UINT64_C(200000)
#define DROP_US UINT64_C(100000)

struct mf_membership {
    struct mf_node *node;
    struct save *saving;    // a newer roster on its way to the disk
    struct mf_roster *next; // and one that is newer still
    uint64_t sent_us[MF_MEMBERS_MAX];
    uint64_t drop_us;
    bool dropping; // a proposal is under way
};

// The file: u64 magic, u64 XXH3 of the rest, mf_roster_encode.

static void path_of(const struct mf_node *node, const char *suffix, char *path, size_t size)
{
    snprintf(path, size, "%s/roster%s", node->config.data_dir, suffix);
}

static enum mf_err read_file(const char *path, struct mf_buf *bytes, char *message, size_t size)
{
    FILE *file = fopen(path, "re");
    if (file == NULL && errno == ENOENT)
        return MF_NOT_FOUND;
    size_t bytes_max = FILE_HEAD_BYTES + MF_ROSTER_BYTES_MAX + 1;
    bool fine = file != NULL && mf_buf_reserve(bytes, bytes_max);
    if (fine) {
        bytes->len = fread(bytes->data, 1, bytes_max, file);
        fine = ferror(file) == 0;
    }
    if (!fine)
        snprintf(message, size, "cannot read %s: %s", path, strerror(errno));
    if (file != NULL)
        fclose(file);
    return fine ? MF_OK : MF_IO;
}

static enum mf_err parse_file(struct mf_bytes bytes, struct mf_roster **roster)
{
    struct mf_reader r = mf_reader_of(bytes);
    uint64_t magic = mf_read_u64(&r);
    uint64_t checksum = mf_read_u64(&r);
    struct mf_bytes rest = mf_read_bytes(&r, mf_reader_left(&r));
    if (r.failed || magic != MAGIC || checksum != mf_hash64(rest, MAGIC))
        return MF_CORRUPT;
    return mf_roster_decode(rest, roster);
}

static void take_roster(struct mf_node *node, const struct mf_roster *roster)
{
    mf_roster_unref(node->roster);
    node->roster = roster;
    atomic_store_explicit(&node->identity, roster->identity, memory_order_relaxed);
    // Release, pairs with the acquire of whoever reads the version first.
    atomic_store_explicit(&node->roster_version, roster->version, memory_order_release);
}

enum mf_err mf_membership_load(struct mf_node *node, char *message, size_t size)
{
    const struct mf_config *config = &node->config;
    char path[PATH_BYTES];
    struct mf_buf bytes = {0};
    struct mf_roster *roster = NULL;
    path_of(node, "", path, sizeof(path));
    enum mf_err err = read_file(path, &bytes, message, size);
    if (err == MF_OK) {
        err = parse_file(mf_buf_view(&bytes), &roster);
        if (err == MF_OK && roster->shards != config->shards) {
            snprintf(message, size, "%s is of a cluster with cluster.shards = %u", path,
                     roster->shards);
            mf_roster_unref(roster);
            roster = NULL;
            err = MF_BAD_REQUEST;
        } else if (err != MF_OK) {
            snprintf(message, size,
                     "%s is damaged: move it away, and the node gets another from the members in "
                     "cluster.nodes",
                     path);
        }
    } else if (err == MF_NOT_FOUND) {
        roster = mf_roster_new(config->nodes, config->node_count, config->shards, config->replicas,
                               node->genesis);
        err = MF_OK;
    }
    mf_buf_free(&bytes);
    if (roster != NULL)
        take_roster(node, roster);
    return err;
}

struct mf_membership *mf_membership_new(struct mf_node *node)
{
    struct mf_membership *membership = mf_calloc(1, sizeof(*membership));
    membership->node = node;
    return membership;
}

// On the worker: the roster to the disk, and its addresses to numbers.

struct save {
    struct mf_job job;
    struct mf_node *node;
    struct mf_roster *roster;
    struct mf_address addresses[MF_NODES_MAX];
    enum mf_err err;
    char message[512];
};

static enum mf_err write_file(struct save *save)
{
    char path[PATH_BYTES];
    char aside[PATH_BYTES];
    struct mf_buf content = {0};
    struct mf_buf file = {0};
    path_of(save->node, "", path, sizeof(path));
    path_of(save->node, ".tmp", aside, sizeof(aside));
    mf_roster_encode(save->roster, &content);
    mf_buf_u64(&file, MAGIC);
    mf_buf_u64(&file, mf_hash64(mf_buf_view(&content), MAGIC));
    mf_buf_put(&file, content.data, content.len);
    enum mf_err err =
        mf_file_replace(path, aside, mf_buf_view(&file), save->message, sizeof(save->message));
    mf_buf_free(&content);
    mf_buf_free(&file);
    return err;
}

static void save_roster(struct mf_job *job)
{
    struct save *save = (struct save *)job;
    for (uint32_t i = 0; i < save->roster->count; i++) {
        if (mf_address_parse(save->roster->nodes[i].peer, &save->addresses[i]) != MF_OK)
            save->addresses[i].host[0] = '\0';
    }
    save->err = write_file(save);
}

// On reactor 0.

static void free_save(struct save *save)
{
    mf_roster_unref(save->roster);
    free(save);
}

void mf_membership_free(struct mf_membership *membership)
{
    if (membership == NULL)
        return;
    if (membership->saving != NULL)
        free_save(membership->saving);
    mf_roster_unref(membership->next);
    free(membership);
}

static void send_roster(struct mf_reactor *reactor, uint16_t id)
{
    struct mf_buf bytes = {0};
    mf_roster_encode(reactor->node->roster, &bytes);
    (void)mf_links_send_item(reactor->links, id, MF_PEER_ROSTER, 0, mf_buf_view(&bytes), false);
    mf_buf_free(&bytes);
}

static void bring_member(struct mf_node *node, const struct mf_roster_node *of,
                         const struct mf_address *address)
{
    int at = mf_node_member_ever(node, of->id);
    uint32_t count = mf_node_member_count(node);
    if (at < 0 && count == MF_MEMBERS_MAX) {
        mf_log(MF_ERROR,
               "node %u is not linked: restart this node, which has seen too many come "
               "and go",
               of->id);
        return;
    }
    struct mf_member *member = &node->members[at >= 0 ? (uint32_t)at : count];
    pthread_mutex_lock(&node->mutex);
    memcpy(member->peer, of->peer, sizeof(member->peer));
    member->address = *address;
    pthread_mutex_unlock(&node->mutex);
    atomic_store_explicit(&member->gone_us, 0, memory_order_relaxed);
    if (at >= 0)
        return;
    member->id = of->id;
    // Release, pairs with the acquire in mf_node_member_count.
    atomic_store_explicit(&node->member_count, count + 1, memory_order_release);
}

static void bring_members(struct mf_reactor *reactor, const struct save *save)
{
    struct mf_node *node = reactor->node;
    const struct mf_roster *roster = save->roster;
    uint32_t count = mf_node_member_count(node);
    for (uint32_t i = 0; i < count; i++) {
        struct mf_member *member = &node->members[i];
        if (i == node->self || mf_member_gone(member) || mf_roster_find(roster, member->id) >= 0)
            continue;
        send_roster(reactor, member->id); // that it may know
        mf_log(MF_INFO, "node %u has left the cluster", member->id);
        atomic_store_explicit(&member->up, false, memory_order_relaxed);
        atomic_store_explicit(&member->gone_us, mf_reactor_now_us(reactor), memory_order_relaxed);
    }
    for (uint32_t i = 0; i < roster->count; i++) {
        if (roster->nodes[i].id != node->config.id)
            bring_member(node, &roster->nodes[i], &save->addresses[i]);
    }
}

struct handing {
    struct mf_task task;
    const struct mf_roster *roster;
};

static void take_here(struct mf_reactor *reactor, struct mf_task *task)
{
    struct handing *handing = (struct handing *)task;
    mf_roster_unref(reactor->roster);
    reactor->roster = handing->roster;
    free(handing);
    mf_placer_wake(reactor);
}

static void tell_reactors(struct mf_reactor *reactor)
{
    struct mf_node *node = reactor->node;
    for (uint32_t i = 0; i < node->reactor_count; i++) {
        struct handing *handing = mf_calloc(1, sizeof(*handing));
        handing->task.run = take_here;
        handing->roster = mf_roster_ref(node->roster);
        mf_reactor_send(reactor, (uint16_t)i, &handing->task);
    }
}

static void tell_change(const struct mf_node *node, const struct mf_roster *roster)
{
    char nodes[512] = "";
    size_t len = 0;
    for (uint32_t i = 0; i < roster->count && len < sizeof(nodes); i++) {
        int more = snprintf(nodes + len, sizeof(nodes) - len, "%s%u%s", i > 0 ? ", " : "",
                            roster->nodes[i].id, roster->nodes[i].leaving ? " (leaving)" : "");
        len += more > 0 ? (size_t)more : 0;
    }
    mf_log(MF_INFO, "the nodes of the cluster, version %" PRIu64 ": %s", roster->version, nodes);
    if (mf_roster_find(roster, node->config.id) < 0)
        mf_log(MF_WARN, "this node is no member of the cluster any more: stop it");
}

static void begin_save(struct mf_membership *membership, struct mf_roster *roster);

static void on_saved(struct mf_reactor *reactor, struct mf_task *task)
{
    struct save *save = (struct save *)task;
    struct mf_node *node = reactor->node;
    struct mf_membership *membership = node->membership;
    membership->saving = NULL;
    if (save->job.undone) {
        free_save(save);
        return;
    }
    if (save->err != MF_OK) { // the next frame of whoever has it brings it again
        mf_log(MF_ERROR, "the nodes of the cluster have changed, and %s", save->message);
        free_save(save);
        return;
    }
    take_roster(node, mf_roster_ref(save->roster));
    bring_members(reactor, save);
    tell_change(node, node->roster);
    tell_reactors(reactor);
    free_save(save);
    if (node->state != MF_FORMATION_FORMED)
        mf_forming_admitted(reactor);
    struct mf_roster *next = membership->next;
    membership->next = NULL;
    if (next != NULL && next->version > node->roster->version)
        begin_save(membership, next);
    else
        mf_roster_unref(next);
}

static void begin_save(struct mf_membership *membership, struct mf_roster *roster)
{
    struct mf_node *node = membership->node;
    struct save *save = mf_calloc(1, sizeof(*save));
    save->job =
        (struct mf_job){.task = {.run = on_saved}, .home = node->reactors[0], .work = save_roster};
    save->node = node;
    save->roster = roster;
    membership->saving = save;
    mf_worker_give(node->worker, &save->job);
}

// Whether it is of this cluster; and a node that is no member yet goes only by one that names it.
static bool fits(const struct mf_node *node, const struct mf_roster *roster)
{
    const struct mf_roster *ours = node->roster;
    bool named = mf_roster_find(roster, node->config.id) >= 0;
    if (roster->shards != node->config.shards || roster->version <= ours->version)
        return false;
    if (ours->version > 1)
        return roster->identity == ours->identity;
    if (node->state == MF_FORMATION_FRESH)
        return named;
    return roster->first_count == ours->first_count &&
           memcmp(roster->first, ours->first, sizeof(ours->first)) == 0;
}

// Takes over the reference.
static void offer(struct mf_membership *membership, struct mf_roster *roster)
{
    const struct mf_roster *next = membership->next;
    if (!fits(membership->node, roster)) {
        mf_roster_unref(roster);
    } else if (membership->saving == NULL) {
        begin_save(membership, roster);
    } else if (roster->version > membership->saving->roster->version &&
               (next == NULL || roster->version > next->version)) {
        mf_roster_unref(next);
        membership->next = roster;
    } else {
        mf_roster_unref(roster);
    }
}

struct word {
    struct mf_task task;
    struct mf_roster *roster;
};

static void hear(struct mf_reactor *reactor, struct mf_task *task)
{
    struct word *word = (struct word *)task;
    offer(reactor->node->membership, word->roster);
    free(word);
}

enum mf_err mf_membership_heard(struct mf_reactor *reactor, struct mf_bytes item)
{
    struct mf_roster *roster = NULL;
    enum mf_err err = mf_roster_decode(item, &roster);
    if (err != MF_OK)
        return err;
    struct word *word = mf_calloc(1, sizeof(*word));
    word->task.run = hear;
    word->roster = roster;
    mf_reactor_send(reactor, 0, &word->task);
    return MF_OK;
}

// What the log of shard 0 says, if we have it.
static void look_into_log(struct mf_reactor *reactor)
{
    struct mf_node *node = reactor->node;
    struct mf_replica *replica = mf_reactor_shard(reactor, 0)->replica;
    if (replica == NULL)
        return;
    const struct mf_shard *state = mf_replica_shard(replica);
    if (mf_shard_roster_version(state) <= node->roster->version || node->membership->saving != NULL)
        return;
    struct mf_roster *roster = NULL;
    if (mf_roster_decode(mf_shard_roster(state), &roster) == MF_OK)
        offer(node->membership, roster);
}

static void hand_on(struct mf_reactor *reactor, uint64_t now_us)
{
    struct mf_node *node = reactor->node;
    if (node->roster->version == 1 || node->state != MF_FORMATION_FORMED)
        return;
    for (uint32_t i = 0; i < mf_node_member_count(node); i++) {
        const struct mf_member *member = &node->members[i];
        uint64_t *sent_us = &node->membership->sent_us[i];
        if (i == node->self || mf_member_gone(member) || now_us < *sent_us + SEND_US ||
            LOAD(member->roster) >= node->roster->version)
            continue;
        *sent_us = now_us;
        send_roster(reactor, member->id);
    }
}

struct proposal {
    mf_membership_done *done;
    void *arg;
};

static void on_proposed(void *arg, const struct mf_result *result)
{
    struct proposal *proposal = arg;
    bool taken = result->kind == MF_RESULT_BOOL && result->integer != 0;
    enum mf_err err = result->kind == MF_RESULT_ERROR ? result->err : MF_OK;
    proposal->done(proposal->arg, err, taken);
    free(proposal);
}

void mf_membership_propose(struct mf_reactor *reactor, const struct mf_roster *roster,
                           mf_membership_done *done, void *arg)
{
    struct proposal *proposal = mf_alloc(sizeof(*proposal));
    *proposal = (struct proposal){.done = done, .arg = arg};
    struct mf_buf bytes = {0};
    mf_roster_encode(roster, &bytes);
    struct mf_command command = {
        .op = MF_OP_ROSTER,
        .flags = MF_IF_VERSION,
        .if_version = roster->version - 1,
        .item_count = 1,
        .one = {.key = mf_bytes_str("roster"), .value = mf_buf_view(&bytes)}};
    command.items = &command.one;
    mf_request_start_on(reactor, 0, &command, on_proposed, proposal);
    mf_buf_free(&bytes);
}

static void on_dropped(void *arg, enum mf_err err, bool taken)
{
    (void)err;
    (void)taken;
    struct mf_membership *membership = arg;
    membership->dropping = false;
}

// R3. The leader of shard 0 does it, whoever was asked to remove the node.
static void drop_leavers(struct mf_reactor *reactor, uint64_t now_us)
{
    struct mf_node *node = reactor->node;
    struct mf_membership *membership = node->membership;
    const struct mf_replica *replica = mf_reactor_shard(reactor, 0)->replica;
    if (membership->dropping || now_us < membership->drop_us || replica == NULL ||
        mf_paxos_role(mf_replica_paxos(replica)) != MF_LEADER)
        return;
    membership->drop_us = now_us + DROP_US;
    for (uint32_t i = 0; i < node->roster->count; i++) {
        const struct mf_roster_node *of = &node->roster->nodes[i];
        if (!of->leaving || !mf_placer_is_free(node, of->id))
            continue;
        struct mf_roster *roster = mf_roster_drop(node->roster, of->id);
        membership->dropping = true;
        mf_membership_propose(reactor, roster, on_dropped, membership);
        mf_roster_unref(roster);
        return;
    }
}

void mf_membership_tick(struct mf_reactor *reactor)
{
    uint64_t now_us = mf_reactor_now_us(reactor);
    look_into_log(reactor);
    hand_on(reactor, now_us);
    drop_leavers(reactor, now_us);
}
