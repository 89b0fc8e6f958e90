"""The configuration over time: revisions on disk, proposals, commits that want to be confirmed, archives, edits."""
