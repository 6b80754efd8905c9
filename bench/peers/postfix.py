"""Postfix, Debian's. Run in the foreground from a configuration, queue and data directory of its own."""
import os

from . import packages
from .adapter import HERE, Engine, Setting, lines, run

PROGRAMS = ["/usr/lib/postfix/sbin/master", "/usr/lib/postfix/sbin/smtp", "/usr/sbin/postfix",
            "/usr/sbin/postqueue"]
QUEUES = ("maildrop", "incoming", "active", "deferred", "hold")

MASTER = """\
127.0.0.1:2525 inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix(Engine):
    name = "postfix"
    users = {"postfix": ["postfix", "postdrop"]}
    DURABILITY = "queue file synced before it acknowledges (its default)"
    SETTINGS = [
        Setting("compatibility_level = 3.6", HERE, "COMPATIBILITY_README"),
        Setting("queue_directory = {directory}/queue", HERE, "postconf(5)"),
        Setting("data_directory = {directory}/data", HERE, "postconf(5)"),
        Setting("mail_owner = postfix", HERE, "postconf(5)"),
        Setting("setgid_group = postdrop", HERE, "postconf(5)"),
        Setting("myhostname = {hostname}", HERE, "postconf(5)"),
        Setting("mydestination =", HERE, "postconf(5)"),
        Setting("mynetworks = 127.0.0.0/8", HERE, "postconf(5)"),
        Setting("inet_interfaces = 127.0.0.1", HERE, "postconf(5)"),
        Setting("inet_protocols = ipv4", "the receivers have IPv4 only: no AAAA queries", "postconf(5)"),
        Setting("alias_maps =", "no local recipients", "postconf(5)"),
        Setting("local_recipient_maps =", "no local recipients", "postconf(5)"),
        Setting("smtpd_peername_lookup = no", "no DNS query for the client's name", "postconf(5)"),
        Setting("smtpd_client_connection_count_limit = 0", "limits must not touch legitimate traffic",
                "TUNING_README"),
        Setting("receive_override_options = no_header_body_checks, no_unknown_recipient_checks, "
                "no_address_mappings", "no patterns, no table look-ups a message", "TUNING_README"),
        Setting("smtputf8_enable = no", "addresses are ASCII: no detection a message", "SMTPUTF8_README"),
        Setting("in_flow_delay = 0", "intake isn't paused: the submission rate is bounded by 16 connections",
                "TUNING_README, QSHAPE_README"),
        Setting("qmgr_message_active_limit = 100000", "the active queue never fills up", "QSHAPE_README"),
        Setting("qmgr_message_recipient_limit = 100000", "goes with the former", "QSHAPE_README"),
        Setting("smtp_tls_security_level = none", "the receivers offer no TLS", "TLS_README"),
        Setting("smtpd_tls_security_level = none", "no TLS on the loopback either", "TLS_README"),
    ]

    @classmethod
    def fetch(cls, cache):
        return packages.debian(cache, "postfix", ["postfix"], PROGRAMS)

    def configure(self):
        for name in ("queue", "data"):
            os.makedirs(self.path(name))
        run("chown", "postfix", self.path("data"), check=True)
        text = lines(self.SETTINGS, directory=self.directory, hostname=self.scene.hostname)
        self.write("etc/main.cf", text)
        self.write("etc/master.cf", MASTER)

    def command(self):
        return ["/usr/sbin/postfix", "-c", self.path("etc"), "start-fg"]

    def empty(self):
        """Without asking a server: a directory that holds no file, hashed ones included."""
        for queue in QUEUES:
            for _, _, files in os.walk(self.path("queue", queue)):
                if files:
                    return False
        return True

    def waiting(self):
        return run("/usr/sbin/postqueue", "-c", self.path("etc"), "-p").stdout

    def version(self):
        told = run("/usr/sbin/postconf", "-c", self.path("etc"), "-d", "-h", "mail_version")
        return "Postfix " + told.stdout.strip()
