"""Machines that are suspended, and nodes that stand still for long: time has passed when they go on.

CLOCK_BOOTTIME is what tests/power/clocks.c says: it goes on through a suspension, which is what sets it
apart from CLOCK_MONOTONIC. So a node here is taken to have slept for minutes, and nobody waits for them.
"""

from mayfly_test.check import contains, equal, true
from mayfly_test.clock import Clock
from mayfly_test.context import limit
from mayfly_test.wait import wait_for

FORGOTTEN = 601  # seconds after which an id means nothing any more


def with_clocks(t, nodes, **options):
    """A cluster and the clocks of its nodes, by id; None where that cannot be."""
    if t.sanitized:
        t.note("left out: a sanitizer has to be preloaded first")
        return None, None
    cluster = t.cluster(nodes, start=False, **options)
    library = t.bin("").parent / "tests" / "libclocks.so"
    clocks = {}

    def place(node):
        clocks[node.id] = Clock(library, t.dir / f"clocks-{node.id}", node)
    cluster.start_with(place)
    cluster.wait_settled()
    return cluster, clocks


def test_ttls_go_on_while_the_machine_is_suspended(t):
    cluster, clocks = with_clocks(t, 1)
    if cluster is None:
        return
    node = cluster.node(1)
    node.call("set", "short", "v", {"ttl": 60_000})
    node.call("set", "long", "v", {"ttl": 1_000_000})
    clocks[1].suspend(100)
    # Who comes before the node notices is closed.
    left = wait_for(lambda: node.call("ttl", "long"), 30, "an answer")
    true(0 < left <= 900_000, f"a key of 1,000 s has {left} ms left after 100 s")
    short = wait_for(lambda: [node.call("get", "short")], 30, "an answer")
    equal(short, [None], "what should have died meanwhile")


@limit(120)
def test_what_waited_at_a_node_that_stood_still_is_not_carried_out(t):
    """Its senders have sent it again elsewhere, with an id that is forgotten by now."""
    cluster, clocks = with_clocks(t, 3)
    if cluster is None:
        return
    asleep = next(node for node in cluster.nodes if node is not cluster.leader_of(b"counter"))
    awake = [node for node in cluster.nodes if node is not asleep]

    def again(name, key):
        return awake[0].call("incr", key, 1, {"id": name})
    equal(again("probe", "{counter}probe"), 1, "the probe")
    sent = {"greeted": asleep.connect()}
    sent["greeted"].call("ping")
    asleep.pause()
    sent["unaccepted"] = asleep.connect(greet=False)
    for total, (name, connection) in enumerate(sent.items(), 1):
        connection.send("incr", "counter", 1, {"id": name})
        equal(again(name, "counter"), total, f"the sum after what was sent on {name}, sent again")
    for node in awake:
        clocks[node.id].suspend(FORGOTTEN)
    wait_for(lambda: again("probe", "{counter}probe") > 1, 30, "the ids to be forgotten")
    clocks[asleep.id].suspend(FORGOTTEN)
    asleep.resume()
    for name, connection in sent.items():
        true(connection.closed_by_server(30), f"{name} is open")
        equal(connection.kept(), [], f"answers on {name}")
    for node in cluster.nodes:
        total = wait_for(lambda node=node: node.call("get", "counter"), 30, "an answer")
        equal(total, b"2", f"the sum by node {node.id}")
    contains(asleep.log_text(), "this node stood still for 60", "the log")
