// libmayfly in a libev loop: a thousand sets and then a thousand gets, many in flight, no thread
// and no blocking call. Any other loop does the same: wait until the client's descriptor is
// readable, then let the client work.
//
//     libev_client [ADDRESS]        prints how many values came back as they were written
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mayfly/client.h>

#define KEYS 1000
#define IN_FLIGHT 100

static struct ev_loop *loop;
static struct mayfly_client *client;
static int next; // the first KEYS are sets, the others gets
static int done;
static int right;

static void submit_next(void);

static void on_reply(void *cookie, const struct mayfly_reply *reply)
{
    const char *wanted = cookie;
    if (reply->err != MAYFLY_OK)
        fprintf(stderr, "%s: %s\n", mayfly_err_name(reply->err), reply->message);
    else if (reply->value->type == MAYFLY_TYPE_BYTES)
        right += reply->value->bytes.len == strlen(wanted) &&
                 memcmp(reply->value->bytes.data, wanted, strlen(wanted)) == 0;
    // Gets begin when every set has its answer: requests in flight have no order.
    if (++done == KEYS || (next != KEYS && next < 2 * KEYS)) {
        for (int i = 0; i < (done == KEYS ? IN_FLIGHT : 1); i++)
            submit_next();
    }
    if (done == 2 * KEYS)
        ev_break(loop, EVBREAK_ALL);
}

static void submit_next(void)
{
    static char names[KEYS][16];
    char *name = names[next % KEYS];
    snprintf(name, sizeof names[0], "ev:%d", next % KEYS);
    struct mayfly_bytes key = mayfly_str(name);
    struct mayfly_request request = {
        .method = next < KEYS ? MAYFLY_METHOD_SET : MAYFLY_METHOD_GET,
        .keys = &key,
        .values = &key,
        .count = 1,
    };
    next++;
    if (mayfly_submit(client, &request, on_reply, name) != MAYFLY_OK) {
        fprintf(stderr, "%s\n", mayfly_client_error(client));
        exit(1);
    }
}

static void on_readable(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev;
    (void)io;
    (void)events;
    (void)mayfly_poll(client, 0);
}

int main(int argc, char **argv)
{
    struct mayfly_client_options options = {.endpoints = argc > 1 ? argv[1] : NULL};
    char why[256];
    loop = ev_default_loop(0);
    client = mayfly_client_new(&options, why, sizeof why);
    if (client == NULL) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    ev_io io;
    ev_io_init(&io, on_readable, mayfly_client_fd(client), EV_READ);
    ev_io_start(loop, &io);
    while (next < IN_FLIGHT)
        submit_next();
    ev_run(loop, 0);
    mayfly_client_free(client);
    printf("%d of %d values are right\n", right, KEYS);
    return right == KEYS ? 0 : 1;
}
