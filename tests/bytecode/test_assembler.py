"""Instructions have the bytes of `struct bpf_insn`, in either byte order, and jumps reach their labels."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from provisioner.bytecode.assembler import R0, R1, R2, R3, R4, R10, Alu, Assembler, Helper, Jump
from provisioner.bytecode.function_info import function_btf, function_info
from provisioner.codec.btf import BtfTypes


@pytest.mark.parametrize(
    ("emit", "little", "big"),
    [
        (lambda code: code.mov(R1, R2), "bf 21 0000 00000000", "bf 12 0000 00000000"),
        (lambda code: code.mov(R1, -1), "b7 01 0000 ffffffff", "b7 10 0000 ffffffff"),
        (lambda code: code.alu(Alu.ADD, R2, 5, bits=32), "04 02 0000 05000000", "04 20 0000 00000005"),
        (lambda code: code.load(R0, R10, -8, 8), "79 a0 f8ff 00000000", "79 0a fff8 00000000"),
        (lambda code: code.store(R10, -4, R1, 4), "63 1a fcff 00000000", "63 a1 fffc 00000000"),
        (lambda code: code.store(R10, -4, 7, 2), "6a 0a fcff 07000000", "6a a0 fffc 00000007"),
        (lambda code: code.atomic_add(R1, 8, R2, 8), "db 21 0800 00000000", "db 12 0008 00000000"),
        (lambda code: code.compare_exchange(R1, 0, R2, 4), "c3 21 0000 f1000000", "c3 12 0000 000000f1"),
        (lambda code: code.call(Helper.MAP_LOOKUP_ELEM), "85 00 0000 01000000", "85 00 0000 00000001"),
        (
            lambda code: (code.label("here"), code.jump_if(Jump.NE, R0, -17, "here", bits=32)),
            "56 00 ffff efffffff",
            "56 00 ffff ffffffef",
        ),
        (lambda code: code.host_order(R3, "big", 4), "dc 03 0000 20000000", "dc 30 0000 00000020"),
        (lambda code: code.host_order(R3, "little", 8), "d4 03 0000 40000000", "d4 30 0000 00000040"),
        (lambda code: code.exit(), "95 00 0000 00000000", "95 00 0000 00000000"),
        (
            lambda code: code.constant(R3, 0x1122334455667788),
            "18 03 0000 88776655 00 00 0000 44332211",
            "18 30 0000 55667788 00 00 0000 11223344",
        ),
        (lambda code: code.map(R1, 9), "18 11 0000 09000000 00 00 0000 00000000", "18 11 0000 00000009" + "00" * 8),
    ],
)
def test_an_instruction(emit: Callable[[Assembler], None], little: str, big: str) -> None:
    for byteorder, expected in (("little", little), ("big", big)):
        code = Assembler(byteorder)
        emit(code)
        assert code.assemble().code == bytes.fromhex(expected)


def test_jumps_go_forward_and_back() -> None:
    code = Assembler("little")
    code.label("start")
    code.jump_if(Jump.EQ, R1, 0, "end")
    code.jump("start")
    code.label("end")
    code.exit()
    assert code.is_used("end")
    assert not code.is_used("elsewhere")
    assert code.assemble().code == bytes.fromhex("15 01 0100 00000000 05 00 feff 00000000 95 00 0000 00000000")


def test_a_label_is_in_one_place() -> None:
    code = Assembler()
    code.label("here")
    with pytest.raises(ValueError, match="here"):
        code.label("here")
    code.jump("nowhere")
    with pytest.raises(KeyError):
        code.assemble()


def test_each_function_has_a_type() -> None:
    code = Assembler("little")
    code.callback(R2, "each")
    code.mov(R4, 0)
    code.exit(0)
    code.function("each")
    code.exit(0)
    program = code.assemble()
    assert program.functions == (0, 5)
    assert program.code[:8] == bytes.fromhex("18 42 0000 04000000"), "the distance to the function"
    assert function_info(program, "little") == bytes.fromhex("00000000 03000000 05000000 04000000")
    data = function_btf(program, "little")
    assert len(BtfTypes(data)) == 4, "int, the prototype, and each function"
    assert data.endswith(b"\0int\0f0\0f1\0")
