// Sessions of a web service: a random name for a cookie, the user behind it, and an end when nobody
// has come for a while.
//
// What it defends against: reading the session and then prolonging it, as two steps, can prolong
// one that has just been signed out, or find it dead in between. `getex` is both in one. A name
// that is taken already is never overwritten (nx). And no failover gives a session back that has
// ended.
//
//     session_store [ADDRESS]
#include <mayfly/client.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define IDLE_MS 60000

static struct mayfly_client *client;

static void must(enum mayfly_err err)
{
    if (err == MAYFLY_OK)
        return;
    fprintf(stderr, "%s\n", mayfly_client_error(client));
    exit(1);
}

// A new session's name into `name`.
static void sign_in(const char *user, int64_t idle_ms, char name[48])
{
    struct mayfly_options options = {.flags = MAYFLY_FLAG_NX | MAYFLY_FLAG_TTL, .ttl_ms = idle_ms};
    struct mayfly_written written = {0};
    while (!written.written) {
        unsigned long long words[2];
        if (getrandom(words, sizeof words, 0) != sizeof words)
            abort();
        snprintf(name, 48, "session:%016llx%016llx", words[0], words[1]);
        must(mayfly_set(client, mayfly_str(name), mayfly_str(user), &options, &written));
    }
}

// Every visit puts the end off. False when the session has ended.
static bool visit(const char *name, int64_t idle_ms)
{
    struct mayfly_options options = {.flags = MAYFLY_FLAG_TTL, .ttl_ms = idle_ms};
    struct mayfly_entry session;
    must(mayfly_getex(client, mayfly_str(name), &options, &session));
    return session.found;
}

static bool sign_out(const char *name)
{
    struct mayfly_bytes key = mayfly_str(name);
    uint64_t ended;
    must(mayfly_del(client, &key, 1, NULL, &ended));
    return ended == 1;
}

int main(int argc, char **argv)
{
    struct mayfly_client_options options = {.endpoints = argc > 1 ? argv[1] : NULL};
    char name[48];
    char short_lived[48];
    client = mayfly_client_new(&options, NULL, 0);
    if (client == NULL)
        return 1;
    sign_in("ada", IDLE_MS, name);
    printf("visit: %d\n", visit(name, IDLE_MS));
    printf("sign out: %d\n", sign_out(name));
    printf("visit: %d\n", visit(name, IDLE_MS));
    sign_in("bob", 20, short_lived);
    struct mayfly_entry session = {.found = true};
    while (session.found) // looking alone puts nothing off
        must(mayfly_get(client, mayfly_str(short_lived), NULL, &session));
    printf("visit after its time: %d\n", visit(short_lived, IDLE_MS));
    mayfly_client_free(client);
    return 0;
}
