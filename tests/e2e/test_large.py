"""Answers that are too large."""

from mayfly_test.check import equal
from mayfly_test.client import RpcError
from mayfly_test.cluster import key_in_slots

VALUE_BYTES = 60 << 20
REPEATS = 18  # together over 1 GiB


def test_mget_with_one_shards_answer_too_large_is_refused_as_a_whole(t):
    cluster = t.cluster(1, shards=2, mode="none", overrides={"limits.request_timeout": 60000})
    large = key_in_slots(b"large", 0, 8191)
    small = key_in_slots(b"small", 8192, 16383)
    with cluster.node(1).connect(timeout=60) as connection:
        connection.call("set", large, b"x" * VALUE_BYTES)
        connection.call("set", small, b"y")
        try:
            answer = f"{len(connection.call('mget', [large] * REPEATS + [small]))} values"
        except RpcError as error:
            answer = error.code
        equal(answer, "TOO_LARGE", "the answer")
        equal(connection.call("get", small), b"y", "the value read after it")


def test_mget_with_more_than_a_connection_may_hold_back_is_refused(t):
    limits = {"limits.max_value": "1mb", "limits.max_request": "2mb",
              "limits.request_timeout": 60000}
    cluster = t.cluster(1, shards=2, mode="none", overrides=limits)
    keys = [key_in_slots(b"first", 0, 8191), key_in_slots(b"second", 8192, 16383)]
    with cluster.node(1).connect(timeout=60) as connection:
        for key in keys:
            connection.call("set", key, b"x" * (1 << 20))
        equal(len(connection.call("mget", keys * 3)), 6, "the values of an answer that is allowed")
        for asked in (keys, keys[:1]):
            try:
                answer = f"{len(connection.call('mget', asked * 40))} values"
            except RpcError as error:
                answer = error.code
            equal(answer, "TOO_LARGE", f"the answer from {len(asked)} shards")


def test_answer_too_large_for_a_frame_between_nodes_costs_no_link(t):
    # Two requests and 64 MiB is what a frame may hold. A failover, because a busy machine is slow
    # with the value, would let the asker answer itself.
    overrides = {"limits.max_value": "8mb", "limits.max_request": "9mb",
                 "consensus.lease_ms": 10000, "limits.request_timeout": 60000}
    cluster = t.cluster(3, shards=1, mode="none", overrides=overrides)
    leader = cluster.leader_of(b"key")
    asker = next(node for node in cluster.nodes if node is not leader)
    with asker.connect(timeout=60) as connection:
        connection.call("set", b"key", b"x" * (8 << 20))
        try:
            answer = f"{len(connection.call('mget', [b'key'] * 12))} values"
        except RpcError as error:
            answer = error.code
    equal(answer, "TOO_LARGE", "the answer")
    equal("no peer message" in asker.log_text(), False, "a refused peer in the asker's log")
