"""`postrider probe`: what it finds out about hosts that this project did not write, that nothing is sent, and
that hostile hosts don't hold it up."""
import base64
import json
import os
import shutil
import subprocess
import time

import pytest
from certificates import Authority
from daemon import BUILD, free_port
from dovecot import Dovecot
from hostile import POLITE, Hosts
from mta import Aiosmtpd, Exim, Postfix, certificate
from nameserver import Dnsmasq
from sanitizer import PATIENCE, limit
from test_dane import Internet
from test_hostile import WRONG, at
from test_interop import skip_without_mounts
from test_proxies import haproxy, microsocks, receiver  # noqa: F401: a fixture
from test_routes import SECRET, aiosmtpd, authenticator
from test_routes import routes as table
from test_sts import Scene as Policies
from test_sts import policy

RECORDS = ["--local=/test/", "--mx-host=a.test,mx.a.test,10", "--mx-host=a.test,gone.a.test,20",
           "--host-record=mx.a.test,127.0.7.1"]


def run(*args, timeout=60, env=None):
    return subprocess.run([os.path.join(BUILD, "postrider"), "probe", *map(str, args)], text=True,
                          capture_output=True, timeout=timeout * PATIENCE, env={**os.environ, **(env or {})})


class Scene:
    """A peer, and DNS that leads to it."""

    def __init__(self, peer, records=RECORDS):
        self.peer, self.dns = peer, Dnsmasq(*records)

    def __enter__(self):
        self.peer.__enter__()
        self.dns.__enter__()
        return self

    def __exit__(self, *failure):
        self.dns.__exit__(*failure)
        self.peer.__exit__(*failure)

    def probe(self, *args, **kw):
        return run(*args, "--servers", self.dns.server, "--port", self.peer.port, **kw)

    def json(self, *args, code=0, **kw):
        ran = self.probe(*args, "--json", **kw)
        assert ran.returncode == code, ran
        return json.loads(ran.stdout)


def steps(talk):
    return {step["step"]: step for step in talk["steps"]}


def talk(answer, host=0):
    """The one talk with one of its hosts."""
    one, = answer["hosts"][host]["talks"]
    return one


def test_a_host_with_tls():
    with Scene(Aiosmtpd(tls=True)) as scene:
        answer = scene.json("a.test")
        assert answer["domain"] == "a.test" and answer["status"] == "ok"
        host, (_, gone) = talk(answer), answer["hosts"]
        assert host["answered"] and host["address"] == "127.0.7.1" and answer["route"] is None
        assert answer["hosts"][0]["port"] == scene.peer.port
        assert [step["step"] for step in host["steps"]] == [
            "connect", "greeting", "EHLO", "STARTTLS", "TLS", "EHLO", "HELP", "VRFY", "EXPN", "QUIT"]
        assert all(step["ms"] >= 0 for step in host["steps"])
        said = steps(host)
        assert said["greeting"]["code"] == 220 and said["HELP"]["code"] == 250
        assert said["VRFY"]["code"] == 252
        assert said["EXPN"]["code"] == 502 and said["EXPN"]["status"][0] == "5"
        assert {"8BITMIME", "SMTPUTF8", "SIZE 50000000"} <= set(host["extensions"])
        assert "STARTTLS" not in host["extensions"] and host["size"] == 50_000_000
        assert host["tls"]["version"].startswith("TLSv1.3 ")
        told = host["tls"]["certificate"]
        assert told["subject"] == told["issuer"] == "CN=mx.a.test" and told["names"] == "mx.a.test"
        assert not told["verified"] and told["reason"] == "self-signed certificate"
        assert told["begins"] < time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) < told["expires"]
        assert gone["status"] == "no_domain" and gone["talks"] == [] and "accepted" not in host
        assert scene.peer.envelopes == []


def test_a_certificate_that_is_trusted(tmp_path):
    """By its authority, where it is for this host."""
    for name, reason in (("mx.a.test", ""), ("other.test", "hostname mismatch")):
        directory = tmp_path / name
        directory.mkdir()
        trusted, key = certificate(str(directory), name)
        with Scene(Aiosmtpd(tls=(trusted, key))) as scene:
            told = talk(scene.json("a.test", env={"SSL_CERT_FILE": trusted}))["tls"]["certificate"]
            assert told["reason"].lower() == reason and told["verified"] == (reason == "")


def test_rcpt_asks_and_sends_nothing():
    with Scene(Aiosmtpd()) as scene:
        good = talk(scene.json("u@a.test", "--rcpt"))
        assert good["accepted"] is True and good["tls"] is None
        assert [step["step"] for step in good["steps"]][-4:] == ["MAIL", "RCPT", "RSET", "QUIT"]
        bad = scene.probe("no@a.test", "--rcpt", "--json")
        host = talk(json.loads(bad.stdout))
        assert bad.returncode == 1 and bad.stderr == "postrider: no@a.test is not accepted\n"
        assert host["accepted"] is False and steps(host)["RCPT"]["status"] == "5.1.1"
        assert talk(scene.json("jörg@a.test", "--rcpt", "--from", "me@sender.test"))["accepted"] is True
        assert scene.peer.envelopes == []


def test_for_people():
    with Scene(Aiosmtpd(tls=True)) as scene:
        ran = scene.probe("u@a.test", "--rcpt")
        assert ran.returncode == 0 and ran.stderr == ""
        for line in ("10 mx.a.test", "20 gone.a.test: no such domain", "127.0.7.1  greeting ",
                     "mailbox      accepted", "TLS          TLSv1.3 ", "certificate  CN=mx.a.test",
                     "  verified   no: self-signed certificate"):
            assert line in ran.stdout, ran.stdout


def test_the_conversation():
    with Scene(Aiosmtpd(tls=True)) as scene:
        ran = scene.probe("u@a.test", "--rcpt", "--trace")
        for line in ("  > EHLO ", "  < 250 HELP\n", "  > STARTTLS\n", "  > VRFY u@a.test\n",
                     "  > RCPT TO:<u@a.test>\n", "  > RSET\n", "  > QUIT\n"):
            assert line in ran.stdout, ran.stdout
        assert "> DATA" not in ran.stdout
        assert ran.stdout.count("  127.0.7.1\n") == 1
        trace = talk(scene.json("a.test", "--trace"))["trace"]
        assert trace[0]["line"].startswith("220 mx.a.test") and not trace[0]["sent"]
        assert trace[1]["line"].startswith("EHLO ") and trace[1]["sent"]


def test_it_speaks_as_configured(tmp_path):
    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        seen.append((hostname, session.peer[0]))
        return responses
    seen = []
    with Scene(Aiosmtpd(handle_EHLO=handle_EHLO)) as scene:
        config = tmp_path / "postrider.yaml"
        config.write_text(f"hostname: mta.sender.test\ndns: {{ servers: [\"{scene.dns.server}\"] }}\n"
                          f"sites:\n  - {{ name: default, port: {scene.peer.port} }}\nsources:\n"
                          "  - { name: a, address: 127.0.0.3 }\n"
                          "  - { name: b, address: 127.0.0.4, ehlo: b.test }\n")
        assert run("a.test", "--config", config).returncode == 0
        assert run("a.test", "--config", config, "--source", "b").returncode == 0
        assert seen == [("mta.sender.test", "127.0.0.3"), ("b.test", "127.0.0.4")]
        missing = run("a.test", "--config", config, "--source", "c")
        assert missing.returncode == 1 and "there is no source 'c'" in missing.stderr


@pytest.mark.parametrize("kind", [Postfix, Exim], ids=lambda kind: kind.name)
def test_real_hosts(kind):
    skip_without_mounts()
    with Scene(kind(tls=True)) as scene:
        host = talk(scene.json("u@a.test", "--rcpt"))
        assert host["accepted"] is True and "PIPELINING" in host["extensions"]
        assert host["tls"]["version"].startswith("TLSv1.3 ")
        assert talk(scene.json("no@a.test", "--rcpt", code=1))["accepted"] is False
        assert scene.peer.messages() == []


def test_what_dane_asks():
    """The verdicts, and whether what the host shows matches; what does not is spoken to all the same."""
    expected = {"valid": ("required", True), "wrong": ("required", False), "expired": ("required", True),
                "late": ("required", False), "missing": ("absent", None), "bogus": ("bogus", None),
                "unusable": ("unusable", None), "plain": ("required", None), "unnamed": ("required", False),
                "strict": ("required", True), "lapsed": ("bogus", None)}
    with Authority() as authority, Internet(authority) as internet:
        for name, (verdict, matched) in expected.items():
            ran = run(f"{name}.signed.test", "--servers", internet.unbound.server, "--port", internet.port,
                      "--json")
            answer = json.loads(ran.stdout)
            host, = answer["hosts"]
            assert ran.returncode == 0 and talk(answer)["answered"]
            assert (host["dane"]["verdict"], talk(answer)["dane_matched"]) == (verdict, matched), name
            assert (host["dane"]["reason"] != "") == (verdict == "bogus")
            assert (len(host["dane"]["records"]) == 1) == (verdict == "required")
        ran = run("wrong.signed.test", "--servers", internet.unbound.server, "--port", internet.port)
        assert "DANE         required, and no record matches" in ran.stdout
        ran = run("valid.open.test", "--servers", internet.unbound.server, "--port", internet.port, "--json")
        assert json.loads(ran.stdout)["hosts"][0]["dane"]["verdict"] == "absent"


@pytest.mark.parametrize("arguments, mode, verdict, met", [
    ({"text": policy("enforce")}, "enforce", "required", True),
    ({"text": policy("testing"), "mx": "other.test"}, "testing", "required", False),
    ({"text": policy("enforce", "*.b.test")}, "enforce", "refused", None),
    ({"text": policy("enforce"), "web": "b.test"}, None, "absent", None),
    ({"text": policy("enforce"), "record": ""}, None, "absent", None),
])
def test_what_mta_sts_asks(arguments, mode, verdict, met, tmp_path):
    with Authority() as authority, Policies(authority, **arguments) as scene:
        config = tmp_path / "postrider.yaml"
        config.write_text(f"mta_sts: {{ ca_file: {authority.file}, port: {scene.web.port} }}\n")
        ran = run("a.test", "--config", config, "--servers", scene.dns.server, "--port", scene.host.port,
                  "--json", env={"SSL_CERT_FILE": authority.file})
        answer = json.loads(ran.stdout)
        host, = answer["hosts"]
        if arguments.get("record") == "":
            assert answer["mta_sts"] is None
        else:
            assert answer["mta_sts"]["id"] == "1" and answer["mta_sts"].get("mode") == mode
            assert ("error" in answer["mta_sts"]) == (mode is None)
        assert (host["mta_sts"], talk(answer)["mta_sts_met"]) == (verdict, met)


def several(*addresses):
    """RECORDS, whose host has these addresses."""
    return ["--local=/test/", "--mx-host=a.test,mx.a.test,10",
            *(f"--host-record=mx.a.test,{address}" for address in addresses)]


def test_every_address():
    """Of both families, also where the first ones answer, or nobody does."""
    with Aiosmtpd(address="127.0.7.1") as peer, Aiosmtpd(address="::1", port=peer.port), \
            Dnsmasq(*several("127.0.7.1", "127.0.7.2", "::1")) as dns:
        ran = run("u@a.test", "--rcpt", "--servers", dns.server, "--port", peer.port, "--json")
        talks = json.loads(ran.stdout)["hosts"][0]["talks"]
        assert ran.returncode == 0 and len(talks) == 3
        told = {one["address"]: one for one in talks}
        assert told["127.0.7.1"]["accepted"] is True and told["::1"]["accepted"] is True
        refused = told["127.0.7.2"]
        assert not refused["answered"] and "Connection refused" in steps(refused)["connect"]["error"]
        ran = run("a.test", "--servers", dns.server, "--port", peer.port)
        for line in ("127.0.7.1  greeting ", "127.0.7.2  connect ", "::1      greeting "):
            assert line in ran.stdout, ran.stdout


def test_so_many_addresses_and_no_more():
    asked = limit("PROBE_HOST_TALKS_MAX")
    found = min(12, limit("HOST_ADDRESSES_MAX"))
    with Dnsmasq(*several(*(f"127.0.7.{100 + i}" for i in range(12)))) as dns:
        port = free_port()
        ran = run("a.test", "--servers", dns.server, "--port", port, "--json")
        host, = json.loads(ran.stdout)["hosts"]
        assert len(host["addresses"]) == found and len(host["talks"]) == asked
        more = f"({found - asked} more of its addresses were not asked)"
        assert more in run("a.test", "--servers", dns.server, "--port", port).stdout


class Routed:
    """A configuration with a route to this peer; .secret is the file of its password."""

    def __init__(self, directory, peer, *routes):
        self.secret, self.config = directory / "secret", directory / "postrider.yaml"
        self.secret.write_text(SECRET)
        values = {"host": peer.address, "port": peer.port,
                  "login": f"user: tim, password_file: {self.secret}"}
        self.config.write_text(table(*(route.format(**values) for route in routes)))

    def json(self, *args, code=0):
        ran = run(*args, "--config", self.config, "--json")
        assert ran.returncode == code, ran
        return json.loads(ran.stdout)


def test_a_route_and_its_login(tmp_path):
    logins = []
    with aiosmtpd(logins) as peer:
        routed = Routed(tmp_path, peer, "domain: '*.test', host: '{host}:{port}', {login}")
        answer = routed.json("u@a.test", "--rcpt", "--trace")
        assert answer["route"] == {"domain": "*.test", "sender": "", "tenant": "", "protocol": "smtp",
                                   "tls_implicit": False, "user": "tim"}
        assert answer["hosts"][0]["host"] == peer.address and answer["hosts"][0]["port"] == peer.port
        assert talk(answer)["accepted"] is True and steps(talk(answer))["AUTH"]["code"] == 235
        assert logins == ["LOGIN"] or logins == ["PLAIN"]
        said = run("u@a.test", "--config", routed.config, "--trace").stdout
        assert "by the route for *.test\n" in said and f"{peer.address}, port {peer.port}\n" in said
        for text in (SECRET, base64.b64encode(SECRET.encode()).decode()[:-4]):
            assert text not in said and text not in json.dumps(answer)
        assert "bytes hidden)" in said
        routed.secret.write_text("wrong")
        answer = routed.json("u@a.test", "--rcpt", code=1)
        assert steps(talk(answer))["AUTH"]["code"] == 535 and talk(answer)["accepted"] is False
        assert peer.envelopes == []


def test_no_login_in_the_clear(tmp_path):
    logins = []
    server = {"authenticator": authenticator(logins), "auth_require_tls": False}
    with Aiosmtpd(server=server) as peer:
        routed = Routed(tmp_path, peer, "host: '{host}:{port}', {login}")
        answer = routed.json("u@a.test")
        assert "not encrypted" in steps(talk(answer))["AUTH"]["error"] and logins == []


def test_a_route_with_implicit_tls(tmp_path):
    with Authority() as authority, \
            Aiosmtpd(tls=authority.issue("127.0.7.1"), implicit=True) as peer:
        routed = Routed(tmp_path, peer, "host: {host}, port: {port}, tls: verify, tls_implicit: yes, "
                        f"tls_ca_file: {authority.file}")
        one = talk(routed.json("u@a.test"))
        assert [step["step"] for step in one["steps"]][:4] == ["connect", "TLS", "greeting", "EHLO"]
        assert one["tls"]["certificate"]["verified"]


def test_which_route(tmp_path):
    """By recipient domain, sender and tenant; else by MX."""
    with Aiosmtpd() as peer:
        routed = Routed(tmp_path, peer, "domain: a.test, tenant: acme, host: '{host}:{port}'",
                        "domain: b.test, sender: brand.test, host: '{host}:{port}'")
        with Dnsmasq(*RECORDS) as dns:
            for args, route in ((["a.test", "--tenant", "acme"], "a.test"), (["a.test"], None),
                                (["b.test", "--from", "news@brand.test"], "b.test"),
                                (["a.test", "--tenant", "acme", "--from", "x@y.test"], "a.test")):
                answer = json.loads(run(*args, "--config", routed.config, "--servers", dns.server, "--port",
                                        peer.port, "--json").stdout)
                assert (answer["route"] or {}).get("domain") == route, args
                assert talk(answer)["answered"]


@pytest.mark.parametrize("kind", ["socks", "haproxy"])
def test_a_source_behind_a_proxy(tmp_path, kind, receiver):
    """The host sees the address that mail would come from."""
    (tmp_path / "pass").write_text("pass")
    with Dnsmasq(*RECORDS) as dns, \
            (microsocks("-u", "tim", "-P", "pass", "-b", "127.0.7.34") if kind == "socks" else
             haproxy(str(tmp_path))) as proxy:
        scheme, more = ("socks5", f", proxy_user: tim, proxy_password_file: {tmp_path}/pass")
        if kind == "haproxy":
            scheme, more = "haproxy", ", address: 127.0.7.34"
        config = tmp_path / "postrider.yaml"
        config.write_text("sources:\n"
                          f"  - {{ name: far, proxy: '{scheme}://{proxy.address}:{proxy.port}'{more} }}\n")
        args = ["u@a.test", "--config", config, "--servers", dns.server, "--port", receiver.port, "--json"]
        assert talk(json.loads(run(*args).stdout))["answered"] and receiver.peers == ["127.0.7.34"]
        (tmp_path / "pass").write_text("wrong")
        if kind == "socks":
            said = steps(talk(json.loads(run(*args).stdout)))["connect"]["error"]
            assert "by way of socks5://" in said and "refuses user and password" in said


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("dovecot"), reason="wants root and dovecot")
def test_a_route_by_lmtp(tmp_path):
    with Dovecot({"ada": SECRET}) as dovecot:
        config = tmp_path / "postrider.yaml"
        config.write_text(f"routes: [{{ host: unix:{dovecot.lmtp_socket}, protocol: lmtp }}]\n")
        for who, code in (("ada", 0), ("nobody", 1)):
            ran = run(f"{who}@a.test", "--config", config, "--rcpt", "--json")
            answer = json.loads(ran.stdout)
            assert ran.returncode == code and answer["route"]["protocol"] == "lmtp"
            assert talk(answer)["address"] == f"unix:{dovecot.lmtp_socket}" and steps(talk(answer))["LHLO"]
        assert dovecot.messages() == []


def test_nobody_there():
    with Dnsmasq(*RECORDS, "--mx-host=null.test,.,0") as dns:
        port = free_port()
        ran = run("a.test", "--servers", dns.server, "--port", port)
        assert ran.returncode == 1 and "connect" in ran.stdout and "Connection refused" in ran.stdout
        assert ran.stderr == "postrider: a.test: no mail host took the conversation as far as EHLO\n"
        ran = run("none.test", "--servers", dns.server)
        assert ran.returncode == 1 and ran.stderr.startswith("postrider: none.test: ")


@pytest.mark.parametrize("args, text", [
    (["a..b"], "probe: 'a..b' is no domain or address"),
    (["a@b@c d"], "is no domain or address"),
    (["a.test", "--port", "0"], "--port takes a number up to 65535"),
    (["a.test", "--timeout", "10"], "--timeout takes a duration"),
    (["a.test", "--from", "nobody"], "--from 'nobody' is no address"),
])
def test_usage(args, text):
    ran = run(*args)
    assert ran.returncode == 2 and text in ran.stderr


def test_hostile_hosts():
    """Each step has its time-out, whatever comes; what is told of it is JSON."""
    behaviours = {f"{name}-{step.lower() or 'greeting'}": at(step, wrong) for name, wrong in WRONG.items()
                  for step in ("", "EHLO", "VRFY", "RCPT")}
    answers = {**POLITE, "VRFY": b"252 maybe\r\n", "HELP": b"214 no\r\n", "EXPN": b"252 maybe\r\n"}
    with Hosts(behaviours, dict.fromkeys(behaviours, answers)) as hosts, Dnsmasq(*hosts.records) as dns:
        running = [subprocess.Popen(
            [os.path.join(BUILD, "postrider"), "probe", f"u@{name}.test", "--rcpt", "--trace", "--json",
             "--timeout", "1s", "--port", str(hosts.port), "--servers", dns.server],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for name in behaviours]
        for name, process in zip(behaviours, running):
            out, err = process.communicate(timeout=60 * PATIENCE)
            assert process.returncode in (0, 1) and err.count("\n") <= 1, (name, err)
            host = talk(json.loads(out))
            trusted = name.startswith(("ok-", "one-too-many-", "endless-replies-", "all-at-once-"))
            assert host.get("accepted") is not True or trusted or name.endswith("-vrfy"), name
