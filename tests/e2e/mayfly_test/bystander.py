"""A client that behaves well beside others that do not, and what they cost it."""

import threading
import time

from .check import equal, true
from .wait import wait_for


class Bystander(threading.Thread):
    """Sets and gets, one after the other; no call may fail or hang. How long they took is told as a
    ratio, and never judged."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self._node = node
        self._stopping = threading.Event()
        self._trouble = None
        self._taken = []

    def __enter__(self):
        self.start()
        self.goes_on()
        self._quiet = sorted(self._taken)
        self._taken = []
        return self

    def __exit__(self, kind, *_):
        self._stopping.set()
        self.join(60)
        if kind is None:
            true(not self.is_alive(), "the bystander hangs")
            if self._trouble:
                raise AssertionError(f"the bystander's call: {self._trouble!r}")

    def run(self):
        try:
            with self._node.connect(timeout=60) as connection:
                calls = 0
                while not self._stopping.wait(0.002):  # the rate, not a wait for anything
                    calls += 1
                    began = time.monotonic()
                    connection.call("set", "bystander", b"%d" % calls)
                    equal(connection.call("get", "bystander"), b"%d" % calls, "the value just set")
                    self._taken.append(time.monotonic() - began)
        except Exception as error:  # whatever it is, the test must hear of it
            self._trouble = error

    def goes_on(self, calls=50):
        """Waits until it has made some more."""
        wanted = len(self._taken) + calls
        wait_for(lambda: len(self._taken) >= wanted or self._trouble, 120, "the bystander to go on")

    def ratio(self):
        """How much longer a call takes than before, in words."""
        now, before = sorted(self._taken), self._quiet
        if not now:
            return "no call of the bystander meanwhile"
        def at(part):
            return now[int(len(now) * part)] / before[int(len(before) * part)]
        return (f"a bystander's call takes {at(0.5):.1f} times as long, "
                f"the 99th of 100 {at(0.99):.1f}")
