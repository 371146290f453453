// A bar on a terminal; see progress.h.
#include "snapshot/tool/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define SHOW_EVERY_US 200000u
#define BAR_COLUMNS 30

void progress_start(struct progress *progress, const char *doing, uint64_t bytes_total,
                    bool to_stdout)
{
    *progress = (struct progress){.on = isatty(STDERR_FILENO) == 1 &&
                                        !(to_stdout && isatty(STDOUT_FILENO) == 1),
                                  .doing = doing,
                                  .bytes_total = bytes_total,
                                  .start_us = mf_mono_us()};
}

static void show(struct progress *progress, uint64_t now_us)
{
    double seconds = (double)(now_us - progress->start_us) / 1e6;
    double rate = seconds > 0 ? (double)progress->bytes / 1e6 / seconds : 0;
    fprintf(stderr, "\r%s ", progress->doing);
    if (progress->bytes_total > 0) {
        double done = (double)progress->bytes / (double)progress->bytes_total;
        done = done < 1 ? done : 1;
        int filled = (int)(done * BAR_COLUMNS);
        fprintf(stderr, "[%.*s%*s] %3.0f%%, ", filled,
                "==============================", BAR_COLUMNS - filled, "", done * 100);
    }
    if (progress->unit != NULL)
        fprintf(stderr, "%" PRIu64 " %s\x1b[K", progress->bytes, progress->unit);
    else
        fprintf(stderr, "%.1f MB, %.1f MB/s\x1b[K", (double)progress->bytes / 1e6, rate);
    fflush(stderr);
    progress->shown = true;
    progress->shown_us = now_us;
}

void progress_add(struct progress *progress, uint64_t bytes)
{
    if (progress == NULL || !progress->on)
        return;
    progress->bytes += bytes;
    uint64_t now_us = mf_mono_us();
    if (!progress->shown || now_us - progress->shown_us >= SHOW_EVERY_US)
        show(progress, now_us);
}

void progress_count(void *arg, uint64_t bytes)
{
    progress_add(arg, bytes);
}

void progress_end(struct progress *progress)
{
    if (progress->shown)
        fputs("\r\x1b[K", stderr);
    progress->shown = false;
    progress->on = false;
}
