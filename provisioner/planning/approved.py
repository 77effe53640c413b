"""Approvals of a spec: which refusals of a plan they lift. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from provisioner.model.approval import APPROVABLE, Approval
from provisioner.model.record import Meta
from provisioner.planning.hazards import Hazard, Refusal, Severity


class Approved(msgspec.Struct, frozen=True):
    """A refusal that the plan does not heed, because the spec approves it."""

    refusal: Refusal
    approval: Approval

    def __str__(self) -> str:
        return f"{self.refusal.rule} of {self.refusal.address or 'the project'} by {self.approval.name}"


def judge(
    blocked: Iterable[Refusal], approvals: Sequence[Approval], meta: Meta | None
) -> tuple[tuple[Refusal, ...], tuple[Approved, ...]]:
    """The refusals that stay, and those that are approved. `meta` has the approvals that were used before."""
    used = frozenset(meta.approvals) if meta is not None else frozenset()
    left: list[Refusal] = []
    lifted: list[Approved] = []
    for refusal in blocked:
        known = [each for each in approvals if (each.rule, each.address) == (refusal.rule, refusal.address)]
        valid = next((each for each in known if each.is_current and each.key not in used), None)
        if valid is not None and refusal.rule in APPROVABLE:
            lifted.append(Approved(refusal, valid))
        elif known:
            hints = filter(None, (refusal.hint, _invalid(known[-1], used)))
            left.append(replace(refusal, hint="; ".join(hints)))
        else:
            left.append(refusal)
    return tuple(left), tuple(lifted)


def _invalid(approval: Approval, used: frozenset[str]) -> str:
    if approval.key in used:
        return f"the approval {approval.name} was used: give the new one another `id`"
    return f"the approval {approval.name} expired on {approval.until}" if approval.until else ""


def hazards(lifted: Iterable[Approved]) -> Iterator[Hazard]:
    """What is done because the spec approves it."""
    for each in lifted:
        until = f", until {each.approval.until}" if each.approval.until else ""
        what = f"{each.refusal.message} ({each.refusal.rule}): approved once by {each.approval.name}{until}"
        yield Hazard("approved", Severity.DANGER, each.refusal.address, what)


def recorded(before: Meta | None, approvals: Sequence[Approval], lifted: Sequence[Approved]) -> tuple[str, ...]:
    """The used approvals of the record after the plan. Those that the spec no longer has go with the next used one."""
    known = before.approvals if before is not None else ()
    if not lifted:
        return known
    declared = {each.key for each in approvals}
    return tuple(sorted({*declared.intersection(known), *(each.approval.key for each in lifted)}))
