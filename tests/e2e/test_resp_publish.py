"""Messages of clients: PUBLISH at one node is heard at all of them."""

import contextlib
import select

from mayfly_test.check import equal, true
from mayfly_test.client import parse_address
from mayfly_test.resp import RedisServer, Resp, pack
from mayfly_test.wait import wait_for

OK = b"+OK\r\n"


def start(t, n, **overrides):
    return t.cluster(n, shards=4, mode="none",
                     overrides={"listen.resp": "127.0.0.1:0", "node.threads": 2, **t.patience,
                                **overrides})


def address(node):
    return parse_address(node.ready["resp"])


def message(channel, text, pattern=None):
    """As it comes to a connection that speaks RESP2."""
    words = [b"message"] if pattern is None else [b"pmessage", pattern.encode()]
    return pack(words + [channel.encode(), text.encode()])


def reaches(publisher, channel, ears):
    """Whether all of them have heard something: what is published before its thread's links to the
    other nodes are made is not heard there."""
    publisher.call("PUBLISH", channel, "can you hear me")
    return len(select.select([ear.socket for ear in ears], [], [], 0)[0]) == len(ears)


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
            ears = [connect(node) for node in cluster.nodes]
            for ear in ears:
                ear.call("SUBSCRIBE", f"ready:{i}")
            wait_for(lambda client=client, i=i, ears=ears: reaches(client, f"ready:{i}", ears), 30,
                     "links to all nodes")
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


def listened_to(client):
    """What INFO says of it, in its order."""
    return [line for line in client.call("INFO", "stats").split(b"\r\n")
            if line.startswith(b"pubsub")]


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
                    listened_to(asker),
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
                    asker.call("PUBSUB", "NUMPAT"),
                    [clients[at].call(*words) for at in (2, 4) for words in (
                        ["UNSUBSCRIBE"], ["PUNSUBSCRIBE"])],
                    listened_to(asker)])
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


def test_many_channels_are_listed_once_each(t):
    node = start(t, 1).nodes[0]
    with contextlib.ExitStack() as stack:
        asker, *clients = [stack.enter_context(Resp(address(node))) for _ in range(9)]
        names = [b"name:%d" % i for i in range(4000)]
        for at, client in enumerate(clients):  # each name by two of them
            mine = [names[i] for i in range(len(names)) if at in (i % 8, (i + 1) % 8)]
            for i in range(0, len(mine), 500):
                client.send(pack(["SUBSCRIBE", *mine[i:i + 500]]))
                for _ in mine[i:i + 500]:
                    client.receive()
        reply = asker.call("PUBSUB", "CHANNELS").split(b"\r\n")
        equal(reply[0], b"*4000", "how many")
        equal(sorted(reply[2:-1:2]), sorted(names), "which")
        equal(asker.call("PUBSUB", "NUMSUB", names[0], names[3999]),
              b"*4\r\n$6\r\nname:0\r\n:2\r\n$9\r\nname:3999\r\n:2\r\n", "by how many")
        equal(asker.call("PUBSUB", "CHANNELS", "name:399?").split(b"\r\n")[0], b"*10", "some")
        for client in clients:
            client.close()
        wait_for(lambda: asker.call("PUBSUB", "CHANNELS") == b"*0\r\n", 60, "none is left")
        equal(listened_to(asker)[0], b"pubsub_channels:0", "INFO")


def test_many_listeners_are_told_in_portions_and_hear_all_in_one_order(t):
    cluster = t.cluster(1, shards=4, mode="none",
                        overrides={"listen.resp": "127.0.0.1:0", "node.threads": 1})
    node = cluster.node(1)
    with contextlib.ExitStack() as stack:
        publishers = [stack.enter_context(Resp(address(node))) for _ in range(2)]
        listeners = [stack.enter_context(Resp(address(node))) for _ in range(200)]
        for at, client in enumerate(listeners):
            client.call("SUBSCRIBE" if at % 2 else "PSUBSCRIBE", "many")
        before = node.call("stats")["turns"]
        for round_ in range(3):
            for at, publisher in enumerate(publishers):
                publisher.send(pack(["PUBLISH", "many", f"{at}-{round_}" + "x" * 100_000]))
        for publisher in publishers:
            equal([publisher.receive() for _ in range(3)], [b":200\r\n"] * 3, "listeners")
        # 36 of them a turn, with such a message, and that six times.
        true(node.call("stats")["turns"] - before >= 6 * 5, "it took many turns")
        heard = {tuple(client.receive().split(b"\r\n")[-2][:3] for _ in range(6))
                 for client in listeners}
        equal(len(heard), 1, "orders in which it was heard")
        # All leave when the first have been told.
        publishers[0].send(pack(["PUBLISH", "many", "x" * 1_000_000])
                           + pack(["CLIENT", "KILL", "TYPE", "pubsub"]))
        told = int(publishers[0].receive()[1:])
        true(0 < told < 200, f"{told} were told")
        equal(publishers[0].receive(), b":200\r\n", "killed")
        equal(publishers[0].call("PUBLISH", "many", "x"), b":0\r\n", "who is left")
