"""The reconciler: keeps a host in its desired state.

`machine` decides, over time and looks given as values; `reconcile` does one pass; `loop` waits, and joins the two.
"""
