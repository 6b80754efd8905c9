"""Messages compiled and rendered by the engine, read back by Python's email package.

build/render (render_main.c) does the engine's part. The generators are seeded: a failure repeats."""
import base64
import email
import email.header
import email.policy
import email.utils
import json
import os
import quopri
import random
import re
import subprocess

import pytest

from daemon import BUILD
RECIPIENT = {"to": "ada@example.com", "rid": "J1-2-3", "id": "42", "job": "J1"}
NAMES = ["a", "b", "c1"]
WORDS = ["a", "Hello", "the", "=?", "é", "日本語", "Grüße", "x" * 80, ".", "..", "--", "From ", "=", "  ", "\t",
         "<b>", "&", '"q"', "'", "😀", "{", "}", "w" * 1100, ", ", ";", "(", ")", "\\", "?=", "_", "=3D"]


class Engine:
    def __init__(self):
        self.program = subprocess.Popen([os.path.join(BUILD, "render")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def run(self, recipients=(RECIPIENT,), **job):
        if "raw" in job:
            raw = job.pop("raw")
            raw = raw.encode() if isinstance(raw, str) else raw
            job["raw_base64"] = base64.b64encode(raw).decode()
        job["recipients"] = list(recipients)
        self.program.stdin.write(json.dumps(job).encode() + b"\n")
        self.program.stdin.flush()
        return json.loads(self.program.stdout.readline())

    def messages(self, variables=None, **job):
        """The wire form and the message itself, for one recipient."""
        recipient = dict(RECIPIENT, vars=variables or {})
        answer = self.run([recipient, dict(recipient, unstuffed=True)], **job)
        assert "error" not in answer, answer
        wire, plain = answer["renditions"]
        assert "message" in wire, wire
        assert wire["message_size"] == plain["message_size"] == plain["size"]
        return base64.b64decode(wire["message"]), base64.b64decode(plain["message"])


@pytest.fixture(scope="module")
def engine():
    engine = Engine()
    yield engine
    engine.program.stdin.close()
    assert engine.program.wait(timeout=10) == 0


def check_wire(wire, plain):
    assert plain.endswith(b"\r\n")
    assert b"\0" not in plain
    for line in plain.split(b"\r\n"):
        assert b"\r" not in line and b"\n" not in line
        assert len(line) <= 998
    lines = wire.split(b"\r\n")
    assert all(not line.startswith(b".") or line.startswith(b"..") for line in lines)
    assert b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines) == plain


# What is sent, and what a reader should see.

def random_text(rnd, most, lines=True):
    out = []
    for _ in range(rnd.randrange(most)):
        out.append(rnd.choice(WORDS))
        chance = rnd.random()
        if lines and chance < 0.2:
            out.append(rnd.choice(["\n", "\r\n", "\n\n"]))
        elif chance < 0.7:
            out.append(" ")
    return "".join(out)


def random_values(rnd):
    values = {name: random_text(rnd, 6) for name in NAMES}
    values[rnd.choice(NAMES)] += rnd.choice(["", "\0", "\x01\x7f", "\r\nEvil: x\r\n", "\r\n.\r\nQUIT\r\n"])
    if rnd.random() < 0.2:
        values[rnd.choice(NAMES)] = ""
    return values


def random_template(rnd, most, lines=True):
    """A template, and its pieces as (kind, text or name)."""
    pieces = []
    for _ in range(rnd.randrange(1, 5)):
        text = random_text(rnd, most, lines).replace("{{", "{ {")
        pieces.append(("text", " " + text + " "))
        if rnd.random() < 0.7:
            pieces.append((rnd.choice(["escaped", "plain", "default"]), rnd.choice(NAMES)))
    return template_of(pieces), pieces


def template_of(pieces):
    forms = {"text": "%s", "escaped": "{{%s}}", "plain": "{{{%s}}}", "default": "{{ %s |dé f}}"}
    return "".join(forms[kind] % text for kind, text in pieces)


def html_escape(text):
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        text = text.replace(char, entity)
    return text


def expand(pieces, values, html=False):
    out = []
    for kind, text in pieces:
        if kind != "text":
            text = values[text] or ("dé f" if kind == "default" else "")
            if html and kind != "plain":
                text = html_escape(text)
        out.append(as_read(text))
    return "".join(out)


def as_read(text):
    return text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")


def in_header(text):
    return re.sub(r"[\x00-\x20\x7f]+", " ", text).strip()


def decode_header(value):
    parts = email.header.decode_header(re.sub(r"\r\n(?=[ \t])", "", value))
    return "".join(part if isinstance(part, str) else part.decode(charset or "ascii")
                   for part, charset in parts)


def body_of(part):
    return as_read(part.get_payload(decode=True).decode(part.get_content_charset() or "ascii"))


def test_composed(engine):
    rnd = random.Random(1)
    for _ in range(300):
        subject, subject_pieces = random_template(rnd, 4, lines=False)
        text, text_pieces = random_template(rnd, 12)
        html, html_pieces = random_template(rnd, 12)
        values = random_values(rnd)
        wire, plain = engine.messages(
            values, **{"from": "News <n@x.example>", "subject": subject, "text": text, "html": html})
        check_wire(wire, plain)
        message = email.message_from_bytes(plain)
        assert not message.defects
        assert sorted(name.lower() for name in message.keys()) == sorted(
            ["from", "to", "subject", "content-type", "mime-version", "date", "message-id"])
        want = "".join(t if k == "text" else values[t] or ("dé f" if k == "default" else "")
                       for k, t in subject_pieces)
        assert in_header(decode_header(message["subject"])) == in_header(want)
        text_part, html_part = message.get_payload()
        assert body_of(text_part) == expand(text_pieces, values)
        assert body_of(html_part) == expand(html_pieces, values, html=True)
        for part in (text_part, html_part):
            if part["Content-Transfer-Encoding"] == "quoted-printable":
                lines = part.get_payload().replace("\r\n", "\n").split("\n")
                assert all(len(line) <= 76 and not line.endswith((" ", "\t")) for line in lines)


def random_entity(rnd, eol, depth=0):
    """A raw entity, header first, and its leaves as (html, pieces)."""
    chance = rnd.random()
    if depth < 3 and chance < 0.35:
        first = rnd.choice(["abc", "abcdef", "=_x1", "a b", "---", "x'y"])
        boundary = "%s%d.%d" % (first, depth, rnd.randrange(100))
        children = [random_entity(rnd, eol, depth + 1) for _ in range(rnd.randrange(1, 4))]
        body = rnd.choice(["", "This is a multipart" + eol, "p" * 1200 + eol])
        for child, _ in children:
            body += "--" + boundary + eol + child + eol
        body += rnd.choice(["", "--%s--" % boundary, "--%s--%sepilogue {{ é%s" % (boundary, eol, eol)])
        kind = rnd.choice(["mixed", "alternative", "related"])
        return ('Content-Type: multipart/%s; boundary="%s"' % (kind, boundary) + eol + eol + body,
                [leaf for _, leaves in children for leaf in leaves])
    if depth < 3 and chance < 0.42:
        inner, leaves = random_entity(rnd, eol, depth + 1)
        return "Content-Type: message/rfc822" + eol + eol + "Subject: inner {{a}}" + eol + inner, leaves
    _, pieces = random_template(rnd, 8)
    if rnd.random() < 0.3:
        pieces = [piece for piece in pieces if piece[0] == "text"]
    html = rnd.random() < 0.5
    encoding = rnd.choice([None, "7bit", "8bit", "binary", "quoted-printable", "base64"])
    if encoding in (None, "7bit", "8bit", "binary"):
        pieces = [(kind, text.replace("--", "- -")) for kind, text in pieces]
        body = template_of(pieces)
    elif encoding == "quoted-printable":
        body = quopri.encodestring(as_read(template_of(pieces)).encode()).decode().replace("\n", eol)
    else:
        body = base64.encodebytes(template_of(pieces).encode()).decode().replace("\n", eol)
    charset = rnd.choice(["; charset=utf-8", '; charset="UTF-8"; format=flowed'])
    if encoding in (None, "7bit"):
        charset = rnd.choice(["", charset, "; charset=us-ascii"])
    header = "Content-Type: text/%s%s" % ("html" if html else "plain", charset) + eol
    if encoding:
        header += "Content-Transfer-Encoding: " + rnd.choice([encoding, encoding.upper()]) + eol
    return header + eol + body, [(html, pieces)]


def leaves_of(message):
    if message.is_multipart():
        for part in message.get_payload():
            yield from leaves_of(part)
    else:
        yield message


def trimmed(text):
    """Without what quoted-printable in a raw message may lose: white space at the ends of lines."""
    return "\n".join(line.rstrip(" \t") for line in text.rstrip("\n").split("\n")).rstrip("\n")


def check_leaves(plain, leaves, values):
    parts = list(leaves_of(email.message_from_bytes(plain)))
    assert len(parts) == len(leaves)
    for part, (html, pieces) in zip(parts, leaves):
        assert trimmed(body_of(part)) == trimmed(expand(pieces, values, html))


def test_raw_and_downgrade(engine):
    rnd = random.Random(2)
    for _ in range(300):
        eol = rnd.choice(["\n", "\r\n"])
        entity, leaves = random_entity(rnd, eol)
        lines = ["From: {{a|x}} <n@x.example>", "To: {{b|y}} <{{to}}>", "Subject: hi", "MIME-Version: 1.0"]
        raw = rnd.choice(["", "\ufeff", "From me@x Mon\n", "\n"]) + eol.join([*lines, entity])
        values = random_values(rnd)
        wire, plain = engine.messages(values, raw=raw)
        check_wire(wire, plain)
        check_leaves(plain, leaves, values)
        wire, plain = engine.messages(raw=plain, merge=False, seven_bit=True)
        check_wire(wire, plain)
        assert plain.isascii()
        check_leaves(plain, leaves, values)


NAMES_SEEN = ["Ada", "Ada Lovelace", "Lovelace, Ada", 'Ada "the first" L.', "Zoë", "张伟", "Ünal, Jürgen (IT)",
              "<script>", "a@b", "", "x" * 200, "é" * 120, "back\\slash", "  spaces   within  ", "=?utf-8?q?x?="]


@pytest.mark.parametrize("name", NAMES_SEEN, ids=range(len(NAMES_SEEN)))
def test_addresses_as_parsers_see_them(engine, name):
    for header in ("{{n}} <{{to}}>, Second <b@x.example>", '"{{n}}" <{{to}}>, Second <b@x.example>'):
        _, plain = engine.messages({"n": name}, **{"from": "n@x.example", "to": header, "text": "x"})
        value = re.sub(r"\r\n(?=[ \t])", "", email.message_from_bytes(plain)["to"])
        (first, address), second = email.utils.getaddresses([value])
        assert address == "ada@example.com" and second == ("Second", "b@x.example")
        assert re.sub(" +", " ", decode_header(first)) == re.sub(" +", " ", name.strip())
        # The newer parser agrees, but (in Python 3.11) leaves the space between encoded words of a phrase in.
        modern = email.message_from_bytes(plain, policy=email.policy.default)["to"]
        assert [one.addr_spec for one in modern.addresses] == ["ada@example.com", "b@x.example"]
        assert not modern.defects


def test_missing_and_recipients(engine):
    job = {"from": "n@x.example", "subject": "{{x}}", "text": "{{x}} {{y|d}}"}
    recipients = [RECIPIENT, dict(RECIPIENT, vars={"x": "1"}), dict(RECIPIENT, vars={"y": "1"})]
    answer = engine.run(recipients, **job)
    missing, rendered, other = answer["renditions"]
    assert missing == other == {"missing": "x"}
    message = email.message_from_bytes(base64.b64decode(rendered["message"]))
    assert message["subject"] == "1" and body_of(message).strip() == "1 d"
    assert not answer["same_for_all"]


def test_attachment_is_untouched(engine):
    blob = bytes(range(256)) * 40 + b"{{x}} {{"
    attachment = base64.encodebytes(blob)
    raw = (b"From: n@x.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
           b"--b\n\nHi {{x}}\n--b\nContent-Type: application/octet-stream\n"
           b"Content-Transfer-Encoding: base64\n\n" + attachment + b"\n--b--\n")
    _, plain = engine.messages({"x": "Ada"}, raw=raw)
    text, file = email.message_from_bytes(plain).get_payload()
    assert body_of(text) == "Hi Ada"
    assert file.get_payload(decode=True) == blob
