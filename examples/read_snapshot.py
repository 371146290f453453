#!/usr/bin/env python3
"""Prints a snapshot's records, a JSON array a line: read_snapshot.py FILE. Made from the page
docs/snapshot-format.md alone. Exits with 1 and the first damage, after the records before it."""
import ctypes, json, struct, sys

xxhash, lz4 = ctypes.CDLL("libxxhash.so.0"), ctypes.CDLL("liblz4.so.1")
xxhash.XXH3_64bits.restype = ctypes.c_uint64


def hash_of(part):
    return xxhash.XXH3_64bits(part, ctypes.c_size_t(len(part)))

def need(fine, what):
    if not fine:
        sys.exit(f"damaged: {what}")

def checked(data, start, length, what):
    """The bytes, once the checksum behind them is found right."""
    part, checksum = data[start:start + length], data[start + length:start + length + 8]
    need(struct.pack("<Q", hash_of(part)) == checksum, what)
    return part

def records_of(raw, count, what):
    at = 0
    for _ in range(count):
        version, deadline, size = struct.unpack_from("<QQI", raw, at)
        key, at = raw[at + 20:at + 20 + size], at + 24 + size
        size, = struct.unpack_from("<I", raw, at - 4)
        yield version, deadline, key.decode("latin-1"), raw[at:at + size].decode("latin-1")
        at += size
    need(at == len(raw), what)

def read(data):
    need(len(data) > 72 and data[:16] == b"MFSNAP\r\n" + struct.pack("<II", 1, 0), "header")
    header = checked(data, 0, 32 + struct.unpack_from("<I", data, 28)[0], "header")
    end, length, magic = struct.unpack("<QQ8s", checked(data, len(data) - 32, 24, "trailer"))
    need(magic == b"MFSNEND\n" and end + length == len(data) - 32, "trailer")
    footer = checked(data, end, length - 8, "footer")
    sections, blocks, checksum = struct.unpack_from("<4xIQQ", footer)
    need(footer[:4] == b"MFFT" and checksum == hash_of(header), "footer")
    index, at = 24 + 72 * sections, len(header) + 8
    cuts = {cut[0]: cut for cut in struct.iter_unpack("<II8Q", footer[24:index])}
    for entry, in struct.iter_unpack("48s", footer[index:index + 48 * blocks]):
        what = f"block at offset {at}"
        magic, kind, codec, shard, records, size, stored, offset, checksum = struct.unpack(
            "<4sBBxxIIIIQQ", checked(data, at, 40, what))
        content, raw = data[at + 48:at + 48 + stored], ctypes.create_string_buffer(size)
        need(magic == b"MFBK" and data[at:at + 48] == entry and offset == at, what)
        need(checksum == hash_of(content), what)
        need(codec == 0 or lz4.LZ4_decompress_safe(content, raw, stored, size) == size, what)
        to_wall = cuts[shard][8] - cuts[shard][3]  # the cut by both clocks
        for record in records_of(raw.raw if codec else content, records, what):
            version, deadline, key, value = record
            deadline = None if deadline == 2**64 - 1 else deadline + to_wall
            print(json.dumps([shard, ["key", "id"][kind - 1], version, deadline, key, value]))
        at += 48 + stored
    need(at == end, "what follows the blocks")


read(open(sys.argv[1], "rb").read())
