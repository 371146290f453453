"""Hostile bytes on every port, while a well-behaved client goes on and must not notice."""

import os
import random
import socket
import struct
import threading
import time

import msgpack

from mayfly_test.check import equal, true
from mayfly_test.client import pack_request
from mayfly_test.context import limit
from mayfly_test.wait import wait_for

MB = 2**20
GROWTH_MAX = 64 * MB   # of a node's memory, once it has come to rest
PEAK_MAX = 512 * MB    # while it is attacked
LOG_MAX = 10 * MB
SLOWEST_MAX = 3.0      # seconds for one call of the well-behaved client; two CPUs serve everyone


class Bystander(threading.Thread):
    """Sets and gets at a steady rate; no call may fail or hang."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.stopping = threading.Event()
        self.calls = 0
        self.slowest = 0.0
        self.trouble = None

    def run(self):
        try:
            with self.node.connect() as connection:
                while not self.stopping.wait(0.005):  # the rate, not a wait for anything
                    self.calls += 1
                    key, value = f"bystander{self.calls % 500}", b"%d" % self.calls
                    began = time.monotonic()
                    connection.call("set", key, value, {"ttl": 60_000})
                    equal(connection.call("get", key), value, "the value just set")
                    self.slowest = max(self.slowest, time.monotonic() - began)
        except Exception as error:  # whatever it is, the test must hear of it
            self.trouble = error

    def finish(self):
        self.stopping.set()
        self.join(20)
        true(not self.is_alive(), "the bystander hangs")
        if self.trouble:
            raise AssertionError(f"the bystander's call {self.calls}: {self.trouble!r}")


class Attacker(threading.Thread):
    """Sends one thing after another, each over a new connection, until it has sent `budget`."""

    def __init__(self, address, budget, rng, make):
        super().__init__(daemon=True)
        self.address = address
        self.budget = budget
        self.rng = rng
        self.make = make  # rng -> bytes
        self.sent = 0
        self.attacks = 0
        self.trouble = None

    def run(self):
        while self.sent < self.budget:
            data = self.make(self.rng)
            self.attacks += 1
            try:
                with socket.create_connection(self.address, timeout=20) as connection:
                    self.sent += len(data)
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
            except ConnectionError:
                pass  # it was closed in the middle: fine
            except OSError as error:
                self.trouble = error  # refused or timed out: it does not serve any more
                return


def random_bytes(rng):
    return rng.randbytes(rng.choice([1, 100, 10_000, 1_000_000]))


def random_integers(rng):
    """Bytes that are all MessagePack, and none of them a request."""
    return bytes(rng.randrange(128) for _ in range(100)) * 1000


def truncated_request(rng):
    data = pack_request(1, "mset", [[[rng.randbytes(20), rng.randbytes(rng.randrange(3000))]
                                     for _ in range(100)]])
    return data[:rng.randrange(1, len(data))]


def valid_then_garbage(rng):
    good = b"".join(pack_request(i, "get", [f"bystander{i}"]) for i in range(50))
    return good + b"\xc1" + rng.randbytes(100_000)


def flipped_request(rng):
    data = bytearray(pack_request(1, "set", ["victim", rng.randbytes(200), {"ttl": 1000}]))
    for _ in range(rng.randrange(1, 6)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data) * 100


def hostile_lengths(rng):
    """Headers that claim up to 4 GB of bytes or 4 billion elements, at any depth."""
    claim = rng.choice([b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"])
    length = struct.pack(">I", rng.choice([2**32 - 1, 2**31, 2**28, 2**27 - 1, 10**6]))
    prefix = rng.choice([b"", b"\x94\x00\x01", b"\x94\x00\x01\xa3get", b"\x94\x00\x01\xa4mget\x91",
                         b"\x94\x00\x01\xa3set\x93\xa1k", b"\x91" * 15])
    return prefix + claim + length + rng.randbytes(rng.choice([0, 10, 10_000]))


def nested(rng):
    return rng.choice([b"\x91", b"\x81\xa1k", b"\xdc\x00\x01"]) * rng.choice([17, 1000, 100_000])


def wide(rng):
    """A request of a million tiny parts, whole and within the limits."""
    return msgpack.packb([0, 1, rng.choice(["mget", "has", "bogus", "mset"]), [[0] * 1_000_000]])


def peer_frame(rng):
    """Lengths before bytes, as peers send them."""
    return b"".join(struct.pack(rng.choice(["<I", ">I"]), rng.choice([0, 5, 44, 8192, 2**32 - 1]))
                    + rng.randbytes(rng.randrange(200)) for _ in range(50))


def peer_replay(rng, greeting):
    """What a real peer is told first, sent back with a flaw."""
    data = bytearray(greeting + rng.randbytes(100))
    data[rng.randrange(len(greeting))] ^= 1 << rng.randrange(8)
    return bytes(data)


RPC_ATTACKS = [random_bytes, random_integers, truncated_request, valid_then_garbage,
               flipped_request, hostile_lengths, nested, wide]
PEER_ATTACKS = [random_bytes, peer_frame, hostile_lengths, valid_then_garbage]


def greeting_of(address):
    """The first bytes that a peer port sends to whoever connects."""
    with socket.create_connection(address, timeout=5) as connection:
        return connection.recv(4096)


def check_slowest(t, bystander):
    allowed = SLOWEST_MAX * (4 if t.sanitized else 1)
    true(bystander.slowest < allowed, f"a call took {bystander.slowest:.2f} s meanwhile")


def check_nodes(t, cluster, before):
    """No node is gone, fat, or has filled its log."""
    cluster.fail_if_ended()
    for node, rss in zip(cluster.nodes, before):
        if not t.sanitized:  # sanitizers keep what is freed
            wait_for(lambda node=node, rss=rss: node.rss_bytes() < rss + GROWTH_MAX, 60,
                     f"node {node.id} to give its memory back: {rss >> 20} MB before, "
                     f"{node.rss_bytes() >> 20} MB now")
        log_bytes = node.log.stat().st_size
        true(log_bytes < LOG_MAX, f"node {node.id} logged {log_bytes >> 20} MB")
    t.note("memory, MB: " + ", ".join(f"{rss >> 20} before, {node.rss_bytes() >> 20} after"
                                      for node, rss in zip(cluster.nodes, before))
           + f"; largest log {max(node.log.stat().st_size for node in cluster.nodes) >> 10} KB")


def watch_memory(cluster, threads):
    """Waits for the threads to end; the most memory that any node had meanwhile."""
    most = [0]

    def ended():
        cluster.fail_if_ended()
        most[0] = max([most[0]] + [node.rss_bytes() for node in cluster.nodes])
        return not any(thread.is_alive() for thread in threads)
    wait_for(ended, 500, "the attackers to have sent everything")
    return most[0]


@limit(600)
def test_garbage_on_every_port_costs_only_its_sender(t):
    cluster = t.cluster(3, overrides=t.patience)
    target = cluster.node(1)
    bystander = Bystander(target)
    bystander.start()
    wait_for(lambda: bystander.calls > 100 or bystander.trouble, 20, "the bystander to be at work")
    before = [node.rss_bytes() for node in cluster.nodes]
    greeting = greeting_of(cluster.peer_address(target))
    ports = [(target.rpc, RPC_ATTACKS),
             (cluster.peer_address(target),
              PEER_ATTACKS + [lambda rng: peer_replay(rng, greeting or b"\0" * 44)])]
    total = (10 if t.quick else 100) * MB
    attackers = []
    for address, attacks in ports:
        for number, attack in enumerate(attacks):
            rng = random.Random(f"{t.seed}/{address[1] == target.rpc[1]}/{number}")
            attackers.append(Attacker(address, total // 2 // len(attacks), rng, attack))
    for attacker in attackers:
        attacker.start()
    peak = watch_memory(cluster, attackers)
    bystander.finish()
    troubles = [str(attacker.trouble) for attacker in attackers if attacker.trouble]
    equal(troubles, [], "attackers that were not served")
    t.note(f"{sum(attacker.sent for attacker in attackers) >> 20} MB in "
           f"{sum(attacker.attacks for attacker in attackers)} connections; {bystander.calls} calls "
           f"meanwhile, the slowest took {bystander.slowest * 1000:.0f} ms; "
           f"peak {peak >> 20} MB")
    check_slowest(t, bystander)
    true(peak < PEAK_MAX or t.sanitized, f"a node had {peak >> 20} MB while it was attacked")
    check_nodes(t, cluster, before)
    cluster.wait_settled()


@limit(300)
def test_requests_that_never_end_hold_nobody_up(t):
    """Hundreds of connections that bring a byte now and then."""
    cluster = t.cluster(3, overrides=t.patience)
    target = cluster.node(1)
    bystander = Bystander(target)
    bystander.start()
    before = [node.rss_bytes() for node in cluster.nodes]
    part = pack_request(1, "set", ["slow", b"x" * 1000])
    sockets = [socket.create_connection(address, timeout=5)
               for address in (target.rpc, cluster.peer_address(target)) for _ in range(150)]
    try:
        for at in range(20):
            calls = bystander.calls
            for each in sockets:
                send_quietly(each, part[at:at + 1])
            wait_for(lambda calls=calls: bystander.calls > calls + 5 or bystander.trouble, 20,
                     "the bystander to be served in between")
        cluster.fail_if_ended()
    finally:
        for each in sockets:
            each.close()
    bystander.finish()
    t.note(f"{bystander.calls} calls meanwhile, the slowest took {bystander.slowest * 1000:.0f} ms")
    check_slowest(t, bystander)
    check_nodes(t, cluster, before)


@limit(300)
def test_clients_that_ask_and_never_read_hold_nobody_up(t):
    """Each asks for thousands of large values, through a node that leads them and one that does
    not, and reads none: it costs the node a bounded buffer and the others nothing."""
    # Sanitizers make the large values ten times dearer: slow is not dead, nor late.
    patient = {"limits.request_timeout": 60000, "consensus.lease_ms": 5000}
    cluster = t.cluster(3, overrides=patient if t.sanitized else {})
    bystander = Bystander(cluster.node(1))
    before = [node.rss_bytes() for node in cluster.nodes]
    cluster.node(1).call("set", "large", b"x" * 100_000)
    bystander.start()
    wait_for(lambda: bystander.calls > 20 or bystander.trouble, 20, "the bystander to be at work")
    deaf = [socket.create_connection(node.rpc, timeout=5) for node in cluster.nodes
            for _ in range(10)]
    peak = 0
    try:
        for each in deaf:
            each.setblocking(False)
            ask_without_reading(each)
        calls = bystander.calls
        while bystander.calls < calls + 300 and not bystander.trouble:
            cluster.fail_if_ended()
            peak = max([peak] + [node.rss_bytes() for node in cluster.nodes])
    finally:
        for each in deaf:
            each.close()
    bystander.finish()
    t.note(f"{bystander.calls} calls meanwhile, the slowest took {bystander.slowest * 1000:.0f} ms; "
           f"peak {peak >> 20} MB")
    check_slowest(t, bystander)
    true(peak < PEAK_MAX or t.sanitized, f"a node had {peak >> 20} MB for 10 deaf clients")
    check_nodes(t, cluster, before)


def ask_without_reading(connection):
    """As many requests for 100 KB each as the connection takes."""
    request = pack_request(1, "get", ["large"]) * 1000
    try:
        while True:
            connection.send(request)
    except OSError:
        pass


def send_quietly(connection, data):
    try:
        connection.send(data)
    except OSError:
        pass  # a peer port need not wait for slow greetings


@limit(300)
def test_connections_that_come_and_go_leave_nothing_behind(t):
    cluster = t.cluster(1)
    node = cluster.node(1)
    rng = t.rng
    node.call("ping")
    descriptors = open_descriptors(node)
    before = [node.rss_bytes()]
    for i in range(500 if t.quick else 3000):
        with socket.create_connection(node.rpc, timeout=5) as connection:
            if i % 3 == 0:
                connection.sendall(pack_request(i, "get", ["k"])[:rng.randrange(1, 10)])
            elif i % 3 == 1:
                connection.sendall(pack_request(i, "set", ["k", rng.randbytes(10_000)]))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: open_descriptors(node) <= descriptors + 2, 20, "descriptors to be given back")
    check_nodes(t, cluster, before)


def open_descriptors(node):
    return len(os.listdir(f"/proc/{node.pid}/fd"))
