"""Reply rules: every built-in one against whole replies in its receiver's manner (replies.yaml), near misses
and the same reply from elsewhere; the operator's before them; what `postrider rule` says. All asked of a
daemon."""
import json
import os
import re
import subprocess
import textwrap
import urllib.parse

import pytest
import yaml

from daemon import BUILD, ROOT, Daemon
from sanitizer import limit

POSTRIDER = os.path.join(BUILD, "postrider")
ELSEWHERE = {None: "mx.nobody.example", "yahoo": "mta7.am0.yahoodns.net", "gmail": "aspmx.l.google.com"}


def load(path):
    with open(path, encoding="utf-8") as f:
        return yaml.safe_load(f)


TABLE = load(os.path.join(os.path.dirname(__file__), "replies.yaml"))
BUILT_IN = load(os.path.join(ROOT, "deploy/replies.yaml"))
RULE = {rule["name"]: rule for rule in BUILT_IN["replies"]}
RECEIVER = {name: rule.get("site") for name, rule in RULE.items()}


@pytest.fixture(scope="module")
def daemon():
    with Daemon() as one:
        yield one


def meets(daemon, reply, host, at=None):
    """The name of the rule that the reply meets; None: none."""
    asked = {"reply": reply, "mx": host}
    if at:
        asked["at"] = at
    answer = daemon.get("/v1/rules/test?" + urllib.parse.urlencode(asked))
    assert answer.status == 200, answer
    rule = answer.json["rule"]
    return rule and rule["name"]


def test_every_built_in_rule_has_its_replies():
    assert [row["rule"] for row in TABLE] == [rule["name"] for rule in BUILT_IN["replies"]]
    assert all(row["replies"] and row["near"] for row in TABLE)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row["rule"])
def test_a_built_in_rule(daemon, row):
    for reply in row["replies"]:
        assert meets(daemon, reply, row["host"], row["at"]) == row["rule"], reply
        assert meets(daemon, reply.replace("\n", "\r\n"), row["host"]) == row["rule"], reply
    for near in row["near"]:
        assert meets(daemon, near["reply"], row["host"], row["at"]) == near.get("meets"), near


def changed(reply, code=None, status=None, words=None):
    """The reply with another code, enhanced status or text in each line."""
    lines = []
    for line in reply.split("\n"):
        parts = re.fullmatch(r"(\d{3})([- ])([245]\.\d+\.\d+ )?(.*)", line, re.S)
        enhanced = parts[3] if status is None else status + " "
        lines.append((code or parts[1]) + parts[2] + (enhanced or "") + (words or parts[4]))
    return "\n".join(lines)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row["rule"])
def test_each_condition_of_a_built_in_rule_counts(daemon, row):
    rule = RULE[row["rule"]]
    for reply in row["replies"]:
        near = []
        if reply != "closed" and "code" in rule:
            other = "599" if reply[0] == "4" or "4xx" in str(rule["code"]) else "499"
            near.append((changed(reply, code=other), row["at"]))
        if "status" in rule:
            near.append((changed(reply, status=f"{reply[0]}.9.9"), row["at"]))
        if "match" in rule:
            near.append((changed(reply, words="We regret that this cannot be done."), row["at"]))
        if "at" in rule:
            near.append((reply, "greeting" if row["at"] != "greeting" else "rcpt"))
        for reply_near, at in near:
            assert meets(daemon, reply_near, row["host"], at) != row["rule"], (reply_near, at)


@pytest.mark.parametrize("row", [row for row in TABLE if RECEIVER[row["rule"]]], ids=lambda row: row["rule"])
def test_a_receivers_reply_from_elsewhere_is_not_its_rule(daemon, row):
    own = RECEIVER[row["rule"]]
    for reply in row["replies"]:
        for receiver, host in ELSEWHERE.items():
            met = meets(daemon, reply, host, row["at"])
            assert receiver == own or met is None or RECEIVER[met] in (None, receiver), (reply, host, met)


def test_a_step_counts(daemon):
    reply = "554 IP=192.0.2.7 - A problem occurred. (Ask your postmaster) (BL)"
    assert meets(daemon, reply, "mx02.t-online.de", "greeting") == "t-online-listed"
    assert meets(daemon, reply, "mx02.t-online.de", "data") is None


def test_a_long_reply_is_read_to_its_bound(daemon):
    filler, words = " x" * (limit("REPLY_TEXT_MAX") // 2), "an unusual rate of mail"
    for text, rule in (words + filler, "gmail-rate"), (filler + " " + words, None):
        *lines, last = textwrap.wrap(text, limit("REPLY_LINE_MAX") - len("421 4.7.28 "))
        reply = "".join(f"421-4.7.28 {line}\n" for line in lines) + "421 4.7.28 " + last
        assert meets(daemon, reply, "aspmx.l.google.com") == rule


# ---- the operator's ----

OPERATORS = """
sites:
  - { name: big, mx: ["mx*.big.test"] }
receivers:
  - { name: filter, mx: [filter.big.test] }
replies:
  - { name: mine, site: gmail, match: 'unusual rate', code: 421, status: "4.7.28", action: pause 1h }
  - { site: filter, match: 'go away', action: stop }
  - { site: big, code: 4xx, match: slowly, action: "slow, sender" }
"""


def test_the_operators_rules_come_first():
    with Daemon(OPERATORS) as daemon:
        reply = "421 4.7.28 Gmail has detected an unusual rate of mail from your IP address. - gsmtp"
        assert meets(daemon, reply, "aspmx.l.google.com") == "mine"
        assert meets(daemon, "421 4.7.0 an unusual rate of mail", "aspmx.l.google.com") == "gmail-rate"
        assert meets(daemon, "550 go away", "filter.big.test") == "replies.2"
        assert meets(daemon, "450 slowly", "mx3.big.test") == "replies.3"
        assert meets(daemon, "450 slowly", "mx.other.test") is None
        answer = daemon.get("/v1/rules?site=gmail").json
        assert answer["rules"][0]["name"] == "mine" and not answer["rules"][0]["built_in"]
        assert answer["rules"][0]["where"].endswith("postrider.yaml:10")
        assert {rule["site"] for rule in answer["rules"]} == {"gmail", ""}
        assert {"name": "filter", "mx": ["filter.big.test"]} in answer["receivers"]


def test_the_built_in_rules_can_be_left_out():
    with Daemon("default_replies: no\nreplies: [{ site: gmail, code: 421, action: slow }]\n") as daemon:
        assert meets(daemon, "421 4.7.28 an unusual rate of mail", "aspmx.l.google.com") == "replies.1"
        assert meets(daemon, "550 5.1.1 does not exist", "aspmx.l.google.com") is None
        answer = daemon.get("/v1/rules").json
        assert [rule["name"] for rule in answer["rules"]] == ["replies.1"] and not answer["default_replies"]
        assert len(answer["receivers"]) == len(BUILT_IN["receivers"])


# ---- the API's errors ----

@pytest.mark.parametrize("query, reason", [
    ("reply=hello&mx=a.test", "it is no SMTP reply: a line that is no SMTP reply"),
    ("reply=421-more&mx=a.test", "the reply is not complete"),
    ("reply=421+a%0A421+b&mx=a.test", "it is more than one reply"),
    ("reply=421-a%0A422+b&mx=a.test", "it is no SMTP reply: a reply whose lines have different codes"),
    ("reply=421+a&site=gmial", "no site or receiver is called 'gmial', did you mean 'gmail'?"),
    ("reply=421+a&at=dta", "at: expected greeting, mail, rcpt or data, not 'dta'"),
    ("reply=421+" + "a" * 5000, "the reply is longer than 4096 bytes"),
])
def test_what_cannot_be_tested(daemon, query, reason):
    answer = daemon.get("/v1/rules/test?" + query)
    assert answer.status == 400
    assert answer.json["error"]["reason"].startswith(reason)


# ---- the command ----

def postrider(*arguments, **kw):
    return subprocess.run([POSTRIDER, *arguments], capture_output=True, text=True, timeout=60, **kw)


def rule_test(daemon, reply, *arguments):
    run = postrider("-s", daemon.socket, "rule", "test", reply, *arguments)
    assert run.returncode == 0, run
    return run.stdout


TWO_LINES = r"421-4.7.28 Gmail has detected an unusual rate of mail\n421 4.7.28 from your IP address. - gsmtp"


def test_rule_test_asks_the_daemon():
    with Daemon(OPERATORS) as daemon:
        lines = rule_test(daemon, TWO_LINES, "--site", "gmail").splitlines()
        assert lines[0] == f"mine ({daemon.config}:10): pause 1h"
        assert "hold the path" in lines[1] and "the recipient is kept" in lines[1]
        assert lines[2].endswith("it is for gmail, code 421, status 4.7.28, and finds 'unusual rate'")
        assert "of mx.google.com, site google.com, receiver gmail" in lines[3]
        answer = json.loads(rule_test(daemon, "421 4.7.0 unusual rate", "--site", "gmail", "--json"))
        assert answer["rule"]["name"] == "gmail-rate"
        assert (answer["code"], answer["status"]) == (421, "4.7.0")
        near = [(near["name"], near["why"]) for near in answer["near"]]
        assert near == [("mine", "it is for status 4.7.28")]


def test_rule_test_says_that_nothing_matches_and_what_nearly_did(daemon):
    said = rule_test(daemon, "550 5.7.28 an unusual rate of mail", "--site", "gmail")
    assert said.startswith("no rule matches: its code and enhanced status decide\n")
    assert "nearly: gmail-rate (built-in replies.yaml:" in said and "it is for code 421" in said
    said = rule_test(daemon, "421 4.7.28 an unusual rate of mail")
    assert "nearly: gmail-rate" in said and "it would match at gmail" in said


def test_rule_test_without_a_daemon(tmp_path):
    config = tmp_path / "postrider.yaml"
    config.write_text(OPERATORS)
    run = postrider("rule", "test", TWO_LINES, "--site", "gmail", "--config", str(config))
    assert run.returncode == 0, run
    assert run.stdout.startswith(f"no daemon was asked: by {config}\nmine ({config}:")
    run = postrider("rule", "test", "-", "--mx", "mx.yandex.ru", "--config", str(config), "--json",
                    input="550 5.7.1 No such user!\r\n")
    assert json.loads(run.stdout)["rule"]["name"] == "yandex-unknown"
    config.write_text("replies: [{ match: '(', action: stop }]\n")
    run = postrider("rule", "list", "--config", str(config))
    assert run.returncode == 1
    assert "expected a regular expression (missing closing parenthesis behind '(')" in run.stderr


def test_rule_test_says_what_is_wrong(daemon):
    assert "expected" not in postrider("rule", "list", "--config", os.devnull).stderr
    for arguments, code, words in [
            (["rule", "test", "421 a", "--site", "gmial"], 1, "did you mean 'gmail'?"),
            (["rule", "test", "hello"], 1, "it is no SMTP reply"),
            (["rule", "test"], 2, "usage: postrider rule"),
            (["rule", "list", "x"], 2, "usage: postrider rule"),
            (["rule", "tset", "x"], 2, "unknown action 'tset'")]:
        run = postrider("-s", daemon.socket, *arguments)
        assert run.returncode == code and words in run.stderr and run.stderr.count("\n") == 1, run


def test_rule_list(daemon):
    run = postrider("-s", daemon.socket, "rule", "list")
    assert run.returncode == 0
    rows = run.stdout.splitlines()
    assert rows[0].split() == ["NAME", "SITE", "CODE", "STATUS", "ACTION", "MATCH"]
    assert [row.split()[0] for row in rows[1:]] == [rule["name"] for rule in BUILT_IN["replies"]]
