// The prompt; see prompt.h.
//
// Each command runs in a process of its own, made by fork: so Ctrl-C ends the command, whatever it
// waits for, and never the prompt, and a command behaves as it does in a shell. The prompt keeps a
// client of its own, for its label and for TAB; commands try the node first that it is connected
// to.
//
// What the verb expects stands, dim, at the right end of the line once there is a blank behind it,
// and below it after a TAB that finds nothing.
#include "cli/prompt.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/complete.h"
#include "cli/history.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/terminal.h"
#include "cli/tree.h"

#define ASK_MS 1000
#define SLOW_US 500000 // a command that takes so long is told how long it took
#define LITERAL '\1'   // around what moves no cursor
#define COLUMNS_UNKNOWN 80

struct prompt {
    struct cli_session *session;
    EditLine *edit;
    History *history;
    char *history_path;
    FILE *out;
    bool colour;
    bool connected;       // when it was last looked
    sigset_t mask_before; // for commands; the prompt itself never takes SIGINT
    char label[512];
    char hint[256];
};

// The label, and the order of endpoints: who answers comes first.
static void look_around(struct prompt *prompt)
{
    const struct mayfly_value *map;
    struct cli_session *session = prompt->session;
    struct mayfly_client *client = cli_session_client(session, ASK_MS);
    const char *given = cli_endpoints(session->outer);
    given = given != NULL ? given : MAYFLY_ENDPOINTS_DEFAULT;
    prompt->connected = client != NULL && mayfly_hello(client, &map) == MAYFLY_OK;
    if (!prompt->connected) {
        snprintf(prompt->label, sizeof prompt->label, "%.200s (no answer)> ", given);
        return;
    }
    const char *endpoint = mayfly_client_endpoint(client);
    const struct mayfly_value *name = mayfly_value_at(map, "cluster");
    bool named = name != NULL && name->type == MAYFLY_TYPE_STRING;
    snprintf(prompt->label, sizeof prompt->label, "%.*s@%.200s> ",
             named ? (int)(name->bytes.len < 100 ? name->bytes.len : 100) : 0,
             named ? (const char *)name->bytes.data : "", endpoint);
    struct mf_buf endpoints = {0};
    mf_buf_put(&endpoints, endpoint, strlen(endpoint));
    mf_buf_u8(&endpoints, ',');
    mf_buf_put(&endpoints, given, strlen(given) + 1);
    free(session->endpoints);
    session->endpoints = (char *)endpoints.data;
}

static struct prompt *prompt_of(EditLine *edit)
{
    void *data = NULL;
    el_get(edit, EL_CLIENTDATA, &data);
    return data;
}

static char *show_label(EditLine *edit)
{
    return prompt_of(edit)->label;
}

static char *show_hint(EditLine *edit)
{
    struct prompt *prompt = prompt_of(edit);
    const LineInfo *line = el_line(edit);
    char *hint = cli_hint(line->buffer, (size_t)(line->lastchar - line->buffer));
    if (hint[0] != '\0' && prompt->colour)
        snprintf(prompt->hint, sizeof prompt->hint, "%c%s%c%s%c%s%c", LITERAL, CLI_DIM, LITERAL,
                 hint, LITERAL, CLI_PLAINLY, LITERAL);
    else
        snprintf(prompt->hint, sizeof prompt->hint, "%s", hint);
    free(hint);
    return prompt->hint;
}

// Keys.

static unsigned char on_blank(EditLine *edit, int key)
{
    (void)key;
    // By way of a refresh, which shows the hint; a plain character would be written alone.
    return el_insertstr(edit, " ") == 0 ? CC_REFRESH : CC_ERROR;
}

// Characters, which is what the cursor counts, and not bytes.
static size_t characters(const char *from, const char *to)
{
    size_t count = 0;
    for (; from < to; from++)
        count += ((unsigned char)*from & 0xc0) != 0x80;
    return count;
}

static unsigned char on_interrupt(EditLine *edit, int key)
{
    (void)key;
    struct prompt *prompt = prompt_of(edit);
    const LineInfo *line = el_line(edit);
    size_t behind = characters(line->cursor, line->lastchar);
    size_t all = characters(line->buffer, line->lastchar);
    fputs("^C\n", prompt->out);
    (void)el_cursor(edit, (int)behind);
    el_deletestr(edit, (int)all);
    return CC_REDISPLAY;
}

static size_t terminal_columns(FILE *out)
{
    struct winsize size;
    bool known = ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : COLUMNS_UNKNOWN;
}

// Below the line, in columns.
static void list(const struct prompt *prompt, const struct cli_choices *choices)
{
    size_t widest = 1;
    size_t column = 0;
    struct mf_buf *quoted = mf_calloc(choices->count, sizeof quoted[0]);
    for (size_t i = 0; i < choices->count; i++) {
        cli_word_quote(choices->items[i], &quoted[i]);
        widest = quoted[i].len > widest ? quoted[i].len : widest;
    }
    size_t a_line = terminal_columns(prompt->out) / (widest + 2);
    fputc('\n', prompt->out);
    for (size_t i = 0; i < choices->count; i++) {
        bool last = ++column >= a_line || i + 1 == choices->count;
        fprintf(prompt->out, "%-*.*s%s", last ? 0 : (int)widest + 2, (int)quoted[i].len,
                (const char *)quoted[i].data, last ? "\n" : "");
        column = last ? 0 : column;
        mf_buf_free(&quoted[i]);
    }
    if (choices->cut)
        fputs("...\n", prompt->out);
    free(quoted);
}

static void show_usage(const struct prompt *prompt, const LineInfo *line)
{
    char *hint = cli_hint(line->buffer, (size_t)(line->lastchar - line->buffer));
    if (hint[0] != '\0')
        fprintf(prompt->out, "\n%susage: %s%s\n", prompt->colour ? CLI_DIM : "", hint,
                prompt->colour ? CLI_PLAINLY : "");
    free(hint);
}

// The word becomes what all choices begin with; a blank behind it when there is one choice only.
static bool insert(EditLine *edit, const struct cli_choices *choices, size_t typed)
{
    struct mf_buf word = {0};
    char *begin = mf_strdup(choices->items[0]);
    size_t len = strlen(begin);
    begin[cli_choices_common(choices)] = '\0';
    bool whole = choices->count == 1 && !choices->cut && len > 0 && begin[len - 1] != '/';
    cli_word_quote(begin, &word);
    bool opened = !whole && word.len > 0 && (word.data[0] == '\'' || word.data[0] == '"');
    word.len -= opened; // the closing quote: more may follow
    mf_buf_put(&word, " ", whole ? 2 : 0);
    if (!whole)
        mf_buf_u8(&word, '\0');
    el_deletestr(edit, (int)typed);
    bool fits = el_insertstr(edit, (const char *)word.data) == 0;
    mf_buf_free(&word);
    free(begin);
    return fits;
}

static unsigned char on_tab(EditLine *edit, int key)
{
    (void)key;
    struct prompt *prompt = prompt_of(edit);
    const LineInfo *line = el_line(edit);
    size_t len = (size_t)(line->cursor - line->buffer);
    char *copy = mf_calloc(len + 1, 1);
    memcpy(copy, line->buffer, len);
    struct cli_choices choices;
    struct cli_words words;
    unsigned char result = CC_REDISPLAY;
    cli_complete(prompt->session, copy, len, &choices);
    cli_words_split(copy, len, &words);
    const char *typed = words.inside ? words.words[words.count - 1] : "";
    if (choices.count == 0) {
        show_usage(prompt, line);
    } else if (choices.count == 1 || cli_choices_common(&choices) > strlen(typed)) {
        size_t replaced = characters(copy + choices.start, copy + len);
        result = insert(edit, &choices, replaced) ? CC_REFRESH : CC_ERROR;
    } else {
        list(prompt, &choices);
    }
    cli_words_free(&words);
    cli_choices_free(&choices);
    free(copy);
    return result;
}

// Commands.

static int run_in_child(struct cli_session *session, const struct cli_words *words)
{
    session->client = NULL; // the parent's
    int status = cli_session_command(session, words, session->outer->in, 0);
    if (fflush(session->outer->out) != 0)
        status = CLI_NO;
    (void)fflush(session->outer->err);
    return status;
}

// Until somebody ends it: how long that took is nothing to tell.
static bool goes_on(const struct cli_words *words)
{
    bool watches = strcmp(words->words[0], "watch") == 0;
    for (size_t i = 0; i < words->count; i++)
        watches = watches || strncmp(words->words[i], "--watch", strlen("--watch")) == 0;
    return watches;
}

static int run_command(struct prompt *prompt, const struct cli_words *words)
{
    const struct cli *outer = prompt->session->outer;
    uint64_t begin_us = mf_mono_us();
    int status = 0;
    (void)fflush(outer->out);
    (void)fflush(outer->err);
    pid_t child = fork();
    if (child == 0) {
        // A Ctrl-C that came in between is taken now.
        (void)sigprocmask(SIG_SETMASK, &prompt->mask_before, NULL);
        _exit(run_in_child(prompt->session, words));
    }
    if (child < 0)
        return cli_fail(outer, "no process for the command: %s", strerror(errno));
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    uint64_t took_us = mf_mono_us() - begin_us;
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGINT)
        (void)cli_fail(outer, "the command was ended by signal %d", WTERMSIG(status));
    else if (WIFSIGNALED(status))
        fputc('\n', prompt->out);
    else if (took_us >= SLOW_US && !goes_on(words))
        fprintf(prompt->out, "%s(%.2f s)%s\n", prompt->colour ? CLI_DIM : "", (double)took_us / 1e6,
                prompt->colour ? CLI_PLAINLY : "");
    return WIFEXITED(status) ? WEXITSTATUS(status) : CLI_NO;
}

static void remember(void *cookie, const char *line)
{
    struct prompt *prompt = cookie;
    HistEvent event;
    (void)history(prompt->history, &event, H_ENTER, line);
}

static void read_lines(struct prompt *prompt)
{
    for (bool left = false; !left;) {
        int count = 0;
        struct cli_words words;
        el_set(prompt->edit, EL_PREP_TERM, 1); // before the label tells that keys may be pressed
        const char *line = el_gets(prompt->edit, &count);
        if (line == NULL || count <= 0) {
            fputc('\n', prompt->out);
            return;
        }
        char *copy = mf_strdup(line);
        copy[strcspn(copy, "\r\n")] = '\0';
        if (cli_history_keeps(copy))
            remember(prompt, copy);
        cli_history_add(prompt->history_path, copy);
        cli_words_split(copy, strlen(copy), &words);
        left = cli_session_leaves(&words);
        if (!left && words.trouble != NULL)
            (void)cli_fail(prompt->session->outer, "%s", words.trouble);
        bool runs = !left && words.trouble == NULL && !cli_session_is_empty(&words);
        bool failed = runs && run_command(prompt, &words) != CLI_YES;
        if (!left && (failed || !prompt->connected))
            look_around(prompt);
        cli_words_free(&words);
        free(copy);
    }
}

static void set_up(struct prompt *prompt)
{
    EditLine *edit = prompt->edit;
    HistEvent event;
    el_set(edit, EL_CLIENTDATA, prompt);
    el_set(edit, EL_EDITOR, "emacs");
    el_set(edit, EL_SIGNAL, 1); // the terminal is as it was, whatever ends the program
    el_set(edit, EL_PROMPT, show_label);
    el_set(edit, EL_RPROMPT_ESC, show_hint, LITERAL);
    (void)history(prompt->history, &event, H_SETSIZE, CLI_HISTORY_LINES_MAX);
    (void)history(prompt->history, &event, H_SETUNIQUE, 1);
    el_set(edit, EL_HIST, history, prompt->history);
    (void)el_source(edit, NULL);
    // Ctrl-C is a key of the editor, and a signal while a command runs.
    el_set(edit, EL_SETTY, "-d", "-isig", NULL);
    // The wide form keeps the names as they are; the narrow one copies them and frees no copy.
    el_wset(edit, EL_ADDFN, L"mayfly-interrupt", L"Begins a new line", on_interrupt);
    el_wset(edit, EL_ADDFN, L"mayfly-complete", L"Completes the word", on_tab);
    el_wset(edit, EL_ADDFN, L"mayfly-blank", L"Inserts a blank", on_blank);
    el_set(edit, EL_BIND, "^C", "mayfly-interrupt", NULL);
    el_set(edit, EL_BIND, "^I", "mayfly-complete", NULL);
    el_set(edit, EL_BIND, " ", "mayfly-blank", NULL);
    el_set(edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
}

static void welcome(struct prompt *prompt)
{
    look_around(prompt);
    fprintf(prompt->out, "mayfly %s; `help` lists the verbs, TAB completes, Ctrl-D leaves\n",
            mayfly_version());
}

int cli_prompt(struct cli_session *session)
{
    const struct cli *outer = session->outer;
    struct prompt prompt = {
        .session = session, .out = outer->out, .colour = cli_colours(outer->out)};
    // Keys may hold any character; without a locale of theirs the editor would know ASCII alone.
    const char *locale = setlocale(LC_CTYPE, "");
    if (locale == NULL || strcmp(locale, "C") == 0 || strcmp(locale, "POSIX") == 0)
        (void)setlocale(LC_CTYPE, "C.UTF-8");
    prompt.history = history_init();
    prompt.edit = el_init("mayfly", outer->in, outer->out, outer->err);
    if (prompt.edit == NULL || prompt.history == NULL) {
        if (prompt.edit != NULL)
            el_end(prompt.edit);
        if (prompt.history != NULL)
            history_end(prompt.history);
        return cli_fail(outer, "no prompt on this terminal");
    }
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &interrupt, &prompt.mask_before);
    set_up(&prompt);
    prompt.history_path = cli_history_path();
    cli_history_load(prompt.history_path, remember, &prompt);
    welcome(&prompt);
    read_lines(&prompt);
    el_end(prompt.edit);
    history_end(prompt.history);
    free(prompt.history_path);
    return CLI_YES;
}
