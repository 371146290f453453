// Has a node write a snapshot, and copies it; see fetch.h.
//
// The name on the node is random, so that two dumps at once do not touch each other's file. Who
// ends this program in the middle leaves it there, in snapshot.dir.
#include "snapshot/tool/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "mayfly/client.h"
#include "snapshot/tool/progress.h"

#define SNAPSHOT_TIMEOUT_MS (24u * 3600u * 1000u)
#define GONE_AFTER_US (15u * 1000u * 1000u)

struct fetch {
    struct mayfly_client *client;
    const char *address;
    char name[32];
    bool answered;
    bool made;
    int fd;
    char *message;
    size_t message_size;
};

static bool fail(struct fetch *fetch, const char *why)
{
    snprintf(fetch->message, fetch->message_size, "%s: %s", fetch->address, why);
    return false;
}

static bool fail_errno(struct fetch *fetch, const char *what)
{
    char why[256];
    snprintf(why, sizeof(why), "%s: %s", what, strerrordesc_np(errno));
    return fail(fetch, why);
}

static void on_made(void *cookie, const struct mayfly_reply *reply)
{
    struct fetch *fetch = cookie;
    fetch->answered = true;
    fetch->made = reply->err == MAYFLY_OK;
    if (!fetch->made) {
        char why[512];
        snprintf(why, sizeof(why), "%s: %s", mayfly_err_name(reply->err), reply->message);
        fail(fetch, why);
    }
}

// A snapshot may take long. A node that cannot be reached is given up all the same.
static bool wait_for_snapshot(struct fetch *fetch, struct progress *progress)
{
    uint64_t start_us = mf_mono_us();
    uint64_t there_us = start_us;
    while (!fetch->answered) {
        (void)mayfly_poll(fetch->client, 500);
        uint64_t now_us = mf_mono_us();
        if (mayfly_client_endpoint(fetch->client)[0] != '\0')
            there_us = now_us;
        else if (now_us - there_us > GONE_AFTER_US)
            return fail(fetch, "it is gone, in the middle of its snapshot");
        progress_add(progress, (now_us - start_us) / 1000000 - progress->bytes);
    }
    return fetch->made;
}

static bool make(struct fetch *fetch)
{
    struct mayfly_bytes name = {fetch->name, strlen(fetch->name)};
    struct mayfly_request request = {.method = MAYFLY_METHOD_SNAPSHOT, .keys = &name, .count = 1};
    mayfly_client_set_timeout(fetch->client, SNAPSHOT_TIMEOUT_MS);
    if (mayfly_submit(fetch->client, &request, on_made, fetch) != MAYFLY_OK)
        return fail(fetch, mayfly_client_error(fetch->client));
    char doing[400];
    snprintf(doing, sizeof(doing), "%s writes its snapshot:", fetch->address);
    struct progress progress;
    progress_start(&progress, doing, 0, false);
    progress.unit = "s";
    bool made = wait_for_snapshot(fetch, &progress);
    progress_end(&progress);
    mayfly_client_set_timeout(fetch->client, 0);
    return made;
}

static bool write_all(struct fetch *fetch, struct mayfly_bytes bytes)
{
    const uint8_t *at = bytes.data;
    while (bytes.len > 0) {
        ssize_t written = write(fetch->fd, at, bytes.len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written == 0)
            errno = ENOSPC;
        if (written <= 0)
            return fail_errno(fetch, "writing what it sends");
        at += written;
        bytes.len -= (size_t)written;
    }
    return true;
}

static bool copy(struct fetch *fetch, struct progress *progress)
{
    uint64_t offset = 0;
    for (;;) {
        struct mayfly_bytes piece;
        uint64_t size;
        if (mayfly_snapshot_read(fetch->client, fetch->name, offset, &piece, &size) != MAYFLY_OK)
            return fail(fetch, mayfly_client_error(fetch->client));
        if (piece.len == 0)
            return offset == size || fail(fetch, "its file ends before its end");
        if (!write_all(fetch, piece))
            return false;
        offset += piece.len;
        progress->bytes_total = size;
        progress_add(progress, piece.len);
    }
}

static bool copy_with_progress(struct fetch *fetch)
{
    struct progress progress;
    progress_start(&progress, "fetching", 0, false);
    bool good = copy(fetch, &progress);
    progress_end(&progress);
    return good;
}

// A file without a name, in the folder that the dump goes to: that is where there is room.
static bool create(struct fetch *fetch, const char *beside)
{
    size_t size = strlen(beside) + 40;
    char *path = mf_alloc(size);
    snprintf(path, size, "%s.from-%ld", beside, (long)getpid());
    fetch->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool made = fetch->fd >= 0;
    if (!made || unlink(path) != 0) {
        snprintf(fetch->message, fetch->message_size, "creating %s: %s", path,
                 strerrordesc_np(errno));
        made = false;
    }
    free(path);
    return made;
}

static struct mf_snapshot_reader *open_reader(struct fetch *fetch)
{
    char path[48];
    char why[512];
    struct mf_snapshot_reader *reader = NULL;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fetch->fd);
    if (mf_snapshot_open(path, &reader, why, sizeof(why)) != MF_OK)
        fail(fetch, why);
    return reader;
}

struct mf_snapshot_reader *fetch_shards(const struct tool_args *args, const char *address,
                                        const char *beside, char *message, size_t message_size)
{
    struct fetch fetch = {
        .address = address, .fd = -1, .message = message, .message_size = message_size};
    uint64_t number = 0;
    struct mf_snapshot_reader *reader = NULL;
    fetch.client = layout_client(args, address, message, message_size);
    if (fetch.client == NULL)
        return NULL;
    if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number)) {
        fail_errno(&fetch, "choosing a name");
        goto out;
    }
    snprintf(fetch.name, sizeof(fetch.name), "dump-%016" PRIx64, number);
    if (mayfly_client_connect(fetch.client) != MAYFLY_OK) {
        fail(&fetch, mayfly_client_error(fetch.client));
        goto out;
    }
    if (create(&fetch, beside) && make(&fetch) && copy_with_progress(&fetch))
        reader = open_reader(&fetch);
    if (fetch.made && mayfly_snapshot_remove(fetch.client, fetch.name, NULL) != MAYFLY_OK)
        tool_fail(0, "%s: its file %s stays in its snapshot.dir: %s", address, fetch.name,
                  mayfly_client_error(fetch.client));
out:
    if (fetch.fd >= 0)
        close(fetch.fd);
    mayfly_client_free(fetch.client);
    return reader;
}
