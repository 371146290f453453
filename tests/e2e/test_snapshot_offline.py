"""Dumps of data folders whose nodes are stopped, killed or gone."""

import hashlib
import json
import shutil
import time

from mayfly_test.check import contains, equal, same_content, true
from mayfly_test.context import limit
from mayfly_test.wait import wait_for

HOUR_MS = 3_600_000


def tool(t, *args, status=0, lines=None):
    finished = t.run("mayfly-snapshot", *args)
    equal(finished.status, status, f"exit status of\n{finished}\n")
    if lines is None:
        lines = 0 if status == 0 else 1
    equal(finished.stderr.count(b"\n"), lines, f"lines on stderr of\n{finished}\n")
    return finished


def content_of(t, path):
    lines = tool(t, "export", path, "-o", "json").stdout.splitlines()
    entries = [json.loads(line) for line in lines]
    return {entry["key"]: (entry["value"], entry["expire_at"]) for entry in entries}


def files_of(folder):
    """Every name in it, with content, size and time of change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (content, about.st_size, about.st_mtime_ns,
                                                about.st_ctime_ns)
    return found


def states_of(t, path):
    sections = json.loads(tool(t, "inspect", path, "-o", "json").stdout)["sections"]
    return [[section[name] for name in ("shard", "keys", "ids", "version", "rolling_hash", "applied",
                                        "log_time_us")] for section in sections]


def dump_folder(t, node, name="dump.mfs", lines=0, args=()):
    before = files_of(node.data_dir)
    finished = tool(t, "dump", "--data-dir", node.data_dir, t.dir / name, *args, lines=lines)
    equal(files_of(node.data_dir), before, "the data folder after a dump")
    tool(t, "verify", t.dir / name)
    return t.dir / name, finished


def fill(node, first, count, deadline_ms):
    """Returns the keys as their lines in an export have them."""
    with node.connect(timeout=60) as connection:
        connection.set_all(
            (f"key:{i}", f"value {i}" * (i % 50),
             {} if i % 2 == 0 else {"expire_at": deadline_ms + i})
            for i in range(first, first + count))
    return {f"key:{i}": (f"value {i}" * (i % 50), None if i % 2 == 0 else deadline_ms + i)
            for i in range(first, first + count)}


def checkpointed(node):
    return list(node.data_dir.glob("checkpoints/*.mfs"))


@limit(240)
def test_all_that_a_killed_node_alone_has_acknowledged_is_in_a_dump_of_its_folder(t):
    cluster = t.cluster(1, shards=4, overrides={"node.threads": 2})
    node = cluster.node(1)
    deadline_ms = int(time.time() * 1000) + HOUR_MS
    entries = fill(node, 0, 3000, deadline_ms)
    # Enough for checkpoints, which then stand in for the older part of the log.
    for round_ in range(30):
        for i in range(8):
            node.call("set", f"large:{i}", bytes(1 << 20) + b"%d" % round_)
    wait_for(lambda: checkpointed(node), 30, "a checkpoint")
    for i in range(8):
        node.call("del", [f"large:{i}"])
    entries |= fill(node, 3000, 500, deadline_ms)
    node.call("del", ["key:0"])
    del entries["key:0"]
    node.call("set", "an id", "is remembered", {"id": "some id"})
    entries["an id"] = ("is remembered", None)

    finished = tool(t, "dump", "--data-dir", node.data_dir, t.dir / "none.mfs", status=1)
    contains(finished.stderr.decode(), "in use by a running mayflyd", "a folder in use")
    true(not (t.dir / "none.mfs").exists(), "nothing is made of a folder in use")

    live = node.call("snapshot", "live.mfs", timeout=60)["path"]
    node.kill9()
    path, finished = dump_folder(t, node)
    equal(states_of(t, path), states_of(t, live), "the state of each shard, its history included")
    same_content(content_of(t, path), entries, "the dump of a killed node's folder")
    contains(finished.stdout.decode(), "from node 1", "what a dump tells")
    inspected = json.loads(tool(t, "inspect", path, "-o", "json").stdout)
    equal((inspected["cluster"], inspected["keys"], inspected["ids"]),
          (node.settings["cluster.name"], len(entries), 1), "what inspect tells")
    again, _ = dump_folder(t, node, "again.mfs", args=("--threads", "1"))
    same_content(content_of(t, again), entries, "a dump with one thread")

    # Every key is where the node itself finds it, at the same position of the log.
    node.restart()
    equal(node.call("size"), len(entries), "keys of the node")
    equal(node.terminate(), 0, "exit status")
    stopped, _ = dump_folder(t, node, "stopped.mfs")
    same_content(content_of(t, stopped), entries, "the dump of a stopped node's folder")

    target = t.cluster(1, shards=7, name="target", start=False)
    target.start_with(lambda other: restore_folder(t, stopped, other))
    equal(target.node(1).call("size"), len(entries), "keys of a cluster that began with it")


def restore_folder(t, path, node):
    node.write_config()
    tool(t, "restore", path, "--data-dir", node.data_dir, "--config", node.config)


@limit(240)
def test_a_dump_of_one_of_three_nodes_has_what_it_knows_to_be_chosen_and_counts_the_rest(t):
    # Long enough to cut a leader off while it still takes writes.
    cluster = t.cluster(3, overrides={"consensus.lease_ms": 3000})
    deadline_ms = int(time.time() * 1000) + HOUR_MS
    entries = fill(cluster.node(1), 0, 2000, deadline_ms)
    for node in cluster.running():
        cluster.wait_caught_up(node)
    equal(cluster.stop(), None, "trouble while stopping")
    # An orderly stop leaves nothing open.
    for node_id in (1, 2, 3):
        path, _ = dump_folder(t, cluster.node(node_id), f"node-{node_id}.mfs")
        same_content(content_of(t, path), entries, f"the dump of node {node_id}'s folder")

    # What a leader without a majority has taken is in its log, and was never chosen.
    cluster.restart()
    cluster.wait_settled()
    leader = cluster.leader_of(b"key:0")
    for node in list(cluster.running()):
        if node is not leader:
            node.pause()
    with leader.connect(timeout=60) as connection:
        connection.send("set", "key:0", "was never acknowledged", {})
        size = sum(path.stat().st_size for path in leader.data_dir.glob("wal/*"))
        true(size > 0, "there is a log")
        wait_for(lambda: in_log(leader, b"was never acknowledged"), 20, "the log to have it")
    leader.kill9()
    for node in list(cluster.running()):
        node.kill9()
    path, finished = dump_folder(t, leader, "open.mfs", lines=1)
    contains(finished.stderr.decode(), "log entries are left out", "what is said of open entries")
    same_content(content_of(t, path), entries, "the dump without what was not chosen")


def in_log(node, text):
    return any(text in path.read_bytes() for path in node.data_dir.glob("wal/*.wal"))


@limit(120)
def test_a_dump_of_a_folder_judges_deadlines_by_the_log_and_not_by_when_it_is_made(t):
    cluster = t.cluster(1, shards=2)
    node = cluster.node(1)
    node.call("set", "dead", "v", {"ttl": 1})
    # Not over before the node is killed, nor what is left of it before the target is asked.
    node.call("set", "short", "v", {"ttl": 6000})
    node.call("set", "long", "v", {"ttl": HOUR_MS})
    wait_for(lambda: node.call("get", "dead") is None, 10, "the key to die")
    node.kill9()
    first, _ = dump_folder(t, node, "first.mfs")
    wait_for(lambda: "short" not in content_of(t, first), 20, "the deadline to come by the wall clock")
    late, _ = dump_folder(t, node, "late.mfs")
    for path in (first, late):
        counts = json.loads(tool(t, "inspect", path, "-o", "json").stdout)
        equal(counts["keys"], 2, f"keys in {path.name}: those that the log has not let die")
    target = t.cluster(1, shards=2, name="target", start=False)

    def restore(other):
        other.write_config()
        tool(t, "restore", late, "--data-dir", other.data_dir, "--config", other.config, "--ttl",
             "remaining")
    target.start_with(restore)
    true(target.node(1).call("get", "short") == b"v", "what is left at the cut counts on")


@limit(120)
def test_damage_in_a_data_folder_is_named_and_no_dump_is_made(t):
    cluster = t.cluster(1, shards=2, overrides={"node.threads": 1})
    node = cluster.node(1)
    for i in range(100):
        node.call("set", f"key:{i}", "v" * 600)
    node.kill9()
    whole = t.dir / "whole"
    shutil.copytree(node.data_dir, whole)
    [log] = list(whole.glob("wal/*.wal"))

    def refuse(change, *texts):
        folder = t.dir / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        change(folder)
        finished = tool(t, "dump", "--data-dir", folder, t.dir / "none.mfs", status=1)
        for text in texts:
            contains(finished.stderr.decode(), text, "what is said of it")
        true(not (t.dir / "none.mfs").exists(), "no dump is made of it")
        equal([path.name for path in t.dir.glob("none*")], [], "what is left")

    def flip(folder):
        path = folder / "wal" / log.name
        content = bytearray(path.read_bytes())
        content[1024 + 100] ^= 1
        path.write_bytes(content)

    refuse(flip, log.name, "damaged")
    refuse(lambda folder: shutil.rmtree(folder / "wal"), "wal is missing or empty")
    refuse(lambda folder: (folder / "node.meta").unlink(), "no node.meta")
    refuse(lambda folder: (folder / "node.meta").write_text("mayfly-node 2\n"), "node.meta is damaged")
    refuse(lambda folder: (folder / "checkpoints" / "00001.mfs").write_bytes(b"x" * 100), "00001.mfs")
    # A torn tail is none: the write was never acknowledged.
    path = whole / "wal" / log.name
    content = path.read_bytes()
    end = content.rindex(b"MFBH")
    path.write_bytes(content[:end + 600] + bytes(len(content) - end - 600))
    tool(t, "dump", "--data-dir", whole, t.dir / "torn.mfs")
    true(len(content_of(t, t.dir / "torn.mfs")) in (99, 100), "what is before a torn tail")


@limit(60)
def test_a_dump_of_a_folder_says_what_is_wrong_with_the_command(t):
    folder = t.dir / "empty"
    folder.mkdir()
    out = t.dir / "out.mfs"
    for args, status, text in (
            (["--data-dir", t.dir / "absent", out], 1, "absent: No such file or directory"),
            (["--data-dir", folder, out], 1, "no node.meta"),
            (["--data-dir", folder, "-s", "127.0.0.1:1", out], 2, "expected one of"),
            (["--data-dir", folder, "--user", "u", out], 2, "expected one of"),
            (["--data-dir", folder], 2, "no FILE"),
            (["--data-dir", folder, out, "--threads", "0"], 2, "--threads 0"),
            (["-s", "127.0.0.1:1", "--threads", "2", out], 2, "--threads"),
            (["--data-dir", folder, "/dev/null"], 1, "no regular file"),
            (["--data-dir", folder, folder / "genesis.mfs"], 1, "outside")):
        finished = tool(t, "dump", *args, status=status)
        contains(finished.stderr.decode(), text, f"what is said of {args}")
    equal(list(folder.iterdir()), [], "files in the folder")
    true(not out.exists(), "no file is made")
