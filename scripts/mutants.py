"""Mutate the modules that decide, and report which mutants the tests without a kernel kill.

Works on a copy of the tree. A mutant that survives is a decision that no test holds, or one that changes nothing.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult

ROOT = Path(__file__).parent.parent
TREE = ("provisioner", "tests", "schemas", "examples", "bpf", "pyproject.toml", "README.md")
TESTS = "tests/planning tests/model"


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


def keep(db: WorkDB, count: int, seed: int) -> None:
    """Leave `count` mutants to be tried, drawn with `seed`; all others are skipped."""
    items = sorted(db.pending_work_items, key=place)  # the ids of jobs are random
    random.Random(seed).shuffle(items)
    skipped = WorkResult(output="", test_outcome=None, diff="", worker_outcome=WorkerOutcome.SKIPPED)
    for item in items[count:]:
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
    parser.add_argument("--sample", type=int, help="mutants to try, drawn at random; all of them if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tests", default=TESTS, help="what pytest runs")
    parser.add_argument("--seconds", type=float, default=300.0, help="after which a mutant counts as killed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for name in TREE:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, Path(folder) / name)
        (Path(folder) / "mutants.toml").write_text(config(given.modules, given.tests, given.seconds))
        run = [sys.executable, "-m", "cosmic_ray.cli"]
        subprocess.run([*run, "init", "mutants.toml", "mutants.sqlite"], cwd=folder, check=True)
        with use_db(str(Path(folder) / "mutants.sqlite"), WorkDB.Mode.open) as db:
            if given.sample is not None:
                keep(db, given.sample, given.seed)
        subprocess.run([*run, "exec", "mutants.toml", "mutants.sqlite"], cwd=folder, check=True)
        with use_db(str(Path(folder) / "mutants.sqlite"), WorkDB.Mode.open) as db:
            report(db)


if __name__ == "__main__":
    main()
