"""The events of a watch as log lines: each state once, when it begins, and each failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, assert_never

from msgspec import to_builtins

from provisioner.codec.display import brief
from provisioner.model.words import plural
from provisioner.planning.counts import Summary
from provisioner.project import Project
from provisioner.report import sentences
from provisioner.report.logs import LogLevel, LogLine, of_problems
from provisioner.watch.machine import Pace, Verdict
from provisioner.watch.reconcile import Aim, PassResult

RELOADING: Final = LogLine(LogLevel.INFO, "reload", "SIGHUP: reading the files again")
TORN: Final = LogLine(
    LogLevel.INFO, "torn", "the files changed while they were read; they are read again when they are unchanged"
)


def begun(aim: Aim, pace: Pace) -> LogLine:
    names = [str(path) for path in aim.files]
    how = "reported" if aim.report_only else "applied"
    message = f"watching {', '.join(names)}: compared every {pace.interval:g} s, differences are {how}"
    return LogLine(LogLevel.INFO, "watching", message, {"files": names, "report_only": aim.report_only})


def ended(signal: str) -> LogLine:
    return LogLine(LogLevel.INFO, "stopped", f"{signal}: stopped; the live state stays as it is", {"signal": signal})


def held(lock: str) -> LogLine:
    message = f"a Git checkout was probably killed: the files are not read until {lock} is removed"
    return LogLine(LogLevel.WARNING, "held", message, {"lock": lock})


def loaded(project: Project) -> LogLine:
    digest = f"sha256:{project.document.digest}"
    message = f"read the spec of {project.desired.project}, revision {project.desired.revision[:19]}"
    fields = {"project": project.desired.project, "revision": project.desired.revision, "spec_digest": digest}
    return LogLine(LogLevel.INFO, "loaded", message, fields)


def lines(result: PassResult, before: PassResult | None, wait: float) -> Iterator[LogLine]:
    """The new lines after a pass; `wait` is the time to the next one in seconds."""
    # Files that are still broken in the same way are not reported again.
    known = before.broken.problems if before is not None and before.broken is not None else None
    if result.broken is not None and result.broken.problems != known:
        yield from of_problems(result.broken.problems)
        kept = "nothing is applied" if result.verdict is Verdict.FAILED else "the last valid spec stays in force"
        message = f"the spec is invalid: {kept}; next attempt in {wait:.0f} s"
        yield LogLine(LogLevel.ERROR, "broken", message, {"retry_seconds": round(wait, 3)})
    if result.deferred and (before is None or before.deferred != result.deferred):
        message = f"nothing yet to attach {', '.join(result.deferred)} to: attached when it comes"
        yield LogLine(LogLevel.WARNING, "deferred", message, {"programs": list(result.deferred)})
    yield from _verdict(result, before, wait)


def _verdict(result: PassResult, before: PassResult | None, wait: float) -> Iterator[LogLine]:
    is_news = before is None or _state(before) != _state(result)
    match result.verdict:
        case Verdict.APPLIED:
            for each in result.approved:
                fields = {"rule": each.refusal.rule, "address": each.refusal.address, "approval": each.approval.name}
                message = f"approved once: {each}: {each.refusal.message}"
                yield LogLine(LogLevel.WARNING, "approved", message, fields)
            cause = f"drift repaired ({_named(result)})" if result.is_drift else "applied"
            fields = {**_counted(result), **_timed(result), **_changes(result)}
            yield LogLine(LogLevel.NOTICE, "applied", f"{cause}: {_did(result)}", fields)
        case Verdict.FAILED | Verdict.INTERRUPTED:
            if result.error is not None:
                yield from of_problems(result.error.problems)
                again = f"; next attempt in {wait:.0f} s" if result.verdict is Verdict.FAILED else ""
                fields = _counted(result) | _timed(result) | {"live": list(result.error.live)}
                yield LogLine(LogLevel.ERROR, result.verdict.value, f"{_ended(result)}{again}", fields)
        case Verdict.CONVERGED:
            if is_news and (before is None or before.verdict is not Verdict.APPLIED):
                yield LogLine(LogLevel.INFO, "converged", "the live state matches the spec", _counted(result))
        case Verdict.DRIFT:
            if is_news:
                message = f"the live state differs (only reported): {_differences(result.summary)}"
                message += f" {_named(result)}" if result.changes else ""
                yield LogLine(LogLevel.WARNING, "drift", message, {**_counted(result), **_changes(result)})
        case Verdict.REFUSED:
            if is_news:
                yield from _refused(result)
        case Verdict.LOCKED:
            if is_news and result.error is not None:
                yield LogLine(LogLevel.INFO, "locked", f"waiting for another apply: {result.error.problems[0]}")
        case Verdict.TORN:
            pass
        case _:
            assert_never(result.verdict)


def status(result: PassResult) -> str:
    """One line for the service manager."""
    waiting = f"; {plural(len(result.deferred), 'attachment')} deferred" if result.deferred else ""
    broken = "the spec is invalid; " if result.broken is not None else ""
    return f"{broken}{result.verdict.value}{waiting}"


def _state(result: PassResult) -> tuple[Any, ...]:
    differs = result.verdict in (Verdict.DRIFT, Verdict.REFUSED)
    return result.verdict, result.summary if differs else None, result.refusals, result.error and result.error.problems


def _refused(result: PassResult) -> Iterator[LogLine]:
    for refusal in result.refusals:
        fields = {"rule": refusal.rule, "address": refusal.address, "override": refusal.override or None}
        way_out = f"; `provisioner apply {refusal.override}` allows it" if refusal.override.startswith("--") else ""
        yield LogLine(LogLevel.WARNING, "refused", f"refused by {refusal.rule}: {refusal.message}{way_out}", fields)
    if result.error is not None:
        yield from of_problems(result.error.problems)


def _did(result: PassResult) -> str:
    done = ", ".join(sentences.done(result.summary)) if result.summary is not None else ""
    waits = plural(result.grace_periods, "grace period")
    return f"{done or 'the project record'}, in {result.seconds:.2f} s, {waits}"


def _ended(result: PassResult) -> str:
    live = result.error.live if result.error is not None else ()
    if live:
        return f"failed after a visible change; live changes: {', '.join(live)}"
    return "all visible changes were reverted" if result.status else "nothing was changed"


def _differences(summary: Summary | None) -> str:
    return (sentences.differences(summary) if summary is not None else "") or "the project record"


_NAMED: Final = 3


def _named(result: PassResult) -> str:
    """`tenants[42][10.0.0.0/8]: deny -> allow, and 3 more`: the first differences, from live to wanted."""
    entries = [change for change in result.changes if change["kind"] == "entry"] or list(result.changes)
    texts = [_difference(change) for change in entries[:_NAMED]]
    more = len(result.changes) + result.more - len(texts)
    return ", ".join(texts) + (f", and {more:,} more" if more > 0 and len(texts) == _NAMED else "")


def _difference(change: Mapping[str, Any]) -> str:
    if change["kind"] != "entry":
        return f"{change['address']}: {change['action']}"
    before, after = ("none" if side is None else brief(side) for side in (change["before"], change["after"]))
    return f"{change['address']}: {before} -> {after}"


def _changes(result: PassResult) -> dict[str, Any]:
    """The first differences with addresses and values; `more` counts the others."""
    cause = "drift" if result.is_drift else "rollout"
    changes = [
        {"address": each["address"], "action": each["action"], "before": each["before"], "after": each["after"]}
        for each in result.changes
    ]
    return {"cause": cause, "changes": changes, "more_changes": result.more}


def _counted(result: PassResult) -> dict[str, Any]:
    return {} if result.summary is None else {"summary": to_builtins(result.summary)}


def _timed(result: PassResult) -> dict[str, Any]:
    return {"seconds": round(result.seconds, 6), "grace_periods": result.grace_periods, "status": result.status}
