"""The server of `roadsense watch --serve`: a list of runs, and the newest episode of each.

It answers GET and HEAD alone, and reads. An episode's page is a file of a run, which may be
anyone's: it is sent into a sandbox, where its script reaches neither this server nor what the
browser keeps.
"""

import errno
import ipaddress
import json
import socket
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ml.errors import ConfigError
from ml.reports.live.runs import RunsFolder

_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'"
_OWN_POLICY = (
    f"{_NOTHING}; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; "
    "frame-ancestors 'none'"
)
_EPISODE_POLICY = (
    f"{_NOTHING}; script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'self'; "
    "sandbox allow-scripts"
)
_PARTS = {
    "/": ("live.html", "text/html; charset=utf-8"),
    "/live.js": ("live.js", "text/javascript; charset=utf-8"),
    "/live.css": ("live.css", "text/css; charset=utf-8"),
}
_IDLE_S = 30.0


class LiveServer(ThreadingHTTPServer):
    """Serves a folder of runs until it is shut down.

    Args:
        folder: The runs.
        host: Address or name to listen on.
        port: Port; 0 for any that is free.

    Raises:
        ConfigError: The folder is not there, the address is none of this machine's, or the port is
            taken or may not be used.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, folder: Path, host: str, port: int) -> None:
        self.runs = RunsFolder(folder)
        self.host = host
        try:
            if ":" in host:
                self.address_family = socket.AF_INET6
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError, UnicodeError) as error:
            raise ConfigError(_why(error, host, port)) from error

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        here = self.host
        with suppress(ValueError):
            if ipaddress.ip_address(here).is_unspecified:
                here = "localhost"
        return f"http://{f'[{here}]' if ':' in here else here}:{self.server_address[1]}/"

    def server_bind(self) -> None:
        """Bind without asking who this machine is, which may take long."""
        if self.allow_reuse_address:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.host, self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a browser that goes away in the middle of an answer is no fault."""

    def knows(self, host: str) -> bool:
        """Say whether a request may name this host.

        A name of somebody else's may lead to 127.0.0.1, and a page of theirs would read what is
        here. Addresses and this machine's names cannot be made to lead elsewhere.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in {"localhost", self.host.lower(), socket.gethostname().lower()}:
            return True
        with suppress(ValueError):
            return bool(ipaddress.ip_address(name))
        return False


def _why(error: Exception, host: str, port: int) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken. If that is a `roadsense watch --serve`, open "
            f"http://{host}:{port}; else name another: --port {port + 1}, or --port 0 for any"
        )
    if number == errno.EACCES:
        return f"port {port} is the system's own: name one from 1024 on, such as --port 6007"
    if isinstance(error, OverflowError):
        return f"--port {port}: a port lies between 0 and 65535"
    return (
        f"cannot listen on --host {host}: {getattr(error, 'strerror', None) or error}. 127.0.0.1 "
        "is this machine alone; 0.0.0.0 lets others in, too"
    )


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    server_version, sys_version = "RoadSense", ""
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S

    def do_GET(self) -> None:
        """Answer with a part of the page, the runs, or an episode."""
        if not self.server.knows(self.headers.get("Host", "localhost")):
            words = "this server answers to its address and to localhost"
            self._say(HTTPStatus.MISDIRECTED_REQUEST, words)
            return
        path = self.path.partition("?")[0]
        if path in _PARTS:
            name, kind = _PARTS[path]
            content = files("ml.reports.live").joinpath("page", name).read_bytes()
            self._answer(HTTPStatus.OK, content, kind, _OWN_POLICY)
        elif path == "/runs.json":
            content = json.dumps(self.server.runs.as_json(), allow_nan=False).encode()
            self._answer(HTTPStatus.OK, content, "application/json", _OWN_POLICY)
        elif path.startswith("/episode/"):
            name, _, file = unquote(path.removeprefix("/episode/")).rpartition("/")
            page = self.server.runs.episode(name, file)
            if page is None:
                words = "there is no such episode: it has given way to a newer one, or never was"
                self._say(HTTPStatus.NOT_FOUND, words)
            else:
                self._answer(HTTPStatus.OK, page, "text/html; charset=utf-8", _EPISODE_POLICY)
        else:
            self._say(HTTPStatus.NOT_FOUND, "there is nothing here; the list of runs is at /")

    def do_HEAD(self) -> None:
        """Answer as GET does, without content."""
        self.do_GET()

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Refuse every other method in the same words, whatever it is called."""
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        self.close_connection = True  # what it sends is not read
        self._say(HTTPStatus.METHOD_NOT_ALLOWED, "this server is for reading: GET and HEAD")

    def _say(self, status: HTTPStatus, words: str) -> None:
        content = f"{words}\n".encode()
        self._answer(status, content, "text/plain; charset=utf-8", _OWN_POLICY)

    def _answer(self, status: HTTPStatus, content: bytes, kind: str, policy: str) -> None:
        self.send_response(status)
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet: a page asks every two seconds."""
