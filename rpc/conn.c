// One connection: its buffers, its socket and its states.
//
// Reading. A readable socket is read once a turn into the pool's scratch buffer and offered from
// there; only what `data` leaves over is copied into the connection's own buffer. An idle
// connection therefore owns no buffer at all, one with half a message owns about that half, and
// nobody waits behind a fast sender.
//
// Pausing. Input is not taken while too many requests are in flight or too much output is unsent.
// Whole messages may be left in the buffer then; they are offered again on the pool's next turn.
//
// Changing state. The public functions only note what is wanted and mark the connection dirty;
// watchers, resuming and closing are settled from the loop's callbacks. So no call into this file
// calls back into its caller, and a connection never disappears under a caller's feet.
//
// Closing after a refusal lingers: the sending side is shut first and what the peer still sends is
// read and dropped for a moment. Closing with unread input would make the kernel reset the
// connection, and the peer could lose the very error that explains the close.
#include "rpc/conn_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"

// What an empty buffer keeps between turns; the pool's sweep takes even that from quiet ones.
#define KEEP_BYTES (16 * 1024)
// A closing peer that takes no output for this long is given up.
#define DRAIN_STALL_US UINT64_C(10000000)
#define LINGER_US UINT64_C(2000000)
// Dead peers are found by the kernel: first probe, distance, number.
#define KEEPALIVE_IDLE_S 60
#define KEEPALIVE_INTERVAL_S 20
#define KEEPALIVE_PROBES 3

void mf_conn_mark_dirty(struct mf_conn *conn)
{
    struct mf_conn_pool *pool = conn->pool;
    if (conn->state == GONE)
        return;
    mf_conn_list_append(&pool->dirty, &conn->dirty);
    if (pool->flushed_iteration == ev_iteration(pool->loop))
        ev_feed_event(pool->loop, &pool->end_of_turn, EV_CUSTOM);
}

void mf_conn_note_reason(struct mf_conn *conn, const char *reason)
{
    if (conn->reason[0] == '\0')
        snprintf(conn->reason, sizeof(conn->reason), "%s", reason);
}

static void close_for_errno(struct mf_conn *conn, int error)
{
    const char *text = strerrordesc_np(error);
    mf_conn_close(conn, text != NULL ? text : "unknown system error");
}

size_t mf_conn_unsent_bytes(const struct mf_conn *conn)
{
    return conn->output.len - conn->sent;
}

bool mf_conn_takes_input(const struct mf_conn *conn)
{
    return conn->state == OPEN && !conn->connecting &&
           (conn->in_flight_max == 0 || conn->in_flight < conn->in_flight_max) &&
           mf_conn_unsent_bytes(conn) <= conn->limits.output_pause_bytes;
}

// One call: what the socket does not take now it would not take on a second call either.
void mf_conn_write_output(struct mf_conn *conn)
{
    size_t unsent = mf_conn_unsent_bytes(conn);
    if (conn->connecting || unsent == 0 || conn->state > DRAINING)
        return;
    ssize_t n;
    do {
        n = send(conn->fd, conn->output.data + conn->sent, unsent, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) {
        close_for_errno(conn, errno);
        return;
    }
    if (n > 0) {
        mf_conn_count(&conn->pool->outputs, &conn->pool->output_bytes, (size_t)n);
        conn->sent += (size_t)n;
        conn->moved_us = mf_mono_us();
        conn->give_up_us = conn->moved_us + DRAIN_STALL_US;
        conn->queued = -1;
    } else if (!conn->blocked) {
        conn->moved_us = mf_mono_us();
        conn->queued = -1;
    }
    conn->blocked = mf_conn_unsent_bytes(conn) > 0;
    if (!conn->blocked) {
        mf_buf_clear(&conn->output, KEEP_BYTES);
        conn->sent = 0;
    } else if (conn->sent > conn->output.len / 2) {
        // Each byte is moved at most once for every byte sent.
        mf_buf_consume(&conn->output, conn->sent);
        conn->sent = 0;
    }
}

struct mf_buf *mf_conn_output(struct mf_conn *conn)
{
    return &conn->output;
}

void mf_conn_wrote(struct mf_conn *conn)
{
    if (conn->state > DRAINING) {
        mf_buf_free(&conn->output);
        conn->sent = 0;
        return;
    }
    mf_conn_mark_dirty(conn);
}

void mf_conn_flush(struct mf_conn *conn)
{
    if (!conn->blocked)
        mf_conn_write_output(conn);
    mf_conn_mark_dirty(conn);
}

void mf_conn_keep(struct mf_conn *conn, bool kept)
{
    conn->kept = kept;
}

void mf_conn_waits_long(struct mf_conn *conn, bool waits)
{
    if (waits)
        mf_conn_list_append(&conn->pool->waiting, &conn->waiting);
    else
        mf_conn_list_remove(&conn->waiting);
}

void mf_conn_in_flight(struct mf_conn *conn, int delta, uint32_t max)
{
    assert(delta >= 0 || conn->in_flight >= (uint32_t)-delta);
    conn->in_flight += (uint32_t)delta;
    conn->in_flight_max = max;
    mf_conn_mark_dirty(conn);
}

void mf_conn_yield(struct mf_conn *conn)
{
    conn->yields = true;
}

void mf_conn_close_gracefully(struct mf_conn *conn, const char *reason)
{
    if (conn->state != OPEN)
        return;
    mf_conn_note_reason(conn, reason);
    conn->state = DRAINING;
    conn->give_up_us = mf_mono_us() + DRAIN_STALL_US;
    mf_conn_mark_dirty(conn);
}

void mf_conn_close(struct mf_conn *conn, const char *reason)
{
    if (conn->state >= CLOSED)
        return;
    mf_conn_note_reason(conn, reason);
    conn->state = CLOSED;
    ev_io_stop(conn->pool->loop, &conn->io);
    mf_conn_mark_dirty(conn);
}

void *mf_conn_arg(const struct mf_conn *conn)
{
    return conn->arg;
}

uint64_t mf_conn_offered_us(const struct mf_conn *conn)
{
    return conn->offered_us;
}

const char *mf_conn_peer_name(const struct mf_conn *conn)
{
    return conn->peer;
}

static bool has_unread_input(int fd)
{
    int bytes = 0;
    return ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0;
}

// Nothing is left to send or wait for.
static void finish(struct mf_conn *conn)
{
    if (!conn->refused && !has_unread_input(conn->fd)) {
        conn->state = CLOSED;
        return;
    }
    conn->state = shutdown(conn->fd, SHUT_WR) == 0 ? LINGERING : CLOSED;
    conn->give_up_us = mf_mono_us() + LINGER_US;
    mf_buf_free(&conn->output);
}

// What is held is offered before more is read: it is bounded by what was read while it was not, and
// before the end is found, behind which there is nothing to be offered.
static bool reads(const struct mf_conn *conn)
{
    return mf_conn_takes_input(conn) && !conn->held;
}

static void arm(struct mf_conn *conn)
{
    struct ev_loop *loop = conn->pool->loop;
    int events = 0;
    if (conn->state == LINGERING || reads(conn))
        events |= EV_READ;
    if (conn->connecting || conn->blocked)
        events |= EV_WRITE;
    if (ev_is_active(&conn->io) && conn->io.events == events)
        return;
    ev_io_stop(loop, &conn->io);
    ev_io_set(&conn->io, conn->fd, events);
    if (events != 0)
        ev_io_start(loop, &conn->io);
}

void mf_conn_settle(struct mf_conn *conn)
{
    struct mf_conn_pool *pool = conn->pool;
    size_t unsent = mf_conn_unsent_bytes(conn);
    if ((conn->blocked || conn->connecting) && unsent > conn->limits.output_max_bytes)
        mf_conn_close(conn, "the peer does not read what is sent to it");
    if (conn->state == DRAINING && conn->in_flight == 0 && unsent == 0)
        finish(conn);
    if (conn->state != OPEN)
        mf_buf_free(&conn->input);
    if (conn->state == CLOSED) {
        ev_io_stop(pool->loop, &conn->io);
        mf_conn_mark_dirty(conn);
        return;
    }
    if (conn->held && mf_conn_takes_input(conn)) {
        mf_conn_list_append(&pool->resuming, &conn->resuming);
        ev_idle_start(pool->loop, &pool->more);
    }
    arm(conn);
}

void mf_conn_destroy(struct mf_conn *conn)
{
    struct mf_conn_pool *pool = conn->pool;
    ev_io_stop(pool->loop, &conn->io);
    mf_conn_list_remove(&conn->all);
    mf_conn_list_remove(&conn->dirty);
    mf_conn_list_remove(&conn->resuming);
    mf_conn_list_remove(&conn->waiting);
    pool->count--;
    conn->state = GONE;
    conn->ops.closed(conn->arg, conn, conn->reason);
    close(conn->fd);
    mf_buf_free(&conn->input);
    mf_buf_free(&conn->output);
    free(conn);
}

// Input.

static void refuse(struct mf_conn *conn, enum mf_err err)
{
    conn->refused = true;
    mf_conn_close_gracefully(conn, mf_err_text(err));
}

// Hands input to `data` for as long as it makes progress and nothing pauses the connection.
// Returns how many bytes were used.
static size_t offer(struct mf_conn *conn, struct mf_bytes input)
{
    size_t taken = 0;
    conn->held = false;
    conn->yields = false;
    while (taken < input.len) {
        if (!mf_conn_takes_input(conn) || conn->yields) {
            conn->held = true;
            return taken;
        }
        struct mf_bytes rest = mf_bytes_of(input.data + taken, input.len - taken);
        size_t used = 0;
        enum mf_err err = conn->ops.data(conn->arg, conn, rest, &used);
        assert(used <= rest.len);
        taken += used;
        if (err != MF_OK) {
            refuse(conn, err);
            return taken;
        }
        if (used == 0) {
            conn->held = !mf_conn_takes_input(conn); // it is `data` that wants to wait
            break;
        }
    }
    // What is held may be whole, with more behind it.
    if (!conn->held && input.len - taken > conn->limits.input_max_bytes)
        refuse(conn, MF_TOO_LARGE);
    return taken;
}

// A message that the peer has begun and not ended: since when. What waits here because nobody takes
// input is not the peer's delay.
static void note_begun(struct mf_conn *conn, size_t taken, size_t left)
{
    if (left == 0 || conn->held)
        conn->begun_us = 0;
    else if (taken > 0 || conn->begun_us == 0)
        conn->begun_us = conn->offered_us;
}

void mf_conn_offer_buffered(struct mf_conn *conn)
{
    struct mf_buf *input = &conn->input;
    size_t taken = offer(conn, mf_buf_view(input));
    mf_buf_consume(input, taken);
    note_begun(conn, taken, input->len);
    if (input->cap <= KEEP_BYTES || input->len > input->cap / 4)
        return;
    // A large message has gone: what is left moves to a buffer of its own size.
    struct mf_buf smaller = {0};
    if (input->len > 0)
        mf_buf_put(&smaller, input->data, input->len);
    mf_buf_free(input);
    *input = smaller;
}

// Reads once. A buffer that already holds a part of a message takes what fits, the scratch buffer
// the rest, so that a buffer grows only by what has really come.
static void read_input(struct mf_conn *conn)
{
    struct mf_conn_pool *pool = conn->pool;
    struct mf_buf *input = &conn->input;
    size_t room = input->len > 0 ? input->cap - input->len : 0;
    struct iovec parts[2] = {
        {.iov_base = room > 0 ? input->data + input->len : pool->scratch, .iov_len = room},
        {.iov_base = pool->scratch, .iov_len = MF_CONN_SCRATCH_BYTES},
    };
    // recv is the cheaper one of the two.
    ssize_t n = room > 0 ? readv(conn->fd, parts, 2)
                         : recv(conn->fd, pool->scratch, MF_CONN_SCRATCH_BYTES, 0);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            close_for_errno(conn, errno);
        return;
    }
    if (n == 0) {
        // Replies still go out: the peer may have closed its sending side only.
        mf_conn_close_gracefully(conn, "closed by the peer");
        return;
    }
    conn->heard_us = mf_mono_us();
    conn->offered_us = conn->heard_us;
    size_t got = (size_t)n;
    mf_conn_count(&pool->inputs, &pool->input_bytes, got);
    if (input->len == 0) {
        size_t used = offer(conn, mf_bytes_of(pool->scratch, got));
        if (used < got)
            mf_buf_put(input, pool->scratch + used, got - used);
        note_begun(conn, used, got - used);
        return;
    }
    size_t in_place = got < room ? got : room;
    input->len += in_place;
    mf_buf_put(input, pool->scratch, got - in_place);
    mf_conn_offer_buffered(conn);
}

static void drop_input(struct mf_conn *conn)
{
    ssize_t n = read(conn->fd, conn->pool->scratch, MF_CONN_SCRATCH_BYTES);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        mf_conn_close(conn, "closed");
}

static void name_peer(struct mf_conn *conn)
{
    struct sockaddr_storage storage;
    struct sockaddr *peer = (struct sockaddr *)&storage;
    socklen_t size = sizeof(storage);
    char host[INET6_ADDRSTRLEN + 16];
    char port[8];
    if (getpeername(conn->fd, peer, &size) != 0 ||
        getnameinfo(peer, size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0 ||
        // Filled by getpeername. NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult)
        peer->sa_family == AF_UNIX) {
        strcpy(conn->peer, "local");
        return;
    }
    struct mf_address address = {.port = (uint16_t)strtoul(port, NULL, 10)};
    strcpy(address.host, host);
    mf_address_format(&address, conn->peer, sizeof(conn->peer));
}

static void finish_connect(struct mf_conn *conn)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    if (error != 0) {
        close_for_errno(conn, error);
        return;
    }
    conn->connecting = false;
    conn->heard_us = mf_mono_us();
    name_peer(conn);
    mf_conn_write_output(conn);
}

static void on_io(struct ev_loop *loop, ev_io *watcher, int revents)
{
    (void)loop;
    struct mf_conn *conn = watcher->data;
    if ((revents & EV_WRITE) != 0) {
        if (conn->connecting)
            finish_connect(conn);
        else
            mf_conn_write_output(conn);
    }
    if ((revents & EV_READ) != 0) {
        if (conn->state == LINGERING)
            drop_input(conn);
        else if (reads(conn))
            read_input(conn);
    }
    mf_conn_settle(conn);
}

// Options that a socket of another family does not know are not missed.
static void set_options(int fd)
{
    int on = 1;
    int idle = KEEPALIVE_IDLE_S;
    int interval = KEEPALIVE_INTERVAL_S;
    int probes = KEEPALIVE_PROBES;
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

void mf_conn_patience(struct mf_conn *conn, uint64_t patience_us)
{
    unsigned patience_ms = (unsigned)(patience_us / 1000);
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms, sizeof(patience_ms));
}

struct mf_conn *mf_conn_new(struct mf_conn_pool *pool, int fd, bool connecting,
                            const struct mf_conn_limits *limits, const struct mf_conn_ops *ops,
                            void *arg)
{
    struct mf_conn *conn = mf_calloc(1, sizeof(*conn));
    conn->pool = pool;
    conn->limits = *limits;
    conn->ops = *ops;
    conn->arg = arg;
    conn->fd = fd;
    conn->connecting = connecting;
    conn->heard_us = mf_mono_us();
    set_options(fd);
    if (connecting)
        strcpy(conn->peer, "not connected");
    else
        name_peer(conn);
    mf_conn_list_init(&conn->dirty);
    mf_conn_list_init(&conn->resuming);
    mf_conn_list_init(&conn->waiting);
    mf_conn_list_init(&conn->all);
    mf_conn_list_append(&pool->all, &conn->all);
    pool->count++;
    ev_init(&conn->io, on_io);
    conn->io.data = conn;
    arm(conn);
    return conn;
}
