// The command line of mayfly-bench; see plan.h.
#include "bench/load/plan.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "bench/load/data.h"
#include "bench/load/observe.h"
#include "bench/load/plot.h"
#include "bench/load/protocol.h"
#include "mayfly/client.h"

#define VALUE_BYTES_MAX ((size_t)64 << 20)
#define WEIGHT_MAX 1000000u

static const char usage[] =
    "usage: mayfly-bench [OPTION]...\n"
    "\n"
    "Puts load on a Mayfly cluster, or on Redis, memcached or etcd, and measures it. Every answer\n"
    "is checked: a get must return what a set has written for that key, and counters must add up\n"
    "at the end. Exit 1 when they do not, or when a request failed.\n"
    "\n"
    "  -p, --protocol P             rpc, rpc-plain, resp, memcache or etcd (rpc)\n"
    "  -s, --server ADDR[,ADDR...]  nodes to connect to (MAYFLY_ENDPOINTS with rpc, or port 7001,\n"
    "                               6379, 11211 or 2379 of 127.0.0.1)\n"
    "      --cluster                with resp: each key's node by Redis Cluster's map; otherwise\n"
    "                               clients are spread over the nodes\n"
    "      --one-node               with --cluster: each client asks for keys of one node only, "
    "so\n"
    "                               that a pipeline goes to one node, as redis-benchmark's does\n"
    "      --user U, --password P   for a cluster with passwords (MAYFLY_USER, MAYFLY_PASSWORD)\n"
    "  -t, --threads N              threads of this program (1)\n"
    "  -c, --clients N              clients in all (50)\n"
    "  -P, --pipeline N             requests that a client has under way (1)\n"
    "  -r, --rate N                 requests a second in all, each sent at its time and measured "
    "from\n"
    "                               it, however slow the answers are; 0: the next one when one is\n"
    "                               answered (0)\n"
    "      --seconds S              how long is measured (10)\n"
    "      --warmup S               before that (1)\n"
    "  -m, --mix KIND=WEIGHT,...    get, set, incr, del, txn (get=9,set=1)\n"
    "  -k, --keys N                 different keys (100000)\n"
    "  -d, --distribution D         uniform, zipf or hot (uniform)\n"
    "  -v, --value-bytes N          length of values, at least 16 (64)\n"
    "      --ttl MS                 time to live of what is set (none)\n"
    "      --check-every N          the checksum of one value in so many is checked (1)\n"
    "      --local                  with rpc: gets are of the connected node's copy\n"
    "      --no-route               with rpc: all requests by the first connection\n"
    "      --no-fill                do not set every key before\n"
    "      --timeout MS             deadline of a request (10000)\n"
    "      --server-pid PID[,PID]   also tell the processor time of these processes\n"
    "      --live, --no-live        a line a second on stderr (on a terminal)\n"
    "  -o, --output table|plain|json\n"
    "      --plot FILE.svg          latencies and requests over time, drawn by gnuplot\n"
    "      --help, --version\n";

enum {
    OPT_CLUSTER = 256,
    OPT_ONE_NODE,
    OPT_USER,
    OPT_PASSWORD,
    OPT_SECONDS,
    OPT_WARMUP,
    OPT_TTL,
    OPT_CHECK_EVERY,
    OPT_LOCAL,
    OPT_NO_ROUTE,
    OPT_NO_FILL,
    OPT_TIMEOUT,
    OPT_SERVER_PID,
    OPT_LIVE,
    OPT_NO_LIVE,
    OPT_PLOT,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option options[] = {
    {"protocol", required_argument, NULL, 'p'},
    {"server", required_argument, NULL, 's'},
    {"cluster", no_argument, NULL, OPT_CLUSTER},
    {"one-node", no_argument, NULL, OPT_ONE_NODE},
    {"user", required_argument, NULL, OPT_USER},
    {"password", required_argument, NULL, OPT_PASSWORD},
    {"threads", required_argument, NULL, 't'},
    {"clients", required_argument, NULL, 'c'},
    {"pipeline", required_argument, NULL, 'P'},
    {"rate", required_argument, NULL, 'r'},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"warmup", required_argument, NULL, OPT_WARMUP},
    {"mix", required_argument, NULL, 'm'},
    {"keys", required_argument, NULL, 'k'},
    {"distribution", required_argument, NULL, 'd'},
    {"value-bytes", required_argument, NULL, 'v'},
    {"ttl", required_argument, NULL, OPT_TTL},
    {"check-every", required_argument, NULL, OPT_CHECK_EVERY},
    {"local", no_argument, NULL, OPT_LOCAL},
    {"no-route", no_argument, NULL, OPT_NO_ROUTE},
    {"no-fill", no_argument, NULL, OPT_NO_FILL},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"server-pid", required_argument, NULL, OPT_SERVER_PID},
    {"live", no_argument, NULL, OPT_LIVE},
    {"no-live", no_argument, NULL, OPT_NO_LIVE},
    {"output", required_argument, NULL, 'o'},
    {"plot", required_argument, NULL, OPT_PLOT},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static const char *const kinds[LOAD_KINDS] = {"get", "set", "incr", "del", "txn"};
static const char *const distributions[] = {"uniform", "zipf", "hot"};
static const char *const outputs[] = {"table", "plain", "json"};

static const struct load_protocol *const protocols[] = {&load_rpc, &load_plain, &load_resp,
                                                        &load_memcache, &load_etcd};
static const char *const protocol_names[] = {"rpc", "rpc-plain", "resp", "memcache", "etcd"};
#define PROTOCOLS (sizeof(protocols) / sizeof(protocols[0]))

const char *load_kind_name(enum load_kind kind)
{
    return kinds[kind];
}

const char *load_distribution_name(enum load_distribution distribution)
{
    return distributions[distribution];
}

static bool refuse(const char *flag, const char *value, const char *expected)
{
    fprintf(stderr, "mayfly-bench: %s: '%s' is not valid, expected %s\n", flag, value, expected);
    return false;
}

static bool take_number(const char *flag, const char *text, uint64_t min, uint64_t max,
                        uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < min ||
        value > max) {
        char expected[80];
        snprintf(expected, sizeof(expected), "an integer from %llu to %llu",
                 (unsigned long long)min, (unsigned long long)max);
        return refuse(flag, text, expected);
    }
    *out = value;
    return true;
}

static bool take_small(const char *flag, const char *text, uint32_t min, uint32_t max,
                       uint32_t *out)
{
    uint64_t value = 0;
    bool fine = take_number(flag, text, min, max, &value);
    *out = fine ? (uint32_t)value : *out;
    return fine;
}

static bool take_seconds(const char *flag, const char *text, double min, double *out)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value) || value < min || value > 86400)
        return refuse(flag, text,
                      min > 0 ? "seconds, above 0 and at most 86400" : "seconds, from 0 to 86400");
    *out = value;
    return true;
}

// The position of the text among `count` names.
static bool take_name(const char *flag, const char *text, const char *const *names, size_t count,
                      const char *expected, unsigned *out)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (unsigned)i;
            return true;
        }
    }
    return refuse(flag, text, expected);
}

static bool take_weight(const char *text, size_t len, uint32_t *mix)
{
    for (size_t i = 0; i < LOAD_KINDS; i++) {
        size_t name = strlen(kinds[i]);
        char *end;
        if (len < name + 2 || strncmp(text, kinds[i], name) != 0 || text[name] != '=')
            continue;
        const char *digits = text + name + 1;
        unsigned long weight = strtoul(digits, &end, 10);
        if (*digits < '0' || *digits > '9' || end != text + len || weight > WEIGHT_MAX)
            return false;
        mix[i] = (uint32_t)weight;
        return true;
    }
    return false;
}

static bool take_mix(const char *text, uint32_t *mix)
{
    uint32_t fresh[LOAD_KINDS] = {0};
    uint64_t sum = 0;
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");
        if (!take_weight(at, len, fresh))
            return refuse("--mix", text,
                          "KIND=WEIGHT,... with get, set, incr, del or txn and weights to 1000000");
        at += len;
        if (*at == '\0')
            break;
    }
    for (size_t i = 0; i < LOAD_KINDS; i++)
        sum += fresh[i];
    if (sum == 0)
        return refuse("--mix", text, "a weight above 0");
    memcpy(mix, fresh, sizeof(fresh));
    return true;
}

static bool take_ttl(const char *text, int64_t *out)
{
    uint64_t ttl = 0;
    bool fine = take_number("--ttl", text, 1, (uint64_t)MAYFLY_TTL_MS_MAX, &ttl);
    *out = (int64_t)ttl;
    return fine;
}

static bool take_value_bytes(const char *text, size_t *out)
{
    uint64_t bytes = 0;
    bool fine = take_number("--value-bytes", text, LOAD_VALUE_BYTES_MIN, VALUE_BYTES_MAX, &bytes);
    *out = (size_t)bytes;
    return fine;
}

static bool take_servers(const char *text, struct load_plan *plan)
{
    plan->server_count = 0;
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");
        uint64_t pid;
        uint64_t ns;
        if (plan->server_count == LOAD_SERVERS_MAX || !load_number(at, len, &pid) ||
            pid > INT_MAX || !load_cpu_ns((uint32_t)pid, &ns))
            return refuse("--server-pid", text, "PID,... of processes on this machine");
        plan->servers[plan->server_count++] = (uint32_t)pid;
        at += len;
        if (*at == '\0')
            return true;
    }
}

static bool take_plot(const char *text, const char **plot)
{
    *plot = text;
    if (text[0] == '\0' || strchr(text, '\n') != NULL)
        return refuse("--plot", text, "the name of a file");
    if (!load_plot_is_possible())
        fprintf(stderr, "mayfly-bench: --plot: there is no gnuplot on the path; on Debian, it is "
                        "in gnuplot-nox\n");
    return load_plot_is_possible();
}

// One flag with its value; false after a message.
static bool take_flag(struct load_plan *plan, int flag, const char *value)
{
    unsigned choice = 0;
    bool fine = true;
    switch (flag) {
    case 'p':
        fine = take_name("--protocol", value, protocol_names, PROTOCOLS,
                         "rpc, rpc-plain, resp, memcache or etcd", &choice);
        plan->protocol = protocols[choice];
        return fine;
    case OPT_CLUSTER:
        plan->cluster = true;
        return true;
    case OPT_ONE_NODE:
        plan->one_node = true;
        return true;
    case OPT_CHECK_EVERY:
        return take_small("--check-every", value, 1, INT_MAX, &plan->check_every);
    case OPT_SERVER_PID:
        return take_servers(value, plan);
    case OPT_PLOT:
        return take_plot(value, &plan->plot);
    case 's':
        plan->endpoints = value;
        return true;
    case OPT_USER:
        plan->user = value;
        return true;
    case OPT_PASSWORD:
        plan->password = value;
        return true;
    case 't':
        return take_small("--threads", value, 1, 256, &plan->threads);
    case 'c':
        return take_small("--clients", value, 1, 10000, &plan->clients);
    case 'P':
        return take_small("--pipeline", value, 1, 4096, &plan->pipeline);
    case 'r':
        return take_number("--rate", value, 0, 100000000, &plan->rate);
    case OPT_SECONDS:
        return take_seconds("--seconds", value, 0.001, &plan->seconds);
    case OPT_WARMUP:
        return take_seconds("--warmup", value, 0, &plan->warmup);
    case 'm':
        return take_mix(value, plan->mix);
    case 'k':
        return take_number("--keys", value, 1, 1000000000, &plan->keys);
    case 'd':
        fine =
            take_name("--distribution", value, distributions, 3, "uniform, zipf or hot", &choice);
        plan->distribution = (enum load_distribution)choice;
        return fine;
    case 'v':
        return take_value_bytes(value, &plan->value_bytes);
    case OPT_TTL:
        return take_ttl(value, &plan->ttl_ms);
    case OPT_TIMEOUT:
        return take_small("--timeout", value, 1, INT_MAX, &plan->timeout_ms);
    case 'o':
        fine = take_name("--output", value, outputs, 3, "table, plain or json", &choice);
        plan->output = (enum load_output)choice;
        return fine;
    case OPT_LOCAL:
        plan->local = true;
        return true;
    case OPT_NO_ROUTE:
        plan->direct = false;
        return true;
    case OPT_NO_FILL:
        plan->fill = false;
        return true;
    default:
        plan->live = flag == OPT_LIVE;
        return true;
    }
}

static bool lacks(const struct load_protocol *protocol, const char *what)
{
    fprintf(stderr, "mayfly-bench: --protocol %s has no %s\n", protocol->name, what);
    return false;
}

// What was asked for and the protocol cannot do is refused, and not left out.
static bool protocol_can(const struct load_plan *plan)
{
    const struct load_protocol *protocol = plan->protocol;
    for (unsigned i = 0; i < LOAD_KINDS; i++) {
        if (plan->mix[i] > 0 && (protocol->kinds & 1u << i) == 0)
            return lacks(protocol, kinds[i]);
    }
    if (plan->cluster && protocol != &load_resp)
        return lacks(protocol, "--cluster");
    if (plan->one_node && !plan->cluster) {
        fprintf(stderr, "mayfly-bench: --one-node: expected --cluster beside it\n");
        return false;
    }
    if (plan->local && protocol != &load_rpc)
        return lacks(protocol, "--local");
    if (!plan->direct && protocol != &load_rpc)
        return lacks(protocol, "--no-route");
    if (plan->password != NULL && plan->password[0] != '\0' && !protocol->has_passwords)
        return lacks(protocol, "--password");
    if (plan->ttl_ms > 0 && !protocol->has_ttl)
        return lacks(protocol, "--ttl");
    if (protocol->value_bytes_max > 0 && plan->value_bytes > protocol->value_bytes_max)
        return lacks(protocol, "--value-bytes so many");
    if (plan->pipeline > protocol->pipeline_max)
        return lacks(protocol, "--pipeline so deep");
    return true;
}

static void take_defaults(struct load_plan *plan)
{
    if (plan->threads > plan->clients)
        plan->threads = plan->clients;
    if (plan->endpoints == NULL && plan->protocol == &load_rpc)
        plan->endpoints = getenv("MAYFLY_ENDPOINTS");
    if (plan->endpoints == NULL || plan->endpoints[0] == '\0')
        plan->endpoints = plan->protocol->endpoints;
    if (plan->user == NULL && plan->protocol->has_passwords)
        plan->user = getenv("MAYFLY_USER");
    if (plan->password == NULL && plan->protocol->has_passwords)
        plan->password = getenv("MAYFLY_PASSWORD");
}

bool load_plan_parse(struct load_plan *plan, int argc, char **argv, int *status)
{
    *plan = (struct load_plan){
        .protocol = &load_rpc,
        .threads = 1,
        .clients = 50,
        .pipeline = 1,
        .seconds = 10,
        .warmup = 1,
        .mix = {[LOAD_GET] = 9, [LOAD_SET] = 1},
        .keys = 100000,
        .value_bytes = 64,
        .check_every = 1,
        .timeout_ms = 10000,
        .direct = true,
        .fill = true,
        .live = isatty(STDERR_FILENO) == 1,
    };
    *status = 2;
    opterr = 0;
    int flag;
    while ((flag = getopt_long(argc, argv, ":p:s:t:c:P:r:m:k:d:v:o:", options, NULL)) != -1) {
        if (flag == OPT_HELP || flag == OPT_VERSION) {
            if (flag == OPT_HELP)
                fputs(usage, stdout);
            else
                printf("mayfly-bench %s\n", mayfly_version());
            *status = 0;
            return false;
        }
        if (flag == '?' || flag == ':') {
            fprintf(stderr, "mayfly-bench: %s: %s; see mayfly-bench --help\n", argv[optind - 1],
                    flag == ':' ? "expected a value behind it" : "expected a flag that there is");
            return false;
        }
        if (!take_flag(plan, flag, optarg))
            return false;
    }
    if (optind < argc) {
        fprintf(stderr, "mayfly-bench: %s: expected flags only; see mayfly-bench --help\n",
                argv[optind]);
        return false;
    }
    take_defaults(plan);
    return protocol_can(plan);
}
