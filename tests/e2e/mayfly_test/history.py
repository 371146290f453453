"""What clients asked, when, and what they were told: the material that the checker judges.

An operation is open from `invoke` to `ret`, both of the one monotonic clock of this process. Its
outcome is one of

    ok        answered; it took effect at one moment between invoke and ret, with this result
    failed    known to have had no effect: it is left out of the judgement
    unknown   no answer, or one that says "unknown": it takes effect once at any moment after
              invoke, however late, or never; ret is infinite
"""

import json
import math
import time

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"

READS = frozenset(["get", "has", "ttl"])


class Op:
    """One operation on one key. Fields are as in the RPC: kind is the method, args its options
    (and `value` for set, `ttl` for expire), result what the server returned."""

    __slots__ = ("process", "key", "kind", "args", "invoke", "ret", "outcome", "result")

    def __init__(self, process, key, kind, args, invoke, ret=math.inf, outcome=UNKNOWN,
                 result=None):
        self.process = process
        self.key = key
        self.kind = kind
        self.args = args
        self.invoke = invoke
        self.ret = ret
        self.outcome = outcome
        self.result = result

    def ok(self, result):
        self.ret = time.monotonic()
        self.result = result
        self.outcome = OK

    def failed(self):
        self.ret = time.monotonic()
        self.outcome = FAILED

    def __repr__(self):
        args = ", ".join(f"{name}={value!r}" for name, value in self.args.items())
        answer = repr(self.result) if self.outcome == OK else self.outcome
        return (f"[{self.invoke:.6f} .. {self.ret:.6f}] client {self.process}: "
                f"{self.kind}({args}) -> {answer}")


class History:
    """Operations of many threads. An operation is noted when it begins, so that none is lost."""

    def __init__(self):
        self._ops = []

    def begin(self, process, key, kind, **args):
        op = Op(process, key, kind, args, time.monotonic())
        self._ops.append(op)  # one bytecode, atomic between threads
        return op

    def __len__(self):
        return len(self._ops)

    def count(self, outcome):
        return sum(1 for op in self._ops if op.outcome == outcome)

    def by_key(self):
        """key -> its operations in the order of their beginning; those that failed left out."""
        keys = {}
        for op in self._ops:
            if op.outcome != FAILED:
                keys.setdefault(op.key, []).append(op)
        for ops in keys.values():
            ops.sort(key=lambda op: op.invoke)
        return keys


def dump(ops, path):
    """Writes operations one a line, for eyes and for load()."""
    with open(path, "w", encoding="utf-8") as file:
        for op in ops:
            record = [op.process, op.key, op.kind, op.args, op.invoke,
                      None if op.ret == math.inf else op.ret, op.outcome, op.result]
            file.write(json.dumps(record, default=_text) + "\n")


def load(path):
    """Reads what dump() wrote: a failure can be judged again."""
    ops = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            fields = json.loads(line, object_hook=_bytes)
            fields[5] = math.inf if fields[5] is None else fields[5]
            ops.append(Op(*fields))
    return ops


def _text(value):
    return {"bytes": value.decode("latin-1")}


def _bytes(value):
    return value["bytes"].encode("latin-1") if list(value) == ["bytes"] else value
