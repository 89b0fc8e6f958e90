"""The `mailweir` command."""
