"""The page on 127.0.0.1: the page itself, and the answers to drawings; nothing else of this machine is served."""

from __future__ import annotations

import base64
import binascii
import errno
import json
import re
import socketserver
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from reference.mnist.page.reader import NoImage, Reader

_LARGEST_BODY = 4 * 2**20  # bytes: a paper of 1700 by 1700, in base64
_LONGEST_SIDE = 4096  # pixels
_OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?")
_HEADERS = {
    # The page may run its own script, ask this server, and nothing else.
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class PortTaken(OSError):
    """Another program listens on the port."""


class Refused(Exception):
    """A request that gets a 4xx: the status and a sentence."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class PageServer(ThreadingHTTPServer):
    """Has its port from the start (0: any free one); `serve` gets the page, which may need a training first."""

    daemon_threads = True
    page: bytes
    reader: Reader

    def __init__(self, port: int = 0) -> None:
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise OSError(f"port {port} cannot be used: {error.strerror}") from error
            raise PortTaken(f"port {port} is taken: a page that runs already? Another one: --port 0") from None

    def server_bind(self) -> None:
        """As HTTPServer does it, but it does not look up this machine's full name: that may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def serve(self, page: str, reader: Reader) -> None:
        """Serve the page, and the reader's answers, until Ctrl-C or shutdown()."""
        self.page, self.reader = page.encode(), reader
        self.serve_forever(poll_interval=0.1)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"  # one connection for all strokes
    default_request_version = "HTTP/1.0"  # by default 0.9, whose answers have no status
    server_version, sys_version = "page", ""
    timeout = 30  # seconds of silence on a connection
    disable_nagle_algorithm = True  # else the answer waits 40 ms for the acknowledgement of its headers

    def do_GET(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # as below: nobody reads that body
        self._answer(self._page)

    def do_POST(self) -> None:
        self._answer(self._read)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses by itself, other methods and what is no HTTP: not with its page, but as all else."""
        self.close_connection = True
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code, message = HTTPStatus.METHOD_NOT_ALLOWED, "GET the page, or POST a drawing to /read"
        if code >= 500:
            code = HTTPStatus.BAD_REQUEST
        self._send(code, "application/json", _error(message or "that is no request"))

    def _answer(self, what: Any) -> None:
        try:
            self._refuse_strangers()
            kind, content = what()
            self._send(200, kind, content)
        except Refused as refused:
            self.close_connection = True  # a body that nobody read would be taken for the next request
            self._send(refused.status, "application/json", _error(str(refused)))
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except NoImage as error:
            self.close_connection = True
            self._send(500, "application/json", _error(str(error)))
        except Exception as error:  # the net's: it may be the learner's own
            self.close_connection = True
            self._send(500, "application/json", _error(f"The net raised {type(error).__name__}: {error}"))

    def _refuse_strangers(self) -> None:
        """Another page in the same browser must not ask: not by its own origin, nor by a name that leads here."""
        host = self.headers.get("Host", "")
        if not _OWN_HOST.fullmatch(host):
            raise Refused(403, "this page answers to 127.0.0.1 only")
        if self.headers.get("Origin", f"http://{host}") != f"http://{host}":
            raise Refused(403, "this page answers to itself only")

    def _page(self) -> tuple[str, bytes]:
        if self.path != "/":
            raise Refused(404, "there is one page here: /")
        return "text/html; charset=utf-8", self.server.page

    def _read(self) -> tuple[str, bytes]:
        if self.path != "/read":
            raise Refused(404, "drawings go to /read")
        reading = self.server.reader.read(*_drawing(self._body()))
        if reading is None:
            return "application/json", json.dumps({"image": None}).encode()
        image = base64.b64encode(reading.image).decode()
        return "application/json", json.dumps({"image": image, "probabilities": reading.probabilities}).encode()

    def _body(self) -> bytes:
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "a drawing comes as application/json")
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdecimal()):
            raise Refused(411, "say how long the drawing is, in Content-Length")
        if len(length) > 9 or int(length) > _LARGEST_BODY:
            raise Refused(413, f"that drawing is larger than {_LARGEST_BODY} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Refused(400, "the drawing ended before its end")
        return body

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """One line for each stroke would bury what the terminal says."""


def _error(why: str) -> bytes:
    return json.dumps({"error": why}).encode()


def _drawing(body: bytes) -> tuple[bytes, int, int]:
    """The body of a request: the ink, a byte a pixel, its height and its width; Refused where it is none."""
    try:
        said = json.loads(body)
        width, height, ink = said["width"], said["height"], base64.b64decode(said["ink"], validate=True)
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        raise Refused(400, 'a drawing is JSON: {"width": W, "height": H, "ink": W * H bytes in base64}') from None
    if type(width) is not int or type(height) is not int or not (1 <= width <= _LONGEST_SIDE >= height >= 1):
        raise Refused(400, f"width and height are whole numbers from 1 to {_LONGEST_SIDE}")
    if len(ink) != width * height:
        raise Refused(400, f"{width} x {height} pixels were announced, {len(ink)} bytes came")
    return ink, height, width
