"""What a receiver's reply does: to the path, a sender domain, a job or a recipient, and to nothing else; over
restarts; and how an operator sees it and lets go."""
import statistics
import time

import pytest

from conftest import ONE_DOMAIN, ONE_HOST, host
from daemon import PATIENCE, job, wait_for
from test_delivery import submit

QUICK = "pause: 1s, pause_max: 2s, dead_host_delay: 1s, dead_host_delay_max: 1s"
SECOND_HOST = {"name": "mx.b.test", "address": "127.0.8.3"}
SECOND_DOMAIN = {"name": "b.test", "mx": [[10, "mx.b.test"]]}
GMAIL = {"name": "gmail-smtp-in.l.google.com", "address": "127.0.8.4"}
GMAIL_DOMAIN = {"name": "g.test", "mx": [[5, "gmail-smtp-in.l.google.com"]]}


def rule(match, action, **more):
    return "replies:\n  - {{ match: '{}', action: '{}'{} }}\n".format(
        match, action, "".join(f", {k}: {v}" for k, v in more.items()))


def made(at, code, text, **more):
    return {"at": at, "code": code, "text": text, **more}


def attempts(s, ident):
    return [r["attempts"] for r in s.daemon.recipients(ident)]


def site(s, name):
    answer = s.daemon.get(f"/v1/sites/{name}")
    path = {"slowed_to": None, "cap": None, "stopped": None}
    return answer.json if answer.status == 200 else {"paths": [path], "blocked_by": "", "held": 0, **path}


def why(s, to):
    return s.daemon.get(f"/v1/explain?to={to}").json["answers"][0]


def held(s):
    return s.daemon.get("/v1/suspensions").json["suspensions"]


def alerts(s):
    return [e for e in s.daemon.events() if e["type"] == "alert"]


def restart(s):
    s.daemon.kill()
    s.daemon.start()


def all_delivered(s, ident, n, seconds=30):
    s.daemon.wait_counts(ident, seconds, delivered=n)


# ---- slow ----

def rates(s, name, seconds):
    """Messages a second as the receiver counts them, for so many seconds."""
    seen, at, last = [], time.monotonic(), s.world.counts(name)["messages"]
    for _ in range(seconds):
        time.sleep(max(0, at + 1 - time.monotonic()))
        now, messages = time.monotonic(), s.world.counts(name)["messages"]
        seen.append((messages - last) / (now - at))
        at, last = now, messages
    return seen


def test_gmails_rate_reply_cuts_the_rate_at_once_and_lets_it_recover(scene):
    """As the receiver counts: half from the reply on, then gradually more, at last all; nobody else is
    slowed, and no attempt is used up. Few enough a second that a machine with much to do keeps up."""
    s = scene([{**GMAIL, "reply_delay_ms": 5}, SECOND_HOST], [GMAIL_DOMAIN, SECOND_DOMAIN],
              sites=f"  - {{ name: gmail, mx: ['*.google.com'], recovery: 4s, max_rate: 30/s, {QUICK} }}\n",
              config=rule("unusual rate of mail", "slow", site="gmail"))
    ident = submit(s, [f"u{i}@g.test" for i in range(10000)])["job"]
    wait_for(lambda: s.world.counts(GMAIL["name"])["messages"] > 45, 30, "some speed")
    full = max(rates(s, GMAIL["name"], 2))
    assert 22 < full < 33
    s.world.host(GMAIL["name"], "replies", [made(
        "mail", 421, "4.7.28 Gmail has detected an unusual rate of mail originating from your IP address.\n"
        "4.7.28 To protect our users from spam, mail has been temporarily rate limited.", times=1)])
    wait_for(lambda: site(s, "gmail")["slowed_to"], 10, "the cut")
    wait_for(lambda: site(s, "gmail")["blocked_by"] in ("slow", "backoff"), 1, "what blocks to be told")
    seen = rates(s, GMAIL["name"], 6)
    assert seen[0] < 0.75 * full, seen  # within this second, though all its messages were ready to go
    wait_for(lambda: seen.extend(rates(s, GMAIL["name"], 1)) or seen[-1] > 0.85 * full, 20, "all of the rate")
    first, middle = (statistics.median(seen[n:n + 3]) for n in (0, 3))
    assert first < middle, seen
    all_delivered(s, submit(s, ["x@b.test"])["job"], 1, 10)
    assert {r["attempts"] for r in s.daemon.recipients(ident)} == {0}
    assert not [e for e in s.daemon.events() if e["type"] == "bounced"]
    s.daemon.post(f"/v1/jobs/{ident}/cancel")


def test_each_complaint_slows_more_and_no_attempt_is_used(scene):
    s = scene(host(replies=[made("rcpt", 421, "4.7.28 unusual rate of mail")]), ONE_DOMAIN, site=QUICK,
              config=rule("unusual rate", "slow"))
    ident = submit(s, [f"u{i}@a.test" for i in range(50)])["job"]
    wait_for(lambda: site(s, "a.test")["slowed_to"] is not None, 10, "the cut")
    time.sleep(3)
    connections = s.world.counts("mx.a.test")["connections"]["total"]
    assert connections < 20, "it is not hammered"
    assert set(attempts(s, ident)) == {0}
    assert s.daemon.job(ident)["counts"]["bounced"] == 0


@pytest.mark.parametrize("action", ["slow", "cap", "slow, cap"])
def test_a_rate_reply_to_the_connection_uses_up_no_attempt(scene, action):
    """Nor of a domain whose pool finds the host left alone by what another one heard."""
    s = scene(host(replies=[made("connect", 421, "4.7.28 unusual rate of mail")]),
              ONE_DOMAIN + [{"name": "b.test", "mx": [[20, "mx.a.test"]]}], site=QUICK + ", recovery: 2s",
              config=rule("unusual rate", action))
    first = submit(s, [f"u{i}@a.test" for i in range(50)])["job"]
    wait_for(lambda: s.world.counts("mx.a.test")["connections"]["total"] >= 1, 10, "the first connection")
    later = [submit(s, [f"u{n}x{i}@b.test" for i in range(20)])["job"] for n in range(3)]
    wait_for(lambda: s.world.counts("mx.a.test")["connections"]["total"] >= 6, 60, "some connections")
    for ident in [first] + later:
        assert set(attempts(s, ident)) == {0}
    s.world.host("mx.a.test", "prompt", True)
    for ident in [first] + later:
        s.daemon.post(f"/v1/jobs/{ident}/retry")
        all_delivered(s, ident, 50 if ident == first else 20, 60)


def test_slow_to_a_rate_on_one_connection_for_a_time(scene):
    s = scene(host(replies=[made("mail", 451, "4.7.650 temporarily rate limited (S775)", times=1)],
                   reply_delay_ms=50), ONE_DOMAIN, site=QUICK,
              config=rule("rate limited", "slow 1/min, cap 1, for 90m"))
    submit(s, [f"u{i}@a.test" for i in range(200)])
    wait_for(lambda: site(s, "a.test")["slowed_to"] == 1.0, 10, "the cut")
    wait_for(lambda: site(s, "a.test")["connections"] <= 1, 10, "one connection")
    time.sleep(1.5)  # written down
    restart(s)
    wait_for(lambda: site(s, "a.test")["slowed_to"] == 1.0, 10, "what was learnt")
    assert site(s, "a.test")["paths"][0]["cap"] == 1


DKIM_RATE = ("4.7.28 Gmail has detected an unusual rate of mail originating from your DKIM domain\n"
             "4.7.28 [slow.test 35]. To protect our users from spam, mail sent from your domain has\n"
             "4.7.28 been temporarily rate limited.")


def by_sender(s, sender):
    return sum(1 for d in s.delivered() if d.sender == sender)


def slowed(s, name):
    """The sender domains that are slowed there, each with its messages a minute."""
    return {one["sender"]: one["slowed_to"] for one in site(s, name).get("senders", [])}


@pytest.mark.parametrize("lending", ["never", "always"])
def test_a_reply_about_a_sender_domain_slows_that_alone(scene, lending):
    """From both sources, over several lanes; mail of others in the same lanes goes past it; it recovers; no
    attempt is used up, nothing is held or paused."""
    s = scene(host(reply_delay_ms=5), ONE_DOMAIN + [{"name": "c.test", "mx": [[10, "mx.a.test"]]}],
              config=rule("DKIM domain", "slow, sender") + f"workers: 2\nlending: {lending}\n"
              "sources:\n  - { name: one, address: 127.0.0.1 }\n  - { name: two, address: 127.0.0.2 }\n",
              site="max_rate: 300/s, recovery: 20s, max_recipients_per_transaction: 1, " + QUICK)
    slow = submit(s, [f"u{i}@{d}.test" for i in range(10000) for d in "ac"],
                  **{"from": "News@Slow.test"})["job"]
    wait_for(lambda: s.world.counts("mx.a.test")["messages"] > 600, 30, "some speed")
    full = max(rates(s, "mx.a.test", 3))
    s.world.host("mx.a.test", "replies", [made("mail", 421, DKIM_RATE, times=1)])
    wait_for(lambda: slowed(s, "a.test"), 10, "the cut")
    assert list(slowed(s, "a.test")) == ["slow.test"]
    begin, before = time.monotonic(), by_sender(s, "News@Slow.test")
    others = submit(s, [f"v{i}@{d}.test" for i in range(500) for d in "ac"])["job"]
    all_delivered(s, others, 1000, 60)
    took = time.monotonic() - begin
    sent = by_sender(s, "News@Slow.test") - before
    assert 0 < sent < 0.8 * full * took, (sent, full, took)
    path = site(s, "a.test")
    assert path["slowed_to"] is None and path["blocked_by"] != "pause" and held(s) == []
    # The site's own rate, too, is used up at moments, and then that is told.
    told = wait_for(lambda: (t := why(s, "u9999@c.test"))["limit"] == "slow_sender" and t, 10, "that limit")
    assert "DKIM domain" in told["why"] and "slow.test" in told["why"]
    shown = s.daemon.cli("site", "a.test").stdout
    assert "mail from slow.test: slowed to" in shown and "DKIM domain" in shown
    time.sleep(1.5)  # written down
    restart(s)
    wait_for(lambda: slowed(s, "a.test"), 10, "what was learnt")
    at = slowed(s, "a.test")["slow.test"]
    wait_for(lambda: slowed(s, "a.test")["slow.test"] > at, 20, "it to recover")
    assert s.daemon.post("/v1/sites/a.test/normal").status == 200 and slowed(s, "a.test") == {}
    before = s.world.counts("mx.a.test")["messages"]
    wait_for(lambda: s.world.counts("mx.a.test")["messages"] > before + 900, 30, "all of it to go again")
    assert {r["attempts"] for r in s.daemon.recipients(slow)} == {0}
    assert {e["type"] for e in s.daemon.events()} <= {"accepted", "delivered"}
    s.daemon.post(f"/v1/jobs/{slow}/cancel")
    restart(s)
    assert slowed(s, "a.test") == {}


def test_a_slowed_sender_is_cut_more_with_each_complaint_and_all_of_it_goes_out(scene):
    s = scene(host(replies=[made("mail", 450, DKIM_RATE, times=3)]), ONE_DOMAIN,
              site=QUICK + ", recovery: 1s", config=rule("DKIM domain", "slow 120/s, sender"))
    ident = submit(s, [f"u{i}@a.test" for i in range(300)])["job"]
    wait_for(lambda: slowed(s, "a.test"), 10, "the cut")
    assert slowed(s, "a.test")["sender.test"] <= 7200
    all_delivered(s, ident, 300, 120)
    assert {r["attempts"] for r in s.daemon.recipients(ident)} == {0}
    assert {e["type"] for e in s.daemon.events()} <= {"accepted", "delivered"}
    wait_for(lambda: slowed(s, "a.test") == {}, 60, "the limit to fade")


@pytest.mark.parametrize("name", ["Large", "FREE-MAIL"])
def test_a_sender_is_slowed_at_a_site_with_capitals(scene, name):
    """What waits in memory goes apart at once, and the limit holds after a restart."""
    s = scene(host(reply_delay_ms=5), ONE_DOMAIN,
              config=rule("DKIM domain", "slow 60/min, sender") + "workers: 7\n",
              sites=f"  - {{ name: {name}, mx: ['*.a.test'] }}\n",
              site=QUICK + ", max_rate: 50/s, recovery: 1h, max_recipients_per_transaction: 1")
    ident = submit(s, [f"u{i}@a.test" for i in range(2000)])["job"]
    wait_for(lambda: s.world.counts("mx.a.test")["messages"] > 20, 30, "some mail")
    s.world.host("mx.a.test", "replies", [made("mail", 421, DKIM_RATE, times=1)])
    wait_for(lambda: slowed(s, name), 10, "the cut")
    for _ in range(2):
        before = len(s.delivered())
        time.sleep(3)
        assert len(s.delivered()) - before < 20
        restart(s)
        wait_for(lambda: slowed(s, name), 10, "what was learnt")
    s.daemon.post(f"/v1/jobs/{ident}/cancel")


# ---- pause, stop ----

def test_pause_holds_the_path_over_a_restart(scene):
    s = scene(host(replies=[made("mail", 421, "4.7.0 [TSS04] Messages temporarily deferred", times=1)]) +
              [SECOND_HOST], ONE_DOMAIN + [SECOND_DOMAIN], site=QUICK, config=rule("TSS04", "pause 2h"))
    ident = submit(s, [f"u{i}@a.test" for i in range(100)])["job"]
    wait_for(lambda: site(s, "a.test")["blocked_by"] == "pause", 10, "the pause")
    until = site(s, "a.test")["blocked_until"]
    before = s.world.counts("mx.a.test")["connections"]["total"]
    time.sleep(1.2)  # written down
    restart(s)
    all_delivered(s, submit(s, ["x@b.test"])["job"], 1, 10)
    wait_for(lambda: site(s, "a.test")["blocked_by"] == "pause", 10, "the pause")
    assert site(s, "a.test")["blocked_until"][:16] == until[:16]
    assert s.world.counts("mx.a.test")["connections"]["total"] == before
    assert set(attempts(s, ident)) == {0}
    assert "pause" == why(s, "u99@a.test")["limit"]
    assert s.daemon.post("/v1/sites/a.test/reset").json["paths"] == 1
    s.daemon.post(f"/v1/jobs/{ident}/retry")
    all_delivered(s, ident, 100)


def test_mail_goes_on_when_a_pause_from_before_a_restart_ends(scene):
    s = scene(host(replies=[made("mail", 421, "4.7.0 [TSS04] Messages temporarily deferred", times=1)]),
              ONE_DOMAIN, site=QUICK, config=rule("TSS04", "pause 8s"))
    ident = submit(s, [f"u{i}@a.test" for i in range(100)])["job"]
    wait_for(lambda: site(s, "a.test")["blocked_by"] == "pause", 10, "the pause")
    time.sleep(1.2)  # written down
    restart(s)
    all_delivered(s, ident, 100)


def test_stop_holds_until_an_operator_acts(scene):
    s = scene(host(replies=[made("rcpt", 550, "5.7.1 part of your network is on our block list (S3150)")]) +
              [SECOND_HOST], ONE_DOMAIN + [SECOND_DOMAIN], site=QUICK, config=rule("block list", "stop"))
    ident = submit(s, [f"u{i}@a.test" for i in range(30)])["job"]
    wait_for(lambda: site(s, "a.test")["blocked_by"] == "stop", 10, "the stop")
    wait_for(lambda: s.daemon.status()["held"] == 30, 15, "what is held")
    assert s.daemon.status()["queued"] == 30 and s.daemon.status()["deferred"] == 0
    one, = held(s)
    assert (one["kind"], one["site"], one["held"], one["code"]) == ("stop", "a.test", 30, 550)
    assert one["resume"] == "postrider resume --site a.test" and "S3150" in one["reply"]
    told = why(s, "u29@a.test")
    assert told["limit"] == "stop" and "S3150" in told["why"]
    assert "postrider resume --site a.test" in told["why"]
    alert, = wait_for(lambda: alerts(s), 10, "the alert")
    assert alert["site"] == "a.test" and "S3150" in alert["reply"]
    row, = [r for r in s.daemon.get("/v1/queue").json["rows"] if r["domain"] == "a.test"]
    assert (row["queued"], row["ready"], row["deferred"], row["held"]) == (30, 0, 0, 30)
    assert "postrider_held 30" in s.daemon.get("/metrics").body
    before = s.world.counts("mx.a.test")["connections"]["total"]
    later = submit(s, [f"v{i}@a.test" for i in range(10)])["job"]  # what comes is held too
    all_delivered(s, submit(s, ["x@b.test"])["job"], 1, 10)
    restart(s)
    wait_for(lambda: s.daemon.status()["held"] == 40, 15, "what is held after the restart")
    assert s.world.counts("mx.a.test")["connections"]["total"] == before
    assert len(alerts(s)) == 1 and "a.test" in s.daemon.cli("suspensions").stdout
    s.world.host("mx.a.test", "prompt", True)
    done = s.daemon.cli("resume", "--site", "a.test")
    assert done.returncode == 0 and done.stdout == "1 released\n"
    s.daemon.post(f"/v1/jobs/{ident}/retry")
    all_delivered(s, ident, 30)
    all_delivered(s, later, 10)
    assert held(s) == [] and s.daemon.status()["held"] == 0
    restart(s)
    assert held(s) == []


def test_a_stop_tells_of_its_own_reply_whatever_comes_after(scene):
    s = scene(host(replies=[made("rcpt", 550, "5.7.1 on our block list (S3150)", match="u0"),
                            made("rcpt", 451, "4.3.0 server busy")], reply_delay_ms=300), ONE_DOMAIN,
              site=QUICK + ", max_recipients_per_transaction: 1",
              config="replies:\n  - { match: block list, action: stop }\n  - { match: busy, action: slow }\n")
    submit(s, [f"v{i}@a.test" for i in range(50)])
    wait_for(lambda: site(s, "a.test").get("connections", 0) > 1, 10, "other sessions")
    submit(s, ["u0@a.test"], **{"class": "transactional"})
    wait_for(lambda: site(s, "a.test")["blocked_by"] == "stop", 20, "the stop")
    wait_for(lambda: site(s, "a.test")["connections"] == 0, 20, "the others' replies")
    one, = held(s)
    assert one["code"] == 550 and "S3150" in one["reply"] and "S3150" in why(s, "v49@a.test")["why"]


def test_a_stop_of_one_source_leaves_the_others(scene):
    s = scene(host(replies=[made("rcpt", 550, "5.7.1 listed", match="u0", times=1)]), ONE_DOMAIN, site=QUICK,
              config=rule("listed", "stop") +
              "sources:\n  - { name: one, address: 127.0.0.1 }\n  - { name: two, address: 127.0.0.2 }\n")
    ident = submit(s, [f"u{i}@a.test" for i in range(100)])["job"]
    wait_for(lambda: s.daemon.job(ident)["counts"]["delivered"] >= 90, 20, "the other source")
    s.daemon.post(f"/v1/jobs/{ident}/retry")
    all_delivered(s, ident, 100)
    assert [p["blocked_by"] for p in site(s, "a.test")["paths"]].count("stop") == 1


# ---- fix, job ----

def test_fix_holds_that_sender_domain_alone(scene):
    s = scene(host(replies=[made("dot", 550, "5.7.26 This mail has been blocked because the sender is "
                                 "unauthenticated", match="bad*")]), ONE_DOMAIN, site=QUICK,
              config=rule("unauthenticated", "fix"))
    bad = submit(s, [f"bad{i}@a.test" for i in range(5)], **{"from": "news@wrong.test"})["job"]
    wait_for(lambda: held(s), 10, "the hold")
    more = submit(s, [f"more{i}@a.test" for i in range(400)], **{"from": "Other@WRONG.test"})["job"]
    good = submit(s, [f"u{i}@a.test" for i in range(400)])["job"]
    all_delivered(s, good, 400)
    time.sleep(0.5)
    assert s.daemon.job(more)["counts"]["delivered"] == 0
    one, = held(s)
    assert (one["kind"], one["site"], one["sender"], one["held"]) == ("fix", "a.test", "wrong.test", 405)
    assert s.daemon.status()["held"] == 405
    told = why(s, "more7@a.test")
    assert told["limit"] == "fix" and "5.7.26" in told["why"]
    assert "postrider resume --sender wrong.test --site a.test" in told["why"]
    assert s.daemon.job(bad)["counts"]["bounced"] == 0 and set(attempts(s, bad)) == {0}
    restart(s)
    all_delivered(s, submit(s, ["again@a.test"])["job"], 1)
    assert s.daemon.job(more)["counts"]["delivered"] == 0
    s.world.host("mx.a.test", "prompt", True)
    assert s.daemon.post("/v1/queue/resume?sender=wrong.test&site=a.test").json == {"released": 1}
    all_delivered(s, more, 400)
    s.daemon.post(f"/v1/jobs/{bad}/retry")
    all_delivered(s, bad, 5)


def test_job_holds_after_several_replies_that_make_a_share(scene):
    spam = made("dot", 421, "4.7.0 likely unsolicited mail", match="spam*")
    s = scene(host(replies=[spam]) + [SECOND_HOST], ONE_DOMAIN + [SECOND_DOMAIN],
              site=QUICK + ", max_connections: 1, max_recipients_per_transaction: 1",
              config=rule("unsolicited", "job"))
    few = submit(s, [f"spam{i}@a.test" if i % 40 == 0 else f"u{i}@a.test" for i in range(400)])["job"]
    s.daemon.wait_counts(few, 60, delivered=390, deferred=10)
    assert held(s) == []
    content = submit(s, [f"spam{i}@a.test" for i in range(300)] + ["x@b.test"])["job"]
    wait_for(lambda: held(s), 30, "the hold")
    all_delivered(s, submit(s, [f"v{i}@a.test" for i in range(20)])["job"], 20)
    one, = held(s)
    assert (one["kind"], one["job"], one["site"]) == ("job", content, "a.test") and one["held"] > 250
    counts = s.daemon.job(content)["counts"]
    assert counts["delivered"] == 1 and counts["bounced"] == 0  # b.test is another site
    assert why(s, "spam299@a.test")["limit"] == "job"
    assert len(alerts(s)) == 1
    restart(s)
    assert [h["kind"] for h in held(s)] == ["job"]
    s.world.host("mx.a.test", "prompt", True)
    assert s.daemon.post(f"/v1/queue/resume?job={content}").json == {"released": 1}
    wait_for(lambda: s.daemon.job(content)["counts"]["ready"] == 0, 30, "what was held")


# ---- one recipient, one transaction, one connection ----

def test_rcpt_fail_and_suppress_are_of_one_recipient(scene):
    s = scene(host(replies=[made("rcpt", 550, "5.7.1 too quickly, that prevents", match="slow*"),
                            made("rcpt", 450, "4.7.1 wrong class", match="gone*"),
                            made("rcpt", 550, "5.1.1 does not exist", match="nobody*")]),
              ONE_DOMAIN, site=QUICK,
              config="replies:\n  - { match: prevents, action: rcpt 7m }\n"
                     "  - { match: wrong class, action: fail }\n"
                     "  - { match: does not exist, action: suppress }\n")
    ident = submit(s, ["slow@a.test", "gone@a.test", "nobody@a.test", "u@a.test"])["job"]
    s.daemon.wait_counts(ident, 15, delivered=1, bounced=2, deferred=1)
    by = {r["to"]: r for r in s.daemon.recipients(ident)}
    assert by["slow@a.test"]["attempts"] == 1
    wait_s = [e for e in s.daemon.events() if e["type"] == "deferred"][0]
    assert wait_s["next"] is not None and by["slow@a.test"]["state"] == "deferred"
    assert site(s, "a.test")["blocked_by"] == "" and held(s) == []
    all_delivered(s, submit(s, ["v@a.test"])["job"], 1)


@pytest.mark.parametrize("action, code, kept", [("suppress", 554, 0), ("fail", 554, 0), ("rcpt", 452, 1)])
def test_a_reply_to_a_shared_message_is_about_none_of_its_recipients_alone(scene, action, code, kept):
    s = scene(host(replies=[made("dot", code, "5.2.1 this user's mailbox is disabled", match="gone")]),
              ONE_DOMAIN, site=QUICK, config=rule("mailbox is disabled", action))
    ident = submit(s, ["gone@a.test"] + [f"u{i}@a.test" for i in range(9)],
                   message={"raw": "Subject: x\r\n\r\nHello\r\n"})["job"]
    s.daemon.wait_counts(ident, 15, delivered=9, bounced=1 - kept, deferred=kept)
    rest = [r for r in s.daemon.recipients(ident) if r["state"] != "delivered"]
    assert [(r["to"], r["attempts"]) for r in rest] == [("gone@a.test", 1)]
    listed = s.daemon.cli("suppress", "list").stdout
    assert ("gone@a.test" in listed) == (action == "suppress") and "u0@a.test" not in listed


def test_a_reply_to_mail_suppresses_nobody(scene):
    s = scene(host(replies=[made("mail", 550, "5.1.1 this mailbox does not exist")]), ONE_DOMAIN, site=QUICK,
              config=rule("does not exist", "suppress"))
    ident = submit(s, ["u@a.test"])["job"]
    s.daemon.wait_counts(ident, 15, bounced=1)
    assert s.daemon.cli("suppress", "list").stdout == "Nobody is suppressed.\n"


def test_split_sends_fewer_recipients_a_transaction(scene):
    s = scene(host(max_recipients=10), ONE_DOMAIN, site=QUICK)
    same = {"raw": "Subject: x\r\n\r\nHello\r\n"}
    ident = submit(s, [f"u{i}@a.test" for i in range(300)], message=same)["job"]
    all_delivered(s, ident, 300)
    assert set(attempts(s, ident)) <= {0, 1}


def test_reconnect_costs_nothing_the_first_time(scene):
    s = scene(host(replies=[made("mail", 421, "4.3.0 Try again later, closing connection", times=1)]),
              ONE_DOMAIN, site=QUICK, config=rule("try again later, closing", "reconnect"))
    begin = time.monotonic()
    ident = submit(s, ["u@a.test"])["job"]
    all_delivered(s, ident, 1, 10)
    assert time.monotonic() - begin < 5 * PATIENCE
    assert [e["type"] for e in s.daemon.events() if e["type"] != "accepted"] == ["delivered"]


def test_reconnect_backs_off_where_nothing_gets_through(scene):
    s = scene(host(replies=[made("mail", 421, "4.3.0 Try again later, closing connection")]), ONE_DOMAIN,
              site="pause: 1s, pause_max: 1h", config=rule("try again later, closing", "reconnect"))
    ident = submit(s, [f"u{i}@a.test" for i in range(20)])["job"]
    wait_for(lambda: site(s, "a.test")["blocked_by"] == "pause", 10, "the back-off")
    time.sleep(1)
    assert s.world.counts("mx.a.test")["connections"]["total"] < 40
    assert set(attempts(s, ident)) == {0}


def test_messages_a_connection(scene):
    s = scene(host(replies=[made("mail", 421, "4.7.0 Max message per connection reached", times=1)]),
              ONE_DOMAIN, site=QUICK + ", max_connections: 2, max_recipients_per_transaction: 1",
              config=rule("max message per connection", "reconnect after 5"))
    submit(s, [f"u{i}@a.test" for i in range(50)])
    wait_for(lambda: site(s, "a.test")["paths"][0].get("messages_max") == 5, 10, "the lesson")
    ident = submit(s, [f"v{i}@a.test" for i in range(50)])["job"]
    all_delivered(s, ident, 50)
    by = {}
    for d in s.delivered("mx.a.test"):
        if d.recipient.startswith("v"):
            by[d.connection] = by.get(d.connection, 0) + 1
    assert max(by.values()) <= 6


def test_cap_is_one_less_and_recovers(scene):
    s = scene(host(reply_delay_ms=50), ONE_DOMAIN, site=QUICK + ", max_connections: 8, recovery: 2s",
              config=rule("maximum number of connections", "cap"))
    ident = submit(s, [f"u{i}@a.test" for i in range(1500)])["job"]
    wait_for(lambda: site(s, "a.test").get("connections", 0) == 8, 15, "all connections")
    s.world.host("mx.a.test", "replies",
                 [made("mail", 452, "4.3.2 exceeded the maximum number of connections", times=1)])
    wait_for(lambda: site(s, "a.test").get("cap") == 7, 10, "the cap")
    wait_for(lambda: site(s, "a.test").get("cap") is None, 20, "the recovery")
    s.daemon.post(f"/v1/jobs/{ident}/cancel")


def test_tls_only(scene):
    s = scene(host(starttls="refused", replies=[made("mail", 550, "5.7.29 requires TLS", times=1)]),
              ONE_DOMAIN, site=QUICK, config=rule("requires tls", "tls"))
    ident = submit(s, ["u@a.test"])["job"]
    wait_for(lambda: site(s, "a.test")["paths"][0].get("tls_only"), 10, "the lesson")
    time.sleep(1.5)
    assert s.daemon.job(ident)["counts"]["delivered"] == 0  # never in the clear
    s.world.host("mx.a.test", "starttls", "good")

    def arrived():
        s.daemon.post(f"/v1/jobs/{ident}/retry")
        return s.daemon.job(ident)["counts"]["delivered"] == 1
    wait_for(arrived, 20, "TLS")
    assert all(d.tls for d in s.delivered("mx.a.test"))


def test_a_reply_that_asks_for_tls_is_followed_by_a_try_over_tls(scene):
    """In the clear only because a handshake failed before: the recipient goes again at once, with TLS, though
    that is what was given up at this host; and that is its first attempt."""
    s = scene(host(starttls="broken", reply_delay_ms=700,
                   replies=[made("mail", 550, "5.7.29 This message requires TLS", times=1)]),
              ONE_DOMAIN, site=QUICK, config=rule("requires tls", "tls"))
    ident = submit(s, ["u@a.test"])["job"]
    wait_for(lambda: s.world.counts("mx.a.test")["connections"]["total"] == 2, 20, "the one in the clear")
    s.world.host("mx.a.test", "starttls", "good")
    all_delivered(s, ident, 1, 20)
    one, = s.delivered("mx.a.test")
    assert one.tls and site(s, "a.test")["paths"][0]["tls_only"]
    ended = [(e["type"], e["attempt"]) for e in s.daemon.events() if e["type"] != "accepted"]
    assert ended == [("delivered", 1)]
    assert held(s) == [] and alerts(s) == []


# ---- an operator's ----

@pytest.mark.parametrize("filters,hits", [("tenant=acme", {"acme"}), ("campaign=c1", {"acme"}),
                                          ("domain=B.test", {"b"}), ("site=b.test", {"b"}),
                                          ("sender=acme.test&site=a.test", {"acme"})])
def test_suspend_by_filter(scene, filters, hits):
    s = scene(ONE_HOST + [SECOND_HOST], ONE_DOMAIN + [SECOND_DOMAIN])
    all_delivered(s, submit(s, ["w@a.test", "w@b.test"])["job"], 2)
    assert s.daemon.post(f"/v1/queue/suspend?{filters}").json == {"suspended": 1}
    assert s.daemon.post(f"/v1/queue/suspend?{filters}").json == {"suspended": 0}
    jobs = {"acme": submit(s, [f"u{i}@a.test" for i in range(300)], tenant="acme", campaign="c1",
                           **{"from": "n@acme.test"})["job"],
            "b": submit(s, [f"u{i}@b.test" for i in range(300)])["job"],
            "rest": submit(s, [f"v{i}@a.test" for i in range(300)])["job"]}
    for name, ident in jobs.items():
        if name not in hits:
            all_delivered(s, ident, 300)
    restart(s)
    wait_for(lambda: s.daemon.status()["held"] == 300 * len(hits), 15, "what is held")
    for name in hits:
        assert s.daemon.job(jobs[name])["counts"]["delivered"] == 0
    one, = held(s)
    assert one["kind"] == "suspension" and one["held"] == 300 * len(hits)
    told = why(s, "u1@a.test" if "acme" in hits else "u1@b.test")
    assert told["limit"] == "suspension" and "postrider resume" in told["why"]
    assert s.daemon.post(f"/v1/queue/resume?{filters}").json == {"released": 1}
    for ident in jobs.values():
        all_delivered(s, ident, 300)


def test_what_is_suspended_in_the_middle_stops_and_spins_nowhere(scene):
    s = scene(host(reply_delay_ms=20), ONE_DOMAIN, site="max_connections: 4")
    ident = submit(s, [f"u{i}@a.test" for i in range(3000)])["job"]
    wait_for(lambda: s.daemon.job(ident)["counts"]["delivered"] > 20)
    assert s.daemon.cli("suspend", "--job", ident).returncode == 0
    wait_for(lambda: s.daemon.status()["in_flight"] == 0, 10, "what was in flight")
    time.sleep(0.5)
    before, used = s.daemon.job(ident)["counts"]["delivered"], cpu(s)
    time.sleep(2)
    assert s.daemon.job(ident)["counts"]["delivered"] == before < 3000
    assert cpu(s) - used < 1.0 * PATIENCE, "held mail must not keep the daemon busy"
    all_delivered(s, submit(s, ["other@a.test"])["job"], 1)
    s.world.host("mx.a.test", "reply_delay_ms", 0)
    assert s.daemon.cli("resume", "--job", ident).stdout == "1 released\n"
    all_delivered(s, ident, 3000, 120)


def cpu(s):
    with open(f"/proc/{s.daemon.process.pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_a_lifetime_goes_on_while_mail_is_held(scene):
    s = scene(ONE_HOST, ONE_DOMAIN)
    s.daemon.post("/v1/queue/suspend?domain=a.test")
    ident = submit(s, ["u@a.test"], lifetime="2s")["job"]
    s.daemon.wait_counts(ident, 20, expired=1)
    assert s.daemon.status()["held"] == 0 and not s.delivered()


def test_site_by_hand(scene):
    s = scene(host(reply_delay_ms=5), ONE_DOMAIN, site=QUICK)
    ident = submit(s, [f"u{i}@a.test" for i in range(30000)])["job"]
    wait_for(lambda: s.daemon.job(ident)["counts"]["delivered"] > 100)
    assert s.daemon.cli("site", "a.test", "backoff").stdout == "backoff: done on 1 path\n"
    wait_for(lambda: site(s, "a.test")["slowed_to"] is not None, 5, "the cut")
    assert "slowed to" in s.daemon.cli("site", "a.test").stdout
    assert s.daemon.cli("site", "a.test", "normal").returncode == 0
    assert site(s, "a.test")["slowed_to"] is None
    s.daemon.post(f"/v1/jobs/{ident}/cancel")
    unknown = s.daemon.cli("site", "nowhere.test", "reset")
    assert unknown.returncode == 1 and "no worker knows" in unknown.stderr
    assert s.daemon.cli("site", "a.test", "faster").returncode == 2
    assert s.daemon.cli("resume").returncode == 2 and s.daemon.cli("suspend").returncode == 2
    assert s.daemon.post("/v1/queue/suspend").status == 400
    assert s.daemon.post("/v1/queue/suspend?all=1").status == 400
    assert s.daemon.post("/v1/queue/resume", '{"tenant": 7}').status == 400


# ---- sessions that are lent ----

def test_what_lent_sessions_hear_holds_for_all(scene):
    s = scene(host(reply_delay_ms=5), ONE_DOMAIN, config=rule("block list", "stop") +
              "workers: 2\nlending: always\n", site=QUICK + ", max_connections: 16")
    ident = submit(s, [f"u{i}@a.test" for i in range(20000)])["job"]

    def lent():
        return any(p["lent"] for p in site(s, "a.test")["paths"] if "lent" in p)
    wait_for(lent, 20, "a loan")
    s.world.host("mx.a.test", "replies", [made("mail", 550, "5.7.1 on our block list")])
    wait_for(lambda: site(s, "a.test")["blocked_by"] == "stop", 10, "the stop")
    wait_for(lambda: s.daemon.status()["in_flight"] == 0, 10, "what was in flight")
    before = s.world.counts("mx.a.test")["connections"]["total"]
    time.sleep(1.5)
    assert s.world.counts("mx.a.test")["connections"]["total"] == before
    counts = s.daemon.job(ident)["counts"]
    wait_for(lambda: s.daemon.status()["held"] == 20000 - counts["delivered"], 15, "what is held")
    assert counts["bounced"] == 0
    s.world.host("mx.a.test", "prompt", True)
    assert s.daemon.post("/v1/queue/resume?site=a.test").json["released"] == 1
    s.daemon.post(f"/v1/jobs/{ident}/retry")
    all_delivered(s, ident, 20000, 90)


# ---- before a transaction ----

@pytest.mark.parametrize("code,text,action,limit", [
    (554, "5.7.1 A problem occurred. Ask your postmaster for help (BL)", "stop", "stop"),
    (554, "5.7.1 no PTR record for your address", "fix", "stop"),  # there is no sender yet
    (421, "4.7.0 [TSS04] Messages temporarily deferred", "pause 1h", "pause")])
def test_a_greeting_holds_the_path(scene, code, text, action, limit):
    s = scene(host(replies=[made("connect", code, text)]) + [SECOND_HOST], ONE_DOMAIN + [SECOND_DOMAIN],
              site=QUICK, config=rule("postmaster|PTR|TSS04", action))
    ident = submit(s, [f"u{i}@a.test" for i in range(20)] + ["x@b.test"])["job"]
    wait_for(lambda: site(s, "a.test")["blocked_by"] == limit, 10, "the hold")
    s.daemon.wait_counts(ident, 10, delivered=1)
    time.sleep(1)
    before = s.world.counts("mx.a.test")["connections"]["total"]
    time.sleep(1.5)
    assert s.world.counts("mx.a.test")["connections"]["total"] == before <= 8
    assert set(r["attempts"] for r in s.daemon.recipients(ident) if r["to"] != "x@b.test") == {0}
    assert len(alerts(s)) == (limit == "stop")


def test_a_rule_about_recipients_means_nothing_at_the_greeting(scene):
    s = scene(host(replies=[made("connect", 421, "4.3.2 user unknown here, sometimes", times=1)]), ONE_DOMAIN,
              site=QUICK, config=rule("user unknown", "suppress"))
    ident = submit(s, ["u@a.test"])["job"]
    wait_for(lambda: s.world.counts("mx.a.test")["connections"]["total"] > 0)
    time.sleep(1.5)
    s.daemon.post(f"/v1/jobs/{ident}/retry")
    all_delivered(s, ident, 1)


def test_reconnect_at_the_greeting_is_no_dead_host(scene):
    s = scene(host(replies=[made("connect", 421, "4.3.0 Server busy, try again later", times=1)]), ONE_DOMAIN,
              site="pause: 1s, dead_host_delay: 10m", config=rule("server busy", "reconnect"))
    all_delivered(s, submit(s, ["u@a.test"])["job"], 1, 10)


# ---- a sender ----

@pytest.mark.parametrize("action", ["pause 1h, sender", "stop, sender"])
def test_a_sender_alone_is_paused_or_stopped(scene, action):
    s = scene(host(replies=[made("mail", 421, "4.7.28 unusual rate of mail originating from your DKIM domain",
                                 match="bulk*")]), ONE_DOMAIN, site="pause: 5s",
              config=rule("dkim domain", action))
    bad = submit(s, [f"u{i}@a.test" for i in range(50)], **{"from": "bulk@wrong.test"})["job"]
    wait_for(lambda: held(s), 10, "the hold")
    good = submit(s, [f"v{i}@a.test" for i in range(50)])["job"]
    all_delivered(s, good, 50)
    one, = held(s)
    assert one["sender"] == "wrong.test" and (one["until"] is None) == action.startswith("stop")
    assert site(s, "a.test")["blocked_by"] == "" and site(s, "a.test")["slowed_to"] is None
    assert set(attempts(s, bad)) == {0}


def test_suppress_after_the_second(scene):
    s = scene(host(replies=[made("rcpt", 550, "5.4.1 Recipient address rejected: Access denied")]),
              ONE_DOMAIN, site=QUICK, config=rule("access denied", "suppress after 2"))
    for n in (1, 2):
        ident = submit(s, ["u@a.test"])["job"]
        s.daemon.wait_counts(ident, 10, bounced=1)
        time.sleep(0.3)
    third = s.daemon.submit(job(), ["U@a.test"])
    assert third.json["jobs"][0]["suppressed"] == 1, third
