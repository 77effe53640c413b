"""doctor, and `validate --kernel`, as a user runs them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.support import parsed, run
from tests.privileges import without

IDS = [
    *("kernel", "config", "btf", "libbpf", "bpffs", "pin roots", "capabilities", "unprivileged bpf", "lockdown"),
    *("memlock limit", "nofile limit", "grace period", "batches of entries", "batches of slots"),
    *("programs", "hooks"),
]


def test_this_host_will_do(kernel: Path) -> None:
    done = run("doctor", "--format", "json")
    document = parsed(done.out)
    findings = {finding["id"]: finding for finding in document["findings"]}
    assert (done.status, document["usable"]) == (0, True)
    assert [name for name in findings if not name.startswith(("bug ", "known bugs"))] == IDS
    bugs = [name for name in findings if name.startswith("bug ")]
    assert ("known bugs" in findings) is not bool(bugs), "either is said"
    assert findings["kernel"]["value"] == os.uname().release
    assert str(kernel) in findings["bpffs"]["value"]
    assert findings["grace period"]["value"] > 0
    assert {"hash", "array"} <= set(findings["batches of entries"]["value"]["has"])
    assert set(findings["programs"]["value"]) == {"merge", "digests"}
    assert findings["batches of slots"]["value"] in ("cheap", "dear", "none")


@pytest.mark.usefixtures("kernel")
def test_people_get_a_verdict() -> None:
    done = run("doctor")
    assert done.status == 0
    assert done.out.endswith("provisioner works on this host.\n")


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("held", "status", "level"), [("", 5, "bad"), ("bpf", 0, "note"), ("sys_admin", 0, "ok")])
def test_the_verdict_is_the_exit_status(held: str, status: int, level: str) -> None:
    done = without(held, "doctor", "--format", "json")
    document = parsed(done.out)
    levels = {finding["id"]: finding["level"] for finding in document["findings"]}
    assert (done.status, document["usable"], levels["capabilities"]) == (status, status == 0, level)


@pytest.mark.usefixtures("kernel")
def test_a_missing_libbpf_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVISIONER_LIBBPF", "libnone.so.1")
    done = run("doctor")
    assert done.status == 5
    assert "x libbpf" in done.out and "install libbpf" in done.out


def test_another_kernel_is_judged_offline(spec: Path) -> None:
    done = run("validate", "--kernel", "5.10", "--format", "json", spec)
    effects = [one["effect"] for one in parsed(done.out)["advice"]]
    assert (done.status, effects) == (0, ["slow", "note", "note"])
    assert run("validate", "--kernel", "5.10", spec).out.splitlines()[1].startswith("  slow  tenants: hash_of_maps")
    assert run("validate", "--kernel", "6.8", spec).out == run("validate", spec).out


def test_what_another_kernel_refuses_is_bad_input(spec: Path) -> None:
    spec.write_text(spec.read_text().replace("2: {entries: {7: 70}}", "2: {max_entries: 128}"))
    assert run("validate", "--kernel", "5.10", spec).status == 0
    done = run("validate", "--kernel", "5.9", spec)
    assert done.status == 1
    assert "134fede4eecf" in done.err and f"{spec}:" in done.err
    assert run("validate", "--kernel", "newest", spec).status == 1
