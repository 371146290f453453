"""Three nodes, one fault at a time: leaders that go, majorities that are lost, nodes that return."""

import pathlib
import re
import shutil
import threading
import time

from mayfly_test.check import between, equal, true
from mayfly_test.client import RpcError
from mayfly_test.context import limit
from mayfly_test.wait import wait_for

PATIENCE = 30.0     # for a failover; what it took is noted
HOUR_MS = 3_600_000
NO_MAJORITY = ("NO_QUORUM", "TIMEOUT")


def pairs_of(prefix, count, value="v"):
    return [[f"{prefix}{i}", f"{value}{i}"] for i in range(count)]


def check_pairs(node, pairs, what, options=None):
    values = retried(node, "mget", [key for key, _ in pairs], options or {})
    wrong = [(key, got) for (key, value), got in zip(pairs, values) if got != value.encode()]
    true(not wrong, f"{what}: {len(wrong)} of {len(pairs)} values differ, such as {wrong[:3]!r}")


def retried(node, method, *params):
    """The result of a call that may have to wait for a new leader."""
    results = []

    def done():
        results.append(node.call(method, *params))
        return True
    wait_for(done, PATIENCE, f"{method} {params!r:.80} through node {node.id}")
    return results[0]


def test_a_write_costs_a_node_one_sync_and_so_do_64_that_come_together(t):
    cluster = t.cluster(3, shards=1, overrides=t.patience)
    leader = cluster.leader_of(b"key")
    cluster.wait_equal()

    def syncs():
        return [node.call("stats")["wal_syncs"] for node in cluster.nodes]

    def check(turns, before, what):
        # A commit takes two disks; a third may be busy and make two of them one. What comes on top,
        # about once a second, are notes of how far the log has been applied.
        cluster.wait_equal()
        spent = [now - then for now, then in zip(syncs(), before)]
        between(2 * turns, sum(spent), 4 * turns, f"syncs of all nodes for {what}: {spent}")
        true(max(spent) <= turns * 3 // 2, f"syncs of one node for {what}: {spent}")
        t.note(f"{what}: {spent} syncs")

    with leader.connect() as connection:
        before = syncs()
        for i in range(200):
            connection.call("set", f"k{i}", "v")
        check(200, before, "200 writes, one after the other")
        before = syncs()
        for _ in range(100):
            connection.pipeline([("set", f"k{i}", "v") for i in range(64)])
        check(100, before, "100 times 64 writes")


def test_a_killed_leader_is_replaced(t):
    cluster = t.cluster(3)
    leader = cluster.leader_of(b"key")
    others = [node for node in cluster.nodes if node is not leader]
    retried(others[0], "set", "key", "before")
    leader.kill9()
    began = time.monotonic()
    equal(retried(others[0], "get", "key"), b"before", "the value after the failover")
    t.note(f"first read after {time.monotonic() - began:.2f} s")
    retried(others[1], "set", "key", "after", {"id": "after"})
    t.note(f"first write after {time.monotonic() - began:.2f} s")
    equal(others[0].call("get", "key"), b"after", "the value through the other node")
    leader.restart()
    cluster.wait_caught_up(leader)
    equal(leader.call("get", "key"), b"after", "the value through the old leader")


def test_a_stopping_leader_hands_over(t):
    """An orderly stop is not a failure: a client that writes all the time waits but a moment."""
    cluster = t.cluster(3)
    leader = cluster.busiest_leader()
    other = next(node for node in cluster.nodes if node is not leader)
    stopped = threading.Event()
    longest, errors = [0.0], []

    def write():
        n = 0
        with other.connect() as connection:
            while not stopped.is_set():
                began = time.monotonic()
                try:
                    connection.call("set", f"k{n % 100}", "v", {"id": f"handover {n}"})
                except RpcError as error:
                    errors.append(str(error))
                longest[0] = max(longest[0], time.monotonic() - began)
                n += 1

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        equal(leader.terminate(), 0, "exit status")
        cluster.wait_settled()
    finally:
        stopped.set()
        writer.join(20)
    t.note(f"longest write {longest[0]:.2f} s")
    equal(errors, [], "errors of the writer")
    true(longest[0] < 3, f"a write took {longest[0]:.2f} s")


def test_ids_are_remembered_over_a_leader_change(t):
    cluster = t.cluster(3)
    leader = cluster.leader_of(b"key")
    others = [node for node in cluster.nodes if node is not leader]
    first = retried(leader, "set", "key", "first", {"id": "once"})
    retried(leader, "set", "key", "second")
    equal(retried(leader, "del", ["absent{key}"], {"id": "none"}), 0, "del")
    pairs = pairs_of("many", 50)
    retried(leader, "mset", pairs, {"id": "fifty"})
    retried(leader, "mset", pairs_of("many", 50, "new"))
    leader.kill9()
    for node in others:
        equal(retried(node, "set", "key", "first", {"id": "once"}), first, "the repeated result")
        equal(retried(node, "get", "key"), b"second", "the value")
        retried(node, "set", "absent{key}", "v")
        equal(retried(node, "del", ["absent{key}"], {"id": "none"}), 0, "the repeated del")
        equal(retried(node, "mset", pairs, {"id": "fifty"}), 50, "the repeated mset")
        check_pairs(node, pairs_of("many", 50, "new"), "values after the repeated mset")


def test_ids_are_remembered_over_a_restart_of_all(t):
    cluster = t.cluster(3)
    first = retried(cluster.node(1), "set", "key", "first", {"id": "once"})
    retried(cluster.node(1), "set", "key", "second")
    cluster.kill()
    cluster.restart()
    for node in cluster.nodes:
        equal(retried(node, "set", "key", "first", {"id": "once"}), first, "the repeated result")
        equal(retried(node, "get", "key"), b"second", "the value")


@limit(240)
def test_each_node_in_turn_may_be_killed_and_nothing_is_lost(t):
    cluster = t.cluster(3)
    written = []
    for round_number in range(2):
        for node in cluster.nodes:
            node.kill9()
            batch = pairs_of(f"r{round_number}-n{node.id}-", 300)
            survivor = cluster.running()[0]
            equal(retried(survivor, "mset", batch, {"id": batch[0][0]}), 300, "pairs written")
            written += batch
            node.restart()
            cluster.wait_caught_up(node)
            for each in cluster.nodes:
                check_pairs(each, written, f"through node {each.id}")
    cluster.wait_equal()
    for node in cluster.nodes:
        check_pairs(node, written, f"in node {node.id}'s replicas", {"read": "local"})


def test_without_a_majority_nothing_is_served_that_could_be_wrong(t):
    cluster = t.cluster(3, overrides={"limits.request_timeout": 1000})
    pairs = pairs_of("k", 100)
    retried(cluster.node(1), "mset", pairs)
    cluster.wait_equal()
    cluster.node(2).kill9()
    cluster.node(3).kill9()
    last = cluster.node(1)
    began = time.monotonic()
    codes = set()
    with last.connect() as connection:
        answers = connection.pipeline(
            [("set", "k1", "w")] + [("set", f"new{i}", "w", {"id": f"i{i}"}) for i in range(20)]
            + [("del", ["k2"]), ("expire", "k3", 0), ("mset", [["k4", "w"]]), ("get", "k5")],
            timeout=20)
    for answer in answers:
        # A leader may answer reads for the rest of its lease, which is right.
        if not isinstance(answer, RpcError):
            equal(answer, b"v5", "an answer without a majority")
        else:
            codes.add(answer.code)
    between(0, time.monotonic() - began, 10, "seconds to say so")
    true(codes and codes <= set(NO_MAJORITY), f"errors without a majority: {codes}")

    def reads_refused():
        try:
            last.call("get", "k1")
            return False
        except RpcError as error:
            return error.code in NO_MAJORITY
    wait_for(reads_refused, 10, "linearizable reads to be refused")
    check_pairs(last, pairs, "local reads", {"read": "local"})
    equal(last.call("ping"), "pong", "ping")
    cluster.node(2).restart()
    check_pairs(cluster.node(2), pairs[5:], "after the majority is back")
    retried(last, "set", "k1", "again")
    cluster.node(3).restart()
    cluster.wait_settled()
    equal(retried(cluster.node(3), "get", "k1"), b"again", "the last value")


@limit(300)
def test_a_node_that_was_away_for_long_catches_up(t):
    """Away for more than the others keep of their logs: what is gone comes as a snapshot."""
    cluster = t.cluster(3, shards=4)
    away = cluster.node(3)
    cluster.node(1).call("set", "before", "v")
    before = cluster.applied(away)
    away.kill9()
    value = b"x" * 10_000
    megabytes = 40 if t.quick else 200
    with cluster.node(1).connect(timeout=60) as connection:
        for i in range(megabytes):
            retried_call(connection, "mset", [[f"k{n}", value] for n in range(i * 100 % 2000,
                                                                             i * 100 % 2000 + 100)])
            retried_call(connection, "set", f"short{i}", "v", {"ttl": 10})
    view = cluster.node(1).call("cluster")["shards"]
    cut = sum(shard["first"] > before[shard["id"]] + 1 for shard in view)
    t.note(f"{megabytes} MB written while it was away; {cut} of 4 logs were cut past it")
    began = time.monotonic()
    away.restart()
    cluster.wait_caught_up(away, 120)
    t.note(f"caught up after {time.monotonic() - began:.1f} s")
    cluster.wait_equal()
    keys = [f"k{n}" for n in range(2000)] + ["before"]
    for node in cluster.nodes:  # of 20 MB
        equal(node.call("mget", keys, {"read": "local"}, timeout=60), [value] * 2000 + [b"v"],
              f"values in node {node.id}")


def retried_call(connection, method, *params):
    """For a load over one connection while a new leader is being found."""
    def done():
        connection.call(method, *params)
        return True
    wait_for(done, PATIENCE, f"{method} to be served")


@limit(240)
def test_everything_is_there_after_a_restart_of_all(t):
    for mode in ("fsync", "os"):
        cluster = t.cluster(3, mode=mode, name=mode)
        pairs = pairs_of("k", 1000)
        retried(cluster.node(1), "mset", pairs)
        began = time.time()
        retried(cluster.node(2), "mset", pairs_of("dying", 10), {"ttl": HOUR_MS})
        written = time.time()
        retried(cluster.node(3), "mset", pairs_of("gone", 10), {"ttl": 1})
        retried(cluster.node(3), "del", ["k0"])
        for stop in ("SIGTERM", "kill -9"):
            for node in cluster.nodes:
                if stop == "kill -9":
                    node.kill9()
                else:
                    equal(node.terminate(), 0, f"exit status of node {node.id}")
            cluster.restart()
            what = f"after {stop} of all nodes in mode {mode}"
            for node in cluster.nodes:
                check_pairs(node, pairs[1:], what)
                equal(retried(node, "mget", ["k0", "gone3"]), [None, None],
                      f"deleted, expired {what}")
                asked = time.time()
                left = retried(node, "ttl", "dying5")
                check_hour(left, began, written, asked, f"ttl {what}")


def check_hour(left, began, written, asked, what):
    """What is left of an hour by the wall clock, give or take 2 s: the hour began between two of its
    moments, and is looked at between another one and now."""
    least, most = (asked - written) * 1000, (time.time() - began) * 1000
    between(HOUR_MS - most - 2000, left, HOUR_MS - least + 2000, what)


@limit(240)
def test_time_goes_on_while_all_nodes_are_down(t):
    """By the wall clock, and from a key's first moment on: also when all stop right after it was
    written, in a cluster that has just begun."""
    down = 5.0
    for n in (1, 3):
        for stop in ("SIGTERM", "kill -9"):
            cluster = t.cluster(n, name=f"{n}-{stop}")
            keys = [f"k{i}" for i in range(50)]
            began = time.time()
            cluster.node(1).call("mset", [[key, "v"] for key in keys], {"ttl": HOUR_MS})
            written = time.time()
            cluster.node(1).call("mset", [[f"dead{key}", "v"] for key in keys], {"ttl": 2000})
            stopped = time.time()
            for node in cluster.nodes:
                if stop == "kill -9":
                    node.kill9()
                else:
                    equal(node.terminate(), 0, f"exit status of node {node.id}")
            wait_for(lambda since=stopped: time.time() > since + down, 60, "time to pass")
            cluster.restart()
            what = f"{stop} of {n} and {down} s of standstill"
            asked = time.time()
            with cluster.node(1).connect() as connection:
                left = connection.pipeline([("ttl", key) for key in keys])
                dead = connection.call("mget", [f"dead{key}" for key in keys])
            check_hour(min(left), began, written, asked, f"ttl after {what}")
            check_hour(max(left), began, written, asked, f"ttl after {what}")
            equal(dead, [None] * len(keys), f"keys of 2 s after {what}")


def estrange(node, key, value):
    """Another one comes in the node's place: without its data, and with other settings."""
    node.kill9()
    shutil.rmtree(node.data_dir)
    node.settings[key] = value
    node.restart()


def test_a_peer_without_the_secret_is_refused(t):
    cluster = t.cluster(3)
    stranger = cluster.node(3)
    estrange(stranger, "cluster.secret", "guessed")

    def alone():
        living = {node["id"]: node["alive"] for node in stranger.call("cluster")["nodes"]}
        return not living[1] and not living[2]
    wait_for(alone, 10, "the stranger to find itself alone")
    for node in (cluster.node(1), cluster.node(2)):
        retried(node, "set", f"k{node.id}", "v")

        def others_only(node=node):
            living = {other["id"]: other["alive"] for other in node.call("cluster")["nodes"]}
            return living == {1: True, 2: True, 3: False}
        wait_for(others_only, 10, f"node {node.id} to see the other member and not the stranger")
    try:
        equal(stranger.call("get", "k1", {"read": "local"}), None, "what the stranger learnt")
    except RpcError as error:
        equal(error.code, "NO_QUORUM", "what a stranger without a cluster says")


def test_two_clusters_do_not_mix(t):
    """A node of another cluster's name with the right secret is no member."""
    cluster = t.cluster(3)
    estrange(cluster.node(3), "cluster.name", "another")
    for node in (cluster.node(1), cluster.node(2)):
        retried(node, "set", "k", "v")

    def living():
        nodes = cluster.node(1).call("cluster")["nodes"]
        return {other["id"]: other["alive"] for other in nodes}
    wait_for(lambda: living() == {1: True, 2: True, 3: False}, 10, "node 2 alone to count as alive")


def test_replicas_drop_a_batch_of_keys_at_one_log_position(t):
    cluster = t.cluster(3, shards=4, overrides={"log.level": "debug", **t.patience})
    pairs = pairs_of("{batch}", 500)
    shard = cluster.shard_of(b"{batch}")
    before = cluster.wait_equal()[shard]
    cluster.node(1).call("mset", pairs, {"ttl": 300})
    for node in cluster.nodes:
        wait_for(lambda node=node: node.call("mget", [key for key, _ in pairs],
                                             {"read": "local"}) == [None] * 500,
                 PATIENCE, f"the batch to expire on node {node.id}")
    cluster.wait_equal()
    def dropped(node):
        return sum(count for _, count in expiries(node, shard))
    wait_for(lambda: all(dropped(node) >= 500 for node in cluster.nodes), 10,
             "log lines about the expiry of 500 keys on every node")
    lines = [expiries(node, shard) for node in cluster.nodes]
    equal(lines[1:], [lines[0]] * 2, "what the nodes logged of the expiry")
    equal(dropped(cluster.node(1)), 500, "keys dropped")
    entries = cluster.applied(cluster.node(1))[shard] - before
    between(2, entries, 21, "log entries that one write and 500 expiries took")


def expiries(node, shard):
    """(log index, number of keys) of each expiry of a shard that the node logged."""
    found = re.findall(rf"shard={shard} index=(\d+) expired=(\d+)", node.log_text())
    return [(int(index), int(count)) for index, count in found]


@limit(240)
def test_ttls_go_on_over_leader_changes(t):
    """Neither reset nor cut short by a new leader, and never served when over."""
    cluster = t.cluster(3)
    lives = {}
    for i in range(200):
        ttl = 1000 + i * 40
        began = time.monotonic()
        retried(cluster.nodes[i % 3], "set", f"k{i}", "v", {"ttl": ttl})
        lives[f"k{i}"] = (began + ttl / 1000, time.monotonic() + ttl / 1000)
    late_most = 0.0
    changes = 0
    dead = []
    while lives:
        running = cluster.running()
        keys = list(lives)
        asked = time.monotonic()
        try:
            values = t.rng.choice(running).call("mget", keys)
        except (RpcError, OSError):
            continue
        answered = time.monotonic()
        for key, value in zip(keys, values):
            not_before, not_after = lives[key]
            if value is None:
                true(answered >= not_before, f"{key} died {not_before - answered:.4f} s early")
                dead.append(key)
                del lives[key]
            else:
                late_most = max(late_most, asked - not_after)
        if len(dead) // 40 > changes:
            changes += 1
            victim = cluster.busiest_leader()
            victim.kill9()
            cluster.wait_settled()
            victim.restart()
            cluster.wait_caught_up(victim)
    equal(retried(cluster.node(1), "mget", dead), [None] * 200, "the dead")
    t.note(f"{changes} leader changes; served at most {late_most * 1000:.0f} ms after the deadline "
           "by this clock")
    true(late_most < 1.0, f"a key was served {late_most:.3f} s after its deadline")
