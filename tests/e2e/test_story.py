"""What the logs of a cluster tell of a failover, to who reads them side by side."""

import re

from mayfly_test.check import equal, true
from mayfly_test.wait import wait_for

LINE = re.compile(r"^(\S+)Z ([A-Z]+) node=(\d+) (.*)$")


def story(nodes, skipped):
    """All lines at info and above since then, by time: (level, node, text)."""
    lines = []
    for node in nodes:
        for line in node.log_text()[skipped[node.id]:].splitlines():
            found = LINE.match(line)
            if found:
                lines.append((found[1], found[2], int(found[3]), found[4]))
    return [line[1:] for line in sorted(lines)]


def test_a_failover_is_a_dozen_lines_that_tell_what_happened(t):
    cluster = t.cluster(3, shards=64, overrides={
        "node.threads": 2, "consensus.lease_ms": 3000 if t.sanitized else 500})
    dead = cluster.busiest_leader()
    living = [node for node in cluster.nodes if node is not dead]
    skipped = {node.id: len(node.log_text()) for node in cluster.nodes}
    dead.kill9()
    cluster.wait_settled()
    dead.restart()
    cluster.wait_settled()

    def told(node, text):
        return any(who == node.id and text in said
                   for _, who, said in story(cluster.nodes, skipped))
    for node in living:
        for text in (f"link to node {dead.id} at ", f"node {dead.id} is silent for ",
                     f"node {dead.id} is up"):
            wait_for(lambda node=node, text=text: told(node, text), 60,
                     f"node {node.id} to say {text!r}")
    lines = story(cluster.nodes, skipped)
    until_up = next(i for i, (_, who, text) in enumerate(lines)
                    if who != dead.id and text.startswith(f"node {dead.id} is up"))
    failover = [line for line in lines[:until_up] if line[1] != dead.id]
    for level, who, text in failover:
        t.note(f"{level} node={who} {text}")
    order = [text for _, who, text in failover if who == living[0].id]
    lost = next(i for i, text in enumerate(order) if text.startswith("link to node"))
    silent = next(i for i, text in enumerate(order) if "is silent for" in text)
    true(lost < silent, f"the link was lost before the silence: {order}")
    # Of each of the two: two links, that no lease is asked for, the silence; on a machine that stands
    # still, some of it twice. How often who leads what is told meanwhile is up to the machine, too.
    of_it = [line for line in failover if f"node {dead.id} " in line[2]]
    true(len(of_it) <= 12, f"{len(of_it)} lines tell of node {dead.id}: {of_it}")
    equal([line for line in lines if line[0] == "ERROR"], [], "errors")
