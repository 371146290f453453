// The table of configuration keys: the one place that names a key, its bounds, its default and its
// meaning. A new key is a row here and a field in config.h.
#include "server/config_table.h"

#include <stdio.h>
#include <string.h>

static const struct mf_config_choice copies[] = {{"1", 1}, {"3", 3}, {"5", 5}, {"7", 7}, {NULL, 0}};
static const struct mf_config_choice durabilities[] = {{"fsync", MF_DURABILITY_FSYNC},
                                                       {"os", MF_DURABILITY_OS},
                                                       {"none", MF_DURABILITY_NONE},
                                                       {NULL, 0}};
static const struct mf_config_choice evictions[] = {{"noeviction", MF_EVICT_NONE},
                                                    {"volatile-ttl", MF_EVICT_VOLATILE_TTL},
                                                    {"allkeys-lru", MF_EVICT_ALLKEYS_LRU},
                                                    {NULL, 0}};
static const struct mf_config_choice no_yes[] = {{"no", 0}, {"yes", 1}, {NULL, 0}};
static const struct mf_config_choice levels[] = {{"trace", MF_TRACE}, {"debug", MF_DEBUG},
                                                 {"info", MF_INFO},   {"warn", MF_WARN},
                                                 {"error", MF_ERROR}, {NULL, 0}};
static const struct mf_config_choice formats[] = {
    {"text", MF_LOG_TEXT}, {"json", MF_LOG_JSON}, {NULL, 0}};

#define KB UINT64_C(1024)
#define MB (KB * 1024)
#define GB (MB * 1024)
#define YEAR_S 31536000u
#define HOUR_MS 3600000u
// Leaves room for file names after a folder's: PATH_MAX is 4096.
#define PATH_BYTES_MAX 3840

// A field's place in struct mf_config, and the row's first columns.
#define AT(field) offsetof(struct mf_config, field), sizeof(((struct mf_config *)0)->field)
#define INTEGER(section, name, field) section, name, MF_CONFIG_INTEGER, AT(field)
#define SIZE(section, name, field) section, name, MF_CONFIG_SIZE, AT(field)
#define CHOICE(section, name, field) section, name, MF_CONFIG_CHOICE, AT(field), 0, 0
#define TEXT(section, name, field) section, name, MF_CONFIG_TEXT, AT(field)
#define HOST(section, name, field) section, name, MF_CONFIG_HOST, AT(field), 0, 255
#define ADDRESS(section, name, field) section, name, MF_CONFIG_ADDRESS, AT(field)

// clang-format off
const struct mf_config_key mf_config_keys[] = {
    {INTEGER("node", "id", id), 1, UINT16_MAX, NULL, "1", false,
     "this node's number, unique in the cluster"},
    {TEXT("node", "data_dir", data_dir), 1, PATH_BYTES_MAX, NULL, "./mayfly-data", false,
     "the folder for logs and snapshots; made when absent"},
    {INTEGER("node", "threads", threads), 0, MF_THREADS_MAX, NULL, "0", false,
     "reactor threads; 0 = one per CPU"},

    {TEXT("cluster", "name", name), 1, 127, NULL, "mayfly", false,
     "nodes of different names refuse each other"},
    {INTEGER("cluster", "shards", shards), 1, 16384, NULL, "64", false,
     "fixed when the cluster is first formed"},
    {CHOICE("cluster", "replicas", replicas), copies, NULL, false,
     "copies of each shard; default 3, or 1 below 3 nodes"},
    {"cluster", "nodes", MF_CONFIG_NODES, AT(nodes), 0, MF_NODES_MAX, NULL, "", false,
     "id=host:port, ...: the first members; empty = this node alone"},
    {TEXT("cluster", "secret", secret), 0, 255, NULL, "", true,
     "shared by all nodes; peers without it are refused"},

    {ADDRESS("listen", "rpc", rpc), 0, 299, NULL, "127.0.0.1:7001", false,
     "MessagePack-RPC; empty = off"},
    {ADDRESS("listen", "resp", resp), 0, 299, NULL, "127.0.0.1:7002", false,
     "Redis protocol, any node answers for any key; empty = off"},
    {ADDRESS("listen", "resp_cluster", resp_cluster), 0, 299, NULL, "", false,
     "Redis Cluster protocol (MOVED); empty = off"},
    {ADDRESS("listen", "http", http), 0, 299, NULL, "127.0.0.1:7003", false,
     "admin, metrics, REST, dashboard; no effect yet"},
    {ADDRESS("listen", "peer", peer), 1, 299, NULL, NULL, false,
     "other nodes; default this node's in cluster.nodes, or port 7100"},
    {HOST("listen", "advertise_host", advertise_host), NULL, "", false,
     "the host that clients and peers are told, when it differs"},

    {CHOICE("durability", "mode", durability), durabilities, "fsync", false,
     "what a write survives"},

    {SIZE("memory", "max_bytes", memory_bytes_max), 0, INT64_MAX, NULL, "0", false,
     "memory for keys and values; 0 = no limit"},
    {CHOICE("memory", "eviction", eviction), evictions, "noeviction", false,
     "at the limit"},

    {SIZE("limits", "max_key", key_bytes_max), 1, 16 * MB, NULL, "64kb", false,
     "the longest key"},
    {SIZE("limits", "max_value", value_bytes_max), 1, GB, NULL, "64mb", false,
     "the longest value"},
    {SIZE("limits", "max_request", request_bytes_max), 64, 2 * GB, NULL, "128mb", false,
     "the longest request"},
    {INTEGER("limits", "max_clients", clients_max), 1, 1000000, NULL, "10000", false,
     "connections at one time"},
    {INTEGER("limits", "idle_timeout", idle_timeout_s), 0, YEAR_S, NULL, "0", false,
     "seconds until an idle client is closed; 0 = never"},
    {INTEGER("limits", "stall_timeout", stall_timeout_s), 0, YEAR_S, NULL, "60", false,
     "seconds to end a request or take replies; 0 = any"},
    {INTEGER("limits", "request_timeout", request_timeout_ms), 1, HOUR_MS, NULL, "5000", false,
     "ms that a request waits for a leader"},

    {TEXT("security", "password", password), 0, 4095, NULL, "", true,
     "empty = none; one for all users, or user:password,..."},
    {CHOICE("security", "open", open), no_yes, "no", false,
     "other machines need no password, nor peers a secret"},
    {CHOICE("security", "debug_commands", debug_commands), no_yes, "no", false,
     "DEBUG on the Redis port; for tests only"},
    {TEXT("security", "tls_cert", tls_cert), 0, PATH_BYTES_MAX, NULL, "", false,
     "must be empty: this version has no TLS"},
    {TEXT("security", "tls_key", tls_key), 0, PATH_BYTES_MAX, NULL, "", false,
     "must be empty: this version has no TLS"},
    {TEXT("security", "tls_ca", tls_ca), 0, PATH_BYTES_MAX, NULL, "", false,
     "must be empty: this version has no TLS"},

    {INTEGER("consensus", "heartbeat_ms", heartbeat_ms), 1, 60000, NULL, "50", false,
     "how often nodes hear of each other"},
    {INTEGER("consensus", "lease_ms", lease_ms), 4, 600000, NULL, "500", false,
     "failover detection time, at least 4 heartbeats"},

    {TEXT("snapshot", "dir", snapshot_dir), 0, PATH_BYTES_MAX, NULL, "", false,
     "empty = DATA_DIR/snapshots"},
    {INTEGER("snapshot", "interval_s", snapshot_interval_s), 0, YEAR_S, NULL, "0", false,
     "seconds between snapshots; 0 = never"},
    {INTEGER("snapshot", "keep", snapshot_keep), 1, 100000, NULL, "7", false,
     "how many of those made at intervals stay"},

    {CHOICE("log", "level", log_level), levels, "info", false, "the least that is logged"},
    {CHOICE("log", "format", log_format), formats, "text", false, "of log lines on stderr"},
};
// clang-format on
_Static_assert(sizeof(mf_config_keys) / sizeof(mf_config_keys[0]) == MF_CONFIG_KEY_COUNT,
               "MF_CONFIG_KEY_COUNT is the number of rows");

const struct mf_config_key *mf_config_key_find(const char *section, const char *name)
{
    for (size_t i = 0; i < MF_CONFIG_KEY_COUNT; i++) {
        const struct mf_config_key *key = &mf_config_keys[i];
        if (strcmp(key->section, section) == 0 && strcmp(key->name, name) == 0)
            return key;
    }
    return NULL;
}

bool mf_config_section_known(const char *section)
{
    for (size_t i = 0; i < MF_CONFIG_KEY_COUNT; i++) {
        if (strcmp(mf_config_keys[i].section, section) == 0)
            return true;
    }
    return false;
}

static size_t list_one(char *out, size_t size, size_t len, const char *text)
{
    int more = len < size ? snprintf(out + len, size - len, "%s%s", len > 0 ? ", " : "", text) : 0;
    return len + (more > 0 ? (size_t)more : 0);
}

void mf_config_sections_list(char *out, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; i < MF_CONFIG_KEY_COUNT; i++) {
        const char *section = mf_config_keys[i].section;
        if (i == 0 || strcmp(section, mf_config_keys[i - 1].section) != 0)
            len = list_one(out, size, len, section);
    }
}

void mf_config_names_list(const char *section, char *out, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; i < MF_CONFIG_KEY_COUNT; i++) {
        if (strcmp(mf_config_keys[i].section, section) == 0)
            len = list_one(out, size, len, mf_config_keys[i].name);
    }
}

static void print_values(const struct mf_config_key *key)
{
    char low[32];
    char high[32];
    switch (key->kind) {
    case MF_CONFIG_INTEGER:
        printf(" (%llu to %llu)", (unsigned long long)key->min, (unsigned long long)key->max);
        break;
    case MF_CONFIG_SIZE:
        mf_config_size_format(key->min, low, sizeof(low));
        mf_config_size_format(key->max, high, sizeof(high));
        if (key->max < INT64_MAX)
            printf(" (%s to %s)", low, high);
        break;
    case MF_CONFIG_CHOICE:
        for (const struct mf_config_choice *c = key->choices; c->text != NULL; c++)
            printf("%s%s", c == key->choices ? " (" : " | ", c->text);
        printf(")");
        break;
    default:
        break;
    }
}

// In the form of a configuration file: what is printed can be saved, changed and used.
void mf_config_print_reference(void)
{
    const char *section = "";
    for (size_t i = 0; i < MF_CONFIG_KEY_COUNT; i++) {
        const struct mf_config_key *key = &mf_config_keys[i];
        if (strcmp(section, key->section) != 0)
            printf("%s[%s]\n", i == 0 ? "" : "\n", key->section);
        section = key->section;
        char setting[64];
        snprintf(setting, sizeof(setting), "%s%s = %s", key->preset == NULL ? "# " : "", key->name,
                 key->preset == NULL ? "" : key->preset);
        printf("%-26s # %s", setting, key->help);
        print_values(key);
        printf("\n");
    }
}
