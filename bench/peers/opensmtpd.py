"""OpenSMTPD, Debian's portable build. Its queue's place is compiled in, so a directory of ours is bound
there.

Two things it would not do by itself here. It does not sync a new message before it acknowledges it
(strace: renames, no fsync), so its queue is made synchronous, as chattr +S does. And it delivers a domain
at a time, with a pause of 5 s between connections to one host: 1,000 domains at one site would take it
hours. Its grammar has limits for that which its manual leaves out. Measured: 13 messages in 74 s without
them, 626 a second with them, 205 when synchronous too."""
import os

from . import packages
from .adapter import HERE, Engine, Setting, lines, run

SMTPD = "/usr/sbin/smtpd"
GRAMMAR = "not in smtpd.conf(5), only in its grammar, parse.y and limit.c"
SPOOL = "/var/spool/smtpd"


class Opensmtpd(Engine):
    name = "opensmtpd"
    users = {"opensmtpd": ["opensmtpd"], "opensmtpq": ["opensmtpq"]}
    DURABILITY = "its queue's directory made synchronous (chattr +S; on its own it syncs no new message)"
    SETTINGS = [
        Setting("listen on 127.0.0.1 port 2525 hostname {hostname}", HERE, "smtpd.conf(5)"),
        Setting('action "out" relay helo {hostname}', HERE, "smtpd.conf(5)"),
        Setting('match from any for any action "out"', HERE, "smtpd.conf(5)"),
        Setting("smtp limit max-mails 1000000",
                "a session of the load takes all its messages, not only a hundred", "smtpd.conf(5)"),
        Setting("mta limit conn-delay-route 0", "without: one connection to a host in 5 s", GRAMMAR),
        Setting("mta limit reconn-delay-route 0", "without: 3 s", GRAMMAR),
        Setting("mta limit conn-delay-relay 0", "without: one connection for a domain in 2 s", GRAMMAR),
        *(Setting(f"mta limit max-conn-per-{what} 10000",
                  f"without: {default}, and where it is reached a pause of 5 s", GRAMMAR)
          for what, default in (("host", 10), ("route", 5), ("source", 100), ("connector", 20))),
    ]

    @classmethod
    def fetch(cls, cache):
        return packages.debian(cache, "opensmtpd", ["opensmtpd"], [SMTPD])

    def configure(self):
        os.makedirs(self.path("spool"))
        os.chmod(self.path("spool"), 0o711)
        run("chattr", "+S", self.path("spool"), check=True)
        self.write("smtpd.conf", lines(self.SETTINGS, hostname=self.scene.hostname), 0o600)

    def mounts(self):
        return {SPOOL: self.path("spool")}

    def command(self):
        return [SMTPD, "-d", "-f", self.path("smtpd.conf")]

    def left(self):
        """The envelopes in the queue: files of 16 hexadecimal digits."""
        return [os.path.join(place, name) for place, _, names in os.walk(self.path("spool", "queue"))
                for name in names if len(name) == 16]

    def empty(self):
        return not self.left()

    def waiting(self):
        """Recipient and last error of the first ones (smtpctl would want to be set-group-id)."""
        rows = []
        for path in self.left()[:50]:
            with open(path, encoding="utf-8", errors="replace") as file:
                told = [line.strip() for line in file if line.startswith(("rcpt:", "errorline:"))]
            rows.append("  ".join(told))
        return "\n".join(rows)

    def version(self):
        said = run(SMTPD, "-h")
        return (said.stdout + said.stderr).split("version:")[-1].split("\n")[0].strip()
