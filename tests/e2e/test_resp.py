"""The Redis door beside Redis itself, reply by reply and byte by byte; and what a client may do to
it: lines, pipelines, pieces, garbage, silence."""

import pathlib
import re
import socket
import time

import redis

from mayfly_test import resp_cases
from mayfly_test.check import between, equal, true
from mayfly_test.client import parse_address
from mayfly_test.cluster import key_in_slots
from mayfly_test.resp import RedisServer, Resp, pack
from mayfly_test.wait import wait_for

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "redis.md"
SHARDS = 16


def with_resp(t, n=1, **overrides):
    cluster = t.cluster(n, start=False, shards=SHARDS, mode="none",
                        overrides={"listen.resp": "127.0.0.1:0", **t.patience, **overrides})
    return cluster.start()


def address(node):
    return parse_address(node.ready["resp"])


# Where Mayfly may answer something else: the name of a row of docs/redis.md, and what it is about.

def _time_is_far(words):
    return words[0].upper().endswith(("EXPIRE", "EXPIREAT", "SETEX")) and \
        len(words) > 2 and words[2] == "9223372036854775807"


DIFFERENCES = {
    "empty key": lambda words: "" in words[1:],
    "other databases": lambda words: words in [["SELECT", str(n)] for n in range(1, 16)],
    "times after 285,000 years": _time_is_far,
    "odd fractions": lambda words: words[0] == "INCRBYFLOAT" and words[2] in ("0x10", "1e400"),
    "what COMMAND tells": lambda words: words[0].upper() == "COMMAND" and (
        len(words) == 1 or words[1].lower() in ("docs", "list", "count")),
    "HELP": lambda words: words[-1].upper() == "HELP",
}


def about(words):
    return " ".join(repr(word)[1:-1] for word in words)


def same(words, redis, mayfly, seconds):
    """Equal, or as near as two clocks are, of which one was looked at so many seconds after the
    other."""
    if redis == mayfly:
        return True
    name = str(words[0]).upper()
    numbers = [re.fullmatch(rb":(\d+)\r\n", reply) for reply in (redis, mayfly)]
    if name in ("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME") and all(numbers):
        apart = abs(int(numbers[0][1]) - int(numbers[1][1]))
        return apart <= (2000 + seconds * 1000 if name.startswith("P") else 1 + seconds)
    return False


def allowed(words):
    return any(fits([str(word) for word in words]) for fits in DIFFERENCES.values())


def compare(redis, mayfly, cases, name):
    """Asks both the same; returns how many replies were compared."""
    count = 0
    wrong = []
    for case in cases:
        data = b"".join(pack(words) for words in case) + pack(["PING", "the end"])
        replies = []
        began = time.monotonic()
        for server in (redis, mayfly):
            server.send(data)
            got = [server.receive()]
            while got[-1] != b"$7\r\nthe end\r\n":
                got.append(server.receive())
            replies.append(got)
        seconds = time.monotonic() - began
        equal(len(replies[1]), len(replies[0]), f"{name}: number of replies to {case}")
        heard = len(replies[0]) == len(case) + 1
        for i, (theirs, ours) in enumerate(zip(*replies)):
            words = case[i] if heard and i < len(case) else ["?"]
            count += 1
            if not same(words, theirs, ours, seconds) and not allowed(words):
                wrong.append(f"{about(words)} (of {case}): Redis says {theirs!r}, Mayfly {ours!r}")
    true(not wrong, lambda: f"{name}: {len(wrong)} replies differ:\n" + "\n".join(wrong[:10]))
    return count


def differential(t, version):
    node = with_resp(t, **{"security.debug_commands": "yes"}).nodes[0]
    total = 0
    cases = 0
    with RedisServer(t.dir, "--enable-debug-command", "yes") as server, Resp(server.address, version) as redis, \
            Resp(address(node), version) as mayfly:
        parts = {
            "one key": list(resp_cases.one_key(t.rng, 0.4)),
            "numbers": list(resp_cases.numbers()),
            "arities": list(resp_cases.arities()),
            "unknown": list(resp_cases.unknown()),
            "itself": list(resp_cases.about_itself()),
            "slow moments": list(resp_cases.about_slow_moments()),
            "connection": list(resp_cases.about_the_connection()),
            "settings": list(resp_cases.settings()),
            "objects": list(resp_cases.objects()),
            "transactions": list(resp_cases.transactions()),
            "random": list(resp_cases.random_sequences(t.rng, 300, 30)),
        }
        for name, part in parts.items():
            if name == "arities":
                redis.call("FLUSHALL"), mayfly.call("FLUSHALL")
            total += compare(redis, mayfly, part, name)
            cases += len(part)
    between(2000, cases, 10**6, "cases")
    t.note(f"{cases} cases, {total} replies compared")


def test_replies_are_redis_own_in_resp2(t):
    differential(t, 2)


def test_replies_are_redis_own_in_resp3(t):
    differential(t, 3)


def test_each_difference_is_on_its_page(t):
    page = PAGE.read_text(encoding="utf-8")
    for name in DIFFERENCES:
        true(f"| {name} |" in page, f"docs/redis.md has no row '{name}'")


def test_subscriptions_are_answered_as_by_redis(t):
    node = with_resp(t).nodes[0]
    with RedisServer(t.dir) as server:
        for version in (2, 3):
            for case in resp_cases.subscriptions():
                heard = []
                for at in (server.address, address(node)):
                    with Resp(at, version) as client:
                        client.send(b"".join(pack(words) for words in case)
                                    + pack(["PING", "the end"]))
                        replies = [client.receive()]
                        while b"the end" not in replies[-1]:
                            replies.append(client.receive())
                        heard.append(replies)
                equal(heard[1], heard[0], f"replies to {case} in version {version}")


CHANGES = [["SET", "k:1", "v"], ["SET", "k:1", "w"], ["SET", "k:2", "v"], ["DEL", "k:1", "none"],
           ["SET", "other", "v"], ["GETDEL", "other"], ["SET", "k:3", "v"], ["EXPIRE", "k:3", "-1"],
           ["UNLINK", "k:2"], ["SET", "last", "v"]]


def hear(subscriber_at, writer_at, version, words, count=None):
    """All that a subscriber hears of the changes: `count` messages, or those until Redis, which
    tells of a change before it answers, has answered."""
    with Resp(subscriber_at, version) as client, Resp(writer_at) as writer:
        client.send(pack(words))
        heard = [client.receive() for _ in words[1:]]
        for change in CHANGES:
            writer.call(*change)
        while count is not None and len(heard) < count:
            heard.append(client.receive())
        client.send(pack(["PING", "now"]))
        while b"now\r\n" not in (message := client.receive()):
            heard.append(message)
        writer.call("DEL", "last")
        return heard


def test_changes_are_told_to_subscribers_as_by_redis(t):
    """In a cluster, where another node is asked to make them; those of different shards have no order
    among each other."""
    cluster = with_resp(t, 3)
    with RedisServer(t.dir, "--notify-keyspace-events", "KEA") as server:
        for version in (2, 3):
            for words in (["PSUBSCRIBE", "__key*__:*"], ["SUBSCRIBE", "__keyspace@0__:k:1"],
                          ["PSUBSCRIBE", "__keyspace@0__:k:[12]"], ["PSUBSCRIBE", "*"],
                          ["SUBSCRIBE", "__keyevent@0__:set", "__keyevent@0__:del"],
                          ["PSUBSCRIBE", "__keyevent@0__:?e[lt]", "__keyspace@0__:k*"],
                          ["SUBSCRIBE", "__keyspace@0__:last", "nothing"]):
                redis = hear(server.address, server.address, version, words)
                mayfly = hear(address(cluster.nodes[0]), address(cluster.nodes[1]), version, words,
                              len(redis))
                equal(sorted(mayfly), sorted(redis), f"heard after {words} in version {version}")
                if words[-1] == "__keyspace@0__:k:1":
                    equal(mayfly, redis, "the changes of one key, in their order")


def test_an_expiry_is_told(t):
    cluster = with_resp(t, 3)
    with Resp(address(cluster.nodes[0])) as client, Resp(address(cluster.nodes[1])) as writer:
        client.call("SUBSCRIBE", "__keyevent@0__:expired")
        for i in range(20):
            writer.call("SET", f"short:{i}", "v", "PX", "20")
        keys = {client.receive().split(b"\r\n")[6] for _ in range(20)}
        equal(keys, {b"short:%d" % i for i in range(20)}, "the keys that have expired")
        lines = writer.call("CLIENT", "LIST", "TYPE", "pubsub")
        equal(lines.count(b"id="), 0, "subscribers of the other node")


def test_a_subscriber_that_is_too_slow_is_dropped(t):
    """Not left out: the connection ends, and the node holds only so much for it."""
    node = with_resp(t, **{"limits.max_request": "64mb"}).nodes[0]
    with Resp(address(node)) as client, Resp(address(node), timeout=60) as writer:
        client.call("PSUBSCRIBE", "__keyspace@0__:" + "x" * 900 + "*")
        key = "x" * 60_000
        for _ in range(20):
            writer.pipeline([["SET", key, "v"]] * 100)
        wait_for(lambda: node.call("stats")["watches"] == 0, 20, "the end of the subscription")
        equal(writer.call("PING"), b"+PONG\r\n", "another connection")


# Beside the replies.

def test_a_transaction_is_of_one_shard_and_of_watched_keys_that_have_not_changed(t):
    cluster = with_resp(t, 3)
    for node, other in zip(cluster.nodes, cluster.nodes[1:] + cluster.nodes[:1]):
        with Resp(address(node)) as client, Resp(address(other)) as rival:
            client.call("SET", "{a}text", "text")
            equal(client.pipeline([["MULTI"], ["SET", "{a}k", "v"], ["INCR", "{a}text"], ["EXEC"],
                                   ["GET", "{a}k"]])[3:],
                  [b"*2\r\n+OK\r\n-ERR value is not an integer or out of range\r\n",
                   b"$1\r\nv\r\n"], "a transaction one of whose commands fails")
            equal(client.call("WATCH", "{a}text"), b"+OK\r\n", "WATCH")
            equal(rival.call("SET", "{a}text", "theirs"), b"+OK\r\n", "SET")
            equal(client.pipeline([["MULTI"], ["SET", "{a}text", "ours"], ["EXEC"],
                                   ["GET", "{a}text"]])[2:],
                  [b"*-1\r\n", b"$6\r\ntheirs\r\n"], "a watched key that has changed")
            equal(client.pipeline([["MULTI"], ["SET", "a", "1"], ["SET", "b", "2"], ["EXEC"],
                                   ["MGET", "a", "b"]])[3:],
                  [b"-CROSSSLOT Keys in request don't hash to the same slot\r\n",
                   b"*2\r\n$-1\r\n$-1\r\n"], "keys of two shards")
            for words in (["DBSIZE"], ["KEYS", "*"], ["SCAN", "0"], ["FLUSHALL"], ["HELLO", "3"]):
                equal(client.pipeline([["MULTI"], words, ["EXEC"]])[1:],
                      [b"-ERR Command not allowed inside a transaction\r\n",
                       b"-EXECABORT Transaction discarded because of previous errors.\r\n"],
                      f"{words} inside")
            client.call("DEL", "{a}text")


def test_what_needs_keys_of_one_shard_says_so_and_does_nothing(t):
    node = with_resp(t).nodes[0]
    first, other = key_in_slots(b"first", 0, 8191), key_in_slots(b"other", 8192, 16383)
    with Resp(address(node)) as client:
        client.call("SET", first, "v")
        for words in (["RENAME", first, other], ["RENAMENX", first, other], ["COPY", first, other],
                      ["MSETNX", first, "a", other, "b"]):
            equal(client.call(*words), b"-CROSSSLOT Keys in request don't hash to the same slot\r\n",
                  words[0])
        equal(client.call("MGET", first, other), b"*2\r\n$1\r\nv\r\n$-1\r\n", "the values")


def test_what_one_client_may_ask_for_is_bounded(t):
    """In bytes of the log, of memory, and of work for each event."""
    node = with_resp(t, **{"limits.max_value": "512kb", "limits.max_request": "1mb"}).nodes[0]
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL"
    large = [["WATCH", "{t}" + letter * 60_000] for letter in letters]
    refused = {
        "names of COMMAND INFO": [["COMMAND", "INFO", *["get"] * 1025]],
        "names of COMMAND DOCS": [["COMMAND", "DOCS", *["get"] * 1025]],
        "ids": [["CLIENT", "LIST", "ID", *["1"] * 1025]],
        "patterns": [["PSUBSCRIBE", *["*" + letter * 1000 for letter in "abcde"]]],
        "channels": [["SUBSCRIBE", *[letter * 60_000 for letter in "abcde"]]],
        "channels that are left": [["UNSUBSCRIBE", *["x"] * 1025]],
        "keys that are watched": large,
        "what short keys become": [["MULTI"], *[["DEL", *["a"] * 100_000]] * 5, ["EXEC"]],
        "settings": [["CONFIG", "GET", *["maxmemory"] * 1025]],
        "patterns of settings": [["CONFIG", "GET", *["*" + letter * 1000 for letter in "abcde"]]],
    }
    for what, requests in refused.items():
        with Resp(address(node)) as client:
            true(client.pipeline(requests)[-1].startswith((b"-ERR", b"-EXECABORT")), what)
    with Resp(address(node)) as client:
        equal(client.pipeline([["WATCH", "{t}k"], ["MULTI"], ["SET", "{t}k", "v"], ["EXEC"]])[-1],
              b"*1\r\n+OK\r\n", "a transaction")
        reply = client.pipeline([["MULTI"], *[["COMMAND"]] * 64, ["EXEC"]])[-1]
        true(reply.endswith(b"-ERR not carried out: the replies are over limits.max_request\r\n"),
             f"the last reply of EXEC: {reply[-100:]!r}")
        between(1_000_000, len(reply), 1_300_000, "bytes of the replies of EXEC")


def test_a_walk_through_many_shards_of_one_thread_needs_no_stack(t):
    cluster = t.cluster(1, start=False, shards=1024 if t.sanitized else 16384, mode="none",
                        overrides={"listen.resp": "127.0.0.1:0", "node.threads": 1})
    with Resp(address(cluster.start().nodes[0])) as client:
        equal(client.pipeline([["KEYS", "*"]] * 3), [b"*0\r\n"] * 3, "KEYS")
        equal(client.call("RANDOMKEY"), b"$-1\r\n", "RANDOMKEY")


def test_counters_guarded_by_watch_lose_nothing(t):
    """Clients on all nodes add to one number by WATCH, GET, MULTI, SET, EXEC until each has had its
    share; the sum is right."""
    cluster = with_resp(t, 3)
    clients = [Resp(address(node)) for node in cluster.nodes]
    left = {client: 40 for client in clients}
    while left:
        readers = list(left)
        t.rng.shuffle(readers)
        values = {}
        for client in readers:
            equal(client.call("WATCH", "n"), b"+OK\r\n", "WATCH")
            reply = client.call("GET", "n").split(b"\r\n")
            values[client] = int(reply[1]) if len(reply) > 2 else 0
        t.rng.shuffle(readers)
        for client in readers:
            reply = client.pipeline([["MULTI"], ["SET", "n", values[client] + 1], ["EXEC"]])[2]
            true(reply in (b"*1\r\n+OK\r\n", b"*-1\r\n"), f"EXEC: {reply!r}")
            if reply != b"*-1\r\n":
                left[client] -= 1
            if left[client] == 0:
                del left[client]
    equal(clients[0].call("GET", "n"), b"$3\r\n120\r\n", "the sum")
    for client in clients:
        client.close()


def test_requests_may_be_lines_and_come_in_any_pieces(t):
    node = with_resp(t).nodes[0]
    stream = (b"PING\r\n\r\n  \n*0\r\nSET line \"a\\x41 b\"\nGET line\r\n" + pack(["GET", "line"])
              + b"get 'no key'\r\n" + pack(["SET", "big", b"x" * 100000]) + pack(["DEL", "big"]))
    expected = b"+PONG\r\n+OK\r\n$4\r\naA b\r\n$4\r\naA b\r\n$-1\r\n+OK\r\n:1\r\n"
    for piece in (1, 2, 3, 7, 4096, len(stream)):
        with Resp(address(node)) as client:
            small = stream if piece > 7 else stream[:stream.index(b"*3")]
            wanted = expected if piece > 7 else expected[:-9]
            for at in range(0, len(small), piece):
                client.send(small[at:at + piece])
            equal(client.file.read(len(wanted)), wanted, f"the replies to pieces of {piece}")


def test_a_pipeline_means_what_it_says(t):
    """Thousands of requests at once, each of which depends on the one before it, through a node that
    leads and through ones that do not."""
    cluster = with_resp(t, 3)
    for node in cluster.nodes:
        with Resp(address(node), timeout=60) as client:
            requests, expected = [["FLUSHALL"]], [b"+OK\r\n"]
            for i in range(2000 if not t.sanitized else 500):
                key = f"pipe:{i % 50}"
                value = b"%d" % i
                requests += [["SET", key, value], ["GET", key], ["INCR", key], ["MGET", key, "no"],
                             ["DEL", key, "no"], ["EXISTS", key]]
                more = b"%d" % (i + 1)
                expected += [b"+OK\r\n", b"$%d\r\n%s\r\n" % (len(value), value), b":%s\r\n" % more,
                             b"*2\r\n$%d\r\n%s\r\n$-1\r\n" % (len(more), more), b":1\r\n", b":0\r\n"]
            requests += [["MSET", *[word for i in range(100) for word in (f"all:{i}", i)]],
                         ["DBSIZE"], ["FLUSHALL"], ["DBSIZE"], ["RANDOMKEY"], ["KEYS", "*"]]
            expected += [b"+OK\r\n", b":100\r\n", b"+OK\r\n", b":0\r\n", b"$-1\r\n", b"*0\r\n"]
            replies = client.pipeline(requests)
            for request, reply, wanted in zip(requests, replies, expected):
                equal(reply, wanted, f"{request} through node {node.id}")


def test_writes_of_one_key_are_pipelined_and_keep_their_order(t):
    node = with_resp(t).nodes[0]
    with Resp(address(node), timeout=60) as client:
        replies = client.pipeline([["APPEND", "k", f"{i},"] for i in range(3000)] + [["GET", "k"]])
        text = b"".join(b"%d," % i for i in range(3000))
        equal(replies[-1], b"$%d\r\n%s\r\n" % (len(text), text), "what was appended")


def test_keys_and_scan_walk_through_all_shards(t):
    node = with_resp(t).nodes[0]
    with Resp(address(node)) as client:
        names = sorted(f"walk:{i}".encode() for i in range(500))
        client.pipeline([["SET", name, "v"] for name in names] + [["SET", "other", "v"]])
        found = client.call("KEYS", "walk:*").split(b"\r\n")
        equal(sorted(found[2::2]), names, "KEYS")
        cursor, seen = b"0", set()
        while True:
            reply = client.call("SCAN", cursor, "MATCH", "walk:*", "COUNT", "37").split(b"\r\n")
            cursor, keys = reply[2], reply[5::2]
            seen.update(keys)
            if cursor == b"0":
                break
        equal(sorted(seen), names, "SCAN")
        reply = client.call("SCAN", "0", "TYPE", "hash", "COUNT", "1000")
        true(reply.endswith(b"*0\r\n"), f"SCAN for another type: {reply!r}")
        drawn = {client.call("RANDOMKEY") for _ in range(200)}
        true(len(drawn) > 50, f"RANDOMKEY draws from few keys: {len(drawn)}")
        equal(client.call("SCAN", "18446744073709551615"), b"-ERR invalid cursor\r\n", "SCAN")


def test_garbage_costs_only_its_sender(t):
    node = with_resp(t).nodes[0]
    refused = {
        b"*1000000000\r\n": b"-ERR Protocol error: invalid multibulk length\r\n",
        b"*1\r\n$999999999999\r\n": b"-ERR Protocol error: invalid bulk length\r\n",
        b"*1\r\nPING\r\n": b"-ERR Protocol error: expected '$', got 'P'\r\n",
        b"'": None,
        b"x" * 70000: b"-ERR Protocol error: too big inline request\r\n",
        b"set k \"v\r\n": b"-ERR Protocol error: unbalanced quotes in request\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$134217700\r\n":
            b"-ERR Protocol error: the request is over limits.max_request\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n": b"",
        bytes(range(1, 256)) * 400: None,
    }
    with Resp(address(node)) as other:
        other.call("SET", "k", "v")
        for data, reply in refused.items():
            with Resp(address(node)) as client:
                client.send(data)
                if reply:
                    equal(client.receive(), reply, f"reply to {data[:40]!r}")
                if reply is not None:
                    true(client.at_end(), "the connection is closed")
            equal(other.call("GET", "k"), b"$1\r\nv\r\n", "another connection")
        for _ in range(300):
            with Resp(address(node)) as client:
                client.send(t.rng.randbytes(t.rng.randrange(1, 3000)))
        equal(other.call("GET", "k"), b"$1\r\nv\r\n", "another connection")


def test_who_does_not_read_is_paused(t):
    """A client asks for a gigabyte and reads nothing: the node takes in only so many requests."""
    node = with_resp(t).nodes[0]
    with Resp(address(node)) as other, Resp(address(node)) as client:
        other.call("SET", "large", b"x" * 1_000_000)
        before = node.rss_bytes()
        client.socket.setblocking(False)
        request = pack(["GET", "large"]) * 1000
        sent = 0
        try:
            while sent < 50_000_000:
                sent += client.socket.send(request)
        except BlockingIOError:
            pass
        equal(other.call("GET", "large")[:10], b"$1000000\r\n", "another connection")
        true(node.rss_bytes() - before < 200_000_000,
             lambda: f"{node.rss_bytes() - before} bytes more")


def test_a_password_is_asked_for(t):
    cluster = t.cluster(1, start=False, mode="none", hello={"password": "secret"},
                        overrides={"listen.resp": "127.0.0.1:0", "security.password": "secret"})
    node = cluster.start().nodes[0]
    with RedisServer(t.dir, "--requirepass", "secret") as server:
        with Resp(server.address) as redis, Resp(address(node)) as mayfly:
            cases = [[["GET", "a"]], [["PING"]], [["nosuch"]], [["GET"]], [["HELLO"]],
                     [["HELLO", "3"]], [["AUTH", "wrong"]], [["AUTH", "default", "wrong"]],
                     [["HELLO", "2", "AUTH", "default", "wrong"]], [["CLIENT", "ID"]]]
            ending = [[["AUTH", "secret"], ["GET", "a"], ["RESET"], ["GET", "a"],
                       ["AUTH", "default", "secret"], ["GET", "a"], ["AUTH", "wrong"],
                       ["GET", "a"]]]
            for case in cases + ending:
                for words in case:
                    equal(mayfly.call(*words), redis.call(*words), f"reply to {words}")
        for data in (b"*11\r\n", b"*1\r\n$20000\r\n"):
            replies = []
            for at in (server.address, address(node)):
                with Resp(at) as client:
                    client.send(data)
                    replies.append(client.receive())
            equal(replies[1], replies[0], f"reply to {data!r}")


def test_connections_are_listed_and_killed(t):
    node = with_resp(t, **{"node.threads": 3}).nodes[0]
    clients = [Resp(address(node)) for _ in range(20)]
    ids = []
    for i, client in enumerate(clients):
        equal(client.call("CLIENT", "SETNAME", f"name-{i}"), b"+OK\r\n", "SETNAME")
        ids.append(int(client.call("CLIENT", "ID")[1:]))
    equal(len(set(ids)), 20, "different ids")
    lines = clients[0].call("CLIENT", "LIST").decode().splitlines()[1:]
    listed = {re.search(r"id=(\d+) .*? name=(\S*) ", line).groups() for line in lines if line}
    equal(listed, {(str(n), f"name-{i}") for i, n in enumerate(ids)}, "CLIENT LIST")
    equal(clients[0].call("CLIENT", "KILL", "ID", ids[5]), b":1\r\n", "KILL ID")
    true(clients[5].at_end(), "closed")
    name = "%s:%d" % clients[6].socket.getsockname()
    equal(clients[0].call("CLIENT", "KILL", name), b"+OK\r\n", "KILL ADDR")
    true(clients[6].at_end(), "closed")
    equal(clients[0].call("CLIENT", "KILL", "ID", ids[0], "SKIPME", "no"), b":1\r\n", "KILL me")
    true(clients[0].at_end(), "closed")
    equal(clients[1].call("CLIENT", "KILL", "TYPE", "normal"), b":16\r\n", "KILL all others")
    equal(clients[1].call("PING"), b"+PONG\r\n", "the one that is left")
    for client in clients:
        client.close()


def test_redis_py_just_works(t):
    """Debian's redis-py: values, pipelines, transactions that are tried again, scans, events."""
    cluster = with_resp(t, 3)
    host, port = address(cluster.nodes[1])
    client = redis.Redis(host, port, client_name="py")
    true(client.ping(), "PING")
    client.set("{p}a", 1, ex=100, nx=True)
    equal(client.set("{p}a", 2, nx=True), None, "SET NX of a key that is there")
    equal(client.get("{p}a"), b"1", "GET")
    between(90, client.ttl("{p}a"), 100, "TTL")
    equal(client.getex("{p}a", persist=True), b"1", "GETEX")
    equal(client.incrby("{p}n", 5), 5, "INCRBY")
    client.mset({f"m:{i}": i for i in range(100)})
    equal(client.mget("m:1", "m:99", "none"), [b"1", b"99", None], "MGET")
    equal(len(set(client.scan_iter("m:*"))), 100, "SCAN")
    equal(client.delete(*[f"m:{i}" for i in range(100)]), 100, "DEL")
    with client.pipeline(transaction=False) as pipe:
        for i in range(500):
            pipe.set(f"x:{i}", i).get(f"x:{i}")
        equal(pipe.execute()[1::2], [b"%d" % i for i in range(500)], "a pipeline")
    equal(client.transaction(lambda pipe: (pipe.multi(), pipe.set("{p}b", "z"), pipe.incr("{p}n")),
                             "{p}a", "{p}n"), [True, 6], "a transaction")
    with client.pubsub() as events:
        events.psubscribe("__keyspace@0__:{p}*")
        equal(wait_for(lambda: events.get_message(timeout=1), 10, "the subscription")["type"],
              "psubscribe", "the first message")
        client.delete("{p}a")
        message = wait_for(lambda: events.get_message(timeout=1), 10, "an event")
        equal((message["channel"], message["data"]), (b"__keyspace@0__:{p}a", b"del"), "the event")
    names = [entry["name"] for entry in client.client_list()]
    true("py" in names, f"CLIENT LIST: {names}")
    try:
        client.execute_command("LPUSH", "l", "v")
        raise AssertionError("LPUSH is not refused")
    except redis.ResponseError as error:
        true("unknown command" in str(error), f"LPUSH: {error}")
    equal(client.command()["get"]["arity"], 2, "COMMAND")
    client.close()


def test_too_many_clients_are_told_so(t):
    node = with_resp(t, **{"limits.max_clients": 3}).nodes[0]
    clients = []

    def another():
        # The connections by which the cluster's start was watched may still have a place.
        client = Resp(address(node))
        if client.call("PING") == b"+PONG\r\n":
            clients.append(client)
        return len(clients) == 3
    wait_for(another, 10, "three connections")
    with Resp(address(node)) as one_more:
        equal(one_more.receive(), b"-ERR max number of clients reached\r\n", "the fourth")
        true(one_more.at_end(), "closed")
    for client in clients:
        equal(client.call("PING"), b"+PONG\r\n", "one of the three")
        client.close()


def test_a_client_may_stop_sending_and_still_hear(t):
    node = with_resp(t).nodes[0]
    with Resp(address(node)) as client:
        client.send(b"".join(pack(["INCR", "n"]) + pack(["GET", "n"]) for _ in range(300)))
        client.socket.shutdown(socket.SHUT_WR)
        heard = client.file.read()
        wanted = b"".join(b":%d\r\n$%d\r\n%d\r\n" % (i, len(str(i)), i) for i in range(1, 301))
        equal(heard, wanted, "all replies, then the end")


def test_without_a_majority_the_error_says_so(t):
    cluster = with_resp(t, 3, **{"limits.request_timeout": 300})
    with Resp(address(cluster.nodes[0])) as client:
        # The third of a second that a request has may be over on a busy machine.
        wait_for(lambda: client.call("SET", "k", "v") == b"+OK\r\n", 20, "a write")
        for node in cluster.nodes[1:]:
            node.kill9()

        def down():
            replies = client.pipeline([["GET", "k"], ["PING"], ["SET", "k", "w"]])
            equal(replies[1], b"+PONG\r\n", "PING in between")
            return replies[0].startswith(b"-CLUSTERDOWN ") and \
                replies[2].startswith((b"-CLUSTERDOWN ", b"-TIMEOUT "))
        wait_for(down, 20, "errors that name the reason")


def test_what_was_acknowledged_survives_the_death_of_a_leader(t):
    """Writes go on through the others while a node is killed, and each says what has become of it;
    keys that were watched before are compared with what they were then."""
    cluster = with_resp(t, 3)
    doomed = cluster.nodes[2]
    # One that was late at the start leads nothing before it is handed what it is meant to lead.
    first, last = wait_for(lambda: next((shard["slots"][0] for shard in
                                         doomed.call("cluster")["shards"]
                                         if shard["leader"] == doomed.id), None),
                           60, "something that it leads")
    same, changed = (key_in_slots(name, first, last) for name in (b"same", b"changed"))
    with Resp(address(cluster.nodes[0]), timeout=30) as client, \
            Resp(address(cluster.nodes[1]), timeout=30) as one, \
            Resp(address(cluster.nodes[1]), timeout=30) as other:
        equal(one.call("WATCH", same), b"+OK\r\n", "WATCH")
        equal(other.call("WATCH", changed), b"+OK\r\n", "WATCH")
        equal(client.call("SET", changed, "by another"), b"+OK\r\n", "SET")
        acknowledged, unknown = {}, 0
        for i in range(600):
            if i == 200:
                doomed.kill9()
            requests = [["SET", f"key:{i}:{j}", f"value:{i}:{j}"] for j in range(5)]
            for words, reply in zip(requests, client.pipeline(requests)):
                if reply == b"+OK\r\n":
                    acknowledged[words[1]] = words[2]
                else:
                    true(reply.startswith((b"-TIMEOUT ", b"-CLUSTERDOWN ")), f"SET: {reply!r}")
                    unknown += 1
        true(len(acknowledged) > 1500, f"only {len(acknowledged)} were acknowledged")
        for key, value in acknowledged.items():
            equal(other.call("GET", key), b"$%d\r\n%s\r\n" % (len(value), value.encode()), key)
        equal(one.pipeline([["MULTI"], ["SET", same, "v"], ["EXEC"]])[2], b"*1\r\n+OK\r\n",
              "EXEC where nothing has changed")
        equal(other.pipeline([["MULTI"], ["SET", changed, "v"], ["EXEC"]])[2], b"*-1\r\n",
              "EXEC where the key has changed")
        t.note(f"{len(acknowledged)} acknowledged, {unknown} unknown")


def test_the_address_is_told(t):
    cluster = with_resp(t, 3)
    nodes = cluster.nodes[0].call("cluster")["nodes"]
    equal([node["resp"] for node in nodes], [node.ready["resp"] for node in cluster.nodes],
          "the nodes' addresses")
