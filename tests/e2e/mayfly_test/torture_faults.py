"""What is done to a cluster, one kind a class: begin() does it, end() takes it back. Whom it meets and
how hard is drawn when it is made, so that a seed is a schedule; the node that leads most is found
when it begins.

An arena (torture.py) has the cluster, its network and what this machine allows.
"""

import os
import random
import shutil
import time

from . import disturbance
from .torture_work import Background
from .wait import wait_for

FAT = b"x" * 64_000
WRITERS_AT_ONCE = 3
TRANSFERS_AT_ONCE = 4


class Fault:
    """What the report has beside its row is in `told`."""

    kind = ""
    restarts = 0      # how many processes it ends: with half of them the wall clock matters
    ends_processes = False

    def __init__(self, rng, arena):
        self.arena = arena
        self.rng = random.Random(rng.random())  # for what it does on the way
        self.seconds = rng.uniform(1.0, 5.0)
        self.choice = rng.choice(["leader", *range(arena.n)])
        self.told = ""
        self.node = None

    @staticmethod
    def possible(_arena):
        """Whether this machine has what it takes."""
        return True

    def take_node(self, taken):
        """A node that no other fault has."""
        free = [node for node in self.arena.cluster.nodes if node not in taken]
        if self.choice == "leader" and len(free) == len(self.arena.cluster.running()):
            self.node = self.arena.cluster.busiest_leader()
        else:
            self.node = free[(0 if self.choice == "leader" else self.choice) % len(free)]
        self.told = f"node {self.node.id}"

    def begin(self, taken):
        raise NotImplementedError

    def end(self):
        raise NotImplementedError

    def after(self):
        """What is to be true, beside a cluster that is well, when it has recovered."""


class Kill(Fault):
    kind = "kill -9"
    restarts = 1
    ends_processes = True

    def begin(self, taken):
        self.take_node(taken)
        self.node.kill9()

    def end(self):
        self.node.restart()


class Pause(Fault):
    """Always longer than the lease."""

    kind = "SIGSTOP"

    def __init__(self, rng, arena):
        super().__init__(rng, arena)
        self.seconds = arena.lease * rng.uniform(1.2, 6.0)

    def begin(self, taken):
        self.take_node(taken)
        self.node.pause()

    def end(self):
        self.node.resume()


class Wipe(Kill):
    """The folder is gone, and the node started again with the same configuration: nothing else is to
    be done (docs/operations.md, When a node forgets)."""

    kind = "data folder wiped"

    def begin(self, taken):
        super().begin(taken)
        shutil.rmtree(self.node.data_dir)

    def after(self):
        self.arena.wait_votes(self.node)


class Crash(Fault):
    kind = "whole cluster crashes"
    ends_processes = True

    def __init__(self, rng, arena):
        super().__init__(rng, arena)
        self.restarts = arena.n
        self.seconds = rng.uniform(0.1, 3.0)
        self.order = rng.sample(range(arena.n), arena.n)

    def begin(self, taken):
        for i in self.order:
            self.arena.cluster.nodes[i].kill9()
        self.told = "all"

    def end(self):
        for node in self.arena.cluster.nodes:
            node.start()
        for node in self.arena.cluster.nodes:
            node.wait_ready()


class Isolation(Fault):
    """A cable pulled out, where nodes have one: clients lose the node, too."""

    kind = "node cut off"

    def begin(self, taken):
        self.take_node(taken)
        if self.arena.namespaces:
            self.arena.namespaces.pull_out(self.node.id)
        else:
            self.arena.network.cut(self.directions(), drop=False)

    def directions(self):
        others = [node.id for node in self.arena.cluster.nodes if node is not self.node]
        return ([(self.node.id, other) for other in others]
                + [(other, self.node.id) for other in others])

    def end(self):
        if self.arena.namespaces:
            self.arena.namespaces.plug_in(self.node.id)
        else:
            self.arena.network.mend(self.directions())


class OneWay(Fault):
    """Is heard and hears nothing, or the other way round."""

    kind = "one-way partition"

    def __init__(self, rng, arena):
        super().__init__(rng, arena)
        self.hears = rng.random() < 0.5
        self.drop = rng.random() < 0.5
        self.cut = []

    def begin(self, taken):
        self.take_node(taken)
        others = [node.id for node in self.arena.cluster.nodes if node is not self.node]
        self.cut = [(self.node.id, other) if self.hears else (other, self.node.id)
                    for other in others]
        self.arena.network.cut(self.cut, self.drop)
        self.told += " is not heard" if self.hears else " hears nobody"

    def end(self):
        self.arena.network.mend(self.cut)


class Bridge(OneWay):
    """Two sides that both hear one node, and not each other."""

    kind = "bridge partition"

    def begin(self, taken):
        self.take_node(taken)
        others = [node.id for node in self.arena.cluster.nodes if node is not self.node]
        left, right = others[::2], others[1::2]
        self.cut = [pair for one in left for other in right for pair in ((one, other), (other, one))]
        self.arena.network.cut(self.cut, self.drop)
        self.told = f"{left} | {self.node.id} | {right}"


class Messages(Fault):
    """Frames between nodes get lost, late, doubled and overtaken."""

    kind = "message faults"

    def __init__(self, rng, arena):
        super().__init__(rng, arena)
        self.disturbance = disturbance.drawn(self.rng)

    def begin(self, taken):
        self.arena.network.disturb(self.disturbance.fates)

    def end(self):
        self.arena.network.settle()
        self.told = f"{self.disturbance}: {self.disturbance.counts}"


class Packets(Fault):
    """What the kernel can do to packets: netem, or a bottleneck that drops what does not fit."""

    kind = "packet faults"

    @staticmethod
    def possible(arena):
        return arena.namespaces and arena.namespaces.shaping

    def begin(self, taken):
        self.take_node(taken)
        self.arena.namespaces.shape(self.node.id)
        self.told += f" by {self.arena.namespaces.shaping[0]}"

    def end(self):
        self.arena.namespaces.unshape(self.node.id)


class DiskFull(Fault):
    """A file that takes what is left, and clients who write until the log needs more."""

    kind = "disk full"

    @staticmethod
    def possible(arena):
        return arena.namespaces

    def __init__(self, rng, arena):
        super().__init__(rng, arena)
        self.seconds = rng.uniform(3.0, 6.0)
        self.filling = None
        self.writing = []
        self.lines = 0

    def begin(self, taken):
        self.take_node(taken)
        self.lines = self.node.log_text().count("so this node steps down")
        self.filling = Background(self._fill, 0.02)
        self.writing = [Background(self._write, 0.001) for _ in range(WRITERS_AT_ONCE)]

    def _fill(self):
        about = os.statvfs(self._ballast().parent)
        with open(self._ballast(), "ab") as file:
            if about.f_bavail:
                os.posix_fallocate(file.fileno(), file.tell(), about.f_bavail * about.f_frsize)

    def _write(self):
        with self.rng.choice(self.arena.cluster.nodes).connect(2.0) as connection:
            connection.pipeline([("set", f"fat:{i}", FAT) for i in range(20)])

    def _ballast(self):
        return self.node.data_dir.parent / "ballast"

    def end(self):
        self.filling.stop()
        for each in self.writing:
            each.stop()
        self._ballast().unlink()
        steps = self.node.log_text().count("so this node steps down") - self.lines
        self.told += ": it stepped down" if steps else ": its log had room"


class WallClock(Fault):
    """The wall clock of one node or of all jumps, and jumps back."""

    kind = "wall clock jumps"

    @staticmethod
    def possible(arena):
        return arena.clocks

    def __init__(self, rng, arena):
        super().__init__(rng, arena)
        self.all = rng.random() < 0.4
        self.jump = rng.choice([-1, 1]) * rng.choice([1.5, 60.0, 7200.0, 100 * 86400.0])

    def begin(self, taken):
        self.take_node(taken)
        nodes = self.arena.cluster.nodes if self.all else [self.node]
        self.told = f"{'all' if self.all else self.told} by {self.jump:+.1f} s"
        for node in nodes:
            self.arena.clocks[node.id].set_wall(self.jump)

    def end(self):
        for clock in self.arena.clocks.values():
            clock.set_wall(0.0)


class Transfers(Fault):
    """Leaders change as fast as they can be asked to."""

    kind = "storm of transfers"

    def begin(self, taken):
        self.storm = [Background(self._transfer, 0.001) for _ in range(TRANSFERS_AT_ONCE)]

    def _transfer(self):
        cluster = self.arena.cluster
        self.rng.choice(cluster.nodes).call("transfer", self.rng.randrange(cluster.shards),
                                            self.rng.choice(cluster.nodes).id, timeout=2.0)

    def end(self):
        for each in self.storm:
            each.stop()
        self.told = (f"{sum(each.done for each in self.storm)} done, "
                     f"{sum(each.refused for each in self.storm)} refused")


KINDS = [Kill, Pause, Wipe, Crash, Isolation, OneWay, Bridge, Messages, Packets, DiskFull, WallClock,
         Transfers]


def go_together(one, other):
    """Whether two faults at once leave what the promises need. A node whose disk is full does not
    start. While a folder is wiped nobody else may forget: nothing here does. Two that cut
    the network in the proxy would mend each other's cuts."""
    if type(one) is type(other) or (one.ends_processes and other.ends_processes):
        return False
    kinds = {one.kind, other.kind}
    if DiskFull.kind in kinds and (one.ends_processes or other.ends_processes):
        return False
    cuts = {Isolation.kind, OneWay.kind, Bridge.kind}
    if len(kinds & cuts) == 2:
        return False
    # All nodes are there again when a crash has ended, and no wall clock tells another time then.
    return not (Crash.kind in kinds and kinds & (cuts | {Pause.kind, WallClock.kind}))


def pass_time(seconds, going_on):
    """Until so much time has passed; going_on() is asked meanwhile."""
    until = time.monotonic() + seconds

    def over():
        going_on()
        return time.monotonic() >= until
    wait_for(over, seconds + 60, "time to pass")
