// What a failing seed needs to fail: everything else is left out.
#ifndef MF_SIM_MINIMISE_H
#define MF_SIM_MINIMISE_H

#include "world.h"

// Runs the seed again and again, each time without one more kind of fault or with half of its
// storm or operations, and keeps what still breaks the same rule. Prints the command that shows it.
// Returns the process's exit status: 1 when the seed fails, 0 when it passes.
int sim_minimise(struct sim_request request);

#endif
