"""What the number of shards costs one node."""

import contextlib
import pathlib
import tempfile

from .common import Output, build_programs, curves, header, medians, ratio, say, table, write_csv
from .load import FIGURES, Load, rounded
from .servers import Mayfly

PIPELINE = 16
CONNECTIONS = 50
MIXES = {"get=1": "gets", "set=1": "sets"}

WHY = ("With one copy and no log a small write is carried out when it comes, and takes no turn of its "
       "shard, as the read of a leader with a lease does not. What is left is what each shard has of "
       "its own in memory: its replica, its group, its state, the end of its history of changes. "
       "That is near the processor with a few shards and not with a thousand.")


def measure(build, counts, keys, rounds, flags):
    """(shards, mix) -> runs. The rounds go through all of them, since a machine that others use is
    not the same in the next minute."""
    runs = {(count, mix): [] for count in counts for mix in MIXES}
    with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as folder, \
            contextlib.ExitStack() as stack:
        loads = {}
        for count in counts:
            server = Mayfly(build, pathlib.Path(folder) / f"shards-{count}", shards=count)
            stack.callback(server.stop)
            loads[count] = Load(build, f"{count} shards", "resp", server.addresses("resp"), server)
            loads[count].fill(keys)
        for _ in range(rounds):
            for count, mix in runs:
                say(f"{count} shards, {mix}")
                runs[count, mix].append(loads[count].run(
                    "-k", keys, "-c", CONNECTIONS, "-P", PIPELINE, "-m", mix, "--no-fill", *flags))
    return runs


def bench(arguments):
    build = build_programs(arguments, "mayflyd", "mayfly_bench")
    out = Output(arguments, build)
    quick = arguments.quick
    counts = (1, 16) if quick else (1, 4, 16, 64, 256, 1024)
    keys = 2000 if quick else 100000
    rounds = arguments.rounds or (1 if quick else 3)
    seconds = arguments.seconds or (0.1 if quick else 3)
    facts = header(build)
    runs = measure(build, counts, keys, rounds, ("--seconds", seconds, "--warmup", 0.2))
    middle = {key: medians(rows, FIGURES) for key, rows in runs.items()}
    write_csv(out.file("shards.csv"), [
        {"shards": count, "mix": mix, "round": i + 1, **figures}
        for (count, mix), rows in runs.items() for i, figures in enumerate(rows)])
    lines = [f"One node, one thread, one copy, `durability.mode = none`; {keys:,} keys, "
             f"{CONNECTIONS} connections, pipeline {PIPELINE}, Redis port. Medians of {rounds} "
             f"rounds of {seconds:g} s. All nodes ran at the same time, and each of them was asked "
             f"in turn.", "", WHY]
    for mix, words in MIXES.items():
        base = middle[counts[0], mix]
        lines += ["", f"### {words.capitalize()}", ""]
        lines += table(["shards", "operations/s", "server CPU, µs each", "p50, ms", "p99", "p99.9",
                        "CPU to one shard's"],
                       [[count, *rounded(middle[count, mix]),
                         ratio(middle[count, mix]["cpu"], base["cpu"])] for count in counts])
    svg = out.file("shards.svg")
    made = curves(svg, "processor time of the node for an operation", "shards", "µs",
                  {words: [(count, middle[count, mix]["cpu"]) for count in counts]
                   for mix, words in MIXES.items()})
    out.write("shards", "One node by its number of shards", facts, lines + out.image(svg, made))
