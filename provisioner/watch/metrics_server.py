"""A small HTTP server for metrics and the status, whose clients cannot use up the fds and threads of the watch."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from contextlib import suppress
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry, MetricsHandler

from provisioner.watch.status import Board

MOST: Final = 16
"""Connections at one time. A new one closes the oldest, so that idle clients do not keep a scrape out."""

PATIENCE: Final = 5.0
"""Seconds without data after which a connection is closed."""


class _Handler(MetricsHandler):
    timeout = PATIENCE
    board: Board

    def do_GET(self) -> None:  # the name is that of http.server
        path, _, query = self.path.partition("?")
        now = time.monotonic()
        match path:
            case "/healthz":
                self._answer(self.board.is_healthy(now), "the loop does not run")
            case "/readyz":
                revision = parse_qs(query).get("revision", [""])[0]
                self._answer(self.board.is_ready(revision), "see /status")
            case "/status":
                self._send(HTTPStatus.OK, "application/json", self.board.document(now))
            case _:
                super().do_GET()

    def _answer(self, good: bool, otherwise: str) -> None:
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        self._send(status, "text/plain", "ok\n" if good else f"{otherwise}\n")

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, place: tuple[str, int], family: int, handler: type[MetricsHandler]) -> None:
        self.address_family = family
        self._open: deque[socket.socket] = deque()
        super().__init__(place, handler)

    def server_bind(self) -> None:
        # HTTPServer looks up the name of the host here, which can take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            time.sleep(0.1)  # no fd is free: the listening socket stays readable, and this is called again
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        while len(self._open) >= MOST:
            with suppress(OSError, IndexError):
                self._open.popleft().shutdown(socket.SHUT_RDWR)
        self._open.append(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with suppress(ValueError):
            self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that disconnects is not an event of the watch."""


def serve(registry: CollectorRegistry, board: Board, address: str, port: int) -> int:
    """Serve metrics and status in a thread; gives the port, a free one if `port` is 0.

    Raises OSError and OverflowError.
    """
    addresses = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, place = addresses[0]
    handler = type("Handler", (_Handler,), {"registry": registry, "board": board})
    server = _Server((str(place[0]), int(place[1])), family, handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port
