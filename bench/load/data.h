// Keys and values of mayfly-bench, the same for every protocol.
//
// A value says whose it is and that it is whole: eight hexadecimal digits of its key's number,
// eight of a checksum over that number and all that follows, then, where there is room, eight of a
// number that differs from one set to the next, and filler. So a get is checked without knowing
// which of the sets it must return, and one run may check what another has left behind.
#ifndef MF_BENCH_LOAD_DATA_H
#define MF_BENCH_LOAD_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_COUNTERS 1000u // keys that incr counts on
#define LOAD_KEY_BYTES 64   // no key is longer
#define LOAD_VALUE_BYTES_MIN 16
#define LOAD_DIGITS_MAX 20

// Writes the number's decimal digits to `out` (LOAD_DIGITS_MAX are enough) and returns how many.
size_t load_digits(char *out, uint64_t number);
// The whole text as a number without a sign; false when it is none or too large.
bool load_number(const void *text, size_t len, uint64_t *number);

// The key of this number, and the counter's of the run of that number (whose counters no other run
// has), into LOAD_KEY_BYTES without a NUL; returns the length.
size_t load_key(char *out, uint64_t number);
size_t load_counter_key(char *out, uint64_t run, uint64_t number);

// Writes `len` bytes (LOAD_VALUE_BYTES_MIN at least) to `out`.
void load_value_make(uint8_t *out, size_t len, uint64_t key, uint32_t stamp);
bool load_value_is_right(const uint8_t *value, size_t len, uint64_t key);

#endif
