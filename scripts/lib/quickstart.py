"""The parts of scripts/quickstart that handle records: made from dpkg's database, compared with what
the cluster gives back, told in words. Standard library only; data comes through the mayfly command.
"""

import base64
import binascii
import configparser
import json
import pathlib
import re
import secrets
import socket
import subprocess
import sys
import time

SHARDS = 16
SINGLE_SHARDS = 4
BATCH = 400           # keys in one mayfly mget
PATIENCE = 60.0
POLL_SECONDS = 0.05
TTL_TOLERANCE_MS = 2000
PREFERRED = {"rpc": [7001, 7011, 7021, 7031], "peer": [7100, 7200, 7300, 7400]}


def stop(why):
    sys.exit(f"scripts/quickstart: {why}")


def mayfly(*args):
    """Runs the command line; its exit status and what it printed."""
    done = subprocess.run(["mayfly", *args], capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace").strip()


def mayfly_json(*args):
    """What `mayfly -o json` printed. Exit 1 can be an answer ("absent"): then it has output."""
    status, stdout, stderr = mayfly("-o", "json", *args)
    if not stdout:
        stop(f"mayfly {' '.join(args)[:80]} failed with exit status {status}: {stderr}")
    return json.loads(stdout)


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            stop(f"waited {PATIENCE:.0f} s in vain for {what}")
        time.sleep(POLL_SECONDS)


# Configuration.


def is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def pick_port(preferred, taken):
    """The preferred port, or one that is free and that the kernel does not lend out."""
    for port in [preferred, *(secrets.randbelow(22_000) + 10_000 for _ in range(1000))]:
        if port not in taken and is_free(port):
            taken.add(port)
            return port
    stop("found no free port on 127.0.0.1")


def config_text(folder, node, members, rpc, shards, secret):
    nodes = ", ".join(f"{i}=127.0.0.1:{peer}" for i, peer in members.items())
    return f"""[node]
id = {node}
data_dir = {folder}/data-{node}
[cluster]
name = quickstart
shards = {shards}
nodes = {nodes}
secret = {secret}
[listen]
rpc = 127.0.0.1:{rpc}
peer = 127.0.0.1:{members[node]}
resp =                 # other protocols: off
http =
[durability]
mode = fsync           # an answer means: on the disks of a majority
[log]
level = debug          # a line for each batch of keys that expires
"""


def configure(folder, nodes, shards):
    taken = set()
    secret = secrets.token_hex(16)
    members = {node: pick_port(PREFERRED["peer"][node - 1], taken) for node in nodes}
    for node in nodes:
        rpc = pick_port(PREFERRED["rpc"][node - 1], taken)
        path = pathlib.Path(folder, f"node-{node}.ini")
        path.write_text(config_text(folder, node, members, rpc, shards, secret), encoding="utf-8")


def endpoints(folder, nodes):
    found = []
    for node in nodes:
        config = configparser.ConfigParser(inline_comment_prefixes="#", interpolation=None)
        config.read(pathlib.Path(folder, f"node-{node}.ini"), encoding="utf-8")
        found.append(config["listen"]["rpc"])
    return ",".join(found)


# Records.


def installed():
    """(name, stanza as bytes) of every installed package, as dpkg-query has them."""
    listing = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${binary:Package}\n"],
        capture_output=True, check=True, text=True).stdout
    names = [line.split()[1] for line in listing.splitlines() if line.startswith("installed ")]
    for at in range(0, len(names), BATCH):
        some = names[at:at + BATCH]
        output = subprocess.run(["dpkg-query", "--status", *some], capture_output=True,
                                check=True).stdout
        stanzas = output.rstrip(b"\n").split(b"\n\n")
        for name, stanza in zip(some, stanzas, strict=True):
            if not stanza.startswith(b"Package: " + name.split(":")[0].encode() + b"\n"):
                stop(f"dpkg-query --status gave another package than {name}")
            yield name, stanza + b"\n"


def record(key, value):
    """One line of ndjson. Values that are no UTF-8 travel as base64."""
    try:
        return json.dumps({"key": key, "value": value.decode()}, ensure_ascii=False)
    except UnicodeDecodeError:
        return json.dumps({"key": key, "value_base64": base64.b64encode(value).decode()})


def packages(path, copies):
    """Writes every package once as pkg:NAME, or `copies` times as copy-N:NAME, each another value."""
    try:
        database = list(installed())
    except (OSError, subprocess.CalledProcessError) as error:
        stop(f"reading the package database with dpkg-query: {error}")
    with open(path, "w", encoding="utf-8") as file:
        for copy in range(1, copies + 1):
            for name, stanza in database:
                if copies == 1:
                    file.write(record(f"pkg:{name}", stanza) + "\n")
                else:
                    file.write(record(f"copy-{copy}:{name}", b"Copy: %d\n" % copy + stanza) + "\n")
    return len(database) * copies


def read_records(path):
    """key -> value as bytes."""
    records = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            fields = json.loads(line)
            records[fields["key"]] = (base64.b64decode(fields["value_base64"])
                                      if "value_base64" in fields else fields["value"].encode())
    return records


def value_bytes(value):
    """A value as `mayfly -o json` prints it: text, {"base64": text} or null."""
    if value is None:
        return None
    return value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])


def read_back(endpoint, keys, flags=()):
    """key -> value or None, by mayfly mget in batches."""
    found = {}
    for at in range(0, len(keys), BATCH):
        for entry in mayfly_json("-s", endpoint, "mget", *flags, *keys[at:at + BATCH]):
            found[entry["key"]] = value_bytes(entry["value"])
    return found


def compare(endpoint, pairs, flags):
    """Reads back all acknowledged records of each (records, acknowledged keys) pair of files."""
    began = time.monotonic()
    missing, differing, count, size = [], [], 0, 0
    for records_path, acked_path in pairs:
        records = read_records(records_path)
        acked = pathlib.Path(acked_path).read_text(encoding="utf-8").splitlines()
        found = read_back(endpoint, acked, flags)
        count += len(acked)
        size += sum(len(records[key]) for key in acked)
        missing += [key for key in acked if found[key] is None]
        differing += [key for key in acked if found[key] not in (None, records[key])]
    print(f"  {endpoint}: {count - len(missing) - len(differing)} of {count} records the same, "
          f"{size / 1e6:.1f} MB, in {time.monotonic() - began:.1f} s")
    for what, keys in (("missing", missing), ("different", differing)):
        if keys:
            print(f"  {endpoint}: {len(keys)} are {what}, such as {', '.join(keys[:3])}")
    return not missing and not differing


def compare_ttls(first, second, records_path):
    """The time left of some keys, by both; it has gone on in between by a moment at most."""
    keys = list(read_records(records_path))
    good = True
    for key in keys[::max(1, len(keys) // 20)]:
        asked = time.monotonic()
        left = [mayfly_json("-s", endpoint, "ttl", key)["ttl"] for endpoint in (first, second)]
        apart = abs(left[0] - left[1]) - (time.monotonic() - asked) * 1000
        if min(left) < 0 or apart > TTL_TOLERANCE_MS:
            print(f"  {key}: {left[0]} ms left there and {left[1]} ms here")
            good = False
    if good:
        print(f"  times to live agree too, such as {key}: {left[0]} ms there, {left[1]} ms here")
    return good


# What happened, in words.


def tell_load(path, expected):
    summary = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    print(f"  The load went on: {summary['records']} of {expected} records acknowledged in "
          f"{summary['seconds']:.1f} s ({summary['rate']:.0f} a second).\n"
          f"  Errors: {summary['errors']}. Sent again: {summary['retries']}. "
          f"Writes stood still for {summary['longest_stall_seconds']:.2f} s.")
    return summary["errors"] == 0 and summary["records"] == expected


def node_of(status, node):
    return next(entry for entry in status["nodes"] if entry["id"] == node)


def all_led(path):
    text = pathlib.Path(path).read_text(encoding="utf-8")
    status = json.loads(text) if text else None
    return (status is not None and status["shards_without_leader"] == 0
            and all(entry["state"] == "alive" for entry in status["nodes"]))


def busiest(path):
    status = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    return max(status["nodes"], key=lambda entry: entry["leads"] or 0)["id"]


def watch_lag(node):
    """Prints how far the node is behind, each time that it is another number, until it is not."""
    began = time.monotonic()
    told = None

    def caught_up():
        nonlocal told
        entry = node_of(mayfly_json("status"), node)
        lag = entry["lag"] if entry["state"] == "alive" else None
        if lag != told:
            words = "not reached yet" if lag is None else f"{lag} log entries behind"
            print(f"  {time.monotonic() - began:5.2f} s: node {node} is {words}", flush=True)
            told = lag
        return lag == 0
    wait_for(caught_up, f"node {node} to catch up")


def shard_of(tag):
    """The shard of keys with this {tag}: Redis Cluster's slots, in equal ranges."""
    return binascii.crc_hqx(tag.strip("{}").encode(), 0) * SHARDS // 16384 % SHARDS


def expiries(folder, tag, count, nodes):
    """Finds the expiry of `count` keys of a {tag} in every node's log: same position, same number."""
    pattern = re.compile(rf"shard={shard_of(tag)} index=(\d+) expired=(\d+)")
    found = {}

    def everywhere():
        for node in nodes:
            log = pathlib.Path(folder, f"node-{node}.log").read_text(errors="replace")
            found[node] = [(int(index), int(keys)) for index, keys in pattern.findall(log)]
        return all(sum(keys for _, keys in batches) >= count for batches in found.values())
    wait_for(everywhere, f"the log lines about {count} expired keys on every node")
    for node, batches in found.items():
        for index, keys in batches:
            print(f"  node {node}: shard {shard_of(tag)}, log position {index}: {keys} keys expired")
    first = found[nodes[0]]
    return all(batches == first for batches in found.values()) and first[-1][1] == count


def all_gone(endpoint, tag, count):
    found = read_back(endpoint, [f"{tag}:{i}" for i in range(1, count + 1)], ["--local"])
    return not any(value is not None for value in found.values())


def ttl_below(key, limit):
    return mayfly_json("ttl", key)["ttl"] < limit


def main(verb, *args):
    """Runs one verb; what it returns is printed, or is the exit status where it is a truth."""
    if verb == "configure":
        single = args[0] == "--single"
        folder, *nodes = args[1:] if single else args
        configure(folder, [int(node) for node in nodes], SINGLE_SHARDS if single else SHARDS)
        return 0
    if verb == "compare":
        flags = [arg for arg in args if arg == "--local"]
        endpoint, *files = [arg for arg in args if arg != "--local"]
        return 0 if compare(endpoint, list(zip(files[::2], files[1::2])), flags) else 1
    if verb == "expiries":
        folder, tag, count, *nodes = args
        return 0 if expiries(folder, tag, int(count), [int(node) for node in nodes]) else 1
    simple = {
        "endpoints": lambda folder, *nodes: endpoints(folder, nodes),
        "packages": lambda path, copies: packages(path, int(copies)),
        "sample": lambda path: min(read_records(path), key=lambda key: (key != "pkg:bash", key)),
        "all-led": all_led,
        "busiest": busiest,
        "tell-load": lambda path, expected: tell_load(path, int(expected)),
        "watch-lag": lambda node: watch_lag(int(node)),
        "all-gone": lambda endpoint, tag, count: all_gone(endpoint, tag, int(count)),
        "ttl-below": lambda key, limit: ttl_below(key, int(limit)),
        "compare-ttls": compare_ttls,
    }
    result = simple[verb](*args)
    if isinstance(result, bool):
        return 0 if result else 1
    if result is not None:
        print(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
