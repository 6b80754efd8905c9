"""Bounces and complaints that come back by mail: delivered first, then fed through `postrider inbound` as a
mail server would, and seen in events, counters and metrics."""
import asyncio
import email.message
import email.policy
import json
import os
import shutil
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ONE_DOMAIN, ONE_HOST, host
from daemon import BUILD, ROOT, Daemon, free_port, job, wait_for
from mta import Aiosmtpd, end_space

sys.path.insert(0, os.path.join(ROOT, "bench"))
from peers import ENGINES  # noqa: E402
from peers.adapter import Missing  # noqa: E402

CORPUS = os.path.join(ROOT, "tests/fuzz/corpus/notice")
PEERS = os.path.join(BUILD, "peers")  # where `make compare` keeps them, too
VERP = "bounce-{{rid}}@sender.test"


def deliver(daemon, people, **fields):
    """A job whose return paths name their recipients; the rids by address."""
    ident = daemon.submit(job(**{"from": VERP, "tenant": "acme", **fields}), people).json["jobs"][0]["job"]
    daemon.wait_counts(ident, delivered=len(people))
    return ident, {r["to"]: r["rid"] for r in daemon.recipients(ident)}


def inbound(daemon, message, *args, code=0, env=None):
    """What the command says of a message on its standard input, as JSON."""
    if isinstance(message, str):
        message = message.encode()
    run = subprocess.run([os.path.join(BUILD, "postrider"), "-s", daemon.socket, "inbound", "--json", *args],
                         input=message, capture_output=True, timeout=60, env={**os.environ, **(env or {})})
    assert run.returncode == code, run.stderr
    return json.loads(run.stdout) if code == 0 else run.stderr.decode()


def sample(name, rid, address="ada@a.test"):
    """A message of the corpus, made to be about a recipient of ours."""
    with open(f"{CORPUS}/seed-{name}.eml", "rb") as file:
        text = file.read()
    for old, new in [(b"17-0-42", rid.encode()), (b"@news.example", b"@sender.test"),
                     (b"ada@example.org", address.encode())]:
        text = text.replace(old, new)
    return text


def late(daemon, kind):
    return [e for e in daemon.events() if e["type"] == kind and (kind != "bounced" or e.get("late"))]


def metric(daemon, name):
    for line in daemon.get("/metrics").body.splitlines():
        if line.startswith(f"postrider_{name} "):
            return int(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no metric {name}")


def test_a_bounce_and_a_complaint(scene):
    d = scene(ONE_HOST, ONE_DOMAIN).daemon
    ident, rids = deliver(d, [{"to": "ada@a.test", "id": "42"}, "eve@a.test"], campaign="spring")
    before = d.status()
    answer = inbound(d, sample("postfix-failed", rids["ada@a.test"]))
    assert answer["kind"] == "bounce" and answer["format"] == "dsn"
    assert [r["action"] for r in answer["recipients"]] == ["suppress"]
    assert "ada@a.test (by mail) 5.1.1 550" in d.cli("events").stdout
    [event] = late(d, "bounced")
    assert (event["rid"], event["to"], event["id"]) == (rids["ada@a.test"], "ada@a.test", "42")
    assert (event["status"], event["code"], event["category"]) == ("5.1.1", 550, "bad-mailbox")
    assert event["tenant"] == "acme" and event["campaign"] == "spring"
    assert event["mx"] == "store.example.org" and "User unknown" in event["reply"]

    answer = inbound(d, sample("arf-abuse", rids["eve@a.test"], "eve@a.test"))
    assert [r["action"] for r in answer["recipients"]] == ["suppress"]
    [event] = late(d, "complained")
    assert event["rid"] == rids["eve@a.test"] and event["reply"] == "abuse" and event["status"] is None
    # They were delivered, and that they stay: each recipient ends once.
    assert d.job(ident)["counts"]["delivered"] == 2 and d.status()["delivered"] == before["delivered"]
    assert metric(d, 'inbound_total{kind="bounce"}') == 1 == metric(d, 'inbound_total{kind="complaint"}')
    assert metric(d, 'inbound_recipients_total{action="suppress"}') == 2
    # The next job goes to neither; another tenant's does.
    for tenant, suppressed in ("acme", 2), ("other", 0):
        [next_job] = d.submit(job(tenant=tenant), ["ada@a.test", "eve@a.test", "bob@a.test"]).json["jobs"]
        assert next_job["suppressed"] == suppressed
        d.wait_counts(next_job["job"], delivered=3 - suppressed, suppressed=suppressed)


def test_what_the_address_has_to_do_with_it(scene):
    """A rid alone can be guessed: what is suppressed must have been named."""
    d = scene(ONE_HOST, ONE_DOMAIN).daemon
    _, rids = deliver(d, ["ada@a.test"])
    rid = rids["ada@a.test"]

    def actions(message, *args):
        return [r["action"] for r in inbound(d, message, "--dry-run", *args)["recipients"]]
    bare = sample("qmail", rid).split(b"--- Below")[0]
    assert actions(bare) == ["suppress"]
    assert actions(bare.replace(b"ada@a.test", b"alias@a.test")) == ["event"]
    assert actions(bare.replace(b"ada@a.test", b"ada@else.test")) == ["mismatch"]
    assert actions(bare.replace(rid.encode(), b"999-0-0")) == ["unmatched"]
    assert actions(bare.replace(b"bounce-", b"else-")) == ["unmatched"]
    assert actions(bare.replace(b"bounce-", b"else-"), "--rcpt", f"bounce-{rid}@sender.test") == ["suppress"]
    assert actions(bare, "--tenant", "other") == ["unmatched"]
    for words, action in [(b"550 5.1.1 Blocked as spam", "event"), (b"554 User unknown", "suppress"),
                          (b"554 No", "event")]:
        assert actions(bare.replace(b"Sorry, no mailbox here by that name. (#5.1.1)", words)) == [action]
    assert actions(sample("full-mailbox", rid)) == ["event"]
    assert actions(sample("postfix-delayed", rid)) == ["ignored"]
    assert actions(sample("vacation", rid)) == []
    # The complaint names nobody, but the message it returns has our Message-ID.
    assert actions(sample("arf-redacted", rid)) == ["event"]
    assert actions(sample("arf-redacted", rid), "--trusted") == ["suppress"]
    assert d.events() == [e for e in d.events() if e["type"] in ("accepted", "delivered")]


def test_a_recipient_that_has_not_been_delivered(scene):
    d = scene(host(full="later", unknown="never"), ONE_DOMAIN).daemon
    ident = d.submit(job(**{"from": VERP}), ["later@a.test", "never@a.test"]).json["jobs"][0]["job"]
    d.wait_counts(ident, deferred=1, bounced=1)
    rids = {r["to"]: r["rid"] for r in d.recipients(ident)}
    for who, action in ("later", "queued"), ("never", "ended"):
        answer = inbound(d, sample("qmail", rids[f"{who}@a.test"], f"{who}@a.test"))
        assert [r["action"] for r in answer["recipients"]] == [action]
    assert late(d, "bounced") == []
    answer = inbound(d, sample("arf-abuse", rids["later@a.test"], "later@a.test"))
    assert [r["action"] for r in answer["recipients"]] == ["suppress"]
    assert d.job(ident)["counts"]["deferred"] == 1


def test_back_before_the_delivery_is_written_down():
    """The host has the message and has not answered: a bounce of it is not lost, whichever way it comes."""
    taken, gate, port = threading.Event(), threading.Event(), free_port()

    async def handle_DATA(self, server, session, envelope):
        taken.set()
        while not gate.is_set():
            await asyncio.sleep(0.02)
        return "250 2.0.0 taken"

    def by_smtp(rid, to):
        message = sample("qmail", rid, to).replace(b"\n", b"\r\n")
        with smtplib.SMTP("127.0.7.1", port, timeout=60) as smtp:
            try:
                smtp.sendmail("", [f"bounce-{rid}@sender.test"], message)
            except smtplib.SMTPDataError as refused:
                return refused.smtp_code
            return 250

    with Aiosmtpd(handle_DATA=handle_DATA) as peer, ThreadPoolExecutor(4) as pool, Daemon(
            f'routes:\n  - {{ domain: "*", host: {peer.address}, port: {peer.port} }}\n'
            f"submission:\n  - {{ listen: 127.0.7.1:{port}, return_domains: [sender.test] }}\n") as d:
        ident = d.submit(job(**{"from": VERP}), ["ada@a.test"]).json["jobs"][0]["job"]
        ada = f"{ident}-0-0"
        try:
            wait_for(taken.is_set, what="the host to have the message")
            dry = inbound(d, sample("qmail", ada, "ada@a.test"), "--dry-run")
            assert [r["action"] for r in dry["recipients"]] == ["under_way"]
            # It stays so for longer than is waited: whoever brought it is to bring it again.
            late_smtp = pool.submit(by_smtp, ada, "ada@a.test")
            assert "not written down yet" in inbound(d, sample("qmail", ada, "ada@a.test"), code=75)
            assert late_smtp.result(60) == 451
            assert metric(d, 'inbound_recipients_total{action="under_way"}') >= 2
            # Then it is written while they wait.
            waiting = [pool.submit(by_smtp, ada, "ada@a.test"),
                       pool.submit(inbound, d, sample("qmail", ada, "ada@a.test"))]
            time.sleep(0.5)
            assert not any(w.done() for w in waiting)
        finally:
            gate.set()
        assert waiting[0].result(60) == 250
        assert [r["action"] for r in waiting[1].result(60)["recipients"]] == ["suppress"]
        assert [e["rid"] for e in late(d, "bounced")] == [ada, ada]
        d.wait_counts(ident, delivered=1)
        # When the daemon stops, whoever waits is told at once.
        gate.clear()
        taken.clear()
        ident = d.submit(job(**{"from": VERP}), ["bob@a.test"]).json["jobs"][0]["job"]
        try:
            wait_for(taken.is_set, what="the host to have the message")
            with smtplib.SMTP("127.0.7.1", port, timeout=60) as smtp:
                smtp.ehlo()
                for command in "MAIL FROM:<>", f"RCPT TO:<bounce-{ident}-0-0@sender.test>", "DATA":
                    assert smtp.docmd(command)[0] in (250, 354)
                report = sample("qmail", f"{ident}-0-0", "bob@a.test") + b"\n.\n"
                smtp.send(report.replace(b"\n", b"\r\n"))
                time.sleep(0.5)
                d.process.terminate()
                assert smtp.getreply()[0] == 421
                smtp.close()
        finally:
            gate.set()


def test_by_envelope_id(scene):
    """Without a rid anywhere: the job's own id and the address."""
    d = scene(ONE_HOST, ONE_DOMAIN).daemon
    fields = {"from": "news@sender.test", "dsn": {"envid": "order-4711"}}
    ident = d.submit(job(**fields), [f"u{i}@a.test" for i in range(300)]).json["jobs"][0]["job"]
    d.wait_counts(ident, delivered=300)
    message = sample("several", "1", "u250@a.test").replace(b"bounce-1", b"news").replace(
        b"eve@example.org", b"else@a.test")
    message = message[:message.index(b"Content-Type: text/rfc822-headers")]
    assert [r["action"] for r in inbound(d, message)["recipients"]] == ["unmatched", "event", "ignored"]
    assert [e["to"] for e in late(d, "bounced")] == ["u250@a.test"]


def test_as_a_mail_server_runs_it(scene):
    d = scene(ONE_HOST, ONE_DOMAIN).daemon
    _, rids = deliver(d, ["ada@a.test"])
    rid = rids["ada@a.test"]
    bare = sample("qmail", "0").split(b"--- Below")[0]
    env = {"ORIGINAL_RECIPIENT": f"bounce-{rid}@sender.test"}
    long = bare + b"x" * 3000000
    for message in bare, b"From x Tue Nov  3 09:00:01 2026\n" + bare, bare.replace(b"\n", b"\r\n"), long:
        assert [r["action"] for r in inbound(d, message, "--dry-run", env=env)["recipients"]] == ["suppress"]
    said = d.cli("inbound", "--rcpt", f"bounce-{rid}@sender.test", stdin=bare.decode())
    assert said.returncode == 0 and "written down, and suppressed" in said.stdout
    assert d.cli("inbound", stdin="Subject: hello\n\nhello\n").stdout == "other: ignored\n"
    assert d.cli("inbound", stdin="").returncode == 1
    assert d.post("/v1/inbound", b"x" * 300000).status == 413
    assert d.post("/v1/inbound?dry_run=2", b"x").status == 400
    d.process.terminate()
    wait_for(lambda: d.process.poll() is not None, what="the daemon to stop")
    assert "cannot connect" in inbound(d, bare, code=75)
    d.start()


def test_tenants_are_kept_apart(scene):
    uid = os.getuid()
    d = scene(ONE_HOST, ONE_DOMAIN).daemon
    _, rids = deliver(d, ["ada@a.test"])
    d.stop()
    with open(d.config) as file:
        text = file.read().replace('mode: "0600"', f'mode: "0600", tenants: {{ {uid}: other }}')
    with open(d.config, "w") as file:
        file.write(text + f"control: {{ unix: {d.directory}/control.sock }}\n")
    d.start()
    message = sample("qmail", rids["ada@a.test"])
    assert [r["action"] for r in inbound(d, message)["recipients"]] == ["unmatched"]
    assert "is not yours" in inbound(d, message, "--tenant", "acme", code=1)


def test_our_own_reports(scene):
    """What this engine's reports say is read back; of recipients that have ended nothing more is due."""
    d = scene(host(unknown="never"), ONE_DOMAIN).daemon
    ident = d.submit(job(**{"from": VERP, "bounces": "dsn"}), ["never@a.test"]).json["jobs"][0]["job"]
    d.wait_counts(ident, bounced=1)
    [report] = wait_for(lambda: [e for e in d.events() if e["type"] == "delivered"], what="the report")
    message = d.get(f"/v1/recipients/{report['rid']}/message").body
    answer = inbound(d, message, "--rcpt", report["to"])
    assert answer["format"] == "dsn"
    [rcpt] = answer["recipients"]
    assert (rcpt["address"], rcpt["status"], rcpt["code"]) == ("never@a.test", "5.1.1", 550)
    assert rcpt["action"] == "ended" and rcpt["agreement"] == "exact"


def test_python_writes_a_report(scene):
    """A delivery report built by Python's email package, in base64 as it likes to."""
    d = scene(ONE_HOST, ONE_DOMAIN).daemon
    _, rids = deliver(d, ["ada@a.test"])
    report = email.message.EmailMessage(policy=email.policy.SMTP)
    report["From"], report["To"] = "mailer-daemon@a.test", f"bounce-{rids['ada@a.test']}@sender.test"
    report["Subject"] = "Undelivered: Grüße"
    report.set_content("Zugestellt wurde nicht. Schöne Grüße", cte="base64")
    report.make_mixed()
    report.replace_header("Content-Type", "multipart/report; report-type=delivery-status")
    status = email.message.Message()
    status["Content-Type"] = "message/delivery-status"
    group, rcpt = email.message.Message(), email.message.Message()
    group["Reporting-MTA"] = "dns; mx.a.test"
    for name, value in [("Final-Recipient", "rfc822; ada@a.test"), ("Action", "failed"), ("Status", "5.2.1"),
                        ("Diagnostic-Code", "smtp; 550 5.2.1 closed")]:
        rcpt[name] = value
    status.set_payload([group, rcpt])
    report.attach(status)
    assert [r["action"] for r in inbound(d, report.as_bytes())["recipients"]] == ["suppress"]


def test_the_daemon_alone_knows_no_recipient():
    with Daemon() as d:
        assert inbound(d, sample("postfix-failed", "1-0-0"))["recipients"][0]["action"] == "unmatched"
        assert metric(d, 'inbound_recipients_total{action="unmatched"}') == 1


# ---- reports that others write ----

class Bouncer:
    """One of the engines of bouncer.py."""

    def __init__(self, engine, next_port, *command):
        self.port = free_port()
        self.directory = tempfile.mkdtemp(prefix="bouncer-", dir=os.environ.get("TMPDIR", "/var/tmp"))
        os.chmod(self.directory, 0o755)
        self.log = open(f"{self.directory}/told", "wb")
        try:
            ENGINES[engine].fetch(PEERS)
        except Missing as why:
            shutil.rmtree(self.directory)
            pytest.skip(str(why))
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable,
             os.path.join(os.path.dirname(__file__), "bouncer.py"), engine, self.directory, PEERS,
             str(self.port), str(next_port), *command],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)

    def greets(self):
        assert self.process.poll() is None, self.told()
        try:
            with socket.create_connection(("127.0.7.2", self.port), 5) as peer:
                peer.settimeout(10)
                return peer.recv(3) == b"220"
        except OSError:
            return False

    def told(self):
        with open(f"{self.directory}/told", errors="replace") as file:
            return file.read()

    def __enter__(self):
        try:
            wait_for(self.greets, 30, "the engine to greet")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        end_space(self.process)
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="engines want mounts of their own, and so root")


@needs_root
@pytest.mark.parametrize("engine", ["postfix", "exim", "opensmtpd"])
def test_a_report_of(engine):
    """Accepted by that engine, refused by the next host: its report comes back to the return path."""
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == "gone@a.test":
            return "550 5.1.1 <gone@a.test>: no such mailbox here"
        if address == "full@a.test":
            return "552 5.2.2 the mailbox is over its quota"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"
    with Aiosmtpd(handle_RCPT=handle_RCPT) as peer, Bouncer(engine, peer.port) as bouncer:
        with Daemon(f'routes:\n  - {{ domain: "*", host: 127.0.7.2, port: {bouncer.port} }}\n') as d:
            _, rids = deliver(d, ["gone@a.test", "full@a.test", "fine@a.test"])

            def reports():
                return {e.rcpt_tos[0]: e for e in peer.envelopes if e.mail_from in ("", "<>", None)}
            try:
                wait_for(lambda: len(reports()) == 2, 60, "two reports")
            except AssertionError as why:
                raise AssertionError(f"{why}\n{bouncer.told()}\n{d.read_log()}") from None
            for who, status, action in ("gone", "5.1.1", "suppress"), ("full", "5.2.2", "event"):
                rid = rids[f"{who}@a.test"]
                envelope = reports()[f"bounce-{rid}@sender.test"]
                answer = inbound(d, envelope.content, "--rcpt", envelope.rcpt_tos[0])
                assert answer["kind"] == "bounce", envelope.content
                [rcpt] = answer["recipients"]
                assert (rcpt["rid"], rcpt["to"], rcpt["agreement"]) == (rid, f"{who}@a.test", "exact")
                assert (rcpt["status"], rcpt["action"]) == (status, action), envelope.content
                assert rcpt["code"] in (550, 552)
            assert sorted(e["to"] for e in late(d, "bounced")) == ["full@a.test", "gone@a.test"]


@needs_root
def test_from_an_alias_of_postfix(scene):
    """As postrider(1) shows it: which recipient is meant stands in what Postfix tells the command alone."""
    d = scene(ONE_HOST, ONE_DOMAIN).daemon
    _, rids = deliver(d, ["ada@a.test"], **{"from": "bounces+{{rid}}@sender.test"})
    os.chmod(d.directory, 0o755)  # the command runs as nobody
    os.chmod(d.socket, 0o666)
    program = shutil.copy(os.path.join(BUILD, "postrider"), d.directory)
    bare = b"From: mailer-daemon@a.test\r\n\r\n<ada@a.test>:\r\nSorry, no mailbox here. (#5.1.1)\r\n"
    with Bouncer("postfix", 1, f"{program} -s {d.socket} inbound") as bouncer:
        with smtplib.SMTP("127.0.7.2", bouncer.port, timeout=30) as client:
            client.sendmail("", [f"bounces+{rids['ada@a.test']}@sender.test"], bare)
        try:
            [event] = wait_for(lambda: late(d, "bounced"), 30, "the event")
        except AssertionError as why:
            raise AssertionError(f"{why}\n{bouncer.told()}") from None
    assert event["rid"] == rids["ada@a.test"] and event["status"] == "5.1.1"
