"""What arrives at Postfix, Exim, OpenSMTPD and aiosmtpd, with TLS and without, is what was sent: to the byte
where it may go as it is, else, decoded, what was meant."""
import base64
import email
import email.policy
import itertools
import os
import random
import shutil

import pytest
from daemon import Daemon, wait_for
from mta import Aiosmtpd, Exim, Opensmtpd, Postfix
from nameserver import Dnsmasq
from peers.adapter import Missing

SENDER = "news@sender.test"
EIGHT_BIT = "Content-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: 8bit\r\n"
numbers = itertools.count()


def skip_without_mounts():
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("wants root and unshare, to run a mail server in mounts of its own")


def opened(peer):
    """For a fixture: a daemon that sends to the peer, which is its .peer."""
    if not isinstance(peer, Aiosmtpd):
        skip_without_mounts()
    records = ["--local=/test/", "--local=/xn--bcher-kva.test/", "--host-record=mx.a.test,127.0.7.1",
               "--mx-host=a.test,mx.a.test,10", "--mx-host=xn--bcher-kva.test,mx.a.test,10",
               "--mx-host=null.test,.,0", "--host-record=null.test,127.0.7.1"]
    try:
        peer.__enter__()
    except Missing as e:
        pytest.skip(str(e))
    try:
        with Dnsmasq(*records) as dns, Daemon(
                f'dns: {{ servers: ["{dns.server}"], timeout: 5s }}\nsites:\n'
                f"  - {{ name: default, port: {peer.port}, idle_timeout: 1s }}\n") as daemon:
            daemon.peer = peer
            yield daemon
    finally:
        peer.__exit__(None)


@pytest.fixture(scope="module", ids=lambda p: p[0].name + ("-tls" if p[1] else ""),
                params=itertools.product((Postfix, Exim, Opensmtpd, Aiosmtpd), (False, True)))
def daemon(request):
    kind, tls = request.param
    yield from opened(kind(tls=tls))


@pytest.fixture(scope="module", params=["8BITMIME", "PIPELINING, CHUNKING"])
def reduced(request):
    """A Postfix that does not offer something."""
    yield from opened(Postfix(without=request.param))


def fields(more="", subject="Hi"):
    return (f"From: News <{SENDER}>\r\nTo: list@sender.test\r\nSubject: {subject}\r\n"
            f"Date: Mon, 02 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{next(numbers)}@sender.test>\r\n"
            f"MIME-Version: 1.0\r\n{more}\r\n").encode()


def send(daemon, message, recipients=("u@a.test",), seconds=60, **counts):
    """Until the job's counts are these (all delivered); its id."""
    job = {"from": SENDER, "merge": False, "message": {"raw_base64": base64.b64encode(message).decode()}}
    answer = daemon.submit(job, recipients)
    assert answer.status == 202, answer
    ident = answer.json["jobs"][0]["job"]
    daemon.wait_counts(ident, seconds, **(counts or {"delivered": len(recipients)}))
    return ident


def received(daemon, count=1):
    """So many messages, which the peer then no longer has: it may put them into its mailbox after its 250."""
    peer = daemon.peer
    wait_for(lambda: len(peer.messages()) >= count, 60, f"{peer.name} to have {count} messages; its log:\n"
             f"{peer.read_log()[-3000:]}")
    messages = peer.messages()
    assert len(messages) == count
    peer.clear()
    return messages


def dots():
    """Lines that begin with dots or are nothing else, of any length, so that one begins at every place of
    whatever the message is cut into."""
    lines = [b"." * n + b"x" * (n % 7) for n in range(990)]
    rnd = random.Random(1)
    lines += [rnd.choice([b"", b".", b"..", b"...", b". ", b".x", b"x."]) for _ in range(30000)]
    return b"\r\n".join([*lines, b".", b""])


def large():
    rnd = random.Random(2)
    line = b"".join(rnd.choice(b"0123456789.-").to_bytes(1, "big") for _ in range(900))
    lines = []
    size = 0
    while size < 10_000_000:
        lines.append(line[rnd.randrange(800):][:rnd.randrange(100)])
        size += len(lines[-1]) + 2
    return b"\r\n".join([*lines, b""])


AS_IT_IS = {
    "7-bit": ("", b"Hello all\r\n\r\nFrom here on\r\n"),
    "utf-8": (EIGHT_BIT % "utf-8", "Grüße, 漢字 and \U0001f600\r\n".encode() * 100),
    "latin-1": (EIGHT_BIT % "iso-8859-1", bytes(range(0xa0, 0x100)) + b"\r\n"),
    "dots": ("", dots()),
    "998 octets a line": ("", (b"." * 998 + b"\r\n" + b"y" * 998 + b"\r\n") * 3),
    "blank lines at the end": ("", b"Hello\r\n\r\n\r\n\r\n"),
    "tabs and blanks": ("", b"\t\r\n \r\n  x  \r\n.\t\r\n"),
    "no body": ("", b""),
    "10 MB": ("", large()),
}


@pytest.mark.parametrize("case", AS_IT_IS)
def test_it_arrives_as_it_is(daemon, case):
    more, body = AS_IT_IS[case]
    message = fields(more) + body
    send(daemon, message, seconds=120)
    arrived, = received(daemon)
    assert arrived.content == message
    assert arrived.recipient == "u@a.test" and arrived.sender == SENDER


@pytest.mark.parametrize("text", ["x" * 5000, "é" * 3000, ".".join("z" * n for n in range(100))],
                         ids=["ascii", "utf-8", "dots"])
def test_long_lines_arrive_encoded(daemon, text):
    said = f".\r\n{text}\r\n..\r\n{text}\r\n.\r\n"
    send(daemon, fields("Content-Type: text/plain; charset=utf-8\r\n") + said.encode())
    arrived, = received(daemon)
    assert max(map(len, arrived.content.split(b"\r\n"))) <= 998
    read = email.message_from_bytes(arrived.content, policy=email.policy.SMTP)
    assert read.get_content().replace("\r\n", "\n") == said.replace("\r\n", "\n")


def test_refused_recipients_among_good_ones(daemon):
    good = [f"u{i}@a.test" for i in range(20)]
    message = fields() + b"Hello\r\n.\r\n"
    ident = send(daemon, message, good[:7] + ["no@a.test"] + good[7:], delivered=20, bounced=1)
    arrived = received(daemon, 20)
    assert {m.recipient for m in arrived} == set(good)
    assert {m.content for m in arrived} == {message}
    bounced, = daemon.recipients(ident, "&state=bounced")
    assert bounced["to"] == "no@a.test" and bounced["status"][:4] in ("5.1.", "5.7.", "5.5.", "5.0.")


def test_many_each_its_own(daemon):
    """Merged, over few connections: the end of one travels with the beginning of the next."""
    raw = fields().decode() + "{{name}}\r\n..\r\n{{name}}\r\n.\r\n"
    names = {f"u{i}@a.test": "." * (i % 5) + f"name {i}" + " and more" * (i % 90) for i in range(300)}
    answer = daemon.submit({"from": SENDER, "message": {"raw": raw}},
                           [{"to": to, "vars": {"name": name}} for to, name in names.items()])
    daemon.wait_counts(answer.json["jobs"][0]["job"], 60, delivered=300)
    arrived = received(daemon, 300)
    assert {m.recipient for m in arrived} == set(names)
    for message in arrived:
        name = names[message.recipient].encode()
        read = email.message_from_bytes(message.content, policy=email.policy.SMTP)
        assert read.get_payload(decode=True) == name + b"\r\n..\r\n" + name + b"\r\n.\r\n"


def test_a_utf8_address(daemon):
    message = fields(EIGHT_BIT % "utf-8", subject="Grüße") + "Jörg\r\n".encode()
    if not isinstance(daemon.peer, Opensmtpd):  # which does not offer SMTPUTF8
        send(daemon, message, ["jörg@a.test"])
        arrived, = received(daemon)
        assert arrived.recipient == "jörg@a.test"
        read = email.message_from_bytes(arrived.content, policy=email.policy.SMTPUTF8)
        assert read["subject"] == "Grüße" and read.get_content().strip() == "Jörg"
        return
    ident = send(daemon, message, ["jörg@a.test", "u@a.test"], delivered=1, bounced=1)
    arrived, = received(daemon)
    bounced, = daemon.recipients(ident, "&state=bounced")
    assert arrived.recipient == "u@a.test" and bounced["status"] == "5.6.7"


def test_a_domain_in_utf8_needs_no_extension(daemon):
    message = fields() + b"Hello\r\n"
    send(daemon, message, ["u@bücher.test"])
    arrived, = received(daemon)
    assert arrived.recipient == "u@xn--bcher-kva.test" and arrived.content == message


def test_tls_is_used_where_it_is_offered_and_works(daemon):
    send(daemon, fields() + b"Hello\r\n")
    arrived, = received(daemon)
    used = daemon.peer.tls and daemon.peer.TLS_WORKS
    tls = [event["tls"] for event in daemon.events() if event["type"] == "delivered"][-1]
    assert tls.startswith("TLSv1.3 ") if used else tls == ""
    if arrived.trace:
        assert ("TLS" in arrived.trace) == used


@pytest.mark.parametrize("case", ["7-bit", "utf-8", "latin-1", "dots", "no body"])
def test_where_an_extension_is_missing(reduced, case):
    """Without 8BITMIME it is encoded; without PIPELINING it goes command by command."""
    more, body = AS_IT_IS[case]
    message = fields(more) + body
    send(reduced, message)
    arrived, = received(reduced)
    if "8BITMIME" not in reduced.peer.options["without"] or message.isascii():
        assert arrived.content == message
        return
    assert arrived.content.isascii()
    read = email.message_from_bytes(arrived.content, policy=email.policy.SMTP)
    assert read.get_payload(decode=True).replace(b"\r\n", b"\n") == body.replace(b"\r\n", b"\n")


def test_helo_where_ehlo_is_refused():
    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        return ["502 5.5.1 what is that?"]
    for daemon in opened(Aiosmtpd(handle_EHLO=handle_EHLO)):
        message = fields() + b"Hello\r\n"
        send(daemon, message)
        arrived, = received(daemon)
        assert arrived.content == message


def test_what_is_too_large_is_not_sent():
    """By what SIZE says, CRLFs counted; nothing is asked of the host."""
    for daemon in opened(Postfix(more="message_size_limit = 3000\n")):
        fits = fields() + (b"x" * 98 + b"\r\n") * 20  # Postfix counts what it puts in front, too
        send(daemon, fits)
        arrived, = received(daemon)
        assert arrived.content == fits
        ident = send(daemon, fits + b"x" * (3000 - len(fits) - 1) + b"\r\n", bounced=1)
        bounced, = daemon.recipients(ident, "&state=bounced")
        assert bounced["status"] == "5.3.4" and not bounced.get("code")
        assert "message size" not in daemon.peer.read_log()


def test_null_mx():
    """No mail for it, though its name has an address."""
    for daemon in opened(Aiosmtpd()):
        ident = send(daemon, fields() + b"Hello\r\n", ["u@null.test"], bounced=1)
        bounced, = daemon.recipients(ident, "&state=bounced")
        assert bounced["status"] == "5.1.10" and daemon.peer.messages() == []


def test_limits_are_obeyed():
    """LIMITS (RFC 9422) of a server that counts."""
    sessions = []

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        sessions.append([])
        session.mails = sessions[-1]
        return [*responses[:-1], "250-LIMITS RCPTMAX=7 MAILMAX=3 RCPTDOMAINMAX=1", responses[-1]]

    async def handle_DATA(self, server, session, envelope):
        session.mails.append(list(envelope.rcpt_tos))
        return "250 2.0.0 kept"

    for daemon in opened(Aiosmtpd(handle_EHLO=handle_EHLO, handle_DATA=handle_DATA)):
        people = [f"u{i}@{domain}" for i in range(30) for domain in ("a.test", "xn--bcher-kva.test")]
        send(daemon, fields() + b"Hello\r\n", people)
        carried = [session for session in sessions if session]
        assert sorted(to for session in carried for mail in session for to in mail) == sorted(people)
        assert max(len(session) for session in carried) <= 3
        assert max(len(mail) for session in carried for mail in session) == 7
        assert all(len({to.split("@")[1] for mail in session for to in mail}) == 1 for session in carried)
        assert {r["attempts"] for r in daemon.recipients(daemon.events()[-1]["job"])} <= {0, 1}
