"""MessagePack-RPC as its reference describes it: every method, option and refusal of the data
commands, through a single node and through each node of a cluster of three."""

import os
import pathlib
import time

from mayfly_test.api import Api, everywhere, on
from mayfly_test.check import between, equal, true
from mayfly_test.cluster import SLOTS, key_in_slots
from mayfly_test.wait import wait_for

TTL_MAX = 2**53 - 1
MAX_KEY = 64 * 1024
FAR_FUTURE_MS = 4_000_000_000_000  # the year 2096
HOUR_MS = 3_600_000


@everywhere
def test_ping(api):
    api.gives("pong", "ping")
    api.gives("pong", "ping", {})


@everywhere
def test_hello_introduces_the_server(api):
    for options in ([], [{}], [{"client": "e2e"}]):
        hello = api.call("hello", *options)
        true(isinstance(hello, dict), f"hello: {hello!r}")
        equal(hello.get("node"), api.node.id, "node")
        equal(hello.get("cluster"), "e2e", "cluster")
        equal(hello.get("shards"), 16, "shards")
        true(isinstance(hello.get("server"), str) and isinstance(hello.get("version"), str),
             f"server and version: {hello!r}")


@everywhere
def test_keys_and_values_are_any_bytes(api):
    values = [b"", b"x", bytes(range(256)), b"\xff" * 70_000, "text", "\u00e4\u20ac", b"v" * 2**20]
    keys = [b"\x00", bytes(range(256)), b"\xff\xfe", "text key", "\u00e4\u20ac"]
    for i, name in enumerate(keys):
        key = api.key(name if isinstance(name, bytes) else name.encode())
        for value in values:
            api.written("set", key, value)
            api.gives(value if isinstance(value, bytes) else value.encode(), "get", key)
        api.written("set", key.decode("latin-1"), b"str key %d" % i)
        api.gives(b"str key %d" % i, "get", key.decode("latin-1").encode())
        api.gives(2 if key.decode("latin-1").encode() != key else 1, "del",
                  [key, key.decode("latin-1")])


@everywhere
def test_the_longest_key(api):
    key = api.key("long").ljust(MAX_KEY, b"k")
    api.written("set", key, "v")
    api.gives(b"v", "get", key)
    api.gives([True], "has", [key])
    api.gives(1, "del", [key])
    for method, params in [("get", [key + b"k"]), ("set", [key + b"k", b"v"]),
                           ("mget", [[b"ok", key + b"k"]]), ("has", [[key + b"k"]]),
                           ("mset", [[[b"ok", b"v"], [key + b"k", b"v"]]]),
                           ("del", [[key + b"k"]]), ("expire", [key + b"k", 5]),
                           ("persist", [key + b"k"]), ("ttl", [key + b"k"])]:
        api.refused("TOO_LARGE", method, *params)


@everywhere
def test_an_absent_key(api):
    key = api.key("absent")
    api.gives(None, "get", key)
    api.gives(None, "get", key, {"meta": True})
    api.gives([None], "mget", [key])
    api.gives([False], "has", [key])
    api.gives(-2, "ttl", key)
    api.gives(0, "del", [key])
    api.gives(False, "expire", key, 1000)
    api.gives(False, "expire", key, 0)
    api.gives(False, "persist", key)


@everywhere
def test_versions_grow_with_every_change_in_a_shard(api):
    first, second = api.key("{v}1"), api.key("{v}2")
    versions = [api.written("set", first, "a"), api.written("set", second, "b"),
                api.written("set", first, "c")]
    api.gives(1, "del", [second])
    versions.append(api.written("set", second, "d"))
    equal(versions, sorted(set(versions)), "versions in the order of the writes")
    api.gives({"value": b"c", "version": versions[2], "ttl": -1}, "get", first, {"meta": True})
    api.gives({"value": b"d", "version": versions[3], "ttl": -1}, "get", second, {"meta": True})


@everywhere
def test_set_nx_and_xx(api):
    key = api.key()
    api.gives(None, "set", key, "a", {"xx": True})
    api.gives(None, "get", key)
    api.written("set", key, "b", {"nx": True})
    api.gives(None, "set", key, "c", {"nx": True})
    api.gives(b"b", "get", key)
    api.written("set", key, "d", {"xx": True})
    api.gives(b"d", "get", key)


@everywhere
def test_set_if_version(api):
    key = api.key()
    api.gives(None, "set", key, "a", {"if_version": 1})
    first = api.written("set", key, "b", {"if_version": 0})
    api.gives(None, "set", key, "c", {"if_version": 0})
    api.gives(None, "set", key, "c", {"if_version": first + 1})
    second = api.written("set", key, "d", {"if_version": first})
    api.gives(None, "set", key, "e", {"if_version": first})
    api.gives(b"d", "get", key)
    api.gives(0, "del", [key], {"if_version": first})
    api.gives(1, "del", [key], {"if_version": second})
    api.gives(0, "del", [key], {"if_version": 0})
    api.gives(None, "get", key)


@everywhere
def test_set_get_returns_the_value_before(api):
    key = api.key()
    result = api.call("set", key, "a", {"get": True})
    first = result.pop("version")
    true(first > 0, f"version {first}")
    equal(result, {"old": None}, "the rest of the first result")
    api.gives({"version": None, "old": b"a"}, "set", key, "b", {"get": True, "nx": True})
    api.gives({"version": None, "old": b"a"}, "set", key, "b",
              {"get": True, "if_version": first + 1})
    result = api.call("set", key, "c", {"get": True, "xx": True})
    true(result.pop("version") > first, "the version grows")
    equal(result, {"old": b"a"}, "the rest of the second result")
    api.gives(1, "del", [key])
    api.gives({"version": None, "old": None}, "set", key, "d", {"get": True, "xx": True})


@everywhere
def test_set_with_a_ttl(api):
    key = api.key()
    api.written("set", key, "a", {"ttl": HOUR_MS})
    between(HOUR_MS - 60_000, api.call("ttl", key), HOUR_MS, "ttl")
    meta = api.call("get", key, {"meta": True})
    between(HOUR_MS - 60_000, meta["ttl"], HOUR_MS, "ttl of get with meta")
    api.written("set", key, "b", {"keep_ttl": True})
    between(HOUR_MS - 60_000, api.call("ttl", key), HOUR_MS, "a kept ttl")
    api.written("set", key, "c")
    api.gives(-1, "ttl", key)
    api.written("set", key, "d", {"keep_ttl": True})
    api.gives(-1, "ttl", key)
    api.written("set", key, "e", {"ttl": TTL_MAX})
    between(TTL_MAX - 60_000, api.call("ttl", key), TTL_MAX, "the longest ttl")
    api.gives(None, "set", key, "f", {"ttl": 1, "nx": True})
    between(TTL_MAX - 60_000, api.call("ttl", key), TTL_MAX, "the ttl after a set that was not done")


@everywhere
def test_set_with_expire_at(api):
    key = api.key()
    api.written("set", key, "a", {"expire_at": int(time.time() * 1000) + HOUR_MS})
    between(HOUR_MS - 60_000, api.call("ttl", key), HOUR_MS + 1000, "ttl")
    api.written("set", key, "b", {"expire_at": FAR_FUTURE_MS})
    true(api.call("ttl", key) > HOUR_MS, "a deadline that is far away")
    api.written("set", key, "c", {"expire_at": 1})
    api.gives(None, "get", key)
    api.gives(-2, "ttl", key)
    api.written("set", key, "d", {"nx": True})
    api.written("set", key, "e", {"expire_at": int(time.time() * 1000) - 1})
    api.gives([False], "has", [key])


@everywhere
def test_an_option_given_as_false_counts_as_absent(api):
    key = api.key()
    api.written("set", key, "a", {"nx": False, "xx": False, "get": False, "keep_ttl": False})
    api.written("set", key, "b", {"nx": False, "xx": True, "ttl": HOUR_MS, "keep_ttl": False})
    api.gives(b"b", "get", key, {"meta": False})
    api.gives(True, "expire", key, 2 * HOUR_MS, {"nx": False, "xx": False, "gt": True, "lt": False})
    api.written("set", key, "c", {"ttl": False})
    api.gives(-1, "ttl", key)


@everywhere
def test_del(api):
    keys = [api.key(str(i)) for i in range(5)]
    for key in keys:
        api.written("set", key, "v")
    api.gives(0, "del", [])
    api.gives(1, "del", [keys[0], keys[0], keys[0]])
    api.gives(4, "del", keys)
    api.gives(0, "del", keys, {})
    api.gives([False] * 5, "has", keys)


@everywhere
def test_has(api):
    there, absent = api.key("there"), api.key("absent")
    api.written("set", there, "v")
    api.gives([], "has", [])
    api.gives([True, False, True], "has", [there, absent, there])
    api.gives([True], "has", [there], {})


@everywhere
def test_mget_and_mset(api):
    keys = [api.key(str(i)) for i in range(40)]  # falls into most of the 16 shards
    api.gives([], "mget", [])
    api.gives(0, "mset", [])
    api.gives(40, "mset", [[key, b"v%d" % i] for i, key in enumerate(keys)])
    api.gives([b"v%d" % i for i in range(40)], "mget", keys)
    api.gives([b"v3", None, b"v3"], "mget", [keys[3], api.key("absent"), keys[3]], {})
    api.gives(3, "mset", [[keys[0], "a"], [keys[1], "b"], [keys[0], "c"]], {})
    api.gives([b"c", b"b"], "mget", keys[:2])
    api.gives(2, "mset", [[keys[0], "d"], [keys[1], "e"]], {"ttl": HOUR_MS})
    for key in keys[:2]:
        between(HOUR_MS - 60_000, api.call("ttl", key), HOUR_MS, "ttl given to mset")
    api.gives(1, "mset", [[keys[0], "f"]])
    api.gives(-1, "ttl", keys[0])
    api.gives(40, "del", keys)


@everywhere
def test_expire_and_persist(api):
    key = api.key()
    api.written("set", key, "v")
    api.gives(False, "persist", key)
    api.gives(True, "expire", key, HOUR_MS)
    between(HOUR_MS - 60_000, api.call("ttl", key), HOUR_MS, "ttl")
    api.gives(True, "expire", key, 2 * HOUR_MS, {})
    between(2 * HOUR_MS - 60_000, api.call("ttl", key), 2 * HOUR_MS, "a later ttl")
    api.gives(True, "persist", key, {})
    api.gives(-1, "ttl", key)
    for ttl in (0, -1, -(2**53)):
        api.written("set", key, "v")
        api.gives(True, "expire", key, ttl)
        api.gives(None, "get", key)


@everywhere
def test_expire_conditions(api):
    forever, hour = api.key("forever"), api.key("hour")
    cases = [  # options, new TTL, done on a key without a TTL, done on one with an hour
        ({"nx": True}, 2 * HOUR_MS, True, False),
        ({"xx": True}, 2 * HOUR_MS, False, True),
        ({"gt": True}, 2 * HOUR_MS, False, True),
        ({"gt": True}, HOUR_MS // 2, False, False),
        ({"lt": True}, 2 * HOUR_MS, True, False),
        ({"lt": True}, HOUR_MS // 2, True, True),
        ({"xx": True, "gt": True}, 2 * HOUR_MS, False, True),
        ({"xx": True, "gt": True}, HOUR_MS // 2, False, False),
        ({"xx": True, "lt": True}, HOUR_MS // 2, False, True),
        ({"xx": True, "lt": True}, 2 * HOUR_MS, False, False),
    ]
    for options, ttl, without, with_hour in cases:
        api.written("set", forever, "v")
        api.written("set", hour, "v", {"ttl": HOUR_MS})
        api.gives(without, "expire", forever, ttl, options)
        api.gives(with_hour, "expire", hour, ttl, options)
        left = api.call("ttl", forever)
        true(ttl - 60_000 < left <= ttl if without else left == -1, f"{options}: ttl {left}")
        expected = ttl if with_hour else HOUR_MS
        between(expected - 60_000, api.call("ttl", hour), expected, f"ttl after {options}")


@everywhere
def test_size_and_flush(api):
    api.call("flush")
    api.gives(0, "size")
    api.gives(0, "flush", {})
    keys = [api.key(str(i)) for i in range(100)]
    api.gives(100, "mset", [[key, "v"] for key in keys], {"id": api.id()})
    api.gives(100, "size")
    api.gives(10, "mset", [[key, "w"] for key in keys[:10]])
    api.gives(100, "size", {})
    api.gives(5, "del", keys[:5])
    api.gives(95, "size")
    api.gives(1, "mset", [[keys[0], "dying"]], {"ttl": 1})
    wait_for(lambda: api.call("size") == 95, 10, "the expired key to leave the count")
    api.gives(95, "flush")
    api.gives(0, "size")
    api.gives([None] * 100, "mget", keys)


@everywhere
def test_local_reads(api):
    keys = [api.key(str(i)) for i in range(8)]
    api.gives(8, "mset", [[key, "v"] for key in keys])
    wait_for(lambda: api.call("mget", keys, {"read": "local"}) == [b"v"] * 8, 10,
             "this node's replicas to have what was written")
    api.gives(b"v", "get", keys[0], {"read": "local"})
    api.gives(b"v", "get", keys[0], {"read": "linearizable"})
    meta = api.call("get", keys[0], {"read": "local", "meta": True})
    equal({**meta, "version": 0}, {"value": b"v", "version": 0, "ttl": -1}, "meta of a local read")
    api.written("set", keys[0], "dying", {"ttl": 50})
    wait_for(lambda: api.call("get", keys[0], {"read": "local"}) is None, 10,
             "a local read to find the key expired")


# Refusals.

BAD_REQUESTS = [
    ("ping", 1), ("ping", {"a": 1}), ("hello", 5), ("hello", {"bogus": 1}),
    ("hello", {"client": 5}),
    ("get",), ("get", 5), ("get", None), ("get", True), ("get", 1.5), ("get", ["k"]),
    ("get", {}), ("get", ""), ("get", b""), ("get", "k", "k"), ("get", "k", {}, {}),
    ("get", "k", {"bogus": True}), ("get", "k", {"read": "sometimes"}), ("get", "k", {"read": 1}),
    ("get", "k", {"meta": 1}), ("get", "k", {"meta": "yes"}), ("get", "k", {5: True}),
    ("get", "k", None),
    ("set",), ("set", "k"), ("set", "k", 5), ("set", "k", None), ("set", "k", ["v"]),
    ("set", "", "v"), ("set", "k", "v", "x"), ("set", "k", "v", {}, {}),
    ("set", "k", "v", {"bogus": 1}), ("set", "k", "v", {"NX": True}),
    ("set", "k", "v", {"ttl": 0}), ("set", "k", "v", {"ttl": -1}),
    ("set", "k", "v", {"ttl": TTL_MAX + 1}), ("set", "k", "v", {"ttl": 2**63}),
    ("set", "k", "v", {"ttl": "5"}), ("set", "k", "v", {"ttl": 5.0}),
    ("set", "k", "v", {"ttl": None}), ("set", "k", "v", {"expire_at": "now"}),
    ("set", "k", "v", {"ttl": 5, "expire_at": FAR_FUTURE_MS}),
    ("set", "k", "v", {"ttl": 5, "keep_ttl": True}),
    ("set", "k", "v", {"expire_at": FAR_FUTURE_MS, "keep_ttl": True}),
    ("set", "k", "v", {"nx": True, "xx": True}), ("set", "k", "v", {"nx": 1}),
    ("set", "k", "v", {"if_version": -1}), ("set", "k", "v", {"if_version": "1"}),
    ("set", "k", "v", {"id": b""}), ("set", "k", "v", {"id": b"i" * 65}),
    ("set", "k", "v", {"id": 5}),
    ("mget",), ("mget", "k"), ("mget", [5]), ("mget", ["k", ""]), ("mget", ["k"], {"meta": True}),
    ("mget", ["k"], {"read": "x"}), ("mget", ["k"], {}, 1),
    ("mset",), ("mset", "k", "v"), ("mset", ["k", "v"]), ("mset", [["k"]]),
    ("mset", [["k", "v", "w"]]), ("mset", [["k", 5]]), ("mset", [["", "v"]]), ("mset", {"k": "v"}),
    ("mset", [["k", "v"]], {"ttl": 0}), ("mset", [["k", "v"]], {"nx": True}),
    ("mset", [["k", "v"], ["", "w"]]),
    ("del",), ("del", "k"), ("del", [5]), ("del", [""]), ("del", ["k"], {"bogus": 1}),
    ("del", ["k", "l"], {"if_version": 1}), ("del", [], {"if_version": 1}),
    ("del", ["k"], {"if_version": "x"}),
    ("has",), ("has", "k"), ("has", [""]), ("has", [None]), ("has", ["k"], {"read": 1}),
    ("expire",), ("expire", "k"), ("expire", "k", "5"), ("expire", "k", 1.5), ("expire", "", 5),
    ("expire", "k", None), ("expire", "k", 5, {"bogus": 1}), ("expire", "k", TTL_MAX + 1),
    ("expire", "k", 5, {"nx": True, "xx": True}), ("expire", "k", 5, {"nx": True, "gt": True}),
    ("expire", "k", 5, {"nx": True, "lt": True}), ("expire", "k", 5, {"gt": True, "lt": True}),
    ("expire", "k", 5, {"gt": 1}),
    ("persist",), ("persist", 5), ("persist", ""), ("persist", "k", {"ttl": 1}),
    ("ttl",), ("ttl", 5), ("ttl", ""), ("ttl", "k", 5), ("ttl", "k", {"read": "nowhere"}),
    ("size", 1), ("size", {"a": 1}), ("flush", 1), ("flush", {"bogus": 1}), ("flush", {"id": b""}),
    ("cluster", 1), ("stats", "x"),
    ("snapshot",), ("snapshot", 5), ("snapshot", ""), ("snapshot", ".hidden"),
    ("snapshot", "../up"), ("snapshot", "a/b"), ("snapshot", "a b"), ("snapshot", "n" * 65),
    ("snapshot", "n\u00e4me"), ("snapshot", "n\0"), ("snapshot", "name", {"bogus": 1}),
    ("snapshot_read",), ("snapshot_read", "name"), ("snapshot_read", "../up", 0),
    ("snapshot_read", "..", 0), ("snapshot_read", "a/b", 0), ("snapshot_read", "", 0),
    ("snapshot_read", "name", -1), ("snapshot_read", "name", "0"), ("snapshot_read", "name", 2**64 - 1),
    ("snapshot_read", "there is none", 0), ("snapshot_read", "none", 0),
    ("snapshot_remove",), ("snapshot_remove", "../up"), ("snapshot_remove", "a/b"),
    ("snapshot_remove", "n\0"), ("snapshot_remove", 5),
]


@everywhere
def test_bad_requests_are_refused_before_any_effect(api):
    replace = {"k": api.key("k"), "l": api.key("l")}

    def own(value):
        """The same parameters with keys of this test."""
        if isinstance(value, list):
            return [own(element) for element in value]
        return replace.get(value, value) if isinstance(value, str) else value

    wrong = []
    for method, *params in BAD_REQUESTS:
        error = api.error(method, *[own(value) for value in params])
        if error is None or error.code != "BAD_REQUEST":
            wrong.append(f"{method} {params!r:.100}: {error or 'no error'}")
        elif not error.message:
            wrong.append(f"{method} {params!r:.100}: the error has no message")
    true(not wrong, "not refused with BAD_REQUEST:\n" + "\n".join(f"  {line}" for line in wrong))
    api.gives([False, False], "has", list(replace.values()))


@everywhere
def test_unknown_methods(api):
    for method in ("bogus", "", "sett", "x" * 1000, "set\0"):
        api.refused("UNKNOWN_METHOD", method)
        api.refused("UNKNOWN_METHOD", method, b"k", {"a": 1})


@everywhere
def test_ids_are_1_to_64_bytes_and_any(api):
    for length in (1, 64):
        key = api.key(f"id{length}")
        some_id = api.t.rng.randbytes(length)
        first = api.written("set", key, "a", {"id": some_id})
        equal(api.written("set", key, "b", {"id": some_id}), first, "the result of the repeated id")


# Once per id.


@everywhere
def test_an_id_has_its_effect_once_whichever_node_is_asked(api):
    key = api.key()
    options = {"id": api.id()}
    first = api.written("set", key, "first", options)
    for node in api.other_nodes():
        other = Api(api.t, api.cluster, node)
        equal(other.written("set", key, "first", options), first, "the repeated result")
        equal(other.written("set", key, "another", options), first, "the same id, another value")
        other.gives({"value": b"first", "version": first, "ttl": -1}, "get", key, {"meta": True})
        api.written("set", key, "later")
        equal(other.written("set", key, "first", options), first, "the result after a later write")
        other.gives(b"later", "get", key)
        api.gives(1, "del", [key])
        equal(other.written("set", key, "first", options), first, "the result after a delete")
        other.gives(None, "get", key)
        first = api.written("set", key, "first", options := {"id": api.id(f"again {node.id}")})
        other.connection.close()


@everywhere
def test_refusals_by_a_condition_are_repeated_under_an_id(api):
    key = api.key()
    api.written("set", key, "a")
    api.gives(None, "set", key, "b", {"nx": True, "id": api.id()})
    api.gives(1, "del", [key])
    api.gives(None, "set", key, "b", {"nx": True, "id": api.id()})
    api.gives(None, "get", key)


@everywhere
def test_every_write_takes_an_id(api):
    keys = [api.key(str(i)) for i in range(20)]

    def twice(expected, name, method, *params):
        options = {**(params[-1] if isinstance(params[-1], dict) else {}), "id": api.id(name)}
        params = [param for param in params if not isinstance(param, dict)]
        for _ in range(2):
            api.gives(expected, method, *params, options)

    twice(20, "mset", "mset", [[key, "v"] for key in keys])
    twice(True, "expire", "expire", keys[0], HOUR_MS)
    twice(True, "persist", "persist", keys[0])
    twice(True, "expire nx", "expire", keys[0], HOUR_MS, {"nx": True})
    twice(20, "del", "del", keys)
    api.call("flush")
    api.gives(20, "mset", [[key, "v"] for key in keys])
    twice(20, "flush", "flush", {})
    api.gives(0, "size")
    result = api.call("set", keys[0], "w", {"get": True, "id": api.id("get")})
    equal(result["old"], None, "the value before")
    api.gives(result, "set", keys[0], "w", {"get": True, "id": api.id("get")})


@everywhere
def test_a_repeated_mset_does_not_undo_what_came_later(api):
    keys = [api.key(str(i)) for i in range(10)]
    pairs = [[key, "old"] for key in keys]
    api.gives(10, "mset", pairs, {"id": api.id()})
    api.gives(10, "mset", [[key, "new"] for key in keys])
    api.gives(10, "mset", pairs, {"id": api.id()})
    api.gives([b"new"] * 10, "mget", keys)


@everywhere
def test_an_id_stands_for_the_first_command_in_its_shard(api):
    a, b = api.key("{one shard}a"), api.key("{one shard}b")
    first = api.written("set", a, "v", {"id": api.id()})
    equal(api.written("set", b, "v", {"id": api.id()}), first, "another key under the same id")
    api.gives(None, "get", b)
    elsewhere = key_in_slots(api.key("elsewhere"), *slots_of_another_shard(api, a))
    api.written("set", elsewhere, "w", {"id": api.id()})
    api.gives(b"w", "get", elsewhere)


def slots_of_another_shard(api, key):
    shards = api.call("cluster")["shards"]
    return shards[(api.cluster.shard_of(key) + 1) % len(shards)]["slots"][0]


@everywhere
def test_a_bad_request_does_not_use_up_its_id(api):
    key = api.key()
    api.refused("BAD_REQUEST", "set", key, "v", {"ttl": 0, "id": api.id()})
    api.refused("TOO_LARGE", "set", key.ljust(MAX_KEY + 1), "v", {"id": api.id()})
    api.written("set", key, "v", {"id": api.id()})
    api.gives(b"v", "get", key)


@on(3)
def test_the_same_id_at_once_through_all_nodes_has_one_effect(api):
    connections = [node.connect() for node in api.cluster.nodes for _ in range(4)]
    for round_number in range(10):
        key = api.key(str(round_number))
        options = {"get": True, "id": api.id(f"id {round_number}")}
        for connection in connections:
            connection.send("set", key, "v", options)
        results = [connection.receive()[2] for connection in connections]
        equal(results, [{"version": results[0]["version"], "old": None}] * len(results), "results")
    for connection in connections:
        connection.close()


# Time.


@everywhere
def test_a_key_lives_to_its_deadline_and_no_longer(api):
    """Every read is judged by brackets of this process's own clock: nothing may be missing before
    the write began plus TTL, nothing be served when the write had returned longer than TTL ago."""
    rng = api.t.rng
    readers = [node.connect() for node in api.cluster.nodes]
    living = {}
    for i in range(100):
        ttl = rng.randrange(1, 1200)
        began = time.monotonic()
        api.written("set", api.key(str(i)), "v", {"ttl": ttl})
        living[api.key(str(i))] = (began + ttl / 1000, time.monotonic() + ttl / 1000)
    dead = set()
    while living:
        keys = list(living)
        began = time.monotonic()
        values = rng.choice(readers).call("mget", keys)
        ended = time.monotonic()
        for key, value in zip(keys, values):
            not_before, not_after = living[key]
            if value is None:
                true(ended >= not_before, f"{key} died {not_before - ended:.6f} s early")
                dead.add(key)
                del living[key]
            else:
                true(began < not_after, f"{key} lived {began - not_after:.6f} s too long")
    api.gives([None] * len(dead), "mget", list(dead))
    for reader in readers:
        reader.close()


@everywhere
def test_remaining_time_counts_down(api):
    key = api.key()
    ttl = 60_000
    began = time.monotonic()
    api.written("set", key, "v", {"ttl": ttl})
    written = time.monotonic()
    for _ in range(200):
        asked = time.monotonic()
        left = api.call("ttl", key)
        answered = time.monotonic()
        between(ttl - (answered - began) * 1000 - 1, left, ttl - (asked - written) * 1000 + 1,
                "milliseconds left")


@everywhere
def test_an_expired_key_is_absent_to_every_method(api):
    keys = [api.key(str(i)) for i in range(8)]
    for key in keys:
        api.written("set", key, "v", {"ttl": 1})
    wait_for(lambda: api.call("mget", keys) == [None] * 8, 10, "the keys to expire")
    api.gives(0, "del", [keys[0]])
    api.gives(False, "expire", keys[1], 1000)
    api.gives(False, "persist", keys[2])
    api.gives(-2, "ttl", keys[3])
    api.gives(None, "set", keys[4], "w", {"xx": True})
    api.written("set", keys[5], "w", {"nx": True})
    result = api.call("set", keys[6], "w", {"get": True, "keep_ttl": True})
    equal(result["old"], None, "the value before")
    api.gives(-1, "ttl", keys[6])
    api.written("set", keys[7], "w", {"if_version": 0})


@everywhere
def test_a_ttl_that_is_changed_or_taken_away_counts_and_not_the_old_one(api):
    longer, kept = api.key("longer"), api.key("kept")
    ttl = 400

    def changed_in_time():
        """Where all of it took longer than the keys had, they may have died meanwhile."""
        nonlocal ttl
        began = time.monotonic()
        for key in (longer, kept):
            api.written("set", key, "v", {"ttl": ttl})
        done = [api.call("expire", longer, HOUR_MS), api.call("persist", kept)]
        if time.monotonic() > began + ttl / 1000:
            ttl *= 2
            return False
        equal(done, [True, True], "the old deadlines changed")
        return True
    wait_for(changed_in_time, 60, "the keys to be changed before they die")
    changed = time.monotonic()
    wait_for(lambda: time.monotonic() > changed + 1.5 * ttl / 1000, ttl / 100,
             "the old deadlines to pass")
    api.gives([b"v", b"v"], "mget", [longer, kept])


# What a node tells of itself.


@everywhere
def test_cluster_describes_nodes_and_shards(api):
    api.cluster.wait_settled()
    view = api.call("cluster")
    equal(set(view), {"name", "node", "nodes", "shards"}, "fields")
    equal((view["name"], view["node"]), ("e2e", api.node.id), "name and node")
    equal([node["id"] for node in view["nodes"]], [node.id for node in api.cluster.nodes], "nodes")
    for node, ours in zip(view["nodes"], api.cluster.nodes):
        equal(set(node), {"id", "peer", "rpc", "resp", "resp_cluster", "http", "alive"},
              "fields of a node")
        equal(node["peer"], ours.settings["listen.peer"], "peer address")
        equal(node["rpc"], ours.ready["rpc"], "rpc address")
        equal(node["alive"], True, f"node {node['id']} alive")
    equal([shard["id"] for shard in view["shards"]], list(range(16)), "shards")
    slots = []
    for shard in view["shards"]:
        equal(set(shard), {"id", "slots", "leader", "replicas", "ballot", "chosen", "applied",
                           "first"}, "fields of a shard")
        equal(sorted(shard["replicas"]), [node.id for node in api.cluster.nodes], "replicas")
        true(shard["leader"] in shard["replicas"], f"leader {shard['leader']}")
        true(0 <= shard["applied"] <= shard["chosen"] and shard["first"] >= 0, f"{shard}")
        for first, last in shard["slots"]:
            slots += range(first, last + 1)
    equal(sorted(slots), list(range(SLOTS)), "all slots, each once")


@on(1)
def test_slots_are_those_of_redis_cluster(api):
    """A write moves the log of the shard that owns the key's CRC16 slot, and of no other. The
    names have slots of Redis's own documentation and tests."""
    for name, slot in [(b"123456789", 12739), (b"foo", 12182), (b"bar", 5061), (b"{foo}bar", 12182),
                       (b"a{foo}b{bar}", 12182), (b"{}foo", 9500), (b"{{bar}}zap", 4015)]:
        before = api.call("cluster")["shards"]
        for _ in range(50):
            api.written("set", name, "v")
        owner = next(shard["id"] for shard in before
                     if any(first <= slot <= last for first, last in shard["slots"]))

        def growth(before=before):
            after = api.call("cluster")["shards"]
            return [new["chosen"] - old["chosen"] for old, new in zip(before, after)]
        # The figures of a shard may come a moment after its answers.
        wait_for(lambda owner=owner, growth=growth: growth()[owner] >= 50, 10,
                 f"{name}: the log of shard {owner}, which owns slot {slot}, to have grown")
        grown = growth()
        true(all(growth < 50 for i, growth in enumerate(grown) if i != owner),
             f"{name}: slot {slot} is of shard {owner} alone, logs grew by {grown}")
        api.gives(1, "del", [name])


@everywhere
def test_stats_are_numbers_by_name(api):
    def numbers():
        stats = api.call("stats", {})
        hashes = stats.pop("shard_hashes")
        true(all(isinstance(row, list) and len(row) == 3 for row in hashes), f"hashes: {hashes!r}")
        memory = stats.pop("shard_memory")
        true(len(memory) == len(hashes) and all(
            isinstance(value, int) for row in memory for value in row.values()), f"{memory!r:.500}")
        true(stats and all(isinstance(name, str) and isinstance(value, (int, float))
                           for name, value in stats.items()), f"stats: {stats!r:.500}")
        return stats

    before = numbers()
    for _ in range(20):
        api.call("get", api.key())
    after = numbers()
    equal(set(after), set(before), "the names")
    true(after["requests"] >= before["requests"] + 20, "20 requests were not counted")


@everywhere
def test_snapshot_writes_one_file_and_replaces_it(api):
    api.call("flush")
    api.gives(50, "mset", [[api.key(str(i)), "v" * 100] for i in range(50)])
    made = api.call("snapshot", "Snap-1_a.mfs")
    equal(set(made), {"path", "keys", "bytes", "shards", "seconds"}, "fields")
    path = pathlib.Path(made["path"])
    true(path.is_absolute() and path.is_file() and not path.is_symlink(), f"path {path}")
    equal(made["bytes"], path.stat().st_size, "bytes")
    equal((made["keys"], made["shards"]), (50, 16), "keys and shards")
    true(isinstance(made["seconds"], (int, float)) and made["seconds"] >= 0, f"{made}")
    api.gives(10, "del", [api.key(str(i)) for i in range(10)])
    again = api.call("snapshot", "Snap-1_a.mfs", {})
    equal((again["path"], again["keys"]), (made["path"], 40), "the file in its place")
    equal([file.name for file in path.parent.iterdir()], [path.name], "files in the folder")
    api.gives(True, "snapshot_remove", "Snap-1_a.mfs")
    true(not path.exists(), "a removed snapshot is there")
    api.gives(False, "snapshot_remove", "Snap-1_a.mfs")


@everywhere
def test_a_snapshot_is_read_in_pieces(api):
    api.call("flush")
    for i in range(5):
        api.call("set", api.key(str(i)), os.urandom(600_000))
    made = api.call("snapshot", "pieces")
    path = pathlib.Path(made["path"])
    content = path.read_bytes()
    equal(len(content), made["bytes"], "bytes")
    read = b""
    while True:
        piece = api.call("snapshot_read", "pieces", len(read))
        equal((set(piece), piece["size"]), ({"size", "data"}, len(content)), "what a piece says")
        if not piece["data"]:
            break
        true(len(piece["data"]) <= 2**20, f"a piece of {len(piece['data'])} bytes")
        read += piece["data"]
    equal(read, content, "the pieces together")
    equal(api.error("snapshot_read", "pieces", len(content) + 1).code, "BAD_REQUEST", "past the end")
    secret = path.parent / "link"
    secret.symlink_to("/etc/hostname")
    true(api.error("snapshot_read", "link", 0) is not None, "a link was followed")
    secret.unlink()
    (path.parent / "folder").mkdir()
    equal(api.error("snapshot_read", "folder", 0).code, "BAD_REQUEST", "a folder")
    (path.parent / "folder").rmdir()
    api.gives(True, "snapshot_remove", "pieces")
