#!/usr/bin/env python3
"""Prints a write-ahead log: read_wal.py DATA_DIR/wal. Of every batch its records, of every file how
it ends, a JSON array a line. Made from the page docs/wal-format.md alone. Exits with 1 if the log
is damaged. What is torn is no damage: it was never acknowledged."""
import ctypes, json, pathlib, struct, sys

xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
KINDS = {1: ("promise", 1), 2: ("accept", 3), 3: ("mark", 3), 4: ("accept members", 3)}

class File:
    def __init__(self, path):
        self.data, self.batches, self.at = path.read_bytes(), 0, 512
        self.link, self.end = None, "damaged header"
        if len(self.data) < 512 or self.data[:12] != b"MFWAL\r\n\x1a\3\0\0\0":
            return
        self.stream, self.number, self.seed = struct.unpack_from("<IQQ", self.data, 12)
        self.flags, = struct.unpack_from("<Q", self.data, 56)
        if (self.holds(0, 32) and self.holds(56, 8) and self.flags < 2 and not any(self.data[72:512])
                and path.name == f"{self.stream:04}-{self.number:08}.wal"):
            self.link = struct.unpack_from("<Q", self.data, 40)[0] if self.holds(40, 8) else None
            self.end = None

    def sum_of(self, start, end):
        return xxhash.XXH3_64bits_withSeed(self.data[start:end], ctypes.c_size_t(end - start),
                                           ctypes.c_uint64(self.seed))

    def holds(self, start, length):
        return self.sum_of(start, start + length) == struct.unpack_from("<Q", self.data,
                                                                        start + length)[0]

    def header(self, at):
        """(records, number, length, checksum) of a batch that was begun at `at`."""
        if self.data[at:at + 4] == b"MFBH" and at + 40 <= len(self.data) and self.holds(at, 32):
            return struct.unpack_from("<IQQQ", self.data, at + 4)

    def next_batch(self):
        """The records of the next whole batch, or None and how the file ends."""
        head = self.header(self.at)
        end = head and (self.at + 40 + head[2] + 511) // 512 * 512
        if head and head[1] == self.batches + 1 and end <= len(self.data) and (
                self.sum_of(self.at + 40, end) == head[3]):
            try:
                records = list(records_of(self.data[self.at + 40:self.at + 40 + head[2]], head[0]))
                self.at, self.batches = end, self.batches + 1
                return records
            except (AssertionError, IndexError, KeyError, struct.error):
                self.end = "damaged: records that cannot be read"
                return None
        later = any(found and found[1] > self.batches for found in
                    map(self.header, range(self.at + 512, len(self.data), 512)))
        rest = self.data[self.at:self.at + 512 if self.flags else None]
        other = head and head[1] != self.batches + 1
        self.end = "damaged" if later or other else "torn" if any(rest) else "clean"

def records_of(data, count):
    at = 0
    for _ in range(count):
        (name, numbers), (group,) = KINDS[data[at]], struct.unpack_from("<I", data, at + 1)
        fields, at = struct.unpack_from(f"<{numbers}Q", data, at + 5), at + 5 + 8 * numbers
        if "accept" in name:
            length, = struct.unpack_from("<I", data, at)
            fields, at = (*fields, data[at + 4:at + 4 + length].decode("latin-1")), at + 4 + length
        yield [name, group, *fields]
    assert at == len(data), "what follows the records"

fine, before = True, None
paths = pathlib.Path(sys.argv[1]).glob("*.wal")
for path in sorted(paths, key=lambda path: [int(part) for part in path.stem.split("-")]):
    file = File(path)
    while file.end is None:
        if (records := file.next_batch()) is not None:
            print(json.dumps([path.name, file.batches, records]))
    if file.link is None and file.batches > 1:
        file.end = "damaged: its link to the file before it is lost"
    elif file.end != "damaged header" and before is not None and before.stream == file.stream:
        used = file.batches > 0 or file.end != "clean"
        if file.number != before.number + 1:
            file.end = "damaged: the file before it is missing"
        elif file.link is None and used and before.end != "clean":
            file.end = "damaged: the file before it has lost its end"
        elif file.link is not None and file.link != before.batches:
            file.end = f"damaged: the file before it held {file.link} batches"
    before = file if file.end != "damaged header" else None
    fine = fine and not file.end.startswith("damaged")
    print(json.dumps([path.name, file.end, file.at, file.batches]))
sys.exit(0 if fine else 1)
