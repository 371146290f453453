"""Hot keys: what the clients of a node ask for most."""

from mayfly_test.api import everywhere
from mayfly_test.check import equal, true
from mayfly_test.context import limit


def ask(connection, *options):
    """The answer, whose form and order are checked."""
    told = connection.call("hotkeys", *options)
    for key, rate, share in told:
        true(isinstance(key, bytes) and isinstance(rate, int) and rate > 0 and 0 < share <= 1.0001,
             f"a hot key: {[key, rate, share]}")
    rates = [rate for _, rate, _ in told]
    equal(rates, sorted(rates, reverse=True), "the most frequent first")
    return told


@limit(300)
@everywhere
def test_what_is_asked_for_most_is_told(api):
    hot, warm = api.key("hot"), api.key("warm")
    with api.node.connect() as connection:
        requests = []
        for i in range(1500):
            requests += [("get", hot), ("has", [hot, warm]), ("get", api.key(f"cold{i}"))]
        for _ in range(20):
            connection.pipeline(requests)
        told = ask(connection, {"count": 128})
        true(told[0][0] == hot, f"the first is asked for as often as all others: {told[:3]}")
        own = {key: share for key, _, share in told}
        true(1.5 < own[hot] / own[warm] < 2.7, f"twice as often as the second: {told[:3]}")
        equal(ask(connection, {"count": 1})[0][0], hot, "the first of one")
        true(len(ask(connection)) <= 10, "ten, if nothing else is said")


def test_a_node_tells_what_its_own_clients_ask_for(t):
    cluster = t.cluster(3)
    key = t.key("k")
    with cluster.node(1).connect() as asked, cluster.node(2).connect() as idle:
        equal(ask(idle), [], "nobody has asked for anything")
        for _ in range(20):
            asked.pipeline([("get", key)] * 500)
        equal([told[0] for told in ask(asked)], [key], "the keys of the first node")
        equal(ask(idle), [], "the keys of another")


def test_keys_of_a_txn_and_long_ones(t):
    cluster = t.cluster(1)
    key = t.key("x" * 1000)
    with cluster.node(1).connect() as connection:
        connection.pipeline([("txn", {"if": [], "then": [["get", key], ["has", [key]]]})] * 8000)
        equal([told[0] for told in ask(connection)], [key[:256]], "what is told of a long key")


@everywhere
def test_refusals(api):
    for options in ({"count": 0}, {"count": -1}, {"count": "1"}, {"match": "*"}):
        api.refused("BAD_REQUEST", "hotkeys", options)
    api.refused("BAD_REQUEST", "hotkeys", 5)
    api.refused("BAD_REQUEST", "hotkeys", {}, {})
