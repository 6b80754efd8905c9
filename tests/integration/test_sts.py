"""MTA-STS: policies from an HTTPS server, and hosts that are as the policy says, or are not."""
import http.server
import threading

import pytest
from certificates import Authority
from daemon import Daemon
from mailhost import MailHost
from nameserver import Dnsmasq
from test_tls import config, last, send


class PolicyHost:
    """Serves one policy over HTTPS; text may be changed, status too. `asked` counts."""

    def __init__(self, address, tls, text, port=0):
        self.text, self.status, self.headers, self.asked = text, 200, {"Content-Type": "text/plain"}, 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked += self.path == "/.well-known/mta-sts.txt"
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(outer.text.encode())

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self):
                connection, peer = self.socket.accept()
                connection.settimeout(60)
                return tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), peer

            def handle_error(self, *_):
                pass  # clients that give up are part of the tests

        self.server = Server((address, port), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def authority():
    with Authority() as made:
        yield made


def policy(mode, mx="mx.a.test", age=86400):
    return f"version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: {age}\r\n"


class Scene:
    """a.test with one mail host and one policy host."""

    def __init__(self, authority, mx="mx.a.test", mx_days=30, web="mta-sts.a.test", web_days=30, text="",
                 tls=True, record="v=STSv1; id=1", records=()):
        self.authority, self.record, self.records = authority, record, records
        self.host = MailHost("127.0.7.41", tls=authority.server(mx, days=mx_days) if tls else None)
        self.web = PolicyHost("127.0.7.42", authority.server(web, days=web_days), text)
        self.serve()

    def serve(self):
        records = ["--local=/test/", "--mx-host=a.test,mx.a.test,10", "--host-record=mx.a.test,127.0.7.41",
                   "--host-record=mta-sts.a.test,127.0.7.42", *self.records]
        records += [f"--txt-record=_mta-sts.a.test,{record}" for record in self.record.split("|") if record]
        self.dns = Dnsmasq(*records).__enter__()

    def daemon(self, directory=None, more=""):
        ca = f"ca_file: {self.authority.file}"
        return Daemon(config(self.dns, self.host.port, f", tls_{ca}",
                             f"mta_sts: {{ {ca}, port: {self.web.port}, timeout: 10s {more} }}\n"), directory)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.dns.__exit__()
        self.web.__exit__()
        self.host.__exit__()


def outcome(d):
    event = last(d, send(d, "u@a.test"))
    if event["type"] == "deferred":
        return event["status"]
    if event["tls"].endswith(" verified"):
        return "verified"
    return "unverified" if event["tls"] else "clear"


CASES = {
    "enforce": ({"text": policy("enforce")}, "verified"),
    "enforce, wrong name": ({"text": policy("enforce"), "mx": "other.test"}, "4.7.5"),
    "enforce, expired": ({"text": policy("enforce"), "mx_days": -1}, "4.7.5"),
    "enforce, host not named": ({"text": policy("enforce", "*.b.test")}, "4.7.5"),
    "enforce, no TLS": ({"text": policy("enforce"), "tls": False}, "4.7.4"),
    "testing": ({"text": policy("testing")}, "verified"),
    "testing, wrong name": ({"text": policy("testing"), "mx": "other.test"}, "unverified"),
    "testing, host not named": ({"text": policy("testing", "*.b.test"), "mx": "other.test"}, "unverified"),
    "testing, no TLS": ({"text": policy("testing"), "tls": False}, "clear"),
    "none": ({"text": policy("none"), "mx": "other.test"}, "unverified"),
    "no record": ({"text": policy("enforce"), "mx": "other.test", "record": ""}, "unverified"),
    "another record beside it": ({"text": policy("enforce"), "record": "v=STSv1; id=1|anything"}, "verified"),
    "two records": ({"text": policy("enforce"), "mx": "other.test",
                     "record": "v=STSv1; id=1|v=STSv1; id=2"}, "unverified"),
    "policy host with a wrong name": ({"text": policy("enforce"), "mx": "other.test", "web": "b.test"},
                                      "unverified"),
    "policy host that has expired": ({"text": policy("enforce"), "mx": "other.test", "web_days": -1},
                                     "unverified"),
    "no policy": ({"text": "<html>", "mx": "other.test"}, "unverified"),
}


@pytest.mark.parametrize("case", CASES)
def test_modes(authority, case):
    arguments, expected = CASES[case]
    with Scene(authority, **arguments) as scene, scene.daemon() as d:
        assert outcome(d) == expected
        assert scene.web.asked <= 1
        if expected == "4.7.5":
            assert d.get("/v1/explain?to=u@a.test").json["answers"][0]["tls"] == "may, MTA-STS enforce"
            assert "TLS: may, MTA-STS enforce" in d.cli("explain", "u@a.test").stdout
            assert d.get("/v1/sites/a.test").json["paths"][0]["tls"] == "may"
            assert "  TLS: may\n" in d.cli("site", "a.test").stdout


@pytest.mark.parametrize("status,headers", [(404, {"Content-Type": "text/plain"}),
                                            (302, {"Location": "https://mta-sts.a.test/policy"}),
                                            (200, {"Content-Type": "text/html"})])
def test_answers_that_are_no_policy(authority, status, headers):
    with Scene(authority, text=policy("enforce"), mx="other.test") as scene, scene.daemon() as d:
        scene.web.status, scene.web.headers = status, headers
        assert outcome(d) == "unverified"
        assert scene.web.asked == 1 and "MTA-STS policy of a.test cannot be had" in d.read_log()


@pytest.mark.parametrize("record,text,status,then,asked", [
    ("", policy("none"), 500, "4.7.5", 1),  # somebody takes the record out of DNS, and the server away
    ("v=STSv1; id=1", policy("none"), 200, "4.7.5", 1),
    ("v=STSv1; id=2", policy("none"), 200, "unverified", 2),
    ("v=STSv1; id=2", policy("none"), 500, "4.7.5", 2)])
def test_a_policy_holds_over_a_restart(authority, record, text, status, then, asked):
    """Whatever becomes of its record and its server; but for a new one."""
    with Scene(authority, text=policy("enforce"), mx="other.test") as scene:
        daemon = scene.daemon()
        with daemon as d:
            assert outcome(d) == "4.7.5"
            d.stop()
            scene.dns.__exit__()
            scene.record, scene.web.text, scene.web.status = record, text, status
            scene.serve()
            with scene.daemon(daemon.directory) as d:
                assert outcome(d) == then
                assert scene.web.asked == asked


def test_policies_that_are_not_looked_for(authority):
    with Scene(authority, text=policy("enforce"), mx="other.test") as scene:
        with scene.daemon(more=", enabled: no") as d:
            assert outcome(d) == "unverified"
            assert scene.web.asked == 0
