// Errors of a run, counted by what they say.
#ifndef MF_BENCH_LOAD_ERRORS_H
#define MF_BENCH_LOAD_ERRORS_H

#include <stddef.h>
#include <stdint.h>

#define LOAD_ERRORS_MAX 32
#define LOAD_ERROR_BYTES 200

// All zero is empty. Once it is full, new texts count as "other errors".
struct load_errors {
    struct load_error {
        char text[LOAD_ERROR_BYTES];
        uint64_t count;
    } rows[LOAD_ERRORS_MAX];
    size_t used;
};

// `kind: text`, cut to what there is room for and made printable.
void load_errors_add(struct load_errors *errors, const char *kind, const char *text, size_t len);
void load_errors_merge(struct load_errors *into, const struct load_errors *from);

#endif
