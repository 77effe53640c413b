"""Notifications of a service manager: sd_notify(3), datagrams to the socket that the environment names."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Notifies the service manager, if there is one. `watchdog` is the watchdog's period in seconds."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        # A name that starts with `@` is in the abstract namespace.
        self._address = b"\0" + os.fsencode(name[1:]) if name.startswith("@") else os.fsencode(name)
        self.watchdog = _watchdog(environment)

    def __call__(self, *assignments: str) -> None:
        """Send `READY=1`, `STATUS=...`. A failure is ignored: notifications are not worth the end of a watch."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(assignments).encode(), self._address)


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """The watchdog's period in seconds; None without one, or if it is for another process."""
    try:
        if int(environment.get("WATCHDOG_PID", os.getpid())) != os.getpid():
            return None
        return int(environment["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None
