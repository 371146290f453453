"""Runs one test body against every way in: a single node, and each node of a cluster of three."""

import functools
import hashlib

from .check import equal, true
from .client import RpcError


class Api:
    """One way in, and the calls that API tests are made of."""

    def __init__(self, t, cluster, node):
        self.t = t
        self.cluster = cluster
        self.node = node
        self.label = f"{len(cluster.nodes)}.{node.id}"
        self.connection = node.connect(timeout=60.0)  # some values are of 64 MB

    def __str__(self):
        return f"through node {self.node.id} of {len(self.cluster.nodes)}"

    def key(self, name="key"):
        """A key of this test and this way in alone; the same name gives the same key."""
        name = name if isinstance(name, bytes) else name.encode()
        return self.t.key(f"{self.label}:".encode() + name)

    def id(self, name="id"):
        """An id of this test and this way in alone: 64 bytes, the longest there is."""
        return hashlib.sha256(self.key(name)).hexdigest()

    def call(self, method, *params):
        return self.connection.call(method, *params)

    def gives(self, expected, method, *params):
        """The call's result, of exactly this value and type."""
        equal(self.call(method, *params), expected, f"{method} {params!r:.300}")

    def refused(self, code, method, *params):
        """The call fails with this code, and the connection lives on."""
        error = self.error(method, *params)
        equal(error and error.code, code, f"error of {method} {params!r:.300} ({error})")
        self.gives("pong", "ping")

    def error(self, method, *params):
        try:
            self.call(method, *params)
        except RpcError as error:
            return error
        return None

    def written(self, method, *params):
        """The version that a write returned; it must be the whole result."""
        result = self.call(method, *params)
        true(isinstance(result, dict) and set(result) == {"version"}
             and type(result["version"]) is int and result["version"] > 0,
             f"{method} {params!r:.300}: {result!r}, expected a map with a version")
        return result["version"]

    def other_nodes(self):
        """All nodes of the cluster but this one, or this one where it is alone."""
        return [node for node in self.cluster.nodes if node is not self.node] or [self.node]


def on(*sizes):
    """Decorator: the body, f(api), runs through every node of a shared cluster of each size."""
    def decorate(test):
        @functools.wraps(test)
        def run(t):
            for n in sizes:
                cluster = t.shared_cluster(n)
                for node in cluster.nodes:
                    api = Api(t, cluster, node)
                    try:
                        test(api)
                    except (AssertionError, RpcError, OSError) as error:
                        raise AssertionError(f"{api}: {error}") from error
                    finally:
                        api.connection.close()
        return run
    return decorate


everywhere = on(1, 3)
