"""`import provisioner`: what the names are, and what they cost."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import provisioner
from tests import pages

GUIDE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()


def test_every_name_is_there_and_stays_what_it_is() -> None:
    for name in provisioner.__all__:
        assert getattr(provisioner, name) is getattr(provisioner, name)
    assert set(provisioner.__all__) <= set(dir(provisioner))
    with pytest.raises(AttributeError, match="no attribute 'aply'"):
        provisioner.aply  # type: ignore[attr-defined]  # noqa: B018


def test_the_guide_names_no_function_that_is_not_there() -> None:
    for call in re.findall(r"^\| `(\w+)\(", GUIDE, flags=re.MULTILINE):
        assert callable(getattr(provisioner, call))
    for call in re.findall(r"`project\.(\w+)\(", GUIDE):
        assert callable(getattr(provisioner.Project, call))


def test_a_type_checker_knows_the_names_and_no_others(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import provisioner\n"
        'plan = provisioner.load("edge.yaml").plan(provisioner.Overrides(prune=True), against="empty")\n'
        "reveal_type(plan.digest)\n"
        "provisioner.lode\n"
        'provisioner.load("edge.yaml").plan(against="nothing")\n'
    )
    guides = [_program(name, tmp_path) for name in ("library.md", "programs.md", "sessions.md")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program), *guides],
        capture_output=True,
        text=True,
    )
    assert 'Revealed type is "str"' in done.stdout or "builtins.str" in done.stdout
    assert "program.py:4: error: Module has no attribute" in done.stdout
    assert "program.py:5: error" in done.stdout
    assert done.stdout.count("error:") == 2


def _program(page: str, directory: Path) -> str:
    """The program of a page, in a file."""
    path = directory / page.replace(".md", "_page.py")
    path.write_text("".join(block.text for block in pages.blocks(pages.page_named(page)) if block.kind == "python"))
    return str(path)


def test_everything_that_a_call_returns_is_exported() -> None:
    """So that a program can name the type."""
    public = {name: getattr(provisioner, name) for name in provisioner.__all__}
    calls = [value for value in public.values() if inspect.isfunction(value)]
    for owner in (provisioner.Project, provisioner.Session):
        calls += [value for name, value in vars(owner).items() if inspect.isfunction(value) and name[0] != "_"]
    for call in calls:
        returned = set(re.findall(r"\b[A-Z]\w+", str(call.__annotations__.get("return", ""))))
        assert returned <= {*public, "None", "Any", "Iterator"}, call.__qualname__


def test_importing_it_imports_nothing_else() -> None:
    ask = "import sys; before = set(sys.modules); import provisioner; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['provisioner']"
