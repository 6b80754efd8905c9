"""Stores with a history, made by the daemon itself, as a user's would be.

    backlog   so many recipients in 200 jobs over 1,000 domains, every one tried by SMTP and answered 452
              4.2.2; their next attempt is weeks away
    aged      a copy of that, drained out of order: half of the jobs are cancelled and all domains retried and
              delivered, both in one shuffled order, until nothing is queued; then the ended jobs are purged,
              which leaves LMDB's free list scattered over the whole file (at 100,000 recipients 8,678 of
              9,822 pages were free, in 8,485 runs)

Building ten million takes minutes, so that --keep DIR keeps them from one bench to the next. Each measurement
gets a copy (sparse, on disk before it begins)."""
import json
import os
import random
import shutil
import subprocess
import tempfile
import time

from .processes import Daemon, Tool, Trouble, World

JOBS, DOMAINS, PATTERN = 200, 1000, "b{0..999}.test"
BUILD_S = 7200
STILL_S = 120
OLD_S = 20 * 86400       # the retries are due after 30 days
HOST = {"name": "mx.past.test", "address": "127.0.9.250"}
SITE = {"name": "default", "max_connections": 50, "max_messages_per_connection": 0}


class Stores:
    def __init__(self, build, keep, work, say):
        self.build, self.directory, self.say = build, keep or os.path.join(work, "stores"), say
        os.makedirs(self.directory, exist_ok=True)

    def place(self, kind, recipients, state):
        """A copy as the state directory `state`, which must not exist yet."""
        copy(self.ready(kind, recipients), state)

    def ready(self, kind, recipients):
        """Where the store lies; it is built if it isn't there."""
        path = os.path.join(self.directory, f"{kind}-{recipients}")
        made = os.path.join(path, "made.json")
        if os.path.exists(made) and time.time() - os.path.getmtime(made) < OLD_S:
            return path
        shutil.rmtree(path, ignore_errors=True)
        before = self.ready("backlog", recipients) if kind == "aged" else None
        self.say(f"building the store {kind}-{recipients} in {self.directory}")
        start = time.monotonic()
        work = tempfile.mkdtemp(prefix="building-", dir=self.directory)
        try:
            if before:
                copy(before, os.path.join(work, "state"))
            (build_aged if before else build_backlog)(self.build, work, recipients)
            os.mkdir(path)
            os.rename(os.path.join(work, "state", "data.mdb"), os.path.join(path, "data.mdb"))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        took = time.monotonic() - start
        with open(made, "w") as f:
            json.dump({"kind": kind, "recipients": recipients, "seconds": round(took, 1),
                       "bytes": os.path.getsize(os.path.join(path, "data.mdb"))}, f)
        self.say(f"built {kind}-{recipients} in {took:,.0f} s")
        return path


def copy(source, state):
    os.makedirs(state, mode=0o750)
    target = os.path.join(state, "data.mdb")
    argv = ["cp", "--sparse=always", "--reflink=auto", os.path.join(source, "data.mdb"), target]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=BUILD_S)
    if run.returncode != 0:
        raise Trouble(f"cannot copy the store: {run.stderr.strip()}")
    fd = os.open(target, os.O_RDONLY)
    try:
        os.fsync(fd)    # or it is written while the measurement runs
        # A copy lies in the page cache in pieces of up to 2 MiB, of which each write of a page goes through
        # all (Linux 6.16 and newer); the daemon's own writes make small ones. It starts with none instead.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def wait_until(daemon, done, what):
    """Polls the status until done(status); it may take long, but must move."""
    deadline = time.monotonic() + BUILD_S
    moved, last = time.monotonic(), None
    while True:
        status = daemon.status()
        if done(status):
            return
        state = tuple(status[key] for key in ("accepted", "queued", "deferred", "delivered", "jobs"))
        if state != last:
            moved, last = time.monotonic(), state
        if time.monotonic() > min(deadline, moved + STILL_S):
            raise Trouble(f"waited for {what}: {json.dumps(status)}")
        time.sleep(0.1)


def build_backlog(build, work, recipients):
    text = {"hosts": [{**HOST, "full": "*"}], "domains": [{"name": PATTERN, "mx": [[10, HOST["name"]]]}]}
    config = {"queue": {"lifetime": "365d"}, "retry": [{"status": "4", "schedule": ["30d"]}], "sites": [SITE]}
    jobs = min(JOBS, max(1, recipients // 10))
    with World(build, text, work) as world, Daemon(build, config, world, work) as daemon:
        for n in range(jobs):
            first, end = recipients * n // jobs, recipients * (n + 1) // jobs
            argv = [os.path.join(build, "load"), "bulk", "--unmerged", "--socket", daemon.socket, "--size",
                    "1024", "--domains", PATTERN, "--first", str(first), "--recipients", str(end - first)]
            with Tool("load", argv, work) as load:
                load.result(STILL_S)
        wait_until(daemon, lambda status: status["deferred"] == recipients, "all to be deferred")
        daemon.stop(300)
        world.end()


def build_aged(build, work, recipients):
    text = {"hosts": [HOST], "domains": [{"name": PATTERN, "mx": [[10, HOST["name"]]]}]}
    config = {"queue": {"lifetime": "365d", "retain": "1s"}, "sites": [SITE]}
    with World(build, text, work) as world, Daemon(build, config, world, work) as daemon:
        jobs = [job["job"] for job in daemon.ask("GET", "/v1/jobs?limit=1000")["jobs"]]
        dice = random.Random(recipients)
        steps = [f"/v1/jobs/{job}/cancel" for job in dice.sample(jobs, len(jobs) // 2)]
        steps += [f"/v1/queue/retry?domain={PATTERN.replace('{0..999}', str(n))}" for n in range(DOMAINS)]
        dice.shuffle(steps)
        for step in steps:
            daemon.operate(step, STILL_S)
        wait_until(daemon, lambda status: status["queued"] == 0, "the backlog to drain")
        wait_until(daemon, lambda _: not daemon.ask("GET", "/v1/jobs")["jobs"], "ended jobs to be purged")
        daemon.stop(300)
        world.end()
