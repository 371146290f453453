"""How a node starts, refuses to start, and stops: configuration, flags, ports, folders, signals."""

import json
import os
import resource
import signal
import socket

from mayfly_test import process
from mayfly_test.check import contains, equal, true
from mayfly_test.client import Connection, RpcError, parse_address
from mayfly_test.cluster import free_port
from mayfly_test.wait import wait_for

GOOD = """[node]
id = 2                     # a comment after a value
data_dir = data
[cluster]
shards = 8
nodes = 1=127.0.0.1:7100, 2=127.0.0.1:7200, 3=127.0.0.1:7300
secret = s3cret;not a comment   ; a comment
[listen]
resp =
http =
[limits]
max_value = 1mb
"""

# The file, the line at fault, and what the message must name.
BAD_FILES = [
    ("[node]\nid = 0\n", 2, ["node.id", "0", "1", "65535"]),
    ("[node]\nid = 65536\n", 2, ["node.id", "65536"]),
    ("[node]\n\nid = one\n", 3, ["node.id", "one"]),
    ("[node]\nname = x\n", 2, ["node.name", "unknown"]),
    ("[nodes]\n", 1, ["nodes", "unknown"]),
    ("# x\n[node]\nid = 1\nid = 2\n", 4, ["node.id", "2", "repeated"]),
    ("id = 1\n", 1, ["id"]),
    ("[node]\nid\n", 2, ["id"]),
    ("[node\nid = 1\n", 1, ["[node"]),
    ("[cluster]\nshards = 0\n", 2, ["cluster.shards", "0", "16384"]),
    ("[cluster]\nshards = 16385\n", 2, ["cluster.shards", "16385"]),
    ("[cluster]\nreplicas = 2\n", 2, ["cluster.replicas", "2"]),
    ("[cluster]\nnodes = 1=here\n", 2, ["cluster.nodes", "1=here"]),
    ("[cluster]\nnodes = 1=127.0.0.1:1, 1=127.0.0.1:2\n", 2, ["cluster.nodes"]),
    ("[node]\nid = 4\n[cluster]\nnodes = 1=127.0.0.1:1, 2=127.0.0.1:2\n", 2, ["node.id", "4"]),
    ("[listen]\nrpc = 127.0.0.1\n", 2, ["listen.rpc", "127.0.0.1"]),
    ("[listen]\nrpc = 127.0.0.1:65536\n", 2, ["listen.rpc", "65536"]),
    ("[listen]\nrpc = 127.0.0.1:7777\nresp = 127.0.0.1:7777\n", 3, ["listen.resp", "7777"]),
    ("[durability]\nmode = sometimes\n", 2, ["durability.mode", "sometimes", "fsync"]),
    ("[memory]\nmax_bytes = 4tb\n", 2, ["memory.max_bytes", "4tb"]),
    ("[limits]\nmax_key = -1\n", 2, ["limits.max_key", "-1"]),
    ("[limits]\nrequest_timeout = 5s\n", 2, ["limits.request_timeout", "5s"]),
    ("[consensus]\nheartbeat_ms = 200\nlease_ms = 300\n", 3, ["consensus.lease_ms", "300"]),
    ("[log]\nlevel = loud\n", 2, ["log.level", "loud", "debug"]),
]

# Flags, and what the message must name.
BAD_FLAGS = [
    (["--bogus"], ["--bogus"]),
    (["--node.id=0"], ["--node.id", "0"]),
    (["--node.bogus=1"], ["--node.bogus", "1"]),
    (["--node.id"], ["--node.id"]),
    (["--log.level=loud"], ["--log.level", "loud"]),
    (["--config=/nonexistent/mayfly.ini"], ["/nonexistent/mayfly.ini"]),
    (["node.id=1"], ["node.id=1"]),
]

ALL_OFF = ["--listen.rpc=127.0.0.1:0", "--listen.resp=", "--listen.http="]


def refused(finished, status, parts):
    """The program said why in one line on stderr, and nothing else."""
    equal(finished.status, status, f"exit status of\n{finished}\n")
    equal(finished.stdout, b"", f"stdout of\n{finished}\n")
    message = finished.stderr.decode()
    equal(message.count("\n"), 1, f"lines on stderr of\n{finished}\n")
    for part in parts:
        contains(message, part, "the message")


def write(t, name, text):
    path = t.dir / name
    path.write_text(text, encoding="utf-8")
    return path


def test_check_config_accepts_what_is_right(t):
    finished = t.run("mayflyd", "--config", write(t, "good.ini", GOOD), "--check-config")
    equal(finished.status, 0, f"exit status of\n{finished}\n")
    true(not (t.dir / "data").exists(), "--check-config made the data folder")


def test_check_config_names_file_line_key_value_and_what_was_expected(t):
    for text, line, parts in BAD_FILES:
        path = write(t, "bad.ini", text)
        for flags in (["--check-config"], []):
            refused(t.run("mayflyd", "--config", path, *flags), 2, [f"{path}:{line}:", *parts])


def test_bad_flags_are_refused_by_name(t):
    for flags, parts in BAD_FLAGS:
        refused(t.run("mayflyd", *flags, "--check-config"), 2, parts)


def test_a_flag_wins_over_the_file(t):
    path = write(t, "good.ini", GOOD)
    finished = t.run("mayflyd", "--config", path, "--node.id=9", "--check-config")
    refused(finished, 2, ["--node.id", "9"])
    path = write(t, "bad.ini", GOOD.replace("id = 2", "id = 9"))
    finished = t.run("mayflyd", "--config", path, "--node.id=3", "--check-config")
    equal(finished.status, 0, f"exit status of\n{finished}\n")


def test_help_and_version_of_every_program(t):
    for program in ("mayflyd", "mayfly", "mayfly-snapshot"):
        for flag in ("--help", "--version"):
            finished = t.run(program, flag)
            equal((finished.status, finished.stderr), (0, b""), f"{finished}")
            true(finished.stdout.strip(), f"{program} {flag} says nothing")
        contains(t.run(program, "--help").stdout.decode(), program, "the help text")


def test_without_any_configuration_a_node_works(t):
    """Alone, in memory, its data folder here; the ports are given so that nobody is disturbed."""
    with open(t.dir / "out", "wb") as stdout, open(t.dir / "log", "wb") as log:
        child = process.spawn([t.bin("mayflyd"), *ALL_OFF, "--listen.peer=127.0.0.1:0"],
                              stdout=stdout, stderr=log, cwd=t.dir)
    try:
        line = wait_for(lambda: (t.dir / "out").read_text(encoding="utf-8"), 30, "the ready line")
        words = line.split()
        equal(words[:2], ["ready", "node=1"], "the ready line")
        names = [word.partition("=")[0] for word in words[1:]]
        equal(names, ["node", "rpc", "peer"], "what the ready line tells of")
        addresses = dict(word.split("=") for word in words[1:])
        with Connection(parse_address(addresses["rpc"])) as connection:
            equal(connection.call("hello")["shards"], 64, "shards")
            connection.call("set", "k", "v", {"ttl": 60_000})
            equal(connection.call("get", "k"), b"v", "value")
        true((t.dir / "mayfly-data").is_dir(), "no data folder ./mayfly-data")
    finally:
        child.terminate()
        equal(child.wait(20), 0, "exit status after SIGTERM")


def test_sigterm_and_sigint_end_a_node_in_order(t):
    for number in (signal.SIGTERM, signal.SIGINT):
        cluster = t.cluster(3, name=f"signal-{number}")
        cluster.node(1).call("set", "k", "v")
        for node in cluster.nodes:
            node.signal(number)
            equal(node.wait_end(20), 0, f"exit status of node {node.id} after signal {number}")
        cluster.restart()
        equal(cluster.node(2).call("get", "k"), b"v", "the value after the restart")


def test_sighup_reads_log_level_and_passwords_again(t):
    cluster = t.cluster(1, overrides={"security.password": "old", "log.level": "info"},
                        hello={"password": "old"})
    node = cluster.node(1)

    def admits(password):
        with node.connect(greet=False) as connection:
            try:
                connection.call("hello", {"password": password})
                return True
            except RpcError as error:
                equal(error.code, "UNAUTHORIZED", "refusal")
                return False

    with node.connect() as connection:
        connection.call("set", "k", "v")
        node.settings["security.password"] = "new"
        node.settings["log.level"] = "debug"
        node.write_config()
        node.signal(signal.SIGHUP)
        wait_for(lambda: admits("new"), 10, "the new password to hold")
        true(not admits("old"), "the old password still holds")
        equal(connection.call("get", "k"), b"v", "a connection from before")
        node.settings["log.level"] = "nonsense"
        node.write_config()
        node.signal(signal.SIGHUP)
        wait_for(lambda: "nonsense" in node.log_text(), 10, "the log to tell of the bad file")
        equal(connection.call("get", "k"), b"v", "a connection after a bad file")
    true(admits("new"), "the password before the bad file does not hold")


def test_a_port_in_use_is_a_clear_error(t):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for flag in ("rpc", "peer"):
            flags = {"rpc": "127.0.0.1:0", "peer": "127.0.0.1:0", flag: address}
            finished = t.run("mayflyd", "--node.data_dir=data", "--listen.resp=", "--listen.http=",
                             *[f"--listen.{name}={value}" for name, value in flags.items()])
            equal(finished.status, 1, f"exit status of\n{finished}\n")
            contains(finished.stderr.decode(), address, "the message")
            contains(finished.stderr.decode().lower(), "in use", "the message")
            equal(finished.stdout, b"", "stdout")


def test_a_port_of_another_node_is_a_clear_error_too(t):
    """Listeners of one node share their port; two nodes must not."""
    node = t.cluster(1).node(1)
    address = node.ready["rpc"]
    finished = t.run("mayflyd", "--node.data_dir=data", "--listen.resp=", "--listen.http=",
                     f"--listen.rpc={address}", "--listen.peer=127.0.0.1:0")
    equal(finished.status, 1, f"exit status of\n{finished}\n")
    contains(finished.stderr.decode(), address, "the message")


def test_a_data_folder_belongs_to_one_node(t):
    node = t.cluster(1).node(1)
    node.call("set", "k", "v")
    finished = t.run("mayflyd", "--config", node.config, *ALL_OFF,
                     f"--listen.peer=127.0.0.1:{free_port()}")
    equal(finished.status, 1, f"exit status of\n{finished}\n")
    contains(finished.stderr.decode(), str(node.data_dir), "the message")
    equal(node.call("get", "k"), b"v", "the first node")


def test_the_number_of_shards_cannot_change(t):
    node = t.cluster(1).node(1)
    node.call("set", "k", "v")
    equal(node.terminate(), 0, "exit status")
    finished = t.run("mayflyd", "--config", node.config, "--cluster.shards=32")
    equal(finished.status, 1, f"exit status of\n{finished}\n")
    for part in ("16", "32", "shards"):
        contains(finished.stderr.decode(), part, "the message")
    node.restart()
    equal(node.call("get", "k"), b"v", "the value after the refusal")


def test_the_number_of_threads_can_change(t):
    cluster = t.cluster(1, overrides={"node.threads": 3})
    node = cluster.node(1)
    pairs = [[f"k{i}", f"v{i}"] for i in range(500)]
    node.call("mset", pairs)
    for threads in (1, 5, 2):
        node.kill9()
        node.settings["node.threads"] = threads
        node.restart()
        cluster.wait_settled()
        equal(node.call("mget", [key for key, _ in pairs]), [value.encode() for _, value in pairs],
              f"values with {threads} threads")
        equal(node.call("stats")["threads"], threads, "threads")


def test_a_data_folder_that_cannot_be_written_is_a_clear_error(t):
    blocked = write(t, "file", "not a folder")
    finished = t.run("mayflyd", f"--node.data_dir={blocked}/data", *ALL_OFF,
                     "--listen.peer=127.0.0.1:0")
    equal(finished.status, 1, f"exit status of\n{finished}\n")
    contains(finished.stderr.decode(), str(blocked), "the message")


def test_log_lines_are_json_when_asked(t):
    node = t.cluster(1, overrides={"log.format": "json"}).node(1)
    node.terminate()
    lines = [line for line in node.log_text().splitlines() if not line.startswith("=== start")]
    true(lines, "the log is empty")
    for line in lines:
        equal(set(json.loads(line)), {"time", "level", "node", "message"}, f"fields of {line}")


def test_a_node_out_of_file_descriptors_waits_for_some(t):
    """Out of file descriptors, connections wait or fail; the node does neither spin nor end."""
    node = t.cluster(1).node(1)
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (64, 64))
    sockets = []
    try:
        for _ in range(100):
            sockets.append(socket.create_connection(node.rpc, timeout=5))
        began = os.times().elapsed
        ticks = cpu_ticks(node.pid)
        wait_for(lambda: os.times().elapsed > began + 1.0, 5, "a second to pass")
        took = os.times().elapsed - began  # a second, or longer on a busy machine
        used = (cpu_ticks(node.pid) - ticks) / os.sysconf("SC_CLK_TCK")
        true(used < 0.5 * took,
             f"the node used {used:.2f} s of {took:.2f} s without a free descriptor")
    finally:
        for each in sockets:
            each.close()
    wait_for(lambda: node.call("ping") == "pong", 10, "the node to serve again")


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
