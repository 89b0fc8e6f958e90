"""Protocols without I/O: octets in, replies and events out. No sockets, no clocks, no event loop."""
