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
// closing ones that do not take their last bytes.
#include "rpc/conn_private.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/counter.h"

#define SWEEP_US UINT64_C(1000000)
#define SWEEP_MIN_US UINT64_C(5000)

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

static void on_end_of_turn(struct ev_loop *loop, ev_prepare *watcher, int revents)
{
    (void)revents;
    struct mf_conn_pool *pool = watcher->data;
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
    pool->flushed_iteration = ev_iteration(loop);
}

static void on_resume(struct ev_loop *loop, ev_idle *watcher, int revents)
{
    (void)revents;
    struct mf_conn_pool *pool = watcher->data;
    ev_idle_stop(loop, watcher);
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

static void sweep_one(struct mf_conn *conn, uint64_t now_us)
{
    struct mf_conn_pool *pool = conn->pool;
    uint64_t quiet_us = now_us - conn->heard_us;
    bool waits = conn->in_flight > 0;
    if (conn->state == LINGERING && now_us >= conn->give_up_us)
        mf_conn_close(conn, "closed");
    else if (conn->state == DRAINING && !waits && now_us >= conn->give_up_us)
        mf_conn_close(conn, "closed");
    else if (conn->state == OPEN && pool->idle_us > 0 && !waits && !conn->kept &&
             quiet_us >= pool->idle_us)
        mf_conn_close(conn, "idle for too long");
    if (quiet_us < pool->sweep_us)
        return;
    if (conn->input.len == 0)
        mf_buf_free(&conn->input);
    if (conn->output.len == 0)
        mf_buf_free(&conn->output);
}

static void on_sweep(struct ev_loop *loop, ev_timer *watcher, int revents)
{
    (void)loop;
    (void)revents;
    struct mf_conn_pool *pool = watcher->data;
    uint64_t now_us = mf_mono_us();
    for (struct link *at = pool->all.next; at != &pool->all; at = at->next)
        sweep_one(CONN_OF(at, all), now_us);
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
    ev_prepare_init(&pool->end_of_turn, on_end_of_turn);
    ev_idle_init(&pool->resume, on_resume);
    ev_init(&pool->sweep, on_sweep);
    pool->end_of_turn.data = pool;
    pool->resume.data = pool;
    pool->sweep.data = pool;
    ev_set_priority(&pool->end_of_turn, EV_MINPRI);
    ev_set_priority(&pool->resume, EV_MAXPRI);
    ev_prepare_start(loop, &pool->end_of_turn);
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
    ev_idle_stop(pool->loop, &pool->resume);
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

void mf_conn_pool_idle_timeout(struct mf_conn_pool *pool, uint64_t idle_us)
{
    if (idle_us == pool->idle_us)
        return; // the sweep that is to come stays where it is
    pool->idle_us = idle_us;
    uint64_t interval_us = idle_us / 4 < SWEEP_MIN_US ? SWEEP_MIN_US : idle_us / 4;
    set_sweep(pool, idle_us == 0 || interval_us > SWEEP_US ? SWEEP_US : interval_us);
}
