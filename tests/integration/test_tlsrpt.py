"""Reports about TLS: what they count, and that they arrive by mail and by HTTPS. A day is seconds here."""
import email
import email.policy
import gzip
import json

import pytest
from certificates import Authority
from daemon import wait_for
from mailhost import MailHost
from receiver import Receiver
from test_sts import Scene, outcome, policy

PERIOD_S = 4


@pytest.fixture(scope="module")
def authority():
    with Authority() as made:
        yield made


def report_of(received):
    """The message, its part with the report, and the report."""
    message = email.message_from_bytes(received.content, policy=email.policy.default)
    part = [p for p in message.walk() if p.get_content_type() == "application/tlsrpt+gzip"][0]
    return message, part, json.loads(gzip.decompress(part.get_payload(decode=True)))


class Reported:
    """A scene whose domain asks for reports by mail and by HTTPS, and who takes them."""

    def __init__(self, authority, **arguments):
        self.taker = Receiver(tls=authority.server("127.0.0.1"))
        url = self.taker.url.replace("/events", "/tls")
        file = authority.path("dnsmasq.conf")  # only in a file can a record hold a comma
        with open(file, "w", encoding="ascii") as f:
            f.write(f'txt-record=_smtp._tls.a.test,"v=TLSRPTv1; rua=mailto:tls%2Breports@r.test,{url}"\n'
                    f'txt-record=_smtp._tls.r.test,"v=TLSRPTv1; rua={url}"\n')
        self.scene = Scene(authority, records=["--mx-host=r.test,mx.r.test,10", f"--conf-file={file}",
                                               "--host-record=mx.r.test,127.0.7.43"], **arguments)
        self.mail = MailHost("127.0.7.43", port=self.scene.host.port)
        self.more = (f"tls_reports: {{ enabled: yes, period: {PERIOD_S}s, contact: reports@mta.test, "
                     f"organization: sender.test, ca_file: {authority.file} }}\n")

    def daemon(self, directory=None):
        daemon = self.scene.daemon(directory)
        with open(daemon.config, "a", encoding="utf-8") as f:
            f.write(self.more)
        return daemon

    def posted(self):
        return [json.loads(gzip.decompress(request.body)) for request in self.taker.taken()]

    def mailed(self):
        return [(received, *report_of(received)) for received in self.mail.received]

    def __enter__(self):
        self.taker.__enter__()
        return self

    def __exit__(self, *_):
        self.mail.__exit__()
        self.scene.__exit__()
        self.taker.__exit__()


def sums(reports, field):
    return sum(p["summary"][field] for r in reports for p in r["policies"])


def test_a_report_by_mail_and_by_https(authority):
    with Reported(authority, text=policy("enforce")) as reported, reported.daemon() as d:
        assert outcome(d) == "verified"
        wait_for(reported.mailed, 60, "the report by mail")
        report = wait_for(reported.posted, 60, "the report by HTTPS")[0]
        received, message, part, mailed = reported.mailed()[0]
        assert mailed["report-id"] == report["report-id"] and mailed["policies"] == report["policies"]
        assert report["organization-name"] == "sender.test" and report["contact-info"] == "reports@mta.test"
        assert report["date-range"]["start-datetime"] < report["date-range"]["end-datetime"]
        assert report["policies"] == [{
            "policy": {"policy-type": "sts", "policy-domain": "a.test", "mx-host": ["mx.a.test"],
                       "policy-string": ["version: STSv1", "mode: enforce", "max_age: 86400", "mx: mx.a.test"]},
            "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0}}]
        assert received.sender == "reports@mta.test" and received.recipients == ("tls+reports@r.test",)
        assert message["TLS-Report-Domain"] == "a.test" and message["TLS-Report-Submitter"] == "mta.test"
        assert message.get_content_type() == "multipart/report"
        assert message.get_param("report-type") == "tlsrpt"
        assert "Report Domain: a.test" in message["Subject"] and report["report-id"] in message["Subject"]
        name = part.get_filename().split("!")
        assert name[:2] == ["mta.test", "a.test"] and name[4].endswith(".json.gz")
        assert reported.taker.taken()[0].headers["content-type"] == "application/tlsrpt+gzip"


FAILURES = {
    "certificate-host-mismatch": {"text": policy("enforce"), "mx": "other.test"},
    "certificate-expired": {"text": policy("testing"), "mx_days": -1},
    "starttls-not-supported": {"text": policy("enforce"), "tls": False},
    "validation-failure": {"text": policy("enforce", "mx.b.test")},
    "sts-policy-invalid": {"text": "version: STSv1\n"},
    "sts-webpki-invalid": {"text": policy("enforce"), "web": "other.test"},
}


@pytest.mark.parametrize("kind", FAILURES)
def test_failures(authority, kind):
    with Reported(authority, **FAILURES[kind]) as reported, reported.daemon() as d:
        outcome(d)
        report = wait_for(reported.posted, 60, "the report")[0]
        details = report["policies"][0]["failure-details"]
        assert {detail["result-type"] for detail in details} == {kind}
        assert report["policies"][0]["summary"]["total-failure-session-count"] >= 1
        if not kind.startswith("sts-"):
            assert details[0]["receiving-mx-hostname"] == "mx.a.test"


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "clear"])
def test_no_policy(authority, tls):
    """Sessions that no policy is about are counted where the domain asks for reports; those of reports are
    not, or each would be answered by another."""
    with Reported(authority, record="", tls=tls) as reported, reported.daemon() as d:
        for periods in (1, 2):
            assert outcome(d) == ("unverified" if tls else "clear")
            wait_for(lambda n=periods: len(reported.posted()) >= n and len(reported.mailed()) >= n, 60,
                     "the reports")
        for report in reported.posted():
            entry, = report["policies"]
            assert entry["policy"] == {"policy-type": "no-policy-found", "policy-domain": "a.test"}
            assert entry["summary"] == {"total-successful-session-count": int(tls),
                                        "total-failure-session-count": int(not tls)}
            if not tls:
                assert entry["failure-details"][0]["result-type"] == "starttls-not-supported"


def test_counts_outlive_a_restart(authority):
    with Reported(authority, text=policy("enforce")) as reported:
        first = reported.daemon()
        with first as d:
            assert outcome(d) == "verified"
            d.stop()
            with reported.daemon(first.directory):
                wait_for(reported.posted, 60, "the report")
                assert sums(reported.posted(), "total-successful-session-count") == 1
