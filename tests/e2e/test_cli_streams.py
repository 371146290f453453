"""What `mayfly` prints as it happens: changes of keys, round trips."""

import json
import os
import signal
import subprocess

from mayfly_test import process
from mayfly_test.check import contains, equal, true
from mayfly_test.context import limit
from mayfly_test.terminal import Terminal
from mayfly_test.wait import wait_for


class Watch:
    """`mayfly watch` beside the test; `lines` is what it has printed. Use it in a `with`."""

    def __init__(self, t, cluster, *args):
        self._path = t.dir / f"watch-{len(list(t.dir.iterdir()))}"
        with open(self._path, "wb") as out:
            self.child = process.spawn([t.bin("mayfly"), "-s", cluster.endpoints(), *args],
                                       stdout=out, stderr=subprocess.STDOUT, cwd=t.dir)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()

    @property
    def lines(self):
        whole = self._path.read_bytes().rpartition(b"\n")[0]
        return whole.split(b"\n") if whole else []

    def stop(self):
        os.kill(self.child.pid, signal.SIGINT)
        equal(self.child.wait(30), 0, "exit status after SIGINT")


def test_watch_prints_each_change_of_a_key(t):
    cluster = t.shared_cluster(3)
    node, key = cluster.node(2), t.key("key").decode()
    first = node.call("set", key, "one")["version"]
    node.call("set", key, b"t\tw\no")
    node.call("set", key, "three", {"ttl": 50})
    wait_for(lambda: node.call("get", key) is None, 30, "the key's death")
    node.call("set", key, "four")
    node.call("del", [key])
    with Watch(t, cluster, "watch", key, "--from", str(first)) as watch:
        wait_for(lambda: len(watch.lines) == 6, 30, "six changes")
        fields = [line.decode().split("\t") for line in watch.lines]
        equal([(line[0], line[1], line[3]) for line in fields],
              [("set", key, "one"), ("set", key, r"t\tw\no"), ("set", key, "three"),
               ("expire", key, ""), ("set", key, "four"), ("del", key, "")], "the changes")
        versions = [int(line[2]) for line in fields]
        equal((versions[0], versions), (first, sorted(set(versions))), "their versions")
        watch.stop()
    with Watch(t, cluster, "-o", "json", "watch", key, "--from", str(first), "--events",
               "expire,del") as watch:
        wait_for(lambda: len(watch.lines) == 2, 30, "two changes")
        equal([json.loads(line)["event"] for line in watch.lines], ["expire", "del"], "events")
        watch.stop()


@limit(240)
def test_watch_goes_on_through_the_death_of_its_node(t):
    cluster = t.cluster(3)
    with Watch(t, cluster, "watch", "--prefix", "count:", "-o", "json") as watch:
        written = 0

        def write():
            nonlocal written
            node = cluster.running()[-1]
            # One that is sent again, since its outcome was unknown, is one change.
            node.call("set", f"count:{written % 20}", str(written), {"id": f"count {written}"})
            written += 1
            return True

        def values():
            return [int(json.loads(line)["value"]) for line in watch.lines]

        wait_for(lambda: write() and watch.lines, 30, "the watch to begin")
        begun = written  # of those before, not every shard need have told
        cluster.node(1).kill9()  # whom the watch asked, the first of the endpoints
        goal = written + 100
        wait_for(lambda: write() and written >= goal, 60, "writes after the death")
        # The last one may come before others, of shards that had to be asked for elsewhere.
        wait_for(lambda: set(range(begun, written)) <= set(values()), 60, "all changes to be told")
        told = sorted(values())
        equal(told, sorted(set(told)), "changes that were told, each once")
        equal([value for value in told if value >= begun], list(range(begun, written)), "the changes")
        watch.stop()
    cluster.node(1).restart()


def test_watch_at_a_terminal_says_that_it_watches_and_ctrl_c_ends_it(t):
    cluster = t.shared_cluster(1)
    key = t.key("key").decode()
    with Terminal([t.bin("mayfly"), "-s", cluster.endpoints(), "watch", key]) as terminal:
        terminal.expect("watching; Ctrl-C ends")
        cluster.node(1).call("set", key, "value")
        terminal.expect(f"set\t{key}\t\\d+\tvalue")
        terminal.type("\x03")
        equal(terminal.end(), 0, "exit status after Ctrl-C")


def test_watch_that_cannot_begin_where_it_was_told_is_one_line_and_exit_1(t):
    cluster = t.shared_cluster(1)
    finished = t.run("mayfly", "-s", cluster.endpoints(), "watch", "--prefix", "a", "--from", "3")
    equal((finished.status, finished.stdout, finished.stderr.count(b"\n")), (1, b"", 1),
          f"{finished}")
    contains(finished.stderr.decode(), "watch: BAD_REQUEST", "the message")


def test_latency_of_each_node(t):
    cluster = t.cluster(3, overrides=t.patience)
    args = ["mayfly", "-s", cluster.endpoints(), "-o", "json", "latency", "--count", "20", "--write"]
    nodes = json.loads(t.run(*args).stdout)["nodes"]
    for node in nodes:
        for kind in ("ping", "get", "set"):
            figures = node[kind]
            equal((figures["count"], figures["errors"]), (20, 0), f"{kind} of node {node['id']}")
            true(0 < figures["min_ms"] <= figures["p50_ms"] <= figures["p99_ms"]
                 <= figures["max_ms"], f"{figures}")
    wait_for(lambda: cluster.node(1).call("size") == 0, 30, "what it wrote to be gone")
    cluster.node(2).kill9()
    wait_for(lambda: json.loads(t.run(*args).stdout)["nodes"][1]["state"] == "dead", 30,
             "the dead node to be told")
    contains(t.mayfly(cluster, "latency").stdout.decode(), "dead", "the table")
    cluster.node(2).restart()


def test_hotkeys_of_the_cluster(t):
    cluster = t.cluster(3)
    # Of the second node's time the first one's count loses, so it must not be long.
    for node in (cluster.node(1), cluster.node(2)):
        with node.connect() as connection:
            for first in range(0, 6000, 500):
                connection.pipeline([("get", "hot" if i % 2 else f"cold:{i}")
                                     for i in range(first, first + 500)])
    told = json.loads(t.mayfly(cluster, "-o", "json", "hotkeys", "--count", "3").stdout)["keys"]
    equal((told[0]["key"], sorted(told[0]["nodes"])), ("hot", [1, 2]), f"the hottest of {told}")
    true(0.2 < told[0]["share"] < 0.8 and len(told) <= 3, f"half of all operations: {told}")
    contains(t.mayfly(cluster, "hotkeys").stdout.decode(), "hot ", "the table")
