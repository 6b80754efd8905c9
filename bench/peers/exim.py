"""Exim, Debian's light build. Its configuration is where Debian's build looks for it, so that the
processes it starts anew find it too."""
import os

from . import packages
from .adapter import HERE, Engine, Setting, lines, run

EXIM = "/usr/sbin/exim4"

REST = """
begin acl
acl_rcpt:
  accept hosts = 127.0.0.0/8
begin routers
remote:
  driver = dnslookup
  transport = smtp
begin transports
smtp:
  driver = smtp
begin retry
* * F,2h,1m; F,4d,1h
"""


class Exim(Engine):
    name = "exim"
    users = {"Debian-exim": ["Debian-exim"]}
    etc = ["exim4"]
    DURABILITY = "both spool files synced before it acknowledges (its default)"
    SETTINGS = [
        Setting("primary_hostname = {hostname}", HERE, "14 Main configuration"),
        Setting("spool_directory = {directory}/spool", HERE, "14 Main configuration"),
        Setting("log_file_path = {directory}/log/%slog", HERE, "53 Log files"),
        Setting("local_interfaces = 127.0.0.1.2525", HERE, "13 Starting the daemon"),
        Setting("acl_smtp_rcpt = acl_rcpt", HERE, "44 Access control lists"),
        Setting("keep_environment =", HERE, "14 Main configuration"),
        Setting("tls_advertise_hosts =", "no TLS on the loopback", "43 Encrypted SMTP connections"),
        Setting("disable_ipv6 = true", "the receivers have IPv4 only: no AAAA queries",
                "14 Main configuration"),
        Setting("smtp_accept_queue_per_connection = 0",
                "each message is delivered at once, not only the first ten of a connection",
                "14 Main configuration"),
        Setting("smtp_accept_max = 100", "more connections than the load has", "14 Main configuration"),
        Setting("message_logs = false", "one file less a message", "14 Main configuration"),
        Setting("deliver_drop_privilege = true", "remote deliveries need no root, so no new exec either",
                "56 Security considerations"),
    ]

    @classmethod
    def fetch(cls, cache):
        return packages.debian(cache, "exim", ["exim4-daemon-light"], [EXIM])

    def configure(self):
        for name in ("spool", "log"):
            os.makedirs(self.path(name))
            run("chown", "Debian-exim:Debian-exim", self.path(name), check=True)
        text = lines(self.SETTINGS, directory=self.directory, hostname=self.scene.hostname)
        self.write("etc/exim4.conf", text + REST)

    def mounts(self):
        return {"/etc/exim4": self.path("etc")}

    def command(self):
        return [EXIM, "-bdf", "-q1m"]

    def empty(self):
        return run(EXIM, "-bpc").stdout.strip() == "0"

    def waiting(self):
        return run(EXIM, "-bp").stdout

    def version(self):
        return " ".join(run(EXIM, "-bV").stdout.split()[:3])
