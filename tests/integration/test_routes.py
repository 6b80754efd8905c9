"""Smarthosts: which mail goes where, and logging in at servers that this project did not write: aiosmtpd, and
Postfix with Dovecot's SASL."""
import base64
import os
import shutil
import time

import pytest
from conftest import ONE_DOMAIN, ONE_HOST
from daemon import PATIENCE, Daemon, job, wait_for
from dovecot import Dovecot
from mta import Aiosmtpd, Postfix
from peers.adapter import Missing

ROOT = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("dovecot"),
                          reason="wants root and dovecot, to run mail servers")
SECRET = "correct horse battery"


def routes(*entries, sources=""):
    return "routes:\n" + "".join(f"  - {{ {entry} }}\n" for entry in entries)


def password(daemon, text=SECRET):
    path = os.path.join(daemon.directory, "secret")
    with open(path, "w", encoding="ascii") as file:
        file.write(text + "\n")
    return path


class Relay:
    """A daemon whose mail all goes to one peer; start it with what the route says besides."""

    def __init__(self, peer, route, secret=SECRET, field="password_file"):
        self.peer, self.daemon = peer, Daemon()
        self.file = password(self.daemon, secret)
        self.daemon.configure(
            f"sites: [{{name: default, dead_host_delay: 300ms, dead_host_delay_max: {1000 * PATIENCE:.0f}ms, "
            "idle_timeout: 1s}]\n" +
            routes(f"host: {peer.address}, port: {peer.port}, user: tim, {field}: {self.file}, {route}"))

    def __enter__(self):
        self.daemon.start()
        return self

    def __exit__(self, *failure):
        self.daemon.__exit__(*failure)

    def submit(self, recipients=("u@a.test",), **fields):
        return self.daemon.submit(job(**fields), list(recipients)).json["jobs"][0]["job"]

    def log_says(self, *texts):
        wait_for(lambda: all(text in self.daemon.read_log() for text in texts), 20, f"the log to say {texts}")
        for text in (SECRET, base64.b64encode(SECRET.encode()).decode()[:-4]):
            assert text not in self.daemon.read_log()


def authenticator(logins):
    from aiosmtpd.smtp import AuthResult, LoginPassword

    def check(server, session, envelope, mechanism, data):
        logins.append(mechanism)
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"tim", SECRET.encode())
        return AuthResult(success=good, handled=good, auth_data=data)
    return check


def aiosmtpd(logins, **more):
    return Aiosmtpd(tls=True, server={"authenticator": authenticator(logins), "auth_required": True, **more})


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_aiosmtpd(mechanism):
    logins = []
    other = {"PLAIN": "LOGIN", "LOGIN": "PLAIN"}[mechanism]
    with aiosmtpd(logins, auth_exclude_mechanism=[other]) as peer, Relay(peer, "tls: encrypt") as relay:
        relay.daemon.wait_counts(relay.submit(), delivered=1)
        assert logins == [mechanism] and len(peer.messages()) == 1


def test_a_wrong_password_defers_without_an_attempt_and_is_told():
    logins = []
    with aiosmtpd(logins) as peer, Relay(peer, "tls: encrypt", "wrong") as relay:
        ident = relay.submit([f"u{i}@a.test" for i in range(5)])
        relay.log_says("the route for *: mail waits: 5.7.8")
        wait_for(lambda: len(logins) >= 3, 20, "further tries")
        assert peer.messages() == []
        counts = relay.daemon.job(ident)["counts"]
        assert counts["deferred"] == counts["bounced"] == 0
        assert all(r.get("attempts", 0) == 0 for r in relay.daemon.recipients(ident))
        told, tries, end = [], len(logins) + 3, time.monotonic() + 60 * PATIENCE
        while len(logins) < tries and time.monotonic() < end:
            told.append(relay.daemon.get("/v1/explain?to=u0@a.test").json["answers"][0]["why"])
        assert any("5.7.8" in why for why in told)
        # Nor is the reason unknown for as long as it takes to give back to the store what waits.
        assert not [why for why in told if why.startswith("no worker has")]
        password(relay.daemon)  # put right: read again at the next login
        relay.daemon.wait_counts(ident, delivered=5)
        assert "wrong" not in relay.daemon.read_log()


def test_a_wrong_password_is_not_the_hosts_fault():
    """Who logs in there as somebody else goes on, and the wrong one is not tried again at once."""
    logins = []
    with aiosmtpd(logins) as peer:
        daemon = Daemon()
        wrong, right = os.path.join(daemon.directory, "wrong"), password(daemon)
        with open(wrong, "w", encoding="ascii") as file:
            file.write("wrong\n")
        way = f"host: {peer.address}, port: {peer.port}, tls: encrypt, user: tim, password_file:"
        daemon.configure("sites: [{name: default, dead_host_delay: 10m}]\ntenants: [{name: acme}]\n" +
                         routes(f"tenant: acme, {way} {wrong}", f"{way} {right}"))
        with daemon:
            waits = daemon.submit(job(tenant="acme"), [f"u{i}@a.test" for i in range(50)])
            wait_for(lambda: "mail waits: 5.7.8" in daemon.read_log(), 20, "the login to fail")
            goes = daemon.submit(job(), [f"v{i}@a.test" for i in range(50)])
            daemon.wait_counts(goes.json["jobs"][0]["job"], delivered=50)
            time.sleep(0.5)
            assert daemon.job(waits.json["jobs"][0]["job"])["counts"]["ready"] == 50
            assert "5.7.8" in str(daemon.get("/v1/explain?to=u0@a.test").json)
            assert len(logins) < 50, "each connection of the right one, and the wrong ones of one time"


def test_nothing_is_said_in_the_clear_unless_told():
    logins = []
    server = {"authenticator": authenticator(logins), "auth_require_tls": False}
    with Aiosmtpd(server=server) as peer:
        with Relay(peer, "tls: may") as relay:
            relay.submit()
            relay.log_says("cannot log in as tim", "the connection is not encrypted")
            assert logins == [] and peer.messages() == []
        with Relay(peer, "tls: may, auth_in_clear: yes, auth: login") as relay:
            relay.daemon.wait_counts(relay.submit(), delivered=1)
            assert logins == ["LOGIN"]


def test_implicit_tls():
    logins = []
    server = {"authenticator": authenticator(logins), "auth_require_tls": False}
    with Aiosmtpd(tls=True, implicit=True, server=server) as peer, \
            Relay(peer, "tls: encrypt, tls_implicit: yes") as relay:
        relay.daemon.wait_counts(relay.submit(), delivered=1)
        assert logins == ["PLAIN"]


def test_xoauth2_with_a_token_that_is_renewed():
    tokens = []

    async def check(self, server, args):
        from aiosmtpd.smtp import AuthResult
        given = base64.b64decode(args[1]).decode()
        tokens.append(given)
        if given == "user=tim\1auth=Bearer fresh\1\1":
            return AuthResult(success=True, auth_data="tim")
        answer = await server.challenge_auth(b'{"status":"401"}')
        assert answer == b""
        return AuthResult(success=False, handled=False)

    with Aiosmtpd(tls=True, server={"auth_required": True}, auth_XOAUTH2=check) as peer, \
            Relay(peer, "tls: encrypt", "stale", "token_file") as relay:
        ident = relay.submit()
        relay.log_says("mail waits: 5.7.8")
        password(relay.daemon, "fresh")
        relay.daemon.wait_counts(ident, delivered=1)
        assert tokens[0] == "user=tim\1auth=Bearer stale\1\1"
        assert "stale" not in relay.daemon.read_log() and "fresh" not in relay.daemon.read_log()


SASL = """\
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = %s
smtpd_tls_auth_only = yes
smtpd_client_restrictions =
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
"""


@ROOT
@pytest.mark.parametrize("mechanism", ["plain", "login", "scram-sha-256"])
def test_postfix_with_dovecot(mechanism):
    try:
        with Dovecot({"tim": SECRET}, mechanism) as dovecot, \
                Postfix(tls=True, more=SASL % dovecot.auth) as peer, \
                Relay(peer, "tls: encrypt") as relay:
            recipients = [f"u{i}@a.test" for i in range(40)]
            relay.daemon.wait_counts(relay.submit(recipients), delivered=40)
            wait_for(lambda: len(peer.messages()) == 40, 30, "Postfix to have them")
            assert f"sasl_method={mechanism.upper()}, sasl_username=tim" in peer.read_log()
            wait_for(lambda: relay.daemon.status()["sessions"] == 0, 20, "those that have logged in to end")
            password(relay.daemon, "wrong")
            ident = relay.submit(["late@a.test"])
            relay.log_says("mail waits: 5.7.8")
            password(relay.daemon)
            relay.daemon.wait_counts(ident, delivered=1)
    except Missing as e:
        pytest.skip(str(e))


def test_hosts_by_preference(scene):
    hosts = [{"name": f"s{i}.relay.test", "address": f"127.0.8.{20 + i}"} for i in range(3)]
    s = scene(ONE_HOST + hosts, ONE_DOMAIN, config="")
    s.daemon.stop()
    port = s.world.smtp_port
    with open(s.daemon.config, "a", encoding="ascii") as f:
        f.write(routes("domain: x.test, port: %d, host: [s0.relay.test, 's1.relay.test:%d', 127.0.8.22]" %
                       (port, port)))
    s.daemon.start()
    order = [f"s{i}.relay.test" for i in range(3)]
    for i, name in enumerate(order):
        ident = s.daemon.submit(job(), [f"u{i}@x.test"]).json["jobs"][0]["job"]
        s.daemon.wait_counts(ident, delivered=1)
        assert [d.host for d in s.delivered()][-1] == name
        wait_for(lambda: s.world.stats()["totals"]["connections"]["now"] == 0, 20, "the session to end")
        s.world.host(name, "refuse", True)
    ident = s.daemon.submit(job(), ["last@x.test"]).json["jobs"][0]["job"]
    s.daemon.wait_counts(ident, deferred=1)


def test_by_recipient_sender_and_tenant(scene):
    hosts = [{"name": f"{name}.relay.test", "address": f"127.0.8.{30 + i}"}
             for i, name in enumerate(("brand", "acme", "both", "rest"))]
    s = scene(ONE_HOST + hosts, ONE_DOMAIN, config="tenants: [{name: acme}]\n")
    s.daemon.stop()
    with open(s.daemon.config, "a", encoding="ascii") as f:
        f.write(routes(*(f"{rule}, port: {s.world.smtp_port}" for rule in (
            "tenant: acme, sender: brand.test, host: both.relay.test",
            "sender: '*brand.test', domain: '*.test', host: brand.relay.test",
            "tenant: acme, host: acme.relay.test",
            "domain: x.test, host: rest.relay.test"))))
    s.daemon.start()
    ways = [("news@brand.test", "acme", "both"), ("news@brand.test", "default", "brand"),
            ("{{rid}}@sub.brand.test", "default", "brand"), ("news@other.test", "acme", "acme"),
            ("", "acme", "acme"), ("news@other.test", "default", "rest")]
    for i, (sender, tenant, _) in enumerate(ways):
        answer = s.daemon.submit({**job(tenant=tenant), "from": sender}, [f"u{i}@x.test"])
        ident = answer.json["jobs"][0]["job"]
        s.daemon.wait_counts(ident, delivered=1)
        assert s.daemon.job(ident)["pool"] == "default"
    answer = s.daemon.submit(job(), ["u@a.test"])
    s.daemon.wait_counts(answer.json["jobs"][0]["job"], delivered=1)
    went = {d.recipient: d.host for d in s.world.deliveries()}
    assert went == {"u@a.test": "mx.a.test",
                    **{f"u{i}@x.test": f"{way}.relay.test" for i, (_, _, way) in enumerate(ways)}}


@ROOT
@pytest.mark.parametrize("by", ["socket", "port"])
def test_lmtp_to_dovecot(by):
    with Dovecot({"ada": SECRET, "bob": SECRET, "eve": SECRET}) as dovecot:
        host = f"unix:{dovecot.lmtp_socket}" if by == "socket" else "'{}:{}'".format(*dovecot.lmtp)
        daemon = Daemon(routes(f"domain: a.test, host: {host}, protocol: lmtp"))
        with daemon:
            people = [f"{name}@a.test" for name in ("ada", "bob", "nobody", "eve")]
            raw = "From: News <news@sender.test>\r\nSubject: Hi\r\n\r\n.dot\r\n..\r\n.\r\nend\r\n"
            job_id = daemon.submit({**job(), "message": {"raw": raw}}, people).json["jobs"][0]["job"]
            daemon.wait_counts(job_id, delivered=3, bounced=1)
            got = dovecot.messages()
            assert sorted(user for user, _ in got) == ["ada", "bob", "eve"]
            for _, content in got:
                assert content.replace(b"\r\n", b"\n").endswith(b"\n\n.dot\n..\n.\nend\n")
            ended = {e["to"]: e for e in daemon.events() if e["type"] in ("delivered", "bounced")}
            assert ended["nobody@a.test"]["status"] == "5.1.1"
            assert all(f"<{to}>" in ended[to]["reply"] for to in people if to != "nobody@a.test")
