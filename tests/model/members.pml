/* A configuration change in the log: acceptors {1, 2, 3} become {1, 2, 4}. Acceptor 4 is the memory
 * of the node that was 3 after it may have forgotten (another incarnation), or another node.
 *
 * Claim: at most one value is ever chosen in a slot, whichever configuration governs it.
 *
 * The configuration in slot s governs the slots after s; nothing is proposed after s until s is
 * chosen and a quorum of the new configuration has promised the ballot. Messages as in ballots.pml;
 * here a leader still gathers promises, since acceptor 4 is asked late.
 */
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef BALLOTS
#define BALLOTS 3
#endif

#define ACCEPTORS 4
#define OWNER(b) (2 - (b) % 2)
#define BIT(a) (1 << (a))
#define CHANGE 8
#define SEES(set, a) (((set) >> (a)) & 1)

/* Which bit of a set an acceptor's answer counts for. */
#ifdef BUG_AMNESIAC
#define COUNTS_AS(a) ((a) == 4 -> 3 : (a)) /* it answers under the name of the memory it lost */
#else
#define COUNTS_AS(a) (a)
#endif
#define OLD_MAJORITY(set) (SEES(set, 1) + SEES(set, 2) + SEES(set, 3) >= 2)
#ifdef BUG_OLD_INCARNATION
#define NEW_MAJORITY(set) (SEES(set, 1) + SEES(set, 2) + (SEES(set, 3) | SEES(set, 4)) >= 2)
#else
#define NEW_MAJORITY(set) (SEES(set, 1) + SEES(set, 2) + SEES(set, 4) >= 2)
#endif
#define MAJORITY(changed, set) \
    ((!(changed) && OLD_MAJORITY(set)) || ((changed) && NEW_MAJORITY(set)))

#define FOLLOWER 0
#define CANDIDATE 1
#define LEADER 2

typedef acceptor {
    byte promised;
    byte chosen;
    bool changed;           /* one of the slots up to `chosen` holds the change */
    byte ballot[SLOTS + 1];
    byte value[SLOTS + 1]
}

typedef messages {
    byte prepare;
    byte accept[SLOTS + 1];
    bool changed[SLOTS + 1]; /* the configuration that the proposal is counted in */
    byte accepted[SLOTS + 1]
}

typedef proposer {
    byte role;
    byte ballot;
    byte promises;
    byte recover_to;
    byte next;
    byte adopted_ballot[SLOTS + 1];
    byte adopted_value[SLOTS + 1]
}

acceptor node[ACCEPTORS + 1];
messages sent[BALLOTS + 1];
proposer lead[3];
byte decided[SLOTS + 1];
#ifdef BUG_AMNESIAC
bool lost; /* acceptor 3 is gone, and 4 runs in its place */
#define RUNS(a) ((a) < 3 || ((a) == 3 && !lost) || ((a) == 4 && lost))
#else
#define RUNS(a) true
#endif

inline step_down(n)
{
    lead[n].role = FOLLOWER;
    lead[n].ballot = 0;
    lead[n].promises = 0;
    lead[n].recover_to = 0;
    lead[n].next = 0;
    for (s : 1 .. SLOTS) {
        lead[n].adopted_ballot[s] = 0;
        lead[n].adopted_value[s] = 0
    }
}

inline report(from, to)
{
    for (s : 1 .. SLOTS) {
        if
        :: s > node[from].chosen && s >= sent[lead[to].ballot].prepare &&
           node[from].ballot[s] > lead[to].adopted_ballot[s] ->
           lead[to].adopted_ballot[s] = node[from].ballot[s];
           lead[to].adopted_value[s] = node[from].value[s]
        :: else
        fi
    }
    if
    :: node[from].chosen > lead[to].recover_to -> lead[to].recover_to = node[from].chosen
    :: else
    fi
    lead[to].promises = lead[to].promises | BIT(COUNTS_AS(from))
}

/* What the owner itself has accepted counts like a report. */
inline campaign(n, b)
{
    step_down(n);
    node[n].promised = b;
    lead[n].role = CANDIDATE;
    lead[n].ballot = b;
    sent[b].prepare = node[n].chosen + 1;
    report(n, n)
}

inline promise(a, b)
{
    node[a].promised = b;
    if
    :: a <= 2 -> step_down(a)
    :: else
    fi
    if
    :: lead[OWNER(b)].ballot == b -> report(a, OWNER(b))
    :: true /* lost */
    fi
}

/* One slot after the other: the value of the highest ballot reported, else one of our own. Every
 * ballot has a value of its own, and may put the change into any slot but the last. */
inline propose(n)
{
    lead[n].next = (lead[n].next <= node[n].chosen -> node[n].chosen + 1 : lead[n].next);
    if
    :: lead[n].next <= SLOTS && lead[n].adopted_ballot[lead[n].next] > 0 ->
       sent[lead[n].ballot].accept[lead[n].next] = lead[n].adopted_value[lead[n].next];
       went = true
    :: lead[n].next <= SLOTS && lead[n].adopted_ballot[lead[n].next] == 0 ->
       sent[lead[n].ballot].accept[lead[n].next] = lead[n].ballot;
       went = true
#ifndef BUG_AMNESIAC
    :: lead[n].next < SLOTS && lead[n].adopted_ballot[lead[n].next] == 0 && !node[n].changed ->
       sent[lead[n].ballot].accept[lead[n].next] = CHANGE;
       went = true
#endif
    :: lead[n].next > SLOTS
    fi;
    if
    :: went ->
       sent[lead[n].ballot].changed[lead[n].next] = node[n].changed;
       lead[n].next = lead[n].next + 1;
       went = false
    :: else
    fi
}

/* The barrier: what we proposed below is no change, or is known as chosen. */
#ifdef BUG_NO_BARRIER
#define PAST_BARRIER(n) true
#else
#define PAST_BARRIER(n) (node[n].chosen + 1 >= lead[n].next || \
                         sent[lead[n].ballot].accept[lead[n].next - 1] != CHANGE)
#endif
/* Phase 1 in the configuration in force, before leading and again after it has changed. */
#define PROMISED(n) MAJORITY(node[n].changed, lead[n].promises)
#ifdef BUG_NO_PHASE_1
#define STILL_PROMISED(n) true
#else
#define STILL_PROMISED(n) PROMISED(n)
#endif
/* The new quorum may know more slots as chosen than we do. */
#define RECOVERED(n) (node[n].chosen >= lead[n].recover_to)
#ifdef BUG_NOT_RECOVERED
#define STILL_RECOVERED(n) true
#else
#define STILL_RECOVERED(n) RECOVERED(n)
#endif

inline raise_promise(a, b)
{
    node[a].promised = b;
    if
    :: a <= 2 && a != OWNER(b) -> step_down(a)
    :: else
    fi
}

inline take_accept(a, b, at)
{
    raise_promise(a, b);
    if
    :: at > node[a].chosen ->
       node[a].ballot[at] = b;
       node[a].value[at] = sent[b].accept[at]
    :: else
    fi
    sent[b].accepted[at] = sent[b].accepted[at] | BIT(COUNTS_AS(a));
    if
    :: MAJORITY(sent[b].changed[at], sent[b].accepted[at]) ->
       assert(decided[at] == 0 || decided[at] == sent[b].accept[at]);
       decided[at] = sent[b].accept[at]
    :: else
    fi
}

inline chosen_one_more(a)
{
    node[a].chosen = node[a].chosen + 1;
    assert(node[a].value[node[a].chosen] == decided[node[a].chosen]);
    node[a].changed = node[a].changed || node[a].value[node[a].chosen] == CHANGE
}

inline learn(a, teacher)
{
    s = node[a].chosen + 1;
    if
    :: node[a].ballot[s] < node[teacher].ballot[s] ->
       node[a].ballot[s] = node[teacher].ballot[s];
       node[a].value[s] = node[teacher].value[s]
    :: else
    fi
    s = 0;
    chosen_one_more(a)
}

/* Who is asked: acceptors 1 and 2 always, 3 in the old configuration, 4 in the new one. */
#ifdef BUG_AMNESIAC
#define ASKED_ACCEPT(a, b, at) true
#define ASKED_PROMISE(a, b) true
#else
#define ASKED_ACCEPT(a, b, at) (a < 3 || sent[b].changed[at] == (a == 4))
#define ASKED_PROMISE(a, b) \
    (a < 3 || (lead[OWNER(b)].ballot == b && node[OWNER(b)].changed == (a == 4)))
#endif

#define STEPS_OF_SLOT(a, b, at) \
    :: atomic { RUNS(a) && sent[b].accept[at] != 0 && ASKED_ACCEPT(a, b, at) && b >= node[a].promised && \
                !SEES(sent[b].accepted[at], COUNTS_AS(a)) -> take_accept(a, b, at); s = 0 }
#if SLOTS == 2
#define STEPS_OF_SLOTS(a, b) STEPS_OF_SLOT(a, b, 1) STEPS_OF_SLOT(a, b, 2)
#else
#define STEPS_OF_SLOTS(a, b) \
    STEPS_OF_SLOT(a, b, 1) STEPS_OF_SLOT(a, b, 2) STEPS_OF_SLOT(a, b, 3)
#endif

#define STEPS_OF_BALLOT(a, b) \
    :: atomic { RUNS(a) && sent[b].prepare != 0 && ASKED_PROMISE(a, b) && b > node[a].promised -> \
                promise(a, b); s = 0 } \
    :: atomic { RUNS(a) && node[a].chosen < SLOTS && b >= node[a].promised && \
                node[a].ballot[node[a].chosen + 1] == b && \
                MAJORITY(sent[b].changed[node[a].chosen + 1], \
                         sent[b].accepted[node[a].chosen + 1]) -> \
                raise_promise(a, b); chosen_one_more(a); s = 0 } \
    STEPS_OF_SLOTS(a, b)

#define STEP_LEARN(a, teacher) \
    :: atomic { RUNS(a) && a != 3 && node[teacher].chosen > node[a].chosen -> learn(a, teacher) }

proctype accepting(byte a)
{
    byte s;
end:
    do
    STEPS_OF_BALLOT(a, 1)
    STEPS_OF_BALLOT(a, 2)
#if BALLOTS >= 3
    STEPS_OF_BALLOT(a, 3)
#endif
    STEP_LEARN(a, 1)
    STEP_LEARN(a, 2)
    STEP_LEARN(a, 3)
    STEP_LEARN(a, 4)
#ifdef BUG_AMNESIAC
    :: atomic { a == 3 && !lost -> lost = true }
#endif
    od
}

#define STEP_CAMPAIGN(n, b) \
    :: atomic { OWNER(b) == n && b > node[n].promised && b <= node[n].promised + 2 -> \
                campaign(n, b); s = 0 }

proctype proposing(byte n)
{
    byte s;
    bool went;
end:
    do
    STEP_CAMPAIGN(n, 1)
    STEP_CAMPAIGN(n, 2)
#if BALLOTS >= 3
    STEP_CAMPAIGN(n, 3)
#endif
    :: atomic { lead[n].role == CANDIDATE && PROMISED(n) && RECOVERED(n) ->
                lead[n].next = node[n].chosen + 1; lead[n].role = LEADER }
    :: atomic { lead[n].role == LEADER && (lead[n].next <= SLOTS) && PAST_BARRIER(n) &&
                STILL_PROMISED(n) && STILL_RECOVERED(n) -> propose(n) }
    od
}

init {
    atomic {
        run accepting(1);
        run accepting(2);
        run accepting(3);
        run accepting(4);
        run proposing(1);
        run proposing(2)
    }
}
