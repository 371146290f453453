"""Nodes whose disk is full, or fails to write, step down, say so, and come back without a restart."""

import itertools
import threading
import time

from mayfly_test.check import contains, equal, true
from mayfly_test.client import RpcError
from mayfly_test.context import limit
from mayfly_test.disk import Disk
from mayfly_test.judge import check_acknowledged
from mayfly_test.wait import wait_for

VALUE = b"x" * 60000
STEPS_DOWN = "so this node steps down"
GOES_ON = "the disk takes the log again: "


class Writer:
    """Sets keys of its own through some nodes, one after the other, until it is stopped."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.acknowledged = {}
        self.refused = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._write)
        self.thread.start()

    def _write(self):
        for n in itertools.count():
            if self.ended.is_set():
                return
            key = b"key-%d" % n
            value = key + VALUE
            try:
                self.nodes[n % len(self.nodes)].call("set", key, value, {"id": key})
                self.acknowledged[key] = value
            except RpcError as error:
                self.refused.append((key, error))

    def wait_for_more(self, count):
        goal = len(self.acknowledged) + count
        wait_for(lambda: len(self.acknowledged) >= goal, 60, f"{count} more writes")

    def stop(self):
        self.ended.set()
        self.thread.join()


def leaders(node):
    return {shard["leader"] for shard in node.call("cluster")["shards"]}


def stat(node, name):
    return node.call("stats")[name]


def refusal_of(node, method, *params):
    """The error that a call ends with, or None."""
    try:
        node.call(method, *params, timeout=30)
    except RpcError as error:
        return error
    return None


def left_out(t):
    if t.sanitized:
        t.note("left out: a sanitizer has to be preloaded first")
    return t.sanitized


@limit(200)
def test_a_node_with_a_full_disk_hands_over_and_comes_back_when_there_is_room(t):
    if left_out(t):
        return
    cluster = t.cluster(3, shards=6, start=False, overrides={"node.threads": 2})
    disks = {}
    cluster.start_with(lambda node: disks.update({node.id: Disk(t, node)}))
    cluster.wait_settled()
    full = cluster.busiest_leader()
    others = [node for node in cluster.nodes if node is not full]
    pid = full.pid
    writer = Writer(cluster.nodes)
    try:
        writer.wait_for_more(20)
        equal(stat(full, "disk_full"), 0, "disk_full of a disk with room")
        disks[full.id].fails("ENOSPC")
        wait_for(lambda: stat(full, "disk_full") == 1, 90, "the disk to be full")
        since = time.monotonic()
        wait_for(lambda: full.id not in leaders(others[0]) and 0 not in leaders(others[0]), 20,
                 "the others to lead")
        t.note(f"the others led {(time.monotonic() - since) * 1000:.0f} ms after the disk was full")
        equal(stat(full, "disk_failing"), 0, "disk_failing of a full disk")
        writer.wait_for_more(60)  # through the full node too
        equal(full.call("get", "key-0", {"read": "local"}), writer.acknowledged[b"key-0"],
              "a local read of the full node")
        refusal = refusal_of(full, "snapshot", "half")
        true(refusal is not None, "a snapshot fits a full disk")
        contains(refusal.message, "No space left on device", "why there is no snapshot")
        folder = full.data_dir / "snapshots"
        equal([path.name for path in folder.iterdir()], [], "what is left of the snapshot")
        disks[full.id].is_well()
        wait_for(lambda: stat(full, "disk_full") == 0, 30, "the node to find room")
        writer.wait_for_more(20)
    finally:
        writer.stop()
    equal([str(error) for _, error in writer.refused], [], "writes refused while two nodes are well")
    equal(full.pid, pid, "the process")
    wait_for(lambda: GOES_ON in full.log_text(), 10, "the node to say that it has room")
    equal(full.log_text().count(STEPS_DOWN), 1, "lines that say that the disk is full")
    contains(full.log_text(), "KiB free of", "how full it is")
    equal(full.log_text().count(GOES_ON), 1, "lines that say that it is not any more")
    cluster.wait_caught_up(full)
    others[0].kill9()
    cluster.wait_settled()  # with a majority that needs the node whose disk was full
    full.call("set", "voted", "yes", {"id": "voted"})
    writer.acknowledged[b"voted"] = b"yes"
    others[0].restart()
    cluster.wait_equal()
    check_acknowledged(cluster, writer.acknowledged)


def refuse_and_go_on(t, error, name):
    if left_out(t):
        return
    overrides = {"node.threads": 1, "limits.request_timeout": 1000}
    cluster = t.cluster(1, shards=2, start=False, overrides=overrides)
    disks = []
    cluster.start_with(lambda node: disks.append(Disk(t, node)))
    cluster.wait_settled()
    node = cluster.nodes[0]
    acknowledged = {}
    disks[-1].fails(error)
    for n in itertools.count():
        key = b"key-%d" % n
        refusal = refusal_of(node, "set", key, VALUE, {"id": key})
        if refusal is not None:
            break
        acknowledged[key] = VALUE
    # It was under way when the disk failed, or a record of the node's own was.
    true(refusal.code in ("TIMEOUT", "NO_QUORUM"), f"the first write that did not fit: {refusal}")
    equal(stat(node, name), 1, name)
    refusal = refusal_of(node, "set", "refused", "x")
    true(refusal is not None, "a write is taken")
    equal(refusal.code, "NO_QUORUM", "a write that cannot be made")
    contains(refusal.message, "disk", "why it cannot be made")
    equal(node.call("has", list(acknowledged)), [True] * len(acknowledged), "what is there")
    disks[-1].is_well()
    wait_for(lambda: stat(node, name) == 0, 30, "the node to go on")
    node.call("set", "taken", "x")
    equal(node.call("get", "refused"), None, "what was refused")
    node.call("set", key, VALUE, {"id": key})
    acknowledged[key] = VALUE
    node.kill9()
    node.restart()
    cluster.wait_settled()
    check_acknowledged(cluster, acknowledged)


@limit(120)
def test_a_node_alone_refuses_writes_while_its_disk_is_full_and_serves_reads(t):
    refuse_and_go_on(t, "ENOSPC", "disk_full")


@limit(120)
def test_a_node_alone_refuses_writes_while_its_disk_fails_and_serves_reads(t):
    refuse_and_go_on(t, "EIO", "disk_failing")


MIB = 1 << 20


def fill_by_the_log(t, threads, disk_bytes, written_bytes, keys):
    """Writes more log than the disk has room for, of data that fits it many times over."""
    if left_out(t):
        return
    overrides = {"node.threads": threads, "limits.request_timeout": 20000}
    cluster = t.cluster(1, shards=32, start=False, overrides=overrides)  # none grows much
    disks = []

    def begin(node):
        disks.append(Disk(t, node))
        disks[-1].has(disk_bytes)

    cluster.start_with(begin)
    cluster.wait_settled()
    node = cluster.nodes[0]
    acknowledged = {}
    content = t.rng.randbytes(len(VALUE))  # which no checkpoint makes smaller
    with node.connect(timeout=60) as connection:
        for n in range(written_bytes // len(VALUE)):
            key = b"key-%d" % (n % keys)
            value = content[n % 1000:] + b"%d" % n
            connection.call("set", key, value)
            acknowledged[key] = value
    # On a busy machine the log may have been quicker than the checkpoints, which then made room: else
    # a write would have got no answer.
    times = node.log_text().count(STEPS_DOWN)
    true(times <= 2, f"the node's own log has filled the disk {times} times")
    contains(node.log_text(), "checkpoints are written early", "what is said of it")
    files = [path.stat().st_size for path in (node.data_dir / "checkpoints").glob("*.mfs")]
    t.note(f"{len(files)} checkpoints of {sum(files) // MIB} MiB")
    node.kill9()
    node.restart()
    cluster.wait_settled()
    check_acknowledged(cluster, acknowledged)


@limit(200)
def test_a_log_is_cut_before_it_fills_the_disk(t):
    fill_by_the_log(t, 1, 112 * MIB, 300 * MIB, 64)


@limit(200)
def test_logs_of_several_threads_are_cut_before_they_fill_the_disk(t):
    fill_by_the_log(t, 2, 192 * MIB, 400 * MIB, 400)
