"""Haraka, from npm: its newest release of a date and what that depended on then, so that a comparison can
be repeated."""
import json
import os
import shutil

from . import packages
from .adapter import HERE, Engine, Missing, Setting, lines, run

BEFORE = "2026-09-01"
NODE = 20  # what that release wants
PROGRAM = "node_modules/Haraka/bin/haraka"

# What haraka-plugin-relay's access list would say, for a client on the loopback.
RELAY = """\
exports.hook_connect = function (next, connection) { connection.relaying = true; next() }
exports.hook_rcpt = function (next) { next(OK) }
"""


class Haraka(Engine):
    name = "haraka"
    DURABILITY = "queue file synced before it acknowledges (its default)"
    # Each line as "file: line"; a file of one value has no key.
    SETTINGS = [
        Setting("me: {hostname}", HERE, "CoreConfig"),
        Setting("queue_dir: {directory}/queue", HERE, "CoreConfig"),
        Setting("plugins: loopback", "the client may relay; no other plugin", "Plugins"),
        Setting("smtp.ini: listen=127.0.0.1:2525", HERE, "CoreConfig"),
        Setting("smtp.ini: nodes=cpus", "a worker a core", "CoreConfig; Performance-Tuning (wiki)"),
        Setting("outbound.ini: local_mx_ok=true", HERE, "Outbound"),
        Setting("outbound.ini: enable_tls=false", "the receivers offer no TLS", "Outbound"),
        Setting("outbound.ini: inet_prefer=v4", "the receivers have IPv4 only", "Outbound"),
        Setting("log.ini: [main]", HERE, "Logging"),
        Setting("log.ini: level=WARN", "no line a command", "Logging"),
    ]

    @classmethod
    def fetch(cls, cache):
        said = run("node", "--version").stdout.strip() if shutil.which("node") else "no node"
        if not said.startswith("v") or int(said[1:].split(".")[0]) < NODE:
            raise Missing(f"haraka wants node {NODE} or newer, with npm; here is {said}")
        cls.root = packages.npm(cache, "haraka", "Haraka", BEFORE, PROGRAM)
        return []

    def configure(self):
        for name in ("queue", "plugins"):
            os.makedirs(self.path(name))
        # As haraka -i does:
        shutil.copytree(os.path.join(self.root, "node_modules/Haraka/config"), self.path("config"))
        files = {}
        for row in lines(self.SETTINGS, directory=self.directory, hostname=self.scene.hostname).splitlines():
            name, line = row.split(": ", 1)
            files.setdefault(name, []).append(line)
        for name, rows in files.items():
            self.write(f"config/{name}", "\n".join(rows) + "\n")
        self.write("plugins/loopback.js", RELAY)

    def command(self):
        return [shutil.which("node"), os.path.join(self.root, PROGRAM), "-c", self.directory]

    def empty(self):
        return not os.listdir(self.path("queue"))

    def waiting(self):
        return "\n".join(sorted(os.listdir(self.path("queue")))[:50])

    def version(self):
        with open(os.path.join(self.root, "node_modules/Haraka/package.json"), encoding="utf-8") as file:
            return f"Haraka {json.load(file)['version']}, node {run('node', '--version').stdout.strip()}"
