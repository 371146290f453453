"""What judges the torture is checked itself, without any server: each promise is broken on purpose in
a history made by hand, and has to be missed. And the network does to messages what it says."""

import random
import socket
import types

from mayfly_test import history, linear
from mayfly_test.check import equal, true
from mayfly_test.disturbance import Disturbance
from mayfly_test.groups import NOTHING, Group
from mayfly_test.history import OK, Op
from mayfly_test.linear import NOT_KNOWN
from mayfly_test.promises import (Mortal, Sight, counter_faults, judge_deaths, lost_writes,
                                  replica_faults)
from mayfly_test.proxy import BODY_HEAD, FRAME_HEAD, ITEM_HEAD, PAXOS, Network
from mayfly_test.torture_judge import Judgement

MORTAL = Mortal(b"k", 10.0, 10.2, 5.0)


def sight(invoke, there, key=b"k"):
    return Sight(key, invoke, invoke + 0.1, there)


def deaths(*sights):
    return judge_deaths([MORTAL], sights)


def test_a_key_that_dies_in_its_time_is_no_finding(_t):
    found = deaths(sight(11, True), sight(14.8, True), sight(14.95, False), sight(20, False))
    equal((found.early, found.resurrected, found.late, found.keys), ([], [], [], 1), "deaths")


def test_an_early_death_is_found(_t):
    early = sight(14.8, False)
    equal(deaths(sight(11, True), early).early, [(MORTAL, early)], "early deaths")
    equal(deaths(sight(10.1, False)).early, [], "reads that may have come before the write")


def test_a_resurrected_key_is_found(_t):
    dead, alive = sight(15.0, False), sight(15.3, True)
    equal(deaths(dead, alive).resurrected, [(dead, alive)], "resurrections")
    beside = Sight(b"k", 15.05, 15.06, True)
    equal(deaths(dead, beside).resurrected, [], "reads at the same time")


def test_lateness_is_told(_t):
    late = deaths(sight(15.0, True), sight(15.7, True)).late
    true(len(late) == 1 and abs(late[0] - 0.5) < 1e-6, f"lateness {late}")


def test_a_lost_write_is_found(_t):
    told = {b"a": b"1", b"b": b"2", b"c": b"3"}
    equal(lost_writes(told, dict(told)), [], "nothing lost")
    equal(lost_writes(told, {b"a": b"1", b"b": b"old"}), [b"b", b"c"], "lost writes")


def test_an_addition_that_counted_twice_is_found(_t):
    equal(counter_faults([1, 2, 3], 0, 3), [], "a good counter")
    equal(counter_faults([1, 3], 1, 3), [], "one that was never told")
    true(counter_faults([1, 3], 0, 3), "a third addition that nobody made was accepted")
    true(counter_faults([1, 2, 2], 1, 3), "two that were told the same were accepted")


def test_an_addition_that_was_lost_is_found(_t):
    true(counter_faults([1, 2, 3], 0, 2), "a lost addition was accepted")
    true(counter_faults([1, 3], 2, 2), "a counter that went back was accepted")


def test_unequal_replicas_are_found(_t):
    views = {1: {b"k": b"v"}, 2: {b"k": b"v"}, 3: {b"k": b"v"}}
    hashes = {1: {0: "a"}, 2: {0: "a"}, 3: {0: "a"}}
    equal(replica_faults(views, hashes), [], "equal replicas")
    true(replica_faults({**views, 3: {b"k": None}}, hashes), "another value was accepted")
    true(replica_faults(views, {**hashes, 2: {0: "b"}}), "another state hash was accepted")


def txn(invoke, ret, result, then, conditions=(), otherwise=()):
    return Op(0, "g", "txn", {"if": conditions, "then": then, "else": otherwise}, invoke, ret, OK,
              result)


def group_holds(*ops):
    return bool(linear.check(ops, Group(), NOTHING))


MOVE = [["incr", 0, -5], ["incr", 1, 5]]
LOOK = [["get", 0], ["get", 1]]


def test_a_transaction_of_which_a_part_is_seen_is_found(_t):
    move = txn(0, 9, (True, [-5, 5]), MOVE)
    true(group_holds(move, txn(1, 2, (True, [b"-5", b"5"]), LOOK)), "all of it was refused")
    true(group_holds(move, txn(1, 2, (True, [None, None]), LOOK)), "nothing of it was refused")
    true(not group_holds(move, txn(1, 2, (True, [b"-5", None]), LOOK)), "a part was accepted")


def test_a_transaction_whose_conditions_did_not_hold_is_found(_t):
    new = [["set", 0, b"1"]]
    first = txn(0, 1, (True, [None]), [["set", 0, b"0"]])
    for held, good in ((True, True), (False, False)):
        op = txn(2, 3, (held, [None] if held else [b"0", None]), new, [[0, b"0"]], LOOK)
        equal(group_holds(first, op), good, f"with an answer {held}")
    lost = txn(4, 5, (True, [None]), new, [[0, b"0"]], LOOK)
    true(not group_holds(first, txn(2, 3, (True, [None]), new, [[0, b"0"]], LOOK), lost),
         "a condition held twice")


def test_a_history_can_be_judged_again_from_its_file(t):
    good = [txn(0, 1, (True, [-5, 5]), MOVE), txn(2, 3, (True, [b"-5", b"5"]), LOOK),
            Op(0, b"g\xff", "txn", {"if": [], "then": [["set", 1, b"x"]], "else": []}, 2)]
    for ops, holds in ((good, True), ([good[1], good[0]], True), ([good[1]], False)):
        path = t.dir / "history.ndjson"
        history.dump(ops, path)
        equal(group_holds(*history.load(path)), holds, f"the verdict on {ops}")


def test_an_incr_that_counted_twice_fits_no_order(_t):
    def ops(last):
        return [Op(0, "k", "incr", {"delta": 2}, 0, 1, OK, 2),
                Op(0, "k", "incr", {"delta": -3}, 2, 3, OK, -1),
                Op(0, "k", "get", {}, 4, 5, OK, last)]
    true(linear.check(ops(b"-1")), "a good history was refused")
    true(not linear.check(ops(b"-4")), "an addition that counted twice was accepted")
    after = Op(0, "k", "set", {"value": b"7", "xx": True}, 6, 7, OK, {"version": NOT_KNOWN})
    true(linear.check([*ops(b"-1"), after]), "a set behind it was refused")


def test_a_broken_promise_breaks_the_verdict(t):
    for sights, broken in (([sight(15.0, False)], 0), ([sight(11.0, False)], 1),
                           ([sight(15.0, False), sight(16.0, True)], 1)):
        judgement = Judgement(t.dir, t.bin("mayfly-snapshot"))
        judgement.mortals(None, types.SimpleNamespace(mortals=[MORTAL], sights=sights))
        equal(len(judgement.broken), broken, f"broken promises after {sights}")


def frame(kind, number):
    item = ITEM_HEAD.pack(kind, number, 0)
    body = BODY_HEAD.pack(0, 0, 0, 0, 0, 0) + item
    return FRAME_HEAD.pack(8 + len(body), 0) + body


def numbers_through(fates, kind, count):
    """Sends a hello and frames through a link, and closes; the numbers of the frames that come."""
    frames = [frame(kind, number) for number in range(count)]
    hello = b"\x05\x00\x00\x00hello"
    with Network(random.Random(1)) as network, socket.create_server(("127.0.0.1", 0)) as far:
        node = types.SimpleNamespace(id=1, settings={
            "cluster.nodes": "1=127.0.0.1:1, 2=127.0.0.1:%d" % far.getsockname()[1]})
        network.between(node)
        network.disturb(fates)
        port = int(node.settings["cluster.nodes"].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as near:
            near.sendall(hello + b"".join(frames))
            near.shutdown(socket.SHUT_WR)
            with far.accept()[0] as accepted, accepted.makefile("rb") as file:
                data = file.read()
    equal(data[:len(hello)], hello, "the hello")
    data = data[len(hello):]
    size = len(frames[0])
    equal(len(data) % size, 0, "bytes of a part of a frame")
    return [frames.index(data[at:at + size]) for at in range(0, len(data), size)]


def test_messages_get_lost_late_doubled_and_overtaken(_t):
    def through(kind=PAXOS, **shares):
        return numbers_through(Disturbance(random.Random(2), **shares).fates, kind, 100)
    everyone = list(range(100))
    equal(through(), everyone, "frames of a good network")
    equal(through(lost=1.0), [], "frames that are lost")
    equal(through(late=0.5), everyone, "frames that are late")
    doubled = through(twice=1.0)
    equal(sorted(doubled), sorted(everyone * 2), "frames that come twice")
    overtaken = through(overtaken=0.5)
    equal(sorted(overtaken), everyone, "frames that overtake")
    true(overtaken != everyone, "no frame has overtaken another")


def test_only_messages_of_the_protocol_are_doubled_and_overtaken(_t):
    fates = Disturbance(random.Random(2), twice=1.0, overtaken=1.0, late=0.5).fates
    equal(numbers_through(fates, PAXOS + 1, 100), list(range(100)), "frames with clients' requests")
