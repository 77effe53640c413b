"""What is there: the live state by its pins, from this host's kernel or from a snapshot of one. Nothing here writes.

`observe` reads a state from a source (`sources` says what that is): `live_source` is the kernel, `snapshot` a file.
"""
