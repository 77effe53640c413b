"""The two streams: the result on standard output, everything else on standard error."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from provisioner.model.errors import ProvisionerError
from provisioner.report import logs
from provisioner.report import problems as told
from provisioner.report.logs import Level, LogLine
from provisioner.report.style import Style

if TYPE_CHECKING:
    from provisioner import Document, Progress

Format = Literal["text", "json", "markdown", "html", "github"]
Color = Literal["auto", "always", "never"]

LogFormat = Literal["text", "json"]

LOG_FORMAT: ContextVar[LogFormat] = ContextVar("log_format", default="text")
"""What `--log-format` says, which all verbs take."""

PATIENCE: Final = 1.0
"""Seconds before an apply on a terminal says how far it is."""


EXCERPTS: Final = 20
"""Problems that are shown with their line: beyond that, a list of places is what people need."""


class Console:
    """Where output goes and how it looks. `format` is that of the result, and of errors where it is JSON."""

    def __init__(self, format_: Format, color: Color, *, quiet: bool, verbose: bool) -> None:
        self.format = format_
        self.quiet = quiet
        self.verbose = verbose
        self.document: Document | None = None
        """Where the lines are that messages show, once a spec was read."""
        self.style = Style(format_ == "text" and _colours(sys.stdout, color))
        self.logs_json = LOG_FORMAT.get() == "json"
        self.err_style = Style(not self.logs_json and _colours(sys.stderr, color))
        for stream in (sys.stdout, sys.stderr):
            # A locale without `±` must not end an apply.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="backslashreplace")

    def pieces(self, parts: Iterable[str]) -> None:
        """Part of the result, as it is."""
        for part in parts:
            sys.stdout.write(part)

    def lines(self, lines: Iterable[str]) -> None:
        """Part of the result, each line with its end."""
        self.pieces(f"{line}\n" for line in lines)

    def fail(self, error: ProvisionerError) -> None:
        """What is wrong; never quiet."""
        if self.logs_json:
            for line in logs.of_problems(error.problems):
                self.log(line)
            return
        if self.format == "json":
            self.message(told.as_json(error.problems) + "\n")
            return
        document: Document | None = getattr(error, "document", self.document)
        places = [problem.where for problem in error.problems if problem.where is not None and problem.where.line]
        lines = document.lines(places[:EXCERPTS]) if document is not None else {}
        self.message("".join(f"{line}\n" for line in told.text(error.problems, lines, self.err_style)))

    def ask(self, question: str) -> bool:
        """Whether the answer on the terminal is `yes`."""
        self.message(f"{question} Only `yes` is a yes: ")
        return sys.stdin.readline().strip() == "yes"

    def message(self, text: str) -> None:
        """Something beside the result, as it is; in a log of JSON, one of its lines."""
        if self.logs_json:
            self.log(LogLine(Level.INFO, "message", text.strip()))
        else:
            self._write(text)

    def note(self, line: LogLine) -> None:
        """What happened, for machines that follow it; people are told it otherwise."""
        if self.logs_json:
            self.log(line)

    def log(self, line: LogLine) -> None:
        """A line of the log. Quiet leaves out what is no more than information."""
        if self.quiet and line.level is Level.INFO:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self.logs_json:
            self._write(logs.as_json(line, now) + "\n")
        elif _is_journal(sys.stderr):
            # The journal writes a time of its own, and reads the level from the begin of the line.
            self._write(f"<{int(line.level)}>{logs.as_text(line, '')}\n")
        else:
            self._write(logs.as_text(line, now, self.err_style) + "\n")

    @staticmethod
    def _write(text: str) -> None:
        # What was said before, on whatever stream, comes first.
        sys.stdout.flush()
        sys.stderr.write(text)
        sys.stderr.flush()

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Something that may take long, and tells nothing meanwhile."""
        meter = self.meter()
        meter.begin(what)
        try:
            yield
        finally:
            meter.stop()

    def meter(self) -> Meter:
        """A progress report for one apply."""
        return Meter(not (self.quiet or self.logs_json) and sys.stderr.isatty(), self.err_style)


def _is_journal(stream: TextIO) -> bool:
    """Whether what is written goes to systemd's journal, which says so by the device and inode of the stream."""
    named = os.environ.get("JOURNAL_STREAM", "")
    if not named:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def has_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def _colours(stream: TextIO, color: Color) -> bool:
    if color != "auto":
        return color == "always"
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Meter:
    """Says on a terminal what is being done, once it has taken long; a thread looks at the clock.

    It stands still between `stop` and the next `begin`: nothing else may write to the terminal meanwhile.
    """

    def __init__(self, on: bool, style: Style, patience: float = PATIENCE) -> None:
        self._on = on
        self._style = style
        self._patience = patience
        self._what = ""
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._status: Any = None
        self.grace_periods = 0
        self.planned = 0

    def begin(self, what: str) -> None:
        """Something begins that may take long."""
        self.stop()
        self._what = what
        if self._on:
            self._timer = threading.Timer(self._patience, self._show)
            self._timer.daemon = True
            self._timer.start()

    def __call__(self, what: str, progress: Progress) -> None:
        """What apply tells of its progress."""
        from provisioner.report.sentences import grace  # a report has been made by now

        self.grace_periods = progress.grace_periods
        with self._lock:
            self._what = f"{what}; {grace(progress.grace_periods, self.planned)}"
            if self._status is not None:
                self._status.update(self._what)

    def _show(self) -> None:
        from rich.console import Console as Terminal  # what is quick does without it

        with self._lock:
            if self._timer is not None:
                self._status = Terminal(stderr=True, no_color=not self._style.on).status(self._what)
                self._status.start()

    def stop(self) -> None:
        with self._lock:
            timer, status = self._timer, self._status
            self._timer = self._status = None
        if timer is not None:
            timer.cancel()
        if status is not None:
            status.stop()
