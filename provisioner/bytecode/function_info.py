"""BTF of the functions of a generated program: the kernel asks for it where a helper calls one back. Pure.

`check_ld_imm` refuses BPF_PSEUDO_FUNC without `func_info`, and a callback that is not static (69c087ba6225, 5.13).
"""

from __future__ import annotations

import struct
import sys
from typing import Final

from provisioner.bytecode.assembler import Assembled

_MAGIC: Final = 0xEB9F
_INT, _FUNC, _FUNC_PROTO = 1, 12, 13
_SIGNED: Final = 1 << 24
_INT_ID, _PROTO_ID, _FIRST_FUNC_ID = 1, 2, 3

RECORD_SIZE: Final = 8
"""Bytes of one `struct bpf_func_info`."""


def function_btf(program: Assembled, byteorder: str = sys.byteorder) -> bytes:
    """One type for each function, all static and `int f(void)`: the verifier knows the arguments of callbacks."""
    order = "<" if byteorder == "little" else ">"
    names = ["int", *(f"f{number}" for number in range(len(program.functions)))]
    strings, at = b"\0", {}
    for name in names:
        at[name] = len(strings)
        strings += name.encode() + b"\0"
    types = struct.pack(f"{order}4I", at["int"], _INT << 24, 4, _SIGNED | 32)
    types += struct.pack(f"{order}3I", 0, _FUNC_PROTO << 24, _INT_ID)
    for name in names[1:]:
        types += struct.pack(f"{order}3I", at[name], _FUNC << 24, _PROTO_ID)
    header = struct.pack(f"{order}HBBIIIII", _MAGIC, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + strings


def function_info(program: Assembled, byteorder: str = sys.byteorder) -> bytes:
    """The records that say which type is at which instruction."""
    order = "<" if byteorder == "little" else ">"
    pairs = ((start, _FIRST_FUNC_ID + number) for number, start in enumerate(program.functions))
    return b"".join(struct.pack(f"{order}2I", *pair) for pair in pairs)
