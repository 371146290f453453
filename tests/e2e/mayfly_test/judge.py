"""The verdict on a cluster that was worked hard: was any promise broken?"""

import time

from . import history as histories
from . import linear
from . import promises
from .check import equal, true
from .client import RpcError
from .history import OK
from .wait import wait_for

BATCH = 200
PATIENCE = 60.0
# By how much a key may outlive its deadline by the clients' clock, over leader changes: a new
# leader's clock is late by the delay of the last message that it had from the old one.
LATE_SLACK = 1.0
ROUNDING = 0.0011


def batches(items):
    for at in range(0, len(items), BATCH):
        yield items[at:at + BATCH]


def read_all(node, keys, options=None):
    """key -> value or None, through one node. A busy machine may change leaders meanwhile."""
    values = {}
    for batch in batches(list(keys)):
        def read(batch=batch):
            return [node.call("mget", batch, options or {}, timeout=30)]
        values.update(zip(batch, wait_for(read, PATIENCE, f"reads through node {node.id}")[0]))
    return values


def check_acknowledged(cluster, acknowledged):
    """Every acknowledged write of a key that nobody else writes is there, through every node."""
    for node in cluster.nodes:
        values = read_all(node, acknowledged)
        lost = promises.lost_writes(acknowledged, values)
        true(not lost, f"{len(lost)} of {len(acknowledged)} acknowledged writes are not there "
             f"through node {node.id}, such as {lost[:5]!r}")


def add_last_reads(cluster, history, patience=PATIENCE):
    """One read of every key into the history, after everything: a lost write shows here."""
    for key in list(history.by_key()):
        op = history.begin("last read", key, "get", meta=True)

        def read(key=key):
            return [cluster.nodes[0].call("get", key, {"meta": True})]
        op.ok(wait_for(read, patience, f"the last read of {key}")[0])


def check_history(t, history, late_slack=LATE_SLACK):
    """Judges every key; on failure the key's history is left in the test's folder."""
    keys = history.by_key()
    register = linear.Register(late_slack, ROUNDING)
    began = time.monotonic()
    for key, ops in keys.items():
        verdict = linear.check(ops, register)
        if not verdict:
            path = t.dir / "history.ndjson"
            histories.dump(ops, path)
            raise AssertionError(f"key {key!r} ({len(ops)} operations, all in {path}): {verdict}")
    answered = sum(op.outcome == OK for ops in keys.values() for op in ops)
    t.note(f"{len(keys)} keys with {answered} answered operations are linearizable "
           f"(judged in {time.monotonic() - began:.1f} s)")


def check_replicas_equal(cluster, keys, patience=PATIENCE):
    """Once all have applied the same log, all hold the same keys and the same state."""
    keys = list(keys)

    def compared():
        applied = cluster.wait_equal(patience)
        views = {node.id: read_all(node, keys, {"read": "local"}) for node in cluster.nodes}
        hashes = {node.id: {shard: state for shard, index, state
                            in node.call("stats")["shard_hashes"] if index == applied[shard]}
                  for node in cluster.nodes}
        if [cluster.applied(node) for node in cluster.nodes] != [applied] * len(cluster.nodes):
            return False  # an expiry came in between
        equal(promises.replica_faults(views, hashes), [], "what differs between replicas that have "
              "applied the same log")
        return True
    wait_for(compared, patience, "a moment in which all replicas stand still")


def wait_until_nothing_expires(cluster, history, others=(), patience=PATIENCE):
    """Waits for every key with a TTL, and these others, to be gone, so that replicas can stand
    still."""
    keys = [key for key, ops in history.by_key().items()
            if any(op.args.get("ttl") for op in ops)] + list(others)

    def settled():
        with cluster.nodes[0].connect() as connection:
            left = connection.pipeline([("ttl", key) for key in keys])
        return not any(isinstance(ttl, RpcError) or ttl >= 0 for ttl in left)
    wait_for(settled, patience, "all keys with a TTL to expire")


def judge(t, cluster, workload):
    """Everything above, on a cluster whose nodes all run and whose clients have stopped."""
    equal(workload.problems, [], "what clients were told that no server should say")
    check_acknowledged(cluster, workload.acknowledged)
    add_last_reads(cluster, workload.history)
    wait_until_nothing_expires(cluster, workload.history)
    check_replicas_equal(cluster, [*workload.history.by_key(), *workload.acknowledged])
    check_history(t, workload.history)
