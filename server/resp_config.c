// CONFIG: the settings of this node under Redis's names, one row of a table for each.
//
// A row is told by CONFIG GET as it is, and is changed by CONFIG SET where it can be changed while
// the node runs; that lasts until the node stops, and no file is written. What has no truthful
// value here, as the sizes at which Redis packs its lists, has no row.
//
// Shared between threads: what is set is atomic (server/settings.h, server/budget.h, base/log.h).
// What each reactor has to take over it takes over in its own turn, of a task that visits one after
// the other; only then the client is told OK. Two who set at a time both send such a task, and
// whichever comes last to a reactor finds the newest values.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/glob.h"
#include "base/log.h"
#include "server/resp_internal.h"
#include "server/resp_node.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
// Of one request: each pattern is matched against every name.
#define NAMES_MAX 1024u
#define PATTERNS_BYTES_MAX 4096u
#define WHY_BYTES_MAX 256u
// Redis takes no longer digits for bytes.
#define DIGITS_MAX 127u

enum kind {
    FIXED,  // told as it is
    BYTES,  // an integer with a unit
    NUMBER, // an integer from min to max
    CHOICE, // one of choices
    SWITCH, // the same, yes or no
    EVENTS, // letters, each a bit
};

struct choice {
    const char *text; // NULL ends the list
    int64_t value;
};

struct setting {
    const char *name; // in lower case
    enum kind kind;
    // Of a fixed one: its text, or what appends it.
    const char *text;
    void (*tell)(const struct mf_resp_session *session, struct mf_buf *out);
    int64_t (*get)(const struct mf_node *node);
    void (*set)(struct mf_node *node, int64_t value);
    int64_t min;
    int64_t max;
    bool (*refuses)(const struct mf_node *node, int64_t value, char *why); // NULL: none of these
    const struct choice *choices;
    bool visits; // every reactor has to take it over
};

// What is told.

static void put_text(struct mf_buf *out, const char *text)
{
    mf_buf_put(out, text, strlen(text));
}

static void put_number(struct mf_buf *out, int64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, value);
    put_text(out, text);
}

static const struct mf_config *config_of(const struct mf_resp_session *session)
{
    return &session->client.reactor->node->config;
}

static void tell_appendfsync(const struct mf_resp_session *session, struct mf_buf *out)
{
    put_text(out, config_of(session)->durability == MF_DURABILITY_FSYNC ? "always" : "no");
}

static void tell_appendonly(const struct mf_resp_session *session, struct mf_buf *out)
{
    put_text(out, config_of(session)->durability == MF_DURABILITY_NONE ? "no" : "yes");
}

// The host of "host:port" and "[host]:port".
static void tell_bind(const struct mf_resp_session *session, struct mf_buf *out)
{
    const struct mf_config *config = config_of(session);
    const char *host = session->cluster ? config->resp_cluster : config->resp;
    const char *colon = strrchr(host, ':');
    size_t len = colon != NULL ? (size_t)(colon - host) : strlen(host);
    bool brackets = len >= 2 && host[0] == '[' && host[len - 1] == ']';
    mf_buf_put(out, host + brackets, len - 2 * brackets);
}

static void tell_debug(const struct mf_resp_session *session, struct mf_buf *out)
{
    put_text(out, config_of(session)->debug_commands != 0 ? "yes" : "no");
}

static void tell_dir(const struct mf_resp_session *session, struct mf_buf *out)
{
    put_text(out, config_of(session)->data_dir);
}

static void tell_lease(const struct mf_resp_session *session, struct mf_buf *out)
{
    put_number(out, config_of(session)->lease_ms);
}

// The port as it is bound, which the file may have left open.
static void tell_port(const struct mf_resp_session *session, struct mf_buf *out)
{
    const struct mf_node_addresses *addresses = &session->client.reactor->node->addresses;
    const char *colon = strrchr(session->cluster ? addresses->resp_cluster : addresses->resp, ':');
    put_text(out, colon != NULL ? colon + 1 : "0");
}

static void tell_request_max(const struct mf_resp_session *session, struct mf_buf *out)
{
    put_number(out, (int64_t)config_of(session)->request_bytes_max);
}

// That of the user that AUTH means without a name, told to nobody else.
static void tell_requirepass(const struct mf_resp_session *session, struct mf_buf *out)
{
    if (strcmp(session->user, "default") != 0)
        return;
    struct mf_bytes password = mf_client_password(&session->client, mf_bytes_str("default"));
    mf_buf_put(out, password.data, password.len);
}

static void tell_save(const struct mf_resp_session *session, struct mf_buf *out)
{
    if (config_of(session)->snapshot_interval_s == 0)
        return;
    put_number(out, config_of(session)->snapshot_interval_s);
    put_text(out, " 0"); // however few changes there were
}

static void tell_threads(const struct mf_resp_session *session, struct mf_buf *out)
{
    put_number(out, session->client.reactor->node->reactor_count);
}

static void tell_value_max(const struct mf_resp_session *session, struct mf_buf *out)
{
    put_number(out, (int64_t)config_of(session)->value_bytes_max);
}

static void tell_cluster(const struct mf_resp_session *session, struct mf_buf *out)
{
    put_text(out, session->cluster ? "yes" : "no");
}

// What can be set.

static int64_t get_memory(const struct mf_node *node)
{
    return (int64_t)atomic_load_explicit(&node->budget.bytes_max, memory_order_relaxed);
}

static void set_memory(struct mf_node *node, int64_t value)
{
    mf_budget_set_max(&node->budget, (uint64_t)value);
}

static int64_t get_policy(const struct mf_node *node)
{
    return atomic_load_explicit(&node->budget.eviction, memory_order_relaxed);
}

static void set_policy(struct mf_node *node, int64_t value)
{
    mf_budget_set_eviction(&node->budget, (enum mf_eviction)value);
}

static int64_t get_clients(const struct mf_node *node)
{
    return atomic_load_explicit(&node->settings.clients_max, memory_order_relaxed);
}

static void set_clients(struct mf_node *node, int64_t value)
{
    atomic_store_explicit(&node->settings.clients_max, (uint32_t)value, memory_order_relaxed);
}

static bool refuses_clients(const struct mf_node *node, int64_t value, char *why)
{
    if (value <= node->clients_allowed)
        return false;
    snprintf(why, WHY_BYTES_MAX,
             "The operating system is not able to handle the specified number of clients, try "
             "with %u",
             node->clients_allowed);
    return true;
}

static int64_t get_timeout(const struct mf_node *node)
{
    return atomic_load_explicit(&node->settings.idle_timeout_s, memory_order_relaxed);
}

static void set_timeout(struct mf_node *node, int64_t value)
{
    atomic_store_explicit(&node->settings.idle_timeout_s, (uint32_t)value, memory_order_relaxed);
}

// The least that is logged; Redis has no name for errors alone.
static int64_t get_level(const struct mf_node *node)
{
    (void)node;
    int level = MF_TRACE;
    while (level < MF_WARN && !mf_log_on((enum mf_log_level)level))
        level++;
    return level;
}

static void set_level(struct mf_node *node, int64_t value)
{
    (void)node;
    mf_log_set_level((enum mf_log_level)value);
}

static int64_t get_notify(const struct mf_node *node)
{
    return atomic_load_explicit(&node->settings.notify, memory_order_relaxed);
}

static void set_notify(struct mf_node *node, int64_t value)
{
    atomic_store_explicit(&node->settings.notify, (uint32_t)value, memory_order_relaxed);
}

static int64_t get_slower(const struct mf_node *node)
{
    return atomic_load_explicit(&node->resp_settings.slowlog_log_slower_than_us,
                                memory_order_relaxed);
}

static void set_slower(struct mf_node *node, int64_t value)
{
    atomic_store_explicit(&node->resp_settings.slowlog_log_slower_than_us, value,
                          memory_order_relaxed);
}

static int64_t get_slowlog(const struct mf_node *node)
{
    return atomic_load_explicit(&node->resp_settings.slowlog_max_len, memory_order_relaxed);
}

static void set_slowlog(struct mf_node *node, int64_t value)
{
    atomic_store_explicit(&node->resp_settings.slowlog_max_len, value, memory_order_relaxed);
}

static int64_t get_latency(const struct mf_node *node)
{
    return atomic_load_explicit(&node->resp_settings.latency_monitor_threshold_ms,
                                memory_order_relaxed);
}

static void set_latency(struct mf_node *node, int64_t value)
{
    atomic_store_explicit(&node->resp_settings.latency_monitor_threshold_ms, value,
                          memory_order_relaxed);
}

static int64_t get_tracking(const struct mf_node *node)
{
    return atomic_load_explicit(&node->resp_settings.latency_tracking, memory_order_relaxed);
}

static void set_tracking(struct mf_node *node, int64_t value)
{
    atomic_store_explicit(&node->resp_settings.latency_tracking, value != 0, memory_order_relaxed);
}

static int64_t get_table_max(const struct mf_node *node)
{
    return atomic_load_explicit(&node->resp_settings.tracking_table_max_keys, memory_order_relaxed);
}

static void set_table_max(struct mf_node *node, int64_t value)
{
    atomic_store_explicit(&node->resp_settings.tracking_table_max_keys, value,
                          memory_order_relaxed);
}

static const struct choice yes_or_no[] = {{"yes", 1}, {"no", 0}, {NULL, 0}};
static const struct choice policies[] = {{"volatile-ttl", MF_EVICT_VOLATILE_TTL},
                                         {"allkeys-lru", MF_EVICT_ALLKEYS_LRU},
                                         {"noeviction", MF_EVICT_NONE},
                                         {NULL, 0}};
static const struct choice levels[] = {{"debug", MF_TRACE},
                                       {"verbose", MF_DEBUG},
                                       {"notice", MF_INFO},
                                       {"warning", MF_WARN},
                                       {NULL, 0}};

// clang-format off
static const struct setting settings[] = {
    {.name = "activedefrag", .text = "no"},
    {.name = "appendfsync", .tell = tell_appendfsync},
    {.name = "appendonly", .tell = tell_appendonly},
    {.name = "bind", .tell = tell_bind},
    {.name = "client-query-buffer-limit", .tell = tell_request_max},
    {.name = "cluster-enabled", .tell = tell_cluster},
    {.name = "cluster-node-timeout", .tell = tell_lease},
    {.name = "daemonize", .text = "no"},
    {.name = "databases", .text = "1"},
    {.name = "dbfilename", .text = ""},
    {.name = "dir", .tell = tell_dir},
    {.name = "enable-debug-command", .tell = tell_debug},
    {.name = "hz", .text = "50"},
    {.name = "io-threads", .tell = tell_threads},
    {.name = "io-threads-do-reads", .text = "yes"},
    {.name = "lazyfree-lazy-eviction", .text = "no"},
    {.name = "lazyfree-lazy-expire", .text = "no"},
    {.name = "lazyfree-lazy-server-del", .text = "no"},
    {.name = "lazyfree-lazy-user-del", .text = "no"},
    {.name = "lazyfree-lazy-user-flush", .text = "yes"},
    {.name = "latency-monitor-threshold", .kind = NUMBER, .get = get_latency, .set = set_latency,
     .min = 0, .max = INT64_MAX},
    {.name = "latency-tracking", .kind = SWITCH, .get = get_tracking, .set = set_tracking,
     .choices = yes_or_no},
    {.name = "logfile", .text = ""},
    {.name = "loglevel", .kind = CHOICE, .get = get_level, .set = set_level, .choices = levels},
    {.name = "maxclients", .kind = NUMBER, .get = get_clients, .set = set_clients,
     .min = 1, .max = 1000000, .refuses = refuses_clients},
    {.name = "maxmemory", .kind = BYTES, .get = get_memory, .set = set_memory, .visits = true},
    {.name = "maxmemory-policy", .kind = CHOICE, .get = get_policy, .set = set_policy,
     .choices = policies, .visits = true},
    {.name = "notify-keyspace-events", .kind = EVENTS, .get = get_notify, .set = set_notify},
    {.name = "pidfile", .text = ""},
    {.name = "port", .tell = tell_port},
    {.name = "proto-max-bulk-len", .tell = tell_value_max},
    {.name = "protected-mode", .text = "no"},
    {.name = "replicaof", .text = ""},
    {.name = "requirepass", .tell = tell_requirepass},
    {.name = "save", .tell = tell_save},
    {.name = "slowlog-log-slower-than", .kind = NUMBER, .get = get_slower, .set = set_slower,
     .min = -1, .max = INT64_MAX},
    {.name = "slowlog-max-len", .kind = NUMBER, .get = get_slowlog, .set = set_slowlog,
     .min = 0, .max = INT64_MAX},
    {.name = "tcp-backlog", .text = "1024"},
    {.name = "tcp-keepalive", .text = "60"},
    {.name = "timeout", .kind = NUMBER, .get = get_timeout, .set = set_timeout,
     .min = 0, .max = INT32_MAX, .visits = true},
    {.name = "tls-port", .text = "0"},
    {.name = "tracking-table-max-keys", .kind = NUMBER, .get = get_table_max,
     .set = set_table_max, .min = 0, .max = INT64_MAX},
    {.name = "unixsocket", .text = ""},
};
// clang-format on

// In the order in which Redis tells them.
static const struct choice letters[] = {
    {"g", MF_NOTIFY_GENERIC},  {"$", MF_NOTIFY_STRING},  {"l", MF_NOTIFY_LIST},
    {"s", MF_NOTIFY_SET},      {"h", MF_NOTIFY_HASH},    {"z", MF_NOTIFY_ZSET},
    {"x", MF_NOTIFY_EXPIRED},  {"e", MF_NOTIFY_EVICTED}, {"t", MF_NOTIFY_STREAM},
    {"d", MF_NOTIFY_MODULE},   {"n", MF_NOTIFY_NEW},     {"K", MF_NOTIFY_KEYSPACE},
    {"E", MF_NOTIFY_KEYEVENT}, {"m", MF_NOTIFY_MISS},    {"A", MF_NOTIFY_ALL},
};

static void put_events(struct mf_buf *out, uint32_t notify)
{
    bool all = (notify & MF_NOTIFY_ALL) == MF_NOTIFY_ALL;
    if (all)
        put_text(out, "A");
    for (size_t i = 0; i + 1 < COUNT(letters); i++) {
        bool in_all = ((uint32_t)letters[i].value & (MF_NOTIFY_ALL | MF_NOTIFY_NEW)) != 0;
        if ((notify & (uint32_t)letters[i].value) != 0 && !(all && in_all))
            put_text(out, letters[i].text);
    }
}

static void put_value(const struct mf_resp_session *session, const struct setting *setting,
                      struct mf_buf *out)
{
    const struct mf_node *node = session->client.reactor->node;
    switch (setting->kind) {
    case FIXED:
        if (setting->tell != NULL)
            setting->tell(session, out);
        else
            put_text(out, setting->text);
        break;
    case BYTES:
    case NUMBER:
        put_number(out, setting->get(node));
        break;
    case EVENTS:
        put_events(out, (uint32_t)setting->get(node));
        break;
    case CHOICE:
    case SWITCH:
        for (const struct choice *at = setting->choices; at->text != NULL; at++) {
            if (at->value == setting->get(node))
                put_text(out, at->text);
        }
        break;
    }
}

// CONFIG GET.

// The names as they are told: as they were asked for, if they were asked for by name.
struct found {
    struct mf_bytes names[COUNT(settings)]; // data NULL: not asked for
    uint32_t count;
};

static void add_found(struct found *found, size_t at, struct mf_bytes name)
{
    if (found->names[at].data != NULL)
        return;
    found->names[at] = name;
    found->count++;
}

static const struct setting *find(struct mf_bytes name)
{
    for (size_t i = 0; i < COUNT(settings); i++) {
        if (mf_resp_is(name, settings[i].name))
            return &settings[i];
    }
    return NULL;
}

static bool is_pattern(struct mf_bytes word)
{
    for (size_t i = 0; i < word.len; i++) {
        if (word.data[i] == '*' || word.data[i] == '?' || word.data[i] == '[')
            return true;
    }
    return false;
}

static void find_matches(struct found *found, struct mf_bytes pattern)
{
    uint8_t lower[PATTERNS_BYTES_MAX];
    for (size_t i = 0; i < pattern.len; i++) {
        uint8_t c = pattern.data[i];
        lower[i] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
    }
    struct mf_glob *glob = mf_glob_new(mf_bytes_of(lower, pattern.len));
    for (size_t i = 0; i < COUNT(settings); i++) {
        struct mf_bytes name = mf_bytes_str(settings[i].name);
        if (mf_glob_matches(glob, name))
            add_found(found, i, name);
    }
    mf_glob_free(glob);
}

// NULL, or why these are too many.
static const char *refusal(const struct mf_resp_session *session)
{
    size_t bytes = 0;
    if (mf_resp_words(session) - 2 > NAMES_MAX)
        return "ERR at most 1024 settings can be asked for at once";
    for (uint32_t i = 2; i < mf_resp_words(session); i++) {
        struct mf_bytes word = mf_resp_word(session, i);
        if (!is_pattern(word))
            continue;
        if (word.len > MF_GLOB_BYTES_MAX)
            return "ERR a pattern is over 1024 bytes";
        bytes += word.len;
    }
    return bytes > PATTERNS_BYTES_MAX ? "ERR the patterns are over 4096 bytes together" : NULL;
}

bool mf_resp_config_get(struct mf_resp_session *session)
{
    struct found found = {0};
    const char *wrong = refusal(session);
    if (wrong != NULL) {
        mf_resp_reply_error(session, wrong);
        return true;
    }
    for (uint32_t i = 2; i < mf_resp_words(session); i++) {
        struct mf_bytes word = mf_resp_word(session, i);
        const struct setting *setting = find(word);
        if (is_pattern(word))
            find_matches(&found, word);
        else if (setting != NULL)
            add_found(&found, (size_t)(setting - settings), word);
    }
    struct mf_buf *out = mf_resp_reply_begin(session);
    struct mf_buf value = {0};
    mf_resp_map(out, session->version, found.count);
    for (size_t i = 0; i < COUNT(settings); i++) {
        if (found.names[i].data == NULL)
            continue;
        mf_buf_clear(&value, SIZE_MAX);
        put_value(session, &settings[i], &value);
        mf_resp_bulk(out, found.names[i]);
        mf_resp_bulk(out, mf_buf_view(&value));
    }
    mf_buf_free(&value);
    mf_resp_reply_end(session);
    return true;
}

// CONFIG SET: all or nothing.

static const struct choice units[] = {
    {"", 1},        {"b", 1},        {"k", 1000},       {"kb", INT64_C(1) << 10},
    {"m", 1000000}, {"mb", 1 << 20}, {"g", 1000000000}, {"gb", INT64_C(1) << 30},
    {NULL, 0},
};

// As Redis reads it, but for what does not fit 63 bits.
static bool take_bytes(struct mf_bytes word, int64_t *value, char *why)
{
    size_t digits = 0;
    bool fits = true;
    *value = 0;
    for (; digits < word.len && word.data[digits] >= '0' && word.data[digits] <= '9'; digits++)
        fits = fits && !__builtin_mul_overflow(*value, 10, value) &&
               !__builtin_add_overflow(*value, word.data[digits] - '0', value);
    struct mf_bytes unit = mf_bytes_of(word.data + digits, word.len - digits);
    const struct choice *at = units;
    while (at->text != NULL && !mf_resp_is(unit, at->text))
        at++;
    if (at->text == NULL || digits > DIGITS_MAX) {
        strcpy(why, "argument must be a memory value");
        return false;
    }
    if (fits && !__builtin_mul_overflow(*value, at->value, value))
        return true;
    snprintf(why, WHY_BYTES_MAX, "argument must be between 0 and %" PRId64 " inclusive", INT64_MAX);
    return false;
}

static bool take_number(const struct setting *setting, struct mf_bytes word, int64_t *value,
                        char *why)
{
    if (!mf_resp_integer(word, value)) {
        strcpy(why, "argument couldn't be parsed into an integer");
        return false;
    }
    if (*value >= setting->min && *value <= setting->max)
        return true;
    snprintf(why, WHY_BYTES_MAX, "argument must be between %" PRId64 " and %" PRId64 " inclusive",
             setting->min, setting->max);
    return false;
}

static bool take_choice(const struct setting *setting, struct mf_bytes word, int64_t *value,
                        char *why)
{
    int len = snprintf(why, WHY_BYTES_MAX, "argument(s) must be one of the following: ");
    for (const struct choice *at = setting->choices; at->text != NULL; at++) {
        if (mf_resp_is(word, at->text)) {
            *value = at->value;
            return true;
        }
        len += snprintf(why + len, WHY_BYTES_MAX - (size_t)len, "%s%s",
                        at == setting->choices ? "" : ", ", at->text);
    }
    return false;
}

static bool take_events(struct mf_bytes word, int64_t *value, char *why)
{
    *value = 0;
    for (size_t i = 0; i < word.len; i++) {
        size_t at = 0;
        while (at < COUNT(letters) && letters[at].text[0] != (char)word.data[i])
            at++;
        if (at == COUNT(letters)) {
            strcpy(why, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
            return false;
        }
        *value |= letters[at].value;
    }
    return true;
}

static bool take_value(const struct setting *setting, struct mf_bytes word, int64_t *value,
                       char *why)
{
    switch (setting->kind) {
    case BYTES:
        return take_bytes(word, value, why);
    case NUMBER:
        return take_number(setting, word, value, why);
    case CHOICE:
        return take_choice(setting, word, value, why);
    case SWITCH:
        if (take_choice(setting, word, value, why))
            return true;
        strcpy(why, "argument must be 'yes' or 'no'");
        return false;
    case EVENTS:
        return take_events(word, value, why);
    case FIXED:
        break;
    }
    return false;
}

static bool fail(struct mf_resp_session *session, const char *name, int name_len, const char *why)
{
    mf_resp_errorf(mf_resp_reply_begin(session),
                   "ERR CONFIG SET failed (possibly related to argument '%.*s') - %s", name_len,
                   name, why);
    mf_resp_reply_end(session);
    return false;
}

// The settings that the words name, in their order; false with the error told. No more than there
// are: a name comes once.
static bool find_all(struct mf_resp_session *session, const struct setting **found)
{
    bool named[COUNT(settings)] = {false};
    for (uint32_t i = 2; i < mf_resp_words(session); i += 2) {
        struct mf_bytes word = mf_resp_word(session, i);
        const struct setting *setting = find(word);
        const char *name = (const char *)word.data;
        int len = mf_resp_text_len(word);
        if (setting == NULL) {
            mf_resp_errorf(mf_resp_reply_begin(session),
                           "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'", len,
                           name);
            mf_resp_reply_end(session);
            return false;
        }
        if (setting->kind == FIXED)
            return fail(session, name, len, "can't set immutable config");
        if (named[setting - settings])
            return fail(session, name, len, "duplicate parameter");
        named[setting - settings] = true;
        found[(i - 2) / 2] = setting;
    }
    return true;
}

static void log_set(const struct mf_resp_session *session, const struct setting *setting)
{
    struct mf_buf value = {0};
    put_value(session, setting, &value);
    mf_log(MF_INFO, "CONFIG SET %s %.*s, by %s", setting->name, (int)value.len,
           value.len > 0 ? (const char *)value.data : "", mf_conn_peer_name(session->client.conn));
    mf_buf_free(&value);
}

bool mf_resp_config_set(struct mf_resp_session *session)
{
    struct mf_node *node = session->client.reactor->node;
    const struct setting *found[COUNT(settings)];
    int64_t values[COUNT(settings)];
    char why[WHY_BYTES_MAX];
    bool visits = false;
    if (mf_resp_words(session) % 2 != 0) {
        mf_resp_reply_error(session, MF_RESP_SYNTAX);
        return true;
    }
    if (!find_all(session, found))
        return true;
    uint32_t count = (mf_resp_words(session) - 2) / 2;
    for (uint32_t i = 0; i < count; i++) {
        // find_all filled as many. NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage)
        if (!take_value(found[i], mf_resp_word(session, 2 * i + 3), &values[i], why) ||
            (found[i]->refuses != NULL && found[i]->refuses(node, values[i], why))) {
            (void)fail(session, found[i]->name, (int)strlen(found[i]->name), why);
            return true;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        found[i]->set(node, values[i]);
        visits = visits || found[i]->visits;
        log_set(session, found[i]);
    }
    if (visits)
        mf_resp_settings_changed(session);
    else
        mf_resp_reply_ok(session);
    return true;
}

// Every reactor takes over what it keeps itself.

struct visit {
    struct mf_task task;
    uint16_t home;
    uint16_t at;               // the reactor whose turn it is
    struct mf_resp_call *call; // NULL: it has been answered
};

static void take_over(struct mf_reactor *reactor)
{
    const struct mf_settings *now = &reactor->node->settings;
    uint64_t idle_s = atomic_load_explicit(&now->idle_timeout_s, memory_order_relaxed);
    mf_conn_pool_idle_timeout(reactor->pool, idle_s * 1000000);
    mf_resp_pauses_over(reactor);
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        if (reactor->shards[i].replica == NULL)
            continue;
        mf_replica_budget_changed(reactor->shards[i].replica);
        mf_reactor_touch(&reactor->shards[i]);
    }
}

static void come_home(struct mf_reactor *reactor, struct mf_task *task)
{
    (void)reactor;
    struct visit *visit = (struct visit *)task;
    if (visit->call != NULL) {
        mf_resp_status(mf_resp_call_reply(visit->call), "OK");
        mf_resp_call_end(visit->call);
    }
    free(visit);
}

static void arrive(struct mf_reactor *reactor, struct mf_task *task)
{
    struct visit *visit = (struct visit *)task;
    // One that is closing may have nothing left to set.
    if (!atomic_load_explicit(&reactor->node->closing, memory_order_relaxed))
        take_over(reactor);
    visit->at++;
    if (visit->at == reactor->node->reactor_count)
        task->run = come_home;
    mf_reactor_send(reactor, task->run == arrive ? visit->at : visit->home, task);
}

void mf_resp_settings_changed(struct mf_resp_session *session)
{
    struct visit *visit = mf_calloc(1, sizeof(*visit));
    visit->task.run = arrive;
    visit->home = session->client.reactor->index;
    if (session->capture != NULL)
        mf_resp_reply_ok(session);
    else
        visit->call = mf_resp_call_begin(session, MF_RESP_FORM_OK, (struct mf_resp_touch){0});
    mf_reactor_send(session->client.reactor, 0, &visit->task);
}

bool mf_resp_config_resetstat(struct mf_resp_session *session)
{
    mf_resp_node_reset(session->client.reactor->node);
    mf_resp_reply_ok(session);
    return true;
}

bool mf_resp_config_rewrite(struct mf_resp_session *session)
{
    mf_resp_reply_error(session, "ERR the configuration file is never written by the node: change "
                                 "it yourself, what CONFIG SET has set lasts until the node stops");
    return true;
}
