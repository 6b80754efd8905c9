"""DANE: a zone signed by Knot, validated by Unbound, and hosts whose certificates are as their TLSA records
say, or are not."""
import pytest
from certificates import Authority
from daemon import Daemon, job, wait_for
from mailhost import MailHost
from nameserver import Knot, Unbound, lapsed
from test_tls import config, last, send
from test_tlsrpt import report_of

ZONE = """$ORIGIN {origin}.
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
"""
# A host of its own for each, by its last octet.
HOSTS = {"valid": 31, "wrong": 32, "expired": 33, "late": 34, "missing": 35, "bogus": 36, "unusable": 37,
         "plain": 38, "unnamed": 39, "strict": 40, "lapsed": 41}


class Internet:
    """Domains NAME.signed.test, and NAME.open.test at the same hosts, whose zone is not signed."""

    def __init__(self, authority):
        good, other = authority.server("mx.test"), authority.server("mx.test")
        late = authority.server("late.signed.test", "mx-late.signed.test", days=-1)
        contexts = {"wrong": other, "expired": late, "late": late, "plain": None}
        self.hosts, port = {}, 0
        for name, octet in HOSTS.items():
            host = MailHost(f"127.0.7.{octet}", tls=contexts.get(name, good), port=port,
                            requiretls=name == "strict")
            self.hosts[name], port = host, host.port
        self.port = port
        key, ca = authority.tlsa(good), authority.digest()
        records = {"valid": f"3 1 1 {key}", "wrong": f"3 1 1 {key}", "plain": f"3 1 1 {key}",
                   "expired": f"3 1 1 {authority.tlsa(late)}", "strict": f"3 1 1 {key}",
                   "unusable": f"1 1 1 {key}",
                   "late": f"2 0 1 {ca}", "unnamed": f"2 0 1 {ca}"}
        signed, plain = ZONE.format(origin="signed.test"), ZONE.format(origin="open.test")
        for name, octet in HOSTS.items():
            signed += f"{name} MX 10 mx-{name}\nmx-{name} A 127.0.7.{octet}\n"
            plain += f"{name} MX 10 mx-{name}.signed.test.\n"
            signed += f'_smtp._tls.{name} TXT "v=TLSRPTv1; rua=mailto:reports@missing.signed.test"\n'
            if name in records:
                signed += f"_{port}._tcp.mx-{name} TLSA {records[name]}\n"
        zones = {"open.test": plain}
        for name in ("bogus", "lapsed"):  # the records of this host are a zone of their own
            below, ds = f"_tcp.mx-{name}.signed.test", f"1 13 2 {'00' * 32}"
            zones[below] = ZONE.format(origin=below).replace(" ns\n", " ns.signed.test.\n")
            zones[below] = zones[below].replace("ns A", "x A") + f"_{port} TLSA 3 1 1 {key}\n"
            if name == "lapsed":
                zones[below], ds = lapsed(zones[below], below)
            signed += f"{below}. NS ns\n{below}. DS {ds}\n"
        self.knot = Knot({"signed.test": signed, **zones}, signed=["signed.test"])

    def __enter__(self):
        self.knot.__enter__()
        self.unbound = Unbound(self.knot, [self.knot.anchor("signed.test")]).__enter__()
        return self

    def __exit__(self, *_):
        self.unbound.__exit__()
        self.knot.__exit__()
        for host in self.hosts.values():
            host.__exit__()

    def daemon(self, site="", dns="", more=""):
        text = config(self.unbound, self.port, site, more)
        return Daemon(text.replace("timeout: 2s", "timeout: 10s" + dns))


@pytest.fixture(scope="module")
def internet():
    with Authority() as authority, Internet(authority) as made:
        yield made


# What an event says under tls at its end, or the status of the deferral, by policy.
EXPECTED = {
    "may": {"valid": " dane", "wrong": "4.7.5", "expired": " dane", "late": "4.7.5", "missing": "384",
            "bogus": "4.7.5", "unusable": "384", "plain": "4.7.4", "unnamed": "4.7.5", "strict": " dane",
            "lapsed": "4.7.5"},
    "dane": {"valid": " dane", "wrong": "4.7.5", "expired": " dane", "late": "4.7.5", "missing": "4.7.5",
             "bogus": "4.7.5", "unusable": "4.7.5", "plain": "4.7.4", "unnamed": "4.7.5", "strict": " dane",
             "lapsed": "4.7.5"},
}


@pytest.mark.parametrize("policy", EXPECTED)
def test_signed(internet, policy):
    with internet.daemon(f", tls: {policy}") as d:
        jobs = {name: send(d, f"u@{name}.signed.test") for name in HOSTS}
        for name, ident in jobs.items():
            event, expected = last(d, ident), EXPECTED[policy][name]
            if expected.startswith("4."):
                assert (event["type"], event["status"]) == ("deferred", expected), (name, event)
                assert not any(f"u@{name}.signed.test" in r.recipients for r in internet.hosts[name].received)
            else:
                assert event["type"] == "delivered" and event["tls"].endswith(expected), (name, event)
        for host in internet.hosts.values():
            host.received.clear()


def test_what_nobody_vouches_for_counts_for_nothing(internet):
    """The list of hosts is not signed, or the resolver is not trusted: opportunistic TLS to all of them."""
    for zone, dns in (("open", ""), ("signed", ", dnssec: no")):
        with internet.daemon(", tls: may", dns) as d:
            ident = send(d, *(f"u@{name}.{zone}.test" for name in HOSTS))
            d.wait_counts(ident, delivered=len(HOSTS))
            events = [e for e in d.events() if e["type"] == "delivered"]
            assert not any(e["tls"].endswith("dane") for e in events)
            assert [e["to"] for e in events if not e["tls"]] == [f"u@plain.{zone}.test"]
    with internet.daemon(", tls: dane") as d:
        event = last(d, send(d, "u@valid.open.test"))
        assert event["status"] == "4.7.5" and "DNSSEC" in event["reply"]


def test_the_records_of_a_route_are_those_of_the_port_that_its_host_names(internet):
    host = f"mx-valid.signed.test:{internet.port}"
    with internet.daemon(more=f"routes: [{{ domain: routed.test, host: '{host}', tls: dane }}]\n") as d:
        event = last(d, send(d, "u@routed.test"))
        assert event["type"] == "delivered" and event["tls"].endswith(" dane"), event


def test_signed_and_unsigned_mail_to_a_host_do_not_share(internet):
    with internet.daemon() as d:
        lax = send(d, *(f"u{i}@wrong.open.test" for i in range(20)))
        strict = send(d, "u@wrong.signed.test")
        d.wait_counts(lax, delivered=20)
        assert wait_for(lambda: last(d, strict), 30, "an attempt")["status"] == "4.7.5"


def test_a_route_to_a_host_with_a_port_of_its_own(internet):
    """Whose records are asked for, too."""
    daemon = internet.daemon()
    with open(daemon.config, "a", encoding="utf-8") as f:
        f.write(f"routes: [{{ host: 'mx-valid.signed.test:{internet.port}', port: 26, tls: dane }}]\n")
    with daemon as d:
        event = last(d, send(d, "u@elsewhere.test"))
        assert event["type"] == "delivered" and event["tls"].endswith(" dane"), event


def test_requiretls(internet):
    """Over a verified connection to a host that offers it, or not at all."""
    expected = {"strict.signed": None, "valid.signed": "5.7.30", "plain.signed": "5.7.30",
                "strict.open": "5.7.30", "wrong.signed": "4.7.5"}
    host = internet.hosts["strict"]
    for each in internet.hosts.values():
        each.received.clear()
    with internet.daemon() as d:
        usual = send(d, "usual@strict.signed.test")
        d.wait_counts(usual, delivered=1)
        assert host.required == 0
        answer = d.submit(job(require_tls=True), [f"u@{name}.test" for name in expected])
        ident = answer.json["jobs"][0]["job"]
        d.wait_counts(ident, delivered=1, bounced=3, deferred=1)
        said = {r["to"]: r["status"] for r in d.recipients(ident)}
        assert host.required == 1 and d.job(ident)["require_tls"] and d.job(ident)["pool"] == "default"
        for name, status in expected.items():
            if status:
                assert said[f"u@{name}.test"] == status, said
                assert f"u@{name}.test" not in internet.hosts[name.split(".")[0]].recipients()


def test_tls_required_no(internet):
    """Rather delivered than held up by what the receiver publishes."""
    raw = "From: a@sender.test\r\nTo: list@sender.test\r\nSubject: x\r\nTLS-Required: No\r\n\r\nHello\r\n"
    with internet.daemon() as d:
        ident = d.submit(job(message={"raw": raw}), ["u@wrong.signed.test", "u@plain.signed.test"])
        d.wait_counts(ident.json["jobs"][0]["job"], delivered=2)
    assert b"TLS-Required: No" in internet.hosts["plain"].received[-1].content
    assert internet.hosts["wrong"].received[-1].secured


def test_reports(internet):
    """A period is some seconds; each of the domains gets its report, with an entry for its host."""
    inbox = internet.hosts["missing"]
    inbox.received.clear()
    daemon = internet.daemon()
    with open(daemon.config, "a", encoding="utf-8") as f:
        f.write("tls_reports: { enabled: yes, period: 4s }\n")
    with daemon as d:
        send(d, *(f"u@{name}.signed.test" for name in ("valid", "wrong", "bogus", "plain")))
        wait_for(lambda: len(inbox.received) == 4, 60, "the reports")
    found = {}
    for received in inbox.received:
        report = report_of(received)[2]
        found[report["policies"][0]["policy"]["policy-domain"]] = report["policies"][0]
    assert set(found) == {f"mx-{name}.signed.test" for name in ("valid", "wrong", "bogus", "plain")}
    assert found["mx-valid.signed.test"]["summary"]["total-successful-session-count"] == 1
    assert found["mx-valid.signed.test"]["policy"]["policy-string"][0].startswith("3 1 1 ")
    for name, result in (("wrong", "tlsa-invalid"), ("bogus", "dnssec-invalid"),
                         ("plain", "starttls-not-supported")):
        entry = found[f"mx-{name}.signed.test"]
        assert entry["policy"]["policy-type"] == "tlsa"
        assert entry["summary"]["total-failure-session-count"] >= 1
        assert {d["result-type"] for d in entry["failure-details"]} == {result}
