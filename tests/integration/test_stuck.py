"""What once came to a standstill, or hammered a receiver, though nothing held it."""
import time

from conftest import ONE_DOMAIN, ONE_HOST, host
from daemon import PATIENCE, job, wait_for
from sanitizer import limit
from test_delivery import submit

QUICK = "pause: 2s, pause_max: 2s, dead_host_delay: 2s, dead_host_delay_max: 2s"
RETRY = 'retry:\n  - { status: "4", schedule: [1s] }\nworkers: 1\n'
SECOND_HOST = {"name": "mx2.a.test", "address": "127.0.8.3"}
SECOND_DOMAIN = {"name": "b.test", "mx": [[10, "mx2.a.test"]]}


def drained(s, ident, seconds=20):
    def over():
        return s.daemon.job(ident)["queued"] == 0
    try:
        wait_for(over, seconds, "the job to drain")
    except AssertionError as e:
        counts = s.daemon.job(ident)["counts"]
        raise AssertionError(f"{e}: {counts} {s.daemon.get('/v1/sites').body}") from None


def test_a_domain_that_comes_while_its_site_is_paused(scene):
    """It has a pool of its own, born during the pause of the path."""
    fast = {"at": "rcpt", "code": 451, "text": "4.7.0 too fast"}
    s = scene(host(replies=[fast]) + [SECOND_HOST], ONE_DOMAIN + [SECOND_DOMAIN],
              sites='  - { name: both, mx: ["*.a.test"] }\n', site=QUICK, config=RETRY)
    submit(s, ["a@a.test"])
    wait_for(lambda: "pause" in s.daemon.get("/v1/sites").body)
    drained(s, submit(s, ["b@b.test"])["job"], 8)


def test_a_pause_that_begins_while_a_rate_is_waited_for(scene):
    fast = {"at": "rcpt", "code": 451, "text": "4.7.0 too fast", "times": 2, "odds": 0.3}
    s = scene(host(replies=[fast]), ONE_DOMAIN, config=RETRY,
              site=QUICK + ", max_rate: 5/s, max_connections: 2, max_recipients_per_transaction: 1")
    drained(s, submit(s, [f"u{i}@a.test" for i in range(40)])["job"], 40)


def test_a_paused_job_makes_way_for_the_next(scene):
    s = scene(host(banner_delay_ms=2000), ONE_DOMAIN, config=RETRY)
    paused = submit(s, [f"u{i}@a.test" for i in range(3000)])["job"]
    time.sleep(0.5)
    other = submit(s, [f"v{i}@a.test" for i in range(20)])["job"]
    assert s.daemon.post(f"/v1/jobs/{paused}/pause").json["done"]
    drained(s, other, 10)


def test_a_receiver_that_hangs_up_on_one_connection_too_many(scene):
    """Its address is not dead: what waits goes over the connections it took, and it is not asked for more at
    each message."""
    s = scene(host(max_connections=3, over_connections="close", reply_delay_ms=5), ONE_DOMAIN)
    ident = submit(s, [f"u{i}@a.test" for i in range(1000)])["job"]
    drained(s, ident, 40)
    assert not [e for e in s.daemon.events() if e["type"] == "deferred"]
    assert len(s.delivered()) == 1000
    assert s.world.counts("mx.a.test")["connections"]["over_cap"] < 60


def test_a_receiver_that_says_one_connection_too_many(scene):
    s = scene(host(max_connections=3, reply_delay_ms=5), ONE_DOMAIN)
    ident = submit(s, [f"u{i}@a.test" for i in range(1000)])["job"]
    drained(s, ident, 40)
    assert s.world.counts("mx.a.test")["connections"]["over_cap"] < 60


def test_an_idle_connection_makes_way_when_the_window_is_full(scene):
    """Two domains of a site, one connection allowed by what the receiver was heard to say."""
    s = scene([{**h, "group": "g", "max_connections": 2} for h in ONE_HOST + [SECOND_HOST]],
              ONE_DOMAIN + [SECOND_DOMAIN],
              sites='  - { name: both, mx: ["*.a.test"], idle_timeout: 20s }\n', config=RETRY)
    drained(s, submit(s, [f"u{i}@a.test" for i in range(300)])["job"])
    drained(s, submit(s, ["b@b.test"])["job"], 6)


def test_a_slow_site_with_many_domains_leaves_room_for_others(scene):
    """Many domains behind a host that never answers MAIL, as many as may be live at once with some to spare:
    they may keep a share of memory only."""
    many = min(800, limit("LANES_LIVE_MAX") * 3 // 4)
    silent = [{"name": f"s{i}.test", "mx": [[10, "mx.a.test"]]} for i in range(many)]
    others = [{"name": name, "mx": [[10, "mx.b.test"]]} for name in ("b.test", "c.test")]
    s = scene(host(silent_at="mail") + [{"name": "mx.b.test", "address": "127.0.8.3"}], silent + others,
              config=RETRY + "stop_timeout: 1s\n")
    submit(s, [f"u{n}@s{i}.test" for i in range(many) for n in range(120)])
    time.sleep(3)
    drained(s, submit(s, ["x@b.test"], **{"class": "transactional"})["job"], 3)
    drained(s, submit(s, ["x@c.test"])["job"], 3)


def test_a_rate_holds_by_the_second_and_without_a_storm_of_connections(scene):
    """Four pools of one site share its rate: the receiver counts, within any second, no more than was set."""
    hosts = [{"name": f"mx{i}.g.test", "address": f"127.0.8.{i + 3}", "group": "g"} for i in range(4)]
    domains = [{"name": f"d{i}.test", "mx": [[10, f"mx{i % 4}.g.test"]]} for i in range(8)]
    s = scene(hosts, domains, site="max_rate: 50/s", config="workers: 2\n")
    ident = submit(s, [f"u{n}@d{i}.test" for i in range(8) for n in range(25)])["job"]
    drained(s, ident)
    counts = s.world.counts("g")
    assert counts["messages"] == 200 and counts["peak_messages_per_s"] <= 55
    assert counts["connections"]["total"] <= 200


def test_a_domain_that_takes_no_mail_is_asked_for_again_while_busy(scene):
    s = scene(ONE_HOST, [{"name": "a.test", "null_mx": True, "ttl": 5}])
    begin = time.monotonic()
    s.daemon.submit(job(), ["first@a.test"])
    wait_for(lambda: s.daemon.status()["bounced"] == 1, 10, "the bounce")
    s.world.domain("a.test", mx=[[10, "mx.a.test"]], ttl=5)
    while s.world.stats()["totals"]["messages"] == 0:  # its lane never rests
        assert time.monotonic() - begin < 15 * PATIENCE, "the domain was never asked for again"
        s.daemon.submit(job(), [f"u{time.monotonic_ns()}@a.test"])
        time.sleep(0.05)
    assert time.monotonic() - begin > 4


def test_explain_names_the_tenants_rate(scene):
    s = scene(ONE_HOST, ONE_DOMAIN, config="tenants:\n  - { name: slow, max_rate: 1/s }\n")
    submit(s, [f"u{i}@a.test" for i in range(6)], tenant="slow")

    def told():
        why = s.daemon.get("/v1/explain?to=u5@a.test")
        return why.status == 200 and why.json["answers"][0]["limit"] == "tenant_max_rate"
    wait_for(told, 4, "explain to name the tenant's rate")
