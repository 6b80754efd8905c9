"""Messages composed from their fields, read back by three readers that this project did not write: Python's
email package, Perl's MIME tools and GMime. What they see must be what was meant, over random messages.

build/render (render_main.c) does the engine's part; the generator is seeded: a failure repeats."""
import base64
import email
import email.policy
import email.utils
import json
import os
import random
import re
import subprocess
import urllib.parse

import gi

from test_message import engine  # noqa: F401: a fixture
from test_message import NAMES, as_read, check_wire, decode_header, html_escape, in_header, leaves_of

gi.require_version("GMime", "3.0")
from gi.repository import GMime  # noqa: E402

ALPHABETS = ["abc XYZ 0129 .,;:!?", "<>&\"'()[]{}\\/@=_-%#", "\t \n\r", "äöüßéèñçøå", "日本語中文한국어ไทย",
             "עבריתالعربية", "😀👩‍👩‍👧🏳️‍🌈", "\u00a0\u200b\u202e\ufeff\u2028", "\x01\x07\x1b\x7f"]
PIECES = [".", "..", "\r\n.\r\n", "From ", "--", "=_", "=?utf-8?q?x?=", "=3D", " \n", "w" * 1200, "\n\n\n"]
TYPES = ["image/png", "application/pdf", "text/csv; charset=utf-8", "text/calendar; method=REQUEST",
         "audio/ogg", "application/x-thing; version=\"1.0; a\"", None]


def any_text(rnd, most, lines=True):
    out = []
    for _ in range(rnd.randrange(most + 1)):
        alphabet = rnd.choice(ALPHABETS)
        out.append("".join(rnd.choice(alphabet) for _ in range(rnd.randrange(1, 40))))
        if rnd.random() < 0.2:
            out.append(rnd.choice(PIECES))
        if rnd.random() < 0.1:
            out.append(chr(rnd.choice([rnd.randrange(0x80, 0xd800), rnd.randrange(0xe000, 0x110000)])))
    text = re.sub(r"\{(?=\{)", "{ ", "".join(out))
    return text if lines else re.sub(r"[\r\n\u2028]", " ", text)


def any_attachment(rnd, number):
    content = rnd.randbytes(rnd.choice([0, 1, 2, 3, 56, 57, 58, 1000, rnd.randrange(5000)]))
    if rnd.random() < 0.3:
        content = any_text(rnd, 10).encode()
    one = {"content_base64": base64.b64encode(content).decode()}
    if rnd.random() < 0.8:
        name = re.sub(r"[\x00-\x1f\x7f/]", "", any_text(rnd, rnd.choice([1, 4]), lines=False)).strip()
        one["filename"] = (name or "file")[:250]
    kind = rnd.choice(TYPES)
    if kind:
        one["type"] = kind
    if rnd.random() < 0.4:
        one["cid"] = "part%d.%d@x.example" % (number, rnd.randrange(1000))
    return one


def any_message(rnd):
    message = {"from": "News <n@x.example>", "to": "Ada <ada@example.com>",
               "subject": any_text(rnd, 3, False)}
    kinds = rnd.choice([["text"], ["html"], ["text", "html"], ["text", "amp", "html"]])
    for kind in kinds:
        message[kind] = any_text(rnd, 12) or "x"
    if kinds == ["html"]:
        message["text"] = ""
    if rnd.random() < 0.6:
        message["attachments"] = [any_attachment(rnd, i) for i in range(rnd.randrange(5))]
    return message, kinds


def meant(message, kinds):
    """The leaves in order: type, file name, content id, bytes."""
    names = {"text": "text/plain", "amp": "text/x-amp-html", "html": "text/html"}
    leaves = []
    for kind in kinds:
        leaves.append((names[kind], "", "", as_read(message[kind]).encode()))
    attachments = message.get("attachments", [])
    shown = [one for one in attachments if "cid" in one and "html" in kinds]
    for one in shown + [one for one in attachments if one not in shown]:
        kind = one.get("type", "application/octet-stream").split(";")[0]
        leaves.append((kind, one.get("filename", ""), one.get("cid", ""),
                       base64.b64decode(one["content_base64"])))
    return leaves


def shape(message, kinds):
    """What contains what, as Python shows it."""
    names = {"text": "text/plain", "amp": "text/x-amp-html", "html": "text/html"}
    attachments = message.get("attachments", [])
    kind_of = lambda one: one.get("type", "application/octet-stream").split(";")[0]  # noqa: E731
    shown = [kind_of(one) for one in attachments if "cid" in one and "html" in kinds]
    rest = [kind_of(one) for one in attachments if not ("cid" in one and "html" in kinds)]
    parts = [["multipart/related", "text/html", *shown] if kind == "html" and shown else names[kind]
             for kind in kinds]
    whole = parts[0] if len(parts) == 1 else ["multipart/alternative", *parts]
    return ["multipart/mixed", whole, *rest] if rest else whole


def shape_of(part):
    if part.is_multipart() and part.get_content_maintype() == "multipart":
        return [part.get_content_type(), *[shape_of(one) for one in part.get_payload()]]
    return part.get_content_type()


def same(found, want, composed):
    """Text parts may have other line ends, and a NUL is no text; attachments are the same byte for byte."""
    assert len(found) == len(want)
    for i, (one, (want_kind, want_name, want_cid, want_body)) in enumerate(zip(found, want)):
        kind, name, cid, body = one
        assert (kind, cid) == (want_kind, want_cid)
        assert re.sub(r"\s+", " ", name).strip() == re.sub(r"\s+", " ", want_name).strip()
        if i < composed:
            assert as_read(body.decode()).rstrip("\n") == want_body.decode().rstrip("\n")
        else:
            assert body == want_body


def python_leaves(message):
    for part in leaves_of(message):
        name = email.utils.collapse_rfc2231_value(part.get_filename() or "")
        cid = (part["Content-ID"] or "").strip().strip("<>")
        yield part.get_content_type(), name, cid, part.get_payload(decode=True)


def gmime_leaves(part, scratch):
    if isinstance(part, GMime.Multipart):
        for i in range(part.get_count()):
            yield from gmime_leaves(part.get_part(i), scratch)
        return
    stream = GMime.StreamFile.open(scratch, "w")  # in memory, its bytes may go before Python has them
    part.get_content().write_to_stream(stream)
    stream.close()
    kind = part.get_content_type()
    with open(scratch, "rb") as file:
        yield (kind.get_media_type() + "/" + kind.get_media_subtype(), part.get_filename() or "",
               part.get_content_id() or "", file.read())


def gmime_message(path):
    stream = GMime.StreamFile.open(path, "r")
    parser = GMime.Parser.new_with_stream(stream)
    return parser.construct_message(None)


def check_readers(made, tmp_path):
    """Each of made: the message as it was meant, the kinds of its texts, and its bytes."""
    GMime.init()
    paths = []
    for number, (_, _, plain) in enumerate(made):
        paths.append(str(tmp_path / ("%03d.eml" % number)))
        with open(paths[-1], "wb") as file:
            file.write(plain)
    script = os.path.join(os.path.dirname(__file__), "mime_tools.pl")
    lines = subprocess.run(["perl", script, *paths], capture_output=True, check=True, timeout=300)
    assert lines.stderr == b""
    for (message, kinds, plain), path, line in zip(made, paths, lines.stdout.splitlines()):
        want = meant(message, kinds)
        read = email.message_from_bytes(plain)
        assert not any(part.defects for part in read.walk())
        assert shape_of(read) == shape(message, kinds)
        assert in_header(decode_header(read["subject"])) == in_header(message["subject"])
        same(list(python_leaves(read)), want, len(kinds))
        seen = gmime_message(path)
        same(list(gmime_leaves(seen.get_mime_part(), str(tmp_path / "scratch"))), want, len(kinds))
        assert in_header(seen.get_subject() or "") == in_header(message["subject"])
        perl = json.loads(line)
        assert perl["problems"] == []
        same([(one["type"], one["file"], one["cid"], base64.b64decode(one["body"]))
              for one in perl["parts"]], want, len(kinds))


def test_three_readers(engine, tmp_path):  # noqa: F811
    rnd = random.Random(6)
    made = []
    for _ in range(250):
        message, kinds = any_message(rnd)
        wire, plain = engine.messages(message=message)
        check_wire(wire, plain)
        assert plain.isascii()
        made.append((message, kinds, plain))
    check_readers(made, tmp_path)


def any_template(rnd, values, html):
    """Text with variables anywhere, beside one another too; and what it becomes. Perl's tools warn of a part
    that is empty: there is a letter at least."""
    template = expanded = rnd.choice(["x", "\u58a8"]) if rnd.random() < 0.5 else ""
    for _ in range(rnd.randrange(1, 9)):
        text = any_text(rnd, rnd.choice([1, 4]))
        if rnd.random() < 0.7:
            template += text + (" " if text.endswith("{") else "")
            expanded += as_read(text) + (" " if text.endswith("{") else "")
        name = rnd.choice(NAMES)
        form = rnd.choice(["{{%s}}", "{{{%s}}}", "{{ %s|url }}", "{{%s|d\u00e9&\u58a8}}", "%%recipient.%s%%"])
        template += form % name
        value = as_read(values[name] or ("d\u00e9&\u58a8" if "&" in form else ""))
        if "url" in form:
            value = urllib.parse.quote(values[name], safe="-._~")
        elif html and "{{{" not in form:
            value = html_escape(value)
        expanded += value
    return (template, expanded) if expanded.strip() else ("x" + template, "x" + expanded)


def test_three_readers_of_merged(engine, tmp_path):  # noqa: F811
    rnd = random.Random(8)
    made, base64_texts = [], 0
    for _ in range(250):
        message, kinds = any_message(rnd)
        values = {name: any_text(rnd, rnd.choice([0, 1, 4])) for name in NAMES}
        expanded = dict(message)
        for kind in kinds:
            message[kind], expanded[kind] = any_template(rnd, values, kind != "text")
        wire, plain = engine.messages(values, message=message)
        check_wire(wire, plain)
        assert plain.isascii()
        for part in list(leaves_of(email.message_from_bytes(plain)))[:len(kinds)]:
            lines = part.get_payload().splitlines()
            assert all(len(line) <= 76 for line in lines)
            base64_texts += part["Content-Transfer-Encoding"] == "base64"
        made.append((expanded, kinds, plain))
    assert base64_texts > 100
    check_readers(made, tmp_path)
