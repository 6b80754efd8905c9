"""What the extensions of SMTP that a client asks for come to, once the mail is taken in: when it leaves, how
it is reported, in what form it arrives."""
import email
import email.policy
import time

import pytest
from daemon import wait_for
from submission import Dialogue, Post

MESSAGE = b"From: a@sender.test\r\nSubject: hello\r\n\r\nHi\r\n"


@pytest.fixture(scope="module")
def post():
    with Post() as opened:
        yield opened


class Busy:
    """A receiver that has no time yet."""

    def __init__(self):
        self.over = False

        async def handle_RCPT(_handler, server, session, envelope, address, options):
            if not self.over:
                return "451 4.2.1 busy now"
            envelope.rcpt_tos.append(address)
            return "250 2.1.5 ok"
        self.handler = {"handle_RCPT": handle_RCPT}


def hand_in(post, parameters="", content=MESSAGE, rcpt="TO:<x@a.test>"):
    """The job's number."""
    with Dialogue(post.plain) as d:
        d.reply()
        assert d.say("EHLO me").startswith("250")
        assert d.say("MAIL FROM:<a@sender.test> " + parameters).startswith("250 2.1.0")
        assert d.say("RCPT " + rcpt).startswith("250 2.1.5")
        d.send(b"BDAT %d LAST\r\n" % len(content) + content)
        reply = d.reply()
        assert reply.startswith("250 2.0.0 queued as "), reply
        return reply.split()[-1]


def test_held_for_a_while(post):
    before, begin = len(post.kept), time.monotonic()
    job = hand_in(post, "HOLDFOR=3")
    post.wait(before + 1)
    assert time.monotonic() - begin > 2.5
    post.daemon.wait_counts(job, delivered=1)


def test_returned_after_a_time():
    busy = Busy()
    with Post(**busy.handler) as post:
        job = hand_in(post, "BY=2;R")
        post.daemon.wait_counts(job, expired=1)
        [event] = [e for e in post.daemon.events() if e["type"] == "expired"]
        assert event["to"] == "x@a.test" and event["status"] == "4.2.1"
        assert post.kept == []


def test_told_of_a_delay():
    """After the time that was asked for, long before the one that is configured."""
    busy = Busy()
    with Post(config="queue: { delay_warning: 1h }\n", **busy.handler) as post:
        soon, late = hand_in(post, "BY=2;N"), hand_in(post, "BY=60;N")

        def told():
            return [e for e in post.daemon.events() if e["type"] == "delayed"]
        assert [e["job"] for e in wait_for(told, 30, "word of the delay")] == [soon]
        post.daemon.stop()  # what a job wants is kept
        post.daemon.start()
        for job in soon, late:
            assert post.daemon.job(job)["counts"]["deferred"] == 1
        assert len(told()) == 1


@pytest.mark.parametrize("priority, field, class_", [
    (4, b"", "transactional"), (0, b"", "bulk"), (-4, b"", "bulk"),
    (9, b"X-Postrider-Class: bulk\r\n", "bulk")])
def test_priority(post, priority, field, class_):
    job = hand_in(post, f"MT-PRIORITY={priority}", field + MESSAGE)
    assert post.daemon.job(job)["class"] == class_
    post.daemon.wait_counts(job, delivered=1)


def test_what_waits_is_tried_at_once():
    busy = Busy()
    with Post(config='retry:\n  - { status: "4.2.1", schedule: [1h] }\n', **busy.handler) as post:
        job = hand_in(post)
        post.daemon.wait_counts(job, deferred=1)
        busy.over = True
        with Dialogue(post.plain) as d:
            d.reply()
            d.say("EHLO me")
            assert d.say("ETRN b.test").startswith("250 2.0.0")
            assert post.daemon.job(job)["counts"]["deferred"] == 1
            assert d.say("ETRN @A.test").startswith("250 2.0.0")
        post.wait(1)


def test_octets_arrive_as_they_were(post):
    """BINARYMIME, for a host that has no such thing."""
    octets = bytes(range(256)) * 20 + b"\n\n\r\r.\r\n.\r\n"
    before = len(post.kept)
    hand_in(post, "BODY=BINARYMIME", b"From: a@sender.test\r\nMIME-Version: 1.0\r\n"
            b"Content-Type: image/x-test\r\nContent-Transfer-Encoding: binary\r\n\r\n" + octets)
    [kept] = post.wait(before + 1)[before:]
    assert email.message_from_bytes(kept.content).get_payload(decode=True) == octets
    with Dialogue(post.plain) as d:
        d.reply()
        d.say("EHLO me")
        d.say("MAIL FROM:<a@sender.test> BODY=BINARYMIME")
        d.say("RCPT TO:<x@a.test>")
        assert d.say("DATA").startswith("503 5.5.1")
        assert d.say("BDAT 7 LAST\r\nHi\r\n\0").startswith("250 2.0.0 queued")
    post.wait(before + 2)


def test_addresses_that_are_not_ascii(post):
    before = len(post.kept)
    content = "From: 张 <张@sender.test>\r\nSubject: 你好\r\n\r\n你好\r\n".encode()
    hand_in(post, "SMTPUTF8 BODY=8BITMIME", content, "TO:<李四@a.test> ORCPT=utf-8;\\x{674E}@a.test")
    [kept] = post.wait(before + 1)[before:]
    assert kept.rcpt_tos == ["李四@a.test"] and "SMTPUTF8" in kept.mail_options
    message = email.message_from_bytes(kept.content, policy=email.policy.default)
    assert message["Subject"] == "你好" and "with UTF8SMTP;" in message["Received"]


def test_a_return_path_takes_the_place_of_the_sender(post):
    for sender, field, wanted in (("a@sender.test", "<b@sender.test>", "b@sender.test"),
                                  ("a@sender.test", "<>", "<>"), ("", "<b@sender.test>", "<>")):
        before = len(post.kept)
        with Dialogue(post.plain) as d:
            d.reply()
            d.say("EHLO me")
            d.say(f"MAIL FROM:<{sender}>")
            d.say("RCPT TO:<x@a.test>")
            d.say("DATA")
            assert d.say(f"Return-Path: {field}\r\nSubject: x\r\n\r\nHi\r\n.").startswith("250 2.0.0")
        [kept] = post.wait(before + 1)[before:]
        assert (kept.mail_from or "<>") == wanted


def test_limits_are_told():
    with Post(options="max_messages: 2, max_recipients: 3, max_size: 70k") as post, Dialogue(post.plain) as d:
        d.reply()
        offered = [line[4:] for line in d.say("EHLO me").split("\n")]
        assert "LIMITS MAILMAX=2 RCPTMAX=3" in offered and "SIZE 71680" in offered
        for _ in range(2):
            assert d.say("MAIL FROM:<a@sender.test> SIZE=71680").startswith("250")
            for name in "xyz":
                assert d.say(f"RCPT TO:<{name}@a.test>").startswith("250")
            assert d.say("RCPT TO:<w@a.test>").startswith("452 4.5.3")
            assert d.say("BDAT 2 LAST\r\n").startswith("250 2.0.0")
        assert d.say("MAIL FROM:<a@sender.test>").startswith("452 4.5.3")
