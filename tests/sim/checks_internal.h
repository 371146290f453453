// What the files of the checks share. Not for anybody else.
#ifndef MF_SIM_CHECKS_INTERNAL_H
#define MF_SIM_CHECKS_INTERNAL_H

#include "checks.h"
#include "consensus/entry_log.h"

struct sim_group_checks *sim_checks_group(struct sim *sim, uint32_t group);
// Made if it is new.
struct sim_slot *sim_checks_slot(struct sim_group_checks *checks, uint64_t slot);
// The vote for this value at this ballot, made if it is new. A ballot with two values is broken.
// *is_new: nobody has proposed the value in this slot at any ballot.
struct sim_vote *sim_checks_vote_for(struct sim *sim, uint32_t group, uint64_t slot,
                                     mf_ballot_t ballot, uint64_t value, bool *is_new);
// What stands for an entry: its payload, its kind, its log time.
uint64_t sim_checks_value(const struct mf_payload *payload, uint64_t log_time_us);

#endif
