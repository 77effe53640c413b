"""A project as an object: opened from files or from pins, then planned, applied, shown and destroyed."""

from __future__ import annotations

from provisioner.project.project import Project

__all__ = ["Project"]
