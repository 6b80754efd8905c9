"""Clients that this project did not write, against the listeners: nodemailer, swaks, msmtp, curl,
smtp-source, Postfix, Exim and OpenSMTPD relaying to us. What each sends arrives as it was meant."""
import base64
import email
import email.policy
import json
import os
import shutil
import smtplib
import subprocess

import pytest
from daemon import BUILD, PATIENCE, Daemon, free_port, wait_for
from sanitizer import limit
from submission import PASSWORD, USER, Post
from test_inbound import Bouncer, deliver, late, metric, needs_root, sample

HERE = os.path.dirname(os.path.abspath(__file__))
NODEMAILER = "nodemailer@7.0.13"


@pytest.fixture(scope="module")
def post():
    with Post() as opened:
        yield opened


@pytest.fixture(scope="module")
def modules():
    """nodemailer, in the build directory."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("nodemailer is not tested: it comes by npm and runs on node; one of these is not here")
    place = os.path.abspath(os.path.join(BUILD, "npm"))
    if not os.path.exists(os.path.join(place, "node_modules/nodemailer")):
        os.makedirs(place, exist_ok=True)
        got = subprocess.run(["npm", "install", "--prefix", place, "--no-audit", "--no-fund", NODEMAILER],
                             capture_output=True, text=True, timeout=300 * PATIENCE)
        if got.returncode != 0:
            why = " ".join(got.stderr.split())[:300]
            pytest.skip(f"nodemailer is not tested: npm can't get {NODEMAILER} here ({why})")
    return os.path.join(place, "node_modules")


def run(*args, stdin=None, **kw):
    done = subprocess.run(args, input=stdin, capture_output=True, text=True, timeout=120 * PATIENCE, **kw)
    assert done.returncode == 0, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def arrive(post, send, rcpts):
    """The envelopes that arrive when it is sent, once all these recipients are among them."""
    before = len(post.kept)
    result = send()
    wanted = set(rcpts)
    wait_for(lambda: {to for e in post.kept[before:] for to in e.rcpt_tos} >= wanted, 30,
             f"mail to {rcpts}; the client was told {result}")
    return result, post.kept[before:]


def parsed(envelope):
    return email.message_from_bytes(envelope.content, policy=email.policy.default)


# ---- nodemailer ----

def node(post, modules, messages, unix=None, parallel=False, **options):
    task = {"modules": modules, "unix": unix, "messages": messages, "parallel": parallel,
            "options": {"host": "localhost", "port": post.plain,
                        "tls": {"ca": open(post.certificate).read()}, **options}}
    return json.loads(run("node", os.path.join(HERE, "nodemailer_client.js"), stdin=json.dumps(task)))


PICTURE = base64.b64encode(bytes(range(256)) * 20).decode()
PEOPLE = ["zhang.san@a.test", "李四@a.test", "wang@b.test", "zhao@a.test", "孙七@b.test", "qian@xn--fsqu00a.test"]
NEWSLETTER = {
    "from": {"name": "新闻 · 编辑部", "address": "news@sender.test"},
    "replyTo": {"name": "读者服务", "address": "reply@sender.test"},
    "to": [{"name": "张三", "address": PEOPLE[0]}, {"name": "李四", "address": PEOPLE[1]}],
    "cc": [{"name": "王五, 先生", "address": PEOPLE[2]}, PEOPLE[3]],
    "bcc": [{"name": "孙七", "address": PEOPLE[4]}, {"name": "钱", "address": "qian@例子.test"}],
    "subject": "二零二六年的通讯：春天来了，" + "花开了。" * 20,
    "text": "你好，\n春天来了。\n.\n..\n",
    "html": '<p>你好，<b>春天</b>来了。<img src="cid:flower"></p>',
    "attachments": [{"filename": "春天的计划.pdf", "content": PICTURE, "encoding": "base64"},
                    {"filename": "花.png", "cid": "flower", "content": PICTURE, "encoding": "base64"},
                    {"filename": "notes.txt", "content": "第一行\r\n" + "长" * 2000}],
    "list": {"help": "help@sender.test?subject=help", "id": {"url": "news.sender.test", "comment": "通讯"},
             "unsubscribe": [{"url": "https://sender.test/u?n=1", "comment": "退订"}]},
    "headers": {"X-Postrider-Campaign": "春天", "X-Postrider-Metadata": json.dumps({"issue": "三"})},
    "priority": "high",
    "dsn": {"id": "issue-7", "return": "headers", "notify": ["failure", "delay"],
            "recipient": "news@sender.test"},
}


def test_nodemailer_newsletter(post, modules):
    """Chinese names and addresses, attachments, List headers, DSN: one message, all six recipients."""
    results, kept = arrive(post, lambda: node(post, modules, [NEWSLETTER], requireTLS=True,
                                              auth={"user": USER, "pass": PASSWORD}), PEOPLE)
    assert len(results[0]["accepted"]) == 6 and results[0]["rejected"] == []
    assert results[0]["response"].startswith("250 2.0.0 queued as ")
    job = post.jobs()[0]
    assert (job["total"], job["tenant"], job["campaign"]) == (6, "acme", "春天")
    assert job["metadata"] == {"issue": "三"} and job["envid"] == "issue-7"
    for envelope in kept:
        assert envelope.mail_from == "news@sender.test"
        m = parsed(envelope)
        assert m["From"] == "新闻 · 编辑部 <news@sender.test>" and m["Subject"] == NEWSLETTER["subject"]
        assert [a.display_name for a in m["To"].addresses] == ["张三", "李四"]
        assert [a.display_name for a in m["Cc"].addresses] == ["王五, 先生", ""]
        assert m["Bcc"] is None and "孙七" not in str(m)
        assert "<https://sender.test/u?n=1>" in m["List-Unsubscribe"] and "news.sender.test" in m["List-Id"]
        assert m["X-Priority"].startswith("1") and m["Message-ID"]
        assert m.get_body(("plain",)).get_content().replace("\r\n", "\n") == NEWSLETTER["text"]
        files = {part.get_filename(): part.get_content() for part in m.walk() if part.get_filename()}
        assert files["春天的计划.pdf"] == files["花.png"] == base64.b64decode(PICTURE)
        assert files["notes.txt"].rstrip() == "第一行\r\n" + "长" * 2000
    rows = post.daemon.recipients(job["job"])
    rcpt = post.daemon.get("/v1/recipients/" + rows[0]["rid"]).json
    assert sorted(rcpt["notify"]) == ["delay", "failure"] and rcpt["orcpt"] == "rfc822;news@sender.test"


@pytest.mark.parametrize("how", ["clear", "STARTTLS", "implicit TLS", "LOGIN", "Unix socket"])
def test_nodemailer_connections(post, modules, how):
    auth = {"user": USER, "pass": PASSWORD}
    options = {"clear": {"ignoreTLS": True}, "STARTTLS": {"requireTLS": True},
               "implicit TLS": {"port": post.secure, "secure": True, "auth": auth},
               "LOGIN": {"requireTLS": True, "auth": auth, "authMethod": "LOGIN"},
               "Unix socket": {"unix": post.unix, "ignoreTLS": True}}[how]
    message = {"from": "a@sender.test", "to": "x@a.test", "subject": how, "text": "Hi"}
    results, [kept] = arrive(post, lambda: node(post, modules, [message], **options), ["x@a.test"])
    assert "error" not in results[0], results
    received = parsed(kept)["Received"]
    assert {"clear": "ESMTP;", "STARTTLS": "ESMTPS", "Unix socket": "uid "}.get(how, "ESMTPSA") in received


def test_nodemailer_pooled(post, modules):
    """Few connections for many messages."""
    messages = [{"from": "a@sender.test", "to": f"u{i}@a.test", "subject": f"pooled {i}", "text": "Hi " * i}
                for i in range(200)]
    results, kept = arrive(post, lambda: node(post, modules, messages, parallel=True, pool=True,
                                              maxConnections=5, maxMessages=30, requireTLS=True,
                                              auth={"user": USER, "pass": PASSWORD}),
                           [m["to"] for m in messages])
    assert all("error" not in r for r in results), [r for r in results if "error" in r][:3]
    assert sorted(parsed(e)["Subject"] for e in kept) == sorted(m["subject"] for m in messages)


def test_nodemailer_is_told_what_is_wrong(post, modules):
    message = {"from": "a@sender.test", "to": ["x@a.test", "b@c..test"], "text": "Hi",
               "envelope": {"from": "a@sender.test", "to": ["x@a.test", "b@c..test"]}}
    results = node(post, modules, [message, {**message, "headers": {"X-Postrider-Pool": "nosuch"}}])
    assert results[0]["rejected"] == ["b@c..test"] and results[0]["accepted"] == ["x@a.test"]
    assert results[1]["code"] == 554 and "no pool" in results[1]["error"]
    results = node(post, modules, [message], requireTLS=True, auth={"user": USER, "pass": "wrong"})
    assert results[0]["code"] == 535


# ---- programs ----

@pytest.mark.parametrize("options", [
    [], ["--pipeline"], ["--protocol", "SMTP"], ["--tls"], ["--tls", "--auth", "PLAIN"],
    ["--tls", "--auth", "LOGIN"], ["--tls", "--pipeline", "--auth-optional", "PLAIN"]])
def test_swaks(post, options):
    login = ["--auth-user", USER, "--auth-password", PASSWORD] if "--auth" in options else []
    said, [kept] = arrive(
        post, lambda: run("swaks", "--server", f"127.0.0.1:{post.plain}", "--ehlo", "me.test", "--from",
                          "a@sender.test", "--to", "x@a.test", "--body", "hello\n.\n", "--header",
                          "X-Test: yes", *options, *login), ["x@a.test"])
    assert parsed(kept)["X-Test"] == "yes" and "250 2.0.0 queued as" in said
    assert not login or post.jobs()[0]["tenant"] == "acme"


def test_swaks_elsewhere(post):
    envelope = ["--from", "a@sender.test", "--to", "x@a.test"]
    arrive(post, lambda: run("swaks", "--server", f"127.0.0.1:{post.secure}", "--tlsc", *envelope, "--auth",
                             "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD), ["x@a.test"])
    arrive(post, lambda: run("swaks", "--socket", post.unix, *envelope), ["x@a.test"])
    refused = subprocess.run(["swaks", "--server", f"127.0.0.1:{post.outside}", *envelope],
                             capture_output=True, text=True, timeout=120 * PATIENCE)
    assert refused.returncode == 24 and "<** 550 5.7.1" in refused.stdout


def test_msmtp(post):
    message = "From: a@sender.test\nTo: x@a.test\nSubject: msmtp\n\nHi\n.\n"
    base = ["msmtp", "--file=/dev/null", "--host=localhost", "--from=a@sender.test",
            f"--tls-trust-file={post.certificate}", "--dsn-notify=failure,delay", "--dsn-return=headers"]
    login = ["--tls=on", f"--user={USER}", f"--passwordeval=printf %s '{PASSWORD}'"]
    for options in ([f"--port={post.plain}"], [f"--port={post.plain}", *login, "--auth=plain"],
                    [f"--port={post.secure}", *login, "--tls-starttls=off", "--auth=login"]):
        _, [kept] = arrive(post, lambda: run(*base, *options, "x@a.test", stdin=message), ["x@a.test"])
        assert parsed(kept)["Subject"] == "msmtp" and kept.content.endswith(b"\r\nHi\r\n.\r\n")


def test_curl(post, tmp_path):
    mail = tmp_path / "mail.eml"
    mail.write_bytes(b"From: a@sender.test\r\nTo: x@a.test\r\nSubject: curl\r\n\r\nHi\r\n..\r\n")
    base = ["curl", "-sS", "--mail-from", "a@sender.test", "--mail-rcpt", "x@a.test", "--cacert",
            post.certificate, "-T", str(mail)]
    login = ["--user", f"{USER}:{PASSWORD}"]
    plain = f"smtp://localhost:{post.plain}"
    for options in ([plain], ["--ssl-reqd", plain, *login], [f"smtps://localhost:{post.secure}", *login]):
        _, [kept] = arrive(post, lambda: run(*base, *options), ["x@a.test"])
        assert parsed(kept)["Subject"] == "curl" and kept.content.endswith(b"\r\nHi\r\n..\r\n")


@pytest.mark.parametrize("target", ["TCP", "Unix"])
def test_smtp_source(post, target):
    """Sessions of Postfix's load generator, as many as have room: it takes no for a failure."""
    sessions = min(50, limit("LISTEN_BACKLOG"), limit("SUBMISSION_BYTES_MAX") // 16384)
    where = f"inet:127.0.0.1:{post.plain}" if target == "TCP" else f"unix:{post.unix}"
    before = post.count()
    envelope = ["-l", "4096", "-f", "a@sender.test", "-t", "x@a.test", where]
    run("smtp-source", "-s", str(sessions), "-m", "1000", *envelope)
    assert post.count() == before + 1000
    run("smtp-source", "-d", "-s", str(min(10, sessions)), "-m", "200", "-r", "3", *envelope)
    assert post.count() == before + 1200 and post.jobs()[0]["total"] == 3
    wait_for(lambda: post.daemon.status()["queued"] == 0, 60, "all to be delivered")


def test_like_listmonk(post):
    """A connection kept for long, RSET after each mail, as listmonk's pool does."""
    before = len(post.kept)
    with smtplib.SMTP("127.0.0.1", post.plain, timeout=60 * PATIENCE) as smtp:
        smtp.starttls()
        smtp.login(USER, PASSWORD)
        for i in range(1500):  # more than max_commands
            smtp.sendmail("news@sender.test", [f"u{i}@a.test"],
                          f"From: news@sender.test\r\nTo: u{i}@a.test\r\nSubject: {i}\r\n\r\nHi\r\n")
            smtp.rset()
    kept = post.wait(before + 1500, 90)[before:]
    assert sorted(int(parsed(e)["Subject"]) for e in kept) == list(range(1500))


@needs_root
@pytest.mark.parametrize("engine, name", [("postfix", "(Postfix)"), ("exim", "(Exim"),
                                          ("opensmtpd", "(OpenSMTPD)")])
def test_an_engine_relays_to_us(engine, name):
    """Another engine has us as its smarthost: mail that it takes goes on through us; Exim's by BDAT."""
    with Post() as post:
        post.daemon.stop()
        with open(post.daemon.config) as f:
            text = f.read().replace(f"listen: 127.0.0.1:{post.plain}", f"listen: 127.0.7.1:{post.plain}")
        with open(post.daemon.config, "w") as f:
            f.write(text)
        post.daemon.start()
        with Bouncer(engine, post.plain) as relay:
            with smtplib.SMTP("127.0.7.2", relay.port, timeout=60 * PATIENCE) as smtp:
                for i in range(20):
                    smtp.sendmail("a@sender.test", [f"u{i}@a.test", f"v{i}@b.test"],
                                  f"From: a@sender.test\r\nSubject: {i}\r\n\r\n.\r\nHi\r\n")
            wanted = {f"{who}{i}@{'a' if who == 'u' else 'b'}.test" for who in "uv" for i in range(20)}
            try:
                wait_for(lambda: {to for e in post.kept for to in e.rcpt_tos} >= wanted, 60, "all forty")
            except AssertionError as why:
                raise AssertionError(f"{why}\n{relay.told()}\n{post.daemon.read_log()}") from None
            for envelope in post.kept:
                received = parsed(envelope).get_all("Received")
                assert "mx.peer.test" in received[0] and name in received[1]
                assert envelope.content.endswith(b"\r\n.\r\nHi\r\n")
            if engine == "exim":
                with open(f"{relay.directory}/log/mainlog") as f:
                    sent = [line for line in f if " => " in line]
                assert sent and all(" K " in line for line in sent), sent


@needs_root
def test_bounces_come_back_to_us():
    """Postfix takes our mail, and its next host refuses it: its reports come back to our listener, where they
    are what they are about, and nothing else gets in."""
    port = free_port()
    with Bouncer("postfix", port) as receiver:
        config = (f'routes:\n  - {{ domain: "*", host: 127.0.7.2, port: {receiver.port} }}\nsubmission:\n'
                  f"  - {{ listen: 127.0.7.1:{port}, return_domains: [sender.test], feedback: [fbl-7f3a] }}\n")
        with Daemon(config) as d:
            _, rids = deliver(d, ["ada@a.test", "bob@a.test"])
            try:
                wait_for(lambda: len(late(d, "bounced")) == 2, 60, "two bounces")
            except AssertionError as why:
                raise AssertionError(f"{why}\n{receiver.told()}\n{d.read_log()}") from None
            for event in late(d, "bounced"):
                assert event["rid"] == rids[event["to"]] and event["status"] == "5.7.1"
                assert "no mail is sent on for strangers" in event["reply"]
            with smtplib.SMTP("127.0.7.1", port, timeout=60 * PATIENCE) as smtp:
                complaint = sample("arf-redacted", rids["ada@a.test"]).replace(b"\n", b"\r\n")
                smtp.sendmail("", ["bounce-x@sender.test", "other@sender.test"], complaint)
                assert [e["to"] for e in wait_for(lambda: late(d, "complained"), 30)] == ["ada@a.test"] * 2
                assert d.get("/v1/suppressions").lines == []
                smtp.sendmail("", ["fbl-7f3a@sender.test"], complaint)
                wait_for(lambda: len(late(d, "complained")) == 3, 30)
                assert [s["address"] for s in d.get("/v1/suppressions").lines] == ["ada@a.test"]
                smtp.sendmail("x@y.test", ["bounce-1@sender.test"], b"x" * 1000 + b"\r\n" * 200000)
                with pytest.raises(smtplib.SMTPRecipientsRefused):
                    smtp.sendmail("", ["ada@a.test"], complaint)
            assert metric(d, 'inbound_total{kind="bounce"}') == 2
            assert metric(d, 'inbound_total{kind="other"}') == 1
