"""Snapshot files as text: exported, read by other programs, and made of what they write."""

import base64
import csv
import io
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
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
    for line in text.splitlines():  # as bytes: text has ends of lines beside those of a file
        fields = json.loads(line)
        equal(len(fields), 3, f"members of {line!r:.100}")
        key = bytes_of(fields, "key")
        true(key not in entries, f"{key!r:.60} is there twice")
        entries[key] = (bytes_of(fields, "value"), fields["expire_at"])
    return entries


def read_csv(text):
    csv.field_size_limit(2**27)
    entries = {}
    for fields in csv.DictReader(io.StringIO(text.decode(), newline="")):
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
    """Returns when, in ms: from when and until when they were set."""
    began_ms = time.time() * 1000
    with node.connect(timeout=60) as connection:
        connection.set_all((key, value, {} if ttl is None else {"ttl": ttl})
                           for key, (value, ttl) in entries.items())
    return began_ms, time.time() * 1000


def check_entries(found, entries, when, what):
    """expire_at is the TTL from a moment of `when` on."""
    began_ms, ended_ms = when
    equal(len(found), len(entries), f"{what}: keys")
    for key, (value, ttl) in entries.items():
        equal(found[key][0], value, f"{what}: value of {key!r:.60}")
        if ttl is None:
            equal(found[key][1], None, f"{what}: expire_at of {key!r:.60}")
        else:
            between(began_ms + ttl - TTL_TOLERANCE_MS, found[key][1],
                    ended_ms + ttl + TTL_TOLERANCE_MS, f"{what}: expire_at of {key!r:.60}")


@limit(240)
def test_an_export_is_what_other_programs_read(t):
    cluster = t.cluster(1)
    node = cluster.node(1)
    entries = odd_entries(t.rng)
    began_ms, _ = put_entries(node, entries)
    node.call("set", "once", "v", {"id": "an id is no key", "ttl": HOUR_MS})
    when = began_ms, time.time() * 1000
    node.call("set", "dies before the export", "v", {"ttl": 500})
    path = node.call("snapshot", "snap.mfs", timeout=60)["path"]
    wait_for(lambda: node.call("get", "dies before the export") is None, 10, "the key to die")
    entries[b"once"] = (b"v", HOUR_MS)
    for output, read in (("json", read_json_lines), ("csv", read_csv)):
        finished = tool(t, "export", path, "-o", output)
        check_entries(read(finished.stdout), entries, when, output)
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


def summary(t, path):
    finished = tool(t, "inspect", path, "-o", "json")
    return json.loads(finished.stdout)


@limit(240)
def test_what_export_prints_is_imported_and_restored(t):
    cluster = t.cluster(1)
    node = cluster.node(1)
    entries = odd_entries(t.rng)
    when = put_entries(node, entries)
    path = node.call("snapshot", "snap.mfs", timeout=60)["path"]
    fresh = t.cluster(1, shards=5, name="fresh")
    for output, read in (("json", read_json_lines), ("csv", read_csv)):
        folder = t.dir / output
        folder.mkdir()
        text = tool(t, "export", path, "-o", output).stdout
        (folder / "in").write_bytes(text)
        told = tool(t, "import", folder / "in", folder / "out.mfs")
        contains(told.stdout.decode(), f"{len(entries)} keys", "what an import tells")
        nothing_left(folder, ["in", "out.mfs"])
        tool(t, "verify", folder / "out.mfs")
        equal(summary(t, folder / "out.mfs")["keys"], len(entries), "keys that inspect tells")
        again = tool(t, "export", folder / "out.mfs", "-o", output).stdout
        equal(sorted(again.splitlines()), sorted(text.splitlines()), "what comes back")
        tool(t, "import", "-", folder / "piped.mfs", "--format", output, stdin=text)
        equal(sorted(tool(t, "export", folder / "piped.mfs", "-o", output).stdout.splitlines()),
              sorted(text.splitlines()), "what comes through a pipe")
        tool(t, "restore", folder / "out.mfs", "-s", fresh.endpoints())
        restored = fresh.node(1).call("snapshot", "restored", timeout=60)["path"]
        check_entries(read(tool(t, "export", restored, "-o", output).stdout), entries, when,
                      f"restored from {output}")


def test_lines_that_are_not_right_are_named_and_leave_nothing(t):
    folder = t.dir / "work"
    folder.mkdir()
    good = b'{"key":"k","value":"v","expire_at":null}\n'
    cases = [(good * 2 + b'{"key":"k","value":"v","ttl":5}\n', "line 3"), (b"{\n", "line 1"),
             (good + b'{"key":"","value":"v"}', "line 2"), (b"\xff\xfe\x00", "line 1"),
             (b"key,value\nk\n", "line 2"), (b"what is this?\n", "line 1"),
             (b"REDIS0012\xff" + b"\0" * 8, "version 12"), (b"REDIS", "cut short"),
             (good[:20], "line 1")]
    for content, why in cases:
        (folder / "in").write_bytes(content)
        finished = tool(t, "import", folder / "in", folder / "out", status=1)
        contains(finished.stderr.decode(), why, f"what is said of {content!r:.60}")
        nothing_left(folder, ["in"])
    (folder / "in").write_bytes(good)
    tool(t, "import", folder / "in", "/dev/null", status=1)
    tool(t, "import", folder / "in", folder / "in", status=1)
    tool(t, "import", folder / "in", folder / "absent" / "out", status=1)
    tool(t, "import", folder / "absent", folder / "out", status=1)
    tool(t, "import", folder, folder / "out", status=1)
    nothing_left(folder, ["in"])
    (folder / "in").write_bytes(b"")
    tool(t, "import", folder / "in", folder / "empty.mfs")
    equal(summary(t, folder / "empty.mfs")["keys"], 0, "keys of nothing")
    (folder / "in").write_bytes(b"\xef\xbb\xbf" + good * 3)
    told = tool(t, "import", folder / "in", folder / "out")
    contains(told.stderr.decode(), "2 entries", "what is said of keys that repeat")
    equal(summary(t, folder / "out")["keys"], 1, "keys")
    for args in (["import", "a"], ["import"], ["import", "a", "b", "--format", "xml"],
                 ["import", "a", "b", "c"], ["import", "a", "b", "-o", "json"]):
        tool(t, *args, status=2)


def test_an_interrupted_import_leaves_nothing(t):
    folder = t.dir / "work"
    folder.mkdir()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Whoever runs the tests in the background may have had the shell ignore SIGINT.
        with subprocess.Popen([t.bin("mayfly-snapshot"), "import", "-", folder / "out.mfs"],
                              stdin=subprocess.PIPE,
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
                              ) as running:
            running.stdin.write(b'{"key":"k","value":"v"}\n')
            running.stdin.flush()
            wait_for(lambda: any(folder.iterdir()), 10, "the file to be begun")
            running.send_signal(number)
            equal(running.wait(10), -number, "how it ended")
            nothing_left(folder, [])


class Redis:
    """A redis-server, for a moment."""

    # In Debian's redis-tools, which starts no service, it is there under the name of a checker.
    program = shutil.which("redis-server") or shutil.which("redis-check-rdb")

    def __init__(self, t):
        self.folder = t.dir / "redis"
        self.folder.mkdir()
        self.socket_path = f"/tmp/mayfly-redis-{os.getpid()}.sock"
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.socket_path, "--dir", self.folder,
             "--save", "", "--daemonize", "no"], executable=self.program,
            stdout=subprocess.DEVNULL)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        # The socket is there a moment before it is listened on.
        wait_for(lambda: self.socket.connect(self.socket_path) is None, 20, "redis-server to start")
        self.stream = self.socket.makefile("rb")

    def call(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) +
                            b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))
        self.read_reply()

    def read_reply(self):
        line = self.stream.readline()
        true(line[:1] in (b"+", b":", b"$", b"*"), f"redis-server answers {line!r}")
        if line[:1] == b"$" and int(line[1:]) >= 0:
            self.stream.read(int(line[1:]) + 2)
        for _ in range(int(line[1:]) if line[:1] == b"*" else 0):
            self.read_reply()

    def save(self):
        self.call("SAVE")
        return self.folder / "dump.rdb"

    def stop(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)


def fill_redis(redis, entries, wall_ms):
    """Strings of every encoding with TTLs, and values of all other types. Returns the deadlines."""
    deadlines = {}
    for key, (value, ttl) in entries.items():
        redis.call("SET", key, value)
        if ttl is not None:
            deadlines[key] = int(wall_ms) + ttl
            redis.call("PEXPIREAT", key, deadlines[key])
    for number in (0, -1, 127, -128, 128, 32767, -32768, 2**31 - 1, -2**31, 2**31, 2**62):
        key = b"number:%d" % number
        entries[key] = (b"%d" % number, None)
        redis.call("SET", key, number)
    entries[b"packs well"] = (b"abc" * 100_000, None)
    redis.call("SET", "packs well", b"abc" * 100_000)
    for size in (3, 2000):
        many = [f"member {i}" for i in range(size)]
        redis.call("RPUSH", f"list of {size}", *many)
        redis.call("SADD", f"set of {size}", *many)
        redis.call("SADD", f"numbers of {size}", *range(size))
        redis.call("HSET", f"hash of {size}", *(word for name in many for word in (name, "v" * 20)))
        redis.call("ZADD", f"zset of {size}",
                   *(word for i, name in enumerate(many) for word in (i / 7, name)))
    redis.call("ZADD", "zset of infinities", "inf", "a", "-inf", "b")
    for i in range(300):
        redis.call("XADD", "stream", "*", "field", i)
    redis.call("XGROUP", "CREATE", "stream", "group", 0)
    redis.call("XREADGROUP", "GROUP", "group", "consumer", "COUNT", 1, "STREAMS", "stream", ">")
    redis.call("PEXPIREAT", "stream", int(wall_ms) + HOUR_MS)
    redis.call("SELECT", 5)
    redis.call("SET", "in another database", "v")
    entries[b"in another database"] = (b"v", None)
    redis.call("SELECT", 0)
    return deadlines


@limit(240)
def test_what_redis_saved_is_imported(t):
    if Redis.program is None:
        t.note("there is no redis-server (scripts/deps): nothing was tried")
        return
    redis = Redis(t)
    try:
        entries = odd_entries(t.rng)
        wall_ms = time.time() * 1000
        deadlines = fill_redis(redis, entries, wall_ms)
        for name, value in (("rdbcompression", "yes"), ("rdbcompression", "no"),
                            ("maxmemory-policy", "allkeys-lfu"),
                            ("maxmemory-policy", "allkeys-lru")):
            redis.call("CONFIG", "SET", name, value)
            path = redis.save()
            out = t.dir / "out.mfs"
            told = tool(t, "import", path, out)
            for what in ("2 of type list", "4 of type set", "3 of type zset", "2 of type hash",
                         "1 of type stream: stream", "2 databases"):
                contains(told.stderr.decode(), what, "what an import tells")
            tool(t, "verify", out)
            found = read_json_lines(tool(t, "export", out, "-o", "json").stdout)
            equal({key: value for key, (value, _) in found.items()},
                  {key: value for key, (value, _) in entries.items()}, f"with {name} {value}")
            equal({key: at for key, (_, at) in found.items() if at is not None}, deadlines,
                  "the times at which keys expire")
        good = path.read_bytes()
        bad = t.dir / "bad.rdb"
        for _ in range(20):
            offset = t.rng.randrange(len(good))
            damaged = bytearray(good)
            damaged[offset] ^= 1 << t.rng.randrange(8)
            cut = bytes(damaged if t.rng.random() < 0.5 else good[:offset])
            bad.write_bytes(cut)
            tool(t, "import", bad, t.dir / "bad.mfs", "--format", "rdb", status=1)
            true(not (t.dir / "bad.mfs").exists(), f"a file was made of one damaged at {offset}")
    finally:
        redis.stop()


def old_rdb(keys, cut_s):
    """A file that Redis could have written at cut_s: key -> seconds left then, or None."""
    content = b"REDIS0011\xfa\x05ctime\xc2" + struct.pack("<I", cut_s)
    for key, left_s in keys.items():
        if left_s is not None:
            content += b"\xfc" + struct.pack("<q", (cut_s + left_s) * 1000)
        content += b"\x00" + bytes([len(key)]) + key + b"\x01v"
    return content + b"\xff" + b"\0" * 8


@limit(240)
def test_deadlines_are_restored_as_told(t):
    # Two hours old: what had an hour left is over, what had three has one.
    cut_s = int(time.time()) - 7200
    keys = {b"none": None, b"one hour": 3600, b"three hours": 10_800, b"dead at the cut": -5}
    (t.dir / "old.rdb").write_bytes(old_rdb(keys, cut_s))
    tool(t, "import", t.dir / "old.rdb", t.dir / "old.mfs")
    expected = {  # seconds left; -1 none, -2 no key
        "absolute": (-1, -2, 3600), "remaining": (-1, 3600, 10_800), "none": (-1, -1, -1)}
    running = t.cluster(1, name="running")
    for word, left in [(None, expected["absolute"])] + list(expected.items()):
        ttl = [] if word is None else ["--ttl", word]
        running.node(1).call("flush")
        tool(t, "restore", t.dir / "old.mfs", "-s", running.endpoints(), *ttl)
        check_left(running.node(1), keys, left, f"a restore into a cluster, --ttl {word}")
        begun = t.cluster(3, shards=5, name=f"begun-{word}", start=False)
        begun.start_with(lambda node, ttl=ttl: restore_folder_with(t, node, ttl))
        begun.wait_settled()
        for node in begun.nodes:
            check_left(node, keys, left, f"a cluster begun with --ttl {word}")
        if word == "remaining":
            begun.kill()
            begun.restart()
            check_left(begun.node(1), keys, left, "the same after a restart")
        equal(begun.stop(), None, "trouble while stopping")
    tool(t, "restore", "a", "-s", "127.0.0.1:1", "--ttl", "keep", status=2)
    tool(t, "export", "a", "--ttl", "none", status=2)


def restore_folder_with(t, node, ttl):
    node.write_config()
    tool(t, "restore", t.dir / "old.mfs", "--data-dir", node.data_dir, "--config", node.config, *ttl)


def check_left(node, keys, left_s, what):
    wait_for(lambda: node.call("ttl", "dead at the cut") == -2, 10, f"{what}: a key to be dead")
    for key, seconds in zip(keys, left_s):
        found = node.call("ttl", key)
        if seconds < 0:
            wait_for(lambda key=key, seconds=seconds: node.call("ttl", key) == seconds, 10,
                     f"{what}: ttl of {key} to be {seconds}, it is {found}")
        else:
            between((seconds - 120) * 1000, found, seconds * 1000 + 1000, f"{what}: ttl of {key}")


def test_the_number_of_threads_changes_nothing_but_the_time(t):
    lines = b"".join(b'{"key":"%d","value":"%s"}\n' % (i, b"%d" % i * 20) for i in range(60_000))
    (t.dir / "in").write_bytes(lines)
    path = t.dir / "out.mfs"
    tool(t, "import", t.dir / "in", path)
    good = path.read_bytes()
    exported = {tool(t, "export", path, "--threads", n).stdout for n in (1, 2, 3, 16, 64)}
    equal(len(exported), 1, "different exports")
    inspected = {tool(t, "inspect", path, "-o", "json", "--threads", n).stdout for n in (1, 5)}
    equal(len(inspected), 1, "different answers of inspect")
    for _ in range(5):
        damaged = bytearray(good)
        for _ in range(3):
            damaged[t.rng.randrange(100, len(good) * 9 // 10)] ^= 1
        (t.dir / "bad.mfs").write_bytes(damaged)
        said = {tool(t, "verify", t.dir / "bad.mfs", "--threads", n, status=1).stderr
                for n in (1, 2, 8, 8, 8)}
        equal(len(said), 1, f"different damage named: {said}")
        for n in (1, 8):
            tool(t, "export", t.dir / "bad.mfs", t.dir / "text", "--threads", n, status=1)
        true(not (t.dir / "text").exists(), "a text was made of a damaged file")
    for args in (["verify", "a", "--threads", "0"], ["verify", "a", "--threads", "65"],
                 ["verify", "a", "--threads", "x"], ["verify", "a", "--threads", "99999999999"],
                 ["import", "a", "b", "--threads", "2"]):
        tool(t, *args, status=2)


def test_a_bar_is_shown_on_a_terminal_only(t):
    (t.dir / "in").write_bytes(b'{"key":"k","value":"v"}\n')
    terminal, theirs = os.openpty()
    with subprocess.Popen([t.bin("mayfly-snapshot"), "import", "-", t.dir / "out.mfs"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs) as running:
        os.close(theirs)
        seen = b""
        while b"importing" not in seen:
            running.stdin.write(b'{"key":"k","value":"v"}\n' * 10_000)
            if select.select([terminal], [], [], 0)[0]:
                seen += os.read(terminal, 4096)
        running.stdin.close()
        equal(running.wait(60), 0, "exit status")
    os.close(terminal)
    equal(tool(t, "import", t.dir / "in", t.dir / "out.mfs").stderr, b"", "stderr elsewhere")


def on_a_terminal(t, *args):
    """What is written to the terminal that stderr is."""
    terminal, theirs = os.openpty()
    with subprocess.Popen([t.bin("mayfly-snapshot"), *map(str, args)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=theirs) as running:
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(terminal, 4096):
                seen += piece
        except OSError:  # nobody holds the other end any more
            pass
        equal(running.wait(60), 0, f"exit status of {args}: {seen}")
    os.close(terminal)
    return seen


@limit(240)
def test_what_may_take_long_shows_on_a_terminal_how_far_it_is(t):
    node = t.cluster(1, shards=4).node(1)
    put_entries(node, {b"key:%d" % i: (b"v" * 100, None) for i in range(500)})
    path = node.call("snapshot", "snap.mfs", timeout=60)["path"]
    lines = t.dir / "lines"
    lines.write_bytes(tool(t, "export", path).stdout)
    address = "{}:{}".format(*node.rpc)
    config = t.dir / "new.ini"
    config.write_text("[cluster]\nshards = 3\n")
    cases = [(("verify", path), ["checking"]), (("inspect", path), ["reading"]),
             (("export", path, t.dir / "out"), ["exporting"]),
             (("import", lines, t.dir / "in.mfs"), ["importing", "looking for repeated keys"]),
             (("restore", path, "-s", address), ["checking", "restoring"]),
             (("dump", "-s", address, t.dir / "d.mfs"),
              [f"{address} writes its snapshot", "fetching", "putting together"]),
             (("restore", path, "--data-dir", t.dir / "new", "--config", config), ["restoring"])]

    def check(args, bars):
        seen = on_a_terminal(t, *args)
        for bar in bars:
            contains(seen, b"\r" + bar.encode(), f"the terminal of {args[0]}")
        true(seen.endswith(b"\r\x1b[K"), f"what stays on the terminal of {args[0]}: {seen}")
        equal(seen.count(b"\n"), 0, f"lines on the terminal of {args[0]}")
    for args, bars in cases:
        if args[0] != "restore" or "-s" in args:
            equal(tool(t, *args).stderr, b"", f"stderr of {args[0]} elsewhere")
        check(args, bars)
    node.kill9()
    args = ("dump", "--data-dir", node.data_dir, t.dir / "offline.mfs")
    equal(tool(t, *args).stderr, b"", "stderr of a dump elsewhere")
    check(args, ["writing"])


@limit(120)
def test_verify_tells_scripts_what_it_tells_people(t):
    node = t.cluster(1, shards=4).node(1)
    put_entries(node, {b"key:%d" % i: (b"v" * 100, None) for i in range(500)})
    path = node.call("snapshot", "snap.mfs", timeout=60)["path"]
    told = json.loads(tool(t, "verify", path, "-o", "json").stdout)
    inspected = summary(t, path)
    equal(told, {"file": path, "sound": True, **{name: inspected[name] for name in (
        "shards", "shard_count", "keys", "ids", "bytes", "identity")}}, "what verify tells")
    plain = dict(line.split("\t") for line in
                 tool(t, "verify", path, "-o", "plain").stdout.decode().splitlines())
    equal(plain, {name: "true" if value is True else str(value) for name, value in told.items()},
          "what verify tells line by line")
    equal(tool(t, "verify", path, "-o", "table").stdout, tool(t, "verify", path).stdout, "the table")
    bad = t.dir / "bad.mfs"
    content = bytearray(open(path, "rb").read())
    content[200] ^= 1
    bad.write_bytes(content)
    finished = tool(t, "verify", bad, "-o", "json", status=1)
    told = json.loads(finished.stdout)
    equal((told["sound"], told["blocks_whole"]), (False, 3), "of a damaged file")
    contains(finished.stderr.decode(), told["damage"], "the line for people")
    for args in (["verify", bad], ["verify", bad, "-o", "plain"], ["verify", bad, "-o", "table"]):
        equal(tool(t, *args, status=1).stdout, b"", f"stdout of {args[2:]} of a damaged file")
    told = json.loads(tool(t, "verify", t.dir / "absent", "-o", "json", status=1).stdout)
    equal((told["sound"], told["blocks_whole"]), (False, None), "of no file")
    tool(t, "verify", path, "-o", "csv", status=2)


@limit(60)
def test_what_was_meant_otherwise_is_said_so(t):
    node = t.cluster(1, shards=2).node(1)
    path = node.call("snapshot", "snap.mfs", timeout=60)["path"]
    file = t.dir / "file"
    file.write_bytes(b"[cluster]\n")
    cases = [(("import", path, t.dir / "out"), "a snapshot file already"),
             (("restore", path, "--data-dir", file, "--config", file), "file is no folder"),
             (("restore", path, "--data-dir", file, "--config", file, "--force-new-cluster"),
              "file is no folder"),
             (("dump", "--data-dir", file, t.dir / "out"), "file is no folder")]
    for args, text in cases:
        contains(tool(t, *args, status=1).stderr.decode(), text, f"what is said of {args[0]}")
    nothing_left(t.dir, ["cluster", "file"])
