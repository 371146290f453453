// Slots, hash tags, and the partition of slots into shards.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/hash.h"
#include "base/slots.h"

static void slots_are_those_of_redis_cluster(void **state)
{
    (void)state;
    assert_int_equal(mf_crc16(mf_bytes_str("123456789")), 0x31c3);
    assert_int_equal(mf_slot_of(mf_bytes_str("123456789")), 0x31c3);
    // As `redis-cli cluster keyslot` has them.
    assert_int_equal(mf_slot_of(mf_bytes_str("foo")), 12182);
    assert_int_equal(mf_slot_of(mf_bytes_str("somekey")), 11058);
    assert_int_equal(mf_slot_of(mf_bytes_str("foo{hash_tag}")), 2515);
}

static void only_a_tag_that_is_not_empty_decides(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        const char *hashed;
    } cases[] = {
        {"{user1000}.following", "user1000"},
        {"a{user1000}b", "user1000"},
        {"foo{}{bar}", "foo{}{bar}"}, // the first pair is empty
        {"foo{{bar}}zap", "{bar"},    // from the first '{' to the first '}' after it
        {"foo{bar}{zap}", "bar"},     // the first pair only
        {"foo{bar", "foo{bar"},       // never closed
        {"foo}bar{", "foo}bar{"},     // closed before it opened
        {"}{a}", "a"},
        {"{", "{"},
        {"{}", "{}"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint16_t expected = mf_crc16(mf_bytes_str(cases[i].hashed)) % MF_SLOT_COUNT;
        assert_int_equal(mf_slot_of(mf_bytes_str(cases[i].key)), expected);
    }
}

static void check_partition(uint32_t shard_count)
{
    uint32_t next = 0;
    for (uint32_t shard = 0; shard < shard_count; shard++) {
        uint16_t first;
        uint16_t last;
        mf_shard_slots(shard, shard_count, &first, &last);
        assert_int_equal(first, next);
        assert_true(last >= first && last < MF_SLOT_COUNT);
        assert_int_equal(mf_shard_of_slot(first, shard_count), shard);
        assert_int_equal(mf_shard_of_slot(last, shard_count), shard);
        next = last + 1u;
    }
    assert_int_equal(next, MF_SLOT_COUNT);
}

static void every_slot_is_in_exactly_one_shard_for_any_number_of_shards(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= MF_SLOT_COUNT; n += n < 300 ? 1 : 97)
        check_partition(n);
    check_partition(MF_SLOT_COUNT - 1);
    check_partition(MF_SLOT_COUNT);
}

static void the_shard_of_a_slot_is_the_one_whose_range_it_is_in(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 130; n++) {
        uint32_t previous = 0;
        for (uint32_t slot = 0; slot < MF_SLOT_COUNT; slot++) {
            uint32_t shard = mf_shard_of_slot((uint16_t)slot, n);
            uint16_t first;
            uint16_t last;
            mf_shard_slots(shard, n, &first, &last);
            assert_true(first <= slot && slot <= last && shard >= previous);
            previous = shard;
        }
    }
}

static void a_keys_shard_is_that_of_its_slot(void **state)
{
    (void)state;
    struct mf_bytes key = mf_bytes_str("foo");
    assert_int_equal(mf_shard_of_key(key, 64), 12182 * 64 / 16384);
    assert_int_equal(mf_shard_of_key(key, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_those_of_redis_cluster),
        cmocka_unit_test(only_a_tag_that_is_not_empty_decides),
        cmocka_unit_test(every_slot_is_in_exactly_one_shard_for_any_number_of_shards),
        cmocka_unit_test(the_shard_of_a_slot_is_the_one_whose_range_it_is_in),
        cmocka_unit_test(a_keys_shard_is_that_of_its_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
