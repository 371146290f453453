// One turn of a client over all its connections, and the one descriptor to wait on.
//
// The sockets sit in an epoll descriptor, and with them a timer and a bell. As long as the library
// waits by itself it knows for how long, and leaves both alone; once a caller has asked for the
// descriptor, the timer stands for what will be due by the clock and not by a socket, a deadline or
// the end of a pause, and the bell for what is due at once, such as a request just submitted. A
// timer set to the present would do for both, and cost twenty times as much: its interrupt comes
// before the call returns. Both are edge-triggered, so that to wait takes note of them and nothing
// needs to be read. A busy client pays for neither: what its callbacks submit goes out in the turn
// that runs them, and the timer is set anew only when it would be late, or when nothing is due.
#include "rpc/client_internal.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

// A caller who polls less often than this is taken to have been away.
#define ABSENCE_US 50000u
#define EVENTS_PER_WAIT 64
#define TIMER_TAG UINT64_MAX
#define BELL_TAG (UINT64_MAX - 1)

enum mayfly_err mf_loop_init(struct mayfly_client *client)
{
    struct mf_loop *loop = &client->loop;
    struct epoll_event timer = {.events = EPOLLIN | EPOLLET, .data.u64 = TIMER_TAG};
    struct epoll_event bell = {.events = EPOLLIN | EPOLLET, .data.u64 = BELL_TAG};
    loop->armed_us = UINT64_MAX;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    loop->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->timer_fd < 0 || loop->bell_fd < 0 ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->timer_fd, &timer) != 0 ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->bell_fd, &bell) != 0)
        return MAYFLY_ERR_IO;
    return MAYFLY_OK;
}

void mf_loop_free(struct mayfly_client *client)
{
    if (client->loop.timer_fd >= 0)
        close(client->loop.timer_fd);
    if (client->loop.bell_fd >= 0)
        close(client->loop.bell_fd);
    if (client->loop.epoll_fd >= 0)
        close(client->loop.epoll_fd);
}

// An event names the place of its connection and which of that place's connections it is of.
static uint64_t tag_of(const struct mf_link *link, size_t place)
{
    return (uint64_t)link->serial << 32 | place;
}

static size_t place_of(const struct mf_link *link)
{
    size_t place = 0;
    while (link->client->links[place] != link)
        place++;
    return place;
}

enum mayfly_err mf_loop_add(struct mf_link *link)
{
    struct mf_loop *loop = &link->client->loop;
    link->serial++;
    link->interest = link->state == MF_LINK_CONNECTING ? EPOLLOUT : EPOLLIN;
    struct epoll_event event = {.events = link->interest, .data.u64 = tag_of(link, place_of(link))};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, link->transport.fd, &event) != 0)
        return MAYFLY_ERR_OUT_OF_MEMORY;
    return MAYFLY_OK;
}

void mf_loop_remove(struct mf_link *link)
{
    // Closing alone would not do when a child of fork still has the socket.
    if (link->transport.fd >= 0)
        (void)epoll_ctl(link->client->loop.epoll_fd, EPOLL_CTL_DEL, link->transport.fd, NULL);
    link->serial++;
    link->interest = 0;
}

static void update_interest(struct mf_link *link, size_t place)
{
    uint32_t wanted = EPOLLIN;
    if (link->state == MF_LINK_DOWN)
        return;
    if (link->state == MF_LINK_CONNECTING)
        wanted = EPOLLOUT;
    else if (link->full)
        wanted |= EPOLLOUT;
    if (wanted == link->interest)
        return;
    struct epoll_event event = {.events = wanted, .data.u64 = tag_of(link, place)};
    link->interest = wanted;
    (void)epoll_ctl(link->client->loop.epoll_fd, EPOLL_CTL_MOD, link->transport.fd, &event);
}

static uint64_t due_us(const struct mayfly_client *client)
{
    uint64_t due = client->next_timer_us;
    uint64_t watches_due = mf_client_watches_due_us(client);
    uint64_t route_due = mf_route_due_us(client);
    due = watches_due < due ? watches_due : due;
    due = route_due < due ? route_due : due;
    if (client->paused)
        return 0;
    for (size_t i = 0; i < client->link_count; i++) {
        uint64_t link_due =
            client->links[i] != NULL ? mf_link_due_us(client->links[i]) : UINT64_MAX;
        due = link_due < due ? link_due : due;
    }
    return due;
}

// Rings until somebody waits. The count cannot overflow in a lifetime, so a write never fails.
static void ring(struct mf_loop *loop)
{
    if (loop->rung)
        return;
    (void)eventfd_write(loop->bell_fd, 1);
    loop->rung = true;
}

// Whoever waits for the descriptor shall wake at when_us. A timer that has gone off is to be set
// again.
static void arm(struct mayfly_client *client, uint64_t when_us, uint64_t now_us)
{
    struct mf_loop *loop = &client->loop;
    if (when_us <= now_us) {
        ring(loop);
        return;
    }
    bool running = loop->armed_us > now_us && loop->armed_us != UINT64_MAX;
    if (when_us == UINT64_MAX ? !running : running && loop->armed_us <= when_us)
        return;
    struct itimerspec at = {0}; // which stops it
    if (when_us != UINT64_MAX) {
        at.it_value.tv_sec = (time_t)((when_us - now_us) / 1000000);
        at.it_value.tv_nsec = (long)((when_us - now_us) % 1000000) * 1000;
    }
    (void)timerfd_settime(loop->timer_fd, 0, &at, NULL);
    loop->armed_us = when_us;
}

void mf_loop_wake(struct mayfly_client *client)
{
    // A callback runs within a turn, and the turn's end sees to what it has left.
    if (client->loop.shared && !client->in_callback)
        ring(&client->loop);
}

int mayfly_client_fd(struct mayfly_client *client)
{
    client->loop.shared = true;
    arm(client, due_us(client), client->clock_us());
    return client->loop.epoll_fd;
}

// Waits, and lets the connections that are ready work. False when a signal came first.
static bool wait_and_read(struct mayfly_client *client, uint64_t wait_us)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    uint64_t wait_ms = (wait_us + 999) / 1000;
    for (size_t i = 0; i < client->link_count; i++) {
        if (client->links[i] != NULL)
            update_interest(client->links[i], i);
    }
    int ready = epoll_wait(client->loop.epoll_fd, events, EVENTS_PER_WAIT, (int)wait_ms);
    for (int i = 0; i < ready; i++) {
        uint64_t tag = events[i].data.u64;
        size_t place = (size_t)(uint32_t)tag;
        if (tag == BELL_TAG)
            client->loop.rung = false;
        if (tag >= BELL_TAG || place >= client->link_count || client->links[place] == NULL)
            continue;
        struct mf_link *link = client->links[place];
        if (link->state != MF_LINK_DOWN && tag_of(link, place) == tag && !client->paused)
            mf_link_ready(link);
    }
    return ready >= 0;
}

static void take_what_was_read(struct mayfly_client *client)
{
    for (size_t i = 0; i < client->link_count && !client->paused; i++) {
        if (client->links[i] != NULL)
            mf_replies_take(client->links[i]);
    }
}

// The caller was busy elsewhere: what arrived meanwhile is taken before any clock is looked at, so
// that the nodes are not blamed for the caller's absence.
static void catch_up(struct mayfly_client *client)
{
    uint64_t now_us = client->clock_us();
    if (now_us < client->loop.turned_us + ABSENCE_US)
        return;
    for (size_t i = 0; i < client->link_count; i++) {
        if (client->links[i] != NULL && client->links[i]->state != MF_LINK_DOWN)
            mf_link_excuse(client->links[i], now_us);
    }
    (void)wait_and_read(client, 0);
}

static void run_timers(struct mayfly_client *client)
{
    uint64_t now_us = client->clock_us();
    for (size_t i = 0; i < client->link_count; i++) {
        if (client->links[i] != NULL)
            mf_link_check_head(client->links[i], now_us);
    }
    mf_calls_timers(client, now_us);
    mf_client_watches_timers(client, now_us);
    mf_route_timers(client, now_us);
    for (size_t i = 0; i < client->link_count; i++) {
        if (client->links[i] != NULL)
            mf_link_timers(client->links[i], now_us);
    }
}

static void free_retired(struct mayfly_client *client)
{
    for (size_t i = 0; i < client->link_count; i++) {
        if (client->links[i] != NULL && client->links[i]->retired) {
            mf_link_free(client->links[i]);
            client->links[i] = NULL;
        }
    }
}

static bool turn(struct mayfly_client *client, uint64_t wait_us)
{
    size_t completed = client->completed;
    free_retired(client);
    client->paused = false;
    take_what_was_read(client);
    if (!client->paused)
        catch_up(client);
    if (client->paused)
        return true;
    run_timers(client);
    for (size_t i = 0; i < client->link_count; i++) {
        if (client->links[i] != NULL)
            mf_link_write(client->links[i]);
    }
    uint64_t now_us = client->clock_us();
    uint64_t due = due_us(client);
    if (client->completed != completed || due <= now_us)
        wait_us = 0;
    else if (due - now_us < wait_us)
        wait_us = due - now_us;
    return wait_and_read(client, wait_us);
}

// What callbacks have submitted, or a new connection is waited for with, goes out before the turn
// ends. No call may be past its limit then: that is looked at only after what has arrived by then
// has been taken, which is the next turn's business.
static void write_what_came(struct mayfly_client *client, uint64_t now_us)
{
    if (client->paused || client->next_timer_us <= now_us)
        return;
    for (size_t i = 0; i < client->link_count; i++) {
        struct mf_link *link = client->links[i];
        if (link == NULL || link->full)
            continue;
        mf_link_write(link);
        update_interest(link, i); // it may have become full, or be DOWN
    }
}

bool mf_loop_turn(struct mayfly_client *client, uint64_t wait_us)
{
    bool uninterrupted = turn(client, wait_us);
    uint64_t now_us = client->clock_us();
    client->loop.turned_us = now_us;
    write_what_came(client, now_us);
    if (client->loop.shared)
        arm(client, due_us(client), now_us);
    return uninterrupted;
}
