"""Completion for bash, and the manual page: neither may miss a verb or a flag."""

import pathlib
import re
import shlex

from mayfly_test import process
from mayfly_test.check import equal, true
from mayfly_test.wait import wait_for

TOP = pathlib.Path(__file__).resolve().parent.parent.parent


def verbs_of(t):
    """Verb -> its flags, as the program's own help has them; of bench none, as another program has
    those."""
    text = t.run("mayfly", "--help").stdout.decode()
    listed = re.findall(r"^  ([a-z][a-z-]*) ", text, re.MULTILINE)
    true("get" in listed and "hotkeys" in listed, f"verbs of --help: {listed}")
    return {verb: re.findall(r"^  (-[-a-z]+)", t.run("mayfly", verb, "--help").stdout.decode(),
                             re.MULTILINE) if verb != "bench" else [] for verb in listed}


def complete(t, line, endpoints="127.0.0.1:1"):
    """What bash offers at the end of the line."""
    program = line.split()[0]
    # Bash's own splitting of the line, at blanks, colons and equals signs.
    words = re.findall(r"[:=]+|[^\s:=]+", line) + ([""] if line[-1] in " :=" else [])
    words = words[:-2] + [words[-2]] if line[-1] in ":=" else words
    script = f"""
        source {shlex.quote(str(TOP / 'completions/mayfly.bash'))}
        function=$(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)} COMP_CWORD={len(words) - 1}
        COMP_WORDS=({' '.join(shlex.quote(word) for word in words)})
        $function {shlex.quote(str(t.bin(program)))}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    finished = process.run(["bash", "--norc", "-c", script], cwd=t.dir,
                           env={"PATH": "/usr/bin:/bin", "MAYFLY_ENDPOINTS": endpoints})
    equal(finished.stderr, b"", "stderr of bash")
    return finished.stdout.decode().split("\n")[:-1]


def test_bash_is_offered_every_verb_and_flag(t):
    verbs = verbs_of(t)
    equal(sorted(complete(t, "mayfly ")), sorted(verbs), "verbs")
    equal(complete(t, "mayfly exp"), ["expire"], "a verb by its beginning")
    for verb, flags in verbs.items():
        if flags:
            equal(sorted(complete(t, f"mayfly {verb} -")), sorted(flags), f"flags of {verb}")
    equal(complete(t, "mayfly -o "), ["json", "plain", "table"], "forms of output")
    equal(complete(t, "mayfly load --format t"), ["tsv"], "a value of a flag")


def test_bash_is_offered_keys_of_the_cluster_and_files(t):
    cluster = t.shared_cluster(1)
    key = t.key("").decode()
    for name in ("one", "two words", "two"):
        cluster.node(1).call("set", key + name, "v")

    def offered(line, expected, endpoints):
        # Keys are looked for only for a moment, which may be too short once.
        wait_for(lambda: complete(t, line, endpoints) == expected, 30, f"{expected} for {line}")

    # Bash replaces what stands behind the last colon only.
    offered(f"mayfly get {key}", ["one", "two", r"two\ words"], cluster.endpoints())
    offered(f"mayfly get {key}tw", ["two", r"two\ words"], cluster.endpoints())
    offered(f"mayfly -s {cluster.endpoints()} get {key}o", ["one"], "127.0.0.1:1")
    offered("mayfly drain ", ["1"], cluster.endpoints())
    equal(complete(t, f"mayfly get {key}"), [""], "without a cluster")
    (t.dir / "data.tsv").write_text("", encoding="utf-8")
    equal(complete(t, "mayfly load da"), ["data.tsv"], "files")


def test_bash_is_offered_the_flags_of_the_other_programs(t):
    offered = complete(t, "mayflyd --")
    for flag in ("--config", "--check-config", "--listen.rpc=", "--cluster.replicas=",
                 "--log.level="):
        true(flag in offered, f"{flag} is not among {offered}")
    keys = re.findall(r"^(?:# )?[a-z_]+ = ?", t.run("mayflyd", "--help").stdout.decode(),
                      re.MULTILINE)
    equal(len(offered), len(keys) + 4, f"flags of mayflyd: {offered}")
    equal(complete(t, "mayflyd --durability.m"), ["--durability.mode="], "one of them")
    equal(complete(t, "mayfly-snapshot "),
          ["dump", "export", "import", "inspect", "restore", "verify"], "verbs of mayfly-snapshot")
    true("--force-new-cluster" in complete(t, "mayfly-snapshot restore f --fo"), "a flag")
    (t.dir / "backup.mfs").write_text("", encoding="utf-8")
    equal(complete(t, "mayfly-snapshot verify ba"), ["backup.mfs"], "files")


def test_bash_is_offered_the_flags_of_mayfly_bench_under_both_names(t):
    text = t.run("mayfly-bench", "--help").stdout.decode()
    flags = sorted({word for line in text.splitlines() if line.startswith("  ")
                    for word in re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", line)})
    true("--no-fill" in flags and "-P" in flags and len(flags) > 25, f"flags of --help: {flags}")
    for line in ("mayfly-bench ", "mayfly bench ", "mayfly -s a:1 bench -o "):
        equal(sorted(complete(t, line + "-")), flags, f"flags for {line}")
    equal(complete(t, "mayfly bench --se"), ["--seconds", "--server", "--server-pid"],
          "some of them")
    equal(complete(t, "mayfly benc"), ["bench"], "the verb")


def test_the_manual_page_has_every_verb_and_flag(t):
    page = (TOP / "docs/man/mayfly.1").read_text(encoding="utf-8").replace("\\-", "-")
    for verb, flags in verbs_of(t).items():
        true(re.search(rf'^\.(B|BI|BR) "?{re.escape(verb)}(?![-\w])', page, re.MULTILINE),
             f"mayfly(1) has no entry for {verb}")
        for flag in flags:
            true(re.search(rf"{re.escape(flag)}(?![-\w])", page), f"mayfly(1) has no {flag}")
