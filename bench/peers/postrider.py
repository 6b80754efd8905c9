"""Postrider itself: takes the same messages as jobs of one recipient over its Unix socket."""
import json
import os

from suite.processes import UnixConnection

from .adapter import HERE, Engine, Setting, lines, run


class Postrider(Engine):
    name = "postrider"
    DURABILITY = "committed and synced before it acknowledges (nothing can weaken it)"
    SETTINGS = [
        Setting("hostname: {hostname}", HERE, "postrider.yaml(5)"),
        Setting("state_directory: {directory}/state", HERE, "postrider.yaml(5)"),
        Setting("jobs: {unix: {directory}/jobs.sock, mode: '0600'}", HERE, "postrider.yaml(5)"),
        Setting("sites: [{name: default, max_connections: 100, max_messages_per_connection: 0}]",
                "as many connections to a receiver as the others have processes; kept while there is mail",
                "postrider.yaml(5)"),
    ]

    def configure(self):
        text = lines(self.SETTINGS, directory=self.directory, hostname=self.scene.hostname)
        self.write("postrider.yaml", text)

    def command(self):
        return [os.path.join(self.scene.build, "postriderd"), "-c", self.path("postrider.yaml")]

    def load(self, messages):
        return ["jobs", "--socket", self.path("jobs.sock"), "--jobs", messages, "--class", "transactional"]

    def ask(self, path):
        connection = UnixConnection(self.path("jobs.sock"), 30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def ready(self):
        try:
            return self.ask("/healthz")[0] == 200
        except OSError:
            return False

    def status(self):
        return json.loads(self.ask("/v1/status")[1])

    def empty(self):
        return self.status()["queued"] == 0

    def waiting(self):
        return json.dumps(self.status())

    def version(self):
        return "Postrider " + run(self.command()[0], "--version").stdout.split()[-1]
