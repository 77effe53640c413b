"""Renames pins and directories whose names the spec changed. What they hold stays as it is."""

from __future__ import annotations

from provisioner.apply import identity
from provisioner.apply.transaction import Transaction
from provisioner.kernel import bpffs
from provisioner.model.errors import Problem, RefusedError
from provisioner.model.pins import INNER_PINS
from provisioner.planning.steps import MovePins


def move(tx: Transaction, step: MovePins) -> None:
    """Rename each pin. Raises RefusedError if it is not the one that the plan saw, or the new name is taken by now."""
    for each in step.moves:
        for old, new in each.renames:
            if old.startswith(f"{INNER_PINS}/"):
                _move_directory(tx, old, new)
            else:
                _move_pin(tx, old, new)


def _move_pin(tx: Transaction, old: str, new: str) -> None:
    before, after = tx.root / old, tx.root / new
    held = identity.planned(tx.plan, new)
    if held is not None:
        identity.require(before, held, old)
    held = held or identity.at(before)
    if identity.at(after) is not None:
        what, hint = "pin was created after the plan was made", "plan again, and check which process pins there"
        raise RefusedError(Problem(what, hint=hint, address=new, id="changed-since-plan"))

    def undo() -> None:
        if identity.at(after) == held:
            identity.leave_to_others(before, (), old)
            bpffs.rename(after, before)

    with tx.noting(f"{new}, which was {old}", undo):
        bpffs.rename(before, after)


def _move_directory(tx: Transaction, old: str, new: str) -> None:
    before, after = tx.root / old, tx.root / new

    def undo() -> None:
        if after.is_dir() and not before.exists():
            bpffs.rename(after, before)

    with tx.noting(f"the pins of inner maps in {new}", undo):
        bpffs.rename(before, after)
