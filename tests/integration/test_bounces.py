"""The bounce report of a job and of a tenant, in each of its forms."""
import csv
import html.parser
import io
import re

import pytest
from conftest import ONE_DOMAIN
from daemon import PLAIN, job

HOSTS = [{"name": "mx.a.test", "address": "127.0.8.2", "unknown": "no*"},
         {"name": "mx.b.test", "address": "127.0.8.3", "refuse": True}]
DOMAINS = ONE_DOMAIN + [{"name": "b.test", "mx": [[10, "mx.b.test"]]}]


class Page(html.parser.HTMLParser):
    """What is in a page: its tags, the texts of its cells, whatever it would load."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href", "style")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def failed(scene):
    """Two jobs of acme, one of another tenant."""
    s = scene(HOSTS, DOMAINS)
    people = [f"ok{i}@a.test" for i in range(4)] + [f"no{i}@a.test" for i in range(6)] + \
        [f"no{i}@nowhere.test" for i in range(3)] + ["x@b.test"]
    people = [{"to": to, "id": f"id,{n}"} for n, to in enumerate(people)]
    first = job(tenant="acme", campaign="<b>&", lifetime="3s", message={"raw": PLAIN})
    all_three = (first, people), (job(tenant="acme"), ["no@a.test"]), (job(tenant="other"), ["no@a.test"])
    jobs = [s.daemon.submit(*one).json["jobs"][0]["job"] for one in all_three]
    s.daemon.wait_counts(jobs[0], 60, delivered=4, bounced=9, expired=1)
    s.daemon.wait_counts(jobs[1], 60, bounced=1)
    s.daemon.wait_counts(jobs[2], 60, bounced=1)
    return s.daemon, jobs


def test_counts(failed):
    daemon, jobs = failed
    report = daemon.get(f"/v1/jobs/{jobs[0]}/bounces").json
    assert (report["total"], report["delivered"], report["failed"], report["bounced"], report["expired"],
            report["queued"]) == (14, 4, 10, 9, 1, 0)
    assert {c["category"]: c["count"] for c in report["categories"]} == {
        "bad-mailbox": 6, "bad-domain": 3, "message-expired": 1}
    assert {d["domain"]: d["failed"] for d in report["domains"]} == {
        "a.test": 6, "nowhere.test": 3, "b.test": 1}
    assert sum(s["failed"] for s in report["sites"]) == 10 and report["sites"][0]["failed"] == 6
    statuses = {s["status"]: s for s in report["statuses"]}
    assert statuses["5.1.1"]["count"] == 6 and statuses["5.1.2"]["phrase"] == "Bad destination system address"
    assert len(statuses["5.1.1"]["examples"]) <= 3 and statuses["5.1.1"]["examples"][0]["code"] == 550
    rows = list(csv.reader(io.StringIO(daemon.get(f"/v1/jobs/{jobs[0]}/bounces?format=csv").body)))
    assert rows[0] == "time,to,domain,site,category,status,code,reply,attempts,job,campaign,id".split(",")
    assert len(rows) == 11 and {len(row) for row in rows} == {12}
    assert {row[4] for row in rows[1:]} == {"bad-mailbox", "bad-domain", "message-expired"}
    assert {row[10] for row in rows[1:]} == {"<b>&"} and rows[1][11] == "id,4"


def test_page_and_text(failed):
    daemon, jobs = failed
    text = daemon.cli("job", jobs[0], "bounces").stdout
    assert text.startswith(f"job {jobs[0]}: 10 of 14 failed (9 bounced, 1 expired), 4 delivered, 0 queued\n")
    assert re.search(r"^bad-mailbox +6$", text, re.M) and re.search(r"^nowhere\.test +3$", text, re.M)
    raw = daemon.cli("job", jobs[0], "bounces", "--html").stdout
    page = Page(raw)
    assert page.tags.count("svg") == 6 and "script" not in page.tags and "b" not in page.tags
    assert page.loads == [] and "<b>&" in page.text
    assert "default-src 'none'" in raw and "http://" not in raw and "https://" not in raw
    assert any("10 of 14 recipients failed" in text for text in page.text)
    assert re.search(r"bounced 9 \(64\.3%\)", raw) and re.search(r">6 \(60\.0%\)<", raw)


def test_of_a_tenant(failed):
    daemon, jobs = failed
    report = daemon.get("/v1/tenants/acme/bounces").json
    assert (report["jobs"], report["failed"], report["total"], report["since"]) == (2, 11, 15, None)
    assert daemon.get("/v1/tenants/acme/bounces?since=1h").json["failed"] == 11
    assert daemon.get("/v1/tenants/other/bounces").json["failed"] == 1
    later = daemon.get("/v1/tenants/acme/bounces?since=2999-01-01T00:00:00Z").json
    assert later["failed"] == later["jobs"] == 0
    rows = daemon.get("/v1/tenants/acme/bounces?format=csv").body.splitlines()
    assert len(rows) == 12 and {row.split(",")[9] for row in rows[1:]} == set(jobs[:2])
    text = daemon.cli("bounces", "--tenant", "acme", "--since", "1h").stdout
    assert text.startswith("tenant acme since 20") and "2 jobs: 11 of 15 failed" in text
    assert daemon.get("/v1/tenants/acme/bounces?since=yesterday").status == 400
