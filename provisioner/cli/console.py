"""The two streams: the result on standard output, everything else on standard error."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, TextIO

from provisioner.cli.meter import Meter
from provisioner.cli.streams import OutputError, write_bytes
from provisioner.model.errors import Problem, ProvisionerError
from provisioner.report import logs, problems
from provisioner.report.logs import LogLevel, LogLine
from provisioner.report.style import Style, on_terminal
from provisioner.report.workflow_commands import RUNNERS, harmless
from provisioner.report.wrapping import wrapped

if TYPE_CHECKING:
    from provisioner import Document

Color = Literal["auto", "always", "never"]
LogFormat = Literal["text", "json"]

EXCERPTS: Final = 20
"""Problems that are shown with their line of the file; of more, only the places."""


class Console:
    """Where output goes and how it looks. `format` is that of the result, and of errors if it is JSON."""

    def __init__(
        self, format_: str, color: Color, *, quiet: bool, verbose: bool, log_format: LogFormat = "text"
    ) -> None:
        self.format = format_
        self.quiet = quiet
        self.verbose = verbose
        self.document: Document | None = None
        """The lines that messages show, after a spec was read."""
        self.style = Style(format_ == "text" and _colours(sys.stdout, color))
        self._is_in_job = any(map(os.environ.get, RUNNERS))
        self.logs_json = log_format == "json"
        self.err_style = Style(not self.logs_json and _colours(sys.stderr, color))
        for stream in (sys.stdout, sys.stderr):
            # A locale without `±` must not end an apply.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="backslashreplace")

    # --- the result -------------------------------------------------------------------------------------------

    def pieces(self, parts: Iterable[str]) -> None:
        """Parts of a document, as they are."""
        for part in parts:
            sys.stdout.write(part)

    @staticmethod
    def data(data: bytes) -> None:
        """A result that is no text."""
        write_bytes(data)

    def lines(self, lines: Iterable[str]) -> None:
        """Lines of text, without their ends; on a terminal, those that do not fit are wrapped."""
        width = _width(sys.stdout)
        for line in lines:
            for piece in wrapped(line, width) if width else (line,):
                sys.stdout.write(self._shown(piece, self.style) + "\n")

    def _shown(self, line: str, style: Style) -> str:
        """A line of text that neither a terminal nor a CI runner acts on."""
        return on_terminal(harmless(line) if self._is_in_job else line, style)

    # --- messages ----------------------------------------------------------------------------------------------

    def fail(self, error: ProvisionerError) -> None:
        """Errors, also if quiet."""
        if self.logs_json:
            for line in logs.of_problems(error.problems):
                self.log(line)
            return
        if self.format == "json":
            self._write(problems.as_json(error.problems) + "\n")
            return
        document: Document | None = getattr(error, "document", self.document)
        places = [problem.where for problem in error.problems if problem.where is not None and problem.where.line]
        excerpts = document.lines(places[:EXCERPTS]) if document is not None else {}
        self.notes(problems.text(error.problems, excerpts, self.err_style))

    def fail_output(self, error: OutputError) -> None:
        """The result could not be written. There is no message if the reader closed the pipe."""
        if not error.is_without_reader:
            self.fail(ProvisionerError(Problem(str(error), id="output")))

    def ask(self, question: str) -> bool:
        """Whether the answer on the terminal is `yes`."""
        self._write(on_terminal(f"{question} Type 'yes' to continue: "))
        answer = sys.stdin.readline()
        if not answer.endswith("\n"):  # Ctrl-D, which the terminal does not end a line for
            self._write("\n")
        return answer.strip() == "yes"

    def notes(self, lines: Iterable[str]) -> None:
        """Lines of text in addition to the result, without their ends; in a JSON log, an object each."""
        if self.logs_json:
            for line in lines:
                self.log(LogLine(LogLevel.INFO, "message", line))
        else:
            self._write("".join(self._shown(line, self.err_style) + "\n" for line in lines))

    def note(self, line: LogLine) -> None:
        """An event for the JSON log only: people read the same in the result."""
        if self.logs_json:
            self.log(line)

    def log(self, line: LogLine) -> None:
        """A line of the log. Quiet leaves out information."""
        if self.quiet and line.level is LogLevel.INFO:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self.logs_json:
            self._write(logs.as_json(line, now) + "\n")
        elif _is_journal(sys.stderr):
            # The journal adds the time, and reads the level from the start of the line.
            self._write(f"<{int(line.level)}>{on_terminal(logs.as_text(line, ''))}\n")
        else:
            self._write(self._shown(logs.as_text(line, now, self.err_style), self.err_style) + "\n")

    @staticmethod
    def _write(text: str) -> None:
        # Earlier output, on either stream, comes first.
        with suppress(OutputError):
            sys.stdout.flush()
        with suppress(OSError):  # there is no other place for the message
            sys.stderr.write(text)
            sys.stderr.flush()

    @contextmanager
    def working(self, what: str) -> Iterator[Meter]:
        """Work that can take long without output; gives the line that shows it."""
        meter = self.meter()
        meter.begin(what)
        try:
            yield meter
        finally:
            meter.stop()

    def meter(self) -> Meter:
        """A progress line for a terminal."""
        return Meter(not (self.quiet or self.logs_json) and sys.stderr.isatty())


def _is_journal(stream: TextIO) -> bool:
    """Whether a stream goes to systemd's journal, which names the stream's device and inode in the environment."""
    named = os.environ.get("JOURNAL_STREAM", "")
    if not named:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def has_terminal() -> bool:
    """Whether a user can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def _width(stream: TextIO) -> int:
    """The columns of a terminal; 0 for anything else."""
    return shutil.get_terminal_size().columns if stream.isatty() else 0


def _colours(stream: TextIO, color: Color) -> bool:
    if color != "auto":
        return color == "always"
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
