"""MONITOR: who asks for it sees what the clients of the node do."""

import contextlib
import re

from mayfly_test.check import equal, true
from mayfly_test.client import parse_address
from mayfly_test.resp import RedisServer, Resp
from mayfly_test.wait import wait_for

OK = b"+OK\r\n"
REQUESTS = [["SET", "a", b"b\"\\\n\r\t\a\b\x00\xff'"], ["nosuch", "x"], ["GET"], ["get", "a"],
            ["MULTI"], ["GET", "a"], ["PING"], ["EXEC"], ["AUTH", "secret"],
            ["AUTH", "default", "secret"], ["HELLO", "2"], ["HELLO", "9"], ["CLIENT", "LIST"],
            ["CLIENT", "ID"], ["PUBLISH", "a", "b"], ["INCR", "a"], ["ECHO", ""],
            ["COMMAND", "COUNT"], ["RESET"], ["SUBSCRIBE", "x"]]


def start(t):
    return t.cluster(1, shards=4, mode="none",
                     overrides={"listen.resp": "127.0.0.1:0", "node.threads": 2}).node(1)


def address(node):
    return parse_address(node.ready["resp"])


def lines_until(client, last):
    """What is seen, without the time and the port, up to the line that ends with `last`."""
    lines = []
    while not lines or not lines[-1].endswith(last):
        line = client.receive()
        true(re.match(rb"\+\d{10}\.\d{6} \[0 127\.0\.0\.1:\d+\] \"", line), f"{line} has its form")
        lines.append(line.split(b"] ", 1)[1].rstrip())
    return lines


def test_commands_are_shown_as_by_redis(t):
    seen = []
    with RedisServer(t.dir) as server:
        for at in (server.address, address(start(t))):
            with Resp(at) as monitor, Resp(at) as client:
                equal(monitor.call("MONITOR"), OK, "MONITOR")
                client.pipeline(REQUESTS)
                seen.append(lines_until(monitor, b'"SUBSCRIBE" "x"'))
    # What is refused for its words is shown where Redis finds that out in the command itself.
    theirs = [line for line in seen[0] if line != b'"HELLO" "9"']
    ours = [line for line in seen[1] if line != b'"HELLO" "9"']
    equal(ours, theirs, "what is seen")


def test_all_threads_are_seen_and_long_words_are_cut(t):
    node = start(t)
    with contextlib.ExitStack() as stack:
        connect = lambda: stack.enter_context(Resp(address(node)))
        monitors = [connect() for _ in range(4)]
        for monitor in monitors:
            equal(monitor.call("MONITOR"), OK, "MONITOR")
        clients = [connect() for _ in range(8)]
        for i, client in enumerate(clients):
            client.call("SET", f"key:{i}", "x" * 2000)
        clients[0].call("MGET", *["y" * 1000] * 30)
        for monitor in monitors:
            lines = [monitor.receive().split(b"] ", 1)[1].rstrip() for _ in range(9)]
            long = [line for line in lines if line.startswith(b'"MGET"')]
            equal(sorted(set(lines) - set(long)),
                  [b'"SET" "key:%d" "%s"... (976 more bytes)' % (i, b"x" * 1024)
                   for i in range(8)], "what is seen")
            true(re.search(rb"\.\.\. \(\d+ more arguments\)$", long[0]), long[0][-80:])
        equal(monitors[0].call("RESET"), b"+RESET\r\n", "RESET")
        clients[1].call("PING", "the end")
        equal(monitors[0].call("PING"), b"+PONG\r\n", "what is seen after RESET")
        wait_for(lambda: monitors[1].receive().endswith(b'"PING" "the end"\r\n'), 20, "the end")


def test_who_does_not_read_is_closed(t):
    node = start(t)
    with Resp(address(node)) as monitor, Resp(address(node)) as client:
        equal(monitor.call("MONITOR"), OK, "MONITOR")
        mine = client.call("CLIENT", "ID")
        words = ["MGET", *["z" * 1000] * 12]

        def closed():
            client.pipeline([words] * 200)
            return b"flags=O" not in client.call("CLIENT", "LIST")
        wait_for(closed, 60, "the connection to be closed")
        true(monitor.at_end(), "its end")
        equal(client.call("CLIENT", "ID"), mine, "the other connection")
