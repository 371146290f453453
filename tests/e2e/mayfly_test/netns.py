"""A network namespace for each node, behind one bridge, and disks of their own that can be full.

The process that makes them is to run in a mount and a network namespace of its own (isolate()), so
that the kernel takes all of it away when the last process in it has ended, however that comes.
"""

import os
import shutil
import subprocess
import sys

INSIDE = "MAYFLY_TEST_NAMESPACE"
NET = "10.77.0"
BRIDGE = f"{NET}.254"  # where this process is, and everybody reaches it
DISK = "320m"  # a log of small shards takes up to 12 segments of 16 MiB (docs/operations.md)

# What the faults need; a machine that refuses one of these is one without namespaces.
PROBE = """set -e
mount -t tmpfs none /mnt
mkdir -p /run/netns && mount -t tmpfs none /run/netns
ip netns add probe
ip link add probe type bridge
ip link add probe0 type veth peer name eth0 netns probe
ip link set probe0 master probe
nsenter --net=/run/netns/probe true
"""


def isolate():
    """Starts this program again in namespaces of its own, where that is allowed: then it does not
    return. Else returns why not. In them, returns None."""
    if INSIDE in os.environ:
        return None
    missing = [tool for tool in ("unshare", "nsenter", "ip", "mount") if not shutil.which(tool)]
    if missing:
        return f"{', '.join(missing)} missing"
    for flags in ([], ["--user", "--map-root-user"]):
        unshare = ["unshare", "--mount", "--net", *flags, "--"]
        tried = subprocess.run([*unshare, "sh", "-c", PROBE], capture_output=True, text=True,
                               check=False)
        if tried.returncode == 0:
            os.environ[INSIDE] = "1"
            os.execvp("unshare", [*unshare, sys.executable, *sys.argv])
    return (tried.stderr.strip().splitlines() or ["unshare failed"])[-1]


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")


def works(*words):
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


class Namespaces:
    """Namespaces 1 to n; the node of that number runs in it."""

    def __init__(self, n):
        run("ip", "link", "set", "lo", "up")
        os.makedirs("/run/netns", exist_ok=True)
        run("mount", "-t", "tmpfs", "none", "/run/netns")
        run("ip", "link", "add", "bridge", "type", "bridge")
        run("ip", "addr", "add", f"{BRIDGE}/24", "dev", "bridge")
        run("ip", "link", "set", "bridge", "up")
        for i in range(1, n + 1):
            self._add(i)
        self.shaping = self._shaping()

    @staticmethod
    def _add(i):
        run("ip", "netns", "add", f"node{i}")
        run("ip", "link", "add", f"node{i}", "type", "veth", "peer", "name", "eth0", "netns",
            f"node{i}")
        run("ip", "link", "set", f"node{i}", "master", "bridge", "up")
        run("ip", "-n", f"node{i}", "addr", "add", f"{NET}.{i}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run("ip", "-n", f"node{i}", "link", "set", device, "up")

    def _shaping(self):
        """The queueing discipline that this kernel has for bad packets, or None."""
        for words in (["netem", "loss", "5%", "delay", "20ms", "15ms", "duplicate", "2%",
                       "reorder", "10%"],
                      ["tbf", "rate", "1mbit", "burst", "4kb", "limit", "8kb"]):
            if works("tc", "qdisc", "add", "dev", "node1", "root", *words):
                run("tc", "qdisc", "del", "dev", "node1", "root")
                return words
        return None

    @staticmethod
    def address(i):
        return f"{NET}.{i}"

    @staticmethod
    def launcher(i):
        return ["nsenter", f"--net=/run/netns/node{i}", "--"]

    @staticmethod
    def pull_out(i):
        """The node's cable: nobody tells anybody."""
        run("ip", "link", "set", f"node{i}", "down")

    @staticmethod
    def plug_in(i):
        run("ip", "link", "set", f"node{i}", "up")

    def shape(self, i):
        """Packets to the node, and from it, get lost and late."""
        run("tc", "qdisc", "add", "dev", f"node{i}", "root", *self.shaping)
        run("tc", "-n", f"node{i}", "qdisc", "add", "dev", "eth0", "root", *self.shaping)

    @staticmethod
    def unshape(i):
        run("tc", "qdisc", "del", "dev", f"node{i}", "root")
        run("tc", "-n", f"node{i}", "qdisc", "del", "dev", "eth0", "root")


def mount_disk(folder):
    """A small disk."""
    folder.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", folder)
