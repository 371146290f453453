// Decides when a node votes for the first time; the rules and their proof are in formation.h.
#include "consensus/formation.h"

#include <assert.h>

void mf_formation_init(struct mf_formation *formation, enum mf_formation_state state,
                       uint32_t other_count, uint64_t question)
{
    assert(other_count <= MF_FORMATION_OTHERS_MAX && state != MF_FORMATION_UNHEARD);
    *formation = (struct mf_formation){
        .state = state, .other_count = other_count, .question = question | 1, .ask = true};
}

static void put_question(struct mf_formation *formation, bool again)
{
    formation->question += 2; // stays odd, and so never 0
    formation->again = again;
    formation->ask = true;
    for (uint32_t i = 0; i < formation->other_count; i++)
        formation->others[i].answered = false;
}

void mf_formation_heard(struct mf_formation *formation, uint32_t other, uint64_t process,
                        enum mf_formation_state state, uint64_t answer)
{
    assert(other < formation->other_count);
    struct mf_formation_other *entry = &formation->others[other];
    // What the process before it answered says nothing about the folder that this one found.
    if (entry->process != 0 && entry->process != process)
        put_question(formation, false);
    entry->process = process;
    entry->state = state;
    if (answer == formation->question)
        entry->answered = true;
}

void mf_formation_there_is(struct mf_formation *formation)
{
    if (formation->other_count > 0)
        formation->others[0].state = MF_FORMATION_FORMED;
}

static enum mf_formation_act step_fresh(struct mf_formation *formation)
{
    bool all = true;
    for (uint32_t i = 0; i < formation->other_count; i++) {
        if (formation->others[i].state == MF_FORMATION_FORMED)
            return MF_FORMATION_LEARN;
        all = all && formation->others[i].answered;
    }
    if (all && formation->again)
        return MF_FORMATION_BE_READY;
    if (all)
        put_question(formation, true);
    if (!formation->ask)
        return MF_FORMATION_WAIT;
    formation->ask = false;
    return MF_FORMATION_ASK;
}

static enum mf_formation_act step_ready(const struct mf_formation *formation)
{
    bool all = true;
    for (uint32_t i = 0; i < formation->other_count; i++) {
        if (formation->others[i].state == MF_FORMATION_FORMED)
            return MF_FORMATION_BE_FORMED;
        all = all && formation->others[i].state == MF_FORMATION_READY;
    }
    return all ? MF_FORMATION_BE_FORMED : MF_FORMATION_WAIT;
}

enum mf_formation_act mf_formation_step(struct mf_formation *formation)
{
    if (formation->state == MF_FORMATION_FORMED)
        return MF_FORMATION_WAIT;
    if (formation->other_count == 0)
        return MF_FORMATION_BE_FORMED; // alone, nobody has to be asked
    return formation->state == MF_FORMATION_FRESH ? step_fresh(formation) : step_ready(formation);
}

void mf_formation_enter(struct mf_formation *formation, enum mf_formation_state state)
{
    assert(state > formation->state);
    formation->state = state;
}

bool mf_formation_awaits(const struct mf_formation *formation, uint32_t other)
{
    const struct mf_formation_other *entry = &formation->others[other];
    if (formation->state == MF_FORMATION_FRESH)
        return !entry->answered;
    return formation->state == MF_FORMATION_READY && entry->state < MF_FORMATION_READY;
}
