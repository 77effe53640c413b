"""The manual page says what the command line says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from provisioner.cli import app

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "man/provisioner.1"


def test_it_is_as_the_help_is_now() -> None:
    written = subprocess.run([sys.executable, ROOT / "scripts/manpage.py"], capture_output=True, text=True, check=True)
    assert PAGE.read_text() == written.stdout, "run `make man`"


def test_it_is_a_manual_page_without_a_fault() -> None:
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", PAGE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_reader_finds_every_verb_and_exit_status() -> None:
    shown = subprocess.run(["mandoc", "-T", "utf8", PAGE], capture_output=True, text=True, check=True).stdout
    plain = re.sub(r".\x08", "", shown)
    for command in app.all_verbs().registered_commands:
        assert command.callback is not None
        assert f"provisioner {command.callback.__name__} " in plain
    for status in (0, 1, 2, 3, 4, 5, 64, 70, 74, 75, 130):
        assert re.search(rf"^ +{status} ", plain, flags=re.MULTILINE)
