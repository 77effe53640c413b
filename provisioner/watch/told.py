"""What a watch says, as log lines: each state once, when it begins; failures each time. It writes none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, assert_never

from msgspec import to_builtins

from provisioner.model.words import plural
from provisioner.planning.counts import Summary
from provisioner.project import Project
from provisioner.report import sentences
from provisioner.report.logs import Level, LogLine, of_problems
from provisioner.watch.machine import Pace, Verdict
from provisioner.watch.reconcile import Aim, Found

RELOADING: Final = LogLine(Level.INFO, "reload", "asked to read the files again")
TORN: Final = LogLine(Level.INFO, "torn", "the files changed while they were read: read again once they are quiet")


def begun(aim: Aim, pace: Pace) -> LogLine:
    names = [str(path) for path in aim.files]
    how = "reported" if aim.report_only else "applied"
    message = f"watching {', '.join(names)}: differences are {how}, looked for every {pace.interval:g} s"
    return LogLine(Level.INFO, "watching", message, {"files": names, "report_only": aim.report_only})


def ended(signal: str) -> LogLine:
    return LogLine(Level.INFO, "stopped", f"{signal}: stopped; what is live stays as it is", {"signal": signal})


def held(lock: str) -> LogLine:
    message = f"a checkout goes on, or was killed: the files are not read while {lock} is there"
    return LogLine(Level.WARNING, "held", message, {"lock": lock})


def loaded(project: Project) -> LogLine:
    digest = f"sha256:{project.document.digest}"
    message = f"read the spec of {project.desired.project}, {digest[:19]}"
    return LogLine(Level.INFO, "loaded", message, {"project": project.desired.project, "spec_digest": digest})


def lines(found: Found, before: Found | None, wait: float) -> Iterator[LogLine]:
    """What is new after a pass; `wait` is the time in seconds to the next one."""
    if found.broken is not None:
        yield from of_problems(found.broken.problems)
        kept = "nothing is applied" if found.verdict is Verdict.FAILED else "the spec that was read before is kept to"
        message = f"the files cannot be used: {kept}; tried again in {wait:.0f} s"
        yield LogLine(Level.ERROR, "broken", message, {"retry_seconds": round(wait, 3)})
    if found.deferred and (before is None or before.deferred != found.deferred):
        message = f"no interface yet for {', '.join(found.deferred)}: attached when it comes"
        yield LogLine(Level.WARNING, "deferred", message, {"programs": list(found.deferred)})
    yield from _verdict(found, before, wait)


def _verdict(found: Found, before: Found | None, wait: float) -> Iterator[LogLine]:
    is_news = before is None or _state(before) != _state(found)
    match found.verdict:
        case Verdict.APPLIED:
            yield LogLine(Level.NOTICE, "applied", f"applied: {_did(found)}", _counted(found) | _timed(found))
        case Verdict.FAILED | Verdict.INTERRUPTED:
            if found.error is not None:
                yield from of_problems(found.error.problems)
                again = f"; tried again in {wait:.0f} s" if found.verdict is Verdict.FAILED else ""
                fields = _counted(found) | _timed(found) | {"live": list(found.error.live)}
                yield LogLine(Level.ERROR, found.verdict.value, f"{_ended(found)}{again}", fields)
        case Verdict.CONVERGED:
            if is_news and (before is None or before.verdict is not Verdict.APPLIED):
                yield LogLine(Level.INFO, "converged", "the live state matches the spec", _counted(found))
        case Verdict.DRIFT:
            if is_news:
                message = f"the live state differs, which is only reported: {_differences(found.summary)}"
                yield LogLine(Level.WARNING, "drift", message, _counted(found))
        case Verdict.REFUSED:
            if is_news:
                yield from _refused(found)
        case Verdict.LOCKED:
            if is_news and found.error is not None:
                yield LogLine(Level.INFO, "locked", f"another apply goes on: {found.error.problems[0]}")
        case Verdict.TORN:
            pass
        case _:
            assert_never(found.verdict)


def status(found: Found) -> str:
    """One line for the service manager."""
    waiting = f"; waits for {plural(len(found.deferred), 'interface')}" if found.deferred else ""
    broken = "the files cannot be used; " if found.broken is not None else ""
    return f"{broken}{found.verdict.value}{waiting}"


def _state(found: Found) -> tuple[Any, ...]:
    differs = found.verdict in (Verdict.DRIFT, Verdict.REFUSED)
    return found.verdict, found.summary if differs else None, found.refusals, found.error and found.error.problems


def _refused(found: Found) -> Iterator[LogLine]:
    for one in found.refusals:
        fields = {"rule": one.rule, "address": one.address, "override": one.override or None}
        way_out = f"; an apply by hand with {one.override} does it" if one.override.startswith("--") else ""
        yield LogLine(Level.WARNING, "refused", f"refused by {one.rule}: {one.message}{way_out}", fields)
    if found.error is not None:
        yield from of_problems(found.error.problems)


def _did(found: Found) -> str:
    done = ", ".join(sentences.done(found.summary)) if found.summary is not None else ""
    waits = plural(found.grace_periods, "grace period")
    return f"{done or 'the project’s own record'}, in {found.seconds:.2f} s, {waits}"


def _ended(found: Found) -> str:
    live = found.error.live if found.error is not None else ()
    if live:
        return f"ended in the middle; this is live: {', '.join(live)}"
    return "what had become visible was taken back" if found.status else "nothing was changed"


def _differences(summary: Summary | None) -> str:
    return (sentences.differences(summary) if summary is not None else "") or "the project's own record"


def _counted(found: Found) -> dict[str, Any]:
    return {} if found.summary is None else {"summary": to_builtins(found.summary)}


def _timed(found: Found) -> dict[str, Any]:
    return {"seconds": round(found.seconds, 6), "grace_periods": found.grace_periods, "status": found.status}
