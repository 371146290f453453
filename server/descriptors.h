// How many file descriptors there are, and how many of them clients may have.
//
// The log, checkpoints and links to other nodes need some at any time. So clients are refused while
// there are still enough for these: a crowd at the door costs the crowd, and not the node its log.
#ifndef MF_SERVER_DESCRIPTORS_H
#define MF_SERVER_DESCRIPTORS_H

#include "server/node.h"

// Raises the process's limit as far as it goes, sets node->clients_allowed, and lowers
// node->settings.clients_max to it, with a line in the log, where that is not enough. Before the
// reactors run.
void mf_descriptors_share(struct mf_node *node);

#endif
