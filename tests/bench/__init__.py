"""The benchmark: Mailweir and its peers side by side on loopback, under one load. Started by `scripts/bench`."""
