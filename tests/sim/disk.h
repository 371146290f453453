// A node's disk: log files in the real format, group commit, and what a crash leaves of it.
//
// Records that come in while a sync is running go into the next batch, as in the server. At a crash
// the batch under way is lost, torn, or there: any of its sectors may have landed, and the others
// hold zeros, noise, or what an older file left there. A write that finds the disk full is tried
// again, the same batch at the same place, until there is room or a crash comes. Files whose
// entries are all in a snapshot go, when the ledger of the real log says so.
#ifndef MF_SIM_DISK_H
#define MF_SIM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/rand.h"
#include "consensus/wal_format.h"
#include "consensus/wal_ledger.h"

struct sim;
struct sim_node;

// The records of one hand-over, whose number (0: none) is reported when they are durable.
struct sim_hand_over {
    uint32_t group;
    uint64_t seq;
};

struct sim_batch {
    struct mf_wal_record *records; // payloads are the batch's
    uint32_t record_count;
    uint32_t record_cap;
    struct sim_hand_over *hand_overs;
    uint32_t hand_over_count;
    uint32_t hand_over_cap;
};

struct sim_file {
    struct mf_wal_file_id id;
    struct mf_buf bytes;
    uint64_t batches; // that are durable
    size_t last_at;   // where the last of them begins
};

struct sim_disk {
    struct mf_rand rand;
    struct sim_file *files; // the last is written to
    uint32_t file_count;
    uint32_t file_cap;
    uint64_t sequence;            // of the newest file that there ever was
    struct mf_wal_ledger *ledger; // of this process; NULL before recovery
    struct sim_batch gathering;
    struct sim_batch syncing;
    struct mf_buf sync_bytes; // the batch under way
    bool busy;
    bool blocked;         // it has found no room for that batch so far
    uint64_t begun_us;    // when it was written for the first time
    uint64_t sync_us_max; // the longest from there to its end, so far
    uint64_t slow_until_us;
    uint64_t full_until_us;
    bool rotten; // a bit has flipped that a restart finds
};

void sim_disk_init(struct sim_disk *disk, uint64_t seed);
void sim_disk_free(struct sim_disk *disk);

// Scans every file, in order, then starts a new one. record() gets every record of every batch.
void sim_disk_recover(struct sim_node *node,
                      void (*record)(struct sim_node *node, const struct mf_wal_record *record));
void sim_disk_write(struct sim_node *node, const struct mf_wal_record *records, uint32_t count,
                    uint32_t group, uint64_t seq);
// The turn is over: starts a sync when there is something to write and none is under way.
void sim_disk_kick(struct sim_node *node);
// The sync is done: durable() for each hand-over in order, after durable_record() for each record.
void sim_disk_synced(struct sim_node *node,
                     void (*durable_record)(struct sim_node *node,
                                            const struct mf_wal_record *record),
                     void (*durable)(struct sim_node *node, const struct sim_hand_over *hand_over));
// The write that was under way finds room, and its sync begins, or there is none, and it is tried
// again in a while.
void sim_disk_tried(struct sim_node *node);
// So much waits for the disk that what brings more is dropped.
bool sim_disk_sheds(const struct sim_disk *disk);
// A durable snapshot of the group covers the log up to this slot.
void sim_disk_cover(struct sim_node *node, uint32_t group, uint64_t slot);
// The copy that it covered is given up.
void sim_disk_uncover(struct sim_node *node, uint32_t group);
// Removes the files that are not needed any more, and asks for what has to be written again before
// others can go.
void sim_disk_sweep(struct sim_node *node);
void sim_disk_crash(struct sim_node *node);
// Flips a bit where later batches show at a restart that it was not torn off.
void sim_disk_rot(struct sim_node *node);
// Scans like recovery: must the node fear to have forgotten something?
bool sim_disk_is_damaged(const struct sim_node *node);
void sim_disk_wipe(struct sim_disk *disk);

#endif
