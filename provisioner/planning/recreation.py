"""Why a live map must be recreated to become the desired one."""

from __future__ import annotations

from provisioner.model import inner_template
from provisioner.model.desired import DesiredMap
from provisioner.model.map_shape import shape_differences
from provisioner.model.observed import ObservedMap
from provisioner.model.record import Meta
from provisioner.planning.resize import is_resize


def replaced_because(desired: DesiredMap, observed: ObservedMap, meta: Meta | None) -> str:
    """Why the live map must be recreated to become the desired one; empty if it need not."""
    own = shape_differences(desired.shape, observed.shape)
    if own or desired.outer is None:
        return own or relaid_because(desired, observed)
    inner = inner_differences(desired, observed, meta)
    return f"inner maps: {inner}" if inner else relaid_because(desired, observed)


def relaid_because(desired: DesiredMap, observed: ObservedMap) -> str:
    """Why entries are to be migrated although their size stays: how their layout changed; empty if it did not."""
    if desired.migration is None or observed.relaid is None or not observed.relaid.moves:
        return ""
    return ", ".join(observed.relaid.words)


def inner_differences(desired: DesiredMap, observed: ObservedMap, meta: Meta | None) -> str:
    """Why the live outer map does not take the desired inner maps; empty if it does, as far as is known."""
    probed = observed.probed
    if probed is not None and probed.fits is not None:
        return probed.why
    live = observed.entry_shape or (meta.templates.get(desired.name) if meta else None)
    return inner_template.template_differences(desired.entry_shape, live) if live is not None else ""


def is_compared(desired: DesiredMap, observed: ObservedMap, meta: Meta | None) -> bool:
    """Whether the contents of the live map matter: it stays, or a map of another size takes them over."""
    if not replaced_because(desired, observed, meta):
        return True
    if relaid_because(desired, observed):
        return False
    return is_resize(desired, observed, meta) and not inner_differences(desired, observed, meta)
