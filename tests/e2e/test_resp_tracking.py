"""CLIENT TRACKING: who keeps what it has read is told when that has changed."""

import contextlib

from mayfly_test.check import equal, true
from mayfly_test.client import parse_address
from mayfly_test.resp import RedisServer, Resp, pack
from mayfly_test.wait import wait_for

OK = b"+OK\r\n"
ALL = b">2\r\n$10\r\ninvalidate\r\n_\r\n"


def start(t, n=1):
    return t.cluster(n, shards=4, mode="none", overrides={
        "listen.resp": "127.0.0.1:0", "node.threads": 2, **t.patience})


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
     ["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "aa"], ["CLIENT", "TRACKING", "ON", "BCAST"],
     ["CLIENT", "TRACKINGINFO"], ["CLIENT", "TRACKING", "ON", "BCAST"], ["CLIENT", "TRACKINGINFO"],
     ["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "c"], ["CLIENT", "TRACKING", "ON"],
     ["CLIENT", "TRACKING", "OFF"]],
    [["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "c", "PREFIX", "a"],
     ["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "b"], ["CLIENT", "TRACKINGINFO"]],
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
        writer.call("MSET", "last", "v", *[word for i in range(20) for word in (f"k{i}", "v")])
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
        cluster.wait_equal()  # a node that is behind would tell its readers of the last ones later
        for reader in readers:
            heard = [reader.receive() for _ in range(6)]
            equal(sorted(heard), sorted(changed(key) for key in
                                        ("k1", "k2", "k3", "k4", "k5", "absent")), "what is told")
            # And nothing else, as far as what is read now shows.
            equal(reader.call("GET", "last"), b"$1\r\nv\r\n", "GET")
        writer.call("DEL", "last")
        for reader in readers:
            equal(reader.receive(), changed("last"), "a key that is deleted")


def expires_when_read(node, ttl_ms):
    """False: it was dead before it was read, or while."""
    with Resp(address(node), 3) as reader, Resp(address(node), 3) as all_of, \
            Resp(address(node)) as writer:
        reader.call("CLIENT", "TRACKING", "ON")
        equal(all_of.call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "a:", "PREFIX", "b:"), OK,
              "BCAST")
        writer.call("SET", "a:1", "v", "PX", ttl_ms)
        if reader.call("GET", "a:1") != b"$1\r\nv\r\n":
            return False
        for key in ("c:1", "b:1", "ab"):
            writer.call("SET", key, "v")
        heard = told(reader, "a:1")
        equal(heard[:-1], [], "what is told before the expiry")
        equal(sorted(all_of.receive() for _ in range(3)),
              sorted([changed("a:1"), changed("a:1"), changed("b:1")]), "what a prefix tells")
        return True


def test_a_key_that_expires_is_told_and_prefixes_are_told_unread(t):
    node = start(t).node(1)
    true(any(expires_when_read(node, ttl_ms) for ttl_ms in (500, 2000, 8000)),
         "a key is read before it is dead")


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
        # Of different shards: they have no order among each other.
        equal(sorted(inside.receive() for _ in range(3)), [changed(key) for key in "bde"],
              "opted in")
        equal(sorted(outside.receive() for _ in range(3)), [changed(key) for key in "acf"],
              "opted out")
        writer.call("SET", "last", "v")
        equal([inside.receive(), outside.receive()], [changed("last")] * 2, "the last")


def count(client, *fields):
    info = client.call("INFO").split(b"\r\n")
    return [int(line.split(b":")[1]) for field in fields for line in info
            if line.startswith(field.encode() + b":")]


TOTALS = ["tracking_clients", "tracking_total_keys", "tracking_total_items",
          "tracking_total_prefixes"]


def test_what_there_is_no_room_for_is_told(t):
    node = start(t).node(1)
    with Resp(address(node), 3) as reader, Resp(address(node)) as writer:
        equal(writer.call("CONFIG", "SET", "tracking-table-max-keys", "200"), OK, "CONFIG SET")
        reader.call("CLIENT", "TRACKING", "ON")
        kept = set()
        for i in range(40):
            reader.send(pack(["MGET", *[f"key:{i}:{n}" for n in range(100)]]))
            # Behind its own reply at the latest: what is told before that may be a key of this read.
            for got in until(reader, f"read {i}"):
                if got[:1] == b"*":
                    kept.update(f"key:{i}:{n}" for n in range(100))
                elif got == ALL:
                    kept.clear()
                else:
                    kept.discard(got.split(b"\r\n")[5].decode())
        true(0 < len(kept) <= 200, f"{len(kept)} keys are kept")
        equal(count(writer, *TOTALS)[1:3], [len(kept)] * 2, "what INFO says of them")
        true(count(writer, "mayfly_tracking_bytes")[0] > 100 * len(kept), "bytes")
        for key in sorted(kept):
            writer.call("SET", key, "v")
        equal(sorted(reader.receive() for _ in kept), sorted(changed(key) for key in kept),
              "what is told of what is kept")
        # A key whose name is long counts for more of them.
        reader.send(pack(["GET", "x" * 60000]))
        equal(until(reader, "its reply"), [changed("x" * 60000), b"_\r\n", changed("x" * 60000)],
              "a long name")


def test_info_counts_what_is_tracked(t):
    node = start(t).node(1)
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(Resp(address(node)))
        readers = [stack.enter_context(Resp(address(node), 3)) for _ in range(3)]
        watches = count(writer, "mayfly_watches")[0]
        equal(count(writer, *TOTALS), [0, 0, 0, 0], "before")
        for reader in readers:
            for _ in range(2):
                reader.call("CLIENT", "TRACKING", "ON")
                reader.call("MGET", "a", "b", "a")
        clients, keys, items, prefixes = count(writer, *TOTALS)
        # Each of the two reactors has keys of its own.
        true((clients, items, prefixes) == (3, 6, 0) and keys in (2, 4), "three readers")
        true(count(writer, "mayfly_watches")[0] - watches in (1, 2), "one watch for each reactor")
        writer.call("SET", "a", "v")
        for reader in readers:
            equal(reader.receive(), changed("a"), "a")
        equal(count(writer, *TOTALS)[2], 3, "a is forgotten")
        readers[0].call("CLIENT", "TRACKING", "OFF")
        equal(count(writer, *TOTALS)[::2], [2, 2], "without one of them")
        readers[0].call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "a", "PREFIX", "b")
        equal(count(writer, *TOTALS)[::3], [3, 2], "with two prefixes")
        others = [stack.enter_context(Resp(address(node), 3)) for _ in range(8)]
        for other in others:
            other.call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "a")
            other.call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "b")
        true(count(writer, *TOTALS)[3] in (2, 4), "a prefix counts once on each of the two threads")
        for other in others:
            other.close()
        wait_for(lambda: count(writer, *TOTALS)[::3] == [3, 2], 10, "the ends of the others")
        for reader in readers:
            reader.call("RESET")
        equal(count(writer, *TOTALS), [0, 0, 0, 0], "behind")
        equal(count(writer, "mayfly_tracking_bytes", "mayfly_watches"), [0, watches], "all is gone")


def test_what_cannot_be_told_one_by_one_is_told_as_everything(t):
    node = start(t).node(1)
    with Resp(address(node), 3) as reader, Resp(address(node)) as writer:
        reader.call("CLIENT", "TRACKING", "ON")
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


def test_tracking_that_cannot_begin_is_refused_and_leaves_nothing(t):
    cluster = t.cluster(3, shards=4, mode="none", overrides={
        "listen.resp": "127.0.0.1:0", "node.threads": 2, "limits.request_timeout": 1000})
    node = cluster.nodes[0]
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(Resp(address(node)))
        before, *others = [stack.enter_context(Resp(address(node), 3, timeout=60.0))
                           for _ in range(9)]
        equal(before.call("CLIENT", "TRACKING", "ON"), OK, "TRACKING")
        before.call("GET", "k")
        wait_for(lambda: any(shard["leader"] != node.id for shard in node.call("cluster")["shards"]),
                 60, "leaders at other nodes")
        for other in cluster.nodes[1:]:
            other.pause()
        # Nobody says how far shards are that have no leader. The first one's thread watches already.
        for at, client in enumerate(others):
            client.send(pack(["CLIENT", "TRACKING", "ON",
                              *(["BCAST", "PREFIX", "a"] if at % 2 else [])]))
        begun = {client: client.receive() == OK for client in others}
        for other in cluster.nodes[1:]:
            other.resume()
        true(not any(begun[client] for client in others[1::2]), "with prefixes none has begun")
        equal(count(writer, *TOTALS)[::3], [1 + sum(begun.values()), 0], "clients and prefixes")
        cluster.wait_settled()
        for client in others:
            client.call("CLIENT", "TRACKING", "OFF")
            until(client, "what was told")
            # A second is not much where leaders may be lost once more.
            wait_for(lambda client=client: client.call("CLIENT", "TRACKING", "ON") == OK, 30,
                     "TRACKING")
            client.call("GET", "k")
        wait_for(lambda: writer.call("SET", "k", "v") == OK, 30, "SET")
        for client in (before, *others):
            equal(told(client, "k")[-1], changed("k"), "k")


def test_a_transaction_reads_when_it_is_carried_out(t):
    node = start(t).node(1)
    with Resp(address(node), 3) as reader, Resp(address(node)) as writer:
        reader.call("CLIENT", "TRACKING", "ON")
        reader.call("GET", "{k}before")
        reader.pipeline([["MULTI"], ["GET", "k"]])
        writer.call("SET", "k", "1")
        # Its word is on its way until that of a later change in its shard has come.
        writer.call("SET", "{k}before", "v")
        equal(reader.receive(), changed("{k}before"), "what was read before")
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
                # A change told of before the value comes is told of again behind it.
                while value == changed("k"):
                    value = reader.receive()
                if value != b"$%d\r\n%d\r\n" % (len(str(i)), i):
                    equal(told(reader, "k"), [changed("k")], "an old value is told of")


def test_noloop_leaves_out_what_the_connection_has_set_itself(t):
    cluster = start(t, 3)
    node = cluster.nodes[0]
    with Resp(address(node), 3) as reader, Resp(address(node), 3) as prefixed, \
            Resp(address(cluster.nodes[1])) as writer:
        reader.call("CLIENT", "TRACKING", "ON", "NOLOOP")
        prefixed.call("CLIENT", "TRACKING", "ON", "NOLOOP", "BCAST", "PREFIX", "k")
        for i in range(50):
            for client in (reader, prefixed):
                # Of every node's shards.
                client.send(pack(["GET", f"k{i}"]))
                client.receive()
                equal(client.call("SET", f"k{i}", f"{i}"), OK, "its own change")
                other = prefixed if client is reader else reader
                equal(other.receive(), changed(f"k{i}"), "the other one's change")
            # What it has set itself it goes on to keep, and so is told of the next change.
            reader.call("GET", f"k{i}")
            equal(reader.call("SETEX", f"k{i}", 100, "w"), OK, "its own change")
            equal(prefixed.receive(), changed(f"k{i}"), "the other one's change")
            writer.call("SET", f"k{i}", "x")
            for client in (reader, prefixed):
                equal(client.receive(), changed(f"k{i}"), "a change of somebody else")
        # Of other commands it is not known which change is theirs.
        reader.call("GET", "k1")
        reader.send(pack(["DEL", "k1"]))
        true(changed("k1") in until(reader, "its reply") or reader.receive() == changed("k1"),
             "DEL")


def test_no_change_is_missed_while_readers_and_writers_race(t):
    """Each reader keeps what it has read until it is told; in the end no copy is an old one."""
    cluster = start(t, 3)
    keys = [f"race:{i}" for i in range(8)]
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(Resp(address(node), 3)) for node in cluster.nodes]
        writers = [stack.enter_context(Resp(address(node))) for node in cluster.nodes]
        caches = [{} for _ in readers]
        for reader in readers:
            equal(reader.call("CLIENT", "TRACKING", "ON", "NOLOOP"), OK, "TRACKING")

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
                    if t.rng.randrange(4) == 0:
                        # Its own value is kept like one that it has read, where it was not told
                        # of the key meanwhile: so it is still to be told of what comes next.
                        reader.send(pack(["SET", wanted, f"own:{number}"]))
                        equal(take(reader, cache), OK, "SET")
                        if wanted in cache:
                            value = f"own:{number}"
                            cache[wanted] = f"${len(value)}\r\n{value}\r\n".encode()
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
