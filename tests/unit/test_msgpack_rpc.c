// Requests in, parsed commands out.
//
// Requests are written as text (msgpack_text.h) and packed by msgpack-c, the codec most clients
// use. What the parser made of one is shown as text again, so each case is one line of a table.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <inttypes.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/msgpack_rpc.h"
#include "rpc/msgpack_scan.h"
#include "tests/unit/msgpack_show.h"
#include "tests/unit/msgpack_text.h"

static const struct mf_rpc_limits limits = {.key_bytes_max = 8, .value_bytes_max = 12};

// Parses from an allocation of the exact size; the caller frees *message after use of the views.
static void parse_bytes(struct mf_bytes bytes, struct mf_rpc_request *request, uint8_t **message)
{
    struct mf_msgpack_scan scan = {0};
    size_t size = 0;
    assert_int_equal(mf_msgpack_scan(&scan, bytes, SIZE_MAX, &size), MF_OK);
    assert_int_equal(size, bytes.len);
    *message = malloc(bytes.len);
    memcpy(*message, bytes.data, bytes.len);
    mf_rpc_parse(mf_bytes_of(*message, bytes.len), &limits, request);
}

static void parse(const char *text, struct mf_rpc_request *request, uint8_t **message)
{
    msgpack_sbuffer packed;
    msgpack_sbuffer_init(&packed);
    assert_string_equal(skip_spaces(pack_text(text, &packed)), "");
    parse_bytes(mf_bytes_of(packed.data, packed.size), request, message);
    msgpack_sbuffer_destroy(&packed);
}

struct expectation {
    const char *request;
    const char *shown;
};

static void check(const struct expectation *cases, size_t count)
{
    struct mf_rpc_request request = {0}; // reused, as a connection does
    for (size_t i = 0; i < count; i++) {
        char text[256];
        char shown[512];
        uint8_t *message;
        snprintf(text, sizeof(text), "[0 7 %s]", cases[i].request);
        parse(text, &request, &message);
        show(&request, shown, sizeof(shown));
        if (strcmp(shown, cases[i].shown) != 0)
            print_error("%s\n", text);
        assert_string_equal(shown, cases[i].shown);
        assert_false(request.fatal);
        assert_false(request.notification);
        assert_true(request.has_msgid);
        assert_int_equal(request.msgid, 7);
        free(message);
    }
    mf_rpc_request_free(&request);
}

#define CHECK(cases) check(cases, sizeof(cases) / sizeof(*(cases)))

static void every_method_with_every_option_is_understood(void **state)
{
    (void)state;
    static const struct expectation cases[] = {
        {"\"ping\" []", "ping"},
        {"\"ping\" [{}]", "ping"},
        {"\"hello\" []", "hello"},
        {"\"hello\" [{}]", "hello"},
        {"\"hello\" [{\"client\" \"py\" \"user\" \"u\" \"password\" b\"p\" \"session\" b\"s\"*16}]",
         "hello user=u password=p"},
        {"\"get\" [\"k\"]", "get k"},
        {"\"get\" [b\"k\" {}]", "get k"},
        {"\"get\" [\"k\" {\"meta\" true \"read\" \"local\"}]", "get k meta local"},
        {"\"get\" [\"k\" {\"read\" \"linearizable\"}]", "get k"},
        {"\"set\" [\"k\" \"v\"]", "set k=v"},
        {"\"set\" [\"k\" b\"\"]", "set k="},
        {"\"set\" [\"k\" b\"v\" {\"ttl\" 1000 \"nx\" true \"id\" \"once\"}]",
         "set k=v nx in:1000000us id=once"},
        {"\"set\" [\"k\" \"v\" {\"xx\" true \"get\" true \"keep_ttl\" true \"if_version\" 9}]",
         "set k=v xx keep_ttl with_old if_version:9"},
        {"\"set\" [\"k\" \"v\" {\"expire_at\" 1700000000000}]", "set k=v at:1700000000000000us"},
        {"\"del\" [[\"a\" b\"b\" \"a\"] {\"id\" b\"i\"}]", "del a b a id=i"},
        {"\"del\" [[\"a\"] {\"if_version\" 0}]", "del a if_version:0"},
        {"\"del\" [[]]", "del"},
        {"\"has\" [[\"a\" \"b\"]]", "has a b"},
        {"\"has\" [[] {}]", "has"},
        {"\"expire\" [\"k\" 10 {\"xx\" true \"gt\" true \"id\" \"i\"}]",
         "expire k xx gt in:10000us id=i"},
        {"\"expire\" [\"k\" 10 {\"nx\" true}]", "expire k nx in:10000us"},
        {"\"expire\" [\"k\" 10 {\"lt\" true}]", "expire k lt in:10000us"},
        {"\"persist\" [\"k\" {\"id\" \"i\"}]", "persist k id=i"},
        {"\"ttl\" [\"k\"]", "ttl k"},
        {"\"ttl\" [\"k\" {}]", "ttl k"},
        {"\"mget\" [[\"a\" \"b\"] {\"read\" \"local\"}]", "mget a b local"},
        {"\"mget\" [[]]", "mget"},
        {"\"mset\" [[[\"a\" \"1\"] [\"b\" \"2\"] [\"a\" \"3\"]] {\"ttl\" 5 \"id\" \"i\"}]",
         "mset a=1 b=2 a=3 in:5000us id=i"},
        {"\"mset\" [[]]", "mset"},
        {"\"size\" []", "size"},
        {"\"flush\" [{\"id\" \"i\"}]", "flush id=i"},
        {"\"cluster\" []", "cluster"},
        {"\"stats\" [{}]", "stats"},
        {"\"snapshot\" [\"nightly-1.2_B\"]", "snapshot name=nightly-1.2_B"},
        {"\"snapshot_read\" [\"a\" 18446744073709551615]",
         "snapshot_read name=a offset=18446744073709551615"},
        {"\"snapshot_remove\" [\"a\" {}]", "snapshot_remove name=a"},
        {"\"transfer\" [1023 3]", "transfer shard=1023 node=3"},
        {"\"transfer\" [4294967295 0 {}]", "transfer shard=4294967295 node=0"},
        {"\"drain_node\" [2]", "drain_node node=2"},
        {"\"add_node\" [4 \"127.0.0.1:7400\"]", "add_node name=127.0.0.1:7400 node=4"},
        {"\"add_node\" [0 \"\" {}]", "add_node node=0"},
        {"\"remove_node\" [4]", "remove_node node=4"},
        {"\"drain_node\" [2 {\"undo\" false}]", "drain_node node=2"},
        {"\"drain_node\" [2 {\"undo\" true}]", "drain_node node=2 undo"},
        {"\"watch\" [{\"key\" \"k\"}]", "watch key k events=f"},
        {"\"watch\" [{\"prefix\" b\"p\" \"key\" false \"events\" [\"del\" b\"expire\"]}]",
         "watch prefix p events=6"},
        {"\"watch\" [{\"prefix\" \"\" \"from_version\" {3 7 0 18446744073709551615}}]",
         "watch prefix  events=f from[3]=7 from[0]=18446744073709551615"},
        {"\"watch\" [{\"key\" \"k\" \"from_version\" 5 \"events\" [\"set\" \"evict\" \"set\"]}]",
         "watch key k events=9 from=5"},
        {"\"watch\" [{\"key\" \"k\" \"events\" false \"from_version\" false}]",
         "watch key k events=f"},
        {"\"unwatch\" [4294967296]", "unwatch id=4294967296"},
    };
    CHECK(cases);
}

static void an_option_given_as_false_counts_as_absent(void **state)
{
    (void)state;
    static const struct expectation cases[] = {
        {"\"set\" [\"k\" \"v\" {\"nx\" false \"xx\" true}]", "set k=v xx"},
        {"\"set\" [\"k\" \"v\" {\"ttl\" false \"keep_ttl\" true}]", "set k=v keep_ttl"},
        {"\"set\" [\"k\" \"v\" {\"expire_at\" false \"if_version\" false \"id\" false}]",
         "set k=v"},
        {"\"get\" [\"k\" {\"meta\" false \"read\" false}]", "get k"},
        {"\"expire\" [\"k\" 1 {\"gt\" false \"lt\" true \"nx\" false}]", "expire k lt in:1000us"},
        {"\"del\" [[\"a\" \"b\"] {\"if_version\" false}]", "del a b"},
        {"\"hello\" [{\"user\" false \"session\" false}]", "hello"},
    };
    CHECK(cases);
}

static void a_watch_is_for_one_key_or_one_prefix(void **state)
{
    (void)state;
    static const struct expectation cases[] = {
        {"\"watch\" []",
         "BAD_REQUEST: watch: no key and no prefix, expected exactly one of key, prefix"},
        {"\"watch\" [{\"key\" \"k\" \"prefix\" \"k\"}]",
         "BAD_REQUEST: watch: key and prefix, expected exactly one of key, prefix"},
        {"\"watch\" [{\"key\" \"\"}]", "BAD_REQUEST: watch: the key is empty"},
        {"\"watch\" [{\"key\" \"123456789\"}]", "TOO_LARGE: watch: the key has 9 bytes, at most 8"},
        {"\"watch\" [{\"prefix\" \"123456789\"}]",
         "TOO_LARGE: watch: the prefix has 9 bytes, at most 8"},
        {"\"watch\" [{\"key\" \"k\" \"events\" []}]",
         "BAD_REQUEST: watch: option events is an array of 0, expected an array of set, del, "
         "expire, "
         "evict"},
        {"\"watch\" [{\"key\" \"k\" \"events\" [\"gone\"]}]",
         "BAD_REQUEST: watch: option events is an array of 1, expected an array of set, del, "
         "expire, "
         "evict"},
        {"\"watch\" [{\"key\" \"k\" \"from_version\" -1}]",
         "BAD_REQUEST: watch: option from_version is -1, "
         "expected a version, or a map of shard to version"},
        {"\"watch\" [{\"key\" \"k\" \"from_version\" {\"a\" 1}}]",
         "BAD_REQUEST: watch: option from_version is a map of 1, "
         "expected a version, or a map of shard to version"},
        {"\"watch\" [{\"key\" \"k\"} 1]",
         "BAD_REQUEST: watch: 2 parameters, expected 0 (none) and at most a map of options"},
        {"\"watch\" [{\"ttl\" 1}]", "BAD_REQUEST: watch: unknown option \"ttl\", expected one of "
                                    "key, prefix, events, from_version, progress"},
        {"\"watch\" [{\"key\" \"k\" \"progress\" 1}]",
         "BAD_REQUEST: watch: option progress is 1, expected a boolean"},
        {"\"unwatch\" [\"x\"]",
         "BAD_REQUEST: unwatch: the watch id is 1 byte, expected an unsigned integer"},
    };
    CHECK(cases);
}

static void hot_keys_are_counted_from_one(void **state)
{
    (void)state;
    static const struct expectation cases[] = {
        {"\"hotkeys\" [{\"count\" 0}]",
         "BAD_REQUEST: hotkeys: option count is 0, expected an integer from 1 on"},
        {"\"hotkeys\" [{\"match\" \"*\"}]",
         "BAD_REQUEST: hotkeys: unknown option \"match\", expected one of count"},
        {"\"hotkeys\" [7]",
         "BAD_REQUEST: hotkeys: the last parameter is 7, expected a map of options"},
    };
    CHECK(cases);
}

static void integers_may_come_in_any_width(void **state)
{
    (void)state;
    static const struct expectation cases[] = {
        {"\"set\" [\"k\" \"v\" {\"ttl\" u64:5}]", "set k=v in:5000us"},
        {"\"set\" [\"k\" \"v\" {\"ttl\" u8:5}]", "set k=v in:5000us"},
        {"\"set\" [\"k\" \"v\" {\"ttl\" i64:5}]", "set k=v in:5000us"},
        {"\"set\" [\"k\" \"v\" {\"if_version\" 18446744073709551615}]",
         "set k=v if_version:18446744073709551615"},
        {"\"expire\" [\"k\" i64:-5]", "expire k in:0us"},
    };
    CHECK(cases);
}

static void times_are_taken_to_their_bounds_and_not_beyond(void **state)
{
    (void)state;
    static const struct expectation cases[] = {
        {"\"set\" [\"k\" \"v\" {\"ttl\" 1}]", "set k=v in:1000us"},
        {"\"set\" [\"k\" \"v\" {\"ttl\" 9007199254740991}]", "set k=v in:9007199254740991000us"},
        {"\"set\" [\"k\" \"v\" {\"ttl\" 9007199254740992}]",
         "BAD_REQUEST: set: option ttl is 9007199254740992, "
         "expected an integer of milliseconds from 1 to 9007199254740991"},
        {"\"set\" [\"k\" \"v\" {\"ttl\" 0}]",
         "BAD_REQUEST: set: option ttl is 0, "
         "expected an integer of milliseconds from 1 to 9007199254740991"},
        {"\"mset\" [[] {\"ttl\" -1}]",
         "BAD_REQUEST: mset: option ttl is -1, "
         "expected an integer of milliseconds from 1 to 9007199254740991"},
        {"\"set\" [\"k\" \"v\" {\"ttl\" 18446744073709551615}]",
         "BAD_REQUEST: set: option ttl is 18446744073709551615, "
         "expected an integer of milliseconds from 1 to 9007199254740991"},
        {"\"expire\" [\"k\" 9007199254740991]", "expire k in:9007199254740991000us"},
        {"\"expire\" [\"k\" 9007199254740992]",
         "BAD_REQUEST: expire: the ttl is 9007199254740992, "
         "expected an integer of milliseconds up to 9007199254740991"},
        {"\"expire\" [\"k\" 0]", "expire k in:0us"},
        {"\"expire\" [\"k\" -9223372036854775808]", "expire k in:0us"},
        {"\"set\" [\"k\" \"v\" {\"expire_at\" 9007199254740991}]",
         "set k=v at:9007199254740991000us"},
        {"\"set\" [\"k\" \"v\" {\"expire_at\" 9007199254740992}]",
         "BAD_REQUEST: set: option expire_at is 9007199254740992, "
         "expected Unix time as an integer of milliseconds, below 2^53"},
        {"\"set\" [\"k\" \"v\" {\"expire_at\" 0}]", "set k=v at:0us"},
        {"\"set\" [\"k\" \"v\" {\"expire_at\" -5}]", "set k=v at:0us"},
        {"\"set\" [\"k\" \"v\" {\"expire_at\" -9223372036854775808}]", "set k=v at:0us"},
    };
    CHECK(cases);
}

static void options_that_contradict_each_other_are_refused(void **state)
{
    (void)state;
    static const struct expectation cases[] = {
        {"\"set\" [\"k\" \"v\" {\"nx\" true \"xx\" true}]",
         "BAD_REQUEST: set: options nx and xx contradict each other, expected at most one"},
        {"\"set\" [\"k\" \"v\" {\"ttl\" 1 \"expire_at\" 1}]",
         "BAD_REQUEST: set: options ttl and expire_at contradict each other, expected at most one"},
        {"\"set\" [\"k\" \"v\" {\"keep_ttl\" true \"ttl\" 1}]",
         "BAD_REQUEST: set: options ttl and keep_ttl contradict each other, expected at most one"},
        {"\"set\" [\"k\" \"v\" {\"expire_at\" 1 \"keep_ttl\" true}]",
         "BAD_REQUEST: set: options expire_at and keep_ttl contradict each other, expected at most "
         "one"},
        {"\"expire\" [\"k\" 1 {\"nx\" true \"xx\" true}]",
         "BAD_REQUEST: expire: options nx and xx contradict each other, expected at most one"},
        {"\"expire\" [\"k\" 1 {\"nx\" true \"gt\" true}]",
         "BAD_REQUEST: expire: options nx and gt contradict each other, expected at most one"},
        {"\"expire\" [\"k\" 1 {\"nx\" true \"lt\" true}]",
         "BAD_REQUEST: expire: options nx and lt contradict each other, expected at most one"},
        {"\"expire\" [\"k\" 1 {\"lt\" true \"gt\" true}]",
         "BAD_REQUEST: expire: options gt and lt contradict each other, expected at most one"},
        {"\"del\" [[\"a\" \"b\"] {\"if_version\" 1}]",
         "BAD_REQUEST: del: option if_version with 2 keys, expected one key"},
        {"\"del\" [[] {\"if_version\" 1}]",
         "BAD_REQUEST: del: option if_version with 0 keys, expected one key"},
    };
    CHECK(cases);
}

static void unknown_and_repeated_options_are_refused(void **state)
{
    (void)state;
    static const struct expectation cases[] = {
        {"\"get\" [\"k\" {\"ttl\" 1}]",
         "BAD_REQUEST: get: unknown option \"ttl\", expected one of read, meta"},
        {"\"get\" [\"k\" {\"Meta\" true}]",
         "BAD_REQUEST: get: unknown option \"Meta\", expected one of read, meta"},
        {"\"has\" [[\"k\"] {\"read\" \"local\"}]",
         "BAD_REQUEST: has: unknown option \"read\", expected none"},
        {"\"ttl\" [\"k\" {\"id\" \"i\"}]",
         "BAD_REQUEST: ttl: unknown option \"id\", expected none"},
        {"\"ping\" [{\"x\" 1}]", "BAD_REQUEST: ping: unknown option \"x\", expected none"},
        {"\"set\" [\"k\" \"v\" {\"gt\" false}]",
         "BAD_REQUEST: set: unknown option \"gt\", expected one of "
         "ttl, expire_at, nx, xx, if_version, keep_ttl, get, id"},
        {"\"mset\" [[] {\"nx\" true}]",
         "BAD_REQUEST: mset: unknown option \"nx\", expected one of ttl, id"},
        {"\"flush\" [{\"a\\\x01\xc3\xa9\" true}]",
         "BAD_REQUEST: flush: unknown option \"a\\x5c\\x01\\xc3\\xa9\", expected one of id"},
        {"\"flush\" [{\"y\"*200 true}]",
         "BAD_REQUEST: flush: unknown option \"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy...\", "
         "expected one of id"},
        {"\"set\" [\"k\" \"v\" {\"nx\" true \"nx\" true}]",
         "BAD_REQUEST: set: option nx is given twice"},
        {"\"set\" [\"k\" \"v\" {\"ttl\" false \"ttl\" 1}]",
         "BAD_REQUEST: set: option ttl is given twice"},
        {"\"get\" [\"k\" {1 true}]", "BAD_REQUEST: get: an option's name is 1, expected a string"},
        {"\"get\" [\"k\" {nil true}]",
         "BAD_REQUEST: get: an option's name is nil, expected a string"},
        {"\"get\" [\"k\" {b\"meta\" true}]",
         "BAD_REQUEST: get: an option's name is 4 bytes, expected a string"},
    };
    CHECK(cases);
}

static void options_of_the_wrong_type_or_range_are_refused(void **state)
{
    (void)state;
    static const struct expectation cases[] = {
        {"\"get\" [\"k\" {\"meta\" 1}]", "BAD_REQUEST: get: option meta is 1, expected a boolean"},
        {"\"get\" [\"k\" {\"meta\" nil}]",
         "BAD_REQUEST: get: option meta is nil, expected a boolean"},
        {"\"get\" [\"k\" {\"read\" \"stale\"}]",
         "BAD_REQUEST: get: option read is 5 bytes, expected \"linearizable\" or \"local\""},
        {"\"get\" [\"k\" {\"read\" true}]",
         "BAD_REQUEST: get: option read is true, expected \"linearizable\" or \"local\""},
        {"\"set\" [\"k\" \"v\" {\"ttl\" 1.0}]",
         "BAD_REQUEST: set: option ttl is a float, "
         "expected an integer of milliseconds from 1 to 9007199254740991"},
        {"\"set\" [\"k\" \"v\" {\"ttl\" \"1\"}]",
         "BAD_REQUEST: set: option ttl is 1 byte, "
         "expected an integer of milliseconds from 1 to 9007199254740991"},
        {"\"set\" [\"k\" \"v\" {\"ttl\" true}]",
         "BAD_REQUEST: set: option ttl is true, "
         "expected an integer of milliseconds from 1 to 9007199254740991"},
        {"\"set\" [\"k\" \"v\" {\"expire_at\" 1.5}]",
         "BAD_REQUEST: set: option expire_at is a float, "
         "expected Unix time as an integer of milliseconds, below 2^53"},
        {"\"set\" [\"k\" \"v\" {\"if_version\" -1}]",
         "BAD_REQUEST: set: option if_version is -1, expected an unsigned integer of 64 bits"},
        {"\"set\" [\"k\" \"v\" {\"if_version\" 2.0}]",
         "BAD_REQUEST: set: option if_version is a float, "
         "expected an unsigned integer of 64 bits"},
        {"\"set\" [\"k\" \"v\" {\"id\" \"\"}]",
         "BAD_REQUEST: set: option id is 0 bytes, expected 1 to 64 bytes"},
        {"\"set\" [\"k\" \"v\" {\"id\" b\"i\"*65}]",
         "BAD_REQUEST: set: option id is 65 bytes, expected 1 to 64 bytes"},
        {"\"set\" [\"k\" \"v\" {\"id\" 7}]",
         "BAD_REQUEST: set: option id is 7, expected 1 to 64 bytes"},
        {"\"set\" [\"k\" \"v\" {\"nx\" [true]}]",
         "BAD_REQUEST: set: option nx is an array of 1, expected a boolean"},
        {"\"expire\" [\"k\" 1 {\"gt\" {}}]",
         "BAD_REQUEST: expire: option gt is a map of 0, expected a boolean"},
        {"\"hello\" [{\"session\" b\"s\"*15}]",
         "BAD_REQUEST: hello: option session is 15 bytes, expected 16 bytes"},
        {"\"hello\" [{\"user\" 1}]", "BAD_REQUEST: hello: option user is 1, expected a string"},
        {"\"hello\" [{\"password\" nil}]",
         "BAD_REQUEST: hello: option password is nil, expected a string"},
        {"\"hello\" [{\"client\" []}]",
         "BAD_REQUEST: hello: option client is an array of 0, expected a string"},
    };
    CHECK(cases);
}

static void missing_and_surplus_parameters_are_refused(void **state)
{
    (void)state;
    static const struct expectation cases[] = {
        {"\"get\" []",
         "BAD_REQUEST: get: 0 parameters, expected 1 (key) and at most a map of options"},
        {"\"set\" [\"k\"]",
         "BAD_REQUEST: set: 1 parameter, expected 2 (key, value) and at most a map of options"},
        {"\"get\" [\"k\" {} {}]",
         "BAD_REQUEST: get: 3 parameters, expected 1 (key) and at most a map of options"},
        {"\"get\" [\"k\" \"k2\"]",
         "BAD_REQUEST: get: the last parameter is 2 bytes, expected a map of options"},
        {"\"ping\" [1]", "BAD_REQUEST: ping: the last parameter is 1, expected a map of options"},
        {"\"ping\" [1 2]",
         "BAD_REQUEST: ping: 2 parameters, expected 0 (none) and at most a map of options"},
        {"\"del\" [\"a\" \"b\" \"c\"]",
         "BAD_REQUEST: del: 3 parameters, expected 1 (keys) and at most a map of options"},
        {"\"transfer\" [1]",
         "BAD_REQUEST: transfer: 1 parameter, expected 2 (shard, node) and at most a map of "
         "options"},
        {"\"transfer\" [-1 2]",
         "BAD_REQUEST: transfer: the shard is -1, expected an integer from 0 to 4294967295"},
        {"\"transfer\" [1 4294967296]",
         "BAD_REQUEST: transfer: the node is 4294967296, expected an integer from 0 to 4294967295"},
        {"\"transfer\" [1 2 {\"undo\" true}]",
         "BAD_REQUEST: transfer: unknown option \"undo\", expected none"},
        {"\"drain_node\" [nil]",
         "BAD_REQUEST: drain_node: the node is nil, expected an integer from 0 to 4294967295"},
        {"\"drain_node\" [2 {\"undo\" 1}]",
         "BAD_REQUEST: drain_node: option undo is 1, expected a boolean"},
        {"\"snapshot\" []",
         "BAD_REQUEST: snapshot: 0 parameters, expected 1 (name) and at most a map of options"},
        {"\"get\" [\"k\" nil]",
         "BAD_REQUEST: get: the last parameter is nil, expected a map of options"},
    };
    CHECK(cases);
}

static void keys_and_values_of_the_wrong_kind_are_refused(void **state)
{
    (void)state;
    static const struct expectation cases[] = {
        {"\"get\" [\"\"]", "BAD_REQUEST: get: the key is 0 bytes, "
                           "expected a string or binary that is not empty"},
        {"\"get\" [{}]", "BAD_REQUEST: get: the key is a map of 0, "
                         "expected a string or binary that is not empty"},
        {"\"ttl\" [1]",
         "BAD_REQUEST: ttl: the key is 1, expected a string or binary that is not empty"},
        {"\"set\" [nil \"v\"]",
         "BAD_REQUEST: set: the key is nil, expected a string or binary that is not empty"},
        {"\"set\" [\"k\" 1]", "BAD_REQUEST: set: the value is 1, expected a string or binary"},
        {"\"set\" [\"k\" {}]",
         "BAD_REQUEST: set: the value is a map of 0, expected a string or binary"},
        {"\"has\" [\"k\"]",
         "BAD_REQUEST: has: the first parameter is 1 byte, expected an array of keys"},
        {"\"mget\" [{}]",
         "BAD_REQUEST: mget: the first parameter is a map of 0, expected an array of keys"},
        {"\"del\" [[\"a\" 5]]",
         "BAD_REQUEST: del: the key is 5, expected a string or binary that is not empty"},
        {"\"del\" [[\"a\" \"\"]]", "BAD_REQUEST: del: the key is 0 bytes, "
                                   "expected a string or binary that is not empty"},
        {"\"mset\" [{\"a\" \"1\"}]", "BAD_REQUEST: mset: the first parameter is a map of 1, "
                                     "expected an array of [key, value] pairs"},
        {"\"mset\" [[\"a\" \"1\"]]",
         "BAD_REQUEST: mset: a pair is 1 byte, expected an array of a key and a value"},
        {"\"mset\" [[[\"a\"]]]",
         "BAD_REQUEST: mset: a pair is an array of 1, expected an array of a key and a value"},
        {"\"mset\" [[[\"a\" \"1\" \"2\"]]]",
         "BAD_REQUEST: mset: a pair is an array of 3, expected an array of a key and a value"},
        {"\"mset\" [[[\"a\" 1]]]",
         "BAD_REQUEST: mset: the value is 1, expected a string or binary"},
        {"\"expire\" [\"k\" \"10\"]", "BAD_REQUEST: expire: the ttl is 2 bytes, "
                                      "expected an integer of milliseconds up to 9007199254740991"},
        {"\"expire\" [\"k\" 1.0]", "BAD_REQUEST: expire: the ttl is a float, "
                                   "expected an integer of milliseconds up to 9007199254740991"},
        {"\"expire\" [\"k\" {}]", "BAD_REQUEST: expire: the ttl is a map of 0, "
                                  "expected an integer of milliseconds up to 9007199254740991"},
    };
    CHECK(cases);
}

static void keys_and_values_are_taken_up_to_their_limit(void **state)
{
    (void)state;
    static const struct expectation cases[] = {
        {"\"get\" [\"k\"*8]", "get kkkkkkkk"},
        {"\"get\" [\"k\"*9]", "TOO_LARGE: get: the key is 9 bytes, at most 8 are allowed"},
        {"\"set\" [\"k\" b\"v\"*12]", "set k=vvvvvvvvvvvv"},
        {"\"set\" [\"k\" b\"v\"*13]",
         "TOO_LARGE: set: the value is 13 bytes, at most 12 are allowed"},
        {"\"mget\" [[\"a\" \"k\"*9]]",
         "TOO_LARGE: mget: the key is 9 bytes, at most 8 are allowed"},
        {"\"mset\" [[[\"a\" \"v\"*13]]]",
         "TOO_LARGE: mset: the value is 13 bytes, at most 12 are allowed"},
    };
    CHECK(cases);
}

static void snapshot_names_are_plain_file_names(void **state)
{
    (void)state;
    static const char expected[] = "expected 1 to 64 of A-Z a-z 0-9 . _ - with no leading dot";
    static const struct {
        const char *name;
        const char *quoted;
    } bad[] = {
        {"\"\"", "\"\""},
        {"\".hidden\"", "\".hidden\""},
        {"\"..\"", "\"..\""},
        {"\"a/b\"", "\"a/b\""},
        {"\"a b\"", "\"a b\""},
        {"\"\xc3\xa9\"", "\"\\xc3\\xa9\""},
        {"\"n\"*65", "\"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...\""},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        char request[128];
        char shown[256];
        snprintf(request, sizeof(request), "\"snapshot\" [%s]", bad[i].name);
        snprintf(shown, sizeof(shown), "BAD_REQUEST: snapshot: the name is %s, %s", bad[i].quoted,
                 expected);
        const struct expectation one[] = {{request, shown}};
        CHECK(one);
    }
    static const struct expectation cases[] = {
        {"\"snapshot\" [b\"a\"]", "snapshot name=a"},
        {"\"snapshot\" [\"a.\"]", "snapshot name=a."},
        {"\"snapshot\" [\"-_9Z\"]", "snapshot name=-_9Z"},
        {"\"snapshot_read\" [\".a\" 0]", "BAD_REQUEST: snapshot_read: the name is \".a\", expected "
                                         "1 to 64 of A-Z a-z 0-9 . _ - with no leading dot"},
        {"\"snapshot_read\" [\"a\" -1]",
         "BAD_REQUEST: snapshot_read: the offset is -1, expected an unsigned integer"},
        {"\"snapshot_read\" [\"a\"]", "BAD_REQUEST: snapshot_read: 1 parameter, expected 2 (name, "
                                      "offset) and at most a map of options"},
        {"\"snapshot_remove\" [\"../a\"]",
         "BAD_REQUEST: snapshot_remove: the name is \"../a\", expected "
         "1 to 64 of A-Z a-z 0-9 . _ - with no leading dot"},
        {"\"snapshot\" [7]", "BAD_REQUEST: snapshot: the name is 7, "
                             "expected 1 to 64 of A-Z a-z 0-9 . _ - with no leading dot"},
    };
    CHECK(cases);
}

static void an_extension_is_no_value(void **state)
{
    (void)state;
    static const char text[] = "\x94\x00\x07\xa3get\x91\xd4\x05k"; // fixext 1
    struct mf_rpc_request request = {0};
    uint8_t *message;
    parse_bytes(mf_bytes_of(text, sizeof(text) - 1), &request, &message);
    assert_int_equal(request.err, MF_BAD_REQUEST);
    assert_string_equal(request.message, "get: the key is an extension, "
                                         "expected a string or binary that is not empty");
    free(message);
}

static void a_method_that_is_not_known_is_named_in_the_refusal(void **state)
{
    (void)state;
    static const struct expectation cases[] = {
        {"\"gett\" []", "UNKNOWN_METHOD: unknown method \"gett\""},
        {"\"GET\" [\"k\"]", "UNKNOWN_METHOD: unknown method \"GET\""},
        {"\"\" []", "UNKNOWN_METHOD: unknown method \"\""},
        {"\"a\nb\" []", "UNKNOWN_METHOD: unknown method \"a\\x0ab\""},
        {"\"m\"*99 []",
         "UNKNOWN_METHOD: unknown method \"mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm...\""},
    };
    CHECK(cases);
}

static void what_is_no_request_is_fatal_and_answered_where_a_msgid_came_first(void **state)
{
    (void)state;
    static const struct {
        const char *message;
        bool has_msgid;
    } cases[] = {
        {"7", false},
        {"nil", false},
        {"\"get\"", false},
        {"{0 1}", false},
        {"[]", false},
        {"[0]", false},
        {"[2]", false},
        {"[nil 5 \"ping\" []]", false},
        {"[0.0 5 \"ping\" []]", false},
        {"[1 5 nil nil]", false}, // a response
        {"[3 5 \"ping\" []]", false},
        {"[-1 5 \"ping\" []]", false},
        {"[0 -1 \"ping\" []]", false},
        {"[0 4294967296 \"ping\" []]", false},
        {"[0 \"5\" \"ping\" []]", false},
        {"[0 1.0 \"ping\" []]", false},
        {"[0 5]", true},
        {"[0 5 \"ping\"]", true},
        {"[0 5 \"ping\" [] []]", true},
        {"[0 5 7 []]", true},
        {"[0 5 b\"ping\" []]", true},
        {"[0 5 nil []]", true},
        {"[0 5 \"ping\" {}]", true},
        {"[0 5 \"ping\" nil]", true},
        {"[0 5 \"nope\" 1]", true},
        {"[2 \"ping\"]", false},
        {"[2 \"ping\" [] []]", false},
        {"[2 5 []]", false},
        {"[2 \"ping\" {}]", false},
    };
    struct mf_rpc_request request = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint8_t *message;
        parse(cases[i].message, &request, &message);
        if (!request.fatal || request.has_msgid != cases[i].has_msgid)
            print_error("%s\n", cases[i].message);
        assert_true(request.fatal);
        assert_int_equal(request.err, MF_BAD_REQUEST);
        assert_int_equal(request.has_msgid, cases[i].has_msgid);
        assert_int_equal(request.msgid, cases[i].has_msgid ? 5 : 0);
        assert_int_equal(strncmp(request.message, "not a request: ", 15), 0);
        free(message);
    }
    mf_rpc_request_free(&request);
}

static void msgids_go_from_zero_to_two_to_the_32nd_less_one(void **state)
{
    (void)state;
    static const struct {
        const char *message;
        uint32_t msgid;
    } cases[] = {
        {"[0 0 \"ping\" []]", 0},
        {"[0 4294967295 \"ping\" []]", UINT32_MAX},
        {"[u64:0 u64:9 \"ping\" []]", 9},
        {"[0 i64:9 \"ping\" []]", 9},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct mf_rpc_request request = {0};
        uint8_t *message;
        parse(cases[i].message, &request, &message);
        assert_int_equal(request.err, MF_OK);
        assert_true(request.has_msgid);
        assert_true(request.msgid == cases[i].msgid);
        free(message);
    }
}

static void a_notification_is_parsed_alike_and_has_no_msgid(void **state)
{
    (void)state;
    struct mf_rpc_request request = {0};
    uint8_t *message;
    char shown[256];
    parse("[2 \"set\" [\"k\" \"v\" {\"ttl\" 3}]]", &request, &message);
    show(&request, shown, sizeof(shown));
    assert_string_equal(shown, "set k=v in:3000us");
    assert_true(request.notification);
    assert_false(request.has_msgid);
    free(message);
    parse("[2 \"set\" []]", &request, &message);
    assert_int_equal(request.err, MF_BAD_REQUEST);
    assert_false(request.fatal);
    assert_true(request.notification);
    free(message);
}

// The keys of a request that claims more than it may hold are never allocated.
static void too_many_keys_in_one_request_are_too_large(void **state)
{
    (void)state;
    const uint32_t bound = 1u << 20;
    struct mf_rpc_request request = {0};
    for (uint32_t count = bound; count <= bound + 1; count++) {
        msgpack_sbuffer packed;
        msgpack_packer packer;
        msgpack_sbuffer_init(&packed);
        msgpack_packer_init(&packer, &packed, msgpack_sbuffer_write);
        msgpack_sbuffer_write(&packed, "\x94\x00\x01\xa3has\x91", 8);
        msgpack_pack_array(&packer, count);
        for (uint32_t i = 0; i < count; i++)
            msgpack_sbuffer_write(&packed, "\xa1k", 2);
        uint8_t *message;
        parse_bytes(mf_bytes_of(packed.data, packed.size), &request, &message);
        msgpack_sbuffer_destroy(&packed);
        assert_int_equal(request.err, count == bound ? MF_OK : MF_TOO_LARGE);
        assert_int_equal(request.command.item_count, count == bound ? bound : 0);
        free(message);
    }
    // The large array was not kept.
    assert_true(request.items_cap < bound);
    mf_rpc_request_free(&request);
}

// Every cut of a good message, handed over as if whole, is refused and nothing past it is read.
static void a_message_cut_short_is_refused(void **state)
{
    (void)state;
    static const char text[] =
        "[0 1 \"mset\" [[[\"a\" \"b\"] [b\"c\" \"d\"]] {\"ttl\" 300 \"id\" \"i\"}]]";
    struct mf_rpc_request request = {0};
    msgpack_sbuffer packed;
    msgpack_sbuffer_init(&packed);
    pack_text(text, &packed);
    for (size_t cut = 0; cut < packed.size; cut++) {
        uint8_t *copy = malloc(cut > 0 ? cut : 1);
        memcpy(copy, packed.data, cut);
        mf_rpc_parse(mf_bytes_of(copy, cut), &limits, &request);
        assert_int_equal(request.err, MF_BAD_REQUEST);
        assert_true(request.fatal);
        free(copy);
    }
    msgpack_sbuffer_destroy(&packed);
    mf_rpc_request_free(&request);
}

struct glance {
    const char *message;
    const char *key; // NULL: not looked at
    bool write;
};

// Whole, a key is found in it or not; of a part, nothing.
static void check_glance(const struct glance *glance)
{
    msgpack_sbuffer packed;
    msgpack_sbuffer_init(&packed);
    pack_text(glance->message, &packed);
    for (size_t cut = 0; cut <= packed.size; cut++) {
        uint8_t *copy = malloc(cut > 0 ? cut : 1);
        memcpy(copy, packed.data, cut);
        struct mf_bytes key;
        bool write = !glance->write;
        size_t size = mf_rpc_peek(mf_bytes_of(copy, cut), &key, &write);
        bool expected = glance->key != NULL && cut == packed.size;
        if (size != (expected ? cut : 0))
            print_error("%s: %zu of %zu\n", glance->message, cut, packed.size);
        assert_int_equal(size, expected ? cut : 0);
        if (expected) {
            assert_int_equal(write, glance->write);
            assert_int_equal(key.len, strlen(glance->key));
            assert_memory_equal(key.data, glance->key, key.len);
        }
        free(copy);
    }
    msgpack_sbuffer_destroy(&packed);
}

static void a_look_at_the_next_request_sees_keys_that_are_read_or_written(void **state)
{
    (void)state;
    static const struct glance glances[] = {
        {"[0 7 \"get\" [\"a-key\"]]", "a-key", false},
        {"[0 7 \"get\" [b\"a-key\"]]", "a-key", false},
        {"[0 300 \"get\" [\"0123456789012345678901234567890\"]]", "0123456789012345678901234567890",
         false},
        {"[0 4294967295 \"get\" [\"01234567890123456789012345678901\"]]",
         "01234567890123456789012345678901", false},
        {"[0 7 \"set\" [\"a-key\" b\"value\"]]", "a-key", true},
        {"[0 7 \"set\" [\"a-key\" \"v\"*256]]", "a-key", true},
        {"[0 7 \"set\" [\"a-key\" \"v\" {\"ttl\" 300000 \"id\" b\"i\" \"nx\" true}]]", "a-key",
         true},
        {"[0 7 \"incr\" [\"a-key\"]]", "a-key", true},
        {"[0 7 \"incr\" [\"a-key\" -70000 {}]]", "a-key", true},
        {"[0 7 \"set\" [\"a-key\"]]", NULL, false},
        {"[0 7 \"set\" [\"a-key\" \"v\" {} 1]]", NULL, false},
        {"[0 7 \"set\" [\"a-key\" [\"v\"]]]", NULL, false},
        {"[0 7 \"set\" [\"a-key\" \"v\" {\"id\" {\"a\" 1}}]]", NULL, false},
        {"[0 7 \"setx\" [\"a-key\" \"v\"]]", NULL, false},
        {"[0 u64:7 \"get\" [\"a-key\"]]", NULL, false},
        {"[0 -7 \"get\" [\"a-key\"]]", NULL, false},
        {"[2 \"get\" [\"a-key\"]]", NULL, false},
        {"[0 7 \"get\" [\"a-key\" {}]]", NULL, false},
        {"[0 7 \"del\" [\"a-key\"]]", NULL, false},
        {"[0 7 \"get\" [[\"a-key\"]]]", NULL, false},
        {"[0 7 \"get\" [7777777777777]]", NULL, false},
        {"[0 7 \"get\" [\"k\"*256]]", NULL, false},
    };
    for (size_t i = 0; i < sizeof(glances) / sizeof(glances[0]); i++)
        check_glance(&glances[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_with_every_option_is_understood),
        cmocka_unit_test(an_option_given_as_false_counts_as_absent),
        cmocka_unit_test(a_watch_is_for_one_key_or_one_prefix),
        cmocka_unit_test(hot_keys_are_counted_from_one),
        cmocka_unit_test(integers_may_come_in_any_width),
        cmocka_unit_test(times_are_taken_to_their_bounds_and_not_beyond),
        cmocka_unit_test(options_that_contradict_each_other_are_refused),
        cmocka_unit_test(unknown_and_repeated_options_are_refused),
        cmocka_unit_test(options_of_the_wrong_type_or_range_are_refused),
        cmocka_unit_test(missing_and_surplus_parameters_are_refused),
        cmocka_unit_test(keys_and_values_of_the_wrong_kind_are_refused),
        cmocka_unit_test(keys_and_values_are_taken_up_to_their_limit),
        cmocka_unit_test(snapshot_names_are_plain_file_names),
        cmocka_unit_test(an_extension_is_no_value),
        cmocka_unit_test(a_method_that_is_not_known_is_named_in_the_refusal),
        cmocka_unit_test(what_is_no_request_is_fatal_and_answered_where_a_msgid_came_first),
        cmocka_unit_test(msgids_go_from_zero_to_two_to_the_32nd_less_one),
        cmocka_unit_test(a_notification_is_parsed_alike_and_has_no_msgid),
        cmocka_unit_test(too_many_keys_in_one_request_are_too_large),
        cmocka_unit_test(a_message_cut_short_is_refused),
        cmocka_unit_test(a_look_at_the_next_request_sees_keys_that_are_read_or_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
