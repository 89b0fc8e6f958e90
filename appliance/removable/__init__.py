"""USB sticks and cards: which there are, and their files while one is mounted for a moment."""
