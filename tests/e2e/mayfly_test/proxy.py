"""The network between nodes, in our hands: every link goes through a proxy that can be cut.

Each node is told its own addresses for the others (cluster.nodes is read by each node for itself):
ports of this process, one per direction, which pass everything on until the link is cut. A cut
link takes bytes and keeps them, or drops connections, as real networks do both. A link can also lose
single frames, by what is in them (rpc/peer_frame.h), which TCP would hide, or do more to them
(disturbance.py).
"""

import asyncio
import heapq
import itertools
import struct
import threading

from .client import parse_address

CHUNK = 64 * 1024
FRAMES_MAX = 4096  # on their way over one connection

# rpc/peer_frame.h: u32 length of the rest, u64 checksum; u64 clock, u8 flags, u64 echo, u64 token;
# then items: u8 kind, u32 shard, u32 length, bytes.
FRAME_HEAD = struct.Struct("<IQ")
BODY_HEAD = struct.Struct("<QBQQQI")
ITEM_HEAD = struct.Struct("<BII")
ASKS = 1
PAXOS, REPLY, SNAPSHOT_ACK = 1, 3, 7
# consensus/paxos_msg.h: promise, reject, accepted, learned, read-ack, vote, release.
PAXOS_ANSWERS = frozenset([2, 3, 5, 8, 10, 12, 15])

AS_IT_IS = ((0.0, True),)  # one copy, at once, behind the ones before


def as_it_is(_frame):
    return AS_IT_IS


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


def is_paxos(frame):
    """Whether a frame has nothing but messages of the protocol, in any order and twice if need be:
    what clients asked and were told, and checkpoints, rely on TCP."""
    at = FRAME_HEAD.size + BODY_HEAD.size
    while at < len(frame):
        kind, _, length = ITEM_HEAD.unpack_from(frame, at)
        if kind != PAXOS:
            return False
        at += ITEM_HEAD.size + length
    return True


async def chunks_of(reader):
    while data := await reader.read(CHUNK):
        yield data


async def put_frames(reader, wire, fates):
    """The hello, and then one frame after the other, each when and as often as its fate wants."""
    hello = True
    while True:
        try:
            length = await reader.readexactly(4)
            frame = length + await reader.readexactly(int.from_bytes(length, "little"))
        except asyncio.IncompleteReadError:
            return
        for delay, in_order in AS_IT_IS if hello else fates(frame):
            await wire.put(frame, delay, in_order)
        hello = False


class Wire:
    """Frames on their way over one connection, each of which leaves when its time has come."""

    def __init__(self):
        self._frames = []  # a heap of (when it leaves, number, frame)
        self._numbers = itertools.count()
        self._last = 0.0   # when the last of those that keep their order leaves
        self._room = asyncio.Semaphore(FRAMES_MAX)
        self._news = asyncio.Event()
        self._ended = False

    async def put(self, frame, delay, in_order):
        await self._room.acquire()
        due = asyncio.get_running_loop().time() + delay
        if in_order:
            due = self._last = max(due, self._last)
        heapq.heappush(self._frames, (due, next(self._numbers), frame))
        self._news.set()

    async def fill(self, reader, fates):
        try:
            await put_frames(reader, self, fates)
        finally:
            self._ended = True
            self._news.set()

    async def frames(self):
        """Until the reader has ended, and nothing is on its way any more."""
        while self._frames or not self._ended:
            self._news.clear()
            left = self._frames[0][0] - asyncio.get_running_loop().time() if self._frames else None
            if left is not None and left <= 0:
                self._room.release()
                yield heapq.heappop(self._frames)[2]
                continue
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except asyncio.TimeoutError:
                pass


class Link:
    """Connections that one node makes to another."""

    def __init__(self, target, host, fates):
        self.target = target
        self.host = host
        self.fates = fates  # fates(frame): (seconds of delay, in order) of each copy that arrives
        self.lost = 0
        self.server = None
        self.connections = set()
        self.open = None  # an asyncio.Event: bytes flow while it is set

    async def start(self):
        self.open = asyncio.Event()
        self.open.set()
        self.server = await asyncio.start_server(self._accept, self.host, 0)
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
        wire = Wire()
        filling = asyncio.ensure_future(wire.fill(reader, self._fates))
        await asyncio.gather(self._pump(wire.frames(), far_writer),
                             self._pump(chunks_of(far_reader), writer))
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
        self.connections.discard(pair)

    def _fates(self, frame):
        fates = self.fates(frame)
        self.lost += not fates
        return fates

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

    def __init__(self, rng, host="127.0.0.1"):
        self._rng = rng
        self._host = host  # where links listen
        self._links = {}  # (from, to) -> Link
        self._fates = as_it_is
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
            link = Link(parse_address(address), self._host, lambda frame: self._fates(frame))
            self._links[node.id, int(other)] = link
            members[other] = f"{self._host}:{self._await(link.start())}"
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
        self._fates = lambda frame: () if (is_request(frame) == requests
                                           and self._rng.random() < share) else AS_IT_IS

    def disturb(self, fates):
        """From now on this says of each frame how often it arrives, and when (disturbance.py)."""
        self._fates = fates

    def lost(self):
        return sum(link.lost for link in self._links.values())

    def heal(self):
        self.settle()
        self.mend(self._links)

    def settle(self):
        """Frames arrive as they are again."""
        self._fates = as_it_is

    def mend(self, directions):
        async def mend():
            for direction in directions:
                self._links[direction].open.set()
        self._await(mend())

    def _await(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)
