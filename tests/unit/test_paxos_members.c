// Who may act for a group, in scenes: incarnations, configurations, votes, hand-overs,
// and snapshots in place of the log.
#include "paxos_scene.h"

// Delivers this type of mail to the nodes named, and what they answer; all other mail is lost.
static void deliver_to(struct scene *scene, uint16_t from, const uint16_t *nodes, int type)
{
    for (; *nodes != 0; nodes++)
        deliver(scene, from, *nodes, type);
    deliver(scene, 0, from, 0);
    drop_mail(scene);
}

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

// Within a window of the end is everybody while the log is short, also who was never heard of: a
// memory that was lost before it learned would raise the majority and never be part of one.
static void learner_that_has_said_nothing_becomes_no_voter(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    propose(&scene, 1, "x");
    deliver_all(&scene);
    tick_all(&scene, RESEND_US);
    deliver_all(&scene);
    struct mf_members members = *mf_paxos_members(scene.core[1]);
    members.learners[members.learner_count++] = (struct mf_acceptor){3, 7};
    reconfigure(&scene, 1, members, MF_OK);
    assert_int_equal(mf_paxos_members(scene.core[1])->learner_count, 1);
    members.learner_count = 0;
    members.voters[2].incarnation = 7;
    reconfigure(&scene, 1, members, MF_BAD_REQUEST);
    struct mf_paxos_progress progress;
    assert_true(mf_paxos_progress(scene.core[1], 3, &progress));
    assert_false(progress.caught_up);
    struct mf_paxos_env env = env_of(&scene);
    struct mf_paxos_msg answer = {.type = MF_PAXOS_ACCEPTED,
                                  .from = 3,
                                  .to = 1,
                                  .incarnation = 7,
                                  .ballot = mf_paxos_ballot(scene.core[1]),
                                  .slot = 1,
                                  .last = 0,
                                  .chosen = mf_paxos_members(scene.core[1])->slot - 1};
    mf_paxos_receive(scene.core[1], &env, &answer); // it does not know yet that it is a learner
    take(&scene, 1, true);
    assert_true(mf_paxos_progress(scene.core[1], 3, &progress));
    assert_false(progress.caught_up);
    answer.chosen++;
    mf_paxos_receive(scene.core[1], &env, &answer);
    take(&scene, 1, true);
    assert_true(mf_paxos_progress(scene.core[1], 3, &progress));
    assert_true(progress.caught_up);
    reconfigure(&scene, 1, members, MF_OK);
    close_scene(&scene);
}

// Voters 1, 2 and 3; 4 and 5 learn.
static void open_learning_scene(struct scene *scene)
{
    open_scene(scene, 5);
    for (uint16_t node = 1; node <= 5; node++) {
        mf_paxos_free(scene->core[node]);
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
        scene->core[node] = mf_paxos_new(&config, 1, scene->now_us);
    }
}

// A leader that has never prepared the new voters' slots may not fill them: a leader between it and
// the configuration may have had something chosen there.
static void new_configuration_has_to_promise_before_its_slots_are_used(void **state)
{
    (void)state;
    struct scene scene;
    open_learning_scene(&scene);
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

// Voters that know of a configuration have promised the leader's ballot with that, but have not
// told what a leader in between has had them accept behind it.
static void what_was_accepted_behind_a_configuration_is_asked_for(void **state)
{
    (void)state;
    struct scene scene;
    open_learning_scene(&scene);
    campaign(&scene, 1);
    drop_mail_to(&scene, 3);
    deliver_all(&scene);
    propose(&scene, 1, "first");
    deliver_all(&scene);
    tick_all(&scene, RESEND_US);
    deliver_all(&scene);
    struct mf_members members = *mf_paxos_members(scene.core[1]);
    members.voters[1] = (struct mf_acceptor){3, 1};
    members.voters[2] = (struct mf_acceptor){4, 1};
    members.learner_count = 0;
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
    drop_mail(&scene);
    uint64_t changed = mf_paxos_members(scene.core[1])->slot;
    struct mf_paxos_msg answer = {.type = MF_PAXOS_ACCEPTED,
                                  .to = 1,
                                  .incarnation = 1,
                                  .ballot = mf_paxos_ballot(scene.core[1]),
                                  .slot = 1,
                                  .last = 0,
                                  .read_seq = 1,
                                  .chosen = changed};
    for (answer.from = 3; answer.from <= 4; answer.from++)
        mf_paxos_receive(scene.core[1], &env, &answer);
    take(&scene, 1, true);
    assert_false(mf_paxos_window_open(scene.core[1]));
    struct mf_paxos_entry entry = {.slot = changed + 1,
                                   .ballot = mf_ballot_make(0, 3),
                                   .log_time_us = log_us,
                                   .payload =
                                       mf_payload_new(MF_ENTRY_COMMANDS, mf_bytes_of("other", 5))};
    answer.type = MF_PAXOS_PROMISE;
    answer.from = 4;
    answer.entries = &entry;
    answer.entry_count = 1;
    mf_paxos_receive(scene.core[1], &env, &answer);
    take(&scene, 1, true);
    mf_payload_unref(entry.payload);
    deliver_all(&scene);
    assert_value(&scene, 1, changed + 1, "other");
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

// A large cluster has more nodes than a group needs to know of.
static void who_runs_on_a_voters_node_is_known_however_many_nodes_there_are(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3);
    struct mf_paxos_env env = env_of(&scene);
    for (uint16_t node = 10; node < 74; node++)
        mf_paxos_peer_up(scene.core[1], &env, (struct mf_acceptor){node, 5});
    mf_paxos_peer_up(scene.core[1], &env, (struct mf_acceptor){2, 1});
    assert_int_equal(mf_paxos_present_on(scene.core[1], 2), 1);
    mf_paxos_peer_up(scene.core[1], &env, (struct mf_acceptor){2, 9}); // it has lost its memory
    for (uint16_t node = 100; node < 164; node++)
        mf_paxos_peer_up(scene.core[1], &env, (struct mf_acceptor){node, 5});
    assert_int_equal(mf_paxos_present_on(scene.core[1], 2), 9);
    assert_int_equal(mf_paxos_present_on(scene.core[1], 163), 5);
    assert_int_equal(mf_paxos_present_on(scene.core[1], 10), 0);
    close_scene(&scene);
}

// Else the leader could count on the lease, and the candidate on votes that were given before.
static void candidate_that_answers_its_leader_stops_asking(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    propose(&scene, 1, "x");
    deliver_all(&scene);
    drop_mail(&scene);
    struct mf_paxos_env env = env_of(&scene);
    mf_paxos_suspect(scene.core[2], &env, 1);
    mf_paxos_campaign(scene.core[2], &env);
    take(&scene, 2, true);
    assert_int_equal(mf_paxos_role(scene.core[2]), MF_CANDIDATE);
    mf_ballot_t asked_for = take_questions(&scene, 2);
    mf_paxos_peer_up(scene.core[2], &env, (struct mf_acceptor){1, 1});
    uint64_t ticket;
    assert_int_equal(mf_paxos_read(scene.core[1], &env, &ticket), MF_OK);
    take(&scene, 1, true);
    deliver(&scene, 1, 2, MF_PAXOS_READ_PROBE);
    assert_int_equal(count_mail(&scene, 2, MF_PAXOS_READ_ACK), 1);
    struct mf_paxos_msg vote = {.type = MF_PAXOS_VOTE,
                                .from = 3,
                                .to = 2,
                                .incarnation = 1,
                                .ballot = asked_for,
                                .last = 1};
    mf_paxos_receive(scene.core[2], &env, &vote);
    take(&scene, 2, true);
    assert_int_equal(mf_paxos_role(scene.core[2]), MF_FOLLOWER);
    assert_int_equal(mf_ballot_node(mf_paxos_ballot(scene.core[2])), 1);
    close_scene(&scene);
}

// Only it may know the configuration in which the candidate could win.
static void candidate_learns_what_is_chosen_from_who_refuses_it(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    deliver_all(&scene);
    uint64_t slot = propose(&scene, 1, "x");
    deliver(&scene, 1, 3, MF_PAXOS_ACCEPT);
    deliver(&scene, 3, 1, MF_PAXOS_ACCEPTED);
    drop_mail(&scene);
    tick_all(&scene, RESEND_US);
    deliver(&scene, 1, 3, MF_PAXOS_CHOSEN);
    drop_mail(&scene);
    assert_int_equal(mf_paxos_chosen(scene.core[3]), slot);
    assert_int_equal(mf_paxos_chosen(scene.core[2]), slot - 1);
    struct mf_paxos_env env = env_of(&scene);
    mf_paxos_suspect(scene.core[2], &env, 1);
    mf_paxos_campaign(scene.core[2], &env);
    take(&scene, 2, true);
    deliver(&scene, 2, 3, MF_PAXOS_ASK_VOTE); // which still hears node 1
    deliver(&scene, 3, 2, MF_PAXOS_VOTE);
    assert_int_equal(mf_paxos_role(scene.core[2]), MF_CANDIDATE);
    deliver(&scene, 2, 3, MF_PAXOS_LEARN);
    deliver(&scene, 3, 2, MF_PAXOS_LEARNED);
    assert_value(&scene, 2, slot, "x");
    assert_int_equal(mf_paxos_chosen(scene.core[2]), slot);
    close_scene(&scene);
}

// Nodes 1 and 2 go on without node 3, which has heard nothing of it and asks for votes.
static void open_scene_of_removed_candidate(struct scene *scene)
{
    open_led_scene(scene, 3);
    struct mf_members members = *mf_paxos_members(scene->core[1]);
    members.voter_count = 2;
    struct mf_paxos_env env = env_of(scene);
    const char *why;
    uint64_t log_us = mf_paxos_last_log_time(scene->core[1]) + 1;
    assert_int_equal(mf_paxos_reconfigure(scene->core[1], &env, log_us, members, &why), MF_OK);
    take(scene, 1, true);
    drop_mail_to(scene, 3);
    deliver_all(scene);
    assert_int_equal(mf_paxos_members(scene->core[2])->voter_count, 2);
    mf_paxos_suspect(scene->core[3], &env, 1);
    mf_paxos_campaign(scene->core[3], &env);
    take(scene, 3, true);
    assert_int_equal(mf_paxos_role(scene->core[3]), MF_CANDIDATE);
}

static void assert_asks_no_more(struct scene *scene)
{
    assert_int_equal(mf_paxos_role(scene->core[3]), MF_FOLLOWER);
    drop_mail(scene);
    for (int i = 0; i < 5; i++) {
        tick_all(scene, ELECTION_US);
        assert_int_equal(count_mail(scene, 3, MF_PAXOS_ASK_VOTE), 0);
        assert_int_equal(count_mail(scene, 3, MF_PAXOS_PREPARE), 0);
    }
}

static void candidate_that_learns_that_it_was_removed_asks_no_more(void **state)
{
    (void)state;
    struct scene scene;
    open_scene_of_removed_candidate(&scene);
    deliver(&scene, 3, 2, MF_PAXOS_ASK_VOTE);
    deliver(&scene, 2, 3, MF_PAXOS_VOTE);
    deliver(&scene, 3, 2, MF_PAXOS_LEARN);
    deliver(&scene, 2, 3, MF_PAXOS_LEARNED);
    assert_int_equal(mf_paxos_members(scene.core[3])->voter_count, 2);
    assert_asks_no_more(&scene);
    close_scene(&scene);

    open_scene_of_removed_candidate(&scene); // and from a snapshot, with its ballot prepared
    vote_for(&scene, 3, true);
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_PREPARE), 2);
    struct mf_paxos_env env = env_of(&scene);
    const struct mf_members *members = mf_paxos_members(scene.core[1]);
    assert_true(mf_paxos_install(scene.core[3], &env, members->slot, 9, members));
    take(&scene, 3, true);
    assert_asks_no_more(&scene);
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

// Node 1's proposals are on the way to node 7 when it finds out that another leader has filled
// their slots: what it says is chosen from then on must not be taken for what it had proposed.
static void leader_that_was_overtaken_does_not_confirm_what_it_had_proposed(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 7);
    campaign(&scene, 1);
    deliver_to(&scene, 1, (const uint16_t[]){2, 4, 5, 0}, MF_PAXOS_PREPARE);
    propose(&scene, 1, "first");
    deliver_to(&scene, 1, (const uint16_t[]){2, 4, 5, 7, 0}, MF_PAXOS_ACCEPT);
    tick_all(&scene, RESEND_US);
    deliver_to(&scene, 1, (const uint16_t[]){2, 3, 4, 5, 0}, MF_PAXOS_CHOSEN);
    struct mf_members members = *mf_paxos_members(scene.core[1]);
    members.learners[members.learner_count++] = (struct mf_acceptor){8, 1};
    struct mf_paxos_env env = env_of(&scene);
    const char *why;
    assert_int_equal(mf_paxos_reconfigure(scene.core[1], &env, 9, members, &why), MF_OK);
    take(&scene, 1, true);
    deliver_to(&scene, 1, (const uint16_t[]){7, 0}, MF_PAXOS_ACCEPT);

    campaign(&scene, 2);
    deliver_to(&scene, 2, (const uint16_t[]){4, 5, 6, 0}, MF_PAXOS_PREPARE);
    assert_int_equal(propose(&scene, 2, "other"), 2);
    deliver_to(&scene, 2, (const uint16_t[]){4, 5, 6, 0}, MF_PAXOS_ACCEPT);
    assert_value(&scene, 2, 2, "other");
    mf_paxos_suspect(scene.core[3], &env, 1);
    for (int i = 0; i < 3; i++) {
        tick_all(&scene, RESEND_US);
        deliver(&scene, 3, 2, MF_PAXOS_LEARN);
        deliver(&scene, 2, 3, MF_PAXOS_LEARNED);
        drop_mail(&scene);
    }
    assert_value(&scene, 3, 2, "other");

    env = env_of(&scene);
    mf_paxos_peer_up(scene.core[1], &env, (struct mf_acceptor){3, 1});
    take(&scene, 1, true);
    deliver(&scene, 1, 3, MF_PAXOS_PREPARE);
    deliver(&scene, 3, 1, MF_PAXOS_PROMISE);
    deliver(&scene, 1, 3, MF_PAXOS_LEARN);
    deliver(&scene, 3, 1, MF_PAXOS_LEARNED);
    tick_all(&scene, RESEND_US);
    deliver(&scene, 1, 7, MF_PAXOS_CHOSEN);
    assert_int_equal(mf_paxos_members(scene.core[7])->learner_count, 0);
    for (int i = 0; i < 5; i++) {
        tick_all(&scene, ELECTION_US);
        deliver_all(&scene);
    }
    for (uint16_t node = 1; node <= 7; node++)
        assert_value(&scene, node, 2, "other");
    close_scene(&scene);
}

// A memory of node 1 that is lost may have used the ballot that this one uses.
static void answer_to_another_memory_of_the_node_does_not_count(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3);
    campaign(&scene, 1);
    struct mf_paxos_env env = env_of(&scene);
    struct mf_paxos_msg answer = {.type = MF_PAXOS_PROMISE,
                                  .from = 2,
                                  .to = 1,
                                  .incarnation = 1,
                                  .ballot = mf_paxos_ballot(scene.core[1]),
                                  .read_seq = 99,
                                  .support = 7};
    mf_paxos_receive(scene.core[1], &env, &answer);
    assert_int_equal(mf_paxos_role(scene.core[1]), MF_CANDIDATE);
    drop_mail_to(&scene, 2);
    deliver_all(&scene);
    assert_int_equal(mf_paxos_role(scene.core[1]), MF_LEADER);
    uint64_t slot = propose(&scene, 1, "mine");
    answer.type = MF_PAXOS_ACCEPTED;
    answer.slot = answer.last = slot;
    mf_paxos_receive(scene.core[1], &env, &answer);
    struct mf_paxos_progress progress;
    assert_true(mf_paxos_progress(scene.core[1], 1, &progress));
    assert_int_equal(progress.support, 0);
    assert_int_equal(mf_paxos_chosen(scene.core[1]), 0);
    answer.read_seq = 1;
    mf_paxos_receive(scene.core[1], &env, &answer);
    assert_true(mf_paxos_progress(scene.core[1], 1, &progress));
    assert_int_equal(progress.support, 7);
    assert_value(&scene, 1, slot, "mine");
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
        cmocka_unit_test(learner_that_has_said_nothing_becomes_no_voter),
        cmocka_unit_test(new_configuration_has_to_promise_before_its_slots_are_used),
        cmocka_unit_test(leader_that_was_overtaken_does_not_confirm_what_it_had_proposed),
        cmocka_unit_test(answer_to_another_memory_of_the_node_does_not_count),
        cmocka_unit_test(what_was_accepted_behind_a_configuration_is_asked_for),
        cmocka_unit_test(heir_takes_over_without_a_vote_and_the_old_leader_acts_no_more),
        cmocka_unit_test(who_runs_on_a_voters_node_is_known_however_many_nodes_there_are),
        cmocka_unit_test(candidate_that_answers_its_leader_stops_asking),
        cmocka_unit_test(candidate_learns_what_is_chosen_from_who_refuses_it),
        cmocka_unit_test(candidate_that_learns_that_it_was_removed_asks_no_more),
        cmocka_unit_test(nobody_votes_while_it_hears_a_leader),
        cmocka_unit_test(snapshot_stands_in_for_the_log),
        cmocka_unit_test(who_has_no_copy_has_no_voice_until_a_snapshot_is_there),
        cmocka_unit_test(who_has_no_copy_asks_for_a_snapshot_though_the_log_is_whole),
        cmocka_unit_test(a_copy_with_which_it_may_have_voted_again_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
