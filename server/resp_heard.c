// Channels and patterns of a node; see resp_heard.h.
//
// Chains by hash; each lock is for a run of them. Shared between threads: the chains, under their
// locks, and the two counts (relaxed: each is a reading of its own).
#include "server/resp_heard.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/rand.h"

#define CHAINS 65536u
#define LOCKS 64u
#define CHAINS_OF_LOCK (CHAINS / LOCKS)

struct name {
    struct name *next;
    uint64_t listeners;
    uint32_t len;
    bool pattern;
    uint8_t text[];
};

struct mf_resp_heard {
    uint64_t seed;
    _Atomic uint64_t channels;
    _Atomic uint64_t patterns;
    pthread_mutex_t locks[LOCKS];
    struct name *chains[CHAINS];
};

struct mf_resp_heard *mf_resp_heard_new(void)
{
    struct mf_resp_heard *heard = mf_calloc(1, sizeof(*heard));
    mf_entropy(&heard->seed, sizeof(heard->seed));
    for (uint32_t i = 0; i < LOCKS; i++)
        pthread_mutex_init(&heard->locks[i], NULL);
    return heard;
}

void mf_resp_heard_free(struct mf_resp_heard *heard)
{
    if (heard == NULL)
        return;
    for (uint32_t i = 0; i < CHAINS; i++) {
        while (heard->chains[i] != NULL) {
            struct name *first = heard->chains[i];
            heard->chains[i] = first->next;
            free(first);
        }
    }
    for (uint32_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&heard->locks[i]);
    free(heard);
}

// The chain's lock is held from here on.
static uint32_t enter(struct mf_resp_heard *heard, struct mf_bytes text)
{
    uint32_t chain = (uint32_t)(mf_hash64(text, heard->seed) % CHAINS);
    pthread_mutex_lock(&heard->locks[chain / CHAINS_OF_LOCK]);
    return chain;
}

static void leave(struct mf_resp_heard *heard, uint32_t chain)
{
    pthread_mutex_unlock(&heard->locks[chain / CHAINS_OF_LOCK]);
}

// What points to the name, or to the chain's end.
static struct name **find(struct mf_resp_heard *heard, uint32_t chain, bool pattern,
                          struct mf_bytes text)
{
    struct name **at = &heard->chains[chain];
    while (*at != NULL && ((*at)->pattern != pattern ||
                           !mf_bytes_equal(mf_bytes_of((*at)->text, (*at)->len), text)))
        at = &(*at)->next;
    return at;
}

static _Atomic uint64_t *count_of(struct mf_resp_heard *heard, bool pattern)
{
    return pattern ? &heard->patterns : &heard->channels;
}

void mf_resp_heard_add(struct mf_resp_heard *heard, bool pattern, struct mf_bytes text)
{
    uint32_t chain = enter(heard, text);
    struct name **at = find(heard, chain, pattern, text);
    if (*at == NULL) {
        *at = mf_calloc(1, sizeof(**at) + text.len);
        (*at)->pattern = pattern;
        (*at)->len = (uint32_t)text.len;
        if (text.len > 0)
            memcpy((*at)->text, text.data, text.len);
        atomic_fetch_add_explicit(count_of(heard, pattern), 1, memory_order_relaxed);
    }
    (*at)->listeners++;
    leave(heard, chain);
}

void mf_resp_heard_remove(struct mf_resp_heard *heard, bool pattern, struct mf_bytes text)
{
    uint32_t chain = enter(heard, text);
    struct name **at = find(heard, chain, pattern, text);
    struct name *gone = *at;
    assert(gone != NULL);
    if (--gone->listeners == 0) {
        *at = gone->next;
        atomic_fetch_sub_explicit(count_of(heard, pattern), 1, memory_order_relaxed);
        free(gone);
    }
    leave(heard, chain);
}

uint64_t mf_resp_heard_channels(const struct mf_resp_heard *heard)
{
    return atomic_load_explicit(&heard->channels, memory_order_relaxed);
}

uint64_t mf_resp_heard_patterns(const struct mf_resp_heard *heard)
{
    return atomic_load_explicit(&heard->patterns, memory_order_relaxed);
}

uint64_t mf_resp_heard_listeners(struct mf_resp_heard *heard, struct mf_bytes channel)
{
    uint32_t chain = enter(heard, channel);
    const struct name *name = *find(heard, chain, false, channel);
    uint64_t listeners = name != NULL ? name->listeners : 0;
    leave(heard, chain);
    return listeners;
}

bool mf_resp_heard_walk(struct mf_resp_heard *heard, uint32_t *cursor, uint32_t names,
                        void (*take)(void *arg, struct mf_bytes channel), void *arg)
{
    if (*cursor >= CHAINS)
        return false;
    uint32_t first = *cursor;
    uint32_t end = (first / CHAINS_OF_LOCK + 1) * CHAINS_OF_LOCK; // as far as the lock goes
    pthread_mutex_lock(&heard->locks[first / CHAINS_OF_LOCK]);
    for (uint32_t seen = 0; *cursor < end && seen < names; (*cursor)++) {
        for (const struct name *at = heard->chains[*cursor]; at != NULL; at = at->next) {
            seen++;
            if (!at->pattern)
                take(arg, mf_bytes_of(at->text, at->len));
        }
    }
    pthread_mutex_unlock(&heard->locks[first / CHAINS_OF_LOCK]);
    return *cursor < CHAINS;
}
