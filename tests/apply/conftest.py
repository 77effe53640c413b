"""A project on the tests' own bpffs, from YAML to the live kernel and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from provisioner.apply import Options, Result, Status
from provisioner.planning.changes import Action
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan
from provisioner.project import Project
from provisioner.project.opening import load
from tests.apply import live
from tests.conftest import remove_tree

HEAD = "version: 1\nname: edge\n"
ALL = Overrides(approve_deletes=True, allow_recreate=True)


@dataclass
class Bench:
    """One project under test: `apply` takes the text of a spec, less its head."""

    folder: Path
    root: Path
    overrides: Overrides = ALL
    options: Options = field(default_factory=Options)
    allow_outside: bool = False
    planned: Callable[[Plan], None] | None = None
    """Called between the plan and the apply."""

    def load(self, text: str, *, contents: bool = True) -> Project:
        spec = self.folder / "spec.yaml"
        spec.write_text(HEAD + text)
        return load([spec], pin_root=str(self.root), allow_outside=self.allow_outside, contents=contents)

    def plan(self, text: str, **how: Any) -> Plan:
        return self.load(text).plan(self.overrides, **how)

    def apply(self, text: str) -> tuple[Plan, Result]:
        return self.load(text).apply(self.overrides, self.options, planned=self.planned)

    def settle(self, text: str) -> tuple[Plan, Result]:
        """Apply, then hold apply to its promises: fds as before, and nothing left to do."""
        plan, result = self.apply(text)
        assert result.fds_before == result.fds_after
        again, second = self.apply(text)
        assert again.steps == ()
        assert second.status is Status.UNCHANGED
        assert all(change.action is Action.UNCHANGED for change in again.maps.values())
        return plan, result

    def destroy(self, text: str) -> tuple[Plan, Result]:
        return self.load(text, contents=False).destroy(self.overrides)

    def tree(self, name: str) -> dict[bytes, dict[bytes, bytes]]:
        """The live contents of an outer map, read by bpftool."""
        return live.outer(self.root / name)

    def entries(self, name: str) -> dict[bytes, bytes]:
        """The live contents of a plain map, read by bpftool."""
        return live.entries(self.root / name)

    def ids(self, name: str) -> dict[bytes, int]:
        """The inner ids of an outer map by outer key."""
        return {key: int.from_bytes(value, "little") for key, value in live.entries(self.root / name).items()}


@pytest.fixture
def bench(tmp_path: Path, kernel: Path) -> Iterator[Bench]:
    root = kernel / "edge"
    yield Bench(tmp_path, root)
    if root.exists():
        remove_tree(root)
