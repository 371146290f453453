"""What the Redis door has beyond Redis 7.0, and values that are carried between the two."""

import redis

from mayfly_test.check import equal, true
from mayfly_test.client import parse_address
from mayfly_test.resp import RedisServer, Resp


def start(t, **overrides):
    return t.cluster(1, shards=4, overrides={"listen.resp": "127.0.0.1:0", **overrides}).node(1)


def ask(node, version=2):
    return Resp(parse_address(node.ready["resp"]), version)


OK, NULL, SYNTAX = b"+OK\r\n", b"$-1\r\n", b"-ERR syntax error\r\n"


def test_set_and_del_may_depend_on_the_value(t):
    with ask(start(t)) as client:
        for words, reply in (
                (["SET", "k", "a", "IFEQ", "a"], NULL),
                (["EXISTS", "k"], b":0\r\n"),
                (["SET", "k", "a", "IFNE", "a"], OK),
                (["SET", "k", "b", "ifne", "a"], NULL),
                (["SET", "k", "b", "IFEQ", "a", "EX", "100"], OK),
                (["TTL", "k"], b":100\r\n"),
                (["SET", "k", "c", "IFEQ", "a", "GET"], b"$1\r\nb\r\n"),
                (["GET", "k"], b"$1\r\nb\r\n"),
                (["SET", "k", "c", "GET", "IFEQ", "b", "KEEPTTL"], b"$1\r\nb\r\n"),
                (["TTL", "k"], b":100\r\n"),
                (["SET", "k", "", "IFEQ", "c"], OK),
                (["SET", "k", "c", "IFEQ", ""], OK),
                (["SET", "k", "c", "IFEQ"], SYNTAX),
                (["SET", "k", "c", "IFEQ", "c", "NX"], SYNTAX),
                (["SET", "k", "c", "XX", "IFEQ", "c"], SYNTAX),
                (["SET", "k", "c", "IFEQ", "c", "IFNE", "d"], SYNTAX),
                (["DELIFEQ", "k", "b"], b":0\r\n"),
                (["DELIFEQ", "nokey", ""], b":0\r\n"),
                (["MULTI"], OK),
                (["SET", "k", "d", "IFEQ", "x"], b"+QUEUED\r\n"),
                (["SET", "k", "d", "IFEQ", "c"], b"+QUEUED\r\n"),
                (["DELIFEQ", "k", "c"], b"+QUEUED\r\n"),
                (["DELIFEQ", "k", "d"], b"+QUEUED\r\n"),
                (["EXEC"], b"*4\r\n" + NULL + OK + b":0\r\n:1\r\n"),
                (["EXISTS", "k"], b":0\r\n")):
            equal(client.call(*words), reply, f"{words}")


VALUES = [b"", b"a", b"0", b"-1", b"127", b"128", b"-129", b"32768", b"-2147483648", b"2147483647",
          b"2147483648", b"007", b"+1", b"x" * 63, b"x" * 64, bytes(range(256)) * 3, b"y" * 16383,
          b"y" * 16384, b"ab" * 50000, b"9" * 20]


def test_values_are_carried_to_redis_and_back(t):
    node = start(t)
    host, port = parse_address(node.ready["resp"])
    with RedisServer(t.dir) as server:
        theirs = redis.Redis(*server.address)
        ours = redis.Redis(host=host, port=port)
        for i, value in enumerate(VALUES):
            ours.set(f"{i}", value)
            theirs.restore(f"{i}", 0, ours.dump(f"{i}"))
            equal(theirs.get(f"{i}"), value, f"value {i}, in Redis")
            if len(value) <= 20:
                equal(ours.dump(f"{i}"), theirs.dump(f"{i}"), f"dump of value {i}")
            ours.restore(f"back:{i}", 100000, theirs.dump(f"{i}"))
            equal(ours.get(f"back:{i}"), value, f"value {i}, come back")
            true(0 < ours.ttl(f"back:{i}") <= 100, "its TTL")
        theirs.rpush("list", "a")
        try:
            ours.restore("list", 0, theirs.dump("list"))
            true(False, "a list is no value")
        except redis.ResponseError as error:
            equal(str(error), "Bad data format", "what a list is")
        try:
            ours.restore("0", 0, theirs.dump("1"))
            true(False, "there is such a key")
        except redis.ResponseError as error:
            equal(str(error), "BUSYKEY Target key name already exists.", "a key that is there")


def test_what_is_unpacked_counts_as_what_has_come(t):
    node = start(t, **{"limits.max_request": "1mb"})
    host, port = parse_address(node.ready["resp"])
    with RedisServer(t.dir) as server:
        theirs = redis.Redis(*server.address)
        ours = redis.Redis(host=host, port=port)
        for size, fits in ((1 << 20, True), ((1 << 20) + 1, False)):
            theirs.set("long", b"x" * size)
            packed = theirs.dump("long")
            true(len(packed) < 20000, "it is packed")
            try:
                ours.restore(f"{size}", 0, packed)
                true(fits, f"{size} bytes are too many")
            except redis.ResponseError as error:
                true(not fits, f"{size} bytes: {error}")
                equal(str(error), "string exceeds maximum allowed size (proto-max-bulk-len)", "why")
        with ask(node) as client:
            theirs.set("half", b"y" * 600_000)
            half = theirs.dump("half")
            client.call("MULTI")
            equal([client.call("RESTORE", f"k{i}", "0", half)[:1] for i in range(2)], [b"+", b"-"],
                  "more than a request may be")
            true(client.call("EXEC").startswith(b"-EXECABORT"), "EXEC")


def test_what_values_have_in_common_is_found_as_by_redis(t):
    node = start(t)
    with RedisServer(t.dir) as server, Resp(server.address, 3) as theirs, ask(node, 3) as ours:
        for i in range(150):
            letters = t.rng.choice(("ab", "abcdefgh", "\x00\xff"))
            texts = ["".join(t.rng.choice(letters) for _ in range(t.rng.randrange(60)))
                     for _ in range(2)]
            if i % 3 == 0:
                texts[1] = texts[0][:20] + texts[1] + texts[0][30:]
            for words in (["MSET", "{t}a", texts[0], "{t}b", texts[1]], ["LCS", "{t}a", "{t}b"],
                          ["LCS", "{t}a", "{t}b", "LEN"], ["LCS", "{t}a", "{t}b", "IDX"],
                          ["LCS", "{t}b", "{t}a", "IDX", "WITHMATCHLEN", "MINMATCHLEN", "3"]):
                equal(ours.call(*words), theirs.call(*words), f"{words} of {texts}")
        ours.call("MSET", "{t}a", "x" * 2048, "{t}b", "x" * 2048, "{t}c", "x" * 2049)
        equal(ours.pipeline([["LCS", "{t}a", "{t}b", "LEN"]] * 3 + [["PING"]]),
              [b":2048\r\n"] * 3 + [b"+PONG\r\n"], "the longest")
        true(ours.call("LCS", "{t}a", "{t}c").startswith(b"-ERR the values are too long"), "longer")
        ours.call("MULTI")
        true(ours.call("LCS", "{t}a", "{t}b").startswith(b"-ERR"), "inside MULTI")
        ours.call("DISCARD")


def test_a_transaction_may_ask_the_node_only_so_much(t):
    with ask(start(t)) as client:
        client.call("MULTI")
        replies = client.pipeline([["INFO"]] * 65)
        equal([reply[:1] for reply in replies], [b"+"] * 64 + [b"-"], "INFO")
        true(client.call("EXEC").startswith(b"-EXECABORT"), "EXEC")
        client.call("MULTI")
        replies = client.pipeline([["PING"]] * 4097)
        equal([reply[:1] for reply in replies], [b"+"] * 4096 + [b"-"], "PING")
        client.call("DISCARD")


def test_users_are_told_and_their_passwords_are_not(t):
    node = t.cluster(1, hello={"user": "bob", "password": "hidden"},
                     overrides={"listen.resp": "127.0.0.1:0",
                                "security.password": "ann:secret, bob:hidden"}).node(1)
    with ask(node) as client:
        true(client.call("ACL", "LIST").startswith(b"-NOAUTH"), "a stranger is told nothing")
        true(client.call("WATCH", "k").startswith(b"-NOAUTH"), "and watches nothing")
        equal(client.call("AUTH", "bob", "hidden"), OK, "AUTH")
        equal(client.pipeline([["MULTI"], ["SET", "k", "v"], ["EXEC"]])[2],
              b"-EXECABORT Transaction discarded because of previous errors.\r\n", "unguarded")
        equal(client.call("ACL", "WHOAMI"), b"$3\r\nbob\r\n", "who asks")
        equal(client.call("ACL", "USERS"), b"*2\r\n$3\r\nann\r\n$3\r\nbob\r\n", "the users")
        line = b"user %s on ~* &* +@all"
        equal(client.call("ACL", "LIST"),
              b"*2\r\n$23\r\n" + line % b"ann" + b"\r\n$23\r\n" + line % b"bob" + b"\r\n",
              "what they may")


def wait_aof(t, mode, replies):
    with ask(start(t, **{"durability.mode": mode})) as client:
        for local, reply in replies.items():
            equal(client.call("WAITAOF", local, "0", "0"), reply, f"WAITAOF {local} with {mode}")


def test_waitaof_says_that_acknowledged_writes_are_on_disk(t):
    wait_aof(t, "fsync", {"0": b"*2\r\n:1\r\n:0\r\n", "1": b"*2\r\n:1\r\n:0\r\n"})


def test_waitaof_says_that_nothing_is_on_disk(t):
    wait_aof(t, "none", {"0": b"*2\r\n:0\r\n:0\r\n",
                         "1": b"-ERR WAITAOF cannot be used when numlocal is set but appendonly is "
                              b"disabled.\r\n",
                         "2": b"-ERR value is out of range, value must between 0 and 1\r\n",
                         "x": b"-ERR value is not an integer or out of range\r\n"})
