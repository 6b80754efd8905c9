"""Who may ask the daemon what, and what it tells nobody: sockets by mode and user, the admin API over TCP by
its token, and secrets, which stand in no answer, log or dump."""
import ctypes
import errno
import http.client
import json
import os
import pwd
import re
import shutil
import socket
import subprocess

import pytest

from conftest import ONE_DOMAIN, host
from daemon import BUILD, PATIENCE, Daemon, free_port, job, wait_for
from sanitizer import KIND

TOKEN = "0123456789abcdef-the-token-of-this-test"


def token_file(directory, text=TOKEN + "\n", mode=0o600):
    path = os.path.join(directory, "token")
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def ask(port, method, path, token=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30 * PATIENCE)
    try:
        headers = {"Authorization": token} if token else {}
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode(), dict(response.getheaders())
    finally:
        connection.close()


@pytest.fixture
def guarded(tmp_path):
    """A daemon with the admin API over TCP, and its port."""
    port = free_port()
    path = token_file(tmp_path)
    with Daemon(f"admin: {{ listen: 127.0.0.1:{port}, token_file: {path} }}") as daemon:
        yield daemon, port


def test_admin_over_tcp_wants_the_token(guarded):
    daemon, port = guarded
    calls = (("GET", "/v1/status"), ("GET", "/metrics"), ("GET", "/nothing"), ("POST", "/v1/jobs"),
             ("PUT", "/v1/suppressions"), ("DELETE", "/v1/jobs/1"))
    for wrong in (None, "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}",
                  TOKEN, "Bearer " + "x" * 5000):
        for method, path in calls:
            status, body, headers = ask(port, method, path, wrong, body="" if method != "GET" else None)
            assert status == 401 and headers["WWW-Authenticate"] == "Bearer", (wrong, method, path, status)
            assert TOKEN not in body
    assert ask(port, "GET", "/healthz")[0] == 200  # liveness is no secret
    right = f"Bearer {TOKEN}"
    assert json.loads(ask(port, "GET", "/v1/status", right)[1])["queued"] == 0
    assert "postrider_" in ask(port, "GET", "/metrics", right)[1]
    assert ask(port, "GET", "/nothing", f"bearer  {TOKEN} ")[0] == 404
    lines = json.dumps(job(not_before=4102444800)) + "\n" + json.dumps({"to": "a@a.test"}) + "\n"
    assert ask(port, "POST", "/v1/jobs", right, lines)[0] == 202
    assert daemon.status()["queued"] == 1


@pytest.mark.parametrize("text, mode, words", [
    ("", 0o600, "must be a token of 16 to 256 characters"),
    ("\n\n", 0o600, "must be a token of 16 to 256 characters"),
    ("short\n", 0o600, "must be a token of 16 to 256 characters"),
    ("x" * 300, 0o600, "must be a token of 16 to 256 characters"),
    (TOKEN, 0o604, "is open to everybody"),
    (TOKEN, 0o602, "is open to everybody"),
    (None, 0, "it must be there"),
])
def test_a_bad_token_file_stops_the_start(tmp_path, text, mode, words):
    path = token_file(tmp_path, text, mode) if text is not None else str(tmp_path / "none")
    daemon = Daemon(f"admin: {{ listen: 127.0.0.1:{free_port()}, token_file: {path} }}")
    daemon.start(wait=False)
    assert daemon.process.wait(20 * PATIENCE) == 1
    said = daemon.read_log()
    shutil.rmtree(daemon.directory)
    assert words in said and TOKEN not in said, said


@pytest.mark.parametrize("admin, words", [
    ("listen: 127.0.0.1:8025", "needs a token_file"),
    ("token_file: /etc/postrider/token", "without admin.listen"),
    ("listen: 'unix:/run/x', token_file: /etc/postrider/token", "control.unix"),
])
def test_half_an_admin_section_is_an_error(admin, words):
    daemon = Daemon(f"admin: {{ {admin} }}")
    checked = subprocess.run([os.path.join(BUILD, "postriderd"), "-t", "-c", daemon.config],
                             capture_output=True, text=True)
    shutil.rmtree(daemon.directory)
    assert checked.returncode == 1 and words in checked.stderr, checked.stderr


def test_the_token_is_told_nobody(guarded):
    daemon, port = guarded
    ask(port, "GET", "/v1/status", f"Bearer {TOKEN}")
    shown = daemon.cli("config", "show", daemon.config)
    told = [daemon.read_log(), shown.stdout, shown.stderr, daemon.get("/v1/status").body,
            daemon.get("/metrics").body, open(f"/proc/{daemon.process.pid}/cmdline").read(),
            open(f"/proc/{daemon.process.pid}/environ").read()]
    assert all(TOKEN not in text for text in told)
    if os.geteuid() == 0 or os.access(f"/proc/{daemon.process.pid}/mem", os.R_OK):
        assert secret_pages(daemon.process.pid) == {"dd"}


def secret_pages(pid):
    """How the mappings that hold the token are marked: dd is "do not dump"."""
    marks, lines = set(), open(f"/proc/{pid}/smaps").read().splitlines()
    with open(f"/proc/{pid}/mem", "rb") as memory:
        for n, line in enumerate(lines):
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if not found:
                continue
            start, end = (int(x, 16) for x in found.groups())
            try:
                memory.seek(start)
                content = memory.read(min(end - start, 64 << 20))
            except (OSError, ValueError, OverflowError):
                continue
            flags = next(f for f in lines[n:] if f.startswith("VmFlags:")).split()
            if TOKEN.encode() + b"\0" in content and content.count(b"Bearer " + TOKEN.encode()) == 0:
                marks.add("dd" if "dd" in flags else "no")
    return marks


def test_the_daemon_is_confined(guarded):
    daemon, _ = guarded
    with open(f"/proc/{daemon.process.pid}/status") as f:
        status = dict(line.split(":", 1) for line in f)
    assert status["NoNewPrivs"].strip() == "1"
    kept = sum(1 << n for n in (0, 1, 3, 10, 14))  # chown, dac_override, fowner, net_bind_service, ipc_lock
    for name in ("CapEff", "CapPrm", "CapInh"):
        assert int(status[name], 16) & ~kept == 0, (name, status[name])
    if not KIND:  # sanitizers look into the process from another
        assert status["Seccomp"].strip() == "2"


def confine():
    """What systemd does for deploy/postriderd.service: no capabilities, and of its sets of calls that are
    refused those that the daemon could want."""
    PR_CAPBSET_DROP, SCMP_ACT_ALLOW, SCMP_ACT_ERRNO = 24, 0x7fff0000, 0x00050000
    libc, seccomp = ctypes.CDLL(None), ctypes.CDLL("libseccomp.so.2")
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(SCMP_ACT_ALLOW))
    for name in (b"capset", b"seccomp", b"setuid", b"setgid", b"setgroups", b"setresuid", b"chroot", b"bpf"):
        number = seccomp.seccomp_syscall_resolve_name(name)
        assert seccomp.seccomp_rule_add(context, SCMP_ACT_ERRNO | errno.EPERM, number, 0) == 0
    assert seccomp.seccomp_load(context) == 0


def test_who_is_confined_already_starts_all_the_same(tmp_path):
    daemon = Daemon("workers: 1\n")
    with open(daemon.log, "wb") as log:
        daemon.process = subprocess.Popen([os.path.join(BUILD, "postriderd"), "-c", daemon.config],
                                          stderr=log, preexec_fn=confine)
    wait_for(daemon.is_up, 20, "the daemon to come up")
    with open(f"/proc/{daemon.process.pid}/status") as f:
        assert re.search(r"^CapPrm:\s*0+$", f.read(), re.M)
    daemon.__exit__(None)


def test_sockets_are_for_whom_their_mode_says(tmp_path):
    control = tmp_path / "control.sock"
    with Daemon(f'control: {{ unix: {control}, mode: "0600" }}') as daemon:
        assert os.stat(control).st_mode & 0o777 == 0o600
        assert os.stat(daemon.socket).st_mode & 0o777 == 0o600
        # What is for operators is not on the jobs socket once there is a control socket.
        refused = daemon.get("/v1/status")
        assert refused.status == 403 and "control socket" in refused.json["error"]["reason"]
        if os.geteuid() != 0:
            return
        os.chmod(daemon.directory, 0o755)
        os.chmod(tmp_path, 0o755)
        os.chmod(tmp_path.parent, 0o755)
        nobody = pwd.getpwnam("nobody").pw_uid
        child = os.fork()
        if child == 0:
            os.setuid(nobody)
            codes = [socket.socket(socket.AF_UNIX).connect_ex(str(path)) for path in (control, daemon.socket)]
            os._exit(0 if codes == [13, 13] else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_no_field_of_a_job_reaches_a_file_a_command_or_another_header(scene):
    """Hostile texts in every field that a job or recipient has: they are refused, or stay what they are."""
    s = scene(host(), ONE_DOMAIN)
    mark = os.path.join(s.daemon.directory, "mark")
    hostile = [f"$(touch {mark})", f"`id>{mark}`", f"; touch {mark};", f"|touch {mark}", "../../etc/passwd",
               "file:///etc/passwd", "/etc/passwd", "x\r\nBcc: v@a.test", "x\nBcc: v@a.test", "%s%n",
               "{{to}}\r\nX-Injected: 1", "\r\n.\r\nMAIL FROM:<evil@a.test>\r\n"]
    fields = ["tenant", "campaign", "pool", "from", "envid", "idempotency_key"]
    accepted = 0
    for text in hostile:
        for field in fields:
            one = job(**({field: text} if field != "envid" else {"dsn": {"envid": text}}))
            answer = s.daemon.submit(one, ["a@a.test"])
            assert answer.status in (202, 400), (field, text, answer)
            accepted += answer.status == 202
        message = {"from": "news@sender.test", "to": "{{to}}", "subject": text, "text": text,
                   "headers": {"X-Test": text}}
        answer = s.daemon.submit(job(message=message), [{"to": "a@a.test", "id": text}])
        assert answer.status in (202, 400), (text, answer)
        answer = s.daemon.submit(job(), [{"to": "a@a.test", "vars": {"name": text}, "metadata": {"a": text}}])
        assert answer.status == 202, answer
        accepted += 1
    assert accepted > len(hostile)
    s.daemon.wait_counts(s.daemon.get("/v1/jobs?limit=1").json["jobs"][0]["job"], delivered=1)
    assert not os.path.exists(mark)
    known = {"log", "postrider.yaml", "state", "jobs.sock"}
    assert set(os.listdir(s.daemon.directory)) <= known
    for delivery in s.world.deliveries():
        assert delivery.recipient == "a@a.test" and delivery.sender != "evil@a.test", delivery
