"""What all tests of promises share: runs with faults, scenarios."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.kernel import programs
from tests.conftest import Veth, remove_tree
from tests.promises import scenarios
from tests.promises.injection import Injector
from tests.promises.scenarios import Scenario

Make = Callable[[str], Scenario]


@pytest.fixture(scope="session")
def injector(tmp_path_factory: pytest.TempPathFactory) -> Injector:
    return Injector(tmp_path_factory.mktemp("injector"))


@pytest.fixture
def make(
    tmp_path: Path, kernel: Path, veth: Veth, bpf_object: Callable[[str], Path], injector: Injector
) -> Iterator[Make]:
    """Scenarios by name, on a fresh pin root."""
    assert veth.name == scenarios.INTERFACE
    root = kernel / "edge"
    pairs = scenarios.pairs(bpf_object)

    def made(name: str) -> Scenario:
        injector.environment = {programs.SWITCH: "always"} if name in scenarios.BY_PROGRAMS else {}
        return Scenario(name, tmp_path, root, *pairs[name])

    yield made
    for left in (root, scenarios.elsewhere(root), scenarios.old_root(root)):
        if left.exists():
            remove_tree(left)


@pytest.fixture(scope="session")
def full_sweep() -> bool:
    return scenarios.FULL
