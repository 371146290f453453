"""What a node tells of itself on the Redis door: INFO beside Redis's own, counts that move as they
should over all threads, SLOWLOG and LATENCY."""

import pathlib
import re

import redis

from mayfly_test.check import between, contains, equal, true
from mayfly_test.client import parse_address
from mayfly_test.resp import RedisServer, Resp
from mayfly_test.wait import wait_for

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "redis.md"
SHARDS = 8


def with_resp(t, n=1, hello=None, **overrides):
    cluster = t.cluster(n, start=False, shards=SHARDS, mode="none", hello=hello,
                        overrides={"listen.resp": "127.0.0.1:0", "node.threads": 2, **t.patience,
                                   **overrides})
    return cluster.start()


def address(node, listener="resp"):
    return parse_address(node.ready[listener])


def text(reply):
    """Of a bulk string or a verbatim one."""
    head, _, rest = reply.partition(b"\r\n")
    true(head[:1] in (b"$", b"="), f"{reply[:80]!r} is no text")
    body = rest[:-2]
    equal(len(body), int(head[1:]), "the length of the text")
    return (body[4:] if head[:1] == b"=" else body).decode()


def told(client, *sections):
    return text(client.call("INFO", *sections))


def fields(info):
    return dict(line.split(":", 1) for line in info.split("\r\n") if line and line[0] != "#")


def titles(info):
    return [line[2:] for line in info.split("\r\n") if line.startswith("# ")]


def command(client, name):
    """The statistics of one command; None where it was never asked for."""
    value = fields(told(client, "commandstats")).get(f"cmdstat_{name}")
    return value and {key: float(number) for key, number in
                      (part.split("=") for part in value.split(","))}


def counts(client, name):
    stats = command(client, name) or {}
    return tuple(int(stats.get(key, 0)) for key in ("calls", "rejected_calls", "failed_calls"))


# Beside Redis.

def left_out():
    """The fields that the page says are not told."""
    row, = re.findall(r"\n\| fields of `INFO` \| ([^|]*) \|", PAGE.read_text(encoding="utf-8"))
    return set(re.findall(r"`([a-z_0-9]+)`", row))


def test_each_field_of_redis_is_told_or_named_on_the_page(t):
    node = with_resp(t, **{"durability.mode": "fsync"}).nodes[0]
    with RedisServer(t.dir) as server, Resp(server.address) as theirs, \
            Resp(address(node)) as ours:
        for client in (theirs, ours):
            for words in (["SET", "k", "v"], ["GET", "k"], ["NOSUCH"]):
                client.call(*words)
        redis_info, mayfly_info = told(theirs, "everything"), told(ours, "everything")
        missing = set(fields(redis_info)) - set(fields(mayfly_info))
        equal({name for name in missing if "ping" not in name}, left_out(), "fields of Redis that are not told")
        for sections in ([], ["default"], ["all"], ["everything"], ["server"], ["SERVER", "cpu"],
                         ["nosuch"], ["nosuch", "Keyspace"], ["commandstats", "latencystats"],
                         ["default", "commandstats"]):
            both = [titles(told(client, *sections)) for client in (theirs, ours)]
            equal([title for title in both[1] if title != "Mayfly"], both[0],
                  f"sections of INFO {sections}")
        equal(theirs.call("COMMAND", "INFO", "info"), ours.call("COMMAND", "INFO", "info"),
              "COMMAND INFO info")


def test_the_text_is_verbatim_in_resp3_and_may_stand_in_a_transaction(t):
    node = with_resp(t).nodes[0]
    with Resp(address(node), version=3) as client:
        reply = client.call("INFO", "cluster")
        equal(reply, b"=34\r\ntxt:# Cluster\r\ncluster_enabled:0\r\n\r\n", "INFO cluster")
        client.pipeline([["MULTI"], ["SET", "a", "1"], ["INFO", "cluster"]])
        equal(client.call("EXEC"), b"*2\r\n+OK\r\n" + reply, "EXEC")


def test_who_a_node_is(t):
    cluster = with_resp(t, 3, **{"listen.resp_cluster": "127.0.0.1:0"})
    ids = set()
    for node in cluster.nodes:
        with Resp(address(node)) as plain, Resp(address(node, "resp_cluster")) as clustered:
            info, other = fields(told(plain)), fields(told(clustered))
            equal(info["redis_version"], "7.0.15", "redis_version")
            equal([each["redis_mode"] for each in (info, other)], ["standalone", "cluster"], "modes")
            equal([each["cluster_enabled"] for each in (info, other)], ["0", "1"], "enabled")
            equal([int(each["tcp_port"]) for each in (info, other)],
                  [address(node)[1], address(node, "resp_cluster")[1]], "ports")
            true(re.fullmatch("[0-9a-f]{40}", info["run_id"]), f"run_id {info['run_id']}")
            equal(other["run_id"], info["run_id"], "run_id")
            equal(int(info["process_id"]), node.pid, "process_id")
            equal(info["role"], "master", "role")
            ids.add(info["run_id"])
    node = cluster.nodes[0]
    node.kill9()
    node.restart()
    with Resp(address(node)) as client:
        ids.add(fields(told(client))["run_id"])
    equal(len(ids), 4, "ids of four processes")


def test_the_sum_over_the_nodes_is_that_of_the_cluster(t):
    cluster = with_resp(t, 3)
    clients = [Resp(address(node)) for node in cluster.nodes]
    for i in range(60):
        clients[i % 3].call("SET", f"k{i}", "v", *(["PX", "3600000"] if i % 3 == 0 else []))
    for i in range(60, 70):
        clients[0].call("SET", f"k{i}", "v", "PX", "1")

    def sums():
        keys = expires = expired = 0
        for client in clients:
            info = fields(told(client, "keyspace", "stats"))
            db = dict(part.split("=") for part in info.get("db0", "keys=0,expires=0").split(","))
            keys += int(db["keys"])
            expires += int(db["expires"])
            expired += int(info["expired_keys"])
        return keys, expires, expired
    wait_for(lambda: sums() == (60, 20, 10), 30, "the keys of all nodes")
    for client in clients:
        client.close()


def test_a_client_of_redis_understands_it(t):
    node = with_resp(t).nodes[0]
    host, port = address(node)
    with redis.Redis(host=host, port=port) as client:
        client.set("k", "v", ex=100)
        info = client.info("everything")
        equal(info["cmdstat_set"]["calls"], 1, "cmdstat_set")
        true(wait_for(lambda: client.info("keyspace").get("db0"), 10, "db0")["keys"] == 1, "db0")
        # What has been asked may have taken 10 ms, which is slow.
        client.config_set("slowlog-log-slower-than", -1)
        client.slowlog_reset()
        equal(client.slowlog_len(), 0, "slowlog_len")
        client.config_set("slowlog-log-slower-than", 0)
        client.get("k")
        entries = client.slowlog_get()
        equal(entries[0]["command"], b"GET k", "the newest slow command")
        equal(client.execute_command("LATENCY", "LATEST"), [], "LATENCY LATEST")


# Counts.

def test_commands_are_counted_over_all_threads(t):
    node = with_resp(t).nodes[0]
    clients = [Resp(address(node)) for _ in range(16)]  # the kernel spreads them over the threads
    for i, client in enumerate(clients):
        client.call("SET", f"k{i}", "v")
        client.pipeline([["GET", f"k{i}"]] * 10 + [["GET", "none"]] * 5)
    client = clients[0]
    equal(counts(client, "set"), (16, 0, 0), "SET")
    equal(counts(client, "get"), (240, 0, 0), "GET")
    info = fields(told(client, "stats", "clients"))
    equal((info["keyspace_hits"], info["keyspace_misses"]), ("160", "80"), "hits and misses")
    true(int(info["connected_clients"]) >= 16, "connected_clients")
    true(int(info["total_connections_received"]) >= 16, "total_connections_received")
    true(int(info["total_net_output_bytes"]) > int(info["total_net_input_bytes"]) / 10 > 100,
         "bytes")
    every = fields(told(client, "commandstats"))
    calls = sum(int(re.match(r"calls=(\d+)", value)[1]) for value in every.values())
    equal(int(fields(told(client, "stats"))["total_commands_processed"]), calls + 1,
          "all commands")  # the INFO that told of them
    for at in clients:
        at.close()


def test_lookups_count_as_hits_or_misses(t):
    node = with_resp(t).nodes[0]
    cases = [(["GET", "k"], 1, 0), (["GET", "none"], 0, 1), (["MGET", "k", "none", "k"], 2, 1),
             (["EXISTS", "k", "none"], 1, 1), (["TTL", "k"], 1, 0), (["PTTL", "none"], 0, 1),
             (["TYPE", "none"], 0, 1), (["STRLEN", "k"], 1, 0), (["GETRANGE", "k", "0", "1"], 1, 0),
             (["GETEX", "k", "EX", "100"], 1, 0), (["EXPIRETIME", "k"], 1, 0),
             (["SET", "k", "w"], 0, 0), (["SET", "k", "w", "GET"], 1, 0), (["GETSET", "new", "w"], 0, 1),
             (["INCR", "n"], 0, 0), (["DEL", "n"], 0, 0), (["GETDEL", "new"], 1, 0)]
    with RedisServer(t.dir) as server, Resp(server.address) as theirs, \
            Resp(address(node)) as ours:
        for client in (theirs, ours):
            client.call("SET", "k", "value")
            last = (0, 0)
            for words, hits, misses in cases:
                client.call(*words)
                info = fields(told(client, "stats"))
                now = int(info["keyspace_hits"]), int(info["keyspace_misses"])
                equal((now[0] - last[0], now[1] - last[1]), (hits, misses), words)
                last = now


def test_failures_and_refusals_are_told_apart_as_by_redis(t):
    node = with_resp(t).nodes[0]
    cases = {
        "set": [["SET", "k"], ["SET", "k", "v", "EX", "x"], ["SET", "k", "v"]],
        "incr": [["INCR", "k"]],
        "client": [["CLIENT"], ["CLIENT", "NOSUCH"]],
        "client|setname": [["CLIENT", "SETNAME", "a b"], ["CLIENT", "SETNAME"]],
        "exec": [["EXEC"], ["MULTI"], ["GET"], ["EXEC"]],
        "getset": [["MULTI"], ["GETSET", "k", "5"], ["INCR", "k"], ["EXEC"]],
        "lpush": [["NOSUCH"]],
    }
    with RedisServer(t.dir) as server, Resp(server.address) as theirs, \
            Resp(address(node)) as ours:
        for name, requests in cases.items():
            for request in requests:
                theirs.call(*request), ours.call(*request)
            if name != "lpush":
                equal(counts(ours, name), counts(theirs, name), name)
        equal(fields(told(ours, "errorstats")), fields(told(theirs, "errorstats")), "errorstats")
        ours.call("CONFIG", "RESETSTAT")
        equal(fields(told(ours, "errorstats")), {}, "errorstats after a reset")
        equal(counts(ours, "set"), (0, 0, 0), "SET after a reset")
        ours.call("SET", "k", "v")
        equal(counts(ours, "set"), (1, 0, 0), "SET after a reset and a call")


def test_a_refusal_of_the_store_is_no_call(t):
    node = with_resp(t, **{"memory.max_bytes": "64kb"}).nodes[0]
    with Resp(address(node)) as client:
        reply = b"+OK\r\n"
        calls = 0
        while reply == b"+OK\r\n":
            reply = client.call("SET", f"k{calls}", "v" * 1000)
            calls += 1
        true(reply.startswith(b"-OOM "), f"{reply!r}")
        equal(counts(client, "set"), (calls - 1, 1, 0), "SET")
        equal(fields(told(client, "errorstats"))["errorstat_OOM"], "count=1", "errorstat_OOM")
        equal(fields(told(client, "memory"))["maxmemory"], "65536", "maxmemory")


def test_times_add_up_and_are_spread(t):
    node = with_resp(t).nodes[0]
    with Resp(address(node), version=3) as client:
        client.pipeline([["SET", "k", "v"]] * 100)
        client.pipeline([["GET", "k"]] * 100)
        info = fields(told(client, "commandstats", "latencystats"))
        between(1, command(client, "set")["usec"], 10**9, "usec of SET")
        true(re.fullmatch(r"p50=\d+\.\d{3},p99=\d+\.\d{3},p99\.9=\d+\.\d{3}",
                          info["latency_percentiles_usec_set"]), "percentiles")
        reply = client.call("LATENCY", "HISTOGRAM", "get")
        contains(reply, b"%1\r\n$3\r\nget\r\n%2\r\n$5\r\ncalls\r\n:100\r\n", "LATENCY HISTOGRAM")
        numbers = [int(number) for number in re.findall(rb":(\d+)", reply)][1:]
        bounds, within = numbers[::2], numbers[1::2]
        true(all(bound & (bound - 1) == 0 for bound in bounds), f"bounds {bounds}")
        equal((sorted(bounds), sorted(within), within[-1]), (bounds, within, 100), "the histogram")
        client.call("CLIENT", "GETNAME")
        contains(client.call("LATENCY", "HISTOGRAM", "client"), b"client|getname", "of a container")
        client.call("CONFIG", "SET", "latency-tracking", "no")
        client.call("CONFIG", "RESETSTAT")
        client.call("GET", "k")
        equal(client.call("LATENCY", "HISTOGRAM", "get"), b"%0\r\n", "without tracking")
        equal(counts(client, "get"), (1, 0, 0), "GET without tracking")


# SLOWLOG and LATENCY.

def slow(client, count=-1):
    """The newest ones: (id, words, address, name)."""
    reply = client.call("SLOWLOG", "GET", count)
    parts = iter(reply.split(b"\r\n")[:-1])

    def value():
        head = next(parts)
        if head[:1] == b"*":
            return [value() for _ in range(int(head[1:]))]
        return int(head[1:]) if head[:1] == b":" else next(parts)
    return [(entry[0], entry[3], entry[4], entry[5]) for entry in value()]


def test_slow_commands_are_kept_with_their_words(t):
    node = with_resp(t, hello={"password": "secret"},
                     **{"security.password": "secret"}).nodes[0]
    with Resp(address(node)) as client, Resp(address(node)) as other:
        for each in (client, other):
            each.call("AUTH", "secret")
        client.call("CLIENT", "SETNAME", "me")
        client.call("CONFIG", "SET", "slowlog-log-slower-than", "0")
        client.call("SLOWLOG", "RESET")
        client.call("SET", "k", "v" * 200)
        client.call("MGET", *(f"k{i}" for i in range(40)))
        client.call("AUTH", "default", "secret")
        client.call("HELLO", "2", "AUTH", "default", "secret", "SETNAME", "you")
        client.call("NOSUCH")
        client.call("GET")
        client.call("MULTI")
        client.call("SET", "{t}a", "1")
        client.call("PING", "within")
        client.call("EXEC")
        other.call("GET", "k")
        entries = slow(other)
        long = b"v" * 128 + b"... (72 more bytes)"
        equal([words for _, words, _, _ in reversed(entries)],
              [[b"SLOWLOG", b"RESET"], [b"SET", b"k", long],
               [b"MGET", *(b"k%d" % i for i in range(30)), b"... (10 more arguments)"],
               [b"AUTH", b"(redacted)", b"(redacted)"],
               [b"HELLO", b"2", b"AUTH"] + [b"(redacted)"] * 4,
               [b"MULTI"], [b"PING", b"within"], [b"SET", b"{t}a", b"1"], [b"GET", b"k"]],
              "the slow commands")
        equal([number for number, *_ in entries],
              list(range(entries[0][0], entries[0][0] - len(entries), -1)), "their numbers")
        own, = [line for line in text(client.call("CLIENT", "INFO")).split() if
                line.startswith("addr=")]
        equal(entries[-2][2:], (own[5:].encode(), b"me"), "who asked first")
        equal(entries[0][3], b"", "the name of who has none")
        client.call("CONFIG", "SET", "slowlog-log-slower-than", "-1")
        client.call("SLOWLOG", "RESET")
        client.call("SET", "k", "v")
        equal(client.call("SLOWLOG", "LEN"), b":0\r\n", "SLOWLOG LEN when nothing is slow")


def test_the_list_of_slow_commands_is_bounded(t):
    node = with_resp(t).nodes[0]
    clients = [Resp(address(node)) for _ in range(8)]
    client = clients[0]
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "20")
    for i in range(50):
        clients[i % 8].call("ECHO", f"number {i}")
    entries = slow(client)
    equal([words[1] for _, words, _, _ in entries],
          [b"number %d" % i for i in range(49, 29, -1)], "the last ones of all threads")
    equal(client.call("SLOWLOG", "LEN"), b":20\r\n", "SLOWLOG LEN")
    for at in clients:
        at.close()


def test_slow_moments_are_told(t):
    node = with_resp(t, **{"security.debug_commands": "yes"}).nodes[0]
    with Resp(address(node)) as client:
        contains(text(client.call("LATENCY", "DOCTOR")), "latency-monitor-threshold", "DOCTOR")
        client.call("CONFIG", "SET", "latency-monitor-threshold", "20")
        client.call("DEBUG", "SLEEP", "0.05")
        client.call("CONFIG", "SET", "latency-monitor-threshold", "0")
        latest = client.call("LATENCY", "LATEST")
        contains(latest, b"$7\r\ncommand\r\n", "LATENCY LATEST")
        worst = int(re.findall(rb":(\d+)", latest.split(b"command")[1])[2])
        between(20, worst, 10**6, "the worst in milliseconds")
        contains(client.call("LATENCY", "HISTORY", "command"), b":%d\r\n" % worst, "HISTORY")
        contains(text(client.call("LATENCY", "GRAPH", "command")),
                 f"(all time high {worst} ms)\n", "GRAPH")
        contains(text(client.call("LATENCY", "DOCTOR")), "command: ", "DOCTOR")
        true(client.call("LATENCY", "RESET") != b":0\r\n", "LATENCY RESET")
        equal(client.call("LATENCY", "LATEST"), b"*0\r\n", "LATEST after a reset")


def test_snapshots_are_told(t):
    cluster = with_resp(t)
    node = cluster.nodes[0]
    with Resp(address(node)) as client:
        equal(fields(told(client, "persistence"))["rdb_saves"], "0", "rdb_saves")
        node.call("snapshot", "one")
        info = fields(told(client, "persistence"))
        equal((info["rdb_saves"], info["rdb_last_bgsave_status"], info["rdb_bgsave_in_progress"]),
              ("1", "ok", "0"), "a snapshot")


def test_the_rate_of_commands_is_told(t):
    node = with_resp(t).nodes[0]
    with Resp(address(node)) as client:
        def busy():
            client.pipeline([["PING"]] * 200)
            info = fields(told(client, "stats"))
            return int(info["instantaneous_ops_per_sec"]) > 0 and \
                float(info["instantaneous_input_kbps"]) > 0
        wait_for(busy, 20, "a rate above 0")
        # An INFO now and then alone is far below.
        wait_for(lambda: int(fields(told(client, "stats"))["instantaneous_ops_per_sec"]) < 500, 20,
                 "the rate to go down")
