"""The Redis Cluster port: what is told beside what Redis itself tells, who answers and who sends on,
and that nothing that was acknowledged is lost on the way."""

import threading

from mayfly_test import resp_cases
from mayfly_test.check import equal, true
from mayfly_test.client import parse_address
from mayfly_test.cluster import SLOTS, key_in_slots, slot_of
from mayfly_test.resp import RedisServer, Resp, pack
from mayfly_test.wait import wait_for

SHARDS = 16
CROSSSLOT = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
NOT_SERVED = b"-CLUSTERDOWN Hash slot not served\r\n"
ABORTED = b"-EXECABORT Transaction discarded because of previous errors.\r\n"


def with_resp_cluster(t, n=3, start=True, shards=SHARDS, mode="none", **overrides):
    cluster = t.cluster(n, start=False, shards=shards, mode=mode, overrides={
        "listen.resp": "127.0.0.1:0", "listen.resp_cluster": "127.0.0.1:0", **overrides})
    return cluster.start() if start else cluster


def address(node):
    return parse_address(node.ready["resp_cluster"])


def led_by(node):
    """The first slots of the shards that the node leads, as it says itself."""
    return [shard["slots"][0] for shard in node.call("cluster")["shards"]
            if shard["leader"] == node.id]


def key_of(node, name=b"key"):
    return key_in_slots(name, *led_by(node)[0])


def moved(key, node):
    return b"-MOVED %d %s\r\n" % (slot_of(key), node.ready["resp_cluster"].encode())


def node_id(node):
    return f"{node.id:040x}"


class Reply:
    """Turns the bytes of a reply into what they mean."""

    def __init__(self, data):
        self.data = data

    def take(self):
        line, _, self.data = self.data.partition(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind in b"*%":
            count = int(rest) * (2 if kind == b"%" else 1)
            return [self.take() for _ in range(count)]
        if kind in b"$=":
            size = int(rest)
            text, self.data = self.data[:size], self.data[size + 2:]
            return text.decode()
        return int(rest) if kind == b":" else line.decode()


def told(client, *words):
    return Reply(client.call(*words)).take()


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2]))


# What is told.

def stable(version, words, reply):
    """A reply without what differs between any two servers."""
    value = Reply(reply).take()
    name = " ".join(words).lower()
    if name == "cluster info":
        return [line.partition(":")[0] for line in value.split("\r\n")]
    if name == "cluster nodes":
        return [[len(word) if i == 0 else word for i, word in enumerate(line.split(" "))
                 if i in (0, 2, 3, 4, 5, 7, 8)] for line in value.split("\n")]
    if name == "cluster slots":
        return [[first, last, len(node), len(node[2]), node[3]] for first, last, node in value]
    if name == "cluster shards":
        return [[shard[0], shard[1], shard[2], [node[::2] for node in shard[3]]]
                for shard in value]
    return reply[:1] + reply[-60:] if name == "cluster myid" else reply


TOLD_ALIKE = [["CLUSTER", "NODES"], ["CLUSTER", "SLOTS"], ["CLUSTER", "SHARDS"],
              ["CLUSTER", "INFO"]]
SAID_ALIKE = [
    ["CLUSTER"], ["CLUSTER", "nosuch"], ["CLUSTER", "KEYSLOT"], ["cluster", "keyslot", "a", "b"],
    ["CLUSTER", "KEYSLOT", "a"], ["cluster", "KeySlot", "x{tag}y"], ["CLUSTER", "KEYSLOT", ""],
    ["CLUSTER", "COUNTKEYSINSLOT", "5"], ["CLUSTER", "COUNTKEYSINSLOT", "16384"],
    ["CLUSTER", "COUNTKEYSINSLOT", "-1"], ["CLUSTER", "COUNTKEYSINSLOT", "x"],
    ["CLUSTER", "GETKEYSINSLOT", "5", "10"], ["CLUSTER", "GETKEYSINSLOT", "5", "0"],
    ["CLUSTER", "GETKEYSINSLOT", "5", "-1"], ["CLUSTER", "GETKEYSINSLOT", "16384", "1"],
    ["CLUSTER", "GETKEYSINSLOT", "x", "1"], ["CLUSTER", "GETKEYSINSLOT", "1", "x"],
    ["CLUSTER", "COUNT-FAILURE-REPORTS", "nosuch"], ["CLUSTER", "INFO", "more"],
    ["SET", "k", "v"], ["CLUSTER", "COUNTKEYSINSLOT", str(slot_of(b"k"))],
    ["CLUSTER", "GETKEYSINSLOT", str(slot_of(b"k")), "10"], ["DEL", "k"],
    ["SELECT", "0"], ["SELECT", "1"], ["SELECT", "99"], ["SELECT", "x"],
    ["READONLY"], ["READWRITE"], ["ASKING"], ["ASKING", "more"],
    ["MGET", "a", "b"], ["MSET", "a", "1", "b", "2"], ["DEL", "a", "b"], ["WATCH", "a", "b"],
    ["MSET", "a", "1", "b"], ["SET", "a", "b", "c"], ["RENAME", "a", "b"], ["COPY", "a", "b"],
    ["MGET", "{t}a", "{t}b"], ["EXISTS", "a", "b"], ["TOUCH", "a", "a"], ["UNLINK", "a", "b"],
    ["MULTI"], ["SET", "a", "1"], ["MGET", "a", "b"], ["EXEC"],
    ["MULTI"], ["SET", "a", "1"], ["SET", "b", "1"], ["EXEC"], ["EXEC"],
    ["WATCH", "a"], ["MULTI"], ["EXEC"], ["MULTI"], ["PING"], ["EXEC"],
    ["MULTI"], ["CLUSTER", "KEYSLOT", "a"], ["READONLY"], ["EXEC"], ["GET", "a"],
    ["MULTI"], ["SET", "{x}a", "1"], ["INCR", "{x}a"], ["DEL", "{x}a"], ["EXEC"],
    ["DBSIZE"], ["FLUSHALL"], ["KEYS", "*"], ["RANDOMKEY"], ["SCAN", "0"],
]


def test_one_node_says_what_redis_says(t):
    """A Redis that leads all slots and a node that does, reply by reply."""
    node = with_resp_cluster(t, 1).nodes[0]
    with RedisServer(t.dir, "--cluster-enabled", "yes") as server:
        with Resp(server.address) as redis:
            equal(redis.call("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1), b"+OK\r\n", "ADDSLOTSRANGE")
            wait_for(lambda: b"cluster_state:ok" in redis.call("CLUSTER", "INFO"), 20,
                     "Redis to take its slots")
        for version in (2, 3):
            with Resp(server.address, version) as redis, Resp(address(node), version) as mayfly:
                for words in SAID_ALIKE:
                    equal(mayfly.call(*words), redis.call(*words), f"{words} in RESP{version}")
                for words in TOLD_ALIKE:
                    theirs, ours = redis.call(*words), mayfly.call(*words)
                    equal(ours[:1], theirs[:1], f"the kind of the reply to {words}")
                    equal(stable(version, words, ours), stable(version, words, theirs),
                          f"{words} in RESP{version}")
                for hello in (redis.call("HELLO"), mayfly.call("HELLO")):
                    true(b"$4\r\nmode\r\n$7\r\ncluster\r\n" in hello, f"HELLO: {hello!r}")
                names = ["cluster|" + name for name in (
                    "info", "nodes", "slots", "shards", "myid", "keyslot", "help",
                    "countkeysinslot", "getkeysinslot", "count-failure-reports")]
                for name in names + ["cluster", "asking", "readonly", "readwrite"]:
                    theirs, ours = (told(client, "COMMAND", "INFO", name)[0]
                                    for client in (redis, mayfly))
                    for asked in (theirs, ours):
                        asked[2], asked[6], asked[7] = (sorted(map(str, asked[i]))
                                                        for i in (2, 6, 7))
                        asked[9] = []
                    equal(ours, theirs, f"COMMAND INFO {name}")


def test_commands_of_one_key_are_answered_as_by_redis(t):
    node = with_resp_cluster(t, 1).nodes[0]
    cases = list(resp_cases.one_key(t.rng, 0.1)) + list(resp_cases.transactions())
    with RedisServer(t.dir, "--cluster-enabled", "yes") as server, Resp(server.address) as redis, \
            Resp(address(node)) as mayfly:
        equal(redis.call("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1), b"+OK\r\n", "ADDSLOTSRANGE")
        wait_for(lambda: redis.call("GET", "a") == b"$-1\r\n", 20, "Redis to take its slots")
        count = 0
        for case in cases:
            redirected = []
            for server_at in (redis, mayfly):
                replies = server_at.pipeline(case)
                redirected.append([reply if reply.startswith((b"-CROSS", b"-EXECABORT", b"+QUEUED"))
                                   else reply[:1] for reply in replies])
            if any("" in map(str, words) for words in case):
                continue
            equal(redirected[1], redirected[0], f"the kinds of the replies to {case}")
            count += len(case)
        t.note(f"{count} replies compared")


def test_on_the_other_port_there_is_no_cluster(t):
    node = with_resp_cluster(t, 1).nodes[0]
    with RedisServer(t.dir) as server, Resp(server.address) as redis, \
            Resp(parse_address(node.ready["resp"])) as mayfly:
        for words in (["CLUSTER", "INFO"], ["CLUSTER", "KEYSLOT", "a"], ["CLUSTER", "HELP"],
                      ["CLUSTER", "nosuch"], ["CLUSTER"], ["READONLY"], ["READWRITE"], ["ASKING"],
                      ["CLUSTER", "COUNTKEYSINSLOT", "x"], ["CLUSTER", "MYID"]):
            equal(mayfly.call(*words), redis.call(*words), words)


def test_all_nodes_tell_the_same_leaders_of_all_slots(t):
    cluster = with_resp_cluster(t)
    ids = {node_id(node): node for node in cluster.nodes}
    leaders = {}
    for shard in cluster.nodes[0].call("cluster")["shards"]:
        for slot in range(shard["slots"][0][0], shard["slots"][0][1] + 1):
            leaders[slot] = f"{shard['leader']:040x}"
    for node in cluster.nodes:
        for version in (2, 3):
            with Resp(address(node), version) as client:
                equal(told(client, "CLUSTER", "MYID"), node_id(node), "MYID")
                by_slots, by_shards, by_nodes = {}, {}, {}
                last = None
                for first, end, (host, port, name, _) in told(client, "CLUSTER", "SLOTS"):
                    equal((host, port), address(ids[name]), "an address in SLOTS")
                    true((first - 1, name) != last, "ranges that touch are one")
                    last = end, name
                    by_slots.update((slot, name) for slot in range(first, end + 1))
                for shard in map(pairs, told(client, "CLUSTER", "SHARDS")):
                    about, = map(pairs, shard["nodes"])
                    equal((about["ip"], about["port"]), address(ids[about["id"]]), "in SHARDS")
                    equal((about["endpoint"], about["role"], about["health"]),
                          (about["ip"], "master", "online"), "in SHARDS")
                    for first, end in zip(shard["slots"][::2], shard["slots"][1::2]):
                        by_shards.update((slot, about["id"]) for slot in range(first, end + 1))
                lines = told(client, "CLUSTER", "NODES").splitlines()
                for line in lines:
                    words = line.split(" ")
                    whole = f"{ids[words[0]].ready['resp_cluster']}@{words[1].split('@')[1]}"
                    equal(words[1], whole, "an address in NODES")
                    equal(words[2], "myself,master" if words[0] == node_id(node) else "master",
                          "flags")
                    equal((words[3], words[7]), ("-", "connected"), "in NODES")
                    for span in words[8:]:
                        first, _, end = span.partition("-")
                        by_nodes.update((slot, words[0])
                                        for slot in range(int(first), int(end or first) + 1))
                equal(len(lines), 3, "nodes")
                equal((by_slots, by_shards, by_nodes), (leaders,) * 3, "leaders of the slots")
                info = dict(line.split(":") for line in
                            told(client, "CLUSTER", "INFO").split("\r\n") if line)
                equal([info[f"cluster_{name}"] for name in
                       ("state", "slots_assigned", "slots_ok", "known_nodes", "size")],
                      ["ok", "16384", "16384", "3", "3"], "CLUSTER INFO")


def test_a_host_is_always_told(t):
    """Of a node that listens on all interfaces: the address by which the client came, or what the
    node is told to say."""
    cluster = with_resp_cluster(t, 2, **{"listen.resp_cluster": "0.0.0.0:0"})
    for node in cluster.nodes:
        ports = [int(other.ready["resp_cluster"].rpartition(":")[2]) for other in cluster.nodes]
        with Resp(("127.0.0.1", ports[node.id - 1])) as client:
            for _, _, (host, port, name, _) in told(client, "CLUSTER", "SLOTS"):
                equal((host, port), ("127.0.0.1", ports[int(name, 16) - 1]), "the address")
            other = cluster.nodes[2 - node.id]
            key = key_of(other)
            equal(client.call("GET", key),
                  b"-MOVED %d 127.0.0.1:%d\r\n" % (slot_of(key), ports[other.id - 1]), "GET")
    named = t.cluster(2, "named", start=False, shards=SHARDS, mode="none", overrides={
        "listen.resp_cluster": "127.0.0.1:0", "listen.advertise_host": "localhost"}).start()
    port = [int(node.ready["resp_cluster"].rpartition(":")[2]) for node in named.nodes]
    with Resp(("127.0.0.1", port[0])) as client:
        for _, _, (host, told_port, name, _) in told(client, "CLUSTER", "SLOTS"):
            equal((host, told_port), ("localhost", port[int(name, 16) - 1]), "the advertised host")


# Who answers.

ONE_KEY = [["GET"], ["SET", "v"], ["INCR"], ["EXPIRE", "10"], ["TTL"], ["DEL"], ["EXISTS"],
           ["WATCH"], ["GETEX"], ["APPEND", "x"], ["TYPE"], ["SET", "v", "no such option"]]


def test_only_the_leader_answers_and_others_say_who_it_is(t):
    cluster = with_resp_cluster(t)
    keys = {node: key_of(node) for node in cluster.nodes}
    before = {node: node.call("stats")["forwarded"] for node in cluster.nodes}
    for node in cluster.nodes:
        with Resp(address(node)) as client:
            for leader, key in keys.items():
                for name, *rest in ONE_KEY:
                    reply = client.call(name, key, *rest)
                    if leader is node:
                        true(not reply.startswith(b"-MOVED"), f"{name} at the leader: {reply!r}")
                    else:
                        equal(reply, moved(key, leader), f"{name} at another node")
                client.call("DEL", key)
                client.call("UNWATCH")
            for words in (["MGET", *keys.values()], ["DEL", *keys.values()]):
                equal(client.call(*words), CROSSSLOT, words[0])
            here, there = key_of(node), key_of(cluster.nodes[node.id % 3])
            equal(client.pipeline([["SET", here, "v"], ["SET", there, "v"], ["GET", here]]),
                  [b"+OK\r\n", moved(there, cluster.nodes[node.id % 3]), b"$1\r\nv\r\n"],
                  "a pipeline")
    equal({node: node.call("stats")["forwarded"] for node in cluster.nodes}, before,
          "what was passed on")


def test_two_slots_of_one_shard_are_two(t):
    """As in Redis Cluster, so that a program does not work by the chance of how slots are spread."""
    node = with_resp_cluster(t, 1, shards=1).nodes[0]
    with Resp(address(node)) as client:
        equal(client.call("MSET", "a", 1, "b", 2), CROSSSLOT, "MSET")
        equal(client.pipeline([["MULTI"], ["SET", "a", 1], ["SET", "b", 2], ["EXEC"],
                               ["EXISTS", "a"]])[2:], [b"+QUEUED\r\n", CROSSSLOT, b":0\r\n"],
              "a transaction")


def test_a_transaction_is_sent_on_when_it_is_queued(t):
    cluster = with_resp_cluster(t)
    node, other = cluster.nodes[:2]
    here, there = key_of(node), key_of(other)
    with Resp(address(node)) as client:
        equal(client.pipeline([["MULTI"], ["SET", here, 1], ["SET", there, 1], ["EXEC"],
                               ["EXISTS", here]])[1:],
              [b"+QUEUED\r\n", moved(there, other), ABORTED, b":0\r\n"], "MOVED inside")
        equal(client.pipeline([["MULTI"], ["SET", here, 1], ["MGET", here, there], ["EXEC"],
                               ["EXISTS", here]])[1:],
              [b"+QUEUED\r\n", CROSSSLOT, ABORTED, b":0\r\n"], "CROSSSLOT inside")
        equal(client.pipeline([["WATCH", here], ["MULTI"], ["SET", here, 1], ["INCR", here],
                               ["EXEC"]])[4], b"*2\r\n+OK\r\n:2\r\n", "a transaction")


def transfer(cluster, key, to):
    cluster.nodes[0].call("transfer", cluster.shard_of(key), to.id)
    cluster.wait_settled()


def test_exec_after_a_change_of_leader_is_sent_on(t):
    cluster = with_resp_cluster(t)
    node, other = cluster.nodes[:2]
    key = key_of(node)
    with Resp(address(node)) as client, Resp(address(other)) as there:
        client.pipeline([["SET", key, 1], ["WATCH", key], ["MULTI"], ["INCR", key]])
        transfer(cluster, key, other)
        equal(client.call("EXEC"), moved(key, other), "EXEC")
        equal(client.call("EXEC"), b"-ERR EXEC without MULTI\r\n", "EXEC again")
        equal(client.call("GET", key), moved(key, other), "GET")
        equal(there.call("GET", key), b"$1\r\n1\r\n", "the value")
        there.pipeline([["WATCH", key]])
        transfer(cluster, key, node)
        equal(there.pipeline([["MULTI"], ["EXEC"]])[1], moved(key, node), "EXEC of nothing")


def test_a_shard_that_changes_hands_says_try_again(t):
    """The heir misses an entry and stands still: the shard's leader serves nothing meanwhile, and
    says so at once and not after a whole request timeout."""
    cluster = with_resp_cluster(t, 3, **{"consensus.lease_ms": 5000})
    leader, heir = cluster.nodes[:2]
    key = key_of(leader)
    with Resp(address(leader)) as client, Resp(address(leader)) as other:
        heir.pause()
        equal(client.call("SET", key, "v"), b"+OK\r\n", "SET")
        order = threading.Thread(target=lambda: cluster.nodes[0].call(
            "transfer", cluster.shard_of(key), heir.id), daemon=True)
        order.start()
        def refused():
            return other.call("SET", key, "w").startswith(b"-TRYAGAIN ")
        try:
            wait_for(refused, 20, "TRYAGAIN")
            equal(other.call("GET", key)[:10], b"-TRYAGAIN ", "GET")
        finally:
            heir.resume()
        order.join()
        wait_for(lambda: other.call("SET", key, "w") == moved(key, heir), 20, "the new leader")
