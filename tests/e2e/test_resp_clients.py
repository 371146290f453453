"""Clients that others have written, on both ports of the Redis protocol: their own calls, and what
becomes of what they count while nodes die."""

import itertools
import json
import pathlib
import re
import shutil
import subprocess
import threading

import redis
from redis.backoff import ConstantBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from mayfly_test import process
from mayfly_test.check import between, equal, true
from mayfly_test.client import parse_address
from mayfly_test.cluster import free_port
from mayfly_test.context import limit
from mayfly_test.wait import wait_for

NPM = pathlib.Path(__file__).resolve().parent / "npm"
MODULES = NPM.parents[2] / "build" / "npm" / "node_modules"


def with_ports(t, **overrides):
    """Three nodes, whose ports are the same after a restart."""
    cluster = t.cluster(3, start=False, shards=16, mode="os", overrides=overrides)
    cluster.start_with(lambda node: node.settings.update(
        {f"listen.{port}": f"127.0.0.1:{free_port()}" for port in ("resp", "resp_cluster")}))
    cluster.wait_settled()
    return cluster


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
    true(MODULES.exists(), f"{MODULES} is missing; tests/e2e/npm/install makes it")
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
    nodes = [ClusterNode(*parse_address(address)) for address in addresses(cluster)]
    return RedisCluster(startup_nodes=nodes, **options)


def test_redis_py_cluster_just_works(t):
    cluster = with_ports(t)
    client = cluster_client(cluster)
    for i in range(300):
        true(client.set(f"key:{i}", i), "SET")
        equal(client.get(f"key:{i}"), b"%d" % i, "GET")
    client.set("short", "v", px=100_000)
    between(50_000, client.pttl("short"), 100_000, "PTTL")
    equal(client.dbsize(), 301, "DBSIZE of all")
    equal(len(set(client.scan_iter("key:*", count=20))), 300, "SCAN of all")
    equal(len(client.keys("key:*")), 300, "KEYS of all")
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
    true(client.flushall(), "FLUSHALL of all")
    equal(client.dbsize(), 0, "DBSIZE after FLUSHALL")
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
