// Beginning snapshots and removing old ones; see schedule.h.
#include "server/schedule.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/snapshotter.h"
#include "server/worker.h"
#include "snapshot/source.h"
#include "snapshot/unfinished.h"

#define PATH_BYTES (sizeof(((struct mf_config *)NULL)->snapshot_dir) + NAME_MAX + 2)
#define SECOND_US UINT64_C(1000000)
// One that failed, or found another under way, is tried again after this long at the latest.
#define RETRY_US (60 * SECOND_US)
// Of a snapshot's name (docs/protocol.md).
#define SNAPSHOT_CHARS_MAX 64
#define FORM "%Y%m%dT%H%M%SZ"
#define TIME_CHARS (sizeof("20261121T193000Z") - 1)
#define NAME_CHARS_MAX (sizeof("auto-65535-") - 1 + TIME_CHARS)

struct name {
    char text[NAME_CHARS_MAX + 1];
    uint64_t seconds; // since 1970, by its text
};

enum stage {
    STAGE_NEW,     // nobody has looked into the folder yet
    STAGE_WAITING, // for due_us
    STAGE_BUSY,    // with a snapshot, or with the folder
};

struct mf_schedule {
    struct mf_node *node;
    char prefix[sizeof("auto-65535-")];
    // The worker's while it has the job, else reactor 0's, as the two below.
    struct mf_job job;
    bool swept;        // unfinished ones of an earlier process are gone
    uint64_t newest_s; // of the newest that is there; 0 = there is none
    // Reactor 0's.
    enum stage stage;
    uint64_t due_us; // monotonic
};

static struct mf_schedule *of_job(struct mf_job *job)
{
    return (struct mf_schedule *)(void *)((char *)job - offsetof(struct mf_schedule, job));
}

struct mf_schedule *mf_schedule_new(struct mf_node *node)
{
    struct mf_schedule *schedule = mf_calloc(1, sizeof(*schedule));
    schedule->node = node;
    snprintf(schedule->prefix, sizeof(schedule->prefix), "auto-%u-", node->config.id);
    return schedule;
}

void mf_schedule_free(struct mf_schedule *schedule)
{
    free(schedule);
}

// What stands behind the name's time, or NULL when the name is not one of ours.
static const char *parse(const struct mf_schedule *schedule, const char *name, uint64_t *seconds)
{
    size_t prefix = strlen(schedule->prefix);
    struct tm tm = {0};
    if (strncmp(name, schedule->prefix, prefix) != 0 || strlen(name) < prefix + TIME_CHARS)
        return NULL;
    const char *end = strptime(name + prefix, FORM, &tm);
    if (end != name + prefix + TIME_CHARS)
        return NULL;
    time_t time = timegm(&tm);
    *seconds = time > 0 ? (uint64_t)time : 0;
    return end;
}

// Oldest first. What is of a time to come was made when the clock was wrong, and goes first: else
// it would stand in the way of all that follow.
static int by_age(const void *a, const void *b, void *now_s)
{
    const struct name *left = a;
    const struct name *right = b;
    uint64_t now = *(const uint64_t *)now_s;
    uint64_t left_s = left->seconds > now ? 0 : left->seconds;
    uint64_t right_s = right->seconds > now ? 0 : right->seconds;
    return left_s == right_s ? strcmp(left->text, right->text) : left_s < right_s ? -1 : 1;
}

static void drop(const char *folder, const char *name, const char *why)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (unlink(path) == 0)
        mf_log(MF_INFO, "snapshot %s: removed, %s", path, why);
    else if (errno != ENOENT)
        mf_log(MF_ERROR, "snapshot %s: cannot be removed: %s", path, strerror(errno));
}

// Whatever else has such a name is not ours to remove, or to count.
static bool is_snapshot(const char *folder, const char *name)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return mf_snapshot_recognize(path) == MF_OK;
}

// The worker: all of ours in the folder; the caller frees them.
static struct name *list(const struct mf_schedule *schedule, size_t *count)
{
    const char *folder = schedule->node->config.snapshot_dir;
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
        uint64_t seconds;
        const char *rest = parse(schedule, entry->d_name, &seconds);
        if (rest == NULL || *rest != '\0' || !is_snapshot(folder, entry->d_name))
            continue;
        if (*count == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            names = mf_realloc(names, cap * sizeof(*names));
        }
        struct name *name = &names[(*count)++];
        snprintf(name->text, sizeof(name->text), "%s", entry->d_name);
        name->seconds = seconds;
    }
    closedir(dir);
    return names;
}

// The worker, once: what processes that were killed have left, this node's or another's.
static void sweep(const struct mf_schedule *schedule)
{
    const char *folder = schedule->node->config.snapshot_dir;
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return; // none has been written yet, or a snapshot will say why none can be
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        int len = mf_unfinished_name(entry->d_name);
        if (len == 0 || len > SNAPSHOT_CHARS_MAX || entry->d_name[0] == '.')
            continue;
        char path[PATH_BYTES];
        uint64_t seconds;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        bool begun = parse(schedule, entry->d_name, &seconds) != NULL;
        enum mf_err err = mf_unfinished_remove(path, begun);
        if (err == MF_OK)
            mf_log(MF_INFO, "snapshot %s: removed, it was never finished", path);
        else if (err == MF_IO)
            mf_log(MF_ERROR, "snapshot %s: cannot be removed: %s", path, strerror(errno));
    }
    closedir(dir);
}

static void work(struct mf_job *job)
{
    struct mf_schedule *schedule = of_job(job);
    const struct mf_config *config = &schedule->node->config;
    if (!schedule->swept)
        sweep(schedule);
    schedule->swept = true;
    if (config->snapshot_interval_s == 0)
        return;
    uint64_t now_s = mf_wall_us() / SECOND_US;
    size_t count;
    struct name *names = list(schedule, &count);
    if (count > 0)
        qsort_r(names, count, sizeof(*names), by_age, &now_s);
    for (size_t i = 0; i + config->snapshot_keep < count; i++)
        drop(config->snapshot_dir, names[i].text, "newer ones are there");
    schedule->newest_s =
        count > 0 && names[count - 1].seconds <= now_s ? names[count - 1].seconds : 0;
    free(names);
}

static void worked(struct mf_reactor *reactor, struct mf_task *task)
{
    struct mf_schedule *schedule = of_job((struct mf_job *)task); // its first member
    uint64_t interval_us = schedule->node->config.snapshot_interval_s * SECOND_US;
    uint64_t newest_us = schedule->newest_s * SECOND_US;
    uint64_t wall_us = mf_wall_us();
    uint64_t past_us = wall_us > newest_us ? wall_us - newest_us : 0;
    schedule->due_us =
        mf_reactor_now_us(reactor) + (past_us < interval_us ? interval_us - past_us : 0);
    schedule->stage = STAGE_WAITING;
}

static void try_later(struct mf_schedule *schedule, struct mf_reactor *reactor)
{
    uint64_t interval_us = schedule->node->config.snapshot_interval_s * SECOND_US;
    schedule->due_us =
        mf_reactor_now_us(reactor) + (interval_us < RETRY_US ? interval_us : RETRY_US);
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
    if (err == MF_OK)
        look(schedule, reactor);
    else
        try_later(schedule, reactor);
}

static void begin(struct mf_schedule *schedule, struct mf_reactor *reactor)
{
    time_t now = time(NULL);
    struct tm tm;
    char name[NAME_CHARS_MAX + 1];
    size_t prefix = strlen(schedule->prefix);
    snprintf(name, sizeof(name), "%s", schedule->prefix);
    // One of no shards would only take the place of one that has some. A clock beyond the year 9999
    // gives no such name.
    if (atomic_load_explicit(&schedule->node->held, memory_order_relaxed) == 0 ||
        gmtime_r(&now, &tm) == NULL ||
        strftime(name + prefix, sizeof(name) - prefix, FORM, &tm) != TIME_CHARS) {
        try_later(schedule, reactor);
        return;
    }
    schedule->stage = STAGE_BUSY;
    mf_snapshotter_start(schedule->node->snapshotter, reactor, mf_bytes_str(name), written,
                         reactor);
}

void mf_schedule_tick(struct mf_schedule *schedule, struct mf_reactor *reactor)
{
    const struct mf_node *node = schedule->node;
    if (schedule->stage == STAGE_BUSY || reactor->stop_by_us != 0)
        return;
    if (schedule->stage == STAGE_NEW)
        look(schedule, reactor);
    else if (node->config.snapshot_interval_s != 0 &&
             mf_reactor_now_us(reactor) >= schedule->due_us)
        begin(schedule, reactor);
}
