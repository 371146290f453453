// inspect as text: a table for eyes, and tab-separated lines for scripts. Both have the same
// columns.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "snapshot/tool/inspect.h"

enum { COLUMNS = 12, CELL_BYTES = 32 };

static const char *const titles[COLUMNS] = {"SHARD",     "KEYS",        "IDS",    "WITH TTL",
                                            "LOG INDEX", "LOG TIME US", "CUT AT", "VERSION",
                                            "BLOCKS",    "RAW BYTES",   "BYTES",  "RATIO"};

const char *inspect_escape(const char *text, char *out, size_t size)
{
    size_t len = 0;
    for (const char *at = text; *at != '\0' && len + 5 <= size; at++) {
        unsigned char c = (unsigned char)*at;
        if (c == '\\')
            len += (size_t)snprintf(out + len, 5, "\\\\");
        else if (c < ' ' || c > '~')
            len += (size_t)snprintf(out + len, 5, "\\x%02x", c);
        else
            out[len++] = *at;
    }
    out[len] = '\0';
    return out;
}

// ISO 8601 in UTC, or the bare number for what no calendar has.
static void put_time(char cell[CELL_BYTES], uint64_t unix_us)
{
    time_t seconds = (time_t)(unix_us / 1000000);
    struct tm when;
    char text[CELL_BYTES];
    if (unix_us / 1000000 < UINT64_C(253402300800) && gmtime_r(&seconds, &when) != NULL &&
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &when) > 0)
        snprintf(cell, CELL_BYTES, "%.19s.%03uZ", text, (unsigned)(unix_us / 1000 % 1000));
    else
        snprintf(cell, CELL_BYTES, "%" PRIu64 " us", unix_us);
}

static void put_cells(char cells[COLUMNS][CELL_BYTES], const struct inspected *inspected,
                      uint32_t i)
{
    const struct mf_snapshot_shard *section = mf_snapshot_section(inspected->reader, i);
    const uint64_t numbers[COLUMNS] = {section->shard,
                                       section->meta.keys,
                                       section->meta.ids,
                                       section->meta.keys - inspected->section_ttls[i].none,
                                       section->meta.applied,
                                       section->meta.log_time_us,
                                       0,
                                       section->meta.version,
                                       section->blocks,
                                       section->raw_bytes,
                                       section->stored_bytes,
                                       0};
    for (size_t n = 0; n < COLUMNS; n++)
        snprintf(cells[n], CELL_BYTES, "%" PRIu64, numbers[n]);
    if (section->wall_us != 0)
        put_time(cells[6], section->wall_us);
    else
        snprintf(cells[6], CELL_BYTES, "at first start");
    snprintf(cells[11], CELL_BYTES, "%.2f",
             inspect_ratio(section->raw_bytes, section->stored_bytes));
}

static void print_pair(bool plain, const char *name, const char *value)
{
    if (plain)
        printf("%s\t%s\n", name, value);
    else
        printf("%-19s%s\n", name, value);
}

static void print_number(bool plain, const char *name, uint64_t value)
{
    char text[CELL_BYTES];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    print_pair(plain, name, text);
}

// A table leaves out the ranges that nobody is in; a script finds all of them.
static void print_ttls(const struct ttl_counts *counts, bool plain)
{
    print_number(plain, plain ? "ttl\tnone" : "no TTL", counts->none);
    if (plain || counts->dead > 0)
        print_number(plain, plain ? "ttl\tdead" : "dead", counts->dead);
    for (int i = 0; i < TTL_RANGES; i++) {
        char name[48];
        snprintf(name, sizeof(name), "%s%s", plain ? "ttl\t" : "TTL ", ttl_range_name(i));
        if (plain || counts->range[i] > 0)
            print_number(plain, name, counts->range[i]);
    }
}

static void print_summary(const struct inspected *inspected, bool plain)
{
    const struct mf_snapshot_summary *summary = &inspected->summary;
    char text[4 * 4096 + 1];
    char cell[CELL_BYTES];
    print_pair(plain, "file", inspect_escape(inspected->file, text, sizeof(text)));
    print_number(plain, "format", summary->version);
    print_pair(plain, "cluster", inspect_escape(summary->cluster, text, sizeof(text)));
    put_time(cell, summary->created_us);
    print_pair(plain, "created", cell);
    print_number(plain, "bytes", summary->file_bytes);
    snprintf(cell, sizeof(cell), "%016" PRIx64, summary->identity);
    print_pair(plain, "identity", cell);
    snprintf(cell, sizeof(cell), "%" PRIu32 " of %" PRIu32, summary->shards, summary->shard_count);
    print_pair(plain, "shards", cell);
    print_number(plain, "keys", summary->keys);
    print_number(plain, "ids", summary->ids);
    print_ttls(&inspected->ttl, plain);
}

void inspect_plain(const struct inspected *inspected)
{
    print_summary(inspected, true);
    for (uint32_t i = 0; i < inspected->summary.shards; i++) {
        char cells[COLUMNS][CELL_BYTES];
        put_cells(cells, inspected, i);
        fputs("section", stdout);
        for (size_t n = 0; n < COLUMNS; n++)
            printf("\t%s", cells[n]);
        putchar('\n');
    }
}

static void print_cell(const size_t widths[COLUMNS], size_t column, const char *cell)
{
    printf("%*s%s", (int)widths[column], cell, column + 1 < COLUMNS ? "  " : "\n");
}

void inspect_table(const struct inspected *inspected)
{
    print_summary(inspected, false);
    uint32_t rows = inspected->summary.shards;
    if (rows == 0)
        return;
    size_t widths[COLUMNS];
    for (size_t n = 0; n < COLUMNS; n++)
        widths[n] = strlen(titles[n]);
    char cells[COLUMNS][CELL_BYTES];
    for (uint32_t i = 0; i < rows; i++) {
        put_cells(cells, inspected, i);
        for (size_t n = 0; n < COLUMNS; n++)
            widths[n] = strlen(cells[n]) > widths[n] ? strlen(cells[n]) : widths[n];
    }
    putchar('\n');
    for (size_t n = 0; n < COLUMNS; n++)
        print_cell(widths, n, titles[n]);
    for (uint32_t i = 0; i < rows; i++) {
        put_cells(cells, inspected, i);
        for (size_t n = 0; n < COLUMNS; n++)
            print_cell(widths, n, cells[n]);
    }
}
