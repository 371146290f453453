// Log lines: their form, and that no caller ever waits, whatever happens to stderr.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/log_line.h"

// 2026-01-02T03:04:05.678901Z
#define WALL_US UINT64_C(1767323045678901)

// stderr as it was, while a test has put something else in its place.
static int real_stderr = -1;

static void replace_stderr(int fd)
{
    real_stderr = dup(STDERR_FILENO);
    assert_true(real_stderr >= 0);
    assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    close(fd);
}

static int restore_stderr(void **state)
{
    (void)state;
    mf_log_stop();
    if (real_stderr >= 0) {
        dup2(real_stderr, STDERR_FILENO);
        close(real_stderr);
        real_stderr = -1;
    }
    return 0;
}

static FILE *captured;

// From here on stderr goes into an unnamed file.
static void capture(void)
{
    captured = tmpfile();
    assert_non_null(captured);
    replace_stderr(dup(fileno(captured)));
}

// Ends the capture; returns its text, to be freed.
static char *captured_text(void)
{
    restore_stderr(NULL);
    struct mf_buf text = {0};
    rewind(captured);
    char piece[4096];
    size_t got;
    while ((got = fread(piece, 1, sizeof(piece), captured)) > 0)
        mf_buf_put(&text, piece, got);
    fclose(captured);
    mf_buf_u8(&text, 0);
    return (char *)text.data;
}

static void check_line(enum mf_log_format format, unsigned node, enum mf_log_level level,
                       struct mf_bytes message, const char *expected)
{
    struct mf_log_line line;
    mf_log_line_render(&line, format, node, level, WALL_US, (const char *)message.data,
                       message.len);
    char got[sizeof(line.text) + 1];
    memcpy(got, line.text, line.len);
    got[line.len] = '\0';
    assert_string_equal(got, expected);
}

static void a_text_line_has_time_level_node_and_message(void **state)
{
    (void)state;
    check_line(MF_LOG_TEXT, 1, MF_INFO, mf_bytes_str("message"),
               "2026-01-02T03:04:05.678Z INFO node=1 message\n");
    check_line(MF_LOG_TEXT, 65535, MF_WARN, mf_bytes_str("a  b"),
               "2026-01-02T03:04:05.678Z WARN node=65535 a  b\n");
    check_line(MF_LOG_TEXT, 0, MF_ERROR, mf_bytes_str("message"),
               "2026-01-02T03:04:05.678Z ERROR message\n");
}

static void a_json_line_is_one_object(void **state)
{
    (void)state;
    check_line(MF_LOG_JSON, 7, MF_TRACE, mf_bytes_str("message"),
               "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"trace\",\"node\":7,"
               "\"message\":\"message\"}\n");
    check_line(MF_LOG_JSON, 0, MF_DEBUG, mf_bytes_str(""),
               "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"debug\",\"message\":\"\"}\n");
}

static void control_bytes_and_broken_utf8_are_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *message;
        const char *text;
        const char *json;
    } cases[] = {
        {"a\nb\tc\rd", "a\\nb\\tc\\rd", "a\\nb\\tc\\rd"},
        {"\x1b[31m", "\\x1b[31m", "\\u001b[31m"},
        {"\x7f", "\\x7f", "\\u007f"},
        {"say \"hi\" \\o/", "say \"hi\" \\o/", "say \\\"hi\\\" \\\\o/"},
        {"na\xc3\xafve \xe2\x82\xac \xf0\x9f\x90\x9d", "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x90\x9d",
         "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x90\x9d"},
        {"\xc2\x9b", "\\x9b", "\\u009b"},                             // a control in UTF-8
        {"\xff", "\\xff", "\\ufffd"},                                 // never in UTF-8
        {"\xc3", "\\xc3", "\\ufffd"},                                 // cut off
        {"\xc3(", "\\xc3(", "\\ufffd("},                              // not continued
        {"\xc0\xaf", "\\xc0\\xaf", "\\ufffd\\ufffd"},                 // longer than need be
        {"\xed\xa0\x80", "\\xed\\xa0\\x80", "\\ufffd\\ufffd\\ufffd"}, // a surrogate
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"}, // > 10ffff
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char expected[256];
        snprintf(expected, sizeof(expected), "2026-01-02T03:04:05.678Z INFO %s\n", cases[i].text);
        check_line(MF_LOG_TEXT, 0, MF_INFO, mf_bytes_str(cases[i].message), expected);
        snprintf(expected, sizeof(expected),
                 "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"info\",\"message\":\"%s\"}\n",
                 cases[i].json);
        check_line(MF_LOG_JSON, 0, MF_INFO, mf_bytes_str(cases[i].message), expected);
    }
    check_line(MF_LOG_TEXT, 0, MF_INFO, mf_bytes_of("a\0b", 3),
               "2026-01-02T03:04:05.678Z INFO a\\x00b\n");
}

// Renders `lead` times x, then `fill` over and over, MF_LOG_LINE_MAX bytes in all, and checks that
// the line is full to a character and ends after a whole one.
static void check_cut(enum mf_log_format format, size_t lead, const char *fill,
                      const char *fill_shown, const char *tail)
{
    char message[MF_LOG_LINE_MAX];
    memset(message, 'x', lead);
    for (size_t i = lead; i < sizeof(message); i++)
        message[i] = fill[(i - lead) % strlen(fill)];
    struct mf_log_line line;
    mf_log_line_render(&line, format, 1, MF_INFO, WALL_US, message, sizeof(message));
    assert_in_range(line.len, MF_LOG_LINE_MAX + 2 - strlen(fill_shown), MF_LOG_LINE_MAX + 1);
    assert_memory_equal(line.text + line.len - strlen(tail), tail, strlen(tail));
    size_t shown = strlen(fill_shown);
    const char *last = line.text + line.len - strlen(tail) - shown;
    assert_memory_equal(last, fill_shown, shown);
}

static void a_line_that_is_too_long_is_cut_after_a_whole_character(void **state)
{
    (void)state;
    for (size_t lead = 0; lead < 8; lead++) {
        check_cut(MF_LOG_TEXT, lead, "a", "a", "...\n");
        check_cut(MF_LOG_JSON, lead, "a", "a", "...\"}\n");
        check_cut(MF_LOG_TEXT, lead, "\xe2\x82\xac", "\xe2\x82\xac", "...\n");
        check_cut(MF_LOG_JSON, lead, "\xf0\x9f\x90\x9d", "\xf0\x9f\x90\x9d", "...\"}\n");
        check_cut(MF_LOG_TEXT, lead, "\x01", "\\x01", "...\n");
        check_cut(MF_LOG_JSON, lead, "\x01", "\\u0001", "...\"}\n");
        check_cut(MF_LOG_JSON, lead, "\"", "\\\"", "...\"}\n");
    }
}

static void a_line_of_exactly_the_limit_is_not_cut(void **state)
{
    (void)state;
    const size_t head = strlen("2026-01-02T03:04:05.678Z INFO ");
    char message[MF_LOG_LINE_MAX + 1];
    memset(message, 'x', sizeof(message));
    struct mf_log_line line;
    mf_log_line_render(&line, MF_LOG_TEXT, 0, MF_INFO, WALL_US, message, MF_LOG_LINE_MAX - head);
    assert_int_equal(line.len, MF_LOG_LINE_MAX + 1);
    assert_memory_equal(line.text + line.len - 4, "xxx\n", 4);
    mf_log_line_render(&line, MF_LOG_TEXT, 0, MF_INFO, WALL_US, message,
                       MF_LOG_LINE_MAX - head + 1);
    assert_int_equal(line.len, MF_LOG_LINE_MAX + 1);
    assert_memory_equal(line.text + line.len - 5, "x...\n", 5);
}

static void lines_before_start_and_after_stop_are_written_at_once(void **state)
{
    (void)state;
    capture();
    mf_log(MF_INFO, "before %d", 1);
    mf_log_start(MF_INFO, MF_LOG_TEXT, 3);
    mf_log(MF_INFO, "between %d", 2);
    mf_log_stop();
    mf_log(MF_INFO, "after %d", 3);
    char *text = captured_text();
    const char *before = strstr(text, "INFO before 1\n");
    const char *between = strstr(text, "INFO node=3 between 2\n");
    const char *after = strstr(text, "INFO node=3 after 3\n");
    assert_non_null(before);
    assert_true(between > before);
    assert_true(after > between);
    free(text);
}

static void stopping_twice_or_without_a_start_does_nothing(void **state)
{
    (void)state;
    mf_log_stop();
    mf_log_start(MF_INFO, MF_LOG_TEXT, 0);
    mf_log_stop();
    mf_log_stop();
}

static void only_lines_of_the_level_and_above_are_written(void **state)
{
    (void)state;
    capture();
    mf_log_start(MF_WARN, MF_LOG_TEXT, 0);
    assert_false(mf_log_on(MF_INFO));
    assert_true(mf_log_on(MF_WARN));
    mf_log(MF_INFO, "quiet");
    mf_log(MF_WARN, "loud");
    mf_log_set_level(MF_TRACE);
    assert_true(mf_log_on(MF_TRACE));
    mf_log(MF_TRACE, "whisper");
    mf_log_set_level(MF_ERROR);
    mf_log(MF_WARN, "hushed");
    char *text = captured_text();
    assert_null(strstr(text, "quiet"));
    assert_non_null(strstr(text, "WARN loud\n"));
    assert_non_null(strstr(text, "TRACE whisper\n"));
    assert_null(strstr(text, "hushed"));
    free(text);
}

static void level_names_are_parsed_and_others_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"trace", "debug", "info", "warn", "error"};
    for (int i = 0; i < 5; i++) {
        enum mf_log_level level = MF_TRACE;
        assert_int_equal(mf_log_level_parse(names[i], &level), MF_OK);
        assert_int_equal(level, i);
    }
    static const char *const others[] = {"", "INFO", "warning", "inf", "info "};
    for (size_t i = 0; i < 5; i++) {
        enum mf_log_level level = MF_WARN;
        assert_int_equal(mf_log_level_parse(others[i], &level), MF_BAD_REQUEST);
        assert_int_equal(level, MF_WARN);
    }
}

static void logging_leaves_errno_alone(void **state)
{
    (void)state;
    replace_stderr(open("/dev/full", O_WRONLY | O_CLOEXEC));
    errno = ENOENT;
    mf_log(MF_ERROR, "nobody can write this");
    assert_int_equal(errno, ENOENT);
    mf_log_start(MF_INFO, MF_LOG_TEXT, 0);
    errno = ENOENT;
    mf_log(MF_ERROR, "nor this");
    assert_int_equal(errno, ENOENT);
}

#define WRITERS 4
#define LINES_EACH 200 // all of them fit the queue: none may be dropped

static void *log_lines(void *arg)
{
    for (int i = 0; i < LINES_EACH; i++)
        mf_log(MF_INFO, "thread %c line %d end", *(const char *)arg, i);
    return NULL;
}

static void lines_of_many_threads_come_out_whole_and_in_each_ones_order(void **state)
{
    (void)state;
    capture();
    mf_log_start(MF_INFO, MF_LOG_TEXT, 0);
    pthread_t threads[WRITERS];
    char names[WRITERS] = {'a', 'b', 'c', 'd'};
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_lines, &names[i]), 0);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    char *text = captured_text();
    int next[WRITERS] = {0};
    int lines = 0;
    for (char *at = text, *line; (line = strsep(&at, "\n")) != NULL && line[0] != '\0'; lines++) {
        char name;
        int number;
        assert_int_equal(sscanf(line, "%*s INFO thread %c line %d end", &name, &number), 2);
        assert_in_range(name, 'a', 'd');
        assert_int_equal(number, next[name - 'a']++);
    }
    assert_int_equal(lines, WRITERS * LINES_EACH);
    free(text);
}

// A pipe that is full, so that every write to it waits. Returns its read end.
static int full_pipe_as_stderr(void)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    char filler[4096];
    memset(filler, '.', sizeof(filler));
    filler[sizeof(filler) - 1] = '\n';
    while (write(ends[1], filler, sizeof(filler)) > 0) {
    }
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
    replace_stderr(ends[1]);
    return ends[0];
}

static void *read_all(void *arg)
{
    struct mf_buf *into = mf_calloc(1, sizeof(*into));
    char piece[4096];
    ssize_t got;
    while ((got = read(*(int *)arg, piece, sizeof(piece))) > 0)
        mf_buf_put(into, piece, (size_t)got);
    mf_buf_u8(into, 0);
    return into;
}

static void a_full_queue_drops_lines_and_says_how_many(void **state)
{
    (void)state;
    const unsigned long long logged = 5000;
    int reader = full_pipe_as_stderr();
    mf_log_start(MF_INFO, MF_LOG_TEXT, 0);
    // Nobody reads stderr: were this to wait for it, the test would never end.
    for (unsigned long long i = 0; i < logged; i++)
        mf_log(MF_INFO, "line %llu", i);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_all, &reader), 0);
    restore_stderr(NULL); // stops the log and closes the pipe's last write end
    void *result;
    pthread_join(thread, &result);
    close(reader);
    struct mf_buf *text = result;
    unsigned long long written = 0;
    unsigned long long dropped = 0;
    char *at = (char *)text->data;
    for (char *line; (line = strsep(&at, "\n")) != NULL;) {
        unsigned long long number;
        if (sscanf(line, "%*s INFO line %llu", &number) == 1)
            written++;
        else if (sscanf(line, "%*s WARN %llu log lines were dropped", &number) == 1)
            dropped += number;
    }
    assert_true(written >= 1000);
    assert_true(dropped >= 1);
    assert_int_equal(written + dropped, logged);
    mf_buf_free(text);
    free(text);
}

static void a_stop_does_not_hang_on_a_stderr_that_nobody_reads(void **state)
{
    (void)state;
    int reader = full_pipe_as_stderr();
    mf_log_start(MF_INFO, MF_LOG_TEXT, 0);
    for (int i = 0; i < 2000; i++)
        mf_log(MF_INFO, "line %d", i);
    mf_log_stop();
    mf_log(MF_INFO, "a late line does not hang either");
    restore_stderr(NULL);
    close(reader);
}

static void a_stderr_whose_reader_has_gone_does_not_kill_the_process(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    close(ends[0]);
    replace_stderr(ends[1]);
    mf_log_start(MF_INFO, MF_LOG_TEXT, 0);
    for (int i = 0; i < 100; i++)
        mf_log(MF_INFO, "into the void");
    restore_stderr(NULL);
}

static void *log_through_stops(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2000; i++)
        mf_log(MF_INFO, "early, in time or late: %d", i);
    return NULL;
}

static void late_lines_of_other_threads_are_harmless(void **state)
{
    (void)state;
    replace_stderr(open("/dev/null", O_WRONLY | O_CLOEXEC));
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_through_stops, NULL), 0);
    for (int i = 0; i < 50; i++) {
        mf_log_start(MF_INFO, MF_LOG_JSON, 1);
        mf_log_stop();
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

#define LOG_TEST(name) cmocka_unit_test_teardown(name, restore_stderr)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(a_text_line_has_time_level_node_and_message),
        LOG_TEST(a_json_line_is_one_object),
        LOG_TEST(control_bytes_and_broken_utf8_are_escaped),
        LOG_TEST(a_line_that_is_too_long_is_cut_after_a_whole_character),
        LOG_TEST(a_line_of_exactly_the_limit_is_not_cut),
        LOG_TEST(lines_before_start_and_after_stop_are_written_at_once),
        LOG_TEST(stopping_twice_or_without_a_start_does_nothing),
        LOG_TEST(only_lines_of_the_level_and_above_are_written),
        LOG_TEST(level_names_are_parsed_and_others_refused),
        LOG_TEST(logging_leaves_errno_alone),
        LOG_TEST(lines_of_many_threads_come_out_whole_and_in_each_ones_order),
        LOG_TEST(a_full_queue_drops_lines_and_says_how_many),
        LOG_TEST(a_stop_does_not_hang_on_a_stderr_that_nobody_reads),
        LOG_TEST(a_stderr_whose_reader_has_gone_does_not_kill_the_process),
        LOG_TEST(late_lines_of_other_threads_are_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
