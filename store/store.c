// The embedded store: opening and closing it, its shards' locks, and the threads it knows.
//
// A thread is known from its first read on by a record under a thread-specific key of the store's
// own, whose destructor gives the thread's readers back when the thread ends. The key is the
// store's, so nothing is left behind, in no thread, once a store is closed.
#include "store/store_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rand.h"
#include "base/slots.h"

// So much may wait for readers before a writer looks whether they have left.
#define TIDY_BYTES ((size_t)256 << 10)
// An epoch must be left twice before what was retired in it is freed.
#define TIDY_TRIES 3

uint32_t mf_store_shard_of(const struct mayfly_store *store, struct mf_bytes key)
{
    return store->shard_count > 1 ? mf_shard_of_key(key, store->shard_count) : 0;
}

enum mayfly_err mf_store_check_key(struct mayfly_bytes key)
{
    if (key.len == 0 || key.data == NULL)
        return MAYFLY_ERR_BAD_REQUEST;
    return key.len <= MAYFLY_STORE_KEY_MAX ? MAYFLY_OK : MAYFLY_ERR_TOO_LARGE;
}

uint64_t mf_store_begin(struct mayfly_store *store, uint32_t number)
{
    struct mf_store_shard *shard = &store->shards[number];
    if (pthread_mutex_trylock(&shard->lock) != 0) {
        // Relaxed: a hint to who may give way.
        atomic_fetch_add_explicit(&shard->waiting, 1, memory_order_relaxed);
        pthread_mutex_lock(&shard->lock);
        atomic_fetch_sub_explicit(&shard->waiting, 1, memory_order_relaxed);
    }
    // Relaxed: under the lock, where it is stored.
    uint64_t reached_us = atomic_load_explicit(&shard->reached_us, memory_order_relaxed);
    uint64_t now_us = store->clock.mono_us();
    if (now_us <= reached_us)
        return reached_us;
    // Release, pairs with the acquire in read.c: what was written before is seen with it.
    atomic_store_explicit(&shard->reached_us, now_us, memory_order_release);
    return now_us;
}

struct mf_result mf_store_apply(struct mf_store_shard *shard, uint64_t now_us,
                                const struct mf_command *command)
{
    struct mf_bytes encoded;
    struct mf_result result = {.kind = MF_RESULT_ERROR, .err = MF_INTERNAL};
    if (mf_shard_apply_one(shard->state, ++shard->index, now_us, command, &encoded) != MF_OK)
        return result;
    struct mf_reader reader = mf_reader_of(encoded);
    if (mf_result_decode(&reader, &result) != MF_OK)
        result = (struct mf_result){.kind = MF_RESULT_ERROR, .err = MF_INTERNAL};
    return result;
}

// Frees what readers have left. What they still hold is looked at again when more has come
// together, and by the readers when they leave.
static void tidy(struct mf_store_shard *shard)
{
    for (int i = 0; i < TIDY_TRIES && mf_map_waiting_bytes(shard->map) >= TIDY_BYTES; i++)
        mf_shard_reclaim(shard->state);
    size_t waiting_bytes = mf_map_waiting_bytes(shard->map);
    shard->tidy_at_bytes = waiting_bytes + TIDY_BYTES;
    // Relaxed: a hint. A reader that misses it leaves the work to the next one.
    atomic_store_explicit(&shard->littered, waiting_bytes >= TIDY_BYTES, memory_order_relaxed);
}

void mf_store_end(struct mayfly_store *store, uint32_t number)
{
    struct mf_store_shard *shard = &store->shards[number];
    if (mf_map_waiting_bytes(shard->map) >= shard->tidy_at_bytes)
        tidy(shard);
    uint64_t next_us = mf_shard_next_deadline(shard->state);
    // Relaxed: under the lock, where it is stored.
    uint64_t before_us = atomic_load_explicit(&shard->next_us, memory_order_relaxed);
    if (next_us != before_us)
        // Sequentially consistent, as is the look at the worker's time that follows: either that
        // finds the worker awake or going to sleep, or the worker finds this deadline.
        atomic_store_explicit(&shard->next_us, next_us, memory_order_seq_cst);
    pthread_mutex_unlock(&shard->lock);
    if (next_us < before_us && store->worker_count > 0)
        mf_store_wake_worker(store, number, next_us);
    // Sequentially consistent: see mf_store_tidy.
    if (atomic_load_explicit(&shard->left, memory_order_seq_cst))
        mf_store_tidy(store, number);
}

void mf_store_free_flushed(struct mayfly_store *store, uint32_t number)
{
    struct mf_shard *state = store->shards[number].state;
    for (bool more = true; more;) {
        mf_store_begin(store, number);
        mf_shard_reclaim(state);
        more = mf_shard_littered(state);
        mf_store_end(store, number);
    }
}

void mf_store_tidy(struct mayfly_store *store, uint32_t number)
{
    struct mf_store_shard *shard = &store->shards[number];
    // Sequentially consistent: who has the lock looks at this when it has given it back, so either
    // the lock is free here or its holder does the work.
    atomic_store_explicit(&shard->left, true, memory_order_seq_cst);
    while (atomic_load_explicit(&shard->left, memory_order_seq_cst) &&
           pthread_mutex_trylock(&shard->lock) == 0) {
        atomic_store_explicit(&shard->left, false, memory_order_seq_cst);
        tidy(shard);
        pthread_mutex_unlock(&shard->lock);
    }
}

static void forget_thread(struct mf_store_thread *thread)
{
    for (uint32_t i = 0; i < thread->store->shard_count; i++)
        mf_map_reader_free(thread->readers[i]);
    free(thread);
}

// The destructor of the key: the thread ends.
static void end_thread(void *record)
{
    struct mf_store_thread *thread = record;
    struct mayfly_store *store = thread->store;
    if (!mf_store_usable(store))
        return;
    pthread_mutex_lock(&store->threads_lock);
    if (thread->previous != NULL)
        thread->previous->next = thread->next;
    else
        store->threads = thread->next;
    if (thread->next != NULL)
        thread->next->previous = thread->previous;
    pthread_mutex_unlock(&store->threads_lock);
    forget_thread(thread);
}

struct mf_store_thread *mf_store_thread(struct mayfly_store *store)
{
    struct mf_store_thread *thread = pthread_getspecific(store->key);
    if (thread != NULL)
        return thread;
    thread = calloc(1, sizeof(*thread) + store->shard_count * sizeof(thread->readers[0]));
    if (thread == NULL)
        return NULL;
    thread->store = store;
    if (pthread_setspecific(store->key, thread) != 0) {
        free(thread);
        return NULL;
    }
    pthread_mutex_lock(&store->threads_lock);
    thread->next = store->threads;
    if (thread->next != NULL)
        thread->next->previous = thread;
    store->threads = thread;
    pthread_mutex_unlock(&store->threads_lock);
    return thread;
}

struct mf_map_reader *mf_store_reader(struct mf_store_thread *thread, uint32_t shard)
{
    if (thread->readers[shard] == NULL)
        thread->readers[shard] = mf_map_reader_new(thread->store->shards[shard].map);
    return thread->readers[shard];
}

// A page with one word that is not zero, and that is zero in every child of this process. Where the
// kernel cannot do that (before 4.14), the word stays and a child is not told.
static const uint32_t *new_alive_page(void)
{
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    uint32_t *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    (void)madvise(page, bytes, MADV_WIPEONFORK);
    *page = 1;
    return page;
}

static void free_alive_page(const uint32_t *page)
{
    if (page != NULL)
        munmap((void *)(uintptr_t)page, (size_t)sysconf(_SC_PAGESIZE));
}

static void init_shard(struct mf_store_shard *shard, uint32_t number, uint64_t seed)
{
    shard->state = mf_shard_new(number, seed);
    shard->map = mf_shard_map(shard->state);
    pthread_mutex_init(&shard->lock, NULL);
    atomic_init(&shard->next_us, MF_STORE_NEVER);
    shard->tidy_at_bytes = TIDY_BYTES;
}

static void free_store(struct mayfly_store *store)
{
    while (store->threads != NULL) {
        struct mf_store_thread *thread = store->threads;
        store->threads = thread->next;
        forget_thread(thread);
    }
    for (uint32_t i = 0; i < store->shard_count; i++) {
        mf_shard_free(store->shards[i].state);
        pthread_mutex_destroy(&store->shards[i].lock);
    }
    pthread_mutex_destroy(&store->threads_lock);
    pthread_mutex_destroy(&store->dump_lock);
    free_alive_page(store->alive);
    free(store);
}

static bool in_range(const struct mayfly_store_options *options)
{
    return options->shards <= MAYFLY_STORE_SHARDS_MAX &&
           options->expiry_threads <= MAYFLY_STORE_EXPIRY_THREADS_MAX &&
           !(options->manual_expiry && options->expiry_threads > 0);
}

static uint32_t number_or(uint32_t number, uint32_t otherwise)
{
    return number != 0 ? number : otherwise;
}

enum mayfly_err mf_store_open_with(const struct mayfly_store_options *options,
                                   const struct mf_store_clock *clock, struct mayfly_store **out)
{
    if (!in_range(options))
        return MAYFLY_ERR_BAD_REQUEST;
    uint32_t shard_count = number_or(options->shards, MAYFLY_STORE_SHARDS_DEFAULT);
    size_t bytes = sizeof(struct mayfly_store) + shard_count * sizeof(struct mf_store_shard);
    struct mayfly_store *store = aligned_alloc(_Alignof(struct mayfly_store), bytes);
    if (store == NULL)
        return MAYFLY_ERR_OUT_OF_MEMORY;
    memset(store, 0, bytes);
    store->clock = *clock;
    pthread_mutex_init(&store->threads_lock, NULL);
    pthread_mutex_init(&store->dump_lock, NULL);
    store->alive = new_alive_page();
    if (store->alive == NULL || pthread_key_create(&store->key, end_thread) != 0) {
        free_store(store);
        return MAYFLY_ERR_OUT_OF_MEMORY;
    }
    uint64_t seed;
    mf_entropy(&seed, sizeof(seed));
    store->shard_count = shard_count;
    for (uint32_t i = 0; i < shard_count; i++)
        init_shard(&store->shards[i], i, seed);
    uint32_t workers = options->manual_expiry ? 0 : number_or(options->expiry_threads, 1);
    enum mayfly_err err = mf_store_start_workers(store, workers);
    if (err != MAYFLY_OK) {
        pthread_key_delete(store->key);
        free_store(store);
        return err;
    }
    *out = store;
    return MAYFLY_OK;
}

enum mayfly_err mayfly_store_open(const struct mayfly_store_options *options,
                                  struct mayfly_store **out)
{
    static const struct mf_store_clock system = {mf_mono_us, mf_wall_us};
    struct mayfly_store_options defaults = {0};
    return mf_store_open_with(options != NULL ? options : &defaults, &system, out);
}

enum mayfly_err mayfly_store_close(struct mayfly_store *store)
{
    if (store == NULL)
        return MAYFLY_OK;
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    pthread_mutex_lock(&store->threads_lock);
    uint64_t held = 0;
    for (struct mf_store_thread *thread = store->threads; thread != NULL; thread = thread->next)
        held += atomic_load_explicit(&thread->held, memory_order_relaxed); // its thread is quiet
    pthread_mutex_unlock(&store->threads_lock);
    if (held > 0)
        return MAYFLY_ERR_BUSY;
    mf_store_stop_workers(store);
    pthread_key_delete(store->key);
    free_store(store);
    return MAYFLY_OK;
}

enum mayfly_err mayfly_store_stats(struct mayfly_store *store, struct mayfly_store_stats *out)
{
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    struct mayfly_store_stats stats = {0};
    for (uint32_t i = 0; i < store->shard_count; i++) {
        struct mf_shard_counters counters;
        struct mf_shard_memory memory;
        mf_store_begin(store, i);
        mf_shard_counters(store->shards[i].state, &counters);
        mf_shard_memory(store->shards[i].state, &memory);
        mf_store_end(store, i);
        stats.keys += memory.keys;
        stats.bytes += memory.bytes;
        stats.waiting_bytes += memory.waiting_bytes;
        stats.expired += counters.expired;
    }
    *out = stats;
    return MAYFLY_OK;
}
