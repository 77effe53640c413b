"""What other kernels would make of a spec, without them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.model import kernel_versions
from provisioner.model.desired import DesiredState
from provisioner.model.errors import InputError
from provisioner.model.host import Host
from provisioner.model.kernel_versions import Effect, Version, parse, upstream
from provisioner.project.opening import load

HOST = Host("little", 4)


def desired(folder: Path, text: str, host: Host = HOST) -> DesiredState:
    path = folder / "edge.yaml"
    path.write_text(f"version: 1\nname: edge\n{text}")
    return load([path], host=host, allow_outside=True).desired


def outer(template: str, slots: str = "{0..9: {entries: {1: 1}}}") -> str:
    return f"""
inner_templates: {{one: {{{template}}}}}
outer_maps: {{many: {{type: hash_of_maps, key: u32, max_entries: 64, inner: one, inner_maps: {slots}}}}}
"""


HASH = "type: hash, key: u32, value: u32, max_entries: 8"


@pytest.mark.parametrize(
    ("text", "version"),
    [("5.10", (5, 10, 0)), ("6.1.75", (6, 1, 75)), ("6.1.0-56-cloud-amd64", (6, 1, 0)), ("7.2-rc1", (7, 2, 0))],
)
def test_versions_are_read_as_people_and_kernels_write_them(text: str, version: Version) -> None:
    assert parse(text) == version


@pytest.mark.parametrize("text", ["", "newest", "6", "v6.1"])
def test_what_is_no_version_is_said(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    assert [problem.id for problem in caught.value.problems] == ["invalid-version"]


def test_distributions_tell_the_release_that_they_built() -> None:
    build = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)"
    assert upstream("6.1.0-56-cloud-amd64", build) == (6, 1, 192)
    assert upstream("6.8.0-31-generic", "#31-Ubuntu SMP", "Ubuntu 6.8.0-31.31-generic 6.8.1\n") == (6, 8, 1)
    assert upstream("6.18.44", "#1 SMP") == (6, 18, 44)


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ("5.10.213", True),
        ("5.10.214", False),
        ("6.1.74", True),
        ("6.1.75", False),
        ("6.3.9", True),
        ("6.7.1", True),
        ("6.7.2", False),
        ("6.8", False),
        ("7.2.13", False),
    ],
)
def test_the_use_after_free_is_known_by_the_releases_that_fix_it(version: str, has: bool) -> None:
    assert ("CVE-2023-52447" in [bug.id for bug in kernel_versions.bugs_of(parse(version))]) is has


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("5.10", [Effect.SLOW, Effect.NOTE, Effect.NOTE]),  # no batch; the memory limit; the CVE
        ("6.1.75", [Effect.SLOW]),  # a wait for each slot
        ("6.8", []),
    ],
)
def test_slots_are_dear_before_a_batch_waits_once(tmp_path: Path, version: str, said: list[Effect]) -> None:
    advices = kernel_versions.advise(desired(tmp_path, outer(HASH)), parse(version))
    assert [advice.effect for advice in advices] == said
    assert all(advice.source for advice in advices)


def test_a_single_slot_waits_once_anywhere(tmp_path: Path) -> None:
    advices = kernel_versions.advise(desired(tmp_path, outer(HASH, "{1: {entries: {1: 1}}}")), parse("6.1.75"))
    assert advices == ()


@pytest.mark.parametrize(
    ("text", "before", "since"),
    [
        (outer("type: bloom_filter, value: u32, max_entries: 8, contents: ignore", "{1: {}}"), "5.15", "5.16"),
        (outer("type: array, key: u32, value: u32, max_entries: 8, flags: [inner_map]"), "5.9", "5.10"),
        (outer(HASH, "{1: {max_entries: 16, entries: {1: 1}}}"), "5.9", "5.10"),
    ],
)
def test_what_a_kernel_refuses_is_an_error_that_names_the_source(
    tmp_path: Path, text: str, before: str, since: str
) -> None:
    state = desired(tmp_path, text)
    with pytest.raises(InputError) as caught:
        kernel_versions.advise(state, parse(before))
    for problem in caught.value.problems:
        assert (problem.id, problem.where is None) == ("kernel-too-old", False)
        assert re.search(rf"\b{since} \([0-9a-f]{{12}}\)", problem.hint)
    kernel_versions.advise(state, parse(since))


@pytest.mark.parametrize(
    ("program", "attach", "before", "since"),
    [
        ("on_tcx", "{tcx: {interface: eth0, direction: ingress}}", "6.5", "6.6"),
        ("on_tcx", "{tc: {interface: eth0, direction: ingress}}", "4.4", "4.5"),
        ("on_xdp", "{xdp: {interface: eth0}}", "5.8", "5.9"),
        ("on_connect", "{cgroup: {path: /}}", "5.6", "5.7"),
        ("on_lookup", "{netns: {path: /run/netns/a}}", "5.7", "5.8"),
        ("on_uprobe", "auto", "5.14", "5.15"),
        ("on_tracepoint", "auto", "5.14", "5.15"),
        ("on_iter", "auto", "5.7", "5.8"),
        ("on_raw", "auto", "5.6", "5.7"),
    ],
)
def test_an_attachment_that_a_kernel_does_not_have(
    program: str, attach: str, before: str, since: str, tmp_path: Path, bpf_object: Callable[[str], Path]
) -> None:
    programs = f"programs: {{{program}: {{attach: {attach}}}}}"
    state = desired(tmp_path, f"objects: {{hooks: {{file: {bpf_object('hooks')}, {programs}}}}}\n")
    with pytest.raises(InputError) as caught:
        kernel_versions.advise(state, parse(before))
    assert [problem.id for problem in caught.value.problems] == ["attach-unsupported"]
    assert f"{since} (" in caught.value.problems[0].hint
    kernel_versions.advise(state, parse(since))


def test_a_lock_in_inner_maps_is_younger_than_one_in_other_maps(
    tmp_path: Path, bpf_object: Callable[[str], Path]
) -> None:
    value = "{btf: struct counter, from: held}"
    objects = f"objects: {{held: {{file: {bpf_object('held')}}}}}\n"
    plain = f"maps: {{one: {{type: hash, key: u32, value: {value}, max_entries: 8}}}}\n"
    inner = outer(f"type: hash, key: u32, value: {value}, max_entries: 8", "{1: {}}")
    kernel_versions.advise(desired(tmp_path, objects + plain), parse("5.10"))
    with pytest.raises(InputError) as caught:
        kernel_versions.advise(desired(tmp_path, objects + inner), parse("6.1"))
    assert [problem.id for problem in caught.value.problems] == ["kernel-too-old"]
    kernel_versions.advise(desired(tmp_path, objects + inner), parse("6.2"))


@pytest.mark.parametrize("host", [HOST, Host("big", 4), Host("little", 256)])
def test_the_advice_does_not_depend_on_byte_order_or_cpus(tmp_path: Path, host: Host) -> None:
    text = outer("type: percpu_array, key: u32, value: u64, max_entries: 8")
    advices = kernel_versions.advise(desired(tmp_path, text, host), parse("5.10"))
    assert [advice.message.split()[0] for advice in advices if advice.effect is Effect.SLOW] == [
        "percpu_array",
        "hash_of_maps",
    ]


@pytest.mark.parametrize(("version", "carries"), [((5, 13, 0), False), ((5, 14, 0), True)])
def test_a_copy_loses_writes_before_programs_can_carry_them_over(
    version: Version, carries: bool, tmp_path: Path
) -> None:
    state = desired(tmp_path, outer(f"{HASH}, contents: present, on_replace: copy"))
    sources = [advice.source for advice in kernel_versions.advise(state, version)]
    assert (kernel_versions.SYSCALL_PROGRAMS.source in sources) != carries


@pytest.mark.parametrize(
    ("kind", "version", "loses"),
    [
        ("hash", (5, 13, 0), True),
        ("hash", (5, 14, 0), False),
        ("percpu_hash", (5, 18, 0), True),
        ("percpu_hash", (5, 19, 0), False),
    ],
)
def test_owned_members_are_written_by_system_calls_before_programs_can(
    kind: str, version: Version, loses: bool, tmp_path: Path
) -> None:
    fields = f"type: {kind}, key: u32, value: {{struct: {{a: u32, b: u32}}}}, max_entries: 8, owned_members: [a]"
    advices = kernel_versions.advise(desired(tmp_path, outer(fields, "{0: {entries: {1: {a: 1}}}}")), version)
    assert any(advice.message.startswith("owned members are written") for advice in advices) == loses
