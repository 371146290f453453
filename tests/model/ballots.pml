/* One group's Multi-Paxos: three nodes that accept, two of which also propose, a short log.
 *
 * Claim: at most one value is ever chosen in a slot, and what a node has learned as chosen is it.
 *
 * Messages are sets that only grow: PREPARE, ACCEPT and CHOSEN may be lost (nobody need take them),
 * come twice, and come in any order. PROMISE goes to one reader, who does nothing with it but add
 * it to what it has gathered, so it is either taken as it is sent or lost; taking it later would
 * gather the same. ACCEPTED and CHOSEN need no message: whoever is told that a slot is chosen finds a
 * majority of the acceptances there, and may be told as late as it likes. A node answers only when
 * its disk has the record (P1), so one step records and answers. A node that is down takes no steps;
 * a proposer that comes back campaigns with a higher ballot, which forgets all else.
 *
 * -DBUG_... plants a bug; scripts/model-check expects every one of them to be found.
 */
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef BALLOTS
#define BALLOTS 3
#endif

#define NODES 3
#define OWNER(b) (2 - (b) % 2) /* odd ballots are node 1's, even ones node 2's */
#define BIT(n) (1 << (n))
#define MAJORITY(set) ((set) == 6 || (set) == 10 || (set) == 12 || (set) == 14)
#define NO_OP 9

#define FOLLOWER 0
#define CANDIDATE 1
#define LEADER 2

typedef acceptor {
    byte promised;
    byte chosen;            /* the chosen index: all slots up to it are known as chosen */
    byte ballot[SLOTS + 1]; /* by slot, from 1; 0: nothing accepted */
    byte value[SLOTS + 1]
}

/* What is in the air of one ballot. */
typedef messages {
    byte prepare;             /* the first slot it asks for; 0: not sent */
    byte accept[SLOTS + 1];   /* the value; 0: not sent */
    byte accepted[SLOTS + 1]  /* who has: a set of bits */
}

/* What a proposer forgets when it crashes. */
typedef proposer {
    byte role;
    byte ballot;
    byte promises;
    byte recover_to;
    byte next;
    byte adopted_ballot[SLOTS + 1];
    byte adopted_value[SLOTS + 1]
}

acceptor node[NODES + 1];
messages sent[BALLOTS + 1];
proposer lead[NODES + 1]; /* node 3's is never used */
byte decided[SLOTS + 1];  /* for the claim only */
#ifdef BUG_PROMISE_FORGOTTEN
bool forgotten;
#endif
#ifdef BUG_BALLOT_REUSED
bool used[BALLOTS + 1];
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

inline campaign(n, b)
{
    step_down(n);
#ifdef BUG_BALLOT_REUSED
    used[b] = (b == node[n].promised);
    for (s : 1 .. SLOTS) { sent[b].accept[s] = 0 }
#endif
    node[n].promised = b;
    lead[n].role = CANDIDATE;
    lead[n].ballot = b;
    lead[n].promises = BIT(n);
    lead[n].recover_to = node[n].chosen;
    sent[b].prepare = node[n].chosen + 1
}

/* P3: of the values reported for a slot, the one of the highest ballot. */
#ifdef BUG_ANY_VALUE
#define BEATS(reported, adopted) ((reported) > 0)
#else
#define BEATS(reported, adopted) ((reported) > (adopted))
#endif
inline report(a, n)
{
    for (s : 1 .. SLOTS) {
        if
        :: s > node[a].chosen && s >= sent[lead[n].ballot].prepare &&
           BEATS(node[a].ballot[s], lead[n].adopted_ballot[s]) ->
           lead[n].adopted_ballot[s] = node[a].ballot[s];
           lead[n].adopted_value[s] = node[a].value[s]
        :: else
        fi
    }
    if
    :: node[a].chosen > lead[n].recover_to -> lead[n].recover_to = node[a].chosen
    :: else
    fi
    lead[n].promises = lead[n].promises | BIT(a)
}

inline promise(a, b)
{
    node[a].promised = b;
    if
    :: lead[a].role != FOLLOWER -> step_down(a)
    :: else
    fi
    if
    :: lead[OWNER(b)].ballot == b && lead[OWNER(b)].role == CANDIDATE -> report(a, OWNER(b))
    :: true /* lost */
    fi
}

/* Proposes again what may have been chosen; holes below the last such slot get a no-op. */
inline take_lead(n)
{
    lead[n].next = node[n].chosen + 1;
    for (s : node[n].chosen + 1 .. SLOTS) {
        if
        :: BEATS(node[n].ballot[s], lead[n].adopted_ballot[s]) ->
           lead[n].adopted_ballot[s] = node[n].ballot[s];
           lead[n].adopted_value[s] = node[n].value[s]
        :: else
        fi
        if
        :: lead[n].adopted_ballot[s] > 0 -> lead[n].next = s + 1
        :: else
        fi
    }
    for (s : node[n].chosen + 1 .. SLOTS) {
        if
        :: s < lead[n].next && lead[n].adopted_ballot[s] > 0 ->
           sent[lead[n].ballot].accept[s] = lead[n].adopted_value[s]
        :: s < lead[n].next && lead[n].adopted_ballot[s] == 0 ->
           sent[lead[n].ballot].accept[s] = NO_OP
        :: else
        fi
        lead[n].adopted_ballot[s] = 0;
        lead[n].adopted_value[s] = 0
    }
    lead[n].promises = 0;
    lead[n].recover_to = 0;
    lead[n].role = LEADER
}

/* Every ballot proposes a value of its own, so that any two that differ are told apart. */
inline propose(n)
{
#ifdef BUG_BALLOT_REUSED
    sent[lead[n].ballot].accept[lead[n].next] =
        (used[lead[n].ballot] -> lead[n].ballot + BALLOTS : lead[n].ballot);
#else
    sent[lead[n].ballot].accept[lead[n].next] = lead[n].ballot;
#endif
    lead[n].next = lead[n].next + 1
}

inline raise_promise(a, b)
{
    node[a].promised = (b > node[a].promised -> b : node[a].promised);
    if
    :: a != OWNER(b) && lead[a].role != FOLLOWER -> step_down(a)
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
    sent[b].accepted[at] = sent[b].accepted[at] | BIT(a);
    if
    :: MAJORITY(sent[b].accepted[at]) -> /* chosen, whoever knows of it */
       assert(decided[at] == 0 || decided[at] == sent[b].accept[at]);
       decided[at] = sent[b].accept[at]
    :: else
    fi
}

inline chosen_one_more(a)
{
    node[a].chosen = node[a].chosen + 1;
    assert(node[a].value[node[a].chosen] == decided[node[a].chosen])
}

/* A leader says that slots are chosen: those that we accepted at its ballot are what it means. */
inline hear_chosen(a, b)
{
    raise_promise(a, b);
    chosen_one_more(a)
}
#ifdef BUG_ANY_BALLOT_CHOSEN
#define IS_MEANT(a, b) (node[a].ballot[node[a].chosen + 1] > 0)
#else
#define IS_MEANT(a, b) (node[a].ballot[node[a].chosen + 1] == b)
#endif

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

#ifdef BUG_PROMISE_BROKEN
#define MAY_ACCEPT(a, b) true
#else
#define MAY_ACCEPT(a, b) ((b) >= node[a].promised)
#endif

#define STEPS_OF_SLOT(a, b, at) \
    :: atomic { sent[b].accept[at] != 0 && MAY_ACCEPT(a, b) && \
                (sent[b].accepted[at] & BIT(a)) == 0 -> take_accept(a, b, at); s = 0 }

#if SLOTS == 1
#define STEPS_OF_SLOTS(a, b) STEPS_OF_SLOT(a, b, 1)
#elif SLOTS == 2
#define STEPS_OF_SLOTS(a, b) STEPS_OF_SLOT(a, b, 1) STEPS_OF_SLOT(a, b, 2)
#else
#define STEPS_OF_SLOTS(a, b) \
    STEPS_OF_SLOT(a, b, 1) STEPS_OF_SLOT(a, b, 2) STEPS_OF_SLOT(a, b, 3)
#endif

#define STEPS_OF_BALLOT(a, b) \
    :: atomic { sent[b].prepare != 0 && b > node[a].promised -> promise(a, b); s = 0 } \
    :: atomic { node[a].chosen < SLOTS && b >= node[a].promised && IS_MEANT(a, b) && \
                MAJORITY(sent[b].accepted[node[a].chosen + 1]) -> hear_chosen(a, b); s = 0 } \
    STEPS_OF_SLOTS(a, b)

#define STEP_LEARN(a, teacher) \
    :: atomic { node[teacher].chosen > node[a].chosen && lead[a].role != LEADER -> \
                learn(a, teacher) }

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
#if BALLOTS >= 4
    STEPS_OF_BALLOT(a, 4)
#endif
    STEP_LEARN(a, 1)
    STEP_LEARN(a, 2)
    STEP_LEARN(a, 3)
#ifdef BUG_PROMISE_FORGOTTEN
    :: atomic { a == 3 && !forgotten && node[a].promised != 0 ->
                node[a].promised = 0; forgotten = true }
#endif
    od
}

#ifdef BUG_NOT_RECOVERED
#define RECOVERED(n) true
#else
#define RECOVERED(n) (node[n].chosen >= lead[n].recover_to)
#endif
#ifdef BUG_BALLOT_REUSED
#define NEXT_BALLOT(n, b) (b >= node[n].promised && lead[n].role == FOLLOWER)
#else
#define NEXT_BALLOT(n, b) (b > node[n].promised && b <= node[n].promised + 2)
#endif

#define STEP_CAMPAIGN(n, b) \
    :: atomic { OWNER(b) == n && NEXT_BALLOT(n, b) -> campaign(n, b); s = 0 }

proctype proposing(byte n)
{
    byte s;
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
    :: atomic { lead[n].role == CANDIDATE && MAJORITY(lead[n].promises) && RECOVERED(n) ->
                take_lead(n); s = 0 }
    :: atomic { lead[n].role == LEADER && lead[n].next <= SLOTS -> propose(n) }
#ifdef BUG_BALLOT_REUSED
    :: atomic { lead[n].role != FOLLOWER -> step_down(n); s = 0 }
#endif
    od
}

init {
    atomic {
        run accepting(1);
        run accepting(2);
        run accepting(3);
        run proposing(1);
        run proposing(2)
    }
}
