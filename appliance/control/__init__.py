"""Typed requests between the roles and from the command line, over Unix sockets that only their owner may open."""
