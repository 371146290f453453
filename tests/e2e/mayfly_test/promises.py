"""Promises that can be checked without a search, each by a function of what clients were told.

They are plain functions of records, so that test_torture_checks.py can plant what each is to find.
Times are those of the clients' one monotonic clock.
"""

from typing import NamedTuple


class Mortal(NamedTuple):
    """A key that was written once, with a TTL, by a request that was answered."""

    key: bytes
    invoke: float
    ret: float
    ttl: float  # seconds


class Sight(NamedTuple):
    """What one read of such a key was told."""

    key: bytes
    invoke: float
    ret: float
    there: bool


class Deaths(NamedTuple):
    early: list        # (mortal, sight): gone before its time can have been over
    resurrected: list  # (sight of its death, later sight of it alive)
    late: list         # seconds by which a key was certainly seen after its time, the most of each
    keys: int          # that were seen at all


def judge_deaths(mortals, sights):
    """A key lives from its write, at one moment between invoke and ret, for its TTL, and never
    again. Lateness is told and not judged: a cluster that is down drops nothing."""
    seen = {}
    for sight in sights:
        seen.setdefault(sight.key, []).append(sight)
    deaths = Deaths([], [], [], sum(mortal.key in seen for mortal in mortals))
    for mortal in mortals:
        of_key = seen.get(mortal.key, [])
        gone = [sight for sight in of_key if not sight.there]
        alive = [sight for sight in of_key if sight.there]
        # A read that began before the write was answered may have come before it.
        deaths.early.extend((mortal, sight) for sight in gone if sight.invoke >= mortal.ret
                            and sight.ret < mortal.invoke + mortal.ttl)
        end = min((sight for sight in gone if sight.invoke >= mortal.ret),
                  key=lambda sight: sight.ret, default=None)
        if end:
            deaths.resurrected.extend((end, sight) for sight in alive if sight.invoke > end.ret)
        late = max((sight.invoke - mortal.ret - mortal.ttl for sight in alive), default=0.0)
        if late > 0:
            deaths.late.append(late)
    return deaths


def lost_writes(acknowledged, values):
    """Keys whose acknowledged value, which nobody else overwrites, is not there."""
    return [key for key, value in acknowledged.items() if values.get(key) != value]


def counter_faults(answers, unknown, last):
    """What is wrong with a counter to which clients added 1 each time, with an id: `answers` has
    what they were told, `unknown` how many were never told, `last` is what it is now."""
    faults = []
    if len(set(answers)) != len(answers):
        twice = sorted(each for each in set(answers) if answers.count(each) > 1)
        faults.append(f"{twice[:5]} were told to two who added")
    if not len(answers) <= last <= len(answers) + unknown:
        faults.append(f"it is {last} after {len(answers)} additions that were answered and "
                      f"{unknown} that were not")
    if answers and max(answers) > last:
        faults.append(f"it is {last}, and somebody was told {max(answers)}")
    return faults


def replica_faults(views, hashes):
    """What differs between replicas that have applied the same log. views: node -> key -> value;
    hashes: node -> shard -> state hash."""
    first = next(iter(views))
    faults = []
    for node in views:
        differing = [key for key in views[first] if views[node].get(key) != views[first][key]]
        if differing:
            faults.append(f"nodes {first} and {node} differ in {len(differing)} keys, such as "
                          f"{differing[:5]!r}")
        if hashes[node] != hashes[first]:
            faults.append(f"nodes {first} and {node} differ in state hashes: {hashes[first]} and "
                          f"{hashes[node]}")
    return faults
