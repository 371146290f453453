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
