"""`mayfly bench`: another program in its place, told where the cluster is. A script stands for that
program, and prints what it was given; at the end the real one."""

import json
import os
import shutil

from mayfly_test import process
from mayfly_test.check import contains, equal, true
from mayfly_test.context import limit

SCRIPT = """#!/bin/sh
printf '%s|' "$MAYFLY_ENDPOINTS" "$MAYFLY_USER" "$MAYFLY_PASSWORD" "$@"
[ /dev/stdin -ef /dev/null ] && printf 'no input'
echo
exit 7
"""


def program(t, folder, names):
    """A folder with a copy of mayfly, or the script, or both."""
    at = t.dir / folder
    at.mkdir()
    if "mayfly" in names:
        shutil.copy(t.bin("mayfly"), at / "mayfly")
    if "script" in names:
        (at / "mayfly-bench").write_text(SCRIPT, encoding="utf-8")
        (at / "mayfly-bench").chmod(0o755)
    return at


def run(t, folder, *args, path="/usr/bin:/bin", stdin=b"", **environment):
    finished = process.run([folder / "mayfly", *args], stdin, cwd=t.dir,
                           env={"PATH": path, **environment})
    return finished.status, finished.stdout, finished.stderr.decode()


def test_bench_is_given_the_cluster_and_all_words_as_they_are(t):
    beside = program(t, "beside", ("mayfly", "script"))
    # What mayfly is given, its environment, what the other program gets.
    for args, environment, expected in (
            (("bench",), {}, "|||"),
            (("-s", "a:1,b:2", "--user", "u", "--password", "p", "bench"), {}, "a:1,b:2|u|p|"),
            (("-s", "a:1", "bench"), {"MAYFLY_ENDPOINTS": "b:2", "MAYFLY_USER": "v"}, "a:1|v||"),
            (("bench", "-s", "c:3", "--seconds=1", "--", "-x", "", "--help", "two words"), {},
             "|||-s|c:3|--seconds=1|--|-x||--help|two words|"),
            (("-o", "json", "--timeout", "9", "bench", "-c", "3"), {},
             "|||-o|json|--timeout|9|-c|3|"),
            (("--", "bench", "--version"), {}, "|||--version|")):
        equal(run(t, beside, *args, **environment), (7, expected.encode() + b"\n", ""), str(args))


def test_bench_is_looked_for_beside_mayfly_and_then_in_path(t):
    alone = program(t, "alone", ("mayfly",))
    elsewhere = program(t, "elsewhere", ("script",))
    equal(run(t, alone, "bench", "x", path=f"{elsewhere}:/usr/bin"), (7, b"|||x|\n", ""),
          "in PATH")
    both = program(t, "both", ("mayfly", "script"))
    (elsewhere / "mayfly-bench").write_text("#!/bin/sh\necho of the path\n", encoding="utf-8")
    equal(run(t, both, "bench", path=f"{elsewhere}:/usr/bin")[0], 7, "beside mayfly comes first")
    status, out, said = run(t, alone, "bench", "x", path=str(alone))
    equal((status, out, said.count("\n")), (1, b"", 1), "when there is none")
    contains(said, "mayfly: bench: there is no mayfly-bench", "what is said then")
    (elsewhere / "mayfly-bench").write_text("#!/no/such/shell\n", encoding="utf-8")
    shutil.copy(elsewhere / "mayfly-bench", both / "mayfly-bench")
    status, _, said = run(t, both, "bench")
    equal(status, 1, "one that cannot be run")
    contains(said, f"{both}/mayfly-bench: No such file", "what is said then")


def test_bench_among_other_commands_is_one_of_them(t):
    beside = program(t, "beside", ("mayfly", "script"))
    lines = b"bench one\nhelp size\nbench --two\n"
    status, out, said = run(t, beside, "-s", "127.0.0.1:1", stdin=lines)
    equal((status, said), (1, ""), "the end")
    first, *help_text, last = out.decode().splitlines()
    equal((first, last), ("127.0.0.1:1|||one|no input", "127.0.0.1:1|||--two|no input"),
          "what the two were given")
    true(help_text[0].startswith("Usage: mayfly size"), f"{help_text}")


@limit(120)
def test_bench_measures_the_cluster_that_mayfly_is_told_of(t):
    cluster = t.shared_cluster(1)
    for seconds in ("0.2", "5"):  # the first may be too short where others work
        finished = t.mayfly(cluster, "-o", "json", "bench", "--seconds", seconds, "--warmup", "0",
                            "--keys", "100", "-c", "2", env={**os.environ, "MAYFLY_ENDPOINTS": ""})
        if json.loads(finished.stdout)["all"]["requests"] > 0:
            break
    true(json.loads(finished.stdout)["all"]["requests"] > 0, f"{finished}\n")
    cluster.node(1).call("flush", timeout=30)
