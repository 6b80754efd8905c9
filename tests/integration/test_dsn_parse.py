"""Delivery reports as others read them: Python's email, and Perl's Mail::DeliveryStatus::BounceParser."""
import email
import email.policy
import os
import subprocess

import pytest
from sanitizer import BUILD

PARSER = """
use Mail::DeliveryStatus::BounceParser;
my $bounce = Mail::DeliveryStatus::BounceParser->new(\\*STDIN, {prefer_final_recipient => 1});
die "no bounce\\n" unless $bounce->is_bounce;
for my $report ($bounce->reports) {
  print join(" ", map { $report->get($_) // "-" } qw(email std_reason status smtp_code)), "\\n";
}
"""


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dsn")
    subprocess.run([os.path.join(BUILD, "unit", "test_dsn"), str(directory)], check=True)
    return {name: (directory / name).read_bytes() for name in ("one.eml", "several.eml")}


def parse(raw):
    message = email.message_from_bytes(raw, policy=email.policy.SMTP)
    for part in message.walk():
        assert not part.defects, (part.get_content_type(), part.defects)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["From"].addresses[0].addr_spec == "MAILER-DAEMON@mta1.example.com"
    words, status, original = message.iter_parts()
    assert status.get_content_type() == "message/delivery-status"
    return message, words, status.get_payload(), original


def test_one_recipient(samples):
    message, words, groups, original = parse(samples["one.eml"])
    assert message["To"] == "bounces@example.com"
    assert message["Date"].datetime.isoformat() == "2023-11-14T22:13:30+00:00"
    assert "mx1.example.net answered" in words.get_content()
    about, ada = groups
    assert about["Reporting-MTA"] == "dns; mta1.example.com"
    assert about["Original-Envelope-Id"] == "QQ314159"
    assert ada["Original-Recipient"] == "rfc822;Ada@Example.Net"
    assert ada["Final-Recipient"] == "rfc822; ada@example.net"
    assert ada["Action"] == "failed" and ada["Status"] == "5.1.1"
    assert ada["Remote-MTA"] == "dns; mx1.example.net"
    assert ada["Diagnostic-Code"] == (
        "smtp; 550 5.1.1 <ada@example.net>: Recipient address rejected: User unknown in virtual mailbox table, "
        "see https://example.net/unknown")
    assert original.get_content_type() == "text/rfc822-headers"
    assert "Subject: Hi Ada" in original.get_payload() and "Hello" not in original.get_payload()


def test_several_recipients_with_the_message(samples):
    _, words, groups, original = parse(samples["several.eml"])
    assert [g["Final-Recipient"] for g in groups[1:]] == [
        "rfc822; ada@example.net", "rfc822; bob@example.org", "utf-8; j\\x{F6}rg@example.com"]
    assert [g["Status"] for g in groups[1:]] == ["5.1.1", "5.1.2", "4.2.2"]
    assert "jörg@example.com" in words.get_content() and "zurück" in words.get_content()
    assert original.get_content_type() == "message/rfc822"
    assert original.get_payload()[0]["Subject"] == "Hi Ada"
    assert original.get_payload()[0].get_payload().strip() == "Hello Ada"


def test_a_bounce_parser_understands_it(samples):
    probe = ["perl", "-MMail::DeliveryStatus::BounceParser", "-e1"]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("needs libmail-deliverystatus-bounceparser-perl")

    def read(name):  # as a mailbox on Unix has it
        return subprocess.run(["perl", "-e", PARSER], input=samples[name].replace(b"\r\n", b"\n"), check=True,
                              capture_output=True).stdout.decode().splitlines()

    assert read("one.eml") == ["ada@example.net user_unknown 5.1.1 550"]
    assert read("several.eml") == ["ada@example.net user_unknown 5.1.1 550",
                                   "bob@example.org domain_error 5.1.2 512",
                                   "j\\x{F6}rg@example.com unknown 4.2.2 452"]
