"""Clients that work a cluster from many threads and note down what they were told.

Half of the writes carry an id and are sent again, through any node, until an answer comes: they
must take effect once, and the checker would notice a second time. Now and then one that was answered
before is sent again all the same, and must be given the same answer. The other half are sent once:
a lost answer leaves their outcome unknown.
"""

import collections
import os
import random
import threading
import time

from .client import RpcError
from .history import UNKNOWN
from .linear import NOT_KNOWN

# What a server may say when it could not serve, by what it tells of the outcome.
NOTHING_HAPPENED = frozenset(["NO_QUORUM", "BUSY"])
OUTCOME_UNKNOWN = frozenset(["TIMEOUT", "SHUTTING_DOWN"])

ANSWER_TIMEOUT = 10.0   # more than the server's own request_timeout
RETRY_SECONDS = 30.0
BACK_OFF_SECONDS = 0.01

REGISTERS = 10
TTL_KEYS = 4
OPS_PER_GENERATION = 1500  # then a key is left alone, which keeps each history small


class Workload:
    """`clients` threads until stop(). Afterwards: `history`, `acknowledged`, `problems`."""

    def __init__(self, cluster, history, seed, clients=8, ttls=True):
        self.cluster = cluster
        self.history = history
        self.acknowledged = {}  # unique key -> value, written and acknowledged
        self.problems = []      # what no server should ever say
        self.longest_stall = 0.0
        self.stopping = threading.Event()
        self._last_answer = time.monotonic()
        self._workers = [Worker(self, number, random.Random(f"{seed}/{number}"), ttls)
                         for number in range(clients)]

    def start(self):
        self._last_answer = time.monotonic()
        for worker in self._workers:
            worker.start()
        return self

    def stop(self, timeout=60.0):
        self.stopping.set()
        deadline = time.monotonic() + timeout
        for worker in self._workers:
            worker.join(max(0.1, deadline - time.monotonic()))
            if worker.is_alive():
                self.problems.append(f"client {worker.number} hangs")

    def answered(self):
        """Notes that the cluster gives answers, for the longest time that it did not."""
        now = time.monotonic()
        self.longest_stall = max(self.longest_stall, now - self._last_answer)
        self._last_answer = now

    def answers(self):
        """How many operations have been answered so far."""
        return sum(worker.answers for worker in self._workers)

    def summary(self):
        return (f"{len(self.history)} operations, {self.history.count(UNKNOWN)} unknown, "
                f"{len(self.acknowledged)} unique writes, "
                f"longest stall {self.longest_stall:.2f} s")


class Worker(threading.Thread):
    """One client: a connection to some node, another one after trouble."""

    def __init__(self, workload, number, rng, ttls):
        super().__init__(name=f"client-{number}", daemon=True)
        self.workload = workload
        self.number = number
        self.rng = rng
        self.ttls = ttls
        self.answers = 0
        self._connection = None
        self._sequence = 0
        self._versions = {}  # key -> a version seen lately, for if_version
        self._answered = collections.deque(maxlen=100)  # (method, params with an id, result)

    def run(self):
        try:
            while not self.workload.stopping.is_set():
                self._one()
        except Exception as error:  # whatever it is, the test must hear of it
            self.workload.problems.append(f"client {self.number}: {error!r}")
        finally:
            self._drop_connection()

    def _one(self):
        choice = self.rng.random()
        if choice < 0.20:
            self._unique_write()
        elif choice < 0.45 and self.ttls:
            self._ttl_operation()
        elif choice < 0.52:
            self._read_many()
        elif choice < 0.57:
            self._write_many()
        elif choice < 0.60 and self._answered:
            self._repeat()
        else:
            self._register_operation()

    # What to do.

    def _unique_write(self):
        """A key that nobody else writes: if acknowledged, it must be there at the end."""
        self._sequence += 1
        key = b"w:%d:%d" % (self.number, self._sequence)
        value = os.urandom(self.rng.randrange(1, 200))
        options = {"id": self._id()} if self.rng.random() < 0.5 else {}
        _, result = self._send("set", [key, value, options], retry=bool(options))
        if result:
            self.workload.acknowledged[key] = value

    def _register_operation(self):
        key = self._key(b"r", REGISTERS)
        kind = self.rng.choice(["get"] * 6 + ["set"] * 6 + ["del", "has"])
        args = {}
        if kind == "get" and self.rng.random() < 0.4:
            args["meta"] = True
        elif kind == "set":
            args["value"] = self._value()
            condition = self.rng.choice(["nx", "xx", "get", "if_version", "if_version", "", ""])
            if condition == "if_version":
                args[condition] = self._versions.get(key, 0)
            elif condition:
                args[condition] = True
        elif kind == "del" and self.rng.random() < 0.3:
            args["if_version"] = self._versions.get(key, 0)
        self._do(key, kind, args)

    def _ttl_operation(self):
        key = self._key(b"t", TTL_KEYS)
        kind = self.rng.choice(["get"] * 8 + ["set"] * 4 + ["ttl"] * 3 + ["expire", "persist"])
        args = {}
        if kind == "get" and self.rng.random() < 0.5:
            args["meta"] = True
        elif kind == "set":
            args["value"] = self._value()
            args.update(self.rng.choice([{"ttl": self.rng.randrange(100, 3000)},
                                         {"ttl": self.rng.randrange(100, 3000), "nx": True},
                                         {"keep_ttl": True}]))
        elif kind == "expire":
            args["ttl"] = self.rng.choice([-1, 500, 2000])
        self._do(key, kind, args)

    def _read_many(self):
        keys = list({self._key(b"r", REGISTERS) for _ in range(4)})
        ops = [self.workload.history.begin(self.number, key, "get") for key in keys]
        answered, result = self._send("mget", [keys], retry=False)
        for op, value in zip(ops, result if answered else []):
            op.ok(value)

    def _write_many(self):
        pairs = [[key, self._value()] for key in {self._key(b"r", REGISTERS) for _ in range(3)}]
        ops = [self.workload.history.begin(self.number, key, "set", value=value)
               for key, value in pairs]
        answered, result = self._send("mset", [pairs, {"id": self._id()}], retry=True)
        if answered and result != len(pairs):
            self.workload.problems.append(f"mset of {len(pairs)} pairs returned {result!r}")
        for op in ops:
            if answered:
                op.ok({"version": NOT_KNOWN})
            elif answered is None:
                op.failed()

    def _repeat(self):
        method, params, first = self.rng.choice(self._answered)
        answered, again = self._send(method, params, retry=True)
        if answered and again != first:
            self.workload.problems.append(f"{method} {params!r:.300} gave {first!r} first and "
                                          f"{again!r} when it was sent again")

    def _key(self, prefix, count):
        generation = self.workload.answers() // (OPS_PER_GENERATION * REGISTERS)
        return b"%s%d:%d" % (prefix, generation, self.rng.randrange(count))

    def _value(self):
        self._sequence += 1
        return b"%d-%d" % (self.number, self._sequence)

    def _id(self):
        return self.rng.randbytes(16)

    # How it is done.

    def _do(self, key, kind, args):
        """One operation on one key, from the request to the note of its answer."""
        op = self.workload.history.begin(self.number, key, kind, **args)
        options = dict(args)
        params = [[key]] if kind in ("del", "has") else [key]
        if "value" in options:
            params.append(options.pop("value"))
        if kind == "expire":
            params.append(options.pop("ttl"))
        retry = kind in ("set", "del", "expire", "persist") and self.rng.random() < 0.5
        if retry:
            options["id"] = self._id()
        answered, result = self._send(kind, params + [options], retry)
        if answered:
            if kind == "has":
                result = result[0]
            op.ok(result)
            if isinstance(result, dict) and result["version"]:
                self._versions[key] = result["version"]
        elif answered is None:
            op.failed()

    def _send(self, method, params, retry):
        """(True, result), (None, None) when certainly nothing happened, (False, None) when nobody
        knows. With `retry` (and an id) it is sent again until there is an answer."""
        certain = True
        give_up = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                connection = self._connect()
            except OSError:
                connection = None
            if connection is not None:
                try:
                    result = connection.call(method, *params)
                    self.answers += 1
                    self.workload.answered()
                    if retry:
                        self._answered.append((method, params, result))
                    return True, result
                except RpcError as error:
                    certain = certain and error.code in NOTHING_HAPPENED
                    if error.code not in NOTHING_HAPPENED | OUTCOME_UNKNOWN:
                        self.workload.problems.append(f"{method} {params!r:.300}: {error}")
                        return False, None
                except OSError:
                    certain = False
                self._drop_connection()
                if not retry:
                    return (None if certain else False), None
            if time.monotonic() > give_up:
                return (None if certain else False), None
            time.sleep(BACK_OFF_SECONDS)

    def _connect(self):
        if self._connection is None:
            self._connection = self.rng.choice(self.workload.cluster.nodes).connect(ANSWER_TIMEOUT)
        return self._connection

    def _drop_connection(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None
