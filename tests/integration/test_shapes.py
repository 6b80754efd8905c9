"""The forms of webhooks that platforms know from others, read by parsers written from their documentation."""
import hashlib
import hmac
import json
import re
import uuid
from datetime import datetime, timezone

import pytest

from daemon import job, wait_for
from receiver import Receiver
from test_consumers import wait_read

CAMPAIGN = "9f86b50d-5711-41c8-ab03-bc91c43d711b"
SUBSCRIBER = "5e2b9c4a-2a0e-4f5c-9a65-0e0c4cbb1d7e"
HOSTS = [{"name": "mx.a.test", "address": "127.0.8.2", "unknown": "gone*", "full": "full*",
          "replies": [{"at": "rcpt", "match": "spam*", "code": 550, "text": "5.7.1 message refused as junk"}]}]
DOMAINS = [{"name": "a.test", "mx": [[10, "mx.a.test"]]}]


def is_time(text):
    """ISO 8601 in UTC, as Amazon and JavaScript write it."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text), text
    age = datetime.now(timezone.utc) - datetime.fromisoformat(text.replace("Z", "+00:00"))
    assert abs(age.total_seconds()) < 300
    return True


@pytest.fixture(scope="module")
def shaped(tmp_path_factory):
    """What each of three webhooks was sent about the same recipients: [(headers, body)] by shape."""
    from conftest import Scene
    secret = tmp_path_factory.mktemp("secret") / "key"
    secret.write_text("key-3ax6xnjp29jd6fds4gc373sgvjxteol0")
    receivers = {shape: Receiver() for shape in ("listmonk", "mailgun", "ses")}
    consumers = "".join(f"  - {{ name: {shape}, webhook: \"{r.url}\", shape: {shape}, secret_file: {secret}, "
                        f"linger: 10ms }}\n" for shape, r in receivers.items())
    config = f"retry:\n  - {{ status: \"4\", schedule: [1s], give_up: 2s }}\nconsumers:\n{consumers}"
    for receiver in receivers.values():
        receiver.__enter__()
    with Scene(HOSTS, DOMAINS, config=config) as scene:
        recipients = [{"to": f"{name}@a.test", "id": SUBSCRIBER if name == "gone" else "42",
                       "metadata": {"list": "7", "who": name}} for name in ("good", "gone", "full", "spam")]
        answer = scene.daemon.submit(job(campaign=CAMPAIGN, bounces="none"), recipients)
        number = answer.json["jobs"][0]["job"]
        wait_for(lambda: scene.daemon.job(number)["state"] == "ended", 60, "the job to end")
        for shape in receivers:
            wait_read(scene.daemon, shape)
        events = scene.daemon.events()
    for receiver in receivers.values():
        receiver.__exit__()
    requests = {shape: [(r.headers, json.loads(r.plain)) for r in receiver.taken()]
                for shape, receiver in receivers.items()}
    return events, requests, secret.read_text().encode()


def rid_of(events, name):
    return next(e["rid"] for e in events if e["to"] == f"{name}@a.test")


def test_listmonk(shaped):
    """https://listmonk.app/docs/bounces/ "Webhook API": a JSON object a request."""
    events, requests, _ = shaped
    seen = {}
    for headers, body in requests["listmonk"]:
        assert headers["content-type"] == "application/json"
        assert set(body) <= {"email", "subscriber_uuid", "campaign_uuid", "source", "type", "meta",
                             "created_at"}
        assert body["type"] in ("hard", "soft", "complaint") and body["source"] == "postrider"
        assert uuid.UUID(body["campaign_uuid"]) == uuid.UUID(CAMPAIGN)
        assert isinstance(body["meta"], str) and json.loads(body["meta"])["to"] == body["email"]
        assert is_time(body["created_at"])
        seen[body["email"]] = body
    assert set(seen) == {"gone@a.test", "full@a.test", "spam@a.test"}  # one that was delivered is no bounce
    assert len(requests["listmonk"]) == 3
    assert seen["gone@a.test"]["type"] == "hard" and seen["gone@a.test"]["subscriber_uuid"] == SUBSCRIBER
    for name in ("full", "spam"):  # not the address's fault
        assert seen[f"{name}@a.test"]["type"] == "soft" and "subscriber_uuid" not in seen[f"{name}@a.test"]


def test_mailgun(shaped):
    """https://documentation.mailgun.com "Webhook Payloads" and "Securing Webhooks"."""
    events, requests, key = shaped
    seen, tokens = {}, set()
    for headers, body in requests["mailgun"]:
        assert headers["content-type"] == "application/json" and set(body) == {"signature", "event-data"}
        sign, data = body["signature"], body["event-data"]
        assert set(sign) == {"timestamp", "token", "signature"}
        assert re.fullmatch(r"\d{10}", sign["timestamp"]) and re.fullmatch(r"[0-9a-f]{50}", sign["token"])
        digest = hmac.new(key, (sign["timestamp"] + sign["token"]).encode(), hashlib.sha256).hexdigest()
        assert digest == sign["signature"]
        tokens.add(sign["token"])
        assert isinstance(data["id"], str) and isinstance(data["timestamp"], float)
        assert abs(data["timestamp"] - datetime.now().timestamp()) < 300
        assert data["log-level"] in ("info", "warn", "error")
        assert data["recipient-domain"] == "a.test"
        name = data["recipient"].split("@")[0]
        assert data["envelope"] == {"sender": "news@sender.test", "targets": data["recipient"],
                                    "transport": "smtp"}
        assert data["message"]["headers"]["message-id"] == rid_of(events, name)
        assert data["user-variables"] == {"list": "7", "who": name} and data["tags"] == [CAMPAIGN]
        if data["event"] != "accepted":
            status = data["delivery-status"]
            assert isinstance(status["code"], int) and isinstance(status["attempt-no"], int)
            assert isinstance(status["session-seconds"], float) and isinstance(status["tls"], bool)
            assert status["mx-host"] == "mx.a.test" and isinstance(status["message"], str)
        seen.setdefault(name, []).append(data)
    assert len(tokens) == len(requests["mailgun"])
    story = {name: [(d["event"], d.get("severity"), d.get("reason")) for d in list_]
             for name, list_ in seen.items()}
    assert story["good"] == [("accepted", None, None), ("delivered", None, None)]
    assert story["gone"] == [("accepted", None, None), ("failed", "permanent", "bounce")]
    assert story["full"][1] == ("failed", "temporary", "generic")
    assert story["full"][-1] == ("failed", "permanent", "bounce")
    gone = seen["gone"][-1]["delivery-status"]
    assert gone["code"] == 550 and gone["enhanced-code"] == "5.1.1" and "5.1.1" in gone["message"]
    assert gone["description"] == "Bad destination mailbox address"
    assert seen["full"][1]["delivery-status"]["retry-seconds"] in (0, 1)


def test_ses(shaped):
    """https://docs.aws.amazon.com/ses/ "SNS notification contents", within SNS's HTTP notification."""
    events, requests, _ = shaped
    seen, ids = {}, set()
    for headers, body in requests["ses"]:
        assert headers["content-type"].startswith("text/plain")
        assert headers["x-amz-sns-message-type"] == body["Type"] == "Notification"
        assert headers["x-amz-sns-message-id"] == body["MessageId"] == str(uuid.UUID(body["MessageId"]))
        assert headers["x-amz-sns-topic-arn"] == body["TopicArn"]
        assert re.fullmatch(r"arn:aws:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+", body["TopicArn"])
        assert is_time(body["Timestamp"]) and isinstance(body["Message"], str)
        assert body["SignatureVersion"] == "1" and body["Signature"] == ""  # only Amazon can sign
        ids.add(body["MessageId"])
        message = json.loads(body["Message"])
        mail = message["mail"]
        assert is_time(mail["timestamp"]) and mail["source"] == "news@sender.test"
        assert len(mail["destination"]) == 1
        name = mail["destination"][0].split("@")[0]
        assert mail["messageId"] == rid_of(events, name)
        kind = message["notificationType"]
        about = message[kind.lower()]
        assert set(message) == {"notificationType", "mail", kind.lower()} and is_time(about["timestamp"])
        assert name not in seen
        seen[name] = (kind, about)
    assert len(ids) == len(requests["ses"]) == 4
    kind, delivery = seen["good"]
    assert kind == "Delivery" and delivery["recipients"] == ["good@a.test"]
    assert isinstance(delivery["processingTimeMillis"], int) and delivery["reportingMTA"] == "dns; mta.test"
    assert isinstance(delivery["smtpResponse"], str)
    for name, how in {"gone": ("Permanent", "General"), "full": ("Transient", "MailboxFull"),
                      "spam": ("Transient", "General")}.items():
        kind, bounce = seen[name]
        assert kind == "Bounce" and (bounce["bounceType"], bounce["bounceSubType"]) == how
        assert isinstance(bounce["feedbackId"], str) and bounce["reportingMTA"] == "dns; mta.test"
        (one,) = bounce["bouncedRecipients"]
        assert one["emailAddress"] == f"{name}@a.test" and one["action"] == "failed"
        assert re.fullmatch(r"[45]\.\d+\.\d+", one["status"]) and one["diagnosticCode"].startswith("smtp; ")
