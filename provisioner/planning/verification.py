"""Plans against what is live now: whether one is stale before an apply, and what still differs after it."""

from __future__ import annotations

from provisioner.model.errors import Problem, RefusedError
from provisioner.planning.changes import Action
from provisioner.planning.hazards import refuse_blocked
from provisioner.planning.plan import Plan
from provisioner.planning.steps import MovePins, MoveRoot, MoveSlots, PinInnerMaps, SetAccess


def refuse_stale(current: Plan, expected: str | None) -> None:
    if expected is None or current.digest == expected:
        return
    if any(live.probed is not None and live.probed.why for live in current.observed.maps.values()):
        refuse_blocked(current.blocked)  # the result of the probe made it another plan
    raise RefusedError(
        Problem("the spec or the live state changed after the plan was made", hint="plan again", id="stale-plan")
    )


def remaining(after: Plan) -> tuple[Problem, ...]:
    """The differences that a plan after an apply shows: none, unless another process writes, or there is a bug."""
    actions: list[tuple[str, Action]] = [(name, change.action) for name, change in after.maps.items()]
    actions += [(name, change.action) for name, change in after.objects.items()]  # one can have the name of a map
    actions += [(change.pin, change.action) for change in after.links if change.action is not Action.KEEP]
    actions += [
        (step.describe(), Action.UPDATE)
        for step in after.steps
        if isinstance(step, MoveRoot | MovePins | MoveSlots | PinInnerMaps | SetAccess)
    ]
    return tuple(
        Problem(
            "still differs after the apply", hint="another process may write to it", address=name, id="not-converged"
        )
        for name, action in actions
        if action is not Action.UNCHANGED
    )
