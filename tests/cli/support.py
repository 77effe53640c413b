"""The command line as a user has it: a process of its own, in the tests' namespaces."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator

from provisioner.language import schema_file
from tests import command

COMMAND: Final = (sys.executable, "-m", "provisioner")

SPEC: Final = """\
version: 1
name: edge
inner_templates:
  rules: {type: hash, key: u32, value: u32, max_entries: 64}
maps:
  active: {type: array, key: u32, value: u32, max_entries: 1, entries: {0: 1}, after: [tenants]}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 64
    inner: rules
    inner_maps:
      1: {entries: {1: 10, 2: 20}}
      2: {entries: {7: 70}}
"""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as JSON, held to the published schema."""
        return parsed(self.out)

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Standard error as JSON, held to the published schema."""
        errors_: list[dict[str, Any]] = parsed(self.err)["errors"]
        return errors_


def parsed(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    problems = Draft202012Validator(schema_file.load(schema_file.OUTPUT_SCHEMA)).iter_errors(document)
    assert [problem.message for problem in problems] == []
    return document


def run(*words: str | Path, text: str | None = None, python: tuple[str, ...] = ()) -> Done:
    """Run `provisioner` with no terminal; `text` is its standard input, `python` options of the interpreter."""
    if not python:
        return Done(*command.run(words, text or "", environment()))
    started = [sys.executable, *python, "-m", "provisioner", *map(str, words)]
    done = subprocess.run(started, input=text or "", capture_output=True, text=True, env=environment())
    return Done(done.returncode, done.stdout, done.stderr)


def environment(**more: str) -> dict[str, str]:
    """Ours without what decides on colours."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "COLUMNS")}
    return kept | {"TERM": "xterm"} | more


def on_terminal(*words: str | Path, answer: str, started: tuple[str, ...] = (), **variables: str) -> Done:
    """Run it on a terminal and answer its question; `out` is all that the terminal shows.

    `started` is a command to start in place of a run by the fork server.
    """
    ours, theirs = pty.openpty()
    try:
        process: subprocess.Popen[bytes] | command.Process
        given = environment(**variables)
        if started:
            words = (*started, *words)
            process = subprocess.Popen(
                words, stdin=theirs, stdout=theirs, stderr=theirs, env=given, start_new_session=True
            )
        else:
            process = command.start(words, (theirs, theirs, theirs), given, new_session=True)
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        shown = bytearray()
        while part := _read(ours):
            shown += part
        return Done(process.wait(), shown.decode().replace("\r\n", "\n"), "")
    finally:
        os.close(ours)


def lasting(shown: str) -> str:
    """What stays on a terminal: a line of progress erases itself."""
    return re.sub(r"(\r\x1b\[2K[^\r\n]*)*\r\x1b\[2K", "", shown)


def _read(terminal: int) -> bytes:
    """What is there to read; nothing once the last process has left the terminal (EIO)."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""
