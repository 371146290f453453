// Who leads what; see balance.h.
#include "server/balance.h"

#include <stddef.h>

void mf_balance_look(struct mf_balance_watch *watch, uint32_t i, bool up, uint64_t incarnation,
                     uint64_t now_us)
{
    if (watch->nodes[i].since_us != 0 && watch->nodes[i].up == up &&
        watch->nodes[i].incarnation == incarnation)
        return;
    watch->nodes[i].up = up;
    watch->nodes[i].incarnation = incarnation;
    watch->nodes[i].since_us = now_us;
}

static bool unchanged(const struct mf_balance_watch *watch, uint32_t i, uint64_t now_us,
                      uint64_t wait_us)
{
    uint64_t since_us = watch->nodes[i].since_us;
    return since_us != 0 && now_us >= since_us && now_us - since_us >= wait_us;
}

bool mf_balance_steady(const struct mf_balance_watch *watch, uint32_t i, uint64_t now_us,
                       uint64_t wait_us)
{
    return watch->nodes[i].up && unchanged(watch, i, now_us, wait_us);
}

bool mf_balance_settled(const struct mf_balance_watch *watch, uint32_t count, uint64_t now_us,
                        uint64_t wait_us)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!unchanged(watch, i, now_us, wait_us))
            return false;
    }
    return true;
}

// Who need not be waited for first, then the shard's own place, so that it need not move again,
// then whoever has least to do. Who did not take over last time comes last.
static uint64_t rank(const struct mf_balance_view *view, const struct mf_balance_place *place)
{
    uint64_t avoided = place->node == view->avoid;
    uint64_t behind = !place->level;
    uint64_t foreign = place->node != view->preferred;
    return avoided << 34 | behind << 33 | foreign << 32 | place->load;
}

static uint16_t anybody(const struct mf_balance_view *view)
{
    const struct mf_balance_place *best = NULL;
    for (uint32_t i = 0; i < view->count; i++) {
        const struct mf_balance_place *place = &view->places[i];
        if (!place->fit || place->node == view->self)
            continue;
        if (best == NULL || rank(view, place) < rank(view, best))
            best = place;
    }
    return best != NULL ? best->node : 0;
}

uint16_t mf_balance_heir(const struct mf_balance_view *view)
{
    if (view->leaving)
        return anybody(view);
    if (view->pinned || !view->settled || view->preferred == view->self)
        return 0;
    for (uint32_t i = 0; i < view->count; i++) {
        const struct mf_balance_place *place = &view->places[i];
        if (place->node == view->preferred)
            return place->fit && place->steady ? place->node : 0;
    }
    return 0;
}
