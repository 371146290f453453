// The progress of a load; see load_progress.h.
#include "cli/load_progress.h"

#include <string.h>

#define BAR_EVERY_US 200000u
#define LINE_EVERY_US 5000000u
#define BAR_COLUMNS 30

struct load_progress load_progress_start(FILE *out, bool bar, uint64_t bytes_total, uint64_t now_us)
{
    return (struct load_progress){
        .out = out, .bar = bar, .bytes_total = bytes_total, .start_us = now_us, .last_us = now_us};
}

// "12 s", "3:05 min", "2:00 h".
static void format_left(char *out, size_t size, double seconds)
{
    unsigned long long whole = (unsigned long long)(seconds + 0.5);
    if (whole < 60)
        snprintf(out, size, "%llu s", whole);
    else if (whole < 3600)
        snprintf(out, size, "%llu:%02llu min", whole / 60, whole % 60);
    else
        snprintf(out, size, "%llu:%02llu h", whole / 3600, whole / 60 % 60);
}

static void print_bar(FILE *out, double done)
{
    char bar[BAR_COLUMNS + 1];
    size_t filled = (size_t)(done * BAR_COLUMNS);
    memset(bar, ' ', BAR_COLUMNS);
    memset(bar, '=', filled);
    if (filled < BAR_COLUMNS)
        bar[filled] = '>';
    bar[BAR_COLUMNS] = '\0';
    fprintf(out, "[%s] ", bar);
}

static void show(struct load_progress *progress, uint64_t bytes, uint64_t records, uint64_t now_us)
{
    FILE *out = progress->out;
    double interval_s = (double)(now_us - progress->last_us) / 1e6;
    double elapsed_s = (double)(now_us - progress->start_us) / 1e6;
    double rate = (double)(records - progress->last_records) / interval_s;
    fputs(progress->bar ? "\r" : "load: ", out);
    if (progress->bytes_total > 0) {
        double done = (double)bytes / (double)progress->bytes_total;
        done = done < 1 ? done : 1;
        if (progress->bar)
            print_bar(out, done);
        fprintf(out, "%.0f%%, ", done * 100);
        if (done > 0.01) {
            char left[32];
            format_left(left, sizeof left, elapsed_s / done - elapsed_s);
            fprintf(out, "%s left, ", left);
        }
    }
    fprintf(out, "%llu records, %.0f/s%s", (unsigned long long)records, rate,
            progress->bar ? "\x1b[K" : "\n");
    fflush(out);
    progress->shown = progress->bar;
}

void load_progress_tick(struct load_progress *progress, uint64_t bytes, uint64_t records,
                        uint64_t now_us)
{
    uint64_t every_us = progress->bar ? BAR_EVERY_US : LINE_EVERY_US;
    if (progress->out == NULL || now_us - progress->last_us < every_us)
        return;
    show(progress, bytes, records, now_us);
    progress->last_us = now_us;
    progress->last_records = records;
}

void load_progress_clear(struct load_progress *progress)
{
    if (progress->shown)
        fputs("\r\x1b[K", progress->out);
    progress->shown = false;
}
