"""Who has not said the password: what is refused, and how much of it is read."""

import pathlib
import re
import struct

from mayfly_test.check import equal, true
from mayfly_test.client import pack_request, parse_address
from mayfly_test.resp import Resp, pack
from mayfly_test.wait import wait_for

DOORS = {"listen.resp": "127.0.0.1:0", "listen.resp_cluster": "127.0.0.1:0"}
PASSWORDS = "ada:s3cret, bob:other"
HELLO = {"user": "ada", "password": "s3cret"}
# What the table of the RPC methods has, and is no command: rpc/msgpack_rpc.c.
ADMIN = [("cluster",), ("stats",), ("hotkeys",), ("snapshot", "s"), ("snapshot_read", "s", 0),
         ("snapshot_remove", "s"), ("transfer", 0, 1), ("drain_node", 1),
         ("add_node", 2, "127.0.0.1:1"), ("remove_node", 2), ("watch", {"key": "k"}),
         ("unwatch", 1)]
COMMANDS = [("get", "k"), ("set", "k", "v"), ("mget", ["k"]), ("mset", [["k", "v"]]),
            ("has", ["k"]), ("del", ["k"]), ("ttl", "k"), ("expire", "k", 1), ("persist", "k"),
            ("incr", "k", 1), ("append", "k", "v"), ("getdel", "k"), ("getex", "k"), ("size",),
            ("scan", 0), ("flush",), ("txn", {"if": [], "then": [["set", "k", "v"]]})]
WRONG = [("ada", "wrong"), ("ada", ""), ("ada", "s3cre"), ("ada", "s3crets"),
         ("ada", "s3crets3cret"), ("ada", "S3cret"), ("ada", "other"), ("bob", "s3cret"),
         ("", "s3cret"), ("eve", "s3cret"), ("ada:s3cret", ""), ("ada", "s3cret, bob:other"),
         ("", ""), (" bob", "other")]


def guarded(t):
    return t.cluster(1, overrides={"security.password": PASSWORDS, **DOORS}, hello=HELLO).node(1)


def methods_of_the_page():
    page = pathlib.Path(__file__).parents[2] / "docs" / "protocol.md"
    table = page.read_text(encoding="utf-8").partition("\n## Methods")[2].partition("\n\n|")[2]
    return set(re.findall(r"^\| `(\w+)` \|", table.partition("\n\n")[0], re.MULTILINE))


def test_rpc_refuses_everything_before_hello(t):
    node = guarded(t)
    equal({method for method, *_ in ADMIN + COMMANDS} | {"ping", "hello"}, methods_of_the_page(),
          "the methods that are tried")
    with node.connect(greet=False) as connection:
        for method, *params in ADMIN + COMMANDS:
            equal(connection.code_of(method, *params), "UNAUTHORIZED", method)
        for user, password in WRONG:
            equal(connection.code_of("hello", {"user": user, "password": password}), "UNAUTHORIZED",
                  f"hello of {user!r} with {password!r}")
            equal(connection.code_of("get", "k"), "UNAUTHORIZED", "get after it")
        equal(connection.code_of("ping"), None, "ping")
        equal(connection.code_of("hello", {"user": "bob", "password": "other"}), None, "hello")
        equal(connection.call("get", "k"), None, "what refused writes have left")


def test_redis_ports_refuse_everything_before_auth(t):
    node = guarded(t)
    for door in ("resp", "resp_cluster"):
        address = parse_address(node.ready[door])
        with Resp(address) as known:
            equal(known.call("AUTH", "ada", "s3cret"), b"+OK\r\n", "AUTH")
            rows = commands(known)
        with Resp(address) as stranger:
            let_in = []
            for name, words in rows:
                names = name.split(b"|")
                reply = stranger.call(*names, *["k"] * (words - len(names)))
                if not reply.startswith(b"-NOAUTH"):
                    let_in.append(name)
            equal(sorted(let_in), [b"auth", b"quit", b"reset"], f"let in at {door}")
        true(len(rows) > 100, f"{len(rows)} commands were tried")
        with Resp(address) as stranger:
            for user, password in WRONG:
                for words in (("AUTH", user, password), ("HELLO", 3, "AUTH", user, password)):
                    true(stranger.call(*words).startswith(b"-WRONGPASS"), f"{words} was taken")
            true(stranger.call("AUTH", "s3cret").startswith(b"-WRONGPASS"), "a user is named")
            true(stranger.call("GET", "k").startswith(b"-NOAUTH"), "GET after it")
            true(stranger.call("HELLO", 2, "AUTH", "bob", "other").startswith(b"*"), "HELLO AUTH")
            equal(stranger.call("GET", "k"), b"$-1\r\n", "GET by a known user")


def commands(known):
    """The names of all commands and subcommands, and how many words each needs; quit comes last."""
    known.send(pack(["COMMAND"]))
    found = []
    for name, words, *_, subcommands in parse(known):
        found += [(row[0], abs(row[1])) for row in subcommands or [(name, words)]]
    return sorted(found, key=lambda row: row[0] == b"quit")


def parse(client):
    """A reply, understood."""
    line = client.file.readline()
    kind, rest = line[:1], line[1:-2]
    if kind == b"$":
        return client.file.read(int(rest) + 2)[:-2]
    if kind == b":":
        return int(rest)
    if kind in b"*~":
        return [parse(client) for _ in range(int(rest))]
    return rest


def test_strangers_may_not_send_much(t):
    """What is read of who has not said a password is 16 KiB on the RPC port, and Redis's bounds."""
    node = guarded(t)
    claims = [b"\xc6" + struct.pack(">I", 100 << 20),                     # bytes of 100 MiB
              b"\x94\x00\x07\xa3set\x93\xa1k\xc6" + struct.pack(">I", 20_000),
              b"\x94\x00\x07\xa4mget\x91\xdd" + struct.pack(">I", 20_000)]
    for claim in claims:
        with node.connect(greet=False) as connection:
            connection.send_raw(claim)
            true(connection.closed_by_server(), f"a stranger's {claim[:20]!r} is waited for")
            equal({(msgid, error.code) for msgid, error, _ in connection.kept()}
                  - {(7, "UNAUTHORIZED")}, set(), "other answers")
    with node.connect(greet=False) as connection:  # in one go: it is known by then
        connection.send_raw(pack_request(1, "hello", [HELLO])
                            + pack_request(2, "set", ["k", b"x" * 1_000_000]))
        equal([connection.receive()[:2] for _ in range(2)], [(1, None), (2, None)], "the answers")
    for door in ("resp", "resp_cluster"):
        for claim in (b"*11\r\n", b"*2\r\n$16385\r\n"):
            with Resp(parse_address(node.ready[door])) as stranger:
                stranger.send(claim)
                true(stranger.receive().startswith(b"-ERR Protocol error: unauthenticated"), door)
                true(stranger.at_end(), "closed after it")


def test_a_password_that_is_set_while_clients_are_there_counts_for_them(t):
    cluster = t.cluster(1, overrides=DOORS)
    node = cluster.node(1)
    with node.connect() as rpc, Resp(parse_address(node.ready["resp"])) as resp:
        equal(rpc.call("set", "k", "v")["version"] > 0, True, "without a password")
        node.settings["security.password"] = ":x"
        node.write_config()
        node.signal(1)
        wait_for(lambda: "SIGHUP: the configuration is refused" in node.log_text(), 10, "a refusal")
        equal(rpc.call("get", "k"), b"v", "the old configuration stays")
        node.settings["security.password"] = "new"
        node.write_config()
        node.signal(1)
        wait_for(lambda: rpc.code_of("get", "k") == "UNAUTHORIZED", 10, "the password to count")
        true(resp.call("GET", "k").startswith(b"-NOAUTH"), "on the Redis port, too")
        equal(resp.call("AUTH", "new"), b"+OK\r\n", "AUTH")
        equal(resp.call("GET", "k"), b"$1\r\nv\r\n", "GET")
    node.hello = {"user": "any", "password": "new"}
