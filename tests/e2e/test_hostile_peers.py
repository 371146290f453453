"""Who is no node of the cluster, or a false one, at the peer port: nothing of it has an effect."""

import os
import socket

from mayfly_test import peer
from mayfly_test.check import equal, true
from mayfly_test.client import parse_address
from mayfly_test.resp import Resp
from mayfly_test.wait import wait_for

SECRET = b"e2e secret"  # of mayfly_test/cluster.py
SHARDS = 16
NODES = 3
GREETING_MAX = 128      # server/links.h, of each reactor
REACTORS = 2


class Alone:
    """Node 1 of three; the others are never started, so that the test can speak for them. Messages
    that clients publish at another node are the effect that is looked for."""

    def __init__(self, t, **overrides):
        cluster = t.cluster(NODES, start=False,
                            overrides={"listen.resp": "127.0.0.1:0", "node.threads": REACTORS,
                                       **overrides})
        cluster.start_with(lambda node: None, ids=[1])
        self.cluster = cluster
        self.node = cluster.node(1)
        self.peer = cluster.peer_address(self.node)
        self.listener = Resp(parse_address(self.node.ready["resp"]), timeout=20)
        self.listener.call("SUBSCRIBE", "news")
        self.said = 0

    def publish(self, message):
        """By a client of the node: it is heard after whatever came before it."""
        with Resp(parse_address(self.node.ready["resp"])) as client:
            client.call("PUBLISH", "news", message)

    def hears(self, message):
        equal(self.listener.receive(), b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$%d\r\n%s\r\n"
              % (len(message), message), "what was heard next")

    def hears_nothing_else(self):
        """Of what was sent before now."""
        self.said += 1
        self.publish(b"marker %d" % self.said)
        self.hears(b"marker %d" % self.said)


def said(to=1, of=2, incarnation=7, **options):
    return peer.fields(of, to, incarnation, NODES, SHARDS, **options)


def test_nothing_of_a_peer_counts_before_it_has_proved_the_secret(t):
    alone = Alone(t)
    effect = peer.published(b"news", b"forged")
    for secret in (b"wrong", b"", SECRET + b"x", SECRET[:-1]):
        connection, _, answer = peer.greet(alone.peer, secret, said())
        equal(answer, b"", f"the answer to a proof of {secret!r}")
        try:
            connection.sendall(effect)
        except OSError:
            pass
        true(peer.closed(connection), "a caller without a proof is closed")
    connection, theirs = peer.call(alone.peer)
    for data in (effect,                                         # no greeting at all
                 peer.hello(b"wrong", peer.CALLER, said(), theirs, peer.nonce()) + effect,
                 peer.hello(SECRET, peer.LISTENER, said(), theirs, peer.nonce()) + effect):
        connection.sendall(data)
        true(peer.closed(connection), "a caller without a proof is closed")
        connection, theirs = peer.call(alone.peer)
    connection.close()
    alone.hears_nothing_else()
    # What was looked for is there to be seen.
    connection, _, answer = peer.greet(alone.peer, SECRET, said())
    true(answer, "a node with the secret is welcome")
    connection.sendall(peer.published(b"news", b"of a node"))
    alone.hears(b"of a node")
    connection.close()


def test_a_greeting_that_was_recorded_is_not_accepted_again(t):
    alone = Alone(t)
    connection, sent, answer = peer.greet(alone.peer, SECRET, said())
    true(answer, "the greeting is accepted")
    session = peer.published(b"news", b"once")
    connection.sendall(session)
    alone.hears(b"once")
    for _ in range(5):
        again, _ = peer.call(alone.peer)
        again.sendall(sent + session)
        true(peer.closed(again), "a replayed greeting is closed")
    # Nor is the welcome of another connection a proof of this one, on the other side.
    again, _ = peer.call(alone.peer)
    again.sendall(len(answer).to_bytes(4, "little") + answer + session)
    true(peer.closed(again), "a listener's proof is none of a caller")
    alone.hears_nothing_else()
    connection.close()


def test_a_node_with_the_secret_that_sends_garbage_loses_its_link_and_no_more(t):
    alone = Alone(t)
    good = peer.published(b"news", b"good")
    broken = bytearray(peer.published(b"news", b"broken"))
    broken[-1] ^= 1
    incarnation = 100
    # Of a length that no frame has: of any other, the node would wait for the rest.
    noise = b"\xff" * 8 + os.urandom(4096)
    for garbage in (bytes(broken), noise, b"\xff" * 64, b"\0" * 64,
                    peer.frame([(99, 0, b"")]), peer.frame([(1, 0, b"no message")]),
                    peer.frame([(peer.PUBLISH, SHARDS, peer.publication(b"news", b"bad"))]),
                    peer.frame([(peer.PUBLISH, 0, b"\xff\xff\xff\xff")])):
        incarnation += 1
        connection, _, answer = peer.greet(alone.peer, SECRET, said(incarnation=incarnation))
        true(answer, "the greeting is accepted")
        connection.sendall(good + garbage + peer.published(b"news", b"after it"))
        alone.hears(b"good")
        true(peer.closed(connection), f"a link that brought {garbage[:40]!r} is closed")
    alone.hears_nothing_else()


def test_the_caller_asks_for_a_proof_too(t):
    """A false node 2 at the address of the real one: node 1 sends it nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        cluster = t.cluster(NODES, start=False, overrides={"node.threads": 1})  # each links, one beats

        def misled(node):
            peers = dict(each.split("=") for each in node.settings["cluster.nodes"].split(", "))
            peers["2"] = f"127.0.0.1:{server.getsockname()[1]}"
            node.settings["cluster.nodes"] = ", ".join(f"{i}={at}" for i, at in peers.items())
        cluster.start_with(misled, ids=[1])

        def answered(secret):
            """What the node sends after a welcome that proves this secret."""
            connection, _ = server.accept()
            with connection:
                connection.settimeout(20)
                ours = peer.nonce()
                connection.sendall(peer.challenge(ours))
                theirs = peer.whole(connection)[-64:-32]
                connection.sendall(peer.hello(secret, peer.LISTENER, said(to=1, of=2), theirs,
                                              ours))
                try:
                    return connection.recv(100)
                except ConnectionResetError:
                    return b""
        for secret in (b"wrong", b""):
            equal(answered(secret), b"", f"what is sent to a listener that proves {secret!r}")
        true(answered(SECRET), "frames go to a listener that proves the secret")


def test_strangers_that_say_nothing_keep_no_node_out(t):
    """As many as a flood has: the oldest go, and those that greet are let in. They go by
    themselves, too, whether they say nothing or a byte now and then."""
    alone = Alone(t)

    def descriptors():
        return len(os.listdir(f"/proc/{alone.node.pid}/fd"))
    before = descriptors()
    strangers = [socket.create_connection(alone.peer, timeout=20)
                 for _ in range(3 * REACTORS * GREETING_MAX)]
    connection, _, answer = peer.greet(alone.peer, SECRET, said())
    true(answer, "a node is let in through a crowd")
    connection.sendall(peer.published(b"news", b"through"))
    alone.hears(b"through")
    # The oldest go as others are let in, by each thread in its own time.
    taken = descriptors() - before
    t.note(f"{len(strangers)} strangers, {taken} descriptors")
    true(taken < len(strangers), "nobody had to go")
    most = REACTORS * GREETING_MAX + 8  # the node's own links come and go beside them
    wait_for(lambda: descriptors() - before <= most, 20, f"descriptors to be {most} at most")
    part = peer.hello(SECRET, peer.CALLER, said(), peer.nonce(), peer.nonce())
    sent = [0]

    def trickle():
        sent[0] += 1
        for each in strangers[-20:]:
            try:
                each.send(part[sent[0] % len(part):][:1])
            except OSError:
                pass
        return len(os.listdir(f"/proc/{alone.node.pid}/fd")) - before <= 8
    wait_for(trickle, 60, "strangers to be dropped")
    for each in strangers:
        each.close()
    connection.close()


def test_a_flood_of_strangers_writes_few_lines(t):
    alone = Alone(t)
    lines = len(alone.node.log_text().splitlines())
    for i in range(200 if t.quick else 500):
        connection = socket.create_connection(alone.peer, timeout=20)
        connection.sendall((b"\xff" * 100, b"GET / HTTP/1.1\r\n\r\n", b"\0" * 200)[i % 3])
        peer.closed(connection)
    told = [line for line in alone.node.log_text().splitlines()[lines:] if "refused" in line]
    true(told, "the flood is told of")
    # Each reactor tells once in ten seconds; the test may take its time.
    seconds = [float(line[17:23]) + 60 * int(line[14:16]) for line in told]
    allowed = REACTORS * (2 + (seconds[-1] - seconds[0]) % 3600 / 10)
    true(len(told) <= allowed, f"{len(told)} lines:\n" + "\n".join(told[:10]))
