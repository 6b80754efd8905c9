"""A webhook's other end for tests: keeps every request, and answers as it is told.

    with Receiver() as receiver:
        receiver.url                       # "http://127.0.0.1:40001/events"
        receiver.plan(500, "close", 429)   # the next three answers; then 200 again
        receiver.requests                  # Request tuples: path, headers, body (as sent), plain, answer

An answer is a status, (status, headers, body), "close" (reads all, says nothing), "reset" (does not read),
"garbage", "slow" (no answer for a while), or a function of the request that returns one of them."""
import gzip
import http.server
import json
import socket
import struct
import threading
import time
from collections import namedtuple

Request = namedtuple("Request", "path headers body plain answer")


class Receiver:
    def __init__(self, tls=None, always=200, slow_s=3, keep=True):
        self.requests, self.planned, self.always, self.slow_s = [], [], always, slow_s
        self.keep = keep
        self.lock = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                receiver.handle(self)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # clients that give up are part of the tests

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}/events"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def plan(self, *answers):
        with self.lock:
            self.planned += answers

    def handle(self, handler):
        length = int(handler.headers.get("Content-Length", 0))
        with self.lock:
            answer = self.planned.pop(0) if self.planned else self.always
        if answer == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.close_connection = True
            with self.lock:
                self.requests.append(Request(handler.path, dict(handler.headers), None, None, answer))
            return handler.connection.close()
        body = handler.rfile.read(length)
        plain = gzip.decompress(body) if handler.headers.get("Content-Encoding") == "gzip" else body
        request = Request(handler.path, {k.lower(): v for k, v in handler.headers.items()}, body, plain, None)
        if callable(answer):
            answer = answer(request)
        with self.lock:
            if self.keep:
                self.requests.append(request._replace(answer=answer))
        self.reply(handler, answer)

    def reply(self, handler, answer):
        if answer == "close":
            handler.close_connection = True
            return
        if answer == "slow":
            time.sleep(self.slow_s)
            handler.close_connection = True
            return
        if answer == "garbage":
            handler.wfile.write(b"no HTTP\r\n\r\n")
            handler.close_connection = True
            return
        status, headers, text = answer if isinstance(answer, tuple) else (answer, {}, b"ok")
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    def taken(self):
        """What was answered with 2xx."""
        with self.lock:
            return [r for r in self.requests if not isinstance(r.answer, str) and
                    200 <= (r.answer[0] if isinstance(r.answer, tuple) else r.answer) < 300]

    def events(self):
        """Of native bodies, all that were taken."""
        return [e for r in self.taken() for e in json.loads(r.plain)["events"]]

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
