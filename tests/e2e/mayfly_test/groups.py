"""Two keys of one shard as one object, for the checker: a transaction takes effect on both at one
moment, or on neither.

An operation on it is a "txn": `if` is a list of (key, value) that must be equal, `then` and `else` are
lists of (method, key[, operand]) with the methods get, set and incr; keys are 0 and 1. The
result is (whether the conditions held, what each method returned; None for set).
"""

from .history import OK

NOTHING = (None, None)


class Group:
    """The sequential behaviour, as linear.check wants it."""

    def step(self, state, op, _moment):
        holds = all(state[key] == value for key, value in op.args["if"])
        results, after = carry_out(state, op.args["then" if holds else "else"])
        if op.outcome == OK and list(op.result) != [holds, results]:
            return []
        return [after]


def carry_out(state, methods):
    """What the methods return, and the state after them."""
    values = list(state)
    results = []
    for method, key, *operand in methods:
        if method == "get":
            results.append(values[key])
        elif method == "set":
            values[key] = operand[0]
            results.append(None)
        else:
            total = int(values[key] or 0) + operand[0]
            values[key] = b"%d" % total
            results.append(total)
    return results, tuple(values)
