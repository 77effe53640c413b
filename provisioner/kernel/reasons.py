"""Why the kernel refused, in words: one table from operation and errno to a reason and the next step."""

from __future__ import annotations

import errno as codes
import os
from typing import Final, Literal

import msgspec

from provisioner.kernel.host import privilege_hint, verifier_hint
from provisioner.model.errors import HostError, Problem
from provisioner.model.uapi import ENOTSUPP

Subject = Literal["", "array", "hash", "inner"]
"""What an operation was about, where the same errno means different things; `inner`: an inner map put in a slot."""


class Reason(msgspec.Struct, frozen=True):
    """What an errno means, and what to do about it."""

    what: str
    hint: str = ""
    id: str = "kernel-refused"


CREATE: Final = "BPF_MAP_CREATE"
UPDATE: Final = "BPF_MAP_UPDATE_ELEM"
DELETE: Final = "BPF_MAP_DELETE_ELEM"
LOAD: Final = "BPF_PROG_LOAD"
PIN: Final = "BPF_OBJ_PIN"
GET: Final = "BPF_OBJ_GET"
LINK: Final = "BPF_LINK_CREATE"
RELINK: Final = "BPF_LINK_UPDATE"

_ALIKE: Final = {"BPF_MAP_UPDATE_BATCH": UPDATE, "BPF_MAP_DELETE_BATCH": DELETE}

_FROZEN: Final = Reason("the map is frozen, or was opened read-only", "it can only be replaced as a whole")
_WHO_MAY: Final = "`ls -ld` tells who may; `pin_mode` and `pin_group` in the spec let others than root read"
_NO_DOT: Final = Reason("a name on a bpffs may hold no `.`")
_REFUSED: Final = Reason("the verifier refused a program", "the end of its log says where and why")

REASONS: Final[dict[tuple[str, int, Subject], Reason]] = {
    (CREATE, codes.EPERM, ""): Reason(
        "this process may not create such a map",
        "kernels before 5.11 charge maps to RLIMIT_MEMLOCK: try `ulimit -l unlimited`",
    ),
    (CREATE, codes.EINVAL, ""): Reason(
        "the kernel takes no map of this type with these sizes and flags",
        "look at key and value size, max_entries and flags; an lpm_trie needs no_prealloc",
    ),
    (CREATE, codes.E2BIG, ""): Reason("a key, a value or the whole map is too big for the kernel", "lower the sizes"),
    (CREATE, codes.ENOMEM, ""): Reason(
        "the kernel has no memory for this map", "lower max_entries, or look at the memory limit of the cgroup"
    ),
    (CREATE, ENOTSUPP, ""): Reason("this map type takes no such flag, or no such inner map", "change type or flags"),
    (UPDATE, codes.E2BIG, ""): Reason("the index is out of range, or the map is full", "raise max_entries"),
    (UPDATE, codes.E2BIG, "array"): Reason("the index is out of range", "raise max_entries"),
    (UPDATE, codes.E2BIG, "hash"): Reason("the map is full", "raise max_entries"),
    (UPDATE, codes.E2BIG, "inner"): Reason(
        "the slot's index is out of range, or the outer map is full", "raise max_entries of the outer map"
    ),
    (UPDATE, codes.ENOSPC, ""): Reason("the map is full", "raise max_entries"),
    (UPDATE, codes.EEXIST, ""): Reason("the key is there already"),
    (UPDATE, codes.ENOENT, ""): Reason("the key is not there"),
    (UPDATE, codes.EBUSY, ""): Reason("the map is being changed elsewhere", "try again"),
    (UPDATE, codes.EPERM, ""): _FROZEN,
    (UPDATE, codes.EINVAL, ""): Reason("the kernel takes no such key or value", "look at the map's type and flags"),
    (UPDATE, codes.EINVAL, "inner"): Reason(
        "the kernel finds the inner map's shape different from the template's",
        "type, key size, value size and flags must be equal, and max_entries too for an array without inner_map",
    ),
    (UPDATE, codes.EBADF, "inner"): Reason("what was to be put in the slot is no open map"),
    (DELETE, codes.ENOENT, ""): Reason("the key is not there"),
    (DELETE, codes.EINVAL, ""): Reason("entries of an array cannot be deleted", "write zeros instead"),
    (DELETE, codes.EPERM, ""): _FROZEN,
    ("BPF_MAP_GET_FD_BY_ID", codes.ENOENT, ""): Reason("the map is gone"),
    ("BPF_MAP_GET_FD_BY_ID", codes.EPERM, ""): Reason(
        "this process may not open a map by its id", "this needs CAP_SYS_ADMIN; a pinned map needs only CAP_BPF"
    ),
    ("BPF_MAP_FREEZE", codes.EBUSY, ""): Reason("the map is frozen already, or mapped for writing"),
    (GET, codes.ENOENT, ""): Reason("there is no such pin"),
    (GET, codes.EACCES, ""): Reason("this is no pin, or its mode forbids it", _WHO_MAY),
    ("stat", codes.EACCES, ""): Reason("a folder on the way to it may not be entered", _WHO_MAY),
    ("open", codes.EACCES, ""): Reason("this folder may not be read", _WHO_MAY),
    ("mkdir", codes.EACCES, ""): Reason("nothing may be made in this folder", _WHO_MAY),
    (PIN, codes.EEXIST, ""): Reason("there is such a pin already"),
    (PIN, codes.ENOENT, ""): Reason("the folder of the pin is missing"),
    (PIN, codes.EPERM, ""): Reason(
        "the path is not on a bpffs, or a name in it holds a `.`", "pin below a mount of type bpf, such as /sys/fs/bpf"
    ),
    (LINK, codes.EBUSY, ""): Reason(
        "another XDP program is attached to the interface", "`bpftool net` shows it; detach it first"
    ),
    (LINK, codes.EEXIST, ""): Reason("XDP is attached to the interface in another mode", "use the same mode"),
    (LINK, codes.EOPNOTSUPP, ""): Reason("the interface's driver has no native XDP", "use mode generic"),
    (LINK, codes.EINVAL, ""): Reason(
        "the interface is gone, or the program cannot be attached so", "look at its section and at the mode"
    ),
    (RELINK, codes.ENOLINK, ""): Reason("the link is detached: its interface is gone", "attach it anew"),
    (RELINK, codes.EINVAL, ""): Reason("the link takes no program of this type"),
    (LOAD, codes.EACCES, ""): _REFUSED,
    (LOAD, codes.EINVAL, ""): _REFUSED,
    ("load", ENOTSUPP, ""): Reason(
        "this kernel does not make a map of the object, or not with that inner map",
        "the log names it; `provisioner validate --kernel` says what which kernel refuses",
    ),
    ("load", codes.ENOENT, ""): Reason("the object needs something that this kernel lacks", "the log names it"),
    ("rmdir", codes.ENOTEMPTY, ""): Reason("the folder holds what is not ours", "look at it with `ls`"),
    ("mkdir", codes.EPERM, ""): _NO_DOT,
    ("stat", codes.EPERM, ""): _NO_DOT,
    ("", codes.EPERM, ""): Reason("this process may not do this"),
    ("", codes.ENOMEM, ""): Reason("the kernel has no memory for it"),
    ("", codes.EMFILE, ""): Reason("this process has too many open files", "raise its limit: `ulimit -n`"),
    ("", codes.ENFILE, ""): Reason("this host has too many open files", "raise fs.file-max"),
    ("", ENOTSUPP, ""): Reason("not supported by this map type"),
}

_NO_PRIVILEGE: Final = frozenset({CREATE, LOAD, LINK, RELINK, GET, "BPF_MAP_GET_FD_BY_ID", ""})
"""Operations where EPERM is first of all a missing privilege."""


def reason_for(operation: str, errno: int, subject: Subject = "") -> Reason:
    """The most exact reason in the table, or the C library's words for the errno."""
    like = _ALIKE.get(operation, operation)
    keys: tuple[tuple[str, int, Subject], ...] = ((like, errno, subject), (like, errno, ""), ("", errno, ""))
    index, reason = next(
        ((at, REASONS[key]) for at, key in enumerate(keys) if key in REASONS), (2, Reason(os.strerror(errno)))
    )
    if errno == codes.EACCES and reason.hint == _WHO_MAY:  # files' modes: no capability of BPF's is asked for
        return reason
    if reason is _REFUSED:
        return Reason(reason.what, verifier_hint() or reason.hint)
    if errno in (codes.EPERM, codes.EACCES) and (like in _NO_PRIVILEGE or index == 2):
        return Reason(reason.what, privilege_hint() or reason.hint)
    return reason


class KernelError(HostError):
    """The kernel refused one operation. `str` says what, why and what next.

    `operation` is the command as the kernel spells it, `name` what it was about (a map, a path, an address), `log`
    what libbpf and the verifier said, oldest line first, `because` what was found out about it since.
    """

    def __init__(
        self, operation: str, errno: int, *, subject: Subject = "", name: str = "", log: str = "", because: str = ""
    ) -> None:
        self.operation = operation
        self.errno = errno
        self.subject: Subject = subject
        self.name = name
        self.log = log
        reason = reason_for(operation, errno, subject)
        self.reason = f"{reason.what}: {because}" if because else reason.what
        super().__init__(
            Problem(f"{operation}: {self.reason}{_tail(log)}", hint=reason.hint, address=name, id=reason.id)
        )

    def about(self, name: str = "", subject: Subject = "") -> KernelError:
        """The same refusal, said of `name`, or of a `subject` that gives the errno another meaning."""
        return KernelError(
            self.operation, self.errno, subject=subject or self.subject, name=name or self.name, log=self.log
        )

    def because(self, why: str) -> KernelError:
        """The same refusal, with what was found out about it."""
        return KernelError(self.operation, self.errno, subject=self.subject, name=self.name, log=self.log, because=why)


def _tail(log: str, lines: int = 12) -> str:
    """The end of a log, where the verifier says what is wrong, each line indented below the message."""
    kept = [line.rstrip() for line in log.splitlines() if line.strip()][-lines:]
    return "".join(f"\n    {line}" for line in kept)
