"""Assertions that say what they compared."""


def _short(value):
    text = repr(value)
    return text if len(text) <= 800 else f"{text[:800]}... ({len(text)} characters)"


def true(condition, why):
    if not condition:
        raise AssertionError(why() if callable(why) else why)


def equal(actual, expected, what):
    if actual != expected or type(actual) is not type(expected):
        raise AssertionError(f"{what}: {_short(actual)}, expected {_short(expected)}")


def between(low, actual, high, what):
    if not low <= actual <= high:
        raise AssertionError(f"{what}: {actual!r}, expected {low!r} to {high!r}")


def contains(text, part, what):
    if part not in text:
        raise AssertionError(f"{what}: {_short(text)} does not contain {part!r}")


# Deadlines go from the wall clock to the log's and back, each read a moment later.
_DEADLINE_TOLERANCE_MS = 2000


def same_content(found, expected, what):
    """Both map keys to (value, expire_at in Unix milliseconds or None)."""
    equal({key: value for key, (value, _) in found.items()},
          {key: value for key, (value, _) in expected.items()}, what)
    for key, (_, expire_at) in expected.items():
        if expire_at is None:
            equal(found[key][1], None, f"{what}: expire_at of {key}")
        else:
            between(expire_at - _DEADLINE_TOLERANCE_MS, found[key][1],
                    expire_at + _DEADLINE_TOLERANCE_MS, f"{what}: expire_at of {key}")
