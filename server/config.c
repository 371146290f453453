// From files and flags to one checked configuration; see config.h.
//
// Every value comes in through assign(), from a file or a flag, and is checked by itself there.
// What holds between keys is checked, and what depends on other keys is filled in, by resolve().
#include "server/config.h"

#include <arpa/inet.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "server/config_paths.h"
#include "server/config_table.h"

#define VALUE_SHOWN_MAX 140 // bytes of a name or value that a message repeats
#define SECTION_BYTES_MAX 64
#define HEARTBEATS_PER_LEASE 4

enum origin { PRESET, FILE_LINE, FLAG };

// Where a key's value comes from, and its text, kept for messages.
struct given {
    enum origin origin;
    unsigned line;
    char *value;
};

struct loader {
    struct mf_config *config;
    const char *file;
    struct given given[MF_CONFIG_KEY_COUNT];
    char *message;
    size_t message_size;
};

static struct given *given_of(struct loader *loader, const struct mf_config_key *key)
{
    return &loader->given[key - mf_config_keys];
}

static bool is_given(struct loader *loader, const char *section, const char *name)
{
    return given_of(loader, mf_config_key_find(section, name))->origin != PRESET;
}

// What stands in the message for a value: cut, on one line, and never a secret.
static void show(const struct mf_config_key *key, const char *value, char out[VALUE_SHOWN_MAX + 4])
{
    if (key != NULL && key->hidden) {
        strcpy(out, "(hidden)");
        return;
    }
    // No caller passes NULL. NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker)
    size_t len = strnlen(value, VALUE_SHOWN_MAX);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)value[i];
        out[i] = c < ' ' || c == 0x7f ? '?' : value[i];
    }
    strcpy(out + len, value[len] == '\0' ? "" : "...");
}

// `FILE:LINE: section.key = value: why`, or `--section.key = value: why`.
static enum mf_err complain(struct loader *loader, enum origin origin, unsigned line,
                            const char *name, const char *shown, const char *why)
{
    if (origin == FILE_LINE)
        snprintf(loader->message, loader->message_size, "%s:%u: %s = %s: %s", loader->file, line,
                 name, shown, why);
    else
        snprintf(loader->message, loader->message_size, "%s%s = %s: %s", origin == FLAG ? "--" : "",
                 name, shown, why);
    return MF_BAD_REQUEST;
}

static enum mf_err unknown_key(struct loader *loader, enum origin origin, unsigned line,
                               const char *section, const char *name, const char *value)
{
    char full[VALUE_SHOWN_MAX + 1];
    snprintf(full, sizeof(full), "%.*s.%.*s", SECTION_BYTES_MAX, section, SECTION_BYTES_MAX, name);
    char full_shown[VALUE_SHOWN_MAX + 4];
    show(NULL, full, full_shown);
    char shown[VALUE_SHOWN_MAX + 4];
    show(NULL, value, shown);
    bool section_known = mf_config_section_known(section);
    char known[256];
    if (section_known)
        mf_config_names_list(section, known, sizeof(known));
    else
        mf_config_sections_list(known, sizeof(known));
    char why[320];
    snprintf(why, sizeof(why), "unknown %s: expected one of %s", section_known ? "key" : "section",
             known);
    return complain(loader, origin, line, full_shown, shown, why);
}

// Complains about a key by where its value came from.
__attribute__((format(printf, 4, 5))) static enum mf_err
complain_of(struct loader *loader, const char *section, const char *name, const char *format, ...)
{
    const struct mf_config_key *key = mf_config_key_find(section, name);
    const struct given *given = given_of(loader, key);
    char full[2 * SECTION_BYTES_MAX];
    snprintf(full, sizeof(full), "%s.%s", section, name);
    char shown[VALUE_SHOWN_MAX + 4];
    const char *preset = key->preset != NULL ? key->preset : "";
    show(key, given->value != NULL ? given->value : preset, shown);
    char why[512];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    return complain(loader, given->origin, given->line, full, shown, why);
}

// Takes one value. A flag replaces what a file said; twice in the same place is an error.
static enum mf_err assign(struct loader *loader, enum origin origin, unsigned line,
                          const char *section, const char *name, const char *value)
{
    const struct mf_config_key *key = mf_config_key_find(section, name);
    if (key == NULL)
        return unknown_key(loader, origin, line, section, name, value);
    struct given *given = given_of(loader, key);
    struct given before = *given;
    *given = (struct given){.origin = origin, .line = line, .value = mf_strdup(value)};
    free(before.value);
    if (before.origin == origin) {
        if (origin == FILE_LINE)
            return complain_of(loader, section, name, "repeated: line %u has it already",
                               before.line);
        return complain_of(loader, section, name, "repeated: expected the flag once");
    }
    char expected[256];
    if (!mf_config_value_set(key, value, loader->config, expected, sizeof(expected)))
        return complain_of(loader, section, name, "expected %s", expected);
    return MF_OK;
}

static enum mf_err assign_from_file(void *arg, unsigned line, const char *section, const char *name,
                                    const char *value)
{
    return assign(arg, FILE_LINE, line, section, name, value);
}

static void preset(struct loader *loader)
{
    memset(loader->config, 0, sizeof(*loader->config));
    for (size_t i = 0; i < MF_CONFIG_KEY_COUNT; i++) {
        const struct mf_config_key *key = &mf_config_keys[i];
        char expected[256];
        if (key->preset != NULL &&
            !mf_config_value_set(key, key->preset, loader->config, expected, sizeof(expected)))
            abort(); // a slip in the table, found by the first start
    }
}

static enum mf_err resolve_nodes(struct loader *loader)
{
    struct mf_config *config = loader->config;
    bool peer_given = is_given(loader, "listen", "peer");
    if (config->node_count == 0) {
        if (!peer_given)
            strcpy(config->peer, "127.0.0.1:7100");
        config->node_count = 1;
        config->nodes[0].id = config->id;
        memcpy(config->nodes[0].peer, config->peer, sizeof(config->peer));
        return MF_OK;
    }
    for (uint32_t i = 0; i < config->node_count; i++) {
        if (config->nodes[i].id != config->id)
            continue;
        if (!peer_given)
            memcpy(config->peer, config->nodes[i].peer, sizeof(config->peer));
        return MF_OK;
    }
    if (is_given(loader, "node", "id") && peer_given && config->peer[0] != '\0')
        return MF_OK; // it is to be added to a cluster that runs
    if (is_given(loader, "node", "id"))
        return complain_of(loader, "node", "id", "expected an id that is in cluster.nodes");
    return complain_of(loader, "cluster", "nodes", "expected node.id (%u, the default) among them",
                       config->id);
}

static void resolve_replicas(struct loader *loader)
{
    struct mf_config *config = loader->config;
    if (!is_given(loader, "cluster", "replicas"))
        config->replicas = config->node_count >= 3 ? 3 : 1;
}

static void resolve_threads(struct mf_config *config)
{
    if (config->threads > 0)
        return;
    cpu_set_t cpus;
    bool known = sched_getaffinity(0, sizeof(cpus), &cpus) == 0;
    long count = known ? CPU_COUNT(&cpus) : sysconf(_SC_NPROCESSORS_ONLN);
    config->threads = count < 1 ? 1 : count > MF_THREADS_MAX ? MF_THREADS_MAX : (uint32_t)count;
}

static void resolve_snapshot_dir(struct mf_config *config)
{
    if (config->snapshot_dir[0] == '\0')
        snprintf(config->snapshot_dir, sizeof(config->snapshot_dir), "%.*s/snapshots",
                 (int)sizeof(config->snapshot_dir) - 16, config->data_dir);
}

static enum mf_err check_snapshot_dir(struct loader *loader)
{
    const struct mf_config *config = loader->config;
    const char *expected =
        is_given(loader, "snapshot", "dir")
            ? mf_config_refuse_snapshot_dir(config->data_dir, config->snapshot_dir)
            : NULL;
    return expected == NULL ? MF_OK : complain_of(loader, "snapshot", "dir", "%s", expected);
}

static enum mf_err check_lease(struct loader *loader)
{
    const struct mf_config *config = loader->config;
    if (config->lease_ms >= HEARTBEATS_PER_LEASE * config->heartbeat_ms)
        return MF_OK;
    if (is_given(loader, "consensus", "lease_ms"))
        return complain_of(loader, "consensus", "lease_ms",
                           "expected at least %d times consensus.heartbeat_ms (%u)",
                           HEARTBEATS_PER_LEASE, config->heartbeat_ms);
    return complain_of(loader, "consensus", "heartbeat_ms",
                       "expected at most 1/%d of consensus.lease_ms (%u)", HEARTBEATS_PER_LEASE,
                       config->lease_ms);
}

// Listeners share ports with SO_REUSEPORT, so that two protocols on one address would each get a
// part of the other's clients: nothing but this check would say so.
static enum mf_err check_listeners(struct loader *loader)
{
    const struct {
        const char *name;
        const char *address;
    } listeners[] = {{"rpc", loader->config->rpc},
                     {"resp", loader->config->resp},
                     {"resp_cluster", loader->config->resp_cluster},
                     {"http", loader->config->http},
                     {"peer", loader->config->peer}};
    size_t count = sizeof(listeners) / sizeof(listeners[0]);
    for (size_t i = 0; i < count; i++) {
        const char *port = strrchr(listeners[i].address, ':');
        if (port == NULL || strtoul(port + 1, NULL, 10) == 0)
            continue; // off, or whatever port is free
        for (size_t j = i + 1; j < count; j++) {
            if (strcmp(listeners[i].address, listeners[j].address) != 0)
                continue;
            bool later = is_given(loader, "listen", listeners[j].name);
            size_t blamed = later ? j : i;
            return complain_of(loader, "listen", listeners[blamed].name,
                               "expected another address than listen.%s has",
                               listeners[later ? i : j].name);
        }
    }
    return MF_OK;
}

// Better no start than one without the encryption that was asked for.
static enum mf_err check_tls(struct loader *loader)
{
    const char *const names[] = {"tls_cert", "tls_key", "tls_ca"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct given *given = given_of(loader, mf_config_key_find("security", names[i]));
        if (given->value != NULL && given->value[0] != '\0')
            return complain_of(loader, "security", names[i],
                               "expected nothing: this version has no TLS");
    }
    return MF_OK;
}

// A pair without a user, or with an empty password, would let in who says nothing.
static enum mf_err check_password(struct loader *loader)
{
    const char *at = loader->config->password;
    if (strchr(at, ':') == NULL)
        return MF_OK;
    while (*at != '\0') {
        size_t len = strcspn(at, ",");
        const char *colon = memchr(at, ':', len);
        if (colon == NULL || colon == at || colon + 1 == at + len)
            return complain_of(loader, "security", "password",
                               "expected one password, or user:password, user:password, ...");
        at += len;
        at += strspn(at, ", ");
    }
    return MF_OK;
}

static bool is_loopback(const char *address)
{
    char host[300];
    const char *colon = strrchr(address, ':');
    snprintf(host, sizeof(host), "%.*s", colon != NULL ? (int)(colon - address) : 0, address);
    struct in_addr ipv4;
    bool local = inet_pton(AF_INET, host, &ipv4) == 1 && ntohl(ipv4.s_addr) >> 24 == 127;
    return local || strcmp(host, "[::1]") == 0 || strcmp(host, "localhost") == 0;
}

// Whoever reaches a port may do everything there, unless something is asked for.
static enum mf_err check_exposure(struct loader *loader)
{
    const struct mf_config *config = loader->config;
    const struct {
        const char *name;
        const char *address;
        const char *wanted;
        bool guarded;
    } listeners[] = {
        {"rpc", config->rpc, "security.password", config->password[0] != '\0'},
        {"resp", config->resp, "security.password", config->password[0] != '\0'},
        {"resp_cluster", config->resp_cluster, "security.password", config->password[0] != '\0'},
        {"peer", config->peer, "cluster.secret", config->secret[0] != '\0'}};
    for (size_t i = 0; i < sizeof(listeners) / sizeof(listeners[0]) && config->open == 0; i++) {
        if (listeners[i].guarded || listeners[i].address[0] == '\0' ||
            is_loopback(listeners[i].address))
            continue;
        bool given = is_given(loader, "listen", listeners[i].name); // else it is in cluster.nodes
        return complain_of(loader, given ? "listen" : "cluster",
                           given ? listeners[i].name : "nodes",
                           "other machines reach %s: expected a %s, or security.open = yes",
                           listeners[i].address, listeners[i].wanted);
    }
    return MF_OK;
}

static enum mf_err resolve(struct loader *loader)
{
    enum mf_err err = resolve_nodes(loader);
    if (err != MF_OK)
        return err;
    resolve_replicas(loader);
    resolve_threads(loader->config);
    resolve_snapshot_dir(loader->config);
    err = check_lease(loader);
    if (err == MF_OK)
        err = check_snapshot_dir(loader);
    if (err == MF_OK)
        err = check_listeners(loader);
    if (err == MF_OK)
        err = check_password(loader);
    return err == MF_OK ? check_tls(loader) : err;
}

// One flag of the command line; value is NULL for a switch without one.
struct flag {
    const char *text; // as typed, for messages
    char name[2 * SECTION_BYTES_MAX];
    const char *value;
};

static enum mf_err complain_flag(struct loader *loader, const char *text, const char *why)
{
    char shown[VALUE_SHOWN_MAX + 4];
    show(NULL, text, shown);
    snprintf(loader->message, loader->message_size, "%s: %s", shown, why);
    return MF_BAD_REQUEST;
}

static bool is_switch(const char *name)
{
    return strcmp(name, "check-config") == 0 || strcmp(name, "help") == 0 ||
           strcmp(name, "version") == 0;
}

// Reads the flag at argv[*at] and moves *at past it and its value.
static enum mf_err next_flag(struct loader *loader, int argc, char **argv, int *at,
                             struct flag *flag)
{
    const char *text = argv[(*at)++];
    flag->text = text;
    if (strncmp(text, "--", 2) != 0)
        return complain_flag(loader, text, "unexpected argument, expected a flag (see --help)");
    const char *equals = strchrnul(text, '=');
    size_t len = (size_t)(equals - text) - 2;
    if (len >= sizeof(flag->name))
        return complain_flag(loader, text, "unknown flag (see --help)");
    memcpy(flag->name, text + 2, len);
    flag->name[len] = '\0';
    flag->value = *equals == '=' ? equals + 1 : NULL;
    if (is_switch(flag->name))
        return flag->value == NULL ? MF_OK : complain_flag(loader, text, "expected no value");
    if (strchr(flag->name, '.') == NULL && strcmp(flag->name, "config") != 0)
        return complain_flag(loader, text, "unknown flag (see --help)");
    if (flag->value != NULL)
        return MF_OK;
    if (*at == argc || strncmp(argv[*at], "--", 2) == 0)
        return complain_flag(loader, text, "expected a value, as in --section.key=value");
    flag->value = argv[(*at)++];
    return MF_OK;
}

// The flags that are no keys. *keys tells whether there are others.
static enum mf_err read_options(struct loader *loader, int argc, char **argv,
                                struct mf_config_options *options, bool *keys)
{
    for (int at = 1; at < argc;) {
        struct flag flag;
        enum mf_err err = next_flag(loader, argc, argv, &at, &flag);
        if (err != MF_OK)
            return err;
        if (strcmp(flag.name, "help") == 0) {
            options->help = true;
            return MF_OK;
        }
        if (strcmp(flag.name, "version") == 0) {
            options->version = true;
            return MF_OK;
        }
        if (strcmp(flag.name, "check-config") == 0) {
            options->check_only = true;
        } else if (strcmp(flag.name, "config") == 0) {
            if (options->file != NULL)
                return complain_flag(loader, flag.text, "repeated: expected the flag once");
            options->file = flag.value;
        } else {
            *keys = true;
        }
    }
    return MF_OK;
}

static enum mf_err assign_flags(struct loader *loader, int argc, char **argv)
{
    for (int at = 1; at < argc;) {
        struct flag flag;
        enum mf_err err = next_flag(loader, argc, argv, &at, &flag);
        if (err != MF_OK)
            return err;
        char *dot = strchr(flag.name, '.');
        if (dot == NULL)
            continue;
        *dot = '\0';
        err = assign(loader, FLAG, 0, flag.name, dot + 1, flag.value);
        if (err != MF_OK)
            return err;
    }
    return MF_OK;
}

static enum mf_err read_file(struct loader *loader, const char *file)
{
    loader->file = file;
    return mf_config_file_read(file, assign_from_file, loader, loader->message,
                               loader->message_size);
}

static void forget(struct loader *loader)
{
    for (size_t i = 0; i < MF_CONFIG_KEY_COUNT; i++)
        free(loader->given[i].value);
}

enum mf_err mf_config_load(int argc, char **argv, struct mf_config *config,
                           struct mf_config_options *options, char *message, size_t message_size)
{
    struct loader loader = {.config = config, .message = message, .message_size = message_size};
    *options = (struct mf_config_options){0};
    preset(&loader);
    bool keys = false;
    enum mf_err err = read_options(&loader, argc, argv, options, &keys);
    if (err != MF_OK || options->help || options->version)
        return err;
    if (options->file != NULL)
        err = read_file(&loader, options->file);
    if (err == MF_OK)
        err = assign_flags(&loader, argc, argv);
    // Started bare, a node is for trying things out: it leaves nothing on the disk.
    if (options->file == NULL && !keys)
        config->durability = MF_DURABILITY_NONE;
    if (err == MF_OK)
        err = resolve(&loader);
    if (err == MF_OK)
        err = check_exposure(&loader);
    forget(&loader);
    return err;
}

enum mf_err mf_config_read_file(const char *file, struct mf_config *config, char *message,
                                size_t message_size)
{
    struct loader loader = {.config = config, .message = message, .message_size = message_size};
    preset(&loader);
    enum mf_err err = read_file(&loader, file);
    if (err == MF_OK)
        err = resolve(&loader);
    forget(&loader);
    return err;
}
