// The search for an order; see linear.h.
//
// Calls and returns stand in one list by time. The search takes any call in front of the first
// return, applies it to the state and takes it and its return out of the list; it goes back when a
// return comes first that has not been explained. What was reached once (the set of operations
// taken and the state) is not searched again.
#include "linear.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"

#define NO_TTL UINT32_MAX
// The slack of answers in milliseconds.
#define MS_US 1000u

// One key. All zero but no_ttl is an absent key.
struct state {
    uint64_t value;   // 0: absent
    uint64_t version; // 0: not known
    uint64_t ttl_op;  // index of the operation that gave the TTL, NO_TTL
};

// An operation can go several ways where its answer or the state leaves it open.
enum way { FOUND_DEAD = 1u << 0, CONDITION_FAILS = 1u << 1, WAYS = 4 };

enum truth { FALSE, TRUE, OPEN };

struct node {
    uint32_t op;
    bool is_return;
    struct node *prev;
    struct node *next;
    struct node *match; // of a call: its return, or NULL
};

struct frame {
    struct node *call;
    uint32_t way;
    struct state before;
};

struct search {
    const struct linear_op *ops;
    size_t count;
    struct node *nodes;
    struct node head;
    struct frame *stack;
    size_t depth;
    size_t returns_left;
    uint64_t *key; // the bits of operations taken, then the state: what is remembered
    size_t words;  // of the bits
    size_t key_words;
    uint64_t *seen; // a table of keys, open addressing; a key is never all zero
    size_t seen_count;
    size_t seen_cap;
};

static const struct state absent = {.ttl_op = NO_TTL};

// A window binds in its own stretch only; in between the log clock may have stood still or jumped.
static bool binds(const struct linear_op *giver, const struct linear_op *observer)
{
    return giver->stretch != 0 && giver->stretch == observer->stretch;
}

static bool may_be_dead(const struct linear_op *giver, const struct linear_op *observer)
{
    return !binds(giver, observer) || observer->return_us >= giver->dies_from_us;
}

static bool may_be_alive(const struct linear_op *giver, const struct linear_op *observer)
{
    return !binds(giver, observer) || observer->call_us <= giver->dies_until_us;
}

static bool ttl_left_fits(const struct linear_op *giver, const struct linear_op *observer)
{
    if (!binds(giver, observer))
        return true;
    uint64_t left = observer->ttl_left_us;
    bool too_little = observer->return_us != LINEAR_NEVER &&
                      left + MS_US + observer->return_us < giver->dies_from_us;
    bool too_much = giver->dies_until_us != LINEAR_NEVER &&
                    left > giver->dies_until_us + MS_US - observer->call_us;
    return !too_little && !too_much;
}

static bool read_fits(const struct search *s, const struct linear_op *op, struct state *state)
{
    bool there = state->value != 0;
    if (op->hit != LINEAR_UNTOLD && (op->hit == LINEAR_YES) != there)
        return false;
    if (!there)
        return true;
    if (op->tells_value && op->seen_value != state->value)
        return false;
    if (op->version != 0 && state->version != 0 && op->version != state->version)
        return false;
    if (op->version != 0)
        state->version = op->version;
    if (op->ttl == LINEAR_TTL_NONE)
        return state->ttl_op == NO_TTL;
    return op->ttl == LINEAR_TTL_UNTOLD ||
           (state->ttl_op != NO_TTL && ttl_left_fits(&s->ops[state->ttl_op], op));
}

static enum truth version_holds(const struct linear_op *op, const struct state *state)
{
    if ((op->conditions & LINEAR_IF_VERSION) == 0)
        return TRUE;
    if (op->if_version == 0 || state->value == 0)
        return op->if_version == 0 && state->value == 0 ? TRUE : FALSE;
    if (state->version == 0)
        return OPEN;
    return state->version == op->if_version ? TRUE : FALSE;
}

uint64_t linear_appended(uint64_t value, uint64_t piece)
{
    return mf_hash_mix(value, piece) | LINEAR_APPENDED;
}

static bool is_integer(uint64_t value)
{
    return value >= LINEAR_INTEGERS && value < LINEAR_APPENDED;
}

// Does the operation have its effect in this state?
static enum truth condition_holds(const struct linear_op *op, const struct state *state)
{
    bool there = state->value != 0;
    bool mortal = there && state->ttl_op != NO_TTL;
    bool nx = (op->conditions & LINEAR_NX) != 0;
    bool xx = (op->conditions & LINEAR_XX) != 0;
    switch (op->kind) {
    case LINEAR_SET:
        if ((nx && there) || (xx && !there))
            return FALSE;
        if ((op->conditions & LINEAR_ELSEWHERE) != 0)
            return OPEN;
        return version_holds(op, state);
    case LINEAR_DEL:
        return there ? version_holds(op, state) : FALSE;
    case LINEAR_EXPIRE:
        if (!there || (nx && mortal) || (xx && !mortal))
            return FALSE;
        if ((op->conditions & (LINEAR_GT | LINEAR_LT)) != 0 && mortal)
            return OPEN;
        return (op->conditions & LINEAR_GT) != 0 ? FALSE : TRUE;
    case LINEAR_PERSIST:
        return mortal ? TRUE : FALSE;
    case LINEAR_INCR:
        return !there || is_integer(state->value) ? TRUE : FALSE;
    case LINEAR_APPEND:
        return TRUE;
    case LINEAR_GETEX:
        return there ? TRUE : FALSE;
    case LINEAR_READ:
        break;
    }
    return FALSE;
}

// A key that an operation makes or changes in place: its TTL stays.
static void change_value(struct state *state, uint64_t value, uint64_t ttl_op)
{
    if (state->value == 0)
        state->ttl_op = ttl_op;
    state->value = value;
    state->version = 0;
}

static bool increment(uint32_t index, const struct linear_op *op, struct state *state)
{
    uint64_t value = state->value != 0 ? state->value : linear_integer(0);
    value += (uint64_t)op->delta;
    change_value(state, value, op->gives_ttl ? index : NO_TTL);
    return op->value_after == 0 || op->value_after == value;
}

static bool have_effect(uint32_t index, const struct linear_op *op, struct state *state)
{
    switch (op->kind) {
    case LINEAR_SET:
        if (op->version != 0 && state->version != 0 && op->version <= state->version)
            return false;
        if ((op->conditions & LINEAR_KEEP_TTL) == 0)
            state->ttl_op = op->gives_ttl ? index : NO_TTL;
        state->value = op->value;
        state->version = op->version;
        break;
    case LINEAR_DEL:
        *state = absent;
        break;
    case LINEAR_EXPIRE:
        if ((op->conditions & LINEAR_DELETES) != 0) {
            *state = absent;
        } else {
            state->ttl_op = index;
            state->version = 0;
        }
        break;
    case LINEAR_PERSIST:
        state->ttl_op = NO_TTL;
        state->version = 0;
        break;
    case LINEAR_INCR:
        return increment(index, op, state);
    case LINEAR_APPEND:
        change_value(state,
                     state->value == 0 ? op->value : linear_appended(state->value, op->value),
                     NO_TTL);
        break;
    case LINEAR_GETEX:
        if (op->gives_ttl)
            state->ttl_op = index;
        else if ((op->conditions & LINEAR_NO_TTL) != 0)
            state->ttl_op = NO_TTL;
        state->version = 0;
        break;
    case LINEAR_READ:
        break;
    }
    return true;
}

// Applies the operation to the state in one of its ways; false when that way is not open.
static bool step(const struct search *s, uint32_t index, uint32_t way, struct state *state)
{
    const struct linear_op *op = &s->ops[index];
    bool mortal = state->value != 0 && state->ttl_op != NO_TTL;
    if ((way & FOUND_DEAD) != 0) {
        if (!mortal || !may_be_dead(&s->ops[state->ttl_op], op))
            return false;
        *state = absent;
    } else if (mortal && !may_be_alive(&s->ops[state->ttl_op], op)) {
        return false;
    }
    if (op->kind == LINEAR_READ)
        return (way & CONDITION_FAILS) == 0 && read_fits(s, op, state);
    bool fails = (way & CONDITION_FAILS) != 0;
    enum truth holds = condition_holds(op, state);
    if (holds == (fails ? TRUE : FALSE) || op->hit == (fails ? LINEAR_YES : LINEAR_NO))
        return false;
    if (op->tells_value && op->seen_value != state->value)
        return false;
    return fails || have_effect(index, op, state);
}

static void lift(struct search *s, struct node *call)
{
    call->prev->next = call->next;
    if (call->next != NULL)
        call->next->prev = call->prev;
    if (call->match == NULL)
        return;
    struct node *ret = call->match;
    ret->prev->next = ret->next;
    if (ret->next != NULL)
        ret->next->prev = ret->prev;
    s->returns_left--;
}

static void unlift(struct search *s, struct node *call)
{
    struct node *ret = call->match;
    if (ret != NULL) {
        ret->prev->next = ret;
        if (ret->next != NULL)
            ret->next->prev = ret;
        s->returns_left++;
    }
    call->prev->next = call;
    if (call->next != NULL)
        call->next->prev = call;
}

static uint64_t hash_key(const uint64_t *key, size_t words)
{
    return mf_hash64(mf_bytes_of(key, words * sizeof(*key)), 1);
}

static bool is_empty(const uint64_t *slot, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        if (slot[i] != 0)
            return false;
    }
    return true;
}

static uint64_t *find_slot(uint64_t *table, size_t cap, size_t words, const uint64_t *key)
{
    size_t at = (size_t)hash_key(key, words) & (cap - 1);
    for (;; at = (at + 1) & (cap - 1)) {
        uint64_t *slot = table + at * words;
        if (is_empty(slot, words) || memcmp(slot, key, words * sizeof(*key)) == 0)
            return slot;
    }
}

static void grow_seen(struct search *s)
{
    size_t cap = s->seen_cap == 0 ? 256 : s->seen_cap * 2;
    uint64_t *table = mf_calloc(cap * s->key_words, sizeof(*table));
    for (size_t i = 0; i < s->seen_cap; i++) {
        const uint64_t *old = s->seen + i * s->key_words;
        if (!is_empty(old, s->key_words))
            memcpy(find_slot(table, cap, s->key_words, old), old, s->key_words * sizeof(*old));
    }
    free(s->seen);
    s->seen = table;
    s->seen_cap = cap;
}

// False when the search has been here before.
static bool remember(struct search *s, const struct state *state)
{
    if ((s->seen_count + 1) * 2 > s->seen_cap)
        grow_seen(s);
    memcpy(s->key + s->words, state, sizeof(*state));
    uint64_t *slot = find_slot(s->seen, s->seen_cap, s->key_words, s->key);
    if (!is_empty(slot, s->key_words))
        return false;
    memcpy(slot, s->key, s->key_words * sizeof(*slot));
    s->seen_count++;
    return true;
}

static void flip(struct search *s, uint32_t op)
{
    s->key[op / 64] ^= UINT64_C(1) << (op % 64);
}

// Takes the call in the first way from `way` on that leads somewhere new.
static bool take(struct search *s, struct node *call, uint32_t way, struct state *state)
{
    for (; way < WAYS; way++) {
        struct state after = *state;
        if (!step(s, call->op, way, &after))
            continue;
        flip(s, call->op);
        if (remember(s, &after)) {
            s->stack[s->depth++] = (struct frame){.call = call, .way = way, .before = *state};
            lift(s, call);
            *state = after;
            return true;
        }
        flip(s, call->op);
    }
    return false;
}

static struct linear_result explore(struct search *s, uint64_t steps_max)
{
    struct linear_result result = {.verdict = LINEAR_FINE};
    struct state state = absent;
    struct node *at = s->head.next;
    size_t deepest = 0;
    uint32_t way = 0;
    while (s->returns_left > 0) {
        if (++result.steps > steps_max) {
            result.verdict = LINEAR_UNDECIDED;
            break;
        }
        if (!at->is_return) {
            bool taken = take(s, at, way, &state);
            at = taken ? s->head.next : at->next;
            way = 0;
            continue;
        }
        if (s->depth >= deepest) {
            deepest = s->depth;
            result.stuck = at->op;
        }
        if (s->depth == 0) {
            result.verdict = LINEAR_BROKEN;
            break;
        }
        const struct frame *top = &s->stack[--s->depth];
        state = top->before;
        unlift(s, top->call);
        flip(s, top->call->op);
        at = top->call;
        way = top->way + 1;
    }
    return result;
}

static uint64_t time_of(const struct search *s, const struct node *node)
{
    const struct linear_op *op = &s->ops[node->op];
    return node->is_return ? op->return_us : op->call_us;
}

static const struct search *sorting; // qsort has no argument of the caller's

// A call at the moment of a return counts as before it: the more forgiving way.
static int by_time(const void *left, const void *right)
{
    const struct node *a = *(struct node *const *)left;
    const struct node *b = *(struct node *const *)right;
    uint64_t at_a = time_of(sorting, a);
    uint64_t at_b = time_of(sorting, b);
    if (at_a != at_b)
        return at_a < at_b ? -1 : 1;
    if (a->is_return != b->is_return)
        return a->is_return ? 1 : -1;
    return a->op < b->op ? -1 : a->op > b->op;
}

static void link_nodes(struct search *s)
{
    struct node **order = mf_calloc(2 * s->count + 1, sizeof(struct node *));
    size_t used = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        struct node *call = &s->nodes[used];
        *call = (struct node){.op = i};
        order[used++] = call;
        if (s->ops[i].maybe)
            continue;
        call->match = &s->nodes[used];
        *call->match = (struct node){.op = i, .is_return = true};
        order[used++] = call->match;
        s->returns_left++;
    }
    sorting = s;
    qsort(order, used, sizeof(struct node *), by_time);
    struct node *last = &s->head;
    for (size_t i = 0; i < used; i++) {
        last->next = order[i];
        order[i]->prev = last;
        last = order[i];
    }
    free(order);
}

struct linear_result linear_check(const struct linear_op *ops, size_t count, uint64_t steps_max)
{
    struct search s = {.ops = ops, .count = count, .words = (count + 63) / 64};
    s.key_words = s.words + sizeof(struct state) / sizeof(uint64_t);
    s.nodes = mf_calloc(2 * count + 1, sizeof(*s.nodes));
    s.stack = mf_calloc(count + 1, sizeof(*s.stack));
    s.key = mf_calloc(s.key_words, sizeof(*s.key));
    link_nodes(&s);
    struct linear_result result = explore(&s, steps_max);
    free(s.nodes);
    free(s.stack);
    free(s.key);
    free(s.seen);
    return result;
}
