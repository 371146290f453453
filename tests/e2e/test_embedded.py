"""The embedded store's dumps, taken by a program that has no server, in clusters."""

from mayfly_test.check import between, equal
from mayfly_test.context import limit

USERS = [b"user:%d:%d" % (thread, user) for thread in range(4) for user in range(250)]
IDLE_MS = 60_000


def dump(t, name):
    """What examples/session_cache.c leaves: a thousand sessions, which end a minute after."""
    path = t.dir / name
    example = t.bin("mayflyd").parent.parent / "examples" / "session_cache"
    equal(t.run(example, path).status, 0, "exit status of the example")
    return path


def check_sessions(cluster):
    with cluster.node(1).connect() as connection:
        values = connection.call("mget", USERS)
        ttls = [connection.call("ttl", user) for user in USERS[::100]]
    equal(values, [b"1"] * len(USERS), "the sessions")
    for ttl in ttls:
        between(1, ttl, IDLE_MS, "what is left of a session")
    equal(cluster.node(1).call("get", "everybody"), None, "the key that had died")


@limit(120)
def test_an_embedded_stores_dump_is_restored_into_clusters(t):
    running = t.cluster(1, name="running", shards=5)
    finished = t.run("mayfly-snapshot", "restore", dump(t, "sessions.mfs"), "-s", running.endpoints())
    equal(finished.status, 0, f"exit status of\n{finished}\n")
    check_sessions(running)
    fresh = t.cluster(3, name="fresh", shards=12, start=False)
    again = dump(t, "again.mfs")

    def restore(node):
        node.write_config()
        done = t.run("mayfly-snapshot", "restore", again, "--data-dir", node.data_dir, "--config",
                     node.config)
        equal(done.status, 0, f"exit status of\n{done}\n")

    fresh.start_with(restore)
    fresh.wait_settled()
    check_sessions(fresh)
