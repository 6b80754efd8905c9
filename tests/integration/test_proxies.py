"""Sources that live elsewhere: by way of HAProxy (PROXY protocol, version 2) and microsocks (SOCKS5). What
fails is the proxy's or the receiver's, and is told apart."""
import os
import shutil
import socket
import subprocess

import pytest
from daemon import Daemon, free_port, job, wait_for
from mta import Aiosmtpd

FAST = "sites: [{name: default, idle_timeout: 1s, pause: 300ms, pause_max: 1s, dead_host_delay: 300ms, " \
       "dead_host_delay_max: 1s, connect_timeout: 2s, greeting_timeout: 3s}]\n"
RETRY = 'retry: [{status: "4.4", schedule: [300ms]}]\n'


class Proxy:
    """A process that listens on .address and .port."""

    address = "127.0.7.20"

    def __init__(self, *command, port=None):
        self.port = port or free_port()
        self.command = [word.format(address=self.address, port=self.port) for word in command]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.listens, 20, f"{self.command[0]} to listen")
        return self

    def listens(self):
        assert self.process.poll() is None, f"{self.command[0]} ended"
        try:
            socket.create_connection((self.address, self.port), timeout=2).close()
            return True
        except OSError:
            return False

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)


def microsocks(*more, port=None):
    if not shutil.which("microsocks"):
        pytest.skip("wants microsocks")
    return Proxy("microsocks", *more, "-i", "{address}", "-p", "{port}", port=port)


HAPROXY = """\
defaults
  mode tcp
  timeout connect 3s
  timeout client 60s
  timeout server 60s
listen out
  bind {address}:{port} accept-proxy
  source 0.0.0.0 usesrc clientip
  server any 0.0.0.0
"""


def haproxy(directory):
    if os.geteuid() != 0 or not shutil.which("haproxy"):
        pytest.skip("wants root and haproxy, which sends from addresses that it is told")
    port, path = free_port(), os.path.join(directory, "haproxy.cfg")
    with open(path, "w", encoding="ascii") as file:
        file.write(HAPROXY.format(address=Proxy.address, port=port))
    return Proxy("haproxy", "-db", "-f", path, port=port)


def daemon(*sources, peer, more=""):
    return Daemon(FAST + RETRY + "sources:\n" + "".join(f"  - {{ {source} }}\n" for source in sources) +
                  f"routes: [{{host: {peer.address}, port: {peer.port}, {more}}}]\n")


def submit(daemon, *recipients):
    return daemon.submit(job(), list(recipients) or ["u@a.test"]).json["jobs"][0]["job"]


@pytest.fixture
def receiver():
    """It remembers whom it took connections from."""
    peers = []

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        peers.append(session.peer[0])
        return responses
    with Aiosmtpd(handle_EHLO=handle_EHLO) as peer:
        peer.peers = peers
        yield peer


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "implicit-tls"])
def test_haproxy(tmp_path, tls):
    peers = []

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        peers.append(session.peer[0])
        return responses
    with Aiosmtpd(tls=tls, implicit=tls, handle_EHLO=handle_EHLO) as peer, haproxy(str(tmp_path)) as proxy, \
            daemon(f"name: far, address: 127.0.7.33, proxy: 'haproxy://{proxy.address}:{proxy.port}'",
                   peer=peer, more="tls: encrypt, tls_implicit: yes" if tls else "tls: none") as d:
        d.wait_counts(submit(d, *(f"u{i}@a.test" for i in range(30))), delivered=30)
        assert len(peer.messages()) == 30
        assert set(peers) == {"127.0.7.33"}


@pytest.mark.parametrize("login", [False, True], ids=["open", "login"])
def test_socks(receiver, login, tmp_path):
    (tmp_path / "secret").write_text("pass\n")
    words = ("-u", "tim", "-P", "pass") if login else ()
    user = f", proxy_user: tim, proxy_password_file: {tmp_path}/secret" if login else ""
    with microsocks(*words, "-b", "127.0.7.34") as proxy, \
            daemon(f"name: far, proxy: 'socks5://{proxy.address}:{proxy.port}'{user}", peer=receiver) as d:
        d.wait_counts(submit(d, *(f"u{i}@a.test" for i in range(30))), delivered=30)
        assert len(receiver.messages()) == 30
        assert set(receiver.peers) == {"127.0.7.34"}


def test_a_proxy_that_is_down_costs_no_attempt(receiver):
    port = free_port()
    with daemon(f"name: far, proxy: 'socks5://{Proxy.address}:{port}'", peer=receiver) as d:
        ident = submit(d, *(f"u{i}@a.test" for i in range(5)))
        wait_for(lambda: d.read_log().count("the source far: mail for") >= 2, 20, "two alerts")
        assert f"by way of the proxy socks5://{Proxy.address}:{port}: Connection refused" in d.read_log()
        assert all(r.get("attempts", 0) == 0 for r in d.recipients(ident))
        assert d.job(ident)["counts"]["deferred"] == 0
        with microsocks(port=port):
            d.wait_counts(ident, delivered=5)


def test_a_wrong_password_costs_no_attempt(receiver, tmp_path):
    (tmp_path / "secret").write_text("wrong\n")
    with microsocks("-u", "tim", "-P", "pass") as proxy, \
            daemon(f"name: far, proxy: 'socks5://{proxy.address}:{proxy.port}', proxy_user: tim, "
                   f"proxy_password_file: {tmp_path}/secret", peer=receiver) as d:
        ident = submit(d)
        wait_for(lambda: "it refuses user and password" in d.read_log(), 20, "the alert")
        (tmp_path / "secret").write_text("pass\n")
        d.wait_counts(ident, delivered=1)
        assert "wrong" not in d.read_log()


def test_a_silent_proxy_is_no_dead_receiver(receiver):
    with socket.create_server((Proxy.address, 0)) as silent:
        port = silent.getsockname()[1]
        with daemon(f"name: far, proxy: 'socks5://{Proxy.address}:{port}'", peer=receiver) as d:
            ident = submit(d)
            wait_for(lambda: "timed out after 2 s" in d.read_log(), 20, "the alert")
            assert d.job(ident)["counts"]["deferred"] == 0
            wait_for(lambda: "by way of the proxy" in str(d.get("/v1/explain?to=u@a.test").json), 20,
                     "explain to tell")


def test_other_sources_go_on(receiver):
    far = f"name: far, proxy: 'haproxy://{Proxy.address}:{free_port()}', address: 127.0.7.33"
    with daemon("name: near", far, peer=receiver) as d:
        ident = submit(d, *(f"u{i}@a.test" for i in range(40)))
        d.wait_counts(ident, delivered=40)
        assert {e["source"] for e in d.events() if e["type"] == "delivered"} == {"near"}


def test_a_dead_receiver_behind_socks_is_the_receivers(receiver):
    with microsocks() as proxy:
        gone = Aiosmtpd()
        with gone:
            pass
        with daemon(f"name: far, proxy: 'socks5://{proxy.address}:{proxy.port}'", peer=gone) as d:
            ident = submit(d)
            d.wait_counts(ident, deferred=1)
            deferred = [e for e in d.events() if e["type"] == "deferred"][0]
            assert deferred["status"] == "4.4.1" and deferred["attempt"] == 1
            assert "by way of socks5://" in deferred["reply"] and "connection refused" in deferred["reply"]
            assert "the source far" not in d.read_log()
