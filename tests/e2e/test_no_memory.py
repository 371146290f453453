"""A node whose system gives no more memory ends, says so, and has lost nothing."""

import pathlib
import resource
import signal

from mayfly_test.check import contains, equal, true
from mayfly_test.context import limit

MB = 1_000_000
ROOM = 48 * MB  # of addresses, beside those that the node has when it is full of nothing
VALUE = 100_000
WRITES_MAX = 2000  # 200 MB: four times the room


def address_space(pid):
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def value_of(i):
    return (b"%06d" % i) * (VALUE // 6)


def write_until_the_end(node):
    """Sets large values in turn, and returns how many were acknowledged before the node ended."""
    with node.connect(timeout=60) as connection:
        for i in range(WRITES_MAX):
            try:
                connection.call("set", f"k{i}", value_of(i))
            except (ConnectionError, EOFError):
                return i
    raise AssertionError(f"{WRITES_MAX * VALUE} bytes fit into {ROOM}")


@limit(300)
def test_a_node_that_gets_no_memory_ends_and_loses_nothing(t):
    if t.sanitized:
        t.note("left out: a sanitizer has reserved its addresses already")
        return
    cluster = t.cluster(1, shards=2)
    node = cluster.node(1)
    node.call("set", "k", "v")
    room = address_space(node.pid) + ROOM
    resource.prlimit(node.pid, resource.RLIMIT_AS, (room, room))
    acknowledged = write_until_the_end(node)
    equal(node.wait_end(60), -signal.SIGABRT, "how the node ended")
    contains(node.log_text(), "mayfly: out of memory (", "what the node said")
    true(acknowledged > 0, "no write was acknowledged at all")

    node.start()
    node.wait_ready()
    cluster.wait_settled()
    with node.connect(timeout=60) as connection:
        for i in range(acknowledged):
            equal(connection.call("get", f"k{i}"), value_of(i), f"k{i} of {acknowledged}")
    t.note(f"{acknowledged} writes of {VALUE} bytes fitted into {ROOM} and are there")
