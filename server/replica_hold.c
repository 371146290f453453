// A replica whose state changes faster than a walk of it is written; see mf_replica_hold.
//
// A walk hands out what is about to change ahead of its file (shards/walk.c), so changes are held
// back at the file's pace. Why this cannot end in a standstill, and loses nothing:
//
// - The walk needs no entry to be applied to go on: each step and each record that is written
//   brings its end and the release nearer, whatever the group does.
// - The core sees nothing of it but messages that do not arrive: it promises, votes, answers probes
//   and renews leases as ever. An entry that was acknowledged is chosen; that a replica applies it
//   later delays only that replica's own state, of which nobody is told more than it has applied.
// - Who leads holds nothing back that is chosen, beyond a turn's work (replica_work.c), and answers
//   no read until it has applied that too.
// - One follower that is silent is not missed. Where a majority is, nothing is chosen until one of
//   them goes on: the writers wait for the disks of a majority.
#include "server/replica_internal.h"

#define PORTION_BYTES (64u * 1024)
// A follower whose turns are not enough for what is chosen takes in no more than so many entries:
// few bytes can be much work.
#define BEHIND_ENTRIES_MAX 64u

void mf_replica_hold(struct mf_replica *replica, bool hold)
{
    bool released = replica->held && !hold;
    replica->dirty = replica->dirty || released;
    replica->at_once = false;
    replica->catching_up = replica->catching_up || released;
    replica->held = hold;
}

bool mf_replica_may_apply(const struct mf_replica *replica)
{
    return !replica->held || mf_paxos_role(replica->paxos) == MF_LEADER;
}

// Others have their turn between two portions of what a hold has left; who leads has no time.
size_t mf_replica_portion(const struct mf_replica *replica)
{
    bool portions = replica->catching_up && mf_paxos_role(replica->paxos) != MF_LEADER;
    return portions ? PORTION_BYTES : SIZE_MAX;
}

// A candidate that is to lead has to learn all that is chosen.
bool mf_replica_sheds(const struct mf_replica *replica, const struct mf_paxos_msg *msg)
{
    bool brings = msg->type == MF_PAXOS_ACCEPT || msg->type == MF_PAXOS_LEARNED;
    bool stands = replica->held || replica->behind;
    return stands && brings && mf_paxos_role(replica->paxos) == MF_FOLLOWER &&
           (mf_paxos_log_bytes(replica->paxos) >=
                replica->applied_bytes + replica->cfg.held_log_bytes ||
            (replica->behind &&
             mf_paxos_chosen(replica->paxos) - replica->applied >= BEHIND_ENTRIES_MAX));
}

void mf_replica_note_backlog(struct mf_replica *replica)
{
    uint64_t bytes = mf_paxos_log_bytes(replica->paxos);
    // A log that was cut does not grow back to what it was.
    if (replica->applied >= mf_paxos_chosen(replica->paxos) || bytes < replica->applied_bytes)
        replica->applied_bytes = bytes;
}
