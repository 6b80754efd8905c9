"""The bench's load programs: what load and raw inject arrives as load check says, and it misses nothing."""
import json
import os
import socket
import struct
import subprocess
import threading

import pytest

from daemon import Daemon, wait_for
from sanitizer import BUILD, PATIENCE
from world import World

HEADER, SLOT = 64, 32


def call(program, *args, code=0, errors=None):
    """Its result; fails unless it ends with `code` and says `errors`."""
    command = [os.path.join(BUILD, program), *map(str, args)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60 * PATIENCE)
    assert run.returncode == code, (command, run.returncode, run.stdout, run.stderr)
    if errors is None:
        assert run.stderr == "" or code == 1, run.stderr
    else:
        assert errors in run.stderr, run.stderr
    return json.loads(run.stdout) if run.stdout else None


def check(record, kind, recipients, *args, code=0, errors=None):
    return call("load", "check", "--record", record, "--kind", kind, "--recipients", recipients, *args,
                code=code, errors=errors)


def one_host(**character):
    return {"hosts": [{"name": "mx.big.test", "address": "127.0.19.1", **character}],
            "domains": [{"name": "d{0..999}.test", "mx": [[10, "mx.big.test"]]}]}


@pytest.fixture
def world(tmp_path):
    with World.start(one_host()) as world:
        world.record = str(tmp_path / "record")
        world.accepts = str(tmp_path / "accepts")
        assert world.ask(f"record {world.record} 5000")["ok"]
        yield world


@pytest.fixture
def daemon(world):
    with Daemon(f'dns: {{ servers: ["{world.dns[0]}:{world.dns[1]}"] }}\n'
                f"sites:\n  - {{ name: default, port: {world.smtp_port}, max_connections: 10 }}\n") as daemon:
        yield daemon


def delivered(daemon, count):
    wait_for(lambda: daemon.status()["delivered"] == count, 30, f"{count} delivered")


def test_bulk(world, daemon):
    accepted = call("load", "bulk", "--socket", daemon.socket, "--recipients", 2500, "--accepts",
                    world.accepts)
    assert accepted["accepted"] == 2500 and accepted["cpu_s"] > 0
    accepted = call("load", "bulk", "--socket", daemon.socket, "--recipients", 2500, "--first", 2500,
                    "--accepts", world.accepts, "--unmerged", "--size", "20k")
    delivered(daemon, 5000)
    figures = check(world.record, "merged", 2500, "--accepts", world.accepts)
    assert figures["delivered"] == 2500 and figures["sound"] is True
    assert 0 <= figures["latency_ms"]["p50"] <= figures["latency_ms"]["max"] < 60000
    assert figures["a_second"] == pytest.approx(2500 / figures["seconds"], rel=0.01)
    whole = check(world.record, "merged", 2500, "--seconds-from", figures["first_ns"] - 10**9)
    assert whole["seconds"] == pytest.approx(figures["seconds"] + 1, rel=0.001)
    check(world.record, "unmerged", 2500, "--first", 2500, "--size", "20k", "--accepts", world.accepts)
    assert world.stats()["totals"]["violations"]["total"] == 0


def test_jobs(world, daemon):
    """One job in an upload, several, more than go in one piece, large ones; closed and open loop."""
    base = ["jobs", "--socket", daemon.socket, "--accepts", world.accepts, "--connections", 4]
    one = call("load", *base, "--jobs", 500)
    assert one["accepted"] == 500 and one["uploads"] == 500 and one["behind_ms"] is None
    few = call("load", *base, "--jobs", 501, "--first", 500, "--per-upload", 20, "--class", "bulk")
    assert few["accepted"] == 501 and few["uploads"] == 26
    many = call("load", *base, "--jobs", 400, "--first", 1001, "--per-upload", 200)
    assert many["accepted"] == 400 and many["uploads"] == 2
    rate = call("load", *base, "--jobs", 100, "--first", 1401, "--rate", 200)
    assert rate["seconds"] >= 0.49 and rate["behind_ms"]["p50"] >= 0
    call("load", *base, "--jobs", 20, "--first", 1501, "--size", "300k", "--per-upload", 3)
    delivered(daemon, 1521)
    check(world.record, "distinct", 1501, "--accepts", world.accepts)
    check(world.record, "distinct", 20, "--first", 1501, "--size", "300k", "--accepts", world.accepts)
    assert world.stats()["totals"]["violations"]["total"] == 0


def test_refused_jobs(daemon):
    """The daemon's own words are shown, and nothing counts as accepted."""
    for verb in (["bulk", "--recipients", 10], ["jobs", "--jobs", 10]):
        figures = call("load", *verb, "--socket", daemon.socket, "--class", "express", code=1,
                       errors="the daemon answered 400")
        assert figures["accepted"] == 0
    call("load", "bulk", "--recipients", 10, "--socket", "/nonexistent", code=1, errors="/nonexistent")


@pytest.mark.parametrize("kind,each,size", [
    ("distinct", 1, 4096), ("merged", 1, 4096), ("unmerged", 100, 4096), ("unmerged", 1, 700),
    ("distinct", 1, 102400)])
def test_raw(world, kind, each, size):
    messages = 5000 // each if size < 100000 else 300
    figures = call("raw", "--connect", f"127.0.19.1:{world.smtp_port}", "--connections", 10, "--messages",
                   messages, "--kind", kind, "--per-transaction", each, "--size", size)
    assert figures["messages"] == messages and figures["recipients"] == messages * each
    check(world.record, kind, messages * each, "--size", size)
    totals = world.stats()["totals"]
    assert totals["violations"]["total"] == 0 and totals["messages"] == messages


def test_raw_staggered(world):
    """More connections than messages, opened one after another: each ends with QUIT."""
    figures = call("raw", "--connect", f"127.0.19.1..1:{world.smtp_port}", "--connections", 50,
                   "--messages", 20, "--stagger")
    assert figures["messages"] == 20
    totals = world.stats()["totals"]
    assert totals["connections"]["total"] == 50 and totals["aborted"] == 0
    check(world.record, "distinct", 20)


def test_raw_refused(world):
    """A receiver that does not take everything is no ceiling: the run fails with its words."""
    world.host("mx.big.test", "messages_per_connection", 3)
    call("raw", "--connect", f"127.0.19.1:{world.smtp_port}", "--messages", 100, code=1,
         errors="the receiver's answer to MAIL: 421")


@pytest.mark.parametrize("character", [{}, {"pipelining": False}, {"messages_per_connection": 7},
                                       {"latency_ms": 3}])
def test_smtp(tmp_path, character):
    """Whatever the server is like, each message arrives once."""
    with World.start(one_host(**character)) as world:
        record, accepts = tmp_path / "record", tmp_path / "accepts"
        world.ask(f"record {record} 500")
        figures = call("load", "smtp", "--connect", f"127.0.19.1:{world.smtp_port}", "--connections", 5,
                       "--messages", 500, "--accepts", accepts)
        assert figures["accepted"] == 500 and figures["refused"] == 0
        assert (figures["reconnected"] > 0) == ("messages_per_connection" in character)
        latency = check(record, "distinct", 500, "--accepts", accepts)["latency_ms"]
        assert latency["p50"] == 0  # delivered before the answer was read
        assert world.stats()["totals"]["violations"]["total"] == 0


def test_smtp_refused(world):
    refusal = {"at": "rcpt", "odds": 0.1, "code": 550, "text": "5.1.1 no such user"}
    world.host("mx.big.test", "replies", [refusal])
    figures = call("load", "smtp", "--connect", f"127.0.19.1:{world.smtp_port}", "--messages", 100, code=1,
                   errors="5.1.1 no such user")
    assert figures["refused"] > 0 and figures["accepted"] + figures["refused"] == 100


def change(record, number, offset, text):
    with open(record, "r+b") as file:
        file.seek(HEADER + number * SLOT + offset)
        file.write(text)


def test_check_misses_nothing(world, tmp_path):
    """Everything that can be wrong with a delivery is found, and named."""
    call("raw", "--connect", f"127.0.19.1:{world.smtp_port}", "--messages", 1000, "--connections", 4)
    record = world.record
    check(record, "distinct", 1000)
    check(record, "distinct", 1000, "--size", 4097, code=1)
    check(record, "distinct", 1000, "--domains", "e{0..999}.test", code=1)
    check(record, "unmerged", 1000, code=1)
    figures = check(record, "distinct", 1001, code=1, errors="number 1000 was not delivered")
    assert figures["missing"] == 1 and figures["delivered"] == 1000
    assert check(record, "distinct", 1001, "--allow-missing")["missing"] == 1
    check(record, "distinct", 5500, "--allow-missing")  # beyond the record's end
    change(record, 7, 8, b"\0")
    change(record, 8, 16, b"\0")
    figures = check(record, "distinct", 1000, code=1,
                    errors="number 7 is not what was meant: head wrong, body right")
    assert figures["wrong"] == 2 and figures["sound"] is False
    figures = check(record, "distinct", 1000, "--body-only", code=1, errors="number 8")
    assert figures["wrong"] == 1
    check(record, "distinct", 8, "--body-only")
    change(record, 3, 24, struct.pack("=I", 2))
    figures = check(record, "distinct", 7, code=1, errors="number 3 was delivered more than once")
    assert figures["twice"] == 1
    check(record, "distinct", 7, "--allow-twice")
    change(record, 1, 28, struct.pack("=I", 5))
    check(record, "distinct", 2, code=1, errors="5 bytes instead of")
    with open(record, "r+b") as file:
        file.seek(24)
        file.write(struct.pack("=Q", 1))
    assert check(record, "distinct", 1, code=1)["outside"] == 1
    other = tmp_path / "other"
    other.write_bytes(b"x" * 1000)
    check(other, "distinct", 1, code=1, errors="not a record")
    check(record, "distinct", 1, "--accepts", other, code=1, errors="not an accepts file")


BULK = ["load", "bulk", "--socket", "x", "--recipients"]


@pytest.mark.parametrize("args", [
    ["load"], ["load", "fly"], ["load", "jobs"], ["load", "jobs", "--jobs", "1"], BULK, [*BULK, "0"],
    [*BULK, "1", "--size", "10"], [*BULK, "1", "--rate", "10"], [*BULK, "1", "more"],
    [*BULK, "1", "--domains", "d{"], [*BULK, "1", "--unmerged=yes"],
    ["load", "check", "--record", "x", "--recipients", "1", "--kind", "odd"],
    ["raw", "--connect", "127.0.0.1:1", "--messages", "1", "--per-transaction", "2"],
    ["raw", "--messages", "1"]])
def test_usage(args):
    command = [os.path.join(BUILD, args[0]), *args[1:]]
    run = subprocess.run(command, capture_output=True, text=True, timeout=20 * PATIENCE)
    assert run.returncode == 2 and run.stderr and not run.stdout, run


def test_help():
    for args in (["load"], ["load", "bulk"], ["load", "jobs"], ["load", "smtp"], ["load", "check"], ["raw"]):
        command = [os.path.join(BUILD, args[0]), *args[1:], "--help"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=20 * PATIENCE, check=True)
        assert run.stdout.startswith("usage: ") and not run.stderr


def test_connection_lost(tmp_path):
    """A server that closes without an answer fails the run; one that closes after an answer does not."""
    path = str(tmp_path / "socket")
    answer = b'HTTP/1.1 202 A\r\nContent-Length: 14\r\nConnection: close\r\n\r\n{"accepted":1}'
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(20 * PATIENCE)

        def serve(connections, text):
            for _ in range(connections):
                peer, _ = listener.accept()
                request = b""
                while b"Content-Length" not in request or b"}\n{\"to\":\"" not in request:
                    request += peer.recv(65536)
                peer.sendall(text)
                peer.close()

        for connections, text, code in ((1, b"", 1), (5, answer, 0)):
            thread = threading.Thread(target=serve, args=(connections, text))
            thread.start()
            call("load", "jobs", "--socket", path, "--jobs", connections, "--connections", 1, code=code,
                 errors="closed the connection" if code else None)
            thread.join()
