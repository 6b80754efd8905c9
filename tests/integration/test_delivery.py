"""From a job on the socket to receivers of each character: what arrives, and what is said of it."""
import base64
import json
import time

import pytest
from conftest import ONE_DOMAIN, ONE_HOST, host
from daemon import PLAIN, job, wait_for
from sanitizer import limit
from world import digest


def submit(scene, recipients, **fields):
    answer = scene.daemon.submit(job(**fields), recipients)
    assert answer.status == 202, answer
    return answer.json["jobs"][0]


def ends(scene, ident):
    """Each recipient's final events; fails when one has two."""
    found = {}
    for event in scene.daemon.events():
        if event["job"] == ident and event["type"] in ("delivered", "bounced", "expired", "cancelled"):
            assert event["rid"] not in found, f"{event} after {found[event['rid']]}"
            found[event["rid"]] = event
    return found


def no_violations(scene):
    violations = scene.world.stats()["totals"]["violations"]
    assert violations["total"] == 0, violations


def test_what_was_meant_arrives(scene):
    s = scene(ONE_HOST, ONE_DOMAIN)
    names = [f"Zoë {i}" if i % 2 else f"Dot\n.line {i}" for i in range(200)]
    people = [{"to": f"u{i}@a.test", "id": str(i), "vars": {"name": name}} for i, name in enumerate(names)]
    ident = submit(s, people)["job"]
    s.daemon.wait_counts(ident, delivered=200)
    meant = {}
    for r in s.daemon.recipients(ident):
        message = s.daemon.get(f"/v1/recipients/{r['rid']}/message")
        meant[r["to"]] = digest(message.body.encode())
    got = {d.recipient: d.digest for d in s.delivered()}
    assert got == meant
    assert len(s.delivered()) == 200
    no_violations(s)
    final = ends(s, ident)
    assert len(final) == 200 and all(e["type"] == "delivered" and e["code"] == 250 for e in final.values())
    assert {e["id"] for e in final.values()} == {str(i) for i in range(200)}
    sequence = [e["seq"] for e in s.daemon.events()]
    assert sequence == sorted(set(sequence))
    status = s.daemon.status()
    assert status["accepted"] == 200 and status["delivered"] == 200 and status["queued"] == 0


def test_recipients_share_a_transaction_when_the_message_is_the_same(scene):
    s = scene(ONE_HOST, ONE_DOMAIN, site="max_connections: 2")
    ident = submit(s, [f"u{i}@a.test" for i in range(1000)], message={"raw": PLAIN})["job"]
    s.daemon.wait_counts(ident, delivered=1000)
    stats = s.world.counts("mx.a.test")
    assert stats["recipients"] == 1000
    share = min(100, limit("LANE_TAKE_MAX"))  # a transaction takes no more than its lane has in memory
    assert stats["messages"] <= 4000 / share, "100 recipients a transaction is the default"
    assert len({d.digest for d in s.delivered()}) == 1
    no_violations(s)


def test_receiver_takes_fewer_recipients_than_we_offer(scene):
    s = scene(host(max_recipients=10), ONE_DOMAIN)
    ident = submit(s, [f"u{i}@a.test" for i in range(300)], message={"raw": PLAIN})["job"]
    s.daemon.wait_counts(ident, delivered=300)
    assert len({d.recipient for d in s.delivered()}) == 300 == len(s.delivered())


def test_unknown_users_bounce_and_are_reported_in_one_message(scene):
    s = scene(host(unknown="no*"), ONE_DOMAIN)
    people = [f"yes{i}@a.test" for i in range(20)] + [f"no{i}@a.test" for i in range(30)]
    ident = submit(s, people, bounces="dsn")["job"]
    s.daemon.wait_counts(ident, delivered=20, bounced=30)
    assert all(e["status"] == "5.1.1" and e["category"] == "bad-mailbox"
               for e in ends(s, ident).values() if e["type"] == "bounced")
    reports = wait_for(lambda: [d for d in s.world.deliveries() if d.sender in ("", "<>")], 20, "the report")
    assert [d.recipient for d in reports] == ["news@sender.test"]
    bounces = s.daemon.get(f"/v1/jobs/{ident}/bounces").json
    assert bounces["bounced"] == 30 and bounces["statuses"][0]["status"] == "5.1.1"
    csv = s.daemon.get(f"/v1/jobs/{ident}/bounces?format=csv").body.strip().split("\r\n")
    assert csv[0] == "time,to,domain,site,category,status,code,reply,attempts,job,campaign,id"
    assert len(csv) == 31


def test_never_a_report_to_the_null_sender(scene):
    s = scene(host(unknown="*"), ONE_DOMAIN)
    ident = submit(s, ["a@a.test"], **{"from": ""}, bounces="dsn")["job"]
    s.daemon.wait_counts(ident, bounced=1)
    assert s.daemon.status()["jobs"] == 0 or wait_for(lambda: s.daemon.status()["queued"] == 0, 8)
    assert len(s.daemon.get("/v1/jobs").json["jobs"]) == 1, "no report was made"
    assert s.world.counts("mx.sender.test")["messages"] == 0


def test_greylisting_passes_at_the_retry(scene):
    s = scene(host(greylist=2), ONE_DOMAIN, config='retry:\n  - { status: "4.7.1", schedule: [2500ms] }\n')
    ident = submit(s, [f"u{i}@a.test" for i in range(20)])["job"]
    s.daemon.wait_counts(ident, deferred=20)
    row = s.daemon.recipients(ident)[0]
    assert row["attempts"] == 1 and row["status"].startswith("4.7.") and row["code"] == 451 and row["next"]
    s.daemon.wait_counts(ident, delivered=20)
    assert all(e["attempt"] == 2 for e in ends(s, ident).values())
    assert len(s.delivered()) == 20


def test_full_mailbox_waits_for_hours(scene):
    s = scene(host(full="*"), ONE_DOMAIN)
    ident = submit(s, ["a@a.test"])["job"]
    s.daemon.wait_counts(ident, deferred=1)
    row = s.daemon.recipients(ident, "&status=4.2.2")[0]
    event = [e for e in s.daemon.events() if e["type"] == "deferred"][0]
    assert row["status"] == "4.2.2" and event["next"] == row["next"]
    why = s.daemon.get("/v1/explain?to=a@a.test").json["answers"][0]
    assert why["waits"] and why["limit"] == "retry" and why["until"] == row["next"]


def test_4_7_pauses_the_path_and_uses_up_no_attempt(scene):
    unusual = {"at": "mail", "code": 421, "text": "4.7.28 unusual rate of mail", "times": 1}
    s = scene(host(replies=[unusual]), ONE_DOMAIN, site="max_connections: 1")
    ident = submit(s, [f"u{i}@a.test" for i in range(5)])["job"]
    site = wait_for(lambda: [x for x in s.daemon.get("/v1/sites").json["sites"]
                             if x["blocked_by"] == "pause"], 10)[0]
    assert "4.7.28" in site["reason"] and site["blocked_until"]
    rows = s.daemon.recipients(ident)
    assert all(r["attempts"] == 0 for r in rows), rows
    assert s.world.counts("mx.a.test")["messages"] == 0
    # All were in hand when the pause came; what was given back is announced anew, within moments.
    why = wait_for(lambda: [a for a in s.daemon.get("/v1/explain?to=u4@a.test").json["answers"]
                            if a["until"]], 5, "an answer")[0]
    assert why["waits"] and why["limit"] in ("pause", "retry"), why


@pytest.mark.parametrize("character, tls", [
    ({"starttls": "good"}, True), ({"starttls": "broken"}, False), ({"starttls": "refused"}, False),
    ({"starttls": "absent"}, False)])
def test_opportunistic_tls(scene, character, tls):
    s = scene(host(**character), ONE_DOMAIN)
    ident = submit(s, [f"u{i}@a.test" for i in range(10)])["job"]
    s.daemon.wait_counts(ident, delivered=10)
    assert {d.tls for d in s.delivered()} == {tls}
    assert all(bool(e["tls"]) == tls for e in ends(s, ident).values())
    no_violations(s)


def test_tls_sessions_are_resumed(scene):
    s = scene(host(starttls="good", messages_per_connection=1), ONE_DOMAIN, site="max_connections: 1")
    ident = submit(s, [f"u{i}@a.test" for i in range(12)])["job"]
    s.daemon.wait_counts(ident, delivered=12)
    tls = s.world.counts("mx.a.test")["tls"]
    assert tls["resumed"] >= 8, tls


@pytest.mark.parametrize("character", [
    {"pipelining": False}, {"ehlo": False}, {"size": "none"}, {"enhanced": False}, {"8bitmime": False},
    {"chunking": True}, {"chunking": True, "pipelining": False}, {"chunking": True, "starttls": "good"},
    {"reply_delay_ms": 30}, {"banner_delay_ms": 200}, {"messages_per_connection": 3}, {"prompt": True}])
def test_all_arrives_whatever_the_receiver_offers(scene, character):
    s = scene(host(**character), ONE_DOMAIN)
    ident = submit(s, [f"u{i}@a.test" for i in range(60)])["job"]
    s.daemon.wait_counts(ident, delivered=60)
    assert len(s.delivered()) == 60 == len({d.recipient for d in s.delivered()})
    no_violations(s)


@pytest.mark.parametrize("chunking", [False, True])
@pytest.mark.parametrize("at", ["connect", "ehlo", "mail", "rcpt", "data", "dot"])
def test_closing_without_a_reply_loses_nothing(scene, at, chunking):
    # Without the built-in rules, which back off for a minute when the second connection in a row is lost.
    s = scene(host(chunking=chunking, close_at=at, close_odds=1 if at == "connect" else 0.3), ONE_DOMAIN,
              config='default_replies: no\nretry:\n  - { status: "4.4", schedule: [300ms] }\n',
              site="dead_host_delay: 200ms, dead_host_delay_max: 500ms")
    ident = submit(s, [f"u{i}@a.test" for i in range(20)])["job"]
    if at == "connect":
        s.daemon.wait_counts(ident, deferred=20)
        s.world.host("mx.a.test", "prompt", True)
    s.daemon.wait_counts(ident, 60, delivered=20)
    assert len({d.recipient for d in s.delivered()}) == 20 == len(s.delivered())


def test_a_lost_reply_after_the_final_dot_may_send_twice_but_never_counts_as_delivered(scene):
    s = scene(host(lose_reply_odds=1), ONE_DOMAIN,
              config='default_replies: no\nretry:\n  - { status: "4.4", schedule: [500ms] }\n',
              site="dead_host_delay: 300ms, dead_host_delay_max: 1s")
    ident = submit(s, [f"u{i}@a.test" for i in range(10)])["job"]
    s.daemon.wait_counts(ident, deferred=10)
    assert {e["status"] for e in s.daemon.events() if e["type"] == "deferred"} == {"4.4.2"}
    s.world.host("mx.a.test", "prompt", True)
    s.daemon.wait_counts(ident, delivered=10)
    # Some twice: after a few such connections the host is left alone, and the others were not sent before.
    assert len({d.recipient for d in s.delivered()}) == 10 and len(s.delivered()) > 10


def test_refusals_by_bdat(scene):
    """Unknown users and refused messages: each BDAT that went ahead has its reply, none is confused."""
    s = scene(host(chunking=True, unknown="bad*", replies=[
        {"at": "dot", "match": "spam*", "code": 554, "text": "5.7.1 no"},
        {"at": "data", "match": "later*", "code": 451, "text": "4.3.0 not now"}]), ONE_DOMAIN,
        site="max_connections: 1")
    names = ("good", "bad", "spam", "later")
    ident = submit(s, [f"{name}{i}@a.test" for i in range(12) for name in names])["job"]
    s.daemon.wait_counts(ident, delivered=12, bounced=24, deferred=12)
    assert len(s.delivered()) == 12
    assert {(e["to"].rstrip("@a.test").rstrip("0123456789"), e["status"]) for e in ends(s, ident).values()
            if e["type"] == "bounced"} == {("bad", "5.1.1"), ("spam", "5.7.1")}
    no_violations(s)


def test_binary_parts_go_as_they_are_where_that_is_offered(scene):
    """BINARYMIME (RFC 3030 3): with it to the byte, elsewhere in base64."""
    s = scene(host(chunking=True, binarymime=True) +
              [{"name": "mx.b.test", "address": "127.0.8.3", "chunking": True},
               {"name": "mx.c.test", "address": "127.0.8.4"}],
              ONE_DOMAIN + [{"name": f"{name}.test", "mx": [[10, f"mx.{name}.test"]]} for name in "bc"])
    part = bytes(range(256)) * 40 + b"\r\n.\r\n\n\r\0"
    message = (b"From: News <news@sender.test>\r\nTo: list@sender.test\r\nSubject: Hi\r\n"
               b"Date: Mon, 02 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@sender.test>\r\nMIME-Version: 1.0\r\n"
               b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\n"
               b"--b\r\n\r\nHello\r\n"
               b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n" + part + b"\r\n--b--\r\n")
    ident = submit(s, ["u@a.test", "u@b.test", "u@c.test"],
                   message={"raw_base64": base64.b64encode(message).decode()})["job"]
    s.daemon.wait_counts(ident, delivered=3)
    got = {d.host: d for d in s.delivered()}
    assert got["mx.a.test"].digest == digest(message) and got["mx.a.test"].size == len(message)
    encoded = got["mx.b.test"]
    assert encoded.size > len(message) and encoded.digest == got["mx.c.test"].digest
    no_violations(s)


def test_chunking_may_be_turned_off(scene):
    s = scene(host(chunking=True) + [{"name": "mx.b.test", "address": "127.0.8.3", "chunking": True}],
              ONE_DOMAIN + [{"name": "b.test", "mx": [[10, "mx.b.test"]]}],
              sites="  - { name: b, mx: mx.b.test, chunking: no }\n")
    ident = submit(s, ["u@a.test", "u@b.test"])["job"]
    s.daemon.wait_counts(ident, delivered=2)
    assert (s.world.counts("mx.a.test")["chunked"], s.world.counts("mx.b.test")["chunked"]) == (1, 0)
    no_violations(s)


def test_mx_by_preference_and_fallback(scene):
    hosts = [{"name": "mx1.b.test", "address": "127.0.8.3"}, {"name": "mx2.b.test", "address": "127.0.8.4"},
             {"name": "mx3.b.test", "address": "127.0.8.5"}]
    s = scene(hosts, [{"name": "b.test", "mx": [[10, "mx1.b.test"], [20, "mx2.b.test"], [20, "mx3.b.test"]]}],
              site="dead_host_delay: 60s")
    ident = submit(s, [f"u{i}@b.test" for i in range(10)])["job"]
    s.daemon.wait_counts(ident, delivered=10)
    assert {d.host for d in s.delivered()} == {"mx1.b.test"}
    wait_for(lambda: s.daemon.status()["sessions"] == 0, 10, "idle sessions to end")
    s.world.host("mx1.b.test", "refuse", True)
    ident = submit(s, [f"w{i}@b.test" for i in range(300)])["job"]
    s.daemon.wait_counts(ident, delivered=300)
    used = {d.host for d in s.delivered() if d.recipient.startswith("w")}
    assert used == {"mx2.b.test", "mx3.b.test"}, "equal preferences are shared"


def test_domains_that_take_no_mail(scene):
    s = scene(ONE_HOST, ONE_DOMAIN + [
        {"name": "null.test", "null_mx": True}, {"name": "gone.test", "nxdomain": True},
        {"name": "fail.test", "servfail": True}, {"name": "plain.test", "no_mx": True, "host": "mx.a.test"},
        {"name": "quiet.test", "timeout": True}])
    names = ["null.test", "gone.test", "fail.test", "plain.test", "quiet.test", "nowhere.invalid"]
    ident = submit(s, [f"u@{name}" for name in names])["job"]
    s.daemon.wait_counts(ident, delivered=1, bounced=3, deferred=2)
    said = {r["domain"]: r["status"] for r in s.daemon.recipients(ident)}
    assert said["null.test"] == "5.1.10"
    assert said["gone.test"] == said["nowhere.invalid"] == "5.1.2"
    assert said["fail.test"] == said["quiet.test"] == "4.4.3"
    replies = {r["domain"]: r["reply"] for r in s.daemon.recipients(ident)}
    assert "null MX" in replies["null.test"] and "SERVFAIL" in replies["fail.test"]


def test_a_host_that_refuses_is_deferred_then_delivered(scene):
    many = min(50, 2 * limit("LANE_TAKE_MAX"))
    s = scene(host(refuse=True), ONE_DOMAIN, config='retry:\n  - { status: "4.4", schedule: [300ms] }\n',
              site="dead_host_delay: 300ms, dead_host_delay_max: 1s")
    ident = submit(s, [f"u{i}@a.test" for i in range(many)])["job"]
    s.daemon.wait_counts(ident, deferred=many)
    assert {r["status"] for r in s.daemon.recipients(ident)} == {"4.4.1"}
    s.world.host("mx.a.test", "refuse", False)
    s.daemon.wait_counts(ident, delivered=many)


def test_hosts_without_an_address(scene):
    """Final when no host has one; not when another host is merely down."""
    s = scene(host(refuse=True), [{"name": "lost.test", "mx": [[10, "no.such.test"], [20, "nor.this.test"]]},
                                  {"name": "down.test", "mx": [[10, "mx.a.test"], [20, "no.such.test"]]},
                                  {"name": "no.such.test", "nxdomain": True},
                                  {"name": "nor.this.test", "nxdomain": True}])
    ident = submit(s, [f"u{i}@lost.test" for i in range(40)] + ["u@down.test"])["job"]
    s.daemon.wait_counts(ident, bounced=40, deferred=1)
    said = {r["domain"]: (r["status"], r["reply"]) for r in s.daemon.recipients(ident)}
    assert said["lost.test"][0] == "5.4.4" and said["down.test"][0] == "4.4.1", said


def test_the_rest_fails_too_where_no_host_has_an_address(scene):
    """More than is taken at once: the last of them is told the same as the first."""
    many = 3 * limit("LANE_TAKE_FIRST") + 4
    s = scene(host(), [{"name": "lost.test", "mx": [[10, "no.such.test"], [20, "nor.this.test"]]},
                       {"name": "no.such.test", "nxdomain": True},
                       {"name": "nor.this.test", "nxdomain": True}])
    ident = submit(s, [f"u{i}@lost.test" for i in range(many)])["job"]
    wait_for(lambda: s.daemon.job(ident)["counts"]["ready"] == 0, 30, "all to be tried")
    s.daemon.wait_counts(ident, bounced=many, deferred=0)
    assert {r["status"] for r in s.daemon.recipients(ident)} == {"5.4.4"}


def test_a_host_known_to_be_down_is_no_missing_one(scene):
    """Another domain has found it dead before; that its neighbour has no address makes nothing final."""
    s = scene(host(refuse=True),
              ONE_DOMAIN + [{"name": "down.test", "mx": [[10, "no.such.test"], [20, "mx.a.test"]]},
                            {"name": "no.such.test", "nxdomain": True}], config="workers: 1\n")
    first = submit(s, ["u@a.test"])["job"]
    s.daemon.wait_counts(first, deferred=1)
    ident = submit(s, ["u@down.test"])["job"]
    wait_for(lambda: s.daemon.job(ident)["counts"]["ready"] == 0, 30, "it to be tried")
    s.daemon.wait_counts(ident, deferred=1, bounced=0)
    assert s.daemon.recipients(ident)[0]["status"] == "4.4.1"


def test_a_silent_host_times_out(scene):
    s = scene(host(silent_at="connect"), ONE_DOMAIN, site="greeting_timeout: 1s")
    ident = submit(s, ["u@a.test"])["job"]
    s.daemon.wait_counts(ident, deferred=1)
    row = s.daemon.recipients(ident)[0]
    assert row["status"].startswith("4.4.") and "greeting" in row["reply"]


def test_limits_hold_as_the_receiver_counts_them(scene):
    s = scene(host(reply_delay_ms=20), ONE_DOMAIN,
              sites='  - { name: a, mx: ["mx.a.test"], max_connections: 3, max_messages_per_connection: 4,\n'
                    '      max_rate: 50/s }\n')
    ident = submit(s, [f"u{i}@a.test" for i in range(200)])["job"]
    s.daemon.wait_counts(ident, 30, delivered=200)
    counts = s.world.counts("mx.a.test")
    assert counts["connections"]["max"] <= 3
    assert counts["connections"]["total"] >= 50, "four messages a connection"
    assert counts["peak_messages_per_s"] <= 53, "50/s and what the world's second cuts"
    times = sorted(d.time_ms for d in s.delivered())
    assert times[-1] - times[0] >= 3500, "200 messages at 50/s"


def test_routes_go_to_their_host(scene):
    s = scene(ONE_HOST, ONE_DOMAIN, config="")
    s.daemon.stop()
    port = s.world.smtp_port
    with open(s.daemon.config, "a") as f:
        f.write(f"routes:\n  - {{ domain: elsewhere.example, host: mx.a.test, port: {port} }}\n"
                f"  - {{ domain: \"*.literal.example\", host: 127.0.8.2, port: {port} }}\n")
    s.daemon.start()
    ident = submit(s, ["u@elsewhere.example", "u@x.literal.example"])["job"]
    s.daemon.wait_counts(ident, delivered=2)
    assert {d.host for d in s.delivered()} == {"mx.a.test"}


def test_structured_message(scene):
    s = scene(ONE_HOST, ONE_DOMAIN)
    message = {"from": "Zoë <zoe@sender.test>", "reply_to": "r@sender.test", "subject": "Grüße {{name}}",
               "text": "Hi {{name}}\n", "html": "<p>Hi {{name}}</p>", "headers": {"X-Campaign": "c1"}}
    # Shown while it waits: a small job that has ended keeps no message.
    ident = submit(s, [{"to": "u@a.test", "vars": {"name": "<Ann> & Bo"}}], message=message,
                   not_before=str(int(time.time()) + 3))["job"]
    import email
    import email.policy
    rid = s.daemon.recipients(ident)[0]["rid"]
    shown = s.daemon.get(f"/v1/recipients/{rid}/message").body.encode()
    read = email.message_from_bytes(shown, policy=email.policy.default)
    assert read["subject"] == "Grüße <Ann> & Bo" and read["to"] == "u@a.test" and read["x-campaign"] == "c1"
    assert read.get_body(("html",)).get_content().strip() == "<p>Hi &lt;Ann&gt; &amp; Bo</p>"
    assert read.get_body(("plain",)).get_content().strip() == "Hi <Ann> & Bo"
    assert read["message-id"] and read["date"] and not read.defects
    s.daemon.wait_counts(ident, delivered=1)


def test_verp(scene):
    s = scene(ONE_HOST, ONE_DOMAIN)
    ident = submit(s, ["a@a.test", "b@a.test"], message={"raw": PLAIN},
                   **{"from": "bounce-{{rid}}@sender.test"})["job"]
    s.daemon.wait_counts(ident, delivered=2)
    assert sorted(d.sender for d in s.delivered()) == sorted(
        f"bounce-{r['rid']}@sender.test" for r in s.daemon.recipients(ident))


def test_many_domains_at_one_site_share_its_limit(scene):
    s = scene(host(reply_delay_ms=20), [{"name": "d{0..49}.test", "mx": [[10, "mx.a.test"]]}],
              sites='  - { name: one, mx: ["mx.a.test"], max_connections: 5 }\n')
    ident = submit(s, [f"u{i}@d{i % 50}.test" for i in range(500)])["job"]
    s.daemon.wait_counts(ident, delivered=500)
    assert s.world.counts("mx.a.test")["connections"]["max"] <= 5
    assert [x["site"] for x in s.daemon.get("/v1/sites").json["sites"]] == ["one"]


def test_metrics_and_health(scene):
    s = scene(ONE_HOST, ONE_DOMAIN)
    ident = submit(s, ["a@a.test"])["job"]
    s.daemon.wait_counts(ident, delivered=1)
    metrics = s.daemon.get("/metrics").body
    assert "postrider_" in metrics and "# TYPE" in metrics
    assert s.daemon.get("/healthz").status == 200
    assert s.daemon.get("/v1/nothing").status == 404
    assert json.loads(s.daemon.get("/v1/status").body)["version"]
