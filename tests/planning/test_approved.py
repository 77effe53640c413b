"""Which refusals an approval lifts, what is said of one that does not, and what is recorded of those that are used."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.model.approval import APPROVABLE, Approval
from provisioner.planning.approved import Approved, hazards, judge, recorded
from provisioner.planning.hazards import Hazard, Refusal, Severity
from provisioner.planning.plan import Plan
from tests.planning.build import HERE, State, desired, observed
from tests.planning.states import Held, ids, live, plan_of, record, wanted

REFUSED = Refusal("recreate", "outer", "the map is recreated", "--allow-recreate")


def approval(rule: str = "recreate", address: str = "outer", **fields: Any) -> Approval:
    return Approval(rule, address, **{"until": "", "id": "", "where": HERE, "is_current": True, **fields})


VALID = approval(id="CHG-1")
LATE = approval(id="CHG-2", until="2026-01-31", is_current=False)


@pytest.mark.parametrize("rule", APPROVABLE)
def test_an_approval_lifts_its_refusal(rule: str) -> None:
    refusal, permit = Refusal(rule, "outer", "", ""), approval(rule)
    assert judge([refusal], [permit], None) == ((), (Approved(refusal, permit),))
    assert judge([refusal], [permit], record()) == ((), (Approved(refusal, permit),))


@pytest.mark.parametrize(
    "approvals",
    [
        [],
        [approval(address="other")],
        [approval("update_percent")],
        [approval(address="zone")],
        [approval("delete_percent")],
        [approval(address="")],
    ],
)
def test_an_approval_of_something_else_lifts_nothing(approvals: list[Approval]) -> None:
    assert judge([REFUSED], approvals, None) == ((REFUSED,), ())


def test_a_rule_that_no_option_overrides_is_not_approved() -> None:
    refusal = Refusal("prevent_destroy", "outer", "", "")
    assert judge([refusal], [approval("prevent_destroy")], None) == ((refusal,), ())


@pytest.mark.parametrize(
    ("approvals", "used", "hint"),
    [
        ([VALID], [VALID], "the approval CHG-1 (spec.yaml:1) was used: give the new one another `id`"),
        ([LATE], [], "the approval CHG-2 (spec.yaml:1) expired on 2026-01-31"),
        ([LATE], [LATE], "the approval CHG-2 (spec.yaml:1) was used: give the new one another `id`"),
        ([VALID, LATE], [VALID], "the approval CHG-2 (spec.yaml:1) expired on 2026-01-31"),  # the last one counts
        ([approval(is_current=False)], [], ""),  # nobody asked for the date
    ],
)
def test_an_approval_that_is_not_valid_is_explained(approvals: list[Approval], used: list[Approval], hint: str) -> None:
    meta = record(approvals=tuple(each.key for each in used))
    ((left,), lifted) = judge([REFUSED], approvals, meta)
    assert (left.rule, left.hint, lifted) == ("recreate", hint, ())


def test_the_hint_of_the_rule_comes_first() -> None:
    refusal = Refusal("recreate", "outer", "", "", hint="wait")
    ((left,), _) = judge([refusal], [LATE], None)
    assert left.hint == "wait; the approval CHG-2 (spec.yaml:1) expired on 2026-01-31"


def test_one_of_several_approvals_is_enough() -> None:
    again = approval(id="CHG-3")
    _, (lifted,) = judge([REFUSED], [VALID, LATE, again], record(approvals=(VALID.key,)))
    assert lifted.approval is again


def test_what_is_approved_is_a_danger() -> None:
    until = approval(id="CHG-4", until="2026-12-31")
    assert list(hazards([Approved(REFUSED, VALID), Approved(REFUSED, until)])) == [
        Hazard("approved", Severity.DANGER, "outer", f"the map is recreated (recreate): approved once by {words}")
        for words in ("CHG-1 (spec.yaml:1)", "CHG-4 (spec.yaml:1), until 2026-12-31")
    ]


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (REFUSED, "recreate of outer by CHG-1 (spec.yaml:1)"),
        (Refusal("delete_percent", "", "", ""), "delete_percent of the project by CHG-1 (spec.yaml:1)"),
    ],
)
def test_an_approved_refusal_in_words(refusal: Refusal, text: str) -> None:
    assert str(Approved(refusal, VALID)) == text


def test_the_record_keeps_what_is_used_and_still_declared() -> None:
    """A key that goes while nothing is used would be a change of its own."""
    gone, kept = approval(id="gone").key, approval(id="kept")
    meta = record(approvals=(gone, kept.key))
    assert recorded(meta, [kept, VALID], []) == (gone, kept.key)
    used = [Approved(REFUSED, VALID)]
    assert recorded(meta, [kept, VALID], used) == tuple(sorted((kept.key, VALID.key)))
    assert recorded(None, [VALID], used) == (VALID.key,)
    assert recorded(None, [VALID], []) == ()


def plan(*approvals: Approval, used: tuple[str, ...] = ()) -> Plan:
    """Half of the inner maps go, which the limits refuse."""
    held: State = {key: {} for key in range(100)}
    state = wanted(desired({key: {} for key in range(50)}), approvals=approvals)
    seen = live(meta=record(approvals=used), maps={"outer": observed(held)})
    return plan_of(state, seen, Held({"outer": held}))


def test_a_plan_is_lifted_once() -> None:
    permit = approval("delete_percent", id="CHG-5")
    assert ids(plan().blocked) == ids(plan(permit, used=(permit.key,)).blocked) == [("delete_percent", "outer")]
    lifted = plan(permit)
    assert (lifted.blocked, [str(each) for each in lifted.approved]) == (
        (),
        ["delete_percent of outer by CHG-5 (spec.yaml:1)"],
    )
    assert ids(lifted.hazards) == [("approved", "outer")]
    assert lifted.digest != plan().digest
