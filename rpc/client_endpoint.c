// Endpoints of the client library: how they are written, resolved and reported.
//
// An address without a port means Mayfly's default one. What went wrong with each endpoint is kept
// with it, so that an error can tell everything that was tried.
#include "rpc/client_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define PORT_DEFAULT "7001"
#define ENDPOINTS_MAX 256

static bool port_is_valid(const char *port)
{
    size_t digits = strspn(port, "0123456789");
    if (digits == 0 || digits > 5 || port[digits] != '\0')
        return false;
    long value = strtol(port, NULL, 10);
    return value >= 1 && value <= 65535;
}

// Cuts name into host and port; both point into `name`, which is changed, or to the default.
static bool split_address(char *name, char **host, const char **port)
{
    char *after = name;
    *host = name;
    if (*name == '[') {
        *host = name + 1;
        after = strchr(name, ']');
        if (after == NULL)
            return false;
        *after++ = '\0';
    } else {
        after += strcspn(name, ":");
        if (*after == ':' && strchr(after + 1, ':') != NULL)
            return false; // IPv6 without brackets
    }
    *port = PORT_DEFAULT;
    if (*after == ':')
        *port = after + 1;
    else if (*after != '\0')
        return false;
    *after = '\0';
    return **host != '\0' && port_is_valid(*port);
}

// Fills one endpoint from `len` bytes of text.
static bool parse_one(struct mf_endpoint *endpoint, const char *text, size_t len)
{
    endpoint->name = strndup(text, len);
    char *work = strndup(text, len);
    char *host;
    const char *port;
    bool valid = endpoint->name != NULL && work != NULL && split_address(work, &host, &port);
    if (valid) {
        endpoint->host = strdup(host);
        endpoint->port = strdup(port);
        valid = endpoint->host != NULL && endpoint->port != NULL;
    }
    free(work);
    return valid;
}

bool mf_endpoints_parse(struct mf_link *link, const char *text, char *message, size_t size)
{
    size_t count = 1;
    for (const char *at = text; *at != '\0'; at++)
        count += *at == ',';
    if (count > ENDPOINTS_MAX) {
        snprintf(message, size, "%zu endpoints were given, expected at most %d", count,
                 ENDPOINTS_MAX);
        return false;
    }
    link->endpoints = calloc(count, sizeof link->endpoints[0]);
    if (link->endpoints == NULL) {
        snprintf(message, size, "out of memory");
        return false;
    }
    link->endpoint_count = count;
    link->given_count = count;
    for (size_t i = 0; i < count; i++) {
        size_t len = strcspn(text, ",");
        if (!parse_one(&link->endpoints[i], text, len)) {
            snprintf(message, size,
                     "endpoint '%.*s' is no address, expected HOST:PORT or [IPV6]:PORT",
                     len > 200 ? 200 : (int)len, text);
            return false;
        }
        text += len + 1;
    }
    return true;
}

static void free_one(struct mf_endpoint *endpoint)
{
    free(endpoint->name);
    free(endpoint->host);
    // Each endpoint has its own. NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
    free(endpoint->port);
}

void mf_endpoints_free(struct mf_link *link)
{
    if (link->addresses != NULL)
        freeaddrinfo(link->addresses);
    for (size_t i = 0; i < link->endpoint_count; i++)
        free_one(&link->endpoints[i]);
    free(link->endpoints);
}

static size_t find(const struct mf_endpoint *endpoints, size_t count, const char *name)
{
    size_t at = 0;
    while (at < count && strcmp(endpoints[at].name, name) != 0)
        at++;
    return at;
}

bool mf_endpoint_is_learned(const struct mf_link *link)
{
    return link->at >= link->given_count;
}

void mf_endpoints_learn(struct mf_link *link, const char *const *addresses, size_t count)
{
    size_t used = link->given_count;
    bool keep = mf_endpoint_is_learned(link);
    struct mf_endpoint *all = calloc(used + count + 1, sizeof all[0]);
    if (all == NULL)
        return;
    memcpy(all, link->endpoints, used * sizeof all[0]);
    if (keep) {
        all[used] = link->endpoints[link->at];
        link->endpoints[link->at] = (struct mf_endpoint){0};
        link->at = used++;
    }
    for (size_t i = 0; i < count; i++) {
        if (find(all, used, addresses[i]) < used)
            continue;
        if (parse_one(&all[used], addresses[i], strlen(addresses[i])))
            used++;
        else
            free_one(&all[used]);
    }
    for (size_t i = link->given_count; i < link->endpoint_count; i++)
        free_one(&link->endpoints[i]);
    free(link->endpoints);
    link->endpoints = all;
    link->endpoint_count = used;
}

void mf_endpoint_resolve(struct mf_link *link)
{
    struct mf_endpoint *endpoint = &link->endpoints[link->at];
    if (link->addresses != NULL)
        freeaddrinfo(link->addresses);
    link->addresses = NULL;
    // Numbers first: they need no file of the system's, and nothing that could wait. Names are
    // looked up only when the caller gave them: one that a node advertises may lead nowhere,
    // slowly.
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST};
    int failed = getaddrinfo(endpoint->host, endpoint->port, &hints, &link->addresses);
    if (failed == EAI_NONAME && link->node == 0 && !mf_endpoint_is_learned(link)) {
        hints.ai_flags = AI_NUMERICSERV;
        failed = getaddrinfo(endpoint->host, endpoint->port, &hints, &link->addresses);
    }
    if (failed != 0) {
        link->addresses = NULL;
        mf_endpoint_note(link, gai_strerror(failed));
    }
    link->address = link->addresses;
}

void mf_endpoint_note(struct mf_link *link, const char *why)
{
    struct mf_endpoint *endpoint = &link->endpoints[link->at];
    mf_printable(endpoint->why, sizeof endpoint->why, mf_bytes_str(why));
}

void mf_endpoints_describe(const struct mf_link *link, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < link->endpoint_count && used < size; i++) {
        const struct mf_endpoint *endpoint = &link->endpoints[i];
        const char *why = endpoint->why;
        if (*why == '\0')
            why = link->state == MF_LINK_READY && link->at == i ? "connected" : "not tried";
        int wrote =
            snprintf(out + used, size - used, "%s%s (%s)", i > 0 ? ", " : "", endpoint->name, why);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
}
