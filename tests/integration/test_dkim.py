"""Signatures of the engine, verified by dkimpy, OpenDKIM and Mail::DKIM; and what a receiver gets."""
import base64
import email
import json
import os
import random
import re
import signal
import smtplib
import subprocess

import dkim
import pytest
from aiosmtpd.controller import Controller

from daemon import BUILD, Daemon, free_port, wait_for
from nameserver import Knot
from test_compose import any_message
from test_message import engine  # noqa: F401: a fixture
from test_message import leaves_of, random_entity, random_values

DOMAIN = "x.example"


class Keys:
    """Private keys in files, and what DNS would say of them."""

    def __init__(self, directory):
        self.directory = directory
        self.records = {}
        self.config = []
        self.make("r2048", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        self.make("r1024", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"])
        self.make("ed", ["-algorithm", "ED25519"])

    def make(self, selector, options):
        path = str(self.directory / (selector + ".pem"))
        subprocess.run(["openssl", "genpkey", *options, "-out", path], check=True, stderr=subprocess.DEVNULL)
        public = subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-outform", "DER"], check=True,
                                capture_output=True).stdout
        if selector == "ed":
            public = public[-32:]
        kind = "ed25519" if selector == "ed" else "rsa"
        name = "%s._domainkey.%s" % (selector, DOMAIN)
        self.records[name] = "v=DKIM1; k=%s; p=%s" % (kind, base64.b64encode(public).decode())
        self.config.append({"domain": DOMAIN, "selector": selector, "key": path})

    def txt(self, name, timeout=5):
        return self.records[name.decode().rstrip(".")].encode()

    def write(self):
        """For the others: names and records; for OpenDKIM, which knows no Ed25519, only RSA."""
        path = self.directory / "keys"
        path.write_text("".join("%s %s\n" % pair for pair in self.records.items()))
        (self.directory / "opendkim.conf").write_text("Mode v\nTestPublicKeys %s\n" % path)
        return str(path), str(self.directory / "opendkim.conf")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("keys"))


def raw_message(rnd):
    eol = rnd.choice(["\n", "\r\n"])
    entity, _ = random_entity(rnd, eol)
    lines = ["From: {{a|x}} <n@x.example>", "Received: by nobody", "To: {{b|y}} <{{to}}>",
             "Subject:  two   blanks " + eol + "\tfolded {{a|x}}", "Comments: unsigned", "MIME-Version: 1.0"]
    return eol.join([*lines, entity])


def signed_messages(engine, keys, count):  # noqa: F811
    rnd = random.Random(7)
    for number in range(count):
        job = {"dkim": keys.config}
        if number % 2:
            tail = rnd.choice(["", "\n\n\n", " \n \n", "\n.\n..\n", "\n" + "l" * 3000])
            job["raw"] = raw_message(rnd) + tail
            job["seven_bit"] = rnd.random() < 0.5
        else:
            job["message"] = dict(any_message(rnd)[0], list={"id": "l.x.example", "help": "help@x.example"},
                                  unsubscribe={"url": "https://x.example/u/{{rid}}"})
            if rnd.random() < 0.5:
                job["message"]["text"] = "Dear {{a|you}},\n.\n" + job["message"].get("text", "")
        if rnd.random() < 0.3:
            job["merge"] = False
        values = random_values(rnd)
        _, plain = engine.messages(values, **job)
        yield plain


def has_merged_base64(plain):
    return any(part["Content-Transfer-Encoding"] == "base64" and
               re.match(b"Dear [^{]", part.get_payload(decode=True))
               for part in leaves_of(email.message_from_bytes(plain)))


def check_dkimpy(plain, keys):
    for index in range(3):
        assert dkim.DKIM(plain, minkey=1024).verify(index, dnsfunc=keys.txt)


def check_others(paths, keys):
    names, config = keys.write()
    script = os.path.join(os.path.dirname(__file__), "mail_dkim.pl")
    perl = subprocess.run(["perl", script, names, *paths], capture_output=True, text=True, check=True,
                          timeout=300)
    ed25519 = "invalid (unsupported algorithm ed25519-sha256)"  # Debian 12's has no file for it
    assert perl.stdout.splitlines() == ["pass pass " + ed25519] * len(paths)
    opendkim = subprocess.run(["opendkim", "-x", config, "-vvv", "-t", ",".join(paths)], capture_output=True,
                              text=True, timeout=300)
    said = opendkim.stdout + opendkim.stderr
    assert len(re.findall(r"verification \(s=r\d+,? d=x\.example.*\) succeeded", said)) == len(paths), said


def test_three_verifiers(engine, keys, tmp_path):  # noqa: F811
    paths, merged_base64 = [], 0
    for number, plain in enumerate(signed_messages(engine, keys, 120)):
        merged_base64 += has_merged_base64(plain)
        assert plain.count(b"DKIM-Signature:") == 3
        check_dkimpy(plain, keys)
        path = str(tmp_path / ("%03d.eml" % number))
        with open(path, "wb") as file:
            file.write(plain)
        paths.append(path)
    assert merged_base64 > 5
    check_others(paths, keys)


def test_what_breaks_a_signature(engine, keys):  # noqa: F811
    message = {"from": "n@x.example", "subject": "s", "text": "text",
               "unsubscribe": {"url": "https://x.example/"}}
    _, plain = engine.messages(message=message, dkim=keys.config)
    for changed in (plain.replace(b"\r\ntext", b"\r\ntexts"), b"From: other@x.example\r\n" + plain,
                    plain.replace(b"Subject: s", b"Subject: S"), plain.replace(b"One-Click\r\n", b"Two\r\n"),
                    plain.replace(b"https://x.example/", b"https://y.example/")):
        assert changed != plain and not dkim.verify(changed, dnsfunc=keys.txt)
    folded = plain.replace(b"Subject: s", b"SUBJECT:   s ").replace(b"\r\ntext", b"\r\ntext  \r\n\r\n")
    assert dkim.verify(folded, dnsfunc=keys.txt)


def test_other_domains_are_not_signed(engine, keys):  # noqa: F811
    for sender in ("n@y.example", "n@sub.x.example", "n@x.example.org"):
        _, plain = engine.messages(message={"from": sender, "text": "x"}, dkim=keys.config)
        assert b"DKIM-Signature" not in plain
    for sender in ("N@X.Example", '"a@y.example" <n@x.example>', "n@x.example, n@y.example", "{{to}}"):
        message = {"from": sender.replace("{{to}}", "{{a}}"), "sender": "s@y.example", "text": "x"}
        _, plain = engine.messages(message=message, variables={"a": "n@x.example"}, dkim=keys.config)
        assert plain.count(b"DKIM-Signature") == 3, sender


# The daemon, and a receiver of others.

class Receiver:
    def __init__(self, eight_bit):
        self.port, self.mails = free_port(), []
        receiver = self

        class Handler:
            async def handle_EHLO(self, server, session, envelope, hostname, responses):
                session.host_name = hostname
                return responses if eight_bit else [one for one in responses if "8BITMIME" not in one]

            async def handle_DATA(self, server, session, envelope):
                receiver.mails.append((envelope.rcpt_tos, bytes(envelope.original_content)))
                return "250 2.0.0 Ok"

        self.controller = Controller(Handler(), hostname="127.0.0.1", port=self.port)
        self.controller.start()

    def close(self):
        self.controller.stop()


OWN_SIGNATURE = "DKIM-Signature: v=1; d=y.example\r\n"


@pytest.mark.parametrize("eight_bit", [True, False])
def test_delivered_signed(keys, eight_bit, tmp_path):
    receiver, submission = Receiver(eight_bit), free_port()
    config = "routes: [{domain: '*', host: 127.0.0.1, port: %d}]\ndkim: %s\n" % (receiver.port,
                                                                               json.dumps(keys.config))
    config += "submission: [{listen: 127.0.0.1:%d, networks: [127.0.0.0/8]}]\n" % submission
    with Daemon(config) as daemon:
        raw = "From: n@%s\nSubject: {{s}}\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n" \
              "Content-Transfer-Encoding: 8bit\n\nGrüße\n.\n"
        jobs = [
            {"from": "b-{{rid}}@x.example", "message": {"raw": raw % DOMAIN}, "require_dkim": True},
            {"from": "b@x.example",
             "message": {"from": "n@x.example", "to": "all@x.example", "text": "same"}},
            {"from": "b@y.example", "merge": False, "message": {"raw": raw % "y.example"}},
            {"from": "b@x.example", "message": {"from": "{{s}} <{{from}}>", "text": "hi {{s}}"}},
            {"from": "b@x.example", "message": {"raw": OWN_SIGNATURE + raw % DOMAIN}},
            {"from": "b@x.example", "message": {"raw": (raw % DOMAIN).replace("n@x.example", "{{from}}")}},
        ]
        lines = []
        for job in jobs:
            lines.append(json.dumps(job))
            for i in range(20):
                lines.append(json.dumps({"to": "u%d@d%d.example" % (i, i % 3),
                                         "vars": {"s": "Zoë %d" % i, "from": "n@x.example"}}))
        answer = daemon.post("/v1/jobs", "\n".join(lines))
        assert answer.status == 202, answer
        warned = [job.get("warnings", []) for job in answer.json["jobs"]]
        assert warned == [[], [], ["it goes out unsigned: there is no DKIM key for y.example"], [], [], []]
        with smtplib.SMTP("127.0.0.1", submission, timeout=30) as client:
            client.sendmail("b@x.example", ["u@d0.example"],
                            (raw % DOMAIN).replace("\n", "\r\n").encode(), ["BODY=8BITMIME"])
        wait_for(lambda: sum(len(to) for to, _ in receiver.mails) == 121, 60, "121 recipients")
        refused = daemon.post("/v1/jobs", lines[0].replace("n@x.example", "n@z.example") + "\n" + lines[1])
        assert refused.status == 400, refused
        assert 'no key for "z.example"' in refused.json["error"]["reason"]
    receiver.close()
    paths = []
    for number, (_, plain) in enumerate(receiver.mails):
        message = email.message_from_bytes(plain)
        if "y.example" in message["From"]:
            assert b"DKIM-Signature" not in plain and plain.isascii() != eight_bit
        else:  # its own signature may be of the 8-bit form, which must not change where it need not
            own = b"d=y.example" in plain
            late = message["Content-Transfer-Encoding"] == "8bit"  # From varies: no one knew the key
            assert plain.isascii() == (not (own or late) or not eight_bit)
            assert plain.count(b"DKIM-Signature:") == 3 + own
            check_dkimpy(plain, keys)
            paths.append(str(tmp_path / ("%03d.eml" % number)))
            with open(paths[-1], "wb") as file:
                file.write(plain.replace(OWN_SIGNATURE.encode(), b""))
    assert len(paths) > 60
    check_others(paths, keys)


@pytest.mark.parametrize("text_of_all", ["the same for all", "for {{to}}"])
def test_other_keys_while_a_job_is_sent(keys, text_of_all):
    """After SIGHUP the new key signs, also what is the same for all and was signed before."""
    receiver, count = Receiver(True), 160
    text = ("routes: [{domain: '*', host: 127.0.0.1, port: %d}]\n"
            "sites: [{name: default, max_rate: 20/s, max_recipients_per_transaction: 1}]\n" % receiver.port +
            "dkim: [%s]\n")
    old, new = (json.dumps(one) for one in keys.config if one["selector"] != "r2048")
    with Daemon(text % old) as daemon:
        message = {"from": "n@x.example", "to": "all@x.example", "text": text_of_all}
        daemon.submit({"from": "b@x.example", "message": message},
                      ["u%d@a.example" % i for i in range(count)])
        wait_for(lambda: len(receiver.mails) > 4, 60, "some messages")
        daemon.configure(text % new)
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "is in force; changed: dkim" in daemon.read_log(), 20, "the reload")
        begun = len(receiver.mails) + 5  # some were on their way
        wait_for(lambda: sum(len(to) for to, _ in receiver.mails) == count, 120, "all messages")
    receiver.close()
    selectors = [re.search(rb" s=(\w+);", plain).group(1) for _, plain in receiver.mails]
    assert selectors[0] == b"r1024" and {*selectors[begun:]} == {b"ed"}, (begun, selectors)
    for _, plain in receiver.mails:
        assert dkim.DKIM(plain, minkey=1024).verify(0, dnsfunc=keys.txt)


@pytest.fixture(scope="module")
def slow_key(tmp_path_factory):
    key = tmp_path_factory.mktemp("slow") / "slow.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096", "-out",
                    str(key)], check=True, stderr=subprocess.DEVNULL)
    return str(key)


@pytest.fixture
def slow(slow_key):
    """A receiver of mail that takes long to be signed, and the configuration by which it does."""
    receiver = Receiver(True)
    receiver.config = "routes: [{domain: '*', host: 127.0.0.1, port: %d}]\ndkim: [%s]\n" % (
        receiver.port, json.dumps({"domain": DOMAIN, "selector": "s", "key": slow_key}))
    yield receiver
    receiver.close()


def test_pause_and_stop_while_signing(slow):
    """What is with the signers stops with its job, and goes back to the queue with the daemon."""
    count = 600
    with Daemon(slow.config) as daemon:
        ident = daemon.submit({"from": "b@x.example", "message": {"from": "n@x.example", "text": "hi {{i}}"}},
                              [{"to": "u%d@a.example" % i, "vars": {"i": i}} for i in range(count)]
                              ).json["jobs"][0]["job"]
        wait_for(lambda: slow.mails, 60, "the first message")
        daemon.post("/v1/jobs/%s/pause" % ident)
        wait_for(lambda: daemon.status()["in_flight"] == 0 and
                 daemon.job(ident)["queued"] == count - len(slow.mails) > 0, 60, "what is left to wait")
        before = len(slow.mails)
        daemon.post("/v1/jobs/%s/resume" % ident)
        wait_for(lambda: len(slow.mails) > before, 60, "more messages")
        daemon.stop()
        daemon.start()
        daemon.wait_counts(ident, 120, delivered=count)
        assert {e["attempt"] for e in daemon.events() if e["type"] != "accepted"} == {1}
    assert sorted(to for to, _ in slow.mails) == sorted(["u%d@a.example" % i] for i in range(count))
    assert all(plain.startswith(b"DKIM-Signature:") for _, plain in slow.mails)


def test_bouncing_while_signing(slow):
    """Whom an operator bounces is not sent to afterwards, wherever it was then: with the signers, too."""
    count = 200
    with Daemon(slow.config) as daemon:
        ident = daemon.submit({"from": "b@x.example", "message": {"from": "n@x.example", "text": "hi {{i}}"}},
                              [{"to": "u%d@%s.example" % (i, "ab"[i % 2]), "vars": {"i": i}}
                               for i in range(count)]).json["jobs"][0]["job"]
        wait_for(lambda: slow.mails, 60, "the first message")
        answer = daemon.post("/v1/queue/bounce?domain=a.example")
        assert answer.status in (200, 202)
        wait_for(lambda: daemon.job(ident)["queued"] == 0, 60, "all to end")
        ends = {e["to"]: e["type"] for e in daemon.events() if e["type"] != "accepted"}
        bounced = {to for to, kind in ends.items() if kind == "bounced"}
        assert len(ends) == count and len(daemon.events()) == count * 2
        assert bounced and all(to.endswith("@a.example") for to in bounced)
    assert sorted(to for to, _ in slow.mails) == sorted([to] for to in ends if to not in bounced)


def test_suppressing_others_while_signing(slow):
    """What is with the signers meanwhile is not signed again, however long it waits there."""
    count = 2000
    with Daemon(slow.config) as daemon:
        ident = daemon.submit({"from": "b@x.example", "message": {"from": "n@x.example", "text": "hi {{i}}"}},
                              [{"to": "u%d@a%d.example" % (i, i % 20), "vars": {"i": i}}
                               for i in range(count)]).json["jobs"][0]["job"]
        others = iter(range(1000))

        def all_there():
            daemon.cli("suppress", "add", "other%d@a.example" % next(others))
            return len(slow.mails) == count
        wait_for(all_there, 60, "every message, one second's suppressions after the other's")


def test_no_keys_at_all():
    with Daemon("") as daemon:
        job = {"from": "b@x.example", "message": {"from": "n@x.example", "text": "x"}}
        answer = daemon.submit(job, ["ada@example.invalid"])
        assert answer.status == 202 and "warnings" not in answer.json["jobs"][0]
        assert "no DKIM keys are configured: mail goes out unsigned" in daemon.read_log()
        refused = daemon.submit(dict(job, require_dkim=True), ["ada@example.invalid"])
        assert refused.status == 400 and 'no key for "x.example"' in refused.json["error"]["reason"]


def test_published(keys, tmp_path):
    def check():
        return subprocess.run([os.path.join(BUILD, "postrider"), "config", "check", "--dns", str(config)],
                              capture_output=True, text=True, timeout=60)
    config = tmp_path / "postrider.yaml"
    zone = "@ SOA ns admin 1 3600 600 86400 120\n@ NS ns\nns A 127.0.0.1\n"
    for name, record in keys.records.items():
        if "r1024" not in name:
            pieces = " ".join('"%s"' % piece for piece in re.findall(".{1,200}", record))
            zone += "%s 300 TXT %s\n" % (name.replace("." + DOMAIN, ""), pieces)
    with Knot({DOMAIN: zone}) as knot:
        config.write_text("dkim: %s\ndns: {servers: [%s]}\n" % (json.dumps(keys.config), knot.server))
        some = check()
        config.write_text("dkim: %s\ndns: {servers: [%s]}\n" % (
            json.dumps([one for one in keys.config if one["selector"] != "r1024"]), knot.server))
        all_there = check()
        swapped = [dict(keys.config[0], selector="ed"), dict(keys.config[2], selector="r2048")]
        config.write_text("dkim: %s\ndns: {servers: [%s]}\n" % (json.dumps(swapped), knot.server))
        wrong = check()
    assert some.returncode == 1 and "1 of 3 DKIM keys are not published" in some.stderr, some
    missing = keys.records["r1024._domainkey." + DOMAIN]
    assert "r1024._domainkey.x.example: there is no such TXT record; publish: " + missing in some.stdout
    assert all_there.returncode == 0 and all_there.stdout.count("is the key of") == 2, all_there
    assert wrong.returncode == 1 and wrong.stdout.count("another key is published") == 2, wrong


def test_keys_that_cannot_sign(keys, tmp_path):
    (tmp_path / "none.pem").write_text("nothing\n")
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:512", "-out",
                    str(tmp_path / "weak.pem")], check=True, stderr=subprocess.DEVNULL)
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
                    str(tmp_path / "ec.pem")], check=True, stderr=subprocess.DEVNULL)
    cases = {"absent.pem": "cannot read ", "none.pem": "holds no private key in PEM",
             "weak.pem": "has 512 bits: receivers refuse less than 1024", "ec.pem": "is a key of type EC"}
    for name, why in cases.items():
        config = tmp_path / "postrider.yaml"
        config.write_text("dkim: [{domain: x.example, selector: s, key: %s}]\n" % (tmp_path / name))
        run = subprocess.run([os.path.join(BUILD, "postriderd"), "-t", "-c", str(config)],
                             capture_output=True, text=True, timeout=60)
        assert run.returncode == 1 and run.stderr.startswith("postriderd: dkim: x.example, selector s: "), run
        assert why in run.stderr
