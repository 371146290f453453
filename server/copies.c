// Making and giving up copies of shards; see copies.h.
#include "server/copies.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rand.h"
#include "consensus/wal_ledger.h"
#include "server/checkpoint.h"
#include "server/file.h"
#include "server/links.h"
#include "server/mover.h"
#include "server/recovery.h"
#include "server/roster.h"
#include "server/router.h"
#include "server/streams.h"
#include "server/watchers.h"
#include "server/worker.h"

#define PATH_BYTES (MF_CHECKPOINT_PATH_BYTES + 32)

// The file.

void mf_left_format(const struct mf_left *left, char text[MF_LEFT_TEXT_BYTES])
{
    snprintf(text, MF_LEFT_TEXT_BYTES,
             "mayfly-left 1\npromise = %" PRIu64 ".%u\nslot = %" PRIu64 "\nfloor = %" PRIu64
             "\nstate = %s\n",
             mf_ballot_round(left->promise), mf_ballot_node(left->promise), left->slot, left->floor,
             left->gone ? "gone" : "back");
}

enum mf_err mf_left_parse(const char *text, struct mf_left *left)
{
    uint64_t round;
    unsigned node;
    char state[8];
    *left = (struct mf_left){0};
    if (sscanf(text,
               "mayfly-left 1 promise = %" SCNu64 ".%u slot = %" SCNu64 " floor = %" SCNu64
               " state = %7s",
               &round, &node, &left->slot, &left->floor, state) != 5 ||
        node > UINT16_MAX || round > UINT64_MAX >> 16)
        return MF_CORRUPT;
    left->promise = mf_ballot_make(round, (uint16_t)node);
    left->gone = strcmp(state, "gone") == 0;
    // There is one text for each content, so what differs from it is damaged.
    char again[MF_LEFT_TEXT_BYTES];
    mf_left_format(left, again);
    return strcmp(text, again) == 0 ? MF_OK : MF_CORRUPT;
}

static void left_path(const struct mf_node *node, uint32_t shard, const char *suffix, char *path)
{
    char checkpoint[MF_CHECKPOINT_PATH_BYTES];
    mf_checkpoint_path(node, shard, checkpoint, sizeof(checkpoint));
    size_t len = strlen(checkpoint) - strlen(".mfs");
    snprintf(path, PATH_BYTES, "%.*s.left%s", (int)len, checkpoint, suffix);
}

static bool logged(const struct mf_node *node)
{
    return node->config.durability != MF_DURABILITY_NONE;
}

// MF_NOT_FOUND when there is none.
static enum mf_err read_left(const struct mf_node *node, uint32_t shard, struct mf_left *left,
                             char *message, size_t size)
{
    char path[PATH_BYTES];
    char text[MF_LEFT_TEXT_BYTES + 1];
    left_path(node, shard, "", path);
    FILE *file = fopen(path, "re");
    if (file == NULL && errno == ENOENT)
        return MF_NOT_FOUND;
    if (file == NULL) {
        snprintf(message, size, "cannot read %s: %s", path, strerror(errno));
        return MF_IO;
    }
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    bool failed = ferror(file) != 0;
    if (failed)
        snprintf(message, size, "cannot read %s: %s", path, strerror(errno));
    fclose(file);
    if (failed)
        return MF_IO;
    if (mf_left_parse(text, left) == MF_OK)
        return MF_OK;
    snprintf(message, size, "%s is damaged", path);
    return MF_CORRUPT;
}

static enum mf_err write_left(const struct mf_node *node, uint32_t shard,
                              const struct mf_left *left, char *message, size_t size)
{
    char path[PATH_BYTES];
    char aside[PATH_BYTES];
    char text[MF_LEFT_TEXT_BYTES];
    left_path(node, shard, "", path);
    left_path(node, shard, ".mfs.tmp", aside); // removed at the next start
    mf_left_format(left, text);
    return mf_file_replace(path, aside, mf_bytes_str(text), message, size);
}

static void remove_checkpoint(struct mf_node *node, uint32_t shard)
{
    char path[MF_CHECKPOINT_PATH_BYTES];
    mf_checkpoint_path(node, shard, path, sizeof(path));
    mf_checkpoint_files_lock(node);
    (void)unlink(path); // one that stays is removed at the next start
    mf_checkpoint_set_info(node, shard, NULL);
    mf_checkpoint_files_unlock(node);
}

// At the start.

enum mf_err mf_copies_load_left(struct mf_node *node, uint32_t shard, struct mf_left *left,
                                char *message, size_t size)
{
    *left = (struct mf_left){0};
    if (!logged(node))
        return MF_OK;
    enum mf_err err = read_left(node, shard, left, message, size);
    if (err == MF_NOT_FOUND)
        return MF_OK;
    if (err == MF_OK && left->gone && node->offline == NULL)
        remove_checkpoint(node, shard);
    return err;
}

bool mf_copies_begins_with(const struct mf_node *node, uint32_t shard)
{
    uint16_t ids[MF_VOTERS_MAX];
    uint32_t count = mf_roster_first_places(node->roster, shard, ids);
    // Who was let in has nothing of what the cluster began with.
    bool snapshot = node->genesis == node->roster->genesis || node->roster->version == 1;
    for (uint32_t i = 0; i < count && snapshot && !node->joins; i++) {
        if (ids[i] == node->config.id)
            return true;
    }
    return false;
}

enum mf_err mf_copies_back(const struct mf_node *node, uint32_t shard, char *message, size_t size)
{
    struct mf_left left;
    enum mf_err err = logged(node) ? read_left(node, shard, &left, message, size) : MF_NOT_FOUND;
    if (err != MF_OK || !left.gone)
        return err == MF_NOT_FOUND ? MF_OK : err;
    left.gone = false;
    return write_left(node, shard, &left, message, size);
}

// Making one.

void mf_copies_make(struct mf_owned_shard *shard, const struct mf_members *members)
{
    struct mf_reactor *reactor = shard->reactor;
    struct mf_node *node = reactor->node;
    uint64_t hash_seed;
    mf_entropy(&hash_seed, sizeof(hash_seed));
    if (node->ledger != NULL)
        mf_wal_ledger_uncover(node->ledger, shard->id);
    shard->state = mf_shard_new(shard->id, hash_seed);
    shard->base = (struct mf_shard_base){.members = *members};
    shard->checkpoint = (struct mf_checkpoint_need){0};
    mf_recover_make_blank(shard);
    struct mf_replica_env env = mf_reactor_env(reactor);
    mf_replica_restate(shard->replica, &env); // the promise, for a log that has it no more
    mf_links_introduce_to(reactor->links, shard);
    mf_reactor_touch(shard);
    mf_log(MF_DEBUG, "shard=%u: a copy is made here", shard->id);
}

// Giving one up.

bool mf_copies_may_go(const struct mf_places *places, const struct mf_paxos *paxos)
{
    return places->retiring &&
           mf_paxos_may_leave(paxos, places->retire_slot, places->retire_ballot);
}

struct mf_left mf_copies_left_of(const struct mf_places *places, const struct mf_paxos *paxos,
                                 const struct mf_left *before)
{
    struct mf_left left = {.promise = mf_paxos_ballot(paxos),
                           .slot = mf_paxos_chosen(paxos),
                           .floor = places->retire_slot,
                           .gone = true};
    if (left.slot < before->slot)
        left.slot = before->slot;
    if (left.floor < before->floor)
        left.floor = before->floor;
    return left;
}

struct leave {
    struct mf_job job;
    struct mf_owned_shard *shard;
    struct mf_left left;
    enum mf_err err;
    char message[512];
};

static void leave_files(struct mf_job *job)
{
    struct leave *leave = (struct leave *)job;
    struct mf_node *node = leave->shard->reactor->node;
    uint32_t shard = leave->shard->id;
    if (logged(node))
        leave->err = write_left(node, shard, &leave->left, leave->message, sizeof(leave->message));
    if (leave->err == MF_OK)
        remove_checkpoint(node, shard);
}

// The log may lose the copy's entries only when it is durable that they mean nothing any more. When
// it could not be written they stay, and the next start finds a copy that its group does not want.
static void on_left(struct mf_reactor *reactor, struct mf_task *task)
{
    struct leave *leave = (struct leave *)task;
    struct mf_owned_shard *shard = leave->shard;
    struct mf_node *node = reactor->node;
    shard->places.busy = false;
    if (!leave->job.undone && leave->err != MF_OK)
        mf_log(MF_ERROR, "shard=%u: the copy is given up, but stays on the disk: %s", shard->id,
               leave->message);
    else if (!leave->job.undone && node->ledger != NULL && shard->replica == NULL)
        mf_wal_ledger_cover(node->ledger, shard->id, UINT64_MAX);
    free(leave);
}

static void forget_shard(struct mf_owned_shard *shard)
{
    struct mf_shard_status *status = &shard->reactor->node->shards[shard->id];
    atomic_store_explicit(&status->held, false, memory_order_relaxed);
    atomic_store_explicit(&status->keys, 0, memory_order_relaxed);
    atomic_store_explicit(&status->bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&status->ballot, 0, memory_order_relaxed);
    atomic_store_explicit(&status->chosen, 0, memory_order_relaxed);
    atomic_store_explicit(&status->applied, 0, memory_order_relaxed);
    atomic_store_explicit(&status->first, 0, memory_order_relaxed);
    atomic_fetch_sub_explicit(&shard->reactor->node->held, 1, memory_order_relaxed);
}

bool mf_copies_give_up(struct mf_owned_shard *shard)
{
    struct mf_reactor *reactor = shard->reactor;
    struct mf_replica *replica = shard->replica;
    const struct mf_paxos *paxos = mf_replica_paxos(replica);
    // A checkpoint of this copy may end only here, not at the copy that comes after it.
    if (mf_shard_walking(mf_replica_shard(replica)) || shard->listed || shard->places.busy ||
        mf_checkpoint_is_due(reactor->node, shard->id))
        return false;
    struct leave *leave = mf_calloc(1, sizeof(*leave));
    leave->job = (struct mf_job){.task = {.run = on_left}, .home = reactor, .work = leave_files};
    leave->shard = shard;
    leave->left = mf_copies_left_of(&shard->places, paxos, &shard->left);
    shard->left = leave->left;
    uint16_t leader = mf_paxos_leader(paxos);
    mf_mover_drop(shard);
    mf_streams_drop(shard);
    mf_reactor_forget(shard);
    mf_reactor_retire_gate(shard);
    mf_watchers_detach(shard);
    shard->replica = NULL; // what comes back from it now looks for another node
    mf_streams_discard(reactor->streams, mf_replica_give_up(replica));
    forget_shard(shard);
    mf_router_copy_gone(shard, leader);
    shard->places.busy = true;
    mf_log(MF_DEBUG, "shard=%u: the copy here is given up", shard->id);
    mf_worker_give(reactor->node->worker, &leave->job);
    return true;
}

void mf_copies_restate(struct mf_owned_shard *shard)
{
    const struct mf_wal_record records[] = {
        {.type = MF_WAL_PROMISE, .group = shard->id, .ballot = shard->left.promise},
        {.type = MF_WAL_MARK, .group = shard->id, .slot = shard->left.slot},
    };
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
        mf_wal_put(shard->reactor->wal, &records[i]);
}
