"""Messages on stable storage: append-only segments with group commit, recovered at start."""
