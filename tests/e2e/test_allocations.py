"""What is asked for most needs no memory: a GET allocates nothing, however it comes."""

import socket
import struct

import msgpack

from mayfly_test.check import equal, true
from mayfly_test.client import pack_request, parse_address
from mayfly_test.context import limit
from mayfly_test.resp import pack

KEYS = 200
BATCH = 100
PIPELINED = 50_000
SINGLE = 10_000
# What the node does by itself allocates a little, and the longer all takes the more.
REQUESTS_FOR_ONE_MIN = 100
VALUE = b"v" * 100


class Counter:
    """How often a node allocates; to be made before the node starts."""

    def __init__(self, t, node):
        self.file = node.folder / f"allocations-{node.id}"
        self.file.write_bytes(bytes(8))
        node.environment = {"LD_PRELOAD": str(t.bin("").parent / "tests" / "liballocations.so"),
                            "MF_ALLOCATIONS": str(self.file)}

    def read(self):
        return struct.unpack("=Q", self.file.read_bytes())[0]


class Port:
    """Asks, and reads as many bytes as the replies have."""

    def __init__(self, address, requests, reply_bytes):
        self.socket = socket.create_connection(parse_address(address), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests = requests
        self.reply_bytes = reply_bytes

    def ask(self, data, replies):
        self.socket.sendall(data)
        left = replies * self.reply_bytes
        while left > 0:
            got = len(self.socket.recv(left))
            true(got > 0, "the connection stays")
            left -= got

    def ask_many(self, count, batch):
        for at in range(0, count, batch):
            self.ask(b"".join(self.requests[(at + i) % KEYS] for i in range(batch)), batch)


@limit(300)
def test_gets_allocate_nothing(t):
    if t.sanitized:
        t.note("left out: a sanitizer has to be preloaded first")
        return
    cluster = t.cluster(1, shards=16, mode="none", start=False,
                        overrides={"listen.resp": "127.0.0.1:0", "node.threads": 2})
    counters = {}
    cluster.start_with(lambda node: counters.update({node.id: Counter(t, node)}))
    cluster.wait_settled()
    node, counter = cluster.node(1), counters[1]
    keys = [f"key{i}" for i in range(KEYS)]
    before = counter.read()
    with node.connect() as connection:
        for key in keys:
            connection.call("set", key, VALUE)
            equal(connection.call("get", key), VALUE, "a value")
    true(counter.read() - before >= KEYS, "each key that is set is an allocation, and counted")
    reply = msgpack.packb([1, 1, None, VALUE])
    ports = {
        "RESP": (node.ready["resp"], [pack(["GET", key]) for key in keys],
                 len(b"$100\r\n" + VALUE + b"\r\n")),
        "MessagePack-RPC": (node.ready["rpc"], [pack_request(1, "get", [key]) for key in keys],
                            len(reply)),
    }
    for name, (address, requests, reply_bytes) in ports.items():
        # Connections go to either thread: some of these ask for keys that the other one owns.
        for port in [Port(address, requests, reply_bytes) for _ in range(4)]:
            for count, batch, how in ((PIPELINED, BATCH, "pipelined"), (SINGLE, 1, "one by one")):
                port.ask_many(count // 10, batch)  # buffers become as large as they have to be
                before = counter.read()
                port.ask_many(count, batch)
                grown = counter.read() - before
                t.note(f"{name}, {how}: {grown} allocations in {count} requests")
                true(grown < count / REQUESTS_FOR_ONE_MIN,
                     f"{grown} allocations in {count} requests, {how}, over {name}")
            port.socket.close()
