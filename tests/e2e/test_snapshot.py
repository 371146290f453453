"""Snapshots: taken under load, checked, damaged, and restored into clusters of another shape."""

import fcntl
import json
import os
import pathlib
import shutil
import sys
import threading
import time

from mayfly_test import process
from mayfly_test.check import between, contains, equal, true
from mayfly_test.client import RpcError
from mayfly_test.context import limit
from mayfly_test.disk import Disk
from mayfly_test.judge import read_all
from mayfly_test.wait import wait_for

HOUR_MS = 3_600_000
TTL_TOLERANCE_MS = 2000


def fill(cluster, rng, count=3000):
    """Keys of every kind; returns key -> value."""
    data = {b"empty": b"", b"large": rng.randbytes(3 * 2**20), b"\x00\xff binary \n": b"\r\n\x00",
            "\u00e4".encode(): "\u20ac".encode(), b"k" * 60_000: b"long key"}
    for i in range(count):
        data[b"key:%d" % i] = rng.randbytes(rng.randrange(0, 300))
    with cluster.node(1).connect(timeout=60) as connection:
        connection.set_all((key, value, {"ttl": HOUR_MS} if hash_of(key) % 3 == 0 else {})
                           for key, value in data.items())
        connection.call("set", "once", "v", {"id": "an id is no key"})
        connection.call("set", "dying", "v", {"ttl": 3000})
        connection.call("set", "dead", "v", {"ttl": 1})
    data[b"once"] = b"v"
    wait_for(lambda: cluster.node(1).call("get", "dead") is None, 10, "the key to die")
    return data


def hash_of(key):
    return sum(key)


def take(cluster, name="snap.mfs"):
    """A snapshot of everything: in a cluster of three with three copies any node has it all."""
    return pathlib.Path(cluster.node(1).call("snapshot", name, timeout=60)["path"])


# One step of a walk visits 16 buckets of a map, with at most 14 records each, or as many as have
# 64 KiB. Values over 4 KiB are not copied.
BUCKET_RECORDS = 14
STEP_RECORDS_MAX = 16 * BUCKET_RECORDS
COPIED_BYTES_MAX = 4096
STEP_BYTES_MAX = 64 * 1024 + BUCKET_RECORDS * COPIED_BYTES_MAX


def test_a_snapshot_is_taken_in_small_steps(t):
    """However many keys there are and however large their values."""
    with t.cluster(1, shards=2).node(1).connect(timeout=60) as connection:
        def steps(name, keys, value):
            for first in range(0, keys, 500):
                connection.call("mset", [[f"{name}:{i}", value] for i in range(first, first + 500)])
            before = connection.call("stats")["walk_steps"]
            equal(connection.call("snapshot", name)["keys"], keys, "keys")
            taken = connection.call("stats")["walk_steps"] - before
            connection.call("flush")
            return taken

        between(50_000 // STEP_RECORDS_MAX, steps("small", 50_000, b"v"), 50_000, "steps")
        between(10_000 * COPIED_BYTES_MAX // STEP_BYTES_MAX,
                steps("larger", 10_000, bytes(COPIED_BYTES_MAX)), 10_000, "steps")
        t.note(f"longest step: {connection.call('stats')['walk_step_us_max']} us of processor time")


def ttls_of(cluster, keys):
    with cluster.node(1).connect(timeout=60) as connection:
        return dict(zip(keys, connection.pipeline([("ttl", key) for key in keys], timeout=60)))


def check_same(cluster, data, ttls, wall, what):
    """The cluster holds just this, and TTLs have gone on by the wall clock."""
    for node in cluster.nodes:
        values = read_all(node, data)
        wrong = [key for key, value in data.items() if values[key] != value]
        true(not wrong, f"{what}: {len(wrong)} of {len(data)} keys differ through node {node.id}, "
             f"such as {wrong[:3]!r:.200}")
    now = ttls_of(cluster, list(ttls))
    spent = (time.time() - wall) * 1000
    for key, before in ttls.items():
        if before == -1:
            equal(now[key], -1, f"{what}: ttl of {key!r:.60}")
        else:
            between(before - spent - TTL_TOLERANCE_MS, now[key], before + TTL_TOLERANCE_MS,
                    f"{what}: ttl of {key!r:.60} that was {before}")
    equal(cluster.node(1).call("get", "dead"), None, f"{what}: the key that was dead before")
    wait_for(lambda: cluster.node(1).call("get", "dying") is None, 10,
             f"{what}: the key of 3 s to die")
    wait_for(lambda: cluster.node(1).call("size") == len(data), 10, f"{what}: {len(data)} keys")


def one_line(finished, status=1):
    equal(finished.status, status, f"exit status of\n{finished}\n")
    equal(finished.stderr.count(b"\n"), 1, f"lines on stderr of\n{finished}\n")
    equal(finished.stdout, b"", f"stdout of\n{finished}\n")


@limit(240)
def test_a_snapshot_is_inspected_and_verified(t):
    cluster = t.cluster(3)
    data = fill(cluster, t.rng)
    for node in cluster.nodes:
        made = node.call("snapshot", "snap.mfs", timeout=60)
        path = pathlib.Path(made["path"])
        true(len(data) <= made["keys"] <= len(data) + 1, f"keys in {made}")
        finished = t.run("mayfly-snapshot", "verify", path)
        equal(finished.status, 0, f"exit status of\n{finished}\n")
        finished = t.run("mayfly-snapshot", "inspect", path, "-o", "json")
        equal(finished.status, 0, f"exit status of\n{finished}\n")
        inspected = json.loads(finished.stdout)
        equal((inspected["keys"], inspected["shards"], inspected["cluster"]),
              (made["keys"], 16, "e2e"), "what inspect tells")
        ttl = inspected["ttl"]
        with_ttl = sum(hash_of(key) % 3 == 0 for key in data if key != b"once")
        equal((ttl["none"], ttl["dead"]), (len(data) - with_ttl, 0), f"keys without TTL in {ttl}")
        ranges = {r["below_ms"]: r["keys"] for r in ttl["histogram"]}
        # What was set by the last entry of a shard has the whole hour left at its cut.
        equal(ranges[HOUR_MS] + ranges[6 * HOUR_MS], with_ttl, "keys of an hour")
        equal(sum(r["keys"] for r in ttl["histogram"]), ttl["counted"], "the sum of all ranges")
        equal(sum(section["keys_with_ttl"] for section in inspected["sections"]), ttl["counted"],
              "the sum of all shards")
        between(0, (HOUR_MS * 1000 - ttl["most_us"]) / 1e6, 120, "seconds since the last set")
        for output in ("table", "plain"):
            finished = t.run("mayfly-snapshot", "inspect", path, "-o", output)
            equal(finished.status, 0, f"exit status of\n{finished}\n")
            contains(finished.stdout.decode(), str(made["keys"]), f"inspect -o {output}")


READER = pathlib.Path(__file__).resolve().parents[2] / "examples" / "read_snapshot.py"


def read_by_example(path):
    """What examples/read_snapshot.py prints: shard, "key" or "id", version, deadline, key, value."""
    finished = process.run([sys.executable, READER, path])
    equal(finished.status, 0, f"exit status of\n{finished}\n")
    return [json.loads(line) for line in finished.stdout.splitlines()]


@limit(240)
def test_a_reader_made_from_the_page_alone_reads_what_the_programs_write(t):
    cluster = t.cluster(1, shards=5)
    data = fill(cluster, t.rng, 1000)
    wall, ttls, later = time.time(), ttls_of(cluster, list(data)), time.time()
    snapshot = take(cluster)
    equal(cluster.stop(), None, "trouble while stopping")
    fresh = t.cluster(1, shards=3, name="fresh", start=False)
    fresh.start_with(lambda node: restore_folder(t, snapshot, node))
    restored = pathlib.Path(fresh.node(1).data_dir) / "genesis.mfs"
    for path, shards in ((snapshot, 5), (restored, 3)):
        records = read_by_example(path)
        keys = {key.encode("latin-1"): (value.encode("latin-1"), deadline, shard)
                for shard, kind, _, deadline, key, value in records if kind == "key"}
        ids = [key for _, kind, _, _, key, _ in records if kind == "id"]
        equal(ids, ["an id is no key"] if path is snapshot else [], f"ids in {path.name}")
        inspected = json.loads(t.run("mayfly-snapshot", "inspect", path, "-o", "json").stdout)
        equal(len(keys), inspected["keys"], f"keys in {path.name}")
        equal({shard for _, _, shard in keys.values()}, set(range(shards)), "shards")
        for key, value in data.items():
            equal(keys[key][0], value, f"the value of {key!r:.60} in {path.name}")
            deadline = keys[key][1]
            if ttls[key] == -1:
                equal(deadline, None, f"the deadline of {key!r:.60}")
            else:
                between(wall * 1000 + ttls[key] - TTL_TOLERANCE_MS, deadline / 1000,
                        later * 1000 + ttls[key] + TTL_TOLERANCE_MS, f"deadline of {key!r:.60}")
    good = snapshot.read_bytes()
    bad = t.dir / "bad.mfs"
    for offset in [0, 40, len(good) // 3, len(good) - 1]:
        bad.write_bytes(good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1:])
        finished = process.run([sys.executable, READER, bad])
        equal(finished.status, 1, f"exit status of\n{finished}\n")
        contains(finished.stderr.decode(), "damaged:", f"byte {offset}")


@limit(240)
def test_a_damaged_snapshot_is_refused_and_restores_nothing(t):
    cluster = t.cluster(1)
    fill(cluster, t.rng, 500)
    good = take(cluster).read_bytes()
    fresh = t.cluster(1, name="fresh")
    bad = t.dir / "bad.mfs"
    offsets = [0, 1, 8, len(good) // 2, len(good) - 1]
    offsets += [t.rng.randrange(len(good)) for _ in range(20 if t.quick else 100)]
    cases = []
    for offset in offsets:
        damaged = bytearray(good)
        damaged[offset] ^= 1 << t.rng.randrange(8)
        cases.append((f"one bit of byte {offset}", bytes(damaged)))
    cases += [(f"cut to {size} bytes", good[:size])
              for size in (0, 1, 30, len(good) // 2, len(good) - 1)]
    cases.append(("a byte too many", good + b"\0"))
    cases.append(("something else", b"PK\x03\x04" + b"\0" * 1000))
    for number, (what, content) in enumerate(cases):
        bad.write_bytes(content)
        finished = t.run("mayfly-snapshot", "verify", bad)
        equal(finished.status, 1, f"{what}: exit status of\n{finished}\n")
        one_line(finished)
        if number % 5 == 0:
            one_line(t.run("mayfly-snapshot", "restore", bad, "-s", fresh.endpoints()))
            folder = t.dir / "restored"
            one_line(t.run("mayfly-snapshot", "restore", bad, "--data-dir", folder, "--config",
                           fresh.node(1).config))
            true(not folder.exists() or not any(folder.iterdir()), f"{what}: files were left")
    equal(fresh.node(1).call("size"), 0, "keys after refused restores")
    one_line(t.run("mayfly-snapshot", "verify", t.dir / "absent.mfs"))
    one_line(t.run("mayfly-snapshot", "verify", t.dir))


def test_the_path_of_a_snapshot_is_absolute_where_the_data_folder_is_not(t):
    cluster = t.cluster(1, start=False)
    cluster.start_with(lambda node: node.settings.update({"node.data_dir": "relative-data"}))
    cluster.wait_settled()
    path = take(cluster)
    true(path.is_absolute() and path.is_file(), f"path {path}")


def test_usage_errors_of_the_tool_are_one_line(t):
    for args in ([], ["bogus"], ["verify"], ["inspect", "a", "b"], ["inspect", "a", "-o", "xml"],
                 ["restore", "a"], ["verify", "a", "--force-new-cluster"],
                 ["restore", "a", "--force-new-cluster"],
                 ["restore", "a", "-s", "127.0.0.1:1", "--force-new-cluster"],
                 ["restore", "a", "--data-dir", "d"], ["verify", "a", "--bogus"],
                 ["restore", "a", "-s", "127.0.0.1:1", "--data-dir", "d", "--config", "c"]):
        one_line(t.run("mayfly-snapshot", *args), status=2)


@limit(240)
def test_restoring_into_running_clusters_of_other_shapes(t):
    source = t.cluster(3, name="source")
    data = fill(source, t.rng)
    snapshot = take(source)
    wall, ttls = time.time(), ttls_of(source, list(data))
    equal(source.stop(), None, "trouble while stopping")
    for n, shards in ((1, 5), (3, 64)):
        target = t.cluster(n, shards=shards, name=f"target-{n}")
        finished = t.run("mayfly-snapshot", "restore", snapshot, "-s", target.endpoints())
        equal(finished.status, 0, f"exit status of\n{finished}\n")
        check_same(target, data, ttls, wall, f"restored into {n} nodes with {shards} shards")


@limit(240)
def test_restoring_into_data_folders_of_new_clusters(t):
    source = t.cluster(3, name="source")
    data = fill(source, t.rng)
    snapshot = take(source)
    wall, ttls = time.time(), ttls_of(source, list(data))
    equal(source.stop(), None, "trouble while stopping")
    for n, shards in ((1, 7), (3, 32)):
        target = t.cluster(n, shards=shards, name=f"target-{n}", start=False)
        target.start_with(lambda node: restore_folder(t, snapshot, node))
        target.wait_settled()
        what = f"begun with {n} nodes and {shards} shards"
        check_same(target, data, ttls, wall, what)
        target.node(1).call("set", "after", "v")
        target.kill()
        target.restart()
        check_same(target, {**data, b"after": b"v"}, ttls, wall, what + ", after a restart")


def restore_folder(t, snapshot, node):
    node.write_config()
    finished = t.run("mayfly-snapshot", "restore", snapshot, "--data-dir", node.data_dir,
                     "--config", node.config)
    equal(finished.status, 0, f"exit status of\n{finished}\n")


@limit(240)
def test_a_folder_that_is_in_use_is_not_restored_into(t):
    cluster = t.cluster(1)
    node = cluster.node(1)
    node.call("set", "k", "v")
    snapshot = t.dir / "copy.mfs"
    shutil.copy(take(cluster), snapshot)
    finished = t.run("mayfly-snapshot", "restore", snapshot, "--data-dir", node.data_dir,
                     "--config", node.config)
    one_line(finished)
    node.kill9()
    finished = t.run("mayfly-snapshot", "restore", snapshot, "--data-dir", node.data_dir,
                     "--config", node.config)
    one_line(finished)
    node.restart()
    equal(node.call("get", "k"), b"v", "the value after refused restores")


class PairWriter(threading.Thread):
    """Writes pairs of keys in one shard: always both at once, and one strictly after another."""

    def __init__(self, cluster, number):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.number = number
        self.width = number % 2 * 2 * COPIED_BYTES_MAX  # half of them write large values
        self.stopping = threading.Event()
        self.rounds = 0
        self.slowest = 0.0
        self.trouble = None

    def run(self):
        tag = "{%d}" % self.number
        try:
            with self.cluster.node(1).connect() as connection:
                while not self.stopping.is_set():
                    self.rounds += 1
                    value = str(self.rounds).rjust(self.width)
                    began = time.monotonic()
                    connection.call("mset", [[f"{tag}both1", value], [f"{tag}both2", value]])
                    connection.call("set", f"{tag}first", value)
                    connection.call("set", f"{tag}second", value)
                    self.slowest = max(self.slowest, time.monotonic() - began)
        except (RpcError, OSError) as error:
            self.trouble = error


@limit(240)
def test_a_snapshot_under_load_is_a_cut(t):
    cluster = t.cluster(3, shards=4, overrides=t.patience)
    filler = [[f"filler{i}", "x" * 1000] for i in range(20_000 if t.quick else 60_000)]
    for at in range(0, len(filler), 1000):
        cluster.node(1).call("mset", filler[at:at + 1000], timeout=60)
    writers = [PairWriter(cluster, number) for number in range(8)]
    for writer in writers:
        writer.start()
    wait_for(lambda: all(writer.rounds > 20 for writer in writers), 30, "writers to be at work")
    snapshots = []
    for number in range(5):
        made = cluster.node(1).call("snapshot", f"cut{number}.mfs", timeout=60)
        snapshots.append(made)
        rounds = [writer.rounds for writer in writers]
        wait_for(lambda rounds=rounds: all(writer.rounds > before for writer, before
                                           in zip(writers, rounds)), 30, "writers to go on")
    for writer in writers:
        writer.stopping.set()
        writer.join(20)
        true(writer.trouble is None, f"a writer: {writer.trouble}")
    t.note(f"{snapshots[0]['keys']} keys, {snapshots[0]['bytes'] >> 10} KB in "
           f"{snapshots[0]['seconds']:.2f} s; slowest round of three writes meanwhile "
           f"{max(writer.slowest for writer in writers) * 1000:.0f} ms")
    for number, made in enumerate(snapshots):
        fresh = t.cluster(1, shards=4, name=f"cut-{number}")
        finished = t.run("mayfly-snapshot", "restore", made["path"], "-s", fresh.endpoints())
        equal(finished.status, 0, f"exit status of\n{finished}\n")
        check_cut(fresh.node(1), range(8))
        equal(fresh.node(1).call("size"), made["keys"], "keys")
        equal(fresh.stop(), None, "trouble while stopping")


class Generations(threading.Thread):
    """Sets all keys of a shard at once to the number of the round, and then flushes them."""

    def __init__(self, node, keys):
        super().__init__(daemon=True)
        self.node = node
        self.keys = keys
        self.stopping = threading.Event()
        self.rounds = 0
        self.trouble = None

    def run(self):
        try:
            with self.node.connect(timeout=60) as connection:
                while not self.stopping.is_set():
                    value = str(self.rounds).ljust(100)
                    equal(connection.call("mset", [[key, value] for key in self.keys]),
                          len(self.keys), "keys set")
                    equal(connection.call("flush"), len(self.keys), "keys flushed")
                    self.rounds += 1
        except (RpcError, OSError, AssertionError) as error:
            self.trouble = error


@limit(240)
def test_a_snapshot_while_keys_are_flushed_is_a_cut(t):
    """It has all keys of one round or none, however often all of them go while it is made."""
    node = t.cluster(1, shards=1, mode="none").node(1)
    keys = [f"key:{i}" for i in range(5000)]
    writer = Generations(node, keys)
    writer.start()
    with_keys = across = 0
    while with_keys < 5 or across < 5:
        before = writer.rounds
        made = node.call("snapshot", "flushed.mfs", timeout=60)
        across += writer.rounds > before + 1
        finished = t.run("mayfly-snapshot", "export", made["path"], "-o", "json")
        equal(finished.status, 0, f"exit status of\n{finished}\n")
        records = [json.loads(line) for line in finished.stdout.splitlines()]
        equal(len(records), made["keys"], "keys of the file")
        true(writer.trouble is None, f"the writer: {writer.trouble}")
        with_keys += records != []
        if records:
            equal(sorted(record["key"] for record in records), sorted(keys), "keys of the cut")
            equal(len({record["value"] for record in records}), 1, "rounds in the cut")
    writer.stopping.set()
    writer.join(60)
    true(writer.trouble is None, f"the writer: {writer.trouble}")
    wait_for(lambda: node.call("size") == 0, 10, "an end")


def check_cut(node, numbers):
    for number in numbers:
        names = [b"{%d}%s" % (number, name) for name in (b"both1", b"both2", b"first", b"second")]
        values = read_all(node, names)
        both1, both2, first, second = (int(values[name]) for name in names)
        equal(both2, both1, f"pair {number}, written in one step")
        true(second <= first <= second + 1 and first <= both1 <= first + 1,
             f"pair {number}: {both1}, then {first}, then {second} is no moment of its history")


def made_at_intervals(folder):
    """Names of the snapshots that the node took by itself, oldest first."""
    return sorted(path.name for path in folder.glob("auto-1-*Z")) if folder.exists() else []


class Snapshots(threading.Thread):
    """Takes one snapshot after the other on a node until it is told to end; what each held."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self._node = node
        self.ended = threading.Event()
        self.keys = []
        self.refused = []
        self.fault = None
        self.start()

    def run(self):
        try:
            with self._node.connect(timeout=60) as connection:
                while not self.ended.is_set():
                    try:
                        self.keys.append(connection.call("snapshot", "again")["keys"])
                    except RpcError as error:
                        self.refused.append(error.code)
        except OSError as error:
            self.fault = error


@limit(180)
def test_a_shard_that_leaves_a_node_amid_a_snapshot_is_in_it_whole_or_not_at_all(t):
    count = 3000
    cluster = t.cluster(n=4, shards=1, mode="os", overrides={"cluster.replicas": 3})
    value = t.rng.randbytes(16 * 2**10)
    with cluster.node(1).connect(timeout=60) as connection:
        for at in range(0, count, 100):
            connection.call("mset", [[b"key:%d" % i, value] for i in range(at, at + 100)])
    shard = cluster.node(1).call("cluster")["shards"][0]
    leaver = cluster.node(next(n for n in shard["replicas"] if n != shard["leader"]))
    through = cluster.node(shard["leader"])
    snapshots = Snapshots(leaver)
    wait_for(lambda: snapshots.keys or snapshots.fault, 60, "a snapshot")
    cluster.remove(leaver, through, timeout=120)
    wait_for(lambda: snapshots.fault or 0 in snapshots.keys, 60, "a snapshot of nothing")
    snapshots.ended.set()
    snapshots.join(60)
    equal(snapshots.fault, None, "what became of the connection")
    equal(sorted(set(snapshots.keys)), [0, count], "keys in the snapshots")
    t.note(f"{snapshots.keys.count(count)} snapshots, {snapshots.refused} refused")


@limit(120)
def test_snapshots_at_intervals_replace_the_oldest(t):
    cluster = t.cluster(1, shards=4, overrides={"snapshot.interval_s": "1", "snapshot.keep": "2"})
    node = cluster.node(1)
    node.call("set", "key", "value")
    # One at a time: the node may be at one of its own.
    folder = wait_for(lambda: take(cluster, "mine"), 30, "a snapshot on demand").parent
    (folder / "auto-2-20200101T000000Z").write_bytes(b"of another node")
    ahead = folder / "auto-1-29990101T000000Z"
    ahead.write_bytes((folder / "mine").read_bytes())  # made when the clock was wrong
    other = folder / "auto-1-20200101T000000Z"
    other.write_bytes(b"no snapshot, whatever it is called")
    seen = set()
    def three():
        seen.update(made_at_intervals(folder))
        return len(seen - {ahead.name, other.name}) >= 3
    wait_for(three, 60, "three snapshots")
    seen -= {ahead.name, other.name}
    wait_for(lambda: sorted(seen)[0] not in made_at_intervals(folder), 30, "the oldest to go")
    wait_for(lambda: not ahead.exists(), 30, "the one of a time to come to go")
    true(other.exists(), "what is no snapshot is never removed")
    other.unlink()
    true(len(made_at_intervals(folder)) <= 3, "two snapshots, and one that has just been made")
    true((folder / "mine").exists(), "the snapshot on demand")
    true((folder / "auto-2-20200101T000000Z").exists(), "a file of another name")
    node.terminate()
    for name in made_at_intervals(folder) + ["mine"]:
        equal(t.run("mayfly-snapshot", "verify", str(folder / name)).status, 0, f"status of {name}")


@limit(120)
def test_the_interval_between_snapshots_counts_on_over_a_restart(t):
    cluster = t.cluster(1, shards=4, overrides={"snapshot.interval_s": "86400"})
    node = cluster.node(1)
    folder = node.data_dir / "snapshots"
    wait_for(lambda: len(made_at_intervals(folder)) == 1, 30, "the first, which is due at once")
    node.terminate()
    (folder / made_at_intervals(folder)[0]).rename(folder / "auto-1-20200101T000000Z")
    unfinished = folder / "auto-1-20200102T000000Z.tmp-77"
    unfinished.write_bytes(b"MFSNAP\r\nof which")
    begun = folder / "auto-1-20200103T000000Z.tmp-78"
    begun.write_bytes(b"")
    other = folder / "auto-1-20200104T000000Z.tmp-79"
    other.write_bytes(b"no part of a snapshot")
    node.restart()
    wait_for(lambda: len(made_at_intervals(folder)) == 2, 30, "the snapshot that is overdue")
    node.terminate()
    made = made_at_intervals(folder)
    true(other.exists(), "what is no snapshot is never removed")
    true(not unfinished.exists() and not begun.exists(), "what was never finished is gone")
    node.restart()
    node.call("set", "key", "value")
    # Had it begun anew, the one that was overdue would have been made again at once.
    wait_for(lambda: node.call("stats")["uptime_ms"] > 500, 30, "half a second")
    equal(made_at_intervals(folder), made, "the snapshots after a restart")


@limit(120)
def test_a_start_removes_what_a_killed_node_has_not_finished_and_nothing_else(t):
    if t.sanitized:
        t.note("left out: a sanitizer has to be preloaded first")
        return
    cluster = t.cluster(1, shards=2, start=False)
    disks = []
    cluster.start_with(lambda node: disks.append(Disk(t, node)))
    cluster.wait_settled()
    node = cluster.node(1)
    value = t.rng.randbytes(1 << 20)
    for n in range(40):
        node.call("set", b"key-%d" % n, value)
    folder = take(cluster, "whole").parent
    disks[-1].hangs("/snapshots/")
    with node.connect(timeout=60) as connection:
        connection.send("snapshot", "mine")
        [unfinished] = wait_for(lambda: [file for file in folder.glob("mine.tmp-*")
                                         if file.stat().st_size > 0], 30, "a snapshot to begin")
        node.kill9()
    disks[-1].is_well()
    content = unfinished.read_bytes()
    left = folder / "theirs.tmp-1"  # of a writer whose number a living process has
    left.write_bytes(content)
    written = folder / "held.tmp-999999"  # of a writer that lives, though none has that number
    written.write_bytes(content)
    others = {"notes.tmp-5": b"not a snapshot", "empty.tmp-5": b"", "mine.tmp-": content,
              "mine.tmp-5x": content, "named.tmp-5": (folder / "whole").read_bytes()}
    for name, text in others.items():
        (folder / name).write_bytes(text)
    (folder / "link.tmp-5").symlink_to(folder / "whole")
    with written.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        node.restart()
        wait_for(lambda: not unfinished.exists() and not left.exists(), 30, "them to be removed")
        node.call("snapshot_read", "whole", 0)  # by the same thread, so after it has looked
        true(written.exists(), "what a living process writes")
    equal({name: (folder / name).read_bytes() for name in others}, others, "the other files")
    true((folder / "link.tmp-5").is_symlink(), "the link")
    node.terminate()
    node.restart()
    wait_for(lambda: not written.exists(), 30, "what its writer has left now")
    equal(sorted(path.name for path in folder.iterdir()),
          sorted([*others, "link.tmp-5", "whole"]), "the folder")


@limit(120)
def test_of_the_files_in_the_folder_only_snapshots_are_read_replaced_and_removed(t):
    folder = t.dir / "shared"
    folder.mkdir()
    files = {"notes": b"not a snapshot", "empty": b"", "short": b"MFSNAP"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "link").symlink_to(folder / "notes")
    (folder / "folder").mkdir()
    cluster = t.cluster(1, overrides={"snapshot.dir": folder})
    node = cluster.node(1)
    for name in (*files, "link", "folder"):
        for call in (("snapshot", name), ("snapshot_read", name, 0), ("snapshot_remove", name)):
            try:
                node.call(*call, timeout=60)
                true(False, f"{call} was carried out")
            except RpcError as error:
                equal(error.code, "BAD_REQUEST", f"the code of {call}")
                contains(error.message, "no snapshot", f"what is said of {call}")
    equal({name: (folder / name).read_bytes() for name in files}, files, "the other files")
    true((folder / "link").is_symlink() and (folder / "folder").is_dir(), "link and folder")
    node.call("snapshot", "mine", timeout=60)
    node.call("snapshot", "mine", timeout=60)
    true(len(node.call("snapshot_read", "mine", 0)["data"]) > 0, "a snapshot is read")
    equal([node.call("snapshot_remove", "mine") for _ in range(2)], [True, False], "removals")


@limit(120)
def test_a_folder_for_snapshots_that_a_node_keeps_its_state_in_is_refused(t):
    cluster = t.cluster(1)
    node = cluster.node(1)
    node.call("set", "k", "v")
    equal(node.terminate(), 0, "exit status")
    data = node.data_dir
    (t.dir / "link").symlink_to(data)
    other = t.dir / "other"
    other.mkdir()
    (other / "node.meta").write_text("mayfly-node 2\n")
    fine = (data / "snapshots", data / "elsewhere", t.dir, t.dir / "not" / "there", data.parent)
    bad = (data, f"{data}/", f"{data}/./snapshots/..", f"{data}//", t.dir / "link", data / "wal",
           data / "checkpoints" / "deep" / "er", t.dir / "link" / "wal", other, other / "wal",
           os.path.relpath(data, t.dir))
    def check(folder):
        return t.run("mayflyd", "--config", node.config, f"--snapshot.dir={folder}",
                     "--check-config")
    for folder in fine:
        equal(check(folder).status, 0, f"exit status of {folder}")
    for folder in bad:
        finished = check(folder)
        one_line(finished, 2)
        contains(finished.stderr.decode(), "--snapshot.dir = ", "the key that is named")
        contains(finished.stderr.decode(), ": expected a", "what was expected")
    # Before the data folder is there, too.
    fresh = t.dir / "fresh"
    for folder, status in ((fresh, 2), (fresh / "wal", 2), (fresh / "s", 0)):
        finished = t.run("mayflyd", f"--node.data_dir={fresh}", f"--snapshot.dir={folder}",
                         "--check-config")
        equal(finished.status, status, f"exit status of {folder} before the first start")
    # And at a start.
    node.settings["snapshot.dir"] = data
    node.start()
    equal(node.wait_end(20), 2, "exit status of a start")
    contains(node.log_text(), "snapshot.dir", "what the start says")
