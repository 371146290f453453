// The leases between nodes on the links; see links.h and consensus/lease.h.
//
//     we: a frame that asks, our clock s  ->  it: grants from its clock r on, notes (s, token)
//     we: hold the token until s + lease  <-  it: every frame to our process says (s, token)
//
// The lease is the shorter of what the two are configured to.
//
// Shared between threads: each member's lease, and its echo under a sequence lock of its own. The
// echo holds clock, token and process together: a clock with the token of a later grant would make
// the holder rely on what was withdrawn, and another process's clock means nothing to it.
#include "base/log.h"
#include "base/seqlock.h"
#include "server/links_internal.h"

// What another writer notes at the same time stands for ours: the next frame that asks comes soon.
static void note_echo(struct mf_echo *echo, uint64_t incarnation, uint64_t mono_us, uint64_t token)
{
    if (!mf_seq_write_begin(&echo->version))
        return;
    // Relaxed: the writer before us is acquired with the lock.
    bool same = atomic_load_explicit(&echo->incarnation, memory_order_relaxed) == incarnation;
    if (!same || mono_us > atomic_load_explicit(&echo->mono_us, memory_order_relaxed)) {
        // Release, pairs with the acquires in read_echo.
        atomic_store_explicit(&echo->incarnation, incarnation, memory_order_release);
        atomic_store_explicit(&echo->mono_us, mono_us, memory_order_release);
        atomic_store_explicit(&echo->token, token, memory_order_release);
    }
    mf_seq_write_end(&echo->version);
}

// False when there is nothing for this process, or it is just being written: then a frame goes
// without, and the next one brings it.
static bool read_echo(const struct mf_echo *echo, uint64_t incarnation, struct mf_peer_head *head)
{
    uint32_t version = mf_seq_read_begin(&echo->version);
    // Acquire, pairs with the releases in note_echo.
    uint64_t of = atomic_load_explicit(&echo->incarnation, memory_order_acquire);
    head->echo_us = atomic_load_explicit(&echo->mono_us, memory_order_acquire);
    head->token = atomic_load_explicit(&echo->token, memory_order_acquire);
    return mf_seq_valid(&echo->version, version) && of == incarnation;
}

// A node whose disk stands still or takes no log, or that hears nothing of its followers, could
// acknowledge nothing. One that stops asks to the end: until then it leads what nobody could take
// from it.
static bool may_ask(const struct mf_links *links, uint32_t member, uint64_t now_us)
{
    const struct mf_node *node = links->reactor->node;
    uint64_t heard_us = atomic_load_explicit(&node->members[member].heard_us, memory_order_relaxed);
    return !atomic_load_explicit(&node->disk_stalled, memory_order_relaxed) &&
           !mf_node_blocked(node) && heard_us != 0 && now_us < heard_us + mf_node_lease_us(node);
}

static bool declines(const struct mf_node *node)
{
    return atomic_load_explicit(&node->disk_stalled, memory_order_relaxed) || mf_node_leaving(node);
}

struct mf_peer_head mf_links_head(struct mf_link *link, uint64_t now_us)
{
    const struct mf_reactor *reactor = link->links->reactor;
    const struct mf_node *node = reactor->node;
    struct mf_peer_head head = {
        .mono_us = now_us,
        .declines = declines(node),
        .roster = atomic_load_explicit(&node->roster_version, memory_order_relaxed),
        .held = atomic_load_explicit(&node->held, memory_order_relaxed)};
    if (!read_echo(&node->members[link->member].echo, link->incarnation, &head))
        head.echo_us = head.token = 0;
    uint64_t heartbeat_us = (uint64_t)node->config.heartbeat_ms * 1000;
    if (reactor->index == 0 && now_us >= link->asked_us + heartbeat_us / 2) {
        link->asked_us = now_us;
        head.asks = may_ask(link->links, link->member, now_us);
    }
    return head;
}

// The two may be configured differently, while a change goes from node to node: what has been
// granted is as long as the grantor says.
static void take_answer(struct mf_links *links, uint32_t member, uint64_t grants_us,
                        const struct mf_peer_head *head)
{
    struct mf_node *node = links->reactor->node;
    struct mf_lease *lease = &node->members[member].lease;
    uint64_t token = mf_lease_held_token(lease);
    uint64_t own_us = mf_node_lease_us(node);
    mf_lease_held(lease, head->token, head->echo_us, own_us < grants_us ? own_us : grants_us);
    // When two reactors take answers at once both may tell it: asking twice does no harm.
    if (mf_lease_held_token(lease) != token)
        mf_links_up_everywhere(links->reactor, member);
}

void mf_links_take_head(struct mf_links *links, uint32_t member, uint64_t incarnation,
                        uint64_t grants_us, const struct mf_peer_head *head, uint64_t now_us)
{
    struct mf_node *node = links->reactor->node;
    struct mf_member *from = &node->members[member];
    atomic_store_explicit(&from->declines, head->declines, memory_order_relaxed);
    atomic_store_explicit(&from->roster, head->roster, memory_order_relaxed);
    atomic_store_explicit(&from->held, head->held, memory_order_relaxed);
    // Our own clock comes back to us: what it has not shown yet is no echo.
    if (head->echo_us != 0 && head->token != 0 && head->echo_us <= now_us)
        take_answer(links, member, grants_us, head);
    if (!head->asks)
        return;
    atomic_store_explicit(&from->asked_us, now_us, memory_order_relaxed);
    uint64_t token = mf_lease_grant(&from->lease, now_us, mf_node_lease_us(node));
    if (token == 0)
        return;
    note_echo(&from->echo, incarnation, head->mono_us, token);
    mf_links_answer(links, member, incarnation);
}

void mf_links_watch_disk(struct mf_links *links, uint64_t now_us)
{
    struct mf_node *node = links->reactor->node;
    uint64_t stalled_us = 0;
    if (mf_node_blocked(node))
        return; // it is known why nothing is written, and has been said
    for (uint32_t i = 0; i < node->reactor_count; i++) {
        const struct mf_wal *wal = node->reactors[i]->wal;
        uint64_t this_us = wal != NULL ? mf_wal_stalled_us(wal, now_us) : 0;
        stalled_us = this_us > stalled_us ? this_us : stalled_us;
    }
    bool stalled = stalled_us > mf_node_lease_us(node) / 2;
    if (stalled == atomic_load_explicit(&node->disk_stalled, memory_order_relaxed))
        return;
    atomic_store_explicit(&node->disk_stalled, stalled, memory_order_relaxed);
    if (stalled)
        mf_log(MF_WARN,
               "the disk has finished no write for %llu ms: this node asks for no leases until it "
               "does",
               (unsigned long long)(stalled_us / 1000));
    else
        mf_log(MF_INFO, "the disk writes again: this node asks for leases");
}

// Also of a node that has left: what was granted stays granted. NULL for one that never was here.
static struct mf_lease *lease_of(struct mf_links *links, uint16_t node)
{
    int member = mf_node_member_ever(links->reactor->node, node);
    return member >= 0 ? &links->reactor->node->members[member].lease : NULL;
}

static bool is_self(const struct mf_links *links, uint16_t node)
{
    return node == links->reactor->node->config.id;
}

bool mf_links_bound(struct mf_links *links, uint16_t node, uint64_t now_us)
{
    if (is_self(links, node))
        return false;
    const struct mf_lease *lease = lease_of(links, node);
    return lease != NULL ? mf_lease_bound(lease, now_us)
                         : now_us < mf_node_bound_until_us(links->reactor->node);
}

bool mf_links_withdraw(struct mf_links *links, uint16_t node, uint64_t now_us)
{
    if (is_self(links, node))
        return true;
    struct mf_lease *lease = lease_of(links, node);
    return lease != NULL ? mf_lease_withdraw(lease, now_us)
                         : now_us >= mf_node_bound_until_us(links->reactor->node);
}

uint64_t mf_links_support(struct mf_links *links, uint16_t node)
{
    if (is_self(links, node))
        return MF_SELF_TOKEN;
    struct mf_lease *lease = lease_of(links, node);
    return lease != NULL ? mf_lease_token(lease) : 0;
}

uint64_t mf_links_held_until(struct mf_links *links, uint16_t node, uint64_t token)
{
    if (is_self(links, node))
        return token == MF_SELF_TOKEN ? UINT64_MAX : 0;
    const struct mf_lease *lease = lease_of(links, node);
    return lease != NULL ? mf_lease_held_until(lease, token) : 0;
}

void mf_links_judge(struct mf_links *links, uint64_t now_us)
{
    struct mf_node *node = links->reactor->node;
    // When it was we who stood still, what the others have said since is yet to be read. But not
    // twice without a look in between: a lease may be so short, or a node so slow, that this is
    // always so.
    uint64_t patience_us = mf_node_lease_us(node) / 4;
    if (links->patient_until_us <= links->judged_us && links->judged_us != 0 &&
        now_us > links->judged_us + patience_us)
        links->patient_until_us = now_us + patience_us;
    links->judged_us = now_us;
    if (now_us < links->patient_until_us)
        return;
    for (uint32_t i = 0; i < mf_node_member_count(node); i++) {
        struct mf_member *member = &node->members[i];
        uint64_t asked_us = atomic_load_explicit(&member->asked_us, memory_order_relaxed);
        uint64_t heard_us = atomic_load_explicit(&member->heard_us, memory_order_relaxed);
        // One that has never asked may lead all the same, and be followed: it can fall silent.
        if (i == node->self || heard_us == 0 || mf_member_gone(member))
            continue;
        bool up = asked_us != 0 && asked_us + mf_node_lease_us(node) > now_us;
        bool heard = heard_us + mf_node_lease_us(node) > now_us;
        bool was_up = atomic_load_explicit(&member->up, memory_order_relaxed);
        // One that was suspected while it still spoke was followed again, perhaps: when it falls
        // silent it is suspected once more.
        bool fell_silent = !up && !heard && links->speaks[i];
        links->speaks[i] = heard;
        if (up == was_up && !fell_silent)
            continue;
        atomic_store_explicit(&member->up, up, memory_order_relaxed);
        if (up) {
            mf_log(MF_INFO, "node %u is up", member->id);
            mf_links_up_everywhere(links->reactor, i);
            continue;
        }
        mf_log(MF_WARN,
               heard ? "node %u asks for no lease since %u ms: it stops, does not hear us, or "
                       "its disk stands still or is full"
                     : "node %u is silent for %u ms",
               member->id, node->config.lease_ms);
        mf_links_suspect_everywhere(links->reactor, i, 0);
    }
}
