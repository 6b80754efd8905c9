"""Draining a source, forgetting what DNS said, and watching it all."""
from conftest import ONE_DOMAIN, host
from daemon import job, wait_for

TWO = ("sources:\n  - { name: a, address: 127.0.0.3 }\n  - { name: b, address: 127.0.0.4, ehlo: b.test }\n"
       "pools:\n  - { name: default, sources: {a: 1, b: 1} }\n")


def submit(daemon, count=50):
    return daemon.submit(job(), [f"u{i}@a.test" for i in range(count)]).json["jobs"][0]["job"]


def deliver(daemon, count=50):
    """From which sources they left."""
    ident = submit(daemon, count)
    daemon.wait_counts(ident, delivered=count)
    return {e["source"] for e in daemon.events() if e["type"] == "delivered" and e["job"] == ident}


def sources(daemon):
    return {source["source"]: source for source in daemon.get("/v1/sources").json["sources"]}


def test_mail_goes_by_the_others(scene):
    daemon = scene(host(), ONE_DOMAIN, config=TWO).daemon
    assert deliver(daemon) == {"a", "b"}
    assert daemon.post("/v1/sources/a/drain").json == {"source": "a", "drained": True}
    wait_for(lambda: sources(daemon)["a"]["connections"] == 0, 30, "the connections of a to end")
    assert sources(daemon)["a"]["drained"] and not sources(daemon)["b"]["drained"]
    assert deliver(daemon) == {"b"}
    daemon.stop()
    daemon.start()
    assert sources(daemon)["a"]["drained"] and deliver(daemon) == {"b"}
    assert daemon.post("/v1/sources/a/enable").json == {"source": "a", "drained": False}
    assert not sources(daemon)["a"]["drained"]
    assert deliver(daemon) == {"a", "b"}
    assert daemon.post("/v1/sources/c/drain").status == 404
    assert sum(source["delivered"] for source in sources(daemon).values()) == 100


def test_mail_waits_where_there_is_no_other(scene):
    daemon = scene(host(), ONE_DOMAIN, config="sources:\n  - { name: a, address: 127.0.0.3 }\n").daemon
    deliver(daemon)
    assert daemon.cli("source", "a", "drain").stdout == "a: drained; nothing new leaves from it\n"
    ident = submit(daemon)
    rid = daemon.recipients(ident)[0]["rid"]

    def why():
        return daemon.get(f"/v1/explain?rid={rid}").json["answers"][0]
    wait_for(lambda: why()["limit"] == "drain", 30, "it to wait for the source")
    wait_for(lambda: daemon.status()["held"] == 50, 30, "it to be held")
    held, = daemon.get("/v1/suspensions").json["suspensions"]
    assert (held["kind"], held["source"], held["resume"]) == ("drain", "a", "postrider source a enable")
    assert daemon.job(ident)["counts"]["delivered"] == 0
    assert daemon.cli("source", "a", "enable").stdout == "a: enabled\n"
    daemon.wait_counts(ident, delivered=50)
    assert daemon.status()["held"] == 0


def test_the_commands(scene):
    daemon = scene(host(), ONE_DOMAIN, config=TWO).daemon
    deliver(daemon)
    table = daemon.cli("sources").stdout.splitlines()
    assert table[0].split()[:4] == ["SOURCE", "ADDRESS", "EHLO", "STATE"]
    assert table[1].split()[:4] == ["a", "127.0.0.3", "mta.test", "enabled"]
    assert table[2].split()[:4] == ["b", "127.0.0.4", "b.test", "enabled"]
    assert len(daemon.cli("source", "b").stdout.splitlines()) == 2
    for args, code, text in ((("source", "a", "stop"), 2, "none of enable and drain"),
                             (("source", "x", "drain"), 1, "no source named x"),
                             (("flush", "arp"), 2, "not dns")):
        ran = daemon.cli(*args)
        assert ran.returncode == code and text in ran.stderr


def test_flush_dns(scene):
    """A domain that has moved."""
    s = scene(host() + [{"name": "mx.b.test", "address": "127.0.8.3"}], ONE_DOMAIN)
    deliver(s.daemon, 1)
    s.world.domain("a.test", mx=[[10, "mx.b.test"]])
    wait_for(lambda: s.daemon.status()["sessions"] == 0, 30, "the connection to end")
    deliver(s.daemon, 1)
    assert [d.host for d in s.delivered()] == ["mx.a.test"] * 2
    assert s.daemon.cli("flush", "dns").returncode == 0
    deliver(s.daemon, 1)  # may be on its way before the answer is there
    wait_for(lambda: s.daemon.status()["sessions"] == 0, 30, "the connection to end")
    deliver(s.daemon, 1)
    assert s.delivered()[-1].host == "mx.b.test"


def test_top(scene):
    daemon = scene(host(), ONE_DOMAIN).daemon
    deliver(daemon, 20)
    ran = daemon.cli("top", "--count", "2", "--every", "100ms")
    assert ran.returncode == 0 and ran.stderr == "" and "\033" not in ran.stdout
    first, second = ran.stdout.rstrip("\n").split("\n\npostriderd ")
    assert "delivered 20, bounced 0" in first and "now " not in first and "now 0/s delivered" in second
    site = [line for line in first.splitlines() if line.startswith("a.test ")]
    assert len(site) == 1 and "20" in site[0].split()
    for args, text in ((("--every", "fast"), "--every takes a duration"),
                       (("--count", "0"), "--count takes a number")):
        ran = daemon.cli("top", *args)
        assert ran.returncode == 2 and text in ran.stderr
    daemon.stop()
    assert daemon.cli("top").returncode == 1
    daemon.start()
