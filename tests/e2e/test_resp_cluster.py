"""The Redis Cluster port: what is told beside what Redis itself tells, who answers and who sends on,
and that nothing that was acknowledged is lost on the way."""

import threading

from mayfly_test import resp_cases
from mayfly_test.check import equal, true
from mayfly_test.client import parse_address
from mayfly_test.cluster import SLOTS, free_port, key_in_slots, slot_of
from mayfly_test.resp import RedisServer, Resp, pack
from mayfly_test.wait import wait_for
from test_resp import compare

SHARDS = 16
CROSSSLOT = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
NOT_SERVED = b"-CLUSTERDOWN Hash slot not served\r\n"
ABORTED = b"-EXECABORT Transaction discarded because of previous errors.\r\n"


def with_resp_cluster(t, n=3, start=True, shards=SHARDS, mode="none", name="cluster", **overrides):
    """Leases are long, so that leaders stay on a machine that stands still at times."""
    cluster = t.cluster(n, name, start=False, shards=shards, mode=mode, overrides={
        "listen.resp": "127.0.0.1:0", "listen.resp_cluster": "127.0.0.1:0",
        "consensus.lease_ms": 3000, **overrides})
    return in_place(cluster.start()) if start else cluster


def in_place(cluster):
    """Waits until each shard is led by the node that is meant to: it is not moved any more."""
    def leaders():
        return [shard["leader"] for shard in cluster.nodes[0].call("cluster")["shards"]]
    wanted = [cluster.nodes[shard % len(cluster.nodes)].id for shard in range(cluster.shards)]
    wait_for(lambda: leaders() == wanted, 60, "leaders in their places")
    cluster.wait_settled()
    return cluster


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


def cluster_redis(t):
    """Its port for other nodes would be one that the kernel gives to outgoing connections."""
    return RedisServer(t.dir, "--cluster-enabled", "yes", "--cluster-port", free_port())


def node_id(node):
    return f"{node.id:040x}"


class Reply:
    """Turns the bytes of a reply into what they mean."""

    def __init__(self, data):
        self.data = data

    def take(self):
        line, _, self.data = self.data.partition(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind in b"*%~":
            count = int(rest) * (2 if kind == b"%" else 1)
            return [self.take() for _ in range(count)]
        if kind in b"$=":
            size = int(rest)
            text, self.data = self.data[:size], self.data[size + 2:]
            return text[4 * (kind == b"="):].decode()
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
    with cluster_redis(t) as server:
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


def test_commands_are_answered_as_by_redis(t):
    node = with_resp_cluster(t, 1).nodes[0]
    cases = list(resp_cases.one_key(t.rng, 0.1)) + list(resp_cases.transactions()) + \
        list(resp_cases.random_sequences(t.rng, 100, 30))
    with cluster_redis(t) as server, Resp(server.address) as redis, \
            Resp(address(node)) as mayfly:
        equal(redis.call("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1), b"+OK\r\n", "ADDSLOTSRANGE")
        wait_for(lambda: redis.call("GET", "a") == b"$-1\r\n", 20, "Redis to take its slots")
        t.note(f"{compare(redis, mayfly, cases, 'on the cluster port')} replies compared")


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
    cluster = with_resp_cluster(t, **{"listen.resp_cluster": "0.0.0.0:0", "security.open": "yes"})
    for node in cluster.nodes:
        ports = [int(other.ready["resp_cluster"].rpartition(":")[2]) for other in cluster.nodes]
        with Resp(("127.0.0.1", ports[node.id - 1])) as client:
            for _, _, (host, port, name, _) in told(client, "CLUSTER", "SLOTS"):
                equal((host, port), ("127.0.0.1", ports[int(name, 16) - 1]), "the address")
            other = cluster.nodes[node.id % 3]
            key = key_of(other)
            equal(client.call("GET", key),
                  b"-MOVED %d 127.0.0.1:%d\r\n" % (slot_of(key), ports[other.id - 1]), "GET")
    named = with_resp_cluster(t, name="named", **{"listen.advertise_host": "localhost"})
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
        replies = client.pipeline([["WATCH", key], ["MULTI"], ["SET", key_of(node), 2], ["EXEC"]])
        equal((replies[0], replies[3][:11]), (moved(key, other), b"-EXECABORT "),
              "EXEC after a WATCH that was sent on")
        there.pipeline([["WATCH", key]])
        transfer(cluster, key, node)
        equal(there.pipeline([["MULTI"], ["EXEC"]])[1], moved(key, node), "EXEC of nothing")


def test_a_shard_that_changes_hands_says_try_again(t):
    """The heir misses an entry and stands still: the shard's leader serves nothing meanwhile, and
    says so at once and not after a whole request timeout."""
    cluster = with_resp_cluster(t, 3, **{"consensus.lease_ms": 5000})
    leader, heir = cluster.nodes[:2]
    key = key_of(leader)
    with Resp(address(leader)) as client, Resp(address(leader), timeout=30) as other:
        heir.pause()
        equal(client.call("SET", key, "v"), b"+OK\r\n", "SET")
        order = threading.Thread(target=lambda: cluster.nodes[0].call(
            "transfer", cluster.shard_of(key), heir.id), daemon=True)
        order.start()
        def refused():
            # What came before the order may wait for its end.
            with Resp(address(leader), timeout=1) as one:
                try:
                    return one.call("SET", key, "w").startswith(b"-TRYAGAIN ")
                except TimeoutError:
                    return False
        try:
            wait_for(refused, 20, "TRYAGAIN")
        finally:
            heir.resume()
        order.join()
        wait_for(lambda: other.call("SET", key, "w") == moved(key, heir), 20, "the new leader")


# Without a leader.

def test_slots_without_a_leader_are_left_out_and_not_served(t):
    cluster = with_resp_cluster(t, **{"limits.request_timeout": 300, "consensus.lease_ms": 1000})
    node = cluster.nodes[0]
    key, mine = key_of(cluster.nodes[1]), key_of(node)
    with Resp(address(node)) as client:
        for other in cluster.nodes[1:]:
            other.pause()  # both at once, or what one of them led would go to this node
        for other in cluster.nodes[1:]:
            other.kill9()
        replies = set()
        def down():
            replies.add(client.call("GET", key))
            return NOT_SERVED in replies
        try:
            wait_for(down, 30, "CLUSTERDOWN")
        except AssertionError as error:
            raise AssertionError(f"{error}: {replies}") from None
        def only_mine():
            return {name for _, _, (_, _, name, _) in told(client, "CLUSTER", "SLOTS")} \
                <= {node_id(node)}
        wait_for(only_mine, 30, "the dead leaders to be forgotten")
        for request in (["SET", key, "v"], ["MSET", key, "v"], ["WATCH", key]):
            equal(client.call(*request), NOT_SERVED, request)
        equal(client.pipeline([["MULTI"], ["PING"], ["EXEC"], ["PING"]])[2:],
              [b"-EXECABORT Transaction discarded because of previous errors.\r\n", b"+PONG\r\n"],
              "EXEC after the WATCH that failed")
        # What waits for a leader holds up no reply of a transaction behind it.
        replies = client.pipeline([["CLUSTER", "SLOTS"], ["MULTI"], ["CLUSTER", "INFO"], ["EXEC"],
                                   ["PING"]])
        true(replies[3].startswith(b"*1\r\n$"), f"EXEC: {replies[3][:80]}")
        equal(replies[4], b"+PONG\r\n", "the reply after it")
        equal(client.pipeline([["MULTI"], ["SET", key, "v"], ["EXEC"], ["EXEC"]])[2:],
              [NOT_SERVED, b"-ERR EXEC without MULTI\r\n"], "a transaction")
        true(client.call("GET", mine).startswith(b"-CLUSTERDOWN "), "GET of what it led")
        true(len(told(client, "CLUSTER", "SHARDS")) <= 1, "SHARDS")
        line, = told(client, "CLUSTER", "NODES").splitlines()
        equal(line.split(" ")[2], "myself,master", "NODES")
        info = dict(line.split(":") for line in
                    told(client, "CLUSTER", "INFO").split("\r\n") if line)
        equal((info["cluster_state"], info["cluster_known_nodes"]), ("fail", "1"), "INFO")
        true(int(info["cluster_slots_assigned"]) < SLOTS, "INFO")


def test_a_leader_without_the_port_is_not_told(t):
    cluster = with_resp_cluster(t, start=False)
    cluster.start_with(lambda node: node.id == 3 and node.settings.update(
        {"listen.resp_cluster": ""}))
    in_place(cluster)
    node, silent = cluster.nodes[0], cluster.nodes[2]
    with Resp(address(node)) as client:
        equal(client.call("GET", key_of(silent)), NOT_SERVED, "GET")
        true({name for _, _, (_, _, name, _) in told(client, "CLUSTER", "SLOTS")}
             == {node_id(node), node_id(cluster.nodes[1])}, "SLOTS")
        true("cluster_state:fail" in told(client, "CLUSTER", "INFO"), "INFO")


def test_requests_ride_through_a_failover_without_an_error(t):
    """Asked for what a node led that has just died, another one sends to it until it is missed, then
    waits for the next leader instead of refusing."""
    cluster = with_resp_cluster(t, **{"consensus.lease_ms": 3000 if t.sanitized else 1000})
    node, doomed = cluster.nodes[:2]
    key = key_of(doomed)
    dead = moved(key, doomed)
    with Resp(address(node), timeout=60) as client:
        doomed.kill9()
        with Resp(address(cluster.nodes[2]), timeout=60) as third:
            def found():
                slots = told(third, "CLUSTER", "SLOTS")
                covered = sum(last - first + 1 for first, last, _ in slots)
                equal(covered, SLOTS, "slots in the map, also while leaders are being found")
                return all(name != node_id(doomed) for _, _, (_, _, name, _) in slots)
            wait_for(found, 30, "other leaders in the map")
        reply = wait_for(lambda: (got := client.call("SET", key, "v")) != dead and got, 30,
                         "the node to be missed")
        next_one = moved(key, cluster.nodes[2])
        true(reply in (b"+OK\r\n", next_one), f"SET: {reply!r}")
        slots = told(client, "CLUSTER", "SLOTS")
        true(all(name != node_id(doomed) for first, last, (_, _, name, _) in slots
                 if first <= slot_of(key) <= last), "SLOTS")


def test_what_may_have_happened_is_no_redirection(t):
    """A write that is on its way when its leader loses the others: nobody may send it again."""
    cluster = with_resp_cluster(t, 3, **{"limits.request_timeout": 1000})
    leader = cluster.nodes[0]
    key = key_of(leader)
    with Resp(address(leader), timeout=60) as client:
        # A second may be over on a busy machine.
        wait_for(lambda: client.call("SET", key, "v") == b"+OK\r\n", 20, "a write")
        for other in cluster.nodes[1:]:
            other.pause()
        client.send(pack(["INCR", "{%s}n" % key.decode()]))
        reply = client.receive()
        true(reply.startswith(b"-TIMEOUT "), f"INCR: {reply!r}")
        for other in cluster.nodes[1:]:
            other.resume()


# Keys of this node.

def fill(cluster, count=600):
    """Sets keys, each at its leader, and returns which node has which."""
    owners = {node: set() for node in cluster.nodes}
    slots = {node: led_by(node) for node in cluster.nodes}
    for i in range(count):
        key = b"key:%d" % i
        for node, ranges in slots.items():
            if any(first <= slot_of(key) <= last for first, last in ranges):
                owners[node].add(key)
    for node, keys in owners.items():
        with Resp(address(node)) as client:
            for reply in client.pipeline([["SET", key, "v"] for key in sorted(keys)]):
                equal(reply, b"+OK\r\n", "SET")
    return owners


def scan(client, cursor=b"0", *options):
    found = []
    while True:
        reply = client.call("SCAN", cursor, *options).split(b"\r\n")
        cursor = reply[2]
        found += reply[5::2]
        if cursor == b"0":
            return found


def test_each_node_walks_through_what_it_leads(t):
    cluster = with_resp_cluster(t)
    owners = fill(cluster)
    for node, keys in owners.items():
        with Resp(address(node)) as client:
            for options in ((), ("COUNT", 1), ("COUNT", 1000), ("MATCH", "key:*")):
                equal(sorted(scan(client, b"0", *options)), sorted(keys), f"SCAN {options}")
            equal(sorted(client.call("KEYS", "*").split(b"\r\n")[2::2]), sorted(keys), "KEYS")
            equal(client.call("DBSIZE"), b":%d\r\n" % len(keys), "DBSIZE")
            drawn = {client.call("RANDOMKEY").split(b"\r\n")[1] for _ in range(100)}
            true(len(drawn) > 20 and drawn <= keys, "RANDOMKEY")
    first, other = cluster.nodes[:2]
    with Resp(address(first)) as client, Resp(address(other)) as there:
        halfway = client.call("SCAN", 0, "COUNT", 50).split(b"\r\n")
        rest = scan(there, halfway[2])
        true(set(rest) <= owners[other], "a cursor of another node")
        equal(client.call("SCAN", "18446744073709551615"), b"-ERR invalid cursor\r\n", "SCAN")
        equal(client.call("FLUSHALL"), b"+OK\r\n", "FLUSHALL")
        equal(client.call("DBSIZE"), b":0\r\n", "DBSIZE here")
        equal(client.call("RANDOMKEY"), b"$-1\r\n", "RANDOMKEY here")
        equal(there.call("DBSIZE"), b":%d\r\n" % len(owners[other]), "DBSIZE there")
        equal(scan(client), [], "SCAN here")


def test_a_scan_goes_on_when_its_shard_has_gone(t):
    cluster = with_resp_cluster(t)
    owners = fill(cluster)
    node, other = cluster.nodes[:2]
    with Resp(address(node)) as client:
        reply = client.call("SCAN", 0, "COUNT", 1).split(b"\r\n")
        cursor, seen = reply[2], reply[5::2]
        true(cursor != b"0" and seen, "a cursor")
        transfer(cluster, seen[0], other)
        gone = {key for key in owners[node]
                if cluster.shard_of(key) == cluster.shard_of(seen[0])}
        rest = set(scan(client, cursor))
        true(owners[node] - gone <= rest | set(seen) <= owners[node], "the rest")
        equal(rest & gone, set(), "what another node leads now")


def test_keys_of_a_slot_are_counted_and_named(t):
    cluster = with_resp_cluster(t, 3, shards=3)
    node, other = cluster.nodes[:2]
    tag = b"{%s}" % key_of(node)
    slot = slot_of(tag)
    keys = [b"%s%d" % (tag, i) for i in range(2500)]
    with Resp(address(node)) as client, Resp(address(other)) as there:
        client.pipeline([["SET", key, "v"] for key in keys])
        client.pipeline([["SET", f"{key_of(node, b'x').decode()}", "v"]])
        client.call("SET", tag + b"dead", "v", "PX", "1")
        wait_for(lambda: client.call("EXISTS", tag + b"dead") == b":0\r\n", 10, "a key to die")
        equal(client.call("CLUSTER", "COUNTKEYSINSLOT", slot), b":2500\r\n", "COUNTKEYSINSLOT")
        for most, wanted in ((0, 0), (1, 1), (1200, 1200), (2500, 2500), (2**63 - 1, 2500)):
            found = told(client, "CLUSTER", "GETKEYSINSLOT", slot, most)
            equal(len(set(found)), wanted, f"GETKEYSINSLOT of at most {most}")
            true({name.encode() for name in found} <= set(keys), "they are of the slot")
        equal(there.call("CLUSTER", "COUNTKEYSINSLOT", slot), b":0\r\n", "at another node")
        equal(there.call("CLUSTER", "GETKEYSINSLOT", slot, 10), b"*0\r\n", "at another node")
        equal(client.pipeline([["MULTI"], ["CLUSTER", "COUNTKEYSINSLOT", slot], ["EXEC"]])[1:],
              [b"-ERR Command not allowed inside a transaction\r\n", ABORTED], "inside MULTI")
        equal(client.pipeline([["SET", tag, "v"], ["CLUSTER", "COUNTKEYSINSLOT", slot],
                               ["DEL", tag], ["CLUSTER", "COUNTKEYSINSLOT", slot]]),
              [b"+OK\r\n", b":2501\r\n", b":1\r\n", b":2500\r\n"], "in a pipeline")


def test_any_node_tells_of_every_change(t):
    """A subscriber needs one connection, to whichever node, as cluster clients open it."""
    cluster = with_resp_cluster(t)
    with Resp(address(cluster.nodes[0])) as client:
        client.call("SUBSCRIBE", "__keyevent@0__:set")
        owners = fill(cluster, 30)
        heard = sorted(client.receive().split(b"\r\n")[6] for _ in range(30))
        equal(heard, sorted(set().union(*owners.values())), "keys that were set")
