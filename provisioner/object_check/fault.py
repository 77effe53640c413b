"""What a check raises, and the arrays that checks compare."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.int64]
"""Numbers of a file, widened so that sums of them cannot overflow."""


class Malformed(Exception):
    """The object is malformed; the text says where in it, and why."""


def words_of(data: bytes, order: str) -> Words:
    """The 32-bit words of `data`, whose length is a multiple of 4. `order` is "<" or ">"."""
    return np.frombuffer(data, np.dtype(order + "u4")).astype(np.int64)


def first(bad: NDArray[Any]) -> int | None:
    """The index of the first true element; None if there is none."""
    return int(bad.argmax()) if bad.size and bool(bad.any()) else None
