"""A receiving host that this project did not write (aiosmtpd), on a thread of its own, with TLS or without.

    with MailHost("127.0.7.1", tls=context) as host:      # offers STARTTLS
        host.port, host.received                           # what came: Received tuples

implicit: TLS from the first byte; requiretls: offers REQUIRETLS (RFC 8689), `required` counts the messages
that came with it. Several hosts of one test share a port: port=first.port."""
import asyncio
import threading
from collections import namedtuple

from aiosmtpd.smtp import SMTP

Received = namedtuple("Received", "sender recipients content secured")


class MailHost:
    def __init__(self, address, tls=None, implicit=False, port=0, name="mx.test", requiretls=False):
        self.received, self.required = [], 0
        host = self

        class Handler:
            async def handle_DATA(self, server, session, envelope):
                host.received.append(Received(envelope.mail_from, tuple(envelope.rcpt_tos), envelope.content,
                                              session.ssl is not None or implicit))
                return "250 2.0.0 kept"

            if requiretls:
                async def handle_EHLO(self, server, session, envelope, hostname, responses):
                    session.host_name = hostname
                    return responses[:-1] + ["250-REQUIRETLS"] + responses[-1:]

        class Session(SMTP):
            def __init__(self):
                super().__init__(Handler(), hostname=name, enable_SMTPUTF8=True,
                                 tls_context=None if implicit else tls)

            async def smtp_MAIL(self, arg):
                host.required += requiretls and arg.endswith(" REQUIRETLS")
                await super().smtp_MAIL(arg.removesuffix(" REQUIRETLS") if requiretls else arg)

        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)  # handshakes that fail are part of the tests
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

        async def serve():
            return await self.loop.create_server(Session, address, port, ssl=tls if implicit else None)
        self.server = asyncio.run_coroutine_threadsafe(serve(), self.loop).result(30)
        self.port = self.server.sockets[0].getsockname()[1]

    def recipients(self):
        return [to for r in self.received for to in r.recipients]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
