// `mayfly load` against fake nodes: what arrives, in which order, through refusals and deaths, what
// is reported, and where it stops.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "cli_run.h"
#include "fake_node.h"

// What the nodes of a test do together.
struct script {
    struct fake_store store;
    struct mf_buf journal; // "params|" of every request that took effect
    int requests;
    int die_at;        // closes, with this request applied but not answered
    int busy_every;    // refuses every so many; 0 = never
    const char *error; // answer to a request that has this in its params...
    const char *when;
};

static enum fake_then play(void *arg, const struct fake_request *request, struct mf_buf *out)
{
    struct script *script = arg;
    script->requests++;
    if (script->when != NULL && strstr(request->params, script->when) != NULL) {
        fake_error(out, request->msgid, script->error, "for a test");
        return FAKE_GO_ON;
    }
    if (script->busy_every > 0 && script->requests % script->busy_every == 0) {
        fake_error(out, request->msgid, "BUSY", "for a test");
        return FAKE_GO_ON;
    }
    if (fake_store_apply(&script->store, request)) {
        mf_buf_put(&script->journal, request->params, strlen(request->params));
        mf_buf_u8(&script->journal, '|');
    }
    if (script->requests == script->die_at)
        return FAKE_CLOSE;
    fake_reply(out, request->msgid);
    fake_map(out, 1);
    fake_str(out, "version");
    fake_int(out, 1);
    return FAKE_GO_ON;
}

static void script_free(struct script *script)
{
    fake_store_free(&script->store);
    mf_buf_free(&script->journal);
}

static struct fake_node *start(struct script *script)
{
    return fake_node_start(play, script, (struct fake_options){0});
}

static struct cli_run load(struct script *script, const char *words, const char *input)
{
    struct fake_node *node = start(script);
    struct cli_run run = cli_run_words(fake_node_endpoint(node), words, input);
    fake_node_stop(node);
    mf_buf_u8(&script->journal, '\0');
    return run;
}

// A member of the JSON that was printed.
static double member(const struct cli_run *run, const char *name)
{
    json_t *summary = json_loads(run->out, 0, NULL);
    assert_non_null(summary);
    json_t *value = json_object_get(summary, name);
    assert_non_null(value);
    double number = json_is_boolean(value) ? (double)json_is_true(value) : json_number_value(value);
    json_decref(summary);
    return number;
}

static void records_arrive_with_their_time_to_live(void **state)
{
    (void)state;
    struct script script = {0};
    struct cli_run run =
        load(&script, "load --ttl 77 --window 1", "a\t1\n\nb\t2\t500\nx\\ty\tz\\\\\n");
    assert_int_equal(run.status, 0);
    assert_string_equal((char *)script.journal.data,
                        "['a', '1', {\"ttl\": 77, \"id\": <24 bytes>}]|"
                        "['b', '2', {\"ttl\": 500, \"id\": <24 bytes>}]|"
                        "['x\ty', 'z\\', {\"ttl\": 77, \"id\": <24 bytes>}]|");
    assert_int_equal(strncmp(run.out, "3 records in 0.", 15), 0);
    assert_non_null(strstr(run.out, " records/s, 0 retries, 0 errors, longest stall: 0."));
    assert_string_equal(run.err, "");
    cli_run_free(&run);
    script_free(&script);
    script = (struct script){0};
    run = load(&script, "load - --ttl 77 --window 1 --format ndjson",
               "{\"key\": \"a\", \"value\": \"1\"}\n"
               "{\"key\": \"b\", \"value\": \"2\", \"expire_at\": null}\n"
               "{\"key\": \"c\", \"value\": \"3\", \"expire_at\": 99}");
    assert_int_equal(run.status, 0);
    assert_string_equal((char *)script.journal.data,
                        "['a', '1', {\"ttl\": 77, \"id\": <24 bytes>}]|"
                        "['b', '2', {\"id\": <24 bytes>}]|"
                        "['c', '3', {\"expire_at\": 99, \"id\": <24 bytes>}]|");
    cli_run_free(&run);
    script_free(&script);
}

static void an_empty_input_is_no_error(void **state)
{
    (void)state;
    struct script script = {0};
    struct cli_run run = load(&script, "load -o json", "");
    assert_int_equal(run.status, 0);
    assert_true(member(&run, "records") == 0 && member(&run, "complete") == 1);
    cli_run_free(&run);
    script_free(&script);
}

static char *numbered(int count)
{
    struct mf_buf text = {0};
    for (int i = 0; i < count; i++) {
        char line[64];
        mf_buf_put(&text, line, (size_t)snprintf(line, sizeof line, "key%d\tvalue%d\n", i, i));
    }
    mf_buf_u8(&text, '\0');
    return (char *)text.data;
}

static void a_load_through_a_failover_applies_and_acknowledges_each_record_once(void **state)
{
    (void)state;
    struct script script = {.die_at = 333, .busy_every = 50};
    struct fake_node *a = start(&script);
    struct fake_node *b = start(&script);
    char endpoints[80];
    char acked[] = "/tmp/mayfly-test-XXXXXX";
    char words[200];
    char *input = numbered(1000);
    close(mkstemp(acked));
    snprintf(endpoints, sizeof endpoints, "%s,%s", fake_node_endpoint(a), fake_node_endpoint(b));
    snprintf(words, sizeof words, "load - -o json --window 64 --acked %s", acked);
    struct cli_run run = cli_run_words(endpoints, words, input);
    fake_node_stop(a);
    fake_node_stop(b);
    assert_int_equal(run.status, 0);
    assert_int_equal(script.store.count, 1000);
    assert_true(script.store.repeats > 0);
    assert_true(member(&run, "records") == 1000);
    assert_true(member(&run, "errors") == 0);
    assert_true(member(&run, "retries") > 20);
    assert_true(member(&run, "longest_stall_seconds") > 0);
    FILE *file = fopen(acked, "r");
    char line[64];
    bool seen[1000] = {false};
    int number;
    int count = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        assert_int_equal(sscanf(line, "key%d\n", &number), 1);
        assert_false(seen[number]);
        seen[number] = true;
        count++;
    }
    assert_int_equal(count, 1000);
    fclose(file);
    unlink(acked);
    free(input);
    cli_run_free(&run);
    script_free(&script);
}

static void the_last_of_a_repeated_key_wins_whatever_is_retried(void **state)
{
    (void)state;
    // The first request is refused for now; were the second not to wait, it would come first.
    struct script script = {.busy_every = 3};
    script.requests = 2;
    struct cli_run run = load(&script, "load", "k\t1\nk\t2\nother\t0\nk\t3\n");
    assert_int_equal(run.status, 0);
    const char *journal = (const char *)script.journal.data;
    const char *one = strstr(journal, "'1'");
    const char *two = strstr(journal, "'2'");
    const char *three = strstr(journal, "'3'");
    assert_true(one != NULL && two != NULL && three != NULL && one < two && two < three);
    cli_run_free(&run);
    script_free(&script);
}

static void a_bad_line_stops_the_load_after_what_is_in_flight(void **state)
{
    (void)state;
    struct script script = {0};
    struct cli_run run = load(&script, "load -o json", "a\t1\nb\t2\nbad\nc\t3\n");
    assert_int_equal(run.status, 1);
    assert_string_equal(
        run.err, "mayfly: load: line 3: there is no tab: expected KEY<TAB>VALUE[<TAB>TTL_MS]\n");
    assert_int_equal(script.store.count, 2);
    assert_true(member(&run, "records") == 2 && member(&run, "errors") == 1);
    assert_true(member(&run, "complete") == 0);
    cli_run_free(&run);
    script_free(&script);
}

static void bad_lines_and_refused_records_can_be_skipped(void **state)
{
    (void)state;
    struct script script = {.error = "TOO_LARGE", .when = "'huge'"};
    struct cli_run run =
        load(&script, "load -o json --skip-bad", "a\t1\nbad\nhuge\t2\n\tx\nc\t3\n");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.err, "mayfly: load: line 2: there is no tab"));
    assert_non_null(strstr(run.err, "mayfly: load: line 3: TOO_LARGE: for a test\n"));
    assert_non_null(strstr(run.err, "mayfly: load: line 4: the key is empty\n"));
    assert_int_equal(script.store.count, 2);
    assert_true(member(&run, "records") == 2 && member(&run, "errors") == 3);
    cli_run_free(&run);
    script_free(&script);
    // Without --skip-bad the refusal ends it; other refusals always do.
    script = (struct script){.error = "TOO_LARGE", .when = "'huge'"};
    run = load(&script, "load --window 1", "huge\t2\na\t1\n");
    assert_int_equal(run.status, 1);
    assert_int_equal(script.requests, 1);
    cli_run_free(&run);
    script_free(&script);
    script = (struct script){.error = "OUT_OF_MEMORY", .when = "'huge'"};
    run = load(&script, "load --window 1 --skip-bad", "huge\t2\na\t1\n");
    assert_int_equal(run.status, 1);
    assert_int_equal(script.requests, 1);
    assert_non_null(strstr(run.err, "mayfly: load: line 1: OUT_OF_MEMORY: for a test\n"));
    cli_run_free(&run);
    script_free(&script);
}

static void many_errors_are_counted_but_not_all_printed(void **state)
{
    (void)state;
    struct mf_buf input = {0};
    for (int i = 0; i < 500; i++)
        mf_buf_put(&input, "bad\n", 4);
    mf_buf_u8(&input, '\0');
    struct script script = {0};
    struct cli_run run = load(&script, "load -o json --skip-bad", (char *)input.data);
    assert_int_equal(run.status, 0);
    assert_true(member(&run, "errors") == 500);
    size_t lines = 0;
    for (const char *at = run.err; *at != '\0'; at++)
        lines += *at == '\n';
    assert_int_equal(lines, 21);
    assert_non_null(strstr(run.err, "mayfly: load: further errors are only counted\n"));
    mf_buf_free(&input);
    cli_run_free(&run);
    script_free(&script);
}

static void files_that_cannot_be_used_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        const char *err;
    } cases[] = {
        {"load /nonexistent/file", "mayfly: load: /nonexistent/file: No such file or directory\n"},
        {"load /tmp", "mayfly: load: /tmp: expected a file, not a folder\n"},
        {"load --acked /nonexistent/file",
         "mayfly: load: --acked /nonexistent/file: No such file or directory\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cli_run run = cli_run_words("127.0.0.1:1", cases[i].words, "a\t1\n");
        assert_int_equal(run.status, 1);
        assert_string_equal(run.out, "");
        assert_string_equal(run.err, cases[i].err);
        cli_run_free(&run);
    }
    struct script script = {0};
    struct cli_run run = load(&script, "load --acked /dev/full", "a\t1\n");
    assert_int_equal(run.status, 1);
    assert_string_equal(run.err, "mayfly: load: --acked /dev/full: could not be written\n");
    cli_run_free(&run);
    script_free(&script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_arrive_with_their_time_to_live),
        cmocka_unit_test(an_empty_input_is_no_error),
        cmocka_unit_test(a_load_through_a_failover_applies_and_acknowledges_each_record_once),
        cmocka_unit_test(the_last_of_a_repeated_key_wins_whatever_is_retried),
        cmocka_unit_test(a_bad_line_stops_the_load_after_what_is_in_flight),
        cmocka_unit_test(bad_lines_and_refused_records_can_be_skipped),
        cmocka_unit_test(many_errors_are_counted_but_not_all_printed),
        cmocka_unit_test(files_that_cannot_be_used_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
