// Who may act for a group, in scenes: incarnations, configurations, votes, hand-overs, bound
// acceptors, and snapshots in place of the log.
#include "paxos_scene.h"

static void node_of_another_incarnation_learns_but_never_counts(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3);
    struct mf_paxos_config config = {
        .self = 3,
        .incarnation = 7,
        .members = {.voter_count = 3, .voters = {{1, 1}, {2, 1}, {3, 1}}},
        .election_us = ELECTION_US,
        .resend_us = RESEND_US,
        .window_entries = 8,
        .window_bytes = 1000,
        .learn_bytes = 1000};
    mf_paxos_free(scene.core[3]);
    scene.core[3] = mf_paxos_new(&config, 1, scene.now_us);
    campaign(&scene, 1);
    deliver(&scene, 1, 3, MF_PAXOS_PREPARE);
    deliver(&scene, 3, 1, MF_PAXOS_PROMISE);
    assert_int_equal(mf_paxos_role(scene.core[1]), MF_CANDIDATE);
    deliver_all(&scene);
    assert_int_equal(mf_paxos_role(scene.core[1]), MF_LEADER);
    uint64_t slot = propose(&scene, 1, "taught");
    deliver(&scene, 1, 3, MF_PAXOS_ACCEPT);
    deliver(&scene, 3, 1, MF_PAXOS_ACCEPTED);
    assert_true(mf_paxos_chosen(scene.core[1]) < slot);
    deliver_all(&scene);
    struct mf_members members = *mf_paxos_members(scene.core[1]);
    members.learners[members.learner_count++] = (struct mf_acceptor){3, 7};
    reconfigure(&scene, 1, members, MF_OK);
    assert_value(&scene, 3, slot, "taught");
    tick_all(&scene, ELECTION_US * 10);
    assert_int_equal(mf_paxos_role(scene.core[3]), MF_FOLLOWER);
    members.learner_count = 0;
    members.voters[2].incarnation = 7;
    reconfigure(&scene, 1, members, MF_OK);
    slot = propose(&scene, 1, "both");
    deliver(&scene, 1, 3, MF_PAXOS_ACCEPT);
    deliver(&scene, 3, 1, MF_PAXOS_ACCEPTED);
    assert_value(&scene, 1, slot, "both"); // its voice counts now
    close_scene(&scene);
}

static void configuration_holds_later_slots_back_until_it_is_chosen(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 5);
    struct mf_members members = *mf_paxos_members(scene.core[1]);
    drop_mail(&scene);
    members.voter_count = 4;
    struct mf_paxos_env env = env_of(&scene);
    const char *why;
    uint64_t log_us = mf_paxos_last_log_time(scene.core[1]) + 1;
    assert_int_equal(mf_paxos_reconfigure(scene.core[1], &env, log_us, members, &why), MF_OK);
    take(&scene, 1, true);
    assert_false(mf_paxos_window_open(scene.core[1]));
    assert_int_equal(mf_paxos_reconfigure(scene.core[1], &env, log_us, members, &why), MF_AGAIN);
    deliver_all(&scene);
    assert_true(mf_paxos_window_open(scene.core[1]));
    assert_int_equal(mf_paxos_members(scene.core[1])->voter_count, 4);
    close_scene(&scene);
}

static void change_that_would_strand_the_group_is_refused(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    struct mf_paxos_env env = env_of(&scene);
    mf_paxos_suspect(scene.core[1], &env, 3);
    struct mf_members members = *mf_paxos_members(scene.core[1]);
    members.voters[1] = members.voters[2]; // without node 2, which is the other one that is up
    members.voter_count = 2;
    reconfigure(&scene, 1, members, MF_BAD_REQUEST);
    members = *mf_paxos_members(scene.core[1]);
    members.voters[1].incarnation = 9; // never heard of
    reconfigure(&scene, 1, members, MF_BAD_REQUEST);
    close_scene(&scene);
}

// A leader that has never prepared the new voters' slots may not fill them: a leader between it and
// the configuration may have had something chosen there.
static void new_configuration_has_to_promise_before_its_slots_are_used(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 5);
    for (uint16_t node = 1; node <= 5; node++) { // voters 1, 2 and 3; 4 and 5 learn
        mf_paxos_free(scene.core[node]);
        struct mf_paxos_config config = {.self = node,
                                         .incarnation = 1,
                                         .members = {.voter_count = 3,
                                                     .learner_count = 2,
                                                     .voters = {{1, 1}, {2, 1}, {3, 1}},
                                                     .learners = {{4, 1}, {5, 1}}},
                                         .election_us = ELECTION_US,
                                         .first_election_us = ELECTION_US,
                                         .resend_us = RESEND_US,
                                         .window_entries = 8,
                                         .window_bytes = 1000,
                                         .learn_bytes = 1000};
        scene.core[node] = mf_paxos_new(&config, 1, scene.now_us);
    }
    campaign(&scene, 1);
    deliver(&scene, 1, 2, MF_PAXOS_PREPARE); // node 3 promises nothing
    drop_mail_to(&scene, 3);
    deliver_all(&scene);
    propose(&scene, 1, "first");
    deliver_all(&scene);
    tick_all(&scene, RESEND_US);
    deliver_all(&scene);
    struct mf_members members = *mf_paxos_members(scene.core[1]);
    members.voters[1] = (struct mf_acceptor){3, 1};
    members.voters[2] = (struct mf_acceptor){4, 1}; // 1, 3, 4: of them only 1 has promised
    members.learners[0] = (struct mf_acceptor){5, 1};
    members.learner_count = 1;
    struct mf_paxos_env env = env_of(&scene);
    const char *why;
    uint64_t log_us = mf_paxos_last_log_time(scene.core[1]) + 1;
    assert_int_equal(mf_paxos_reconfigure(scene.core[1], &env, log_us, members, &why), MF_OK);
    take(&scene, 1, true);
    while (mf_paxos_members(scene.core[1])->slot == 0) {
        assert_true(scene.mail_count > 0);
        deliver(&scene, 1, 2, MF_PAXOS_ACCEPT);
        deliver(&scene, 2, 1, MF_PAXOS_ACCEPTED);
    }
    assert_false(mf_paxos_window_open(scene.core[1]));
    assert_true(count_mail(&scene, 1, MF_PAXOS_PREPARE) > 0);
    deliver_all(&scene);
    assert_true(mf_paxos_window_open(scene.core[1]));
    uint64_t slot = propose(&scene, 1, "last");
    deliver_all(&scene);
    assert_value(&scene, 1, slot, "last");
    close_scene(&scene);
}

static void heir_takes_over_without_a_vote_and_the_old_leader_acts_no_more(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    uint64_t slot = propose(&scene, 1, "late");
    struct mf_paxos_env env = env_of(&scene);
    assert_int_equal(mf_paxos_transfer(scene.core[1], &env, 9), MF_BAD_REQUEST);
    assert_int_equal(mf_paxos_transfer(scene.core[1], &env, 2), MF_OK);
    take(&scene, 1, true);
    assert_false(mf_paxos_window_open(scene.core[1]));
    assert_int_equal(count_mail(&scene, 1, MF_PAXOS_TRANSFER), 0); // not everything is chosen
    while (count_mail(&scene, 1, MF_PAXOS_TRANSFER) == 0)
        assert_true(deliver(&scene, 0, 0, 0) > 0);
    assert_int_equal(mf_paxos_role(scene.core[1]), MF_FOLLOWER);
    deliver_all(&scene);
    assert_int_equal(mf_paxos_role(scene.core[2]), MF_LEADER);
    assert_value(&scene, 2, slot, "late");
    assert_int_equal(count_mail(&scene, 2, MF_PAXOS_ASK_VOTE), 0);
    close_scene(&scene);
}

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

static void nobody_votes_while_it_hears_a_leader(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    mf_ballot_t before = mf_paxos_ballot(scene.core[3]);
    struct mf_paxos_env env = env_of(&scene);
    mf_paxos_campaign(scene.core[2], &env);
    take(&scene, 2, true);
    deliver_all(&scene);
    assert_int_equal(mf_paxos_ballot(scene.core[2]), before); // it has disturbed nobody
    assert_int_equal(mf_paxos_role(scene.core[1]), MF_LEADER);
    assert_int_equal(mf_paxos_leader(scene.core[2]), 1); // which has answered it
    mf_paxos_campaign(scene.core[2], &env);
    take(&scene, 2, true);
    drop_mail_to(&scene, 1);
    deliver_all(&scene);
    assert_int_equal(mf_paxos_role(scene.core[2]), MF_CANDIDATE);
    mf_paxos_suspect(scene.core[3], &env, 1);
    mf_paxos_campaign(scene.core[2], &env);
    take(&scene, 2, true);
    drop_mail_to(&scene, 1);
    deliver_all(&scene);
    assert_int_equal(mf_paxos_role(scene.core[2]), MF_LEADER);
    close_scene(&scene);
}

static void snapshot_stands_in_for_the_log(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    drop_mail(&scene);
    for (int i = 0; i < 5; i++) {
        propose(&scene, 1, "x");
        deliver(&scene, 1, 2, 0);
        deliver(&scene, 2, 1, 0);
        drop_mail(&scene); // node 3 hears nothing
    }
    uint64_t chosen = mf_paxos_chosen(scene.core[1]);
    mf_paxos_compact(scene.core[1], chosen);
    assert_int_equal(mf_paxos_first_slot(scene.core[1]), chosen);
    tick_all(&scene, RESEND_US);
    deliver(&scene, 1, 3, 0);
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_LEARN), 1);
    struct mf_paxos_env env = env_of(&scene);
    for (uint32_t i = 0; i < scene.mail_count; i++) {
        if (scene.mail[i].from == 3)
            mf_paxos_receive(scene.core[1], &env, &scene.mail[i]);
    }
    const struct mf_paxos_update *update = mf_paxos_update_take(scene.core[1]);
    assert_int_equal(update->snapshot_count, 1);
    assert_int_equal(update->snapshot_to[0].node, 3);
    take(&scene, 1, true);
    drop_mail(&scene);
    const struct mf_members *members = mf_paxos_members(scene.core[1]);
    assert_false(mf_paxos_install(scene.core[3], &env, 0, 1, members));
    assert_true(mf_paxos_install(scene.core[3], &env, chosen - 1, 1, members));
    assert_int_equal(mf_paxos_first_slot(scene.core[3]), chosen);
    take(&scene, 3, true);
    deliver_all(&scene);
    tick_all(&scene, RESEND_US);
    deliver_all(&scene);
    assert_value(&scene, 3, chosen, "x"); // the rest comes from the log
    close_scene(&scene);
}

// In place of node 3: an acceptor without a copy, in the configuration that is in force.
static void make_blank(struct scene *scene)
{
    struct mf_paxos_config config = {.self = 3,
                                     .incarnation = 1,
                                     .members = *mf_paxos_members(scene->core[1]),
                                     .election_us = ELECTION_US,
                                     .resend_us = RESEND_US,
                                     .window_entries = 8,
                                     .window_bytes = 1000,
                                     .learn_bytes = 1000,
                                     .blank = true};
    mf_paxos_free(scene->core[3]);
    scene->core[3] = mf_paxos_new(&config, 1, scene->now_us);
    mf_paxos_restore_done(scene->core[3]);
}

static void who_has_no_copy_has_no_voice_until_a_snapshot_is_there(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    for (int i = 0; i < 3; i++)
        propose(&scene, 1, "x");
    deliver_all(&scene);
    make_blank(&scene);
    drop_mail(&scene);
    uint64_t slot = propose(&scene, 1, "y");
    deliver(&scene, 1, 3, MF_PAXOS_ACCEPT);
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_ACCEPTED), 0);
    assert_int_equal(mf_paxos_chosen(scene.core[3]), 0);
    drop_mail(&scene);
    struct mf_paxos_msg prepare = {.type = MF_PAXOS_PREPARE,
                                   .to = 3,
                                   .from = 2,
                                   .incarnation = 1,
                                   .ballot = mf_ballot_make(50, 2),
                                   .slot = 1};
    struct mf_paxos_msg question = {.type = MF_PAXOS_ASK_VOTE,
                                    .to = 3,
                                    .from = 2,
                                    .incarnation = 1,
                                    .ballot = mf_ballot_make(50, 2),
                                    .chosen = 99};
    struct mf_paxos_env env = env_of(&scene);
    mf_paxos_receive(scene.core[3], &env, &prepare);
    mf_paxos_receive(scene.core[3], &env, &question);
    tick_all(&scene, ELECTION_US * 3); // nor does it run for anything
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_PROMISE), 0);
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_VOTE), 0);
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_ASK_VOTE), 0);
    assert_int_equal(mf_paxos_role(scene.core[3]), MF_FOLLOWER);
    drop_mail(&scene);
    assert_true(
        mf_paxos_install(scene.core[3], &env, slot - 1, 1, mf_paxos_members(scene.core[1])));
    take(&scene, 3, true);
    for (int i = 0; i < 2; i++) { // acceptances, then what is chosen
        tick_all(&scene, RESEND_US);
        deliver_all(&scene);
    }
    assert_value(&scene, 3, slot, "y"); // from here on the log is enough
    slot = propose(&scene, 1, "z");
    deliver(&scene, 1, 3, MF_PAXOS_ACCEPT);
    deliver(&scene, 3, 1, MF_PAXOS_ACCEPTED);
    assert_value(&scene, 1, slot, "z"); // and its voice counts
    close_scene(&scene);
}

// However short the log: what an empty copy learns does not begin with slot 1, because the group
// may have begun with something.
static void who_has_no_copy_asks_for_a_snapshot_though_the_log_is_whole(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    propose(&scene, 1, "x");
    deliver_all(&scene);
    make_blank(&scene);
    drop_mail(&scene);
    propose(&scene, 1, "y");
    deliver_all(&scene);
    tick_all(&scene, RESEND_US);
    deliver(&scene, 1, 3, MF_PAXOS_CHOSEN);
    take(&scene, 3, true);
    assert_int_equal(mf_paxos_first_slot(scene.core[1]), 1);
    bool asked = false;
    for (uint32_t i = 0; i < scene.mail_count; i++) {
        bool learn = scene.mail[i].from == 3 && scene.mail[i].type == MF_PAXOS_LEARN;
        assert_true(!learn || scene.mail[i].slot == 0);
        asked = asked || learn;
        struct mf_paxos_env env = env_of(&scene);
        if (learn)
            mf_paxos_receive(scene.core[scene.mail[i].to], &env, &scene.mail[i]);
    }
    assert_true(asked);
    struct mf_paxos_progress progress;
    assert_true(mf_paxos_progress(scene.core[1], 2, &progress));
    assert_int_equal(progress.acceptor.node, 3);
    assert_int_equal(progress.chosen, 0); // whatever the copy before it had
    const struct mf_paxos_update *update = mf_paxos_update_take(scene.core[1]);
    assert_int_equal(update->snapshot_count, 1);
    assert_int_equal(update->snapshot_to[0].node, 3);
    close_scene(&scene);
}

static void a_learner_that_has_said_nothing_is_made_no_voter(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    struct mf_members members = *mf_paxos_members(scene.core[1]);
    members.learners[members.learner_count++] = (struct mf_acceptor){3, 7};
    reconfigure(&scene, 1, members, MF_OK);
    members.learner_count = 0;
    members.voters[2].incarnation = 7;
    reconfigure(&scene, 1, members, MF_BAD_REQUEST); // the log is short, it may have all of it
    close_scene(&scene);
}

static void a_copy_with_which_it_may_have_voted_again_is_kept(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    propose(&scene, 1, "x");
    deliver_all(&scene);
    tick_all(&scene, RESEND_US);
    deliver_all(&scene);
    mf_ballot_t ballot = mf_paxos_ballot(scene.core[1]);
    uint64_t known = mf_paxos_chosen(scene.core[2]);
    assert_true(mf_paxos_may_leave(scene.core[2], known, ballot));
    assert_true(
        mf_paxos_may_leave(scene.core[2], known - 1, ballot));      // the rest is known as chosen
    assert_false(mf_paxos_may_leave(scene.core[1], known, ballot)); // it leads
    uint64_t slot = propose(&scene, 1, "y");
    deliver(&scene, 1, 2, MF_PAXOS_ACCEPT);
    assert_int_equal(mf_paxos_chosen(scene.core[2]), known);
    assert_false(mf_paxos_may_leave(scene.core[2], known, ballot));
    assert_true(mf_paxos_may_leave(scene.core[2], slot, ballot)); // accepted before it was left out
    assert_true(mf_paxos_may_leave(scene.core[2], known, ballot + 1)); // of an earlier leader
    assert_true(mf_paxos_settled(scene.core[1]));
    assert_false(mf_paxos_settled(scene.core[2]));
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(node_of_another_incarnation_learns_but_never_counts),
        cmocka_unit_test(configuration_holds_later_slots_back_until_it_is_chosen),
        cmocka_unit_test(change_that_would_strand_the_group_is_refused),
        cmocka_unit_test(new_configuration_has_to_promise_before_its_slots_are_used),
        cmocka_unit_test(heir_takes_over_without_a_vote_and_the_old_leader_acts_no_more),
        cmocka_unit_test(bound_acceptor_promises_only_whom_its_leader_named),
        cmocka_unit_test(nobody_votes_while_it_hears_a_leader),
        cmocka_unit_test(snapshot_stands_in_for_the_log),
        cmocka_unit_test(who_has_no_copy_has_no_voice_until_a_snapshot_is_there),
        cmocka_unit_test(who_has_no_copy_asks_for_a_snapshot_though_the_log_is_whole),
        cmocka_unit_test(a_learner_that_has_said_nothing_is_made_no_voter),
        cmocka_unit_test(a_copy_with_which_it_may_have_voted_again_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
