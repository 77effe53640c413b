"""Names of interfaces and cgroups for a spec that is read for any host, and prefixes of the other family."""

from __future__ import annotations

import pytest

from provisioner.codec.build import build
from provisioner.codec.resolve import at_apply
from provisioner.model.errors import Problems
from provisioner.model.types import InvalidTextError, Type

from .support import built, typ


def of_any_host(name: str) -> Type:
    type_ = build(typ(name), {}, byteorder="little", problems=Problems(), lookups=at_apply())
    assert type_ is not None
    return type_


@pytest.mark.parametrize(("name", "last"), [("ifindex", 2**32 - 1), ("cgroup_id", 2**64 - 1)])
def test_each_name_has_a_number_that_no_host_uses(name: str, last: int) -> None:
    type_ = of_any_host(name)
    rows = type_.parse_all(["one", "two", "one", "7"])  # type: ignore[attr-defined]
    assert rows is not None
    size = type_.size
    assert [int.from_bytes(row.tobytes(), "little") for row in rows] == [last, last - 1, last, 7]
    assert rows.shape == (4, size)
    assert type_.decode(rows) == ["one (known at apply)", "two (known at apply)", "one (known at apply)", 7]


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("cidr4", "2001:db8::/32", "use the type cidr6 for IPv6 prefixes"),
        ("cidr6", "10.0.0.0/8", "use the type cidr4 for IPv4 prefixes"),
        ("cidr6", "10.0.0/8", None),
        ("cidr6", "::10.0.0/104", None),
        ("cidr4", "10.0.0/8", None),
    ],
)
def test_a_prefix_of_the_other_family(name: str, text: str, hint: str | None) -> None:
    with pytest.raises(InvalidTextError) as refused:
        built(name).parse_one(text)  # type: ignore[attr-defined]
    if hint is None:
        assert "use the type" not in refused.value.hint
    else:
        assert refused.value.hint == hint
