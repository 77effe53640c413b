"""Whether there is room in the kernel for what a plan makes: refused with the figures, instead of an OOM kill."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from provisioner.errors import HostError, Problem
from provisioner.kernel.memory import Headroom, headrooms, memlock_headroom
from provisioner.planning.footprint import Footprint, estimate
from provisioner.planning.hazards import Hazard, Overrides, Severity
from provisioner.planning.plan import Plan
from provisioner.words import size

_SMALL: Final = 1 << 20
"""Bytes that are not worth a look at what is left."""


def warned(plan: Plan) -> Plan:
    """The plan, with a hazard for each limit that it would exceed. Reads files alone."""
    footprint = estimate(plan)
    short = _exceeded(footprint)
    hazards = (Hazard("kernel-memory", Severity.DANGER, "", _what(footprint, one)) for one in short)
    return replace(plan, hazards=(*plan.hazards, *hazards)) if short else plan


def refuse_overcommit(plan: Plan, overrides: Overrides) -> None:
    """Raise HostError with every limit that the plan would exceed; RLIMIT_MEMLOCK where it is found to count."""
    footprint = estimate(plan)
    if overrides.allow_overcommit or footprint.needed < _SMALL:
        return
    short = _exceeded(footprint)
    memlock = memlock_headroom(footprint.needed)
    if memlock is not None:
        short.append(memlock)
    if short:
        raise HostError(
            *(
                Problem(_what(footprint, one), hint=f"{one.hint}; --allow-overcommit applies it all the same")
                for one in short
            )
        )


def _exceeded(footprint: Footprint) -> list[Headroom]:
    """The limits below what is needed."""
    return [] if footprint.needed < _SMALL else [one for one in headrooms() if one.left < footprint.needed]


def _what(footprint: Footprint, one: Headroom) -> str:
    back = f" ({size(footprint.freed)} less once it is verified)" if footprint.freed else ""
    return f"this needs about {size(footprint.needed)} of kernel memory{back}, and {one.what} has {size(one.left)} left"
