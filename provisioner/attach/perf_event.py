"""Programs that samples of an event run: of the clock, of page faults, of the cycles of a CPU. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Final, Literal, Self

from msgspec.structs import replace

from provisioner.model.attachment import Attachment, AttachPoint, IfMissing, OpenSampled, Settings
from provisioner.model.location import Location
from provisioner.model.uapi import LinkType

_HARDWARE, _SOFTWARE, _RAW = 0, 1, 4
"""PERF_TYPE_HARDWARE, PERF_TYPE_SOFTWARE, PERF_TYPE_RAW."""

_SOFTWARE_EVENTS: Final = (
    *("cpu_clock", "task_clock", "page_faults", "context_switches", "cpu_migrations"),
    *("page_faults_min", "page_faults_maj", "alignment_faults", "emulation_faults"),
)
_HARDWARE_EVENTS: Final = (
    *("cpu_cycles", "instructions", "cache_references", "cache_misses", "branch_instructions"),
    *("branch_misses", "bus_cycles", "stalled_cycles_frontend", "stalled_cycles_backend", "ref_cpu_cycles"),
)

EVENTS: Final[Mapping[str, tuple[int, int]]] = {
    **{name: (_SOFTWARE, number) for number, name in enumerate(_SOFTWARE_EVENTS)},
    **{name: (_HARDWARE, number) for number, name in enumerate(_HARDWARE_EVENTS)},
}
"""Names of events -> `type` and `config` of `struct perf_event_attr`: `enum perf_sw_ids`, `enum perf_hw_id`."""


class PerfEvent(Attachment, frozen=True, kw_only=True):
    """A bpf_link on a sampled event of one CPU. `cpu` is None in a spec, from which `at_each` makes one for each CPU.

    The kernel shows neither the CPU nor the rate of a link, so the record keeps them. `cpus` is a list as in
    /sys/devices/system/cpu/online, empty for all. `rates` counts the fields for the rate, of which a spec has one.
    """

    kind: ClassVar[str] = "perf_event"
    word: ClassVar[str] = "perf event"
    link_type: ClassVar[LinkType] = LinkType.PERF_EVENT
    is_updatable: ClassVar[bool] = False
    capability: ClassVar[Literal["CAP_NET_ADMIN", "CAP_PERFMON"]] = "CAP_PERFMON"
    since: ClassVar[tuple[tuple[int, int, int], str]] = ((5, 15, 0), "b89fbfbb854c")

    event: str
    period: int = 0
    frequency: int = 0
    cpus: str = ""
    cpu: int | None = None
    rates: int = 1

    @classmethod
    def read(cls, fields: Mapping[str, str], where: Location, if_missing: IfMissing) -> Self:
        cpus = fields.get("cpus", "")
        if not cpus and "if_missing" not in fields:
            if_missing = IfMissing.IGNORE  # all CPUs are those that are online
        return cls(
            where=where,
            if_missing=if_missing,
            event=fields.get("event", ""),
            period=_number(fields.get("sample_period")),
            frequency=_number(fields.get("sample_freq")),
            cpus=cpus,
            cpu=_number(fields["cpu"]) if "cpu" in fields else None,
            rates=sum(name in fields for name in ("sample_period", "sample_freq")),
        )

    def at_each(self, possible_cpus: int) -> tuple[Attachment, ...]:
        numbers = cpu_numbers(self.cpus) if self.cpus else range(possible_cpus)
        return tuple(replace(self, cpus="", cpu=number) for number in numbers)

    @property
    def point(self) -> AttachPoint | None:
        return AttachPoint("cpu", str(self.cpu)) if self.cpu is not None else None

    @property
    def hook(self) -> str:
        place = f"cpu {self.cpu}" if self.cpu is not None else f"cpus {self.cpus or 'all'}"
        return f"{self.event} on {place}"

    def settings(self) -> Settings:
        rate = ("sample_freq", self.frequency) if self.frequency else ("sample_period", self.period)
        place = {"cpu": str(self.cpu)} if self.cpu is not None else {"cpus": self.cpus or None}
        return {"event": self.event, rate[0]: str(rate[1]), **place}

    def describe(self) -> str:
        return f"{self.hook}, {f'{self.frequency} Hz' if self.frequency else f'each {self.period}'}"

    def request(self) -> OpenSampled:
        kind, config = EVENTS.get(self.event) or (_RAW, int(self.event.removeprefix("r"), 16))
        rate = self.frequency or self.period
        return OpenSampled(self.event, kind, config, rate, bool(self.frequency), self.cpu or 0)


def is_list(text: str) -> bool:
    """Whether a text is a list of CPUs, as in the schema."""
    return re.fullmatch("[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*", text) is not None


def cpu_numbers(text: str) -> tuple[int, ...]:
    """The CPUs in a list: `0-3,8`. None where a range ends before it begins, or the text is no list."""
    if not is_list(text):
        return ()
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers))


def _number(text: str | None) -> int:
    """0 if the spec has none, or one that the schema refuses."""
    return int(text) if text and re.fullmatch("[0-9]{1,10}", text) else 0
