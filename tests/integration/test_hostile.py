"""Mail hosts that misbehave: whatever they say, nothing is delivered without a 2xx to the end of data, memory
and time stay bounded, and other hosts get their mail."""
import asyncio
import random
import re
import socket

import pytest
from daemon import Daemon, job, wait_for
from certificates import Authority
from hostile import CHUNKING, LMTP, PIPELINING, POLITE, STARTTLS, Hosts
from nameserver import Dnsmasq
from sanitizer import KIND, PATIENCE

STEPS = ["", "EHLO", "MAIL", "RCPT", "DATA", "."]
KINDS = {"lock-step": POLITE, "pipelining": PIPELINING, "chunking": CHUNKING, "lmtp": LMTP,
         "starttls": STARTTLS}
STEP_S = 2  # what a step may take
each = pytest.mark.parametrize("answers", KINDS.values(), ids=KINDS)
MEMORY_KIB = 32 * 1024
# A lost connection gives its recipient back at once, three times; and as often one is lost that carries none.
CONNECTIONS = 8


def run(hosts, check, mail=None):
    """Mail to everyone, and what became of it, when all have had their turn: check(name, state, peers)."""
    waits = ["greeting", "helo", "tls", "mail", "rcpt", "data", "block", "end", "quit", "idle"]
    times = ", ".join(f"{wait}_timeout: {STEP_S}s" for wait in waits)
    with hosts, Dnsmasq(*hosts.records) as dns, Daemon(
            f'dns: {{ servers: ["{dns.server}"], timeout: 20s }}\n'
            f"sites:\n  - {{ name: default, port: {hosts.port}, {times} }}\n{hosts.routes()}") as daemon:
        people = [f"u@{name}.test" for name in hosts.behaviours]
        ident = daemon.submit(mail or job(), people).json["jobs"][0]["job"]
        with open(f"/proc/{daemon.process.pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # VmHWM begins anew: proc(5)
        before_kib = memory_kib(daemon, "VmRSS")

        wait_for(lambda: all(held(daemon, row) for row in daemon.recipients(ident, "&state=ready")) and
                 len(daemon.recipients(ident)) == len(people), 120, "everyone to be tried")
        states = {row["to"][2:-5]: row["state"] for row in daemon.recipients(ident)}
        assert KIND or memory_kib(daemon, "VmHWM") - before_kib < MEMORY_KIB
    for name in hosts.behaviours:
        tries = hosts.told[name]
        assert 1 <= len(tries) <= CONNECTIONS, f"{name} was asked {len(tries)} times"
        for peer in tries:
            assert peer.seconds < (len(STEPS) + 2) * STEP_S * 2 * PATIENCE, f"{name} was heard so long"
        if states[name] == "delivered":
            assert any(peer.may_deliver for peer in tries), f"{name} was believed"
        check(name, states[name], tries)


def held(daemon, row):
    """Not tried, or not counted as tried, since its path has had enough."""
    return daemon.get("/v1/explain?rid=" + row["rid"]).json["answers"][0]["limit"] == "pause"


def memory_kib(daemon, what):
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as file:
        return int(re.search(what + r":\s+(\d+)", file.read()).group(1))


# ---- instead of an answer ----

def text(data):
    """Says this, then listens."""
    async def behave(peer, _):
        await peer.say(data if isinstance(data, bytes) else data.encode())
        await peer.hear_out()
    return behave


def good(make):
    """The same, of the code that would be right."""
    async def behave(peer, code):
        await peer.say(make(code))
        await peer.hear_out()
    return behave


async def endless_line(peer, code):
    await peer.say(code + b" ")
    while True:
        await peer.say(b"x" * 65536)


async def endless_lines(peer, code):
    while True:
        await peer.say((code + b"-and more\r\n") * 1000)


async def endless_replies(peer, _):
    while True:
        await peer.say(b"250 ok\r\n" * 1000)


async def trickle(peer, code):
    for byte in code + b"-never ends":
        await peer.say(bytes([byte]))
        await asyncio.sleep(STEP_S / 4)
    while True:
        await peer.say(b".")
        await asyncio.sleep(STEP_S / 4)


async def trickle_of_lines(peer, code):
    while True:
        await peer.say(code + b"-wait\r\n")
        await asyncio.sleep(STEP_S / 4)


async def closes(peer, _):
    await peer.writer.drain()


async def resets(peer, _):
    peer.reset()


async def closes_within(peer, code):
    await peer.say(code + b" almost")


async def closes_within_lines(peer, code):
    await peer.say(code + b"-there is more\r\n")


WRONG = {
    "endless-line": endless_line, "endless-lines": endless_lines, "endless-replies": endless_replies,
    "trickle": trickle, "trickle-lines": trickle_of_lines, "silence": text(""), "closes": closes,
    "resets": resets, "closes-within": closes_within, "closes-within-lines": closes_within_lines,
    "megabyte": good(lambda code: code + b" " + b"x" * 1_000_000 + b"\r\n"),
    "many-lines": good(lambda code: (code + b"-x\r\n") * 5000 + code + b" x\r\n"),
    "several-codes": good(lambda code: code + b"-x\r\n550 x\r\n"),
    "bare-cr": good(lambda code: code + b" x\r" + code + b" y\r"),
    "no-code": text("hello\r\n"), "999": text("999 x\r\n"), "199": text("199 x\r\n"), "600": text("600 x\r\n"),
    "two-digits": text("25 x\r\n"), "four-digits": text("2500 x\r\n"), "blank": text("\r\n"),
    "nul": text(b"\0" * 100 + b"\r\n"), "nul-in-code": text(b"2\x0050 x\r\n"), "8-bit": text(b"\xb250 x\r\n"),
    "tls": text(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), "http": text("HTTP/1.1 200 OK\r\n\r\n"),
    "one-too-many": good(lambda code: code + b" x\r\n250 2.0.0 kept\r\n"),
    "go-on": text("354 go on\r\n"), "ok": text("250 ok\r\n"), "all-at-once": None,
}
# Where it is right, or what follows comes too late to matter.
RIGHT = {("go-on", "DATA"), ("ok", "."), ("one-too-many", "."), ("endless-replies", "."),
         ("all-at-once", ".")}


async def all_at_once(peer, _):
    """Every answer there will be, before anything was asked."""
    await peer.say(b"".join(peer.answers[step] for step in steps_of(peer.answers)))
    await peer.hear_out()


WRONG["all-at-once"] = all_at_once


def steps_of(answers):
    """By BDAT there is no DATA; what is said before STARTTLS others say as well."""
    steps = ["LHLO" if step == "EHLO" and answers is LMTP else step for step in STEPS]
    if answers is STARTTLS:
        return steps[1:]
    return [step for step in steps if answers is not CHUNKING or step != "DATA"]


def is_right(answers, name, step):
    """By BDAT nobody can tell an answer that is one too many from that to the message where nothing comes
    behind it; what comes behind that, it is not believed."""
    if answers is CHUNKING:
        return (name, step) in (("ok", "."), ("one-too-many", "RCPT"))
    return (name, step) in RIGHT


async def serve(peer, step):
    """Politely, until that step; of a host with TLS by TLS."""
    if not peer.tls:
        return await peer.serve(step)
    await peer.serve("STARTTLS")
    await peer.answer("STARTTLS")
    await peer.serve(step, await peer.command())


def at(step, wrong):
    async def behave(peer):
        await serve(peer, step)
        await wrong(peer, peer.answers[step][:3])
    return behave


@pytest.fixture(scope="module")
def context():
    with Authority() as authority:
        yield authority.server("mx.test")


def hosts_of(answers, behaviours, context):
    return Hosts(behaviours, dict.fromkeys(behaviours, answers), context if answers is STARTTLS else None)


@each
def test_wrong_answers(answers, context):
    behaviours = {f"{name}-{step.lower() or 'greeting'}".replace("-.", "-end"): at(step, wrong)
                  for name, wrong in WRONG.items() for step in steps_of(answers)
                  if not is_right(answers, name, step)}

    async def honest(peer):
        await peer.serve()
    behaviours["honest"] = honest

    def check(name, state, _):
        assert (state == "delivered") == (name == "honest"), f"{name}: {state}"
    run(hosts_of(answers, behaviours, context), check)


@each
@pytest.mark.parametrize("pause", [0, 0.2], ids=["at-once", "later"])
def test_answers_said_twice(answers, pause, context):
    """Each of them, at once or in two pieces, by hosts that refuse the message in the end."""
    def twice(step):
        async def behave(peer):
            await serve(peer, step)
            if pause:
                await peer.say(peer.answers[step])
                await asyncio.sleep(pause)
                await peer.say(peer.answers[step])
            else:
                await peer.say(peer.answers[step] * 2)
            peer.in_data = step == "DATA"
            await peer.serve(verb=await peer.command())
        return behave

    def check(name, state, _):
        assert state != "delivered", name
        assert state == "deferred" or name == "twice-end", f"{name}: {state}"
    behaviours = {f"twice-{step.lower() or 'greeting'}".replace("-.", "-end"): twice(step)
                  for step in steps_of(answers)}
    hosts = hosts_of(answers, behaviours, context)
    hosts.answers = dict.fromkeys(behaviours, {**answers, ".": b"554 5.7.1 no\r\n"})
    run(hosts, check)


def test_who_miscounts_by_bdat_gets_data():
    async def polite(peer):
        await peer.serve()
    hosts = Hosts({"eager": polite}, {"eager": {**CHUNKING, ".": b"250 2.0.0 kept\r\n" * 2}})
    with hosts, Dnsmasq(*hosts.records) as dns, Daemon(
            f'dns: {{ servers: ["{dns.server}"] }}\nsites: [{{ name: default, port: {hosts.port} }}]\n') as d:
        first = d.submit(job(), ["u@eager.test"]).json["jobs"][0]["job"]
        d.wait_counts(first, deferred=1)
        assert "messages go there by DATA from now on" in d.read_log()
        second = d.submit(job(), ["v@eager.test"]).json["jobs"][0]["job"]
        d.wait_counts(second, delivered=1)
    assert [("DATA" in peer.verbs) for peer in hosts.told["eager"]] == [False, True]


def test_reading_slowly():
    """What the kernel takes for it says nothing of the host."""
    async def crawl(peer):
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await peer.serve("DATA")
        await peer.answer("DATA")
        while await peer.reader.read(10):
            peer.writer.transport.pause_reading()
            await asyncio.sleep(STEP_S / 4)
            peer.writer.transport.resume_reading()

    def check(name, state, _):
        assert state != "delivered", name
    large = "Subject: Hi\r\n\r\n" + ("x" * 70 + "\r\n") * 140_000
    run(Hosts({f"crawl{i}": crawl for i in range(4)}), check, job(message={"raw": large}))


def test_wrong_answers_to_starttls():
    """And instead of a handshake. Such a host may get its mail in the clear, if it behaves then."""
    def instead_of_handshake(wrong):
        async def behave(peer):
            await peer.serve("STARTTLS")
            await peer.say(b"220 go\r\n")
            await asyncio.sleep(0.1)
            await wrong(peer, b"220")
        return behave
    behaviours = {name + "-starttls": at("STARTTLS", wrong) for name, wrong in WRONG.items()}
    behaviours |= {name + "-tls": instead_of_handshake(wrong) for name, wrong in WRONG.items()}
    said = []

    def check(name, state, peers):
        said.append(state)
        assert state != "bounced", name
    run(Hosts(behaviours, dict.fromkeys(behaviours, STARTTLS)), check)
    assert "delivered" in said


@each
@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
def test_closing_at_any_byte(answers, reset, context):
    """Of what it says on the way to the first delivery, each host says so many."""
    said = PIPELINING if answers is STARTTLS else answers
    whole = sum(len(said[step]) for step in steps_of(answers))

    def after(count):
        async def behave(peer):
            if peer.tls:
                await serve(peer, "EHLO")
            peer.room = count
            try:
                await peer.serve(verb="EHLO" if peer.tls else "")
            except ConnectionError:
                if reset:
                    peer.reset()
        return behave

    def check(name, state, peers):
        enough = int(name[5:]) >= whole
        assert (state == "delivered") == enough, f"{name} of {whole}: {state}"
    run(hosts_of(answers, {f"after{count}": after(count) for count in range(whole + 2)}, context), check)


def reply(rnd, good_code):
    """One that a server might give: right, or not."""
    code = rnd.choice([good_code] * 50 + [b"220", b"250", b"354", b"421", b"450", b"452", b"550", b"554"])
    line = rnd.choice([b"", b" ok", b" 2.0.0 ok", b" 4.2.2 full", b" \0\r\0", b" \xff" * 100])
    end = rnd.choice([b"\r\n"] * 5 + [b"\n", b"\r\r\n"])
    more = b"".join(code + b"-" + line + end for _ in range(rnd.choice([0, 0, 0, 1, 3])))
    return more + code + line + end, code


def whim(seed):
    """Answers as it likes."""
    async def behave(peer):
        rnd = random.Random(seed)
        verb, accepted = "", {}
        if peer.tls:
            await serve(peer, "EHLO")
            verb = "EHLO"
        while True:
            data, code = reply(rnd, peer.answers.get(verb, b"250")[:3])
            if verb in ("EHLO", "LHLO") and code == b"250":
                data = peer.answers[verb]
            if rnd.random() < 0.03:
                await peer.say(data[:rnd.randrange(len(data))])
                return
            # Not behind 354, nor before BDAT: the client can't know what was said before it had sent all.
            extra = rnd.random() < 0.03 and verb != "DATA" and peer.answers is not CHUNKING
            if extra:
                data += reply(rnd, b"250")[0]
            for at in range(0, len(data), step := rnd.choice([1, 7, 1000])):
                await peer.say(data[at:at + step])
            accepted[verb] = code[:1] == b"2"
            peer.may_deliver |= verb == "." and all(accepted[step] for step in ("MAIL", "RCPT", "."))
            if extra and verb != ".":
                return await peer.hear_out()
            peer.in_data = verb == "DATA" and code == b"354"
            if verb == "QUIT":
                return
            verb = await peer.command()
    return behave


@each
def test_answers_at_random(answers, context):
    said = []

    def check(name, state, peers):
        said.append(state)
        if any(peer.may_deliver for peer in peers):
            assert state == "delivered", name
    run(hosts_of(answers, {f"whim{seed}": whim(seed) for seed in range(300)}, context), check)
    assert said.count("delivered") > 30 and said.count("deferred") > 30 and said.count("bounced") > 5
