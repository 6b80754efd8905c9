"""GET /v1/events: from any place of the log, as it grows, and with readers that are slow or go away."""
import json
import re
import socket
import time

import pytest

from conftest import ONE_DOMAIN, ONE_HOST
from daemon import job, wait_for

HOST = [{**ONE_HOST[0], "unknown": "bad*"}]


class Follower:
    """A raw connection, so that the test says when it reads."""

    def __init__(self, daemon, query, buffer=None):
        self.socket = socket.socket(socket.AF_UNIX)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(20)
        self.socket.connect(daemon.socket)
        self.socket.sendall(f"GET /v1/events?{query} HTTP/1.0\r\n\r\n".encode())
        self.file = self.socket.makefile("rb")
        while self.file.readline() not in (b"\r\n", b""):
            pass

    def read(self, n):
        return [json.loads(self.file.readline()) for _ in range(n)]

    def close(self):
        self.file.close()
        self.socket.close()


@pytest.fixture
def daemon(scene):
    return scene(HOST, ONE_DOMAIN).daemon


def deliver(daemon, recipients, **fields):
    number = daemon.submit(job(bounces="none", **fields), recipients).json["jobs"][0]["job"]
    wait_for(lambda: daemon.job(number)["state"] == "ended", 60, f"job {number} to end")
    return number


def connections(daemon):
    return int(re.search(r"^postrider_http_connections (\d+)$", daemon.get("/metrics").body, re.M).group(1))


def test_from_every_place(daemon):
    """Also in the middle of what is stored once for many recipients; with and without following."""
    deliver(daemon, [f"{n}@a.test" for n in range(20)])
    paused = daemon.submit(job(bounces="none", not_before="2099-01-01T00:00:00Z"),
                           [f"later{n}@a.test" for n in range(20)]).json["jobs"][0]["job"]
    assert daemon.post(f"/v1/jobs/{paused}/cancel").status == 200  # twenty ends in one row
    everything = daemon.events()
    assert [e["seq"] for e in everything] == list(range(1, 81))
    for after in range(0, 82):
        assert daemon.events(after) == everything[after:]
        if after < 80:
            follower = Follower(daemon, f"follow=1&after={after}")
            assert follower.read(min(5, 80 - after)) == everything[after:after + 5]
            follower.close()
    assert daemon.get("/v1/events?after=18446744073709551615").lines == []
    assert daemon.get("/v1/events?after=-1").status == 400


def test_follows_as_it_grows(daemon):
    follower = Follower(daemon, "follow=1")
    bounces = Follower(daemon, "follow=1&type=bounced,expired&after=0")
    for turn in range(3):
        deliver(daemon, [f"{turn}@a.test", f"bad{turn}@a.test"])
        assert [e["seq"] for e in follower.read(4)] == list(range(turn * 4 + 1, turn * 4 + 5))
        assert [(e["type"], e["to"]) for e in bounces.read(1)] == [("bounced", f"bad{turn}@a.test")]
    follower.close()
    bounces.close()


def test_readers_that_go_away(daemon):
    deliver(daemon, [f"{n}@a.test" for n in range(2000)])
    before = connections(daemon)
    for n in range(60):
        follower = Follower(daemon, f"follow=1&after={n * 60}")
        follower.read(n % 5)
        follower.close()
    deliver(daemon, ["one@a.test"])
    wait_for(lambda: connections(daemon) <= before, 20, "the connections to be gone")


def test_slow_reader_costs_little(daemon):
    """One that reads nothing is not read ahead for, and holds nobody up."""
    deliver(daemon, [f"{n}@a.test" for n in range(20000)])
    assert len(daemon.events()) == 40000
    before = daemon.status()["memory_bytes"]
    slow = [Follower(daemon, "follow=1", buffer=4096) for _ in range(5)]
    time.sleep(1)
    assert daemon.status()["memory_bytes"] - before < 5 * 5 * 1024 * 1024  # HTTP_STREAM_MAX and a little each
    begun = time.monotonic()
    deliver(daemon, ["one@a.test"])
    assert time.monotonic() - begun < 20
    assert [e["seq"] for e in slow[0].read(40002)] == list(range(1, 40003))
    for one in slow:
        one.close()
