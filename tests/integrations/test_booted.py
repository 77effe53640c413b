"""The systemd units on a host that systemd boots: started, stopped, reloaded, killed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integrations.booted import booted
from tests.integrations.hosts import FOLDER, Host
from tests.integrations.test_ansible import Fleet, claim
from tests.watch.conftest import until

SPEC: Final = """\
version: 1
name: edge
inner_templates: {rules: {type: hash, key: u32, value: u32, max_entries: 64}}
outer_maps:
  tenants: {type: hash_of_maps, key: u32, max_entries: 64, inner: rules, inner_maps: {1: {entries: {1: 10}}}}
"""
SPEC_FILE: Final = "/etc/provisioner/edge/edge.yaml"
PIN: Final = "/sys/fs/bpf/edge/tenants"
SPECS: Final = {"provisioner/edge/edge.yaml": SPEC}

DATA_PLANE: Final = f"""\
[Unit]
Wants=network.target
After=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/test -e {PIN}

[Install]
WantedBy=multi-user.target
"""
"""A service after the network, as data planes are."""

MODULE: Final = """\
#!/bin/sh
unset PYTHONPYCACHEPREFIX
export PYTHONPATH=/srv/checkout:/srv/packages
exec {python} -m tests.integrations.modules alone
"""
"""The Python of Ansible's modules, with the bytecode beside the packages."""

pytestmark = pytest.mark.usefixtures("kernel")  # its ledger


def enabled(*units: str) -> dict[str, str]:
    """Enable instances of the units, by a drop-in instead of the links of `systemctl enable`."""
    wants = "\n".join(f"Wants={unit}" for unit in units)
    return {"systemd/system/multi-user.target.d/test.conf": f"[Unit]\n{wants}\n"}


def systemctl(host: Host, *words: str) -> str:
    done = host.run("systemctl", *words)
    log = host.run("journalctl", "--output=cat", "--lines=40").stdout
    assert done.returncode == 0, done.stderr + log
    return done.stdout


def properties(host: Host, unit: str, *names: str) -> list[str]:
    """Properties of a unit."""
    shown = systemctl(host, "show", unit, *(f"--property={name}" for name in names))
    values = dict(line.split("=", 1) for line in shown.splitlines())
    return [values[name] for name in names]


def entries(host: Host) -> dict[str, int]:
    """The live entries of the first inner map, if there is one."""
    done = host.run("provisioner", "show", SPEC_FILE, "--format", "json")
    slots = json.loads(done.stdout)["maps"][0].get("inner_maps", ())
    return {str(entry["key"]): entry["value"] for slot in slots for entry in slot["entries"]}


def audited(host: Host) -> list[dict[str, Any]]:
    """The audit lines of the journal, as their fields."""
    shown = host.run("journalctl", "--output=json", "PROVISIONER_PROJECT=edge").stdout
    return [json.loads(line) for line in shown.splitlines()]


def eventually(look: Callable[[], bool], host: Host) -> None:
    until(lambda: look() or None, lambda: host.run("journalctl", "--output=cat", "--lines=40").stdout)


def write(host: Host, text: str) -> None:
    """Replace the spec by a rename from another directory: a path unit sees one change."""
    host.path("/etc/provisioner/new").write_text(text)
    assert host.run("mv", "/etc/provisioner/new", SPEC_FILE).returncode == 0


def test_maps_are_back_at_boot_before_the_network_is_up_and_stopping_leaves_them(tmp_path: Path) -> None:
    units = {"systemd/system/dataplane.service": DATA_PLANE} | enabled(
        "provisioner-restore@edge.service", "dataplane.service"
    )
    with booted("restore", tmp_path, SPECS | units) as host:
        assert properties(host, "dataplane.service", "ActiveState", "Result") == ["active", "success"]
        assert systemctl(host, "is-system-running").strip() == "running"
        assert entries(host) == {"1": 10}
        (line,) = audited(host)
        assert line["SYSLOG_IDENTIFIER"] == "provisioner" and line["PROVISIONER_RESULT"] == "applied"
        before = host.run("provisioner", "show", SPEC_FILE, "--format", "json").stdout
        systemctl(host, "stop", "provisioner-restore@edge.service")
        assert host.run("provisioner", "show", SPEC_FILE, "--format", "json").stdout == before
        systemctl(host, "start", "provisioner-restore@edge.service")
        assert host.run("provisioner", "show", SPEC_FILE, "--format", "json").stdout == before
        assert len(audited(host)) == 1, "an apply that changes nothing leaves no line"


def test_the_watch_is_ready_when_the_maps_are_reloads_and_stops_without_a_trace(tmp_path: Path) -> None:
    options = {"default/provisioner-edge": "OPTIONS=--poll 3600 --settle 0\n"}
    with booted("watch", tmp_path, SPECS | options) as host:
        systemctl(host, "start", "provisioner-watch@edge.service")
        assert entries(host) == {"1": 10}
        write(host, SPEC.replace("1: 10", "1: 11"))
        systemctl(host, "reload", "provisioner-watch@edge.service")
        eventually(lambda: entries(host) == {"1": 11}, host)
        write(host, "nothing: sound")
        systemctl(host, "reload", "provisioner-watch@edge.service")
        eventually(lambda: "the spec is invalid" in properties(host, "provisioner-watch@edge", "StatusText")[0], host)
        systemctl(host, "stop", "provisioner-watch@edge.service")
        state = properties(host, "provisioner-watch@edge.service", "ActiveState", "Result", "NRestarts")
        assert state == ["inactive", "success", "0"]
        write(host, SPEC)
        assert entries(host) == {"1": 11}


def test_metrics_reach_a_scraper_on_the_host_and_a_file_in_a_folder_that_is_allowed(tmp_path: Path) -> None:
    options = {
        "default/provisioner-edge": "OPTIONS=--metrics 9435 --metrics-file /run/metrics/edge.prom\n",
        "systemd/system/provisioner-watch@edge.service.d/test.conf": "[Service]\nReadWritePaths=/run/metrics\n",
    }
    with booted("metrics", tmp_path, SPECS | options) as host:
        assert host.run("mkdir", "/run/metrics").returncode == host.run("ip", "link", "set", "lo", "up").returncode == 0
        systemctl(host, "start", "provisioner-watch@edge.service")
        line = 'provisioner_managed{kind="entries",project="edge"} 1.0'
        assert line in host.path("/run/metrics/edge.prom").read_text()
        get = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9435/metrics').read().decode())"
        assert line in host.run("/usr/bin/python3", "-c", get).stdout


def test_a_watch_that_hangs_is_killed_and_started_again_and_one_that_lives_is_not(tmp_path: Path) -> None:
    impatient = {
        "systemd/system/provisioner-watch@.service.d/test.conf": "[Service]\nWatchdogSec=4s\nRestartSec=100ms\n"
    }
    with booted("watchdog", tmp_path, SPECS | impatient) as host:
        unit = "provisioner-watch@edge.service"
        systemctl(host, "start", unit)

        begun = properties(host, unit, "WatchdogTimestampMonotonic")
        eventually(lambda: properties(host, unit, "WatchdogTimestampMonotonic") != begun, host)
        assert properties(host, unit, "NRestarts") == ["0"]
        systemctl(host, "kill", "--kill-whom=main", "--signal=SIGSTOP", unit)
        eventually(lambda: properties(host, unit, "NRestarts", "ActiveState") == ["1", "active"], host)
        assert entries(host) == {"1": 10}
        assert "watchdog" in host.run("journalctl", "--output=cat", f"--unit={unit}").stdout.lower()


@pytest.mark.parametrize("by", ["path", "timer"])
def test_a_host_without_a_watch_applies_when_files_change_or_time_passes(tmp_path: Path, by: str) -> None:
    soon = "[Timer]\nOnBootSec=\nOnBootSec=0\nRandomizedDelaySec=0\n"
    files = {"systemd/system/provisioner-apply@.timer.d/test.conf": soon}
    with booted(by, tmp_path, SPECS | files) as host:
        systemctl(host, "start", f"provisioner-apply@edge.{by}")
        if by == "path":
            assert entries(host) == {}
            write(host, SPEC.replace("1: 10", "1: 12"))
        eventually(lambda: entries(host) == {"1": 12 if by == "path" else 10}, host)
        (line,) = audited(host)
        assert line["_SYSTEMD_UNIT"] == "provisioner-apply@edge.service"


def test_the_ansible_role_prepares_a_host_and_starts_its_service(tmp_path: Path, wheel: Path) -> None:
    """Twice: the second run changes nothing. The dependencies of the wheel come from this environment."""
    lent = "[Service]\nEnvironment=PYTHONPATH=/srv/packages LD_LIBRARY_PATH=/srv/python/lib\n"
    files = {"systemd/system/provisioner-watch@.service.d/test.conf": lent}
    python = f"/srv/python/bin/{Path(sys.executable).resolve().name}"
    variables = {
        "ansible_python_interpreter": "/usr/bin/module",
        "provisioner_source": f"{FOLDER}/{wheel.name}",
        "provisioner_venv": "/opt/test-provisioner",
        "provisioner_python": python,
        "provisioner_packages": [],
        "provisioner_pip_arguments": "--no-deps --no-index",
        "provisioner_services": ["provisioner-watch@edge.service"],
    }
    role = [{"ansible.builtin.include_role": {"name": "bpf.provisioner.provisioner"}}]
    with booted("role", tmp_path, SPECS | files) as host:
        ours = ("-maxdepth", "1", "-name", "provisioner*", "-type", "f")
        assert host.run("find", "/usr/bin", "/etc/systemd/system", *ours, "-delete").returncode == 0
        assert host.run("umount", "/sys/fs/bpf").returncode == 0
        host.path("/usr/bin/module").write_text(MODULE.format(python=python))
        host.path("/usr/bin/module").chmod(0o755)
        host.path(f"{FOLDER}/{wheel.name}").write_bytes(wheel.read_bytes())
        fleet = Fleet(tmp_path, {"edge-1": host})
        first = fleet.play(role, vars=variables)
        assert (first.status, first.recap["edge-1"]["changed"]) == (0, 6), first.output
        assert properties(host, "provisioner-watch@edge.service", "ActiveState", "UnitFileState") == [
            "active",
            "enabled",
        ]
        assert host.run("findmnt", "--types", "bpf", "/sys/fs/bpf").returncode == 0
        assert host.run("test", "-e", PIN).returncode == 0
        again = fleet.play(role, vars=variables)
        assert (again.status, again.recap["edge-1"]["changed"]) == (0, 0), again.output
        checked = claim("ansible_failed_task.name == 'Check that the source is a path or a URL'")
        refused = [
            {"block": [role[0] | {"vars": {"provisioner_source": source}}], "rescue": [checked]}
            for source in (None, "bpf-provisioner")
        ]
        wrong = fleet.play(refused, vars=variables)
        assert (wrong.status, wrong.recap["edge-1"]["rescued"]) == (0, 2), wrong.output
