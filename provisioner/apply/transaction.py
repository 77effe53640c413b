"""What the steps of one apply share: the plan, the journal, the keepers, and where maps are pinned right now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from provisioner import waves
from provisioner.apply.journal import Journal
from provisioner.changes import MapChange
from provisioner.errors import HostError, InterruptError, Problem, Problems, ProvisionerError
from provisioner.keeper import Keeper
from provisioner.kernel import bpffs, host, maps
from provisioner.kernel.fd import MapFd
from provisioner.observe import map_path
from provisioner.plan import Plan
from provisioner.state import NEW_PREFIX, OLD_PREFIX, TEMPORARY_PREFIXES
from provisioner.waves import Progress


@dataclass(slots=True)
class Options:
    """`interrupted` is asked between steps and waves: a signal's name stops the apply there."""

    rollback: bool = True
    progress: Callable[[str, Progress], None] | None = None
    interrupted: Callable[[], str] = field(default=lambda: "")


class Transaction:
    """One apply under way. `fresh` are the maps of the generation being loaded: pinned, but not yet in place."""

    def __init__(self, plan: Plan, options: Options) -> None:
        self.plan = plan
        self.options = options
        self.root = Path(plan.desired.pin_root)
        self.journal = Journal()
        self.progress = Progress(report=self._told)
        self.wave = waves.wave_size(host.raise_nofile_limit())
        self.fresh: set[str] = set()
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
        return self._keepers.setdefault(name, Keeper())

    def sweep(self) -> None:
        """Remove temporary pins; one that cannot go does not keep the others."""
        problems = Problems()
        for name in bpffs.list_pins(self.root):
            if name.startswith(TEMPORARY_PREFIXES):
                try:
                    bpffs.unpin(self.path(name))
                except ProvisionerError as error:
                    problems.extend(error.problems)
        problems.raise_if_any(HostError)

    def close(self) -> tuple[Problem, ...]:
        """Let go of what was kept for a rollback; gives what keeps temporary pins from going."""
        for keeper in self._keepers.values():
            keeper.close()
        try:
            self.sweep()
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
