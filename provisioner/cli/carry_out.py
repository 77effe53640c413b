"""An apply or destroy as the command line runs it: show the plan, ask, do it, and say how it ended."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from msgspec import to_builtins

from provisioner import Options, Plan, ProvisionerError, Result, open_fds
from provisioner.cli.console import Console, has_terminal
from provisioner.cli.reports import limits, write
from provisioner.cli.saved import SavedPlan
from provisioner.cli.signals import Interrupts
from provisioner.report import sentences, text
from provisioner.report.logs import Level, LogLine
from provisioner.report.model import Outcome, ReportPlan
from provisioner.views import plan_report


class CarryOut:
    """One run. `bound` is the saved plan that it must keep to: used up when it is about to be done."""

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

    def options(self, rollback: bool) -> Options:
        """What an apply or destroy takes."""
        return Options(rollback=rollback, progress=self._meter, interrupted=self._interrupts)

    def planned(self, plan: Plan) -> None:
        """Show the plan, before anybody is asked or anything is refused; refuse it where another one was saved."""
        self._meter.stop()
        shown = limits(self._console.format, self._full)
        self._report = plan_report.report(plan, shown, destroy=self._destroy, kernel=os.uname().release)
        self._meter.planned = self._report.grace_periods
        console = self._console
        counts = {
            "project": self._report.project,
            "digest": self._report.digest,
            "summary": to_builtins(self._report.summary),
        }
        console.note(
            LogLine(Level.INFO, "planned", sentences.differences(self._report.summary) or sentences.NO_CHANGES, counts)
        )
        # Whoever is asked has to see what about.
        if console.format == "text" and not (console.quiet and self._yes):
            console.lines(text.render(self._report, console.style, steps=console.verbose, blocked=False))
        if not self._yes and (console.format != "text" or not sys.stdout.isatty()):
            # The question that follows is about this, and standard output goes elsewhere.
            console.message("".join(f"{line}\n" for line in text.render(self._report, console.err_style)))
        sys.stdout.flush()
        if self._bound is not None:
            self._bound.check_same(plan)

    def confirm(self, plan: Plan) -> bool:
        """Whether to go ahead; from then on, a signal ends the work at a safe point."""
        what = "Destroy" if self._destroy else "Apply"
        if not self._yes and has_terminal() and not self._console.ask(f"{what} at {plan.desired.pin_root}?"):
            return False
        if self._bound is not None and not self._bound.use():
            self._console.message(f"Note: {self._bound.path} is read-only, so it is not marked as used.\n")
        self._interrupts.listen()
        self._meter.begin("destroying" if self._destroy else "applying")
        return True

    def __call__(self, act: Callable[[], tuple[Plan, Result]]) -> None:
        """Run `act`, and say how it ended, whether well or not; its error goes on."""
        started, fds = time.monotonic(), open_fds()
        self._interrupts.prepare()
        self._meter.begin("comparing with what is live")
        try:
            _, result = act()
        except ProvisionerError as error:
            seconds = time.monotonic() - started
            self._end(Outcome(error.status, seconds, self._meter.grace_periods, fds, open_fds(), error.live))
            raise
        finally:
            self._meter.stop()
            self._interrupts.ignore()
        self._end(
            Outcome(
                result.status.value,
                result.seconds,
                result.grace_periods,
                result.fds_before,
                result.fds_after,
                window_seconds=result.window_seconds,
            )
        )

    def _end(self, end: Outcome) -> None:
        """The rest of the result; nothing where there never was a plan."""
        self._meter.stop()
        if self._report is None:
            return
        how = "destroy" if self._destroy else "apply"
        is_well = end.status in ("applied", "unchanged")
        level = Level.NOTICE if is_well else Level.ERROR
        ended = " ".join(sentences.outcome(self._report, end))
        self._console.note(LogLine(level, how, ended, {"project": self._report.project, **to_builtins(end)}))
        if self._console.format != "text":
            write(self._console, self._report, end, full=self._full)
        elif end.status != "unchanged" and not (self._console.quiet and is_well):
            self._console.lines(sentences.outcome(self._report, end))
            if self._console.verbose:
                self._console.lines(sentences.window(end))
            if end.status == "applied" and self._report.targets:
                self._console.lines([sentences.REST])
