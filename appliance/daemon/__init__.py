"""Wiring only: processes, sockets, signals, and which room gets which. The one place that imports uvloop."""
