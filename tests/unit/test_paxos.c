// The Paxos core in scenes: each test is a script of who says what to whom, and what must follow.
//
// A scene owns a few cores and a mailbox. Nothing is delivered, persisted or timed unless the
// script says so, which is what makes the classic cases readable.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/paxos.h"

#define NODES_MAX 5
#define MAIL_MAX 512
#define RESEND_US 1000
#define ELECTION_US 100000

struct disk {
    mf_ballot_t promise;
    uint64_t chosen;
    struct mf_wal_record accepts[64];
    uint8_t payloads[64][16];
    uint32_t accept_count;
};

struct scene {
    uint32_t nodes;
    struct mf_paxos *core[NODES_MAX + 1]; // by node id, from 1
    struct disk disk[NODES_MAX + 1];      // what has been persisted
    uint64_t unpersisted[NODES_MAX + 1];  // handed out, not yet reported durable
    struct mf_paxos_msg mail[MAIL_MAX];
    uint32_t mail_count;
    uint64_t confirmed[NODES_MAX + 1];
    uint64_t now_us;
};

static struct mf_paxos_env env_of(const struct scene *scene)
{
    return (struct mf_paxos_env){.now_us = scene->now_us, .random = 0};
}

static void boot(struct scene *scene, uint16_t node)
{
    struct mf_paxos_config config = {.group = 0,
                                     .self = node,
                                     .incarnation = 1,
                                     .members = {.voter_count = (uint8_t)scene->nodes},
                                     .election_us = ELECTION_US,
                                     .first_election_us = ELECTION_US,
                                     .resend_us = RESEND_US,
                                     .chosen_delay_us = 100,
                                     .window_entries = 8,
                                     .window_bytes = 1000,
                                     .learn_bytes = 1000};
    for (uint16_t i = 0; i < scene->nodes; i++)
        config.members.voters[i] = (struct mf_acceptor){(uint16_t)(i + 1), 1};
    scene->core[node] = mf_paxos_new(&config, 1, scene->now_us);
    const struct disk *disk = &scene->disk[node];
    mf_paxos_restore_promise(scene->core[node], disk->promise);
    for (uint32_t i = 0; i < disk->accept_count; i++)
        mf_paxos_restore_accept(scene->core[node], disk->accepts[i].slot, disk->accepts[i].ballot,
                                disk->accepts[i].log_time_us, MF_ENTRY_COMMANDS,
                                disk->accepts[i].payload);
    mf_paxos_restore_chosen(scene->core[node], disk->chosen);
    mf_paxos_restore_done(scene->core[node]);
    scene->unpersisted[node] = 0;
    scene->confirmed[node] = 0;
}

static void open_scene(struct scene *scene, uint32_t nodes)
{
    memset(scene, 0, sizeof(*scene));
    scene->nodes = nodes;
    scene->now_us = 1000000;
    for (uint16_t node = 1; node <= nodes; node++)
        boot(scene, node);
}

static void drop_mail(struct scene *scene)
{
    for (uint32_t i = 0; i < scene->mail_count; i++)
        mf_paxos_msg_free(&scene->mail[i]);
    scene->mail_count = 0;
}

static void close_scene(struct scene *scene)
{
    drop_mail(scene);
    for (uint16_t node = 1; node <= scene->nodes; node++)
        mf_paxos_free(scene->core[node]);
}

static void write_record(struct disk *disk, const struct mf_wal_record *record)
{
    if (record->ballot > disk->promise)
        disk->promise = record->ballot;
    if (record->type != MF_WAL_ACCEPT)
        return;
    assert_true(disk->accept_count < 64 && record->payload.len <= 16);
    uint32_t i = disk->accept_count++;
    disk->accepts[i] = *record;
    if (record->payload.len > 0)
        memcpy(disk->payloads[i], record->payload.data, record->payload.len);
    disk->accepts[i].payload = mf_bytes_of(disk->payloads[i], record->payload.len);
}

// Takes what a core gives out. Its records reach the disk only if `persist` says so; otherwise they
// are lost with the next crash, and nothing that depends on them may come out.
static void take(struct scene *scene, uint16_t node, bool persist)
{
    struct mf_paxos *core = scene->core[node];
    while (mf_paxos_has_update(core)) {
        const struct mf_paxos_update *update = mf_paxos_update_take(core);
        for (uint32_t i = 0; i < update->msg_count; i++) {
            struct mf_buf bytes = {0};
            mf_paxos_msg_encode(&update->msgs[i], &bytes);
            struct mf_reader reader = mf_reader_of(mf_buf_view(&bytes));
            struct mf_paxos_msg *copy = &scene->mail[scene->mail_count++];
            assert_true(scene->mail_count < MAIL_MAX);
            assert_int_equal(mf_paxos_msg_decode(&reader, copy), MF_OK);
            copy->from = node;
            copy->to = update->msgs[i].to;
            mf_buf_free(&bytes);
        }
        for (uint32_t i = 0; i < update->record_count && persist; i++)
            write_record(&scene->disk[node], &update->records[i]);
        uint64_t seq = update->persist_seq;
        scene->confirmed[node] = update->reads_confirmed;
        mf_paxos_update_done(core);
        if (seq == 0)
            continue;
        scene->unpersisted[node] = seq;
        if (persist) {
            struct mf_paxos_env env = env_of(scene);
            mf_paxos_persisted(core, &env, seq);
            scene->unpersisted[node] = 0;
        }
    }
}

// Delivers the mail that is there now, from `from` to `to` (0 = any), of one type (0 = any), in
// order. What the receivers say waits for the next call. Returns how many were delivered.
static uint32_t deliver(struct scene *scene, uint16_t from, uint16_t to, int type)
{
    uint32_t count = scene->mail_count;
    uint32_t delivered = 0;
    struct mf_paxos_msg *mail = calloc(count + 1, sizeof(*mail));
    memcpy(mail, scene->mail, count * sizeof(*mail));
    scene->mail_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool match = (from == 0 || mail[i].from == from) && (to == 0 || mail[i].to == to) &&
                     (type == 0 || (int)mail[i].type == type);
        if (!match) {
            scene->mail[scene->mail_count++] = mail[i];
            continue;
        }
        struct mf_paxos_env env = env_of(scene);
        mf_paxos_receive(scene->core[mail[i].to], &env, &mail[i]);
        take(scene, mail[i].to, true);
        mf_paxos_msg_free(&mail[i]);
        delivered++;
    }
    free(mail);
    return delivered;
}

static void deliver_all(struct scene *scene)
{
    while (deliver(scene, 0, 0, 0) > 0)
        continue;
}

static uint32_t count_mail(const struct scene *scene, uint16_t from, int type)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < scene->mail_count; i++)
        count += scene->mail[i].from == from && (int)scene->mail[i].type == type;
    return count;
}

// Takes the questions for votes out of the mail, and returns the ballot that they were about.
static mf_ballot_t take_questions(struct scene *scene, uint16_t node)
{
    mf_ballot_t ballot = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < scene->mail_count; i++) {
        bool question = scene->mail[i].from == node && scene->mail[i].type == MF_PAXOS_ASK_VOTE;
        if (question)
            ballot = scene->mail[i].ballot;
        else
            scene->mail[kept++] = scene->mail[i];
    }
    scene->mail_count = kept;
    return ballot;
}

static void vote_for(struct scene *scene, uint16_t node, bool persist)
{
    mf_ballot_t ballot = take_questions(scene, node);
    struct mf_paxos_env env = env_of(scene);
    for (uint16_t voter = 1; voter <= scene->nodes && ballot != 0; voter++) {
        struct mf_paxos_msg vote = {.type = MF_PAXOS_VOTE,
                                    .from = voter,
                                    .to = node,
                                    .incarnation = 1,
                                    .ballot = ballot,
                                    .last = 1};
        if (voter != node)
            mf_paxos_receive(scene->core[node], &env, &vote);
    }
    take(scene, node, persist);
}

// Everybody votes for the candidate, whatever they think of it: what follows is up to promises.
static void campaign(struct scene *scene, uint16_t node)
{
    struct mf_paxos_env env = env_of(scene);
    mf_paxos_campaign(scene->core[node], &env);
    take(scene, node, true);
    vote_for(scene, node, true);
}

static void tick_all(struct scene *scene, uint64_t later_us)
{
    scene->now_us += later_us;
    struct mf_paxos_env env = env_of(scene);
    for (uint16_t node = 1; node <= scene->nodes; node++) {
        mf_paxos_tick(scene->core[node], &env);
        take(scene, node, true);
    }
}

static uint64_t propose(struct scene *scene, uint16_t node, const char *value)
{
    struct mf_paxos_env env = env_of(scene);
    uint64_t slot = 0;
    uint64_t log_us = mf_paxos_last_log_time(scene->core[node]) + 1;
    assert_int_equal(mf_paxos_propose(scene->core[node], &env, log_us, mf_bytes_str(value), &slot),
                     MF_OK);
    take(scene, node, true);
    return slot;
}

static void crash(struct scene *scene, uint16_t node)
{
    mf_paxos_free(scene->core[node]);
    boot(scene, node);
}

static void assert_value(const struct scene *scene, uint16_t node, uint64_t slot, const char *value)
{
    assert_true(mf_paxos_chosen(scene->core[node]) >= slot);
    const struct mf_log_entry *entry = mf_paxos_entry(scene->core[node], slot);
    assert_non_null(entry);
    assert_true(mf_bytes_equal(mf_payload_bytes(entry->payload), mf_bytes_str(value)));
}

static void drop_mail_to(struct scene *scene, uint16_t node)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < scene->mail_count; i++) {
        if (scene->mail[i].to == node)
            mf_paxos_msg_free(&scene->mail[i]);
        else
            scene->mail[kept++] = scene->mail[i];
    }
    scene->mail_count = kept;
}

// Delivers until nobody has anything more to say.
static void reconfigure(struct scene *scene, uint16_t node, struct mf_members members,
                        enum mf_err expected)
{
    struct mf_paxos_env env = env_of(scene);
    const char *why;
    uint64_t log_us = mf_paxos_last_log_time(scene->core[node]) + 1;
    assert_int_equal(mf_paxos_reconfigure(scene->core[node], &env, log_us, members, &why),
                     expected);
    assert_true((why != NULL) == (expected == MF_BAD_REQUEST));
    take(scene, node, true);
    for (int i = 0; i < 3; i++) {
        deliver_all(scene);
        tick_all(scene, RESEND_US);
    }
    deliver_all(scene);
}

// Node 1 leads, and its first entry is chosen everywhere.
static void open_led_scene(struct scene *scene, uint32_t nodes)
{
    open_scene(scene, nodes);
    campaign(scene, 1);
    deliver_all(scene);
    assert_int_equal(mf_paxos_role(scene->core[1]), MF_LEADER);
    propose(scene, 1, "first");
    deliver_all(scene);
    tick_all(scene, RESEND_US);
    deliver_all(scene);
}

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
    crash(&scene, 1);
    scene.disk[1].chosen = 0;
    tick_all(&scene, ELECTION_US);
    propose(&scene, 1, "more");
    assert_value(&scene, 1, 1, "alone");
    assert_value(&scene, 1, 2, "more");
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
        cmocka_unit_test(lost_messages_are_sent_again_until_all_agree),
        cmocka_unit_test(suspected_leader_is_replaced_and_a_returning_one_follows),
        cmocka_unit_test(candidate_asks_again_over_a_new_link),
        cmocka_unit_test(former_leader_back_from_a_pause_is_not_followed_again),
        cmocka_unit_test(window_bounds_what_is_in_flight),
        cmocka_unit_test(node_of_another_incarnation_learns_but_never_counts),
        cmocka_unit_test(configuration_holds_later_slots_back_until_it_is_chosen),
        cmocka_unit_test(change_that_would_strand_the_group_is_refused),
        cmocka_unit_test(new_configuration_has_to_promise_before_its_slots_are_used),
        cmocka_unit_test(heir_takes_over_without_a_vote_and_the_old_leader_acts_no_more),
        cmocka_unit_test(bound_acceptor_promises_only_whom_its_leader_named),
        cmocka_unit_test(nobody_votes_while_it_hears_a_leader),
        cmocka_unit_test(snapshot_stands_in_for_the_log),
        cmocka_unit_test(node_too_far_behind_to_accept_follows_and_learns),
        cmocka_unit_test(clock_of_a_promise_is_aged_from_below),
        cmocka_unit_test(single_voter_leads_and_chooses_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
