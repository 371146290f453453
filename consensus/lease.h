// Leases between two nodes: one heartbeat stream per pair serves all groups.
//
// We hear from node L at our time r: until r + lease we help nobody else take a group whose promise
// we gave to L. L, which sent at its own time s, may rely on it until s + lease less what two
// clocks may drift. So a lease that its holder believes in has not run out at its grantor, whatever
// the network does; only differences of one clock are ever compared.
//
// What L may rely on is the promise for a group, and a promise that we gave to somebody else in
// between is not in the heartbeat. Hence tokens: each withdrawal (we help another node after the
// grant has run out) gives all later grants to L a new token. A group's leader counts a grantor
// only while the grant's token is the one that came with the grantor's last answer to this ballot;
// with another token it asks the group's follower again. (CockroachDB's store liveness has the same
// idea in its epochs.) Tokens of two processes are never equal (a random 64-bit base each).
//
// A process that has just started may have granted before: it counts every node as holding its
// lease until one full lease has passed.
//
// Withdrawals are counted once for all groups: one that comes while nothing was granted and no
// token was handed out since the last gives no new token, for there is nobody to tell them apart.
//
// Threads: everything here may be called by any reactor's thread. Nothing waits.
#ifndef MF_CONSENSUS_LEASE_H
#define MF_CONSENSUS_LEASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

// One part in this many is taken off what a holder relies on.
#define MF_LEASE_DRIFT 256u
// The token by which a node counts itself, which it does without a lease.
#define MF_SELF_TOKEN UINT64_C(1)

// What we have granted to one node, and what it has granted to us. All zero is nothing; then init.
struct mf_lease {
    uint64_t token_base;           // constant after init
    _Atomic uint64_t granted;      // until (ms, rounded up), whether the token is out, withdrawals
    _Atomic uint32_t held_version; // a sequence lock over the two below; odd while written
    _Atomic uint64_t held_until_us;
    _Atomic uint64_t held_token;
};

// bound_until_us: start of the process + lease, or 0 when it cannot have granted anything before.
void mf_lease_init(struct mf_lease *lease, uint64_t token_base, uint64_t bound_until_us);

// Grantor. A frame that asks for the lease has come at now_us. Returns the token to answer with;
// 0 = not granted (the withdrawals are used up).
uint64_t mf_lease_grant(struct mf_lease *lease, uint64_t now_us, uint64_t lease_us);
// The token of grants now, whether or not one is running: what a group's answer to L carries. Notes
// that it is out. 0 when the withdrawals are used up.
uint64_t mf_lease_token(struct mf_lease *lease);
// True while we may not help another node take L's groups.
bool mf_lease_bound(const struct mf_lease *lease, uint64_t now_us);
// Ends what has run out, so that another node may be helped: false while it is still running.
// Must be called, and have returned true, before the promise to the other node is made.
bool mf_lease_withdraw(struct mf_lease *lease, uint64_t now_us);

// Holder. An answer to the frame that we sent at sent_us (our clock) has come, with this token.
// What we rely on is the answer to the newest frame: an older one changes nothing.
void mf_lease_held(struct mf_lease *lease, uint64_t token, uint64_t sent_us, uint64_t lease_us);
// Until when we may rely on the grant with this token (our clock); 0: not at all.
uint64_t mf_lease_held_until(const struct mf_lease *lease, uint64_t token);
// The token of the newest grant; 0 = none yet. When it changes, every group that we lead asks the
// node again.
uint64_t mf_lease_held_token(const struct mf_lease *lease);

#endif
