"""The places in overlays that decided what a report shows. Pure."""

from __future__ import annotations

from typing import Final

from provisioner.model.overlays import Fields

_FIELDS: Final = 4


def with_source(text: str, source: str, fields: Fields | None = None) -> str:
    """A node's text, with the place in an overlay that it comes from, and those that decided single fields of it."""
    places = decided(source, fields or {})
    return f"{text}  ({places})" if places else text


def decided(source: str, fields: Fields) -> str:
    """Those places as text; empty where there are none."""
    decisions = [f"{field}: {place}" for field, place in fields.items()]
    more = [f"and {len(decisions) - _FIELDS} more"] if len(decisions) > _FIELDS else []
    return ", ".join(filter(None, (source, *decisions[:_FIELDS], *more)))
