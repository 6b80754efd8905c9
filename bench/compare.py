#!/usr/bin/python3
"""Measures Postrider against other mail engines on this machine, in one run.

Every engine gets the same load (distinct 4 KiB messages of one recipient from 16 connections, to 1,000
domains at one site), the same receivers (build/world, which reads every byte and records what came, and
offers PIPELINING, SIZE, 8BITMIME and CHUNKING, as large receivers do) and the same duty: to acknowledge a
message only once it is synced to the same real disk. The rate is from the first byte injected to the last
delivery. The number of messages grows until an engine's run lasts ten seconds.

It all runs, as root, in a network and mount namespace of its own (bench/peers/space.py): receivers on
port 25, their DNS on port 53, each peer where it expects to be; nothing outside is touched. Engines are
taken from where they are installed or unpacked into build/peers. How each is configured, and which page
of its manual says so, is printed."""
import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from peers import ENGINES, PEERS, space, verdict  # noqa: E402
from peers.adapter import Missing  # noqa: E402
from peers.group import Group, sweep  # noqa: E402
from suite import machine  # noqa: E402
from suite.processes import Tool, Trouble, World, raise_files, tail, wait_for  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
POLL_S = 0.05
STILL_S = 60        # without any delivery for so long a run is given up
MESSAGES_MOST = 2_000_000
RECEIVER = "198.18.0.1"


def arguments():
    parser = argparse.ArgumentParser(
        prog="bench/compare.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit: 0 measured, 1 an engine could not be measured, or, with --strict, the goal was missed, "
               "2 usage.")
    parser.add_argument("peers", nargs="*", metavar="PEER",
                        help=f"of {', '.join(peer.name for peer in PEERS)}; default: all that can be had")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each engine, in turns (3)")
    parser.add_argument("--messages", type=int, default=20000, metavar="N", help="at least (20000)")
    parser.add_argument("--seconds", type=float, default=10, metavar="S", help="a run lasts at least (10)")
    parser.add_argument("--connections", type=int, default=16, metavar="N", help="of the load (16)")
    parser.add_argument("--size", type=int, default=4096, metavar="BYTES", help="of a message (4096)")
    parser.add_argument("--json", metavar="FILE", help="write all figures of all runs, and the settings")
    parser.add_argument("--directory", default="/var/tmp", metavar="DIR",
                        help="where queues live: a real disk (/var/tmp)")
    parser.add_argument("--build", default=os.path.join(HERE, "..", "build"), metavar="DIR",
                        help="where the programs are, and peers are kept (build)")
    parser.add_argument("--strict", action="store_true", help="exit 1 where the goal is missed")
    args = parser.parse_args()
    for name in args.peers:
        if name not in ENGINES or name == "postrider":
            parser.error(f"no peer '{name}'; there are {', '.join(peer.name for peer in PEERS)}")
    if min(args.runs, args.messages, args.connections) < 1 or args.seconds < 0:
        parser.error("--runs, --messages and --connections want 1 or more, --seconds 0 or more")
    args.build, args.directory = os.path.abspath(args.build), os.path.abspath(args.directory)
    args.json = args.json and os.path.abspath(args.json)
    return args


def say(text):
    print(text, flush=True)


class Scene:
    """What engines are told, and what a run has in common with the others."""

    def __init__(self, args):
        self.hostname, self.build, self.args = space.HOSTNAME, args.build, args
        self.domains = "d{0..999}.test"
        self.world = {"dns": {"listen": "127.0.0.1:53"}, "smtp_port": 25,
                      "hosts": [{"name": "mx.compare.test", "address": RECEIVER, "chunking": True}],
                      "domains": [{"name": name, "mx": [[10, "mx.compare.test"]]}
                                  for name in (self.domains, "bench.test")]}

    def content(self):
        return ["--domains", self.domains, "--size", str(self.args.size)]


class Run:
    """One engine, once, from an empty queue; afterwards nothing of it is left."""

    def __init__(self, kind, scene, messages, directory):
        self.kind, self.scene, self.messages = kind, scene, messages
        self.directory = os.path.join(directory, kind.name)
        self.programs = contextlib.ExitStack()

    def __enter__(self):
        self.files = tempfile.mkdtemp(prefix="compare-", dir="/run")    # in memory: no engine syncs these
        self.programs.callback(shutil.rmtree, self.files, True)
        os.mkdir(self.directory, 0o755)
        os.chmod(self.directory, 0o755)
        self.programs.callback(shutil.rmtree, self.directory, True)
        return self

    def __exit__(self, *error):
        return self.programs.__exit__(*error)

    def file(self, name):
        return os.path.join(self.files, name)

    def tool(self, verb, *options):
        argv = [os.path.join(self.scene.build, "load"), verb, *map(str, options), *self.scene.content()]
        return self.programs.enter_context(Tool(verb, argv, self.files))

    def start(self):
        self.world = self.programs.enter_context(World(self.scene.build, self.scene.world, self.files))
        self.engine = self.kind(self.directory, self.scene)
        self.engine.configure()
        for place, directory in self.engine.mounts().items():
            space.bind(directory, place)
            self.programs.callback(space.unbind, place)
        self.group = Group(self.kind.name)
        self.programs.callback(self.group.end)
        with open(self.file("engine.log"), "w", encoding="utf-8") as log:
            process = self.group.start(self.engine.command(), stdout=log, stderr=log)

        def up():
            if process.poll() is not None:
                raise Trouble(f"{self.kind.name} ended with {process.returncode}: {self.log()}")
            return self.engine.ready()
        wait_for(up, 60, lambda: f"{self.kind.name} to take mail: {self.log()}", 0.05)

    def log(self):
        return tail(self.file("engine.log"))

    def queue(self):
        return f"In {self.kind.name}'s queue: {self.engine.waiting()[:1000] or '-'} {self.log()}"

    def wait_delivered(self, load):
        """Until the receivers have all of it and the queue is empty."""
        got, moved = -1, time.monotonic()
        while got < self.messages:
            time.sleep(POLL_S)
            now = self.world.totals()["messages"]
            if now != got:
                got, moved = now, time.monotonic()
            if load.code() not in (None, 0):
                load.result(1)
            if time.monotonic() > moved + STILL_S:
                raise Trouble(f"{self.kind.name} delivered {got:,} of {self.messages:,} and then nothing for "
                              f"{STILL_S} s. {self.queue()}")

    def figures(self):
        self.start()
        world, group = self.world, self.group
        record, accepts = self.file("record"), self.file("accepts")
        world.record(record, self.messages)
        engine_cpu, world_cpu = group.cpu_s(), world.cpu()
        load = self.tool(*self.engine.load(self.messages), "--connections", self.scene.args.connections,
                         "--accepts", accepts)
        self.wait_delivered(load)
        engine_cpu, world_cpu = group.cpu_s() - engine_cpu, world.cpu() - world_cpu
        group.sample()
        injected = load.result(60)
        if injected["accepted"] != self.messages:
            raise Trouble(f"{self.kind.name} accepted {injected['accepted']:,} of {self.messages:,} messages")
        wait_for(self.engine.empty, 60, lambda: f"the queue to be empty. {self.queue()}", 0.1)
        totals = world.totals()
        # Peers add header lines: their bodies are compared, of Postrider every byte.
        check = self.tool("check", "--record", record, "--accepts", accepts, "--recipients", self.messages,
                          "--kind", "distinct", *["--body-only"] * (self.kind.name != "postrider"))
        result = check.result(300, failures=True)
        if check.code() != 0:
            raise Trouble(f"what {self.kind.name} delivered is not what was meant: {result} "
                          f"{tail(check.err, 3)}")
        if totals["violations"]["total"] and self.kind.name == "postrider":
            raise Trouble(f"the receivers saw violations of SMTP: {totals['violations']}")
        seconds = (result["last_ns"] - injected["started_ns"]) / 1e9
        return {
            "messages": self.messages, "seconds": seconds, "delivered_a_second": self.messages / seconds,
            "accepted_a_second": injected["a_second"], "latency_p50_ms": result["latency_ms"]["p50"],
            "latency_p99_ms": result["latency_ms"]["p99"], "engine_cpu_s": engine_cpu,
            "engine_ms_each": engine_cpu * 1e3 / self.messages, "load_cpu_s": load.cpu(),
            "world_cpu_s": world_cpu, "memory_mib": group.peak_kib / 1024, "processes": group.processes_peak,
            "connections": totals["connections"]["total"], "violations": totals["violations"]["total"],
        }


def measure(kind, scene, messages, work):
    with Run(kind, scene, messages, work) as run:
        return {**run.figures(), "version": run.engine.version()}


def enough(figures, args):
    """How many messages the engine's next run wants; None where this one was long enough."""
    if figures["seconds"] >= args.seconds or figures["messages"] >= MESSAGES_MOST:
        return None
    wanted = figures["messages"] * args.seconds * 1.2 / figures["seconds"]
    return min(MESSAGES_MOST, int(wanted / 1000 + 1) * 1000)


def compare(kinds, scene, work):
    """{engine: [figures of each run]}, {engine: why it could not be measured}."""
    args = scene.args
    figures, failed, messages = {kind: [] for kind in kinds}, {}, {}
    for n in range(args.runs):
        for kind in [kind for kind in kinds if kind not in failed]:
            try:
                wanted = messages.get(kind, args.messages)
                while wanted:
                    messages[kind] = wanted
                    say(f"  {kind.name}, run {n + 1}: {wanted:,} messages")
                    got = measure(kind, scene, wanted, work)
                    wanted = enough(got, args) if n == 0 else None
                figures[kind].append(got)
                say(f"  {kind.name}, run {n + 1}: {got['delivered_a_second']:,.0f} a second "
                    f"in {got['seconds']:.1f} s")
            except (Trouble, Missing, OSError, RuntimeError) as trouble:
                failed[kind] = str(trouble)
                say(f"  FAILED {kind.name}, run {n + 1}: {trouble}")
    return {kind: runs for kind, runs in figures.items() if runs and kind not in failed}, failed


def outside(args):
    """Gets the peers while there is a network, then runs all of this again inside."""
    for name in ("postriderd", "world", "load"):
        if not os.access(os.path.join(args.build, name), os.X_OK):
            sys.exit(f"compare: {args.build}/{name} is not built: make compare builds it")
    os.makedirs(args.directory, exist_ok=True)
    machine.refuse_memory(args.directory)
    names, layers, skipped = ["postrider"], [], {}
    for peer in PEERS:
        if args.peers and peer.name not in args.peers:
            continue
        try:
            layers += peer.fetch(os.path.join(args.build, "peers"))
            names.append(peer.name)
        except Missing as why:
            if args.peers:
                sys.exit(f"compare: {why}")
            skipped[peer.name] = str(why)
    work = tempfile.mkdtemp(prefix="postrider-compare-", dir=args.directory)
    os.chmod(work, 0o755)       # peers change to users of their own
    try:
        return space.enter(sys.argv, {"names": names, "layers": layers, "skipped": skipped, "work": work})
    finally:
        shutil.rmtree(work, ignore_errors=True)


def inside(args, plan):
    kinds = [ENGINES[name] for name in plan["names"]]
    for kind in kinds:
        kind.fetch(os.path.join(args.build, "peers"))
    raise_files()
    users = {user: groups for kind in kinds for user, groups in kind.users.items()}
    space.prepare(plan["work"], plan["layers"], users, [name for kind in kinds for name in kind.etc])
    sweep()
    scene, facts = Scene(args), machine.facts(args.build, args.directory)
    say(machine.text(facts))
    say(f"distinct messages of {args.size:,} bytes, one recipient each, from {args.connections} connections "
        "to 1,000 domains at\none site; no TLS, no DKIM; queues on that disk; engine, load and receivers on this "
        f"machine;\n{args.runs} run{'s' if args.runs > 1 else ''}: median [lowest, highest]")
    for name, why in plan["skipped"].items():
        say(f"  left out: {name}: {why}")
    figures, failed = compare(kinds, scene, space.WORK)
    failed = {kind.name: why for kind, why in failed.items()}
    outcome = verdict.Outcome(figures, failed, plan["skipped"], args)
    say(outcome.text())
    if args.json:
        outcome.write(args.json, facts)
    return 1 if failed or (args.strict and outcome.reached is False) else 0


def main():
    args, plan = arguments(), space.plan()
    try:
        return inside(args, plan) if plan else outside(args)
    except Trouble as trouble:
        print(f"compare: {trouble}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
