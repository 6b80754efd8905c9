"""What becomes of mail when a receiver answers as replies.yaml has it: for every built-in rule a host of that
receiver, at a site of its own, and mail to it, all at once. The path, the sender domain, the job or the
recipient does what the rule says, and nothing else: other mail to the same hosts goes on as far as the rule
allows, and what was held does once it is released."""
import datetime
import json
import os

import pytest
import yaml

from conftest import Scene
from daemon import ROOT, wait_for

HERE = os.path.dirname(__file__)
STEP = {"greeting": "connect", "mail": "mail", "rcpt": "rcpt", "data": "dot"}
# Of a job whose content is refused: the hold (JOB_HOLD_REPLIES in limits.h) comes before they are through.
JOB_RECIPIENTS = 60


def load(path):
    with open(path, encoding="utf-8") as f:
        return yaml.safe_load(f)


TABLE = load(os.path.join(HERE, "replies.yaml"))
RULE = {rule["name"]: rule for rule in load(os.path.join(ROOT, "deploy/replies.yaml"))["replies"]}


def clauses(name):
    """["slow", "pause 1h"], and the words that begin them."""
    parts = [part.strip() for part in RULE[name]["action"].split(",")]
    return parts, {part.split()[0] for part in parts}


def rows(*words, without=()):
    """Those whose action has one of the words, and none of the others."""
    return [row for row in TABLE
            if clauses(row["rule"])[1] & set(words) and not clauses(row["rule"])[1] & set(without)]


def host_name(row):
    """One of the receiver's hosts, for this rule alone."""
    return row["rule"] + "." + row["host"].split(".", 1)[1]


def character(row):
    """The host answers like this at its step: to recipients whose names begin with bad, where it is RCPT."""
    reply = row["replies"][0]
    if reply == "closed":
        return [{"at": STEP[row["at"]], "action": "close"}]
    lines = reply.split("\n")
    answer = {"at": STEP[row["at"]], "code": int(lines[0][:3]), "text": "\n".join(line[4:] for line in lines)}
    if row["at"] == "rcpt":
        answer["match"] = "bad*"
    if "split" in clauses(row["rule"])[1]:
        answer["times"] = 1  # another transaction is another matter
    return [answer]


def job(campaign, recipients, sender="news@sender.test", text="Hello"):
    head = {"from": sender, "campaign": campaign, "message": {"raw": f"Subject: Hello\r\n\r\n{text}\r\n"}}
    return [head] + [{"to": to} for to in recipients]


class Play:
    """All rules at once, and what can be seen of each."""

    def __init__(self):
        hosts = [{"name": host_name(row), "address": f"127.0.9.{i + 1}", "replies": character(row)}
                 for i, row in enumerate(TABLE)]
        domains = [{"name": row["rule"] + ".test", "mx": [[10, host_name(row)]]} for row in TABLE]
        sites = "".join(f'  - {{ name: {row["rule"]}, mx: ["{host_name(row)}"] }}\n' for row in TABLE)
        self.scene = Scene(hosts + [{"name": "mx.calm.test", "address": "127.0.8.2"}],
                           domains + [{"name": "calm.test", "mx": [[10, "mx.calm.test"]]}], sites=sites)

    def __enter__(self):
        self.scene.__enter__()
        lines = []
        for row in TABLE:
            name = row["rule"]
            recipients = [f"bad{i}@{name}.test" for i in range(JOB_RECIPIENTS if row in JOB else 1)]
            if row["at"] == "rcpt":
                recipients.append(f"good@{name}.test")
            # Each its own message where each is to have its own reply.
            lines += job(name, recipients, text="Hello {{to}}" if row in JOB else "Hello")
        self.submit(lines + job("calm", ["ada@calm.test"]))
        wait_for(lambda: len(self.events("calm")) == 2, 60, "a calm host's mail")
        return self

    def __exit__(self, *failure):
        self.scene.__exit__(*failure)

    def submit(self, lines):
        answer = self.scene.daemon.call("POST", "/v1/jobs", "\n".join(map(json.dumps, lines)),
                                        {"Content-Type": "application/x-ndjson"})
        assert answer.status == 202, answer

    def post(self, call):
        answer = self.scene.daemon.call("POST", call)
        assert answer.status in (200, 202), answer

    def events(self, name, **wanted):
        """Of a rule's recipients, and of its site."""
        return [event for event in self.scene.daemon.get("/v1/events").lines
                if name in (event["campaign"], event["site"])
                and all(event[key] == value for key, value in wanted.items())]

    def ends(self, name, to="bad0"):
        """The types of its events, but the first."""
        types = [event["type"] for event in self.events(name, to=f"{to}@{name}.test")]
        return [kind for kind in types if kind != "accepted"]

    def rid(self, name, to="bad0"):
        return self.events(name, type="accepted", to=f"{to}@{name}.test")[0]["rid"]

    def explained(self, name, to="bad0"):
        """What holds it."""
        answer = self.scene.daemon.get("/v1/explain?rid=" + self.rid(name, to))
        assert answer.status == 200, answer
        return answer.json["answers"][0]

    def held_by(self, name, limit, to="bad0"):
        return wait_for(lambda: (why := self.explained(name, to))["limit"] == limit and why, 30,
                        f"{name} to be held by {limit}: {self.explained(name, to)}")

    def connections(self, row):
        """How many its host has seen."""
        return self.scene.world.counts(host_name(row))["connections"]["total"]

    def site(self, name):
        answer = self.scene.daemon.get("/v1/sites/" + name)
        return answer.json if answer.status == 200 else {"blocked_by": "", "blocked_until": None}

    def is_suppressed(self, address):
        return address in {line["address"] for line in self.scene.daemon.get("/v1/suppressions").lines}

    def assert_kept(self, name, to="bad0"):
        """It waits, no attempt was counted, and nobody is off a list for it."""
        recipient = self.scene.daemon.get("/v1/recipients/" + self.rid(name, to)).json
        assert recipient["state"] in ("ready", "deferred") and recipient["attempts"] == 0, recipient
        assert not self.is_suppressed(f"{to}@{name}.test")

    def assert_path_free(self, name):
        """Nothing holds the path for long: an unreachable host or a slow path is not a hold."""
        assert self.site(name)["blocked_by"] not in ("pause", "stop"), self.site(name)


@pytest.fixture(scope="module")
def play():
    with Play() as one:
        yield one


def seconds(text):
    return {"m": 60, "h": 3600}[text[-1]] * int(text[:-1])


def seconds_until(time):
    return (datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
            - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


def after(word, name):
    """What stands behind the word in its clause: "1h" of "pause 1h"; "" nothing."""
    clause = next(part for part in clauses(name)[0] if part.split()[0] == word)
    return clause.partition(" ")[2]


def assert_about(time, length):
    """A time so long after the reply, which came within the last two minutes; with jitter."""
    assert 0.85 * length - 120 < seconds_until(time) < 1.15 * length + 5, time


def each(table):
    return pytest.mark.parametrize("row", table, ids=lambda row: row["rule"])


JOB = rows("job")
OF_PATH = rows("pause", "stop", without=["sender"])  # hold all that goes there
BEFORE_READY = [row for row in TABLE if row["at"] == "greeting"]


def test_every_rule_is_tried():
    tried = [OF_PATH, rows("sender"), rows("fix"), JOB, rows("rcpt"), rows("fail"), rows("suppress"),
             rows("reconnect"), rows("split"), rows("tls"), rows("slow", "cap", without=["pause", "sender"])]
    assert sorted(row["rule"] for rows_ in tried for row in rows_) == sorted(RULE)


def test_other_receivers_notice_nothing(play):
    assert play.ends("calm", "ada") == ["delivered"]


@each(rows("pause", without=["sender"]))
def test_pause(play, row):
    name = row["rule"]
    site = wait_for(lambda: (now := play.site(name))["blocked_by"] == "pause" and now, 30, f"{name} to pause")
    assert_about(site["blocked_until"], seconds(after("pause", name)))
    play.assert_kept(name)
    assert play.events(name, type="alert") == []


@each(rows("stop", without=["sender"]))
def test_stop(play, row):
    name = row["rule"]
    site = wait_for(lambda: (site := play.site(name))["blocked_by"] == "stop" and site, 30, f"{name} to stop")
    assert site["blocked_until"] is None
    play.assert_kept(name)
    assert len(play.events(name, type="alert")) == 1


@each([row for row in rows("sender") if "slow" in clauses(row["rule"])[1]])
def test_a_sender_domain_is_slowed(play, row):
    """Not the path; and what heard it goes again by that rate, its attempt not used."""
    name = row["rule"]
    site = wait_for(lambda: (site := play.site(name)).get("senders") and site, 30, f"{name} to slow it down")
    assert [one["sender"] for one in site["senders"]] == ["sender.test"] and site["slowed_to"] is None
    assert set(play.ends(name)) <= {"deferred"}
    play.assert_kept(name)
    play.assert_path_free(name)
    assert play.events(name, type="alert") == []


@each(rows("sender", without=["slow"]))
def test_a_sender_domain_waits(play, row):
    name = row["rule"]
    why = play.held_by(name, "sender")
    stops = "stop" in clauses(name)[1]
    assert (why["until"] is None) == stops
    if "pause" in clauses(name)[1]:
        assert_about(why["until"], seconds(after("pause", name)))
    play.assert_kept(name)
    play.assert_path_free(name)
    assert len(play.events(name, type="alert")) == stops


@each(rows("fix"))
def test_fix(play, row):
    name = row["rule"]
    if "path" in clauses(name)[1]:
        wait_for(lambda: play.site(name)["blocked_by"] == "stop", 30, f"{name} to stop")
    else:
        why = play.held_by(name, "fix")
        assert why["until"] is None and "postrider resume " in why["why"] and f"--site {name}" in why["why"]
        play.assert_path_free(name)
    play.assert_kept(name)
    assert len(play.events(name, type="alert")) == 1


@each(JOB)
def test_job(play, row):
    """It is held after several replies; those before are judged by their code, and nobody is suppressed."""
    name = row["rule"]
    wait_for(lambda: play.events(name, type="alert"), 30, f"{name} to be held")
    last = f"bad{JOB_RECIPIENTS - 1}"
    play.held_by(name, "job", last)
    play.assert_kept(name, last)
    play.assert_path_free(name)
    temporary = row["replies"][0][0] == "4"
    spent = [event for event in play.events(name, attempt=1) if event["type"] != "accepted"]
    assert {event["type"] for event in spent} <= {"deferred" if temporary else "bounced"}
    assert (0 if temporary else 4) <= len(spent) < JOB_RECIPIENTS / 2
    assert not any(play.is_suppressed(event["to"]) for event in spent)
    assert len(play.events(name, type="alert")) == 1


@each(rows("rcpt"))
def test_rcpt(play, row):
    name = row["rule"]
    bad = wait_for(lambda: play.events(name, type="deferred"), 30, f"{name} to defer")[0]
    assert bad["to"] == f"bad0@{name}.test" and bad["attempt"] == 1
    if after("rcpt", name):
        assert_about(bad["next"], seconds(after("rcpt", name)))
    assert seconds_until(bad["next"]) > 120
    assert not play.is_suppressed(bad["to"])
    play.assert_path_free(name)


@each(rows("fail"))
def test_fail(play, row):
    name = row["rule"]
    wait_for(lambda: play.ends(name) == ["bounced"], 30, f"{name} to fail")
    assert not play.is_suppressed(f"bad0@{name}.test")
    play.assert_path_free(name)


@each(rows("suppress"))
def test_suppress(play, row):
    name = row["rule"]
    wait_for(lambda: play.ends(name) == ["bounced"], 30, f"{name} to fail")
    if after("suppress", name):
        assert not play.is_suppressed(f"bad0@{name}.test")
    else:
        wait_for(lambda: play.is_suppressed(f"bad0@{name}.test"), 30, f"{name} to suppress")
    assert not play.is_suppressed(f"good@{name}.test")
    play.assert_path_free(name)


@each([row for row in rows("suppress") if after("suppress", row["rule"])])
def test_suppress_after_several(play, row):
    """Each reply counts, over jobs; the last of them suppresses, none before."""
    name = row["rule"]
    wanted = int(after("suppress", name).split()[1])
    for n in range(2, wanted + 1):
        assert not play.is_suppressed(f"bad0@{name}.test")
        play.submit(job(name, [f"bad0@{name}.test"]))
        wait_for(lambda: play.ends(name).count("bounced") == n, 30, f"{name} to fail for the {n}th time")
    wait_for(lambda: play.is_suppressed(f"bad0@{name}.test"), 30, f"{name} to suppress")
    play.submit(job(name, [f"bad0@{name}.test"]))
    wait_for(lambda: play.ends(name)[-1] == "suppressed", 30, f"{name}: no more mail to it")
    assert play.ends(name).count("bounced") == wanted
    play.assert_path_free(name)


@each(rows("reconnect"))
def test_reconnect(play, row):
    """At once for the first time; then after a minute or so, for this goes on."""
    name = row["rule"]
    wait_for(lambda: play.connections(row) >= 2, 30, f"{name} to reconnect")
    play.assert_kept(name)
    until = play.site(name)["blocked_until"]
    assert until is None or seconds_until(until) < 180


@each(rows("split"))
def test_split(play, row):
    """Its turn comes in another transaction, and that is its first attempt."""
    name = row["rule"]
    wait_for(lambda: play.ends(name)[-1:] == ["delivered"], 30, f"{name} to be sent again")
    assert play.events(name, to=f"bad0@{name}.test", type="delivered")[0]["attempt"] == 1


@each(rows("slow", "cap", without=["pause", "sender"]))
def test_slow_and_cap(play, row):
    """It waits its turn: nothing is held, nobody's attempt is used."""
    name = row["rule"]
    wait_for(lambda: play.connections(row) >= 1, 30, f"{name} to be tried")
    if row in BEFORE_READY:
        assert set(play.ends(name)) <= {"deferred"}  # the host is left alone for a while, as any that refuses
    else:
        play.assert_kept(name)
    if "slow" in clauses(name)[1]:
        wait_for(lambda: play.site(name)["slowed_to"] is not None, 30, f"{name} to slow down")
    play.assert_path_free(name)
    assert play.events(name, type="alert") == []


@each([row for row in TABLE if row["at"] == "rcpt" and row not in OF_PATH])
def test_others_in_the_same_transaction_are_served(play, row):
    name = row["rule"]
    wait_for(lambda: play.ends(name, "good")[-1:] == ["delivered"], 30, f"{name}'s other recipient")


# ---- then the receivers are in a better mood: prompt and good from here on ----

@pytest.fixture(scope="module")
def better(play):
    for row in TABLE:
        play.scene.world.host(host_name(row), "prompt", True)
    lines = []
    for row in TABLE:
        lines += job(row["rule"], [f"amy@{row['rule']}.test"], sender="shop@other.test")
    play.submit(lines)
    return play


OF_SENDER = rows("sender") + [row for row in rows("fix", without=["path"]) if row not in BEFORE_READY]
STOPPED = rows("stop", "fix", "job")


@each(OF_SENDER + JOB + rows("rcpt", "fail", "suppress", "split"))
def test_other_mail_of_the_path_goes_on(better, row):
    name = row["rule"]
    wait_for(lambda: better.ends(name, "amy")[-1:] == ["delivered"], 60, f"other mail to {name}")


@each([row for row in OF_PATH if "pause 2m" not in clauses(row["rule"])[0]] + rows("path"))
def test_nothing_passes_a_held_path(better, row):
    better.assert_kept(row["rule"], "amy")


@each([row for row in OF_SENDER + JOB if "slow" not in clauses(row["rule"])[1]])
def test_what_is_held_stays(better, row):
    better.assert_kept(row["rule"], f"bad{JOB_RECIPIENTS - 1}" if row in JOB else "bad0")


@pytest.fixture(scope="module")
def released(better):
    better.post("/v1/queue/resume?all=1")
    better.post("/v1/queue/retry?all=1")
    return better


@each(STOPPED)
def test_what_is_released_is_sent_with_its_first_attempt(released, row):
    name = row["rule"]
    to = f"bad{JOB_RECIPIENTS - 1}" if row in JOB else "bad0"
    wait_for(lambda: "delivered" in released.ends(name, to), 60, f"{name} to be released")
    assert released.events(name, to=f"{to}@{name}.test", type="delivered")[0]["attempt"] == 1
