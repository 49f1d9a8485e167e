"""Searching one's own videos and pictures: the index on disk, its first stage, its results."""
