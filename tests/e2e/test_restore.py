"""Restores into data folders that are ended half-way, meet each other, or begin with what is left."""

import json
import os
import shutil
import signal
import subprocess
import time

from mayfly_test.check import between, contains, equal, true
from mayfly_test.context import limit
from mayfly_test.wait import wait_for

HOUR_MS = 3_600_000
TTL_TOLERANCE_MS = 2000


def tool(t, *args, status=0, lines=None):
    finished = t.run("mayfly-snapshot", *args)
    equal(finished.status, status, f"exit status of\n{finished}\n")
    equal(finished.stderr.count(b"\n"), int(status != 0) if lines is None else lines,
          f"lines on stderr of\n{finished}\n")
    return finished


def make_snapshot(t, keys, name="source.mfs", value_bytes=60):
    lines = [json.dumps({"key": f"key:{i}", "value": t.rng.randbytes(value_bytes // 2).hex(),
                         "expire_at": None if i % 2 else int(time.time() * 1000) + HOUR_MS})
             for i in range(keys)]
    text = t.dir / (name + ".ndjson")
    text.write_text("\n".join(lines))
    tool(t, "import", text, t.dir / name)
    return t.dir / name


def fresh_node(t, name="cluster", **options):
    """One that has a configuration, and has not been started."""
    cluster = t.cluster(1, name=name, start=False, **options)
    cluster.start_with(lambda node: node.write_config(), ids=())
    return cluster.node(1)


def unfinished(folder):
    return [path.name for path in folder.glob("genesis.mfs?*") if ".replaced-" not in path.name]


def command(t, snapshot, node, *args):
    return [str(t.bin("mayfly-snapshot")), "restore", str(snapshot), "--data-dir",
            str(node.data_dir), "--config", str(node.config), *args]


@limit(240)
def test_a_restore_that_is_ended_leaves_nothing_that_a_later_run_trips_over(t):
    keys = 20_000
    snapshot = make_snapshot(t, keys, value_bytes=2000)
    for number, what in ((signal.SIGINT, "int"), (signal.SIGTERM, "term"), (signal.SIGKILL, "kill")):
        for force in ((), ("--force-new-cluster",)):
            node = fresh_node(t, f"{what}-{len(force)}")
            child = subprocess.Popen(command(t, snapshot, node, *force), stdout=subprocess.DEVNULL)
            # Whether it is caught in the middle or has ended: neither is in anybody's way.
            wait_for(lambda: child.poll() is not None or unfinished(node.data_dir), 30,
                     "the file to be begun")
            child.send_signal(number)
            child.wait(30)
            if number != signal.SIGKILL:
                equal(unfinished(node.data_dir), [], f"what is left after SIG{what.upper()}")
            genesis = node.data_dir / "genesis.mfs"
            if genesis.exists():
                tool(t, "verify", genesis)
            else:
                tool(t, "restore", snapshot, "--data-dir", node.data_dir, "--config", node.config,
                     *force)
            node.restart()
            equal((node.call("size"), unfinished(node.data_dir)), (keys, []),
                  "keys of the node, and what lies beside")
            node.kill9()


@limit(60)
def test_a_start_removes_what_a_restore_has_left_unfinished(t):
    node = fresh_node(t)
    node.data_dir.mkdir(parents=True)
    for name in ("genesis.mfs.tmp-1", "genesis.mfs.new", "genesis.mfs.new.tmp-2"):
        (node.data_dir / name).write_bytes(b"half of a file")
    kept = node.data_dir / "genesis.mfs.replaced-1700000000"
    kept.write_bytes(b"what an operator may want")
    node.restart()
    equal(unfinished(node.data_dir), [], "what is left beside")
    true(kept.exists(), "what was put aside stays")
    node.call("set", "k", "v")


@limit(120)
def test_a_replacement_that_is_ended_between_two_steps_starts_no_node_with_half_of_each(t):
    snapshot = make_snapshot(t, 100)
    cluster = t.cluster(1)
    node = cluster.node(1)
    node.call("set", "old", "v")
    equal(node.terminate(), 0, "exit status")
    whole = t.dir / "whole"
    shutil.copytree(node.data_dir, whole)

    def check(change):
        shutil.rmtree(node.data_dir)
        shutil.copytree(whole, node.data_dir)
        change(node.data_dir)
        node.start()
        equal(node.wait_end(20), 1, "exit status of a node on half a replacement")
        tool(t, "restore", snapshot, "--data-dir", node.data_dir, "--config", node.config,
             "--force-new-cluster")
        node.restart()
        equal((node.call("size"), node.call("get", "old")), (100, None), "what the node has")
        node.kill9()

    def put_genesis(folder):
        os.rename(folder / "node.meta", folder / "node.meta.replaced-1")
        tool(t, "restore", snapshot, "--data-dir", t.dir / "made", "--config", node.config)
        os.rename(t.dir / "made" / "genesis.mfs", folder / "genesis.mfs")

    check(lambda folder: os.rename(folder / "node.meta", folder / "node.meta.replaced-1"))
    check(put_genesis)


@limit(120)
def test_of_two_restores_into_one_folder_one_waits_for_nobody_and_is_refused(t):
    snapshot = make_snapshot(t, 20_000, value_bytes=2000)
    node = fresh_node(t)
    children = [subprocess.Popen(command(t, snapshot, node), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE) for _ in range(3)]
    told = [child.communicate(timeout=60)[1].decode() for child in children]
    equal(sorted(child.returncode for child in children), [0, 1, 1], f"exit statuses: {told}")
    for child, text in zip(children, told):
        if child.returncode != 0:
            true("in use by" in text or "genesis.mfs exists" in text, f"what is said: {text}")
    tool(t, "verify", node.data_dir / "genesis.mfs")
    equal(unfinished(node.data_dir), [], "what lies beside")


def ttl_of(t, path, key):
    """Milliseconds left, as an export tells: at the least and at the most, as it has looked at the
    clock some time between its start and its end."""
    began_ms = time.time() * 1000
    finished = t.run("mayfly-snapshot", "export", path)
    ended_ms = time.time() * 1000
    entries = {entry["key"]: entry["expire_at"]
               for entry in map(json.loads, finished.stdout.splitlines())}
    return entries[key] - ended_ms, entries[key] - began_ms, finished


@limit(180)
def test_what_is_to_begin_with_remaining_deadlines_can_be_exported_and_restored_again(t):
    source = t.cluster(1, name="source")
    node = source.node(1)
    node.call("set", "hour", "v", {"ttl": HOUR_MS})
    node.call("set", "forever", "v")
    snapshot = node.call("snapshot", "s.mfs", timeout=60)["path"]
    target = fresh_node(t, "target", shards=3)
    tool(t, "restore", snapshot, "--data-dir", target.data_dir, "--config", target.config, "--ttl",
         "remaining")
    genesis = target.data_dir / "genesis.mfs"
    for section in json.loads(tool(t, "inspect", genesis, "-o", "json").stdout)["sections"]:
        equal((section["wall_us"], section["log_time_us"]), (None, 1), f"the base of {section}")
    contains(tool(t, "inspect", genesis).stdout.decode(), "at first start", "the table")

    least, most, finished = ttl_of(t, genesis, "hour")
    between(least - TTL_TOLERANCE_MS, HOUR_MS, most + TTL_TOLERANCE_MS, "left in an export")
    contains(finished.stderr.decode(), "count from now", "what an export says of it")

    again = t.cluster(1, shards=2, name="again", start=False)
    again.start_with(lambda other: (other.write_config(),
                                    tool(t, "restore", genesis, "--data-dir", other.data_dir,
                                         "--config", other.config)))
    live = t.cluster(1, name="live").node(1)
    tool(t, "restore", genesis, "-s", "{}:{}".format(*live.rpc))
    target.restart()
    for name, other in (("restored again", again.node(1)), ("a running cluster", live),
                        ("the cluster it was made for", target)):
        between(HOUR_MS - 20_000, other.call("ttl", "hour"), HOUR_MS, f"left in {name}")
        equal(other.call("ttl", "forever"), -1, f"no deadline in {name}")
    # From its first start on the cluster has a wall clock, and so have its dumps.
    target.call("set", "touched", "v")
    target.kill9()
    tool(t, "dump", "--data-dir", target.data_dir, t.dir / "late.mfs")
    least, most, finished = ttl_of(t, t.dir / "late.mfs", "hour")
    equal(finished.stderr, b"", "what an export of a dump says")
    true(HOUR_MS - 30_000 <= most and least <= HOUR_MS + TTL_TOLERANCE_MS,
         f"left in a dump: {least} to {most}")


@limit(180)
def test_rot_in_what_a_cluster_began_with_costs_no_log(t):
    """Nobody else could teach it; the log and the node's memory are whole."""
    snapshot = make_snapshot(t, 2000)
    cluster = t.cluster(3, start=False)
    cluster.start_with(lambda node: (node.write_config(),
                                     tool(t, "restore", snapshot, "--data-dir", node.data_dir,
                                          "--config", node.config)))
    cluster.wait_settled()
    cluster.node(1).call("set", "later", "v", timeout=30)
    node = cluster.node(2)
    equal(node.terminate(), 0, "exit status")
    meta = (node.data_dir / "node.meta").read_bytes()
    genesis = node.data_dir / "genesis.mfs"
    content = genesis.read_bytes()
    at = len(content) // 2
    genesis.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1:])
    node.start()
    equal(node.wait_end(20), 1, "exit status of a node on a damaged beginning")
    contains(node.log_text(), "genesis.mfs", "what is said")
    equal(sorted(path.name for path in node.data_dir.glob("*.damaged-*")), [], "what was put aside")
    equal((node.data_dir / "node.meta").read_bytes(), meta, "node.meta")
    genesis.write_bytes(content)
    node.restart()
    cluster.wait_settled()
    equal(node.call("get", "later", timeout=30), b"v", "a value")
