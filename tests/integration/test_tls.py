"""TLS to hosts that this project did not write: each policy against each kind of host."""
import ssl

import pytest
from certificates import Authority
from daemon import Daemon, job, wait_for
from mailhost import MailHost
from nameserver import Dnsmasq

RECORDS = ["--local=/test/", "--mx-host=a.test,mx.a.test,10", "--host-record=mx.a.test,127.0.7.11"]


@pytest.fixture(scope="module")
def authority():
    with Authority() as made:
        yield made


def config(dns, port, site="", more=""):
    return (f'dns: {{ servers: ["{dns.server}"], timeout: 2s }}\nsites:\n'
            f"  - {{ name: default, port: {port}, idle_timeout: 1s, dead_host_delay: 1s{site} }}\n"
            f"retry: [{{ status: 4, schedule: [1s] }}]\n{more}")


def send(daemon, *to):
    return daemon.submit(job(), list(to)).json["jobs"][0]["job"]


def last(daemon, ident):
    """The last attempt's event, once there is one."""
    def found():
        return [e for e in daemon.events() if e["job"] == ident and e["type"] in ("delivered", "deferred")]
    return wait_for(found, 30, "an attempt")[-1]


POLICIES = ["none", "may", "encrypt", "verify"]
# What each policy makes of a host: in the clear, encrypted, verified, or the status of the deferral.
TABLE = {
    "plain": ["clear", "clear", "4.7.4", "4.7.4"],
    "good": ["clear", "tls", "tls", "verified"],
    "wrong": ["clear", "tls", "tls", "4.7.5"],
    "expired": ["clear", "tls", "tls", "4.7.5"],
    "broken": ["clear", "clear", "4.7.5", "4.7.5"],
}


def server(authority, kind):
    if kind == "plain":
        return None
    name = "other.test" if kind == "wrong" else "mx.a.test"
    context = authority.server(name, days=-1 if kind == "expired" else 30)
    if kind == "broken":  # nothing that we could agree on
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("PSK-AES128-CBC-SHA")
    return context


@pytest.mark.parametrize("kind", TABLE)
def test_policy(authority, kind):
    with Dnsmasq(*RECORDS) as dns, MailHost("127.0.7.11", tls=server(authority, kind)) as host:
        for policy, expected in zip(POLICIES, TABLE[kind]):
            host.received.clear()
            with Daemon(config(dns, host.port, f", tls: {policy}, tls_ca_file: {authority.file}")) as d:
                event = last(d, send(d, "u@a.test"))
                if expected.startswith("4."):
                    assert event["type"] == "deferred" and event["status"] == expected, event
                    assert not host.received
                    continue
                assert event["type"] == "delivered", event
                assert host.received[0].secured == (expected != "clear")
                assert (event["tls"][:8] == "TLSv1.3 ") == (expected != "clear")
                assert event["tls"].endswith(" verified") == (expected == "verified")


def test_a_failed_handshake_is_remembered(authority):
    with Dnsmasq(*RECORDS) as dns, MailHost("127.0.7.11", tls=server(authority, "broken")) as host:
        with Daemon(config(dns, host.port, ", max_messages_per_connection: 1")) as d:
            ident = send(d, *(f"u{i}@a.test" for i in range(5)))
            d.wait_counts(ident, delivered=5)
            assert len(host.received) == 5 and not any(r.secured for r in host.received)


def test_policies_of_one_host_share_no_connection(authority):
    """A site that must verify and a route that need not, to one host that can't be verified: what fails for
    one is no matter for the other."""
    with Dnsmasq(*RECORDS) as dns, MailHost("127.0.7.11", tls=server(authority, "wrong")) as host:
        routes = f"routes: [{{ domain: b.test, host: mx.a.test, port: {host.port}, tls: encrypt }}]\n"
        with Daemon(config(dns, host.port, f", tls: verify, tls_ca_file: {authority.file}", routes)) as d:
            strict, lax = send(d, "u@a.test"), send(d, *(f"u{i}@b.test" for i in range(20)))
            d.wait_counts(lax, delivered=20)
            assert last(d, strict)["status"] == "4.7.5"
            assert all(r.secured for r in host.received) and "u@a.test" not in host.recipients()


def test_routes_with_implicit_tls_and_a_client_certificate(authority):
    file, key = authority.issue("client.test")
    with Dnsmasq(*RECORDS) as dns, MailHost("127.0.7.11", implicit=True,
                                            tls=authority.server("mx.a.test", client=True)) as host:
        route = (f"host: mx.a.test, port: {host.port}, tls: verify, tls_implicit: yes, tls_ca_file: "
                 f"{authority.file}")
        routes = (f"routes:\n  - {{ domain: a.test, {route}, tls_certificate: {file}, tls_key: {key} }}\n"
                  f"  - {{ domain: b.test, {route} }}\n")
        with Daemon(config(dns, host.port, "", routes)) as d:
            known, unknown = send(d, "u@a.test"), send(d, "u@b.test")
            d.wait_counts(known, delivered=1)
            assert last(d, known)["tls"].endswith(" verified")
            assert last(d, unknown)["type"] == "deferred"
            assert host.recipients() == ["u@a.test"]


def test_tls_files_are_checked_at_the_start(authority, tmp_path):
    daemon = Daemon(f"sites: [{{ name: default, tls_ca_file: {tmp_path}/none.pem }}]\n")
    with pytest.raises(AssertionError, match="none.pem"):
        daemon.start()
