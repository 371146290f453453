// All connections of one loop: what happens when within a turn.
//
// I/O phase. Sockets are read and messages handed on (conn.c). Connections whose pause has ended
// with whole messages in their buffer are offered those by an idle watcher of the highest priority,
// so `data` runs in this phase and no other.
//
// End of turn. Whoever appends output puts the connection on the dirty list. A prepare watcher of
// the lowest priority, the last thing that runs before the loop sleeps, sends what each dirty
// connection has with one call and destroys those that are closed. A connection made dirty after
// that, still before the sleep, feeds the watcher again: nothing waits for an unrelated event.
//
// Now and then. One timer sweeps all connections for whatever patience is needed: idle peers, and
// stalled ones, and closing ones that do not take their last bytes. It also finds peers that have
// left while their input is not read, which libev does not tell.
#include "rpc/conn_private.h"

#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "base/counter.h"

#define SWEEP_US UINT64_C(1000000)
#define SWEEP_MIN_US UINT64_C(5000)
// What a message may take beside the stall timeout: a peer that sends so fast is slow, not still.
#define STALL_BYTES_PER_S UINT64_C(1024)
// A sweep that comes so much too late tells of a thread, or a machine, that stood still.
#define STOOD_STILL_US UINT64_C(1000000)
// Connections that wait long and are looked at in one sweep: a system call each.
#define WAITING_PER_SWEEP 2500u

void mf_conn_list_init(struct link *link)
{
    link->prev = link;
    link->next = link;
}

bool mf_linked(const struct link *link)
{
    return link->next != link;
}

void mf_conn_list_remove(struct link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    mf_conn_list_init(link);
}

void mf_conn_list_append(struct link *list, struct link *link)
{
    if (mf_linked(link))
        return;
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

void mf_conn_pool_flush(struct mf_conn_pool *pool)
{
    while (mf_linked(&pool->dirty)) {
        struct mf_conn *conn = CONN_OF(pool->dirty.next, dirty);
        mf_conn_list_remove(&conn->dirty);
        if (conn->state == CLOSED) {
            mf_conn_destroy(conn);
            continue;
        }
        if (!conn->blocked)
            mf_conn_write_output(conn);
        mf_conn_settle(conn);
    }
}

static void on_end_of_turn(struct ev_loop *loop, ev_prepare *watcher, int revents)
{
    (void)revents;
    struct mf_conn_pool *pool = watcher->data;
    mf_conn_pool_flush(pool);
    pool->flushed_iteration = ev_iteration(loop);
}

// Before any socket is looked at: behind what a connection holds may be its end. An idle watcher
// would not do for that, of whatever priority: it rests while another thread wakes the loop.
static void on_resume(struct ev_loop *loop, ev_check *watcher, int revents)
{
    (void)revents;
    struct mf_conn_pool *pool = watcher->data;
    ev_idle_stop(loop, &pool->more);
    // One that is paused and resumed again meanwhile waits for the next turn: `last` was the end
    // of the list when this turn began.
    const struct link *last = pool->resuming.prev;
    for (bool more = mf_linked(&pool->resuming); more;) {
        struct link *first = pool->resuming.next;
        more = first != last;
        mf_conn_list_remove(first);
        struct mf_conn *conn = CONN_OF(first, resuming);
        if (mf_conn_takes_input(conn)) {
            conn->offered_us = mf_mono_us();
            mf_conn_offer_buffered(conn);
        }
        mf_conn_settle(conn);
    }
}

// The sweep: one timer for all that patience is needed for.

// Whether the peer has taken something since the last look. A socket with a large buffer does not
// take more before a good part of that is gone.
static bool queue_moved(struct mf_conn *conn)
{
    int queued = 0;
    if (ioctl(conn->fd, SIOCOUTQ, &queued) != 0 || queued == conn->queued)
        return false;
    conn->queued = queued;
    return true;
}

// The peer has begun what it does not go on with, or does not take what it has asked for.
static const char *stalled(struct mf_conn *conn, uint64_t now_us)
{
    uint64_t stall_us = conn->pool->stall_us;
    if (stall_us == 0)
        return NULL;
    if (conn->blocked && conn->queued < 0)
        (void)queue_moved(conn);
    if (conn->blocked && !conn->connecting && now_us >= conn->moved_us + stall_us) {
        if (!queue_moved(conn))
            return "the peer does not read what is sent to it";
        conn->moved_us = now_us;
    }
    if (conn->begun_us > 0 && !mf_conn_takes_input(conn))
        conn->begun_us = now_us; // until then nobody has waited for it
    uint64_t fair_us = conn->input.len * UINT64_C(1000000) / STALL_BYTES_PER_S;
    if (conn->begun_us > 0 && now_us >= conn->begun_us + stall_us + fair_us)
        return "a message was not ended in time";
    return NULL;
}

// While this thread stood still no peer could get on: their time begins anew.
static void forgive(struct mf_conn *conn, uint64_t now_us)
{
    conn->moved_us = now_us;
    conn->heard_us = now_us;
    if (conn->begun_us > 0)
        conn->begun_us = now_us;
}

static void sweep_one(struct mf_conn *conn, uint64_t now_us)
{
    struct mf_conn_pool *pool = conn->pool;
    uint64_t quiet_us = now_us - conn->heard_us;
    bool waits = conn->in_flight > 0;
    const char *reason;
    if (conn->state == LINGERING && now_us >= conn->give_up_us)
        mf_conn_close(conn, "closed");
    else if (conn->state == DRAINING && !waits && now_us >= conn->give_up_us)
        mf_conn_close(conn, "closed");
    else if (conn->state == OPEN && pool->idle_us > 0 && !waits && !conn->kept &&
             quiet_us >= pool->idle_us)
        mf_conn_close(conn, "idle for too long");
    else if (conn->state == OPEN && (reason = stalled(conn, now_us)) != NULL)
        mf_conn_close(conn, reason);
    if (quiet_us < pool->sweep_us)
        return;
    if (conn->input.len == 0)
        mf_buf_free(&conn->input);
    if (conn->output.len == 0)
        mf_buf_free(&conn->output);
}

static bool peer_has_left(const struct mf_conn *conn)
{
    struct pollfd at = {.fd = conn->fd, .events = POLLRDHUP};
    return poll(&at, 1, 0) > 0;
}

// Each goes to the end of the list, so that all have their turn.
static void sweep_waiting(struct mf_conn_pool *pool)
{
    const struct link *last = pool->waiting.prev;
    bool more = mf_linked(&pool->waiting);
    for (uint32_t left = WAITING_PER_SWEEP; more && left > 0; left--) {
        struct link *first = pool->waiting.next;
        more = first != last;
        mf_conn_list_remove(first);
        mf_conn_list_append(&pool->waiting, first);
        struct mf_conn *conn = CONN_OF(first, waiting);
        if (conn->in_flight <= 1 && mf_conn_unsent_bytes(conn) == 0 && peer_has_left(conn))
            mf_conn_close(conn, "closed by the peer");
    }
}

static void on_sweep(struct ev_loop *loop, ev_timer *watcher, int revents)
{
    (void)loop;
    (void)revents;
    struct mf_conn_pool *pool = watcher->data;
    uint64_t now_us = mf_mono_us();
    bool stood_still = now_us > pool->swept_us + 2 * pool->sweep_us + STOOD_STILL_US;
    pool->swept_us = now_us;
    for (struct link *at = pool->all.next; at != &pool->all; at = at->next) {
        if (stood_still)
            forgive(CONN_OF(at, all), now_us);
        sweep_one(CONN_OF(at, all), now_us);
    }
    sweep_waiting(pool);
}

// That it is active is all that is wanted of it.
static void on_more(struct ev_loop *loop, ev_idle *watcher, int revents)
{
    (void)loop;
    (void)watcher;
    (void)revents;
}

// Pools.

static void set_sweep(struct mf_conn_pool *pool, uint64_t interval_us)
{
    pool->sweep_us = interval_us;
    pool->sweep.repeat = (double)interval_us / 1e6;
    ev_timer_again(pool->loop, &pool->sweep);
}

struct mf_conn_pool *mf_conn_pool_new(struct ev_loop *loop)
{
    struct mf_conn_pool *pool = mf_calloc(1, sizeof(*pool));
    pool->loop = loop;
    mf_conn_list_init(&pool->all);
    mf_conn_list_init(&pool->dirty);
    mf_conn_list_init(&pool->resuming);
    mf_conn_list_init(&pool->waiting);
    ev_prepare_init(&pool->end_of_turn, on_end_of_turn);
    ev_check_init(&pool->resume, on_resume);
    ev_idle_init(&pool->more, on_more);
    ev_init(&pool->sweep, on_sweep);
    pool->end_of_turn.data = pool;
    pool->resume.data = pool;
    pool->sweep.data = pool;
    ev_set_priority(&pool->end_of_turn, EV_MINPRI);
    ev_set_priority(&pool->resume, EV_MAXPRI);
    ev_prepare_start(loop, &pool->end_of_turn);
    ev_check_start(loop, &pool->resume);
    set_sweep(pool, SWEEP_US);
    return pool;
}

void mf_conn_pool_free(struct mf_conn_pool *pool)
{
    if (pool == NULL)
        return;
    while (mf_linked(&pool->all)) {
        struct mf_conn *conn = CONN_OF(pool->all.next, all);
        mf_conn_note_reason(conn, "the node is stopping");
        mf_conn_destroy(conn);
    }
    ev_prepare_stop(pool->loop, &pool->end_of_turn);
    ev_check_stop(pool->loop, &pool->resume);
    ev_idle_stop(pool->loop, &pool->more);
    ev_timer_stop(pool->loop, &pool->sweep);
    free(pool);
}

void mf_conn_count(_Atomic uint64_t *times, _Atomic uint64_t *bytes, size_t size)
{
    mf_counter_add(times, 1);
    mf_counter_add(bytes, size);
}

void mf_conn_pool_traffic(const struct mf_conn_pool *pool, struct mf_conn_traffic *traffic)
{
    traffic->inputs = mf_counter_read(&pool->inputs);
    traffic->input_bytes = mf_counter_read(&pool->input_bytes);
    traffic->outputs = mf_counter_read(&pool->outputs);
    traffic->output_bytes = mf_counter_read(&pool->output_bytes);
}

size_t mf_conn_pool_count(const struct mf_conn_pool *pool)
{
    return pool->count;
}

void mf_conn_pool_close_all(struct mf_conn_pool *pool, const char *reason)
{
    for (struct link *at = pool->all.next; at != &pool->all; at = at->next)
        mf_conn_close(CONN_OF(at, all), reason);
}

// Often enough for the shortest patience.
static void hasten_sweep(struct mf_conn_pool *pool)
{
    uint64_t interval_us = SWEEP_US;
    const uint64_t timeouts_us[] = {pool->idle_us, pool->stall_us};
    for (size_t i = 0; i < sizeof(timeouts_us) / sizeof(timeouts_us[0]); i++) {
        if (timeouts_us[i] > 0 && timeouts_us[i] / 4 < interval_us)
            interval_us = timeouts_us[i] / 4 < SWEEP_MIN_US ? SWEEP_MIN_US : timeouts_us[i] / 4;
    }
    set_sweep(pool, interval_us);
}

void mf_conn_pool_idle_timeout(struct mf_conn_pool *pool, uint64_t idle_us)
{
    if (idle_us == pool->idle_us)
        return; // the sweep that is to come stays where it is
    pool->idle_us = idle_us;
    hasten_sweep(pool);
}

void mf_conn_pool_stall_timeout(struct mf_conn_pool *pool, uint64_t stall_us)
{
    pool->stall_us = stall_us;
    hasten_sweep(pool);
}
