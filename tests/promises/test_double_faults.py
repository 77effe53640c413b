"""A fault while a fault is taken back: the report says what is live, and the next apply converges."""

from __future__ import annotations

import json
from typing import Any

import pytest

from provisioner.kernel import maps
from tests.promises import scenarios
from tests.promises.conftest import Make
from tests.promises.injection import READING, Injector, Ran, words
from tests.promises.scenarios import Scenario, comparable

ENOMEM = 12


def failed_at_the_end(scenario: Scenario, injector: Injector, at: int = 0) -> Ran:
    """Run it over a switch that takes no write, which is among its last steps; call `at` fails too."""
    with maps.open_pin(scenario.root / "switch") as switch:
        maps.freeze(switch)
    return injector.run(*scenario.words(), under=scenario.root, at=at, what=ENOMEM)


@pytest.mark.parametrize("name", ["change"])
def test_a_rollback_that_fails_says_what_is_live(
    name: str, make: Make, injector: Injector, full_sweep: bool, figures: list[str]
) -> None:
    scenario = make(name)
    scenario.begin()
    unhurt = failed_at_the_end(scenario, injector)
    assert unhurt.status == 3, unhurt
    assert json.loads(unhurt.out)["result"]["status"] == "rolled_back"
    changing = [at for at, call in enumerate(unhurt.calls, 1) if full_sweep or call not in READING]
    ends: dict[str, int] = {}
    for at in changing:
        scenario.begin()
        (scenario.root / "switch").unlink()
        before = scenario.begin()
        ran = failed_at_the_end(scenario, injector, at)
        place = f"call {at}, {words(unhurt.calls[at - 1])}: {ran.status} {ran.err}"
        assert ran.out or ran.status == 5, place  # it did not come to a plan
        result: dict[str, Any] = (
            json.loads(ran.out)["result"] if ran.out else {"status": "refused", "fds_before": 0, "fds_after": 0}
        )
        assert result["fds_before"] == result["fds_after"], place
        assert "Traceback" not in ran.err, place
        ends[result["status"]] = ends.get(result["status"], 0) + 1
        live = scenarios.look(scenario.root)
        if result["status"] == "partial":
            assert ran.status == 3, place
            assert result["live"], place
        else:
            assert ran.status in (3, 4, 5), place
            assert comparable(live) == comparable(before), place
        (scenario.root / "switch").unlink()
        live = scenario.finish()
        assert not scenarios.leftovers(ran, live), place
    assert ends.get("partial", 0) > 2, ends
    figures.append(f"double faults: {name}: {len(changing)} second faults; ends {ends}")
