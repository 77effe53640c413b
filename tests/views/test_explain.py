"""`explain`: one address, from the line that wants it to what would be done about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.model.address import Address, parse
from provisioner.model.errors import InputError
from provisioner.project.opening import load
from tests.apply.conftest import Bench
from tests.cli.support import run

SPEC = """
types: {pair: {struct: {port: be16, weight: u16}}, secret: {type: u32, sensitive: true}}
inner_templates:
  acl: {type: lpm_trie, key: cidr4, value: u8, max_entries: 64}
  pairs: {type: array, key: u32, value: pair, max_entries: 8, update: replace}
maps:
  active: {type: array, key: u32, value: u32, max_entries: 2, entries: {0: 5}}
  keys: {type: hash, key: u32, value: secret, max_entries: 2, entries: {1: 77}}
outer_maps:
  tenants:
    type: hash_of_maps
    key: pair
    max_entries: 64
    inner: acl
    inner_maps:
      - key: {port: 1, weight: 2}
        entries:
          10.0.0.0/8: 1
          10.1.0.0/16: 2
  vips:
    {type: array_of_maps, key: u32, max_entries: 8, inner: pairs, inner_maps: {3: {entries: {1: {port: 1, weight: 2}}}}}
"""
SLOT = "tenants[{port: 1, weight: 2}]"


def facts(bench: Bench, text: str, address: str) -> dict[str, str]:
    return {fact.label: fact.text for fact in bench.load(text).explain(address)}


def test_an_entry_that_is_not_there_yet(bench: Bench) -> None:
    explained = facts(bench, SPEC, f"{SLOT}[10.0.0.0/8]")
    assert explained["wanted by"] == f"{bench.folder}/spec.yaml:20"
    assert explained["key"] == "(08 00 00 00 0a 00 00 00)"
    assert explained["wanted"] == "1  (01)"
    assert explained["live"] == "does not exist"
    assert explained["live slot"] == "empty"
    assert explained["to do"] == "create the inner map: it does not exist"


def test_entries_that_change(bench: Bench) -> None:
    bench.apply(SPEC)
    text = SPEC.replace("10.0.0.0/8: 1", "10.0.0.0/8: 3").replace("10.1.0.0/16: 2", "10.2.0.0/16: 2")
    changed = facts(bench, text, f"{SLOT}[10.0.0.0/8]")
    assert (changed["wanted"], changed["live"]) == ("3  (03)", "1  (01)")
    assert changed["to do"] == "update in place"
    gone = facts(bench, text, f"{SLOT}[10.1.0.0/16]")
    assert (gone["wanted by"], gone["to do"]) == ("not in the spec", "delete in place")
    new = facts(bench, text, f"{SLOT}[10.2.0.0/16]")
    assert (new["live"], new["to do"]) == ("does not exist", "insert in place")
    same = facts(bench, SPEC, f"{SLOT}[10.0.0.0/8]")
    assert same["to do"] == "nothing: it matches the spec"
    assert facts(bench, SPEC, f"{SLOT}[192.0.2.0/24]")["to do"] == "nothing: it is neither live nor in the spec"


def test_an_entry_of_an_inner_map_that_is_replaced(bench: Bench) -> None:
    bench.apply(SPEC)
    explained = facts(bench, SPEC.replace("weight: 2}}}}}", "weight: 9}}}}}"), "vips[3][1]")
    assert explained["to do"] == "update in a new inner map: the spec has `update: replace`"
    assert explained["live"] == "{port: 1, weight: 2}  (00 01 02 00)"
    assert facts(bench, SPEC, "vips[3][7]")["live"] == "{port: 0, weight: 0}  (00 00 00 00)"


def test_slots(bench: Bench) -> None:
    assert facts(bench, SPEC, "vips[3]")["to do"] == "create: it does not exist"
    bench.apply(SPEC)
    inner = int.from_bytes(bench.ids("vips")[bytes([3, 0, 0, 0])].to_bytes(4, "big"), "big")
    explained = facts(bench, SPEC, "vips[3]")
    assert explained["live slot"] == f"inner map id {inner}, max_entries 8"
    assert explained["wanted"] == "1 entry, exact, max_entries 8"
    assert explained["to do"] == "nothing: it matches the spec"
    assert facts(bench, SPEC, "vips[4]")["live slot"] == "empty"
    gone = facts(bench, SPEC.replace("{3: {entries: {1: {port: 1, weight: 2}}}}", "{}"), "vips[3]")
    assert gone["to do"] == "delete: not in the spec"


def test_maps(bench: Bench) -> None:
    assert facts(bench, SPEC, "tenants")["live"] == "does not exist"
    bench.apply(SPEC)
    assert facts(bench, SPEC, "tenants")["to do"] == "nothing: it matches the spec"
    assert facts(bench, SPEC, "active[0]")["live"] == "5  (05 00 00 00)"
    assert facts(bench, SPEC, "active[1]")["to do"] == "nothing: the element is zero, and not in the spec"
    other = facts(bench, SPEC.replace("max_entries: 64\n    inner", "max_entries: 128\n    inner"), "tenants")
    assert other["to do"] == "replace with a new map: max_entries 64 -> 128"


def test_secrets_stay_secret(bench: Bench) -> None:
    bench.apply(SPEC)
    explained = facts(bench, SPEC, "keys[1]")
    assert (explained["wanted"], explained["live"]) == ("(sensitive)  (sensitive)", "(sensitive)  (sensitive)")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tenants", Address("tenants")),
        ("tenants[42][10.0.0.0/8]", Address("tenants", ("42", "10.0.0.0/8"))),
        ("t[[1, 2]][{a: [3]}]", Address("t", ("[1, 2]", "{a: [3]}"))),
        ('t["]"][x]', Address("t", ('"]"', "x"))),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "[1]", "t[", "t[]", "t[1]x", "t[1][2][3]", "t[1", 't["]', "t]"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    assert [problem.id for problem in caught.value.problems] == ["invalid-address"]


@pytest.mark.parametrize(
    ("address", "id_"),
    [
        ("tenant[1]", "unknown-map"),
        ("vips[x]", "invalid-number"),
        ("vips[1][2][3]", "invalid-address"),
        ("active[1][2]", "invalid-address"),
        ("tenants[1]", "wrong-type"),
        (f"{SLOT}[10.0.0.1/8]", "invalid-value"),
        ("vips[{]", "invalid-address"),
        ("vips['a: b: c']", "invalid-number"),
        ("vips[a: b: c]", "invalid-address"),
    ],
)
def test_what_an_address_cannot_name(tmp_path: Path, address: str, id_: str) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("version: 1\nname: edge\n" + SPEC)
    project = load([spec])
    with pytest.raises(InputError) as caught:
        project.explain(address)
    assert [problem.id for problem in caught.value.problems] == [id_]


def test_the_command_line(bench: Bench) -> None:
    bench.apply(SPEC)
    done = run("explain", bench.folder / "spec.yaml", "active[0]", "--pin-root", bench.root)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[0] == "active[0]"
    assert f"{bench.folder}/spec.yaml:9" in done.out
    file = bench.folder / "host.snapshot"
    assert run("export", "--snapshot", file, bench.folder / "spec.yaml", "--pin-root", bench.root).status == 0
    again = run("explain", bench.folder / "spec.yaml", "active[0]", "--pin-root", bench.root, "--against", file)
    assert again.out.endswith(done.out)
    short = run("explain", bench.folder / "spec.yaml")
    assert (short.status, short.out) == (64, "")


LONG = """
types: {peer: {struct: {name: "char[256]", rate: u64}}}
maps: {peers: {type: hash, key: u32, value: peer, max_entries: 4, entries: {7: {name: NAME, rate: RATE}}}}
"""


def test_a_long_value_is_readable(bench: Bench) -> None:
    name = "x" * 200
    bench.apply(LONG.replace("NAME", name).replace("RATE", "10"))
    spec = bench.folder / "spec.yaml"
    spec.write_text(spec.read_text().replace("rate: 10", "rate: 20"))
    cut = f"{'x' * 64}... (200 characters)"
    assert f"{{name: {cut}, rate: 10}}" in run("explain", spec, "peers[7]", "--pin-root", bench.root).out
    assert f"{{rate: 10 -> 20, name: {cut}}} in the spec" in run("show", spec, "--pin-root", bench.root).out
    for verb, more in (("explain", "peers[7]"), ("show", "--full"), ("plan", "--exit-zero")):
        document = run(verb, spec, more, "--pin-root", bench.root, "--format", "json").out
        assert f'"name": "{name}"' in document
