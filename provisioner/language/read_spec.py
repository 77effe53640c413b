"""Reads the tree of a document as a `Spec`. Pure.

`schema.check` reports a wrong structure; `rules` report what a schema cannot express. Both can run on the same tree, so
that one run shows all problems. The Spec is valid only if there are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from provisioner import attach
from provisioner.language import attachments, read_moved, rules
from provisioner.language.read_approvals import read_approvals
from provisioner.language.read_maps import (
    choice,
    names,
    read_entries,
    read_fields,
    read_inner_maps,
    read_limits,
    read_policy,
    text,
)
from provisioner.language.read_objects import is_loaded, read_map_settings, read_program_settings, read_variables
from provisioner.language.read_types import read_type
from provisioner.language.scalars import is_true
from provisioner.model.attachment import Attachment
from provisioner.model.errors import Problems
from provisioner.model.location import Location
from provisioner.model.pins import USUAL_MOUNT
from provisioner.model.spec import (
    BpfObject,
    ExtraInnerMaps,
    InnerTemplate,
    OuterMap,
    PlainMap,
    Program,
    SharedInnerMap,
    Spec,
)
from provisioner.model.tree import MappingNode, ScalarNode, SequenceNode, SpecNode


def read(tree: MappingNode, problems: Problems) -> Spec:
    """The Spec that `tree` declares. Errors other than a wrong structure go to `problems`."""
    reader = _SpecReader(problems)
    name = text(tree.get("name")) or ""
    pin_root = text(tree.get("pin_root")) or f"{USUAL_MOUNT}/{name}"
    types = ((key, read_type(value, problems)) for key, _, value in _pairs(tree, "types"))
    spec = Spec(
        name=name,
        pin_root=pin_root.rstrip("/"),
        types={key: type_ for key, type_ in types if type_},
        inner_templates={key.text or "": reader.template(key, body) for key, body in _bodies(tree, "inner_templates")},
        objects={key.text or "": reader.object(key, body) for key, body in _bodies(tree, "objects")},
        shared_inner_maps={
            key.text or "": reader.shared(key, body) for key, body in _bodies(tree, "shared_inner_maps")
        },
        maps={key.text or "": reader.plain_map(key, body) for key, body in _bodies(tree, "maps")},
        outer_maps={key.text or "": reader.outer_map(key, body) for key, body in _bodies(tree, "outer_maps")},
        limits=read_limits(tree.get("limits")),
        pin_inner_maps=is_true(tree.get("pin_inner_maps")),
        pin_mode=_mode(tree.get("pin_mode")),
        pin_group=text(tree.get("pin_group")),
        where=tree.where,
        approvals=read_approvals(tree.get("approvals"), problems),
        moved=read_moved.read_moved(tree.get("moved")),
    )
    rules.check(spec, tree, problems)
    attachments.check(spec, problems)
    read_moved.check(spec, problems)
    return spec


def _pairs(tree: MappingNode, section: str) -> Iterator[tuple[str, ScalarNode, SpecNode]]:
    node = tree.get(section)
    if isinstance(node, MappingNode):
        yield from node.named()


def _bodies(tree: MappingNode, section: str) -> Iterator[tuple[ScalarNode, MappingNode]]:
    for _, key, value in _pairs(tree, section):
        if isinstance(value, MappingNode):
            yield key, value


class _SpecReader:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def template(self, key: ScalarNode, body: MappingNode) -> InnerTemplate:
        return InnerTemplate(
            name=key.text or "",
            fields=read_fields(body, self._problems),
            policy=read_policy(body, self._problems),
            prevent_destroy=is_true(body.get("prevent_destroy")),
            where=key.where,
        )

    def shared(self, key: ScalarNode, body: MappingNode) -> SharedInnerMap:
        return SharedInnerMap(
            name=key.text or "",
            inner=text(body.get("inner")) or "",
            entries=read_entries(body.get("entries")),
            max_entries=read_fields(body, self._problems).max_entries,
            where=key.where,
        )

    def plain_map(self, key: ScalarNode, body: MappingNode) -> PlainMap:
        return PlainMap(
            name=key.text or "",
            object=next(iter(objects := _objects(body)), None),
            pin=_scalar(body.get("pin")),
            fields=read_fields(body, self._problems),
            entries=read_entries(body.get("entries")),
            policy=read_policy(body, self._problems),
            prevent_destroy=is_true(body.get("prevent_destroy")),
            after=names(body.get("after")),
            where=key.where,
            also=objects[1:],
            own=is_true(body.get("own")),
            limits=read_limits(body.get("limits")),
        )

    def outer_map(self, key: ScalarNode, body: MappingNode) -> OuterMap:
        default = body.get("default")
        return OuterMap(
            name=key.text or "",
            object=next(iter(objects := _objects(body)), None),
            pin=_scalar(body.get("pin")),
            fields=read_fields(body, self._problems),
            inner=text(body.get("inner")) or "",
            inner_maps=read_inner_maps(body.get("inner_maps"), self._problems),
            default_shared=text(default.get("shared")) if isinstance(default, MappingNode) else None,
            policy=read_policy(body, self._problems),
            extra_inner_maps=choice(ExtraInnerMaps, body.get("extra_inner_maps")) or ExtraInnerMaps.DELETE,
            limits=read_limits(body.get("limits")),
            prevent_destroy=is_true(body.get("prevent_destroy")),
            after=names(body.get("after")),
            where=key.where,
            also=objects[1:],
            own=is_true(body.get("own")),
        )

    def object(self, key: ScalarNode, body: MappingNode) -> BpfObject:
        file = _scalar(body.get("file")) or ScalarNode("", key.where)
        programs = tuple(_program(name, value) for name, value in _bodies(body, "programs") if is_loaded(value))
        left_out = tuple(_program(name, value) for name, value in _bodies(body, "programs") if not is_loaded(value))
        settings = read_map_settings(body.get("maps")), read_variables(body.get("variables"))
        return BpfObject(key.text or "", file, programs, key.where, *settings, left_out)


def _objects(body: MappingNode) -> tuple[str, ...]:
    """The objects of a map: one of `object`, or those of `objects`."""
    written = text(body.get("object"))
    listed = tuple(dict.fromkeys(scalar.text or "" for scalar in names(body.get("objects"))))
    return (written,) if written else listed


def _mode(node: SpecNode | None) -> int | None:
    """Permission bits from octal digits, as in chmod(1)."""
    written = text(node)
    return int(written, 8) if written and re.fullmatch("[0-7]+", written) else None


def _scalar(node: SpecNode | None) -> ScalarNode | None:
    return node if isinstance(node, ScalarNode) and node.text else None


def _program(key: ScalarNode, body: MappingNode) -> Program:
    return Program(
        name=key.text or "",
        pin=text(body.get("pin")) or key.text or "",
        attachments=tuple(_attachments(body.get("attach"), key.where)),
        where=key.where,
        settings=read_program_settings(body),
    )


def _attachments(node: SpecNode | None, where: Location) -> Iterator[Attachment]:
    """One attachment, or those of a list."""
    items = [item for item in node.items if isinstance(item, MappingNode)] if isinstance(node, SequenceNode) else [node]
    for each in items:
        attachment = _attachment(each, where)
        if attachment is not None:
            yield attachment


def _attachment(node: SpecNode | None, where: Location) -> Attachment | None:
    """`auto`, or the single kind of the mapping with its scalar fields."""
    match node:
        case ScalarNode(text="auto"):
            return attach.read("auto", {}, node.where)
        case MappingNode(pairs=((ScalarNode(text=kind), MappingNode() as body),)) if kind in attach.KINDS:
            scalars = {name: value for name, _, value in body.named() if isinstance(value, ScalarNode)}
            named = scalars.get("interface") or scalars.get("path") or scalars.get("event")
            fields = {name: value.text or "" for name, value in scalars.items()}
            return attach.read(kind or "", fields, where if named is None else named.where)
        case _:
            return None
