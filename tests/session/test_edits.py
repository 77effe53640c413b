"""Edits of one slot: what they come to, in which order they came."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from provisioner.session.edits import Edit, SlotEdits
from provisioner.session.rows import EntryRows


def keys(*numbers: int) -> NDArray[np.uint8]:
    return np.array(numbers, np.uint32).view(np.uint8).reshape(-1, 4)


def rows(entries: dict[int, int]) -> EntryRows:
    return EntryRows(keys(*entries), keys(*entries.values()))


def entries(held: EntryRows) -> dict[int, int]:
    return dict(
        zip(held.keys.view(np.uint32).ravel().tolist(), held.values.view(np.uint32).ravel().tolist(), strict=True)
    )


BEFORE = {1: 10, 2: 20, 3: 30}


@pytest.mark.parametrize("spread", [1, 1000])
def test_the_last_edit_of_a_key_counts(spread: int) -> None:
    """Few rows go another way than many."""
    more = {number: number for number in range(100, 100 + spread)}
    asked = SlotEdits()
    asked.edits += [
        Edit.put(rows({2: 21, 4: 40} | more)),
        Edit.delete(keys(4, 3, 9), 4),
        Edit.put(rows({9: 90, 2: 22})),
    ]
    assert entries(asked.applied_to(rows(BEFORE))) == {1: 10, 2: 22, 9: 90} | more
    asked.shrink()
    assert len(asked.edits) == 1
    assert entries(asked.applied_to(rows(BEFORE))) == {1: 10, 2: 22, 9: 90} | more


def test_contents_replace_what_was_asked_before_and_edits_follow() -> None:
    asked = SlotEdits(edits=[Edit.put(rows({7: 70}))])
    asked.set(rows({5: 50}))
    asked.edits.append(Edit.put(rows({6: 60})))
    assert entries(asked.applied_to(rows(BEFORE))) == {5: 50, 6: 60}


def test_one_after_the_other() -> None:
    done = SlotEdits(edits=[Edit.put(rows({7: 70}))])
    done.then(SlotEdits(edits=[Edit.delete(keys(1), 4)]))
    assert entries(done.applied_to(rows(BEFORE))) == {2: 20, 3: 30, 7: 70}
    done.then(SlotEdits(edits=[Edit.put(rows({1: 11}))]))
    assert entries(done.applied_to(rows(BEFORE))) == {1: 11, 2: 20, 3: 30, 7: 70}
    assert len(done.edits) == 2, "the same key again takes no more room"
    done.then(SlotEdits(absent=True))
    assert (done.absent, done.edits) == (True, [])
    done.then(SlotEdits(contents=rows({8: 80})))
    assert not done.absent
    assert entries(done.applied_to(rows({}))) == {8: 80}
