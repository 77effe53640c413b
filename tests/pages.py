"""Runs the documentation: each page is a program, executed from top to bottom as a reader would.

A page is Markdown. A comment above a fence, or the language of the fence, defines its kind:

    <!-- file: edge.yaml -->           the fence is the content of this file
    <!-- edit: edge.yaml ... -->       no fence: a sed script in place of an editor
    ```console                         commands after `$ ` with their output; `...` matches anything
    ```python                          parts of one program
    <!-- excerpt: edge.yaml -->        lines that the file contains at this point
    <!-- overlay: edge.yaml -->        an overlay: valid together with that file
    <!-- run by: tests/... -->         another test runs the fence: it calls `fences` for the page
    <!-- not run: REASON -->           no test can run it

A command must end with 0 or 2 (`plan` with changes), or with the status in its comment: `# exit status 4`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests import command as runs

ROOT: Final = Path(__file__).parent.parent
_BLOCK: Final = re.compile(
    r"^(?:<!-- (?P<kind>[a-z ]+): (?P<argument>[^\n]*?) -->\n\n?)?"
    r"^(?P<fence>```+)(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=fence)$"
    r"|^<!-- edit: (?P<edited>\S+)\n(?P<script>.*?)^-->$",
    re.DOTALL | re.MULTILINE,
)
_STATUS: Final = re.compile(r"# exit status (\d+)$")


@dataclass(frozen=True, slots=True)
class Command:
    """A command, the output below it ("" if none), and the expected exit statuses."""

    typed: str
    shown: str
    statuses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A fence or an edit. `kind` and `argument` come from the comment above; without one, `kind` is the language."""

    line: int
    kind: str
    argument: str
    language: str
    text: str

    def commands(self) -> Iterator[Command]:
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            typed, _, shown = part.partition("\n")
            while typed.endswith("\\"):
                more, _, shown = shown.partition("\n")
                typed = f"{typed[:-1]}{more.strip()}"
            status = _STATUS.search(typed)
            yield Command(typed, shown, (int(status[1]),) if status else (0, 2))


def blocks(page: Path) -> list[Block]:
    """All fences and edits of a page, in order."""
    text = page.read_text()
    return [_block(match, text.count("\n", 0, match.start()) + 1) for match in _BLOCK.finditer(text)]


def fences(test: str, page: str) -> list[Block]:
    """The fences of a page that the test file `test` (its `__file__`) must run: all of them."""
    name = str(Path(test).relative_to(ROOT))
    return [block for block in blocks(page_named(page)) if (block.kind, block.argument) == ("run by", name)]


def page_named(name: str) -> Path:
    """The path of a page in docs/, or of the README."""
    return ROOT / name if name == "README.md" else ROOT / "docs" / name


def _block(match: re.Match[str], line: int) -> Block:
    if match["edited"]:
        return Block(line, "edit", match["edited"], "sed", match["script"])
    language = match["language"].split(" ")[0]
    return Block(line, match["kind"] or language, match["argument"] or "", language, match["text"])


def run(page: Path, directory: Path) -> int:
    """Execute a page in `directory`; returns the number of commands. Raises AssertionError if the page is wrong."""
    count = 0
    program = ""
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        match block.kind:
            case "file":
                path = directory / block.argument
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)
            case "edit":
                subprocess.run(["sed", "-i", block.text, block.argument], cwd=directory, check=True)
            case "console":
                for command in block.commands():
                    type_in(command, where, directory)
                    count += 1
            case "excerpt":
                content = (directory / block.argument).read_text()
                assert block.text in content, f"{where}: {block.argument} does not contain these lines"
            case "overlay":
                _validate_overlay(block, where, directory)
                count += 1
            case "python":
                program += f"{block.text}\n"
            case _:
                pass  # run by another test: test_docs.py checks it
    if program:
        (directory / "page.py").write_text(program)
        type_in(Command(f"{sys.executable} page.py", "", (0,)), page.name, directory)
        count += 1
    return count


def type_in(command: Command, where: str, directory: Path) -> None:
    """Run a command in `directory` and compare its exit status and output with the page.

    Standard error is part of the output, as on a terminal.
    """
    done = subprocess.run(
        ["bash", "-c", command.typed],
        cwd=directory,
        env=os.environ | runs.for_shells(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode in command.statuses, (
        f"{where}: `{command.typed}` ended with {done.returncode}:\n{done.stdout}"
    )
    if command.shown and not agree(command.shown, done.stdout):
        assert done.stdout == command.shown, f"{where}: `{command.typed}`"


def _validate_overlay(block: Block, where: str, directory: Path) -> None:
    (directory / "part.yaml").write_text(block.text)
    typed = f"provisioner validate {block.argument} --overlay part.yaml"
    type_in(Command(typed, "", (0,)), where, directory)


def agree(shown: str, printed: str) -> bool:
    """Whether the output matches: `...` matches anything within a line; alone on a line, any number of lines."""
    lines = (
        "(?:.*\n)*" if line.strip() == "..." else r"[^\n]*".join(map(re.escape, line.split("..."))) + "\n"
        for line in shown.splitlines()
    )
    return re.fullmatch("".join(lines), printed) is not None
