"""Whether the kernel has memory for what a plan creates: refused with the figures, instead of an OOM kill. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from msgspec.structs import replace

from provisioner.model.errors import HostError, Problem
from provisioner.model.host import Headroom
from provisioner.model.words import size
from provisioner.planning.footprint import Footprint, estimate
from provisioner.planning.hazards import Hazard, Overrides, Severity
from provisioner.planning.plan import Plan

_SMALL: Final = 1 << 20
"""Below so many bytes, the free memory is not checked."""


def warned(plan: Plan, headrooms: Callable[[], Iterable[Headroom]]) -> Plan:
    """The plan, with a hazard for each limit that it would exceed. `headrooms` is called if the plan is not small."""
    footprint = estimate(plan)
    short = _exceeded(footprint, headrooms)
    hazards = (Hazard("kernel-memory", Severity.DANGER, "", _what(footprint, one)) for one in short)
    return replace(plan, hazards=(*plan.hazards, *hazards)) if short else plan


def refuse_overcommit(
    plan: Plan,
    overrides: Overrides,
    headrooms: Callable[[], Iterable[Headroom]],
    memlock_headroom: Callable[[int], Headroom | None],
) -> None:
    """Raise HostError with every limit that the plan would exceed.

    `memlock_headroom` gives RLIMIT_MEMLOCK where the kernel charges maps to it and it is below the bytes needed.
    """
    footprint = estimate(plan)
    if overrides.allow_overcommit or footprint.needed < _SMALL:
        return
    short = _exceeded(footprint, headrooms)
    memlock = memlock_headroom(footprint.needed)
    if memlock is not None:
        short.append(memlock)
    if short:
        raise HostError(
            *(
                Problem(_what(footprint, each), hint=f"{each.hint}; --allow-overcommit allows it", id="kernel-memory")
                for each in short
            )
        )


def _exceeded(footprint: Footprint, headrooms: Callable[[], Iterable[Headroom]]) -> list[Headroom]:
    """The limits below what is needed."""
    if footprint.needed < _SMALL:
        return []
    return [headroom for headroom in headrooms() if headroom.left < footprint.needed]


def _what(footprint: Footprint, headroom: Headroom) -> str:
    back = f" ({size(footprint.freed)} less once it is verified)" if footprint.freed else ""
    needed = f"this needs about {size(footprint.needed)} of kernel memory{back}"
    return f"{needed}, and {headroom.what} has {size(headroom.left)} left"
