"""The network between nodes, in our hands: every link goes through a proxy that can be cut.

Each node is told its own addresses for the others (cluster.nodes is read by each node for itself):
ports of this process, one per direction, which pass everything on until the link is cut. A cut
link takes bytes and keeps them, or drops connections, as real networks do both.
"""

import asyncio
import threading

from .client import parse_address

CHUNK = 64 * 1024


class Link:
    """Connections that one node makes to another."""

    def __init__(self, target):
        self.target = target
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
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self.connections.discard(pair)

    async def _pump(self, reader, writer):
        try:
            while data := await reader.read(CHUNK):
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
            link = Link(parse_address(address))
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

    def heal(self):
        async def heal():
            for link in self._links.values():
                link.open.set()
        self._await(heal())

    def _await(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)
