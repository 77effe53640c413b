"""What pytest-xdist needs from us: which tests go to which worker, and what a worker hands to the process that prints.

Without pytest-xdist, or with it but without workers, the tests run in this process and nothing here has an effect but
`figures`.
"""

from __future__ import annotations

import fcntl
import gc
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

_LONG: Final = (
    "tests/test_debian",
    "tests/integrations/",
    "tests/promises/",
    "tests/object_check/",
    "tests/test_demo",
    "tests/test_docs",
    "tests/test_benchmarks",
    "tests/test_install",
    "tests/test_package",
    "tests/test_site",
)
"""Tests that take seconds, and groups that take a minute: workers begin with them, so that all end together."""


def is_controller(config: pytest.Config) -> bool:
    """Whether this process runs no test, but hands them out to workers."""
    return config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, Any, Any]:
    """Of all workers, the first to come imports the tests alone: from a fresh clone, that compiles each module.

    Together, each of them would compile all.
    """
    if not hasattr(session.config, "workerinput"):
        return (yield)
    with Path(__file__).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(file, fcntl.LOCK_SH)
        return (yield)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist, which reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a worker, tests that take long come first, and tests that share an expensive fixture form a group."""
    if not hasattr(config, "workerinput"):
        return
    items.sort(key=_rank)
    for item in items:
        if group := _group(item):
            item.add_marker(pytest.mark.xdist_group(group))


def _rank(item: pytest.Item) -> int:
    return next((rank for rank, prefix in enumerate(_LONG) if item.nodeid.startswith(prefix)), len(_LONG))


def pytest_collection_finish() -> None:
    """What was collected stays until the end: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


def _group(item: pytest.Item) -> str | None:
    """The tests of a module that has fixtures of its own go to one worker, as do all that need the wheel."""
    fixtures = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    if "wheel" in fixtures:
        return "wheel"
    scopes = {definitions[-1].scope for definitions in fixtures.values()}
    return item.nodeid.partition("::")[0] if "module" in scopes else None


_figures: list[str] = []


@pytest.fixture(scope="session")
def figures() -> list[str]:
    """Lines that are printed at the end: what was tried, and how often."""
    return _figures


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands its figures to the process that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = _figures


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _figures.extend(getattr(node, "workeroutput", {}).get("figures", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("promises")
        for line in sorted(_figures):
            terminalreporter.write_line(line)
