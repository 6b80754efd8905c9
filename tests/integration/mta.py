"""Mail servers that this project did not write, each real and on loopback, while a `with` lasts:

    with Exim(tls=True) as peer:
        peer.address, peer.port      # takes mail for DOMAINS, from anybody on loopback
        peer.messages()              # what is in its mailbox: a list of Message

Postfix, Exim and OpenSMTPD keep what comes in a maildir, whose lines end with LF; in front of what was sent
stand the fields that the server added. aiosmtpd keeps what it was given. Recipients whose local part is `no`
are refused, and only they.

The first three run as root in mounts and processes of their own (this file is the program that is run there):
in Debian they conflict with one another, so that those that are not installed are unpacked into build/peers
and laid over the machine's own directories, where only they see it. All of it ends with its first process."""
import asyncio
import contextlib
import glob
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import namedtuple

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "bench"), os.path.dirname(os.path.abspath(__file__))]
from peers import packages, space  # noqa: E402

HOST = "mx.a.test"
DOMAINS = ["a.test", "xn--bcher-kva.test"]
# sender, recipient: of the envelope; trace: what the server put in front; content: the rest, with CRLF.
Message = namedtuple("Message", "sender recipient trace content")


def certificate(directory, name=HOST):
    """A key and a certificate that it signed itself; the paths."""
    certificate, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
                    "-out", certificate, "-keyout", key], check=True, stderr=subprocess.DEVNULL)
    return certificate, key


def end_space(process):
    """Ends an unshare and all within: --kill-child is forgotten by a program that changes its user."""
    with contextlib.suppress(FileNotFoundError):  # it has ended already
        with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
            for first in file.read().split():
                os.kill(int(first), signal.SIGKILL)  # and with the first, all; unshare waits for it
    process.wait(30)


class Server:
    """One of Debian's. Of each: name, package, PROGRAMS (what must be there), USERS as in peers/adapter.py,
    ETC (directories below /etc that MOUNTS names), MOUNTS ({place: directory of ours}), RECIPIENT_FIELD (in
    which it says to whom the message was), configure(), command()."""

    USERS, ETC, MOUNTS = {}, [], {}
    TLS_WORKS = True
    address = "127.0.7.1"

    def __init__(self, tls=False, **options):
        self.options, self.tls = options, tls

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def write(self, name, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(name), mode)

    def mkdir(self, name, mode=0o755):
        os.makedirs(self.path(name))
        os.chmod(self.path(name), mode)

    @classmethod
    def layers(cls):
        """As packages.debian says; raises peers.adapter.Missing where the package can't be had."""
        from sanitizer import BUILD
        return packages.debian(os.path.join(BUILD, "peers"), cls.name, [cls.package], cls.PROGRAMS)

    def __enter__(self):
        from daemon import free_port, wait_for
        layers = self.layers()
        self.directory = tempfile.mkdtemp(prefix="mta-", dir=os.environ.get("TMPDIR", "/var/tmp"))
        os.chmod(self.directory, 0o755)
        self.port = free_port()
        if self.tls:
            self.certificate, self.key = certificate(self.directory)
        self.mkdir("mail", 0o777)
        self.configure()
        plan = {"layers": layers, "users": self.USERS, "etc": self.ETC, "scratch": self.path("scratch"),
                "mounts": {place: self.path(name) for place, name in self.MOUNTS.items()},
                "command": self.command()}
        self.log = open(self.path("log"), "w", encoding="utf-8")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable,
             __file__, json.dumps(plan)], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            wait_for(self.greets, 30, f"{self.name} to take mail")
        except BaseException:
            print(self.read_log())
            self.__exit__(True)
            raise
        return self

    def greets(self):
        assert self.process.poll() is None, f"{self.name} ended: {self.read_log()}"
        try:
            with socket.create_connection((self.address, self.port), timeout=5) as peer:
                return peer.recv(512).startswith(b"220")
        except OSError:
            return False

    def read_log(self):
        """Of all files that it logs to."""
        text = ""
        for path in sorted(glob.glob(self.path("log*"))) + glob.glob(self.path("log*", "*")):
            if os.path.isfile(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    text += file.read()
        return text

    def __exit__(self, kind, *_):
        end_space(self.process)
        self.log.close()
        if kind is None:
            shutil.rmtree(self.directory)

    def messages(self):
        return [self.read(path) for path in glob.glob(self.path("mail", "**", "new", "*"), recursive=True)]

    def clear(self):
        for path in glob.glob(self.path("mail", "**", "new", "*"), recursive=True):
            os.remove(path)

    def read(self, path):
        with open(path, "rb") as file:
            lines = file.read().replace(b"\n", b"\r\n")
        # What we send begins with From; no server adds that.
        at = 0 if lines.startswith(b"From:") else lines.index(b"\r\nFrom:") + 2
        trace = lines[:at].decode("utf-8")
        fields = {}
        for line in trace.split("\r\n"):
            name, _, value = line.partition(": ")
            fields.setdefault(name.lower(), value.strip())
        return Message(fields["return-path"].strip("<>"), fields[self.RECIPIENT_FIELD].strip("<>"), trace,
                       lines[at:])


POSTFIX_MASTER = """\
{address}:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""

POSTFIX_MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = /dev/stdout
myhostname = {host}
mydestination =
mynetworks = 127.0.0.0/8
inet_protocols = ipv4
alias_maps =
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {directory}/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_mailbox_limit = 0
message_size_limit = 50000000
smtpd_recipient_restrictions = check_recipient_access texthash:{directory}/etc/refused,
 permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
smtpd_discard_ehlo_keywords = {without}
smtpd_tls_security_level = {level}
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_received_header = yes
{more}
"""


class Postfix(Server):
    name = package = "postfix"
    PROGRAMS = ["/usr/lib/postfix/sbin/master", "/usr/lib/postfix/sbin/virtual", "/usr/sbin/postfix"]
    USERS = {"postfix": ["postfix", "postdrop"]}
    RECIPIENT_FIELD = "x-original-to"

    def configure(self):
        for name in ("queue", "data"):
            self.mkdir(name)
        self.write("etc/main.cf", POSTFIX_MAIN.format(
            directory=self.directory, host=HOST, domains=", ".join(DOMAINS),
            without=self.options.get("without", ""), level="may" if self.tls else "none",
            certificate=self.certificate if self.tls else "", key=self.key if self.tls else "",
            more=self.options.get("more", "")))
        self.write("etc/refused", "no@a.test 550 5.1.1 no such person\n")
        self.write("etc/master.cf", POSTFIX_MASTER.format(address=self.address, port=self.port))

    def command(self):
        data, etc = self.path("data"), self.path("etc")
        return ["/bin/sh", "-c", f"chown postfix {data} && exec postfix -c {etc} start-fg"]


EXIM = """\
primary_hostname = {host}
spool_directory = {directory}/spool
log_file_path = {directory}/log-exim/%slog
local_interfaces = {address}.{port}
acl_smtp_rcpt = acl_rcpt
keep_environment =
disable_ipv6 = true
host_lookup =
smtputf8_advertise_hosts = *
message_size_limit = 50M
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
deliver_drop_privilege = true
tls_advertise_hosts = {tls_hosts}
{tls}
begin acl
acl_rcpt:
  deny message = 5.1.1 no such person
       local_parts = no
  accept domains = {domains}
  deny
begin routers
keep:
  driver = accept
  transport = keep
begin transports
keep:
  driver = appendfile
  directory = {directory}/mail
  maildir_format
  envelope_to_add
  return_path_add
  user = Debian-exim
"""


class Exim(Server):
    name, package = "exim", "exim4-daemon-light"
    PROGRAMS = ["/usr/sbin/exim4"]
    USERS = {"Debian-exim": ["Debian-exim"]}
    ETC, MOUNTS = ["exim4"], {"/etc/exim4": "etc"}
    RECIPIENT_FIELD = "envelope-to"

    def configure(self):
        for name in ("spool", "log-exim"):
            self.mkdir(name)
        tls = f"tls_certificate = {self.certificate}\ntls_privatekey = {self.key}" if self.tls else ""
        self.write("etc/exim4.conf", EXIM.format(
            directory=self.directory, host=HOST, address=self.address, port=self.port,
            domains=":".join(DOMAINS), tls_hosts="*" if self.tls else "", tls=tls))

    def command(self):
        own = f"chown -R Debian-exim:Debian-exim {self.path('spool')} {self.path('log-exim')}"
        keys = f" {self.certificate} {self.key}" if self.tls else ""
        return ["/bin/sh", "-c", f"{own}{keys} && exec {self.PROGRAMS[0]} -bdf -q1m"]


OPENSMTPD = """\
{pki}
smtp max-message-size 50M
table people {{ "@" = "nobody" }}
table domains {{ {domains} }}
listen on {address} port {port} hostname {host} {tls}
action "keep" maildir "{directory}/mail" virtual <people>
match from any for rcpt-to {{ "no@a.test" }} reject
match from any for domain <domains> action "keep"
"""


class Opensmtpd(Server):
    """Debian 12 has it from before OpenSSL 3, with which it offers TLS and then fails in every handshake
    (OpenSMTPD's issue 1171). So what it takes comes in the clear, after that."""

    TLS_WORKS = False
    name = package = "opensmtpd"
    PROGRAMS = ["/usr/sbin/smtpd"]
    USERS = {"opensmtpd": ["opensmtpd"], "opensmtpq": ["opensmtpq"]}
    MOUNTS = {"/var/spool/smtpd": "spool"}
    RECIPIENT_FIELD = "delivered-to"

    def configure(self):
        self.mkdir("spool", 0o711)
        pki = f'pki {HOST} cert "{self.certificate}"\npki {HOST} key "{self.key}"' if self.tls else ""
        self.write("smtpd.conf", OPENSMTPD.format(
            pki=pki, domains=", ".join(DOMAINS), address=self.address, port=self.port, host=HOST,
            tls=f"tls pki {HOST}" if self.tls else "", directory=self.directory), 0o600)

    def command(self):
        return [self.PROGRAMS[0], "-d", "-f", self.path("smtpd.conf")]


class Aiosmtpd:
    """aiosmtpd, on a thread of its own, at a free port or this. tls: True, or the paths of a certificate and
    its key; implicit: TLS from the first byte; server: more arguments of its SMTP; methods: further coroutine
    methods of its handler, by name."""

    name, TLS_WORKS = "aiosmtpd", True

    def __init__(self, tls=False, address="127.0.7.1", utf8=True, server=None, implicit=False, port=0,
                 **methods):
        self.tls, self.address, self.utf8, self.methods = tls, address, utf8, methods
        self.arguments, self.implicit, self.port = server or {}, implicit, port
        self.envelopes = []
        self.ending = contextlib.ExitStack()

    def handler(self):
        outer = self

        class Handler:
            async def handle_RCPT(self, server, session, envelope, address, options):
                if address.startswith("no@"):
                    return "550 5.1.1 no such person"
                envelope.rcpt_tos.append(address)
                return "250 2.1.5 ok"

            async def handle_DATA(self, server, session, envelope):
                outer.envelopes.append(envelope)
                return "250 2.0.0 kept"
        for name, method in self.methods.items():
            setattr(Handler, name, method)
        return Handler()

    def context(self):
        """Of a certificate made for it, unless tls names one: its path and that of its key."""
        directory = self.ending.enter_context(tempfile.TemporaryDirectory())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*(certificate(directory) if self.tls is True else self.tls))
        return context

    def __enter__(self):
        from aiosmtpd.smtp import SMTP
        context = self.context() if self.tls else None
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

        async def serve():
            def session():
                return SMTP(self.handler(), hostname=HOST, enable_SMTPUTF8=self.utf8,
                            tls_context=None if self.implicit else context, data_size_limit=50_000_000,
                            **self.arguments)

            return await self.loop.create_server(session, self.address, self.port,
                                                 ssl=context if self.implicit else None)
        self.server = asyncio.run_coroutine_threadsafe(serve(), self.loop).result(10)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.ending.close()

    def read_log(self):
        return ""

    def messages(self):
        return [Message(e.mail_from, to, "", e.content) for e in self.envelopes for to in e.rcpt_tos]

    def clear(self):
        self.envelopes.clear()


def bind(directory, place):
    os.makedirs(place, exist_ok=True)
    subprocess.run(["mount", "--bind", directory, place], check=True, timeout=30)


def inside(plan):
    """In mounts of its own: the server, and what it is killed with. (It would not die with us itself: for
    programs that become another user, the kernel forgets that.)"""
    subprocess.run(["mount", "--make-rprivate", "/"], check=True, timeout=30)
    etc = os.path.join(plan["scratch"], "etc")
    for name in [".", *plan["etc"]]:
        os.makedirs(os.path.join(etc, name), exist_ok=True)
    for name, text in space.with_users(plan["users"]).items():
        with open(os.path.join(etc, name), "w", encoding="utf-8") as file:
            file.write(text)
    space.lay_over("/etc", [etc, *(os.path.join(layer, "etc") for layer in plan["layers"])])
    for place in ("usr", "var/lib"):
        space.lay_over("/" + place, [os.path.join(layer, place) for layer in plan["layers"]])
    for place in "/var/spool", "/run":  # OpenSMTPD's control socket has one name
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "mta", place], check=True, timeout=30)
    for place, directory in plan["mounts"].items():
        bind(directory, place)
    sys.exit(subprocess.call(plan["command"]))


if __name__ == "__main__":
    inside(json.loads(sys.argv[1]))
