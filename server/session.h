// One client connection that speaks MessagePack-RPC.
#ifndef MF_SERVER_SESSION_H
#define MF_SERVER_SESSION_H

#include "server/reactor.h"

// Takes over a connection that came in on the RPC port; refuses it when there are too many.
void mf_session_accepted(struct mf_reactor *reactor, int fd);

// What the reactor keeps for requests to come, at its end.
void mf_session_free_spare(struct mf_reactor *reactor);

#endif
