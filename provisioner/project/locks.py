"""The locks of a project: of its pin root, and of the other directories that it writes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from provisioner.kernel import bpffs
from provisioner.kernel.locking import Lock, lock
from provisioner.kernel.reasons import KernelError
from provisioner.model.desired import DesiredState
from provisioner.model.errors import LockedError, Problem, ProvisionerError
from provisioner.model.pins import LOCK
from provisioner.planning.plan import Plan


@contextmanager
def writing(desired: DesiredState, timeout: float) -> Iterator[list[Lock]]:
    """`locked`, for an apply: a pin root that was created for it, and in which nothing is pinned then, is removed."""
    root = Path(desired.pin_root)
    existed = root.exists()
    with locked(desired, timeout, create=True) as locks:
        try:
            yield locks
        except BaseException as error:
            try:
                _remove_empty(locks[-1], existed)
            except ProvisionerError as left:  # what ended the apply comes first
                if isinstance(error, ProvisionerError):
                    error.problems += left.problems
            raise
        _remove_empty(locks[-1], existed)


def _remove_empty(held: Lock, existed: bool) -> None:
    """Remove a pin root that was created for an apply, and in which nothing is pinned."""
    if not existed and not bpffs.list_pins(held.directory):
        held.remove_directory()


@contextmanager
def locked(desired: DesiredState, timeout: float, *, create: bool = False) -> Iterator[list[Lock]]:
    """Hold the lock of the pin root, of older ones, and of the directories that adopted maps are pinned in.

    Each has one writer. The pin root comes last: if another lock is held, it is not created.
    """
    root = Path(desired.pin_root)
    elsewhere = [map_.adopted or map_.place for map_ in desired.maps.values()]
    others = {Path(os.path.realpath(Path(path).parent)) for path in elsewhere if path is not None}
    others.discard(Path(os.path.realpath(root)))
    olds = {Path(move.old) for move in desired.moved_roots if bpffs.list_pins(Path(move.old))}
    for directory in olds:
        bpffs.check(directory)
    with ExitStack() as held:
        locks = []
        there = (each for each in others | olds if bpffs.call("stat", each, each.is_dir))
        for directory in sorted(there):
            try:
                locks.append(held.enter_context(lock(directory, timeout)))
            except KernelError as error:
                if directory not in olds or error.errno != errno.ENOENT:
                    raise  # else, the process that held the lock moved the directory
        yield [*locks, held.enter_context(lock(root, timeout, create=create))]


def remove_unused(root: Path) -> None:
    """Remove a pin root in which nothing is pinned: an apply that was killed created it, to move the project there.

    One that another process has locked stays: it is in use.
    """
    if root.is_symlink() or not root.is_dir():
        return
    with suppress(LockedError), lock(root) as held:
        if not bpffs.list_pins(root) and not {*bpffs.list_folders(root)} - {LOCK}:
            held.remove_directory()


def require_lock(current: Plan, locks: Sequence[Lock]) -> None:
    """Raise LockedError where the plan moves a pin root that was pinned after the others were locked."""
    move = current.observed.moves.root
    if move is not None and Path(move.old) not in {each.directory for each in locks}:
        what, hint = "the pin root was created after the locks were taken, and is not locked", "try again"
        raise LockedError(Problem(what, None, hint, move.old, id="locked"))
