// The Paxos core in scenes: each test is a script of who says what to whom, and what must follow.
#include "paxos_scene.h"

static void one_proposer_gets_its_value_chosen(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3);
    campaign(&scene, 1);
    assert_int_equal(deliver(&scene, 1, 2, MF_PAXOS_PREPARE), 1);
    assert_int_equal(deliver(&scene, 2, 1, MF_PAXOS_PROMISE), 1);
    assert_int_equal(mf_paxos_role(scene.core[1]), MF_LEADER);
    uint64_t slot = propose(&scene, 1, "value");
    assert_int_equal(slot, 1);
    assert_int_equal(mf_paxos_chosen(scene.core[1]), 0);
    deliver(&scene, 1, 2, MF_PAXOS_ACCEPT);
    deliver(&scene, 2, 1, MF_PAXOS_ACCEPTED);
    assert_value(&scene, 1, 1, "value");
    close_scene(&scene);
}

static void later_of_two_duelling_proposers_adopts_the_accepted_value(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3);
    campaign(&scene, 1);
    deliver(&scene, 1, 2, MF_PAXOS_PREPARE);
    deliver(&scene, 2, 1, MF_PAXOS_PROMISE);
    propose(&scene, 1, "earlier");
    deliver(&scene, 1, 2, MF_PAXOS_ACCEPT); // node 2 accepts; node 1 never hears of it
    drop_mail(&scene);
    campaign(&scene, 3);
    campaign(&scene, 3); // twice, to be above node 1's ballot
    deliver(&scene, 3, 2, MF_PAXOS_PREPARE);
    deliver(&scene, 2, 3, 0);
    assert_int_equal(mf_paxos_role(scene.core[3]), MF_LEADER);
    uint64_t slot = propose(&scene, 3, "later");
    assert_int_equal(slot, 2);
    deliver_all(&scene);
    assert_value(&scene, 3, 1, "earlier");
    assert_value(&scene, 3, 2, "later");
    close_scene(&scene);
}

static void old_leader_cannot_get_anything_chosen_after_a_newer_one_was_promised(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    campaign(&scene, 3);
    deliver(&scene, 3, 2, MF_PAXOS_PREPARE);
    drop_mail(&scene);
    propose(&scene, 1, "too late");
    deliver(&scene, 1, 2, MF_PAXOS_ACCEPT);
    assert_int_equal(count_mail(&scene, 2, MF_PAXOS_ACCEPTED), 0);
    assert_int_equal(deliver(&scene, 2, 1, MF_PAXOS_REJECT), 1);
    assert_int_equal(mf_paxos_role(scene.core[1]), MF_FOLLOWER);
    assert_int_equal(mf_paxos_chosen(scene.core[1]), 1);
    close_scene(&scene);
}

static void nothing_is_answered_before_it_is_durable(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3);
    campaign(&scene, 1);
    struct mf_paxos_env env = env_of(&scene);
    for (uint32_t i = 0; i < scene.mail_count; i++) {
        if (scene.mail[i].to == 2)
            mf_paxos_receive(scene.core[2], &env, &scene.mail[i]);
    }
    take(&scene, 2, false);
    assert_int_equal(count_mail(&scene, 2, MF_PAXOS_PROMISE), 0);
    mf_paxos_persisted(scene.core[2], &env, scene.unpersisted[2]);
    take(&scene, 2, true);
    assert_int_equal(count_mail(&scene, 2, MF_PAXOS_PROMISE), 1);
    close_scene(&scene);
}

static void no_ballot_is_heard_of_before_its_owner_has_it_on_disk(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3);
    struct mf_paxos_env env = env_of(&scene);
    mf_paxos_campaign(scene.core[1], &env);
    take(&scene, 1, false);
    vote_for(&scene, 1, false);
    assert_int_equal(scene.mail_count, 0);
    crash(&scene, 1); // the ballot was never on disk: using it again harms nobody
    campaign(&scene, 1);
    assert_int_equal(count_mail(&scene, 1, MF_PAXOS_PREPARE), 2);
    close_scene(&scene);
}

static void leader_counts_itself_only_when_its_own_write_has_landed(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    struct mf_paxos_env env = env_of(&scene);
    uint64_t slot = 0;
    assert_int_equal(mf_paxos_propose(scene.core[1], &env, mf_paxos_last_log_time(scene.core[1]),
                                      mf_bytes_str("x"), &slot),
                     MF_OK);
    take(&scene, 1, false);
    deliver(&scene, 1, 2, MF_PAXOS_ACCEPT);
    assert_int_equal(deliver(&scene, 2, 1, MF_PAXOS_ACCEPTED), 1);
    assert_int_equal(mf_paxos_chosen(scene.core[1]), 1);
    mf_paxos_persisted(scene.core[1], &env, scene.unpersisted[1]);
    assert_int_equal(mf_paxos_chosen(scene.core[1]), 2);
    close_scene(&scene);
}

static void followers_may_choose_without_the_leaders_disk(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    struct mf_paxos_env env = env_of(&scene);
    uint64_t slot = 0;
    assert_int_equal(mf_paxos_propose(scene.core[1], &env, mf_paxos_last_log_time(scene.core[1]),
                                      mf_bytes_str("x"), &slot),
                     MF_OK);
    take(&scene, 1, false);
    deliver(&scene, 1, 0, MF_PAXOS_ACCEPT);
    deliver(&scene, 0, 1, MF_PAXOS_ACCEPTED);
    assert_value(&scene, 1, 2, "x");
    close_scene(&scene);
}

static void promise_survives_a_restart(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    campaign(&scene, 3);
    deliver(&scene, 3, 2, MF_PAXOS_PREPARE);
    drop_mail(&scene);
    crash(&scene, 2);
    propose(&scene, 1, "old ballot");
    deliver(&scene, 1, 2, MF_PAXOS_ACCEPT);
    assert_int_equal(count_mail(&scene, 2, MF_PAXOS_ACCEPTED), 0);
    assert_int_equal(count_mail(&scene, 2, MF_PAXOS_REJECT), 1);
    close_scene(&scene);
}

static void holes_are_closed_with_no_ops_and_reported_values_are_kept(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    propose(&scene, 1, "lost"); // slot 2 reaches nobody
    drop_mail(&scene);
    propose(&scene, 1, "kept"); // slot 3 reaches node 2
    deliver(&scene, 1, 2, MF_PAXOS_ACCEPT);
    drop_mail(&scene);
    campaign(&scene, 3);
    deliver(&scene, 3, 2, MF_PAXOS_PREPARE);
    deliver(&scene, 2, 3, 0);
    assert_int_equal(mf_paxos_role(scene.core[3]), MF_LEADER);
    deliver(&scene, 3, 2, MF_PAXOS_ACCEPT);
    deliver(&scene, 2, 3, MF_PAXOS_ACCEPTED);
    assert_int_equal(mf_paxos_chosen(scene.core[3]), 3);
    assert_null(mf_paxos_entry(scene.core[3], 2)->payload);
    assert_value(&scene, 3, 3, "kept");
    close_scene(&scene);
}

static void highest_ballot_wins_among_reported_values(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 5);
    campaign(&scene, 1); // ballot 1.1, promised by 2 and 3
    deliver(&scene, 1, 2, 0);
    deliver(&scene, 1, 3, 0);
    deliver(&scene, 0, 1, MF_PAXOS_PROMISE);
    propose(&scene, 1, "low");
    deliver(&scene, 1, 2, MF_PAXOS_ACCEPT); // only node 2 has "low"
    drop_mail(&scene);
    campaign(&scene, 5);
    campaign(&scene, 5); // a higher one, promised by 3 and 4, which know of no value
    deliver(&scene, 5, 3, 0);
    deliver(&scene, 5, 4, 0);
    deliver(&scene, 0, 5, MF_PAXOS_PROMISE);
    propose(&scene, 5, "high");
    deliver(&scene, 5, 4, MF_PAXOS_ACCEPT); // nodes 4 and 5 have "high"
    drop_mail(&scene);
    for (int i = 0; i < 3; i++)
        campaign(&scene, 3); // above both; hears node 2 ("low") and node 4 ("high")
    deliver(&scene, 3, 2, MF_PAXOS_PREPARE);
    deliver(&scene, 3, 4, MF_PAXOS_PREPARE);
    deliver(&scene, 2, 3, 0);
    deliver(&scene, 4, 3, 0);
    assert_int_equal(mf_paxos_role(scene.core[3]), MF_LEADER);
    deliver_all(&scene);
    assert_value(&scene, 3, 1, "high");
    close_scene(&scene);
}

static void laggard_learns_what_it_missed_before_it_leads(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    for (int i = 0; i < 4; i++) {
        propose(&scene, 1, "news");
        deliver(&scene, 1, 2, 0);
        deliver(&scene, 2, 1, 0);
        drop_mail(&scene); // node 3 hears nothing
    }
    tick_all(&scene, RESEND_US);
    deliver(&scene, 1, 2, 0); // node 2 knows that they are chosen
    drop_mail(&scene);
    assert_int_equal(mf_paxos_chosen(scene.core[2]), 5);
    campaign(&scene, 3);
    deliver(&scene, 3, 2, MF_PAXOS_PREPARE);
    deliver(&scene, 2, 3, MF_PAXOS_PROMISE);
    assert_int_equal(mf_paxos_role(scene.core[3]), MF_RECOVERING);
    deliver(&scene, 3, 2, MF_PAXOS_LEARN);
    deliver(&scene, 2, 3, MF_PAXOS_LEARNED);
    assert_int_equal(mf_paxos_role(scene.core[3]), MF_LEADER);
    assert_value(&scene, 3, 5, "news");
    close_scene(&scene);
}

static void read_waits_for_a_majority_and_for_an_entry_of_the_leaders_own(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3);
    campaign(&scene, 1);
    deliver_all(&scene);
    struct mf_paxos_env env = env_of(&scene);
    uint64_t ticket = 0;
    assert_int_equal(mf_paxos_read(scene.core[1], &env, &ticket), MF_NOT_LEADER);
    propose(&scene, 1, "own");
    deliver_all(&scene);
    assert_int_equal(mf_paxos_read(scene.core[1], &env, &ticket), MF_OK);
    take(&scene, 1, true);
    assert_true(scene.confirmed[1] < ticket);
    deliver(&scene, 1, 2, MF_PAXOS_READ_PROBE);
    deliver(&scene, 2, 1, MF_PAXOS_READ_ACK);
    assert_int_equal(scene.confirmed[1], ticket);
    close_scene(&scene);
}

static void deposed_leader_confirms_no_read(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    campaign(&scene, 3);
    deliver(&scene, 3, 2, 0);
    deliver(&scene, 2, 3, 0); // node 3 leads with node 2; node 1 does not know
    drop_mail(&scene);
    struct mf_paxos_env env = env_of(&scene);
    uint64_t ticket = 0;
    assert_int_equal(mf_paxos_read(scene.core[1], &env, &ticket), MF_OK);
    take(&scene, 1, true);
    deliver(&scene, 1, 0, MF_PAXOS_READ_PROBE);
    deliver(&scene, 0, 1, 0);
    assert_true(scene.confirmed[1] < ticket);
    assert_int_equal(mf_paxos_role(scene.core[1]), MF_FOLLOWER);
    close_scene(&scene);
}

static void reads_share_a_round_only_if_it_starts_after_them(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    struct mf_paxos_env env = env_of(&scene);
    uint64_t first = 0;
    uint64_t same = 0;
    uint64_t later = 0;
    assert_int_equal(mf_paxos_read(scene.core[1], &env, &first), MF_OK);
    assert_int_equal(mf_paxos_read(scene.core[1], &env, &same), MF_OK);
    assert_int_equal(first, same);
    take(&scene, 1, true); // the round's messages leave here
    assert_int_equal(mf_paxos_read(scene.core[1], &env, &later), MF_OK);
    assert_true(later > first);
    deliver(&scene, 1, 2, MF_PAXOS_READ_PROBE);
    deliver(&scene, 2, 1, MF_PAXOS_READ_ACK);
    assert_int_equal(scene.confirmed[1], first);
    deliver_all(&scene);
    assert_int_equal(scene.confirmed[1], later);
    close_scene(&scene);
}

// The answers that the round was waiting for are of no voter any more.
static void reads_under_way_end_when_the_group_shrinks_to_its_leader(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 2);
    struct mf_members members = *mf_paxos_members(scene.core[1]);
    members.voter_count = 1; // node 1 alone
    struct mf_paxos_env env = env_of(&scene);
    const char *why;
    uint64_t log_us = mf_paxos_last_log_time(scene.core[1]) + 1;
    assert_int_equal(mf_paxos_reconfigure(scene.core[1], &env, log_us, members, &why), MF_OK);
    uint64_t first;
    uint64_t later;
    assert_int_equal(mf_paxos_read(scene.core[1], &env, &first), MF_OK);
    take(&scene, 1, true); // the round's messages leave here
    assert_int_equal(mf_paxos_read(scene.core[1], &env, &later), MF_OK);
    assert_true(later > first);
    deliver(&scene, 1, 2, MF_PAXOS_ACCEPT);
    assert_true(scene.confirmed[1] < first);
    deliver(&scene, 2, 1, MF_PAXOS_ACCEPTED);
    assert_int_equal(mf_paxos_members(scene.core[1])->voter_count, 1);
    assert_int_equal(scene.confirmed[1], later);
    close_scene(&scene);
}

// It leads until the voters know of the change, and one of them may have been elected meanwhile.
static void leader_that_is_no_voter_any_more_confirms_no_read_by_itself(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 2);
    struct mf_members members = *mf_paxos_members(scene.core[1]);
    members.voters[0] = members.voters[1];
    members.voter_count = 1; // node 2 alone
    struct mf_paxos_env env = env_of(&scene);
    const char *why;
    uint64_t log_us = mf_paxos_last_log_time(scene.core[1]) + 1;
    assert_int_equal(mf_paxos_reconfigure(scene.core[1], &env, log_us, members, &why), MF_OK);
    take(&scene, 1, true);
    deliver(&scene, 1, 2, MF_PAXOS_ACCEPT);
    deliver(&scene, 2, 1, MF_PAXOS_ACCEPTED);
    assert_int_equal(mf_paxos_members(scene.core[1])->voter_count, 1);
    assert_int_equal(mf_paxos_role(scene.core[1]), MF_LEADER);
    uint64_t ticket;
    assert_int_equal(mf_paxos_read(scene.core[1], &env, &ticket), MF_OK);
    take(&scene, 1, true);
    assert_true(scene.confirmed[1] < ticket);
    close_scene(&scene);
}

static void lost_messages_are_sent_again_until_all_agree(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    propose(&scene, 1, "again");
    drop_mail(&scene);
    tick_all(&scene, RESEND_US);
    deliver_all(&scene);
    assert_value(&scene, 1, 2, "again");
    drop_mail(&scene);
    for (int i = 0; i < 3; i++) {
        tick_all(&scene, RESEND_US);
        deliver_all(&scene);
    }
    assert_value(&scene, 2, 2, "again");
    assert_value(&scene, 3, 2, "again");
    // All have acknowledged: an idle group says nothing more.
    tick_all(&scene, RESEND_US * 10);
    assert_int_equal(scene.mail_count, 0);
    assert_int_equal(mf_paxos_next_tick_us(scene.core[1]), MF_NEVER);
    close_scene(&scene);
}

// After a restart that has forgotten the promise, its node would be bound to somebody else.
static void nobody_is_supported_by_a_promise_that_is_not_durable(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3);
    struct mf_paxos_env env = env_of(&scene);
    env.support = 7;
    struct mf_paxos_entry entry = {.slot = 1,
                                   .log_time_us = 1,
                                   .payload = mf_payload_new(MF_ENTRY_COMMANDS, mf_bytes_str("x"))};
    struct mf_paxos_msg msg = {.type = MF_PAXOS_ACCEPT,
                               .from = 1,
                               .to = 2,
                               .incarnation = 1,
                               .ballot = mf_ballot_make(5, 1),
                               .slot = 1,
                               .entries = &entry,
                               .entry_count = 1};
    mf_paxos_receive(scene.core[2], &env, &msg);
    mf_payload_unref(entry.payload);
    take(&scene, 2, false); // the disk stands still
    msg.type = MF_PAXOS_CHOSEN;
    msg.entry_count = 0;
    mf_paxos_receive(scene.core[2], &env, &msg);
    msg.type = MF_PAXOS_READ_PROBE;
    mf_paxos_receive(scene.core[2], &env, &msg);
    take(&scene, 2, false);
    assert_int_equal(count_mail(&scene, 2, MF_PAXOS_ACCEPTED), 0);
    assert_int_equal(count_mail(&scene, 2, MF_PAXOS_READ_ACK), 1);
    assert_int_equal(scene.mail[0].support, 0);
    mf_paxos_persisted(scene.core[2], &env, scene.unpersisted[2]);
    take(&scene, 2, true);
    assert_int_equal(count_mail(&scene, 2, MF_PAXOS_ACCEPTED), 2);
    mf_paxos_receive(scene.core[2], &env, &msg);
    take(&scene, 2, true);
    assert_int_equal(scene.mail[scene.mail_count - 1].support, 7);
    close_scene(&scene);
}

static void suspected_leader_is_replaced_and_a_returning_one_follows(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    struct mf_paxos_env env = env_of(&scene);
    mf_paxos_suspect(scene.core[2], &env, 1);
    mf_paxos_suspect(scene.core[3], &env, 1);
    assert_int_equal(mf_paxos_leader(scene.core[2]), 0);
    // The next voter runs at once, the one after it only if that comes to nothing.
    assert_true(mf_paxos_next_tick_us(scene.core[2]) <= scene.now_us);
    assert_true(mf_paxos_next_tick_us(scene.core[3]) > scene.now_us);
    scene.now_us = mf_paxos_next_tick_us(scene.core[2]);
    env = env_of(&scene);
    mf_paxos_tick(scene.core[2], &env);
    take(&scene, 2, true);
    drop_mail_to(&scene, 1); // it is silent for now
    deliver(&scene, 2, 3, 0);
    deliver(&scene, 3, 2, 0);
    drop_mail_to(&scene, 1);
    deliver(&scene, 2, 3, 0);
    deliver(&scene, 3, 2, 0);
    assert_int_equal(mf_paxos_role(scene.core[2]), MF_LEADER);
    propose(&scene, 2, "mine");
    deliver_all(&scene);
    assert_int_equal(mf_paxos_role(scene.core[1]), MF_FOLLOWER);
    assert_int_equal(mf_paxos_leader(scene.core[1]), 2);
    close_scene(&scene);
}

static void candidate_asks_again_over_a_new_link(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3);
    campaign(&scene, 1);
    drop_mail(&scene); // no link stands yet
    struct mf_paxos_env env = env_of(&scene);
    mf_paxos_peer_up(scene.core[1], &env, (struct mf_acceptor){2, 1});
    take(&scene, 1, true);
    assert_int_equal(count_mail(&scene, 1, MF_PAXOS_PREPARE), 1);
    deliver_all(&scene);
    assert_int_equal(mf_paxos_role(scene.core[1]), MF_LEADER);
    mf_paxos_peer_up(scene.core[1], &env, (struct mf_acceptor){3, 1});
    take(&scene, 1, true);
    assert_int_equal(count_mail(&scene, 1, MF_PAXOS_PREPARE), 0); // it leads already
    close_scene(&scene);
}

static void candidate_asks_again_who_has_not_answered(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3);
    struct mf_paxos_env env = env_of(&scene);
    mf_paxos_campaign(scene.core[1], &env);
    take(&scene, 1, true);
    drop_mail(&scene);
    assert_int_equal(mf_paxos_next_tick_us(scene.core[1]), scene.now_us + RESEND_US);
    tick_all(&scene, RESEND_US);
    assert_int_equal(count_mail(&scene, 1, MF_PAXOS_ASK_VOTE), 2);
    drop_mail_to(&scene, 3);
    deliver(&scene, 1, 2, MF_PAXOS_ASK_VOTE);
    deliver(&scene, 2, 1, MF_PAXOS_VOTE);
    assert_int_equal(count_mail(&scene, 1, MF_PAXOS_PREPARE), 2);
    drop_mail(&scene);
    tick_all(&scene, RESEND_US);
    assert_int_equal(count_mail(&scene, 1, MF_PAXOS_PREPARE), 2);
    assert_int_equal(count_mail(&scene, 1, MF_PAXOS_ASK_VOTE), 0);
    deliver_all(&scene);
    assert_int_equal(mf_paxos_role(scene.core[1]), MF_LEADER);
    close_scene(&scene);
}

static void former_leader_back_from_a_pause_is_not_followed_again(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 5);
    drop_mail(&scene);
    campaign(&scene, 2);
    for (uint16_t voter = 3; voter <= 4; voter++) {
        deliver(&scene, 2, voter, MF_PAXOS_PREPARE);
        deliver(&scene, voter, 2, MF_PAXOS_PROMISE);
    }
    uint64_t slot = propose(&scene, 2, "new");
    for (uint16_t voter = 3; voter <= 4; voter++) {
        deliver(&scene, 2, voter, MF_PAXOS_ACCEPT);
        deliver(&scene, voter, 2, MF_PAXOS_ACCEPTED);
    }
    assert_value(&scene, 2, slot, "new");
    drop_mail(&scene);
    tick_all(&scene, RESEND_US);
    deliver(&scene, 2, 5, MF_PAXOS_CHOSEN); // all that node 5 hears of node 2
    assert_int_equal(mf_paxos_leader(scene.core[5]), 2);
    drop_mail(&scene);
    propose(&scene, 1, "old");
    deliver(&scene, 1, 5, MF_PAXOS_ACCEPT);
    assert_int_equal(mf_paxos_leader(scene.core[5]), 2);
    assert_int_equal(count_mail(&scene, 5, MF_PAXOS_REJECT), 1);
    close_scene(&scene);
}

static void window_bounds_what_is_in_flight(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    for (int i = 0; i < 8; i++)
        propose(&scene, 1, "x");
    struct mf_paxos_env env = env_of(&scene);
    uint64_t slot = 0;
    assert_false(mf_paxos_window_open(scene.core[1]));
    assert_int_equal(
        mf_paxos_propose(scene.core[1], &env, UINT64_MAX / 4, mf_bytes_str("y"), &slot), MF_AGAIN);
    deliver_all(&scene);
    assert_true(mf_paxos_window_open(scene.core[1]));
    close_scene(&scene);
}

static void node_too_far_behind_to_accept_follows_and_learns(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    crash(&scene, 3);
    struct mf_paxos_entry entry = {
        .slot = UINT64_C(1) << 21, .ballot = mf_paxos_ballot(scene.core[1]), .log_time_us = 1};
    struct mf_paxos_msg accept = {.type = MF_PAXOS_ACCEPT,
                                  .from = 1,
                                  .incarnation = 1,
                                  .to = 3,
                                  .ballot = entry.ballot,
                                  .slot = entry.slot,
                                  .chosen = entry.slot - 1,
                                  .entry_count = 1,
                                  .entries = &entry};
    struct mf_paxos_env env = env_of(&scene);
    mf_paxos_receive(scene.core[3], &env, &accept);
    take(&scene, 3, true);
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_ACCEPTED), 0);
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_LEARN), 1);
    tick_all(&scene, ELECTION_US * 2); // it does not run against a leader that it hears
    assert_int_equal(mf_paxos_leader(scene.core[3]), 1);
    assert_int_equal(count_mail(&scene, 3, MF_PAXOS_PREPARE), 0);
    close_scene(&scene);
}

static void clock_of_a_promise_is_aged_from_below(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3);
    campaign(&scene, 1);
    struct mf_paxos_msg promise = {.type = MF_PAXOS_PROMISE,
                                   .from = 2,
                                   .incarnation = 1,
                                   .to = 1,
                                   .ballot = mf_paxos_ballot(scene.core[1]),
                                   .read_seq = 1,
                                   .stamp = {.source = 2, .log_us = 5000}};
    struct mf_paxos_env env = env_of(&scene);
    mf_paxos_receive(scene.core[1], &env, &promise);
    assert_int_equal(mf_paxos_quorum_clock(scene.core[1], 2, scene.now_us).log_us, 5000);
    uint64_t minute_us = 60000000;
    uint64_t aged_us = mf_paxos_quorum_clock(scene.core[1], 2, scene.now_us + minute_us).log_us;
    assert_true(aged_us > 5000 + minute_us / 1000 * 999);
    assert_true(aged_us < 5000 + minute_us - minute_us / 2000); // clocks differ by far less
    assert_int_equal(mf_paxos_quorum_clock(scene.core[1], 1, scene.now_us).log_us, 0);
    close_scene(&scene);
}

static void single_voter_leads_and_chooses_alone(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 1);
    tick_all(&scene, ELECTION_US);
    assert_int_equal(mf_paxos_role(scene.core[1]), MF_LEADER);
    propose(&scene, 1, "alone");
    assert_value(&scene, 1, 1, "alone");
    assert_int_equal(mf_paxos_next_tick_us(scene.core[1]), MF_NEVER); // there is nobody to tell
    crash(&scene, 1);
    scene.disk[1].chosen = 0;
    tick_all(&scene, ELECTION_US);
    propose(&scene, 1, "more");
    assert_value(&scene, 1, 1, "alone");
    assert_value(&scene, 1, 2, "more");
    close_scene(&scene);
}

static void followers_are_told_of_chosen_slots_by_the_next_accept_or_soon(void **state)
{
    (void)state;
    struct scene scene;
    open_led_scene(&scene, 3);
    drop_mail(&scene);
    uint64_t first = propose(&scene, 1, "first");
    deliver_all(&scene);
    assert_int_equal(mf_paxos_chosen(scene.core[1]), first);
    assert_int_equal(mf_paxos_chosen(scene.core[2]), first - 1);
    assert_int_equal(mf_paxos_next_tick_us(scene.core[1]), scene.now_us + 100);
    propose(&scene, 1, "second"); // tells of the first: nothing is due for its sake
    assert_int_equal(mf_paxos_next_tick_us(scene.core[1]), scene.now_us + RESEND_US);
    deliver_all(&scene);
    assert_int_equal(mf_paxos_chosen(scene.core[2]), first);
    assert_int_equal(mf_paxos_chosen(scene.core[1]), first + 1);
    tick_all(&scene, 100);
    assert_int_equal(count_mail(&scene, 1, MF_PAXOS_CHOSEN), 2);
    deliver_all(&scene);
    assert_int_equal(mf_paxos_chosen(scene.core[2]), first + 1);
    assert_int_equal(mf_paxos_chosen(scene.core[3]), first + 1);
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_proposer_gets_its_value_chosen),
        cmocka_unit_test(later_of_two_duelling_proposers_adopts_the_accepted_value),
        cmocka_unit_test(old_leader_cannot_get_anything_chosen_after_a_newer_one_was_promised),
        cmocka_unit_test(nothing_is_answered_before_it_is_durable),
        cmocka_unit_test(no_ballot_is_heard_of_before_its_owner_has_it_on_disk),
        cmocka_unit_test(leader_counts_itself_only_when_its_own_write_has_landed),
        cmocka_unit_test(followers_may_choose_without_the_leaders_disk),
        cmocka_unit_test(promise_survives_a_restart),
        cmocka_unit_test(holes_are_closed_with_no_ops_and_reported_values_are_kept),
        cmocka_unit_test(highest_ballot_wins_among_reported_values),
        cmocka_unit_test(laggard_learns_what_it_missed_before_it_leads),
        cmocka_unit_test(read_waits_for_a_majority_and_for_an_entry_of_the_leaders_own),
        cmocka_unit_test(deposed_leader_confirms_no_read),
        cmocka_unit_test(reads_share_a_round_only_if_it_starts_after_them),
        cmocka_unit_test(reads_under_way_end_when_the_group_shrinks_to_its_leader),
        cmocka_unit_test(leader_that_is_no_voter_any_more_confirms_no_read_by_itself),
        cmocka_unit_test(lost_messages_are_sent_again_until_all_agree),
        cmocka_unit_test(nobody_is_supported_by_a_promise_that_is_not_durable),
        cmocka_unit_test(suspected_leader_is_replaced_and_a_returning_one_follows),
        cmocka_unit_test(candidate_asks_again_over_a_new_link),
        cmocka_unit_test(candidate_asks_again_who_has_not_answered),
        cmocka_unit_test(former_leader_back_from_a_pause_is_not_followed_again),
        cmocka_unit_test(followers_are_told_of_chosen_slots_by_the_next_accept_or_soon),
        cmocka_unit_test(window_bounds_what_is_in_flight),
        cmocka_unit_test(node_too_far_behind_to_accept_follows_and_learns),
        cmocka_unit_test(clock_of_a_promise_is_aged_from_below),
        cmocka_unit_test(single_voter_leads_and_chooses_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
