// Choices for the word at the end of a line; see complete.h.
#include "cli/complete.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "cli/tree.h"

#define CHOICES_MAX 100
#define KEYS_MS 300      // how long keys are looked for
#define KEYS_A_CALL 1000 // keys that one call looks at
#define HINT_BYTES_MAX 76

// Where the last word stands.
struct place {
    const struct cli_verb *verb;
    bool helps;             // the first word is `help`
    size_t position;        // among the words after the verb
    enum cli_flag value_of; // the flag whose value it is; CLI_FLAG_COUNT: none
    bool flags_end;         // -- stands before it
    const char *word;       // what is there of it
};

static void add(struct cli_choices *out, const char *word)
{
    if (out->count == CHOICES_MAX) {
        out->cut = true;
        return;
    }
    if (out->items == NULL)
        out->items = mf_calloc(CHOICES_MAX, sizeof out->items[0]);
    out->items[out->count++] = mf_strdup(word);
}

static void add_if_fits(struct cli_choices *out, const char *word, const char *begin)
{
    if (strncmp(word, begin, strlen(begin)) == 0)
        add(out, word);
}

static struct place place_of(const struct cli_words *words)
{
    struct place place = {.value_of = CLI_FLAG_COUNT};
    size_t before = words->inside ? words->count - 1 : words->count;
    bool verb_given = false;
    place.word = words->inside ? words->words[before] : "";
    for (size_t i = 0; i < before; i++) {
        const char *inside = NULL;
        const char *word = words->words[i];
        if (!place.flags_end && strcmp(word, "--") == 0) {
            place.flags_end = true;
        } else if (!place.flags_end && cli_word_is_flag(word)) {
            enum cli_flag flag = cli_flag_of(word, &inside);
            bool wants = flag != CLI_FLAG_COUNT && cli_flag_info(flag).value != NULL;
            if (wants && inside == NULL && ++i == before)
                place.value_of = flag;
        } else if (!verb_given) {
            verb_given = true;
            place.verb = cli_find_verb(word);
            place.helps = strcmp(word, "help") == 0;
            if (cli_passes_on(place.verb))
                break;
        } else {
            place.position += 1;
        }
    }
    if (!verb_given)
        place.position = SIZE_MAX;
    return place;
}

static void add_verbs(struct cli_choices *out, const char *begin, bool own_words)
{
    static const char *const own[] = {"help", "quit", "exit"};
    for (size_t i = 0; i < cli_verb_count; i++)
        add_if_fits(out, cli_verbs[i].name, begin);
    for (size_t i = 0; own_words && i < sizeof own / sizeof own[0]; i++)
        add_if_fits(out, own[i], begin);
}

static void add_flags(struct cli_choices *out, const struct cli_verb *verb, const char *begin)
{
    for (size_t i = 0; i < CLI_FLAG_COUNT; i++) {
        if (cli_verb_takes(verb, (enum cli_flag)i))
            add_if_fits(out, cli_flag_info((enum cli_flag)i).name, begin);
    }
}

static void add_values(struct cli_choices *out, const char *values, const char *begin)
{
    char *copy = mf_strdup(values);
    char *rest = NULL;
    for (char *value = strtok_r(copy, "|", &rest); value != NULL;
         value = strtok_r(NULL, "|", &rest))
        add_if_fits(out, value, begin);
    free(copy);
}

// The text as a pattern that matches what begins so.
static char *pattern_of(const char *begin)
{
    struct mf_buf pattern = {0};
    for (; *begin != '\0'; begin++) {
        if (strchr("*?[]^-\\", *begin) != NULL)
            mf_buf_u8(&pattern, '\\');
        mf_buf_u8(&pattern, (uint8_t)*begin);
    }
    mf_buf_put(&pattern, "*", 2);
    return (char *)pattern.data;
}

static void add_files(struct cli_choices *out, const char *begin)
{
    char *pattern = pattern_of(begin);
    glob_t found;
    if (glob(pattern, GLOB_MARK, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            add(out, found.gl_pathv[i]);
        globfree(&found);
    }
    free(pattern);
}

static void add_nodes(struct cli_session *session, struct cli_choices *out, const char *begin)
{
    const struct mayfly_value *map;
    struct mayfly_client *client = cli_session_client(session, KEYS_MS);
    if (client == NULL || mayfly_cluster(client, &map) != MAYFLY_OK)
        return;
    const struct mayfly_value *nodes = mayfly_value_at(map, "nodes");
    for (size_t i = 0; i < cli_count(nodes); i++) {
        char id[24];
        snprintf(id, sizeof id, "%llu",
                 (unsigned long long)cli_number(mayfly_value_at(&nodes->items[i], "id")));
        add_if_fits(out, id, begin);
    }
}

// Keys with a zero byte cannot be typed.
static void add_key(struct cli_choices *out, struct mayfly_bytes key)
{
    if (key.len == 0 || memchr(key.data, '\0', key.len) != NULL)
        return;
    char *word = mf_calloc(key.len + 1, 1);
    memcpy(word, key.data, key.len);
    add(out, word);
    free(word);
}

static void add_keys(struct cli_session *session, struct cli_choices *out, const char *begin)
{
    char *pattern = pattern_of(begin);
    struct mayfly_options options = {
        .flags = MAYFLY_FLAG_MATCH, .match = mayfly_str(pattern), .count = KEYS_A_CALL};
    struct mayfly_client *client = cli_session_client(session, KEYS_MS);
    uint64_t end_us = mf_mono_us() + (uint64_t)KEYS_MS * 1000;
    uint64_t cursor = 0;
    do {
        const struct mayfly_value *keys;
        if (client == NULL || mayfly_scan(client, &cursor, &options, &keys) != MAYFLY_OK) {
            out->cut = true;
            break;
        }
        for (uint32_t i = 0; i < keys->count; i++)
            add_key(out, keys->items[i].bytes);
        out->cut = out->cut || (cursor != 0 && mf_mono_us() > end_us);
    } while (cursor != 0 && !out->cut);
    free(pattern);
}

// What the synopsis has at this position: "KEY", "NODE", "FILE", ... in `name`.
static void name_at(const struct cli_verb *verb, size_t position, char name[16])
{
    const char *at = verb->synopsis;
    size_t len;
    name[0] = '\0';
    for (size_t i = 0; *at != '\0'; i++) {
        at += strspn(at, " [");
        len = strcspn(at, " []|.");
        bool repeats = strncmp(at + len, "...", 3) == 0;
        if ((i == position || repeats) && len < 16) {
            snprintf(name, 16, "%.*s", (int)len, at);
            return;
        }
        at += strcspn(at, " ");
    }
    // KEY VALUE [KEY VALUE]...
    if (strstr(verb->synopsis, "]...") != NULL)
        snprintf(name, 16, "%s", position % 2 == 0 ? "KEY" : "VALUE");
}

static void add_words(struct cli_session *session, struct cli_choices *out,
                      const struct place *place)
{
    char name[16];
    name_at(place->verb, place->position, name);
    if (strcmp(name, "KEY") == 0)
        add_keys(session, out, place->word);
    else if (strcmp(name, "NODE") == 0 && strstr(place->verb->synopsis, "ADDRESS") == NULL)
        add_nodes(session, out, place->word);
    else if (strcmp(name, "FILE") == 0)
        add_files(out, place->word);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_once_each(struct cli_choices *out)
{
    size_t kept = 0;
    if (out->count > 0)
        qsort(out->items, out->count, sizeof out->items[0], by_text);
    for (size_t i = 0; i < out->count; i++) {
        if (kept > 0 && strcmp(out->items[kept - 1], out->items[i]) == 0)
            free(out->items[i]);
        else
            out->items[kept++] = out->items[i];
    }
    out->count = kept;
}

void cli_complete(struct cli_session *session, const char *line, size_t len,
                  struct cli_choices *out)
{
    struct cli_words words;
    cli_words_split(line, len, &words);
    struct place place = place_of(&words);
    *out = (struct cli_choices){.start = words.inside ? words.last_start : len};
    out->foreign = cli_passes_on(place.verb);
    if (out->foreign) {
        // Its own help knows.
    } else if (place.value_of != CLI_FLAG_COUNT) {
        struct cli_flag_info flag = cli_flag_info(place.value_of);
        if (flag.is_choice)
            add_values(out, flag.value, place.word);
        else if (strcmp(flag.value, "FILE") == 0)
            add_files(out, place.word);
    } else if (!place.flags_end && place.word[0] == '-') {
        add_flags(out, place.verb, place.word);
    } else if (place.position == SIZE_MAX || (place.helps && place.position == 0)) {
        add_verbs(out, place.word, !place.helps && !session->of_shell);
    } else if (place.verb != NULL) {
        add_words(session, out, &place);
    }
    sort_once_each(out);
    cli_words_free(&words);
}

// The flags on the line that say which cluster to ask, for as long as the words are there.
static void take_flags(struct cli *cli, const struct cli_words *words)
{
    for (size_t i = 0; i < words->count; i++) {
        const char *value = NULL;
        enum cli_flag flag = cli_word_is_flag(words->words[i])
                                 ? cli_flag_of(words->words[i], &value)
                                 : CLI_FLAG_COUNT;
        if (flag != CLI_FLAG_ENDPOINTS && flag != CLI_FLAG_USER && flag != CLI_FLAG_PASSWORD)
            continue;
        value = value != NULL ? value : words->words[i + 1];
        if (value != NULL)
            cli->flags[flag] = (struct cli_given){.given = true, .text = value};
    }
}

int cli_complete_for_shell(struct cli *cli, const char *line)
{
    struct cli_session session = {.outer = cli, .of_shell = true};
    struct cli_words words;
    struct cli_choices choices;
    line += strcspn(line, " \t"); // the program
    cli_words_split(line, strlen(line), &words);
    take_flags(cli, &words);
    cli_complete(&session, line, strlen(line), &choices);
    fprintf(cli->out, "%s\n", line + choices.start);
    for (size_t i = 0; i < choices.count; i++) {
        if (strchr(choices.items[i], '\n') == NULL)
            fprintf(cli->out, "%s\n", choices.items[i]);
    }
    int status = choices.foreign ? CLI_NO : CLI_YES;
    cli_choices_free(&choices);
    mayfly_client_free(session.client);
    cli_words_free(&words);
    return status;
}

void cli_choices_free(struct cli_choices *choices)
{
    for (size_t i = 0; i < choices->count; i++)
        free(choices->items[i]);
    free(choices->items);
    *choices = (struct cli_choices){0};
}

size_t cli_choices_common(const struct cli_choices *choices)
{
    size_t common = choices->count > 0 ? strlen(choices->items[0]) : 0;
    for (size_t i = 1; i < choices->count; i++) {
        size_t same = 0;
        while (same < common && choices->items[i][same] == choices->items[0][same])
            same++;
        common = same;
    }
    // Not half of a character.
    while (choices->count > 1 && common > 0 &&
           ((unsigned char)choices->items[0][common] & 0xc0) == 0x80)
        common--;
    return common;
}

char *cli_hint(const char *line, size_t len)
{
    struct cli_words words;
    struct mf_buf hint = {0};
    cli_words_split(line, len, &words);
    struct place place = place_of(&words);
    const struct cli_verb *verb = place.verb;
    if (verb != NULL)
        mf_buf_put(&hint, verb->synopsis, strlen(verb->synopsis));
    for (size_t i = 0; verb != NULL && i < CLI_FLAG_COUNT; i++) {
        struct cli_flag_info flag = cli_flag_info((enum cli_flag)i);
        char text[64];
        if ((verb->flags & UINT64_C(1) << i) == 0)
            continue;
        snprintf(text, sizeof text, "%s[%s%s%s]", hint.len > 0 ? " " : "", flag.name,
                 flag.value != NULL ? " " : "", flag.value != NULL ? flag.value : "");
        if (hint.len + strlen(text) > HINT_BYTES_MAX) {
            mf_buf_put(&hint, " ...", 4);
            break;
        }
        mf_buf_put(&hint, text, strlen(text));
    }
    mf_buf_u8(&hint, '\0');
    cli_words_free(&words);
    return (char *)hint.data;
}
