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


@limit(300)
def test_a_leader_that_slept_for_three_leases_serves_nothing_old_and_loses_nothing(t):
    cluster = t.cluster(3, shards=12)
    acknowledged = {}
    fresh = refused = 0
    rounds = 5 if t.quick else 20
    for round_ in range(rounds):
        key = b"k%d" % t.rng.randrange(100)
        node = cluster.leader_of(key)
        other = t.rng.choice([other for other in cluster.nodes if other is not node])
        old, new = b"%d old" % round_, b"%d new" % round_
        write_until_acknowledged(other, key, old)
        sleeper = Sleeper(node, key)
        sleeper.ask("awake")
        equal({value for _, _, value in sleeper.collect()}, {old}, "reads before the pause")

        sleeper.ask("falling asleep")
        sleeper.write(b"w%d" % round_)
        asleep = time.monotonic() + t.rng.uniform(0, 0.005)
        wait_for(lambda end=asleep: time.monotonic() >= end, 1, "some of it to be under way")
        node.pause()
        write_until_acknowledged(other, key, new)
        wait_for(lambda end=asleep: time.monotonic() >= end + 3 * LEASE, 5, "three leases to pass")
        sleeper.ask("asleep")
        node.resume()
        sleeper.ask("waking up")

        for asked, error, result in sleeper.collect():
            if error is not None:
                true(error.code in ("NO_QUORUM", "TIMEOUT"), f"{asked}: {error}")
                refused += 1
            elif isinstance(asked, tuple):
                acknowledged[asked[0]] = asked[1]
            elif asked == "falling asleep":
                true(result in (old, new), f"a read before the pause gave {result!r}")
            else:
                equal(result, new, f"a read through node {node.id}, sent after another leader had "
                      f"acknowledged {new!r} ({asked}, round {round_})")
                fresh += 1
        sleeper.close()
        acknowledged[key] = new
        cluster.wait_caught_up(node)
    true(fresh > rounds * CONNECTIONS, f"only {fresh} reads of the one who slept were answered")
    check_acknowledged(cluster, acknowledged)
    t.note(f"{rounds} pauses; {fresh} reads through the one who slept had the new value, {refused} "
           f"requests were refused; {len(acknowledged)} acknowledged writes are there")
