"""`owned_members` and `set`, as a spec writes them: which bytes are ours, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest

import provisioner
from provisioner.codec.owned import Owned, initial_members, member_names
from provisioner.model.desired import DesiredMap
from provisioner.model.errors import InputError
from provisioner.model.host import Host

SPEC = """
version: 1
name: edge
types:
  addr: {{union: {{v4: ipv4, v6: ipv6}}}}
  rate: {{struct: {{bytes: u32, packets: u16}}}}
  quota: {{struct: {{limit: u8, tokens: u64, rate: rate, who: addr}}}}
maps:
  quotas: {{type: {kind}, key: u32, value: {value}, max_entries: 8, {fields}}}
"""


def load(fields: str, kind: str = "hash", value: str = "quota") -> DesiredMap:
    text = SPEC.format(fields=fields, kind=kind, value=value)
    loaded = provisioner.load("-", stdin=io.StringIO(text), host=Host("little", 2), any_host=True)
    return loaded.desired.maps["quotas"]


def problems(fields: str, kind: str = "hash", value: str = "quota") -> list[tuple[str, str]]:
    with pytest.raises(InputError) as refused:
        load(fields, kind, value)
    return [(problem.id, problem.what) for problem in refused.value.problems]


def test_our_bytes_and_those_of_new_entries() -> None:
    entries = "entries: {1: {limit: 5, rate: {packets: 258}}}"
    quotas = load(
        f"owned_members: [limit, rate.packets], set: {{tokens: 7, rate: {{bytes: 9}}, who: {{v4: 1.2.3.4}}}}, {entries}"
    )
    assert np.flatnonzero(quotas.value.owned.mask()).tolist() == [0, 20, 21]
    value = bytes(quotas.entries.values[0])
    assert (
        value
        == bytes((5, *bytes(7), 7, *bytes(7), 9, 0, 0, 0, 2, 1, 0, 0, 1, 2, 3, 4, *bytes(12), *bytes(4)))[: len(value)]
    )
    assert quotas.value.owned.decode(quotas.entries.values) == [{"limit": 5, "rate": {"packets": 258}}]
    assert isinstance(quotas.value, Owned)
    assert member_names(quotas.value.ours) == ("limit", "rate.packets")
    assert member_names(quotas.value.theirs) == ("tokens", "rate.bytes", "who")


def test_values_of_all_cpus() -> None:
    each = "limit: {0}, rate: {{packets: 258}}"
    entries = f"entries: {{1: [{{{each.format(5)}}}, {{{each.format(6)}}}], 2: {{{each.format(7)}}}}}"
    quotas = load(f"owned_members: [limit, rate.packets], set: {{tokens: 7}}, {entries}", "percpu_hash")
    assert np.flatnonzero(quotas.value.owned.mask()).tolist() == [0, 20, 21, 40, 60, 61]
    initial = quotas.value.as_new(np.zeros((1, 80), np.uint8))[0]
    assert {at: int(initial[at]) for at in np.flatnonzero(initial)} == {8: 7, 48: 7}
    first = {"limit": 5, "rate": {"packets": 258}}
    expected = [[first, first | {"limit": 6}], first | {"limit": 7}]
    assert quotas.value.owned.decode(quotas.entries.values) == expected
    assert isinstance(quotas.value, Owned)
    assert member_names(quotas.value.theirs) == ("tokens", "rate.bytes", "who")
    assert initial_members(quotas.value) == {"tokens": 7}


def test_raw_values_have_our_bytes_only() -> None:
    quotas = load("owned_members: [limit], set: {tokens: 7}")
    raw = quotas.value.encode_raw(b"\xff" * quotas.value.size)
    assert isinstance(raw, np.ndarray)
    assert raw.tolist() == [255, *bytes(7), 7, *bytes(quotas.value.size - 9)]


@pytest.mark.parametrize(
    ("fields", "id", "what"),
    [
        ("owned_members: [limt]", "unknown-field", "the struct quota has no member `limt`"),
        ("owned_members: [rate.bits]", "unknown-field", "`rate` has no member `bits`"),
        ("owned_members: [limit.low]", "unknown-field", "`limit` has no member `low`"),
        ("owned_members: [who.v4]", "owned-member-shares-bytes", "member `who.v4` is in a union: its members share"),
        ("owned_members: [rate.bytes, rate]", "duplicate-key", "member `rate` contains `rate.bytes`, which is listed"),
        (
            "owned_members: [rate, rate.bytes]",
            "duplicate-key",
            "member `rate.bytes` is part of `rate`, which is listed",
        ),
        ("owned_members: [limit, tokens, rate, who]", "owned-members-all", "all members are in `owned_members`"),
        ("owned_members: [limit], set: {limit: 1}", "conflicting-fields", "`set` has member `limit`, which is in"),
        ("owned_members: [rate.bytes], set: {rate: {bytes: 1}}", "conflicting-fields", "`set` has member `rate.bytes`"),
        ("owned_members: [limit], set: {tokns: 1}", "unknown-field", "the struct quota has no member `tokns`"),
        ("owned_members: [limit], set: {tokens: -1}", "out-of-range", "tokens: "),
        ("set: {tokens: 1}", "missing-field", "`set` needs `owned_members`"),
        (
            "owned_members: [limit], entries: {1: {limit: 1, tokens: 1}}",
            "member-not-owned",
            "member `tokens` is not in",
        ),
        ("owned_members: [limit, tokens], entries: {1: {limit: 1}}", "missing-field", "member `tokens` is missing"),
    ],
)
def test_what_is_refused(fields: str, id: str, what: str) -> None:
    first, text = problems(fields)[0]
    assert (first, text[: len(what)]) == (id, what)


def test_values_and_types_without_owned_members() -> None:
    assert problems("owned_members: [limit]", value="u32")[0][0] == "owned-not-a-struct"
    assert problems("owned_members: [limit]", kind="queue")[0][0] == "unsupported-by-map-type"
    assert problems("owned_members: [limit]", kind="stack_trace, contents: ignore")[0][0] == "unsupported-by-map-type"


def test_sensitive_members_stay_hidden() -> None:
    text = SPEC.format(fields="owned_members: [limit], entries: {1: {limit: 5}}", kind="hash", value="quota")
    text = text.replace("limit: u8", "limit: {type: u8, sensitive: true}")
    quotas = provisioner.load("-", stdin=io.StringIO(text), host=Host("little", 2), any_host=True).desired.maps[
        "quotas"
    ]
    (shown,) = (quotas.value.owned.conceal(value) for value in quotas.value.owned.decode(quotas.entries.values))
    assert "5" not in str(shown)
