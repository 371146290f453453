"""The section on backups in docs/operations.md: its commands, run as they stand there."""

import os
import pathlib
import re
import subprocess
import time

from mayfly_test.check import contains, equal, true
from mayfly_test.context import limit

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "operations.md"
SECTION = re.compile(r"^## Backups$(.*?)^## ", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ASSIGNMENT = re.compile(r"^([A-Z_]+)=.*$", re.MULTILINE)
TIME = re.compile(r"\d{8}T\d{6}Z")


class Page:
    """Runs blocks with other values for what they assign, and knows which have been run."""

    def __init__(self, t):
        self.t = t
        [section] = SECTION.findall(PAGE.read_text(encoding="utf-8"))
        self.blocks = BLOCK.findall(section)
        self.left = set(self.blocks)
        self.values = {}

    def run(self, part, status=0, **values):
        """The block that has this text in it; its output."""
        [block] = [block for block in self.blocks if part in block]
        self.left.discard(block)
        values = {**self.values, **values}

        def value(match):
            true(match[1] in values, f"{match[1]} is assigned in a block with {part}")
            return f"{match[1]}={values[match[1]]}"
        script = "".join(f"{name}={text}\n" for name, text in values.items())
        script += ASSIGNMENT.sub(value, block)
        path = f"{self.t.bin('mayfly').parent}:{os.environ['PATH']}"
        finished = subprocess.run(["sh", "-c", script], cwd=self.t.dir, capture_output=True, text=True,
                                  timeout=60, env={**os.environ, "PATH": path}, check=False)
        equal(finished.returncode, status, f"exit status of\n{script}\n{finished.stderr}\n")
        return finished.stdout


def content_of(node, count):
    with node.connect() as connection:
        return [connection.call("get", f"key:{i}") for i in range(count)]


@limit(240)
def test_a_backup_is_made_looked_at_and_restored_by_the_commands_of_the_page(t):
    count = 200
    source = t.cluster(3, shards=8, name="source")
    for i in range(count):
        source.node(1).call("set", f"key:{i}", f"value {i}")
    values = content_of(source.node(1), count)
    page = Page(t)
    backups, away = t.dir / "backups", t.dir / "away"
    backups.mkdir()
    away.mkdir()
    for day in range(10, 20):
        (backups / f"mayfly-202001{day}T000000Z.mfs").write_bytes(b"old")
    page.values = {"NODES": source.endpoints(), "BACKUPS": backups, "AWAY": away}
    page.run("AWAY=/mnt")
    told = page.run("mayfly-snapshot dump -s")
    contains(told, "sound", "what the backup says")
    equal(len(list(backups.iterdir())), 7, "backups that are kept")
    [name] = [path.name for path in away.iterdir()]
    true((backups / name).read_bytes() == (away / name).read_bytes(), "the copy")
    [moment] = TIME.findall(name)

    told = page.run("inspect", FILE=away / name).splitlines()
    lines = told[-8:]
    applied = [source.applied(node) for node in source.nodes]  # any of them may have made it
    for shard, line in enumerate(lines):
        number, index, cut = line.split()
        equal(int(number), shard, "the shards, in order")
        true(0 < int(index) <= max(each[shard] for each in applied), f"the index in {line}")
        contains(cut, time.strftime("%Y-"), f"the time in {line}")
    true(any("LOG INDEX" in line for line in told), "the table for people")

    (away / "mayfly-20200101T000000Z.mfs").write_bytes(b"an older one")
    (away / "mayfly-29990101T000000Z.mfs").write_bytes(b"a later one")
    (away / "other").write_bytes(b"")
    equal(page.run("BEFORE=", BEFORE=moment).strip(), name, "the newest up to that moment")
    equal(page.run("BEFORE=", BEFORE="20200202T000000Z").strip(), "mayfly-20200101T000000Z.mfs",
          "the newest up to an earlier moment")

    # Another size: three nodes with five shards; and one with 32 that runs already.
    target = t.cluster(3, shards=5, name="target", start=False)

    def restore(node):
        node.write_config()
        page.run("--config \"$CONFIG\"", FILE=away / name, DATA_DIR=node.data_dir,
                 CONFIG=node.config)
    target.start_with(restore)
    target.wait_settled()
    equal(content_of(target.node(2), count), values, "the new cluster's content")
    running = t.cluster(1, shards=32, name="running")
    running.node(1).call("set", "another", "v")
    told = page.run("-s \"$NODES\"\nmayfly -s", FILE=away / name, NODES=running.endpoints())
    equal(told.split()[-1], str(count + 1), "the size that is printed")
    equal(content_of(running.node(1), count), values, "the running cluster's content")

    # All nodes are gone, and a folder is left.
    source.wait_equal()
    equal(source.stop(), None, "trouble while stopping")
    contains(page.run("--data-dir \"$DATA_DIR\" \"$BACKUPS", DATA_DIR=source.node(2).data_dir),
             f"{count} keys", "what was rescued")
    equal(page.left, set(), "blocks that were not run")
