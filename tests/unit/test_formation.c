// The first formation of a cluster: a few orders by hand, and then all orders of events of three
// nodes that talk, crash, start and lose their folders.
//
// A state of the walk is a number: per node its folder, whether it runs, which question it asks and
// whether it is burnt (it voted as (node, 1) and was wiped since); per pair what one knows of the
// other. Hearing and deciding are separate events, so whatever is decided may be decided on old
// words. The code under test is the code of the server; only the disk is a number here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "consensus/formation.h"

#define NODES 3
#define OTHERS (NODES - 1)
#define QUESTION 101

// What is on disk.
enum folder { EMPTY, READY, FIRST, LATER, FOLDERS }; // LATER: formed under a random incarnation

// Processes as the others tell them apart: the one that runs now, or any before it.
enum { FORMER = 1, PRESENT = 2 };

struct node {
    enum folder folder;
    bool up;
    bool burnt;
    struct mf_formation formation; // while up
};

struct world {
    struct node nodes[NODES];
    bool wiped; // some folder, ever
};

static uint32_t place_of(uint32_t at, uint32_t of)
{
    return of < at ? of : of - 1;
}

static enum mf_formation_state state_in(enum folder folder)
{
    static const enum mf_formation_state states[FOLDERS] = {
        [EMPTY] = MF_FORMATION_FRESH,
        [READY] = MF_FORMATION_READY,
        [FIRST] = MF_FORMATION_FORMED,
        [LATER] = MF_FORMATION_FORMED,
    };
    return states[folder];
}

static uint64_t take_bits(uint64_t *bits, unsigned count)
{
    uint64_t value = *bits & ((UINT64_C(1) << count) - 1);
    *bits >>= count;
    return value;
}

static void put_bits(uint64_t *bits, unsigned *at, uint64_t value, unsigned count)
{
    assert_true(value < UINT64_C(1) << count);
    *bits |= value << *at;
    *at += count;
}

// Only what a later decision can depend on, or the walk would never end.
static void put_node(uint64_t *bits, unsigned *at, const struct node *node, const uint32_t *others)
{
    const struct mf_formation *formation = &node->formation;
    bool fresh = node->up && formation->state == MF_FORMATION_FRESH;
    bool hears = fresh || (node->up && formation->state == MF_FORMATION_READY);
    put_bits(bits, at, node->folder, 2);
    put_bits(bits, at, node->up, 1);
    put_bits(bits, at, node->burnt, 1);
    put_bits(bits, at, fresh && formation->again, 1);
    for (uint32_t j = 0; j < OTHERS; j++) {
        const struct mf_formation_other *other = &formation->others[others[j]];
        put_bits(bits, at, fresh ? other->process : 0, 2);
        put_bits(bits, at, hears ? other->state : 0, 2);
        put_bits(bits, at, fresh && other->answered, 1);
    }
}

static uint64_t pack_in_order(const struct world *world, const uint32_t order[NODES])
{
    uint64_t bits = 0;
    unsigned at = 0;
    put_bits(&bits, &at, world->wiped, 1);
    for (uint32_t i = 0; i < NODES; i++) {
        uint32_t others[OTHERS];
        for (uint32_t j = 0, n = 0; j < NODES; j++) {
            if (j != i)
                others[n++] = place_of(order[i], order[j]);
        }
        put_node(&bits, &at, &world->nodes[order[i]], others);
    }
    return bits;
}

// The rules know no names: worlds that differ by who is who are one.
static uint64_t pack(const struct world *world)
{
    static const uint32_t orders[][NODES] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                             {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        uint64_t bits = pack_in_order(world, orders[i]);
        least = bits < least ? bits : least;
    }
    return least;
}

static void unpack(uint64_t bits, struct world *world)
{
    *world = (struct world){.wiped = take_bits(&bits, 1)};
    for (uint32_t i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        node->folder = (enum folder)take_bits(&bits, 2);
        node->up = take_bits(&bits, 1);
        node->burnt = take_bits(&bits, 1);
        mf_formation_init(&node->formation, state_in(node->folder), OTHERS, QUESTION);
        node->formation.again = take_bits(&bits, 1);
        for (uint32_t j = 0; j < OTHERS; j++) {
            struct mf_formation_other *other = &node->formation.others[j];
            other->process = take_bits(&bits, 2);
            other->state = (enum mf_formation_state)take_bits(&bits, 2);
            other->answered = take_bits(&bits, 1);
        }
    }
}

static void start(struct world *world, uint32_t i)
{
    struct node *node = &world->nodes[i];
    node->up = true;
    mf_formation_init(&node->formation, state_in(node->folder), OTHERS, QUESTION);
}

static void stop(struct world *world, uint32_t i)
{
    world->nodes[i].up = false;
    for (uint32_t j = 0; j < NODES; j++) {
        if (j == i)
            continue;
        struct mf_formation_other *known = &world->nodes[j].formation.others[place_of(j, i)];
        if (known->process == PRESENT)
            known->process = FORMER;
    }
}

static void wipe(struct world *world, uint32_t i)
{
    struct node *node = &world->nodes[i];
    node->burnt = node->burnt || node->folder == FIRST;
    node->folder = EMPTY;
    world->wiped = true;
    bool formed = false;
    for (uint32_t j = 0; j < NODES; j++)
        formed = formed || world->nodes[j].folder >= FIRST;
    // With the last formed folder the cluster is gone, and so is all that was promised in it.
    for (uint32_t j = 0; j < NODES && !formed; j++)
        world->nodes[j].burnt = false;
}

// `to` hears what `from` is now; whether it knows our present question or only a former one.
static void hear(struct world *world, uint32_t to, uint32_t from, bool answers)
{
    struct mf_formation *formation = &world->nodes[to].formation;
    uint64_t answer = answers ? formation->question : 0;
    mf_formation_heard(formation, place_of(to, from), PRESENT, world->nodes[from].formation.state,
                       answer);
}

// True when the decision was anything but to wait.
static bool decide(struct world *world, uint32_t i)
{
    struct node *node = &world->nodes[i];
    switch (mf_formation_step(&node->formation)) {
    case MF_FORMATION_WAIT:
        return false;
    case MF_FORMATION_ASK:
        return true;
    case MF_FORMATION_BE_READY:
        node->folder = READY;
        break;
    case MF_FORMATION_BE_FORMED:
        node->folder = FIRST;
        break;
    case MF_FORMATION_LEARN:
        node->folder = LATER;
        break;
    }
    mf_formation_enter(&node->formation, state_in(node->folder));
    return true;
}

static bool votes_burnt(const struct world *world)
{
    for (uint32_t i = 0; i < NODES; i++) {
        if (world->nodes[i].burnt && world->nodes[i].folder == FIRST)
            return true;
    }
    return false;
}

// All nodes run and talk until nothing changes any more.
static void settle(struct world *world)
{
    for (uint32_t i = 0; i < NODES; i++) {
        if (!world->nodes[i].up)
            start(world, i);
    }
    uint64_t before;
    do {
        before = pack(world);
        for (uint32_t i = 0; i < NODES; i++) {
            for (uint32_t j = 0; j < NODES; j++) {
                if (j != i)
                    hear(world, i, j, true);
            }
            while (decide(world, i))
                continue;
        }
    } while (pack(world) != before);
}

static void check(uint64_t bits)
{
    struct world world;
    unpack(bits, &world);
    if (votes_burnt(&world))
        fail_msg("state %llx: an acceptor votes again that was wiped", (unsigned long long)bits);
    settle(&world);
    for (uint32_t i = 0; i < NODES; i++) {
        enum folder folder = world.nodes[i].folder;
        if (folder < FIRST || (!world.wiped && folder != FIRST))
            fail_msg("state %llx: node %u ends as %d", (unsigned long long)bits, i, folder);
    }
}

// The states seen, as an open hash table, and in the order of their discovery.
struct walk {
    uint64_t *table; // 0 = free, else the state + 1
    size_t mask;
    uint64_t *queue;
    size_t count;
};

#define STATES_MAX (UINT64_C(1) << 22)

static void note(struct walk *walk, const struct world *world)
{
    uint64_t key = pack(world) + 1;
    size_t at = (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 20) & walk->mask;
    while (walk->table[at] != 0 && walk->table[at] != key)
        at = (at + 1) & walk->mask;
    if (walk->table[at] == key)
        return;
    assert_true(walk->count < STATES_MAX);
    walk->table[at] = key;
    walk->queue[walk->count++] = key - 1;
}

static void try_events_of(struct walk *walk, const struct world *from, uint32_t i)
{
    struct world next = *from;
    if (!from->nodes[i].up) {
        start(&next, i);
        note(walk, &next);
        next = *from;
        wipe(&next, i);
        note(walk, &next);
        return;
    }
    stop(&next, i);
    note(walk, &next);
    next = *from;
    decide(&next, i);
    note(walk, &next);
    for (uint32_t j = 0; j < NODES; j++) {
        for (int answers = 0; answers <= 1 && j != i && from->nodes[j].up; answers++) {
            next = *from;
            hear(&next, i, j, answers);
            note(walk, &next);
        }
    }
}

static void no_order_of_events_lets_a_wiped_acceptor_vote_or_a_node_wait_for_ever(void **state)
{
    (void)state;
    struct walk walk = {.mask = 2 * STATES_MAX - 1};
    walk.table = mf_calloc(walk.mask + 1, sizeof(*walk.table));
    walk.queue = mf_calloc(STATES_MAX, sizeof(*walk.queue));
    struct world world;
    unpack(0, &world);
    note(&walk, &world);
    for (size_t at = 0; at < walk.count; at++) {
        check(walk.queue[at]);
        unpack(walk.queue[at], &world);
        for (uint32_t i = 0; i < NODES; i++)
            try_events_of(&walk, &world, i);
    }
    print_message("%zu states\n", walk.count);
    assert_true(walk.count > 10000); // it went somewhere
    free(walk.table);
    free(walk.queue);
}

static void a_node_alone_forms_at_once(void **state)
{
    (void)state;
    struct mf_formation alone;
    mf_formation_init(&alone, MF_FORMATION_FRESH, 0, 7);
    assert_int_equal(mf_formation_step(&alone), MF_FORMATION_BE_FORMED);
    mf_formation_enter(&alone, MF_FORMATION_FORMED);
    assert_int_equal(mf_formation_step(&alone), MF_FORMATION_WAIT);
}

static void it_waits_for_the_last_and_says_for_whom(void **state)
{
    (void)state;
    struct mf_formation node;
    mf_formation_init(&node, MF_FORMATION_FRESH, 2, 7);
    assert_int_equal(mf_formation_step(&node), MF_FORMATION_ASK);
    mf_formation_heard(&node, 0, 11, MF_FORMATION_FRESH, node.question);
    assert_int_equal(mf_formation_step(&node), MF_FORMATION_WAIT);
    assert_false(mf_formation_awaits(&node, 0));
    assert_true(mf_formation_awaits(&node, 1));
}

static void an_answer_to_another_question_does_not_count(void **state)
{
    (void)state;
    struct mf_formation node;
    mf_formation_init(&node, MF_FORMATION_FRESH, 1, 7);
    uint64_t first = node.question;
    assert_int_equal(mf_formation_step(&node), MF_FORMATION_ASK);
    mf_formation_heard(&node, 0, 11, MF_FORMATION_FRESH, first);
    assert_int_equal(mf_formation_step(&node), MF_FORMATION_ASK);
    mf_formation_heard(&node, 0, 11, MF_FORMATION_FRESH, first);
    assert_int_equal(mf_formation_step(&node), MF_FORMATION_WAIT);
    mf_formation_heard(&node, 0, 11, MF_FORMATION_FRESH, node.question);
    assert_int_equal(mf_formation_step(&node), MF_FORMATION_BE_READY);
}

static void a_new_process_begins_the_questions_again(void **state)
{
    (void)state;
    struct mf_formation node;
    mf_formation_init(&node, MF_FORMATION_FRESH, 1, 7);
    assert_int_equal(mf_formation_step(&node), MF_FORMATION_ASK);
    mf_formation_heard(&node, 0, 11, MF_FORMATION_FRESH, node.question);
    assert_int_equal(mf_formation_step(&node), MF_FORMATION_ASK);
    mf_formation_heard(&node, 0, 12, MF_FORMATION_FRESH, node.question);
    assert_int_equal(mf_formation_step(&node), MF_FORMATION_ASK);
    mf_formation_heard(&node, 0, 12, MF_FORMATION_FRESH, node.question);
    assert_int_equal(mf_formation_step(&node), MF_FORMATION_ASK);
    mf_formation_heard(&node, 0, 12, MF_FORMATION_FRESH, node.question);
    assert_int_equal(mf_formation_step(&node), MF_FORMATION_BE_READY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_alone_forms_at_once),
        cmocka_unit_test(it_waits_for_the_last_and_says_for_whom),
        cmocka_unit_test(an_answer_to_another_question_does_not_count),
        cmocka_unit_test(a_new_process_begins_the_questions_again),
        cmocka_unit_test(no_order_of_events_lets_a_wiped_acceptor_vote_or_a_node_wait_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
