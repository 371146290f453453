"""The wire itself: pipelines, msgids, notifications, bytes that are no request, limits, passwords."""

import msgpack

from mayfly_test.api import everywhere, on
from mayfly_test.check import equal, true
from mayfly_test.client import (MSGID_MAX, NOTIFICATION, REQUEST, RESPONSE, RpcError,
                                pack_notification, pack_request)
from mayfly_test.wait import wait_for


@everywhere
def test_responses_may_be_awaited_in_any_order(api):
    """A thousand requests of every kind at once, to all shards; each answer is that of its own."""
    ready = [[api.key(f"r{i}"), b"r%d" % i] for i in range(50)]
    api.call("mset", ready)
    requests, expected = [], []
    for i in range(1000):
        key, value = ready[i % 50]
        request, answer = [
            (("get", key), value),
            (("set", api.key(f"w{i}"), b"w"), "version"),
            (("mget", [key, api.key("none")]), [value, None]),
            (("bogus",), "UNKNOWN_METHOD"),
            (("has", [key]), [True]),
            (("get", ""), "BAD_REQUEST"),
            (("ttl", key), -1),
            (("del", [api.key(f"none{i}")]), 0),
            (("ping",), "pong"),
            (("set", key, b"x", {"nx": True}), None),
        ][api.t.rng.randrange(10)]
        requests.append(request)
        expected.append(answer)
    answers = api.connection.pipeline(requests, timeout=30)
    for request, answer, wanted in zip(requests, answers, expected):
        if isinstance(answer, RpcError):
            answer = answer.code
        elif wanted == "version":
            answer = "version" if answer["version"] > 0 else answer
        equal(answer, wanted, f"answer to {request!r:.200}")


@everywhere
def test_msgids_reach_from_0_to_the_largest_32_bit_number(api):
    for msgid in (0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**31, MSGID_MAX):
        api.connection.send_raw(pack_request(msgid, "ping", []))
        equal(api.connection.receive(), (msgid, None, "pong"), "the answer")
    api.connection.send_raw(pack_request(7, "ping", []) * 2)
    for _ in range(2):
        equal(api.connection.receive(), (7, None, "pong"), "the answer to an id used twice")


@everywhere
def test_notifications_are_carried_out_and_never_answered(api):
    key = api.key()
    api.connection.send_raw(
        pack_notification("set", [key, "v"]) + pack_notification("bogus", [])
        + pack_notification("get", [key]) + pack_notification("set", [key])
        + pack_notification("ping", []) + pack_request(99, "ping", []))
    equal(api.connection.receive(), (99, None, "pong"), "the only answer so far")
    with api.node.connect() as other:
        wait_for(lambda: other.call("get", key) == b"v", 10, "the notification's effect")
    api.connection.send_raw(pack_request(100, "ping", []))
    equal(api.connection.receive(), (100, None, "pong"), "the only answer after that")


NOT_REQUESTS = [  # bytes, and the msgid that an error response must come for, or None
    (b"\xc1", None),
    (msgpack.packb(5), None),
    (msgpack.packb("GET / HTTP/1.1"), None),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None),
    (b"*1\r\n$4\r\nPING\r\n", None),
    (msgpack.packb({}), None),
    (msgpack.packb([]), None),
    (msgpack.packb([REQUEST]), None),
    (msgpack.packb([REQUEST, 8]), 8),
    (msgpack.packb([REQUEST, 8, "ping"]), 8),
    (msgpack.packb([REQUEST, 8, "ping", [], []]), 8),
    (msgpack.packb([REQUEST, 8, 5, []]), 8),
    (msgpack.packb([REQUEST, 8, "ping", {}]), 8),
    (msgpack.packb([REQUEST, 8, "ping", None]), 8),
    (msgpack.packb([REQUEST, -1, "ping", []]), None),
    (msgpack.packb([REQUEST, MSGID_MAX + 1, "ping", []]), None),
    (msgpack.packb([REQUEST, "8", "ping", []]), None),
    (msgpack.packb([RESPONSE, 8, None, 1]), None),
    (msgpack.packb([3, 8, "ping", []]), None),
    (msgpack.packb([NOTIFICATION, 5, []]), None),
    (msgpack.packb([NOTIFICATION, "ping"]), None),
    (b"\x91" * 1000, None),
    (b"\x94\x00\x08\xa3get\x91" + b"\x91" * 500 + b"\x01", 8),
    (b"\xdd\xff\xff\xff\xff", None),
    (b"\xdf\xff\xff\xff\xff", None),
    (b"\xc6\xff\xff\xff\xff", None),
]


@on(1)
def test_what_is_no_request_closes_its_connection_and_no_other(api):
    for data, msgid in NOT_REQUESTS:
        with api.node.connect() as connection:
            connection.send_raw(data)
            what = f"the connection that sent {data!r:.60}"
            true(connection.closed_by_server(), f"{what} was not closed")
            answers = connection.kept()
            true(len(answers) <= 1, f"{what} got {len(answers)} answers")
            if msgid is not None:
                equal([answer[0] for answer in answers], [msgid], f"{what} got answers to")
                equal(answers[0][1].code, "BAD_REQUEST", f"{what} got the error")
        api.gives("pong", "ping")


@on(1)
def test_requests_before_a_fault_are_answered(api):
    with api.node.connect() as connection:
        connection.send_raw(pack_request(1, "ping", []) + pack_request(2, "ping", []) + b"\xc1")
        true(connection.closed_by_server(), "not closed")
        equal(connection.kept()[:2], [(1, None, "pong"), (2, None, "pong")], "answers")


@everywhere
def test_a_request_may_come_in_single_bytes(api):
    for byte in pack_request(5, "set", [api.key(), "slow", {"nx": True}]):
        api.connection.send_raw(bytes([byte]))
    msgid, error, _ = api.connection.receive()
    equal((msgid, error), (5, None), "answer")
    api.gives(b"slow", "get", api.key())


# Limits and passwords: nodes of their own.


def test_limits_are_those_of_the_configuration(t):
    node = t.cluster(1, overrides={"limits.max_key": 100, "limits.max_value": "10kb",
                                   "limits.max_request": "64kb"}).node(1)
    with node.connect() as connection:
        cases = [("set", [b"k" * 101, b"v"]), ("get", [b"k" * 101]),
                 ("set", [b"k", b"v" * 10_241]), ("mset", [[[b"a", b"v"], [b"k", b"v" * 10_241]]])]
        for method, params in cases:
            try:
                connection.call(method, *params)
                code = None
            except RpcError as error:
                code = error.code
            equal(code, "TOO_LARGE", f"error of {method} {params!r:.60}")
        equal(connection.call("mget", [b"a", b"k"]), [None, None], "effects")
        connection.call("set", b"k" * 100, b"v" * 10_240)
        equal(connection.call("get", b"k" * 100), b"v" * 10_240, "the largest of both")
    with node.connect() as connection:
        connection.send_raw(pack_request(7, "mget", [[b"k" * 90] * 1000]))
        true(connection.closed_by_server(), "not closed after a request over max_request")
        equal([(msgid, error.code) for msgid, error, _ in connection.kept()], [(7, "TOO_LARGE")],
              "the answer before")


def test_a_password_is_asked_for(t):
    cluster = t.cluster(1, overrides={"security.password": "ada:s3cret, bob:other"},
                        hello={"user": "ada", "password": "s3cret"})
    node = cluster.node(1)

    with node.connect(greet=False) as connection:
        equal(connection.code_of("ping"), None, "ping")
        for method, params in [("get", ["k"]), ("set", ["k", "v"]), ("size", []), ("cluster", []),
                               ("stats", []), ("snapshot", ["s"]), ("flush", []),
                               ("snapshot_read", ["s", 0]), ("snapshot_remove", ["s"])]:
            equal(connection.code_of(method, *params), "UNAUTHORIZED", method)
        for user, password in [("ada", "wrong"), ("ada", ""), ("eve", "s3cret"), ("", "")]:
            equal(connection.code_of("hello", {"user": user, "password": password}), "UNAUTHORIZED",
                  f"hello of {user!r} with {password!r}")
        equal(connection.code_of("get", "k"), "UNAUTHORIZED", "get after a wrong password")
        equal(connection.code_of("hello", {"user": "bob", "password": "other"}), None, "hello")
        equal(connection.code_of("set", "k", "v"), None, "set")
    with node.connect(greet=False) as connection:
        equal(connection.code_of("get", "k"), "UNAUTHORIZED", "get on another connection")
