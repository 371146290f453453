// The ports of a reactor: who takes over what comes in on which. All on the reactor's thread, or
// while it does not run.
#ifndef MF_SERVER_LISTENERS_H
#define MF_SERVER_LISTENERS_H

#include "server/reactor.h"

// Takes over the sockets.
void mf_listeners_open(struct mf_reactor *reactor, const struct mf_reactor_sockets *sockets);
// Closes the ports of clients; connections stay, and so does the port of other nodes.
void mf_listeners_refuse_clients(struct mf_reactor *reactor);
// The reactor's thread has stood still for so long: closes all connections and what waits to be
// accepted. Nobody waits any more for what is unread in them, and a write that was sent again
// elsewhere under its id would have its effect twice once that id is forgotten.
#define MF_STOOD_STILL_US UINT64_C(30000000)
void mf_listeners_stood_still(struct mf_reactor *reactor, uint64_t still_us);
void mf_listeners_close(struct mf_reactor *reactor);

#endif
