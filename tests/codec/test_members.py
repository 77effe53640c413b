"""Members of which a value of the spec has none: what is said of one that is written."""

from __future__ import annotations

import numpy as np
import pytest

from provisioner.codec.members import Absent, NotOurs, Opaque, Pointer
from provisioner.model.special_fields import SPIN_LOCK


@pytest.mark.parametrize(
    ("absent", "id_", "member", "whole"),
    [
        (Opaque(SPIN_LOCK, 4, 4), "kernel-field", "member `m` is managed", "a bpf_spin_lock is managed"),
        (Pointer("struct task *", 8, 8), "wrong-type", "member `m` is a pointer", "it is a pointer"),
        (NotOurs("u32", 4, 4), "member-not-owned", "member `m` is not in", "it is not in"),
    ],
)
def test_a_member_that_no_value_has(absent: Absent, id_: str, member: str, whole: str) -> None:
    of_member, of_all = absent.refused("m"), absent.refused("")
    assert (of_member.row, of_member.path, of_member.id) == (-1, ("m",), id_)
    assert (of_all.row, of_all.path, of_all.id) == (-1, (), id_)
    assert of_member.what.startswith(member)
    assert of_all.what.startswith(whole)
    out = np.ones((2, absent.size), np.uint8)
    assert absent.encode({}, out) == []
    assert not out.any()
    assert absent.encode({(): ["1", "2"]}, out) == [of_all]
    assert (absent.decode(out), absent.mask().any()) == ([None, None], np.False_)


def test_null_can_be_written_for_a_pointer_alone() -> None:
    assert Pointer("struct task *", 8, 8).accepts(["null", None, "~"])
    assert not Pointer("struct task *", 8, 8).accepts(["null", "7"])
    assert not Opaque(SPIN_LOCK, 4, 4).accepts(["null"])
