"""Against servers that this project did not write: Postfix's smtp-sink and aiosmtpd as receivers, Knot and
dnsmasq for DNS."""
import email
import email.policy
import os
import subprocess

import pytest
from daemon import Daemon, free_port, job
from mta import Aiosmtpd
from nameserver import Dnsmasq, Knot


class Process:
    def __init__(self, args, **kw):
        self.process = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **kw)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


ZONE = """$ORIGIN test.
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
a MX 10 mx.a
mx.a A 127.0.7.1
a4 A 127.0.7.1
null MX 0 .
alias CNAME a
two MX 10 gone.mx
two MX 20 mx.a
"""


def daemon(dns_server, port, more=""):
    return Daemon(f'dns: {{ servers: ["{dns_server}"], timeout: 2s }}\nsites:\n'
                  f"  - {{ name: default, port: {port}, idle_timeout: 1s }}\n{more}")


RECORDS = ["--local=/test/", "--mx-host=a.test,mx.a.test,10", "--host-record=mx.a.test,127.0.7.1"]


def test_aiosmtpd_gets_exactly_what_was_meant():
    with Dnsmasq(*RECORDS) as dns, Aiosmtpd() as peer:
        with daemon(dns.server, peer.port) as d:
            raw = ("From: a@sender.test\nTo: {{to}}\nSubject: =?utf-8?q?x?= {{name}}\n\n"
                   ".\n..two\n" + "é" * 600 + "\n{{name}}\n.\n")
            people = [{"to": f"u{i}@a.test", "vars": {"name": f"N {i}"}} for i in range(50)]
            answer = d.submit(job(message={"raw": raw}), people)
            ident = answer.json["jobs"][0]["job"]
            d.wait_counts(ident, delivered=50)
            kept = {e.rcpt_tos[0]: e for e in peer.envelopes}
            assert len(peer.envelopes) == 50 == len(kept)
            for row in d.recipients(ident):
                preview = d.get(f"/v1/recipients/{row['rid']}/message").body.encode()
                assert kept[row["to"]].content == preview
                read = email.message_from_bytes(preview, policy=email.policy.default)
                assert read.get_content().replace("\r\n", "\n").startswith(".\n..two\n" + "é" * 600)
            assert kept["u7@a.test"].mail_from == "news@sender.test"


def test_rejections_by_aiosmtpd():
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("no"):
            return "550 5.1.1 no such person"
        if address.startswith("later"):
            return "451 4.7.1 greylisted, please try again in 2 seconds"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"
    with Dnsmasq(*RECORDS) as dns, Aiosmtpd(handle_RCPT=handle_RCPT) as peer:
        with daemon(dns.server, peer.port) as d:
            answer = d.submit(job(), ["yes@a.test", "no@a.test", "later@a.test"])
            ident = answer.json["jobs"][0]["job"]
            d.wait_counts(ident, delivered=1, bounced=1, deferred=1)
            assert {r["to"]: r["status"] for r in d.recipients(ident)}["later@a.test"] == "4.7.1"


@pytest.mark.parametrize("flags", [[], ["-p"], ["-e"], ["-8"]])
def test_smtp_sink(flags):
    """-p: no PIPELINING; -e: no ESMTP; -8: no 8BITMIME."""
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = ["/usr/sbin/smtp-sink", *user, *flags, f"inet:127.0.7.1:{port}", "200"]
    with Dnsmasq(*RECORDS) as dns, Process(command) as sink:
        assert sink.process.poll() is None
        with daemon(dns.server, port) as d:
            answer = d.submit(job(), [f"u{i}@a.test" for i in range(2000)])
            d.wait_counts(answer.json["jobs"][0]["job"], 60, delivered=2000)


def test_knot_answers_of_each_kind():
    with Knot({"test": ZONE}) as dns, Aiosmtpd() as peer:
        with daemon(dns.server, peer.port) as d:
            people = ["u@a.test", "u@a4.test", "u@alias.test", "u@two.test", "u@null.test", "u@none.test"]
            ident = d.submit(job(), people).json["jobs"][0]["job"]
            d.wait_counts(ident, delivered=4, bounced=2)
            said = {r["to"]: r["status"] for r in d.recipients(ident)}
            assert said["u@null.test"] == "5.1.10" and said["u@none.test"] == "5.1.2"
