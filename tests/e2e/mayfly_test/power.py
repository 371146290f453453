"""A loss of power for real nodes: what they have written and not synced goes, wholly or in parts.

Nodes run with tests/power/power_loss.c preloaded, which notes how files and names were before each
change, and forgets that when they are synced. Once a node is killed, `Power.cut` takes its changes
back: of the names all but some of the first ones, as a journal would have kept them; of the data
each sector of 512 bytes by itself, so that writes are torn and out of order.
"""

import os
import pathlib
import shutil
import struct

SECTOR = 512
HEAD = struct.Struct("=QQQ")


class Power:
    def __init__(self, t):
        self.library = t.bin("").parent / "tests" / "libpower_loss.so"
        self.rng = t.rng
        self.lost_sectors = 0
        self.kept_sectors = 0
        self.lost_names = 0

    def plug_in(self, node):
        """The node runs on this power from its next start on."""
        self.aside(node).mkdir(parents=True, exist_ok=True)
        node.environment = {"LD_PRELOAD": str(self.library),
                            "MF_POWER_FOLDER": str(node.data_dir),
                            "MF_POWER_ASIDE": str(self.aside(node))}

    @staticmethod
    def aside(node):
        return pathlib.Path(f"{node.data_dir}-aside")

    def cut(self, nodes):
        """The nodes have been killed: leaves of their files what a loss of power would."""
        all_goes = self.rng.random() < 0.5
        for node in nodes:
            self._cut_one(node, 0.0 if all_goes else self.rng.choice([0.0, 0.5, 0.9]), all_goes)

    def _cut_one(self, node, keep, all_goes):
        aside = self.aside(node)
        self._undo_names(aside, all_goes)
        for path in pathlib.Path(node.data_dir).rglob("*"):
            notes = aside / f"{path.stat().st_ino}.data"
            if path.is_file() and notes.exists():
                self._undo_data(path, notes.read_bytes(), keep)
        shutil.rmtree(aside)
        aside.mkdir()

    def _undo_names(self, aside, all_goes):
        journal = aside / "names"
        text = journal.read_text() if journal.exists() else ""
        lines = text[:text.rfind("\n") + 1].splitlines()
        kept = 0 if all_goes else self.rng.randrange(len(lines) + 1)
        for line in reversed(lines[kept:]):
            what, *paths = line.split("\t")
            self.lost_names += 1
            if what == "create" and os.path.exists(paths[0]):
                os.unlink(paths[0])
            elif what == "mkdir" and os.path.exists(paths[0]):
                shutil.rmtree(paths[0])
            elif what == "unlink" and not os.path.exists(paths[0]):
                os.link(paths[1], paths[0])
            elif what == "rename" and not os.path.exists(paths[0]):
                os.rename(paths[1], paths[0])
                if paths[2] != "-":
                    os.link(paths[2], paths[1])

    def _undo_data(self, path, notes, keep):
        seen = path.read_bytes()
        synced = bytearray(seen)
        for offset, old, size in reversed(list(parse(notes))):
            synced[offset:offset + len(old)] = old
            del synced[size:]
            synced.extend(bytes(size - len(synced)))
        length = len(seen) if self.rng.random() < keep else len(synced)
        left = synced[:length] + bytes(max(0, length - len(synced)))
        for at in range(0, length, SECTOR):
            new = seen[at:min(at + SECTOR, length)]
            if left[at:at + SECTOR] == new:
                continue
            if self.rng.random() < keep:
                left[at:at + len(new)] = new
                self.kept_sectors += 1
            else:
                self.lost_sectors += 1
        path.write_bytes(left)


def parse(notes):
    """Yields offset, the bytes that were there and the file's size then, of each whole note."""
    at = 0
    while at + HEAD.size <= len(notes):
        offset, length, size = HEAD.unpack_from(notes, at)
        at += HEAD.size
        there = max(0, min(length, size - offset))
        if at + there > len(notes):
            return
        yield offset, notes[at:at + there], size
        at += there
