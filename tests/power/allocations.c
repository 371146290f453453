// How often a real process allocates: preloaded, these functions do what the allocator's do, and
// count in the first 8 bytes of the file at MF_ALLOCATIONS, which is there and as long.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static _Atomic uint64_t *counter; // set before there is a second thread; NULL: nobody asks

static struct {
    void *(*malloc)(size_t size);
    void *(*calloc)(size_t count, size_t size);
    void *(*realloc)(void *old, size_t size);
    void *(*aligned_alloc)(size_t alignment, size_t size);
    int (*posix_memalign)(void **out, size_t alignment, size_t size);
} next;

static void *look_up(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        abort();
    return found;
}

// By the first allocation, which may come before any constructor.
static void find_next(void)
{
    if (next.posix_memalign != NULL)
        return;
    // Data and functions have addresses of the same form here.
    *(void **)&next.malloc = look_up("malloc");
    *(void **)&next.calloc = look_up("calloc");
    *(void **)&next.realloc = look_up("realloc");
    *(void **)&next.aligned_alloc = look_up("aligned_alloc");
    *(void **)&next.posix_memalign = look_up("posix_memalign");
}

static void count(void)
{
    find_next();
    if (counter != NULL)
        atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

#pragma GCC visibility push(default)

void *malloc(size_t size)
{
    count();
    return next.malloc(size);
}

void *calloc(size_t number, size_t size)
{
    count();
    return next.calloc(number, size);
}

void *realloc(void *old, size_t size)
{
    count();
    return next.realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count();
    return next.aligned_alloc(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    count();
    return next.posix_memalign(out, alignment, size);
}

#pragma GCC visibility pop

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("MF_ALLOCATIONS");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof(*counter), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED)
        counter = at;
}
