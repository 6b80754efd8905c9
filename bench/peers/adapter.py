"""What an adapter offers, so that an engine can be compared.

A class, derived from Engine, in a module of its own and listed in __init__.py.
Before the private space (space.py) is entered, where downloads work:
    fetch(cache)   gets what is missing into cache/NAME and returns the layers (directories like a root: usr,
                   var) that are laid over the machine's own in the private mounts; raises Missing with a
                   sentence where this machine can't have the engine. Called inside again, with nothing left
                   to get
    users          system users it runs as, {user: [its group, further groups…]}; made up where absent
    etc            directories below /etc that mounts() may name
Inside, as root:
    Engine(directory, scene)   directory: its own, on the real disk, 0755; scene: has hostname, and build, the
                   directory of the programs
    configure()    writes the configuration; called once, first
    mounts()       {path compiled in: directory to be seen there}: below /run, /var/spool, or /etc (see etc)
    command()      what to run; it stays in the foreground, in a control group (group.py) of its own
    ready()        True once it takes mail; by default: its port greets
    inject         (address, port) where it takes mail by SMTP
    load(messages) verb and options of build/load that give it so many; by default: by SMTP, at inject
    empty()        True when nothing waits in its queue
    waiting()      what is left in the queue and why, as text: for the message when it does not become empty
    version()      one line
And said in the report:
    SETTINGS       a Setting for each line of its configuration: what for, and which page of that engine's own
                   manual advises or describes it. The configuration is made of them, so that what is printed
                   is what was used.
    DURABILITY     what has been synced when it acknowledges a message, by default or by SETTINGS
"""
import os
import socket
import subprocess
from collections import namedtuple

HERE = "needed to run here"  # where to listen, where files are: nothing to do with speed

Setting = namedtuple("Setting", "line reason page")


class Missing(Exception):
    """The engine can't be had on this machine; the text is one sentence that says why and what to do."""


def run(*command, seconds=30, **kw):
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL,
                          **kw)


def lines(settings, **values):
    """The configuration lines of settings, {names} replaced by values."""
    text = "".join(setting.line + "\n" for setting in settings)
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


class Engine:
    name = ""
    users = {}
    etc = []
    inject = ("127.0.0.1", 2525)
    SETTINGS = []
    DURABILITY = ""

    def __init__(self, directory, scene):
        self.directory, self.scene = directory, scene

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    @classmethod
    def fetch(cls, cache):
        return []

    def mounts(self):
        return {}

    def load(self, messages):
        return ["smtp", "--connect", f"{self.inject[0]}:{self.inject[1]}", "--messages", messages]

    def ready(self):
        try:
            with socket.create_connection(self.inject, timeout=5) as peer:
                return peer.recv(512).startswith(b"220")
        except OSError:
            return False
