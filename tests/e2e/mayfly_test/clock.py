"""Clocks of a real node that a test sets: tests/power/clocks.c."""

import mmap
import struct


class Clock:
    """The node has the library preloaded from its next start on; not with a sanitizer."""

    def __init__(self, library, path, node):
        path.write_bytes(bytes(16))
        node.environment["LD_PRELOAD"] = str(library)
        node.environment["MF_CLOCK_OFFSETS"] = str(path)
        with open(path, "r+b") as file:
            self._page = mmap.mmap(file.fileno(), 16)

    def set_wall(self, seconds):
        """The wall clock is so far ahead."""
        self._page[:8] = struct.pack("=q", int(seconds * 1e6))

    def suspend(self, seconds):
        """So much time passes by those clocks that go on while a machine is suspended."""
        offsets = struct.unpack("=2q", self._page[:])
        self._page[:] = struct.pack("=2q", *(offset + int(seconds * 1e6) for offset in offsets))
