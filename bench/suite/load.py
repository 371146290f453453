"""Runs mayfly-bench and reads what it says."""

import json

from .common import Failed, run

FIGURES = ("operations", "cpu", "client_cpu", "mean", "p50", "p99", "p999")


class Load:
    """mayfly-bench on one server: its protocol and addresses, and the processes that answer."""

    def __init__(self, build, name, protocol, addresses, server, *flags):
        self.build = build
        self.name = name
        self.protocol = protocol
        self.addresses = addresses
        self.server = server
        self.flags = flags

    def run(self, *flags):
        """A dict of FIGURES: operations a second, microseconds of the servers' processor time and
        of mayfly-bench's for each, and latencies in milliseconds."""
        shown = run(self.build / "bin" / "mayfly-bench", "-p", self.protocol, "-s", self.addresses,
                    "--server-pid", ",".join(map(str, self.server.pids)), "--no-live", "-o", "json",
                    *self.flags, *flags)
        result = json.loads(shown)
        if result["server_cpu_us"] is None:
            raise Failed(f"{self.name}: a server has ended: {shown}")
        every = result["all"]
        return {"operations": every["per_second"], "cpu": result["server_cpu_us"],
                "client_cpu": result["client_cpu_us"], "mean": every["mean_ms"],
                "p50": every["p50_ms"], "p99": every["p99_ms"], "p999": every["p99.9_ms"]}

    def fill(self, keys, *flags):
        self.run("-k", keys, "-m", "get=1", "-c", 16, "--seconds", 0.01, "--warmup", 0, *flags)


def interleaved(loads, rounds, *flags):
    """Runs each once in every round, one after the other: name -> its runs."""
    runs = {load.name: [] for load in loads}
    for _ in range(rounds):
        for load in loads:
            runs[load.name].append(load.run(*flags))
    return runs


def rounded(figures):
    """The cells of a table: operations a second, processor time, three percentiles."""
    return [f"{figures['operations']:,.0f}", f"{figures['cpu']:.2f}",
            *(f"{figures[name]:.3f}" for name in ("p50", "p99", "p999"))]
