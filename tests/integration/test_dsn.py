"""What senders are told: which reports are made for which NOTIFY, and what a host with DSN is asked for."""
import email
import email.policy
import itertools
import os
import shutil
import subprocess
import tempfile
import time

import pytest
from conftest import ONE_DOMAIN, host
from daemon import PLAIN, Daemon, free_port, job, wait_for
from mta import Aiosmtpd
from nameserver import Dnsmasq


def reports(daemon):
    """The reports made so far, parsed."""
    messages = []
    for made in daemon.get("/v1/jobs?limit=1000").json["jobs"]:
        if made["report"]:
            assert made["from"] == "" and made["bounces"] == "none"
            row = daemon.recipients(made["job"])[0]
            raw = daemon.get(f"/v1/recipients/{row['rid']}/message").body.encode()
            messages.append(email.message_from_bytes(raw, policy=email.policy.SMTP))
    return messages


def told(messages):
    """(recipient, action, status) of all of them."""
    return sorted((group["Final-Recipient"].partition("; ")[2], group["Action"], group["Status"])
                  for message in messages for group in list(message.iter_parts())[1].get_payload()[1:])


def wait_told(daemon, expected, seconds=60):
    wait_for(lambda: told(reports(daemon)) == sorted(expected), seconds,
             f"{sorted(expected)} to be told; told was {told(reports(daemon))}")


NOTIFY = [None, ["never"]] + [list(n) for k in (1, 2, 3)
                              for n in itertools.combinations(["failure", "delay", "success"], k)]


FATES = [("ok", "relayed", "2.0.0", "success"), ("no", "failed", "5.1.1", "failure"),
         ("slow", "delayed", "4.2.2", "delay")]


def test_who_is_told_of_what(scene):
    """Every NOTIFY, for one that is delivered, one that bounces and one that waits, at a host without DSN."""
    s = scene(host(unknown="no*", full="slow*"), ONE_DOMAIN, config="queue: { delay_warning: 3s }\n")
    people, expected = [], []
    for number, notify in enumerate(NOTIFY):
        for fate, action, status, wish in FATES:
            person = {"to": f"{fate}{number}@a.test", "orcpt": f"rfc822;{fate}+{number}@A.test"}
            people.append(person if notify is None else {**person, "notify": notify})
            if wish in (notify or ["failure", "delay"]):
                expected.append((person["to"], action, status))
    answer = s.daemon.submit(job(message={"raw": PLAIN}, dsn={"envid": "E+1=2", "ret": "full"}), people)
    ident = answer.json["jobs"][0]["job"]
    s.daemon.wait_counts(ident, 60, delivered=len(NOTIFY), bounced=len(NOTIFY), deferred=len(NOTIFY))
    wait_told(s.daemon, expected)
    made = reports(s.daemon)
    assert sorted(m["Subject"].split()[0] for m in made) == ["Delayed", "Relayed", "Undelivered"]
    for message in made:
        kind = message["Subject"].split()[0]
        words, fields, original = message.iter_parts()
        about, first = fields.get_payload()[:2]
        assert about["Original-Envelope-Id"] == "E+1=2"
        assert first["Original-Recipient"].startswith("rfc822;") and "+" in first["Original-Recipient"]
        assert ("Will-Retry-Until" in first) == (kind == "Delayed")
        whole = kind == "Undelivered"  # RET is for failures
        assert original.get_content_type() == ("message/rfc822" if whole else "text/rfc822-headers")
        assert message["Auto-Submitted"] == "auto-replied" and message["To"] == "news@sender.test"
    events = s.daemon.events()
    delayed = [e for e in events if e["type"] == "delayed"]
    assert sorted(e["to"] for e in delayed) == sorted(p["to"] for p in people if p["to"].startswith("slow"))
    assert all(e["status"] == "4.2.2" and e["attempt"] == 1 and e["next"] for e in delayed)
    # Nobody is told twice.
    time.sleep(4)
    assert told(reports(s.daemon)) == sorted(expected)


def test_expired_after_it_was_delayed(scene):
    """Who was said to be delayed fails in the end, with the last attempt's own status."""
    s = scene(host(full="*"), ONE_DOMAIN, config="queue: { delay_warning: 2s }\n")
    ident = s.daemon.submit(job(lifetime="12s", bounces="dsn"), ["slow@a.test"]).json["jobs"][0]["job"]
    wait_told(s.daemon, [("slow@a.test", "delayed", "4.2.2")])
    s.daemon.wait_counts(ident, 60, expired=1)
    wait_told(s.daemon, [("slow@a.test", "delayed", "4.2.2"), ("slow@a.test", "failed", "4.2.2")])
    kinds = [e["type"] for e in s.daemon.events() if e["job"] == ident]
    assert kinds == ["accepted", "deferred", "delayed", "expired"]
    # The message had less time than the warning takes: it is not told of.
    short = s.daemon.submit(job(lifetime="2s", bounces="dsn"), ["slow@a.test"]).json["jobs"][0]["job"]
    s.daemon.wait_counts(short, 60, expired=1)
    assert [e["type"] for e in s.daemon.events() if e["job"] == short][-1] == "expired"
    assert "delayed" not in [e["type"] for e in s.daemon.events() if e["job"] == short]


def test_nobody_is_told_where_bounces_are_for_the_report(scene):
    s = scene(host(unknown="no*", full="slow*"), ONE_DOMAIN, config="queue: { delay_warning: 1s }\n")
    ident = s.daemon.submit(job(), ["ok@a.test", "no@a.test", "slow@a.test"]).json["jobs"][0]["job"]
    s.daemon.wait_counts(ident, 60, delivered=1, bounced=1, deferred=1)
    wait_for(lambda: [e["to"] for e in s.daemon.events() if e["type"] == "delayed"] == ["slow@a.test"], 20,
             "the delayed event")
    time.sleep(7)
    assert reports(s.daemon) == []


MAIN = """compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.a.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
smtpd_peername_lookup = no
smtpd_recipient_restrictions = check_recipient_access inline:{{{{refused@a.test=550 5.1.1 no such person}}}}
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_tls_security_level = none
smtpd_tls_security_level = none
transport_maps = inline:{{bounce1@a.test=smtp:[127.0.7.1]:{sink}, bounce2@a.test=smtp:[127.0.7.1]:{sink},
  bounce3@a.test=smtp:[127.0.7.1]:{sink}, a.test=discard:, sender.test=smtp:[127.0.7.1]:{sink}}}
maillog_file = {dir}/log
maillog_file_prefixes = /var, /tmp
"""
MASTER = """127.0.7.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """As a receiver with DSN: it answers for what it accepts, to the sender at sender.test, port `sink`."""

    def __init__(self, sink):
        self.sink, self.port = sink, free_port()
        self.directory = tempfile.mkdtemp(prefix="postfix-", dir="/var/tmp")
        os.chmod(self.directory, 0o755)
        for name in ("etc", "queue", "data"):
            os.mkdir(os.path.join(self.directory, name))
        shutil.chown(os.path.join(self.directory, "data"), "postfix")
        self.write("etc/main.cf", MAIN.format(dir=self.directory, sink=sink))
        self.write("etc/master.cf", MASTER.format(port=self.port))

    def write(self, name, text):
        with open(os.path.join(self.directory, name), "w", encoding="utf-8") as file:
            file.write(text)

    def log(self):
        try:
            with open(os.path.join(self.directory, "log"), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def __enter__(self):
        self.process = subprocess.Popen(
            ["/usr/sbin/postfix", "-c", os.path.join(self.directory, "etc"), "start-fg"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        try:
            wait_for(lambda: "daemon started" in self.log(), 60, "Postfix to start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        subprocess.run(["/usr/sbin/postfix", "-c", os.path.join(self.directory, "etc"), "stop"],
                       capture_output=True, timeout=60)
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/usr/sbin/postfix"),
                    reason="needs Postfix, as root")
def test_a_host_with_dsn_is_asked_for_what_was_given():
    """Postfix reports what it was asked to, in the sender's words, and we report nothing of what it took."""
    records = ["--local=/test/", "--mx-host=a.test,mx.a.test,10", "--host-record=mx.a.test,127.0.7.1",
               "--mx-host=sender.test,mx.sender.test,10", "--host-record=mx.sender.test,127.0.7.1"]
    people = [{"to": "ok@a.test", "notify": ["success", "delay"], "orcpt": "rfc822;Old+x=y@a.test"},
              {"to": "quiet@a.test", "notify": ["failure"]},
              {"to": "plain@a.test"},
              {"to": "bounce1@a.test", "notify": ["failure"]},
              {"to": "bounce2@a.test", "notify": ["never"]},
              {"to": "bounce3@a.test", "orcpt": "utf-8;jörg@ä.test"},
              {"to": "refused@a.test", "notify": ["success", "failure"]}]

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("bounce"):  # what Postfix has accepted and can't deliver
            return "550 5.1.1 no such person"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"
    with Dnsmasq(*records) as dns, Aiosmtpd(handle_RCPT=handle_RCPT) as sender, \
            Postfix(sender.port) as peer, \
            Daemon(f'dns: {{ servers: ["{dns.server}"], timeout: 2s }}\nsites:\n'
                   f'  - {{ name: default, port: {peer.port}, idle_timeout: 1s }}\n'
                   f'  - {{ name: back, mx: ["mx.sender.test"], port: {sender.port} }}\n') as d:
        fields = {"envid": "E+1=2", "ret": "full"}
        ident = d.submit(job(message={"raw": PLAIN}, dsn=fields), people).json["jobs"][0]["job"]
        d.wait_counts(ident, 60, delivered=6, bounced=1)
        wait_told(d, [("refused@a.test", "failed", "5.1.1")])

        def parsed():
            all_of_them = [email.message_from_bytes(e.content, policy=email.policy.SMTP)
                           for e in sender.envelopes]
            return [m for m in all_of_them if "mx.a.test" in m["From"]]
        wait_for(lambda: len(parsed()) >= 2, 60, "Postfix's reports")
        theirs = parsed()
        said = {}
        for message in theirs:
            _, fields, original = message.iter_parts()
            about, *groups = fields.get_payload()
            assert about["Original-Envelope-Id"] == "E+1=2"
            for group in groups:
                said[group["Final-Recipient"].partition("; ")[2]] = (
                    group["Action"], group["Original-Recipient"], original.get_content_type())
        assert said["ok@a.test"] == ("delivered", "rfc822;Old+x=y@a.test", "text/rfc822-headers")
        assert said["bounce1@a.test"][::2] == ("failed", "message/rfc822"), "RET=FULL"
        assert said["bounce3@a.test"][1] == "utf-8;jörg@ä.test", "it reads what RFC 6533 has for 7 bits"
        assert set(said) == {"ok@a.test", "bounce1@a.test", "bounce3@a.test"}, "the others asked for nothing"
        assert told(reports(d)) == [("refused@a.test", "failed", "5.1.1")], "we report only what it refused"


def test_addresses_that_are_not_ascii():
    """To a sender that is not ASCII the report is in UTF-8, to another one in 7 bits."""
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nö"):
            return "550 5.1.1 keine solche Person"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"
    records = ["--local=/test/", "--mx-host=a.test,mx.a.test,10", "--host-record=mx.a.test,127.0.7.1"]
    with Dnsmasq(*records) as dns, Aiosmtpd(handle_RCPT=handle_RCPT) as peer, \
            Daemon(f'dns: {{ servers: ["{dns.server}"], timeout: 2s }}\nsites:\n'
                   f'  - {{ name: default, port: {peer.port}, idle_timeout: 1s }}\n') as d:
        for sender in ("rü@a.test", "plain@a.test"):
            fields = {"from": sender, "message": {"raw": "From: a@a.test\nSubject: Grüße\n\nGrüße\n"},
                      "dsn": {"ret": "full"}}
            d.submit(job(**fields), [{"to": "nö@a.test", "orcpt": "utf-8;Nö@a.test"}])
        kept = wait_for(lambda: len(peer.envelopes) == 2 and {e.rcpt_tos[0]: e for e in peer.envelopes}, 60,
                        "two reports")
        there = email.message_from_bytes(kept["rü@a.test"].content, policy=email.policy.SMTPUTF8)
        assert [part.get_content_type() for part in there.iter_parts()] == [
            "text/plain", "message/global-delivery-status", "message/global"]
        fields = kept["rü@a.test"].content.decode()
        assert "Original-Recipient: utf-8; Nö@a.test\r\nFinal-Recipient: utf-8; nö@a.test\r\n" in fields
        assert "SMTPUTF8" in kept["rü@a.test"].mail_options
        assert list(there.iter_parts())[2].get_payload()[0]["Subject"] == "Grüße"
        here = kept["plain@a.test"]
        assert here.content.isascii() and "SMTPUTF8" not in here.mail_options
        assert told([email.message_from_bytes(here.content, policy=email.policy.SMTP)]) == [
            ("n\\x{F6}@a.test", "failed", "5.1.1")]


def test_a_message_that_can_not_be_returned(scene):
    """At the limits of a message, or with megabytes of header: told all the same, and nobody waits."""
    s = scene(host(unknown="*"), ONE_DOMAIN)
    head = "From: a@sender.test\r\nTo: b@a.test\r\n"
    fields = head + "".join(f"X-{i}: y\r\n" for i in range(1998)) + "\r\nHello\r\n"
    deep = head + "".join(f"Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n"
                          for i in range(15)) + "\r\nHello\r\n"
    long = head + "".join(f"X-{i}: " + "\r\n ".join(["x" * 900] * 6) + "\r\n"
                          for i in range(1600)) + "\r\nHello\r\n"
    for number, raw in enumerate([fields, deep, long, PLAIN]):
        answer = s.daemon.submit(job(bounces="dsn", message={"raw": raw}, dsn={"ret": "full"}),
                                 [f"u{number}@a.test"])
        assert answer.status == 202, answer
    wait_told(s.daemon, [(f"u{number}@a.test", "failed", "5.1.1") for number in range(4)])
    whole = [message.get_content_type() for report in reports(s.daemon)
             for message in list(report.iter_parts())[2:]]
    assert whole.count("message/rfc822") >= 1 and whole.count("text/rfc822-headers") >= 2
