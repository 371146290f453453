// Glob patterns; see glob.h for what they may hold.
//
// A pattern is a row of elements, each of which takes one byte, with stars before, between and
// after them. All ways to match go forward side by side, one bit each (the shift-and method:
// Baeza-Yates and Gonnet, "A new approach to text searching", 1992): bit i is set while the text so
// far can be the first i elements. A byte moves a bit on where the next element takes it, and a bit
// stays where a star follows its element.
#include "base/glob.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BITS 64u

struct mf_glob {
    size_t words;      // of a set of positions
    size_t elements;   // the last position
    uint64_t *stars;   // positions where a star stands
    uint64_t *takes;   // takes + byte * words: positions whose element takes the byte
    uint64_t memory[]; // of both
};

static void set_bit(uint64_t *set, size_t bit)
{
    set[bit / WORD_BITS] |= UINT64_C(1) << (bit % WORD_BITS);
}

static bool has_bit(const uint64_t *set, size_t bit)
{
    return (set[bit / WORD_BITS] >> (bit % WORD_BITS) & 1) != 0;
}

static void take_range(bool takes[256], unsigned first, unsigned last)
{
    if (first > last) {
        unsigned other = first;
        first = last;
        last = other;
    }
    for (unsigned byte = first; byte <= last; byte++)
        takes[byte] = true;
}

// What stands between brackets, from behind the opening one; returns where it ends.
static size_t read_class(struct mf_bytes pattern, size_t at, bool takes[256])
{
    const uint8_t *p = pattern.data;
    bool negated = at < pattern.len && p[at] == '^';
    at += negated;
    while (at < pattern.len && p[at] != ']') {
        size_t left = pattern.len - at;
        if (left >= 2 && p[at] == '\\') {
            takes[p[at + 1]] = true;
            at += 2;
        } else if (left >= 3 && p[at + 1] == '-') {
            take_range(takes, p[at], p[at + 2]);
            at += 3;
        } else {
            takes[p[at++]] = true;
        }
    }
    for (unsigned byte = 0; byte < 256 && negated; byte++)
        takes[byte] = !takes[byte];
    return at < pattern.len ? at + 1 : at;
}

// One element, from `at` on; returns where it ends.
static size_t read_element(struct mf_bytes pattern, size_t at, bool takes[256])
{
    uint8_t c = pattern.data[at];
    if (c == '?') {
        take_range(takes, 0, 255);
        return at + 1;
    }
    if (c == '[')
        return read_class(pattern, at + 1, takes);
    if (c == '\\' && at + 1 < pattern.len)
        at++;
    takes[pattern.data[at]] = true;
    return at + 1;
}

struct mf_glob *mf_glob_new(struct mf_bytes pattern)
{
    assert(pattern.len <= MF_GLOB_BYTES_MAX);
    size_t words = pattern.len / WORD_BITS + 1;
    struct mf_glob *glob = mf_calloc(1, sizeof(*glob) + 257 * words * sizeof(glob->memory[0]));
    glob->words = words;
    glob->stars = glob->memory;
    glob->takes = glob->memory + words;
    for (size_t at = 0; at < pattern.len;) {
        if (pattern.data[at] == '*') {
            set_bit(glob->stars, glob->elements);
            at++;
            continue;
        }
        bool takes[256] = {false};
        at = read_element(pattern, at, takes);
        glob->elements++;
        for (unsigned byte = 0; byte < 256; byte++) {
            if (takes[byte])
                set_bit(glob->takes + byte * words, glob->elements);
        }
    }
    return glob;
}

void mf_glob_free(struct mf_glob *glob)
{
    free(glob);
}

bool mf_glob_matches(const struct mf_glob *glob, struct mf_bytes text)
{
    uint64_t state[MF_GLOB_BYTES_MAX / WORD_BITS + 1] = {1};
    // A star at the end takes all that follows.
    bool open_end = has_bit(glob->stars, glob->elements);
    for (size_t i = 0; i < text.len; i++) {
        const uint64_t *takes = glob->takes + text.data[i] * glob->words;
        uint64_t carry = 0;
        uint64_t any = 0;
        for (size_t word = 0; word < glob->words; word++) {
            uint64_t moved = state[word] << 1 | carry;
            carry = state[word] >> (WORD_BITS - 1);
            state[word] = (moved & takes[word]) | (state[word] & glob->stars[word]);
            any |= state[word];
        }
        if (any == 0)
            return false;
        if (open_end && has_bit(state, glob->elements))
            return true;
    }
    return has_bit(state, glob->elements);
}
