"""What a bad network does to messages: it loses them, sends them twice, late, or out of order.

TCP does none of that to the bytes of a connection, so it is done to whole frames, by the proxy
(proxy.py). Frames that carry what clients asked for, answers to them or checkpoints are lost and late,
too, but neither doubled nor overtaken: that they are not is TCP's promise, on which the nodes rely.
"""

from .proxy import AS_IT_IS, is_paxos

LATE_SECONDS = 0.2


class Disturbance:
    """Shares of the frames to which each of these happens; counts what happened."""

    def __init__(self, rng, lost=0.0, twice=0.0, late=0.0, overtaken=0.0):
        self.rng = rng
        self.shares = {"lost": lost, "twice": twice, "late": late, "overtaken": overtaken}
        self.counts = dict.fromkeys(self.shares, 0)

    def __str__(self):
        return ", ".join(f"{100 * share:.0f} % {what}" for what, share in self.shares.items()
                         if share)

    def fates(self, frame):
        """As proxy.Link wants it."""
        if self._happens("lost"):
            return ()
        alone = is_paxos(frame)
        if alone and self._happens("overtaken"):
            copies = [(self._delay(), False)]
        elif self._happens("late"):
            copies = [(self._delay(), True)]
        else:
            copies = AS_IT_IS
        if alone and self._happens("twice"):
            copies = [*copies, (self._delay(), False)]
        return copies

    def _happens(self, what):
        happens = self.rng.random() < self.shares[what]
        self.counts[what] += happens
        return happens

    def _delay(self):
        return self.rng.uniform(0.0, LATE_SECONDS)


def drawn(rng):
    """A disturbance of one to three kinds."""
    kinds = rng.sample(["lost", "twice", "late", "overtaken"], rng.randrange(1, 4))
    return Disturbance(rng, **{kind: rng.choice([0.02, 0.1, 0.3]) for kind in kinds})
