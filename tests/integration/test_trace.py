"""`postrider trace SITE` and GET /v1/trace: the dialogue as it goes, bounded, without secrets."""
import json
import os
import subprocess
import threading
import time

import pytest
from conftest import ONE_DOMAIN, host
from daemon import BUILD, PATIENCE, PLAIN, UnixConnection, job, wait_for
from sanitizer import KIND, limit


class Watch:
    """`postrider trace`, its lines as they come."""

    def __init__(self, daemon, site, *options):
        self.lines = []
        self.process = subprocess.Popen(
            [os.path.join(BUILD, "postrider"), "-s", daemon.socket, "trace", site, *options],
            stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def has(self, text):
        return any(text in line for line in self.lines)

    def left_out(self):
        return self.has(" lines left out: ") or self.has('"dropped"')

    def wait_end(self):
        """Of a session, or that a line was left out, which may be the one that says it."""
        wait_for(lambda: self.has(" closed") or self.has('"closed"') or self.left_out(), 30,
                 "the session to end")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(10)
        self.thread.join(10)


def deliver(daemon, count=1, **fields):
    ident = daemon.submit(job(**fields), [f"u{i}@a.test" for i in range(count)]).json["jobs"][0]["job"]
    daemon.wait_counts(ident, delivered=count)


def watching(daemon, watch):
    """Until it hears what a session says: its trace may begin a moment after the command does."""
    end = time.monotonic() + 60
    while not watch.lines and time.monotonic() < end:
        deliver(daemon)
        time.sleep(0.1)
    assert watch.lines


def dialogue(s, *options):
    """What is told of a session from its beginning to its end; of another one where a line was left out, as
    one may be when its reader is not done with those before."""
    end = time.monotonic() + 60 * PATIENCE
    while time.monotonic() < end:
        with Watch(s.daemon, "A.TEST", *options) as watch:
            watching(s.daemon, watch)
            watch.wait_end()  # of one that was open already
            if watch.left_out():
                continue
            watch.lines.clear()
            deliver(s.daemon, message={"raw": PLAIN})
            watch.wait_end()
            if not watch.left_out():
                return watch.lines
    raise AssertionError("each time a line was left out")


def test_a_dialogue(scene):
    s = scene(host(), ONE_DOMAIN)
    with Watch(s.daemon, "other.test") as other:
        lines = dialogue(s)
        said = [line.split(" ", 3)[3] for line in lines if " > " in line or " < " in line]
        told = [line.split(" ", 3)[2] for line in lines]
        expected = ["> EHLO mta.test", "> MAIL FROM:<news@sender.test>", "> RCPT TO:<u0@a.test>", "> DATA",
                    "< 354 ", "bytes of a message)", "> .", "< 250 ", "> QUIT", "< 221 "]
        at = -1
        for text in expected:
            found = [i for i, line in enumerate(said) if text in line and i > at]
            assert found, (text, said)
            at = found[0]
        assert set(told) == {"mx.a.test"} and not any("Hello" in line for line in said)
        assert other.lines == []


def test_json_and_what_it_refuses(scene):
    s = scene(host(), ONE_DOMAIN)
    lines = [json.loads(line) for line in dialogue(s, "--json")]
    assert {line["what"] for line in lines} == {"watched", "sent", "heard", "closed"}
    assert all(line["source"] and line["host"] == "mx.a.test" and line["session"] >= 1 for line in lines)
    assert s.daemon.get("/v1/trace").status == 400
    assert s.daemon.get("/v1/trace?site=").status == 400


def test_no_more_than_so_many_and_all_end(scene):
    """One that goes makes room."""
    s = scene(host(), ONE_DOMAIN)
    open_ones, most = [], limit("TRACES_MAX")

    def begin():
        connection = UnixConnection(s.daemon.socket)
        connection.request("GET", "/v1/trace?site=a.test")
        status = connection.getresponse().status
        if status == 200:
            open_ones.append(connection)
        else:
            connection.close()
        return status
    assert [begin() for _ in range(most + 1)] == [200] * most + [503]
    for connection in open_ones:
        connection.close()
    wait_for(lambda: begin() == 200, 30, "room")
    for connection in open_ones:
        connection.close()


def test_nobody_reads(scene):
    """Lines that nobody fetches cost nothing but that they are missing."""
    s = scene(host(), ONE_DOMAIN)
    connection = UnixConnection(s.daemon.socket)
    connection.request("GET", "/v1/trace?site=a.test")
    response = connection.getresponse()
    assert response.status == 200
    deliver(s.daemon, 20000)
    text = b""
    while b"dropped" not in text and len(text) < 50_000_000:
        text += response.read1(65536)
    assert b'{"what":"dropped","lines":' in text
    assert KIND or s.daemon.status()["memory_bytes"] < 100_000_000
    connection.close()


@pytest.mark.parametrize("stop", ["stop", "kill"])
def test_it_ends_with_the_daemon(scene, stop):
    s = scene(host(), ONE_DOMAIN)
    with Watch(s.daemon, "a.test") as watch:
        watching(s.daemon, watch)
        getattr(s.daemon, stop)()
        assert watch.process.wait(30) == (0 if stop == "stop" else 1)
        s.daemon.start()
