// Errors by text; see errors.h.
#include "bench/load/errors.h"

#include <stdio.h>
#include <string.h>

static void count(struct load_errors *errors, const char *text, uint64_t times)
{
    size_t at = 0;
    while (at < errors->used && strcmp(errors->rows[at].text, text) != 0)
        at++;
    if (at == LOAD_ERRORS_MAX)
        at--;
    struct load_error *row = &errors->rows[at];
    if (at == errors->used) {
        errors->used++;
        snprintf(row->text, sizeof(row->text), "%s",
                 at == LOAD_ERRORS_MAX - 1 ? "other errors" : text);
    }
    row->count += times;
}

void load_errors_add(struct load_errors *errors, const char *kind, const char *text, size_t len)
{
    char whole[LOAD_ERROR_BYTES];
    snprintf(whole, sizeof(whole), "%s: %.*s", kind,
             len > LOAD_ERROR_BYTES ? LOAD_ERROR_BYTES : (int)len, text);
    for (char *at = whole; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || (unsigned char)*at > '~')
            *at = '?';
    }
    count(errors, whole, 1);
}

void load_errors_merge(struct load_errors *into, const struct load_errors *from)
{
    for (size_t i = 0; i < from->used; i++)
        count(into, from->rows[i].text, from->rows[i].count);
}
