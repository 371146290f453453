"""The examples of the client library, run against a cluster as they stand."""

from mayfly_test.check import equal
from mayfly_test.wait import wait_for


def run_example(t, name, *args):
    example = t.bin("mayflyd").parent.parent / "examples" / name
    finished = t.run(example, *args)
    equal(finished.status, 0, f"exit status of\n{finished}\n")
    return finished.stdout


def test_a_libev_loop_carries_many_requests(t):
    cluster = t.shared_cluster(3)
    equal(run_example(t, "libev_client", cluster.endpoints()), b"1000 of 1000 values are right\n",
          "what the example printed")


def test_sessions_slide_and_end(t):
    printed = run_example(t, "session_store", t.shared_cluster(3).endpoints())
    equal(printed, b"visit: 1\nsign out: 1\nvisit: 0\nvisit after its time: 0\n", "printed")


def test_a_lock_is_held_by_one_and_a_late_holder_is_fenced_off(t):
    printed = run_example(t, "distributed_lock", t.shared_cluster(3).endpoints())
    equal(printed, b"a takes: 1\nb takes: 0\na renews: 1\na writes: 1\nb writes: 1\n"
          b"a writes: 0\na renews: 0\na releases: 0\nb releases: 1\n", "printed")


def test_calls_over_the_limit_wait_for_the_next_window(t):
    endpoints = t.shared_cluster(3).endpoints()
    example = t.bin("mayflyd").parent.parent / "examples" / "rate_limiter"

    def limited():
        """What it prints where every call is answered within its second: one that is not, it lets
        through and says so."""
        finished = t.run(example, endpoints)
        equal(finished.status, 0, f"exit status of\n{finished}\n")
        return finished.stdout if finished.stderr == b"" else None
    printed = wait_for(limited, 60, "a run without an answer that is late")
    equal(printed, b"call 1: 1\ncall 2: 1\ncall 3: 1\ncall 4: 0\ncall 5: 0\nbob may go on\n",
          "printed")
