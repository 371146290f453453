"""Real nodes on 127.0.0.1, for tests: start, kill, pause, look inside.

Clients' ports are picked by the kernel (port 0) and read from the ready line. Peers' addresses must
be in the configuration before anyone starts, so free ports are picked here, below the range that
the kernel gives to outgoing connections, so that a port stays free while its node is down; when
another process takes one in between all the same, the cluster starts again with others.
"""

import binascii
import os
import pathlib
import random
import signal
import socket
import time

from . import process
from .check import equal
from .client import Connection, parse_address
from .wait import wait_for

SLOTS = 16384
START_TIMEOUT = 30.0
SETTLE_TIMEOUT = 30.0
PORTS = range(10000, 32000)

_ports = PORTS
_taken_ports = set()


class BindFailure(Exception):
    """A node found its address in use."""


class NodeEnded(AssertionError):
    """A node is gone that nobody stopped."""


def use_ports(part, parts):
    """Takes ports from one of equal parts of the range, so that processes side by side, whose nodes
    are down at times, do not take each other's."""
    global _ports
    size = len(PORTS) // parts
    _ports = PORTS[part * size:(part + 1) * size]


def free_port():
    """A port that is free now, outside the kernel's range for outgoing connections."""
    while True:
        port = random.choice(_ports)
        if port in _taken_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _taken_ports.add(port)
        return port


def slot_of(key):
    """Redis Cluster's slot of a key (bytes): CRC16 of the key or of its {tag}."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1:end]
    return binascii.crc_hqx(key, 0) % SLOTS


def key_in_slots(prefix, first, last):
    """A key that begins with `prefix` and falls into the given slots."""
    n = 0
    while not first <= slot_of(key := b"%s%d" % (prefix, n)) <= last:
        n += 1
    return key


class Node:
    """One mayflyd: its files, its process, and how to reach it."""

    def __init__(self, binary, folder, node_id, settings, hello):
        self.binary = binary
        self.hello = hello         # options of the hello that opens a connection, or None
        self.folder = folder
        self.id = node_id
        self.settings = settings  # section.key -> value
        self.config = folder / f"node-{node_id}.ini"
        self.log = folder / f"node-{node_id}.log"
        self.data_dir = pathlib.Path(settings["node.data_dir"])
        self.process = None
        self.environment = {}  # beside the runner's own
        self.launcher = []     # what starts the program, such as nsenter with its flags
        self.ready = {}    # name -> address, of the last ready line
        self._starts = 0
        self._paused = False

    @property
    def running(self):
        return self.process is not None

    @property
    def rpc(self):
        if "rpc" not in self.ready:
            raise ConnectionRefusedError(f"node {self.id} is down")
        return parse_address(self.ready["rpc"])

    @property
    def pid(self):
        return self.process.pid

    def write_config(self):
        sections = {}
        for name, value in self.settings.items():
            section, _, key = name.partition(".")
            sections.setdefault(section, []).append(f"{key} = {value}")
        text = "".join(f"[{section}]\n" + "\n".join(lines) + "\n"
                       for section, lines in sections.items())
        self.config.write_text(text, encoding="utf-8")

    def start(self):
        """Starts the process and returns at once; wait_ready() tells when it serves."""
        self.write_config()
        self._starts += 1
        with open(self.log, "ab") as log, open(self._stdout(), "wb") as stdout:
            log.write(b"=== start %d\n" % self._starts)
            log.flush()
            self.process = process.spawn([*self.launcher, self.binary, "--config", self.config],
                                         stdout=stdout, stderr=log, cwd=self.folder,
                                         env={**os.environ, **self.environment})

    def wait_ready(self):
        wait_for(self._read_ready, START_TIMEOUT, f"the ready line of node {self.id}")

    def restart(self):
        """Starts a node that is down and waits until it serves."""
        def started():
            self.start()
            try:
                self.wait_ready()
                return True
            except BindFailure:
                return False
        wait_for(started, START_TIMEOUT, f"node {self.id} to get its ports back")

    def kill9(self):
        self._signal(signal.SIGKILL)
        self._gone()

    def terminate(self, timeout=20.0):
        """Asks for an orderly stop and returns the exit status."""
        self.resume()
        self._signal(signal.SIGTERM)
        return self.wait_end(timeout)

    def wait_end(self, timeout):
        wait_for(lambda: self.process.poll() is not None, timeout, f"node {self.id} to end")
        return self._gone()

    def pause(self):
        self._signal(signal.SIGSTOP)
        self._paused = True
        wait_for(lambda: self._state() == "T", 5, f"node {self.id} to stand still")

    def resume(self):
        if self._paused:
            self._signal(signal.SIGCONT)
            self._paused = False

    def signal(self, number):
        self._signal(number)

    def connect(self, timeout=10.0, greet=True):
        connection = Connection(self.rpc, timeout)
        if greet and self.hello:
            connection.call("hello", self.hello)
        return connection

    def call(self, method, *params, timeout=10.0):
        """One call over a connection of its own."""
        with self.connect(timeout) as connection:
            return connection.call(method, *params)

    def rss_bytes(self):
        return self._status_bytes("VmRSS:")

    def peak_bytes(self):
        return self._status_bytes("VmHWM:")

    def _status_bytes(self, name):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        raise NodeEnded(f"node {self.id} has no memory: it is gone")

    def log_text(self):
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def log_tail(self, lines=15):
        return "\n".join(self.log_text().splitlines()[-lines:])

    def trouble(self):
        """Why this node is not well, or None."""
        if self.process is not None and self.process.poll() is not None:
            return (f"node {self.id} ended by itself with status {self.process.returncode}; "
                    f"the end of its log:\n{self.log_tail()}")
        text = self.log_text()
        for alarm in process.ALARMS:
            at = text.find(alarm)
            if at >= 0:
                return f"node {self.id} reports:\n{text[at:at + 3000]}"
        return None

    def _stdout(self):
        return self.folder / f"node-{self.id}.out"

    def _read_ready(self):
        if self.process.poll() is not None:
            status = self._gone()
            run_log = self.log_text().rpartition("=== start")[2]
            if "ddress already in use" in run_log:
                raise BindFailure(self.log_tail())
            raise NodeEnded(f"node {self.id} ended with status {status} before it was ready; "
                            f"the end of its log:\n{self.log_tail()}")
        for line in self._stdout().read_text(encoding="utf-8").splitlines(keepends=True):
            if line.startswith("ready ") and line.endswith("\n"):
                self.ready = dict(word.split("=", 1) for word in line.split()[1:])
                return True
        return False

    def processor_seconds(self):
        """Of all its threads, in user and kernel mode, since it was started."""
        stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text()
        user, kernel = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(kernel)) / os.sysconf("SC_CLK_TCK")

    def _state(self):
        stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0]

    def _signal(self, number):
        # The child is not reaped before _gone(), so its pid cannot be anyone else's.
        if self.process.returncode is None:
            os.kill(self.process.pid, number)

    def _gone(self):
        status = self.process.wait()
        self.process = None
        self.ready = {}
        self._paused = False
        return status


class Cluster:
    """n nodes. Use it through the test's context, which stops it."""

    def __init__(self, binary, folder, n=3, shards=16, mode="fsync", overrides=None, hello=None):
        # Nodes have a working directory of their own.
        self.binary = pathlib.Path(binary).resolve()
        self.folder = pathlib.Path(folder).resolve()
        self.shards = shards
        self.nodes = []
        self.former = []  # those that have left the cluster
        self._n = n
        self._mode = mode
        self._overrides = overrides or {}
        self._hello = hello

    def start(self):
        """Starts all nodes and waits until every shard has a leader that all agree on."""
        self.start_with(lambda node: None)
        self.wait_settled()
        return self

    def start_with(self, change, ids=None):
        """Starts all nodes, or only some, each after change(node) on its settings, and waits for
        nothing more."""
        for attempt in range(5):
            self._prepare(attempt)
            for node in self.nodes:
                change(node)
            started = [node for node in self.nodes if ids is None or node.id in ids]
            try:
                for node in started:
                    node.start()
                for node in started:
                    node.wait_ready()
                return
            except BindFailure:
                self.kill()
        raise BindFailure("found no free ports in five attempts")

    def restart(self):
        """Starts all nodes, which are down, on their old data."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            try:
                node.wait_ready()
            except BindFailure:  # somebody has its port, for a while
                node.restart()
        self.wait_settled()

    def _prepare(self, attempt):
        folder = self.folder / f"attempt-{attempt}" if attempt else self.folder
        folder.mkdir(parents=True, exist_ok=True)
        peers = {i: f"127.0.0.1:{free_port()}" for i in range(1, self._n + 1)}
        self.nodes = [Node(self.binary, folder, i, self._settings(folder, i, peers), self._hello)
                      for i in peers]

    def _settings(self, folder, node_id, peers):
        settings = {
            "node.id": node_id,
            "node.data_dir": folder / f"data-{node_id}",
            "cluster.name": "e2e",
            "cluster.shards": self.shards,
            "cluster.replicas": self._n,
            "cluster.nodes": ", ".join(f"{i}={peer}" for i, peer in peers.items()),
            "cluster.secret": "e2e secret",
            "listen.rpc": "127.0.0.1:0",
            "listen.resp": "",
            "listen.resp_cluster": "",
            "listen.http": "",
            "listen.peer": peers[node_id],
            "durability.mode": self._mode,
        }
        settings.update(self._overrides)
        return settings

    def node(self, node_id):
        return next(node for node in self.nodes if node.id == node_id)

    def newcomer(self, node_id, listed=False):
        """A node that runs, with an empty folder, and waits to be added; listed: its cluster.nodes
        has its own address beside those of the members."""
        def ready():
            node = self._new_node(node_id, listed)
            try:
                node.start()
                node.wait_ready()
                return node
            except BindFailure:
                return None
        return wait_for(ready, START_TIMEOUT, f"node {node_id} to find a free port")

    def _new_node(self, node_id, listed):
        folder = self.nodes[0].folder
        peers = {node.id: node.settings["listen.peer"] for node in self.nodes}
        peers[node_id] = f"127.0.0.1:{free_port()}"
        settings = self._settings(folder, node_id, peers)
        settings["cluster.replicas"] = self.nodes[0].settings["cluster.replicas"]
        if not listed:
            del peers[node_id]
            settings["cluster.nodes"] = ", ".join(f"{i}={peer}" for i, peer in peers.items())
        return Node(self.binary, folder, node_id, settings, self._hello)

    def add(self, node, through, timeout=60.0):
        """Adds a newcomer and waits until it is a member."""
        self.nodes.append(node)
        return through.call("add_node", node.id, node.settings["listen.peer"], timeout=timeout)

    def remove(self, node, through, timeout=60.0):
        """Removes a member; its process, if it runs, goes on."""
        result = through.call("remove_node", node.id, timeout=timeout)
        self.part_with(node)
        return result

    def part_with(self, node):
        self.nodes.remove(node)
        self.former.append(node)

    def running(self):
        return [node for node in self.nodes if node.running]

    def endpoints(self):
        """For `mayfly -s`."""
        return ",".join(node.ready["rpc"] for node in self.running())

    def peer_address(self, node):
        return parse_address(node.settings["listen.peer"])

    def wait_settled(self, timeout=SETTLE_TIMEOUT):
        """Waits until all running nodes see each other and name the same living leader for every
        shard."""
        wait_for(self._settled, timeout, "a leader of every shard that all nodes agree on")

    def _settled(self):
        self.fail_if_ended()
        living = {node.id for node in self.running()}
        told = [node.call("cluster") for node in self.running()]
        views = [{shard["id"]: shard["leader"] for shard in view["shards"]} for view in told]
        alive = [{node["id"] for node in view["nodes"] if node["alive"]} for view in told]
        return (all(living <= seen for seen in alive) and all(view == views[0] for view in views)
                and len(views[0]) == self.shards and set(views[0].values()) <= living)

    def fail_if_ended(self):
        for node in self.running():
            if node.process.poll() is not None:
                raise NodeEnded(node.trouble())

    def leader_of(self, key):
        """The node that leads the shard of a key."""
        shard = self.shard_of(key)
        def known():
            for node in self.running():
                leader = node.call("cluster")["shards"][shard]["leader"]
                if leader and self.node(leader).running:
                    return self.node(leader)
            return None
        return wait_for(known, SETTLE_TIMEOUT, f"a leader of shard {shard}")

    def shards_now(self):
        """A function from a key to its shard, as long as no slot moves."""
        ranges = sorted((first, last, shard["id"])
                        for shard in self.running()[0].call("cluster")["shards"]
                        for first, last in shard["slots"])
        owners = [shard for first, last, shard in ranges for _ in range(first, last + 1)]
        equal(len(owners), SLOTS, "slots that a shard owns")
        return lambda key: owners[slot_of(key)]

    def shard_of(self, key):
        return self.shards_now()(key)

    def busiest_leader(self):
        """The running node that leads most shards."""
        view = self.running()[0].call("cluster")
        led = [shard["leader"] for shard in view["shards"]]
        return max(self.running(), key=lambda node: led.count(node.id))

    def applied(self, node):
        """shard -> the log index that the node has applied."""
        return {shard["id"]: shard["applied"] for shard in node.call("cluster")["shards"]
                if shard["applied"] is not None}

    def wait_caught_up(self, node, timeout=60.0):
        """Waits until `node` has applied what the others had applied at the time of the call, and
        all agree on living leaders."""
        others = [self.applied(other) for other in self.running() if other is not node]
        target = {shard: max(view[shard] for view in others) for shard in range(self.shards)}
        def caught_up():
            self.fail_if_ended()
            mine = self.applied(node)
            return all(mine.get(shard, -1) >= index for shard, index in target.items())
        wait_for(caught_up, timeout, f"node {node.id} to catch up")
        self.wait_settled(timeout)

    def wait_equal(self, timeout=60.0):
        """Waits until all nodes have applied the same log, and nothing is on its way. Each leader
        answers for its shards first: before, after a restart, all nodes may be equally far back."""
        wait_for(lambda: [self.nodes[0].call("size", timeout=timeout)], timeout, "all leaders")

        def equal():
            self.fail_if_ended()
            views = [self.applied(node) for node in self.nodes]
            again = [self.applied(node) for node in self.nodes]
            return all(view == views[0] for view in views + again)
        wait_for(equal, timeout, "all nodes to have applied the same entries")
        return self.applied(self.nodes[0])

    def trouble(self):
        for node in self.nodes + self.former:
            trouble = node.trouble()
            if trouble:
                return trouble
        return None

    def stop(self):
        """Stops all nodes in order; returns what went wrong with it, or None."""
        trouble = self.trouble()
        stopping = self.running() + [node for node in self.former if node.running]
        for node in stopping:
            node.resume()
            node.signal(signal.SIGTERM)
        deadline = time.monotonic() + 20
        for node in stopping:
            try:
                status = node.wait_end(max(0.1, deadline - time.monotonic()))
            except AssertionError:
                node.kill9()
                status = "none, 20 s after SIGTERM"
            if status != 0 and not trouble:
                trouble = (f"node {node.id} exited with status {status} when it was stopped; "
                           f"the end of its log:\n{node.log_tail()}")
        return trouble or self.trouble()

    def kill(self):
        for node in self.nodes + self.former:
            if node.running:
                node.kill9()
