"""Sessions of one site lent to other workers (engine/route/loan.h): the receiver counts the same limits as
ever, and whatever stops mail reaches the borrowers too. `lending: always` lends whenever there is a backlog,
so that the machine need not be saturated."""
import re
import time

from conftest import ONE_DOMAIN, ONE_HOST, host
from daemon import PATIENCE, PLAIN, RAW, job, wait_for
from test_delivery import ends, no_violations, submit

LENDING = "workers: 3\nlending: always\n"
SITE = "/v1/sites/a.test"


def borrowers(s):
    """The paths of workers to which sessions of the site are lent and that have some."""
    answer = s.daemon.get(SITE)
    paths = answer.json["paths"] if answer.status == 200 else []
    return [p for p in paths if p["max_connections"] == 0 and p["connections"] > 0]


def wait_lent(s, workers=2, seconds=20):
    wait_for(lambda: len(borrowers(s)) >= workers, seconds, f"{workers} workers to have borrowed")


def people(n, domain="a.test"):
    return [f"u{i}@{domain}" for i in range(n)]


def test_limits_hold_as_the_receiver_counts_them(scene):
    s = scene(host(max_connections=9, messages_per_connection=50, reply_delay_ms=2), ONE_DOMAIN,
              config=LENDING, site="max_connections: 9, max_messages_per_connection: 50")
    ident = submit(s, people(12000))["job"]
    most, seen, end = 0, 0, time.monotonic() + 60 * PATIENCE
    while s.daemon.job(ident)["counts"]["delivered"] < 12000 and time.monotonic() < end:
        answer = s.daemon.get(SITE)
        if answer.status != 200:
            continue
        site = answer.json
        seen = max(seen, len({p["worker"] for p in site["paths"] if p["connections"]}))
        most = max(most, sum(p["connections"] for p in site["paths"]))
        assert site["max_connections"] == 9 and site["connections"] <= 9 and site["window"] <= 9
        time.sleep(0.01)
    assert seen == 3 and most == 9
    counts = s.world.counts("mx.a.test")
    assert counts["connections"]["max"] <= 9 and counts["connections"]["over_cap"] == 0, counts
    assert counts["messages"] == 12000 and counts["rejected"] == {}, counts
    no_violations(s)
    assert len(ends(s, ident)) == 12000
    wait_for(lambda: s.daemon.get(SITE).json["lent"] == 0, 10, "the loans to come back")
    site = s.daemon.get(SITE).json
    assert site["delivered"] == 12000 == site["rate_1m"], site  # also what borrowers did


def test_rates_hold_over_all_workers(scene):
    s = scene(ONE_HOST, ONE_DOMAIN, config=LENDING,
              site="max_connections: 30, max_rate: 400/s, max_connection_rate: 20/s, "
                   "max_messages_per_connection: 30")
    ident = submit(s, people(2400))["job"]
    begin = time.monotonic()
    wait_lent(s)
    s.daemon.wait_counts(ident, 60, delivered=2400)
    took = time.monotonic() - begin
    counts = s.world.counts("mx.a.test")
    # In any second: the rate, and the burst of 10 ms, and what a late timer of this machine lets pile up.
    assert counts["peak_messages_per_s"] <= 400 * 1.1 + 10, counts
    assert counts["connections"]["peak_per_s"] <= 20 * 1.1 + 2, counts
    assert took >= 2400 / 400 * 0.8, took
    no_violations(s)


def test_a_pause_reaches_the_borrowers(scene):
    s = scene(host(reply_delay_ms=5), ONE_DOMAIN, config=LENDING, site="max_connections: 12")
    ident = submit(s, people(20000))["job"]
    wait_lent(s)
    s.world.host("mx.a.test", "replies",
                 [{"at": "mail", "code": 421, "text": "4.7.28 unusual rate of mail from you"}])
    wait_for(lambda: s.daemon.get(SITE).json["blocked_by"] == "pause", 10, "the pause")
    wait_for(lambda: s.daemon.get(SITE).json["connections"] == 0, 10, "the sessions to end")
    refused = s.world.counts("mx.a.test")["rejected"]["421"]
    # What was on the wire, two messages a session at most (and the sessions that were still opening).
    assert refused <= 3 * 12, refused
    delivered = s.world.counts("mx.a.test")["messages"]
    time.sleep(1)
    after = s.world.counts("mx.a.test")
    assert (after["rejected"]["421"], after["messages"]) == (refused, delivered)
    why = s.daemon.get("/v1/explain?domain=a.test").json["answers"][0]
    assert why["limit"] == "pause" and "unusual rate" in why["why"], why
    status = s.daemon.status()
    assert status["in_flight"] == 0 and status["queued"] == 20000 - delivered, status


def test_cancel_and_pause_reach_what_is_lent(scene):
    s = scene(host(reply_delay_ms=20), ONE_DOMAIN, config=LENDING, site="max_connections: 12")
    first, second = (submit(s, people(8000))["job"] for _ in range(2))
    wait_lent(s)
    assert s.daemon.post(f"/v1/jobs/{first}/pause").json["done"]
    assert s.daemon.post(f"/v1/jobs/{second}/cancel").status in (200, 202)
    wait_for(lambda: s.daemon.job(second)["queued"] == 0, 20, "the job to end")
    wait_for(lambda: s.daemon.status()["in_flight"] == 0, 10, "what was in flight")
    time.sleep(0.3)
    stopped_at = s.daemon.job(first)["counts"]["delivered"]
    time.sleep(1)
    assert s.daemon.job(first)["counts"]["delivered"] == stopped_at < 8000
    counts = s.daemon.job(second)["counts"]
    assert counts["delivered"] + counts["cancelled"] == 8000 and counts["cancelled"] > 4000, counts
    assert len(ends(s, second)) == 8000
    assert len(s.delivered()) == stopped_at + counts["delivered"]


def test_stop_drains_what_is_lent(scene):
    s = scene(host(reply_delay_ms=10), ONE_DOMAIN, config=LENDING, site="max_connections: 12")
    ident = submit(s, people(6000))["job"]
    for _ in range(3):
        wait_lent(s)
        s.daemon.stop()  # within its time, and nothing leaks
        s.daemon.start()
    s.world.host("mx.a.test", "reply_delay_ms", 0)
    s.daemon.wait_counts(ident, 60, delivered=6000)
    assert s.world.counts("mx.a.test")["messages"] == 6000  # a clean stop sends nothing twice
    assert len(ends(s, ident)) == 6000


def test_a_failing_host_and_lost_connections(scene):
    s = scene(host(close_at="rcpt", close_odds=0.02, reply_delay_ms=2), ONE_DOMAIN,
              config=LENDING + 'retry:\n  - { status: "4", schedule: [300ms] }\n',
              site="max_connections: 12, dead_host_delay: 300ms, dead_host_delay_max: 600ms")
    ident = submit(s, people(8000))["job"]
    wait_lent(s)
    s.world.host("mx.a.test", "refuse", True)
    wait_for(lambda: s.daemon.get(SITE).json["connections"] == 0, 20, "all workers to lose the host")
    s.world.host("mx.a.test", "refuse", False)
    s.world.host("mx.a.test", "close_odds", 0)
    s.daemon.wait_counts(ident, 90, delivered=8000)
    assert s.world.counts("mx.a.test")["messages"] == 8000
    no_violations(s)


def test_a_receiver_that_wants_fewer_is_heeded_by_all(scene):
    s = scene(host(max_connections=4, over_connections="close", reply_delay_ms=5), ONE_DOMAIN, config=LENDING,
              site="max_connections: 30")
    ident = submit(s, people(5000))["job"]
    s.daemon.wait_counts(ident, 90, delivered=5000)
    connections = s.world.counts("mx.a.test")["connections"]
    # The first burst finds out (WINDOW_START of them), then one a trial; not each worker anew.
    assert connections["over_cap"] <= 8 + 12, connections


def test_transactional_mail_passes_bulk_within_a_quantum(scene):
    s = scene(host(reply_delay_ms=20), ONE_DOMAIN, config=LENDING, site="max_connections: 6, max_rate: 200/s")
    submit(s, people(6000), message={"raw": RAW})
    wait_lent(s)
    before = s.world.counts("mx.a.test")["messages"]
    ident = s.daemon.submit(job(message={"raw": PLAIN}, **{"class": "transactional"}),
                            ["now@a.test"]).json["jobs"][0]["job"]
    s.daemon.wait_counts(ident, 20, delivered=1)
    # Half a second of the rate: a quantum is 200 ms of it.
    assert s.world.counts("mx.a.test")["messages"] - before < 100 + 60


def test_a_tenants_own_rate_is_not_lent(scene):
    s = scene(ONE_HOST, ONE_DOMAIN, site="max_connections: 12",
              config=LENDING + "tenants:\n  - { name: acme, max_rate: 100/s }\n")
    ident = submit(s, people(500), tenant="acme")["job"]
    other = submit(s, people(20000))["job"]
    s.daemon.wait_counts(other, 60, delivered=20000)
    s.daemon.wait_counts(ident, 60, delivered=500)
    stamps = sorted(d.time_ms for d in s.delivered())
    assert len(stamps) == 20500
    no_violations(s)


def test_explain_sums_over_workers(scene):
    s = scene(host(reply_delay_ms=200), ONE_DOMAIN, config=LENDING, site="max_connections: 12")
    submit(s, people(6000))
    wait_lent(s)
    wait_for(lambda: s.daemon.get(SITE).json["in_flight"] >= 6, 10, "messages in flight on most sessions")
    site = s.daemon.get(SITE).json
    why = s.daemon.get("/v1/explain?domain=a.test").json["answers"][0]
    assert why["site"] == "a.test" and why["limit"] in ("", "max_connections", "backoff"), why
    assert site["buffered"] > 0, site
    if why["limit"] == "":  # "nothing holds it: it is in line for a.test (400 in hand, 20 in flight)"
        in_flight = int(re.search(r"(\d+) in flight", why["why"]).group(1))
        assert abs(in_flight - site["in_flight"]) <= 24, (why, site)
    shown = s.daemon.get("/v1/sites").json["sites"]
    assert [one["site"] for one in shown] == ["a.test"] and shown[0]["max_connections"] == 12
    assert s.daemon.status()["sites"] == 1
