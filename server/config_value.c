// Reading of one configuration value, by kind: integers, sizes, choices, addresses, node lists.
//
// Nothing here touches the network: a host is checked by its spelling, and resolved when it is
// used.
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/config_table.h"

#define HOST_BYTES_MAX 253 // RFC 1035, without the final dot

// Digits only, no sign, no blanks; false also when 64 bits do not hold it.
static bool parse_digits(const char *text, size_t len, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *out = value;
    return len > 0;
}

static void store_number(const struct mf_config_key *key, struct mf_config *config, uint64_t value)
{
    char *field = (char *)config + key->offset;
    uint16_t two = (uint16_t)value;
    uint32_t four = (uint32_t)value;
    if (key->size == sizeof(two))
        memcpy(field, &two, sizeof(two));
    else if (key->size == sizeof(four))
        memcpy(field, &four, sizeof(four));
    else
        memcpy(field, &value, sizeof(value));
}

static bool set_integer(const struct mf_config_key *key, const char *value,
                        struct mf_config *config, char *expected, size_t expected_size)
{
    uint64_t number;
    if (!parse_digits(value, strlen(value), &number) || number < key->min || number > key->max) {
        snprintf(expected, expected_size, "an integer from %llu to %llu",
                 (unsigned long long)key->min, (unsigned long long)key->max);
        return false;
    }
    store_number(key, config, number);
    return true;
}

void mf_config_size_format(uint64_t bytes, char *out, size_t out_size)
{
    static const char *const units[] = {"", "kb", "mb", "gb"};
    size_t unit = 0;
    while (bytes > 0 && bytes % 1024 == 0 && unit < 3) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, out_size, "%llu%s", (unsigned long long)bytes, units[unit]);
}

static bool parse_size(const char *text, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {{"", 1}, {"kb", 1024}, {"mb", 1048576}, {"gb", 1073741824}};
    size_t digits = strspn(text, "0123456789");
    uint64_t number;
    if (!parse_digits(text, digits, &number))
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcasecmp(text + digits, units[i].name) == 0)
            return !__builtin_mul_overflow(number, units[i].factor, out);
    }
    return false;
}

static bool set_size(const struct mf_config_key *key, const char *value, struct mf_config *config,
                     char *expected, size_t expected_size)
{
    uint64_t bytes;
    if (!parse_size(value, &bytes) || bytes < key->min || bytes > key->max) {
        char low[32];
        char high[32];
        mf_config_size_format(key->min, low, sizeof(low));
        mf_config_size_format(key->max, high, sizeof(high));
        snprintf(expected, expected_size, "a size from %s to %s, in bytes, kb, mb or gb", low,
                 high);
        return false;
    }
    store_number(key, config, bytes);
    return true;
}

static bool set_choice(const struct mf_config_key *key, const char *value, struct mf_config *config,
                       char *expected, size_t expected_size)
{
    for (const struct mf_config_choice *choice = key->choices; choice->text != NULL; choice++) {
        if (strcmp(choice->text, value) == 0) {
            store_number(key, config, choice->value);
            return true;
        }
    }
    size_t len = (size_t)snprintf(expected, expected_size, "one of ");
    for (const struct mf_config_choice *choice = key->choices; choice->text != NULL; choice++) {
        len += (size_t)snprintf(expected + len, expected_size - len, "%s%s",
                                choice == key->choices ? "" : ", ", choice->text);
    }
    return false;
}

static bool set_text(const struct mf_config_key *key, const char *value, struct mf_config *config,
                     char *expected, size_t expected_size)
{
    size_t len = strlen(value);
    if (len < key->min || len > key->max) {
        snprintf(expected, expected_size, "%llu to %llu bytes", (unsigned long long)key->min,
                 (unsigned long long)key->max);
        return false;
    }
    memcpy((char *)config + key->offset, value, len + 1);
    return true;
}

static bool ipv6_well_formed(const char *text, size_t len)
{
    char host[HOST_BYTES_MAX + 1];
    if (len > HOST_BYTES_MAX)
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    char *scope = strchr(host, '%'); // fe80::1%eth0
    if (scope != NULL && scope[1] == '\0')
        return false;
    if (scope != NULL)
        *scope = '\0';
    struct in6_addr ignored;
    return inet_pton(AF_INET6, host, &ignored) == 1;
}

// A name or an IPv4 address. Digits and dots alone can only be an address: 127.0.1 is a slip.
static bool name_well_formed(const char *text, size_t len)
{
    char host[HOST_BYTES_MAX + 1];
    if (len == 0 || len > HOST_BYTES_MAX || text[0] == '.' || text[0] == '-')
        return false;
    bool numeric = true;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!isalnum(c) && c != '-' && c != '.' && c != '_')
            return false;
        if (c == '.' && i > 0 && text[i - 1] == '.')
            return false;
        numeric = numeric && (isdigit(c) || c == '.');
        host[i] = text[i];
    }
    host[len] = '\0';
    struct in_addr ignored;
    return !numeric || inet_pton(AF_INET, host, &ignored) == 1;
}

static bool address_well_formed(const char *text, size_t len, uint64_t port_min)
{
    const char *colon = memrchr(text, ':', len);
    if (colon == NULL)
        return false;
    size_t host_len = (size_t)(colon - text);
    size_t port_len = len - host_len - 1;
    uint64_t port;
    if (port_len > 5 || !parse_digits(colon + 1, port_len, &port) || port < port_min ||
        port > UINT16_MAX)
        return false;
    if (host_len >= 2 && text[0] == '[' && text[host_len - 1] == ']')
        return ipv6_well_formed(text + 1, host_len - 2);
    return name_well_formed(text, host_len);
}

static bool set_host(const struct mf_config_key *key, const char *value, struct mf_config *config,
                     char *expected, size_t expected_size)
{
    size_t len = strlen(value);
    if (len > 0 && !name_well_formed(value, len) && !ipv6_well_formed(value, len)) {
        snprintf(expected, expected_size, "a host name or IP address, without a port");
        return false;
    }
    memcpy((char *)config + key->offset, value, len + 1);
    return true;
}

static bool set_address(const struct mf_config_key *key, const char *value,
                        struct mf_config *config, char *expected, size_t expected_size)
{
    size_t len = strlen(value);
    bool off = len == 0 && key->min == 0;
    if (!off && (len > key->max || !address_well_formed(value, len, 0))) {
        snprintf(expected, expected_size, "host:port, such as 127.0.0.1:7001%s",
                 key->min == 0 ? ", or nothing" : "");
        return false;
    }
    memcpy((char *)config + key->offset, value, len + 1);
    return true;
}

bool mf_config_is_peer(const char *text, size_t len)
{
    return len < sizeof(((struct mf_config_node *)NULL)->peer) && memchr(text, 0, len) == NULL &&
           memchr(text, ',', len) == NULL && address_well_formed(text, len, 1);
}

static const char *skip_blanks(const char *at)
{
    return at + strspn(at, " \t");
}

// The end of [from, to) without its trailing blanks.
static const char *trim_end(const char *from, const char *to)
{
    while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    return to;
}

// One `id=host:port` in [from, to), blanks around its parts allowed.
static bool parse_node(const char *from, const char *to, struct mf_config_node *node)
{
    const char *equals = memchr(from, '=', (size_t)(to - from));
    if (equals == NULL)
        return false;
    uint64_t id;
    const char *id_end = trim_end(from, equals);
    const char *peer = skip_blanks(equals + 1);
    if (!parse_digits(from, (size_t)(id_end - from), &id) || id < 1 || id > UINT16_MAX)
        return false;
    size_t len = peer < to ? (size_t)(to - peer) : 0;
    if (len >= sizeof(node->peer) || !address_well_formed(peer, len, 1))
        return false;
    node->id = (uint16_t)id;
    memcpy(node->peer, peer, len);
    node->peer[len] = '\0';
    return true;
}

static int by_id(const void *a, const void *b)
{
    const struct mf_config_node *left = a;
    const struct mf_config_node *right = b;
    return (left->id > right->id) - (left->id < right->id);
}

static bool nodes_distinct(const struct mf_config *config, char *expected, size_t expected_size)
{
    for (uint32_t i = 0; i < config->node_count; i++) {
        for (uint32_t j = i + 1; j < config->node_count; j++) {
            const struct mf_config_node *a = &config->nodes[i];
            const struct mf_config_node *b = &config->nodes[j];
            if (a->id == b->id) {
                snprintf(expected, expected_size, "each id once, %u is there twice", a->id);
                return false;
            }
            if (strcmp(a->peer, b->peer) == 0) {
                snprintf(expected, expected_size, "each address once, %s is there twice", a->peer);
                return false;
            }
        }
    }
    return true;
}

static bool set_nodes(const char *value, struct mf_config *config, char *expected,
                      size_t expected_size)
{
    config->node_count = 0;
    const char *at = skip_blanks(value);
    while (*at != '\0') {
        if (config->node_count == MF_NODES_MAX) {
            snprintf(expected, expected_size, "at most %d nodes", MF_NODES_MAX);
            return false;
        }
        const char *comma = strchrnul(at, ',');
        const char *next = *comma == ',' ? skip_blanks(comma + 1) : comma;
        bool last_comma_hangs = *comma == ',' && *next == '\0';
        if (last_comma_hangs ||
            !parse_node(at, trim_end(at, comma), &config->nodes[config->node_count])) {
            snprintf(expected, expected_size, "id=host:port, id=host:port, ..., ids from 1 to %u",
                     (unsigned)UINT16_MAX);
            return false;
        }
        config->node_count++;
        at = next;
    }
    qsort(config->nodes, config->node_count, sizeof(config->nodes[0]), by_id);
    return nodes_distinct(config, expected, expected_size);
}

static bool has_control_bytes(const char *value)
{
    for (const char *at = value; *at != '\0'; at++) {
        if (iscntrl((unsigned char)*at) && *at != '\t')
            return true;
    }
    return false;
}

bool mf_config_value_set(const struct mf_config_key *key, const char *value,
                         struct mf_config *config, char *expected, size_t expected_size)
{
    if (has_control_bytes(value)) {
        snprintf(expected, expected_size, "no control characters");
        return false;
    }
    switch (key->kind) {
    case MF_CONFIG_INTEGER:
        return set_integer(key, value, config, expected, expected_size);
    case MF_CONFIG_SIZE:
        return set_size(key, value, config, expected, expected_size);
    case MF_CONFIG_CHOICE:
        return set_choice(key, value, config, expected, expected_size);
    case MF_CONFIG_TEXT:
        return set_text(key, value, config, expected, expected_size);
    case MF_CONFIG_HOST:
        return set_host(key, value, config, expected, expected_size);
    case MF_CONFIG_ADDRESS:
        return set_address(key, value, config, expected, expected_size);
    case MF_CONFIG_NODES:
        return set_nodes(value, config, expected, expected_size);
    }
    return false;
}
