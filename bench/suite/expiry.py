"""A million keys that are due at one instant, beside Redis: until when they are gone, what that
takes, and what a client notices who reads other keys meanwhile."""

import pathlib
import socket
import tempfile
import threading
import time

from .common import (Failed, Output, bars, build_programs, header, medians, others, say, table,
                     write_csv)
from .load import Load
from .servers import Mayfly, Redis, processor_seconds

from mayfly_test.client import parse_address  # noqa: E402
from mayfly_test.resp import pack  # noqa: E402

STAYING = 1000
BATCH = 500
VALUE = b"v" * 32
RATE = 2000  # reads a second
SLACK_S = 0.5  # before the deadline, for programs to start in
PATIENCE_S = 120
LATENCIES = ("p50", "p99", "p999")



class Plan:
    def __init__(self, arguments):
        quick = arguments.quick
        self.keys = 2000 if quick else 1000000
        self.after_s = 2.0 if quick else 12.0  # from the first write to the deadline
        self.calm_s = 0.2 if quick else 2.0
        self.storm_s = 0.2 if quick else arguments.seconds or 2.0
        self.memory_after_s = 0.5 if quick else 10.0
        self.rounds = arguments.rounds or (1 if quick else 3)


def write_all(address, keys, due_s):
    """Keys that all die at that time of the system's clock."""
    due_ms = round(due_s * 1000)
    with socket.create_connection(parse_address(address)) as connection, \
            connection.makefile("rb") as answers:
        for first in range(0, keys, BATCH):
            names = range(first, min(first + BATCH, keys))
            connection.sendall(b"".join(pack([b"SET", b"due:%d" % i, VALUE, b"PXAT", due_ms])
                                        for i in names))
            for _ in names:
                if (answer := answers.readline()) != b"+OK\r\n":
                    raise Failed(f"{address}: SET: {answer!r}")


def resident_bytes(pids):
    """What the processes have in memory."""
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()
        total += int(fields[1]) * 4096
    return total


class Watch:
    """Looks, from the deadline on, when the keys are gone (seconds after it), what processor time
    the server took until then, and what it has in memory some time later."""

    def __init__(self, server, due_s, memory_after_s):
        self.gone_s = self.cpu_s = None
        self.full_bytes = resident_bytes(server.pids)
        self._server, self._due_s, self._memory_after_s = server, due_s, memory_after_s
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self):
        self._thread.join()
        sleep_until(self._due_s + self._memory_after_s)
        self.left_bytes = resident_bytes(self._server.pids)

    def _run(self):
        sleep_until(self._due_s)
        before = processor_seconds(self._server.pids)
        while self.gone_s is None and time.time() < self._due_s + PATIENCE_S:
            if self._server.key_count() <= STAYING:
                self.gone_s = time.time() - self._due_s
                self.cpu_s = processor_seconds(self._server.pids) - before
            time.sleep(0.01)


def sleep_until(at_s):
    time.sleep(max(at_s - time.time(), 0))


def storm(load, plan, after_s):
    """The figures of one storm on a fresh server; None when the keys were not written in time."""
    reads = ("-k", STAYING, "-m", "get=1", "-c", 4, "-r", RATE, "--no-fill")
    load.fill(STAYING)
    due_s = time.time() + after_s
    write_all(load.addresses, plan.keys, due_s)
    if time.time() > due_s - 2 * plan.calm_s - SLACK_S:
        return None
    calm = load.run(*reads, "--seconds", plan.calm_s, "--warmup", 0)
    watch = Watch(load.server, due_s, plan.memory_after_s)
    sleep_until(due_s - SLACK_S)
    during = load.run(*reads, "--seconds", plan.storm_s, "--warmup", max(due_s - time.time(), 0))
    watch.join()
    if watch.gone_s is None:
        raise Failed(f"{load.name}: the keys are still there {PATIENCE_S} s after their deadline")
    return {"gone_s": watch.gone_s, "cpu_s": watch.cpu_s,
            "full_mib": watch.full_bytes / 2**20, "left_mib": watch.left_bytes / 2**20,
            **{f"calm_{name}": calm[name] for name in LATENCIES},
            **{f"storm_{name}": during[name] for name in LATENCIES}}


def measure(build, name, start, folder, plan):
    """As storm, with as much time for writing as it needs."""
    after_s = plan.after_s
    for attempt in range(5):
        server = start(folder / f"{name}-{attempt}".replace(" ", "-"))
        try:
            figures = storm(Load(build, name, "resp", server.resp, server), plan, after_s)
        finally:
            server.stop()
        if figures is not None:
            return figures
        after_s *= 2
    raise Failed(f"{name}: {plan.keys} keys could not be written within {after_s / 2:g} s")


def bench(arguments):
    build = build_programs(arguments, "mayflyd", "mayfly_bench")
    out = Output(arguments, build)
    plan = Plan(arguments)
    facts = header(build)
    programs = others(facts, redis="redis-server")
    starts = {}
    if "redis" in programs:
        starts["redis"] = lambda folder: Redis(folder, programs["redis"])
    for mode in ("none", "fsync"):
        starts[f"mayfly {mode}"] = lambda folder, mode=mode: Mayfly(build, folder, mode=mode)
    runs = {name: [] for name in starts}
    with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as folder:
        for round_ in range(plan.rounds):
            for name, start in starts.items():
                say(f"round {round_ + 1}: {name}")
                runs[name].append(measure(build, name, start,
                                          pathlib.Path(folder) / str(round_), plan))
    write_csv(out.file("expiry.csv"), [{"server": name, "round": i + 1, **figures}
                                       for name, each in runs.items()
                                       for i, figures in enumerate(each)])
    middle = {name: medians(each, each[0]) for name, each in runs.items()}
    lines = [f"{plan.keys:,} keys with values of {len(VALUE)} bytes that all die at the same "
             f"millisecond, and {STAYING:,} that stay and are read {RATE:,} times a second by "
             f"`mayfly-bench`, {plan.calm_s:g} s before that moment and {plan.storm_s:g} s from it "
             f"on, measured from when each read was due. One node with one thread and 16 shards, "
             f"redis-server with `save \"\"`, `appendonly no`. Memory is what is resident. Medians "
             f"of {plan.rounds} rounds, each with servers of its own.", ""]
    lines += table(["", "all gone after, s", "CPU until then, s", "memory before, MiB",
                    f"{plan.memory_after_s:g} s later", "reads before: p50, ms", "p99.9",
                    "from then on: p50, ms", "p99", "p99.9"],
                   [[name, f"{row['gone_s']:.2f}", f"{row['cpu_s']:.2f}",
                     f"{row['full_mib']:.0f}", f"{row['left_mib']:.0f}",
                     *(f"{row[figure]:.3f}" for figure in
                       ("calm_p50", "calm_p999", "storm_p50", "storm_p99", "storm_p999"))]
                    for name, row in middle.items()])
    svg = out.file("expiry.svg")
    made = bars(svg, "reads of other keys", "ms",
                ["p99 before", "p99.9 before", "p99 in the storm", "p99.9 in the storm"],
                {name: [row[figure] for figure in
                        ("calm_p99", "calm_p999", "storm_p99", "storm_p999")]
                 for name, row in middle.items()})
    out.write("expiry", "A million keys due at one instant", facts, lines + out.image(svg, made))
