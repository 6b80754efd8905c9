#!/usr/bin/python3
"""Takes the daemon's memory away while it has 10,000,000 recipients in its queue and 10,000 sessions open.

usage: tests/resources/memory.py [--recipients N] [--sessions N] [--seconds N] [--directory DIR]
       (make memory MEMORY="…")

The limit is one of data (RLIMIT_DATA: heaps, stacks, and whatever else is private and writable), for at it
allocations fail, as they do where memory is not overcommitted. A control group does not refuse: at its limit
the kernel takes pages of files back, and then kills.

A third of the recipients is deferred, a third is of a tenant that is suspended, and a third goes to receivers
that take their time with each reply, over all the sessions. Meanwhile jobs keep coming: of one recipient, of
thousands, and by SMTP, to a thousand sites nobody wrote to before. Several times the limit is lowered to what
the daemon uses, and lifted again. In the end the receivers are quick, and everything goes out.

What must hold then:
  fired      allocations failed, and intake refused mail, with a reason each time
  alive      it was the same process from the first to the last
  recovers   soon after the limit is lifted mail is accepted, all the sessions are there, and all is delivered
  nothing lost, nothing twice
             every recipient that was acknowledged is there once, as the receivers, who compared every byte,
             and the daemon's counters say; nothing is that was refused. A receiver gets a message again only
             where a session could not read its reply: so many are counted, and few
  clean      descriptors are what they were
"""
import argparse
import collections
import contextlib
import http.client
import json
import mmap
import os
import resource
import shutil
import smtplib
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests", "integration"), os.path.join(ROOT, "bench")]
from daemon import BUILD, Daemon, UnixConnection, free_port, wait_for  # noqa: E402
from suite import space  # noqa: E402
from suite.processes import Tool, memory_of, raise_files  # noqa: E402
from world import World  # noqa: E402

SITE_SHARE = 10  # sites that nobody wrote to before: so many times fewer than sessions
BUDGET = 512 << 20  # bytes that the daemon may use beyond what it has when idle
BULK = 4000  # recipients of a large new job
SQUEEZES, SQUEEZES_MAX = 3, 10  # more than three only where nothing has failed
ACCEPT_S = 30  # until mail is accepted again,
SESSIONS_S = 60  # until the sessions are there,
DRAIN_S = 600  # and until all is delivered, once the limit is lifted
RESOLVER_FILES = 2 * (os.cpu_count() or 1)  # by which workers ask it, once they have mail
SIZE = 1024  # of a message
REPLY_MS = 500  # of the slow receivers
NUMBERS = 2_000_000  # at most, of recipients that come meanwhile
PLACE = struct.Struct("=QQ6Q")  # tests/faults/memory.c
PATTERNS = {"full": "f{0..99}.test", "later": "l{0..99}.test", "slow": "s{0..99}.test"}
CONFIG = """
dns: {{ servers: ["{dns[0]}:{dns[1]}"] }}
queue: {{ lifetime: 365d }}
sites:
  - {{ name: default, port: {port}, max_connections: {sessions}, max_messages_per_connection: 0,
      idle_timeout: 5s }}
retry:
  - {{ status: "4.2.2", schedule: [30d] }}
  - {{ status: "4", schedule: [2s] }}
submission:
  - {{ listen: "127.0.0.1:{smtp}", networks: [127.0.0.0/8] }}
"""


def scenario(sites):
    hosts = [{"name": "mx.full.test", "address": "127.1.0.1", "full": "*"},
             {"name": "mx.later.test", "address": "127.1.0.2"},
             {"name": "mx.slow.test", "addresses": "127.1.1.1..20", "reply_delay_ms": REPLY_MS},
             {"name": f"mx.q{{0..{sites - 1}}}.test", "addresses": f"127.2.0.1..{sites}"}]
    domains = [{"name": pattern, "mx": [[10, f"mx.{name}.test"]]} for name, pattern in PATTERNS.items()]
    domains += [{"name": f"q{{0..{sites - 1}}}.test", "mx": [[10, f"mx.q{{0..{sites - 1}}}.test"]]},
                {"name": "sender.test", "mx": [[10, "mx.later.test"]]}]
    return {"hosts": hosts, "domains": domains}


class Failures:
    """What tests/faults/memory.c saw."""

    def __init__(self, path):
        self.path = path
        open(path, "wb").close()
        self.environ = {**os.environ, "LD_PRELOAD": os.path.abspath(os.path.join(BUILD, "memory.so")),
                        "POSTRIDER_MEMORY": path}

    def read(self):
        with open(self.path, "rb") as f:
            content = f.read()
        places = list(PLACE.iter_unpack(content[8:]))
        calls = struct.unpack_from("=Q", content)[0] if content else 0
        return calls, [(place[1], [frame for frame in place[2:] if frame]) for place in places if place[1]]

    def places(self, pid):
        """The functions that were refused memory, with how often, most first; callers behind `<`."""
        with open(f"/proc/{pid}/maps") as f:
            maps = [line.split() for line in f if "/" in line]
        spans = [(*(int(end, 16) for end in m[0].split("-")), m[5], int(m[2], 16)) for m in maps]
        program, found = os.path.abspath(os.path.join(BUILD, "postriderd")), collections.Counter()

        def name(frame):
            for start, end, path, offset in spans:
                if start <= frame < end:
                    at = frame - 1 - start + offset
                    return names.get(at) if path == program else os.path.basename(path)
            return None
        hits = self.read()[1]
        base = min(start for start, _, path, _ in spans if path == program)
        top = max(end for _, end, path, _ in spans if path == program)
        inside = sorted({f - 1 - base for _, frames in hits for f in frames if base <= f < top})
        lines = subprocess.run(["addr2line", "-fe", program, *map(hex, inside)], capture_output=True,
                               text=True, check=True).stdout.splitlines()[::2]
        names = dict(zip(inside, lines))
        for count, frames in hits:
            found[" < ".join(n for n in map(name, frames) if n)] += count
        return found.most_common()


class Limit:
    def __init__(self, pid):
        self.pid = pid

    def used(self):
        with open(f"/proc/{self.pid}/status") as f:
            return next(int(line.split()[1]) << 10 for line in f if line.startswith("VmData"))

    def set(self, size):
        resource.prlimit(self.pid, resource.RLIMIT_DATA, (size, resource.RLIM_INFINITY))


class Numbers:
    """Of recipients that come meanwhile, each to a domain of its own among so many."""

    def __init__(self, first, sites):
        self.first, self.next, self.sites, self.lock = first, first, sites, threading.Lock()

    def take(self, n):
        with self.lock:
            self.next += n
            assert self.next <= self.first + NUMBERS, "more recipients than the record has room for"
            return range(self.next - n, self.next)

    def address(self, number):
        return f"u{number:07d}@q{number % self.sites}.test"


class Client(threading.Thread):
    """Hands in mail until it is told to stop, and then what it has begun. Numbers are acknowledged, refused,
    or unsure: there was no answer, and it cannot be asked for again."""

    def __init__(self, numbers):
        super().__init__(daemon=True)
        self.numbers, self.over, self.failure = numbers, threading.Event(), None
        self.acknowledged, self.refused, self.unsure = set(), set(), set()
        self.words, self.unanswered, self.answered_at = collections.Counter(), 0, 0.0

    def run(self):
        try:
            while not self.over.is_set():
                self.hand_in()
            self.close()
        except BaseException as e:  # told by who waits for it
            self.failure = e

    def close(self):
        pass

    def accepted_since(self, then):
        if self.failure:
            raise self.failure
        return self.answered_at > then

    def refuse(self, words):
        assert words.split(None, 1)[1:], f"refused without a reason: {words}"
        self.words[words] += 1
        time.sleep(0.02)

    def lose(self):
        self.unanswered += 1
        time.sleep(0.02)

    def accept(self, numbers):
        self.acknowledged.update(numbers)
        self.answered_at = time.monotonic()


class Jobs(Client):
    """Each body has a key, and is handed in until it is accepted."""

    def __init__(self, numbers, daemon, size, fields):
        super().__init__(numbers)
        self.daemon, self.size, self.fields = daemon, size, fields

    def ask(self, body, key):
        """Status and answer. One that is refused may be answered before it is all sent."""
        connection = UnixConnection(self.daemon.socket, 60)
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request("POST", "/v1/jobs", body=body, headers={"Idempotency-Key": key})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def hand_in(self):
        numbers = self.numbers.take(self.size)
        message = {"from": "news@sender.test", "subject": "Hello", "text": "Good morning"}
        lines = [{"from": "news@sender.test", "bounces": "report", "message": message}]
        lines += [{"to": self.numbers.address(n), **self.fields} for n in numbers]
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        while True:
            try:
                status, answer = self.ask(body, f"k{numbers[0]}")
            except (OSError, ValueError, http.client.HTTPException):
                self.lose()
                continue
            if status == 202:
                assert [job["accepted"] for job in answer["jobs"]] == [self.size], answer
                return self.accept(numbers)
            assert status in (409, 500, 503, 507), answer
            self.refuse(f"{status} {answer['error']['reason']}")


class Mail(Client):
    def __init__(self, numbers, port):
        super().__init__(numbers)
        self.port, self.smtp = port, None

    def close(self):
        if self.smtp is not None:
            self.smtp.quit()

    def hand_in(self):
        number = self.numbers.take(1)[0]
        to = self.numbers.address(number)
        text = f"From: a@sender.test\r\nTo: {to}\r\nSubject: Hello\r\n\r\nGood morning\r\n"
        try:
            if self.smtp is None:
                self.smtp = smtplib.SMTP("127.0.0.1", self.port, timeout=60)
            self.smtp.sendmail("a@sender.test", [to], text)
            self.accept([number])
        except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as e:
            code, words = (e.recipients[to] if isinstance(e, smtplib.SMTPRecipientsRefused)
                           else (e.smtp_code, e.smtp_error))
            assert 400 <= code < 500, words
            self.refused.add(number)
            self.smtp = self.smtp if code != 421 else None
            self.refuse(f"{code} {words.decode()}")
        except (OSError, smtplib.SMTPException):
            self.unsure.add(number)
            self.smtp = None
            self.lose()


class Run:
    def __init__(self, recipients, sessions, seconds, directory, say):
        self.seconds, self.sessions, self.say, self.directory = seconds, sessions, say, directory
        self.failures = Failures(os.path.join(directory, "failures"))
        sites = max(1, sessions // SITE_SHARE)
        self.world = World.start(scenario(sites), directory, log=False)
        self.smtp_port = free_port()
        self.daemon = Daemon(CONFIG.format(dns=self.world.dns, port=self.world.smtp_port, sessions=sessions,
                                           smtp=self.smtp_port), directory)
        self.daemon.environ = self.failures.environ
        self.parts, first = {}, 0
        for n, name in enumerate(PATTERNS):
            count = recipients * (n + 1) // 3 - first
            self.parts[name], first = (first, count), first + count
        self.recipients, self.figures, self.problems = recipients, {}, []
        self.numbers = Numbers(recipients, sites)
        self.record = os.path.join(directory, "record")

    def load(self, verb, name, *options):
        first, count = self.parts[name]
        argv = [os.path.join(BUILD, "load"), verb, *options, "--first", str(first), "--recipients",
                str(count), "--size", str(SIZE), "--domains", PATTERNS[name]]
        with Tool(f"{verb}-{name}", argv, self.directory) as tool:
            return tool.result(900, failures=True)

    def note(self, when):
        """Memory: RssAnon + RssShmem, and data as the limit sees it, in MiB."""
        pid = self.daemon.process.pid
        memory = {"own": round(memory_of(pid)[0] / 1024, 1), "data": round(self.limit.used() / (1 << 20), 1)}
        self.figures.setdefault("memory_mib", {})[when] = memory
        self.say(f"{when}: {memory['own']} MiB of its own, {memory['data']} MiB of data")

    def files(self):
        return len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))

    def fill(self):
        """All the recipients and all the sessions, within the first limit."""
        assert self.daemon.post("/v1/queue/suspend?tenant=later").status in (200, 202)
        begun = time.monotonic()
        for name, options in (("slow", []), ("later", ["--unmerged", "--tenant", "later"]),
                              ("full", ["--unmerged"])):
            accepted = self.load("bulk", name, "--socket", self.daemon.socket, *options)["accepted"]
            assert accepted == self.parts[name][1], f"{accepted} of {self.parts[name][1]} were accepted"
        self.say(f"{self.recipients:,} recipients accepted in {time.monotonic() - begun:.0f} s")
        wait_for(lambda: self.daemon.status()["deferred"] >= self.parts["full"][1], 600,
                 "a third to be deferred")
        wait_for(self.all_sessions, 300, f"{self.sessions} sessions")
        self.say(f"a third deferred and {self.sessions:,} sessions after {time.monotonic() - begun:.0f} s")

    def all_sessions(self):
        return self.daemon.status()["sessions"] >= 0.99 * self.sessions

    def squeeze(self, clients):
        """Down to what is used, and up again; then the time until all is as before."""
        for n in range(1, SQUEEZES_MAX + 1):
            if n > SQUEEZES and self.fired(clients):
                break
            before = self.failures.read()[0]
            self.limit.set(self.limit.used())
            time.sleep(self.seconds)
            failed = self.failures.read()[0] - before
            self.note(f"squeezed {n}")
            self.say(f"{failed:,} allocations failed meanwhile")
            self.limit.set(self.most)
            lifted = time.monotonic()
            wait_for(lambda: all(client.accepted_since(lifted) for client in clients), ACCEPT_S,
                     "mail of every kind to be accepted")
            self.figures.setdefault("accepted_again_s", []).append(round(time.monotonic() - lifted, 2))
            wait_for(self.all_sessions, SESSIONS_S, "the sessions to be back")
            self.figures.setdefault("sessions_again_s", []).append(round(time.monotonic() - lifted, 2))
            time.sleep(self.seconds / 2)

    def fired(self, clients):
        return self.failures.read()[0] > 0 and any(client.words for client in clients)

    def traffic(self):
        """Clients of all kinds while memory comes and goes."""
        jobs = [(1, {}), (1, {}), (BULK, {}), (BULK, {"metadata": {"note": "x" * 1000}})]
        clients = [Jobs(self.numbers, self.daemon, size, fields) for size, fields in jobs]
        clients += [Mail(self.numbers, self.smtp_port) for _ in range(2)]
        for client in clients:
            client.start()
        try:
            time.sleep(self.seconds / 2)
            self.squeeze(clients)
        finally:
            for client in clients:
                client.over.set()
        for client in clients:
            client.join(ACCEPT_S + 60)
            if client.failure:
                raise client.failure
            assert not client.is_alive(), "a client waits for an answer"
        return clients

    def drain(self):
        begun = time.monotonic()
        self.world.host("mx.slow.test", "prompt", True)
        self.world.host("mx.full.test", "prompt", True)
        for call in ("queue/resume?tenant=later", "queue/retry?status=4.2.2"):
            assert self.daemon.post(f"/v1/{call}").status in (200, 202)
        wait_for(lambda: self.daemon.status()["queued"] == 0, DRAIN_S, "all to be delivered")
        self.figures["drained_s"] = round(time.monotonic() - begun)

    def check(self, clients, told):
        problem, again = self.problems.append, self.figures.setdefault("again", {})
        for name in PATTERNS:
            kind = "merged" if name == "slow" else "unmerged"
            seen = self.load("check", name, "--record", self.record, "--kind", kind, "--allow-twice")
            again[name] = seen["twice"]
            if seen["missing"] or seen["wrong"] or seen["outside"]:
                problem(f"lost: of the part {name} the receivers say {seen}")
        with open(self.record, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as slots:
            def came(number):
                return struct.unpack_from("=I", slots, 64 + 32 * number + 24)[0]
            acknowledged, refused, unsure = (set().union(*(getattr(c, kind) for c in clients))
                                             for kind in ("acknowledged", "refused", "unsure"))
            counts = collections.Counter(came(n) for n in acknowledged)
            again["new"] = sum(n for times, n in counts.items() if times > 1)
            unsure = {n for n in unsure if came(n)}
            if counts[0]:
                problem(f"lost: {counts[0]} of {len(acknowledged)} acknowledged recipients never arrived")
            if any(came(n) for n in refused):
                problem(f"refused: {sum(came(n) > 0 for n in refused)} messages were refused and delivered")
        total = self.recipients + len(acknowledged) + len(unsure)
        self.figures.update(recipients=total, refused_mail=len(refused), unsure=len(unsure))
        if (told["accepted"], told["delivered"]) != (total, total):
            problem(f"counters: {total} were acknowledged, the status says {told}")

    def check_fired(self, clients):
        calls = self.failures.read()[0]
        words = sum((client.words for client in clients), collections.Counter())
        self.figures.update(failed_allocations=calls, refusals=dict(words.most_common()),
                            unanswered=sum(client.unanswered for client in clients))
        if not self.fired(clients):
            self.problems.append("fired: no allocation failed, or intake refused nothing")

    def go(self):
        self.daemon.start()
        pid, files = self.daemon.process.pid, self.files()
        self.limit = Limit(pid)
        self.most = self.limit.used() + BUDGET
        self.limit.set(self.most)
        self.note("idle")
        self.world.ask(f"record {self.record} {self.recipients + NUMBERS}")
        self.fill()
        self.note("full")
        clients = self.traffic()
        self.note("after it")
        self.check_fired(clients)
        self.drain()
        files += RESOLVER_FILES
        wait_for(lambda: self.files() <= files, 60, f"descriptors to be {files} or fewer")
        self.note("drained")
        self.figures["places"] = self.failures.places(pid)
        told = self.daemon.status()
        self.daemon.stop(60)
        self.check(clients, told)

    def end(self):
        if self.daemon.process and self.daemon.process.poll() is None:
            self.daemon.process.kill()
            self.daemon.process.wait(30)
        violations = self.world.stop()["totals"]["violations"]
        if violations["total"]:
            self.problems.append(f"the receivers saw violations of SMTP: {violations}")


def run(recipients, sessions, seconds, directory=None, say=lambda text: None):
    """Returns the figures and the problems."""
    directory = directory or os.environ.get("TMPDIR", "/var/tmp")
    above = tempfile.mkdtemp(prefix="postrider-memory-", dir=directory)
    begun = time.monotonic()
    done = Run(recipients, sessions, seconds, above, say)
    try:
        done.go()
    except Exception:
        say(f"the daemon's log is {done.daemon.log}:\n{done.daemon.read_log()[-4000:]}")
        say(f"so far: {json.dumps(done.figures)}")
        raise
    finally:
        done.end()
    if not done.problems:
        shutil.rmtree(above)
    return {**done.figures, "seconds": round(time.monotonic() - begun)}, done.problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipients", type=int, default=10_000_000)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=15, help="without memory, each time")
    parser.add_argument("--directory", help="where state lives: a real disk (/var/tmp)")
    options = parser.parse_args()
    raise_files()
    space.enter(sys.argv)
    space.prepare()
    figures, problems = run(options.recipients, options.sessions, options.seconds, options.directory,
                            lambda text: print(f"memory: {text}", flush=True))
    for place, count in figures.pop("places")[:30]:
        print(f"memory: {count:8,} x {place}")
    print(json.dumps(figures))
    for text in problems:
        print(f"memory: {text}")
    print(f"memory: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
