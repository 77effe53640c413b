"""The programs of the documentation in strict pyright, the type checker of many editors. `make test-editor`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests import pages

ROOT = Path(__file__).parents[2]
PYRIGHT = ROOT / "build/node/node_modules/.bin/pyright"
GUIDES = sorted(
    name
    for name in (path.name for path in (ROOT / "docs").glob("*.md"))
    if any(block.language == "python" for block in pages.blocks(pages.page_named(name)))
)
WRONG = """\
import provisioner

plan = provisioner.load("edge.yaml").plan(against="nothing")
provisioner.lode
"""


def errors(directory: Path) -> list[tuple[str, int, str]]:
    """What pyright reports of the programs in a directory: file, line from 1, and message."""
    (directory / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    command = [PYRIGHT, "--outputjson", "--pythonpath", sys.executable, "--project", directory]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == len(list(directory.glob("*.py")))
    return [
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1, each["message"])
        for each in found["generalDiagnostics"]
    ]


def test_the_programs_of_the_documentation_have_no_error(tmp_path: Path) -> None:
    assert {"library.md", "programs.md", "sessions.md"} <= set(GUIDES)
    for name in GUIDES:
        blocks = [block.text for block in pages.blocks(pages.page_named(name)) if block.language == "python"]
        (tmp_path / name.replace(".md", "_page.py")).write_text("".join(blocks))
    assert errors(tmp_path) == []


def test_what_is_wrong_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    assert {3, 4} <= {line for _, line, _ in errors(tmp_path)}
