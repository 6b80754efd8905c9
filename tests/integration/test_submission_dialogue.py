"""SMTP as somebody types it: for each command and each mistake the code and enhanced status that RFC 5321 and
4954 name; and what no client should say, after which the daemon goes on as before."""
import base64
import os
import random
import resource
import select
import socket
import ssl
import struct
import subprocess

import pytest
from daemon import PATIENCE, free_port, wait_for
from sanitizer import KIND, limit
from submission import PASSWORD, USER, Dialogue, Post

MESSAGE = "From: a@sender.test\r\nSubject: hello\r\n\r\nHi\r\n."
LOGIN = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()


def b64(text):
    return base64.b64encode(text.encode()).decode()


class Typist:
    """A program that connects standard input and output: nc, openssl s_client."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        self.file, self.rest = self, b""

    reply = Dialogue.reply

    def readline(self):
        while b"\n" not in self.rest:
            readable, _, _ = select.select([self.process.stdout], [], [], 20 * PATIENCE)
            assert readable, f"no answer; so far {self.rest!r}"
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                return b""
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        return line + b"\n"

    def say(self, line):
        self.process.stdin.write(line.replace("\r\n", "\n").encode() + b"\n")
        self.process.stdin.flush()
        return self.reply()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(20)
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def post():
    with Post() as opened:
        yield opened


def converse(d, lines):
    """Each line gets the reply that it begins with; None: nothing is said, only heard."""
    for line, wanted in lines:
        reply = d.reply() if line is None else d.say(line)
        assert reply.startswith(wanted), f"{line!r}: expected {wanted!r}, got {reply!r}"


BEFORE_TLS = [
    (None, "220 mta.test ESMTP"),
    ("MAIL FROM:<a@sender.test>", "503 5.5.1"),
    ("EHLO", "501 5.5.4"),
    ("HELO me.test", "250 mta.test"),
    ("EHLO me.test", "250-mta.test"),
    ("HELP", "214-2.0.0"),
    ("HELP DATA", "214 2.0.0"),
    ("HELP FRED", "504 5.5.4"),
    ("NOOP", "250 2.0.0"),
    ("VRFY ada", "252 2.0.0"),
    ("EXPN staff", "252 2.0.0"),
    ("FRED", "500 5.5.2"),
    ("SEND FROM:<a@sender.test>", "502 5.5.1"),
    ("TURN", "502 5.5.1"),
    ("AUTH PLAIN " + LOGIN, "538 5.7.11"),
    ("STARTTLS now", "501 5.5.4"),
]
THROUGH_TLS = [
    ("EHLO me.test", "250-mta.test"),
    ("STARTTLS", "503 5.5.1"),
    ("AUTH FRED", "504 5.5.4"),
    ("AUTH CRAM-MD5", "534 5.7.9"),
    ("AUTH PLAIN", "334 "),
    ("*", "501 5.7.0"),
    ("AUTH PLAIN " + b64("\0ada\0wrong"), "535 5.7.8"),
    ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
    (b64(USER), "334 UGFzc3dvcmQ6"),
    (b64(PASSWORD), "235 2.7.0"),
    ("AUTH PLAIN " + LOGIN, "503 5.5.1"),
]
TRANSACTIONS = [
    ("RCPT TO:<x@a.test>", "503 5.5.1"),
    ("DATA", "503 5.5.1"),
    ("MAIL FROM:<a@sender.test> SIZE=99999999", "552 5.3.4"),
    ("MAIL FROM:<a@sender.test> FRED=1", "555 5.5.4"),
    ("MAIL FROM:a@sender.test", "501 5.5.4"),
    ("MAIL FROM:<a@sender.test>", "250 2.1.0"),
    ("MAIL FROM:<a@sender.test>", "503 5.5.1"),
    ("AUTH LOGIN", "503 5.5.1"),
    ("RCPT TO:<x@a..test>", "501 5.1.3"),
    ("DATA", "554 5.5.1"),
    ("RCPT TO:<x@a.test>", "250 2.1.5"),
    ("DATA", "354 "),
    (MESSAGE, "250 2.0.0 queued as"),
    ("MAIL FROM:<a@sender.test>", "250 2.1.0"),
    ("RCPT TO:<x@a.test>", "250 2.1.5"),
    ("DATA", "354 "),
    ("X-Postrider-Colour: red\r\n\r\n.", "554 5.6.0"),
    ("RSET", "250 2.0.0"),
    ("ETRN a.test", "250 2.0.0"),
    ("ETRN a..test", "501 5.5.4"),
    ("QUIT", "221 2.0.0"),
    (None, "closed"),
]


def test_by_hand_with_nc(post):
    """In the clear, from an allowed network: all but what needs a login."""
    without = [(line, wanted) for line, wanted in TRANSACTIONS if line not in ("AUTH LOGIN", None)]
    with Typist("nc", "-C", "127.0.0.1", str(post.plain)) as d:
        converse(d, BEFORE_TLS + without)  # nc itself does not end with the connection


def test_by_hand_with_openssl(post):
    with Typist("openssl", "s_client", "-quiet", "-crlf", "-CAfile", post.certificate, "-connect",
                f"127.0.0.1:{post.secure}") as d:
        converse(d, [(None, "220 mta.test ESMTP")] + THROUGH_TLS + TRANSACTIONS)
    with Typist("openssl", "s_client", "-quiet", "-crlf", "-starttls", "smtp", "-CAfile", post.certificate,
                "-connect", f"127.0.0.1:{post.plain}") as d:
        converse(d, THROUGH_TLS + TRANSACTIONS)


def test_outside(post):
    with Dialogue(post.outside) as d:
        converse(d, [(None, "220"), ("EHLO me", "250"), ("AUTH PLAIN", "502 5.5.1"),
                     ("STARTTLS", "502 5.5.1"), ("MAIL FROM:<a@sender.test>", "250"),
                     ("RCPT TO:<x@a.test>", "550 5.7.1"), ("DATA", "554 5.5.1"),
                     ("ETRN a.test", "550 5.7.1"), ("QUIT", "221")])


def test_what_a_listener_requires():
    with Post(users="require_auth: yes, require_tls: yes") as post:
        with Typist("openssl", "s_client", "-quiet", "-crlf", "-CAfile", post.certificate, "-connect",
                    f"127.0.0.1:{post.secure}") as d:
            converse(d, [(None, "220"), ("EHLO me", "250"), ("MAIL FROM:<a@sender.test>", "530 5.7.0"),
                         ("ETRN a.test", "530 5.7.0"), ("AUTH PLAIN " + LOGIN, "235 2.7.0"),
                         ("MAIL FROM:<a@sender.test>", "250")])
        with Dialogue(post.plain) as d:
            converse(d, [(None, "220"), ("EHLO me", "250"),
                         ("MAIL FROM:<a@sender.test>", "530 5.7.0 STARTTLS")])


def test_when_users_cannot_be_read():
    with Post() as post:
        os.rename(post.users, post.users + ".away")
        with Typist("openssl", "s_client", "-quiet", "-crlf", "-CAfile", post.certificate, "-connect",
                    f"127.0.0.1:{post.secure}") as d:
            converse(d, [(None, "220"), ("EHLO me", "250"), ("AUTH PLAIN " + LOGIN, "454 4.7.0")])
            os.rename(post.users + ".away", post.users)
            converse(d, [("AUTH PLAIN " + LOGIN, "235 2.7.0")])
        assert "cannot read the users" in post.daemon.read_log()


def test_when_intake_is_stopped():
    """The event log is full, since somebody who must see it does not read: mail has to wait (452)."""
    consumer = f'{{ name: slow, webhook: "http://127.0.0.1:{free_port()}/", retry: 1h, retry_max: 1h }}'
    with Post(config=f"queue: {{ events_max: 1M }}\nconsumers:\n  - {consumer}\n") as post:
        people = [f"u{i}@a.test" for i in range(2000)]
        job = {"from": "a@sender.test", "message": {"raw": "Subject: x\r\n\r\n{{to}}\r\n"}}
        wait_for(lambda: post.daemon.submit(job, people).status == 507, 60, "the log to be full")
        with Dialogue(post.plain) as d:
            converse(d, [(None, "220"), ("EHLO me", "250"), ("MAIL FROM:<a@sender.test>", "452 4.3.1"),
                         ("ETRN a.test", "458 4.3.0")])


def data_of(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmData")) << 10


@pytest.mark.skipif(KIND != "", reason="a sanitizer ends a program that is given no memory")
def test_when_memory_is_out():
    """A message that there is no memory for has to wait (451), by DATA or by BDAT; the daemon and the
    client's connection go on, and when there is some again the same message is taken."""
    message = "Subject: large\r\n\r\n" + ("x" * 70 + "\r\n") * 300000
    with Post() as post, Dialogue(post.plain) as d:
        envelope = [("MAIL FROM:<a@sender.test>", "250"), ("RCPT TO:<x@a.test>", "250")]
        small = envelope + [("DATA", "354"), (MESSAGE, "250 2.0.0")]
        converse(d, [(None, "220"), ("EHLO me", "250")] + small)
        pid, more = post.daemon.process.pid, 24 << 20  # a buffer of 16 MiB fits, and not the next one of 32
        hard = resource.prlimit(pid, resource.RLIMIT_DATA)[1]
        resource.prlimit(pid, resource.RLIMIT_DATA, (data_of(pid) + more, hard))
        converse(d, envelope + [("DATA", "354"), (message + ".", "451 4.3.0 no memory")] + envelope)
        d.send(f"BDAT {len(message)} LAST\r\n{message}")
        converse(d, [(None, "451 4.3.0 no memory")] + small)
        resource.prlimit(pid, resource.RLIMIT_DATA, (hard, hard))
        converse(d, envelope + [("DATA", "354"), (message + ".", "250 2.0.0 queued as")])
        assert post.count() == 3


def test_limits():
    limits = "max_errors: 3, max_commands: 12, max_recipients: 2, max_size: 64k, max_messages: 2"
    with Post(options=limits) as post:
        with Dialogue(post.plain) as d:
            converse(d, [(None, "220"), ("EHLO me", "250")] + [("FRED", "500")] * 3 +
                     [(None, "421 4.7.0"), (None, "closed")])
        with Dialogue(post.plain) as d:
            converse(d, [(None, "220")] + [("NOOP", "250")] * 12 + [("NOOP", "421 4.7.0"), (None, "closed")])
        with Dialogue(post.plain) as d:
            converse(d, [(None, "220"), ("EHLO me", "250"), ("MAIL FROM:<a@sender.test>", "250"),
                         ("RCPT TO:<x@a.test>", "250"), ("RCPT TO:<y@a.test>", "250"),
                         ("RCPT TO:<z@a.test>", "452 4.5.3"), ("DATA", "354"),
                         ("Subject: x\r\n\r\n" + ("x" * 998 + "\r\n") * 66 + ".", "552 5.3.4")])
            for _ in range(2):
                converse(d, [("MAIL FROM:<a@sender.test>", "250"), ("RCPT TO:<x@a.test>", "250"),
                             ("DATA", "354"), (MESSAGE, "250 2.0.0")])
            converse(d, [("MAIL FROM:<a@sender.test>", "452 4.5.3")])


# ---- what no client should say ----

def heard(post, data, cut=False):
    """All replies to these bytes."""
    with Dialogue(post.plain) as d:
        try:
            d.send(data)
            if cut:
                d.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return []
            d.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was sent away meanwhile
        replies = []
        try:
            while (reply := d.reply()) != "closed":
                replies.append(reply[:9])
        except OSError:
            replies.append("reset")
        return replies


ENVELOPE = b"EHLO me\r\nMAIL FROM:<a@sender.test>\r\nRCPT TO:<x@a.test>\r\n"
ACCEPTED = ["220 mta.t", "250-mta.t", "250 2.1.0", "250 2.1.5"]


@pytest.mark.parametrize("said, wanted", [
    (b"NOOP\n", ["220 mta.t", "500 5.5.2"]),
    (b"NOOP\r", ["220 mta.t"]),
    (b"NO\0OP\r\n", ["220 mta.t", "500 5.5.2"]),
    (b"NOOP\rNOOP\r\n", ["220 mta.t", "500 5.5.2"]),
    (b"N" * 20000 + b"\r\nNOOP\r\n", ["220 mta.t", "500 5.5.2", "250 2.0.0"]),
    (b"N" * 3000000 + b"\r\nNOOP\r\n", ["220 mta.t", "500 5.5.2", "250 2.0.0"]),
    (b"\xff\xfe\xfd\r\nNOOP\r\n", ["220 mta.t", "421 4.7.0"]),
    (b"EHLO \xff\xfe\r\n", ["220 mta.t", "250-mta.t"]),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", ["220 mta.t", "500 5.5.2"]),
    (b"\x16\x03\x01\x02\xf0\x01\r\nNOOP\r\n", ["220 mta.t", "421 4.7.0"]),
    (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + ENVELOPE + b"DATA\r\nhello\r\n.\r\n",
     ["220 mta.t", "421 4.7.0"]),
    (b"DATA\r\nMAIL FROM:<a@sender.test>\r\n", ["220 mta.t", "503 5.5.1", "503 5.5.1"]),
    (ENVELOPE + b"DATA\r\nhello\n.\nQUIT\r\n.\r\nNOOP\r\n",
     ACCEPTED + ["354 go on", "554 5.6.0", "250 2.0.0"]),
    (ENVELOPE + b"DATA\r\nhello\r.\r\r\n.\r\n", ACCEPTED + ["354 go on", "554 5.6.0"]),
    (ENVELOPE + b"DATA\r\nhel\0lo\r\n.\r\n", ACCEPTED + ["354 go on", "554 5.6.0"]),
    (ENVELOPE + b"DATA\r\nhello\r\n.\r", ACCEPTED + ["354 go on"]),
    (ENVELOPE + b"BDAT 10 LAST\r\nhello", ACCEPTED),
    (ENVELOPE + b"BDAT 99999999999999999999\r\n", ACCEPTED + ["501 5.5.4"]),
    (ENVELOPE + b"BDAT -1\r\n", ACCEPTED + ["501 5.5.4"]),
    (ENVELOPE + b"BDAT 5 FIRST\r\nhello", ACCEPTED + ["501 5.5.4"]),
    (ENVELOPE + b"BDAT 5\r\nhelloDATA\r\n", ACCEPTED + ["250 2.0.0", "503 5.5.1"]),
    (ENVELOPE + b"BDAT 7 LAST\r\nhello\n\n", ACCEPTED + ["554 5.6.0"]),
    (b"EHLO me\r\nSTARTTLS\r\nMAIL FROM:<evil@sender.test>\r\nQUIT\r\n",
     ["220 mta.t", "250-mta.t", "501 5.5.1"]),
    (b"EHLO me\r\nMAIL FROM:<" + b"a" * 5000 + b"@sender.test>\r\n", ["220 mta.t", "250-mta.t", "501 5.1.7"]),
    (b"EHLO " + b"x." * 2000 + b"\r\n", ["220 mta.t", "501 5.5.4"]),
])
def test_malformed(post, said, wanted):
    before = post.count()
    assert heard(post, said) == wanted
    assert post.count() == before


def test_handshakes_cut_short(post):
    """TLS that ends anywhere, or goes on with something else, leaves nothing; and the next one works."""
    tls = post.context().wrap_bio(ssl.MemoryBIO(), out := ssl.MemoryBIO(), server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = out.read()
    for end in list(range(0, len(hello), 7)) + [len(hello)]:
        for rest in b"", b"MAIL FROM:<a@sender.test>\r\n" * 20:
            with Dialogue(post.secure) as d:
                d.send(hello[:end] + rest)
                if end % 2:
                    d.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with Dialogue(post.secure, context=post.context()) as d:
        converse(d, [(None, "220"), ("EHLO me", "250")])


def test_bad_base64(post):
    with Typist("openssl", "s_client", "-quiet", "-crlf", "-CAfile", post.certificate, "-connect",
                f"127.0.0.1:{post.secure}") as d:
        converse(d, [(None, "220"), ("EHLO me", "250"), ("AUTH PLAIN !", "501 5.5.2"),
                     ("AUTH PLAIN =", "501 5.5.2"), ("AUTH PLAIN " + b64("\0ada"), "501 5.5.2"),
                     ("AUTH LOGIN", "334"), ("A" * 13000, "500 5.5.6"), ("NOOP", "250"),
                     ("AUTH LOGIN", "334"), ("=", "334"), (b64("x" * 3000), "501 5.5.2")])


def test_a_login_has_time_and_guessers_have_little():
    """Whoever guesses passwords on many connections holds up neither messages nor, for long, a login."""
    with Post(users="max_connections: 1000, max_per_address: 1000") as post:
        guess = "AUTH PLAIN " + b64("\0nobody\0guess")
        guessers = [Dialogue(post.secure, context=post.context()) for _ in range(250)]
        for d in guessers:
            converse(d, [(None, "220"), ("EHLO me", "250")])
        for d in guessers:
            d.send(guess + "\r\n")
        with Dialogue(post.plain) as d:  # while they wait
            converse(d, [(None, "220"), ("EHLO me", "250"), ("MAIL FROM:<a@sender.test>", "250"),
                         ("RCPT TO:<x@a.test>", "250"), ("BDAT 300000 LAST\r\nSubject: x\r\n\r\n" +
                          "x" * (300000 - 16) + "\r", "554 5.6.0")])
        replies = [d.reply()[:9] for d in guessers]
        for d in guessers:
            d.__exit__()
        wrong = replies.count("535 5.7.8")
        assert set(replies) <= {"535 5.7.8", "454 4.7.0"} and wrong >= limit("SUBMISSION_LOGINS_MAX")
        assert f"\npostrider_submission_wrong_logins_total {wrong}\n" in post.daemon.get("/metrics").body
        with Dialogue(post.secure, context=post.context()) as d:
            converse(d, [(None, "220"), ("EHLO me", "250"), ("AUTH PLAIN " + LOGIN, "235 2.7.0")])


def memory(post):
    with open(f"/proc/{post.daemon.process.pid}/status") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith(("RssAnon", "RssShmem")))


def test_nothing_grows(post):
    """Thousands of clients that say anything and leave anywhere: nothing is accepted by it, and the daemon
    needs no more memory than before."""
    rng = random.Random(7)
    pieces = [b"EHLO me\r\n", b"MAIL FROM:<a@sender.test>\r\n", b"RCPT TO:<x@a.test>\r\n", b"DATA\r\n",
              b"x" * 3000, b"BDAT 100000\r\n", b"RSET\r\n", b"\n.\n", b"\0", b"AUTH PLAIN AAAA\r\n",
              b"HELP\r\n" * 50, b"x" * 40000, b"STARTTLS\r\n", b"\xff" * 100, b"NOOP\r\n" * 300, b"\r\n"]
    before, sizes = post.count(), []
    for _ in range(6):
        for _ in range(300):
            heard(post, b"".join(rng.choices(pieces, k=rng.randrange(1, 12))), cut=rng.random() < 0.7)
        sizes.append(memory(post))
    # A sanitizer keeps what was freed for a while, and looks for leaks at the end itself.
    assert KIND or sizes[-1] < sizes[1] + 4096, sizes
    assert post.count() == before
    with Dialogue(post.plain) as d:
        converse(d, [(None, "220"), ("EHLO me", "250"), ("MAIL FROM:<a@sender.test>", "250"),
                     ("RCPT TO:<x@a.test>", "250"), ("DATA", "354"), (MESSAGE, "250 2.0.0")])
