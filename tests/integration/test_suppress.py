"""Addresses that get no mail, and giving up on what is queued: from the command line to the receivers."""
import csv
import io

from conftest import ONE_DOMAIN, ONE_HOST, host
from daemon import job, wait_for

TWO_DOMAINS = [*ONE_DOMAIN, {"name": "b.test", "mx": [[10, "mx.a.test"]]}]


def submit(s, recipients, **fields):
    answer = s.daemon.submit(job(**fields), recipients)
    assert answer.status == 202, answer
    return answer.json["jobs"][0]


def good(result):
    assert result.returncode == 0 and result.stderr == "", result
    return result.stdout


def events_of(s, ident, kind):
    return [e for e in s.daemon.events() if e["job"] == ident and e["type"] == kind]


def test_suppressed_addresses_get_no_mail(scene):
    s = scene(ONE_HOST, ONE_DOMAIN)
    said = good(s.daemon.cli("suppress", "add", "U3@A.test", "u5@a.test", "--reason", "asked to"))
    assert said == "2 suppressed, 2 of them new or changed\n"
    good(s.daemon.cli("suppress", "add", "u7@a.test", "--tenant", "acme"))
    people = [f"u{i}@a.test" for i in range(10)]
    answer = submit(s, people, tenant="acme")
    assert answer["accepted"] == 7 and answer["suppressed"] == 3
    s.daemon.wait_counts(answer["job"], delivered=7, suppressed=3)
    assert {d.recipient for d in s.delivered()} == set(people) - {"u3@a.test", "u5@a.test", "u7@a.test"}
    ended = events_of(s, answer["job"], "suppressed")
    assert sorted(e["to"] for e in ended) == ["u3@a.test", "u5@a.test", "u7@a.test"]
    assert all(e["code"] == 0 and e["status"] is None for e in ended)
    assert s.daemon.job(answer["job"])["state"] == "ended"
    listed = s.daemon.recipients(answer["job"], "&state=suppressed")
    assert [r["to"] for r in listed] == ["u3@a.test", "u5@a.test", "u7@a.test"]
    # Another tenant's list is not this one's; what is taken off the list gets mail again.
    good(s.daemon.cli("suppress", "remove", "u3@a.test"))
    other = submit(s, ["u3@a.test", "u5@a.test", "u7@a.test"])
    assert other["suppressed"] == 1
    s.daemon.wait_counts(other["job"], delivered=2, suppressed=1)


def test_one_of_many_jobs_of_one_recipient(scene):
    """Small jobs that are not in the tables yet: suppressed ones end too, and survive a kill."""
    s = scene(ONE_HOST, ONE_DOMAIN)
    good(s.daemon.cli("suppress", "add", "u0@a.test"))
    jobs = [submit(s, [f"u{i % 4}@a.test"]) for i in range(40)]
    assert sum(j["suppressed"] for j in jobs) == 10
    s.daemon.kill()
    s.daemon.start()
    wait_for(lambda: s.daemon.status()["queued"] == 0, 30, "the queue to be empty")
    assert sum(len(events_of(s, j["job"], "suppressed")) for j in jobs) == 10
    assert "u0@a.test" not in {d.recipient for d in s.delivered()}


def test_suppressed_while_it_waits(scene):
    """Deferred, and held in the worker's memory: neither is sent to; each ends once."""
    s = scene(host(greylist=2), TWO_DOMAINS,
              config='retry:\n  - { status: "4.7.1", schedule: [2500ms] }\n')
    ident = submit(s, ["u0@a.test", "u1@a.test"])["job"]
    s.daemon.wait_counts(ident, deferred=2)
    good(s.daemon.cli("suppress", "add", "u1@a.test"))
    s.daemon.wait_counts(ident, delivered=1, suppressed=1)
    assert [d.recipient for d in s.delivered()] == ["u0@a.test"]
    assert [e["to"] for e in events_of(s, ident, "suppressed")] == ["u1@a.test"]


def test_suppressed_in_the_hands_of_a_worker(scene):
    """What a limit holds there for minutes is found all the same."""
    s = scene(ONE_HOST, ONE_DOMAIN, site="max_rate: 2/min")
    ident = submit(s, [f"u{i}@a.test" for i in range(60)])["job"]
    wait_for(lambda: s.daemon.job(ident)["counts"]["delivered"] > 0, 20, "the first to be delivered")

    def in_hand():
        return s.daemon.get("/v1/sites/a.test").json["buffered"]
    last = wait_for(lambda: in_hand() > 1 and in_hand(), 20, "more in its hands")
    good(s.daemon.cli("suppress", "add", f"u{last - 1}@a.test", f"u{last}@a.test"))
    s.daemon.wait_counts(ident, suppressed=2)
    assert s.daemon.job(ident)["queued"] >= 50


def test_import_and_export(scene, tmp_path):
    s = scene(ONE_HOST, ONE_DOMAIN)
    many = tmp_path / "many.csv"
    lines = [f'2026-01-02T03:04:05Z,u{i}@a.test,x,"said ""no"", {i}"\r\n' for i in range(2500)]
    many.write_text("time,email,note,reason\r\n" + "".join(lines))
    said = good(s.daemon.cli("suppress", "import", str(many)))
    assert said == "2500 suppressed, 2500 of them new or changed\n"
    said = good(s.daemon.cli("suppress", "import", str(many)))
    assert said == "2500 suppressed, 0 of them new or changed\n"
    exported = good(s.daemon.cli("suppress", "export"))
    rows = list(csv.DictReader(io.StringIO(exported)))
    assert len(rows) == 2500 and exported.startswith("address,scope,reason,source,time\n")
    assert {"address": "u7@a.test", "scope": "", "reason": 'said "no", 7', "source": "import",
            "time": "2026-01-02T03:04:05.000Z"} in rows
    # What is exported can be imported, for a tenant too; a plain list is understood, and bad lines are told.
    back = s.daemon.cli("suppress", "import", "-", stdin=exported)
    assert good(back) == "2500 suppressed, 0 of them new or changed\n"
    plain = "ada@a.test\n\nnot an address\nbob@Bücher.test\n"
    bad = s.daemon.cli("suppress", "import", "-", "--tenant", "acme", "--reason", "list", stdin=plain)
    assert bad.returncode == 1
    assert bad.stdout.startswith("2 suppressed, 2 of them new or changed\nline 3: ")
    assert bad.stderr == "postrider: 1 of 3 lines are bad and left out\n"
    lines = good(s.daemon.cli("suppress", "list", "--tenant", "acme")).splitlines()
    assert [line.split()[0] for line in lines] == ["ADDRESS", "ada@a.test", "bob@xn--bcher-kva.test"]
    assert "list" in lines[1] and "import" in lines[1]
    assert good(s.daemon.cli("suppress", "list", "u7@a.test")).splitlines()[1].startswith("u7@a.test  -  ")
    assert good(s.daemon.cli("suppress", "list", "nobody@a.test")) == "Nobody is suppressed.\n"
    shell = [f"u{i}@a.test" for i in range(200)]  # as xargs gives them
    assert len(good(s.daemon.cli("suppress", "remove", *shell)).splitlines()) == 200
    assert good(s.daemon.cli("suppress", "add", *shell)) == "200 suppressed, 200 of them new or changed\n"
    missing = s.daemon.cli("suppress", "remove", "ada@a.test")
    assert missing.returncode == 1 and "ada@a.test is not on everybody's list" in missing.stderr
    said = good(s.daemon.cli("suppress", "remove", "ada@a.test", "--tenant", "acme"))
    assert said == "ada@a.test gets mail again\n"


def test_api_pages(scene):
    s = scene(ONE_HOST, ONE_DOMAIN)
    lines = "".join(f'{{"address":"u{i}@a.test","scope":"{"acme" if i % 2 else ""}"}}\n' for i in range(10))
    answer = s.daemon.call("PUT", "/v1/suppressions?reason=why", lines)
    assert answer.status == 200
    assert answer.json == {"accepted": 10, "changed": 10, "rejected": [], "rejected_count": 0}
    seen, after = [], ""
    while True:
        page = s.daemon.get(f"/v1/suppressions?limit=3{after}").lines
        seen += [(line["scope"], line["address"]) for line in page]
        if len(page) < 3:
            break
        after = f"&after_scope={page[-1]['scope']}&after={page[-1]['address']}"
    assert len(seen) == 10 and seen == sorted(seen)
    assert len(s.daemon.get("/v1/suppressions?scope=").lines) == 5
    assert len(s.daemon.get("/v1/suppressions?scope=acme").lines) == 5
    one = '{\n "address": "x@a.test",\n "reason": "said so"\n}'
    put = s.daemon.call("PUT", "/v1/suppressions", one, headers={"Content-Type": "application/json"})
    assert put.status == 200 and put.json["changed"] == 1
    found = s.daemon.get("/v1/suppressions?address=X@a.test").lines
    assert [(line["reason"], line["source"]) for line in found] == [("said so", "api")]
    wrong = s.daemon.call("PUT", "/v1/suppressions", "nobody\n")
    assert wrong.status == 400 and wrong.json["error"]["code"] == "bad_list"
    assert s.daemon.call("DELETE", "/v1/suppressions").status == 400
    assert s.daemon.call("DELETE", "/v1/suppressions?address=x@a.test").json == {"removed": 1}
    assert s.daemon.call("DELETE", "/v1/suppressions?address=x@a.test").status == 404


def test_bounce_what_a_dead_receiver_holds_up(scene):
    """Also what its worker has in hand; another domain's mail stays."""
    s = scene(host(refuse=True), TWO_DOMAINS, config='retry:\n  - { status: "4.4", schedule: [1h] }\n')
    ident = submit(s, [f"u{i}@a.test" for i in range(300)] + [f"u{i}@b.test" for i in range(20)])["job"]
    wait_for(lambda: s.daemon.get("/v1/sites").json["sites"], 20, "the site to be known")

    def over():
        good(s.daemon.cli("bounce", "--domain", "a.test"))
        return s.daemon.job(ident)["counts"]["bounced"] == 300
    wait_for(over, 20, "all of a.test to be given up")
    assert s.daemon.job(ident)["queued"] == 20
    rows = good(s.daemon.cli("mailq", "--domain", "b.test")).splitlines()
    assert len(rows) == 21
    good(s.daemon.cli("bounce", "--job", ident, "--age", "<1h"))
    assert len(events_of(s, ident, "bounced")) >= 300
