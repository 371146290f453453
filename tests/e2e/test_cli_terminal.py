"""The mayfly command on a terminal: tables, colours, and what is renewed in place."""

import json
import os
import signal
import subprocess

from mayfly_test import process
from mayfly_test.check import contains, equal, true
from mayfly_test.terminal import Terminal
from mayfly_test.wait import wait_for

RED = b"\x1b[1;31m"


def test_status_and_cluster_tell_of_a_node_that_died(t):
    cluster = t.cluster(3, shards=64)
    gone = cluster.node(3)

    def well(verb):
        text = t.mayfly(cluster, verb).stdout.decode()
        return text if "3 nodes, 64 shards: all well" in text else None

    # Nodes have a second to answer, which a busy machine may not give them once.
    told = wait_for(lambda: well("cluster"), 30, "a healthy cluster")
    wait_for(lambda: well("status"), 30, "a healthy status")
    true(len(told.splitlines()) < 20, f"64 shards take more than a screen:\n{told}")
    equal(len(t.mayfly(cluster, "cluster", "--all").stdout.splitlines()), 64 + 8, "lines of --all")
    gone.kill9()

    def told_dead():
        view = json.loads(t.mayfly(cluster, "-o", "json", "status").stdout)
        states = [node["state"] for node in view["nodes"]]
        return states == ["alive", "alive", "dead"] and view["shards_without_leader"] == 0

    wait_for(told_dead, 30, "the others to tell that node 3 is dead and to lead its shards")
    def told_in_red(verb):
        with Terminal([t.bin("mayfly"), "-s", cluster.endpoints(), verb]) as terminal:
            equal(terminal.end(), 0, "exit status")
            true(RED in terminal.seen, f"no red in {terminal.seen!r}")
            return "1 node does not answer, 64 shards miss a copy" in terminal.text

    for verb in ("status", "cluster"):
        wait_for(lambda verb=verb: told_in_red(verb), 30, f"{verb} to tell of the one that died")
        with Terminal([t.bin("mayfly"), "-s", cluster.endpoints(), verb],
                      env={"NO_COLOR": "1"}) as terminal:
            equal(terminal.end(), 0, "exit status")
            true(b"\x1b" not in terminal.seen, f"colours with NO_COLOR: {terminal.seen!r}")
        plain = t.mayfly(cluster, verb).stdout
        true(b"\x1b" not in plain, f"colours in a pipe: {plain!r}")
    contains(t.mayfly(cluster, "cluster").stdout.decode(), "1 copy down", "a line of shards")
    gone.restart()


def test_watch_renews_in_place_on_a_terminal_until_ctrl_c(t):
    cluster = t.shared_cluster(1)
    with Terminal([t.bin("mayfly"), "-s", cluster.endpoints(), "status", "--watch", "100ms"],
                  rows=8) as terminal:
        for _ in range(3):
            terminal.expect("Ctrl-C ends")
            terminal.expect("NODE")
        terminal.type("\x03")
        equal(terminal.end(), 0, "exit status after Ctrl-C")
        equal(terminal.seen.count(b"\x1b[2J"), 1, "the screen is cleared once")
        true(terminal.seen.count(b"\x1b[H") >= 3, "each reading begins at the top")


def test_watch_on_a_small_terminal_cuts_what_does_not_fit(t):
    cluster = t.shared_cluster(3)
    with Terminal([t.bin("mayfly"), "-s", cluster.endpoints(), "cluster", "--watch", "100ms"],
                  rows=8) as terminal:
        terminal.expect(r"\(\d+ more lines\)")
        terminal.type("\x03")
        equal(terminal.end(), 0, "exit status after Ctrl-C")


def test_watch_in_a_pipe_is_block_after_block_and_json_line_after_line(t):
    cluster = t.shared_cluster(1)
    argv = [t.bin("mayfly"), "-s", cluster.endpoints(), "status", "--watch", "100ms"]
    watch = process.spawn([*argv, "-o", "json"], stdout=subprocess.PIPE)
    try:
        for _ in range(3):
            equal(json.loads(watch.stdout.readline())["nodes"][0]["state"], "alive", "a reading")
        os.kill(watch.pid, signal.SIGINT)
        equal(watch.wait(30), 0, "exit status after SIGINT")
    finally:
        watch.kill()
        watch.wait()
    watch = process.spawn(argv, stdout=subprocess.PIPE)
    try:
        lines = [watch.stdout.readline() for _ in range(9)]
        equal([line for line in lines if line == b"\n"], [b"\n"] * 3, f"{lines}")
        equal(sum(line.startswith(b"NODE") for line in lines), 2, f"{lines}")
    finally:
        watch.kill()
        watch.wait()


def test_watch_goes_on_when_the_cluster_comes_back(t):
    cluster = t.cluster(1)
    with Terminal([t.bin("mayfly"), "-s", cluster.endpoints(), "--timeout", "200", "status",
                   "--watch", "100ms"]) as terminal:
        terminal.expect("all well")
        cluster.node(1).pause()
        terminal.expect("status: ")
        cluster.node(1).resume()
        terminal.expect("all well")
        terminal.type("\x03")
        equal(terminal.end(), 0, "exit status after Ctrl-C")
