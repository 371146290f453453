"""CLIENT TRACKING with REDIRECT: one connection reads, another one is told what has changed."""

import contextlib
import re
import select

from mayfly_test.check import equal, true
from mayfly_test.cluster import key_in_slots
from mayfly_test.client import parse_address
from mayfly_test.resp import RedisServer, Resp, pack
from mayfly_test.wait import wait_for

OK = b"+OK\r\n"
CHANNEL = b"$20\r\n__redis__:invalidate\r\n"


def start(t, n=1, **overrides):
    return t.cluster(n, shards=4, mode="none",
                     overrides={"listen.resp": "127.0.0.1:0", "node.threads": 2, **t.patience,
                                **overrides})


def address(node):
    return parse_address(node.ready["resp"])


def id_of(client):
    return int(client.call("CLIENT", "ID")[1:])


def word(version, what):
    """What is told: a key, or everything."""
    if version == 3:
        return b">2\r\n$10\r\ninvalidate\r\n" + (
            b"_\r\n" if what is None else b"*1\r\n$%d\r\n%s\r\n" % (len(what), what.encode()))
    return b"*3\r\n$7\r\nmessage\r\n" + CHANNEL + (
        b"$-1\r\n" if what is None else b"*1\r\n$%d\r\n%s\r\n" % (len(what), what.encode()))


@contextlib.contextmanager
def pair(place, reads, told):
    """Two connections that speak these versions; the second has subscribed where it has to."""
    with Resp(place, reads) as reader, Resp(place, told) as target:
        if told == 2:
            number = id_of(target)
            equal(target.call("SUBSCRIBE", "__redis__:invalidate"),
                  b"*3\r\n$9\r\nsubscribe\r\n" + CHANNEL + b":1\r\n", "SUBSCRIBE")
        else:
            number = id_of(target)
        yield reader, target, number


# TO stands for the other connection, ME for this one.
DIALOGUES = [
    [["CLIENT", "TRACKING", "ON", "REDIRECT", "TO"], ["CLIENT", "TRACKINGINFO"],
     ["CLIENT", "GETREDIR"], ["CLIENT", "TRACKING", "ON", "REDIRECT", "ME"],
     ["CLIENT", "TRACKINGINFO"], ["CLIENT", "GETREDIR"],
     ["CLIENT", "TRACKING", "ON", "REDIRECT", "TO", "BCAST"],
     ["CLIENT", "TRACKING", "ON", "REDIRECT", "TO", "OPTIN", "NOLOOP"], ["CLIENT", "TRACKINGINFO"],
     ["CLIENT", "TRACKING", "ON", "REDIRECT", "99999"], ["CLIENT", "GETREDIR"],
     ["CLIENT", "TRACKING", "OFF"], ["CLIENT", "TRACKINGINFO"], ["CLIENT", "GETREDIR"]],
    [["CLIENT", "TRACKING", "ON", "REDIRECT", "99999"], ["CLIENT", "TRACKING", "ON", "REDIRECT", 0],
     ["CLIENT", "TRACKING", "ON", "REDIRECT", -1], ["CLIENT", "TRACKING", "ON", "REDIRECT", "x"],
     ["CLIENT", "TRACKING", "ON", "REDIRECT"], ["CLIENT", "TRACKING", "OFF", "REDIRECT", "99999"],
     ["CLIENT", "TRACKING", "ON", "REDIRECT", "99999", "x"],
     ["CLIENT", "TRACKING", "ON", "x", "REDIRECT", "99999"],
     ["CLIENT", "TRACKING", "x", "REDIRECT", "99999"], ["CLIENT", "TRACKING", "x", "REDIRECT", "TO"],
     ["CLIENT", "TRACKING", "ON", "REDIRECT", "TO", "x"],
     ["CLIENT", "TRACKING", "ON", "REDIRECT", "TO", "REDIRECT", "TO"],
     ["CLIENT", "TRACKING", "ON", "REDIRECT", "TO", "PREFIX", "a"],
     ["CLIENT", "TRACKING", "ON", "REDIRECT", "TO", "BCAST", "PREFIX", "a", "PREFIX", "ab"],
     ["CLIENT", "TRACKINGINFO"], ["CLIENT", "TRACKING", "OFF", "REDIRECT", "TO"]],
    [["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "b", "REDIRECT", "TO", "PREFIX", "a"],
     ["CLIENT", "TRACKINGINFO"], ["CLIENT", "TRACKING", "ON", "BCAST", "REDIRECT", "ME"],
     ["CLIENT", "TRACKINGINFO"], ["CLIENT", "GETREDIR"], ["HELLO", 2], ["CLIENT", "TRACKINGINFO"],
     ["RESET"], ["CLIENT", "TRACKINGINFO"]],
]


def fields(client):
    """What CLIENT INFO says of tracking."""
    line = client.call("CLIENT", "INFO")
    return [re.search(rb" %s=(\S*)" % name, line)[1] for name in (b"flags", b"redir")]


def test_it_is_asked_for_as_of_redis(t):
    node = start(t).node(1)
    with RedisServer(t.dir) as server:
        for dialogue in DIALOGUES:
            for reads in (2, 3):
                heard = []
                for place in (address(node), server.address):
                    with pair(place, reads, 2) as (reader, _, number):
                        mine = id_of(reader)
                        names = {"TO": number, "ME": mine}
                        replies = []
                        for words in dialogue:
                            reply = reader.call(*[names.get(name, name) for name in words])
                            reply = reply.replace(b":%d\r\n" % number, b":TO\r\n")
                            replies.append([words, reply.replace(b":%d\r\n" % mine, b":ME\r\n"),
                                            [b"TO" if text == b"%d" % number else
                                             b"ME" if text == b"%d" % mine else text
                                             for text in fields(reader)]])
                        heard.append(replies)
                for ours, theirs in zip(*heard):
                    equal(ours, theirs, f"{ours[0]} in RESP{reads}")


def test_the_other_connection_is_told_as_by_redis(t):
    node = start(t).node(1)
    with RedisServer(t.dir) as server:
        for place in (address(node), server.address):
            with Resp(place) as writer:
                for reads, told in ((2, 2), (2, 3), (3, 2), (3, 3)):
                    # Connections are spread over both reactors.
                    for attempt in range(6):
                        with pair(place, reads, told) as (reader, target, number):
                            what = f"{place} from RESP{reads} to RESP{told}"
                            equal(reader.call("CLIENT", "TRACKING", "ON", "REDIRECT", number), OK,
                                  what)
                            reader.call("MGET", "a", "b")
                            for key in ("c", "a", "b", "a"):
                                writer.call("SET", key, f"{attempt}")
                            # Of different shards: they have no order among each other.
                            equal(sorted([target.receive(), target.receive()]),
                                  [word(told, "a"), word(told, "b")], what)
                            equal(reader.call("PING"), b"+PONG\r\n", what)
            # And to itself.
            with Resp(place, 3) as reader, Resp(place) as writer:
                equal(reader.call("CLIENT", "TRACKING", "ON", "REDIRECT", id_of(reader)), OK, "ON")
                reader.call("GET", "self")
                writer.call("SET", "self", "v")
                equal(reader.receive(), word(3, "self"), "itself")


def test_prefixes_are_told_to_the_other_one(t):
    node = start(t).node(1)
    with Resp(address(node)) as writer, pair(address(node), 2, 2) as (reader, target, number):
        reader.call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "a:", "REDIRECT", number)
        writer.call("SET", "b:1", "v")
        writer.call("SET", "a:1", "v")
        equal(target.receive(), word(2, "a:1"), "a prefix")


def broken(client):
    return b"broken_redirect" in client.call("CLIENT", "TRACKINGINFO")


def test_a_target_that_is_gone_is_said_to_be(t):
    node = start(t).node(1)
    gone = b">2\r\n$21\r\ntracking-redir-broken\r\n:%d\r\n"
    with RedisServer(t.dir) as server:
        for place, eager in ((address(node), True), (server.address, False)):
            for _ in range(4):
                with Resp(place, 3) as reader, Resp(place, 2) as old, Resp(place) as writer:
                    with Resp(place, 3) as target:
                        number = id_of(target)
                        for client in (reader, old):
                            equal(client.call("CLIENT", "TRACKING", "ON", "REDIRECT", number), OK,
                                  "ON")
                            client.call("MGET", "a", "b")
                    if eager: # Redis says it with the next change.
                        equal(reader.receive(), gone % number, "at once")
                    else:
                        wait_for(lambda: b"id=%d " % number not in writer.call("CLIENT", "LIST"), 10,
                                 "the end of the target")
                    writer.call("SET", "a", "v")
                    writer.call("SET", "b", "v")
                    equal([reader.receive(), reader.receive()], [gone % number] * 2, "each change")
                    for client in (reader, old):
                        wait_for(lambda: broken(client), 10, "broken_redirect")
                        equal(client.call("CLIENT", "GETREDIR"), b":%d\r\n" % number, "GETREDIR")
                        equal(fields(client), [b"tR", b"%d" % number], "CLIENT INFO")
                    # Another one is told what the first could not be.
                    with Resp(place, 3) as other:
                        number = id_of(other)
                        equal(old.call("CLIENT", "TRACKING", "ON", "REDIRECT", number), OK, "ON")
                        if eager:
                            equal(other.receive(), word(3, None), "everything")
                        equal(fields(old), [b"t", b"%d" % number], "CLIENT INFO")
                        old.call("GET", "a")
                        writer.call("SET", "a", "w")
                        equal(other.receive(), word(3, "a"), "the other one")
                        equal(old.call("CLIENT", "TRACKING", "OFF"), OK, "OFF")
                        old.call("GET", "a")
                        writer.call("SET", "a", "x")
                        equal(other.call("PING"), b"+PONG\r\n", "nothing more")


def test_a_target_that_cannot_be_told_is_told_everything_when_it_can(t):
    node = start(t).node(1)
    for hello in (False, True):
        for _ in range(4):
            with Resp(address(node)) as reader, Resp(address(node)) as target, \
                    Resp(address(node)) as writer:
                number = id_of(target)
                reader.call("CLIENT", "TRACKING", "ON", "REDIRECT", number)
                reader.call("GET", "a")
                writer.call("SET", "a", "v")
                # It has been noticed; and what goes to the other connection's thread later comes later.
                wait_for(lambda: b"tracking_total_items:0\r\n" in writer.call("INFO"), 10,
                         "the change")
                equal(reader.call("CLIENT", "TRACKING", "ON", "REDIRECT", number), OK, "again")
                if hello:
                    true(target.call("HELLO", 3).startswith(b"%7"), "HELLO")
                else:
                    target.call("SUBSCRIBE", "any")
                equal(target.receive(), word(3 if hello else 2, None), "what was missed")
                reader.call("GET", "a")
                writer.call("SET", "a", "w")
                equal(target.receive(), word(3 if hello else 2, "a"), "and then by name")
                if hello:
                    continue
                target.call("UNSUBSCRIBE")
                equal(target.call("PING"), b"+PONG\r\n", "nothing was missed")


def test_words_that_wait_become_everything(t):
    node = start(t).node(1)
    keys = [f"{i}:" + "k" * 90 for i in range(5000)]
    with Resp(address(node)) as writer, pair(address(node), 2, 3) as (reader, target, number):
        reader.call("CLIENT", "TRACKING", "ON", "REDIRECT", number)
        reader.call("MGET", *keys)
        # All at once: more than one message takes to the other connection while it is on its way.
        writer.call("MSET", *[text for key in keys for text in (key, "v")])
        count = 0
        while target.receive() != word(3, None):
            count += 1
        true(count < len(keys), f"{count} keys by name")
        reader.call("GET", keys[0])
        writer.call("SET", keys[0], "w")
        got = target.receive()
        while got != word(3, keys[0]):
            got = target.receive() # what the rest of the many has become


def test_a_target_that_does_not_read_is_closed(t):
    node = start(t).node(1)
    key = "k" * 30000
    with Resp(address(node), 3) as reader, Resp(address(node)) as writer:
        with Resp(address(node), 3) as target:
            number = id_of(target)
            reader.call("CLIENT", "TRACKING", "ON", "REDIRECT", number)
            for _ in range(3000):
                reader.send(pack(["GET", key]))
                got = reader.receive()
                if got[:1] == b">":
                    break
                writer.call("SET", key, "v")
        equal(got, b">2\r\n$21\r\ntracking-redir-broken\r\n:%d\r\n" % number, "it is closed")


def test_no_change_is_missed_by_a_client_that_marks_what_it_waits_for(t):
    """What a client of two connections does: a mark for what it asks, which a word takes away; a
    reply is kept where the mark still is."""
    cluster = start(t, 3)
    keys = [f"race:{i}" for i in range(8)]
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(pair(address(node), 2, 3)) for node in cluster.nodes]
        writers = [stack.enter_context(Resp(address(node))) for node in cluster.nodes]
        caches = [{} for _ in pairs]
        for reader, _, number in pairs:
            equal(reader.call("CLIENT", "TRACKING", "ON", "REDIRECT", number), OK, "TRACKING")

        def take_words(target, cache):
            target.send(pack(["PING"]))
            got = target.receive()
            while got[:1] == b">":
                if got == word(3, None):
                    cache.clear()
                else:
                    cache.pop(got.split(b"\r\n")[5].decode(), None)
                got = target.receive()

        for number in range(300 if t.quick else 1500):
            writer = t.rng.choice(writers)
            writer.send(pack(["SET", t.rng.choice(keys), f"{number}"]))
            for (reader, target, _), cache in zip(pairs, caches):
                wanted = t.rng.choice(keys)
                if wanted in cache:
                    continue
                cache[wanted] = None
                reader.send(pack(["GET", wanted]))
                first = t.rng.randrange(2) == 0
                if first:
                    take_words(target, cache)
                value = reader.receive()
                if wanted in cache:
                    cache[wanted] = value
                if not first:
                    take_words(target, cache)
            equal(writer.receive(), OK, "SET")
        values = {key: writers[0].call("GET", key) for key in keys}

        def all_fresh():
            for (_, target, _), cache in zip(pairs, caches):
                take_words(target, cache)
                if any(values[key] != value for key, value in cache.items()):
                    return False
            return True
        wait_for(all_fresh, 30, "old copies to be told of")


def tracked(client):
    """Keys, times those who have read them."""
    return int(re.search(rb"tracking_total_items:(\d+)", client.call("INFO"))[1])


def overtaken(cluster, name):
    """False: the machine stood still for longer than a lease, and the replies came too early."""
    here, away = cluster.nodes[:2]

    def in_places():
        led = {shard["leader"]: shard["slots"][0] for shard in here.call("cluster")["shards"]}
        return here.id in led and away.id in led and led
    led = wait_for(in_places, 60, "leaders in their places")
    slow = key_in_slots(b"%s:slow" % name, *led[away.id]).decode()
    a, b = (key_in_slots(b"%s:%s" % (name, key), *led[here.id]).decode() for key in (b"a", b"b"))
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(Resp(address(here)))
        own = stack.enter_context(Resp(address(here), 3))
        equal(own.call("CLIENT", "TRACKING", "ON"), OK, "TRACKING")
        reader, target, number = stack.enter_context(pair(address(here), 2, 3))
        equal(reader.call("CLIENT", "TRACKING", "ON", "REDIRECT", number), OK, "TRACKING")
        away.pause()
        for client in (own, reader):
            client.send(pack(["GET", slow]))
        told = {own: [], target: []}
        for key in (a, b):
            for client in (own, reader):
                client.send(pack(["GET", key]))
            # Both have read both keys that have not been told.
            wait_for(lambda: tracked(writer) == 4, 30, "keys that are read")
            equal(writer.call("SET", key, "v"), OK, "SET")
            for client, heard in told.items():
                heard.append(client.receive())
        early = bool(select.select([reader.socket], [], [], 0)[0]) or told[own][1][:1] != b">"
        away.resume()
        if early:
            return False
        equal(list(told.values()), [[word(3, a), word(3, b)]] * 2, "at once")
        for client in (own, reader):
            replies = [client.receive() for _ in range(3)]
            equal([reply[:1] == b">" for reply in replies], [False] * 3, "replies")
        for client in (own, target):
            equal([client.receive() for _ in range(2)], [word(3, a), word(3, b)], "behind them")
        return True


def test_what_overtakes_replies_is_told_again_behind_them(t):
    """A node that stands still holds up a reply, and those behind it on the connection, which are
    all sent at once when it goes on."""
    cluster = t.cluster(3, shards=3, mode="none", overrides={
        "listen.resp": "127.0.0.1:0", "node.threads": 2, "consensus.lease_ms": 10000,
        "limits.request_timeout": 120000})
    for name in (b"1", b"2", b"3"):
        if overtaken(cluster, name):
            return
        cluster.wait_settled()
    raise AssertionError("the machine stands still for longer than a lease")
