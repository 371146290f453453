"""What CONFIG and DEBUG of the Redis door change while a node runs: that it takes effect, on every
thread of the node, and how long it lasts."""

import signal

from mayfly_test.check import equal, true
from mayfly_test.resp import RedisServer, Resp, pack
from mayfly_test.wait import wait_for
from test_resp import address, hear, with_resp

OK = b"+OK\r\n"


def set_config(client, *pairs):
    equal(client.call("CONFIG", "SET", *pairs), OK, f"CONFIG SET {pairs}")


def get_config(client, name):
    """The value, of a connection in version 2."""
    return client.call("CONFIG", "GET", name).split(b"\r\n")[4].decode()


def fill(client, count, size=1000):
    """Writes to all shards; what the first refusal says, or nothing."""
    for start in range(0, count, 500):
        replies = client.pipeline([["SET", f"fill:{i}", b"x" * size]
                                   for i in range(start, min(count, start + 500))])
        for reply in replies:
            if reply != OK:
                return reply
    return b""


def test_a_limit_of_memory_that_is_set_holds_from_then_on(t):
    """For every shard, whichever thread has it, and whoever asked."""
    node = with_resp(t, **{"node.threads": 3}).nodes[0]
    with Resp(address(node), timeout=60) as client:
        equal(fill(client, 2000), b"", "writes without a limit")
        set_config(client, "maxmemory", "8mb")
        true(fill(client, 20000).startswith(b"-OOM "), "the limit is reached")
        equal(client.call("GET", "fill:0")[:5], b"$1000", "a read at the limit")
        equal(node.call("stats")["memory_max_bytes"], 8 << 20, "the limit in stats")
        set_config(client, "maxmemory-policy", "allkeys-lru")
        equal(fill(client, 20000), b"", "writes where something may be evicted")
        true(node.call("stats")["keys_evicted"] > 0, "something was")
        set_config(client, "maxmemory", "0", "maxmemory-policy", "noeviction")
        equal(fill(client, 20000), b"", "writes without a limit")
        evicted = node.call("stats")["keys_evicted"]
        equal(fill(client, 25000), b"", "and more of them")
        equal(node.call("stats")["keys_evicted"], evicted, "nothing more is evicted")
        equal(client.call("DBSIZE"), b":25000\r\n", "all are there")


def test_the_number_of_clients_is_set(t):
    node = with_resp(t, **{"node.threads": 3}).nodes[0]
    with Resp(address(node)) as client:
        set_config(client, "maxclients", "1")
        with Resp(address(node)) as refused:
            equal(refused.receive(), b"-ERR max number of clients reached\r\n", "one more")
        set_config(client, "maxclients", "100")
        for _ in range(12):
            with Resp(address(node)) as other:
                equal(other.call("PING"), b"+PONG\r\n", "one more")


def test_idle_clients_are_closed_from_then_on(t):
    node = with_resp(t, **{"node.threads": 3}).nodes[0]
    clients = [Resp(address(node), timeout=30) for _ in range(12)]
    for client in clients:
        equal(client.call("PING"), b"+PONG\r\n", "PING")
    set_config(clients[0], "timeout", "1")
    for client in clients:
        true(client.at_end(), "an idle client is closed, on whichever thread")
        client.close()

    def lifted():
        # Until then a second in which this process stands still is one too many.
        with Resp(address(node)) as client:
            set_config(client, "timeout", "0")
            return get_config(client, "timeout") == "0"
    wait_for(lifted, 20, "the timeout to be set to none")


def test_sighup_reads_the_log_level_again_and_leaves_the_rest(t):
    node = with_resp(t).nodes[0]
    with Resp(address(node)) as client:
        set_config(client, "loglevel", "warning", "timeout", "77", "maxmemory", "1gb")
        equal(get_config(client, "loglevel"), "warning", "the level")
        node.signal(signal.SIGHUP)
        wait_for(lambda: get_config(client, "loglevel") == "notice", 20, "the level of the file")
        equal(get_config(client, "timeout"), "77", "the timeout")
        equal(get_config(client, "maxmemory"), str(1 << 30), "the limit")
    equal(node.terminate(), 0, "the exit status")
    node.restart()
    with Resp(address(node)) as client:
        equal(get_config(client, "timeout"), "0", "the timeout after another start")
        equal(get_config(client, "maxmemory"), "0", "the limit after another start")


def test_subscribers_hear_what_redis_would_tell_them(t):
    """Under every kind of letters, each with the same changes."""
    node = with_resp(t).nodes[0]
    with RedisServer(t.dir) as server:
        for letters in ("KEA", "AKE", "K$", "Eg", "KE$", "Kg", "KEg$", "E$", "Kl", "A"):
            for at in (server.address, address(node)):
                with Resp(at) as client:
                    set_config(client, "notify-keyspace-events", letters)
            redis = hear(server.address, server.address, 2, ["PSUBSCRIBE", "*"])
            last = len(redis) if len(redis) > 1 else None
            mayfly = hear(address(node), address(node), 2, ["PSUBSCRIBE", "*"], last)
            equal(sorted(mayfly), sorted(redis), f"heard with {letters}")


def test_expired_and_evicted_are_told_under_their_letters(t):
    node = with_resp(t).nodes[0]
    with Resp(address(node)) as subscriber, Resp(address(node)) as client:
        subscriber.call("PSUBSCRIBE", "*")
        set_config(client, "notify-keyspace-events", "Ex")
        client.call("SET", "short", "v", "PX", "10")
        equal(subscriber.receive().split(b"\r\n")[6::2], [b"__keyevent@0__:expired", b"short"],
              "the event")
        set_config(client, "notify-keyspace-events", "Ke")
        client.call("SET", "short", "v", "PX", "10")
        wait_for(lambda: client.call("EXISTS", "short") == b":0\r\n", 20, "the end of the key")
        set_config(client, "maxmemory", "4mb", "maxmemory-policy", "allkeys-lru")
        equal(fill(client, 8000), b"", "writes")
        true(subscriber.receive().split(b"\r\n")[8] == b"evicted", "the next event is an eviction")


def test_what_is_set_inside_a_transaction_is_set_if_it_is_carried_out(t):
    cluster = t.cluster(1, start=False, mode="none", hello={"user": "default", "password": "pw"},
                        overrides={"listen.resp": "127.0.0.1:0",
                                   "security.password": "default:pw,other:pw2"})
    node = cluster.start().nodes[0]
    with Resp(address(node)) as client, Resp(address(node)) as rival:
        for at in (client, rival):
            equal(at.call("AUTH", "pw"), OK, "AUTH")
        equal(get_config(client, "requirepass"), "pw", "the password of the default user")
        with Resp(address(node)) as other:
            other.call("AUTH", "other", "pw2")
            equal(get_config(other, "requirepass"), "", "told to another user")
        body = [["MULTI"], ["AUTH", "other", "pw2"], ["CLIENT", "SETNAME", "inside"],
                ["CONFIG", "SET", "timeout", "55"], ["SET", "{k}", "v"], ["EXEC"]]
        client.call("WATCH", "{k}")
        rival.call("SET", "{k}", "theirs")
        equal(client.pipeline(body)[-1], b"*-1\r\n", "a watched key has changed")
        info = client.call("CLIENT", "INFO")
        true(b" user=default " in info and b" name= " in info, f"nothing has happened: {info!r}")
        equal(get_config(client, "timeout"), "0", "the timeout")
        replies = client.pipeline([*body, ["CLIENT", "GETNAME"]])
        equal(replies[-2:], [b"*4\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n", b"$6\r\ninside\r\n"],
              "carried out, and seen by what comes next")
        true(b" user=other " in client.call("CLIENT", "INFO"), "the user")
        equal(get_config(client, "timeout"), "55", "the timeout")


def test_exec_is_refused_after_a_watch_that_failed(t):
    """Its client has sent both at once, and could not know."""
    cluster = with_resp(t, 3, **{"limits.request_timeout": 3000})
    aborted = b"-EXECABORT Transaction discarded because of previous errors.\r\n"
    with Resp(address(cluster.nodes[0]), timeout=30) as client:
        many = ["WATCH", *[f"k{i}" for i in range(10001)]]
        for wrong in (["WATCH", ""], many):
            replies = client.pipeline([wrong, ["MULTI"], ["SET", "k", "v"], ["EXEC"], ["GET", "k"]])
            true(replies[0].startswith(b"-ERR "), f"a WATCH that is refused: {replies[0]!r}")
            equal(replies[1:], [OK, b"+QUEUED\r\n", aborted, b"$-1\r\n"], "what follows")
            for ending in (["UNWATCH"], ["DISCARD"], ["EXEC"]):
                client.pipeline([wrong, ["MULTI"], ending] if ending != ["UNWATCH"]
                                else [wrong, ending])
                equal(client.pipeline([["MULTI"], ["DEL", "k"], ["EXEC"]])[-1], b"*1\r\n:0\r\n",
                      f"after {ending} a transaction is carried out")
        for node in cluster.nodes[1:]:
            node.kill9()
        wait_for(lambda: client.call("WATCH", "k").startswith(b"-"), 20, "the end of the lease")
        client.call("UNWATCH")
        replies = client.pipeline([["WATCH", "k"], ["MULTI"], ["SET", "k", "v"], ["EXEC"]])
        true(replies[0].startswith(b"-CLUSTERDOWN "), f"WATCH: {replies[0]!r}")
        equal(replies[3], aborted, "EXEC")


def test_a_user_cannot_write_lines_into_client_list(t):
    cluster = t.cluster(1, start=False, mode="none", hello={"password": "pw"},
                        overrides={"listen.resp": "127.0.0.1:0", "security.password": "pw"})
    with Resp(address(cluster.start().nodes[0])) as client:
        for user in ("a\nid=1 addr=x", "two words", "x" * 100, "\x7f"):
            equal(client.call("AUTH", user, "pw"), OK, f"AUTH of {user!r}")
            text = client.call("CLIENT", "LIST").split(b"\r\n", 1)[1].decode()
            true(" user=? " in text and text.count("\n") == 2, f"CLIENT LIST: {text!r}")
        equal(client.call("AUTH", "alice", "pw"), OK, "AUTH")
        true(b" user=alice " in client.call("CLIENT", "INFO"), "a user that can be told")


def test_debug_has_to_be_allowed(t):
    node = with_resp(t).nodes[0]
    with Resp(address(node)) as client:
        for words in (["SLEEP", "0"], ["OBJECT", "k"], ["HELP"], ["SET-ACTIVE-EXPIRE", "0"]):
            true(client.call("DEBUG", *words).startswith(b"-ERR DEBUG command not allowed. "),
                 f"DEBUG {words}")
        equal(get_config(client, "enable-debug-command"), "no", "what CONFIG says")


def test_a_sleep_holds_nobody_else(t):
    """On one thread: the sleeper's own requests wait for it, and it may be ended meanwhile."""
    node = with_resp(t, **{"node.threads": 1, "security.debug_commands": "yes"}).nodes[0]
    with Resp(address(node)) as other:
        with Resp(address(node)) as sleeper:
            sleeper.send(pack(["DEBUG", "SLEEP", "3600"]) + pack(["SET", "k", "v"]))
            wait_for(lambda: b"cmd=debug" in other.call("CLIENT", "LIST"), 20, "the sleeper")
            equal(other.call("GET", "k"), b"$-1\r\n", "what the sleeper asked for later")
            equal(other.call("PING"), b"+PONG\r\n", "another connection")
            other.call("CLIENT", "KILL", "TYPE", "normal")
            true(sleeper.at_end(), "the sleeper may be killed")
        wait_for(lambda: b"cmd=debug" not in other.call("CLIENT", "LIST"), 20, "the sleeper's end")
        equal(other.pipeline([["SET", "a", "1"], ["DEBUG", "SLEEP", "0.05"], ["GET", "a"],
                              ["DEBUG", "OBJECT", "a"]])[:3],
              [OK, OK, b"$1\r\n1\r\n"], "before, the sleep, and after")
        sleeper = Resp(address(node))
        sleeper.send(pack(["DEBUG", "SLEEP", "3600"]))
        wait_for(lambda: b"cmd=debug" in other.call("CLIENT", "LIST"), 20, "another sleeper")
    equal(node.terminate(), 0, "the exit status")
    sleeper.close()


def test_keys_that_are_due_stay_in_memory_and_are_dead(t):
    node = with_resp(t, **{"security.debug_commands": "yes"}).nodes[0]
    with Resp(address(node)) as client:
        equal(client.call("DEBUG", "SET-ACTIVE-EXPIRE", "0"), OK, "DEBUG SET-ACTIVE-EXPIRE")
        client.pipeline([["SET", f"k{i}", "v", "PX", "1"] for i in range(100)])
        for i in range(100):
            wait_for(lambda i=i: client.call("GET", f"k{i}") == b"$-1\r\n", 20, "a death")
        equal(client.call("DBSIZE"), b":0\r\n", "DBSIZE")
        equal(node.call("stats")["keys_expired"], 0, "keys taken out")
        equal(client.call("DEBUG", "SET-ACTIVE-EXPIRE", "1"), OK, "DEBUG SET-ACTIVE-EXPIRE")
        wait_for(lambda: node.call("stats")["keys_expired"] == 100, 20, "their end")


def test_the_memory_of_keys_is_told(t):
    cluster = with_resp(t, 3)
    with Resp(address(cluster.nodes[0])) as client, Resp(address(cluster.nodes[1])) as other:
        client.call("SET", "large", b"x" * 100_000)
        client.call("SET", "small", "v")
        for at in (client, other):
            large, small = (int(at.call("MEMORY", "USAGE", key)[1:]) for key in ("large", "small"))
            true(100_000 < large < 120_000, f"MEMORY USAGE of 100,000 bytes: {large}")
            true(10 < small < 200, f"MEMORY USAGE of a small key: {small}")

        def told():
            words = other.call("MEMORY", "STATS").split(b"\r\n")
            facts = {words[i]: words[i + 1] for i in range(len(words) - 1)}
            return facts[b"keys.count"] == b":2" and int(facts[b"dataset.bytes"][1:]) > 100_000
        wait_for(told, 20, "MEMORY STATS of a node with copies of both")
