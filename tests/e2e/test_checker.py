"""The checker checked, without any server: a prover that proves nothing would let everything pass.

Known histories, good and bad; simulated ones, which are linearizable by construction; and tiny
random ones, right or wrong, on which the checker must agree with a search through all orders.
"""

import itertools
import math
import random
import time

from mayfly_test import history, linear
from mayfly_test.check import equal, true
from mayfly_test.context import limit
from mayfly_test.history import OK, UNKNOWN, Op


class Story:
    """Writes a history by hand: times are given, so that every overlap is meant."""

    def __init__(self):
        self.ops = []

    def ok(self, invoke, ret, kind, result, **args):
        self.ops.append(Op(len(self.ops), "k", kind, args, invoke, ret, OK, result))
        return self

    def lost(self, invoke, kind, **args):
        self.ops.append(Op(len(self.ops), "k", kind, args, invoke))
        return self

    def good(self, **slack):
        verdict = linear.check(self.ops, linear.Register(**slack))
        true(verdict, f"must be accepted, but: {verdict}")

    def bad(self, **slack):
        verdict = linear.check(self.ops, linear.Register(**slack))
        true(not verdict, "must be refused, but was accepted in the order\n"
             + "\n".join(f"  {op}" for op in verdict.order or []))


def written(version):
    return {"version": version}


def test_reads_see_the_last_write(_t):
    (Story().ok(0, 1, "set", written(1), value="a").ok(2, 3, "get", "a")
     .ok(4, 5, "set", written(2), value="b").ok(6, 7, "get", "b")
     .ok(8, 9, "del", 1).ok(10, 11, "get", None).good())


def test_a_stale_read_is_refused(_t):
    (Story().ok(0, 1, "set", written(1), value="a").ok(2, 3, "set", written(2), value="b")
     .ok(4, 5, "get", "a").bad())


def test_a_read_that_overlaps_a_write_may_see_either_value(_t):
    for seen in ("a", "b"):
        (Story().ok(0, 1, "set", written(1), value="a").ok(2, 5, "set", written(2), value="b")
         .ok(3, 4, "get", seen).good())


def test_two_reads_may_not_go_back_in_time(_t):
    (Story().ok(0, 1, "set", written(1), value="a").ok(2, 9, "set", written(2), value="b")
     .ok(3, 4, "get", "b").ok(5, 6, "get", "a").bad())


def test_a_lost_update_is_refused(_t):
    (Story().ok(0, 1, "set", written(1), value="a")
     .ok(2, 6, "set", written(2), value="b", if_version=1)
     .ok(3, 7, "set", written(3), value="c", if_version=1).bad())


def test_only_one_of_two_racing_conditional_writes_holds(_t):
    (Story().ok(0, 1, "set", written(1), value="a")
     .ok(2, 6, "set", written(2), value="b", if_version=1)
     .ok(3, 7, "set", None, value="c", if_version=1).ok(8, 9, "get", "b").good())


def test_a_resurrected_value_is_refused(_t):
    (Story().ok(0, 1, "set", written(1), value="a").ok(2, 3, "del", 1)
     .ok(4, 5, "get", None).ok(6, 7, "get", "a").bad())


def test_a_dirty_read_is_refused(_t):
    """A value of a write that was reported as not done."""
    (Story().ok(0, 1, "set", written(1), value="a").ok(2, 3, "set", None, value="b", nx=True)
     .ok(4, 5, "get", "b").bad())


def test_a_value_from_nowhere_is_refused(_t):
    Story().ok(0, 1, "set", written(1), value="a").ok(2, 3, "get", "x").bad()


def test_a_doubly_applied_nx_is_refused(_t):
    (Story().ok(0, 5, "set", written(1), value="a", nx=True)
     .ok(1, 6, "set", written(2), value="b", nx=True).bad())


def test_a_doubly_applied_delete_is_refused(_t):
    (Story().ok(0, 1, "set", written(1), value="a").ok(2, 6, "del", 1).ok(3, 7, "del", 1).bad())


def test_versions_must_grow(_t):
    (Story().ok(0, 1, "set", written(7), value="a").ok(2, 3, "set", written(7), value="b").bad())
    (Story().ok(0, 1, "set", written(7), value="a").ok(2, 3, "del", 1)
     .ok(4, 5, "set", written(6), value="b").bad())


def test_the_old_value_returned_by_a_write_must_be_right(_t):
    story = Story().ok(0, 1, "set", written(1), value="a")
    story.ok(2, 3, "set", {"version": 2, "old": "a"}, value="b", get=True).good()
    story.ok(4, 5, "set", {"version": 3, "old": "a"}, value="c", get=True).bad()


def test_an_unknown_write_may_take_effect_later_or_never(_t):
    start = Story().ok(0, 1, "set", written(1), value="a").lost(2, "set", value="b")
    start.ok(3, 4, "get", "a").good()
    start.ok(5, 6, "get", "b").good()
    start.ok(7, 8, "get", "b").good()


def test_an_unknown_write_takes_effect_only_once(_t):
    (Story().ok(0, 1, "set", written(1), value="a").lost(2, "set", value="b")
     .ok(3, 4, "get", "b").ok(5, 6, "set", written(5), value="c")
     .ok(7, 8, "get", "c").ok(9, 10, "get", "b").bad())


def test_an_unknown_write_has_no_effect_before_it_began(_t):
    (Story().ok(0, 1, "set", written(1), value="a").ok(2, 3, "get", "b")
     .lost(4, "set", value="b").bad())


def test_an_unknown_delete_explains_an_absence_once(_t):
    start = Story().ok(0, 1, "set", written(1), value="a").lost(2, "del")
    start.ok(3, 4, "get", None).good()
    start.ok(5, 6, "set", written(3), value="b").good()
    start.ok(7, 8, "get", None).bad()


def test_the_version_of_an_unknown_write_is_fixed_by_the_first_answer_that_tells_it(_t):
    start = (Story().ok(0, 1, "set", written(1), value="a").lost(2, "set", value="b")
             .ok(3, 4, "get", {"value": "b", "version": 4, "ttl": -1}, meta=True))
    start.good()
    start.ok(5, 6, "get", {"value": "b", "version": 5, "ttl": -1}, meta=True).bad()


def test_a_key_must_not_die_before_its_deadline(_t):
    (Story().ok(0, 1, "set", written(1), value="a", ttl=10_000).ok(9, 9.5, "get", None).bad())
    (Story().ok(0, 1, "set", written(1), value="a", ttl=10_000).ok(9, 10.1, "get", None).good())


def test_a_key_must_not_be_served_at_or_after_its_deadline(_t):
    story = Story().ok(0, 1, "set", written(1), value="a", ttl=10_000).ok(11.2, 12, "get", "a")
    story.bad()
    story.good(late_slack=0.5)


def test_an_expired_key_does_not_come_back(_t):
    (Story().ok(0, 1, "set", written(1), value="a", ttl=10_000)
     .ok(10.2, 10.3, "get", None).ok(10.4, 10.5, "get", "a").bad())


def test_a_ttl_may_be_changed_and_taken_away(_t):
    start = Story().ok(0, 1, "set", written(1), value="a", ttl=10_000)
    start.ok(5, 6, "expire", True, ttl=20_000).ok(15, 16, "get", "a").good()
    start.ok(17, 18, "persist", True).ok(90, 91, "get", "a").ok(92, 93, "ttl", -1).good()
    start.ok(94, 95, "persist", True).bad()


def test_an_unknown_write_with_a_ttl_dies_no_earlier_than_it_could_have_begun(_t):
    start = (Story().ok(0, 1, "set", written(1), value="a").lost(2, "set", value="b", ttl=10_000)
             .ok(5, 6, "get", "b"))
    start.ok(12.5, 13, "get", None).good()
    (Story().ok(0, 1, "set", written(1), value="a").lost(2, "set", value="b", ttl=10_000)
     .ok(5, 6, "get", "b").ok(11, 11.5, "get", None).bad())
    (Story().ok(0, 1, "set", written(1), value="a").lost(2, "set", value="b", ttl=10_000)
     .ok(5, 6, "get", "b").ok(16.5, 17, "get", "b").bad())


def test_a_deadline_counts_from_the_stamp_of_a_write_which_may_be_long_before_its_effect(_t):
    """The read of the old value shows that the effect came after 4; the stamp may be from 1."""
    start = (Story().ok(0, 0.5, "set", written(1), value="a")
             .ok(1, 5, "set", written(2), value="b", ttl=10_000).ok(4, 4.5, "get", "a"))
    start.ok(11.2, 11.3, "get", None).good()
    (Story().ok(0, 0.5, "set", written(1), value="a")
     .ok(1, 5, "set", written(2), value="b", ttl=10_000).ok(10, 10.9, "get", None).bad())


def test_a_lost_operation_does_not_bring_an_expiry_forward(_t):
    (Story().ok(0, 1, "set", written(1), value="a", ttl=10_000).lost(2, "persist")
     .ok(5, 6, "get", None).bad())


def test_remaining_ttl_must_fit_the_time_that_has_passed(_t):
    start = Story().ok(0, 1, "set", written(1), value="a", ttl=10_000)
    start.ok(4, 5, "ttl", 6_000).good()
    Story().ok(0, 1, "set", written(1), value="a", ttl=10_000).ok(4, 5, "ttl", 10_000).bad()
    Story().ok(0, 1, "set", written(1), value="a", ttl=10_000).ok(4, 5, "ttl", 2_000).bad()


# Simulated histories: clients over a real register, in simulated time.


class Simulation:
    """A register that is one, asked by several clients whose requests overlap. Each operation has
    its effect at a moment between its beginning and its end, so every history is linearizable."""

    def __init__(self, rng, clients, unknown_rate, ttls, meta):
        self.rng = rng
        self.clients = clients
        self.unknown_rate = unknown_rate
        self.ttls = ttls
        self.meta = meta
        self.value, self.version, self.deadline = None, 0, math.inf
        self.counter = 0
        self.seen_versions = [0]

    def history(self, length):
        """Plans every operation's times, carries the effects out in the order of their moments."""
        plans = []
        for client in range(self.clients):
            now = self.rng.random()
            for _ in range(length // self.clients):
                took = self.rng.expovariate(1.0)
                plans.append((now + took * self.rng.random(), now, now + took, client))
                now += took + self.rng.expovariate(2.0)
        plans.sort()
        return [self._one(*plan) for plan in plans]

    def _one(self, moment, invoke, ret, client):
        kind, args = self._pick()
        op = Op(client, "k", kind, args, invoke)
        lost = self.rng.random() < self.unknown_rate
        if lost and self.rng.random() < 0.5:
            return op
        if moment >= self.deadline:
            self._drop()
        result = self._carry_out(kind, args, moment)
        if not lost:
            op.ret, op.outcome, op.result = ret, OK, result
        return op

    def _pick(self):
        kind = self.rng.choice(["get", "get", "set", "set", "set", "del", "has"]
                               + (["expire", "persist"] if self.ttls else []))
        args = {}
        if kind == "get" and self.meta:
            args["meta"] = self.rng.random() < 0.3
        elif kind == "set":
            self.counter += 1
            args["value"] = f"v{self.counter}"
            condition = self.rng.choice(["nx", "xx", "if_version", "get", None, None])
            if condition == "if_version":
                args[condition] = self.rng.choice(self.seen_versions[-3:])
            elif condition:
                args[condition] = True
            if self.ttls and self.rng.random() < 0.5:
                args["ttl"] = self.rng.randrange(1, 5000)
        elif kind == "expire":
            args["ttl"] = self.rng.randrange(-100, 5000)
        return kind, args

    def _carry_out(self, kind, args, now):
        there = self.value is not None
        if kind == "get":
            if not args.get("meta") or not there:
                return self.value
            ttl = -1 if self.deadline == math.inf else (self.deadline - now) * 1000
            return {"value": self.value, "version": self.version, "ttl": ttl}
        if kind == "has":
            return there
        if kind == "del":
            self._drop()
            return int(there)
        if kind == "set":
            return self._set(args, now)
        if kind == "persist":
            done = self.deadline != math.inf
            self.deadline = math.inf
            return done
        if args["ttl"] <= 0:
            self._drop()
        elif there:
            self.deadline = now + args["ttl"] / 1000
        return there

    def _set(self, args, now):
        there, old = self.value is not None, self.value
        holds = not ((args.get("nx") and there) or (args.get("xx") and not there)
                     or args.get("if_version", self.version) != self.version)
        result = None
        if holds:
            self.value = args["value"]
            self.version = self.seen_versions[-1] + self.rng.randrange(1, 4)
            self.seen_versions.append(self.version)
            self.deadline = now + args["ttl"] / 1000 if "ttl" in args else math.inf
            result = written(self.version)
        if args.get("get"):
            result = {"version": self.version if holds else None, "old": old}
        return result

    def _drop(self):
        self.value, self.version, self.deadline = None, 0, math.inf


def test_simulated_histories_pass(t):
    for round_number in range(40 if t.quick else 200):
        rng = random.Random(f"{t.seed}/{round_number}")
        simulation = Simulation(rng, clients=rng.randrange(2, 9),
                                unknown_rate=rng.choice([0, 0.02, 0.1]), ttls=rng.random() < 0.5,
                                meta=True)
        verdict = linear.check(simulation.history(rng.randrange(8, 120)),
                               linear.Register(ttl_slack=1e-6))
        true(verdict, f"round {round_number}: a linearizable history was refused: {verdict}")


def test_a_long_history_of_eight_clients_is_judged_quickly(t):
    simulation = Simulation(t.rng, clients=8, unknown_rate=0.004, ttls=False, meta=True)
    ops = simulation.history(4000)
    began = time.monotonic()
    verdict = linear.check(ops)
    took = time.monotonic() - began
    t.note(f"{len(ops)} operations, {sum(op.outcome == UNKNOWN for op in ops)} unknown: "
           f"{took:.2f} s")
    true(verdict, f"a linearizable history was refused: {verdict}")
    true(took < 20, f"took {took:.1f} s")


def test_many_reads_at_once_are_judged_quickly(_t):
    """As when what was asked while nobody could answer is answered at one moment."""
    for seen, fits in ((["a", "b"], True), (["b", "a", "c"], False)):
        story = Story().ok(0, 1, "set", written(1), value="a").ok(2, 9, "set", written(2), value="b")
        for i in range(60):
            story.ok(2 + i / 100, 8 + i / 100, "get", seen[i % len(seen)])
        verdict = linear.check(story.ops, configurations_max=1000)
        equal((bool(verdict), "undecided" in str(verdict)), (fits, False), f"{verdict}")


def test_orders_found_are_orders(t):
    """What the checker offers as proof is one: real time is kept and the answers follow."""
    for _ in range(50):
        ops = Simulation(t.rng, clients=4, unknown_rate=0.1, ttls=False, meta=False).history(40)
        verdict = linear.check(ops)
        true(verdict, str(verdict))
        for earlier, later in itertools.combinations(verdict.order, 2):
            true(not later.ret < earlier.invoke, f"{later} returned before {earlier} began")
        answered = [op for op in ops if op.outcome == OK]
        equal(sum(op.outcome == OK for op in verdict.order), len(answered), "operations ordered")
        true(replay(verdict.order, dense_versions(ops)), "the order does not give these answers")


# Tiny histories against all orders.


def dense_versions(ops):
    """The versions that a write with a lost answer may have got: those that answers or conditions
    name, and enough between each pair of them for all such writes."""
    told = {0}
    for op in ops:
        told.add(op.args.get("if_version", 0))
        if op.outcome == OK and isinstance(op.result, dict):
            told.add(op.result["version"] or 0)
    lost = sum(op.outcome == UNKNOWN for op in ops)
    return sorted(version + i / (lost + 1) for version in told for i in range(lost + 1))


def replay(order, versions, value=None, version=0, floor=0, at=0):
    """Carries out `order` on a plain register; True if the answers can come out as recorded."""
    if at == len(order):
        return True
    op, args = order[at], order[at].args

    def rest(*state):
        return replay(order, versions, *state, at + 1)

    def told(result):
        return op.outcome == UNKNOWN or op.result == result

    if op.kind in ("get", "has"):
        return told(value if op.kind == "get" else value is not None) and rest(
            value, version, floor)
    holds = not ((args.get("nx") and value is not None) or (args.get("xx") and value is None)
                 or ("if_version" in args and args["if_version"] != version))
    if op.kind == "del":
        deleted = int(holds and value is not None)
        return told(deleted) and (rest(None, 0, floor) if deleted else rest(value, version, floor))

    def answer(got):
        if args.get("get"):
            return {"version": got, "old": value}
        return None if got is None else {"version": got}

    if not holds:
        return told(answer(None)) and rest(value, version, floor)
    return any(told(answer(got)) and rest(args["value"], got, got)
               for got in versions if got > floor)


def linearizable_by_all_orders(ops):
    """Tries every order of every subset of the unknown operations: slow and plainly right."""
    answered = [op for op in ops if op.outcome == OK]
    lost = [op for op in ops if op.outcome == UNKNOWN]
    versions = dense_versions(ops)
    for count in range(len(lost) + 1):
        for chosen in itertools.combinations(lost, count):
            for order in itertools.permutations(answered + list(chosen)):
                kept = all(not later.ret < earlier.invoke
                           for earlier, later in itertools.combinations(order, 2))
                if kept and replay(order, versions):
                    return True
    return False


def mutate(rng, ops):
    """Changes one answer: to another value of this history, to absent, or to a wrong verdict."""
    op = rng.choice([op for op in ops if op.outcome == OK])
    values = [other.args["value"] for other in ops if other.kind == "set"] + [None]
    if op.kind == "get":
        op.result = rng.choice(values)
    elif op.kind == "has":
        op.result = not op.result
    elif op.kind == "del":
        op.result = 1 - op.result
    elif op.args.get("get"):
        op.result = {"version": op.result["version"], "old": rng.choice(values)}
    else:
        op.result = None if op.result else written(rng.randrange(1, 9))


def test_tiny_histories_are_judged_as_by_trying_all_orders(t):
    refused = 0
    rounds = 300 if t.quick else 1500
    for round_number in range(rounds):
        rng = random.Random(f"{t.seed}/{round_number}")
        simulation = Simulation(rng, clients=rng.randrange(2, 4), unknown_rate=0.15, ttls=False,
                                meta=False)
        ops = simulation.history(6)
        if any(op.outcome == OK for op in ops) and rng.random() < 0.8:
            mutate(rng, ops)
        expected = linearizable_by_all_orders(ops)
        refused += not expected
        equal(bool(linear.check(ops)), expected,
              f"round {round_number}, the verdict on\n" + "\n".join(f"  {op}" for op in ops) + "\n")
    t.note(f"{rounds} histories, {refused} of them wrong")
    true(refused > rounds / 20, "hardly any history was wrong: nothing was tested")


@limit(400)  # to show that no order fits takes some histories a hundred times as long as others
def test_a_wrong_read_in_a_long_history_is_found(t):
    """One read of a long history is changed to a value that had been overwritten long before."""
    for _ in range(5 if t.quick else 20):
        ops = Simulation(t.rng, clients=8, unknown_rate=0.01, ttls=False, meta=True).history(400)
        ops.sort(key=lambda op: op.invoke)
        reads = [op for op in ops[200:] if op.kind == "get" and op.outcome == OK
                 and not op.args.get("meta")]
        sets = [op for op in ops[:60] if op.kind == "set" and op.outcome == OK and op.result]
        t.rng.choice(reads).result = t.rng.choice(sets).args["value"]
        true(not linear.check(ops), "a read of a value overwritten long before was accepted")


def test_a_dumped_history_reads_back_and_is_judged_alike(t):
    ops = Simulation(t.rng, clients=4, unknown_rate=0.05, ttls=True, meta=True).history(60)
    path = t.dir / "history.ndjson"
    history.dump(ops, path)
    again = history.load(path)
    equal([repr(op) for op in again], [repr(op) for op in ops], "the operations")
    true(linear.check(again, linear.Register(ttl_slack=1e-6)), "the same verdict")
