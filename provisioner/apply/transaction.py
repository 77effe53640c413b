"""What the steps of one apply share: the plan, the journal, the keepers, and where maps are pinned right now."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from provisioner import waves
from provisioner.access import Access
from provisioner.apply.journal import Journal
from provisioner.changes import MapChange
from provisioner.errors import HostError, InterruptError, Problem, Problems, ProvisionerError
from provisioner.keeper import Keeper
from provisioner.kernel import bpffs, host, inner_pins, maps
from provisioner.kernel.fd import MapFd
from provisioner.kernel.inner_pins import InnerPins
from provisioner.kernel.reasons import KernelError
from provisioner.live_source import LiveSource, inner_folder, inner_maps, map_path
from provisioner.places import stale_inner_pins
from provisioner.plan import Plan
from provisioner.state import INNER_PINS, NEW_PREFIX, OLD_PREFIX, TEMPORARY_PREFIXES
from provisioner.waves import Progress


@dataclass(slots=True)
class Options:
    """`interrupted` is asked between steps and waves: a signal's name stops the apply there."""

    rollback: bool = True
    progress: Callable[[str, Progress], None] | None = None
    interrupted: Callable[[], str] = field(default=lambda: "")


class Transaction:
    """One apply under way. `fresh` are the maps of the generation being loaded: pinned, but not yet in place.

    `unpin_inner` says that inner maps lose their pins at the end: a rollback may have to open them by these.
    """

    def __init__(self, plan: Plan, options: Options) -> None:
        self.plan = plan
        self.options = options
        self.root = Path(plan.desired.pin_root)
        self.journal = Journal()
        self.progress = Progress(report=self._told)
        self.wave = waves.wave_size(host.raise_nofile_limit())
        self.fresh: set[str] = set()
        self.unpin_inner = False
        self.access = Access(plan.desired.pin_mode, plan.observed.gid)
        self._keepers: dict[str, Keeper] = {}

    def path(self, pin: str) -> Path:
        return self.root / pin

    def new_path(self, pin: str) -> Path:
        return self.root / f"{NEW_PREFIX}{pin}"

    def old_path(self, pin: str) -> Path:
        return self.root / f"{OLD_PREFIX}{pin}"

    def open(self, change: MapChange) -> MapFd:
        """The map of a change, wherever it is pinned now."""
        assert change.desired is not None
        if change.name in self.fresh:
            return maps.open_pin(self.new_path(change.name))
        return maps.open_pin(map_path(self.plan.desired, change.desired))

    def keeper(self, name: str) -> Keeper:
        """The keeper of an outer map."""
        return self._keepers.setdefault(name, Keeper(self.inner(name)))

    def inner(self, name: str) -> InnerPins:
        """The inner maps of an outer map: how they are opened, and where they are pinned if they shall be."""
        return inner_maps(self.plan.desired, name, self.access)

    def make_inner_folder(self, name: str) -> None:
        """Have a folder for the pins of an outer map's inner maps, if they shall have pins."""
        folder = inner_folder(self.plan.desired, name)
        if folder is not None and not folder.is_dir():
            self.journal.note(f"the pins of inner maps of {name}", self._sweep_inner, visible=False)
            for needed in (folder.parent, folder):
                bpffs.ensure_dir(needed)
                bpffs.set_access(needed, self.access.of_folders)  # of one, too, that a killed apply made and no more

    def sweep(self, *, everything: bool = False) -> None:
        """Remove temporary pins, and those of inner maps in no slot; one that cannot go does not keep the others.

        `everything` says that no inner map is to have a pin any more.
        """
        problems = Problems()
        for name in bpffs.list_pins(self.root):
            if name.startswith(TEMPORARY_PREFIXES):
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
        """Remove the pins of inner maps that are in no slot, and folders that are empty."""
        folder, desired = self.root / INNER_PINS, self.plan.desired
        pinned = inner_pins.pinned(folder)
        source = LiveSource(desired)

        def live(name: str) -> list[int]:
            if everything:
                return []
            one = desired.maps.get(name)
            try:
                seen = source.map(map_path(desired, one) if one is not None else self.path(name))
            except ProvisionerError:  # then it is left to the next run to find out
                return [int(pin) for pin in pinned[name] if pin.isdecimal()]
            return seen.inner_ids.tolist() if seen is not None else []

        problems = Problems()
        problems.extend(inner_pins.remove(self.root, stale_inner_pins(pinned, live)))
        problems.raise_if_any(HostError)
        if not bpffs.list_folders(folder):
            with suppress(KernelError):  # it holds nothing, and the next run tries again
                bpffs.remove_dir(folder)

    def close(self) -> tuple[Problem, ...]:
        """Let go of what was kept for a rollback; gives what keeps temporary pins from going."""
        for keeper in self._keepers.values():
            keeper.close()
        try:
            self.sweep(everything=self.unpin_inner)
        except ProvisionerError as error:
            return tuple(
                replace(problem, hint="it holds what was replaced; the next apply removes it")
                for problem in error.problems
            )
        return ()

    def stop_if_interrupted(self) -> None:
        """Raise InterruptError if a signal came: this is a safe point."""
        signal = self.options.interrupted()
        if signal:
            raise InterruptError(Problem(f"interrupted by {signal}", hint="run apply again to finish"))

    def _told(self, what: str, progress: Progress) -> None:
        if self.options.progress is not None:
            self.options.progress(what, progress)
        self.stop_if_interrupted()
