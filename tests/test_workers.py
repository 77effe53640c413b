"""Groups of tests for one worker: the installed versions of pytest and pytest-xdist must agree on them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from xdist.remote import WorkerInteractor


def test_the_id_of_a_test_has_its_group(request: pytest.FixtureRequest) -> None:
    """pytest-xdist adds the group to the id. Where pytest does not return it, each worker builds what is shared."""
    item = pytest.Function.from_parent(request.node.parent, name="shared", callobj=lambda: None)
    item.add_marker(pytest.mark.xdist_group("wheel"))
    config = SimpleNamespace(getvalue={"loadgroup": True}.get)
    WorkerInteractor.pytest_collection_modifyitems(None, config, [item])
    assert item.nodeid.endswith("::shared@wheel")


def test_tests_that_share_a_fixture_are_in_a_group(request: pytest.FixtureRequest) -> None:
    """Of this run: without workers, there are no groups."""
    if request.config.getoption("loadgroup", False):
        grouped = [item for item in request.session.items if item.get_closest_marker("xdist_group")]
        assert [item.nodeid for item in grouped if "@" not in item.nodeid] == []
