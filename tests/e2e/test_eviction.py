"""A node whose memory is full: what it refuses, what it evicts, and memory that goes back."""

from mayfly_test.check import equal, true
from mayfly_test.client import RpcError
from mayfly_test.context import limit
from mayfly_test.wait import wait_for

MAX = 8 << 20
VALUE = b"v" * 1000


def memory(eviction):
    return {"memory.max_bytes": "8mb", "memory.eviction": eviction}


def code_of(connection, *call):
    try:
        connection.call(*call)
        return None
    except RpcError as error:
        return error.code


def write(connection, first, last, **options):
    """Keys of a kilobyte, fifty at a time; the code of the error that stopped it, and where."""
    for n in range(first, last, 50):
        pairs = [[f"key {i}", VALUE] for i in range(n, min(n + 50, last))]
        code = code_of(connection, "mset", pairs, options)
        if code is not None:
            return code, n
    return None, last


def stat(node, name):
    return node.call("stats")[name]


def check_limit(cluster):
    """What other leaders had on their way when one said stop may come on top, and for a moment what
    a reactor let in on a reading a little old, until that is evicted."""
    most = MAX if len(cluster.nodes) == 1 else MAX * 1.05
    for node in cluster.nodes:
        wait_for(lambda node=node: stat(node, "store_bytes") <= most, 10,
                 f"node {node.id} to keep to its limit")
        stats = node.call("stats")
        parts = sum(shard[name] for shard in stats["shard_memory"]
                    for name in ("key_bytes", "table_bytes", "heap_bytes", "id_bytes"))
        equal(parts, stats["store_bytes"], "the sum of the shards' figures")


@limit(180)
def test_a_full_node_refuses_growth_and_serves_the_rest(t):
    cluster = t.cluster(3, shards=4, overrides={**memory("noeviction"), **t.patience})
    with cluster.node(1).connect(timeout=60) as connection:
        code, reached = write(connection, 0, 20000)
        equal(code, "OUT_OF_MEMORY", "the answer to a write that does not fit")
        true(reached > 4000, f"only {reached} kilobytes fitted into 8 MiB")
        cluster.wait_equal()
        check_limit(cluster)
        equal(code_of(connection, "set", "big", b"x" * MAX), "OUT_OF_MEMORY", "a value too big")
        equal(connection.call("get", "key 7"), VALUE, "a read")
        equal(connection.call("expire", "key 7", 100000), True, "an expire")
        equal(connection.call("persist", "key 7", {"id": b"one"}), True, "a write with an id")
        equal(connection.call("expire", "key 8", 1), True, "a TTL that ends soon")
        wait_for(lambda: connection.call("get", "key 8") is None, 10, "its end")
        # A full node starts again, and catches up on what is still done.
        cluster.node(2).kill9()
        # With an id: what is sent to a leader that has just died is sent again.
        equal(connection.call("del", ["key 9"], {"id": b"two"}), 1, "a delete")
        cluster.node(2).restart()
        cluster.wait_equal()
        cluster.kill()
    cluster.restart()
    with cluster.node(1).connect(timeout=60) as connection:
        equal(connection.call("get", "key 7"), VALUE, "a read after a restart of all")
        for n in range(0, 1000, 50):
            connection.call("del", [f"key {i}" for i in range(n, n + 50)])
        wait_for(lambda: code_of(connection, "set", "new", VALUE) is None, 10, "room")


@limit(180)
def test_eviction_by_use_keeps_what_is_read(t):
    # One node: a new leader would not know what was read from the old one.
    cluster = t.cluster(1, shards=4, mode="none", overrides={**memory("allkeys-lru"), **t.patience})
    hot = [f"key {n}" for n in range(0, 500)]
    with cluster.node(1).connect(timeout=60) as connection:
        for n in range(0, 30000, 500):
            code, _ = write(connection, n, n + 500)
            equal(code, None, "a write while keys are evicted")
            for part in range(0, 500, 100):
                connection.call("mget", hot[part:part + 100])
        kept = sum(connection.call("has", hot))
        check_limit(cluster)
        # 500 of some 6,500 that fit of 30,000.
        true(kept >= 450, f"{kept} of 500 keys that are always read were kept")


@limit(180)
def test_replicas_evict_what_their_leader_has_chosen(t):
    cluster = t.cluster(3, shards=4, mode="none", overrides={**memory("allkeys-lru"), **t.patience})
    with cluster.node(1).connect(timeout=60) as connection:
        for first in range(0, 30000, 5000):
            equal(write(connection, first, first + 5000)[0], None, "writes while keys are evicted")
            # Whoever fell far behind would be sent a state, and not evict what is not in it.
            cluster.wait_equal()
        check_limit(cluster)
        # A leader may evict a little more when nothing is written any more.
        def settled():
            evicted = [stat(node, "keys_evicted") for node in cluster.nodes]
            left = connection.call("size")
            return evicted == [30000 - left] * 3 and evicted
        evicted = wait_for(settled, 30, "as many evicted keys on each node as are missing")
        true(evicted[0] > 20000, f"{evicted[0]} keys evicted")


@limit(180)
def test_eviction_by_ttl_takes_what_dies_next_until_nothing_is_left(t):
    cluster = t.cluster(1, shards=2, mode="none", overrides={**memory("volatile-ttl"), **t.patience})
    with cluster.node(1).connect(timeout=60) as connection:
        equal(write(connection, 0, 2000, ttl=10**9)[0], None, "writes that die late")
        equal(write(connection, 2000, 9000, ttl=10**8)[0], None, "writes that die sooner")
        check_limit(cluster)
        equal(sum(connection.call("has", [f"key {n}" for n in range(2000)])), 2000,
              "keys that die late and are there")
        code, reached = write(connection, 10000, 30000)
        equal(code, "OUT_OF_MEMORY", "the answer when nothing has a TTL")
        true(reached - 10000 > 4000, f"only {reached - 10000} keys without a TTL fitted")
        check_limit(cluster)
        # What was split by shard may have been written in part.
        sound = [f"key {n}" for n in range(10000, reached)]
        equal(sum(connection.call("has", sound)), len(sound), "keys without a TTL")
        connection.call("del", sound[:200])
        wait_for(lambda: code_of(connection, "set", "new", VALUE) is None, 10, "room")


@limit(180)
def test_memory_goes_back_to_the_system(t):
    if t.sanitized:
        return # they keep what was freed
    cluster = t.cluster(1, shards=4, mode="none")
    node = cluster.node(1)
    with node.connect(timeout=60) as connection:
        for how in ("flush", "expiry"):
            for n in range(0, 100000, 500):
                connection.call("mset", [[f"key {i}", VALUE] for i in range(n, n + 500)],
                                {} if how == "flush" else {"ttl": 8000})
            full = node.rss_bytes()
            true(full > 100 << 20, f"{full} bytes resident with 100 MB of values")
            if how == "flush":
                connection.call("flush")
            wait_for(lambda: connection.call("size") == 0, 60, f"an empty store after {how}")
            wait_for(lambda: node.rss_bytes() < full * 0.6, 60,
                     f"memory to go back after {how}")
