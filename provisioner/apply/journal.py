"""What an apply did, and how to take it back: noted as it happens, undone in the reverse order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from provisioner.kernel.batch import BatchError
from provisioner.model.errors import ProvisionerError, RefusedError


class Undo(msgspec.Struct, frozen=True):
    """How to take one thing back, and what it is. `visible` ones can be seen by programs, or by other tools."""

    what: str
    run: Callable[[], None]
    visible: bool = True


class Journal:
    """The undos of one apply, in the order in which things were done.

    `keeps` says that something of ours could not be taken back; what is somebody else's by then is not ours.
    """

    def __init__(self) -> None:
        self._done: list[Undo] = []
        self.keeps = False

    def note(self, what: str, undo: Callable[[], None], *, visible: bool = True) -> None:
        self._done.append(Undo(what, undo, visible))

    @contextmanager
    def noting(self, what: str, undo: Callable[[], None]) -> Iterator[None]:
        """Note a batch that goes through, or that stops after something was done."""
        try:
            yield
        except BatchError as error:
            if error.done:
                self.note(what, undo)
            raise
        self.note(what, undo)

    def visible(self) -> list[str]:
        """What programs or other tools can see of it."""
        return [undo.what for undo in self._done if undo.visible]

    def roll_back(self) -> list[str]:
        """Take everything back, the latest first; gives what could not be taken back, and why."""
        left: list[str] = []
        while self._done:
            undo = self._done.pop()
            try:
                undo.run()
            except (ProvisionerError, OSError) as error:
                left.append(f"{undo.what}: {error}")
                self.keeps |= not isinstance(error, RefusedError)
        return left
