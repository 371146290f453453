// Many commands in one run of mayfly: lines of standard input, and what TAB offers at a line's end.
// A fake node holds the keys.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/complete.h"
#include "cli/session.h"
#include "cli_run.h"
#include "fake_node.h"

#define SCANS_ENDLESS 1000000

// Answers `get` of keys with what was asked, `scan` with three keys and the pattern that was sent.
struct keeper {
    char match[64];
    int scans_left; // calls until a scan ends
};

static enum fake_then answer(void *arg, const struct fake_request *request, struct mf_buf *out)
{
    struct keeper *keeper = arg;
    if (strcmp(request->method, "get") == 0 && strstr(request->params, "meta") != NULL) {
        static const char *const names[] = {"version", "ttl"};
        fake_reply(out, request->msgid);
        fake_map(out, 3);
        fake_str(out, "value");
        fake_bin(out, "v", 1);
        for (size_t i = 0; i < 2; i++) {
            fake_str(out, names[i]);
            fake_int(out, 5);
        }
    } else if (strcmp(request->method, "get") == 0 && strstr(request->params, "absent") == NULL) {
        fake_reply(out, request->msgid);
        fake_bin(out, request->params, strlen(request->params));
    } else if (strcmp(request->method, "get") == 0) {
        fake_reply(out, request->msgid);
        fake_nil(out);
    } else if (strcmp(request->method, "incr") == 0) {
        fake_error(out, request->msgid, "NOT_INTEGER", "no integer");
    } else if (strcmp(request->method, "scan") == 0) {
        static const char *const keys[] = {"user:2", "user:10", "user:2", "it's \xff"};
        snprintf(keeper->match, sizeof keeper->match, "%.63s", request->params);
        keeper->scans_left -= 1;
        fake_reply(out, request->msgid);
        fake_array(out, 2);
        fake_int(out, keeper->scans_left > 0 ? 7 : 0);
        fake_array(out, 4);
        for (size_t i = 0; i < 4; i++)
            fake_bin(out, keys[i], strlen(keys[i]));
    } else {
        fake_reply(out, request->msgid);
        fake_map(out, 1);
        fake_str(out, "nodes");
        fake_array(out, 2);
        for (int id = 7; id < 9; id++) {
            fake_map(out, 1);
            fake_str(out, "id");
            fake_int(out, id);
        }
    }
    return FAKE_GO_ON;
}

static void lines_of_standard_input_are_commands(void **state)
{
    (void)state;
    static const struct {
        const char *words; // of the command line
        const char *input;
        int status;
        const char *out;
        const char *err;
    } cases[] = {
        {"", "get a --raw\nget b --raw", 0, "['a']['b']", ""},
        {"", "\n# nothing\n   \nget 'x y' --raw\n", 0, "['x y']", ""},
        {"-o json", "get a\n", 0, "{\"key\": \"a\"", ""},
        {"-o json", "get a -o plain --raw\n", 0, "['a']", ""},
        {"", "incr k\nget b --raw\n", 1, "['b']", "mayfly: line 1: incr: NOT_INTEGER"},
        {"", "nope\nget b --raw\n", 1, "['b']", "mayfly: line 1: nope: a verb is expected"},
        {"", "get b --raw\nget 'x\n", 1, "['b']", "mayfly: line 2: a quote is not closed\n"},
        {"", "get absent\nget b --raw\n", 1, "['b']", ""},
        {"", "set k -\n", 1, "", "mayfly: line 1: set: standard input cannot be read"},
        {"", "txn\n", 1, "", "mayfly: line 1: txn: standard input cannot be read"},
        {"", "load -\n", 1, "", "mayfly: line 1: load: standard input cannot be read"},
        {"", "get a --raw\nquit\nget b\n", 0, "['a']", ""},
        {"", "exit\n", 0, "", ""},
        {"", "help get\n", 0, "Usage: mayfly get KEY", ""},
        {"", "help\n", 0, "Usage: mayfly ", ""},
        {"", "", 0, "", ""},
        {"-o json", "# only a comment\n", 2, "", "mayfly: nothing to do: a verb is expected"},
    };
    struct keeper keeper = {0};
    struct fake_node *node = fake_node_start(answer, &keeper, (struct fake_options){0});
    setenv("MAYFLY_ENDPOINTS", fake_node_endpoint(node), 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cli_run run = cli_run_words(NULL, cases[i].words, cases[i].input);
        size_t out = strlen(cases[i].out);
        bool whole = strchr(cases[i].out, ']') != NULL || out == 0;
        if (run.status != cases[i].status || strncmp(run.out, cases[i].out, out) != 0 ||
            (whole && run.out[out] != '\0') ||
            strncmp(run.err, cases[i].err, strlen(cases[i].err)) != 0 ||
            (cases[i].err[0] == '\0' && run.err[0] != '\0'))
            fail_msg("mayfly %s < %s: status %d, stdout '%s', stderr '%s'", cases[i].words,
                     cases[i].input, run.status, run.out, run.err);
        cli_run_free(&run);
    }
    unsetenv("MAYFLY_ENDPOINTS");
    fake_node_stop(node);
}

static void all_lines_share_one_connection_unless_they_name_another_node(void **state)
{
    (void)state;
    struct keeper keeper = {0};
    struct keeper other = {0};
    struct fake_node *node = fake_node_start(answer, &keeper, (struct fake_options){0});
    struct fake_node *elsewhere = fake_node_start(answer, &other, (struct fake_options){0});
    char lines[400];
    snprintf(lines, sizeof lines, "get a\nget b\nget c -s %s\nget d --timeout 5000\nget e\n",
             fake_node_endpoint(elsewhere));
    struct cli_run run = cli_run_words(fake_node_endpoint(node), "", lines);
    assert_int_equal(run.status, 0);
    assert_string_equal(run.err, "");
    cli_run_free(&run);
    assert_int_equal(fake_node_stop(node), 1);
    assert_int_equal(fake_node_stop(elsewhere), 1);
}

struct stage {
    struct keeper keeper;
    struct fake_node *node;
    struct cli outer;
    struct cli_session session;
};

static void open_stage(struct stage *stage)
{
    *stage = (struct stage){.keeper = {.scans_left = 1}};
    stage->node = fake_node_start(answer, &stage->keeper, (struct fake_options){0});
    stage->outer.flags[CLI_FLAG_ENDPOINTS] =
        (struct cli_given){.given = true, .text = fake_node_endpoint(stage->node)};
    stage->session.outer = &stage->outer;
}

static void close_stage(struct stage *stage)
{
    mayfly_client_free(stage->session.client);
    fake_node_stop(stage->node);
}

// The choices with | behind each, ... if there are more, and where the word begins.
static void show(struct stage *stage, const char *line, char *text, size_t size)
{
    struct cli_choices choices;
    size_t used = 0;
    stage->keeper.scans_left = 2;
    cli_complete(&stage->session, line, strlen(line), &choices);
    used += (size_t)snprintf(text, size, "%zu:", choices.start);
    for (size_t i = 0; i < choices.count && used < size - 80; i++)
        used += (size_t)snprintf(text + used, size - used, "%.60s|", choices.items[i]);
    if (choices.cut)
        snprintf(text + used, size - used, "...");
    cli_choices_free(&choices);
}

static void what_fits_at_the_end_of_a_line_is_offered(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *choices;
    } cases[] = {
        {"wa", "0:watch|"},
        {"watch --prefix ", "15:"},
        {"watch ", "6:it's \xff|user:10|user:2|"},
        {"ge", "0:get|getdel|getex|"},
        {"qu", "0:quit|"},
        {"hel", "0:help|"},
        {"help expi", "5:expire|"},
        {"help get x", "9:"},
        {"nope x", "5:"},
        {"get user:", "4:it's \xff|user:10|user:2|"},
        {"get 'user", "4:it's \xff|user:10|user:2|"},
        {"get ", "4:it's \xff|user:10|user:2|"},
        {"get k ", "6:"},
        {"del k l", "6:it's \xff|user:10|user:2|"},
        {"mset k ", "7:"},
        {"mset k v ", "9:it's \xff|user:10|user:2|"},
        {"set k --", "6:--expire-at|--get|--help|--if-version|--keep-ttl|--nx|--password|--timeout|"
                     "--ttl|--user|--version|--xx|"},
        {"set k -- --", "9:"},
        {"set --ttl 5 ", "12:it's \xff|user:10|user:2|"},
        {"set --ttl ", "10:"},
        {"get -o ", "7:json|plain|table|"},
        {"get -o t", "7:table|"},
        {"load --format ", "14:ndjson|tsv|"},
        {"load /dev/nul", "5:/dev/null|"},
        {"load /de", "5:/dev/|"},
        {"drain ", "6:7|8|"},
        {"drain 8", "6:8|"},
        {"transfer 1 ", "11:7|8|"},
        {"transfer ", "9:"},
        {"add-node ", "9:"},
        {"size ", "5:"},
    };
    struct stage stage;
    open_stage(&stage);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[600];
        show(&stage, cases[i].line, text, sizeof text);
        if (strcmp(text, cases[i].choices) != 0)
            fail_msg("%s: %s, expected %s", cases[i].line, text, cases[i].choices);
    }
    close_stage(&stage);
}

static void keys_are_asked_for_by_their_beginning_as_it_stands(void **state)
{
    (void)state;
    struct stage stage;
    char text[200];
    open_stage(&stage);
    show(&stage, "get 'a*[b", text, sizeof text);
    fake_lock();
    assert_string_equal(stage.keeper.match, "[7, {\"match\": 'a\\*\\[b*', \"count\": 1000}]");
    fake_unlock();
    close_stage(&stage);
}

static void a_search_for_keys_without_end_is_cut(void **state)
{
    (void)state;
    struct stage stage;
    struct cli_choices choices;
    open_stage(&stage);
    stage.keeper.scans_left = SCANS_ENDLESS;
    cli_complete(&stage.session, "get ", 4, &choices);
    assert_true(choices.cut);
    assert_int_equal(choices.count, 3);
    cli_choices_free(&choices);
    close_stage(&stage);
}

static void without_a_cluster_there_are_no_keys_to_offer(void **state)
{
    (void)state;
    struct fake_port port = fake_port_taken();
    struct cli outer = {.flags[CLI_FLAG_ENDPOINTS] = {.given = true, .text = port.endpoint}};
    struct cli_session session = {.outer = &outer};
    struct cli_choices choices;
    cli_complete(&session, "get ", 4, &choices);
    assert_int_equal(choices.count, 0);
    cli_choices_free(&choices);
    mayfly_client_free(session.client);
    fake_port_free(&port);
}

static void the_common_beginning_does_not_cut_a_character(void **state)
{
    (void)state;
    static const struct {
        const char *items[3];
        size_t count;
        size_t common;
    } cases[] = {
        {{"abc", "abd"}, 2, 2},
        {{"abc"}, 1, 3},
        {{"a\xc3\xa4", "a\xc3\xb6"}, 2, 1},
        {{"\xc3\xa4x", "\xc3\xa4y", "\xc3\xa4"}, 3, 2},
        {{"x", "y"}, 2, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cli_choices choices = {.items = (char **)(uintptr_t)cases[i].items,
                                      .count = cases[i].count};
        assert_int_equal(cli_choices_common(&choices), cases[i].common);
    }
}

static void the_hint_is_what_the_verb_expects(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *hint;
    } cases[] = {
        {"", ""},
        {"get", ""},
        {"nope ", ""},
        {"get ", "KEY [--local] [--raw]"},
        {"-o json incr k", "KEY [DELTA] [--ttl MS]"},
        {"size ", ""},
        {"transfer 1", "SHARD NODE"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *hint = cli_hint(cases[i].line, strlen(cases[i].line));
        assert_string_equal(hint, cases[i].hint);
        free(hint);
    }
}

int main(void)
{
    unsetenv("MAYFLY_ENDPOINTS");
    unsetenv("MAYFLY_USER");
    unsetenv("MAYFLY_PASSWORD");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_standard_input_are_commands),
        cmocka_unit_test(all_lines_share_one_connection_unless_they_name_another_node),
        cmocka_unit_test(what_fits_at_the_end_of_a_line_is_offered),
        cmocka_unit_test(keys_are_asked_for_by_their_beginning_as_it_stands),
        cmocka_unit_test(a_search_for_keys_without_end_is_cut),
        cmocka_unit_test(without_a_cluster_there_are_no_keys_to_offer),
        cmocka_unit_test(the_common_beginning_does_not_cut_a_character),
        cmocka_unit_test(the_hint_is_what_the_verb_expects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
