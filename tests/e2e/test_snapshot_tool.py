"""Snapshot files as text: exported, read by other programs, and made of what they write."""

import base64
import csv
import json
import time

from mayfly_test.check import between, contains, equal, true
from mayfly_test.context import limit
from mayfly_test.wait import wait_for

HOUR_MS = 3_600_000
TTL_TOLERANCE_MS = 2000


def tool(t, *args, status=0, **options):
    finished = t.run("mayfly-snapshot", *args, **options)
    equal(finished.status, status, f"exit status of\n{finished}\n")
    if status != 0:
        equal(finished.stderr.count(b"\n"), 1, f"lines on stderr of\n{finished}\n")
    return finished


def nothing_left(folder, names):
    """Only these files are there: nothing half-made."""
    equal(sorted(path.name for path in folder.iterdir()), sorted(names), f"files in {folder}")


def bytes_of(fields, name):
    if name + "_base64" in fields and (fields[name + "_base64"] or not fields.get(name)):
        return base64.b64decode(fields[name + "_base64"], validate=True)
    return fields[name].encode()


def read_json_lines(text):
    """Key -> (value, expire_at)."""
    entries = {}
    for line in text.decode().splitlines():
        fields = json.loads(line)
        equal(len(fields), 3, f"members of {line!r:.100}")
        key = bytes_of(fields, "key")
        true(key not in entries, f"{key!r:.60} is there twice")
        entries[key] = (bytes_of(fields, "value"), fields["expire_at"])
    return entries


def read_csv(text):
    csv.field_size_limit(2**27)
    entries = {}
    for fields in csv.DictReader(text.decode().splitlines(keepends=True)):
        expire_at = fields["expire_at"]
        entries[bytes_of(fields, "key")] = (bytes_of(fields, "value"),
                                            int(expire_at) if expire_at else None)
    return entries


def odd_entries(rng):
    """Key -> (value, TTL or None): every kind of bytes."""
    entries = {b"empty": (b"", None), b"\x00\xff": (b"\r\n\x00", HOUR_MS),
               "\u00e4,\"\\".encode(): ("\u20ac\U0001f600".encode(), None),
               b" blanks ": (b"a,b\"c\"", HOUR_MS), b"lines\n": (b"1\n2\r\n3", None),
               b"large": (rng.randbytes(2**20), None), b"k" * 60_000: (b"long", 2 * HOUR_MS),
               b"controls": (bytes(range(32)) + b"\x7f", None), b"quote": (b"\"", None)}
    for i in range(2000):
        ttl = HOUR_MS + i if i % 3 == 0 else None
        entries[b"key:%d" % i] = (rng.randbytes(rng.randrange(0, 40)), ttl)
    return entries


def put_entries(node, entries):
    with node.connect(timeout=60) as connection:
        for key, (value, ttl) in entries.items():
            connection.send("set", key, value, {} if ttl is None else {"ttl": ttl})
        for _ in entries:
            _, error, _ = connection.receive()
            true(error is None, f"{error}")


def check_entries(found, entries, wall_ms, what):
    """expire_at is the TTL from wall_ms on."""
    equal(len(found), len(entries), f"{what}: keys")
    for key, (value, ttl) in entries.items():
        equal(found[key][0], value, f"{what}: value of {key!r:.60}")
        if ttl is None:
            equal(found[key][1], None, f"{what}: expire_at of {key!r:.60}")
        else:
            between(wall_ms + ttl - TTL_TOLERANCE_MS, found[key][1],
                    wall_ms + ttl + TTL_TOLERANCE_MS, f"{what}: expire_at of {key!r:.60}")


@limit(240)
def test_an_export_is_what_other_programs_read(t):
    cluster = t.cluster(1)
    node = cluster.node(1)
    entries = odd_entries(t.rng)
    put_entries(node, entries)
    wall_ms = time.time() * 1000
    node.call("set", "once", "v", {"id": "an id is no key", "ttl": 60_000})
    node.call("set", "dies before the export", "v", {"ttl": 500})
    path = node.call("snapshot", "snap.mfs", timeout=60)["path"]
    wait_for(lambda: node.call("get", "dies before the export") is None, 10, "the key to die")
    entries[b"once"] = (b"v", 60_000)
    for output, read in (("json", read_json_lines), ("csv", read_csv)):
        finished = tool(t, "export", path, "-o", output)
        check_entries(read(finished.stdout), entries, wall_ms, output)
        out = t.dir / output / f"out.{output}"
        out.parent.mkdir()
        told = tool(t, "export", path, "-o", output, out)
        contains(told.stdout.decode(), f"{len(entries)} keys", "what an export tells")
        equal(out.read_bytes(), finished.stdout, "the file and standard output")
        nothing_left(out.parent, [out.name])
        tool(t, "export", "-o", output, path, "/dev/full", status=1)
        tool(t, "export", path, "-o", output, t.dir / "absent" / "out", status=1)


def test_of_a_damaged_file_no_export_is_left(t):
    cluster = t.cluster(1)
    put_entries(cluster.node(1), odd_entries(t.rng))
    good = bytearray(open(cluster.node(1).call("snapshot", "s", timeout=60)["path"], "rb").read())
    folder = t.dir / "work"
    folder.mkdir()
    (folder / "out").write_bytes(b"before")
    for _ in range(10):
        offset = t.rng.randrange(len(good))
        damaged = bytearray(good)
        damaged[offset] ^= 1 << t.rng.randrange(8)
        (folder / "bad.mfs").write_bytes(damaged)
        tool(t, "export", folder / "bad.mfs", "-o", "json", folder / "out", status=1)
        nothing_left(folder, ["bad.mfs", "out"])
        equal((folder / "out").read_bytes(), b"before", "the file that was there")


def test_usage_errors_of_export_are_one_line(t):
    for args in (["export"], ["export", "a", "-o", "table"], ["export", "a", "-o", "xml"],
                 ["export", "a", "b", "c"], ["export", "a", "-s", "127.0.0.1:1"],
                 ["inspect", "a", "-o", "csv"], ["export", "a", ""]):
        tool(t, *args, status=2)
