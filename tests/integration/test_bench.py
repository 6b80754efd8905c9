"""The bench's runner, small: that its scenarios run, its figures are there, and what must fail fails."""
import json
import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from sanitizer import BUILD, PATIENCE, ROOT

sys.path.insert(0, os.path.join(ROOT, "bench"))
from suite import report, scenario  # noqa: E402

DISK = os.environ.get("TMPDIR", "/var/tmp")


def bench(*options, build=BUILD):
    return subprocess.run([sys.executable, os.path.join(ROOT, "bench", "run.py"), "--build", build,
                           "--directory", DISK, *options],
                          capture_output=True, text=True, timeout=120 * PATIENCE)


def test_scenarios_run(tmp_path):
    """Every flow, both stores with a history, all forms of output."""
    out = {kind: str(tmp_path / f"bench.{kind}") for kind in ("json", "svg")}
    run = bench("--recipients", "400", "--runs", "1", "--json", out["json"], "--svg", out["svg"],
                "bulk-merged", "bulk-unmerged", "accept-jobs/held", "transactional/half-load", "restart", "slow",
                "backlog/deferred", "large/bulk")
    assert run.returncode == 0, run.stdout + run.stderr
    with open(out["json"], encoding="utf-8") as f:
        whole = json.load(f)
    assert whole["failed"] == [] and whole["machine"]["sync_ms"] > 0
    figures = {(name, case["case"]): case["figures"] for name, entry in whole["scenarios"].items()
               for case in entry["cases"]}
    assert set(figures) == {
        ("bulk-merged", ""), ("bulk-unmerged", ""), ("accept-jobs", "held"), ("restart", ""), ("slow", ""),
        ("transactional", "16-connections"), ("transactional", "half-load"), ("backlog", "empty"),
        ("backlog", "deferred"), ("large", "bulk")}
    merged = figures["bulk-merged", ""]
    assert merged["of_raw"]["median"] == pytest.approx(
        merged["delivered_a_second"]["median"] / merged["raw_a_second"]["median"])
    assert merged["daemon_memory_mib"]["median"] > 0 and merged["seconds"]["median"] > 0
    assert figures["transactional", "half-load"]["latency_p99_ms"]["median"] > 0
    assert figures["slow", ""]["sessions"]["median"] == 4
    assert figures["backlog", "deferred"]["of_compared"]["median"] > 0
    assert all(goal["reached"] is None for goal in whole["goals"]), "a trial is not judged"
    assert "backlog/deferred" in "".join(ElementTree.parse(out["svg"]).getroot().itertext())
    assert "nothing is judged" in run.stdout and "fdatasync" in run.stdout


def test_messages():
    run = subprocess.run([os.path.join(BUILD, "message_bench"), "0.02", "1"], capture_output=True, text=True,
                         timeout=60 * PATIENCE)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert [line.split(",")[0] for line in lines] == (
        ["rendering base64", "rendering quoted-printable"] + 3 * ["rsa-sha256"] + 3 * ["ed25519-sha256"])
    assert all(re.search(r": [1-9]\d*%$", line) for line in lines[2:]), lines


def test_wrong_delivery_fails(tmp_path):
    """A digest that differs fails the case; what `load check` takes for meant is changed here."""
    for name in ("postriderd", "world", "raw"):
        os.symlink(os.path.join(BUILD, name), tmp_path / name)
    load = tmp_path / "load"
    load.write_text(f'#!/bin/sh\nreal="{BUILD}/load"\n[ "$1" = check ] || exec "$real" "$@"\nshift\n'
                    'exec "$real" check "$@" --size 5000\n')
    load.chmod(0o755)
    run = bench("--recipients", "20", "--runs", "1", "accept-jobs/delivering", build=str(tmp_path))
    assert run.returncode == 1, run.stdout + run.stderr
    assert "FAILED  accept-jobs/delivering, run 1: what was delivered is not what was meant" in run.stdout


@pytest.mark.parametrize("options, reason", [
    (["--directory", "/dev/shm", "restart"], "is tmpfs: a queue that forgets measures nothing"),
    (["no-such"], "there is no scenario 'no-such'"),
    (["slow/none"], "slow has no case 'none'"),
])
def test_refusals(options, reason):
    run = bench(*options)
    assert run.returncode == 2 and reason in run.stderr, run.stdout + run.stderr


def test_goals_are_judged_by_medians():
    whole = scenario.Scale()
    [chosen] = scenario.load_all(os.path.join(ROOT, "bench", "scenarios"), ["slow"], whole)
    measured = ((0.9, 17), (0.96, 15), (0.99, 15.5))
    runs = [{"of_possible": share, "session_kib": kib} for share, kib in measured]
    result = report.Result(chosen.cases[0], runs)
    assert [verdict.reached for verdict in result.verdicts()] == [True, True]
    text = report.summary_text([result], [], whole, 3)
    assert "at least 95.0%  96.0%  [90.0%, 99.0%]" in text and "MISSED" not in text
    result = report.Result(chosen.cases[0], [{"of_possible": 0.94, "session_kib": 16.1}])
    assert [verdict.reached for verdict in result.verdicts()] == [False, False]
    assert report.summary_text([result], [], whole, 1).count("MISSED") == 2


def test_scenario_files_are_sound():
    """All of them, and that a mistake is found before anything runs."""
    directory = os.path.join(ROOT, "bench", "scenarios")
    chosen = scenario.load_all(directory, [], scenario.Scale())
    assert {"bulk-merged", "aged", "long-tail"} <= {each.name for each in chosen}
    keys = scenario.known_scenarios(directory)["slow"]
    for change, reason in (({"colour": 1}, "unknown key 'colour'"), ({"flow": "x"}, "flow is one of"),
                           ({"goals": [{"figure": "x", "at_least": 1}]}, "no figure is called 'x'"),
                           ({"compare": "x"}, "no case 'x' comes before it")):
        with pytest.raises(scenario.Trouble, match=reason):
            scenario.Scenario("slow", {**keys, **change}, scenario.Scale())
