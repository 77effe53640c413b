"""What Prometheus gets, over HTTP and in a file."""

from __future__ import annotations

import re
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from tests.cli.conftest import Project
from tests.cli.support import parsed, run
from tests.watch.conftest import Watching, until

DOCS: Final = Path(__file__).parents[2] / "docs" / "watch.md"


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Each value by the name of its metric and the values of its labels, the project apart."""
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "project")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_http_on_loopback_tells_what_was_done(watching: Callable[..., Watching], tmp_path: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    port = free_port()
    file = tmp_path / "status.json"
    watch = watching("--metrics", str(port), "--interval", "1", "--status-file", file)
    revision = watch.expect("loaded")["revision"]
    watch.expect("applied")

    def applied() -> dict[tuple[str, ...], float] | None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            values = samples(answer.read().decode())
        return values if ("provisioner_applies_total", "applied") in values else None

    values = until(applied, lambda: "no apply in the metrics")
    assert values["provisioner_applies_total", "applied"] == 1
    assert values["provisioner_drift", "entries"] == 0
    assert values["provisioner_managed", "entries"] == 4
    assert values["provisioner_managed", "inner_maps"] == 2
    assert values["provisioner_last_apply_success",] == values["provisioner_spec_ok",] == 1
    assert values["provisioner_grace_periods_total",] >= 1
    assert values["provisioner_revision_info", revision] == values["provisioner_ready",] == 1
    assert get(port, "/healthz") == get(port, "/readyz") == get(port, f"/readyz?revision={revision}") == (200, "ok\n")
    assert get(port, "/readyz?revision=sha256:0")[0] == 503
    status, written = (parsed(text)["projects"][0] for text in (get(port, "/status")[1], file.read_text()))
    assert status["revision"] == written["live_revision"] == revision
    assert status["ready"] and status["pin_root"] == written["pin_root"]
    listening = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True)
    assert f"127.0.0.1:{port}" in listening.stdout


def test_a_file_tells_of_drift_that_is_only_reported(
    project: Project, watching: Callable[..., Watching], tmp_path: Path
) -> None:
    file = tmp_path / "edge.prom"
    watch = watching("--metrics-file", file, "--report-only")
    watch.expect("drift")
    until(lambda: ("provisioner_spec_ok",) in samples(file.read_text()) or None, lambda: file.read_text())
    values = samples(file.read_text())
    assert values["provisioner_drift", "entries"] == 4
    assert values["provisioner_drift_found_total",] == 1
    assert not project.root.exists()


def test_a_port_that_is_none_and_a_file_that_cannot_be(tmp_path: Path) -> None:
    assert run("watch", tmp_path, "--metrics", "high").status == 64
    done = run("watch", tmp_path, "--metrics-file", tmp_path / "none" / "x.prom")
    assert (done.status, done.err.startswith("error[write-failed]: ")) == (1, True)


def exported() -> set[str]:
    from provisioner.watch.metrics import Metrics

    return {family.name for family in Metrics().families()}


def test_the_documentation_lists_every_metric() -> None:
    rows = re.findall(r"^\| (`provisioner_.*?) \|", DOCS.read_text(), re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(provisioner_\w+?)(?:_total)?`", row)}
    assert listed == exported()
