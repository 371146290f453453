// The mayfly command, run inside the test: what it refuses, what it prints, how it ends. Verbs talk
// to a fake node; `load` is in test_cli_load.c.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli_run.h"
#include "fake_node.h"

static size_t lines_in(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

static void wrong_command_lines_are_told_in_one_line_and_exit_2(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        const char *error;
    } cases[] = {
        {"-o json", "nothing to do: a verb is expected: get, mget, set,"},
        {"-s 127.0.0.1:1", "nothing to do: a verb is expected: get, mget, set,"},
        {"--ttl 5", "nothing to do: a verb is expected: get, mget, set,"},
        {"frobnicate", "frobnicate: a verb is expected: get,"},
        {"--nope", "--nope: unknown flag: expected one that --help lists"},
        {"get k --nope=3", "--nope=3: unknown flag"},
        {"-x get k", "-x: unknown flag"},
        {"get", "get: 0 words given: expected KEY"},
        {"get a b", "get: 'b' is one word too many: expected KEY"},
        {"size now", "size: 'now' is one word too many: expected none"},
        {"set k", "set: 1 words given: expected KEY VALUE"},
        {"mset a 1 b", "mset: 'b' has no value: expected KEY VALUE pairs"},
        {"get k --nx", "--nx: not a flag of get: expected one that mayfly get --help lists"},
        {"--nx get k", "--nx: not a flag of get"},
        {"set k v --ttl", "--ttl: no value: expected MS"},
        {"set k v --ttl 0", "--ttl '0': expected an integer from 1 to 9007199254740991"},
        {"set k v --ttl -1", "--ttl '-1': expected an integer from 1"},
        {"set k v --ttl 5s", "--ttl '5s': expected an integer from 1"},
        {"set k v --ttl 0x10", "--ttl '0x10': expected an integer from 1"},
        {"set k v --ttl +5", "--ttl '+5': expected an integer from 1"},
        {"set k v --ttl=", "--ttl '': expected an integer from 1"},
        {"set k v --ttl 9007199254740992", "--ttl '9007199254740992': expected an integer"},
        {"set k v --ttl 99999999999999999999", "--ttl '99999999999999999999': expected an integer"},
        {"set k v --ttl 5 --ttl 6", "--ttl: given twice: expected once"},
        {"set k v --nx=1", "--nx '1': expected no value"},
        {"set k v --nx --xx", "--nx with --xx: they contradict each other"},
        {"set k v --ttl 1 --keep-ttl", "--ttl with --keep-ttl: they contradict each other"},
        {"set k v --ttl 1 --expire-at 1", "--ttl with --expire-at: they contradict each other"},
        {"set k v --expire-at 1 --keep-ttl", "--expire-at with --keep-ttl: they contradict"},
        {"expire k 1 --nx --gt", "--nx with --gt: they contradict each other"},
        {"expire k 1 --nx --lt", "--nx with --lt: they contradict each other"},
        {"expire k 1 --gt --lt", "--gt with --lt: they contradict each other"},
        {"set k v --if-version -1", "--if-version '-1': expected an integer from 0"},
        {"del a b --if-version 1", "--if-version '1': with 2 keys: expected one key"},
        {"set k v --if-version 9223372036854775808",
         "--if-version '9223372036854775808': expected"},
        {"expire k soon", "MS 'soon': expected an integer up to 9007199254740991"},
        {"expire k 9007199254740992", "MS '9007199254740992': expected an integer up to"},
        {"transfer x 1", "SHARD 'x': expected an integer from 0 to 4294967295"},
        {"transfer 1 4294967296", "NODE '4294967296': expected an integer from 0 to 4294967295"},
        {"transfer 1", "transfer: 1 words given: expected SHARD NODE"},
        {"drain -1", "NODE '-1': expected an integer from 0 to 4294967295"},
        {"add-node x h:1", "NODE 'x': expected an integer from 0 to 4294967295"},
        {"add-node 1", "add-node: 1 words given: expected NODE ADDRESS"},
        {"remove-node -1", "NODE '-1': expected an integer from 0 to 4294967295"},
        {"transfer 1 2 --undo", "--undo: not a flag of transfer"},
        {"snapshot .hidden", "NAME '.hidden': expected 1 to 64 of A-Z a-z 0-9"},
        {"snapshot a/b", "NAME 'a/b': expected 1 to 64 of"},
        {"-o yaml get k", "-o 'yaml': expected json|table|plain"},
        {"-o js get k", "-o 'js': expected json|table|plain"},
        {"get k -o", "-o: no value: expected json|table|plain"},
        {"get k --timeout 0", "--timeout '0': expected an integer from 1 to 2147483647"},
        {"-s nonsense:port get k",
         "-s: endpoint 'nonsense:port' is no address, expected HOST:PORT"},
        {"-s a:1,:2 get k", "-s: endpoint ':2' is no address, expected HOST:PORT"},
        {"status --watch", "--watch: no value: expected INTERVAL"},
        {"status --watch 1", "--watch '1': expected a time from 100ms to 60m, such as 1s"},
        {"status --watch 99ms", "--watch '99ms': expected a time from 100ms"},
        {"status --watch 61m", "--watch '61m': expected a time from 100ms to 60m"},
        {"cluster --watch 1sec", "--watch '1sec': expected a time"},
        {"cluster --watch -1s", "--watch '-1s': expected a time"},
        {"cluster --watch 99999999999999s", "--watch '99999999999999s': expected a time"},
        {"get k --watch 1s", "--watch: not a flag of get"},
        {"watch", "watch: expected either KEY or --prefix PREFIX"},
        {"watch k --prefix p", "watch: expected either KEY or --prefix PREFIX"},
        {"watch k l", "watch: 'l' is one word too many"},
        {"watch k --events set,gone", "--events 'set,gone': expected some of set,del,expire,evict"},
        {"watch k --events set,", "--events 'set,': expected some of"},
        {"watch k --events=", "--events '': expected some of"},
        {"watch k --from -1", "--from '-1': expected an integer from 0"},
        {"latency --count 0", "--count '0': expected an integer from 1"},
        {"latency --count 1000001", "--count '1000001': expected an integer from 1 to 1000000"},
        {"hotkeys --count 10001", "--count '10001': expected an integer from 1 to 10000"},
        {"load f --format csv", "--format 'csv': expected tsv|ndjson"},
        {"load f --window 0", "--window '0': expected an integer from 1 to 65536"},
        {"load f g", "load: 'g' is one word too many: expected [FILE|-]"},
        {"get \x1b[31m\x07 b c", "get: 'b' is one word too many"},
        {"\x1b[31m", "?[31m: a verb is expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cli_run run = cli_run_words(NULL, cases[i].words, "");
        char expected[200];
        snprintf(expected, sizeof expected, "mayfly: %s", cases[i].error);
        if (run.status != 2 || run.out[0] != '\0' || lines_in(run.err) != 1 ||
            strncmp(run.err, expected, strlen(expected)) != 0)
            fail_msg("mayfly %s: status %d, stdout '%s', stderr '%s', expected '%s'",
                     cases[i].words, run.status, run.out, run.err, expected);
        cli_run_free(&run);
    }
}

static void help_and_version_go_to_stdout_and_exit_0(void **state)
{
    (void)state;
    static const char *const words[] = {"--help",        "--version",      "get --help",
                                        "--help load",   "set k v --help", "--help frobnicate",
                                        "--help -s x:y", "-o json --help"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        struct cli_run run = cli_run_words(NULL, words[i], "");
        assert_int_equal(run.status, 0);
        assert_true(run.out[0] != '\0');
        assert_string_equal(run.err, "");
        cli_run_free(&run);
    }
    struct cli_run help = cli_run_words(NULL, "--help", "");
    for (size_t i = 0; i < cli_verb_count; i++) {
        char ask[64];
        snprintf(ask, sizeof ask, "--help %s", cli_verbs[i].name);
        struct cli_run run = cli_run_words(NULL, ask, "");
        assert_int_equal(run.status, 0);
        assert_non_null(strstr(run.out, cli_verbs[i].help));
        assert_non_null(strstr(help.out, cli_verbs[i].help));
        cli_run_free(&run);
    }
    cli_run_free(&help);
}

static void a_word_after_two_dashes_is_no_flag(void **state)
{
    (void)state;
    static const char *const words[] = {"get -- --help", "-- get --help"};
    for (size_t i = 0; i < 2; i++) {
        struct cli_run run = cli_run_words("127.0.0.1:1", words[i], "");
        assert_int_equal(run.status, 1);
        assert_non_null(
            strstr(run.err, "get: UNREACHABLE: no endpoint answers; tried 127.0.0.1:1"));
        cli_run_free(&run);
    }
}

// A canned answer, and the request that it was given to.
struct canned {
    void (*answer)(struct mf_buf *out);
    char seen[200];
};

static enum fake_then answer_canned(void *arg, const struct fake_request *request,
                                    struct mf_buf *out)
{
    struct canned *canned = arg;
    snprintf(canned->seen, sizeof canned->seen, "%s %.150s", request->method, request->params);
    fake_reply(out, request->msgid);
    canned->answer(out);
    return FAKE_GO_ON;
}

static void nil(struct mf_buf *out)
{
    fake_nil(out);
}

static void yes(struct mf_buf *out)
{
    fake_bool(out, true);
}

static void no(struct mf_buf *out)
{
    fake_bool(out, false);
}

static void three(struct mf_buf *out)
{
    fake_int(out, 3);
}

static void zero(struct mf_buf *out)
{
    fake_int(out, 0);
}

static void no_key(struct mf_buf *out)
{
    fake_int(out, -2);
}

static void value(struct mf_buf *out)
{
    fake_bin(out, "a\tb", 3);
}

static void entry(struct mf_buf *out)
{
    fake_map(out, 3);
    fake_str(out, "version");
    fake_int(out, 12);
    fake_str(out, "ttl");
    fake_int(out, 900);
    fake_str(out, "value");
    fake_bin(out, "v\xff", 2);
}

static void written(struct mf_buf *out)
{
    fake_map(out, 1);
    fake_str(out, "version");
    fake_int(out, 5);
}

static void written_over(struct mf_buf *out)
{
    fake_map(out, 2);
    fake_str(out, "version");
    fake_int(out, 5);
    fake_str(out, "old");
    fake_bin(out, "before", 6);
}

static void kept(struct mf_buf *out)
{
    fake_map(out, 2);
    fake_str(out, "version");
    fake_nil(out);
    fake_str(out, "old");
    fake_bin(out, "before", 6);
}

static void one_and_nil(struct mf_buf *out)
{
    fake_array(out, 2);
    fake_bin(out, "a\tb", 3);
    fake_nil(out);
}

static void yes_and_no(struct mf_buf *out)
{
    fake_array(out, 2);
    fake_bool(out, true);
    fake_bool(out, false);
}

static void snapshot(struct mf_buf *out)
{
    fake_map(out, 2);
    fake_str(out, "path");
    fake_str(out, "/data/s");
    fake_str(out, "seconds");
    fake_double(out, 0.25);
}

static void verbs_ask_the_node_and_print_its_answer(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        const char *input;
        void (*answer)(struct mf_buf *out);
        const char *seen;
        int status;
        const char *out;
        const char *err;
    } cases[] = {
        {"get k", "", value, "get ['k']", 0, "a\tb\n", ""},
        {"get k --raw", "", value, "get ['k']", 0, "a\tb", ""},
        {"get k --local", "", value, "get ['k', {\"read\": \"local\"}]", 0, "a\tb\n", ""},
        {"get k", "", nil, "get ['k']", 1, "", ""},
        {"get k -o json", "", entry, "get ['k', {\"meta\": true}]", 0,
         "{\"key\": \"k\", \"value\": {\"base64\": \"dv8=\"}, \"version\": 12, \"ttl\": 900}\n",
         ""},
        {"get k -ojson", "", nil, "get ['k', {\"meta\": true}]", 1, "", ""},
        {"get k -o table", "", entry, "get ['k', {\"meta\": true}]", 0,
         "KEY  VERSION  TTL_MS  VALUE\nk    12       900     v\\xff\n", ""},
        {"mget a b", "", one_and_nil, "mget [['a', 'b']]", 1, "a\ta\\tb\n", ""},
        {"mget a b -o json", "", one_and_nil, "mget [['a', 'b']]", 1,
         "[{\"key\": \"a\", \"value\": \"a\\tb\"}, {\"key\": \"b\", \"value\": null}]\n", ""},
        {"set k v", "", written, "set ['k', 'v', {\"id\": <24 bytes>}]", 0, "OK\n", ""},
        {"set k v -o json", "", written, "set ['k', 'v', {\"id\": <24 bytes>}]", 0,
         "{\"written\": true, \"version\": 5}\n", ""},
        {"set k v -o table", "", written, "set ['k', 'v', {\"id\": <24 bytes>}]", 0,
         "OK  version 5\n", ""},
        {"set k - --ttl=7", "from\nstdin\n", written,
         "set ['k', 'from\nstdin\n', {\"ttl\": 7, \"id\": <24 bytes>}]", 0, "OK\n", ""},
        {"set k -- -", "", written, "set ['k', '', {\"id\": <24 bytes>}]", 0, "OK\n", ""},
        {"set k v --nx", "", nil, "set ['k', 'v', {\"nx\": true, \"id\": <24 bytes>}]", 1, "",
         "mayfly: set: not written: --nx: the key exists\n"},
        {"set k v --xx", "", nil, "set ['k', 'v', {\"xx\": true, \"id\": <24 bytes>}]", 1, "",
         "mayfly: set: not written: --xx: there is no such key\n"},
        {"set k v --if-version 0 -o json", "", nil,
         "set ['k', 'v', {\"if_version\": 0, \"id\": <24 bytes>}]", 1,
         "{\"written\": false, \"version\": null}\n",
         "mayfly: set: not written: --if-version: the key has another version\n"},
        {"set k v --get", "", written_over, "set ['k', 'v', {\"get\": true, \"id\": <24 bytes>}]",
         0, "before\n", ""},
        {"set k v --get --nx -o json", "", kept,
         "set ['k', 'v', {\"nx\": true, \"get\": true, \"id\": <24 bytes>}]", 1,
         "{\"written\": false, \"version\": null, \"old\": \"before\"}\n",
         "mayfly: set: not written: --nx: the key exists\n"},
        {"set k v --expire-at -1", "", written,
         "set ['k', 'v', {\"expire_at\": -1, \"id\": <24 bytes>}]", 0, "OK\n", ""},
        {"set k v --keep-ttl", "", written,
         "set ['k', 'v', {\"keep_ttl\": true, \"id\": <24 bytes>}]", 0, "OK\n", ""},
        {"mset a 1 b 2 --ttl 9", "", three,
         "mset [[['a', '1'], ['b', '2']], {\"ttl\": 9, \"id\": <24 bytes>}]", 0, "OK\n", ""},
        {"del a b c", "", three, "del [['a', 'b', 'c'], {\"id\": <24 bytes>}]", 0, "3\n", ""},
        {"del a", "", zero, "del [['a'], {\"id\": <24 bytes>}]", 0, "0\n", ""},
        {"del a --if-version 4", "", zero, "del [['a'], {\"if_version\": 4, \"id\": <24 bytes>}]",
         1, "0\n",
         "mayfly: del: not deleted: --if-version: the key is absent or has another version\n"},
        {"has a b", "", yes_and_no, "has [['a', 'b']]", 1, "true\nfalse\n", ""},
        {"has a b -o json", "", yes_and_no, "has [['a', 'b']]", 1,
         "[{\"key\": \"a\", \"present\": true}, {\"key\": \"b\", \"present\": false}]\n", ""},
        {"expire k -1", "", yes, "expire ['k', -1, {\"id\": <24 bytes>}]", 0, "true\n", ""},
        {"expire k 5 --xx --lt", "", no,
         "expire ['k', 5, {\"xx\": true, \"lt\": true, \"id\": <24 bytes>}]", 1, "false\n", ""},
        {"persist k -o json", "", no, "persist ['k', {\"id\": <24 bytes>}]", 1,
         "{\"changed\": false}\n", ""},
        {"ttl k", "", three, "ttl ['k']", 0, "3\n", ""},
        {"ttl k", "", no_key, "ttl ['k']", 1, "-2\n", ""},
        {"size -o json", "", three, "size []", 0, "{\"size\": 3}\n", ""},
        {"flush", "", three, "flush [{\"id\": <24 bytes>}]", 0, "3\n", ""},
        {"transfer 12 3", "", yes, "transfer [12, 3]", 0, "true\n", ""},
        {"transfer 12 3 -o json", "", yes, "transfer [12, 3]", 0, "{\"done\": true}\n", ""},
        {"transfer 12 3", "", no, "transfer [12, 3]", 1, "",
         "mayfly: transfer: PROTOCOL: transfer was answered with something else\n"},
        {"add-node 4 h:7", "", yes, "add_node [4, \"h:7\"]", 0, "true\n", ""},
        {"remove-node 4", "", yes, "remove_node [4]", 0, "true\n", ""},
        {"drain 3", "", yes, "drain_node [3]", 0, "true\n", ""},
        {"drain 3 --undo", "", yes, "drain_node [3, {\"undo\": true}]", 0, "true\n", ""},
        {"snapshot s", "", snapshot, "snapshot [\"s\"]", 0, "/data/s\n", ""},
        {"snapshot s -o json", "", snapshot, "snapshot [\"s\"]", 0,
         "{\"path\": \"/data/s\", \"seconds\": 0.25}\n", ""},
        {"stats", "", snapshot, "stats []", 0, "NAME     VALUE\npath     /data/s\nseconds  0.250\n",
         ""},
        {"stats -o plain", "", snapshot, "stats []", 0, "path\t/data/s\nseconds\t0.250\n", ""},
        {"size", "", nil, "size []", 1, "",
         "mayfly: size: PROTOCOL: size was answered with something else\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct canned canned = {.answer = cases[i].answer};
        struct fake_node *node = fake_node_start(answer_canned, &canned, (struct fake_options){0});
        struct cli_run run =
            cli_run_words(fake_node_endpoint(node), cases[i].words, cases[i].input);
        fake_node_stop(node);
        if (run.status != cases[i].status || strcmp(run.out, cases[i].out) != 0 ||
            strcmp(run.err, cases[i].err) != 0 || strcmp(canned.seen, cases[i].seen) != 0)
            fail_msg("mayfly %s: status %d, sent '%s', stdout '%s', stderr '%s'", cases[i].words,
                     run.status, canned.seen, run.out, run.err);
        cli_run_free(&run);
    }
}

static void ping_tells_who_answered(void **state)
{
    (void)state;
    struct canned canned = {.answer = nil};
    struct fake_node *node = fake_node_start(answer_canned, &canned, (struct fake_options){0});
    char expected[64];
    snprintf(expected, sizeof expected,
             "{\"pong\": true, \"endpoint\": \"%s\", \"ms\": ", fake_node_endpoint(node));
    struct cli_run run = cli_run_words(fake_node_endpoint(node), "ping -o json", "");
    assert_int_equal(run.status, 0);
    assert_int_equal(strncmp(run.out, expected, strlen(expected)), 0);
    cli_run_free(&run);
    fake_node_stop(node);
}

static enum fake_then refuse(void *arg, const struct fake_request *request, struct mf_buf *out)
{
    (void)arg;
    fake_error(out, request->msgid, "NO_QUORUM", "2 of 3 replicas are away");
    return FAKE_GO_ON;
}

static void what_cannot_be_done_until_the_deadline_is_told_with_what_was_tried(void **state)
{
    (void)state;
    struct fake_node *node = fake_node_start(refuse, NULL, (struct fake_options){0});
    char expected[200];
    snprintf(expected, sizeof expected, "mayfly: set: NO_QUORUM: ");
    struct cli_run run = cli_run_words(fake_node_endpoint(node), "set k v --timeout 300", "");
    // A deadline that comes while the request is on its way once more leaves it open what happened.
    for (int more = 20; more > 0 && strstr(run.err, "set: TIMEOUT: ") != NULL; more--) {
        cli_run_free(&run);
        run = cli_run_words(fake_node_endpoint(node), "set k v --timeout 300", "");
    }
    assert_int_equal(run.status, 1);
    assert_string_equal(run.out, "");
    assert_int_equal(strncmp(run.err, expected, strlen(expected)), 0);
    assert_non_null(strstr(run.err, fake_node_endpoint(node)));
    assert_int_equal(lines_in(run.err), 1);
    cli_run_free(&run);
    fake_node_stop(node);
}

static enum fake_then keep_greeting(void *arg, const struct fake_request *request,
                                    struct mf_buf *out)
{
    char *seen = arg;
    if (strcmp(request->method, "hello") == 0)
        snprintf(seen, 200, "%.199s", request->params);
    fake_reply(out, request->msgid);
    fake_int(out, 1);
    return FAKE_GO_ON;
}

static void the_environment_stands_in_for_flags(void **state)
{
    (void)state;
    char seen[200] = "";
    struct fake_node *node =
        fake_node_start(keep_greeting, seen, (struct fake_options){.raw_greeting = true});
    setenv("MAYFLY_ENDPOINTS", fake_node_endpoint(node), 1);
    setenv("MAYFLY_USER", "eve", 1);
    setenv("MAYFLY_PASSWORD", "secret", 1);
    struct cli_run run = cli_run_words(NULL, "size --user adam", "");
    assert_int_equal(run.status, 0);
    cli_run_free(&run);
    setenv("MAYFLY_ENDPOINTS", "nonsense:", 1);
    run = cli_run_words(NULL, "size", "");
    assert_int_equal(run.status, 2);
    assert_string_equal(run.err, "mayfly: MAYFLY_ENDPOINTS: endpoint 'nonsense:' is no address, "
                                 "expected HOST:PORT or [IPV6]:PORT\n");
    cli_run_free(&run);
    unsetenv("MAYFLY_ENDPOINTS");
    unsetenv("MAYFLY_USER");
    unsetenv("MAYFLY_PASSWORD");
    fake_node_stop(node);
    assert_string_equal(seen,
                        "[{\"client\": \"mayfly\", \"user\": \"adam\", \"password\": \"secret\"}]");
}

static void output_that_cannot_be_written_is_a_failure(void **state)
{
    (void)state;
    FILE *full = fopen("/dev/full", "w");
    FILE *in = tmpfile();
    char *words[] = {(char[]){"mayfly"}, (char[]){"--help"}, NULL};
    char *text = NULL;
    size_t size;
    FILE *err = open_memstream(&text, &size);
    assert_int_equal(cli_main(2, words, in, full, err, NULL), 1);
    fclose(err);
    assert_string_equal(text, "mayfly: standard output: No space left on device\n");
    free(text);
    fclose(in);
    fclose(full);
}

int main(void)
{
    unsetenv("MAYFLY_ENDPOINTS");
    unsetenv("MAYFLY_USER");
    unsetenv("MAYFLY_PASSWORD");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_command_lines_are_told_in_one_line_and_exit_2),
        cmocka_unit_test(help_and_version_go_to_stdout_and_exit_0),
        cmocka_unit_test(a_word_after_two_dashes_is_no_flag),
        cmocka_unit_test(verbs_ask_the_node_and_print_its_answer),
        cmocka_unit_test(ping_tells_who_answered),
        cmocka_unit_test(what_cannot_be_done_until_the_deadline_is_told_with_what_was_tried),
        cmocka_unit_test(the_environment_stands_in_for_flags),
        cmocka_unit_test(output_that_cannot_be_written_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
