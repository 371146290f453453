"""The Redis protocol as bytes: requests are packed and replies cut apart here, and not understood, so
that two servers can be compared byte by byte. And Redis's own server, to compare with."""

import pathlib
import shutil
import socket

from . import process
from .cluster import free_port
from .wait import wait_for


def pack(words):
    """A request as an array of bulk strings; words are bytes, text or integers."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Resp:
    """One connection. What is read is whole replies, as the bytes that came."""

    def __init__(self, address, version=2, timeout=10.0):
        self.socket = socket.create_connection(address, timeout)
        self.file = self.socket.makefile("rb")
        if version == 3:
            self.call("HELLO", 3)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _line(self):
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError(f"the connection was closed after {line!r}")
        return line

    def receive(self):
        line = self._line()
        kind = line[:1]
        if kind in b"+-:_#,(":
            return line
        if kind not in b"$=!*~>%":
            raise AssertionError(f"{line!r} is no reply")
        count = int(line[1:])
        if kind in b"$=!":
            return line if count < 0 else line + self.file.read(count + 2)
        if kind == b"%":
            count *= 2
        return line + b"".join(self.receive() for _ in range(count))

    def call(self, *words):
        self.send(pack(words))
        return self.receive()

    def pipeline(self, requests):
        self.send(b"".join(pack(request) for request in requests))
        return [self.receive() for _ in requests]

    def at_end(self):
        """True when the server has closed the connection; what it still sent is dropped."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True


class RedisServer:
    """Debian's redis-server on a port of its own, in memory only."""

    def __init__(self, folder, *options):
        program = shutil.which("redis-server")
        if program is None:
            raise AssertionError("redis-server is missing; scripts/deps installs it")
        self.log = pathlib.Path(folder) / "redis.log"
        for _ in range(5):
            self.address = ("127.0.0.1", free_port())
            with open(self.log, "wb") as log:
                self.process = process.spawn(
                    [program, "--port", self.address[1], "--bind", "127.0.0.1", "--save", "",
                     "--appendonly", "no", "--dir", folder, *options], stdout=log, stderr=log)
            wait_for(self._serves_or_ended, 20, "redis-server")
            if self.process.poll() is None:
                return
        raise AssertionError(f"redis-server ended, see {self.log}")

    def _serves_or_ended(self):
        """Ended: somebody else has taken the port meanwhile, and may even answer there."""
        if self.process.poll() is not None:
            return True
        with Resp(self.address) as connection:
            return connection.call("PING")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
