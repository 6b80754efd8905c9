"""What runs out, or jumps: disk, map, descriptors, memory, the clock, resolvers, receivers. Intake says why
it refuses, nothing is lost or sent twice, and when there is room again all goes on without help."""
import mmap
import os
import random
import resource
import shutil
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import ONE_DOMAIN, Scene, host
from daemon import BUILD, Daemon, job, wait_for
from sanitizer import KIND, limit
from world import World

RETRY = 'retry:\n  - { status: "4", schedule: [1s], give_up: 3d }\n'
FULL = "the queue is full"


class Faults:
    """The page that tests/faults/preload.c looks at."""

    def __init__(self, path):
        with open(path, "wb") as f:
            f.write(struct.pack("qqqq", -1, 0, 0, -1))
        self.file = open(path, "r+b")
        self.page = mmap.mmap(self.file.fileno(), 32)
        self.environ = {**os.environ, "LD_PRELOAD": os.path.abspath(os.path.join(BUILD, "faults.so")),
                        "POSTRIDER_FAULTS": str(path)}

    def writes_left(self, n):
        self.page[0:8] = struct.pack("q", n)

    def clock_ms(self, ahead):
        self.page[8:16] = struct.pack("q", ahead)

    def threads_left(self, n):
        self.page[24:32] = struct.pack("q", n)

    @property
    def failed(self):
        return struct.unpack("q", self.page[16:24])[0]


@pytest.fixture
def faulty(tmp_path):
    """A world, a daemon whose writes and clock can be made to fail, and the means to do so."""
    if KIND:
        pytest.skip("a sanitizer wants to be loaded first")
    faults = Faults(tmp_path / "faults")
    scene = Scene(host(latency_ms=5, greylist=1), ONE_DOMAIN, config=RETRY)
    scene.daemon.environ = faults.environ
    with scene:
        yield scene, faults


def test_a_full_disk_does_not_keep_the_daemon_from_starting(faulty, tmp_path):
    """With a consumer to register and one to forget: it says so, starts, and the events come when there is
    room."""
    scene, faults = faulty
    daemon = scene.daemon
    with open(daemon.config) as f:
        config = f.read()

    def configure(name):
        with open(daemon.config, "w") as f:
            f.write(config + f"consumers:\n  - {{ name: {name}, file: {tmp_path}/{name}, linger: 10ms }}\n")
    daemon.stop()
    configure("gone")
    daemon.start()
    assert daemon.submit(job(), ["1@a.test"]).status == 202
    daemon.stop()
    faults.writes_left(0)
    configure("crm")
    daemon.start()
    assert [c["consumer"] for c in daemon.get("/v1/consumers").json["consumers"]] == ["crm"]
    assert "there is no space to keep the consumers of the event log" in daemon.read_log()
    faults.writes_left(-1)
    wait_for(lambda: daemon.submit(job(), ["2@a.test"]).status == 202, 20, "room")
    wait_for(lambda: os.path.exists(tmp_path / "crm") and "2@a.test" in (tmp_path / "crm").read_text(), 20,
             "its events")


def hand_in(daemon, number, size, sizes):
    """The status of the answer; what was accepted is noted."""
    answer = daemon.submit(job(bounces="report"), [f"u{number}-{i}@a.test" for i in range(size)])
    if answer.status == 202:
        sizes[answer.json["jobs"][0]["job"]] = size
    else:
        assert answer.status == 507 and FULL in answer.json["error"]["reason"], answer
    return answer.status


def all_delivered_once(scene, sizes, seconds=90):
    daemon, total = scene.daemon, sum(sizes.values())
    wait_for(lambda: daemon.status()["queued"] == 0, seconds, "everything to be delivered")
    status = daemon.status()
    assert (status["accepted"], status["delivered"]) == (total, total), status
    for number, size in sizes.items():
        counts = daemon.job(number)["counts"]
        assert counts["delivered"] == size, (number, counts)
    ends = [e["rid"] for e in daemon.events() if e["type"] == "delivered"]
    assert len(ends) == len(set(ends)) == total
    took = [d.recipient for d in scene.delivered()]
    assert set(took) == {e["to"] for e in daemon.events() if e["type"] == "accepted"}
    return took


def test_disk_full_at_any_write(faulty):
    """Again and again there is space for some more writes and then none, until it comes back."""
    scene, faults = faulty
    dice, sizes, refused, number = random.Random(4), {}, 0, 0
    for _ in range(12):
        faults.writes_left(dice.randrange(0, 40))
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            number += 1
            refused += hand_in(scene.daemon, number, dice.choice([1, 1, 3, 400]), sizes) == 507
            time.sleep(0.02)
        faults.writes_left(-1)
        number += 1
        wait_for(lambda: hand_in(scene.daemon, number, 1, sizes) == 202, 20, "room to be found again")
    assert faults.failed > 10 and refused > 10, (faults.failed, refused)
    took = all_delivered_once(scene, sizes)
    assert len(took) == len(set(took))  # nobody twice: the daemon never ended


def test_the_map_is_full(scene):
    s = scene(host(latency_ms=5), ONE_DOMAIN, config="queue: { max_size: 64M, reserve: 8M }\n")
    sizes, number = {}, 0

    def submit():
        message = {"from": "news@sender.test", "subject": "x", "text": f"{number} " * 40000}
        answer = s.daemon.submit(job(message=message, not_before="2040-01-01T00:00:00Z"),
                                 [{"to": f"u{number}@a.test", "metadata": {"n": "m" * 1500}}])
        if answer.status == 202:
            sizes[answer.json["jobs"][0]["job"]] = 1
        return answer

    for number in range(2000):
        answer = submit()
        if answer.status != 202:
            break
    else:
        pytest.fail("64M were never full")
    assert answer.status == 507 and FULL in answer.json["error"]["reason"], answer
    # What was written since may have made room once more.
    wait_for(lambda: submit().status == 507 and s.daemon.get("/healthz").status == 503, 20,
             "liveness to say so")
    for one in list(sizes)[: len(sizes) // 2]:
        assert s.daemon.post(f"/v1/jobs/{one}/cancel").status == 200
        assert s.daemon.call("DELETE", f"/v1/jobs/{one}").status in (200, 202)
    last = {}
    wait_for(lambda: hand_in(s.daemon, number, 1, last) == 202, 30, "room after half of it was deleted")
    s.daemon.wait_counts(list(last)[0], delivered=1)


def limits_of(process, what, soft):
    before = resource.prlimit(process.pid, what)
    resource.prlimit(process.pid, what, (soft, before[1]))
    return before


def test_the_queue_is_deleted(scene, tmp_path):
    """By somebody who cleans up: nothing is accepted that would be gone with the process, what is queued goes
    out, and a backup saves it."""
    s = scene(host(latency_ms=5), ONE_DOMAIN, config=RETRY)
    assert s.daemon.submit(job(not_before=time.time() + 3600), ["later@a.test"]).status == 202
    sizes = {}
    assert hand_in(s.daemon, 0, 1, sizes) == 202
    shutil.rmtree(s.daemon.state)
    refused = wait_for(lambda: (a := s.daemon.submit(job(), ["x@a.test"])).status == 507 and a, 10, "a no")
    assert "deleted" in refused.json["error"]["reason"] and s.daemon.status()["full"]
    assert s.daemon.get("/healthz").status == 503 and s.daemon.read_log().count("was deleted") == 1
    wait_for(lambda: s.daemon.status()["queued"] == 1, 30, "the rest to go out")
    copy = tmp_path / "copy"
    assert s.daemon.post(f"/v1/backup?directory={copy}").status == 200
    s.daemon.stop()
    shutil.move(copy, s.daemon.state)
    s.daemon.start()
    assert s.daemon.status()["queued"] == 1 and s.daemon.submit(job(), ["x@a.test"]).status == 202


def test_descriptors_run_out(scene):
    s = scene(host(latency_ms=5), ONE_DOMAIN, config=RETRY)
    sizes = {}
    assert hand_in(s.daemon, 0, 1, sizes) == 202
    used = len(os.listdir(f"/proc/{s.daemon.process.pid}/fd"))
    before = limits_of(s.daemon.process, resource.RLIMIT_NOFILE, used + 1)
    time.sleep(1.2)  # idle connections are closed: from here on each needs a descriptor
    try:
        for number in range(1, 6):
            try:
                hand_in(s.daemon, number, 40, sizes)
            except (OSError, EOFError):
                pass  # no connection either
            time.sleep(0.2)
    finally:
        resource.prlimit(s.daemon.process.pid, resource.RLIMIT_NOFILE, before)
    assert hand_in(s.daemon, 9, 40, sizes) == 202
    wait_for(lambda: s.daemon.status()["queued"] == 0, 20, "all to go out once there are descriptors")
    status = s.daemon.status()
    assert status["delivered"] == status["accepted"] >= sum(sizes.values()), status
    tries = [e.get("reply", "") for e in s.daemon.events() if e["type"] == "deferred"]
    assert not [words for words in tries if "cannot connect" in words], tries  # no host's fault


def large_message(path, size):
    """By SMTP, a command at a time, again until there is room for it."""
    lines = (b"x" * 70 + b"\r\n") * (size // 72)
    commands = [b"HELO a", b"MAIL FROM:<a@sender.test>", b"RCPT TO:<u@a.test>", b"DATA",
                b"Subject: x\r\n\r\n" + lines + b"."]

    def taken():
        with socket.socket(socket.AF_UNIX) as client, client.makefile("rb") as replies:
            client.connect(path)
            said = replies.readline()
            for command in commands:
                if said.startswith(b"4"):
                    return False
                assert said[:1] in (b"2", b"3"), said
                client.sendall(command + b"\r\n")
                said = replies.readline()
            return said.startswith(b"250")
    wait_for(taken, 60, "a large message to be taken")


def test_what_large_messages_took_is_given_back(scene, tmp_path):
    """The allocator would keep most of it for the next ones."""
    if KIND:
        pytest.skip("its allocator is another")
    path = str(tmp_path / "smtp.sock")
    s = scene(host(latency_ms=5), ONE_DOMAIN, config=f"submission: [{{ listen: 'unix:{path}' }}]\n")
    sizes = [2_000_000 + 100_000 * i for i in range(30)]
    before, most = s.daemon.status()["memory_bytes"], 0
    with ThreadPoolExecutor(len(sizes)) as pool:
        for done in [pool.submit(large_message, path, size) for size in sizes]:
            done.result()
            most = max(most, s.daemon.status()["memory_bytes"])
    together = sum(sizes) < limit("SUBMISSION_BYTES_MAX")  # else they had to take turns
    assert not together or most > before + 30_000_000
    wait_for(lambda: s.daemon.status()["memory_bytes"] < before + 30_000_000, 20, "the memory to go back")


class EarlyClient(threading.Thread):
    """Hands in a message as soon as there is somebody to hand it to, and waits for the answer."""
    TALK = (b"EHLO early.test\r\nMAIL FROM:<a@sender.test>\r\nRCPT TO:<u@a.test>\r\nDATA\r\n"
            b"From: a@sender.test\r\nSubject: x\r\n\r\nHi\r\n.\r\n")

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.over = path, threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.005):
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    client.connect(self.path)
                    client.sendall(self.TALK)
                    while client.recv(4096):
                        pass
                except OSError:
                    pass


def test_threads_cannot_be_started(tmp_path):
    """Whichever of them it is, and though a client waits already: the daemon says so and ends."""
    if KIND:
        pytest.skip("a sanitizer wants to be loaded first")
    faults = Faults(tmp_path / "faults")
    daemon = Daemon(f'submission:\n  - {{ listen: "unix:{tmp_path}/smtp.sock" }}\n')
    daemon.environ, started = faults.environ, 0
    client = EarlyClient(f"{tmp_path}/smtp.sock")
    try:
        while True:
            faults.threads_left(started)
            daemon.start(wait=False)
            wait_for(lambda: daemon.process.poll() is not None or "is up" in daemon.read_log(), 20,
                     f"the daemon to end when {started} threads can be started")
            if daemon.process.poll() is None:
                break
            assert daemon.process.returncode == 1
            assert "cannot start" in daemon.read_log().splitlines()[-1], daemon.read_log()
            started += 1
        assert started > 8
    finally:
        client.over.set()
        client.join(20)
        daemon.__exit__(None)


def test_many_recipients_and_sessions_in_little_memory(scene):
    """Memory does not grow with the queue: 400 sessions and a queue of over 40 MiB, with 32 MiB more than an
    idle daemon has."""
    hosts = [{"name": f"mx{n}.a.test", "address": f"127.0.8.{n + 10}", "latency_ms": 20} for n in range(20)]
    domains = [{"name": f"d{n}.test", "mx": [[10, f"mx{n}.a.test"]]} for n in range(20)]
    s = scene(hosts, domains, site="max_connections: 20")
    with open(f"/proc/{s.daemon.process.pid}/status") as f:
        data_kb = next(int(line.split()[1]) for line in f if line.startswith("VmData"))
    limit = (data_kb << 10) + (32 << 20) if not KIND else resource.RLIM_INFINITY
    before = limits_of(s.daemon.process, resource.RLIMIT_DATA, limit)
    total = 20000
    to = [{"to": f"u{i}@d{i % 20}.test", "metadata": {"note": "x" * 2000}} for i in range(total)]
    answer = s.daemon.submit(job(bounces="report"), to, timeout=120)
    assert answer.status == 202, answer
    wait_for(lambda: s.daemon.status()["delivered"] == total, 180, "all to be delivered")
    assert s.daemon.process.poll() is None
    resource.prlimit(s.daemon.process.pid, resource.RLIMIT_DATA, before)


def test_the_clock_jumps(faulty):
    scene, faults = faulty
    sizes = {}
    for n, ahead_ms in enumerate([0, 3600_000, -3600_000, 20 * 3600_000, 0]):
        faults.clock_ms(ahead_ms)
        assert hand_in(scene.daemon, n, 50, sizes) == 202
        for _ in range(20):  # workers are asked, and have their time to answer
            assert scene.daemon.post("/v1/dns/flush").status == 200
        time.sleep(0.5)
    # Who was deferred while the clock was ahead is due when it says so; an operator need not wait.
    wait_for(lambda: scene.daemon.status()["in_flight"] == 0, 20, "what is under way to end")
    assert scene.daemon.post("/v1/queue/retry?all=1").status in (200, 202)
    all_delivered_once(scene, sizes)


def test_resolvers_and_receivers_go_away_and_come_back():
    """Nobody answers: what was accepted waits and is not given up; they come back, and it goes out."""
    hosts, domains = host(latency_ms=1), ONE_DOMAIN
    world = World.start({"hosts": hosts, "domains": domains})
    dns, port = world.dns, world.smtp_port
    world.stop()
    config = (f'dns: {{ servers: ["{dns[0]}:{dns[1]}"], timeout: 300ms }}\n'
              f"sites:\n  - {{ name: default, port: {port}, connect_timeout: 500ms, dead_host_delay: 200ms }}\n"
              f"{RETRY}")
    with Daemon(config) as daemon:
        answer = daemon.submit(job(bounces="report"), [f"u{i}@a.test" for i in range(200)])
        assert answer.status == 202
        wait_for(lambda: daemon.status()["deferred"] > 0 or daemon.status()["held"] > 0, 20,
                 "the missing resolver to be noticed")
        time.sleep(2)
        assert daemon.status()["queued"] == 200
        place = {"dns": {"listen": f"{dns[0]}:{dns[1]}"}, "smtp_port": port}
        with World.start({"hosts": hosts, "domains": domains, **place}) as again:
            wait_for(lambda: daemon.status()["delivered"] == 200, 60, "all to go out once they are back")
            assert len(again.deliveries()) == 200
