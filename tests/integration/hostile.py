"""Mail hosts that misbehave, each at an address and a domain of its own, all on one thread:

    async def rude(peer):
        await peer.serve("MAIL")             # politely, up to that command
        await peer.say(b"no SMTP at all\\r\\n")
    with Hosts({"rude": rude}) as hosts:     # mail for rude.test comes to it, at hosts.port
        hosts.records                        # for Dnsmasq
        hosts.told["rude"]                   # its connections: a list of Peer
    Hosts({"rude": rude}, {"rude": LMTP}).routes()    # for a configuration: mail for it goes there by LMTP

A connection ends with its coroutine. peer.may_deliver: an answer of 2xx to the end of data was sent whole;
only then may the client call the message delivered. peer.seconds: how long it took."""
import asyncio
import contextlib
import socket
import struct
import threading
import time

POLITE = {"": b"220 hi\r\n", "EHLO": b"250-hi\r\n250 8BITMIME\r\n", "RSET": b"250 ok\r\n",
          "MAIL": b"250 2.1.0 ok\r\n", "RCPT": b"250 2.1.5 ok\r\n", "DATA": b"354 go on\r\n",
          ".": b"250 2.0.0 kept\r\n", "QUIT": b"221 bye\r\n"}
PIPELINING = {**POLITE, "EHLO": b"250-hi\r\n250-PIPELINING\r\n250 8BITMIME\r\n"}
LMTP = {**PIPELINING, "EHLO": b"500 5.5.1 no\r\n", "LHLO": PIPELINING["EHLO"]}
# And by TLS what PIPELINING says.
STARTTLS = {**PIPELINING, "EHLO": b"250-hi\r\n250-STARTTLS\r\n250 8BITMIME\r\n", "STARTTLS": b"220 go\r\n"}
CHUNKING = {**POLITE, "EHLO": b"250-hi\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 8BITMIME\r\n",
            "BDAT": b"250 2.0.0 more\r\n"}


class Peer:
    """One connection. answers: what it says to which command when it is polite; "" is the connection itself,
    "." the end of data. room: after so many bytes that are said the connection ends; None: never. verbs: what
    it has heard. tls: the context of a server, for STARTTLS."""

    def __init__(self, reader, writer, answers, tls=None):
        self.reader, self.writer, self.answers, self.tls, self.verbs = reader, writer, answers, tls, []
        self.in_data, self.may_deliver, self.seconds, self.room = False, False, 0.0, None

    async def command(self):
        """The verb of the next one; "." at the end of data, by DATA or by BDAT."""
        self.verbs.append(await self.read_command())
        return self.verbs[-1]

    async def read_command(self):
        while True:
            line = await self.reader.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("the client has closed")
            words = line.decode("latin-1").upper().split() or ["-"]
            if not self.in_data and words[0] == "BDAT":
                await self.reader.readexactly(int(words[1]))
                return "." if words[2:] == ["LAST"] else "BDAT"
            if not self.in_data:
                return words[0]
            if line == b".\r\n":
                self.in_data = False
                return "."

    async def say(self, data):
        await asyncio.sleep(0)  # by TLS drain does not let the loop see that the client has closed
        if self.writer.transport.is_closing():
            raise ConnectionError("the client has closed")
        cut = data if self.room is None else data[:self.room]
        self.writer.write(cut)
        await self.writer.drain()
        if self.room is not None:
            self.room -= len(cut)
            if len(cut) < len(data):
                raise ConnectionError("that is all")

    async def answer(self, verb):
        await self.say(self.answers.get(verb, b"502 5.5.2 what?\r\n"))
        self.in_data = verb == "DATA"
        self.may_deliver |= verb == "." and self.answers[verb].startswith(b"2")
        if verb == "STARTTLS" and self.tls:
            await self.writer.start_tls(self.tls)
            self.answers = {**self.answers, "EHLO": PIPELINING["EHLO"]}

    async def serve(self, until=None, verb=""):
        """Politely, from this command until that one has come, whose answer is the caller's; None: to the
        end."""
        while verb != until:
            await self.answer(verb)
            if verb == "QUIT":
                return
            verb = await self.command()

    async def hear_out(self):
        """Until the client closes."""
        while await self.reader.read(65536):
            pass

    def reset(self):
        """Ends the connection with RST."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                        struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Hosts:
    """behaviours: by name, a coroutine function; answers: what polite ones say, by name, where it is not
    POLITE; tls: the context of a server, for STARTTLS."""

    def __init__(self, behaviours, answers=None, tls=None):
        self.behaviours, self.answers, self.tls = behaviours, answers or {}, tls
        self.failed = None
        self.told = {name: [] for name in behaviours}
        self.addresses = {name: f"127.0.{20 + i // 250}.{1 + i % 250}" for i, name in enumerate(behaviours)}
        self.records = ["--local=/test/"]
        for name, address in self.addresses.items():
            self.records += [f"--mx-host={name}.test,mx.{name}.test,10",
                             f"--host-record=mx.{name}.test,{address}"]

    async def meet(self, name, reader, writer):
        peer = Peer(reader, writer, self.answers.get(name, POLITE), self.tls)
        self.told[name].append(peer)
        began = time.monotonic()
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self.behaviours[name](peer)
        except Exception as e:  # noqa: B902: a mistake of ours
            self.failed = self.failed or e
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        peer.seconds = time.monotonic() - began

    def routes(self):
        """For those that speak LMTP."""
        lines = "".join(f"  - {{ domain: {name}.test, host: '{self.addresses[name]}:{self.port}', "
                        "protocol: lmtp }\n" for name, answers in self.answers.items() if "LHLO" in answers)
        return "routes:\n" + lines if lines else ""

    async def listen(self):
        for name, address in self.addresses.items():
            async def meet(reader, writer, name=name):
                await self.meet(name, reader, writer)
            server = await asyncio.start_server(meet, address, self.port if self.servers else 0)
            self.servers.append(server)
            self.port = server.sockets[0].getsockname()[1]

    def __enter__(self):
        self.servers = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.listen(), self.loop).result(60)
        return self

    async def end(self):
        for server in self.servers:
            server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self.end(), self.loop).result(60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(60)
        self.loop.close()
        if self.failed:
            raise self.failed
