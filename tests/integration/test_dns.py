"""The resolver against DNS servers that this project did not write: Knot alone, which is authoritative and
does not follow a CNAME out of its zone, and dnsmasq in front of it, as a local resolver would be."""
import os
import subprocess

import pytest
from daemon import BUILD, free_port
from nameserver import Dnsmasq, Knot
from sanitizer import limit

ZONE = """
$TTL 300
@            SOA ns admin 1 3600 600 86400 120
@            NS  ns
ns           A   127.0.0.1
two          MX  20 b.mail
two          MX  10 A.Mail
two          MX  10 c.mail
a.mail       A   192.0.2.1
a.mail   60  A   192.0.2.2
a.mail       AAAA 2001:db8::1
b.mail       A   192.0.2.3
c.mail       AAAA 2001:db8::3
null     900 MX  0 .
implicit     A   192.0.2.4
text         TXT "no mail here"
alias        CNAME two
deep1        CNAME deep2
deep2        CNAME deep3
deep3        CNAME implicit
away         CNAME two.other.test.
lost         CNAME gone
loop1        CNAME loop2
loop2        CNAME loop1
short    0   MX  10 b.mail
*.wild       MX  5 b.mail
host-alias   CNAME a.mail
""" + "\n".join(f"big MX {i} a-rather-long-host-name-number-{i}.somewhere.deep" for i in range(40)) + """
bad          MX  10 "a host"
"""
OTHER = """
$TTL 200
@    SOA ns admin 1 3600 600 86400 120
@    NS  ns.example.test.
two  MX  10 mx.other.test.
"""

@pytest.fixture(scope="module")
def servers():
    zone = ZONE.replace('bad          MX  10 "a host"', r"bad MX 10 a\032host")
    zones = {"example.test": zone, "other.test": OTHER, "broken.test": None}
    with Knot(zones) as knot, Dnsmasq(f"--server=127.0.0.1#{knot.port}", "--cache-size=0") as dnsmasq:
        yield {"knot": knot.server, "dnsmasq": dnsmasq.server}


class Resolved:
    def __init__(self, line):
        self.question, self.status, self.reason, ttl, answer = line.split("|")
        self.ttl = int(ttl)
        self.answer = answer.split(",") if answer else []


def resolve(server, *questions):
    """Each question is "mx:NAME" or "a:NAME"; all in one process, so that its cache is used."""
    run = subprocess.run([os.path.join(BUILD, "unit/test_dns_ares")], capture_output=True, text=True,
                         timeout=60,
                         env={**os.environ, "DNS_TEST_SERVER": server, "DNS_TEST_NAMES": " ".join(questions)})
    assert run.returncode == 0, run.stderr
    lines = [Resolved(line) for line in run.stdout.splitlines()]
    assert [line.question for line in lines] == list(questions)
    return lines


both = pytest.mark.parametrize("which", ["knot", "dnsmasq"])


@both
def test_mail_hosts(servers, which):
    two, null, wild, big, again = resolve(servers[which], "mx:two.example.test", "mx:null.example.test",
                                          "mx:any.wild.example.test", "mx:big.example.test", "mx:two.example.test")
    assert two.status == "ok" and two.ttl == 300
    assert two.answer == ["10 a.mail.example.test", "10 c.mail.example.test", "20 b.mail.example.test"]
    assert again.answer == two.answer
    assert null.status == "null-mx" and null.ttl == 900 and "RFC 7505" in null.reason
    assert wild.answer == ["5 b.mail.example.test"]
    assert big.status == "ok" and len(big.answer) == limit("MX_HOSTS_MAX")  # of 40 records, by TCP: the first
    last = len(big.answer) - 1
    assert big.answer[last] == f"{last} a-rather-long-host-name-number-{last}.somewhere.deep.example.test"


@both
def test_no_mx(servers, which):
    implicit, text, gone, short, bad = resolve(servers[which], "mx:implicit.example.test",
                                               "mx:text.example.test", "mx:gone.example.test",
                                               "mx:short.example.test", "mx:bad.example.test")
    assert implicit.answer == ["0 implicit.example.test implicit"] and implicit.ttl == 120
    assert text.status == "no-mail" and text.ttl == 120
    assert gone.status == "no-domain" and gone.reason == "no such domain" and gone.ttl == 120
    assert short.status == "ok" and short.ttl == 5  # whatever the record says
    assert bad.status == "failed" and "no valid host" in bad.reason


@both
def test_aliases(servers, which):
    alias, deep, lost, loop = resolve(servers[which], "mx:alias.example.test", "mx:deep1.example.test",
                                      "mx:lost.example.test", "mx:loop1.example.test")
    assert alias.answer[0] == "10 a.mail.example.test"
    assert deep.answer == ["0 implicit.example.test implicit"]
    assert lost.status == "no-domain"
    assert "alias of gone.example.test" in lost.reason
    assert loop.status == "failed"


def test_alias_to_another_zone(servers):
    """Knot answers with the CNAME alone: the rest has to be asked for."""
    away, = resolve(servers["knot"], "mx:away.example.test")
    assert away.answer == ["10 mx.other.test"] and away.ttl == 200


@both
def test_addresses(servers, which):
    a, b, c, alias, text, gone = resolve(servers[which], "a:a.mail.example.test", "a:b.mail.example.test",
                                         "a:c.mail.example.test", "a:host-alias.example.test",
                                         "a:text.example.test", "a:gone.example.test")
    assert a.answer[0] == "2001:db8::1" and sorted(a.answer[1:]) == ["192.0.2.1", "192.0.2.2"]
    assert a.ttl in (60, 300)  # RFC 2181 5.2: one TTL a set, which of the two is the server's choice
    assert b.answer == ["192.0.2.3"]
    assert c.answer == ["2001:db8::3"]
    assert sorted(alias.answer) == sorted(a.answer)
    assert text.status == "no-mail"
    assert gone.status == "no-domain"


def test_failures(servers):
    broken, = resolve(servers["knot"], "mx:broken.test")
    assert broken.status == "failed" and "SERVFAIL" in broken.reason and broken.ttl == 5
    foreign, = resolve(servers["knot"], "mx:not.served.test")
    assert foreign.status == "failed" and "REFUSED" in foreign.reason
    nobody, = resolve(f"127.0.0.1:{free_port()}", "mx:two.example.test")
    assert nobody.status == "failed" and "unreachable" in nobody.reason
    fallen, = resolve(f"127.0.0.1:{free_port()},{servers['knot']}", "mx:two.example.test")
    assert fallen.status == "ok"  # the second server
