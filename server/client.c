// Clients of any protocol; see client.h.
#include "server/client.h"

#include <openssl/crypto.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

static bool matches(struct mf_bytes given, struct mf_bytes wanted)
{
    // Length is not secret; content is compared in constant time.
    return given.len == wanted.len &&
           (given.len == 0 || CRYPTO_memcmp(given.data, wanted.data, given.len) == 0);
}

// `configured` is one password for any user, or user:password pairs with commas between them. Calls
// take for the password of each pair whose user it is, until that returns true.
static bool look_up(const char *configured, struct mf_bytes user,
                    bool (*take)(struct mf_bytes wanted, void *arg), void *arg)
{
    if (strchr(configured, ':') == NULL)
        return take(mf_bytes_str(configured), arg);
    for (const char *pair = configured; *pair != '\0';) {
        size_t pair_len = strcspn(pair, ",");
        const char *colon = memchr(pair, ':', pair_len);
        size_t user_len = colon != NULL ? (size_t)(colon - pair) : 0;
        if (colon != NULL && matches(user, mf_bytes_of(pair, user_len)) &&
            take(mf_bytes_of(colon + 1, pair_len - user_len - 1), arg))
            return true;
        pair += pair_len;
        pair += strspn(pair, ", ");
    }
    return false;
}

static bool take_if_equal(struct mf_bytes wanted, void *arg)
{
    return matches(*(const struct mf_bytes *)arg, wanted);
}

static bool take_any(struct mf_bytes wanted, void *arg)
{
    *(struct mf_bytes *)arg = wanted;
    return true;
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
    return configured[0] == '\0' || look_up(configured, user, take_if_equal, &password);
}

struct mf_bytes mf_client_password(const struct mf_client *client, struct mf_bytes user)
{
    struct mf_bytes password = mf_bytes_of(NULL, 0);
    (void)look_up(password_of(client), user, take_any, &password);
    return password;
}

struct mf_client_users mf_client_users(const struct mf_client *client)
{
    const char *configured = password_of(client);
    bool named = strchr(configured, ':') != NULL;
    return (struct mf_client_users){named ? configured : "default:", configured[0] == '\0'};
}

bool mf_client_next_user(struct mf_client_users *users, struct mf_bytes *name)
{
    while (*users->rest != '\0') {
        const char *pair = users->rest;
        size_t len = strcspn(pair, ",");
        const char *colon = memchr(pair, ':', len);
        users->rest += len;
        users->rest += strspn(users->rest, ", ");
        if (colon == NULL)
            continue;
        *name = mf_bytes_of(pair, (size_t)(colon - pair));
        return true;
    }
    return false;
}

void mf_client_count_request(struct mf_client *client)
{
    mf_counter_add(&client->reactor->counters.requests, 1);
}

void mf_client_count_error(struct mf_client *client)
{
    mf_counter_add(&client->reactor->counters.errors, 1);
}
