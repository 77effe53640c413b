"""From two states to a plan, by values alone. Pure.

`diff` and `diff_objects` find the changes, `plan` makes ordered steps of them, `hazards` and `privileges` what speaks
against them; `teardown` is the plan that takes all away.
"""
