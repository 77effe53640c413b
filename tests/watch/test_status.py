"""The status of a watch: when it is ready and healthy, and the document that it publishes. Pure."""

from __future__ import annotations

from provisioner.model.errors import HostError, InputError, LockedError, Problem
from provisioner.model.location import Location
from provisioner.model.types import HIDDEN, Abridged
from provisioner.planning.hazards import Refusal
from provisioner.watch.machine import Verdict
from provisioner.watch.reconcile import PassResult
from provisioner.watch.status import HEALTHY_SECONDS, Board, Identity
from tests.cli.support import parsed

EDGE = ("edge",)
DMZ = ("dmz", "more")
REVISION = f"sha256:{'a' * 64}"
NEXT = f"sha256:{'b' * 64}"
APPLIED = PassResult(Verdict.APPLIED)
CONVERGED = PassResult(Verdict.CONVERGED)


def board(*results: PassResult, revision: str = REVISION) -> Board:
    made = Board((EDGE,), 0)
    for result in results:
        made.passed(EDGE, result, Identity("edge", "/sys/fs/bpf/edge", revision), 0, "2026-01-01T00:00:00Z")
    return made


def test_it_is_ready_if_the_live_state_is_that_of_valid_files() -> None:
    refused = PassResult(Verdict.REFUSED, refusals=(Refusal("delete_percent", "m", "too many", "--approve-deletes"),))
    broken = PassResult(Verdict.CONVERGED, broken=InputError(Problem("x", Location("edge", 1, 1), id="wrong-type")))
    failed = PassResult(Verdict.FAILED, error=HostError(Problem("x", id="no-memory")))
    assert not board().is_ready()
    assert board(APPLIED).is_ready() and board(CONVERGED).is_ready()
    for bad in (refused, broken, failed, PassResult(Verdict.DRIFT)):
        assert not board(APPLIED, bad).is_ready()
        assert board(APPLIED, bad, CONVERGED).is_ready()


def test_another_process_that_holds_the_lock_changes_nothing() -> None:
    locked = PassResult(Verdict.LOCKED, error=LockedError(Problem("x", id="locked")))
    assert board(APPLIED, locked).is_ready()
    assert not board(locked).is_ready()
    later = board(APPLIED)
    later.passed(EDGE, locked, Identity("edge", "/", NEXT), 0, "")
    assert not later.is_ready(), "this revision was never live"


def test_it_is_not_ready_while_changed_files_wait() -> None:
    made = board(APPLIED)
    made.changing(EDGE)
    assert not made.is_ready()
    assert made.status(EDGE).live_revision == REVISION


def test_an_engine_waits_for_its_revision() -> None:
    made = board(APPLIED)
    assert made.is_ready(REVISION)
    assert not made.is_ready(NEXT)


def test_all_projects_must_be_ready() -> None:
    made = Board((EDGE, DMZ), 0)
    made.passed(EDGE, APPLIED, Identity("edge", "/", REVISION), 0, "")
    assert not made.is_ready()
    made.passed(DMZ, APPLIED, Identity("dmz", "/", NEXT), 0, "")
    assert made.is_ready(NEXT)


def test_it_is_healthy_while_the_loop_runs() -> None:
    made = board()
    made.beat(100)
    assert made.is_healthy(100 + HEALTHY_SECONDS - 1)
    assert not made.is_healthy(100 + HEALTHY_SECONDS)


def test_the_document_follows_its_schema() -> None:
    problem = Problem("bad", Location("edge.yaml", 3, 5), "write it", id="wrong-type")
    for made in (board(), board(APPLIED), board(PassResult(Verdict.FAILED, broken=InputError(problem)))):
        document = parsed(made.document(0))
        (project,) = document["projects"]
        assert project["files"] == ["edge"]
    assert (project["result"], project["spec_ok"], project["errors"][0]["line"]) == ("failed", False, 3)


def test_values_that_are_hidden_or_long_are_texts() -> None:
    values = {"secret": HIDDEN, "long": Abridged("400 bytes"), "members": {"key": HIDDEN, "rate": 1}}
    changes = tuple(
        {"address": f"m[{name}]", "action": "update", "before": value, "after": value} for name, value in values.items()
    )
    made = board(PassResult(Verdict.DRIFT, changes=changes))
    (project,) = parsed(made.document(0))["projects"]
    shown = [change["before"] for change in project["changes"]]
    assert shown == ["(sensitive)", "400 bytes", {"key": "(sensitive)", "rate": 1}]
