// Numbers with a fraction, as INCRBYFLOAT of Redis has them: 64 bits of significance.
//
// Redis computes in the processor's long double. On x86-64 that has 64 bits, elsewhere more or
// fewer, so replicas on different machines would come to different values. Here the same numbers
// are made of integers alone: reading rounds the exact decimal to the nearest of them, adding the
// exact sum, printing the exact number to 17 digits behind the point, and a tie goes to the even
// one each time. Each step so has one result, which is that of IEEE 754's 80-bit format, and thus
// what Redis prints on x86-64. The range is that of a double (below 2^1024) and not that of a long
// double: what a few bytes can make grow, and what it costs to read again, stay small.
//
// Pure functions; any thread.
#ifndef MF_BASE_EXTENDED_H
#define MF_BASE_EXTENDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

// bits * 2^exponent. bits is 0, or its highest bit is set.
struct mf_extended {
    bool negative;
    int32_t exponent;
    uint64_t bits;
};

// Decimal digits with a point and an exponent, each optional as strtod has it, and a sign. False
// for anything else (hexadecimal, infinities, none at all), for longer texts, and for what is out
// of range. What is too small to change any digit that is printed is read as 0.
#define MF_EXTENDED_TEXT_MAX 1024u
bool mf_extended_read(struct mf_bytes text, struct mf_extended *out);

// False when the sum is out of range. It may take the place of a or b.
bool mf_extended_add(const struct mf_extended *a, const struct mf_extended *b,
                     struct mf_extended *sum);

// Writes the number without an exponent, at most 17 digits behind the point, none of them a zero at
// the end; returns how many characters. No zero byte follows.
#define MF_EXTENDED_CHARS_MAX 336u
size_t mf_extended_print(const struct mf_extended *number, char out[MF_EXTENDED_CHARS_MAX]);

#endif
