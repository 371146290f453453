// What a replica lets other reactors know for reads; see read_gate.h.
#include "consensus/lease.h"
#include "server/reactor.h"
#include "server/read_gate.h"
#include "server/replica_internal.h"

void mf_replica_gate(struct mf_replica *replica, struct mf_read_gate_state *out)
{
    const struct mf_paxos *paxos = replica->paxos;
    *out = (struct mf_read_gate_state){0};
    bool serving = mf_replica_serves(replica) && mf_paxos_role(paxos) == MF_LEADER &&
                   !mf_paxos_transferring(paxos) && replica->clock.leading;
    if (!serving)
        return;
    out->ballot = mf_paxos_ballot(paxos);
    // The clock's floor is left out: it is the log time of entries, which a leader's own clock has
    // reached, and a read that shows a key alive for a moment longer shows the state before its
    // end.
    out->log_offset_us = (int64_t)(replica->clock.base_log_us - replica->clock.base_mono_us);
    out->shard = replica->shard;
    struct mf_paxos_progress peer;
    while (out->voter_count < MF_VOTERS_MAX && mf_paxos_progress(paxos, out->voter_count, &peer) &&
           !peer.learner) {
        uint64_t token = peer.self ? MF_SELF_TOKEN : peer.support;
        out->voters[out->voter_count++] =
            (struct mf_read_gate_voter){.node = peer.acceptor.node, .token = token};
    }
}

void mf_reactor_publish_gate(struct mf_owned_shard *shard)
{
    struct mf_read_gate_state state;
    mf_replica_gate(shard->replica, &state);
    mf_read_gate_publish(mf_read_gate_at(shard->reactor->node->gates, shard->id), &state);
}

void mf_reactor_retire_gate(struct mf_owned_shard *shard)
{
    const struct mf_node *node = shard->reactor->node;
    struct mf_read_gate_reader *readers[MF_THREADS_MAX];
    for (uint32_t i = 0; i < node->reactor_count; i++)
        readers[i] = node->reactors[i]->gate_reader;
    mf_read_gate_retire(mf_read_gate_at(node->gates, shard->id), readers, node->reactor_count);
}
