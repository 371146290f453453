"""What clients do while a cluster is tortured: more than the workload of the chaos (workload.py), and
through MessagePack-RPC and the Redis port at once.

Beside what that does: counters to which they add 1 with an id, transactions over the two keys of a
group (groups.py), and mortals, keys that are written once, with a TTL, and then looked at until they
are gone and after (promises.py).
"""

import collections
import random
import threading
import time

from .client import RpcError, parse_address
from .linear import NOT_KNOWN
from .promises import Mortal, Sight
from .resp import Resp
from .wait import wait_for
from .workload import (BACK_OFF_SECONDS, NOTHING_HAPPENED, OUTCOME_UNKNOWN, REGISTERS, TTL_KEYS,
                       Worker, Workload)

COUNTERS = 6
GROUPS = 4
OPS_PER_GENERATION = 3000  # of all clients; then there are new keys, which keeps histories small
MORTALS_WATCHED = 60
READS_AT_ONCE = 6
READS_OPEN_MAX = 120
READ_SECONDS = 0.02  # from one lot of a reader's to the next
AVOID_SECONDS = 3.0  # a node that has not answered

# Error replies that tell that nothing has happened, of a request for one shard.
RESP_NOTHING_HAPPENED = (b"-CLUSTERDOWN", b"-TRYAGAIN", b"-BUSY", b"-SHUTTINGDOWN", b"-EXECABORT")
RESP_UNKNOWN = (b"-TIMEOUT",)


class TortureWorkload(Workload):
    """Afterwards, beside what a Workload has: `mortals`, `sights`, `counts`, `groups`, and `answers_at`,
    the time and the shard of every answer."""

    def __init__(self, cluster, histories, seed, clients, answer_timeout):
        """clients: how many of MessagePack-RPC, and of the Redis port. answer_timeout: seconds, more
        than the server's own."""
        super().__init__(cluster, histories[0], seed, clients=0)
        self.answer_timeout = answer_timeout
        self.groups = histories[1]
        self.mortals = []
        self.watched = collections.deque(maxlen=MORTALS_WATCHED)
        self.sights = []
        self.counts = collections.defaultdict(list)    # counter -> what clients were told
        self.not_told = collections.Counter()          # counter -> how often they were told nothing
        self.answers_at = []
        self.generation = 0
        self.shard_of = cluster.shards_now()
        kinds = ([TortureWorker] * clients[0] + [RespWorker] * clients[1]
                 + [Reader] * len(cluster.nodes))
        self._workers = [kind(self, number, random.Random(f"{seed}/{number}"))
                         for number, kind in enumerate(kinds)]

    def new_keys(self):
        """From now on clients use other keys: what is unknown of the old ones stays with them."""
        self.generation += 1


class TortureWorker(Worker):
    def __init__(self, workload, number, rng):
        super().__init__(workload, number, rng, ttls=True)
        self._node = None
        self._avoided = {}  # node id -> until when

    def _one(self):
        choice = self.rng.random()
        if choice < 0.12:
            self._add_to_counter()
        elif choice < 0.30:
            self._transaction()
        elif choice < 0.36:
            self._mortal()
        elif choice < 0.50 and self.workload.watched:
            self._look_at_mortal()
        else:
            super()._one()

    def _key(self, prefix, count):
        ops = len(self.workload.history) // OPS_PER_GENERATION
        return b"%s%d.%d:%d" % (prefix, self.workload.generation, ops, self.rng.randrange(count))

    def _add_to_counter(self):
        key = b"c%d" % self.rng.randrange(COUNTERS)
        answered, result = self._send("incr", [key, 1, {"id": self._id()}], retry=True)
        if answered:
            self.workload.counts[key].append(result)
        elif answered is False:
            self.workload.not_told[key] += 1

        key = self._key(b"n", COUNTERS)
        op = self.workload.history.begin(self.number, key, "incr", delta=self.rng.choice([1, -3]))
        answered, result = self._send("incr", [key, op.args["delta"], {"id": self._id()}], retry=True)
        self._note(op, answered, result)

    def _transaction(self):
        group = self._key(b"g", GROUPS)
        keys = [b"{%s}%d" % (group, i) for i in (0, 1)]
        amount = self.rng.randrange(1, 100)
        move = [["incr", 0, -amount], ["incr", 1, amount]]
        look = [["get", 0], ["get", 1]]
        new = [["set", 0, self._number()], ["set", 1, self._number()]]
        conditions, then, otherwise = self.rng.choice([
            ([], move, []), ([], look, []), ([], move + look, []), ([], new, []),
            ([[0, self._number()]], new + look, look), ([[1, self._number()]], move, look)])
        if not self.can_choose:
            conditions, otherwise = [], []
        op = self.workload.groups.begin(self.number, group, "txn",
                                        **{"if": conditions, "then": then, "else": otherwise})
        answered, result = self._send_txn(keys, conditions, then, otherwise)
        self._note(op, answered, result)

    can_choose = True

    def _number(self):
        return b"%d" % self.rng.randrange(3)

    @staticmethod
    def _note(op, answered, result):
        if answered:
            op.ok(result)
        elif answered is None:
            op.failed()

    def _mortal(self):
        self._sequence += 1
        key = b"m:%d:%d" % (self.number, self._sequence)
        ttl = self.rng.randrange(100, 5000)
        invoke = time.monotonic()
        answered, result = self._send("set", [key, b"m", {"ttl": ttl, "id": self._id()}], retry=True)
        if answered and result:
            mortal = Mortal(key, invoke, time.monotonic(), ttl / 1000)
            self.workload.mortals.append(mortal)
            self.workload.watched.append(mortal)

    def _look_at_mortal(self):
        watched = list(self.workload.watched)
        invoke = time.monotonic()
        if self.rng.random() < 0.5:
            mortal = self.rng.choice(watched)
        else:  # the one that is nearest to its end
            mortal = min(watched, key=lambda each: abs(each.invoke + each.ttl - invoke))
        answered, value = self._send("get", [mortal.key, {}], retry=False)
        if answered:
            self.workload.sights.append(
                Sight(mortal.key, invoke, time.monotonic(), value is not None))

    def _send_txn(self, keys, conditions, then, otherwise):
        """A transaction in the words of groups.py, and its answer in these."""
        def methods(branch):
            return [[method, keys[key], *operand] for method, key, *operand in branch]
        txn = {"if": [[keys[key], "value", "=", value] for key, value in conditions],
               "then": methods(then), "else": methods(otherwise)}
        answered, result = self._send("txn", [txn, {"id": self._id()}], retry=True)
        if answered:
            result = (result["ok"], [None if isinstance(each, dict) else each
                                     for each in result["results"]])
        return answered, result

    def _send(self, method, params, retry):
        answered, result = super()._send(method, params, retry)
        self._note_answer(answered, params)
        return answered, result

    def _note_answer(self, answered, params):
        if answered:
            shard = self.workload.shard_of(first_key(params))
            self.workload.answers_at.append((time.monotonic(), shard))

    def _connect(self):
        if self._connection is None:
            self._choose_node()
            self._connection = self._node.connect(self.workload.answer_timeout)
        return self._connection

    def _choose_node(self):
        """Not one that has just given trouble, if there is another: else all clients would soon wait
        for the same."""
        now = time.monotonic()
        if self._node:
            self._avoided[self._node.id] = now + AVOID_SECONDS
        nodes = self.workload.cluster.nodes
        well = [node for node in nodes if self._avoided.get(node.id, 0) < now]
        self._node = self.rng.choice(well or nodes)


class RespWorker(TortureWorker):
    """The same through the Redis port, as far as that has it: no versions, and no ids, so that
    nothing is sent twice."""

    can_choose = False

    def _do(self, key, kind, args):
        super()._do(key, kind, {name: value for name, value in args.items()
                                if name not in ("meta", "if_version")})

    def _repeat(self):
        pass

    def _send_txn(self, *txn):
        return self._send("txn", txn, retry=False)

    def _send(self, method, params, retry):
        requests, meaning = IN_REDIS[method](*params)
        one_shard = method not in ("mget", "mset")
        answered, result = None, None  # nothing has been sent
        try:
            connection = self._connect()
            answered = False
            replies = [parse(reply) for reply in connection.pipeline(requests)]
            error = next((reply for reply in replies if isinstance(reply, Refusal)), None)
            last = replies[-1]
            if error is None:
                answered, result = True, meaning(last)
                self.answers += 1
                self.workload.answered()
            elif error.text.startswith(RESP_NOTHING_HAPPENED) and one_shard:
                answered = None
            elif not error.text.startswith(RESP_NOTHING_HAPPENED + RESP_UNKNOWN):
                self.workload.problems.append(f"{requests!r:.300}: {error.text!r}")
        except OSError:
            pass
        if not answered:
            self._drop_connection()
            self.workload.stopping.wait(BACK_OFF_SECONDS)
        self._note_answer(answered, params)
        return answered, result

    def _connect(self):
        if self._connection is None:
            self._choose_node()
            if "resp" not in self._node.ready:
                raise ConnectionRefusedError(f"node {self._node.id} is down")
            self._connection = Resp(parse_address(self._node.ready["resp"]),
                                    timeout=self.workload.answer_timeout)
        return self._connection


class Reader(TortureWorker):
    """Reads at one node, whatever becomes of it, and goes on asking while answers are due: so there
    are always questions to a node that is cut off, and to one that wakes up."""

    def __init__(self, workload, number, rng):
        super().__init__(workload, number, rng)
        self._node = workload.cluster.nodes[number % len(workload.cluster.nodes)]
        self._open = {}  # msgid -> what to do with an answer

    def _choose_node(self):
        pass

    def _one(self):
        try:
            connection = self._connect()
            if len(self._open) < READS_OPEN_MAX:
                for _ in range(READS_AT_ONCE):
                    self._ask(connection)
            self._take(connection, time.monotonic() + READ_SECONDS)
        except OSError:
            self._open.clear()  # reads without an answer tell nothing
            self._drop_connection()
            self.workload.stopping.wait(BACK_OFF_SECONDS)

    def _ask(self, connection):
        if self.workload.watched and self.rng.random() < 0.3:
            mortal = self.rng.choice(self.workload.watched)
            invoke = time.monotonic()

            def answer(value):
                self.workload.sights.append(
                    Sight(mortal.key, invoke, time.monotonic(), value is not None))
            key = mortal.key
        else:
            prefix, count = self.rng.choice([(b"r", REGISTERS), (b"t", TTL_KEYS), (b"n", COUNTERS)])
            key = self._key(prefix, count)
            answer = self.workload.history.begin(self.number, key, "get").ok
        self._open[connection.send("get", key)] = answer

    def _take(self, connection, until):
        """Answers that come until then."""
        while (left := until - time.monotonic()) > 0:
            try:
                msgid, error, result = connection.receive(left)
            except TimeoutError:
                return
            answer = self._open.pop(msgid)
            if error is None:
                answer(result)
                self.answers += 1
            elif error.code not in NOTHING_HAPPENED | OUTCOME_UNKNOWN:
                self.workload.problems.append(f"get: {error}")


def first_key(params):
    key = params[0]
    if isinstance(key, dict):
        return key["then"][0][1]
    while isinstance(key, list):
        key = key[0]
    return key


class Refusal:
    def __init__(self, text):
        self.text = text


def parse(reply):
    """A reply of RESP2 as bytes, integer, None, list, or Refusal."""
    value, rest = _parse(reply)
    if rest:
        raise AssertionError(f"{rest!r} behind a reply")
    return value


def _parse(data):
    line, rest = data.split(b"\r\n", 1)
    kind, word = line[:1], line[1:]
    if kind == b"+":
        return word, rest
    if kind == b":":
        return int(word), rest
    if kind == b"-":
        return Refusal(line), rest
    size = int(word)
    if size < 0:
        return None, rest
    if kind == b"$":
        return rest[:size], rest[size + 2:]
    items = []
    for _ in range(size):
        item, rest = _parse(rest)
        items.append(item)
    return items, rest


def _set(key, value, options):
    words = ["SET", key, value]
    words += [word for name, word in (("nx", "NX"), ("xx", "XX"), ("get", "GET"),
                                      ("keep_ttl", "KEEPTTL")) if options.get(name)]
    if options.get("ttl"):
        words += ["PX", options["ttl"]]
    if options.get("get"):
        return [words], lambda reply: {"version": NOT_KNOWN, "old": reply}
    return [words], lambda reply: {"version": NOT_KNOWN} if reply == b"OK" else None


def _transaction(keys, _conditions, then, _otherwise):
    words = {"get": "GET", "set": "SET", "incr": "INCRBY"}
    requests = [[words[method], keys[key], *operand] for method, key, *operand in then]
    return ([["MULTI"], *requests, ["EXEC"]],
            lambda replies: (True, [None if reply == b"OK" else reply for reply in replies]))


# method -> its requests, and what the last reply says in the words of the RPC.
IN_REDIS = {
    "get": lambda key, *_: ([["GET", key]], lambda reply: reply),
    "mget": lambda keys, *_: ([["MGET", *keys]], lambda reply: reply),
    "set": _set,
    "mset": lambda pairs, *_: ([["MSET", *(word for pair in pairs for word in pair)]],
                               lambda reply: len(pairs)),
    "del": lambda keys, *_: ([["DEL", *keys]], lambda reply: reply),
    "has": lambda keys, *_: ([["EXISTS", *keys]], lambda reply: [bool(reply)]),
    "incr": lambda key, delta, *_: ([["INCRBY", key, delta]], lambda reply: reply),
    "expire": lambda key, ttl, *_: ([["PEXPIRE", key, ttl]], lambda reply: bool(reply)),
    "persist": lambda key, *_: ([["PERSIST", key]], lambda reply: bool(reply)),
    "ttl": lambda key, *_: ([["PTTL", key]], lambda reply: reply),
    "txn": _transaction,
}


class Background(threading.Thread):
    """Does something again and again until it is stopped; trouble on the way is what nodes have
    that are being tortured."""

    def __init__(self, action, every):
        super().__init__(daemon=True)
        self.action, self.every = action, every
        self.done = 0
        self.refused = 0
        self.broken = None
        self.ended = threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(self.every):
            try:
                self.action()
                self.done += 1
            except (OSError, RpcError):
                self.refused += 1
            except Exception as error:  # whatever it is, the run must hear of it
                self.broken = repr(error)
                return

    def stop(self):
        self.ended.set()
        wait_for(lambda: not self.is_alive(), 120, "a thread to end")
        if self.broken:
            raise AssertionError(f"beside the clients: {self.broken}")
