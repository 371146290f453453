"""A leader that stands still for three leases and wakes up: others lead by then, and it must notice
before it answers anybody.

What it finds on waking up is chosen to mislead it: reads that came while it slept, on many connections
and so on all of its threads, before it hears from any other node.
"""

import time

from mayfly_test.check import equal, true
from mayfly_test.client import RpcError
from mayfly_test.context import limit
from mayfly_test.judge import check_acknowledged
from mayfly_test.wait import wait_for

LEASE = 0.5  # consensus.lease_ms, as it is by default
CONNECTIONS = 8
READS = 8
WRITES = 50


class Sleeper:
    """A node that is put to sleep, and what clients have asked it."""

    def __init__(self, node, key):
        self.node = node
        self._key = key
        self._connections = [node.connect(timeout=30) for _ in range(CONNECTIONS)]
        self._open = [{} for _ in self._connections]  # msgid -> what was asked

    def ask(self, name):
        """Reads on every connection; collect() tells them by name."""
        for connection, asked in zip(self._connections, self._open):
            for _ in range(READS):
                asked[connection.send("get", self._key)] = name

    def write(self, prefix):
        """Writes of new keys, without ids; collect() has them as (key, value)."""
        for i in range(WRITES):
            place = i % CONNECTIONS
            key, value = b"%s:%d" % (prefix, i), b"%d" % i
            self._open[place][self._connections[place].send("set", key, value)] = (key, value)

    def collect(self):
        """All answers: [(what was asked, RpcError or None, result)]."""
        answers = []
        for connection, asked in zip(self._connections, self._open):
            while asked:
                msgid, error, result = connection.receive()
                answers.append((asked.pop(msgid), error, result))
        return answers

    def close(self):
        for connection in self._connections:
            connection.close()


def write_until_acknowledged(node, key, value):
    def written():
        try:
            return node.call("set", key, value, {"id": value})
        except RpcError:
            return None
    wait_for(written, 30, "the others to take a write")


class Pauses:
    """Rounds in which a leader is put to sleep while others take over, and what came of them."""

    def __init__(self, t, cluster):
        self._t = t
        self._cluster = cluster
        self.acknowledged = {}
        self.rounds = self.fresh = self.refused = 0

    def round(self, key, node):
        other = self._t.rng.choice([other for other in self._cluster.nodes if other is not node])
        old, new = b"%d old" % self.rounds, b"%d new" % self.rounds
        write_until_acknowledged(other, key, old)
        sleeper = Sleeper(node, key)
        sleeper.ask("awake")
        equal({value for _, _, value in sleeper.collect()}, {old}, "reads before the pause")

        sleeper.ask("falling asleep")
        sleeper.write(b"w%d" % self.rounds)
        asleep = time.monotonic() + self._t.rng.uniform(0, 0.005)
        wait_for(lambda: time.monotonic() >= asleep, 1, "some of it to be under way")
        node.pause()
        write_until_acknowledged(other, key, new)
        wait_for(lambda: time.monotonic() >= asleep + 3 * LEASE, 5, "three leases to pass")
        sleeper.ask("asleep")
        node.resume()
        sleeper.ask("waking up")
        self._check(sleeper.collect(), old, new)
        sleeper.close()
        self.acknowledged[key] = new
        self.rounds += 1
        self._cluster.wait_caught_up(node)

    def _check(self, answers, old, new):
        for asked, error, result in answers:
            if error is not None:
                true(error.code in ("NO_QUORUM", "TIMEOUT"), f"{asked}: {error}")
                self.refused += 1
            elif isinstance(asked, tuple):
                self.acknowledged[asked[0]] = asked[1]
            elif asked == "falling asleep":
                true(result in (old, new), f"a read before the pause gave {result!r}")
            else:
                equal(result, new, f"a read through the node that slept, sent after another leader "
                      f"had acknowledged {new!r} ({asked}, round {self.rounds})")
                self.fresh += 1

    def finish(self):
        true(self.fresh > self.rounds * CONNECTIONS,
             f"only {self.fresh} reads of the one who slept were answered")
        check_acknowledged(self._cluster, self.acknowledged)
        self._t.note(f"{self.rounds} pauses; {self.fresh} reads through the one who slept had the "
                     f"new value, {self.refused} requests were refused; {len(self.acknowledged)} "
                     f"acknowledged writes are there")


@limit(300)
def test_a_leader_that_slept_for_three_leases_serves_nothing_old_and_loses_nothing(t):
    cluster = t.cluster(3, shards=12)
    pauses = Pauses(t, cluster)
    for _ in range(5 if t.quick else 20):
        key = b"k%d" % t.rng.randrange(100)
        pauses.round(key, cluster.leader_of(key))
    pauses.finish()


@limit(300)
def test_a_leader_relies_on_leases_no_longer_than_the_others_grant_them(t):
    """consensus.lease_ms is being changed from node to node, and the one that leads is the last."""
    def change(node):
        node.settings["consensus.lease_ms"] = int(1000 * LEASE * (40 if node.id == 1 else 1))
    cluster = t.cluster(3, shards=12, start=False)
    cluster.start_with(change)
    cluster.wait_settled()
    last = cluster.node(1)
    pauses = Pauses(t, cluster)
    for _ in range(1 if t.quick else 3):
        key = wait_for(lambda: next((key for key in (b"k%d" % i for i in range(100))
                                     if cluster.leader_of(key) is last), None),
                       120, "node 1 to lead a shard")
        pauses.round(key, last)
    pauses.finish()
