"""The programs of a bench as children of this one: started, asked, waited for, ended.

Every wait is bounded; what fails raises Trouble, one sentence that says what happened and where to look.
Times are CLOCK_MONOTONIC nanoseconds, as in the records, so that stamps of several processes compare."""
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import threading
import time

import yaml

FILES_WANTED = 200_000  # a listener a host, and a socket at either end of each session
SAMPLE_S = 0.05
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Trouble(Exception):
    """What stopped a measurement."""


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def raise_files():
    """Children inherit the limit of open files. Root may raise the hard one; others keep theirs, and a world
    with more hosts than that says so."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, FILES_WANTED), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return
        except (ValueError, OSError):
            continue


def wait_for(condition, seconds, what, pause=0.02):
    """condition()'s first true value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Trouble(f"waited {seconds:g} s for {what() if callable(what) else what}")
        time.sleep(pause)


def tail(path, lines=8):
    try:
        with open(path, errors="replace") as f:
            return "".join(f.readlines()[-lines:]).strip()
    except OSError:
        return ""


def cpu_of(pid):
    """User and system seconds up to now, all threads."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_of(pid):
    """KiB: what is its own (RssAnon + RssShmem), and mapped files, which the kernel can drop."""
    own = files = 0
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(("RssAnon:", "RssShmem:")):
                own += int(line.split()[1])
            elif line.startswith("RssFile:"):
                files = int(line.split()[1])
    return own, files


def socket_memory():
    """KiB of the kernel's for TCP buffers, of all programs."""
    pages = 0
    with open("/proc/net/sockstat") as f:
        for line in f:
            words = line.split()
            if words[0].startswith("TCP") and "mem" in words:
                pages += int(words[words.index("mem") + 1])
    return pages * PAGE // 1024


class Memory(threading.Thread):
    """Peaks, looked at every 50 ms, of the processes given as {name: pid}."""

    def __init__(self, pids):
        super().__init__(daemon=True)
        self.pids, self.own, self.files = dict(pids), {}, {}
        self.sockets_before = self.sockets = socket_memory()
        self.over = threading.Event()

    def look(self):
        for name, pid in list(self.pids.items()):
            try:
                own, files = memory_of(pid)
            except (OSError, ValueError):
                continue
            self.own[name] = max(self.own.get(name, 0), own)
            self.files[name] = max(self.files.get(name, 0), files)
        self.sockets = max(self.sockets, socket_memory())

    def run(self):
        while not self.over.wait(SAMPLE_S):
            self.look()

    def __enter__(self):
        self.look()
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(10)


class Program:
    """A child whose stdout and stderr are files in `directory`."""

    def __init__(self, name, argv, directory):
        self.name, self.argv = name, argv
        self.out, self.err = os.path.join(directory, name + ".out"), os.path.join(directory, name + ".err")
        self.cpu_s = None
        with open(self.out, "w") as out, open(self.err, "a") as err:
            try:
                self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            except OSError as error:
                raise Trouble(f"cannot start {argv[0]}: {error.strerror} (make bench builds it)") from None
        self.pid = self.process.pid

    def code(self):
        """None while it runs. The CPU it took is read before it is reaped: its /proc entry goes with it."""
        if self.process.returncode is None and self.cpu_s is None:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                self.cpu_s = cpu_of(self.pid)
                self.process.wait()
        return self.process.returncode

    def cpu(self):
        return cpu_of(self.pid) if self.code() is None else self.cpu_s

    def alive(self):
        return self.code() is None

    def check_alive(self):
        if not self.alive():
            raise Trouble(f"{self.name} ended with {self.code()}: {tail(self.err)}")

    def wait(self, seconds):
        """Its exit code."""
        end = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > end:
                raise Trouble(f"waited {seconds:g} s for {self.name} to end: {tail(self.err)}")
            time.sleep(0.005)
        return self.code()

    def stop(self, seconds=60):
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        code = self.wait(seconds)
        if code != 0:
            raise Trouble(f"{self.name} ended with {code}: {tail(self.err)}")

    def kill(self):
        if self.alive():
            self.process.kill()
        self.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.alive():
            self.process.kill()
            self.process.wait(60)


class Tool(Program):
    """load or raw: a program that ends by itself and prints one JSON object."""

    def result(self, seconds, failures=False):
        """What it printed; with `failures`, also when it says (exit 1) that it missed what was meant."""
        code = self.wait(seconds)
        with open(self.out) as f:
            text = f.read()
        if code != 0 and not (failures and code == 1):
            raise Trouble(f"{' '.join(self.argv[:2])} ended with {code}: {tail(self.err) or text.strip()}")
        try:
            return json.loads(text)
        except ValueError:
            raise Trouble(f"{' '.join(self.argv)} printed no JSON: {text[:200]!r} {tail(self.err)}") from None


class World(Program):
    """DNS and receiving hosts, in one process and one thread: see build/world --help."""

    def __init__(self, build, scenario, directory):
        self.directory = directory
        path = lambda name: os.path.join(directory, name)  # noqa: E731
        with open(path("world.yaml"), "w") as f:
            json.dump({"dns": {"listen": "127.0.0.1:0"}, "smtp_port": 0, **scenario}, f)
        argv = [os.path.join(build, "world"), "-c", path("world.sock"), "-s", path("world.json"),
                "-p", path("ports.json"), path("world.yaml")]
        super().__init__("world", argv, directory)
        self.summary_file, self.control = path("world.json"), None

        def ready():
            self.check_alive()
            return tail(self.out).startswith("world: ready")
        wait_for(ready, 30, "the receivers to come up")
        with open(path("ports.json")) as f:
            ports = json.load(f)
        self.dns, self.port = ports["dns"], ports["smtp_port"]
        self.control = socket.socket(socket.AF_UNIX)
        self.control.settimeout(60)
        self.control.connect(path("world.sock"))
        self.answers = self.control.makefile("r")

    def ask(self, line):
        self.control.sendall(line.encode() + b"\n")
        answer = json.loads(self.answers.readline() or '{"error": "no answer"}')
        if "error" in answer:
            raise Trouble(f"the world, asked '{line}': {answer['error']}")
        return answer

    def totals(self):
        return self.ask("totals")["totals"]

    def record(self, path, slots):
        self.ask(f"record {path} {slots}")

    def record_off(self):
        self.ask("record off")

    def end(self):
        """Ends it. A client that broke the protocol is a failure, whatever the figures."""
        self.answers.close()
        self.control.close()
        self.stop()
        with open(self.summary_file) as f:
            summary = json.load(f)
        violations = summary["totals"]["violations"]
        if violations["total"]:
            raise Trouble(f"the receivers saw violations of SMTP: {json.dumps(violations)}")
        if summary["accept_failures"]:
            raise Trouble(f"the receivers could not accept {summary['accept_failures']} connections: raise "
                          "the limit of open files (ulimit -Hn)")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("postrider", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon(Program):
    """postriderd with `config` (a dict, as its YAML), its state in `directory`/state. What a user would not
    write for a bench is not written either: durability, time-outs and bounds are what they always are. With
    `files` its open files are limited, as LimitNOFILE= does, and with them its sessions."""

    def __init__(self, build, config, world, directory, wait=True, files=0):
        self.directory, self.state = directory, os.path.join(directory, "state")
        self.socket = os.path.join(directory, "jobs.sock")
        self.config = os.path.join(directory, "postrider.yaml")
        sites = [{"name": "default"}] if not config.get("sites") else config["sites"]
        whole = {"hostname": "mta.bench.test", "state_directory": self.state,
                 "jobs": {"unix": self.socket, "mode": "0600"}, "dns": {"servers": [world.dns]}, **config,
                 "sites": [{"port": world.port, **site} for site in sites]}
        with open(self.config, "w") as f:
            yaml.safe_dump(whole, f, sort_keys=False)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        limit = ["prlimit", f"--nofile={files}:{files}"] if 0 < files < most else []
        self.started_ns = now_ns()
        argv = limit + [os.path.join(build, "postriderd"), "-c", self.config]
        super().__init__("postriderd", argv, directory)
        if wait:
            self.wait_up(60)

    def wait_up(self, seconds):
        wait_for(self.is_up, seconds, lambda: "the daemon to come up: " + tail(self.err))

    def is_up(self):
        self.check_alive()
        try:
            return self.call("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def call(self, method, path, timeout=60):
        connection = UnixConnection(self.socket, timeout)
        try:
            connection.request(method, path, body=b"" if method == "POST" else None)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def ask(self, method, path):
        try:
            status, body = self.call(method, path)
        except OSError as error:
            self.check_alive()
            raise Trouble(f"the daemon, asked {method} {path}: {error}") from None
        if status >= 300:
            raise Trouble(f"the daemon, asked {method} {path}: {status} {body[:300]!r}")
        return json.loads(body)

    def status(self):
        return self.ask("GET", "/v1/status")

    def operate(self, path, seconds=600):
        """Steers and waits for the operation, if it became one."""
        answer = self.ask("POST", path)
        if not answer["done"]:
            wait_for(lambda: self.ask("GET", f"/v1/ops/{answer['op']}")["done"], seconds,
                     f"the operation of {path}", 0.1)
        return answer
