"""Everybody at once: jobs come, operators look at everything and steer, receivers misbehave, and the daemon
is stopped in the middle. Looked for are a crash, a wrong count, and under the sanitizers any report."""
import random
import threading
import time

from daemon import job, wait_for

HOSTS = [
    {"name": "mx.good.test", "address": "127.0.8.10", "reply_delay_ms": 2, "starttls": "good"},
    {"name": "mx.grey.test", "address": "127.0.8.11", "greylist": 0.5, "unknown_odds": 0.2},
    {"name": "mx.shaky.test", "address": "127.0.8.12", "close_at": "rcpt", "close_odds": 0.2,
     "messages_per_connection": 5},
    {"name": "mx.gone.test", "address": "127.0.8.13", "refuse": True},
    {"name": "mx.rate.test", "address": "127.0.8.14", "max_rate": 20, "max_connections": 2},
]
KINDS = ("good", "grey", "shaky", "gone", "rate")
DOMAINS = [{"name": f"d{{0..9}}.{kind}.test", "mx": [[10, f"mx.{kind}.test"]]} for kind in KINDS]
NAMES = [f"d{i}.{kind}.test" for kind in KINDS for i in range(10)]
CONFIG = """
workers: 4
retry:
  - { status: "4", schedule: [400ms], give_up: 3s }
  - { status: "4.4", schedule: [400ms], give_up: 3s }
  - { status: "4.7.1", schedule: [700ms] }
queue: { lifetime: 5s }
"""
CALLS = ["/v1/status", "/v1/sites", "/v1/jobs", "/v1/ops", "/metrics", "/healthz",
         "/v1/events?after=0&limit=200", "/v1/sites/good.test", "/v1/sites/rate.test",
         *(f"/v1/queue?by={by}" for by in ("domain", "site", "status", "tenant", "age")),
         *(f"/v1/explain?domain={name}" for name in NAMES[::7])]
OF_JOB = ["", "/recipients?limit=50", "/recipients?limit=50&state=deferred", "/bounces",
          "/bounces?format=csv"]
STEERING = ["/pause", "/resume", "/retry", "/cancel"]


def test_everybody_at_once(scene):
    s = scene(HOSTS, DOMAINS, config=CONFIG,
              site="dead_host_delay: 300ms, dead_host_delay_max: 1s, max_connections: 8")
    over, failures, jobs = threading.Event(), [], []

    def crowd(work, seed):
        rng = random.Random(seed)
        try:
            while not over.is_set():
                work(rng)
        except Exception as e:  # noqa: B902: the test says it
            failures.append(repr(e))

    def inject(rng):
        kind = rng.random()
        people = [f"u{rng.randrange(10**6)}@{rng.choice(NAMES)}" for _ in range(1 if kind < 0.5 else 40)]
        fields = {"tenant": rng.choice(["acme", "beta"]), "bounces": rng.choice(["dsn", "report"]),
                  "class": "transactional" if kind < 0.3 else "bulk"}
        answer = s.daemon.submit(job(**fields), people)
        assert answer.status == 202, answer
        jobs.append(answer.json["jobs"][0]["job"])
        time.sleep(0.02)

    def look(rng):
        path = rng.choice(CALLS)
        if jobs and rng.random() < 0.5:
            ident = rng.choice(jobs)
            first = f"{ident}-0-0"
            path = rng.choice([f"/v1/jobs/{ident}{what}" for what in OF_JOB] + [
                f"/v1/recipients/{first}", f"/v1/recipients/{first}/message", f"/v1/explain?rid={first}"])
        answer = s.daemon.get(path)
        assert answer.status in (200, 404), (path, answer)

    def steer(rng):
        time.sleep(0.05)
        if jobs:
            path = rng.choice([f"/v1/jobs/{rng.choice(jobs)}{rng.choice(STEERING)}",
                               f"/v1/queue/retry?domain={rng.choice(NAMES)}"])
            answer = s.daemon.post(path)
            assert answer.status in (200, 202, 409), (path, answer)

    threads = [threading.Thread(target=crowd, args=(work, seed))
               for seed, work in enumerate([inject, look, look, look, steer])]
    for thread in threads:
        thread.start()
    time.sleep(3)
    over.set()
    for thread in threads:
        thread.join(60)
    assert not failures, failures
    s.daemon.stop()  # in the middle
    s.daemon.start()
    for ident in jobs:
        s.daemon.post(f"/v1/jobs/{ident}/resume")
    wait_for(lambda: s.daemon.status()["queued"] == 0, 40, "everyone to end")
    counts = {"delivered": 0, "bounced": 0, "expired": 0, "cancelled": 0, "total": 0}
    for ident in jobs:
        row = s.daemon.job(ident)
        assert row["queued"] == 0, row
        for name in counts:
            counts[name] += row["total"] if name == "total" else row["counts"][name]
    assert counts["total"] == sum(n for name, n in counts.items() if name != "total"), counts
    assert counts["delivered"] and counts["cancelled"] and counts["bounced"] + counts["expired"], counts
    seen = set()
    for event in s.daemon.events():
        if event["job"] in jobs and event["type"] in ("delivered", "bounced", "expired", "cancelled"):
            assert event["rid"] not in seen, event
            seen.add(event["rid"])
    assert len(seen) == counts["total"]
