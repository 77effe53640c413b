"""Sessions: a project that stays observed, so that a change costs work in proportion to the change.

`rows` converts Python values, NumPy arrays and Arrow tables; `edits` and `known` hold what is wanted; `touched` reads
the live state of what changes; `differences` and `session` plan and apply that part, as any plan is made and applied.
"""
