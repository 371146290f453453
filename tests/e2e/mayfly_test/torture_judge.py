"""The verdict on a cluster after a round of torture: each promise by itself, and all of them, so that
one that is broken does not hide another."""

import time

from . import history as histories
from . import judge, linear, process, promises
from .groups import NOTHING, Group
from .history import OK
from .torture_work import COUNTERS

PATIENCE = 300.0  # a cluster that has not come to rest by then never will
# Lateness is told, not judged: a cluster that is down, or has no majority, drops nothing.
ANY_LATENESS = 1e6
CONFIGURATIONS_MAX = 300_000  # some ten seconds of searching for one key


class Judgement:
    def __init__(self, folder, snapshot_tool):
        self.folder = folder
        self.snapshot_tool = snapshot_tool  # mayfly-snapshot
        self.broken = []     # in words
        self.undecided = []  # histories with more orders than can be tried
        self.counts = {}     # what was looked at -> how much of it
        self.late = []       # seconds

    def all_of(self, cluster, workload):
        """Clients have stopped, nothing is wrong with the nodes any more."""
        for check in (self._problems, self._acknowledged, self._counters, self.mortals,
                      self._snapshots, self._last_reads, self._replicas, self._histories, self._groups):
            try:
                check(cluster, workload)
            except AssertionError as error:
                self.broken.append(f"{check.__name__.strip('_')}: {error}")
        return self

    def _problems(self, _cluster, workload):
        self.broken += [f"no server should say this: {each}" for each in workload.problems]

    def _acknowledged(self, cluster, workload):
        self.counts["acknowledged writes"] = len(workload.acknowledged)
        judge.check_acknowledged(cluster, workload.acknowledged)

    def _counters(self, cluster, workload):
        self.counts["additions"] = sum(map(len, workload.counts.values()))
        keys = [b"c%d" % i for i in range(COUNTERS)]
        for node in cluster.nodes:
            for key, value in judge.read_all(node, keys).items():
                self.broken += [f"counter {key!r} through node {node.id}: {fault}"
                                for fault in promises.counter_faults(
                                    workload.counts[key], workload.not_told[key], int(value or 0))]

    def mortals(self, _cluster, workload):
        deaths = promises.judge_deaths(workload.mortals, workload.sights)
        self.counts["keys with a TTL"] = deaths.keys
        self.counts["reads of them"] = len(workload.sights)
        self.late = deaths.late
        self.broken += [f"died {1000 * (mortal.invoke + mortal.ttl - sight.ret):.1f} ms before its "
                        f"time: {mortal}, {sight}" for mortal, sight in deaths.early]
        self.broken += [f"dead in {dead}, and alive in {alive}"
                        for dead, alive in deaths.resurrected]

    def _snapshots(self, cluster, _workload):
        files = [file for node in cluster.nodes
                 for file in (node.data_dir / "snapshots").glob("torture-[01]")]
        self.counts["snapshots verified"] = len(files)
        for file in files:
            finished = process.run([self.snapshot_tool, "verify", file], timeout=PATIENCE)
            if finished.status != 0:
                self.broken.append(f"a snapshot does not hold:\n{finished}")

    @staticmethod
    def _last_reads(cluster, workload):
        judge.add_last_reads(cluster, workload.history, PATIENCE)
        for group in list(workload.groups.by_key()):
            op = workload.groups.begin("last read", group, "txn", **{
                "if": [], "then": [["get", 0], ["get", 1]], "else": []})
            keys = [b"{%s}%d" % (group, i) for i in (0, 1)]
            values = judge.read_all(cluster.nodes[-1], keys)
            op.ok((True, [values[key] for key in keys]))

    @staticmethod
    def _replicas(cluster, workload):
        judge.wait_until_nothing_expires(cluster, workload.history,
                                         [mortal.key for mortal in workload.mortals], PATIENCE)
        judge.check_replicas_equal(
            cluster, [*workload.history.by_key(), *workload.acknowledged], PATIENCE)

    def _histories(self, _cluster, workload):
        register = linear.Register(ANY_LATENESS, judge.ROUNDING)
        self._linear("keys", workload.history, register, linear.EMPTY)

    def _groups(self, _cluster, workload):
        self._linear("groups", workload.groups, Group(), NOTHING)

    def _linear(self, what, history, model, start):
        keys = history.by_key()
        began = time.monotonic()
        for key, ops in keys.items():
            verdict = linear.check(ops, model, start, CONFIGURATIONS_MAX)
            if verdict:
                continue
            path = self.folder / f"history-{what}-{len(self.broken) + len(self.undecided)}.ndjson"
            histories.dump(ops, path)
            found = self.undecided if verdict.reason.startswith("undecided") else self.broken
            found.append(f"{key!r} ({len(ops)} operations, all in {path}): {verdict}")
        answered = sum(op.outcome == OK for ops in keys.values() for op in ops)
        self.counts[f"{what} judged"] = len(keys)
        self.counts[f"operations on {what}"] = answered
        self.counts[f"seconds to judge {what}"] = round(time.monotonic() - began)
