"""Generated programs of type SYSCALL (5.14, 79a7f8bdb159): loaded, run once for each call, closed.

What a kernel or a privilege lacks shows by the errno of the load: EINVAL for a type, a helper or an instruction that it
does not know, EPERM without CAP_BPF. Then the caller does the same by system calls.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from provisioner.bytecode.assembler import Assembled
from provisioner.bytecode.function_info import RECORD_SIZE, function_btf, function_info
from provisioner.kernel import calls, maps, structures
from provisioner.kernel.fd import ProgramFd
from provisioner.kernel.reasons import KernelError
from provisioner.model.uapi import ENOTSUPP

SWITCH: Final = "PROVISIONER_BPF_PROGRAMS"
"""The environment variable that, set to `off`, has everything done by system calls; `always`, nothing that a program
can do, however small it is. For tests.
"""

LACKING: Final = frozenset(
    {errno.EINVAL, errno.EPERM, errno.EACCES, errno.E2BIG, errno.ENOENT, errno.ENOMEM, errno.ENOSPC, ENOTSUPP}
)
"""What the kernel says to a program that it does not take: E2BIG and ENOSPC where it is too long to be verified."""

_SYSCALL: Final = 31
"""BPF_PROG_TYPE_SYSCALL."""

_SLEEPABLE: Final = 1 << 4
"""BPF_F_SLEEPABLE: programs of this type must be."""


def is_worth_it(entries: int, fewest: int) -> bool:
    """Whether a program pays off for so many entries: it is loaded in a millisecond or two."""
    switch = os.environ.get(SWITCH)
    return entries > 0 if switch == "always" else entries >= fewest and switch != "off"


def load(program: Assembled, name: str) -> ProgramFd | None:
    """Load a program; None where this kernel or process does not take it, or the switch says so."""
    if os.environ.get(SWITCH) == "off":
        return None
    try:
        return load_or_raise(program, name)
    except KernelError as error:
        if error.errno not in LACKING:
            raise
        return None


def load_or_raise(program: Assembled, name: str) -> ProgramFd:
    """Load a program. Raises KernelError."""
    data = function_btf(program)
    with maps.load_btf(data) as btf:
        return ProgramFd(
            calls.load_program(
                _SYSCALL,
                name,
                program.code,
                flags=_SLEEPABLE,
                btf=btf.number,
                functions=function_info(program),
                record_size=RECORD_SIZE,
            )
        )


def run(program: ProgramFd, options: structures.TestRunOptions | None = None) -> int:
    """Run a program once, in this thread; what it returns, as 32 bits. `options` are used again. Raises KernelError."""
    return calls.run_syscall_program(program.number, options)
