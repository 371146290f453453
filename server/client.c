// Clients of any protocol; see client.h.
#include "server/client.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/secret.h"

// Requests that one connection may have under way, and their bytes (one larger request may be
// alone); more wait in its socket. A new connection begins with fewer, because nobody knows yet how
// large its replies are: those under way should not be more than REPLIES_BYTES_MAX together, or a
// client that asks for much and reads nothing would fill the links between the nodes.
#define IN_FLIGHT_FIRST 16
#define IN_FLIGHT_MAX 1024
#define IN_FLIGHT_BYTES_MAX (16u << 20)
#define REPLIES_BYTES_MAX (4u << 20)
// A client that has much more unsent than the largest reply is dropped.
#define OUTPUT_SPARE_BYTES (16u << 20)

bool mf_client_accept(struct mf_client *client, struct mf_reactor *reactor, int fd,
                      const struct mf_conn_ops *ops, void *arg, const char *refusal)
{
    struct mf_node *node = reactor->node;
    if (atomic_fetch_add_explicit(&node->clients, 1, memory_order_relaxed) >=
        atomic_load_explicit(&node->settings.clients_max, memory_order_relaxed)) {
        atomic_fetch_sub_explicit(&node->clients, 1, memory_order_relaxed);
        mf_counter_add(&reactor->counters.connections_refused, 1);
        // An empty socket takes so little at once, or else the client is not told why.
        (void)!send(fd, refusal, strlen(refusal), MSG_DONTWAIT | MSG_NOSIGNAL);
        close(fd);
        return false;
    }
    struct mf_conn_limits limits = {.input_max_bytes = node->config.request_bytes_max + 64,
                                    .output_pause_bytes = MF_CLIENT_PAUSE_BYTES,
                                    .output_max_bytes = 4 * (size_t)node->config.request_bytes_max +
                                                        OUTPUT_SPARE_BYTES};
    *client = (struct mf_client){.reactor = reactor, .window = IN_FLIGHT_FIRST};
    mf_counter_add(&reactor->counters.connections, 1);
    client->conn = mf_conn_new(reactor->pool, fd, false, &limits, ops, arg);
    return true;
}

void mf_client_closed(struct mf_client *client)
{
    atomic_fetch_sub_explicit(&client->reactor->node->clients, 1, memory_order_relaxed);
    client->conn = NULL;
}

static uint32_t window(const struct mf_client *client)
{
    if (client->calls_bytes > IN_FLIGHT_BYTES_MAX || client->held_bytes > MF_CLIENT_PAUSE_BYTES)
        return 1; // none until one has ended
    size_t replies = REPLIES_BYTES_MAX / (client->reply_bytes + 1);
    return replies < client->window ? (uint32_t)replies + 1 : client->window;
}

void mf_client_begin_call(struct mf_client *client, size_t bytes)
{
    client->calls++;
    client->calls_bytes += bytes;
    mf_conn_in_flight(client->conn, 1, window(client));
}

void mf_client_end_call(struct mf_client *client, size_t bytes)
{
    client->calls--;
    client->calls_bytes -= bytes;
    if (client->conn == NULL)
        return;
    mf_conn_in_flight(client->conn, -1, window(client));
    mf_conn_wrote(client->conn);
}

void mf_client_learn_result(struct mf_client *client, const struct mf_result *result)
{
    if (result->kind == MF_RESULT_ERROR && result->err == MF_TOO_LARGE && client->conn != NULL)
        mf_conn_yield(client->conn);
}

void mf_client_learn_reply(struct mf_client *client, size_t bytes)
{
    size_t faded = client->reply_bytes - client->reply_bytes / 8;
    client->reply_bytes = bytes > faded ? bytes : faded;
    if (client->window < IN_FLIGHT_MAX)
        client->window++;
}

void mf_client_wait(struct mf_client *client)
{
    mf_conn_in_flight(client->conn, 0, 1);
}

// One of the user:password pairs, with commas between them, that `configured` may be.
struct pair {
    struct mf_bytes user;
    struct mf_bytes password;
};

// False at the end. Moves *rest past what was looked at; without a colon it is no pair.
static bool next_pair(const char **rest, struct pair *pair)
{
    while (**rest != '\0') {
        const char *text = *rest;
        size_t len = strcspn(text, ",");
        const char *colon = memchr(text, ':', len);
        *rest += len;
        *rest += strspn(*rest, ", ");
        if (colon == NULL)
            continue;
        size_t user_len = (size_t)(colon - text);
        pair->user = mf_bytes_of(text, user_len);
        pair->password = mf_bytes_of(colon + 1, len - user_len - 1);
        return true;
    }
    return false;
}

static bool is_for_all(const char *configured)
{
    return strchr(configured, ':') == NULL;
}

static const char *password_of(const struct mf_client *client)
{
    return atomic_load(&client->reactor->node->password);
}

bool mf_client_has_password(const struct mf_client *client)
{
    return password_of(client)[0] != '\0';
}

bool mf_client_is_open(const struct mf_client *client)
{
    return client->authorized || !mf_client_has_password(client);
}

bool mf_client_knows(const struct mf_client *client, struct mf_bytes user, struct mf_bytes password)
{
    const char *configured = password_of(client);
    if (configured[0] == '\0')
        return true;
    if (is_for_all(configured))
        return mf_secret_equal(password, mf_bytes_str(configured));
    // Each is looked at to its end: how long it takes says nothing of who is known.
    bool known = false;
    struct pair pair;
    for (const char *rest = configured; next_pair(&rest, &pair);) {
        bool same_user = mf_secret_equal(user, pair.user);
        bool same_password = mf_secret_equal(password, pair.password);
        known = known | (same_user & same_password);
    }
    return known;
}

struct mf_bytes mf_client_password(const struct mf_client *client, struct mf_bytes user)
{
    const char *configured = password_of(client);
    if (is_for_all(configured))
        return mf_bytes_str(configured);
    struct pair pair;
    for (const char *rest = configured; next_pair(&rest, &pair);) {
        if (mf_bytes_equal(user, pair.user))
            return pair.password;
    }
    return mf_bytes_of(NULL, 0);
}

struct mf_client_users mf_client_users(const struct mf_client *client)
{
    const char *configured = password_of(client);
    return (struct mf_client_users){is_for_all(configured) ? "default:" : configured,
                                    configured[0] == '\0'};
}

bool mf_client_next_user(struct mf_client_users *users, struct mf_bytes *name)
{
    struct pair pair;
    if (!next_pair(&users->rest, &pair))
        return false;
    *name = pair.user;
    return true;
}

void mf_client_count_request(struct mf_client *client)
{
    mf_counter_add(&client->reactor->counters.requests, 1);
}

void mf_client_count_error(struct mf_client *client)
{
    mf_counter_add(&client->reactor->counters.errors, 1);
}
