"""DNS servers that this project did not write, on a free port, while a `with` lasts: Dnsmasq(*records),
Knot(zones), and Unbound(knot, zones), a validating resolver in front of it."""
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time

import dns.dnssec
import dns.message
import dns.query
import dns.rrset
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from daemon import free_port

KNOT = """
server:
    rundir: {dir}
    listen: 127.0.0.1@{port}
    user: {user}
database:
    storage: {dir}
policy:
  - id: signed
    algorithm: ecdsap256sha256
    single-type-signing: on
zone:
"""
UNBOUND = """
server:
  interface: 127.0.0.1@{port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: {dir}
  pidfile: ""
  use-syslog: no
  logfile: ""
  do-not-query-localhost: no
  local-zone: "test." nodefault
  qname-minimisation: no
  module-config: "validator iterator"
remote-control:
  control-enable: no
"""


def lapsed(text, origin):
    """The zone signed by a key of its own, long ago but for that key: all its signatures have expired. Its
    text, and the data of the DS record that leads to it."""
    algorithm = dns.dnssec.Algorithm.ECDSAP256SHA256
    private, now = ec.generate_private_key(ec.SECP256R1()), int(time.time())
    key = dns.dnssec.make_dnskey(private.public_key(), algorithm, 257)
    zone = dns.zone.from_text(text, origin, relativize=False)
    sets = [dns.rrset.from_rdata(zone.origin, 300, key)]
    sets += [dns.rrset.from_rdata_list(name, 300, data) for name, data in zone.iterate_rdatasets()]
    signed = []
    for each in sets:
        ends = now + (86400 if each is sets[0] else -86400)
        signature = dns.dnssec.sign(each, private, zone.origin, key, now - 5 * 86400, ends)
        signed += [each.to_text(), dns.rrset.from_rdata(each.name, 300, signature).to_text()]
    return "\n".join([*signed, ""]), dns.dnssec.make_ds(zone.origin, key, "SHA256").to_text()


class Server:
    """A process that listens on TCP and UDP `port`; `server` is its address. Takes another port where
    somebody was faster."""

    def __enter__(self):
        for _ in range(20):
            self.port = free_port()
            self.server = f"127.0.0.1:{self.port}"
            self.log = open(os.path.join(self.directory, "log"), "w", encoding="utf-8")
            self.process = subprocess.Popen(self.command(), stdout=self.log, stderr=self.log,
                                            stdin=subprocess.DEVNULL)
            if self.listens():
                return self
            self.end()
        raise AssertionError(f"no DNS server came up: {open(self.log.name, encoding='utf-8').read()}")

    def __exit__(self, *_):
        self.end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="nameserver-")

    def listens(self):
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self.process.poll() is None
            if self.process.poll() is not None:
                return False
            time.sleep(0.05)
        return False

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.log.close()


class Dnsmasq(Server):
    def __init__(self, *records):
        super().__init__()
        self.records = records

    def command(self):
        return ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                "--user=", "--pid-file=", "--listen-address=127.0.0.1", "--bind-interfaces",
                f"--port={self.port}", *self.records]


class Knot(Server):
    """zones: name to the text of its zone file; None for a zone whose file is missing. Those in `signed` are
    signed."""

    def __init__(self, zones, signed=()):
        super().__init__()
        self.zones, self.signed = zones, signed

    def anchor(self, zone):
        """The zone's key, as a line of a zone file."""
        query = dns.message.make_query(zone, "DNSKEY")
        for _ in range(200):
            answer = dns.query.tcp(query, "127.0.0.1", 10, self.port)
            if answer.answer:
                return f"{zone}. DNSKEY {answer.answer[0][0]}"
            time.sleep(0.05)
        raise AssertionError(f"{zone} has no key: {open(self.log.name, encoding='utf-8').read()}")

    def command(self):
        conf = os.path.join(self.directory, "knot.conf")
        with open(conf, "w", encoding="utf-8") as file:
            file.write(KNOT.format(dir=self.directory, port=self.port, user=getpass.getuser()))
            for name, text in self.zones.items():
                path = os.path.join(self.directory, name)
                file.write(f"  - domain: {name}\n    file: {path}\n    zonefile-sync: -1\n"
                           "    journal-content: none\n")
                if name in self.signed:
                    file.write("    dnssec-signing: on\n    dnssec-policy: signed\n")
                if text is not None:
                    with open(path, "w", encoding="utf-8") as zone:
                        zone.write(text)
        return ["knotd", "-c", conf]


class Unbound(Server):
    """Resolves the zones of the Knot, and validates what an anchor is given for."""

    def __init__(self, knot, anchors):
        super().__init__()
        self.knot, self.anchors = knot, anchors

    def command(self):
        conf = os.path.join(self.directory, "unbound.conf")
        with open(conf, "w", encoding="utf-8") as file:
            file.write(UNBOUND.format(dir=self.directory, port=self.port))
            for zone in self.knot.zones:
                file.write(f"stub-zone:\n  name: {zone}\n  stub-addr: 127.0.0.1@{self.knot.port}\n")
            file.write("server:\n" + "".join(f"  trust-anchor: '{anchor}'\n" for anchor in self.anchors))
        return ["unbound", "-c", conf]
