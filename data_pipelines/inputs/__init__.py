"""Inputs of a build: list them, read lists row by row, open their frames, and detect that they changed."""
