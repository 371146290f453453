"""What a node's data folder remembers: the first formation of a cluster, and nodes that forgot."""

import pathlib
import re
import shutil

from mayfly_test.check import contains, equal, true
from mayfly_test.client import RpcError
from mayfly_test.context import limit
from mayfly_test.wait import wait_for
from test_membership import wait_votes

FIRST = "0000000000000001"
LOST = "a majority of its replicas has lost its memory"
IMPATIENT = {"limits.request_timeout": 500}


def meta_of(node):
    """The lines of node.meta, or {} when there is none."""
    path = node.data_dir / "node.meta"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return dict(line.split(" = ", 1) for line in lines if " = " in line)


def refused(node):
    """The code of the error that a write gets."""
    try:
        node.call("set", "key", "value")
        return None
    except RpcError as error:
        return error.code


def log_of_last_start(node):
    return node.log_text().rpartition("=== start")[2]


def check_learns(cluster, node, why):
    """The node has started again: under a new memory, it said why, and it gets all the data."""
    wait_for(lambda: "votes again when they admit it" in log_of_last_start(node), 10,
             "the node to say that it forgot")
    contains(log_of_last_start(node), why, "the node's log")
    wait_for(lambda: meta_of(node).get("memory", FIRST) != FIRST, 10, "its new memory")
    memory = meta_of(node)["memory"]
    true(memory != FIRST, f"memory {memory} of a node that may have forgotten")
    equal(meta_of(node)["state"], "formed", "its state")
    cluster.wait_equal()
    values = node.call("mget", [f"key {n}" for n in range(100)])
    equal(values, [b"value %d" % n for n in range(100)], "values")
    return memory


def patient(node, method, *params):
    """The result of a call that an IMPATIENT node may refuse where all is slow."""
    return wait_for(lambda: [node.call(method, *params, timeout=60)], 60, f"{method} to be served")[0]


def fill(cluster):
    patient(cluster.node(1), "mset", [[f"key {n}", f"value {n}"] for n in range(100)])
    cluster.wait_equal()


def test_a_cluster_forms_when_its_last_node_comes(t):
    cluster = t.cluster(3, overrides=IMPATIENT, start=False)
    cluster.start_with(lambda node: None, ids=(1, 2))
    third = cluster.node(3)
    awaited = f"waiting for node 3 at {third.settings['listen.peer']} to form the cluster"
    for node in cluster.running():
        wait_for(lambda node=node: awaited in node.log_text(), 20, f"node {node.id} to say so")
        equal(refused(node), "NO_QUORUM", "a write before the cluster is formed")
        equal(meta_of(node), {}, "node.meta before the cluster is formed")
    # Nothing is decided yet, so nothing is forgotten either.
    cluster.node(2).kill9()
    cluster.node(2).restart()
    third.restart()
    cluster.wait_settled()
    for node in cluster.nodes:
        equal((meta_of(node)["memory"], meta_of(node)["state"]), (FIRST, "formed"),
              f"node {node.id}")
        patient(node, "set", "key", "value")
    cluster.kill()
    cluster.restart()
    equal([meta_of(node)["memory"] for node in cluster.nodes], [FIRST] * 3,
          "memories after a restart of all")


def lose_folder(node):
    shutil.rmtree(node.data_dir)


def lose_log(node):
    shutil.rmtree(node.data_dir / "wal")


def damage_log(node):
    """One byte in the middle of a file's first write, with later writes behind it."""
    path = max((node.data_dir / "wal").glob("*.wal"), key=used_bytes)
    with open(path, "r+b") as file:
        file.seek(4096 + 100)
        byte = file.read(1)[0]
        file.seek(4096 + 100)
        file.write(bytes([byte ^ 0x55]))


def used_bytes(path):
    return len(path.read_bytes().rstrip(b"\0"))


def lose_power(node):
    """The machine has booted since, and node.meta was not told that the node stopped."""
    path = node.data_dir / "node.meta"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub("boot = .*", "boot = another", text), encoding="utf-8")


def forget(t, damage, why, mode="fsync"):
    cluster = t.cluster(3, mode=mode)
    fill(cluster)
    for i in range(50): # each a write of its own to the log of some reactor
        cluster.node(1).call("set", f"one{i}", "v")
    node = cluster.node(2)
    node.kill9()
    damage(node)
    node.restart()
    memory = check_learns(cluster, node, why)
    return cluster, node, memory


@limit(120)
def test_a_node_whose_folder_is_gone_learns(t):
    cluster, node, memory = forget(t, lose_folder, "folder")
    node.kill9()
    node.restart()
    cluster.wait_equal()
    equal(meta_of(node)["memory"], memory, "its memory after an ordinary restart")


@limit(120)
def test_a_node_whose_log_is_gone_learns(t):
    forget(t, lose_log, "wal is missing or empty")


@limit(120)
def test_a_node_whose_log_is_damaged_learns_and_keeps_the_damaged_one(t):
    _, node, _ = forget(t, damage_log, "is damaged")
    aside = list(pathlib.Path(node.data_dir).glob("wal.damaged-*"))
    equal(len(aside), 1, "folders that were moved aside")
    true(any(aside[0].iterdir()), "the damaged log is empty")
    contains(log_of_last_start(node), str(aside[0]), "the node's log")


@limit(120)
def test_a_node_without_a_log_learns_after_a_restart(t):
    forget(t, lambda node: None, "durability.mode is none", mode="none")


@limit(120)
def test_a_node_that_did_not_sync_learns_after_a_loss_of_power(t):
    cluster, node, memory = forget(t, lose_power, "the machine went down", mode="os")
    equal(node.terminate(), 0, "exit status")
    equal(meta_of(node)["stop"], "clean", "how it stopped")
    lose_power(node)
    node.restart()
    cluster.wait_equal()
    equal(meta_of(node)["memory"], memory, "its memory after a clean stop and a boot")
    equal(meta_of(node)["stop"], "running", "while it runs")
    node.kill9()
    node.restart()
    cluster.wait_equal()
    equal(meta_of(node)["memory"], memory, "its memory after a crash without a boot")


@limit(120)
def test_a_start_knows_of_the_longest_lease_that_may_last(t):
    """One with a shorter consensus.lease_ms than the run before, until a run has outlasted it."""
    cluster = t.cluster(3, overrides={"consensus.lease_ms": 3000})
    node = cluster.node(2)
    equal(meta_of(node)["lease_ms"], "3000", "the lease in the first run")
    node.settings["consensus.lease_ms"] = 1000
    equal(node.terminate(), 0, "exit status")
    for _ in range(2):  # the first of them has not lasted for so long, and says nothing at its end
        node.restart()
        equal(meta_of(node)["lease_ms"], "3000", "after a start with a shorter one")
        node.kill9()
    node.restart()
    wait_for(lambda: node.call("stats")["uptime_ms"] > 3000, 20, "the lease to be over")
    equal(node.terminate(), 0, "exit status")
    equal(meta_of(node)["lease_ms"], "1000", "after a run that was longer than the old lease")
    node.restart()
    cluster.wait_equal()


@limit(120)
def test_a_node_that_forgot_votes_again(t):
    """It is admitted: with it and one other node there is a majority."""
    cluster, node, _ = forget(t, lose_folder, "folder")
    wait_votes(cluster, node)  # it has all the data a moment before
    cluster.node(3).kill9()
    wait_for(lambda: refused(node) is None, 30, "a write with the votes of nodes 1 and 2")
    cluster.wait_settled()
    node.kill9()
    node.restart()
    wait_for(lambda: refused(node) is None, 30, "a write after its restart")


def test_a_node_alone_does_not_go_on_without_its_log(t):
    for damage, why in ((lose_log, "missing or empty"), (damage_log, "is damaged")):
        cluster = t.cluster(1, name=f"alone-{damage.__name__}")
        node = cluster.node(1)
        for n in range(100):
            node.call("set", f"key {n}", "value")
        node.kill9()
        damage(node)
        finished = t.run("mayflyd", "--config", node.config)
        equal(finished.status, 1, "exit status")
        contains(finished.stderr.decode(), why, "the message")
        contains(finished.stderr.decode(), "No other node has this data", "the message")


def test_a_log_without_its_owner_is_not_taken(t):
    cluster = t.cluster(3)
    fill(cluster)
    node = cluster.node(2)
    node.kill9()
    (node.data_dir / "node.meta").unlink()
    finished = t.run("mayflyd", "--config", node.config)
    equal(finished.status, 1, "exit status")
    contains(finished.stderr.decode(), "put node.meta back", "the message")


def test_a_checkpoint_without_its_owner_is_not_taken(t):
    """By no start and by no restore: it may be of another cluster, whose slots mean nothing here."""
    cluster = t.cluster(1, shards=1)
    node = cluster.node(1)
    value = bytes(10_000)
    with node.connect(timeout=60) as connection:
        for _ in range(60):
            connection.call("mset", [[f"k{n}", value] for n in range(100)])
    wait_for(lambda: list((node.data_dir / "checkpoints").glob("*.mfs")), 60, "a checkpoint")
    equal(node.terminate(), 0, "exit status")
    for name in ("node.meta", "wal"):
        (node.data_dir / name).rename(t.dir / name)
    finished = t.run("mayflyd", "--config", node.config)
    equal(finished.status, 1, "exit status")
    contains(finished.stderr.decode(), "put node.meta back", "the message")
    (t.dir / "text").write_text('{"key": "k", "value": "v"}\n')
    equal(t.run("mayfly-snapshot", "import", t.dir / "text", t.dir / "made.mfs").status, 0, "import")
    finished = t.run("mayfly-snapshot", "restore", t.dir / "made.mfs", "--data-dir", node.data_dir,
                     "--config", node.config)
    equal(finished.status, 1, "exit status of a restore into it")
    contains(finished.stderr.decode(), "checkpoints", "the message")
    for name in ("node.meta", "wal"):
        (t.dir / name).rename(node.data_dir / name)
    node.restart()
    equal(node.call("get", "k7"), value, "a value, with all put back")


@limit(240)
def test_nodes_that_forget_one_after_the_other_are_no_majority(t):
    """Each begins with the configuration of the first day, of which others have forgotten, too."""
    cluster = t.cluster(3)
    fill(cluster)
    for node in cluster.nodes * 3:
        node.kill9()
        lose_folder(node)
        node.restart()
        check_learns(cluster, node, "folder")
        wait_votes(cluster, node)
    for node in cluster.nodes:
        true(LOST not in node.log_text(), f"node {node.id} has raised the alarm")


@limit(240)
def test_a_majority_that_forgot_serves_nothing_until_a_snapshot_is_restored(t):
    cluster = t.cluster(3, overrides=IMPATIENT)
    fill(cluster)
    path = patient(cluster.node(1), "snapshot", "snap.mfs")["path"]
    snapshot = t.dir / "kept.mfs"
    shutil.copy(path, snapshot)
    patient(cluster.node(1), "set", "after", "the snapshot")
    for node in cluster.nodes[1:]:
        node.kill9()
        lose_folder(node)
    for node in cluster.nodes[1:]:
        node.restart()
    for node in cluster.nodes:
        wait_for(lambda node=node: LOST in log_of_last_start(node), 60, f"node {node.id} to say so")
        # A leader that is still one has proposed it, and cannot tell.
        true(refused(node) in ("NO_QUORUM", "TIMEOUT"), f"a write through node {node.id}")
    finished = t.run("mayfly-snapshot", "restore", snapshot, "--data-dir",
                     cluster.node(1).data_dir, "--config", cluster.node(1).config,
                     "--force-new-cluster")
    equal(finished.status, 1, "exit status while a node runs on the folder")
    contains(finished.stderr.decode(), "in use by a running mayflyd", "the message")
    equal(cluster.stop(), None, "trouble while stopping")
    for node in cluster.nodes:
        finished = t.run("mayfly-snapshot", "restore", snapshot, "--data-dir", node.data_dir,
                         "--config", node.config)
        equal(finished.status, 1, "exit status without the flag")
        finished = t.run("mayfly-snapshot", "restore", snapshot, "--data-dir", node.data_dir,
                         "--config", node.config, "--force-new-cluster")
        equal(finished.status, 0, f"exit status of\n{finished}\n")
    cluster.restart()
    for node in cluster.nodes:
        equal(patient(node, "mget", ["key 7", "after"]), [b"value 7", None], f"node {node.id}")
        equal(meta_of(node)["memory"], FIRST, f"the memory of node {node.id}")
    true(any(cluster.node(1).data_dir.glob("wal.replaced-*")), "the old log is gone")
