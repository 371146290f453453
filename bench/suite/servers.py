"""Servers to be measured, each in a folder of its own and on free ports of 127.0.0.1. They end with
this process, however it ends."""

import json
import os
import pathlib
import urllib.request

from .common import Failed  # which also makes mayfly_test known

from mayfly_test import process  # noqa: E402
from mayfly_test.client import parse_address  # noqa: E402
from mayfly_test.cluster import Cluster, free_port  # noqa: E402
from mayfly_test.resp import Resp  # noqa: E402
from mayfly_test.wait import wait_for  # noqa: E402

START_SECONDS = 60.0


def processor_seconds(pids):
    """Of all these processes since their start, in user and kernel mode."""
    ticks = 0
    for pid in pids:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        user, kernel = stat.rpartition(")")[2].split()[11:13]
        ticks += int(user) + int(kernel)
    return ticks / os.sysconf("SC_CLK_TCK")


class Program:
    """A server process. Subclasses say how it is started and when it answers."""

    def __init__(self, folder, *command):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        with open(self.folder / "log", "wb") as log:
            self.process = process.spawn(command, cwd=self.folder, stdout=log, stderr=log)

    @property
    def pids(self):
        return [self.process.pid]

    def wait(self, answers, what):
        def ready():
            if self.process.poll() is not None:
                raise Failed(f"{what} ended: {(self.folder / 'log').read_text()[-500:]}")
            try:
                return answers()
            except OSError:
                return False
        wait_for(ready, START_SECONDS, f"{what} to answer")

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Redis(Program):
    """In memory only."""

    def __init__(self, folder, program):
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        super().__init__(folder, program, "--port", port, "--bind", "127.0.0.1", "--save", "",
                         "--appendonly", "no")
        self.wait(lambda: Resp(("127.0.0.1", port)).call("PING"), "redis-server")

    @property
    def resp(self):
        return self.address

    def key_count(self):
        """Those that are still in memory, dead or not."""
        with Resp(parse_address(self.address), timeout=60) as connection:
            return int(connection.call("DBSIZE")[1:])


class Memcached(Program):
    def __init__(self, folder, program, threads):
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        super().__init__(folder, program, "-l", "127.0.0.1", "-p", port, "-U", 0, "-t", threads,
                         "-m", 4096, *user)
        self.wait(lambda: Resp(("127.0.0.1", port)).close() is None, "memcached")


class Mayfly:
    """A cluster of nodes with both Redis ports."""

    def __init__(self, build, folder, nodes=1, threads=1, mode="none", shards=16, **overrides):
        self.cluster = Cluster(build / "bin" / "mayflyd", folder, nodes, shards, mode, {
            "node.threads": threads, "listen.resp": "127.0.0.1:0",
            "listen.resp_cluster": "127.0.0.1:0",
            # A machine that does this much at once stands still at times, and no leader shall go.
            "consensus.lease_ms": 3000, **overrides})
        self.cluster.start()

    @property
    def pids(self):
        return [node.pid for node in self.cluster.nodes]

    def addresses(self, port):
        return ",".join(node.ready[port] for node in self.cluster.nodes)

    @property
    def resp(self):
        return self.addresses("resp")

    def key_count(self):
        """Those that are still in memory, dead or not."""
        return self.cluster.nodes[0].call("stats", timeout=60)["keys"]

    def in_place(self):
        """Waits until each shard is led by the node that is meant to."""
        nodes = self.cluster.nodes

        def even():
            shards = nodes[0].call("cluster")["shards"]
            counts = [sum(shard["leader"] == node.id for shard in shards) for node in nodes]
            return sum(counts) == len(shards) and max(counts) - min(counts) <= 1
        wait_for(even, START_SECONDS, "an even spread of leaders")
        self.cluster.wait_settled()
        return self

    def stop(self):
        self.cluster.kill()


class Etcd:
    """Three members, with etcd's defaults."""

    def __init__(self, folder, program):
        ports = [(free_port(), free_port()) for _ in range(3)]
        everyone = ",".join(f"m{i}=http://127.0.0.1:{peer}" for i, (_, peer) in enumerate(ports))
        self.addresses = ",".join(f"127.0.0.1:{client}" for client, _ in ports)
        self.members = []
        for i, (client, peer) in enumerate(ports):
            own, others = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
            self.members.append(Program(
                pathlib.Path(folder) / f"m{i}", program, "--name", f"m{i}", "--data-dir", "data",
                "--listen-client-urls", own, "--advertise-client-urls", own,
                "--listen-peer-urls", others, "--initial-advertise-peer-urls", others,
                "--initial-cluster", everyone))
        for member, (client, _) in zip(self.members, ports):
            member.wait(lambda port=client: self._healthy(port), "etcd")

    @staticmethod
    def _healthy(port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            return json.load(answer)["health"] == "true"

    @property
    def pids(self):
        return [pid for member in self.members for pid in member.pids]

    def stop(self):
        for member in self.members:
            member.stop()
