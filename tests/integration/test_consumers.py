"""Consumers of the event log: files, webhooks that fail in every way, what is kept for them."""
import base64
import hashlib
import hmac
import json
import os
import re
import ssl
import subprocess
import time

import pytest

from conftest import ONE_DOMAIN, ONE_HOST
from daemon import Daemon, job, wait_for
from receiver import Receiver


def read_lines(path):
    try:
        with open(path) as f:
            return [json.loads(line) for line in f]
    except FileNotFoundError:
        return []


def consumer(daemon, name):
    return next(c for c in daemon.get("/v1/consumers").json["consumers"] if c["consumer"] == name)


def wait_read(daemon, name, seconds=30):
    """Until it has read all there is."""
    def done():
        answer = daemon.get("/v1/consumers").json
        one = next(c for c in answer["consumers"] if c["consumer"] == name)
        return one["cursor"] == answer["last"] and one
    return wait_for(done, seconds, f"the consumer {name} to have read all")


def wait_error(daemon, name):
    """Until it has failed once."""
    def failed():
        one = consumer(daemon, name)
        return one["error"] and one
    return wait_for(failed, 20, f"the consumer {name} to fail")


def deliver(daemon, recipients, **fields):
    answer = daemon.submit(job(bounces="none", **fields), recipients)
    assert answer.status == 202, answer
    number = answer.json["jobs"][0]["job"]
    wait_for(lambda: daemon.job(number)["state"] == "ended", 60, f"job {number} to end")
    return number


def file_config(path, more=""):
    return f"consumers:\n  - {{ name: crm, file: {path}, linger: 10ms{more} }}\n"


HOST = [{**ONE_HOST[0], "unknown": "bad*"}]


def open_scene(scene, config, **kw):
    return scene(HOST, ONE_DOMAIN, config=config, **kw).daemon


# ---- files ----

def test_file_has_what_the_api_says(scene, tmp_path):
    path = tmp_path / "events.ndjson"
    daemon = open_scene(scene, file_config(path))
    deliver(daemon, [f"{n}@a.test" for n in range(50)] + ["bad@a.test"], tenant="acme", campaign="c\"ä\\")
    wait_read(daemon, "crm")
    assert read_lines(path) == daemon.events()
    assert {e["type"] for e in read_lines(path)} == {"accepted", "delivered", "bounced"}
    shown = daemon.cli("consumers")
    assert shown.returncode == 0 and re.search(r"^crm +file +102 +0 ", shown.stdout, re.M), shown
    metrics = daemon.get("/metrics").body
    assert 'postrider_consumer_lag_events{consumer="crm"} 0\n' in metrics
    assert 'postrider_consumer_events_total{consumer="crm"} 102\n' in metrics


def test_filters(scene, tmp_path):
    path = tmp_path / "events.ndjson"
    daemon = open_scene(scene, file_config(path, ", events: [bounced], tenants: [acme, umbrella]"))
    for tenant in ("acme", "other", "umbrella"):
        deliver(daemon, ["1@a.test", f"bad-{tenant}@a.test"], tenant=tenant)
    wait_read(daemon, "crm")
    assert [(e["type"], e["to"]) for e in read_lines(path)] == [
        ("bounced", "bad-acme@a.test"), ("bounced", "bad-umbrella@a.test")]


def test_file_goes_on_after_restarts_and_kills(scene, tmp_path):
    path = tmp_path / "events.ndjson"
    daemon = open_scene(scene, file_config(path))
    for turn in range(4):
        deliver(daemon, [f"{turn}-{n}@a.test" for n in range(20)])
        if turn % 2:
            daemon.kill()
            with open(path, "a") as f:
                f.write('{"seq":9999999,"cut')  # as a crash leaves it
        else:
            wait_read(daemon, "crm")
            daemon.stop()
        daemon.start()
    wait_read(daemon, "crm")
    seen = [e["seq"] for e in read_lines(path)]
    firsts = list(dict.fromkeys(seen))
    assert firsts == list(range(1, 4 * 40 + 1))


def test_rotation(scene, tmp_path):
    path = tmp_path / "events.ndjson"
    daemon = open_scene(scene, file_config(path, ", batch: 5, rotate_size: 5k, keep: 3"))
    deliver(daemon, [f"{n}@a.test" for n in range(100)])
    wait_read(daemon, "crm")
    parts = [f"{path}.{n}" for n in (3, 2, 1)] + [str(path)]
    assert all(os.path.getsize(p) <= 5 * 1024 for p in parts)
    assert not os.path.exists(f"{path}.4")
    seen = [e["seq"] for p in parts for e in read_lines(p)]
    assert seen == list(range(seen[0], 201)) and seen[0] > 1  # the oldest went


def test_file_that_is_moved_away(scene, tmp_path):
    path = tmp_path / "events.ndjson"
    daemon = open_scene(scene, file_config(path))
    deliver(daemon, ["1@a.test"])
    wait_read(daemon, "crm")
    os.rename(path, f"{path}.moved")
    deliver(daemon, ["2@a.test"])
    wait_read(daemon, "crm")
    assert [e["seq"] for e in read_lines(f"{path}.moved")] == [1, 2]
    assert [e["seq"] for e in read_lines(path)] == [3, 4]


def test_file_that_cannot_be_written(scene, tmp_path):
    directory = tmp_path / "not-yet"
    daemon = open_scene(scene, file_config(directory / "events.ndjson", ", retry: 50ms, retry_max: 100ms"))
    deliver(daemon, ["1@a.test"])
    one = wait_error(daemon, "crm")
    assert str(directory) in one["error"] and one["failures"] >= 1 and one["lag"] == 2 and one["cursor"] == 0
    shown = daemon.cli("consumers").stdout
    assert str(directory) in shown
    directory.mkdir()
    wait_read(daemon, "crm")
    assert [e["seq"] for e in read_lines(directory / "events.ndjson")] == [1, 2]


# ---- webhooks ----

def hook_config(receiver, more="", name="crm"):
    return (f"consumers:\n  - {{ name: {name}, webhook: \"{receiver.url}\", linger: 20ms, retry: 20ms, "
            f"retry_max: 100ms{more} }}\n")


@pytest.fixture
def receiver():
    with Receiver() as one:
        yield one


def check_order(events):
    """Each sequence number is seen for the first time after all before it."""
    highest = events[0]["seq"] - 1
    for event in events:
        assert event["seq"] <= highest + 1, f"{event['seq']} came after {highest}"
        highest = max(highest, event["seq"])


def test_webhook_batches_in_order(scene, receiver):
    daemon = open_scene(scene, hook_config(receiver, ", batch: 30"))
    deliver(daemon, [f"{n}@a.test" for n in range(100)])
    wait_read(daemon, "crm")
    assert receiver.events() == daemon.events()
    sizes = [len(json.loads(r.plain)["events"]) for r in receiver.taken()]
    assert max(sizes) == 30 and sum(sizes) == 200
    first = receiver.requests[0]
    assert first.path == "/events" and first.headers["content-type"] == "application/json"
    assert first.headers["user-agent"].startswith("postrider/")
    assert json.loads(first.plain)["consumer"] == "crm"
    assert "webhook-signature" not in first.headers


def test_webhook_that_fails_in_every_way(scene, receiver):
    """What it says does not matter: all is sent again until it is taken, and in order."""
    daemon = open_scene(scene, hook_config(receiver, ", batch: 7, timeout: 500ms"))
    moved = (307, {"Location": "http://127.0.0.1:1/"}, b"")
    receiver.plan(500, "close", 429, 503, "reset", "garbage", 408, "slow", 425, moved, 502,
                  (599, {}, b"\x00<x>"))
    deliver(daemon, [f"{n}@a.test" for n in range(60)])
    wait_read(daemon, "crm", 60)
    events = receiver.events()
    assert [e["seq"] for e in events] == list(range(1, 121))  # failures were before their taking
    check_order([e for r in receiver.requests if r.plain for e in json.loads(r.plain)["events"]])
    one = consumer(daemon, "crm")
    assert one["dead_lettered"] == 0 and one["failures"] == 0 and one["error"] and one["next"] is None
    ids = [r.headers["webhook-id"] for r in receiver.requests if r.plain]
    assert len(set(ids)) == len(receiver.taken())  # the same events, the same id


def test_retry_after_is_honoured(scene, receiver):
    daemon = open_scene(scene, hook_config(receiver))
    receiver.plan((503, {"Retry-After": "2"}, b"later"))
    begun = time.monotonic()
    deliver(daemon, ["1@a.test"])
    one = wait_error(daemon, "crm")
    assert "503: later" in one["error"] and one["next"] and one["lag"] > 0
    wait_read(daemon, "crm")
    assert time.monotonic() - begun >= 2


def test_poisoned_event_goes_to_the_dead_letters(scene, receiver, tmp_path):
    """One event that is refused for good costs nobody else anything."""
    letters = tmp_path / "dead.ndjson"
    receiver.always = lambda r: (422, {}, b"no such thing") if b"poison@" in r.plain else 200
    daemon = open_scene(scene, hook_config(receiver, f", batch: 16, dead_letters: {letters}"))
    good = [f"{n}@a.test" for n in range(40)]
    deliver(daemon, good[:20] + ["poison@a.test"] + good[20:])
    one = wait_read(daemon, "crm")
    dead = read_lines(letters)
    assert [d["status"] for d in dead] == [422, 422] and all(d["consumer"] == "crm" for d in dead)
    assert "422: no such thing" in dead[0]["error"]
    assert [e["type"] for d in dead for e in d["events"]] == ["accepted", "delivered"]
    assert all(e["to"] == "poison@a.test" for d in dead for e in d["events"])
    taken = [e["seq"] for e in receiver.events()]
    assert taken == sorted(taken) and len(taken) == 80
    assert sorted(taken + [e["seq"] for d in dead for e in d["events"]]) == list(range(1, 83))
    assert one["dead_lettered"] == 2 and one["sent"] == 80
    daemon.stop()
    daemon.start()
    assert consumer(daemon, "crm")["dead_lettered"] == 2  # counted durably


def test_webhook_that_refuses_everything(scene, receiver):
    """Whole batches, one after another, with waits between: it is the webhook that is wrong."""
    receiver.always = 403
    daemon = open_scene(scene, hook_config(receiver, ", batch: 10"))
    deliver(daemon, [f"{n}@a.test" for n in range(50)])
    one = wait_read(daemon, "crm")
    assert one["dead_lettered"] == 100 and one["sent"] == 0 and "answered 403" in one["error"]
    dead = read_lines(os.path.join(daemon.state, "crm.dead.ndjson"))
    assert [e["seq"] for d in dead for e in d["events"]] == list(range(1, 101))
    assert daemon.read_log().count("are put into") <= 5


def test_dead_letters_are_bounded(scene, receiver):
    """Put aside at rotate_size, and no more than keep of them."""
    receiver.always = 403
    daemon = open_scene(scene, hook_config(receiver, ", batch: 10, rotate_size: 8k, keep: 2"))
    deliver(daemon, [f"{n}@a.test" for n in range(100)])
    assert wait_read(daemon, "crm")["dead_lettered"] == 200
    names = sorted(n for n in os.listdir(daemon.state) if "dead" in n)
    assert names == ["crm.dead.ndjson", "crm.dead.ndjson.1", "crm.dead.ndjson.2"]
    assert sum(os.path.getsize(os.path.join(daemon.state, n)) for n in names) < 3 * 8192 + 1
    kept = [e["seq"] for n in reversed(names) for d in read_lines(os.path.join(daemon.state, n))
            for e in d["events"]]
    assert kept == list(range(kept[0], 201))


def test_gzip_and_signature(scene, receiver, tmp_path):
    key = bytes(range(40, 72))
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + base64.b64encode(key).decode() + "\n")
    daemon = open_scene(scene, hook_config(receiver, f", gzip: yes, secret_file: {secret}"))
    deliver(daemon, [f"{n}@a.test" for n in range(200)])
    wait_read(daemon, "crm")
    for r in receiver.requests:
        assert r.headers["content-encoding"] == "gzip"
        signed = f"{r.headers['webhook-id']}.{r.headers['webhook-timestamp']}.".encode() + r.plain
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert r.headers["webhook-signature"] == f"v1,{expected}"
        assert abs(time.time() - int(r.headers["webhook-timestamp"])) < 60
    assert sum(len(r.body) for r in receiver.requests) * 3 < sum(len(r.plain) for r in receiver.requests)
    assert receiver.events() == daemon.events()


def test_log_in(scene, receiver, tmp_path):
    password = tmp_path / "password"
    password.write_text("pa:ss wörd\n")
    daemon = open_scene(scene, hook_config(receiver, f", user: api, password_file: {password}"))
    deliver(daemon, ["1@a.test"])
    wait_read(daemon, "crm")
    scheme, text = receiver.requests[0].headers["authorization"].split()
    assert scheme == "Basic" and base64.b64decode(text).decode() == "api:pa:ss wörd"


def test_secret_that_cannot_be_read(scene, receiver, tmp_path):
    daemon = open_scene(scene, "")
    daemon.stop()
    with open(daemon.config, "a") as f:
        f.write(hook_config(receiver, f", secret_file: {tmp_path}/none"))
    daemon.start(wait=False)
    assert daemon.process.wait(20) == 1
    assert f"{tmp_path}/none: cannot read it" in daemon.read_log()
    with open(daemon.config) as f:
        text = f.read()
    with open(daemon.config, "w") as f:
        f.write(text.replace(f", secret_file: {tmp_path}/none", ""))
    daemon.start()


def certificate(directory):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", f"{directory}/key.pem", "-out", f"{directory}/cert.pem", "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{directory}/cert.pem", f"{directory}/key.pem")
    return context


def test_tls_is_verified(scene, tmp_path):
    with Receiver(tls=certificate(tmp_path)) as receiver:
        trusting = hook_config(receiver, f", ca_file: {tmp_path}/cert.pem", "trusting")
        config = hook_config(receiver) + trusting.replace("consumers:\n", "")
        daemon = open_scene(scene, config)
        deliver(daemon, ["1@a.test"])
        wait_read(daemon, "trusting")
        one = wait_error(daemon, "crm")
        assert "certificate" in one["error"] and one["cursor"] == 0
        assert all(json.loads(r.plain)["consumer"] == "trusting" for r in receiver.requests)


def test_stop_does_not_wait_for_a_slow_webhook(scene, receiver):
    receiver.always, receiver.slow_s = "slow", 30
    daemon = open_scene(scene, hook_config(receiver, ", timeout: 1h"))
    deliver(daemon, ["1@a.test"])
    wait_for(lambda: receiver.planned == [] and consumer(daemon, "crm")["lag"] == 2, 20, "the request")
    time.sleep(0.2)
    begun = time.monotonic()
    daemon.stop()
    assert time.monotonic() - begun < 10
    receiver.always = 200
    daemon.start()
    wait_read(daemon, "crm")
    assert [e["seq"] for e in receiver.events()] == [1, 2]


# ---- what is kept for them ----

def test_new_ones_and_those_that_are_gone(scene, receiver, tmp_path):
    daemon = open_scene(scene, "")
    deliver(daemon, ["1@a.test"])
    with open(daemon.config) as f:
        before = f.read()
    files = {start: tmp_path / f"{start}.ndjson" for start in ("now", "oldest")}
    config = "consumers:\n" + "".join(f"  - {{ name: {s}, file: {p}, start: {s}, linger: 10ms }}\n"
                                      for s, p in files.items())
    daemon.stop()
    with open(daemon.config, "w") as f:
        f.write(before + config)
    daemon.start()
    deliver(daemon, ["2@a.test"])
    for name in files:
        wait_read(daemon, name)
    assert [e["seq"] for e in read_lines(files["now"])] == [3, 4]
    assert [e["seq"] for e in read_lines(files["oldest"])] == [1, 2, 3, 4]
    daemon.stop()
    with open(daemon.config, "w") as f:
        f.write(before)
    daemon.start()
    assert daemon.get("/v1/consumers").json["consumers"] == []
    assert 'consumer "now" is no longer configured: forgotten; it had read up to 4' in daemon.read_log()
    deliver(daemon, ["3@a.test"])
    daemon.stop()
    with open(daemon.config, "w") as f:
        f.write(before + config)
    daemon.start()
    deliver(daemon, ["4@a.test"])
    wait_read(daemon, "now")
    assert [e["seq"] for e in read_lines(files["now"])] == [3, 4, 7, 8]  # new once more


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: for root only")


def test_full_log_stops_intake_and_says_for_whom(scene, receiver):
    """At the log's bound new jobs get 507 with the consumer's name; when it reads on, they are taken."""
    receiver.always = 503
    daemon = open_scene(scene, "queue: { events_max: 1M }\n" + hook_config(receiver, ", batch: 1000"))

    def refused():
        answer = daemon.submit(job(bounces="none"), [f"{n}@a.test" for n in range(2000)])
        assert answer.status in (202, 507), answer
        return answer if answer.status == 507 else None
    answer = wait_for(refused, 60, "the log to be full")
    reason = answer.json["error"]["reason"]
    assert answer.json["error"]["code"] == "full"
    assert 'the consumer "crm" has read up to 0 of' in reason, reason
    assert "queue.events_max, 1M" in reason
    assert daemon.status()["full"]
    receiver.always = 200
    wait_for(lambda: daemon.submit(job(bounces="none"), ["1@a.test"]).status == 202, 30, "room again")
    wait_for(lambda: daemon.status()["queued"] == 0, 60, "all mail to be sent")
    wait_read(daemon, "crm")
    seen = [e["seq"] for e in receiver.events()]
    assert seen == list(range(1, len(seen) + 1))
    assert all(e["to"] and e["tenant"] == "default" for e in receiver.events())


def test_one_that_drops(scene, receiver):
    receiver.always = 503
    daemon = open_scene(scene, "queue: { events_max: 1M }\n" +
                        hook_config(receiver, ", batch: 100, on_full: drop"))
    for _ in range(20):
        answer = daemon.submit(job(bounces="none"), [f"{n}@a.test" for n in range(2000)])
        assert answer.status == 202, answer
    wait_for(lambda: daemon.status()["queued"] == 0, 60, "all mail to be sent")
    time.sleep(2)  # the log is swept once a second
    receiver.always = 200
    one = wait_read(daemon, "crm", 60)
    seen = [e["seq"] for e in receiver.events()]
    assert one["dropped"] > 0 and one["dropped"] + len(seen) == 80000
    assert seen == sorted(seen) and seen[-1] == 80000
    assert re.search(r'consumer "crm" has missed \d+ events', daemon.read_log())
    daemon.stop()
    daemon.start()
    assert consumer(daemon, "crm")["dropped"] == one["dropped"]
