"""A node that was away for longer than the logs reach back gets checkpoints from the others."""

import contextlib
import pathlib
import re
import threading
import time

from mayfly_test.check import equal, true
from mayfly_test.client import RpcError
from mayfly_test.context import limit
from mayfly_test.disk import Disk
from mayfly_test.proxy import Network
from mayfly_test.wait import wait_for
from test_resp_cluster import in_place

MIB = 1 << 20
SHARDS = 2
TIMEOUT = 90
# A state that takes a while to stream, of values that cannot be packed.
LARGE_KEYS = 640
LARGE_BYTES = 100_000


def start(t, network=None):
    cluster = t.cluster(3, shards=SHARDS, overrides={"node.threads": 2, **t.patience}, start=False)
    cluster.start_with(network.between if network else lambda node: None)
    cluster.wait_settled()
    return in_place(cluster)  # by nodes 1 and 2: no leader is moved later


def firsts(node):
    return [shard["first"] for shard in node.call("cluster")["shards"]]


def leadership(node):
    return [(shard["leader"], shard["ballot"]) for shard in node.call("cluster")["shards"]]


def installed(node):
    return node.call("stats")["snapshots_installed"]


def write_large(t, node):
    with node.connect(timeout=60) as connection:
        for first in range(0, LARGE_KEYS, 10):
            write_all(connection, [[f"large {n}", t.rng.randbytes(LARGE_BYTES)]
                                   for n in range(first, first + 10)])


def write_all(connection, pairs):
    """Also on a machine so slow that there is no leader for a while, or no answer in time."""
    wait_for(lambda: connection.call("mset", pairs), TIMEOUT, "a write")


def rewrite(node, megabytes):
    """Writes that much into the same few keys."""
    with node.connect(timeout=60) as connection:
        for turn in range(megabytes):
            write_all(connection, [[f"k{n}", b"%010d" % turn * 1000] for n in range(100)])


@contextlib.contextmanager
def writes(node):
    """Small writes to a node that go on, whatever becomes of them."""
    ended = threading.Event()
    done = [0]

    def write():
        while not ended.is_set():
            try:
                with node.connect() as connection:
                    while not ended.is_set():
                        connection.call("mset", [[f"small {done[0] % 500} {n}", b"v" * 1000]
                                                 for n in range(10)])
                        done[0] += 1
                        ended.wait(0.002)  # the rate, not a wait for anything
            except (OSError, RpcError):
                ended.wait(0.05)
    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield done
    finally:
        ended.set()
        thread.join()


def leave_behind(cluster, away, load):
    """Kills the node and lets the others write until they have nothing left of what it misses."""
    missed = cluster.applied(away)
    away.kill9()
    cluster.wait_settled(TIMEOUT)
    others = cluster.running()
    load(others[0])
    for node in others:
        wait_for(lambda: all(first > missed[shard] + 1 for shard, first in enumerate(firsts(node))),
                 TIMEOUT, f"node {node.id} to cut its logs")
    return others


def check_equal(cluster):
    def compared():
        cluster.wait_equal(TIMEOUT)
        hashes = [node.call("stats")["shard_hashes"] for node in cluster.nodes]
        places = [[(shard, index) for shard, index, _ in one] for one in hashes]
        if places != [places[0]] * len(places):
            return False  # an entry came in between
        true(all(one == hashes[0] for one in hashes), f"the replicas differ: {hashes}")
        return True
    wait_for(compared, TIMEOUT, "all nodes to be at the same entries")


def arriving(node):
    """What the node has of files that others stream to it."""
    found = {}
    for file in (pathlib.Path(node.data_dir) / "checkpoints").glob("*.incoming.tmp"):
        with contextlib.suppress(FileNotFoundError):
            found[int(file.name.partition(".")[0])] = file.stat().st_size
    return found


def senders(others, shard):
    """The nodes that have begun to stream the shard's checkpoint, in their present run."""
    text = f"shard={shard}: streaming the checkpoint"

    def begun():  # what a node logs is written a little later
        return [node for node in others if text in node.log_text().rpartition("=== start")[2]]
    return wait_for(begun, TIMEOUT, f"a node to say that it streams shard {shard}")


def hanging_disk(t, node):
    """The node, to be started yet, writes the beginning of each file that others stream to it, and
    then no more until the disk is well. None with a sanitizer, which has to be preloaded first."""
    if t.sanitized:
        return None
    disk = Disk(t, node)
    disk.hangs(".incoming")
    return disk


def stop_in_the_middle(receiver, disk):
    """Pauses the node while it has a part of some shard's checkpoint: the shard and the bytes."""
    # Without a disk that hangs, to sleep between two looks could be to miss both files.
    def begun():
        return any(0 < size < 10 * MIB for size in arriving(receiver).values())

    def caught():
        until = time.monotonic() + 0.5
        while not begun():
            if time.monotonic() > until:
                return None
        receiver.pause()
        part = {shard: size for shard, size in arriving(receiver).items() if 0 < size < 16 * MIB}
        if not part:
            receiver.resume()
        return part
    part = wait_for(caught, TIMEOUT, "a part of a checkpoint to have arrived")
    if disk:
        disk.is_well()
    return min(part.items())


@limit(300)
def test_a_node_that_was_away_for_200_megabytes_catches_up_while_writes_go_on(t):
    cluster = start(t)
    away = cluster.node(3)
    rewrite(cluster.node(1), 5)
    others = leave_behind(cluster, away, lambda node: rewrite(node, 200))
    with writes(others[1]) as done:
        before = leadership(others[0])
        written = done[0]
        away.restart()
        wait_for(lambda: installed(away) >= SHARDS, TIMEOUT, "both shards to be installed")
        cluster.wait_caught_up(away, TIMEOUT)
        wait_for(lambda: done[0] > written + 50, TIMEOUT, "writes to go on")
        equal(leadership(others[0]), before, "leaders and ballots after the node came back")
    check_equal(cluster)
    equal(leadership(others[0]), before, "leaders and ballots at the end")
    wait_for(lambda: sum(node.call("stats")["snapshots_sent"] for node in others) >= SHARDS, TIMEOUT,
             "the others to hear that what they streamed is there")
    wait_for(lambda: not arriving(away), TIMEOUT, "files that nobody needs to go")
    # What was installed is there after a crash too.
    away.kill9()
    away.restart()
    equal(installed(away), 0, "what is installed after a start from disk")
    check_equal(cluster)


@limit(300)
def test_no_leader_changes_for_a_large_stream(t):
    cluster = start(t)
    away = cluster.node(3)
    others = leave_behind(cluster, away, lambda node: write_large(t, node))
    before = leadership(others[0])
    with writes(others[0]):
        began = time.monotonic()
        away.restart()
        cluster.wait_caught_up(away, TIMEOUT)
        t.note(f"{LARGE_KEYS * LARGE_BYTES // MIB} MiB caught up in "
               f"{time.monotonic() - began:.1f} s")
        equal(leadership(others[0]), before, "leaders and ballots")
    check_equal(cluster)
    true(installed(away) >= SHARDS, f"{installed(away)} snapshots were installed")


@limit(300)
def test_a_receiver_that_is_killed_in_the_middle_catches_up_after_its_restart(t):
    cluster = start(t)
    away = cluster.node(3)
    others = leave_behind(cluster, away, lambda node: write_large(t, node))
    for _ in range(2):
        disk = hanging_disk(t, away)
        away.restart()
        stop_in_the_middle(away, disk)
        away.kill9()
        true(arriving(away), "the part is gone")
    away.restart()
    with writes(others[0]):
        cluster.wait_caught_up(away, TIMEOUT)
    check_equal(cluster)
    true(installed(away) >= 1, "nothing was installed")


@limit(300)
def test_a_sender_that_is_killed_in_the_middle_is_replaced(t):
    cluster = start(t)
    away = cluster.node(3)
    others = leave_behind(cluster, away, lambda node: write_large(t, node))
    disk = hanging_disk(t, away)
    away.restart()
    shard, _ = stop_in_the_middle(away, disk)
    [sender] = senders(others, shard)
    sender.kill9()
    away.resume()
    cluster.wait_caught_up(away, TIMEOUT)
    sender.restart()
    check_equal(cluster)
    true(installed(away) >= SHARDS, f"{installed(away)} snapshots were installed")
    [other] = [node for node in others if node is not sender]
    wait_for(lambda: re.search(
        rf"shard={shard}: installed the state of slot \d+ from node {other.id},", away.log_text()),
             TIMEOUT, "the shard to have come from the other node")


@limit(300)
def test_a_stream_goes_on_over_a_new_link_where_it_was(t):
    with Network(t.rng) as network:
        cluster = start(t, network)
        away = cluster.node(3)
        others = leave_behind(cluster, away, lambda node: write_large(t, node))
        disk = hanging_disk(t, away)
        away.restart()
        shard, size = stop_in_the_middle(away, disk)
        [sender] = senders(others, shard)
        directions = [(sender.id, away.id), (away.id, sender.id)]
        closed = sender.log_text().count(f"link to node {away.id}")
        network.cut(directions, drop=True)
        wait_for(lambda: sender.log_text().count(f"link to node {away.id}") > closed, TIMEOUT,
                 "the link to be lost")
        network.heal()
        away.resume()
        cluster.wait_caught_up(away, TIMEOUT)
        check_equal(cluster)
    begun = wait_for(lambda: re.findall(
        rf"shard={shard}: taking the checkpoint of slot (\d+) from node {sender.id},",
        away.log_text()), TIMEOUT, "the node to say what it takes")
    equal(begun.count(begun[0]), 1, "how often the file was begun")
    true(installed(away) >= SHARDS, f"{installed(away)} snapshots were installed")
    t.note(f"shard {shard}: {size >> 10} KiB were there when the link was lost")
