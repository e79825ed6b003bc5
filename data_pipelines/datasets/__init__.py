"""Published sets: how each lies on disk, and a folder a set."""
