"""What goes wrong at the start and at the door: each gives one clear line, or a 4xx with line and reason."""
import json
import os
import shutil
import socket
import subprocess
import time

import pytest
from conftest import ONE_DOMAIN, ONE_HOST
from daemon import BUILD, Daemon, UnixConnection, job
from sanitizer import limit


def run(config_path, *args, seconds=20):
    return subprocess.run([os.path.join(BUILD, "postriderd"), *args, "-c", config_path], capture_output=True,
                          text=True, timeout=seconds)


def fails(daemon, *words, directory=None):
    result = run(daemon.config)
    lines = [line for line in result.stderr.splitlines() if line.startswith("postriderd:")]
    assert result.returncode == 1, result
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0], f"{word!r} not in {lines[0]!r}"


def test_usage():
    none = subprocess.run([os.path.join(BUILD, "postriderd")], capture_output=True, text=True, timeout=10)
    assert none.returncode == 2 and "-c" in none.stderr
    program = os.path.join(BUILD, "postriderd")
    help_ = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=10)
    assert help_.returncode == 0 and "usage" in help_.stdout
    assert all(len(line) <= 80 for line in help_.stdout.splitlines())
    assert subprocess.run([program, "--version"], capture_output=True, timeout=10).returncode == 0


def test_configuration_errors_are_all_shown_with_their_place(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(
        "hostname: mta.test\nstate_directry: /x\nworkers: many\nsites:\n  - { name: a, max_conections: 3 }\n")
    result = run(str(path))
    assert result.returncode == 1
    assert f"{path}:2:1" in result.stderr and "state_directory" in result.stderr
    assert all(text in result.stderr for text in (f"{path}:3:", f"{path}:5:", "max_connections"))
    good = tmp_path / "good.yaml"
    good.write_text("")
    assert run(str(good), "-t").returncode == 0


def test_missing_configuration():
    result = run("/nowhere/postrider.yaml")
    assert result.returncode == 1 and "/nowhere/postrider.yaml" in result.stderr


def test_state_directory_locked():
    with Daemon() as first:
        second = Daemon()
        second.state = first.state
        second.configure("")
        fails(second, first.state, str(first.process.pid))
        assert first.is_up()


def test_state_directory_of_another_version():
    d = Daemon().start()
    d.stop()
    with open(os.path.join(d.state, "data.mdb"), "r+b") as f:
        f.write(b"this is no database" * 500)
    fails(d, d.state)


@pytest.mark.parametrize("state", ["/nowhere/at/all", "/dev/null", "/proc/sys"])
def test_state_directory_unusable(state):
    d = Daemon()
    d.state = state
    d.configure("")
    fails(d, state)


def test_socket_taken_and_socket_left_over():
    with Daemon() as first:
        second = Daemon()
        second.socket = first.socket
        second.configure("")
        fails(second, first.socket)
        assert first.is_up()
        first.kill()
        assert os.path.exists(first.socket), "kill -9 leaves the socket"
        first.start()


def refuses(daemon, body, status, *words, line=None, headers=None, path="/v1/jobs"):
    answer = daemon.post(path, body, headers=headers or {})
    assert answer.status == status, answer
    error = answer.json["error"]
    if line is not None:
        assert error["line"] == line, answer
    for word in words:
        assert word in error["reason"], answer


def test_bad_jobs():
    good = json.dumps(job())
    with Daemon() as d:
        refuses(d, "", 400)
        refuses(d, "{", 400, line=1)
        refuses(d, "[]\n", 400, line=1)
        refuses(d, good + "\n", 400, "recipient")
        refuses(d, '{"from":"a@b.test"}\n{"to":"x@y.test"}\n', 400, "message", line=1)
        twice = '{"from":"a@b.test","from":"c@d.test","message":{"raw":"x"}}\n{"to":"x@y.test"}\n'
        refuses(d, twice, 400, line=1)
        refuses(d, json.dumps(job(colour="red")) + '\n{"to":"x@y.test"}\n', 400, "colour", line=1)
        refuses(d, json.dumps(job(**{"from": "a@b.test\r\nDATA"})) + '\n{"to":"x@y.test"}\n', 400, line=1)
        unclosed = json.dumps(job(message={"raw": "Subject: {{open\r\n\r\nx"}))
        refuses(d, unclosed + '\n{"to":"x@y.test"}\n', 400, line=1)
        answer = d.submit(job(), [
            "x@y.test", "no at sign", "a b@c.test", "x@y.test\r\nRCPT TO:<z@z.test>",
            {"to": "q@y.test", "clour": 1}, {"to": 7},
            "\udcff".encode("utf-8", "surrogateescape").decode("latin-1") + "@y..test"])
        assert answer.status == 202 and answer.json["jobs"][0]["accepted"] == 1
        rejected = answer.json["jobs"][0]["rejected"]
        assert [r["line"] for r in rejected] == [3, 4, 5, 6, 7, 8] and all(r["error"] for r in rejected)
        needs = job(message={"raw": "From: a@b.test\r\nSubject: {{name}}\r\n\r\nx\r\n"})
        answer = d.submit(needs, ["x@y.test", {"to": "z@y.test", "vars": {"name": "N"}}])
        one = answer.json["jobs"][0]
        assert one["accepted"] == 1 and "name" in one["rejected"][0]["error"]
        two = good + '\n{"to":"x@y.test"}\n' + '{"message":{}}\n'
        answer = d.post("/v1/jobs", two)
        assert answer.status == 400 and len(answer.json["jobs"]) == 1 and answer.json["error"]["line"] == 3
        dry = d.submit(job(), ["x@y.test", "bad"], headers={})
        before = d.status()["accepted"]
        dry = d.post("/v1/jobs?dry_run=1", good + '\n{"to":"x@y.test"}\n{"to":"bad"}\n')
        assert dry.status == 200 and dry.json["jobs"][0]["accepted"] == 1 and d.status()["accepted"] == before
        assert d.get("/v1/jobs/999").status == 404 and d.get("/v1/jobs/x").status in (400, 404)
        assert d.call("DELETE", "/v1/queue").status == 405


def test_requests_that_end_nobody_knows_where():
    """A body whose end is in doubt, or a header so long that no answer fits beside it: refused at once, and
    nothing is accepted."""
    body = (json.dumps(job()) + '\n{"to":"x@y.invalid"}\n').encode()
    length = b"Content-Length: %d\r\n" % len(body)
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    chunked = b"Transfer-Encoding: chunked\r\n"

    def ask(d, fields, content):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(d.socket)
            client.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: p\r\n" + fields + b"\r\n" + content)
            try:
                answer = client.recv(65536)
            except ConnectionResetError:
                return None
            return int(answer.split()[1]) if answer else None

    def jobs(d):
        return len(d.get("/v1/jobs").json["jobs"])

    with Daemon() as d:
        for fields, content in [(b"Transfer-Encoding: identity\r\n", body),
                                (b"Transfer-Encoding: gzip, chunked\r\n", chunks),
                                (b"Transfer-Encoding: xchunked\r\n" + length, body),
                                (length + chunked, chunks), (chunked + chunked, chunks),
                                (length + b"Content-Length: 3\r\n", body), (length + length, body),
                                (b"Transfer-Encoding : chunked\r\n" + length, body)]:
            assert ask(d, fields, content + b"GET /healthz HTTP/1.1\r\nHost: p\r\n\r\n") == 400, fields
        for room in range(0, 1500, 10):  # up to where it does not fit at all
            before = jobs(d)
            fields = length + b"X: " + b"a" * (limit("HTTP_MEMORY_MAX") - room) + b"\r\n"
            assert (ask(d, fields, body) == 202) == (jobs(d) > before), room
        before = jobs(d)
        assert ask(d, chunked, chunks) == 202 and ask(d, length, body) == 202 and jobs(d) == before + 2


def test_variables_cannot_smuggle_lines(scene):
    s = scene(ONE_HOST, ONE_DOMAIN)
    raw = "From: a@sender.test\r\nTo: {{to}}\r\nSubject: {{name}}\r\n\r\nHi {{name}}\r\n"
    evil = "x\r\nBcc: evil@a.test\r\n\r\n.\r\nMAIL FROM:<e@e.test>\r\n"
    answer = s.daemon.submit(job(message={"raw": raw}), [{"to": "u@a.test", "vars": {"name": evil}}])
    ident = answer.json["jobs"][0]["job"]
    s.daemon.wait_counts(ident, delivered=1)
    rid = s.daemon.recipients(ident)[0]["rid"]
    head = s.daemon.get(f"/v1/recipients/{rid}/message").body.split("\r\n\r\n")[0]
    assert "\r\nBcc:" not in head
    assert [d.recipient for d in s.delivered()] == ["u@a.test"]
    assert s.world.stats()["totals"]["violations"]["total"] == 0


def test_a_line_of_100_mb():
    with Daemon() as d:
        def memory():
            fields = dict(line.split(":", 1) for line in open(f"/proc/{d.process.pid}/status"))
            return int(fields["RssAnon"].split()[0])
        before = memory()
        connection = UnixConnection(d.socket, 60)
        connection.connect()
        size = 100 * 1024 * 1024
        connection.sock.sendall(
            f"POST /v1/jobs HTTP/1.1\r\nHost: p\r\nContent-Length: {size}\r\n\r\n".encode())
        sent, chunk = 0, b"x" * 65536
        try:
            while sent < size:
                connection.sock.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass  # refused before the end: right, too
        answer = connection.sock.recv(65536).decode()
        connection.close()
        assert " 413 " in answer.split("\r\n")[0], answer
        assert memory() - before < 200 * 1024
        assert d.is_up()


def test_slow_and_idle_clients_do_not_stop_others():
    with Daemon() as d:
        clients = []
        for _ in range(min(50, limit("HTTP_CONNECTIONS_MAX") - 2)):
            client = socket.socket(socket.AF_UNIX)
            client.connect(d.socket)
            client.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: p\r\nContent-Length: 1000\r\n\r\n{\"from\":")
            clients.append(client)
        start = time.monotonic()
        assert d.submit(job(), ["x@y.invalid"]).status == 202
        assert time.monotonic() - start < 2
        for client in clients:
            client.close()


def test_io_uring_forbidden_says_how_to_allow_it(tmp_path):
    """A seccomp filter answers EPERM to io_uring_setup, as containers' default profiles do."""
    d = Daemon()
    code = f"""
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
def stmt(code, k): return struct.pack("HBBI", code, 0, 0, k)
def jump(code, k, jt, jf): return struct.pack("HBBI", code, jt, jf, k)
program = stmt(0x20, 0) + jump(0x15, 425, 0, 1) + stmt(0x06, 0x00050001) + stmt(0x06, 0x7fff0000)
buffer = ctypes.create_string_buffer(program)
class Fprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
fprog = Fprog(4, ctypes.cast(buffer, ctypes.c_void_p))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(fprog)) == 0
os.execv({os.path.join(BUILD, "postriderd")!r}, ["postriderd", "-c", {d.config!r}])
"""
    result = subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True, timeout=20)
    assert result.returncode == 1, result
    lines = [line for line in result.stderr.splitlines() if line.startswith("postriderd:")]
    assert len(lines) == 1 and "io_uring" in lines[0], result.stderr
    assert "seccomp" in lines[0] or "allow" in lines[0], result.stderr


def test_a_sanitizers_report_fails_a_test():
    d = Daemon().start()
    with open(d.log, "a") as f:
        f.write("==1==ERROR: LeakSanitizer: detected memory leaks\n")
    with pytest.raises(AssertionError, match="LeakSanitizer"):
        d.stop()
    shutil.rmtree(d.directory)


def test_first_contact_without_a_daemon():
    result = subprocess.run([os.path.join(BUILD, "postrider"), "-s", "/nowhere/control.sock", "status"],
                            capture_output=True, text=True, timeout=10)
    assert result.returncode == 1
    assert result.stderr.startswith("postrider: ") and "postriderd" in result.stderr
