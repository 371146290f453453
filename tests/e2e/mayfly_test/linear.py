"""Decides whether the recorded history of one key could have come from one copy of that key.

A history is linearizable when its operations can be put into one order such that (1) an operation
that returned before another began comes before it, and (2) each answer is what a single register
gives when the operations are carried out in that order. Operations with an unknown outcome may
stand anywhere after their beginning, or nowhere.

The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's
memoisation ("Testing for linearizability", 2017): depth first over configurations (set of
operations already ordered, state of the register), none of which is visited twice. Linearizability
is local, so each key is judged by itself.

Three things keep it fast in Python. A configuration is stored compactly, as the first operation that
is not ordered yet and a bit mask of those after it: the mask is as wide as the concurrency and not
as long as the history. And an operation of unknown outcome, of which there are a few after each
crash and which stays a candidate for ever, is tried last and only where it would change something.
And a read that fits where it stands, and tells nothing new there, is ordered at once and nowhere
else: in any order that has it later it can be moved to here, which asks less of all that it passes.

What the register knows beyond values:

    versions    a written version must be greater than all before it. The version of a write whose
                answer was lost is not known; it is fixed by the first answer that tells it.
    deadlines   a write is stamped with the store's clock between its beginning and its effect, and
                its effect is not later than the first return among all that stand behind it in the
                order. So a key with a TTL is certainly alive until `alive_until` (beginning of the
                write, plus TTL) and certainly dead from `dead_from` on (latest moment of its effect,
                plus TTL, plus the slack that the caller grants). In between it dies at some moment,
                once, and does not come back. Times are the client's monotonic ones.
"""

import math
from typing import NamedTuple, Optional

from .history import OK, READS, UNKNOWN

NOT_KNOWN = -1  # a version that no answer has told (yet); a written one of mset stays so

# A search that has seen this many configurations has met more lost answers, and writes at once, than
# it can sort out; it gives up rather than run for hours. A good history needs about one an operation.
CONFIGURATIONS_MAX = 3_000_000


class State(NamedTuple):
    """The register between two operations."""

    value: Optional[bytes]  # None: absent
    version: int            # 0: absent
    floor: int              # the version of any later change is greater than this
    alive_until: float      # before this the key cannot have expired; infinite without a TTL
    dead_from: float        # from here on it must have


EMPTY = State(None, 0, 0, math.inf, math.inf)


class Register:
    """The sequential behaviour of one key, with the freedom that time and lost answers give."""

    def __init__(self, late_slack=0.0, ttl_slack=0.0):
        self.late_slack = late_slack  # seconds that a key may outlive its deadline
        self.ttl_slack = ttl_slack    # seconds that a reported remaining TTL may be off

    def step(self, state, op, moment):
        """All states that op can lead to from `state`, given its answer; none: it cannot stand
        here. An operation of unknown outcome has no answer to contradict. moment: the earliest time
        at which it can have been stamped and the latest at which it can have had its effect."""
        method = getattr(self, "_" + op.kind)
        after = []
        for aged in self._aged(state, moment):
            after.extend(method(aged, op, moment))
        return after

    def _aged(self, state, moment):
        if state.alive_until == math.inf:
            return (state,)
        earliest, latest = moment
        ages = []
        if earliest < state.dead_from + self.late_slack:
            ages.append(state)
        if latest >= state.alive_until:
            ages.append(_absent(state))
        return ages

    def _get(self, state, op, moment):
        if op.outcome != OK:
            return
        if not op.args.get("meta"):
            if op.result == state.value:
                yield state
            return
        if op.result is None or state.value is None:
            if op.result is state.value:
                yield state
            return
        if op.result["value"] != state.value or not self._ttl_fits(state, op.result["ttl"], moment):
            return
        yield from _with_version(state, op.result["version"])

    def _has(self, state, op, _moment):
        if op.outcome == OK and op.result == (state.value is not None):
            yield state

    def _ttl(self, state, op, moment):
        if op.outcome == OK and self._ttl_fits(state, op.result, moment):
            yield state

    def _ttl_fits(self, state, ttl, moment):
        if state.value is None:
            return ttl == -2
        if state.alive_until == math.inf:
            return ttl == -1
        earliest, latest = moment
        least = state.alive_until - latest - self.ttl_slack
        most = state.dead_from - earliest + self.ttl_slack + self.late_slack
        return ttl >= 0 and least <= ttl / 1000 <= most

    def _set(self, state, op, moment):
        args = op.args
        for holds, at in _condition(state, args):
            if op.outcome == OK:
                version = op.result and op.result["version"]
                if args.get("get") and op.result["old"] != at.value:
                    continue
                if (version is not None) != holds:
                    continue
                if not holds:
                    yield at
                elif version == NOT_KNOWN:
                    yield _written(at, args, NOT_KNOWN, at.floor, moment)
                elif version > at.floor:
                    yield _written(at, args, version, version, moment)
            elif holds:
                yield _written(at, args, NOT_KNOWN, at.floor, moment)

    def _incr(self, state, op, _moment):
        after = int(state.value or 0) + op.args["delta"]
        if op.outcome == OK and op.result != after:
            return
        yield state._replace(value=b"%d" % after, version=NOT_KNOWN,
                             floor=max(state.floor, state.version))

    def _del(self, state, op, _moment):
        for holds, at in _condition(state, op.args):
            deleted = holds and at.value is not None
            if op.outcome == OK and op.result != int(deleted):
                continue
            yield _absent(at) if deleted else at

    def _expire(self, state, op, moment):
        args = op.args
        has_ttl = state.alive_until != math.inf
        done = (state.value is not None and not (args.get("nx") and has_ttl)
                and not (args.get("xx") and not has_ttl))
        if op.outcome == OK and op.result != done:
            return
        if not done:
            yield state
        elif args["ttl"] <= 0:
            yield _absent(state)
        else:
            yield _touched(state, *_deadline(args["ttl"], moment))

    def _persist(self, state, op, _moment):
        done = state.alive_until != math.inf
        if op.outcome == OK and op.result != done:
            return
        yield _touched(state, math.inf, math.inf) if done else state


def _absent(state):
    return State(None, 0, state.floor, math.inf, math.inf)


def _written(state, args, version, floor, moment):
    if args.get("ttl") is not None:
        deadline = _deadline(args["ttl"], moment)
    elif args.get("keep_ttl"):
        deadline = (state.alive_until, state.dead_from)
    else:
        deadline = (math.inf, math.inf)
    return State(args["value"], version, floor, *deadline)


def _touched(state, alive_until, dead_from):
    """A changed TTL may or may not count as a change of the key: the version is the old one or a
    later one."""
    floor = state.floor if state.version == NOT_KNOWN else state.version - 1
    return State(state.value, NOT_KNOWN, floor, alive_until, dead_from)


def _deadline(ttl, moment):
    earliest, latest = moment
    return earliest + ttl / 1000, latest + ttl / 1000


def _with_version(state, version):
    """The state, if its version is or can be `version`."""
    if state.version == version:
        yield state
    elif state.version == NOT_KNOWN and version > state.floor:
        yield state._replace(version=version, floor=version)


def _condition(state, args):
    """(does the operation's condition hold, the state with what that tells) in each case."""
    if args.get("nx"):
        yield state.value is None, state
    elif args.get("xx"):
        yield state.value is not None, state
    elif args.get("if_version") is None:
        yield True, state
    elif state.version != NOT_KNOWN:
        yield state.version == args["if_version"], state
    else:
        yield False, state
        for known in _with_version(state, args["if_version"]):
            yield True, known


class Verdict:
    """True when the history is linearizable; else str() tells where it stops making sense."""

    def __init__(self, order=None, reason=None):
        self.order = order
        self.reason = reason

    def __bool__(self):
        return self.reason is None

    def __str__(self):
        return self.reason or "linearizable"


def check(ops, register=None, start=EMPTY, configurations_max=CONFIGURATIONS_MAX):
    """Judges the operations of one key (in any order)."""
    register = register or Register()
    known = sorted((op for op in ops if op.outcome == OK), key=lambda op: op.invoke)
    unknown = sorted((op for op in ops if op.outcome == UNKNOWN and op.kind not in READS),
                     key=lambda op: op.invoke)
    return _Search(known, unknown, register).run(start, configurations_max)


class _Frame:
    """A configuration on the current path, and the moves from it that are still to be tried."""

    __slots__ = ("base", "mask", "lost", "state", "moves", "chosen")

    def __init__(self, base, mask, lost, state):
        self.base = base    # all known operations before this one are ordered
        self.mask = mask    # bit i: known operation base + i is ordered too; bit 0 is clear
        self.lost = lost    # bit i: unknown operation i is ordered
        self.state = state
        self.moves = None
        self.chosen = None  # the operation that led to the next frame


class _Search:
    def __init__(self, known, unknown, register):
        self.known = known
        self.unknown = unknown
        self.register = register
        self.deepest = None

    def run(self, start, configurations_max):
        frames = [_Frame(0, 0, 0, start)]
        seen = {(0, 0, 0, start)}
        while frames:
            frame = frames[-1]
            if frame.base == len(self.known):
                return Verdict(order=[f.chosen for f in frames[:-1]])
            if frame.moves is None:
                self._note_depth(frame)
                frame.moves = self._moves(frame)
            move = next(frame.moves, None)
            if move is None:
                frames.pop()
                continue
            frame.chosen, after = move
            key = (after.base, after.mask, after.lost, after.state)
            if key not in seen:
                seen.add(key)
                frames.append(after)
                if len(seen) > configurations_max:
                    return Verdict(reason="undecided, too many orders to try; " + self._explain())
        return Verdict(reason="not linearizable; " + self._explain())

    def _candidates(self, frame):
        """Known operations that may come next: those that began before the first return among all
        that are not ordered yet."""
        first_return = math.inf
        candidates = []
        mask = frame.mask
        for i in range(frame.base, len(self.known)):
            op = self.known[i]
            if op.invoke > first_return:
                break
            if not mask & 1:
                candidates.append(i)
                first_return = min(first_return, op.ret)
            mask >>= 1
        candidates.sort(key=lambda i: self.known[i].ret)
        return candidates, first_return

    def _moves(self, frame):
        candidates, first_return = self._candidates(frame)
        for i in candidates:
            op = self.known[i]
            if op.kind in READS and frame.state in self.register.step(
                    frame.state, op, (op.invoke, first_return)):
                yield op, self._after_known(frame, i, frame.state)
                return
        for i in candidates:
            op = self.known[i]
            moment = (op.invoke, first_return)
            for state in self.register.step(frame.state, op, moment):
                yield op, self._after_known(frame, i, state)
        for i, op in enumerate(self.unknown):
            if op.invoke > first_return:
                break
            if frame.lost >> i & 1:
                continue
            moment = (op.invoke, first_return)
            for state in self.register.step(frame.state, op, moment):
                if state != frame.state:
                    yield op, _Frame(frame.base, frame.mask, frame.lost | 1 << i, state)

    def _after_known(self, frame, i, state):
        base = frame.base
        mask = frame.mask | 1 << (i - base)
        while mask & 1:
            mask >>= 1
            base += 1
        return _Frame(base, mask, frame.lost, state)

    def _note_depth(self, frame):
        done = frame.base + frame.mask.bit_count()
        if self.deepest is None or done > self.deepest[0]:
            self.deepest = (done, frame)

    def _explain(self):
        """The furthest point that any order reached, and what did not fit there."""
        done, frame = self.deepest
        candidates, _ = self._candidates(frame)
        lines = [f"at most {done} of {len(self.known)} answered operations could be ordered "
                 f"({len(self.unknown)} more have an unknown outcome)",
                 f"then the register holds {frame.state},",
                 "and none of the operations that must come next fits:"]
        lines += [f"  {self.known[i]}" for i in candidates]
        lines.append("the last answered operations before them:")
        lines += [f"  {op}" for op in self.known[max(0, frame.base - 5):frame.base]]
        return "\n".join(lines)
