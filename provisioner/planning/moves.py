"""What a plan does and refuses of the names that changed. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.model.observed import ObservedState
from provisioner.planning.hazards import Overrides, Refusal
from provisioner.planning.steps import MovePins


def steps(observed: ObservedState) -> list[MovePins]:
    """The step that makes the moves; none if all are done. It also stands for names in the record alone."""
    return [MovePins(observed.moves.pending)] if observed.moves.pending else []


def refusals(observed: ObservedState, overrides: Overrides) -> Iterator[Refusal]:
    """Moves that would put one live thing in the place of another, or take what is not the project's."""
    for move in observed.moves.conflicts:
        what = f"the spec moves `{move.old}` to `{move.new}`, and both are pinned"
        hint = "remove the pin that is not in use, or the entry of `moved`"
        yield Refusal("moved-both-live", move.new, what, "", move.where, hint)
    for each in observed.moves.pending:
        if not each.is_ours and not overrides.take_over:
            what = f"no record says that this project pinned `{each.move.old}`, which the spec moves"
            yield Refusal("ownership", each.move.new, what, "--take-over", each.move.where)
