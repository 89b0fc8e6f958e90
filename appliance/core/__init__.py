"""Values that every room of the house speaks in. Imports nothing of ours, does no I/O, reads no clock."""
