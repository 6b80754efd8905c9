"""Delivery reports as others read them: Python's email, and Perl's Mail::DeliveryStatus::BounceParser."""
import email
import email.policy
import os
import subprocess

import pytest
from sanitizer import BUILD

# What the parser takes for bounces it gives as reports. Others it tells by their action alone, so that their
# groups of fields are read with its own class for them.
PARSER = """
use Mail::DeliveryStatus::BounceParser;
use Mail::DeliveryStatus::Report;
my $text = do { local $/; <STDIN> };
my $bounce = Mail::DeliveryStatus::BounceParser->new($text, {prefer_final_recipient => 1});
if ($bounce->is_bounce) {
  for my $report ($bounce->reports) {
    print join(" ", map { $report->get($_) // "-" } qw(email action status std_reason smtp_code)), "\\n";
  }
} else {
  print "no bounce: $bounce->{type}\\n";
  my ($fields) = $text =~ m{\\nContent-Type: message/delivery-status\\n\\n(.*?)\\n--=_}s;
  for my $group (split /\\n\\n/, $fields) {
    my $report = Mail::DeliveryStatus::Report->new([split /\\n/, $group]);
    $report->unfold;
    next unless $report->get("final-recipient");
    print join(" ", map { s/\\n//r } map { $report->get($_) } qw(final-recipient action status)), "\\n";
  }
}
"""
SAMPLES = ("one.eml", "several.eml", "global.eml", "delayed.eml", "relayed.eml")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dsn")
    subprocess.run([os.path.join(BUILD, "unit", "test_dsn"), str(directory)], check=True)
    return {name: (directory / name).read_bytes() for name in SAMPLES}


def parse(raw, kind="delivery-status"):
    message = email.message_from_bytes(raw, policy=email.policy.SMTP)
    for part in message.walk():
        assert not part.defects, (part.get_content_type(), part.defects)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == kind
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["From"].addresses[0].addr_spec == "MAILER-DAEMON@mta1.example.com"
    words, status, original = message.iter_parts()
    assert status.get_content_type() == f"message/{kind}"
    return message, words, status.get_payload(), original


def told(groups):
    return [(g["Final-Recipient"], g["Action"], g["Status"]) for g in groups]


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


def test_delayed(samples):
    message, words, groups, original = parse(samples["delayed.eml"])
    assert message["Subject"] == "Delayed mail: 2 recipients"
    assert "You need to do" in words.get_content() and "out of storage space" in words.get_content()
    assert told(groups[1:]) == [("rfc822; ada@example.net", "delayed", "4.2.2"),
                                ("rfc822; bob@example.org", "delayed", "4.0.0")]
    assert [g["Will-Retry-Until"] for g in groups[1:]] == ["Sun, 19 Nov 2023 13:20:00 +0000"] * 2
    assert original.get_content_type() == "text/rfc822-headers"


def test_relayed(samples):
    message, words, groups, original = parse(samples["relayed.eml"])
    assert message["Subject"] == "Relayed mail: ada@example.net"
    assert told(groups[1:]) == [("rfc822; ada@example.net", "relayed", "2.0.0")]
    assert groups[1]["Diagnostic-Code"] == "smtp; 250 2.0.0 Ok: queued as 4711"
    assert original.get_content_type() == "text/rfc822-headers"


def test_utf8_throughout(samples):
    message, words, (first, *_), original = parse(samples["global.eml"], "global-delivery-status")
    assert str(message["To"]) == "rü@example.com"
    # Python takes the first group for a header and the rest for its body.
    assert first["Reporting-MTA"] == "dns; mta1.example.com"
    groups = [email.message_from_string(g, policy=email.policy.SMTPUTF8)
              for g in first.get_payload(decode=True).decode().replace("\r\n", "\n").split("\n\n")]
    assert told(groups) == [("rfc822; ada@example.net", "failed", "5.1.1"),
                            ("rfc822; bob@example.org", "failed", "5.1.2"),
                            ("utf-8; jörg@example.com", "failed", "4.2.2")]
    assert groups[2]["Diagnostic-Code"] == "smtp; 452 4.2.2 Postfach voll: zurück"
    assert original.get_content_type() == "message/global"
    assert original.get_payload()[0]["Subject"] == "Hi Ada"


def test_a_bounce_parser_understands_it(samples):
    probe = ["perl", "-MMail::DeliveryStatus::BounceParser", "-e1"]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("needs libmail-deliverystatus-bounceparser-perl")

    def read(name):  # as a mailbox on Unix has it
        return subprocess.run(["perl", "-e", PARSER], input=samples[name].replace(b"\r\n", b"\n"), check=True,
                              capture_output=True).stdout.decode().splitlines()

    assert read("one.eml") == ["ada@example.net failed 5.1.1 user_unknown 550"]
    assert read("several.eml") == ["ada@example.net failed 5.1.1 user_unknown 550",
                                   "bob@example.org failed 5.1.2 domain_error 512",
                                   "j\\x{F6}rg@example.com failed 4.2.2 unknown 452"]
    assert read("delayed.eml") == ["no bounce: delivery-status delayed",
                                   "rfc822; ada@example.net delayed 4.2.2",
                                   "rfc822; bob@example.org delayed 4.0.0"]
    assert read("relayed.eml") == ["no bounce: delivery-status relayed",
                                   "rfc822; ada@example.net relayed 2.0.0"]
