"""Programs at samples of events: a link for each CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.attach.perf_event import PerfEvent, cpu_numbers
from provisioner.kernel import bpffs, cpus
from provisioner.model import kernel_versions
from provisioner.model.attachment import IfMissing
from provisioner.model.errors import HostError, InputError
from provisioner.model.location import Location
from provisioner.model.pins import is_link, link_pin
from provisioner.observed import metamap
from provisioner.planning.changes import Action
from tests.apply.conftest import Bench
from tests.apply.conftest import bench as bench
from tests.attach.support import Compile, Place, counted, fault, need

FIRST = "_link_on_sample"
ALL = "{event: page_faults, sample_period: 1}"
ONLINE = cpus.online()


@pytest.fixture
def hooks(bench: Bench, bpf_object: Compile) -> Bench:
    need(on(0), bpf_object("hooks"))
    bench.allow_outside = True
    return bench


def spec(file: Path, *events: str) -> str:
    attach = ", ".join(f"{{perf_event: {event}}}" for event in events)
    attach = f"[{attach}]" if len(events) > 1 else attach
    return f"objects: {{hooks: {{file: {file}, programs: {{on_sample: {{attach: {attach}}}}}}}}}\n"


def on(cpu: int) -> Place:
    return Place("on_sample", "", 17 + cpu, lambda: fault(cpu), False)


def pins(hooks: Bench) -> set[str]:
    return set(filter(is_link, bpffs.list_pins(hooks.root)))


def test_a_link_for_each_cpu(hooks: Bench, bpf_object: Compile) -> None:
    text = spec(bpf_object("hooks"), ALL)
    plan, _ = hooks.settle(text)
    assert [change.action for change in plan.links if change.target is not None] == [Action.CREATE] * len(ONLINE)
    assert not plan.hazards, "CPUs that are offline are not waited for"
    assert pins(hooks) == {FIRST, *(link_pin("on_sample", f"page_faults on cpu {cpu}") for cpu in ONLINE[1:])}
    for cpu in ONLINE:
        assert counted(hooks, on(cpu)) >= 16, "a fault for each page"
    plan, _ = hooks.settle(spec(bpf_object("hooks_v2"), ALL))
    assert {change.action for change in plan.links if change.target is not None} == {Action.UPDATE}
    for cpu in ONLINE:
        assert counted(hooks, on(cpu)) >= 16_000_000
    hooks.destroy(spec(bpf_object("hooks_v2"), ALL))
    assert not hooks.root.exists()


def test_cpus_and_rates_that_change(hooks: Bench, bpf_object: Compile) -> None:
    file = bpf_object("hooks")
    last = ONLINE[-1]
    hooks.settle(spec(file, f"{{event: cpu_clock, sample_freq: 50, cpus: {ONLINE[0]}}}"))
    recorded = metamap.read(hooks.root / "_meta").attachments
    assert recorded == {FIRST: {"kind": "perf_event", "event": "cpu_clock", "sample_freq": "50", "cpu": str(ONLINE[0])}}
    text = spec(file, f"{{event: cpu_clock, sample_freq: 60, cpus: '{ONLINE[0]},{last}'}}")
    plan, _ = hooks.settle(text)
    first = plan.links[0]
    assert (first.pin, first.action, first.reason) == (FIRST, Action.REPLACE, "sample_freq 50 -> 60")
    assert len(pins(hooks)) == len({ONLINE[0], last})
    bpffs.unpin(hooks.root / FIRST)
    assert {change.pin: change.action for change in hooks.plan(text).links}[FIRST] == Action.CREATE
    hooks.settle(text)


def test_two_events(hooks: Bench, bpf_object: Compile) -> None:
    cpu = ONLINE[0]
    both = f"{{event: page_faults, sample_period: 1, cpus: {cpu}}}", f"{{event: dummy, sample_period: 1, cpus: {cpu}}}"
    with pytest.raises(InputError):
        hooks.load(spec(bpf_object("hooks"), *both))
    text = spec(bpf_object("hooks"), both[0], f"{{event: context_switches, sample_period: 1000, cpus: {cpu}}}")
    hooks.settle(text)
    assert pins(hooks) == {FIRST, link_pin("on_sample", f"context_switches on cpu {cpu}")}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("{event: cpu_clock, sample_freq: 99, cpus: 9999}", "attach-target-missing"),
        ("{event: rffffffffffffffff, sample_period: 1, cpus: 0}", "attach-unsupported"),
        ("{event: cpu_clock, sample_freq: 4294967295, cpus: 0}", "attach-unsupported"),
    ],
)
def test_what_the_host_does_not_have(hooks: Bench, bpf_object: Compile, event: str, expected: str) -> None:
    with pytest.raises(HostError) as refused:
        hooks.apply(spec(bpf_object("hooks"), event))
    assert [problem.id for problem in refused.value.problems] == [expected]
    assert not pins(hooks) if hooks.root.exists() else True


def test_a_cpu_that_is_offline_is_waited_for(hooks: Bench, bpf_object: Compile) -> None:
    text = spec(bpf_object("hooks"), "{event: cpu_clock, sample_freq: 99, cpus: '0,9999', if_missing: defer}")
    plan, _ = hooks.apply(text)
    assert [hazard.id for hazard in plan.hazards] == ["attachment-deferred"]
    assert pins(hooks) == {FIRST}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (["{event: cpu_clock}"], "missing-field"),
        (["{event: cpu_clock, sample_freq: 9, sample_period: 9}"], "conflicting-fields"),
        (["{event: cpu_clock, sample_freq: 9, cpus: 3-1}"], "out-of-range"),
        (["{event: cpu_clok, sample_freq: 9}"], "invalid-name"),
        (["{event: cpu_clock, sample_freq: 0}"], "out-of-range"),
        (["{event: cpu_clock, sample_freq: 9, cpus: all}"], "invalid-name"),
        ([ALL, ALL], "duplicate-key"),
    ],
)
def test_events_that_are_wrong(hooks: Bench, bpf_object: Compile, events: list[str], expected: str) -> None:
    with pytest.raises(InputError) as wrong:
        hooks.load(spec(bpf_object("hooks"), *events))
    (problem,) = wrong.value.problems
    assert problem.id == expected, problem
    assert problem.where is not None and problem.where.line


def test_two_attachments_that_share_a_cpu(hooks: Bench, bpf_object: Compile) -> None:
    with pytest.raises(InputError) as refused:
        hooks.load(spec(bpf_object("hooks"), ALL, "{event: page_faults, sample_period: 2, cpus: 0}"))
    assert [problem.id for problem in refused.value.problems] == ["duplicate-key"]


def test_lists_of_cpus() -> None:
    assert cpu_numbers("0-3,8") == (0, 1, 2, 3, 8)
    assert cpu_numbers("2-2,2") == (2,)
    assert cpu_numbers("3-1") == ()


def test_a_kernel_that_is_too_old_is_reported_once(hooks: Bench, bpf_object: Compile) -> None:
    project = hooks.load(spec(bpf_object("hooks"), ALL))
    with pytest.raises(InputError) as refused:
        kernel_versions.advise(project.desired, kernel_versions.parse("5.10"))
    assert [problem.id for problem in refused.value.problems] == ["attach-unsupported"]


def test_a_raw_event() -> None:
    made = PerfEvent.read({"event": "r1cd", "sample_period": "5", "cpu": "2"}, Location("a.yaml"), IfMissing.FAIL)
    assert (made.request().type, made.request().config, made.request().cpu) == (4, 0x1CD, 2)
