"""Published sets: how each lies on disk, a folder a set."""
