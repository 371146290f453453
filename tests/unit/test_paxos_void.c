// Configurations that are chosen and are none.
#include "paxos_scene.h"

// Nodes 2 and 3 talk to each other, and nothing reaches node 1.
static void deliver_without_1(struct scene *scene)
{
    for (int i = 0; i < 3; i++) {
        uint32_t delivered;
        do {
            drop_mail_to(scene, 1);
            delivered = deliver(scene, 2, 3, 0) + deliver(scene, 3, 2, 0);
        } while (delivered > 0);
        scene->now_us += RESEND_US;
        for (uint16_t node = 2; node <= 3; node++) {
            struct mf_paxos_env env = env_of(scene);
            mf_paxos_tick(scene->core[node], &env);
            take(scene, node, true);
        }
    }
    drop_mail(scene);
}

// A leader that is cut off goes on for a while and makes a configuration from what it knows. A
// later one finds that behind another configuration, and has to have it chosen; but it is none.
static void configuration_made_from_an_older_one_changes_nothing(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    drop_mail(&scene);
    struct mf_paxos_env env = env_of(&scene);
    const char *why;
    uint64_t log_us = mf_paxos_last_log_time(scene.core[1]) + 1;
    struct mf_members members = *mf_paxos_members(scene.core[1]);
    uint64_t slot = propose(&scene, 1, "nobody hears");
    members.learners[members.learner_count++] = (struct mf_acceptor){2, 9};
    assert_int_equal(mf_paxos_reconfigure(scene.core[1], &env, log_us, members, &why), MF_OK);
    take(&scene, 1, true);
    drop_mail(&scene);

    campaign(&scene, 2);
    deliver_without_1(&scene);
    assert_int_equal(mf_paxos_role(scene.core[2]), MF_LEADER);
    env = env_of(&scene);
    members.learners[0] = (struct mf_acceptor){3, 9};
    assert_int_equal(mf_paxos_reconfigure(scene.core[2], &env, log_us, members, &why), MF_OK);
    take(&scene, 2, true);
    deliver_without_1(&scene);
    assert_int_equal(mf_paxos_members(scene.core[3])->slot, slot);

    crash(&scene, 2);
    campaign(&scene, 3);
    deliver_all(&scene);
    tick_all(&scene, RESEND_US);
    deliver_all(&scene);
    assert_int_equal(mf_paxos_role(scene.core[3]), MF_LEADER);
    assert_true(mf_paxos_chosen(scene.core[3]) > slot);
    const struct mf_log_entry *found = mf_paxos_entry(scene.core[3], slot + 1);
    assert_true(mf_payload_is_members(found->payload));
    for (uint16_t node = 1; node <= 3; node += 2) {
        const struct mf_members *now = mf_paxos_members(scene.core[node]);
        assert_int_equal(now->slot, slot);
        assert_int_equal(mf_members_learner(now, (struct mf_acceptor){3, 9}), 0);
    }
    assert_true(mf_paxos_window_open(scene.core[3]));
    slot = propose(&scene, 3, "next");
    deliver_all(&scene);
    assert_value(&scene, 3, slot, "next");
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configuration_made_from_an_older_one_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
