"""mayfly-bench as its users see it: what it counts, what it checks, and what it refuses. No figure of
time is asked of it."""

import json
import pathlib
import re

from mayfly_test.check import contains, equal, true
from mayfly_test.context import limit

MANUAL = pathlib.Path(__file__).resolve().parents[2] / "docs" / "man" / "mayfly-bench.1"
SHORT = ("--seconds", "0.5", "--warmup", "0.1", "--keys", "500", "-c", "4")


def bench(t, cluster, *flags, status=0):
    finished = t.run("mayfly-bench", "-s", cluster.endpoints(), *SHORT, "-o", "json", *flags)
    equal(finished.status, status, f"exit status of\n{finished}\n")
    return json.loads(finished.stdout)


def until_all_are_asked(run):
    """What `run(*flags)` gives, for longer and longer: on a slow machine half a second may be too
    short for each kind to be asked."""
    for seconds in ("0.5", "4", "20"):
        result = run("--seconds", seconds)
        if all(kind["requests"] > 0 for kind in result["kinds"].values()):
            break
    return result


def check_counts(result, kinds):
    equal(set(result["kinds"]), set(kinds), "kinds")
    total = sum(kind["requests"] for kind in result["kinds"].values())
    equal(result["all"]["requests"], total, "requests of all kinds")
    for name, kind in result["kinds"].items():
        true(kind["requests"] > 0 and kind["errors"] == 0, f"{name}: {kind}")
        steps = [kind[f"p{percent}_ms"] for percent in ("50", "90", "99", "99.9", "99.99")]
        equal(steps + [kind["max_ms"]], sorted(steps + [kind["max_ms"]]), f"percentiles of {name}")
    equal((result["wrong"], result["fine"]), (0, True), "the judgement")


@limit(120)
def test_every_kind_is_sent_counted_and_right(t):
    cluster = t.shared_cluster(3)
    mix = {"get": 4, "set": 2, "incr": 2, "del": 1, "txn": 1}
    words = ",".join(f"{kind}={weight}" for kind, weight in mix.items())
    for flags in ((), ("-P", "16", "-t", "2"), ("-d", "zipf", "-v", "4000", "--ttl", "60000"),
                  ("-d", "hot", "--no-route", "--local")):
        # A local read of a copy that lags may show a value of the run before, of another size.
        cluster.wait_equal()
        result = until_all_are_asked(
            lambda *seconds, flags=flags: bench(t, cluster, "-m", words, *flags, *seconds))
        check_counts(result, mix)
        true(result["added"] > 0, "something was added")
        equal(result["counted"], result["added"], "what the counters hold")
        cluster.node(1).call("flush", timeout=30)


@limit(120)
def test_with_a_rate_as_many_are_sent_as_are_due(t):
    cluster = t.shared_cluster(1)
    result = bench(t, cluster, "-r", "200", "-t", "3", "--seconds", "1")
    check_counts(result, ("get", "set"))
    equal(result["all"]["requests"] + result["skipped"], 200, "requests that were due")
    cluster.node(1).call("flush", timeout=30)


@limit(120)
def test_an_answer_that_cannot_be_right_is_found(t):
    cluster = t.shared_cluster(1)
    node = cluster.node(1)
    node.call("mset", [[f"bench:{i}", b"%016x" % (i + 1) + b"v" * 48] for i in range(500)])
    result = bench(t, cluster, "--no-fill", "-m", "get=1", status=1)
    equal(result["fine"], False, "the judgement")
    true(0 < result["all"]["requests"] <= result["wrong"], f"wrong answers: {result['wrong']}")
    finished = t.run("mayfly-bench", "-s", cluster.endpoints(), *SHORT, "--no-fill", "-m", "get=1")
    equal(finished.status, 1, "exit status")
    contains(finished.stdout.decode(), "WRONG", "the table")
    node.call("flush", timeout=30)


@limit(60)
def test_what_it_cannot_do_is_said_in_one_line(t):
    for flags, status, part in (
            (("--seconds", "x"), 2, "--seconds: 'x' is not valid, expected seconds"),
            (("--mix", "get"), 2, "--mix: 'get' is not valid"),
            (("--mix", "get=0"), 2, "expected a weight above 0"),
            (("--mix", "put=1"), 2, "--mix: 'put=1' is not valid"),
            (("--clients", "0"), 2, "an integer from 1 to 10000"),
            (("--clients", "-1"), 2, "an integer from 1 to 10000"),
            (("-v", "15"), 2, "an integer from 16"), (("-d", "normal"), 2, "uniform, zipf or hot"),
            (("--surprise",), 2, "--surprise"), (("--ttl",), 2, "--ttl: expected a value"),
            (("word",), 2, "word: expected flags only"), (("-o", "xml"), 2, "table, plain or json"),
            (("-s", "127.0.0.1:1"), 1, "no endpoint answers"), (("-s", "a:b:c"), 1, "'a:b:c'")):
        finished = t.run("mayfly-bench", *flags)
        equal(finished.status, status, f"exit status of\n{finished}\n")
        equal(finished.stdout, b"", "standard output")
        said = finished.stderr.decode()
        contains(said, part, "what is said")
        equal(said.count("\n"), 1, f"lines of {said!r}")


@limit(60)
def test_help_and_manual_have_the_same_flags(t):
    finished = t.run("mayfly-bench", "--help")
    equal((finished.status, finished.stderr), (0, b""), "status and errors of --help")
    manual = MANUAL.read_text(encoding="utf-8").replace("\\-", "-")
    flags = set(re.findall(r"--[a-z][a-z-]*", finished.stdout.decode()))
    equal(flags - set(re.findall(r"--[a-z][a-z-]*", manual)), set(), "flags without a manual")
    true(len(flags) > 20, f"{len(flags)} flags")
    version = t.run("mayfly-bench", "--version")
    true(re.fullmatch(rb"mayfly-bench \d+\.\d+\.\d+\n", version.stdout), f"{version.stdout!r}")
