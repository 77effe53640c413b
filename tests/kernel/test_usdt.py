"""Arguments of probes as <sys/sdt.h> writes them, and as libbpf's usdt.bpf.h reads them. No system call."""

from __future__ import annotations

import struct

import pytest

from provisioner.kernel import usdt
from provisioner.model.errors import HostError

SIZE = 208
CONST, REG, DEREF = 0, 1, 2


@pytest.mark.parametrize(
    ("machine", "argument", "expected"),
    [
        ("x86_64", "8@%rax", (0, REG, 80, False, 0)),
        ("x86_64", "-4@%edi", (0, REG, 112, True, 32)),
        ("x86_64", "1@%r8b", (0, REG, 72, False, 56)),
        ("x86_64", "2@%si", (0, REG, 104, False, 48)),
        ("x86_64", "-1@%bpl", (0, REG, 32, True, 56)),
        ("x86_64", "-8@-24(%rbp)", (2**64 - 24, DEREF, 32, True, 0)),
        ("x86_64", "4@(%rsp)", (0, DEREF, 152, False, 32)),
        ("x86_64", "-4@$-9", (2**64 - 9, CONST, 0, True, 32)),
        ("aarch64", "-4@x3", (0, REG, 24, True, 32)),
        ("aarch64", "8@[sp, 16]", (16, DEREF, 248, False, 0)),
        ("aarch64", "4@[x1]", (0, DEREF, 8, False, 32)),
        ("aarch64", "-4@5", (5, CONST, 0, True, 32)),
    ],
)
def test_an_argument(machine: str, argument: str, expected: tuple[int, int, int, bool, int]) -> None:
    made = usdt.encode(argument, machine, SIZE)
    assert len(made) == SIZE
    assert struct.unpack_from("=QIhBb", made) == expected
    assert struct.unpack_from("=Qh", made, 192) == (0, 1)


def test_several_arguments_and_none() -> None:
    two = usdt.encode("8@[sp, 16] -4@x3", "aarch64", SIZE)
    assert two[:16] == usdt.encode("8@[sp, 16]", "aarch64", SIZE)[:16]
    assert two[16:32] == usdt.encode("-4@x3", "aarch64", SIZE)[:16]
    assert struct.unpack_from("=Qh", two, 192) == (0, 2)
    assert usdt.encode("", "x86_64", SIZE) == bytes(SIZE)


@pytest.mark.parametrize(
    ("machine", "arguments"),
    [
        ("x86_64", "8@(%rax,%rbx,8)"),
        ("x86_64", "8f@%xmm0"),
        ("x86_64", "4@counter(%rip)"),
        ("x86_64", "8@%xyz"),
        ("x86_64", "nonsense"),
        ("x86_64", " ".join(["8@%rax"] * 13)),
        ("aarch64", "8@x99"),
        ("riscv64", "8@a0"),
    ],
)
def test_what_cannot_be_read(machine: str, arguments: str) -> None:
    with pytest.raises(HostError) as refused:
        usdt.encode(arguments, machine, SIZE)
    assert refused.value.problems[0].id == "attach-unsupported"
