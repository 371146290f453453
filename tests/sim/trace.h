// The story of a run, one line an event, and the end of a run that broke an invariant.
#ifndef MF_SIM_TRACE_H
#define MF_SIM_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "consensus/ballot.h"
#include "consensus/members.h"
#include "consensus/paxos_msg.h"
#include "consensus/wal_format.h"

struct sim;
struct sim_request;

// Long enough for any of the texts below.
#define SIM_TEXT_MAX 256

// A line of the story when --trace asks for it; node 0 is the world around the nodes. A macro, so
// that nothing is turned into text when nobody reads it: its arguments must have no side effects.
#define sim_trace(sim, node, ...)                                                                  \
    do {                                                                                           \
        if ((sim)->tracing)                                                                        \
            sim_tell(sim, node, __VA_ARGS__);                                                      \
    } while (0)
void sim_tell(const struct sim *sim, uint16_t node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// The run has broken `rule`: reports seed, time, what happened and the command that replays it, and
// ends the process with status 1.
void sim_fail(const struct sim *sim, const char *rule, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));

// The command that runs it again, without --trace.
void sim_replay_text(const struct sim_request *request, char *out, size_t size);

// "7.2": round 7 of node 2.
const char *sim_ballot_text(mf_ballot_t ballot, char *out, size_t size);
const char *sim_message_text(const struct mf_paxos_msg *msg, char *out, size_t size);
const char *sim_members_text(const struct mf_members *members, char *out, size_t size);
const char *sim_record_text(const struct mf_wal_record *record, char *out, size_t size);

#endif
