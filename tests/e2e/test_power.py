"""Real nodes lose power: what they had not synced is gone, and nothing that they acknowledged."""

import itertools
import threading

from mayfly_test.check import true
from mayfly_test.client import RpcError
from mayfly_test.context import limit
from mayfly_test.judge import read_all
from mayfly_test.power import Power
from mayfly_test.wait import wait_for

WRITERS = 4
BATCH = 20


class Writers:
    """Threads that set keys of their own, and note what was acknowledged."""

    def __init__(self, cluster, round_number, rng):
        self.acknowledged = {}
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self._write, args=(node, f"{round_number}-{i}-",
                                                                   rng.randrange(100, 24000)))
                        for i, node in zip(range(WRITERS), itertools.cycle(cluster.nodes))]
        for thread in self.threads:
            thread.start()

    def _write(self, node, prefix, size):
        try:
            with node.connect() as connection:
                for n in itertools.count():
                    if self.ended.is_set():
                        return
                    pairs = [(f"{prefix}{n}-{i}".encode(), b"%d-" % n + b"x" * (size + i))
                             for i in range(BATCH)]
                    requests = {connection.send("set", *pair): pair for pair in pairs}
                    for _ in pairs:
                        msgid, error, _ = connection.receive()
                        if error is None:
                            key, value = requests[msgid]
                            self.acknowledged[key] = value
        except (OSError, RpcError):
            pass  # the node is dead

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()


@limit(400)
def test_nothing_acknowledged_is_missing_after_all_nodes_lost_power_under_load(t):
    if t.sanitized:
        t.note("left out: a sanitizer has to be preloaded first")
        return
    power = Power(t)
    cluster = t.cluster(3, shards=2, start=False, overrides={"node.threads": 2})
    cluster.start_with(power.plug_in)
    cluster.wait_settled()
    acknowledged = {}
    for round_number in range(3 if t.quick else 8):
        writers = Writers(cluster, round_number, t.rng)
        enough = t.rng.randrange(200, 4000)
        # Of up to 24 kB each, which three nodes sync, to a disk that others use too.
        wait_for(lambda: len(writers.acknowledged) >= enough, 150, f"{enough} acknowledgements")
        for node in t.rng.sample(cluster.nodes, 3):
            node.kill9()
        writers.stop()
        acknowledged.update(writers.acknowledged)
        power.cut(cluster.nodes)
        cluster.restart()
        cluster.wait_equal()
        for node in cluster.nodes:
            true("damage" not in node.log_text(), f"node {node.id} takes a loss of power for damage")
            values = read_all(node, acknowledged, {"read": "local"})
            lost = [key for key, value in acknowledged.items() if values[key] != value]
            true(not lost, f"round {round_number}: node {node.id} misses {len(lost)} keys, such as "
                           f"{lost[:3]!r}")
    true(power.lost_sectors > 0, "no power was lost: the test shows nothing")
    t.note(f"{len(acknowledged)} acknowledged writes; {power.lost_sectors} sectors and "
           f"{power.lost_names} names were lost, {power.kept_sectors} unsynced sectors were not")
