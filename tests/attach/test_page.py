"""The page about attachments has every kind, with the release that it needs; its example runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.attach import KINDS
from provisioner.attach.by_section import HOOKS
from tests import features
from tests.apply.conftest import Bench
from tests.apply.conftest import bench as bench
from tests.attach.support import Compile
from tests.pages import fences

PAGE = (Path(__file__).parents[2] / "docs/attach.md").read_text()


def rows() -> dict[str, str]:
    """Key and first words of sections -> since, from the table of kinds."""
    table = PAGE.partition("## Kinds")[2].partition('"Since"')[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    return {
        f"{key.strip('`')} {word}".removesuffix(" *"): since
        for key, sections, _, since, _, _ in cells
        for word in ([each.strip(" `") for each in sections.split(",")] if key == "`auto`" else ["*"])
    }


def test_the_table_has_every_kind() -> None:
    def since(pair: tuple[tuple[int, int, int], str]) -> str:
        (major, minor, _), commit = pair
        return f"{major}.{minor} ({commit})"

    expected = {key: since(kind.since) for key, kind in KINDS.items() if isinstance(kind.since, tuple)}
    expected |= {f"auto {word}": since(hook.since) for word, hook in HOOKS.items()}
    assert rows() == expected


@pytest.mark.usefixtures("veth")
def test_the_examples_apply(bench: Bench, bpf_object: Compile) -> None:
    features.need_tcx()
    bench.allow_outside = True
    for block in fences(__file__, "attach.md"):
        text = block.text.replace("hooks.bpf.o", str(bpf_object("hooks")))
        bench.settle(text)
    bench.destroy(text)
