"""A small control plane: it takes changes as lines of JSON from a Unix socket, and keeps a map-in-map up to date.

    python examples/control_plane.py /run/edge.sock
    echo '{"set": "tenants[42]", "value": {"10.0.0.0/8": "deny"}}' | nc -NU /run/edge.sock

Each line is a change: `{"set": ADDRESS, "value": VALUE}`, `{"put": ADDRESS, "value": ENTRIES}` or
`{"delete": ADDRESS}`. The lines that have arrived by the end of an apply are applied together. Each is answered with a
line: `{"ok": true}`, or the problems. A change that is refused does not stop the others: the lines are then applied one
by one.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import provisioner

SPEC = {
    "version": 1,
    "name": "edge",
    "inner_templates": {
        "acl": {
            "type": "lpm_trie",
            "key": "cidr4",
            "value": {"enum": {"deny": 0, "allow": 1}, "base": "u8"},
            "max_entries": 1024,
        }
    },
    "outer_maps": {"tenants": {"type": "hash_of_maps", "key": "u32", "max_entries": 4096, "inner": "acl"}},
}
_MOST = 1 << 16
"""Bytes that are read at once."""

Line = tuple[socket.socket, bytes]


class ControlPlane:
    """Applies what clients send to `session`."""

    def __init__(self, session: provisioner.Session, listener: socket.socket) -> None:
        self._session = session
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._listener = listener
        self._rest: dict[socket.socket, bytes] = {}

    def serve(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Serve until `stopped` says so."""
        while not stopped():
            lines = [line for key, _ in self._selector.select(0.1) for line in self._ready(key.fileobj)]
            if lines:
                self._apply(lines)

    def close(self) -> None:
        for client in list(self._rest):
            self._forget(client)
        self._selector.close()

    def _ready(self, source: Any) -> list[Line]:
        if source is self._listener:
            client, _ = self._listener.accept()
            self._rest[client] = b""
            self._selector.register(client, selectors.EVENT_READ)
            return []
        data = source.recv(_MOST)
        *lines, self._rest[source] = (self._rest[source] + data).split(b"\n")
        if not data:
            lines.append(self._rest[source])
            self._selector.unregister(source)
        return [(source, line) for line in lines if line.strip()]

    def _apply(self, lines: list[Line]) -> None:
        """All lines by one apply; if it is refused, each by its own."""
        try:
            for _, line in lines:
                change(self._session, json.loads(line))
            self._session.apply()
            answers: list[dict[str, Any]] = [{"ok": True}] * len(lines)
        except (provisioner.ProvisionerError, ValueError, KeyError):
            self._session.discard()
            answers = [self._alone(line) for _, line in lines]
        for (client, _), answer in zip(lines, answers, strict=True):
            try:
                client.sendall(json.dumps(answer).encode() + b"\n")
            except OSError:  # the client is gone
                self._forget(client)

    def _alone(self, line: bytes) -> dict[str, Any]:
        try:
            change(self._session, json.loads(line))
            self._session.apply()
        except provisioner.ProvisionerError as error:
            self._session.discard()
            return {"ok": False, "problems": [{"id": each.id, "problem": str(each)} for each in error.problems]}
        except (ValueError, KeyError) as error:
            return {"ok": False, "problems": [{"id": "invalid-line", "problem": str(error)}]}
        return {"ok": True}

    def _forget(self, client: socket.socket) -> None:
        if self._rest.pop(client, None) is not None:
            client.close()


def change(session: provisioner.Session, line: dict[str, Any]) -> None:
    """Ask for the change of one line."""
    match line:
        case {"set": address, "value": value}:
            session.set(address, value)
        case {"put": address, "value": entries}:
            session.put(address, entries)
        case {"delete": address}:
            session.delete(address)
        case _:
            raise ValueError("a line has `set` and `value`, `put` and `value`, or `delete`")


def main(path: str) -> None:
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener, provisioner.load(SPEC).session() as session:
        os.umask(0o077)
        listener.bind(path)
        listener.listen()
        session.apply()
        plane = ControlPlane(session, listener)
        try:
            plane.serve()
        finally:
            plane.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
