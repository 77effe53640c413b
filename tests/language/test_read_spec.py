"""Tree -> Spec: the whole language read, and every kind of error told at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.attach.xdp import Xdp
from provisioner.model.attachment import IfMissing
from provisioner.model.spec import Contents, ExtraInnerMaps, KeyRange, OnReplace, Spec, TableRef, Update
from provisioner.model.tree import MappingNode, RawEntries, ScalarNode
from provisioner.model.type_expr import (
    ArrayType,
    BtfType,
    EnumType,
    LpmKeyType,
    NamedType,
    OptionType,
    StructType,
    UnionType,
)
from provisioner.model.uapi import MapFlag, MapType, XdpMode
from tests.document.support import HEAD, read, texts

EDGE = Path(__file__).parent / "edge.yaml"


@pytest.fixture(name="edge")
def _edge(tmp_path: Path) -> Spec:
    spec, problems = read(EDGE.read_bytes(), tmp_path)
    assert problems == []
    return spec


def test_project(edge: Spec, tmp_path: Path) -> None:
    assert (edge.name, edge.pin_root) == ("edge", "/sys/fs/bpf/edge")
    elsewhere, problems = read(HEAD + "pin_root: /sys/fs/bpf/a/b/\nlimits: {update_percent: 5}\n", tmp_path)
    assert problems == []
    assert elsewhere.pin_root == "/sys/fs/bpf/a/b"
    assert elsewhere.limits is not None
    assert (elsewhere.limits.delete_percent, elsewhere.limits.update_percent) == (None, 5)


def test_types(edge: Spec) -> None:
    backend, verdict, addr = edge.types["backend"], edge.types["verdict"], edge.types["addr"]
    assert isinstance(backend, StructType)
    assert [(member.name, member.type) for member in backend.members] == [
        (name, NamedType(name_of, member.type.where))
        for (name, name_of), member in zip(
            [("ip", "ipv4"), ("port", "be16"), ("weight", "u16")], backend.members, strict=True
        )
    ]
    assert isinstance(verdict, EnumType)
    assert (verdict.names, verdict.base.name) == ((("deny", 0), ("allow", 1)), "u8")
    assert isinstance(addr, UnionType)
    assert [member.name for member in addr.members] == ["v4", "v6"]
    ring, vip, secret, wait = (edge.types[name] for name in ("ring", "vip", "secret", "wait"))
    assert isinstance(ring, ArrayType)
    assert ring.count == 8
    assert isinstance(ring.element, NamedType)
    assert isinstance(vip, BtfType)
    assert (vip.name, vip.source, vip.refine[0].name) == ("struct vip", "router", "port")
    assert isinstance(secret, OptionType)
    assert isinstance(wait, OptionType)
    assert (secret.sensitive, secret.unit, wait.sensitive, wait.unit) == (True, "", False, "s")
    assert isinstance(edge.types["flow"], LpmKeyType)
    tight = edge.types["tight"]
    assert isinstance(tight, StructType)
    assert (tight.packed, backend.packed) == (True, False)


def test_an_array_of_arrays_reads_as_in_c(tmp_path: Path) -> None:
    spec, problems = read(HEAD + "types: {t: 'u8[2][0x3]'}\n", tmp_path)
    assert problems == []
    outer = spec.types["t"]
    assert isinstance(outer, ArrayType)
    assert isinstance(outer.element, ArrayType)
    assert (outer.count, outer.element.count) == (2, 3)


def test_refined_members_of_members_have_dotted_names(tmp_path: Path) -> None:
    text = "types: {vip: {btf: struct vip, from: vmlinux, as: {address.v4: ipv4, port: be16}}}\n"
    spec, problems = read(HEAD + text, tmp_path)
    assert problems == []
    vip = spec.types["vip"]
    assert isinstance(vip, BtfType)
    assert [member.name for member in vip.refine] == ["address.v4", "port"]


def test_templates(edge: Spec) -> None:
    acl, counters, seen = (edge.inner_templates[name] for name in ("acl", "counters", "seen"))
    assert (acl.fields.map_type, acl.fields.max_entries) == (MapType.LPM_TRIE, 1024)
    assert acl.fields.map_flags == MapFlag.NO_PREALLOC
    assert (counters.policy.contents, counters.fields.numa_node) == (Contents.IGNORE, 0)
    assert (seen.fields.max_entries, seen.policy.on_replace) == (4096, OnReplace.COPY)
    assert edge.inner_templates["backends"].fields.map_flags == MapFlag.INNER_MAP
    assert (acl.where.line, acl.where.column) == (19, 3)


def test_flags_that_a_type_needs_are_filled_in(tmp_path: Path) -> None:
    lpm = "type: lpm_trie, key: cidr4, value: u8, max_entries: 1"
    templates = f"a: {{{lpm}}}, b: {{{lpm}, flags: [zero_seed]}}, c: {{{lpm}, flags: [no_prealloc]}}"
    spec, problems = read(
        f"{HEAD}inner_templates: {{{templates}, d: {{type: hash, key: u8, value: u8, max_entries: 1}}}}\n", tmp_path
    )
    assert problems == []
    fields = {name: template.fields for name, template in spec.inner_templates.items()}
    assert {name: (one.map_flags, one.filled_flags) for name, one in fields.items()} == {
        "a": (MapFlag.NO_PREALLOC, MapFlag.NO_PREALLOC),
        "b": (MapFlag.NO_PREALLOC | MapFlag.ZERO_SEED, MapFlag.NO_PREALLOC),
        "c": (MapFlag.NO_PREALLOC, MapFlag(0)),
        "d": (None, MapFlag(0)),
    }


def test_objects(edge: Spec) -> None:
    router = edge.objects["router"]
    assert router.file.text == "../bpf/router.bpf.o"
    (program,) = router.programs
    assert (program.name, program.pin) == ("xdp_router", "xdp_router")
    (attachment,) = program.attachments
    assert attachment == Xdp(where=attachment.where, interface="veth-a", mode=XdpMode.NATIVE)
    assert attachment.if_missing is IfMissing.FAIL


def test_what_is_not_written_has_the_documented_default(tmp_path: Path) -> None:
    text = "objects: {o: {file: x.o, programs: {p: {attach: {xdp: {interface: eth0}}}, q: {}}}}\n"
    spec, problems = read(HEAD + text, tmp_path)
    assert problems == []
    attached, plain = spec.objects["o"].programs
    (attachment,) = attached.attachments
    assert (attached.pin, attachment.settings()["mode"], attachment.if_missing) == ("p", "auto", IfMissing.FAIL)
    assert plain.attachments == ()


def test_maps(edge: Spec) -> None:
    active, shared = edge.maps["active"], edge.shared_inner_maps["default_acl"]
    assert isinstance(active.entries, RawEntries)
    assert texts(active.entries) == [("0", "0")]
    assert [after.text for after in active.after] == ["tenants"]
    assert isinstance(shared.entries, RawEntries)
    assert (shared.inner, texts(shared.entries)) == ("acl", [("0.0.0.0/0", "allow")])


def test_outer_maps(edge: Spec) -> None:
    tenants, vips, blocklist = (edge.outer_maps[name] for name in ("tenants", "vips", "blocklist"))
    assert isinstance(tenants.inner_maps, tuple)
    plain, table, shared = tenants.inner_maps
    assert isinstance(plain.key, ScalarNode)
    assert (plain.key.text, plain.where.line, plain.where.column) == ("42", 44, 7)
    assert isinstance(table.entries, TableRef)
    assert (table.max_entries, table.entries.file.text) == (65536, "acl/43.csv")
    assert table.entries.key is not None
    assert table.entries.key.columns == (((), "cidr"),)
    assert isinstance(shared.key, KeyRange)
    assert shared.key.first is not None
    assert shared.key.last is not None
    assert (shared.key.first.text, shared.key.last.text, shared.shared) == ("100", "199", "default_acl")
    assert shared.key.last.where.column == 12
    assert (vips.object, vips.fields.map_type, vips.extra_inner_maps) == ("router", None, ExtraInnerMaps.DELETE)
    assert isinstance(blocklist.inner_maps, tuple)
    assert isinstance(blocklist.inner_maps[0].key, MappingNode)
    assert blocklist.limits is not None
    assert (blocklist.limits.delete_percent, blocklist.limits.at_least) == (30, 10)
    assert blocklist.prevent_destroy
    (owned,) = tenants.policy.owned_keys
    assert owned.first is not None
    assert owned.last is not None
    assert (owned.first.text, owned.last.text) == ("0", "999")


def test_outer_maps_of_other_forms(edge: Spec) -> None:
    per_cpu, long, adopted = (edge.outer_maps[name] for name in ("per_cpu", "long", "adopted"))
    assert isinstance(per_cpu.inner_maps, tuple)
    key = per_cpu.inner_maps[0].key
    assert isinstance(key, KeyRange)
    assert (key.first, key.last, per_cpu.extra_inner_maps) == (None, None, ExtraInnerMaps.KEEP)
    assert isinstance(long.inner_maps, TableRef)
    assert long.inner_maps.outer_key is not None
    assert long.inner_maps.value is not None
    assert long.inner_maps.outer_key.columns == (((), "tenant"),)
    assert long.inner_maps.value.columns == ((("action",), "action"),)
    assert long.policy.update is Update.REPLACE
    assert adopted.pin is not None
    assert (adopted.pin.text, adopted.default_shared) == ("/sys/fs/bpf/tc/globals/x", "default_acl")


def test_a_quoted_key_is_no_range(tmp_path: Path) -> None:
    text = """\
inner_templates: {i: {type: hash, key: u8, value: u8, max_entries: 1}}
outer_maps: {o: {type: hash_of_maps, key: "char[16]", max_entries: 9, inner: i, inner_maps: {"a..b": {}, 'from': {}}}}
"""
    spec, problems = read(HEAD + text, tmp_path)
    assert problems == []
    inner_maps = spec.outer_maps["o"].inner_maps
    assert isinstance(inner_maps, tuple)
    assert [key.text for key in (found.key for found in inner_maps) if isinstance(key, ScalarNode)] == ["a..b", "from"]


TEMPLATE = "inner_templates: {i: {type: hash, key: u8, value: u8, max_entries: 1}}\n"
OUTER = TEMPLATE + "outer_maps:\n  o: {type: hash_of_maps, key: u32, max_entries: 9, inner: i, "
PLAIN = "maps:\n  m: {type: hash, key: u8, value: u8, max_entries: 1, "

STRUCTURE: dict[str, tuple[str, list[str]]] = {
    "no name": ("version: 1\n", ["1:1: missing-field"]),
    "version": ("version: 2\nname: x\n", ["1:10: unsupported-version"]),
    "unknown key": (HEAD + "mapps: {}\n", ["3:1: unknown-field"]),
    "bad name": ("version: 1\nname: a.b\n", ["2:7: invalid-name"]),
    "name of ours": (HEAD + "maps: {_m: {pin: /x}}\n", ["3:8: invalid-name"]),
    "name with a point": (
        HEAD + "outer_maps: {a.b: {pin: /x, inner: i}}\n" + TEMPLATE,
        ["3:14: invalid-name"],
    ),
    "name too long": (
        HEAD + f"maps: {{{'m' * 256}: {{pin: /x}}}}\n",
        ["3:8: invalid-name"],
    ),
    "pin too long": (
        HEAD + f"objects: {{o: {{file: x, programs: {{p: {{pin: {'m' * 256}}}}}}}}}\n",
        ["3:44: invalid-name"],
    ),
    "number as text": (
        HEAD + 'maps: {m: {pin: /x, max_entries: "5"}}\n',
        ["3:34: wrong-type"],
    ),
    "octal": (
        HEAD + "maps: {m: {pin: /x, max_entries: 0755}}\n",
        ["3:34: wrong-type"],
    ),
    "underscores": (
        HEAD + "maps: {m: {pin: /x, max_entries: 1_0}}\n",
        ["3:34: wrong-type"],
    ),
    "sexagesimal": (
        HEAD + "maps: {m: {pin: /x, max_entries: 1:30}}\n",
        ["3:34: wrong-type"],
    ),
    "range of a number": (
        HEAD + "maps: {m: {pin: /x, max_entries: 0x100000000}}\n",
        ["3:34: out-of-range"],
    ),
    "yes": (
        HEAD + "maps: {m: {pin: /x, prevent_destroy: yes}}\n",
        ["3:38: wrong-type"],
    ),
    "empty body": (HEAD + "maps:\n  m:\n", ["4:3: wrong-type"]),
    "list for a mapping": (HEAD + "maps: [m]\n", ["3:1: wrong-type"]),
    "scalar entries": (
        HEAD + "maps: {m: {pin: /x, entries: 5}}\n",
        ["3:30: wrong-type"],
    ),
    "map type": (HEAD + "maps: {m: {type: hashh, pin: /x}}\n", ["3:18: unknown-value"]),
    "flag": (HEAD + "maps: {m: {pin: /x, flags: [mmapable, mapable]}}\n", ["3:39: unknown-value"]),
    "flag twice": (HEAD + "maps: {m: {pin: /x, flags: [clone, clone]}}\n", ["3:28: duplicate-key"]),
    "mode": (
        HEAD + "objects: {o: {file: x, programs: {p: {attach: {xdp: {interface: e, mode: skb}}}}}}\n",
        ["3:74: unknown-value"],
    ),
    "no interface": (
        HEAD + "objects: {o: {file: x, programs: {p: {attach: {xdp: {}}}}}}\n",
        ["3:48: missing-field"],
    ),
    "inner map key": (HEAD + OUTER + "inner_maps: {1: {entrys: {}}}}\n", ["5:80: unknown-field"]),
    "listed without key": (HEAD + OUTER + "inner_maps: [{entries: {}}]}\n", ["5:76: missing-field"]),
    "long table": (
        HEAD + OUTER + "inner_maps: {from: x.csv, key: a, value: b}}\n",
        ["5:75: missing-field"],
    ),
    "table": (HEAD + "maps: {m: {pin: /x, entries: {from: x.csv, col: b}}}\n", ["3:44: unknown-field"]),
    "beside": (HEAD + "types: {t: {type: u8, packed: true}}\n", ["3:23: missing-field"]),
    "type text": (HEAD + 'types: {t: "u8[0]"}\n', ["3:12: invalid-name"]),
    "empty struct": (HEAD + "types: {t: {struct: {}}}\n", ["3:13: empty-value"]),
    "member": (HEAD + "types: {t: {struct: {1a: u8}}}\n", ["3:22: invalid-name"]),
    "percent": (HEAD + "limits: {delete_percent: 101}\n", ["3:26: out-of-range"]),
    "empty text": (HEAD + 'objects: {o: {file: ""}}\n', ["3:21: empty-value"]),
}

MEANING: dict[str, tuple[str, list[str]]] = {
    "two forms": (
        "types: {t: {struct: {a: u8}, union: {a: u8}}}\n",
        ["3:30: invalid-type"],
    ),
    "no form": (
        "types: {t: {}}\n",
        ["3:12: invalid-type"],
    ),
    "count": ('types: {t: "u8[4294967296]"}\n', ["3:12: out-of-range"]),
    "BTF source": ("types: {t: {btf: x, from: y}}\n", ["3:13: unknown-reference"]),
    "template": (
        TEMPLATE + "outer_maps: {o: {pin: /x, inner: ii}}\n",
        ["4:34: unknown-reference"],
    ),
    "object": ("maps: {m: {object: o}}\n", ["3:20: unknown-reference"]),
    "own without pin": ("objects: {o: {file: x}}\nmaps: {m: {own: true, object: o}}\n", ["4:12: missing-field"]),
    "own in the pin root": (
        "maps: {m: {own: true, pin: /sys/fs/bpf/edge/m.x, type: array, key: u32, value: u32, max_entries: 1}}\n",
        ["3:28: invalid-name", "3:28: conflicting-fields"],
    ),
    "object and objects": (
        "objects: {o: {file: x}}\nmaps: {m: {object: o, objects: [o]}}\n",
        ["4:32: conflicting-fields"],
    ),
    "neither": (
        TEMPLATE + "outer_maps: {o: {inner: i}}\nmaps: {m: {key: u8}}\n",
        ["4:14: missing-field", "5:8: missing-field"],
    ),
    "parts missing": (
        TEMPLATE + "outer_maps: {o: {inner: i, type: hash_of_maps}}\n",
        [
            "4:14: missing-field",
            "4:14: missing-field",
        ],
    ),
    "shared": (
        OUTER + "inner_maps: {1: {shared: s}, 2: {shared: s}}}\n",
        ["5:88: unknown-reference"],
    ),
    "shared of another template": (
        "shared_inner_maps: {s: {inner: j}}\n" + OUTER + "inner_maps: {1: {shared: s}}}\n",
        [
            "3:32: unknown-reference",
            "6:88: conflicting-fields",
        ],
    ),
    "shared with entries": (
        "shared_inner_maps: {s: {inner: i}}\n" + OUTER + "inner_maps: {1: {shared: s, entries: {1: 2}}}}\n",
        ["6:100: conflicting-fields"],
    ),
    "default of a hash": (
        "shared_inner_maps: {s: {inner: i}}\n" + OUTER + "default: {shared: s}}\n",
        ["6:72: unsupported-by-map-type"],
    ),
    "ignore with entries": (
        PLAIN + "contents: ignore, entries: {1: 2}}\n",
        ["4:82: conflicting-fields"],
    ),
    "ignore from above": (
        OUTER + "contents: ignore, inner_maps: {1: {entries: {1: 2}}}}\n",
        ["5:107: conflicting-fields"],
    ),
    "exact LRU": (
        "inner_templates: {i: {type: lru_hash, key: u8, value: u8, max_entries: 1}}\n",
        ["3:19: unsupported-by-map-type"],
    ),
    "exact inner LRU": (
        TEMPLATE.replace("hash,", "lru_hash, contents: present,")
        + "outer_maps: {o: {pin: /x, inner: i, inner_maps: {1: {contents: exact}}}}\n",
        ["4:64: unsupported-by-map-type"],
    ),
    "present queue": (
        "inner_templates: {i: {type: queue, value: u8, max_entries: 1, contents: present}}\n",
        ["3:73: unsupported-by-map-type"],
    ),
    "sockets": (
        "maps: {m: {type: sockmap, key: u32, value: u64, max_entries: 1}}\n",
        ["3:8: unsupported-by-map-type"],
    ),
    "queue key": (
        "maps: {m: {type: queue, key: u8, value: u8, max_entries: 1, contents: ignore}}\n",
        ["3:30: unsupported-by-map-type"],
    ),
    "inner_map flag": (PLAIN + "flags: [inner_map]}\n", ["4:63: unsupported-by-map-type"]),
    "range": (
        PLAIN + "owned_keys: [9..1, 2.., 3]}\n",
        ["4:68: invalid-range", "4:74: invalid-range"],
    ),
    "inner range": (OUTER + "inner_maps: {9..1: {}}}\n", ["5:76: invalid-range"]),
    "after": (PLAIN + "after: [n]}\n", ["4:63: unknown-reference"]),
    "circle": (
        PLAIN + "after: [n]}\n  n: {pin: /x, after: [m]}\n",
        ["5:24: circular-reference"],
    ),
    "after itself": (PLAIN + "after: [m]}\n", ["4:63: circular-reference"]),
    "one name for two": (
        TEMPLATE + "outer_maps: {m: {pin: /x, inner: i}}\nmaps: {m: {pin: /y}}\n",
        ["5:8: name-taken"],
    ),
    "program and map": (
        "objects: {o: {file: x, programs: {p: {pin: m}}}}\nmaps: {m: {pin: /y}}\n",
        ["3:44: name-taken"],
    ),
}


@pytest.mark.parametrize("case", STRUCTURE)
def test_wrong_structure(case: str, tmp_path: Path) -> None:
    text, expected = STRUCTURE[case]
    _, problems = read(text, tmp_path)
    assert problems == [f"spec.yaml:{line}" for line in expected]


@pytest.mark.parametrize("case", MEANING)
def test_wrong_meaning(case: str, tmp_path: Path) -> None:
    text, expected = MEANING[case]
    _, problems = read(HEAD + text, tmp_path)
    assert problems == [f"spec.yaml:{line}" for line in expected]
