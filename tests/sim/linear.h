// Is there an order of the operations on one key that explains every answer that was given?
//
// The search of Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with the memory
// of what was tried already that Lowe added in "Testing for Linearizability" (2017). Keys are
// checked one at a time: linearizability is a local property (Herlihy and Wing 1990).
//
// The object is one key with an optional TTL. Death is no operation: a key with a TTL may be found
// dead by any operation from the beginning of the death window on, must be found dead after its
// end, and once found dead stays dead until a write. The window comes with the operation that gave
// the TTL, in true time; how wide it must be is for the caller to say.
#ifndef MF_SIM_LINEAR_H
#define MF_SIM_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINEAR_NEVER UINT64_MAX

enum linear_kind {
    LINEAR_READ, // get, mget, has, ttl: whatever of the key's state was told
    LINEAR_SET,
    LINEAR_DEL,
    LINEAR_EXPIRE,
    LINEAR_PERSIST,
    LINEAR_INCR,   // a value that is an integer, or none
    LINEAR_APPEND, // to whatever is there
    LINEAR_GETEX,  // tells the value and gives a TTL, or takes it
};

enum linear_condition {
    LINEAR_NX = 1u << 0,         // set: only if absent; expire: only if it has no TTL
    LINEAR_XX = 1u << 1,         // set: only if present; expire: only if it has a TTL
    LINEAR_GT = 1u << 2,         // expire: only if later
    LINEAR_LT = 1u << 3,         // expire: only if earlier
    LINEAR_IF_VERSION = 1u << 4, // set, del
    LINEAR_KEEP_TTL = 1u << 5,   // set
    LINEAR_DELETES = 1u << 6,    // expire with a TTL that is over at once
    LINEAR_NO_TTL = 1u << 7,     // getex: takes the TTL
    LINEAR_ELSEWHERE = 1u << 8,  // set: it may also fail for what another key is
};

enum linear_hit {
    LINEAR_UNTOLD,
    LINEAR_NO,
    LINEAR_YES, // read, getex: the key was there; set: written; others: it had an effect
};

enum linear_ttl {
    LINEAR_TTL_UNTOLD,
    LINEAR_TTL_NONE,
    LINEAR_TTL_LEFT, // ttl_left_us
};

// Values are numbers that stand for bytes; the caller's own are below 2^62. These are made by
// operations from what they find: an integer (small enough), and what an append makes of two
// values.
#define LINEAR_INTEGERS (UINT64_C(1) << 62)
#define LINEAR_APPENDED (UINT64_C(1) << 63)
static inline uint64_t linear_integer(int64_t integer)
{
    return LINEAR_INTEGERS + (uint64_t)(integer + (INT64_C(1) << 60));
}
uint64_t linear_appended(uint64_t value, uint64_t piece);

struct linear_op {
    // Asked.
    uint64_t call_us;
    uint64_t return_us; // LINEAR_NEVER: the answer never came, it takes effect whenever it likes
    bool maybe;         // ... or not at all
    enum linear_kind kind;
    uint32_t conditions;
    uint64_t if_version; // 0: absent
    uint64_t value;      // set, append: the value written, not 0
    int64_t delta;       // incr
    // Gives the key a TTL: the key may be seen dead from dies_from_us on and must be from
    // dies_until_us on. 0 and LINEAR_NEVER when nothing is known.
    bool gives_ttl;
    uint64_t dies_from_us;
    uint64_t dies_until_us;
    // In which undisturbed stretch of the group's log clock it was called, 0 = in none. Death
    // windows bind only operations of the stretch in which the TTL was given.
    uint32_t stretch;
    // Answered.
    enum linear_hit hit;
    bool tells_value;
    uint64_t seen_value;  // read: the value; set, del, getex: the one before, 0 = none
    uint64_t value_after; // incr: 0 = not told
    uint64_t version;     // 0: not told
    enum linear_ttl ttl;
    uint64_t ttl_left_us;
    // For messages.
    uint32_t number;
};

enum linear_verdict { LINEAR_FINE, LINEAR_BROKEN, LINEAR_UNDECIDED };

struct linear_result {
    enum linear_verdict verdict;
    uint64_t steps;
    size_t stuck; // BROKEN: the index of an operation that no order found so far explains
};

// UNDECIDED when more than steps_max steps would be needed.
struct linear_result linear_check(const struct linear_op *ops, size_t count, uint64_t steps_max);

#endif
