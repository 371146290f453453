"""Many connections of the Redis port: what looks at all of them leaves turns to others, and much
that they send at once is not all taken in before the first is answered."""

import contextlib

from mayfly_test.check import equal, true
from mayfly_test.client import parse_address
from mayfly_test.resp import Resp, pack

WRITES_BEFORE_A_TURN = 256  # where they wait for nothing but that
CLIENTS = 400
LOOKS_PER_TURN = 256


def ids_in(reply):
    return [line.split()[0] for line in reply.split(b"\n") if line.startswith(b"id=")]


def test_a_list_of_many_connections_is_whole_and_made_in_portions(t):
    node = t.cluster(1, shards=4, mode="none",
                     overrides={"listen.resp": "127.0.0.1:0", "node.threads": 1}).node(1)
    address = parse_address(node.ready["resp"])
    with contextlib.ExitStack() as stack:
        asker = stack.enter_context(Resp(address))
        clients = [stack.enter_context(Resp(address)) for _ in range(CLIENTS)]
        mine = b"id=%d" % int(asker.call("CLIENT", "ID")[1:])
        ids = {b"id=%d" % int(client.call("CLIENT", "ID")[1:]) for client in clients} | {mine}
        before = node.call("stats")["turns"]
        for reply in asker.pipeline([["CLIENT", "LIST"]] * 12):
            listed = ids_in(reply)
            equal(len(listed), CLIENTS + 1, "connections")
            equal(set(listed), ids, "which")
        turns = node.call("stats")["turns"] - before
        true(turns >= 12 * CLIENTS // LOOKS_PER_TURN, f"it took {turns} turns")
        some = sorted(ids)[::3]
        listed = ids_in(asker.call("CLIENT", "LIST", "ID", *(one[3:] for one in reversed(some))))
        equal(sorted(listed), some, "by id")
        # The list begins with one that is killed before its turn comes.
        asker.send(pack(["CLIENT", "KILL", "TYPE", "normal"]) + pack(["CLIENT", "LIST"]))
        equal(asker.receive(), b":%d\r\n" % CLIENTS, "killed")
        listed = ids_in(asker.receive())
        true(mine in listed and set(listed) <= ids, f"who is left: {len(listed)}")
        equal(ids_in(asker.call("CLIENT", "LIST")), [mine], "in the end")


def test_many_writes_have_their_turn_before_more_is_read(t):
    """However much has come while the node stood still: each turn makes an entry of the log."""
    node = t.cluster(1, shards=1, mode="none",
                     overrides={"listen.resp": "127.0.0.1:0", "node.threads": 1}).node(1)
    address = parse_address(node.ready["resp"])
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Resp(address, timeout=30)) for _ in range(20)]
        for client in clients:
            client.pipeline([["SET", "key", "value"]] * 100)  # more in flight from now on
        before = node.call("cluster")["shards"][0]["chosen"]
        node.pause()
        for client in clients:
            client.send(pack(["SET", "key", "value"]) * 64)
        node.resume()
        for client in clients:
            for _ in range(64):
                equal(client.receive(), b"+OK\r\n", "a reply")
        entries = node.call("cluster")["shards"][0]["chosen"] - before
    true(entries >= 20 * 64 // WRITES_BEFORE_A_TURN, f"{entries} entries")
