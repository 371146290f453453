"""A small MessagePack-RPC client: blocking calls, pipelines, raw bytes.

It hides nothing: no retries, no reconnects. Every operation has a timeout, and what comes back that
is not a proper response raises ProtocolError.
"""

import collections
import socket
import time

import msgpack

from .wait import TransientError

REQUEST, RESPONSE, NOTIFICATION = 0, 1, 2
MSGID_MAX = 2**32 - 1


class RpcError(TransientError):
    """An error response."""

    def __init__(self, code, message, details):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = details


class ProtocolError(AssertionError):
    """The server sent something that the protocol does not know."""


def parse_address(text):
    """"127.0.0.1:7001" to ("127.0.0.1", 7001)."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def pack_request(msgid, method, params):
    return msgpack.packb([REQUEST, msgid, method, list(params)])


def pack_notification(method, params):
    return msgpack.packb([NOTIFICATION, method, list(params)])


def error_from(value):
    """The RpcError that the error part of a response describes."""
    ok = (isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)
          and isinstance(value[1], str) and isinstance(value[2], dict))
    if not ok:
        raise ProtocolError(f"an error must be [code, message, details], not {value!r}")
    return RpcError(*value)


class Connection:
    """One connection to one node. Not to be shared between threads."""

    def __init__(self, address, timeout=10.0):
        self.address = address
        self.timeout = timeout
        self._next_msgid = 1
        self._kept = []
        self._events = collections.deque()
        self._unpacker = msgpack.Unpacker(raw=False, strict_map_key=False,
                                          max_buffer_size=256 * 1024 * 1024)
        self._socket = socket.create_connection(address, timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        self._socket.close()

    def call(self, method, *params, timeout=None):
        """One request and its result; an error response raises RpcError."""
        msgid = self.send(method, *params)
        answered, error, result = self.receive(timeout)
        if answered != msgid:
            raise ProtocolError(f"a response to request {answered}, where only {msgid} was open")
        if error is not None:
            raise error
        return result

    def send(self, method, *params):
        """Sends a request and returns its msgid; receive() brings the answer."""
        msgid = self._next_msgid
        self._next_msgid += 1
        self.send_raw(pack_request(msgid, method, params))
        return msgid

    def send_raw(self, data):
        self._socket.settimeout(self.timeout)
        self._socket.sendall(data)

    def receive(self, timeout=None):
        """The next response, whichever request it answers: (msgid, RpcError or None, result)."""
        message = self._receive_message(timeout)
        while self._is_event(message):
            self._events.append(message[2])
            message = self._receive_message(timeout)
        ok = (isinstance(message, list) and len(message) == 4 and message[0] == RESPONSE
              and isinstance(message[1], int) and 0 <= message[1] <= MSGID_MAX)
        if not ok:
            raise ProtocolError(f"not a response: {message!r:.200}")
        _, msgid, error, result = message
        if error is None:
            return msgid, None, result
        if result is not None:
            raise ProtocolError(f"both an error and a result: {message!r:.200}")
        return msgid, error_from(error), None

    @staticmethod
    def _is_event(message):
        return (isinstance(message, list) and len(message) == 3 and message[:2] == [
            NOTIFICATION, "event"] and isinstance(message[2], list) and len(message[2]) == 5)

    def event(self, timeout=None):
        """The next event of a watch: [watch id, event, key, version, value or None]."""
        if not self._events:
            message = self._receive_message(timeout)
            if not self._is_event(message):
                raise ProtocolError(f"not an event: {message!r:.200}")
            self._events.append(message[2])
        return self._events.popleft()

    def no_event(self):
        """True when no event has come: what was sent before the answer to a ping is here."""
        self.call("ping")
        return not self._events

    def fileno(self):
        return self._socket.fileno()

    def receive_there(self):
        """The responses that are there once the socket can be read, each as receive() returns it;
        waits for one at least."""
        answers = [self.receive()]
        try:
            while True:
                answers.append(self.receive(0))
        except TimeoutError:
            return answers

    def pipeline(self, requests, timeout=None):
        """Sends all (method, *params) at once; returns the answers in the order of the requests, an
        error as an RpcError object."""
        first = self._next_msgid
        self._next_msgid += len(requests)
        packed = [pack_request(first + i, method, params)
                  for i, (method, *params) in enumerate(requests)]
        self.send_raw(b"".join(packed))
        answers = {}
        while len(answers) < len(requests):
            msgid, error, result = self.receive(timeout)
            if not first <= msgid < first + len(requests) or msgid in answers:
                raise ProtocolError(f"a surplus response, to request {msgid}")
            answers[msgid] = result if error is None else error
        return [answers[first + i] for i in range(len(requests))]

    def code_of(self, method, *params):
        """The code of the error that a call ends with; None for none."""
        try:
            self.call(method, *params)
            return None
        except RpcError as error:
            return error.code

    def set_all(self, entries):
        """Sets all (key, value, options) at once. A busy machine may change leaders: what nobody
        could say anything of in time is set once more, which is the same."""
        asked = {self.send("set", *entry): entry for entry in entries}
        while asked:
            msgid, error, _ = self.receive()
            entry = asked.pop(msgid)
            if error is None:
                continue
            if error.code not in ("TIMEOUT", "NO_QUORUM"):
                raise error
            asked[self.send("set", *entry)] = entry

    def closed_by_server(self, timeout=10.0):
        """Reads until the server closes; True if it did, and False if `timeout` passed first.
        Responses on the way are left for kept()."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self._kept.append(self.receive(max(0.001, deadline - time.monotonic())))
        except TimeoutError:
            return False
        except OSError:
            return True

    def kept(self):
        """The responses that closed_by_server() met."""
        return self._kept

    def _receive_message(self, timeout):
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            try:
                return self._unpacker.unpack()
            except msgpack.OutOfData:
                pass
            except (msgpack.UnpackException, ValueError) as error:
                raise ProtocolError(f"not MessagePack: {error}") from None
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer from {self.address[0]}:{self.address[1]} in time")
            self._socket.settimeout(left)
            data = self._socket.recv(256 * 1024)
            if not data:
                raise ConnectionResetError(
                    f"{self.address[0]}:{self.address[1]} closed the connection")
            self._unpacker.feed(data)
