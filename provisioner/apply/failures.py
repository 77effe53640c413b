"""Exceptions of any class as problems: what the operating system refused, and what is a bug of ours."""

from __future__ import annotations

import os
import traceback

from provisioner.model.errors import BugError, HostError, InterruptError, Problem, ProvisionerError, out_of_memory


def problems(error: BaseException) -> tuple[Problem, ...]:
    """What to say of an exception that ended an apply."""
    match error:
        case ProvisionerError():
            return error.problems
        case KeyboardInterrupt():
            return (Problem("interrupted", id="interrupted"),)
        case MemoryError() | SystemError():
            return (out_of_memory(error),)
        case OSError(errno=int(number)):
            return (Problem(os.strerror(number), address=_path(error), id="host-refused"),)
        case _:
            return (BugError.of(error).problems[0],)


def as_error(error: BaseException, problems: tuple[Problem, ...]) -> ProvisionerError:
    """The error of an apply that changed nothing, with the problems in `found`."""
    match error:
        case ProvisionerError():
            return error
        case KeyboardInterrupt():
            return InterruptError(*problems)
        case OSError() | MemoryError() | SystemError():
            return HostError(*problems)
        case _:
            return BugError(*problems)


def release(error: BaseException | None) -> None:
    """Free what the failed calls hold: a rollback may need the memory and the fds."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def _path(error: OSError) -> str:
    return os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
