// What the files of the reactor share: reactor.c (its thread, what crosses to it, its life) and
// turn.c (one round of its loop). Not for anybody else.
#ifndef MF_SERVER_REACTOR_INTERNAL_H
#define MF_SERVER_REACTOR_INTERNAL_H

#include "server/reactor.h"

// reactor.c
// Runs what this reactor has sent to itself.
void mf_reactor_run_own_tasks(struct mf_reactor *reactor);
// Hands over what it has sent to others, and wakes them. False: a chain that does not fit stays for
// the next turn, which the timer brings soon.
bool mf_reactor_send_chains(struct mf_reactor *reactor);

// turn.c
// Puts the turn on the loop, once the connections' pools are there.
void mf_turn_init(struct mf_reactor *reactor);

#endif
