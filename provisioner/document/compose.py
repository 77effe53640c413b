"""Composes the parse events of a YAML file to a located tree. It knows where entries can be, and no types.

Scalars keep their text: neither tags nor the readings of YAML 1.1 (`on`, `010`, `1:30`) change a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from provisioner.document.entries import Collector, Pattern
from provisioner.document.events import Event, Events
from provisioner.model.errors import Problems

if TYPE_CHECKING:
    from provisioner.model.types import Path
from provisioner.model.location import Location
from provisioner.model.tree import MappingNode, RawEntries, ScalarNode, SequenceNode, SpecNode, flatten

MAX_DEPTH: Final = 64
MAX_ALIASED: Final = 1_000_000
"""The most nodes and entries that all aliases of a file can expand to, a limit on nested aliases."""

_ENTRIES_AT: Final = {"maps": 2, "shared_inner_maps": 2, "inner_maps": 4}
"""Section -> depth of the mapping in which the key `entries` has entries; in other places it is a name."""

_FRAGMENTS: Final = "x-"
"""Top-level keys that begin so are read and left out: they are a place for anchors. `entries` has entries in them."""

_HARMLESS_TAGS: Final = {
    "ScalarEvent": "tag:yaml.org,2002:str",
    "MappingStartEvent": "tag:yaml.org,2002:map",
    "SequenceStartEvent": "tag:yaml.org,2002:seq",
}
_LOST: Final = ScalarNode(None, Location(""))
"""Replaces an undefined alias: the pair or item that contains it is left out."""


class UncomposableError(Exception):
    """The rest of the file cannot be read. The Problem has been added."""


def compose(events: Events, file: str, problems: Problems) -> MappingNode | None:
    """The tree of the document in the file; None if the file has none, or a Problem stops the composer.

    Raises yaml.YAMLError if the text is not YAML.
    """
    try:
        return _Composer(events, file, problems).document()
    except UncomposableError:
        return None


class _Composer:
    def __init__(self, events: Events, file: str, problems: Problems) -> None:
        self._events = events
        self._file = file
        self._problems = problems
        self._anchors: dict[str, tuple[SpecNode, int, int]] = {}
        self._nodes = 0
        self._aliased = 0
        self._deepest = 0
        self._pattern: Pattern | None = None

    def document(self) -> MappingNode | None:
        take = self._events.take
        take()
        if type(start := take()) is StreamEndEvent:
            self._add_empty()
            return None
        assert type(start) is DocumentStartEvent
        event = take()
        root = self._node(event, 0, "")
        take()
        if type(after := take()) is not StreamEndEvent:
            hint = "move it to another file"
            self._problem("a file must have a single YAML document", after, hint, id="unsupported-yaml")
            return None
        if isinstance(root, MappingNode):
            return root
        if isinstance(root, ScalarNode) and root.text is None:
            self._add_empty()
            return None
        hint = "begin with `version: 1` and `name: ...`"
        self._problems.add("a spec must be a mapping", root.where, hint, id="wrong-type")
        return None

    def _add_empty(self) -> None:
        where, hint = Location(self._file), "write a spec, or remove the file"
        self._problems.add("the file is empty", where, hint, id="empty-file")

    def _where(self, event: Event) -> Location:
        mark = event.start_mark
        return Location(self._file, mark.line + 1, mark.column + 1)

    def _problem(self, what: str, event: Event, hint: str = "", *, id: str) -> None:
        self._problems.add(what, self._where(event), hint, id=id)

    def _node(self, event: Event, depth: int, section: str) -> SpecNode:
        if type(event) is AliasEvent:
            return self._alias(event, depth)
        if event.anchor is None:
            return self._bare(event, depth, section)
        nodes, deepest, self._deepest = self._nodes, self._deepest, depth
        node = self._bare(event, depth, section)
        self._anchor(event, node, nodes, depth)
        self._deepest = max(deepest, self._deepest)
        return node

    def _anchor(self, event: Event, node: SpecNode, nodes_before: int, depth: int) -> None:
        self._anchors[event.anchor] = (node, self._nodes - nodes_before, self._deepest - depth)

    def _bare(self, event: Event, depth: int, section: str) -> SpecNode:
        kind = type(event)
        self._nodes += 1
        if event.tag is not None:
            self._tag(event)
        if kind is ScalarEvent:
            return self._scalar(event)
        self._descend(event, depth)
        if kind is MappingStartEvent:
            return self._mapping(event, depth, section)
        return self._sequence(event, depth, section)

    def _descend(self, event: Event, depth: int) -> None:
        if depth >= MAX_DEPTH:
            self._problem(f"the file is nested deeper than {MAX_DEPTH} levels", event, id="limit-exceeded")
            raise UncomposableError
        self._deepest = max(self._deepest, depth)

    def _scalar(self, event: Event) -> ScalarNode:
        quoted = event.style not in ("", None) or event.tag is not None
        return ScalarNode(event.value if event.value or quoted else None, self._where(event), quoted)

    def _tag(self, event: Event) -> None:
        if event.tag not in ("!", _HARMLESS_TAGS.get(type(event).__name__)):
            hint = "remove it: the field's type decides what a value is; quote text that begins with `!`"
            self._problem("tags are not supported", event, hint, id="unsupported-yaml")

    def _alias(self, event: Event, depth: int) -> SpecNode:
        known = self._anchors.get(event.anchor)
        if known is None:
            hint = "define the anchor (`&name`) above this line in the same file; quote text that begins with `*`"
            self._problem("undefined alias", event, hint, id="undefined-alias")
            self._problems.is_partial = True
            return _LOST
        node, size, height = known
        self._aliased += size
        self._nodes += size
        if self._aliased > MAX_ALIASED:
            hint = "use shared_inner_maps or a table (`from:`) in place of aliases"
            what = f"the aliases of the file expand to more than {MAX_ALIASED:,} values"
            self._problem(what, event, hint, id="limit-exceeded")
            raise UncomposableError
        if depth + height >= MAX_DEPTH:
            what = f"an alias makes the file deeper than {MAX_DEPTH} levels"
            self._problem(what, event, id="limit-exceeded")
            raise UncomposableError
        self._deepest = max(self._deepest, depth + height)
        return node

    def _sequence(self, start: Event, depth: int, section: str) -> SequenceNode:
        items: list[SpecNode] = []
        take = self._events.take
        while type(event := take()) is not SequenceEndEvent:
            item = self._node(event, depth + 1, section)
            if item is not _LOST:
                items.append(item)
        return SequenceNode(tuple(items), self._where(start))

    def _mapping(self, start: Event, depth: int, section: str) -> MappingNode:
        pairs: list[tuple[SpecNode, SpecNode]] = []
        seen: dict[str, Location] = {}
        take = self._events.take
        holds_entries = _ENTRIES_AT.get(section) == depth or section.startswith(_FRAGMENTS)
        while type(event := take()) is not MappingEndEvent:
            key = self._key(event, depth, seen, is_data=section == "inner_maps" and depth == 3)
            name = key.text if key else ""
            event = take()
            if holds_entries and name == "entries":
                value = self._entries(event, depth + 1)
            elif depth == 0 or (depth == 2 and section == "outer_maps"):
                value = self._node(event, depth + 1, name or "")
            else:
                value = self._node(event, depth + 1, section)
            if key and value is not _LOST and not (depth == 0 and (name or "").startswith(_FRAGMENTS)):
                pairs.append((key, value))
        return MappingNode(tuple(pairs), self._where(start))

    def _key(self, event: Event, depth: int, seen: dict[str, Location], *, is_data: bool) -> ScalarNode | None:
        """The key, if it is a scalar and not a duplicate; else None with a Problem.

        Keys that are data (outer keys) can be sensitive, so no message repeats them.
        """
        key = self._node(event, depth + 1, "")
        where = self._where(event)
        lost = True
        if key is _LOST:
            pass  # reported
        elif not isinstance(key, ScalarNode):
            hint = "use the list form: `- key: {...}` with the rest of the mapping below it"
            self._problems.add("the key must be a scalar here", where, hint, id="wrong-type")
        elif key.text is None:
            self._problems.add("the key is empty", where, id="empty-value")
        elif key.text == "<<" and not key.quoted:
            hint = "write the keys out, or use an alias for the whole value"
            self._problems.add("merge keys (`<<`) are not supported", where, hint, id="unsupported-yaml")
        elif key.text in seen:
            name = "outer key" if is_data else f"key `{key.text}`"
            what = f"duplicate {name} (first at {seen[key.text]})"
            self._problems.add(what, where, "remove one of the two", id="duplicate-key")
            lost = False
        else:
            seen[key.text] = where
            return key
        self._problems.is_partial |= lost
        return None

    def _entries(self, event: Event, depth: int) -> SpecNode:
        """The value of an `entries` key: RawEntries, unless it is a table reference (`from:` first) or a scalar."""
        kind = type(event)
        if kind is ScalarEvent or self._is_table(event):
            return self._node(event, depth, "")
        if kind is AliasEvent:
            node = self._alias(event, depth)
            table = isinstance(node, MappingNode) and node.is_table
            return node if table or isinstance(node, (ScalarNode, RawEntries)) else self._as_entries(node)
        if event.tag is not None:
            self._tag(event)
        before, deepest, self._deepest = self._nodes, self._deepest, depth
        self._descend(event, depth)
        entries = self._collect(event, depth)
        if event.anchor is not None:
            self._anchor(event, entries, before, depth)
        self._deepest = max(deepest, self._deepest)
        return entries

    def _is_table(self, event: Event) -> bool:
        if type(event) is not MappingStartEvent:
            return False
        first = self._events.peek()
        return type(first) is ScalarEvent and first.value == "from" and not first.style

    def _collect(self, start: Event, depth: int) -> RawEntries:
        events = self._events
        listed = type(start) is not MappingStartEvent
        end = SequenceEndEvent if listed else MappingEndEvent
        into = Collector(self._file)
        pattern = self._pattern if not listed else None
        while type(events.peek()) is not end:
            if pattern is None or not (rows := pattern.run(events, into)):
                pattern = Pattern.learn(events, listed)
                rows = pattern.run(events, into) if pattern else 0
            self._nodes += rows
            if rows == 0:
                self._one_entry(events.take(), depth, listed, into)
        events.take()
        if not listed:
            self._pattern = pattern
        return RawEntries(into.finish(), self._where(start))

    def _one_entry(self, event: Event, depth: int, listed: bool, into: Collector) -> None:
        """The slow way, for entries that match no pattern."""
        key = self._node(event, depth + 1, "")
        if listed:
            self._item(key, into)
            return
        if isinstance(key, ScalarNode) and key.text == "<<" and not key.quoted:
            hint = "write the entries out, or quote the key"
            self._problems.add("merge keys (`<<`) are not supported", key.where, hint, id="unsupported-yaml")
            self._problems.is_partial = True
            self._node(self._events.take(), depth + 1, "")
            return
        self._row(key, self._node(self._events.take(), depth + 1, ""), into)

    def _as_entries(self, node: SpecNode) -> RawEntries:
        into = Collector(self._file)
        if isinstance(node, MappingNode):
            for key, value in node.pairs:
                self._row(key, value, into)
        elif isinstance(node, SequenceNode):
            for item in node.items:
                self._item(item, into)
        return RawEntries(into.finish(), node.where)

    def _item(self, item: SpecNode, into: Collector) -> None:
        if not isinstance(item, MappingNode) or {name for name, _, _ in item.named()} != {"key", "value"}:
            what, hint = "an entry in a list must have `key` and `value` only", "write `- {key: ..., value: ...}`"
            self._problems.add(what, item.where, hint, id="invalid-entry")
            return
        key, value = item.get("key"), item.get("value")
        assert key is not None and value is not None
        self._row(key, value, into)

    def _row(self, key: SpecNode, value: SpecNode, into: Collector) -> None:
        if key is _LOST or value is _LOST:
            return
        row: list[tuple[Path, ScalarNode]] = []
        for node, path in ((key, ("key",)), (value, ("value",))):
            if empty := _empty_part(node):
                what = "the entry contains an empty list or mapping"
                self._problems.add(what, empty.where, "write its values", id="empty-value")
                return
            row.extend(flatten(node, path))
        into.add(row)


def _empty_part(node: SpecNode) -> SpecNode | None:
    """The first empty list or mapping in `node`, or RawEntries, which an alias can refer to."""
    match node:
        case ScalarNode():
            return None
        case SequenceNode(items):
            parts: tuple[SpecNode, ...] = items
        case MappingNode(pairs):
            parts = tuple(value for _, value in pairs)
        case RawEntries():
            return node
    if not parts:
        return node
    return next((empty for part in parts if (empty := _empty_part(part))), None)
