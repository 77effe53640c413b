"""Every error has a stable id, and docs/errors.md lists each of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import provisioner
from provisioner.model.errors import Problem

PACKAGE = Path(provisioner.__file__).parent
PAGE = Path(__file__).parent.parent / "docs" / "errors.md"

MAKERS = {
    "Problem",
    "Fault",
    "RefusedError",
    "InvalidTextError",
    "UnreadableError",
    "NotSpecError",
    "Meaning",
    "Hazard",
    "Refusal",
}
METHODS = {"add", "missing"}
"""Of `Problems`; a set's `add` has no text of its own."""

POSITION = {"Hazard": 0, "Refusal": 0, "Problem": 4, "Fault": 4, "UnreadableError": 2, "NotSpecError": 2}
"""The argument with the id, where it can be positional."""

HELPERS = {"_add", "_lost", "_problem", "_refuse"}
"""Methods that pass an id to `Problems`."""


def calls(module: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            is_problems = name in METHODS and "roblems" in ast.unparse(node.func)
            if name in MAKERS | HELPERS or is_problems:
                yield name, node


def id_of(name: str, call: ast.Call) -> ast.expr | None:
    if len(call.args) > POSITION.get(name, len(call.args)):
        return call.args[POSITION[name]]
    return next((keyword.value for keyword in call.keywords if keyword.arg == "id"), None)


def constants(value: ast.expr) -> Iterator[str]:
    yield from (
        node.value for node in ast.walk(value) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def used() -> set[str]:
    ids = {"delete_percent", "update_percent", "invalid-value", "kernel-refused"}
    for module in PACKAGE.rglob("*.py"):
        for name, call in calls(module):
            value = id_of(name, call)
            if value is not None and isinstance(value, ast.Constant | ast.IfExp):
                ids.update(constants(value))
    return ids - {""}


def documented() -> list[str]:
    return re.findall(r"^\| `([a-z_-]+)` \|", PAGE.read_text(), flags=re.MULTILINE)


def test_the_page_lists_every_id_once() -> None:
    listed = documented()
    assert sorted(listed) == sorted(set(listed))
    assert set(listed) == used()


def test_ids_are_words_with_hyphens_or_keys_of_the_spec() -> None:
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*|[a-z]+(_[a-z]+)*", each) for each in documented())


def test_no_error_lacks_an_id() -> None:
    lacking = {
        module.relative_to(PACKAGE).parts[0]
        for module in PACKAGE.rglob("*.py")
        for name, call in calls(module)
        if id_of(name, call) is None and name not in {"Fault", "RefusedError", "InvalidTextError", "Meaning", *HELPERS}
    }
    assert not lacking


def test_a_problem_shows_its_id() -> None:
    assert Problem("duplicate key `a`", id="duplicate-key").id == "duplicate-key"
