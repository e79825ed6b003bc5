"""Measured speed: training steps, and the loader."""
