"""One pass: read the files if they changed, compare with the kernel, apply or report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from provisioner.apply import Options, Status
from provisioner.apply.progress import Progress
from provisioner.document.inputs import Inputs
from provisioner.model.errors import (
    BugError,
    InputError,
    InterruptError,
    LockedError,
    Problem,
    ProvisionerError,
    RefusedError,
)
from provisioner.model.given import Given
from provisioner.model.pins import owner_of
from provisioner.planning import counts
from provisioner.planning.approved import Approved
from provisioner.planning.counts import Summary
from provisioner.planning.hazards import Refusal
from provisioner.planning.plan import Plan
from provisioner.planning.usage import Usage, usage
from provisioner.project import Project
from provisioner.project.opening import load
from provisioner.report import jsondoc
from provisioner.session.session import Session
from provisioner.views import plan_report
from provisioner.watch.machine import Verdict

SHOWN: Final = 20
"""Differences that a pass reports by address and value."""


class Aim(msgspec.Struct, frozen=True):
    """What is watched, and whether differences are applied or only reported."""

    files: tuple[Path, ...]
    overlays: tuple[Path, ...] = ()
    allow_outside: bool = False
    pin_root: str | None = None
    report_only: bool = False
    variables: Mapping[str, Given] = {}


class PassResult(msgspec.Struct, frozen=True):
    """The result of one pass.

    `summary` and `changed` are the differences before they were applied; `deferred` names attachments whose target does
    not exist yet. `seconds`, `grace_periods` and `status` (as in a JSON `result`) belong to an apply that was started.
    `error` is the error of the pass; `broken` is the error of the files, while an older spec stays in force, if any.
    `approved` are refusals that the spec approves. `is_drift` says that this revision was live before, so that another
    process made the differences; `changes` are the first of them, `more` the number of the others, `usages` how full
    maps are, None if only a part was compared.
    """

    verdict: Verdict
    summary: Summary | None = None
    changed: bool = False
    refusals: tuple[Refusal, ...] = ()
    deferred: tuple[str, ...] = ()
    seconds: float = 0.0
    grace_periods: int = 0
    status: str = ""
    error: ProvisionerError | None = None
    broken: ProvisionerError | None = None
    approved: tuple[Approved, ...] = ()
    is_drift: bool = False
    changes: tuple[Mapping[str, Any], ...] = ()
    more: int = 0
    usages: tuple[Usage, ...] | None = None


class Loading(Enum):
    """The result of reading valid files. TORN: they changed during the read, so the result was dropped."""

    DONE = "done"
    TORN = "torn"


class Reconciler:
    """The current project, and passes over it. `beat` is called during an apply; `stop` names a signal that arrived."""

    def __init__(self, aim: Aim, beat: Callable[[], None], stop: Callable[[], str]) -> None:
        self._aim = aim
        self._beat = beat
        self._stop = stop
        self._plan: Plan | None = None
        self._grace_periods = 0
        self._session: Session | None = None
        self._is_new = False
        self._deferred: tuple[str, ...] = ()
        self._live_revision = ""
        self.project: Project | None = None
        self.inputs = self._given()

    def load(self) -> Loading | ProvisionerError:
        """Read the files. The older project stays if they are invalid (returns the error) or change during the read."""
        inputs = self.inputs = self._given()
        try:
            project = load(
                self._aim.files,
                overlays=self._aim.overlays,
                allow_outside=self._aim.allow_outside,
                pin_root=self._aim.pin_root,
                inputs=inputs,
                variables=self._aim.variables,
            )
            self._refuse_move(project)
        except Exception as error:  # any exception: the watch goes on with the older project
            # Files that were read in the middle of a change can be invalid only for that reason.
            return Loading.TORN if inputs.now() != inputs.noted else as_error(error)
        if inputs.now() != inputs.noted:
            return Loading.TORN
        self.project = project
        self._is_new = True
        return Loading.DONE

    def _given(self) -> Inputs:
        """Before the first read, only the arguments are known."""
        inputs = Inputs()
        for path in (*self._aim.files, *self._aim.overlays):
            inputs.note(path)
        return inputs

    def _refuse_move(self, project: Project) -> None:
        if self.project is None or _place(project) == _place(self.project):
            return
        olds = [move.old for move in project.desired.moved_roots]
        if project.name != self.project.name or self.project.pin_root not in olds:
            what = f"the spec now declares another project: {_place(project)}, before {_place(self.project)}"
            hint = "write the old pin root in `moved`, or destroy the old project and restart the watch"
            raise InputError(Problem(what, hint=hint, id="project-moved"))

    def check(self) -> PassResult:
        """Compare the project with the live state. Apply the differences unless they are refused or only reported.

        Where files have changed the contents of maps alone, these changes are applied, and nothing else is read.
        """
        result = self._checked()
        assert self.project is not None
        revision = self.project.desired.revision
        is_drift = result.changed and (self._aim.report_only or self._live_revision == revision)
        if result.verdict in (Verdict.CONVERGED, Verdict.APPLIED):
            self._live_revision = revision
        return replace(result, is_drift=is_drift)

    def _checked(self) -> PassResult:
        assert self.project is not None
        self._plan, self._grace_periods = None, 0
        started = time.monotonic()
        session, self._session = self._session, None  # a pass that fails leaves none
        is_new, self._is_new = self._is_new, False
        try:
            approves = bool(self.project.desired.approvals)  # a plan of the whole project judges them
            if is_new and session is not None and not approves and not self._stop() and session.follow(self.project):
                result = self._apply_changes(session, self.project)
                self._session = session
                return result
            self._plan = self.project.plan(digests=not self._aim.report_only)
            result = _planned(self._plan)
            self._deferred = result.deferred
            if self._aim.report_only or self._stop():
                return result
            if result.verdict is Verdict.CONVERGED:
                self._session = self._opened(None if is_new else session)
                return result
            if result.verdict is not Verdict.DRIFT:
                return result
            started = time.monotonic()
            result = self._apply(self.project)
            self._session = self._opened(None)
            return result
        except Exception as error:  # any exception: a pass fails, the watch goes on
            result = _planned(self._plan) if self._plan is not None else PassResult(Verdict.FAILED)
            return _failed(result, as_error(error), time.monotonic() - started, self._grace_periods)

    def _opened(self, session: Session | None) -> Session:
        """A session that knows the live state, which is that of the project."""
        assert self.project is not None
        return session or self.project.session(options=self._options(), interval=None, hold=False, is_applied=True)

    def _options(self) -> Options:
        return Options(progress=self._progress, interrupted=self._interrupted)

    def _apply_changes(self, session: Session, project: Project) -> PassResult:
        """Apply what a later version of the files has changed; figures of all else are those of the spec."""
        result = session.apply(planned=self._planned)
        if self._plan is None:
            nothing = counts.with_unchanged(counts.NOTHING, project.desired)
            return PassResult(Verdict.CONVERGED, nothing, deferred=self._deferred)
        planned = _planned(self._plan)
        assert planned.summary is not None
        return replace(
            planned,
            verdict=Verdict.APPLIED if result.status is Status.APPLIED else Verdict.CONVERGED,
            summary=counts.with_unchanged(planned.summary, project.desired),
            deferred=self._deferred,
            usages=None,
            status=result.status.value,
            seconds=result.seconds,
            grace_periods=result.grace_periods,
        )

    def _apply(self, project: Project) -> PassResult:
        plan, result = project.apply(options=self._options(), planned=self._planned)
        if not plan.changed:  # another process did it before we had the lock
            return _planned(plan)
        return replace(
            _planned(plan),
            verdict=Verdict.APPLIED,
            status=result.status.value,
            seconds=result.seconds,
            grace_periods=result.grace_periods,
        )

    def _planned(self, plan: Plan) -> None:
        self._plan = plan
        self._beat()

    def _progress(self, _: str, progress: Progress) -> None:
        self._grace_periods = progress.grace_periods
        self._beat()

    def _interrupted(self) -> str:
        self._beat()
        return self._stop()


def _place(project: Project) -> str:
    return f"`{project.desired.project}` at {project.desired.pin_root}"


def _planned(plan: Plan) -> PassResult:
    verdict = Verdict.REFUSED if plan.blocked else Verdict.DRIFT if plan.changed else Verdict.CONVERGED
    report = plan_report.report(plan)
    changes = jsondoc.changes(report)
    shown = tuple(islice(changes, SHOWN))
    return PassResult(
        verdict,
        report.summary,
        plan.changed,
        plan.blocked,
        tuple(dict.fromkeys(owner_of(link.pin) for link in plan.links if link.is_deferred)),
        approved=plan.approved,
        changes=shown,
        more=sum(1 for _ in changes) + sum(change.get("omitted", 0) for change in shown),
        usages=tuple(usage(plan)),
    )


def as_error(error: Exception) -> ProvisionerError:
    """An error with problems, of any class."""
    return error if isinstance(error, ProvisionerError) else BugError.of(error)


def _failed(result: PassResult, error: ProvisionerError, seconds: float, grace_periods: int) -> PassResult:
    verdict = Verdict.FAILED
    if isinstance(error, LockedError):
        verdict = Verdict.LOCKED
    elif isinstance(error, RefusedError):
        verdict = Verdict.REFUSED
    elif isinstance(error, InterruptError):
        verdict = Verdict.INTERRUPTED
    return replace(
        result,
        verdict=verdict,
        seconds=seconds,
        grace_periods=grace_periods,
        error=error,
        status="" if error.status == ProvisionerError.status else error.status,
    )
