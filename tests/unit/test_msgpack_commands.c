// What MessagePack-RPC makes of the commands that take another form by what they ask for, and of
// the limits that it gives them. Every refusal of theirs is in tests/e2e/test_commands.py.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/command_table.h"
#include "base/txn.h"
#include "rpc/msgpack_rpc.h"
#include "tests/unit/msgpack_text.h"

static const struct mf_rpc_limits limits = {
    .key_bytes_max = 8, .value_bytes_max = 12, .answer_bytes_max = 500};

struct parsed {
    struct mf_rpc_request request;
    msgpack_sbuffer packed;
};

static void parse(struct parsed *parsed, const char *method_and_params)
{
    char text[512];
    msgpack_sbuffer_destroy(&parsed->packed);
    msgpack_sbuffer_init(&parsed->packed);
    snprintf(text, sizeof(text), "[0 7 %s]", method_and_params);
    assert_string_equal(skip_spaces(pack_text(text, &parsed->packed)), "");
    mf_rpc_parse(mf_bytes_of(parsed->packed.data, parsed->packed.size), &limits, &parsed->request);
}

static const struct mf_command *take(struct parsed *parsed, const char *method_and_params)
{
    parse(parsed, method_and_params);
    assert_string_equal(parsed->request.message, "");
    assert_int_equal(parsed->request.method, MF_METHOD_COMMAND);
    return &parsed->request.command;
}

static void free_parsed(struct parsed *parsed)
{
    mf_rpc_request_free(&parsed->request);
    msgpack_sbuffer_destroy(&parsed->packed);
}

static void what_changes_nothing_is_a_read(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        enum mf_opcode op;
    } cases[] = {
        {"\"getex\" [\"k\"]", MF_OP_GET},
        {"\"getex\" [\"k\" {}]", MF_OP_GET},
        {"\"getex\" [\"k\" {\"persist\" false \"ttl\" false}]", MF_OP_GET},
        {"\"getex\" [\"k\" {\"ttl\" 1}]", MF_OP_GETEX},
        {"\"getex\" [\"k\" {\"persist\" true}]", MF_OP_GETEX},
        {"\"getex\" [\"k\" {\"id\" \"i\"}]", MF_OP_GETEX},
        {"\"txn\" [{\"if\" [] \"then\" []}]", MF_OP_TXN_READ},
        {"\"txn\" [{\"if\" [] \"then\" [] \"else\" []}]", MF_OP_TXN_READ},
        {"\"txn\" [{\"if\" [] \"then\" [[\"getex\" \"k\"]]}]", MF_OP_TXN_READ},
        {"\"txn\" [{\"if\" [] \"then\" [[\"get\" \"k\"] [\"mget\" [\"k\"]]] "
         "\"else\" [[\"ttl\" \"k\"] [\"has\" [\"k\"]]]}]",
         MF_OP_TXN_READ},
        {"\"txn\" [{\"if\" [] \"then\" [] \"else\" [[\"getdel\" \"k\"]]}]", MF_OP_TXN},
        {"\"txn\" [{\"if\" [] \"then\" []} {\"id\" \"i\"}]", MF_OP_TXN},
    };
    struct parsed parsed = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct mf_command *command = take(&parsed, cases[i].request);
        if (command->op != cases[i].op)
            fail_msg("%s became op %d", cases[i].request, (int)command->op);
    }
    free_parsed(&parsed);
}

static void limits_go_with_the_command(void **state)
{
    (void)state;
    struct parsed parsed = {0};
    assert_int_equal(take(&parsed, "\"append\" [\"k\" \"v\"]")->limit, 12);
    const struct mf_command *incr = take(&parsed, "\"incr\" [\"k\" -3]");
    assert_int_equal(incr->limit, 12);
    assert_int_equal((int64_t)incr->number, -3);
    const struct mf_command *txn =
        take(&parsed, "\"txn\" [{\"then\" [[\"append\" \"k\" \"v\"]] \"if\" []}]");
    assert_int_equal(txn->limit, 500);
    struct mf_txn_reader reader;
    struct mf_command inner;
    assert_int_equal(mf_txn_open(&reader, txn->body, MF_TXN_THEN), MF_OK);
    assert_int_equal(mf_txn_next_command(&reader, &inner), MF_OK);
    assert_int_equal(inner.limit, 12);
    mf_txn_close(&reader);
    free_parsed(&parsed);
}

static void a_scan_has_a_count_and_a_pattern_when_it_is_not_told(void **state)
{
    (void)state;
    struct parsed parsed = {0};
    const struct mf_command *scan = take(&parsed, "\"scan\" [5]");
    assert_true(scan->number == 5 && scan->limit == 10);
    assert_true(mf_bytes_equal(scan->body, mf_bytes_str("*")));
    scan = take(&parsed, "\"scan\" [0 {\"count\" 18446744073709551615 \"match\" \"\"}]");
    assert_true(scan->limit == UINT32_MAX && scan->body.len == 0);
    free_parsed(&parsed);
}

// The parts of a txn may come in any order; in the body they have one.
static void a_txn_keeps_its_parts_apart(void **state)
{
    (void)state;
    struct parsed parsed = {0};
    const struct mf_command *txn = take(
        &parsed, "\"txn\" [{\"else\" [[\"get\" \"c\" {\"read\" \"local\"}]] "
                 "\"then\" [[\"set\" \"b\" \"v\" {\"ttl\" 5}] [\"mset\" [[\"x\" \"1\"] [\"y\" "
                 "\"2\"]]]] \"if\" [[\"a\" \"version\" \">\" 7] [\"a\" \"value\" \"!=\" \"w\"]]}]");
    struct mf_txn_reader reader;
    struct mf_condition condition;
    struct mf_command inner;
    assert_int_equal(mf_txn_open(&reader, txn->body, MF_TXN_IF), MF_OK);
    assert_int_equal(mf_txn_next_condition(&reader, &condition), MF_OK);
    assert_true(condition.subject == MF_SUBJECT_VERSION && condition.relation == MF_GREATER);
    assert_true(condition.number == 7 && mf_bytes_equal(condition.key, mf_bytes_str("a")));
    assert_int_equal(mf_txn_next_condition(&reader, &condition), MF_OK);
    assert_true(mf_bytes_equal(condition.value, mf_bytes_str("w")));
    assert_int_equal(mf_txn_next_condition(&reader, &condition), MF_NOT_FOUND);
    mf_txn_close(&reader);
    assert_int_equal(mf_txn_open(&reader, txn->body, MF_TXN_THEN), MF_OK);
    assert_int_equal(mf_txn_next_command(&reader, &inner), MF_OK);
    assert_true(inner.op == MF_OP_SET && inner.expire_us == 5000);
    assert_int_equal(mf_txn_next_command(&reader, &inner), MF_OK);
    assert_true(inner.op == MF_OP_MSET && inner.item_count == 2);
    assert_true(mf_bytes_equal(inner.items[1].value, mf_bytes_str("2")));
    assert_int_equal(mf_txn_next_command(&reader, &inner), MF_NOT_FOUND);
    mf_txn_close(&reader);
    assert_int_equal(mf_txn_open(&reader, txn->body, MF_TXN_ELSE), MF_OK);
    assert_int_equal(mf_txn_next_command(&reader, &inner), MF_OK);
    assert_true(inner.op == MF_OP_GET && inner.flags == 0);
    mf_txn_close(&reader);
    // The next request on the connection does not see this one's.
    take(&parsed, "\"txn\" [{\"if\" [] \"then\" []}]");
    assert_int_equal(mf_txn_open(&reader, parsed.request.command.body, MF_TXN_THEN), MF_OK);
    assert_int_equal(mf_txn_next_command(&reader, &inner), MF_NOT_FOUND);
    mf_txn_close(&reader);
    free_parsed(&parsed);
}

static void refusals_name_what_stands_in_the_txn(void **state)
{
    (void)state;
    static const struct {
        const char *params;
        const char *message;
    } cases[] = {
        {"[{\"if\" [] \"then\" [[\"set\" \"k\"]]}]",
         "set: 1 parameter, expected 2 (key, value) and at most a map of options"},
        {"[{\"if\" [] \"then\" [[\"get\" \"k\" {\"id\" \"i\"}]]}]",
         "get: unknown option \"id\", expected one of read, meta"},
        {"[{\"if\" [] \"then\" [[\"set\" \"k\" \"v\" {\"id\" \"i\"}]]}]",
         "set: unknown option \"id\", expected one of ttl, expire_at, nx, xx, if_version, "
         "keep_ttl, get"},
        {"[{\"if\" [] \"then\" [[\"flush\"]]}]",
         "txn: method flush inside, expected one that reads or writes keys"},
        {"[{\"if\" [] \"then\" [[\"nope\"]]}]", "unknown method \"nope\""},
        {"[{\"if\" [] \"than\" []}]",
         "txn: \"than\" in the map, expected if, then and else, each at most once"},
        {"[{\"then\" []}]", "txn: no if in the map, expected if and then"},
        {"[{\"if\" [[\"k\" \"exists\" \">\" true]] \"then\" []}]",
         "txn: the comparison of exists is 1 byte, expected \"=\" or \"!=\""},
        {"[{\"if\" [[\"k\"*9 \"exists\" \"=\" true]] \"then\" []}]",
         "txn: the key is 9 bytes, at most 8 are allowed"},
        {"[{\"if\" [] \"then\" []} {\"ttl\" 5}]",
         "txn: unknown option \"ttl\", expected one of id"},
    };
    struct parsed parsed = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char request[400];
        snprintf(request, sizeof(request), "\"txn\" %s", cases[i].params);
        parse(&parsed, request);
        assert_true(parsed.request.err != MF_OK && !parsed.request.fatal);
        assert_string_equal(parsed.request.message, cases[i].message);
    }
    free_parsed(&parsed);
}

// The table and the parser know the same commands.
static void every_command_that_has_a_name_can_be_asked_for(void **state)
{
    (void)state;
    struct parsed parsed = {0};
    unsigned asked = 0;
    for (unsigned op = 0; op < 128; op++) {
        const struct mf_command_row *row = mf_command_row(op);
        if (row == NULL || (row->traits & MF_HIDDEN) != 0)
            continue;
        char request[64];
        snprintf(request, sizeof(request), "\"%s\" [1 2 3 4 5]", row->name);
        parse(&parsed, request);
        assert_int_equal(parsed.request.err, MF_BAD_REQUEST);
        assert_non_null(strstr(parsed.request.message, "5 parameters, expected"));
        asked++;
    }
    assert_int_equal(asked, 17);
    free_parsed(&parsed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_changes_nothing_is_a_read),
        cmocka_unit_test(limits_go_with_the_command),
        cmocka_unit_test(a_scan_has_a_count_and_a_pattern_when_it_is_not_told),
        cmocka_unit_test(a_txn_keeps_its_parts_apart),
        cmocka_unit_test(refusals_name_what_stands_in_the_txn),
        cmocka_unit_test(every_command_that_has_a_name_can_be_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
