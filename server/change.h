// The operator's add_node and remove_node: changes of the roster, and waiting until what they wish
// for is so. See roster.h for what a change is, placer.h for who carries it out.
//
// Whoever is asked makes the successor of the roster, has it put into the log, and then watches.
// Nothing depends on the watcher: a change that is in the log is carried out without it, and to ask
// for it again is to watch again.
//
// Everything runs on the thread of the reactor that was asked.
#ifndef MF_SERVER_CHANGE_H
#define MF_SERVER_CHANGE_H

#include "server/admin.h"

struct mf_changes;
struct mf_changes *mf_changes_new(struct mf_reactor *reactor);
void mf_changes_free(struct mf_changes *changes); // who still waits gets MF_SHUTTING_DOWN

// True when the node is a member everywhere, is up, and every shard is at its places.
// MF_BAD_REQUEST for an id or address that is none or is taken; MF_NO_QUORUM when nothing has
// happened, MF_TIMEOUT when the node is a member and it is not done: it cannot be reached, or
// nothing goes on any more.
void mf_change_add(struct mf_reactor *reactor, uint32_t id, struct mf_bytes address,
                   mf_admin_done *done, void *arg);
// True when the node is no member any more and holds nothing, or is down. MF_BAD_REQUEST for a node
// that there is not, or when fewer would be left than a shard has copies; MF_NO_QUORUM when nothing
// has happened, also because a shard would be left without a majority that is up; MF_TIMEOUT when
// it is leaving and nothing goes on any more.
void mf_change_remove(struct mf_reactor *reactor, uint32_t id, mf_admin_done *done, void *arg);

// Every few tens of milliseconds.
void mf_changes_tick(struct mf_reactor *reactor);

#endif
