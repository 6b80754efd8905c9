"""One case of a scenario, once: fresh directory, world, raw ceiling, daemon, load, check; figures out.

The four flows share the Stage, which starts programs and knows where their files lie. State is on the real
disk of --directory. What only the bench writes (records of deliveries and acceptances) is kept in memory
where there is /dev/shm, so that its pages are not among those that the daemon's syncs wait for."""
import contextlib
import json
import os
import shutil
import socket
import statistics
import tempfile
import time

from .processes import Daemon, Memory, Tool, Trouble, World, now_ns, tail, wait_for

FILES_KEPT = 136    # the daemon keeps 128 for all but sessions; some for who asks it here
STILL_S = 60    # without any progress a wait is given up
POLL_S = 0.05
HOLD = "1/h"    # a rate at which next to nothing leaves: accepting is measured alone


class Stage:
    """Where one case runs once."""

    def __init__(self, case, build, directory, stores, seen):
        self.case, self.build, self.directory, self.stores = case, build, directory, stores
        self.seen = seen        # figures of this run's earlier cases, and raw ceilings by what they measured
        self.programs = contextlib.ExitStack()
        self.port = None    # of the daemon's listener for SMTP

    def __enter__(self):
        above = "/dev/shm" if os.access("/dev/shm", os.W_OK) else self.directory
        self.records = tempfile.mkdtemp(prefix="postrider-bench-", dir=above)
        self.programs.callback(shutil.rmtree, self.records, True)
        return self

    def __exit__(self, *error):
        return self.programs.__exit__(*error)

    def record(self, name):
        return os.path.join(self.records, name)

    def world(self):
        return self.programs.enter_context(World(self.build, self.case.world, self.directory))

    def daemon(self, world, config=None, wait=True):
        clients = self.clients()
        config = config or self.case.config()
        if self.case.load["verb"] == "smtp":
            self.port = self.port or free_port()
            listener = {"listen": f"127.0.0.1:{self.port}", "networks": ["127.0.0.0/8"],
                        "max_connections": clients}
            config = {**config, "submission": [listener]}
        return self.programs.enter_context(
            Daemon(self.build, config, world, self.directory, wait,
                   self.case.sessions["in_all"] + clients + FILES_KEPT))

    def clients(self):
        return self.case.load.get("connections", 1)

    def tool(self, name, program, *options):
        argv = [os.path.join(self.build, program)] + [str(option) for option in options]
        return self.programs.enter_context(Tool(name, argv, self.directory))

    def place_store(self):
        """What the case starts from; with a history, a copy of what was built once."""
        if self.case.store != "fresh":
            self.stores.place(self.case.store, self.case.history, os.path.join(self.directory, "state"))

    def load(self, daemon):
        """Starts the load; its result comes from .result()."""
        case, load = self.case, self.case.load
        options = ["--domains", case.domains, "--size", case.message["size"],
                   "--accepts", self.record("accepts")]
        options += ["--unmerged"] * (case.message["kind"] == "unmerged")
        if load["verb"] == "smtp":
            return self.tool("load", "load", "smtp", *options, "--connect", f"127.0.0.1:{self.port}",
                             "--messages", case.recipients, "--connections", self.clients())
        options += ["--socket", daemon.socket]
        if load["verb"] == "bulk":
            options += ["--recipients", case.recipients]
        else:
            options += ["--jobs", case.recipients, "--connections", self.clients(), "--class",
                        "transactional"]
            if "per_upload" in load:
                options += ["--per-upload", load["per_upload"]]
            if "rate" in load:
                options += ["--rate", self.rate(load["rate"])]
        return self.tool("load", "load", load["verb"], *options)

    def rate(self, wanted):
        if not isinstance(wanted, dict):
            return wanted
        return max(1, int(self.seen[wanted["of"]]["delivered_a_second"] * wanted["share"]))

    def content(self):
        message = self.case.message
        return ["--kind", message["kind"], "--size", message["size"], "--domains", self.case.domains]

    def check(self, record, recipients, *options, accepts=True):
        """What `load check` says of the record; a digest that is wrong is a failure."""
        accepted = ["--accepts", self.record("accepts")] if accepts else []
        tool = self.tool("check", "load", "check", "--record", record, "--recipients", recipients,
                         *self.content(), *accepted, *options)
        result = tool.result(300, failures=True)
        if tool.code() != 0:
            raise Trouble("what was delivered is not what was meant: "
                          f"{json.dumps(result)} {tail(tool.err, 3)}")
        return result


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ceiling(stage, world):
    """Figures of raw: same receivers, dialogue and messages, no queue. Measured once a run for all cases that
    have them in common."""
    case = stage.case
    each = case.raw.get("per_transaction", 1)
    sessions = case.raw.get("sessions", case.sessions["in_all"])
    key = json.dumps([case.world, case.domains, case.message, case.raw, sessions], sort_keys=True)
    if key not in stage.seen:
        record, recipients = stage.record("raw"), case.raw["messages"] * each
        world.record(record, recipients)
        host = case.world["hosts"][0]
        target = f"{host.get('addresses') or host['address']}:{world.port}"
        before = world.cpu()
        raw = stage.tool("raw", "raw", "--connect", target, "--connections", min(sessions, recipients),
                         "--messages", case.raw["messages"], "--per-transaction", each, *["--bdat"] * bool(case.raw.get("bdat")),
                         *stage.content())
        result = raw.result(case.patience_s)
        world.record_off()
        stage.check(record, recipients, accepts=False)
        os.unlink(record)
        stage.seen[key] = {"raw_a_second": recipients / result["seconds"], "raw_cpu_s": result["cpu_s"],
                           "raw_world_cpu_s": world.cpu() - before}
    return dict(stage.seen[key])


class Meter:
    """CPU and memory of daemon, receivers and load, apart, from here to `figures`."""

    def __init__(self, daemon, world):
        self.daemon, self.world = daemon, world
        self.daemon_cpu, self.world_cpu = daemon.cpu(), world.cpu()
        self.memory = Memory({"daemon": daemon.pid, "world": world.pid})

    def __enter__(self):
        self.memory.__enter__()
        return self

    def __exit__(self, *_):
        self.memory.__exit__()

    def watch(self, tool):
        self.memory.pids["load"] = tool.pid

    def figures(self, load):
        mib = lambda kib: kib / 1024  # noqa: E731
        memory = self.memory
        return {
            "daemon_cpu_s": self.daemon.cpu() - self.daemon_cpu, "load_cpu_s": load.cpu(),
            "world_cpu_s": self.world.cpu() - self.world_cpu,
            "daemon_memory_mib": mib(memory.own["daemon"]), "daemon_file_mib": mib(memory.files["daemon"]),
            "load_memory_mib": mib(memory.own.get("load", 0)), "world_memory_mib": mib(memory.own["world"]),
            "sockets_mib": mib(memory.sockets - memory.sockets_before),
        }


def ended(status):
    return status["delivered"] + status["bounced"] + status["expired"]


def wait_ended(daemon, world, load, wanted, patience_s):
    """Until the daemon says that so many recipients in all have ended; the status then."""
    deadline = time.monotonic() + patience_s
    moved, last = time.monotonic(), None
    while True:
        world.check_alive()
        status = daemon.status()
        if ended(status) >= wanted:
            return status
        if load.code() not in (None, 0):
            load.result(1)
        state = (status["accepted"], ended(status), status["deferred"])
        if state != last:
            moved, last = time.monotonic(), state
        if time.monotonic() > min(deadline, moved + STILL_S):
            raise Trouble(f"waited for {wanted:,} recipients to end: {json.dumps(status)}")
        time.sleep(POLL_S)


def accepted(load, recipients, patience_s):
    result = load.result(patience_s)
    if result["accepted"] != recipients:
        raise Trouble(f"not all of {recipients:,} recipients were accepted: {json.dumps(result)}")
    return result


def latency(check):
    """From when the injector had read its 202 to when the receiver had queued its 250."""
    times = check.get("latency_ms") or {}
    return {f"latency_{name}_ms": times[name] for name in ("p50", "p99") if times.get(name) is not None}


def secured(world, seconds):
    """TLS handshakes, where there were any."""
    tls = world.totals()["tls"]
    if tls["sessions"] == 0:
        return {}
    return {"handshakes_a_second": tls["sessions"] / seconds, "resumed": tls["resumed"] / tls["sessions"]}


def deliver(stage):
    case = stage.case
    stage.place_store()
    world = stage.world()
    figures = ceiling(stage, world) if case.raw else {}
    daemon = stage.daemon(world)
    before = daemon.status()
    world.record(stage.record("deliveries"), case.recipients)
    with Meter(daemon, world) as meter:
        load = stage.load(daemon)
        meter.watch(load)
        after = wait_ended(daemon, world, load, ended(before) + case.recipients, case.patience_s)
        result = accepted(load, case.recipients, case.patience_s)
        figures.update(meter.figures(load))
    lenient = ["--allow-missing", "--allow-twice"] if case.unreliable else []
    check = stage.check(stage.record("deliveries"), case.recipients, *lenient)
    bounced = after["bounced"] - before["bounced"]
    if check["missing"] != bounced:
        raise Trouble(f"{bounced:,} bounced, but {check['missing']:,} never came: {json.dumps(check)}")
    seconds = (check["last_ns"] - result["started_ns"]) / 1e9
    figures.update({"accepted_a_second": result["a_second"], "seconds": seconds,
                    "delivered_a_second": check["delivered"] / seconds, **latency(check)})
    figures["daemon_us_each"] = figures["daemon_cpu_s"] * 1e6 / case.recipients
    figures.update(secured(world, seconds))
    if case.raw:
        figures["of_raw"] = figures["delivered_a_second"] / figures["raw_a_second"]
    if case.unreliable:
        figures.update({"bounced_share": bounced / case.recipients, "twice": check["twice"],
                        "ended_a_second": case.recipients / seconds})
    if result.get("behind_ms"):
        figures["load_behind_ms"] = result["behind_ms"]["p99"]
    daemon.stop()
    world.end()
    return figures


def held(config):
    sites = [{**site, "max_rate": HOLD} if site["name"] == "default" else site for site in config["sites"]]
    return {**config, "sites": sites}


def accept(stage):
    """Nothing leaves meanwhile; afterwards the daemon is killed, and all that it promised must be there."""
    case = stage.case
    stage.place_store()
    world = stage.world()
    daemon = stage.daemon(world, held(case.config()))
    before = daemon.status()
    with Meter(daemon, world) as meter:
        load = stage.load(daemon)
        meter.watch(load)
        result = accepted(load, case.recipients, case.patience_s)
        figures = meter.figures(load)
    daemon.kill()
    daemon = stage.daemon(world, held(case.config()))
    there = daemon.status()["accepted"] - before["accepted"]
    if there != case.recipients:
        raise Trouble(f"{case.recipients:,} were accepted, but {there:,} are there after kill -9")
    daemon.stop()
    world.end()
    figures["accepted_a_second"] = result["a_second"]
    figures["daemon_us_each"] = figures["daemon_cpu_s"] * 1e6 / case.recipients
    for name in ("p50", "p99"):
        if (result.get("answer_ms") or {}).get(name) is not None:
            figures[f"answer_{name}_ms"] = result["answer_ms"][name]
    return figures


def steady(stage):
    """Sessions as many as wanted, for a while: what they carry against what the receivers' delays allow."""
    case, wanted = stage.case, stage.case.sessions["in_all"]
    world = stage.world()
    daemon = stage.daemon(world)
    world.record(stage.record("deliveries"), case.recipients)
    time.sleep(0.5)
    with Meter(daemon, world) as meter:
        idle = meter.memory.own["daemon"]
        load = stage.load(daemon)
        meter.watch(load)
        wait_for(lambda: daemon.status()["sessions"] >= wanted * 0.99, 120, f"{wanted:,} sessions", 0.1)
        accepted(load, case.recipients, case.patience_s)
        time.sleep(2 * case.steady["transaction_ms"] / 1000)
        sessions, first, start = [], world.totals()["messages"], now_ns()
        while now_ns() - start < case.steady["seconds"] * 1e9:
            sessions.append(daemon.status()["sessions"])
            time.sleep(0.1)
        messages, seconds = world.totals()["messages"] - first, (now_ns() - start) / 1e9
        if daemon.status()["queued"] == 0:
            raise Trouble(f"{case.recipients:,} recipients are too few: all were gone within {seconds:.0f} s")
        figures = meter.figures(load)
    possible = wanted / (case.steady["transaction_ms"] / 1000)
    figures.update({
        "delivered_a_second": messages / seconds, "possible_a_second": possible,
        "of_possible": messages / seconds / possible, "sessions": statistics.median(sessions),
        "sessions_least": min(sessions),
        "session_kib": (figures["daemon_memory_mib"] * 1024 - idle) / max(sessions),
    })
    figures.update({name: value for name, value in secured(world, 1).items() if name == "resumed"})
    jobs = daemon.ask("GET", "/v1/jobs")["jobs"]
    for job in jobs:
        daemon.operate(f"/v1/jobs/{job['job']}/cancel")
    daemon.stop(120)
    world.end()
    stage.check(stage.record("deliveries"), case.recipients, "--allow-missing")
    return figures


def restart(stage):
    """From the start of a killed daemon, its file no longer in the page cache, to the first delivery."""
    case = stage.case
    stage.place_store()
    world = stage.world()
    daemon = stage.daemon(world, held(case.config()))
    accepted(stage.load(daemon), case.recipients, case.patience_s)
    before = daemon.status()
    daemon.kill()
    forget(os.path.join(daemon.state, "data.mdb"))
    world.record(stage.record("deliveries"), case.recipients)
    daemon = stage.daemon(world, wait=False)
    with Memory({"daemon": daemon.pid}) as memory:
        daemon.wait_up(120)
        up_s = (now_ns() - daemon.started_ns) / 1e9
        wait_for(lambda: daemon.status()["delivered"] > before["delivered"], 120, "the first delivery")
        time.sleep(1)
    daemon.stop(120)
    world.end()
    check = stage.check(stage.record("deliveries"), case.recipients, "--allow-missing", accepts=False)
    return {"first_delivery_s": (check["first_ns"] - daemon.started_ns) / 1e9, "up_s": up_s,
            "queued": before["queued"], "daemon_memory_mib": memory.own["daemon"] / 1024,
            "daemon_file_mib": memory.files["daemon"] / 1024}


def idle(stage):
    """Clients of the SMTP listener that have said EHLO and wait."""
    world = stage.world()
    daemon = stage.daemon(world)
    clients = []
    with Memory({"daemon": daemon.pid}) as memory:
        before = memory.own["daemon"]
        for _ in range(stage.clients()):
            client = socket.create_connection(("127.0.0.1", stage.port), 30)
            client.sendall(b"EHLO load.bench.test\r\n")
            clients.append(client)
        for client in clients:
            said = b""
            while b"250 " not in said:
                said += client.recv(4096)
        time.sleep(1)
        memory.look()
        figures = {"session_kib": (memory.own["daemon"] - before) / len(clients), "sessions": len(clients)}
    for client in clients:
        client.close()
    daemon.stop(120)
    world.end()
    return figures


def forget(path):
    """Drops a file from the page cache, as after a reboot."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


FLOWS = {"deliver": deliver, "accept": accept, "steady": steady, "restart": restart, "idle": idle}


def measure(case, build, directory, stores, seen):
    """The case's figures, once; `seen` is shared by the cases of one run."""
    work = tempfile.mkdtemp(prefix="case-", dir=directory)
    try:
        with Stage(case, build, work, stores, seen) as stage:
            figures = FLOWS[case.flow](stage)
        if case.compare:
            figures["of_compared"] = figures["delivered_a_second"] / seen[case.compare]["delivered_a_second"]
        seen[case.name] = figures
        return figures
    finally:
        shutil.rmtree(work, ignore_errors=True)
