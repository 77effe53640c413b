"""Raises an exception of any class in the middle of an apply, by the interpreter's own hook.

The hook is a profile function (`sys.setprofile`), which sees each call of a Python function and each return from one.
It is set where `apply_plan` is called, and for no longer: it makes everything several times slower.
An exception in it appears in the function that is called, or in its caller. The interpreter then removes the hook, so
that a rollback runs unharmed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import provisioner
from provisioner.apply import run
from provisioner.apply.run import apply_plan

PACKAGE: Final = str(Path(provisioner.__file__).parent)
_LIMIT: Final = {"call": PACKAGE, "return": f"{PACKAGE}/apply"}
"""Where: no call may fail between the kernel's return of an fd and its owner, which is what `kernel/` is made of."""

_OWNERSHIP: Final = f"{PACKAGE}/kernel/fd.py"
_UNHARMED: Final = frozenset({"__exit__", "close", "__del__", "_print", "_check_number", "<genexpr>", "_discard"})
"""Code that releases or checks an fd must run to its end. Exceptions do not leave a callback of libbpf, nor a generator
expression that is closed."""


class OddError(BaseException):
    """An exception that no code can know of."""


CLASSES: Final[dict[str, type[BaseException]]] = {
    each.__name__: each
    for each in (
        *(MemoryError, SystemError, RuntimeError, KeyError, OSError),
        *(KeyboardInterrupt, SystemExit, RecursionError, OddError),
    )
}

STATUS: Final = {"MemoryError": 5, "SystemError": 5, "OSError": 5, "KeyboardInterrupt": 130}
"""The exit status of a class where nothing became visible; of each other one, that of a bug."""

BUG: Final = 70


class Raiser:
    """Counts events inside `apply_plan`, and raises at number `at` (from 1; 0: nowhere).

    `of` is the function whose events alone count, by its qualified name; empty for all.
    """

    def __init__(self, event: str, at: int, name: str, of: str = "") -> None:
        self._event = event
        self._at = at
        self._class = CLASSES[name]
        self._of = of
        self.count = 0
        self.where = ""
        """The function that an exception was raised at."""

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Raise in each apply of this process meanwhile."""
        run.apply_plan = self._apply_plan
        try:
            yield
        finally:
            run.apply_plan = apply_plan

    def _apply_plan(self, *given: Any, **named: Any) -> Any:
        sys.setprofile(self)
        try:
            return apply_plan(*given, **named)
        finally:
            sys.setprofile(None)

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event != self._event:
            return
        code = frame.f_code
        if code is apply_plan.__code__ or code.co_name in _UNHARMED:
            return
        if code.co_filename.startswith(_LIMIT[event]) and code.co_filename != _OWNERSHIP and not _cleans_up(frame):
            self.count += self._of in ("", code.co_qualname)
            if self.count == self._at and self._of in ("", code.co_qualname):
                self.where = code.co_qualname
                raise self._class(f"injected at {self.where}")


def _cleans_up(frame: FrameType) -> bool:
    """Whether the code is called to discard what was staged."""
    caller = frame.f_back
    for _ in range(3):
        if caller is None:
            return False
        if caller.f_code.co_name == "_discard":
            return True
        caller = caller.f_back
    return False
