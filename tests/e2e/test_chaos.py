"""Eight clients work while nodes are killed, paused and cut off; then every answer is judged.

This is the test of the promises: what was acknowledged is there, every answer fits one order of
events, replicas end equal, and no key outlives or falls short of its time.
"""

import time

from mayfly_test.check import between, equal, true
from mayfly_test.context import limit
from mayfly_test.history import History
from mayfly_test.judge import check_acknowledged, check_history, judge, read_all
from mayfly_test.proxy import Network
from mayfly_test.wait import wait_for
from mayfly_test.workload import NOTHING_HAPPENED, OUTCOME_UNKNOWN, Workload

PATIENCE = 60.0
HOUR_MS = 3_600_000


class Chaos:
    """A workload on a cluster, and the moments in which something is done to it."""

    def __init__(self, t, cluster, **options):
        self.t = t
        self.cluster = cluster
        self.workload = Workload(cluster, History(), t.seed, **options).start()
        self.end = time.monotonic() + (20 if t.quick else 60)

    def going_on(self):
        self.cluster.fail_if_ended()
        true(not self.workload.problems, f"a client's trouble: {self.workload.problems[:3]}")
        return time.monotonic() < self.end

    def let_work(self, seconds):
        """Goes on when so much time has passed and clients have got answers in it."""
        began = time.monotonic()
        answers = self.workload.answers()
        wait_for(lambda: time.monotonic() >= began + seconds
                 and self.workload.answers() >= answers + 20, PATIENCE, "clients to get answers")

    def finish(self):
        self.workload.stop()
        self.cluster.wait_settled()
        self.t.note(self.workload.summary())
        judge(self.t, self.cluster, self.workload)


@limit(400)
def test_nodes_are_killed_and_restarted_one_after_the_other(t):
    """kill -9 of one node at a time; the next only once the one before has caught up."""
    cluster = t.cluster(3)
    chaos = Chaos(t, cluster)
    kills = leaders = 0
    while chaos.going_on():
        chaos.let_work(t.rng.uniform(0.2, 2.0))
        victim = cluster.busiest_leader() if t.rng.random() < 0.5 else t.rng.choice(cluster.nodes)
        leaders += victim is cluster.busiest_leader()
        victim.kill9()
        kills += 1
        chaos.let_work(t.rng.uniform(0.0, 2.0))
        victim.restart()
        cluster.wait_caught_up(victim)
    t.note(f"{kills} kills, {leaders} of them of the node that led most shards")
    chaos.finish()


@limit(400)
def test_a_leader_that_is_paused_serves_nothing_stale(t):
    """SIGSTOP for longer than a lease: the others take over, and the sleeper must notice."""
    cluster = t.cluster(3)
    chaos = Chaos(t, cluster)
    pauses = 0
    while chaos.going_on():
        chaos.let_work(t.rng.uniform(0.2, 1.5))
        sleeper = cluster.busiest_leader()
        sleeper.pause()
        pauses += 1
        chaos.let_work(t.rng.choice([0.1, 0.4, 0.6, 1.0, 3.0]))
        sleeper.resume()
        cluster.wait_caught_up(sleeper)
    t.note(f"{pauses} pauses")
    chaos.finish()


@limit(400)
def test_nodes_are_cut_off_from_each_other(t):
    """Clients reach every node, nodes do not reach each other: one is alone, or hears and is not
    heard, or two of three links are down. Then the network heals."""
    with Network(t.rng) as network:
        cluster = t.cluster(3, start=False)
        cluster.start_with(network.between)
        cluster.wait_settled()
        chaos = Chaos(t, cluster)
        cuts = 0
        while chaos.going_on():
            chaos.let_work(t.rng.uniform(0.2, 1.5))
            network.cut_some([node.id for node in cluster.nodes])
            cuts += 1
            began = time.monotonic()
            pause = t.rng.uniform(0.2, 3.0)
            wait_for(lambda: time.monotonic() > began + pause, PATIENCE, "the cut to last")
            network.heal()
            cluster.wait_settled()
        t.note(f"{cuts} cuts")
        chaos.finish()


@limit(400)
def test_four_of_five_questions_or_answers_between_nodes_get_lost(t):
    """TCP loses no frames. That the nodes could do without is what makes a broken connection no more
    than a delay; the simulator loses both at once (mayfly-sim --lose)."""
    with Network(t.rng) as network:
        # As many attempts at renewing a lease as lose it once in thousands of times.
        cluster = t.cluster(3, start=False, overrides={"consensus.lease_ms": 2000,
                                                       "limits.request_timeout": 2000})
        cluster.start_with(network.between)
        cluster.wait_settled()
        chaos = Chaos(t, cluster)
        for requests in (True, False):
            network.lose(0.8, requests)
            before = chaos.workload.answers(), network.lost()
            chaos.let_work(5 if t.quick else 20)
            answered, lost = chaos.workload.answers() - before[0], network.lost() - before[1]
            network.heal()
            what = "questions" if requests else "answers"
            true(lost > 100, f"only {lost} frames with {what} were lost")
            t.note(f"{answered} operations were answered while {lost} frames with {what} got lost")
        chaos.finish()


@limit(400)
def test_all_nodes_are_killed_at_once_under_load(t):
    """After kill -9 of the whole cluster nothing acknowledged is missing, and TTLs go on."""
    cluster = t.cluster(3)
    ttls = {f"ttl{i}": 4000 + i * 500 for i in range(60)}
    for i, (key, ttl) in enumerate(ttls.items()):
        cluster.nodes[i % 3].call("set", key, "v", {"ttl": ttl})
    cluster.node(1).call("set", "forever", "v")
    chaos = Chaos(t, cluster, ttls=False)
    for round_number in range(2 if t.quick else 4):
        chaos.let_work(2.0)
        left = {key: Left(cluster.node(1), key) for key in ttls}
        for node in cluster.nodes:
            node.kill9()
        killed = time.monotonic()
        if round_number == 0:  # long enough for some of them to end while all is down
            wait_for(lambda: time.monotonic() > killed + 5.0, 10, "five seconds to pass")
        cluster.restart()
        check_ttls_went_on(cluster, left)
    chaos.workload.stop()
    equal(chaos.workload.problems, [], "what clients were told that no server should say")
    t.note(chaos.workload.summary())
    check_acknowledged(cluster, chaos.workload.acknowledged)
    check_history(t, chaos.workload.history)
    equal(cluster.node(2).call("ttl", "forever"), -1, "the key without a TTL")


class Left:
    """What is left of a key, and the moments of the wall clock between which that was so."""

    def __init__(self, node, key):
        self.asked = time.time()
        self.ttl = node.call("ttl", key)
        self.answered = time.time()

    def expected(self, later):
        """What is left of it at a later look: the least and the most."""
        return (self.ttl - (later.answered - self.asked) * 1000,
                self.ttl - (later.asked - self.answered) * 1000)


def check_ttls_went_on(cluster, left_before):
    """None was reset, and none ran faster or slower than the wall clock, give or take 2 s."""
    for node in cluster.nodes:
        for key, before in left_before.items():
            now = Left(node, key)
            least, most = before.expected(now)
            if before.ttl == -2:
                equal(now.ttl, -2, f"ttl of {key}, dead before the restart")
            elif now.ttl == -2:
                true(least <= 2000, f"{key} is gone {least:.0f} ms before its time")
            else:
                between(0, now.ttl, before.ttl,
                        f"ttl of {key} that was {before.ttl} ms before the restart")
                between(least - 2000, now.ttl, most + 2000, f"ttl of {key} by the wall clock")


@limit(400)
def test_a_cluster_that_loses_power_in_the_middle_of_writes_agrees_with_itself(t):
    """All nodes die at once, many times; after each start all replicas are equal, and what was
    acknowledged is in each of them."""
    cluster = t.cluster(3)
    written = {}
    for round_number in range(3 if t.quick else 8):
        with cluster.nodes[round_number % 3].connect() as connection:
            requests = [("set", b"k:%d:%d" % (round_number, i), b"v%d" % i) for i in range(2000)]
            for method, *params in requests:
                connection.send(method, *params)
            for _ in range(t.rng.randrange(100, 1900)):
                msgid, error, _ = connection.receive()
                if error is None:
                    written[requests[msgid - 1][1]] = requests[msgid - 1][2]
                else:  # of a leader that was slow, and so another one was elected
                    true(error.code in NOTHING_HAPPENED | OUTCOME_UNKNOWN, f"{error}")
            for node in t.rng.sample(cluster.nodes, 3):
                node.kill9()
        cluster.restart()
        cluster.wait_equal()
        for node in cluster.nodes:
            values = read_all(node, written, {"read": "local"})
            lost = [key for key, value in written.items() if values[key] != value]
            true(not lost, f"round {round_number}: node {node.id} misses {lost[:5]!r}")
    t.note(f"{len(written)} acknowledged writes")
