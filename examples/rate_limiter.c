// At most so many calls of a user in a window of time, over any number of servers.
//
// What it defends against: counting first and setting the counter's end afterwards leaves a counter
// that never ends when the server dies in between, and locks the user out for ever. `incr` with a
// TTL is both in one, and the TTL counts only for the call that makes the counter, so that nobody
// prolongs the window by calling on. A call that is sent again after a failover counts once.
//
//     rate_limiter [ADDRESS]
#include <mayfly/client.h>
#include <stdio.h>

#define LIMIT 3

static struct mayfly_client *client;

static bool is_allowed(const char *user, int64_t window_ms)
{
    struct mayfly_options options = {.flags = MAYFLY_FLAG_TTL, .ttl_ms = window_ms};
    char name[64];
    int64_t count;
    snprintf(name, sizeof name, "rate:%s", user);
    if (mayfly_incr(client, mayfly_str(name), 1, &options, &count) != MAYFLY_OK) {
        // Closed for all, or open for all: here a limiter that is away limits nobody.
        fprintf(stderr, "%s\n", mayfly_client_error(client));
        return true;
    }
    return count <= LIMIT;
}

int main(int argc, char **argv)
{
    struct mayfly_client_options options = {.endpoints = argc > 1 ? argv[1] : NULL,
                                            .timeout_ms = 1000};
    client = mayfly_client_new(&options, NULL, 0);
    if (client == NULL)
        return 1;
    for (int i = 0; i < 5; i++)
        printf("call %d: %d\n", i + 1, is_allowed("ada", 60000));
    while (is_allowed("bob", 500)) // some of these are one window's, and then it is full
        continue;
    while (!is_allowed("bob", 500)) // until the next one begins
        continue;
    printf("bob may go on\n");
    struct mayfly_bytes keys[] = {mayfly_str("rate:ada"), mayfly_str("rate:bob")};
    uint64_t dropped;
    if (mayfly_del(client, keys, 2, NULL, &dropped) != MAYFLY_OK)
        fprintf(stderr, "%s\n", mayfly_client_error(client));
    mayfly_client_free(client);
    return 0;
}
