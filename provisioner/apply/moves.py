"""Renames pins and directories whose names the spec changed, and the pin root. What they hold stays as it is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from provisioner.apply import identity
from provisioner.apply.journal import Undo
from provisioner.apply.transaction import Transaction
from provisioner.kernel import bpffs
from provisioner.kernel.reasons import KernelError
from provisioner.model.errors import Problem, RefusedError
from provisioner.model.pins import INNER_PINS, LOCK
from provisioner.planning.steps import MovePins, MoveRoot


def move(tx: Transaction, step: MovePins) -> None:
    """Rename each pin. Raises RefusedError if it is not the one that the plan saw, or the new name is taken by now."""
    for each in step.moves:
        for old, new in each.renames:
            if old.startswith(f"{INNER_PINS}/"):
                _move_directory(tx, old, new)
            else:
                _move_pin(tx, old, new)


def move_root(tx: Transaction, step: MoveRoot) -> None:
    """Rename the pin root, which puts all that is in it in the new place at once; the caller holds both locks."""
    old, new = Path(step.old), tx.root
    moved = bpffs.place(old)

    def undo() -> None:
        if bpffs.place(new) != moved:
            _remove_if_empty(new)
            return
        try:
            tx.sweep()
        finally:
            if old.exists():
                what, hint = "another process created the old pin root during the apply", f"look at {old}, and at {new}"
                raise RefusedError(Problem(what, hint=hint, address=str(old), id="changed-meanwhile"))
            bpffs.rename(new, old)

    with tx.journal.noting(Undo(f"pin root {new}, which was {old}", undo)):
        # The directory that we locked is there. A rename takes the place of one that is empty.
        bpffs.remove_dir(new / LOCK)
        try:
            bpffs.rename(old, new)
        except KernelError:
            _remove_if_empty(new)
            raise
    tx.begin_in(moved)


def _remove_if_empty(directory: Path) -> None:
    with suppress(KernelError):
        bpffs.remove_dir(directory)


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
