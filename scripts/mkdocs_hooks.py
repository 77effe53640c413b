"""Hooks of mkdocs: what tests read in the comments of a page becomes text that readers see.

- A fence that is a file gets its name as title; an edit becomes a command of sed.
- `<!-- readme: HEADING -->` becomes that section of the README, so that both show the same.
- A link to a file of the repository, which the site does not have, becomes its path.
- A picture is included in the page, so that it follows the color scheme of the site.
- The copy button of a console copies the commands without prompts and output.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_README: Final = Path(__file__).parent.parent / "README.md"
_DOCS: Final = _README.parent / "docs"
_PICTURE: Final = re.compile(r'<img alt="[^"]*" src="(?:\.\./)*(assets/pictures/[\w-]+\.svg)" ?/?>')
_CONSOLE: Final = re.compile(r'<div class="language-console highlight">(<pre>.*?</pre>)</div>', re.DOTALL)
_COMMENT: Final = re.compile(r'^<span class="gp"># </span>.*$', re.MULTILINE)


def on_page_markdown(markdown: str, **_: object) -> str:
    markdown = re.sub(r"<!-- readme: (.+) -->\n", lambda match: readme_section(match[1]), markdown)
    markdown = re.sub(r"<!-- (?:file|excerpt): (\S+) -->\n```(\w+)\n", r'```\2 title="\1"\n', markdown)
    markdown = re.sub(r"<!-- edit: (\S+)\n(.*?)\n-->", r"\n```sh\nsed -i '\2' \1\n```\n", markdown, flags=re.DOTALL)
    return re.sub(r"\[([^]]+)\]\(\.\./([^)]+)\)", _path, markdown)


def on_page_content(content: str, **_: object) -> str:
    return _PICTURE.sub(_inline, _CONSOLE.sub(_with_commands, content))


def readme_section(heading: str) -> str:
    """The section with its heading; its links lead to where they lead in the README."""
    match = re.search(rf"^## {re.escape(heading)}\n.*?(?=^## )", _README.read_text(), re.DOTALL | re.MULTILINE)
    if match is None:
        raise ValueError(f"README.md has no section {heading}")
    return re.sub(r"\]\((docs/)?(?!https?:|#)", lambda link: "](" if link[1] else "](../", match[0])


def commands(console: str) -> Iterator[str]:
    """The lines after a prompt and the lines that continue them, without the note on the exit status."""
    continues = False
    for line in console.splitlines():
        prompted = line.startswith("$ ")
        if prompted or continues:
            typed = re.sub(r" +# exit status \d+$", "", line[2:] if prompted else line)
            continues = typed.endswith("\\")
            yield typed


def _with_commands(match: re.Match[str]) -> str:
    console = html.unescape(re.sub(r"<[^>]+>", "", match[1]))
    copied = html.escape("\n".join(commands(console))).replace("\n", "&#10;")
    if not copied:
        raise ValueError(f"a console without a command: {console}")
    return f'<div class="language-console highlight" data-copy="{copied}">{_COMMENT.sub(_output, match[1])}</div>'


def _output(comment: re.Match[str]) -> str:
    """Pygments takes a comment in the output for a command of root."""
    return f'<span class="go">{re.sub(r"<[^>]+>", "", comment[0])}</span>'


def _inline(match: re.Match[str]) -> str:
    return (_DOCS / match[1]).read_text().replace("\n", "")


def _path(link: re.Match[str]) -> str:
    path = f"`{link[2]}`"
    return path if link[2].startswith(link[1]) else f"{link[1]} ({path})"
