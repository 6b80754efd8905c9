"""The world itself: each character of a host, each kind of DNS answer, and that it catches faults."""
import os
import random
import resource
import smtplib
import socket
import subprocess
import threading
import time

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

import sanitizer
from world import BUILD, World, digest, parts, read_record

MESSAGE = b"Subject: hello\r\n\r\nA line.\r\n.A line with a dot\r\n.\r\nThe end.\r\n"

HOSTS = [
    {"name": "prompt", "banner": "at your service"},
    {"name": "slow", "reply_delay_ms": 80},
    {"name": "far", "latency_ms": 80},
    {"name": "late", "banner_delay_ms": 150},
    {"name": "grey", "greylist": 0.3},
    {"name": "full", "full_odds": 0.5},
    {"name": "full-glob", "full": "full*"},
    {"name": "unknown", "unknown_odds": 0.5},
    {"name": "unknown-glob", "unknown": "no-*"},
    {"name": "few", "messages_per_connection": 2},
    {"name": "capped", "max_connections": 2},
    {"name": "capped-close", "max_connections": 1, "over_connections": "close"},
    {"name": "group1", "group": "pair", "max_connections": 1},
    {"name": "group2", "group": "pair", "max_connections": 1},
    {"name": "rate", "max_rate": 3},
    {"name": "few-rcpts", "max_recipients": 2},
    {"name": "lockstep", "pipelining": False},
    {"name": "no-ehlo", "ehlo": False},
    {"name": "no-size", "size": "none"},
    {"name": "small", "size": 50},
    {"name": "no-8bit", "8bitmime": False},
    {"name": "plain-codes", "enhanced": False, "unknown": "*"},
    {"name": "tls", "starttls": "good"},
    {"name": "tls-broken", "starttls": "broken"},
    {"name": "tls-refused", "starttls": "refused"},
    {"name": "silent", "silent_at": "connect"},
    {"name": "silent-data", "silent_at": "data"},
    {"name": "refused", "refuse": True},
    {"name": "rejects-connect", "reject_at": "connect"},
    {"name": "rejects-rcpt", "reject_at": "rcpt"},
    {"name": "lost", "lose_reply_odds": 1},
    {"name": "odds", "replies": [{"at": "rcpt", "odds": 0.3, "code": 450, "text": "4.2.1 Busy"}]},
    {"name": "sticky", "replies": [{"at": "rcpt", "odds": 0.3, "code": 550, "text": "5.2.1 Disabled"}]},
    {"name": "times", "replies": [{"at": "rcpt", "match": "b*", "times": 2, "code": 451,
                                   "text": "4.3.0 First line\n4.3.0 second line"}]},
    {"name": "words", "replies": [{"at": "connect", "code": 220, "text": "words.test ESMTP\nhello"},
                                  {"at": "dot", "code": 250, "text": "2.0.0 OK  1700000000 abc - gsmtp"}]},
    {"name": "lost-rule", "replies": [{"at": "dot", "action": "lose_reply", "times": 1}]},
    {"name": "changes"},
    {"name": "shy", "reply_delay_ms": 20},
    {"name": "two", "address": ["127.30.1.1", "127.30.1.2"]},
    {"name": "own-port", "port": 0},
]
for stage in ("connect", "ehlo", "mail", "rcpt", "data", "dot", "rset", "quit"):
    HOSTS.append({"name": f"closes-{stage}", "close_at": stage})
for number, each in enumerate(HOSTS):
    each.setdefault("address", f"127.30.0.{number + 1}")

DOMAINS = [
    {"name": "a.test", "mx": [[10, "prompt"], [20, "slow"]], "txt": ["v=spf1 -all", "x" * 300], "ttl": 7},
    {"name": "null.test", "null_mx": True},
    {"name": "a-only.test", "no_mx": True, "host": "prompt"},
    {"name": "alias.test", "cname": "a.test"},
    {"name": "loop1.test", "cname": "loop2.test"},
    {"name": "loop2.test", "cname": "loop1.test"},
    {"name": "gone.test", "nxdomain": True},
    {"name": "fails.test", "servfail": True, "mx": [[10, "prompt"]]},
    {"name": "fails-a.test", "servfail": "a", "mx": [[10, "prompt"]]},
    {"name": "quiet.test", "timeout": True},
    {"name": "late.test", "delay_ms": 150, "mx": [[10, "prompt"]]},
    {"name": "d{0..999}.many.test", "mx": [[10, "mx{0..9}.pool.test"]]},
    {"name": "*.bulk.test", "mx": [[10, "prompt"]]},
    {"name": "known.bulk.test", "mx": [[5, "slow"]]},
    {"name": "own.test", "mx": [[10, "prompt"], [20, "slow"]], "mx_own": True},
    {"name": "tenant.test", "mx": [[0, "prompt"]], "mx_own": "mail.protection.test"},
    {"name": "*.tenants.test", "mx": [[0, "prompt"]], "mx_own": "mail.protection.test"},
    {"name": "t{1..50}.tenant.test", "mx": [[0, "prompt"]], "mx_own": "mail.protection.test"},
    {"name": "large.test", "mx": [[i, f"d{i}.many.test"] for i in range(60)]},
    {"name": "spread.test", "address": ["127.30.9.9", "::1", "127.30.0.1"]},
]


@pytest.fixture(scope="module")
def world():
    pool = {"name": "mx{0..9}.pool.test", "addresses": "127.30.2.1..20"}
    with World.start({"hosts": HOSTS + [pool], "domains": DOMAINS}) as running:
        yield running
    assert running.summary["totals"]["connections"]["now"] >= 0


def connect(world, host, timeout=3, name="client.test"):
    return smtplib.SMTP(world.address(host), world.port(host), local_hostname=name, timeout=timeout)


def send(world, host, to="ada@a.test", message=MESSAGE, sender="from@b.test"):
    """One message; None, or the (code, text) that refused it."""
    client = connect(world, host)
    try:
        client.sendmail(sender, [to], message)
        client.quit()
        return None
    except smtplib.SMTPRecipientsRefused as refused:
        client.quit()
        return refused.recipients[to]
    except smtplib.SMTPResponseException as error:
        client.close()
        return error.smtp_code, error.smtp_error


class Raw:
    """Bytes in, bytes out, for what no client library would do."""

    def __init__(self, world, host):
        self.socket = socket.create_connection((world.address(host), world.port(host)), timeout=3)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        """One whole reply as text; "" at the end."""
        reply = b""
        while not (reply.endswith(b"\r\n") and reply.rsplit(b"\r\n", 2)[-2][3:4] != b"-"):
            got = self.socket.recv(1)
            if not got:
                return reply.decode()
            reply += got
        return reply.decode()

    def say(self, text):
        self.send(text.encode() + b"\r\n")
        return self.line()

    def codes(self, n):
        return [self.line()[:3] for _ in range(n)]

    def close(self):
        self.socket.close()


def ready(world, host):
    raw = Raw(world, host)
    assert raw.line().startswith("220")
    assert raw.say("EHLO client.test").startswith("250")
    return raw


def kinds(world, host):
    return world.counts(host)["violations"]["kinds"]


# ---- characters of hosts ----

def test_prompt_accepts_logs_and_counts(world):
    assert send(world, "prompt") is None
    seen = [d for d in world.deliveries() if d.host == "prompt"][-1]
    assert (seen.helo, seen.tls) == ("client.test", False)
    assert (seen.sender, seen.recipient) == ("from@b.test", "ada@a.test")
    assert (seen.size, seen.digest) == (len(MESSAGE), digest(MESSAGE))
    assert abs(seen.time_ms / 1000 - time.time()) < 10
    counts = world.counts("prompt")
    assert counts["messages"] >= 1 and counts["bytes"] >= len(MESSAGE)
    assert counts["violations"]["total"] == 0 and counts["aborted"] == 0


def test_reply_delay_comes_with_each_reply(world):
    start = time.monotonic()
    assert send(world, "slow") is None  # greeting, EHLO, MAIL, RCPT, DATA, dot, QUIT
    assert 7 * 0.08 <= time.monotonic() - start < 3
    raw = ready(world, "slow")
    start = time.monotonic()
    raw.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRSET\r\n")
    assert raw.codes(3) == ["250"] * 3
    assert time.monotonic() - start >= 3 * 0.08
    raw.close()


def test_latency_comes_once_a_group(world):
    raw = ready(world, "far")
    start = time.monotonic()
    raw.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRSET\r\n")
    assert raw.codes(3) == ["250"] * 3
    assert 0.08 <= time.monotonic() - start < 0.16
    raw.close()


def test_banner_delay(world):
    start = time.monotonic()
    assert connect(world, "late").quit()[0] == 221
    assert time.monotonic() - start >= 0.15


def test_greylisting_passes_after_its_time(world):
    assert send(world, "grey", "g@a.test") == (451, b"4.7.1 Greylisted, please try again later")
    assert send(world, "grey", "g@a.test")[0] == 451  # too early
    assert send(world, "grey", "h@a.test")[0] == 451  # another pair
    time.sleep(0.3)
    assert send(world, "grey", "g@a.test") is None
    assert send(world, "grey", "g@a.test", sender="other@b.test")[0] == 451


@pytest.mark.parametrize("host, code, text", [("full", 452, b"4.2.2"), ("unknown", 550, b"5.1.1")])
def test_mailboxes_by_odds_answer_the_same_each_time(world, host, code, text):
    client = connect(world, host)
    client.ehlo_or_helo_if_needed()
    client.mail("a@b.test")
    answers = [[client.rcpt(f"r{i}@a.test") for i in range(100)] for _ in range(2)]
    client.close()
    assert answers[0] == answers[1]
    refused = [a for a in answers[0] if a[0] == code and a[1].startswith(text)]
    assert 25 < len(refused) < 75 and len(refused) + sum(a[0] == 250 for a in answers[0]) == 100


@pytest.mark.parametrize("host, bad, code", [("full-glob", "Full.one", 452), ("unknown-glob", "no-one", 550)])
def test_mailboxes_by_pattern(world, host, bad, code):
    assert send(world, host, f"{bad}@a.test")[0] == code
    assert send(world, host, "ada@a.test") is None
    assert world.counts(host)["rejected"] == {str(code): 1}


def test_421_after_n_messages(world):
    client = connect(world, "few")
    for _ in range(2):
        client.sendmail("a@b.test", ["c@d.test"], MESSAGE)
    assert client.mail("a@b.test")[0] == 421
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()


def test_connection_cap(world):
    clients = [connect(world, "capped") for _ in range(2)]
    with pytest.raises(smtplib.SMTPConnectError) as error:
        connect(world, "capped")
    assert error.value.smtp_code == 421 and b"4.7.0" in error.value.smtp_error
    for client in clients:
        client.close()
    connect(world, "capped").quit()
    connections = world.counts("capped")["connections"]
    assert (connections["max"], connections["total"], connections["over_cap"]) == (3, 4, 1)
    assert connections["peak_per_s"] == 4


def test_connection_cap_that_closes(world):
    first = connect(world, "capped-close")
    raw = Raw(world, "capped-close")
    assert raw.line() == ""
    first.close()


def test_a_closed_connection_is_not_counted_with_its_successor(world):
    for _ in range(50):
        raw = Raw(world, "capped-close")
        raw.close()
    assert world.counts("capped-close")["connections"]["max"] <= 2


def test_a_group_shares_its_cap(world):
    first = connect(world, "group1")
    with pytest.raises(smtplib.SMTPConnectError):
        connect(world, "group2")
    first.close()
    counts = world.counts("pair")
    assert (counts["connections"]["max"], counts["connections"]["total"]) == (2, 2)


def test_rate_limit(world):
    client = connect(world, "rate")
    for _ in range(3):
        client.sendmail("a@b.test", ["c@d.test"], MESSAGE)
    code, text = client.mail("a@b.test")
    assert code == 421 and text.startswith(b"4.7.28")
    time.sleep(1.05)
    assert send(world, "rate") is None
    counts = world.counts("rate")
    assert counts["peak_messages_per_s"] == 3 and counts["over_rate"] == 1


def test_max_recipients(world):
    client = connect(world, "few-rcpts")
    refused = client.sendmail("a@b.test", ["1@d.test", "2@d.test", "3@d.test"], MESSAGE)
    client.quit()
    assert refused == {"3@d.test": (452, b"4.5.3 Too many recipients")}
    counts = world.counts("few-rcpts")
    assert (counts["messages"], counts["recipients"]) == (1, 2)
    assert len([d for d in world.deliveries() if d.host == "few-rcpts"]) == 2


def test_what_ehlo_offers(world):
    offers = {}
    for host in ("prompt", "lockstep", "no-size", "small", "no-8bit", "plain-codes", "tls"):
        client = connect(world, host)
        client.ehlo()
        offers[host] = client.esmtp_features
        client.quit()
    assert set(offers["prompt"]) == {"pipelining", "size", "8bitmime", "enhancedstatuscodes", "help"}
    assert "pipelining" not in offers["lockstep"]
    assert "size" not in offers["no-size"]
    assert offers["small"]["size"] == "50"
    assert "8bitmime" not in offers["no-8bit"]
    assert "enhancedstatuscodes" not in offers["plain-codes"]
    assert "starttls" in offers["tls"]


def test_no_ehlo(world):
    client = connect(world, "no-ehlo")
    assert client.ehlo()[0] == 502
    assert client.helo()[0] == 250
    client.close()
    assert send(world, "no-ehlo") is None


def test_no_size_and_too_large(world):
    assert send(world, "no-size") is None
    assert send(world, "small", message=b"x" * 60 + b"\r\n")[0] == 552  # by SIZE=
    raw = ready(world, "small")
    raw.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n")
    assert raw.codes(3) == ["250", "250", "354"]
    assert raw.say("x" * 60 + "\r\n.").startswith("552 5.3.4")


def test_without_enhanced_codes(world):
    assert send(world, "plain-codes") == (550, b"The mailbox does not exist")


def test_starttls(world):
    client = connect(world, "tls")
    assert client.starttls()[0] == 220
    client.ehlo()
    assert "starttls" not in client.esmtp_features
    client.sendmail("a@b.test", ["c@d.test"], MESSAGE)
    client.quit()
    assert [d.tls for d in world.deliveries() if d.host == "tls"] == [True]
    assert world.counts("tls")["tls"]["sessions"] == 1
    assert world.counts("tls")["violations"]["total"] == 0


def test_starttls_broken_and_refused(world):
    client = connect(world, "tls-broken")
    with pytest.raises(OSError):
        client.starttls()
    client.close()
    client = connect(world, "tls-refused")
    with pytest.raises(smtplib.SMTPResponseException) as error:
        client.starttls()
    assert error.value.smtp_code == 454
    client.sendmail("a@b.test", ["c@d.test"], MESSAGE)
    client.quit()


def test_silence(world):
    raw = Raw(world, "silent")
    raw.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        raw.line()
    raw.close()
    client = connect(world, "silent-data", timeout=0.3)
    client.ehlo()
    client.mail("a@b.test")
    assert client.rcpt("c@d.test")[0] == 250
    with pytest.raises(smtplib.SMTPServerDisconnected):  # smtplib's word for its own timeout
        client.data(MESSAGE)


def test_refused(world):
    with pytest.raises(ConnectionRefusedError):
        connect(world, "refused")


def test_rejects_everything(world):
    with pytest.raises(smtplib.SMTPConnectError) as error:
        connect(world, "rejects-connect")
    assert error.value.smtp_code == 554
    assert send(world, "rejects-rcpt")[0] == 550


@pytest.mark.parametrize("stage, said", [
    ("connect", 0), ("ehlo", 1), ("mail", 2), ("rcpt", 3), ("data", 4), ("dot", 5), ("rset", 6), ("quit", 6)])
def test_closes_without_a_reply(world, stage, said):
    raw = Raw(world, f"closes-{stage}")
    dialogue = ["EHLO c.test", "MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA", "hello\r\n.",
                "QUIT" if stage == "quit" else "RSET"]
    replies = [raw.line()]
    for text in dialogue:
        if not replies[-1]:
            break
        replies.append(raw.say(text))
    assert len([r for r in replies if r]) == said and replies[-1] == ""
    accepted = [d for d in world.deliveries() if d.host == f"closes-{stage}"]
    assert len(accepted) == (1 if stage in ("rset", "quit") else 0)


def test_reply_lost_after_accepting(world):
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(world, "lost")
    assert world.counts("lost")["lost_replies"] == 1
    assert len([d for d in world.deliveries() if d.host == "lost"]) == 1
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(world, "lost-rule")
    assert send(world, "lost-rule") is None
    assert world.counts("lost-rule")["messages"] == 2


def test_odds_are_drawn_anew_for_4xx_and_stay_for_5xx(world):
    for host, code, stays in (("odds", 450, False), ("sticky", 550, True)):
        client = connect(world, host)
        client.ehlo()
        client.mail("a@b.test")
        draws = [[client.rcpt(f"r{i}@a.test")[0] for i in range(200)] for _ in range(2)]
        client.close()
        assert 30 < draws[0].count(code) < 95
        assert (draws[0] == draws[1]) == stays


def test_replies_by_pattern_times_and_lines(world):
    for _ in range(2):
        assert send(world, "times", "bob@a.test") == (451, b"4.3.0 First line\n4.3.0 second line")
    assert send(world, "times", "bob@a.test") is None
    assert send(world, "times", "ada@a.test") is None
    assert send(world, "times", "ben@a.test")[0] == 451


def test_replies_in_other_words(world):
    client = smtplib.SMTP(timeout=3)
    assert client.connect(world.address("words"), world.port("words")) == (220, b"words.test ESMTP\nhello")
    client.ehlo()
    client.mail("a@b.test")
    client.rcpt("c@d.test")
    assert client.data(MESSAGE) == (250, b"2.0.0 OK  1700000000 abc - gsmtp")
    client.quit()


def test_hosts_change_while_running(world):
    world.host("changes", "replies", [{"at": "mail", "code": 421, "text": "4.3.2 Going down"}])
    assert send(world, "changes")[0] == 421
    world.host("changes", "prompt", True)
    assert send(world, "changes") is None
    world.host("changes", "refuse", True)
    with pytest.raises(ConnectionRefusedError):
        connect(world, "changes")
    world.host("changes", "refuse", False)
    assert send(world, "changes") is None
    assert world.counts("prompt")["rejected"] == {}
    with pytest.raises(ValueError, match="unknown key 'colour'"):
        world.host("changes", "colour", "red")
    with pytest.raises(ValueError, match="no host or group"):
        world.host("nobody", "refuse", True)


def test_several_addresses_and_own_port(world):
    for address in ("127.30.1.1", "127.30.1.2"):
        smtplib.SMTP(address, world.port("two"), timeout=3).quit()
    assert world.counts("two")["connections"]["total"] == 2
    assert world.port("two") == world.smtp_port != world.port("own-port")


# ---- what a client must not do ----

def test_pipelining_a_whole_message_with_the_next(world):
    world.reset()
    raw = ready(world, "prompt")
    head = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"
    raw.send(head)
    assert raw.codes(3) == ["250", "250", "354"]
    for _ in range(3):
        raw.send(b"x\r\n.\r\n" + head)
        assert raw.codes(4) == ["250", "250", "250", "354"]
    raw.send(b"x\r\n.\r\nQUIT\r\n")
    assert raw.codes(2) == ["250", "221"]
    assert kinds(world, "prompt") == {} and world.counts("prompt")["messages"] == 4


@pytest.mark.parametrize("host, data, kind", [
    ("lockstep", b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n", "pipelining-not-offered"),
    ("prompt", b"NOOP\r\nMAIL FROM:<a@b.test>\r\n", "pipelined-after-last-of-group"),
    ("prompt", b"EHLO again.test\r\nMAIL FROM:<a@b.test>\r\n", "pipelined-after-last-of-group"),
    ("prompt", b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nx\r\n.\r\n",
     "pipelined-after-last-of-group"),
    ("prompt", b"RSET\n", "bare-lf"),
    ("prompt", b"NOOP " + b"x" * 3000 + b"\r\n", "command-over-limit"),
    ("prompt", b"NOOP \xff\r\n", "8bit-or-control-in-command"),
    ("prompt", b"MAIL FROM: <a@b.test>\r\n", "syntax"),
    ("prompt", b"MAIL FROM:a@b.test\r\n", "syntax"),
    ("prompt", b"MAIL FROM:<a b@b.test>\r\n", "syntax"),
    ("prompt", b"MAIL FROM:<>\r\nRCPT TO:<>\r\n", "syntax"),
    ("prompt", b"GET / HTTP/1.1\r\n", "unknown-command"),
    ("prompt", b"RCPT TO:<c@d.test>\r\n", "bad-sequence"),
    ("prompt", b"DATA\r\n", "bad-sequence"),
    ("prompt", b"MAIL FROM:<>\r\nMAIL FROM:<>\r\n", "bad-sequence"),
    ("prompt", b"STARTTLS\r\n", "extension-not-offered"),
    ("prompt", b"MAIL FROM:<> SMTPUTF8\r\n", "extension-not-offered"),
    ("no-8bit", b"MAIL FROM:<> BODY=8BITMIME\r\n", "extension-not-offered"),
    ("no-size", b"MAIL FROM:<> SIZE=10\r\n", "extension-not-offered"),
    ("tls", b"STARTTLS\r\nMAIL FROM:<>\r\n", "plaintext-after-starttls"),
])
def test_faults_in_commands(world, host, data, kind):
    world.reset()
    raw = ready(world, host)
    raw.send(data)
    raw.line()
    raw.close()
    assert kinds(world, host) == {kind: 1}
    assert kind in world.counts(host)["violations"]["examples"][0]


@pytest.mark.parametrize("host, mail, data, kind", [
    ("prompt", b"", b"bare\nlf\r\n", "bare-lf"),
    ("prompt", b"", b"bare\rcr\r\n", "bare-cr"),
    ("prompt", b"", b"smuggled\n.\nMAIL FROM:<x@y.test>\r\n", "bare-lf"),
    ("prompt", b"", b"x" * 999 + b"\r\n", "line-over-1000"),
    ("prompt", b"", b".undoubled\r\n", "undoubled-dot"),
    ("prompt", b"", b"\xc3\xa9\r\n", "8bit-data"),
    ("no-8bit", b"", b"\xc3\xa9\r\n", "8bit-data"),
    ("prompt", b" SIZE=2", b"more\r\n", "size-understated"),
    ("prompt", b" SIZE=6 BODY=8BITMIME", b"\xc3\xa9ok\r\n", None),
    ("prompt", b"", b"x" * 998 + b"\r\n", None),
    ("prompt", b"", b"..\r\n..x\r\n\r\n", None),
])
def test_faults_in_data(world, host, mail, data, kind):
    world.reset()
    raw = ready(world, host)
    raw.send(b"MAIL FROM:<a@b.test>" + mail + b"\r\n")
    assert raw.codes(1) == ["250"]
    raw.send(b"RCPT TO:<c@d.test>\r\n")
    assert raw.codes(1) == ["250"]
    raw.send(b"DATA\r\n")
    assert raw.codes(1) == ["354"]
    raw.send(data + b".\r\n")
    assert raw.codes(1) == ["250"]
    raw.close()
    assert kinds(world, host) == ({kind: 1} if kind else {})


def test_talking_before_the_greeting_and_before_a_late_reply(world):
    world.reset()
    raw = Raw(world, "late")
    raw.send(b"EHLO early.test\r\n")
    raw.codes(2)
    assert kinds(world, "late") == {"before-greeting": 1}
    raw = ready(world, "shy")
    raw.send(b"NOOP\r\n")
    time.sleep(0.01)
    raw.send(b"NOOP\r\n")
    raw.codes(2)
    assert kinds(world, "shy") == {"pipelined-after-last-of-group": 1}


def test_an_aborted_message_is_no_violation(world):
    world.reset()
    raw = ready(world, "prompt")
    raw.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n")
    raw.codes(3)
    raw.send(b"half a mess")
    raw.close()
    stats = world.wait(lambda s: s["hosts"]["prompt"]["aborted"] == 1)
    assert stats["totals"]["violations"]["total"] == 0 and stats["totals"]["messages"] == 0


def test_digest_of_any_split(world):
    chance = random.Random(4)
    raw = ready(world, "prompt")
    for _ in range(20):
        lines = [chance.choice([b".", b"..", b"", b"x" * chance.randrange(900), b".x", b"\r"[:0]])
                 for _ in range(chance.randrange(1, 40))]
        message = b"\r\n".join(lines) + b"\r\n"
        stuffed = b"".join((b"." if l.startswith(b".") else b"") + l + b"\r\n" for l in lines) + b".\r\n"
        raw.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<split@d.test>\r\nDATA\r\n")
        assert raw.codes(3) == ["250", "250", "354"]
        while stuffed:
            n = chance.choice([1, 2, 3, 50, 5000])
            raw.send(stuffed[:n])
            stuffed = stuffed[n:]
        assert raw.codes(1) == ["250"]
        seen = world.deliveries()[-1]
        assert (seen.size, seen.digest) == (len(message), digest(message))
    raw.close()


# ---- DNS ----

def ask(world, name, kind, tcp=False, edns=None, timeout=2):
    query = dns.message.make_query(name, kind)
    if edns:
        query.use_edns(0, payload=edns)
    function = dns.query.tcp if tcp else dns.query.udp
    return function(query, world.dns[0], port=world.dns[1], timeout=timeout)


def answers(world, name, kind, **how):
    return sorted(str(record) for rrset in ask(world, name, kind, **how).answer for record in rrset)


def test_dns_records(world):
    assert answers(world, "A.Test", "MX") == ["10 prompt.", "20 slow."]
    assert ask(world, "a.test", "MX").answer[0].ttl == 7
    assert answers(world, "prompt", "A") == [world.address("prompt")]
    assert answers(world, "two", "A") == ["127.30.1.1", "127.30.1.2"]
    assert answers(world, "a.test", "TXT") == ['"v=spf1 -all"', '"' + "x" * 255 + '" "' + "x" * 45 + '"']
    assert answers(world, "null.test", "MX") == ["0 ."]
    assert answers(world, "a-only.test", "A") == [world.address("prompt")]
    assert answers(world, "spread.test", "AAAA") == ["::1"]
    assert answers(world, "spread.test", "A") == ["127.30.0.1", "127.30.9.9"]
    assert answers(world, "a.test", "NS") == ["ns.world.invalid."]
    assert ask(world, "a.test", "SOA").answer[0].rdtype == dns.rdatatype.SOA


def test_dns_negative_answers(world):
    for name, kind, rcode in (("a-only.test", "MX", "NOERROR"), ("a.test", "A", "NOERROR"),
                              ("gone.test", "MX", "NXDOMAIN"), ("nobody.a.test", "A", "NXDOMAIN"),
                              ("a.test", "TLSA", "NOERROR"), ("d1000.many.test", "MX", "NXDOMAIN")):
        reply = ask(world, name, kind)
        assert dns.rcode.to_text(reply.rcode()) == rcode and not reply.answer
        assert reply.authority[0].rdtype == dns.rdatatype.SOA and reply.authority[0][0].minimum == 60


def test_dns_cname(world):
    reply = ask(world, "alias.test", "MX")
    assert [str(r) for rrset in reply.answer for r in rrset] == ["a.test.", "10 prompt.", "20 slow."]
    assert dns.rcode.to_text(ask(world, "loop1.test", "MX").rcode()) == "SERVFAIL"


def test_dns_failures_and_delays(world):
    assert dns.rcode.to_text(ask(world, "fails.test", "MX").rcode()) == "SERVFAIL"
    assert dns.rcode.to_text(ask(world, "fails-a.test", "A").rcode()) == "SERVFAIL"
    assert answers(world, "fails-a.test", "MX") == ["10 prompt."]
    with pytest.raises(dns.exception.Timeout):
        ask(world, "quiet.test", "MX", timeout=0.3)
    start = time.monotonic()
    assert answers(world, "late.test", "MX") == ["10 prompt."]
    assert answers(world, "late.test", "MX", tcp=True) == ["10 prompt."]
    assert time.monotonic() - start >= 0.3


def test_dns_patterns_and_wildcards(world):
    assert answers(world, "d0.many.test", "MX") == ["10 mx0.pool.test."]
    assert answers(world, "d999.many.test", "MX") == ["10 mx9.pool.test."]
    assert answers(world, "mx9.pool.test", "A") == ["127.30.2.19", "127.30.2.20"]
    assert answers(world, "any.thing.bulk.test", "MX") == ["10 prompt."]
    assert answers(world, "known.bulk.test", "MX") == ["5 slow."]


@pytest.mark.parametrize("domain, names", [
    ("own.test", ["10 mx1.own.test.", "20 mx2.own.test."]),
    ("tenant.test", ["0 tenant-test.mail.protection.test."]),
    ("one.two.tenants.test", ["0 one-two-tenants-test.mail.protection.test."]),
    ("t7.tenant.test", ["0 t7-tenant-test.mail.protection.test."]),
])
def test_mx_names_of_a_domains_own(world, domain, names):
    assert answers(world, domain, "MX") == names
    assert answers(world, names[0].split()[1], "A") == [world.address("prompt")]


def test_dns_truncation_tcp_and_edns(world):
    reply = ask(world, "large.test", "MX")
    assert reply.flags & dns.flags.TC and not reply.answer and reply.edns == -1
    assert len(answers(world, "large.test", "MX", tcp=True)) == 60
    reply = ask(world, "large.test", "MX", edns=4096)
    assert not reply.flags & dns.flags.TC and len(reply.answer[0]) == 60 and reply.edns == 0


def test_dns_counts_and_garbage(world):
    world.reset()
    ask(world, "a.test", "MX")
    ask(world, "A.TEST", "MX", tcp=True)
    ask(world, "gone.test", "A")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        chance = random.Random(5)
        for size in range(0, 80):
            sender.sendto(bytes(chance.randrange(256) for _ in range(size)), world.dns)
    assert answers(world, "prompt", "A")
    counts = world.stats()["dns"]
    assert counts["names"]["a.test"] == {"MX": 2} and counts["names"]["gone.test"] == {"A": 1}
    assert counts["tcp"] == 1 and counts["queries"] >= 4


def test_domains_change_while_running(world):
    world.domain("moves.test", mx=[[10, "prompt"]], ttl=1)
    assert answers(world, "moves.test", "MX") == ["10 prompt."]
    world.domain("moves.test", mx=[[10, "slow"]], ttl=1)
    assert answers(world, "moves.test", "MX") == ["10 slow."]
    with pytest.raises(ValueError, match="no host or domain"):
        world.domain("moves.test", mx=[[10, "nowhere"]])


# ---- many hosts, many recipients ----

def test_one_listener_serves_all_addresses():
    hosts = [{"name": "h{0..299}.many.test", "addresses": "127.35.0.1..600"},
             {"name": "apart", "address": "127.35.9.1", "port": 0}, {"name": "six", "address": "::1"}]
    with World.start({"one_listener": True, "hosts": hosts}) as world:
        assert len(os.listdir(f"/proc/{world.process.pid}/fd")) < 30
        for name in ("h0.many.test", "h299.many.test", "apart", "six"):
            assert send(world, name) is None
        assert {name: counts["messages"] for name, counts in world.stats()["hosts"].items()
                if counts["messages"]} == {"h0.many.test": 1, "h299.many.test": 1, "apart": 1, "six": 1}
        assert world.port("h7.many.test") == world.smtp_port != world.port("apart")
        with socket.create_connection(("127.35.2.88", world.smtp_port), timeout=3) as client:
            assert client.recv(99).startswith(b"220 h299.many.test ")
        world.host("h7.many.test", "refuse", True)
        nobody = "127.35.200.1", world.smtp_port
        for address in (nobody, (world.address("h7.many.test"), world.smtp_port)):
            with pytest.raises(ConnectionResetError):
                with socket.create_connection(address, timeout=3) as client:
                    client.recv(1)
        world.host("h7.many.test", "prompt", True)
        assert send(world, "h7.many.test") is None
        totals = world.ask("totals")
        assert totals["totals"]["messages"] == 5 and "hosts" not in totals
        assert "names" not in totals["dns"] and totals["dns"]["queries"] == 0


def test_one_listener_wants_addresses_of_one_host_each(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("smtp_port: 0\none_listener: true\nhosts:\n  - {name: a, address: 127.35.1.1}\n"
                    "  - {name: b, address: 127.35.1.1}\n")
    done = subprocess.run([os.path.join(BUILD, "world"), path], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "a and b both have the address 127.35.1.1" in done.stderr


def test_a_share_of_many_recipients_is_deferred_the_first_time_only():
    host = {"name": "mx", "address": "127.34.0.2", "unknown_odds": 0.05, "replies": [
        {"at": "rcpt", "odds": 0.2, "sticky": True, "times": 1, "code": 451, "text": "4.7.1 Later"}]}
    with World.start({"hosts": [host]}) as world:
        raw, names, codes = ready(world, "mx"), range(4000), []
        for _ in range(3):
            for start in range(0, len(names), 100):
                raw.send(b"MAIL FROM:<a@b.test>\r\n" + b"".join(
                    b"RCPT TO:<u%07d@d.test>\r\n" % name for name in names[start:start + 100]))
                replies = b""
                while replies.count(b"\n") < 101:
                    replies += raw.socket.recv(65536)
                codes += [line[:3] for line in replies.splitlines()[1:]]
                assert raw.say("RSET").startswith("250")
        raw.close()
    first, second, third = (codes[n * len(names):(n + 1) * len(names)] for n in range(3))
    assert set(first) == {b"250", b"451", b"550"} and second == third
    assert 640 < first.count(b"451") < 960 and 120 < second.count(b"550") < 280
    assert all((a == b) or (a == b"451" and b in (b"250", b"550")) for a, b in zip(first, second))
    assert b"451" not in second


# ---- the record ----

def test_record_holds_what_each_numbered_recipient_got(tmp_path):
    path, hosts = tmp_path / "record", [{"name": "mx", "address": "127.34.0.1"}]
    with World.start({"hosts": hosts}, options=("--record", path, "--record-slots", "10")) as world:
        before = time.monotonic_ns()
        client = connect(world, "mx")
        client.sendmail("a@b.test", ["u0000003@d.test", "u0000009@e.test", "u0000010@d.test", "u12@d.test",
                                     "U00000004@d.test"], MESSAGE)
        client.sendmail("a@b.test", ["u0000009@e.test"], b"Subject: again\r\n")
        client.quit()
        records, outside = read_record(path)
        after = time.monotonic_ns()
    assert outside == 2 and len(records) == 10
    assert [n for n, record in enumerate(records) if record.count] == [3, 4, 9]
    assert records[3] == records[4]
    assert records[3][1:] == (*parts(MESSAGE), 1, len(MESSAGE))
    assert records[9][1:] == (*parts(b"Subject: again\r\n"), 2, 16)
    assert before < records[3].delivered_ns <= records[9].delivered_ns < after


def test_record_is_switched_while_running(world, tmp_path):
    world.ask(f"record {tmp_path}/one 5")
    assert send(world, "prompt", "u0000001@a.test") is None
    world.ask(f"record {tmp_path}/two 5")
    assert send(world, "prompt", "u0000002@a.test") is None
    world.ask("record off")
    assert send(world, "prompt", "u0000003@a.test") is None
    one, two = read_record(tmp_path / "one")[0], read_record(tmp_path / "two")[0]
    assert [record.count for record in one] == [0, 1, 0, 0, 0]
    assert [record.count for record in two] == [0, 0, 1, 0, 0]
    assert (two[2].head, two[2].body) == parts(MESSAGE)
    for line in ("record", "record off 5", f"record {tmp_path}/three", f"record {tmp_path}/three 0",
                 f"record {tmp_path}/nowhere/three 5"):
        with pytest.raises(ValueError):
            world.ask(line)


def test_a_lost_reply_is_recorded_once_a_delivery(world, tmp_path):
    world.ask(f"record {tmp_path}/lost 5")
    for _ in range(2):
        with pytest.raises(smtplib.SMTPServerDisconnected):
            send(world, "lost", "u0000001@a.test")
    world.ask("record off")
    assert read_record(tmp_path / "lost")[0][1].count == 2


# ---- the program ----

@pytest.mark.parametrize("text, where", [
    ("hosts:\n  - {name: a, address: 127.0.0.1}\n  - name: b\n    address: 127.0.0.2\n    colour: red\n",
     ":5: unknown key 'colour'"),
    ("smtp_port: 2525\ndomain: []\n", ":2: unknown key 'domain'"),
    ("hosts:\n  - {name: a, address: nowhere}\n", ":2: 'nowhere' is no IPv4"),
    ("hosts:\n  - {name: a, address: 127.0.0.1, full_odds: 2}\n", ":2: full_odds wants a number from 0 to 1"),
    ("hosts:\n  - {name: a, address: 127.0.0.1, replies: [{at: lunch, code: 450, text: x}]}\n",
     ":2: at wants one of"),
    ("hosts:\n  - {name: a, address: 127.0.0.1, replies: [{at: rcpt}]}\n", ":2: a reply wants 'code'"),
    ("domains:\n  - {name: a.test, mx: [[10, nobody]]}\n", "domain 'a.test' names 'nobody'"),
    ("domains:\n  - {name: 'd{9..1}.test'}\n", ":2: 'd{9..1}.test' wants {first..last}"),
    ("hosts:\n  - {name: a, address: 127.0.0.1}\n  - {name: a, address: 127.0.0.2}\n", "'a' is there twice"),
    ("hosts: [\n", ":"),
    ("", ""),
])
def test_scenario_errors(tmp_path, text, where):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    program = os.path.join(BUILD, "world")
    done = subprocess.run([program, "-t", path], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and where in done.stderr
    assert done.stderr.startswith("world: ") and done.stderr.count("\n") == 1


def test_usage_and_help():
    program = os.path.join(BUILD, "world")
    assert subprocess.run([program], capture_output=True, timeout=10).returncode == 2
    text = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=10, check=True).stdout
    assert "greylist" in text and all(len(line) <= 80 for line in text.splitlines())


def test_taken_port_is_said(world, tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(f"dns: {{listen: '{world.ports['dns']}'}}\nsmtp_port: 0\n")
    done = subprocess.run([os.path.join(BUILD, "world"), path], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "something listens there already" in done.stderr


def test_too_few_open_files_is_said(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("smtp_port: 0\nhosts:\n  - {name: 'h{1..200}', addresses: 127.31.0.1..200}\n")
    done = subprocess.run([os.path.join(BUILD, "world"), path], capture_output=True, text=True, timeout=10,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)))
    assert done.returncode == 1 and "needs 264 open files" in done.stderr


def test_demo_scenario_is_sound():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    subprocess.run([os.path.join(BUILD, "world"), "-t", os.path.join(root, "bench/scenarios/demo.yaml")],
                   check=True, capture_output=True, timeout=10)


def test_a_sanitizers_report_fails_a_test(tmp_path):
    world = World.start({}, tmp_path)
    with open(world.path("stderr"), "a", encoding="utf-8") as file:
        file.write("world.c:1:2: runtime error: signed integer overflow\n")
    with pytest.raises(AssertionError, match="runtime error"):
        world.stop()


def test_many_names_cost_no_memory():
    scenario = {"hosts": [{"name": "mx{0..499}.test", "addresses": "127.32.0.1..500"}],
                "domains": [{"name": "d{0..999999}.example", "mx": [[10, "mx{0..499}.test"]]}]}
    with World.start(scenario) as world:
        assert answers(world, "d777777.example", "MX") == ["10 mx277.test."]
        with open(f"/proc/{world.process.pid}/status", encoding="utf-8") as file:
            resident = next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))
        assert sanitizer.KIND or resident < 64 * 1024  # a sanitizer keeps shadows of its own


def test_ten_thousand_slow_sessions():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n = min(10000, hard - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        slow = {"name": "slow", "address": "127.33.0.1", "reply_delay_ms": 200}
        with World.start({"hosts": [slow]}) as world:
            clients = []
            for _ in range(n):
                address = world.address("slow"), world.port("slow")
                clients.append(socket.create_connection(address, timeout=10))
            for text in (None, b"EHLO c.test\r\n", b"NOOP\r\n", b"NOOP\r\n"):
                start = time.monotonic()
                for client in clients:
                    if text:
                        client.sendall(text)
                for client in clients:
                    assert client.recv(4096)[:1] == b"2"
                assert time.monotonic() - start < 5
            stats = world.stats()["totals"]
            assert stats["connections"]["max"] == stats["connections"]["now"] == n
            assert stats["violations"]["total"] == 0
            for client in clients:
                client.close()
            world.wait(lambda s: s["totals"]["connections"]["now"] == 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_postfix_smtp_source_finds_a_good_receiver(world):
    world.reset()
    target = f"inet:[{world.address('prompt')}]:{world.port('prompt')}"
    subprocess.run(["smtp-source", "-s", "10", "-m", "500", "-l", "4096", "-f", "a@b.test", "-t", "c@d.test",
                    target], check=True, capture_output=True, timeout=20)
    counts = world.wait(lambda s: s["hosts"]["prompt"]["messages"] == 500)["hosts"]["prompt"]
    assert counts["violations"]["total"] == 0 and counts["bytes"] > 500 * 4000


def test_sessions_in_parallel_are_counted_exactly(world):
    world.reset()

    def work():
        client = connect(world, "prompt")
        for i in range(20):
            client.sendmail("a@b.test", [f"r{i}@d.test"], MESSAGE)
        client.quit()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    counts = world.counts("prompt")
    assert counts["messages"] == counts["recipients"] == 160
    assert counts["connections"]["total"] == 8 and counts["connections"]["max"] <= 8
    assert counts["violations"]["total"] == 0
