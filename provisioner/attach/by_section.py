"""`attach: auto`: programs whose section names the hook. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Final, Literal, Self

import msgspec

from provisioner.attach.sections import first_word
from provisioner.model.attachment import (
    Attachment,
    AttachPoint,
    CreateLink,
    IfMissing,
    LinkRequest,
    OpenMulti,
    OpenPerfEvent,
    OpenRawTracepoint,
    OpenUsdt,
    Settings,
)
from provisioner.model.location import Location
from provisioner.model.uapi import AttachType, LinkType


class Hook(msgspec.Struct, frozen=True):
    """The link that a section gets, and the first release with it and the commit."""

    link_type: LinkType
    since: tuple[tuple[int, int, int], str]


_TRACING: Final = Hook(LinkType.TRACING, ((5, 7, 0), "70ed506c3bbc"))
_LSM: Final = Hook(LinkType.TRACING, ((5, 7, 0), "9e4e01dfd325"))
_RAW: Final = Hook(LinkType.RAW_TRACEPOINT, ((5, 7, 0), "70ed506c3bbc"))
_PERF: Final = Hook(LinkType.PERF_EVENT, ((5, 15, 0), "b89fbfbb854c"))
_KPROBES: Final = Hook(LinkType.KPROBE_MULTI, ((5, 18, 0), "0dcac2725406"))
_SESSION: Final = Hook(LinkType.KPROBE_MULTI, ((6, 10, 0), "535a3692ba72"))
_UPROBES: Final = Hook(LinkType.UPROBE_MULTI, ((6, 6, 0), "89ae89f53d20"))
_ITER: Final = Hook(LinkType.ITER, ((5, 8, 0), "de4e05cac46d"))

HOOKS: Final[Mapping[str, Hook]] = {
    "raw_tp": _RAW,
    "raw_tracepoint": _RAW,
    "tp_btf": _RAW,
    "fentry": _TRACING,
    "fexit": _TRACING,
    "fmod_ret": _TRACING,
    "lsm": _LSM,
    "tp": _PERF,
    "tracepoint": _PERF,
    "kprobe": _PERF,
    "kretprobe": _PERF,
    "ksyscall": _PERF,
    "kretsyscall": _PERF,
    "uprobe": _PERF,
    "uretprobe": _PERF,
    "kprobe.multi": _KPROBES,
    "kretprobe.multi": _KPROBES,
    "kprobe.session": _SESSION,
    "uprobe.multi": _UPROBES,
    "uretprobe.multi": _UPROBES,
    "usdt": _UPROBES,
    "iter": _ITER,
}
"""The first word of a section, as libbpf reads it -> the link that it gets.

libbpf 1.1 does not know `kprobe.session`, `uprobe.multi` and `uretprobe.multi`: the spec says their `type:`.
"""

_OFFSET: Final = r"(\+(?P<offset>0x[0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,18}))?"
_FUNCTION: Final = re.compile(rf"(?P<name>[A-Za-z0-9_.]+){_OFFSET}")
_FILE_FUNCTION: Final = re.compile(rf"(?P<path>[^:]+):(?P<name>[A-Za-z0-9_.@]+){_OFFSET}")
_PATTERN: Final = re.compile(r"[A-Za-z0-9_.*?]+")
_FILE_PATTERN: Final = re.compile(r"(?P<path>[^:]+):(?P<name>[A-Za-z0-9_.@*?]+)")
_FILE_PROBE: Final = re.compile(r"(?P<path>[^:]+):(?P<provider>[A-Za-z0-9_]+):(?P<name>[A-Za-z0-9_]+)")
_FILES: Final[Mapping[str, re.Pattern[str]]] = {
    "uprobe": _FILE_FUNCTION,
    "uretprobe": _FILE_FUNCTION,
    "uprobe.multi": _FILE_PATTERN,
    "uretprobe.multi": _FILE_PATTERN,
    "usdt": _FILE_PROBE,
}
"""Targets that name a file."""

_WITH_MAP: Final = frozenset({"bpf_map_elem", "bpf_sk_storage_map"})
"""Iterators over the elements of a map, which the section does not name."""


def unsupported(section: str) -> str:
    """Why `attach: auto` does not work for a section; empty if it does."""
    hook, target = first_word(section), section.partition("/")[2]
    if hook not in HOOKS:
        return f"section `{section}` does not name a hook that `attach: auto` supports"
    if not target:
        return f"section `{section}` does not name its target"
    match hook:
        case "tp" | "tracepoint" if target.count("/") != 1:
            return f"section `{section}` does not name a category and a tracepoint"
        case "kprobe" | "kretprobe" if _FUNCTION.fullmatch(target) is None:
            return f"section `{section}` does not name one function of the kernel"
        case "uprobe" | "uretprobe" if _FILE_FUNCTION.fullmatch(target) is None:
            return f"section `{section}` does not name a file and a function: `{hook}/PATH:FUNCTION`"
        case "kprobe.multi" | "kretprobe.multi" | "kprobe.session" if _PATTERN.fullmatch(target) is None:
            return f"section `{section}` does not name functions of the kernel by a pattern: `tcp_*`"
        case "uprobe.multi" | "uretprobe.multi" if _FILE_PATTERN.fullmatch(target) is None:
            return f"section `{section}` does not name a file and functions: `{hook}/PATH:PATTERN`"
        case "usdt" if _FILE_PROBE.fullmatch(target) is None:
            return f"section `{section}` does not name a file and a probe: `usdt/PATH:PROVIDER:NAME`"
        case "iter" if target in _WITH_MAP:
            return f"section `{section}` iterates over the elements of a map, which it does not name"
        case _:
            return ""


class BySection(Attachment, frozen=True, kw_only=True):
    """A link at the hook that the program's section names; the section is known once the object is read.

    Except for iterators, these links refuse BPF_LINK_UPDATE: a new link replaces the old one, and for a moment both
    run.
    """

    kind: ClassVar[str] = "auto"
    word: ClassVar[str] = "tracing"
    capability: ClassVar[Literal["CAP_NET_ADMIN", "CAP_PERFMON"]] = "CAP_PERFMON"

    section: str = ""

    @classmethod
    def read(cls, fields: Mapping[str, str], where: Location, if_missing: IfMissing) -> Self:
        return cls(where=where, if_missing=if_missing, section=fields.get("section", ""))

    @property
    def _target(self) -> str:
        return self.section.partition("/")[2]

    @property
    def prefix(self) -> str:
        """The first word of the section, by which libbpf knows the hook: `kprobe`."""
        return first_word(self.section)

    @property
    def hook(self) -> str:
        return self.section

    @property
    def is_updatable(self) -> bool:  # type: ignore[override]  # by the section
        return self.prefix == "iter"

    @property
    def link_type(self) -> LinkType:  # type: ignore[override]
        return HOOKS[self.prefix].link_type

    @property
    def since(self) -> tuple[tuple[int, int, int], str]:  # type: ignore[override]
        return HOOKS[self.prefix].since

    @property
    def point(self) -> AttachPoint | None:
        named = _FILES[self.prefix].fullmatch(self._target) if self.prefix in _FILES else None
        return AttachPoint("file", named["path"]) if named is not None else None

    def settings(self) -> Settings:
        return {"section": self.section}

    def describe(self) -> str:
        return self.section

    def request(self) -> LinkRequest:
        match self.prefix:
            case "raw_tp" | "raw_tracepoint":
                return OpenRawTracepoint(self._target)
            case "tp" | "tracepoint":
                return OpenPerfEvent("tracepoint", self._target)
            case "ksyscall" | "kretsyscall" as kind:
                return OpenPerfEvent("kprobe" if kind == "ksyscall" else "kretprobe", self._target, is_syscall=True)
            case "kprobe" | "kretprobe" as kind:
                return OpenPerfEvent(kind, *_named(_FUNCTION, self._target))
            case "uprobe" | "uretprobe" as kind:
                point = self.point
                function, offset = _named(_FILE_FUNCTION, self._target)
                return OpenPerfEvent(kind, function, offset, file="" if point is None else point.name)
            case "kprobe.multi" | "kretprobe.multi" | "kprobe.session" as kind:
                return OpenMulti(kind, self._target)
            case "uprobe.multi" | "uretprobe.multi" as kind:
                path, _, pattern = self._target.rpartition(":")
                return OpenMulti(kind, pattern, path)
            case "usdt":
                path, provider, probe = self._target.rsplit(":", 2)
                return OpenUsdt(path, provider, probe)
            case "iter":
                return CreateLink(AttachType.TRACE_ITER)
            case _:
                return OpenRawTracepoint()


def _named(form: re.Pattern[str], target: str) -> tuple[str, int]:
    """The function and the offset in a target."""
    function = form.fullmatch(target)
    return (function["name"], int(function["offset"] or "0", 0)) if function is not None else (target, 0)
