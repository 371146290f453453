"""More than a shard can do: what is too much is refused before it has an effect, and who looks
after the node is answered all the same."""

import threading
import time

from mayfly_test.check import equal, true
from mayfly_test.client import Connection, RpcError, parse_address
from mayfly_test.context import limit
from mayfly_test.resp import Resp

PENDING_MAX = 100_000  # of a shard: server/recovery.c
WINDOW = 1024          # of a connection: server/client.c
SHARDS = 4
ONE_SHARD = "{one}"
LEASE_S = 20


class Flood(threading.Thread):
    """Connections that each have as many writes under way as a connection may, to one shard."""

    def __init__(self, address, number, per_connection):
        super().__init__(daemon=True)
        self.connection = Connection(address, timeout=300)
        self.keys = [f"{ONE_SHARD}{number}/{i}" for i in range(per_connection)]
        self.answers = []
        self.trouble = None
        # A connection may have the more under way the more replies it has had.
        self.connection.pipeline([("get", ONE_SHARD)] * (WINDOW + 100))

    def run(self):
        try:
            self.answers = self.connection.pipeline([("set", key, "x") for key in self.keys])
        except Exception as error:  # the test must hear of it
            self.trouble = error


def ask_everything(node):
    """What looks after a node, each over a connection of its own."""
    equal(node.call("ping", timeout=120), "pong", "ping")
    true(node.call("stats", timeout=120), "stats")
    view = node.call("cluster", timeout=120)
    with Resp(parse_address(node.ready["resp"]), timeout=120) as client:
        equal(client.call("PING"), b"+PONG\r\n", "PING")
        true(client.call("INFO").startswith(b"$"), "INFO")
        true(client.call("CONFIG", "GET", "maxclients").startswith(b"*2"), "CONFIG GET")
    return view


def leaders(view):
    return {shard["id"]: shard["leader"] for shard in view["shards"]}


@limit(600)
def test_busy_means_without_effect_and_nobody_else_waits(t):
    """The others of the group stand still, so that writes wait at the leader: more than it takes.
    Their leases are long, so it stays the leader. When the others go on, what was taken is done,
    and what was refused as BUSY is not."""
    if t.sanitized:
        t.note("left out: a hundred thousand requests under way take minutes with a sanitizer")
        return
    overrides = {"listen.resp": "127.0.0.1:0", "consensus.lease_ms": LEASE_S * 1000,
                 "limits.request_timeout": 120_000}
    cluster = t.cluster(3, shards=SHARDS, mode="none", overrides=overrides)
    leader = cluster.leader_of(ONE_SHARD.encode())
    others = [node for node in cluster.nodes if node is not leader]
    count = PENDING_MAX // WINDOW + 12
    floods = [Flood(leader.rpc, number, WINDOW) for number in range(count)]
    before = leaders(leader.call("cluster"))
    began = time.monotonic()
    for node in others:
        node.pause()
    for flood in floods:
        flood.start()
    refused = False
    while not refused:  # until the first is: the queue is full
        view = ask_everything(leader)
        refused = leader.call("stats")["errors"] > 0
        cluster.fail_if_ended()
    ask_everything(leader)
    for node in others:
        node.resume()
    in_time = time.monotonic() < began + LEASE_S / 2  # else a lease may have run out
    true(not in_time or leaders(view) == before, "somebody else leads in the middle of it")
    for flood in floods:
        flood.join(300)
        true(flood.trouble is None, f"a connection of the flood: {flood.trouble!r}")
    after = leaders(leader.call("cluster", timeout=120))
    true(not in_time or after == before, "somebody else leads after it")
    codes = {}
    for flood in floods:
        for answer in flood.answers:
            code = answer.code if isinstance(answer, RpcError) else "done"
            codes[code] = codes.get(code, 0) + 1
    t.note(f"{count} connections of {WINDOW} writes: {codes}")
    refusals = {"BUSY"} if in_time else {"BUSY", "NO_QUORUM"}
    true(set(codes) <= {"done"} | refusals and ("BUSY" in codes or not in_time),
         f"what became of them: {codes}")
    with leader.connect(timeout=300) as connection:
        for flood in floods:
            there = connection.call("has", flood.keys)
            for key, is_there, answer in zip(flood.keys, there, flood.answers):
                # Only what a lease ended upon may be there or not.
                if not isinstance(answer, RpcError) or answer.code == "BUSY":
                    equal(is_there, not isinstance(answer, RpcError), f"{key} is there")
