"""Types whose value is one scalar: columns of text, as strings or spans of a file, are encoded to bytes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from typing import ClassVar, TypeGuard

import numpy as np

from provisioner.codec.spans import Spans
from provisioner.model.types import Bytes, Column, Fault, InvalidTextError, Path, Type
from provisioner.model.words import odd_characters


class ScalarType(Type, frozen=True):
    """A type whose value is written as one text. `IS_TEXT` says that spaces and other characters are part of it."""

    IS_TEXT: ClassVar[bool] = False

    @abstractmethod
    def parse_one(self, text: str) -> bytes:
        """The bytes of one text; raises InvalidTextError for a text that does not fit exactly."""

    @abstractmethod
    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        """All of `texts` at once, shape (n, size), or None if any can be invalid: then each goes to `parse_one`."""

    def parse_spans(self, spans: Spans) -> Bytes | None:  # noqa: ARG002 (a type can lack a faster way)
        """As `parse_all`, for texts that are not strings yet; None leaves them to the other methods."""
        return None

    @property
    def align(self) -> int:
        return self.size

    def encode(self, columns: Mapping[Path, Column], out: Bytes) -> list[Fault]:
        texts = columns.get(())
        if texts is None or len(columns) != 1:
            what = f"the value of a {self.describe()} must be a scalar, not a list or mapping"
            return [Fault(-1, (), what, id="wrong-type")]
        if isinstance(texts, Spans):
            parsed = self.parse_spans(texts)
            if parsed is not None:
                out[:] = parsed
                return []
            texts = texts.strings()
        if all_written(texts):
            rows = self.parse_all(texts)
            if rows is not None:
                out[:] = rows
                return []
        faults: list[Fault] = []
        for row, text in enumerate(texts):
            if text is None:
                faults.append(Fault(row, (), f"the value of a {self.describe()} is empty", id="empty-value"))
                continue
            try:
                out[row] = np.frombuffer(self.parse_one(text), np.uint8)
            except InvalidTextError as error:
                odd = "" if self.IS_TEXT else odd_characters(text)
                faults.append(Fault(row, (), error.what, odd or error.hint, error.id))
        return faults

    def mask(self) -> Bytes:
        return _all_bits(self.size)


@cache
def _all_bits(size: int) -> Bytes:
    """The mask of scalars of a size, which nothing may write to."""
    mask = np.full(size, 0xFF, np.uint8)
    mask.flags.writeable = False
    return mask


def all_written(texts: Column) -> TypeGuard[Sequence[str]]:
    """Whether no row of the column is None."""
    return None not in texts
