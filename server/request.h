// A client's request while its shards work on it: split into one op a shard, joined into one reply.
//
// Lives on the reactor of the client's connection.
#ifndef MF_SERVER_REQUEST_H
#define MF_SERVER_REQUEST_H

#include <stdint.h>

#include "base/command.h"
#include "base/result.h"
#include "server/op.h"
#include "server/reactor.h"

// Called once with the joined result; views live during the call.
typedef void mf_request_done(void *arg, const struct mf_result *result);

// Answers a command of one key if that can be done at once, which is before this returns: a read of
// a shard that this node leads under a lease, whatever reactor owns it, and some writes of a shard
// of this reactor whose only copy is in memory here (server/replica_alone.c). Else false, and
// nothing has happened.
bool mf_request_answer(struct mf_reactor *reactor, const struct mf_command *command,
                       mf_request_done *done, void *arg);
// Starts a command; done may be called before this returns. The command's views may die afterwards.
void mf_request_start(struct mf_reactor *reactor, const struct mf_command *command,
                      mf_request_done *done, void *arg);
// About what the parts of a command take beside its own bytes while it is under way: little asks
// for something in every shard.
size_t mf_request_weight(const struct mf_reactor *reactor, const struct mf_command *command);
// The same as mf_request_start for a command that is meant for this one shard only.
void mf_request_start_on(struct mf_reactor *reactor, uint32_t shard,
                         const struct mf_command *command, mf_request_done *done, void *arg);
// The same two for what this node leads: nothing is passed on. Where another node leads, or nobody
// for as long as a request may wait, the result is MF_NOT_LEADER: nothing has happened, nor will
// it. Its integer is then the node that leads: this one while it hands the shard over, 0 where
// nobody is known. A command for all shards is carried out in those that this node leads.
void mf_request_start_here(struct mf_reactor *reactor, const struct mf_command *command,
                           mf_request_done *done, void *arg);
void mf_request_start_on_here(struct mf_reactor *reactor, uint32_t shard,
                              const struct mf_command *command, mf_request_done *done, void *arg);
// Frees what a reactor has kept, which is about to end.
void mf_request_free_spare(struct mf_reactor *reactor);
// From the router: one op has come back.
void mf_request_op_done(struct mf_reactor *reactor, struct mf_op *op);

#endif
