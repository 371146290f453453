// Who leads a shard without a copy here: a leader's word and the news of its node come in any
// order, and the word is said once.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "server/leader_view.h"

#define FIRST 100 // processes
#define NEXT 200

enum kind {
    END,
    HEARD,
    LOST,
    UP,
    STARTED,
    NAMED,
};

struct step {
    enum kind kind;
    uint16_t node;
    uint64_t incarnation;
    uint64_t round;  // of the ballot
    uint16_t leader; // after it
};

struct story {
    const char *name;
    struct step steps[8];
};

static const struct story stories[] = {
    {"a word, silence, and back",
     {{HEARD, 2, FIRST, 1, 2}, {LOST, 2, 0, 0, 0}, {UP, 2, FIRST, 0, 2}}},
    {"a word that overtakes the news of its process",
     {{HEARD, 2, FIRST, 1, 2}, {STARTED, 2, FIRST, 0, 2}}},
    {"silence of the process before, between a word and the news of its process",
     {{HEARD, 2, FIRST, 1, 2}, {LOST, 2, 0, 0, 0}, {STARTED, 2, FIRST, 0, 2}}},
    {"a new process leads nothing", {{HEARD, 2, FIRST, 1, 2}, {STARTED, 2, NEXT, 0, 0}}},
    {"a new process is no news of the one before",
     {{HEARD, 2, FIRST, 1, 2}, {LOST, 2, 0, 0, 0}, {STARTED, 2, NEXT, 0, 0}, {UP, 2, NEXT, 0, 0}}},
    {"a new process speaks before two notices come",
     {{HEARD, 2, NEXT, 2, 2}, {STARTED, 2, FIRST, 0, 0}, {STARTED, 2, NEXT, 0, 2}}},
    {"another one leads meanwhile",
     {{HEARD, 2, FIRST, 1, 2}, {LOST, 2, 0, 0, 0}, {HEARD, 3, FIRST, 2, 3}, {UP, 2, FIRST, 0, 3}}},
    {"one who led once says so later than the next",
     {{HEARD, 3, FIRST, 2, 3}, {HEARD, 2, FIRST, 1, 3}}},
    {"others fall silent and return",
     {{HEARD, 2, FIRST, 1, 2}, {LOST, 3, 0, 0, 2}, {UP, 3, FIRST, 0, 2}, {STARTED, 3, NEXT, 0, 2}}},
    {"one who is named but has said nothing",
     {{NAMED, 2, 0, 0, 2}, {LOST, 2, 0, 0, 0}, {UP, 2, FIRST, 0, 0}}},
    {"one who is named runs a new process", {{NAMED, 2, 0, 0, 2}, {STARTED, 2, NEXT, 0, 0}}},
    {"nobody is named", {{HEARD, 2, FIRST, 1, 2}, {NAMED, 0, 0, 0, 0}, {UP, 2, FIRST, 0, 2}}},
    {"nothing has been said, and processes without a number",
     {{UP, 0, 0, 0, 0}, {UP, 2, 0, 0, 0}, {STARTED, 2, 0, 0, 0}}},
};

static void take(struct mf_leader_view *view, const struct step *step)
{
    switch (step->kind) {
    case END:
        break;
    case HEARD:
        assert_int_equal(mf_leader_view_heard(view, step->node, step->incarnation,
                                              mf_ballot_make(step->round, step->node)),
                         step->leader == step->node);
        break;
    case LOST:
        mf_leader_view_lost(view, step->node);
        break;
    case UP:
        mf_leader_view_up(view, step->node, step->incarnation);
        break;
    case STARTED:
        mf_leader_view_started(view, step->node, step->incarnation);
        break;
    case NAMED:
        mf_leader_view_named(view, step->node);
        break;
    }
}

static void words_and_news_in_any_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
        struct mf_leader_view view = {0};
        for (size_t s = 0; stories[i].steps[s].kind != END; s++) {
            take(&view, &stories[i].steps[s]);
            if (view.leader != stories[i].steps[s].leader)
                fail_msg("%s: after step %zu node %u leads, not %u", stories[i].name, s + 1,
                         view.leader, stories[i].steps[s].leader);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_and_news_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
