"""The audit line: who changed what, reported to the journal once for each apply that changed something.

It goes to journald's own socket, with fields (systemd.io/JOURNAL_NATIVE_PROTOCOL), or else to syslog's. Where there is
neither, there is no audit line, and that is not an error.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from provisioner.model.errors import ProvisionerError
from provisioner.model.words import visible
from provisioner.planning import counts
from provisioner.planning.counts import Summary
from provisioner.planning.plan import Plan

JOURNAL: Final = "/run/systemd/journal/socket"
SYSLOG: Final = "/dev/log"

_NOTICE: Final = 5
_AUTHPRIV: Final = 10
_UNSET: Final = 2**32 - 1
"""What `loginuid` is of a process that no login led to: a service."""
_PATIENCE: Final = 1.0
"""Seconds that a journal which is full or stopped may hold up an apply."""


class AuditRecord(msgspec.Struct, frozen=True):
    """`verb` is apply or destroy, `result` a word of `apply.Status`; `spec` and `plan` are digests.

    `revision` is empty for destroy. `approved` are refusals that the spec approves.
    """

    verb: str
    project: str
    pin_root: str
    spec: str
    plan: str
    result: str
    summary: Summary
    revision: str = ""
    approved: tuple[str, ...] = ()


@contextmanager
def recorded(verb: str, plan: Plan, spec: str) -> Iterator[None]:
    """Leave the line where something was changed, whether it ended well or not; `spec` is the SHA-256 of its files."""
    result = "applied"
    try:
        yield
    except ProvisionerError as error:
        result = error.status
        raise
    except BaseException:
        result = "failed"
        raise
    finally:
        if plan.steps and result != ProvisionerError.status:
            summary = counts.summary(plan, destroy=verb == "destroy")
            desired = plan.desired
            names = verb, desired.project, desired.pin_root, f"sha256:{spec}", plan.digest
            record(AuditRecord(*names, result, summary, desired.revision, tuple(map(str, plan.approved))))


def is_heard() -> bool:
    """Whether there is a journal or a syslog that takes the line."""
    return os.access(JOURNAL, os.F_OK) or os.access(SYSLOG, os.F_OK)


def record(entry: AuditRecord) -> None:
    """Leave the line."""
    fields = _fields(entry, _who())
    words = " ".join(f"{name}={value}" for name, value in fields.items())
    message = visible(f"{entry.verb} {words}").replace("\n", " ")
    native = {"MESSAGE": message, "PRIORITY": str(_NOTICE), "SYSLOG_IDENTIFIER": "provisioner"}
    native |= {f"PROVISIONER_{name.upper()}": visible(value).replace("\n", " ") for name, value in fields.items()}
    datagram = "".join(f"{name}={value}\n" for name, value in native.items())
    if not _send(JOURNAL, datagram):
        _send(SYSLOG, f"<{_AUTHPRIV << 3 | _NOTICE}>provisioner[{os.getpid()}]: {message}")


def _send(path: str, datagram: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(_PATIENCE)
        try:
            sender.sendto(datagram.encode(), path)
        except OSError:
            return False
    return True


def _fields(entry: AuditRecord, who: Mapping[str, str]) -> dict[str, str]:
    counts = {}
    for kind in Summary.__struct_fields__:
        by_change = getattr(entry.summary, kind)
        for change in by_change.__struct_fields__:
            if change != "unchanged" and getattr(by_change, change):
                counts[f"{kind}_{change}"] = str(getattr(by_change, change))
    return {
        "project": entry.project,
        "pin_root": entry.pin_root,
        **who,
        **({"revision": entry.revision} if entry.revision else {}),
        "spec": entry.spec,
        "plan": entry.plan,
        "result": entry.result,
        **({"approved": ", ".join(entry.approved)} if entry.approved else {}),
        **counts,
    }


@cache
def _who() -> Mapping[str, str]:
    """The user of this process, and who logged in to become that user, as far as it is known."""
    user = {"uid": str(os.getuid())}
    with suppress(KeyError):  # a user of a namespace, or of a container without a passwd
        user["user"] = pwd.getpwuid(os.getuid()).pw_name
    try:
        loginuid = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    except (OSError, ValueError):  # a kernel without audit
        loginuid = _UNSET
    if loginuid != _UNSET:
        user["loginuid"] = str(loginuid)
    if os.environ.get("SUDO_USER"):
        user["sudo_user"] = os.environ["SUDO_USER"]
    return user
