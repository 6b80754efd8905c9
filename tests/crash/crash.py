#!/usr/bin/python3
"""Kills the daemon at random moments while mail runs, and then holds all it says against itself.

usage: tests/crash/crash.py [--rounds N] [--recipients N] [--seed N]    (make crash ROUNDS=1000)

A world of receivers greylists, is full, knows no such user, loses replies and closes connections. In each
round the daemon is started, handed jobs (one of many recipients, some of one, some with a short lifetime,
some cancelled), and killed with SIGKILL after a random time: during its recovery, an upload, or delivery. A
webhook, which fails now and then in ways of its own, outlives all that. What was not answered is handed in
again with its idempotency key. In the end the daemon is left alone until everything has ended and the webhook
has read all.

What must hold then:
  accepted     every recipient handed in is in the queue exactly once: the jobs' totals are what was sent
  ends once    each has one event `accepted` and one of an end, none before the first and none after the end
  at least     the webhook was sent every sequence number from 1 to the last
  in order     whenever it was sent one for the first time, it had been sent all before it
  the same     an event that was sent again is, byte for byte, what it was
  counters     by job, state and enhanced status, and the totals of /v1/status, are the sums of the events
  delivered    what is said to be delivered was accepted by a receiver
"""
import argparse
import collections
import json
import os
import random
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))
from daemon import Daemon, job, wait_for  # noqa: E402
from receiver import Receiver  # noqa: E402
from world import World  # noqa: E402

KINDS = {
    "good": {"latency_ms": 10},
    "grey": {"latency_ms": 10, "greylist": 1},
    "full": {"latency_ms": 10, "full_odds": 0.3},
    "gone": {"latency_ms": 10, "unknown_odds": 0.3},
    "bad": {"latency_ms": 10, "lose_reply_odds": 0.05, "close_at": "rcpt", "close_odds": 0.02},
}
CONFIG = """
default_replies: no
dns: {{ servers: ["{dns[0]}:{dns[1]}"], timeout: 2s }}
sites:
  - {{ name: default, port: {port}, idle_timeout: 1s, max_connections: 6, dead_host_delay: 200ms }}
retry:
  - {{ status: "4", schedule: [1s, 2s], give_up: 6s }}
consumers:
  - {{ name: hook, webhook: "{url}", linger: 20ms, batch: 200, retry: 20ms, retry_max: 200ms, timeout: 2s }}
"""
ENDS = {"delivered", "bounced", "expired", "cancelled", "suppressed"}
ROUND_MAX_S = 0.9  # of a daemon's life, and
EARLY_MAX_S = 0.06  # where it is killed early: about as long as it takes to be up
CANCELLED = 0.03  # the part of the bodies whose first job is cancelled at once
SOME_FIRST = 0.3  # the part of all recipients that is handed in at the beginning, in one job


class Hook:
    """What the webhook was sent, and its moods."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.events, self.again, self.problems = [], 0, []

    def problem(self, text):
        if len(self.problems) < 20:
            self.problems.append(text)

    def answer(self, request):
        mood = self.random.random()
        if mood < 0.05:
            return self.random.choice([500, 503, 429, "close"])
        for event in json.loads(request.plain)["events"]:
            self.see(event)
        return "close" if mood < 0.1 else 200  # taken, but the answer is lost

    def see(self, event):
        seq = event["seq"]
        text = json.dumps(event, sort_keys=True)
        if seq == len(self.events) + 1:
            self.events.append(text)
        elif seq > len(self.events):
            self.problem(f"in order: {seq} came when {len(self.events)} was the last")
        else:
            self.again += 1
            if self.events[seq - 1] != text:
                self.problem(f"the same: {seq} was {self.events[seq - 1]} and came as {text}")


class Source:
    """Jobs, until so many recipients are handed in; each body with a key, so that it may be repeated."""

    def __init__(self, rng, recipients, rounds, cancelled):
        self.random, self.left, self.number, self.cancelled = rng, recipients, 0, cancelled
        self.rounds_left = rounds
        self.first = int(recipients * SOME_FIRST)
        self.body = None  # under way: (key, jobs, lines)
        self.sent, self.jobs = 0, {}  # accepted: how many, of which job

    def address(self):
        self.number += 1
        return {"to": f"u{self.number}@{self.random.choice(list(KINDS))}.test"}

    def next_body(self):
        if self.body is None and self.left > 0:
            # So that mail runs in all rounds, however many bodies each of them has time for.
            n = self.first or max(1, self.left // max(1, self.rounds_left))
            singles = 0 if self.first else min(n // 4, 20)
            fields = {"lifetime": "1s"} if not self.first and self.random.random() < 0.15 else {}
            sizes = [n - singles] + [1] * singles
            lines = []
            for size in sizes:
                lines.append(job(bounces="report", **fields))
                lines += [self.address() for _ in range(size)]
            body = "".join(json.dumps(line) + "\n" for line in lines)
            self.body = (f"k{self.number}", sizes, body)
            self.left -= n
            self.first = 0
        return self.body

    def submit(self, daemon):
        """False: no answer."""
        if self.next_body() is None:
            return True
        key, sizes, body = self.body
        try:
            answer = daemon.post("/v1/jobs", body, headers={"Idempotency-Key": key}, timeout=20)
        except (OSError, ValueError, EOFError):
            return False
        except Exception as e:  # http.client's own
            if type(e).__module__ != "http.client":
                raise
            return False
        if answer.status in (409, 503, 507):
            return False
        assert answer.status == 202, answer
        done = answer.json["jobs"]
        assert [j["accepted"] for j in done] == sizes, (answer, sizes)
        for one, size in zip(done, sizes):
            self.jobs[one["job"]] = size
            self.sent += size
        self.body = None
        if self.random.random() < self.cancelled:
            try:
                daemon.post(f"/v1/jobs/{done[0]['job']}/cancel", timeout=5)
            except OSError:
                pass
        return True


def life(daemon, source, rng):
    """One start, some work, and the kill."""
    early = rng.random() < 0.2
    end = time.monotonic() + rng.uniform(0, EARLY_MAX_S if early else ROUND_MAX_S)
    daemon.start(wait=False)
    submitted = 0
    while time.monotonic() < end and submitted < 2:
        if source.submit(daemon):
            submitted += 1
        else:
            time.sleep(0.003)
        assert daemon.process.poll() is None, "the daemon ended:\n" + daemon.read_log()[-4000:]
    time.sleep(max(0, end - time.monotonic()))
    daemon.kill()


def check_recipients(events, problems):
    """Of each recipient by rid: its events in order. Returns job -> counts, job -> statuses, how many."""
    state, to = {}, {}
    counts = collections.defaultdict(collections.Counter)
    statuses = collections.defaultdict(collections.Counter)
    for event in events:
        rid, kind = event["rid"], event["type"]
        if kind == "accepted":
            if rid in state:
                problems.append(f"ends once: {rid} was accepted twice")
            state[rid], to[rid] = "ready", event["to"]
        elif rid not in state:
            problems.append(f"ends once: {rid} has {kind} before accepted")
        elif state[rid] in ENDS:
            problems.append(f"ends once: {rid} has {kind} (event {event['seq']}) after {state[rid]}")
        elif event["to"] != to[rid]:
            problems.append(f"the same: {rid} is {to[rid]} and {event['to']}")
        else:
            state[rid] = kind
        if kind in ENDS:
            counts[event["job"]][kind] += 1
            if kind in ("bounced", "expired"):
                statuses[event["job"]][event["status"]] += 1
    open_ones = [rid for rid, last in state.items() if last not in ENDS]
    if open_ones:
        problems.append(f"ends once: {len(open_ones)} have no end, such as {open_ones[:5]}")
    return counts, statuses, len(state)


def check_counters(daemon, source, counts, statuses, recipients, problems):
    total = collections.Counter()
    for number, size in source.jobs.items():
        info = daemon.job(number)
        told = {k: v for k, v in info["counts"].items() if v}
        if info["total"] != size or sum(told.values()) != size:
            problems.append(f"accepted: job {number} of {size} says {info['total']}, {told}")
        if told != dict(counts[number]):
            problems.append(f"counters: job {number} says {told}, its events {dict(counts[number])}")
        told = {s["status"]: s["count"] for s in info["statuses"]}
        if told != dict(statuses[number]):
            problems.append(f"counters: job {number} says {told}, its events {dict(statuses[number])}")
        total.update(counts[number])
    told = daemon.status()
    if told["accepted"] != source.sent or source.sent != recipients:
        problems.append(f"accepted: {source.sent} were handed in, the status says {told['accepted']}, "
                        f"the events {recipients}")
    for kind in ("delivered", "bounced", "expired"):
        if told[kind] != total[kind]:
            problems.append(f"counters: the status says {told[kind]} {kind}, the events {total[kind]}")
    if told["jobs"] or told["queued"] or told["deferred"] or told["in_flight"]:
        problems.append(f"counters: nothing is left, but the status says {told}")
    return total


def caught_up(daemon):
    answer = daemon.get("/v1/consumers").json
    return answer["last"] if answer["consumers"][0]["cursor"] == answer["last"] else None


def the_end(daemon, source, hook):
    """Left alone, until all has ended and the webhook has read all; what became of it, and the problems."""
    daemon.start()
    wait_for(lambda: source.submit(daemon) and source.left == 0 and source.body is None, 300,
             "the rest to be handed in")
    wait_for(lambda: daemon.status()["queued"] == 0, 900, "every recipient to end")
    last = wait_for(lambda: caught_up(daemon), 300, "the webhook to have read all")
    problems = hook.problems
    if len(hook.events) != last:
        problems.append(f"at least: the webhook was sent {len(hook.events)} of {last} events")
    counts, statuses, known = check_recipients(map(json.loads, hook.events), problems)
    total = check_counters(daemon, source, counts, statuses, known, problems)
    daemon.stop()
    return total, problems


def run(rounds, recipients, seed, say=lambda text: None, cancelled=CANCELLED):
    """Returns the figures and the problems."""
    rng = random.Random(seed)
    hook, source = Hook(seed), Source(rng, recipients, rounds, cancelled)
    hosts = [{"name": f"mx.{kind}.test", "address": f"127.0.7.{n + 2}", **character}
             for n, (kind, character) in enumerate(KINDS.items())]
    domains = [{"name": f"{kind}.test", "mx": [[10, f"mx.{kind}.test"]]} for kind in KINDS]
    above = tempfile.mkdtemp(prefix="postrider-crash-", dir=os.environ.get("TMPDIR", "/var/tmp"))
    begun = time.monotonic()
    with World.start({"hosts": hosts, "domains": domains}) as world, \
            Receiver(always=hook.answer, keep=False) as receiver:
        daemon = Daemon(CONFIG.format(dns=world.dns, port=world.smtp_port, url=receiver.url), above)
        try:
            for number in range(1, rounds + 1):
                life(daemon, source, rng)
                source.rounds_left -= 1
                if number % 50 == 0:
                    say(f"{number} kills, {source.sent} recipients accepted, {len(hook.events)} events")
            total, problems = the_end(daemon, source, hook)
        finally:
            if daemon.process.poll() is None:
                daemon.kill()
        delivered = [e["to"] for e in map(json.loads, hook.events) if e["type"] == "delivered"]
        took = collections.Counter(d.recipient for d in world.deliveries())
        lost = [to for to in delivered if to not in took]
        if lost:
            problems.append(f"delivered: {len(lost)} never arrived, such as {lost[:5]}")
    if not problems:
        shutil.rmtree(above)
    figures = {"rounds": rounds, "seed": seed, "recipients": recipients, "jobs": len(source.jobs),
               "events": len(hook.events), "sent_again": hook.again,
               "delivered_again": sum(took.values()) - len(delivered),
               "seconds": round(time.monotonic() - begun), "ends": dict(total)}
    return figures, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--recipients", type=int, default=0, help="default: 200 a round")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    figures, problems = run(options.rounds, options.recipients or 200 * options.rounds, options.seed,
                            lambda text: print(f"crash: {text}", flush=True))
    print(json.dumps(figures))
    for text in problems[:50]:
        print(f"crash: {text}")
    print(f"crash: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
