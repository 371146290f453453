// The gate between a shard's owner and reads on other reactors; see read_gate.h.
//
// Shared between threads: everything in struct mf_read_gate but `told`, which is the owner's, and
// `reading` of each reader. The state stands under a sequence lock. That a shard is not freed under
// a reader is Michael's hazard pointer ("Hazard Pointers: Safe Memory Reclamation for Lock-Free
// Objects" (2004)): a reader says where it is going, then looks whether that is still there; the
// owner takes it away, then looks who is on the way. Both do so in the one order of sequentially
// consistent accesses, so one of them sees the other.
#include "server/read_gate.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/seqlock.h"
#include "base/txn.h"
#include "shards/map.h"
#include "shards/shard.h"

#define CACHE_LINE 64

struct mf_read_gate {
    _Alignas(CACHE_LINE) _Atomic uint32_t version; // a sequence lock over the state
    _Atomic uint32_t voter_count;
    _Atomic uint64_t ballot;
    _Atomic int64_t log_offset_us;
    _Atomic(struct mf_shard *) shard;
    _Atomic uint16_t nodes[MF_VOTERS_MAX];
    _Atomic uint64_t tokens[MF_VOTERS_MAX];
    _Atomic uint64_t generation;    // of the shard: grows when one is taken away
    struct mf_read_gate_state told; // what is published
};

// A map's reader, opened when it was first needed. That of an older generation went with its map.
struct opened {
    uint64_t generation;
    struct mf_map_reader *reader;
};

struct mf_read_gate_reader {
    _Atomic(const struct mf_shard *) reading; // NULL = none
    struct opened opened[];
};

struct mf_read_gate *mf_read_gates_new(uint32_t shards)
{
    struct mf_read_gate *gates = aligned_alloc(CACHE_LINE, shards * sizeof(*gates));
    if (gates == NULL) {
        fprintf(stderr, "mayfly: out of memory (read gates)\n");
        abort();
    }
    memset(gates, 0, shards * sizeof(*gates));
    return gates;
}

void mf_read_gates_free(struct mf_read_gate *gates)
{
    free(gates);
}

struct mf_read_gate *mf_read_gate_at(struct mf_read_gate *gates, uint32_t shard)
{
    return &gates[shard];
}

struct mf_read_gate_reader *mf_read_gate_reader_new(uint32_t shards)
{
    struct mf_read_gate_reader *reader;
    return mf_calloc(1, sizeof(*reader) + shards * sizeof(reader->opened[0]));
}

void mf_read_gate_reader_free(struct mf_read_gate_reader *reader)
{
    free(reader);
}

static bool same(const struct mf_read_gate_state *a, const struct mf_read_gate_state *b)
{
    bool equal = a->ballot == b->ballot && a->log_offset_us == b->log_offset_us &&
                 a->shard == b->shard && a->voter_count == b->voter_count;
    for (uint32_t i = 0; i < a->voter_count && equal; i++)
        equal = a->voters[i].node == b->voters[i].node && a->voters[i].token == b->voters[i].token;
    return equal;
}

void mf_read_gate_publish(struct mf_read_gate *gate, const struct mf_read_gate_state *state)
{
    if (same(state, &gate->told) || !mf_seq_write_begin(&gate->version))
        return; // the owner is the only writer, and never finds another one
    gate->told = *state;
    // Release, pairs with the acquires in load_state.
    atomic_store_explicit(&gate->ballot, state->ballot, memory_order_release);
    atomic_store_explicit(&gate->log_offset_us, state->log_offset_us, memory_order_release);
    atomic_store_explicit(&gate->shard, state->shard, memory_order_release);
    atomic_store_explicit(&gate->voter_count, state->voter_count, memory_order_release);
    for (uint32_t i = 0; i < state->voter_count; i++) {
        atomic_store_explicit(&gate->nodes[i], state->voters[i].node, memory_order_release);
        atomic_store_explicit(&gate->tokens[i], state->voters[i].token, memory_order_release);
    }
    mf_seq_write_end(&gate->version);
}

void mf_read_gate_retire(struct mf_read_gate *gate, struct mf_read_gate_reader *const *readers,
                         uint32_t count)
{
    const struct mf_shard *shard = gate->told.shard;
    mf_read_gate_publish(gate, &(struct mf_read_gate_state){0});
    // Sequentially consistent, this and the loads below: pairs with enter.
    atomic_fetch_add_explicit(&gate->generation, 1, memory_order_seq_cst);
    for (uint32_t i = 0; i < count && shard != NULL; i++) {
        while (atomic_load_explicit(&readers[i]->reading, memory_order_seq_cst) == shard)
            sched_yield();
    }
}

bool mf_read_gate_open(const struct mf_read_gate *gate)
{
    // Relaxed: a hint.
    return atomic_load_explicit(&gate->ballot, memory_order_relaxed) != 0;
}

static bool load_state(const struct mf_read_gate *gate, uint32_t *version,
                       struct mf_read_gate_state *state)
{
    *version = mf_seq_read_begin(&gate->version);
    // Acquire, pairs with the releases in mf_read_gate_publish.
    state->ballot = atomic_load_explicit(&gate->ballot, memory_order_acquire);
    state->log_offset_us = atomic_load_explicit(&gate->log_offset_us, memory_order_acquire);
    state->shard = atomic_load_explicit(&gate->shard, memory_order_acquire);
    state->voter_count = atomic_load_explicit(&gate->voter_count, memory_order_acquire);
    for (uint32_t i = 0; i < state->voter_count; i++) {
        state->voters[i].node = atomic_load_explicit(&gate->nodes[i], memory_order_acquire);
        state->voters[i].token = atomic_load_explicit(&gate->tokens[i], memory_order_acquire);
    }
    return mf_seq_valid(&gate->version, *version) && state->ballot != 0 && state->voter_count > 0;
}

// Until when a majority of the voters supports us.
static uint64_t lease_until(const struct mf_read_gate_state *state,
                            const struct mf_read_gate_env *env)
{
    uint64_t until_us[MF_VOTERS_MAX]; // descending
    for (uint32_t i = 0; i < state->voter_count; i++) {
        const struct mf_read_gate_voter *voter = &state->voters[i];
        uint64_t us = voter->token == 0 ? 0 : env->held_until(env->ctx, voter->node, voter->token);
        uint32_t at = i;
        for (; at > 0 && until_us[at - 1] < us; at--)
            until_us[at] = until_us[at - 1];
        until_us[at] = us;
    }
    // There is a voter at least. NOLINTNEXTLINE(clang-analyzer-core.uninitialized.UndefReturn)
    return until_us[state->voter_count / 2];
}

// Makes sure that the shard stays until leave; false when it is being taken away.
static bool enter(const struct mf_read_gate *gate, uint64_t generation,
                  struct mf_read_gate_reader *reader, const struct mf_shard *shard)
{
    // Sequentially consistent, both: pairs with mf_read_gate_retire.
    atomic_store_explicit(&reader->reading, shard, memory_order_seq_cst);
    return atomic_load_explicit(&gate->generation, memory_order_seq_cst) == generation;
}

static void leave(struct mf_read_gate_reader *reader)
{
    // Release, pairs with the load in mf_read_gate_retire: all that was read was read before.
    atomic_store_explicit(&reader->reading, NULL, memory_order_release);
}

static struct mf_map_reader *map_reader(struct opened *opened, uint64_t generation,
                                        struct mf_shard *shard)
{
    if (opened->reader == NULL || opened->generation != generation)
        *opened = (struct opened){generation, mf_map_reader_new(mf_shard_map(shard))};
    return opened->reader;
}

// Only the owner knows the wall clock at a log time.
static bool asks_for_time(const struct mf_command *command)
{
    return command->op == MF_OP_DEADLINE ||
           (command->op == MF_OP_TXN_READ && mf_txn_has_times(command->body));
}

void mf_read_gate_prefetch(const struct mf_read_gate *gate,
                           const struct mf_read_gate_reader *reader, uint32_t shard)
{
    __builtin_prefetch(&gate->version);
    __builtin_prefetch(&gate->generation);
    __builtin_prefetch(&reader->opened[shard]);
}

void mf_read_gate_prefetch_reader(const struct mf_read_gate_reader *reader, uint32_t shard)
{
    if (reader->opened[shard].reader != NULL)
        mf_map_reader_prefetch(reader->opened[shard].reader);
}

enum mf_err mf_read_gate_read(struct mf_read_gate *gate, uint32_t shard,
                              struct mf_read_gate_reader *reader,
                              const struct mf_read_gate_env *env, const struct mf_command *command,
                              struct mf_buf *out)
{
    // Acquire, pairs with the exchange in mf_read_gate_retire: with a new generation, the state is
    // not the one from before it.
    uint64_t generation = atomic_load_explicit(&gate->generation, memory_order_acquire);
    struct mf_read_gate_state state;
    uint32_t version;
    if ((command->flags & MF_READ_LOCAL) != 0 || asks_for_time(command) ||
        !load_state(gate, &version, &state))
        return MF_AGAIN;
    uint64_t until_us = lease_until(&state, env);
    uint64_t now_us = env->mono_us(env->ctx);
    int64_t log_us = (int64_t)now_us + state.log_offset_us;
    if (now_us >= until_us || log_us <= 0)
        return MF_AGAIN;
    size_t before = out->len;
    enum mf_err err = MF_AGAIN;
    if (enter(gate, generation, reader, state.shard))
        err = mf_shard_read_shared(state.shard,
                                   map_reader(&reader->opened[shard], generation, state.shard),
                                   command, (uint64_t)log_us, out);
    leave(reader);
    // After the value: the loads that found it were acquires, and come before these.
    bool held = env->mono_us(env->ctx) < until_us && mf_seq_valid(&gate->version, version);
    if (err == MF_OK && held)
        return MF_OK;
    out->len = before;
    return MF_AGAIN;
}
