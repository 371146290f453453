// CRC16 against published values, XXH3 and the rolling mix by their properties.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/hash.h"

static void crc16_gives_the_published_values(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint16_t crc;
    } cases[] = {
        {"", 0x0000},
        {"123456789", 0x31c3}, // the check value of CRC-16/XMODEM
        {"a", 0x7c87},
        // Redis Cluster: CLUSTER KEYSLOT foo is 12182, bar 5061, somekey 11058.
        {"foo", 0xaf96},
        {"bar", 0x93c5},
        {"somekey", 0x6b32},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(mf_crc16(mf_bytes_str(cases[i].text)), cases[i].crc);
    assert_int_equal(mf_crc16(mf_bytes_str("foo")) % 16384, 12182);
    assert_int_equal(mf_crc16(mf_bytes_str("bar")) % 16384, 5061);
    assert_int_equal(mf_crc16(mf_bytes_str("somekey")) % 16384, 11058);
}

// Bit by bit, as the polynomial says, beside the tables.
static uint16_t divide(const uint8_t *bytes, size_t len)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < len; i++) {
        crc ^= (uint32_t)bytes[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000) != 0 ? ((crc << 1) ^ 0x1021) & 0xffff : crc << 1;
    }
    return (uint16_t)crc;
}

// Every byte in every state it can meet.
static void crc16_equals_the_division_bit_by_bit(void **state)
{
    (void)state;
    for (uint32_t first = 0; first < 256; first++) {
        for (uint32_t second = 0; second < 256; second++) {
            const uint8_t bytes[2] = {(uint8_t)first, (uint8_t)second};
            assert_int_equal(mf_crc16(mf_bytes_of(bytes, 2)), divide(bytes, 2));
        }
    }
}

// Every byte at every place of the four that are taken together, and behind them.
static void crc16_takes_four_bytes_together(void **state)
{
    (void)state;
    for (size_t len = 3; len <= 9; len++) {
        for (size_t at = 0; at < len; at++) {
            for (uint32_t value = 0; value < 256; value++) {
                uint8_t bytes[9] = {0x31, 0xa7, 0x00, 0xff, 0x5c, 0x80, 0x13, 0xe4, 0x7f};
                bytes[at] = (uint8_t)value;
                assert_int_equal(mf_crc16(mf_bytes_of(bytes, len)), divide(bytes, len));
            }
        }
    }
}

static void crc16_takes_bytes_above_127(void **state)
{
    (void)state;
    assert_int_equal(mf_crc16(mf_bytes_of("\xff", 1)), 0x1ef0);
    assert_int_equal(mf_crc16(mf_bytes_of("\xff\x00", 2)), 0x03ff);
}

static void hash64_depends_on_the_bytes_and_on_the_seed(void **state)
{
    (void)state;
    struct mf_bytes key = mf_bytes_str("key");
    assert_true(mf_hash64(key, 1) == mf_hash64(mf_bytes_of("key!", 3), 1));
    assert_true(mf_hash64(key, 1) != mf_hash64(key, 2));
    assert_true(mf_hash64(key, 1) != mf_hash64(mf_bytes_str("kez"), 1));
    assert_true(mf_hash64(key, 1) != mf_hash64(mf_bytes_of("key", 4), 1));
}

static void hash64_of_nothing_is_xxh3s(void **state)
{
    (void)state;
    // The published XXH3_64bits of no input with seed 0.
    assert_true(mf_hash64(mf_bytes_of(NULL, 0), 0) == UINT64_C(0x2d06800538d394c2));
}

static void the_rolling_mix_depends_on_order_and_never_sticks(void **state)
{
    (void)state;
    assert_true(mf_hash_mix(mf_hash_mix(0, 1), 2) != mf_hash_mix(mf_hash_mix(0, 2), 1));
    uint64_t rolling = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t next = mf_hash_mix(rolling, 0);
        assert_true(next != rolling);
        rolling = next;
    }
}

static void one_changed_bit_changes_about_half_of_the_mix(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t difference = mf_hash_mix(7, 0) ^ mf_hash_mix(7, UINT64_C(1) << bit);
        int changed = __builtin_popcountll(difference);
        assert_in_range(changed, 12, 52);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc16_gives_the_published_values),
        cmocka_unit_test(crc16_equals_the_division_bit_by_bit),
        cmocka_unit_test(crc16_takes_four_bytes_together),
        cmocka_unit_test(crc16_takes_bytes_above_127),
        cmocka_unit_test(hash64_depends_on_the_bytes_and_on_the_seed),
        cmocka_unit_test(hash64_of_nothing_is_xxh3s),
        cmocka_unit_test(the_rolling_mix_depends_on_order_and_never_sticks),
        cmocka_unit_test(one_changed_bit_changes_about_half_of_the_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
