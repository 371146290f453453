// Telling the story; see trace.h.
#include "trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "world.h"

#define REPORT_MAX 4096

void sim_tell(const struct sim *sim, uint16_t node, const char *format, ...)
{
    double seconds = (double)(sim->now_us - SIM_START_US) / 1e6;
    if (node == 0)
        printf("%11.6f  world   ", seconds);
    else
        printf("%11.6f  node %u  ", seconds, (unsigned)node);
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

void sim_replay_text(const struct sim_request *request, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "%s --seed %llu", request->program,
                                   (unsigned long long)request->seed);
    const struct sim_limits *limits = &request->limits;
    for (uint32_t i = 0; sim_aspect_name(i) != NULL && used < size; i++) {
        bool first = (limits->without & ((UINT64_C(1) << i) - 1)) == 0;
        if ((limits->without >> i & 1) != 0)
            used += (size_t)snprintf(out + used, size - used, "%s%s", first ? " --without " : ",",
                                     sim_aspect_name(i));
    }
    if (limits->power_loss && used < size)
        used += (size_t)snprintf(out + used, size - used, " --power-loss");
    if (limits->lose != 0 && used < size)
        used +=
            (size_t)snprintf(out + used, size - used, " --lose %s", sim_ways_name(limits->lose));
    if (limits->storm_us != 0 && used < size)
        used += (size_t)snprintf(out + used, size - used, " --storm-ms %llu",
                                 (unsigned long long)limits->storm_us / 1000);
    if (limits->ops != 0 && used < size)
        snprintf(out + used, size - used, " --ops %llu", (unsigned long long)limits->ops);
}

// One write for the whole report: other jobs may be reporting as well.
void sim_fail(const struct sim *sim, const char *rule, const char *format, ...)
{
    char what[REPORT_MAX / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    char replay[REPORT_MAX / 4];
    sim_replay_text(sim->request, replay, sizeof(replay));
    char report[REPORT_MAX];
    int len = snprintf(report, sizeof(report),
                       "seed %llu broke a rule after %.6f simulated seconds\n"
                       "  rule: %s\n"
                       "  seen: %s\n"
                       "  replay: %s --trace\n",
                       (unsigned long long)sim->plan.seed,
                       (double)(sim->now_us - SIM_START_US) / 1e6, rule, what, replay);
    fflush(stdout);
    if (len > 0 && write(STDOUT_FILENO, report, (size_t)len) < 0)
        _exit(3);
    _exit(1);
}

const char *sim_ballot_text(mf_ballot_t ballot, char *out, size_t size)
{
    snprintf(out, size, "%llu.%u", (unsigned long long)mf_ballot_round(ballot),
             (unsigned)mf_ballot_node(ballot));
    return out;
}

static void entries_text(const struct mf_paxos_msg *msg, char *out, size_t size)
{
    if (msg->entry_count == 0) {
        snprintf(out, size, "nothing");
        return;
    }
    char ballot[32];
    const struct mf_paxos_entry *first = &msg->entries[0];
    snprintf(out, size, "slots %llu to %llu (the first accepted at %s, log time %llu)",
             (unsigned long long)first->slot,
             (unsigned long long)msg->entries[msg->entry_count - 1].slot,
             sim_ballot_text(first->ballot, ballot, sizeof(ballot)),
             (unsigned long long)first->log_time_us);
}

const char *sim_message_text(const struct mf_paxos_msg *msg, char *out, size_t size)
{
    char ballot[32];
    char entries[128];
    sim_ballot_text(msg->ballot, ballot, sizeof(ballot));
    entries_text(msg, entries, sizeof(entries));
    unsigned long long slot = msg->slot;
    unsigned long long chosen = msg->chosen;
    const char *name = mf_paxos_type_name(msg->type);
    switch (msg->type) {
    case MF_PAXOS_PREPARE:
        snprintf(out, size, "%s %s from slot %llu on", name, ballot, slot);
        break;
    case MF_PAXOS_PROMISE:
        snprintf(out, size, "%s %s, reporting %s, chosen up to %llu", name, ballot, entries,
                 chosen);
        break;
    case MF_PAXOS_ACCEPT:
    case MF_PAXOS_LEARNED:
        snprintf(out, size, "%s %s with %s, chosen up to %llu", name, ballot, entries, chosen);
        break;
    case MF_PAXOS_ACCEPTED:
        snprintf(out, size, "%s %s for slots %llu to %llu, chosen up to %llu", name, ballot, slot,
                 (unsigned long long)msg->last, chosen);
        break;
    case MF_PAXOS_CHOSEN:
        snprintf(out, size, "%s %s up to %llu", name, ballot, chosen);
        break;
    case MF_PAXOS_LEARN:
        snprintf(out, size, "%s from slot %llu on", name, slot);
        break;
    case MF_PAXOS_READ_PROBE:
    case MF_PAXOS_READ_ACK:
        snprintf(out, size, "%s %s, round %llu", name, ballot, (unsigned long long)msg->read_seq);
        break;
    case MF_PAXOS_REJECT:
        snprintf(out, size, "%s, having promised %s", name, ballot);
        break;
    case MF_PAXOS_ASK_VOTE:
        snprintf(out, size, "%s for %s, chosen up to %llu", name, ballot, chosen);
        break;
    case MF_PAXOS_VOTE:
        snprintf(out, size, "%s %s for %s", name, msg->last != 0 ? "yes" : "no", ballot);
        break;
    case MF_PAXOS_ASK_RELEASE:
    case MF_PAXOS_RELEASE:
        snprintf(out, size, "%s of %s, question %llu", name, ballot,
                 (unsigned long long)msg->read_seq);
        break;
    case MF_PAXOS_TRANSFER:
        snprintf(out, size, "%s of %s, chosen up to %llu", name, ballot, chosen);
        break;
    }
    return out;
}

const char *sim_record_text(const struct mf_wal_record *record, char *out, size_t size)
{
    char ballot[32];
    sim_ballot_text(record->ballot, ballot, sizeof(ballot));
    switch (record->type) {
    case MF_WAL_PROMISE:
        snprintf(out, size, "promises %s", ballot);
        break;
    case MF_WAL_ACCEPT:
    case MF_WAL_MEMBERS:
        snprintf(out, size, "accepts %zu bytes in slot %llu at %s, log time %llu",
                 record->payload.len, (unsigned long long)record->slot, ballot,
                 (unsigned long long)record->log_time_us);
        break;
    case MF_WAL_MARK:
        snprintf(out, size, "notes log time %llu, chosen up to %llu",
                 (unsigned long long)record->log_time_us, (unsigned long long)record->slot);
        break;
    }
    return out;
}

const char *sim_members_text(const struct mf_members *members, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "voters");
    for (uint8_t i = 0; i < members->voter_count && used < size; i++)
        used +=
            (size_t)snprintf(out + used, size - used, " %u.%llu", (unsigned)members->voters[i].node,
                             (unsigned long long)members->voters[i].incarnation);
    for (uint8_t i = 0; i < members->learner_count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s %u.%llu", i == 0 ? ", learners" : "",
                                 (unsigned)members->learners[i].node,
                                 (unsigned long long)members->learners[i].incarnation);
    return out;
}
