"""examples/fleet: one spec with overlays of sites and hosts. The plan shows the source of each value."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from tests import pages
from tests.cli.support import run

FLEET: Final = Path(__file__).parent.parent / "examples" / "fleet"
HOSTS: Final = {"edge-1": "ams", "edge-2": "ams", "edge-3": "fra"}


@pytest.fixture(autouse=True)
def _in_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FLEET)


def layers(host: str) -> tuple[str, ...]:
    return ("base.yaml", "--overlay", f"sites/{HOSTS[host]}.yaml", "--overlay", f"hosts/{host}.yaml")


def entries(host: str) -> dict[str, tuple[Any, str]]:
    """By address: the value, and the overlay that sets it, or an empty string."""
    document = run("plan", *layers(host), "--against", "empty", "--format", "json").document
    changes = (change for change in document["changes"] if change["kind"] == "entry")
    return {change["address"]: (change["after"], change.get("source", "").split(":")[0]) for change in changes}


def test_every_host_has_its_file() -> None:
    assert {path.stem for path in (FLEET / "hosts").iterdir()} == set(HOSTS)
    assert {path.stem for path in (FLEET / "sites").iterdir()} == set(HOSTS.values())


def test_a_later_file_wins_and_the_plan_says_which() -> None:
    first, two, three = entries("edge-1"), entries("edge-2"), entries("edge-3")
    assert first["settings[0]"] == (5000, "hosts/edge-1.yaml")
    assert two["settings[0]"] == three["settings[0]"] == (1000, "")
    assert first["tenants[1][172.16.0.0/12]"] == two["tenants[1][172.16.0.0/12]"] == ("allow", "sites/ams.yaml")
    assert "tenants[1][172.16.0.0/12]" not in three
    assert two["tenants[1][10.0.0.0/8]"] == ("allow", "")
    assert three["tenants[1][10.0.0.0/8]"] == ("deny", "hosts/edge-3.yaml")
    assert [entry["vips[0][0]"][0]["ip"] for entry in (first, two, three)] == [
        "198.51.100.10",
        "198.51.100.10",
        "203.0.113.10",
    ]


def test_the_text_says_it_too_and_nothing_of_it_without_overlays() -> None:
    shown = run("plan", *layers("edge-3"), "--against", "empty").out
    assert "        + 10.0.0.0/8      deny  (hosts/edge-3.yaml:3)\n" in shown
    assert "        + 0.0.0.0/0       deny\n" in shown
    assert "yaml" not in run("plan", "base.yaml", "--against", "empty").out


def test_the_guide_shows_what_is_printed() -> None:
    (guide,) = pages.fences(__file__, "gitops.md")
    go, plan = guide.commands()
    assert plan.shown
    pages.type_in(pages.Command(f"{go.typed} && {plan.typed}", plan.shown, (2,)), "gitops.md", pages.ROOT)


def test_a_slot_that_an_overlay_adds_says_so(tmp_path: Path) -> None:
    (tmp_path / "host.yaml").write_text("outer_maps: {tenants: {inner_maps: {9: {max_entries: 7}}}}\n")
    shown = run("plan", "base.yaml", "--overlay", tmp_path / "host.yaml", "--against", "empty").out
    assert f"    + [9]                 0 entries, max_entries 7  ({tmp_path}/host.yaml:1)\n" in shown


def test_the_order_of_overlays_decides() -> None:
    site, host = ("--overlay", "sites/fra.yaml"), ("--overlay", "sites/ams.yaml")
    documents = [
        run("plan", "base.yaml", *first, *second, "--against", "empty", "--format", "json").document
        for first, second in ((site, host), (host, site))
    ]
    chosen = [
        next(change["after"]["ip"] for change in document["changes"] if change["address"] == "vips[0][0]")
        for document in documents
    ]
    assert chosen == ["198.51.100.10", "203.0.113.10"]
