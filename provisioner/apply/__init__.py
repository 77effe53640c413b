"""Carrying out a plan: a transaction of steps, each of which knows how to take itself back."""

from __future__ import annotations

from provisioner.apply.run import Result, Status, apply_plan
from provisioner.apply.transaction import Options

__all__ = ["Options", "Result", "Status", "apply_plan"]
