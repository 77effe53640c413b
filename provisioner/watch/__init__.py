"""The reconciler: keeps a host in its desired state.

`machine` decides from times and file stamps, as values; `reconcile` does one pass; `loop` waits and connects the two.
"""
