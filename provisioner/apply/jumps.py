"""Slots of prog_arrays: read as ids of programs, written as fds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np

from provisioner.codec.program_ref import ProgramRef
from provisioner.kernel import links
from provisioner.kernel.fd import ProgramFd
from provisioner.model.desired import DesiredMap, DesiredProgram, DesiredState
from provisioner.model.types import Bytes

if TYPE_CHECKING:
    from provisioner.apply.transaction import Transaction


@contextmanager
def written(tx: Transaction, desired: DesiredMap, values: Bytes) -> Iterator[Bytes]:
    """The values of a map as the system call takes them: for a prog_array, fds that are open inside the block."""
    value = desired.value
    if not isinstance(value, ProgramRef):
        yield values
        return
    with ExitStack() as opened:
        fds: dict[int, int] = {}
        numbers = np.ascontiguousarray(values).view(np.uint32).ravel()
        for number in np.unique(numbers).tolist():
            fds[number] = opened.enter_context(_program(tx, value, number)).number
        translated = np.array([fds[number] for number in numbers.tolist()], np.uint32)
        yield translated.view(np.uint8).reshape(-1, 4)


def _program(tx: Transaction, value: ProgramRef, number: int) -> ProgramFd:
    """The program behind a value: one of the generation that is being loaded, or one in place, or any by its id."""
    name = value.name_of(number)
    program = _named(tx.plan.desired, name) if name is not None else None
    return links.open_program_id(number) if program is None else tx.open_program(program.pin)


def _named(desired: DesiredState, name: str) -> DesiredProgram | None:
    for each in desired.objects.values():
        for program in each.programs:
            if name in (program.name, f"{each.name}.{program.name}"):
                return program
    return None
