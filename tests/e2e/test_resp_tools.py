"""Redis's own tools and libraries at work on Mayfly: redis-cli in each of its modes, redis-benchmark,
redis-py and hiredis. What they say is what is checked."""

import csv
import json
import re

import redis
import redis.lock

from mayfly_test import process
from mayfly_test.check import between, equal, true
from mayfly_test.resp import Resp, pack
from mayfly_test.terminal import Terminal
from test_resp import address, with_resp


def cli(t, node, *args, stdin=b"", status=0):
    """What redis-cli prints; it may say nothing on stderr."""
    host, port = address(node)
    finished = process.run(["redis-cli", "-h", host, "-p", port, *args], stdin, 120, cwd=t.dir)
    equal(finished.status, status, f"exit status of\n{finished}\n")
    return finished.stdout.decode()


def benchmark(t, node, *args):
    """The rows of redis-benchmark's table, by the name of the test."""
    host, port = address(node)
    finished = process.run(["redis-benchmark", "-h", host, "-p", port, "--csv", *args], b"", 300,
                           cwd=t.dir)
    equal(finished.status, 0, f"exit status of\n{finished}\n")
    equal(finished.stderr, b"", "errors of redis-benchmark")
    rows = list(csv.DictReader(finished.stdout.decode().splitlines()))
    for row in rows:
        true(float(row["rps"]) > 0, f"requests per second: {row}")
    return {row["test"] for row in rows}


def load(node, keys):
    with Resp(address(node), timeout=60) as client:
        client.pipeline([["SET", key, value] for key, value in keys.items()])


# redis-cli.

def test_redis_cli_asks_one_thing(t):
    node = with_resp(t).nodes[0]
    equal(cli(t, node, "SET", "k", "v", "EX", "100"), "OK\n", "SET")
    equal(cli(t, node, "GET", "k"), "v\n", "GET")
    equal(cli(t, node, "--no-raw", "GET", "none"), "(nil)\n", "GET of nothing")
    equal(cli(t, node, "-x", "SET", "in", stdin=b"from stdin\n"), "OK\n", "SET -x")
    equal(cli(t, node, "--no-raw", "GET", "in"), '"from stdin\\n"\n', "GET")
    equal(cli(t, node, "-r", "5", "INCR", "n"), "1\n2\n3\n4\n5\n", "INCR five times")
    true("unknown command 'LPUSH'" in cli(t, node, "LPUSH", "l", "v"), "LPUSH")
    equal(cli(t, node, "-3", "--no-raw", "HELLO").splitlines()[2], '3# "proto" => (integer) 3',
          "HELLO in version 3")
    equal(cli(t, node, "-3", "--no-raw", "CONFIG", "GET", "maxmemory"), '1# "maxmemory" => "0"\n',
          "a map in version 3")
    lines = b"SET a 1\nINCR a\nMULTI\nGET a\nEXEC\n"
    equal(cli(t, node, stdin=lines), "OK\n2\nOK\nQUEUED\n2\n", "lines on stdin")


def test_redis_cli_writes_csv_and_json(t):
    node = with_resp(t).nodes[0]
    load(node, {"{j}a": 'say "hi"', "{j}b": "2"})
    equal(cli(t, node, "--csv", "MGET", "{j}a", "{j}b", "{j}none"), '"say \\"hi\\"","2",NULL\n', "csv")
    equal(json.loads(cli(t, node, "--json", "MGET", "{j}a", "{j}b", "{j}none")),
          ['say "hi"', "2", None], "json")
    equal(json.loads(cli(t, node, "--json", "CONFIG", "GET", "maxmemory*")),
          {"maxmemory": "0", "maxmemory-policy": "noeviction"}, "a map in json")
    docs = json.loads(cli(t, node, "--json", "COMMAND", "DOCS", "get"))
    equal(docs["get"]["group"], "string", "COMMAND DOCS in json")


def test_redis_cli_talks_with_a_person(t):
    """It asks for COMMAND DOCS to help with, and shows who is in a transaction or subscribed."""
    node = with_resp(t).nodes[0]
    host, port = address(node)
    with Terminal(["redis-cli", "-h", host, "-p", port]) as terminal:
        def ask(line, pattern, prompt="> "):
            # What is typed before the prompt is there again would be lost.
            terminal.line(line)
            terminal.expect(pattern + r"[\s\S]*" + prompt + "$")

        terminal.expect(rf"{re.escape(host)}:{port}> $")
        ask("SET greeting hello EX 100", r"OK\r\n")
        ask("GET greeting", r'"hello"\r\n')
        ask("HELLO 3", r'"proto" => \(integer\) 3')
        ask("MULTI", r"OK\r\n", r"\(TX\)> ")
        ask("INCR visits", r"QUEUED\r\n")
        ask("EXEC", r"1\) \(integer\) 1\r\n")
        ask("HELP GETEX", r"summary: .*\r\n")
        ask("LPUSH l v", r"\(error\) ERR unknown command 'LPUSH'")
        ask("SUBSCRIBE __keyspace@0__:greeting", r'"subscribe"', "")
        load(node, {"greeting": "again"})
        terminal.expect(r'"set"')


def test_redis_cli_inserts_many_keys_by_a_pipe(t):
    cluster = with_resp(t, 3)
    count = 10_000
    stream = b"".join(pack(["SET", f"pipe:{i}", f"value {i}"]) for i in range(count))
    said = cli(t, cluster.nodes[0], "--pipe", stdin=stream + pack(["LPUSH", "l", "v"]), status=1)
    true(f"errors: 1, replies: {count + 1}" in said, f"--pipe with one error: {said}")
    said = cli(t, cluster.nodes[1], "--pipe", stdin=stream)
    true(f"errors: 0, replies: {count}" in said, f"--pipe: {said}")
    equal(cli(t, cluster.nodes[2], "DBSIZE"), f"{count}\n", "DBSIZE")
    found = cli(t, cluster.nodes[0], "--scan", "--pattern", "pipe:77*").split()
    wanted = {f"pipe:{i}" for i in range(count) if str(i).startswith("77")}
    equal((len(found), set(found)), (len(wanted), wanted), "--scan")
    found = cli(t, cluster.nodes[2], "--scan").split()
    equal((len(found), len(set(found))), (count, count), "--scan of all")


def test_redis_cli_finds_the_big_keys(t):
    node = with_resp(t).nodes[0]
    load(node, {**{f"key:{i}": "x" * i * 10 for i in range(1, 300)}, "key:300": "x" * 30_000})
    said = cli(t, node, "--bigkeys")
    true("Biggest string found '\"key:300\"' has 30000 bytes" in said, f"--bigkeys: {said}")
    true("300 strings with 478500 bytes (100.00% of keys" in said, f"--bigkeys: {said}")
    said = cli(t, node, "--memkeys")
    biggest = re.search(r"Biggest string found .*?key:300.*? has (\d+) bytes", said)
    true(biggest is not None, f"--memkeys: {said}")
    between(30_000, int(biggest[1]), 40_000, "bytes of the biggest")
    true(re.search(r"300 strings with \d+ bytes \(100\.00% of keys", said), f"--memkeys: {said}")


def test_redis_cli_measures_latency(t):
    node = with_resp(t).nodes[0]
    low, high, mean, count = cli(t, node, "--latency", "-i", "0.3", "--raw").split()
    true(0 <= float(low) <= float(mean) <= float(high), f"{low} to {high}, on average {mean} ms")
    true(int(count) > 0, "samples")


# redis-benchmark.

def test_redis_benchmark_runs(t):
    node = with_resp(t).nodes[0]
    count = "2000" if t.sanitized or t.quick else "10000"
    mixed = ["-t", "set,get,incr,mset,ping", "-n", count]
    names = {"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"}
    equal(benchmark(t, node, *mixed), names, "tests")
    equal(benchmark(t, node, *mixed, "-P", "16", "-r", "1000"), names, "tests in pipelines")
    equal(benchmark(t, node, *mixed, "--threads", "2", "-3"), names, "tests of two threads")
    with Resp(address(node)) as client:
        counter = client.call("GET", "counter:__rand_int__").split(b"\r\n")[1]
        equal(int(counter), 2 * int(count), "the number that the tests without -r have added to")
        between(1, int(client.call("DBSIZE")[1:]), 4000, "keys that they have left")


# redis-py.

def connect(node, **options):
    host, port = address(node)
    return redis.Redis(host, port, **options)


def test_redis_py_runs_transactions_that_see_others(t):
    cluster = with_resp(t, 3)
    client, rival = connect(cluster.nodes[0]), connect(cluster.nodes[1])
    client.set("{x}stock", 10)
    tries = 0
    with client.pipeline() as pipe:
        while True:
            try:
                pipe.watch("{x}stock")
                stock = int(pipe.get("{x}stock"))
                if tries == 0:
                    rival.decr("{x}stock")
                tries += 1
                pipe.multi()
                pipe.set("{x}stock", stock - 1).set("{x}sold", 1)
                equal(pipe.execute(), [True, True], "EXEC")
                break
            except redis.WatchError:
                continue
    equal((tries, client.get("{x}stock")), (2, b"8"), "one more try, and both have sold one")
    with client.pipeline() as pipe:
        pipe.set("{x}text", "t").incr("{x}text").get("{x}text")
        answers = pipe.execute(raise_on_error=False)
        true(answers[0] is True and answers[2] == b"t", f"the others are carried out: {answers}")
        true(isinstance(answers[1], redis.ResponseError), f"INCR of a text: {answers[1]!r}")
    client.close(), rival.close()


def test_redis_py_sets_and_asks_about_the_server(t):
    node = with_resp(t).nodes[0]
    for options in ({}, {"decode_responses": True}):
        client = connect(node, **options)
        equal(client.config_set("maxmemory", "100mb"), True, "config_set")
        settings = client.config_get("max*")
        equal((settings["maxmemory"], settings["maxmemory-policy"]), ("104857600", "noeviction"),
              "config_get")
        equal(client.config_resetstat(), True, "config_resetstat")
        client.set("k", "x" * 1000)
        between(1000, client.memory_usage("k"), 1500, "memory_usage")
        equal(client.memory_usage("none"), None, "memory_usage of nothing")
        equal(client.object("encoding", "k") in (b"raw", "raw"), True, "object encoding")
        equal(client.object("refcount", "k"), 1, "object refcount")
        stats = client.memory_stats()
        true("keys.count" in stats and "db.0" in stats, f"memory_stats: {stats}")
        client.close()


def test_redis_py_locks_can_be_taken_and_die(t):
    """Taking one needs no script, and neither does its death; releasing one by redis-py does, and is
    refused. DELIFEQ is what takes the script's place."""
    client = connect(with_resp(t).nodes[0])
    lock = redis.lock.Lock(client, "lock", timeout=100, blocking=False)
    true(lock.acquire(), "the lock is free")
    true(not redis.lock.Lock(client, "lock", blocking=False).acquire(), "the lock is taken")
    true(lock.locked() and lock.owned(), "it is ours")
    between(90, client.ttl("lock"), 100, "it has a TTL")
    try:
        lock.release()
        raise AssertionError("a script was taken")
    except redis.ResponseError as error:
        true("unknown command" in str(error), f"EVALSHA: {error}")
    token = client.get("lock")
    equal(client.execute_command("DELIFEQ", "lock", "another's"), 0, "DELIFEQ with another's token")
    equal(client.execute_command("DELIFEQ", "lock", token), 1, "DELIFEQ with its own token")
    true(redis.lock.Lock(client, "lock", timeout=0.05, blocking=False).acquire(), "free again")
    true(redis.lock.Lock(client, "lock", timeout=1, blocking_timeout=60).acquire(),
         "it is free when the one before is dead")
    client.close()


# hiredis.

def test_hiredis_calls_and_listens(t):
    cluster = with_resp(t, 3)
    program = t.bin("mayflyd").parent.parent / "tests" / "hiredis_client"
    for node in cluster.nodes:
        with Resp(address(node)) as client:
            client.call("FLUSHALL")
        finished = process.run([program, str(address(node)[1])], b"", 120, cwd=t.dir)
        equal((finished.status, finished.stderr), (0, b""), f"{finished}")
        equal(finished.stdout.decode().splitlines(),
              ["refused: ERR unknown command", "pipeline: 49995000", "transaction: OK 2",
               "async: 1000 answered, the last 1000, 1000 heard"], "what it has seen")
