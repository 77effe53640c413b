"""Records plan and apply as an animated SVG: `terminal.py FILE`, as root, or `make pictures`.

The commands run for real, in a mount namespace with a bpffs of their own. Each scene is one screen: commands are typed,
then their output appears.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
FILE: Final = ROOT / "docs" / "assets" / "terminal.svg"
SPEC: Final = """\
version: 1
name: edge
types:
  verdict: {enum: {deny: 0, allow: 1}, base: u8}
inner_templates:
  acl: {type: lpm_trie, key: cidr4, value: verdict, max_entries: 64, flags: [no_prealloc]}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 64
    inner: acl
    inner_maps:
      42: {entries: {10.0.0.0/8: deny, 0.0.0.0/0: allow}}
"""
SCENES: Final = (
    ("provisioner plan edge.yaml",),
    ("provisioner apply --yes edge.yaml",),
    ("sed -i 's/deny, 0/allow, 0/' edge.yaml", "provisioner plan edge.yaml"),
    ("provisioner apply --yes edge.yaml", "provisioner plan edge.yaml"),
)
COLUMNS: Final = 72
ROWS: Final = 14
_CHARACTER: Final = 7.83
_LINE: Final = 18
_MARGIN: Final = 14
_SECONDS_PER_KEY: Final = 0.04
_SECONDS_TO_READ: Final = 4.5
_WIDTH: Final = round(COLUMNS * _CHARACTER + 2 * _MARGIN)
_HEIGHT: Final = ROWS * _LINE + 2 * _MARGIN
_COLORS: Final = {"1": "b", "2": "d", "31": "r", "32": "g", "33": "y", "36": "c"}
_STYLE: Final = (
    ".back{fill:#161b22;stroke:#444c56}text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',"
    "monospace;fill:#d7dee6;white-space:pre}.b{font-weight:700}.d{fill:#9aa7b4}.r{fill:#ff8b82}.g{fill:#6fdd8b}"
    ".y{fill:#e8c25a}.c{fill:#7ccfe8}.p{fill:#7ccfe8}.cover{fill:#161b22}.cursor{fill:#d7dee6}.e{visibility:hidden}"
    "@media(prefers-reduced-motion:reduce){*{animation:none!important}.last{visibility:visible}.cover,.cursor"
    "{display:none}}"
)


@dataclass(frozen=True, slots=True)
class Command:
    typed: str
    output: str


def record() -> list[list[Command]]:
    """Run the commands of all scenes, and remove what they made."""
    marks = [f"echo; echo '<mark>'; {command}" for scene in SCENES for command in scene]
    script = [
        'provisioner() { command provisioner "$@" --color always; }  # as on a terminal',
        "umount --lazy /sys/fs/bpf 2>/dev/null || true; mount -t bpf bpf /sys/fs/bpf",
        *marks,
        "provisioner destroy --yes --quiet edge.yaml; umount /sys/fs/bpf",
    ]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "edge.yaml").write_text(SPEC)
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", "\n".join(script)],
            cwd=folder,
            env={"PATH": path, "HOME": folder},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    outputs = iter(done.stdout.split("\n<mark>\n")[1:])
    return [[Command(command, next(outputs)) for command in scene] for scene in SCENES]


def animate(scenes: list[list[Command]]) -> str:
    """The scenes as an SVG that repeats for ever."""
    ends = list(_ends(scenes))
    whole = ends[-1]
    rules: list[str] = []
    parts: list[str] = []
    start = 0.0
    for scene, end in zip(scenes, ends, strict=True):
        last = " last" if end == whole else ""
        now, row = start + 0.5, 0
        for command in scene:
            number = len(rules)
            typed = now + _SECONDS_PER_KEY * len(command.typed)
            parts += _prompt(command.typed, row, f"e{number}", last)
            rules.append(_appears(f"e{number}", start if row == 0 else now, end, whole))
            rules.append(_slides(f"t{number}", now, typed, len(command.typed), whole))
            rules.append(_appears(f"c{number}", start if row == 0 else now, typed + 0.3, whole))
            parts.append(_cover(row, f"t{number}", f"c{number}"))
            row += 1
            lines = [part for line in command.output.splitlines() for part in wrapped(line)]
            name = f"o{number}"
            parts += [_text(line, row + offset, name, last) for offset, line in enumerate(lines) if line]
            rules.append(_appears(name, typed + 0.3, end, whole))
            row += len(lines)
            now = typed + 1.0
        assert row <= ROWS, f"{row} lines in a scene: raise ROWS"
        start = end
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
            f'height="{_HEIGHT}" role="img">',
            "<title>A terminal: plan shows the difference, apply makes the change, a second plan shows none</title>",
            f"<style>{_STYLE}{''.join(rules)}</style>",
            f'<rect class="back" x=".5" y=".5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" rx="8"/>',
            *parts,
            "</svg>",
            "",
        )
    )


def _ends(scenes: list[list[Command]]) -> Iterator[float]:
    now = 0.0
    for scene in scenes:
        now += 0.5 + sum(1.0 + _SECONDS_PER_KEY * len(command.typed) for command in scene) + _SECONDS_TO_READ
        yield now


def wrapped(line: str) -> Iterator[str]:
    """The rows of a terminal that show a line; escape sequences take no room."""
    row, used = "", 0
    for part in re.split(r"(\x1b\[[\d;]*m)", line):
        if part.startswith("\x1b"):
            row += part
            continue
        for character in part:
            if used == COLUMNS:
                yield row
                row, used = "", 0
            row, used = row + character, used + 1
    yield row


def _appears(name: str, start: float, end: float, whole: float) -> str:
    first, last = (f"{100 * moment / whole:.2f}%" for moment in (start, end))
    return (
        f"@keyframes {name}{{0%{{visibility:hidden}}{first}{{visibility:visible}}{last}{{visibility:hidden}}}}"
        f".{name}{{animation:{name} {whole:.2f}s step-end infinite}}"
    )


def _slides(name: str, start: float, end: float, keys: int, whole: float) -> str:
    first, last = (f"{100 * moment / whole:.2f}%" for moment in (start, end))
    return (
        f"@keyframes {name}{{0%,{first}{{transform:none;animation-timing-function:steps({keys})}}"
        f"{last},100%{{transform:translateX({keys * _CHARACTER:.1f}px)}}}}"
        f".{name}{{animation:{name} {whole:.2f}s infinite}}"
    )


def _base(row: int) -> float:
    return _MARGIN + row * _LINE + 13


def _prompt(typed: str, row: int, name: str, last: str) -> Iterator[str]:
    yield (
        f'<text class="e {name}{last}" x="{_MARGIN}" y="{_base(row)}" xml:space="preserve">'
        f'<tspan class="p">$ </tspan>{escape(typed)}</text>'
    )


def _cover(row: int, slides: str, appears: str) -> str:
    """What hides the part of a command that is not typed yet, and the cursor at its edge."""
    x, y, width = _MARGIN + 2 * _CHARACTER, _MARGIN + row * _LINE, (COLUMNS - 2) * _CHARACTER
    return (
        f'<svg class="e {appears}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_LINE}"><g class="{slides}">'
        f'<rect class="cover" width="{width:.1f}" height="{_LINE}"/>'
        f'<rect class="cursor" y="1" width="{_CHARACTER}" height="{_LINE - 3}"/></g></svg>'
    )


def _text(line: str, row: int, name: str, last: str) -> str:
    spans, style = "", ""
    for part in re.split(r"(\x1b\[[\d;]*m)", line):
        if part.startswith("\x1b"):
            style = _COLORS.get(part[2:-1], "")
        elif part:
            spans += f'<tspan class="{style}">{escape(part)}</tspan>' if style else escape(part)
    return f'<text class="e {name}{last}" x="{_MARGIN}" y="{_base(row)}" xml:space="preserve">{spans}</text>'


if __name__ == "__main__":
    target = Path(sys.argv[1]) if sys.argv[1:] else FILE
    target.write_text(animate(record()))
