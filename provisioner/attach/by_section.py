"""`attach: auto`: programs whose section names the hook. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Final, Literal, Self

import msgspec

from provisioner.model.attachment import Attachment, IfMissing, LinkRequest, OpenPerfEvent, OpenRawTracepoint, Settings
from provisioner.model.location import Location
from provisioner.model.uapi import LinkType


class _Hook(msgspec.Struct, frozen=True):
    link_type: LinkType
    since: tuple[tuple[int, int, int], str]


_TRACING: Final = _Hook(LinkType.TRACING, ((5, 7, 0), "70ed506c3bbc"))
_LSM: Final = _Hook(LinkType.TRACING, ((5, 7, 0), "9e4e01dfd325"))
_RAW: Final = _Hook(LinkType.RAW_TRACEPOINT, ((5, 7, 0), "70ed506c3bbc"))
_PERF: Final = _Hook(LinkType.PERF_EVENT, ((5, 15, 0), "b89fbfbb854c"))

_HOOKS: Final = {
    "raw_tp": _RAW,
    "raw_tracepoint": _RAW,
    "tp_btf": _TRACING,
    "fentry": _TRACING,
    "fexit": _TRACING,
    "fmod_ret": _TRACING,
    "lsm": _LSM,
    "tp": _PERF,
    "tracepoint": _PERF,
    "kprobe": _PERF,
    "kretprobe": _PERF,
}
"""The first part of a section (ELF's, as libbpf reads it) -> the link that it gets."""

KNOWN: Final = tuple(_HOOKS)

_FUNCTION: Final = re.compile(r"(?P<name>[A-Za-z0-9_.]+)(\+(?P<offset>0x[0-9a-fA-F]+|\d+))?")


def unsupported(section: str) -> str:
    """Why `attach: auto` does not work for a section; empty if it does."""
    hook, _, target = section.partition("/")
    if _hook_name(hook) not in _HOOKS:
        return f"section `{section}` does not name a hook that `attach: auto` supports"
    if not target:
        return f"section `{section}` does not name its target"
    if _HOOKS[_hook_name(hook)] is _PERF and hook in ("tp", "tracepoint") and target.count("/") != 1:
        return f"section `{section}` does not name a category and a tracepoint"
    if hook in ("kprobe", "kretprobe") and _FUNCTION.fullmatch(target) is None:
        return f"section `{section}` does not name one function of the kernel"
    return ""


def _hook_name(hook: str) -> str:
    """`raw_tp.w` (writable) and `fentry.s` (sleepable) are attached as `raw_tp` and `fentry`."""
    return hook.removesuffix(".s").removesuffix(".w")


class BySection(Attachment, frozen=True, kw_only=True):
    """A link at the hook that the program's section names; the section is known once the object is read.

    Tracing, perf event and raw tracepoint links refuse BPF_LINK_UPDATE: a new link replaces the old one, and for a
    moment both run.
    """

    kind: ClassVar[str] = "auto"
    word: ClassVar[str] = "tracing"
    is_updatable: ClassVar[bool] = False
    capability: ClassVar[Literal["CAP_NET_ADMIN", "CAP_PERFMON"]] = "CAP_PERFMON"

    section: str = ""

    @classmethod
    def read(cls, fields: Mapping[str, str], where: Location, if_missing: IfMissing) -> Self:
        return cls(where=where, if_missing=if_missing, section=fields.get("section", ""))

    @property
    def _target(self) -> str:
        return self.section.partition("/")[2]

    @property
    def hook(self) -> str:
        return _hook_name(self.section.partition("/")[0])

    @property
    def link_type(self) -> LinkType:  # type: ignore[override]  # by the section
        return _HOOKS[self.hook].link_type

    @property
    def since(self) -> tuple[tuple[int, int, int], str]:  # type: ignore[override]
        return _HOOKS[self.hook].since

    def settings(self) -> Settings:
        return {"section": self.section}

    def describe(self) -> str:
        return self.section

    def request(self) -> LinkRequest:
        match self.hook:
            case "raw_tp" | "raw_tracepoint":
                return OpenRawTracepoint(self._target)
            case "tp" | "tracepoint":
                return OpenPerfEvent("tracepoint", self._target)
            case "kprobe" | "kretprobe" as kind:
                function = _FUNCTION.fullmatch(self._target)
                offset = int(function["offset"] or "0", 0) if function else 0
                return OpenPerfEvent(kind, function["name"] if function else self._target, offset)
            case _:
                return OpenRawTracepoint()
