"""build/sendmail as programs call it: options, exit codes, what arrives."""
import email
import email.policy
import getpass
import os
import subprocess
from email.header import decode_header, make_header

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
    [kept] = sent(post, "-F", 'Doe, Jane "JD"', "x@a.test", message="Subject: x\n\nHi\n")
    assert kept.message["From"].addresses[0].display_name == 'Doe, Jane "JD"'
    [kept] = sent(post, "-f", "<>", "x@a.test")
    assert kept.mail_from == "<>"  # as aiosmtpd has it
    [kept] = sent(post, "-r", "bounce-{{rid}}@sender.test", "-oem", "-odb", "-v", "-bm", "x@a.test")
    assert kept.mail_from.startswith("bounce-") and "{" not in kept.mail_from
    [kept] = sent(post, "-f", "Ada <ada@sender.test>", "x@a.test")
    assert kept.mail_from == "ada@sender.test"


def test_a_name_that_is_not_ascii(post):
    name = "张三" * 20 + " von Müller"
    [kept] = sent(post, "-F", name, "x@a.test", message="Subject: x\n\nHi\n")
    field = email.message_from_bytes(kept.content)["From"]  # the newer policy puts spaces between words
    assert kept.content.isascii() and str(make_header(decode_header(field))).startswith(name + " <")
    assert max(map(len, kept.content.split(b"\r\n"))) <= 78


def test_once_for_each(post):
    """Whoever stands in several fields, or is named beside them, gets one message."""
    message = "From: a@sender.test\nTo: x@a.test, y@a.test\nCc: x@a.test\n\nHi\n"
    [kept] = sent(post, "-t", "y@a.test", message=message)
    assert sorted(kept.rcpt_tos) == ["x@a.test", "y@a.test"]


def test_more_than_a_message_may_have():
    people = [f"u{n}@a.test" for n in range(7)]
    with Post("max_recipients: 3") as post:
        done = run(post, "-f", "a@sender.test", *people)
        assert done.returncode == OK, done.stderr
        wait_for(lambda: sorted(to for e in post.kept for to in e.rcpt_tos) == people, 30, "all seven")
        assert sorted(one["total"] for one in post.jobs()) == [1, 3, 3]
        done = run(post, "-f", "a@sender.test", *people[:5], "x@" + "y" * 300)
        assert done.returncode == DATAERR, done
        assert b"taken for the recipients before <u3@a.test>, not" in done.stderr


def test_sent_on_as_it_is(post):
    """With Resent fields these name the recipients, not what the first sender wrote (RFC 5322 3.6.6)."""
    message = ("Resent-From: b@sender.test\nResent-To: x@a.test\nResent-Bcc: y@a.test\n"
               "From: a@sender.test\nTo: z@a.test\n\nHi\n")
    [kept] = sent(post, "-t", message=message)
    assert sorted(kept.rcpt_tos) == ["x@a.test", "y@a.test"]
    assert kept.message["Resent-Bcc"] is None and kept.message["To"] == "z@a.test"


def test_a_message_of_a_mailbox_file(post):
    [kept] = sent(post, "x@a.test", message="From ada Mon May  6 07:08:09 2024\nSubject: x\n\nHi\nFrom me\n")
    assert kept.message["Subject"] == "x" and kept.content.endswith(b"\r\n\r\nHi\r\nFrom me\r\n")


@pytest.mark.parametrize("args, message", [
    (["x@a.test"], "no header\n"), (["x@a.test"], "Subject: x\nno line between\n"), (["x@a.test"], ""),
    (["x@a.test"], "Subject: x\r\n\r\nlines of another system\r\n"),
])
def test_messages_as_scripts_write_them(post, args, message):
    [kept] = sent(post, *args, message=message)
    lines = message.replace("\r\n", "\n").replace("\n", "\r\n").encode().split(b"\r\n")
    assert kept.message["From"] and kept.content.endswith(b"\r\n".join(lines[-2:]))


@pytest.mark.parametrize("options", [
    ["-FCronDaemon", "-i", "-B8BITMIME", "-oem"],  # cron
    ["-oi", "-fa@sender.test", "-t"],              # PHP's libraries
    ["-oem", "-oi", "-f", "a@sender.test", "-N", "failure", "-R", "hdrs", "--"],  # mutt
    ["-odb", "-oem", "-om", "-oee", "-odq", "-t", "-oi"], ["-odi", "-oi", "-t"], ["-i", "-t"],
    ["-em", "-v", "-m", "-n", "-x", "-U", "-G", "-L", "tag", "-h", "3", "-pESMTP"],
    ["-C", "/etc/mail/sendmail.cf", "-O", "DeliveryMode=b", "-Am", "-X/dev/null", "-bm", "-d0.1"],
])
def test_options_that_programs_pass(post, options):
    [kept] = sent(post, *options, *([] if "-t" in options else ["x@a.test"]))
    assert kept.rcpt_tos == ["x@a.test"]


def test_reports(post):
    sent(post, "-N", "success,delay", "-V", "id1", "-R", "hdrs", "x@a.test")
    [job] = [job for job in post.jobs() if job["envid"]]  # the report of its success may be one too
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
    assert run(post, "-bi").returncode == OK and run(post, "-I").returncode == OK
    mailq = os.path.join(post.daemon.directory, "mailq")
    os.symlink(os.path.abspath(SENDMAIL), mailq)
    assert run(post, name=mailq).returncode == OK


def test_what_fails(post):
    for args, code, words in [(["-Y"], USAGE, "unknown option"), (["-bd"], USAGE, "-bd is not known"),
                              ([], USAGE, "no recipients"), (["-N", "often", "x@a.test"], DATAERR, "NOTIFY"),
                              (["x@a@b"], DATAERR, "because of the recipient <x@a@b>"),
                              (["-f", "a@b@c", "x@a.test"], DATAERR, "5.1.7"),
                              (["-f", "a@b.c>\r\nRCPT TO:<y@a.test", "x@a.test"], USAGE, "control character"),
                              (["-f", "a@b.c> HOLDFOR=99999 ENVID=x", "x@a.test"], USAGE, "holds a < or >"),
                              (["-f", "a@b.c> HOLDFOR=9 ENVID=<>", "x@a.test"], USAGE, "holds a < or >"),
                              (["-f", "A <a@b.c> HOLDFOR=9 ENVID=<>", "x@a.test"], USAGE, "holds a < or >"),
                              (["x@a.test>\r\nRSET\r\nX"], USAGE, "control character"),
                              (["-V", "a b", "x@a.test"], USAGE, "-V holds a space"),
                              (["-qSa.test"], USAGE, "-qSa.test is not known")]:
        done = run(post, *args)
        assert done.returncode == code and words in done.stderr.decode(), (args, done)
    done = run(post, "-t", message="Subject: x\n\nTo: x@a.test\n")
    assert done.returncode == DATAERR and b"names no recipients" in done.stderr
    done = run(post, "-F", "x" * 1025, "x@a.test", message="Subject: x\n\nHi\n")
    assert done.returncode == USAGE and b"the name is longer than" in done.stderr
    assert run(post, "-F", "x" * 1024, "x@a.test", message="Subject: x\n\nHi\n").returncode == OK
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
