"""CLIENT TRACKING: who keeps what it has read is told when that has changed."""

import contextlib

from mayfly_test.check import equal, true
from mayfly_test.client import parse_address
from mayfly_test.resp import RedisServer, Resp, pack
from mayfly_test.wait import wait_for

OK = b"+OK\r\n"
ALL = b">2\r\n$10\r\ninvalidate\r\n_\r\n"


def start(t, n=1, **options):
    return t.cluster(n, shards=4, mode="none",
                     overrides={"listen.resp": "127.0.0.1:0", "node.threads": 2}, **options)


def address(node):
    return parse_address(node.ready["resp"])


def changed(key):
    return b">2\r\n$10\r\ninvalidate\r\n*1\r\n$%d\r\n%s\r\n" % (len(key), key.encode())


def until(client, last):
    """What comes up to the reply to a PING of `last`."""
    client.send(pack(["PING", last]))
    end = b"$%d\r\n%s\r\n" % (len(last), last.encode())
    heard = [client.receive()]
    while heard[-1] != end:
        heard.append(client.receive())
    return heard[:-1]


def told(client, key):
    """Waits for word of the key; what comes before it too."""
    heard = []
    while not heard or heard[-1] != changed(key):
        heard.append(client.receive())
    return heard


# How it is asked for: what is answered, beside Redis.
DIALOGUES = [
    [["CLIENT", "TRACKINGINFO"], ["CLIENT", "GETREDIR"], ["CLIENT", "CACHING", "YES"],
     ["CLIENT", "TRACKING", "x"], ["CLIENT", "TRACKING", "ON", "x"], ["CLIENT", "TRACKING", "OFF"],
     ["CLIENT", "TRACKING"], ["CLIENT", "TRACKING", "ON", "PREFIX", "a"],
     ["CLIENT", "TRACKING", "ON", "PREFIX"], ["CLIENT", "TRACKING", "ON", "OPTIN", "OPTOUT"],
     ["CLIENT", "TRACKING", "ON", "OPTIN", "BCAST"], ["CLIENT", "TRACKING", "ON", "REDIRECT", "x"],
     ["CLIENT", "TRACKING", "ON"], ["CLIENT", "TRACKINGINFO"], ["CLIENT", "GETREDIR"],
     ["CLIENT", "TRACKING", "ON"], ["CLIENT", "TRACKING", "ON", "BCAST"],
     ["CLIENT", "TRACKING", "ON", "OPTIN"], ["CLIENT", "CACHING", "YES"],
     ["CLIENT", "TRACKING", "OFF"], ["CLIENT", "TRACKINGINFO"]],
    [["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "a", "PREFIX", "ab"],
     ["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "a", "PREFIX", "b"],
     ["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "bc"],
     ["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "c"], ["CLIENT", "TRACKING", "ON"],
     ["CLIENT", "TRACKING", "OFF"]],
    [["CLIENT", "TRACKING", "ON", "OPTIN"], ["CLIENT", "CACHING", "NO"],
     ["CLIENT", "CACHING", "x"], ["CLIENT", "CACHING", "YES"], ["CLIENT", "TRACKINGINFO"],
     ["GET", "none"], ["CLIENT", "TRACKINGINFO"], ["CLIENT", "TRACKING", "ON", "OPTOUT"],
     ["CLIENT", "CACHING", "YES"], ["MULTI"], ["GET", "none"], ["EXEC"], ["PING"], ["CLIENT", "TRACKINGINFO"]],
    [["CLIENT", "TRACKING", "ON", "OPTOUT", "NOLOOP"], ["CLIENT", "CACHING", "YES"],
     ["CLIENT", "CACHING", "NO"], ["CLIENT", "TRACKINGINFO"], ["PING"],
     ["CLIENT", "TRACKINGINFO"]],
]


def test_it_is_asked_for_as_of_redis(t):
    node = start(t).node(1)
    with RedisServer(t.dir) as server:
        for dialogue in DIALOGUES:
            with Resp(server.address, 3) as theirs, Resp(address(node), 3) as ours:
                for words in dialogue:
                    equal(ours.call(*words), theirs.call(*words), f"{words} of {dialogue}")
    with Resp(address(node)) as client:
        true(client.call("CLIENT", "TRACKING", "ON").startswith(b"-ERR tracking needs RESP3"), "2")
    with Resp(address(node), 3) as client:
        true(client.call("CLIENT", "TRACKING", "ON", "REDIRECT", "1").startswith(b"-ERR REDIRECT"),
             "REDIRECT")
        many = [word for i in range(65) for word in ("PREFIX", f"{i:02}")]
        true(client.call("CLIENT", "TRACKING", "ON", "BCAST", *many).startswith(b"-ERR at most"),
             "prefixes")
        client.call("CLIENT", "TRACKING", "ON")
        equal(client.call("HELLO", "2")[:1], b"*", "HELLO 2")
        true(b"off" in client.call("CLIENT", "TRACKINGINFO"), "RESP2 ends it")


def test_what_was_read_is_told_once_and_what_was_not_is_not(t):
    cluster = start(t, 3)
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(Resp(address(node), 3)) for node in cluster.nodes
                   for _ in range(2)]
        writer = stack.enter_context(Resp(address(cluster.nodes[0])))
        writer.call("MSET", *[word for i in range(20) for word in (f"k{i}", "v")])
        for reader in readers:
            equal(reader.call("CLIENT", "TRACKING", "ON"), OK, "TRACKING")
            equal(reader.call("GET", "k1"), b"$1\r\nv\r\n", "GET")
            reader.call("MGET", "k2", "k3", "absent")
            reader.call("STRLEN", "k4")
            reader.pipeline([["MULTI"], ["GET", "k5"], ["EXEC"]])
        writer.call("SET", "k9", "w")  # nobody has read it
        for key in ("k1", "k2", "k3", "k4", "k5", "absent"):
            writer.call("SET", key, "w")
            writer.call("SET", key, "x")
        writer.call("SET", "last", "v")
        for reader in readers:
            heard = [reader.receive() for _ in range(6)]
            equal(sorted(heard), sorted(changed(key) for key in
                                        ("k1", "k2", "k3", "k4", "k5", "absent")), "what is told")
            # And nothing else, as far as what is read now shows.
            equal(reader.call("GET", "last"), b"$1\r\nv\r\n", "GET")
        writer.call("DEL", "last")
        for reader in readers:
            equal(reader.receive(), changed("last"), "a key that is deleted")


def test_a_key_that_expires_is_told_and_prefixes_are_told_unread(t):
    node = start(t).node(1)
    with Resp(address(node), 3) as reader, Resp(address(node), 3) as all_of, \
            Resp(address(node)) as writer:
        reader.call("CLIENT", "TRACKING", "ON")
        equal(all_of.call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "a:", "PREFIX", "b:"), OK,
              "BCAST")
        writer.call("SET", "a:1", "v", "PX", "500")
        reader.call("GET", "a:1")
        for key in ("c:1", "b:1", "ab"):
            writer.call("SET", key, "v")
        heard = told(reader, "a:1")
        equal(heard[:-1], [], "what is told before the expiry")
        equal(sorted(all_of.receive() for _ in range(3)),
              sorted([changed("a:1"), changed("a:1"), changed("b:1")]), "what a prefix tells")


def test_opting_in_and_out(t):
    node = start(t).node(1)
    with Resp(address(node), 3) as inside, Resp(address(node), 3) as outside, \
            Resp(address(node)) as writer:
        inside.call("CLIENT", "TRACKING", "ON", "OPTIN")
        outside.call("CLIENT", "TRACKING", "ON", "OPTOUT")
        inside.pipeline([["GET", "a"], ["CLIENT", "CACHING", "YES"], ["GET", "b"], ["GET", "c"],
                         ["CLIENT", "CACHING", "YES"], ["MULTI"], ["GET", "d"], ["GET", "e"],
                         ["EXEC"], ["GET", "f"]])
        outside.pipeline([["GET", "a"], ["CLIENT", "CACHING", "NO"], ["GET", "b"], ["GET", "c"],
                          ["CLIENT", "CACHING", "NO"], ["MULTI"], ["GET", "d"], ["GET", "e"],
                          ["EXEC"], ["GET", "f"], ["CLIENT", "CACHING", "NO"], ["GET", "last"],
                          ["GET", "last"]])
        inside.pipeline([["CLIENT", "CACHING", "YES"], ["GET", "last"]])
        for key in ("a", "b", "c", "d", "e", "f"):
            writer.call("SET", key, "v")
        equal([inside.receive() for _ in range(3)], [changed(key) for key in "bde"], "opted in")
        equal([outside.receive() for _ in range(3)], [changed(key) for key in "acf"], "opted out")
        writer.call("SET", "last", "v")
        equal([inside.receive(), outside.receive()], [changed("last")] * 2, "the last")


def test_what_cannot_be_told_one_by_one_is_told_as_everything(t):
    node = start(t).node(1)
    with Resp(address(node), 3) as reader, Resp(address(node)) as writer:
        reader.call("CLIENT", "TRACKING", "ON")
        # More keys than are remembered.
        for i in range(40):
            reader.send(pack(["MGET", *[f"key:{i}:{n}" for n in range(1000)]]))
        heard = until(reader, "the replies")
        true(heard.count(ALL) >= 2, "everything may have changed: said at once, and behind replies")
        true(heard[-1] == ALL or heard.index(ALL) < len(heard) - 1, "behind the read it came with")
        # The last of them are among those that are remembered.
        writer.call("SET", "key:39:999", "v")
        equal(told(reader, "key:39:999"), [changed("key:39:999")], "a key behind the overflow")
        # More changes at once than are told one by one.
        for i in range(30):
            writer.call("MSET", *[word for n in range(1000) for word in (f"fill:{i}:{n}", "v")])
        until(reader, "a moment")
        reader.call("GET", "fill:0:0")
        writer.call("FLUSHALL")

        def heard_of_it():
            reader.send(pack(["PING"]))
            got = reader.receive()
            while got[:1] == b">":
                if got in (ALL, changed("fill:0:0")):
                    return True
                got = reader.receive()
            return False
        wait_for(heard_of_it, 30, "word of the flush")
        # It goes on, key by key when the watch has begun anew.
        def told_by_name():
            reader.send(pack(["GET", "fresh"]))
            while reader.receive()[:1] == b">":
                pass
            writer.call("SET", "fresh", "v")
            got = reader.receive()
            return got == changed("fresh")
        wait_for(told_by_name, 30, "a key to be told by its name")


def test_a_transaction_reads_when_it_is_carried_out(t):
    node = start(t).node(1)
    with Resp(address(node), 3) as reader, Resp(address(node)) as writer:
        reader.call("CLIENT", "TRACKING", "ON")
        reader.pipeline([["MULTI"], ["GET", "k"]])
        writer.call("SET", "k", "1")
        equal(reader.call("EXEC"), b"*1\r\n$1\r\n1\r\n", "EXEC")
        writer.call("SET", "k", "2")
        equal(told(reader, "k"), [changed("k")], "what is told")
        true(reader.pipeline([["MULTI"], ["CLIENT", "CACHING", "YES"], ["DISCARD"]])[1]
             .startswith(b"-ERR Command not allowed"), "CACHING inside MULTI")


def test_what_a_refused_command_was_to_be_is_not_left_for_the_next(t):
    node = start(t).node(1)
    with Resp(address(node), 3) as reader, Resp(address(node)) as writer:
        reader.call("CLIENT", "TRACKING", "ON", "OPTOUT")
        for refused in (["nosuch"], ["GET"], ["GET", ""]):
            equal(reader.call("CLIENT", "CACHING", "NO"), OK, "CACHING")
            true(reader.call(*refused).startswith(b"-ERR"), f"{refused}")
            reader.call("GET", "k")
            writer.call("SET", "k", "v")
            equal(told(reader, "k"), [changed("k")], f"after {refused}")


def test_tracking_that_is_pipelined_counts_for_what_comes_behind_it(t):
    cluster = start(t, 3)
    with Resp(address(cluster.nodes[1])) as writer:
        for i in range(20):
            with Resp(address(cluster.nodes[0]), 3) as reader:
                reader.send(b"".join(pack(words) for words in (
                    ["CLIENT", "TRACKING", "ON"], ["GET", "k"])))
                writer.call("SET", "k", f"{i}")
                equal(reader.receive(), OK, "TRACKING")
                value = reader.receive()
                if value != b"$%d\r\n%d\r\n" % (len(str(i)), i):
                    equal(told(reader, "k"), [changed("k")], "an old value is told of")


def test_no_change_is_missed_while_readers_and_writers_race(t):
    """Each reader keeps what it has read until it is told; in the end no copy is an old one."""
    cluster = start(t, 3)
    keys = [f"race:{i}" for i in range(8)]
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(Resp(address(node), 3)) for node in cluster.nodes]
        writers = [stack.enter_context(Resp(address(node))) for node in cluster.nodes]
        caches = [{} for _ in readers]
        for reader in readers:
            equal(reader.call("CLIENT", "TRACKING", "ON"), OK, "TRACKING")

        def take(reader, cache):
            """The next reply; what is told before it takes effect."""
            got = reader.receive()
            while got[:1] == b">":
                if got == ALL:
                    cache.clear()
                else:
                    cache.pop(got.split(b"\r\n")[5].decode(), None)
                got = reader.receive()
            return got

        for number in range(300 if t.quick else 1500):
            key = t.rng.choice(keys)
            writer = t.rng.choice(writers)
            writer.send(pack(["MSET", key, f"{number}", t.rng.choice(keys), f"{number}"]))
            for reader, cache in zip(readers, caches):
                wanted = t.rng.choice(keys)
                if wanted in cache:
                    continue
                if number % 2:
                    reader.send(pack(["GET", wanted]))
                    cache[wanted] = take(reader, cache)
                else:
                    reader.send(pack(["MGET", *keys]))
                    values = take(reader, cache).split(b"\r\n")[1:-1]
                    cache.clear()
                    while values:
                        count = 1 if values[0] == b"_" else 2
                        key = keys[len(cache)]
                        cache[key] = b"\r\n".join(values[:count]) + b"\r\n"
                        values = values[count:]
            equal(writer.receive(), OK, "SET")
        values = {key: writers[0].call("GET", key) for key in keys}

        def all_fresh():
            for reader, cache in zip(readers, caches):
                reader.send(pack(["PING"]))
                take(reader, cache)
                if any(values[key] != value for key, value in cache.items()):
                    return False
            return True
        wait_for(all_fresh, 30, "old copies to be told of")
