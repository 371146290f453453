"""The store inside one process, without network and log."""

import csv

from .common import (TOP, Failed, Output, build_programs, gnuplot, header, run, say, table)

FILES = {
    "bench_scaling": "scaling.csv",
    "bench_embedded": "embedded.csv",
    "bench_store": "shards.txt",
}
PHASES = ("set serial", "get serial", "set concurrent", "get concurrent", "set growing")
FULL = {
    "bench_scaling": ["--rounds", "2"],
    "bench_embedded": ["--keys", "10000000"],
    "bench_store": [],
}
# The same in a second or two, to see that it works and nothing else.
QUICK = {
    "bench_scaling": ["--keys", "2000", "--value", "64", "--shards-max", "4"],
    "bench_embedded": ["--keys", "2000", "--storm", "2000"],
    "bench_store": ["--keys", "2000"],
}


def read_scaling(text):
    """(ttl, shards, phase) -> row; Failed when one is missing or is no figure."""
    rows = {(row["ttl_ms"] != "0", int(row["shards"]), f"{row['operation']} {row['mode']}"): row
            for row in csv.DictReader(text.splitlines())}
    shards = sorted({key[1] for key in rows})
    for ttl in (False, True):
        for count in shards:
            for phase in PHASES:
                row = rows.get((ttl, count, phase))
                if row is None or float(row["operations_per_second"]) <= 0:
                    raise Failed(f"bench_scaling: no figure for {count} shards, {phase}")
    if len(shards) < 2:
        raise Failed("bench_scaling: fewer than two numbers of shards")
    return rows, shards


def scaling_tables(rows, shards, column, form):
    lines = []
    for ttl in (False, True):
        lines += ["", f"TTL {'on' if ttl else 'off'}:", ""]
        lines += table(["shards", *PHASES],
                       [[count, *(form(float(rows[ttl, count, phase][column]))
                                  for phase in PHASES)] for count in shards])
    return lines


def read_figures(text):
    figures = [(row["figure"], row["value"], row["unit"])
               for row in csv.DictReader(text.splitlines())]
    for beginning in ("growth: set", "growth with TTL: set", "a key in memory", "storm: all gone"):
        if not any(name.startswith(beginning) for name, _, _ in figures):
            raise Failed(f"bench_embedded: no figure of \"{beginning}\"")
    return figures


def plots(out, shards):
    lines = []
    for operation in ("set", "get"):
        svg = out.file(f"scaling-{operation}.svg")
        script = (TOP / "bench" / "scaling.gp").read_text(encoding="utf-8")
        made = gnuplot(f"csv='{out.file('scaling.csv')}'; svg='{svg}'; operation='{operation}'; "
                       f"shards_max={shards[-1]}\n{script}", svg)
        lines += out.image(svg, made)
    return lines


def report(outputs):
    rows, shards = read_scaling(outputs["bench_scaling"])
    sample = next(iter(rows.values()))
    per_key = float(sample["bytes_per_key"])
    lines = ["### Shard scaling", "",
              f"{sample['operations']} keys of 40 characters through `<mayfly/store.h>`; "
              f"{max(int(row['threads']) for row in rows.values())} threads where concurrent; "
              f"about {per_key:.0f} resident bytes a key. Thousands of operations a second:"]
    lines += scaling_tables(rows, shards, "operations_per_second", lambda n: f"{n / 1e3:.0f}")
    lines += ["", "Processor time of one operation, in nanoseconds, all threads together:"]
    lines += scaling_tables(rows, shards, "cpu_ns_per_operation", lambda n: f"{n:.0f}")
    lines += ["", "### Growth, memory, many deadlines at once", ""]
    lines += table(["figure", "value", "unit"], read_figures(outputs["bench_embedded"]))
    lines += ["", "### The shards without the embedded store's clock and locks", "", "```",
              outputs["bench_store"].rstrip(), "```", ""]
    return lines


def bench(arguments):
    build = build_programs(arguments, "mayflyd", *FILES)
    out = Output(arguments, build)
    facts = header(build)
    outputs = {}
    for program, flags in (QUICK if arguments.quick else FULL).items():
        say(f"{program} {' '.join(flags)}")
        outputs[program] = run(build / "bench" / program, *flags, echo=not arguments.quick)
        out.file(FILES[program]).write_text(outputs[program], encoding="utf-8")
    shards = read_scaling(outputs["bench_scaling"])[1]
    out.write("store", "The store inside one process", facts,
              report(outputs) + plots(out, shards))
