"""The record of a project as it is once a plan is carried out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from provisioner import attach
from provisioner.codec.recorded import recorded
from provisioner.model.attachment import Attachment
from provisioner.model.desired import DesiredState
from provisioner.model.observed import ObservedState
from provisioner.model.pins import places
from provisioner.model.record import Meta
from provisioner.planning import approved
from provisioner.planning.approved import Approved
from provisioner.planning.link_names import all_named


def wanted_meta(
    desired: DesiredState,
    observed: ObservedState,
    prune: bool = False,
    limited: bool = False,
    lifted: Sequence[Approved] = (),
) -> Meta:
    """The record once all is done; the maps that programs use are only known then.

    `limited` says that `desired` is a part of the spec: what is recorded of the rest stays. `lifted` are the refusals
    that are approved.
    """
    meta = Meta(
        project=desired.project,
        objects={name: one.digest for name, one in sorted(desired.objects.items())},
        templates={name: map_.entry_shape for name, map_ in sorted(desired.maps.items()) if map_.outer is not None},
        attachments={
            pin: attach.to_record(attachment, _number(attachment, observed))
            for pin, attachment in all_named(desired, observed)
        },
        used_maps=observed.meta.used_maps if observed.meta else {},
        protected=tuple(
            sorted({name for name, one in desired.maps.items() if one.prevent_destroy} | {*observed.protected_left})
        ),
        pins=tuple(sorted(own_pins(desired) | (set() if prune else set(observed.own_pins)))),
        maps=observed.meta.maps if observed.meta else {},
        settings={
            name: object_.recorded_settings
            for name, object_ in sorted(desired.objects.items())
            if object_.recorded_settings
        },
        types={
            name: recorded(map_.outer.key if map_.outer is not None else None, map_.key, map_.value)
            for name, map_ in sorted(desired.maps.items())
        },
        places=places(desired) | ({} if prune else _places_left(desired, observed)),
        directories=_directories(observed),
        revision=observed.meta.revision if observed.meta else "",
        approvals=approved.recorded(observed.meta, desired.approvals, lifted),
    )
    if not limited:
        return meta
    from provisioner.planning.targets import merged_meta

    return merged_meta(meta, observed, desired)


def _places_left(desired: DesiredState, observed: ObservedState) -> dict[str, str]:
    """What is recorded of maps outside of the pin root that the spec no longer has there, and that are still pinned."""
    recorded = observed.meta.places if observed.meta is not None else {}
    return {
        name: path for name, path in recorded.items() if name not in places(desired) and path in observed.other_pins
    }


def _directories(observed: ObservedState) -> tuple[str, ...]:
    """The directories outside of the pin root that are the project's, once those that are missing are created."""
    recorded = observed.meta.directories if observed.meta is not None else ()
    return tuple(sorted({*recorded, *observed.missing}))


def is_recorded(meta: Meta, before: Meta | None, desired: DesiredState) -> bool:
    """Whether the record needs no change. One of version 0.2 has no types: they are added with the next change."""
    if before is None:
        return not (own_pins(desired) or meta.protected)
    return before == (meta if before.types else replace(meta, types={}))


def _number(attachment: Attachment, observed: ObservedState) -> int | None:
    return observed.points.get(attachment.point) if attachment.point is not None else None


def own_pins(desired: DesiredState) -> set[str]:
    """The names that the project pins in its root, links and the record apart."""
    names = {name for name, one in desired.maps.items() if one.adopted is None}
    for object_ in desired.objects.values():
        names |= {*object_.maps, *(program.pin for program in object_.programs)}
    return names
