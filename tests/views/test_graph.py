"""The drawing: few boxes however many inner maps, text that stays text, in each language."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

from provisioner.model.desired import DesiredState
from provisioner.model.observed import ObservedMap, ObservedProgram, ObservedSlots, ObservedState
from provisioner.report import diagrams
from provisioner.report.graph import Box, BoxKind, Graph
from provisioner.views import graph
from tests.report import support

HOSTILE = '</text><script>x</script> "q" `b` \\N \\" #quot; &lt; | ; %% {a} @me \u202e \x1b[31m'
SPEC = """\
version: 1
name: edge
inner_templates: {rules: {type: hash, key: u32, value: u32, max_entries: 64}}
shared_inner_maps: {common: {inner: rules, entries: {1: 1, 2: 2}}}
maps: {active: {type: array, key: u32, value: u32, max_entries: 1}}
outer_maps:
  few:
    {type: hash_of_maps, key: u32, max_entries: 64, inner: rules, inner_maps: {7: {entries: {1: 1}}, 8: {}}}
  many:
    type: hash_of_maps
    key: u32
    max_entries: 16384
    inner: rules
    inner_maps: {0..9999: {entries: {1: 1, 2: 2}}, 10000..10099: {shared: common}, 10100: {shared: common}}
"""


@pytest.fixture
def desired(tmp_path: Path) -> DesiredState:
    spec = tmp_path / "edge.yaml"
    spec.write_text(SPEC)
    return support.load(spec)


def test_many_inner_maps_are_one_box(desired: DesiredState) -> None:
    drawn = graph.of_spec(desired)
    assert [box.lines for box in drawn.boxes if box.kind is BoxKind.INNER_MAP] == [
        ("[7]", "1 entry"),
        ("[8]", "0 entries"),
        ("shared common", "2 entries"),
    ]
    (rest,) = (box for box in drawn.boxes if box.kind is BoxKind.INNER_MAPS)
    assert rest.lines == ("10,000 inner maps", "20,000 entries")
    labels = {arrow.label for arrow in drawn.arrows if arrow.source == "map many"}
    assert labels == {"10,000 slots: [0] ... [9999]", "[10000] ... [10100]"}
    assert len(drawn.boxes) == 7


def test_live_programs_use_live_maps(desired: DesiredState) -> None:
    live = support.as_live(desired)
    slots = live.maps["few"].slots
    same = ObservedSlots(slots.keys, slots.inner_ids * 0 + 77)
    maps: dict[str, ObservedMap] = {**live.maps, "few": replace(live.maps["few"], slots=same)}
    programs = {"xdp": ObservedProgram(5, "xdp", "aa", (maps["few"].id, maps["active"].id, 9999))}
    state: ObservedState = replace(live, maps=maps, programs=programs)
    drawn = graph.of_live(desired, state)
    arrows = {(arrow.source, arrow.target, arrow.label) for arrow in drawn.arrows}
    assert {("program xdp", "map few", ""), ("program xdp", "map active", "")} <= arrows
    assert ("map few", "inner 77", "[7] [8]") in arrows
    assert next(box.lines for box in drawn.boxes if box.id == "program xdp") == ("xdp", "id 5", "not attached")
    (rest,) = (box for box in drawn.boxes if box.kind is BoxKind.INNER_MAPS)
    assert rest.lines == ("10,000 inner maps",)


def test_many_maps_and_programs_are_one_box_each(desired: DesiredState) -> None:
    outer = {f"few{number}": replace(desired.maps["few"], name=f"few{number}") for number in range(21)}
    many = replace(desired, maps={**outer, "active": desired.maps["active"]})
    live = support.as_live(many)
    used = tuple(map_.id for map_ in live.maps.values())
    programs = {f"xdp{number}": ObservedProgram(number, "xdp", "aa", used) for number in range(21)}
    drawn = graph.of_live(many, replace(live, programs=programs))
    assert [box.lines[:2] for box in drawn.boxes if box.id != "map active"] == [
        ("21 programs",),
        ("21 outer maps", "42 slots"),
    ]
    assert {(arrow.source, arrow.target) for arrow in drawn.arrows} == {
        ("all programs", "all outer maps"),
        ("all programs", "map active"),
    }
    assert {"21 programs", "21 outer maps", "42 slots"} <= set(texts(svg(drawn)))
    del outer["few20"]
    fewer = graph.of_spec(replace(many, maps=outer))
    assert [box.kind for box in fewer.boxes].count(BoxKind.OUTER_MAP) == 20


def svg(drawn: Graph) -> ElementTree.Element:
    drawing = "\n".join(diagrams.dot(drawn))
    done = subprocess.run(["dot", "-Tsvg"], input=drawing, capture_output=True, encoding="utf-8", check=True)
    assert done.stderr == ""
    return ElementTree.fromstring(done.stdout)


def texts(tree: ElementTree.Element) -> list[str]:
    return ["".join(one.itertext()) for one in tree.iter("{http://www.w3.org/2000/svg}text")]


def test_the_drawing_of_a_spec(desired: DesiredState) -> None:
    shown = texts(svg(graph.of_spec(desired)))
    assert {"edge, spec", "many", "few", "active", "10,000 inner maps", "20,000 entries"} <= set(shown)


def test_hostile_text_is_text_in_dot() -> None:
    drawing = graph._Drawing(HOSTILE)
    drawing.box("a", BoxKind.MAP, HOSTILE)
    drawing.box("b", BoxKind.MAP, "b")
    drawing.arrow("a", "b", HOSTILE)
    drawn = drawing.done()
    tree = svg(drawn)
    shown = HOSTILE.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b")
    assert [one.replace("\u00a0", " ") for one in texts(tree)].count(shown) == 3
    assert "script" not in {one.tag.rpartition("}")[2] for one in tree.iter()}


def test_hostile_text_is_text_in_mermaid() -> None:
    drawn = Graph("t", (Box("a", BoxKind.MAP, (HOSTILE,)), Box("b", BoxKind.MAP, ("b",))), ())
    line = next(line for line in diagrams.mermaid(drawn) if line.startswith("  n0"))
    label = re.fullmatch(r'  n0\["(.*)"\]', line)
    assert label is not None
    assert not set(label[1]) & set('"`<&|{}%@\\')
    assert re.sub("#(\\d+);", lambda code: chr(int(code[1])), label[1]) == HOSTILE


def test_mermaid_names_every_box_once(desired: DesiredState) -> None:
    lines = list(diagrams.mermaid(graph.of_spec(desired)))
    assert lines[0] == "flowchart LR"
    boxes = [line for line in lines if re.match(r"  n\d+[\[(]", line)]
    arrows = [line for line in lines if " -->" in line]
    assert (len(boxes), len(arrows)) == (7, 4)
    assert all(re.fullmatch(r'  n\d+ -->(\|"[^"|]*"\|)? n\d+', line) for line in arrows)
