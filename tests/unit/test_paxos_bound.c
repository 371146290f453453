// Acceptors that are bound by the lease of a leader, which others ask for their help.
#include "paxos_scene.h"

static void bound_acceptor_promises_only_whom_its_leader_named(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    struct mf_paxos_env env = env_of(&scene);
    env.bound = true;
    mf_ballot_t old = mf_paxos_ballot(scene.core[3]);
    struct mf_paxos_msg prepare = {.type = MF_PAXOS_PREPARE,
                                   .from = 2,
                                   .to = 3,
                                   .incarnation = 1,
                                   .ballot = mf_ballot_make(90, 2),
                                   .slot = 2};
    mf_paxos_receive(scene.core[3], &env, &prepare);
    take(&scene, 3, true);
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_REJECT), 1);
    assert_int_equal(mf_paxos_ballot(scene.core[3]), old);
    mf_paxos_campaign(scene.core[3], &env);
    assert_int_equal(mf_paxos_role(scene.core[3]), MF_FOLLOWER);
    prepare.last = old;
    mf_paxos_receive(scene.core[3], &env, &prepare);
    take(&scene, 3, true);
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_PROMISE), 1);
    close_scene(&scene);
}

// To accept is to promise. After a memory was replaced in one step, a majority that promised the
// ballot need not meet the one whose leases another leader relies on.
static void bound_acceptor_accepts_nothing_of_a_leader_that_it_has_not_promised(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    deliver_all(&scene);
    drop_mail(&scene);
    struct mf_paxos_env env = env_of(&scene);
    env.bound = true;
    mf_ballot_t old = mf_paxos_ballot(scene.core[3]);
    struct mf_paxos_entry value = {.slot = mf_paxos_chosen(scene.core[3]) + 1, .log_time_us = 1000};
    struct mf_paxos_msg accept = {.type = MF_PAXOS_ACCEPT,
                                  .from = 2,
                                  .to = 3,
                                  .incarnation = 1,
                                  .ballot = mf_ballot_make(90, 2),
                                  .slot = value.slot,
                                  .entries = &value,
                                  .entry_count = 1};
    struct mf_paxos_msg chosen = {
        .type = MF_PAXOS_CHOSEN, .from = 2, .to = 3, .incarnation = 1, .ballot = accept.ballot};
    mf_paxos_receive(scene.core[3], &env, &accept);
    mf_paxos_receive(scene.core[3], &env, &chosen);
    take(&scene, 3, true);
    assert_int_equal(mf_paxos_ballot(scene.core[3]), old);
    assert_int_equal(mf_paxos_leader(scene.core[3]), 1);
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_ACCEPTED), 0);
    assert_true(count_mail(&scene, 3, MF_PAXOS_ASK_RELEASE) > 0);
    // The lease's holder says that it does not lead.
    struct mf_paxos_msg release = {
        .type = MF_PAXOS_RELEASE, .from = 1, .to = 3, .incarnation = 1, .ballot = old};
    for (uint32_t i = 0; i < scene.mail_count; i++) {
        if (scene.mail[i].type == MF_PAXOS_ASK_RELEASE)
            release.read_seq = scene.mail[i].read_seq;
    }
    mf_paxos_receive(scene.core[3], &env, &release);
    mf_paxos_receive(scene.core[3], &env, &accept);
    take(&scene, 3, true);
    assert_int_equal(mf_paxos_ballot(scene.core[3]), accept.ballot);
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_ACCEPTED), 1);
    close_scene(&scene);
}

// Node 3, bound, refuses node 2 a promise and asks node 1 whether it needs its own. Returns the
// number of the question.
static uint64_t asked_by_bound_voter(struct scene *scene, const struct mf_paxos_env *env)
{
    struct mf_paxos_msg prepare = {.type = MF_PAXOS_PREPARE,
                                   .from = 2,
                                   .to = 3,
                                   .incarnation = 1,
                                   .ballot = mf_ballot_make(90, 2),
                                   .slot = 1};
    drop_mail(scene);
    mf_paxos_receive(scene->core[3], env, &prepare);
    take(scene, 3, true);
    uint64_t question = 0;
    for (uint32_t i = 0; i < scene->mail_count; i++) {
        if (scene->mail[i].type == MF_PAXOS_ASK_RELEASE)
            question = scene->mail[i].read_seq;
    }
    return question;
}

static void release_for_the_process_before_sets_nobody_free(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    struct mf_paxos_env env = env_of(&scene);
    env.bound = true;
    env.random = 1000;
    struct mf_paxos_msg release = {.type = MF_PAXOS_RELEASE,
                                   .from = 1,
                                   .to = 3,
                                   .incarnation = 1,
                                   .ballot = mf_paxos_ballot(scene.core[3])};
    release.read_seq = asked_by_bound_voter(&scene, &env);
    assert_true(release.read_seq != 0);
    drop_mail(&scene);
    crash(&scene, 3);
    env.random = 5000;
    uint64_t question = asked_by_bound_voter(&scene, &env);
    assert_true(question != 0);
    mf_paxos_receive(scene.core[3], &env, &release);
    assert_true(asked_by_bound_voter(&scene, &env) != 0);
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_PROMISE), 0);
    release.read_seq = question;
    mf_paxos_receive(scene.core[3], &env, &release);
    assert_int_equal(asked_by_bound_voter(&scene, &env), 0);
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_PROMISE), 1);
    close_scene(&scene);
}

// Under load a leader that is not followed yet is heard all the time: the answer to the first
// question has to count, however many more reasons to ask there were meanwhile.
static void a_question_stays_open_until_it_is_answered(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    deliver_all(&scene);
    drop_mail(&scene);
    struct mf_paxos_env env = env_of(&scene);
    env.bound = true;
    mf_ballot_t old = mf_paxos_ballot(scene.core[3]);
    struct mf_paxos_msg chosen = {.type = MF_PAXOS_CHOSEN,
                                  .from = 2,
                                  .to = 3,
                                  .incarnation = 1,
                                  .ballot = mf_ballot_make(90, 2)};
    for (int i = 0; i < 100; i++) {
        env.now_us += RESEND_US / 50;
        mf_paxos_receive(scene.core[3], &env, &chosen);
        take(&scene, 3, true);
    }
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_ASK_RELEASE), 100);
    uint64_t first = scene.mail[0].read_seq;
    struct mf_paxos_msg release = {.type = MF_PAXOS_RELEASE,
                                   .from = 1,
                                   .to = 3,
                                   .incarnation = 1,
                                   .ballot = old,
                                   .read_seq = first};
    mf_paxos_receive(scene.core[3], &env, &release);
    mf_paxos_receive(scene.core[3], &env, &chosen);
    take(&scene, 3, true);
    assert_int_equal(mf_paxos_ballot(scene.core[3]), chosen.ballot);
    assert_int_equal(mf_paxos_leader(scene.core[3]), 2);
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bound_acceptor_promises_only_whom_its_leader_named),
        cmocka_unit_test(bound_acceptor_accepts_nothing_of_a_leader_that_it_has_not_promised),
        cmocka_unit_test(a_question_stays_open_until_it_is_answered),
        cmocka_unit_test(release_for_the_process_before_sets_nobody_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
