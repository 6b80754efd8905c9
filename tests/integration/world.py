"""Starts build/world for a test: on free ports, from a scenario given as a dict or as YAML text.

    with World.start({"hosts": [{"name": "mx.a.test", "address": "127.0.1.1"}],
                      "domains": [{"name": "a.test", "mx": [[10, "mx.a.test"]]}]}) as world:
        world.dns                     # ("127.0.0.1", 40001)
        world.port("mx.a.test")       # the port; world.address("mx.a.test") the first address
        world.stats()["totals"]["messages"]
        world.host("mx.a.test", "refuse", True)
        world.deliveries()            # the log, as Delivery tuples
        world.ask("record FILE 1000")
        read_record("FILE")           # Record tuples and the number of those outside

Where the scenario does not say, dns listens on a free port and smtp_port is one free port for all hosts.
stop() (or the end of `with`) returns the summary and fails if the world did not end cleanly.
"""
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections import namedtuple

import sanitizer
from sanitizer import BUILD, PATIENCE

Delivery = namedtuple("Delivery", "time_ms host connection helo sender recipient size digest tls")
Record = namedtuple("Record", "delivered_ns head body count size")


class Digest(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def digest(message):
    """The digest the world logs for these bytes (after dot stuffing is taken out, with the last CRLF)."""
    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_128bits.restype = Digest
    library.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    value = library.XXH3_128bits(message, len(message))
    return f"{value.high:016x}{value.low:016x}"


def parts(message):
    """The two digests a record holds for these bytes."""
    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    blank = -2 if message.startswith(b"\r\n") else message.find(b"\r\n\r\n")
    head = message[:blank + 2] if blank != -1 else message
    return library.XXH3_64bits(head, len(head)), library.XXH3_64bits(message[len(head):],
                                                                     len(message) - len(head))


def read_record(path):
    """See bench/record.h: a list of Record by number, and how many recipients were outside."""
    with open(path, "rb") as file:
        content = file.read()
    magic, version, slot_bytes, slots, outside = struct.unpack_from("=8sIIQQ", content)
    assert (magic, version, slot_bytes, len(content)) == (b"PRRECORD", 1, 32, 64 + 32 * slots)
    return [Record(*fields) for fields in struct.iter_unpack("=QQQII", content[64:])], outside


class World:
    @classmethod
    def start(cls, scenario, directory=None, wait=10, options=(), log=True):
        """The scenario is a dict or YAML text; `directory`, if given, keeps the files. Without a log there
        are no deliveries()."""
        return cls(scenario, directory, wait, options, log)

    def __init__(self, scenario, directory, wait, options=(), log=True):
        self.temporary = None if directory else tempfile.mkdtemp(prefix="world-")
        self.directory = str(directory or self.temporary)
        if isinstance(scenario, dict):
            scenario = json.dumps({"dns": {"listen": "127.0.0.1:0"}, "smtp_port": 0, **scenario})
        with open(self.path("scenario.yaml"), "w", encoding="utf-8") as file:
            file.write(scenario)
        self.process = subprocess.Popen(
            [os.path.join(BUILD, "world"), "-c", self.path("control"), "-s", self.path("summary"),
             "-p", self.path("ports"), *(["-l", self.path("log")] if log else []), *options,
             self.path("scenario.yaml")],
            stdout=subprocess.PIPE, stderr=open(self.path("stderr"), "w", encoding="utf-8"), text=True)
        self.summary = None
        readable, _, _ = select.select([self.process.stdout], [], [], wait * PATIENCE)
        self.ready = self.process.stdout.readline() if readable else ""
        if not self.ready.startswith("world: ready"):
            self.process.kill()
            self.process.wait()
            raise RuntimeError("the world did not start: " + self.errors())
        with open(self.path("ports"), encoding="utf-8") as file:
            self.ports = json.load(file)
        address, port = self.ports["dns"].rsplit(":", 1)
        self.dns = (address, int(port))
        self.smtp_port = self.ports["smtp_port"]
        self.control = socket.socket(socket.AF_UNIX)
        self.control.settimeout(10 * PATIENCE)
        self.control.connect(self.path("control"))
        self.answers = self.control.makefile("r")

    def path(self, name):
        return os.path.join(self.directory, name)

    def errors(self):
        with open(self.path("stderr"), encoding="utf-8") as file:
            return file.read()

    def port(self, host):
        return self.ports["hosts"][host]["port"]

    def address(self, host):
        return self.ports["hosts"][host]["addresses"][0]

    def ask(self, line):
        """One line to the control socket; its answer. An error raises ValueError."""
        self.control.sendall(line.encode() + b"\n")
        answer = json.loads(self.answers.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def stats(self):
        return self.ask("stats")

    def counts(self, host):
        """Of a host or a group."""
        stats = self.stats()
        return stats["hosts"].get(host) or stats["groups"][host]

    def reset(self):
        self.ask("reset")

    def host(self, name, key, value):
        """Changes a character while running: host("mx.a.test", "greylist", 5)."""
        self.ask(f"host {name} {key} {json.dumps(value)}")

    def domain(self, name, **keys):
        """Replaces a domain: domain("a.test", mx=[[10, "mx.b.test"]])."""
        self.ask(f"domain {name} {json.dumps(keys)}")

    def deliveries(self):
        """What was accepted up to now: a list of Delivery, numbers as int and tls as bool."""
        if self.process.poll() is None:
            self.stats()
        with open(self.path("log"), encoding="utf-8") as file:
            rows = [line.rstrip("\n").split("\t") for line in file]
        return [Delivery(int(r[0]), r[1], int(r[2]), r[3], r[4], r[5], int(r[6]), r[7], r[8] == "yes")
                for r in rows]

    def wait(self, condition, seconds=10):
        """Polls until condition(stats) is true; returns these stats, or fails."""
        seconds *= PATIENCE
        end = time.monotonic() + seconds
        while True:
            stats = self.stats()
            if condition(stats):
                return stats
            if time.monotonic() > end:
                raise AssertionError(
                    f"the world did not get there within {seconds} s: {json.dumps(stats['totals'])}")
            time.sleep(0.02)

    def stop(self):
        """Ends it; the summary. Raises if it crashed, could not end, or a sanitizer had anything to say."""
        if self.summary is not None:
            return self.summary
        self.answers.close()
        self.control.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(10 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process.stdout.close()
        errors = self.errors()
        sanitizer.check(errors, "the world's stderr")
        if code != 0:
            raise RuntimeError(f"the world ended with {code}: {errors}")
        with open(self.path("summary"), encoding="utf-8") as file:
            self.summary = json.load(file)
        if self.temporary:
            shutil.rmtree(self.temporary)
        return self.summary

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
