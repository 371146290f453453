"""Dumps: every shard of a running cluster in one file, whoever holds it, and what becomes of them."""

import json
import pathlib
import threading

from mayfly_test.check import contains, equal, same_content, true
from mayfly_test.client import RpcError
from mayfly_test.context import limit
from mayfly_test.wait import wait_for



def tool(t, *args, status=0, **options):
    finished = t.run("mayfly-snapshot", *args, **options)
    equal(finished.status, status, f"exit status of\n{finished}\n")
    return finished


def address_of(node):
    return "{}:{}".format(*node.rpc)


def fill(cluster, count=2000):
    """Returns the keys, with or without a deadline, as their lines in an export have them."""
    with cluster.node(1).connect(timeout=60) as connection:
        connection.set_all(
            (f"key:{i}", f"value {i}" * (i % 50),
             {} if i % 2 == 0 else {"expire_at": 4_000_000_000_000 + i}) for i in range(count))
    return {f"key:{i}": (f"value {i}" * (i % 50), None if i % 2 == 0 else 4_000_000_000_000 + i)
            for i in range(count)}


def content_of(t, path):
    lines = tool(t, "export", path, "-o", "json").stdout.splitlines()
    entries = [json.loads(line) for line in lines]
    return {entry["key"]: (entry["value"], entry["expire_at"]) for entry in entries}


def dump(t, endpoints, name="dump.mfs", **options):
    path = t.dir / name
    finished = tool(t, "dump", "-s", endpoints, path, **options)
    tool(t, "verify", path)
    inspected = json.loads(tool(t, "inspect", path, "-o", "json").stdout)
    equal([section["shard"] for section in inspected["sections"]],
          list(range(inspected["shard_count"])), "the shards in the file")
    return path, finished, inspected


def nothing_left(t, cluster, names):
    for node in cluster.running():
        folder = pathlib.Path(node.call("snapshot", "where", timeout=60)["path"]).parent
        equal([file.name for file in folder.iterdir()], ["where"], f"files of node {node.id}")
        node.call("snapshot_remove", "where")
    left = [file.name for file in t.dir.iterdir() if file.is_file()]
    equal(sorted(left), sorted(names), "files beside the dump")


@limit(300)
def test_a_dump_is_restored_into_clusters_of_other_shapes(t):
    source = t.cluster(3, name="source")
    entries = fill(source)
    path, finished, inspected = dump(t, source.endpoints())
    contains(finished.stdout.decode(), "from node", "what a dump tells")
    equal((inspected["keys"], inspected["shard_count"]), (len(entries), 16), "what inspect tells")
    same_content(content_of(t, path), entries, "the content of the dump")
    nothing_left(t, source, ["dump.mfs"])
    equal(source.stop(), None, "trouble while stopping")
    for n, shards in ((1, 4), (3, 64), (5, 7)):
        target = t.cluster(n, shards=shards, name=f"target-{n}", start=False)
        target.start_with(lambda node: restore_folder(t, path, node))
        target.wait_settled()
        again, _, _ = dump(t, target.endpoints(), f"again-{n}.mfs")
        same_content(content_of(t, again), entries,
                     f"the content of {n} nodes with {shards} shards")
        equal(target.stop(), None, "trouble while stopping")


def restore_folder(t, path, node):
    node.write_config()
    tool(t, "restore", path, "--data-dir", node.data_dir, "--config", node.config)


@limit(240)
def test_shards_that_lie_on_different_nodes_are_put_together(t):
    cluster = t.cluster(3, overrides={"cluster.replicas": 1})
    entries = fill(cluster)
    # Any one node leads to the others.
    path, finished, _ = dump(t, address_of(cluster.node(2)))
    same_content(content_of(t, path), entries, "the content of the dump")
    contains(finished.stdout.decode().replace("1", "").replace("2", "").replace("3", ""), "node , , ",
             "the nodes that were asked")
    nothing_left(t, cluster, ["dump.mfs"])
    before = path.read_bytes()
    cluster.node(3).kill9()
    finished = tool(t, "dump", "-s", address_of(cluster.node(1)), path, status=1, timeout=120)
    contains(finished.stderr.decode(), "of 16 shards", "what is said of shards without a node")
    equal(path.read_bytes(), before, "the file that was there")


@limit(240)
def test_a_node_that_is_down_is_not_needed_where_others_have_its_shards(t):
    cluster = t.cluster(3)
    entries = fill(cluster)
    cluster.node(1).kill9()
    wait_for(lambda: cluster.node(2).call("size") == len(entries), 20, "the others to lead")
    path, _, _ = dump(t, cluster.endpoints())
    same_content(content_of(t, path), entries, "the content of the dump")


def test_a_dump_needs_the_password_and_says_what_is_wrong(t):
    cluster = t.cluster(1, overrides={"security.password": "ada:s3cret"},
                        hello={"user": "ada", "password": "s3cret"})
    fill(cluster, 10)
    address = address_of(cluster.node(1))
    finished = tool(t, "dump", "-s", address, "a.mfs", status=1)
    contains(finished.stderr.decode(), "UNAUTHORIZED", "without a password")
    tool(t, "dump", "-s", address, "a.mfs", "--user", "ada", "--password", "s3cret")
    tool(t, "dump", "-s", "127.0.0.1:1", "b.mfs", status=1)
    tool(t, "dump", "-s", address, "/dev/null", "--user", "ada", "--password", "s3cret", status=1)
    tool(t, "dump", "-s", address, "absent/a.mfs", "--user", "ada", "--password", "s3cret",
         status=1)
    nothing_left(t, cluster, ["a.mfs"])
    for args in (["dump"], ["dump", "a"], ["dump", "-s", address], ["dump", "-s", address, "a", "b"],
                 ["dump", "-s", address, "a", "--data-dir", "d"], ["dump", "-s", "x:y:z", "a"]):
        finished = t.run("mayfly-snapshot", *args)
        true(finished.status in ((1,) if args[-2:] == ["x:y:z", "a"] else (2,)),
             f"exit status of\n{finished}\n")


class Writer(threading.Thread):
    """Writes two keys of a shard as one, and a third after them, over and over."""

    def __init__(self, cluster, number):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.tag = "{%d}" % number
        self.rounds = 0
        self.stopping = threading.Event()
        self.trouble = None

    def run(self):
        try:
            with self.cluster.node(1).connect() as connection:
                while not self.stopping.is_set():
                    value = str(self.rounds + 1)
                    connection.call("mset", [[self.tag + "both1", value], [self.tag + "both2", value]])
                    connection.call("set", self.tag + "after", value)
                    self.rounds += 1
        except (RpcError, OSError) as error:
            self.trouble = error


@limit(240)
def test_a_dump_under_load_has_each_shard_at_one_moment(t):
    cluster = t.cluster(3, overrides={"cluster.replicas": 1})
    writers = [Writer(cluster, number) for number in range(8)]
    for writer in writers:
        writer.start()
    wait_for(lambda: all(writer.rounds > 20 for writer in writers), 30, "writers to be at work")
    for number in range(3):
        acknowledged = {writer.tag: writer.rounds for writer in writers}
        path, _, _ = dump(t, cluster.endpoints(), f"cut{number}.mfs")
        found = {key: int(value) for key, (value, _) in content_of(t, path).items()}
        for writer in writers:
            both1, both2, after = (found[writer.tag + name] for name in ("both1", "both2", "after"))
            equal(both1, both2, f"the pair {writer.tag}, written as one")
            true(after <= both1 <= after + 1, f"{writer.tag}: {both1}, then {after} is no moment")
            true(after >= acknowledged[writer.tag],
                 f"{writer.tag}: {after}, but {acknowledged[writer.tag]} was acknowledged before")
    for writer in writers:
        writer.stopping.set()
        writer.join(20)
        true(writer.trouble is None, f"a writer: {writer.trouble}")
