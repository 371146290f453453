"""The examples with bytes in docs/protocol.md, replayed against a node: what the page says is sent is
sent byte for byte, and what comes back has to be, byte for byte, what the page says.

And a client of another make: what a few lines and a MessagePack library need to know is on the page.
"""

import ast
import pathlib
import re
import socket

import msgpack

from mayfly_test.check import equal, true
from mayfly_test.context import limit

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
SECTION = re.compile(r"^## Bytes$.*?^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WORDS = {"nil": "None", "true": "True", "false": "False"}


def value_of(text):
    """[1, 2, nil, bin "v"] as a Python value."""
    outside = re.split(r'("(?:[^"\\]|\\.)*")', text)
    outside[::2] = [re.sub(r"\b(nil|true|false)\b", lambda word: WORDS[word[0]], part)
                    .replace("bin ", "b") for part in outside[::2]]
    return ast.literal_eval("".join(outside))


def messages():
    """(sent?, value, bytes) of each message of the section, in order."""
    [section] = SECTION.findall(PAGE.read_text(encoding="utf-8"))
    lines = section.splitlines()
    while lines:
        said = lines.pop(0)
        if not said:
            continue
        true(said[:2] in ("> ", "< "), f"a message begins with its direction: {said!r}")
        packed = bytearray()
        while lines and lines[0].startswith("  "):
            packed += bytes.fromhex(lines.pop(0))
        yield said[0] == ">", value_of(said[2:]), bytes(packed)


class Replay:
    """One connection; what comes may come in any order, so answers wait until the page has them."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=20)
        self.unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
        self.got = b""
        self.came = []

    def come(self):
        while True:
            start = self.unpacker.tell()
            try:
                self.unpacker.skip()
            except msgpack.OutOfData:
                data = self.socket.recv(65536)
                true(data != b"", "the node closed the connection")
                self.got += data
                self.unpacker.feed(data)
                continue
            self.came.append(self.got[start:self.unpacker.tell()])
            return

    def expect(self, packed):
        """This message comes next, or is one of two that came before it."""
        while packed not in self.came:
            true(len(self.came) < 2, f"{packed.hex(' ')} was expected, and there came "
                 f"{[msgpack.unpackb(one) for one in self.came]!r}")
            self.come()
        self.came.remove(packed)


@limit(60)
def test_the_examples_of_the_page_are_what_a_node_does(t):
    node = t.cluster(1, shards=1).node(1)
    replay = Replay(node.rpc)
    methods = set()
    for sent, value, packed in messages():
        equal(msgpack.packb(value).hex(" "), packed.hex(" "), f"the page's bytes of {value!r}")
        if sent:
            methods.add(value[-2])
            replay.socket.sendall(packed)
        else:
            replay.expect(packed)
    equal(replay.came, [], "what came and is not on the page")
    replay.socket.close()
    table = re.findall(r"^\| `([a-z_]+)` \| ", PAGE.read_text(encoding="utf-8")
                       .split("## Methods")[1].split("| option |")[0], re.MULTILINE)
    administration = {"cluster", "stats", "snapshot", "snapshot_read", "snapshot_remove", "transfer",
                      "drain_node", "add_node", "remove_node", "hotkeys"}
    equal(set(table) - administration - methods, set(), "methods for data without an example")


# What follows is a whole client, by somebody who has read the page.


class Mayfly:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port))
        self.unpacker, self.number, self.events = msgpack.Unpacker(), 0, []

    def __getattr__(self, method):
        return lambda *params: self.call(method, *params)

    def receive(self):
        while True:
            for message in self.unpacker:
                return message
            self.unpacker.feed(self.socket.recv(65536))

    def call(self, method, *params):
        self.number += 1
        self.socket.sendall(msgpack.packb([0, self.number, method, params]))
        message = self.receive()
        while message[0] == 2:
            self.events.append(message[2])
            message = self.receive()
        if message[2] is not None:
            raise RuntimeError(message[2][0], message[2][1])
        return message[3]

    def event(self):
        return self.events.pop(0) if self.events else self.receive()[2]


@limit(60)
def test_thirty_lines_of_another_make_are_a_client(t):
    cluster = t.cluster(3)
    mayfly = Mayfly(*cluster.node(2).rpc)
    equal(mayfly.ping(), "pong", "ping")
    true(mayfly.set("k", "v", {"ttl": 60_000, "id": "once"})["version"] > 0, "a version")
    equal(mayfly.get("k"), b"v", "get")
    true(0 < mayfly.ttl("k") <= 60_000, "ttl")
    watch = mayfly.watch({"prefix": "counter"})
    equal([mayfly.incr("counter", 20), mayfly.incr("counter", 22)], [20, 42], "incr")
    changes = [mayfly.event() for _ in range(2)]
    equal([[*change[:3], change[4]] for change in changes],
          [[watch, "set", b"counter", b"20"], [watch, "set", b"counter", b"42"]], "events")
    equal(mayfly.txn({"if": [["k", "value", "=", "v"]], "then": [["del", ["k"]]]}),
          {"ok": True, "results": [1]}, "txn")
    try:
        mayfly.get("")
    except RuntimeError as error:
        equal(error.args[0], "BAD_REQUEST", "code")
    else:
        raise AssertionError("an empty key was taken")
    equal(mayfly.flush() >= 1, True, "flush")
