// What the files of the Redis door share: a session, its requests under way, and how they are
// answered. Private to server/resp_*.c.
#ifndef MF_SERVER_RESP_INTERNAL_H
#define MF_SERVER_RESP_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rpc/resp_command.h"
#include "server/client.h"
#include "server/request.h"
#include "server/resp_session.h"
#include "server/resp_stats.h"

// Keys of one connection that are under way are told apart by so many classes of their slots.
#define MF_RESP_CLASSES 128u

// Of the Redis that clients are told to talk to.
#define MF_RESP_REDIS_VERSION "7.0.15"

// A user with a longer name is told as "?" by CLIENT LIST.
#define MF_RESP_USER_BYTES_MAX 64u

// What a request that is under way does, and to which keys.
enum mf_resp_access { MF_RESP_NO_ACCESS, MF_RESP_READS, MF_RESP_WRITES, MF_RESP_ACCESSES };
struct mf_resp_touch {
    enum mf_resp_access access;
    bool many; // any keys, or those of one class
    uint16_t class;
};

// A channel or a pattern that a connection listens to, among all of its reactor.
#define MF_RESP_SUBSCRIPTIONS_MAX 1024u             // of a connection
#define MF_RESP_CHANNEL_BYTES_MAX (64u * 1024 + 15) // "__keyspace@0__:" and a key
struct mf_resp_name {
    struct mf_resp_name *next;
    struct mf_resp_name **at; // what points to it
    struct mf_buf text;
    struct mf_glob *glob; // of a pattern; else NULL
};
// The slot of a request's keys, on the Redis Cluster port, or one of these.
#define MF_RESP_NO_SLOT (-1)
#define MF_RESP_MANY_SLOTS (-2)

enum mf_resp_replies { MF_RESP_SENT, MF_RESP_OFF, MF_RESP_SKIP_NEXT, MF_RESP_SKIPPED };

// How a request has ended, for the statistics.
enum mf_resp_outcome {
    MF_RESP_FINE,
    MF_RESP_FAILED,
    MF_RESP_REFUSED, // before anything was done
    MF_RESP_KEPT,    // for EXEC, which will count it
};

// A request whose reply has not been sent.
#define MF_RESP_KEEP_WORDS_BYTES 256u
struct mf_resp_call {
    struct mf_resp_call *next; // that came after it; or in the list of free ones
    struct mf_resp_session *session;
    struct mf_resp_telling telling;
    struct mf_resp_touch touch;
    enum mf_opcode op;  // of a data command
    uint32_t own_write; // for CLIENT TRACKING with NOLOOP; 0: none
    uint64_t began_us;
    int32_t slot;
    size_t bytes;
    bool done;           // and its reply is kept
    bool silent;         // nobody wants the reply
    struct mf_buf reply; // while others have to be sent before it
    struct mf_buf words; // what SLOWLOG may have to tell of it; empty = nothing
    bool raw;            // they are the request as it came
};

struct mf_resp_listener;
struct mf_resp_multi;
struct mf_resp_sleep;
struct mf_resp_tracking;
struct mf_resp_trackers;
struct mf_resp_track_to;
struct mf_resp_pause;
struct mf_resp_session {
    struct mf_client client;
    struct mf_resp_session *prev; // of its reactor
    struct mf_resp_session *next;
    struct mf_resp_request request;
    size_t request_bytes;
    uint32_t looked_at;     // requests, from this one on, that have been looked at: see ahead.h
    const uint8_t *raw;     // the request as it came, while it is carried out
    struct mf_resp_ask ask; // the request as it is understood
    bool cluster;           // it came in on the Redis Cluster port: resp_redirect.c
    int32_t slot;           // of the request
    struct mf_resp_call *first;
    struct mf_resp_call *last;
    uint64_t calls_begun;
    uint64_t calls_sent; // of them, with their replies
    uint16_t under_way[MF_RESP_ACCESSES][MF_RESP_CLASSES];
    uint32_t under_way_many[MF_RESP_ACCESSES];
    uint32_t under_way_all[MF_RESP_ACCESSES]; // of many keys or one
    struct mf_buf *capture;                   // not NULL: replies go here
    struct mf_buf unwanted;                   // where replies go that nobody wants
    size_t reply_at;                          // where the one that is being written began
    uint8_t version;                          // of the protocol
    enum mf_resp_replies replies;
    uint64_t id;
    int fd; // for CLIENT LIST only
    char local[80];
    char *name; // "" or what CLIENT SETNAME and SETINFO said
    char *lib_name;
    char *lib_version;
    char *user;
    struct mf_resp_call *map_call;        // waits for leaders; NULL: none does
    struct mf_resp_session *map_next;     // of those whose call waits
    uint64_t map_until_us;                // at the latest
    bool monitoring;                      // MONITOR was asked for ...
    struct mf_resp_session *next_monitor; // ... here and by this one
    bool walking;                         // a KEYS, PUBSUB or the like is under way, one at a time
    struct mf_resp_multi *multi;          // NULL: no MULTI, and nothing watched
    struct mf_resp_listener *listener;    // NULL: nothing subscribed
    struct mf_resp_tracking *tracking;    // NULL: nothing tracked
    struct mf_resp_track_to *told_by;     // by whom it is told what they track
    size_t words_bytes;          // told by its tracking since it had read nearly all there was
    bool missed_words;           // of them, since it could not be told
    struct mf_resp_sleep *sleep; // a DEBUG SLEEP is under way
    struct mf_resp_pause *pause; // the request at the front waits for a pause to end
    bool held;                   // a call has to end before any other request is looked at
    bool waits;                  // the request at the front has to wait while it touches this
    struct mf_resp_touch waits_for;
    uint64_t began_us;
    uint64_t asked_us;
    const struct mf_resp_row *asked; // last; NULL: nothing yet
    enum mf_resp_outcome outcome;    // of the request, as far as it was answered at once
    bool later;                      // it is answered by a call ...
    uint64_t ended_us;               // when its reply was there, if somebody has read the clock
    struct mf_resp_call *fresh;      // ... this one, until it ends or the next request begins
};

// A walk over the connections of a reactor, of several turns.
struct mf_resp_look {
    struct mf_resp_session *session; // the next; NULL: there are no more
    struct mf_resp_look *next;
};

struct mf_resp_names;
struct mf_resp_door {
    struct mf_resp_session *sessions;
    struct mf_resp_look *looks;
    uint32_t looks_left;         // in the turn ...
    unsigned look_turn;          // ... of this number
    struct mf_resp_names *names; // that are listened to; NULL before the first
    struct mf_resp_pause *pauses;
    struct mf_resp_trackers *trackers; // NULL before the first
    struct mf_resp_session *monitors;
    _Atomic uint32_t monitor_count; // read by all reactors
    _Atomic size_t monitor_bytes;   // of lines on their way to them ...
    _Atomic bool monitor_missed;    // ... of which one was not sent: they are to be closed
    struct mf_resp_call *free;
    uint32_t free_count;
    struct mf_resp_stats *stats;
    uint64_t now_us;   // the clock as last read for a request ...
    uint32_t unread;   // ... and how many were sent off or came back since
    uint64_t ended_in; // which flush of a shard it was read in, if in one
    struct mf_resp_session *map_waits;
};

// The request of the session as it is understood, word by word.
static inline struct mf_bytes mf_resp_word(const struct mf_resp_session *session, uint32_t at)
{
    return session->ask.words[at];
}
static inline uint32_t mf_resp_words(const struct mf_resp_session *session)
{
    return session->ask.count;
}

// Answering at once: the reply is appended to what begin returns.
struct mf_buf *mf_resp_reply_begin(struct mf_resp_session *session);
void mf_resp_reply_end(struct mf_resp_session *session);
void mf_resp_reply_ok(struct mf_resp_session *session);
void mf_resp_reply_error(struct mf_resp_session *session, const char *text);
// The subcommand is none of the container's, or has too many words for what it is.
void mf_resp_reply_misused(struct mf_resp_session *session, const char *container);

// Answering later.
struct mf_resp_call *mf_resp_call_begin(struct mf_resp_session *session, enum mf_resp_form form,
                                        struct mf_resp_touch touch);
// Where its reply is appended to, all of it between this and the end.
struct mf_buf *mf_resp_call_reply(struct mf_resp_call *call);
// The session may be gone after it.
void mf_resp_call_end(struct mf_resp_call *call);
// Tells the result of the shards, or who else is to be asked: the reply of the call.
void mf_resp_call_tell(struct mf_resp_call *call, struct mf_buf *out,
                       const struct mf_result *result);
// A mf_request_done: tells the result and ends the call.
void mf_resp_call_result(void *call, const struct mf_result *result);

// From the last end of a call, and when the connection has closed: frees it if nothing points to
// it.
void mf_resp_session_release(struct mf_resp_session *session);

// What a command does to which keys; and whether it has to wait for what is under way.
// Notes the slot in the command.
struct mf_resp_touch mf_resp_touch_of(struct mf_command *command);
bool mf_resp_must_wait(const struct mf_resp_session *session, struct mf_resp_touch touch);

// Accounting: what requests cost, and how they end.

// A request begins to be carried out.
void mf_resp_account_begin(struct mf_resp_session *session);
// It is answered, or under way.
void mf_resp_account_end(struct mf_resp_session *session);
// A call is over, as its reply says.
void mf_resp_account_call(struct mf_resp_call *call, enum mf_resp_outcome outcome);
// Counts the error that a reply is, if it is one.
enum mf_resp_outcome mf_resp_account_reply(struct mf_resp_session *session, struct mf_bytes reply);
// What was kept of a request for SLOWLOG: by mf_resp_account_keep, or the request as it came.
struct mf_resp_kept {
    struct mf_bytes bytes; // empty: nothing
    bool raw;
};
// A command was carried out, or refused. kept NULL: it is the request that the session asks.
void mf_resp_account_command(struct mf_resp_session *session, const struct mf_resp_row *row,
                             uint64_t us, enum mf_resp_outcome outcome,
                             const struct mf_resp_kept *kept);
// Appends what SLOWLOG will have to tell of the request if it turns out slow; nothing if none is.
void mf_resp_account_keep(struct mf_resp_session *session, struct mf_buf *out);
// Counts keys that a data command has looked for.
void mf_resp_account_lookup(struct mf_resp_session *session, enum mf_opcode op,
                            enum mf_resp_form form, const struct mf_result *result);

// The Redis Cluster port: whose a request is. On the other port nothing is ever elsewhere.

// mf_request_start, on this port of what this node leads alone.
void mf_resp_start(struct mf_resp_session *session, const struct mf_command *command,
                   mf_request_done *done, void *arg);
// The slot of all keys among the words of the request.
int32_t mf_resp_find_slot(const struct mf_resp_ask *ask);
int32_t mf_resp_same_slot(int32_t one, int32_t other);
// Another node is to be asked, or none: the keys have several slots.
bool mf_resp_is_elsewhere(const struct mf_resp_session *session, int32_t slot);
// Says so at once.
void mf_resp_reply_elsewhere(struct mf_resp_session *session, int32_t slot);
// Appends the error, without an effect of the request, for this port; false if it is told as on the
// other. error: see mf_request_start_here.
bool mf_resp_tell_elsewhere(const struct mf_resp_session *session, struct mf_buf *out, int32_t slot,
                            const struct mf_result *error);
// Where a client of the session finds a node's Redis Cluster port; false: nowhere. The host is
// never empty or that of all interfaces. bus: the port for other nodes.
struct mf_resp_place {
    char host[256];
    uint16_t port;
    uint16_t bus;
};
bool mf_resp_find_place(const struct mf_resp_session *session, uint16_t node,
                        struct mf_resp_place *place);

// Carries out what is not a data command. False, and nothing done, if it has to wait until what is
// under way has ended.
MF_MUST_USE bool mf_resp_own(struct mf_resp_session *session);
// By files: each is one or more rows of the table.
void mf_resp_client_list(struct mf_resp_session *session);
void mf_resp_client_info(struct mf_resp_session *session);
void mf_resp_client_kill(struct mf_resp_session *session);
// The session is about to go.
void mf_resp_looks_past(struct mf_resp_session *gone);
MF_MUST_USE bool mf_resp_keys(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_acl_whoami(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_acl_list(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_acl_users(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_acl_cat(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_randomkey(struct mf_resp_session *session);
bool mf_resp_info(struct mf_resp_session *session);
bool mf_resp_slowlog_get(struct mf_resp_session *session);
bool mf_resp_slowlog_len(struct mf_resp_session *session);
bool mf_resp_slowlog_reset(struct mf_resp_session *session);
bool mf_resp_latency_doctor(struct mf_resp_session *session);
bool mf_resp_latency_graph(struct mf_resp_session *session);
bool mf_resp_latency_histogram(struct mf_resp_session *session);
bool mf_resp_latency_history(struct mf_resp_session *session);
bool mf_resp_latency_latest(struct mf_resp_session *session);
bool mf_resp_latency_reset(struct mf_resp_session *session);
// At most so many keys of a slot; INT64_MAX: only the number of all is told. On the Redis Cluster
// port, of a slot that no other node leads.
MF_MUST_USE bool mf_resp_keys_in_slot(struct mf_resp_session *session, uint16_t slot, int64_t most);
MF_MUST_USE bool mf_resp_cluster(struct mf_resp_session *session);
// Ends what waits for leaders, without a word. The connection is gone.
void mf_resp_map_no_more(struct mf_resp_session *session);
// A subcommand of CLUSTER that is a walk.
bool mf_resp_cluster_walks(const struct mf_resp_row *row);

MF_MUST_USE bool mf_resp_config_get(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_config_set(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_config_resetstat(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_config_rewrite(struct mf_resp_session *session);
// Has every reactor take over what node->settings and node->budget say now. form OK is the reply to
// the session's request when all have; inside EXEC at once.
void mf_resp_settings_changed(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_memory_none(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_memory_purge(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_memory_stats(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_debug(struct mf_resp_session *session);
// The connection has closed: its DEBUG SLEEP ends.
void mf_resp_sleep_no_more(struct mf_resp_session *session);

// MULTI and what belongs to it.
bool mf_resp_in_multi(const struct mf_resp_session *session);
bool mf_resp_multi_writes(const struct mf_resp_session *session);   // a queued command does
int64_t mf_resp_multi_count(const struct mf_resp_session *session); // queued; -1: no MULTI
// A command was refused: EXEC will be.
void mf_resp_multi_abort(struct mf_resp_session *session);
// A WATCH has failed: EXEC will be refused, until EXEC, DISCARD, UNWATCH or RESET.
void mf_resp_multi_unguarded(struct mf_resp_session *session);
// Keeps the request for EXEC.
MF_MUST_USE bool mf_resp_multi_queue(struct mf_resp_session *session);
// Commands and watched keys.
void mf_resp_multi_forget(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_multi(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_exec(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_discard(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_watch(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_unwatch(struct mf_resp_session *session);

// Messages of clients.
void mf_resp_names_add(struct mf_reactor *reactor, struct mf_resp_name *name);
void mf_resp_names_remove(struct mf_reactor *reactor, struct mf_resp_name *name);
void mf_resp_names_free(struct mf_resp_names *names); // there are none any more
// Tells the connection that listens to the name; false when it cannot be told.
bool mf_resp_hear(struct mf_resp_name *name, struct mf_bytes channel, struct mf_bytes message);
MF_MUST_USE bool mf_resp_publish(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_pubsub_channels(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_pubsub_numsub(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_pubsub_numpat(struct mf_resp_session *session);

// CLIENT TRACKING. note: the session's request, before it is carried out; only of one that tracks.
MF_MUST_USE bool mf_resp_client_tracking(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_client_caching(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_client_trackinginfo(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_client_getredir(struct mf_resp_session *session);
// queued: not NULL, it is kept for EXEC, and its keys are appended; exec: they are read now.
void mf_resp_tracking_note(struct mf_resp_session *session, struct mf_buf *queued);
void mf_resp_tracking_exec(struct mf_resp_session *session, const struct mf_buf *queued);
// NOLOOP: a data command begins, which gets a number or 0; and it has ended, before its reply.
uint32_t mf_resp_tracking_write(struct mf_resp_session *session, const struct mf_command *command);
void mf_resp_tracking_written(struct mf_resp_session *session, uint32_t write,
                              const struct mf_result *result);
// The request has been carried out, refused or kept.
void mf_resp_tracking_done(struct mf_resp_session *session);
// Replies have been sent that others may have waited for.
void mf_resp_tracking_sent(struct mf_resp_session *session);
void mf_resp_tracking_no_more(struct mf_resp_session *session);
void mf_resp_tracking_tick(struct mf_reactor *reactor);
void mf_resp_trackers_free(struct mf_resp_trackers *trackers); // there are none any more
// For CLIENT LIST: which connection is told, 0 for itself, -1 where nothing is tracked; and the
// letters of Redis's flags.
int64_t mf_resp_tracking_redirect(const struct mf_resp_session *session);
const char *mf_resp_tracking_flags(const struct mf_resp_session *session);
// REDIRECT, from the side of whom others track for: it can be told now, perhaps; it is gone.
void mf_resp_track_hears(struct mf_resp_session *session);
void mf_resp_track_told_no_more(struct mf_resp_session *session);

MF_MUST_USE bool mf_resp_lcs(struct mf_resp_session *session);
// CLIENT PAUSE. must_pause: the session's request has to wait, and its connection is held; until_us
// as node->settings has it, not 0.
MF_MUST_USE bool mf_resp_client_pause(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_client_unpause(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_must_pause(struct mf_resp_session *session, uint64_t until_us);
void mf_resp_pause_no_more(struct mf_resp_session *session);
// The settings have changed: all requests that wait are looked at anew.
void mf_resp_pauses_over(struct mf_reactor *reactor);

// MONITOR. tell: what the session's request was, which has been carried out; only where
// node->resp_monitors is not 0.
MF_MUST_USE bool mf_resp_monitor(struct mf_resp_session *session);
void mf_resp_monitor_tell(const struct mf_resp_session *session);
void mf_resp_monitor_no_more(struct mf_resp_session *session);

// Subscriptions.
// Whether the connection waits for what is to come: then it is never idle. It is there.
void mf_resp_keep(struct mf_resp_session *session);
bool mf_resp_is_listening(const struct mf_resp_session *session);
bool mf_resp_has_confirmed(const struct mf_resp_session *session); // and its client knows
void mf_resp_listening_to(const struct mf_resp_session *session, uint32_t *channels,
                          uint32_t *patterns);
// Ends them all, without a word. The connection is still there.
void mf_resp_listen_no_more(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_subscribe(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_psubscribe(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_unsubscribe(struct mf_resp_session *session);
MF_MUST_USE bool mf_resp_punsubscribe(struct mf_resp_session *session);

#endif
