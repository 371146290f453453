"""Progress of a watch: up to which version of each shard a client has heard everything, so that it
can go on exactly there."""

from mayfly_test.api import everywhere
from mayfly_test.check import equal, true

PATIENCE = 30.0


class Watch:
    """A watch with progress, and what has come of it: `versions` by shard, `events` in order."""

    def __init__(self, connection, options, shard_of):
        self.connection = connection
        self.shard_of = shard_of
        self.versions = {}
        self.events = []
        self.id = connection.call("watch", {**options, "progress": True})

    def step(self):
        """Takes what comes next. Nothing may come of a shard whose progress is past it."""
        watch, event, key, version, value = self.connection.event(PATIENCE)
        equal(watch, self.id, "the watch")
        if event == "progress":
            equal((key, version), (None, 0), "beside a progress")
            true(0 < len(value) <= 1024, f"{len(value)} shards in a progress")
            for shard, reached in value.items():
                true(reached >= self.versions.get(shard, 0), f"shard {shard} went back")
            self.versions.update(value)
            return
        shard = self.shard_of(key)
        true(version > self.versions.get(shard, 0),
             f"{event} of {key} at {version}: shard {shard} had been told up to "
             f"{self.versions.get(shard)}")
        self.events.append([event, key, version, value])

    def until(self, holds):
        while not holds():
            self.step()

    def reach(self, shard, version):
        self.until(lambda: self.versions.get(shard, -1) >= version)


@everywhere
def test_the_first_progress_names_every_shard_that_is_watched(api):
    cluster = api.cluster
    key = api.key("{t}k")
    for options, shards in (({"prefix": b""}, set(range(cluster.shards))),
                            ({"key": key}, {cluster.shard_of(key)}),
                            ({"prefix": key}, {cluster.shard_of(key)})):
        with api.node.connect() as connection:
            watch = Watch(connection, options, cluster.shards_now())
            watch.until(lambda watch=watch, shards=shards: len(watch.versions) >= len(shards))
            equal(set(watch.versions), shards, f"the shards of {options}")
            equal(watch.events, [], "nothing has changed since")


@everywhere
def test_progress_comes_behind_what_it_stands_for(api):
    cluster = api.cluster
    with api.node.connect() as connection:
        watch = Watch(connection, {"prefix": api.key("k")}, cluster.shards_now())
        versions = {}
        for start in range(0, 2000, 100):
            requests = [("set", api.key(f"k{start + i}"), b"v") for i in range(100)]
            for (_, key, _), result in zip(requests, api.connection.pipeline(requests)):
                versions[key] = result["version"]
            for _ in range(60):
                watch.step()
        for key, version in versions.items():
            watch.reach(watch.shard_of(key), version)
        equal({key: version for _, key, version, _ in watch.events}, versions, "the events")
        equal(len(watch.events), len(versions), "each came once")


@everywhere
def test_a_watch_goes_on_where_its_progress_is_though_others_have_pushed_the_history_on(api):
    cluster = api.cluster
    key, other = api.key("{t}watched"), api.key("{t}other")
    shard = cluster.shard_of(key)
    with api.node.connect() as connection:
        first = Watch(connection, {"key": key}, cluster.shards_now())
        seen = api.written("set", key, b"first")
        for _ in range(40):
            last = api.written("set", other, b"x" * 50_000)
        api.refused("COMPACTED", "watch", {"key": key, "from_version": seen})
        first.reach(shard, last)
    equal([event[2] for event in first.events], [seen], "versions of the events")
    versions = [api.written("set", key, b"missed")]
    with api.node.connect() as connection:
        second = Watch(connection, {"key": key, "from_version": first.versions[shard] + 1},
                       cluster.shards_now())
        versions.append(api.written("set", key, b"now"))
        second.reach(shard, versions[-1])
        equal([event[2] for event in second.events], versions, "versions of the events")


@everywhere
def test_progress_is_never_in_the_middle_of_a_flush(api):
    cluster = api.cluster
    keys = {api.key(f"{{t}}k{i}") for i in range(50)}
    shard = cluster.shard_of(api.key("{t}"))
    with api.node.connect() as connection:
        watch = Watch(connection, {"prefix": api.key("{t}")}, cluster.shards_now())
        api.call("mset", [[key, b"v"] for key in keys])
        api.call("flush")
        last = api.written("set", api.key("{t}k0"), b"after")
        watch.reach(shard, last)
        dead = [event for event in watch.events if event[0] == "del"]
        equal({event[1] for event in dead}, keys, "what the flush took")
        equal(len({event[2] for event in dead}), 1, "versions of a flush in one shard")
        flushed = dead[0][2]
    for version, gone in ((flushed, len(keys)), (flushed + 1, 0)):
        with api.node.connect() as connection:
            again = Watch(connection, {"prefix": api.key("{t}"), "from_version": version},
                          cluster.shards_now())
            again.reach(shard, last)
            equal([event[0] for event in again.events], ["del"] * gone + ["set"],
                  f"events from {version} on, of a flush at {flushed}")


@everywhere
def test_only_those_who_want_progress_hear_of_it(api):
    cluster = api.cluster
    key, other = api.key("{t}k"), api.key("{t}other")
    with api.node.connect() as connection:
        silent = {connection.call("watch", options)
                  for options in ({"key": key}, {"prefix": key}, {"prefix": key, "progress": False},
                                  {"prefix": api.key("none")})}
        watch = connection.call("watch", {"key": key, "progress": True})
        version = api.written("set", other, b"v")
        told = 0
        while told < version:
            got = connection.event(PATIENCE)
            equal(got[:2], [watch, "progress"], f"who hears of what, beside {silent}")
            told = got[4][cluster.shard_of(key)]
    for wrong in (1, "yes", None, {}):
        api.refused("BAD_REQUEST", "watch", {"key": key, "progress": wrong})


def test_progress_of_more_shards_than_fit_one_notification(t):
    cluster = t.cluster(1, shards=3000, overrides={"node.threads": 1})
    with cluster.node(1).connect() as connection:
        watch = Watch(connection, {"prefix": b""}, cluster.shards_now())
        watch.until(lambda: len(watch.versions) >= 3000)
        equal(set(watch.versions), set(range(3000)), "the shards")
