"""Twenty kills at random moments, and what must hold after them: tests/crash/crash.py, short."""
import os
import sys

from daemon import ROOT

sys.path.insert(0, os.path.join(ROOT, "tests", "crash"))
import crash  # noqa: E402


def test_kills_at_random_moments():
    # Without cancelled jobs: what a kill catches of one in flight ends only when the timer looks again, in a
    # minute.
    figures, problems = crash.run(rounds=20, recipients=3000, seed=int.from_bytes(os.urandom(4), "big"),
                                  cancelled=0)
    assert not problems, (figures, problems)
    assert figures["ends"]["delivered"] > 0 and figures["ends"]["bounced"] > 0
    assert figures["sent_again"] > 0  # the webhook did lose answers
