"""A program on a terminal: what a person at the keyboard sees and does."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

from . import process

# Moves within the line too: a line editor makes many of them.
_ESCAPES = re.compile(rb"\r\x1b\[\d+G|\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]")


def _take_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell would not pass on that we ignore it


class Terminal:
    """Runs a program on a terminal of its own, as a shell would: keys like Ctrl-C reach it as
    signals. Use it in a `with`."""

    def __init__(self, argv, env=None, rows=40, columns=120, **options):
        environment = dict(os.environ, TERM="xterm", **(env or {}))
        environment.pop("NO_COLOR", None)
        environment.update(env or {})
        self._fd, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.child = process.spawn(argv, stdin=other, stdout=other, stderr=other, env=environment,
                                   preexec_fn=_take_terminal, **options)
        os.close(other)
        self.seen = b""  # everything, escapes too
        self._mark = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        os.close(self._fd)

    def _read(self, seconds):
        """More of what it writes; False when there is none within the time, or the end."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # how Linux tells that nobody has the other side open
            return False
        self.seen += data
        return data != b""

    @property
    def text(self):
        """What was written since the last `expect`, without escapes."""
        return _ESCAPES.sub(b"", self.seen[self._mark:]).decode("utf-8", "replace")

    def expect(self, pattern, timeout=30):
        """Waits until what was written since the last `expect` has the pattern; returns the match."""
        deadline = time.monotonic() + timeout
        while True:
            text = self.text
            match = re.search(pattern, text)
            if match:
                self._mark = len(self.seen)
                return match
            if not self._read(max(0, deadline - time.monotonic())):
                raise AssertionError(f"waited in vain for {pattern!r} in {self.text[-2000:]!r}")

    def type(self, text):
        os.write(self._fd, text.encode() if isinstance(text, str) else text)

    def line(self, text):
        self.type(text + "\r")

    def end(self, timeout=30):
        """Waits for the program's end; its exit status."""
        deadline = time.monotonic() + timeout
        while self.child.poll() is None and time.monotonic() < deadline:
            if not self._read(0.05) and self.child.poll() is None:
                continue
        while self._read(0):
            pass
        return self.child.wait(max(0.1, deadline - time.monotonic()))
