// What the Redis door answers itself: greetings, the connection's own state, and what a Redis
// without a cluster, scripts and other databases would say; see resp_command.h.
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "server/resp_internal.h"
#include "server/roster.h"

// Every connection may keep so much, three times.
#define NAME_BYTES_MAX 1024u
#define WRONGPASS "WRONGPASS invalid username-password pair or user is disabled."

typedef bool own_handler(struct mf_resp_session *session);

static bool done_error(struct mf_resp_session *session, const char *text)
{
    mf_resp_reply_error(session, text);
    return true;
}

static bool done_ok(struct mf_resp_session *session)
{
    mf_resp_reply_ok(session);
    return true;
}

// An error with a word of the client's in it.
static bool done_quoting(struct mf_resp_session *session, const char *before, struct mf_bytes word,
                         const char *after)
{
    mf_resp_errorf(mf_resp_reply_begin(session), "%s%.*s%s", before, mf_resp_text_len(word),
                   (const char *)word.data, after);
    mf_resp_reply_end(session);
    return true;
}

static bool wrong_arity(struct mf_resp_session *session)
{
    mf_resp_errorf(mf_resp_reply_begin(session), "ERR wrong number of arguments for '%s' command",
                   session->ask.row->name);
    mf_resp_reply_end(session);
    return true;
}

static bool ping(struct mf_resp_session *session)
{
    if (mf_resp_words(session) > 2)
        return wrong_arity(session);
    struct mf_buf *out = mf_resp_reply_begin(session);
    if (session->version == 2 && mf_resp_is_listening(session)) {
        // In the form of what comes by itself, from which clients could not tell it otherwise.
        mf_resp_array(out, 2);
        mf_resp_bulk_str(out, "pong");
        mf_resp_bulk(out,
                     mf_resp_words(session) == 2 ? mf_resp_word(session, 1) : mf_bytes_of("", 0));
    } else if (mf_resp_words(session) == 2)
        mf_resp_bulk(out, mf_resp_word(session, 1));
    else
        mf_resp_status(out, "PONG");
    mf_resp_reply_end(session);
    return true;
}

static bool echo(struct mf_resp_session *session)
{
    mf_resp_bulk(mf_resp_reply_begin(session), mf_resp_word(session, 1));
    mf_resp_reply_end(session);
    return true;
}

// Who is asking.

static bool is_name(struct mf_bytes name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] < '!' || name.data[i] > '~')
            return false;
    }
    return true;
}

#define BAD_NAME "ERR Client names cannot contain spaces, newlines or special characters."

// NULL, or why a client cannot have this name.
static const char *name_refusal(struct mf_bytes name)
{
    if (name.len > NAME_BYTES_MAX)
        return "ERR the name is over 1024 bytes";
    return is_name(name) ? NULL : BAD_NAME;
}

static void set_text(char **text, struct mf_bytes value)
{
    free(*text);
    *text = mf_alloc(value.len + 1);
    memcpy(*text, value.data, value.len);
    (*text)[value.len] = '\0';
}

// Where any user fits, it can have any name: one that would spoil CLIENT LIST is not told.
static void log_in(struct mf_resp_session *session, struct mf_bytes user)
{
    session->client.authorized = true;
    bool fine = user.len <= MF_RESP_USER_BYTES_MAX && is_name(user);
    set_text(&session->user, fine ? user : mf_bytes_str("?"));
}

// Without a password there is Redis's one user, who needs none.
static bool knows(const struct mf_resp_session *session, struct mf_bytes user,
                  struct mf_bytes password)
{
    if (!mf_client_has_password(&session->client))
        return mf_bytes_equal(user, mf_bytes_str("default"));
    return mf_client_knows(&session->client, user, password);
}

static bool auth(struct mf_resp_session *session)
{
    uint32_t count = mf_resp_words(session);
    if (count > 3)
        return done_error(session, MF_RESP_SYNTAX);
    if (count == 2 && !mf_client_has_password(&session->client))
        return done_error(session,
                          "ERR AUTH <password> called without any password configured for the "
                          "default user. Are you sure your configuration is correct?");
    struct mf_bytes user = count == 3 ? mf_resp_word(session, 1) : mf_bytes_str("default");
    if (!knows(session, user, mf_resp_word(session, count - 1)))
        return done_error(session, WRONGPASS);
    log_in(session, user);
    return done_ok(session);
}

struct hello {
    int64_t version; // 0: not given
    const struct mf_bytes *user;
    const struct mf_bytes *password;
    const struct mf_bytes *name;
};

// True when it has been refused.
static bool refuse_hello(struct mf_resp_session *session, struct hello *hello)
{
    const struct mf_bytes *words = session->ask.words;
    uint32_t count = mf_resp_words(session);
    if (count >= 2 && !mf_resp_integer(words[1], &hello->version))
        return done_error(session, "ERR Protocol version is not an integer or out of range");
    if (count >= 2 && (hello->version < 2 || hello->version > 3))
        return done_error(session, "NOPROTO unsupported protocol version");
    for (uint32_t i = 2; i < count; i++) {
        if (mf_resp_is(words[i], "auth") && i + 2 < count) {
            hello->user = &words[++i];
            hello->password = &words[++i];
        } else if (mf_resp_is(words[i], "setname") && i + 1 < count) {
            hello->name = &words[++i];
            const char *wrong = name_refusal(*hello->name);
            if (wrong != NULL)
                return done_error(session, wrong);
        } else {
            return done_quoting(session, "ERR Syntax error in HELLO option '", words[i], "'");
        }
    }
    if (hello->user != NULL && !knows(session, *hello->user, *hello->password))
        return done_error(session, WRONGPASS);
    if (hello->user == NULL && !mf_client_is_open(&session->client))
        return done_error(session,
                          "NOAUTH HELLO must be called with the client already authenticated, "
                          "otherwise the HELLO AUTH <user> <pass> option can be used to "
                          "authenticate the client and select the RESP protocol version at the "
                          "same time");
    return false;
}

static bool hello(struct mf_resp_session *session)
{
    struct hello hello = {0};
    if (refuse_hello(session, &hello))
        return true;
    if (hello.user != NULL)
        log_in(session, *hello.user);
    if (hello.name != NULL)
        set_text(&session->name, *hello.name);
    if (hello.version != 0)
        session->version = (uint8_t)hello.version;
    if (session->version != 3 && mf_resp_tracking_redirect(session) == 0)
        mf_resp_tracking_no_more(session); // which has no words for it
    struct mf_buf *out = mf_resp_reply_begin(session);
    mf_resp_map(out, session->version, 7);
    mf_resp_bulk_str(out, "server");
    mf_resp_bulk_str(out, "redis");
    mf_resp_bulk_str(out, "version");
    mf_resp_bulk_str(out, MF_RESP_REDIS_VERSION);
    mf_resp_bulk_str(out, "proto");
    mf_resp_int(out, session->version);
    mf_resp_bulk_str(out, "id");
    mf_resp_int(out, (int64_t)session->id);
    mf_resp_bulk_str(out, "mode");
    mf_resp_bulk_str(out, session->cluster ? "cluster" : "standalone");
    mf_resp_bulk_str(out, "role");
    mf_resp_bulk_str(out, "master");
    mf_resp_bulk_str(out, "modules");
    mf_resp_array(out, 0);
    mf_resp_reply_end(session);
    mf_resp_track_hears(session);
    return true;
}

static bool select_database(struct mf_resp_session *session)
{
    int64_t number;
    if (!mf_resp_integer(mf_resp_word(session, 1), &number))
        return done_error(session, MF_RESP_NOT_INTEGER);
    if (number < INT_MIN || number > INT_MAX)
        return done_error(session, "ERR value is out of range, value must between -2147483648 and "
                                   "2147483647");
    if (number == 0)
        return done_ok(session);
    return done_error(session, session->cluster ? "ERR SELECT is not allowed in cluster mode"
                                                : "ERR DB index is out of range");
}

static bool reset(struct mf_resp_session *session)
{
    if (session->first != NULL)
        return false;
    mf_resp_multi_forget(session);
    mf_resp_listen_no_more(session);
    mf_resp_monitor_no_more(session);
    mf_resp_tracking_no_more(session);
    session->version = 2;
    session->replies = MF_RESP_SENT;
    session->client.authorized = false;
    set_text(&session->name, mf_bytes_of("", 0));
    set_text(&session->user, mf_bytes_str("default"));
    mf_resp_status(mf_resp_reply_begin(session), "RESET");
    mf_resp_reply_end(session);
    return true;
}

static bool quit(struct mf_resp_session *session)
{
    mf_resp_reply_ok(session);
    mf_conn_close_gracefully(session->client.conn, "the client has said QUIT");
    return true;
}

static bool tell_time(struct mf_resp_session *session)
{
    uint64_t now_us = mf_wall_us();
    struct mf_buf *out = mf_resp_reply_begin(session);
    mf_resp_array(out, 2);
    mf_resp_bulk_uint(out, now_us / 1000000);
    mf_resp_bulk_uint(out, now_us % 1000000);
    mf_resp_reply_end(session);
    return true;
}

// A write is acknowledged when a majority has it: there is nothing to wait for.
static bool wait_replicas(struct mf_resp_session *session)
{
    int64_t replicas;
    int64_t timeout_ms;
    if (!mf_resp_integer(mf_resp_word(session, 1), &replicas))
        return done_error(session, MF_RESP_NOT_INTEGER);
    if (!mf_resp_integer(mf_resp_word(session, 2), &timeout_ms))
        return done_error(session, "ERR timeout is not an integer or out of range");
    if (timeout_ms < 0)
        return done_error(session, "ERR timeout is negative");
    const struct mf_reactor *reactor = session->client.reactor;
    mf_resp_int(mf_resp_reply_begin(session), (int64_t)reactor->roster->copies - 1);
    mf_resp_reply_end(session);
    return true;
}

// What is acknowledged is on the disks of a majority, where it goes to disks at all.
static bool wait_disks(struct mf_resp_session *session)
{
    const struct mf_reactor *reactor = session->client.reactor;
    bool durable = reactor->node->config.durability == MF_DURABILITY_FSYNC;
    int64_t locals;
    int64_t replicas;
    int64_t timeout_ms;
    if (!mf_resp_integer(mf_resp_word(session, 1), &locals) ||
        !mf_resp_integer(mf_resp_word(session, 2), &replicas))
        return done_error(session, MF_RESP_NOT_INTEGER);
    if (locals < 0 || locals > 1)
        return done_error(session, "ERR value is out of range, value must between 0 and 1");
    if (replicas < 0)
        return done_error(session, "ERR value is out of range, must be positive");
    if (!mf_resp_integer(mf_resp_word(session, 3), &timeout_ms))
        return done_error(session, "ERR timeout is not an integer or out of range");
    if (timeout_ms < 0)
        return done_error(session, "ERR timeout is negative");
    if (locals > 0 && !durable)
        return done_error(session, "ERR WAITAOF cannot be used when numlocal is set but "
                                   "appendonly is disabled.");
    struct mf_buf *out = mf_resp_reply_begin(session);
    mf_resp_array(out, 2);
    mf_resp_int(out, durable);
    mf_resp_int(out, durable ? reactor->roster->copies / 2 : 0);
    mf_resp_reply_end(session);
    return true;
}

// READONLY, READWRITE, ASKING: reads are the leader's alone, and slots do not move by halves.
static bool cluster_mode(struct mf_resp_session *session)
{
    return session->cluster ? done_ok(session) : done_error(session, MF_RESP_NO_CLUSTER);
}

static bool help(struct mf_resp_session *session)
{
    mf_resp_help_answer(mf_resp_reply_begin(session), session->ask.row);
    mf_resp_reply_end(session);
    return true;
}

static bool command(struct mf_resp_session *session)
{
    mf_resp_command_answer(mf_resp_reply_begin(session), session->version, session->ask.row,
                           session->ask.words, mf_resp_words(session));
    mf_resp_reply_end(session);
    return true;
}

// CLIENT, as far as it is about this connection.

static bool client_id(struct mf_resp_session *session)
{
    mf_resp_int(mf_resp_reply_begin(session), (int64_t)session->id);
    mf_resp_reply_end(session);
    return true;
}

static bool client_setname(struct mf_resp_session *session)
{
    const char *wrong = name_refusal(mf_resp_word(session, 2));
    if (wrong != NULL)
        return done_error(session, wrong);
    set_text(&session->name, mf_resp_word(session, 2));
    return done_ok(session);
}

static bool client_getname(struct mf_resp_session *session)
{
    struct mf_buf *out = mf_resp_reply_begin(session);
    if (session->name[0] != '\0')
        mf_resp_bulk_str(out, session->name);
    else
        mf_resp_null(out, session->version);
    mf_resp_reply_end(session);
    return true;
}

static bool client_setinfo(struct mf_resp_session *session)
{
    struct mf_bytes option = mf_resp_word(session, 2);
    bool name = mf_resp_is(option, "lib-name");
    if (!name && !mf_resp_is(option, "lib-ver"))
        return done_quoting(session, "ERR Unrecognized option '", option, "'");
    if (mf_resp_word(session, 3).len > NAME_BYTES_MAX || !is_name(mf_resp_word(session, 3)))
        return done_quoting(session, "ERR ", option,
                            " cannot contain spaces, newlines or special characters.");
    set_text(name ? &session->lib_name : &session->lib_version, mf_resp_word(session, 3));
    return done_ok(session);
}

static bool client_on_off(struct mf_resp_session *session)
{
    struct mf_bytes word = mf_resp_word(session, 2);
    if (!mf_resp_is(word, "on") && !mf_resp_is(word, "off"))
        return done_error(session, MF_RESP_SYNTAX);
    return done_ok(session);
}

static bool client_reply(struct mf_resp_session *session)
{
    struct mf_bytes word = mf_resp_word(session, 2);
    if (mf_resp_is(word, "on")) {
        session->replies = MF_RESP_SENT;
        return done_ok(session);
    }
    if (mf_resp_is(word, "off"))
        session->replies = MF_RESP_OFF;
    else if (!mf_resp_is(word, "skip"))
        return done_error(session, MF_RESP_SYNTAX);
    else if (session->replies != MF_RESP_OFF)
        session->replies = MF_RESP_SKIP_NEXT;
    return true;
}

static bool client_info(struct mf_resp_session *session)
{
    mf_resp_client_info(session);
    return true;
}

static bool client_list(struct mf_resp_session *session)
{
    mf_resp_client_list(session);
    return true;
}

static bool client_kill(struct mf_resp_session *session)
{
    mf_resp_client_kill(session);
    return true;
}

// There are no functions.

static bool function_flush(struct mf_resp_session *session)
{
    uint32_t count = mf_resp_words(session);
    if (count > 3) {
        mf_resp_reply_misused(session, "FUNCTION");
        return true;
    }
    bool fine = count == 2 || (count == 3 && (mf_resp_is(mf_resp_word(session, 2), "sync") ||
                                              mf_resp_is(mf_resp_word(session, 2), "async")));
    return fine ? done_ok(session)
                : done_error(session, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
}

static bool function_list(struct mf_resp_session *session)
{
    for (uint32_t i = 2; i < mf_resp_words(session); i++) {
        struct mf_bytes word = mf_resp_word(session, i);
        if (mf_resp_is(word, "withcode"))
            continue;
        if (!mf_resp_is(word, "libraryname"))
            return done_quoting(session, "ERR Unknown argument ", word, "");
        if (++i == mf_resp_words(session))
            return done_error(session, "ERR library name argument was not given");
    }
    mf_resp_array(mf_resp_reply_begin(session), 0);
    mf_resp_reply_end(session);
    return true;
}

static own_handler *const handlers[MF_RESP_OWN_COUNT] = {
    [MF_RESP_PING] = ping,
    [MF_RESP_ECHO] = echo,
    [MF_RESP_HELLO] = hello,
    [MF_RESP_AUTH] = auth,
    [MF_RESP_SELECT] = select_database,
    [MF_RESP_RESET] = reset,
    [MF_RESP_QUIT] = quit,
    [MF_RESP_TIME] = tell_time,
    [MF_RESP_WAIT] = wait_replicas,
    [MF_RESP_WAITAOF] = wait_disks,
    [MF_RESP_CLUSTER_MODE] = cluster_mode,
    [MF_RESP_CLUSTER] = mf_resp_cluster,
    [MF_RESP_HELP] = help,
    [MF_RESP_CLIENT_ID] = client_id,
    [MF_RESP_CLIENT_SETNAME] = client_setname,
    [MF_RESP_CLIENT_GETNAME] = client_getname,
    [MF_RESP_CLIENT_INFO] = client_info,
    [MF_RESP_CLIENT_LIST] = client_list,
    [MF_RESP_CLIENT_KILL] = client_kill,
    [MF_RESP_CLIENT_SETINFO] = client_setinfo,
    [MF_RESP_CLIENT_ON_OFF] = client_on_off,
    [MF_RESP_CLIENT_TRACKING] = mf_resp_client_tracking,
    [MF_RESP_CLIENT_CACHING] = mf_resp_client_caching,
    [MF_RESP_CLIENT_TRACKINGINFO] = mf_resp_client_trackinginfo,
    [MF_RESP_CLIENT_GETREDIR] = mf_resp_client_getredir,
    [MF_RESP_CLIENT_PAUSE] = mf_resp_client_pause,
    [MF_RESP_CLIENT_UNPAUSE] = mf_resp_client_unpause,
    [MF_RESP_CLIENT_REPLY] = client_reply,
    [MF_RESP_COMMAND] = command,
    [MF_RESP_ACL_WHOAMI] = mf_resp_acl_whoami,
    [MF_RESP_ACL_LIST] = mf_resp_acl_list,
    [MF_RESP_ACL_USERS] = mf_resp_acl_users,
    [MF_RESP_ACL_CAT] = mf_resp_acl_cat,
    [MF_RESP_FUNCTION_FLUSH] = function_flush,
    [MF_RESP_FUNCTION_LIST] = function_list,
    [MF_RESP_CONFIG_GET] = mf_resp_config_get,
    [MF_RESP_CONFIG_SET] = mf_resp_config_set,
    [MF_RESP_CONFIG_RESETSTAT] = mf_resp_config_resetstat,
    [MF_RESP_CONFIG_REWRITE] = mf_resp_config_rewrite,
    [MF_RESP_MEMORY_NONE] = mf_resp_memory_none,
    [MF_RESP_MEMORY_PURGE] = mf_resp_memory_purge,
    [MF_RESP_MEMORY_STATS] = mf_resp_memory_stats,
    [MF_RESP_DEBUG] = mf_resp_debug,
    [MF_RESP_KEYS] = mf_resp_keys,
    [MF_RESP_RANDOMKEY] = mf_resp_randomkey,
    [MF_RESP_MULTI] = mf_resp_multi,
    [MF_RESP_EXEC] = mf_resp_exec,
    [MF_RESP_DISCARD] = mf_resp_discard,
    [MF_RESP_WATCH] = mf_resp_watch,
    [MF_RESP_UNWATCH] = mf_resp_unwatch,
    [MF_RESP_LCS] = mf_resp_lcs,
    [MF_RESP_MONITOR] = mf_resp_monitor,
    [MF_RESP_PUBLISH] = mf_resp_publish,
    [MF_RESP_PUBSUB_CHANNELS] = mf_resp_pubsub_channels,
    [MF_RESP_PUBSUB_NUMSUB] = mf_resp_pubsub_numsub,
    [MF_RESP_PUBSUB_NUMPAT] = mf_resp_pubsub_numpat,
    [MF_RESP_SUBSCRIBE] = mf_resp_subscribe,
    [MF_RESP_PSUBSCRIBE] = mf_resp_psubscribe,
    [MF_RESP_UNSUBSCRIBE] = mf_resp_unsubscribe,
    [MF_RESP_PUNSUBSCRIBE] = mf_resp_punsubscribe,
    [MF_RESP_INFO] = mf_resp_info,
    [MF_RESP_SLOWLOG_GET] = mf_resp_slowlog_get,
    [MF_RESP_SLOWLOG_LEN] = mf_resp_slowlog_len,
    [MF_RESP_SLOWLOG_RESET] = mf_resp_slowlog_reset,
    [MF_RESP_LATENCY_DOCTOR] = mf_resp_latency_doctor,
    [MF_RESP_LATENCY_GRAPH] = mf_resp_latency_graph,
    [MF_RESP_LATENCY_HISTOGRAM] = mf_resp_latency_histogram,
    [MF_RESP_LATENCY_HISTORY] = mf_resp_latency_history,
    [MF_RESP_LATENCY_LATEST] = mf_resp_latency_latest,
    [MF_RESP_LATENCY_RESET] = mf_resp_latency_reset,
};

bool mf_resp_own(struct mf_resp_session *session)
{
    return handlers[session->ask.row->own](session);
}
