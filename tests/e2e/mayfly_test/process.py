"""Starts programs so that none of them can outlive the test run.

Children die with the runner, however it ends: setpriv asks the kernel to kill them when the thread
that started them is gone (PR_SET_PDEATHSIG). That thread is one of our own which lives as long as
the runner, since tests start nodes from threads that end sooner. Each child leads a session of its
own, so that a Ctrl-C reaches the runner alone and the nodes are ended in order, by pid.
"""

import concurrent.futures
import shutil
import subprocess

# What sanitizers and assertions leave in a log.
ALARMS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer",
          "runtime error:", "Assertion `")

_spawner = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
_SETPRIV = shutil.which("setpriv")


def spawn(argv, **options):
    """subprocess.Popen with the promise above."""
    argv = [str(arg) for arg in argv]
    if _SETPRIV:
        argv = [_SETPRIV, "--pdeathsig", "KILL", "--", *argv]
    options.setdefault("stdin", subprocess.DEVNULL)
    return _spawner.submit(
        subprocess.Popen, argv, start_new_session=True, **options).result()


class Finished:
    """A program that has ended: its exit status and what it wrote, as bytes."""

    def __init__(self, argv, status, stdout, stderr):
        self.argv = [str(arg) for arg in argv]
        self.status = status
        self.stdout = stdout
        self.stderr = stderr

    def __str__(self):
        return (f"$ {' '.join(self.argv)}\nexit {self.status}\n"
                f"stdout: {self.stdout[:2000]!r}\nstderr: {self.stderr[:2000]!r}")


def run(argv, stdin=b"", timeout=60, **options):
    """Runs a program to its end. A program that does not end is killed and is a failure,
    and so is what a sanitizer says of it."""
    child = spawn(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                  **options)
    try:
        stdout, stderr = child.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        stdout, stderr = child.communicate()
        finished = Finished(argv, "none", stdout, stderr)
        raise AssertionError(f"did not end within {timeout} s:\n{finished}") from None
    finished = Finished(argv, child.returncode, stdout, stderr)
    if any(alarm.encode() in stderr for alarm in ALARMS):
        raise AssertionError(f"a sanitizer or an assertion speaks:\n{stderr.decode(errors='replace')}")
    return finished
