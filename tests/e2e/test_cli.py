"""The mayfly command as scripts use it: exit statuses, output that parses, loads that survive."""

import base64
import json
import pathlib
import subprocess
import time

from mayfly_test import process
from mayfly_test.check import between, contains, equal, true
from mayfly_test.context import limit
from mayfly_test.judge import read_all
from mayfly_test.wait import wait_for

HOUR_MS = 3_600_000
RECORDS = 10_000


def refused(finished, status, *parts):
    """One line on stderr with these parts, nothing on stdout."""
    equal(finished.status, status, f"exit status of\n{finished}\n")
    equal(finished.stderr.count(b"\n"), 1, f"lines on stderr of\n{finished}\n")
    equal(finished.stdout, b"", f"stdout of\n{finished}\n")
    for part in parts:
        contains(finished.stderr.decode(), part, "the message")


class Cli:
    """The command line against a shared cluster, through one of its nodes."""

    def __init__(self, t, cluster, node=None):
        self.t = t
        self.cluster = cluster
        self.endpoints = node.ready["rpc"] if node else cluster.endpoints()

    def run(self, *args, stdin=b"", timeout=60):
        return self.t.run("mayfly", "-s", self.endpoints, *args, stdin=stdin, timeout=timeout)

    def prints(self, expected, *args, status=0, stdin=b""):
        finished = self.run(*args, stdin=stdin)
        equal((finished.status, finished.stdout), (status, expected), f"{finished}\n")

    def json(self, *args, status=0):
        finished = self.run("-o", "json", *args)
        equal(finished.status, status, f"exit status of\n{finished}\n")
        return json.loads(finished.stdout)


def test_verbs_that_build_on_what_is_there(t):
    cluster = t.shared_cluster(3)
    for node in cluster.nodes:
        cli = Cli(t, cluster, node)
        tag = "{" + t.key(f"{node.id}").decode() + "}"
        count, text = tag + "count", tag + "text"
        cli.prints(b"1\n", "incr", count)
        cli.prints(b"-4\n", "incr", count, "-5", "--ttl", "1000")
        equal(cli.json("incr", count, "14"), {"value": 10}, "incr in JSON")
        cli.prints(b"-1\n", "ttl", count)
        cli.prints(b"3\n", "append", text, "abc")
        equal(cli.json("append", text, "d"), {"length": 4}, "append in JSON")
        refused(cli.run("incr", text), 1, "incr: NOT_INTEGER")
        refused(cli.run("incr", count, "one"), 2, "DELTA 'one': expected an integer")
        cli.prints(b"abcd\n", "getex", text, "--ttl", str(HOUR_MS))
        between(HOUR_MS - 60_000, cli.json("ttl", text)["ttl"], HOUR_MS, "ttl")
        cli.prints(b"abcd", "getex", text, "--persist", "--raw")
        cli.prints(b"-1\n", "ttl", text)
        refused(cli.run("getex", text, "--ttl", "5", "--persist"), 2, "--ttl with --persist")
        equal(sorted(cli.run("scan", "--match", tag + "*").stdout.decode().split()),
              sorted([count, text]), "keys of a scan")
        lines = cli.run("-o", "json", "scan", "--count", "1").stdout.splitlines()
        true({"key": text} in [json.loads(line) for line in lines], "a key as JSON")
        equal(cli.json("getdel", text), {"key": text, "value": "abcd"}, "getdel in JSON")
        cli.prints(b"", "getdel", text, status=1)
        cli.prints(b"", "getex", text, status=1)

        spec = {"if": [[count, "value", "=", "10"], [text, "exists", "=", False]],
                "then": [["set", text, {"base64": "/wA="}, {"ttl": HOUR_MS}], ["incr", count, 1],
                         ["mget", [count, text]]],
                "else": [["get", count]]}
        done = cli.run("-o", "json", "txn", stdin=json.dumps(spec).encode())
        result = json.loads(done.stdout)
        equal((done.status, result["ok"], result["results"][1:]),
              (0, True, [11, ["11", {"base64": "/wA="}]]), "a txn whose conditions hold")
        again = cli.run("txn", "-", stdin=json.dumps(spec).encode())
        equal((again.status, json.loads(again.stdout)), (1, {"ok": False, "results": ["11"]}),
              "a txn whose conditions do not hold")
        for wrong, part in [("[]", "one JSON object"), ("{", "txn: line 1"),
                            ('{"if": []}', "then"), ('{"if": [], "then": [["nope"]]}', "a method"),
                            ('{"if": [], "then": [["get"]]}', "get: expected"),
                            ('{"if": [["k", "size", "=", 1]], "then": []}', "version, value or"),
                            ('{"if": [], "then": [["set", "k", 5]]}', "a value: expected a string")]:
            refused(cli.run("txn", stdin=wrong.encode()), 2, part)
        refused(cli.run("txn", stdin=b'{"if": [], "then": [["get", "a"], ["get", "b"]]}'), 1,
                "txn: CROSS_SHARD")


def test_every_data_verb_through_every_node(t):
    cluster = t.shared_cluster(3)
    for node in cluster.nodes:
        cli = Cli(t, cluster, node)
        key, other = t.key(f"{node.id}").decode(), t.key(f"other{node.id}").decode()
        cli.prints(b"pong\n", "ping")
        cli.prints(b"", "get", key, status=1)
        cli.prints(b"OK\n", "set", key, "a value")
        cli.prints(b"a value\n", "get", key)
        cli.prints(b"a value", "get", key, "--raw")
        refused(cli.run("set", key, "b", "--nx"), 1)
        cli.prints(b"OK\n", "set", key, "c", "--xx")
        cli.prints(b"c\n", "set", key, "d", "--get")
        cli.prints(b"-1\n", "ttl", key)
        cli.prints(b"true\n", "expire", key, str(HOUR_MS))
        between(HOUR_MS - 60_000, int(cli.run("ttl", key).stdout), HOUR_MS, "ttl")
        cli.prints(b"true\n", "persist", key)
        cli.prints(b"false\n", "persist", key, status=1)
        cli.prints(b"OK\n", "set", key, "e", "--ttl", str(HOUR_MS))
        between(HOUR_MS - 60_000, int(cli.run("ttl", key).stdout), HOUR_MS, "ttl")
        cli.prints(b"OK\n", "set", key, "f", "--keep-ttl")
        between(HOUR_MS - 60_000, int(cli.run("ttl", key).stdout), HOUR_MS, "kept ttl")
        cli.prints(b"OK\n", "mset", key, "1", other, "2")
        cli.prints(b"true\ntrue\n", "has", key, other)
        cli.prints(b"true\nfalse\n", "has", key, other + "absent", status=1)
        cli.prints(f"{key}\t1\n{other}\t2\n".encode(), "mget", key, other)
        cli.prints(b"2\n", "del", key, other, other)
        cli.prints(b"0\n", "del", key, other)
        cli.prints(b"-2\n", "ttl", key, status=1)
        cli.prints(b"false\n", "expire", key, "5", status=1)


def test_values_from_standard_input_are_any_bytes(t):
    cluster = t.shared_cluster(1)
    cli, key = Cli(t, cluster), t.key("key").decode()
    for value in (b"", b"\n", bytes(range(256)), b"x" * 5_000_000):
        cli.prints(b"OK\n", "set", key, "-", stdin=value)
        cli.prints(value, "get", key, "--raw")
        equal(cluster.node(1).call("get", key), value, "the value")


def test_json_output_parses_and_holds_everything(t):
    cluster = t.shared_cluster(3)
    cli, key, absent = Cli(t, cluster), t.key("key").decode(), t.key("absent").decode()
    version = cli.json("set", key, "v", "--ttl", str(HOUR_MS))["version"]
    got = cli.json("get", key)
    equal((got["value"], got["version"]), ("v", version), "value and version")
    between(HOUR_MS - 60_000, got["ttl"], HOUR_MS, "ttl")
    equal([entry["value"] for entry in cli.json("mget", key, absent, status=1)], ["v", None],
          "values of mget")
    cluster.node(1).call("set", key, b"\xff\x00")
    got = cli.json("get", key)
    equal(base64.b64decode(got["value"]["base64"]), b"\xff\x00", "a value that is no UTF-8")
    true(isinstance(cli.json("size")["size"], int), "size")
    view = cli.json("cluster")
    equal([node["id"] for node in view["nodes"]], [1, 2, 3], "nodes")
    equal([shard["id"] for shard in view["shards"]], list(range(16)), "shards")
    true(cli.json("stats")["requests"] > 0, "stats")
    made = cli.json("snapshot", "cli.mfs")
    true(pathlib.Path(made["path"]).is_file(), f"snapshot: {made}")
    equal(cli.json("del", key)["deleted"], 1, "del")
    for output in ("table", "plain"):
        for verb in ("cluster", "stats", "status", "size"):
            finished = cli.run("-o", output, verb)
            true(finished.status == 0 and finished.stdout.strip(), f"{finished}")


def test_usage_errors_are_one_line_and_exit_2(t):
    cases = [
        (["bogus"], "bogus"), (["get"], "get"), (["get", "a", "b"], "b"), (["set", "k"], "set"),
        (["set", "k", "v", "--ttl"], "--ttl"), (["set", "k", "v", "--ttl", "soon"], "soon"),
        (["set", "k", "v", "--ttl", "0"], "0"), (["set", "k", "v", "--nx", "--xx"], "--xx"),
        (["get", "k", "--bogus"], "--bogus"), (["get", "k", "--nx"], "--nx"),
        (["-o", "xml", "get", "k"], "xml"), (["mset", "k"], "mset"), (["expire", "k", "x"], "x"),
        (["-s", "127.0.0.1:99999", "get", "k"], "99999"), (["snapshot", ".x"], ".x"),
        (["load", "f", "--format", "csv"], "csv"), (["size", "x"], "x"),
    ]
    for args, part in cases:
        refused(t.run("mayfly", *args), 2, part)


def test_failures_are_one_line_and_exit_1(t):
    refused(t.run("mayfly", "-s", "127.0.0.1:1", "--timeout", "500", "get", "k"), 1, "127.0.0.1:1")
    cli = Cli(t, t.shared_cluster(1))
    refused(cli.run("get", "k" * 70_000), 1, "TOO_LARGE")
    refused(cli.run("load", "absent.tsv"), 1, "absent.tsv")


def test_a_password_from_flags_or_environment(t):
    cluster = t.cluster(1, overrides={"security.password": "ada:s3cret"},
                        hello={"user": "ada", "password": "s3cret"})
    endpoint = cluster.endpoints()
    refused(t.run("mayfly", "-s", endpoint, "size"), 1, "UNAUTHORIZED")
    finished = t.run("mayfly", "-s", endpoint, "--user", "ada", "--password", "s3cret", "size")
    equal((finished.status, finished.stdout), (0, b"0\n"), f"{finished}")
    finished = t.run("mayfly", "size", env={"MAYFLY_ENDPOINTS": endpoint, "MAYFLY_USER": "ada",
                                            "MAYFLY_PASSWORD": "s3cret"})
    equal((finished.status, finished.stdout), (0, b"0\n"), f"{finished}")


# Loads.


def records(rng, count=RECORDS):
    """key -> (value, TTL or None), of all shapes that text formats can hold."""
    alphabet = "abc \t\n\r\\\"'\u00e4\u20ac\U0001f98b,:{}"
    return {f"load:{i}": ("".join(rng.choices(alphabet, k=rng.randrange(0, 60))),
                          HOUR_MS if i % 4 == 0 else None) for i in range(count)}


def escaped(text):
    return (text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
            .replace("\r", "\\r"))


def write_tsv(path, data):
    with open(path, "w", encoding="utf-8", newline="") as file:
        for key, (value, ttl) in data.items():
            file.write(f"{escaped(key)}\t{escaped(value)}" + (f"\t{ttl}" if ttl else "") + "\n")


def write_ndjson(path, data):
    with open(path, "w", encoding="utf-8") as file:
        for key, (value, ttl) in data.items():
            file.write(json.dumps({"key": key, "value": value, **({"ttl": ttl} if ttl else {})})
                       + "\n")


def check_loaded(cluster, data):
    for node in cluster.nodes:
        values = read_all(node, [key.encode() for key in data])
        wrong = [key for key, (value, _) in data.items() if values[key.encode()] != value.encode()]
        true(not wrong, f"{len(wrong)} of {len(data)} records differ through node {node.id}, such "
             f"as {wrong[:3]}")
    with cluster.node(1).connect(timeout=60) as connection:
        ttls = connection.pipeline([("ttl", key) for key in data], timeout=60)
    for (key, (_, ttl)), left in zip(data.items(), ttls):
        true(HOUR_MS - 600_000 < left <= HOUR_MS if ttl else left == -1, f"ttl of {key}: {left}")


def test_a_node_at_a_wrong_address_is_told_of_before_the_end(t):
    cluster = t.cluster(1, overrides={"limits.request_timeout": 1000})
    ended = Cli(t, cluster).run("--timeout", "12000", "add-node", "9", "127.0.0.1:9")
    equal(ended.status, 1, f"exit status of\n{ended}\n")
    waiting, end = ended.stderr.decode().splitlines()
    for line, beginning in ((waiting, "mayfly: add-node: still waiting: TIMEOUT"),
                            (end, "mayfly: add-node: TIMEOUT")):
        contains(line, beginning, "what it says")
        contains(line, "node 9 is a member now, but it cannot be reached at 127.0.0.1:9", "why")


@limit(240)
def test_ten_thousand_records_are_loaded_from_either_format(t):
    cluster = t.cluster(3)
    cli = Cli(t, cluster)
    data = records(t.rng)
    for name, write, flags in (("data.tsv", write_tsv, []), ("data.ndjson", write_ndjson, []),
                               ("data.txt", write_ndjson, ["--format", "ndjson"])):
        equal(cluster.node(1).call("size"), 0, "keys before")
        write(t.dir / name, data)
        acked = t.dir / f"{name}.acked"
        summary = cli.json("load", name, "--quiet", "--acked", acked, *flags)
        equal((summary["records"], summary["errors"]), (RECORDS, 0), f"{summary}")
        t.note(f"{name}: {summary['rate']:.0f} records/s")
        equal(sorted(acked.read_text(encoding="utf-8").splitlines()), sorted(data), "acked keys")
        check_loaded(cluster, data)
        cluster.node(1).call("flush")


@limit(240)
def test_a_load_goes_on_through_the_death_of_a_leader(t):
    """The busiest leader, which is also the node that the load talks to, is killed in the middle:
    no error, nothing missing."""
    cluster = t.cluster(3)
    victim = cluster.busiest_leader()
    endpoints = [victim.ready["rpc"]] + [node.ready["rpc"] for node in cluster.nodes
                                         if node is not victim]
    data = records(t.rng, 20_000 if t.sanitized else 60_000)
    write_ndjson(t.dir / "data.ndjson", data)
    acked = t.dir / "acked"
    with open(t.dir / "summary", "wb") as out, open(t.dir / "load.log", "wb") as log:
        load = process.spawn([t.bin("mayfly"), "-s", ",".join(endpoints), "-o", "json", "load",
                              t.dir / "data.ndjson", "--quiet", "--acked", acked, "--window", "64"],
                             stdout=out, stderr=log, cwd=t.dir)
    try:
        wait_for(lambda: acked.exists() and acked.stat().st_size > 20_000, 30, "the load to begin")
        victim.kill9()
        true(load.poll() is None, "the load was over before the kill")
        equal(load.wait(120), 0, "exit status of the load "
              f"({(t.dir / 'load.log').read_text(encoding='utf-8')})")
    finally:
        load.kill()
        load.wait()
    summary = json.loads((t.dir / "summary").read_text(encoding="utf-8"))
    t.note(f"{summary}")
    equal((summary["records"], summary["errors"]), (len(data), 0), f"{summary}")
    victim.restart()
    cluster.wait_caught_up(victim)
    check_loaded(cluster, data)
    equal(cluster.node(1).call("size"), len(data), "keys")


def test_a_ttl_for_all_records_without_one(t):
    cluster = t.shared_cluster(1)
    (t.dir / "data.tsv").write_text("ttl:a\t1\nttl:b\t2\t7200000\n", encoding="utf-8")
    equal(Cli(t, cluster).json("load", "data.tsv", "--ttl", str(HOUR_MS), "--quiet")["records"], 2,
          "records")
    between(HOUR_MS - 60_000, cluster.node(1).call("ttl", "ttl:a"), HOUR_MS, "the given ttl")
    between(2 * HOUR_MS - 60_000, cluster.node(1).call("ttl", "ttl:b"), 2 * HOUR_MS, "its own ttl")


def test_bad_records_are_named_by_line(t):
    cli = Cli(t, t.shared_cluster(1))
    for name, text in (("bad.tsv", "bad:1\tv\nno tab\nbad:3\tv\n"),
                       ("bad.ndjson", '{"key": "bad:1", "value": "v"}\n{"key": 5}\n'
                                      '{"key": "bad:3", "value": "v"}\n')):
        (t.dir / name).write_text(text, encoding="utf-8")
        finished = cli.run("load", name, "--quiet")
        equal(finished.status, 1, f"exit status of\n{finished}\n")
        contains(finished.stderr.decode(), "line 2", "the message")
        finished = cli.run("-o", "json", "load", name, "--quiet", "--skip-bad")
        summary = json.loads(finished.stdout)
        equal((summary["records"], summary["errors"]), (2, 1), f"{summary}")


def test_a_load_from_a_pipe_that_is_slow(t):
    """Records are on their way while the pipe has nothing to give."""
    cluster = t.shared_cluster(1)
    load = process.spawn([t.bin("mayfly"), "-s", cluster.endpoints(), "-o", "json", "load", "-",
                          "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=t.dir)
    try:
        for i in range(3):
            load.stdin.write(b"pipe:%d\tv%d\n" % (i, i))
            load.stdin.flush()
            wait_for(lambda i=i: cluster.node(1).call("get", f"pipe:{i}") == b"v%d" % i, 10,
                     "the record to arrive")
        stdout, _ = load.communicate(timeout=20)
    finally:
        load.kill()
        load.wait()
    equal((load.returncode, json.loads(stdout)["records"]), (0, 3), "the load")


@limit(240)
def test_snapshot_damage_and_restore_by_commands_alone(t):
    """What an operator does: snapshot, verify, restore elsewhere, compare."""
    cluster = t.cluster(3)
    data = records(t.rng, 2000)
    write_tsv(t.dir / "data.tsv", data)
    cli = Cli(t, cluster)
    equal(cli.json("load", "data.tsv", "--quiet")["errors"], 0, "errors")
    cluster.wait_equal()
    path = pathlib.Path(cli.run("snapshot", "backup.mfs").stdout.decode().rstrip("\n"))
    taken = time.time()
    equal(t.run("mayfly-snapshot", "verify", path).status, 0, "verify")
    damaged = bytearray(path.read_bytes())
    damaged[t.rng.randrange(len(damaged))] ^= 0x10
    (t.dir / "damaged.mfs").write_bytes(damaged)
    refused(t.run("mayfly-snapshot", "verify", "damaged.mfs"), 1)
    fresh = t.cluster(1, shards=3, name="fresh")
    finished = t.run("mayfly-snapshot", "restore", path, "-s", fresh.endpoints())
    equal(finished.status, 0, f"exit status of\n{finished}\n")
    check_loaded(fresh, data)
    t.note(f"restored {len(data)} records {time.time() - taken:.1f} s after the snapshot")
