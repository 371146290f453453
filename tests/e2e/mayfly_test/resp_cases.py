"""Commands to ask of Mayfly and of Redis alike: every command, every combination of options, and
sequences at random.

A case is a list of requests. It begins on keys that are its own, so cases do not depend on each
other; what it asks is compared reply by reply.
"""

import itertools

INTEGERS = ["0", "1", "-1", "10", "9223372036854775807", "-9223372036854775808",
            "9223372036854775808", "-9223372036854775809", "99999999999999999999", "", " 1", "1 ",
            "+1", "01", "-0", "1.0", "1e3", "abc", "-", "0x10", "1\x00"]
TIMES = ["100", "9223372036854775807", "0", "-1", "abc", "", "1.5", "99999999999999999999", "-9223372036854775808"]
FAR_S, FAR_MS = "4102444800", "4102444800000"  # the year 2100
SET_WORDS = [["NX"], ["XX"], ["GET"], ["KEEPTTL"], ["EX", "100"], ["PX", "100000"],
             ["EXAT", FAR_S], ["PXAT", FAR_MS], ["EX", "0"], ["PX", "-1"], ["EX", "x"], ["EX"],
             ["PERSIST"], ["bogus"], ["nx"], ["ExAt", "1"]]
GETEX_WORDS = [["PERSIST"], ["EX", "100"], ["PX", "100000"], ["EXAT", FAR_S], ["PXAT", FAR_MS],
               ["EX", "0"], ["PX", "-1"], ["EX", "x"], ["EX"], ["KEEPTTL"], ["bogus"], ["persist"]]
FRACTIONS = ["0.1", "-0.5", "3.0e3", "1e-5", ".5", "5.", "nan", "1e300", "1.5x",
             "0.30000000000000004"]
RESTORE_WORDS = [["REPLACE"], ["ABSTTL"], ["IDLETIME", "1"], ["FREQ", "1"], ["IDLETIME", "-1"],
                 ["FREQ", "256"], ["FREQ", "x"], ["IDLETIME"], ["bogus"]]
LCS_WORDS = [["LEN"], ["IDX"], ["WITHMATCHLEN"], ["MINMATCHLEN", "2"], ["minmatchlen", "-1"],
             ["MINMATCHLEN", "x"], ["MINMATCHLEN"], ["bogus"]]
COPY_WORDS = [["REPLACE"], ["DB", "0"], ["DB", "x"], ["DB"], ["bogus"]]
EXPIRE_WORDS = [["NX"], ["XX"], ["GT"], ["LT"], ["bogus"], ["nx"]]
COMMANDS = """acl append asking auth client command config copy dbsize debug decr decrby del dump echo exists
    expire expireat expiretime flushall flushdb function get getbit getdel getex getrange getset
    hello incr incrby incrbyfloat keys lcs memory mget mset msetnx object persist pexpire pexpireat
    pexpiretime ping psetex pttl publish pubsub randomkey readonly readwrite rename renamenx reset
    restore scan select set setbit setex setnx setrange strlen substr time touch ttl type unlink wait""".split()
SUBCOMMANDS = {
    "acl": "cat list users whoami".split(),
    "client": "getname id info kill list no-evict reply setname".split(),
    "config": "get resetstat rewrite set".split(),
    "memory": "doctor malloc-stats purge stats usage".split(),
    "object": "encoding freq idletime refcount".split(),
    "command": "count docs getkeys getkeysandflags info list".split(),
    "function": "flush list".split(),
    "pubsub": "channels numpat numsub".split(),
    "latency": "doctor graph histogram history latest reset".split(),
    "slowlog": "get len reset".split(),
}
# What they answer is each server's own.
OWN = {"id", "list", "info", "count", "docs", "doctor", "histogram", "latest", "len", "rewrite",
       "malloc-stats", "stats"}
# The states that a key is in before it is asked about.
STATES = {
    "absent": [],
    "text": [["SET", "K", "text"]],
    "number": [["SET", "K", "41"]],
    "ttl": [["SET", "K", "text", "EX", "1000"]],
}


def _crc64(data):
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95ac9329ac4bc9b5 if crc & 1 else 0)
    return crc


def dumped(content, version=10):
    """A payload as of DUMP around a value as Redis's files have it."""
    data = content + version.to_bytes(2, "little")
    return data + _crc64(data).to_bytes(8, "little")


PAYLOADS = [
    dumped(b"\0\3abc"), dumped(b"\0\0"), dumped(b"\0\x40\x50" + b"x" * 80),
    dumped(b"\0\x80\0\0\0\2hi"), dumped(b"\0\x81\0\0\0\0\0\0\0\2hi"),
    dumped(b"\0\xc0\xff"), dumped(b"\0\xc1\0\x80"), dumped(b"\0\xc2\xff\xff\xff\x7f"),
    dumped(b"\0\xc3\5\x1f\0a\xe0\x13\0\0a"), dumped(b"\0\3abc", 9),
    # Wrong ones, by their checksum.
    b"", b"short", dumped(b"\0\3abc")[:-8] + bytes(8), dumped(b"\0\3abc")[:-1] + b"x",
]


def _on(key, requests):
    """With the key in the place of K, and another of its shard in that of OTHER."""
    names = {"K": key, "OTHER": f"{{{key}}}:other"}
    return [[names.get(word, word) for word in request] for request in requests]


def _after(key):
    """What a case has done to its key."""
    return _on(key, [["GET", "K"], ["TTL", "K"], ["EXISTS", "K"], ["TYPE", "K"], ["GET", "OTHER"],
                     ["TTL", "OTHER"]])


def _chains(words, longest):
    for length in range(longest + 1):
        for chain in itertools.permutations(words, length):
            yield [word for part in chain for word in part]


def _long_enough(name, time):
    """A time to live that is not over while the case goes on, on a machine that stands still: what
    is asked in seconds is asked in thousands of milliseconds."""
    return f"{time}000" if name.startswith("P") and time in ("100", "500", "100000") else time


def _about_one_key():
    """Requests on K that are tried in every state."""
    for options in _chains(SET_WORDS, 2):
        yield ["SET", "K", "new", *options]
    for options in _chains(GETEX_WORDS, 2):
        yield ["GETEX", "K", *options]
    for name in ("EXPIRE", "PEXPIRE"):
        for time in TIMES:
            yield [name, "K", _long_enough(name, time)]
        for options in _chains(EXPIRE_WORDS, 2):
            for time in ("500", "100000", "-1"):
                yield [name, "K", _long_enough(name, time), *options]
    for name in ("EXPIREAT", "PEXPIREAT"):
        far = FAR_S if name == "EXPIREAT" else FAR_MS
        for time in TIMES + [far]:
            if name == "EXPIREAT" or time != INTEGERS[4]:
                yield [name, "K", time]
        for options in _chains(EXPIRE_WORDS, 2):
            for time in (far, "1"):
                yield [name, "K", time, *options]
    for name in ("INCRBY", "DECRBY"):
        for delta in INTEGERS:
            yield [name, "K", delta]
    for delta in INTEGERS + FRACTIONS:
        if delta != "0x10":
            yield ["INCRBYFLOAT", "K", delta]
    for first, last in itertools.product(("0", "1", "-3", "-100", "100", "x"), repeat=2):
        yield ["GETRANGE", "K", first, last]
    for offset, value in itertools.product(("0", "2", "9", "-1", "x", "999999999999"), ("", "new")):
        yield ["SETRANGE", "K", offset, value]
    for offset in ("0", "1", "7", "30", "100", "-1", "x", "4294967296", "99999999999999999999"):
        yield ["GETBIT", "K", offset]
        for bit in ("0", "1", "2", "01", "x"):
            yield ["SETBIT", "K", offset, bit]
    for payload in PAYLOADS:
        yield ["RESTORE", "OTHER", "0", payload]
        yield ["RESTORE", "K", "100000", payload, "REPLACE"]
    for options in _chains(RESTORE_WORDS, 2):
        for time in ("0", FAR_MS):
            yield ["RESTORE", "K", time, PAYLOADS[0], *options]
    for time in ("-1", "x", "1.5"):
        yield ["RESTORE", "OTHER", time, PAYLOADS[0]]
    for options in _chains(LCS_WORDS, 2):
        yield ["LCS", "K", "OTHER", *options]
        yield ["LCS", "K", "K", *options]
    for options in _chains(COPY_WORDS, 2):
        yield ["COPY", "K", "OTHER", *options]
        yield ["COPY", "OTHER", "K", *options]
    for name in ("RENAME", "RENAMENX", "COPY"):
        yield from ([name, "K", "OTHER"], [name, "OTHER", "K"], [name, "K", "K"])
    yield from (["MSETNX", "K", "a", "OTHER", "b"], ["MSETNX", "K", "a", "K", "b"],
                ["MSETNX", "OTHER", "b"], ["MSETNX", "K"], ["MSETNX", "K", "a", "OTHER"])
    for name in ("SETEX", "PSETEX"):
        for time in TIMES + ["100000"]:
            yield [name, "K", _long_enough(name, time), "v"]
    for name in ("GET", "GETDEL", "INCR", "DECR", "TTL", "PTTL", "PERSIST", "TYPE", "EXISTS",
                 "TOUCH", "DEL", "UNLINK", "STRLEN", "EXPIRETIME", "PEXPIRETIME", "DUMP"):
        yield [name, "K"]
    yield from (["SETNX", "K", "v"], ["GETSET", "K", "v"], ["APPEND", "K", "more"],
                ["APPEND", "K", ""], ["EXISTS", "K", "K", "K"], ["DEL", "K", "K"],
                ["MGET", "K", "K"], ["MSET", "K", "a", "K", "b"], ["MSET", "K"],
                ["MSET", "K", "a", "K"])


def one_key(rng, share):
    """The grid of states and requests; `share` of it, drawn by chance, at least of one in three."""
    number = 0
    for state, before in STATES.items():
        for request in _about_one_key():
            if state != "absent" and rng.random() > share:
                continue
            number += 1
            key = f"grid:{number}"
            yield _on(key, [*before, request]) + _after(key)


def numbers():
    for i, value in enumerate(INTEGERS):
        for j, delta in enumerate(("1", "-1", "9223372036854775807", "-9223372036854775808")):
            key = f"number:{i}:{j}"
            yield [["SET", key, value], ["INCRBY", key, delta], ["DECR", key], *_after(key)]
    for i, delta in enumerate(("0x10", "1e400")):
        yield [["INCRBYFLOAT", f"fraction:{i}", delta]]
    yield [["SET", "far", "v"], ["PEXPIREAT", "far", INTEGERS[4]]]


def arities():
    """Every command with every small number of words, in any case of letters."""
    for name in COMMANDS:
        for count in range(6):
            if (name, count) in (("reset", 0), ("time", 0), ("randomkey", 0), ("hello", 0)):
                continue
            words = [f"{{arity}}:{i}" for i in range(count)]
            yield [[name.upper() if count % 2 else name.title(), *words]]
    for name, subcommands in SUBCOMMANDS.items():
        for sub in subcommands:
            for count in range(4):
                if count == 0 and (sub in OWN or (name, sub) == ("slowlog", "get")):
                    continue
                yield [[name, sub.upper(), *[f"arity:{i}" for i in range(count)]]]


def unknown():
    for words in (["xpush", "a", "b"], ["foo"], [""], ["foo", ""], ["f" * 200, "a" * 200, "b"],
                  ["foo", *["a" * 30] * 10], ["a\r\nb", "c\r\nd"], ["a\x00b"], ["foo", "a\x00b"],
                  ["client"], ["client", "bogus"], ["client", "x" * 200, "y"], ["client", ""],
                  ["CONFIG|GET", "x"], ["client|id"], ["get|"], ["\xff\xfe"], ["%s%n"],
                  ["foo", *"abcdefghijklmnopqrstuvwxyz"], ["foo", *["x" * 127, "yz", "w"]],
                  ["foo", *["x" * 120, "yzw"]], ["set\n"], ["evil", "return 1", "0"]):
        yield [words]


def about_itself():
    """COMMAND and what else can be asked about; of commands that both have."""
    for name in COMMANDS:
        if name not in SUBCOMMANDS and name != "command":
            yield [["COMMAND", "INFO", name]]
    for name in ("config", "memory", "object"):
        for sub in SUBCOMMANDS[name]:
            yield [["COMMAND", "INFO", f"{name}|{sub}"]]
    yield from (
        [["COMMAND", "INFO", "nosuch", "get", "get|x"]], [["COMMAND", "DOCS", "nosuch"]],
        [["COMMAND", "GETKEYS", "get", "a"]], [["COMMAND", "GETKEYS", "mset", "a", "1", "b", "2"]],
        [["COMMAND", "GETKEYS", "del", "a", "b", "c"]], [["COMMAND", "GETKEYS", "nosuch", "a"]],
        [["COMMAND", "GETKEYS", "ping", "a"]], [["COMMAND", "GETKEYS", "get", "a", "b"]],
        [["COMMAND", "GETKEYSANDFLAGS", "set", "a", "1"]],
        [["COMMAND", "GETKEYSANDFLAGS", "set", "a", "1", "get"]],
        [["COMMAND", "GETKEYSANDFLAGS", "mget", "a", "b"]],
        [["COMMAND", "GETKEYS", "memory", "usage", "a"]],
        [["COMMAND", "GETKEYSANDFLAGS", "object", "encoding", "a"]],
        [["COMMAND", "LIST", "FILTERBY", "bogus", "x"]], [["COMMAND", "LIST", "bogus"]],
        [["COMMAND", "LIST", "FILTERBY", "ACLCAT", "bogus"]],
        [["COMMAND", "LIST", "FILTERBY", "MODULE", "bogus"]],
        [["COMMAND", "LIST", "FILTERBY", "PATTERN", "getd*"]])


def about_slow_moments():
    """SLOWLOG and LATENCY, of which neither server has anything to tell."""
    for sub in SUBCOMMANDS["latency"] + SUBCOMMANDS["slowlog"]:
        name = "slowlog" if sub in SUBCOMMANDS["slowlog"] and sub != "reset" else "latency"
        yield [["COMMAND", "INFO", f"{name}|{sub}", f"{name.upper()}|{sub.upper()}"]]
    yield from (
        [["COMMAND", "INFO", "slowlog|reset", "slowlog|help", "latency|help"]],
        [["SLOWLOG", "RESET"]], [["SLOWLOG", "GET", "x"]], [["SLOWLOG", "GET", "-2"]],
        [["SLOWLOG", "GET", "0"]], [["SLOWLOG", "GET", "1", "2"]], [["SLOWLOG", "bogus"]],
        [["SLOWLOG"]], [["LATENCY"]], [["LATENCY", "bogus"]], [["LATENCY", "LATEST"]],
        [["LATENCY", "HISTORY", "command"]], [["LATENCY", "HISTORY", "bogus"]],
        [["LATENCY", "GRAPH", "command"]], [["LATENCY", "GRAPH", "bog\x00us"]],
        [["LATENCY", "RESET"]], [["LATENCY", "RESET", "command", "bogus"]],
        [["LATENCY", "HISTOGRAM", "bogus"]], [["LATENCY", "HISTOGRAM", "lpush"]])


def about_the_connection():
    yield from (
        [["PING"]], [["PING", "x"]], [["PING", ""]], [["ECHO", ""]], [["ECHO", "a\r\nb"]],
        [["SELECT", "0"]], [["SELECT", "x"]], [["SELECT", "-1"]], [["SELECT", "16"]],
        [["SELECT", "99999999999"]], [["SELECT", "-99999999999"]], [["AUTH", "x"]],
        [["AUTH", "default", "x"]], [["AUTH", "nobody", "x"]], [["AUTH", "a", "b", "c"]],
        [["HELLO", "x"]], [["HELLO", "1"]], [["HELLO", "4"]], [["HELLO", "2", "bogus"]],
        [["HELLO", "2", "SETNAME"]], [["HELLO", "2", "SETNAME", "a b"]],
        [["HELLO", "2", "AUTH", "a"]], [["HELLO", "2", "AUTH", "nobody", "x"]],
        [["CLIENT", "GETNAME"], ["CLIENT", "SETNAME", "me"], ["CLIENT", "GETNAME"],
         ["CLIENT", "SETNAME", "a b"], ["CLIENT", "SETNAME", "a\nb"], ["CLIENT", "GETNAME"],
         ["CLIENT", "SETNAME", ""], ["CLIENT", "GETNAME"]],
        [["CLIENT", "NO-EVICT", "on"]], [["CLIENT", "NO-EVICT", "OFF"]],
        [["CLIENT", "NO-EVICT", "x"]], [["CLIENT", "REPLY", "ON"]], [["CLIENT", "REPLY", "x"]],
        [["CLIENT", "REPLY", "OFF"], ["PING"], ["GET", "a"], ["nosuch"], ["CLIENT", "REPLY", "ON"]],
        [["CLIENT", "REPLY", "SKIP"], ["PING"], ["PING", "heard"]],
        [["CLIENT", "REPLY", "SKIP"], ["CLIENT", "REPLY", "SKIP"], ["PING"], ["PING", "heard"]],
        [["CLIENT", "PAUSE", "0"]], [["CLIENT", "PAUSE", "x"]], [["CLIENT", "PAUSE", "-1"]],
        [["CLIENT", "PAUSE", "0", "WRITE"]], [["CLIENT", "PAUSE", "0", "all"]],
        [["CLIENT", "PAUSE", "0", "bogus"]], [["CLIENT", "PAUSE", "0", "ALL", "x"]],
        [["CLIENT", "PAUSE"]], [["CLIENT", "UNPAUSE"]], [["CLIENT", "UNPAUSE", "x"]],
        [["CLIENT", "KILL", "1.2.3.4:5"]], [["CLIENT", "KILL", "ID", "0"]],
        [["CLIENT", "KILL", "ID", "x"]], [["CLIENT", "KILL", "ID", "999999999"]],
        [["CLIENT", "KILL", "TYPE", "bogus"]], [["CLIENT", "KILL", "TYPE", "master"]],
        [["CLIENT", "KILL", "ADDR", "1.2.3.4:5"]], [["CLIENT", "KILL", "LADDR", "1.2.3.4:5"]],
        [["CLIENT", "KILL", "USER", "nobody"]], [["CLIENT", "KILL", "SKIPME", "maybe"]],
        [["CLIENT", "KILL", "ID", "1", "ADDR"]], [["CLIENT", "KILL", "ID", "999999999", "SKIPME",
                                                   "no"]],
        [["CLIENT", "LIST", "TYPE", "bogus"]], [["CLIENT", "LIST", "TYPE", "master"]],
        [["CLIENT", "LIST", "ID"]], [["CLIENT", "LIST", "ID", "x"]],
        [["CLIENT", "LIST", "ID", "999999999"]], [["CLIENT", "LIST", "bogus"]],
        [["PUBLISH", "nobody", "x"]], [["PUBSUB", "CHANNELS"]], [["PUBSUB", "CHANNELS", "a*"]],
        [["PUBSUB", "CHANNELS", "a", "b"]], [["PUBSUB", "NUMSUB"]], [["PUBSUB", "NUMPAT"]],
        [["PUBSUB", "NUMSUB", "a", "b", "a"]], [["PUBSUB", "bogus"]],
        [["ACL", "WHOAMI"]], [["ACL", "LIST"]], [["ACL", "USERS"]], [["ACL", "CAT"]],
        [["ACL", "CAT", "bitop"]], [["ACL", "CAT", "hash", "x"]], [["ACL", "bogus"]],
        [["WAIT", "0", "0"]], [["WAIT", "x", "0"]], [["WAIT", "0", "x"]], [["WAIT", "0", "-1"]],
        [["FUNCTION", "FLUSH"]], [["FUNCTION", "FLUSH", "ASYNC"]], [["FUNCTION", "FLUSH", "x"]],
        [["FUNCTION", "LIST"]], [["FUNCTION", "LIST", "WITHCODE"]], [["FUNCTION", "LIST", "x"]],
        [["FUNCTION", "LIST", "LIBRARYNAME"]], [["FUNCTION", "LIST", "LIBRARYNAME", "x"]],
        [["READONLY"]], [["READWRITE"]], [["ASKING"]], [["FLUSHALL", "x"]],
        [["FLUSHALL", "SYNC", "ASYNC"]], [["SCAN", "x"]], [["SCAN", ""]],
        [["SCAN", "18446744073709551616"]], [["SCAN", "0", "COUNT", "0"]],
        [["SCAN", "0", "COUNT", "-1"]], [["SCAN", "0", "COUNT", "x"]], [["SCAN", "0", "COUNT"]],
        [["SCAN", "0", "MATCH"]], [["SCAN", "0", "bogus", "x"]], [["SCAN", "0", "MATCH", "none:*",
                                                                    "COUNT", "100000"]])


# Words for `notify-keyspace-events`, and what else can be set: what both answer alike.
EVENTS = ["", "KEA", "AKE", "K", "E", "A", "KEg$lshzxetd", "g$lshzxetKE", "KA", "EKx", "Kg$x", "KEnmA",
          "n", "m", "xeK", "AAKK", "Q", "KEAq", "K E"]
MEMORIES = ["0", "100", "1b", "1k", "1kb", "1KB", "1m", "1mb", "2Mb", "1g", "1gb", "10GB", "", "b",
            "kb", "0kb", "1x", "-1", "1.5gb", "abc", "1 kb", "1tb", "9223372036854775807"]


def settings():
    for letters in EVENTS:
        yield [["CONFIG", "SET", "notify-keyspace-events", letters],
               ["CONFIG", "GET", "notify-keyspace-events"]]
    for memory in MEMORIES:
        yield [["CONFIG", "SET", "maxmemory", memory], ["CONFIG", "SET", "maxmemory", "0"]]
    for policy in ("noeviction", "NOEVICTION", "allkeys-lru", "volatile-ttl"):
        yield [["CONFIG", "SET", "maxmemory-policy", policy], ["CONFIG", "GET", "maxmemory-policy"]]
    for level in ("debug", "verbose", "Notice", "warning", "", "info", "3"):
        yield [["CONFIG", "SET", "loglevel", level], ["CONFIG", "GET", "loglevel"]]
    for number in ("0", "100", "2147483647", "2147483648", "-1", "x", "", "1kb", " 1", "01"):
        yield [["CONFIG", "SET", "timeout", number], ["CONFIG", "GET", "timeout"],
               ["CONFIG", "SET", "timeout", "0"]]
    for name, values in {
            "slowlog-log-slower-than": ["0", "-1", "-2", "x", "99999999999", "10000"],
            "slowlog-max-len": ["0", "-1", "x", "5000", "128"],
            "latency-monitor-threshold": ["-1", "x", "99999999999", "0"],
            "tracking-table-max-keys": ["0", "-1", "x", "18446744073709551615", "5", "1000000"],
            "latency-tracking": ["no", "NO", "x", "1", "", "yes"]}.items():
        for value in values:
            yield [["CONFIG", "SET", name, value], ["CONFIG", "GET", name]]
    for number in ("x", "", "500"):
        yield [["CONFIG", "SET", "maxclients", number], ["CONFIG", "SET", "maxclients", "10000"]]
    for words in (
            ["GET", "maxmemory"], ["GET", "MaxMemory"], ["GET", "maxmemory", "MAXMEMORY"],
            ["GET", "nosuch"], ["GET", "nosuch", "timeout"], ["GET", "MAXMEM*ORY"], ["GET", ""],
            ["GET", "maxmem[o]ry"], ["GET", "maxmem\\ory"], ["GET", "timeou?", "TIMEOUT"],
            ["GET", "maxmemor[A-Z]"], ["GET", "save"], ["GET", "appendonly"],
            ["GET", "daemonize"], ["GET", "cluster-enabled"],
            ["SET", "maxmemory"], ["SET", "maxmemory", "1", "timeout"], ["SET", "nosuch", "1"],
            ["SET", "NoSuch", "1", "databases", "3"], ["SET", "databases", "1"],
            ["SET", "DATABASES", "1", "nosuch", "2"], ["SET", "nosuch", "1", "maxmemory", "x"],
            ["SET", "maxmemory", "1gb", "MaxMemory", "2gb"],
            ["SET", "timeout", "5", "maxmemory", "x"], ["SET", "maxmemory", "x", "TIMEOUT", "5"],
            ["SET", "enable-debug-command", "yes"], ["SET", "cluster-enabled", "yes"],
            ["SET", "daemonize", "yes"], ["SET", "tcp-backlog", "1"], ["RESETSTAT"], ["FOO"]):
        yield [["CONFIG", *words], ["CONFIG", "GET", "timeout"], ["CONFIG", "GET", "maxmemory"]]
    yield [["MULTI"], ["CONFIG", "SET", "timeout", "77"], ["CONFIG", "GET", "timeout"],
           ["CONFIG", "SET", "timeout", "x"], ["CONFIG", "SET", "timeout", "0"], ["EXEC"]]


def objects():
    values = ["text", "x" * 44, "x" * 45, "", "10000", "-1", "9223372036854775807",
              "9223372036854775808", "-9223372036854775808", "007", "1.5", "123456789012345678901"]
    for i, value in enumerate(values):
        key = f"object:{i}"
        yield [["SET", key, value], *[["OBJECT", sub, key] for sub in SUBCOMMANDS["object"]],
               ["MULTI"], ["OBJECT", "ENCODING", key], ["OBJECT", "FREQ", key], ["EXEC"]]
    for sub in SUBCOMMANDS["object"]:
        yield [["OBJECT", sub, "no object"]]
    for words in (["no object"], ["no object", "SAMPLES", "5"], ["no object", "SAMPLES", "x"],
                  ["no object", "SAMPLES"], ["no object", "samples", "-1"], ["no object", "bogus", "5"],
                  ["no object", "SAMPLES", "0", "SAMPLES", "1"], ["no object", "more"]):
        yield [["MEMORY", "USAGE", *words]]
    yield from ([["MEMORY", "PURGE"]], [["DEBUG", "SLEEP", "0"]], [["DEBUG", "SLEEP", "x"]],
                [["DEBUG", "SLEEP", "-1"]], [["DEBUG", "SLEEP", "0.01"], ["SET", "slept", "v"]],
                [["DEBUG", "OBJECT", "no object"]], [["DEBUG", "OBJECT"]], [["DEBUG", "bogus"]],
                [["DEBUG", "SET-ACTIVE-EXPIRE", "0"], ["DEBUG", "SET-ACTIVE-EXPIRE", "1"]],
                [["DEBUG", "SLEEP", "0", "1"]])


def random_sequences(rng, count, length):
    """Commands on a few keys, one after the other. What depends on which keys there are at all is
    asked of keys in one slot, so that both servers may look at all of them."""
    for number in range(count):
        keys = [f"random:{number}:{i}" for i in range(4)]
        requests = []
        # No two alike: which of two is later must not be a matter of a microsecond.
        for seconds in rng.sample(range(1000, 10**6, 10), length):
            key, other = rng.choice(keys), rng.choice(keys)
            value = rng.choice(["", "v", "1", "-7", "10", "x" * 300, "9223372036854775806"])
            # A second may be over before the sequence is; no other time is this one.
            time = "1003" if value == "1" else value
            requests.append(rng.choice([
                ["GET", key], ["SET", key, value], ["SET", key, value, "NX"], ["DEL", key, other],
                ["SET", key, value, "XX", "GET"], ["SET", key, value, "EX", seconds],
                ["SET", key, value, "KEEPTTL"], ["APPEND", key, value], ["INCR", key],
                ["DECRBY", key, "3"], ["INCRBY", key, value], ["MGET", key, other, "none"],
                ["MSET", key, value, other, "o"], ["GETSET", key, value], ["GETDEL", key],
                ["GETEX", key, "EX", seconds], ["GETEX", key, "PERSIST"], ["TTL", key],
                ["PERSIST", key], ["EXPIRE", key, seconds], ["EXPIRE", key, seconds, "GT"],
                ["EXPIRE", key, seconds, "LT"], ["EXPIRE", key, seconds, "NX"], ["EXPIRE", key, "-1"],
                ["EXISTS", key, other], ["TOUCH", key, other], ["TYPE", key], ["SETNX", key, value],
                ["UNLINK", key], ["EXPIRE", key, seconds, "XX"], ["SETEX", key, seconds, value],
                ["STRANGE", key], ["GET"], ["EXPIRE", key, time], ["KEYS", f"random:{number}:0"],
            ]))
        yield requests


def transactions():
    """MULTI and WATCH; the keys of a case are in one shard."""
    k, other = "{t}:K", "{t}:other"
    bodies = [
        [], [["GET", k]], [["SET", k, "v"], ["GET", k], ["DEL", k, other]],
        [["INCR", other], ["INCRBY", other, "x"], ["GET", other]], [["SET", k, "v", "EX", "0"]],
        [["SET", k, "v", "bogus"], ["SET", k, "w"]], [["nosuch"], ["SET", k, "v"]],
        [["GET"], ["SET", k, "v"]], [["MULTI"], ["GET", k]], [["WATCH", k], ["GET", k]],
        [["UNWATCH"], ["PING"], ["ECHO", "e"], ["SELECT", "0"], ["SELECT", "x"]],
        [["CLIENT", "SETNAME", "in multi"], ["CLIENT", "SETNAME", "multi"], ["CLIENT", "GETNAME"],
         ["CLIENT", "SETNAME", ""]],
        [["MSET", k, "a", other, "b"], ["MGET", k, other, "{t}:none"], ["EXISTS", k, k, other],
         ["TYPE", k], ["TYPE", "{t}:none"], ["UNLINK", k, other]],
        [["SETNX", k, "v"], ["SETNX", k, "w"], ["GETSET", k, "x"], ["GETDEL", k], ["GETDEL", k]],
        [["SETEX", k, "100", "v"], ["TTL", k], ["PERSIST", k], ["TTL", k], ["EXPIRE", k, "50"],
         ["GETEX", k, "EX", "0"], ["GETEX", "{t}:none", "EX", "0"], ["EXPIRE", k, "x"]],
        [["SET", k, "v", "GET"], ["SET", k, "w", "NX"], ["SET", k, "w", "XX", "GET"],
         ["APPEND", k, "x"]],
        [["COMMAND", "GETKEYS", "get", "a"], ["FUNCTION", "FLUSH"], ["WAIT", "0", "0"]],
    ]
    befores = [
        [], [["WATCH", k]], [["WATCH", k], ["SET", k, "changed"]], [["WATCH", k, k, other]],
        [["WATCH", k], ["GET", k]], [["WATCH", k], ["DEL", k]], [["SET", k, "v"], ["WATCH", k]],
        [["SET", k, "v"], ["WATCH", k], ["DEL", k]], [["SET", k, "v"], ["WATCH", k], ["SET", k, "v"]],
        [["SET", k, "v"], ["WATCH", k], ["EXPIRE", k, "100"]],
        [["WATCH", k], ["SET", k, "changed"], ["UNWATCH"]],
        [["WATCH", k], ["SET", k, "changed"], ["MULTI"], ["DISCARD"]], [["WATCH"]],
        [["WATCH", other], ["SET", k, "changed"]],
    ]
    for i, (before, body) in enumerate(itertools.product(befores, bodies)):
        requests = [*before, ["MULTI"], *body, ["EXEC"], ["GET", k], ["GET", other], ["EXEC"],
                    ["DISCARD"], ["DEL", k, other]]
        yield [[word.replace("{t}", "{t%d}" % i) for word in request] for request in requests]


def subscriptions():
    """Each on a connection of its own: what SUBSCRIBE and its like answer."""
    yield from (
        [["SUBSCRIBE", "a"]], [["SUBSCRIBE", "a", "b", "a"]], [["SUBSCRIBE"]], [["PSUBSCRIBE"]],
        [["PSUBSCRIBE", "a*", "b*"], ["SUBSCRIBE", "a"], ["PUNSUBSCRIBE"], ["UNSUBSCRIBE"]],
        [["UNSUBSCRIBE"]], [["PUNSUBSCRIBE"]], [["UNSUBSCRIBE", "a", "b"]], [["PUNSUBSCRIBE", "a"]],
        [["SUBSCRIBE", "a", "b"], ["UNSUBSCRIBE", "a"], ["UNSUBSCRIBE", "b"], ["GET", "none"]],
        [["SUBSCRIBE", "a"], ["PING"], ["PING", "x"], ["PING", "x", "y"]],
        [["SUBSCRIBE", "a"], ["GET", "none"], ["SET", "x", "y"], ["CLIENT", "GETNAME"],
         ["CLIENT"], ["nosuch"], ["GET"], ["MULTI"], ["DEL", "x"],
         ["DISCARD"]],
        [["CLIENT", "REPLY", "OFF"], ["SUBSCRIBE", "a"], ["PING"], ["UNSUBSCRIBE", "a"],
         ["CLIENT", "REPLY", "ON"]],
        [["CLIENT", "REPLY", "SKIP"], ["SUBSCRIBE", "a", "b"], ["PING"]],
        [["SUBSCRIBE", "a"], ["RESET"], ["GET", "none"]], [["SUBSCRIBE", "", "a\r\nb"]],
        [["SUBSCRIBE", "__keyspace@0__:k", "__keyevent@0__:set", "__keyevent@0__:bogus"],
         ["UNSUBSCRIBE", "__keyevent@0__:set"]],
        [["PSUBSCRIBE", "*", "__key*__:*", "__keyspace@0__:a[bc]*", "__keyevent@0__:*"],
         ["PUNSUBSCRIBE", "*"]],
        [["SUBSCRIBE", "a"], ["SUBSCRIBE", "a"], ["PSUBSCRIBE", "a"], ["UNSUBSCRIBE", "a", "a"]],
    )
