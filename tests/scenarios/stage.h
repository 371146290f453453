// A stage for the Paxos cores of one group: nodes with their disks, the leases between them, and
// the mail under way. Nothing is delivered, made durable or timed unless it is said so; whatever
// happens is told, in words, to a file.
//
// One thread. What a script asks for and cannot be done is told as well.
#ifndef MF_SCENARIOS_STAGE_H
#define MF_SCENARIOS_STAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "consensus/lease.h"
#include "consensus/paxos.h"

#define STAGE_NODES 9
#define STAGE_MAIL 256
#define STAGE_RECORDS 256
#define STAGE_LEASE_US 1000000u

struct stage_record {
    uint64_t seq; // of the hand-over it came in
    struct mf_wal_record record;
    struct mf_payload *payload;
};

struct stage_node {
    struct mf_paxos *core; // NULL: not running
    uint64_t incarnation;  // of its memory; 0: there is no such node
    bool slow;             // what it writes becomes durable only when the script says so
    uint64_t durable;      // hand-overs up to this one are on disk
    uint64_t chosen;       // told so far
    uint64_t reads;        // confirmed so far
    uint64_t started_us;
    struct stage_record records[STAGE_RECORDS];
    uint32_t record_count;
    uint64_t snapshot_slot; // its own, on disk; 0: none
    uint64_t snapshot_log_us;
    struct mf_members snapshot_members;
    struct mf_lease lease[STAGE_NODES + 1]; // with each other node
};

struct stage {
    FILE *out;
    uint64_t now_us;
    uint64_t token_base;
    struct mf_members members; // that the group began with
    struct stage_node node[STAGE_NODES + 1];
    struct mf_paxos_msg mail[STAGE_MAIL];
    uint32_t mail_count;
};

void stage_free(struct stage *stage);
// Starts a node that is not running, from what is on its disk.
void stage_start(struct stage *stage, uint16_t node);
// Ends its process: what was not durable is gone.
void stage_crash(struct stage *stage, uint16_t node);
// Its disk is empty, and its memory another one.
void stage_wipe(struct stage *stage, uint16_t node);
// The inputs of a step at this node, which hears from `from` (0: from nobody).
struct mf_paxos_env stage_env(struct stage *stage, uint16_t node, uint16_t from);
// Takes what the core gives out, and tells it.
void stage_take(struct stage *stage, uint16_t node);
void stage_persist(struct stage *stage, uint16_t node);
// Delivers (or drops) the mail that is there now and matches; 0 matches all. Returns how much.
uint32_t stage_deliver(struct stage *stage, uint16_t from, uint16_t to, int type, bool drop);
void stage_tell_mail(struct stage *stage);
void stage_tell_node(struct stage *stage, uint16_t node);
void stage_tell_members(struct stage *stage, const struct mf_members *members);

#endif
