"""Who leads what, and how that moves: spread evenly, on request, and away from a node that stops."""

import threading
import time

from mayfly_test.check import between, equal, true
from mayfly_test.client import RpcError
from mayfly_test.context import limit
from mayfly_test.proxy import Network
from mayfly_test.wait import wait_for

PATIENCE = 30.0


def leaders(node):
    """Who leads each shard, as a node sees it."""
    return [shard["leader"] for shard in node.call("cluster")["shards"]]


def wait_leaders(cluster, wanted, what):
    """Waits until all running nodes agree on leaders that fit."""
    def fit():
        cluster.fail_if_ended()
        return all(wanted(leaders(node)) for node in cluster.running())
    wait_for(fit, PATIENCE, what)


def is_even(led, nodes=3):
    counts = [led.count(node) for node in range(1, nodes + 1)]
    return sum(counts) == len(led) and max(counts) - min(counts) <= 1


def test_leadership_is_spread_over_all_nodes(t):
    cluster = t.cluster(3)
    began = time.monotonic()
    wait_leaders(cluster, is_even, "each node to lead a third of the shards")
    t.note(f"even {time.monotonic() - began:.1f} s after every shard had a leader")


def test_leadership_comes_back_to_a_node_that_came_back(t):
    cluster = t.cluster(3)
    wait_leaders(cluster, is_even, "each node to lead a third of the shards")
    node = cluster.node(2)
    node.kill9()
    cluster.wait_settled()
    node.restart()
    began = time.monotonic()
    wait_leaders(cluster, is_even, "the node to lead its share again")
    t.note(f"even again {time.monotonic() - began:.1f} s after it was ready")


def test_a_silence_that_ends_leaves_no_leader_unknown(t):
    """The links stand all the while, so nobody says again what has been said."""
    with Network(t.rng) as network:
        cluster = t.cluster(4, shards=16, start=False,
                            overrides={"cluster.replicas": 3, "consensus.lease_ms": 500})
        cluster.start_with(network.between)
        cluster.wait_settled()
        listener, others = cluster.nodes[0], cluster.nodes[1:]

        def sees(node):
            return next(seen["alive"] for seen in listener.call("cluster")["nodes"]
                        if seen["id"] == node.id)
        for node in others:
            network.cut([(node.id, listener.id)], drop=False)
            wait_for(lambda node=node: not sees(node), PATIENCE, f"node {node.id} to be missed")
            network.heal()
            cluster.wait_settled()


def test_transfer_moves_a_shard_and_keeps_it_there(t):
    cluster = t.cluster(3, shards=6, overrides=t.patience)
    wait_leaders(cluster, is_even, "an even spread")
    for asked in cluster.nodes:
        shard = asked.id
        old = leaders(asked)[shard]
        new = old % 3 + 1
        equal(asked.call("transfer", shard, new), True, f"transfer through node {asked.id}")
        equal(leaders(cluster.node(new))[shard], new, "the leader, as the new one sees it")
        equal(asked.call("transfer", shard, new), True, "the same once more")
        wait_leaders(cluster, lambda led, s=shard, n=new: led[s] == n, "all to know of it")
    moved = {node.id: leaders(cluster.node(1))[node.id] for node in cluster.nodes}
    # A shard that is out of place goes back only where nobody wanted it there. The last one is
    # drained away and back, which takes as long as that would.
    cluster.node(1).call("drain_node", 1)
    cluster.node(2).call("drain_node", 1, {"undo": True})
    wait_leaders(cluster, lambda led: led.count(1) > 0, "node 1 to lead again")
    for shard, leader in moved.items():
        if leader != 1:
            equal(leaders(cluster.node(leader))[shard], leader, f"the leader of shard {shard}")


def refusal(node, *call):
    """The error that a call is refused with."""
    try:
        result = node.call(*call)
    except RpcError as error:
        return error
    raise AssertionError(f"{call} through node {node.id}: {result!r}, expected an error")


def test_transfer_and_drain_refuse_what_cannot_be(t):
    cluster = t.cluster(4, shards=4, start=False, overrides={"cluster.replicas": 3})
    cluster.start_with(lambda node: None)
    # A node knows who leads what it holds a copy of.
    wait_for(lambda: all(leaders(cluster.node(2))[:2]), PATIENCE, "leaders")
    for node in cluster.nodes:
        for call, code, message in (
                (("transfer", 4, 1), "BAD_REQUEST", "transfer: the shard is 4, expected 0 to 3"),
                (("transfer", 0, 9), "BAD_REQUEST",
                 "transfer: there is no node 9 in the cluster"),
                (("transfer", 0, 65537), "BAD_REQUEST",
                 "transfer: there is no node 65537 in the cluster"),
                (("transfer", 0, 4), "BAD_REQUEST", "transfer: node 4 has no vote in shard 0"),
                (("transfer", "0", 1), "BAD_REQUEST",
                 "transfer: the shard is 1 byte, expected an integer from 0 to 4294967295"),
                (("drain_node", 9), "BAD_REQUEST",
                 "drain_node: there is no node 9 in the cluster"),
                (("drain_node", -1), "BAD_REQUEST",
                 "drain_node: the node is -1, expected an integer from 0 to 4294967295")):
            error = refusal(node, *call)
            equal((error.code, error.message), (code, message), f"{call} through node {node.id}")


def test_transfer_to_a_node_that_is_down_gives_up_in_time(t):
    cluster = t.cluster(3, shards=3, overrides={"limits.request_timeout": 1500})
    wait_leaders(cluster, is_even, "an even spread")
    cluster.node(3).kill9()
    cluster.wait_settled()
    shard = next(i for i, leader in enumerate(leaders(cluster.node(1))) if leader == 2)
    equal(refusal(cluster.node(1), "transfer", shard, 3).code, "NO_QUORUM", "to a dead node")
    equal(refusal(cluster.node(1), "drain_node", 3).code, "NO_QUORUM", "drain of a dead node")
    cluster.node(1).call("set", "k", "v")


def test_a_drained_node_leads_nothing_until_it_may(t):
    cluster = t.cluster(3, shards=30, overrides=t.patience)
    wait_leaders(cluster, is_even, "an even spread")
    equal(cluster.node(1).call("drain_node", 2), True, "drain_node")
    equal(leaders(cluster.node(2)).count(2), 0, "shards that the drained node leads")
    # Its reactors divide their own parts, each evenly.
    wait_leaders(cluster, lambda led: led.count(1) + led.count(3) == 30, "the others to lead all")
    between(12, leaders(cluster.node(1)).count(1), 18, "of 30 shards, those that node 1 leads")
    for i in range(30):
        cluster.node(2).call("set", f"k{i}", "v")
    # A shard out of place that does move shows that there was time for the others.
    cluster.node(1).call("drain_node", 1)
    cluster.node(3).call("drain_node", 1, {"undo": True})
    wait_leaders(cluster, lambda led: led.count(1) >= 10, "node 1 to lead its share again")
    equal(leaders(cluster.node(2)).count(2), 0, "shards that the drained node leads now")
    equal(cluster.node(3).call("drain_node", 2, {"undo": True}), True, "the undoing")
    wait_leaders(cluster, is_even, "an even spread again")


def test_the_command_line_moves_leaders(t):
    cluster = t.cluster(3, shards=6, overrides=t.patience)
    wait_leaders(cluster, is_even, "an even spread")
    new = leaders(cluster.node(1))[0] % 3 + 1
    equal(t.mayfly(cluster, "transfer", "0", str(new)).stdout, b"true\n", "transfer")
    equal(leaders(cluster.node(new))[0], new, "the leader")
    equal(t.mayfly(cluster, "drain", str(new)).stdout, b"true\n", "drain")
    equal(leaders(cluster.node(new)).count(new), 0, "shards led")
    equal(t.mayfly(cluster, "drain", str(new), "--undo").stdout, b"true\n", "drain --undo")
    wait_leaders(cluster, is_even, "an even spread again")
    finished = t.mayfly(cluster, "transfer", "6", "1", status=1)
    true(b"the shard is 6, expected 0 to 5" in finished.stderr, f"stderr {finished.stderr!r}")
    t.mayfly(cluster, "transfer", "x", "1", status=2)


class Writer(threading.Thread):
    """Writes through one node, several requests at a time, until it is told to end, or the node
    closes the connection or says that it stops. Every write is a new one, without an id: one whose
    outcome is unknown is an error."""

    def __init__(self, node, name, depth, keys=500, on_refused=lambda: None):
        super().__init__(daemon=True)
        self._on_refused = on_refused
        self._connection = node.connect()
        self._name = name
        self._depth = depth
        self._keys = keys
        self.ended = threading.Event()
        self.errors = []
        self.writes = 0
        self.longest = 0.0
        self.closed = False
        self.start()

    def run(self):
        sent = {}
        with self._connection as connection:
            while not self.closed and (sent or not self.ended.is_set()):
                while len(sent) < self._depth and not self.ended.is_set():
                    self._send(connection, sent)
                if sent:
                    self._receive(connection, sent)

    def _send(self, connection, sent):
        try:
            msgid = connection.send("set", f"{self._name}{self.writes % self._keys}", "v")
        except OSError:
            self._lost(sent)
            return
        sent[msgid] = time.monotonic()
        self.writes += 1

    def _receive(self, connection, sent):
        try:
            msgid, error, _ = connection.receive()
        except OSError:
            self._lost(sent)
            return
        self.longest = max(self.longest, time.monotonic() - sent.pop(msgid))
        if error is not None and error.code == "SHUTTING_DOWN":
            if not self.ended.is_set():
                self._on_refused()
            self.ended.set()
        elif error is not None:
            self.errors.append(str(error))

    def _lost(self, sent):
        if sent and not self.ended.is_set():
            self.errors.append(f"the connection was closed with {len(sent)} requests under way")
        self.closed = True
        self.ended.set()


@limit(180)
def test_an_orderly_stop_costs_no_error(t):
    check_orderly_stops(t, t.cluster(3, shards=64, overrides=t.patience), 64, 2 if t.quick else 4)


@limit(240)
def test_an_orderly_stop_of_a_node_that_leads_hundreds_of_shards_costs_no_error(t):
    shards = 256 if t.quick else 1024
    cluster = t.cluster(3, shards=shards, overrides=t.patience)
    check_orderly_stops(t, cluster, shards, 1 if t.quick else 3)


def check_orderly_stops(t, cluster, shards, rounds):
    """Whoever writes through the other nodes only waits a moment; whoever writes through the
    stopping one is served until it is told to go."""
    wait_leaders(cluster, is_even, "an even spread")
    homeless = []
    keys = max(500, 4 * shards)  # most shards have some
    for round_ in range(rounds):
        leader = cluster.busiest_leader()
        others = [node for node in cluster.nodes if node is not leader]
        writers = [Writer(node, f"w{node.id}", 8, keys) for node in others]

        def on_refused(others=others):
            # The stopping node refuses nothing before others lead all that it led.
            views = {node.id: leaders(node) for node in others}
            led = {shard for node, view in views.items()
                   for shard, by in enumerate(view) if by == node}
            homeless.extend(set(range(shards)) - led)
        guest = Writer(leader, "guest", 16, keys, on_refused)
        # Thousands of writes, which a disk that others use too takes slowly.
        wait_for(lambda: all(writer.writes > keys for writer in writers + [guest]), 3 * PATIENCE,
                 "the writers to be at it")
        before = max(writer.longest for writer in writers + [guest])
        for writer in writers + [guest]:
            writer.longest = 0.0
        began = time.monotonic()
        equal(leader.terminate(), 0, "exit status")
        stopped = time.monotonic() - began
        cluster.wait_settled()
        served = [writer.writes for writer in writers]
        wait_for(lambda: all(writer.writes > n + 200 for writer, n in zip(writers, served)),
                 PATIENCE, "the writers to go on")
        for writer in writers:
            writer.ended.set()
        for writer in writers + [guest]:
            writer.join(PATIENCE)
        t.note(f"round {round_ + 1}: stopped in {stopped:.2f} s; longest write "
               f"{max(writer.longest for writer in writers) * 1000:.0f} ms, through the stopping "
               f"node {guest.longest * 1000:.0f} ms (before: {before * 1000:.0f} ms)")
        equal([writer.errors for writer in writers + [guest]], [[], [], []], "errors")
        equal(homeless, [], "shards that no other node led when the stopping one refused a write")
        leader.restart()
        wait_leaders(cluster, is_even, "an even spread again")
