"""The dashboard: one page that stands by itself, over calls and members that the API has; and what web pages
of others may not do."""
import os
import re

from conftest import ONE_DOMAIN, host
from daemon import ROOT, UnixConnection, job

with open(os.path.join(ROOT, "engine/admin/dashboard.html"), encoding="utf-8") as file:
    PAGE = file.read()


def test_the_page(scene):
    daemon = scene(host(), ONE_DOMAIN).daemon
    connection = UnixConnection(daemon.socket)
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.status == 200 and response.getheader("Content-Type") == "text/html; charset=utf-8"
    assert response.read().decode() == PAGE
    assert not re.search(r"""(src|href)\s*=|//[\w.]+/|innerHTML|@import|url\(""", PAGE)


def test_it_asks_for_what_there_is(scene):
    daemon = scene(host(), ONE_DOMAIN).daemon
    ident = daemon.submit(job(), ["u@a.test"]).json["jobs"][0]["job"]
    daemon.wait_counts(ident, delivered=1)
    daemon.submit(job(not_before="2099-01-01T00:00:00Z", campaign="later"), ["u@a.test"])
    assert daemon.post("/v1/queue/suspend", '{"campaign":"later"}').status == 200
    paths = re.findall(r'ask\("([^"]+)"\)', PAGE)
    assert len(paths) == 5
    answers = {path: daemon.get(path) for path in paths}
    assert {answer.status for answer in answers.values()} == {200}
    tables = re.search(r"const TABLES = \{(.*?)\n\};", PAGE, re.S).group(1)
    for name, columns in re.findall(r"^  (\w+): (.*?\]),?$(?=\n  \w+:|\Z)", tables, re.M | re.S):
        answer = next(a.json for path, a in answers.items() if path.split("?")[0] == "/v1/" + name)
        row = answer[name][0]
        members = set(re.findall(r"r\.(\w+)", columns))
        assert members and members <= row.keys(), (name, members - row.keys())
        counts = set(re.findall(r"r\.counts\.(\w+)", columns))
        assert counts <= row.get("counts", {}).keys()
    status = answers["/v1/status"].json
    tiles = re.search(r"const TILES = \[(.*?)\];", PAGE).group(1).replace('"', "").split(", ")
    assert set(tiles) | set(re.findall(r"status\.(\w+)", PAGE)) <= status.keys()


def test_pages_of_others_change_nothing(scene):
    daemon = scene(host(), ONE_DOMAIN).daemon
    here = "localhost:8025"
    for origin, name, status in ((None, "postrider", 200), ("http://" + here, here, 200),
                                 ("http://evil.test", here, 403), ("null", here, 403)):
        headers = {"Host": name, **({"Origin": origin} if origin else {})}
        assert daemon.post("/v1/dns/flush", headers=headers).status == status, origin
        assert daemon.get("/v1/status", headers=headers).status == 200
        mail = '{"from":"a@b.test","message":{"raw":"x"}}\n{"to":"u@a.test"}\n'
        uploaded = daemon.post("/v1/jobs", mail, headers=headers)
        assert uploaded.status == (202 if status == 200 else 403)
