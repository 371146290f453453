// The configuration: every key, every refusal and its message, files and flags and their order.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "server/config.h"

static struct mf_config config;
static struct mf_config_options options;
static char message[2048];
static char path[] = "/tmp/mayfly-test-config-XXXXXX";

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_file(struct mf_bytes content)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(content.data, 1, content.len, file), content.len);
    assert_int_equal(fclose(file), 0);
}

static enum mf_err load_file_bytes(struct mf_bytes content)
{
    write_file(content);
    message[0] = '\0';
    return mf_config_read_file(path, &config, message, sizeof(message));
}

static enum mf_err load_file(const char *content)
{
    return load_file_bytes(mf_bytes_str(content));
}

// Flags as they are on a command line; the last one is NULL. argv stays until the next call.
static enum mf_err load_flags(const char *const *flags)
{
    static char texts[8][5000];
    char *argv[8] = {texts[0]};
    snprintf(texts[0], sizeof(texts[0]), "mayflyd");
    int argc = 1;
    for (; flags[argc - 1] != NULL; argc++) {
        assert_in_range(argc, 1, 7);
        snprintf(texts[argc], sizeof(texts[argc]), "%s", flags[argc - 1]);
        argv[argc] = texts[argc];
    }
    message[0] = '\0';
    return mf_config_load(argc, argv, &config, &options, message, sizeof(message));
}

#define FLAGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void check_loads(enum mf_err err)
{
    if (err != MF_OK)
        fail_msg("refused: %s", message);
    assert_string_equal(message, "");
}

// The message is `expected`, where a leading @ stands for the file's name.
static void check_refused(enum mf_err err, const char *expected)
{
    char full[2048];
    if (expected[0] == '@')
        snprintf(full, sizeof(full), "%s%s", path, expected + 1);
    else
        snprintf(full, sizeof(full), "%s", expected);
    assert_int_equal(err, MF_BAD_REQUEST);
    assert_string_equal(message, full);
}

static uint32_t cpu_count(void)
{
    cpu_set_t cpus;
    assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
    return (uint32_t)CPU_COUNT(&cpus);
}

static void nothing_given_is_one_node_in_memory_on_the_default_ports(void **state)
{
    (void)state;
    check_loads(load_flags((const char *const[]){NULL}));
    assert_int_equal(config.id, 1);
    assert_string_equal(config.data_dir, "./mayfly-data");
    assert_int_equal(config.threads, cpu_count());
    assert_string_equal(config.name, "mayfly");
    assert_int_equal(config.shards, 64);
    assert_int_equal(config.replicas, 1);
    assert_int_equal(config.node_count, 1);
    assert_int_equal(config.nodes[0].id, 1);
    assert_string_equal(config.nodes[0].peer, "127.0.0.1:7100");
    assert_string_equal(config.secret, "");
    assert_string_equal(config.rpc, "127.0.0.1:7001");
    assert_string_equal(config.resp, "127.0.0.1:7002");
    assert_string_equal(config.resp_cluster, "");
    assert_string_equal(config.http, "127.0.0.1:7003");
    assert_string_equal(config.peer, "127.0.0.1:7100");
    assert_string_equal(config.advertise_host, "");
    assert_int_equal(config.durability, MF_DURABILITY_NONE);
    assert_int_equal(config.memory_bytes_max, 0);
    assert_int_equal(config.eviction, MF_EVICT_NONE);
    assert_int_equal(config.key_bytes_max, 64 * 1024);
    assert_int_equal(config.value_bytes_max, 64 * 1024 * 1024);
    assert_int_equal(config.request_bytes_max, 128 * 1024 * 1024);
    assert_int_equal(config.clients_max, 10000);
    assert_int_equal(config.idle_timeout_s, 0);
    assert_int_equal(config.stall_timeout_s, 60);
    assert_int_equal(config.request_timeout_ms, 5000);
    assert_string_equal(config.password, "");
    assert_int_equal(config.open, 0);
    assert_string_equal(config.tls_cert, "");
    assert_int_equal(config.heartbeat_ms, 50);
    assert_int_equal(config.lease_ms, 500);
    assert_string_equal(config.snapshot_dir, "./mayfly-data/snapshots");
    assert_int_equal(config.snapshot_interval_s, 0);
    assert_int_equal(config.snapshot_keep, 7);
    assert_int_equal(config.log_level, MF_INFO);
    assert_int_equal(config.log_format, MF_LOG_TEXT);
}

static void durability_is_fsync_as_soon_as_anything_is_configured(void **state)
{
    (void)state;
    check_loads(load_flags(FLAGS("--check-config")));
    assert_int_equal(config.durability, MF_DURABILITY_NONE);
    check_loads(load_flags(FLAGS("--node.id=2")));
    assert_int_equal(config.durability, MF_DURABILITY_FSYNC);
    write_file(mf_bytes_str(""));
    check_loads(load_flags(FLAGS("--config", path)));
    assert_int_equal(config.durability, MF_DURABILITY_FSYNC);
    check_loads(load_file(""));
    assert_int_equal(config.durability, MF_DURABILITY_FSYNC);
    check_loads(load_flags(FLAGS("--durability.mode=none")));
    assert_int_equal(config.durability, MF_DURABILITY_NONE);
}

static const char every_key[] =
    "[node]\nid = 2\ndata_dir = /var/lib/mayfly\nthreads = 3\n"
    "[cluster]\nname = demo\nshards = 128\nreplicas = 5\n"
    "nodes = 3=c:7300, 1=a.example:7100 ,2 = [::1]:7200\nsecret = s e c\n"
    "[listen]\nrpc = 0.0.0.0:1\nresp =\nresp_cluster = 127.0.0.1:0\nhttp = host:65535\n"
    "peer = 10.0.0.2:7200\nadvertise_host = db-2.example\n"
    "[durability]\nmode = os\n"
    "[memory]\nmax_bytes = 4gb\neviction = allkeys-lru\n"
    "[limits]\nmax_key = 1kb\nmax_value = 2MB\nmax_request = 3Mb\nmax_clients = 7\n"
    "idle_timeout = 60\nstall_timeout = 9\nrequest_timeout = 1\n"
    "[security]\npassword = ann:x,bob:y\nopen = yes\n"
    "[consensus]\nheartbeat_ms = 10\nlease_ms = 40\n"
    "[snapshot]\ndir = /backup\ninterval_s = 3600\nkeep = 24\n"
    "[log]\nlevel = trace\nformat = json\n";

static void every_key_reaches_its_field(void **state)
{
    (void)state;
    check_loads(load_file(every_key));
    assert_int_equal(config.id, 2);
    assert_string_equal(config.data_dir, "/var/lib/mayfly");
    assert_int_equal(config.threads, 3);
    assert_string_equal(config.name, "demo");
    assert_int_equal(config.shards, 128);
    assert_int_equal(config.replicas, 5);
    assert_int_equal(config.node_count, 3);
    assert_int_equal(config.nodes[0].id, 1);
    assert_string_equal(config.nodes[0].peer, "a.example:7100");
    assert_int_equal(config.nodes[1].id, 2);
    assert_string_equal(config.nodes[1].peer, "[::1]:7200");
    assert_int_equal(config.nodes[2].id, 3);
    assert_string_equal(config.nodes[2].peer, "c:7300");
    assert_string_equal(config.secret, "s e c");
    assert_string_equal(config.rpc, "0.0.0.0:1");
    assert_string_equal(config.resp, "");
    assert_string_equal(config.resp_cluster, "127.0.0.1:0");
    assert_string_equal(config.http, "host:65535");
    assert_string_equal(config.peer, "10.0.0.2:7200");
    assert_string_equal(config.advertise_host, "db-2.example");
    assert_int_equal(config.durability, MF_DURABILITY_OS);
    assert_true(config.memory_bytes_max == UINT64_C(4) << 30);
    assert_int_equal(config.eviction, MF_EVICT_ALLKEYS_LRU);
    assert_int_equal(config.key_bytes_max, 1024);
    assert_int_equal(config.value_bytes_max, 2 * 1024 * 1024);
    assert_int_equal(config.request_bytes_max, 3 * 1024 * 1024);
    assert_int_equal(config.clients_max, 7);
    assert_int_equal(config.idle_timeout_s, 60);
    assert_int_equal(config.stall_timeout_s, 9);
    assert_int_equal(config.request_timeout_ms, 1);
    assert_string_equal(config.password, "ann:x,bob:y");
    assert_int_equal(config.open, 1);
    assert_int_equal(config.heartbeat_ms, 10);
    assert_int_equal(config.lease_ms, 40);
    assert_string_equal(config.snapshot_dir, "/backup");
    assert_int_equal(config.snapshot_interval_s, 3600);
    assert_int_equal(config.snapshot_keep, 24);
    assert_int_equal(config.log_level, MF_TRACE);
    assert_int_equal(config.log_format, MF_LOG_JSON);
}

// A comment starts at a # or ; that begins a line or follows a blank, and nowhere else.
static void comments_start_after_a_blank_and_nowhere_else(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *password;
    } cases[] = {
        {"password = x # comment", "x"},
        {"password = x ; comment", "x"},
        {"password = x\t# comment", "x"},
        {"password = x#y;z", "x#y;z"},
        {"password = x#y # z", "x#y"},
        {"password =#x", "#x"},
        {"password =;x", ";x"},
        {"password = #x", ""},
        {"password = ;x", ""},
        {"password = a b  c   # d", "a b  c"},
        {"password = a=b:c", "a=b:c"},
        {"password=x", "x"},
        {"password = \"x\"", "\"x\""},
        {"\tpassword = x", "x"},
        {"# password = x", ""},
        {"; password = x", ""},
        {"  # password = x", ""},
        {"password = x\r", "x"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char content[256];
        snprintf(content, sizeof(content), "[security] # keys\n\n%s\n[log]\n", cases[i].line);
        check_loads(load_file(content));
        assert_string_equal(config.password, cases[i].password);
    }
}

static void a_section_may_come_again_and_a_byte_order_mark_is_skipped(void **state)
{
    (void)state;
    check_loads(load_file("\xef\xbb\xbf[node]\nid = 7\n[log]\nlevel = warn\n[node]\nthreads = 1"));
    assert_int_equal(config.id, 7);
    assert_int_equal(config.log_level, MF_WARN);
    assert_int_equal(config.threads, 1);
}

static void what_is_no_setting_is_refused_with_file_and_line(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        const char *expected;
    } cases[] = {
        {"id = 1\n", "@:1: id: expected a [section] before the first key"},
        {"[node]\nid\n", "@:2: id: expected key = value"},
        {"[node]\nid: 1\n", "@:2: id: 1: expected key = value"},
        {"[node]\n= 1\n", "@:2: = 1: expected key = value"},
        {"[node\nid = 1\n", "@:1: [node: expected [section] alone on the line"},
        {"[node] id = 1\n", "@:1: [node] id = 1: expected [section] alone on the line"},
        {"\n\n[nodes]\n",
         "@:3: [nodes]: unknown section: expected one of node, cluster, listen, durability, "
         "memory, limits, security, consensus, snapshot, log"},
        {"[]\n", "@:1: []: unknown section: expected one of node, cluster, listen, durability, "
                 "memory, limits, security, consensus, snapshot, log"},
        {"[node]\nname = x\n",
         "@:2: node.name = x: unknown key: expected one of id, data_dir, threads"},
        {"[node]\nid = 1\n[log]\n# comment\n\n[node]\nid = 1\n",
         "@:7: node.id = 1: repeated: line 2 has it already"},
        {"[node]\nthreads = 1\x01\n",
         "@:2: there is a control character in the line: expected text"},
        {"[node]\nthreads = 1\rid = 2\n",
         "@:2: there is a control character in the line: expected text"},
        // A continuation line is a line like any other, never more of the value before it.
        {"[cluster]\nnodes = 1=a:1,\n    2=b:1\n",
         "@:2: cluster.nodes = 1=a:1,: expected id=host:port, id=host:port, ..., ids from 1 to "
         "65535"},
        {"[cluster]\nname = one\n two\n", "@:3: two: expected key = value"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_refused(load_file(cases[i].content), cases[i].expected);
    check_refused(load_file_bytes(mf_bytes_of("[node]\nid = 1\0 2\n", 17)),
                  "@:2: there is a control character in the line: expected text");
}

static void the_longest_line_is_taken_and_a_longer_one_refused(void **state)
{
    (void)state;
    char content[8300] = "[node]\nid = 7 #";
    const size_t second_line = strlen("[node]\n");
    size_t head = strlen(content);
    memset(content + head, '.', second_line + 8192 - head);
    check_loads(load_file(content));
    assert_int_equal(config.id, 7);
    strcpy(content + second_line + 8192, "\nthreads = 1\n");
    check_loads(load_file(content));
    assert_int_equal(config.threads, 1);
    strcpy(content + second_line + 8192, ".\n");
    check_refused(load_file(content), "@:2: the line is too long: expected at most 8192 bytes");
}

static void a_long_value_is_kept_whole(void **state)
{
    (void)state;
    char content[5000] = "[security]\npassword = ";
    size_t head = strlen(content);
    memset(content + head, 'p', 4095);
    check_loads(load_file(content));
    assert_int_equal(strlen(config.password), 4095);
    content[head + 4095] = 'p';
    check_refused(load_file(content),
                  "@:2: security.password = (hidden): expected 0 to 4095 bytes");
}

static void a_file_that_cannot_be_read_is_refused_by_name(void **state)
{
    (void)state;
    const char missing[] = "/nonexistent/mayfly.conf";
    check_refused(load_flags(FLAGS("--config", missing)),
                  "--config = /nonexistent/mayfly.conf: expected a readable file: "
                  "No such file or directory");
    check_refused(mf_config_read_file("/tmp", &config, message, sizeof(message)),
                  "--config = /tmp: expected a readable file: Is a directory");
}

static void what_holds_between_keys_is_checked_in_files_and_flags(void **state)
{
    (void)state;
    static const struct {
        const char *section;
        const char *setting;
        const char *value;
        const char *expected; // empty: taken
    } cases[] = {
        {"node", "id", "0", "an integer from 1 to 65535"},
        {"consensus", "heartbeat_ms", "125", ""},
        {"consensus", "heartbeat_ms", "126", "at most 1/4 of consensus.lease_ms (500)"},
        {"consensus", "lease_ms", "200", ""},
        {"consensus", "lease_ms", "199", "at least 4 times consensus.heartbeat_ms (50)"},
        {"security", "tls_cert", "", ""},
        {"security", "tls_cert", "/c.pem", "nothing: this version has no TLS"},
        {"security", "tls_key", "/k.pem", "nothing: this version has no TLS"},
        {"security", "tls_ca", "/a.pem", "nothing: this version has no TLS"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *section = cases[i].section;
        const char *setting = cases[i].setting;
        const char *value = cases[i].value;
        char given[128];
        char expected[256];
        snprintf(given, sizeof(given), "[%s]\n%s = %s\n", section, setting, value);
        snprintf(expected, sizeof(expected), "@:2: %s.%s = %s: expected %s", section, setting,
                 value, cases[i].expected);
        enum mf_err err = load_file(given);
        if (cases[i].expected[0] != '\0')
            check_refused(err, expected);
        else
            check_loads(err);
        snprintf(given, sizeof(given), "--%s.%s=%s", section, setting, value);
        snprintf(expected, sizeof(expected), "--%s.%s = %s: expected %s", section, setting, value,
                 cases[i].expected);
        err = load_flags(FLAGS(given));
        if (cases[i].expected[0] != '\0')
            check_refused(err, expected);
        else
            check_loads(err);
    }
}

static void a_flag_wins_over_the_file(void **state)
{
    (void)state;
    write_file(mf_bytes_str("[cluster]\nshards = 8\nname = file\n[node]\nid = 3\n"));
    check_loads(load_flags(FLAGS("--cluster.shards=16", "--config", path, "--node.id", "4")));
    assert_int_equal(config.shards, 16);
    assert_int_equal(config.id, 4);
    assert_string_equal(config.name, "file");
    assert_string_equal(options.file, path);
}

static void flags_take_their_value_in_either_form(void **state)
{
    (void)state;
    check_loads(load_flags(FLAGS("--cluster.name", "one", "--listen.resp=", "--security.password",
                                 "a=b", "--check-config")));
    assert_string_equal(config.name, "one");
    assert_string_equal(config.resp, "");
    assert_string_equal(config.password, "a=b");
    assert_true(options.check_only);
    char with_equals[64];
    snprintf(with_equals, sizeof(with_equals), "--config=%s", path);
    write_file(mf_bytes_str("[node]\nid = 9\n"));
    check_loads(load_flags(FLAGS(with_equals)));
    assert_int_equal(config.id, 9);
}

static void flags_that_are_not_meant_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *flags[4];
        const char *expected;
    } cases[] = {
        {{"--bogus"}, "--bogus: unknown flag (see --help)"},
        {{"--bogus=1"}, "--bogus=1: unknown flag (see --help)"},
        {{"--"}, "--: unknown flag (see --help)"},
        {{"start"}, "start: unexpected argument, expected a flag (see --help)"},
        {{"-c"}, "-c: unexpected argument, expected a flag (see --help)"},
        {{""}, ": unexpected argument, expected a flag (see --help)"},
        {{"--node.idd=1"}, "--node.idd = 1: unknown key: expected one of id, data_dir, threads"},
        {{"--.=1"},
         "--. = 1: unknown section: expected one of node, cluster, listen, durability, "
         "memory, limits, security, consensus, snapshot, log"},
        {{"--node.id"}, "--node.id: expected a value, as in --section.key=value"},
        {{"--node.id", "--check-config"}, "--node.id: expected a value, as in --section.key=value"},
        {{"--node.id=1", "--node.id=1"}, "--node.id = 1: repeated: expected the flag once"},
        {{"--config"}, "--config: expected a value, as in --section.key=value"},
        {{"--config=a", "--config=b"}, "--config=b: repeated: expected the flag once"},
        {{"--check-config=yes"}, "--check-config=yes: expected no value"},
        {{"--help=yes"}, "--help=yes: expected no value"},
        {{"--a\nb.c=1"},
         "--a?b.c = 1: unknown section: expected one of node, cluster, listen, "
         "durability, memory, limits, security, consensus, snapshot, log"},
        {{"--cluster.name=a\nb"}, "--cluster.name = a?b: expected no control characters"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_refused(load_flags(cases[i].flags), cases[i].expected);
}

static void help_and_version_look_at_nothing_else(void **state)
{
    (void)state;
    check_loads(load_flags(FLAGS("--help", "--bogus")));
    assert_true(options.help);
    check_loads(load_flags(FLAGS("--version", "--config=/nonexistent")));
    assert_true(options.version);
    assert_false(options.help);
}

static void a_message_is_one_line_and_shows_no_secret(void **state)
{
    (void)state;
    char flag[400] = "--cluster.secret=";
    memset(flag + strlen(flag), 'S', 300);
    check_refused(load_flags(FLAGS(flag)), "--cluster.secret = (hidden): expected 0 to 255 bytes");
    char long_value[400] = "--node.id=";
    memset(long_value + strlen(long_value), '7', 300);
    assert_int_equal(load_flags(FLAGS(long_value)), MF_BAD_REQUEST);
    assert_non_null(strstr(message, "777...: expected an integer from 1 to 65535"));
    assert_true(strlen(message) < 240);
}

static void a_short_message_buffer_is_never_overrun(void **state)
{
    (void)state;
    write_file(mf_bytes_str("[node]\nid = zero\n"));
    for (size_t size = 1; size < 120; size++) {
        char *small = mf_alloc(size);
        assert_int_equal(mf_config_read_file(path, &config, small, size), MF_BAD_REQUEST);
        assert_true(strlen(small) < size);
        free(small);
    }
}

static void this_node_must_be_in_the_list(void **state)
{
    (void)state;
    check_refused(load_flags(FLAGS("--cluster.nodes=2=a:1,3=b:1", "--node.id=4")),
                  "--node.id = 4: expected an id that is in cluster.nodes");
    check_refused(load_flags(FLAGS("--cluster.nodes=2=a:1,3=b:1")),
                  "--cluster.nodes = 2=a:1,3=b:1: expected node.id (1, the default) among them");
}

static void the_peer_address_comes_from_the_list_unless_it_is_given(void **state)
{
    (void)state;
    // One that is to be added to others.
    check_loads(load_flags(FLAGS("--cluster.nodes=2=a:1,3=b:1", "--node.id=4", "--listen.peer=c:1",
                                 "--cluster.secret=s")));
    check_loads(
        load_flags(FLAGS("--cluster.nodes=1=a:1,2=b:2", "--node.id=2", "--cluster.secret=s")));
    assert_string_equal(config.peer, "b:2");
    check_loads(load_flags(FLAGS("--cluster.nodes=1=a:1,2=b:2", "--node.id=2", "--cluster.secret=s",
                                 "--listen.peer=0.0.0.0:2")));
    assert_string_equal(config.peer, "0.0.0.0:2");
    assert_string_equal(config.nodes[1].peer, "b:2");
    check_loads(load_flags(FLAGS("--node.id=5", "--listen.peer=127.0.0.1:0")));
    assert_int_equal(config.node_count, 1);
    assert_int_equal(config.nodes[0].id, 5);
    assert_string_equal(config.nodes[0].peer, "127.0.0.1:0");
}

static void a_port_for_others_asks_for_something_unless_told_not_to(void **state)
{
    (void)state;
    static const struct {
        const char *flag;
        const char *guard;
        const char *expected;
    } cases[] = {
        {"--listen.rpc=0.0.0.0:1", "--security.password=x",
         "0.0.0.0:1: expected a security.password"},
        {"--listen.rpc=10.0.0.1:1", "--security.password=x",
         "10.0.0.1:1: expected a security.password"},
        {"--listen.rpc=[::]:1", "--security.password=a:x", "[::]:1: expected a security.password"},
        {"--listen.resp=db:1", "--security.password=x", "db:1: expected a security.password"},
        {"--listen.resp=127.example:1", "--security.password=x",
         "127.example:1: expected a security.password"},
        {"--listen.resp_cluster=1.2.3.4:1", "--security.password=x",
         "1.2.3.4:1: expected a security.password"},
        {"--listen.peer=0.0.0.0:1", "--cluster.secret=x", "0.0.0.0:1: expected a cluster.secret"},
        {"--cluster.nodes=1=db:1", "--cluster.secret=x", "db:1: expected a cluster.secret"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char expected[256];
        snprintf(expected, sizeof(expected),
                 "%.*s = %s: other machines reach %s, or "
                 "security.open = yes",
                 (int)strcspn(cases[i].flag, "="), cases[i].flag, strchr(cases[i].flag, '=') + 1,
                 cases[i].expected);
        check_refused(load_flags(FLAGS(cases[i].flag)), expected);
        bool peers = strstr(cases[i].guard, "secret") != NULL; // the one does not do for the other
        check_refused(load_flags(FLAGS(cases[i].flag,
                                       peers ? "--security.password=x" : "--cluster.secret=x")),
                      expected);
        check_loads(load_flags(FLAGS(cases[i].flag, cases[i].guard)));
        check_loads(load_flags(FLAGS(cases[i].flag, "--security.open=yes")));
    }
    static const char *const local[] = {"--listen.rpc=127.0.0.1:1",
                                        "--listen.resp=127.9.8.7:1",
                                        "--listen.resp_cluster=[::1]:1",
                                        "--listen.rpc=localhost:1",
                                        "--listen.rpc=",
                                        "--listen.peer=127.0.0.1:1"};
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        check_loads(load_flags(FLAGS(local[i])));
}

static void passwords_that_let_anybody_in_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {":",        ":x",       "ada:",      "ada:,bob:y",
                                        "ada:x,:y", "ada:x, :", "ada:x,bob", "x,ada:y"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char flag[64];
        snprintf(flag, sizeof(flag), "--security.password=%s", wrong[i]);
        check_refused(load_flags(FLAGS(flag, "--check-config")),
                      "--security.password = (hidden): expected one password, or user:password, "
                      "user:password, ...");
    }
    static const char *const right[] = {"", "x", "x,y", "ada:x", "ada:x,bob:y", "ada:x, bob:y:z,"};
    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        char flag[64];
        snprintf(flag, sizeof(flag), "--security.password=%s", right[i]);
        check_loads(load_flags(FLAGS(flag)));
    }
}

static void copies_are_three_where_there_are_three_nodes(void **state)
{
    (void)state;
    check_loads(load_flags(FLAGS("--cluster.nodes=1=a:1,2=a:2", "--cluster.secret=s")));
    assert_int_equal(config.replicas, 1);
    check_loads(load_flags(FLAGS("--cluster.nodes=1=a:1,2=a:2,3=a:3", "--cluster.secret=s")));
    assert_int_equal(config.replicas, 3);
    check_loads(
        load_flags(FLAGS("--cluster.nodes=1=a:1,2=a:2,3=a:3,4=a:4,5=a:5", "--cluster.secret=s")));
    assert_int_equal(config.replicas, 3);
    check_loads(load_flags(FLAGS("--cluster.replicas=7")));
    assert_int_equal(config.replicas, 7);
}

static void sixty_four_nodes_fit_and_sixty_five_do_not(void **state)
{
    (void)state;
    char content[4096] = "[cluster]\nnodes = 1=host-1.example.net:7100";
    size_t len = strlen(content);
    for (int id = 2; id <= 64; id++)
        len += (size_t)snprintf(content + len, sizeof(content) - len,
                                ", %d=host-%d.example.net:7100", id, id);
    check_loads(load_file(content));
    assert_int_equal(config.node_count, 64);
    assert_int_equal(config.nodes[63].id, 64);
    assert_string_equal(config.nodes[63].peer, "host-64.example.net:7100");
    snprintf(content + len, sizeof(content) - len, ", 65=x:1");
    assert_int_equal(load_file(content), MF_BAD_REQUEST);
    assert_non_null(strstr(message, ": expected at most 64 nodes"));
}

static void two_listeners_on_one_address_are_refused(void **state)
{
    (void)state;
    check_refused(load_flags(FLAGS("--listen.resp=127.0.0.1:7001")),
                  "--listen.resp = 127.0.0.1:7001: expected another address than listen.rpc has");
    check_refused(load_flags(FLAGS("--listen.rpc=127.0.0.1:7003")),
                  "--listen.rpc = 127.0.0.1:7003: expected another address than listen.http has");
    check_refused(load_flags(FLAGS("--cluster.nodes=1=127.0.0.1:7002")),
                  "listen.resp = 127.0.0.1:7002: expected another address than listen.peer has");
    check_loads(load_flags(FLAGS("--listen.rpc=127.0.0.1:0", "--listen.resp=127.0.0.1:0",
                                 "--listen.http=127.0.0.1:0", "--listen.peer=127.0.0.1:0")));
}

static void the_snapshot_folder_follows_the_data_folder(void **state)
{
    (void)state;
    check_loads(load_flags(FLAGS("--node.data_dir=/srv/m")));
    assert_string_equal(config.snapshot_dir, "/srv/m/snapshots");
    check_loads(load_flags(FLAGS("--node.data_dir=/srv/m", "--snapshot.dir=/s")));
    assert_string_equal(config.snapshot_dir, "/s");
}

// What mf_config_print_reference writes to stdout, to be freed.
static char *reference_text(void)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    mf_config_print_reference();
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    rewind(file);
    char *text = mf_calloc(1, 16384);
    assert_true(fread(text, 1, 16383, file) > 0);
    fclose(file);
    return text;
}

static void the_reference_is_a_file_of_the_defaults(void **state)
{
    (void)state;
    char *text = reference_text();
    check_loads(load_file(text));
    struct mf_config from_reference = config;
    check_loads(load_file(""));
    assert_memory_equal(&from_reference, &config, sizeof(config));
    for (char *at = text, *line; (line = strsep(&at, "\n")) != NULL;)
        assert_true(strlen(line) <= 100);
    free(text);
}

// The text of a file of the source tree, to be freed.
static char *source_text(const char *name)
{
    char full[4096];
    const char *end = strstr(__FILE__, "tests/unit/");
    assert_non_null(end);
    snprintf(full, sizeof(full), "%.*s%s", (int)(end - __FILE__), __FILE__, name);
    FILE *file = fopen(full, "re");
    if (file == NULL)
        fail_msg("%s cannot be opened", full);
    char *text = mf_calloc(1, 65536);
    assert_true(fread(text, 1, 65535, file) > 0);
    fclose(file);
    return text;
}

static void the_sample_file_is_valid(void **state)
{
    (void)state;
    char *sample = source_text("deploy/mayfly.conf");
    check_loads(load_file(sample));
    assert_string_equal(config.data_dir, "/var/lib/mayfly");
    assert_int_equal(config.durability, MF_DURABILITY_FSYNC);
    free(sample);
}

// Turns every `#key = value` line into `key = value`.
static void uncomment(char *text)
{
    for (char *at = text; (at = strstr(at, "\n#")) != NULL; at++) {
        size_t name = strspn(at + 2, "abcdefghijklmnopqrstuvwxyz_");
        if (name > 0 && strncmp(at + 2 + name, " =", 2) == 0)
            at[1] = ' ';
    }
}

static void what_the_sample_comments_out_is_the_default(void **state)
{
    (void)state;
    char *sample = source_text("deploy/mayfly.conf");
    uncomment(sample);
    check_loads(load_file(sample));
    struct mf_config uncommented = config;
    check_loads(load_file("[node]\ndata_dir = /var/lib/mayfly\n[cluster]\nreplicas = 3\n"));
    assert_memory_equal(&uncommented, &config, sizeof(config));
    free(sample);
}

static void every_key_is_in_the_sample_and_in_the_manual_page(void **state)
{
    (void)state;
    char *reference = reference_text();
    char *sample = source_text("deploy/mayfly.conf");
    char *manual = source_text("docs/man/mayfly.conf.5");
    int keys = 0;
    for (char *at = reference, *line; (line = strsep(&at, "\n")) != NULL;) {
        char name[64];
        if (sscanf(line, "# %63[a-z_] =", name) != 1 && sscanf(line, "%63[a-z_] =", name) != 1)
            continue;
        char wanted[80];
        snprintf(wanted, sizeof(wanted), "\n%s =", name);
        char *found = strstr(sample, wanted);
        snprintf(wanted, sizeof(wanted), "\n#%s =", name);
        if (found == NULL && strstr(sample, wanted) == NULL)
            fail_msg("%s is missing in deploy/mayfly.conf", name);
        snprintf(wanted, sizeof(wanted), "\n.B %s\n", name);
        if (strstr(manual, wanted) == NULL)
            fail_msg("%s is missing in docs/man/mayfly.conf.5", name);
        keys++;
    }
    assert_true(keys > 30);
    free(manual);
    free(sample);
    free(reference);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_given_is_one_node_in_memory_on_the_default_ports),
        cmocka_unit_test(durability_is_fsync_as_soon_as_anything_is_configured),
        cmocka_unit_test(every_key_reaches_its_field),
        cmocka_unit_test(comments_start_after_a_blank_and_nowhere_else),
        cmocka_unit_test(a_section_may_come_again_and_a_byte_order_mark_is_skipped),
        cmocka_unit_test(what_is_no_setting_is_refused_with_file_and_line),
        cmocka_unit_test(the_longest_line_is_taken_and_a_longer_one_refused),
        cmocka_unit_test(a_long_value_is_kept_whole),
        cmocka_unit_test(a_file_that_cannot_be_read_is_refused_by_name),
        cmocka_unit_test(what_holds_between_keys_is_checked_in_files_and_flags),
        cmocka_unit_test(a_flag_wins_over_the_file),
        cmocka_unit_test(flags_take_their_value_in_either_form),
        cmocka_unit_test(flags_that_are_not_meant_are_refused),
        cmocka_unit_test(help_and_version_look_at_nothing_else),
        cmocka_unit_test(a_message_is_one_line_and_shows_no_secret),
        cmocka_unit_test(a_short_message_buffer_is_never_overrun),
        cmocka_unit_test(this_node_must_be_in_the_list),
        cmocka_unit_test(the_peer_address_comes_from_the_list_unless_it_is_given),
        cmocka_unit_test(a_port_for_others_asks_for_something_unless_told_not_to),
        cmocka_unit_test(passwords_that_let_anybody_in_are_refused),
        cmocka_unit_test(copies_are_three_where_there_are_three_nodes),
        cmocka_unit_test(sixty_four_nodes_fit_and_sixty_five_do_not),
        cmocka_unit_test(two_listeners_on_one_address_are_refused),
        cmocka_unit_test(the_snapshot_folder_follows_the_data_folder),
        cmocka_unit_test(the_reference_is_a_file_of_the_defaults),
        cmocka_unit_test(the_sample_file_is_valid),
        cmocka_unit_test(what_the_sample_comments_out_is_the_default),
        cmocka_unit_test(every_key_is_in_the_sample_and_in_the_manual_page),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
