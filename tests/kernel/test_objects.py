"""Objects are read without a system call, and loaded without leaving a dummy inner map behind."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.kernel import links, maps, objects
from provisioner.kernel.reasons import KernelError
from provisioner.model.errors import InputError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from tests import ledger, recorder
from tests.kernel.shapes import ARRAY, HASH, LPM
from tests.problems import raises

Compiled = Callable[[str], Path]
RULES = MapShape(MapType.ARRAY, 4, 8, 8)
PACKET = bytes(64)


def u32(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)


def test_inspect_tells_maps_programs_btf_and_digest(bpf_object: Compiled) -> None:
    path = bpf_object("outers")
    info = objects.inspect(path)
    definitions = info.maps
    assert definitions["tenants"].shape == MapShape(MapType.HASH_OF_MAPS, 4, 4, 64)
    assert definitions["tenants"].inner is None
    declared = definitions["declared"]
    assert declared.shape == MapShape(MapType.ARRAY_OF_MAPS, 4, 4, 4)
    assert declared.inner is not None
    assert declared.inner.shape == RULES
    assert declared.inner.btf_value_type_id > 0
    assert [entry.name for entry in info.maps.values() if entry.internal] == ["outers.bss"]
    assert [(entry.name, entry.section, entry.type) for entry in info.programs.values()] == [
        ("first", "xdp", 6),
        ("second", "xdp", 6),
    ]
    assert info.btf[:2] == (0xEB9F).to_bytes(2, sys.byteorder)
    assert info.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert objects.inspect(path.read_bytes(), str(path)) == info


def test_inspect_makes_no_bpf_system_call(bpf_object: Compiled, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    script = (
        "import sys; from pathlib import Path; from provisioner.kernel import objects\n"
        "objects.inspect(Path(sys.argv[1]))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(objects.__file__).parents[2])}
    strace = ["strace", "-f", "--seccomp-bpf", "-e", "trace=bpf,execve", "-o", str(trace)]
    subprocess.run([*strace, sys.executable, "-c", script, str(bpf_object("outers"))], env=environment, check=True)
    calls = trace.read_text()
    assert "execve(" in calls
    assert "bpf(" not in calls


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "malformed-object"),
        (b"int main;", "malformed-object"),
        (b"\x7fELF and no more", "malformed-object"),
    ],
)
def test_what_is_no_object_is_said(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "router.bpf.o"
    path.write_bytes(content)
    with raises(InputError, problem) as caught:
        objects.inspect(path)
    assert str(caught.value.problems[0].where) == str(path)


def test_a_program_of_the_host_is_no_bpf_object() -> None:
    with raises(InputError, "malformed-object"):
        objects.inspect(Path("/bin/true"))


def test_a_missing_object_is_said(tmp_path: Path) -> None:
    with raises(InputError, "unreadable-file"):
        objects.inspect(tmp_path / "router.bpf.o")


@pytest.mark.parametrize(
    ("name", "id_", "loader"),
    [
        ("legacy", "legacy-maps", "libbpf before 1.0"),
        ("legacy_named", "legacy-maps", "libbpf before 1.0"),
        ("iproute2", "legacy-maps", "iproute2"),
        ("static", "static-program", "cilium/ebpf"),
        ("extern", "extern-missing", "the loader of this object"),
    ],
)
def test_what_libbpf_cannot_load_says_whose_it_is(name: str, id_: str, loader: str, bpf_object: Compiled) -> None:
    with pytest.raises(InputError) as caught:
        objects.inspect(bpf_object(name))
    (problem,) = caught.value.problems
    assert problem.id == id_
    assert loader in problem.what
    assert "`own: true`" in problem.hint


def test_load_closes_the_dummy_inner_map(bpf_object: Compiled) -> None:
    before = recorder.count()
    with objects.load(bpf_object("outers"), inner_templates={"tenants": ARRAY}) as loaded:
        kept = {maps.info(fd).id for fd in loaded.maps.values()}
        assert ledger.new_maps(before, len(kept)) == kept
        assert sorted(loaded.maps) == ["active", "declared", "outers.bss", "tenants"]
        assert sorted(loaded.programs) == ["first", "second"]


def test_the_template_is_what_slots_must_match(bpf_object: Compiled) -> None:
    declared = objects.inspect(bpf_object("outers"))
    template = declared.maps["declared"].inner
    assert template is not None
    with (
        maps.load_btf(declared.btf) as btf,
        # Linux 5.15 to 6.1 compare whether there is a struct for BTF to look for timers in.
        maps.create(
            RULES, btf=btf, btf_key_type_id=template.btf_key_type_id, btf_value_type_id=template.btf_value_type_id
        ) as alike,
        objects.load(bpf_object("outers"), inner_templates={"tenants": ARRAY}) as loaded,
        maps.create(MapShape(MapType.ARRAY, 4, 8, ARRAY.max_entries)) as right,
        maps.create(RULES) as smaller,
        maps.create(HASH) as wrong,
    ):
        maps.insert_inner(loaded.maps["tenants"], u32(1), right)
        maps.update(right, u32(0), u32(1) + bytes(4))
        assert links.run(loaded.programs["first"], PACKET)[0] == 1
        for inner in (smaller, wrong):
            with raises(KernelError, "template-mismatch"):
                maps.insert_inner(loaded.maps["tenants"], u32(1), inner)
        maps.insert_inner(loaded.maps["declared"], u32(0), alike)
        assert links.run(loaded.programs["second"], PACKET) == (1, PACKET)


def test_a_template_of_ours_replaces_the_declared_one(bpf_object: Compiled) -> None:
    templates = {"tenants": ARRAY, "declared": HASH}
    with objects.load(bpf_object("outers"), inner_templates=templates) as loaded, maps.create(HASH) as inner:
        maps.insert_inner(loaded.maps["declared"], u32(0), inner)


def test_pin_by_name_is_not_heeded(bpf_object: Compiled) -> None:
    """Libbpf would pin `active` as `/sys/fs/bpf/active`."""
    with objects.load(bpf_object("outers"), inner_templates={"tenants": ARRAY}):
        assert not Path("/sys/fs/bpf/active").exists()


def test_reused_maps_are_the_live_ones_and_stay_the_callers(bpf_object: Compiled) -> None:
    path = bpf_object("outers")
    with objects.load(path, inner_templates={"tenants": ARRAY}) as first:
        reuse = {"tenants": first.maps["tenants"], "active": first.maps["active"]}
        with objects.load(path, reuse=reuse) as second:
            for name, fd in reuse.items():
                assert maps.info(second.maps[name]).id == maps.info(fd).id
            assert maps.info(second.maps["declared"]).id != maps.info(first.maps["declared"]).id
            used = links.program_info(second.programs["first"]).map_ids
            assert maps.info(first.maps["tenants"]).id in used
        assert maps.info(first.maps["tenants"]).name == "tenants"


def test_only_the_programs_asked_for_are_loaded(bpf_object: Compiled) -> None:
    before = recorder.count()
    with objects.load(bpf_object("outers"), inner_templates={"tenants": ARRAY}, only_programs=["second"]) as loaded:
        assert list(loaded.programs) == ["second"]
        info = links.program_info(loaded.programs["second"])
        assert {number for kind, number in recorder.alive(before) if kind == "prog"} == {info.id}
        assert (info.name, info.type, len(info.tag)) == ("second", 6, 16)


def test_names_that_the_object_lacks_are_all_said(bpf_object: Compiled) -> None:
    with (
        maps.create(HASH) as fd,
        pytest.raises(InputError) as caught,
        objects.load(
            bpf_object("outers"), inner_templates={"tenant": ARRAY}, reuse={"actve": fd}, only_programs=["third"]
        ),
    ):
        pass
    said = str(caught.value)
    for words in ("no outer map `tenant`", "`tenants`?", "no map `actve`", "no program `third`", "no inner template"):
        assert words in said


def test_a_failed_load_tells_the_verifiers_log_and_leaves_nothing(bpf_object: Compiled) -> None:
    before = recorder.count()
    with (
        raises(KernelError, "program-rejected") as caught,
        objects.load(bpf_object("rejected"), inner_templates={"tenants": HASH}),
    ):
        pass
    assert "invalid mem access 'map_value_or_null'" in caught.value.log
    assert "map_value_or_null" in str(caught.value)
    assert caught.value.problems[0].address.endswith("rejected.bpf.o")
    assert not ledger.new_maps(before, 0)


def test_a_program_without_a_target_is_named(bpf_object: Compiled) -> None:
    with (
        raises(InputError, "program-target-missing") as refused,
        objects.load(bpf_object("untyped"), only_programs=["tracing"]),
    ):
        pass
    assert "program `tracing`" in refused.value.problems[0].what


def test_what_libbpf_says_of_btf_is_left_out() -> None:
    """It goes on without: the reader looks for what failed."""
    log = (
        "libbpf: BTF loading error: -22\n"
        "libbpf: -- BEGIN BTF LOAD LOG ---\nmagic: 0xeb9f\n[1] PTR (anon)\n-- END BTF LOAD LOG --\n"
        "libbpf: Error loading .BTF into kernel: -22. BTF is optional, ignoring.\n"
        "libbpf: Error in bpf_create_map_xattr(calls):Invalid argument(-22). Retrying without BTF.\n"
        "libbpf: map 'rules': failed to create: Invalid argument(-22)\n"
    )
    said = str(KernelError("load", errno.EINVAL, log=log))
    assert "map 'rules': failed to create" in said
    assert "BTF" not in said


def test_a_map_that_cannot_be_created_is_not_blamed_on_the_verifier(bpf_object: Compiled) -> None:
    """CGROUP_STORAGE is no inner map: the dummy can be made, the outer map cannot.

    Nor is PROG_ARRAY, but on Linux 6.18 one that lived so briefly is now and then never freed: no process holds it.
    """
    with (
        raises(KernelError, "object-unsupported") as caught,
        objects.load(bpf_object("outers"), inner_templates={"tenants": MapShape(MapType.CGROUP_STORAGE, 8, 4, 0)}),
    ):
        pass
    assert "map 'tenants': failed to create" in caught.value.log
    assert "verifier" not in str(caught.value)


def test_a_template_that_the_kernel_refuses_leaves_nothing(bpf_object: Compiled) -> None:
    bad = MapShape(MapType.LPM_TRIE, LPM.key_size, 1, 10)
    with (
        raises(KernelError, "invalid-map") as caught,
        objects.load(bpf_object("outers"), inner_templates={"declared": ARRAY, "tenants": bad}),
    ):
        pass
    assert "no_prealloc" in str(caught.value)
