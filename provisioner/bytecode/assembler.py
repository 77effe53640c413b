"""An assembler of BPF bytecode: instructions with labels, and functions that helpers call back. Pure.

Opcodes are those of `include/uapi/linux/bpf.h` and `bpf_common.h`; sizes are bytes, offsets of jumps are labels. A
wrong program does no harm: the verifier refuses it.
"""

from __future__ import annotations

import struct
import sys
from enum import IntEnum
from typing import Final

import msgspec


class Register(IntEnum):
    """R0 is the result of a call, R1 to R5 its arguments, R6 to R9 survive it, R10 is the frame pointer."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register


class Alu(IntEnum):
    """Operations on registers."""

    ADD = 0x00
    SUB = 0x10
    MUL = 0x20
    OR = 0x40
    AND = 0x50
    LSH = 0x60
    RSH = 0x70
    XOR = 0xA0
    MOV = 0xB0


class Jump(IntEnum):
    """Conditions: equal, different, unsigned less, and unsigned less or equal."""

    EQ = 0x10
    NE = 0x50
    LT = 0xA0
    LE = 0xB0


class Helper(IntEnum):
    """Numbers of helpers, `enum bpf_func_id`."""

    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    SPIN_LOCK = 93
    SPIN_UNLOCK = 94
    PROBE_READ_KERNEL = 113
    FOR_EACH_MAP_ELEM = 164
    SYS_BPF = 166
    LOOP = 181
    MAP_LOOKUP_PERCPU_ELEM = 195


_SIZES: Final = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
_LDX, _ST, _STX, _ALU32, _JMP, _JMP32, _ALU64, _LD_IMM64 = 0x61, 0x62, 0x63, 0x04, 0x05, 0x06, 0x07, 0x18
_FROM_REGISTER: Final = 0x08
_CALL, _EXIT, _ATOMIC, _SWAP = 0x85, 0x95, 0xC3, 0xD4
_ATOMIC_ADD, _ATOMIC_CMPXCHG = 0x00, 0xF1
_PSEUDO_MAP_FD, _PSEUDO_FUNC = 1, 4

Operand = Register | int


class Assembled(msgspec.Struct, frozen=True):
    """Instructions, and the instruction at which each function begins: the main one first."""

    code: bytes
    functions: tuple[int, ...]


class Assembler:
    """Collects the instructions of one program; `assemble` puts the distances of jumps in."""

    def __init__(self, byteorder: str = sys.byteorder) -> None:
        self._little = byteorder == "little"
        self._code: list[tuple[int, int, int, int, int]] = []
        self._labels: dict[str, int] = {}
        self._jumps: dict[int, str] = {}
        self._references: dict[int, str] = {}
        self._functions = [0]

    def label(self, name: str) -> None:
        """The place that jumps to `name` go to."""
        if name in self._labels:
            raise ValueError(f"label {name} is there twice")
        self._labels[name] = len(self._code)

    def is_used(self, name: str) -> bool:
        """Whether a jump before this place goes to a label."""
        return name in self._jumps.values()

    def function(self, name: str) -> None:
        """Begin a function, which a helper calls back."""
        self.label(name)
        self._functions.append(len(self._code))

    def alu(self, operation: Alu, to: Register, operand: Operand, *, bits: int = 64) -> None:
        """`to = to operation operand`; with 32 bits, the upper half becomes zero."""
        op = (_ALU64 if bits == 64 else _ALU32) | operation
        if isinstance(operand, Register):
            self._add(op | _FROM_REGISTER, to, operand)
        else:
            self._add(op, to, 0, 0, operand)

    def mov(self, to: Register, operand: Operand, *, bits: int = 64) -> None:
        self.alu(Alu.MOV, to, operand, bits=bits)

    def host_order(self, to: Register, byteorder: str, size: int) -> None:
        """Make a number of 2, 4 or 8 bytes that is in a byte order one in the order of the host."""
        self._add(_SWAP | (0 if byteorder == "little" else _FROM_REGISTER), to, 0, 0, 8 * size)

    def constant(self, to: Register, value: int) -> None:
        """A constant of 64 bits."""
        self._wide(to, 0, value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF)

    def map(self, to: Register, fd: int) -> None:
        """The address of a map, by its fd at load."""
        self._wide(to, _PSEUDO_MAP_FD, fd, 0)

    def callback(self, to: Register, name: str) -> None:
        """The address of a function of this program."""
        self._references[len(self._code)] = name
        self._wide(to, _PSEUDO_FUNC, 0, 0)

    def load(self, to: Register, base: Register, offset: int, size: int) -> None:
        self._add(_LDX | _SIZES[size], to, base, offset)

    def store(self, base: Register, offset: int, operand: Operand, size: int) -> None:
        if isinstance(operand, Register):
            self._add(_STX | _SIZES[size], base, operand, offset)
        else:
            self._add(_ST | _SIZES[size], base, 0, offset, operand)

    def atomic_add(self, base: Register, offset: int, operand: Register, size: int) -> None:
        """Add to 4 or 8 bytes of memory."""
        self._add(_ATOMIC | _SIZES[size], base, operand, offset, _ATOMIC_ADD)

    def compare_exchange(self, base: Register, offset: int, operand: Register, size: int) -> None:
        """Write 4 or 8 bytes where memory is R0; R0 gets what it was (5.12, 5ffa25502b5a)."""
        self._add(_ATOMIC | _SIZES[size], base, operand, offset, _ATOMIC_CMPXCHG)

    def jump(self, name: str) -> None:
        self._jumps[len(self._code)] = name
        self._add(_JMP)

    def jump_if(self, condition: Jump, left: Register, right: Operand, name: str, *, bits: int = 64) -> None:
        """Go to a label if `left condition right`, by all 64 bits or by the lower 32."""
        self._jumps[len(self._code)] = name
        op = (_JMP if bits == 64 else _JMP32) | condition
        if isinstance(right, Register):
            self._add(op | _FROM_REGISTER, left, right)
        else:
            self._add(op, left, 0, 0, right)

    def call(self, helper: Helper) -> None:
        self._add(_CALL, 0, 0, 0, helper)

    def exit(self, result: int | None = None) -> None:
        """Return R0, or a constant."""
        if result is not None:
            self.mov(R0, result)
        self._add(_EXIT)

    def assemble(self) -> Assembled:
        """Raises KeyError for a label that is nowhere."""
        code = list(self._code)
        for at, name in self._jumps.items():
            op, to, source, _, immediate = code[at]
            code[at] = op, to, source, self._labels[name] - at - 1, immediate
        for at, name in self._references.items():
            op, to, source, offset, _ = code[at]
            code[at] = op, to, source, offset, self._labels[name] - at - 1
        return Assembled(b"".join(self._pack(*each) for each in code), tuple(self._functions))

    def _add(self, op: int, to: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> None:
        self._code.append((op, to, source, offset, immediate))

    def _wide(self, to: Register, kind: int, low: int, high: int) -> None:
        self._add(_LD_IMM64, to, kind, 0, low)
        self._add(0, 0, 0, 0, high)

    def _pack(self, op: int, to: int, source: int, offset: int, immediate: int) -> bytes:
        """One `struct bpf_insn`: the registers are bit fields, in the order of the host."""
        registers = to | source << 4 if self._little else to << 4 | source
        order = "<" if self._little else ">"
        return struct.pack(f"{order}BBhI", op, registers, offset, immediate & 0xFFFFFFFF)
