"""Fixtures: a world and a daemon that uses it, each with what a test asks for."""
import os
import sys

import pytest

# Servers live in sbin, which an ordinary user's PATH lacks.
os.environ["PATH"] += ":/usr/sbin:/sbin"
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon  # noqa: E402
from world import World  # noqa: E402

SENDER = {"hosts": [{"name": "mx.sender.test", "address": "127.0.8.1"}],
          "domains": [{"name": "sender.test", "mx": [[10, "mx.sender.test"]]}]}


class Scene:
    """A world and a daemon whose resolver and port are the world's."""

    def __init__(self, hosts, domains, sites="", config="", site="", servers=None):
        self.world = World.start({"hosts": hosts + SENDER["hosts"], "domains": domains + SENDER["domains"]})
        dns = servers or f"{self.world.dns[0]}:{self.world.dns[1]}"
        self.daemon = Daemon(
            f'dns: {{ servers: ["{dns}"], timeout: 2s }}\n'
            f"sites:\n  - {{ name: default, port: {self.world.smtp_port}, idle_timeout: 1s{', ' + site if site else ''} }}\n"
            f"{sites}{config}")

    def __enter__(self):
        try:
            self.daemon.start()
        except BaseException:
            self.world.stop()
            raise
        return self

    def __exit__(self, *failure):
        try:
            self.daemon.__exit__(*failure)
        finally:
            self.world.stop()

    def delivered(self, host=None):
        return [d for d in self.world.deliveries() if d.sender != "" and (host is None or d.host == host)]


@pytest.fixture
def scene():
    """scene(hosts, domains, …) starts a Scene that ends with the test."""
    open_ones = []

    def make(hosts, domains, **kw):
        opened = Scene(hosts, domains, **kw)
        opened.__enter__()
        open_ones.append(opened)
        return opened
    yield make
    failed = None
    for opened in reversed(open_ones):
        try:
            opened.__exit__(None, None, None)
        except BaseException as e:  # noqa: B902: every one must be ended
            failed = failed or e
    if failed:
        raise failed


ONE_HOST = [{"name": "mx.a.test", "address": "127.0.8.2"}]
ONE_DOMAIN = [{"name": "a.test", "mx": [[10, "mx.a.test"]]}]


def host(**character):
    return [{**ONE_HOST[0], **character}]
