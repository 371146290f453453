"""A node's disk, and what goes wrong with it, by tests/power/full_disk.c."""


class Disk:
    """What a node's disk does; to be made before the node starts."""

    def __init__(self, t, node):
        self.trouble = node.folder / f"trouble-{node.id}"
        node.environment = {"LD_PRELOAD": str(t.bin("").parent / "tests" / "libfull_disk.so"),
                            "MF_DISK_FOLDER": str(node.data_dir),
                            "MF_DISK_TROUBLE": str(self.trouble)}

    def fails(self, error):
        self.trouble.write_text(error)

    def hangs(self, word):
        """For files with this word in their path, from the second write on."""
        self.fails("HANG " + word)

    def has(self, bytes_):
        """So much room, for all that the node keeps."""
        self.fails(f"ROOM {bytes_}")

    def is_well(self):
        self.trouble.unlink()
