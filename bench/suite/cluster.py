"""Three nodes, beside three of etcd; one node beside three; and what a single write waits for."""

import concurrent.futures
import contextlib
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile
import time

from .common import (Failed, Output, bars, build_programs, first_match, header, medians, others,
                     ratio, run, say, table, write_csv)
from .load import FIGURES, Load, interleaved, rounded
from .servers import Etcd, Mayfly, processor_seconds


MODES = ("none", "os", "fsync")
WRITE, READ = "set=1", "get=1"
PIPELINE = 16
TITLES = ["", "operations/s", "servers' CPU, µs each", "p50, ms", "p99", "p99.9",
          "operations, ratio", "CPU, ratio"]
# etcd's own measure, by gRPC: 500 clients that write values of 1 KiB, at most 8,000 a second.
ETCD_CHECK = ("check", "perf", "--load", "l")


class Plan:
    def __init__(self, arguments):
        self.quick = arguments.quick
        self.keys = 200 if self.quick else 10000
        self.rounds = arguments.rounds or (1 if self.quick else 3)
        self.seconds = arguments.seconds or (0.1 if self.quick else 3)
        self.connections = (4,) if self.quick else (1, 64)
        self.log_megabytes = 4 if self.quick else 50

    def flags(self, mix, connections, pipeline=1):
        return ("-k", self.keys, "-m", mix, "-c", connections, "-P", pipeline, "--no-fill",
                "--seconds", self.seconds, "--warmup", 0.1 if self.quick else 0.5)


class Clusters:
    """All that is measured: one of Mayfly for each mode, one node alone, and etcd."""

    def __init__(self, build, folder, programs, stack):
        def started(server):
            stack.callback(server.stop)
            return server
        self.build = build
        self.modes = {mode: started(Mayfly(build, folder / mode, nodes=3, mode=mode).in_place())
                      for mode in MODES}
        self.alone = started(Mayfly(build, folder / "alone"))
        self.etcd = (started(Etcd(folder / "etcd", programs["etcd"])) if "etcd" in programs
                     else None)
        self.routed = [self._routed(mode) for mode in MODES]

    def _routed(self, mode):
        server = self.modes[mode]
        return Load(self.build, f"mayfly {mode}", "resp", server.addresses("resp_cluster"), server,
                    "--cluster")

    def beside_etcd(self):
        server = self.modes["fsync"]
        loads = self.routed + [Load(self.build, "mayfly fsync, any node", "resp",
                                    server.addresses("resp"), server)]
        if self.etcd is not None:
            loads.append(Load(self.build, "etcd, any node", "etcd", self.etcd.addresses, self.etcd))
        return loads

    def one_and_three(self):
        return [Load(self.build, "one node", "resp", self.alone.addresses("resp_cluster"),
                     self.alone, "--cluster"),
                Load(self.build, "three nodes", "resp", self.routed[0].addresses,
                     self.routed[0].server, "--cluster"),
                Load(self.build, "three nodes, each client at one", "resp",
                     self.routed[0].addresses, self.routed[0].server, "--cluster", "--one-node")]


def rows(runs, base):
    middle = {name: medians(each, FIGURES) for name, each in runs.items()}
    first = middle.get(base)
    return [[name, *rounded(figures),
             ratio(figures["operations"], first["operations"]) if first else "-",
             ratio(figures["cpu"], first["cpu"]) if first else "-"]
            for name, figures in middle.items()]


def compare(loads, plan, mixes, connections, pipeline, base, heading):
    """The lines of a table for each mix and number of connections, and every run."""
    lines, records, results = [], [], {}
    for load in loads:
        load.fill(plan.keys)
    for mix, words in mixes.items():
        for count in connections:
            say(f"{words}, {count} connections, pipeline {pipeline}")
            runs = interleaved(loads, plan.rounds, *plan.flags(mix, count, pipeline))
            results[mix, count] = runs
            lines += ["", f"### {heading}: {words}, {count} connection{'s' if count > 1 else ''}"
                      + (f", pipeline {pipeline}" if pipeline > 1 else ""), ""]
            lines += table(TITLES, rows(runs, base))
            records += [{"table": heading, "mix": mix, "connections": count, "pipeline": pipeline,
                         "server": name, "round": i + 1, **figures}
                        for name, each in runs.items() for i, figures in enumerate(each)]
    return lines, records, results


def etcd_by_grpc(etcd, folder):
    """A line about etcd's own load by its own protocol, for what the gateway costs."""
    program = shutil.which("etcdctl")
    if program is None:
        return []
    say("etcdctl check perf: a minute")
    before = processor_seconds(etcd.pids)
    shown = subprocess.run([program, "--endpoints", etcd.addresses, *ETCD_CHECK], cwd=folder,
                           env={**os.environ, "ETCDCTL_API": "3"}, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, check=False).stdout
    took = processor_seconds(etcd.pids) - before
    rate = re.search(r"(?:Throughput is|too low:) (\d+) writes/s", shown)
    if rate is None:
        raise Failed(f"etcdctl check perf: {shown[-300:]}")
    return ["", f"By its own protocol, gRPC, etcd took {int(rate[1]):,} writes a second from "
            f"`etcdctl {' '.join(ETCD_CHECK)}` (500 clients, values of 1 KiB, at most 8,000 a "
            f"second, for a minute), for {took * 1e6 / (int(rate[1]) * 60):.0f} µs of the servers' "
            f"processor time each, to which the rows above, by its gateway, can be held."]


# What a single write waits for.

def commit_ms(build, folder, megabytes, logs):
    """The median of a commit of 4,000 bytes to the log on the disk of that folder, and of those
    while so many logs are written there at once."""
    def one(number):
        own = folder / f"log-{number}"
        own.mkdir(exist_ok=True)
        shown = run(build / "bench" / "bench_wal", own, megabytes)
        found = re.search(r"^recycled +4000 +\S+ +(\d+)", shown, re.MULTILINE)
        if found is None:
            raise Failed(f"bench_wal: {shown}")
        return float(found[1]) / 1000
    with concurrent.futures.ThreadPoolExecutor(logs) as threads:
        return statistics.median(threads.map(one, range(logs)))


def parts(clusters, build, folder, plan):
    """A table of what one client waits for, by what can be measured alone."""
    say("one client, one request at a time")
    flags = plan.flags(WRITE, 1)

    def p50(load, *asked):
        return medians([load.run(*asked) for _ in range(plan.rounds)], FIGURES)["p50"]
    alone = Load(build, "alone", "resp", clusters.alone.addresses("resp"), clusters.alone)
    alone.fill(plan.keys)
    read = p50(alone, *plan.flags(READ, 1))
    one, three, disk = (p50(load, *flags)
                        for load in (alone, clusters.routed[0], clusters.routed[2]))
    commit, beside = (commit_ms(build, folder, plan.log_megabytes, logs) for logs in (1, 3))
    return ["", "### What one write waits for: one client, one request at a time", "",
            *table(["", "p50, ms"],
                   [["a read from one node", f"{read:.3f}"],
                    ["a write to one node, `none`", f"{one:.3f}"],
                    ["a write to three nodes, `none`", f"{three:.3f}"],
                    ["so a round trip between nodes is about", f"{max(three - one, 0):.3f}"],
                    ["one commit of `bench_wal` on that disk", f"{commit:.3f}"],
                    ["one of each of three, to three logs there at once", f"{beside:.3f}"],
                    ["a write to three nodes, `none`, and one commit", f"{three + commit:.3f}"],
                    ["the same, and a commit beside two others", f"{three + beside:.3f}"],
                    ["a write to three nodes, `fsync`, as measured", f"{disk:.3f}"]])]


def filesystem(folder):
    return first_match(r"^\S+ +(\S+)", run("df", "--output=source,fstype", folder).split("\n")[1])


def bench(arguments):
    build = build_programs(arguments, "mayflyd", "mayfly_bench", "bench_wal")
    out = Output(arguments, build)
    plan = Plan(arguments)
    facts = header(build)
    programs = others(facts, etcd="etcd")
    with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as folder, \
            contextlib.ExitStack() as stack:
        folder = pathlib.Path(folder)
        facts.append(("disk", f"{folder.parent}, {filesystem(folder)}"))
        say("starting the clusters")
        clusters = Clusters(build, folder, programs, stack)
        lines, records, results = compare(
            clusters.beside_etcd(), plan, {WRITE: "writes", READ: "linearizable reads"},
            plan.connections, 1, "etcd, any node" if clusters.etcd else "mayfly fsync",
            "Three nodes")
        if clusters.etcd is not None and not plan.quick:
            lines += etcd_by_grpc(clusters.etcd, folder)
        more, others_records, _ = compare(
            clusters.one_and_three(), plan, {READ: "reads by lease", WRITE: "writes"},
            (plan.connections[-1],), PIPELINE, "one node", "One node and three, `none`")
        lines += more + parts(clusters, build, folder, plan)
    write_csv(out.file("cluster.csv"), records + others_records)
    svg = out.file("cluster-cpu.svg")
    groups = list(results)
    names = list(results[groups[0]])
    made = bars(svg, "the servers' processor time for an operation, three nodes", "µs",
                [f"{'writes' if mix == WRITE else 'reads'}, {count}" for mix, count in groups],
                {name: [medians(results[group][name], FIGURES)["cpu"] for group in groups]
                 for name in names})
    intro = (f"Three nodes and all clients on this machine; {plan.keys:,} keys, values of 64 "
             f"bytes, medians of {plan.rounds} rounds of {plan.seconds:g} s. All clusters ran at "
             f"the same time, and each was asked in turn. Mayfly with 16 shards, one thread a node "
             f"and leases of three seconds, by the durability that acknowledges a write, on its "
             f"Redis Cluster port, where requests go to leaders; `any node` says that connections "
             f"are spread over the nodes, which pass on what is not theirs. etcd writes its log "
             f"with fsync; it is asked by its JSON gateway, since its own protocol, gRPC, needs "
             f"more than a lean load generator: the gateway is part of each etcd and adds to its "
             f"processor time and latencies. Its reads are linearizable, too, and take a round to "
             f"a majority; Mayfly's are by leases. Ratios are to etcd, and to one node. Where each "
             f"client is at one node, it asks for that node's keys, as redis-benchmark's clients "
             f"do; else its pipeline is spread over the three, which find a third of it each. All "
             f"three logs are on the one disk of this machine, where a commit beside two others "
             f"takes nearly twice as long as one alone (last table): that is what writes with fsync "
             f"wait for.")
    out.write("cluster", "Three nodes", facts, [intro, *lines, *out.image(svg, made)])
