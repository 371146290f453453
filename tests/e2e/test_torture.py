"""A short round of the torture (scripts/torture, docs/testing.md): every promise under many faults at
once. How long anything takes is told, and nothing is judged by it."""

import pathlib
import sys

from mayfly_test import process
from mayfly_test.context import limit

SCRIPT = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts" / "torture"
SECONDS_MAX = 1500


@limit(SECONDS_MAX + 60)
def test_every_promise_is_kept_under_torture(t):
    seconds = 8 if t.quick else 40
    folder = t.dir / "torture"
    finished = process.run(
        [sys.executable, SCRIPT, "--minutes", seconds / 60, "--seed", t.rng.randrange(2**32),
         "--build", t.bin("").parent, "--folder", folder, "--clients", "3,2"], timeout=SECONDS_MAX)
    told = finished.stdout.decode(errors="replace")
    if finished.status != 0:
        raise AssertionError(f"exit {finished.status}:\n{told}\n{finished.stderr.decode()}")
    for line in told.splitlines()[1:]:
        if line.strip():
            t.note(line)
