"""The hooks of this host, as `doctor` finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.doctor import attachments
from provisioner.doctor.finding import Level


@pytest.mark.usefixtures("kernel")
def test_the_hooks_of_this_host() -> None:
    known = attachments.hooks()
    assert known["kprobe"] is Path("/sys/bus/event_source/devices/kprobe").exists()
    assert known["uprobe"] is Path("/sys/bus/event_source/devices/uprobe").exists()
    assert known["tcx"] is not None


def test_what_is_missing_has_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments, "hooks", lambda: {"tcx": True, "kprobe": False, "lsm": None})
    finding = attachments.examine()
    assert (finding.level, finding.what) == (Level.NOTE, "tcx; not kprobe")
    assert finding.hint == "kprobe: CONFIG_KPROBE_EVENTS is not set"


def test_every_hook_has_a_hint() -> None:
    assert attachments.hooks().keys() == attachments._HINTS.keys()
