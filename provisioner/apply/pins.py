"""Changing pins: new ones under temporary names, then under the final ones; and the record of what is owned."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from msgspec.structs import replace

from provisioner.apply import as_planned, identity
from provisioner.apply.transaction import Transaction
from provisioner.kernel import bpffs, links, maps
from provisioner.kernel.fd import Fd
from provisioner.kernel.locking import remove_locked
from provisioner.model.access import AS_MADE
from provisioner.model.errors import Problem, RefusedError
from provisioner.model.pins import INNER_PINS, LOCK, META_PIN, access_of, is_temporary
from provisioner.model.record import Meta
from provisioner.observed import metamap
from provisioner.planning.changes import Action
from provisioner.planning.steps import ClaimPinRoot, Detach, RecordMeta, RemoveDirectories, SetAccess, Unpin


def claim(tx: Transaction, step: ClaimPinRoot) -> None:
    """Make the pin root, and record what is about to be pinned there and which objects are being loaded."""
    if not tx.plan.observed.exists:
        tx.note("the pin root", lambda: _remove_empty(tx.root), visible=False)
    bpffs.ensure_dir(tx.root, tx.access)
    before = tx.plan.observed.meta or Meta(tx.plan.desired.project, {}, {}, {}, {})
    pending = dict(before.objects) | dict.fromkeys(step.pending, "")
    pins = tuple(sorted({*before.pins, *step.pins}))
    places = dict(before.places) | dict(step.places)
    directories = tuple(sorted({*before.directories, *step.directories}))
    project = tx.plan.desired.project
    _record(tx, replace(before, project=project, objects=pending, pins=pins, places=places, directories=directories))
    for path in map(Path, step.directories):
        tx.note(f"directory {path}", partial(_remove_unless_used, path), visible=False)
        bpffs.ensure_dir(path, AS_MADE)


def _remove_unless_used(path: Path) -> None:
    """Remove a directory outside of the pin root, unless another process uses it by now."""
    if not bpffs.list_pins(path) and set(bpffs.list_folders(path)) <= {LOCK}:
        remove_locked(path)


def remove_directories(step: RemoveDirectories) -> None:
    """Remove directories that were created for pins, the deepest first."""
    for path in reversed(step.paths):
        _remove_unless_used(Path(path))


def _remove_empty(folder: Path) -> None:
    """Remove a directory, unless another process has pinned something in it by now."""
    if not bpffs.list_pins(folder):
        remove_locked(folder)


def record(tx: Transaction, step: RecordMeta) -> None:
    """Record that all is done, the ids of the pinned maps, and which of them the programs were loaded with."""
    used = dict(step.meta.used_maps) if tx.plan.targets else {}
    for desired in (change.desired for change in tx.plan.objects.values()):
        pinned: set[int] = set()
        for path in (*map(tx.path, desired.maps), *map(Path, desired.reused.values())):
            with maps.open_pin(path) as fd:
                pinned.add(maps.info(fd).id)
        for program in desired.programs:
            with links.open_program_pin(tx.path(program.pin)) as running:
                used[program.pin] = tuple(sorted(pinned.intersection(links.program_info(running).map_ids)))
    # Paths outside of the pin root that the spec left are the project's as long as the map there is the recorded one.
    left = step.meta.maps if tx.plan.targets else step.meta.places
    ids = {name: number for name, number in step.meta.maps.items() if name in left}
    names = {name for change in tx.plan.objects.values() for name in change.desired.maps}
    own = {
        name
        for name, change in tx.plan.maps.items()
        if change.desired.adopted is None and change.action is not Action.DELETE
    }
    for name in sorted(names | own):
        with maps.open_pin(tx.path(name), readonly=True) as fd:
            ids[name] = int(maps.info(fd).id)
    _record(tx, replace(step.meta, used_maps=used, maps=ids))


def _record(tx: Transaction, meta: Meta) -> None:
    before, path = tx.recorded, tx.path(META_PIN)
    if before == meta:
        return
    if before is None:
        tx.note(META_PIN, lambda: _forget(tx, path), visible=False)
    else:
        tx.note(META_PIN, lambda: metamap.write(path, before, tx.access), visible=False)
    metamap.write(path, meta, tx.access)
    tx.recorded = meta


def _forget(tx: Transaction, record: Path) -> None:
    """Remove the first record, unless something of ours stays: the next apply is to know whose it is."""
    if not tx.journal.keeps:
        bpffs.unpin(record)


def pin_new(tx: Transaction, fd: Fd, name: str) -> None:
    """Pin something under a temporary name."""
    path = tx.new_path(name)
    tx.note(f"new pin of {name}", lambda: bpffs.unpin(path), visible=False)
    bpffs.pin(fd, path, tx.access)


def put_in_place(tx: Transaction, name: str, *, over: bool) -> None:
    """Give a new pin its final name by one rename; the pin that it replaces (`over`) is kept under another one.

    Raises RefusedError if that is not the pin that the plan saw. A rollback keeps what another process pinned.
    """
    final, old = tx.path(name), tx.old_path(name)
    before = identity.planned(tx.plan, name) if over else None
    ours = before, identity.at(tx.new_path(name))
    if final.exists():
        if before is None:
            what, hint = "pin was created after the plan was made", "plan again, and check which process pins there"
            raise RefusedError(Problem(what, hint=hint, address=name, id="changed-since-plan"))
        with identity.open_same(final, *before, name) as fd:
            bpffs.pin(fd, old, bpffs.access(final))
        identity.require(final, before, name)  # just before the rename: it cannot be one with it
        put_back = partial(bpffs.rename, old, final)
    else:
        put_back = partial(bpffs.unpin, final)

    def undo() -> None:
        identity.leave_to_others(final, ours, name)
        put_back()

    tx.note(f"pin {name}", undo)
    is_kept = old.exists()
    bpffs.rename(tx.new_path(name), final)
    if is_kept:
        _check_carried(tx, name)


def _check_carried(tx: Transaction, name: str) -> None:
    """Raise RefusedError if slots of an outer map changed whose inner maps are in the new one: that would be lost.

    By now, who opens the pin writes to the new map. A rollback brings the old one back.
    """
    change = tx.plan.maps.get(name)
    if change is not None and change.desired.outer is not None and change.keeps_contents:
        with maps.open_pin(tx.old_path(name), readonly=True) as old:
            as_planned.check_same_maps(old, change)


def set_access(tx: Transaction, step: SetAccess) -> None:
    """Give pins and directories the mode and group that the spec says."""
    for pin in step.pins:
        path, live = tx.root / pin, identity.planned(tx.plan, pin)
        if live is not None:
            identity.require(path, live, pin)
        tx.note(f"mode of {pin}", partial(bpffs.set_access, path, bpffs.access(path)), visible=False)
        bpffs.set_access(path, access_of(tx.plan.desired, tx.plan.observed.gid, pin))


def remove(tx: Transaction, name: str) -> None:
    """Take a pin away; it is kept under another name until all is done.

    Raises RefusedError if another process pinned something in its place after the plan was made.
    """
    path, old = tx.path(name), tx.old_path(name)
    before = identity.planned(tx.plan, name)
    if before is not None:
        identity.require(path, before, name)
    held = before or identity.at(path)

    def undo() -> None:
        if identity.at(path) != held:
            identity.leave_to_others(path, (), name)
            bpffs.rename(old, path)

    with tx.noting(f"removal of pin {name}", undo, is_removal=True):
        bpffs.rename(path, old)


def require_removable(tx: Transaction) -> None:
    """Raise RefusedError, before anything is done, where the pin root holds what the plan does not remove."""
    planned = {META_PIN, *(step.pin for step in tx.plan.steps if isinstance(step, Detach | Unpin))}
    planned |= tx.plan.observed.moves.renames.keys()
    pins = [name for name in bpffs.list_pins(tx.root) if name not in planned and not is_temporary(name)]
    directories = [name for name in bpffs.list_folders(tx.root) if name not in (INNER_PINS, LOCK)]
    if pins or directories:
        what = f"pin root has entries that the project does not own: {', '.join([*pins, *directories][:5])}"
        hint = "remove or move them, then run destroy again"
        raise RefusedError(
            Problem(what, None, hint, str(tx.root), id="foreign-pins" if pins else "foreign-directories")
        )


def remaining(tx: Transaction) -> tuple[str, ...]:
    """What a destroy that failed leaves: the pin root, and what is pinned in it."""
    if not tx.is_here():
        return (f"what is left in the pin root that was at {tx.root}",)
    kept = [f"pin {name}" for name in bpffs.list_pins(tx.root) if not is_temporary(name)]
    kept += [f"directory {name}" for name in bpffs.list_folders(tx.root) if name != LOCK]
    return (*kept, f"pin root {tx.root}")


def remove_root(tx: Transaction) -> None:
    """Remove the pin root, and what was kept in it: the last step of destroy."""
    tx.sweep(everything=True)
    remove_locked(tx.root)
