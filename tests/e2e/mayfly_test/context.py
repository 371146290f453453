"""What a test function is given: its folder, its seed, its clusters."""

import functools
import pathlib
import random

from . import process
from .check import equal
from .cluster import Cluster

DEFAULT_SECONDS = 120


def limit(seconds):
    """Decorator: the test may take this long before it is taken for hung."""
    def mark(test):
        test.seconds_max = seconds
        return test
    return mark


@functools.lru_cache
def is_sanitized(binary):
    """Whether the program carries a sanitizer: several times slower and fatter."""
    program = binary.read_bytes()
    return b"__asan_init" in program or b"__tsan_init" in program


def patience(binary):
    """Settings of clusters whose leaders are to stay. What takes a tenth of a lease takes most of
    it with a sanitizer: without this, a leader that works is taken for one that has stopped. A
    request waits for several of these leases, and may have 64 MB."""
    return ({"consensus.lease_ms": 3000, "limits.request_timeout": 30000}
            if is_sanitized(binary) else {})


class SharedClusters:
    """Clusters that one test after the other uses, since a start takes longer than most tests."""

    def __init__(self, folder):
        self._folder = folder
        self._clusters = {}
        self._started = 0

    def get(self, binary, n):
        if n not in self._clusters:
            self._started += 1
            folder = self._folder / f"shared-{self._started}-of-{n}"
            self._clusters[n] = Cluster(binary, folder, n, overrides=patience(binary))
            self._clusters[n].start()
        return self._clusters[n]

    def drop(self, cluster):
        """After a failure the next test begins afresh; the folder stays for who looks into it."""
        cluster.kill()
        self._clusters = {n: kept for n, kept in self._clusters.items() if kept is not cluster}

    def stop(self):
        troubles = [cluster.stop() for cluster in self._clusters.values()]
        self._clusters = {}
        return next((trouble for trouble in troubles if trouble), None)

    def kill(self):
        for cluster in self._clusters.values():
            cluster.kill()


class Skipped(Exception):
    """What the test needs is not to be had on this machine; it counts neither way."""


class Context:
    """One test's surroundings. `rng` and everything random comes from `seed`."""

    def __init__(self, name, folder, binaries, seed, quick, shared):
        self.name = name
        self.dir = pathlib.Path(folder)
        self.seed = seed
        self.quick = quick
        self.rng = random.Random(seed)
        self.notes = []
        self.used_shared = []
        self._binaries = binaries
        self._shared = shared
        self._clusters = []
        self.dir.mkdir(parents=True)

    def bin(self, name):
        return self._binaries / name

    @property
    def sanitized(self):
        return is_sanitized(self.bin("mayflyd"))

    @property
    def patience(self):
        return patience(self.bin("mayflyd"))

    def note(self, text):
        """A figure that is worth a line even where the test passes."""
        self.notes.append(text)

    def cluster(self, n=3, name="cluster", start=True, **options):
        """A cluster of this test alone, started, and stopped at its end."""
        cluster = Cluster(self.bin("mayflyd"), self.dir / name, n, **options)
        self._clusters.append(cluster)
        return cluster.start() if start else cluster

    def shared_cluster(self, n):
        """A running cluster with default settings that other tests have used and will use: leave
        it as it was, but for keys; take keys that begin with the test's own prefix."""
        cluster = self._shared.get(self.bin("mayflyd"), n)
        if cluster not in self.used_shared:
            self.used_shared.append(cluster)
        return cluster

    def key(self, name):
        """A key of this test alone, for shared clusters."""
        name = name if isinstance(name, bytes) else name.encode()
        return f"{self.name}:{self.seed}:".encode() + name

    def run(self, program, *args, stdin=b"", timeout=60, **options):
        """Runs one of the programs to its end."""
        return process.run([self.bin(program), *args], stdin, timeout, cwd=self.dir, **options)

    def mayfly(self, cluster, *args, status=0, **options):
        """Runs the command line against a cluster; its exit status must be `status`."""
        finished = self.run("mayfly", "-s", cluster.endpoints(), *args, **options)
        equal(finished.status, status, f"exit status of\n{finished}\n")
        return finished

    def finish(self):
        """Stops what the test started in order, and says what was wrong with it, or None."""
        troubles = [cluster.stop() for cluster in self._clusters]
        troubles += [cluster.trouble() for cluster in self.used_shared]
        return next((trouble for trouble in troubles if trouble), None)

    def kill(self):
        for cluster in self._clusters:
            cluster.kill()
