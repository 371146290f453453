// Keys and values; see data.h.
#include "bench/load/data.h"

#include <string.h>

#include "base/hash.h"

#define HEX_BYTES 8
#define STAMP_AT LOAD_VALUE_BYTES_MIN

size_t load_digits(char *out, uint64_t number)
{
    char digits[LOAD_DIGITS_MAX];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    memcpy(out, digits + at, sizeof(digits) - at);
    return sizeof(digits) - at;
}

bool load_number(const void *text, size_t len, uint64_t *number)
{
    const char *digits = text;
    *number = 0;
    for (size_t i = 0; i < len; i++) {
        if (digits[i] < '0' || digits[i] > '9' || i == LOAD_DIGITS_MAX - 1)
            return false;
        *number = *number * 10 + (uint64_t)(digits[i] - '0');
    }
    return len > 0;
}

// Eight digits at once: a nibble for each byte, then what makes letters of ten to fifteen.
static void put_hex(void *out, uint32_t number)
{
    uint64_t wide = number;
    wide = (wide | wide << 16) & 0x0000ffff0000ffff;
    wide = (wide | wide << 8) & 0x00ff00ff00ff00ff;
    wide = (wide | wide << 4) & 0x0f0f0f0f0f0f0f0f;
    uint64_t letters = (wide + 0x0606060606060606) >> 4 & 0x0101010101010101;
    wide = __builtin_bswap64(wide + 0x3030303030303030 + letters * ('a' - '0' - 10));
    memcpy(out, &wide, HEX_BYTES);
}

size_t load_key(char *out, uint64_t number)
{
    static const char prefix[] = "bench:";
    memcpy(out, prefix, sizeof(prefix) - 1);
    return sizeof(prefix) - 1 + load_digits(out + sizeof(prefix) - 1, number);
}

size_t load_counter_key(char *out, uint64_t run, uint64_t number)
{
    static const char prefix[] = "bench-count:";
    size_t len = sizeof(prefix) - 1;
    memcpy(out, prefix, len);
    put_hex(out + len, (uint32_t)(run >> 32));
    put_hex(out + len + HEX_BYTES, (uint32_t)run);
    len += (size_t)2 * HEX_BYTES;
    out[len++] = ':';
    return len + load_digits(out + len, number % LOAD_COUNTERS);
}

static uint32_t checksum(const uint8_t *value, size_t len, uint64_t key)
{
    return (uint32_t)mf_hash64(mf_bytes_of(value + STAMP_AT, len - STAMP_AT), key);
}

void load_value_make(uint8_t *out, size_t len, uint64_t key, uint32_t stamp)
{
    put_hex(out, (uint32_t)key);
    memset(out + STAMP_AT, 'v', len - STAMP_AT);
    if (len >= STAMP_AT + HEX_BYTES)
        put_hex(out + STAMP_AT, stamp);
    put_hex(out + HEX_BYTES, checksum(out, len, key));
}

bool load_value_is_right(const uint8_t *value, size_t len, uint64_t key)
{
    uint8_t head[STAMP_AT];
    if (len < STAMP_AT)
        return false;
    put_hex(head, (uint32_t)key);
    put_hex(head + HEX_BYTES, checksum(value, len, key));
    return memcmp(value, head, sizeof(head)) == 0;
}
