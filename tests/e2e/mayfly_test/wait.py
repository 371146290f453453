"""Waiting for something to become true, which is the only way these tests wait."""

import time

POLL_SECONDS = 0.01


class GaveUp(AssertionError):
    """A condition did not come true in time."""


def wait_for(condition, timeout, what):
    """Polls condition() until it returns something true, and returns that.

    `what` says in words what is waited for; it is in the failure, with the last exception that the
    condition raised. Connection trouble while polling counts as "not yet": nodes come and go here.
    """
    deadline = time.monotonic() + timeout
    trouble = None
    while True:
        try:
            result = condition()
            if result:
                return result
            trouble = None
        except (OSError, TransientError) as error:
            trouble = error
        if time.monotonic() >= deadline:
            because = f" (last trouble: {trouble})" if trouble else ""
            raise GaveUp(f"waited {timeout:g} s in vain for {what}{because}")
        time.sleep(POLL_SECONDS)


class TransientError(Exception):
    """Base of errors that a condition may raise while the cluster is not there yet."""
