"""libmayfly under failover: tests/client/client_books.c counts on counters and watches them, while
nodes are killed and paused under it. No error reaches a caller, nothing is counted twice, and every
change is told once and in its order."""

import json
import subprocess

from mayfly_test import process
from mayfly_test.check import equal, true
from mayfly_test.cluster import free_port
from mayfly_test.context import limit
from mayfly_test.wait import wait_for

PATIENCE = 60.0


def fixed_ports(node):
    """A node that comes back has the address that clients know."""
    node.settings["listen.rpc"] = f"127.0.0.1:{free_port()}"


# What a watcher misses while its node is away is kept for many seconds at this rate.
CALLS_A_SECOND = 3000


class Books:
    """client_books at work."""

    def __init__(self, t, cluster, timeout_ms):
        self.program = t.bin("mayflyd").parent.parent / "tests" / "client_books"
        self.errors = open(t.dir / "client_books.log", "w+b")
        self.child = process.spawn([self.program, cluster.endpoints(), str(timeout_ms),
                                    str(CALLS_A_SECOND)],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=self.errors)
        equal(self.child.stdout.readline(), b"watching\n", "the first line")

    def finish(self):
        stdout, _ = self.child.communicate(timeout=120)
        self.errors.seek(0)
        complaints = self.errors.read().decode()
        self.errors.close()
        equal(self.child.returncode, 0, f"exit status, {complaints}")
        return json.loads(stdout), complaints


def wait_for_progress(cluster):
    """All nodes that run apply more than they had."""
    before = {node: sum(cluster.applied(node).values()) for node in cluster.running()}

    def moved():
        return all(sum(cluster.applied(node).values()) > seen + 200
                   for node, seen in before.items())
    wait_for(moved, PATIENCE, "the counters to go on")


def check_books(t, books):
    figures, complaints = books.finish()
    t.note(f"client: {figures}")
    wanted = {"errors": 0, "wrong": 0, "lost": 0, "disorder": 0, "complete": True}
    equal({name: figures[name] for name in wanted}, wanted, f"the books\n{complaints}")
    true(figures["calls"] > 1000, "enough was counted")
    equal(figures["changes"], figures["calls"], "changes told")


@limit(300)
def test_callers_and_watchers_do_not_notice_that_nodes_die(t):
    cluster = t.cluster(3, start=False)
    cluster.start_with(fixed_ports)
    cluster.wait_settled()
    books = Books(t, cluster, 60_000)
    for node in cluster.nodes:
        wait_for_progress(cluster)
        node.kill9()
        wait_for_progress(cluster)
        node.restart()
        cluster.wait_settled()
    check_books(t, books)


@limit(300)
def test_nor_that_nodes_hang(t):
    cluster = t.cluster(3, start=False)
    cluster.start_with(fixed_ports)
    cluster.wait_settled()
    books = Books(t, cluster, 60_000)
    for node in cluster.nodes:
        wait_for_progress(cluster)
        node.pause()
        others = [other for other in cluster.nodes if other is not node]
        before = {other: sum(cluster.applied(other).values()) for other in others}
        wait_for(lambda: all(sum(cluster.applied(other).values()) > before[other] + 200
                             for other in others), PATIENCE, "the others to go on")
        node.resume()
        cluster.wait_settled()
    check_books(t, books)


@limit(300)
def test_nor_that_nodes_die_where_no_node_has_all_shards(t):
    cluster = t.cluster(5, start=False, overrides={"cluster.replicas": 3})
    cluster.start_with(fixed_ports)
    cluster.wait_settled()
    books = Books(t, cluster, 60_000)
    for node in t.rng.sample(cluster.nodes, 3):
        wait_for_progress(cluster)
        node.kill9()
        wait_for_progress(cluster)
        node.restart()
        cluster.wait_settled()
    check_books(t, books)
