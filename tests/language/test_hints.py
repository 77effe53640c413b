"""Hints: the text that they offer means what the user wrote, and what a reader cannot see is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.desired.loading import SpecError
from provisioner.model.errors import Problem, did_you_mean
from provisioner.model.host import Host
from provisioner.project.opening import load
from tests.document.support import HEAD

MAP = "maps: {{m: {{type: {type}, key: {key}, value: {value}, max_entries: 9, entries: {entries}}}}}\n"
TYPES = "types: {wait: {type: u64, unit: ms}, room: {type: u64, unit: B}, verdict: {enum: {deny: 0, allow: 1}}}\n"
NO_BREAK, ZERO_WIDTH, CYRILLIC_A = "\u00a0", "\u200b", "\u0430"


def problems(folder: Path, text: str) -> tuple[Problem, ...]:
    (folder / "edge.yaml").write_text(HEAD + text)
    with pytest.raises(SpecError) as caught:
        load([folder / "edge.yaml"], host=Host("little", 2), lookups={})
    return caught.value.problems


def of_value(folder: Path, value: str, written: str) -> Problem:
    (problem,) = problems(folder, TYPES + MAP.format(type="hash", key="u32", value=value, entries=f"{{1: {written}}}"))
    return problem


@pytest.mark.parametrize(
    ("value", "written", "hint"),
    [
        ("cidr4", "10.0.0.0/255.0.0.0", "write 10.0.0.0/8"),
        ("cidr4", "10.0.0.0/0xff", "write a length from 0 to 32"),
        ("cidr6", "'2001:db8::/ffff:ffff::'", "write 2001:db8::/32"),
        ("cidr4", "'2001:db8::/32'", "use the type cidr6 for IPv6 prefixes"),
        ("cidr4", "10.0.0.0/8/9", "write 10.0.0.0/8, if that is meant"),
        ("cidr6", "10.0.0.0/8", "use the type cidr4 for IPv4 prefixes"),
        ("ipv4", "'2001:db8::/32'", "use a cidr type for prefixes"),
        ("ipv4", "'192.0.2.1:80'", "write 192.0.2.1"),
        ("ipv4", "'[::1]'", "write ::1, and use the type `ip` for both families"),
        ("ipv6", "'[::1]:80'", "write ::1"),
        ("ip", "'192.0.2.1:80'", "write 192.0.2.1"),
        ("wait", "1m", "write 1min"),
        ("wait", "3mins", "write 3min"),
        ("wait", "2hrs", "write 2h"),
        ("wait", "5 months", "known: ns, us, ms, s, min, h, d"),
        ("room", "64k", "known: B, KB, KiB, MB, MiB, GB, GiB, TB, TiB"),
        ("verdict", "DENY", "write `deny`"),
        ("verdict", "denny", "did you mean `deny`?"),
        ("verdict", "7", "known: deny: 0, allow: 1"),
        ("verdict", "'deny '", "remove the trailing space"),
        ("u32", "http", ""),
        ("u32", "1-5", "a range is written `first..last`, and only as the key of an inner map or in `owned_keys`"),
        ("u32", "1f", "write 0x1f if it is hexadecimal"),
        ("u32", "'1 '", "remove the trailing space"),
        ("u32", "' 1 '", "remove the leading and the trailing space"),
        ("u32", f"1{NO_BREAK}", "remove the invisible character U+00A0 (no-break space)"),
        ("u32", f"1{ZERO_WIDTH}", "remove the invisible character U+200B (zero width space)"),
        ("'bytes[4]'", "'01:02:03:04'", "write 01020304"),
        ("'bytes[4]'", "'1:2:3:4'", "write 01020304"),
        ("'bytes[4]'", "'001:002'", "write two hex digits for each byte: 0x0a1b"),
        ("'bytes[4]'", "'010203'", ""),
        ("'bytes[4]'", "'0102030'", "write two digits for each byte"),
    ],
)
def test_of_values(tmp_path: Path, value: str, written: str, hint: str) -> None:
    assert of_value(tmp_path, value, written).hint == hint


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("type: hash", "type: BPF_MAP_TYPE_HASH", "write `hash`"),
        ("type: hash", "type: Hash", "write `hash`"),
        ("type: hash", "type: 'hash '", "remove the trailing space"),
        ("max_entries: 9", "max_entries: 9, flags: [BPF_F_NO_PREALLOC]", "write `no_prealloc`"),
        ("type: hash", "type: BPF_MAP_TYPE_HASH_OF_MAPS", "`outer_maps`; inner maps cannot be outer maps"),
        (
            "value: u32",
            "value: {type: u32, unit: Mbps}",
            "known: ns, us, ms, s, min, h, d, B, KB, KiB, MB, MiB, GB, GiB, TB, TiB",
        ),
        ("value: u32", "value: U32", "write `u32`"),
        ("value: u32", "value: u32be", "write be32"),
        ("value: u32", "value: u128", "write bytes[16]"),
        ("type: hash", "type: array-of-map", "`outer_maps`; inner maps cannot be outer maps"),
        ("max_entries: 9", "max_entries: 9, max_entry: 9", "`max_entries` is written as well: remove one of the two"),
        ("max_entries: 9", "max_entries: 9, flags: no_prealloc", "write [no_prealloc]"),
        ("value: u32", "value: 'u32 '", "remove the trailing space"),
        ("maps:", f"m{CYRILLIC_A}ps:", f"did you mean `maps`? `{CYRILLIC_A}` is U+0430 (cyrillic small letter a)"),
        ("max_entries: 9", "max_entries: '9'", "remove the quotes"),
        ("max_entries: 9", "max_entries: 4k", "write an integer from 1 to 4294967295, without a unit"),
        ("max_entries: 9", "max_entries: many", "write an integer from 1 to 4294967295"),
        ("max_entries: 9", "max_entries: 'many'", "write an integer from 1 to 4294967295"),
        ("maps:", "limits: {delete_percent: 30%}\nmaps:", "write 30"),
        ("maps:", "limits: {delete_percent: '30 %'}\nmaps:", "write 30"),
        ("maps:", "limits: {delete_percent: 130%}\nmaps:", "write an integer from 0 to 100, without a unit"),
        ("maps:", "limits: {update_percent: 0.3%}\nmaps:", "write an integer from 0 to 100, without a unit"),
        ("maps:", "limits: {at_least: 30%}\nmaps:", "write an integer from 0 to 4294967295, without a unit"),
        ("{m:", f"{{{CYRILLIC_A}:", f"`{CYRILLIC_A}` is U+0430 (cyrillic small letter a)"),
    ],
)
def test_of_fields(tmp_path: Path, old: str, new: str, hint: str) -> None:
    text = MAP.format(type="hash", key="u32", value="u32", entries="{}")
    assert text.count(old) == 1
    (problem,) = problems(tmp_path, text.replace(old, new))
    assert problem.hint.endswith(hint)


def test_of_the_type_of_an_outer_map(tmp_path: Path) -> None:
    text = "outer_maps: {o: {type: HASH_OF_MAPS, key: u32, max_entries: 4, inner: t}}\n"
    template = "inner_templates: {t: {type: hash, key: u32, value: u32, max_entries: 4}}\n"
    (problem,) = problems(tmp_path, template + text)
    assert problem.hint == "write `hash_of_maps`"


def test_of_a_member_of_a_member(tmp_path: Path) -> None:
    text = MAP.format(type="hash", key="u32", value="{btf: x, as: {a: {mac: mac}}}", entries="{}")
    no_btf, no_field = problems(tmp_path, text)
    assert (no_btf.id, no_field.id) == ("btf-missing", "unknown-field")
    assert no_field.hint == "write the path of the member: `a.mac: TYPE`"


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("types: {k: {lpm_key: bytes[256]}}\n", (3, 27), "quote text that contains `[ ] { } ,`"),
        (f"maps: {{m: {{entries: {{{'k' * 1100}: 1}}}}}}\n", (3, 1122), "use the list form"),
        ("maps: {m: {entries: {::1: 1}}}\n", (3, 22), "quote text that begins with `:`"),
        ("maps: {m: {entries: {*: 1}}}\n", (3, 23), "quote text that begins with `*`"),
        (f"maps:\n  m:\n    type:{NO_BREAK}hash\n    key: u32\n", (5, 10), "U+00A0 (no-break space)"),
    ],
)
def test_of_yaml(tmp_path: Path, text: str, place: tuple[int, int], hint: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.id == "invalid-yaml"
    assert problem.where is not None
    assert (problem.where.line, problem.where.column) == place
    assert hint in problem.hint


def test_a_suggestion_is_never_what_was_written() -> None:
    assert did_you_mean("acl", ["acl", "acls"]) == "did you mean `acls`?"
    assert did_you_mean("acl", ["acl"], "check the name") == "check the name"


@pytest.mark.parametrize(
    "text",
    [
        "inner_templates:\n  a: &a {type: hash, key: u32, value: u32, max_entries: 4}\n  b: {<<: *a, max_entries: 8}\n",
        "maps:\n  a: {type: hash, key: u32, value: u32, max_entries: 4, entries: &e {1: 1}}\n"
        "  b: {type: hash, key: u32, value: u32, max_entries: 4, entries: {<<: *e, 2: 2}}\n",
    ],
)
def test_a_merge_key_is_a_single_error(tmp_path: Path, text: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert (problem.id, problem.where and problem.where.line) == ("unsupported-yaml", 5)


def test_an_error_in_a_value_of_an_anchor_is_reported_once(tmp_path: Path) -> None:
    fields = "type: hash, key: u32, value: u8, max_entries: 4"
    text = f"x-e: &e {{1: 300, 2: 4}}\nmaps: {{a: {{{fields}, entries: *e}}, b: {{{fields}, entries: *e}}}}\n"
    (problem,) = problems(tmp_path, text)
    assert (problem.id, problem.where and problem.where.line, problem.address) == ("out-of-range", 3, "a")


def test_an_unknown_shared_inner_map_is_a_single_error(tmp_path: Path) -> None:
    text = (
        "inner_templates: {t: {type: hash, key: u32, value: u32, max_entries: 4}}\n"
        "outer_maps: {o: {type: hash_of_maps, key: u32, max_entries: 4, inner: t, inner_maps: {1: {shared: no}}}}\n"
    )
    (problem,) = problems(tmp_path, text)
    assert problem.id == "unknown-reference"


@pytest.mark.parametrize("kind", ["sockmap", "perf_event_array"])
def test_entries_that_a_type_cannot_have_are_a_single_error(tmp_path: Path, kind: str) -> None:
    (problem,) = problems(tmp_path, MAP.format(type=kind, key="u32", value="u32", entries="{1: 1}"))
    assert problem.id == "unsupported-by-map-type"


@pytest.mark.parametrize("path", ["/sys/fs/bpf", "/sys/fs/bpf/"])
def test_the_mount_point_is_no_pin_root(tmp_path: Path, path: str) -> None:
    (problem,) = problems(tmp_path, f"pin_root: {path}\n")
    assert (problem.id, problem.where and problem.where.line) == ("pin-root-is-mount", HEAD.count("\n") + 1)
    assert problem.hint.startswith("use a directory below it")
