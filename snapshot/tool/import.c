// The verb import: a snapshot file made of lines of text, or of a file of Redis.
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "snapshot/format.h"
#include "snapshot/tool/collect.h"
#include "snapshot/tool/inspect.h"
#include "snapshot/tool/progress.h"
#include "snapshot/tool/rdb.h"
#include "snapshot/tool/text_in.h"
#include "snapshot/tool/tool.h"

struct import {
    const struct tool_args *args;
    struct input input;
    struct collect collect;
    struct progress progress;
    uint64_t shown; // of the input
    char why[1024];
};

static bool fail(struct import *import, const char *why)
{
    snprintf(import->why, sizeof(import->why), "%s", why);
    return false;
}

// Of text: what can be no other. A byte order mark is no part of it.
static const char *find_format(struct import *import)
{
    struct input *input = &import->input;
    if (input_fill(input, 3) && memcmp(input->at, "\xef\xbb\xbf", 3) == 0)
        input_drop(input, 3);
    if (import->args->format != NULL)
        return import->args->format;
    if (input_fill(input, 5) && memcmp(input->at, "REDIS", 5) == 0)
        return "rdb";
    size_t at = 0;
    while (at < 4096 && input_fill(input, at + 1) && strchr(" \t\r\n", input->at[at]) != NULL &&
           input->at[at] != '\0')
        at++;
    return at >= input->left || input->at[at] == '{' ? "json" : "csv";
}

static enum mf_err put(struct import *import, const struct entry *entry)
{
    progress_add(&import->progress, import->input.offset - import->shown);
    import->shown = import->input.offset;
    return collect_put(&import->collect, entry);
}

static bool import_text(struct import *import, bool csv)
{
    struct text_in in;
    text_in_start(&in, &import->input, csv);
    enum text_got got = TEXT_FAILED;
    enum mf_err err = collect_start(&import->collect, import->args->out, mf_wall_us());
    while (err == MF_OK) {
        struct entry entry;
        got = text_in_next(&in, &entry);
        if (got != TEXT_ENTRY)
            break;
        err = put(import, &entry);
    }
    bool good = err == MF_OK && got == TEXT_END;
    if (!good)
        fail(import, err != MF_OK ? import->collect.why : in.why);
    text_in_free(&in);
    return good;
}

// One line for each kind: how many, and the first of them by name.
static void tell_others(const struct import *import, const struct rdb *rdb)
{
    const char *path = import->input.path;
    for (int kind = 0; kind < RDB_KINDS; kind++) {
        const struct rdb_others *others = &rdb->others[kind];
        if (others->count == 0)
            continue;
        char names[RDB_NAMES * 280] = "";
        size_t len = 0;
        for (uint64_t i = 0; i < others->count && i < RDB_NAMES; i++) {
            char name[80] = "";
            char escaped[4 * sizeof(name)];
            if (others->names[i].len > 0)
                memcpy(name, others->names[i].data, others->names[i].len);
            len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i > 0 ? ", " : "",
                                    inspect_escape(name, escaped, sizeof(escaped)));
        }
        tool_fail(0, "%s: left out: %" PRIu64 " of type %s: %s%s", path, others->count,
                  rdb_kind_name((enum rdb_kind)kind), names,
                  others->count > RDB_NAMES ? ", ..." : "");
    }
    if (rdb->functions > 0)
        tool_fail(0, "%s: left out: %" PRIu64 " function libraries", path, rdb->functions);
    if (rdb->empty_keys > 0)
        tool_fail(0, "%s: left out: %" PRIu64 " strings whose key is empty", path, rdb->empty_keys);
    if (rdb->databases > 1)
        tool_fail(0, "%s: %" PRIu64 " databases have become one", path, rdb->databases);
}

static bool start_rdb(struct import *import, const struct rdb *rdb)
{
    uint64_t now_us = mf_wall_us();
    bool told = rdb->created_s > 0 && rdb->created_s < now_us / 1000000;
    return collect_start(&import->collect, import->args->out,
                         told ? rdb->created_s * 1000000 : now_us) == MF_OK ||
           fail(import, import->collect.why);
}

// The cut is when Redis began to write, which the file says before its first key.
static bool import_rdb(struct import *import)
{
    struct rdb rdb;
    struct entry entry;
    rdb_start(&rdb, &import->input);
    enum rdb_got got = rdb_next(&rdb, &entry);
    bool good = got != RDB_FAILED && start_rdb(import, &rdb);
    while (good && got == RDB_ENTRY) {
        good = put(import, &entry) == MF_OK || fail(import, import->collect.why);
        if (good)
            got = rdb_next(&rdb, &entry);
    }
    if (got == RDB_FAILED)
        good = fail(import, rdb.why);
    if (good)
        tell_others(import, &rdb);
    rdb_free(&rdb);
    return good;
}

// Replacing a device or the source itself is never what was meant.
static bool check_out(struct import *import)
{
    const char *out = import->args->out;
    struct stat about;
    struct stat source;
    if (stat(out, &about) != 0)
        return true;
    if (!S_ISREG(about.st_mode)) {
        snprintf(import->why, sizeof(import->why), "%s is no regular file", out);
        return false;
    }
    bool same = fstat(import->input.fd, &source) == 0 && source.st_dev == about.st_dev &&
                source.st_ino == about.st_ino;
    return !same || fail(import, "FILE and OUT are the same file");
}

static bool run(struct import *import)
{
    if (!check_out(import))
        return false;
    const struct input *input = &import->input;
    if (input_fill(&import->input, MF_SNAPSHOT_MAGIC_BYTES) &&
        mf_snapshot_begins(mf_bytes_of(input->at, input->left)))
        return fail(import, "it is a snapshot file already: restore and export take it as it is");
    const char *format = find_format(import);
    if (import->input.failed)
        return fail(import, import->input.why);
    return strcmp(format, "rdb") == 0 ? import_rdb(import)
                                      : import_text(import, strcmp(format, "csv") == 0);
}

int tool_import(const struct tool_args *args)
{
    struct import import = {.args = args};
    if (!input_open(&import.input, args->file))
        return tool_fail(EXIT_FAILED, "%s", import.input.why);
    progress_start(&import.progress, "importing", import.input.bytes_total, false);
    bool good = run(&import);
    progress_end(&import.progress);
    struct mf_snapshot_totals totals;
    int status = EXIT_FINE;
    if (!good) {
        collect_abort(&import.collect);
        status = tool_fail(EXIT_FAILED, "%s", import.why);
    } else if (collect_commit(&import.collect, &totals) != MF_OK) {
        status = tool_fail(EXIT_FAILED, "%s", import.collect.why);
    } else {
        if (import.collect.repeated > 0)
            tool_fail(0, "%s: %" PRIu64 " entries gave way to a later one of the same key",
                      import.input.path, import.collect.repeated);
        printf("%s: %" PRIu64 " keys, %" PRIu64 " bytes, identity %016" PRIx64 "\n", args->out,
               totals.keys, totals.bytes, totals.identity);
    }
    input_close(&import.input);
    return status;
}
