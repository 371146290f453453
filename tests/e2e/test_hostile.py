"""Clients that cost as much as they can, at every port for clients: in bytes claimed and never
sent, in time, in connections. Memory stays within what their bytes allow; nobody else notices."""

import errno
import os
import resource
import socket
import struct

from mayfly_test.bystander import Bystander
from mayfly_test.check import equal, true
from mayfly_test.client import RpcError, pack_request, parse_address
from mayfly_test.cluster import key_in_slots
from mayfly_test.context import limit
from mayfly_test.resp import Resp, pack
from mayfly_test.wait import wait_for

KB, MB = 2**10, 2**20
DOORS = {"listen.resp": "127.0.0.1:0", "listen.resp_cluster": "127.0.0.1:0", "node.threads": 2}
# Of a connection without bytes: its structures, and the 16 KiB that a buffer may keep for the next
# message until the sweep has taken it (rpc/conn.c).
CONNECTION_BYTES = 20 * KB
# Of one that has sent nothing for longer: no buffer at all, the structures of a connection and of a
# session, and what the allocator rounds them up to.
IDLE_BYTES = 4 * KB
# Beside connections: what the allocator keeps for each thread, and the bystander's values.
SLACK_BYTES = 16 * MB


def alone(t, **overrides):
    return t.cluster(1, shards=4, mode="none", overrides={**DOORS, **overrides}).node(1)


def doors(node):
    return {name: parse_address(node.ready[name]) for name in ("rpc", "resp", "resp_cluster")}


def connect(address, window=None):
    """window: how much the machine takes in for a client that does not read."""
    connection = socket.socket()
    if window:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.settimeout(30)
    connection.connect(address)
    return connection


def send_quietly(connection, data):
    try:
        connection.send(data)
    except OSError:
        pass  # it is closed already


def ended(connection):
    """True when the server has closed it; what it said is dropped."""
    connection.setblocking(False)
    try:
        return connection.recv(65536) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def close_all(connections):
    for each in connections:
        each.close()


def descriptors(node):
    return len(os.listdir(f"/proc/{node.pid}/fd"))


def check_memory(t, node, before, connections, sent_bytes, what, each_bytes=CONNECTION_BYTES):
    """Each byte that was sent may be kept twice: a buffer doubles as it grows."""
    allowed = connections * each_bytes + 2 * sent_bytes + SLACK_BYTES
    grown = node.rss_bytes() - before
    t.note(f"{what}: {connections} connections, {sent_bytes >> 10} KiB sent, "
           f"{grown >> 10} KiB more memory, {allowed >> 10} allowed")
    true(t.sanitized or grown <= allowed, f"{what} took {grown >> 10} KiB, {allowed >> 10} allowed")


# What claims much and brings little. False: more may come, so the connection stays.
RPC_BOMBS = [
    (b"\xdd\xff\xff\xff\xff", True), (b"\xdf\xff\xff\xff\xff", True),  # arrays, maps
    (b"\xc6\xff\xff\xff\xff", True), (b"\xdb\xff\xff\xff\xff", True),  # bin, str
    (b"\xc9\xff\xff\xff\xff\x01", True),                                # ext
    (b"\x91" * 17, True), (b"\x81\xa1k" * 17, True), (b"\xdc\x00\x01" * 1000, True),
    (b"\x94\x00\x01\xa4mget\x91" + b"\x91" * 15, True),
    (b"\x94\x00\x01\xa3set\x93\xa1k\xc6\x07\x00\x00\x00", False),       # 112 MiB
    (b"\x94\x00\x01\xa4mget\x91\xdd\x07\x00\x00\x00", False),
]
RESP_BOMBS = [
    (b"*1048577\r\n", True), (b"*99999999999999999999\r\n", True), (b"*" + b"1" * 70_000, True),
    (b"*1\r\n$134217729\r\n", True), (b"*1\r\n$-5\r\n", True), (b"*1\r\n$" + b"1" * 70_000, True),
    (b"x" * 70_000, True),
    (b"*1048576\r\n", False), (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$112000000\r\n", False),
    (b"*1048576\r\n" + b"$0\r\n\r\n" * 1000, False), (b"x" * 60_000, False),
]


@limit(300)
def test_headers_that_claim_much_cost_what_was_sent(t):
    node = alone(t)
    copies = 5 if t.quick else 20
    with Bystander(node) as bystander:
        for door, address in doors(node).items():
            bombs = RPC_BOMBS if door == "rpc" else RESP_BOMBS
            before = node.rss_bytes()
            refused, kept = [], []
            for data, is_refused in bombs * copies:
                connection = connect(address)
                send_quietly(connection, data)
                if is_refused:
                    refused.append((connection, data))
                else:
                    kept.append(connection)
            for each, data in refused:
                wait_for(lambda each=each: ended(each), 30,
                         f"{data[:40]!r} to be refused at {door}")
            bystander.goes_on()
            equal([each for each in kept if ended(each)], [], "closed ones that may go on")
            check_memory(t, node, before, len(refused + kept),
                         copies * sum(len(data) for data, _ in bombs), door)
            close_all(kept + [each for each, _ in refused])
        t.note(bystander.ratio())


@limit(300)
def test_requests_that_are_never_ended_are_closed(t):
    """A byte now and then, which never makes a request; who says nothing at all may stay."""
    node = alone(t, **{"limits.stall_timeout": 1})
    parts = {"rpc": pack_request(1, "set", ["slow", b"x" * 100]),
             "resp": pack(["SET", "slow", "x" * 100]), "resp_cluster": b"SET slow " + b"x" * 100}
    with Bystander(node) as bystander:
        quiet = [connect(address) for address in doors(node).values()]
        slow = [(connect(address), parts[door])
                for door, address in doors(node).items() for _ in range(30)]
        sent = [0]

        def trickle():
            for connection, part in slow:
                if sent[0] < len(part) - 1:
                    send_quietly(connection, part[sent[0]:sent[0] + 1])
            sent[0] += 1
            return all(ended(connection) for connection, _ in slow)
        wait_for(trickle, 60, "those that never end a request to be closed")
        bystander.goes_on()
        equal([each for each in quiet if ended(each)], [], "quiet ones that were closed")
        t.note(bystander.ratio())
        close_all(quiet + [connection for connection, _ in slow])


@limit(300)
def test_clients_that_never_read_are_closed(t):
    """What waits for such a client is bounded, and so is how long: by and by they are all gone."""
    node = alone(t, **{"limits.stall_timeout": 2, "limits.max_value": "1mb",
                       "limits.max_request": "2mb"})
    node.call("set", "large", b"x" * 100_000)
    asked = {"rpc": pack_request(1, "get", ["large"]), "resp": pack(["GET", "large"]),
             "resp_cluster": pack(["MGET", "large"])}
    each_door = 10
    with Bystander(node) as bystander:
        before, open_before = node.rss_bytes(), descriptors(node)
        deaf = []
        for door, address in doors(node).items():
            for _ in range(each_door):
                connection = connect(address, window=4096)
                connection.setblocking(False)
                send_quietly(connection, asked[door] * 2000)
                deaf.append(connection)
        wait_for(lambda: descriptors(node) >= open_before + len(deaf), 60, "all to be taken in")
        most = [0]

        def gone():
            most[0] = max(most[0], node.rss_bytes() - before)
            return descriptors(node) <= open_before
        wait_for(gone, 120, "clients that read nothing to be closed")
        # server/client.h, client.c: no more is asked of it after 1 MiB; what is under way by then
        # is 4 MiB of replies, once their size is known, or 17 of these before. Buffers double.
        allowed = len(deaf) * (CONNECTION_BYTES + 2 * (MB + 4 * MB + 17 * 100_000)) + SLACK_BYTES
        t.note(f"{len(deaf)} deaf clients: {most[0] >> 20} MB at most, {allowed >> 20} allowed")
        true(t.sanitized or most[0] <= allowed, f"{most[0] >> 20} MB for {len(deaf)} deaf clients")
        bystander.goes_on()
        t.note(bystander.ratio())
        close_all(deaf)


@limit(300)
def test_words_of_tracking_that_nobody_reads_have_an_end(t):
    """They come without being asked for, so neither a window nor a pause holds them back."""
    node = alone(t)
    address = doors(node)["resp"]
    before, open_before = node.rss_bytes(), descriptors(node)
    deaf = []
    for _ in range(4):
        connection = connect(address, window=4096)
        connection.sendall(pack(["HELLO", "3"]) + pack(["CLIENT", "TRACKING", "ON", "BCAST"]))
        deaf.append(connection)
    with Bystander(node) as bystander, Resp(address, timeout=60) as writer:
        wait_for(lambda: b"tracking_clients:4" in writer.call("INFO", "clients"), 20,
                 "all to be told of changes")
        for i in range(20):  # a MB each; limits.stall_timeout is a minute
            for j in range(1000):
                writer.send(pack(["SET", f"{i:03}{j:03}" + "k" * 1000, "v"]))
            for _ in range(1000):
                writer.receive()
        wait_for(lambda: descriptors(node) <= open_before + 2, 30, "who reads nothing to be closed")
        check_memory(t, node, before, len(deaf), 4 * (12 << 20) + 20 * MB, "words")
        bystander.goes_on()
    close_all(deaf)


@limit(300)
def test_values_that_are_asked_for_again_and_again_are_not_gathered(t):
    """Four keys of a megabyte, each in a shard of its own, as two gigabytes."""
    node = alone(t, **{"limits.max_value": "1mb", "limits.max_request": "2mb"})
    keys = [key_in_slots(b"%d" % i, i * 4096, i * 4096 + 4095) for i in range(4)]
    with node.connect(timeout=60) as connection:
        for key in keys:
            connection.call("set", key, b"x" * (1 << 20))
        equal(len(connection.call("mget", keys)), 4, "values that may be asked for")
        before = node.peak_bytes()
        for _ in range(20):
            try:
                connection.call("mget", keys * 500)
                raise AssertionError("two gigabytes came")
            except RpcError as error:
                equal(error.code, "TOO_LARGE", "the answer")
        grown = node.peak_bytes() - before
        t.note(f"{grown >> 20} MB more at most")
        true(t.sanitized or grown <= SLACK_BYTES + 32 * MB, f"{grown >> 20} MB were gathered")


@limit(300)
def test_small_requests_for_every_shard_weigh_what_they_take(t):
    node = t.cluster(1, shards=1024, mode="none", overrides=DOORS).node(1)
    with Resp(doors(node)["resp"], timeout=120) as client:
        client.call("DBSIZE")
        before = node.peak_bytes()
        for _ in range(4):
            for _ in range(2048):
                client.send(pack(["DBSIZE"]))
            for _ in range(2048):
                equal(client.receive(), b":0\r\n", "the keys of all shards")
    grown = node.peak_bytes() - before
    # server/client.c: no more is begun once what is under way takes 16 MiB.
    t.note(f"{grown >> 20} MB more at most")
    true(t.sanitized or grown <= 2 * 16 * MB + SLACK_BYTES, f"{grown >> 20} MB for one connection")


@limit(300)
def test_ten_thousand_idle_clients_cost_little(t):
    count = 1500 if t.quick or t.sanitized else 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 1000:
        t.note(f"left out: {count} connections need as many descriptors, {hard} are allowed")
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 1000), hard))
    idle = []
    try:
        node = alone(t, **{"limits.max_clients": count + 5})
        at = list(doors(node).values())
        with Bystander(node) as bystander:
            before = node.rss_bytes()
            for i in range(count):
                idle.append(connect(at[i % len(at)]))
                if i % 500 == 0:
                    bystander.goes_on(1)
            with Resp(at[1]) as client:
                there = b"connected_clients:%d\r\n" % (count + 2)
                wait_for(lambda: there in client.call("INFO", "clients"), 60, "all to be let in")
            check_memory(t, node, before, count, 0, "idle", IDLE_BYTES)
            bystander.goes_on()
            t.note(bystander.ratio())
            more = [connect(at[0]) for _ in range(20)]
            refused = [each for each in more
                       if wait_for(lambda each=each: ended(each) or answers(each), 20, "a word")
                       and ended(each)]
            true(len(refused) >= 15, f"{len(refused)} of 20 were refused above limits.max_clients")
            close_all(more)
    finally:
        close_all(idle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def answers(connection):
    """Asks once, and tells whether there is an answer."""
    connection.setblocking(False)
    send_quietly(connection, pack_request(1, "ping", []))
    try:
        return connection.recv(100, socket.MSG_PEEK) != b""
    except OSError:
        return False


@limit(300)
def test_clients_that_break_off_leave_nothing_behind(t):
    """Half closed, reset, gone in the middle of a request or a reply, at each port."""
    node = alone(t, **{"limits.stall_timeout": 0})
    node.call("set", "large", b"x" * 300_000)
    rounds = 60 if t.quick else 300
    requests = {"rpc": pack_request(1, "get", ["large"]), "resp": pack(["GET", "large"]),
                "resp_cluster": pack(["GET", "large"])}
    with Bystander(node) as bystander:
        before = descriptors(node)
        for door, address in doors(node).items():
            request = requests[door]
            for i in range(rounds):
                with connect(address) as connection:
                    if i % 4 == 0:  # half a request
                        connection.sendall(request + request[:t.rng.randrange(1, len(request))])
                    elif i % 4 == 1:  # and the replies of whole ones are not read
                        connection.sendall(request * 10)
                    elif i % 4 == 2:  # half closed: the replies come all the same, and then the end
                        connection.sendall(request * 3)
                        connection.shutdown(socket.SHUT_WR)
                        got = 0
                        while data := connection.recv(MB):
                            got += len(data)
                        true(got > 900_000, f"{got} bytes of three replies came at {door}")
                    if i % 8 < 4:  # a reset
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                              struct.pack("ii", 1, 0))
        wait_for(lambda: descriptors(node) <= before, 60, "descriptors to be given back")
        bystander.goes_on()
        t.note(bystander.ratio())


@limit(300)
def test_a_crowd_costs_a_node_no_descriptor_of_its_log(t):
    """Few descriptors, and more clients and strangers than there are: the log gets its files."""
    cluster = t.cluster(1, shards=2, start=False, overrides=DOORS)

    def few(node):
        node.launcher = ["prlimit", "--nofile=600:600", "--"]
    cluster.start_with(few)
    cluster.wait_settled()
    node = cluster.node(1)
    true("limits.max_clients is" in node.log_text(), "the node says that clients are fewer")
    with Resp(doors(node)["resp"]) as client:
        allowed = client.call("CONFIG", "GET", "maxclients").split(b"\r\n")[-2].decode()
        told = client.call("CONFIG", "SET", "maxclients", str(int(allowed) + 1))
        true(told.endswith(f"number of clients, try with {allowed}\r\n".encode()), f"{told}")
        equal(client.call("CONFIG", "SET", "maxclients", allowed), b"+OK\r\n", "as many as allowed")
    crowd = []
    try:
        with node.connect(timeout=60) as connection:
            connection.call("ping")  # it has been accepted, and not only connected
            for address in [*doors(node).values(), cluster.peer_address(node)] * 200:
                crowd.append(connect(address))
            for i in range(6):  # files of 16 MiB are used up
                connection.call("set", f"large{i}", b"x" * (8 * MB))
        for word in ("steps down", os.strerror(errno.EMFILE)):
            true(word not in node.log_text(), f"the log is in need:\n{node.log_tail()}")
    finally:
        close_all(crowd)
    wait_for(lambda: node.call("ping") == "pong", 20, "clients to be let in again")


@limit(300)
def test_a_node_without_descriptors_says_so_once(t):
    """Clients come and go at the limit, so that now and then one can be accepted."""
    node = alone(t)
    with Bystander(node) as bystander:
        room = descriptors(node) + 20
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (room, room))
        before = len(node.log_text().splitlines())
        at = list(doors(node).values())
        crowd = [connect(at[i % 3]) for i in range(60)]
        for i in range(100):
            bystander.goes_on(2)
            crowd.pop(0).close()
            crowd.append(connect(at[i % 3]))
        told = [line for line in node.log_text().splitlines()[before:] if "cannot accept" in line]
        close_all(crowd)
        # Once a minute for each of 4 listeners of 2 threads.
        true(1 <= len(told) <= 8 * (10 if t.sanitized else 2), f"{len(told)} lines in the log")
        t.note(f"{len(told)} lines; {bystander.ratio()}")
    wait_for(lambda: node.call("ping") == "pong", 20, "clients to be let in again")


@limit(300)
def test_what_a_redis_client_may_pile_up_has_an_end(t):
    """Commands of a MULTI, channels: one more than there may be is refused, as is the EXEC."""
    node = alone(t)
    address = doors(node)["resp"]
    before = node.rss_bytes()
    queued = pack(["GET", "k"])
    with Resp(address, timeout=120) as client:
        client.call("MULTI")
        for _ in range(100):
            client.send(queued * 1000)
            equal({client.receive() for _ in range(1000)}, {b"+QUEUED\r\n"}, "the first 100,000")
        # A command that is queued may take some words beside its bytes.
        check_memory(t, node, before, 1, 100_000 * (len(queued) + 100), "MULTI")
        true(client.call("GET", "k").startswith(b"-ERR the transaction is over"), "one more")
        true(client.call("EXEC").startswith(b"-EXECABORT"), "EXEC")
    for subscribe, every in (("SUBSCRIBE", 500), ("PSUBSCRIBE", 500)):
        with Resp(address) as client:
            for at in range(0, 1000, every):
                client.send(pack([subscribe, *[f"{i}" for i in range(at, at + every)]]))
                for _ in range(every):
                    client.receive()
            true(client.call(subscribe, *[f"{i}" for i in range(1000, 1025)]).startswith(b"-ERR"),
                 f"more than 1,024 by {subscribe}")
            true(client.call("PING").startswith(b"*2"), "the connection goes on")
    equal(node.call("ping"), "pong", "others")
