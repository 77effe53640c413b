"""Reads the `approvals:` of a spec. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.model.approval import Approval
from provisioner.model.errors import Problems
from provisioner.model.tree import MappingNode, ScalarNode, SequenceNode, SpecNode


def read_approvals(node: SpecNode | None, problems: Problems) -> tuple[Approval, ...]:
    """The approvals in order; the schema reports those of a wrong form."""
    if not isinstance(node, SequenceNode):
        return ()
    approvals = tuple(_read(node))
    first: dict[str, Approval] = {}
    for approval in approvals:
        earlier = first.setdefault(approval.key, approval)
        if earlier is not approval:
            what = f"the approval is a duplicate (first at {earlier.where})"
            problems.add(what, approval.where, "give it another `id`", id="duplicate-key")
    return approvals


def _read(node: SequenceNode) -> Iterator[Approval]:
    for item in node.items:
        if isinstance(item, MappingNode):
            rule, address, until, id_ = (_text(item.get(name)) for name in ("rule", "address", "until", "id"))
            yield Approval(rule, address, until, id_, item.where)


def _text(node: SpecNode | None) -> str:
    return node.text or "" if isinstance(node, ScalarNode) else ""
