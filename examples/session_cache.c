// A session cache on the embedded store: sessions that end when nobody has used them for a while.
//
// Every use of a session slides its TTL, with no lock in the program itself: each thread below
// serves requests of its own users. Signing in twice is refused by a condition, an update that
// would overwrite somebody else's is refused by a version, and at the end the sessions go to a file
// and into another store, as they would over a restart.
//
//     cc session_cache.c $(pkg-config --cflags --libs mayfly) -pthread
#include <mayfly/store.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_MS 60000
#define THREADS 4
#define USERS 250 // of each thread

static struct mayfly_store *sessions;

static void must(enum mayfly_err err, const char *what)
{
    if (err == MAYFLY_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, mayfly_err_name(err), mayfly_err_text(err));
    exit(1);
}

// False when the user has a session already.
static bool sign_in(const char *user)
{
    struct mayfly_options options = {.flags = MAYFLY_FLAG_NX | MAYFLY_FLAG_TTL, .ttl_ms = IDLE_MS};
    struct mayfly_written written;
    must(mayfly_store_set(sessions, mayfly_str(user), mayfly_str("0"), &options, &written),
         "sign in");
    return written.written;
}

// Counts a visit and slides the TTL in one step; false when the session has ended.
static bool visit(const char *user)
{
    for (;;) {
        struct mayfly_store_value got;
        must(mayfly_store_get(sessions, mayfly_str(user), &got), "look up");
        if (!got.found)
            return false;
        // The value is read where it stands; strtoul must not run past its end.
        char text[24] = "";
        memcpy(text, got.value.data, got.value.len < sizeof text ? got.value.len : 0);
        uint64_t version = got.version;
        mayfly_store_release(sessions, &got);
        snprintf(text, sizeof text, "%lu", strtoul(text, NULL, 10) + 1);
        struct mayfly_options options = {.flags = MAYFLY_FLAG_IF_VERSION | MAYFLY_FLAG_TTL,
                                         .if_version = version,
                                         .ttl_ms = IDLE_MS};
        struct mayfly_written written;
        must(mayfly_store_set(sessions, mayfly_str(user), mayfly_str(text), &options, &written),
             "count a visit");
        if (written.written)
            return true; // else another thread was first: look again
    }
}

static void *serve(void *arg)
{
    const int *number = arg;
    for (int i = 0; i < USERS; i++) {
        char user[32];
        snprintf(user, sizeof user, "user:%d:%d", *number, i);
        if (!sign_in(user) || sign_in(user) || !visit(user) || !visit("everybody"))
            fprintf(stderr, "%s: this cannot be\n", user);
        // To use a session without changing it, only its time is renewed.
        must(mayfly_store_expire(sessions, mayfly_str(user), IDLE_MS, NULL, NULL), "slide");
    }
    return NULL;
}

static void count_session(void *cookie, struct mayfly_bytes key, struct mayfly_bytes value,
                          uint64_t version, int64_t ttl_ms)
{
    (void)key, (void)value, (void)version;
    *(unsigned *)cookie += ttl_ms > 0 && ttl_ms <= IDLE_MS;
}

static unsigned count_sessions(void)
{
    unsigned count = 0;
    uint64_t cursor = 0;
    do
        must(mayfly_store_scan(sessions, &cursor, 100, count_session, &count), "scan");
    while (cursor != 0);
    return count;
}

// A session of 1 ms, and whoever waits for its end sees it.
static void wait_for_an_end(void)
{
    int64_t ttl_ms;
    must(mayfly_store_expire(sessions, mayfly_str("everybody"), 1, NULL, NULL), "end");
    do
        must(mayfly_store_ttl(sessions, mayfly_str("everybody"), &ttl_ms), "wait");
    while (ttl_ms != -2);
}

static void restart(const char *path)
{
    char message[256];
    uint64_t loaded;
    if (mayfly_store_dump(sessions, path, message, sizeof message) != MAYFLY_OK) {
        fprintf(stderr, "%s\n", message);
        exit(1);
    }
    must(mayfly_store_close(sessions), "close");
    must(mayfly_store_open(NULL, &sessions), "open");
    if (mayfly_store_load(sessions, path, &loaded, message, sizeof message) != MAYFLY_OK) {
        fprintf(stderr, "%s\n", message);
        exit(1);
    }
    printf("loaded %llu\n", (unsigned long long)loaded);
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    int numbers[THREADS];
    must(mayfly_store_open(NULL, &sessions), "open");
    sign_in("everybody");
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        if (pthread_create(&threads[i], NULL, serve, &numbers[i]) != 0)
            return 1;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    char visits[24];
    struct mayfly_entry entry;
    must(mayfly_store_copy(sessions, mayfly_str("everybody"), visits, sizeof visits, &entry),
         "copy");
    printf("sessions %u\nvisits %.*s\n", count_sessions(), (int)entry.value.len, visits);
    wait_for_an_end();
    if (argc > 1)
        restart(argv[1]);
    printf("sessions %u\n", count_sessions());
    must(mayfly_store_close(sessions), "close");
    return 0;
}
