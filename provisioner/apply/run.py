"""Carry out a plan: step by step, verified at the end, taken back where it fails.

Nothing here decides: what is done, and in which order, is the plan's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import assert_never

from provisioner.apply import as_planned, contents, failures, migrating, moved_slots, moves, pins, programs, variables
from provisioner.apply import lanes as side_by_side
from provisioner.apply.outcome import Options, Result, Status, open_fds, unchanged
from provisioner.apply.transaction import Transaction
from provisioner.model.errors import ApplyError, HostError, InterruptError, Problem, ProvisionerError, RefusedError
from provisioner.planning import lanes
from provisioner.planning.plan import Plan
from provisioner.planning.steps import (
    Attach,
    CarryChanges,
    CarrySlots,
    ClaimPinRoot,
    CommitObject,
    CreateMap,
    DeleteSlots,
    Detach,
    LoadObject,
    MovePins,
    MoveRoot,
    MoveSlots,
    PinInnerMaps,
    PublishSlots,
    RecordMeta,
    RemoveDirectories,
    RemovePinRoot,
    SetAccess,
    Step,
    Sweep,
    Unpin,
    UnpinInnerMaps,
    WriteEntries,
    WriteVariables,
)


def apply_plan(plan: Plan, options: Options, verify: Callable[[], tuple[Problem, ...]]) -> Result:
    """Do what the plan says, then look again: `verify` gives what still differs. The caller holds the lock.

    Raises ApplyError, or InterruptError, with `status` and `live` set, where something had become visible; else the
    error of the step that failed.
    """
    try:
        started, fds_before = time.monotonic(), open_fds()
        if not plan.steps:
            return unchanged()
        tx = Transaction(plan, options)
    except BaseException as error:
        raise failures.as_error(error, failures.problems(error)) from error
    try:
        _run(tx, verify)
    except BaseException as error:
        failures.release(error)
        failure = _with_rest(_failed(tx, error), tx.close())
        if failure.status == Status.PARTIAL.value and RemovePinRoot() in plan.steps:
            failure.live = (*failure.live, *pins.remaining(tx))
        raise failure from error
    rest = tx.close()
    if rest:
        raise _with_rest(ApplyError(), rest, tx.journal.live())
    try:
        fds_after = open_fds()
    except BaseException as error:  # all is done, and stays
        failure = ApplyError(*failures.problems(error))
        failure.status, failure.live = Status.PARTIAL.value, tuple(tx.journal.live())
        raise failure from error
    seconds = time.monotonic() - started
    first, last = tx.progress.window or (0.0, 0.0)
    return Result(Status.APPLIED, seconds, tx.progress.grace_periods, fds_before, fds_after, last - first)


def _run(tx: Transaction, verify: Callable[[], tuple[Problem, ...]]) -> None:
    if RemovePinRoot() in tx.plan.steps:
        pins.require_removable(tx)
    for units in lanes.groups(tx.plan):
        side_by_side.run(tx, units, _do)
    tx.progress.update("comparing with the spec")
    with tx.options.reading():
        different = verify()
    if different:
        raise ApplyError(*different)


def _do(tx: Transaction, step: Step) -> None:
    match step:
        case Sweep():
            tx.sweep()
        case ClaimPinRoot():
            pins.claim(tx, step)
        case MoveRoot():
            moves.move_root(tx, step)
        case MovePins():
            moves.move(tx, step)
        case MoveSlots():
            moved_slots.move(tx, step)
        case LoadObject():
            programs.load(tx, step)
        case CreateMap():
            contents.create(tx, step)
        case CarrySlots():
            contents.carry(tx, step)
        case PublishSlots():
            contents.publish(tx, step)
        case PinInnerMaps():
            contents.pin_inner(tx, step)
        case UnpinInnerMaps():
            contents.unpin_inner(tx)
        case SetAccess():
            pins.set_access(tx, step)
        case WriteEntries():
            contents.write(tx, step)
        case WriteVariables():
            variables.write(tx, step)
        case Attach():
            programs.attach(tx, step)
        case CarryChanges():
            migrating.carry_changes(tx, step)
        case CommitObject():
            programs.commit(tx, step)
        case DeleteSlots():
            contents.delete(tx, step)
        case Detach():
            programs.detach(tx, step)
        case Unpin():
            pins.remove(tx, step.pin)
        case RecordMeta():
            pins.record(tx, step)
        case RemoveDirectories():
            pins.remove_directories(step)
        case RemovePinRoot():
            pins.remove_root(tx)
        case _:
            assert_never(step)


def _failed(tx: Transaction, error: BaseException) -> ProvisionerError:
    """Take back what became visible, unless the user asked for it to stay; the error that says what is live."""
    error = as_planned.gone(error)
    problems = failures.problems(error)
    try:
        tx.check_root()
    except HostError as lost:  # this is the cause; what the pins held does not matter
        problems = lost.problems if isinstance(error, RefusedError) else (*lost.problems, *problems)
        error = HostError(*dict.fromkeys(problems)) if isinstance(error, HostError | RefusedError) else error
    was_visible = tx.journal.is_visible
    stays = was_visible and not tx.options.rollback
    left = tx.journal.live() if stays else tx.journal.roll_back()
    interrupted = isinstance(error, InterruptError | KeyboardInterrupt)
    # An apply that cannot be verified was executed in full: it is rolled back, not refused.
    if not was_visible and not left and not interrupted and not isinstance(error, ApplyError):
        return failures.as_error(error, problems)
    failure = InterruptError(*problems) if interrupted else ApplyError(*problems)
    status = Status.PARTIAL if left or stays else Status.INTERRUPTED if interrupted else Status.ROLLED_BACK
    failure.status, failure.live = status.value, tuple(left)
    return failure


def _with_rest(failure: ProvisionerError, rest: tuple[Problem, ...], visible: Sequence[str] = ()) -> ProvisionerError:
    """The same failure, and temporary pins that are left (`rest`): then it is partial."""
    if not rest:
        return failure
    kind = InterruptError if isinstance(failure, InterruptError) else ApplyError
    whole = kind(*failure.problems, *rest)
    pins = (f"temporary pin {problem.address}" for problem in rest)
    whole.status, whole.live = Status.PARTIAL.value, (*failure.live, *visible, *pins)
    return whole
