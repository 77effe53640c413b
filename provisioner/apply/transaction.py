"""What the steps of one apply share: the plan, the journal, the stashes, and where maps are pinned right now."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from provisioner.apply import failures, identity, waves
from provisioner.apply.copies import Copies
from provisioner.apply.journal import Journal, Undo
from provisioner.apply.outcome import Options
from provisioner.apply.progress import Progress, count_staged
from provisioner.apply.stash import Stash
from provisioner.kernel import bpffs, host, inner_pins, links, maps
from provisioner.kernel.fd import InnerId, MapFd, ProgramFd
from provisioner.kernel.inner_pins import InnerPins
from provisioner.kernel.reasons import KernelError
from provisioner.model.access import Access
from provisioner.model.desired import DesiredProgram, Owner
from provisioner.model.errors import HostError, InterruptError, Problem, Problems, ProvisionerError, RefusedError
from provisioner.model.pins import (
    INNER_PINS,
    NEW_PREFIX,
    OLD_PREFIX,
    TEMPORARY_PREFIXES,
    inner_directory,
    map_path,
    own_path,
    stale_inner_pins,
)
from provisioner.observed.live_source import LiveSource, inner_maps
from provisioner.planning.changes import Action, MapChange
from provisioner.planning.plan import Plan
from provisioner.planning.steps import CreateMap, PublishSlots, RecordMeta, WriteEntries


class Transaction:
    """One apply under way. `fresh` are the maps of the generation being loaded: pinned, but not yet in place.

    `recorded` is what `_meta` holds by now; `rewritten` are the ids of filter records that this apply wrote again, by
    pin. `unpin_inner` says that inner maps lose their pins at the end: a rollback may have to open them by these.
    `copies` are what was copied from maps that are migrated, by name, until programs use the new ones.
    """

    def __init__(self, plan: Plan, options: Options) -> None:
        self.plan = plan
        self.options = options
        self.root = Path(plan.desired.pin_root)
        self.journal = Journal()
        self.progress = Progress(report=self._report, pause=self.stop_if_interrupted)
        if options.progress is not None:
            self._count_staged()
        self.wave = waves.wave_size(host.raise_nofile_limit())
        self.stagers = waves.STAGERS
        self.fresh: set[str] = set()
        self.recorded = self._recorded_before = plan.observed.stored or plan.observed.meta
        self.rewritten: dict[str, int] = {}
        self.unpin_inner = False
        self.copies: dict[str, Copies] = {}
        self.access = Access(plan.desired.pin_mode, plan.observed.gid)
        self._stashes: dict[str, Stash] = {}
        self._place = bpffs.place(self.root)

    def _count_staged(self) -> None:
        for step in self.plan.steps:
            match step:
                case CreateMap() if self.plan.maps[step.map].desired.outer is not None:
                    change = self.plan.maps[step.map]
                    count_staged(self.progress, change, np.flatnonzero(change.slots.desired >= 0))
                case PublishSlots():
                    count_staged(self.progress, self.plan.maps[step.map], step.slots)
                case _:
                    pass

    def path(self, pin: str) -> Path:
        """Where a pin of the project is, by its name; a path outside of the pin root is itself."""
        return Path(own_path(self.plan.desired, pin))

    def new_path(self, pin: str) -> Path:
        return self.root / f"{NEW_PREFIX}{pin.replace('/', '-')}"

    def old_path(self, pin: str) -> Path:
        return self.root / f"{OLD_PREFIX}{pin.replace('/', '-')}"

    def open(self, change: MapChange) -> MapFd:
        """The map of a change, wherever it is pinned now: one that was observed, or one that this apply made.

        Raises RefusedError if another process unpinned it, or pinned something else in its place.
        """
        if change.name in self.fresh:
            return maps.open_pin(self.new_path(change.name))
        path = Path(map_path(self.plan.desired, change.desired))
        if change.observed is None or change.action in (Action.CREATE, Action.REPLACE):
            return maps.open_pin(path)
        return identity.open_same(path, MapFd, change.observed.id, change.name)

    def open_object_map(self, name: str) -> MapFd:
        """A map of an object: the one of the generation that is being loaded, or the one in place."""
        if name in self.fresh:
            return maps.open_pin(self.new_path(name))
        return identity.open_same(self.path(name), MapFd, self.plan.observed.object_maps[name].id, name)

    def open_program(self, pin: str) -> ProgramFd:
        """The program of the generation that is being loaded, or the one in place."""
        new = self.new_path(pin)
        if new.exists():
            return links.open_program_pin(new)
        return identity.open_same(self.path(pin), ProgramFd, self.plan.observed.programs[pin].id, pin)

    def open_owner(self, owner: Owner) -> ProgramFd | MapFd:
        """What is to be attached: of the generation that is being loaded, or what is in place."""
        return self.open_program(owner.pin) if isinstance(owner, DesiredProgram) else self.open_object_map(owner.pin)

    def reopen(self, change: MapChange) -> MapFd | None:
        """The map of a change, to take back what was done to it: by its id if it lost its pin, None if it is gone."""
        try:
            return self.open(change)
        except RefusedError:
            assert change.observed is not None
            try:
                return maps.open_id(InnerId(change.observed.id))
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
                return None

    def note(self, what: str, undo: Callable[[], None], *, visible: bool = True, is_removal: bool = False) -> None:
        """Note how something below the pin root is taken back: in that directory, and in no other of its name."""
        self.journal.note(what, self._in_place(undo), visible=visible, is_removal=is_removal)

    def noting(self, what: str, undo: Callable[[], None], *, is_removal: bool = False) -> AbstractContextManager[None]:
        """Note what is done inside below the pin root. Where the kernel refuses it, there is nothing to take back."""
        return self.journal.noting(Undo(what, self._in_place(undo), is_removal=is_removal))

    def _in_place(self, undo: Callable[[], None]) -> Callable[[], None]:
        def checked() -> None:
            self.check_root()
            undo()

        return checked

    def check_root(self) -> None:
        """Raise HostError where the pin root is not the directory any more that this began with."""
        bpffs.require_place(self.root, self._place)

    def begin_in(self, place: tuple[int, int] | None) -> None:
        """From now on, the pin root is another directory: one that was renamed, as device and inode number."""
        self._place = place

    def is_here(self) -> bool:
        """Whether the pin root is the directory that this began with."""
        return self._place is not None and bpffs.place(self.root) == self._place

    def stash(self, name: str) -> Stash:
        """The stash of an outer map."""
        return self._stashes.setdefault(name, Stash(self.inner(name)))

    def inner(self, name: str) -> InnerPins:
        """The inner maps of an outer map: how they are opened, and where they are pinned if the spec says so be."""
        return inner_maps(self.plan.desired, name, self.access)

    def make_inner_folder(self, name: str) -> None:
        """Have a directory for the pins of an outer map's inner maps, if they shall have pins."""
        directory = inner_directory(self.plan.desired, name)
        if directory is not None and not Path(directory).is_dir():
            self.note(f"the pins of inner maps of {name}", self._sweep_inner, visible=False)
            for needed in (Path(directory).parent, Path(directory)):
                bpffs.ensure_dir(needed)
                bpffs.set_access(needed, self.access.of_folders)  # of one, too, that a killed apply made and no more

    def sweep(self, *, everything: bool = False) -> None:
        """Remove temporary pins, and those of inner maps in no slot; one that cannot go does not keep the others.

        `everything` says that no inner map is to have a pin any more.
        """
        problems = Problems()
        for name in bpffs.list_pins(self.root):
            if name.startswith(TEMPORARY_PREFIXES) or name in self.plan.observed.leftovers:
                try:
                    bpffs.unpin(self.path(name))
                except ProvisionerError as error:
                    problems.extend(error.problems)
        try:
            self._sweep_inner(everything=everything)
        except ProvisionerError as error:
            problems.extend(error.problems)
        problems.raise_if_any(HostError)

    def _sweep_inner(self, *, everything: bool = False) -> None:
        """Remove the pins of inner maps that are in no slot, and directories that are empty."""
        folder, desired = self.root / INNER_PINS, self.plan.desired
        pinned = inner_pins.pinned(folder)
        source, problems = LiveSource(desired), Problems()

        def live(name: str) -> list[int]:
            if everything:
                return []
            desired_map = desired.maps.get(name)
            try:
                seen = source.map(map_path(desired, desired_map) if desired_map is not None else self.path(name))
            except ProvisionerError as error:  # all stay; the next run reports a pin of another kind
                if isinstance(error, KernelError):
                    problems.extend(replace(one, address=f"{INNER_PINS}/{name}") for one in error.problems)
                return [int(pin) for pin in pinned[name] if pin.isdecimal()]
            return seen.inner_ids.tolist() if seen is not None else []

        problems.extend(inner_pins.remove(self.root, stale_inner_pins(pinned, live)))
        problems.raise_if_any(HostError)
        if not bpffs.list_folders(folder):
            with suppress(KernelError):  # it holds nothing, and the next run tries again
                bpffs.remove_dir(folder)

    def close(self) -> tuple[Problem, ...]:
        """Let go of what was kept for a rollback; gives what keeps temporary pins from going."""
        try:
            for stash in self._stashes.values():
                stash.close()
            if self.is_here() and self._pinned_something():
                self.sweep(everything=self.unpin_inner)
        except BaseException as error:  # the report of the apply is still to be made
            hint = "it holds what was replaced; the next apply removes it"
            return tuple(replace(problem, hint=hint) for problem in failures.problems(error))
        return ()

    def _pinned_something(self) -> bool:
        """Whether there can be temporary pins or pins of inner maps in no slot: not where only entries were written."""
        quiet = all(isinstance(step, WriteEntries | RecordMeta) for step in self.plan.steps)
        return not quiet or self.recorded is not self._recorded_before

    def stop_if_interrupted(self) -> None:
        """Raise InterruptError if a signal came: this is a safe point."""
        signal = self.options.interrupted()
        if signal:
            raise InterruptError(
                Problem(f"interrupted by {signal}", hint="run apply again to finish", id="interrupted")
            )

    def _report(self, what: str, progress: Progress) -> None:
        if self.options.progress is not None:
            self.options.progress(what, progress)
        self.stop_if_interrupted()
