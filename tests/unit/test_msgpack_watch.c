// What a watch may ask for is bounded: a shard and a version are two bytes on the wire and sixteen
// in memory.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "rpc/msgpack_rpc.h"

// [0, 7, "watch", [{"prefix": "", "from_version": {...}}]]
static enum mf_err parse(uint32_t froms, uint32_t *taken)
{
    static const struct mf_rpc_limits limits = {.key_bytes_max = 8, .value_bytes_max = 8};
    struct mf_buf message = {0};
    mf_pack_array(&message, 4);
    mf_pack_uint(&message, 0);
    mf_pack_uint(&message, 7);
    mf_pack_str(&message, "watch");
    mf_pack_array(&message, 1);
    mf_pack_map(&message, 2);
    mf_pack_str(&message, "prefix");
    mf_pack_str(&message, "");
    mf_pack_str(&message, "from_version");
    mf_pack_map(&message, froms);
    for (uint32_t i = 0; i < froms; i++) {
        mf_pack_uint(&message, i);
        mf_pack_uint(&message, 1);
    }
    struct mf_rpc_request request = {0};
    mf_rpc_parse(mf_buf_view(&message), &limits, &request);
    enum mf_err err = request.err;
    *taken = request.watch.from_count;
    mf_rpc_request_free(&request);
    mf_buf_free(&message);
    return err;
}

static void versions_to_begin_from_are_no_more_than_there_may_be_shards(void **state)
{
    (void)state;
    uint32_t taken;
    assert_int_equal(parse(16384, &taken), MF_OK);
    assert_int_equal(taken, 16384);
    assert_int_equal(parse(16385, &taken), MF_BAD_REQUEST);
    assert_int_equal(taken, 0);
}

static void progress_names_each_shard_and_its_version(void **state)
{
    (void)state;
    static const uint8_t wanted[] = "\x93\x02\xa5"
                                    "event\x95\x07\xa8"
                                    "progress\xc0\x00\x82"
                                    "\x03\xcd\x01\x00\x04\x00";
    const struct mf_shard_version versions[] = {{3, 256}, {4, 0}};
    struct mf_buf out = {0};
    mf_rpc_progress(&out, 7, versions, 2);
    assert_true(mf_bytes_equal(mf_buf_view(&out), mf_bytes_of(wanted, sizeof(wanted) - 1)));
    mf_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_names_each_shard_and_its_version),
        cmocka_unit_test(versions_to_begin_from_are_no_more_than_there_may_be_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
