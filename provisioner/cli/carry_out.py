"""An apply or destroy on the command line: show the plan, ask, carry it out, and report the result."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from msgspec import to_builtins

from provisioner import Options, Plan, ProvisionerError, Result, open_fds
from provisioner.cli import reports
from provisioner.cli.console import Console, has_terminal
from provisioner.cli.saved import SavedPlan
from provisioner.cli.signals import Interrupts
from provisioner.cli.streams import OutputError
from provisioner.report import sentences, text
from provisioner.report.logs import LogLevel, LogLine
from provisioner.report.model import Outcome, ReportPlan
from provisioner.views import plan_report


class CarryOut:
    """One run. `bound` is the saved plan that it must match; it is marked as used before the first change."""

    def __init__(
        self,
        console: Console,
        *,
        yes: bool,
        full: bool = False,
        destroy: bool = False,
        bound: SavedPlan | None = None,
    ) -> None:
        self._console = console
        self._yes = yes
        self._full = full
        self._destroy = destroy
        self._bound = bound
        self._report: ReportPlan | None = None
        self._meter = console.meter()
        self._interrupts = Interrupts()
        self._declined = False

    def options(self, rollback: bool) -> Options:
        """The options of an apply or destroy."""
        signals, meter = self._interrupts, self._meter
        return Options(rollback, meter, signals, signals.reading, meter.compared)

    def planned(self, plan: Plan) -> None:
        """Show the plan, before the question and before any refusal. Raises RefusedError if another plan was saved."""
        self._meter.stop()
        shown = reports.limits(self._console, full=self._full)
        report = plan_report.report(plan, shown, destroy=self._destroy, kernel=os.uname().release)
        self._report = report
        self._meter.planned = report.grace_periods
        fields = {"project": report.project, "digest": report.digest, "summary": to_builtins(report.summary)}
        fields |= {"revision": report.revision} if report.revision else {}
        fields |= {"approved": list(map(str, report.approved))} if report.approved else {}
        message = sentences.differences(report.summary) or sentences.NO_CHANGES
        self._console.note(LogLine(LogLevel.INFO, "planned", message, fields))
        self._show(report)
        sys.stdout.flush()
        if self._bound is not None:
            self._bound.check_same(plan)

    def _show(self, report: ReportPlan) -> None:
        """Once: before a question on the terminal, which standard output need not be; else in the result."""
        console = self._console
        if not self._yes and (console.format != "text" or not sys.stdout.isatty()):
            console.notes(text.render(report, console.err_style, steps=console.verbose, blocked=False))
        elif console.format == "text" and not (console.quiet and self._yes):
            console.lines(text.render(report, console.style, steps=console.verbose, blocked=False))

    def confirm(self, plan: Plan) -> bool:
        """Whether to go ahead. If so, a signal stops the work at a safe point from then on."""
        what = "Destroy" if self._destroy else "Apply"
        if not self._yes and has_terminal() and not self._console.ask(f"{what} at {plan.desired.pin_root}?"):
            self._declined = True
            return False
        if self._bound is not None and not self._bound.use():
            self._console.notes([f"Note: {self._bound.path} is read-only, so it is not marked as used."])
        self._interrupts.listen()
        self._meter.begin("destroying" if self._destroy else "applying")
        return True

    def __call__(self, act: Callable[[], tuple[Plan, Result]]) -> None:
        """Run `act` and report the result, also of a failure; the error is raised again."""
        started, fds = time.monotonic(), open_fds()
        self._interrupts.prepare()
        self._meter.begin("comparing with the live state")
        try:
            _, result = act()
        except ProvisionerError as error:
            seconds = time.monotonic() - started
            self._tell(Outcome(error.status, seconds, self._meter.grace_periods, fds, open_fds(), error.live))
            raise
        finally:
            self._meter.stop()
            self._interrupts.ignore()
        self._tell(
            Outcome(
                result.status.value,
                result.seconds,
                result.grace_periods,
                result.fds_before,
                result.fds_after,
                window_seconds=result.window_seconds,
            )
        )

    def _tell(self, end: Outcome) -> None:
        """The rest of the result. What was done counts: where this cannot be written, it is said, and that is all."""
        try:
            self._end(end)
            sys.stdout.flush()
        except OutputError as error:
            self._console.fail_output(error)

    def _end(self, end: Outcome) -> None:
        """The rest of the result; nothing if there was no plan."""
        self._meter.stop()
        report, console = self._report, self._console
        if report is None:
            return
        is_well = end.status in ("applied", "unchanged")
        lines = list(sentences.outcome(report, end))
        event = LogLine(
            LogLevel.NOTICE if is_well else LogLevel.ERROR,
            "destroy" if self._destroy else "apply",
            " ".join(lines),
            {"project": report.project, **to_builtins(end)},
        )
        console.note(event)
        if console.format != "text":
            reports.plan(console, report, end, full=self._full)
        elif end.status != "unchanged" and not self._declined and not (console.quiet and is_well):
            console.lines(lines)
            if console.verbose:
                console.lines(sentences.details(end))
            if end.status == "applied" and report.targets and not self._destroy:
                console.lines([sentences.REST])
