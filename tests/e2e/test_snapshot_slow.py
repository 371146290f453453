"""Snapshots and checkpoints on a disk that does not keep up, or hangs, under a load that changes keys."""

import json
import threading

from mayfly_test.check import between, equal, true
from mayfly_test.client import RpcError
from mayfly_test.context import limit
from mayfly_test.disk import Disk
from mayfly_test.wait import wait_for

KEYS = 40_000
VALUE = 1000  # bytes: five times the bound is in the keys
# What a walk hands out early before writes are held (MF_WALK_EARLY_BYTES), and what the entries on
# their way may add: a window of 8 MiB, and the one that comes on top.
EARLY_BYTES_MAX = (8 + 8 + 2) * 2**20


class Load(threading.Thread):
    """Sets all keys anew, again and again, through one node."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.rounds = 0
        self.errors = []
        self.written = 0
        self.stopping = threading.Event()
        self.trouble = None
        self.start()

    def run(self):
        try:
            with self.node.connect(timeout=60) as connection:
                while not self.stopping.is_set():
                    self.rounds += 1
                    for at in range(0, KEYS, 500):
                        if self.stopping.is_set():
                            return
                        self._write(connection, at)
        except OSError as error:
            self.trouble = error

    def _write(self, connection, at):
        value = str(self.rounds).ljust(VALUE)
        try:
            connection.call("mset", [[f"key:{i}", value] for i in range(at, at + 500)])
            self.written += 500
        except RpcError as error:
            self.errors.append(error.code)

    def goes_on(self):
        before = self.written
        wait_for(lambda: self.written > before + 2000 or self.trouble, 60, "writes that go on")
        true(self.trouble is None, f"the load: {self.trouble}")

    def stop(self):
        self.stopping.set()
        self.join(60)
        true(self.trouble is None, f"the load: {self.trouble}")


class Snapshot(threading.Thread):
    """One that takes its time."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.made = self.error = None
        self.start()

    def run(self):
        try:
            self.made = self.node.call("snapshot", "slow.mfs", timeout=120)
        except (RpcError, OSError) as error:
            self.error = error


def left_out(t):
    if t.sanitized:
        t.note("left out: a sanitizer has to be preloaded first")
    return t.sanitized


def fill(node):
    with node.connect(timeout=60) as connection:
        for at in range(0, KEYS, 500):
            connection.call("mset", [[f"key:{i}", "0".ljust(VALUE)] for i in range(at, at + 500)])


def check_is_cut(t, made):
    """All keys, at most two rounds of the load, and the newer one before the older."""
    finished = t.run("mayfly-snapshot", "export", made["path"], "-o", "json")
    equal(finished.status, 0, f"exit status of\n{finished}\n")
    records = {}
    for line in finished.stdout.splitlines():
        record = json.loads(line)
        records[int(record["key"].split(":")[1])] = int(record["value"])
    equal(sorted(records), list(range(KEYS)), "keys of the cut")
    rounds = [records[i] for i in range(0, KEYS, 500)]
    equal(rounds, sorted(rounds, reverse=True), "rounds in the cut")
    between(0, rounds[0] - rounds[-1], 1, "rounds in the cut")


@limit(180)
def test_writes_wait_for_a_disk_that_hangs_and_go_on_with_it(t):
    if left_out(t):
        return
    cluster = t.cluster(1, shards=1, mode="none", start=False,
                        overrides={"limits.request_timeout": 2000})
    disks = []
    cluster.start_with(lambda node: disks.append(Disk(t, node)))
    node, disk = cluster.node(1), disks[0]
    fill(node)
    disk.hangs("/snapshots/")
    snapshot = Snapshot(node)
    load = Load(node)
    wait_for(lambda: load.errors or snapshot.error or load.trouble, 60, "a write that is refused")
    equal(set(load.errors), {"BUSY"}, "what a write that waits is refused with")
    equal(node.call("get", "key:0") is not None, True, "a read meanwhile")
    true(node.call("stats")["walk_holds"] >= 1, "a hold")
    disk.is_well()
    wait_for(lambda: snapshot.made or snapshot.error, 120, "the snapshot")
    true(snapshot.error is None, f"the snapshot: {snapshot.error}")
    load.goes_on()
    load.stop()
    stats = node.call("stats")
    t.note(f"{stats['walk_early_bytes_max']} bytes were handed out early at most, in "
           f"{stats['walk_holds']} holds")
    between(8 * 2**20, stats["walk_early_bytes_max"], EARLY_BYTES_MAX, "bytes handed out early")
    equal(snapshot.made["keys"], KEYS, "keys of the snapshot")
    check_is_cut(t, snapshot.made)


@limit(180)
def test_a_snapshot_on_a_disk_that_takes_nothing_is_given_up_for_the_writers_sake(t):
    if left_out(t):
        return
    cluster = t.cluster(1, shards=1, mode="none", start=False,
                        overrides={"limits.request_timeout": 500})
    disks = []
    cluster.start_with(lambda node: disks.append(Disk(t, node)))
    node, disk = cluster.node(1), disks[0]
    fill(node)
    disk.hangs("/snapshots/")
    snapshot = Snapshot(node)
    load = Load(node)
    wait_for(lambda: load.errors or load.trouble, 60, "a write that is refused")
    load.goes_on()
    between(0, node.call("stats")["walk_early_bytes_max"], EARLY_BYTES_MAX, "bytes handed out")
    true(snapshot.made is None and snapshot.error is None, "the snapshot still waits for the disk")
    disk.is_well()
    wait_for(lambda: snapshot.made or snapshot.error, 60, "the end of the snapshot")
    true(snapshot.made is None, f"a snapshot that was given up: {snapshot.made}")
    load.goes_on()
    load.stop()
    snapshot = Snapshot(node)
    wait_for(lambda: snapshot.made or snapshot.error, 60, "another snapshot")
    true(snapshot.error is None, f"another snapshot: {snapshot.error}")


@limit(240)
def test_a_follower_whose_disk_hangs_holds_nobody_up_and_catches_up(t):
    if left_out(t):
        return
    cluster = t.cluster(3, shards=1, mode="none", start=False)
    disks = {}
    cluster.start_with(lambda node: disks.update({node.id: Disk(t, node)}))
    fill(cluster.node(1))
    leader = cluster.node(1).call("cluster")["shards"][0]["leader"]
    follower = next(node for node in cluster.nodes if node.id != leader)
    disks[follower.id].hangs("/snapshots/")
    snapshot = Snapshot(follower)
    load = Load(cluster.node(leader))
    wait_for(lambda: follower.call("stats")["walk_holds"] or load.trouble, 60, "a hold")
    # More than its log takes: the others go on all the same.
    rounds = load.rounds
    wait_for(lambda: load.rounds > rounds + 2 or load.trouble, 120, "writes that go on")
    equal(load.errors, [], "errors of the load")
    disks[follower.id].is_well()
    wait_for(lambda: snapshot.made or snapshot.error, 120, "the snapshot")
    true(snapshot.error is None, f"the snapshot: {snapshot.error}")
    load.stop()
    equal(load.errors, [], "errors of the load")
    between(8 * 2**20, follower.call("stats")["walk_early_bytes_max"], EARLY_BYTES_MAX,
            "bytes handed out early")
    equal(snapshot.made["keys"], KEYS, "keys of the snapshot")

    def applied(node):
        return node.call("cluster")["shards"][0]["applied"]
    wait_for(lambda: applied(follower) == applied(cluster.node(leader)), 60, "the follower")
