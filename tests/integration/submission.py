"""Listeners for tests of mail that comes in over SMTP, and an aiosmtpd that keeps what goes out."""
import os
import socket
import ssl
import subprocess

from conftest import SENDER, Scene
from daemon import PATIENCE, Daemon, free_port, wait_for
from mta import Aiosmtpd, certificate
from world import World

USER, PASSWORD = "ada@sender.test", "secret & Sesam"


def hashed(password):
    return subprocess.run(["openssl", "passwd", "-6", password], check=True, capture_output=True,
                          text=True).stdout.strip()


class Post(Scene):
    """A daemon with listeners, and a host that keeps all mail.

    with Post() as post:          # options: of all listeners; users: of those that have some
        post.plain, post.secure   # ports: STARTTLS and AUTH, networks allowed; implicit TLS, users only
        post.outside              # nobody is allowed: no users, networks elsewhere
        post.unix                 # a path
        post.kept                 # what arrived: envelopes of aiosmtpd
    """

    def __init__(self, options="", users="", config="", **receiver):
        self.receiver = Aiosmtpd(**receiver).__enter__()
        names = ("a.test", "b.test", "xn--fsqu00a.test")
        domains = [{"name": name, "mx": [[10, "mx.a.test"]]} for name in names]
        self.world = World.start({"hosts": SENDER["hosts"] + [{"name": "mx.a.test", "address": "127.0.7.1"}],
                                  "domains": SENDER["domains"] + domains})
        self.daemon = Daemon()
        directory = self.daemon.directory
        self.certificate, self.key = certificate(directory, "localhost")
        self.users = os.path.join(directory, "users")
        with open(self.users, "w") as f:
            f.write(f"# name:hash:tenant\n{USER}:{hashed(PASSWORD)}:acme\neve:{hashed('x')}\n")
        self.unix = os.path.join(directory, "smtp.sock")
        self.plain, self.secure, self.outside = free_port(), free_port(), free_port()
        tls = "tls_certificate: cert.pem, tls_key: key.pem"
        dns = f"{self.world.dns[0]}:{self.world.dns[1]}"
        users = ", ".join(filter(None, ["users_file: users", users, options]))
        options = ", " + options if options else ""
        self.daemon.configure(
            f'dns: {{ servers: ["{dns}"], timeout: 2s }}\n'
            f"sites:\n  - {{ name: default, port: {self.receiver.port}, idle_timeout: 1s }}\n"
            "submission:\n"
            f"  - {{ listen: 127.0.0.1:{self.plain}, {tls}, {users}, networks: [127.0.0.0/8] }}\n"
            f"  - {{ listen: 127.0.0.1:{self.secure}, {tls}, {users}, implicit_tls: yes }}\n"
            f"  - {{ listen: 127.0.0.1:{self.outside}, networks: [192.0.2.0/24]{options} }}\n"
            f'  - {{ listen: "unix:{self.unix}", mode: "0600"{options} }}\n{config}')

    @property
    def kept(self):
        return self.receiver.envelopes

    def __exit__(self, *failure):
        try:
            super().__exit__(*failure)
        finally:
            self.receiver.__exit__()

    def context(self):
        """For clients that use TLS."""
        return ssl.create_default_context(cafile=self.certificate)

    def wait(self, count, seconds=30):
        wait_for(lambda: len(self.kept) >= count, seconds,
                 f"{count} messages; there are {len(self.kept)}; the log:\n{self.daemon.read_log()[-2000:]}")
        return self.kept

    def jobs(self):
        """The newest first."""
        return self.daemon.get("/v1/jobs").json["jobs"]

    def count(self):
        """How many jobs there have been, if none was refused after it had its number."""
        return int(self.jobs()[0]["job"]) if self.jobs() else 0


class Dialogue:
    """What somebody types: say(line) gives the reply, as one text without its codes' dashes."""

    def __init__(self, port=None, path=None, context=None, source=None):
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.socket.settimeout(20 * PATIENCE)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect(path or ("127.0.0.1", port))
        if context:  # TLS from the first byte
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb")

    def reply(self):
        lines = []
        while True:
            line = self.file.readline().decode()
            if not line:
                return "closed"
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def say(self, line):
        self.send(line + "\r\n")
        return self.reply()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()
