"""A spec in a folder of its own, and a project that is gone after the test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.support import SPEC, Done, run
from tests.conftest import remove_tree


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "edge.yaml"
    path.write_text(SPEC)
    return path


@dataclass(frozen=True, slots=True)
class Project:
    """A spec and the pin root it goes to."""

    spec: Path
    root: Path

    def edit(self, old: str, new: str) -> None:
        text = self.spec.read_text()
        assert old in text
        self.spec.write_text(text.replace(old, new))

    def run(self, verb: str, *words: str | Path) -> Done:
        return run(verb, self.spec, "--pin-root", self.root, *words)


@pytest.fixture
def project(kernel: Path, spec: Path) -> Iterator[Project]:
    root = kernel / "edge"
    yield Project(spec, root)
    if root.exists():
        remove_tree(root)
