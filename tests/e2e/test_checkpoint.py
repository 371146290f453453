"""Logs that do not grow: checkpoints, what they let go, and what a node starts from."""

import contextlib
import pathlib

from mayfly_test.check import contains, equal, true
from mayfly_test.context import limit
from mayfly_test.wait import wait_for

MIB = 1 << 20
SEGMENT = 16 * MIB
KEYS = 100
SHARDS = 2


def folder_bytes(node, name):
    total = 0
    for file in (pathlib.Path(node.data_dir) / name).glob("*"):
        with contextlib.suppress(FileNotFoundError):  # it went, or got another name
            total += file.stat().st_size
    return total


def checkpoints(node):
    return sorted((pathlib.Path(node.data_dir) / "checkpoints").glob("*.mfs"))


def firsts(node):
    return [shard["first"] for shard in node.call("cluster")["shards"]]


def value_of(turn):
    return (b"%08d" % turn) * 1250


def rewrite(node, megabytes):
    """Writes that much into the same keys, 1 MB of them; returns the last value."""
    with node.connect(timeout=60) as connection:
        for turn in range(megabytes):
            pairs = [[f"k{n}", value_of(turn)] for n in range(KEYS)]
            # A leader that is too slow may be replaced meanwhile.
            wait_for(lambda pairs=pairs: connection.call("mset", pairs), 60, "a write")
    return value_of(megabytes - 1)


# Of two threads with one shard each: what one checkpoint waits for, what comes while it is written,
# the file in use, the one made ahead, and two that are kept to make others of.
LOG_BYTES_MAX = 2 * 6 * SEGMENT


def memory_max(t):
    return (1000 if t.sanitized else 250) * MIB


def check_bounded(t, cluster, megabytes):
    for node in cluster.running():
        wait_for(lambda: min(firsts(node)) > 1, 60, f"node {node.id} to cut its logs in memory")
        wait_for(lambda: folder_bytes(node, "wal") <= LOG_BYTES_MAX, 60,
                 f"node {node.id} to drop files of its log")
        t.note(f"node {node.id}: {folder_bytes(node, 'wal') // MIB} MiB of log and "
               f"{node.rss_bytes() // MIB} MiB of memory after {megabytes} MB of writes")
        true(node.rss_bytes() < memory_max(t), f"node {node.id} takes {node.rss_bytes()} bytes")
        equal(len(checkpoints(node)), SHARDS, "checkpoints")


def check_values(node, value):
    with node.connect(timeout=60) as connection:
        equal(connection.call("mget", [f"k{n}" for n in range(KEYS)]), [value] * KEYS, "values")


def cut_and_crash(t, nodes, megabytes):
    cluster = t.cluster(nodes, shards=SHARDS, overrides={"node.threads": 2})
    value = rewrite(cluster.node(1), megabytes)
    check_bounded(t, cluster, megabytes)
    for node in cluster.running():
        node.kill9()
    cluster.restart()
    for node in cluster.running():
        check_values(node, value)
        true(min(firsts(node)) > 1, f"the logs of node {node.id} begin at {firsts(node)}")


@limit(300)
def test_one_node_s_logs_are_cut_and_all_is_there_after_a_crash(t):
    cut_and_crash(t, 1, 400)


@limit(300)
def test_logs_of_three_are_cut_and_all_is_there_after_a_crash_of_all(t):
    cut_and_crash(t, 3, 200)


def test_files_of_a_former_number_of_threads_are_removed(t):
    cluster = t.cluster(1, shards=SHARDS, overrides={"node.threads": 2})
    node = cluster.node(1)
    rewrite(node, 40)
    node.kill9()
    second = list((pathlib.Path(node.data_dir) / "wal").glob("0001-*.wal"))
    true(second, "no file of the second thread")
    node.settings["node.threads"] = 1
    node.write_config()
    node.restart()
    value = rewrite(node, 100)
    wait_for(lambda: not any(file.exists() for file in second), 60, "the old stream to go")
    node.kill9()
    node.restart()
    check_values(node, value)


def test_a_node_without_a_wal_bounds_its_memory(t):
    cluster = t.cluster(1, shards=SHARDS, mode="none")
    node = cluster.node(1)
    rewrite(node, 200)
    wait_for(lambda: min(firsts(node)) > 1, 60, "the logs to be cut in memory")
    true(node.rss_bytes() < memory_max(t), f"it takes {node.rss_bytes()} bytes")
    true(checkpoints(node), "no checkpoint")
    node.kill9()
    node.restart()
    equal(node.call("size"), 0, "keys after a restart of a node without a log")


def refused_start(node):
    node.start()
    node.wait_end(20)
    return node.log_text()


def test_a_damaged_or_missing_checkpoint_is_refused(t):
    cluster = t.cluster(1, shards=1)
    node = cluster.node(1)
    value = rewrite(node, 60)
    wait_for(lambda: firsts(node)[0] > 1, 60, "the log to be cut")
    wait_for(lambda: not (pathlib.Path(node.data_dir) / "wal" / "0000-00000001.wal").exists(), 60,
             "the first file of the log to go")
    node.kill9()
    [file] = checkpoints(node)
    content = file.read_bytes()
    file.write_bytes(content[:1000] + b"x" + content[1001:])
    contains(refused_start(node), file.name, "what is said of a damaged checkpoint")
    file.unlink()
    text = refused_start(node)
    contains(text, file.name, "what is said of a missing checkpoint")
    contains(text, "missing or older", "what is said of a missing checkpoint")
    # What a crash left unfinished is of no matter, and goes.
    unfinished = file.with_name(file.name + ".tmp-1")
    unfinished.write_bytes(b"half")
    file.write_bytes(content)
    node.restart()
    check_values(node, value)
    true(not unfinished.exists(), "an unfinished file is still there")


@limit(120)
def test_a_damaged_checkpoint_is_set_aside_where_others_have_the_data(t):
    cluster = t.cluster(3, shards=1)
    node = cluster.node(2)
    value = rewrite(cluster.node(1), 60)
    wait_for(lambda: checkpoints(node), 60, "a checkpoint")
    node.kill9()
    [file] = checkpoints(node)
    content = file.read_bytes()
    file.write_bytes(content[:1000] + b"x" + content[1001:])
    node.restart()
    for part in (file.name, "votes again when they admit it"):  # logged a little later
        wait_for(lambda part=part: part in node.log_text(), 10, f"the node to say {part!r}")
    [aside] = pathlib.Path(node.data_dir).glob("checkpoints.damaged-*")
    true((aside / file.name).exists(), "the damaged checkpoint is not set aside")
    cluster.wait_equal()
    check_values(node, value)


def test_a_checkpoint_that_cannot_be_written_is_tried_again(t):
    cluster = t.cluster(1, shards=1)
    node = cluster.node(1)
    folder = pathlib.Path(node.data_dir) / "checkpoints"
    folder.rmdir()
    folder.write_text("in the way")
    rewrite(node, 40)
    wait_for(lambda: "no checkpoint could be written" in node.log_text(), 30, "a warning")
    equal(firsts(node)[0], 1, "the first slot of the log")
    folder.unlink()
    folder.mkdir()

    def cut():
        node.call("set", "a", "b")
        return firsts(node)[0] > 1
    wait_for(cut, 60, "the next attempt")
