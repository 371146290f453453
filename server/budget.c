// The memory of a node; see budget.h.
#include "server/budget.h"

// Parts of the limit: eviction begins when so much of it is left, and ids may go so far above it.
#define SPARE_PART 32u
#define ID_PART 16u

static uint64_t load(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

void mf_budget_set_max(struct mf_budget *budget, uint64_t bytes_max)
{
    atomic_store_explicit(&budget->bytes_max, bytes_max, memory_order_relaxed);
    if (bytes_max > 0)
        atomic_store_explicit(&budget->counts, true, memory_order_relaxed);
}

void mf_budget_set_eviction(struct mf_budget *budget, enum mf_eviction eviction)
{
    atomic_store_explicit(&budget->eviction, eviction, memory_order_relaxed);
}

enum mf_eviction mf_budget_eviction(const struct mf_budget *budget)
{
    if (load(&budget->bytes_max) == 0)
        return MF_EVICT_NONE;
    return (enum mf_eviction)atomic_load_explicit(&budget->eviction, memory_order_relaxed);
}

// A sum of parts, each of which is only ever exchanged for another.
static void exchange(_Atomic uint64_t *sum, uint64_t *part, uint64_t now)
{
    if (now != *part)
        atomic_fetch_add_explicit(sum, now - *part, memory_order_relaxed);
    *part = now;
}

void mf_budget_report(struct mf_budget *budget, struct mf_budget_share *share,
                      struct mf_budget_share now)
{
    exchange(&budget->used, &share->used, now.used);
    exchange(&budget->pending, &share->pending, now.pending);
    exchange(&budget->waiting, &share->waiting, now.waiting);
    exchange(&budget->evicting, &share->evicting, now.evicting);
    exchange(&budget->evictable, &share->evictable, now.evictable);
}

static uint64_t taken(const struct mf_budget *budget)
{
    return load(&budget->used) + load(&budget->pending);
}

enum mf_admission mf_budget_admit(const struct mf_budget *budget, bool grows, uint64_t growth)
{
    uint64_t max = load(&budget->bytes_max);
    if (max == 0 || growth == 0)
        return MF_ADMIT;
    if (!grows)
        return taken(budget) + growth <= max + max / ID_PART ? MF_ADMIT : MF_ADMIT_NEVER;
    if (growth > max)
        return MF_ADMIT_NEVER;
    if (taken(budget) + growth <= max)
        return MF_ADMIT;
    return load(&budget->evictable) > 0 ? MF_ADMIT_LATER : MF_ADMIT_NEVER;
}

uint64_t mf_budget_excess(const struct mf_budget *budget)
{
    uint64_t max = load(&budget->bytes_max);
    if (max == 0 || load(&budget->evictable) == 0)
        return 0;
    uint64_t limit = max - max / SPARE_PART + load(&budget->evicting);
    uint64_t needed = taken(budget) + load(&budget->waiting);
    return needed > limit ? needed - limit : 0;
}
