"""make compare: with Postfix, small; that it leaves nothing behind; what it says when it can't; its
verdict."""
import argparse
import glob
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from daemon import wait_for
from sanitizer import BUILD, PATIENCE, ROOT

sys.path.insert(0, os.path.join(ROOT, "bench"))
import compare  # noqa: E402
from peers import ENGINES, packages, space, verdict  # noqa: E402
from peers.adapter import HERE, Missing, Setting, lines  # noqa: E402

COMMAND = [sys.executable, os.path.join(ROOT, "bench", "compare.py"), "--build", BUILD]


def run(*options, seconds=120, **kw):
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=seconds * PATIENCE,
                          **kw)


@pytest.fixture
def disk(tmp_path_factory):
    """A directory on a real disk, which pytest's own need not be."""
    above = os.environ.get("TMPDIR", "/var/tmp")
    directory = tempfile.mkdtemp(prefix="test-compare-", dir=above)
    yield directory
    assert not os.listdir(directory), "the comparison left its work behind"
    os.rmdir(directory)


def mentions(text):
    """Processes with the text in their command line, this one aside."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                line = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and f"/{os.getpid()}/" not in path:
            found.append(line)
    return found


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="make compare needs root")


@needs_root
def test_with_postfix(disk, tmp_path):
    result = tmp_path / "compare.json"
    ran = run("postfix", "--runs", "1", "--messages", "200", "--seconds", "0", "--directory", disk,
              "--json", str(result))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads(result.read_text())
    assert told["failed"] == {} and told["goal"]["reached"] is None and told["goal"]["ratio"] > 0
    for name, version in (("postrider", "Postrider "), ("postfix", "Postfix 3.")):
        engine = told["engines"][name]
        figures = {key: spread["median"] for key, spread in engine["figures"].items()}
        assert engine["version"].startswith(version) and engine["violations"] == [0]
        assert figures["messages"] == 200 and figures["delivered_a_second"] > 1
        assert figures["engine_cpu_s"] > 0 and figures["memory_mib"] > 1 and figures["connections"] > 0
        assert name in ran.stdout
    assert told["engines"]["postfix"]["figures"]["processes"]["median"] > 10
    assert "in_flow_delay = 0" in ran.stdout and "TUNING_README" in ran.stdout
    assert "queue_directory" not in ran.stdout     # where things are is no tuning
    assert not mentions(space.WORK) and not mentions(disk)


@needs_root
def test_ended_midway_it_leaves_nothing(disk):
    process = subprocess.Popen([*COMMAND, "postfix", "--messages", "1000000", "--directory", disk],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        if "run 1" in line:
            break
    wait_for(lambda: any("postriderd" in line for line in mentions(space.WORK)), 30, "the daemon to run")
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30 * PATIENCE) == 128 + signal.SIGTERM
    process.stdout.close()
    assert not mentions(space.WORK) and not mentions(disk)


@pytest.mark.parametrize("options, says", [
    (["sendmail"], "no peer 'sendmail'"),
    (["postrider"], "no peer 'postrider'"),
    (["--runs", "0"], "want 1 or more"),
    (["--directory", "/dev/shm"], "a queue that forgets measures nothing"),
])
def test_refusals(options, says):
    ran = run(*options)
    assert ran.returncode == 2 and says in ran.stderr, ran.stdout + ran.stderr


def test_a_peer_that_was_asked_for_and_is_missing():
    ran = run("kumomta", env={**os.environ, "KUMOMTA": "/nonexistent"})
    assert ran.returncode == 1 and "where KUMOMTA names its binary" in ran.stderr and ran.stdout == ""


def test_it_says_that_it_needs_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit, match="needs root.*sudo make compare"):
        space.enter([], {})


def test_a_package_that_does_not_exist(tmp_path):
    with pytest.raises(Missing, match="apt-get"):
        packages.debian(str(tmp_path), "none", ["postrider-has-no-such-package"], ["/nonexistent/program"])
    assert packages.debian(str(tmp_path), "sh", ["dash"], ["/bin/sh"]) == []


def test_users_are_made_up_where_absent():
    files = space.with_users({"root": ["root"], "someone-new": ["someone-new", "another-new"]})
    passwd = {line.split(":")[0]: line.split(":") for line in files["passwd"].splitlines()}
    group = {line.split(":")[0]: line.split(":") for line in files["group"].splitlines()}
    assert passwd["root"][2] == "0" and passwd["someone-new"][3] == group["someone-new"][2]
    ids = [row[2] for row in group.values()]
    assert len(ids) == len(set(ids)) and "another-new" in group


def test_lines_are_what_is_printed():
    settings = [Setting("a = {directory}/x", HERE, "page"), Setting("b = { c }", "why", "page")]
    assert lines(settings, directory="/d") == "a = /d/x\nb = { c }\n"
    for engine in ENGINES.values():
        assert engine.DURABILITY, engine.name
        assert all(setting.reason and setting.page for setting in engine.SETTINGS), engine.name


def outcome(postrider, postfix, messages=20000, seconds=10.0):
    base = {figure: 1.0 for figure in verdict.COLUMNS}
    base.update({"version": "1", "violations": 0})
    runs = {ENGINES[name]: [{**base, "delivered_a_second": rate} for rate in rates]
            for name, rates in (("postrider", postrider), ("postfix", postfix)) if rates}
    return verdict.Outcome(runs, {}, {}, argparse.Namespace(messages=messages, seconds=seconds, runs=3))


def test_verdict_is_of_medians():
    reached = outcome([100, 30000, 31000], [1000, 1000, 900])
    assert reached.ratio("postfix") == 30 and reached.reached is True
    assert "reached: 30.0 times" in reached.text()
    missed = outcome([29999], [1000])
    assert missed.reached is False and "MISSED: 30.0 times" in missed.text()
    assert outcome([30000], [1000], messages=200).reached is None
    assert outcome([30000], [1000], seconds=0).reached is None
    assert outcome([], [1000]).ratio("postfix") is None and outcome([30000], []).reached is None


def test_runs_grow_until_long_enough():
    args = argparse.Namespace(seconds=10)
    assert compare.enough({"seconds": 10.0, "messages": 20000}, args) is None
    assert compare.enough({"seconds": 1.0, "messages": 20000}, args) == 241000
    assert compare.enough({"seconds": 0.001, "messages": 20000}, args) == compare.MESSAGES_MOST
    assert compare.enough({"seconds": 1.0, "messages": compare.MESSAGES_MOST}, args) is None
