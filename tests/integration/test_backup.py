"""A copy of the queue made while mail runs, and a daemon that goes on from it."""
import os
import shutil
import threading

from conftest import ONE_DOMAIN, host
from daemon import Daemon, job, wait_for

RETRY = 'retry:\n  - { status: "4", schedule: [2s], give_up: 1h }\n'


def restored(daemon, backup):
    """Another daemon, on a copy of the backup."""
    other = Daemon("")
    shutil.copytree(backup, other.state)
    with open(daemon.config) as f:
        text = f.read()
    with open(other.config, "w") as f:
        f.write(text.replace(daemon.directory, other.directory))
    return other


def test_backup_of_a_busy_queue_holds_all_that_was_accepted(scene):
    s = scene(host(latency_ms=20, greylist=1), ONE_DOMAIN, config=RETRY)
    daemon = s.daemon
    sizes = {}

    def submit(n, size):
        answer = daemon.submit(job(bounces="report"), [f"u{n}-{i}@a.test" for i in range(size)])
        assert answer.status == 202, answer
        sizes[answer.json["jobs"][0]["job"]] = size

    submit(0, 3000)
    for n in range(1, 40):
        submit(n, 1 + n % 3)
    backup = os.path.join(daemon.directory, "backup")
    made = daemon.cli("backup", backup)
    assert made.returncode == 0 and made.stdout.startswith(backup + ": "), made
    assert not os.path.exists(backup + ".part")
    before = dict(sizes)
    submit(99, 5)  # after it
    with restored(daemon, backup) as other:
        for number, size in before.items():
            assert other.job(number)["total"] == size
        assert other.status()["accepted"] == sum(before.values())
        wait_for(lambda: other.status()["queued"] == 0, 60, "the copy to send all that was left")
        events = [(e["rid"], e["type"]) for e in other.events()]
        for end in ("accepted", "delivered"):
            ended = [rid for rid, kind in events if kind == end]
            assert len(ended) == len(set(ended)) == sum(before.values())
    wait_for(lambda: daemon.status()["queued"] == 0, 60, "the queue itself to go on")
    assert daemon.status()["delivered"] == sum(sizes.values())


def test_backup_says_why_not(scene):
    s = scene(host(), ONE_DOMAIN)
    directory = s.daemon.directory
    there = s.daemon.cli("backup", directory)
    assert there.returncode == 1 and "is there already" in there.stderr, there
    above = s.daemon.cli("backup", os.path.join(directory, "a", "b"))
    assert above.returncode == 1 and "the directory above must be there" in above.stderr, above
    assert s.daemon.post("/v1/backup").status == 400
    relative = s.daemon.post("/v1/backup?directory=x")
    assert relative.status == 409 and "whole path" in relative.json["error"]["reason"], relative
    assert s.daemon.get("/v1/backup").json["state"] == "failed"
    # What is somebody else's is left alone; what an earlier one left unfinished is no hindrance.
    os.makedirs(os.path.join(directory, "c.part", "other"))
    taken = s.daemon.cli("backup", os.path.join(directory, "c"))
    assert taken.returncode == 1 and "c.part is in the way" in taken.stderr, taken
    os.mkdir(os.path.join(directory, "b.part"))
    open(os.path.join(directory, "b.part", "data.mdb"), "w").close()
    made = s.daemon.post(f"/v1/backup?directory={directory}/b")
    assert made.status == 200 and made.json["state"] == "done" and made.json["bytes"] > 0, made
    assert os.listdir(os.path.join(directory, "b")) == ["data.mdb"]


def test_a_stop_ends_a_backup(scene):
    """Whole or not there; and what a later one is called is free."""
    s = scene(host(), ONE_DOMAIN)
    daemon = s.daemon
    for n in range(20):
        daemon.submit(job(), [f"u{n}-{i}@a.test" for i in range(1000)])
    backup = os.path.join(daemon.directory, "backup")
    asked = threading.Thread(target=daemon.cli, args=("backup", backup))
    asked.start()
    wait_for(lambda: os.path.exists(backup + ".part") or os.path.exists(backup), 20, "the copy to begin")
    daemon.stop()
    asked.join()
    assert not os.path.exists(backup + ".part")
    assert not os.path.exists(backup) or os.listdir(backup) == ["data.mdb"]
    daemon.start()
    again = daemon.cli("backup", backup + "2")
    assert again.returncode == 0, again
