"""The prompt that a bare `mayfly` is: what a person at a terminal types and sees."""

import os
import signal
import stat

from mayfly_test.check import contains, equal, true
from mayfly_test.context import limit
from mayfly_test.terminal import Terminal
from mayfly_test.wait import wait_for

UP = "\x1b[A"
CTRL_C = "\x03"
CTRL_D = "\x04"


class Prompt(Terminal):
    """`mayfly` on a terminal; its history is in the test's folder."""

    def __init__(self, t, cluster, *flags, env=None, endpoints=None):
        self.ready = r"(?:@127\.0\.0\.1:\d+|\(no answer\))> "  # in time, which is no promise
        self.history = t.dir / "state" / "mayfly" / "history"
        settings = {"XDG_STATE_HOME": str(t.dir / "state"),
                    "MAYFLY_ENDPOINTS": endpoints or cluster.endpoints(), **(env or {})}
        super().__init__([t.bin("mayfly"), *flags], columns=300, env=settings, cwd=t.dir)
        self.endpoint = wait_for(self.connected, 30, "the prompt to be connected")

    def connected(self, after=""):
        """The endpoint that the next prompt names, or None, and then there will be another prompt."""
        prompt = self.expect(f"{after}({self.ready})")[1]
        if not prompt.startswith("(no"):
            return prompt.strip("@> ")
        self.line("")
        return None

    def tab(self, pattern):
        """Presses TAB until what follows has the pattern: keys are looked for only for a moment."""
        def completed():
            self.type("\t")
            return not self.expect(f"(?s)usage: |{pattern}")[0].startswith("usage")

        wait_for(completed, 30, f"{pattern} after TAB")

    def says(self, line, pattern):
        """Types the line and waits for what follows it, and for the next prompt."""
        self.line(line)
        match = self.expect(rf"(?s)\n.*?(?:{pattern}).*{self.ready}")
        return match[0]

    def leave(self):
        self.type(CTRL_D)
        equal(self.end(), 0, "exit status after Ctrl-D")


def test_commands_one_after_the_other(t):
    cluster = t.shared_cluster(3)
    key = t.key("a key").decode()
    with Prompt(t, cluster) as prompt:
        contains(prompt.seen.decode(), "e2e@127.0.0.1:", "cluster and endpoint in the prompt")
        prompt.says(f"set '{key}' \"two words\" --ttl 3600000", "OK")
        prompt.says(f"get '{key}'", "two words")
        equal(cluster.node(1).call("get", key), b"two words", "the value")
        prompt.says(f"set '{key}' \"\\x00\"", "a word cannot hold a zero byte")
        prompt.says(f"set '{key}' \"\\xff\\xfe\"", "OK")
        equal(cluster.node(1).call("get", key), b"\xff\xfe", "a value of bytes")
        prompt.says("frobnicate", "frobnicate: a verb is expected")
        prompt.says("get 'open", "a quote is not closed")
        prompt.says("get absent:key", "no such key")
        prompt.says("help incr", r"Usage: mayfly incr KEY \[DELTA\]")
        prompt.says("help", r"remove-node NODE")
        prompt.says("cluster", "3 nodes, 16 shards: all well")
        prompt.says("size -o json", r'\{"size": \d+\}')
        prompt.leave()
    for word in ("quit", "exit"):
        with Prompt(t, cluster) as prompt:
            prompt.line(word)
            equal(prompt.end(), 0, f"exit status after {word}")


def test_flags_of_the_program_are_those_of_each_command(t):
    cluster = t.shared_cluster(1)
    with Prompt(t, cluster, "-o", "json", "-s", cluster.endpoints(),
                endpoints="127.0.0.1:1") as prompt:
        prompt.says("size", r'\{"size": \d+\}')
        prompt.says("size -o plain", r"\d+\r")
        prompt.leave()


def test_tab_completes_verbs_flags_and_keys(t):
    cluster = t.shared_cluster(1)
    tag = t.key("").decode()
    for name in ("alpha one", "alpha two", "beta"):
        cluster.node(1).call("set", tag + name, name)
    with Prompt(t, cluster) as prompt:
        prompt.type("mg\t")
        prompt.expect("KEY...")
        prompt.type(f"{tag}be")
        prompt.expect(f"{tag}be")
        prompt.tab("ta")
        prompt.says("", r"\tbeta\r")
        prompt.type(f"get {tag}al")
        prompt.expect(f"{tag}al")
        prompt.tab("pha")
        prompt.tab(r"alpha one'.*alpha two'.*alpha")
        prompt.type("tw")
        prompt.expect("tw")
        prompt.tab("o")
        prompt.says("", r"alpha two\r")
        prompt.says("set k v --exp\tsoon", "--expire-at 'soon': expected an integer")
        prompt.type("ge\t")
        prompt.type("\t")
        prompt.expect(r"(?s)get +getdel +getex")
        prompt.type(CTRL_C)
        prompt.expect(prompt.ready)
        prompt.leave()


def test_what_a_verb_expects_is_shown(t):
    with Prompt(t, t.shared_cluster(1)) as prompt:
        prompt.type("incr ")
        prompt.expect(r"KEY \[DELTA\] \[--ttl MS\]")
        prompt.type("k 5 \t")
        prompt.expect(r"usage: KEY \[DELTA\]")
        prompt.type(CTRL_C)
        prompt.expect(prompt.ready)
        prompt.leave()


def test_ctrl_c_ends_the_command_and_not_the_prompt(t):
    cluster = t.shared_cluster(1)
    with Prompt(t, cluster) as prompt:
        prompt.line("status --watch 100ms")
        prompt.expect("all well")
        prompt.type(CTRL_C)
        prompt.expect(prompt.ready)
        prompt.line(f"set {t.key('k').decode()} -")  # reads this terminal
        wait_for(lambda: children(prompt.child.pid), 30, "the command to run")
        prompt.type(CTRL_C)
        prompt.expect(prompt.ready)
        prompt.type("get half a line")
        prompt.expect("line")
        prompt.type(CTRL_C)
        prompt.expect(prompt.ready)
        prompt.says("ping", "pong")
        os.kill(prompt.child.pid, signal.SIGINT)  # as from elsewhere
        prompt.says("ping", "pong")
        prompt.leave()


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


def test_a_command_that_crashes_is_told_and_the_prompt_goes_on(t):
    with Prompt(t, t.shared_cluster(1)) as prompt:
        prompt.line("status --watch 1m")
        prompt.expect("all well")
        os.kill(int(children(prompt.child.pid)[0]), signal.SIGSEGV)
        prompt.expect("the command was ended by signal 11|ERROR: [A-Za-z]+Sanitizer")
        prompt.says("ping", "pong")
        prompt.leave()


def test_the_history_is_kept_private_and_without_passwords(t):
    cluster = t.shared_cluster(1)
    with Prompt(t, cluster) as prompt:
        prompt.says("ping", "pong")
        prompt.says("size --password s3cret", r"\d+|UNAUTHORIZED")
        prompt.says(" size -o json", r"size")
        prompt.leave()
        history = prompt.history
    equal(history.read_text(encoding="utf-8"), "ping\n", "the history")
    equal(stat.S_IMODE(history.stat().st_mode), 0o600, "its mode")
    history.chmod(0o644)
    with Prompt(t, cluster) as prompt:
        prompt.type(UP)
        prompt.expect("ping")
        prompt.says("", "pong")
        prompt.leave()
    equal(stat.S_IMODE(history.stat().st_mode), 0o600, "its mode again")
    home = t.dir / "home"
    home.mkdir()
    with Prompt(t, cluster, env={"XDG_STATE_HOME": "", "HOME": str(home)}) as prompt:
        prompt.says("ping", "pong")
        prompt.leave()
    equal((home / ".mayfly_history").read_text(encoding="utf-8"), "ping\n", "the history at home")


def test_the_prompt_moves_to_a_node_that_answers(t):
    cluster = t.cluster(3)
    with Prompt(t, cluster) as prompt:
        [first] = [node for node in cluster.nodes if node.ready["rpc"] == prompt.endpoint]
        first.kill9()
        cluster.wait_settled()
        wait_for(lambda: cluster.running()[0].call("set", "k", "v"), 30, "a write to be served")
        prompt.line("get absent")
        moved = (prompt.connected("(?s)no such key.*")
                 or wait_for(prompt.connected, 30, "the prompt to name a node"))
        true(moved in [node.ready["rpc"] for node in cluster.running()], f"it names {moved}")
        prompt.says("get k", "v")
        prompt.leave()
    first.restart()


def test_a_prompt_without_a_cluster_says_so_and_stays(t):
    with Terminal([t.bin("mayfly"), "-s", "127.0.0.1:1"],
                  env={"XDG_STATE_HOME": str(t.dir)}) as terminal:
        terminal.expect(r"127\.0\.0\.1:1 \(no answer\)> ")
        terminal.line("ping")
        terminal.expect(r"(?s)ping: UNREACHABLE.*\(no answer\)> ")
        terminal.line("help ping")
        terminal.expect(r"(?s)Usage: mayfly ping.*\(no answer\)> ")
        terminal.type(CTRL_D)
        equal(terminal.end(), 0, "exit status")


@limit(240)
def test_lines_of_a_pipe_are_commands(t):
    cluster = t.shared_cluster(1)
    key = t.key("k").decode()
    finished = t.run("mayfly", env={"MAYFLY_ENDPOINTS": cluster.endpoints()},
                     stdin=f"# a script\nset {key} 'a b'\nget {key}\nincr {key}\nget {key}".encode())
    equal((finished.status, finished.stdout), (1, b"OK\na b\na b\n"), f"{finished}")
    contains(finished.stderr.decode(), "mayfly: line 4: incr: NOT_INTEGER", "the error")
    lines = "".join(f"set {key}{i} {i} --ttl 3600000\n" for i in range(2000))
    # Two thousand syncs, of a disk that others use too.
    finished = t.run("mayfly", "-s", cluster.endpoints(), stdin=lines.encode(), timeout=200)
    equal((finished.status, finished.stdout, finished.stderr), (0, b"OK\n" * 2000, b""), "a script")
    finished = t.run("mayfly", env={"MAYFLY_ENDPOINTS": "127.0.0.1:1"})
    equal((finished.status, finished.stdout, finished.stderr), (0, b"", b""), "nothing to do")
    true(t.run("mayfly", "-s", cluster.endpoints()).status == 2, "flags, but no verb and no line")
