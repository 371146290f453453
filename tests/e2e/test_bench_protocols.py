"""mayfly-bench over the Redis protocol and memcached's: the same counts and checks as over
MessagePack-RPC, against Mayfly, Redis and memcached, and that each check can fail."""

import contextlib
import json
import os
import shutil
import threading

from mayfly_test import process
from mayfly_test.check import between, contains, equal, true
from mayfly_test.cluster import free_port, slot_of
from mayfly_test.context import Skipped, limit
from mayfly_test.fake import FakeServer, cluster_slots
from mayfly_test.resp import RedisServer, Resp
from mayfly_test.wait import wait_for
from test_bench import SHORT, check_counts, until_all_are_asked
from test_resp_cluster import with_resp_cluster

ALL = {"get": 4, "set": 2, "incr": 2, "del": 1, "txn": 1}
ALL_BUT_TXN = {"get": 4, "set": 2, "incr": 2, "del": 1}


def words(mix):
    return ",".join(f"{kind}={weight}" for kind, weight in mix.items())


def bench(t, protocol, addresses, *flags, status=0):
    finished = t.run("mayfly-bench", "-p", protocol, "-s", addresses, *SHORT, "-o", "json", *flags)
    equal(finished.status, status, f"exit status of\n{finished}\n")
    return json.loads(finished.stdout)


def check_all(t, protocol, addresses, mix, *flags):
    result = until_all_are_asked(
        lambda *seconds: bench(t, protocol, addresses, "-m", words(mix), *flags, *seconds))
    check_counts(result, mix)
    true(result["added"] > 0, "something was added")
    equal(result["counted"], result["added"], "what the counters hold")
    true(result["checked"] > 0, "values whose checksum was checked")
    return result


@contextlib.contextmanager
def other_server(t, name, port, *flags):
    """A server that may not be there, until it takes connections; its address."""
    program = shutil.which(name)
    if program is None:
        raise Skipped(f"{name} is missing; scripts/deps --bench installs it")
    with open(t.dir / f"{name}.log", "wb") as log:
        child = process.spawn([program, *flags], stdout=log, stderr=log, cwd=t.dir)
    try:
        wait_for(lambda: Resp(("127.0.0.1", port)).close() is None, 20, name)
        yield f"127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait()


def memcached(t):
    port = free_port()
    user = ("-u", "nobody") if os.geteuid() == 0 else ()
    return other_server(t, "memcached", port, "-l", "127.0.0.1", "-p", port, "-U", "0", *user)


def etcd(t):
    port = free_port()
    own, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    return other_server(t, "etcd", port, "--data-dir", "etcd", "--listen-client-urls", own,
                        "--advertise-client-urls", own, "--listen-peer-urls", peer,
                        "--initial-advertise-peer-urls", peer, "--initial-cluster",
                        f"default={peer}")


@limit(240)
def test_every_kind_is_right_on_both_redis_ports(t):
    cluster = with_resp_cluster(t, **t.patience)
    plain = ",".join(node.ready["resp"] for node in cluster.nodes)
    routed = ",".join(node.ready["resp_cluster"] for node in cluster.nodes)
    for flags in ((), ("-P", "16", "-t", "2"), ("-d", "zipf", "-v", "40000", "--ttl", "60000")):
        for addresses, more in ((plain, ()), (routed, ("--cluster",))):
            check_all(t, "resp", addresses, ALL, *flags, *more)
            cluster.node(1).call("flush", timeout=30)


@limit(120)
def test_messagepack_rpc_without_the_library(t):
    cluster = t.cluster(n=3, shards=16, mode="none", overrides=t.patience)
    addresses = ",".join(node.ready["rpc"] for node in cluster.nodes)
    for flags in ((), ("-P", "16", "-t", "2"), ("-v", "70000", "--ttl", "60000")):
        check_all(t, "rpc-plain", addresses, ALL_BUT_TXN, *flags)
    # Answers of other nodes come later than this one's, and are told apart by their numbers.
    result = bench(t, "rpc-plain", cluster.node(1).ready["rpc"], "-m", "get=1", "-P", "32")
    true(result["checked"] > 0, "values whose checksum was checked")
    with cluster.node(1).connect() as connection:
        connection.call("set", "bench:7", "wrong")
    result = bench(t, "rpc-plain", addresses, "-m", "get=1", "-k", "8", "--no-fill", status=1)
    true(result["wrong"] > 0, f"answers that are wrong: {result['wrong']}")


@limit(120)
def test_its_counters_are_gone_after_it(t):
    with RedisServer(t.dir) as server:
        address = "%s:%d" % server.address
        result = bench(t, "resp", address, "-m", "incr=1", "-t", "2", "--no-fill", "-P", "4")
        equal((result["fine"], result["counted"]), (True, result["added"]), "the sum")
        with Resp(server.address) as connection:
            equal(connection.call("DBSIZE"), b":0\r\n", "keys that are left")


@limit(120)
def test_redis_and_its_processor_time(t):
    with RedisServer(t.dir) as server:
        for flags in ((), ("-P", "16", "-t", "2"), ("-v", "70000", "--ttl", "60000")):
            result = check_all(t, "resp", "%s:%d" % server.address, ALL, *flags,
                               "--server-pid", str(server.process.pid))
            true(result["server_cpu_us"] > 0 and result["client_cpu_us"] > 0, f"{result}")
        bench(t, "resp", "%s:%d" % server.address, "-m", "get=1")
        with Resp(server.address) as connection:
            equal(connection.call("GETRANGE", "bench:479", 0, 7), b"$8\r\n000001df\r\n", "a value")


@limit(120)
def test_memcached(t):
    with memcached(t) as address:
        for flags in ((), ("-P", "16", "-t", "2"), ("-v", "70000", "--ttl", "60000")):
            check_all(t, "memcache", address, ALL_BUT_TXN, *flags)


@limit(120)
def test_etcd(t):
    mix = {"get": 4, "set": 4, "del": 2}
    with etcd(t) as address:
        for flags in (("-v", "16"), ("-t", "2", "-v", "1024")):
            result = until_all_are_asked(lambda *seconds, flags=flags: bench(
                t, "etcd", address, "-k", "100", "-m", words(mix), *flags, *seconds))
            check_counts(result, mix)
            true(result["checked"] > 0, "values whose checksum was checked")


@limit(60)
def test_a_password_is_sent_first(t):
    with RedisServer(t.dir, "--requirepass", "secret") as server:
        address = "%s:%d" % server.address
        result = bench(t, "resp", address, "--password", "secret")
        equal(result["fine"], True, "the judgement")
        environment = {**os.environ, "MAYFLY_PASSWORD": "secret"}
        finished = t.run("mayfly-bench", "-p", "resp", "-s", address, *SHORT, env=environment)
        equal(finished.status, 0, "exit status with the password in the environment")
        for flags, part in (((), "NOAUTH"), (("--password", "wrong"), "AUTH: -WRONGPASS")):
            finished = t.run("mayfly-bench", "-p", "resp", "-s", address, *SHORT, *flags)
            equal((finished.status, finished.stdout), (1, b""), "status and output without it")
            contains(finished.stderr.decode(), part, "what is said")


@limit(60)
def test_with_a_rate_as_many_are_sent_as_are_due(t):
    with FakeServer() as server:
        result = bench(t, "resp", server.address, "-r", "200", "-t", "3", "--seconds", "1")
        check_counts(result, ("get", "set"))
        equal(result["all"]["requests"] + result["skipped"], 200, "requests that were due")


@limit(60)
def test_a_slow_answer_is_measured_from_when_its_request_was_due(t):
    """One client, to whom nothing is answered for a while: what was due meanwhile waited as well."""
    gets = []

    def change(request, reply):
        if request[0] == b"GET":
            gets.append(1)
            if len(gets) == 20:
                pause.wait(0.3)
        return reply
    pause = threading.Event()
    with FakeServer(change) as server:
        result = bench(t, "resp", server.address, "-c", "1", "-r", "100", "--seconds", "1",
                       "-m", "get=1", "--warmup", "0")
    true(result["all"]["max_ms"] >= 300, "the longest latency")
    true(result["all"]["p90_ms"] >= 50, "it is not the only long one")


def flipped(reply):
    """One bit of the last byte of a value is another."""
    at = len(reply) - 3
    return reply[:at] + bytes([reply[at] ^ 1]) + reply[at + 1:]


@limit(120)
def test_each_check_can_fail(t):
    def values(name, change):
        return lambda request, reply: change(reply) if request[0] == name else reply

    def other_key(reply):
        return reply.replace(b"\r\n0000", b"\r\n1000", 1)

    def shorter(reply):
        head, _, rest = reply.partition(b"\r\n")
        return b"$%d\r\n" % (int(head[1:]) - 1) + rest[1:]

    for protocol, mix, change in (
            ("resp", "get=1", values(b"GET", flipped)),
            ("resp", "get=1", values(b"GET", other_key)),
            ("resp", "get=1", values(b"GET", shorter)),
            ("resp", "get=1", values(b"GET", lambda reply: b"+OK\r\n")),
            ("resp", "txn=1", values(b"EXEC", flipped)),
            ("resp", "txn=1", values(b"EXEC", lambda reply: b"*2\r\n+OK\r\n$-1\r\n")),
            ("resp", "txn=1", values(b"EXEC", lambda reply: reply.replace(b"+OK", b"$-1"))),
            ("resp", "txn=1", values(b"EXEC", lambda reply: b"*-1\r\n")),
            ("resp", "get=1,del=1", values(b"DEL", lambda reply: b":2\r\n")),
            ("memcache", "get=1", values(b"mg", flipped))):
        with FakeServer(change) as server:
            result = bench(t, protocol, server.address, "-m", mix, status=1)
            equal(result["fine"], False, "the judgement")
            true(result["wrong"] > 0, f"answers that are wrong: {result['wrong']}")


@limit(60)
def test_a_wrong_set_is_found_while_keys_are_set(t):
    with FakeServer(lambda request, reply: b":1\r\n") as server:
        finished = t.run("mayfly-bench", "-p", "resp", "-s", server.address, *SHORT)
        equal((finished.status, finished.stdout), (1, b""), "status and output")
        contains(finished.stderr.decode(), "setting the keys: an answer that cannot be right", "why")


@limit(60)
def test_only_some_values_are_checked_when_it_is_told_so(t):
    with FakeServer() as server:
        result = bench(t, "resp", server.address, "-m", "get=1", "--check-every", "10",
                       "--warmup", "0")
        true(0 < result["checked"] <= result["all"]["requests"] / 10 + 1, f"{result}")


@limit(60)
def test_an_increment_that_is_lost_is_missed(t):
    """The server says that it has counted, and has not."""
    def change(request, reply):
        if request[0] == b"INCR" and reply == b":5\r\n":
            server.data[request[1]] = b"4"
        return reply
    with FakeServer(change) as server:
        result = bench(t, "resp", server.address, "-m", "incr=1", status=1)
        equal((result["wrong"], result["fine"]), (0, False), "the judgement")
        true(result["counted"] < result["added"], "what the counters hold")


@limit(60)
def test_counters_are_read_after_errors_and_it_is_said_when_they_cannot_be(t):
    mix = ("-m", "incr=1,get=1")
    for bad, counted in ((b"bench:", True), (b"bench", False)):
        def change(request, reply, beginning=bad):
            wrong = request[0] == b"GET" and request[1].startswith(beginning)
            return b"-ERR odd\r\n" if wrong else reply
        with FakeServer(change) as server:
            result = bench(t, "resp", server.address, *mix, status=1)
            true("get: ERR odd" in result["errors"] and result["added"] > 0, "both were tried")
            equal(result["counted"], result["added"] if counted else None, "the counters")
            finished = t.run("mayfly-bench", "-p", "resp", "-s", server.address, *SHORT, *mix)
            equal(b"could not be read" in finished.stdout, not counted, "what is said")


@limit(60)
def test_errors_are_counted_by_what_they_say(t):
    def change(request, reply):
        if request[0] == b"GET":
            return b"-ERR odd\r\n" if request[1][-1:] in b"13579" else b"-BUSY even\r\n"
        return reply
    with FakeServer(change) as server:
        result = bench(t, "resp", server.address, "-m", "get=1,set=1", status=1)
        equal(set(result["errors"]), {"get: ERR odd", "get: BUSY even"}, "texts")
        equal(sum(result["errors"].values()), result["kinds"]["get"]["errors"], "their sum")
        equal(result["kinds"]["set"]["errors"], 0, "errors of sets")


@limit(60)
def test_a_transaction_fails_by_its_first_error(t):
    def change(request, reply):
        if request[0] == b"SET" and b"XX" in request:
            return b"-OOM no room\r\n"
        return b"-EXECABORT discarded\r\n" if request[0] == b"EXEC" else reply
    with FakeServer(change) as server:
        result = bench(t, "resp", server.address, "-m", "txn=1", "-P", "3", status=1)
        equal(list(result["errors"]), ["txn: OOM no room"], "texts")


@limit(60)
def test_a_connection_that_ends_or_goes_silent_or_mad_is_an_error(t):
    for reply, text in ((None, "get: the connection was closed"), (b"", "get: no answer in time"),
                        (b"HTTP/1.1 200 OK\r\n", "get: bytes that are no answer of this protocol"),
                        (b"$-1\r\n$-1\r\n", "get: an answer that nobody asked for"),
                        (b"$999999999\r\n" + b"x" * 300000, "get: an answer that is too long")):
        def change(request, honest, other=reply):
            return other if request[0] == b"GET" else honest
        with FakeServer(change) as server:
            # Only where nothing comes: otherwise it would be the reason on a slow machine.
            patience = ("--timeout", "1000") if reply == b"" else ()
            result = bench(t, "resp", server.address, "-c", "2", "-m", "get=1", *patience, status=1)
            equal(result["errors"][text], 2, f"times of {text}")
            equal(result["fine"], False, "the judgement")


@limit(60)
def test_moved_keys_are_followed_and_the_map_is_kept(t):
    """The map says that one node has all slots; half of them are the other's."""
    half = 8192

    def first_change(request, reply):
        if request[0] == b"CLUSTER":
            return cluster_slots([(0, 16383, first.address)])
        if len(request) == 1:
            return reply
        slot = slot_of(request[1])
        return b"-MOVED %d %s\r\n" % (slot, second.address.encode()) if slot >= half else reply

    def second_change(request, reply):
        mine = len(request) == 1 or slot_of(request[1]) >= half
        return reply if mine else b"-ERR not mine\r\n"

    with FakeServer(first_change) as first, FakeServer(second_change) as second:
        mix = {"get": 1, "set": 1, "del": 1, "txn": 1}
        result = bench(t, "resp", first.address, "--cluster", "-m", words(mix))
        check_counts(result, mix)
        slots = [slot_of(b"bench:%d" % i) for i in range(500)]
        moved = [slot for slot in slots if slot >= half]
        # Only while the keys are set, and then each slot is known.
        between(len(set(moved)), result["resent"], len(moved), "requests that were sent again")
        true(any(slot_of(key) >= half for key in second.data), "the second node has its keys")


@limit(60)
def test_a_client_of_one_node_asks_no_other(t):
    half = 8192
    with FakeServer() as second:
        def change(request, reply):
            if request[0] != b"CLUSTER":
                return reply
            rows = [(0, half - 1, first.address), (half, 16383, second.address)]
            return cluster_slots(rows[half == 0:])
        with FakeServer(change) as first:
            for flags, others in ((("--one-node",), 0), ((), 4)):
                before = first.connections, second.connections
                bench(t, "resp", first.address, "--cluster", "--no-fill", "-c", "4", "-P", "8",
                      "-m", "get=1,set=1", *flags)
                # The first is asked for the map, too.
                equal((first.connections - before[0] - 1, second.connections - before[1]),
                      (2 + others // 2, 2 + others // 2), f"connections with {flags}")
            # One that has no keys is asked for none, and its clients ask the other.
            half = 0
            before = first.connections
            bench(t, "resp", first.address, "--cluster", "--one-node", "-c", "2")
            equal(first.connections - before, 2, "connections: for the map, and one of a client")


@limit(60)
def test_a_map_that_says_nothing_is_refused(t):
    for answer, part in ((b"-ERR This instance has cluster support disabled\r\n", "disabled"),
                         (b"*0\r\n", "not every slot has a node"), (b"+OK\r\n", "not every slot"),
                         (cluster_slots([(0, 16384, "a:1")]), "not every slot"),
                         (b"*1\r\n*3\r\n:0\r\n:16383\r\n*1\r\n$1\r\na\r\n", "not every slot")):
        with FakeServer(lambda request, reply, other=answer: other) as server:
            finished = t.run("mayfly-bench", "-p", "resp", "-s", server.address, "--cluster", *SHORT)
            equal((finished.status, finished.stdout), (1, b""), "status and output")
            contains(finished.stderr.decode(), part, "what is said")


@limit(60)
def test_what_a_protocol_cannot_do_is_refused(t):
    for flags, part in ((("-p", "memcache", "-m", "txn=1"), "--protocol memcache has no txn"),
                        (("-p", "memcache", "--cluster"), "--protocol memcache has no --cluster"),
                        (("-p", "memcache", "--password", "x"), "has no --password"),
                        (("-p", "resp", "--local"), "--protocol resp has no --local"),
                        (("-p", "resp", "--no-route"), "--protocol resp has no --no-route"),
                        (("--cluster",), "--protocol rpc has no --cluster"),
                        (("-p", "resp", "--one-node"), "--one-node: expected --cluster"),
                        (("-p", "etcd", "-m", "incr=1"), "--protocol etcd has no incr"),
                        (("-p", "etcd", "-P", "2"), "has no --pipeline so deep"),
                        (("-p", "etcd", "-v", "1025"), "has no --value-bytes so many"),
                        (("-p", "etcd", "--ttl", "9"), "--protocol etcd has no --ttl"),
                        (("-p", "http"), "expected rpc, rpc-plain, resp"),
                        (("--server-pid", "0"), "--server-pid: '0' is not valid"),
                        (("--server-pid", "1,x"), "--server-pid: '1,x' is not valid"),
                        (("--check-every", "0"), "--check-every: '0' is not valid")):
        finished = t.run("mayfly-bench", *flags)
        equal((finished.status, finished.stdout), (2, b""), f"status and output of {flags}")
        contains(finished.stderr.decode(), part, "what is said")


@limit(60)
def test_a_plot_is_drawn_or_refused_before_the_run(t):
    with FakeServer() as server:
        flags = ("-p", "resp", "-s", server.address, *SHORT, "--plot", str(t.dir / "it's.svg"))
        finished = t.run("mayfly-bench", *flags, env={"PATH": str(t.dir)})
        equal((finished.status, finished.stdout), (2, b""), "status and output without gnuplot")
        contains(finished.stderr.decode(), "there is no gnuplot", "what is said")
        equal(server.data, {}, "what was sent")
        if shutil.which("gnuplot") is None:
            t.note("there is no gnuplot (scripts/deps --dev): nothing was drawn")
            return
        equal(t.run("mayfly-bench", *flags).status, 0, "exit status")
        contains((t.dir / "it's.svg").read_text(encoding="utf-8"), "p99.99", "the plot")
