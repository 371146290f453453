/* Leases per pair of nodes, and what a group's leader may conclude from them: voters 1, 2 and 3, of
 * which 1 and 2 run for leader.
 *
 * Claims: when a leader is elected, no other holds the group's lease (so two never hold it at
 * once); and what is read under the lease is of the newest leadership that had been elected when
 * the read came in.
 *
 * Time is discrete and passes for all at once (clocks do not drift; the code takes a margin for
 * that off what a holder relies on). Everything that runs out is kept as ticks left, so time has no
 * end here. A tick may come between any two steps: that is a pause of whoever was about to go on.
 * A heartbeat is any time in the past at which its sender may have sent it. The newest answer of
 * each pair is in the air until another takes its place: it may be lost, late, or come twice.
 */
#ifndef BALLOTS
#define BALLOTS 3
#endif
#ifndef TOKENS
#define TOKENS 3 /* withdrawals and restarts of a grantor, at most; then it grants no more */
#endif
#ifndef LEASE
#define LEASE 2
#endif

#define OWNER(b) (2 - (b) % 2)
#define OTHER(n) (3 - (n))
#define BIT(a) (1 << (a))
#define MAJORITY(set) ((set) == 6 || (set) == 10 || (set) == 12 || (set) == 14)

typedef pair {         /* grantor g to holder n, as g keeps it ... */
    byte granted;      /* ticks left */
    byte token;
    byte air_left;     /* ... the answer under way: ticks left of what it grants ... */
    byte air_token;    /* 0: none */
    byte held;         /* ... and as n keeps it */
    byte held_token;
    byte support       /* the token that came with g's last answer to n's ballot; 0: none */
}

typedef grants {
    pair to[3]
}

typedef runner {
    byte ballot;       /* 0: neither candidate nor leader */
    byte promises;
    bool leads;
    bool abdicated
}

grants from[4];        /* by grantor */
byte promised[4];      /* on disk */
byte bound_all[4];     /* ticks left of what the process before may have granted */
runner run_for[3];
byte asked[BALLOTS + 1];     /* PREPARE was sent: 1, and 2 if it carries an abdicated ballot */
byte abdicated_by[BALLOTS + 1]; /* that ballot */
byte transfer;         /* the newest ballot that was given up in a TRANSFER */
byte elected;          /* the highest ballot that was: for the claims only */
byte reading;          /* a read at node 1: 0 none, 1 came in, 2 found the lease valid */
byte floor;            /* `elected` when it came in */

#ifdef BUG_TOKEN_IGNORED
#define COUNTS(g, n) (from[g].to[n].held > 0 && from[g].to[n].support > 0)
#else
#define COUNTS(g, n) \
    (from[g].to[n].held > 0 && from[g].to[n].held_token == from[g].to[n].support)
#endif
#ifdef BUG_ABDICATED_KEEPS
#define GAVE_UP(n) false
#else
#define GAVE_UP(n) run_for[n].abdicated
#endif
/* A majority of three: the leader itself and one other. */
#define HAS_LEASE(n) \
    (run_for[n].leads && !GAVE_UP(n) && (COUNTS(3, n) || COUNTS(OTHER(n), n)))

/* May `a`, which has promised another's ballot, help somebody else? Its own leader steps down with
 * the promise, so a node is never bound to itself. */
#define BOUND_TO(a, n) \
    ((n) != a && (from[a].to[n].granted > 0 || bound_all[a] > 0))
#define BOUND(a, b) \
    (promised[a] != 0 && OWNER(promised[a]) != OWNER(b) && BOUND_TO(a, OWNER(promised[a])) && \
     !(asked[b] == 2 && abdicated_by[b] == promised[a]))

inline stop_leading(n)
{
    run_for[n].ballot = 0;
    run_for[n].promises = 0;
    run_for[n].leads = false;
    run_for[n].abdicated = false;
    from[OTHER(n)].to[n].support = 0;
    from[3].to[n].support = 0
}

/* What has run out gets a new token before anybody else is helped. An abdicated grant still runs:
 * its holder does not count it. */
inline withdraw(at, whom)
{
#ifdef BUG_TOKEN_KEPT
    skip
#else
    if
    :: whom != at && from[at].to[whom].granted == 0 && from[at].to[whom].token <= TOKENS ->
       from[at].to[whom].token = from[at].to[whom].token + 1
    :: else
    fi
#endif
}

inline promise_to(a, b)
{
    if
    :: promised[a] != 0 && OWNER(promised[a]) != OWNER(b) -> withdraw(a, OWNER(promised[a]))
    :: else
    fi;
    promised[a] = b;
    if
    :: a <= 2 -> stop_leading(a)
    :: else
    fi
}

/* The newest answer of `a` to ballot b; of it the leader keeps the token. */
inline support_with(a, b)
{
    if
    :: from[a].to[OWNER(b)].token <= TOKENS ->
       from[a].to[OWNER(b)].support = from[a].to[OWNER(b)].token
    :: else -> from[a].to[OWNER(b)].support = 0
    fi
}

inline campaign(n, b)
{
    asked[b] = 1;
    if
    :: transfer > 0 && OWNER(transfer) != n -> asked[b] = 2; abdicated_by[b] = transfer
    :: true
    fi;
    if
    :: BOUND(n, b) -> asked[b] = 0; abdicated_by[b] = 0
    :: else ->
       promise_to(n, b);
       run_for[n].ballot = b;
       run_for[n].promises = BIT(n)
    fi
}

inline promise(a, b)
{
    promise_to(a, b);
    if
    :: run_for[OWNER(b)].ballot == b ->
       run_for[OWNER(b)].promises = run_for[OWNER(b)].promises | BIT(a);
       support_with(a, b)
    :: true /* lost */
    fi
}

inline win(n)
{
    run_for[n].leads = true;
    run_for[n].promises = 0;
    elected = (run_for[n].ballot > elected -> run_for[n].ballot : elected);
    assert(!HAS_LEASE(OTHER(n)) || run_for[OTHER(n)].ballot > run_for[n].ballot)
}

/* ACCEPTED or READ_ACK to a leader: an elected ballot may raise the promise, bound or not. */
inline answer_leader(a, b)
{
    if
    :: b > promised[a] ->
       promised[a] = b;
       if
       :: a <= 2 -> stop_leading(a)
       :: else
       fi
    :: else
    fi;
    support_with(a, b)
}

/* A heartbeat that n sent `age` ticks ago asks for the lease. */
inline grant(g, n, age)
{
    from[g].to[n].granted = LEASE;
    from[g].to[n].air_token = from[g].to[n].token;
#ifdef BUG_FROM_RECEIPT
    from[g].to[n].air_left = LEASE /* stays so while in the air */
#else
    from[g].to[n].air_left = LEASE - age
#endif
}

inline hold(g, n)
{
    from[g].to[n].held = from[g].to[n].air_left;
    from[g].to[n].held_token = from[g].to[n].air_token
}

/* The process of `a` ends and another starts: only the promise is on disk. */
inline restart(a)
{
    for (k : 1 .. 2) {
        if
        :: k != a ->
           from[a].to[k].granted = 0;
           from[a].to[k].token = from[a].to[k].token + 1
        :: else
        fi
    }
#ifndef BUG_GRANTS_FORGOTTEN
    bound_all[a] = LEASE;
#endif
    if
    :: a <= 2 ->
       stop_leading(a);
       for (k : 1 .. 3) {
           if
           :: k != a ->
              from[k].to[a].held = 0;
              from[k].to[a].held_token = 0;
              from[k].to[a].air_left = 0; /* answers to the old process are not taken */
              from[k].to[a].air_token = 0
           :: else
           fi
       }
       if
       :: a == 1 -> reading = 0; floor = 0
       :: else
       fi
    :: else
    fi
}

inline less(x)
{
    x = (x > 0 -> x - 1 : 0)
}

inline forget(g, n)
{
    if
    :: from[g].to[n].held == 0 -> from[g].to[n].held_token = 0
    :: else
    fi;
    if
    :: from[g].to[n].air_left == 0 -> from[g].to[n].air_token = 0
    :: else
    fi
}

inline tick()
{
    for (k : 1 .. 3) {
        less(bound_all[k]);
        less(from[k].to[1].granted);
        less(from[k].to[1].held);
        less(from[k].to[2].granted);
        less(from[k].to[2].held);
#ifndef BUG_FROM_RECEIPT
        less(from[k].to[1].air_left);
        less(from[k].to[2].air_left);
#endif
    }
    for (k : 1 .. 3) { /* what has run out is as good as nothing */
        forget(k, 1);
        forget(k, 2)
    }
}

#define STEPS_OF_BALLOT(a, b) \
    :: atomic { asked[b] > 0 && b > promised[a] && !BOUND(a, b) -> promise(a, b) } \
    :: atomic { b >= promised[a] && a != OWNER(b) && run_for[OWNER(b)].ballot == b && \
                run_for[OWNER(b)].leads -> answer_leader(a, b) }

#define STEPS_OF_PAIR(g, n) \
    :: atomic { g != n && from[g].to[n].token <= TOKENS -> grant(g, n, 0) } \
    :: atomic { g != n && from[g].to[n].token <= TOKENS -> grant(g, n, 1) } \
    :: atomic { g != n && from[g].to[n].air_token > 0 -> hold(g, n) }

proctype voter(byte a)
{
    byte k;
end:
    do
    STEPS_OF_BALLOT(a, 1)
    STEPS_OF_BALLOT(a, 2)
#if BALLOTS >= 3
    STEPS_OF_BALLOT(a, 3)
#endif
#if BALLOTS >= 4
    STEPS_OF_BALLOT(a, 4)
#endif
    STEPS_OF_PAIR(a, 1)
#if BALLOTS >= 3 /* else nobody comes after node 2 */
    STEPS_OF_PAIR(a, 2)
#endif
#ifndef NO_RESTARTS
    :: atomic { (a == 1 || from[a].to[1].token <= TOKENS) &&
                (a == 2 || from[a].to[2].token <= TOKENS) -> restart(a); k = 0 }
#endif
    od
}

#define STEP_CAMPAIGN(n, b) \
    :: atomic { OWNER(b) == n && b > promised[n] && b <= promised[n] + 2 && asked[b] == 0 -> \
                campaign(n, b) }

proctype running(byte n)
{
end:
    do
    STEP_CAMPAIGN(n, 1)
    STEP_CAMPAIGN(n, 2)
#if BALLOTS >= 3
    STEP_CAMPAIGN(n, 3)
#endif
#if BALLOTS >= 4
    STEP_CAMPAIGN(n, 4)
#endif
    :: atomic { run_for[n].ballot > 0 && MAJORITY(run_for[n].promises) -> win(n) }
    :: atomic { run_for[n].leads && !run_for[n].abdicated ->
                run_for[n].abdicated = true; transfer = run_for[n].ballot }
    od
}

/* A read under the lease at node 1, with a pause wherever it hurts. */
proctype reader()
{
end:
    do
#ifdef BUG_CHECK_BEFORE_READ
    :: atomic { reading == 0 && HAS_LEASE(1) -> reading = 1 }
    :: atomic { reading == 1 && run_for[1].leads -> reading = 2; floor = elected }
#else
    :: atomic { reading == 0 && run_for[1].leads -> reading = 1; floor = elected }
    :: atomic { reading == 1 && HAS_LEASE(1) -> reading = 2 }
#endif
    :: atomic { reading == 2 && run_for[1].leads ->
                assert(run_for[1].ballot >= floor); reading = 0; floor = 0 }
    :: atomic { reading != 0 && !run_for[1].leads -> reading = 0; floor = 0 }
    od
}

proctype time()
{
    byte k;
end:
    do
    :: atomic { true -> tick(); k = 0 }
    od
}

init {
    byte k;
    atomic {
        for (k : 1 .. 3) {
            from[k].to[1].token = 1;
            from[k].to[2].token = 1
        }
        k = 0;
        run voter(1);
        run voter(2);
        run voter(3);
        run running(1);
        run running(2);
        run reader();
        run time()
    }
}
