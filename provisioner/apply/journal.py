"""What an apply does, and how to take it back: noted before it is done, undone in the reverse order.

An exception of any class can end a step at any instruction. So the note comes first, and an undo looks at what is live:
it takes back what was done, and leaves alone what was not.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.kernel.batch import BatchError
from provisioner.kernel.reasons import KernelError
from provisioner.model.errors import RefusedError


class Undo(msgspec.Struct, frozen=True, eq=False):
    """How to take one thing back, and what it is.

    `visible` ones can be seen by programs, or by other tools; `is_removal` says that what was seen is gone.
    """

    what: str
    run: Callable[[], None]
    visible: bool = True
    is_removal: bool = False


class Journal:
    """The undos of one apply, in the order in which things were done.

    `keeps` says that something of ours could not be taken back; what another process changed since is not ours.
    """

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()  # steps of several maps can be done at the same time
        self._undos: list[Undo] = []
        self.keeps = False

    def note(self, what: str, undo: Callable[[], None], *, visible: bool = True, is_removal: bool = False) -> None:
        self._undos.append(Undo(what, undo, visible, is_removal))

    @contextmanager
    def noting(self, undo: Undo, written: Callable[[NDArray[np.bool_]], Undo] | None = None) -> Iterator[None]:
        """Note what is done inside. Where the kernel refuses all of it, there is nothing to take back.

        `written` gives the undo of a part of a batch: a mask of its elements.
        """
        self._undos.append(undo)
        try:
            yield
        except KernelError as error:
            with self._lock:
                if not isinstance(error, BatchError) or not error.done:
                    self._undos.remove(undo)
                elif written is not None:
                    self._undos[self._undos.index(undo)] = written(error.written)
            raise

    @property
    def is_visible(self) -> bool:
        """Whether programs or other tools can see a difference."""
        return any(undo.visible for undo in self._undos)

    def live(self) -> list[str]:
        """What is live by what was done."""
        return [undo.what for undo in self._undos if undo.visible and not undo.is_removal]

    def roll_back(self) -> list[str]:
        """Take everything back, the latest first; gives what could not be taken back, and why."""
        left: list[str] = []
        while self._undos:
            undo = self._undos.pop()
            try:
                undo.run()
            except BaseException as error:  # the others must still be undone
                left.append(f"{undo.what}: {error}")
                self.keeps |= not isinstance(error, RefusedError)
        return left
