"""The command line against a server that plays the daemon: what it asks for, prints, and how it fails."""
import http.server
import json
import os
import pty
import re
import select
import socket
import socketserver
import subprocess
import threading
import time
import urllib.parse

import pytest

from daemon import BUILD, ROOT
from nameserver import Dnsmasq

POSTRIDER = os.path.join(BUILD, "postrider")
JOB = {
    "job": "17", "state": "active", "tenant": "acme", "campaign": "spring", "class": "bulk", "pool": "",
    "from": "news@acme.example", "envid": "", "bounces": "dsn", "report": False, "metadata": {},
    "created": "2024-05-06T07:08:09.123Z", "not_before": None, "expires": "2024-05-10T19:08:09.123Z",
    "ended": None, "message_size": 4096, "total": 10, "queued": 3, "rate": 812.5, "eta_s": 12,
    "eta": "2024-05-06T07:08:21.123Z", "counts": {"ready": 1, "deferred": 2, "delivered": 4, "bounced": 2,
                                                  "expired": 1, "cancelled": 0, "suppressed": 0}}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def address_string(self):
        return "unix"

    def handle_any(self):
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query))
        self.server.seen.append((self.command, self.path))
        answer = self.server.answers.get((self.command, urllib.parse.unquote(url.path)))
        if answer is None:
            return self.answer(404, {"error": {"code": "not_found", "reason": "there is no " + url.path}})
        answer(self)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def answer(self, status, body, kind="application/json"):
        if not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def read_body(self):
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while True:
            size = int(self.rfile.readline().strip(), 16)
            body += self.rfile.read(size)
            self.rfile.readline()
            if size == 0:
                return body


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 16

    def __init__(self, path):
        super().__init__(path, Handler)
        self.path, self.answers, self.seen = path, {}, []

    def on(self, call, answer, status=200):
        """call: "GET /path". answer: what to send, or a function of the handler."""
        method, path = call.split(" ", 1)
        if not callable(answer):
            body, answer = answer, lambda handler: handler.answer(status, body)
        self.answers[method, path] = answer


def cli(*args, socket=None, stdin=None, timeout=30, env=None, **kw):
    environment = {k: v for k, v in os.environ.items() if k != "POSTRIDER_SOCKET"}
    environment.update(env or {})
    command = [POSTRIDER] + (["-s", socket] if socket else []) + list(args)
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout,
                          env=environment, **kw)


@pytest.fixture
def server(tmp_path):
    server = Server(str(tmp_path / "s"))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    server.cli = lambda *args, **kw: cli(*args, socket=server.path, **kw)
    yield server
    server.shutdown()
    server.server_close()


def good(result):
    assert result.returncode == 0, result
    assert result.stderr == "", result
    return result.stdout


def bad(result, code, text):
    """Exactly one line on stderr, which holds text."""
    assert result.returncode == code, result
    assert result.stderr.startswith("postrider: ") and result.stderr.count("\n") == 1, result
    assert text in result.stderr, result


# ---- usage ----

@pytest.mark.parametrize("args, text", [
    (["statsu"], "unknown command 'statsu', did you mean 'status'? 'postrider help' lists them"),
    (["dkim"], "unknown command 'dkim'; 'postrider help' lists them"),
    (["status", "--jsn"], "status: unknown option '--jsn', did you mean 'json'? see 'postrider help status'"),
    (["queue", "--by"], "queue: --by needs a value: --by KEY"),
    (["queue", "--by", "size"], "--by takes domain, site, tenant, status or age, not 'size'"),
    (["status", "now"], "status: unexpected argument 'now'"),
    (["status", "-x"], "status: unknown option '-x'"),
    (["submit"], "usage: postrider submit FILE|-"),
    (["submit", "--follow=yes", "x"], "submit: --follow takes no value"),
    (["job", "17", "explode"], "job: unknown action 'explode'"),
    (["job", "17", "recipients", "--limit", "many"], "--limit takes a number"),
    (["job", "17", "bounces", "--csv", "--json"], "--csv, --html and --json exclude each other"),
    (["retry"], "retry: say which, such as --domain example.com"),
    (["bounce"], "bounce: say which, such as --domain example.com"),
    (["mailq", "--limit", "0"], "mailq: --limit takes a number, not '0'"),
    (["recipient"], "usage: postrider recipient RID"),
    (["suppress"], "usage: postrider suppress add|remove ADDRESS... |"),
    (["suppress", "hide", "a@b.example"], "suppress: unknown action 'hide'"),
    (["suppress", "add"], "usage: postrider suppress"),
    (["suppress", "list", "--tenant", "a", "--everybody"], "--everybody and --tenant exclude each other"),
    (["recipient", "17-0-1", "--message", "--json"], "--message and --json exclude each other"),
    (["config", "chek"], "config: unknown action 'chek'"),
    (["resolve", "a..b"], "resolve: 'a..b' is no domain"),
    (["help", "nothing"], "unknown command 'nothing'"),
    (["-x"], "unknown option '-x'"),
    (["status", "-s"], "-s needs the path of a socket"),
])
def test_usage(args, text):
    bad(cli(*args), 2, text)


def test_help():
    nothing = cli()
    assert nothing.returncode == 2 and nothing.stderr.startswith("usage: postrider")
    everything = good(cli("help"))
    assert good(cli("--help")) == everything
    for command in re.findall(r"^  (\w+) ", everything, re.M):
        one = good(cli("help", command))
        assert one.startswith(f"usage: postrider [-s SOCKET] {command}")
        assert good(cli(command, "--help")) == one
        assert all(len(line) <= 80 for line in (everything + one).splitlines())
    assert good(cli("version")).startswith("postrider 0.")
    assert json.loads(good(cli("version", "--json")))["version"] == good(cli("--version")).split()[1]


# ---- the socket ----

def test_no_daemon(tmp_path):
    missing = str(tmp_path / "none")
    bad(cli("status", socket=missing), 1,
        f"cannot connect to {missing}: No such file or directory; is postriderd running")
    bad(cli("status", env={"POSTRIDER_SOCKET": missing}), 1, missing)
    stale = str(tmp_path / "stale")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(stale)
        bad(cli("status", socket=stale), 1, "Connection refused; is postriderd running")
    bad(cli("status", socket="/" + "x" * 200), 1, "longer than 107 characters")
    if not os.path.exists("/run/postrider"):
        bad(cli("status"), 1,
            "is postriderd running? start it with 'postriderd -c /etc/postrider/postrider.yaml'")


def test_environment(server):
    server.on("GET /v1/status", {"version": "9"})
    answer = good(cli("status", "--json", env={"POSTRIDER_SOCKET": server.path}))
    assert json.loads(answer) == {"version": "9"}
    # -s wins, before the command or behind it.
    assert good(cli("status", "--json", "-s", server.path, env={"POSTRIDER_SOCKET": "/none"}))


def test_broken_answers(server):
    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b'{"version":')
        handler.close_connection = True

    server.on("GET /v1/status", "not json")
    bad(server.cli("status"), 1, "the daemon's answer is not JSON")
    server.on("GET /v1/status", cut)
    bad(server.cli("status"), 1, "the connection to the daemon broke")
    server.on("GET /v1/status", "<html>", status=500)
    bad(server.cli("status"), 1, "the daemon answered with status 500 and no reason")
    server.on("GET /v1/status", {"error": {"code": "forbidden", "reason": "this is not for you"}}, status=403)
    bad(server.cli("status"), 1, "postrider: this is not for you\n")
    bad(server.cli("status", "--json"), 1, "postrider: this is not for you\n")
    server.on("GET /v1/status", {"version": "1"})
    with open("/dev/full", "w") as full:
        result = subprocess.run([POSTRIDER, "-s", server.path, "status"], stdout=full, stderr=subprocess.PIPE,
                                text=True, timeout=30)
    assert result.returncode == 1 and "cannot write the output: No space left on device" in result.stderr


# ---- looking ----

STATUS = {
    "version": "0.1.0", "uptime_s": 93784, "queued": 120, "ready": 100, "in_flight": 5, "deferred": 15,
    "held": 0, "sessions": 9, "sites": 3, "jobs": 2, "accepted": 5000, "delivered": 4000, "bounced": 800,
    "expired": 80, "rate_1m": 3.25, "db_bytes": 13000000, "disk_free": 5 << 30, "memory_bytes": 900,
    "full": True, "stopping": False}


def test_status(server):
    server.on("GET /v1/status", STATUS)
    text = good(server.cli("status"))
    assert "version    0.1.0\n" in text
    assert "up         1d2h\n" in text
    assert "in flight  5\n" in text
    assert "rate       3.2/s over the last minute\n" in text
    assert "database   12M\n" in text and "disk free  5.0G\n" in text and "memory     900\n" in text
    assert "full: nothing is accepted" in text
    assert json.loads(good(server.cli("status", "--json"))) == STATUS


def test_queue(server):
    def answer(handler):
        by = handler.query.get("by", "domain")
        row = {by: "example.com", "queued": 12, "ready": 2, "deferred": 10,
               "held": 0, "next": "2000-01-01T00:00:00.000Z"}
        if by == "status":
            row = {"status": "4.2.2", "phrase": "Mailbox full", "deferred": 10}
        total = {"queued": 17, "ready": 2, "deferred": 10, "held": 5, "in_flight": 1}
        handler.answer(200, {"by": by, "total": total, "rows": [row], "more": 3})

    server.on("GET /v1/queue", answer)
    assert good(server.cli("queue")) == ("DOMAIN       QUEUED  READY  DEFERRED  HELD  NEXT RETRY\n"
                                         "example.com      12      2        10     0  now\n"
                                         "and 3 more rows\n"
                                         "\n17 queued: 2 ready, 10 deferred, 5 held, 1 in flight\n")
    by_status = good(server.cli("queue", "--by", "status"))
    assert by_status.startswith("STATUS  DEFERRED  MEANING\n4.2.2         10  Mailbox full\n")
    by_age = good(server.cli("queue", "--by=age", "--limit=5"))
    assert by_age.startswith("AGE          QUEUED  READY  DEFERRED\n")
    assert server.seen[-1] == ("GET", "/v1/queue?by=age&limit=5")


def test_jobs(server):
    server.on("GET /v1/jobs", {"jobs": [JOB, dict(JOB, job="9", campaign="", eta_s=None)], "before": "9"})
    lines = good(server.cli("jobs", "--tenant", "a b&c", "--limit", "2")).splitlines()
    assert server.seen == [("GET", "/v1/jobs?tenant=a%20b%26c&limit=2")]
    heads = "JOB STATE TENANT CAMPAIGN TOTAL QUEUED DELIVERED BOUNCED EXPIRED RATE/S ETA CREATED"
    assert lines[0].split() == heads.split()
    assert lines[1].split() == "17 active acme spring 10 3 4 2 1 812 12s 2024-05-06 07:08:09Z".split()
    assert lines[2].split() == "9 active acme - 10 3 4 2 1 812 2024-05-06 07:08:09Z".split()
    assert lines[3] == "older ones: postrider jobs --before 9"
    # Columns stand below one another.
    assert lines[1].index("2024-") == lines[2].index("2024-") == lines[0].index("CREATED")
    server.on("GET /v1/jobs", {"jobs": [], "before": None})
    assert good(server.cli("jobs")) == "No jobs. Hand one in with 'postrider submit FILE'.\n"


def test_job(server):
    statuses = [{"status": "4.7.1", "phrase": "Delivery not authorized, message refused", "count": 3},
                {"status": None, "phrase": "", "count": 1}]
    server.on("GET /v1/jobs/17", dict(JOB, statuses=statuses))
    text = good(server.cli("job", "17"))
    assert "campaign      spring\n" in text and "  delivered   4\n" in text and "ETA           12s\n" in text
    assert ("STATUS  COUNT  MEANING\n4.7.1       3  Delivery not authorized, message refused\n"
            "-           1\n") in text
    bad(server.cli("job", "18"), 1, "there is no /v1/jobs/18")
    bad(server.cli("job", "../status?x"), 1, "there is no /v1/jobs/..%2Fstatus")
    assert server.seen[-1] == ("GET", "/v1/jobs/..%2Fstatus%3Fx")


def test_job_actions(server):
    counts = {"matched": 9, "changed": 8, "in_flight": 1}
    states = {"pause": "paused", "resume": "active", "cancel": "cancelled", "retry": "active"}
    for action, state in states.items():
        answer = {"job": "17", "state": state, "done": True, "op": None, **counts}
        server.on(f"POST /v1/jobs/17/{action}", answer)
        said = good(server.cli("job", "17", action))
        assert said == f"job 17 is {state}: 8 recipients changed, 1 in flight end as they are\n"
    server.on("POST /v1/jobs/17/cancel", {"job": "17", "state": "cancelled", "done": False, "op": "3",
                                          "matched": 9, "changed": 5, "in_flight": 0}, status=202)
    said = good(server.cli("job", "17", "cancel"))
    assert said == "job 17 is cancelled: cancel goes on as operation 3, 5 recipients so far\n"
    assert json.loads(good(server.cli("job", "17", "cancel", "--json")))["op"] == "3"


def test_recipients(server):
    def answer(handler):
        start = int(handler.query["after"].rsplit("-", 1)[1]) + 1 if "after" in handler.query else 0
        rows = [{"rid": f"17-0-{i}", "job": "17", "to": f"user{i}@example.com", "state": "deferred",
                 "in_flight": i == 1, "attempts": 2, "next": None, "code": 450, "status": "4.2.2",
                 "reply": "full\x1b[31m\r\nup\u009b"}
                for i in range(start, min(start + int(handler.query["limit"]), 2500))]
        handler.answer(200, "".join(json.dumps(row) + "\n" for row in rows), "application/x-ndjson")

    server.on("GET /v1/jobs/17/recipients", answer)
    filters = ["--status", "4.2.*", "--state", "deferred"]
    lines = good(server.cli("job", "17", "recipients", *filters)).splitlines()
    assert len(lines) == 2501
    assert lines[0].split() == "RID TO STATE ATTEMPTS NEXT STATUS REPLY".split()
    assert lines[2].split()[:4] == ["17-0-1", "user1@example.com", "in", "flight"]
    # What a receiver wrote cannot steer the terminal.
    assert lines[1].endswith("4.2.2   full?[31m? up?")
    query = "state=deferred&status=4.2.%2A&after=17-0-999&limit=1000"
    assert server.seen[1] == ("GET", f"/v1/jobs/17/recipients?{query}")
    assert len(server.seen) == 3
    assert len(good(server.cli("job", "17", "recipients", "--limit", "1500", "--json")).splitlines()) == 1500
    assert server.seen[-1] == ("GET", "/v1/jobs/17/recipients?after=17-0-999&limit=500")


def test_bounces(server):
    answers = {"csv": "time,to,domain\r\n2024,\"a\"\"b@x\",x\r\n", "json": '{"job":"17"}\n',
               "html": "<!DOCTYPE html>\n", "text": "job 17: 4 of 10 failed\n"}
    server.on("GET /v1/jobs/17/bounces", lambda h: h.answer(200, answers[h.query["format"]]))
    server.on("GET /v1/tenants/acme/bounces", lambda h: h.answer(200, answers[h.query["format"]]))
    server.on("GET /v1/tenants/default/bounces", lambda h: h.answer(200, answers[h.query["format"]]))
    for form, option in (("text", []), ("csv", ["--csv"]), ("html", ["--html"]), ("json", ["--json"])):
        for command in (["job", "17", "bounces"], ["bounces", "--tenant", "acme"]):
            ran = subprocess.run([POSTRIDER, "-s", server.path, *command, *option], capture_output=True,
                                 timeout=30)
            assert ran.stdout == answers[form].encode() and ran.returncode == 0
    assert good(server.cli("bounces", "--since", "24h")) == answers["text"]
    assert server.seen[-1] == ("GET", "/v1/tenants/default/bounces?format=text&since=24h")


def test_held(server):
    server.on("POST /v1/queue/suspend", {"suspended": 1})
    server.on("POST /v1/queue/resume", {"released": 2})
    server.on("POST /v1/sites/gmail/backoff", {"paths": 2})
    assert good(server.cli("suspend", "--tenant", "acme", "--site", "gmail")).startswith("suspended;")
    assert server.seen[-1] == ("POST", "/v1/queue/suspend?tenant=acme&site=gmail")
    assert good(server.cli("resume", "--all")) == "2 released\n"
    assert server.seen[-1] == ("POST", "/v1/queue/resume?all=1")
    assert good(server.cli("site", "gmail", "backoff")) == "backoff: done on 2 paths\n"
    one = {"kind": "fix", "site": "gmail", "sender": "acme.test", "job": None, "held": 1200, "code": 550,
           "since": "2026-01-02T03:04:05.000Z", "reply": "5.7.26 \x1b[31mred",
           "resume": "postrider resume --site gmail"}
    server.on("GET /v1/suspensions", {"complete": True, "held": 1200, "suspensions": [one]})
    listed = good(server.cli("suspensions"))
    assert "site gmail, sender acme.test" in listed and "1200" in listed and "\x1b" not in listed
    server.on("GET /v1/suspensions", {"complete": True, "held": 0, "suspensions": []})
    assert good(server.cli("suspensions")) == "Nothing is held.\n"


def test_sites(server):
    site = {"site": "gmail", "connections": 20, "connecting": 1, "idle": 2, "window": 20,
            "max_connections": 20, "lanes": 3, "buffered": 9, "in_flight": 18, "delivered": 1000,
            "deferred": 7, "failed": 3, "rate_1m": 9.87, "blocked_until": "2000-01-01T00:00:00.000Z",
            "blocked_by": "rate", "reason": "600/min", "held": 4}
    server.on("GET /v1/sites", {"complete": False, "sites": [site]})
    lines = good(server.cli("sites")).splitlines()
    assert lines[1].split() == "gmail 20 20 2 18 1000 7 3 9.9 4 now rate: 600/min".split()
    assert lines[2].startswith("A worker did not answer in time")


def test_explain(server):
    recipient = {"rid": "17-0-42", "to": "a@b.example", "job": "17", "state": "deferred", "attempts": 3,
                 "waits": True, "limit": "retry", "until": "2000-01-01T00:00:00.000Z",
                 "why": "its mailbox is full; the next try is due"}
    domain = {"domain": "b.example", "tenant": "acme", "ready": 5, "deferred": 6, "why": "nothing holds it",
              "until": None}
    server.on("GET /v1/explain",
              lambda h: h.answer(200, {"answers": [domain if "domain" in h.query else recipient]}))
    assert good(server.cli("explain", "17-0-42")) == (
        "17-0-42 to a@b.example: deferred, 3 attempts\n"
        "  its mailbox is full; the next try is due (until 2000-01-01 00:00:00Z, now)\n")
    good(server.cli("explain", "a+b@b.example"))
    said = good(server.cli("explain", "b.example"))
    assert said == "b.example (tenant acme): 5 ready, 6 deferred\n  nothing holds it\n"
    queries = [path.removeprefix("/v1/explain?") for _, path in server.seen]
    assert queries == ["rid=17-0-42", "to=a%2Bb%40b.example", "domain=b.example"]


def test_retry(server):
    server.on("POST /v1/queue/retry", {"done": True, "op": None, "matched": 9, "changed": 8, "in_flight": 1})
    said = good(server.cli("retry", "--domain", "b.example", "--status", "4.2.2"))
    assert said == "8 due at once, 1 of 9 that match were in flight\n"
    good(server.cli("retry", "--all"))
    assert server.seen == [("POST", "/v1/queue/retry?domain=b.example&status=4.2.2"),
                           ("POST", "/v1/queue/retry?all=1")]


def test_bounce(server):
    bounced = {"done": True, "op": None, "matched": 9, "changed": 8, "in_flight": 1}
    server.on("POST /v1/queue/bounce", bounced)
    said = good(server.cli("bounce", "--age", ">2h", "--tenant", "acme"))
    assert said == "8 bounced, 1 of 9 that match are in flight and end as they will\n"
    assert server.seen == [("POST", "/v1/queue/bounce?tenant=acme&age=%3E2h")]
    goes_on = {"done": False, "op": "3", "matched": 9, "changed": 5, "in_flight": 0}
    server.on("POST /v1/queue/bounce", goes_on, status=202)
    assert good(server.cli("bounce", "--all")) == "operation 3 goes on: 5 bounced so far\n"
    assert server.seen[-1] == ("POST", "/v1/queue/bounce?all=1")


RECIPIENT = {"rid": "17-0-42", "job": "17", "to": "a@b.example", "domain": "b.example", "id": "42",
             "state": "deferred", "in_flight": False, "attempts": 2, "first": "2024-05-06T07:08:09.123Z",
             "last": None, "next": "2000-01-01T00:00:00.000Z", "code": 452, "status": "4.2.2",
             "reply": "mailbox full", "mx": "mx.b.example", "source": "a", "site": "b.example",
             "metadata": {}, "vars": {"name": "Ada"}, "orcpt": "", "notify": []}


def test_mailq(server):
    rows = "".join(json.dumps(dict(RECIPIENT, rid=f"17-0-{i}")) + "\n" for i in range(2300))
    server.on("GET /v1/queue/recipients", lambda h: h.answer(200, rows, "application/x-ndjson"))
    lines = good(server.cli("mailq", "--status", "4.2.*", "--state", "deferred")).splitlines()
    assert len(lines) == 2301 and lines[0].split() == "RID TO STATE ATTEMPTS NEXT STATUS REPLY".split()
    assert lines[1].split() == "17-0-0 a@b.example deferred 2 now 4.2.2 mailbox full".split()
    query = "status=4.2.%2A&state=deferred&limit=1000000000"
    assert server.seen == [("GET", f"/v1/queue/recipients?{query}")]
    assert len(good(server.cli("mailq", "--json")).splitlines()) == 2300
    server.on("GET /v1/queue/recipients", lambda h: h.answer(200, "", "application/x-ndjson"))
    assert good(server.cli("mailq", "--limit", "5")) == "Nothing is queued that matches.\n"
    assert good(server.cli("mailq", "--json")) == ""


def test_recipient(server):
    server.on("GET /v1/recipients/17-0-42", RECIPIENT)
    text = good(server.cli("recipient", "17-0-42"))
    assert "state     deferred\n" in text and "first     2024-05-06 07:08:09Z\n" in text
    assert "code      452\n" in text and "{{name}}  Ada\n" in text and "last" not in text
    assert json.loads(good(server.cli("recipient", "17-0-42", "--json"))) == RECIPIENT
    server.on("GET /v1/recipients/17-0-42/message", lambda h: h.answer(200, "From: x\r\n\r\nHi\r\n"))
    assert good(server.cli("recipient", "17-0-42", "--message")) == "From: x\n\nHi\n"


def test_purge(server):
    server.on("DELETE /v1/jobs/17", {"job": "17", "done": True, "op": None, "matched": 9, "changed": 9,
                                     "in_flight": 0})
    assert good(server.cli("job", "17", "purge")) == "job 17 is gone, with 9 recipients\n"
    refusal = {"error": {"code": "not_ended", "reason": "job 17 has not ended: cancel it first"}}
    server.on("DELETE /v1/jobs/17", refusal, status=409)
    bad(server.cli("job", "17", "purge"), 1, "job 17 has not ended: cancel it first")


# ---- events ----

EVENT = {"seq": 5, "time": "2024-05-06T07:08:09.123Z", "type": "bounced", "rid": "17-0-1",
         "to": "a@b.example", "code": 550, "status": "5.1.1", "reply": "no such user"}


def test_events(server):
    three = "\n".join(json.dumps(dict(EVENT, seq=i)) for i in range(3))
    server.on("GET /v1/events", lambda h: h.answer(200, three))
    lines = good(server.cli("events", "--after", "0", "--type", "bounced")).splitlines()
    assert lines[2] == "2 2024-05-06 07:08:09Z bounced    17-0-1 a@b.example 5.1.1 550 no such user"
    assert server.seen == [("GET", "/v1/events?after=0&type=bounced")]
    lines = good(server.cli("events", "--json")).splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [0, 1, 2]


def test_events_follow(server):
    """Each event is printed when it comes, though stdout is a pipe."""
    go_on = threading.Event()

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for i in range(2):
            line = json.dumps(dict(EVENT, seq=i)).encode() + b"\n"
            half = len(line) // 2  # an event may come in two parts
            for part in (line[:half], line[half:]):
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                handler.wfile.flush()
            go_on.wait(20)
        handler.wfile.write(b"0\r\n\r\n")

    server.on("GET /v1/events", answer)
    process = subprocess.Popen([POSTRIDER, "-s", server.path, "events", "--follow"], stdout=subprocess.PIPE,
                               text=True)
    assert process.stdout.readline().startswith("0 2024-05-06")
    assert process.poll() is None
    go_on.set()
    assert process.stdout.readline().startswith("1 2024-05-06")
    assert process.wait(20) == 0
    process.stdout.close()
    assert server.seen == [("GET", "/v1/events?follow=1")]


# ---- preview ----

def preview(*args, stdin=None):
    run = subprocess.run([POSTRIDER, "preview", *map(str, args)], capture_output=True, timeout=60,
                         input=stdin)
    return run.returncode, run.stdout.decode(), run.stderr.decode()


def test_preview(tmp_path):
    job = {"from": "b@x.example", "message": {"from": "n@x.example", "subject": "Hi {{name}}",
                                              "text": "Dear {{name}}\n", "headers": {"Bcc": "c@x.example"}}}
    people = [{"to": "ada@example.com", "vars": {"name": "Ada"}}, {"to": "bob@example.com"}]
    lines, whole = tmp_path / "job.ndjson", tmp_path / "job.json"
    lines.write_text("".join(json.dumps(one) + "\n\n" for one in [job, *people]))
    whole.write_text(json.dumps(dict(job, recipients=people), indent=2))
    for file in (lines, whole):
        code, message, warning = preview(file, "--to", "ADA@example.com")
        assert code == 0 and warning == "postrider: warning: Bcc was taken out: it is never sent\n"
        assert "\r\nSubject: Hi Ada\r\nTo: ada@example.com\r\n" in message
        assert message.endswith("\r\n\r\nDear=20Ada\r\n") and "\r\nMessage-ID: <0-0-0@x.example>" in message
        assert preview(file)[1].startswith("From: n@x.example\r\n")
        assert preview(file, "--to", "bob@example.com")[::2] == (
            1, 'postrider: the message needs the variable "name"\n')
        assert preview(file, "--to", "x@y")[::2] == (1, "postrider: x@y is no recipient of its jobs\n")
    assert preview("-", stdin=lines.read_bytes())[0] == 0
    assert preview("-", stdin=b"{}\n")[::2] == (
        1, "postrider: there is no job in it: a job is a line with \"message\"\n")
    assert preview("-", stdin=b'{"message":{}}\n')[2].startswith("postrider: line 1: ")
    assert preview("-", stdin=b"nothing\n")[2].startswith("postrider: line 1 is no JSON object: ")
    assert preview(tmp_path / "absent")[2].startswith("postrider: cannot open ")


def test_preview_signed(tmp_path):
    key, config = tmp_path / "s.pem", tmp_path / "postrider.yaml"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", str(key)], check=True)
    config.write_text("dkim: [{domain: x.example, selector: s, key: %s}]\n" % key)
    job = b'{"from":"b@x.example","message":{"from":"n@x.example","text":"x"}}\n{"to":"a@example.com"}\n'
    code, message, warning = preview("-", "--config", config, stdin=job)
    assert code == 0 and warning == ""
    assert message.startswith("DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
                              " d=x.example; s=s;")


# ---- submit ----

JOB_LINE = '{"from":"a@b.example","message":{"raw":"Subject: x\\r\\n\\r\\ny"}}\n'
LINES = JOB_LINE + '{"to":"c@d.example"}\n' * 50000


def accept(server, answer, status=202):
    server.bodies, server.headers = [], []

    def handle(handler):
        server.headers.append(handler.headers)
        server.bodies.append(handler.read_body())
        handler.answer(status, answer)
    server.on("POST /v1/jobs", handle)


def test_submit(server, tmp_path):
    file = tmp_path / "job.ndjson"
    file.write_text(LINES)
    accept(server, {"jobs": [{"job": "17", "accepted": 9998, "suppressed": 1, "rejected_count": 1002,
                              "rejected": [{"line": 7, "to": "x@", "error": "no domain"}, {"line": 9, "to": None, "error": "not JSON"}]},
                             {"job": "18", "accepted": 1, "suppressed": 0, "rejected": []}]})
    text = good(server.cli("submit", "--idempotency-key", "k 1", str(file)))
    assert text == ("job 17: 9998 accepted, 1 suppressed, 1002 rejected:\n  line 7: x@: no domain\n"
                    "  line 9: not JSON\n  and 1000 more\njob 18: 1 accepted\n")
    assert server.bodies[0].decode() == LINES
    headers = server.headers[0]
    assert headers["Content-Type"] == "application/x-ndjson" and headers["Idempotency-Key"] == "k 1"
    assert headers["Content-Length"] == str(len(LINES)) and "Expect" not in headers
    # From a pipe: the size is not known.
    good(server.cli("submit", "-", stdin=LINES))
    assert server.bodies[1].decode() == LINES and server.headers[1]["Transfer-Encoding"] == "chunked"
    answer = json.loads(good(server.cli("submit", "--json", "-", stdin=LINES)))
    assert answer["jobs"][0]["rejected_count"] == 1002
    (tmp_path / "job.json").write_text("{}")
    good(server.cli("submit", str(tmp_path / "job.json")))
    assert server.headers[3]["Content-Type"] == "application/json"


def test_submit_dry_run(server):
    accept(server, {"dry_run": True, "jobs": [{"accepted": 3, "suppressed": 0, "rejected": []}]}, status=200)
    assert good(server.cli("submit", "--dry-run", "--follow", "-", stdin=LINES)) == "3 would be accepted\n"
    assert server.seen == [("POST", "/v1/jobs?dry_run=1")]


def test_submit_refused(server, tmp_path):
    accept(server, {"error": {"line": 3, "code": "bad_job", "reason": "unknown key \"form\""},
                    "jobs": [{"job": "17", "accepted": 1, "suppressed": 0, "rejected": []}]}, status=400)
    result = server.cli("submit", "-", stdin=LINES)
    bad(result, 1, "line 3: unknown key \"form\"")
    assert result.stdout == "job 17: 1 accepted\n"
    bad(server.cli("submit", str(tmp_path / "none")), 1,
        "cannot open " + str(tmp_path / "none") + ": No such file")
    bad(server.cli("submit", str(tmp_path)), 1, "is a directory")

    # A daemon that answers without reading to the end.
    def early(handler):
        handler.answer(507, {"error": {"code": "full", "reason": "the queue is full"}})
        handler.close_connection = True
    server.on("POST /v1/jobs", early)
    bad(server.cli("submit", "-", stdin=LINES * 20), 1, "the queue is full")
    (tmp_path / "big").write_text(LINES * 20)
    bad(server.cli("submit", str(tmp_path / "big")), 1, "the queue is full")


def follow_answers(server, polls):
    """The job moves on with each time that it is asked for."""
    accept(server, {"jobs": [{"job": "17", "accepted": 10, "suppressed": 0, "rejected": []}]})
    state = {"asked": 0}

    def job(handler):
        state["asked"] += 1
        done = min(10, 10 * state["asked"] // polls)
        counts = dict(JOB["counts"], ready=10 - done, deferred=0, delivered=max(0, done - 2),
                      bounced=min(2, done), expired=0)
        ended = "ended" if done == 10 else "active"
        handler.answer(200, dict(JOB, queued=10 - done, counts=counts, state=ended))
    server.on("GET /v1/jobs/17", job)
    return state


def test_submit_follow(server):
    state = follow_answers(server, 3)
    text = good(server.cli("submit", "--follow", "-", stdin=LINES))
    assert re.fullmatch(r"job 17: 10 accepted\n8 delivered, 2 bounced, 0 expired in \d+s(, \d+/s)?\n", text)
    assert state["asked"] == 3
    follow_answers(server, 2)
    lines = good(server.cli("submit", "--follow", "--json", "-", stdin=LINES)).splitlines()
    assert json.loads(lines[0])["jobs"][0]["job"] == "17" and json.loads(lines[1])["state"] == "ended"


def read_terminal(fd, process):
    shown = b""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            shown += data
        elif process.poll() is not None:
            break
    return shown.decode()


def test_progress_bar(server, tmp_path):
    """On a terminal: a bar with rate and ETA while it uploads, and while it follows; wiped in the end."""
    (tmp_path / "big").write_text(LINES * 30)

    def slow(handler):
        left = int(handler.headers["Content-Length"])
        for _ in range(5):
            left -= len(handler.rfile.read(left // 5))
            time.sleep(0.15)
        handler.rfile.read(left)
        handler.answer(202, {"jobs": [{"job": "17", "accepted": 10, "suppressed": 0, "rejected": []}]})
    follow_answers(server, 5)
    server.on("POST /v1/jobs", slow)
    try:
        ours, theirs = pty.openpty()
    except OSError:
        pytest.skip("no pseudo-terminals here: /dev/pts is not mounted")
    command = [POSTRIDER, "-s", server.path, "submit", "--follow", str(tmp_path / "big")]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        shown = read_terminal(ours, process)
    finally:
        os.close(ours)
    assert process.wait(20) == 0
    uploading = r"uploading +\d+% \[=*> *\] [\d.]+[kM]? of [\d.]+M +[\d.]+[kM]?/s  ETA \d+s"
    assert re.search(uploading, shown), shown
    assert re.search(r"delivering +\d+% \[=*> *\] \d+ of 10 ", shown), shown
    assert shown.endswith("\n") and "8 delivered, 2 bounced" in shown.splitlines()[-1]


# ---- without the daemon ----

def test_config(tmp_path):
    example = os.path.join(ROOT, "deploy/examples/postrider.yaml")
    assert good(cli("config", "check", example)) == f"{example} is good\n"
    shown = good(cli("config", "show", example))
    assert "hostname: mta1.example.com\n" in shown and "  - name: gmail\n" in shown
    (tmp_path / "shown.yaml").write_text(shown)
    assert good(cli("config", "show", str(tmp_path / "shown.yaml"))) == shown
    broken = tmp_path / "broken.yaml"
    broken.write_text("workers: many\nhostnam: x\n")
    result = cli("config", "check", str(broken))
    assert result.returncode == 1
    assert (f"{broken}:1:10: error: workers: expected a number from 0 to 256, found 'many'\n"
            "workers: many\n         ^~~~\n") in result.stderr
    assert f"{broken}:2:1: error: unknown option 'hostnam', did you mean 'hostname'?" in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last == f"postrider: {broken} is not a configuration that postriderd would start with"
    if not os.path.exists("/etc/postrider/postrider.yaml"):
        bad(cli("config", "show"), 1, "name the file: postrider config show FILE")


@pytest.fixture
def dns():
    with Dnsmasq("--local=/test/", "--mx-host=a.test,mx2.a.test,20", "--mx-host=a.test,mx1.a.test,10",
                 "--host-record=mx1.a.test,192.0.2.1,2001:db8::1", "--host-record=mx2.a.test,192.0.2.2",
                 "--host-record=plain.test,192.0.2.3") as server:
        yield server.server


def test_resolve(dns):
    lines = good(cli("resolve", "A.TEST", "--servers", dns)).splitlines()
    assert lines[0].split() == ["PREF", "HOST", "ADDRESSES"]
    assert lines[1].split() == ["10", "mx1.a.test", "2001:db8::1", "192.0.2.1"]
    assert lines[2].split() == ["20", "mx2.a.test", "192.0.2.2"]
    plain = good(cli("resolve", "plain.test", "--servers", dns))
    assert "plain.test" in plain and "192.0.2.3" in plain and "no MX record" in plain
    answer = json.loads(good(cli("resolve", "a.test", "--servers", dns, "--json")))
    assert [host["host"] for host in answer["hosts"]] == ["mx1.a.test", "mx2.a.test"]
    assert answer["status"] == "ok" and not answer["implicit"]
    assert "192.0.2.2" in answer["hosts"][1]["addresses"]
    bad(cli("resolve", "none.test", "--servers", dns), 1, "none.test: ")
    bad(cli("resolve", "a.test", "--servers", "nonsense"), 1, "nonsense")
