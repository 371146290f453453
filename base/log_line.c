// Rendering of log lines: the calendar, escapes, the cut; see log_line.h.
#include "base/log_line.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const level_names[] = {"trace", "debug", "info", "warn", "error"};
static const char *const level_titles[] = {"TRACE", "DEBUG", "INFO", "WARN", "ERROR"};

const char *mf_log_level_name(enum mf_log_level level)
{
    return level_names[level];
}

static void put(struct mf_log_line *line, const char *text, size_t len)
{
    memcpy(line->text + line->len, text, len);
    line->len += len;
}

static void put_text(struct mf_log_line *line, const char *text)
{
    put(line, text, strlen(text));
}

// The length of the UTF-8 sequence at `at` if it is well formed (RFC 3629), else 0.
static size_t utf8_length(const unsigned char *at, size_t left)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = at[0] < 0x80 ? 1 : at[0] < 0xc0 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (len <= 1)
        return len;
    if (len > left || at[0] > 0xf4)
        return 0;
    uint32_t code = at[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (at[i] & 0x3fu);
    }
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code < smallest[len] || code > 0x10ffff || surrogate ? 0 : len;
}

// The escape that has a name of its own, or NULL.
static const char *named_escape(unsigned char byte, bool json)
{
    switch (byte) {
    case '\n':
        return "\\n";
    case '\t':
        return "\\t";
    case '\r':
        return "\\r";
    case '"':
        return json ? "\\\"" : NULL;
    case '\\':
        return json ? "\\\\" : NULL;
    default:
        return NULL;
    }
}

// Writes one character of the message, or the escape that stands for it, into `out` and its length
// into *out_len. Returns how many bytes of the message that was.
static size_t escape(const unsigned char *at, size_t left, bool json, char out[8], size_t *out_len)
{
    size_t len = utf8_length(at, left);
    bool control_one = at[0] < 0x20 || at[0] == 0x7f;
    bool control_two = len == 2 && at[0] == 0xc2 && at[1] < 0xa0; // U+0080 to U+009F
    const char *named = named_escape(at[0], json);
    if (json && len == 0)
        named = "\\ufffd";
    if (named != NULL) {
        *out_len = strlen(named);
        memcpy(out, named, *out_len);
    } else if (len == 0 || control_one || control_two) {
        unsigned code = control_two ? at[1] : at[0];
        *out_len =
            (size_t)(json ? snprintf(out, 8, "\\u%04x", code) : snprintf(out, 8, "\\x%02x", code));
    } else {
        *out_len = len;
        memcpy(out, at, len);
    }
    return len > 0 ? len : 1;
}

// Appends the message; where it would get past `end` it is cut so that "..." fits.
static void put_message(struct mf_log_line *line, size_t end, const char *message, size_t len,
                        bool json)
{
    const unsigned char *bytes = (const unsigned char *)message;
    size_t cut_at = line->len; // the last end of a character with room for "..." after it
    for (size_t i = 0; i < len;) {
        char out[8];
        size_t out_len;
        i += escape(bytes + i, len - i, json, out, &out_len);
        if (line->len + out_len > end) {
            line->len = cut_at;
            put_text(line, "...");
            return;
        }
        put(line, out, out_len);
        if (line->len + 3 <= end)
            cut_at = line->len;
    }
}

static void put_time(struct mf_log_line *line, uint64_t wall_us)
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    char date[40];
    size_t len = strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
    put(line, date, len);
    snprintf(date, sizeof(date), ".%03uZ", (unsigned)(wall_us / 1000 % 1000));
    put_text(line, date);
}

static void put_number(struct mf_log_line *line, unsigned number)
{
    char digits[16];
    snprintf(digits, sizeof(digits), "%u", number);
    put_text(line, digits);
}

static void render_json(struct mf_log_line *line, unsigned node, enum mf_log_level level,
                        uint64_t wall_us, const char *message, size_t len)
{
    put_text(line, "{\"time\":\"");
    put_time(line, wall_us);
    put_text(line, "\",\"level\":\"");
    put_text(line, level_names[level]);
    if (node != 0) {
        put_text(line, "\",\"node\":");
        put_number(line, node);
        put_text(line, ",\"message\":\"");
    } else {
        put_text(line, "\",\"message\":\"");
    }
    put_message(line, MF_LOG_LINE_MAX - 2, message, len, true);
    put_text(line, "\"}");
}

static void render_text(struct mf_log_line *line, unsigned node, enum mf_log_level level,
                        uint64_t wall_us, const char *message, size_t len)
{
    put_time(line, wall_us);
    put_text(line, " ");
    put_text(line, level_titles[level]);
    put_text(line, " ");
    if (node != 0) {
        put_text(line, "node=");
        put_number(line, node);
        put_text(line, " ");
    }
    put_message(line, MF_LOG_LINE_MAX, message, len, false);
}

void mf_log_line_render(struct mf_log_line *line, enum mf_log_format format, unsigned node,
                        enum mf_log_level level, uint64_t wall_us, const char *message,
                        size_t message_len)
{
    line->len = 0;
    if (format == MF_LOG_JSON)
        render_json(line, node, level, wall_us, message, message_len);
    else
        render_text(line, node, level, wall_us, message, message_len);
    put_text(line, "\n");
}
