"""Why the kernel refused: one table from operation and errno to a reason and the next step."""

from __future__ import annotations

import errno as codes
import os
import re
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from provisioner.kernel.host import privilege_hint, verifier_hint
from provisioner.model.errors import HostError, Problem
from provisioner.model.uapi import ENOTSUPP

Subject = Literal["", "array", "hash", "inner", "map"]
"""What an operation was about, where the same errno means different things; `inner`: an inner map put in a slot."""


class Meaning(msgspec.Struct, frozen=True):
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
GET_BY_ID: Final = "BPF_MAP_GET_FD_BY_ID"
LINK: Final = "BPF_LINK_CREATE"
KPROBES: Final = "BPF_LINK_CREATE (kprobe.multi)"
UPROBES: Final = "BPF_LINK_CREATE (uprobe.multi)"
RELINK: Final = "BPF_LINK_UPDATE"
QDISC: Final = "RTM_NEWQDISC"
FILTER: Final = "RTM_NEWTFILTER"

_ALIKE: Final = {"BPF_MAP_UPDATE_BATCH": UPDATE, "BPF_MAP_DELETE_BATCH": DELETE}

_FROZEN: Final = Meaning(
    "map is frozen, or was opened read-only",
    "write `update: replace` for an inner map; recreate another map with --allow-recreate",
    id="map-frozen",
)
_WHO_MAY: Final = "`ls -ld` shows who has access; `pin_mode` and `pin_group` in the spec give it to other users"
_NO_DOT: Final = Meaning("names on a bpffs cannot contain `.`", id="invalid-pin-name")
_REFUSED: Final = Meaning("verifier rejected a program", "the end of its log says where and why", id="program-rejected")

_NO_TC: Final = Meaning(
    "kernel does not have clsact or cls_bpf",
    "CONFIG_NET_CLS_ACT, CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF are needed; load sch_ingress and cls_bpf",
    id="attach-unsupported",
)

_NO_TARGET: Final = Meaning(
    "kernel's BTF has no such function, tracepoint or hook",
    "check the name in the section or in `target:`; `bpftool btf dump file /sys/kernel/btf/vmlinux` lists them",
    id="attach-target-missing",
)

_NO_FUNCTION: Final = Meaning(
    "kernel has no such function, or it cannot be probed",
    "`grep NAME /proc/kallsyms` shows functions; another version of the kernel may have inlined it",
    id="attach-target-missing",
)

REASONS: Final[dict[tuple[str, int, Subject], Meaning]] = {
    (CREATE, codes.EPERM, ""): Meaning(
        "not permitted to create this map",
        "kernels before 5.11 charge maps to RLIMIT_MEMLOCK: try `ulimit -l unlimited`",
        id="not-permitted",
    ),
    (CREATE, codes.EINVAL, ""): Meaning(
        "kernel does not support this combination of map type, sizes and flags",
        "check key and value size, max_entries and flags; an lpm_trie needs no_prealloc",
        id="invalid-map",
    ),
    (CREATE, codes.E2BIG, ""): Meaning(
        "key, value or map is too large for the kernel", "reduce the sizes", id="map-too-large"
    ),
    (CREATE, codes.ENOMEM, ""): Meaning(
        "kernel has no memory for this map",
        "reduce max_entries, or raise the memory limit of the cgroup",
        id="kernel-out-of-memory",
    ),
    (CREATE, ENOTSUPP, ""): Meaning(
        "map type does not support this flag or inner map", "change the type or the flags", id="invalid-map"
    ),
    (UPDATE, codes.E2BIG, ""): Meaning("index is out of range, or map is full", "raise max_entries", id="map-full"),
    (UPDATE, codes.E2BIG, "array"): Meaning("index is out of range", "raise max_entries", id="index-out-of-range"),
    (UPDATE, codes.E2BIG, "hash"): Meaning("map is full", "raise max_entries", id="map-full"),
    (UPDATE, codes.E2BIG, "inner"): Meaning(
        "slot index is out of range, or outer map is full", "raise max_entries of the outer map", id="map-full"
    ),
    (UPDATE, codes.ENOSPC, ""): Meaning("map is full", "raise max_entries", id="map-full"),
    (UPDATE, codes.EEXIST, ""): Meaning("key already exists", id="key-exists"),
    (UPDATE, codes.ENOENT, ""): Meaning("key does not exist", id="key-missing"),
    (UPDATE, codes.EBUSY, ""): Meaning("map is being changed by another process", "try again", id="map-busy"),
    (UPDATE, codes.EPERM, ""): _FROZEN,
    (UPDATE, codes.EINVAL, ""): Meaning(
        "map does not accept this key or value", "check the type and the flags of the map", id="entry-rejected"
    ),
    (UPDATE, codes.EINVAL, "inner"): Meaning(
        "inner map is incompatible with the outer map's template",
        "type, key size, value size and flags must be equal, and max_entries too for an array without inner_map",
        id="template-mismatch",
    ),
    (UPDATE, codes.EBADF, "inner"): Meaning("value for the slot is not an open map", id="entry-rejected"),
    (DELETE, codes.ENOENT, ""): Meaning("key does not exist", id="key-missing"),
    (DELETE, codes.EINVAL, ""): Meaning(
        "entries of an array cannot be deleted", "write zeros instead", id="array-delete"
    ),
    (DELETE, codes.EPERM, ""): _FROZEN,
    (GET_BY_ID, codes.ENOENT, ""): Meaning("map no longer exists", id="map-gone"),
    (GET_BY_ID, codes.EPERM, ""): Meaning(
        "not permitted to open a map by its id", "this needs CAP_SYS_ADMIN", id="not-permitted"
    ),
    ("BPF_MAP_FREEZE", codes.EBUSY, ""): Meaning("map is already frozen, or mapped for writing", id="map-busy"),
    (GET, codes.ENOENT, ""): Meaning("pin does not exist", id="pin-missing"),
    (GET, codes.EACCES, ""): Meaning("not a pin, or its mode denies access", _WHO_MAY, id="access-denied"),
    ("stat", codes.EACCES, ""): Meaning("a parent directory denies access", _WHO_MAY, id="access-denied"),
    ("open", codes.EACCES, ""): Meaning("directory cannot be read", _WHO_MAY, id="access-denied"),
    ("mkdir", codes.EACCES, ""): Meaning("directory cannot be written", _WHO_MAY, id="access-denied"),
    (PIN, codes.EEXIST, ""): Meaning("pin already exists", id="pin-exists"),
    (PIN, codes.ENOENT, ""): Meaning("directory of the pin does not exist", id="pin-directory-missing"),
    (PIN, codes.EPERM, ""): Meaning(
        "path is not on a bpffs, or a name in it contains `.`",
        "pin below a mount of type bpf, such as /sys/fs/bpf",
        id="not-on-bpffs",
    ),
    (LINK, codes.EBUSY, ""): Meaning(
        "another XDP program is attached to the interface", "`bpftool net` shows it; detach it first", id="xdp-busy"
    ),
    (LINK, codes.EEXIST, ""): Meaning(
        "XDP is attached to the interface in another mode", "use the same mode", id="xdp-busy"
    ),
    (LINK, codes.EOPNOTSUPP, ""): Meaning(
        "driver of the interface does not support native XDP", "use mode generic", id="attach-unsupported"
    ),
    (LINK, codes.EINVAL, ""): Meaning(
        "interface was removed, or program cannot be attached in this way",
        "check the section of the program and the mode",
        id="attach-unsupported",
    ),
    (LINK, codes.ENOENT, ""): Meaning(
        "program that is named by `before` or `after` is not attached at this hook",
        "`bpftool net` shows the programs of the interface",
        id="attach-target-missing",
    ),
    (LINK, codes.EEXIST, "map"): Meaning(
        "another struct_ops has this name in the kernel",
        "`bpftool struct_ops list` shows it; unregister it, or use another name",
        id="hook-occupied",
    ),
    (LINK, codes.EBUSY, "map"): Meaning(
        "another struct_ops is attached, and the kernel takes one",
        "`bpftool struct_ops list` shows it; detach it first",
        id="hook-occupied",
    ),
    (LINK, codes.EINVAL, "map"): Meaning(
        "kernel has no links of struct_ops, or refuses this struct",
        "Linux 6.4 is needed; else register the object with `bpftool struct_ops register`",
        id="attach-unsupported",
    ),
    (KPROBES, codes.EINVAL, ""): Meaning(
        "kernel does not support links at several functions",
        "Linux 5.18 is needed, and 6.10 for kprobe.session; use `kprobe/FUNCTION` for each",
        id="attach-unsupported",
    ),
    (KPROBES, codes.EOPNOTSUPP, ""): Meaning(
        "kernel does not support links at several functions",
        "CONFIG_FPROBE is needed; use `kprobe/FUNCTION` for each",
        id="attach-unsupported",
    ),
    (KPROBES, codes.ESRCH, ""): _NO_FUNCTION,
    (KPROBES, codes.ENOENT, ""): _NO_FUNCTION,
    (UPROBES, codes.EINVAL, ""): Meaning(
        "kernel does not support links at several places of a file",
        "Linux 6.6 is needed; use `uprobe/PATH:FUNCTION` for each",
        id="attach-unsupported",
    ),
    (UPROBES, codes.EOPNOTSUPP, ""): Meaning(
        "kernel does not support uprobes", "CONFIG_UPROBE_EVENTS is needed", id="attach-unsupported"
    ),
    (RELINK, codes.ENOLINK, ""): Meaning(
        "link is detached: its interface was removed", "attach the program again", id="link-detached"
    ),
    (RELINK, codes.EINVAL, ""): Meaning("link does not accept a program of this type", id="attach-unsupported"),
    (QDISC, codes.ENOENT, ""): _NO_TC,
    (QDISC, codes.EINVAL, ""): _NO_TC,
    (FILTER, codes.ENOENT, ""): _NO_TC,
    (FILTER, codes.EEXIST, ""): Meaning(
        "another filter has this priority and handle",
        "`tc filter show` shows it; write another `priority:` or `handle:`",
        id="hook-occupied",
    ),
    (FILTER, codes.EINVAL, ""): Meaning(
        "filter of another kind has this priority, or program cannot be a classifier",
        "`tc filter show` shows it; write another `priority:`",
        id="hook-occupied",
    ),
    (LOAD, codes.EACCES, ""): _REFUSED,
    (LOAD, codes.EINVAL, ""): _REFUSED,
    (LOAD, codes.E2BIG, ""): Meaning(
        "program is too large or too complex for the verifier",
        "the log names the program; it may load on another kernel, or with other `variables`",
        id="program-rejected",
    ),
    ("load", ENOTSUPP, ""): Meaning(
        "kernel does not support a map of the object, or its inner map",
        "the log names it; `provisioner validate --kernel` shows what each kernel refuses",
        id="object-unsupported",
    ),
    ("load", codes.ENOENT, ""): Meaning(
        "object needs a feature that this kernel does not have", "the log names it", id="object-unsupported"
    ),
    ("load", codes.ESRCH, ""): _NO_TARGET,
    ("bpf_program__set_attach_target", codes.ESRCH, ""): _NO_TARGET,
    ("BPF_RAW_TRACEPOINT_OPEN", codes.ENOENT, ""): Meaning(
        "kernel has no such raw tracepoint", "a raw tracepoint has no category: `sys_enter`", id="attach-target-missing"
    ),
    ("perf_event_open", codes.ENOENT, ""): _NO_FUNCTION,
    ("rmdir", codes.ENOTEMPTY, ""): Meaning(
        "directory is not empty", "`ls` shows what it contains", id="directory-not-empty"
    ),
    ("mkdir", codes.EPERM, ""): _NO_DOT,
    ("stat", codes.EPERM, ""): _NO_DOT,
    ("", codes.EPERM, ""): Meaning("not permitted", id="not-permitted"),
    ("", codes.ENOMEM, ""): Meaning("kernel is out of memory", id="kernel-out-of-memory"),
    ("", codes.EMFILE, ""): Meaning(
        "too many open files in this process", "raise its limit: `ulimit -n`", id="too-many-files"
    ),
    ("", codes.ENFILE, ""): Meaning("too many open files on this host", "raise fs.file-max", id="too-many-files"),
    ("", ENOTSUPP, ""): Meaning("not supported by this map type", id="unsupported-operation"),
}

_LOGGED: Final[tuple[tuple[re.Pattern[str], Meaning], ...]] = (
    (
        re.compile(r"extern (\((var|func) ksym\) )?'[^'\n]*'( \(strong\))?: not (resolved|found)"),
        Meaning(
            "object uses a function or variable that this kernel does not have",
            "the log names it; `__weak` in the source lets the object load without it",
            id="object-unsupported",
        ),
    ),
    (
        re.compile(r"failed to resolve CO-RE relocation"),
        Meaning(
            "a program reads a struct, member or enum value that this kernel does not have",
            "the log names it; test it with `bpf_core_field_exists` in the source",
            id="object-unsupported",
        ),
    ),
)
"""What libbpf or the verifier says in the log of a load, where the errno alone has other causes too."""

_NO_PRIVILEGE: Final = frozenset({CREATE, LOAD, LINK, RELINK, GET, GET_BY_ID, ""})
"""Operations where EPERM is first of all a missing privilege."""


def reason_for(operation: str, errno: int, subject: Subject = "") -> Meaning:
    """The most specific reason in the table, or the text of the C library for the errno."""
    like = _ALIKE.get(operation, operation)
    keys: tuple[tuple[str, int, Subject], ...] = ((like, errno, subject), (like, errno, ""), ("", errno, ""))
    index, reason = next(
        ((at, REASONS[key]) for at, key in enumerate(keys) if key in REASONS), (2, Meaning(os.strerror(errno)))
    )
    if errno == codes.EACCES and reason.hint == _WHO_MAY:  # files' modes: no capability of BPF's is asked for
        return reason
    if reason is _REFUSED:
        return replace(reason, hint=verifier_hint() or reason.hint)
    if errno in (codes.EPERM, codes.EACCES) and (like in _NO_PRIVILEGE or index == 2):
        hint = privilege_hint() or reason.hint
        return replace(reason, hint=f"{hint}; or set `pin_inner_maps: true`" if like == GET_BY_ID else hint)
    return reason


class KernelError(HostError):
    """The kernel refused one operation. `str` says what, why and what next.

    `operation` is the command as the kernel spells it, `name` what it was about (a map, a path, an address), `log`
    what libbpf and the verifier said, oldest line first, `because` what was found out about it afterwards.
    """

    def __init__(
        self, operation: str, errno: int, *, subject: Subject = "", name: str = "", log: str = "", because: str = ""
    ) -> None:
        self.operation = operation
        self.errno = errno
        self.subject: Subject = subject
        self.name = name
        self.log = log
        reason = _logged(operation, log) or reason_for(operation, errno, subject)
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


def _logged(operation: str, log: str) -> Meaning | None:
    if operation not in ("load", LOAD):
        return None
    return next((reason for pattern, reason in _LOGGED if pattern.search(log)), None)


_BTF_LOG: Final = re.compile(
    r"[^\n]*BEGIN BTF LOAD LOG.*?END BTF LOAD LOG[^\n]*\n?"
    r"|[^\n]*(Retrying without BTF|BTF loading error|Error loading \.BTF)[^\n]*\n?",
    re.DOTALL,
)


def _tail(log: str, lines: int = 12) -> str:
    """The end of a log, where the verifier says what is wrong, each line indented below the message.

    Where the kernel does not take the BTF of an object or a map, libbpf says so at length and goes on without it.
    """
    kept = [line.rstrip() for line in _BTF_LOG.sub("", log).splitlines() if line.strip()][-lines:]
    return "".join(f"\n    {line}" for line in kept)
