// The verb for txns: one JSON object into a struct mayfly_txn.
//
// What JSON cannot be right about (an unknown method, a parameter of the wrong kind) is said here,
// with its place; what the node has to judge is left to it. Bytes lie in one growing memory that
// goes when the call has been answered.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/output.h"

#define TIMEOUT_MS 0 // the library's own
#define INPUT_BYTES_MAX ((size_t)128 << 20)

// What has to be given back at the end.
struct txn {
    struct cli *cli;
    json_t *json;
    struct mayfly_txn txn;
    void **memory;
    size_t memory_count;
    int status; // CLI_YES while nothing is wrong
};

static void *keep(struct txn *txn, size_t count, size_t size)
{
    txn->memory = mf_realloc(txn->memory, (txn->memory_count + 1) * sizeof txn->memory[0]);
    void *memory = mf_calloc(count + 1, size);
    txn->memory[txn->memory_count++] = memory;
    return memory;
}

static void refuse(struct txn *txn, const char *where, const char *expected)
{
    if (txn->status == CLI_YES)
        txn->status = cli_usage_error(txn->cli, "txn: %s: expected %s", where, expected);
}

// A string, or {"base64": "..."}.
static struct mayfly_bytes take_bytes(struct txn *txn, const json_t *json, const char *where)
{
    if (json_is_string(json))
        return (struct mayfly_bytes){json_string_value(json), json_string_length(json)};
    const json_t *text = json_object_get(json, "base64");
    struct mf_buf raw = {0};
    if (json_object_size(json) != 1 || !json_is_string(text) ||
        !mf_base64_take(mf_bytes_of(json_string_value(text), json_string_length(text)), &raw)) {
        mf_buf_free(&raw);
        refuse(txn, where, "a string or {\"base64\": \"...\"}");
        return (struct mayfly_bytes){NULL, 0};
    }
    uint8_t *bytes = keep(txn, raw.len, 1);
    if (raw.len > 0)
        memcpy(bytes, raw.data, raw.len);
    size_t len = raw.len;
    mf_buf_free(&raw);
    return (struct mayfly_bytes){bytes, len};
}

static int64_t take_integer(struct txn *txn, const json_t *json, const char *where)
{
    if (!json_is_integer(json))
        refuse(txn, where, "an integer");
    return json_integer_value(json);
}

// One of some words, by its place among them.
static unsigned take_word(struct txn *txn, const json_t *json, const char *const *words,
                          unsigned count, const char *where, const char *expected)
{
    for (unsigned i = 0; i < count && json_is_string(json); i++) {
        if (strcmp(json_string_value(json), words[i]) == 0)
            return i;
    }
    refuse(txn, where, expected);
    return 0;
}

static void take_condition(struct txn *txn, const json_t *json, struct mayfly_condition *out)
{
    static const char *const subjects[] = {"version", "value", "exists"};
    static const char *const relations[] = {"=", "!=", "<", ">"};
    const json_t *operand = json_array_get(json, 3);
    if (json_array_size(json) != 4) {
        refuse(txn, "a condition", "[KEY, WHAT, COMPARISON, OPERAND]");
        return;
    }
    out->key = take_bytes(txn, json_array_get(json, 0), "the key of a condition");
    out->subject =
        (enum mayfly_subject)take_word(txn, json_array_get(json, 1), subjects, 3,
                                       "what a condition looks at", "version, value or exists");
    out->relation = (enum mayfly_relation)take_word(txn, json_array_get(json, 2), relations, 4,
                                                    "a comparison", "=, !=, < or >");
    if (out->subject == MAYFLY_SUBJECT_VERSION)
        out->version = (uint64_t)take_integer(txn, operand, "a version");
    else if (out->subject == MAYFLY_SUBJECT_VALUE)
        out->value = take_bytes(txn, operand, "a value in a condition");
    else if (json_is_boolean(operand))
        out->exists = json_is_true(operand);
    else
        refuse(txn, "what exists is compared with", "true or false");
}

static void take_number_option(struct txn *txn, const char *name, const json_t *json,
                               struct mayfly_options *out)
{
    int64_t number = take_integer(txn, json, name);
    if (strcmp(name, "ttl") == 0) {
        out->flags |= MAYFLY_FLAG_TTL;
        out->ttl_ms = number;
    } else if (strcmp(name, "expire_at") == 0) {
        out->flags |= MAYFLY_FLAG_EXPIRE_AT;
        out->expire_at_ms = number;
    } else {
        out->flags |= MAYFLY_FLAG_IF_VERSION;
        out->if_version = (uint64_t)number;
    }
}

static void take_options(struct txn *txn, json_t *json, struct mayfly_options *out)
{
    static const struct {
        const char *name;
        unsigned flag; // 0: a number
    } rows[] = {{"ttl", 0},
                {"expire_at", 0},
                {"if_version", 0},
                {"nx", MAYFLY_FLAG_NX},
                {"xx", MAYFLY_FLAG_XX},
                {"gt", MAYFLY_FLAG_GT},
                {"lt", MAYFLY_FLAG_LT},
                {"keep_ttl", MAYFLY_FLAG_KEEP_TTL},
                {"persist", MAYFLY_FLAG_PERSIST},
                {"get", MAYFLY_FLAG_GET},
                {"meta", MAYFLY_FLAG_META}};
    const char *name;
    json_t *value;
    json_object_foreach(json, name, value)
    {
        size_t i = 0;
        while (i < sizeof rows / sizeof rows[0] && strcmp(rows[i].name, name) != 0)
            i++;
        if (i == sizeof rows / sizeof rows[0])
            refuse(txn, name, "an option that the method takes inside a txn");
        else if (json_is_false(value))
            continue; // counts as absent
        else if (rows[i].flag == 0)
            take_number_option(txn, name, value, out);
        else if (json_is_true(value))
            out->flags |= rows[i].flag;
        else
            refuse(txn, name, "true or false");
    }
}

enum shape { KEY, KEY_VALUE, KEY_TTL, KEY_DELTA, KEYS, PAIRS };

static const struct method {
    const char *name;
    enum mayfly_method method;
    enum shape shape;
} methods[] = {
    {"get", MAYFLY_METHOD_GET, KEY},
    {"mget", MAYFLY_METHOD_MGET, KEYS},
    {"has", MAYFLY_METHOD_HAS, KEYS},
    {"ttl", MAYFLY_METHOD_TTL, KEY},
    {"set", MAYFLY_METHOD_SET, KEY_VALUE},
    {"mset", MAYFLY_METHOD_MSET, PAIRS},
    {"del", MAYFLY_METHOD_DEL, KEYS},
    {"expire", MAYFLY_METHOD_EXPIRE, KEY_TTL},
    {"persist", MAYFLY_METHOD_PERSIST, KEY},
    {"incr", MAYFLY_METHOD_INCR, KEY_DELTA},
    {"append", MAYFLY_METHOD_APPEND, KEY_VALUE},
    {"getdel", MAYFLY_METHOD_GETDEL, KEY},
    {"getex", MAYFLY_METHOD_GETEX, KEY},
};

static const struct method *find_method(const json_t *name)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0] && json_is_string(name); i++) {
        if (strcmp(methods[i].name, json_string_value(name)) == 0)
            return &methods[i];
    }
    return NULL;
}

static void take_lists(struct txn *txn, const json_t *list, bool pairs, struct mayfly_request *out)
{
    size_t count = json_array_size(list);
    struct mayfly_bytes *keys = keep(txn, count, sizeof keys[0]);
    struct mayfly_bytes *values = keep(txn, count, sizeof values[0]);
    if (!json_is_array(list))
        refuse(txn, "the keys of a method", "an array");
    for (size_t i = 0; i < count; i++) {
        const json_t *element = json_array_get(list, i);
        keys[i] = take_bytes(txn, pairs ? json_array_get(element, 0) : element, "a key");
        if (pairs)
            values[i] = take_bytes(txn, json_array_get(element, 1), "a value");
    }
    out->keys = keys;
    out->values = values;
    out->count = count;
}

static void take_one_key(struct txn *txn, const json_t *json, enum shape shape,
                         struct mayfly_request *out)
{
    struct mayfly_bytes *bytes = keep(txn, 2, sizeof bytes[0]);
    const json_t *second = json_array_get(json, 2);
    bytes[0] = take_bytes(txn, json_array_get(json, 1), "a key");
    if (shape == KEY_VALUE)
        bytes[1] = take_bytes(txn, second, "a value");
    else if (shape == KEY_TTL)
        out->options.ttl_ms = take_integer(txn, second, "the ttl");
    else if (shape == KEY_DELTA)
        out->delta = take_integer(txn, second, "the delta");
    out->keys = &bytes[0];
    out->values = &bytes[1];
    out->count = 1;
}

// [METHOD, PARAMETER..., {OPTIONS}]
static void take_method(struct txn *txn, const json_t *json, struct mayfly_request *out)
{
    const struct method *method = find_method(json_array_get(json, 0));
    if (method == NULL) {
        refuse(txn, "a method",
               "[NAME, PARAMETER...] of get mget has ttl set mset del expire persist incr append "
               "getdel getex");
        return;
    }
    bool lists = method->shape == KEYS || method->shape == PAIRS;
    size_t arity = lists || method->shape == KEY ? 2 : 3; // with the name
    json_t *options = json_array_get(json, arity);
    out->method = method->method;
    if (json_array_size(json) < arity || json_array_size(json) > arity + 1 ||
        (options != NULL && !json_is_object(options))) {
        refuse(txn, method->name, "its parameters and at most an object of options");
        return;
    }
    if (lists)
        take_lists(txn, json_array_get(json, 1), method->shape == PAIRS, out);
    else
        take_one_key(txn, json, method->shape, out);
    take_options(txn, options, &out->options);
}

static const struct mayfly_request *take_branch(struct txn *txn, const char *name, bool needed,
                                                size_t *count)
{
    const json_t *list = json_object_get(txn->json, name);
    if ((needed || list != NULL) && !json_is_array(list))
        refuse(txn, name, "an array of methods");
    *count = json_array_size(list);
    struct mayfly_request *requests = keep(txn, *count, sizeof requests[0]);
    for (size_t i = 0; i < *count; i++)
        take_method(txn, json_array_get(list, i), &requests[i]);
    return requests;
}

static void take_txn(struct txn *txn)
{
    const json_t *list = json_object_get(txn->json, "if");
    if (!json_is_array(list))
        refuse(txn, "if", "an array of conditions");
    size_t count = json_array_size(list);
    struct mayfly_condition *conditions = keep(txn, count, sizeof conditions[0]);
    for (size_t i = 0; i < count; i++)
        take_condition(txn, json_array_get(list, i), &conditions[i]);
    txn->txn.conditions = conditions;
    txn->txn.condition_count = count;
    txn->txn.then = take_branch(txn, "then", true, &txn->txn.then_count);
    txn->txn.otherwise = take_branch(txn, "else", false, &txn->txn.otherwise_count);
    size_t members = json_object_get(txn->json, "else") != NULL ? 3 : 2;
    if (json_object_size(txn->json) != members)
        refuse(txn, "the object", "if, then and else, and nothing more");
}

// All of the file or of standard input.
static int read_all(const struct cli *cli, struct mf_buf *text)
{
    const char *path = cli->word_count > 0 ? cli->words[0] : "-";
    bool is_input = strcmp(path, "-") == 0;
    FILE *file = is_input ? NULL : fopen(path, "r");
    if (!is_input && file == NULL)
        return cli_fail(cli, "txn: %s: %s", path, strerror(errno));
    int fd = is_input ? cli_input(cli) : fileno(file);
    if (fd < 0)
        return CLI_NO;
    int status = CLI_YES;
    ssize_t got = 1;
    while (status == CLI_YES && got != 0) {
        got = read(fd, mf_buf_reserve(text, 65536), 65536);
        if (got > 0)
            text->len += (size_t)got;
        if (got < 0 && errno != EINTR)
            status = cli_fail(cli, "txn: %s: %s", path, strerror(errno));
        if (text->len > INPUT_BYTES_MAX)
            status = cli_fail(cli, "txn: %s is over %zu bytes", path, INPUT_BYTES_MAX);
    }
    if (file != NULL)
        fclose(file);
    return status;
}

static int print_results(const struct cli *cli, bool ok, const struct mayfly_value *results)
{
    json_t *list = cli_json_value(results);
    if (cli->output == CLI_JSON) {
        cli_print_json(cli->out, json_pack("{s:b, s:o}", "ok", ok, "results", list));
        return ok ? CLI_YES : CLI_NO;
    }
    for (size_t i = 0; i < json_array_size(list); i++)
        cli_print_json(cli->out, json_incref(json_array_get(list, i)));
    json_decref(list);
    return ok ? CLI_YES : CLI_NO;
}

int cli_txn(struct cli *cli)
{
    struct txn txn = {.cli = cli};
    struct mf_buf text = {0};
    json_error_t fault;
    bool ok;
    const struct mayfly_value *results;
    txn.status = read_all(cli, &text);
    if (txn.status != CLI_YES)
        goto out;
    txn.json = json_loadb((const char *)text.data, text.len,
                          JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &fault);
    if (!json_is_object(txn.json)) {
        txn.status = cli_usage_error(cli, "txn: line %d: %s: expected one JSON object",
                                     txn.json == NULL ? fault.line : 1,
                                     txn.json == NULL ? fault.text : "another value");
        goto out;
    }
    take_txn(&txn);
    if (txn.status == CLI_YES)
        txn.status = cli_connect(cli, TIMEOUT_MS, 0);
    if (txn.status != CLI_YES)
        goto out;
    if (mayfly_txn(cli->client, &txn.txn, NULL, &ok, &results) == MAYFLY_OK)
        txn.status = print_results(cli, ok, results);
    else
        txn.status = cli_call_failed(cli);
out:
    for (size_t i = 0; i < txn.memory_count; i++)
        free(txn.memory[i]);
    free(txn.memory);
    json_decref(txn.json);
    mf_buf_free(&text);
    return txn.status;
}
