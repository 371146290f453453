"""The log as docs/wal-format.md describes it: examples/read_wal.py beside the programs."""

import json
import pathlib
import re
import shutil
import sys

from mayfly_test import process
from mayfly_test.check import contains, equal, true
from mayfly_test.client import parse_address
from mayfly_test.context import limit
from mayfly_test.resp import Resp
from mayfly_test.wait import wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
READER = ROOT / "examples" / "read_wal.py"
PAGE = ROOT / "docs" / "wal-format.md"


def read_by_example(folder, status=0):
    """The batches (file, number, records) and the files (name, end, bytes, batches)."""
    finished = process.run([sys.executable, READER, folder])
    equal(finished.status, status, f"exit status of\n{finished}\n")
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    return [line for line in lines if len(line) == 3], [line for line in lines if len(line) == 4]


ROW = re.compile(r"^\| (\d+) \| (\w+)[^|]*\| ([a-z, ]*?) \| ([a-z, ]*?) ?\|$", re.MULTILINE)


def rows_of_page():
    """op -> (name, items, fields), by the table of the page."""
    return {int(op): (name, items, fields)
            for op, name, items, fields in ROW.findall(PAGE.read_text(encoding="utf-8"))}


class Bytes:
    def __init__(self, content):
        self.content, self.at = content, 0

    def take(self, count):
        true(self.at + count <= len(self.content), "there is as much as the page says")
        self.at += count
        return self.content[self.at - count:self.at]

    def number(self, count):
        return int.from_bytes(self.take(count), "little")

    def blob(self):
        return self.take(self.number(4))


def commands_of(payload, rows):
    """(name, keys) of each command, read as the page says."""
    entry = Bytes(payload.encode("latin-1"))
    if not entry.content:
        return []
    equal(entry.number(1), 1, "what an entry begins with")
    entry.number(8)
    commands = []
    while entry.at < len(entry.content):
        command = Bytes(entry.blob())
        name, items, fields = rows[command.number(1)]
        flags, expiry = command.number(2), command.number(1)
        command.take(command.number(1))
        command.take(8 * (expiry != 0) + 8 * ((flags & 128) != 0) + 4 * ("limit" in fields) +
                     8 * ("number" in fields))
        number = {"none": 0, "one": 1, "two": 2}.get(items.split(",")[0])
        count = command.number(4) if number is None else number
        keys = []
        for _ in range(count):
            keys.append(command.blob())
            if "with value" in items:
                command.blob()
        if "body" in fields or (flags & (8192 | 16384)) != 0:
            command.blob()
        equal(command.at, len(command.content), f"the length of a {name}")
        commands.append((name, keys))
    return commands


def told_by_node(node):
    """Records, files and a torn tail, as the node's last start found them."""
    def found():  # the line is written by another thread than the one that says that it is ready
        return re.search(
            r"write-ahead log: (\d+) records in (\d+) files, ([0-9.]+) MB, read in (.*)\n",
            node.log_text().rpartition("=== start")[2])
    records, files, megabytes, rest = wait_for(found, 10, "what it logs of its start").groups()
    return int(records), int(files), megabytes, "unfinished" in rest


def one_of_each(node):
    """Every command that a client may write, with options that have bytes of their own."""
    node.call("mset", [["{t}a", "1"], ["{t}b", "2"]], {"ttl": 100_000, "id": "an id"})
    node.call("set", "{t}a", "3", {"if_version": 0})
    node.call("incr", "{t}b", 5, {"ttl": 1000})
    node.call("append", "{t}b", "7", {"id": "another"})
    node.call("expire", "{t}b", 5000, {"gt": True})
    node.call("persist", "{t}b")
    node.call("getex", "{t}b", {"ttl": 100_000})
    node.call("getex", "{t}b", {"persist": True})
    node.call("txn", {"if": [["{t}a", "exists", "=", True]], "then": [["set", "{t}c", "v"]],
                      "else": [["del", ["{t}b"]]]})
    node.call("getdel", "{t}a")
    node.call("del", ["{t}b", "{t}c"], {"id": "third"})
    # What only the Redis protocol has.
    with Resp(parse_address(node.ready["resp"])) as client:
        for words in (["SETRANGE", "{t}e", "2", "x"], ["INCRBYFLOAT", "{t}f", "0.5"],
                      ["COPY", "{t}e", "{t}g"], ["RENAME", "{t}g", "{t}h"],
                      ["MSETNX", "{t}i", "1", "{t}j", "2"], ["SETBIT", "{t}i", "9", "1"],
                      ["SET", "{t}j", "3", "IFEQ", "2"], ["DELIFEQ", "{t}j", "2"]):
            true(not client.call(*words).startswith(b"-"), f"{words} is carried out")
    node.call("set", "{t}d", "dies", {"ttl": 1})
    wait_for(lambda: node.call("has", ["{t}d"]) == [False], 10, "the key to die")
    node.call("flush")


@limit(240)
def test_a_reader_made_from_the_page_alone_reads_what_nodes_write(t):
    cluster = t.cluster(1, shards=5,
                        overrides={"node.threads": 2, "listen.resp": "127.0.0.1:0"})
    node = cluster.node(1)
    written = [f"key:{i}" for i in range(500)]
    for key in written:
        node.call("set", key, "a value", {"ttl": 3_600_000})
    folder = node.data_dir / "wal"
    # Until files have been filled, and made again of those that checkpoints let go.
    flags = set()
    def recycled():
        for i in range(8):
            node.call("set", f"large:{i}", bytes([len(flags)]) * (1 << 20), timeout=60)
        flags.update(path.read_bytes()[56] for path in folder.glob("*.wal"))
        return flags == {0, 1}
    wait_for(recycled, 120, "a file that was recycled")
    for i in range(300):
        node.call("set", f"late:{i}", "at the end")
    one_of_each(node)
    node.kill9()

    batches, files = read_by_example(folder)
    ends = {name: (end, count) for name, end, _, count in files}
    equal(sorted(ends), sorted(path.name for path in folder.glob("*.wal")), "the files")
    true({end for end, _ in ends.values()} <= {"clean", "torn"}, f"how files end: {ends}")
    for name, (_, count) in ends.items():
        equal([number for file, number, _ in batches if file == name], list(range(1, count + 1)),
              f"the batches of {name}")
    records = [record for _, _, part in batches for record in part]
    payloads = [record[5] for record in records if record[0] == "accept"]
    rows = rows_of_page()
    commands = [command for payload in payloads for command in commands_of(payload, rows)]
    for i in range(300):
        true(("set", [b"late:%d" % i]) in commands, f"the set of late:{i}")
    # A roster is written when nodes come and go, an evict at a limit of memory, and the seed at
    # the beginning, which may be cut off.
    rare = {"roster", "evict", "seed"}
    equal({name for name, _ in commands} - rare, {name for name, _, _ in rows.values()} - rare,
          "commands in the log")
    true({record[1] for record in records} == set(range(5)), "groups")
    true({record[0] for record in records} == {"promise", "accept", "mark"}, "kinds")

    node.restart()
    wholly = sum(length for _, _, length, _ in files)
    equal(told_by_node(node), (len(records), len(files), f"{wholly / 1e6:.1f}",
                               any(end == "torn" for end, _ in ends.values())),
          "what the node found in the same files")


@limit(600)
def test_the_reader_and_the_programs_judge_damage_alike(t):
    cluster = t.cluster(1, shards=3, overrides={"node.threads": 1})
    node = cluster.node(1)
    for round_ in range(3):  # each start begins a file
        for i in range(40):
            node.call("set", f"key:{round_}:{i}", "v" * t.rng.randrange(2000))
        node.kill9()
        if round_ < 2:
            node.restart()
    folder = t.dir / "flipped"
    shutil.copytree(node.data_dir, folder)
    _, told = read_by_example(folder / "wal")
    used = {name: length for name, _, length, _ in told}
    files = {}
    for path in sorted(folder.glob("wal/*.wal")):
        # A file may end anywhere behind its batches; there is less to read over and over.
        files[path] = path.read_bytes()[:used[path.name] + 8192]
        path.write_bytes(files[path])
    true(len(files) >= 3, f"files: {sorted(files)}")
    damaged = 0
    for _ in range(60 if t.quick else 300):
        path = t.rng.choice(list(files))
        content = bytearray(files[path])
        content[t.rng.choice((t.rng.randrange(80), t.rng.randrange(used[path.name])))] ^= (
            1 << t.rng.randrange(8))
        path.write_bytes(content)
        judged = t.run("mayfly-snapshot", "dump", "--data-dir", folder, t.dir / "out.mfs")
        _, told = read_by_example(folder / "wal", judged.status)
        bad = [name for name, end, _, _ in told if end.startswith("damaged")]
        equal(len(bad) > 0, judged.status == 1, f"the reader's verdict {told}, beside\n{judged}\n")
        if bad:
            contains(judged.stderr.decode(), bad[0], "the file that both name")
        damaged += len(bad) > 0
        path.write_bytes(files[path])
    true(damaged > 10, f"{damaged} of the flips were damage")
    # A file in the middle that is gone.
    first, second = list(files)[:2]
    second.unlink()
    read_by_example(folder / "wal", 1)
    equal(t.run("mayfly-snapshot", "dump", "--data-dir", folder, t.dir / "out.mfs").status, 1,
          "exit status without a file")
    second.write_bytes(files[second])
    # The last write, cut off in the middle.
    last = list(files)[-1]
    end = used[last.name]
    content = files[last]
    begin = content.rindex(b"MFBH", 0, end)
    # Up to a byte that zeros change: what a batch ends with is zeros already.
    cut = (begin + 40 + len(content[:end].rstrip(b"\0"))) // 2
    last.write_bytes(content[:cut] + bytes(len(content) - cut))
    _, told = read_by_example(folder / "wal")
    equal([told[-1][1], told[-1][2]], ["torn", begin], "a cut-off write")
    equal(t.run("mayfly-snapshot", "dump", "--data-dir", folder, t.dir / "out.mfs").status, 0,
          "exit status with a torn tail")
