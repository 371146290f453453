"""Clients that others have written, on both ports of the Redis protocol: their own calls, and what
becomes of what they count while nodes die."""

import contextlib
import json
import logging
import pathlib
import re
import shutil
import subprocess
import threading

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException

from mayfly_test import process
from mayfly_test.check import between, equal, true
from mayfly_test.client import parse_address
from mayfly_test.cluster import free_port
from mayfly_test.context import Skipped, limit
from mayfly_test.wait import wait_for
from test_resp_cluster import in_place

# It logs every redirection.
logging.getLogger("redis").addHandler(logging.NullHandler())
# Version 4.3 complains on the terminal about what it could not copy.
ClusterNode.redis_connection = None

NPM = pathlib.Path(__file__).resolve().parent / "npm"
MODULES = NPM.parents[2] / "build" / "npm" / "node_modules"


def with_ports(t, lease_ms=3000):
    """Three nodes, whose ports are the same after a restart. Each leads what it is meant to; leases
    are long, so that it goes on to on a machine that stands still at times."""
    cluster = t.cluster(3, start=False, shards=16, mode="os",
                        overrides={"consensus.lease_ms": lease_ms})
    cluster.start_with(lambda node: node.settings.update(
        {f"listen.{port}": f"127.0.0.1:{free_port()}" for port in ("resp", "resp_cluster")}))
    return in_place(cluster)


def addresses(cluster, port="resp_cluster"):
    return [node.ready[port] for node in cluster.nodes]


def run(t, program, *args, timeout=60, **options):
    """A program that others have written, which has to be there."""
    path = shutil.which(program)
    true(path is not None, f"{program} is missing; scripts/deps --test installs it")
    finished = process.run([path, *args], timeout=timeout, cwd=t.dir, **options)
    equal(finished.status, 0, f"exit status of\n{finished}\n")
    return finished.stdout.decode()


def node_environment():
    if not MODULES.exists():
        raise Skipped(f"{MODULES} is missing; tests/e2e/npm/install makes it")
    return {"NODE_PATH": str(MODULES), "PATH": "/usr/bin:/bin"}


# Redis's own tools.

def test_redis_cli_finds_a_sound_cluster(t):
    cluster = with_ports(t)
    host, port = parse_address(addresses(cluster)[0])
    text = run(t, "redis-cli", "--cluster", "check", f"{host}:{port}")
    for line in ("[OK] All nodes agree about slots configuration.",
                 "[OK] All 16384 slots covered.", "[OK] 0 keys in 3 masters."):
        true(line in text, f"{line} is not in\n{text}")
    true("[ERR]" not in text and "[WARNING]" not in text, text)
    for i in range(50):
        equal(run(t, "redis-cli", "-c", "-h", host, "-p", str(port), "set", f"k{i}", f"v{i}"),
              "OK\n", "SET")
        equal(run(t, "redis-cli", "-c", "-h", host, "-p", str(port), "get", f"k{i}"),
              f"v{i}\n", "GET")
    text = run(t, "redis-cli", "--cluster", "info", f"{host}:{port}")
    true("[OK] 50 keys in 3 masters." in text, text)
    text = run(t, "redis-cli", "--cluster", "call", f"{host}:{port}", "dbsize")
    equal(sum(int(size) for size in re.findall(r": (?:\(integer\) )?(\d+)$", text, re.M)), 50, text)


def test_redis_benchmark_loads_a_cluster(t):
    cluster = with_ports(t)
    host, port = parse_address(addresses(cluster)[1])
    text = run(t, "redis-benchmark", "--cluster", "-h", host, "-p", str(port), "-t",
               "set,get,incr,mset", "-n", "2000", "-c", "12", "-r", "1000", "-P", "4", "-q",
               "--threads", "2", timeout=100)
    true("Cluster has 3 master nodes" in text, text)
    for name in ("SET", "GET", "INCR", "MSET"):
        true(re.search(rf"^.*{name}\b.*requests per second", text, re.M), f"{name} in\n{text}")
    true("rror" not in text, text)


# redis-py.

def cluster_client(cluster, **options):
    nodes = [ClusterNode(*parse_address(node.settings["listen.resp_cluster"]))
             for node in cluster.nodes]
    return RedisCluster(startup_nodes=nodes, **options)


def test_redis_py_cluster_just_works(t):
    cluster = with_ports(t)
    client = cluster_client(cluster)
    everywhere = RedisCluster.PRIMARIES
    for i in range(300):
        true(client.set(f"key:{i}", i), "SET")
        equal(client.get(f"key:{i}"), b"%d" % i, "GET")
    client.set("short", "v", px=100_000)
    between(50_000, client.pttl("short"), 100_000, "PTTL")
    equal(client.dbsize(target_nodes=everywhere), 301, "DBSIZE of all")
    equal(len(set(client.scan_iter("key:*", count=20))), 300, "SCAN of all")
    equal(len(client.keys("key:*", target_nodes=everywhere)), 300, "KEYS of all")
    equal(client.mget_nonatomic("key:1", "key:2", "none"), [b"1", b"2", None], "MGET")
    equal(client.delete("key:1", "key:2", "none"), 2, "DEL of several slots")
    equal(client.exists("key:1", "key:3", "key:4"), 2, "EXISTS of several slots")
    with client.pipeline() as pipe:
        for i in range(200):
            pipe.set(f"pipe:{i}", i).get(f"pipe:{i}")
        equal(pipe.execute(), [x for i in range(200) for x in (True, b"%d" % i)], "a pipeline")
    slot = client.cluster_keyslot("key:3")
    equal(client.cluster_countkeysinslot(slot), 1, "COUNTKEYSINSLOT")
    equal(client.cluster_get_keys_in_slot(slot, 5), ["key:3"], "GETKEYSINSLOT")
    equal(client.cluster_info(target_nodes=client.get_default_node())["cluster_state"], "ok",
          "CLUSTER INFO")
    equal(len(client.cluster_nodes()), 3, "CLUSTER NODES")
    equal(len(client.get_primaries()), 3, "primaries")
    equal(client.get_replicas(), [], "replicas")
    node = client.get_node_from_key("{tag}")
    single = client.get_redis_connection(node)
    equal(single.transaction(lambda pipe: (pipe.multi(), pipe.set("{tag}a", 1),
                                           pipe.incr("{tag}a")), "{tag}b"), [True, 2], "MULTI")
    true(client.flushall(target_nodes=everywhere), "FLUSHALL of all")
    equal(client.dbsize(target_nodes=everywhere), 0, "DBSIZE after FLUSHALL")
    events = client.pubsub()
    events.subscribe("__keyevent@0__:expired")
    wait_for(lambda: events.get_message(timeout=1), 20, "the subscription")
    for i in range(20):
        client.set(f"dies:{i}", "v", px=20)
    dead = {wait_for(lambda: events.get_message(timeout=1), 20, "an event")["data"]
            for _ in range(20)}
    equal(dead, {b"dies:%d" % i for i in range(20)}, "what has expired, of all nodes")
    client.close()


# Clients from npm.

def node_works(t, name, mode):
    cluster = with_ports(t)
    text = run(t, "node", NPM / "works.js", name, mode,
               *addresses(cluster, "resp_cluster" if mode == "cluster" else "resp"),
               env=node_environment(), timeout=100)
    true(text.endswith("all well\n"), text)


def test_ioredis_just_works(t):
    node_works(t, "ioredis", "plain")


def test_ioredis_cluster_just_works(t):
    node_works(t, "ioredis", "cluster")


def test_node_redis_just_works(t):
    node_works(t, "redis", "plain")


def test_node_redis_cluster_just_works(t):
    node_works(t, "redis", "cluster")


# Through the death of a leader.

@contextlib.contextmanager
def counted_connections(sent):
    """Counts in `sent` how often redis-py hands each INCR to a socket: it may send one again."""
    plain = redis.Connection.send_command

    def send_command(self, *args, **kwargs):
        if args[0] == "INCRBY":  # which its incr() sends
            sent[args[1]] = sent.get(args[1], 0) + 1
        return plain(self, *args, **kwargs)
    redis.Connection.send_command = send_command
    try:
        yield
    finally:
        redis.Connection.send_command = plain


class PyCounter(threading.Thread):
    """redis-py counts up one key and reads it; keeps the books that counts.js keeps."""

    def __init__(self, cluster, key, sent):
        super().__init__(daemon=True)
        self.key = key
        self.sent = sent
        self.cluster = cluster
        self.book = {"acknowledged": 0, "failed": 0, "last": 0, "wrong": [], "errors": {}}
        self.going = True
        self.start()

    def run(self):
        client = None
        while self.going:
            try:
                client = client or cluster_client(self.cluster, cluster_error_retry_attempts=20)
                self.count(client)
            except RedisClusterException as error:
                # Version 4.3 cannot read the map again when a start-up node is down.
                client = None
                self.note(error)
            except redis.RedisError as error:
                self.note(error)

    def count(self, client):
        book = self.book
        value = client.incr(self.key)
        if value <= book["last"]:
            book["wrong"].append(f"INCR said {value} after {book['last']}")
        book["last"] = value
        book["acknowledged"] += 1
        read = int(client.get(self.key))
        if not value <= read <= self.times():
            book["wrong"].append(f"GET said {read} after {value}")

    def note(self, error):
        text = f"{type(error).__name__}: {error}"[:200]
        self.book["errors"][text] = self.book["errors"].get(text, 0) + 1
        self.book["failed"] += 1

    def times(self):
        return self.sent.get(self.key, 0)


class PyCounters:
    def __init__(self, cluster, keys, sent):
        self.counters = [PyCounter(cluster, f"count:py:{i}", sent) for i in range(keys)]

    def books(self):
        return {counter.key: {**counter.book, "sent": counter.times()}
                for counter in self.counters}

    def stop(self):
        for counter in self.counters:
            counter.going = False
        for counter in self.counters:
            counter.join(60)
            true(not counter.is_alive(), "a counter of redis-py hangs")
        self.last = self.books()


class NodeCounters:
    """counts.js with one of the clients."""

    def __init__(self, t, cluster, name, keys):
        program = shutil.which("node")
        true(program is not None, "node is missing; scripts/deps --test installs it")
        self.log = t.dir / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = process.spawn(
                [program, NPM / "counts.js", name, keys, *addresses(cluster)], cwd=t.dir,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env=node_environment())

    def books(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        true(line.endswith(b"\n"), lambda: f"it has ended: {self.log.read_text()[-2000:]}")
        return json.loads(line)

    def stop(self):
        """It finishes what is under way, and tells its books once more."""
        self.process.stdin.close()
        self.last = json.loads(self.process.stdout.readline())
        self.process.wait(60)
        self.process.stdout.close()


def wait_progress(clients, more, what, seconds=60):
    """Waits until every key has been counted up so many times from now on."""
    before = {name: client.books() for name, client in clients.items()}

    def waiting():
        late = []
        for name, client in clients.items():
            books = client.books()
            late += [name] if not books else []
            late += [(key, book) for key, book in books.items() if book["acknowledged"] <
                     more + before[name].get(key, {"acknowledged": 0})["acknowledged"]]
        return late
    try:
        wait_for(lambda: not waiting(), seconds, what)
    except AssertionError as error:
        raise AssertionError(f"{error}; these are late: {str(waiting())[:3000]}") from None


KEYS = 6


def count_through_kills(t, cluster, clients):
    wait_progress(clients, 20, "all clients to be at work")
    for _ in range(2):
        doomed = cluster.busiest_leader()
        doomed.kill9()
        others = {name: client for name, client in clients.items() if name != "node-redis"}
        wait_progress(others, 20, "those to go on who look for the new leaders")
        doomed.restart()
        cluster.wait_settled()
        wait_progress(clients, 20, "all clients to go on", 120)
    for client in clients.values():
        client.stop()


def judge(t, name, books, values):
    equal(len(books), KEYS, f"keys of {name}")
    failed, acknowledged, errors = 0, 0, set()
    for key, book in books.items():
        equal(book["wrong"], [], f"wrong answers to {name}")
        between(book["acknowledged"], values[key], book["sent"], f"{name}: {key}")
        acknowledged += book["acknowledged"]
        failed += book["failed"]
        errors |= set(book["errors"])
    t.note(f"{name}: {acknowledged} acknowledged, {failed} failed: {sorted(errors)}")


@limit(300)
def test_cluster_clients_lose_nothing_when_a_leader_dies(t):
    """Each client counts up its keys, with its own way of trying again, while the node that leads
    most shards is killed and comes back: no wrong answer, and of no key less than was
    acknowledged, nor more than was sent."""
    cluster = with_ports(t, lease_ms=3000 if t.sanitized else 500)
    sent = {}
    with counted_connections(sent):
        clients = {"redis-py": PyCounters(cluster, KEYS, sent),
                   "ioredis": NodeCounters(t, cluster, "ioredis", KEYS),
                   "node-redis": NodeCounters(t, cluster, "redis", KEYS)}
        count_through_kills(t, cluster, clients)
    with redis.Redis(*parse_address(addresses(cluster, "resp")[0])) as reader:
        for name, client in clients.items():
            books = client.last
            judge(t, name, books, {key: int(reader.get(key)) for key in books})
