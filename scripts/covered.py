"""Require a branch coverage of each module that decides, by the tests without a kernel."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TESTS = ("tests/planning", "tests/model")


def measured(package: str) -> Mapping[str, Any]:
    """The files of a package, as `coverage json` has them, after the tests ran."""
    with tempfile.TemporaryDirectory(prefix="covered-") as folder:
        report = Path(folder) / "coverage.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            *TESTS,
            f"--cov={package}",
        ]
        command += ["--cov-branch", f"--cov-report=json:{report}"]
        environment = {**os.environ, "COVERAGE_FILE": str(Path(folder) / "data")}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        files: Mapping[str, Any] = json.loads(report.read_text())["files"]
    return files


def below(files: Mapping[str, Any], least: float) -> Iterator[str]:
    """Each file with too little coverage, and what no test reaches."""
    for name, each in sorted(files.items()):
        percent = each["summary"]["percent_covered"]
        if percent < least:
            branches = [f"{start}->{end}" for start, end in each["missing_branches"]]
            lines = [str(line) for line in each["missing_lines"]]
            yield f"{name}: {percent:.1f} %, without {', '.join([*lines, *branches])}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", help="as an import names it")
    parser.add_argument("--least", type=float, default=95.0, help="percent of lines and branches")
    given = parser.parse_args()
    files = measured(given.package)
    failures = list(below(files, given.least))
    print("\n".join(failures) or f"{len(files)} modules have {given.least:.0f} % or more")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
