#!/usr/bin/python3
"""Measures Postrider on this machine: the daemon, the load and the receivers (bench/world) share its cores.

usage: bench/run.py [--build build] [--runs 3] [--json FILE] [SCENARIO…]   (default: all)

State is on a real disk (tmpfs is refused), every commit synced, as always. Receivers read and digest every
byte. Each scenario runs several times on a fresh state directory; the table gives the median and, in
brackets, lowest and highest.
  one-site       1,000,000 recipients of one job, merged 4 KiB, 1,000 domains at one site, 100 connections
  thousand-sites the same with 1,000 domains at 1,000 sites, 10 connections to each
  slow           10,000 sessions at once to hosts that take 200 ms a reply: held steadily? memory a session
  restart        1,000,000 queued, kill -9, start: time to the first delivery"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "integration"))
from daemon import Daemon, wait_for  # noqa: E402
from world import World  # noqa: E402

RECIPIENTS = 1_000_000
MESSAGE_BYTES = 4096


def message():
    """A merged text of about 4 KiB with three variables."""
    head = ("From: Bench <news@bench.test>\r\nTo: {{to}}\r\nSubject: Hello {{name}}\r\n\r\n"
            "Dear {{name}}, number {{number}}\r\n")
    line = "The quick brown fox jumps over the lazy dog while the band plays on.\r\n"
    return head + line * ((MESSAGE_BYTES - len(head)) // len(line))


def write_job(path, domains, recipients=RECIPIENTS):
    with open(path, "w") as f:
        f.write(json.dumps({"from": "news@bench.test", "message": {"raw": message()}}) + "\n")
        for i in range(recipients):
            f.write('{"to":"u%07d@%s","vars":{"name":"Name %d","number":%d}}\n' % (i, domains(i), i, i))


class Memory(threading.Thread):
    """The highest RssAnon + RssShmem of a process, and the rest of its memory apart."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.file, self.now, self.over = pid, 0, 0, 0, False

    def run(self):
        while not self.over:
            try:
                fields = dict(line.split(":", 1) for line in open(f"/proc/{self.pid}/status"))
            except OSError:
                return
            kib = lambda name: int(fields.get(name, "0 kB").split()[0])  # noqa: E731
            self.now = kib("RssAnon") + kib("RssShmem")
            self.peak, self.file = max(self.peak, self.now), max(self.file, kib("RssFile"))
            time.sleep(0.05)


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def socket_memory_kib():
    pages = 0
    for line in open("/proc/net/sockstat"):
        words = line.split()
        if "mem" in words:
            pages += int(words[words.index("mem") + 1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def upload(daemon, path):
    """Seconds from the first byte to the answer."""
    start = time.monotonic()
    command = ["curl", "-sS", "--unix-socket", daemon.socket, "-T", path, "http://postrider/v1/jobs"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    took = time.monotonic() - start
    answer = json.loads(run.stdout)["jobs"][0]
    return answer["job"], answer["accepted"], took


def config(world, connections=100):
    return (f'dns: {{ servers: ["{world.dns[0]}:{world.dns[1]}"] }}\n'
            f"sites:\n  - {{ name: default, port: {world.smtp_port}, max_connections: {connections} }}\n")


def bulk(sites):
    if sites == 1:
        scenario = {"hosts": [{"name": "mx.big.test", "address": "127.0.9.1"}],
                    "domains": [{"name": "d{0..999}.test", "mx": [[10, "mx.big.test"]]}]}
    else:
        scenario = {"hosts": [{"name": "mx.h{0..999}.test", "addresses": "127.0.9.1..1000"}],
                    "domains": [{"name": "d{0..999}.test", "mx": [[10, "mx.h{0..999}.test"]]}]}

    def run(directory, job):
        world = World.start(scenario)
        daemon = Daemon(config(world, connections=100 if sites == 1 else 10), directory=directory).start()
        memory = Memory(daemon.process.pid)
        memory.start()
        try:
            begin = time.monotonic()
            ident, accepted, took = upload(daemon, job)
            assert accepted == RECIPIENTS, accepted
            daemon.wait_counts(ident, 600, delivered=RECIPIENTS)
            whole = time.monotonic() - begin
            figures = {
                "accepted a second": accepted / took,
                "delivered a second": RECIPIENTS / whole,
                "daemon's memory, MiB": memory.peak / 1024,
                "daemon's file pages, MiB": memory.file / 1024,
                "daemon's CPU, s": cpu_seconds(daemon.process.pid),
                "receivers' CPU, s": cpu_seconds(world.process.pid),
            }
            totals = world.stats()["totals"]
            assert totals["recipients"] == RECIPIENTS, totals
            assert totals["violations"]["total"] == 0, totals["violations"]
            daemon.stop()
            return figures
        finally:
            memory.over = True
            end(daemon, world)
    return run, lambda i: f"d{i % 1000}.test"


def slow():
    scenario = {"hosts": [{"name": "mx.slow.test", "addresses": "127.0.9.1..10", "reply_delay_ms": 200}],
                "domains": [{"name": "d{0..99}.test", "mx": [[10, "mx.slow.test"]]}]}
    sessions = 10_000

    def run(directory, job):
        world = World.start(scenario)
        daemon = Daemon(config(world, connections=sessions), directory=directory).start()
        memory = Memory(daemon.process.pid)
        memory.start()
        try:
            time.sleep(0.5)
            before, sockets_before = memory.now, socket_memory_kib()
            ident, _, _ = upload(daemon, job)
            wait_for(lambda: daemon.status()["sessions"] >= sessions * 0.99, 60, "10,000 sessions")
            time.sleep(2)
            first = world.stats()["totals"]
            held, start = [], time.monotonic()
            while time.monotonic() - start < 10:
                held.append(daemon.status()["sessions"])
                time.sleep(0.1)
            seconds = time.monotonic() - start
            last = world.stats()["totals"]
            figures = {
                "sessions held": statistics.median(held),
                "fewest sessions": min(held),
                "KiB a session": (memory.peak - before) / max(held),
                "kernel socket memory, MiB": (socket_memory_kib() - sockets_before) / 1024,
                "delivered a second": (last["messages"] - first["messages"]) / seconds,
            }
            daemon.post(f"/v1/jobs/{ident}/cancel")
            daemon.stop(60)
            return figures
        finally:
            memory.over = True
            end(daemon, world)
    return run, lambda i: f"d{i % 100}.test"


def restart():
    scenario = {"hosts": [{"name": "mx.h{0..99}.test", "addresses": "127.0.9.1..100"}],
                "domains": [{"name": "d{0..99}.test", "mx": [[10, "mx.h{0..99}.test"]]}]}

    def run(directory, job):
        world = World.start(scenario)
        world.host("*", "refuse", True)  # nobody listens: all of it stays queued
        daemon = Daemon(config(world), directory=directory).start()
        try:
            upload(daemon, job)
            queued = daemon.status()["queued"]
            assert queued == RECIPIENTS, queued
            daemon.kill()
            world.host("*", "refuse", False)
            begin = time.monotonic()
            daemon.start(wait=False)
            while world.stats()["totals"]["messages"] == 0:
                assert time.monotonic() - begin < 60, daemon.read_log()
                time.sleep(0.002)
            figures = {"seconds to the first delivery": time.monotonic() - begin,
                       "queued at the start": queued}
            wait_for(daemon.is_up, 20, "the daemon")
            daemon.stop(60)
            return figures
        finally:
            end(daemon, world)
    return run, lambda i: f"d{i % 100}.test"


def end(daemon, world):
    if daemon.process.poll() is None:
        daemon.process.kill()
        daemon.process.wait(30)
    world.stop()


SCENARIOS = {"one-site": lambda: bulk(1), "thousand-sites": lambda: bulk(1000), "slow": slow,
             "restart": restart}


def number(x):
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:,.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json")
    parser.add_argument("--directory", default="/var/tmp", help="where state lives: a real disk")
    parser.add_argument("scenarios", nargs="*", default=list(SCENARIOS))
    args = parser.parse_args()
    stat = subprocess.run(["stat", "-f", "-c", "%T", args.directory], capture_output=True, text=True)
    kind = stat.stdout.strip()
    if kind in ("tmpfs", "ramfs"):
        sys.exit(f"bench: {args.directory} is {kind}: a queue that forgets measures nothing; "
                 "give --directory on a disk")
    print(f"{os.cpu_count()} cores, state on {kind}, message {len(message())} bytes before merging, no TLS, "
          "no DKIM,")
    print("every commit synced; daemon, load and receivers on the same machine; "
          f"{args.runs} runs: median [lowest, highest]")
    results = {}
    for name in args.scenarios:
        run, domains = SCENARIOS[name]()
        work = tempfile.mkdtemp(prefix="postrider-bench-", dir=args.directory)
        try:
            job = os.path.join(work, "job.ndjson")
            write_job(job, domains)
            runs = []
            for n in range(args.runs):
                directory = os.path.join(work, str(n))
                os.mkdir(directory)
                runs.append(run(directory, job))
                shutil.rmtree(directory, ignore_errors=True)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        print(f"\n{name}")
        results[name] = {}
        for figure in runs[0]:
            values = [r[figure] for r in runs]
            results[name][figure] = {"median": statistics.median(values), "runs": values}
            print(f"  {figure:32} {number(statistics.median(values)):>12}  "
                  f"[{number(min(values))}, {number(max(values))}]")
        sys.stdout.flush()
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"cores": os.cpu_count(), "filesystem": kind, "runs": args.runs, "results": results},
                      f, indent=1)


if __name__ == "__main__":
    main()
