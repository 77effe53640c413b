"""The benchmarks still run, on the smallest case: what they measure is no test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.usefixtures("kernel")
def test_every_verb_of_the_smallest_case_is_measured_beside_its_limit(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    page = tmp_path / "page.md"
    words = ("--full", "--only", "100x100 hash CSV", "--repeat", "1", "--json", result, "--markdown", page)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(result.read_text())
    (case,) = document["cases"]
    assert case["case"] == "100x100 hash CSV"
    assert set(case["verbs"]) == {
        "create",
        "plan without changes",
        "one entry changed",
        "one inner map replaced",
        "all inner maps replaced",
        "destroy",
    }
    for verb in case["verbs"].values():
        assert min(verb["wall"], verb["cpu"], verb["peak_mb"]) > 0
        assert verb["limit"] >= 0
    assert min(case["tutorial"], case["bpftool_batch"], *case["inside"].values()) > 0
    assert "100x100 hash CSV, 10,000 entries" in done.stdout
    assert "one inner map replaced" in done.stdout
    tables = page.read_text().split("\n\n")
    rows = [table for table in tables if table.count("\n") == 2 and "| 100x100 hash CSV |" in table]
    assert len(rows) == 4  # wall time, CPU time and memory, what people do instead, inside


def test_a_plan_for_many_hosts_is_a_row_of_the_documentation(kernel: Path) -> None:
    words = [sys.executable, "-m", "benchmarks.fleet", "12", str(kernel)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, row = done.stdout.splitlines()
    assert head in (ROOT / "docs/benchmarks.md").read_text().splitlines()
    assert row.startswith("| 12 | 11 |"), "ten sites, and one host of its own"


def test_changes_of_shape_are_rows_of_the_documentation(kernel: Path) -> None:
    words = [sys.executable, "-m", "benchmarks.shapes", str(kernel), "20", "100"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shapes, parts = (table.splitlines() for table in done.stdout.split("\n\n"))
    documented = (ROOT / "docs/benchmarks.md").read_text().splitlines()
    assert {shapes[0], parts[0]} <= set(documented)
    assert [len(shapes), len(parts)] == [3, 2]


@pytest.mark.usefixtures("kernel")
def test_what_publishing_costs_is_a_row_of_the_documentation_s_table() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.publishing"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, row = done.stdout.splitlines()
    assert head in (ROOT / "docs/kernels.md").read_text().splitlines()
    assert row.count("|") == head.count("|")


@pytest.mark.usefixtures("system_bpffs")
def test_what_verification_costs_is_a_row_of_the_documentation_s_table() -> None:
    words = [sys.executable, "-m", "benchmarks.verification", "1", "1,000x100 hash CSV"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, _, row = done.stdout.splitlines()
    assert head in (ROOT / "docs/benchmarks.md").read_text().splitlines()
    assert row.count("|") == head.count("|")


@pytest.mark.usefixtures("system_bpffs")
def test_what_staging_costs_is_a_row_of_the_documentation_s_table() -> None:
    words = [sys.executable, "-m", "benchmarks.staging", "1", "1,000x100 hash CSV"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, _, row = done.stdout.splitlines()
    assert head in (ROOT / "docs/benchmarks.md").read_text().splitlines()
    assert row.count("|") == head.count("|")


@pytest.mark.usefixtures("system_bpffs")
def test_what_a_session_costs_is_a_row_of_the_documentation_s_table() -> None:
    words = [sys.executable, "-m", "benchmarks.session", "1", "20x100 hash CSV"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, _, row, *rest = done.stdout.splitlines()
    assert head in (ROOT / "docs/benchmarks.md").read_text().splitlines()
    assert row.count("|") == head.count("|")
    assert sum("session: " in line for line in rest) == 5


@pytest.mark.usefixtures("system_bpffs")
def test_the_parts_of_a_start_are_those_of_the_documentation_s_table() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.startup", "1"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, _, *rows = done.stdout.splitlines()
    documented = (ROOT / "docs/benchmarks.md").read_text()
    assert head in documented.splitlines()
    parts = [row.split(" | ")[0] for row in rows]
    assert len(parts) == 7
    assert [part for part in parts if f"\n{part} | " not in documented] == []


@pytest.mark.usefixtures("system_bpffs")
@pytest.mark.parametrize(("words", "rows"), [("outer_maps 1 3 6", 2), ("watched 1 20", 1), ("large_array 1 131072", 7)])
def test_what_make_bench_measures_besides_is_a_table_of_the_documentation(words: str, rows: int) -> None:
    module, *numbers = words.split()
    command = [sys.executable, "-m", f"benchmarks.{module}", *numbers]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, _, *lines = done.stdout.splitlines()
    assert head in (ROOT / "docs/benchmarks.md").read_text().splitlines()
    assert len(lines) == rows
