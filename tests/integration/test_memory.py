"""Memory taken away and given back: tests/resources/memory.py, small."""
import os
import sys

import pytest
from daemon import ROOT
from sanitizer import KIND, TINY

sys.path.insert(0, os.path.join(ROOT, "tests", "resources"))
import memory  # noqa: E402


def test_no_memory_left():
    if KIND:
        pytest.skip("a sanitizer wants to be loaded first")
    if TINY:
        pytest.skip("with its small limits the daemon asks for too little to be refused any")
    figures, problems = memory.run(recipients=3000, sessions=60, seconds=1)
    assert not problems, (figures, problems)
