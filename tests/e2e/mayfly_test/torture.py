"""The torture: a cluster under every fault at once or one after the other, clients at work, and what
became of it, in a report. scripts/torture runs it; docs/testing.md says what it shows.

One seed gives the rounds, the faults in their order, whom they meet, and how long. When each message
leaves is the machine's: the same seed is the same torture, and not the same run.
"""

import random
import shutil
import time

from . import netns, torture_faults
from .client import RpcError
from .clock import Clock
from .cluster import Cluster
from .history import UNKNOWN, History
from .proxy import Network
from .torture_faults import go_together, pass_time
from .torture_judge import PATIENCE, Judgement
from .torture_work import Background, TortureWorkload
from .wait import wait_for

SHARDS = 8
ROUND_SECONDS = 60.0
TWO_AT_ONCE = 0.35
TOLD_MAX = 5


class Broken(AssertionError):
    """The round cannot go on."""


class Plan:
    """What the seed says of one round."""

    def __init__(self, seed, number, rounds):
        self.rng = random.Random(f"{seed}/{number}")
        self.number = number
        self.nodes = 5 if rounds > 1 and number % 3 == 1 else 3
        # After a crash of all, or of a majority, TTLs go on by the wall clock (docs/time.md), and by
        # no other time than the one that was jumped to: a round has one or the other.
        self.wall = self.rng.random() < 0.5
        self._bag = []

    def faults(self, arena):
        """One or two faults that can be at once."""
        first = self._draw(arena, lambda fault: True)
        if self.rng.random() >= TWO_AT_ONCE:
            return [first]
        second = self._draw(arena, lambda fault: go_together(first, fault))
        return [first] + ([second] if second else [])

    def _draw(self, arena, fits):
        if not any(fits(kind(random.Random(0), arena)) for kind in self._bag):
            self._bag += self.rng.sample(self._possible(arena), len(self._possible(arena)))
        for kind in self._bag:
            fault = kind(self.rng, arena)
            if fits(fault):
                self._bag.remove(kind)
                return fault
        return None

    def _possible(self, arena):
        excluded = torture_faults.Crash if self.wall else torture_faults.WallClock
        return [kind for kind in torture_faults.KINDS
                if kind is not excluded and kind.possible(arena)]


class Arena:
    """A cluster, the network between its nodes, and what this machine allows to do to them."""

    def __init__(self, build, folder, plan, namespaces, sanitized):
        self.folder = folder
        self.n = plan.nodes
        self.namespaces = namespaces
        self.clocks = {}
        self.network = Network(random.Random(plan.rng.random()),
                               netns.BRIDGE if namespaces else "127.0.0.1")
        self.lease = 3.0 if sanitized else 0.5
        self.request_timeout = 5.0 if sanitized else 1.0
        overrides = {"node.threads": 2, "limits.request_timeout": int(1000 * self.request_timeout),
                     "consensus.lease_ms": int(1000 * self.lease),
                     "listen.resp": "127.0.0.1:0"}
        self.cluster = Cluster(build / "bin" / "mayflyd", folder, plan.nodes, shards=SHARDS,
                               mode="fsync", overrides=overrides)
        self._clock_library = None if sanitized else build / "tests" / "libclocks.so"

    def start(self):
        self.network.__enter__()
        self.cluster.start_with(self._place)
        self.cluster.wait_settled(PATIENCE)

    def _place(self, node):
        if self.namespaces:
            address = self.namespaces.address(node.id)
            disk = node.folder / f"disk-{node.id}"
            netns.mount_disk(disk)
            node.data_dir = disk / "data"
            node.launcher = self.namespaces.launcher(node.id)
            node.settings.update({
                "node.data_dir": node.data_dir, "security.open": "yes", "listen.rpc": f"{address}:0",
                "listen.resp": f"{address}:0", "listen.peer": f"{address}:7100",
                "cluster.nodes": ", ".join(f"{i}={self.namespaces.address(i)}:7100"
                                           for i in range(1, self.n + 1))})
        self.network.between(node)
        if self._clock_library and self._clock_library.exists():
            self.clocks[node.id] = Clock(self._clock_library, node.folder / f"clocks-{node.id}", node)

    def wait_well(self):
        """Until all nodes agree on living leaders and have what was chosen by now."""
        cluster = self.cluster
        cluster.wait_settled(PATIENCE)
        goals = [cluster.applied(node) for node in cluster.nodes]
        goal = {shard: max(view[shard] for view in goals) for shard in range(SHARDS)}

        def there():
            cluster.fail_if_ended()
            return all(cluster.applied(node)[shard] >= index
                       for node in cluster.nodes for shard, index in goal.items())
        wait_for(there, PATIENCE, "all nodes to have what was chosen")

    def wait_votes(self, node):
        """Until a node has a vote in every shard, which only a voter can be asked to lead."""
        def leads(shard):
            try:
                return node.call("transfer", shard, node.id)
            except RpcError:
                return False
        for shard in range(SHARDS):
            wait_for(lambda s=shard: leads(s), PATIENCE,
                     f"node {node.id} to have a vote in shard {shard}")

    def keep_data(self):
        """The disks go with the namespaces: what is on them is kept beside them."""
        for node in self.cluster.nodes:
            if self.namespaces and node.data_dir.exists():
                shutil.copytree(node.data_dir, self.folder / f"kept-data-{node.id}",
                                dirs_exist_ok=True)

    def close(self):
        self.cluster.kill()
        self.network.__exit__()
        for node in self.cluster.nodes:
            if self.namespaces:
                netns.run("umount", "-l", node.data_dir.parent)


class Window:
    """One or two faults at once, and what clients had of it."""

    def __init__(self, faults):
        self.faults = faults
        self.began = self.mended = self.well = 0.0
        self.answers = 0
        self.silence = 0.0        # no client had any answer
        self.shard_silence = 0.0  # the shard that had none for longest

    def measure(self, answers_at):
        """answers_at: (time, shard) in about this order."""
        ours = sorted(each for each in answers_at if self.began <= each[0] <= self.well)
        self.answers = len(ours)
        self.silence = self._longest([at for at, _ in ours])
        self.shard_silence = max(self._longest([at for at, shard in ours if shard == each])
                                 for each in range(SHARDS))

    def _longest(self, times):
        times = [self.began, *times, self.well]
        return max(after - before for before, after in zip(times, times[1:]))

    @property
    def recovery(self):
        return self.well - self.mended

    def __str__(self):
        return " + ".join(f"{fault.kind} ({fault.told})" if fault.told else fault.kind
                          for fault in self.faults)


class Round:
    """A cluster from its beginning to its judgement."""

    def __init__(self, options, number, namespaces, seconds, say):
        self.options = options
        self.say = say
        self.seconds = seconds
        self.plan = Plan(options.seed, number, options.rounds)
        self.folder = options.folder / f"round-{number}"
        self.arena = Arena(options.build, self.folder, self.plan, namespaces, options.sanitized)
        self.judgement = Judgement(self.folder, options.build / "bin" / "mayfly-snapshot")
        self.windows = []
        self.counts = {}  # what was done and looked at -> how much of it
        self.workload = None
        self.snapshots = None
        self._names = 0

    def run(self):
        self.folder.mkdir(parents=True)
        self.say(f"round {self.plan.number}: {self.plan.nodes} nodes, "
                 f"{'wall clocks jump' if self.plan.wall else 'the whole cluster crashes'}")
        try:
            self.arena.start()
            self._torture()
            self._judge()
        except (AssertionError, OSError, RpcError) as error:
            self.judgement.broken.append(f"{type(error).__name__}: {error}")
        finally:
            if self.judgement.broken:
                self.arena.keep_data()
            self.arena.close()
        self._count()
        self._tell("BROKEN", self.judgement.broken)
        self._tell("undecided", self.judgement.undecided)
        return self

    def _tell(self, word, findings):
        for each in findings[:TOLD_MAX]:
            self.say(f"  {word}: {each}")
        if findings[TOLD_MAX:]:
            path = self.folder / f"{word.lower()}.txt"
            path.write_text("\n".join(findings), encoding="utf-8")
            self.say(f"  {word}: {len(findings) - TOLD_MAX} more, all in {path}")

    def _torture(self):
        histories = History(), History()
        self.workload = TortureWorkload(self.arena.cluster, histories,
                                        f"{self.options.seed}/{self.plan.number}",
                                        self.options.clients,
                                        2 * self.arena.request_timeout).start()
        self.snapshots = Background(self._snapshot, 1.0)
        end = time.monotonic() + self.seconds
        try:
            while not self.windows or time.monotonic() < end:
                pass_time(self.plan.rng.uniform(0.5, 2.0), self._look)
                self._window()
        finally:
            self.snapshots.stop()
            self.workload.stop(PATIENCE)

    def _snapshot(self):
        self._names += 1
        node = self.arena.cluster.nodes[self._names % self.arena.n]
        node.call("snapshot", f"torture-{self._names % 2}")

    def _look(self):
        self.arena.cluster.fail_if_ended()
        if self.workload.problems:
            raise Broken(f"clients were told what no server should say: "
                         f"{self.workload.problems[:3]}")

    def _window(self):
        window = Window(self.plan.faults(self.arena))
        seconds = max(fault.seconds for fault in window.faults)
        taken = []
        begun = []
        window.began = time.monotonic()
        try:
            for fault in window.faults:
                fault.begin(taken)
                begun.append(fault)
                taken.append(fault.node)
            pass_time(seconds, self._look)
        finally:
            for fault in reversed(begun):
                fault.end()
        window.mended = time.monotonic()
        self.arena.wait_well()
        for fault in window.faults:
            fault.after()
        window.well = time.monotonic()
        self.workload.new_keys()
        window.measure(list(self.workload.answers_at))
        self.workload.answers_at.clear()
        self.windows.append(window)
        self.say(f"  {window}: {window.answers} answers, "
                 f"{window.shard_silence:.2f} s without, well after {window.recovery:.2f} s")

    def _judge(self):
        self.arena.wait_well()
        self.judgement.all_of(self.arena.cluster, self.workload)
        trouble = self.arena.cluster.stop()
        if trouble:
            self.judgement.broken.append(trouble)

    def _count(self):
        """What is told of the round. Its histories, some 70 MB, go."""
        counts = self.counts = dict(self.judgement.counts)
        if self.workload:
            histories = [self.workload.history, self.workload.groups]
            counts["operations recorded"] = (sum(map(len, histories)) + len(self.workload.sights)
                                             + len(self.workload.acknowledged))
            counts["operations without an answer"] = sum(h.count(UNKNOWN) for h in histories)
        if self.snapshots:
            counts["snapshots written"] = self.snapshots.done
            counts["snapshots refused"] = self.snapshots.refused
        self.workload = self.snapshots = None


def report(rounds, elapsed):
    """The table by kind of fault, the totals, and the verdict, as lines."""
    rows = {}
    for window in (window for each in rounds for window in each.windows):
        for fault in window.faults:
            rows.setdefault(fault.kind, []).append(window)
    lines = [f"{'fault':22} {'times':>5} {'with':>4} {'answers':>8} {'no answer':>9} "
             f"{'of a shard':>10} {'well again':>17}",
             f"{'':22} {'':>5} {'2nd':>4} {'':>8} {'longest':>9} {'longest':>10} "
             f"{'median':>8} {'longest':>8}"]
    for kind, windows in sorted(rows.items()):
        recoveries = sorted(window.recovery for window in windows)
        lines.append(
            f"{kind:22} {len(windows):5} {sum(len(w.faults) > 1 for w in windows):4} "
            f"{sum(w.answers for w in windows):8} {max(w.silence for w in windows):7.2f} s "
            f"{max(w.shard_silence for w in windows):8.2f} s "
            f"{recoveries[len(recoveries) // 2]:6.2f} s {recoveries[-1]:6.2f} s")
    totals = {}
    for each in rounds:
        for name, count in each.counts.items():
            totals[name] = totals.get(name, 0) + count
    late = sorted(seconds for each in rounds for seconds in each.judgement.late)
    lines += ["", f"{len(rounds)} rounds, {sum(len(each.windows) for each in rounds)} times of "
              f"trouble, {elapsed:.0f} s"]
    lines += [f"  {name}: {count}" for name, count in totals.items()]
    lines.append(f"  keys seen after their time: {len(late)}" + (
        f", by {1000 * late[len(late) // 2]:.0f} ms (median), {1000 * late[-1]:.0f} ms (most)"
        if late else ""))
    lines.append(f"  histories that could not be decided: "
                 f"{sum(len(each.judgement.undecided) for each in rounds)}")
    return lines
