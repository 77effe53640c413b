"""Plans without a kernel: what one spec declares is taken for live, and another one is desired.

`python -m tests.report.support` writes what is expected again; read the difference before you keep it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

import provisioner
from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.host import Host
from provisioner.model.observed import ObservedBlock, ObservedMap, ObservedSlots, ObservedState
from provisioner.observed.sources import Depth
from provisioner.planning.diff import diff_map
from provisioner.planning.diff_slots import slots_to_read
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan, make_plan
from provisioner.planning.teardown import plan_destroy
from provisioner.planning.wanted_record import wanted_meta
from provisioner.report import html, jsondoc, markdown, text
from provisioner.report.model import ReportPlan
from provisioner.views import plan_report

CASES: Final = Path(__file__).parent / "cases"
HOST: Final = Host("little", 4)


def load(path: Path) -> DesiredState:
    return provisioner.load([path], host=HOST).desired


def as_live(desired: DesiredState) -> ObservedState:
    """The state after `desired` was applied; ids count from 100, inner ids from 1000."""
    maps = {name: _live_map(map_, 100 + number) for number, (name, map_) in enumerate(desired.maps.items())}
    nothing = ObservedState.nothing()
    return replace(nothing, exists=True, maps=maps, meta=wanted_meta(desired, nothing))


def _live_map(desired_map: DesiredMap, number: int) -> ObservedMap:
    slots = desired_map.slots
    ids = np.arange(len(slots.keys), dtype=np.uint32) + (1000 if desired_map.outer is not None else number)
    for share in np.unique(slots.shared[slots.shared >= 0]):
        ids[slots.shared == share] = 1_000_000 + share
    return ObservedMap(number, desired_map.shape, desired_map.entry_shape, ObservedSlots(slots.keys, ids))


def _blocks(live: DesiredMap, wanted: NDArray[np.uint8]) -> Iterator[ObservedBlock]:
    """A slot to a block, as the reader would give them."""
    for slot in np.flatnonzero(wanted != Depth.NOTHING).tolist():
        starts = live.entries.starts[slot : slot + 1]
        counts = live.entries.counts[slot : slot + 1]
        entries = replace(live.entries, starts=starts, counts=counts)
        yield ObservedBlock(slot, slot + 1, live.slots.max_entries[slot : slot + 1], entries)


def plan(before: DesiredState | None, after: DesiredState, overrides: Overrides = Overrides()) -> Plan:
    """The plan that makes `before`, as if it were live, into `after`."""
    observed = as_live(before) if before is not None else ObservedState.nothing()
    lived: Mapping[str, DesiredMap] = before.maps if before is not None else {}
    changes = []
    for name, desired_map in after.maps.items():
        live = observed.maps.get(name)
        blocks = () if live is None else _blocks(lived[name], slots_to_read(desired_map, live))
        changes.append(diff_map(desired_map, live, blocks, observed.meta))
    return make_plan(after, observed, changes, (), (), overrides)


def report(case: str) -> ReportPlan:
    """The case's plan as it is told; without an `after.yaml` the project is destroyed."""
    before, after = CASES / case / "before.yaml", CASES / case / "after.yaml"
    live = load(before) if before.exists() else None
    if after.exists():
        return plan_report.report(plan(live, load(after)))
    assert live is not None
    return plan_report.report(plan_destroy(live, as_live(live), Overrides()), destroy=True)


def rendered(case: str) -> dict[str, str]:
    """What is told of a case in each format, by file name; less digests and what is the same in every page."""
    report_ = report(case)
    made = {
        "plan.txt": "\n".join(text.render(report_)) + "\n",
        "plan.json": "".join(jsondoc.render(report_)),
        "plan.md": markdown.render(report_),
        "plan.html": re.sub(r"(<style>|<script>\"use).*?(?=</st|</sc)", r"\1", page(case), flags=re.DOTALL),
    }
    return {name: _without_digests(one) for name, one in made.items()}


def page(case: str) -> str:
    """The whole page."""
    return "".join(html.render(report(case)))


def _without_digests(output: str) -> str:
    output = re.sub(r"sha256:[0-9a-f]{12,64}", lambda digest: "sha256:" + "0" * (len(digest[0]) - 7), output)
    return re.sub(r"'sha256-[^']+'", "'sha256-'", output)


def main() -> None:
    for case in sorted(CASES.iterdir()):
        for name, output in rendered(case.name).items():
            (case / name).write_text(output)


if __name__ == "__main__":
    main()
