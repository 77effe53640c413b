"""Code that adds the hash of one entry to the sums of its map, as `digest` computes it. Pure."""

from __future__ import annotations

from provisioner.bytecode.assembler import R0, R1, R2, R3, R4, R5, R6, R8, R9, Alu, Assembler, Register
from provisioner.bytecode.digest import LANES, SHIFTS, Piece, Secret, Words


class EntryHash:
    """R6 has the sums and the count, R8 and R9 get the hashes of both lanes, and R5 is the value that is loaded from.

    R1 to R4 are overwritten.
    """

    def __init__(self, code: Assembler, words: Words, secret: Secret) -> None:
        self._code = code
        self._words = words
        self._secret = secret

    def gather_bits(self) -> None:
        """R0 gets all bits of the value at R5 that count."""
        for piece in self._words.value:
            self._load(R1, R5, piece.offset, piece)
            self._code.alu(Alu.OR, R0, R1)

    def begin(self, base: Register, offset: int = 0) -> None:
        """Hash the key that is at an offset from `base`."""
        self._code.mov(R8, 0)
        self._code.mov(R9, 0)
        for number, piece in enumerate(self._words.key):
            self._hash(base, offset + piece.offset, piece, number)

    def value(self, cpu: int = 0) -> None:
        """Hash the value at R5."""
        first = len(self._words.key) + cpu * len(self._words.value)
        for number, piece in enumerate(self._words.value):
            self._hash(R5, piece.offset, piece, first + number)

    def add(self) -> None:
        """Mix both hashes, and add them and one entry to the sums."""
        code = self._code
        for lane, total in enumerate((R8, R9)):
            for shift, factor in zip(SHIFTS, (*self._secret.factors[lane], None), strict=True):
                code.mov(R1, total)
                code.alu(Alu.RSH, R1, shift)
                code.alu(Alu.XOR, total, R1)
                if factor is not None:
                    code.constant(R1, factor)
                    code.alu(Alu.MUL, total, R1)
            code.load(R1, R6, 8 * lane, 8)
            code.alu(Alu.ADD, R1, total)
            code.store(R6, 8 * lane, R1, 8)
        self.count()

    def count(self) -> None:
        """Add one entry."""
        self._code.load(R1, R6, 8 * LANES, 8)
        self._code.alu(Alu.ADD, R1, 1)
        self._code.store(R6, 8 * LANES, R1, 8)

    def _load(self, to: Register, base: Register, offset: int, piece: Piece) -> None:
        self._code.load(to, base, offset, piece.width)
        if not piece.is_whole:
            self._code.constant(R4, piece.mask)
            self._code.alu(Alu.AND, to, R4)

    def _hash(self, base: Register, offset: int, piece: Piece, number: int) -> None:
        """Add the product of the keyed halves of one word to both lanes."""
        code = self._code
        self._load(R1, base, offset, piece)
        for lane, total in enumerate((R8, R9)):
            first, second = self._secret.halves[number][lane]
            code.mov(R2, R1, bits=32)
            code.alu(Alu.ADD, R2, first, bits=32)
            if piece.width == 8:
                code.mov(R3, R1)
                code.alu(Alu.RSH, R3, 32)
                code.alu(Alu.ADD, R3, second, bits=32)
            else:
                code.mov(R3, second, bits=32)
            code.alu(Alu.MUL, R2, R3)
            code.alu(Alu.ADD, total, R2)
