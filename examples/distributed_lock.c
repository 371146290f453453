// A lock that several machines share, and that frees itself when its holder dies.
//
// What it defends against: a holder who is paused for longer than the lock lives wakes up and goes
// on writing, although somebody else holds the lock by now. No lock service can stop it, so the
// thing that is protected must: every holder shows its fencing token, the version that taking the
// lock made, which is higher for each holder than for all before; who is below the highest one seen
// is refused. Renewing and releasing name the version too: they touch nobody else's lock.
//
//     distributed_lock [ADDRESS]
#include <mayfly/client.h>
#include <stdio.h>
#include <stdlib.h>

struct lock {
    const char *name;
    const char *owner; // for people who look
    uint64_t token;    // shown with everything that is done under the lock
    uint64_t version;  // the latest, changed by renewing
};

static struct mayfly_client *client;

static bool write_lock(struct lock *lock, struct mayfly_options options)
{
    struct mayfly_written written;
    if (mayfly_set(client, mayfly_str(lock->name), mayfly_str(lock->owner), &options, &written) !=
        MAYFLY_OK) {
        fprintf(stderr, "%s\n", mayfly_client_error(client));
        exit(1); // not known to hold it: a real program would stop its work here
    }
    if (written.written)
        lock->version = written.version;
    return written.written;
}

static bool take(struct lock *lock, int64_t ttl_ms)
{
    bool taken = write_lock(
        lock, (struct mayfly_options){.flags = MAYFLY_FLAG_NX | MAYFLY_FLAG_TTL, .ttl_ms = ttl_ms});
    if (taken)
        lock->token = lock->version;
    return taken;
}

// Well before its time is over. False: it was over, and the work must stop.
static bool renew(struct lock *lock, int64_t ttl_ms)
{
    return write_lock(lock,
                      (struct mayfly_options){.flags = MAYFLY_FLAG_IF_VERSION | MAYFLY_FLAG_TTL,
                                              .if_version = lock->version,
                                              .ttl_ms = ttl_ms});
}

static bool release(struct lock *lock)
{
    struct mayfly_options mine = {.flags = MAYFLY_FLAG_IF_VERSION, .if_version = lock->version};
    struct mayfly_bytes key = mayfly_str(lock->name);
    uint64_t deleted = 0;
    return mayfly_del(client, &key, 1, &mine, &deleted) == MAYFLY_OK && deleted == 1;
}

// What the lock protects; it could be a disk, a queue, another service.
static bool write_to_storage(uint64_t token)
{
    static uint64_t highest;
    if (token < highest)
        return false;
    highest = token;
    return true;
}

int main(int argc, char **argv)
{
    struct mayfly_client_options options = {.endpoints = argc > 1 ? argv[1] : NULL};
    struct lock a = {.name = "lock:report", .owner = "a"};
    struct lock b = {.name = "lock:report", .owner = "b"};
    client = mayfly_client_new(&options, NULL, 0);
    if (client == NULL)
        return 1;
    printf("a takes: %d\n", take(&a, 60000));
    printf("b takes: %d\n", take(&b, 60000));
    printf("a renews: %d\n", renew(&a, 20));
    printf("a writes: %d\n", write_to_storage(a.token));
    while (!take(&b, 60000)) // a sleeps too long
        continue;
    printf("b writes: %d\n", write_to_storage(b.token));
    printf("a writes: %d\n", write_to_storage(a.token));
    printf("a renews: %d\n", renew(&a, 60000));
    printf("a releases: %d\n", release(&a));
    printf("b releases: %d\n", release(&b));
    mayfly_client_free(client);
    return 0;
}
