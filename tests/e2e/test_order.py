"""Writes that a client has pipelined, by a node that has to pass them on: each key keeps the last."""

from mayfly_test.check import equal, true
from mayfly_test.client import parse_address
from mayfly_test.context import limit
from mayfly_test.resp import Resp, pack

KEYS = 40
WRITES = 10


@limit(300)
def test_who_has_just_started_passes_pipelined_writes_on_in_their_order(t):
    """It has no copy of most shards, and does not know yet who leads them."""
    cluster = t.cluster(5, shards=16, mode="none", overrides={"cluster.replicas": 3,
                                                              "listen.resp": "127.0.0.1:0"})
    cluster.wait_settled()
    node = cluster.node(5)
    kept = 0
    rounds = 10 if t.quick else 30
    for round_ in range(rounds):
        equal(node.terminate(), 0, "exit status")
        node.restart()
        keys = [f"{round_}:{i}" for i in range(KEYS)]
        with Resp(parse_address(node.ready["resp"]), timeout=30) as client:
            for key in keys:
                client.send(b"".join(pack(["SET", key, str(i)]) for i in range(WRITES)))
            replies = {key: {client.receive() for _ in range(WRITES)} for key in keys}
            for key in keys:
                # Of one whose outcome is unknown nothing is known of the order either.
                if replies[key] == {b"+OK\r\n"}:
                    equal(client.call("GET", key), b"$1\r\n%d\r\n" % (WRITES - 1), key)
                    kept += 1
    t.note(f"{kept} of {rounds * KEYS} keys had all their writes acknowledged, and the last one")
    # What goes to a node that is there when the newcomer first hears of it is answered by it.
    true(kept > rounds * KEYS * 0.99, f"only {kept} keys had all their writes acknowledged")
