"""Standard output that cannot be written: it is closed or full, or its reader is gone.

Then a verb that only reads ends with 74, or with 141 where the reader is gone, as a shell has it. So does an apply or
destroy that could not show its plan: it changes nothing. Once it has changed something, its own status counts.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from provisioner.cli import statuses


class OutputError(Exception):
    """Standard output could not be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write standard output: {error.strerror}")
        self.is_without_reader = error.errno == errno.EPIPE
        self.exit_code = statuses.PIPE if self.is_without_reader else statuses.OUTPUT


class _Output:
    """A stream whose failures are OutputErrors: others, click's among them, would take an OSError for their own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if text == "":  # click writes nothing to see what kind of stream it is, and takes no failure for an answer
            return 0
        with _failures():
            return self._stream.write(text)

    def write_bytes(self, data: bytes) -> None:
        """Write what is no text, after all that was written before."""
        with _failures():
            self._stream.flush()
            self._stream.buffer.write(data)
            self._stream.buffer.flush()

    def flush(self) -> None:
        with _failures():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _abandon()
        raise OutputError(error) from error


def _abandon() -> None:
    """Nothing more is written to standard output: what is still buffered goes nowhere, nor does the interpreter try."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def write_bytes(data: bytes) -> None:
    """Write to standard output what is no text. Raises OutputError."""
    cast(_Output, sys.stdout).write_bytes(data)


@contextmanager
def guarded_output() -> Iterator[None]:
    """Standard output as a stream that raises OutputError."""
    before = sys.stdout
    sys.stdout = cast(TextIO, _Output(before))
    try:
        yield
    finally:
        sys.stdout = before


def open_closed_streams() -> None:
    """Put something in the place of the standard streams that are closed: a map's fd must not get their numbers.

    What is read from them is empty. Writing to standard output fails, and what goes to standard error is lost.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # which takes the lowest number that is free
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (they stay open)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
