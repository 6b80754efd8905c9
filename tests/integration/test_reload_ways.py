"""A reload while mail is on its way through a route that logs in, or from a source behind a proxy: the way is
changed, then taken away. From then on nothing goes the old way, and nothing is lost, repeated or tried
again."""
import asyncio

import pytest
from conftest import ONE_DOMAIN, host
from daemon import wait_for
from mta import Aiosmtpd
from test_delivery import submit
from test_proxies import haproxy, microsocks
from test_reload import Settings

TOTAL = 400
AHEAD = 20  # come while a test reloads, if that takes long enough
SITE = "max_connections: 2, max_recipients_per_transaction: 1"
PASSWORDS = {"tim": "correct horse", "tom": "battery staple"}


class Receiver(Aiosmtpd):
    """It is slow, so that mail is always under way, and keeps of each message which way it came: who had
    logged in, or else from which address. Mail that is more than a test has asked for so far gets no reply
    yet: it does not run out, however long a reload takes."""

    def __init__(self, **options):
        self.ways, self.most = [], AHEAD

        async def handle_DATA(handler, server, session, envelope):
            await asyncio.sleep(0.01)
            while len(self.ways) >= self.most:
                await asyncio.sleep(0.01)
            self.ways.append(session.auth_data or session.peer[0])
            self.envelopes.append(envelope)
            return "250 2.0.0 kept"
        super().__init__(handle_DATA=handle_DATA, **options)

    def route(self, more="tls: none"):
        return f"routes:\n  - {{ domain: a.test, host: {self.address}, port: {self.port}, {more} }}\n"

    def some(self, way, count=60):
        """Waits until so many have come this way."""
        self.most = self.at_once() + count - self.ways.count(way) + AHEAD
        wait_for(lambda: self.ways.count(way) >= count, 60, f"{count} by way of {way}, not {set(self.ways)}")

    def at_once(self):
        """How many will have come when what is under way has: two messages each of two sessions."""
        return len(self.ways) + 4


@pytest.fixture
def peer():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def relay(tmp_path):
    """It wants a login; .route(user) and a file by that user's name."""
    def check(server, session, envelope, mechanism, data):
        from aiosmtpd.smtp import AuthResult
        user = data.login.decode()
        good = PASSWORDS.get(user) == data.password.decode()
        return AuthResult(success=good, handled=good, auth_data=user)

    for user, password in PASSWORDS.items():
        (tmp_path / user).write_text(password + "\n")
    with Receiver(tls=True, server={"authenticator": check, "auth_required": True}) as receiver:
        way = receiver.route
        receiver.route = lambda user, file=None: way(
            f"tls: encrypt, user: {user}, password_file: {tmp_path}/{file or user}")
        yield receiver


def start(scene, peer, config):
    """Mail under way; the scene, its settings and the job."""
    s = scene(host(), ONE_DOMAIN, site=SITE, config=config)
    ident = submit(s, [f"u{i}@a.test" for i in range(TOTAL)])["job"]
    return s, Settings(s), ident


def change(settings, peer, way, *changes):
    """Reloads, and sees that all comes this way after what was under way."""
    settings.reload(*changes)
    at = peer.at_once()
    peer.some(way)
    assert set(peer.ways[at:]) == {way}


def all_came_once(s, ident, peer):
    peer.most = TOTAL
    s.daemon.wait_counts(ident, 120, delivered=TOTAL)
    assert {r["attempts"] for r in s.daemon.recipients(ident)} == {0}
    came = [m.recipient for m in peer.messages()] + [d.recipient for d in s.delivered()]
    assert sorted(came) == sorted(f"u{i}@a.test" for i in range(TOTAL))


def test_a_route_that_logs_in(relay, scene):
    s, settings, ident = start(scene, relay, relay.route("tim"))
    relay.some("tim")
    change(settings, relay, "tom", (relay.route("tim"), relay.route("tom")))
    settings.reload((relay.route("tim"), ""))
    most = relay.at_once()
    all_came_once(s, ident, relay)
    assert len(relay.ways) <= most < TOTAL  # the rest went to the domain's own host
    assert not any(password in s.daemon.read_log() for password in PASSWORDS.values())


def test_a_route_whose_password_was_wrong(relay, scene):
    """What waits for the operator goes at once when a reload names the right file, whatever the delay."""
    s = scene(host(), ONE_DOMAIN, site="dead_host_delay: 10m", config=relay.route("tim", "tom"))
    ident = submit(s, ["u@a.test"])["job"]
    wait_for(lambda: "mail waits: 5.7.8" in s.daemon.read_log(), 20, "the login to fail")
    Settings(s).reload((relay.route("tim", "tom"), relay.route("tim")))
    s.daemon.wait_counts(ident, 20, delivered=1)
    assert relay.ways == ["tim"] and s.daemon.recipients(ident)[0]["attempts"] == 0


def test_a_source_behind_socks(peer, scene):
    """Of two proxies the first is over as soon as nothing is to go by way of it any more."""
    def source(proxy):
        way = f", proxy: 'socks5://{proxy.address}:{proxy.port}'" if proxy else ""
        return f"sources:\n  - {{ name: far, address: 127.0.7.33{way} }}\n"
    with microsocks("-b", "127.0.7.35") as second:
        with microsocks("-b", "127.0.7.34") as first:
            config = source(first)
            s, settings, ident = start(scene, peer, peer.route() + config)
            peer.some("127.0.7.34")
            change(settings, peer, "127.0.7.35", (config, source(second)))
        peer.some("127.0.7.35", 120)
        change(settings, peer, "127.0.7.33", (config, source(None)))
        all_came_once(s, ident, peer)


def test_a_source_behind_haproxy(peer, scene, tmp_path):
    """Its address changes, then the proxy goes, then the whole source."""
    with haproxy(str(tmp_path)) as proxy:
        way = f", proxy: 'haproxy://{proxy.address}:{proxy.port}'"
        source = f"sources:\n  - {{ name: far, address: 127.0.7.33{way} }}\n"
        s, settings, ident = start(scene, peer, peer.route() + source)
        peer.some("127.0.7.33")
        change(settings, peer, "127.0.7.36", ("127.0.7.33", "127.0.7.36"))
        change(settings, peer, "127.0.7.37", (source, source.replace(way, "").replace("33", "37")))
        change(settings, peer, "127.0.7.38", (source, "sources: [{ name: near, address: 127.0.7.38 }]\n"))
        all_came_once(s, ident, peer)
