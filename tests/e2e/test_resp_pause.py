"""CLIENT PAUSE: requests wait, and nothing of them is lost."""

import contextlib
import socket

from mayfly_test.check import equal, true
from mayfly_test.client import parse_address
from mayfly_test.resp import Resp, pack
from mayfly_test.wait import wait_for

OK = b"+OK\r\n"


def start(t):
    return t.cluster(1, shards=4, mode="none",
                     overrides={"listen.resp": "127.0.0.1:0", "node.threads": 2}).node(1)


def connect(stack, node):
    return stack.enter_context(Resp(parse_address(node.ready["resp"])))


def answers_within(client, seconds):
    client.socket.settimeout(seconds)
    try:
        return bool(client.socket.recv(1, 2))  # MSG_PEEK
    except TimeoutError:
        return False
    finally:
        client.socket.settimeout(30)


def test_writes_wait_until_the_pause_is_ended(t):
    node = start(t)
    with contextlib.ExitStack() as stack:
        asker = connect(stack, node)
        writers = [connect(stack, node) for _ in range(6)]
        equal(asker.call("CLIENT", "PAUSE", "1000000", "WRITE"), OK, "CLIENT PAUSE")
        for i, client in enumerate(writers[:4]):
            client.send(b"".join(pack(words) for words in (
                ["GET", f"{i}"], ["SET", f"{i}", "v"], ["GET", f"{i}"], ["INCR", "n"])))
        writers[4].send(b"".join(pack(words) for words in (
            ["MULTI"], ["SET", "m", "v"], ["EXEC"])))
        writers[5].send(b"".join(pack(words) for words in (
            ["MULTI"], ["GET", "m"], ["EXEC"], ["PUBLISH", "a", "b"])))
        for client in writers[:4]:
            equal(client.receive(), b"$-1\r\n", "a read before the write")
        equal(writers[4].receive(), OK, "MULTI")
        equal([writers[5].receive() for _ in range(3)], [OK, b"+QUEUED\r\n", b"*1\r\n$-1\r\n"],
              "a transaction that reads")
        true(not any(answers_within(client, 0.05) for client in writers), "writes wait")
        equal(asker.call("DBSIZE"), b":0\r\n", "keys meanwhile")
        gone = connect(stack, node)
        gone.send(pack(["SET", "gone", "v"]))
        gone.close()
        equal(asker.call("CLIENT", "UNPAUSE"), OK, "CLIENT UNPAUSE")
        for client in writers[:4]:
            equal([client.receive() for _ in range(2)], [OK, b"$1\r\nv\r\n"], "what has waited")
        equal(sorted(client.receive() for client in writers[:4]),
              [b":%d\r\n" % n for n in range(1, 5)], "each once")
        equal([writers[4].receive() for _ in range(2)], [b"+QUEUED\r\n", b"*1\r\n+OK\r\n"],
              "a transaction that writes")
        equal(writers[5].receive(), b":0\r\n", "PUBLISH")


def test_a_pause_of_all_ends_by_itself_and_never_gets_shorter(t):
    node = start(t)
    with contextlib.ExitStack() as stack:
        asker, reader, late = (connect(stack, node) for _ in range(3))
        # Both are there before anything waits.
        equal(asker.pipeline([["CLIENT", "PAUSE", "700", "WRITE"], ["CLIENT", "PAUSE", "1", "ALL"]]),
              [OK, OK], "CLIENT PAUSE")
        reader.send(pack(["PING"]))
        late.send(pack(["NOSUCH"]))
        equal(late.receive()[:4], b"-ERR", "what is no command does not wait")
        equal(reader.receive(), b"+PONG\r\n", "after the pause")
        equal(asker.call("CLIENT", "ID")[:1], b":", "all are served again")


def clients_of(asker):
    lines = asker.call("CLIENT", "LIST").split(b"\n")
    return sum(line.startswith(b"id=") for line in lines)


def told(client):
    try:
        return client.socket.recv(100)
    except ConnectionResetError:  # not all that it had sent was read
        return b""


def test_who_leaves_while_it_waits_gives_its_place_back(t):
    node = t.cluster(1, shards=4, mode="none", overrides={
        "listen.resp": "127.0.0.1:0", "node.threads": 2,
        "security.debug_commands": "yes"}).node(1)
    with contextlib.ExitStack() as stack:
        asker, stays = connect(stack, node), connect(stack, node)
        equal(asker.call("CLIENT", "PAUSE", "10000000", "WRITE"), OK, "CLIENT PAUSE")
        stays.send(pack(["SET", "stays", "v"]))
        waits = [pack(["SET", "left", "v"]), pack(["DEBUG", "SLEEP", "10000"])]
        more = pack(["PING"]) * 1000  # what is behind it and not read
        leavers = [connect(stack, node) for _ in range(8)]
        for i, client in enumerate(leavers):
            client.send(waits[i % 2] + (more if i // 2 % 2 else b""))
        # Some close it all, some their sending side: to Redis that is the same.
        halves = leavers[4:]
        for client in leavers[:4]:
            client.close()
        for client in halves:
            client.socket.shutdown(socket.SHUT_WR)
        wait_for(lambda: clients_of(asker) == 2, 60, "those that left are dropped")
        for client in halves:
            equal(told(client), b"", "what it is told")
        equal(asker.call("CLIENT", "UNPAUSE"), OK, "CLIENT UNPAUSE")
        equal(stays.receive(), OK, "who has stayed")
        equal(asker.call("MGET", "stays", "left"), b"*2\r\n$1\r\nv\r\n$-1\r\n", "what is set")


def test_half_closed_connections_get_what_they_have_asked_for(t):
    node = start(t)
    with contextlib.ExitStack() as stack:
        client = connect(stack, node)
        client.send(pack(["SET", "k", "v"]) + pack(["GET", "k"]))
        client.socket.shutdown(socket.SHUT_WR)
        equal([client.receive(), client.receive()], [OK, b"$1\r\nv\r\n"], "replies")
        equal(client.socket.recv(100), b"", "then the end")
