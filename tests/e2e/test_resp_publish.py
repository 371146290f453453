"""Messages of clients: PUBLISH at one node is heard at all of them."""

import contextlib

from mayfly_test.check import equal, true
from mayfly_test.client import parse_address
from mayfly_test.resp import RedisServer, Resp, pack
from mayfly_test.wait import wait_for

OK = b"+OK\r\n"


def start(t, n, **overrides):
    return t.cluster(n, shards=4, mode="none",
                     overrides={"listen.resp": "127.0.0.1:0", "node.threads": 2, **overrides})


def address(node):
    return parse_address(node.ready["resp"])


def message(channel, text, pattern=None):
    """As it comes to a connection that speaks RESP2."""
    words = [b"message"] if pattern is None else [b"pmessage", pattern.encode()]
    return pack(words + [channel.encode(), text.encode()])


def test_what_is_published_at_one_node_is_heard_in_order_at_all(t):
    cluster = start(t, 3)
    with contextlib.ExitStack() as stack:
        def connect(node):
            return stack.enter_context(Resp(address(node)))
        # Enough of each that both reactors of a node have some.
        listeners = [connect(node) for node in cluster.nodes for _ in range(6)]
        for client in listeners:
            client.call("SUBSCRIBE", "news")
            client.call("PSUBSCRIBE", "n?ws")
        publishers = [connect(node) for node in cluster.nodes]
        for i, client in enumerate(publishers):
            equal(client.call("PUBLISH", "other", "x"), b":0\r\n", "listeners to another channel")
            replies = client.pipeline([["PUBLISH", "news", f"{i}:{n}"] for n in range(200)])
            equal(set(replies), {b":12\r\n"}, "listeners at the node that was asked")
        for number, client in enumerate(listeners):
            heard = {}
            for _ in range(2 * 200 * len(publishers)):
                words = client.receive().split(b"\r\n")
                kind, text = words[2], words[-2].decode()
                heard.setdefault((kind, text.split(":")[0]), []).append(text)
            expected = {(kind, f"{i}"): [f"{i}:{n}" for n in range(200)]
                        for kind in (b"message", b"pmessage") for i in range(len(publishers))}
            equal(heard, expected, f"what listener {number} has heard")


def test_pubsub_tells_who_listens(t):
    node = start(t, 1).nodes[0]
    with RedisServer(t.dir) as server:
        replies = []
        for at in (server.address, address(node)):
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(Resp(at)) for _ in range(8)]
                for i, client in enumerate(clients[:6]):
                    client.call("SUBSCRIBE", f"channel:{i % 3}")
                    client.call("PSUBSCRIBE", f"pattern:{i % 2}*")
                asker = clients[7]
                channels = asker.call("PUBSUB", "CHANNELS").split(b"\r\n")
                replies.append([
                    sorted(channels),
                    asker.call("PUBSUB", "CHANNELS", "*:1"),
                    asker.call("PUBSUB", "NUMSUB", "channel:0", "nosuch", "channel:0"),
                    asker.call("PUBSUB", "NUMPAT"),
                    asker.call("PUBLISH", "channel:1", "text"),
                    asker.call("PUBLISH", "pattern:1:more", "text"),
                    asker.call("MULTI"),
                    asker.call("PUBLISH", "nosuch", "text"),
                    asker.call("EXEC"),
                    clients[1].receive(),
                    clients[1].receive(),
                    clients[1].call("UNSUBSCRIBE"),
                    clients[1].call("PUNSUBSCRIBE"),
                    asker.call("PUBSUB", "NUMSUB", "channel:1"),
                    asker.call("PUBSUB", "NUMPAT")])
        for theirs, ours in zip(*replies):
            equal(ours, theirs, "reply")


def test_a_listener_that_does_not_read_costs_only_itself(t):
    cluster = start(t, 1)
    with Resp(address(cluster.nodes[0])) as deaf, Resp(address(cluster.nodes[0])) as good, \
            Resp(address(cluster.nodes[0])) as publisher:
        deaf.call("SUBSCRIBE", "loud")
        good.call("SUBSCRIBE", "loud")
        text = "x" * (1 << 20)
        told = set()

        def nobody_waits_for_the_deaf():
            told.add(publisher.call("PUBLISH", "loud", text))
            equal(good.receive(), message("loud", text), "what the other one hears")
            return publisher.call("PUBSUB", "NUMSUB", "loud") == b"*2\r\n$4\r\nloud\r\n:1\r\n"
        wait_for(nobody_waits_for_the_deaf, 60, "the deaf connection to be closed")
        true(b":2\r\n" in told, "both were told at first")
        true(deaf.at_end(), "its connection is closed")
        equal(publisher.call("PUBLISH", "loud", "more" * (1 << 18) + "x"),
              b"-ERR a message may have 1048576 bytes, and its channel 1024\r\n", "too long")
        equal(publisher.call("PUBLISH", "loud", "end"), b":1\r\n", "who listens still")
        equal(good.receive(), message("loud", "end"), "the last")


def test_nodes_that_are_gone_miss_messages_and_hear_again(t):
    cluster = start(t, 3)
    first, second, _ = cluster.nodes
    with Resp(address(first)) as publisher:
        second.kill9()
        equal(publisher.call("PUBLISH", "news", "nobody hears"), b":0\r\n", "listeners here")
        second.restart()
        with Resp(address(second)) as listener:
            listener.call("SUBSCRIBE", "news")
            listener.socket.settimeout(0.2)

            def heard():
                publisher.call("PUBLISH", "news", "again")
                try:
                    return listener.socket.recv(1000)
                except TimeoutError:
                    return None
            true(wait_for(heard, 30, "a message from the other node").startswith(
                message("news", "again")), "what comes first")
