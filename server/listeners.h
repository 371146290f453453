// The ports of a reactor: who takes over what comes in on which. All on the reactor's thread, or
// while it does not run.
#ifndef MF_SERVER_LISTENERS_H
#define MF_SERVER_LISTENERS_H

#include "server/reactor.h"

// Takes over the sockets.
void mf_listeners_open(struct mf_reactor *reactor, const struct mf_reactor_sockets *sockets);
// Closes the ports of clients; connections stay, and so does the port of other nodes.
void mf_listeners_refuse_clients(struct mf_reactor *reactor);
void mf_listeners_close(struct mf_reactor *reactor);

#endif
