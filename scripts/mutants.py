"""Mutate the modules that decide, and report which mutants the tests of their rooms kill.

Works on a copy of the tree. A mutant that survives is a decision that no test holds, or one that changes nothing.
Annotations are not mutated: nothing evaluates them.
"""

from __future__ import annotations

import argparse
import ast
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult

ROOT = Path(__file__).parent.parent
TREE = ("provisioner", "tests", "schemas", "examples", "bpf", "pyproject.toml", "README.md")
PURE: Final = "tests/planning tests/model"
TESTS: Final[Mapping[str, str]] = {"planning": PURE, "model": PURE}
"""By room; of another one, the tests have its name."""


class _Bare(ast.NodeTransformer):
    """Removes annotations."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant("")
        return self.generic_visit(node)


def bare(source: str) -> str:
    """What a module does, without its annotations."""
    return ast.dump(_Bare().visit(ast.parse(source)))


def by_room(modules: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The tests of each room, and the modules that they are for."""
    rooms: dict[str, list[str]] = {}
    for module in modules:
        room = Path(module).parts[1]
        rooms.setdefault(TESTS.get(room, f"tests/{room}"), []).append(module)
    yield from rooms.items()


def config(modules: Sequence[str], tests: str, seconds: float) -> str:
    command = f"{sys.executable} -m pytest -q -x -p no:cacheprovider {tests}"
    return f"""\
[cosmic-ray]
module-path = {list(modules)!r}
timeout = {seconds}
excluded-modules = []
test-command = "{command}"
[cosmic-ray.distributor]
name = "local"
"""


def place(item: WorkItem) -> tuple[object, ...]:
    """Where and how an item mutates the tree: the same in each run."""
    return tuple(
        (each.module_path, each.start_pos, each.operator_name, each.occurrence, str(each.operator_args))
        for each in item.mutations
    )


def changes(item: WorkItem, sources: dict[Path, str]) -> bool:
    """Whether a mutant does something else; `sources` has the modules that were read."""
    for mutation in item.mutations:
        source = sources.get(mutation.module_path)
        if source is None:
            source = sources[mutation.module_path] = (ROOT / mutation.module_path).read_text()
        operator = get_operator(mutation.operator_name)(**(mutation.operator_args or {}))
        mutated = mutate_code(source, operator, mutation.occurrence)
        if mutated is not None and bare(mutated) != bare(source):
            return True
    return False


def keep(db: WorkDB, count: int | None, seed: int) -> None:
    """Leave `count` mutants to be tried, drawn with `seed`, or all that change something; all others are skipped."""
    items = sorted(db.pending_work_items, key=place)  # the ids of jobs are random
    random.Random(seed).shuffle(items)
    sources: dict[Path, str] = {}
    left = len(items) if count is None else count
    skipped = WorkResult(output="", test_outcome=None, diff="", worker_outcome=WorkerOutcome.SKIPPED)
    for item in items:
        if left and changes(item, sources):
            left -= 1
        else:
            db.set_result(item.job_id, skipped)


def report(db: WorkDB) -> int:
    """Print each survivor and the figures; gives the number of survivors."""
    tried = [(job, result) for job, result in db.results if result.worker_outcome is not WorkerOutcome.SKIPPED]
    survived = [(job, result) for job, result in tried if result.test_outcome is TestOutcome.SURVIVED]
    for _, result in survived:
        print(result.diff, end="\n\n")
    print(f"{len(tried)} mutants: {len(tried) - len(survived)} killed, {len(survived)} survived")
    return len(survived)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="+", help="modules and packages to mutate, as paths")
    parser.add_argument("--sample", type=int, help="mutants to try, drawn at random, in each room; all if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tests", help="what pytest runs; the tests of the room if not given")
    parser.add_argument("--seconds", type=float, default=300.0, help="after which a mutant counts as killed")
    given = parser.parse_args()
    rooms = [(given.tests, given.modules)] if given.tests is not None else list(by_room(given.modules))
    for tests, modules in rooms:
        print(f"{', '.join(modules)}, by {tests}:", flush=True)
        mutate(modules, tests, given.sample, given.seed, given.seconds)


def mutate(modules: Sequence[str], tests: str, sample: int | None, seed: int, seconds: float) -> None:
    """Try the mutants of some modules, and report them."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for name in TREE:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, Path(folder) / name)
        (Path(folder) / "mutants.toml").write_text(config(modules, tests, seconds))
        run = [sys.executable, "-m", "cosmic_ray.cli"]
        subprocess.run([*run, "init", "mutants.toml", "mutants.sqlite"], cwd=folder, check=True)
        with use_db(str(Path(folder) / "mutants.sqlite"), WorkDB.Mode.open) as db:
            keep(db, sample, seed)
        subprocess.run([*run, "exec", "mutants.toml", "mutants.sqlite"], cwd=folder, check=True)
        with use_db(str(Path(folder) / "mutants.sqlite"), WorkDB.Mode.open) as db:
            report(db)


if __name__ == "__main__":
    main()
