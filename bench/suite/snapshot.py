"""A snapshot of many keys under load and a start from it, beside Redis's: bench/snapshot."""

from .common import TOP, Failed, Output, build_programs, header, others, run


def bench(arguments):
    build = build_programs(arguments, "mayflyd", "mayfly-snapshot")
    out = Output(arguments, build)
    facts = header(build)
    if "redis" not in others(facts, redis="redis-server"):
        raise Failed("a snapshot is compared with one of redis-server's, which is not installed "
                     "(scripts/deps --bench)")
    flags = (["--keys", "20000", "--calm", "0.5"] if arguments.quick
             else ["--rounds", arguments.rounds or 3])
    shown = run(TOP / "bench" / "snapshot", "--build", build, *flags)
    if "| snapshot, s |" not in shown:
        raise Failed("bench/snapshot: no table")
    out.write("snapshot", "A snapshot under load, and a start from it", facts, [shown])
