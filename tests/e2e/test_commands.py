"""The commands that build on what is there: counters, appends, reads that change, conditions, txns
and scans, each with every option, refusal and boundary. Through a single node and through each node
of a cluster of three."""

import threading
import time

from mayfly_test.api import Api, everywhere, on
from mayfly_test.check import between, equal, true
from mayfly_test.client import RpcError
from mayfly_test.cluster import key_in_slots
from mayfly_test.context import limit
from mayfly_test.wait import wait_for

INT_MAX, INT_MIN = 2**63 - 1, -2**63
UINT_MAX = 2**64 - 1
TTL_MAX = 2**53 - 1
MAX_KEY = 64 * 1024
MAX_VALUE = 64 * 2**20
HOUR_MS = 3_600_000
FAR_FUTURE_MS = 4_000_000_000_000  # the year 2096


def version_of(api, key):
    entry = api.call("get", key, {"meta": True})
    return entry["version"] if entry else 0


# Counters.


@everywhere
def test_incr(api):
    key = api.key()
    api.gives(5, "incr", key, 5)
    api.gives(-2, "incr", key, -7, {})
    api.gives(-2, "incr", key, 0)
    api.gives(b"-2", "get", key)
    api.written("set", key, "0")
    api.gives(1, "incr", key, 1)
    for start, delta, after in [(INT_MAX - 1, 1, INT_MAX), (INT_MIN + 1, -1, INT_MIN),
                                (INT_MIN, INT_MAX, -1), (INT_MAX, INT_MIN, -1), (-5, 5, 0)]:
        api.written("set", key, str(start))
        api.gives(after, "incr", key, delta)
        api.gives(str(after).encode(), "get", key)
    api.gives(1, "del", [key])
    api.gives(INT_MIN, "incr", key, INT_MIN)


@everywhere
def test_incr_of_what_is_no_integer(api):
    key = api.key()
    for value in ["", "-", "-0", "+1", "01", "-01", " 1", "1 ", "1.0", "1e3", "0x1", "one",
                  str(INT_MAX + 1), str(INT_MIN - 1), "9" * 30, b"1\0", b"\xff"]:
        version = api.written("set", key, value, {"ttl": HOUR_MS})
        api.refused("NOT_INTEGER", "incr", key, 1)
        meta = api.call("get", key, {"meta": True})
        equal((meta["value"], meta["version"]),
              (value if isinstance(value, bytes) else value.encode(), version), f"{value!r} after")


@everywhere
def test_incr_past_64_bits(api):
    key = api.key()
    for value, delta in [(INT_MAX, 1), (INT_MAX, INT_MAX), (INT_MIN, -1), (INT_MIN, INT_MIN),
                         (-2, INT_MIN)]:
        version = api.written("set", key, str(value))
        api.refused("OVERFLOW", "incr", key, delta)
        equal(version_of(api, key), version, "the version after")
        api.gives(str(value).encode(), "get", key)


@everywhere
def test_incr_gives_a_ttl_only_to_a_key_that_it_makes(api):
    key = api.key()
    api.gives(1, "incr", key, 1, {"ttl": HOUR_MS})
    between(HOUR_MS - 60_000, api.call("ttl", key), HOUR_MS, "ttl of the new key")
    api.gives(2, "incr", key, 1, {"ttl": 2 * HOUR_MS})
    between(HOUR_MS - 60_000, api.call("ttl", key), HOUR_MS, "ttl that was there")
    api.gives(3, "incr", key, 1)
    between(HOUR_MS - 60_000, api.call("ttl", key), HOUR_MS, "ttl after one without")
    api.gives(True, "persist", key)
    api.gives(4, "incr", key, 1, {"ttl": 1})
    api.gives(-1, "ttl", key)


@everywhere
def test_counters_of_many_clients_lose_nothing(api):
    key = api.key()
    errors = []

    def count(node):
        try:
            with node.connect() as connection:
                for answer in connection.pipeline([("incr", key, 1)] * 200):
                    if isinstance(answer, RpcError):
                        raise answer
        except (RpcError, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=count, args=(node,)) for node in api.cluster.nodes * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(errors, [], "errors")
    api.gives(str(200 * len(threads)).encode(), "get", key)


# Appends.


@everywhere
def test_append(api):
    key = api.key()
    api.gives(0, "append", key, "")
    api.gives(b"", "get", key)
    api.gives(3, "append", key, b"abc")
    api.gives(5, "append", key, "\xff", {})
    api.gives("abc\xff".encode(), "get", key)
    api.written("set", key, "a", {"ttl": HOUR_MS})
    api.gives(2, "append", key, "b")
    between(HOUR_MS - 60_000, api.call("ttl", key), HOUR_MS, "a kept ttl")
    versions = [version_of(api, key)]
    api.gives(2, "append", key, "")
    versions.append(version_of(api, key))
    equal(versions, sorted(versions), "versions")
    api.written("set", key, "1")
    api.gives(2, "append", key, "0")
    api.gives(11, "incr", key, 1)


@on(1)
def test_append_up_to_the_largest_value(api):
    key = api.key()
    api.written("set", key, b"v" * (MAX_VALUE - 2))
    version = version_of(api, key)
    api.refused("TOO_LARGE", "append", key, b"abc")
    equal(version_of(api, key), version, "the version after")
    api.gives(MAX_VALUE, "append", key, b"ab")
    api.refused("TOO_LARGE", "append", key, b"c")
    api.gives(MAX_VALUE, "append", key, b"")
    api.refused("TOO_LARGE", "append", api.key("other"), b"v" * (MAX_VALUE + 1))
    api.gives([True, False], "has", [key, api.key("other")])
    api.gives(1, "del", [key])


def test_the_limit_of_the_node_that_takes_a_request_counts_on_every_replica(t):
    """Nodes with different limits, which decide what becomes of an append: their states must not
    part over it."""
    def narrow(node):
        node.settings["limits.max_value"] = "100" if node.id == 1 else "1kb"

    def refused(*request):
        try:
            cluster.node(1).call(*request)
        except RpcError as error:
            equal(error.code, "TOO_LARGE", f"error of {request!r:.200}")
            return
        raise AssertionError(f"node 1 let a value grow over its limit: {request!r:.200}")

    cluster = t.cluster(3, start=False, overrides=t.patience)
    cluster.start_with(narrow)
    cluster.wait_settled()
    for key in [b"limit:%d" % i for i in range(30)]:
        for node in cluster.nodes:
            true(node.call("append", key, b"x" * 40) <= 120, "a length")
        refused("append", key, b"x" * 40)
        refused("txn", {"if": [], "then": [["set", key, b""], ["append", key, b"y" * 200]]})
        refused("txn", {"if": [], "then": [["set", key, b""], ["append", key, b"y" * 60],
                                           ["append", key, b"y" * 60]]})
        equal(cluster.node(2).call("append", key, b"x" * 40), 160, "the length by another node")
    cluster.wait_equal()


# Reads that change.


@everywhere
def test_getdel(api):
    key = api.key()
    api.gives(None, "getdel", key)
    api.written("set", key, b"\xff\0")
    api.gives(b"\xff\0", "getdel", key, {})
    api.gives(None, "getdel", key)
    api.gives([False], "has", [key])


@everywhere
def test_getex(api):
    key = api.key()
    for options in ([], [{}], [{"ttl": 5}], [{"persist": True}], [{"id": api.id()}]):
        api.gives(None, "getex", key, *options)
    api.written("set", key, "v")
    version = version_of(api, key)
    api.gives(b"v", "getex", key)
    api.gives(b"v", "getex", key, {"persist": False, "ttl": False})
    equal((api.call("ttl", key), version_of(api, key)), (-1, version), "ttl and version")
    api.gives(b"v", "getex", key, {"ttl": HOUR_MS})
    between(HOUR_MS - 60_000, api.call("ttl", key), HOUR_MS, "ttl")
    api.gives(b"v", "getex", key, {"id": api.id("keeps")})
    between(HOUR_MS - 60_000, api.call("ttl", key), HOUR_MS, "ttl after one with an id alone")
    api.gives(b"v", "getex", key, {"ttl": TTL_MAX})
    between(TTL_MAX - 60_000, api.call("ttl", key), TTL_MAX, "the longest ttl")
    api.gives(b"v", "getex", key, {"persist": True})
    api.gives(-1, "ttl", key)
    api.gives(b"v", "getex", key, {"ttl": 1})
    wait_for(lambda: api.call("get", key) is None, 10, "the key to die")


# Txns.


@everywhere
def test_txn_conditions(api):
    there, absent = api.key("{c}there"), api.key("{c}absent")
    version = api.written("set", there, b"m\x80")
    cases = [  # what, then (comparison, operand, holds for there, holds for absent)
        ("version", "=", version, True, False), ("version", "=", version + 1, False, False),
        ("version", "=", 0, False, True), ("version", "!=", version, False, True),
        ("version", "!=", 0, True, False), ("version", "<", version, False, True),
        ("version", "<", version + 1, True, True), ("version", ">", version - 1, True, False),
        ("version", ">", version, False, False), ("version", "<", UINT_MAX, True, True),
        ("version", "<", 0, False, False),
        ("value", "=", b"m\x80", True, False), ("value", "=", b"m", False, False),
        ("value", "=", "", False, False), ("value", "!=", b"m\x80", False, True),
        ("value", "!=", b"", True, True), ("value", "<", b"m\x81", True, False),
        ("value", "<", b"m\x80", False, False), ("value", "<", b"m\x80\0", True, False),
        ("value", ">", b"m\x7f", True, False), ("value", ">", b"m", True, False),
        ("value", ">", b"", True, False), ("value", ">", b"m\x80", False, False),
        ("exists", "=", True, True, False), ("exists", "=", False, False, True),
        ("exists", "!=", True, False, True), ("exists", "!=", False, True, False),
    ]
    for what, comparison, operand, *expected in cases:
        for key, holds in zip((there, absent), expected):
            for then in ([], [["append", api.key("{c}log"), "x"]]):  # as a read, and as a write
                result = api.call("txn", {"if": [[key, what, comparison, operand]], "then": then})
                equal(result["ok"], holds, f"{what} {comparison} {operand!r} of {key!r}")
                equal(len(result["results"]), len(then) if holds else 0, "results")
    api.gives({"ok": False, "results": [1]}, "txn",
              {"if": [[there, "exists", "=", True], [absent, "exists", "=", True]], "then": [],
               "else": [["del", [there]]]})


@everywhere
def test_txn_carries_out_every_method(api):
    keys = {name: api.key("{t}" + name) for name in "abcdef"}
    a, b, c, d, e, f = keys.values()
    result = api.call("txn", {"if": [], "then": [
        ["set", a, "1"], ["set", a, "2", {"nx": True}], ["set", a, "3", {"get": True}],
        ["incr", a, 4], ["append", a, "0"], ["get", a], ["mset", [[b, "b"], [c, "c"], [b, "bb"]]],
        ["mget", [a, b, c, d]], ["has", [a, d]], ["expire", b, HOUR_MS], ["ttl", a], ["ttl", d],
        ["persist", b], ["persist", b], ["getex", c, {"ttl": HOUR_MS}], ["getex", c],
        ["getdel", c], ["getdel", c], ["del", [a, b, d]], ["incr", e, 1, {"ttl": HOUR_MS}],
        ["get", e, {"meta": True}], ["set", f, "old", {"expire_at": 1}], ["get", f],
        ["set", f, "new", {"expire_at": FAR_FUTURE_MS}]]})
    true(result["ok"], f"{result!r}")
    results = result["results"]
    versions = [results[0]["version"], results[2]["version"]]
    between(HOUR_MS - 1000, results[20].pop("ttl"), HOUR_MS, "ttl in a txn")
    true(results[20].pop("version") > versions[1] > versions[0] > 0, "versions grow")
    true(results[21].pop("version") < results[23].pop("version"), "versions grow to the end")
    equal(results, [
        {"version": versions[0]}, None, {"version": versions[1], "old": b"1"},
        7, 2, b"70", 3, [b"70", b"bb", b"c", None], [True, False], True, -1, -2, True, False,
        b"c", b"c", b"c", None, 2, 1, {"value": b"1"}, {}, None, {}], "results")
    api.gives([None, None, None, None, b"1", b"new"], "mget", list(keys.values()))
    true(api.call("ttl", f) > HOUR_MS, "a deadline that is far away")


@everywhere
def test_txn_chooses_a_branch(api):
    lock = api.key("lock")
    take = {"if": [[lock, "exists", "=", False]], "then": [["set", lock, "me", {"ttl": HOUR_MS}]],
            "else": [["get", lock], ["ttl", lock]]}
    taken = api.call("txn", take)
    true(taken["ok"] and taken["results"][0]["version"] > 0, f"{taken!r}")
    again = api.call("txn", take, {})
    equal((again["ok"], again["results"][0]), (False, b"me"), "the other branch")
    version = version_of(api, lock)
    give = {"then": [["del", [lock], {"if_version": version}]],
            "if": [[lock, "version", "=", version]]}
    api.gives({"ok": True, "results": [1]}, "txn", give)
    api.gives({"ok": False, "results": []}, "txn", give)
    api.gives({"ok": True, "results": []}, "txn", {"if": [], "then": [], "else": []})


@everywhere
def test_txn_that_fails_has_no_effect(api):
    text, most, big, other, ttl = (api.key("{f}" + name) for name in
                                   ("text", "most", "big", "other", "ttl"))
    api.written("set", text, "x")
    api.written("set", most, str(INT_MAX))
    api.written("set", big, b"v" * 2**20)
    api.written("set", other, "o")
    api.written("set", ttl, "t", {"ttl": HOUR_MS})
    keys = [text, most, big, other, ttl]
    before = [api.call("get", key, {"meta": True}) for key in keys]
    change = [["set", other, "changed"], ["getdel", ttl], ["set", api.key("{f}new"), "n"],
              ["expire", big, HOUR_MS], ["persist", ttl], ["incr", api.key("{f}count"), 1]]
    grow = [["append", big, b"v" * 2**10]] * 80  # too much copying
    for last, code in [([["incr", text, 1]], "NOT_INTEGER"), ([["incr", most, 1]], "OVERFLOW"),
                       (grow, "TOO_LARGE")]:
        for spec in ({"if": [], "then": change + last + change},
                     {"if": [[text, "exists", "=", False]], "then": [], "else": change + last}):
            api.refused(code, "txn", spec)
            for key, was in zip(keys, before):
                now = api.call("get", key, {"meta": True})
                equal((now["value"] == was["value"], now["version"]), (True, was["version"]),
                      f"{key!r} after {code}")
                if was["ttl"] < 0:
                    equal(now["ttl"], -1, f"ttl of {key!r} after {code}")
            api.gives([False, False], "has", [api.key("{f}new"), api.key("{f}count")])
            between(HOUR_MS - 60_000, api.call("ttl", ttl), HOUR_MS, f"ttl after {code}")


@everywhere
def test_txn_keys_must_be_in_one_shard(api):
    here = key_in_slots(api.key("here"), 0, 1023)
    there = key_in_slots(api.key("there"), 1024, 2047)
    near = key_in_slots(api.key("near"), 0, 1023)
    api.gives({"ok": True, "results": [2]}, "txn",
              {"if": [], "then": [["mset", [[here, "1"], [near, "2"]]]]})
    one = ["get", here]
    for spec in [{"if": [[there, "exists", "=", True]], "then": [one]},
                 {"if": [], "then": [one, ["get", there]]},
                 {"if": [], "then": [one], "else": [["get", there]]},
                 {"if": [], "then": [["mget", [here, there]]]},
                 {"if": [], "then": [["set", here, "x"], ["mset", [[here, "x"], [there, "x"]]]]},
                 {"if": [[here, "exists", "=", True], [there, "exists", "=", True]], "then": []}]:
        api.refused("CROSS_SHARD", "txn", spec)
        api.refused("CROSS_SHARD", "txn", spec, {"id": api.id()})
    api.gives({"ok": True, "results": [b"1"]}, "txn", {"if": [], "then": [one]}, {"id": api.id()})
    api.gives(b"1", "get", here)


@on(1)
def test_txn_answers_that_are_too_large_have_no_effect(api):
    key, other = api.key("{l}key"), api.key("{l}other")
    api.written("set", key, b"v" * (16 * 2**20))
    for reads in ([["get", key]] * 5, [["mget", [key] * 5]]):
        api.refused("TOO_LARGE", "txn", {"if": [], "then": [["set", other, "x"]] + reads})
        api.refused("TOO_LARGE", "txn", {"if": [], "then": reads})
    api.gives(None, "get", other)
    api.gives(1, "del", [key])


# Ids.


@everywhere
def test_ids_repeat_the_first_result_of_every_command(api):
    key, text = api.key("{i}key"), api.key("{i}text")
    api.written("set", text, "x")
    cases = [("incr", key, 5), ("append", key, "0"), ("getex", key, {"ttl": HOUR_MS}),
             ("getex", key), ("getdel", key), ("getdel", key),
             ("txn", {"if": [[key, "exists", "=", False]], "then": [["incr", key, 1]]}),
             ("txn", {"if": [], "then": [["get", key]]})]
    for number, (method, *params) in enumerate(cases):
        options = params.pop() if isinstance(params[-1], dict) and method != "txn" else {}
        options = {**options, "id": api.id(str(number))}
        first = api.call(method, *params, options)
        for node in api.other_nodes():
            other = Api(api.t, api.cluster, node)
            for _ in range(2):
                other.gives(first, method, *params, options)
            other.connection.close()
    api.gives(b"1", "get", key)
    for number, (spec, code, mend) in enumerate([
            (("incr", text, 1), "NOT_INTEGER", ("set", text, str(INT_MAX))),
            (("incr", text, 1), "OVERFLOW", ("set", text, "1")),
            (("txn", {"if": [], "then": [["append", text, "x"], ["incr", text, 1]]}),
             "NOT_INTEGER", ("set", text, "1"))]):
        options = {"id": api.id(f"refused {number}")}
        api.refused(code, *spec, options)
        api.written(*mend)
        value = api.call("get", text)
        api.refused(code, *spec, options)
        api.gives(value, "get", text)


@everywhere
def test_an_id_of_another_command_holds_back_the_part_of_its_shard_only(api):
    keys = [api.key("{%s}" % tag) for tag in ("a", "b", "c", "d", "e", "f")]
    api.written("set", keys[0], "1", {"id": api.id()})
    api.gives(6, "mset", [[key, "2"] for key in keys])
    there = api.call("del", keys, {"id": api.id()})
    left = api.call("has", keys)
    equal(there, 6 - sum(left), "deleted")
    true(left[0], "the key in the shard that knows the id is there")


@on(1)
def test_ids_do_not_remember_what_was_too_large(api):
    key = api.key()
    api.written("set", key, b"v" * (MAX_VALUE - 1))
    options = {"id": api.id()}
    api.refused("TOO_LARGE", "append", key, "ab", options)
    api.written("set", key, "v")
    api.gives(3, "append", key, "ab", options)
    api.gives(3, "append", key, "ab", options)
    api.gives(b"vab", "get", key)


class Worker(threading.Thread):
    """Sends requests one after the other, each until it is answered, to whichever node answers. An
    event among them is waited for."""

    def __init__(self, cluster, requests):
        super().__init__()
        self.cluster = cluster
        self.requests = requests
        self.done = 0
        self.trouble = None

    def run(self):
        try:
            for request in self.requests:
                if isinstance(request, threading.Event):
                    true(request.wait(60), "the event did not come")
                else:
                    self.until_answered(request)
                self.done += 1
        except BaseException as error:  # of any kind: the test must hear of it
            self.trouble = error

    def until_answered(self, request):
        deadline = time.monotonic() + 60
        turn = self.done
        while time.monotonic() < deadline:
            node = self.cluster.nodes[turn % len(self.cluster.nodes)]
            turn += 1
            try:
                return node.call(*request, timeout=7)
            except RpcError as error:
                if error.code not in ("NO_QUORUM", "TIMEOUT", "BUSY", "SHUTTING_DOWN"):
                    raise
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"no answer to {request!r}")


def test_counts_and_transfers_add_up_though_leaders_are_killed(t):
    """Requests with ids, sent again and again to nodes that die: each has its effect once, and what
    a txn does to two keys is never seen, or left, by halves."""
    cluster = t.cluster(3)
    one, other, count = b"{bank}one", b"{bank}other", b"{bank}count"
    cluster.node(1).call("mset", [[one, "1000"], [other, "1000"]])
    move = {"if": [[one, "exists", "=", True]], "then": [["incr", one, -1], ["incr", other, 1]]}
    rounds = 30 if t.quick or t.sanitized else 120
    killed = [threading.Event(), threading.Event()]

    def requests(worker):
        for i in range(rounds):
            if i in (rounds // 3, 2 * rounds // 3):  # there is work left for after each kill
                yield killed[i * 3 // rounds - 1]
            yield ("incr", count, 1, {"id": b"count %d %d" % (worker, i)})
            yield ("txn", move, {"id": b"move %d %d" % (worker, i)})

    workers = [Worker(cluster, list(requests(worker))) for worker in range(4)]
    for worker in workers:
        worker.start()
    sums, kills = set(), 0
    while any(worker.is_alive() for worker in workers):
        done = sum(worker.done for worker in workers)
        if kills < 2 and done > (kills + 1) * rounds * 2:
            victim = cluster.leader_of(one)
            victim.kill9()
            killed[kills].set()
            kills += 1
            cluster.wait_settled()
            victim.restart()
        try:
            both = cluster.nodes[kills % 3].call("mget", [one, other], timeout=7)
            sums.add(sum(int(value) for value in both))
        except (RpcError, OSError):
            pass
    for worker in workers:
        worker.join()
        true(worker.trouble is None, f"a worker: {worker.trouble!r}")
    equal(kills, 2, "leaders killed")
    equal(sums, {2000}, "sums of the two while it went on")
    total = 4 * rounds
    cluster.wait_settled()
    equal(cluster.node(1).call("mget", [one, other, count]),
          [b"%d" % (1000 - total), b"%d" % (1000 + total), b"%d" % total], "what came out")
    cluster.wait_equal()


# Scans.


def scan_all(api, options=None, calls_max=100_000):
    """All keys that a scan returns, in the order they came, and the number of calls."""
    keys, cursor, calls = [], 0, 0
    while True:
        cursor, found = api.call("scan", cursor, *([options] if options is not None else []))
        true(type(cursor) is int and 0 <= cursor < 2**64, f"cursor {cursor!r}")
        keys += found
        calls += 1
        true(calls < calls_max, "the scan does not end")
        if cursor == 0:
            return keys, calls


@everywhere
def test_scan(api):
    api.call("flush")
    equal(scan_all(api), ([], 1), "a scan of nothing")
    wanted = {api.key(str(i)) for i in range(500)}
    api.gives(500, "mset", [[key, "v"] for key in wanted], {"id": api.id()})
    for options in (None, {}, {"count": 1}, {"count": 7}, {"count": 1000}, {"count": 2**63},
                    {"match": "*"}, {"match": b"*", "count": False}, {"match": False}):
        keys, _ = scan_all(api, options)
        equal(sorted(keys), sorted(wanted), f"keys of a scan with {options}")
    few = scan_all(api, {"count": 1})[1]
    many = scan_all(api, {"count": 100})[1]
    true(many < few / 4, f"{few} calls with a count of 1, {many} with 100")
    most = max(len(api.call("scan", 0, {"count": 1})[1]), 1)
    true(most <= 40, f"a count of 1 gave {most} keys")


@everywhere
def test_scan_matches_as_redis_does(api):
    prefix = api.t.name + ":" + api.label + ":"
    names = [b"user:1", b"user:22", b"users", b"", b"a*c", b"abc", b"a[c", b"b\xff"]
    for name in names:
        api.written("set", prefix.encode() + name, "v")
    for pattern, expected in [
            (b"user:*", [b"user:1", b"user:22"]), (b"user:?", [b"user:1"]),
            (b"user*", [b"user:1", b"user:22", b"users"]), (b"", [b""]),
            (b"a?c", [b"a*c", b"abc", b"a[c"]), (b"a\\*c", [b"a*c"]), (b"a[b]c", [b"abc"]),
            (b"a[^b]c", [b"a*c", b"a[c"]), (b"a[a-c]c", [b"abc"]), (b"a\\[c", [b"a[c"]),
            (b"b\xff", [b"b\xff"]), (b"nothing", []), (b"user:[12]*", [b"user:1", b"user:22"])]:
        keys, _ = scan_all(api, {"match": prefix.encode() + pattern})
        equal(sorted(keys), sorted(prefix.encode() + name for name in expected), f"{pattern!r}")
    slow = "*a" * 500 + "b"  # which a matcher that goes back would never be done with
    api.written("set", prefix.encode() + b"a" * 5000, "v")
    equal(scan_all(api, {"match": slow})[0], [], "keys that match a hostile pattern")
    equal(len(scan_all(api, {"match": prefix + "*a" * 400})[0]), 1, "keys that match another")


@everywhere
def test_scan_does_not_return_the_dead(api):
    api.call("flush")
    api.gives(100, "mset", [[api.key(f"dies{i}"), "v"] for i in range(100)], {"ttl": 1})
    api.gives(10, "mset", [[api.key(f"lives{i}"), "v"] for i in range(10)])
    wait_for(lambda: api.call("mget", [api.key(f"dies{i}") for i in range(100)]) == [None] * 100, 10,
             "the keys to die")
    keys, _ = scan_all(api, {"count": 1000})
    equal(sorted(keys), sorted(api.key(f"lives{i}") for i in range(10)), "keys")


@limit(300)
@everywhere
def test_scan_goes_on_at_any_node_while_keys_come_and_go(api):
    api.call("flush")
    stay = {api.key(f"stay{i}") for i in range(400)}
    others = [api.key(f"other{i}") for i in range(4000)]
    api.gives(400, "mset", [[key, "v"] for key in stay])
    seen, cursor, turn = [], 0, 0
    connections = [node.connect() for node in api.cluster.nodes]
    while True:
        cursor, keys = connections[turn % len(connections)].call("scan", cursor, {"count": 5})
        seen += keys
        part = others[turn * 97 % 4000:][:300]
        if turn // 15 % 2 == 0:
            api.call("mset", [[key, "v"] for key in part])
        else:
            api.call("del", part)
        turn += 1
        true(turn < 2000, "the scan does not end")
        if cursor == 0:
            break
    for connection in connections:
        connection.close()
    equal(stay - set(seen), set(), "keys that were there throughout and not returned")
    equal(len([key for key in seen if key in stay]), len(stay), "times that these came")
    api.call("flush")


def test_scan_survives_changes_of_leader(t):
    cluster = t.cluster(3)
    connection = cluster.node(1).connect()
    keys = {b"key:%d" % i for i in range(3000)}
    connection.call("mset", [[key, "v"] for key in keys])
    seen, cursor, calls = [], 0, 0
    while True:
        cursor, found = connection.call("scan", cursor, {"count": 20}, timeout=30)
        seen += found
        calls += 1
        true(calls < 3000, "the scan does not end")
        if cursor == 0:
            break
        if calls in (30, 80):  # a node is gone for a while, with all that it led
            node = cluster.node(2 if calls == 30 else 3)
            node.kill9()
            cluster.wait_settled()
            node.restart()
        elif calls % 7 == 0:
            shard = min(cursor >> 39, 15)
            leader = connection.call("cluster")["shards"][shard]["leader"]
            try:
                connection.call("transfer", shard, leader % 3 + 1, timeout=30)
            except RpcError as error:
                true(error.code == "NO_QUORUM", f"transfer: {error}")
    equal(keys - set(seen), set(), "keys that were not returned")
    equal(len(seen), len(keys), "keys returned")
    connection.close()


def test_scan_means_the_same_after_a_restart(t):
    cluster = t.cluster(1)
    node = cluster.node(1)
    keys = {b"key:%d" % i for i in range(1000)}
    node.call("mset", [[key, "v"] for key in keys])
    seen, cursor = [], 0
    for _ in range(20):
        cursor, found = node.call("scan", cursor, {"count": 20})
        seen += found
    node.terminate()
    node.restart()
    cluster.wait_settled()
    while cursor != 0:
        cursor, found = node.call("scan", cursor, {"count": 20})
        seen += found
    equal(sorted(seen), sorted(keys), "keys over a restart")


# Refusals.

T = {"if": [], "then": []}
C = ["k", "exists", "=", True]
BAD_REQUESTS = [
    ("incr",), ("incr", "k"), ("incr", "", 1), ("incr", 5, 1), ("incr", "k", "1"),
    ("incr", "k", 1.0), ("incr", "k", None), ("incr", "k", True), ("incr", "k", INT_MAX + 1),
    ("incr", "k", UINT_MAX), ("incr", "k", 1, 1), ("incr", "k", 1, {}, {}),
    ("incr", "k", 1, {"bogus": 1}), ("incr", "k", 1, {"ttl": 0}), ("incr", "k", 1, {"ttl": -1}),
    ("incr", "k", 1, {"ttl": TTL_MAX + 1}), ("incr", "k", 1, {"ttl": "5"}),
    ("incr", "k", 1, {"nx": True}), ("incr", "k", 1, {"id": b""}), ("incr", "k", 1, {"id": b"i" * 65}),
    ("append",), ("append", "k"), ("append", "", "v"), ("append", "k", 5), ("append", "k", None),
    ("append", "k", "v", "w"), ("append", "k", "v", {"ttl": 5}), ("append", "k", "v", {"id": 5}),
    ("getdel",), ("getdel", ""), ("getdel", 5), ("getdel", ["k"]), ("getdel", "k", "l"),
    ("getdel", "k", {"read": "local"}), ("getdel", "k", {"id": b"i" * 65}),
    ("getex",), ("getex", ""), ("getex", 5), ("getex", "k", 5), ("getex", "k", {"ttl": 0}),
    ("getex", "k", {"ttl": TTL_MAX + 1}), ("getex", "k", {"ttl": 5, "persist": True}),
    ("getex", "k", {"persist": 1}), ("getex", "k", {"keep_ttl": True}),
    ("getex", "k", {"expire_at": FAR_FUTURE_MS}), ("getex", "k", {"meta": True}),
    ("getex", "k", {"id": b""}),
    ("set", "k", "v", {"persist": True}), ("set", "k", "v", {"match": "*"}),
    ("scan",), ("scan", "0"), ("scan", None), ("scan", -1), ("scan", 0.0), ("scan", UINT_MAX),
    ("scan", 2**53), ("scan", 0, 0), ("scan", 0, {"count": 0}), ("scan", 0, {"count": -1}),
    ("scan", 0, {"count": "5"}), ("scan", 0, {"count": 5.0}), ("scan", 0, {"match": 5}),
    ("scan", 0, {"match": "x" * 1025}), ("scan", 0, {"bogus": 1}), ("scan", 0, {}, {}),
    ("scan", 0, {"read": "local"}),
    ("txn",), ("txn", []), ("txn", None), ("txn", "x"), ("txn", {}), ("txn", {"if": []}),
    ("txn", {"then": []}), ("txn", {"if": [], "then": None}), ("txn", {"if": {}, "then": []}),
    ("txn", {"if": False, "then": []}), ("txn", {**T, "else": None}), ("txn", {**T, "bogus": []}),
    ("txn", {**T, 5: []}), ("txn", T, {"ttl": 5}), ("txn", T, {"id": b""}), ("txn", T, {}, {}),
    ("txn", T, 5),
    ("txn", {"if": ["k"], "then": []}), ("txn", {"if": [[]], "then": []}),
    ("txn", {"if": [C[:3]], "then": []}), ("txn", {"if": [C + [1]], "then": []}),
    ("txn", {"if": [["", "exists", "=", True]], "then": []}),
    ("txn", {"if": [[5, "exists", "=", True]], "then": []}),
    ("txn", {"if": [["k", "bogus", "=", True]], "then": []}),
    ("txn", {"if": [["k", 5, "=", True]], "then": []}),
    ("txn", {"if": [["k", "exists", "==", True]], "then": []}),
    ("txn", {"if": [["k", "exists", "<", True]], "then": []}),
    ("txn", {"if": [["k", "exists", ">", True]], "then": []}),
    ("txn", {"if": [["k", "exists", "=", 1]], "then": []}),
    ("txn", {"if": [["k", "exists", "=", None]], "then": []}),
    ("txn", {"if": [["k", "version", "<=", 1]], "then": []}),
    ("txn", {"if": [["k", "version", "=", -1]], "then": []}),
    ("txn", {"if": [["k", "version", "=", "1"]], "then": []}),
    ("txn", {"if": [["k", "version", "=", 1.0]], "then": []}),
    ("txn", {"if": [["k", "value", "=", 1]], "then": []}),
    ("txn", {"if": [["k", "value", "=", None]], "then": []}),
    *(("txn", {"if": [], part: [method], **({} if part == "then" else {"then": []})})
      for part in ("then", "else")
      for method in [
          "get", [], [5], [b"get", "k"], ["get"], ["get", ""], ["get", "k", "l"],
          ["get", "k", {"bogus": 1}], ["get", "k", {"read": "x"}], ["set", "k"],
          ["set", "k", "v", {"id": "i"}], ["set", "k", "v", {"nx": True, "xx": True}],
          ["set", "k", "v", {"ttl": 0}], ["incr", "k", 1, {"id": "i"}], ["incr", "k", "1"],
          ["append", "k", "v", {"id": "i"}], ["getdel", "k", {"id": "i"}],
          ["getex", "k", {"id": "i"}], ["getex", "k", {"ttl": 1, "persist": True}],
          ["del", ["k"], {"id": "i"}], ["del", ["k", "k"], {"if_version": 1}],
          ["expire", "k", 5, {"id": "i"}], ["persist", "k", {"id": "i"}],
          ["mset", [["k", "v"]], {"id": "i"}], ["ping"], ["hello"], ["scan", 0], ["size"],
          ["flush"], ["txn", T], ["cluster"], ["stats"], ["snapshot", "s"], ["transfer", 0, 1],
          ["drain_node", 1]]),
]


@everywhere
def test_bad_requests_are_refused_before_any_effect(api):
    api.written("set", api.key("k"), "untouched")

    def own(value):
        """The same parameters with keys of this test."""
        if isinstance(value, list):
            return [own(element) for element in value]
        if isinstance(value, dict):
            return {name: own(element) for name, element in value.items()}
        return api.key("k") if isinstance(value, str) and value == "k" else value

    wrong = []
    for method, *params in BAD_REQUESTS:
        for given in ([method, *[own(value) for value in params]],):
            error = api.error(*given)
            if error is None or error.code != "BAD_REQUEST" or not error.message:
                wrong.append(f"{method} {params!r:.150}: {error or 'no error'}")
    true(not wrong, "not refused with BAD_REQUEST:\n" + "\n".join(f"  {line}" for line in wrong))
    api.gives(b"untouched", "get", api.key("k"))


@everywhere
def test_an_effect_before_a_bad_method_does_not_stay(api):
    key = api.key()
    for last, code in [(["get"], "BAD_REQUEST"), (["bogus"], "UNKNOWN_METHOD"),
                       (["GET", key], "UNKNOWN_METHOD"), (["watch", {}], "BAD_REQUEST"),
                       (["get", b"k" * (MAX_KEY + 1)], "TOO_LARGE"),
                       (["set", key, b"v" * (MAX_VALUE + 1)], "TOO_LARGE")]:
        api.refused(code, "txn", {"if": [], "then": [["set", key, "x"], last]})
        api.refused(code, "txn", {"if": [], "then": [["set", key, "x"]], "else": [last]})
    api.gives(None, "get", key)


@everywhere
def test_keys_and_operands_that_are_too_large(api):
    long = api.key("long").ljust(MAX_KEY + 1, b"k")
    for method, *params in [("incr", long, 1), ("append", long, "v"), ("getdel", long),
                            ("getex", long), ("getex", long, {"ttl": 5}),
                            ("txn", {"if": [[long, "exists", "=", True]], "then": []})]:
        api.refused("TOO_LARGE", method, *params)
    fits = long[:-1]
    api.gives(1, "incr", fits, 1)
    api.gives(2, "append", fits, "0")
    api.gives(b"10", "getex", fits, {"ttl": HOUR_MS})
    equal([key for key in scan_all(api, {"count": 100})[0] if len(key) == MAX_KEY], [fits], "keys")
    api.gives(b"10", "getdel", fits)


@everywhere
def test_an_expired_key_is_absent(api):
    keys = [api.key(f"{{e}}{i}") for i in range(7)]
    for key in keys:
        api.written("set", key, "5", {"ttl": 1})
    wait_for(lambda: api.call("mget", keys) == [None] * 7, 10, "the keys to expire")
    api.gives(1, "incr", keys[0], 1)
    api.gives(-1, "ttl", keys[0])
    api.gives(1, "append", keys[1], "x")
    api.gives(None, "getdel", keys[2])
    api.gives(None, "getex", keys[3], {"ttl": HOUR_MS})
    api.gives(None, "getex", keys[4], {"persist": True})
    api.gives({"ok": True, "results": [None]}, "txn",
              {"if": [[keys[5], "exists", "=", False], [keys[5], "version", "=", 0]],
               "then": [["get", keys[5]]]})
    api.gives({"ok": False, "results": [1]}, "txn",
              {"if": [[keys[6], "value", "=", "5"]], "then": [], "else": [["incr", keys[6], 1]]})


@everywhere
def test_a_ttl_set_by_getex_counts(api):
    key = api.key()
    api.written("set", key, "v", {"ttl": HOUR_MS})
    began = time.monotonic()
    api.gives(b"v", "getex", key, {"ttl": 300})
    wait_for(lambda: api.call("get", key) is None, 10, "the key to die")
    true(time.monotonic() - began >= 0.3, "it died before its time")
