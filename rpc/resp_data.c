// Data commands of the Redis door: words and options to commands; see resp_data.h.
//
// What a word may be is checked before the command goes anywhere, in the order in which Redis
// checks it. Where Redis first looks whether there is such a key, the form of the reply does the
// rest.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/glob.h"
#include "rpc/resp_data.h"
#include "rpc/resp_dump.h"

#define ERROR_BYTES_MAX 640u
// Of a command that is not known, and of its words, so much is said.
#define QUOTED_BYTES_MAX 128
// Keys that one scan looks at when it is not told.
#define SCAN_COUNT 10u
#define EXPIRE_WORDS_AT 3u
#define KEEP_ITEMS 64u
#define KEEP_MADE_BYTES 1024u
#define TOO_LONG "ERR string exceeds maximum allowed size (proto-max-bulk-len)"

bool mf_resp_refuse(struct mf_resp_ask *ask, const char *format, ...)
{
    char text[ERROR_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    mf_buf_clear(&ask->error, ERROR_BYTES_MAX);
    mf_buf_put(&ask->error, text, strlen(text) + 1);
    return false;
}

int mf_resp_text_len(struct mf_bytes word)
{
    size_t len = word.len < ERROR_BYTES_MAX ? word.len : ERROR_BYTES_MAX;
    return (int)strnlen((const char *)word.data, len);
}

// For "%.*s".
#define TEXT(word) mf_resp_text_len(word), (const char *)(word).data

static bool refuse_unknown(struct mf_resp_ask *ask)
{
    char args[2 * QUOTED_BYTES_MAX];
    size_t len = 0;
    args[0] = '\0';
    for (uint32_t i = 1; i < ask->count && len < QUOTED_BYTES_MAX; i++) {
        int room = QUOTED_BYTES_MAX - (int)len;
        int text = mf_resp_text_len(ask->words[i]);
        len += (size_t)snprintf(args + len, sizeof(args) - len, "'%.*s' ",
                                text < room ? text : room, (const char *)ask->words[i].data);
    }
    int name = mf_resp_text_len(ask->words[0]);
    return mf_resp_refuse(ask, "ERR unknown command '%.*s', with args beginning with: %s",
                          name < QUOTED_BYTES_MAX ? name : QUOTED_BYTES_MAX,
                          (const char *)ask->words[0].data, args);
}

static bool refuse_subcommand(struct mf_resp_ask *ask)
{
    char upper[32] = "";
    for (size_t i = 0; i < ask->words[0].len && i + 1 < sizeof(upper); i++) {
        uint8_t c = ask->words[0].data[i];
        upper[i] = (char)(c >= 'a' && c <= 'z' ? c - ('a' - 'A') : c);
        upper[i + 1] = '\0';
    }
    int sub = mf_resp_text_len(ask->words[1]);
    return mf_resp_refuse(ask, "ERR unknown subcommand '%.*s'. Try %s HELP.",
                          sub < QUOTED_BYTES_MAX ? sub : QUOTED_BYTES_MAX,
                          (const char *)ask->words[1].data, upper);
}

// Most requests ask for what the one before has asked for.
static const struct mf_resp_row *find_row(struct mf_resp_ask *ask)
{
    if (ask->last != NULL && mf_resp_is(ask->words[0], ask->last->name))
        return ask->last;
    const struct mf_resp_row *row = mf_resp_find(ask->words, ask->count);
    bool simple = row != NULL && strchr(row->name, '|') == NULL && !mf_resp_has_subcommands(row);
    ask->last = simple ? row : NULL;
    return row;
}

bool mf_resp_ask_find(struct mf_resp_ask *ask)
{
    mf_buf_clear(&ask->error, ERROR_BYTES_MAX);
    ask->row = find_row(ask);
    if (ask->row == NULL)
        return mf_resp_find(ask->words, 1) != NULL ? refuse_subcommand(ask) : refuse_unknown(ask);
    if (!mf_resp_arity_fits(ask->row, ask->count))
        return mf_resp_refuse(ask, "ERR wrong number of arguments for '%s' command",
                              ask->row->name);
    return true;
}

bool mf_resp_ask_take(struct mf_resp_ask *ask)
{
    ask->command = (struct mf_command){0};
    ask->form = MF_RESP_FORM_PLAIN;
    return ask->row->take(ask);
}

void mf_resp_ask_trim(struct mf_resp_ask *ask)
{
    mf_buf_clear(&ask->made, KEEP_MADE_BYTES);
    if (ask->items_cap <= KEEP_ITEMS)
        return;
    free(ask->items);
    ask->items = NULL;
    ask->items_cap = 0;
}

void mf_resp_ask_free(struct mf_resp_ask *ask)
{
    free(ask->items);
    mf_buf_free(&ask->made);
    mf_buf_free(&ask->error);
    *ask = (struct mf_resp_ask){0};
}

// Single words.

static bool take_key(struct mf_resp_ask *ask, uint32_t at, struct mf_bytes *out)
{
    *out = ask->words[at];
    if (out->len == 0)
        return mf_resp_refuse(ask, "ERR the key is empty, expected 1 to %zu bytes",
                              ask->key_bytes_max);
    if (out->len > ask->key_bytes_max)
        return mf_resp_refuse(ask, "ERR the key is %zu bytes, at most %zu are allowed", out->len,
                              ask->key_bytes_max);
    return true;
}

static bool take_value(struct mf_resp_ask *ask, uint32_t at, struct mf_bytes *out)
{
    *out = ask->words[at];
    if (out->len > ask->value_bytes_max)
        return mf_resp_refuse(ask, TOO_LONG);
    return true;
}

// A command of one key, which the row says where it is.
static bool take_one(struct mf_resp_ask *ask, enum mf_opcode op)
{
    struct mf_command *command = &ask->command;
    command->op = op;
    command->items = &command->one;
    command->item_count = 1;
    return take_key(ask, (uint32_t)ask->row->first_key, &command->one.key);
}

static void make_items(struct mf_resp_ask *ask, uint32_t count)
{
    if (count > ask->items_cap) {
        ask->items = mf_realloc(ask->items, count * sizeof(*ask->items));
        ask->items_cap = count;
    }
    ask->command.items = ask->items;
    ask->command.item_count = count;
}

// A command of all words but the first.
static bool take_keys(struct mf_resp_ask *ask, enum mf_opcode op)
{
    ask->command.op = op;
    make_items(ask, ask->count - 1);
    for (uint32_t i = 0; i < ask->command.item_count; i++) {
        ask->items[i].value = mf_bytes_of(NULL, 0);
        if (!take_key(ask, i + 1, &ask->items[i].key))
            return false;
    }
    return true;
}

static uint32_t value_limit(const struct mf_resp_ask *ask)
{
    return ask->value_bytes_max < UINT32_MAX ? (uint32_t)ask->value_bytes_max : UINT32_MAX;
}

static bool row_is(const struct mf_resp_ask *ask, const char *name)
{
    return strcmp(ask->row->name, name) == 0;
}

// Reads.

bool mf_resp_take_get(struct mf_resp_ask *ask)
{
    return take_one(ask, MF_OP_GET);
}

bool mf_resp_take_mget(struct mf_resp_ask *ask)
{
    return take_keys(ask, MF_OP_MGET);
}

bool mf_resp_take_exists(struct mf_resp_ask *ask)
{
    ask->form = MF_RESP_FORM_TRUE_COUNT;
    return take_keys(ask, MF_OP_HAS);
}

bool mf_resp_take_type(struct mf_resp_ask *ask)
{
    ask->form = MF_RESP_FORM_TYPE;
    return take_keys(ask, MF_OP_HAS);
}

bool mf_resp_take_ttl(struct mf_resp_ask *ask)
{
    ask->form = row_is(ask, "ttl") ? MF_RESP_FORM_SECONDS : MF_RESP_FORM_PLAIN;
    return take_one(ask, MF_OP_TTL);
}

bool mf_resp_take_expiretime(struct mf_resp_ask *ask)
{
    ask->form = row_is(ask, "expiretime") ? MF_RESP_FORM_SECONDS : MF_RESP_FORM_PLAIN;
    return take_one(ask, MF_OP_DEADLINE);
}

bool mf_resp_take_strlen(struct mf_resp_ask *ask)
{
    return take_one(ask, MF_OP_STRLEN);
}

bool mf_resp_take_getrange(struct mf_resp_ask *ask)
{
    int64_t first;
    if (!mf_resp_integer(ask->words[2], &first) ||
        !mf_resp_integer(ask->words[3], &ask->command.last))
        return mf_resp_refuse(ask, MF_RESP_NOT_INTEGER);
    ask->command.number = (uint64_t)first;
    return take_one(ask, MF_OP_GETRANGE);
}

bool mf_resp_take_dump(struct mf_resp_ask *ask)
{
    ask->form = MF_RESP_FORM_DUMP;
    return take_one(ask, MF_OP_GET);
}

static bool take_bit_offset(struct mf_resp_ask *ask, int64_t *offset)
{
    if (mf_resp_integer(ask->words[2], offset) && *offset >= 0 &&
        (uint64_t)*offset / 8 < ask->value_bytes_max)
        return true;
    return mf_resp_refuse(ask, "ERR bit offset is not an integer or out of range");
}

bool mf_resp_take_getbit(struct mf_resp_ask *ask)
{
    int64_t offset;
    if (!take_bit_offset(ask, &offset))
        return false;
    ask->command.number = (uint64_t)offset / 8;
    ask->command.last = offset / 8;
    ask->form = MF_RESP_FORM_BIT + (unsigned)(offset % 8);
    return take_one(ask, MF_OP_GETRANGE);
}

bool mf_resp_take_dbsize(struct mf_resp_ask *ask)
{
    ask->command.op = MF_OP_SIZE;
    return true;
}

bool mf_resp_take_object(struct mf_resp_ask *ask)
{
    if (row_is(ask, "object|encoding"))
        ask->form = MF_RESP_FORM_ENCODING;
    else if (row_is(ask, "object|freq"))
        ask->form = MF_RESP_FORM_FREQ;
    else if (row_is(ask, "object|idletime"))
        ask->form = MF_RESP_FORM_IDLETIME;
    else
        ask->form = MF_RESP_FORM_REFCOUNT;
    return take_one(ask, MF_OP_OBJECT);
}

// There is nothing that could be sampled in a string.
bool mf_resp_take_memory_usage(struct mf_resp_ask *ask)
{
    for (uint32_t at = 3; at < ask->count; at += 2) {
        int64_t samples;
        if (!mf_resp_is(ask->words[at], "samples") || at + 1 == ask->count)
            return mf_resp_refuse(ask, MF_RESP_SYNTAX);
        if (!mf_resp_integer(ask->words[at + 1], &samples))
            return mf_resp_refuse(ask, MF_RESP_NOT_INTEGER);
        if (samples < 0)
            return mf_resp_refuse(ask, MF_RESP_SYNTAX);
    }
    ask->form = MF_RESP_FORM_USAGE;
    return take_one(ask, MF_OP_OBJECT);
}

// Digits, and nothing but digits, of 64 unsigned bits.
static bool read_cursor(struct mf_bytes word, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < word.len; i++) {
        unsigned digit = (unsigned)word.data[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(*out, 10u, out) ||
            __builtin_add_overflow(*out, digit, out))
            return false;
    }
    return word.len > 0;
}

static bool take_scan_option(struct mf_resp_ask *ask, uint32_t at)
{
    struct mf_bytes name = ask->words[at];
    if (at + 1 == ask->count)
        return mf_resp_refuse(ask, MF_RESP_SYNTAX);
    struct mf_bytes value = ask->words[at + 1];
    int64_t count;
    if (mf_resp_is(name, "count")) {
        if (!mf_resp_integer(value, &count))
            return mf_resp_refuse(ask, MF_RESP_NOT_INTEGER);
        if (count < 1)
            return mf_resp_refuse(ask, MF_RESP_SYNTAX);
        ask->command.limit = count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
        return true;
    }
    if (mf_resp_is(name, "match")) {
        if (value.len > MF_GLOB_BYTES_MAX)
            return mf_resp_refuse(ask, "ERR the pattern is %zu bytes, at most %u are allowed",
                                  value.len, MF_GLOB_BYTES_MAX);
        ask->command.body = value;
        return true;
    }
    if (!mf_resp_is(name, "type"))
        return mf_resp_refuse(ask, MF_RESP_SYNTAX);
    if (!mf_resp_is(value, "string"))
        ask->form = MF_RESP_FORM_SCAN_NONE;
    return true;
}

bool mf_resp_take_scan(struct mf_resp_ask *ask)
{
    struct mf_command *command = &ask->command;
    command->op = MF_OP_SCAN;
    command->limit = SCAN_COUNT;
    command->body = mf_bytes_of("*", 1);
    ask->form = MF_RESP_FORM_SCAN;
    if (!read_cursor(ask->words[1], &command->number))
        return mf_resp_refuse(ask, "ERR invalid cursor");
    for (uint32_t at = 2; at < ask->count; at += 2) {
        if (!take_scan_option(ask, at))
            return false;
    }
    return true;
}

// Writes without options.

bool mf_resp_take_del(struct mf_resp_ask *ask)
{
    return take_keys(ask, MF_OP_DEL);
}

// del, if the value is the third word
bool mf_resp_take_delifeq(struct mf_resp_ask *ask)
{
    ask->command.flags = MF_IF_EQUAL;
    return take_one(ask, MF_OP_DEL) && take_value(ask, 2, &ask->command.body);
}

bool mf_resp_take_setbit(struct mf_resp_ask *ask)
{
    int64_t offset;
    int64_t bit;
    if (!take_bit_offset(ask, &offset))
        return false;
    if (!mf_resp_integer(ask->words[3], &bit) || bit < 0 || bit > 1)
        return mf_resp_refuse(ask, "ERR bit is not an integer or out of range");
    ask->command.number = 2 * (uint64_t)offset + (uint64_t)bit;
    ask->command.limit = value_limit(ask);
    return take_one(ask, MF_OP_SETBIT);
}

bool mf_resp_take_getdel(struct mf_resp_ask *ask)
{
    return take_one(ask, MF_OP_GETDEL);
}

bool mf_resp_take_persist(struct mf_resp_ask *ask)
{
    return take_one(ask, MF_OP_PERSIST);
}

bool mf_resp_take_append(struct mf_resp_ask *ask)
{
    ask->command.limit = value_limit(ask);
    return take_one(ask, MF_OP_APPEND) && take_value(ask, 2, &ask->command.one.value);
}

bool mf_resp_take_incr(struct mf_resp_ask *ask)
{
    bool down = ask->row->name[0] == 'd';
    int64_t delta = 1;
    if (ask->count > 2 && !mf_resp_integer(ask->words[2], &delta))
        return mf_resp_refuse(ask, MF_RESP_NOT_INTEGER);
    if (down && delta == INT64_MIN)
        return mf_resp_refuse(ask, "ERR decrement would overflow");
    ask->command.number = (uint64_t)(down ? -delta : delta);
    ask->command.limit = value_limit(ask);
    return take_one(ask, MF_OP_INCR);
}

bool mf_resp_take_incrbyfloat(struct mf_resp_ask *ask)
{
    ask->form = MF_RESP_FORM_FLOAT;
    ask->command.limit = value_limit(ask);
    return take_one(ask, MF_OP_INCRFLOAT) && take_value(ask, 2, &ask->command.one.value);
}

bool mf_resp_take_setrange(struct mf_resp_ask *ask)
{
    int64_t offset;
    if (!mf_resp_integer(ask->words[2], &offset))
        return mf_resp_refuse(ask, MF_RESP_NOT_INTEGER);
    if (offset < 0)
        return mf_resp_refuse(ask, "ERR offset is out of range");
    size_t len = ask->words[3].len;
    if (len > 0 && (len > ask->value_bytes_max || (uint64_t)offset > ask->value_bytes_max - len))
        return mf_resp_refuse(ask, TOO_LONG);
    ask->command.number = (uint64_t)offset;
    ask->command.limit = value_limit(ask);
    return take_one(ask, MF_OP_SETRANGE) && take_value(ask, 3, &ask->command.one.value);
}

static bool take_two(struct mf_resp_ask *ask, enum mf_opcode op)
{
    uint32_t count = ask->count;
    ask->count = 3;
    bool taken = take_keys(ask, op);
    ask->count = count;
    return taken;
}

bool mf_resp_take_rename(struct mf_resp_ask *ask)
{
    bool free_only = row_is(ask, "renamenx");
    ask->form = free_only ? MF_RESP_FORM_PLAIN : MF_RESP_FORM_OK;
    ask->command.flags = free_only ? MF_NX : 0;
    return take_two(ask, MF_OP_RENAME);
}

bool mf_resp_take_copy(struct mf_resp_ask *ask)
{
    int64_t database;
    ask->command.flags = MF_NX;
    for (uint32_t at = 3; at < ask->count; at++) {
        if (mf_resp_is(ask->words[at], "replace"))
            ask->command.flags = 0;
        else if (!mf_resp_is(ask->words[at], "db") || at + 1 == ask->count)
            return mf_resp_refuse(ask, MF_RESP_SYNTAX);
        else if (!mf_resp_integer(ask->words[++at], &database))
            return mf_resp_refuse(ask, MF_RESP_NOT_INTEGER);
        else if (database != 0)
            return mf_resp_refuse(ask, "ERR DB index is out of range");
    }
    if (mf_bytes_equal(ask->words[1], ask->words[2]))
        return mf_resp_refuse(ask, "ERR source and destination objects are the same");
    return take_two(ask, MF_OP_COPY);
}

// MSET, MSETNX.
bool mf_resp_take_mset(struct mf_resp_ask *ask)
{
    if (ask->count % 2 == 0)
        return mf_resp_refuse(ask, "ERR wrong number of arguments for '%s' command",
                              ask->row->name);
    bool new_only = row_is(ask, "msetnx");
    ask->command.op = MF_OP_MSET;
    ask->command.flags = new_only ? MF_NX : 0;
    ask->form = new_only ? MF_RESP_FORM_PLAIN : MF_RESP_FORM_OK;
    make_items(ask, ask->count / 2);
    for (uint32_t i = 0; i < ask->command.item_count; i++) {
        if (!take_key(ask, 2 * i + 1, &ask->items[i].key) ||
            !take_value(ask, 2 * i + 2, &ask->items[i].value))
            return false;
    }
    return true;
}

bool mf_resp_take_flush(struct mf_resp_ask *ask)
{
    if (ask->count > 2 || (ask->count == 2 && !mf_resp_is(ask->words[1], "sync") &&
                           !mf_resp_is(ask->words[1], "async")))
        return mf_resp_refuse(ask, MF_RESP_SYNTAX);
    ask->command.op = MF_OP_FLUSH;
    ask->form = MF_RESP_FORM_OK;
    return true;
}

// Times.

static bool refuse_time(struct mf_resp_ask *ask)
{
    return mf_resp_refuse(ask, "ERR invalid expire time in '%s' command", ask->row->name);
}

// One of EX, PX, EXAT, PXAT.
struct time_option {
    const struct mf_bytes *word; // NULL: none was given
    bool seconds;
    bool absolute;
};

static bool take_time(struct mf_resp_ask *ask, const struct time_option *option)
{
    int64_t ms;
    if (!mf_resp_integer(*option->word, &ms))
        return mf_resp_refuse(ask, MF_RESP_NOT_INTEGER);
    if (ms <= 0 || ms > (option->seconds ? MF_TTL_MS_MAX / 1000 : MF_TTL_MS_MAX))
        return refuse_time(ask);
    ask->command.expiry = option->absolute ? MF_EXPIRY_AT : MF_EXPIRY_IN;
    ask->command.expire_us = ms * (option->seconds ? 1000000 : 1000);
    return true;
}

// How EX, PX, EXAT, PXAT, KEEPTTL and PERSIST may stand together: one of them, however often.
static bool take_time_option(struct mf_resp_ask *ask, uint32_t *at, struct time_option *time)
{
    static const struct {
        const char *name;
        bool seconds;
        bool absolute;
    } options[] = {
        {"ex", true, false}, {"px", false, false}, {"exat", true, true}, {"pxat", false, true}};
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (!mf_resp_is(ask->words[*at], options[i].name) || *at + 1 == ask->count)
            continue;
        bool other = time->word != NULL &&
                     (time->seconds != options[i].seconds || time->absolute != options[i].absolute);
        if (other || (ask->command.flags & (MF_KEEP_TTL | MF_NO_TTL)) != 0)
            return mf_resp_refuse(ask, MF_RESP_SYNTAX);
        *time = (struct time_option){&ask->words[++*at], options[i].seconds, options[i].absolute};
        return true;
    }
    return mf_resp_refuse(ask, MF_RESP_SYNTAX);
}

// What SET may ask of the key: one of them, however often.
#define SET_CONDITIONS ((uint32_t)(MF_NX | MF_XX | MF_IF_EQUAL | MF_IF_OTHER))

static bool take_set_condition(struct mf_resp_ask *ask, uint32_t *at)
{
    static const struct {
        const char *name;
        uint32_t flag;
        bool has_operand;
    } conditions[] = {{"nx", MF_NX, false},
                      {"xx", MF_XX, false},
                      {"ifeq", MF_IF_EQUAL, true},
                      {"ifne", MF_IF_OTHER, true}};
    uint32_t given = ask->command.flags & SET_CONDITIONS;
    for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++) {
        uint32_t flag = conditions[i].flag;
        if (!mf_resp_is(ask->words[*at], conditions[i].name) || (given & ~flag) != 0 ||
            (conditions[i].has_operand && *at + 1 == ask->count))
            continue;
        ask->command.flags |= flag;
        if (conditions[i].has_operand)
            ask->command.body = ask->words[++*at];
        return true;
    }
    return false;
}

static bool take_set_option(struct mf_resp_ask *ask, uint32_t *at, struct time_option *time)
{
    struct mf_bytes word = ask->words[*at];
    uint32_t *flags = &ask->command.flags;
    if (take_set_condition(ask, at))
        return true;
    if (mf_resp_is(word, "get"))
        *flags |= MF_WITH_OLD;
    else if (mf_resp_is(word, "keepttl") && time->word == NULL)
        *flags |= MF_KEEP_TTL;
    else
        return take_time_option(ask, at, time);
    return true;
}

bool mf_resp_take_set(struct mf_resp_ask *ask)
{
    struct time_option time = {0};
    for (uint32_t at = 3; at < ask->count; at++) {
        if (!take_set_option(ask, &at, &time))
            return false;
    }
    if (time.word != NULL && !take_time(ask, &time))
        return false;
    bool old = (ask->command.flags & MF_WITH_OLD) != 0;
    ask->form = old ? MF_RESP_FORM_OLD : MF_RESP_FORM_WRITTEN;
    return take_one(ask, MF_OP_SET) && take_value(ask, 2, &ask->command.one.value);
}

// IDLETIME and FREQ mean nothing here, and are checked all the same.
static bool take_restore_option(struct mf_resp_ask *ask, uint32_t *at, bool *absolute,
                                uint32_t *ages)
{
    struct mf_bytes word = ask->words[*at];
    int64_t number;
    if (mf_resp_is(word, "replace")) {
        ask->command.flags &= ~(uint32_t)MF_NX;
        return true;
    }
    if (mf_resp_is(word, "absttl"))
        return *absolute = true;
    bool idle = mf_resp_is(word, "idletime");
    if ((!idle && !mf_resp_is(word, "freq")) || *at + 1 == ask->count || (*ages & ~(1u << idle)))
        return mf_resp_refuse(ask, MF_RESP_SYNTAX);
    *ages |= 1u << idle;
    if (!mf_resp_integer(ask->words[++*at], &number))
        return mf_resp_refuse(ask, MF_RESP_NOT_INTEGER);
    if (idle && number < 0)
        return mf_resp_refuse(ask, "ERR Invalid IDLETIME value, must be >= 0");
    if (!idle && (number < 0 || number > 255))
        return mf_resp_refuse(ask, "ERR Invalid FREQ value, must be >= 0 and <= 255");
    return true;
}

static bool take_payload(struct mf_resp_ask *ask)
{
    switch (
        mf_resp_undump(ask->words[3], ask->value_bytes_max, &ask->made, &ask->command.one.value)) {
    case MF_OK:
        return true;
    case MF_CORRUPT:
        return mf_resp_refuse(ask, "ERR DUMP payload version or checksum are wrong");
    case MF_TOO_LARGE:
        return mf_resp_refuse(ask, TOO_LONG);
    default:
        return mf_resp_refuse(ask, "ERR Bad data format");
    }
}

bool mf_resp_take_restore(struct mf_resp_ask *ask)
{
    bool absolute = false;
    uint32_t ages = 0;
    int64_t ms;
    ask->form = MF_RESP_FORM_RESTORED;
    ask->command.flags = MF_NX;
    for (uint32_t at = 4; at < ask->count; at++) {
        if (!take_restore_option(ask, &at, &absolute, &ages))
            return false;
    }
    if (!mf_resp_integer(ask->words[2], &ms))
        return mf_resp_refuse(ask, MF_RESP_NOT_INTEGER);
    if (ms < 0 || ms > MF_TTL_MS_MAX)
        return mf_resp_refuse(ask, "ERR Invalid TTL value, must be >= 0");
    if (ms > 0) {
        ask->command.expiry = absolute ? MF_EXPIRY_AT : MF_EXPIRY_IN;
        ask->command.expire_us = ms * 1000;
    }
    return take_one(ask, MF_OP_SET) && take_payload(ask);
}

bool mf_resp_take_setnx(struct mf_resp_ask *ask)
{
    ask->command.flags = MF_NX;
    ask->form = MF_RESP_FORM_WRITTEN_COUNT;
    return take_one(ask, MF_OP_SET) && take_value(ask, 2, &ask->command.one.value);
}

bool mf_resp_take_setex(struct mf_resp_ask *ask)
{
    const struct time_option time = {&ask->words[2], row_is(ask, "setex"), false};
    ask->form = MF_RESP_FORM_WRITTEN;
    return take_time(ask, &time) && take_one(ask, MF_OP_SET) &&
           take_value(ask, 3, &ask->command.one.value);
}

bool mf_resp_take_getset(struct mf_resp_ask *ask)
{
    ask->command.flags = MF_WITH_OLD;
    ask->form = MF_RESP_FORM_OLD;
    return take_one(ask, MF_OP_SET) && take_value(ask, 2, &ask->command.one.value);
}

// Where the time is none, Redis says so only if there is such a key.
bool mf_resp_take_getex(struct mf_resp_ask *ask)
{
    struct time_option time = {0};
    for (uint32_t at = 2; at < ask->count; at++) {
        if (mf_resp_is(ask->words[at], "persist") && time.word == NULL)
            ask->command.flags |= MF_NO_TTL;
        else if (!take_time_option(ask, &at, &time))
            return false;
    }
    if (!take_one(ask, MF_OP_GETEX))
        return false;
    if (time.word != NULL && !take_time(ask, &time)) {
        ask->form = strcmp((const char *)ask->error.data, MF_RESP_NOT_INTEGER) == 0
                        ? MF_RESP_FORM_NOT_INTEGER
                        : MF_RESP_FORM_INVALID_EXPIRE;
        ask->command.op = MF_OP_GET;
    } else if (time.word == NULL && ask->command.flags == 0) {
        ask->command.op = MF_OP_GET;
    }
    return true;
}

static bool take_expire_options(struct mf_resp_ask *ask)
{
    uint32_t *flags = &ask->command.flags;
    for (uint32_t at = EXPIRE_WORDS_AT; at < ask->count; at++) {
        struct mf_bytes word = ask->words[at];
        if (mf_resp_is(word, "nx"))
            *flags |= MF_NX;
        else if (mf_resp_is(word, "xx"))
            *flags |= MF_XX;
        else if (mf_resp_is(word, "gt"))
            *flags |= MF_GT;
        else if (mf_resp_is(word, "lt"))
            *flags |= MF_LT;
        else
            return mf_resp_refuse(ask, "ERR Unsupported option %.*s", TEXT(word));
    }
    if ((*flags & MF_NX) != 0 && (*flags & (MF_XX | MF_GT | MF_LT)) != 0)
        return mf_resp_refuse(
            ask, "ERR NX and XX, GT or LT options at the same time are not compatible");
    if ((*flags & MF_GT) != 0 && (*flags & MF_LT) != 0)
        return mf_resp_refuse(ask, "ERR GT and LT options at the same time are not compatible");
    return true;
}

bool mf_resp_take_expire(struct mf_resp_ask *ask)
{
    bool absolute = row_is(ask, "expireat") || row_is(ask, "pexpireat");
    bool seconds = row_is(ask, "expire") || row_is(ask, "expireat");
    int64_t ms;
    if (!take_expire_options(ask))
        return false;
    if (!mf_resp_integer(ask->words[2], &ms))
        return mf_resp_refuse(ask, MF_RESP_NOT_INTEGER);
    if (seconds && (ms > INT64_MAX / 1000 || ms < INT64_MIN / 1000))
        return refuse_time(ask);
    ms *= seconds ? 1000 : 1;
    if (ms > MF_TTL_MS_MAX)
        return refuse_time(ask);
    ask->command.expiry = absolute ? MF_EXPIRY_AT : MF_EXPIRY_IN;
    ask->command.expire_us = ms <= 0 ? 0 : ms * 1000; // however negative: the key goes
    return take_one(ask, MF_OP_EXPIRE);
}
