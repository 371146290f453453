// See client_positions.h.
#include "rpc/client_positions.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/rand.h"

#define MARKS_MIN 4u
#define MARKS_KEPT 64u

bool mf_positions_init(struct mf_positions *positions, uint32_t first, uint32_t count)
{
    *positions = (struct mf_positions){.first = first, .count = count};
    // Secret, so that nobody chooses keys that are taken for each other.
    mf_entropy(positions->seed, sizeof positions->seed);
    positions->all = calloc(count, sizeof positions->all[0]);
    return positions->all != NULL;
}

void mf_positions_free(struct mf_positions *positions)
{
    for (uint32_t i = 0; positions->all != NULL && i < positions->count; i++)
        free(positions->all[i].marks);
    free(positions->all);
    *positions = (struct mf_positions){0};
}

static struct mf_position *position_of(struct mf_positions *positions, uint32_t shard)
{
    return &positions->all[shard - positions->first];
}

static void forget_marks(struct mf_positions *positions, struct mf_position *position)
{
    if (position->mark_cap > MARKS_KEPT) {
        positions->mark_cap_all -= position->mark_cap;
        free(position->marks);
        position->marks = NULL;
        position->mark_cap = 0;
    } else if (position->mark_count > 0) {
        memset(position->marks, 0, position->mark_cap * sizeof position->marks[0]);
    }
    position->mark_count = 0;
}

static void move_to(struct mf_positions *positions, struct mf_position *position,
                    enum mf_position_state state, uint64_t version)
{
    positions->known += position->state == MF_POSITION_UNKNOWN;
    forget_marks(positions, position);
    position->state = state;
    position->version = version;
}

static struct mf_mark mark_of(const struct mf_positions *positions, struct mf_bytes key)
{
    struct mf_mark mark = {
        {mf_hash64(key, positions->seed[0]), mf_hash64(key, positions->seed[1])}};
    mark.words[0] |= 1; // no mark is none
    return mark;
}

// Where the mark is, or would be. There is always a free place.
static struct mf_mark *place_of(struct mf_mark *marks, uint32_t cap, struct mf_mark mark)
{
    uint32_t at = (uint32_t)mark.words[1] & (cap - 1);
    while (marks[at].words[0] != 0 &&
           (marks[at].words[0] != mark.words[0] || marks[at].words[1] != mark.words[1]))
        at = (at + 1) & (cap - 1);
    return &marks[at];
}

static bool grow_marks(struct mf_positions *positions, struct mf_position *position)
{
    uint32_t cap = position->mark_cap == 0 ? MARKS_MIN : position->mark_cap * 2;
    if (positions->mark_cap_all - position->mark_cap + cap > MF_MARKS_MAX)
        return false;
    struct mf_mark *marks = calloc(cap, sizeof *marks);
    if (marks == NULL)
        return false;
    for (uint32_t i = 0; i < position->mark_cap; i++) {
        if (position->marks[i].words[0] != 0)
            *place_of(marks, cap, position->marks[i]) = position->marks[i];
    }
    positions->mark_cap_all += cap - position->mark_cap;
    free(position->marks);
    position->marks = marks;
    position->mark_cap = cap;
    return true;
}

static enum mf_position_verdict add_mark(struct mf_positions *positions,
                                         struct mf_position *position, struct mf_bytes key)
{
    struct mf_mark mark = mark_of(positions, key);
    // Half of the places stay free.
    if (position->mark_count * 2 >= position->mark_cap && !grow_marks(positions, position)) {
        forget_marks(positions, position);
        position->state = MF_POSITION_BLIND;
        return MF_POSITION_NEW;
    }
    struct mf_mark *place = place_of(position->marks, position->mark_cap, mark);
    if (place->words[0] != 0)
        return MF_POSITION_TOLD;
    *place = mark;
    position->mark_count++;
    return MF_POSITION_NEW;
}

void mf_positions_begin(struct mf_positions *positions, uint32_t shard, uint64_t from_version)
{
    // Version 0 is before the first change: to begin with it is to begin with 1.
    move_to(positions, position_of(positions, shard), MF_POSITION_WHOLE,
            from_version > 0 ? from_version - 1 : 0);
}

enum mf_position_verdict mf_positions_event(struct mf_positions *positions, uint32_t shard,
                                            uint64_t version, struct mf_bytes key)
{
    struct mf_position *position = position_of(positions, shard);
    if (position->state == MF_POSITION_UNKNOWN || version > position->version)
        move_to(positions, position, MF_POSITION_PARTLY, version);
    else if (version < position->version || position->state == MF_POSITION_WHOLE)
        return MF_POSITION_FAULT;
    if (position->state == MF_POSITION_BLIND)
        return MF_POSITION_NEW;
    return add_mark(positions, position, key);
}

enum mf_position_verdict mf_positions_progress(struct mf_positions *positions, uint32_t shard,
                                               uint64_t version)
{
    struct mf_position *position = position_of(positions, shard);
    positions->reached += !position->reached;
    position->reached = true;
    if (position->state != MF_POSITION_UNKNOWN && version < position->version)
        return MF_POSITION_TOLD;
    move_to(positions, position, MF_POSITION_WHOLE, version);
    return MF_POSITION_NEW;
}

bool mf_positions_resumable(const struct mf_positions *positions)
{
    for (uint32_t i = 0; i < positions->count; i++) {
        if (positions->all[i].state == MF_POSITION_BLIND)
            return false;
    }
    return true;
}

uint64_t mf_position_from(const struct mf_position *position)
{
    if (position->state != MF_POSITION_WHOLE || position->version == UINT64_MAX)
        return position->version;
    return position->version + 1;
}
