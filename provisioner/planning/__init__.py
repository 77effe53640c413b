"""From two states to a plan. Pure.

`diff` and `diff_objects` compare, `second_look` reads what only differences need, `plan` orders the changes into steps.
`hazards`, `rules`, `room`, `evictions` and `privileges` judge them; `teardown` is the plan of a destroy.
"""
