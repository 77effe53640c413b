"""Spec files as one located tree: composed from the parse events of YAML, merged and overlaid. It knows no types."""

from __future__ import annotations

from provisioner.document.files import is_inside, load
from provisioner.document.source import Document, SourceFile

__all__ = ["Document", "SourceFile", "is_inside", "load"]
