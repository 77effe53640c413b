"""What a service manager is told: sd_notify(3), a datagram to the socket that it names in the environment."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Tells the service manager, if there is one. `watchdog` is within how many seconds it wants a sign."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        # A name that begins with `@` is of the abstract namespace.
        self._address = b"\0" + os.fsencode(name[1:]) if name.startswith("@") else os.fsencode(name)
        self.watchdog = _watchdog(environment)

    def __call__(self, *assignments: str) -> None:
        """Send `READY=1`, `STATUS=...`; that nobody listens is no error."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            with suppress(OSError):
                sender.sendto("\n".join(assignments).encode(), self._address)


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """The watchdog's time in seconds, unless it is meant for another process."""
    try:
        if int(environment.get("WATCHDOG_PID", os.getpid())) != os.getpid():
            return None
        return int(environment["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None
