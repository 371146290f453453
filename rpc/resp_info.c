// COMMAND, its subcommands and HELP: what the table of commands tells about itself.
//
// The replies have the forms of Redis 7.0. Sets (flags, categories, tips) are arrays in RESP2 and
// sets in RESP3, maps are flat arrays in RESP2. Summaries are Mayfly's own; what Redis tells of the
// complexity, the history and the arguments of a command is not told.
#include <string.h>

#include "base/glob.h"
#include "rpc/resp_command.h"

struct named_bit {
    uint32_t bit;
    const char *name;
};

// In the order in which Redis tells them.
static const struct named_bit flag_names[] = {
    {MF_RESP_WRITE, "write"},
    {MF_RESP_READ, "readonly"},
    {MF_RESP_DENYOOM, "denyoom"},
    {MF_RESP_ADMIN, "admin"},
    {MF_RESP_PUBSUB, "pubsub"},
    {MF_RESP_NOSCRIPT, "noscript"},
    {MF_RESP_LOADING, "loading"},
    {MF_RESP_STALE, "stale"},
    {MF_RESP_SKIP_SLOWLOG, "skip_slowlog"},
    {MF_RESP_FAST, "fast"},
    {MF_RESP_NO_AUTH, "no_auth"},
    {MF_RESP_ALLOW_BUSY, "allow_busy"},
};
#define SLOW (1u << 31)
static const struct named_bit category_names[] = {
    {MF_RESP_KEYSPACE, "@keyspace"},
    {MF_RESP_READ, "@read"},
    {MF_RESP_WRITE, "@write"},
    {MF_RESP_STRING, "@string"},
    {MF_RESP_BITMAP, "@bitmap"},
    {MF_RESP_PUBSUB, "@pubsub"},
    {MF_RESP_ADMIN, "@admin"},
    {MF_RESP_FAST, "@fast"},
    {SLOW, "@slow"},
    {MF_RESP_DANGEROUS, "@dangerous"},
    {MF_RESP_CONNECTION, "@connection"},
    {MF_RESP_TRANSACTION, "@transaction"},
    {MF_RESP_SCRIPTING, "@scripting"},
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
// Commands that may be asked about at once: each is told in up to a few kilobytes.
#define NAMES_MAX 1024u
// Of a name that is not known so much is said.
#define QUOTED_MAX 128
#define TOO_MANY_NAMES "ERR at most 1024 commands can be asked about at once"

static uint32_t categories_of(const struct mf_resp_row *row)
{
    uint32_t bits = row->flags;
    bits |= (bits & MF_RESP_ADMIN) != 0 ? MF_RESP_DANGEROUS : 0;
    return (bits & MF_RESP_FAST) != 0 ? bits : bits | SLOW;
}

static void put_bits(struct mf_buf *out, unsigned version, uint32_t bits,
                     const struct named_bit *names, size_t count)
{
    uint32_t told = 0;
    for (size_t i = 0; i < count; i++)
        told += (bits & names[i].bit) != 0;
    mf_resp_set(out, version, told);
    for (size_t i = 0; i < count; i++) {
        if ((bits & names[i].bit) != 0)
            mf_resp_status(out, names[i].name);
    }
}

// Words with single blanks between them, each a bulk string or a status.
static void put_words(struct mf_buf *out, const char *text, bool status)
{
    for (const char *at = text; at != NULL && *at != '\0';) {
        size_t len = strcspn(at, " ");
        struct mf_bytes word = mf_bytes_of(at, len);
        if (!status) {
            mf_resp_bulk(out, word);
        } else {
            mf_buf_u8(out, '+');
            mf_buf_put(out, word.data, word.len);
            mf_buf_put(out, "\r\n", 2);
        }
        at += len + (at[len] == ' ');
    }
}

static uint32_t count_words(const char *text)
{
    uint32_t count = text != NULL && *text != '\0';
    for (; text != NULL && *text != '\0'; text++)
        count += *text == ' ';
    return count;
}

// Of keys of one kind, from word `first` to `last`.
static void put_key_spec(struct mf_buf *out, unsigned version, const struct mf_resp_row *row,
                         const char *key_flags, int first, int last)
{
    mf_resp_map(out, version, row->key_notes != NULL ? 4 : 3);
    if (row->key_notes != NULL) {
        mf_resp_bulk_str(out, "notes");
        mf_resp_bulk_str(out, row->key_notes);
    }
    mf_resp_bulk_str(out, "flags");
    mf_resp_set(out, version, count_words(key_flags));
    put_words(out, key_flags, true);
    mf_resp_bulk_str(out, "begin_search");
    mf_resp_map(out, version, 2);
    mf_resp_bulk_str(out, "type");
    mf_resp_bulk_str(out, "index");
    mf_resp_bulk_str(out, "spec");
    mf_resp_map(out, version, 1);
    mf_resp_bulk_str(out, "index");
    mf_resp_int(out, first);
    mf_resp_bulk_str(out, "find_keys");
    mf_resp_map(out, version, 2);
    mf_resp_bulk_str(out, "type");
    mf_resp_bulk_str(out, "range");
    mf_resp_bulk_str(out, "spec");
    mf_resp_map(out, version, 3);
    mf_resp_bulk_str(out, "lastkey");
    mf_resp_int(out, last < 0 ? last : last - first);
    mf_resp_bulk_str(out, "keystep");
    mf_resp_int(out, row->key_step);
    mf_resp_bulk_str(out, "limit");
    mf_resp_int(out, 0);
}

static void put_key_specs(struct mf_buf *out, unsigned version, const struct mf_resp_row *row)
{
    mf_resp_set(out, version, row->first_key == 0 ? 0 : row->key2_flags != NULL ? 2 : 1);
    if (row->key2_flags != NULL) {
        put_key_spec(out, version, row, row->key_flags, row->first_key, row->first_key);
        put_key_spec(out, version, row, row->key2_flags, row->last_key, row->last_key);
    } else if (row->first_key != 0) {
        put_key_spec(out, version, row, row->key_flags, row->first_key, row->last_key);
    }
}

static bool is_sub(const struct mf_resp_row *row)
{
    return strchr(row->name, '|') != NULL;
}

static bool is_sub_of(const struct mf_resp_row *row, const struct mf_resp_row *container)
{
    size_t len = strlen(container->name);
    return strncmp(row->name, container->name, len) == 0 && row->name[len] == '|';
}

static uint32_t count_subs(const struct mf_resp_row *row)
{
    size_t count;
    const struct mf_resp_row *rows = mf_resp_rows(&count);
    uint32_t subs = 0;
    for (size_t i = 0; i < count; i++)
        subs += is_sub_of(&rows[i], row);
    return subs;
}

static void put_info(struct mf_buf *out, unsigned version, const struct mf_resp_row *row)
{
    mf_resp_array(out, 10);
    mf_resp_bulk_str(out, row->name);
    mf_resp_int(out, row->arity);
    put_bits(out, version, row->flags, flag_names, COUNT(flag_names));
    mf_resp_int(out, row->first_key);
    mf_resp_int(out, row->last_key);
    mf_resp_int(out, row->key_step);
    put_bits(out, version, categories_of(row), category_names, COUNT(category_names));
    mf_resp_set(out, version, count_words(row->tips));
    put_words(out, row->tips, false);
    put_key_specs(out, version, row);
    mf_resp_set(out, version, count_subs(row));
    size_t count;
    const struct mf_resp_row *rows = mf_resp_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (is_sub_of(&rows[i], row))
            put_info(out, version, &rows[i]);
    }
}

static void put_docs(struct mf_buf *out, unsigned version, const struct mf_resp_row *row)
{
    uint32_t subs = count_subs(row);
    mf_resp_bulk_str(out, row->name);
    mf_resp_map(out, version, 3 + (subs > 0));
    mf_resp_bulk_str(out, "summary");
    mf_resp_bulk_str(out, row->summary);
    mf_resp_bulk_str(out, "since");
    mf_resp_bulk_str(out, row->since);
    mf_resp_bulk_str(out, "group");
    mf_resp_bulk_str(out, row->group);
    if (subs == 0)
        return;
    mf_resp_bulk_str(out, "subcommands");
    mf_resp_map(out, version, subs);
    size_t count;
    const struct mf_resp_row *rows = mf_resp_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (is_sub_of(&rows[i], row))
            put_docs(out, version, &rows[i]);
    }
}

static uint32_t count_commands(void)
{
    size_t count;
    const struct mf_resp_row *rows = mf_resp_rows(&count);
    uint32_t commands = 0;
    for (size_t i = 0; i < count; i++)
        commands += !is_sub(&rows[i]);
    return commands;
}

static void answer_all_info(struct mf_buf *out, unsigned version)
{
    size_t count;
    const struct mf_resp_row *rows = mf_resp_rows(&count);
    mf_resp_array(out, count_commands());
    for (size_t i = 0; i < count; i++) {
        if (!is_sub(&rows[i]))
            put_info(out, version, &rows[i]);
    }
}

static void answer_info(struct mf_buf *out, unsigned version, const struct mf_bytes *names,
                        uint32_t count)
{
    if (count == 0) {
        answer_all_info(out, version);
        return;
    }
    if (count > NAMES_MAX) {
        mf_resp_error(out, TOO_MANY_NAMES);
        return;
    }
    mf_resp_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct mf_resp_row *row = mf_resp_find_name(names[i]);
        if (row != NULL)
            put_info(out, version, row);
        else
            mf_resp_null(out, version);
    }
}

static void answer_docs(struct mf_buf *out, unsigned version, const struct mf_bytes *names,
                        uint32_t count)
{
    size_t row_count;
    const struct mf_resp_row *rows = mf_resp_rows(&row_count);
    if (count == 0) {
        mf_resp_map(out, version, count_commands());
        for (size_t i = 0; i < row_count; i++) {
            if (!is_sub(&rows[i]))
                put_docs(out, version, &rows[i]);
        }
        return;
    }
    if (count > NAMES_MAX) {
        mf_resp_error(out, TOO_MANY_NAMES);
        return;
    }
    uint32_t known = 0;
    for (uint32_t i = 0; i < count; i++)
        known += mf_resp_find_name(names[i]) != NULL;
    mf_resp_map(out, version, known);
    for (uint32_t i = 0; i < count; i++) {
        const struct mf_resp_row *row = mf_resp_find_name(names[i]);
        if (row != NULL)
            put_docs(out, version, row);
    }
}

// Redis's, in its order; of most of them there are no commands here.
static const char *const categories[] = {
    "keyspace", "read",   "write",       "set",       "sortedset",  "list",        "hash",
    "string",   "bitmap", "hyperloglog", "geo",       "stream",     "pubsub",      "admin",
    "fast",     "slow",   "blocking",    "dangerous", "connection", "transaction", "scripting"};

static bool is_category(struct mf_bytes word)
{
    bool known = false;
    for (size_t i = 0; i < COUNT(categories) && !known; i++)
        known = mf_resp_is(word, categories[i]);
    return known;
}

static bool is_in_category(const struct mf_resp_row *row, struct mf_bytes category)
{
    uint32_t bits = categories_of(row);
    bool is = false;
    for (size_t i = 0; i < COUNT(category_names) && !is; i++)
        is =
            (bits & category_names[i].bit) != 0 && mf_resp_is(category, category_names[i].name + 1);
    return is;
}

void mf_resp_categories_answer(struct mf_buf *out, const struct mf_bytes *category)
{
    if (category == NULL) {
        mf_resp_array(out, COUNT(categories));
        for (size_t i = 0; i < COUNT(categories); i++)
            mf_resp_bulk_str(out, categories[i]);
        return;
    }
    if (!is_category(*category)) {
        int len = mf_resp_text_len(*category);
        mf_resp_errorf(out, "ERR Unknown category '%.*s'", len < QUOTED_MAX ? len : QUOTED_MAX,
                       (const char *)category->data);
        return;
    }
    size_t row_count;
    const struct mf_resp_row *rows = mf_resp_rows(&row_count);
    uint32_t told = 0;
    for (size_t i = 0; i < row_count; i++)
        told += is_in_category(&rows[i], *category);
    mf_resp_array(out, told);
    for (size_t i = 0; i < row_count; i++) {
        if (is_in_category(&rows[i], *category))
            mf_resp_bulk_str(out, rows[i].name);
    }
}

// What COMMAND LIST keeps; all is told without one.
struct filter {
    const struct mf_bytes *category;
    struct mf_glob *glob;
    bool none;
};

static bool passes(const struct filter *filter, const struct mf_resp_row *row)
{
    if (filter->none)
        return false;
    if (filter->glob != NULL)
        return mf_glob_matches(filter->glob, mf_bytes_str(row->name));
    return filter->category == NULL || is_in_category(row, *filter->category);
}

static void answer_list(struct mf_buf *out, const struct mf_bytes *words, uint32_t count)
{
    struct filter filter = {0};
    bool filtered = count == 5 && mf_resp_is(words[2], "filterby");
    if (filtered && mf_resp_is(words[3], "aclcat"))
        filter.category = &words[4];
    else if (filtered && mf_resp_is(words[3], "module"))
        filter.none = true;
    else if (filtered && mf_resp_is(words[3], "pattern") && words[4].len <= MF_GLOB_BYTES_MAX)
        filter.glob = mf_glob_new(words[4]);
    else if (count != 2) {
        mf_resp_error(out, MF_RESP_SYNTAX);
        return;
    }
    size_t row_count;
    const struct mf_resp_row *rows = mf_resp_rows(&row_count);
    uint32_t told = 0;
    for (size_t i = 0; i < row_count; i++)
        told += passes(&filter, &rows[i]) && (count != 2 || !is_sub(&rows[i]));
    mf_resp_array(out, told);
    for (size_t i = 0; i < row_count; i++) {
        if (passes(&filter, &rows[i]) && (count != 2 || !is_sub(&rows[i])))
            mf_resp_bulk_str(out, rows[i].name);
    }
    if (filter.glob != NULL)
        mf_glob_free(filter.glob);
}

// SET with GET reads as well.
static const char *flags_of_keys(const struct mf_resp_row *row, const struct mf_bytes *words,
                                 uint32_t count)
{
    if (strcmp(row->name, "set") != 0)
        return row->key_flags;
    for (uint32_t i = 3; i < count; i++) {
        if (mf_resp_is(words[i], "get"))
            return "RW access update";
    }
    return "OW update";
}

static void answer_keys(struct mf_buf *out, unsigned version, const struct mf_bytes *words,
                        uint32_t count, bool with_flags)
{
    const struct mf_resp_row *row = mf_resp_find(words, count);
    if (row == NULL) {
        mf_resp_error(out, "ERR Invalid command specified");
        return;
    }
    if (row->first_key == 0) {
        mf_resp_error(out, "ERR The command has no key arguments");
        return;
    }
    if (!mf_resp_arity_fits(row, count)) {
        mf_resp_error(out, "ERR Invalid number of arguments specified for command");
        return;
    }
    uint32_t first = (uint32_t)row->first_key;
    uint32_t last = row->last_key < 0 ? count - (uint32_t)-row->last_key : (uint32_t)row->last_key;
    uint32_t step = (uint32_t)row->key_step;
    const char *flags = flags_of_keys(row, words, count);
    mf_resp_array(out, (last - first) / step + 1);
    for (uint32_t i = first; i <= last; i += step) {
        if (with_flags)
            mf_resp_array(out, 2);
        mf_resp_bulk(out, words[i]);
        if (!with_flags)
            continue;
        mf_resp_set(out, version, count_words(flags));
        put_words(out, flags, true);
    }
}

void mf_resp_command_answer(struct mf_buf *out, unsigned version, const struct mf_resp_row *row,
                            const struct mf_bytes *words, uint32_t count)
{
    const char *bar = strchr(row->name, '|');
    const char *name = bar != NULL ? bar + 1 : "";
    if (strcmp(name, "count") == 0)
        mf_resp_int(out, count_commands());
    else if (strcmp(name, "docs") == 0)
        answer_docs(out, version, words + 2, count - 2);
    else if (strcmp(name, "info") == 0)
        answer_info(out, version, words + 2, count - 2);
    else if (strcmp(name, "list") == 0)
        answer_list(out, words, count);
    else if (bar != NULL)
        answer_keys(out, version, words + 2, count - 2, strcmp(name, "getkeysandflags") == 0);
    else
        answer_all_info(out, version);
}

static void put_upper(struct mf_buf *out, const char *name, size_t len)
{
    mf_buf_u8(out, '+');
    for (size_t i = 0; i < len; i++)
        mf_buf_u8(out, (uint8_t)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 32 : name[i]));
}

void mf_resp_help_answer(struct mf_buf *out, const struct mf_resp_row *row)
{
    size_t len = strcspn(row->name, "|");
    size_t count;
    const struct mf_resp_row *rows = mf_resp_rows(&count);
    uint32_t subs = 0;
    for (size_t i = 0; i < count; i++)
        subs += strncmp(rows[i].name, row->name, len) == 0 && rows[i].name[len] == '|';
    mf_resp_array(out, 1 + 2 * subs);
    put_upper(out, row->name, len);
    mf_buf_put(out, " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n", 59);
    for (size_t i = 0; i < count; i++) {
        if (strncmp(rows[i].name, row->name, len) != 0 || rows[i].name[len] != '|')
            continue;
        const char *sub = rows[i].name + len + 1;
        put_upper(out, sub, strlen(sub));
        mf_buf_put(out, "\r\n+    ", 7);
        mf_buf_put(out, rows[i].summary, strlen(rows[i].summary));
        mf_buf_put(out, "\r\n", 2);
    }
}
