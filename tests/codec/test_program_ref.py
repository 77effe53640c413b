"""Values of a prog_array: a program that has no id yet is a number that no id reaches."""

from __future__ import annotations

import numpy as np
import pytest

from provisioner.codec.program_ref import ProgramRef
from provisioner.model.types import ByteOrder, InvalidTextError

from .support import ORDERS


@pytest.mark.parametrize("order", ORDERS)
def test_names_and_ids(order: ByteOrder) -> None:
    ref = ProgramRef(order, ("first", "second"))
    assert (ref.size, ref.describe()) == (4, "program")
    last = [(1 << 32) - 1, (1 << 32) - 2]
    rows = ref.parse_all(["first", "second", "first"])
    assert rows is not None
    assert rows.tobytes() == b"".join(number.to_bytes(4, order) for number in (*last, last[0]))
    assert ref.decode(rows) == ["first", "second", "first"]
    live = ref.bound({51: "second", 60: "theirs"})
    bound = live.bind(rows)
    assert bound.tobytes() == b"".join(number.to_bytes(4, order) for number in (last[0], 51, last[0]))
    assert live.decode(bound) == ["first", "second", "first"]
    assert rows.tobytes()[4:8] == last[1].to_bytes(4, order), "what is given stays as it is"
    assert live.name_of(60) == "theirs"
    assert live.name_of(61) is None
    assert live.decode(np.frombuffer((61).to_bytes(4, order), np.uint8).reshape(1, 4)) == ["program 61"]


def test_a_program_that_is_not_of_the_project() -> None:
    ref = ProgramRef("little", ("first",))
    assert ref.parse_all(["first", "other"]) is None
    with pytest.raises(InvalidTextError) as refused:
        ref.parse_one("other")
    assert refused.value.id == "unknown-program"
