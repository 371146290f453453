// Splitting and quoting; see words.h.
#include "cli/words.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define NOT_CLOSED "a quote is not closed"

static int hex_of(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

struct splitter {
    const char *at;
    const char *end;
    struct mf_buf word;
    const char *trouble;
};

// What follows a backslash.
static void take_escape(struct splitter *splitter)
{
    static const char names[] = "nrt";
    static const char bytes[] = "\n\r\t";
    if (splitter->at == splitter->end) {
        splitter->trouble = "nothing follows the last backslash";
        return;
    }
    char c = *splitter->at++;
    const char *name = c != '\0' ? strchr(names, c) : NULL;
    if (name != NULL) {
        mf_buf_u8(&splitter->word, (uint8_t)bytes[name - names]);
        return;
    }
    if (c != 'x') {
        mf_buf_u8(&splitter->word, (uint8_t)c);
        return;
    }
    bool whole = splitter->end - splitter->at >= 2;
    int high = whole ? hex_of(splitter->at[0]) : -1;
    int low = whole ? hex_of(splitter->at[1]) : -1;
    if (high < 0 || low < 0) {
        splitter->trouble = "\\x is not followed by two hexadecimal digits";
        return;
    }
    splitter->at += 2;
    mf_buf_u8(&splitter->word, (uint8_t)(high * 16 + low));
}

static void take_quoted(struct splitter *splitter, char quote)
{
    while (splitter->at < splitter->end) {
        char c = *splitter->at++;
        if (c == quote)
            return;
        if (c == '\\' && quote == '"')
            take_escape(splitter);
        else
            mf_buf_u8(&splitter->word, (uint8_t)c);
    }
    splitter->trouble = NOT_CLOSED;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void take_word(struct splitter *splitter)
{
    while (splitter->at < splitter->end && !is_blank(*splitter->at)) {
        char c = *splitter->at++;
        if (c == '\'' || c == '"')
            take_quoted(splitter, c);
        else if (c == '\\')
            take_escape(splitter);
        else
            mf_buf_u8(&splitter->word, (uint8_t)c);
    }
    if (splitter->word.len > 0 && memchr(splitter->word.data, '\0', splitter->word.len) != NULL)
        splitter->trouble = "a word cannot hold a zero byte";
    mf_buf_u8(&splitter->word, '\0');
}

void cli_words_split(const char *line, size_t len, struct cli_words *out)
{
    struct splitter splitter = {.at = line, .end = line + len};
    size_t cap = 8;
    *out = (struct cli_words){.words = mf_calloc(cap, sizeof out->words[0])};
    for (;;) {
        while (splitter.at < splitter.end && is_blank(*splitter.at))
            splitter.at++;
        if (splitter.at == splitter.end)
            break;
        out->last_start = (size_t)(splitter.at - line);
        take_word(&splitter);
        if (out->count + 2 > cap) {
            cap *= 2;
            out->words = mf_realloc(out->words, cap * sizeof out->words[0]);
        }
        out->words[out->count++] = (char *)splitter.word.data;
        splitter.word = (struct mf_buf){0};
        out->inside = splitter.at == splitter.end;
    }
    out->words[out->count] = NULL;
    out->trouble = splitter.trouble;
}

void cli_words_free(struct cli_words *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->words[i]);
    free(words->words);
    *words = (struct cli_words){0};
}

void cli_word_quote(const char *word, struct mf_buf *out)
{
    size_t len = strlen(word);
    bool utf8 = mf_utf8_valid(mf_bytes_of(word, len));
    bool odd = !utf8;
    for (size_t i = 0; i < len; i++)
        odd = odd || (unsigned char)word[i] < 0x20 || word[i] == 0x7f;
    bool plain = len > 0 && word[0] != '#' && strpbrk(word, " '\"\\") == NULL;
    if (!odd && plain) {
        mf_buf_put(out, word, len);
        return;
    }
    bool single = !odd && strchr(word, '\'') == NULL;
    mf_buf_u8(out, single ? '\'' : '"');
    for (size_t i = 0; i < len; i++) {
        static const char digits[] = "0123456789abcdef";
        uint8_t byte = (uint8_t)word[i];
        if (!single && (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !utf8))) {
            const uint8_t escape[] = {'\\', 'x', (uint8_t)digits[byte >> 4],
                                      (uint8_t)digits[byte & 15]};
            mf_buf_put(out, escape, sizeof escape);
            continue;
        }
        if (!single && (byte == '"' || byte == '\\'))
            mf_buf_u8(out, '\\');
        mf_buf_u8(out, byte);
    }
    mf_buf_u8(out, single ? '\'' : '"');
}
