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
