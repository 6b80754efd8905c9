"""A postriderd for one test: temporary state, sockets and configuration, and a client for its API."""
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import sanitizer
from sanitizer import BUILD, PATIENCE, ROOT  # noqa: F401: tests take them from here


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__("postrider", timeout=timeout * PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, status, body):
        self.status, self.body = status, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def lines(self):
        return [json.loads(line) for line in self.body.splitlines() if line]

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


def wait_for(condition, seconds=20, what="the condition"):
    """Polls until condition() is true and returns its value; fails with what after so many seconds, more
    under a sanitizer."""
    seconds *= PATIENCE
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def free_port():
    """A port no one uses, by TCP or UDP at any address; below what the kernel gives to clients, so that it
    stays free."""
    for _ in range(200):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            port = random.randrange(15000, 32000)
            try:
                tcp.bind(("", port))
                udp.bind(("", port))
                return port
            except OSError:
                pass
    raise AssertionError("found no free port")


class Daemon:
    """config: YAML text, since tests should read like what users write, without directories and sockets."""

    def __init__(self, config="", directory=None):
        self.own = directory is None
        above = os.environ.get("TMPDIR", "/var/tmp")
        self.directory = directory or tempfile.mkdtemp(prefix="postrider-test-", dir=above)
        self.state = os.path.join(self.directory, "state")
        self.socket = os.path.join(self.directory, "jobs.sock")
        self.log = os.path.join(self.directory, "log")
        self.config = os.path.join(self.directory, "postrider.yaml")
        self.process = None
        self.environ = None
        self.configure(config)

    def configure(self, config):
        with open(self.config, "w") as f:
            f.write(f"hostname: mta.test\nstate_directory: {self.state}\n"
                    f"jobs: {{ unix: {self.socket}, mode: \"0600\" }}\n{config}\n")

    def start(self, wait=True):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([os.path.join(BUILD, "postriderd"), "-c", self.config],
                                            stderr=log, stdin=subprocess.DEVNULL, env=self.environ)
        if wait:
            wait_for(self.is_up, 20, "the daemon to come up; its log:\n" + self.read_log())
        return self

    def is_up(self):
        assert self.process.poll() is None, "the daemon ended:\n" + self.read_log()
        try:
            return self.get("/healthz").status == 200
        except OSError:
            return False

    def read_log(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def call(self, method, path, body=None, headers=None, timeout=30):
        connection = UnixConnection(self.socket, timeout)
        try:
            if isinstance(body, str):
                body = body.encode()
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.read().decode("utf-8", "replace"))
        finally:
            connection.close()

    def get(self, path, **kw):
        return self.call("GET", path, **kw)

    def post(self, path, body=b"", **kw):
        return self.call("POST", path, body=body, **kw)

    def submit(self, job, recipients, **kw):
        lines = [json.dumps(job)] + [json.dumps(r if isinstance(r, dict) else {"to": r}) for r in recipients]
        return self.post("/v1/jobs", "\n".join(lines) + "\n", **kw)

    def job(self, job):
        return self.get(f"/v1/jobs/{job}").json

    def status(self):
        return self.get("/v1/status").json

    def events(self, after=0):
        return self.get(f"/v1/events?after={after}", timeout=60).lines

    def recipients(self, job, query=""):
        return self.get(f"/v1/jobs/{job}/recipients?limit=100000{query}", timeout=60).lines

    def wait_counts(self, job, seconds=30, **counts):
        def reached():
            now = self.job(job)["counts"]
            return all(now[k] == v for k, v in counts.items())
        try:
            wait_for(reached, seconds, f"job {job} to have {counts}")
        except AssertionError as e:
            raise AssertionError(
                f"{e}; it has {self.job(job)['counts']}\nlog:\n{self.read_log()[-3000:]}") from None

    def cli(self, *args, stdin=None, timeout=60):
        return subprocess.run([os.path.join(BUILD, "postrider"), "-s", self.socket, *args], input=stdin,
                              text=True, capture_output=True, timeout=timeout * PATIENCE)

    def check_log(self):
        sanitizer.check(self.read_log(), "the daemon's log")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)
        self.check_log()

    def stop(self, seconds=30):
        """Stops and asserts that it ended cleanly, and no sanitizer had anything to say, leaks included."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(seconds * PATIENCE)
        self.check_log()
        assert self.process.returncode == 0, f"exit {self.process.returncode}:\n{self.read_log()[-4000:]}"

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.stop()
            else:
                if self.process and self.process.poll() is None:
                    self.process.kill()
                    self.process.wait(30)
                self.check_log()
        finally:
            if self.own and kind is None:
                shutil.rmtree(self.directory, ignore_errors=True)


RAW = ("From: News <news@sender.test>\r\nTo: {{to}}\r\nSubject: Hi {{name|there}}\r\n\r\n"
       "Hello {{name|there}}\r\n.dot\r\n")
PLAIN = "From: News <news@sender.test>\r\nTo: list@sender.test\r\nSubject: Hi\r\n\r\nHello all\r\n.dot\r\n"


def job(**fields):
    return {"from": "news@sender.test", "message": {"raw": RAW}, **fields}
