// One configuration value at a time: what each key takes and what it refuses.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "server/config_table.h"

static struct mf_config config;
static char expected[256];

// key: "section.name".
static bool set(const char *key, const char *value)
{
    char section[64];
    char name[64];
    assert_int_equal(sscanf(key, "%63[^.].%63s", section, name), 2);
    const struct mf_config_key *row = mf_config_key_find(section, name);
    assert_non_null(row);
    expected[0] = '\0';
    return mf_config_value_set(row, value, &config, expected, sizeof(expected));
}

struct value_case {
    const char *key;
    const char *value;
    const char *expected; // NULL: taken
};

#define NODE_FORM "id=host:port, id=host:port, ..., ids from 1 to 65535"
#define SIZE_FORM(range) "a size from " range ", in bytes, kb, mb or gb"
#define ADDRESS_FORM "host:port, such as 127.0.0.1:7001"

static const struct value_case value_cases[] = {
    {"node.id", "1", NULL},
    {"node.id", "65535", NULL},
    {"node.id", "007", NULL},
    {"node.id", "0", "an integer from 1 to 65535"},
    {"node.id", "65536", "an integer from 1 to 65535"},
    {"node.id", "65537", "an integer from 1 to 65535"},
    {"node.id", "18446744073709551617", "an integer from 1 to 65535"},
    {"node.id", "18446744073709551621", "an integer from 1 to 65535"},
    {"node.id", "-1", "an integer from 1 to 65535"},
    {"node.id", "+1", "an integer from 1 to 65535"},
    {"node.id", "1.0", "an integer from 1 to 65535"},
    {"node.id", "0x1", "an integer from 1 to 65535"},
    {"node.id", "1 2", "an integer from 1 to 65535"},
    {"node.id", "", "an integer from 1 to 65535"},
    {"node.data_dir", "", "1 to 3840 bytes"},
    {"node.data_dir", "a b", NULL},
    {"node.threads", "0", NULL},
    {"node.threads", "256", NULL},
    {"node.threads", "257", "an integer from 0 to 256"},
    {"cluster.name", "", "1 to 127 bytes"},
    {"cluster.shards", "1", NULL},
    {"cluster.shards", "16384", NULL},
    {"cluster.shards", "0", "an integer from 1 to 16384"},
    {"cluster.shards", "16385", "an integer from 1 to 16384"},
    {"cluster.replicas", "1", NULL},
    {"cluster.replicas", "3", NULL},
    {"cluster.replicas", "5", NULL},
    {"cluster.replicas", "7", NULL},
    {"cluster.replicas", "0", "one of 1, 3, 5, 7"},
    {"cluster.replicas", "2", "one of 1, 3, 5, 7"},
    {"cluster.replicas", "9", "one of 1, 3, 5, 7"},
    {"cluster.replicas", "", "one of 1, 3, 5, 7"},
    {"cluster.nodes", "", NULL},
    {"cluster.nodes", "1=a:1", NULL},
    {"cluster.nodes", "1=a:1,65535=b:65535", NULL},
    {"cluster.nodes", "0=a:1", NODE_FORM},
    {"cluster.nodes", "65536=a:1", NODE_FORM},
    {"cluster.nodes", "1=a", NODE_FORM},
    {"cluster.nodes", "1=a:0", NODE_FORM},
    {"cluster.nodes", "1=a:65536", NODE_FORM},
    {"cluster.nodes", "1=:7", NODE_FORM},
    {"cluster.nodes", "1=", NODE_FORM},
    {"cluster.nodes", "1", NODE_FORM},
    {"cluster.nodes", "=a:1", NODE_FORM},
    {"cluster.nodes", "a:1", NODE_FORM},
    {"cluster.nodes", ",", NODE_FORM},
    {"cluster.nodes", "1=a:1,", NODE_FORM},
    {"cluster.nodes", "1=a:1,,2=b:1", NODE_FORM},
    {"cluster.nodes", "1=a:1 2=b:1", NODE_FORM},
    {"cluster.nodes", "1=a:1, 1=b:1", "each id once, 1 is there twice"},
    {"cluster.nodes", "1=a:1, 2=a:1", "each address once, a:1 is there twice"},
    {"listen.rpc", "", NULL},
    {"listen.rpc", "127.0.0.1:0", NULL},
    {"listen.rpc", "[::1]:7001", NULL},
    {"listen.rpc", "[fe80::1%eth0]:7001", NULL},
    {"listen.rpc", "node-1.example_net:7001", NULL},
    {"listen.rpc", "127.0.0.1", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", "7001", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", ":7001", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", "127.0.0.1:", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", "127.0.0.1:65536", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", "127.0.0.1:-1", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", "127.0.0.1:7001 x", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", "127.0.0:7001", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", "256.0.0.1:7001", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", "::1:7001", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", "[::g]:7001", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", "[]:7001", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", "[fe80::1%]:7001", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", "a..b:7001", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", "-a:7001", ADDRESS_FORM ", or nothing"},
    {"listen.rpc", "a b:7001", ADDRESS_FORM ", or nothing"},
    {"listen.resp", "x", ADDRESS_FORM ", or nothing"},
    {"listen.resp_cluster", "x", ADDRESS_FORM ", or nothing"},
    {"listen.http", "x", ADDRESS_FORM ", or nothing"},
    {"listen.peer", "127.0.0.1:0", NULL},
    {"listen.peer", "", ADDRESS_FORM},
    {"listen.advertise_host", "", NULL},
    {"listen.advertise_host", "10.0.0.1", NULL},
    {"listen.advertise_host", "::1", NULL},
    {"listen.advertise_host", "a.example", NULL},
    {"listen.advertise_host", "a:1", "a host name or IP address, without a port"},
    {"listen.advertise_host", "a b", "a host name or IP address, without a port"},
    {"durability.mode", "fsync", NULL},
    {"durability.mode", "os", NULL},
    {"durability.mode", "none", NULL},
    {"durability.mode", "FSYNC", "one of fsync, os, none"},
    {"durability.mode", "", "one of fsync, os, none"},
    {"memory.max_bytes", "0", NULL},
    {"memory.max_bytes", "512mb", NULL},
    {"memory.max_bytes", "8589934591gb", NULL},
    {"memory.max_bytes", "8589934592gb", SIZE_FORM("0 to 9223372036854775807")},
    {"memory.max_bytes", "17179869184gb", SIZE_FORM("0 to 9223372036854775807")},
    {"memory.max_bytes", "18446744073709551616", SIZE_FORM("0 to 9223372036854775807")},
    {"memory.max_bytes", "-1", SIZE_FORM("0 to 9223372036854775807")},
    {"memory.eviction", "noeviction", NULL},
    {"memory.eviction", "volatile-ttl", NULL},
    {"memory.eviction", "allkeys-lru", NULL},
    {"memory.eviction", "lru", "one of noeviction, volatile-ttl, allkeys-lru"},
    {"limits.max_key", "1", NULL},
    {"limits.max_key", "1KB", NULL},
    {"limits.max_key", "16mb", NULL},
    {"limits.max_key", "0", SIZE_FORM("1 to 16mb")},
    {"limits.max_key", "17mb", SIZE_FORM("1 to 16mb")},
    {"limits.max_key", "mb", SIZE_FORM("1 to 16mb")},
    {"limits.max_key", "1 kb", SIZE_FORM("1 to 16mb")},
    {"limits.max_key", "1k", SIZE_FORM("1 to 16mb")},
    {"limits.max_key", "1.5kb", SIZE_FORM("1 to 16mb")},
    {"limits.max_key", "", SIZE_FORM("1 to 16mb")},
    {"limits.max_value", "1gb", NULL},
    {"limits.max_value", "1025mb", SIZE_FORM("1 to 1gb")},
    {"limits.max_request", "64", NULL},
    {"limits.max_request", "63", SIZE_FORM("64 to 2gb")},
    {"limits.max_clients", "0", "an integer from 1 to 1000000"},
    {"limits.idle_timeout", "31536001", "an integer from 0 to 31536000"},
    {"limits.request_timeout", "0", "an integer from 1 to 3600000"},
    {"consensus.heartbeat_ms", "125", NULL},
    {"consensus.heartbeat_ms", "0", "an integer from 1 to 60000"},
    {"consensus.lease_ms", "200", NULL},
    {"consensus.lease_ms", "600001", "an integer from 4 to 600000"},
    {"snapshot.dir", "", NULL},
    {"snapshot.interval_s", "31536001", "an integer from 0 to 31536000"},
    {"log.level", "warn", NULL},
    {"log.level", "warning", "one of trace, debug, info, warn, error"},
    {"log.format", "xml", "one of text, json"},
};

static void every_key_takes_what_it_should_and_says_what_it_expected(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(value_cases) / sizeof(value_cases[0]); i++) {
        const struct value_case *c = &value_cases[i];
        bool taken = set(c->key, c->value);
        if (taken != (c->expected == NULL))
            fail_msg("%s = %s was %s", c->key, c->value, taken ? "taken" : "refused");
        assert_string_equal(expected, taken ? "" : c->expected);
    }
}

static void sizes_are_powers_of_1024_in_any_case(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        uint64_t bytes;
    } cases[] = {
        {"1000", 1000},
        {"3kb", 3072},
        {"3Kb", 3072},
        {"512MB", UINT64_C(536870912)},
        {"4gb", UINT64_C(4294967296)},
        {"9223372036854775807", INT64_MAX},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(set("memory.max_bytes", cases[i].value));
        assert_true(config.memory_bytes_max == cases[i].bytes);
    }
}

static void control_characters_are_refused_in_any_value(void **state)
{
    (void)state;
    assert_false(set("cluster.name", "a\nb"));
    assert_string_equal(expected, "no control characters");
    assert_false(set("security.password", "a\x7f"));
    assert_true(set("cluster.name", "a\tb"));
    assert_true(set("cluster.name", "\xc3\xa9t\xc3\xa9"));
}

static void every_row_has_its_own_field_name_and_help(void **state)
{
    (void)state;
    for (size_t i = 0; i < MF_CONFIG_KEY_COUNT; i++) {
        const struct mf_config_key *key = &mf_config_keys[i];
        assert_ptr_equal(mf_config_key_find(key->section, key->name), key);
        assert_true(strlen(key->help) > 0);
        for (size_t j = 0; j < i; j++)
            assert_true(mf_config_keys[j].offset != key->offset);
    }
    assert_null(mf_config_key_find("node", "rpc"));
    assert_null(mf_config_key_find("", ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_takes_what_it_should_and_says_what_it_expected),
        cmocka_unit_test(sizes_are_powers_of_1024_in_any_case),
        cmocka_unit_test(control_characters_are_refused_in_any_value),
        cmocka_unit_test(every_row_has_its_own_field_name_and_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
