// Longest common subsequences; see lcs.h.
#include "base/lcs.h"

#include <assert.h>
#include <stdlib.h>

// Where two bytes differ, the longer way leads on without the one of `a`, or without that of `b`.
struct table {
    uint8_t *without_a; // bits; NULL: nobody will go back
    size_t columns;
};

static size_t bit_of(const struct table *table, size_t i, size_t j)
{
    return i * table->columns + j;
}

// Fills the table row by row; of the lengths only two rows are needed at a time.
static uint32_t fill(struct mf_bytes a, struct mf_bytes b, const struct table *table)
{
    uint32_t *above = mf_calloc(b.len + 1, sizeof(*above));
    uint32_t *row = mf_calloc(b.len + 1, sizeof(*row));
    for (size_t i = 0; i < a.len; i++) {
        for (size_t j = 0; j < b.len; j++) {
            bool up = above[j + 1] > row[j];
            if (a.data[i] == b.data[j])
                row[j + 1] = above[j] + 1;
            else
                row[j + 1] = up ? above[j + 1] : row[j];
            if (up && table->without_a != NULL) {
                size_t bit = bit_of(table, i, j);
                table->without_a[bit / 8] = (uint8_t)(table->without_a[bit / 8] | 1u << bit % 8);
            }
        }
        uint32_t *done = row;
        row = above;
        above = done;
    }
    uint32_t len = above[b.len];
    free(above);
    free(row);
    return len;
}

// From the ends of both texts to their beginning, along the way that the table shows.
static void go_back(struct mf_bytes a, struct mf_bytes b, const struct table *table,
                    struct mf_lcs *lcs)
{
    size_t i = a.len;
    size_t j = b.len;
    uint32_t left = lcs->len;
    bool running = false;
    while (left > 0) {
        if (a.data[i - 1] != b.data[j - 1]) {
            size_t bit = bit_of(table, i - 1, j - 1);
            bool without_a = (table->without_a[bit / 8] >> bit % 8 & 1) != 0;
            i -= without_a;
            j -= !without_a;
            running = false;
            continue;
        }
        i--;
        j--;
        lcs->text[--left] = a.data[i];
        if (!running)
            lcs->matches[lcs->match_count++] =
                (struct mf_lcs_match){.a_last = (uint32_t)i, .b_last = (uint32_t)j};
        lcs->matches[lcs->match_count - 1].a_first = (uint32_t)i;
        lcs->matches[lcs->match_count - 1].b_first = (uint32_t)j;
        running = true;
    }
}

void mf_lcs_find(struct mf_bytes a, struct mf_bytes b, bool length_only, struct mf_lcs *lcs)
{
    struct table table = {.columns = b.len};
    assert(b.len == 0 || a.len <= MF_LCS_CELLS_MAX / b.len);
    *lcs = (struct mf_lcs){0};
    if (a.len == 0)
        b.len = 0; // there is nothing to be found
    if (!length_only)
        table.without_a = mf_calloc(a.len * b.len / 8 + 1, 1);
    lcs->len = fill(a, b, &table);
    if (!length_only) {
        lcs->text = mf_alloc(lcs->len + 1);
        lcs->matches = mf_calloc(lcs->len + 1, sizeof(*lcs->matches));
        go_back(a, b, &table, lcs);
    }
    free(table.without_a);
}

void mf_lcs_free(struct mf_lcs *lcs)
{
    free(lcs->text);
    free(lcs->matches);
    *lcs = (struct mf_lcs){0};
}
