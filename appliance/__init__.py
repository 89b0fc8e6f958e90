"""Mailweir: an e-mail security gateway that filters mail while it streams through."""

__version__ = "0.1.0"
