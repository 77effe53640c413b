"""Carrying out a plan: a transaction of steps, each of which knows how to take itself back.

`run` is the whole of it; `contents`, `programs` and `pins` have a function for each kind of step, `waves` and `staging`
make and publish inner maps. `template_probe` is asked before the first step.
"""

from __future__ import annotations

from provisioner.apply.outcome import Options, Result, Status

__all__ = ["Options", "Result", "Status"]
