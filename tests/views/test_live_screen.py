"""The screen of `show --watch`: columns, keys, and no work for lines that are not shown."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from provisioner.model.types import Bytes, Type, Value
from provisioner.views import entry_nodes, live_lines
from provisioner.views.live_screen import Screen
from provisioner.views.looks import Look
from tests import pages
from tests.views.support import IPV4, SECRET, STATS, Contents, look, number, outer, plain, slot, stats

WIDTH, HEIGHT = 80, 14


def rules(*values: int) -> Contents:
    return {number(key): number(value) for key, value in enumerate(values, start=1)}


def shown(screen: Screen, height: int = HEIGHT) -> list[str]:
    """The lines of the list."""
    return [text for text, _ in screen.draw(WIDTH, height, "").lines[2:-1] if text]


def names(screen: Screen, height: int = HEIGHT) -> list[str]:
    return [line[:22].rstrip() for line in shown(screen, height)]


def example() -> Screen:
    hit = bytes([192, 0, 2, 10])
    before = look(
        outer("tenants", slot(rules(1, 2), 64, 42), slot(rules(1), 64, 43)),
        plain("hits", {hit: stats((400, 600_000), (400, 600_000))}, key=IPV4, value=STATS),
        plain("tokens", rules(7), 10, value=SECRET),
    )
    after = look(
        outer("tenants", slot(rules(1, 2, 3), 64, 42), slot(rules(5), 64, 43)),
        plain("hits", {hit: stats((460, 690_000), (460, 690_000))}, key=IPV4, value=STATS),
        plain("tokens", rules(8), 10, value=SECRET),
    )
    screen = Screen(before, 2.0)
    screen.update(after, 2.0)
    for key in ("down", "down", "enter"):
        screen.press(key)
    return screen


def test_the_screen_of_the_documentation() -> None:
    (fence,) = pages.fences(__file__, "lost-spec.md")
    drawn = example().draw(WIDTH, 12, "10:15:42")
    assert "".join(f"{text}\n" for text, _ in drawn.lines) == fence.text
    assert drawn.lines[drawn.cursor][0].startswith("  v [43]")


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    for height in (1, 2, 3, 5, 24):
        lines = example().draw(width, height, "10:15:42").lines
        assert len(lines) == height
        assert all(len(text) <= width for text, _ in lines)


def test_lists_are_folded_and_unfolded() -> None:
    screen = Screen(look(outer("tenants", slot(rules(1, 2), 8, 1), slot({}, 8, 2)), plain("active", rules(1))), 2.0)
    opened = ["v tenants", "  > [1]", "    [2]", "v active", "    1"]
    assert names(screen) == opened
    screen.press("down")
    screen.press("right")
    assert names(screen)[1:4] == ["  v [1]", "      1", "      2"]
    screen.press("down")
    screen.press("enter")  # in an entry: its list
    assert names(screen) == opened
    screen.press("left")  # in a folded slot: its map
    assert names(screen) == ["> tenants", "v active", "    1"]
    screen.press("a")
    assert names(screen) == opened
    screen.press("a")
    assert names(screen) == ["> tenants", "> active"]


def test_slots_are_sorted_by_their_changes_on_request() -> None:
    def slots(*values: int) -> Look:
        return look(outer("tenants", *(slot(rules(value), 8, key) for key, value in enumerate(values))))

    screen = Screen(slots(1, 1, 1), 2.0)
    screen.update(slots(1, 1, 2), 2.0)
    assert names(screen) == ["v tenants", "  > [0]", "  > [1]", "  > [2]"]
    screen.press("s")
    assert names(screen) == ["v tenants", "  > [2]", "  > [0]", "  > [1]"]


def test_a_map_that_is_nearly_full_is_red() -> None:
    full = outer("tenants", slot(rules(*range(9)), 10, 1), slot(rules(*range(8)), 10, 2), capacity=2)
    fixed = replace(full, name="fixed", slots=(), is_fixed=True)
    array = plain("array", rules(1, 2), 2, is_array=True)
    screen = Screen(look(full, fixed, array), 2.0)
    lines = screen.draw(WIDTH, HEIGHT, "").lines[2:]
    colours = {text[:20].strip(" v>"): colour for text, colour in lines if text}
    assert colours["tenants"] == colours["[1]"] == "red"
    assert (colours["[2]"], colours["fixed"], colours["array"]) == (None, None, None)


def test_slots_that_appear_and_vanish_are_counted() -> None:
    screen = Screen(look(outer("tenants", *(slot(rules(1), 8, key) for key in (1, 2)))), 2.0)
    screen.update(look(outer("tenants", *(slot(rules(1), 8, key) for key in (2, 3, 4)))), 2.0)
    assert shown(screen)[0].split() == ["v", "tenants", "3", "of", "64", "slots", "4%", "slots", "+2", "-1", "1/s"]


def test_a_part_of_a_map_keeps_the_counts_of_the_map() -> None:
    one_slot = replace(outer("tenants", slot(rules(1), 8, 1)), used=6)
    one_entry = replace(one_slot, name="entry", slots=(replace(one_slot.slots[0], is_part=True),))
    lines = [line.split() for line in shown(Screen(look(one_slot, one_entry), 2.0))]
    assert lines[0] == ["v", "tenants", "6", "of", "64", "slots", "9%"]
    assert lines[1] == [">", "[1]", "1", "of", "8", "12%"]
    assert lines[3] == [">", "[1]", "8", "at", "most"]


def test_ten_thousand_slots_cost_the_lines_on_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    original = entry_nodes.plain_values

    def counted(kind: Type, rows: Bytes) -> list[Value]:
        decoded.append(len(rows))
        return original(kind, rows)

    monkeypatch.setattr(live_lines, "plain_values", counted)
    many = {number(key): number(1) for key in range(5000)}
    slots = [slot(many if key == 9999 else {}, 5000, key) for key in range(10_000)]
    screen = Screen(look(outer("tenants", *slots, capacity=10_000)), 2.0)
    assert names(screen) == ["> tenants"]
    for key in ("enter", "end", "enter"):
        screen.press(key)
    screen.draw(WIDTH, HEIGHT, "")
    screen.press("page-down")
    assert names(screen)[-1] == "      10"
    screen.press("end")
    assert names(screen)[-1] == "      4999"
    assert screen.draw(WIDTH, HEIGHT, "").lines[-1][0].endswith("15,001/15,001")
    screen.press("home")
    assert names(screen)[:2] == ["v tenants", "    [0]"]
    assert max(decoded) <= HEIGHT


def test_maps_and_slots_that_are_not_live() -> None:
    gone = replace(outer("gone"), problem="not live")
    screen = Screen(look(outer("tenants", slot({}, 0, 1)), gone), 2.0)
    assert [line.split() for line in shown(screen)] == [
        ["v", "tenants", "0", "of", "64", "slots", "0%"],
        ["[1]", "not", "live"],
        ["gone", "not", "live"],
    ]
