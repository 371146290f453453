// Clocks that a test sets, for a real process: preloaded, these functions do what libc's do, and
// add to the wall clock and to CLOCK_BOOTTIME what the file at MF_CLOCK_OFFSETS says: two times 8
// bytes, signed, microseconds. Every other clock is left as it is.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_US 1000000

static int (*real_gettime)(clockid_t, struct timespec *);
static const _Atomic int64_t none[2];
static const _Atomic int64_t *offsets = none; // of the wall clock, and of CLOCK_BOOTTIME
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void prepare(void)
{
    *(void **)&real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("MF_CLOCK_OFFSETS");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *page = mmap(NULL, sizeof(none), PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED)
        offsets = page;
    close(fd);
}

#pragma GCC visibility push(default)

int clock_gettime(clockid_t id, struct timespec *now)
{
    pthread_once(&once, prepare);
    int result = real_gettime(id, now);
    bool wall = id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE;
    if (result != 0 || (!wall && id != CLOCK_BOOTTIME))
        return result;
    // Relaxed: nothing else is told by it.
    int64_t us =
        now->tv_nsec / 1000 + atomic_load_explicit(&offsets[wall ? 0 : 1], memory_order_relaxed);
    int64_t seconds = us / SECOND_US - (us % SECOND_US < 0);
    now->tv_sec += seconds;
    now->tv_nsec = (us - seconds * SECOND_US) * 1000 + now->tv_nsec % 1000;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    struct timespec wall;
    int result = clock_gettime(CLOCK_REALTIME, &wall);
    *now = (struct timeval){wall.tv_sec, wall.tv_nsec / 1000};
    return result;
}

time_t time(time_t *result)
{
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    if (result != NULL)
        *result = wall.tv_sec;
    return wall.tv_sec;
}

#pragma GCC visibility pop
