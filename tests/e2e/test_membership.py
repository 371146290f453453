"""Nodes that come and go while the cluster works: add_node, remove_node."""

import pathlib
import shutil
import threading
import time

from mayfly_test.check import between, equal, true
from mayfly_test.client import RpcError
from mayfly_test.context import limit
from mayfly_test.history import History
from mayfly_test.judge import judge
from mayfly_test.wait import wait_for
from mayfly_test.workload import Workload

PATIENCE = 30.0


class Writer(threading.Thread):
    """Writes new keys through one node, one after the other and without an id, until it is told to
    end: any answer but the version is an error, and what was acknowledged is in `written`."""

    def __init__(self, node, name):
        super().__init__(daemon=True)
        self._node = node
        self._name = name
        self.ended = threading.Event()
        self.errors = []
        self.written = {}
        self.start()

    def run(self):
        try:
            with self._node.connect(timeout=20) as connection:
                while not self.ended.is_set() and not self.errors:
                    key = f"{self._name}:{len(self.written)}".encode()
                    if connection.call("set", key, key)["version"] > 0:
                        self.written[key] = key
        except (OSError, RpcError) as error:
            self.errors.append(f"{self._name}: {error}")


class Load:
    """A writer through each of these nodes."""

    def __init__(self, nodes, name="w"):
        self._writers = [Writer(node, f"{name}{node.id}") for node in nodes]

    def wait(self, more=100):
        """Goes on when every writer has made so much progress, or has failed."""
        before = [len(writer.written) for writer in self._writers]
        # Hundreds of writes, one after the other, to a disk that others use too.
        wait_for(lambda: all(writer.errors or len(writer.written) >= n + more
                             for writer, n in zip(self._writers, before)),
                 3 * PATIENCE, "the writers to make progress")

    def stop(self):
        """Ends it without an error; returns what was written."""
        written = {}
        for writer in self._writers:
            writer.ended.set()
        for writer in self._writers:
            writer.join(PATIENCE)
            written.update(writer.written)
        equal([error for writer in self._writers for error in writer.errors], [], "errors")
        return written


def check_all_there(cluster, written):
    for node in cluster.nodes:
        check_all_there_through(node, written)


def check_all_there_through(node, written):
    keys = list(written)
    with node.connect(timeout=20) as connection:
        for at in range(0, len(keys), 500):
            some = keys[at:at + 500]
            values = connection.call("mget", some)
            lost = [key for key, value in zip(some, values) if value != written[key]]
            true(not lost, f"lost through node {node.id}: {lost[:5]!r}")


def copies_of(cluster, node_id):
    """Shards that have a copy on a node, as each node says."""
    return [sum(node_id in shard["replicas"] for shard in node.call("cluster")["shards"])
            for node in cluster.nodes]


def leads(cluster, node_id):
    return sum(shard["leader"] == node_id
               for shard in cluster.nodes[0].call("cluster")["shards"])


def check_members(cluster, copies):
    """Soon all nodes name the same nodes, all of them alive, and the same copies: so many for each
    shard, spread evenly. A node that was not up, or is slow, is told a little later than others."""
    wrong = []

    def fine():
        cluster.fail_if_ended()
        wrong[:] = list(what_is_wrong(cluster, copies))
        return not wrong
    try:
        wait_for(fine, PATIENCE, "all copies to be where they are to be")
    except AssertionError as error:
        raise AssertionError(f"{error}: {wrong[:3]}") from None


def what_is_wrong(cluster, copies):
    views = {node.id: node.call("cluster") for node in cluster.nodes}
    first = next(iter(views.values()))
    ids = sorted(views)
    for node_id, view in views.items():
        if [other["id"] for other in view["nodes"]] != ids:
            yield f"nodes as node {node_id} says: {[other['id'] for other in view['nodes']]}"
    placed = [tuple(shard["replicas"]) for shard in first["shards"]]
    for node_id, view in views.items():
        for other in view["nodes"]:
            if not other["alive"]:
                yield f"node {node_id} takes node {other['id']} for dead"
        for shard, nodes in zip(view["shards"], placed):
            if tuple(shard["replicas"]) != nodes or len(set(nodes)) != copies:
                yield f"copies of shard {shard['id']}: {nodes}, or {shard['replicas']}"
            if (shard["applied"] is not None) != (node_id in nodes):
                yield f"node {node_id}: copy of shard {shard['id']}, {shard['applied']}, of {nodes}"
    counts = [sum(node_id in nodes for nodes in placed) for node_id in views]
    if max(counts) - min(counts) > 1:
        yield f"copies of the nodes: {counts}"


def wait_votes(cluster, node):
    """Waits until a node has a vote wherever it has a copy: only then can it be made a leader."""
    def made_leader(shard):
        try:
            return node.call("transfer", shard, node.id)
        except RpcError:
            return False
    for shard in node.call("cluster")["shards"]:
        if node.id in shard["replicas"]:
            wait_for(lambda s=shard["id"]: made_leader(s), PATIENCE,
                     f"node {node.id} to lead shard {shard['id']}")


def wait_spread(cluster):
    """Waits until every node leads about its share."""
    ids = [node.id for node in cluster.nodes]

    def spread():
        counts = [leads(cluster, node_id) for node_id in ids]
        return sum(counts) == cluster.shards and max(counts) - min(counts) <= 2
    wait_for(spread, PATIENCE, "every node to lead its share")


@limit(180)
def test_a_fourth_node_takes_its_share_and_no_client_notices(t):
    cluster = t.cluster(3, shards=32, overrides=t.patience)
    load = Load(cluster.nodes)
    load.wait()
    node = cluster.newcomer(4)
    began = time.monotonic()
    equal(cluster.add(node, cluster.node(2)), True, "add_node")
    t.note(f"added in {time.monotonic() - began:.2f} s")
    check_members(cluster, 3)
    between(23, copies_of(cluster, 4)[0], 25, "shards with a copy on the new node")
    wait_spread(cluster)
    load.wait()
    written = load.stop()
    t.note(f"{len(written)} writes")
    check_all_there(cluster, written)
    equal(cluster.node(1).call("add_node", 4, node.settings["listen.peer"]), True, "once more")
    for each in cluster.nodes:
        each.terminate()
    cluster.restart()
    check_members(cluster, 3)
    check_all_there(cluster, written)


@limit(600)
def test_the_log_of_a_copy_that_was_given_up_goes_after_a_restart_too(t):
    cluster = t.cluster(3, shards=8, overrides=t.patience)
    with cluster.node(1).connect(timeout=60) as connection:
        for turn in range(16):
            connection.call("mset", [[f"k{n}", bytes(1000)] for n in range(100)])
    equal(cluster.add(cluster.newcomer(4), cluster.node(2)), True, "add_node")
    check_members(cluster, 3)
    node = next(node for node in cluster.nodes[:3] if copies_of(cluster, node.id)[0] < 8)
    folder = pathlib.Path(node.data_dir)
    wait_for(lambda: list((folder / "checkpoints").glob("*.left")), 60, "a copy to be given up")
    first = {file.name.split("-")[0]: file for file in sorted((folder / "wal").glob("*.wal"),
                                                              reverse=True)}
    node.kill9()
    node.restart()
    cluster.wait_settled()
    with cluster.node(2).connect(timeout=60) as connection:
        for turn in range(400):
            pairs = [[f"k{n}", turn.to_bytes(8, "big") * 1250] for n in range(100)]
            wait_for(lambda pairs=pairs: connection.call("mset", pairs), 60, "a write")
            if not any(file.exists() for file in first.values()):
                break
    for file in first.values():
        wait_for(lambda file=file: not file.exists(), 60, f"{file.name} to go")


@limit(180)
def test_a_node_leaves_and_no_client_of_the_others_notices(t):
    cluster = t.cluster(4, shards=32, overrides={"cluster.replicas": 3, **t.patience})
    node = cluster.node(2)
    load = Load([other for other in cluster.nodes if other is not node])
    load.wait()
    began = time.monotonic()
    equal(cluster.remove(node, node), True, "remove_node, asked of the node itself")
    t.note(f"removed in {time.monotonic() - began:.2f} s")
    stats = node.call("stats")
    equal((stats["shards_held"], stats["shards_leading"]), (0, 0), "held and led by who has left")
    check_members(cluster, 3)
    load.wait()
    equal(node.terminate(), 0, "exit status")
    load.wait()
    written = load.stop()
    check_all_there(cluster, written)
    wait_spread(cluster)
    for each in cluster.nodes:
        each.kill9()
    cluster.restart()
    check_members(cluster, 3)
    check_all_there(cluster, written)
    # With its old folder it is nobody.
    node.restart()
    wait_for(lambda: "it is no member of the cluster" in cluster.node(1).log_text(), PATIENCE,
             "the node that has left to be refused")
    check_members(cluster, 3)


@limit(180)
def test_a_dead_node_is_replaced_by_a_new_one(t):
    cluster = t.cluster(3, shards=16, overrides=t.patience)
    with cluster.node(1).connect() as connection:
        written = {b"k%d" % i: b"v%d" % i for i in range(1000)}
        for key, value in written.items():
            connection.call("set", key, value)
    dead = cluster.node(1)
    dead.kill9()
    cluster.wait_settled()
    load = Load(cluster.running())
    load.wait()
    equal(refusal(cluster.node(2), "remove_node", 1).code, "BAD_REQUEST", "with two left")
    node = cluster.newcomer(7, listed=True)
    cluster.nodes.append(node)
    cluster.part_with(dead)
    equal(cluster.node(2).call("add_node", 7, node.settings["listen.peer"], timeout=60), True,
          "add_node beside a dead one")
    equal(cluster.node(3).call("remove_node", 1, timeout=60), True, "remove_node of a dead one")
    check_members(cluster, 3)
    load.wait()
    written.update(load.stop())
    check_all_there(cluster, written)
    for each in cluster.nodes:
        each.kill9()
    cluster.restart()
    check_members(cluster, 3)
    check_all_there(cluster, written)
    # The new one counts: with it and one other the cluster lives.
    cluster.node(2).kill9()
    cluster.wait_settled()
    cluster.node(7).call("set", "alive", "yes")


@limit(240)
def test_all_nodes_are_replaced_one_after_the_other(t):
    """Nothing of what the cluster began with is left, and configurations that name those who are
    there now are as good as the first one."""
    cluster = t.cluster(3, shards=8, overrides=t.patience)
    load = Load(cluster.nodes[:1], "first")
    load.wait(500)
    written = load.stop()
    for new in (4, 5, 6):
        equal(cluster.add(cluster.newcomer(new), cluster.nodes[-1]), True, f"add_node {new}")
        leaving = cluster.node(new - 3)
        equal(cluster.remove(leaving, cluster.nodes[-1]), True, f"remove_node {new - 3}")
        equal(leaving.terminate(), 0, "exit status")
        check_members(cluster, 3)
    check_all_there(cluster, written)
    addresses = ", ".join(f"{node.id}={node.settings['listen.peer']}" for node in cluster.nodes)
    for node in cluster.nodes:
        node.terminate()
        node.settings["cluster.nodes"] = addresses
    cluster.restart()
    check_members(cluster, 3)
    check_all_there(cluster, written)


@limit(240)
def test_a_node_that_left_comes_back(t):
    """With its old folder, whose acceptors have given their copies up, and with an empty one."""
    cluster = t.cluster(3, shards=16, overrides=t.patience)
    load = Load(cluster.nodes)
    node = cluster.newcomer(4)
    load.wait()
    for wipe in (False, False, True):
        equal(cluster.add(node, cluster.node(1)), True, "add_node")
        check_members(cluster, 3)
        load.wait()
        equal(cluster.remove(node, cluster.node(3)), True, "remove_node")
        check_members(cluster, 3)
        cluster.former.remove(node)
        node.kill9()
        if wipe:
            shutil.rmtree(node.data_dir)
        node.restart()
    equal(cluster.add(node, cluster.node(2)), True, "add_node")
    check_members(cluster, 3)
    load.wait()
    check_all_there(cluster, load.stop())


@limit(120)
def test_a_leader_that_is_back_without_memory_at_once_keeps_nobody_from_leading(t):
    """Its node's leases never end. The new process has no copy of what the one before it led, and
    says of its ballots that nobody acts under them."""
    cluster = t.cluster(3, shards=8, mode="none", overrides={"consensus.lease_ms": 3000})
    node = cluster.newcomer(4)
    equal(cluster.add(node, cluster.node(1)), True, "add_node")
    check_members(cluster, 3)
    wait_votes(cluster, node)
    true(leads(cluster, 4) > 0, "the newcomer leads")
    node.kill9()
    node.restart()
    with cluster.node(1).connect(timeout=60) as connection:
        for n in range(64):
            def written(key=f"k{n}"):
                try:
                    return connection.call("set", key, b"v")
                except RpcError:
                    return False
            wait_for(written, PATIENCE, "a write to every shard")
    check_members(cluster, 3)


@limit(180)
def test_a_member_whose_folder_is_gone_learns(t):
    """One that was added, and one that formed the cluster, which is another one by now; also when
    the last thing that a newcomer did was to note who the members are."""
    cluster = t.cluster(3, shards=16)
    equal(cluster.add(cluster.newcomer(4), cluster.node(1)), True, "add_node")
    load = Load([cluster.node(2), cluster.node(3)])
    load.wait(300)
    written = load.stop()
    for node_id, kept in ((4, ()), (1, ()), (4, ("roster",))):
        node = cluster.node(node_id)
        node.kill9()
        cluster.wait_settled()
        for path in node.data_dir.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in kept:
                path.unlink()
        node.restart()
        wait_for(lambda n=node: len(n.call("cluster")["nodes"]) == 4, PATIENCE,
                 "the node to be told who the members are")
        check_members(cluster, 3)
        cluster.wait_settled()
        wait_votes(cluster, node)
    # Their votes count: one that has forgotten nothing is enough with them.
    cluster.node(2).kill9()
    cluster.wait_settled()
    check_all_there_through(cluster.node(4), written)


@limit(180)
def test_a_cluster_grows_from_one_node_to_its_replicas(t):
    cluster = t.cluster(1, shards=8, overrides={"cluster.replicas": 3, **t.patience})
    load = Load(cluster.nodes)
    load.wait()
    for new in (2, 3):
        newcomer = cluster.newcomer(new, listed=new == 3)
        equal(cluster.add(newcomer, cluster.node(1)), True, f"add_node {new}")
        check_members(cluster, new)
    load.wait()
    written = load.stop()
    cluster.node(1).kill9()
    cluster.wait_settled()
    for key in list(written)[:200]:
        equal(cluster.node(3).call("get", key), written[key], f"the value of {key!r}")


@limit(180)
def test_nodes_without_a_log_come_and_go_too(t):
    cluster = t.cluster(3, shards=16, mode="none", overrides=t.patience)
    load = Load(cluster.nodes[1:])
    load.wait()
    equal(cluster.add(cluster.newcomer(4), cluster.node(2)), True, "add_node")
    node = cluster.node(1)
    equal(cluster.remove(node, cluster.node(2)), True, "remove_node")
    node.terminate()
    check_members(cluster, 3)
    written = load.stop()
    newcomer = cluster.node(4)
    newcomer.kill9()
    cluster.wait_settled()
    newcomer.restart()
    cluster.wait_caught_up(newcomer)
    check_members(cluster, 3)
    check_all_there(cluster, written)


@limit(240)
def test_a_change_is_finished_whoever_dies_meanwhile(t):
    """Killed in the middle: the newcomer, then the node that was asked. To ask again is to wait."""
    cluster = t.cluster(3, shards=64)
    load = Load([cluster.node(2), cluster.node(3)])
    load.wait(500)
    node = cluster.newcomer(4)
    asking = threading.Thread(target=ask_in_vain, daemon=True, args=(
        cluster.node(1), "add_node", 4, node.settings["listen.peer"]))
    asking.start()
    wait_for(lambda: copies_of(cluster, 4)[1] > 5, PATIENCE, "the newcomer to get copies")
    node.kill9()
    cluster.node(1).kill9()
    asking.join(PATIENCE)
    node.restart()
    cluster.node(1).restart()
    cluster.nodes.append(node)
    equal(cluster.node(3).call("add_node", 4, node.settings["listen.peer"], timeout=60), True,
          "add_node, once more")
    check_members(cluster, 3)
    asking = threading.Thread(target=ask_in_vain, daemon=True,
                              args=(cluster.node(1), "remove_node", 4))
    asking.start()
    wait_for(lambda: copies_of(cluster, 4)[1] < 40, PATIENCE, "the leaver to lose copies")
    cluster.node(1).kill9()
    asking.join(PATIENCE)
    cluster.node(1).restart()
    wait_for(lambda: all([each["id"] for each in asked.call("cluster")["nodes"]] == [1, 2, 3]
                         for asked in cluster.nodes[:3]), PATIENCE, "the leaver to be dropped")
    cluster.part_with(node)
    check_members(cluster, 3)
    check_all_there(cluster, load_without_errors_of_the_dead(load))


def ask_in_vain(node, *call):
    try:
        node.call(*call, timeout=60)
    except (OSError, RpcError):
        pass


def load_without_errors_of_the_dead(load):
    """What was written; a write that was on its way to a node that died may have no outcome, and
    none is taken where two of a shard's copies were away for longer than it waits."""
    written = {}
    for writer in load._writers:
        writer.ended.set()
        writer.join(PATIENCE)
        codes = {error.split(": ")[1] for error in writer.errors}
        true(codes <= {"TIMEOUT", "NO_QUORUM"}, f"errors {writer.errors}")
        written.update(writer.written)
    return written


@limit(400)
def test_clients_see_one_order_of_events_while_nodes_come_and_go(t):
    cluster = t.cluster(3, shards=16)
    workload = Workload(cluster, History(), t.seed).start()
    end = time.monotonic() + (15 if t.quick else 60)
    changes = 0
    while time.monotonic() < end:
        cluster.fail_if_ended()
        node = cluster.newcomer(4 + changes)
        equal(cluster.add(node, t.rng.choice(cluster.nodes)), True, "add_node")
        leaving = t.rng.choice(cluster.nodes)
        if t.rng.random() < 0.5:
            leaving.kill9()
            wait_for(lambda gone=leaving: all(
                not other["alive"] for each in cluster.running()
                for other in each.call("cluster")["nodes"] if other["id"] == gone.id),
                PATIENCE, "the death to be noticed")
        through = t.rng.choice([each for each in cluster.running() if each is not leaving])
        equal(cluster.remove(leaving, through), True, "remove_node")
        if leaving.running:
            leaving.terminate()
        changes += 1
        answers = workload.answers()
        wait_for(lambda n=answers: workload.answers() >= n + 200, 60, "clients to get answers")
    workload.stop()
    cluster.wait_settled()
    t.note(f"{changes} nodes replaced; {workload.summary()}")
    judge(t, cluster, workload)


def refusal(node, *call):
    """The error that a call is refused with."""
    try:
        result = node.call(*call, timeout=60)
    except RpcError as error:
        return error
    raise AssertionError(f"{call} through node {node.id}: {result!r}, expected an error")


def test_changes_that_cannot_be_are_refused(t):
    cluster = t.cluster(4, shards=8, overrides={"cluster.replicas": 3,
                                                "limits.request_timeout": 1500})
    taken = cluster.node(3).settings["listen.peer"]
    nobody = "127.0.0.1:9"
    for node in cluster.nodes[:2]:
        for call, message in (
                (("add_node", 0, nobody), "add_node: the node is 0, expected 1 to 65535"),
                (("add_node", 65536, nobody), "add_node: the node is 65536, expected 1 to 65535"),
                (("add_node", 3, nobody), f"add_node: node 3 is a member, at {taken}"),
                (("add_node", 9, taken), f"add_node: {taken} is the address of node 3"),
                (("add_node", 9, "127.0.0.1"), ADDRESS), (("add_node", 9, ""), ADDRESS),
                (("add_node", 9, "127.0.0.1:0"), ADDRESS), (("add_node", 9, "a:1,9=b:1"), ADDRESS),
                (("add_node", 9, "a\0b:1"), ADDRESS), (("add_node", 9, "a:65536"), ADDRESS),
                (("add_node", 9, "a" * 300 + ":1"), ADDRESS),
                (("add_node", 9, 7), "add_node: the address is 7, expected a string HOST:PORT"),
                (("remove_node", 9), "remove_node: there is no node 9 in the cluster"),
                (("remove_node", 65537), "remove_node: there is no node 65537 in the cluster")):
            error = refusal(node, *call)
            equal((error.code, error.message), ("BAD_REQUEST", message), f"{call}")
    error = refusal(cluster.node(1), "add_node", 9, nobody)
    equal(error.code, "TIMEOUT", "add_node of nobody")
    attempts = []

    def removed():
        """Where it takes longer than the short request_timeout, it goes on and is asked for again."""
        try:
            attempts.append(cluster.node(2).call("remove_node", 9, timeout=60))
        except RpcError as error:
            over = error.code == "BAD_REQUEST" and "TIMEOUT" in attempts
            attempts.append(True if over else error.code)
        true(attempts[-1] in (True, "TIMEOUT"), f"remove_node of nobody: {attempts}")
        return attempts[-1] is True
    wait_for(removed, PATIENCE, "remove_node of nobody")
    # With a node down, those who have a copy there may not lose another.
    cluster.node(4).kill9()
    cluster.node(3).kill9()
    wait_for(lambda: not any(each["alive"] for each in cluster.node(1).call("cluster")["nodes"][2:]),
             PATIENCE, "the deaths to be noticed")
    error = refusal(cluster.node(1), "remove_node", 2)
    equal(error.code, "NO_QUORUM", "remove_node without a majority")
    true("majority" in error.message, f"message {error.message!r}")


ADDRESS = ("add_node: the address is no HOST:PORT with a port from 1 to 65535, in at most 299 bytes")


def test_the_command_line_adds_and_removes(t):
    cluster = t.cluster(1, shards=4, overrides={"cluster.replicas": 1})
    node = cluster.newcomer(2)
    address = node.settings["listen.peer"]
    equal(t.mayfly(cluster, "add-node", "2", address).stdout, b"true\n", "add-node")
    cluster.nodes.append(node)
    check_members(cluster, 1)
    finished = t.mayfly(cluster, "add-node", "2", "127.0.0.1:9", status=1)
    true(b"BAD_REQUEST" in finished.stderr, f"stderr {finished.stderr!r}")
    equal(t.mayfly(cluster, "remove-node", "1", "-o", "json").stdout, b'{"done": true}\n',
          "remove-node")
    cluster.part_with(cluster.node(1))
    check_members(cluster, 1)
    finished = t.mayfly(cluster, "remove-node", "2", status=1)
    true(b"0 nodes would be left" in finished.stderr, f"stderr {finished.stderr!r}")
    t.mayfly(cluster, "add-node", "x", "127.0.0.1:9", status=2)
