"""Where a program is attached: what every kind of attachment has. The kinds are in `attach/`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

import msgspec

from provisioner.model.abstract import AbstractStruct
from provisioner.model.location import Location
from provisioner.model.uapi import TcPoint

if TYPE_CHECKING:
    from provisioner.model.observed import ObservedLink
    from provisioner.model.uapi import LinkType


class IfMissing(Enum):
    """What happens if the interface, cgroup or namespace of an attachment does not exist."""

    FAIL = "fail"
    DEFER = "defer"
    IGNORE = "ignore"
    """For views of what is live, and for CPUs that are offline, of all; a spec cannot say it."""


class AttachPoint(msgspec.Struct, frozen=True, order=True):
    """A thing of the host that programs are attached to, by its name: the kernel knows it by a number.

    That is the ifindex of an interface, the id of a cgroup, the inode of a network namespace or of a file, the number
    of a CPU, which does not exist while it is offline.
    """

    kind: Literal["interface", "cgroup", "netns", "file", "cpu"]
    name: str

    @property
    def is_shown(self) -> bool:
        """Whether the kernel shows which one a link is attached to."""
        return self.kind not in ("file", "cpu")

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Neighbour(msgspec.Struct, frozen=True):
    """Where a program runs among those at its hook: before or after another one, or first or last.

    `name` is the pin of another program of the project, or the path of a pin of another owner: a program or a link.
    It is empty for first and last.
    """

    is_before: bool
    name: str = ""

    @staticmethod
    def read(fields: Mapping[str, str]) -> Neighbour | None:
        """From `before`, `after` or `order` of the spec; None without any."""
        if fields.get("before") or fields.get("after"):
            return Neighbour(bool(fields.get("before")), fields.get("before") or fields["after"])
        return Neighbour(fields["order"] == "first") if fields.get("order") else None

    @property
    def is_foreign(self) -> bool:
        return self.name.startswith("/")

    def settings(self) -> Settings:
        if self.name:
            return {"before" if self.is_before else "after": self.name}
        return {"order": self.describe()}

    def describe(self) -> str:
        """`before guard`, `first`."""
        if self.name:
            return f"{'before' if self.is_before else 'after'} {self.name}"
        return "first" if self.is_before else "last"

    def holds(self, program: int, other: int, order: Sequence[int]) -> bool:
        """Whether a program runs where it should among programs by their ids; `other` is that of the named one."""
        if not self.name:
            return not order or order[0 if self.is_before else -1] == program
        if other not in order or program not in order:
            return True
        return (order.index(program) < order.index(other)) is self.is_before


class HookOrder(msgspec.Struct, frozen=True):
    """The programs at a hook in the order in which they run, and the one that a `Neighbour` names by a path.

    `neighbour` is 0 if that is not attached, and where none is named by a path.
    """

    programs: tuple[int, ...]
    neighbour: int = 0


class CreateLink(msgspec.Struct, frozen=True):
    """BPF_LINK_CREATE with a number of `enum bpf_attach_type`."""

    attach_type: int
    flags: int = 0


class OpenRawTracepoint(msgspec.Struct, frozen=True):
    """BPF_RAW_TRACEPOINT_OPEN; without a name, at the BTF id that the program was loaded for."""

    name: str = ""


class OpenPerfEvent(msgspec.Struct, frozen=True):
    """perf_event_open(2) and BPF_LINK_CREATE: a tracepoint, or a probe at a function of the kernel or of a file.

    With `is_syscall`, `name` is that of a system call, whose function has another name on each architecture.
    """

    kind: Literal["tracepoint", "kprobe", "kretprobe", "uprobe", "uretprobe"]
    name: str
    offset: int = 0
    is_syscall: bool = False
    file: str = ""


class OpenSampled(msgspec.Struct, frozen=True):
    """perf_event_open(2) and BPF_LINK_CREATE: the program runs at each sample of an event on a CPU.

    `type` and `config` are those of `struct perf_event_attr`. `rate` is in Hz with `is_frequency`, else the number of
    events between samples.
    """

    name: str
    type: int
    config: int
    rate: int
    is_frequency: bool
    cpu: int


class OpenMulti(msgspec.Struct, frozen=True):
    """BPF_LINK_CREATE at all functions of the kernel or of a file whose name matches a pattern with `*` and `?`."""

    kind: Literal["kprobe.multi", "kretprobe.multi", "kprobe.session", "uprobe.multi", "uretprobe.multi"]
    pattern: str
    file: str = ""


class OpenUsdt(msgspec.Struct, frozen=True):
    """BPF_LINK_CREATE at all places of a statically defined probe of a file, with its arguments."""

    file: str
    provider: str
    name: str


class FilterPlace(msgspec.Struct, frozen=True, order=True):
    """Where a tc filter is in the clsact qdisc of an interface: filters run in the order of their priorities."""

    point: TcPoint
    priority: int
    handle: int

    def describe(self) -> str:
        return f"{self.point.word}, priority {self.priority}, handle {self.handle:#x}"


NOT_BPF: Final = 0xFFFF_FFFF
"""In place of the id of a program: a filter that has none."""


class AddFilter(msgspec.Struct, frozen=True):
    """RTM_NEWTFILTER with a cls_bpf program; `kernel.filters` carries it out."""

    place: FilterPlace


LinkRequest = CreateLink | OpenRawTracepoint | OpenPerfEvent | OpenSampled | OpenMulti | OpenUsdt
"""The system call that makes a link; `kernel.links` carries it out."""

Request = LinkRequest | AddFilter
"""What attaches a program."""

Settings = Mapping[str, str | None]
"""An attachment as JSON has it, less its kind: `{"interface": "eth0", "mode": "native"}`."""


class Attachment(msgspec.Struct, frozen=True, kw_only=True, metaclass=AbstractStruct):
    """An attachment of a program, as the spec asks for it. `where` is the place of the declaration."""

    kind: ClassVar[str]
    """The key of the spec: `xdp`."""
    word: ClassVar[str]
    """What its programs are called: `XDP`."""
    link_type: ClassVar[LinkType]
    is_updatable: ClassVar[bool] = True
    """Whether BPF_LINK_UPDATE switches the program of such a link."""
    capability: ClassVar[Literal["CAP_NET_ADMIN", "CAP_PERFMON"]] = "CAP_NET_ADMIN"
    """What loading and attaching such a program needs in addition to CAP_BPF."""
    is_alone: ClassVar[bool] = False
    """Whether a link that cannot be updated must be detached before a new one is made."""
    since: ClassVar[tuple[tuple[int, int, int], str]]
    """The first release with pinned links of this kind, and the commit."""
    instead: ClassVar[str] = ""
    """What to write where the hook is not free, or the kernel too old."""

    where: Location
    if_missing: IfMissing = IfMissing.FAIL

    @classmethod
    @abstractmethod
    def read(cls, fields: Mapping[str, str], where: Location, if_missing: IfMissing) -> Self:
        """The attachment from the scalars below its key, which the schema has checked, or from the record."""

    def at_each(self, possible_cpus: int) -> tuple[Attachment, ...]:  # noqa: ARG002 (of kinds that are per CPU)
        """The attachments that it stands for on a host: one for each CPU, where a link is that of one CPU."""
        return (self,)

    @property
    def point(self) -> AttachPoint | None:
        """What must exist on the host; None for the kernel's own hooks."""
        return None

    def first_release(self) -> tuple[tuple[int, int, int], str]:
        """The first release with what this attachment needs, and the commit."""
        return self.since

    @property
    @abstractmethod
    def hook(self) -> str:
        """What distinguishes it from the other attachments of its program: `xdp on eth0`, in any mode."""

    @property
    def neighbour(self) -> Neighbour | None:
        """Where it runs among the programs at its hook; None for anywhere."""
        return None

    @property
    def room_for_one(self) -> str:
        """The hook, if it has room for one program; empty if it has room for several."""
        return ""

    def is_beside(self, other: Attachment) -> bool:
        """Whether both are at the same hook, for programs of which one can run before the other."""
        return (self.point, self.request()) == (other.point, other.request())

    @abstractmethod
    def settings(self) -> Settings:
        """Everything that the spec says, for reports and for the record."""

    @abstractmethod
    def describe(self) -> str:
        """`xdp on eth0, native`."""

    @abstractmethod
    def request(self) -> Request:
        """How the program is attached."""

    def differs(self, live: ObservedLink, recorded: Settings | None) -> str:
        """Why the live link must be recreated, with any program; empty if it need not be.

        `recorded` are the settings that it was made with, None if they are unknown.
        """
        if live.type != self.link_type:
            return f"the live link is of type {live.type}, not {self.link_type.value}"
        request = self.request()
        if isinstance(request, CreateLink) and live.attach_type not in (0, request.attach_type):
            return f"the live link has attach type {live.attach_type}, not {request.attach_type}"
        return "; ".join(
            f"{name} {recorded[name]} -> {value}"
            for name, value in self.settings().items()
            if recorded is not None and name in recorded and recorded[name] != value
        )
