"""The contents of a report in every format: values that the renderers format, without additions.

A plan of millions of entries is reported without an object per entry: children are made as they are walked, and cut to
what people read unless all of it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Final

import msgspec

from provisioner.model.desired import DesiredState
from provisioner.model.kernel_versions import Advice
from provisioner.model.overlays import Fields
from provisioner.model.types import Value
from provisioner.planning.approved import Approved
from provisioner.planning.counts import EntryCounts, Summary
from provisioner.planning.footprint import Footprint
from provisioner.planning.hazards import Hazard, Refusal

ENTRIES: Final = 10
"""Entries shown of one inner map."""

SLOTS: Final = 20
"""Inner maps shown of one outer map."""


class Kind(Enum):
    OBJECT = "object"
    PROGRAM = "program"
    OUTER_MAP = "outer_map"
    INNER_MAP = "inner_map"
    MAP = "map"
    ENTRY = "entry"
    PIN = "pin"
    ATTACHMENT = "attachment"
    MOVE = "move"


class Verb(Enum):
    """What becomes of a thing; entries are inserted, all else is created. SHOW: it is live, and stays."""

    CREATE = "create"
    INSERT = "insert"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    SHOW = "show"


class Node(msgspec.Struct, frozen=True):
    """One line of a report: `label` and `text` for people, the rest for machines.

    `before` and `after` are JSON values, None where there is nothing; `key` is the decoded key of an entry or slot.
    `source` is the file and line of an overlay that says so, `sources` those of fields that overlays decided; both are
    in `text` too. `is_long` says that `text` does not have all of the value of an entry. Nothing in a node is secret:
    what a spec marks as sensitive has been taken out.
    """

    kind: Kind
    verb: Verb
    address: str
    label: str
    text: str
    reason: str = ""
    before: Value = None
    after: Value = None
    key: Value = None
    entries: EntryCounts | None = None
    children: Children | None = None
    source: str = ""
    sources: Fields = {}
    is_long: bool = False


class Children(msgspec.Struct, frozen=True):
    """`shown` of `total` nodes below another, made by `make` at each walk; `kind` says what they are."""

    kind: Kind
    total: int
    shown: int
    make: Callable[[], Iterator[Node]]

    def __iter__(self) -> Iterator[Node]:
        return self.make()

    @property
    def omitted(self) -> int:
        return self.total - self.shown


class StepLine(msgspec.Struct, frozen=True):
    """A step of the work: `kind` for machines, `text` for people."""

    kind: str
    text: str


class Against(msgspec.Struct, frozen=True):
    """The snapshot that a plan compares with: of which host and kernel, when it was taken (UTC, ISO 8601), how old.

    The age is in seconds; below zero, the host's clock was ahead of this one.
    """

    host: str
    kernel: str
    taken: str
    age_seconds: int


class ReportPlan(msgspec.Struct, frozen=True):
    """A plan as reports show it. `destroy` says that it takes the project away; `against` is None for what is live.

    `targets` are the addresses that it is limited to, none for all of the spec; `sources` as in a node, of the fields
    at the top of the spec. `revision` is empty for a plan of destroy.
    """

    project: str
    pin_root: str
    digest: str
    changed: bool
    destroy: bool
    summary: Summary
    nodes: tuple[Node, ...]
    steps: tuple[StepLine, ...]
    hazards: tuple[Hazard, ...]
    blocked: tuple[Refusal, ...]
    grace_periods: int
    memory: Footprint
    against: Against | None = None
    targets: tuple[str, ...] = ()
    sources: Fields = {}
    revision: str = ""
    approved: tuple[Approved, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """How an apply or destroy ended: `status` is a word of `apply.Status`, `live` what is visible of a failed one.

    `window_seconds` is how far apart the first and the last new slot became visible, at most.
    """

    status: str
    seconds: float
    grace_periods: int
    fds_before: int
    fds_after: int
    live: tuple[str, ...] = ()
    window_seconds: float = 0.0


class Limits(msgspec.Struct, frozen=True):
    """How many children a node shows; None shows all."""

    slots: int | None = SLOTS
    entries: int | None = ENTRIES


CUT: Final = Limits()
ALL: Final = Limits(None, None)
PAGE: Final = Limits(200, 50)
"""What a page that folds its lists shows."""


class Totals(msgspec.Struct, frozen=True):
    """How much is live of a project. `entries` leaves out maps whose entries cannot be listed; `memory` is in bytes."""

    outer_maps: int
    inner_maps: int
    maps: int
    entries: int
    programs: int
    memory: int


class ReportLive(msgspec.Struct, frozen=True):
    """What is live of a project: maps and programs that the spec names, other pins. All nodes are SHOW.

    Of a part of the project, `revision` is empty and `totals` are None; `matches` says that the revision is live.
    """

    project: str
    pin_root: str
    exists: bool
    nodes: tuple[Node, ...]
    revision: str = ""
    matches: bool = False
    totals: Totals | None = None


class ListedProject(msgspec.Struct, frozen=True):
    """A project of this host, found by its record. `changed` is when its last change was recorded (UTC, ISO 8601).

    `revision` is that of the last change. `totals` is None where it could not be read; `problem` says why.
    """

    project: str
    pin_root: str
    changed: str
    revision: str
    totals: Totals | None
    problem: str = ""


class Fact(msgspec.Struct, frozen=True):
    """One statement about an address: `label` and `text` for people, `data` for programs, as keys of one document."""

    label: str
    text: str
    data: Mapping[str, Value]


class Explanation(msgspec.Struct, frozen=True):
    """The facts about one address; `against` is None for the live state of this host."""

    project: str
    address: str
    facts: tuple[Fact, ...]
    against: Against | None = None


class Validation(msgspec.Struct, frozen=True):
    """A valid spec; `advice` is None if no kernel was named."""

    desired: DesiredState
    advice: tuple[Advice, ...] | None = None
