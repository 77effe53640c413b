"""The documentation as a program: what its pages show is run, in the order in which a reader meets it.

A page is Markdown. What its fences are is said by a comment in the line above, or by their language:

    <!-- file: edge.yaml -->           the fence is this file
    <!-- edit: edge.yaml ... -->       no fence: a sed script that the reader's editor stands for
    ```console                         commands after `$ `, and below each what it prints; `...` stands for what varies
    ```python                          parts of one program
    <!-- excerpt: edge.yaml -->        lines that are in that file now
    <!-- overlay: edge.yaml -->        a part of a spec: valid when it is laid over that file
    <!-- run by: tests/... -->         another test runs it: that file asks for the page's fences by `fences`
    <!-- not run: why -->              nothing can run it here

A command may end with 0, or with 2 as `plan` does; one that ends otherwise says so: `# exit status 4`.
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

ROOT: Final = Path(__file__).parent.parent
_BLOCK: Final = re.compile(
    r"^(?:<!-- (?P<word>[a-z ]+): (?P<said>[^\n]*?) -->\n\n?)?"
    r"^(?P<fence>```+)(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=fence)$"
    r"|^<!-- edit: (?P<edited>\S+)\n(?P<script>.*?)^-->$",
    re.DOTALL | re.MULTILINE,
)
_STATUS: Final = re.compile(r"# exit status (\d+)$")


@dataclass(frozen=True, slots=True)
class Command:
    """What is typed, what is shown below it ("" where nothing is), and the exit statuses that are expected."""

    typed: str
    shown: str
    statuses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """One fence, or one edit: `word` is what the comment above says it is, else its language; `said` is the rest."""

    line: int
    word: str
    said: str
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
    """All fences and edits of a page, from its top."""
    text = page.read_text()
    return [_block(found, text.count("\n", 0, found.start()) + 1) for found in _BLOCK.finditer(text)]


def fences(test: str, page: str) -> list[Block]:
    """The fences of a page which say that they are run by the file `test`, its `__file__`. Take all of them."""
    said = str(Path(test).relative_to(ROOT))
    return [block for block in blocks(page_named(page)) if (block.word, block.said) == ("run by", said)]


def page_named(name: str) -> Path:
    """A page of docs/, or the README."""
    return ROOT / name if name == "README.md" else ROOT / "docs" / name


def _block(found: re.Match[str], line: int) -> Block:
    if found["edited"]:
        return Block(line, "edit", found["edited"], "sed", found["script"])
    language = found["language"].split(" ")[0]
    return Block(line, found["word"] or language, found["said"] or "", language, found["text"])


def run(page: Path, folder: Path) -> int:
    """Do in `folder` what the page tells; how many commands and programs ran. Fails where the page is wrong."""
    ran = 0
    program = ""
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        match block.word:
            case "file":
                path = folder / block.said
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)
            case "edit":
                subprocess.run(["sed", "-i", block.text, block.said], cwd=folder, check=True)
            case "console":
                for command in block.commands():
                    type_in(command, where, folder)
                    ran += 1
            case "excerpt":
                assert block.text in (folder / block.said).read_text(), f"{where}: {block.said} has no such lines"
            case "overlay":
                _lay_over(block, where, folder)
                ran += 1
            case "python":
                program += f"{block.text}\n"
            case _:
                pass  # somebody else's to run: test_docs.py sees to it
    if program:
        (folder / "page.py").write_text(program)
        type_in(Command(f"{sys.executable} page.py", "", (0,)), page.name, folder)
        ran += 1
    return ran


def type_in(command: Command, where: str, folder: Path) -> None:
    """Run a command in `folder`, and hold it to what the page shows.

    A terminal shows standard error as well: so it is compared too.
    """
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run(
        ["bash", "-c", command.typed],
        cwd=folder,
        env=environment,
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


def _lay_over(block: Block, where: str, folder: Path) -> None:
    (folder / "part.yaml").write_text(block.text)
    typed = f"provisioner validate {block.said} --overlay part.yaml"
    type_in(Command(typed, "", (0,)), where, folder)


def agree(shown: str, printed: str) -> bool:
    """Whether this is what was printed: `...` is anything within a line, a line of it any lines."""
    lines = (
        "(?:.*\n)*" if line.strip() == "..." else r"[^\n]*".join(map(re.escape, line.split("..."))) + "\n"
        for line in shown.splitlines()
    )
    return re.fullmatch("".join(lines), printed) is not None
