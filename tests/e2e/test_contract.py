"""The reference as one table: each method, each of its parameters and options, what each of those
takes and refuses, and what the method returns. Every row is tried against every node of a cluster of
one and of three, and against one that leads nothing.

What is refused has to be refused with the code of the reference, by one answer, without any effect
and at the price of nothing else on its connection.
"""

import itertools
import struct

import msgpack

from mayfly_test.check import equal, true
from mayfly_test.client import RpcError
from mayfly_test.context import limit

MAX_KEY, MAX_VALUE, MAX_REQUEST = 100, 1000, 1_000_000
TTL_MAX = 2**53 - 1
INT_MAX, INT_MIN, UINT_MAX = 2**63 - 1, -2**63, 2**64 - 1
BAD, LARGE = "BAD_REQUEST", "TOO_LARGE"

SAMPLES = [None, True, False, 0, 1, -1, 1.0, "text", b"bytes", [], {}, ["text"], {"a": 1},
           msgpack.ExtType(5, b"ext"), msgpack.Timestamp(1, 2)]


class Kind:
    """What one parameter or option takes. `others`: samples of these types are its own business, of
    all other types are refused."""

    def __init__(self, good, bad, *others):
        self.good = good
        self.bad = [(value, code) for code, values in bad.items() for value in values]
        self.bad += [(value, BAD) for value in SAMPLES if type(value) not in others]


# Values of the kinds. A function is called with what makes its keys fresh.
def key(fresh):
    return b"{c}%s" % fresh


KEY = Kind([key, lambda fresh: key(fresh).decode(), lambda fresh: key(fresh).ljust(MAX_KEY, b"k"),
            lambda fresh: key(fresh) + bytes(range(32))],
           {BAD: ["", b""], LARGE: [b"k" * (MAX_KEY + 1), "k" * (MAX_KEY + 1)]}, str, bytes)
VALUE = Kind([b"", "", b"\x00\xff", "text", b"v" * MAX_VALUE, "v" * MAX_VALUE],
             {LARGE: [b"v" * (MAX_VALUE + 1), "v" * (MAX_VALUE + 1)]}, str, bytes)
KEYS = Kind([lambda fresh: [key(fresh)], [], lambda fresh: [key(fresh), key(fresh), b"other"],
             lambda fresh: [b"a", key(fresh).decode()]],
            {BAD: [[b""], [b"a", ""], [b"a", 1], [[b"a"]], [None]],
             LARGE: [[b"a", b"k" * (MAX_KEY + 1)]]}, list)
PAIRS = Kind([lambda fresh: [[key(fresh), b"1"]], [],
              lambda fresh: [[key(fresh), b"1"], [key(fresh), "2"], ["other", b""]],
              lambda fresh: [[key(fresh), b"v" * MAX_VALUE]]],
             {BAD: [[[b"", b"1"]], [[b"a"]], [[b"a", b"1", b"2"]], [[]], [b"a"], [[b"a", 1]],
                    [[b"a", None]], [{b"a": b"1"}]],
              LARGE: [[[b"a", b"v" * (MAX_VALUE + 1)]], [[b"k" * (MAX_KEY + 1), b""]]]}, list)
DELTA = Kind([0, 1, -1, 255, 65536, INT_MAX, INT_MIN], {BAD: [INT_MAX + 1, UINT_MAX]}, int)
TTL_PARAMETER = Kind([1, TTL_MAX, 0, -1, INT_MIN], {BAD: [TTL_MAX + 1, UINT_MAX]}, int)
TTL = Kind([1, 1000, TTL_MAX], {BAD: [0, -1, TTL_MAX + 1, INT_MIN, INT_MAX + 1, UINT_MAX, True]},
           int, bool)
EXPIRE_AT = Kind([1, 4_000_000_000_000, TTL_MAX], {BAD: [TTL_MAX + 1, UINT_MAX, True]}, int, bool)
FLAG = Kind([True, False], {}, bool)
VERSION = Kind([0, 1, INT_MAX, UINT_MAX], {BAD: [-1, INT_MIN, True]}, int, bool)
ID = Kind([lambda fresh: fresh, lambda fresh: fresh.decode(),
           lambda fresh: fresh.ljust(64, b"i"), lambda fresh: b"\x00" + fresh],
          {BAD: ["", b"", b"i" * 65, "i" * 65, True]}, str, bytes, bool)
READ = Kind(["linearizable", "local"], {BAD: ["", "Local", "stale", True]}, str, bool)
MATCH = Kind([b"", "*", b"[a-z]?\\*", b"m" * 1024], {BAD: [b"m" * 1025, True]}, str, bytes, bool)
COUNT = Kind([1, 10, 10_000], {BAD: [0, -1, INT_MIN, True]}, int, bool)
CURSOR = Kind([0, 1, 12345], {BAD: [-1, INT_MIN, UINT_MAX]}, int)
TEXT = Kind(["", "name"], {BAD: [True]}, str, bytes, bool)
SESSION = Kind([b"s" * 16], {BAD: [b"", b"s" * 15, b"s" * 17, True]}, str, bytes, bool)
WATCHED = Kind([b"x", "x"], {BAD: [b"", True], LARGE: [b"k" * (MAX_KEY + 1)]}, str, bytes, bool)
PREFIX = Kind([b"x", ""], {BAD: [True], LARGE: [b"k" * (MAX_KEY + 1)]}, str, bytes, bool)
EVENTS = Kind([["set"], ["set", "del", "expire", "evict"]],
              {BAD: [["SET"], [1], [""], ["lost"], True]}, list, bool)
FROM = Kind([0, UINT_MAX, {}, {0: 1}],
            {BAD: [-1, {"a": 1}, {0: -1}, {0: "1"}, {99: 1}, {-1: 1}, True]}, int, bool, dict)
WATCH_ID = Kind([1, 12345, 2**53], {BAD: [-1]}, int)
NAME = Kind(["s", "S-1.b_c", "n" * 64],
            {BAD: ["", ".s", "a/b", "..", "n" * 65, "\u00e4", "a b", "a\0"]}, str, bytes)
SHARD = Kind([], {BAD: [-1, 4, 2**32, UINT_MAX]}, int)
NODE = Kind([], {BAD: [-1, 0, 99, 65536, 2**32, UINT_MAX]}, int)
ADDRESS = Kind([], {BAD: ["", "x", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", ":1"]}, str, bytes)


def txn(**parts):
    return {"if": [], "then": [], **parts}


GET = ["get", b"{c}a"]
TXN = Kind(
    [txn(), txn(**{"else": []}), txn(then=[GET, ["set", b"{c}b", "1", {"nx": True}]]),
     txn(then=[["mget", [b"{c}a"]], ["mset", [[b"{c}b", b"1"]]], ["has", [b"{c}a"]]]),
     txn(**{"if": [[b"{c}a", "exists", "=", False], [b"{c}a", "version", "<", UINT_MAX],
                   [b"{c}a", "value", "!=", b"x"]], "then": [GET], "else": [GET]})],
    {BAD: [{}, {"if": []}, {"then": []}, txn(when=[]), txn(then={}), txn(then=[[]]),
           txn(then=["get"]), txn(then=[[1, b"a"]]), txn(then=[["get"]]),
           txn(then=[["get", b""]]), txn(then=[["get", b"a", b"b"]]),
           txn(then=[["set", b"a", b"1", {"id": b"i"}]]), txn(then=[["size"]]),
           txn(then=[["ping"]]), txn(then=[["scan", 0]]), txn(then=[["txn", txn()]]),
           txn(then=[["get", b"a", {"surprise": 1}]]), txn(then=[["set", b"a", b"1", {"ttl": 0}]]),
           txn(**{"else": [["set", b"a"]]}), txn(**{"if": [[b"a"]]}),
           txn(**{"if": [[b"a", "exists", "<", True]]}), txn(**{"if": [[b"a", "exists", "=", 1]]}),
           txn(**{"if": [[b"a", "size", "=", 1]]}), txn(**{"if": [[b"a", "version", "==", 1]]}),
           txn(**{"if": [[b"a", "version", "=", -1]]}),
           txn(**{"if": [[b"a", "value", "=", 1]]}), txn(**{"if": [[b"", "exists", "=", True]]})],
     "UNKNOWN_METHOD": [txn(then=[["gets", b"a"]])],
     "CROSS_SHARD": [txn(then=[["get", b"a"], ["get", b"c"]]),
                     txn(then=[["get", b"a"]], **{"else": [["get", b"c"]]}),
                     txn(**{"if": [[b"a", "exists", "=", True]], "then": [["get", b"c"]]})],
     LARGE: [txn(then=[["get", b"k" * (MAX_KEY + 1)]]),
             txn(then=[["set", b"a", b"v" * (MAX_VALUE + 1)]])]}, dict)


def is_map(*names):
    return lambda result: isinstance(result, dict) and set(result) == set(names)


def either(*checks):
    return lambda result: any(check(result) for check in checks)


def nil(result):
    return result is None


def boolean(result):
    return isinstance(result, bool)


def integer(result):
    return isinstance(result, int) and not isinstance(result, bool)


def data(result):
    return isinstance(result, bytes)


def listed(check):
    return lambda result: isinstance(result, list) and all(check(one) for one in result)


def scanned(result):
    return (isinstance(result, list) and len(result) == 2 and integer(result[0])
            and listed(data)(result[1]))


WRITTEN = either(nil, is_map("version"), is_map("version", "old"))
ENTRY = either(nil, data, is_map("value", "version", "ttl"))
TAGGED = {"id": ID}

# name: parameters, options, the check of a result, sets of options that contradict each other.
METHODS = {
    "ping": ([], {}, lambda result: result == "pong", []),
    "hello": ([], {"client": TEXT, "user": TEXT, "password": TEXT, "session": SESSION},
              is_map("server", "version", "node", "cluster", "shards"), []),
    "get": ([KEY], {"read": READ, "meta": FLAG}, ENTRY, []),
    "mget": ([KEYS], {"read": READ}, listed(either(nil, data)), []),
    "set": ([KEY, VALUE],
            {"ttl": TTL, "expire_at": EXPIRE_AT, "nx": FLAG, "xx": FLAG, "if_version": VERSION,
             "keep_ttl": FLAG, "get": FLAG, **TAGGED}, WRITTEN,
            [("nx", "xx"), ("ttl", "expire_at"), ("ttl", "keep_ttl"), ("expire_at", "keep_ttl")]),
    "mset": ([PAIRS], {"ttl": TTL, **TAGGED}, integer, []),
    "del": ([KEYS], {"if_version": VERSION, **TAGGED}, integer, []),
    "has": ([KEYS], {}, listed(boolean), []),
    "incr": ([KEY, DELTA], {"ttl": TTL, **TAGGED}, integer, []),
    "append": ([KEY, VALUE], TAGGED, integer, []),
    "getdel": ([KEY], TAGGED, either(nil, data), []),
    "getex": ([KEY], {"ttl": TTL, "persist": FLAG, **TAGGED}, either(nil, data),
              [("ttl", "persist")]),
    "expire": ([KEY, TTL_PARAMETER], {"nx": FLAG, "xx": FLAG, "gt": FLAG, "lt": FLAG, **TAGGED},
               boolean, [("nx", "xx"), ("nx", "gt"), ("nx", "lt"), ("gt", "lt")]),
    "persist": ([KEY], TAGGED, boolean, []),
    "ttl": ([KEY], {}, integer, []),
    "scan": ([CURSOR], {"match": MATCH, "count": COUNT}, scanned, []),
    "size": ([], {}, integer, []),
    "txn": ([TXN], TAGGED, is_map("ok", "results"), []),
    "unwatch": ([WATCH_ID], {}, boolean, []),
    "cluster": ([], {}, is_map("name", "node", "nodes", "shards"), []),
    "stats": ([], {}, lambda result: isinstance(result, dict), []),
    "hotkeys": ([], {"count": COUNT}, lambda result: isinstance(result, list), []),
    "flush": ([], TAGGED, integer, []),
}
# Of these only the refusals are tried here: what they do costs time, or the cluster.
REFUSALS_ONLY = {
    "watch": ([], {"key": WATCHED, "prefix": PREFIX, "events": EVENTS, "from_version": FROM,
                   "progress": FLAG},
              None, []),
    "snapshot": ([NAME], {}, None, []),
    "transfer": ([SHARD, NODE], {}, None, []),
    "drain_node": ([NODE], {}, None, []),
    "remove_node": ([NODE], {}, None, []),
    "add_node": ([NODE, ADDRESS], {}, None, []),
}


class Cases:
    """Requests of one way in, and what is expected of each."""

    def __init__(self, label):
        self.label = label
        self.count = 0
        self.accepted = []  # request, check
        self.refused = []  # request, code

    def fresh(self, value):
        """The value, with keys and ids that no other case has."""
        self.count += 1
        return value(b"%s:%d" % (self.label, self.count)) if callable(value) else value

    def parameters(self, kinds):
        """Something good for each of them."""
        return [self.fresh(kind.good[0]) if kind.good else 1 for kind in kinds]

    def accept(self, method, parameters, check):
        self.accepted.append(([method, *parameters], check))

    def refuse(self, method, parameters, code=BAD):
        self.refused.append(([method, *parameters], code))

    def add_accepted(self, method):
        kinds, options, check, contrary = METHODS[method]
        self.accept(method, self.parameters(kinds), check)
        self.accept(method, self.parameters(kinds) + [{}], check)
        for i, kind in enumerate(kinds):
            for value in kind.good:
                parameters = self.parameters(kinds)
                parameters[i] = self.fresh(value)
                self.accept(method, parameters, check)
        for name, kind in options.items():
            for value in kind.good:
                self.accept(method, self.parameters(kinds) + [{name: self.fresh(value)}], check)
            # What is given as false counts as absent, whatever its type.
            self.accept(method, self.parameters(kinds) + [{name: False}], check)
        for pair in itertools.combinations(options, 2):
            if pair in contrary or pair[::-1] in contrary:
                for absent in pair:
                    both = {name: self.fresh(options[name].good[0]) for name in pair}
                    both[absent] = False
                    self.accept(method, self.parameters(kinds) + [both], check)
            else:
                both = {name: self.fresh(options[name].good[0]) for name in pair}
                self.accept(method, self.parameters(kinds) + [both], check)

    def add_refused(self, method):
        kinds, options, _, contrary = {**METHODS, **REFUSALS_ONLY}[method]
        for i, kind in enumerate(kinds):
            for value, code in kind.bad:
                parameters = self.parameters(kinds)
                parameters[i] = value
                self.refuse(method, parameters, code)
            self.refuse(method, self.parameters(kinds)[:i])
            self.refuse(method, self.parameters(kinds)[:i] + [{}])
        for surplus in (None, 1, b"x", [], True):
            self.refuse(method, self.parameters(kinds) + [surplus])
            self.refuse(method, self.parameters(kinds) + [surplus, {}])
            self.refuse(method, self.parameters(kinds) + [{}, surplus])
        self.refuse(method, self.parameters(kinds) + [{}, {}])
        for name in ("surprise", "", "TTL", "Id", 1, None, b"\xff", True):
            self.refuse(method, self.parameters(kinds) + [{name: 1}])
            self.refuse(method, self.parameters(kinds) + [{name: False}])
        for name, kind in options.items():
            for value, code in kind.bad:
                if value is not False and not (value is True and kind is FLAG):
                    self.refuse(method, self.parameters(kinds) + [self.only(method, name, value)],
                                code)
        for pair in contrary:
            both = {name: self.fresh(options[name].good[0]) for name in pair}
            self.refuse(method, self.parameters(kinds) + [both])

    @staticmethod
    def only(method, name, value):
        """A map of that option, and what else it needs to be otherwise right."""
        if method == "watch" and name not in ("key", "prefix"):
            return {"key": b"x", name: value}
        return {name: value}

    def add_special(self):
        """What is said in words and not by kinds."""
        two = [b"{c}1", b"{c}2"]
        self.refuse("del", [two, {"if_version": 1}])
        self.refuse("del", [[], {"if_version": 1}])
        for options in ({}, {"key": b"a", "prefix": b"a"}, {"events": ["set"]},
                        {"prefix": b"a", "from_version": 1}, {"prefix": b"{a", "from_version": 1},
                        {"prefix": b"", "from_version": 0}):
            self.refuse("watch", [options])
        self.refuse("watch", [])
        for name in ("", "GET", "gett", "get ", "flushall", "\u00e4", "x" * 300):
            self.refuse(name, [b"a"], "UNKNOWN_METHOD")


def sets_up(connection, label):
    """Keys that refused requests could have changed; returns how to ask for their state."""
    for name, value, options in ((b"a", "10", {}), (b"{c}a", "v", {"ttl": TTL_MAX}),
                                 (b"{c}1", "1", {}), (b"{c}2", "2", {})):
        connection.call("set", name, value, options)
    connection.call("set", b"%s:kept" % label, "kept")
    names = [b"a", b"c", b"{c}a", b"{c}b", b"{c}1", b"{c}2", b"%s:kept" % label]

    def state():
        return [connection.call("get", name, {"meta": True}) for name in names], connection.call(
            "size")
    return state


def without_time(state):
    entries, size = state
    return [(entry and (entry["value"], entry["version"])) for entry in entries], size


def answers(connection, requests):
    for at in range(0, len(requests), 200):
        part = requests[at:at + 200]
        yield from zip(part, connection.pipeline([request for request, _ in part], timeout=60))


def repeated_option(name, value):
    """[0, 7, "set", ["a", "1", {name: value, name: value}]], which no dict can say."""
    packed = msgpack.packb(name) + msgpack.packb(value)
    return (b"\x94\x00\x07\xa3set\x93\xa1a\xa11\x82" + packed + packed)


def holds_to_the_table(t, node, label):
    cases = Cases(label)
    for method in {**METHODS, **REFUSALS_ONLY}:
        cases.add_refused(method)
    cases.add_special()
    with node.connect(timeout=60) as connection:
        state = sets_up(connection, label)
        before = without_time(state())
        for (request, code), answer in answers(connection, cases.refused):
            true(isinstance(answer, RpcError), f"{request!r:.300} was carried out: {answer!r:.100}")
            equal(answer.code, code, f"error of {request!r:.300} ({answer.message})")
            true(answer.message != "" and "\n" not in answer.message, f"words: {answer.message!r}")
            true(isinstance(answer.details, dict), f"details: {answer.details!r}")
        for name, value in (("ttl", 5), ("nx", True), ("nx", False), ("id", b"i")):
            connection.send_raw(repeated_option(name, value))
            _, error, _ = connection.receive()
            equal(error and error.code, BAD, f"error of a repeated {name}")
        equal(without_time(state()), before, "the state after what was refused")
        for method in METHODS:
            cases.add_accepted(method)
        for (request, check), answer in answers(connection, cases.accepted):
            true(not isinstance(answer, RpcError) and check(answer),
                 f"result of {request!r:.300}: {answer!r:.300}")
    t.note(f"{label.decode()}: {len(cases.refused)} refused, {len(cases.accepted)} carried out")


def with_limits(t, n):
    return {"n": n, "shards": 4, "overrides": {
        "limits.max_key": str(MAX_KEY), "limits.max_value": str(MAX_VALUE),
        "limits.max_request": str(MAX_REQUEST), **t.patience}}


@limit(300)
def test_every_method_option_and_boundary_holds_on_a_single_node(t):
    cluster = t.cluster(**with_limits(t, 1))
    holds_to_the_table(t, cluster.node(1), b"one")


@limit(600)
def test_every_method_option_and_boundary_holds_on_each_node_of_three(t):
    cluster = t.cluster(**with_limits(t, 3))
    for node in cluster.nodes:
        holds_to_the_table(t, node, b"node %d of three" % node.id)


@limit(300)
def test_every_method_option_and_boundary_holds_on_a_node_that_leads_nothing(t):
    cluster = t.cluster(**with_limits(t, 3))
    equal(cluster.node(2).call("drain_node", 1, timeout=60), True, "drain")
    holds_to_the_table(t, cluster.node(1), b"drained")
    leaders = {shard["leader"] for shard in cluster.node(2).call("cluster")["shards"]}
    true(1 not in leaders, f"leaders: {leaders}")


@limit(120)
def test_a_request_at_and_over_the_largest_size(t):
    """The frame of a request counts: one byte more than max_request is refused and closes."""
    cluster = t.cluster(**with_limits(t, 1))
    frame = b"\x94\x00\x07\xa4mget\x91"
    fill = MAX_REQUEST - len(frame) - 5

    def request(size):
        keys = [b"k"] * (size // 3)  # 3 bytes each as bin
        keys += [b"kk" if size % 3 == 1 else b"kkk"] if size % 3 else []
        body = frame + b"\xdd" + struct.pack(">I", len(keys)) + b"".join(
            msgpack.packb(key, use_bin_type=True) for key in keys)
        return body

    with cluster.node(1).connect(timeout=60) as connection:
        exact = request(fill // 3 * 3)
        true(MAX_REQUEST - 3 <= len(exact) <= MAX_REQUEST, f"{len(exact)} bytes")
        connection.send_raw(exact)
        _, error, result = connection.receive()
        equal((error, len(result or [])), (None, fill // 3), "the largest request")
        connection.send_raw(request(fill // 3 * 3 + 6))
        _, error, _ = connection.receive()
        equal(error and error.code, LARGE, "error of one that is larger")
        true(connection.closed_by_server(), "the connection is closed")
    equal(cluster.node(1).call("ping"), "pong", "another connection")
