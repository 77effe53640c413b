"""Names, slots and pin roots that move, and values that get another layout: there and back, and all is as it was."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import yaml
from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.promises import wishes
from tests.promises.hands import CPUS, Live, LiveMap
from tests.promises.hands import look as look_at
from tests.promises.states import Project, Ran
from tests.promises.wishes import ADOPTED, PLAIN, Wish

Tree = dict[str, Any]

NEW_NAME: Final = "renamed"


@dataclass(frozen=True, slots=True)
class Layout:
    """Another type of the values of a kind, and their bytes in it."""

    value: Any
    converted: Callable[[bytes], bytes]


def _repacked(before: str, after: str, order: tuple[int, ...] = (0,)) -> Callable[[bytes], bytes]:
    return lambda value: struct.pack(after, *(struct.unpack(before, value)[at] for at in order))


_SWAPPED: Final = tuple(number ^ 1 for number in range(2 * CPUS))
"""The two members of each CPU, the second first."""

LAYOUTS: Final[Mapping[str, Layout]] = {
    "hash": Layout("u64", _repacked("<I", "<Q")),
    "array": Layout("u64", _repacked("<I", "<Q")),
    "padded": Layout({"struct": {"b": "u32", "a": "u32"}}, _repacked("<B3xI", "<II", (1, 0))),  # of the same size
    "wide": Layout({"struct": {"b": "u32", "a": "u32"}}, _repacked("<QQ", "<II", (1, 0))),
    "lpm": Layout("u16", _repacked("<B", "<H")),
    "percpu": Layout({"struct": {"b": "u32", "a": "u32"}}, _repacked(f"<{2 * CPUS}I", f"<{2 * CPUS}I", _SWAPPED)),
}


class Reshaped(Project):
    """Applies that rename, move and convert what is live, each followed by the one that takes it back."""

    @rule(
        wish=wishes.wishes, what=st.sampled_from(("name", "slot", "root")), numbers=st.tuples(*[st.integers(0, 5)] * 3)
    )
    def move_and_back(self, wish: Wish, what: str, numbers: tuple[int, int, int]) -> None:
        wish = self._as_live(wish)
        if not self._is_settled(wish):
            return
        before, tree, root = self._look(), wish.tree(self.theirs), self.root
        moved, expected, names = copy.deepcopy(tree), dict(before), sorted(wish.outer)
        name = names[numbers[0] % len(names)] if names else PLAIN
        old, new = name, NEW_NAME
        match what:
            case "name":
                if name not in moved.get("outer_maps" if names else "maps", {}) or name == ADOPTED:
                    return
                self._rename(moved, name)
                expected[NEW_NAME] = expected.pop(name)
            case "slot":
                slots = self._slots(wish, before.get(name), name, numbers)
                if slots is None:
                    return
                inner, live = moved["outer_maps"][name]["inner_maps"], expected[name]
                inner[slots[1]] = inner.pop(slots[0])
                held = {slots[1] if slot == slots[0] else slot: each for slot, each in live.slots.items()}
                expected[name] = replace(live, slots=held)
                old, new = (f"{name}[{slot}]" for slot in slots)
            case _:
                root = self.root.with_name("edge-moved")
                old, new = str(self.root), str(root)
        moved["moved"], tree["moved"] = [{"from": old, "to": new}], [{"from": new, "to": old}]
        ran = self._run(moved, root)
        if ran.status != 0:
            self._must_be_refused(ran, before, what, name)
            return
        self.ends[f"moved {what}"] += 1
        assert look_at(root) | look_at(self.theirs) == expected, (ran, expected)
        back = self._run(tree, self.root)
        assert back.status == 0, back
        assert self._look() == before
        assert not self.root.with_name("edge-moved").exists()

    @rule(wish=wishes.wishes, number=st.integers(0, 1))
    def migrate_and_back(self, wish: Wish, number: int) -> None:
        wish = self._as_live(wish)
        ours = sorted({*wish.outer} - {ADOPTED})
        if not ours or not self._is_settled(wish):
            return
        name, before, tree = ours[number % len(ours)], self._look(), wish.tree(self.theirs)
        kind, layout = wish.outer[name].template, LAYOUTS[wish.outer[name].kind]
        tree["inner_templates"][name]["migrate"] = "auto"
        other = copy.deepcopy(tree)
        other["inner_templates"][name]["value"] = layout.value
        ran = self._run(other, self.root)
        if ran.status != 0:
            assert self._look() == before
            assert ran.errors, ran
            assert ran.status in (3, 4), ran
            self.ends[f"migration refused {sorted(error['id'] for error in ran.errors)}"] += 1
            return
        self.ends["migrated"] += 1
        there = self._look()
        for slot, inner in before[name].slots.items():
            expected = {key: layout.converted(value) for key, value in inner.entries.items()}
            assert slot in there[name].slots, (name, slot, wish, before[name], there[name], ran)
            assert there[name].slots[slot].entries == expected, (name, slot, inner, there[name].slots[slot])
        back = self._run(tree, self.root)
        assert back.status == 0, back
        after = self._look()
        for slot, inner in before[name].slots.items():
            meant = {key: kind.meaning(value) for key, value in inner.entries.items()}
            assert after[name].slots[slot].entries == meant, (name, slot, inner, after[name].slots[slot])
        assert {key: live for key, live in after.items() if key != name} == {
            key: live for key, live in before.items() if key != name
        }
        self._remember_templates(wish, after)

    def _is_settled(self, wish: Wish) -> bool:
        """Whether the wish is live, once it was applied."""
        self._apply(wish)
        return Ran("plan", self._write(wish), *self._root, "--force", "--take-over").status == 0

    def _run(self, tree: Tree, root: Any) -> Ran:
        spec = self.folder / "reshaped.yaml"
        spec.write_text(yaml.dump(tree, Dumper=yaml.CSafeDumper, sort_keys=False))
        options = ("--force", "--take-over", "--pin-root", str(root))
        ran = Ran("apply", str(spec), "--yes", *options)
        if ran.status == 0:
            again = Ran("plan", str(spec), *options)
            assert (again.status, again.document["steps"]) == (0, []), again
        return ran

    @staticmethod
    def _rename(tree: Tree, name: str) -> None:
        """Give a map another name in the spec."""
        for part in ("outer_maps", "maps"):
            if name in tree.get(part, {}):
                tree[part] = {NEW_NAME if each == name else each: body for each, body in tree[part].items()}
        for plain in tree.get("maps", {}).values():
            plain["after"] = [NEW_NAME if each == name else each for each in plain["after"]]

    @staticmethod
    def _slots(wish: Wish, live: LiveMap | None, name: str, numbers: tuple[int, int, int]) -> tuple[int, int] | None:
        """A declared slot, and a free one that the spec owns and has room for; None if there are none."""
        if live is None or name not in wish.outer:
            return None
        outer, declared = wish.outer[name], sorted(wish.outer[name].slots)
        free = [slot for slot in range(outer.room) if slot not in live.slots and outer.owns(slot) and slot < 6]
        if not declared or not free or len(live.slots) >= outer.room:
            return None
        return declared[numbers[1] % len(declared)], free[numbers[2] % len(free)]

    def _must_be_refused(self, ran: Ran, before: Live, what: str, name: str) -> None:
        """A move may be refused for what is not the project's, or for what cannot be written."""
        ids = {error["id"] for error in ran.errors}
        assert self._look() == before, ran
        assert ran.status == 4, ran
        assert ids <= ({"foreign-pins"} if what == "root" else {"frozen"} if before[name].frozen else set()), ran
        self.ends[f"move refused {sorted(ids)}"] += 1
