"""The protocol between nodes, as a stranger or a false node would speak it (rpc/peer_frame.h)."""

import ctypes
import hashlib
import hmac
import os
import socket
import struct

MAGIC = int.from_bytes(b"MYLPEER1", "little")
PROTOCOL = 7
LEASE_MS = 500
NONCE_BYTES = PROOF_BYTES = 32
CALLER, LISTENER = 1, 2
PUBLISH = 14

_xxhash = ctypes.CDLL("libxxhash.so.0")
_xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64


def whole(connection):
    """One greeting, without its length; b"" where the other side has closed."""
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack_from("<I", data)[0]:
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
    return data[4:]


def challenge(nonce):
    body = struct.pack("<QI", MAGIC, PROTOCOL) + nonce
    return struct.pack("<I", len(body)) + body


def text(value):
    return struct.pack("<H", len(value)) + value.encode()


def fields(of, to, incarnation, nodes, shards, cluster="e2e"):
    """What node `of` of a new cluster of `nodes` nodes says of itself to node `to`."""
    members = ",".join(str(i) for i in range(1, nodes + 1))
    return (struct.pack("<QIHHHQQIIIQQQ", MAGIC, PROTOCOL, of, to, 0, incarnation, 0, shards, nodes,
                        LEASE_MS, 1, 0, 0)
            + b"".join(text(each) for each in (members, cluster, "127.0.0.1:1", "", "", "", "")))


def hello(secret, role, said, theirs, ours):
    """A greeting with its proof."""
    proof = hmac.new(secret, bytes([role]) + theirs + ours + said, hashlib.sha256).digest()
    body = said + ours + proof
    return struct.pack("<I", len(body)) + body


def nonce():
    return os.urandom(NONCE_BYTES)


def call(address):
    """Connects to a peer port; the connection and its challenge's nonce."""
    connection = socket.create_connection(address, timeout=20)
    return connection, whole(connection)[12:]


def greet(address, secret, said):
    """Calls with this proof; the connection, what was sent, and the answer, b"" for none."""
    connection, theirs = call(address)
    sent = hello(secret, CALLER, said, theirs, nonce())
    connection.sendall(sent)
    try:
        return connection, sent, whole(connection)
    except ConnectionResetError:
        return connection, sent, b""


def closed(connection):
    """True once the other side has closed."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def frame(items, mono_us=1):
    """Items are (kind, shard, bytes)."""
    body = struct.pack("<QBQQQI", mono_us, 0, 0, 0, 1, 0)
    for kind, shard, content in items:
        body += struct.pack("<BII", kind, shard, len(content)) + content
    checksum = _xxhash.XXH3_64bits_withSeed(body, ctypes.c_size_t(len(body)),
                                            ctypes.c_uint64(MAGIC))
    return struct.pack("<IQ", len(body) + 8, checksum) + body


def published(channel, message):
    """A frame with a client's message, which has an effect that can be heard."""
    return frame([(PUBLISH, 0, publication(channel, message))])


def publication(channel, message):
    return struct.pack("<I", len(channel)) + channel + struct.pack("<I", len(message)) + message
