"""HTTP on 127.0.0.1 for one page. Its address holds a key, so that no other user of the machine reads or stops a sweep.

    GET  /KEY/        the page
    GET  /KEY/now     where the sweep stands, as JSON
    GET  /KEY/rollouts/2.html   rollouts for which the page has no room; no file
    POST /KEY/stop    asks the sweep to stop; needs the page's token, and a browser that says the page sent it

A request must name this machine as its host: a website whose name leads here (DNS rebinding) is refused.
"""

import hmac
import json
import re
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from harness.errors import ConfigError, HarnessError
from harness.live.live_page import LivePage

HOST = "127.0.0.1"
HERE = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")  # any port: `ssh -L` may give it another one
FORM = 1000  # bytes of a form, at most
HTML = "text/html; charset=utf-8"
SECONDS = 20.0  # that a request may take to arrive
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class WatchServer(ThreadingHTTPServer):
    """Raises ConfigError for a port that cannot be had."""

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.key = secrets.token_urlsafe(16)
        self.page = LivePage(folder, secrets.token_urlsafe(16))
        try:
            super().__init__((HOST, port), Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(f"Port {port} cannot be had: {why}. Without --port a free one is taken.") from None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/{self.key}/"


class Handler(BaseHTTPRequestHandler):
    server: WatchServer
    server_version, sys_version = "harness", ""
    timeout = SECONDS

    def do_GET(self) -> None:
        answers: dict[str, Callable[[], None]] = {"": self._page, "now": self._now}
        self._answer(answers)

    def do_POST(self) -> None:
        self._answer({"stop": self._stop})

    def _answer(self, answers: dict[str, Callable[[], None]]) -> None:
        if not HERE.fullmatch(self.headers.get("Host", "")):
            return self._refuse(HTTPStatus.FORBIDDEN, "This page is for the machine that it runs on.")
        _, _, rest = self.path.partition("/")
        key, _, what = rest.partition("/")
        if not _same(key, self.server.key):
            return self._nothing()
        if self.command == "GET" and (html := self.server.page.further(what)):
            return self._send(HTTPStatus.OK, HTML, html)
        if what not in answers:
            return self._nothing()
        answers[what]()

    def _nothing(self) -> None:
        self._refuse(HTTPStatus.NOT_FOUND, "Nothing is here. Open the address that `harness watch` printed.")

    def _page(self) -> None:
        self._send(HTTPStatus.OK, HTML, self.server.page.html())

    def _now(self) -> None:
        self._send(HTTPStatus.OK, "application/json", json.dumps(self.server.page.now()))

    def _stop(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > FORM:
            return self._refuse(HTTPStatus.BAD_REQUEST, "A short form was expected.")
        form = parse_qs(self.rfile.read(int(length)).decode("ascii", "replace"))
        sent_by_the_page = self.headers.get("Origin") == f"http://{self.headers['Host']}"
        if not sent_by_the_page or not _same(form.get("token", [""])[0], self.server.page.token):
            return self._refuse(HTTPStatus.FORBIDDEN, "Only the page's button stops the sweep. Load the page again.")
        try:
            self.server.page.stop()
        except HarnessError as error:
            return self._refuse(HTTPStatus.CONFLICT, str(error))
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", f"/{self.server.key}/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self._send(status, "text/plain; charset=utf-8", sentence + "\n")

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        raw = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(raw)), **HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Nothing: the terminal shows the address and what goes wrong."""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
