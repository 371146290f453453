// Reading of a configuration file. inih splits it into sections, names and values; the reader that
// feeds it lines makes the dialect strict: comments after blank and `#` too, no continuation lines,
// nothing cut or skipped in silence.
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "server/config_table.h"

struct source {
    const char *file;
    FILE *stream;
    unsigned line; // the one last read, from 1
    mf_config_file_set set;
    void *arg;
    enum mf_err err; // the first error; nothing is read after it
    char *message;
    size_t message_size;
};

__attribute__((format(printf, 2, 3))) static void refuse(struct source *source, const char *format,
                                                         ...)
{
    int len =
        snprintf(source->message, source->message_size, "%s:%u: ", source->file, source->line);
    if (len >= 0 && (size_t)len < source->message_size) {
        va_list args;
        va_start(args, format);
        vsnprintf(source->message + len, source->message_size - (size_t)len, format, args);
        va_end(args);
    }
    source->err = MF_BAD_REQUEST;
}

// The tools that read a file all take its name as --config.
static void refuse_file(struct source *source, int reason)
{
    snprintf(source->message, source->message_size, "--config = %s: expected a readable file: %s",
             source->file, strerror(reason));
    source->err = MF_BAD_REQUEST;
}

// Reads one line without its end into out. False at the end of the file and on an error.
static bool read_line(struct source *source, char *out, size_t size)
{
    size_t len = 0;
    int c = getc(source->stream);
    if (c == EOF) {
        if (ferror(source->stream))
            refuse_file(source, errno);
        return false;
    }
    source->line++;
    for (; c != EOF && c != '\n'; c = getc(source->stream)) {
        if (len == MF_CONFIG_LINE_MAX || len + 1 == size) {
            refuse(source, "the line is too long: expected at most %d bytes", MF_CONFIG_LINE_MAX);
            return false;
        }
        out[len++] = (char)c;
    }
    if (len > 0 && out[len - 1] == '\r')
        len--;
    for (size_t i = 0; i < len; i++) {
        if ((out[i] >= 0 && out[i] < ' ' && out[i] != '\t') || out[i] == '\x7f') {
            refuse(source, "there is a control character in the line: expected text");
            return false;
        }
    }
    out[len] = '\0';
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

// Cuts the comment off, which starts at a # or ; that begins the line or follows a blank, and the
// blanks at both ends.
static void strip(char *line)
{
    char *start = line;
    if (strncmp(start, "\xef\xbb\xbf", 3) == 0) // a byte order mark
        start += 3;
    start += strspn(start, " \t");
    size_t len = 0;
    while (start[len] != '\0') {
        bool mark = start[len] == '#' || start[len] == ';';
        if (mark && (len == 0 || is_blank(start[len - 1])))
            break;
        len++;
    }
    while (len > 0 && is_blank(start[len - 1]))
        len--;
    memmove(line, start, len);
    line[len] = '\0';
}

static void check_section(struct source *source, char *line)
{
    size_t len = strlen(line);
    if (line[len - 1] != ']') {
        refuse(source, "%.64s: expected [section] alone on the line", line);
        return;
    }
    line[len - 1] = '\0';
    if (!mf_config_section_known(line + 1)) {
        char known[256];
        mf_config_sections_list(known, sizeof(known));
        refuse(source, "[%.64s]: unknown section: expected one of %s", line + 1, known);
    }
    line[len - 1] = ']';
}

static void check_setting(struct source *source, const char *line)
{
    const char *separator = strpbrk(line, "=:");
    if (separator == NULL || separator == line || *separator != '=')
        refuse(source, "%.64s: expected key = value", line);
}

// inih's fgets: one cleaned line a call, so that its line numbers are the file's.
static char *next_line(char *out, int size, void *arg)
{
    struct source *source = arg;
    if (source->err != MF_OK || !read_line(source, out, (size_t)size))
        return NULL;
    strip(out);
    if (out[0] == '[')
        check_section(source, out);
    else if (out[0] != '\0')
        check_setting(source, out);
    return source->err == MF_OK ? out : NULL;
}

static int take_setting(void *arg, const char *section, const char *name, const char *value)
{
    struct source *source = arg;
    if (section[0] == '\0')
        refuse(source, "%.64s: expected a [section] before the first key", name);
    else
        source->err = source->set(source->arg, source->line, section, name, value);
    return source->err == MF_OK;
}

enum mf_err mf_config_file_read(const char *file, mf_config_file_set set, void *arg, char *message,
                                size_t message_size)
{
    struct source source = {.file = file,
                            .stream = fopen(file, "re"),
                            .set = set,
                            .arg = arg,
                            .message = message,
                            .message_size = message_size};
    if (source.stream == NULL) {
        refuse_file(&source, errno);
        return source.err;
    }
    // Debian's inih takes its limit, 200 bytes otherwise, from a variable: the line and its NUL.
    ini_max_line = MF_CONFIG_LINE_MAX + 2;
    int failed = ini_parse_stream(next_line, &source, take_setting, &source);
    if (failed != 0 && source.err == MF_OK)
        refuse(&source, "expected key = value or [section]");
    fclose(source.stream);
    return source.err;
}
