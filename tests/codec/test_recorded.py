"""The types in the record of a project: read back, they have the same bytes, the same text and the same secrets."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner import document
from provisioner.codec import Type
from provisioner.codec.build import Builder
from provisioner.codec.integer import Integer
from provisioner.codec.layout import Field, Struct
from provisioner.codec.layout_differences import differences
from provisioner.codec.layouts import layout_of
from provisioner.codec.members import Bits
from provisioner.codec.recorded import recorded
from provisioner.language.read_types import read_type
from provisioner.model.errors import Problems
from provisioner.model.record import RecordedTypes
from provisioner.model.tree import MappingNode
from provisioner.model.type_expr import TypeExpr
from provisioner.model.types import HIDDEN

from .support import built, lpm, option, struct
from .test_properties import types


def read(record: RecordedTypes, text: str) -> Type:
    """The type of `text`, as a spec with the names of `record` has it."""
    declared = "".join(f"  {name}: {written}\n" for name, written in {**record.names, "t_0": text}.items())
    problems = Problems()
    tree = document.load(["-"], stdin=io.StringIO(f"types:\n{declared}"), problems=problems).tree
    nodes = tree.get("types")
    assert isinstance(nodes, MappingNode)
    exprs = {name: read_type(node, problems) for name, _, node in nodes.named()}
    problems.raise_if_any()
    known = {name: expr for name, expr in exprs.items() if expr is not None}
    type_ = Builder(known, byteorder="little", problems=problems).build(known["t_0"])
    problems.raise_if_any()
    assert type_ is not None
    return type_


@settings(max_examples=40)
@given(types, st.data())
def test_a_recorded_type_is_read_back(written: TypeExpr | str, data: st.DataObject) -> None:
    type_ = built(written)
    record = recorded(None, type_, type_)
    again = read(record, record.value)
    assert (again.size, again.sensitive) == (type_.size, type_.sensitive)
    assert np.array_equal(again.mask(), type_.mask())
    raw = np.frombuffer(data.draw(st.binary(min_size=type_.size, max_size=type_.size)), np.uint8).reshape(1, -1)
    assert again.decode(raw & again.mask()) == type_.decode(raw & type_.mask())
    assert differences(layout_of(type_), layout_of(again)) == []
    hidden = [type_.conceal(value) for value in type_.decode(raw)]
    assert [again.conceal(value) for value in again.decode(raw)] == hidden


@pytest.mark.parametrize("key", ["cidr4", "cidr6", lpm("be32"), lpm(struct(vlan="be16", addr="ipv4"))])
def test_a_recorded_key_of_a_trie_is_read_back(key: TypeExpr | str) -> None:
    type_ = built(key)
    record = recorded(built("u32"), type_, built("u8"))
    assert record.outer_key == "u32"
    assert read(record, record.key).decode(np.zeros((1, type_.size), np.uint8)) == [type_.example()]


def test_a_sensitive_part_stays_hidden() -> None:
    secret = built(struct(id="u32", token=option("bytes[4]", sensitive=True)))
    record = recorded(None, built("u32"), secret)
    assert read(record, record.value).conceal({"id": 1, "token": "00"}) == {"id": 1, "token": HIDDEN}


def test_values_that_only_btf_can_express_are_hidden_where_a_part_is_sensitive() -> None:
    base = Integer("u8", 1, False, "little", 8)
    open_, secret = Bits(base, 3, 0, False, "little"), built(option("u8", sensitive=True))
    parts = (Field("kind", open_, 0), Field("pin", secret, 1))
    record = recorded(None, base, Struct(parts, 2, 1, "mixed"))
    assert read(record, record.value).conceal("0102") == HIDDEN
    assert recorded(None, base, Struct(parts[:1], 1, 1, "bits")).value == ""
