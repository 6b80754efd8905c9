"""build/sendmail as programs call it: options, exit codes, what arrives."""
import email
import email.policy
import getpass
import os
import subprocess

import pytest
from daemon import BUILD, PATIENCE, wait_for
from submission import Post

SENDMAIL = os.path.join(BUILD, "sendmail")
MESSAGE = "From: a@sender.test\nTo: x@a.test\nSubject: hello\n\nHi\n"
OK, USAGE, DATAERR, TEMPFAIL = 0, 64, 65, 75


@pytest.fixture(scope="module")
def post():
    with Post() as opened:
        yield opened


def run(post, *args, message=MESSAGE, socket=None, name=SENDMAIL):
    return subprocess.run([name, *args], input=message.encode(), capture_output=True, timeout=60 * PATIENCE,
                          env={**os.environ, "POSTRIDER_SMTP": socket or post.unix,
                               "POSTRIDER_SOCKET": post.daemon.socket})


def sent(post, *args, count=1, **kw):
    """What arrives: envelopes, with the message parsed."""
    before = len(post.kept)
    done = run(post, *args, **kw)
    assert done.returncode == OK, done.stderr
    kept = post.wait(before + count)[before:]
    for envelope in kept:
        envelope.message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    return kept


def test_named_recipients(post):
    [kept] = sent(post, "-f", "bounce@sender.test", "x@a.test")
    assert (kept.mail_from, kept.rcpt_tos) == ("bounce@sender.test", ["x@a.test"])
    assert kept.content.endswith(b"\r\nHi\r\n") and kept.message["Message-ID"]
    assert f"(uid {os.getuid()})" in kept.message["Received"]


def test_recipients_of_the_header(post):
    message = ('From: a@sender.test\nTo: "Lovelace, Ada (1815)" <ada@a.test>,\n bob@a.test (Bob),\n'
               ' friends: c@a.test, d @ b.test (\\) <x@nowhere>);\nCc: <@route.test:e@b.test>\n'
               "Bcc: f@b.test\nSubject: x\n\nHi\n")
    before, people = len(post.kept), {"ada@a.test", "bob@a.test", "c@a.test", "d@b.test", "e@b.test",
                                      "f@b.test", "g@b.test"}
    sent(post, "-t", "-i", "-f", "a@sender.test", "g@b.test", message=message)
    wait_for(lambda: {to for e in post.kept[before:] for to in e.rcpt_tos} == people, 30, "all seven")
    assert all(b"f@b.test" not in e.content for e in post.kept[before:])


def test_dots(post):
    [kept] = sent(post, "x@a.test", message=MESSAGE + ".\nnot this\n")
    assert kept.content.endswith(b"\r\nHi\r\n")
    for option in "-i", "-oi":
        [kept] = sent(post, option, "x@a.test", message=MESSAGE + ".\n..\nthis\n")
        assert kept.content.endswith(b"\r\nHi\r\n.\r\n..\r\nthis\r\n")


def test_who_sends(post):
    [kept] = sent(post, "-F", "Cron Daemon", "x@a.test", message="Subject: x\n\nHi\n")
    assert kept.mail_from == f"{getpass.getuser()}@mta.test"
    assert kept.message["From"] == f"Cron Daemon <{getpass.getuser()}@mta.test>"
    [kept] = sent(post, "-f", "<>", "x@a.test")
    assert kept.mail_from == "<>"  # as aiosmtpd has it
    [kept] = sent(post, "-r", "bounce-{{rid}}@sender.test", "-oem", "-odb", "-v", "-bm", "x@a.test")
    assert kept.mail_from.startswith("bounce-") and "{" not in kept.mail_from


def test_reports(post):
    sent(post, "-N", "success,delay", "-V", "id1", "-R", "hdrs", "x@a.test")
    job = post.jobs()[0]
    [row] = post.daemon.recipients(job["job"])
    rcpt = post.daemon.get("/v1/recipients/" + row["rid"]).json
    assert job["envid"] == "id1" and sorted(rcpt["notify"]) == ["delay", "success"]


def test_utf8(post):
    [kept] = sent(post, "-t", message="From: a@sender.test\nTo: 张三@a.test\nSubject: 你好\n\n你好\n")
    assert kept.rcpt_tos == ["张三@a.test"] and "你好" in kept.content.decode()


def test_a_large_message(post):
    body = "".join(f"line {i} of many\n" for i in range(100000))
    [kept] = sent(post, "x@a.test", message=MESSAGE + body)
    assert kept.content.endswith(body.replace("\n", "\r\n").encode())


def test_smtp_on_standard_input(post):
    dialogue = ("EHLO me\r\nMAIL FROM:<a@sender.test>\r\nRCPT TO:<x@a.test>\r\nDATA\r\n" +
                MESSAGE.replace("\n", "\r\n") + ".\r\nQUIT\r\n")
    before = len(post.kept)
    done = run(post, "-bs", message=dialogue)
    replies = done.stdout.decode().splitlines()
    assert done.returncode == OK and replies[0].startswith("220 mta.test") and replies[-1].startswith("221")
    assert any(line.startswith("250 2.0.0 queued") for line in replies)
    post.wait(before + 1)


def test_the_queue(post):
    assert run(post, "-bp").returncode == OK
    assert run(post, "-q").returncode == OK and run(post, "-q30m").returncode == OK
    assert run(post, "-qRa.test").returncode == OK
    assert run(post, "-bi").returncode == OK
    mailq = os.path.join(post.daemon.directory, "mailq")
    os.symlink(os.path.abspath(SENDMAIL), mailq)
    assert run(post, name=mailq).returncode == OK


def test_what_fails(post):
    for args, code, words in [(["-Y"], USAGE, "unknown option"), (["-bd"], USAGE, "-bd is not known"),
                              ([], USAGE, "no recipients"), (["-N", "often", "x@a.test"], DATAERR, "NOTIFY"),
                              (["x@a@b"], DATAERR, "because of the recipient <x@a@b>"),
                              (["-f", "a@b@c", "x@a.test"], DATAERR, "5.1.7")]:
        done = run(post, *args)
        assert done.returncode == code and words in done.stderr.decode(), (args, done)
    done = run(post, "-t", message="Subject: x\n\nTo: x@a.test\n")
    assert done.returncode == DATAERR and b"names no recipients" in done.stderr
    before = post.count()
    done = run(post, "x@a.test", "x@a@b")
    assert done.returncode == DATAERR and post.count() == before
    for socket in post.unix + ".none", post.daemon.config:
        done = run(post, "x@a.test", socket=socket)
        assert done.returncode == TEMPFAIL and b"is it running?" in done.stderr
    done = run(post, "-bs", message="QUIT\r\n", socket=post.unix + ".none")
    assert done.returncode == TEMPFAIL and done.stdout.startswith(b"421 ")


def test_help():
    done = subprocess.run([SENDMAIL, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "-oi" in done.stdout
