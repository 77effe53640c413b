"""The order of programs at a hook: which attachment is made first, and which live one must be made again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from provisioner.attach.tcx import Tcx
from provisioner.model.attachment import Attachment, HookOrder, IfMissing
from provisioner.model.desired import DesiredProgram
from provisioner.model.observed import ObservedLink, ObservedState
from provisioner.model.uapi import AttachType, LinkType
from provisioner.planning.changes import Action, LinkChange
from provisioner.planning.diff_objects import diff_links, diff_object
from provisioner.planning.hook_order import Wish, misplaced, missing, neighbours_first
from tests.planning.build import HERE
from tests.planning.states import ETH0, an_object, live, pinned, record, wanted

FOREIGN = "/sys/fs/bpf/theirs"


def tcx(words: str = "", direction: str = "ingress") -> Tcx:
    """`before guard`, `after guard`, `first`, `last`, or anywhere."""
    name, _, other = words.partition(" ")
    order = {name: other} if other else {"order": name} if name else {}
    return Tcx.read({"interface": "eth0", "direction": direction, **order}, HERE, IfMissing.FAIL)


def wish(name: str, attach: Attachment) -> Wish:
    return Wish("router", DesiredProgram(name, name, (attach,), HERE), f"_link_{name}", attach)


# --- which comes first -------------------------------------------------------------------------------------------


def order(**attachments: str | Tcx) -> list[str]:
    wishes = [wish(name, tcx(each) if isinstance(each, str) else each) for name, each in attachments.items()]
    return [each.owner.name for each in neighbours_first(wishes)]


@pytest.mark.parametrize(
    ("attachments", "expected"),
    [
        ({"a": "", "b": ""}, ["a", "b"]),
        ({"a": "after b", "b": ""}, ["b", "a"]),
        ({"a": "before b", "b": ""}, ["b", "a"]),
        ({"a": "after b", "b": "before c", "c": ""}, ["c", "b", "a"]),
        ({"a": "last", "b": "", "c": "first"}, ["b", "c", "a"]),
        ({"a": "last", "b": "after a", "c": ""}, ["a", "b", "c"]),
        ({"a": f"after {FOREIGN}", "b": ""}, ["a", "b"]),
        ({"a": tcx("after b"), "b": tcx("", "egress")}, ["a", "b"]),  # at another hook
        ({"a": "after gone"}, ["a"]),
    ],
)
def test_an_attachment_is_made_after_the_one_that_it_names(
    attachments: dict[str, str | Tcx], expected: list[str]
) -> None:
    assert order(**attachments) == expected


# --- what is missing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "at_hook", "expected"),
    [
        ("", HookOrder((), 0), ""),
        ("after own", HookOrder((9,), 0), ""),  # a program of the project: the spec has it
        (f"after {FOREIGN}", None, ""),  # the hook was not read
        (f"after {FOREIGN}", HookOrder((9,), 9), ""),
        (f"after {FOREIGN}", HookOrder((), 9), ""),  # the kernel does not list them
        (f"after {FOREIGN}", HookOrder((9,), 0), f"{FOREIGN} is not the pin of a program or a link"),
        (f"after {FOREIGN}", HookOrder((8,), 9), f"program 9 at {FOREIGN} is not attached to this hook"),
    ],
)
def test_a_program_of_another_owner_that_is_named_must_be_attached(
    words: str, at_hook: HookOrder | None, expected: str
) -> None:
    attach = tcx(words)
    orders = {} if at_hook is None else {attach.describe(): at_hook}
    assert missing(attach, live(orders=orders)) == expected


# --- what must be made again -------------------------------------------------------------------------------------

MINE, OTHER = 51, 52


def link(program_id: int) -> ObservedLink:
    return ObservedLink(70, program_id, 3, LinkType.TCX, AttachType.TCX_INGRESS)


def change(attach: Tcx, action: Action, *, is_live: bool = True, name: str = "other") -> LinkChange:
    """Of the program `name`."""
    program = DesiredProgram(name, name, (attach,), HERE)
    return LinkChange("router", program, attach, f"_link_{name}", action, "", 3, link(OTHER) if is_live else None)


def seen(attach: Tcx, *programs: int, neighbour: int = 0) -> ObservedState:
    return live(links={"_link_mine": link(MINE)}, orders={attach.describe(): HookOrder(programs, neighbour)})


def again(words: str, programs: Sequence[int], *before: LinkChange, neighbour: int = 0) -> str:
    attach = tcx(words)
    return misplaced(attach, "_link_mine", seen(attach, *programs, neighbour=neighbour), before)


@pytest.mark.parametrize(
    ("words", "programs", "is_right"),
    [
        ("", (OTHER, MINE), True),
        ("first", (MINE, OTHER), True),
        ("first", (OTHER, MINE), False),
        ("last", (OTHER, MINE), True),
        ("last", (MINE, OTHER), False),
        ("before other", (MINE, OTHER), True),
        ("before other", (OTHER, MINE), False),
        ("after other", (OTHER, MINE), True),
        ("after other", (MINE, OTHER), False),
        ("after other", (MINE,), True),  # the other one is not there
        ("after other", (), True),  # nor is the order known
    ],
)
def test_a_live_link_in_the_wrong_place_is_made_again(words: str, programs: tuple[int, ...], is_right: bool) -> None:
    why = again(words, programs, change(tcx(), Action.UNCHANGED))
    assert why == ("" if is_right else f"it does not run {words}: it is detached and attached again")


@pytest.mark.parametrize(("programs", "is_right"), [((9, MINE), True), ((MINE, 9), False)])
def test_the_place_beside_a_program_of_another_owner(programs: tuple[int, ...], is_right: bool) -> None:
    words = f"after {FOREIGN}"
    why = again(words, programs, neighbour=9)
    assert bool(why) is not is_right


def test_a_hook_whose_order_was_not_read_is_left() -> None:
    assert misplaced(tcx("first"), "_link_mine", live(links={"_link_mine": link(MINE)}), ()) == ""


@pytest.mark.parametrize("action", [Action.CREATE, Action.REPLACE])
def test_the_last_program_goes_behind_those_that_are_attached(action: Action) -> None:
    right = OTHER, MINE
    assert again("last", right, change(tcx(), action)) == "others are attached after it"
    assert again("last", right, change(tcx(direction="egress"), action)) == ""
    assert again("last", right, change(tcx(), Action.UPDATE)) == ""
    assert again("first", (MINE, OTHER), change(tcx(), action)) == ""


@pytest.mark.parametrize(
    ("words", "theirs", "expected"),
    [
        ("after other", "", "other is attached again"),
        ("before other", "", ""),  # it goes to the end
        ("before other", "first", "other is attached again"),
    ],
)
@pytest.mark.parametrize("action", [Action.CREATE, Action.REPLACE])
def test_a_link_beside_one_that_is_made_again(words: str, theirs: str, expected: str, action: Action) -> None:
    """The live order, whatever it is, says nothing of it."""
    for programs in ((MINE, OTHER), (OTHER, MINE)):
        assert again(words, programs, change(tcx(theirs), action)) == expected


@pytest.mark.parametrize("name", ["a", "zebra"])
def test_only_the_program_that_is_named_counts(name: str) -> None:
    others = change(tcx(), Action.REPLACE, name=name), change(tcx(), Action.UNCHANGED)
    assert again("after other", (OTHER, MINE), *others) == ""
    assert again("after other", (MINE, OTHER), *others) != ""


def test_a_neighbour_that_is_not_live_has_no_place() -> None:
    deferred = change(tcx(), Action.KEEP, is_live=False)
    assert again("after other", (MINE, OTHER), deferred) == again("after other", (MINE, OTHER)) == ""


# --- all of it ---------------------------------------------------------------------------------------------------


def test_links_are_compared_in_the_order_in_which_they_are_made() -> None:
    """`b` is new: `a`, which runs after it, is made again, and `last` behind both."""
    attachments = {"last": tcx("last"), "a": tcx("after b"), "b": tcx(), "c": tcx()}
    programs = [DesiredProgram(name, name, (each,), HERE) for name, each in attachments.items()]
    ids_ = {name: 51 + number for number, name in enumerate(attachments)}
    state = wanted(an_object(*programs, digest="1"))
    observed = live(
        meta=record(objects={"router": "1"}),
        programs=pinned(*attachments),
        links={f"_link_{name}": link(ids_[name]) for name in ("last", "a", "c")},
        points={ETH0: 3},
        orders={each.describe(): HookOrder((ids_["c"], ids_["a"], ids_["last"])) for each in attachments.values()},
    )
    load = diff_object(state.objects["router"], state, observed)
    links = diff_links(observed, {"router": load}, True)
    assert {change.pin: (change.action, change.reason) for change in links} == {
        "_link_b": (Action.CREATE, "it is not attached"),
        "_link_a": (Action.REPLACE, "b is attached again"),
        "_link_c": (Action.UNCHANGED, ""),
        "_link_last": (Action.REPLACE, "others are attached after it"),
    }
    assert [change.pin for change in links] == ["_link_b", "_link_a", "_link_c", "_link_last"]
