"""Completion in real shells on a terminal: the first Tab of a new shell completes a verb, and a name is one word."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

_PATIENCE = 180.0
_START = {
    "bash": ["bash", "--rcfile", ".bashrc", "-i"],
    "zsh": ["zsh", "-i"],
    "fish": ["fish", "-i"],
}


def install(shell: str, home: Path) -> dict[str, str]:
    """Write the completion of a shell into a home directory, as `--install-completion` does; gives the environment."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if name.startswith(("COVERAGE", "LD_", "PYTHON"))}
    environment = kept | {"HOME": str(home), "ZDOTDIR": str(home), "PATH": path, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    asked = subprocess.run(
        ["provisioner"], env=environment | {"_PROVISIONER_COMPLETE": f"source_{shell}"}, capture_output=True, text=True
    )
    place, startup = {
        "bash": (".completion.sh", (".bashrc", "source ~/.completion.sh\n")),
        "zsh": (".zfunc/_provisioner", (".zshrc", "fpath+=~/.zfunc; autoload -Uz compinit; compinit -u\n")),
        "fish": (".config/fish/completions/provisioner.fish", (".config/fish/config.fish", "")),
    }[shell]
    (home / place).parent.mkdir(parents=True, exist_ok=True)
    (home / place).write_text(asked.stdout.lstrip("\n"))
    (home / startup[0]).write_text(startup[1])
    return environment


NAME = "\\$(touch run)'`touch run`\"; touch run;:  [1]{a,b}*.yaml"
"""The name of a spec file that runs commands if a shell reads it as anything but a word."""


@pytest.mark.parametrize("shell", list(_START))
def test_the_first_tab_completes(shell: str, tmp_path: Path) -> None:
    environment = install(shell, tmp_path)
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / NAME).touch()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execvpe(_START[shell][0], _START[shell], environment)
    try:
        os.write(terminal, b"provisioner valid\t")
        assert _shown(terminal, "validate")
        os.write(terminal, b"\x15provisioner plan specs/\t")
        assert _shown(terminal, ".yaml")
        os.write(terminal, b"\x01printf '<%s>' \r")
        assert _shown(terminal, f"<specs/{NAME}>")
        assert not (tmp_path / "run").exists()
        os.write(terminal, b"\x15exit\r")
        _shown(terminal, "never")
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def _shown(terminal: int, text: str) -> bool:
    """Whether a text appears on the terminal before the shell ends."""
    seen, end = "", time.monotonic() + _PATIENCE
    while text not in seen and time.monotonic() < end:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the shell ended
            return text in seen
        seen += data.decode(errors="replace")
        if "\x1b[c" in seen or "\x1b[0c" in seen:  # fish asks what the terminal is
            os.write(terminal, b"\x1b[?62;c")
            seen = seen.replace("\x1b[c", "").replace("\x1b[0c", "")
    return text in seen
