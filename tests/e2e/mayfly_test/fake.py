"""A small server of single keys in this process, whose answers a test may change on their way: what a
checker checks can only be seen to fail by a server that is wrong."""

import socket
import threading


class FakeServer:
    """Speaks RESP, and memcached's meta commands, as far as mayfly-bench does. `change(words, reply)`
    returns what is sent in the place of a reply: other bytes, b"" for nothing at all, or None to
    close the connection."""

    def __init__(self, change=lambda words, reply: reply):
        self.change = change
        self.data = {}
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                connection.close()

    @property
    def connections(self):
        """As many as there have been."""
        with self._lock:
            return len(self._connections)

    def _accept(self):
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            with self._lock:
                self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        queue = []  # MULTI and what follows it
        try:
            with connection, connection.makefile("rb") as file:
                while line := file.readline():
                    words, reply = self._answer(line, file, queue)
                    reply = self.change(words, reply)
                    if reply is None:
                        connection.shutdown(socket.SHUT_RDWR)
                        return
                    connection.sendall(reply)
        except OSError:
            pass  # the client has what it wanted

    def _answer(self, line, file, queue):
        if line.startswith(b"*"):
            words = [self._bulk(file) for _ in range(int(line[1:]))]
            with self._lock:
                return words, self._in_transaction(words, queue)
        words = line.split()
        value = file.read(int(words[2]) + 2)[:-2] if words[0] == b"ms" else b""
        with self._lock:
            return words, self._meta(words, value)

    @staticmethod
    def _bulk(file):
        length = int(file.readline()[1:])
        return file.read(length + 2)[:-2]

    def _in_transaction(self, words, queue):
        if words[0] == b"EXEC":
            replies = [self._resp(each) for each in queue[1:]]
            queue.clear()
            return b"*%d\r\n" % len(replies) + b"".join(replies)
        if not queue and words[0] != b"MULTI":
            return self._resp(words)
        queue.append(words)
        return b"+OK\r\n" if words[0] == b"MULTI" else b"+QUEUED\r\n"

    def _resp(self, words):
        name, key = words[0], words[1] if len(words) > 1 else None
        if name == b"SET" and b"XX" in words[3:] and key not in self.data:
            return b"$-1\r\n"
        if name == b"SET":
            self.data[key] = words[2]
            return b"+OK\r\n"
        if name == b"GET":
            value = self.data.get(key)
            return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)
        if name == b"INCR":
            self.data[key] = b"%d" % (int(self.data.get(key, 0)) + 1)
            return b":%s\r\n" % self.data[key]
        if name == b"DEL":
            return b":%d\r\n" % (self.data.pop(key, None) is not None)
        return b"-ERR unknown command '%s'\r\n" % name

    def _meta(self, words, value):
        name, key = words[0], words[1]
        if name == b"ms":
            self.data[key] = value
            return b"HD\r\n"
        if name == b"ma":
            self.data[key] = b"%d" % (int(self.data.get(key, 0)) + 1)
        if name == b"md":
            return b"HD\r\n" if self.data.pop(key, None) is not None else b"NF\r\n"
        found = self.data.get(key)
        return b"EN\r\n" if found is None else b"VA %d\r\n%s\r\n" % (len(found), found)


def cluster_slots(ranges):
    """The answer to CLUSTER SLOTS of (first, last, address) rows, as Redis writes it."""
    def row(first, last, address):
        host, _, port = address.rpartition(":")
        node = b"*3\r\n$%d\r\n%s\r\n:%s\r\n$2\r\nid\r\n" % (len(host), host.encode(), port.encode())
        return b"*3\r\n:%d\r\n:%d\r\n%s" % (first, last, node)
    return b"*%d\r\n" % len(ranges) + b"".join(row(*each) for each in ranges)
