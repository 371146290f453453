// See fake_node.h. Writes are blocking on purpose: a client that does not read while it writes
// would stand still against this node.
#include "fake_node.h"

#include <arpa/inet.h>
#include <errno.h>
#include <msgpack/pack.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/msgpack_scan.h"

#define CONNECTIONS_MAX 64
#define MAP_MSGID 0xfffffffdu // what the client library asks for by itself
#define REQUEST_MAX ((size_t)64 << 20)

struct connection {
    int fd; // -1: closed
    int number;
    struct mf_msgpack_scan scan;
    struct mf_buf in;
};

struct fake_node {
    fake_handler *handler;
    void *arg;
    struct fake_options options;
    pthread_t thread;
    int listen_fd;
    int stop_pipe[2];
    char endpoint[32];
    struct connection connections[CONNECTIONS_MAX];
    int connection_count;
    int requests;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void fake_lock(void)
{
    pthread_mutex_lock(&lock);
}

void fake_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

static void fail(const char *what)
{
    perror(what);
    abort();
}

// Text of a request's parameters, for comparing with what is expected.
struct text {
    char *at;
    size_t left;
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int wrote = vsnprintf(text->at, text->left, format, args);
    va_end(args);
    size_t used = wrote >= 0 && (size_t)wrote < text->left ? (size_t)wrote : text->left - 1;
    text->at += used;
    text->left -= used;
}

static void add_bytes(struct text *text, struct mf_bytes bytes, char quote)
{
    if (bytes.len > 64)
        add(text, "<%zu bytes>", bytes.len);
    else
        add(text, "%c%.*s%c", quote, (int)bytes.len, (const char *)bytes.data, quote);
}

static void describe(struct mf_msgpack_in *in, struct text *text, struct fake_request *request);

static void describe_map(struct mf_msgpack_in *in, struct text *text, uint32_t pairs,
                         struct fake_request *request)
{
    add(text, "{");
    for (uint32_t i = 0; i < pairs; i++) {
        struct mf_msgpack_token key;
        struct mf_msgpack_token value;
        add(text, "%s", i > 0 ? ", " : "");
        if (mf_msgpack_next(in, &key) != MF_OK)
            abort();
        if (key.type == MF_MP_UINT)
            add(text, "%llu", (unsigned long long)key.uinteger);
        else
            add_bytes(text, key.bytes, '"');
        add(text, ": ");
        if (!mf_bytes_equal(key.bytes, mf_bytes_str("id"))) {
            describe(in, text, request);
            continue;
        }
        if (mf_msgpack_next(in, &value) != MF_OK || value.bytes.len > sizeof request->id)
            abort();
        memcpy(request->id, value.bytes.data, value.bytes.len);
        request->id_len = value.bytes.len;
        add(text, "<%zu bytes>", value.bytes.len);
    }
    add(text, "}");
}

static void describe(struct mf_msgpack_in *in, struct text *text, struct fake_request *request)
{
    struct mf_msgpack_token token;
    if (mf_msgpack_next(in, &token) != MF_OK)
        abort();
    switch (token.type) {
    case MF_MP_BOOL:
        add(text, "%s", token.integer != 0 ? "true" : "false");
        break;
    case MF_MP_INT:
        add(text, "%lld", (long long)token.integer);
        break;
    case MF_MP_UINT:
        add(text, "%llu", (unsigned long long)token.uinteger);
        break;
    case MF_MP_STR:
        add_bytes(text, token.bytes, '"');
        break;
    case MF_MP_BIN:
        add_bytes(text, token.bytes, '\'');
        break;
    case MF_MP_ARRAY:
        add(text, "[");
        for (uint32_t i = 0; i < token.count; i++) {
            add(text, "%s", i > 0 ? ", " : "");
            describe(in, text, request);
        }
        add(text, "]");
        break;
    case MF_MP_MAP:
        describe_map(in, text, token.count, request);
        break;
    case MF_MP_NIL:
    case MF_MP_FLOAT:
    case MF_MP_EXT:
        add(text, "?");
        break;
    }
}

static void parse(struct mf_bytes message, struct fake_request *request)
{
    struct mf_msgpack_in in = {mf_reader_of(message)};
    struct mf_msgpack_token frame, type, msgid, method;
    msgid.uinteger = 0;
    if (mf_msgpack_next(&in, &frame) != MF_OK || mf_msgpack_next(&in, &type) != MF_OK)
        abort();
    request->notification = frame.count == 3 && type.uinteger == 2;
    if (!request->notification &&
        (frame.count != 4 || type.uinteger != 0 || mf_msgpack_next(&in, &msgid) != MF_OK))
        abort();
    if (mf_msgpack_next(&in, &method) != MF_OK || method.bytes.len >= sizeof request->method)
        abort();
    request->msgid = (uint32_t)msgid.uinteger;
    memcpy(request->method, method.bytes.data, method.bytes.len);
    struct text text = {request->params, sizeof request->params};
    describe(&in, &text, request);
}

static void send_all(const struct fake_node *node, int fd, struct mf_bytes bytes)
{
    while (bytes.len > 0) {
        size_t piece = node->options.dribble ? 1 : bytes.len;
        ssize_t sent = send(fd, bytes.data, piece, MSG_NOSIGNAL);
        if (sent < 0)
            return; // the client has gone
        bytes.data += sent;
        bytes.len -= (size_t)sent;
    }
}

static enum fake_then serve(struct fake_node *node, struct connection *connection,
                            struct mf_bytes message)
{
    struct fake_request request = {.connection = connection->number};
    struct mf_buf out = {0};
    enum fake_then then = FAKE_GO_ON;
    parse(message, &request);
    if (strcmp(request.method, "hello") == 0 && !node->options.raw_greeting) {
        fake_reply(&out, request.msgid);
        fake_map(&out, 3);
        fake_str(&out, "server");
        fake_str(&out, "fake");
        fake_str(&out, "shards");
        fake_int(&out, node->options.shards > 0 ? node->options.shards : 1);
        fake_str(&out, "node");
        fake_int(&out, node->options.node > 0 ? node->options.node : 1);
    } else if (request.msgid == MAP_MSGID && !node->options.raw_map) {
        fake_error(&out, request.msgid, "UNKNOWN_METHOD", "no map");
    } else if (strcmp(request.method, "ping") == 0 && !node->options.raw_ping) {
        fake_reply(&out, request.msgid);
        fake_str(&out, "pong");
    } else {
        request.number = node->requests++;
        fake_lock();
        then = node->handler(node->arg, &request, &out);
        fake_unlock();
    }
    send_all(node, connection->fd, mf_buf_view(&out));
    mf_buf_free(&out);
    return then;
}

static void close_connection(struct connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
    mf_buf_free(&connection->in);
}

static void read_connection(struct fake_node *node, struct connection *connection)
{
    uint8_t *at = mf_buf_reserve(&connection->in, 65536);
    ssize_t got = recv(connection->fd, at, 65536, 0);
    if (got <= 0) {
        close_connection(connection);
        return;
    }
    connection->in.len += (size_t)got;
    size_t size;
    while (mf_msgpack_scan(&connection->scan, mf_buf_view(&connection->in), REQUEST_MAX, &size) ==
           MF_OK) {
        if (serve(node, connection, mf_bytes_of(connection->in.data, size)) == FAKE_CLOSE) {
            close_connection(connection);
            return;
        }
        mf_buf_consume(&connection->in, size);
    }
}

static void accept_one(struct fake_node *node)
{
    int fd = accept(node->listen_fd, NULL, NULL);
    int on = 1;
    if (fd < 0)
        return;
    if (node->connection_count == CONNECTIONS_MAX)
        fail("too many connections for a fake node");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct connection *connection = &node->connections[node->connection_count];
    *connection = (struct connection){.fd = fd, .number = node->connection_count++};
}

static void *run(void *arg)
{
    struct fake_node *node = arg;
    for (;;) {
        struct pollfd fds[CONNECTIONS_MAX + 2];
        fds[0] = (struct pollfd){.fd = node->stop_pipe[0], .events = POLLIN};
        fds[1] = (struct pollfd){.fd = node->listen_fd, .events = POLLIN};
        int count = node->connection_count;
        for (int i = 0; i < count; i++)
            fds[2 + i] = (struct pollfd){.fd = node->connections[i].fd, .events = POLLIN};
        if (poll(fds, (nfds_t)count + 2, -1) < 0 && errno != EINTR)
            fail("poll");
        if (fds[0].revents != 0)
            return NULL;
        for (int i = 0; i < count; i++) {
            if (fds[2 + i].fd >= 0 && fds[2 + i].revents != 0)
                read_connection(node, &node->connections[i]);
        }
        if (fds[1].revents != 0)
            accept_one(node);
    }
}

static int bind_loopback(char *endpoint, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        fail("bind");
    snprintf(endpoint, size, "127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

struct fake_node *fake_node_start(fake_handler *handler, void *arg, struct fake_options options)
{
    struct fake_node *node = mf_calloc(1, sizeof *node);
    node->handler = handler;
    node->arg = arg;
    node->options = options;
    node->listen_fd = bind_loopback(node->endpoint, sizeof node->endpoint);
    if (listen(node->listen_fd, 16) != 0 || pipe(node->stop_pipe) != 0 ||
        pthread_create(&node->thread, NULL, run, node) != 0)
        fail("start");
    return node;
}

const char *fake_node_endpoint(const struct fake_node *node)
{
    return node->endpoint;
}

int fake_node_stop(struct fake_node *node)
{
    if (write(node->stop_pipe[1], "", 1) != 1)
        fail("write");
    pthread_join(node->thread, NULL);
    int count = node->connection_count;
    for (int i = 0; i < count; i++)
        close_connection(&node->connections[i]);
    close(node->listen_fd);
    close(node->stop_pipe[0]);
    close(node->stop_pipe[1]);
    free(node);
    return count;
}

struct fake_port fake_port_taken(void)
{
    struct fake_port port;
    port.fd = bind_loopback(port.endpoint, sizeof port.endpoint);
    return port;
}

void fake_port_free(struct fake_port *port)
{
    close(port->fd);
}

static int append(void *data, const char *bytes, size_t len)
{
    mf_buf_put(data, bytes, len);
    return 0;
}

static msgpack_packer packer_to(struct mf_buf *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, append);
    return packer;
}

void fake_error(struct mf_buf *out, uint32_t msgid, const char *code, const char *message)
{
    fake_array(out, 4);
    fake_int(out, 1);
    fake_int(out, msgid);
    fake_array(out, 3);
    fake_str(out, code);
    fake_str(out, message);
    fake_map(out, 0);
    fake_nil(out);
}

void fake_reply(struct mf_buf *out, uint32_t msgid)
{
    fake_array(out, 4);
    fake_int(out, 1);
    fake_int(out, msgid);
    fake_nil(out);
}

void fake_nil(struct mf_buf *out)
{
    msgpack_packer packer = packer_to(out);
    msgpack_pack_nil(&packer);
}

void fake_bool(struct mf_buf *out, bool value)
{
    msgpack_packer packer = packer_to(out);
    if (value)
        msgpack_pack_true(&packer);
    else
        msgpack_pack_false(&packer);
}

void fake_int(struct mf_buf *out, int64_t value)
{
    msgpack_packer packer = packer_to(out);
    msgpack_pack_int64(&packer, value);
}

void fake_double(struct mf_buf *out, double value)
{
    msgpack_packer packer = packer_to(out);
    msgpack_pack_double(&packer, value);
}

void fake_str(struct mf_buf *out, const char *text)
{
    msgpack_packer packer = packer_to(out);
    msgpack_pack_str(&packer, strlen(text));
    msgpack_pack_str_body(&packer, text, strlen(text));
}

void fake_bin(struct mf_buf *out, const void *data, size_t len)
{
    msgpack_packer packer = packer_to(out);
    msgpack_pack_bin(&packer, len);
    msgpack_pack_bin_body(&packer, data, len);
}

void fake_array(struct mf_buf *out, uint32_t count)
{
    msgpack_packer packer = packer_to(out);
    msgpack_pack_array(&packer, count);
}

void fake_map(struct mf_buf *out, uint32_t pairs)
{
    msgpack_packer packer = packer_to(out);
    msgpack_pack_map(&packer, pairs);
}

bool fake_store_apply(struct fake_store *store, const struct fake_request *request)
{
    if (request->id_len == 0) {
        fprintf(stderr, "a write came without an id: %s %s\n", request->method, request->params);
        abort();
    }
    for (size_t i = 0; i < store->count; i++) {
        if (store->seen[i].len == request->id_len &&
            memcmp(store->seen[i].id, request->id, request->id_len) == 0) {
            store->repeats++;
            return false;
        }
    }
    store->seen = mf_realloc(store->seen, (store->count + 1) * sizeof store->seen[0]);
    memcpy(store->seen[store->count].id, request->id, request->id_len);
    store->seen[store->count++].len = request->id_len;
    return true;
}

void fake_store_free(struct fake_store *store)
{
    free(store->seen);
}
