"""The network between nodes, in our hands: every link goes through a proxy that can be cut.

Each node is told its own addresses for the others (cluster.nodes is read by each node for itself):
ports of this process, one per direction, which pass everything on until the link is cut. A cut
link takes bytes and keeps them, or drops connections, as real networks do both. A link can also lose
single frames, by what is in them (rpc/peer_frame.h), which TCP would hide.
"""

import asyncio
import struct
import threading

from .client import parse_address

CHUNK = 64 * 1024

# rpc/peer_frame.h: u32 length of the rest, u64 checksum; u64 clock, u8 flags, u64 echo, u64 token;
# then items: u8 kind, u32 shard, u32 length, bytes.
FRAME_HEAD = struct.Struct("<IQ")
BODY_HEAD = struct.Struct("<QBQQQI")
ITEM_HEAD = struct.Struct("<BII")
ASKS = 1
PAXOS, REPLY, SNAPSHOT_ACK = 1, 3, 7
# consensus/paxos_msg.h: promise, reject, accepted, learned, read-ack, vote, release.
PAXOS_ANSWERS = frozenset([2, 3, 5, 8, 10, 12, 15])


def is_request(frame):
    """Whether a frame asks the receiver for anything, or only answers."""
    at = FRAME_HEAD.size
    _, flags, _, _, _, _ = BODY_HEAD.unpack_from(frame, at)
    at += BODY_HEAD.size
    request = bool(flags & ASKS)
    while at < len(frame):
        kind, _, length = ITEM_HEAD.unpack_from(frame, at)
        at += ITEM_HEAD.size
        answer = (frame[at] in PAXOS_ANSWERS if kind == PAXOS else kind in (REPLY, SNAPSHOT_ACK))
        request = request or not answer
        at += length
    return request


async def chunks_of(reader):
    while data := await reader.read(CHUNK):
        yield data


async def frames_of(reader, arrives):
    """The hello, and then one frame after the other, less those that do not arrive."""
    hello = True
    while True:
        try:
            length = await reader.readexactly(4)
            frame = length + await reader.readexactly(int.from_bytes(length, "little"))
        except asyncio.IncompleteReadError:
            return
        if hello or arrives(frame):
            yield frame
        hello = False


class Link:
    """Connections that one node makes to another."""

    def __init__(self, target, loses):
        self.target = target
        self.loses = loses  # loses(frame): whether it does not arrive
        self.lost = 0
        self.server = None
        self.connections = set()
        self.open = None  # an asyncio.Event: bytes flow while it is set

    async def start(self):
        self.open = asyncio.Event()
        self.open.set()
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def _accept(self, reader, writer):
        await self.open.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        pair = (writer, far_writer)
        self.connections.add(pair)
        await asyncio.gather(self._pump(frames_of(reader, self._arrives), far_writer),
                             self._pump(chunks_of(far_reader), writer))
        self.connections.discard(pair)

    def _arrives(self, frame):
        lost = self.loses(frame)
        self.lost += lost
        return not lost

    async def _pump(self, source, writer):
        try:
            async for data in source:
                await self.open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    def drop(self):
        for pair in self.connections:
            for writer in pair:
                writer.transport.abort()


class Network:
    """All links of a cluster. A context manager; its loop runs in a thread of its own."""

    def __init__(self, rng):
        self._rng = rng
        self._links = {}  # (from, to) -> Link
        self._loses = lambda frame: False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        async def stop():
            for link in self._links.values():
                link.server.close()
                link.drop()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._await(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def between(self, node):
        """Changes a node's settings so that it reaches the others through here."""
        members = dict(entry.strip().split("=") for entry in
                       node.settings["cluster.nodes"].split(","))
        for other, address in members.items():
            if int(other) == node.id:
                continue
            link = Link(parse_address(address), lambda frame: self._loses(frame))
            self._links[node.id, int(other)] = link
            members[other] = f"127.0.0.1:{self._await(link.start())}"
        node.settings["cluster.nodes"] = ", ".join(f"{i}={address}"
                                                   for i, address in members.items())

    def cut_some(self, ids):
        """One of the shapes that a broken network of three takes; half of them silently."""
        one = self._rng.choice(ids)
        others = [node_id for node_id in ids if node_id != one]
        shapes = [
            [(one, other) for other in others] + [(other, one) for other in others],  # alone
            [(one, other) for other in others],        # hears, is not heard
            [(other, one) for other in others],        # is heard, does not hear
            [(one, others[0]), (others[0], one)],      # two do not reach each other
            [(one, others[0])],
        ]
        self.cut(self._rng.choice(shapes), drop=self._rng.random() < 0.5)

    def cut(self, directions, drop):
        async def cut():
            for direction in directions:
                self._links[direction].open.clear()
                if drop:
                    self._links[direction].drop()
        self._await(cut())

    def lose(self, share, requests):
        """From now on all links lose this share of the frames that ask, or of those that answer."""
        self._loses = lambda frame: is_request(frame) == requests and self._rng.random() < share

    def lost(self):
        return sum(link.lost for link in self._links.values())

    def heal(self):
        self._loses = lambda frame: False
        async def heal():
            for link in self._links.values():
                link.open.set()
        self._await(heal())

    def _await(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)
