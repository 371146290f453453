// A connection that tracks, as the files of CLIENT TRACKING see it: resp_tracking.c has what is
// watched and told, resp_track_ask.c the commands.
#ifndef MF_SERVER_RESP_TRACK_H
#define MF_SERVER_RESP_TRACK_H

#include <stdbool.h>
#include <stdint.h>

#include "server/resp_internal.h"
#include "server/resp_track_again.h"
#include "server/resp_track_own.h"
#include "server/resp_track_table.h"
#include "server/resp_track_to.h"

struct mf_resp_track_prefix;

struct mf_resp_track_options {
    bool broadcast;
    bool opt_in;
    bool opt_out;
    bool no_loop;                // its own changes are not told, where they are known to be
    struct mf_resp_track_to *to; // who is told; NULL: the connection itself
};

enum mf_resp_caching { MF_RESP_CACHING_UNSAID, MF_RESP_CACHING_YES, MF_RESP_CACHING_NO };

struct mf_resp_tracking {
    struct mf_resp_session *session;
    struct mf_resp_tracking *next; // of its reactor
    struct mf_resp_tracking **at;
    struct mf_resp_track_options options;
    enum mf_resp_caching caching; // of the next command
    struct mf_resp_reader reader; // what it has read, or with BCAST its prefixes
    bool settled;                 // reads are watched for it, or could not be
    struct mf_resp_track_prefix *prefixes;
    uint32_t prefix_count;
    size_t prefix_bytes;
    struct mf_resp_again again;
    struct mf_resp_own_changes *own; // with no_loop; else NULL
    uint64_t noting; // while keys are noted: how many calls there are with the one that reads them
    // A CLIENT TRACKING ON that waits for its watches.
    struct mf_resp_call *call;
    struct mf_resp_track_options wanted;
    bool fresh; // nothing was tracked before it
    enum mf_err err;
};

// Carries out a CLIENT TRACKING ON, and ends the call with its reply; held until then. Takes over
// wanted->to. prefixes: blobs.
void mf_resp_tracking_begin(struct mf_resp_session *session, struct mf_resp_call *call,
                            const struct mf_resp_track_options *wanted, struct mf_bytes prefixes);
// The next prefix, or with NULL the first; false: there are no more.
bool mf_resp_tracking_next_prefix(const struct mf_resp_tracking *tracking,
                                  const struct mf_resp_track_prefix **at, struct mf_bytes *text);

#endif
