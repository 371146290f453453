// REDIRECT of CLIENT TRACKING: what one connection tracks another one of this node is told, perhaps
// on another reactor.
//
// What is to be told gathers where it is tracked while something is on its way; above a bound it
// becomes everything. So a target that is slow, or a reactor, costs memory that is bounded. A
// target that does not read is closed. One that cannot be told (it speaks RESP2 and has subscribed
// to nothing) is told that everything may have changed as soon as it can be.
//
// The reply to a read and the word of a change go by two connections: no order of what a client
// sees first can be promised. What is: the word is written to the target's connection, once more if
// need be, after the reply with the older value was written to its own, as far as that takes any.
#ifndef MF_SERVER_RESP_TRACK_TO_H
#define MF_SERVER_RESP_TRACK_TO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "server/resp_internal.h"

// A client with so much unsent does not read what it is told.
#define MF_RESP_TRACK_UNSENT_BYTES_MAX (12u << 20)

struct mf_resp_track_to;
// Looks for the connection with that id among all reactors' and takes hold of it. found is called
// later, on this reactor; NULL: there is none.
void mf_resp_track_to_find(struct mf_reactor *reactor, uint64_t id,
                           void (*found)(void *arg, struct mf_resp_track_to *to), void *arg);
// broken: called when the target has gone, and for each word that it would have been told then.
// Before this nobody hears of that, and nothing may be told.
void mf_resp_track_to_join(struct mf_resp_track_to *to, void (*broken)(void *arg), void *arg);
uint64_t mf_resp_track_to_id(const struct mf_resp_track_to *to);
bool mf_resp_track_to_is_broken(const struct mf_resp_track_to *to);
// key NULL: everything.
void mf_resp_track_to_tell(struct mf_reactor *reactor, struct mf_resp_track_to *to,
                           const struct mf_bytes *key);
// Frees it when what was to be told has been.
void mf_resp_track_to_end(struct mf_reactor *reactor, struct mf_resp_track_to *to);

// Appends the word of a key, or with NULL of everything, to the session's connection; true if it
// can be told, which it cannot in RESP2 without a subscription.
bool mf_resp_track_put(struct mf_resp_session *session, const struct mf_bytes *key);

#endif
