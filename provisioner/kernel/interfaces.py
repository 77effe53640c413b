"""Events of network interfaces that are created and deleted (rtnetlink)."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Final

_RTMGRP_LINK: Final = 1
"""`RTMGRP_LINK` of linux/rtnetlink.h: links that appear, vanish or change."""


class LinkEvents:
    """Listens to rtnetlink; readable when an interface changed in some way. Needs no privilege."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, _RTMGRP_LINK))

    def __enter__(self) -> LinkEvents:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Take what has come. What it says is left unread: it may not be complete (ENOBUFS), so look for yourself."""
        try:
            while self._socket.recv(1 << 16):
                pass
        except OSError:
            pass
