"""Any desired state over any live state: it comes true and nothing else changes, or it is refused and nothing changes.

Other hands write the project's maps by raw system calls between applies: slots, entries, padding, wrong shapes, missing
pins, frozen maps, full maps, one inner map in two slots, pins of strangers, programs and links where a map should be.
One outer map is of their making, and adopted. Exceptions end applies, files are damaged; maps are resized, migrated,
moved, and recreated on request. Each apply is one of the command line's own.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import socket
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from provisioner.kernel import bpffs, links, objects, programs
from provisioner.model.attachment import CreateLink
from provisioner.model.uapi import AttachType
from tests.conftest import Veth, remove_tree
from tests.promises import oracle
from tests.promises.damaged_files import DamagedFiles
from tests.promises.other_hands import OtherHands
from tests.promises.reshaped import Reshaped
from tests.promises.wishes import KINDS

SEED: Final = int(os.environ.get("PROVISIONER_SEED", "0"))
"""Added to the seeds of the short form: another number gives other histories."""


class States(OtherHands, DamagedFiles, Reshaped):
    """One project, and all the hands that write its maps and its files."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one of the processes does: these wait for the kernel most of the time, and can wait together."""

    number: int
    mount: Path
    others: Path
    folder: Path
    full: bool

    def run(self) -> tuple[int, Counter[str], str]:
        """The steps made, how applies ended, and what is wrong, with the history that led to it.

        In every third share, programs in the kernel do all that they can, and in every third, nothing.
        """
        os.environ[programs.SWITCH] = ("always", "off", "auto")[self.number % 3]
        steps, ends = 0, Counter[str]()
        share = self

        class Counted(States):
            mount, folder = share.mount / str(share.number), share.folder / str(share.number)
            others = share.others

            def __init__(self) -> None:
                self.ends = ends
                super().__init__()

            @invariant()
            def count(self) -> None:
                nonlocal steps
                steps += 1

        gc.freeze()  # so that a collection looks at what the runs make, not at all modules
        Counted.mount.mkdir()
        Counted.folder.mkdir()
        # Each apply waits for a grace period more where programs fill maps.
        examples, length = (200, 60) if self.full else (6 if self.number % 3 == 0 else 10, 40)
        try:
            run_state_machine_as_test(
                Counted if self.full else seed(self.number + SEED)(Counted),
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=length,
                    deadline=None,
                    database=None,
                    phases=(Phase.generate, Phase.shrink) if self.full else (Phase.generate,),
                    suppress_health_check=list(HealthCheck),
                ),
            )
        except Exception as error:
            return steps, ends, "".join(traceback.format_exception(error))
        finally:
            Counted.mount.rmdir()
        return steps, ends, ""


SHARES: Final = 6


@pytest.fixture
def others(kernel: Path, veth: Veth, bpf_object: Callable[[str], Path]) -> Iterator[Path]:
    """A directory where another process pinned a program and a link."""
    folder = kernel / "others"
    folder.mkdir()
    template = {"tenants": KINDS["hash"].shape}
    with objects.load(bpf_object("outers"), inner_templates=template, only_programs={"second"}) as loaded:
        program = loaded.programs["second"]
        with links.create(program, CreateLink(AttachType.XDP), socket.if_nametoindex(veth.name)) as link:
            bpffs.pin(program, folder / "program")
            bpffs.pin(link, folder / "link")
    yield folder
    remove_tree(folder)


def test_any_desired_state_over_any_live_state(
    kernel: Path, others: Path, tmp_path: Path, full_sweep: bool, figures: list[str]
) -> None:
    shares = [Share(number, kernel, others, tmp_path, full_sweep) for number in range(SHARES)]
    with ProcessPoolExecutor(SHARES, mp_context=multiprocessing.get_context("fork")) as processes:
        done = list(processes.map(Share.run, shares))
    assert not (wrong := [trouble for _, _, trouble in done if trouble]), "\n\n".join(wrong)
    ends = sum((ends for _, ends, _ in done), Counter[str]())
    another = ends.pop(oracle.ANOTHER_KIND, 0)
    if not SEED:  # other histories need not have all of it
        assert {"0 applied", "0 unchanged", "4 refused", "5 refused"} <= ends.keys(), ends
        assert {"exception", "no-room", "damaged file 1", "damaged file 2"} <= ends.keys(), ends
        assert "migrated" in ends, ends
        assert ends["members"], ends
        assert any(end.startswith("moved ") for end in ends), ends
        assert another
    steps = sum(steps for steps, _, _ in done)
    assert steps > 2000
    figures.append(
        f"random states: {steps:,} steps; how applies ended: {dict(sorted(ends.items()))}; "
        f"of the refused, {another} for a program or a link where a map should be"
    )
