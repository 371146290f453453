"""Watches of what the node that was asked has no copy of: another node keeps them, and whatever
happens between the two, there is every event once or the word that some are lost."""

import contextlib

from mayfly_test.check import equal, true
from mayfly_test.client import RpcError
from mayfly_test.context import limit
from mayfly_test.proxy import Network
from mayfly_test.wait import wait_for

PATIENCE = 30.0
SHARDS = 10


def keys_of(t, cluster):
    """A key in each shard."""
    keys = {}
    while len(keys) < cluster.shards:
        key = t.key(f"k{t.rng.randrange(10**9)}")
        keys.setdefault(cluster.shard_of(key), key)
    return keys


def held_by(node):
    return {shard["id"] for shard in node.call("cluster")["shards"] if node.id in shard["replicas"]}


def watch_of(connection, key):
    """The id of a watch, which waits until somebody can keep it."""
    def begun():
        return [connection.call("watch", {"key": key})]
    return wait_for(begun, PATIENCE, "a keeper")[0]


def written(node, key, value):
    """The version of a write that is repeated until it is answered, and has its effect once."""
    return wait_for(lambda: node.call("set", key, value, {"id": b"of " + value}), PATIENCE,
                    "a write")["version"]


def larger_than_its_copies(t, lease_ms=3000):
    """Five nodes, three copies: no node has all shards. With a long lease no node is taken for dead
    because the machine is busy."""
    cluster = t.cluster(5, shards=SHARDS, overrides={"cluster.replicas": 3,
                                                     "consensus.lease_ms": lease_ms})
    cluster.wait_settled()
    for node in cluster.nodes:
        with node.connect() as connection:
            wait_for(lambda connection=connection: [connection.call("watch", {"prefix": b""})],
                     PATIENCE, "all links to stand")
    return cluster


def test_every_change_comes_through_any_node(t):
    cluster = larger_than_its_copies(t)
    keys = keys_of(t, cluster)
    for node in cluster.nodes:
        true(len(held_by(node)) < SHARDS, "it has no copy of some shard")
        with node.connect() as connection, cluster.nodes[0].connect() as writer:
            every = connection.call("watch", {"prefix": b""})
            single = {connection.call("watch", {"key": key}): key for key in keys.values()}
            versions = {}
            for round_ in range(20):
                for key in keys.values():
                    versions[key, round_] = writer.call("set", key, b"%d" % round_)["version"]
            seen = {}
            for _ in range(2 * len(versions)):
                watch, event, key, version, value = connection.event(PATIENCE)
                equal(event, "set", "the event")
                true(watch == every or single[watch] == key, f"whose event of {key} it is: {watch}")
                seen.setdefault((watch, key), []).append((value, version))
            for (watch, key), got in seen.items():
                equal(got, [(b"%d" % i, versions[key, i]) for i in range(20)],
                      f"what watch {watch} has seen of {key}")
            true(connection.no_event(), "nothing else")
            for watch in [every, *single]:
                equal(connection.call("unwatch", watch), True, "unwatch")
            for key in keys.values():
                writer.call("set", key, b"unseen")
            true(connection.no_event(), "no event of a watch that has ended")


def test_it_begins_with_a_version_and_tells_of_progress(t):
    cluster = larger_than_its_copies(t)
    keys = keys_of(t, cluster)
    node = cluster.nodes[1]
    with node.connect() as connection, cluster.nodes[0].connect() as writer:
        first = {shard: writer.call("set", key, b"a")["version"] for shard, key in keys.items()}
        last = {shard: writer.call("set", key, b"b")["version"] for shard, key in keys.items()}
        connection.call("watch", {"prefix": b"", "from_version": first, "progress": True})
        told, seen = {}, {}
        while any(told.get(shard, 0) < version for shard, version in last.items()):
            _, event, key, version, value = connection.event(PATIENCE)
            if event == "progress":
                told.update(value)
                continue
            shard = cluster.shard_of(key)
            true(version > told.get(shard, 0), "no event comes behind its progress")
            seen.setdefault(shard, []).append(version)
        equal(seen, {shard: [first[shard], last[shard]] for shard in keys}, "the versions")
        for _ in range(40):
            for key in keys.values():
                writer.call("set", key + b" other {" + key + b"}", b"x" * 100_000)
        away = next(shard for shard in keys if shard not in held_by(node))
        try:
            connection.call("watch", {"key": keys[away], "from_version": 1})
            true(False, "a version that is too old")
        except RpcError as error:
            equal(error.code, "COMPACTED", str(error))


def heard(connection, watch):
    """The counts that come, and whether the watch is lost in the end: it is not where the leader
    that has died was none yet when the watch began."""
    seen = []
    while True:
        try:
            got = connection.event(PATIENCE)
        except TimeoutError:
            return seen, False
        equal(got[0], watch, "the watch")
        if got[1] == "lost":
            return seen, True
        seen.append(int(got[4]))


@limit(240)
def test_all_is_heard_or_it_is_lost_when_the_keeper_dies(t):
    cluster = larger_than_its_copies(t, lease_ms=500)
    keys = keys_of(t, cluster)
    node = cluster.nodes[0]
    away = [key for shard, key in keys.items() if shard not in held_by(node)]
    key = away[0]
    for _ in range(3):
        with node.connect(timeout=PATIENCE) as connection:
            before = connection.call("incr", key, 1)
            watch = connection.call("watch", {"key": key})
            keeper = cluster.leader_of(key)
            with node.connect(timeout=PATIENCE) as writer:
                for _ in range(200):
                    writer.send("incr", key, 1)
                writer.receive()
                keeper.kill9()
                seen, lost = heard(connection, watch)
                equal(seen, list(range(before + 1, before + 1 + len(seen))), "each count once")
            if not lost:
                equal(seen[-1:], [int(connection.call("get", key))], "all is heard")
            again = watch_of(connection, key) if lost else watch
            wait_for(lambda: connection.call("incr", key, 1), PATIENCE, "a leader to count on")
            got = connection.event(PATIENCE)
            equal(got[:2], [again, "set"], "an event of the new watch")
        keeper.restart()
        cluster.wait_settled()


def test_a_link_that_is_cut_loses_the_watches_on_it_and_no_event_unseen(t):
    with Network(t.rng) as network:
        cluster = t.cluster(5, shards=SHARDS, start=False, overrides={"cluster.replicas": 3})
        cluster.start_with(network.between)
        cluster.wait_settled()
        keys = keys_of(t, cluster)
        node = cluster.nodes[0]
        held = held_by(node)
        away = [key for shard, key in keys.items() if shard not in held]
        for drop, both in ((False, True), (True, True), (True, False)):
            with node.connect(timeout=PATIENCE) as connection:
                watches = {watch_of(connection, key): key for key in keys.values()}
                others = [other.id for other in cluster.nodes[1:]]
                ways = [(other, node.id) for other in others]
                ways += [(node.id, other) for other in others] if both else []
                network.cut(ways, drop=drop)
                lost = set()
                while len(lost) < len(away):
                    got = connection.event(PATIENCE)
                    equal(got[1], "lost", f"what comes when links are cut ({drop}, {both})")
                    lost.add(watches[got[0]])
                equal(lost, set(away), "keys of the watches that are lost")
                network.heal()

                def written_and_heard(key):
                    try:
                        watch = connection.call("watch", {"key": key})
                        version = connection.call("set", key, b"seen")["version"]
                    except RpcError:
                        return False
                    while True:
                        got = connection.event(PATIENCE)
                        if got[0] == watch:
                            return got[1] == "set" and got[3] == version
                for key in away:
                    wait_for(lambda key=key: written_and_heard(key), PATIENCE,
                             "a watch to work again")


def test_a_node_without_links_waits_and_then_says_no_quorum(t):
    with Network(t.rng) as network:
        cluster = t.cluster(5, shards=SHARDS, start=False,
                            overrides={"limits.request_timeout": 1500, "cluster.replicas": 3})
        cluster.start_with(network.between)
        cluster.wait_settled()
        keys = keys_of(t, cluster)
        node = cluster.nodes[0]
        key = next(key for shard, key in keys.items() if shard not in held_by(node))
        with node.connect(timeout=PATIENCE) as connection:
            network.cut([pair for other in cluster.nodes[1:]
                         for pair in ((other.id, node.id), (node.id, other.id))], drop=False)

            def refused():
                try:
                    connection.call("unwatch", connection.call("watch", {"key": key}))
                except RpcError as error:
                    return error.code == "NO_QUORUM"
                return False
            wait_for(refused, PATIENCE, "NO_QUORUM")
            waits = connection.send("watch", {"key": key})
            network.heal()
            msgid, error, watch = connection.receive(PATIENCE)
            if error is None:
                equal(msgid, waits, "the answer")
                version = written(cluster.nodes[1], key, b"v")
                equal(connection.event(PATIENCE), [watch, "set", key, version, b"v"], "the event")


def test_a_flood_loses_watches_and_not_the_cluster(t):
    """A watcher that is far away and reads nothing: what waits for it is bounded."""
    cluster = larger_than_its_copies(t)
    keys = keys_of(t, cluster)
    node = cluster.nodes[0]
    key = next(key for shard, key in keys.items() if shard not in held_by(node))
    with node.connect(timeout=PATIENCE) as slow, cluster.leader_of(key).connect() as writer:
        watch = slow.call("watch", {"key": key})
        for i in range(60):
            writer.call("set", key, b"%03d" % i * 300_000)
        seen = []
        while not seen or seen[-1][1] != "lost":
            seen.append(slow.event())
        equal(seen.pop(), [watch, "lost", None, 0, None], "the last word")
        equal([event[4][:3] for event in seen], [b"%03d" % i for i in range(len(seen))],
              "the events before it, without a gap")
        version = writer.call("set", key, b"small")["version"]
        watch = slow.call("watch", {"key": key, "from_version": version})
        equal(slow.event(), [watch, "set", key, version, b"small"], "a new watch")


def test_many_watches_of_many_clients(t):
    cluster = larger_than_its_copies(t)
    keys = keys_of(t, cluster)
    node = cluster.nodes[2]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(node.connect(timeout=PATIENCE)) for _ in range(8)]
        for client in clients:
            answers = client.pipeline([("watch", {"prefix": key[:n]})
                                       for key in keys.values() for n in range(2, len(key) + 1)])
            equal([answer for answer in answers if isinstance(answer, RpcError)], [], "refusals")
        for key in keys.values():
            cluster.nodes[0].call("set", key, b"v")
        for client in clients:
            got = {}
            wanted = sum(1 for key in keys.values() for other in keys.values()
                         for n in range(2, len(other) + 1) if key.startswith(other[:n]))
            for _ in range(wanted):
                event = client.event(PATIENCE)
                got[event[0], event[2]] = got.get((event[0], event[2]), 0) + 1
            equal(set(got.values()), {1}, "each event once")
            true(client.no_event(), "nothing else")


def test_a_watch_goes_on_or_is_lost_when_copies_move(t):
    cluster = t.cluster(4, shards=SHARDS, overrides={"cluster.replicas": 3})
    cluster.wait_settled()
    keys = keys_of(t, cluster)
    node = cluster.node(1)
    true(len(held_by(node)) < SHARDS, "it has no copy of some shard")
    with node.connect(timeout=PATIENCE) as connection:
        watches = {connection.call("watch", {"key": key}): key for key in keys.values()}
        cluster.add(cluster.newcomer(5), node)
        versions = {key: written(node, key, b"v") for key in keys.values()}
        open_ = dict(watches)
        while open_:
            got = connection.event(PATIENCE)
            if got[1] == "lost":
                open_.pop(got[0], None)  # copies may move on when it has told of its event
                continue
            equal(got, [got[0], "set", watches[got[0]], versions[watches[got[0]]], b"v"],
                  "the event")
            open_.pop(got[0])
        for key in keys.values():
            watch = watch_of(connection, key)
            version = written(node, key, b"w")
            got = connection.event(PATIENCE)
            while got[0] != watch:
                got = connection.event(PATIENCE)
            equal(got, [watch, "set", key, version, b"w"], "the event of a new watch")
