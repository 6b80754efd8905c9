"""SIGHUP and `postrider reload`: what a new configuration changes with sessions open and mail on its way,
what it does not, and that an invalid one changes nothing."""
import os
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import threading
import time

import pytest

from certificates import Authority
from conftest import ONE_DOMAIN, host
from daemon import PATIENCE, RAW, free_port, job, wait_for
from mta import certificate
from sanitizer import limit
from submission import Dialogue, Post
from test_delivery import ends, submit
from test_lending import LENDING, borrowers, people, wait_lent
from test_reactions import made, rates, site

SECOND_HOST = {"name": "mx.b.test", "address": "127.0.8.3"}
SECOND_DOMAIN = {"name": "b.test", "mx": [[10, "mx.b.test"]]}


class Settings:
    """The configuration of a scene, to be written again with parts of it changed."""

    def __init__(self, s):
        self.s = s
        with open(s.daemon.config) as f:
            self.text = f.read()

    def write(self, *changes, more=""):
        text = self.text
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        with open(self.s.daemon.config, "w") as f:
            f.write(text + more)
        return self

    def reload(self, *changes, more=""):
        self.write(*changes, more=more)
        answer = self.s.daemon.post("/v1/reload")
        assert answer.status == 200 and answer.json["complete"], answer
        return answer.json


def connections(s, name="mx.a.test"):
    """How many its host has seen, and has."""
    seen = s.world.counts(name)["connections"]
    return seen["total"], seen["now"]


def test_a_rate_holds_from_the_reload_on(scene):
    s = scene(host(reply_delay_ms=1), ONE_DOMAIN, site="max_rate: 50/s, max_connections: 8")
    ident = submit(s, [f"u{i}@a.test" for i in range(3000)])["job"]
    wait_for(lambda: s.world.counts("mx.a.test")["messages"] > 30, 20, "some mail")
    assert max(rates(s, "mx.a.test", 2)) < 60
    assert Settings(s).reload(("max_rate: 50/s", "max_rate: 400/s")) == {
        "changed": ["sites"], "restart": [], "complete": True}
    wait_for(lambda: max(rates(s, "mx.a.test", 1)) > 100, 30, "the new rate")
    s.daemon.wait_counts(ident, 60, delivered=3000)
    assert len(ends(s, ident)) == 3000 and len(s.delivered()) == 3000


def test_no_session_is_dropped(scene):
    """They carry on, one message after the other, over five reloads; a limit that is lowered ends some."""
    s = scene(host(reply_delay_ms=20), ONE_DOMAIN,
              site="max_connections: 4, max_recipients_per_transaction: 1, max_messages_per_connection: 0")
    settings = Settings(s)
    ident = submit(s, [f"u{i}@a.test" for i in range(1500)])["job"]
    wait_for(lambda: s.daemon.job(ident)["counts"]["delivered"] > 40, 20, "some mail")
    assert connections(s) == (4, 4)
    for n in range(5):
        settings.reload(more=f"replies:\n  - {{ match: x{n}, action: slow }}\n")
        time.sleep(0.2)
    assert connections(s) == (4, 4)
    settings.reload(("max_connections: 4", "max_connections: 2"))
    wait_for(lambda: connections(s)[1] == 2, 10, "the sessions beyond the limit to end")
    assert connections(s)[0] == 4
    settings.reload(("max_connections: 4", "max_connections: 20"))
    s.daemon.wait_counts(ident, 90, delivered=1500)
    assert len(s.delivered()) == 1500 and {r["attempts"] for r in s.daemon.recipients(ident)} == {0}


def test_reloads_under_load_lose_and_repeat_nothing(scene):
    """Twenty of them, while mail for many domains flows and sessions are lent: everything arrives once, in
    its first attempt."""
    domains = [{"name": f"d{i}.test", "mx": [[10, f"mx{i % 5}.test"]]} for i in range(50)]
    hosts = [{"name": f"mx{i}.test", "address": f"127.0.9.{i + 1}", "reply_delay_ms": 3}
             for i in range(5)]
    s = scene(hosts, domains, site="max_connections: 5",
              config="workers: 2\nlending: always\nsources:\n  - { name: one, address: 127.0.0.1 }\n"
              "  - { name: two, address: 127.0.0.2 }\n")
    settings = Settings(s)
    ident = submit(s, [f"u{i}@d{i % 50}.test" for i in range(20000)])["job"]
    for n in range(20):
        settings.reload(("max_connections: 5", f"max_connections: {5 + n % 2}"),
                        more="replies:\n  - { match: 'x%d', action: slow }\n" % n if n % 3 == 0 else "")
        time.sleep(0.1)
    s.daemon.wait_counts(ident, 120, delivered=20000)
    assert len(s.delivered()) == 20000
    assert {r["attempts"] for r in s.daemon.recipients(ident)} == {0}


def test_a_source_goes_while_its_sessions_are_lent(scene):
    """What was lent comes back and leaves from the other one."""
    sources = {"one": "  - { name: one, address: 127.0.0.1 }\n",
               "two": "  - { name: two, address: 127.0.0.2 }\n"}
    s = scene(host(reply_delay_ms=50), ONE_DOMAIN,
              site="max_connections: 9, max_recipients_per_transaction: 1",
              config=LENDING + "sources:\n" + "".join(sources.values()))
    ident = submit(s, people(20000))["job"]
    wait_lent(s, min(4, limit("LOANS_MAX")))
    time.sleep(2)  # and recipients with them
    goes = borrowers(s)[0]["source"]
    Settings(s).reload((sources[goes], ""))
    wait_for(lambda: not any(p["connections"] for p in site(s, "a.test")["paths"] if p["source"] == goes),
             3, "its sessions to end")
    s.daemon.post(f"/v1/jobs/{ident}/cancel")


def test_authorities_go_while_sessions_are_lent(scene):
    with Authority() as authority:
        s = scene(host(starttls="good", reply_delay_ms=5), ONE_DOMAIN, config=LENDING,
                  site="max_connections: 12, max_messages_per_connection: 5, "
                  f"max_recipients_per_transaction: 1, tls_ca_file: {authority.file}")
        ident = submit(s, people(6000))["job"]
        wait_lent(s)
        Settings(s).reload((f", tls_ca_file: {authority.file}", ""))
        s.daemon.wait_counts(ident, 60, delivered=6000)


def test_an_invalid_file_changes_nothing_and_says_why(scene):
    s = scene(host(), ONE_DOMAIN, site="max_rate: 50/s")
    settings = Settings(s).write(("max_rate: 50/s", "max_rate: fast, portt: 1"))
    answer = s.daemon.post("/v1/reload")
    reason = answer.json["error"]["reason"]
    assert answer.status == 422 and answer.json["error"]["code"] == "bad_configuration"
    assert "max_rate" in reason and "postrider.yaml:" in reason and "1 more" in reason, reason
    done = s.daemon.cli("reload")
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "max_rate" in done.stderr
    s.daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: s.daemon.read_log().count("nothing is changed") == 3, 10, "the log")
    assert "portt" in s.daemon.read_log()
    ident = submit(s, ["u@a.test"])["job"]
    s.daemon.wait_counts(ident, 10, delivered=1)
    assert settings.reload()["changed"] == []


def test_a_route_that_comes_and_goes_while_a_domain_cannot_be_resolved(scene):
    """The wait after an answer that failed is over with the route: DNS is not asked beside a question."""
    s = scene(host(), [{"name": "a.test", "servfail": True}],
              site="dead_host_delay: 2s, dead_host_delay_max: 2s")
    settings = Settings(s)
    ident = submit(s, [f"u{i}@a.test" for i in range(1000)])["job"]
    for _ in range(3):
        s.world.domain("a.test", servfail=True)
        time.sleep(2.5)  # it is held again
        s.world.domain("a.test", timeout=True)
        settings.reload(more=f"routes:\n  - {{ domain: a.test, host: 127.0.8.9, port: {free_port()} }}\n")
        settings.reload()
        time.sleep(2.5)  # the wait would have ended, and no answer has come
        assert s.daemon.process.poll() is None
    s.world.domain("a.test", mx=[[10, "mx.a.test"]])
    wait_for(lambda: s.daemon.post(f"/v1/jobs/{ident}/retry").status // 100 == 2 and
             s.daemon.job(ident)["counts"]["delivered"] == 1000, 60, "the messages")


def test_a_file_that_is_written_as_it_is_read(scene):
    """By an editor that writes in place: it is whole, or cut anywhere; nothing of that ends the daemon."""
    s = scene(host(), ONE_DOMAIN)
    settings = Settings(s)
    padding = "".join(f"# {i} {'x' * 70}\n" for i in range(20000))
    over = threading.Event()

    def write():
        while not over.is_set():
            settings.write(more=padding)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        answers = [s.daemon.post("/v1/reload").status for _ in range(30)]
    finally:
        over.set()
        writer.join()
    assert set(answers) <= {200, 422}
    assert settings.reload()["complete"]


def test_sighup_does_the_same_and_what_takes_a_restart_is_named(scene):
    s = scene(host(), ONE_DOMAIN, config="workers: 1\n")
    Settings(s).write(("workers: 1", "workers: 2"),
                      more="queue: { max_size: 2G, retain: 3d }\nlending: never\n")
    s.daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "take a restart" in s.daemon.read_log(), 10, "the reload")
    log = s.daemon.read_log()
    assert "is in force; changed: lending, queue.retain" in log
    assert "these take a restart and are as before: workers, queue.max_size" in log
    done = s.daemon.cli("reload")  # still not as in the file
    assert done.returncode == 0
    assert done.stdout == ("in force; nothing that a reload applies has changed\n"
                           "as before, until a restart: workers, queue.max_size\n")


def test_each_option_that_takes_a_restart_is_named_until_there_was_one(scene, tmp_path):
    """Where nothing reads it again: resolvers, policies and reports of TLS, consumers, sockets, listeners."""
    (tmp_path / "token").write_text("0123456789abcdef\n")
    (tmp_path / "token").chmod(0o600)
    ports = [free_port(), free_port(), free_port()]
    s = scene(host(), ONE_DOMAIN, config="mta_sts: { enabled: no }\n"
              f"submission: [{{ listen: 127.0.0.1:{ports[0]}, networks: [127.0.0.0/8] }}]\n"
              f"consumers: [{{ name: crm, file: {tmp_path}/events }}]\n")
    Settings(s).write(
        ("timeout: 2s", "timeout: 3s, ipv6: no"), ("enabled: no", "enabled: no, timeout: 5s"),
        ('mode: "0600"', 'mode: "0660"'), (f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"),
        ("{ name: crm", "{ events: [bounced], name: crm"),
        more="tls_reports: { enabled: yes, contact: tls@sender.test }\nqueue: { events_max: 1G }\n"
        f"control: {{ unix: {tmp_path}/control.sock }}\nworkers: 1\n"
        f"admin: {{ listen: 127.0.0.1:{ports[2]}, token_file: {tmp_path}/token }}\n")
    named = {"workers", "jobs.mode", "admin.listen", "admin.token_file", "control.unix",
             "dns.timeout", "dns.ipv6", "mta_sts.timeout", "tls_reports.enabled", "tls_reports.contact",
             "queue.events_max", "consumers", "submission"}
    for _ in range(2):
        answer = s.daemon.post("/v1/reload").json
        assert (answer["changed"], set(answer["restart"]), answer["complete"]) == ([], named, True)
    with Dialogue(ports[0]) as d:
        assert d.reply().startswith("220 mta.test")
    for port in ports[1:]:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
    s.daemon.stop()
    s.daemon.socket = f"{tmp_path}/control.sock"
    s.daemon.start()
    assert s.daemon.post("/v1/reload").json == {"changed": [], "restart": [], "complete": True}
    with Dialogue(ports[1]) as d:
        assert d.reply().startswith("220 mta.test")


def test_a_key_that_mail_requires_goes_with_a_reload(scene, tmp_path):
    """What must be signed and can't be is not sent unsigned: it waits, the log says why, and the key that
    comes back sends it."""
    subprocess.run(["openssl", "genrsa", "-out", tmp_path / "s1.pem", "2048"], check=True,
                   capture_output=True)
    key = f"dkim: [{{ domain: sender.test, selector: s1, key: {tmp_path}/s1.pem }}]\n"
    s = scene(host(reply_delay_ms=2000), ONE_DOMAIN, config=key, site="max_connections: 1")
    settings = Settings(s)
    answer = s.daemon.submit(job(message={"raw": RAW}, require_dkim=True), [f"u{i}@a.test" for i in range(9)])
    ident = answer.json["jobs"][0]["job"]
    s.daemon.post("/v1/queue/suspend?domain=a.test")
    wait_for(lambda: s.daemon.status()["in_flight"] == 0, 30, "what is under way")
    s.world.host("mx.a.test", "reply_delay_ms", 0)
    settings.reload((key, ""))
    s.daemon.post("/v1/queue/resume?domain=a.test")
    gone = s.daemon.job(ident)["counts"]["delivered"]
    s.daemon.wait_counts(ident, 20, deferred=9 - gone)
    assert "job 1: it must be signed (require_dkim) and " in s.daemon.read_log()
    waiting = [r for r in s.daemon.recipients(ident) if r["state"] == "deferred"]
    assert {r["status"] for r in waiting} <= {"4.3.0", "4.7.0"}  # whether a signer or a session finds out
    settings.reload()
    s.daemon.post(f"/v1/jobs/{ident}/retry")
    s.daemon.wait_counts(ident, 20, delivered=9)
    assert len(s.delivered()) == 9


def test_a_listener_has_its_renewed_certificate():
    """For who connects from then on; with a key that is not its own, nothing changes."""
    def shown():
        return ssl.get_server_certificate(("127.0.0.1", post.secure), timeout=20 * PATIENCE)

    def smtp():
        context = ssl.create_default_context(cafile=post.certificate)
        return smtplib.SMTP_SSL("localhost", post.secure, context=context, timeout=20 * PATIENCE)
    with Post() as post:
        first = shown()
        with smtp() as before:
            certificate(post.daemon.directory, "localhost")
            assert shown() == first
            assert post.daemon.post("/v1/reload").json == {"changed": [], "restart": [], "complete": True}
            second = shown()
            assert second != first and second.strip() == open(post.certificate).read().strip()
            with smtp() as after:
                assert after.noop()[0] == before.noop()[0] == 250
        assert post.daemon.read_log().count("has another certificate now") == 2  # implicit TLS, STARTTLS
        shutil.copy(post.key, post.key + ".kept")
        certificate(post.daemon.directory, "localhost")
        shutil.copy(post.key + ".kept", post.key)
        answer = post.daemon.post("/v1/reload")
        assert answer.status == 422 and "key values mismatch" in answer.json["error"]["reason"]
        assert shown() == second
        os.mkdir(os.path.join(post.daemon.directory, "new"))  # by other names: that takes a restart
        certificate(os.path.join(post.daemon.directory, "new"), "localhost")
        answer = Settings(post).reload(("cert.pem, tls_key: ", "new/cert.pem, tls_key: new/"))
        assert answer["restart"] == ["submission"] and shown() == second


def test_rules_retry_and_routes_come_and_go(scene):
    s = scene(host(replies=[made("rcpt", 450, "4.2.1 come back tomorrow")]) + [SECOND_HOST],
              ONE_DOMAIN + [SECOND_DOMAIN])
    settings = Settings(s)
    ident = submit(s, ["u@a.test"])["job"]
    s.daemon.wait_counts(ident, 10, deferred=1)
    settings.reload(more="replies:\n  - { match: come back tomorrow, action: fail }\n")
    assert s.daemon.get("/v1/rules").json["rules"][0]["match"] == "come back tomorrow"
    assert s.daemon.post(f"/v1/jobs/{ident}/retry").status == 200
    s.daemon.wait_counts(ident, 10, bounced=1)
    settings.reload(more="retry:\n  - { status: '4.2.1', schedule: [200ms] }\n")
    ident = submit(s, ["u@a.test"])["job"]
    wait_for(lambda: s.daemon.recipients(ident)[0]["attempts"] >= 3, 20, "retries by the new schedule")
    settings.reload(more=f"routes:\n  - {{ domain: a.test, host: mx.b.test, port: {s.world.smtp_port} }}\n")
    s.daemon.post(f"/v1/jobs/{ident}/retry")
    s.daemon.wait_counts(ident, 20, delivered=1)
    assert [d.host for d in s.delivered()] == ["mx.b.test"]
    settings.reload()
    ident = submit(s, ["v@a.test"])["job"]
    s.daemon.wait_counts(ident, 10, deferred=1)


def to_second_host(s, domain):
    return f"  - {{ domain: '{domain}', host: mx.b.test, port: {s.world.smtp_port} }}\n"


def test_a_route_takes_what_is_being_resolved(scene):
    """The answer that is on its way then moves nothing, whatever it says: neither hosts nor that there are
    none."""
    names = ["a.test", "null.test"]
    s = scene(host() + [SECOND_HOST], [{**ONE_DOMAIN[0], "delay_ms": 1500}, SECOND_DOMAIN,
                                       {"name": "null.test", "delay_ms": 1500, "null_mx": True}])
    settings = Settings(s)
    first = submit(s, [f"u{i}@{name}" for i in range(20) for name in names])["job"]
    settings.reload(more="routes:\n" + "".join(to_second_host(s, name) for name in names))
    s.daemon.wait_counts(first, 20, delivered=40)
    time.sleep(2)  # the answer has come
    late = submit(s, [f"v{i}@{name}" for i in range(5) for name in names])["job"]
    s.daemon.wait_counts(late, 20, delivered=10)
    assert {d.host for d in s.delivered()} == {"mx.b.test"}


def test_routes_come_and_go_with_several_workers(scene):
    """For domains whose site is another worker's than theirs."""
    names = [f"d{i}.test" for i in range(30)]
    s = scene(host() + [SECOND_HOST], ONE_DOMAIN + [SECOND_DOMAIN] +
              [{"name": name, "mx": [[10, "mx.a.test"]]} for name in names], config="workers: 4\n")
    settings = Settings(s)
    for n in range(6):
        settings.reload(more="routes:\n" + to_second_host(s, "d*.test") if n % 2 else "")
        before = len(s.delivered())
        ident = submit(s, [f"u{n}@{name}" for name in names])["job"]
        s.daemon.wait_counts(ident, 20, delivered=30)
        wait_for(lambda: len(s.delivered()) == before + 30, 10, "the host's word")
        assert {d.host for d in s.delivered()[before:]} == {"mx.b.test" if n % 2 else "mx.a.test"}, n


@pytest.mark.parametrize("slow", ["a.test", "_mta-sts.a.test"])
def test_a_route_counts_for_a_domain_that_is_being_asked_for(scene, slow):
    """The answer for its hosts, or for its policy of MTA-STS, comes after the reload, and is of no use."""
    late = {"a.test": ONE_DOMAIN[0], "_mta-sts.a.test": {"name": "_mta-sts.a.test", "nxdomain": True}}
    late[slow] = dict(late[slow], delay_ms=1500)
    s = scene(host() + [SECOND_HOST], list(late.values()))
    ident = submit(s, ["u@a.test"])["job"]
    time.sleep(0.3)
    Settings(s).reload(more=f"routes:\n  - {{ host: mx.b.test, port: {s.world.smtp_port} }}\n")
    s.daemon.wait_counts(ident, 20, delivered=1)
    time.sleep(1.5)
    ident = submit(s, ["v@a.test"])["job"]
    s.daemon.wait_counts(ident, 20, delivered=1)
    assert [d.host for d in s.delivered()] == ["mx.b.test"] * 2


def test_sources_pools_and_sites_change_under_what_waits(scene):
    """Sources in another order, one gone, one new; a site by another name: mail that waits goes their way."""
    old = "  - { name: one, address: 127.0.0.1 }\n  - { name: two, address: 127.0.0.2 }\n"
    new = "  - { name: three, address: 127.0.0.3 }\n  - { name: two, address: 127.0.0.2 }\n"
    s = scene(host(reply_delay_ms=20), ONE_DOMAIN, config="sources:\n" + old,
              site="max_connections: 2, max_recipients_per_transaction: 1")
    settings = Settings(s)
    ident = submit(s, [f"u{i}@a.test" for i in range(700)])["job"]
    wait_for(lambda: s.daemon.job(ident)["counts"]["delivered"] > 50, 20, "some mail")
    settings.reload((old, new), ("sites:\n", "sites:\n  - { name: own, mx: ['*.a.test'] }\n"))
    wait_for(lambda: {p.get("source") for p in site(s, "own")["paths"]} == {"two", "three"}, 10, "new paths")
    at = s.daemon.job(ident)["counts"]["delivered"] + 50  # what was under way
    s.daemon.wait_counts(ident, 90, delivered=700)
    events = [e for e in s.daemon.events() if e["type"] == "delivered"][at:]
    assert {e["source"] for e in events} == {"two", "three"} and {e["site"] for e in events} == {"own"}
    assert len(s.delivered()) == 700 and {r["attempts"] for r in s.daemon.recipients(ident)} == {0}


def test_tenants_weights_and_rates(scene):
    s = scene(host(reply_delay_ms=5), ONE_DOMAIN, site="max_recipients_per_transaction: 1",
              config="tenants:\n  - { name: acme, max_rate: 10/s }\n")
    ident = submit(s, [f"u{i}@a.test" for i in range(2000)], tenant="acme")["job"]
    wait_for(lambda: s.world.counts("mx.a.test")["messages"] > 5, 20, "some mail")
    assert max(rates(s, "mx.a.test", 2)) < 15
    Settings(s).reload(("max_rate: 10/s", "max_rate: 300/s"))
    assert max(rates(s, "mx.a.test", 3)) > 100
    s.daemon.wait_counts(ident, 60, delivered=2000)


@pytest.mark.parametrize("first", [False, True])
def test_keys_come_with_a_reload(scene, tmp_path, first):
    """The first key of all, or one more: mail that comes from then on is signed with it."""
    for name in ("s1", "s2"):
        subprocess.run(["openssl", "genrsa", "-out", tmp_path / f"{name}.pem", "2048"], check=True,
                       capture_output=True)

    def keys(*names):
        return "dkim:\n" + "".join(f"  - {{ domain: sender.test, selector: {n}, key: {tmp_path}/{n}.pem }}\n"
                                   for n in names)
    s = scene(host(), ONE_DOMAIN)
    settings = Settings(s)
    if not first:
        settings.text += keys("s1")
        settings.reload()
    assert settings.reload(more=keys("s2") if first else "") in (
        {"changed": ["dkim"], "restart": [], "complete": True},
        {"changed": [], "restart": [], "complete": True})
    if not first:
        settings.text = settings.text.replace(keys("s1"), keys("s1", "s2"))
        settings.reload()
    answer = s.daemon.submit(job(require_dkim=True), [f"u{i}@a.test" for i in range(50)])
    assert answer.status == 202, answer
    s.daemon.wait_counts(answer.json["jobs"][0]["job"], 20, delivered=50)
    assert len(s.delivered("mx.a.test")) == 50
