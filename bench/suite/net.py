"""One node over the network, beside Redis and memcached on the same machine."""

import contextlib
import pathlib
import tempfile

from .common import (Output, bars, build_programs, header, medians, others, ratio, say, table,
                     write_csv)
from .load import FIGURES, Load, interleaved, rounded
from .servers import Mayfly, Memcached, Redis

CONNECTIONS = 50
VALUE_BYTES = 64
MIXES = {"get=9,set=1": "nine gets of ten", "get=1": "gets", "set=1": "sets"}


class Plan:
    def __init__(self, arguments):
        quick = arguments.quick
        self.keys = 2000 if quick else 1000000
        self.pipelines = (1, 16) if quick else (1, 16, 64)
        self.mixes = dict(list(MIXES.items())[:1]) if quick else MIXES
        self.seconds = arguments.seconds or (0.1 if quick else 3)
        self.warmup = 0 if quick else 1
        self.rounds = arguments.rounds or (1 if quick else 3)


def start(build, folder, programs, stack):
    """A Load for each server. Those of MessagePack-RPC have nodes of their own, since the ids of
    libmayfly's writes take memory that the others do not need."""
    def started(server):
        stack.callback(server.stop)
        return server
    loads = []
    if "redis" in programs:
        server = started(Redis(folder / "redis", programs["redis"]))
        loads.append(Load(build, "redis", "resp", server.address, server))
    for threads in (1, 2):
        if "memcached" in programs:
            server = started(Memcached(folder / f"memcached-{threads}", programs["memcached"],
                                       threads))
            loads.append(Load(build, f"memcached -t {threads}", "memcache", server.address, server))
    for name, protocol, port, threads in (("resp", "resp", "resp", 1), ("resp", "resp", "resp", 2),
                                          ("rpc", "rpc-plain", "rpc", 1),
                                          ("rpc", "rpc-plain", "rpc", 2),
                                          ("libmayfly", "rpc", "rpc", 1)):
        server = started(Mayfly(build, folder / f"mayfly-{name}-{threads}", threads=threads))
        loads.append(Load(build, f"mayfly {name}, threads {threads}", protocol,
                          server.addresses(port), server))
    return loads


def measure(loads, plan):
    """(mix, pipeline) -> name -> runs."""
    for load in loads:
        say(f"{load.name}: setting {plan.keys} keys")
        load.fill(plan.keys, "-v", VALUE_BYTES)
    results = {}
    for mix in plan.mixes:
        for pipeline in plan.pipelines:
            say(f"{mix}, pipeline {pipeline}")
            results[mix, pipeline] = interleaved(
                loads, plan.rounds, "-k", plan.keys, "-v", VALUE_BYTES, "-c", CONNECTIONS,
                "-P", pipeline, "-m", mix, "--no-fill", "--seconds", plan.seconds,
                "--warmup", plan.warmup)
    return results


def tables(results, plan, base):
    lines = []
    for mix, words in plan.mixes.items():
        for pipeline in plan.pipelines:
            runs = results[mix, pipeline]
            middle = {name: medians(rows, FIGURES) for name, rows in runs.items()}
            first = middle.get(base)
            lines += ["", f"### {words.capitalize()}, pipeline {pipeline}", ""]
            lines += table(
                ["", "operations/s", "server CPU, µs each", "p50, ms", "p99", "p99.9",
                 "operations to Redis's", "CPU to Redis's", "client CPU, µs each"],
                [[name, *rounded(figures),
                  ratio(figures["operations"], first["operations"]) if first else "-",
                  ratio(figures["cpu"], first["cpu"]) if first else "-",
                  f"{figures['client_cpu']:.2f}"]
                 for name, figures in middle.items()])
    return lines


def plots(out, results, plan):
    lines = []
    for column, title, unit, scale in (
            ("operations", "thousands of operations a second", "1,000/s", 1000),
            ("cpu", "the server's processor time for an operation", "µs", 1)):
        for mix, words in plan.mixes.items():
            svg = out.file(f"net-{column}-{mix.replace('=', '').replace(',', '-')}.svg")
            names = list(results[mix, plan.pipelines[0]])
            series = {name: [medians(results[mix, pipeline][name], FIGURES)[column] / scale
                             for pipeline in plan.pipelines] for name in names}
            made = bars(svg, f"{title}: {words}", unit,
                        [f"pipeline {pipeline}" for pipeline in plan.pipelines], series)
            lines += out.image(svg, made)
    return lines


def bench(arguments):
    build = build_programs(arguments, "mayflyd", "mayfly_bench")
    out = Output(arguments, build)
    plan = Plan(arguments)
    facts = header(build)
    programs = others(facts, redis="redis-server", memcached="memcached")
    with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as folder, \
            contextlib.ExitStack() as stack:
        results = measure(start(build, pathlib.Path(folder), programs, stack), plan)
    write_csv(out.file("net.csv"), [
        {"mix": mix.replace(",", " "), "pipeline": pipeline, "server": name, "round": i + 1,
         **figures}
        for (mix, pipeline), runs in results.items() for name, rows in runs.items()
        for i, figures in enumerate(rows)])
    lines = [f"One server each on this machine, all at rest but the one that is asked: "
             f"{plan.keys:,} keys, values of {VALUE_BYTES} bytes, {CONNECTIONS} connections of one "
             f"thread of `mayfly-bench`, each with as many requests under way as the pipeline "
             f"says. Redis with `save \"\"` and `appendonly no`, memcached's meta commands with one "
             f"and two threads, Mayfly as one node with one copy and `durability.mode = none`, 16 "
             f"shards, on its Redis port (`resp`), by MessagePack-RPC (`rpc`), and by MessagePack-RPC "
             f"through the client library (`libmayfly`: its writes carry ids, which are kept for "
             f"ten minutes, and it takes more of the client's time than plain connections do). "
             f"Medians of {plan.rounds} rounds of {plan.seconds:g} s, in each of which every server "
             f"had its turn."]
    lines += tables(results, plan, "redis") + plots(out, results, plan)
    out.write("net", "One node beside Redis and memcached", facts, lines)
