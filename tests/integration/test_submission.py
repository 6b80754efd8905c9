"""Mail taken in over SMTP: who may send, what a message says for the engine, what is durable, and how
connections end."""
import email
import email.policy
import json
import os
import signal
import smtplib
import socket
import struct
import threading
import time

import pytest
from daemon import PATIENCE, wait_for
from submission import PASSWORD, USER, Dialogue, Post

MESSAGE = "From: a@sender.test\r\nTo: x@a.test\r\nSubject: hello\r\n\r\nHi\r\n"


@pytest.fixture(scope="module")
def post():
    with Post() as opened:
        yield opened


class UnixSMTP(smtplib.SMTP):
    """Python's client on a Unix socket."""

    def _get_socket(self, host, port, timeout):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60 * PATIENCE)
        connection.connect(host)
        return connection


def client(post, port=None):
    return smtplib.SMTP("localhost", port or post.plain, timeout=60 * PATIENCE)


def sent(post, send, count=1):
    """What arrives when that is done."""
    before = len(post.kept)
    send()
    return post.wait(before + count)[before:]


def job(post):
    return post.jobs()[0]


def test_smtplib_in_the_clear(post):
    with client(post) as smtp:
        [kept] = sent(post, lambda: smtp.sendmail("a@sender.test", ["x@a.test"], MESSAGE + ".dot\r\n"))
    message = email.message_from_bytes(kept.content, policy=email.policy.default)
    assert kept.mail_from == "a@sender.test" and kept.rcpt_tos == ["x@a.test"]
    assert message.get_payload() == "Hi\r\n.dot\r\n" and message["Message-ID"] and message["Date"]
    figures = post.daemon.get("/metrics").body
    assert "postrider_submission_messages_total 1\n" in figures and "submission_refused_total 0\n" in figures
    received = message["Received"]
    assert "[127.0.0.1]" in received and "by mta.test (Postrider) with ESMTP;" in received
    assert job(post)["tenant"] == "default" and job(post)["class"] == "bulk" and job(post)["bounces"] == "dsn"


def test_starttls_and_a_user(post):
    with client(post) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("auth")
        smtp.starttls(context=post.context())
        smtp.ehlo()
        assert smtp.has_extn("auth") and not smtp.has_extn("starttls")
        smtp.login(USER, PASSWORD)
        [kept] = sent(post, lambda: smtp.sendmail("a@sender.test", ["x@a.test"], MESSAGE))
    received = email.message_from_bytes(kept.content, policy=email.policy.default)["Received"]
    assert "with ESMTPSA" in received and "TLSv1.3" in received
    assert job(post)["tenant"] == "acme"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_implicit_tls(post, mechanism):
    with smtplib.SMTP_SSL("localhost", post.secure, context=post.context(), timeout=60 * PATIENCE) as smtp:
        smtp.ehlo()
        smtp.user, smtp.password = USER, PASSWORD
        code, _ = smtp.auth(mechanism, getattr(smtp, "auth_" + mechanism.lower()))
        assert code == 235
        assert len(sent(post, lambda: smtp.sendmail("a@sender.test", ["x@a.test"], MESSAGE))) == 1


def test_a_large_message_through_tls(post):
    body = "".join(f"line {i} of many\r\n" for i in range(40000))
    with smtplib.SMTP_SSL("localhost", post.secure, context=post.context(), timeout=60 * PATIENCE) as smtp:
        smtp.login(USER, PASSWORD)
        [kept] = sent(post, lambda: smtp.sendmail("a@sender.test", ["x@a.test"], MESSAGE + body))
    assert kept.content.endswith(body.encode())


def test_wrong_passwords_are_one_error(post):
    replies = []
    with client(post) as smtp:
        smtp.starttls(context=post.context())
        for user, password in (USER, "wrong"), ("nobody", PASSWORD), ("eve", PASSWORD):
            with pytest.raises(smtplib.SMTPAuthenticationError) as failure:
                smtp.login(user, password)
            replies.append((failure.value.smtp_code, failure.value.smtp_error))
        smtp.login("eve", "x")
    assert len(set(replies)) == 1 and replies[0][0] == 535 and replies[0][1].startswith(b"5.7.8")


def test_a_unix_socket(post):
    assert os.stat(post.unix).st_mode & 0o777 == 0o600
    with UnixSMTP(post.unix, 1) as smtp:
        [kept] = sent(post, lambda: smtp.sendmail("a@sender.test", ["x@a.test"], MESSAGE))
    assert f"(uid {os.getuid()})" in email.message_from_bytes(kept.content)["Received"]


def test_no_open_relay(post):
    """Without a user and outside the networks nothing is sent on, whatever is tried."""
    with Dialogue(post.outside) as d:
        assert d.reply().startswith("220")
        assert d.say("EHLO me").startswith("250")
        assert d.say("MAIL FROM:<a@sender.test>").startswith("250")
        for to in ("x@a.test", "x%a.test@sender.test", "@sender.test:x@a.test", "postmaster",
                   '"x@a.test"@sender.test'):
            assert d.say(f"RCPT TO:<{to}>").startswith("550 5.7.1"), to
        assert d.say("DATA").startswith("554")
        assert d.say("AUTH PLAIN AGFkYQBzZWNyZXQ=").startswith("502")
    with smtplib.SMTP_SSL("localhost", post.secure, context=post.context(), timeout=60 * PATIENCE) as smtp:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as failure:
            smtp.sendmail("a@sender.test", ["x@a.test"], MESSAGE)
        assert failure.value.recipients["x@a.test"][0] == 550


HEADERS = ("X-Postrider-Tenant: acme\r\nX-Postrider-Campaign: =?utf-8?q?Fr=C3=BChling?=\r\n"
           "X-Postrider-Class: Transactional\r\nX-Postrider-Pool: default\r\nX-Postrider-Id: 4711\r\n"
           'X-Postrider-Metadata: {"list":"news",\r\n "issue":"3"}\r\n'
           "Return-Path: <bounce-{{rid}}@sender.test>\r\nBcc: secret@a.test\r\n"
           "Received: from elsewhere by here; Mon, 6 May 2024 07:08:09 +0000\r\n")


def test_what_a_header_says_for_the_engine(post):
    with client(post) as smtp:
        kept = sent(post, lambda: smtp.sendmail("a@sender.test", ["x@a.test", "y@a.test", "z@b.test"],
                                                HEADERS + MESSAGE), 3)
    j = job(post)
    assert (j["tenant"], j["campaign"]) == ("acme", "Frühling")
    assert (j["class"], j["pool"]) == ("transactional", "default")
    assert j["metadata"] == {"list": "news", "issue": "3"} and j["total"] == 3
    assert {row["id"] for row in post.daemon.recipients(j["job"])} == {"4711"}
    rids = {row["to"]: row["rid"] for row in post.daemon.recipients(j["job"])}
    assert {e.rcpt_tos[0]: e.mail_from for e in kept} == {to: f"bounce-{rid}@sender.test"
                                                         for to, rid in rids.items()}
    for envelope in kept:
        message = email.message_from_bytes(envelope.content)
        assert not [name for name in message.keys() if name.lower().startswith("x-postrider")]
        assert message["Bcc"] is None and message["Return-Path"] is None
        assert [line.split()[1] for line in message.get_all("Received")][1] == "elsewhere"
        assert len(message.get_all("Received")) == 2


@pytest.mark.parametrize("field, reply", [
    ("X-Postrider-Colour: red", "not known"),
    ("X-Postrider-Class: fast", "bulk or transactional"),
    ("X-Postrider-Class: bulk\r\nX-Postrider-Class: bulk", "twice"),
    ("X-Postrider-Pool: nosuch", "no pool"),
    ("X-Postrider-Metadata: [1]", "Metadata"),
    ("X-Postrider-Metadata: {", "malformed JSON"),
    ("X-Postrider-Campaign: " + "x" * 200, "longer"),
    ("Return-Path: <a@b@c>", "Return-Path"),
])
def test_what_is_wrong_in_it(post, field, reply):
    with client(post) as smtp, pytest.raises(smtplib.SMTPDataError) as failure:
        smtp.sendmail("a@sender.test", ["x@a.test"], field + "\r\n" + MESSAGE)
    assert failure.value.smtp_code == 554 and reply in failure.value.smtp_error.decode()


def test_a_user_is_bound_to_a_tenant(post):
    with client(post) as smtp:
        smtp.starttls(context=post.context())
        smtp.login(USER, PASSWORD)
        with pytest.raises(smtplib.SMTPDataError) as failure:
            smtp.sendmail("a@sender.test", ["x@a.test"], "X-Postrider-Tenant: other\r\n" + MESSAGE)
    assert failure.value.smtp_code == 550 and failure.value.smtp_error.startswith(b"5.7.1")


def test_a_uid_is_bound_to_a_tenant():
    with Post() as post:
        post.daemon.stop()
        with open(post.daemon.config) as f:
            text = f.read().replace('jobs.sock, mode: "0600"',
                                    f'jobs.sock, tenants: {{ {os.getuid()}: acme }}')
        with open(post.daemon.config, "w") as f:
            f.write(text)
        post.daemon.start()
        with UnixSMTP(post.unix, 1) as smtp:
            smtp.sendmail("a@sender.test", ["x@a.test"], MESSAGE)
            assert job(post)["tenant"] == "acme"
            with pytest.raises(smtplib.SMTPDataError) as failure:
                smtp.sendmail("a@sender.test", ["x@a.test"], "X-Postrider-Tenant: other\r\n" + MESSAGE)
        assert failure.value.smtp_code == 550


def test_loops_are_seen(post):
    received = "".join(f"Received: from a by b{i}; Mon, 6 May 2024 07:08:09 +0000\r\n" for i in range(101))
    with client(post) as smtp, pytest.raises(smtplib.SMTPDataError) as failure:
        smtp.sendmail("a@sender.test", ["x@a.test"], received + MESSAGE)
    assert failure.value.smtp_code == 554 and failure.value.smtp_error.startswith(b"5.4.6")


def test_parameters_become_what_a_job_says(post):
    before = post.count()
    with Dialogue(post.plain) as d:
        d.reply()
        d.say("EHLO me")
        assert d.say("MAIL FROM:<a@sender.test> RET=HDRS ENVID=Q+2B1 HOLDFOR=3600 BY=7200;R MT-PRIORITY=4"
                     ).startswith("250")
        assert d.say("RCPT TO:<x@a.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;y@a.test").startswith("250")
        assert d.say("DATA").startswith("354")
        assert d.say(MESSAGE + ".").startswith("250 2.0.0 queued as")
    assert post.count() == before + 1
    j = job(post)
    assert j["class"] == "transactional" and j["envid"] == "Q+1" and j["not_before"] is not None
    [row] = post.daemon.recipients(j["job"])
    rcpt = post.daemon.get("/v1/recipients/" + row["rid"]).json
    assert rcpt["orcpt"] == "rfc822;y@a.test" and sorted(rcpt["notify"]) == ["failure", "success"]
    assert post.daemon.post(f"/v1/jobs/{j['job']}/cancel").status == 200


def test_pipelining_and_bdat(post):
    """All in one write, several messages, an odd octet count."""
    content = MESSAGE.encode() + b"odd\r\n.\r\n"
    text = b"EHLO me\r\n"
    for _ in range(20):
        text += (b"MAIL FROM:<a@sender.test>\r\nRCPT TO:<x@a.test>\r\nBDAT 7\r\n" + content[:7] +
                 b"BDAT %d LAST\r\n" % (len(content) - 7) + content[7:] + b"RSET\r\n")

    def send():
        with Dialogue(post.plain) as d:
            d.reply()
            d.send(text + b"QUIT\r\n")
            replies = [d.reply() for _ in range(1 + 20 * 5 + 1)]
            assert [r[:3] for r in replies[1:]] == ["250"] * 100 + ["221"]
            assert d.reply() == "closed"
    for kept in sent(post, send, 20):
        assert kept.content.endswith(b"\r\nodd\r\n.\r\n")


def test_a_message_cut_short_leaves_nothing(post):
    """Wherever the connection is cut, nothing half is accepted."""
    dialogue = (b"EHLO me\r\nMAIL FROM:<a@sender.test>\r\nRCPT TO:<x@a.test>\r\nDATA\r\n" + MESSAGE.encode() +
                b".\r\n")
    chunked = (b"EHLO me\r\nMAIL FROM:<a@sender.test>\r\nRCPT TO:<x@a.test>\r\nBDAT %d LAST\r\n" %
               len(MESSAGE) + MESSAGE.encode())
    before = post.count()
    for text in dialogue, chunked:
        for end in range(1, len(text)):
            with Dialogue(post.plain) as d:
                d.send(text[:end])
                if end % 2:
                    d.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with client(post) as smtp:
        sent(post, lambda: smtp.sendmail("a@sender.test", ["x@a.test"], MESSAGE))
    assert post.count() == before + 1


def test_fifty_clients_share_commits(post):
    """Many connections at once; each message is acknowledged once, and all arrive."""
    def run(number):
        with client(post) as smtp:
            for i in range(20):
                smtp.sendmail("a@sender.test", ["x@a.test"],
                              f"From: a@sender.test\r\nSubject: {number}-{i}\r\n\r\nHi\r\n")
                smtp.rset()

    def send():
        threads = [threading.Thread(target=run, args=(n,)) for n in range(50)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(120 * PATIENCE)
    kept = sent(post, send, 1000)
    subjects = {email.message_from_bytes(e.content)["Subject"] for e in kept}
    assert len(kept) == 1000 and subjects == {f"{n}-{i}" for n in range(50) for i in range(20)}


def test_a_burst_while_nobody_accepts_is_greeted(post):
    """The kernel makes them, and must not forget one: a client waits to be greeted before it speaks. Few
    enough for the smallest LISTEN_BACKLOG, which it guards."""
    os.kill(post.daemon.process.pid, signal.SIGSTOP)
    try:
        burst = [socket.create_connection(("127.0.0.1", post.plain), 10) for _ in range(60)]
    finally:
        os.kill(post.daemon.process.pid, signal.SIGCONT)
    for connection in burst:
        connection.settimeout(10 * PATIENCE)
        assert connection.recv(512).startswith(b"220 ")
        connection.close()


def test_one_client_alone_waits_for_the_disk_only():
    """Nobody shares its commits, and each comes at once: beyond what the disk takes for a write and its sync,
    measured between the messages, an answer takes well under a millisecond. Of both the quickest tenth, since
    a busy machine adds to either; a wait for company, or for an acknowledgement of TCP, would be in all."""
    with Post() as post, Dialogue(post.plain) as d:
        assert post.daemon.cli("suspend", "--domain", "a.test").returncode == 0
        d.reply()
        d.say("EHLO me")
        answers, syncs = [], []
        probe = os.open(os.path.join(post.daemon.directory, "probe"), os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(probe, bytes(4 << 20), 0)
        os.fsync(probe)
        for i in range(300):
            begin = time.perf_counter()
            os.pwrite(probe, os.urandom(4096), i * 8192)
            os.fdatasync(probe)
            syncs.append(time.perf_counter() - begin)
            d.say("MAIL FROM:<a@sender.test>")
            d.say("RCPT TO:<x@a.test>")
            d.say("DATA")
            begin = time.perf_counter()
            assert d.say(MESSAGE + "x" * 900 + "\r\n.").startswith("250 2.0.0 queued")
            answers.append(time.perf_counter() - begin)
        os.close(probe)
        answer_ms, sync_ms = (sorted(times)[30] * 1000 for times in (answers, syncs))
        print(f"answer {answer_ms:.3f} ms, sync {sync_ms:.3f} ms")
        assert answer_ms - sync_ms < 0.9 * PATIENCE


def test_the_same_message_over_and_over():
    """To one recipient each, as lists with return paths of their own do: it stays one in the queue."""
    issue = ("From: list@sender.test\r\nTo: list@sender.test\r\nDate: Mon, 06 May 2024 07:08:09 +0000\r\n"
             "Message-ID: <7@sender.test>\r\nMIME-Version: 1.0\r\nSubject: 7\r\n\r\n" + "news\r\n" * 15000)
    with Post() as post:
        assert post.daemon.cli("suspend", "--domain", "a.test").returncode == 0
        before = post.daemon.status()["db_bytes"]
        with client(post) as smtp:
            for i in range(300):
                smtp.sendmail(f"list+{i}@sender.test", [f"u{i}@a.test"], issue)
        post.daemon.stop()
        post.daemon.start()
        status = post.daemon.status()
        assert status["queued"] == 300 and status["db_bytes"] - before < 0.3 * 300 * len(issue)


def test_many_recipients_are_one_job(post):
    people = [f"u{i}@{'a' if i % 2 else 'b'}.test" for i in range(1000)]
    before = post.count()
    with client(post) as smtp:
        smtp.sendmail("a@sender.test", people, MESSAGE)
        assert smtp.docmd("MAIL FROM:<a@sender.test>")[0] == 250
        codes = [smtp.docmd(f"RCPT TO:<v{i}@a.test>") for i in range(1001)]
        assert [c[0] for c in codes] == [250] * 1000 + [452] and codes[-1][1].startswith(b"4.5.3")
    assert post.count() == before + 1 and job(post)["total"] == 1000
    post.daemon.wait_counts(job(post)["job"], delivered=1000, seconds=60)


def test_more_recipients_than_a_window():
    """So many go to the store in several posts, and are one job all the same."""
    with Post(options="max_recipients: 30000") as post:
        envelope = b"EHLO me\r\nMAIL FROM:<a@sender.test>\r\n" + b"".join(
            b"RCPT TO:<u%d@nowhere.test>\r\n" % i for i in range(25000))
        content = MESSAGE.encode()
        message = b"BDAT %d LAST\r\n" % len(content) + content
        with Dialogue(post.plain) as d:
            threading.Thread(target=d.send, args=(envelope + message + b"QUIT\r\n",)).start()
            replies = [d.reply() for _ in range(25005)]
        assert [r[:3] for r in replies] == ["220"] + ["250"] * 25003 + ["221"]
        assert replies[-2].startswith("250 2.0.0 queued as 1") and job(post)["total"] == 25000


def test_a_reload_counts_for_what_comes_next():
    with Post() as post, client(post) as smtp:
        mail = ("a@sender.test", ["x@a.test"], "X-Postrider-Pool: second\r\n" + MESSAGE)
        with pytest.raises(smtplib.SMTPDataError):
            smtp.sendmail(*mail)
        with open(post.daemon.config, "a") as f:
            f.write("sources: [{ name: one }]\npools:\n  - { name: second, sources: { one: 1 } }\n")
        reload = post.daemon.cli("reload")
        assert reload.returncode == 0, reload.stderr
        smtp.sendmail(*mail)
        assert job(post)["pool"] == "second"


def test_etrn(post):
    with Dialogue(post.plain) as d:
        d.reply()
        d.say("EHLO me")
        assert d.say("ETRN a.test").startswith("250 2.0.0")
        assert d.say("NOOP").startswith("250")


def test_idle_and_slow_clients_are_sent_away():
    with Post(options="timeout: 1s, message_timeout: 3s, max_connections: 3") as post:
        with Dialogue(post.plain) as d:
            d.reply()
            assert d.reply().startswith("421 4.4.2") and d.reply() == "closed"
        with Dialogue(post.plain) as d:
            d.reply()
            d.say("HELO me")
            d.say("MAIL FROM:<a@sender.test>")
            d.say("RCPT TO:<x@a.test>")
            d.say("DATA")
            try:
                while True:
                    d.send("x\r\n")
                    time.sleep(0.3)
            except OSError:
                pass
            reply = d.reply()
            assert reply.startswith("421 4.4.2") or reply == "closed"
        for said in b"EHLO me\r\n", b"N" * 20000, b"BDAT 999999999\r\n":  # and by a byte now and then
            with Dialogue(post.plain) as d:
                d.send(said)
                try:
                    for _ in range(int(200 * PATIENCE)):
                        d.send("N")
                        time.sleep(0.1)
                    raise AssertionError(f"still there, by a byte now and then after {said[:20]}")
                except OSError:
                    pass
        held = []

        def one_is_too_many():
            held.append(Dialogue(post.plain))
            return held[-1].reply().startswith("421 4.7.0") and held[-1].reply() == "closed"
        wait_for(one_is_too_many, 10, "no more than three at once")
        for d in held:
            d.__exit__()
        assert post.jobs() == []


def test_strangers_from_one_address():
    """They get a share of the connections; who is in the networks is not counted so."""
    with Post(options="max_per_address: 3") as post:
        def come(port, address):
            held.append(Dialogue(port, source=address))
            return held[-1].reply()[:9]
        held = []
        assert [come(post.outside, "127.0.0.1") for _ in range(5)] == ["220 mta.t"] * 3 + ["421 4.7.0"] * 2
        assert come(post.outside, "127.0.0.9") == "220 mta.t"
        assert [come(post.plain, "127.0.0.1") for _ in range(5)] == ["220 mta.t"] * 5
        for d in held:
            d.__exit__()
        held.clear()
        wait_for(lambda: come(post.outside, "127.0.0.1") == "220 mta.t", 10, "its place to be free again")
        held[-1].__exit__()


def test_stopping_says_so():
    with Post() as post:
        idle, busy = Dialogue(post.plain), Dialogue(post.plain)
        for d in idle, busy:
            d.reply()
            d.say("HELO me")
        busy.say("MAIL FROM:<a@sender.test>")
        post.daemon.stop()
        assert idle.reply().startswith("421 4.3.2") and busy.reply().startswith("421 4.3.2")
        assert idle.reply() == "closed"
        assert not os.path.exists(post.unix)


def test_what_was_accepted_survives_a_kill():
    """250, then kill -9 at once: it is there after the restart."""
    with Post() as post:
        accepted = []

        def run(number):
            try:
                with client(post) as smtp:
                    for i in range(1000):
                        smtp.sendmail("a@sender.test", ["x@a.test"], f"Subject: {number}-{i}\r\n\r\nHi\r\n")
                        accepted.append(f"{number}-{i}")
            except (OSError, smtplib.SMTPException):
                pass
        threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
        for t in threads:
            t.start()
        wait_for(lambda: len(accepted) > 200, 60, "messages")
        post.daemon.kill()
        for t in threads:
            t.join(60 * PATIENCE)
        post.daemon.start()

        def arrived():
            return {email.message_from_bytes(e.content)["Subject"] for e in post.kept}
        wait_for(lambda: arrived() >= set(accepted), 60, "what was accepted to arrive")
        subjects = arrived()
        assert len(subjects) <= len(accepted) + 8


def test_wrong_configurations():
    with Post() as post:
        d = post.daemon
        port = f"127.0.0.1:{post.plain}"
        cases = [
            (f"listen: {port}, users_file: users", "passwords are not taken in the clear"),
            (f"listen: {port}, tls_key: key.pem", "tls_certificate and tls_key go together"),
            (f"listen: {port}, implicit_tls: yes", "no TLS without"),
            (f"listen: {port}, require_auth: yes", "without users_file"),
            (f"listen: {port}, networks: [10.0.0.1/8]", "without bits behind its prefix"),
            ("listen: localhost:25", "an address and port"),
            ('listen: "unix:smtp.sock"', "an absolute path"),
            ('listen: "unix:/x", networks: [10.0.0.0/8]', "networks has no meaning"),
        ]
        path = os.path.join(d.directory, "wrong.yaml")
        for options, error in cases:
            with open(path, "w") as f:
                f.write(f"submission:\n  - {{ {options} }}\n")
            run = d.cli("config", "check", path)
            assert run.returncode == 1 and error in run.stderr, (options, run.stderr)
        with open(d.config) as f:
            shown = json.dumps(d.cli("config", "show", d.config).stdout)
        assert "listen" in shown and post.certificate in shown
