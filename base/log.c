// Log lines without waiting: see log.h.
//
// A caller formats its message on its own stack, claims a slot of a fixed ring and copies the
// message into it. The writer thread takes the slots in order, renders them as text or JSON,
// gathers the lines and writes them. Everything slow (the calendar, escapes, the write) is the
// writer's.
//
// The ring is Dmitry Vyukov's bounded queue, with a sequence number in every slot, for many
// producers and one consumer. Slot i starts with sequence i. A producer whose ticket equals the
// sequence may fill the slot and publishes ticket + 1; the consumer that finds ticket + 1 may read
// it and hands it back for the next lap as ticket + SLOTS.
//
// Shared between threads: `slots` and `next_ticket`, `queued` (a semaphore, one post a line),
// `dropped_lines`, `phase`, `stop_by_us` and the settings `level_min`, `line_format`, `node_id`.
// The writer thread's own: `read_ticket`, and `batch` in write_all_queued.
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_line.h"
#include "base/thread.h"

#define SLOTS UINT64_C(1024)
// What a pipe takes in one piece once poll has said that there is room.
#define WRITE_BYTES_MAX 4096u
#define POLL_MS 100
// How long a stderr that nobody reads may hold up mf_log_stop, or a line that is written directly.
#define PATIENCE_US UINT64_C(1000000)

struct slot {
    _Atomic uint64_t sequence;
    uint64_t wall_us;
    enum mf_log_level level;
    size_t len;
    char message[MF_LOG_LINE_MAX];
};

// DIRECT: there is no writer, callers write. STOPPING: the writer empties the ring and ends.
enum phase { DIRECT, RUNNING, STOPPING };

static struct slot slots[SLOTS];
static _Atomic uint64_t next_ticket;
static uint64_t read_ticket;
static _Atomic uint64_t dropped_lines;
static sem_t queued;
static pthread_t writer;
// Stored with release by start and stop, loaded with acquire: what start prepared is there for
// whoever sees RUNNING, and stop_by_us for a writer that sees STOPPING.
static _Atomic int phase = DIRECT;
static _Atomic uint64_t stop_by_us;
static _Atomic int level_min = MF_INFO;
static _Atomic int line_format = MF_LOG_TEXT;
static _Atomic unsigned node_id;

static void render(struct mf_log_line *line, enum mf_log_level level, uint64_t wall_us,
                   const char *message, size_t len)
{
    int format = atomic_load_explicit(&line_format, memory_order_relaxed);
    unsigned node = atomic_load_explicit(&node_id, memory_order_relaxed);
    mf_log_line_render(line, (enum mf_log_format)format, node, level, wall_us, message, len);
}

// Until when the caller may wait for a reader of stderr; the writer waits as long as it must.
static uint64_t patience_ends(void)
{
    switch (atomic_load_explicit(&phase, memory_order_acquire)) {
    case RUNNING:
        return UINT64_MAX;
    case STOPPING:
        return atomic_load_explicit(&stop_by_us, memory_order_relaxed);
    default:
        return mf_mono_us() + PATIENCE_US;
    }
}

static bool wait_for_room(void)
{
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    uint64_t give_up_us = patience_ends();
    for (;;) {
        bool late = mf_mono_us() >= give_up_us;
        if (poll(&fd, 1, late ? 0 : POLL_MS) > 0)
            return true;
        if (late)
            return false;
        if (give_up_us == UINT64_MAX)
            give_up_us = patience_ends(); // stopping may have begun
    }
}

// What a closed or broken stderr does not take is lost: there is nobody to tell.
static void write_out(const char *data, size_t len)
{
    while (len > 0 && wait_for_room()) {
        ssize_t done = write(STDERR_FILENO, data, len < WRITE_BYTES_MAX ? len : WRITE_BYTES_MAX);
        if (done < 0 && errno != EINTR && errno != EAGAIN)
            return;
        if (done > 0) {
            data += done;
            len -= (size_t)done;
        }
    }
}

// False when the ring is full.
static bool enqueue(enum mf_log_level level, uint64_t wall_us, const char *message, size_t len)
{
    uint64_t ticket = atomic_load_explicit(&next_ticket, memory_order_relaxed);
    struct slot *slot;
    for (;;) {
        slot = &slots[ticket % SLOTS];
        // Acquire, pairs with the release in dequeue: the writer has read what was in the slot.
        uint64_t sequence = atomic_load_explicit(&slot->sequence, memory_order_acquire);
        if (sequence < ticket)
            return false;
        if (sequence > ticket) // somebody else took this ticket
            ticket = atomic_load_explicit(&next_ticket, memory_order_relaxed);
        else if (atomic_compare_exchange_weak_explicit(&next_ticket, &ticket, ticket + 1,
                                                       memory_order_relaxed, memory_order_relaxed))
            break;
    }
    slot->level = level;
    slot->wall_us = wall_us;
    slot->len = len;
    memcpy(slot->message, message, len);
    // Release, pairs with the acquire in dequeue: the slot is filled.
    atomic_store_explicit(&slot->sequence, ticket + 1, memory_order_release);
    return true;
}

static bool dequeue(struct mf_log_line *line)
{
    struct slot *slot = &slots[read_ticket % SLOTS];
    // Acquire, pairs with the release in enqueue.
    if (atomic_load_explicit(&slot->sequence, memory_order_acquire) != read_ticket + 1)
        return false;
    render(line, slot->level, slot->wall_us, slot->message, slot->len);
    // Release, pairs with the acquire in enqueue.
    atomic_store_explicit(&slot->sequence, read_ticket + SLOTS, memory_order_release);
    read_ticket++;
    return true;
}

// The next queued line; after the last one, what was lost.
static bool next_line(struct mf_log_line *line)
{
    if (dequeue(line))
        return true;
    uint64_t lost = atomic_exchange_explicit(&dropped_lines, 0, memory_order_relaxed);
    if (lost == 0)
        return false;
    char message[96];
    int len =
        snprintf(message, sizeof(message), "%llu log lines were dropped: stderr is read too slowly",
                 (unsigned long long)lost);
    render(line, MF_WARN, mf_wall_us(), message, (size_t)len);
    return true;
}

static void write_all_queued(void)
{
    static char batch[16 * (MF_LOG_LINE_MAX + 1)];
    size_t len = 0;
    struct mf_log_line line;
    while (next_line(&line)) {
        if (len + line.len > sizeof(batch)) {
            write_out(batch, len);
            len = 0;
        }
        memcpy(batch + len, line.text, line.len);
        len += line.len;
    }
    write_out(batch, len);
}

static void *write_loop(void *arg)
{
    (void)arg;
    for (;;) {
        while (sem_wait(&queued) != 0) {
        }
        bool stopping = atomic_load_explicit(&phase, memory_order_acquire) == STOPPING;
        write_all_queued();
        if (stopping)
            return NULL;
    }
}

// The process's signals are for other threads: the writer inherits a mask that blocks them all.
static void prepare_once(void)
{
    static bool prepared;
    if (prepared)
        return;
    for (uint64_t i = 0; i < SLOTS; i++)
        atomic_store_explicit(&slots[i].sequence, i, memory_order_relaxed);
    sem_init(&queued, 0, 0);
    prepared = true;
}

void mf_log_start(enum mf_log_level level, enum mf_log_format format, unsigned node)
{
    atomic_store_explicit(&level_min, (int)level, memory_order_relaxed);
    atomic_store_explicit(&line_format, (int)format, memory_order_relaxed);
    atomic_store_explicit(&node_id, node, memory_order_relaxed);
    if (atomic_load_explicit(&phase, memory_order_acquire) != DIRECT)
        return;
    prepare_once();
    // RUNNING before the thread is there, so that the writer never takes itself for a direct one.
    atomic_store_explicit(&phase, RUNNING, memory_order_release);
    int failed = mf_thread_start(&writer, "log-lines", write_loop, NULL);
    if (failed != 0) {
        atomic_store_explicit(&phase, DIRECT, memory_order_release);
        mf_log(MF_WARN, "no thread for the log (%s): lines are written by whoever logs them",
               strerror(failed));
    }
}

void mf_log_stop(void)
{
    if (atomic_load_explicit(&phase, memory_order_acquire) != RUNNING)
        return;
    atomic_store_explicit(&stop_by_us, mf_mono_us() + PATIENCE_US, memory_order_relaxed);
    atomic_store_explicit(&phase, STOPPING, memory_order_release);
    sem_post(&queued);
    pthread_join(writer, NULL);
    atomic_store_explicit(&phase, DIRECT, memory_order_release);
}

void mf_log_set_level(enum mf_log_level level)
{
    atomic_store_explicit(&level_min, (int)level, memory_order_relaxed);
}

bool mf_log_on(enum mf_log_level level)
{
    return (int)level >= atomic_load_explicit(&level_min, memory_order_relaxed);
}

enum mf_err mf_log_level_parse(const char *name, enum mf_log_level *out)
{
    for (int i = MF_TRACE; i <= MF_ERROR; i++) {
        if (strcmp(name, mf_log_level_name((enum mf_log_level)i)) == 0) {
            *out = (enum mf_log_level)i;
            return MF_OK;
        }
    }
    return MF_BAD_REQUEST;
}

static void write_directly(enum mf_log_level level, const char *message, size_t len)
{
    struct mf_log_line line;
    render(&line, level, mf_wall_us(), message, len);
    write_out(line.text, line.len);
}

void mf_log(enum mf_log_level level, const char *format, ...)
{
    if (!mf_log_on(level))
        return;
    int saved_errno = errno;
    // MF_LOG_LINE_MAX bytes never fit beside time and level: the rendering sees that it must cut.
    char message[MF_LOG_LINE_MAX + 1];
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    size_t len = wanted < 0 ? 0 : (size_t)wanted;
    if (len >= sizeof(message))
        len = sizeof(message) - 1;
    if (atomic_load_explicit(&phase, memory_order_acquire) == DIRECT) {
        write_directly(level, message, len);
    } else {
        if (!enqueue(level, mf_wall_us(), message, len))
            atomic_fetch_add_explicit(&dropped_lines, 1, memory_order_relaxed);
        sem_post(&queued);
    }
    errno = saved_errno;
}
