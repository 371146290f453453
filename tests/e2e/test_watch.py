"""Watches: every change, once and in order, from the moment on that was asked for, or a word that it
is not so."""

import contextlib

from mayfly_test.api import everywhere, on
from mayfly_test.check import equal, true
from mayfly_test.client import RpcError, pack_request
from mayfly_test.proxy import Network
from mayfly_test.wait import wait_for

PATIENCE = 30.0


def next_event(connection, watch, event, key, value=None):
    """The next event is this one; returns its version."""
    got = connection.event()
    equal(got[:3] + got[4:], [watch, event, key, value], f"the next event ({got!r:.200})")
    true(got[3] > 0, f"a version: {got!r:.200}")
    return got[3]


@everywhere
def test_a_key_tells_of_each_change_and_its_version(api):
    key, other = api.key("k"), api.key("other")
    watch = api.call("watch", {"key": key})
    versions = [api.written("set", key, b"1")]
    api.written("set", other, b"unseen")
    equal(next_event(api.connection, watch, "set", key, b"1"), versions[0], "version of a set")
    api.gives(3, "incr", key, 2)
    next_event(api.connection, watch, "set", key, b"3")
    api.gives(2, "append", key, b"0")
    next_event(api.connection, watch, "set", key, b"30")
    api.gives(b"30", "getdel", key)
    next_event(api.connection, watch, "del", key)
    api.gives(1, "mset", [[key, b"m"]])
    next_event(api.connection, watch, "set", key, b"m")
    api.gives({"ok": True, "results": [2, b"mt"]}, "txn",
              {"if": [], "then": [["append", key, b"t"], ["getdel", key]]})
    next_event(api.connection, watch, "set", key, b"mt")
    next_event(api.connection, watch, "del", key)
    api.refused("NOT_INTEGER", "txn", {"if": [], "then": [["set", key, b"x"], ["incr", key, 1]]})
    api.written("set", key, b"last")
    next_event(api.connection, watch, "set", key, b"last")
    api.gives(1, "del", [key])
    next_event(api.connection, watch, "del", key)
    true(api.connection.no_event(), "nothing else")


@everywhere
def test_what_changes_only_a_ttl_is_no_event_and_death_is_one(api):
    key = api.key()
    watch = api.call("watch", {"key": key})
    api.written("set", key, b"v", {"ttl": 60_000})
    next_event(api.connection, watch, "set", key, b"v")
    api.gives(True, "expire", key, 50_000)
    api.gives(True, "persist", key)
    api.gives(b"v", "getex", key, {"ttl": 50_000})
    true(api.connection.no_event(), "no event of a TTL")
    api.gives(True, "expire", key, 100)
    next_event(api.connection, watch, "expire", key)
    api.gives(None, "get", key)


@everywhere
def test_a_prefix_in_one_shard_and_in_all(api):
    tagged = api.key("{t}")
    plain = api.key("p")
    one = api.call("watch", {"prefix": tagged})
    every = api.call("watch", {"prefix": plain})
    for i in range(20):
        api.written("set", tagged + b"%d" % i, b"x")
        next_event(api.connection, one, "set", tagged + b"%d" % i, b"x")
        api.written("set", plain + b"%d" % i, b"y")
        next_event(api.connection, every, "set", plain + b"%d" % i, b"y")
    true(api.connection.no_event(), "nothing else")


@everywhere
def test_each_prefix_of_a_key_tells_of_it_once(api):
    key = api.key("{t}abc")
    prefixes = [key[:n] for n in range(len(key) + 1)] * 2
    others = [key + b"d", key[:-1] + b"C", b"a" + key]
    wanted = {api.call("watch", {"prefix": prefix}) for prefix in prefixes}
    wanted.add(api.call("watch", {"key": key}))
    for other in others:
        api.call("watch", {"prefix": other})
        api.call("watch", {"key": other})
    gone = [api.call("watch", {"prefix": prefix}) for prefix in prefixes]
    for watch in gone:
        api.gives(True, "unwatch", watch)
    api.written("set", key, b"v")
    equal(sorted(api.connection.event()[0] for _ in wanted), sorted(wanted), "the watches")
    true(api.connection.no_event(), "nothing else")


@everywhere
def test_only_the_events_that_are_wanted(api):
    key = api.key()
    watch = api.call("watch", {"key": key, "events": ["del", "expire"]})
    api.written("set", key, b"v")
    api.gives(1, "del", [key])
    next_event(api.connection, watch, "del", key)
    true(api.connection.no_event(), "nothing else")


@everywhere
def test_a_watch_misses_no_write_that_comes_after_it_through_any_node(api):
    for i in range(30):
        key = api.key(f"k{i}")
        watch = api.call("watch", {"key": key})
        for node in api.other_nodes():
            with node.connect() as connection:
                connection.call("set", key, b"v")
        for _ in api.other_nodes():
            next_event(api.connection, watch, "set", key, b"v")


@everywhere
def test_what_was_written_before_is_no_event(api):
    for i in range(30):
        key = api.key(f"k{i}")
        with api.other_nodes()[0].connect() as connection:
            connection.call("set", key, b"before")
        watch = api.call("watch", {"key": key})
        api.written("set", key, b"after")
        next_event(api.connection, watch, "set", key, b"after")


@everywhere
def test_unwatch(api):
    key = api.key()
    watch = api.call("watch", {"key": key})
    api.gives(False, "unwatch", watch + 1)
    with api.node.connect() as stranger:
        equal(stranger.call("unwatch", watch), False, "unwatch by another connection")
    api.gives(True, "unwatch", watch)
    api.gives(False, "unwatch", watch)
    api.written("set", key, b"v")
    true(api.connection.no_event(), "no event of a watch that has ended")


@everywhere
def test_a_watch_goes_on_from_a_version_through_any_node(api):
    key = api.key("{t}k")
    versions = [api.written("set", key, b"%d" % i) for i in range(5)]
    for node in [api.node] + api.other_nodes():
        for pattern in ({"key": key}, {"prefix": api.key("{t}")}):
            with node.connect() as connection:
                watch = connection.call("watch", {**pattern, "from_version": versions[2]})
                for i in range(2, 5):
                    equal(next_event(connection, watch, "set", key, b"%d" % i), versions[i],
                          "version")
                true(connection.no_event(), "nothing else")
    watch = api.call("watch", {"key": key, "from_version": versions[4] + 2})
    api.written("set", key, b"too early")
    version = api.written("set", key, b"from here on")
    equal(next_event(api.connection, watch, "set", key, b"from here on"), version, "version")


@everywhere
def test_a_watch_of_many_shards_goes_on_from_a_version_in_each(api):
    keys = [api.key(f"k{i}") for i in range(40)]
    versions = {}
    for key in keys:
        shard = api.cluster.shard_of(key)
        version = api.written("set", key, b"first")
        versions.setdefault(shard, version)
    watch = api.call("watch", {"prefix": api.key("k"), "from_version": versions})
    got = {bytes(api.connection.event()[2]) for _ in keys}
    equal(got, set(keys), "keys of the events")
    true(api.connection.no_event(), "nothing else")
    api.gives(True, "unwatch", watch)


@everywhere
def test_refusals(api):
    key = api.key()
    for options in ({}, {"key": key, "prefix": key}, {"key": b""}, {"key": 7}, {"keys": key},
                    {"key": key, "events": []}, {"key": key, "events": ["gone"]},
                    {"key": key, "events": "set"}, {"key": key, "from_version": -1},
                    {"key": key, "from_version": "1"}, {"prefix": key, "from_version": 1},
                    {"key": key, "from_version": {9999: 1}}, {"key": key, "from_version": {0: -1}}):
        api.refused("BAD_REQUEST", "watch", options)
    api.refused("BAD_REQUEST", "watch")
    api.refused("BAD_REQUEST", "watch", key)
    api.refused("BAD_REQUEST", "unwatch")
    api.refused("BAD_REQUEST", "unwatch", "x")
    api.refused("TOO_LARGE", "watch", {"key": b"k" * 65537})


@everywhere
def test_a_map_that_names_a_shard_twice_is_refused(api):
    request = pack_request(7, "watch", [{"prefix": b"", "from_version": {0: 5, 1: 6}}])
    api.connection.send_raw(request.replace(b"\x00\x05\x01\x06", b"\x00\x05\x00\x06"))
    msgid, error, _ = api.connection.receive()
    equal((msgid, error and error.code), (7, "BAD_REQUEST"), f"the answer ({error})")


def test_a_watch_from_version_0_has_all_that_has_ever_been(t):
    cluster = t.cluster(1, shards=1)
    with cluster.node(1).connect() as connection:
        for options in ({"key": b"k", "from_version": 0}, {"prefix": b"", "from_version": {0: 0}}):
            with cluster.node(1).connect() as early:
                watch = early.call("watch", options)
                if options.get("key"):
                    connection.call("set", b"k", b"v")
                next_event(early, watch, "set", b"k", b"v")


@on(1, 3)
def test_a_version_that_is_too_old_is_refused_and_never_a_gap(api):
    key = api.key()
    first = api.written("set", key, b"first")
    for _ in range(40):
        last = api.written("set", key, b"x" * 50_000)
    api.refused("COMPACTED", "watch", {"key": key, "from_version": first})
    watch = api.call("watch", {"key": key, "from_version": last})
    equal(next_event(api.connection, watch, "set", key, b"x" * 50_000), last, "version")


def test_a_flush_tells_of_few_keys_each_and_of_many_what_nobody_has_to_look_for(t):
    node = t.cluster(1, shards=1).node(1)
    keys = [b"key:%d" % i for i in range(5000)]
    with contextlib.ExitStack() as stack:
        wants = ({"prefix": "key:"}, {"key": keys[7]}, {"key": "absent"},
                 {"prefix": "key:", "events": ["set"]}, {"key": keys[7], "events": ["set"]})
        all_, one, absent, sets, set_ = watchers = [
            stack.enter_context(node.connect(timeout=60)) for _ in wants]
        writer = stack.enter_context(node.connect(timeout=60))
        ids = [watcher.call("watch", want) for watcher, want in zip(watchers, wants)]

        def write(count):
            """Sets so many keys; reads the events of that; flushes; returns the flush's version."""
            equal(writer.call("mset", [[key, b"v"] for key in keys[:count]]), count, "mset")
            for watcher in (all_, sets):
                equal([watcher.event()[2] for _ in range(count)], keys[:count], "sets")
            next_event(one, ids[1], "set", keys[7], b"v")
            next_event(set_, ids[4], "set", keys[7], b"v")
            equal(writer.call("flush"), count, "flush")
            return next_event(one, ids[1], "del", keys[7])

        flushed = write(4096)
        events = [all_.event() for _ in range(4096)]
        equal({(event[1], event[3]) for event in events}, {("del", flushed)}, "what was flushed")
        equal({event[2] for event in events}, set(keys[:4096]), "the keys that were flushed")
        flushed = write(4097)
        equal(all_.event(), [ids[0], "lost", None, 0, None], "the watch of a prefix")
        for connection in watchers:
            true(connection.no_event(), "nothing else")
        # To go on from the flush is refused, from behind it not.
        for want in ({"prefix": "key:"}, {"key": keys[7]}):
            try:
                writer.call("watch", {**want, "from_version": {0: flushed}})
                true(False, "a watch begins with events that are not there")
            except RpcError as error:
                equal(error.code, "COMPACTED", "a watch from the flush on")
        again = writer.call("watch", {"prefix": "key:", "from_version": {0: flushed + 1}})
        writer.call("set", keys[0], b"new")
        next_event(writer, again, "set", keys[0], b"new")
        next_event(sets, ids[3], "set", keys[0], b"new")
        equal(absent.call("unwatch", ids[2]), True, "the watch of an absent key")


def test_a_watcher_that_does_not_read_is_told_that_it_has_lost(t):
    cluster = t.cluster(1)
    key = t.key("k")
    with cluster.node(1).connect() as slow, cluster.node(1).connect() as writer:
        watch = slow.call("watch", {"key": key})
        quick = writer.call("watch", {"key": key})
        for i in range(40):
            writer.call("set", key, b"%03d" % i * 300_000)
            equal(writer.event()[0], quick, "the watch of one who reads")
        seen = []
        while not seen or seen[-1][1] != "lost":
            seen.append(slow.event())
        equal(seen.pop(), [watch, "lost", None, 0, None], "the last word")
        equal([event[4][:3] for event in seen], [b"%03d" % i for i in range(len(seen))],
              "the events before it, without a gap")
        true(len(seen) < 40, "some were left out")
        equal(slow.call("unwatch", watch), False, "unwatch of a lost watch")
        watch = slow.call("watch", {"key": key})
        version = writer.call("set", key, b"again")["version"]
        equal(next_event(slow, watch, "set", key, b"again"), version, "a new watch")


def test_a_watch_lives_through_changes_of_leader(t):
    cluster = t.cluster(3)
    key = t.key("counter")
    watcher = next(node for node in cluster.nodes if node is not cluster.leader_of(key))
    with watcher.connect() as connection:
        watch = connection.call("watch", {"key": key})
        done = 0
        versions = []
        for _ in range(3):
            leader = cluster.leader_of(key)
            if leader is not watcher:
                leader.kill9()
            done = count_on(watcher, key, done, 20)
            if leader is not watcher:
                leader.restart()
                cluster.wait_settled()
        while len(versions) < done:
            got = connection.event(PATIENCE)
            equal([got[0], got[1], got[4]], [watch, "set", b"%d" % (len(versions) + 1)],
                  "each count once and in order")
            versions.append(got[3])
        equal(versions, sorted(set(versions)), "versions grow")


def count_on(node, key, done, more):
    """Counts on by `more`, each step exactly once."""
    for i in range(done + 1, done + more + 1):
        def step(i=i):
            try:
                with node.connect(timeout=3.0) as connection:
                    return connection.call("incr", key, 1, {"id": b"count %d" % i}) == i
            except (RpcError, OSError):
                return False
        wait_for(step, PATIENCE, f"count {i}")
    return done + more


def test_a_watch_is_lost_where_a_snapshot_takes_the_place_of_what_it_missed(t):
    with Network(t.rng) as network:
        cluster = t.cluster(3, shards=1, start=False)
        cluster.start_with(network.between)
        cluster.wait_settled()
        away = next(node for node in cluster.nodes if node is not cluster.leader_of(b"k"))
        others = [node for node in cluster.nodes if node is not away]
        with away.connect(timeout=PATIENCE) as connection:
            watch = connection.call("watch", {"key": "k"})
            missed = cluster.applied(away)[0]
            network.cut([pair for other in others
                         for pair in ((away.id, other.id), (other.id, away.id))], drop=True)
            with others[0].connect(timeout=PATIENCE) as writer:
                def behind():
                    writer.call("mset", [[f"fill {n}", b"%0100000d" % n] for n in range(50)])
                    return all(node.call("cluster")["shards"][0]["first"] > missed + 1
                               for node in others)
                wait_for(behind, PATIENCE, "the others to cut their logs")
                wait_for(lambda: writer.call("set", "k", "not seen"), PATIENCE, "a write")
            network.heal()
            equal(connection.event(PATIENCE), [watch, "lost", None, 0, None], "the first event")
            watch, = wait_for(lambda: [connection.call("watch", {"key": "k"})], PATIENCE, "a watch")
            wait_for(lambda: away.call("set", "k", "seen"), PATIENCE, "a write through it")
            next_event(connection, watch, "set", b"k", b"seen")


def test_a_watch_is_lost_where_the_copy_is_given_up_and_no_other(t):
    cluster = t.cluster(3, shards=8)
    node = cluster.node(1)
    with node.connect(timeout=PATIENCE) as connection:
        keys = {}
        while len(keys) < 8:
            key = t.key(f"k{len(keys)}-{t.rng.randrange(10**6)}")
            keys.setdefault(cluster.shard_of(key), key)
        every = connection.call("watch", {"prefix": b""})
        single = {connection.call("watch", {"key": key}): shard for shard, key in keys.items()}
        cluster.add(cluster.newcomer(4), node)
        held = {shard["id"] for shard in node.call("cluster")["shards"] if node.id in
                shard["replicas"]}
        true(len(held) < 8, "a copy has gone from the node")
        gone = {every: None} | {watch: shard for watch, shard in single.items() if shard not in held}
        lost = [connection.event() for _ in gone]
        equal({event[0] for event in lost}, set(gone), "the watches that have ended")
        equal({event[1] for event in lost}, {"lost"}, "how they ended")
        for watch, shard in single.items():
            if watch not in gone:
                connection.call("set", keys[shard], b"v")
                next_event(connection, watch, "set", keys[shard], b"v")


def test_many_who_begin_far_back_at_once_do_not_crowd_each_other_out(t):
    cluster = t.cluster(1, shards=8, overrides={"node.threads": 1,
                                                "limits.request_timeout": 60_000})
    node = cluster.node(1)
    count = 6000
    with node.connect() as writer, contextlib.ExitStack() as stack:
        writer.pipeline([("set", b"f%d" % i, b"x" * 1000) for i in range(count)])
        clients = [stack.enter_context(node.connect(timeout=PATIENCE)) for _ in range(6)]
        node.pause()  # so that all of them come in one turn
        for client in clients:
            client.send("watch", {"prefix": b"f", "from_version": {i: 1 for i in range(8)}})
        node.resume()
        for client in clients:
            _, error, _ = client.receive(2 * PATIENCE)
            equal(error, None, "an error")
            seen = [client.event() for _ in range(count)]
            equal({event[1] for event in seen}, {"set"}, "what came")
            equal(len({event[2] for event in seen}), count, "keys of the events")


def test_an_idle_watcher_is_not_cut_off(t):
    cluster = t.cluster(1, overrides={"limits.idle_timeout": 1})
    key = t.key("k")
    with cluster.node(1).connect() as connection:
        watch = connection.call("watch", {"key": key})
        for _ in range(2): # the second began to be idle when the watcher had been for long
            with cluster.node(1).connect() as idle:
                true(idle.closed_by_server(20.0), "an idle connection is closed")
        cluster.node(1).call("set", key, b"v")
        next_event(connection, watch, "set", key, b"v")


def test_a_connection_may_have_many_watches_and_no_more(t):
    cluster = t.cluster(1)
    with cluster.node(1).connect() as connection:
        for i in range(1024):
            connection.call("watch", {"key": b"k%d" % i})
        equal(cluster.node(1).call("stats")["watches"], 1024, "watches")
        try:
            connection.call("watch", {"key": b"one more"})
            true(False, "one watch more than a connection may have")
        except RpcError as error:
            equal(error.code, "BUSY", str(error))
        cluster.node(1).call("set", b"k1023", b"v")
        equal(connection.event()[2], b"k1023", "the key of the event")
    wait_for(lambda: cluster.node(1).call("stats")["watches"] == 0, PATIENCE,
             "the watches to end with their connection")


def test_what_a_connection_watches_is_bounded_in_bytes(t):
    cluster = t.cluster(1)
    with cluster.node(1).connect() as connection:
        def watch(i):
            return connection.call("watch", {"prefix": b"%05d" % i + b"p" * 65531})
        watches = [watch(i) for i in range(64)]
        for _ in range(2):
            try:
                watch(64)
                true(False, "more than 4 MiB of prefixes")
            except RpcError as error:
                equal(error.code, "BUSY", str(error))
        connection.call("unwatch", watches[7])
        watch(64)


def test_versions_to_begin_from_are_bounded_like_what_is_watched(t):
    shards = 4096
    froms = {shard: 0 for shard in range(shards)}
    with t.cluster(1, shards=shards).node(1).connect(timeout=30) as connection:
        for _ in range(4 * 2**20 // (16 * shards)):
            connection.call("watch", {"prefix": "", "from_version": froms})
        try:
            connection.call("watch", {"prefix": "", "from_version": froms})
            true(False, "more than 4 MiB of versions")
        except RpcError as error:
            equal(error.code, "BUSY", str(error))
        connection.call("watch", {"prefix": ""})
