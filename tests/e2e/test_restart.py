"""Nodes that restart while other nodes still work for the process that was there before."""

import threading
import time

from mayfly_test.check import equal, true
from mayfly_test.client import RpcError

REQUESTS = 200


def test_answers_to_a_process_that_is_gone_do_not_reach_its_successor(t):
    cluster = t.cluster(3, shards=1, overrides={"node.threads": 1,
                                                "limits.request_timeout": 20000})
    leader = cluster.leader_of(b"key")
    # Node 1 would run for leadership right after its start.
    asker, third = sorted((node for node in cluster.nodes if node is not leader),
                          key=lambda node: node.id == 1)
    third.pause()
    leader.pause()
    with asker.connect() as connection:
        for n in range(REQUESTS):
            connection.send("set", f"old {n}", "value")
        time.sleep(0.1)  # they lie in the leader's socket, or the test shows nothing
        asker.kill9()
    leader.resume()  # it proposes them, and has no majority until the asker is back
    asker.restart()
    with asker.connect() as connection:
        answers = connection.pipeline([("del", [f"new {n}"]) for n in range(REQUESTS)], timeout=30)
    wrong = [answer for answer in answers if answer != 0 and not isinstance(answer, RpcError)]
    true(not wrong, f"{len(wrong)} dels of absent keys gave something else, such as {wrong[:3]!r}")
    third.resume()


def test_nodes_stop_in_order_with_requests_and_a_snapshot_under_way(t):
    cluster = t.cluster(3, overrides={"node.threads": 3})
    ended = threading.Event()

    def load(node):
        try:
            with node.connect() as connection:
                while not ended.is_set():
                    connection.pipeline([("set", f"key {n}", "value", {"ttl": 500}) if n % 2 else
                                         ("mget", [f"key {m}" for m in range(n, n + 10)])
                                         for n in range(100)])
        except OSError:
            pass  # its node has ended
    threads = [threading.Thread(target=load, args=(node,)) for node in cluster.nodes * 2]
    for thread in threads:
        thread.start()
    try:
        for node in cluster.nodes:
            with node.connect() as connection:
                connection.send("snapshot", "last")
                time.sleep(0.05)
                equal(node.terminate(), 0, f"the exit status of node {node.id}")
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_a_killed_node_comes_back_with_any_number_of_threads(t):
    cluster = t.cluster(1, shards=16, overrides={"node.threads": 4})
    node = cluster.node(1)
    values = {}
    for turn, threads in enumerate([1, 3, 8, 2]):
        with node.connect() as connection:
            pairs = {f"k{n}": f"{turn}-{n}".encode() for n in range(turn * 100, turn * 100 + 500)}
            answers = connection.pipeline([("set", *pair) for pair in pairs.items()])
            true(not any(isinstance(answer, RpcError) for answer in answers), "a set failed")
            values.update(pairs)
        node.kill9()
        node.settings["node.threads"] = threads
        node.write_config()
        node.restart()
        with node.connect() as connection:
            found = connection.call("mget", list(values))
        wrong = [key for key, value in zip(values, found) if value != values[key]]
        true(not wrong, f"with {threads} threads: {len(wrong)} keys are wrong, such as {wrong[:3]}")
