"""The padding of per-CPU values, which the kernel moves in words of 8 bytes, means nothing."""

from __future__ import annotations

import numpy as np
import pytest

from provisioner.codec.build import integer
from provisioner.codec.percpu import PerCpu


@pytest.mark.parametrize(("word", "size"), [("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8)])
def test_padding_is_not_compared(word: str, size: int) -> None:
    kind = integer(word, "little")
    assert kind is not None
    mask = PerCpu(kind, 3).mask()
    assert mask.tolist() == ([0xFF] * size + [0] * (8 - size)) * 3
    value = np.zeros(24, np.uint8)
    padded = value | ~mask
    assert (padded & mask).tolist() == (value & mask).tolist()
