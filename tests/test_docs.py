"""Every page of the documentation works as shown: its commands run, and print the output on the page."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from benchmarks import run as benchmarks
from benchmarks.suite import QUICK
from provisioner.cli import app
from tests import pages
from tests.conftest import remove_tree

DOCS = pages.ROOT / "docs"
PAGES = sorted([pages.ROOT / "README.md", *DOCS.rglob("*.md")])
RUN = ("file", "edit", "console", "python", "excerpt", "overlay")
DIRECTORIES = "benchmarks|bpf|docs|examples|integrations|packaging|provisioner|schemas|scripts|tests"
NOT_RUN_HERE = ("run by", "not run")
PROJECT: dict[str, Any] = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]


def _runs(page: Path) -> bool:
    return any(block.kind in RUN for block in pages.blocks(page))


@pytest.fixture
def empty_bpffs(system_bpffs: Path) -> Iterator[Path]:
    """A bpffs at /sys/fs/bpf. Fails if the page leaves pins there, and removes them."""
    before = set(system_bpffs.iterdir())
    yield system_bpffs
    left = sorted(set(system_bpffs.iterdir()) - before)
    for path in left:
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink()
    subprocess.run(["ip", "link", "del", "veth-a"], check=False, capture_output=True)
    assert not left, f"the page does not remove {', '.join(map(str, left))}"


@pytest.mark.usefixtures("empty_bpffs")
@pytest.mark.parametrize("page", [page for page in PAGES if _runs(page)], ids=lambda page: page.stem)
def test_the_page_works_as_shown(page: Path, tmp_path: Path) -> None:
    assert pages.run(page, tmp_path) > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_fence_is_run_or_has_a_reason(page: Path) -> None:
    for block in pages.blocks(page):
        where = f"{page.name}:{block.line}"
        assert block.kind in (*RUN, *NOT_RUN_HERE), f"{where}: the fence needs a comment: see tests/pages.py"
        if block.kind == "run by":
            assert f'fences(__file__, "{page.name}")' in (pages.ROOT / block.argument).read_text(), (
                f"{where}: {block.argument} does not call fences for this page"
            )
        if block.kind in NOT_RUN_HERE:
            assert block.argument
        if block.language == "console" and block.kind == "console":
            assert list(block.commands()), f"{where}: no command"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_that_are_not_run_are_plausible(page: Path) -> None:
    """Make targets, benchmark cases, directories of tests, extras of the package, commands of other files exist."""
    for block in (block for block in pages.blocks(page) if block.kind == "not run"):
        for line in block.text.splitlines():
            _check_plausible(line, f"{page.name}:{block.line}")


def _check_plausible(line: str, where: str) -> None:
    match shlex.split(line.removeprefix("# "), comments=True):
        case ["make", *targets]:
            subprocess.run(["make", "--dry-run", *targets], cwd=pages.ROOT, check=True, capture_output=True)
        case [".venv/bin/python", "-m", "benchmarks.run", *words]:
            only = benchmarks.parse(words).only
            assert any(only in task.case.name for task in QUICK), only
        case [".venv/bin/python", "-m", module, *_] if module.startswith("benchmarks."):
            assert (pages.ROOT / f"{module.replace('.', '/')}.py").exists(), module
        case [".venv/bin/python", "-m", "pytest", path]:
            assert (pages.ROOT / path).exists(), path
        case ["pipx" | "uv" | "uvx" | "/opt/provisioner/bin/pip", *words]:
            extras = re.findall(r"\.\[([\w,]+)\]", " ".join(words))
            assert set(",".join(extras).split(",")) <= {"", *PROJECT["optional-dependencies"]}, f"{where}: {line}"
        case ["podman", *_]:
            assert f"#   {line}\n" in (pages.ROOT / "Containerfile").read_text(), f"{where}: {line}"
        case ["apt", "install", package]:
            assert package == f"./dist/{PROJECT['name']}_*.deb"
        case [script, "dist"]:
            assert os.access(pages.ROOT / script, os.X_OK), f"{where}: {script}"
        case _:
            pytest.fail(f"{where}: no check for this command: {line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_fence_is_parsed(page: Path) -> None:
    """Each has two lines that begin with a fence."""
    fences = [block for block in pages.blocks(page) if block.kind != "edit"]
    assert len(re.findall(r"^ *```", page.read_text(), flags=re.MULTILINE)) == 2 * len(fences)


@pytest.mark.parametrize("page", [*PAGES, pages.ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_files_that_a_page_names_exist(page: Path) -> None:
    """Paths of the repository, and tests by their names."""
    text = page.read_text()
    for path in re.findall(rf"`((?:{DIRECTORIES})/[\w./-]*)`", text):
        assert (pages.ROOT / path).exists(), path
    for name in re.findall(r"`(test_\w+\.py)`", text):
        assert list((pages.ROOT / "tests").rglob(name)), name


def test_every_command_that_writes_json_has_a_sample() -> None:
    page = (DOCS / "json-samples.md").read_text()
    root: Any = typer.main.get_command(app.all_verbs())
    writers = {name for name, verb in root.commands.items() if "json" in str(_format(verb))}
    assert writers == set(re.findall(r"^\$ provisioner (\w+) .*--format json", page, flags=re.MULTILINE))


def _format(verb: Any) -> Any:
    """The choices of the option `--format`; None if the command does not have it."""
    return next((one.type.choices for one in verb.params if "--format" in one.opts), None)


def test_dots_match_anything() -> None:
    assert pages.agree("id ... of\n", "id 12 of\n")
    assert pages.agree("first\n...\nlast\n", "first\n1\n2\nlast\n")
    assert not pages.agree("id ... of\n", "id 1\n2 of\n")
    assert not pages.agree("first\nlast\n", "first\n1\nlast\n")
    assert not pages.agree("a.c\n", "abc\n")


def test_a_wrong_page_fails(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for wrong in ("$ echo this\nthat\n", "$ exit 1\n", "$ true # exit status 4\n"):
        page.write_text(f"```console\n{wrong}```\n")
        with pytest.raises(AssertionError):
            pages.run(page, tmp_path)
