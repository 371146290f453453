// The configuration of one node: an INI file, flags that win over it, defaults for the rest.
//
// One table (config.c) names every key with its section, type, bounds and default; reading,
// checking, flags and the reference in the manual page all follow from it.
#ifndef MF_SERVER_CONFIG_H
#define MF_SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "shards/evict.h"

#define MF_NODES_MAX 64
#define MF_THREADS_MAX 256

enum mf_durability { MF_DURABILITY_FSYNC, MF_DURABILITY_OS, MF_DURABILITY_NONE };

struct mf_config_node {
    uint16_t id;
    char peer[300]; // "host:port"
};

struct mf_config {
    // [node]
    uint16_t id;
    char data_dir[4096];
    uint32_t threads; // resolved: never 0
    // [cluster]
    char name[128];
    uint32_t shards;
    // As given; there are never more copies than nodes.
    uint32_t replicas;
    // Sorted by id; contains this node, unless that is to be added to a cluster that runs.
    struct mf_config_node nodes[MF_NODES_MAX];
    uint32_t node_count;
    char secret[256];
    // [listen], "host:port" or empty = off
    char rpc[300];
    char resp[300];
    char resp_cluster[300];
    char http[300];
    char peer[300];
    char advertise_host[256];
    // [durability]
    enum mf_durability durability;
    // [memory]
    uint64_t memory_bytes_max;
    enum mf_eviction eviction;
    // [limits]
    uint64_t key_bytes_max;
    uint64_t value_bytes_max;
    uint64_t request_bytes_max;
    uint32_t clients_max;
    uint32_t idle_timeout_s;
    uint32_t stall_timeout_s;
    uint32_t request_timeout_ms;
    // [security]
    char password[4096];
    uint32_t open;           // 1: ports for others than this machine need no password or secret
    uint32_t debug_commands; // 1: DEBUG of the Redis door is allowed
    char tls_cert[4096];
    char tls_key[4096];
    char tls_ca[4096];
    // [consensus]
    uint32_t heartbeat_ms;
    uint32_t lease_ms;
    // [snapshot]
    char snapshot_dir[4096];      // resolved: never empty
    uint32_t snapshot_interval_s; // 0 = never
    uint32_t snapshot_keep;       // of those
    // [log]
    enum mf_log_level log_level;
    enum mf_log_format log_format;
};

// Whether these bytes are a peer's address as cluster.nodes may have it: host:port, port not 0.
bool mf_config_is_peer(const char *text, size_t len);

struct mf_config_options {
    const char *file; // NULL = none
    bool check_only;  // --check-config
    bool help;
    bool version;
};

// Defaults, then the file, then flags `--section.key=value` (also `--section.key value`,
// `--config FILE`, `--check-config`, `--help`, `--version`). Without a file and without a flag for
// a key the durability is none: memory only. After --help or --version nothing else is looked at
// and config is not to be used. On MF_BAD_REQUEST `message` is one line: `FILE:LINE: section.key =
// value: what was expected`, or `--section.key = value: ...` for a flag.
MF_MUST_USE enum mf_err mf_config_load(int argc, char **argv, struct mf_config *config,
                                       struct mf_config_options *options, char *message,
                                       size_t message_size);

// A file alone, as the offline tools read it.
MF_MUST_USE enum mf_err mf_config_read_file(const char *file, struct mf_config *config,
                                            char *message, size_t message_size);

// Writes every key with its default and meaning, for --help.
void mf_config_print_reference(void);

#endif
