// Lines of the prompt: how they are split and quoted, and which of them its history keeps.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/history.h"
#include "cli/words.h"

// Words with | behind each, and then the trouble, if any.
static void show(const char *line, char *text, size_t size)
{
    struct cli_words words;
    size_t used = 0;
    cli_words_split(line, strlen(line), &words);
    text[0] = '\0';
    for (size_t i = 0; i < words.count; i++)
        used += (size_t)snprintf(text + used, size - used, "%s|", words.words[i]);
    assert_null(words.words[words.count]);
    if (words.trouble != NULL)
        snprintf(text + used, size - used, "%s", words.trouble);
    cli_words_free(&words);
}

static void lines_are_split_as_a_shell_splits_them(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *words;
    } cases[] = {
        {"", ""},
        {"  \t ", ""},
        {"get key", "get|key|"},
        {"  get   key  ", "get|key|"},
        {"set k 'a b'", "set|k|a b|"},
        {"set k \"a b\"", "set|k|a b|"},
        {"set k a\\ b", "set|k|a b|"},
        {"set k ''", "set|k||"},
        {"set k '' \"\"", "set|k|||"},
        {"a'b'\"c\"d", "abcd|"},
        {"'a\\nb'", "a\\nb|"},
        {"\"a\\nb\\t\\r\"", "a\nb\t\r|"},
        {"a\\x41\\x7a\\xfF", "aAz\xff|"},
        {"\"it's\" 'say \"x\"'", "it's|say \"x\"|"},
        {"\\*\\'\\\"\\\\", "*'\"\\|"},
        {"'a", "a|a quote is not closed"},
        {"\"a b", "a b|a quote is not closed"},
        {"a\\", "a|nothing follows the last backslash"},
        {"\\x4", "4|\\x is not followed by two hexadecimal digits"},
        {"\\xgg", "gg|\\x is not followed by two hexadecimal digits"},
        {"a\\x00b", "a|a word cannot hold a zero byte"},
        {"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18",
         "1|2|3|4|5|6|7|8|9|10|11|12|13|14|15|16|17|18|"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[200];
        show(cases[i].line, text, sizeof text);
        if (strcmp(text, cases[i].words) != 0)
            fail_msg("%s: %s, expected %s", cases[i].line, text, cases[i].words);
    }
}

static void the_last_word_is_where_the_line_ends_or_not(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        bool inside;
        size_t start;
    } cases[] = {
        {"", false, 0},        {"get", true, 0},     {"get ", false, 0},     {"get ke", true, 4},
        {"get 'a b", true, 4}, {"get 'a ", true, 4}, {"get 'a' ", false, 4}, {"get a\\ ", true, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cli_words words;
        cli_words_split(cases[i].line, strlen(cases[i].line), &words);
        if (words.inside != cases[i].inside || words.last_start != cases[i].start)
            fail_msg("%s: inside %d, from %zu", cases[i].line, words.inside, words.last_start);
        cli_words_free(&words);
    }
}

static void a_quoted_word_is_that_word_again_whatever_is_in_it(void **state)
{
    (void)state;
    uint64_t random = 88172645463325252U;
    for (int round = 0; round < 20000; round++) {
        static const char some[] = " '\"\\#x0n\t\n\x7f\xc3\xa4\xff"
                                   "ab";
        char word[12] = "";
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        size_t len = random % 8;
        for (size_t i = 0; i < len; i++)
            word[i] = some[(random >> (8 + 4 * i)) % (sizeof some - 1)];
        struct mf_buf line = {0};
        struct cli_words words;
        cli_word_quote(word, &line);
        cli_words_split((const char *)line.data, line.len, &words);
        if (words.trouble != NULL || words.count != 1 || strcmp(words.words[0], word) != 0)
            fail_msg("round %d: '%s' became %.*s", round, word, (int)line.len,
                     (const char *)line.data);
        for (size_t i = 0; i < line.len; i++)
            assert_true(line.data[i] >= 0x20 && line.data[i] != 0x7f); // harmless on a terminal
        cli_words_free(&words);
        mf_buf_free(&line);
    }
}

static void a_line_with_a_password_is_never_kept(void **state)
{
    (void)state;
    static const char *const kept[] = {"get k", "# why", "set password 1", "'quoted key"};
    static const char *const dropped[] = {"",
                                          " get k",
                                          "get k --password x",
                                          "get k --password=x",
                                          "get k --pass'word' x",
                                          "get k \"--password\" x",
                                          "get k --pa\\x73sword x",
                                          "get k\nget l"};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        assert_true(cli_history_keeps(kept[i]));
    for (size_t i = 0; i < sizeof dropped / sizeof dropped[0]; i++) {
        if (cli_history_keeps(dropped[i]))
            fail_msg("kept: %s", dropped[i]);
    }
}

struct lines {
    size_t count;
    char first[64];
    char last[64];
};

static void note_line(void *cookie, const char *line)
{
    struct lines *lines = cookie;
    snprintf(lines->count++ == 0 ? lines->first : lines->last, 64, "%s", line);
}

static size_t lines_of_file(const char *path)
{
    FILE *file = fopen(path, "r");
    size_t count = 0;
    assert_non_null(file);
    for (int c; (c = fgetc(file)) != EOF;)
        count += c == '\n';
    fclose(file);
    return count;
}

static void the_history_is_private_and_bounded(void **state)
{
    (void)state;
    char folder[] = "/tmp/mayfly-history-XXXXXX";
    char line[32];
    struct stat about;
    struct lines lines = {0};
    assert_non_null(mkdtemp(folder));
    setenv("XDG_STATE_HOME", folder, 1);
    char *path = cli_history_path();
    assert_non_null(path);
    cli_history_load(path, note_line, &lines);
    assert_int_equal(lines.count, 0);
    FILE *open_to_all = fopen(path, "w");
    assert_int_equal(fchmod(fileno(open_to_all), 0666), 0);
    fclose(open_to_all);
    for (int i = 0; i < 2 * CLI_HISTORY_LINES_MAX + 1; i++) {
        snprintf(line, sizeof line, "get %d", i);
        cli_history_add(path, line);
    }
    cli_history_add(path, "size --password secret");
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0600);
    assert_int_equal(lines_of_file(path), 2 * CLI_HISTORY_LINES_MAX + 1);
    cli_history_load(path, note_line, &lines);
    assert_int_equal(lines.count, CLI_HISTORY_LINES_MAX);
    assert_string_equal(lines.first, "get 1001");
    assert_string_equal(lines.last, "get 2000");
    assert_int_equal(lines_of_file(path), CLI_HISTORY_LINES_MAX);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0600);
    assert_int_equal(unlink(path), 0);
    *strrchr(path, '/') = '\0';
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(folder), 0);
    free(path);
}

static void the_history_is_in_the_state_folder_or_at_home(void **state)
{
    (void)state;
    unsetenv("XDG_STATE_HOME");
    setenv("HOME", "/home/ada", 1);
    char *path = cli_history_path();
    assert_string_equal(path, "/home/ada/.mayfly_history");
    free(path);
    setenv("XDG_STATE_HOME", "relative", 1);
    path = cli_history_path();
    assert_string_equal(path, "/home/ada/.mayfly_history");
    free(path);
    unsetenv("HOME");
    assert_null(cli_history_path());
    cli_history_add(NULL, "get k");
    cli_history_load(NULL, note_line, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_split_as_a_shell_splits_them),
        cmocka_unit_test(the_last_word_is_where_the_line_ends_or_not),
        cmocka_unit_test(a_quoted_word_is_that_word_again_whatever_is_in_it),
        cmocka_unit_test(a_line_with_a_password_is_never_kept),
        cmocka_unit_test(the_history_is_private_and_bounded),
        cmocka_unit_test(the_history_is_in_the_state_folder_or_at_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
