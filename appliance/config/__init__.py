"""The configuration: its schema, how a file becomes one, and what a good one must satisfy."""
