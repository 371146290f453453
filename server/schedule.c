// Beginning snapshots and removing old ones; see schedule.h.
#include "server/schedule.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/snapshotter.h"
#include "server/worker.h"

#define SECOND_US UINT64_C(1000000)
// One that failed, or found another under way, is tried again after this long at the latest.
#define RETRY_US (60 * SECOND_US)
#define PREFIX "auto-"
#define NAME_CHARS (sizeof(PREFIX "20261121T193000Z") - 1)

struct name {
    char text[NAME_CHARS + 1];
};

enum stage {
    STAGE_NEW,     // nobody has looked into the folder yet
    STAGE_WAITING, // for due_us
    STAGE_BUSY,    // with a snapshot, or with the folder
};

struct mf_schedule {
    struct mf_job job; // the worker's while STAGE_BUSY
    struct mf_node *node;
    enum stage stage;   // this and what follows: reactor 0's
    uint64_t due_us;    // monotonic
    struct name newest; // found by the worker; "" = there is none
};

struct mf_schedule *mf_schedule_new(struct mf_node *node)
{
    struct mf_schedule *schedule = mf_calloc(1, sizeof(*schedule));
    schedule->node = node;
    return schedule;
}

void mf_schedule_free(struct mf_schedule *schedule)
{
    free(schedule);
}

static bool is_ours(const char *name)
{
    if (strlen(name) != NAME_CHARS || strncmp(name, PREFIX, sizeof(PREFIX) - 1) != 0)
        return false;
    struct tm tm = {0};
    const char *end = strptime(name + sizeof(PREFIX) - 1, "%Y%m%dT%H%M%SZ", &tm);
    return end != NULL && *end == '\0';
}

static uint64_t seconds_of(const struct name *name)
{
    struct tm tm = {0};
    strptime(name->text + sizeof(PREFIX) - 1, "%Y%m%dT%H%M%SZ", &tm);
    time_t seconds = timegm(&tm);
    return seconds > 0 ? (uint64_t)seconds : 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

// The worker: all of ours in the folder, oldest first; the caller frees them.
static struct name *list(const char *folder, size_t *count)
{
    struct name *names = NULL;
    size_t cap = 0;
    *count = 0;
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        if (errno != ENOENT)
            mf_log(MF_ERROR, "snapshots at intervals: cannot read the folder %s: %s", folder,
                   strerror(errno));
        return NULL;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (!is_ours(entry->d_name))
            continue;
        if (*count == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            names = mf_realloc(names, cap * sizeof(*names));
        }
        memcpy(names[(*count)++].text, entry->d_name, NAME_CHARS + 1);
    }
    closedir(dir);
    if (*count > 0)
        qsort(names, *count, sizeof(*names), by_name);
    return names;
}

static void drop(const char *folder, const struct name *name)
{
    char path[sizeof(((struct mf_config *)NULL)->snapshot_dir) + NAME_CHARS + 2];
    snprintf(path, sizeof(path), "%s/%s", folder, name->text);
    if (unlink(path) == 0)
        mf_log(MF_INFO, "snapshot %s: removed, newer ones are there", path);
    else if (errno != ENOENT)
        mf_log(MF_ERROR, "snapshot %s: cannot be removed: %s", path, strerror(errno));
}

static void work(struct mf_job *job)
{
    struct mf_schedule *schedule = (struct mf_schedule *)job;
    const struct mf_config *config = &schedule->node->config;
    size_t count;
    struct name *names = list(config->snapshot_dir, &count);
    schedule->newest = count > 0 ? names[count - 1] : (struct name){.text = ""};
    for (size_t i = 0; i + config->snapshot_keep < count; i++)
        drop(config->snapshot_dir, &names[i]);
    free(names);
}

// A wall clock that jumped makes the next one late by an interval at most, or early.
static void worked(struct mf_reactor *reactor, struct mf_task *task)
{
    struct mf_schedule *schedule = (struct mf_schedule *)(void *)task;
    uint64_t interval_us = schedule->node->config.snapshot_interval_s * SECOND_US;
    uint64_t wait_us = interval_us;
    if (schedule->newest.text[0] != '\0') {
        uint64_t newest_us = seconds_of(&schedule->newest) * SECOND_US;
        uint64_t wall_us = mf_wall_us();
        uint64_t past_us = wall_us > newest_us ? wall_us - newest_us : 0;
        wait_us = past_us < interval_us ? interval_us - past_us : 0;
    }
    schedule->due_us = mf_reactor_now_us(reactor) + wait_us;
    schedule->stage = STAGE_WAITING;
}

static void look(struct mf_schedule *schedule, struct mf_reactor *reactor)
{
    schedule->stage = STAGE_BUSY;
    schedule->job = (struct mf_job){.task = {.run = worked}, .home = reactor, .work = work};
    mf_worker_give(schedule->node->worker, &schedule->job);
}

static void written(void *arg, enum mf_err err, const char *message, struct mf_bytes packed)
{
    (void)message; // the snapshotter has logged it
    (void)packed;
    struct mf_reactor *reactor = arg;
    struct mf_schedule *schedule = reactor->node->schedule;
    if (err == MF_OK) {
        look(schedule, reactor);
        return;
    }
    uint64_t interval_us = schedule->node->config.snapshot_interval_s * SECOND_US;
    schedule->due_us =
        mf_reactor_now_us(reactor) + (interval_us < RETRY_US ? interval_us : RETRY_US);
    schedule->stage = STAGE_WAITING;
}

static void begin(struct mf_schedule *schedule, struct mf_reactor *reactor)
{
    time_t now = time(NULL);
    struct tm tm;
    char name[NAME_CHARS + 1];
    gmtime_r(&now, &tm);
    if (strftime(name, sizeof(name), PREFIX "%Y%m%dT%H%M%SZ", &tm) != NAME_CHARS)
        return; // a clock beyond the year 9999 has no such name
    schedule->stage = STAGE_BUSY;
    mf_snapshotter_start(schedule->node->snapshotter, reactor, mf_bytes_str(name), written,
                         reactor);
}

void mf_schedule_tick(struct mf_schedule *schedule, struct mf_reactor *reactor)
{
    const struct mf_node *node = schedule->node;
    if (node->config.snapshot_interval_s == 0 || schedule->stage == STAGE_BUSY ||
        reactor->stop_by_us != 0)
        return;
    if (schedule->stage == STAGE_NEW)
        look(schedule, reactor);
    else if (mf_reactor_now_us(reactor) >= schedule->due_us)
        begin(schedule, reactor);
}
