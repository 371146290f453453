// The end of a run: is the history of every key linearizable, and did every id work once?
#ifndef MF_SIM_HISTORY_H
#define MF_SIM_HISTORY_H

struct sim;

// Ends the run when it is not.
void sim_history_check(struct sim *sim);

#endif
