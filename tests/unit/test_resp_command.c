// The Redis door's table: requests to commands, results to replies, and what the table tells of
// itself.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/command_table.h"
#include "rpc/resp_command.h"

// A request in one line, as the parser takes it.
static void read_line(struct mf_resp_request *request, const char *text)
{
    const struct mf_resp_limits limits = {.request_bytes_max = 1 << 20};
    size_t size;
    char line[512];
    int len = snprintf(line, sizeof(line), "%s\n", text);
    assert_int_equal(mf_resp_parse(request, mf_bytes_of(line, (size_t)len), &limits, &size), MF_OK);
}

static void show_flags(char *out, size_t size, uint32_t flags)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } names[] = {{MF_NX, "nx"},         {MF_XX, "xx"},        {MF_GT, "gt"},        {MF_LT, "lt"},
                 {MF_KEEP_TTL, "keep"}, {MF_WITH_OLD, "old"}, {MF_NO_TTL, "no ttl"}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if ((flags & names[i].flag) != 0)
            snprintf(out + strlen(out), size - strlen(out), " %s", names[i].name);
    }
}

// "set k=v nx in 10000000", or the error.
static void show(const struct mf_resp_ask *ask, bool fine, char *out, size_t size)
{
    const struct mf_command *command = &ask->command;
    if (!fine) {
        snprintf(out, size, "-%s", (const char *)ask->error.data);
        return;
    }
    snprintf(out, size, "%s", mf_op_name(command->op));
    for (uint32_t i = 0; i < command->item_count; i++) {
        const struct mf_item *item = &command->items[i];
        snprintf(out + strlen(out), size - strlen(out), " %.*s", (int)item->key.len,
                 (const char *)item->key.data);
        if (mf_command_takes(mf_command_row(command->op), MF_PARAM_VALUE) ||
            command->op == MF_OP_MSET)
            snprintf(out + strlen(out), size - strlen(out), "=%.*s", (int)item->value.len,
                     item->value.len > 0 ? (const char *)item->value.data : "");
    }
    show_flags(out, size, command->flags);
    if (command->expiry != MF_EXPIRY_NONE)
        snprintf(out + strlen(out), size - strlen(out), " %s %" PRId64,
                 command->expiry == MF_EXPIRY_AT ? "at" : "in", command->expire_us);
    if (command->number != 0)
        snprintf(out + strlen(out), size - strlen(out), " %" PRId64, (int64_t)command->number);
}

static void requests_become_commands_or_errors(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        const char *shown;
    } cases[] = {
        {"get k", "get k"},
        {"GeT k", "get k"},
        {"set k v", "set k=v"},
        {"set k v nx ex 10 get", "set k=v nx old in 10000000"},
        {"set k v pxat 5 xx", "set k=v xx at 5000"},
        {"set k v exat 5", "set k=v at 5000000"},
        {"set k v keepttl", "set k=v keep"},
        {"set k v ex 1 ex 2", "set k=v in 2000000"},
        {"set k v ex 1 px 2", "-ERR syntax error"},
        {"set k v keepttl ex 1", "-ERR syntax error"},
        {"set k v nx xx", "-ERR syntax error"},
        {"set k v ex 9007199254740", "set k=v in 9007199254740000000"},
        {"set k v ex 9007199254741", "-ERR invalid expire time in 'set' command"},
        {"set k v px 9007199254740991", "set k=v in 9007199254740991000"},
        {"set k v px 9007199254740992", "-ERR invalid expire time in 'set' command"},
        {"setnx k v", "set k=v nx"},
        {"setex k 3 v", "set k=v in 3000000"},
        {"psetex k 3 v", "set k=v in 3000"},
        {"setex k 0 v", "-ERR invalid expire time in 'setex' command"},
        {"getset k v", "set k=v old"},
        {"getex k", "get k"},
        {"getex k persist", "getex k no ttl"},
        {"getex k px 7", "getex k in 7000"},
        {"getex k ex 0", "get k"},
        {"getdel k", "getdel k"},
        {"mget a b a", "mget a b a"},
        {"mset a 1 b 2", "mset a=1 b=2"},
        {"mset a 1 b", "-ERR wrong number of arguments for 'mset' command"},
        {"incr n", "incr n 1"},
        {"decr n", "incr n -1"},
        {"incrby n -5", "incr n -5"},
        {"decrby n -5", "incr n 5"},
        {"decrby n -9223372036854775808", "-ERR decrement would overflow"},
        {"incrby n 1.5", "-ERR value is not an integer or out of range"},
        {"append k v", "append k=v"},
        {"del a b", "del a b"},
        {"exists a a", "has a a"},
        {"expire k 5", "expire k in 5000000"},
        {"expire k -5", "expire k in 0"},
        {"pexpire k 5 gt xx", "expire k xx gt in 5000"},
        {"expire k 5 nx lt",
         "-ERR NX and XX, GT or LT options at the same time are not compatible"},
        {"expire k 5 soon", "-ERR Unsupported option soon"},
        {"expire k 9223372036854775807", "-ERR invalid expire time in 'expire' command"},
        {"ttl k", "ttl k"},
        {"persist k", "persist k"},
        {"scan 5 match x* count 7 type string", "scan 5"},
        {"scan x", "-ERR invalid cursor"},
        {"dbsize", "size"},
        {"flushall sync", "flush"},
        {"get \"\"", "-ERR the key is empty, expected 1 to 8 bytes"},
        {"get 123456789", "-ERR the key is 9 bytes, at most 8 are allowed"},
        {"set k 123456789", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"},
        {"get", "-ERR wrong number of arguments for 'get' command"},
        {"client|id", "-ERR unknown command 'client|id', with args beginning with: "},
        {"client nope", "-ERR unknown subcommand 'nope'. Try CLIENT HELP."},
    };
    struct mf_resp_request request = {0};
    struct mf_resp_ask ask = {.key_bytes_max = 8, .value_bytes_max = 8};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char shown[256];
        read_line(&request, cases[i].request);
        ask.words = request.words;
        ask.count = request.word_count;
        bool fine = mf_resp_ask_find(&ask) && mf_resp_ask_take(&ask);
        show(&ask, fine, shown, sizeof(shown));
        if (strcmp(shown, cases[i].shown) != 0)
            fail_msg("%s: \"%s\" instead of \"%s\"", cases[i].request, shown, cases[i].shown);
        mf_resp_reset(&request);
    }
    mf_resp_ask_free(&ask);
    mf_resp_free(&request);
}

static void the_table_is_in_order_and_each_name_finds_its_row(void **state)
{
    (void)state;
    size_t count;
    const struct mf_resp_row *rows = mf_resp_rows(&count);
    for (size_t i = 0; i < count; i++) {
        const struct mf_resp_row *row = &rows[i];
        assert_true(i == 0 || strcmp(rows[i - 1].name, row->name) < 0);
        assert_ptr_equal(mf_resp_find_name(mf_bytes_str(row->name)), row);
        assert_true((row->own == MF_RESP_DATA) == (row->take != NULL));
        assert_true((row->first_key != 0) == (row->key_flags != NULL));
        char words[64];
        snprintf(words, sizeof(words), "%s", row->name);
        char *bar = strchr(words, '|');
        if (bar != NULL)
            *bar = '\0';
        struct mf_bytes found[2] = {mf_bytes_str(words),
                                    mf_bytes_str(bar != NULL ? bar + 1 : "none")};
        assert_ptr_equal(mf_resp_find(found, bar != NULL ? 2 : 1), row);
    }
    for (size_t len = 0; len < 4; len++)
        assert_null(mf_resp_find_name(mf_bytes_of("get\0", len == 3 ? 4 : len)));
}

// The row is the same whatever was asked for before, on the same connection.
static void a_command_is_found_whatever_came_before_it(void **state)
{
    (void)state;
    static const struct {
        const char *words[2];
        const char *row;
    } asked[] = {
        {{"get", "k"}, "get"},
        {{"GeT", "k"}, "get"},
        {{"getdel", "k"}, "getdel"},
        {{"ge", "k"}, NULL},
        {{"get", "k"}, "get"},
        {{"client", "id"}, "client|id"},
        {{"client", "list"}, "client|list"},
        {{"client|list", "x"}, NULL},
        {{"get", "k"}, "get"},
        {{"command", NULL}, "command"},
        {{"command", "count"}, "command|count"},
        {{"command", "nope"}, NULL},
    };
    struct mf_resp_ask ask = {0};
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        const char *second = asked[i].words[1];
        const struct mf_bytes words[2] = {mf_bytes_str(asked[i].words[0]),
                                          mf_bytes_str(second != NULL ? second : "")};
        ask.words = words;
        ask.count = second != NULL ? 2 : 1;
        assert_int_equal(mf_resp_ask_find(&ask), asked[i].row != NULL);
        if (asked[i].row != NULL)
            assert_string_equal(ask.row->name, asked[i].row);
    }
    mf_resp_ask_free(&ask);
}

// Results.

static void tells(const struct mf_buf *encoded, enum mf_resp_form form, unsigned version,
                  const char *expected)
{
    struct mf_reader reader = mf_reader_of(mf_buf_view(encoded));
    struct mf_result result;
    struct mf_buf out = {0};
    const struct mf_bytes getex = mf_bytes_str("getex");
    assert_int_equal(mf_result_decode(&reader, &result), MF_OK);
    mf_resp_tell(&out, (struct mf_resp_telling){mf_resp_find(&getex, 1), form, (uint8_t)version},
                 &result);
    mf_buf_u8(&out, '\0');
    assert_string_equal((const char *)out.data, expected);
    mf_buf_free(&out);
}

static void a_result_is_told_in_its_form(void **state)
{
    (void)state;
    static const struct {
        struct mf_result result;
        enum mf_resp_form form;
        const char *two;
        const char *three;
    } cases[] = {
        {{.kind = MF_RESULT_NIL}, MF_RESP_FORM_PLAIN, "$-1\r\n", "_\r\n"},
        {{.kind = MF_RESULT_NIL}, MF_RESP_FORM_INVALID_EXPIRE, "$-1\r\n", "_\r\n"},
        {{.kind = MF_RESULT_BOOL, .integer = 1}, MF_RESP_FORM_PLAIN, ":1\r\n", NULL},
        {{.kind = MF_RESULT_INT, .integer = -7}, MF_RESP_FORM_PLAIN, ":-7\r\n", NULL},
        {{.kind = MF_RESULT_INT, .integer = -2}, MF_RESP_FORM_SECONDS, ":-2\r\n", NULL},
        {{.kind = MF_RESULT_INT, .integer = 499}, MF_RESP_FORM_SECONDS, ":0\r\n", NULL},
        {{.kind = MF_RESULT_INT, .integer = 1500}, MF_RESP_FORM_SECONDS, ":2\r\n", NULL},
        {{.kind = MF_RESULT_INT, .integer = 9}, MF_RESP_FORM_OK, "+OK\r\n", NULL},
        {{.kind = MF_RESULT_BYTES, .value = {(const uint8_t *)"ab", 2}},
         MF_RESP_FORM_PLAIN,
         "$2\r\nab\r\n",
         NULL},
        {{.kind = MF_RESULT_BYTES},
         MF_RESP_FORM_INVALID_EXPIRE,
         "-ERR invalid expire time in 'getex' command\r\n",
         NULL},
        {{.kind = MF_RESULT_BYTES},
         MF_RESP_FORM_NOT_INTEGER,
         "-ERR value is not an integer or out of range\r\n",
         NULL},
        {{.kind = MF_RESULT_WRITTEN, .version = 5}, MF_RESP_FORM_WRITTEN, "+OK\r\n", NULL},
        {{.kind = MF_RESULT_WRITTEN}, MF_RESP_FORM_WRITTEN, "$-1\r\n", "_\r\n"},
        {{.kind = MF_RESULT_WRITTEN}, MF_RESP_FORM_WRITTEN_COUNT, ":0\r\n", NULL},
        {{.kind = MF_RESULT_WRITTEN, .version = 5}, MF_RESP_FORM_WRITTEN_COUNT, ":1\r\n", NULL},
        {{.kind = MF_RESULT_WRITTEN,
          .version = 5,
          .with_old = true,
          .has_old = true,
          .value = {(const uint8_t *)"o", 1}},
         MF_RESP_FORM_OLD,
         "$1\r\no\r\n",
         NULL},
        {{.kind = MF_RESULT_WRITTEN, .version = 5, .with_old = true},
         MF_RESP_FORM_OLD,
         "$-1\r\n",
         "_\r\n"},
        {{.kind = MF_RESULT_ERROR, .err = MF_OVERFLOW},
         MF_RESP_FORM_PLAIN,
         "-ERR increment or decrement would overflow\r\n",
         NULL},
        {{.kind = MF_RESULT_ERROR, .err = MF_NO_QUORUM},
         MF_RESP_FORM_OK,
         "-CLUSTERDOWN no majority of the shard's replicas answers; nothing happened\r\n",
         NULL},
        {{.kind = MF_RESULT_ERROR, .err = MF_BUSY},
         MF_RESP_FORM_PLAIN,
         "-BUSY the node is overloaded; nothing happened, try again\r\n",
         NULL},
        {{.kind = MF_RESULT_ERROR, .err = MF_OUT_OF_MEMORY},
         MF_RESP_FORM_PLAIN,
         "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
         NULL},
        {{.kind = MF_RESULT_ERROR, .err = MF_TOO_LARGE, .value = {(const uint8_t *)"big", 3}},
         MF_RESP_FORM_PLAIN,
         "-ERR big\r\n",
         NULL},
        {{.kind = MF_RESULT_ERROR, .err = MF_BAD_REQUEST},
         MF_RESP_FORM_SCAN,
         "-ERR invalid cursor\r\n",
         NULL},
        {{.kind = MF_RESULT_META, .version = 1},
         MF_RESP_FORM_PLAIN,
         "-ERR internal error\r\n",
         NULL},
        {{.kind = MF_RESULT_INT}, MF_RESP_FORM_TRUE_COUNT, "-ERR internal error\r\n", NULL},
        {{.kind = MF_RESULT_INT}, MF_RESP_FORM_SCAN, "-ERR internal error\r\n", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_buf encoded = {0};
        mf_result_encode(&cases[i].result, &encoded);
        tells(&encoded, cases[i].form, 2, cases[i].two);
        tells(&encoded, cases[i].form, 3, cases[i].three != NULL ? cases[i].three : cases[i].two);
        mf_buf_free(&encoded);
    }
}

static void lists_are_told_element_by_element(void **state)
{
    (void)state;
    struct mf_buf encoded = {0};
    size_t list = mf_result_list_begin(&encoded, 3);
    mf_result_bool(&encoded, true);
    mf_result_bool(&encoded, false);
    mf_result_bool(&encoded, true);
    mf_result_list_end(&encoded, list);
    tells(&encoded, MF_RESP_FORM_TRUE_COUNT, 2, ":2\r\n");
    tells(&encoded, MF_RESP_FORM_TYPE, 2, "+string\r\n");
    tells(&encoded, MF_RESP_FORM_PLAIN, 2, "*3\r\n:1\r\n:0\r\n:1\r\n");
    mf_buf_clear(&encoded, SIZE_MAX);

    size_t scan = mf_result_list_begin(&encoded, 2);
    mf_result_int(&encoded, 12);
    list = mf_result_list_begin(&encoded, 2);
    mf_result_bytes(&encoded, mf_bytes_str("a"));
    mf_result_nil(&encoded);
    mf_result_list_end(&encoded, list);
    mf_result_list_end(&encoded, scan);
    tells(&encoded, MF_RESP_FORM_SCAN, 3, "*2\r\n$2\r\n12\r\n*2\r\n$1\r\na\r\n_\r\n");
    tells(&encoded, MF_RESP_FORM_SCAN_NONE, 3, "*2\r\n$2\r\n12\r\n*0\r\n");
    mf_buf_clear(&encoded, SIZE_MAX);

    list = mf_result_list_begin(&encoded, 2); // that ends too early
    mf_result_int(&encoded, 1);
    mf_result_list_end(&encoded, list);
    tells(&encoded, MF_RESP_FORM_PLAIN, 2, "-ERR internal error\r\n");
    tells(&encoded, MF_RESP_FORM_TRUE_COUNT, 2, "-ERR internal error\r\n");
    mf_buf_free(&encoded);
}

// Every reply about the table is one whole reply of its version: as many elements as it says.
static size_t reply_bytes(const char *at)
{
    size_t len = strcspn(at, "\n") + 1;
    long count = strtol(at + 1, NULL, 10);
    assert_true(at[len - 2] == '\r');
    if (*at == '$' || *at == '=')
        return count < 0 ? len : len + (size_t)count + 2;
    if (strchr("*~%>", *at) == NULL)
        return len;
    for (long i = 0; i < (*at == '%' ? 2 * count : count); i++)
        len += reply_bytes(at + len);
    return len;
}

static void what_the_table_tells_is_whole(void **state)
{
    (void)state;
    static const char *const requests[] = {"command",
                                           "command count",
                                           "command info",
                                           "command info get set nope client",
                                           "command docs",
                                           "command docs get client",
                                           "command list",
                                           "command list filterby aclcat write",
                                           "command list filterby pattern *set*",
                                           "command list filterby module x",
                                           "command list filterby x y",
                                           "command getkeys mset a 1 b 2",
                                           "command getkeysandflags set a b get",
                                           "command getkeys nope x",
                                           "command getkeys echo x",
                                           "command getkeys get a b"};
    struct mf_resp_request request = {0};
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        for (unsigned version = 2; version <= 3; version++) {
            struct mf_buf out = {0};
            read_line(&request, requests[i]);
            const struct mf_resp_row *row = mf_resp_find(request.words, request.word_count);
            mf_resp_command_answer(&out, version, row, request.words, request.word_count);
            size_t len = out.len;
            mf_buf_u8(&out, '\0');
            assert_int_equal(reply_bytes((const char *)out.data), len);
            mf_buf_free(&out);
            mf_resp_reset(&request);
        }
    }
    mf_resp_free(&request);
    struct mf_buf help = {0};
    mf_resp_help_answer(&help, mf_resp_find_name(mf_bytes_str("client|help")));
    size_t len = help.len;
    mf_buf_u8(&help, '\0');
    assert_int_equal(reply_bytes((const char *)help.data), len);
    assert_non_null(strstr((const char *)help.data, "+NO-TOUCH\r\n+    Accepted"));
    mf_buf_free(&help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_become_commands_or_errors),
        cmocka_unit_test(the_table_is_in_order_and_each_name_finds_its_row),
        cmocka_unit_test(a_command_is_found_whatever_came_before_it),
        cmocka_unit_test(a_result_is_told_in_its_form),
        cmocka_unit_test(lists_are_told_element_by_element),
        cmocka_unit_test(what_the_table_tells_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
