// A few Paxos cores and a mailbox for tests that are scripts. Nothing is delivered, persisted or
// timed unless the script says so, which is what makes the classic cases readable.
#ifndef MF_TESTS_PAXOS_SCENE_H
#define MF_TESTS_PAXOS_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/paxos.h"

#define NODES_MAX 7
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

static inline struct mf_paxos_env env_of(const struct scene *scene)
{
    return (struct mf_paxos_env){.now_us = scene->now_us, .random = 0};
}

static inline void boot(struct scene *scene, uint16_t node)
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

static inline void open_scene(struct scene *scene, uint32_t nodes)
{
    memset(scene, 0, sizeof(*scene));
    scene->nodes = nodes;
    scene->now_us = 1000000;
    for (uint16_t node = 1; node <= nodes; node++)
        boot(scene, node);
}

static inline void drop_mail(struct scene *scene)
{
    for (uint32_t i = 0; i < scene->mail_count; i++)
        mf_paxos_msg_free(&scene->mail[i]);
    scene->mail_count = 0;
}

static inline void close_scene(struct scene *scene)
{
    drop_mail(scene);
    for (uint16_t node = 1; node <= scene->nodes; node++)
        mf_paxos_free(scene->core[node]);
}

static inline void write_record(struct disk *disk, const struct mf_wal_record *record)
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
static inline void take(struct scene *scene, uint16_t node, bool persist)
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
static inline uint32_t deliver(struct scene *scene, uint16_t from, uint16_t to, int type)
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

static inline void deliver_all(struct scene *scene)
{
    while (deliver(scene, 0, 0, 0) > 0)
        continue;
}

static inline uint32_t count_mail(const struct scene *scene, uint16_t from, int type)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < scene->mail_count; i++)
        count += scene->mail[i].from == from && (int)scene->mail[i].type == type;
    return count;
}

// Takes the questions for votes out of the mail, and returns the ballot that they were about.
static inline mf_ballot_t take_questions(struct scene *scene, uint16_t node)
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

static inline void vote_for(struct scene *scene, uint16_t node, bool persist)
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
static inline void campaign(struct scene *scene, uint16_t node)
{
    struct mf_paxos_env env = env_of(scene);
    mf_paxos_campaign(scene->core[node], &env);
    take(scene, node, true);
    vote_for(scene, node, true);
}

static inline void tick_all(struct scene *scene, uint64_t later_us)
{
    scene->now_us += later_us;
    struct mf_paxos_env env = env_of(scene);
    for (uint16_t node = 1; node <= scene->nodes; node++) {
        mf_paxos_tick(scene->core[node], &env);
        take(scene, node, true);
    }
}

static inline uint64_t propose(struct scene *scene, uint16_t node, const char *value)
{
    struct mf_paxos_env env = env_of(scene);
    uint64_t slot = 0;
    uint64_t log_us = mf_paxos_last_log_time(scene->core[node]) + 1;
    assert_int_equal(mf_paxos_propose(scene->core[node], &env, log_us, mf_bytes_str(value), &slot),
                     MF_OK);
    take(scene, node, true);
    return slot;
}

static inline void crash(struct scene *scene, uint16_t node)
{
    mf_paxos_free(scene->core[node]);
    boot(scene, node);
}

static inline void assert_value(const struct scene *scene, uint16_t node, uint64_t slot,
                                const char *value)
{
    assert_true(mf_paxos_chosen(scene->core[node]) >= slot);
    const struct mf_log_entry *entry = mf_paxos_entry(scene->core[node], slot);
    assert_non_null(entry);
    assert_true(mf_bytes_equal(mf_payload_bytes(entry->payload), mf_bytes_str(value)));
}

static inline void drop_mail_to(struct scene *scene, uint16_t node)
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
static inline void reconfigure(struct scene *scene, uint16_t node, struct mf_members members,
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
static inline void open_led_scene(struct scene *scene, uint32_t nodes)
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

#endif
